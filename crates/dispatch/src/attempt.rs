//! One try of one target.

use std::{sync::Arc, time::Duration};

use fleet::Lost;
use http::HeaderValue;
use journey::{Attempt, AttemptOutcome, Flow, REQUEST_ID, Request, Served};
use tokio::time::{Instant, timeout_at};

use crate::{
    answer::Exchange,
    fault::{Fault, fault},
    run::{Dispatch, Trail},
    way::Way,
};

/// Tries a way; `Ok` is the answer for the client, a refusal of its request included.
pub(crate) async fn attempt(
    d: &Dispatch<'_>,
    // Boxed: it would take its place in each of the futures that it goes through, twice.
    mut way: Box<Way<'_>>,
    request: &Request,
    deadline: Instant,
    trail: &mut Trail<'_>,
) -> Result<Flow, Fault> {
    let began = Instant::now();
    let started_ms = trail.elapsed_ms();
    if let Ok(id) = HeaderValue::from_str(trail.request_id) {
        way.request.headers_mut().insert(REQUEST_ID, id);
    }
    trail.keep(&mut way.letter);
    let mut guard = way.guard.take();
    let (name, provider, model, node) = (way.name.clone(), way.provider.clone(), way.model.clone(), way.node.clone());
    let (strip_usage, mut losses) = (way.letter.strip_usage, std::mem::take(&mut way.letter.losses));
    let deadline = deadline.min(began + way.timeouts.total);
    if let Some(again) = &mut way.again {
        again.sets_out(trail.request_id, trail.began, deadline);
    }
    let (peer, pick, others) = (way.peer.take(), way.pick, way.has_others);
    // Noted before it is over: who hangs up meanwhile leaves it as it is.
    trail.attempts.push(Attempt {
        target: name.clone(),
        provider: provider.clone(),
        model: model.clone(),
        outcome: AttemptOutcome::Left,
        status: None,
        error: None,
        started_ms,
        duration_ms: 0.0,
        pick,
    });
    let mut is_mute = false;
    // Not named, for a named future would take its place in this one's twice.
    let result = tokio::select! {
        biased;
        result = timeout_at(deadline, Exchange::carry_out(d, way, request, deadline, &mut guard)) => result,
        // What was sent to a node that is gone will never be answered, however long nodes may take.
        how = lost(d, peer.as_deref(), &model, request, deadline, others) => {
            is_mute = how == Lost::Mute;
            Ok(Err(given_up(&name, how)))
        }
    };
    let result = match result {
        Ok(result) => result,
        Err(_) => Err(fault(
            &name,
            AttemptOutcome::TimedOut,
            None,
            format!("`{name}`: no whole answer within {} ms", began.elapsed().as_millis()),
        )),
    };
    let took_ms = began.elapsed().as_secs_f64() * 1e3;
    trail.waited_ms += took_ms;
    let (outcome, status, error) = match &result {
        Ok(answer) => (AttemptOutcome::Served, Some(answer.status), None),
        Err(fault) => (fault.outcome, fault.status, Some(fault.message.clone())),
    };
    if let Some(guard) = guard {
        guard.end(match (outcome, status) {
            _ if is_mute => fleet::End::Silent,
            (AttemptOutcome::Served, Some(200..=299)) => fleet::End::Success,
            // What a node can't do, or has no memory for, says nothing against it.
            (AttemptOutcome::Served, _) | (AttemptOutcome::Refused, Some(400..=499 | 501 | 507)) => fleet::End::Refused,
            _ if result.as_ref().is_err_and(|fault| fault.is_loading) => fleet::End::Refused,
            (AttemptOutcome::Unreachable | AttemptOutcome::Broken, _) => fleet::End::Broken,
            _ => fleet::End::Failed,
        });
    }
    if let Some(attempt) = trail.attempts.last_mut() {
        (attempt.outcome, attempt.status, attempt.error, attempt.duration_ms) = (outcome, status, error, took_ms);
    }
    let answer = result?;
    losses.extend(answer.losses);
    let attempts = trail.tries();
    let served = Served { target: name, provider, node, model, attempts, strip_usage, waited_ms: trail.waited_ms, losses };
    Ok(Flow { status: answer.status, headers: answer.headers, body: answer.body, served, refusal: answer.refusal })
}

/// The least that a node may take to the first byte of a stream: it may have to load the model first.
const PATIENCE_MIN: Duration = Duration::from_mins(1);

/// Ends when the node is lost for this request; accounts have timers of their own. Of a stream something is heard as soon as its prompt is read, so half
/// of the request's time is enough to give up a node in; the rest is for another. Of a whole answer nothing is heard before its end.
async fn lost(d: &Dispatch<'_>, peer: Option<&fleet::Peer>, model: &str, request: &Request, deadline: Instant, has_others: bool) -> Lost {
    match peer {
        Some(peer) => {
            let patience = request.head.stream.then(|| (deadline.saturating_duration_since(Instant::now()) / 2).max(PATIENCE_MIN));
            d.fleet.lost(peer, model, has_others, patience).await
        }
        None => std::future::pending().await,
    }
}

fn given_up(name: &Arc<str>, how: Lost) -> Fault {
    match how {
        Lost::Gone => fault(name, AttemptOutcome::Broken, None, format!("`{name}` fell silent")),
        Lost::Mute => fault(name, AttemptOutcome::Broken, None, format!("`{name}` fell silent: it does not say whether it is there")),
        Lost::Late => fault(name, AttemptOutcome::TimedOut, None, format!("`{name}` has said nothing for so long that another is asked")),
    }
}
