//! What keys with a budget have spent: counted while the router runs, stored every few seconds, and put together at the start from what was
//! stored and the records that are newer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use journey::Receipt;
use policy::{
    Budget, Prices, Purse,
    budget::{Common, DOLLARS_MAX, HEARD_FOR_MS, Window},
};
use serde_json::{Value, json};
use store::{
    Store, StoreError, meta,
    redis::Redis,
    spending::{self, Spending},
    usage,
};
use wire::Failure;

use crate::{
    price::{Consumption, dollars},
    snapshot::House,
};

/// The only currency that prices are in.
const CURRENCY: &str = "USD";

/// Under which the store keeps what this router is called among others.
const ROUTER_NAME: &str = "router_name";

/// Longer than any request runs: those that ended after a moment began at most so long before it.
const REQUEST_MS_MAX: i64 = 24 * 3_600_000;

impl Prices for House {
    fn cost_usd(&self, receipt: &Receipt) -> Option<f64> {
        self.prices.cost_nano(&Consumption::from(receipt)).map(dollars)
    }
}

/// Reads `budget{amount, currency, window}`.
///
/// # Errors
/// A 400 that names the member.
pub fn read(written: &Value) -> Result<Budget, Failure> {
    let members = written.as_object().ok_or_else(|| Failure::invalid("budget", "`budget` must be an object {amount, currency, window}"))?;
    let known = ["amount", "currency", "window", "spent", "resets_at"];
    if let Some(unknown) = members.keys().find(|name| !known.contains(&name.as_str())) {
        let at = format!("budget.{unknown}");
        return Err(Failure::invalid(&at, format!("`{at}` is not known: `budget` may have amount, currency and window")));
    }
    let dollars = written["amount"].as_f64().filter(|amount| *amount > 0.0 && *amount <= DOLLARS_MAX);
    let dollars = dollars.ok_or_else(|| Failure::invalid("budget.amount", "`budget.amount` must be a number of dollars above 0"))?;
    if written["currency"].as_str().is_some_and(|currency| !currency.eq_ignore_ascii_case(CURRENCY)) {
        return Err(Failure::invalid("budget.currency", "`budget.currency` is USD: that is what prices are in"));
    }
    let window = match &written["window"] {
        Value::Null => Some(Window::Month),
        named => named.as_str().and_then(Window::from_name),
    };
    let names = Window::ALL.map(Window::name).join(", ");
    let window = window.ok_or_else(|| Failure::invalid("budget.window", format!("`budget.window` is one of {names}")))?;
    Ok(Budget { dollars, window })
}

/// A budget as it is stored and shown.
pub fn shown(budget: Budget) -> Value {
    json!({"amount": budget.dollars, "currency": CURRENCY, "window": budget.window.name()})
}

/// Adds to a budget how it stands: what was spent, and when it is whole again (`null`: never).
pub async fn stand(purse: &Purse, budget: &mut Value) {
    let now_ms = store::now_ms();
    if purse.is_behind(now_ms) {
        purse.confer(now_ms).await;
    }
    let spent = purse.spent(now_ms);
    let ends = (spent.ends_ms != i64::MAX).then(|| Timestamp::from_millisecond(spent.ends_ms).ok()).flatten();
    budget["spent"] = (spent.dollars + spent.elsewhere).into();
    budget["resets_at"] = ends.map(|end| end.to_string()).into();
}

/// The purses of all keys that have a budget.
#[derive(Default)]
pub struct Purses {
    by_key: Mutex<HashMap<Arc<str>, Arc<Purse>>>,
    /// Where several routers spend of one budget.
    common: Option<Arc<Common>>,
}

impl Purses {
    /// No purses yet; on `redis` other routers have the same.
    ///
    /// # Errors
    /// The store's, which knows this router's name.
    pub async fn new(store: &Store, redis: Option<Arc<Redis>>) -> Result<Self, StoreError> {
        let Some(redis) = redis else { return Ok(Self::default()) };
        let router = meta::get_or_set(store, ROUTER_NAME, &store::new_id("router")).await?;
        Ok(Self { by_key: Mutex::default(), common: Some(Common::new(redis, router)) })
    }

    /// Tells the other routers what they don't know yet.
    pub async fn tell(&self) {
        let news: Vec<Arc<Purse>> = self.by_key().values().filter(|purse| purse.has_news()).cloned().collect();
        for purse in news {
            purse.confer(store::now_ms()).await;
        }
    }

    /// Tells them for as long as it is polled; for ever nothing where there are none.
    pub async fn tend(&self) {
        if self.common.is_none() {
            return std::future::pending().await;
        }
        let mut tick = tokio::time::interval(Duration::from_millis(HEARD_FOR_MS.unsigned_abs()));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.tell().await;
        }
    }

    fn by_key(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Purse>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives every key with a budget its purse: the one that it had, or one that knows what was spent before.
    pub async fn hand_out(&self, store: &Store, house: &mut House) {
        let now_ms = store::now_ms();
        let mut purses = HashMap::with_capacity(house.budgets.len());
        for (key, budget) in &house.budgets {
            let known = self.by_key().get(key).cloned().filter(|purse| purse.serves(*budget));
            let purse = known.unwrap_or_else(|| Purse::new(key.clone(), *budget, now_ms, self.common.clone()));
            if purse.wants_seed() {
                match spent_before(store, &purse, now_ms).await {
                    Ok((starts_ms, dollars)) => purse.seed(starts_ms, dollars),
                    Err(error) => {
                        tracing::error!(%error, key = &**key, "what a key has spent is not known; its budget counts from nothing");
                    }
                }
            }
            purses.insert(key.clone(), purse);
        }
        for (key, purse) in &purses {
            house.limits.keys.entry(key.clone()).or_default().purse = Some(purse.clone());
        }
        *self.by_key() = purses;
    }

    /// Stores what was spent. `saved` is what was stored before.
    pub async fn save(&self, store: &Store, saved: &mut HashMap<Arc<str>, f64>) {
        // Before anything is read: what ends meanwhile is in both, never in neither.
        let upto_ms = store::now_ms();
        let all: Vec<Arc<Purse>> = self.by_key().values().cloned().collect();
        let mut rows = Vec::new();
        for purse in &all {
            let spent = purse.spent(upto_ms);
            if saved.get(&purse.key) != Some(&spent.dollars) {
                rows.push(Spending { key_id: purse.key.to_string(), starts_at_ms: spent.starts_ms, dollars: spent.dollars, upto_ms });
            }
        }
        if rows.is_empty() {
            return;
        }
        match spending::save(store, &rows).await {
            Ok(()) => saved.extend(rows.into_iter().map(|row| (row.key_id.into(), row.dollars))),
            Err(error) => tracing::warn!(%error, "what keys have spent can't be stored"),
        }
    }
}

/// When the window began, and what was spent in it: as it was stored, with the records that ended since.
async fn spent_before(store: &Store, purse: &Purse, now_ms: i64) -> Result<(i64, f64), StoreError> {
    let starts_ms = purse.spent(now_ms).starts_ms;
    let saved = spending::get(store, &purse.key).await?.filter(|saved| saved.starts_at_ms == starts_ms);
    let upto_ms = saved.as_ref().map(|saved| saved.upto_ms);
    let from_ms = upto_ms.map_or(starts_ms, |upto| starts_ms.max(upto - REQUEST_MS_MAX));
    let newer = usage::spent(store, &purse.key, from_ms, upto_ms).await?;
    Ok((starts_ms, saved.map_or(0.0, |saved| saved.dollars) + newer as f64 / 1e9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_and_shown() {
        let budget = read(&json!({"amount": 2.5, "currency": "usd", "spent": 1})).unwrap();
        assert_eq!(shown(budget), json!({"amount": 2.5, "currency": "USD", "window": "month"}));
        assert_eq!(read(&shown(budget)).unwrap(), budget);
        for (wrong, at) in [
            (json!([]), "budget"),
            (json!({}), "budget.amount"),
            (json!({"amount": 0}), "budget.amount"),
            (json!({"amount": "much"}), "budget.amount"),
            (json!({"amount": 1, "currency": "EUR"}), "budget.currency"),
            (json!({"amount": 1, "window": "year"}), "budget.window"),
            (json!({"amount": 1, "per": "day"}), "budget.per"),
        ] {
            assert_eq!(read(&wrong).unwrap_err().param.as_deref(), Some(at), "{wrong}");
        }
    }
}
