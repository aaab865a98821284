//! The `.env` file: lines of `NAME=value`, as shells and other programs write them. Nothing is expanded.

/// Most lines that are read; a file with more is refused, it is something else.
pub(crate) const LINES_MAX: usize = 10_000;

/// Names and values in the order written (a later line of the same name wins for the caller that collects them), or the
/// 1-based number of the first line that is no assignment.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, String)>, usize> {
    let mut found = Vec::new();
    for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        if at >= LINES_MAX {
            return Err(at + 1);
        }
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        let (name, value) = line.split_once('=').ok_or(at + 1)?;
        let name = name.trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(plain) {
            return Err(at + 1);
        }
        found.push((name.to_owned(), unquote(value.trim()).ok_or(at + 1)?));
    }
    Ok(found)
}

/// A value without its quotes and comment; `None` where a quote is not closed or something but a comment follows it.
fn unquote(value: &str) -> Option<String> {
    match value.chars().next() {
        Some('\'') => {
            let (inside, rest) = value[1..].split_once('\'')?;
            comment_only(rest).then(|| inside.to_owned())
        }
        Some('"') => double_quoted(&value[1..]),
        // In a bare value `#` starts a comment only after a blank: tokens may contain one.
        _ => {
            let end = value
                .char_indices()
                .find(|&(i, c)| c == '#' && (i == 0 || value[..i].ends_with([' ', '\t'])))
                .map_or(value.len(), |(i, _)| i);
            Some(value[..end].trim_end().to_owned())
        }
    }
}

fn double_quoted(text: &str) -> Option<String> {
    let mut inside = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return comment_only(&text[at + 1..]).then_some(inside),
            '\\' => match chars.next()?.1 {
                'n' => inside.push('\n'),
                'r' => inside.push('\r'),
                't' => inside.push('\t'),
                c @ ('"' | '\\' | '$') => inside.push(c),
                other => inside.extend(['\\', other]),
            },
            c => inside.push(c),
        }
    }
    None
}

fn comment_only(rest: &str) -> bool {
    let rest = rest.trim_start();
    rest.is_empty() || rest.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_read_as_shells_write_them() {
        for (line, want) in [
            ("A=1", "1"),
            ("  export A = 1  ", "1"),
            ("A=", ""),
            ("A=#nothing", ""),
            ("A=sk#part # why", "sk#part"),
            ("A='a # b' # why", "a # b"),
            (r#"A="a \"b\" \\ \n \$HOME \d""#, "a \"b\" \\ \n $HOME \\d"),
            ("A=x=y", "x=y"),
            ("A=$HOME", "$HOME"),
        ] {
            assert_eq!(parse(line), Ok(vec![("A".to_owned(), want.to_owned())]), "{line}");
        }
        assert_eq!(parse("\u{feff}# note\r\n\r\nA=1\r\nB=2\r\n").map(|v| v.len()), Ok(2));
    }

    #[test]
    fn what_is_no_assignment_is_named_by_its_line() {
        for (text, line) in
            [("A=1\nnonsense\n", 2), ("=1", 1), ("1A=2", 1), ("A B=2", 1), ("A='open", 1), ("\n\nA=\"open", 3), ("A='x'y", 1)]
        {
            assert_eq!(parse(text), Err(line), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC{0,80}") {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_quoted_comes_back(value in "[^'\n\r]{0,40}") {
            prop_assert_eq!(parse(&format!("A='{value}'")), Ok(vec![("A".to_owned(), value)]));
        }
    }
}
