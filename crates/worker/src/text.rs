//! From the bytes of tokens to text that can be sent: whole characters only, and nothing that may yet become a stop string.
//!
//! The result does not depend on how the bytes were cut into tokens: a stop string counts from the byte that completes it,
//! and of several completed by the same byte the longest is cut off.

use std::collections::VecDeque;

use memchr::memmem;

/// Most stop strings of one request.
pub const STOPS_MAX: usize = 64;
/// Longest stop string, in bytes.
pub const STOP_BYTES_MAX: usize = 1024;

/// What a token brought.
#[derive(Debug, PartialEq)]
pub struct Piece<T> {
    /// Text that can be sent now.
    pub text: String,
    /// Tags of the tokens that begin in the text sent so far.
    pub tags: Vec<T>,
    /// A stop string was completed; the rest of the answer is cut off.
    pub stopped: bool,
}

impl<T> Default for Piece<T> {
    fn default() -> Self {
        Self { text: String::new(), tags: Vec::new(), stopped: false }
    }
}

/// Collects the bytes of one answer. Every token may carry a tag that is given out with its text.
#[derive(Debug)]
pub struct TextOut<T> {
    stops: Vec<Vec<u8>>,
    held: Vec<u8>,
    /// Bytes given out, or cut off, before `held`.
    sent: u64,
    /// Tags not given out, with the place of their token's first byte.
    tags: VecDeque<(u64, T)>,
    stopped: bool,
}

impl<T> TextOut<T> {
    /// Empty stop strings are ignored.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).map(|stop| stop.clone().into_bytes()).collect();
        Self { stops, held: Vec::new(), sent: 0, tags: VecDeque::new(), stopped: false }
    }

    /// Takes the bytes of a token. After a stop string nothing more comes out.
    pub fn push(&mut self, bytes: &[u8], tag: Option<T>) -> Piece<T> {
        if self.stopped {
            return Piece { stopped: true, ..Piece::default() };
        }
        if let Some(tag) = tag {
            self.tags.push_back((self.sent + self.held.len() as u64, tag));
        }
        self.held.extend_from_slice(bytes);
        if let Some(start) = self.first_stop() {
            self.stopped = true;
            self.held.truncate(start);
            let text = self.give(start, true);
            let tags = self.release(self.sent);
            self.tags.clear();
            return Piece { text, tags, stopped: true };
        }
        let ready = self.held.len() - self.possible_stop();
        let text = self.give(ready, false);
        // A token without bytes begins where the text ends; it goes out unless something is held in front of it.
        let before = if self.held.is_empty() { self.sent + 1 } else { self.sent };
        Piece { text, tags: self.release(before), stopped: false }
    }

    /// The end of the answer: what was held back, with U+FFFD for a character that never became whole.
    pub fn finish(&mut self) -> Piece<T> {
        let stopped = self.stopped;
        let text = self.give(self.held.len(), true);
        let tags = self.release(u64::MAX);
        Piece { text, tags, stopped }
    }

    /// Start of the stop string that is completed first.
    fn first_stop(&self) -> Option<usize> {
        let found = self.stops.iter().filter_map(|stop| memmem::find(&self.held, stop).map(|start| (start + stop.len(), start)));
        found.min().map(|(_, start)| start)
    }

    /// Length of the longest end of `held` that is a beginning of a stop string.
    fn possible_stop(&self) -> usize {
        let longest = |stop: &Vec<u8>| {
            let most = (stop.len() - 1).min(self.held.len());
            (1..=most).rev().find(|&length| self.held.ends_with(&stop[..length])).unwrap_or(0)
        };
        self.stops.iter().map(longest).max().unwrap_or(0)
    }

    /// Takes up to `length` bytes as text. An unfinished character at the very end of what is held stays, unless `last`.
    fn give(&mut self, length: usize, last: bool) -> String {
        let mut text = String::new();
        let mut taken = 0;
        while taken < length {
            match std::str::from_utf8(&self.held[taken..]) {
                Ok(valid) => {
                    let fits = valid.len().min(length - taken);
                    // A stop string begins where a character begins, so this only ever cuts between characters.
                    let fits = (0..=fits).rev().find(|&at| valid.is_char_boundary(at)).unwrap_or(0);
                    text.push_str(&valid[..fits]);
                    taken += fits;
                    break;
                }
                Err(error) if error.valid_up_to() > 0 => {
                    let fits = error.valid_up_to().min(length - taken);
                    text.push_str(&String::from_utf8_lossy(&self.held[taken..taken + fits]));
                    taken += fits;
                }
                Err(error) => match error.error_len() {
                    Some(bad) => {
                        text.push('\u{fffd}');
                        taken += bad;
                    }
                    None if last => {
                        text.push('\u{fffd}');
                        taken = self.held.len();
                    }
                    None => break,
                },
            }
        }
        self.held.drain(..taken);
        self.sent += taken as u64;
        text
    }

    /// Tags of the tokens that begin before this place.
    fn release(&mut self, before: u64) -> Vec<T> {
        let count = self.tags.iter().take_while(|&&(start, _)| start < before).count();
        self.tags.drain(..count).map(|(_, tag)| tag).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The whole answer and whether it was stopped, for bytes cut at `cuts`.
    fn run(bytes: &[u8], cuts: &[usize], stops: &[String]) -> (String, bool, Vec<usize>) {
        let mut out = TextOut::new(stops);
        let (mut text, mut tags, mut start) = (String::new(), Vec::new(), 0);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        ends.sort_unstable();
        ends.push(bytes.len());
        for (index, end) in ends.into_iter().enumerate() {
            let piece = out.push(&bytes[start..end], Some(index));
            text.push_str(&piece.text);
            tags.extend(piece.tags);
            if piece.stopped {
                return (text, true, tags);
            }
            start = end;
        }
        let rest = out.finish();
        text.push_str(&rest.text);
        tags.extend(rest.tags);
        (text, false, tags)
    }

    fn stops(list: &[&str]) -> Vec<String> {
        list.iter().map(|&stop| stop.to_owned()).collect()
    }

    #[test]
    fn characters_come_whole() {
        let mut out = TextOut::<()>::new(&[]);
        let bytes = "a😀b".as_bytes();
        assert_eq!(out.push(&bytes[..3], None).text, "a");
        assert_eq!(out.push(&bytes[3..4], None).text, "");
        assert_eq!(out.push(&bytes[4..], None).text, "😀b");
        assert_eq!(out.push(&bytes[1..4], None).text, "");
        assert_eq!(out.finish().text, "\u{fffd}");
        let mut out = TextOut::<()>::new(&[]);
        assert_eq!(out.push(b"\xff\xe2x", None).text, "\u{fffd}\u{fffd}x", "what can never become a character does not wait");
    }

    #[test]
    fn stop_strings_are_cut_off_and_their_beginnings_wait() {
        let mut out = TextOut::<()>::new(&stops(&["\nUser:", "END"]));
        assert_eq!(out.push(b"hello\nUs", None).text, "hello");
        assert_eq!(out.push(b"age EN", None).text, "\nUsage ");
        let piece = out.push(b"D and more", None);
        assert_eq!((piece.text.as_str(), piece.stopped), ("", true));
        assert_eq!(out.push(b"ignored", None), Piece { text: String::new(), tags: vec![], stopped: true });
    }

    #[test]
    fn the_stop_string_completed_first_wins() {
        for cuts in [&[][..], &[1], &[1, 2], &[2]] {
            assert_eq!(run(b"abc", cuts, &stops(&["abc", "b"])).0, "a");
            assert_eq!(run(b"xabc", cuts, &stops(&["abc", "c"])).0, "x", "of two with one end the longer");
        }
    }

    #[test]
    fn tags_go_out_with_their_text() {
        let mut out = TextOut::new(&stops(&["STOP"]));
        assert_eq!(out.push(b"a", Some(0)).tags, [0]);
        assert_eq!(out.push(b"bS", Some(1)).tags, [1]);
        assert!(out.push(b"T", Some(2)).tags.is_empty());
        assert!(out.push(b"", Some(3)).tags.is_empty());
        assert_eq!(out.push(b"x", Some(4)).tags, [2, 3, 4]);
        assert_eq!(out.push(b"", Some(5)).tags, [5], "no bytes, nothing in front");
        assert!(out.push(b"STO", Some(6)).tags.is_empty());
        let piece = out.push(b"P", Some(7));
        assert!(piece.stopped && piece.tags.is_empty(), "tokens of the stop string are not part of the answer");
    }

    #[test]
    fn an_unfinished_character_before_a_stop_string_is_replaced() {
        assert_eq!(run(b"a\xe2STOP", &[2], &stops(&["STOP"])), ("a\u{fffd}".to_owned(), true, vec![0]));
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            "[abc😀é]{0,24}".prop_map(String::into_bytes),
            prop::collection::vec(
                prop_oneof![Just(b'a'), Just(b'b'), Just(0xF0), Just(0x9F), Just(0x98), Just(0x80), Just(0xE2), any::<u8>()],
                0..24
            ),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn cuts_make_no_difference(
            bytes in bytes(),
            cuts in prop::collection::vec(any::<usize>(), 0..30),
            stops in prop::collection::vec("[abc😀é]{1,4}", 0..4),
        ) {
            let (whole, whole_stopped, _) = run(&bytes, &[], &stops);
            let (cut, cut_stopped, tags) = run(&bytes, &cuts, &stops);
            prop_assert_eq!(&cut, &whole);
            prop_assert_eq!(cut_stopped, whole_stopped);
            prop_assert!(tags.is_sorted());
            if stops.is_empty() {
                prop_assert_eq!(&whole, &String::from_utf8_lossy(&bytes));
                prop_assert_eq!(tags.len(), cuts.len() + 1, "every tag goes out");
            }
            for stop in &stops {
                prop_assert!(!whole.contains(stop.as_str()));
            }
        }
    }
}
