//! Looking for marks in text that comes bit by bit.

/// The mark that comes first in `text`, at or after byte `from`: where, and which. Of two at one place the longer.
pub(super) fn first<'m>(text: &str, from: usize, marks: impl Iterator<Item = &'m str>) -> Option<(usize, &'m str)> {
    let found = marks.filter_map(|mark| Some((from + text.get(from..)?.find(mark)?, mark)));
    found.min_by_key(|(at, mark)| (*at, usize::MAX - mark.len()))
}

/// How many bytes at the end of `text` may be the beginning of one of the marks.
pub(super) fn beginning<'m>(text: &str, marks: impl Iterator<Item = &'m str>) -> usize {
    let longest = |mark: &str| {
        let most = (mark.len() - 1).min(text.len());
        (1..=most).rev().find(|n| mark.is_char_boundary(*n) && text.ends_with(&mark[..*n])).unwrap_or(0)
    };
    marks.filter(|mark| !mark.is_empty()).map(longest).max().unwrap_or(0)
}

/// Follows JSON (or Python's literals) to where its first bracket is closed. Each byte is looked at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Balance {
    looked: usize,
    depth: u32,
    quote: Option<u8>,
    is_escaped: bool,
}

impl Balance {
    /// Looks at what `text` has more than last time; the byte after the closing bracket, once it is there.
    pub(super) fn end(&mut self, text: &str) -> Option<usize> {
        while let Some(byte) = text.as_bytes().get(self.looked) {
            self.looked += 1;
            match (self.quote, byte) {
                (Some(_), _) if self.is_escaped => self.is_escaped = false,
                (Some(_), b'\\') => self.is_escaped = true,
                (Some(quote), byte) if quote == *byte => self.quote = None,
                (None, b'"' | b'\'') => self.quote = Some(*byte),
                (None, b'{' | b'[' | b'(') => self.depth += 1,
                (None, b'}' | b']' | b')') => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(self.looked);
                    }
                }
                (Some(_) | None, _) => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_mark_and_the_longer_of_two() {
        assert_eq!(first("a<b><bb>", 0, ["<bb>", "<b>"].into_iter()), Some((1, "<b>")));
        assert_eq!(first("x<<y", 0, ["<", "<<"].into_iter()), Some((1, "<<")));
        assert_eq!(first("abc", 2, ["a"].into_iter()), None);
    }

    #[test]
    fn beginnings_of_marks() {
        assert_eq!(beginning("text <tool", ["<tool_call>", "<x"].into_iter()), 5);
        assert_eq!(beginning("a<｜tool", ["<｜tool▁calls▁begin｜>"].into_iter()), "<｜tool".len());
        assert_eq!(beginning("all of it <x>", ["<x>"].into_iter()), 0);
    }

    #[test]
    fn brackets_in_strings_do_not_count() {
        let text = r#"{"a": "}\"}", "b": [1, '}']} rest"#;
        let mut balance = Balance::default();
        let ends: Vec<_> = (1..=text.len()).filter_map(|n| balance.end(&text[..n])).collect();
        assert_eq!(ends[0], text.len() - 5);
    }
}
