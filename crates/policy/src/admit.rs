//! May they.

use std::{net::IpAddr, sync::Arc, time::Instant};

use journey::{Call, Caller, Permit, Request, Scope, Settle};
use wire::{Code, Failure};

use crate::{
    budget::Prices,
    limit::{Bounds, Counters, Hold, Limits, Standing, Subject, estimate},
};

/// Whether a caller may call a path of a scope.
///
/// # Errors
/// [`Code::PermissionDenied`] that names the scope.
pub fn may_call(caller: &Caller, scope: Scope) -> Result<(), Failure> {
    if caller.scopes.has(scope) {
        return Ok(());
    }
    Err(Failure::new(Code::PermissionDenied, format!("this key has not the scope `{}` that the path needs", scope.name())))
}

/// Whether a caller may use a model.
///
/// # Errors
/// [`Code::ModelNotAllowed`].
pub fn may_use(caller: &Caller, model: &str) -> Result<(), Failure> {
    if caller.may_use(model) {
        return Ok(());
    }
    Err(Failure::new(Code::ModelNotAllowed, format!("this key may not use the model `{model}`")).at("model"))
}

/// What admission needs of the house.
#[derive(Clone, Copy)]
pub struct Admission<'a> {
    pub limits: &'a Limits,
    pub counters: &'a Arc<Counters>,
    pub sink: &'a Arc<dyn Settle>,
    /// The prices of this instant, for keys with a budget.
    pub prices: &'a (dyn Fn() -> Arc<dyn Prices> + Sync),
}

/// Counts a request against its client's address, before anything else is looked at. How the address stands is put into `said`.
///
/// # Errors
/// [`Code::RateLimitExceeded`].
pub async fn arrive(
    limits: &Limits,
    counters: &Arc<Counters>,
    client: IpAddr,
    received: Instant,
    said: &mut Option<Standing>,
) -> Result<(), Failure> {
    let Some(bounds) = limits.address else { return Ok(()) };
    take(counters, Subject::address(client), bounds, 0, received, "this address", said).await.map(drop)
}

/// Admits an inference call; from here on it has exactly one receipt. How the key's limits stand is put into `said`, refused or not.
///
/// # Errors
/// What [`may_call`] and [`may_use`] refuse; [`Code::RateLimitExceeded`], [`Code::BudgetExceeded`].
pub async fn admit(
    desk: &Admission<'_>,
    caller: &Caller,
    call: &Call,
    request: &Request,
    said: &mut Option<Standing>,
) -> Result<Permit, Failure> {
    may_call(caller, Scope::Inference)?;
    may_use(caller, request.model())?;
    // Fallbacks that the request names itself are no way round.
    request.head.models.iter().try_for_each(|model| may_use(caller, model))?;
    let Some(key) = &caller.key else { return Ok(Permit::new(call, request, caller, desk.sink.clone())) };
    let (bounds, purse) = desk.limits.of_key(&key.id);
    let mut hold = None;
    if !bounds.is_none() {
        let tokens = if bounds.tpm.is_some() { estimate(request) } else { 0 };
        hold = Some(take(desk.counters, Subject::Key(key.id.clone()), bounds, tokens, call.received, "this key", said).await?);
    }
    let now_ms = call.received_at.as_millisecond();
    if let Some(purse) = purse.filter(|purse| purse.is_behind(now_ms)) {
        // Boxed: what speaks to Redis is large, and every request would carry the room for it.
        Box::pin(purse.confer(now_ms)).await;
    }
    let charge = match purse.map(|purse| purse.admit(now_ms, desk.prices)) {
        Some(Err(failure)) => {
            hold.into_iter().for_each(Hold::give_back);
            return Err(failure);
        }
        charge => charge.and_then(Result::ok),
    };
    let mut permit = Permit::new(call, request, caller, desk.sink.clone());
    if let Some(hold) = hold.filter(Hold::is_pending) {
        permit.keep(Box::new(hold));
    }
    if let Some(charge) = charge {
        permit.keep(Box::new(charge));
    }
    Ok(permit)
}

async fn take(
    counters: &Arc<Counters>,
    subject: Subject,
    bounds: Bounds,
    tokens: u64,
    received: Instant,
    who: &str,
    said: &mut Option<Standing>,
) -> Result<Hold, Failure> {
    let mut say = |standing: Standing| *said = Some(said.map_or(standing, |before| before.with(standing)));
    match counters.take(subject, bounds, tokens, received).await {
        Ok((hold, standing)) => {
            say(standing);
            Ok(hold)
        }
        Err(full) => {
            say(full.standing);
            Err(full.failure(who))
        }
    }
}

#[cfg(test)]
mod tests;
