//! A look at the beginning of a stream: whether it says something, or fails before it does.

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use wire::{
    Dialect,
    dialect::Decoder,
    error,
    ir::{BlockKind, Delta, Event, Finish},
    sse::{SseEvent, SseReader},
};

/// Most bytes that are held while a stream has not said anything.
const HELD_BYTES_MAX: usize = 64 << 10;

/// How a stream is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lens {
    /// A generation on this wire, to be translated.
    Spoken(Dialect),
    /// A generation on this wire that goes on as it is, also where it could not be translated.
    Untouched(Dialect),
    /// Server-sent events of any other kind: the first that is no error says something.
    Frames,
    /// Bytes of any kind: the first say something.
    Bytes,
}

enum Reader {
    Spoken(Box<Decoder>, Vec<Event>),
    Frames(SseReader),
    Bytes,
}

/// An error that an upstream reports inside a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) message: String,
    pub(crate) code: Option<String>,
}

impl Said {
    /// The status that goes with the error's name; 500 where it has none that is known.
    pub(crate) fn status(&self) -> u16 {
        self.code.as_deref().and_then(error::status_of).unwrap_or(500)
    }

    /// The error as a body that stands alone.
    pub(crate) fn body(&self) -> Vec<u8> {
        json!({"error": {"message": self.message, "type": self.code, "code": self.code}}).to_string().into_bytes()
    }
}

/// What has been seen so far.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing that matters yet.
    More,
    /// It says something, or has been held for long enough.
    Begun,
    /// It failed before it said anything.
    Failed(Said),
    /// It has ended without a word.
    Nothing,
}

/// Holds the beginning of a stream.
pub(crate) struct Probe {
    reader: Reader,
    is_untouched: bool,
    held: BytesMut,
    /// The only piece so far, which is the usual case.
    only: Option<Bytes>,
}

impl Probe {
    pub(crate) fn new(lens: Lens) -> Self {
        let reader = match lens {
            Lens::Spoken(dialect) | Lens::Untouched(dialect) => Reader::Spoken(Box::new(Decoder::new(dialect)), Vec::new()),
            Lens::Frames => Reader::Frames(SseReader::new()),
            Lens::Bytes => Reader::Bytes,
        };
        Self { reader, is_untouched: matches!(lens, Lens::Untouched(_)), held: BytesMut::new(), only: None }
    }

    /// Takes the next piece.
    pub(crate) fn look(&mut self, piece: Bytes) -> Look {
        let look = match &mut self.reader {
            Reader::Bytes => Look::Begun,
            Reader::Spoken(decoder, events) => match decoder.feed(&piece, events) {
                Ok(()) => spoken(events, self.is_untouched),
                // Too long to be read is not too long to be passed on.
                Err(_) => Look::Begun,
            },
            Reader::Frames(reader) => {
                let mut look = Look::More;
                let read = reader.feed(&piece, |event| first(&mut look, &event));
                if read.is_err() { Look::Begun } else { look }
            }
        };
        self.keep(piece);
        let held = self.held.len() + self.only.as_ref().map_or(0, Bytes::len);
        if look == Look::More && held > HELD_BYTES_MAX { Look::Begun } else { look }
    }

    /// The stream has ended.
    pub(crate) fn finish(&mut self) -> Look {
        let look = match &mut self.reader {
            Reader::Bytes => Look::More,
            Reader::Spoken(decoder, events) => {
                decoder.finish(events);
                // That it was cut off is no error of the upstream's own.
                events.retain(|event| !event.is_cut());
                // A last frame without its end is whole only where it says that it is the last.
                let is_whole = events.iter().any(|event| matches!(event, Event::Finish { .. } | Event::End | Event::Failed { .. }));
                if is_whole { spoken(events, self.is_untouched) } else { Look::More }
            }
            Reader::Frames(reader) => {
                let mut look = Look::More;
                std::mem::take(reader).finish(|event| first(&mut look, &event));
                look
            }
        };
        if look == Look::More { Look::Nothing } else { look }
    }

    /// All that was taken.
    pub(crate) fn held(self) -> Bytes {
        self.only.unwrap_or_else(|| self.held.freeze())
    }

    fn keep(&mut self, piece: Bytes) {
        match self.only.take() {
            None if self.held.is_empty() => self.only = Some(piece),
            before => {
                self.held.extend_from_slice(&before.unwrap_or_default());
                self.held.extend_from_slice(&piece);
            }
        }
    }
}

/// The first event that decides.
fn spoken(events: &mut Vec<Event>, is_untouched: bool) -> Look {
    let look = events.drain(..).find_map(|event| match event {
        // Not being understood is no failure where nobody has to.
        Event::Failed { code: Some(code), .. } if is_untouched && code == Event::UNREADABLE => Some(Look::Begun),
        Event::Failed { message, code } => Some(Look::Failed(Said { message, code })),
        Event::Finish { reason: Finish::MalformedCall, .. } => {
            Some(Look::Failed(Said { message: Finish::MALFORMED_CALL.to_owned(), code: None }))
        }
        Event::BlockStart { kind: BlockKind::ToolCall { .. } | BlockKind::Opaque { .. }, .. } | Event::Finish { .. } | Event::End => {
            Some(Look::Begun)
        }
        Event::Delta { delta: Delta::Text(text) | Delta::Reasoning(text) | Delta::Refusal(text) | Delta::Arguments(text), .. } => {
            (!text.is_empty()).then_some(Look::Begun)
        }
        Event::Delta { .. } => Some(Look::Begun),
        Event::Start { .. } | Event::BlockStart { .. } | Event::BlockStop { .. } | Event::Usage(_) => None,
    });
    look.unwrap_or(Look::More)
}

/// Takes a frame of a stream of another kind.
fn first(look: &mut Look, event: &SseEvent) {
    if *look != Look::More {
        return;
    }
    let error = serde_json::from_str::<Value>(&event.data).ok().map(|mut data| data["error"].take()).filter(|error| !error.is_null());
    *look = match (error, event.name.as_deref()) {
        (None, Some("error")) => Look::Failed(Said { message: "the upstream reported an error".to_owned(), code: None }),
        (None, _) => Look::Begun,
        (Some(error), _) => {
            let text = |value: &Value| value.as_str().map(str::to_owned).or_else(|| value.as_u64().map(|n| n.to_string()));
            let message = text(&error["message"]).or_else(|| text(&error)).unwrap_or_else(|| "the upstream reported an error".to_owned());
            Look::Failed(Said { message, code: text(&error["code"]).or_else(|| text(&error["type"])) })
        }
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn look(lens: Lens, pieces: &[&str]) -> (Look, String) {
        let mut probe = Probe::new(lens);
        let mut look = Look::More;
        for piece in pieces {
            look = probe.look(Bytes::copy_from_slice(piece.as_bytes()));
            if look != Look::More {
                break;
            }
        }
        if look == Look::More {
            look = probe.finish();
        }
        (look, String::from_utf8(probe.held().to_vec()).unwrap())
    }

    const ROLE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    const WORD: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    const GEMINI: &str = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Hi\"}]},\"finishReason\":\"STOP\"}]}";
    const FAILED: &str = "data: {\"error\":{\"message\":\"no more\",\"code\":\"rate_limit_exceeded\"}}\n\n";

    #[test]
    fn a_stream_begins_with_its_first_word() {
        let chat = Lens::Spoken(Dialect::Chat);
        for (lens, pieces, wanted) in [
            (chat, vec![ROLE, WORD], Look::Begun),
            (chat, vec![ROLE, ": ping\n\n"], Look::Nothing),
            (chat, vec![], Look::Nothing),
            (
                chat,
                vec!["data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n", "data: [DONE]\n\n"],
                Look::Begun,
            ),
            (chat, vec!["data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}"], Look::Nothing),
            (Lens::Spoken(Dialect::Gemini), vec![GEMINI], Look::Begun),
            (Lens::Spoken(Dialect::Messages), vec!["event: ping\ndata: {\"type\":\"ping\"}\n\n"], Look::Nothing),
            (Lens::Frames, vec!["data: {\"type\":\"transcript.text.delta\",\"delta\":\"a\"}\n\n"], Look::Begun),
            (Lens::Frames, vec![": hello\n\n"], Look::Nothing),
            (Lens::Bytes, vec!["["], Look::Begun),
        ] {
            assert_eq!(look(lens, &pieces), (wanted, pieces.concat()), "{lens:?} {pieces:?}");
        }
    }

    #[test]
    fn a_stream_that_fails_first_says_how() {
        let said = |message: &str, code: Option<&str>| Look::Failed(Said { message: message.to_owned(), code: code.map(str::to_owned) });
        assert_eq!(look(Lens::Spoken(Dialect::Chat), &[ROLE, FAILED]).0, said("no more", Some("rate_limit_exceeded")));
        let overloaded =
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
        assert_eq!(look(Lens::Spoken(Dialect::Messages), &[overloaded]).0, said("Overloaded", Some("overloaded_error")));
        assert_eq!(look(Lens::Frames, &[overloaded]).0, said("Overloaded", Some("overloaded_error")));
        assert_eq!(look(Lens::Spoken(Dialect::Chat), &[WORD, FAILED]).0, Look::Begun, "after the first word it is too late");
        assert_eq!(look(Lens::Frames, &["event: error\ndata: boom\n\n"]).0, said("the upstream reported an error", None));
    }

    #[test]
    fn what_cannot_be_translated_goes_on_where_it_need_not_be() {
        for odd in ["{\"choices\":7}", "{\"choices\":[{\"index\":\"none\"}]}"] {
            let frame = format!("data: {odd}\n\n");
            assert_eq!(look(Lens::Untouched(Dialect::Chat), &[&frame]), (Look::Begun, frame.clone()));
            assert!(matches!(look(Lens::Spoken(Dialect::Chat), &[&frame]).0, Look::Failed(_)), "{odd}");
        }
        assert!(matches!(look(Lens::Untouched(Dialect::Chat), &["data: <html>\n\n"]).0, Look::Failed(_)));
    }

    #[test]
    fn a_call_that_the_model_did_not_get_right_is_a_failure() {
        let frame = "data: {\"candidates\":[{\"content\":{},\"finishReason\":\"MALFORMED_FUNCTION_CALL\",\"index\":0}]}\n\n";
        let mut probe = Probe::new(Lens::Spoken(Dialect::Gemini));
        probe.look(Bytes::from_static(frame.as_bytes()));
        assert!(matches!(probe.finish(), Look::Failed(said) if said.status() == 500));
    }

    #[test]
    fn errors_have_the_status_of_their_name() {
        for (code, status) in [
            (Some("rate_limit_exceeded"), 429),
            (Some("RESOURCE_EXHAUSTED"), 429),
            (Some("overloaded_error"), 503),
            (Some("invalid_request_error"), 400),
            (Some("context_length_exceeded"), 400),
            (Some("PERMISSION_DENIED"), 403),
            (Some("529"), 529),
            (Some("server_error"), 500),
            (None, 500),
        ] {
            assert_eq!(Said { message: String::new(), code: code.map(str::to_owned) }.status(), status, "{code:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_however_it_is_cut(cuts in prop::collection::vec(1_usize..40, 0..20)) {
            let whole = format!("{ROLE}{ROLE}: a comment\n\n{WORD}");
            let mut probe = Probe::new(Lens::Spoken(Dialect::Chat));
            let (mut rest, mut taken, mut look) = (&*whole, String::new(), Look::More);
            for cut in cuts.into_iter().chain([whole.len()]) {
                let (piece, left) = rest.split_at(cut.min(rest.len()));
                if piece.is_empty() || look != Look::More {
                    break;
                }
                look = probe.look(Bytes::copy_from_slice(piece.as_bytes()));
                taken.push_str(piece);
                rest = left;
            }
            prop_assert_eq!(look, Look::Begun);
            prop_assert_eq!(probe.held(), taken);
        }
    }
}
