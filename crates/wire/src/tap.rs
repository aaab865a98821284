//! Reads what must be known of an answer that passes untouched: usage, the model, the normal end, an error inside.
//!
//! Works on frames of chat and text-completion streams and on whole JSON answers; costs a scan for line ends and looks into
//! a frame only where it may hold one of these.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    chat::{self, types::Usage},
    dialect::{Decoder, Dialect},
    ir::{self, Event},
};

/// Longest frame that is held while its end has not come; beyond it frames pass unread.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// Frames up to this length are not looked into for how much they say: the members around a text take about 200 bytes.
const LONG_FRAME_BYTES: usize = 256;

/// Tokens of a piece of text: what is said at all is one at least.
fn guessed(text_bytes: usize) -> u64 {
    (text_bytes as u64 / 4).max(1)
}

/// The length of what a chat or completion frame says.
fn text_bytes(frame: &[u8]) -> usize {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Said {
        choices: Vec<Choice>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Choice {
        text: Option<String>,
        delta: chat::types::Delta,
    }
    let said: Said = serde_json::from_slice(frame).unwrap_or_default();
    let bytes = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let of_calls = |calls: &[chat::types::ToolCall]| calls.iter().map(|call| bytes(&call.function.arguments)).sum::<usize>();
    let of_choice = |Choice { text, delta }: &Choice| {
        let words = [text, &delta.content, &delta.refusal, &delta.reasoning_content, &delta.reasoning].map(bytes);
        words.iter().sum::<usize>() + delta.tool_calls.as_deref().map_or(0, of_calls)
    };
    said.choices.iter().map(of_choice).sum()
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub usage: Option<ir::Usage>,
    /// The model that the upstream says it used.
    pub model: Option<String>,
    /// Why it ended, as the upstream said it.
    pub finish: Option<String>,
    /// The normal end of a stream was seen.
    pub done: bool,
    /// The message of an error inside the stream.
    pub error: Option<String>,
    /// Tokens of the answer so far, guessed: one for each frame with content, and one for four bytes of a long text.
    pub tokens: u64,
}

#[derive(Deserialize, Default)]
struct Answer {
    #[serde(default)]
    model: Option<String>,
    #[serde(default, deserialize_with = "chat::lenient::usage")]
    usage: Option<Usage>,
    #[serde(default)]
    choices: Option<Vec<Ending>>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Ending {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Frame {
    #[serde(default)]
    object: Option<String>,
    #[serde(default)]
    message: Option<serde_json::Value>,
    #[serde(default, deserialize_with = "chat::lenient::usage")]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<serde_json::Value>,
    #[serde(default)]
    choices: Option<Vec<Ending>>,
}

/// What chat's counts say, if it can be true.
fn known(usage: &Usage) -> Option<ir::Usage> {
    ir::Usage::from_chat(usage).plausible()
}

/// Reads a whole JSON answer; `None` if it is no JSON object.
pub fn whole(body: &[u8]) -> Option<Seen> {
    crate::json::expect_object(body).ok()?;
    // JSON of another shape says nothing here, and is whole all the same.
    let other = || serde_json::from_slice::<IgnoredAny>(body).ok().map(|_| Answer::default());
    let answer = serde_json::from_slice::<Answer>(body).ok().or_else(other)?;
    let finish = answer.choices.and_then(|c| c.into_iter().next()?.finish_reason);
    let error = answer.error.filter(|e| !e.is_null()).map(|e| message_of(&e));
    Some(Seen { usage: answer.usage.as_ref().and_then(known), model: answer.model, finish, done: true, error, tokens: 0 })
}

/// Counts under any of the names that answers beyond generations have for them: OpenAI's pictures and transcripts, rerankers.
#[expect(clippy::struct_field_names, reason = "they are the fields' names on the wire")]
#[derive(Deserialize, Default)]
#[serde(default)]
struct Counts {
    #[serde(deserialize_with = "chat::lenient::count")]
    prompt_tokens: Option<u64>,
    #[serde(deserialize_with = "chat::lenient::count")]
    completion_tokens: Option<u64>,
    #[serde(deserialize_with = "chat::lenient::count")]
    input_tokens: Option<u64>,
    #[serde(deserialize_with = "chat::lenient::count")]
    output_tokens: Option<u64>,
    #[serde(deserialize_with = "chat::lenient::count")]
    total_tokens: Option<u64>,
}

impl Counts {
    fn usage(&self) -> Option<ir::Usage> {
        let output = self.output_tokens.or(self.completion_tokens);
        let input = self.input_tokens.or(self.prompt_tokens).or_else(|| Some(self.total_tokens?.saturating_sub(output.unwrap_or(0))));
        (input.is_some() || output.is_some()).then(|| ir::Usage { in_fresh: input, out_text: output, ..ir::Usage::default() })?.plausible()
    }
}

/// Usage in an answer of another kind.
pub fn usage_of_other(body: &[u8]) -> Option<ir::Usage> {
    #[derive(Deserialize)]
    struct Other {
        usage: Counts,
    }
    serde_json::from_slice::<Other>(body).ok()?.usage.usage()
}

/// The end of a long answer, where its usage stands.
#[derive(Debug, Default)]
pub struct Tail(BytesMut);

/// How much of a long answer's end is kept.
const TAIL_BYTES_MAX: usize = 4 << 10;

impl Tail {
    /// Reads a piece.
    pub fn feed(&mut self, piece: &[u8]) {
        let piece = &piece[piece.len().saturating_sub(TAIL_BYTES_MAX)..];
        let over = (self.0.len() + piece.len()).saturating_sub(2 * TAIL_BYTES_MAX);
        if over > 0 {
            let gone = self.0.len().saturating_sub(TAIL_BYTES_MAX);
            let _ = self.0.split_to(gone);
        }
        self.0.extend_from_slice(piece);
    }

    /// The last `"usage"` in it.
    pub fn usage(&self) -> Option<ir::Usage> {
        let at = memchr::memmem::rfind(&self.0, b"\"usage\"")? + b"\"usage\"".len();
        let value = self.0[at..].trim_ascii_start().strip_prefix(b":")?;
        serde_json::Deserializer::from_slice(value).into_iter::<Counts>().next()?.ok()?.usage()
    }
}

fn message_of(error: &serde_json::Value) -> String {
    error["message"].as_str().or(error.as_str()).unwrap_or("the upstream reported an error").to_owned()
}

/// Reads along a stream of any dialect.
#[derive(Debug)]
pub enum Tap {
    /// Chat and text completions: looks only into frames that matter.
    Frames(Frames),
    /// Any other: reads every event.
    Events { decoder: Box<Decoder>, seen: Seen, events: Vec<Event>, at_boundary: bool },
}

impl Tap {
    /// `strip_usage`: the extra usage frame of a chat stream is for the router alone.
    pub fn new(dialect: Dialect, strip_usage: bool) -> Self {
        match dialect {
            Dialect::Chat => Self::Frames(Frames::new(strip_usage)),
            other => Self::Events { decoder: Box::new(Decoder::new(other)), seen: Seen::default(), events: Vec::new(), at_boundary: true },
        }
    }

    /// So many choices were asked for: without its end mark a chat stream is whole only where all of them said why they end.
    #[must_use]
    pub fn expecting(mut self, choices: u32) -> Self {
        if let Self::Frames(frames) = &mut self {
            frames.expected = choices;
        }
        self
    }

    /// For a stream of nobody knows which kind: usage is read where it looks like chat's, and any end is a normal one.
    pub fn lenient() -> Self {
        Self::Frames(Frames { seen: Seen { done: true, ..Seen::default() }, is_lenient: true, ..Frames::default() })
    }

    /// What was read so far.
    pub fn seen(&self) -> &Seen {
        match self {
            Self::Frames(frames) => &frames.seen,
            Self::Events { seen, .. } => seen,
        }
    }

    /// Reads a piece and gives back what goes to the client.
    pub fn feed(&mut self, piece: Bytes) -> Bytes {
        match self {
            Self::Frames(frames) => return frames.feed(piece),
            Self::Events { decoder, seen, events, at_boundary } => {
                *at_boundary = piece.ends_with(b"\n\n") || piece.ends_with(b"\r\n\r\n");
                // Too long to read is not too long to pass on.
                let _ = decoder.feed(&piece, events);
                events.drain(..).for_each(|event| seen.note(&event));
            }
        }
        piece
    }

    /// Whether the last bytes given back are inside a frame.
    pub fn is_inside_frame(&self) -> bool {
        match self {
            Self::Frames(frames) => frames.skipping,
            Self::Events { at_boundary, .. } => !at_boundary,
        }
    }

    /// The stream has ended: what was held back. `is_clean`: the upstream ended it, nothing broke.
    pub fn finish(&mut self, is_clean: bool) -> Bytes {
        match self {
            Self::Frames(frames) => frames.finish(is_clean),
            Self::Events { decoder, seen, events, .. } => {
                decoder.finish(events);
                // Whether it was cut is the meter's to say.
                events.retain(|event| !event.is_cut());
                events.drain(..).for_each(|event| seen.note(&event));
                Bytes::new()
            }
        }
    }
}

impl Seen {
    /// Takes over what an event says.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::Usage(usage) => self.usage = usage.plausible().or(self.usage),
            Event::Start { model, .. } => self.model = Some(model.clone()),
            Event::Finish { reason, .. } => self.finish = Some(chat::encode::finish(reason).to_owned()),
            Event::End => self.done = true,
            Event::Failed { message, .. } => self.error = Some(message.clone()),
            Event::Delta { delta, .. } => self.tokens += guessed(delta.text_bytes()),
            _ => {}
        }
    }

    /// What a whole answer in events says.
    pub fn of(events: &[Event]) -> Self {
        let mut seen = Self::default();
        for event in events {
            seen.note(event);
        }
        seen
    }
}

/// Reads along the frames of chat and text-completion streams.
#[derive(Debug, Default)]
pub struct Frames {
    /// The tail of a frame whose end has not come.
    held: BytesMut,
    /// Take the usage-only chunk out: the router asked for it, the client did not.
    strip_usage: bool,
    /// The held bytes were given up on; they pass until the next frame.
    skipping: bool,
    /// Usage may have any of its names.
    is_lenient: bool,
    /// The last thing that was said is why the answer ended: some servers leave the end mark out.
    is_said: bool,
    /// Choices that said why they ended, a bit for each.
    ended: u128,
    /// Choices that were asked for.
    expected: u32,
    seen: Seen,
}

impl Frames {
    fn new(strip_usage: bool) -> Self {
        Self { strip_usage, ..Self::default() }
    }

    /// Reads a piece and gives back what goes to the client: the same bytes in whole frames. A frame is held back until its end
    /// has come, so that an error or a comment can follow wherever the upstream stops.
    fn feed(&mut self, piece: Bytes) -> Bytes {
        if self.held.is_empty() && !self.skipping && piece.ends_with(b"\n\n") && self.read_frames(&piece).is_none() {
            return piece;
        }
        self.feed_slowly(&piece)
    }

    /// The stream has ended: what was held back, a frame without its end.
    fn finish(&mut self, is_clean: bool) -> Bytes {
        let rest = self.held.split().freeze();
        if !rest.is_empty() {
            self.frame(&rest);
        }
        self.seen.done |= is_clean && self.is_said && self.ended.count_ones() >= self.expected.min(u128::BITS);
        rest
    }

    /// Reads whole frames; `Some` if one of them must be taken out.
    fn read_frames(&mut self, piece: &[u8]) -> Option<()> {
        if self.strip_usage && may_be_usage_only(piece) {
            return Some(());
        }
        let mut from = 0;
        while let Some(end) = frame_end(&piece[from..]) {
            self.frame(&piece[from..from + end]);
            from += end;
        }
        None
    }

    fn feed_slowly(&mut self, piece: &Bytes) -> Bytes {
        self.held.extend_from_slice(piece);
        let mut out = BytesMut::new();
        while let Some(end) = frame_end(&self.held) {
            let frame = self.held.split_to(end);
            if self.skipping {
                self.skipping = false;
            } else if self.frame(&frame) && self.strip_usage {
                continue;
            }
            out.extend_from_slice(&frame);
        }
        if self.held.len() > FRAME_BYTES_MAX {
            self.skipping = true;
            out.extend_from_slice(&self.held.split());
        }
        out.freeze()
    }

    /// Reads one frame; true if it is a chunk that holds nothing but usage.
    fn frame(&mut self, frame: &[u8]) -> bool {
        let Some(data) = data_of(frame) else { return false };
        if data == b"[DONE]" {
            self.seen.done = true;
            return false;
        }
        self.seen.tokens += if data.len() > LONG_FRAME_BYTES { guessed(text_bytes(data)) } else { 1 };
        let was_said = std::mem::take(&mut self.is_said);
        let may_end = may_end(data);
        let may_fail = || ERROR.find(data).is_some();
        if !(may_end || may_use(data) || may_fail()) {
            return false;
        }
        let Ok(read) = serde_json::from_slice::<Frame>(data) else { return false };
        if let Some(error) = read.error.filter(|e| !e.is_null()) {
            self.seen.error = Some(message_of(&error));
        } else if read.object.as_deref() == Some("error") {
            self.seen.error = Some(message_of(&serde_json::json!({ "message": read.message })));
        }
        let no_choices = read.choices.as_ref().is_some_and(Vec::is_empty);
        self.is_said = was_said && no_choices;
        for Ending { index, finish_reason } in read.choices.into_iter().flatten() {
            if let Some(reason) = finish_reason.filter(|reason| !reason.is_empty()) {
                self.seen.finish = Some(reason);
                self.is_said = true;
                self.ended |= 1 << index.min(u128::BITS - 1);
            }
        }
        let usage = if self.is_lenient { usage_of_other(data) } else { read.usage.as_ref().and_then(known) };
        self.seen.usage = usage.or(self.seen.usage);
        usage.is_some() && no_choices
    }
}

/// Whether a frame may say why its answer ended.
fn may_end(data: &[u8]) -> bool {
    has_value(&FINISH, b'"', data)
}

/// Whether a frame may say what was used; most say `null`.
fn may_use(data: &[u8]) -> bool {
    has_value(&USAGE, b'{', data)
}

/// Whether a member has a value that begins so.
fn has_value(member: &Finder<'_>, first: u8, data: &[u8]) -> bool {
    let begins_so = |at: usize| {
        let value = data[at + member.needle().len()..].trim_ascii_start().strip_prefix(b":");
        value.is_some_and(|value| value.trim_ascii_start().first() == Some(&first))
    };
    member.find_iter(data).any(begins_so)
}

// Made once: to make one costs more than to look through a frame.
static FINISH: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"finish_reason\""));
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"usage\""));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"error\""));

fn may_be_usage_only(piece: &[u8]) -> bool {
    USAGE.find(piece).is_some()
}

/// The length of the first frame, its empty line included.
fn frame_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = memchr::memchr(b'\n', &bytes[from..]) {
        let next = from + at + 1;
        match &bytes[next..] {
            [b'\n', ..] => return Some(next + 1),
            [b'\r', b'\n', ..] => return Some(next + 2),
            _ => from = next,
        }
    }
    None
}

/// The text of a frame with one `data:` line; comments and other fields are passed over.
fn data_of(frame: &[u8]) -> Option<&[u8]> {
    frame.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"data:")).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const USAGE: &str = r#"data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;
    const TEXT: &str = r#"data: {"choices":[{"index":0,"delta":{"content":"\"usage\":{"},"finish_reason":null}],"usage":null}"#;
    const LAST: &str = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

    fn stream() -> String {
        [": hello", TEXT, TEXT, LAST, USAGE, "data: [DONE]"].map(|f| format!("{f}\n\n")).concat()
    }

    fn run(strip: bool, parts: &[&[u8]]) -> (Vec<u8>, Seen) {
        let mut tap = Tap::new(Dialect::Chat, strip);
        let mut out = Vec::new();
        for part in parts {
            out.extend_from_slice(&tap.feed(Bytes::copy_from_slice(part)));
        }
        out.extend_from_slice(&tap.finish(true));
        (out, tap.seen().clone())
    }

    #[test]
    fn reads_a_whole_answer() {
        let seen = whole(br#"{"id":"x","model":"m","choices":[{"message":{"content":"hi"},"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#).unwrap();
        assert_eq!(
            (seen.usage.map(|u| u.input() + u.output()), seen.model.as_deref(), seen.finish.as_deref()),
            (Some(5), Some("m"), Some("length"))
        );
        assert_eq!(whole(b"<html>"), None);
    }

    #[test]
    fn other_answers_count_in_their_own_words() {
        let count = |text: &str| usage_of_other(text.as_bytes()).map(|u| (u.input(), u.output()));
        assert_eq!(count(r#"{"data":[],"usage":{"input_tokens":7,"output_tokens":9,"total_tokens":16}}"#), Some((7, 9)));
        assert_eq!(count(r#"{"usage":{"prompt_tokens":3,"completion_tokens":2}}"#), Some((3, 2)));
        assert_eq!(count(r#"{"results":[],"usage":{"total_tokens":12}}"#), Some((12, 0)));
        assert_eq!((count(r#"{"text":"hi","usage":{"type":"duration","seconds":3}}"#), count("[]")), (None, None));
        let mut tap = Tap::lenient();
        tap.feed(Bytes::from_static(b"data: {\"type\":\"transcript.text.done\",\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}\n\n"));
        assert_eq!(tap.seen().usage.map(|u| (u.input(), u.output())), Some((5, 1)));
    }

    #[test]
    fn a_long_answers_usage_stands_at_its_end() {
        let long =
            format!(r#"{{"data":[{{"b64_json":"{}"}}],"usage": {{"input_tokens":7,"output_tokens":9}}, "x":1}}"#, "A".repeat(100_000));
        for size in [1, 100, 5000, 200_000] {
            let mut tail = Tail::default();
            long.as_bytes().chunks(size).for_each(|piece| tail.feed(piece));
            assert_eq!(tail.usage().map(|u| (u.input(), u.output())), Some((7, 9)), "{size}");
            assert!(tail.0.len() <= 2 * TAIL_BYTES_MAX);
        }
    }

    #[test]
    fn sees_an_error_inside() {
        for error in [r#"{"error":{"message":"out of memory"}}"#, r#"{"object": "error", "message": "out of memory", "code": 500}"#] {
            let (_, seen) = run(false, &[format!("data: {error}\n\n").as_bytes()]);
            assert_eq!((seen.error.as_deref(), seen.done), (Some("out of memory"), false), "{error}");
        }
    }

    #[test]
    fn a_reason_at_the_end_is_as_good_as_an_end_mark() {
        let spaced = LAST.replace(':', ": ");
        for (frames, is_whole) in [
            (&[TEXT, LAST][..], true),
            (&[TEXT, &spaced], true),
            (&[LAST, USAGE], true),
            (&[TEXT], false),
            (&[LAST, TEXT], false),
            (&[USAGE], false),
        ] {
            for is_clean in [true, false] {
                let mut tap = Tap::new(Dialect::Chat, false);
                for frame in frames {
                    tap.feed(format!("{frame}\n\n").into());
                }
                tap.finish(is_clean);
                assert_eq!(tap.seen().done, is_whole && is_clean, "{frames:?}");
            }
        }
    }

    #[test]
    fn without_an_end_mark_all_choices_that_were_asked_for_have_to_end() {
        let say = |index: u32, reason: &str| {
            format!("data: {{\"choices\":[{{\"index\":{index},\"delta\":{{}},\"finish_reason\":{reason}}}]}}\n\n")
        };
        let (first, second, more) = (say(0, "\"stop\""), say(1, "\"length\""), say(1, "null"));
        let both = "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"},{\"index\":1,\"finish_reason\":\"stop\"}]}\n\n".to_owned();
        for (frames, choices, is_whole) in [
            (vec![&first], 1, true),
            (vec![&first], 2, false),
            (vec![&first, &more, &second], 2, true),
            (vec![&first, &second, &more], 2, false),
            (vec![&first, &first], 2, false),
            (vec![&both], 2, true),
            (vec![&both], 3, false),
        ] {
            let mut tap = Tap::new(Dialect::Chat, false).expecting(choices);
            let mut decoder = Decoder::new(Dialect::Chat).expecting(choices);
            let mut events = Vec::new();
            for frame in &frames {
                tap.feed((*frame).clone().into());
                decoder.feed(frame.as_bytes(), &mut events).unwrap();
            }
            tap.finish(true);
            decoder.finish(&mut events);
            assert_eq!(tap.seen().done, is_whole, "{frames:?}");
            // The decoder reads a choice that goes on after its end as ended.
            if frames.last() != Some(&&more) {
                assert_eq!(matches!(events.last(), Some(Event::End)), is_whole, "{frames:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn bytes_pass_untouched_however_they_are_cut(cuts in prop::collection::vec(0usize..500, 0..8), strip: bool, crlf: bool) {
            let mut text = stream();
            let mut wanted = if strip { text.replace(&format!("{USAGE}\n\n"), "") } else { text.clone() };
            if crlf {
                text = text.replace('\n', "\r\n");
                wanted = wanted.replace('\n', "\r\n");
            }
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|c| c.min(bytes.len())).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let parts: Vec<_> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            let (out, seen) = run(strip, &parts);
            prop_assert_eq!(String::from_utf8(out).unwrap(), wanted);
            prop_assert_eq!(seen.usage.map(|u| u.input() + u.output()), Some(5));
            prop_assert_eq!((seen.done, seen.finish.as_deref(), seen.error), (true, Some("stop"), None));
        }
    }

    #[test]
    fn long_pieces_count_for_what_they_say() {
        let frame = |text: &str| Bytes::from(format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"));
        for (text, tokens) in [("a".to_owned(), 1), ("a".repeat(4000), 1000)] {
            let mut tap = Tap::new(Dialect::Chat, false);
            tap.feed(frame(&text));
            assert_eq!(tap.seen().tokens, tokens);
        }
        let event = |text: &str| Event::Delta { choice: 0, block: 0, delta: ir::Delta::Text(text.to_owned()) };
        assert_eq!(Seen::of(&[event("a"), event(&"a".repeat(4000))]).tokens, 1001);
    }
}
