//! What holds for every text file: line ends, white space, words that say that something is missing.

use super::{Findings, Tree};

/// Put together here so that this file does not find itself.
const UNFINISHED: [&str; 5] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("todo", "!("), concat!("unimplemented", "!(")];

/// Endings of files that people write.
const WRITTEN: [&str; 14] =
    [".rs", ".toml", ".md", ".yml", ".yaml", ".py", ".sql", ".json", "Makefile", ".ci/run", ".ts", ".tsx", ".mjs", ".css"];

pub(super) fn check(tree: &Tree) -> Findings {
    let mut findings = Findings::new();
    for (path, text) in WRITTEN.iter().flat_map(|ending| tree.with_ending(ending)) {
        if !text.is_empty() && !text.ends_with('\n') {
            findings.push(format!("{path}: the last line has no end"));
        }
        for (number, line) in (1..).zip(text.lines()) {
            if line.ends_with([' ', '\t', '\r']) {
                findings.push(format!("{path}:{number}: white space at the end of the line"));
            }
            if line.contains('\t') && !path.ends_with("Makefile") {
                findings.push(format!("{path}:{number}: a tab"));
            }
            if let Some(word) = UNFINISHED.iter().find(|word| has_word(line, word)) {
                findings.push(format!("{path}:{number}: `{word}`: finish it or leave it out"));
            }
        }
    }
    findings
}

/// Whether `word` stands in the line with no letter before or after it.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !is_part(before) && (!is_part(after) || word.ends_with('('))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::tree;

    #[test]
    fn white_space_and_unfinished_words_are_found() {
        let word = UNFINISHED[0];
        let found = check(&tree(&[("a.rs", &format!("x \n\ty\n// {word}: z\nm{word}S\nlast"))]));
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(check(&tree(&[("a.rs", "fine\n"), ("Makefile", "a:\n\tb\n")])).is_empty());
    }
}
