//! One try of one target.

use std::{future::poll_fn, pin::Pin, sync::Arc};

use bytes::Bytes;
use fleet::{End, InFlight, Speaks};
use http::{HeaderMap, HeaderValue, Request as HttpRequest, Response, StatusCode, header};
use http_body::Body as _;
use journey::{Attempt, AttemptOutcome, Body, Flow, Operation, Request, Served};
use net::ResponseBody;
use tokio::time::Instant;
use upstream::{Verdict, classify, message_of, retry_after};
use wire::{
    Dialect, Failure,
    dialect::Decoder,
    ir::{Event, Finish},
    losses::Losses,
    tap,
};

use crate::{
    ears::Ears,
    fault::Fault,
    letter::{Address, Letter},
    memory::Scope,
    run::{Dispatch, Trail},
    stream::{Committed, Translated},
};

/// Most bytes of an error answer that are read.
const ERROR_BYTES_MAX: usize = 256 << 10;

/// A target with its request made.
pub(crate) struct Way {
    pub(crate) name: Arc<str>,
    pub(crate) provider: Arc<str>,
    pub(crate) node: Option<Arc<str>>,
    pub(crate) model: Arc<str>,
    pub(crate) timeouts: net::Timeouts,
    pub(crate) request: HttpRequest<net::Body>,
    pub(crate) guard: Option<InFlight>,
    pub(crate) letter: Letter,
    pub(crate) scope: Scope,
}

impl Way {
    /// The way to an account.
    pub(crate) fn to_account(d: &Dispatch<'_>, account: &upstream::Account, model: &Arc<str>, request: &Request) -> Result<Self, Failure> {
        let wire = account.wire_for(request.operation.dialect());
        let scope = Scope { caller: d.caller.clone(), origin: format!("{}/{model}", account.name).into() };
        let address = Address { wire, model, knows_usage: account.knows_stream_usage(), scope, memory: d.memory };
        let letter = Letter::write(request, &address)?;
        let mut built = account.post(wire, &letter.path, letter.body.clone(), request.head.stream)?;
        account.pass(wire, d.headers, built.headers_mut());
        Ok(Self {
            name: account.name.clone(),
            provider: account.provider.clone(),
            node: None,
            model: model.clone(),
            timeouts: account.timeouts,
            request: built,
            guard: None,
            letter,
            scope: address.scope,
        })
    }

    /// The way to a node or agent.
    pub(crate) fn to_node(
        d: &Dispatch<'_>,
        peer: &fleet::Peer,
        guard: InFlight,
        model: &Arc<str>,
        request: &Request,
    ) -> Result<Self, Failure> {
        let is_node = peer.speaks == Speaks::OpenAi;
        let scope = Scope { caller: d.caller.clone(), origin: format!("node/{model}").into() };
        let address = Address { wire: Dialect::Chat, model, knows_usage: is_node, scope, memory: d.memory };
        let letter = Letter::write(request, &address)?;
        let url = if is_node { format!("{}/v1{}", peer.url, letter.path) } else { format!("{}/infer", peer.url) };
        let mut built = HttpRequest::new(net::Body::from(letter.body.clone()));
        *built.method_mut() = http::Method::POST;
        *built.uri_mut() = url
            .parse()
            .map_err(|_| Failure::new(wire::Code::UpstreamError, format!("the address of the node `{}` is not usable", peer.name)))?;
        let headers = built.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(mut proof) = HeaderValue::from_str(&format!("Bearer {}", peer.router_secret))
            && !peer.router_secret.is_empty()
        {
            proof.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, proof);
        }
        Ok(Self {
            name: peer.name.clone(),
            provider: if is_node { "node".into() } else { "agent".into() },
            node: Some(peer.id.clone()),
            model: model.clone(),
            timeouts: d.rules.node_timeouts,
            request: built,
            guard: Some(guard),
            letter,
            scope: address.scope,
        })
    }
}

/// Tries a way; `Ok` is the answer for the client, a refusal of its request included.
pub(crate) async fn attempt(
    d: &Dispatch<'_>,
    mut way: Way,
    request: &Request,
    deadline: Instant,
    trail: &mut Trail<'_>,
) -> Result<Flow, Fault> {
    let began = Instant::now();
    let started_ms = trail.elapsed_ms();
    if let Ok(id) = HeaderValue::from_str(trail.request_id) {
        way.request.headers_mut().insert("x-request-id", id);
    }
    let mut guard = way.guard.take();
    let (name, provider, model, node) = (way.name.clone(), way.provider.clone(), way.model.clone(), way.node.clone());
    let (strip_usage, mut losses) = (way.letter.strip_usage, std::mem::take(&mut way.letter.losses));
    let result = exchange(d, way, request, deadline, &mut guard).await;
    let took_ms = began.elapsed().as_secs_f64() * 1e3;
    trail.waited_ms += took_ms;
    let (outcome, status, error) = match &result {
        Ok(answer) => (AttemptOutcome::Served, Some(answer.status), None),
        Err(fault) => (fault.outcome, fault.status, Some(fault.message.clone())),
    };
    if let Some(guard) = guard {
        guard.end(match (outcome, status) {
            (AttemptOutcome::Served, Some(200..=299)) => End::Success,
            (AttemptOutcome::Served, _) | (AttemptOutcome::Refused, Some(400..=499)) => End::Refused,
            (AttemptOutcome::Unreachable | AttemptOutcome::Broken, _) => End::Broken,
            _ => End::Failed,
        });
    }
    trail.attempts.push(Attempt {
        target: name.clone(),
        provider: provider.clone(),
        model: model.clone(),
        outcome,
        status,
        error,
        started_ms,
        duration_ms: took_ms,
    });
    let answer = result?;
    losses.extend(answer.losses);
    let attempts = trail.attempts.len() as u32;
    let served = Served { target: name, provider, node, model, attempts, strip_usage, waited_ms: trail.waited_ms, losses };
    Ok(Flow { status: answer.status, headers: answer.headers, body: answer.body, served })
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Body,
    /// What of it the caller's dialect cannot say, as far as it is known by now.
    losses: Losses,
}

impl Answer {
    fn new(status: u16, body: Body) -> Self {
        Self { status, headers: HeaderMap::new(), body, losses: Losses::default() }
    }
}

async fn exchange(d: &Dispatch<'_>, way: Way, request: &Request, deadline: Instant, guard: &mut Option<InFlight>) -> Result<Answer, Fault> {
    let Way { name, timeouts, request: built, letter, scope, .. } = way;
    let translate = letter.translate;
    let from_net = |e: net::Error| fault_of(&name, &e);
    let response = d.client.send(built, &timeouts).await.map_err(from_net)?;
    let (head, body) = response.into_parts();
    if !head.status.is_success() {
        let body = net::read_all(body.with_idle_timeout(timeouts.idle), ERROR_BYTES_MAX).await.unwrap_or_default();
        return refused(d, &name, Response::from_parts(head, body), translate.is_some());
    }
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let is_array = translate.is_none() && request.in_path.as_ref().is_some_and(|p| p.as_array);
    if request.head.stream && (kind.starts_with("text/event-stream") || is_array) {
        let stream = committed(body, timeouts, deadline, &name, guard).await?;
        let body: Body = match translate {
            Some(wire) => {
                Body::Told(Box::pin(Translated::new(stream, Decoder::new(wire), request.encoder(), Ears::new(d, request, wire, scope))))
            }
            None => Body::Stream(Box::pin(stream)),
        };
        return Ok(Answer::new(200, body));
    }
    if request.operation == Operation::Other {
        return forwarded(d, head, body, timeouts, deadline, &name, guard).await;
    }
    let whole = net::read_all(body.with_idle_timeout(timeouts.idle), d.body_bytes_max).await.map_err(from_net)?;
    whole_answer(d, &name, &head, whole, request, translate, scope)
}

/// An answer of a path that nobody here knows: whatever it is, a stream where it comes as one.
async fn forwarded(
    d: &Dispatch<'_>,
    head: http::response::Parts,
    body: ResponseBody,
    timeouts: net::Timeouts,
    deadline: Instant,
    name: &Arc<str>,
    guard: &mut Option<InFlight>,
) -> Result<Answer, Fault> {
    let kind = head.headers.get(header::CONTENT_TYPE);
    let headers = kind.map(|v| (header::CONTENT_TYPE, v.clone())).into_iter().collect();
    if kind.is_some_and(|v| v.as_bytes().starts_with(b"text/event-stream")) {
        let stream = committed(body, timeouts, deadline, name, guard).await?;
        return Ok(Answer { headers, ..Answer::new(head.status.as_u16(), Body::Stream(Box::pin(stream))) });
    }
    let whole = net::read_all(body.with_idle_timeout(timeouts.idle), d.body_bytes_max).await.map_err(|e| fault_of(name, &e))?;
    Ok(Answer { headers, ..Answer::new(head.status.as_u16(), Body::Whole(whole)) })
}

/// A whole answer: checked, and read where it has to change its dialect or become a stream.
fn whole_answer(
    d: &Dispatch<'_>,
    name: &Arc<str>,
    head: &http::response::Parts,
    whole: Bytes,
    request: &Request,
    translate: Option<Dialect>,
    scope: Scope,
) -> Result<Answer, Fault> {
    let broken = |what: &str| fault(name, AttemptOutcome::Broken, Some(head.status.as_u16()), format!("`{name}` answered {what}"));
    let seen = tap::whole(&whole).ok_or_else(|| broken("with something that is not JSON"))?;
    if let Some(error) = seen.error {
        return Err(broken(&format!("200 with an error inside: {error}")));
    }
    let own = match request.operation {
        // An upstream that does not stream: its whole answer becomes one.
        Operation::Generate(dialect) if request.head.stream => Some(dialect),
        _ => None,
    };
    if let Some(wire) = translate.or(own) {
        let mut events = wire.decode_response(&whole).map_err(|_| broken("with JSON of another shape"))?;
        if events.iter().any(|e| matches!(e, Event::Finish { reason: Finish::MalformedCall, .. })) {
            return Err(broken("with a tool call that the model did not get right"));
        }
        let mut losses = Losses::default();
        if translate.is_some() {
            let mut ears = Ears::new(d, request, wire, scope);
            ears.hear(&mut events);
            losses.extend(ears.losses().clone());
        }
        let failed = events.iter().find_map(|e| if let Event::Failed { message, .. } = e { Some(message) } else { None });
        return match failed {
            Some(message) => Err(broken(&format!("with a failure: {message}"))),
            None => Ok(Answer { losses, ..Answer::new(200, Body::Events(events)) }),
        };
    }
    let mut headers = HeaderMap::new();
    headers.extend(head.headers.get(header::CONTENT_TYPE).map(|v| (header::CONTENT_TYPE, v.clone())));
    Ok(Answer { headers, ..Answer::new(head.status.as_u16(), Body::Whole(whole)) })
}

/// Waits for the first piece: until it is here a stream that dies moves on unseen.
async fn committed(
    mut body: ResponseBody,
    timeouts: net::Timeouts,
    deadline: Instant,
    name: &Arc<str>,
    guard: &mut Option<InFlight>,
) -> Result<Committed, Fault> {
    let first = tokio::time::timeout(timeouts.first_byte, async {
        loop {
            match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(data),
                    _ => {}
                },
                Some(Err(e)) => return Err(fault_of(name, &e)),
                None => {
                    return Err(fault(name, AttemptOutcome::Broken, Some(200), format!("the stream of `{name}` ended before it began")));
                }
            }
        }
    });
    let first = first.await.map_err(|_| fault_of(name, &net::Error::Timeout(net::Phase::FirstByte)))??;
    let rest = Box::pin(body.with_idle_timeout(timeouts.idle));
    Ok(Committed::new(first, rest, guard.take(), deadline))
}

fn refused(d: &Dispatch<'_>, name: &Arc<str>, response: Response<Bytes>, translated: bool) -> Result<Answer, Fault> {
    let status = response.status();
    let verdict = classify(status, response.body(), &d.rules.also_retried);
    if verdict == Verdict::GiveBack && translated {
        // The client hears it in its own dialect, with the upstream's words.
        let said = message_of(response.body()).unwrap_or_else(|| format!("`{name}` refused the request with status {}", status.as_u16()));
        let code = if status == StatusCode::PAYLOAD_TOO_LARGE { wire::Code::PayloadTooLarge } else { wire::Code::InvalidRequest };
        let failure = Failure { status: Some(status.as_u16()), ..Failure::new(code, said) };
        return Ok(Answer::new(status.as_u16(), Body::Refusal(failure)));
    }
    if verdict == Verdict::GiveBack {
        let mut headers = HeaderMap::new();
        headers.extend(response.headers().get(header::CONTENT_TYPE).map(|v| (header::CONTENT_TYPE, v.clone())));
        return Ok(Answer { headers, ..Answer::new(status.as_u16(), Body::Whole(response.into_body())) });
    }
    let said = message_of(response.body()).map(|m| format!(": {m}")).unwrap_or_default();
    let message = match status.as_u16() {
        401..=403 => format!("`{name}` refused the router's own credentials with status {}", status.as_u16()),
        code => format!("`{name}` answered with status {code}{said}"),
    };
    Err(Fault {
        retry_after: retry_after(response.headers()),
        request_id: response.headers().get("x-request-id").and_then(|v| v.to_str().ok()).map(str::to_owned),
        is_passing: verdict == Verdict::Retry,
        ..fault(name, AttemptOutcome::Refused, Some(status.as_u16()), message)
    })
}

fn fault_of(name: &Arc<str>, error: &net::Error) -> Fault {
    let outcome = match error {
        e if e.timeout().is_some() => AttemptOutcome::TimedOut,
        e if !e.was_sent() => AttemptOutcome::Unreachable,
        _ => AttemptOutcome::Broken,
    };
    fault(name, outcome, None, format!("`{name}`: {}", public(error)))
}

/// What a client may read of a fault: no address of ours.
fn public(error: &net::Error) -> String {
    match error {
        net::Error::Connect { .. } => "the connection could not be made".to_owned(),
        net::Error::Closed { .. } => "the connection was closed before an answer".to_owned(),
        other => other.to_string(),
    }
}

pub(crate) fn fault(name: &Arc<str>, outcome: AttemptOutcome, status: Option<u16>, message: String) -> Fault {
    Fault { target: name.clone(), outcome, status, message, retry_after: None, request_id: None, is_passing: true, obstacle: None }
}
