//! What was answered before: repeated calls and the answer cache, as the path asks them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cache::{Answer, Answers, Ask, Kind, Lead, Made, Tenant};
use config::Config;
use http::{
    HeaderMap, HeaderValue,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderName},
};
use journey::{Body, CacheUse, Call, Caller, Flow, Operation, Permit, Plan, Receipt, Remembered, Request, Served, When, Witness};
use store::redis::Redis;
use tokio::{runtime::Handle, time::Instant};
use wire::{
    Code, Dialect, Failure,
    dialect::Decoder,
    ir::{Event, Finish, Usage},
    tap::{self, Seen},
};

use crate::{render, shard::Shard, snapshot::House};

/// Names a call that may be made again.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Most bytes of a stream that are gathered to remember it.
const STREAM_BYTES_MAX: usize = 1 << 20;
/// What a caller is told to wait whose first call still runs.
const STILL_RUNNING_WAIT: Duration = Duration::from_secs(1);

/// Every answer that is remembered.
pub struct Answered {
    /// What equal requests are answered with.
    pub cache: Arc<Answers>,
    /// What repeated calls are answered with.
    pub repeats: Arc<Answers>,
    /// Headers of clients that may change an answer.
    shaping: Vec<HeaderName>,
}

impl Answered {
    /// Nothing yet.
    pub fn new(config: &Config, redis: Option<Arc<Redis>>) -> Self {
        Self {
            cache: Answers::new(Kind::Cache, config.cache.max_bytes, redis.clone()),
            repeats: Answers::new(Kind::Repeats, config.idempotency.max_bytes, redis),
            shaping: upstream::shaping().collect(),
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> i64 {
        i64::try_from(self.cache.bytes() + self.repeats.bytes()).unwrap_or(i64::MAX)
    }
}

/// What was found.
pub enum Recalled {
    /// The answer, and the plan that led to it: one without candidates.
    Found(Box<Flow>, Plan),
    /// It has to be made.
    Open(Leads),
}

/// Leave to remember the answer to a request.
#[derive(Default)]
pub struct Leads {
    /// For equal requests.
    cache: Option<Lead>,
    /// For the same call made again.
    repeats: Option<Lead>,
    /// Milliseconds spent waiting for equal requests.
    pub waited_ms: f64,
}

/// Looks for the answer to a request, and waits for it where an equal one is under way.
///
/// # Errors
/// [`Code::Conflict`]: the same call still runs. [`Code::UpstreamTimeout`]: an equal one does, and the time is over.
/// [`Code::InvalidRequest`]: a control that is none.
pub async fn recall(
    shard: &Shard,
    house: &House,
    call: &Call,
    caller: &Caller,
    request: &Request,
    permit: &mut Permit,
) -> Result<Recalled, Failure> {
    let config = &house.config;
    // Forms are not read whole, so nothing tells one from another.
    let may_repeat = config.idempotency.enabled && !request.head.stream && request.upload.is_none();
    let key = call.headers.get(&IDEMPOTENCY_KEY).filter(|key| may_repeat && !key.is_empty());
    let mut leads = Leads::default();
    if !config.cache.enabled && key.is_none() {
        return Ok(Recalled::Open(leads));
    }
    let tenant = tenant(house, call, caller);
    let total = request.timeout_ms.map_or(house.rules.total, |ms| Duration::from_millis(ms).min(house.rules.total));
    let until = Instant::from_std(permit.began()) + total;
    if let Some(key) = key {
        let rules = &config.idempotency;
        let patience = until.min(Instant::now() + rules.wait);
        let key = cache::repeated(&tenant, call, key.as_bytes());
        let ask = Ask { key, ttl: rules.ttl, age_max: rules.ttl, until: Some(patience) };
        let (recalled, waited) = shard.app.answered.repeats.recall(&ask).await.map_err(|_| still_running())?;
        match recalled {
            cache::Recalled::Found(answer) => {
                return Ok(found(&answer, true, Body::Whole(answer.body.clone(), answer.made.usage), waited, permit));
            }
            cache::Recalled::Missing(lead) => leads.repeats = Some(lead),
        }
    }
    if !config.cache.enabled {
        return Ok(Recalled::Open(leads));
    }
    let rules = cache::Rules { ttl: config.cache.ttl, streams: config.cache.streams, tools: config.cache.tools };
    let tenant = if config.cache.shared { Tenant::EVERYBODY } else { tenant };
    let Some(wanted) = cache::wanted(&rules, &tenant, &shard.app.answered.shaping, call, request)? else {
        return Ok(Recalled::Open(leads));
    };
    permit.receipt().cache = CacheUse::Miss;
    // A stream's first words would wait for an equal stream's last ones.
    let ask = Ask { key: wanted.key, ttl: wanted.ttl, age_max: wanted.age_max, until: (!request.head.stream).then_some(until) };
    let overdue = |_| Failure::new(Code::UpstreamTimeout, format!("an equal request has no answer within {} ms", total.as_millis()));
    let (recalled, waited) = shard.app.answered.cache.recall(&ask).await.map_err(overdue)?;
    match recalled {
        cache::Recalled::Missing(lead) => leads.cache = Some(lead),
        cache::Recalled::Found(answer) => {
            if let Some(body) = body_of(&answer, request) {
                if let Some(lead) = leads.repeats {
                    lead.remember(Answer::clone(&answer)).await;
                }
                permit.receipt().cache = CacheUse::Hit;
                return Ok(found(&answer, false, body, waited, permit));
            }
        }
    }
    leads.waited_ms = waited.as_secs_f64() * 1e3;
    Ok(Recalled::Open(leads))
}

fn still_running() -> Failure {
    let message = "a call with this Idempotency-Key is still running: its answer can be had when it is there";
    Failure::new(Code::Conflict, message).retry_after(STILL_RUNNING_WAIT)
}

/// Whose answers a caller may see. Where no key tells callers apart, or their own credentials go to upstreams, what they show does.
fn tenant(house: &House, call: &Call, caller: &Caller) -> Tenant {
    let id = caller.key.as_ref().map(|key| &*key.id);
    if id.is_some() && !house.passes_credentials {
        return Tenant::of(id, []);
    }
    let shown = house.credentials(&call.headers, call.query_key.as_deref());
    // Also of a scheme that opens nothing here.
    let lent = call.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    Tenant::of(id, shown.iter().chain(lent))
}

/// An answer in the form that is asked for; `None` if it cannot be had in that.
fn body_of(answer: &Answer, request: &Request) -> Option<Body> {
    match request.operation {
        Operation::Generate(dialect) if request.head.stream => Some(Body::Events(dialect.decode_response(&answer.body).ok()?)),
        _ => Some(Body::Whole(answer.body.clone(), answer.made.usage)),
    }
}

fn found(answer: &Answer, is_replay: bool, body: Body, waited: Duration, permit: &mut Permit) -> Recalled {
    let made = &answer.made;
    let rule = if is_replay { "replay" } else { "cache" };
    let receipt = permit.receipt();
    receipt.rule = Some(rule);
    receipt.usage = made.usage;
    receipt.remembered = Some(Remembered {
        request_id: made.request_id.as_str().into(),
        age_ms: u64::try_from(answer.age(store::now_ms()).as_millis()).unwrap_or(u64::MAX),
        is_replay,
        is_explained: made.is_explained,
    });
    let content_type = answer.content_type.as_ref().and_then(|text| HeaderValue::from_str(text).ok());
    let served = Served {
        target: made.target.as_str().into(),
        provider: made.provider.as_str().into(),
        node: made.node.as_deref().map(Into::into),
        model: made.model.as_str().into(),
        attempts: 0,
        strip_usage: false,
        waited_ms: waited.as_secs_f64() * 1e3,
        losses: made.losses.clone(),
    };
    let headers = content_type.map(|value| (CONTENT_TYPE, value)).into_iter().collect::<HeaderMap>();
    let plan = Plan { requested: receipt.model_requested.clone(), rule, candidates: Vec::new(), stand_ins: Vec::new() };
    Recalled::Found(Box::new(Flow { status: answer.status, headers, body, served, refusal: When::Always }), plan)
}

impl Leads {
    /// There is no answer.
    pub fn failed(self) {
        for lead in self.cache.into_iter().chain(self.repeats) {
            lead.fail();
        }
    }

    /// Remembers an answer that is worth it. Of a stream somebody sees what is sent, and remembers it at its end.
    pub async fn keep(
        self,
        call: &Call,
        request: &Request,
        plan: &Plan,
        mut flow: Flow,
        behind: &Handle,
    ) -> (Flow, Option<Box<dyn Witness>>) {
        if self.cache.is_none() && self.repeats.is_none() {
            return (flow, None);
        }
        if let (Body::Events(events), false) = (&flow.body, request.head.stream) {
            flow.body = Body::Whole(render::answer(request, events), Seen::of(events).usage);
            flow.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        // What stood in for the model that was asked for must not stay when that is back.
        let is_first_choice = plan.candidates.first().is_some_and(|first| first.model == flow.served.model);
        let is_explained = plan.candidates.len() > 1;
        match &flow.body {
            Body::Whole(bytes, usage) if (200..300).contains(&flow.status) => {
                let answer = whole(call, &flow, bytes, *usage, is_explained);
                if let Some(lead) = self.repeats {
                    lead.remember(answer.clone()).await;
                }
                match self.cache {
                    Some(lead) if flow.status == 200 && is_first_choice && is_complete(request.operation, bytes) => {
                        lead.remember(answer).await;
                    }
                    Some(lead) => lead.fail(),
                    None => {}
                }
            }
            Body::Stream(_) | Body::Told(_) | Body::Events(_) if flow.status == 200 && is_first_choice => {
                if let Some(lead) = self.repeats {
                    lead.fail();
                }
                let scribe = self.cache.map(|lead| Scribe::new(lead, request.operation.dialect(), is_explained, behind));
                return (flow, scribe.map(|scribe| Box::new(scribe) as _));
            }
            _ => self.failed(),
        }
        (flow, None)
    }
}

fn whole(call: &Call, flow: &Flow, bytes: &Bytes, usage: Option<Usage>, is_explained: bool) -> Answer {
    let served = &flow.served;
    let made = Made {
        request_id: call.request_id.to_string(),
        target: served.target.to_string(),
        provider: served.provider.to_string(),
        node: served.node.as_deref().map(str::to_owned),
        model: served.model.to_string(),
        usage,
        losses: served.losses.clone(),
        is_explained,
    };
    let content_type = flow.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Answer::new(flow.status, content_type, made, bytes)
}

/// Whether an answer is all that the model had to say, and nobody kept it from saying it.
fn is_complete(operation: Operation, bytes: &Bytes) -> bool {
    match operation {
        Operation::Generate(dialect) => dialect.decode_response(bytes).is_ok_and(|events| has_finished(&events)),
        _ => tap::whole(bytes).is_some_and(|seen| seen.error.is_none() && seen.finish.as_deref() != Some("content_filter")),
    }
}

fn has_finished(events: &[Event]) -> bool {
    let mut finishes = events.iter().filter_map(|event| match event {
        Event::Finish { reason, .. } => Some(reason),
        _ => None,
    });
    let is_end = |reason: &Finish| matches!(reason, Finish::Stop | Finish::StopSequence(_) | Finish::Length | Finish::ToolCall);
    finishes.clone().next().is_some() && finishes.all(is_end) && !events.iter().any(|event| matches!(event, Event::Failed { .. }))
}

/// Writes down what is sent of a stream.
struct Scribe {
    lead: Lead,
    dialect: Dialect,
    is_explained: bool,
    behind: Handle,
    /// Nothing any more where it is too long.
    bytes: Option<Vec<u8>>,
}

impl Scribe {
    fn new(lead: Lead, dialect: Dialect, is_explained: bool, behind: &Handle) -> Self {
        Self { lead, dialect, is_explained, behind: behind.clone(), bytes: Some(Vec::new()) }
    }
}

impl Witness for Scribe {
    fn sent(&mut self, piece: &Bytes) {
        self.bytes = self.bytes.take().filter(|bytes| bytes.len() + piece.len() <= STREAM_BYTES_MAX);
        if let Some(bytes) = &mut self.bytes {
            bytes.extend_from_slice(piece);
        }
    }

    fn ended(self: Box<Self>, receipt: &Receipt) {
        let Some(bytes) = &self.bytes else { return };
        let mut events = Vec::new();
        let mut decoder = Decoder::new(self.dialect);
        if decoder.feed(bytes, &mut events).is_err() {
            return;
        }
        decoder.finish(&mut events);
        if !has_finished(&events) {
            return;
        }
        // The client may not have asked for the counts.
        if let (Some(usage), false) = (receipt.usage, events.iter().any(|event| matches!(event, Event::Usage(_)))) {
            let end = events.iter().position(|event| matches!(event, Event::End)).unwrap_or(events.len());
            events.insert(end, Event::Usage(usage));
        }
        let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
        let made = Made {
            request_id: receipt.request_id.to_string(),
            target: text(&receipt.target),
            provider: text(&receipt.provider),
            node: receipt.node.as_deref().map(str::to_owned),
            model: text(&receipt.model_served),
            usage: receipt.usage,
            losses: receipt.losses.clone(),
            is_explained: self.is_explained,
        };
        let body = render::whole(Operation::Generate(self.dialect), &events);
        self.lead.remember_behind(Answer::new(200, Some("application/json".to_owned()), made, &body), &self.behind);
    }
}
