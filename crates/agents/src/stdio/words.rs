//! A command line as words, the way a shell would split it, for a program that is no shell: whatever a shell would do beyond that is refused.

/// Longest command that is read.
pub(super) const COMMAND_BYTES_MAX: usize = 256 << 10;

/// What means something to a shell outside quotes.
const SPECIAL: &str = ";&|<>()`$\n";

/// Splits a command. Single quotes keep everything, double quotes all but `\` before `"`, `\`, `$`, `` ` `` and a line break; a `\` at the end of a line
/// joins it with the next.
///
/// # Errors
/// In words for the assistant: something that only a shell could do, quotes without end, or too long a command.
pub(super) fn split(command: &str) -> Result<Vec<String>, String> {
    if command.len() > COMMAND_BYTES_MAX {
        return Err(format!("the command is longer than {COMMAND_BYTES_MAX} bytes"));
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = command.trim().chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => quoted(&mut letters, word.get_or_insert_default())?,
            '"' => double_quoted(&mut letters, word.get_or_insert_default())?,
            '\\' => match letters.next() {
                Some('\n') => {}
                Some(next) => word.get_or_insert_default().push(next),
                None => return Err("the command ends with `\\`".to_owned()),
            },
            special if SPECIAL.contains(special) => return Err(refused(special)),
            blank if blank.is_whitespace() => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

fn refused(special: char) -> String {
    match special {
        '\n' => "one command at a time: end a line that goes on with `\\`".to_owned(),
        other => format!("no shell reads this command, so `{other}` means nothing here: put it in single quotes if it belongs to a value"),
    }
}

fn quoted(letters: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), String> {
    for letter in letters {
        match letter {
            '\'' => return Ok(()),
            other => word.push(other),
        }
    }
    Err("a single quote has no end".to_owned())
}

fn double_quoted(letters: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), String> {
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Ok(()),
            '\\' => match letters.next() {
                Some('\n') => {}
                Some(next @ ('"' | '\\' | '$' | '`')) => word.push(next),
                Some(other) => word.extend(['\\', other]),
                None => break,
            },
            '$' | '`' => {
                return Err(format!("no shell reads this command, so `{letter}` in double quotes would stay as it is: use single quotes"));
            }
            other => word.push(other),
        }
    }
    Err("a double quote has no end".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A word as it may stand in a command again.
    fn quote(word: &str) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:?=,%@+".contains(c);
        if !word.is_empty() && word.chars().all(is_plain) {
            return word.to_owned();
        }
        format!("'{}'", word.replace('\'', r"'\''"))
    }

    #[test]
    fn words_are_split_as_a_shell_would() {
        for (command, words) in [
            ("curl http://x/y", vec!["curl", "http://x/y"]),
            ("  curl\t-s  'a b' ", vec!["curl", "-s", "a b"]),
            (r#"curl -d '{"a":"it'\''s"}'"#, vec!["curl", "-d", r#"{"a":"it's"}"#]),
            (r#"curl -d "{\"a\": \"\$5\\n\"}""#, vec!["curl", "-d", r#"{"a": "$5\n"}"#]),
            ("curl \\\n -X POST \\\n x", vec!["curl", "-X", "POST", "x"]),
            (r#"curl "" '' a""b"#, vec!["curl", "", "", "ab"]),
            (r"curl a\ b\;c", vec!["curl", "a b;c"]),
            ("", vec![]),
        ] {
            assert_eq!(split(command).expect(command), words, "{command}");
        }
    }

    #[test]
    fn what_needs_a_shell_is_refused() {
        for tail in [
            "; ls",
            "&& ls",
            "| tee x",
            "$(ls)",
            "`ls`",
            "> x",
            "< x",
            "\nls",
            "$HOME",
            "\"$HOME\"",
            "\"`ls`\"",
            "(ls)",
            "& ",
            "'",
            "\"",
            "\\",
        ] {
            assert!(split(&format!("curl http://x/ {tail}")).is_err(), "{tail}");
        }
        assert!(split(&"x".repeat(COMMAND_BYTES_MAX + 1)).is_err());
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_split_into_itself(words in prop::collection::vec(".*", 0..6)) {
            let command = words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(split(&command), Ok(words));
        }

        #[test]
        fn nothing_makes_it_fall_over(command in ".*") {
            let _ = split(&command);
        }
    }
}
