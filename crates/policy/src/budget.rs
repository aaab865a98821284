//! How much money: what a key may spend in a window of the calendar (UTC), checked before a request and settled after it.
//!
//! What is counted is known exactly when a request is over. Until then it holds what the dearest request of this window came to, so that many
//! at once don't all pass the same gap. **Invariant.** A request that began in a window is counted in that window or, if it ends in a later one,
//! not in the later one.

mod common;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use jiff::{Timestamp, ToSpan as _, Unit, Zoned, civil::Weekday, tz::TimeZone};
use journey::{Deposit, Receipt};
use wire::{Code, Failure};

use common::Others;
pub use common::{Common, HEARD_FOR_MS};

/// Billionths of a dollar in a dollar: the unit that is counted in.
const NANOS: f64 = 1e9;

/// How long after its window what was spent stays on a shared Redis: requests may end later than it does.
const KEPT_AFTER_MS: i64 = 24 * 3_600_000;

/// When a caller may try again where the rest of a budget is held for its other requests.
const HELD_WAIT: Duration = Duration::from_secs(1);

/// Most dollars of a budget.
pub const DOLLARS_MAX: f64 = 1e9;

/// How long a budget lasts before it is whole again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    Hour,
    Day,
    /// From Monday.
    Week,
    Month,
    /// For ever.
    Total,
}

impl Window {
    /// All of them, for reading and listing.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Total];

    /// The word in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    /// The window of a word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.name() == name)
    }

    /// First and last moment (the latter no longer in it) of the window that a moment is in, in unix milliseconds.
    pub fn around(self, at_ms: i64) -> (i64, i64) {
        let bounds = || {
            let at = Timestamp::from_millisecond(at_ms).ok()?.to_zoned(TimeZone::UTC);
            let (start, length) = match self {
                Self::Hour => (at.round(jiff::ZonedRound::new().smallest(Unit::Hour).mode(jiff::RoundMode::Trunc)).ok()?, 1.hour()),
                Self::Day => (at.start_of_day().ok()?, 1.day()),
                Self::Week => {
                    let days = i64::from(at.weekday().since(Weekday::Monday));
                    (at.start_of_day().ok()?.checked_sub(days.days()).ok()?, 1.week())
                }
                Self::Month => (at.first_of_month().ok()?.start_of_day().ok()?, 1.month()),
                Self::Total => return None,
            };
            let end = start.checked_add(length).ok()?;
            let ms = |at: &Zoned| at.timestamp().as_millisecond();
            Some((ms(&start), ms(&end)))
        };
        bounds().unwrap_or((0, i64::MAX))
    }
}

/// What a key may spend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// More than 0, at most [`DOLLARS_MAX`].
    pub dollars: f64,
    pub window: Window,
}

impl Budget {
    fn nanos(&self) -> u64 {
        (self.dollars * NANOS) as u64
    }
}

/// Gives the price of a request that is over.
pub trait Prices: Send + Sync {
    /// Dollars; `None` where nobody knows.
    fn cost_usd(&self, receipt: &Receipt) -> Option<f64>;
}

/// What a key with a budget has spent. Lives as long as the router, over changes of the budget.
#[derive(Debug)]
pub struct Purse {
    /// Whose it is: the key's id.
    pub key: Arc<str>,
    window: Window,
    limit: AtomicU64,
    /// Spent, and held for what runs.
    taken: AtomicU64,
    held: AtomicU64,
    /// What the dearest request of this window came to.
    dearest: AtomicU64,
    starts_ms: AtomicI64,
    ends_ms: AtomicI64,
    turning: Mutex<()>,
    is_seeded: AtomicBool,
    /// `None`: there are no other routers.
    others: Option<Others>,
}

/// How a purse stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spent {
    /// By this router.
    pub dollars: f64,
    /// By the others, as far as it has heard; what runs there is in it.
    pub elsewhere: f64,
    /// Unix milliseconds; 0 of a window for ever.
    pub starts_ms: i64,
    /// When it is whole again; `i64::MAX`: never.
    pub ends_ms: i64,
}

impl Purse {
    /// A purse from which nothing was spent, as far as is known; with `common`, one that several routers have.
    pub fn new(key: Arc<str>, budget: Budget, now_ms: i64, common: Option<Arc<Common>>) -> Arc<Self> {
        let (starts_ms, ends_ms) = budget.window.around(now_ms);
        Arc::new(Self {
            key,
            window: budget.window,
            limit: AtomicU64::new(budget.nanos()),
            taken: AtomicU64::new(0),
            held: AtomicU64::new(0),
            dearest: AtomicU64::new(0),
            starts_ms: AtomicI64::new(starts_ms),
            ends_ms: AtomicI64::new(ends_ms),
            turning: Mutex::new(()),
            is_seeded: AtomicBool::new(false),
            others: common.map(Others::new),
        })
    }

    /// The budget as it is now.
    pub fn budget(&self) -> Budget {
        Budget { dollars: self.limit.load(Relaxed) as f64 / NANOS, window: self.window }
    }

    /// Whether it is good for this budget; then its limit is the budget's from now on.
    pub fn serves(&self, budget: Budget) -> bool {
        let is_same = self.window == budget.window;
        if is_same {
            self.limit.store(budget.nanos(), Relaxed);
        }
        is_same
    }

    /// Whether nobody has said yet what was spent before.
    pub fn wants_seed(&self) -> bool {
        !self.is_seeded.load(Relaxed)
    }

    /// Says what was spent in the window that begins at `starts_ms` before the purse was made.
    pub fn seed(&self, starts_ms: i64, dollars: f64) {
        if !self.is_seeded.swap(true, Relaxed) && self.starts_ms.load(Relaxed) == starts_ms {
            self.taken.fetch_add(nanos(dollars), Relaxed);
        }
    }

    /// What was spent in the window of a moment; what runs is not in it.
    pub fn spent(&self, now_ms: i64) -> Spent {
        self.turn(now_ms);
        let nanos = self.taken.load(Relaxed).saturating_sub(self.held.load(Relaxed));
        let elsewhere = self.elsewhere() as f64 / NANOS;
        Spent { dollars: nanos as f64 / NANOS, elsewhere, starts_ms: self.starts_ms.load(Relaxed), ends_ms: self.ends_ms.load(Relaxed) }
    }

    fn elsewhere(&self) -> u64 {
        self.others.as_ref().map_or(0, |others| others.spent.load(Relaxed))
    }

    /// Whether the other routers have to be heard before a request begins.
    pub fn is_behind(&self, now_ms: i64) -> bool {
        self.others.as_ref().is_some_and(|others| now_ms >= self.ends_ms.load(Relaxed) || others.is_behind(now_ms))
    }

    /// Whether the other routers have not been told of all that was spent here.
    pub fn has_news(&self) -> bool {
        self.others.as_ref().is_some_and(|others| others.is_news(self.taken.load(Relaxed)))
    }

    /// Tells the other routers what was spent here, and hears what was spent there. Where nobody can be asked, what was heard before stands.
    pub async fn confer(&self, now_ms: i64) {
        let Some(others) = &self.others else { return };
        self.turn(now_ms);
        let (starts_ms, ends_ms) = (self.starts_ms.load(Relaxed), self.ends_ms.load(Relaxed));
        let key = format!("llm-router:spent:{}:{}:{starts_ms}", self.key, self.window.name());
        let kept_until_ms = (ends_ms != i64::MAX).then(|| ends_ms.saturating_add(KEPT_AFTER_MS));
        let heard = others.confer(&key, now_ms, || self.taken.load(Relaxed), kept_until_ms).await;
        let _one = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spent) = heard
            && self.starts_ms.load(Relaxed) == starts_ms
        {
            others.spent.store(spent, Relaxed);
        }
    }

    /// Lets a request begin, and holds something for it. One atomic read where the budget is used up.
    ///
    /// # Errors
    /// [`Code::BudgetExceeded`]; [`Code::RateLimitExceeded`] where only what runs now stands in the way.
    pub fn admit(self: &Arc<Self>, now_ms: i64, prices: impl FnOnce() -> Arc<dyn Prices>) -> Result<Charge, Failure> {
        self.turn(now_ms);
        let limit = self.limit.load(Relaxed);
        let ends_ms = self.ends_ms.load(Relaxed);
        let held = self.dearest.load(Relaxed);
        let elsewhere = self.elsewhere();
        let took = self
            .taken
            .fetch_update(Relaxed, Relaxed, |taken| (taken.saturating_add(elsewhere) < limit).then(|| taken.saturating_add(held)));
        if let Err(taken) = took {
            let is_spent = taken.saturating_sub(self.held.load(Relaxed)).saturating_add(elsewhere) >= limit;
            return Err(if is_spent { self.refusal(limit) } else { held_back(limit) });
        }
        self.held.fetch_add(held, Relaxed);
        Ok(Charge { purse: self.clone(), ends_ms, held, prices: prices() })
    }

    fn refusal(&self, limit: u64) -> Failure {
        let ends_ms = self.ends_ms.load(Relaxed);
        let until = match Timestamp::from_millisecond(ends_ms).ok().filter(|_| ends_ms != i64::MAX) {
            Some(end) => format!("; it is whole again at {end}"),
            None => String::new(),
        };
        let per = if self.window == Window::Total { String::new() } else { format!(" a {}", self.window.name()) };
        let dollars = limit as f64 / NANOS;
        Failure::new(Code::BudgetExceeded, format!("the budget of this key, ${dollars}{per}, is used up{until}"))
    }

    /// Begins the next window where the last one is over.
    fn turn(&self, now_ms: i64) {
        if now_ms < self.ends_ms.load(Relaxed) {
            return;
        }
        let _one = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        if now_ms >= self.ends_ms.load(Relaxed) {
            let (starts_ms, ends_ms) = self.window.around(now_ms);
            for count in [&self.taken, &self.held, &self.dearest] {
                count.store(0, Relaxed);
            }
            self.others.iter().for_each(Others::forget);
            self.starts_ms.store(starts_ms, Relaxed);
            self.ends_ms.store(ends_ms, Relaxed);
        }
    }

    fn settle(&self, ends_ms: i64, held: u64, cost: u64) {
        // The window that it began in is over: it is not this one's.
        if self.ends_ms.load(Relaxed) != ends_ms {
            return;
        }
        self.dearest.fetch_max(cost, Relaxed);
        self.taken.fetch_add(cost, Relaxed);
        take_back(&self.taken, held);
        take_back(&self.held, held);
    }
}

/// What is left is held for requests that run; some of it may be free when they are over.
fn held_back(limit: u64) -> Failure {
    let dollars = limit as f64 / NANOS;
    let message = format!("what is left of the budget of this key, ${dollars}, is held for its requests that run now");
    Failure::new(Code::RateLimitExceeded, message).retry_after(HELD_WAIT)
}

fn take_back(count: &AtomicU64, amount: u64) {
    let _ = count.fetch_update(Relaxed, Relaxed, |n| Some(n.saturating_sub(amount)));
}

fn nanos(dollars: f64) -> u64 {
    (dollars.max(0.0) * NANOS).round() as u64
}

/// What a request holds of a purse until it is over. One whose price nobody knows costs nothing.
#[must_use]
pub struct Charge {
    purse: Arc<Purse>,
    /// Of the window that the request began in.
    ends_ms: i64,
    held: u64,
    prices: Arc<dyn Prices>,
}

impl Deposit for Charge {
    fn settle(self: Box<Self>, receipt: &Receipt) {
        let cost = self.prices.cost_usd(receipt).map_or(0, nanos);
        self.purse.settle(self.ends_ms, self.held, cost);
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge").field("purse", &self.purse).field("held", &self.held).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "few exact values")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn windows_are_those_of_the_calendar() {
        let at = ms("2028-02-29T23:30:00Z");
        for (window, start, end) in [
            (Window::Hour, "2028-02-29T23:00:00Z", "2028-03-01T00:00:00Z"),
            (Window::Day, "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Window::Week, "2028-02-28T00:00:00Z", "2028-03-06T00:00:00Z"),
            (Window::Month, "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        ] {
            assert_eq!(window.around(at), (ms(start), ms(end)), "{window:?}");
            assert_eq!(window.around(ms(end)).0, ms(end), "{window:?}");
            assert_eq!(Window::from_name(window.name()), Some(window));
        }
        assert_eq!(Window::Total.around(at), (0, i64::MAX));
    }

    struct Fixed(Option<f64>);

    impl Prices for Fixed {
        fn cost_usd(&self, _: &Receipt) -> Option<f64> {
            self.0
        }
    }

    fn purse(dollars: f64) -> Arc<Purse> {
        Purse::new("key_1".into(), Budget { dollars, window: Window::Hour }, 0, None)
    }

    fn begin(purse: &Arc<Purse>, now_ms: i64) -> Result<Charge, Failure> {
        purse.admit(now_ms, || Arc::new(Fixed(None)))
    }

    fn end(charge: Charge, dollars: f64) {
        charge.purse.settle(charge.ends_ms, charge.held, nanos(dollars));
    }

    #[test]
    fn a_request_holds_what_the_dearest_came_to() {
        let purse = purse(1.0);
        end(begin(&purse, 0).unwrap(), 0.4);
        let second = begin(&purse, 0).unwrap();
        assert_eq!(purse.spent(0).dollars, 0.4, "what runs is not spent");
        let third = begin(&purse, 0).unwrap();
        let refused = begin(&purse, 0).unwrap_err();
        assert_eq!((refused.code, refused.status()), (Code::RateLimitExceeded, 429), "it may be free in a moment");
        end(second, 0.1);
        let fourth = begin(&purse, 0).unwrap();
        end(third, 0.1);
        end(fourth, 0.1);
        assert!((purse.spent(0).dollars - 0.7).abs() < 1e-9);
    }

    #[test]
    fn the_next_window_is_whole_and_late_ends_do_not_count_there() {
        let purse = purse(1.0);
        let late = begin(&purse, 0).unwrap();
        end(begin(&purse, 0).unwrap(), 2.0);
        assert!(begin(&purse, HOUR_MS - 1).unwrap_err().message.contains("01:00:00Z"));
        let next = begin(&purse, HOUR_MS).unwrap();
        end(late, 5.0);
        assert_eq!(purse.spent(HOUR_MS), Spent { dollars: 0.0, elsewhere: 0.0, starts_ms: HOUR_MS, ends_ms: 2 * HOUR_MS });
        end(next, 0.5);
        assert_eq!(purse.spent(HOUR_MS).dollars, 0.5);
    }

    #[test]
    fn what_was_spent_before_is_said_once_and_for_its_window() {
        let purse = purse(1.0);
        assert!(purse.wants_seed());
        purse.seed(0, 0.6);
        purse.seed(0, 0.6);
        assert_eq!((purse.spent(0).dollars, purse.wants_seed()), (0.6, false));
        let other = Purse::new("k".into(), Budget { dollars: 1.0, window: Window::Hour }, HOUR_MS, None);
        other.seed(0, 0.6);
        assert_eq!(other.spent(HOUR_MS).dollars, 0.0);
        assert!(purse.serves(Budget { dollars: 0.5, window: Window::Hour }) && begin(&purse, 0).is_err());
        assert!(!purse.serves(Budget { dollars: 0.5, window: Window::Day }));
    }

    proptest! {
        #[test]
        fn what_was_spent_is_the_sum_of_what_ended(costs in prop::collection::vec((0_u32..1000, any::<bool>()), 0..50)) {
            let purse = purse(1e6);
            let (mut running, mut sum) = (Vec::new(), 0_u64);
            for (cost, waits) in costs {
                let charge = begin(&purse, 0).unwrap();
                if waits {
                    running.push((charge, cost));
                } else {
                    end(charge, f64::from(cost));
                    sum += u64::from(cost);
                }
                prop_assert!((purse.spent(0).dollars - sum as f64).abs() < 1e-6);
            }
            for (charge, cost) in running {
                end(charge, f64::from(cost));
                sum += u64::from(cost);
            }
            prop_assert!((purse.spent(0).dollars - sum as f64).abs() < 1e-6);
            prop_assert_eq!(purse.held.load(Relaxed), 0);
        }
    }
}
