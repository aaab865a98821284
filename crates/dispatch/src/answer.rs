//! What an upstream answers, read as far as it has to be.

use std::{future::poll_fn, pin::Pin, sync::Arc};

use bytes::{Bytes, BytesMut};
use fleet::InFlight;
use http::{HeaderMap, Response, StatusCode, header, response::Parts};
use http_body::Body as _;
use journey::{AttemptOutcome, Body, Far, Operation, Request, Upload, When};
use net::ResponseBody;
use tokio::time::Instant;
use upstream::{Account, Judgement, Kind, Learned, Verdict, judge, limits, message_of};
use wire::{
    Code, Dialect, Failure,
    dialect::Decoder,
    ir::{Event, Finish, Usage},
    json,
    losses::Losses,
    tap::{self, Seen},
};

use crate::{
    ears::Ears,
    fault::{Fault, fault, fault_of},
    letter::Translation,
    probe::{Lens, Look, Probe, Said},
    resume::Again,
    run::Dispatch,
    stream::{Committed, Translated},
    way::Way,
};

/// Most bytes of a JSON answer of no known kind that are read before any of it is passed on.
const WHOLE_BYTES_MAX: usize = 1 << 20;

/// Sends a form. The time to the first byte runs while nothing of the form moves: how long it takes is the client's affair.
async fn sent_along(
    client: &net::Client,
    request: http::Request<net::Body>,
    timeouts: net::Timeouts,
    form: &Upload,
) -> Result<Response<ResponseBody>, net::Error> {
    let patient = net::Timeouts { first_byte: timeouts.total, ..timeouts };
    let mut sending = std::pin::pin!(client.send(request, &patient));
    loop {
        let before = form.bytes_passed();
        match tokio::time::timeout(timeouts.first_byte, &mut sending).await {
            Ok(sent) => return sent,
            Err(_) if form.bytes_passed() == before => return Err(net::Error::Timeout(net::Phase::FirstByte)),
            Err(_) => {}
        }
    }
}

/// Most bytes of an error answer that are read.
const ERROR_BYTES_MAX: usize = 256 << 10;

/// An answer for the client.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    /// What of it the caller's dialect cannot say, as far as it is known by now.
    pub(crate) losses: Losses,
    /// A refusal that another model may not have.
    pub(crate) refusal: When,
}

impl Answer {
    fn new(status: u16, body: Body) -> Self {
        Self { status, headers: HeaderMap::new(), body, losses: Losses::default(), refusal: When::Always }
    }

    /// As it came, with its content type.
    fn untouched(head: &Parts, body: Body) -> Self {
        let kind = head.headers.get(header::CONTENT_TYPE);
        let headers = kind.map(|v| (header::CONTENT_TYPE, v.clone())).into_iter().collect();
        Self { headers, ..Self::new(head.status.as_u16(), body) }
    }
}

/// One exchange with an upstream.
pub(crate) struct Exchange<'a> {
    d: &'a Dispatch<'a>,
    request: &'a Request,
    name: Arc<str>,
    account: Option<&'a Account>,
    wire: Dialect,
    timeouts: net::Timeouts,
    deadline: Instant,
    /// None where the answer is in the caller's dialect.
    translation: Option<Translation>,
    /// What it takes to go on elsewhere, where that is wanted.
    again: Option<Box<Again>>,
}

impl<'a> Exchange<'a> {
    /// Sends a way's request and reads the answer: a stream up to its first piece, anything else whole.
    pub(crate) async fn carry_out(
        d: &'a Dispatch<'a>,
        way: Box<Way<'a>>,
        request: &'a Request,
        deadline: Instant,
        guard: &mut Option<InFlight>,
    ) -> Result<Answer, Fault> {
        let Way { name, account, wire, timeouts, request: built, letter, again, .. } = *way;
        let client = if account.is_some() { d.client } else { d.node_client };
        let this = Self { d, request, name, account, wire, timeouts, deadline, translation: letter.translation, again };
        let sent = match &request.upload {
            // Boxed: few requests are forms, and all would carry the room for one.
            Some(form) => Box::pin(sent_along(client, built, timeouts, form)).await,
            None => client.send(built, &timeouts).await,
        };
        let response = sent.map_err(|e| fault_of(&this.name, &e))?;
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            let body = net::read_all(body.with_idle_timeout(timeouts.idle), ERROR_BYTES_MAX).await.unwrap_or_default();
            return this.refused(Response::from_parts(head, body));
        }
        this.taught(head.status, &head.headers, &[]);
        let kind = head.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let is_stream = kind.starts_with("text/event-stream");
        let is_array = this.translation.is_none() && request.in_path.as_ref().is_some_and(|p| p.as_array);
        let is_asked = request.head.stream || request.operation == Operation::Other;
        if is_asked && (is_stream || is_array) {
            let stream = this.committed(body, guard).await?;
            return Ok(this.streamed(&head, stream));
        }
        if request.operation == Operation::Other {
            return this.passed(&head, body, guard).await;
        }
        let whole = net::read_all(body.with_idle_timeout(timeouts.idle), d.body_bytes_max).await.map_err(|e| fault_of(&this.name, &e))?;
        match request.operation {
            Operation::Generate(_) if is_stream => this.gathered(&whole),
            _ => this.whole(&head, whole),
        }
    }

    fn streamed(self, head: &Parts, stream: Committed) -> Answer {
        if self.request.operation == Operation::Other {
            return Answer::untouched(head, Body::Stream(Box::pin(stream)));
        }
        let body: Body = match self.translation {
            Some(mut translation) => {
                let decoder = Decoder::new(translation.wire).expecting(translation.choices);
                let far = translation.far.take();
                let ears = Ears::new(self.d, self.request, translation);
                Body::Told(Box::pin(Translated::new(stream, decoder, self.request.encoder(), ears, far).going_on(self.again)))
            }
            None => Body::Stream(Box::pin(stream)),
        };
        Answer::new(200, body)
    }

    /// An answer of any kind: JSON is read whole if it is short, so that one that is broken moves on; all else passes from its first piece on.
    async fn passed(self, head: &Parts, body: ResponseBody, guard: &mut Option<InFlight>) -> Result<Answer, Fault> {
        let header = |name: header::HeaderName| head.headers.get(name).and_then(|v| v.to_str().ok());
        let is_json = header(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"));
        let length = header(header::CONTENT_LENGTH).and_then(|v| v.parse::<u64>().ok());
        let mut rest = Box::pin(body.with_idle_timeout(self.timeouts.idle));
        let mut first = BytesMut::new();
        loop {
            match poll_fn(|cx| rest.as_mut().poll_frame(cx)).await {
                Some(Ok(frame)) => first.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Some(Err(e)) => return Err(fault_of(&self.name, &e)),
                None => break,
            }
            if first.len() > WHOLE_BYTES_MAX || (!is_json && !first.is_empty() && length != Some(first.len() as u64)) {
                let stream = Committed::new(first.freeze(), rest, guard.take(), self.deadline);
                let mut answer = Answer::untouched(head, Body::Passage(Box::pin(stream)));
                let told =
                    [header::CONTENT_LENGTH, header::CONTENT_DISPOSITION].map(|name| (name.clone(), head.headers.get(name).cloned()));
                answer.headers.extend(told.into_iter().filter_map(|(name, value)| Some((name, value?))));
                return Ok(answer);
            }
        }
        if is_json {
            #[derive(serde::Deserialize)]
            struct Inside {
                error: Option<serde_json::Value>,
            }
            let is_broken = serde_json::from_slice::<serde::de::IgnoredAny>(&first).is_err();
            if is_broken {
                return Err(self.broken(head.status, "with something that is not JSON"));
            }
            if let Ok(Inside { error: Some(_) }) = serde_json::from_slice(&first) {
                let said = message_of(&first).unwrap_or_default();
                return Err(self.broken(head.status, &format!("{} with an error inside: {said}", head.status.as_u16())));
            }
        }
        let usage = if is_json { tap::usage_of_other(&first) } else { None };
        let mut answer = Answer::untouched(head, Body::Whole(first.freeze(), usage));
        answer.headers.extend(head.headers.get(header::CONTENT_DISPOSITION).map(|v| (header::CONTENT_DISPOSITION, v.clone())));
        Ok(answer)
    }

    /// Where the upstream's words are kept, if they are.
    fn far(&self) -> Option<&Far> {
        self.translation.as_ref()?.far.as_deref()
    }

    fn broken(&self, status: StatusCode, what: &str) -> Fault {
        fault(&self.name, AttemptOutcome::Broken, Some(status.as_u16()), format!("`{}` answered {what}", self.name))
    }

    /// An upstream's words as the caller may hear them.
    fn heard(&self, said: &str) -> Box<str> {
        self.account.map_or_else(|| said.into(), |account| account.masked(said).into_owned().into())
    }

    /// A whole answer: checked, and read where it has to change its dialect or become a stream.
    fn whole(self, head: &Parts, whole: Bytes) -> Result<Answer, Fault> {
        if let Some(far) = self.far() {
            far.kept().answered(&whole);
        }
        let own = match self.request.operation {
            // An upstream that does not stream: its whole answer becomes one.
            Operation::Generate(dialect) if self.request.head.stream => Some(dialect),
            _ => None,
        };
        let wire = self.translation.as_ref().map(|translation| translation.wire).or(own);
        // Gemini's other form of a stream is the list of its chunks.
        let is_list = wire == Some(Dialect::Gemini) && whole.trim_ascii_start().starts_with(b"[");
        let seen = if is_list { Some(Seen::default()) } else { tap::whole(&whole) };
        let seen = seen.ok_or_else(|| self.broken(head.status, "with something that is not JSON"))?;
        if let Some(error) = seen.error {
            let fault = self.broken(head.status, &format!("{} with an error inside", head.status.as_u16()));
            return Err(Fault { said: Some(self.heard(&error)), ..fault });
        }
        match wire {
            None if matches!(self.request.operation, Operation::Count(dialect) if dialect != self.wire) => {
                let counted = self.wire.decode_count(&whole);
                let tokens = counted.unwrap_or_else(|| self.request.guessed_tokens());
                let body = self.request.operation.dialect().encode_count_answer(tokens).to_string();
                let mut answer = Answer::untouched(head, Body::Whole(body.into(), None));
                if counted.is_none() {
                    answer.losses.change("input_tokens");
                }
                Ok(answer)
            }
            Some(wire) => {
                let events = wire.decode_response(&whole).map_err(|_| self.broken(head.status, "with JSON of another shape"))?;
                let mut answer = self.events(head.status, events)?;
                if json::has_wide_numbers(&whole) {
                    answer.losses.change("answer.numbers");
                }
                Ok(answer)
            }
            None => {
                let usage = usage_of(self.request.operation, seen, &whole);
                Ok(Answer::untouched(head, Body::Whole(whole, usage)))
            }
        }
    }

    /// A stream that came where a whole answer was wanted: some upstreams know nothing else.
    fn gathered(self, stream: &[u8]) -> Result<Answer, Fault> {
        if let Some(far) = self.far() {
            far.kept().sent(stream);
        }
        let choices = self.translation.as_ref().map_or(self.request.choices(), |translation| translation.choices);
        let mut decoder = Decoder::new(self.wire).expecting(choices);
        let mut events = Vec::new();
        decoder.feed(stream, &mut events).map_err(|e| self.broken(StatusCode::OK, &format!("with a stream that cannot be read: {e}")))?;
        decoder.finish(&mut events);
        self.events(StatusCode::OK, events)
    }

    fn events(self, status: StatusCode, mut events: Vec<Event>) -> Result<Answer, Fault> {
        if events.iter().any(|e| matches!(e, Event::Finish { reason: Finish::MalformedCall, .. })) {
            return Err(Fault { said: Some(Finish::MALFORMED_CALL.into()), ..self.broken(status, "with a failure") });
        }
        if let Some(Event::Failed { message, .. }) = events.iter().find(|e| matches!(e, Event::Failed { .. })) {
            return Err(Fault { said: Some(self.heard(message)), ..self.broken(status, "with a failure") });
        }
        let mut losses = Losses::default();
        if let Some(translation) = self.translation {
            let mut ears = Ears::new(self.d, self.request, translation);
            ears.hear(&mut events);
            losses = ears.losses().clone();
        }
        Ok(Answer { losses, ..Answer::new(200, Body::Events(events)) })
    }

    /// Looks into a stream until it says something: until then one that fails or dies moves on unseen. The look is bounded in bytes and
    /// in time; a stream that takes longer to come to its point is passed on from its beginning.
    async fn committed(&self, mut body: ResponseBody, guard: &mut Option<InFlight>) -> Result<Committed, Fault> {
        let mut probe = Probe::new(self.lens());
        let first_by = Instant::now() + self.timeouts.first_byte;
        // Opens with the first piece. Its end is the end of the look, not of the stream.
        let mut window: Option<Instant> = None;
        loop {
            let silent_by = window.map_or(first_by, |_| Instant::now() + self.timeouts.idle);
            let until = window.map_or(silent_by, |end| end.min(silent_by));
            let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
            let Ok(frame) = tokio::time::timeout_at(until, frame).await else {
                match window {
                    Some(end) if end <= silent_by => break,
                    Some(_) => return Err(fault_of(&self.name, &net::Error::Timeout(net::Phase::Idle))),
                    None => return Err(fault_of(&self.name, &net::Error::Timeout(net::Phase::FirstByte))),
                }
            };
            let look = match frame {
                Some(Ok(frame)) => frame.into_data().ok().filter(|data| !data.is_empty()).map(|data| probe.look(data)),
                Some(Err(e)) => return Err(fault_of(&self.name, &e)),
                None => Some(probe.finish()),
            };
            match look {
                None => {}
                Some(Look::Begun) => break,
                Some(Look::More) => {
                    window.get_or_insert_with(|| Instant::now() + self.d.rules.probe_window);
                }
                Some(Look::Nothing) => {
                    let message = format!("the stream of `{}` ended before it said anything", self.name);
                    return Err(fault(&self.name, AttemptOutcome::Broken, Some(200), message));
                }
                Some(Look::Failed(said)) => match self.failed_early(&said) {
                    Some(fault) => return Err(fault),
                    None => break,
                },
            }
        }
        let rest = Box::pin(body.with_idle_timeout(self.timeouts.idle));
        Ok(Committed::new(probe.held(), rest, guard.take(), self.deadline))
    }

    fn lens(&self) -> Lens {
        match (&self.translation, self.request.operation) {
            (Some(translation), _) => Lens::Spoken(translation.wire),
            (None, Operation::Generate(_)) if self.request.in_path.as_ref().is_some_and(|p| p.as_array) => Lens::Bytes,
            (None, Operation::Generate(dialect)) => Lens::Untouched(dialect),
            (None, _) => Lens::Frames,
        }
    }

    /// A stream that begins with an error. `None` where the request itself is at fault: then the client hears the upstream's own words.
    fn failed_early(&self, said: &Said) -> Option<Fault> {
        let status = said.status();
        let judged = self.judge(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY), &said.body());
        let message = format!("the stream of `{}` began with an error", self.name);
        // The answer's own status was 200; a limit and an overload are compared with those that say so in theirs.
        let status = if matches!(status, 429 | 503 | 529) { status } else { 200 };
        (judged.verdict != Verdict::GiveBack).then(|| Fault {
            is_loading: judged.kind == Some(Kind::Loading),
            is_credential: judged.kind == Some(Kind::Credit),
            said: Some(self.heard(&said.message)),
            ..fault(&self.name, AttemptOutcome::Broken, Some(status), message)
        })
    }

    fn judge(&self, status: StatusCode, body: &[u8]) -> Judgement {
        match self.account {
            Some(account) => account.judge(status, body, &self.d.rules.also_retried),
            None => judge(&upstream::catalog::provider("node"), status, body, &self.d.rules.also_retried),
        }
    }

    /// What an answer says about the languages of the account.
    fn taught(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Learned {
        match (self.account, self.request.operation) {
            (Some(account), Operation::Generate(_)) => account.learn(self.wire, status, headers, body, std::time::Instant::now()),
            _ => Learned::Unclear,
        }
    }

    fn refused(self, response: Response<Bytes>) -> Result<Answer, Fault> {
        let (head, body) = response.into_parts();
        let (name, status) = (&self.name, head.status);
        if let Some(far) = self.far() {
            far.kept().answered(&body);
        }
        if self.taught(status, &head.headers, &body) == Learned::NotSpoken {
            let message = format!("`{name}` does not speak `{}`", self.wire.name());
            return Err(Fault { is_language: true, ..fault(name, AttemptOutcome::Refused, Some(status.as_u16()), message) });
        }
        let judged = self.judge(status, &body);
        let refusal = match judged.kind {
            Some(Kind::ContextLength) => When::TooLong,
            Some(Kind::ContentPolicy) => When::AgainstPolicy,
            _ => When::Always,
        };
        // A refusal in the caller's own dialect goes back as it is; any other is said anew, with the upstream's words.
        let is_readable = self.translation.is_none()
            && (self.request.operation == Operation::Other || self.request.operation.dialect().is_refusal(status.as_u16(), &body));
        if judged.verdict == Verdict::GiveBack && !is_readable {
            let said = message_of(&body).map(|said| self.heard(&said).into_string());
            let said = said.unwrap_or_else(|| format!("`{name}` refused the request with status {}", status.as_u16()));
            let code = match judged.kind {
                Some(Kind::ContextLength) => Code::ContextLengthExceeded,
                _ if status == StatusCode::PAYLOAD_TOO_LARGE => Code::PayloadTooLarge,
                _ => Code::InvalidRequest,
            };
            let failure = Failure { status: Some(status.as_u16()), ..Failure::new(code, said) };
            return Ok(Answer { refusal, ..Answer::new(status.as_u16(), Body::Refusal(failure)) });
        }
        if judged.verdict == Verdict::GiveBack {
            let body = match self.account {
                Some(account) => account.hidden(body),
                None => body,
            };
            return Ok(Answer { refusal, ..Answer::untouched(&head, Body::Whole(body, None)) });
        }
        // What is said about a credential may show a part of it.
        let is_about_credential = judged.kind == Some(Kind::Key) || matches!(status.as_u16(), 401..=403);
        let message = match status.as_u16() {
            status if is_about_credential => format!("`{name}` refused the router's own credentials with status {status}"),
            status => format!("`{name}` answered with status {status}"),
        };
        Err(Fault {
            retry_after: limits(&head.headers, &body, std::time::SystemTime::now()).wait(),
            request_id: head.headers.get(journey::REQUEST_ID).and_then(|v| v.to_str().ok()).map(Into::into),
            is_passing: judged.verdict == Verdict::Retry,
            said: message_of(&body).filter(|_| !is_about_credential).map(|said| self.heard(&said)),
            is_loading: judged.kind == Some(Kind::Loading),
            is_credential: judged.kind == Some(Kind::Credit) || (judged.kind == Some(Kind::Key) && status != StatusCode::FORBIDDEN),
            ..fault(name, AttemptOutcome::Refused, Some(status.as_u16()), message)
        })
    }
}

/// Usage as the answer's own dialect says it; `seen` is what was read of it as chat.
fn usage_of(operation: Operation, seen: Seen, whole: &[u8]) -> Option<Usage> {
    match operation {
        Operation::Generate(Dialect::Chat) | Operation::Completions => seen.usage,
        Operation::Generate(dialect) => Seen::of(&dialect.decode_response(whole).ok()?).usage,
        // Nothing comes out of these, so that a total says it all.
        Operation::Embeddings | Operation::Other => seen.usage.or_else(|| tap::usage_of_other(whole)),
        Operation::Count(_) => None,
    }
}
