//! Streams that go on when their node dies, where the request asks for it.
//!
//! Another node gets the same request once more with what was said so far as the beginning of its answer; its events follow on those of the first,
//! and the caller sees one stream. That is done once, and never where a second engine could not go on in the middle: a form that is prescribed
//! (JSON, a grammar, a forced call), log-probabilities, several choices, a call that has begun.

mod seam;

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use fleet::{Candidate, End, Fleet, InFlight, Peer, Turn, Wanted};
use http::{HeaderValue, header};
use journey::{Attempt, AttemptOutcome, Operation, REQUEST_ID, Request, WentOn};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use wire::{
    Dialect,
    ir::{Event, Finish},
};

use crate::{
    fault::fault_of,
    letter::{Letter, Translation},
    probe::Said,
    run::{Dispatch, pick_of},
    stream::Committed,
    way::node_request,
};
use seam::Seam;

/// How long a stream waits for another node that has a place.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Nodes that are thought of.
const PLACES: usize = 8;
/// What callers of dialects with comments are told between the two.
const MARK: &[u8] = b": x-resumed: 1\n\n";

/// The other node's stream, and how it was come by.
type Found = Result<(Committed, Attempt), Attempt>;

/// What is asked of another node, for whom, and how long there is for it.
#[derive(Clone)]
struct Errand {
    fleet: Arc<Fleet>,
    client: net::Client,
    timeouts: net::Timeouts,
    caller: Option<Arc<str>>,
    model: Arc<str>,
    /// The node that is lost.
    lost: Arc<str>,
    request_id: Box<str>,
    /// The request's arrival.
    began: std::time::Instant,
    deadline: Instant,
}

/// What it takes to go on elsewhere.
pub(crate) struct Again {
    errand: Errand,
    /// The request as the node got it.
    body: Value,
    has_comments: bool,
    seam: Seam,
    /// Never locked: what is in a mutex may be seen from several threads.
    going: Option<Mutex<Pin<Box<dyn Future<Output = Found> + Send>>>>,
    went: Option<WentOn>,
}

impl Again {
    /// Makes a letter to a node one whose answer may go on elsewhere. `None` where that is not wanted, or cannot be.
    pub(crate) fn of(
        d: &Dispatch<'_>,
        request: &Request,
        peer: &Arc<Peer>,
        letter: &mut Letter,
        translation: Translation,
    ) -> Option<Box<Self>> {
        let mut body: Value = serde_json::from_slice(&letter.body).ok().filter(is_free)?;
        body["stream_options"] = json!({"include_usage": true, "continuous_usage_stats": true});
        letter.body = body.to_string().into();
        letter.strip_usage = false;
        letter.translation.get_or_insert(translation);
        let errand = Errand {
            fleet: d.fleet.clone(),
            client: d.node_client.clone(),
            timeouts: d.rules.node_stream_timeouts,
            caller: d.caller.cloned(),
            model: body["model"].as_str().unwrap_or_default().into(),
            lost: peer.id.clone(),
            request_id: "".into(),
            began: std::time::Instant::now(),
            deadline: Instant::now(),
        };
        Some(Box::new(Self {
            errand,
            body,
            has_comments: request.operation.dialect() != Dialect::Gemini,
            seam: Seam::default(),
            going: None,
            went: None,
        }))
    }

    /// The client leaves: what was read is counted.
    pub(crate) fn leaves(&mut self, events: &mut Vec<Event>) {
        self.seam.pass(events);
    }

    /// Whether a request wants its stream to go on, and a node could be gone on from.
    pub(crate) fn is_wanted(d: &Dispatch<'_>, request: &Request, peer: &Peer) -> bool {
        request.head.stream
            && request.resume.unwrap_or(d.rules.resume)
            && matches!(request.operation, Operation::Generate(_))
            && request.in_path.as_ref().is_none_or(|path| !path.as_array)
            && peer.continues
    }

    /// Sets out with the first node.
    pub(crate) fn sets_out(&mut self, request_id: &str, began: std::time::Instant, deadline: Instant) {
        let errand = &mut self.errand;
        (errand.request_id, errand.began, errand.deadline) = (request_id.into(), began, deadline);
    }

    /// Where it went, once it did.
    pub(crate) const fn went(&self) -> Option<&WentOn> {
        self.went.as_ref()
    }

    /// Takes what a node said on its way to the caller. `broke`: the connection did. True: the stream goes on elsewhere, and nothing of the break is left
    /// in `events`.
    pub(crate) fn hear(&mut self, events: &mut Vec<Event>, broke: Option<&str>) -> bool {
        self.seam.pass(events);
        let Some(at) = events.iter().position(|event| matches!(event, Event::Failed { .. })) else { return false };
        let is_cut = events[at].is_cut();
        let Event::Failed { message, code } = events.remove(at) else { return false };
        let why = broke.map_or_else(|| message.clone(), str::to_owned);
        let is_lost = broke.is_some() || Said { message: message.clone(), code: code.clone() }.status() >= 500;
        if is_lost && self.may_go() {
            let left = self.seam.tokens_left(&self.body);
            self.went = Some(WentOn { why, after_tokens: self.seam.tokens(), attempt: None });
            events.retain(|event| !matches!(event, Event::Usage(_)));
            if left == Some(0) {
                // All was said but for the end.
                self.seam.close(events);
                let usage = self.seam.usage().map(Event::Usage);
                events.extend([Event::Finish { choice: 0, reason: Finish::Length }].into_iter().chain(usage).chain([Event::End]));
                return false;
            }
            self.going = Some(Mutex::new(Box::pin(self.go(left))));
            return true;
        }
        // What the connection has to say is said where its error goes.
        if broke.is_none() || !is_cut {
            events.push(Event::Failed { message, code });
        }
        false
    }

    fn may_go(&self) -> bool {
        self.went.is_none() && Instant::now() < self.errand.deadline && self.seam.can_be_left()
    }

    /// Asks another node to go on.
    fn go(&self, left: Option<u64>) -> impl Future<Output = Found> + Send + use<> {
        let search =
            Search { errand: self.errand.clone(), has_thoughts: self.seam.has_thoughts(), body: self.seam.continued(&self.body, left) };
        search.run()
    }

    /// The other's stream and what is put before it, or `None` where nobody went on.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Option<Poll<Option<(Committed, Bytes)>>> {
        let going = self.going.as_mut()?.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Poll::Ready(found) = going.as_mut().poll(cx) else { return Some(Poll::Pending) };
        self.going = None;
        let (stream, attempt) = match found {
            Ok((stream, attempt)) => (Some(stream), attempt),
            Err(attempt) => (None, attempt),
        };
        if let Some(went) = &mut self.went {
            went.attempt = Some(attempt);
        }
        self.seam.follows();
        let mark = if self.has_comments { Bytes::from_static(MARK) } else { Bytes::new() };
        Some(Poll::Ready(stream.map(|stream| (stream, mark))))
    }

    /// The counts of what was said, where nobody went on.
    pub(crate) fn counts(&self) -> Option<Event> {
        self.seam.usage().map(Event::Usage)
    }
}

/// Whether another engine could go on in the middle of an answer to this.
fn is_free(body: &Value) -> bool {
    let is_plain = |name: &str| matches!(&body[name], Value::Null | Value::Bool(false));
    let form = &body["response_format"];
    let choice = &body["tool_choice"];
    (form.is_null() || form["type"] == "text")
        && matches!(choice.as_str(), Some("auto" | "none") | None)
        && !choice.is_object()
        && matches!(body["n"].as_u64(), Some(1) | None)
        && FORMS.into_iter().chain(["logprobs", "continue_final_message"]).all(is_plain)
        && body["top_logprobs"].as_u64().unwrap_or(0) == 0
        && body["messages"].is_array()
}

/// Members by which servers are told a form that an answer must have.
const FORMS: [&str; 8] =
    ["grammar", "json_schema", "structured_outputs", "guided_json", "guided_regex", "guided_grammar", "guided_choice", "regex"];

/// The search for one who goes on.
struct Search {
    errand: Errand,
    has_thoughts: bool,
    body: Bytes,
}

impl Search {
    async fn run(self) -> Found {
        let started_ms = self.errand.began.elapsed().as_secs_f64() * 1e3;
        let attempt = |target: &Arc<str>, error: Option<String>| Attempt {
            target: target.clone(),
            provider: "node".into(),
            model: self.errand.model.clone(),
            outcome: if error.is_none() { AttemptOutcome::Served } else { AttemptOutcome::Broken },
            status: error.is_none().then_some(200),
            error,
            started_ms,
            duration_ms: self.errand.began.elapsed().as_secs_f64() * 1e3 - started_ms,
            pick: None,
        };
        let deadline = self.errand.deadline.min(Instant::now() + WAIT_MAX);
        let wanted = Wanted { model: &self.errand.model, caller: self.errand.caller.as_ref(), deadline, places: PLACES, may_queue: true };
        let nobody = Arc::from("node");
        let Turn { first, guard, rest, queued } = match timeout_at(deadline, self.errand.fleet.admit(&wanted)).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(failure)) => return Err(attempt(&nobody, Some(failure.message))),
            Err(_) => return Err(attempt(&nobody, Some("no node became free in time".to_owned()))),
        };
        let mut guard = Some(guard);
        let mut error = "no other node could go on".to_owned();
        let mut asked = nobody;
        for candidate in std::iter::once(first).chain(rest) {
            let guard = guard.take();
            if !self.may_ask(&candidate) {
                continue;
            }
            let Some(guard) = guard.or_else(|| candidate.begin()) else { continue };
            asked = candidate.peer.name.clone();
            match self.ask(&candidate.peer, guard).await {
                Ok(stream) => {
                    let pick = Some(pick_of(candidate.picked, queued));
                    return Ok((stream, Attempt { pick, ..attempt(&asked, None) }));
                }
                Err(Refused { why, was_sent }) => {
                    error = why;
                    if was_sent {
                        break;
                    }
                }
            }
        }
        Err(attempt(&asked, Some(error)))
    }

    /// Thoughts are gone on with by nodes of ours only: templates of others leave earlier ones out.
    fn may_ask(&self, candidate: &Candidate) -> bool {
        let peer = &candidate.peer;
        peer.id != self.errand.lost && peer.continues && (!self.has_thoughts || peer.kind == fleet::Kind::Node)
    }

    async fn ask(&self, peer: &Arc<Peer>, guard: InFlight) -> Result<Committed, Refused> {
        let unsent = |why: String| Refused { why, was_sent: false };
        let mut request = node_request(peer, "/chat/completions", net::Body::from(self.body.clone())).map_err(|f| unsent(f.message))?;
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(id) = HeaderValue::from_str(&self.errand.request_id) {
            request.headers_mut().insert(REQUEST_ID, id);
        }
        let sent = tokio::select! {
            biased;
            sent = timeout_at(self.errand.deadline, self.errand.client.send(request, &self.errand.timeouts)) => sent,
            _ = self.errand.fleet.lost(peer, &self.errand.model, true, None) => {
                guard.end(End::Silent);
                return Err(Refused { why: format!("`{}` fell silent", peer.name), was_sent: true });
            }
        };
        match sent {
            Ok(Ok(response)) if response.status().is_success() => {
                let rest = Box::pin(response.into_body().with_idle_timeout(self.errand.timeouts.idle));
                Ok(Committed::new(Bytes::new(), rest, Some(guard), self.errand.deadline))
            }
            Ok(Ok(response)) => {
                guard.end(End::Refused);
                Err(Refused { why: format!("`{}` answered with status {}", peer.name, response.status().as_u16()), was_sent: true })
            }
            Ok(Err(error)) => {
                let was_sent = error.was_sent();
                guard.end(if error.timeout().is_some() { End::Failed } else { End::Broken });
                Err(Refused { why: fault_of(&peer.name, &error).message, was_sent })
            }
            Err(_) => Err(Refused { why: "the request's time is over".to_owned(), was_sent: true }),
        }
    }
}

/// Why a node did not go on.
struct Refused {
    why: String,
    was_sent: bool,
}
