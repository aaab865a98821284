//! Carries out a plan.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use config::config::Tries;
use fleet::{Fleet, Queued, Turn, Wanted};
use http::HeaderMap;
use journey::{
    Attempt, AttemptOutcome, Body, Candidate, Deposit, Flow, Kept, Operation, Pick, Plan, Request, Served, Target, Upload, When,
};
use policy::{Bounds, Counters};
use serde_json::{Value, json};
use wire::{Code, Failure, losses::Losses};

use crate::{
    account::account_once,
    attempt::attempt,
    dummy,
    fault::{Fault, conclusion, fault},
    health::{Breaker, Health, Vital},
    letter::Letter,
    memory::Memory,
    tries::Tally,
    way::Way,
};

/// How often and how long.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Attempts of one request, the first included.
    pub attempts_max: u32,
    /// Pause before the same targets are tried again; doubles up to the most.
    pub backoff_min: Duration,
    pub backoff_max: Duration,
    /// Attempts by name, where the operator counts them so.
    pub tries: Option<Tries>,
    /// Statuses that the operator wants retried, besides those that always are.
    pub also_retried: Vec<u16>,
    /// A strategy asks how busy accounts are.
    pub counts_load: bool,
    /// When accounts are left alone.
    pub breaker: Breaker,
    /// Retries of the same targets as a share of requests.
    pub retry_share: f64,
    /// Whether streams of nodes that are lost go on elsewhere where a request does not say.
    pub resume: bool,
    /// Every account is a service of `ROUTER_SERVICES`, whose clients know 503 as "none of them is there".
    pub services_only: bool,
    /// Models that think with tools at hand on Responses only.
    pub thinking_tools_on_responses: HashSet<String>,
    /// Tokens that models write at most, by name, where the operator said so.
    pub output_max: HashMap<String, u32>,
    /// How long the beginning of a stream is held until it says something.
    pub probe_window: Duration,
    /// The whole request.
    pub total: Duration,
    /// Timers of nodes.
    pub node_timeouts: net::Timeouts,
    /// The same for streams, whose pieces follow one another.
    pub node_stream_timeouts: net::Timeouts,
}

/// What an attempt needs of the house.
pub struct Dispatch<'a> {
    pub client: &'a net::Client,
    /// Asks nodes, whose addresses are others' to name.
    pub node_client: &'a net::Client,
    pub accounts: &'a HashMap<Arc<str>, Arc<upstream::Account>>,
    pub fleet: &'a Arc<Fleet>,
    pub rules: &'a Rules,
    /// What is known of accounts from the requests before.
    pub health: &'a Health,
    pub vitals: &'a HashMap<Arc<str>, Arc<Vital>>,
    pub counters: &'a Arc<Counters>,
    /// What accounts may be asked, by name.
    pub limits: &'a HashMap<Arc<str>, Bounds>,
    /// What was kept of conversations.
    pub memory: &'a Arc<Memory>,
    /// Whose request it is: the id of the key. With none shown nobody knows who is who.
    pub caller: Option<&'a Arc<str>>,
    /// The caller's headers; some mean something to an upstream.
    pub headers: &'a HeaderMap,
    /// Whether a credential in them may be sent on to an account that is opened so: none that opens this router.
    pub may_leave: &'a (dyn Fn(&str) -> bool + Sync),
    /// Most bytes of a whole answer.
    pub body_bytes_max: usize,
}

/// The trail that attempts leave, kept by the caller so that it survives a hang-up.
pub struct Trail<'a> {
    pub attempts: &'a mut Vec<Attempt>,
    /// What is settled with the request: the serving account's place and tokens.
    pub deposits: &'a mut Vec<Box<dyn Deposit>>,
    pub request_id: &'a str,
    pub began: Instant,
    /// Milliseconds spent waiting for upstreams.
    pub waited_ms: f64,
    /// The request's text, where it is kept.
    pub kept: Option<&'a mut Kept>,
}

impl Trail<'_> {
    pub(crate) fn elapsed_ms(&self) -> f64 {
        self.began.elapsed().as_secs_f64() * 1e3
    }

    /// Notes an account that is not asked, and why.
    pub(crate) fn passed_by(&mut self, account: &upstream::Account, model: &Arc<str>, outcome: AttemptOutcome, reason: &str) {
        let started_ms = self.elapsed_ms();
        self.attempts.push(Attempt {
            target: account.name.clone(),
            provider: account.provider.clone(),
            model: model.clone(),
            outcome,
            status: None,
            error: Some(reason.to_owned()),
            started_ms,
            duration_ms: 0.0,
            pick: None,
        });
    }

    /// Keeps what is said to an upstream and by it, where that is another text than the caller's.
    pub(crate) fn keep(&mut self, letter: &mut Letter) {
        let Some(kept) = self.kept.as_deref_mut() else { return };
        kept.far = None;
        if let Some(translation) = &mut letter.translation {
            translation.far = kept.translated(translation.wire, &letter.body);
        }
    }

    /// Targets that were asked.
    pub(crate) fn tries(&self) -> u32 {
        self.attempts.iter().filter(|a| a.outcome.is_try()).count() as u32
    }
}

/// Tries the plan's candidates in order until one serves; then, while attempts are left, those again whose faults pass.
///
/// # Errors
/// What the failed attempts come to: one common status, or 502; 504 when the request's time is over.
pub async fn run(d: &Dispatch<'_>, plan: &Plan, request: &Request, trail: &mut Trail<'_>) -> Result<Flow, Failure> {
    let total = request.timeout_ms.map_or(d.rules.total, |ms| Duration::from_millis(ms).min(d.rules.total));
    let deadline = tokio::time::Instant::from_std(trail.began) + total;
    d.health.budget.earn(d.rules.retry_share);
    // Not named: a named future would take its place in this one's twice.
    match tokio::time::timeout_at(deadline, rounds(d, plan, request, deadline, trail)).await {
        Ok(result) => result,
        Err(_) => Err(too_late(total, trail)),
    }
}

/// The request's time is over, whatever its attempts came to.
fn too_late(total: Duration, trail: &mut Trail<'_>) -> Failure {
    let now_ms = trail.elapsed_ms();
    for attempt in trail.attempts.iter_mut().filter(|attempt| attempt.outcome == AttemptOutcome::Left) {
        attempt.outcome = AttemptOutcome::TimedOut;
        attempt.error = Some(format!("`{}` had not answered yet", attempt.target));
        attempt.duration_ms = now_ms - attempt.started_ms;
    }
    let tries = trail.attempts.iter().filter(|a| a.outcome.is_try());
    let attempts: Vec<Value> = tries.map(|a| json!({"target": &*a.target, "status": a.status, "error": a.error})).collect();
    Failure::new(Code::UpstreamTimeout, format!("no answer within {} ms", total.as_millis())).with("attempts", attempts)
}

/// How candidates are asked.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) request: &'a Request,
    pub(crate) deadline: tokio::time::Instant,
    /// There is no other candidate.
    is_only: bool,
    /// Nobody else is left who could serve sooner.
    pub(crate) is_last: bool,
}

async fn rounds(
    d: &Dispatch<'_>,
    plan: &Plan,
    request: &Request,
    deadline: tokio::time::Instant,
    trail: &mut Trail<'_>,
) -> Result<Flow, Failure> {
    let is_only = plan.candidates.iter().filter(|c| c.when.is_always()).count() == 1;
    let mut ask = Ask { request, deadline, is_only, is_last: is_only };
    let mut open: Vec<&Candidate> = plan.candidates.iter().collect();
    let mut faults: Vec<Fault> = Vec::new();
    let mut pause = d.rules.backoff_min;
    // The first refusal that another model may not have, said if no other model helps, and the models that refused.
    let mut held: Option<Flow> = None;
    let mut refused: Vec<&Arc<str>> = Vec::new();
    let mut tally = Tally::new(d.rules.tries.as_ref(), plan);
    loop {
        let mut again = Vec::new();
        let mut wait = None;
        for candidate in open {
            let is_due = candidate.when.is_always() || held.as_ref().is_some_and(|flow| flow.refusal == candidate.when);
            let is_over = called(&faults) + refused.len() as u32 >= d.rules.attempts_max;
            if !is_due || is_over || refused.contains(&&candidate.model) || tally.is_spent(candidate) {
                continue;
            }
            let before = faults.len();
            if let Some(failure) = cannot_be_sent(request, &mut faults, trail) {
                return Err(failure);
            }
            let flow = candidate_once(d, candidate, ask, &mut faults, trail).await?;
            tally.count(candidate, &faults[before..]);
            match flow {
                Some(flow) if flow.refusal.is_always() => return Ok(flow),
                // It does not fit here: the first refusal is of the model that was asked for.
                Some(flow) => {
                    refused.push(&candidate.model);
                    held.get_or_insert(flow);
                }
                None if faults[before..].iter().any(|f| f.is_passing) => {
                    again.push(candidate);
                    wait = wait.max(faults[before..].iter().filter_map(|f| f.retry_after).min());
                }
                None => {}
            }
        }
        if !ask.is_last && called(&faults) == 0 && faults.iter().any(|f| f.is_guess) {
            ask.is_last = true;
            faults.clear();
            open = plan.candidates.iter().collect();
            continue;
        }
        if let Some(failure) = request.upload.as_ref().and_then(Upload::failure) {
            return Err(failure);
        }
        if !again.is_empty()
            && let Some(failure) = cannot_be_sent(request, &mut faults, trail)
        {
            return Err(failure);
        }
        open = again;
        let pause_now = wait.unwrap_or(pause).max(pause);
        let is_over = open.is_empty() || held.is_some() || called(&faults) >= d.rules.attempts_max || pause_now > d.rules.backoff_max;
        if is_over || !d.health.budget.spend(d.rules.retry_share) {
            return held.map_or_else(|| Err(conclusion(&faults, &plan.requested, d.rules.services_only)), Ok);
        }
        tokio::time::sleep(pause_now).await;
        pause = (pause * 2).min(d.rules.backoff_max);
    }
}

/// What the record of an attempt says where a form went with it.
const WHY: &str = "; the form had passed on and was too large to be held, so nobody else was asked";

/// Why a form cannot be sent another time: the client broke it off, or it has passed on and is no longer held.
fn cannot_be_sent(request: &Request, faults: &mut [Fault], trail: &mut Trail<'_>) -> Option<Failure> {
    let form = request.upload.as_ref().filter(|form| !form.is_whole())?;
    if let Some(failure) = form.failure() {
        return Some(failure);
    }
    if let Some(error) = trail.attempts.last_mut().and_then(|attempt| attempt.error.as_mut()) {
        error.push_str(WHY);
    }
    if let Some(fault) = faults.last_mut() {
        fault.message.push_str(WHY);
    }
    Some(conclusion(faults, request.model(), false))
}

/// Attempts that reached out.
fn called(faults: &[Fault]) -> u32 {
    faults.iter().filter(|f| f.obstacle.is_none()).count() as u32
}

/// One candidate: an account once, the fleet node by node. `None` where all failed; their faults are added.
async fn candidate_once(
    d: &Dispatch<'_>,
    candidate: &Candidate,
    ask: Ask<'_>,
    faults: &mut Vec<Fault>,
    trail: &mut Trail<'_>,
) -> Result<Option<Flow>, Failure> {
    let request = ask.request;
    match &candidate.target {
        Target::Dummy => dummy_flow(request, trail).map(Some),
        Target::Fleet if matches!(request.operation, Operation::Count(_)) => {
            Ok(Some(guess("node".into(), "node".into(), candidate.model.clone(), request, trail)))
        }
        Target::Account { name } => {
            let Some(account) = d.accounts.get(name) else {
                let gone = Failure::new(Code::NoAvailableTarget, format!("the account `{name}` is gone"));
                faults.push(skipped(name, gone));
                return Ok(None);
            };
            account_once(d, account, &candidate.model, ask, faults, trail).await
        }
        // With other candidates to turn to there is nothing to wait for.
        Target::Fleet if !ask.is_only => nodes_once(d, &candidate.model, ask, faults, trail).await,
        Target::Fleet => fleet_once(d, &candidate.model, ask, faults, trail).await,
    }
}

/// How long a request waits for nodes that cannot be reached to come back: a node that is started anew needs about a second.
const NODE_RETURN_MAX: Duration = Duration::from_secs(5);

/// Asks nodes in the balancer's order. Where none can even be reached nothing was sent, so waiting for one to return repeats nothing.
async fn fleet_once(
    d: &Dispatch<'_>,
    model: &Arc<str>,
    ask: Ask<'_>,
    faults: &mut Vec<Fault>,
    trail: &mut Trail<'_>,
) -> Result<Option<Flow>, Failure> {
    let patience = ask.deadline.min(tokio::time::Instant::now() + NODE_RETURN_MAX);
    let before = faults.len();
    let mut changes = d.fleet.changes();
    loop {
        changes.mark_unchanged();
        if let Some(flow) = nodes_once(d, model, ask, faults, trail).await? {
            return Ok(Some(flow));
        }
        let may_return = faults[before..].iter().all(|f| f.outcome == AttemptOutcome::Unreachable && f.is_passing);
        if !may_return || faults.len() == before {
            return Ok(None);
        }
        if !matches!(tokio::time::timeout_at(patience, changes.changed()).await, Ok(Ok(()))) {
            // They were waited for: another round would wait as long once more.
            faults[before..].iter_mut().for_each(|f| f.is_passing = false);
            return Ok(None);
        }
        faults.truncate(before);
    }
}

async fn nodes_once(
    d: &Dispatch<'_>,
    model: &Arc<str>,
    ask: Ask<'_>,
    faults: &mut Vec<Fault>,
    trail: &mut Trail<'_>,
) -> Result<Option<Flow>, Failure> {
    let wanted = Wanted { model, caller: d.caller, deadline: ask.deadline, places: d.rules.attempts_max as usize, may_queue: ask.is_only };
    let Turn { first, guard, rest, queued } = match d.fleet.admit(&wanted).await {
        Ok(turn) => turn,
        Err(failure) if ask.is_only => return Err(failure),
        Err(obstacle) => {
            faults.push(skipped(&"node".into(), obstacle));
            return Ok(None);
        }
    };
    trail.waited_ms += queued.map_or(0.0, |queued| queued.wait_ms);
    let before = faults.len();
    let mut guard = Some(guard);
    for candidate in std::iter::once(first).chain(rest) {
        let is_lost = ask.request.upload.as_ref().is_some_and(|form| !form.is_whole());
        if is_lost || called(faults) >= d.rules.attempts_max {
            break;
        }
        // The first of the others is asked at once; where that fails too, a moment may help more than haste.
        if called(&faults[before..]) > 1 {
            tokio::time::sleep(d.rules.backoff_min).await;
        }
        let Some(guard) = guard.take().or_else(|| candidate.begin()) else { continue };
        let pick = pick_of(candidate.picked, queued);
        match Way::to_node(d, &candidate.peer, (guard, pick), !ask.is_only, model, ask.request) {
            Ok(way) => match attempt(d, Box::new(way), ask.request, ask.deadline, trail).await {
                Ok(flow) => return Ok(Some(flow)),
                Err(fault) => {
                    let is_loading = fault.is_loading;
                    faults.push(fault);
                    // It was the best of them; another node would have to load the model too.
                    if is_loading {
                        break;
                    }
                }
            },
            Err(failure) if failure.code == Code::InvalidRequest => return Err(failure),
            Err(obstacle) => faults.push(skipped(&candidate.peer.name, obstacle)),
        }
    }
    Ok(None)
}

pub(crate) fn pick_of(picked: fleet::Picked, queued: Option<Queued>) -> Pick {
    let fleet::Picked { policy, reason, candidates, active } = picked;
    let (queue_position, queue_wait_ms) = (queued.map(|q| q.position), queued.map(|q| q.wait_ms));
    Pick { policy, reason, candidates, active, queue_position, queue_wait_ms }
}

pub(crate) fn skipped(name: &Arc<str>, obstacle: Failure) -> Fault {
    Fault { is_passing: false, obstacle: Some(obstacle.clone()), ..fault(name, AttemptOutcome::Skipped, None, obstacle.message) }
}

pub(crate) fn guess(target: Arc<str>, provider: Arc<str>, model: Arc<str>, request: &Request, trail: &mut Trail<'_>) -> Flow {
    let tokens = request.guessed_tokens();
    let body = request.operation.dialect().encode_count_answer(tokens);
    let mut flow = served_here(target, provider, model, Body::Whole(body.to_string().into(), None), trail);
    flow.served.losses.change("input_tokens");
    flow.headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    flow
}

fn dummy_flow(request: &Request, trail: &mut Trail<'_>) -> Result<Flow, Failure> {
    let name: Arc<str> = "dummy".into();
    let model: Arc<str> = request.model().into();
    match request.operation {
        Operation::Embeddings | Operation::Other => Err(dummy::refuse(request.operation)),
        Operation::Count(_) => Ok(guess(name.clone(), name, model, request, trail)),
        Operation::Generate(_) | Operation::Completions => {
            Ok(served_here(name.clone(), name, model, Body::Events(dummy::answer(request)), trail))
        }
    }
}

/// An answer that no upstream was asked for.
fn served_here(target: Arc<str>, provider: Arc<str>, model: Arc<str>, body: Body, trail: &mut Trail<'_>) -> Flow {
    let started_ms = trail.elapsed_ms();
    trail.attempts.push(Attempt {
        target: target.clone(),
        provider: provider.clone(),
        model: model.clone(),
        outcome: AttemptOutcome::Served,
        status: Some(200),
        error: None,
        started_ms,
        duration_ms: 0.0,
        pick: None,
    });
    let attempts = trail.tries();
    let served =
        Served { target, provider, node: None, model, attempts, strip_usage: false, waited_ms: trail.waited_ms, losses: Losses::default() };
    Flow { status: 200, headers: HeaderMap::new(), body, served, refusal: When::Always }
}
