//! Where the events of two nodes become those of one answer.

use bytes::Bytes;
use serde_json::{Value, json};
use wire::ir::{BlockKind, Delta, Event, Usage};

/// Longest answer that is gone on with, in bytes: it is kept as long as its stream lasts.
const SAID_BYTES_MAX: usize = 1 << 20;

/// What was said so far, and how the blocks of a second stream are called.
#[derive(Debug, Default)]
pub(super) struct Seam {
    text: String,
    thoughts: String,
    /// Something was said that cannot be said to another node: a call, a refusal, parts of other kinds.
    is_bound: bool,
    has_started: bool,
    has_finished: bool,
    /// The block that is being written.
    open: Option<(u32, Sort)>,
    /// The next block's number.
    next: u32,
    /// Of the first node.
    before: Option<Usage>,
    usage: Option<Usage>,
    is_second: bool,
    /// The block that the first node left open, until the second says something.
    left: Option<(u32, Sort)>,
    /// The second's block, and its number here.
    named: Option<(u32, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Text,
    Thoughts,
    Other,
}

impl Sort {
    const fn of(kind: &BlockKind) -> Self {
        match kind {
            BlockKind::Text => Self::Text,
            BlockKind::Reasoning => Self::Thoughts,
            BlockKind::Refusal | BlockKind::ToolCall { .. } | BlockKind::Opaque { .. } => Self::Other,
        }
    }
}

impl Seam {
    /// Reads events along, and makes those of a second node follow on those of the first.
    pub(super) fn pass(&mut self, events: &mut Vec<Event>) {
        for mut event in std::mem::take(events) {
            match &mut event {
                Event::Start { .. } if std::mem::replace(&mut self.has_started, true) => continue,
                Event::BlockStart { block, kind, .. } => {
                    let sort = Sort::of(kind);
                    match self.left.take() {
                        Some((left, was)) if was == sort => {
                            self.named = Some((*block, left));
                            continue;
                        }
                        Some((left, _)) => events.push(Event::BlockStop { choice: 0, block: left }),
                        None => {}
                    }
                    self.is_bound |= sort == Sort::Other;
                    self.named = Some((*block, self.next));
                    (*block, self.open) = (self.next, Some((self.next, sort)));
                    self.next += 1;
                }
                Event::Delta { block, delta, .. } => {
                    *block = self.name(*block);
                    match delta {
                        Delta::Text(text) => self.text.push_str(text),
                        Delta::Reasoning(text) => self.thoughts.push_str(text),
                        _ => self.is_bound = true,
                    }
                }
                Event::BlockStop { block, .. } => {
                    *block = self.name(*block);
                    self.open = None;
                }
                Event::Finish { .. } => {
                    self.has_finished = true;
                    self.close_left(events);
                }
                Event::Usage(usage) => {
                    self.usage = Some(*usage);
                    *usage = self.usage().unwrap_or_default();
                }
                Event::Start { .. } | Event::End | Event::Failed { .. } => {}
            }
            events.push(event);
        }
        if self.text.len() + self.thoughts.len() > SAID_BYTES_MAX {
            self.is_bound = true;
            (self.text, self.thoughts) = Default::default();
        }
    }

    fn name(&self, block: u32) -> u32 {
        self.named.filter(|(theirs, _)| *theirs == block).map_or(block, |(_, ours)| ours)
    }

    fn close_left(&mut self, events: &mut Vec<Event>) {
        if let Some((left, _)) = self.left.take() {
            events.push(Event::BlockStop { choice: 0, block: left });
            self.open = None;
        }
    }

    /// From here on another node speaks.
    pub(super) fn follows(&mut self) {
        (self.is_second, self.left, self.named) = (true, self.open, None);
        // Who has said nothing has counted nothing that would last.
        self.before = self.usage.take().filter(|_| !self.text.is_empty() || !self.thoughts.is_empty());
    }

    /// Ends what is open.
    pub(super) fn close(&mut self, events: &mut Vec<Event>) {
        self.left = self.left.or(self.open);
        self.close_left(events);
    }

    /// Whether another node could go on here. What was said must have been counted.
    pub(super) const fn can_be_left(&self) -> bool {
        let is_counted = self.usage.is_some() || (self.text.is_empty() && self.thoughts.is_empty());
        !self.is_bound && !self.has_finished && !self.is_second && is_counted
    }

    pub(super) const fn has_thoughts(&self) -> bool {
        !self.thoughts.is_empty()
    }

    /// Counts of both: the input once, as the first had it, and the output of each.
    pub(super) fn usage(&self) -> Option<Usage> {
        let (Some(before), Some(now)) = (self.before, self.usage) else { return self.usage.or(self.before) };
        let sum = |a: Option<u64>, b: Option<u64>| if a.is_none() && b.is_none() { None } else { Some(a.unwrap_or(0) + b.unwrap_or(0)) };
        Some(Usage { out_text: sum(before.out_text, now.out_text), out_reasoning: sum(before.out_reasoning, now.out_reasoning), ..before })
    }

    /// Tokens said so far.
    pub(super) fn tokens(&self) -> u64 {
        self.usage().map_or(0, |usage| usage.output())
    }

    /// Tokens that may still be said, where the request has a bound.
    pub(super) fn tokens_left(&self, body: &Value) -> Option<u64> {
        let max = BOUNDS.iter().find_map(|name| body[*name].as_u64())?;
        Some(max.saturating_sub(self.tokens()))
    }

    /// The request for another node: with what was said as the beginning of its answer.
    pub(super) fn continued(&self, body: &Value, left: Option<u64>) -> Bytes {
        let mut body = body.clone();
        if !self.text.is_empty() || !self.thoughts.is_empty() {
            let mut begun = json!({"role": "assistant", "content": self.text});
            if !self.thoughts.is_empty() {
                begun["reasoning_content"] = self.thoughts.as_str().into();
            }
            if let Some(messages) = body["messages"].as_array_mut() {
                messages.push(begun);
            }
            body["continue_final_message"] = true.into();
            body["add_generation_prompt"] = false.into();
        }
        if let (Some(left), Some(name)) = (left, BOUNDS.iter().find(|name| body[**name].is_u64())) {
            body[*name] = left.into();
        }
        body.to_string().into()
    }
}

/// Members that bound an answer; the first that is there counts.
const BOUNDS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::{Dialect, dialect::Decoder, dialect::Encoder};

    use super::*;

    fn chunk(word: &str, tokens: u64) -> String {
        let delta = json!({"index": 0, "delta": {"content": word}, "finish_reason": null});
        let usage = json!({"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens});
        format!(
            "data: {}\n\n",
            json!({"id": "c", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [delta], "usage": usage})
        )
    }

    fn end(tokens: u64) -> String {
        let last = json!({"id": "d", "object": "chat.completion.chunk", "created": 8, "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
        let usage =
            json!({"id": "d", "choices": [], "usage": {"prompt_tokens": 99, "completion_tokens": tokens, "total_tokens": 99 + tokens}});
        format!("data: {last}\n\ndata: {usage}\n\ndata: [DONE]\n\n")
    }

    fn read(seam: &mut Seam, stream: &str) -> Vec<Event> {
        let (mut decoder, mut events) = (Decoder::new(Dialect::Chat), Vec::new());
        decoder.feed(stream.as_bytes(), &mut events).unwrap();
        decoder.finish(&mut events);
        seam.pass(&mut events);
        events
    }

    proptest! {
        #[test]
        fn an_answer_of_two_reads_as_one(words in prop::collection::vec("[a-z]{1,4} ", 1..12), cut in 0_usize..12) {
            let cut = cut.min(words.len());
            let of = |words: &[String]| words.iter().enumerate().map(|(n, word)| chunk(word, n as u64 + 1)).collect::<String>();
            let mut seam = Seam::default();
            let mut events = read(&mut seam, &of(&words[..cut]));
            let broken = events.pop();
            prop_assert!(matches!(broken, Some(Event::Failed { .. })), "{broken:?}");
            events.retain(|event| !matches!(event, Event::Usage(_)));
            prop_assert!(seam.can_be_left());
            prop_assert_eq!(seam.tokens_left(&json!({"max_tokens": 20})), Some(20 - cut as u64));
            let asked: Value = serde_json::from_slice(&seam.continued(&json!({"messages": [], "max_tokens": 20}), Some(20 - cut as u64))).unwrap();
            let begun = words[..cut].concat();
            prop_assert_eq!(asked["messages"][0]["content"].as_str().unwrap_or_default(), &begun);
            prop_assert_eq!(&asked["max_tokens"], &json!(20 - cut));
            prop_assert_eq!(asked["continue_final_message"] == true, cut > 0);
            seam.follows();
            events.extend(read(&mut seam, &(of(&words[cut..]) + &end((words.len() - cut) as u64))));

            let mut once = Seam::default();
            let mut whole = read(&mut once, &(of(&words) + &end(words.len() as u64)));
            // The counts of the input are those of whoever began.
            for all in [&mut whole, &mut events] {
                for event in all.iter_mut() {
                    if let Event::Usage(usage) = event { usage.in_fresh = None; }
                }
            }
            let said = |events: &[Event]| {
                let (mut encoder, mut out) = (Encoder::Chat(wire::chat::stream::Encoder::new(true)), Vec::new());
                for event in events {
                    encoder.event(event, &mut out);
                }
                String::from_utf8(out).unwrap().replace("\"d\"", "\"c\"").replace(":8,", ":7,")
            };
            prop_assert_eq!(said(&events), said(&whole));
            prop_assert_eq!(seam.usage().unwrap().output(), words.len() as u64);
        }
    }

    #[test]
    fn thoughts_go_on_as_thoughts_and_end_where_text_begins() {
        let thought = |text: &str, tokens: u64| chunk(text, tokens).replace("\"content\"", "\"reasoning_content\"");
        let mut seam = Seam::default();
        let mut events = read(&mut seam, &(thought("a", 1) + &thought("b", 2)));
        events.retain(|event| !matches!(event, Event::Usage(_) | Event::Failed { .. }));
        let asked: Value = serde_json::from_slice(&seam.continued(&json!({"messages": []}), None)).unwrap();
        assert_eq!((&asked["messages"][0]["content"], &asked["messages"][0]["reasoning_content"]), (&json!(""), &json!("ab")));
        seam.follows();
        events.extend(read(&mut seam, &(chunk("yes", 1) + &end(1))));
        let shape: Vec<String> = events
            .iter()
            .filter_map(|event| match event {
                Event::BlockStart { block, kind, .. } => Some(format!("+{block} {kind:?}")),
                Event::BlockStop { block, .. } => Some(format!("-{block}")),
                _ => None,
            })
            .collect();
        assert_eq!(shape, ["+0 Reasoning", "-0", "+1 Text", "-1"]);
    }

    #[test]
    fn a_call_that_has_begun_is_not_left() {
        let call = json!({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": "{"}}]}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}});
        let mut seam = Seam::default();
        read(&mut seam, &format!("data: {call}\n\n"));
        assert!(!seam.can_be_left());
        let mut uncounted = Seam::default();
        read(&mut uncounted, "data: {\"id\": \"c\", \"choices\": [{\"index\": 0, \"delta\": {\"content\": \"a\"}}]}\n\n");
        assert!(!uncounted.can_be_left(), "nobody said how many tokens that was");
    }
}
