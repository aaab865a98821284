//! The `.env` file: lines of `NAME=value`, as shells and other programs write them. Nothing is expanded.

/// Most lines that are read; a file with more is refused, it is something else.
pub(crate) const LINES_MAX: usize = 10_000;

/// Names and values in the order written (a later line of the same name wins for the caller that collects them), or the
/// 1-based number of the first line that is no assignment. What is quoted may go on over several lines.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, String)>, usize> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches('\u{feff}');
    let mut at = 0;
    while !rest.is_empty() {
        at += 1;
        if at > LINES_MAX {
            return Err(at);
        }
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            rest = after;
            continue;
        }
        let name = line.split_once('=').ok_or(at)?.0;
        let value = rest[name.len() + 1..].trim_start_matches([' ', '\t']);
        let name = name.trim();
        let name = name.strip_prefix("export ").map_or(name, str::trim_start);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(plain) {
            return Err(at);
        }
        let (value, left) = unquoted(value).ok_or(at)?;
        found.push((name.to_owned(), value));
        at += rest[..rest.len() - left.len()].trim_end_matches('\n').matches('\n').count();
        rest = left;
    }
    Ok(found)
}

/// The value that a text begins with, without its quotes and comment, and the lines behind it; `None` where a quote is not closed or something
/// but a comment follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let (inside, rest) = match text.chars().next() {
        Some('\'') => text[1..].split_once('\'').map(|(inside, rest)| (inside.to_owned(), rest))?,
        Some('"') => double_quoted(&text[1..])?,
        // In a bare value `#` starts a comment only after a blank: tokens may contain one.
        _ => {
            let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
            let starts_comment = |&(i, c): &(usize, char)| c == '#' && (i == 0 || line[..i].ends_with([' ', '\t']));
            let end = line.char_indices().find(starts_comment).map_or(line.len(), |(i, _)| i);
            return Some((line[..end].trim_end().to_owned(), rest));
        }
    };
    let (comment, rest) = rest.split_once('\n').unwrap_or((rest, ""));
    comment_only(comment).then_some((inside, rest))
}

fn double_quoted(text: &str) -> Option<(String, &str)> {
    let mut inside = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((inside, &text[at + 1..])),
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
    fn what_is_quoted_goes_on_over_lines() {
        let text = "# services\nLIST='[\n  {\"name\": \"a\"}, # no comment\n\n]' # one\r\nexport TWO=\"x\n=y\\nz\"\nB=2\nno\n";
        assert_eq!(parse(text), Err(9), "lines go on being counted");
        let all = parse(text.strip_suffix("no\n").unwrap()).unwrap();
        let list = "[\n  {\"name\": \"a\"}, # no comment\n\n]";
        let said: Vec<_> = all.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(said, [("LIST", list), ("TWO", "x\n=y\nz"), ("B", "2")]);
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
        fn what_is_quoted_comes_back(value in "[^']{0,40}") {
            prop_assert_eq!(parse(&format!("A='{value}'")), Ok(vec![("A".to_owned(), value)]));
        }
    }
}
