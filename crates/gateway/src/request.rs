//! The hall: the whole life of an inference call, top to bottom.
//!
//! Receive → identify → read → admit → recall → plan → dispatch → reply; the permit settles whatever happens. No provider's name, no SQL and no lock
//! has a place here.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use config::config::{HistoryBodies, WhenFull};
use dispatch::{Dispatch, Trail};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use journey::{
    Body, BodyError, Call, Caller, Closing, Flow, Kept, Meter, Operation, Outcome, Passage, Permit, Pick, Plan, Receipt, Request, Served,
    Source, Target, When, Witness,
};
use policy::{Admission, Prices, Standing};
use routing::View;
use serde_json::json;
use telemetry::metrics::hold;
use wire::{Code, Dialect, Failure, ir::Usage, tap::Seen};

use crate::{
    admin,
    app::{App, RequestPlace},
    books::ROOM,
    chance::chance,
    price::{Consumption, dollars},
    recall::{self, Recalled},
    render::{self, KeepAlive, Out, put},
    settle::decision,
    shard::Shard,
    snapshot::{FleetNodes, House},
};

/// Answers a call; errors in the caller's dialect.
pub async fn handle(shard: &Shard, call: &Call) -> Response<Out> {
    let mut standing = None;
    let mut response = match live(shard, call, &mut standing).await {
        Ok(response) => response,
        Err(failure) => render::failure(&failure, call.operation.dialect(), &call.request_id),
    };
    if let Some(standing) = &standing {
        render::limits(standing, call.received_at, response.headers_mut());
    }
    response
}

/// Whether a call is somebody's, before anything of its body is read.
pub async fn is_known(shard: &Shard, headers: &HeaderMap, query_key: Option<&str>, now: jiff::Timestamp) -> bool {
    let asks = admin::Asks { headers, query_key, is_change: true };
    admin::identify(&shard.app, &shard.app.house(), asks, now).await.is_ok()
}

async fn live(shard: &Shard, call: &Call, standing: &mut Option<Standing>) -> Result<Response<Out>, Failure> {
    let app = &shard.app;
    let house = app.house(); // one Arc: this instant's keys, map and accounts
    let refuse = |failure: Failure| {
        app.metrics.refused(failure.code.as_str());
        failure
    };
    let prices = || -> Arc<dyn Prices> { house.clone() };
    let desk = Admission { limits: &house.limits, counters: &app.counters, sink: &app.sink, prices: &prices };
    policy::arrive(&house.limits, &app.counters, call.client, call.received, standing).await.map_err(refuse)?; // not too often from one address
    let asks = admin::Asks { headers: &call.headers, query_key: call.query_key.as_deref(), is_change: true };
    let caller = admin::identify(app, &house, asks, call.received_at).await.map_err(refuse)?; // who
    let request = Request::read(call).map_err(refuse)?; // what: the head; the bytes stay as they came
    may_record(app, &house).map_err(refuse)?; // is there a place for its record
    let mut permit = policy::admit(&desk, &caller, call, &request, standing).await.map_err(refuse)?; // may they; from here on one receipt
    permit.receipt().kept = keep(&house, call);
    let place = match app.enter(house.config.server.max_requests) {
        Ok(place) => place, // one of the requests that may run at once
        Err(failure) => return Err(refused(permit, failure)),
    };
    let leads = match recall::recall(shard, &house, call, &caller, &request, &mut permit).await {
        Ok(Recalled::Found(flow, plan)) => return Ok(reply(shard, &house, call, &request, &plan, *flow, None, permit, place)), // before
        Ok(Recalled::Open(leads)) => leads, // not yet: this one's answer is remembered, where that is wanted
        Err(failure) => return Err(refused(permit, failure)),
    };
    let plan = match plan(shard, &house, &caller, &request) {
        Ok(plan) => Arc::new(plan), // where to, in order, with reasons
        Err(failure) => return Err(refused(permit, failure)),
    };
    permit.receipt().rule = Some(plan.rule);
    permit.receipt().plan = Some(plan.clone());
    match carry_out(shard, &house, call, &caller, &plan, &request, leads.waited_ms, &mut permit).await {
        Ok(flow) => {
            let (flow, witness) = leads.keep(call, &request, &plan, flow, &app.back).await;
            Ok(reply(shard, &house, call, &request, &plan, flow, witness, permit, place)) // metered until it ends, breaks or is left
        }
        Err(failure) => {
            leads.failed();
            Err(refused(permit, failure))
        }
    }
}

/// Where requests are served only if they can be recorded, whether they can.
fn may_record(app: &App, house: &House) -> Result<(), Failure> {
    if house.config.ledger.when_full == WhenFull::Refuse && app.books.recorder.is_stuck() {
        let message = "records of requests can neither be stored nor spilled, and `ledger.when_full` is `refuse`";
        return Err(Failure::new(Code::QueueFull, message).retry_after(Duration::from_secs(5)));
    }
    Ok(())
}

/// The request's text for its record, as much as is wanted of it.
fn keep(house: &House, call: &Call) -> Option<Kept> {
    let is_redacted = match house.config.history.bodies {
        HistoryBodies::None => return None,
        HistoryBodies::Redacted => true,
        HistoryBodies::Full => false,
    };
    let mut kept = Kept::of(&ROOM, &call.body, is_redacted)?;
    if house.passes_credentials {
        let shown = house.credentials(&call.headers, call.query_key.as_deref());
        kept.lent = shown.iter().find(|credential| !house.is_own(credential)).map(Into::into);
    }
    Some(kept)
}

fn plan(shard: &Shard, house: &House, caller: &Caller, request: &Request) -> Result<Plan, Failure> {
    let view = shard.app.fleet.view();
    let model = match (request.model(), &house.config.default_embedding_model) {
        ("", Some(default)) if request.operation == Operation::Embeddings => default,
        (named, _) => named,
    };
    let generates = matches!(request.operation, Operation::Generate(_) | Operation::Completions);
    let configured = house.config.fallback_models.iter().filter(|name| generates && caller.may_use(name));
    let stand_ins = stand_ins(house, caller, model, &request.head.models, configured);
    let nodes = FleetNodes(&view, house);
    let view = View { nodes: &nodes, caller: request.operation.dialect(), figures: house, chance: &chance };
    let mut plan = routing::plan(&house.map, &view, model, &stand_ins)?;
    if let Some(wanted) = &request.head.preferences {
        plan.candidates = routing::prefer(&house.map, house, plan.candidates, wanted)?;
    }
    let (member, is_there) = request.operation.input(&request.head);
    if !is_there && plan.candidates.iter().any(|c| c.target != Target::Dummy) {
        return Err(Failure::invalid(member, format!("`{member}` is missing")));
    }
    Ok(plan)
}

/// What stands in for a model: what the request names, what the operator has for a refusal, and what he has for every fault.
pub(crate) fn stand_ins<'a>(
    house: &'a House,
    caller: &'a Caller,
    model: &str,
    named: &'a [String],
    configured: impl Iterator<Item = &'a String>,
) -> Vec<(&'a str, When)> {
    let mut all: Vec<(&str, When)> = named.iter().map(|name| (name.as_str(), When::Always)).collect();
    let fallbacks = &house.config.fallbacks;
    if !fallbacks.is_empty() {
        let of = [
            (fallbacks.too_long(model), When::TooLong),
            (fallbacks.against_policy(model), When::AgainstPolicy),
            (fallbacks.always(model), When::Always),
        ];
        for (names, when) in of {
            all.extend(names.iter().filter(|name| caller.may_use(name)).map(|name| (name.as_str(), when)));
        }
    }
    all.extend(configured.map(|name| (name.as_str(), When::Always)));
    all
}

#[expect(clippy::too_many_arguments, reason = "what the hall has gathered so far")]
async fn carry_out(
    shard: &Shard,
    house: &House,
    call: &Call,
    caller: &Caller,
    plan: &Plan,
    request: &Request,
    waited_ms: f64,
    permit: &mut Permit,
) -> Result<Flow, Failure> {
    let may_leave = |credential: &str| !house.is_own(credential) && !admin::session::is_made_here(&shard.app, credential);
    let engine = Dispatch {
        client: &shard.client,
        node_client: &shard.node_client,
        accounts: &house.accounts,
        fleet: &shard.app.fleet,
        rules: &house.rules,
        health: &shard.app.health,
        vitals: &house.vitals,
        counters: &shard.app.counters,
        limits: &house.limits.accounts,
        memory: &shard.app.memory,
        headers: &call.headers,
        may_leave: &may_leave,
        caller: caller.key.as_ref().map(|key| &key.id),
        body_bytes_max: shard.limits.body_bytes_max,
    };
    let began = permit.began();
    let (receipt, deposits) = permit.parts();
    let request_id = receipt.request_id.clone();
    let mut trail =
        Trail { attempts: &mut receipt.attempts, deposits, request_id: &request_id, began, waited_ms, kept: receipt.kept.as_mut() };
    dispatch::run(&engine, plan, request, &mut trail).await
}

/// Writes the failure into the receipt, which settles here.
fn refused(mut permit: Permit, failure: Failure) -> Failure {
    let receipt = permit.receipt();
    receipt.status = failure.status();
    receipt.outcome = Outcome::Error;
    receipt.error_code = Some(failure.code.as_str().to_owned());
    if let Some(kept) = &mut receipt.kept {
        kept.failed(&failure);
    }
    failure
}

#[expect(clippy::too_many_arguments, reason = "everything that the hall has gathered ends here")]
fn reply(
    shard: &Shard,
    house: &Arc<House>,
    call: &Call,
    request: &Request,
    plan: &Plan,
    flow: Flow,
    witness: Option<Box<dyn Witness>>,
    mut permit: Permit,
    place: RequestPlace,
) -> Response<Out> {
    let Flow { status, headers, body, served, .. } = flow;
    let elapsed_ms = permit.elapsed_ms();
    let overhead_ms = (elapsed_ms - served.waited_ms).max(0.0);
    let receipt = permit.receipt();
    receipt.status = status;
    receipt.model_served = Some(served.model.clone());
    receipt.target = Some(served.target.clone());
    receipt.provider = Some(served.provider.clone());
    receipt.node.clone_from(&served.node);
    receipt.overhead_ms = Some(overhead_ms);
    receipt.losses = served.losses.clone();
    if let Some(form) = &request.upload {
        receipt.bytes_in = form.bytes_read();
    }

    let mut response = Response::new(Out::Whole(None));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = headers;
    let h = response.headers_mut();
    h.reserve(HEADERS_ADDED);
    introduce(h, receipt, &served, plan.rule, overhead_ms);
    let operation = request.operation;
    let raw = |stream| Source::raw(stream, operation, served.strip_usage, request.choices());
    let source = match body {
        Body::Stream(stream) => raw(stream),
        Body::Told(told) => Source::Told(told),
        Body::Passage(stream) => {
            let held = (hold(&shard.app.metrics.open_streams), place);
            let bytes = h.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
            let is_text = h.get(CONTENT_TYPE).is_some_and(|kind| is_text(kind.as_bytes()));
            *response.body_mut() = Out::Passage(Box::new(Passage::new(stream, bytes, is_text, permit)), held);
            return response;
        }
        Body::Events(events) if request.head.stream => {
            // Said here: the stream tells it only to a client that asks for it.
            permit.receipt().usage = Seen::of(&events).usage;
            raw(Box::pin(at_once(render::stream(request.encoder(), &events))))
        }
        Body::Events(events) => {
            h.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            permit.receipt().usage = Seen::of(&events).usage;
            return whole(house, call, plan, render::answer(request, &events), response, permit);
        }
        Body::Whole(bytes, usage) => {
            permit.receipt().usage = usage;
            return whole(house, call, plan, bytes, response, permit);
        }
        Body::Refusal(failure) => {
            let failure = refused(permit, failure);
            let mut said = render::failure(&failure, operation.dialect(), &call.request_id);
            said.headers_mut().extend(std::mem::take(response.headers_mut()));
            said.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            return said;
        }
    };
    render::stream_headers(h);
    if request.in_path.as_ref().is_some_and(|p| p.as_array) {
        h.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let meter = Meter::new(source, operation.dialect(), permit).with_witness(witness).with_closing(closing(house, call, operation));
    let kept = KeepAlive::new(
        meter,
        operation.dialect().keepalive(),
        house.config.stream.keepalive,
        (hold(&shard.app.metrics.open_streams), place),
    );
    *response.body_mut() = Out::Stream(Box::new(kept));
    response
}

/// Whether the caller wants to hear how its answer came to be.
fn is_explained(call: &Call) -> bool {
    call.headers.get("x-router-debug").is_some_and(|v| v == "1")
}

/// The comment at the end of a stream, where it is asked for and the dialect's readers pass over comments: Google's fail at them.
fn closing(house: &Arc<House>, call: &Call, operation: Operation) -> Option<Closing> {
    let has_comments = match operation {
        Operation::Generate(dialect) => dialect != Dialect::Gemini,
        other => other == Operation::Completions,
    };
    if !has_comments || !(house.config.stream.closing_comment || is_explained(call)) {
        return None;
    }
    let house = house.clone();
    Some(Box::new(move |receipt| {
        let usage = receipt.usage.as_ref();
        let said = json!({
            "request_id": &*receipt.request_id,
            "cost_usd": house.prices.cost_nano(&Consumption::from(receipt)).map(dollars),
            "prompt_tokens": usage.map(Usage::input),
            "completion_tokens": usage.map(Usage::output),
        });
        format!(": router {said}\n\n").into()
    }))
}

/// Whether an answer of this kind can be read in a record.
fn is_text(content_type: &[u8]) -> bool {
    [&b"application/json"[..], b"text/"].iter().any(|kind| content_type.starts_with(kind))
}

/// Headers that an answer gets from the router, about.
const HEADERS_ADDED: usize = 16;

const MODEL: HeaderName = HeaderName::from_static("x-llm-router-model");
const PROVIDER: HeaderName = HeaderName::from_static("x-llm-router-provider");
const TARGET: HeaderName = HeaderName::from_static("x-llm-router-target");
const ROUTE: HeaderName = HeaderName::from_static("x-llm-router-route");
const CACHE: HeaderName = HeaderName::from_static("x-llm-router-cache");
const FIDELITY: HeaderName = HeaderName::from_static("x-llm-router-fidelity");
const OVERHEAD_MS: HeaderName = HeaderName::from_static("x-llm-router-overhead-ms");
const COST: HeaderName = HeaderName::from_static("x-llm-router-cost");
const COST_KNOWN: HeaderName = HeaderName::from_static("x-llm-router-cost-known");

/// The headers that say who answered, and how it came to that.
fn introduce(h: &mut HeaderMap, receipt: &Receipt, served: &Served, rule: &'static str, overhead_ms: f64) {
    render::name(h, receipt.operation.dialect(), &receipt.request_id);
    // In whole microseconds: the exact decimals of a float cost more to find than the rest of the line.
    let overhead_us = (overhead_ms * 1e3).round() as u64;
    h.insert(ROUTE, HeaderValue::from_static(rule));
    h.insert(CACHE, HeaderValue::from_static(receipt.cache.name()));
    h.insert(render::ATTEMPTS, HeaderValue::from(served.attempts));
    for (name, value) in [
        (MODEL, &*served.model),
        (PROVIDER, &*served.provider),
        (TARGET, &*served.target),
        (FIDELITY, &served.losses.header()),
        (OVERHEAD_MS, &format!("{}.{:03}", overhead_us / 1000, overhead_us % 1000)),
    ] {
        put(h, name, value);
    }
    if receipt.remembered.as_ref().is_some_and(|remembered| remembered.is_replay) {
        h.insert("x-llm-router-idempotency", HeaderValue::from_static("replayed"));
    }
    let pick = receipt.attempts.last().and_then(|attempt| attempt.pick);
    if let Some(Pick { queue_position: Some(position), queue_wait_ms: Some(wait_ms), .. }) = pick {
        put(h, HeaderName::from_static("x-queue-position"), &position.to_string());
        put(h, HeaderName::from_static("x-queue-wait-ms"), &format!("{wait_ms:.0}"));
    }
}

fn at_once(frames: Vec<Bytes>) -> impl http_body::Body<Data = Bytes, Error = BodyError> + Send {
    http_body_util::StreamBody::new(futures_util::stream::iter(frames.into_iter().map(|b| Ok(http_body::Frame::data(b)))))
}

/// An answer that is whole: the permit settles here.
fn whole(house: &House, call: &Call, plan: &Plan, bytes: Bytes, mut response: Response<Out>, mut permit: Permit) -> Response<Out> {
    let status = response.status();
    let elapsed_ms = permit.elapsed_ms();
    let is_asked = is_explained(call)
        || plan.candidates.len() > 1
        || permit.receipt().remembered.as_ref().is_some_and(|remembered| remembered.is_explained);
    let bytes = if is_asked && status.is_success() && !matches!(call.operation, Operation::Count(_) | Operation::Other) {
        let name = if house.config.server.as_open_llm_router { "_router" } else { "router" };
        render::with_member(bytes, name, &router_member(permit.receipt(), plan, elapsed_ms))
    } else {
        bytes
    };
    let receipt = permit.receipt();
    let headers = response.headers_mut();
    match house.prices.cost_nano(&Consumption::from(&*receipt)) {
        Some(nano) => put(headers, COST, &dollars(nano).to_string()),
        None => {
            // Clients that read a number get one, and beside it that nobody knows.
            headers.insert(COST, HeaderValue::from_static("0"));
            headers.insert(COST_KNOWN, HeaderValue::from_static("false"));
        }
    }
    receipt.first_byte_ms = Some(elapsed_ms);
    receipt.bytes_out = bytes.len() as u64;
    if let Some(kept) = &mut receipt.kept {
        kept.answered(&bytes);
    }
    if status.is_success() {
        receipt.outcome = Outcome::Success;
    } else {
        receipt.outcome = Outcome::Error;
        receipt.error_code = Some("upstream_refused".to_owned());
    }
    drop(permit);
    *response.body_mut() = bytes.into();
    response
}

/// The `router{…}` object of JSON answers; `_router` to callers of Open-LLM Router.
fn router_member(receipt: &Receipt, plan: &Plan, elapsed_ms: f64) -> serde_json::Value {
    json!({
        "service": receipt.target.as_deref(),
        "attempt": receipt.tries(),
        "duration": elapsed_ms / 1e3,
        "backend_type": receipt.provider.as_deref(),
        "requested_model": &*plan.requested,
        "actual_model": receipt.model_served.as_deref(),
        "strategy": plan.rule,
        "task": null,
        "complexity": null,
        "source": decision::source(Some(plan.rule)),
        "request_id": &*receipt.request_id,
    })
}
