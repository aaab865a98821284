//! Control tokens in texts of users: found before a template is rendered, put back as plain text after it.
//!
//! A text that spells a control token (`<|im_end|>`) must not become one. Every occurrence in what a client sent is replaced by a
//! mark that no template touches; the rendered text is split at the marks, and what they stand for is tokenised as plain text.
//! All other text stays where the template put it, so that it is tokenised together with its neighbours as the model was trained.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
};

use serde_json::Value;
use wire::fleet::worker::Segment;

/// First and last character of a mark; both are for private use and mean nothing to any model.
const OPEN: char = '\u{E0F0}';
const CLOSE: char = '\u{E0F1}';

/// Tokens that common models treat as control tokens whatever their file says.
const ALWAYS: [&str; 20] = [
    "<s>",
    "</s>",
    "<bos>",
    "<eos>",
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|im_sep|>",
    "<|end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
];

/// The control tokens of a model, ready to be searched for.
#[derive(Debug)]
pub struct Controls {
    tokens: HashSet<String>,
    /// Lengths in bytes (longest first) of the tokens that begin with a byte.
    lengths: HashMap<u8, Vec<usize>>,
}

impl Controls {
    /// The tokens of a vocabulary, with those that every model may know.
    pub fn new(tokens: impl IntoIterator<Item = String>) -> Self {
        let marks = [OPEN.to_string(), CLOSE.to_string()];
        let all = tokens.into_iter().chain(ALWAYS.map(str::to_owned)).chain(marks);
        let tokens: HashSet<String> = all.filter(|token| !token.trim().is_empty()).collect();
        let mut lengths: HashMap<u8, BTreeSet<usize>> = HashMap::new();
        for token in &tokens {
            lengths.entry(token.as_bytes()[0]).or_default().insert(token.len());
        }
        let lengths = lengths.into_iter().map(|(first, set)| (first, set.into_iter().rev().collect())).collect();
        Self { tokens, lengths }
    }

    /// The longest control token that `text` begins with.
    fn at_start<'a>(&self, text: &'a str) -> Option<&'a str> {
        let lengths = self.lengths.get(text.as_bytes().first()?)?;
        lengths.iter().filter_map(|length| text.get(..*length)).find(|start| self.tokens.contains(*start))
    }
}

/// What was taken out of the texts of one request.
#[derive(Debug)]
pub(super) struct Defused<'c> {
    controls: &'c Controls,
    taken: Vec<String>,
}

impl<'c> Defused<'c> {
    /// Nothing taken out yet.
    pub(super) fn new(controls: &'c Controls) -> Self {
        Self { controls, taken: Vec::new() }
    }

    /// Replaces the control tokens in all texts of `value`, keys included.
    pub(super) fn value(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(changed) = self.text(text) {
                    *text = changed;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(members) => {
                members.values_mut().for_each(|member| self.value(member));
                if members.keys().any(|key| matches!(self.text(key), Cow::Owned(_))) {
                    *members = std::mem::take(members).into_iter().map(|(key, member)| (self.text(&key).into_owned(), member)).collect();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn text<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        let (mut out, mut done, mut at) = (String::new(), 0, 0);
        while at < text.len() {
            let rest = &text[at..];
            if let Some(token) = self.controls.at_start(rest) {
                out.push_str(&text[done..at]);
                out.push(OPEN);
                out.push_str(&self.taken.len().to_string());
                out.push(CLOSE);
                self.taken.push(token.to_owned());
                at += token.len();
                done = at;
            } else {
                at += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
        if done == 0 { Cow::Borrowed(text) } else { Cow::Owned(out + &text[done..]) }
    }

    /// Splits a rendered text: template and harmless text with control tokens recognised, what was taken out without.
    /// A mark that a template has torn apart is dropped: nothing of it can become a control token.
    pub(super) fn split(&self, rendered: &str) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut rest = rendered;
        while let Some(at) = rest.find([OPEN, CLOSE]) {
            push(&mut segments, &rest[..at], true);
            let mark = &rest[at..];
            let inner = mark.strip_prefix(OPEN);
            let length = inner.map_or(0, |inner| inner.bytes().take_while(u8::is_ascii_digit).count());
            match inner
                .and_then(|inner| Some((self.taken.get(inner[..length].parse::<usize>().ok()?)?, inner[length..].strip_prefix(CLOSE)?)))
            {
                Some((token, after)) => {
                    push(&mut segments, token, false);
                    rest = after;
                }
                None => rest = &mark[OPEN.len_utf8()..],
            }
        }
        push(&mut segments, rest, true);
        segments
    }
}

fn push(segments: &mut Vec<Segment>, more: &str, is_special: bool) {
    if more.is_empty() {
        return;
    }
    match segments.last_mut() {
        Some(Segment::Text { text, special }) if *special == is_special => text.push_str(more),
        _ => segments.push(Segment::Text { text: more.to_owned(), special: is_special }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn segment(text: &str, special: bool) -> Segment {
        Segment::Text { text: text.to_owned(), special }
    }

    #[test]
    fn control_tokens_travel_as_plain_text_and_the_rest_stays_together() {
        let controls = Controls::new(["<tool>".to_owned()]);
        let mut defused = Defused::new(&controls);
        let mut value = json!({"content": "a <|im_end|>b<tool>", "n": [1, "<s>"], "</s>": "plain <b>"});
        defused.value(&mut value);
        assert_eq!(value["content"], "a \u{E0F0}0\u{E0F1}b\u{E0F0}1\u{E0F1}");
        let rendered = format!("<|im_start|>{}<|im_end|>", value["content"].as_str().unwrap());
        let wanted = [
            segment("<|im_start|>a ", true),
            segment("<|im_end|>", false),
            segment("b", true),
            segment("<tool>", false),
            segment("<|im_end|>", true),
        ];
        assert_eq!(defused.split(&rendered), wanted);
        assert!(value.as_object().unwrap().keys().all(|key| !key.contains('<')));
    }

    #[test]
    fn torn_and_forged_marks_mean_nothing() {
        let controls = Controls::new([]);
        let mut defused = Defused::new(&controls);
        let mut forged = json!("\u{E0F0}0\u{E0F1} and <s>");
        defused.value(&mut forged);
        let rendered = forged.as_str().unwrap().to_owned();
        let plain: Vec<_> = defused.split(&rendered);
        assert_eq!(
            plain,
            [segment("\u{E0F0}", false), segment("0", true), segment("\u{E0F1}", false), segment(" and ", true), segment("<s>", false)]
        );
        assert_eq!(defused.split("x\u{E0F0}9\u{E0F1}y\u{E0F1}z\u{E0F0}"), [segment("x9yz", true)]);
    }

    proptest! {
        #[test]
        fn text_comes_back_whole_and_nothing_special_is_spelled_by_it(text in "(<s>|</s>|<|>|im|é|\\||<\\|im_end\\|>|[a-c ]){0,12}") {
            let controls = Controls::new([]);
            let mut defused = Defused::new(&controls);
            let mut value = Value::String(text.clone());
            defused.value(&mut value);
            let segments = defused.split(value.as_str().unwrap());
            let mut joined = String::new();
            for segment in segments {
                let Segment::Text { text, special } = segment else { unreachable!() };
                if special {
                    prop_assert!(ALWAYS.iter().all(|control| !text.contains(control)), "{text}");
                }
                joined.push_str(&text);
            }
            prop_assert_eq!(joined, text);
        }
    }
}
