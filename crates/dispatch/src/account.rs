//! One account, asked once: whether it may be asked, on which wire, and what its answer says of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use journey::{AttemptOutcome, Deposit, Flow, Operation, Request, Upload};
use policy::{Hold, Subject};
use wire::{Code, Dialect, Failure};

use crate::{
    attempt::attempt,
    fault::Fault,
    health::{Breaker, Load, Resting, Vital, Why},
    run::{Ask, Dispatch, Trail, guess, skipped},
    way::Way,
};

/// Asks an account: on the caller's own wire where it may speak that, on another once it was found not to.
pub(crate) async fn account_once(
    d: &Dispatch<'_>,
    account: &upstream::Account,
    model: &Arc<str>,
    ask: Ask<'_>,
    faults: &mut Vec<Fault>,
    trail: &mut Trail<'_>,
) -> Result<Option<Flow>, Failure> {
    if let Some(flow) = counted(account, model, ask.request, trail) {
        return Ok(Some(flow));
    }
    if let Err(obstacle) = account.ready().await {
        trail.passed_by(account, model, AttemptOutcome::Skipped, &obstacle.message);
        faults.push(skipped(&account.name, obstacle));
        return Ok(None);
    }
    let vital = d.vitals.get(&account.name);
    let mut is_renewed = false;
    if let Some(Err(resting)) = vital.map(|vital| vital.ask(d.rules.breaker, Instant::now(), ask.is_last)) {
        let fault = left_alone(&account.name, resting);
        let outcome = if resting.why == Why::Limit { AttemptOutcome::Cooling } else { AttemptOutcome::CircuitOpen };
        trail.passed_by(account, model, outcome, &fault.message);
        faults.push(fault);
        return Ok(None);
    }
    for _ in Dialect::ALL {
        let way = match Way::to_account(d, account, model, ask.request) {
            Ok(way) => Box::new(way),
            // What is wrong with the request itself is wrong for every target.
            Err(failure) if failure.code == Code::InvalidRequest => return Err(failure),
            Err(obstacle) => {
                trail.passed_by(account, model, AttemptOutcome::Skipped, &obstacle.message);
                faults.push(skipped(&account.name, obstacle));
                break;
            }
        };
        let place = match place(d, account, model, ask.request, trail).await {
            Ok(place) => place,
            Err(full) => {
                faults.push(full);
                break;
            }
        };
        let sent = account.granted();
        let load = vital.filter(|_| d.rules.counts_load).map(Load::begin);
        let result = attempt(d, way, ask.request, ask.deadline, trail).await;
        if let Some(vital) = vital {
            report(d.rules.breaker, vital, &result, trail);
        }
        if let Some(place) = place {
            settle(place, &result, trail);
        }
        let is_whole = || ask.request.upload.as_ref().is_none_or(Upload::is_whole);
        match result {
            Ok(flow) => {
                trail.deposits.extend(load.map(|load| Box::new(load) as Box<dyn Deposit>));
                return Ok(Some(flow));
            }
            Err(fault) if fault.is_language && is_whole() => {}
            // A token may end before its time: once, another is asked for.
            Err(fault) if fault.status == Some(401) && !is_renewed && is_whole() && account.renewed(sent.as_ref()).await => {
                is_renewed = true;
            }
            Err(fault) => {
                faults.push(fault);
                break;
            }
        }
    }
    Ok(None)
}

/// What an attempt says of its account. A model that is missing there says nothing of it.
fn report(rules: Breaker, vital: &Vital, result: &Result<Flow, Fault>, trail: &Trail<'_>) {
    let now = Instant::now();
    match result {
        Ok(_) => {
            let took_ms = trail.attempts.last().map_or(0.0, |attempt| attempt.duration_ms);
            vital.succeeded(now, Duration::from_secs_f64(took_ms.max(0.0) / 1e3));
        }
        Err(fault) if fault.is_language => {}
        Err(fault) if let Some(most) = counted_alone(rules, fault) => {
            vital.failed(rules, now, Some(most));
            if let Some(wanted) = fault.retry_after {
                vital.rests(now, wanted, Why::Limit);
            }
        }
        // Its credential will not get better by asking again, so others are asked first. A 403 may be about one model only.
        Err(fault) if fault.is_credential => vital.stands_back(rules, now, Why::Credential),
        Err(fault) => match (fault.status, fault.retry_after) {
            (Some(429), Some(wanted)) => vital.rests(now, wanted, Why::Limit),
            (Some(429), None) => vital.stands_back(rules, now, Why::Limit),
            (_, Some(wanted)) => {
                vital.failed(rules, now, rules.allowed.failure);
                vital.rests(now, wanted, Why::Failures);
            }
            (Some(404), None) => {}
            _ if fault.outcome == AttemptOutcome::TimedOut => vital.failed(rules, now, rules.allowed.timeout),
            _ => vital.failed(rules, now, rules.allowed.failure),
        },
    }
}

/// How many of such faults the operator allows where he counts refused credentials and 429s, which else set an account back at once.
fn counted_alone(rules: Breaker, fault: &Fault) -> Option<u32> {
    match fault.status {
        _ if fault.is_credential => rules.allowed.credential,
        Some(429) => rules.allowed.limit,
        _ => None,
    }
}

/// An account that is not asked now.
fn left_alone(name: &Arc<str>, resting: Resting) -> Fault {
    let (code, why) = match resting.why {
        Why::Limit => (Code::RateLimitExceeded, "has reached its limit"),
        Why::Credential => (Code::UpstreamCredentials, "refused the router's own credentials"),
        Why::Failures => (Code::NoAvailableTarget, "has failed several times"),
    };
    let message = format!("the account `{name}` {why} and is left alone for {:.0} s", resting.remaining.as_secs_f64().ceil());
    let obstacle = Failure::new(code, message).retry_after(resting.remaining);
    Fault { is_passing: true, is_guess: resting.is_guess, retry_after: Some(resting.remaining), ..skipped(name, obstacle) }
}

/// What an attempt's place comes to: it is settled with the request that it serves, and given back where the account never heard of it.
fn settle(place: Hold, result: &Result<Flow, Fault>, trail: &mut Trail<'_>) {
    match result {
        Ok(flow) if !flow.refusal.is_always() => place.settle(Some(0)),
        Ok(_) if place.is_pending() => trail.deposits.push(Box::new(place)),
        Ok(_) => {}
        Err(fault) if fault.outcome == AttemptOutcome::Unreachable => place.give_back(),
        Err(_) => place.settle(Some(0)),
    }
}

/// A place in the account's own windows, where it has some. A full account is not asked, and the trail says so.
async fn place(
    d: &Dispatch<'_>,
    account: &upstream::Account,
    model: &Arc<str>,
    request: &Request,
    trail: &mut Trail<'_>,
) -> Result<Option<Hold>, Fault> {
    let Some(bounds) = d.limits.get(&account.name) else { return Ok(None) };
    let tokens = if bounds.tpm.is_some() { policy::estimate(request) } else { 0 };
    match d.counters.take(Subject::Account(account.name.clone()), *bounds, tokens, Instant::now()).await {
        Ok((hold, _)) => Ok(Some(hold)),
        Err(full) => {
            let reason = format!("`{}` is at its own limit of {}", account.name, full.what);
            trail.passed_by(account, model, AttemptOutcome::Limited, &reason);
            let obstacle = Failure::new(Code::RateLimitExceeded, reason).retry_after(full.retry_after);
            Err(Fault { outcome: AttemptOutcome::Limited, ..skipped(&account.name, obstacle) })
        }
    }
}

/// Counting never runs a model: an account that cannot count is not asked. In another dialect than the caller's it is where it surely can.
fn counted(account: &upstream::Account, model: &Arc<str>, request: &Request, trail: &mut Trail<'_>) -> Option<Flow> {
    let Operation::Count(dialect) = request.operation else { return None };
    let wire = account.wire_for(dialect);
    let asks = if wire == dialect { account.counts_tokens(dialect) } else { account.surely_counts(wire) };
    (!asks).then(|| guess(account.name.clone(), account.provider.clone(), model.clone(), request, trail))
}
