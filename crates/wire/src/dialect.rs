//! The four dialects behind one face: which codec reads and writes what.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    AnswerLosses, chat, completions,
    error::Failure,
    extra, gemini,
    ir::{Event, Family, Request},
    losses::Losses,
    messages, responses,
    sse::{TooLong, write_json},
};

/// How a caller or an upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    Chat,
    Responses,
    Messages,
    Gemini,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Chat, Self::Responses, Self::Messages, Self::Gemini];

    /// The word in settings and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Gemini => "gemini",
        }
    }

    /// Whose state and own members this dialect understands.
    pub const fn family(self) -> Family {
        match self {
            Self::Chat => Family::Chat,
            Self::Responses => Family::Responses,
            Self::Messages => Family::Messages,
            Self::Gemini => Family::Gemini,
        }
    }

    /// What of an answer a caller of this dialect cannot be shown.
    pub fn answer_losses(self, events: &[Event]) -> Losses {
        let mut reader = AnswerLosses::new(self);
        for event in events {
            reader.event(event);
        }
        reader.into_losses()
    }

    /// The path of a generation below an upstream's base URL.
    pub fn path(self, model: &str, stream: bool) -> String {
        match (self, stream) {
            (Self::Chat, _) => "/chat/completions".to_owned(),
            (Self::Responses, _) => "/responses".to_owned(),
            (Self::Messages, _) => "/messages".to_owned(),
            (Self::Gemini, false) => gemini::path(model, "generateContent"),
            (Self::Gemini, true) => gemini::path(model, "streamGenerateContent?alt=sse"),
        }
    }

    /// Reads a request. `model` and `stream` count where the dialect has them in the path.
    ///
    /// # Errors
    /// A failure that names the field.
    pub fn decode_request(self, body: &[u8], model: &str, stream: bool) -> Result<Request, Failure> {
        match self {
            Self::Chat => chat::decode::request(body),
            Self::Responses => responses::decode::request(body),
            Self::Messages => messages::decode::request(body),
            Self::Gemini => gemini::decode::request(body, model, stream),
        }
    }

    /// Writes a request; what cannot be carried is noted.
    pub fn encode_request(self, request: &Request, losses: &mut Losses) -> Value {
        match self {
            Self::Chat => chat::encode::request(request, losses),
            Self::Responses => responses::encode::request(request, losses),
            Self::Messages => messages::encode::request(request, losses),
            Self::Gemini => gemini::encode::request(request, losses),
        }
    }

    /// As [`Self::encode_request`], where it is known that the model writes `max_output_tokens` at most. Only Messages has to name a limit,
    /// so only there it counts.
    pub fn encode_request_within(self, request: &Request, max_output_tokens: Option<u32>, losses: &mut Losses) -> Value {
        match self {
            Self::Messages => messages::encode::request_within(request, max_output_tokens, losses),
            _ => self.encode_request(request, losses),
        }
    }

    /// Whether a request can be asked in this dialect at all: what stands for a part of the input that only the caller's own server knows
    /// cannot be left out. Nothing is lost on the way to the same dialect.
    ///
    /// # Errors
    /// [`crate::Code::UnsupportedParameter`] that names the field: `previous_response_id`, `conversation`, `prompt`, `background`, an
    /// `item_reference` in `input`, `cachedContent`.
    pub fn check_request(self, request: &Request) -> Result<(), Failure> {
        if request.family == Some(self.family()) { Ok(()) } else { extra::check(request, self.name()) }
    }

    /// Reads a whole answer.
    ///
    /// # Errors
    /// Where it is none of this dialect.
    pub fn decode_response(self, body: &[u8]) -> Result<Vec<Event>, Failure> {
        let body = &crate::json::mended(body);
        match self {
            Self::Chat => chat::decode::response(body),
            Self::Responses => responses::decode::response(body),
            Self::Messages => messages::decode::response(body),
            Self::Gemini => gemini::decode::response(body),
        }
    }

    /// Writes a request for the number of its tokens, for the dialects that count: Messages ("Count tokens in a Message") and Gemini
    /// (`countTokens`).
    pub fn encode_count(self, request: &Request, losses: &mut Losses) -> Value {
        let body = self.encode_request(request, losses);
        match (self, body) {
            (Self::Messages, Value::Object(mut body)) => {
                body.retain(|name, _| messages::encode::COUNTED.contains(&name.as_str()));
                body.into()
            }
            (Self::Gemini, mut body) => {
                body["model"] = format!("models/{}", request.model).into();
                serde_json::json!({"generateContentRequest": body})
            }
            (_, body) => body,
        }
    }

    /// The number that such an answer says.
    pub fn decode_count(self, body: &[u8]) -> Option<u64> {
        let said: Value = serde_json::from_slice(body).ok()?;
        said.get(if self == Self::Gemini { "totalTokens" } else { "input_tokens" })?.as_u64()
    }

    /// Writes such an answer.
    pub fn encode_count_answer(self, tokens: u64) -> Value {
        match self {
            Self::Gemini => gemini::encode::count(tokens),
            _ => messages::encode::count(tokens),
        }
    }

    /// Writes a whole answer.
    pub fn encode_response(self, events: &[Event]) -> Value {
        match self {
            Self::Chat => chat::encode::response_body(events),
            Self::Responses => responses::encode::response(events),
            Self::Messages => messages::encode::response(events),
            Self::Gemini => gemini::encode::response(events),
        }
    }

    /// The body of an error.
    pub fn failure(self, failure: &Failure, request_id: &str) -> Value {
        match self {
            Self::Chat | Self::Responses => failure.to_openai(Some(request_id)),
            Self::Messages => messages::encode::failure(failure, request_id),
            Self::Gemini => gemini::encode::failure(failure, request_id),
        }
    }

    /// The frames with which a broken stream ends; no normal end mark follows.
    pub fn error_frame(self, failure: &Failure, request_id: &str) -> Bytes {
        let body = self.failure(failure, request_id);
        let mut out = Vec::new();
        match self {
            Self::Messages => {
                out.extend_from_slice(b"event: error\n");
                write_json(&mut out, &body);
            }
            Self::Responses => {
                let error = &body["error"];
                let frame = json!({"type": "error", "code": error["code"], "message": error["message"], "param": error["param"], "sequence_number": 0});
                out.extend_from_slice(b"event: error\n");
                write_json(&mut out, &frame);
            }
            Self::Chat | Self::Gemini => write_json(&mut out, &body),
        }
        out.into()
    }

    /// What is sent into a silence; Gemini's SDK fails on comments.
    pub const fn keepalive(self) -> Option<Bytes> {
        match self {
            Self::Chat | Self::Responses => Some(Bytes::from_static(b": keepalive\n\n")),
            Self::Messages => Some(Bytes::from_static(b"event: ping\ndata: {\"type\": \"ping\"}\n\n")),
            Self::Gemini => None,
        }
    }
}

/// Reads a stream of any dialect.
#[derive(Debug)]
pub enum Decoder {
    Chat(chat::stream::Decoder),
    Responses(responses::stream::Decoder),
    Messages(messages::stream::Decoder),
    Gemini(gemini::stream::Decoder),
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Chat => Self::Chat(chat::stream::Decoder::new()),
            Dialect::Responses => Self::Responses(responses::stream::Decoder::new()),
            Dialect::Messages => Self::Messages(messages::stream::Decoder::new()),
            Dialect::Gemini => Self::Gemini(gemini::stream::Decoder::new()),
        }
    }

    /// So many choices were asked for; see [`chat::stream::Decoder::expecting`].
    #[must_use]
    pub fn expecting(self, choices: u32) -> Self {
        match self {
            Self::Chat(d) => Self::Chat(d.expecting(choices)),
            other => other,
        }
    }

    /// Reads more bytes.
    ///
    /// # Errors
    /// [`TooLong`]: an event beyond all bounds.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), TooLong> {
        match self {
            Self::Chat(d) => d.feed(bytes, out),
            Self::Responses(d) => d.feed(bytes, out),
            Self::Messages(d) => d.feed(bytes, out),
            Self::Gemini(d) => d.feed(bytes, out),
        }
    }

    /// The bytes have ended.
    pub fn finish(&mut self, out: &mut Vec<Event>) {
        match self {
            Self::Chat(d) => d.finish(out),
            Self::Responses(d) => d.finish(out),
            Self::Messages(d) => d.finish(out),
            Self::Gemini(d) => d.finish(out),
        }
    }
}

/// Writes a stream of any dialect, text completions included.
#[derive(Debug)]
pub enum Encoder {
    Chat(chat::stream::Encoder),
    Completions(completions::encode::Encoder),
    Responses(Box<responses::stream::Encoder>),
    Messages(Box<messages::stream::Encoder>),
    Gemini(gemini::stream::Encoder),
}

impl Encoder {
    /// Appends the frames of one event.
    pub fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        match self {
            Self::Chat(e) => e.event(event, out),
            Self::Completions(e) => e.event(event, out),
            Self::Responses(e) => e.event(event, out),
            Self::Messages(e) => e.event(event, out),
            Self::Gemini(e) => e.event(event, out),
        }
    }
}
