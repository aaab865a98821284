//! What is known of accounts from the requests before: whether they should be left alone, and how fast they are.
//!
//! A breaker opens after failures in a row and lets one request probe when its time is over; a 429 lets the account rest for as long as
//! it asks. Everything is an atomic number: the path takes no lock.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use config::config::Allowed;
use journey::{Deposit, Receipt};

/// The longest rest that an upstream can ask for.
const REST_MAX: Duration = Duration::from_mins(10);
/// How long a measured time to the first byte counts where accounts are chosen by it.
const FRESH: Duration = Duration::from_mins(5);
/// Share of a new measurement in the running mean.
const NEW_SHARE: f64 = 0.2;
/// Retries that are free at the start and that can be saved up, in thousandths.
const SAVED_MAX: i64 = 10_000;

/// When accounts are left alone.
#[derive(Debug, Clone, Copy)]
pub struct Breaker {
    /// Whether they ever are.
    pub enabled: bool,
    /// Failures in a row that open it.
    pub failures: u32,
    /// How long it stays open, how long a probe may take before another is let through, and how long an account stands back after a 429
    /// that does not say for how long.
    pub recovery: Duration,
    /// Other numbers of failures for some kinds of them.
    pub allowed: Allowed,
}

/// The state of every account, by name; kept over changes of the configuration.
#[derive(Default)]
pub struct Health {
    accounts: RwLock<HashMap<Arc<str>, Arc<Vital>>>,
    pub(crate) budget: Budget,
}

impl Health {
    /// The state of an account, made at the first ask. Behind the path: it takes a lock.
    pub fn vital(&self, name: &Arc<str>) -> Arc<Vital> {
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        accounts.entry(name.clone()).or_default().clone()
    }

    /// A streamed answer of an account had so many tokens in such a time.
    pub fn streamed(&self, name: &str, tokens: u64, took: Duration) {
        if let Some(vital) = self.accounts.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            vital.streamed(tokens, took);
        }
    }

    /// A streamed answer of an account came to its end, or broke off by its fault at `now`.
    pub fn ended(&self, name: &str, is_broken: bool, now: Instant) {
        if let Some(vital) = self.accounts.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            vital.ended(is_broken, now);
        }
    }

    /// Forgets accounts that are gone.
    pub fn keep_only(&self, is_there: impl Fn(&str) -> bool) {
        self.accounts.write().unwrap_or_else(PoisonError::into_inner).retain(|name, _| is_there(name));
    }
}

/// A stream that took less says nothing of its speed: its upstream, or something on the way, had made the answer before it sent it.
const SPEED_SPAN_MIN: Duration = Duration::from_millis(100);

/// Retries as a share of requests, so that a failing upstream is not stormed (Google SRE book, "Handling Overload").
pub(crate) struct Budget {
    saved: AtomicI64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { saved: AtomicI64::new(SAVED_MAX) }
    }
}

impl Budget {
    /// A request has come: it earns its share of a retry.
    pub(crate) fn earn(&self, share: f64) {
        let earned = (share * 1e3) as i64;
        let _ = self.saved.fetch_update(Relaxed, Relaxed, |saved| (saved < SAVED_MAX).then(|| (saved + earned).min(SAVED_MAX)));
    }

    /// Takes a retry, if one is left. Who earns none has none, also at the start.
    pub(crate) fn spend(&self, share: f64) -> bool {
        share > 0.0 && self.saved.fetch_update(Relaxed, Relaxed, |saved| (saved >= 1000).then(|| saved - 1000)).is_ok()
    }
}

/// The state of one account.
#[derive(Debug)]
pub struct Vital {
    began: Instant,
    failures: AtomicU32,
    /// Streams in a row that broke off after they had begun well, and when the last one did, in milliseconds from `began`.
    broken: AtomicU32,
    broken_at: AtomicU64,
    /// Its failures were too many: when its time is over one request probes.
    is_open: AtomicBool,
    /// Milliseconds from `began` until which it is left alone.
    closed_until: AtomicU64,
    /// Why, as [`Why`] has it.
    closed_for: AtomicU8,
    /// Milliseconds from `began` until which others are asked first.
    behind_until: AtomicU64,
    /// Why.
    behind_for: AtomicU8,
    /// Mean time to the first byte, microseconds; 0 if unknown.
    first_byte_us: AtomicU64,
    /// When that was measured last, in milliseconds from `began`.
    measured_at: AtomicU64,
    /// Mean tokens per second, thousandths; 0 if unknown.
    speed: AtomicU64,
    /// Requests under way; counted where a strategy asks for it.
    in_flight: AtomicU64,
    used: Used,
}

/// Tokens of this minute and of the one before; two writers at once may lose a count at the turn, which does not matter.
#[derive(Debug, Default)]
struct Used {
    minute: AtomicU64,
    now: AtomicU64,
    before: AtomicU64,
}

const MINUTE_MS: u64 = 60_000;

impl Used {
    fn turn(&self, minute: u64) {
        let last = self.minute.swap(minute, Relaxed);
        if last != minute {
            let now = self.now.swap(0, Relaxed);
            self.before.store(if last + 1 == minute { now } else { 0 }, Relaxed);
        }
    }
}

/// A request under way at an account. Settled with the request, it counts its tokens; dropped before, only that it is over.
pub(crate) struct Load(Arc<Vital>);

impl Load {
    pub(crate) fn begin(vital: &Arc<Vital>) -> Self {
        vital.in_flight.fetch_add(1, Relaxed);
        Self(vital.clone())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Deposit for Load {
    fn settle(self: Box<Self>, receipt: &Receipt) {
        self.0.used(receipt.tokens().unwrap_or(0), Instant::now());
    }
}

impl Default for Vital {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            failures: AtomicU32::default(),
            broken: AtomicU32::default(),
            broken_at: AtomicU64::default(),
            is_open: AtomicBool::default(),
            closed_until: AtomicU64::default(),
            closed_for: AtomicU8::default(),
            behind_until: AtomicU64::default(),
            behind_for: AtomicU8::default(),
            first_byte_us: AtomicU64::default(),
            measured_at: AtomicU64::default(),
            speed: AtomicU64::default(),
            in_flight: AtomicU64::default(),
            used: Used::default(),
        }
    }
}

/// What an account did to be left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It failed several times in a row.
    Failures,
    /// It answered 429.
    Limit,
    /// It refused its key, or has no credit left.
    Credential,
}

impl Why {
    const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Limit,
            2 => Self::Credential,
            _ => Self::Failures,
        }
    }
}

/// Why an account is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resting {
    /// For how long still.
    pub remaining: Duration,
    pub why: Why,
    /// The time is a guess of ours: it is asked all the same where nobody else is left.
    pub is_guess: bool,
}

impl Vital {
    fn ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_millis() as u64
    }

    /// Whether it may be asked at `now`, for want of another where `is_last`. Of a breaker whose time is over one caller gets leave to probe,
    /// the others wait for it.
    ///
    /// # Errors
    /// [`Resting`] where it may not.
    pub(crate) fn ask(&self, rules: Breaker, now: Instant, is_last: bool) -> Result<(), Resting> {
        if !rules.enabled {
            return Ok(());
        }
        let resting = |remaining_ms: u64| Resting {
            remaining: Duration::from_millis(remaining_ms),
            why: Why::from_number(self.closed_for.load(Relaxed)),
            is_guess: false,
        };
        self.count_broken(rules);
        let (now_ms, until) = (self.ms(now), self.closed_until.load(Relaxed));
        if now_ms < until {
            return Err(resting(until - now_ms));
        }
        let behind_ms = self.behind_until.load(Relaxed).saturating_sub(now_ms);
        if behind_ms > 0 && !is_last {
            return Err(Resting { why: Why::from_number(self.behind_for.load(Relaxed)), is_guess: true, ..resting(behind_ms) });
        }
        if !self.is_open.load(Relaxed) {
            return Ok(());
        }
        let next = now_ms + rules.recovery.as_millis() as u64;
        match self.closed_until.compare_exchange(until, next, Relaxed, Relaxed) {
            Ok(_) => Ok(()),
            Err(other) => Err(resting(other.saturating_sub(now_ms))),
        }
    }

    /// Streams that broke off are failures too, though each began well: as many in a row open the breaker.
    fn count_broken(&self, rules: Breaker) {
        let broken = self.broken.load(Relaxed);
        if broken == 0 || broken < rules.allowed.failure.unwrap_or(rules.failures) {
            return;
        }
        if self.broken.compare_exchange(broken, 0, Relaxed, Relaxed).is_ok() {
            self.failures.store(broken, Relaxed);
            self.closed_for.store(Why::Failures as u8, Relaxed);
            self.is_open.store(true, Relaxed);
            self.closed_until.fetch_max(self.broken_at.load(Relaxed) + rules.recovery.as_millis() as u64, Relaxed);
        }
    }

    fn ended(&self, is_broken: bool, now: Instant) {
        if is_broken {
            self.broken_at.store(self.ms(now), Relaxed);
            self.broken.fetch_add(1, Relaxed);
        } else if self.broken.load(Relaxed) > 0 {
            self.broken.store(0, Relaxed);
        }
    }

    /// It answered, were it with a refusal of the request.
    pub(crate) fn succeeded(&self, now: Instant, first_byte: Duration) {
        self.measured_at.store(self.ms(now), Relaxed);
        if self.failures.swap(0, Relaxed) > 0 {
            self.closed_until.store(0, Relaxed);
            self.is_open.store(false, Relaxed);
        }
        self.behind_until.store(0, Relaxed);
        mean(&self.first_byte_us, first_byte.as_micros() as f64);
    }

    /// It failed in a way that is its own, and of which it may do so `most` times in a row, as the rules have it where that is `None`.
    pub(crate) fn failed(&self, rules: Breaker, now: Instant, most: Option<u32>) {
        if self.failures.fetch_add(1, Relaxed) + 1 >= most.unwrap_or(rules.failures) {
            self.closed_for.store(Why::Failures as u8, Relaxed);
            self.is_open.store(true, Relaxed);
            self.closed_until.fetch_max(self.ms(now + rules.recovery), Relaxed);
        }
    }

    /// It asked to be left alone.
    pub(crate) fn rests(&self, now: Instant, wanted: Duration, why: Why) {
        self.closed_for.store(why as u8, Relaxed);
        self.closed_until.fetch_max(self.ms(now + wanted.min(REST_MAX)), Relaxed);
    }

    /// It has reached a limit and did not say for how long, or its credential was refused: others are asked first for a while.
    pub(crate) fn stands_back(&self, rules: Breaker, now: Instant, why: Why) {
        self.behind_for.store(why as u8, Relaxed);
        self.behind_until.fetch_max(self.ms(now + rules.recovery), Relaxed);
    }

    /// What was known of it is about another: its address or its key is new.
    pub fn forget(&self) {
        self.failures.store(0, Relaxed);
        self.broken.store(0, Relaxed);
        self.is_open.store(false, Relaxed);
        self.closed_until.store(0, Relaxed);
        self.behind_until.store(0, Relaxed);
    }

    /// An answer had so many tokens in such a time.
    fn streamed(&self, tokens: u64, took: Duration) {
        if tokens > 0 && took >= SPEED_SPAN_MIN {
            mean(&self.speed, tokens as f64 / took.as_secs_f64() * 1e3);
        }
    }

    /// Mean seconds to the first byte.
    pub fn latency_s(&self) -> Option<f64> {
        Some(self.first_byte_us.load(Relaxed)).filter(|n| *n > 0).map(|us| us as f64 / 1e6)
    }

    /// The same, where it was measured within the last five minutes.
    pub fn fresh_latency_s(&self, now: Instant) -> Option<f64> {
        let age_ms = self.ms(now).saturating_sub(self.measured_at.load(Relaxed));
        self.latency_s().filter(|_| u128::from(age_ms) < FRESH.as_millis())
    }

    /// Requests under way; 0 where nobody counts them.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    fn used(&self, tokens: u64, now: Instant) {
        self.used.turn(self.ms(now) / MINUTE_MS);
        self.used.now.fetch_add(tokens, Relaxed);
    }

    /// Tokens of the last minute, those of the minute before in proportion; 0 where nobody counts them.
    pub fn tokens_lately(&self, now: Instant) -> u64 {
        let ms = self.ms(now);
        self.used.turn(ms / MINUTE_MS);
        let left_ms = MINUTE_MS - ms % MINUTE_MS;
        self.used.now.load(Relaxed) + self.used.before.load(Relaxed) * left_ms / MINUTE_MS
    }

    /// Mean tokens per second.
    pub fn tokens_per_s(&self) -> Option<f64> {
        Some(self.speed.load(Relaxed)).filter(|n| *n > 0).map(|n| n as f64 / 1e3)
    }

    /// Why and for how long it is left alone.
    pub fn resting(&self, now: Instant) -> Option<Resting> {
        let remaining = |until: &AtomicU64| Duration::from_millis(until.load(Relaxed).saturating_sub(self.ms(now)));
        let (closed, behind) = (remaining(&self.closed_until), remaining(&self.behind_until));
        if closed.is_zero() {
            let why = Why::from_number(self.behind_for.load(Relaxed));
            return (!behind.is_zero()).then_some(Resting { remaining: behind, why, is_guess: true });
        }
        Some(Resting { remaining: closed, why: Why::from_number(self.closed_for.load(Relaxed)), is_guess: false })
    }
}

/// A running mean; two writers at once lose one measurement, which does not matter.
fn mean(place: &AtomicU64, measured: f64) {
    let old = place.load(Relaxed);
    let new = if old == 0 { measured } else { old as f64 * (1.0 - NEW_SHARE) + measured * NEW_SHARE };
    place.store((new as u64).max(1), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Breaker = Breaker { enabled: true, failures: 5, recovery: Duration::from_secs(30), allowed: NONE };
    const NONE: Allowed = Allowed { credential: None, timeout: None, limit: None, failure: None };

    fn at(vital: &Vital, seconds: u64) -> Instant {
        vital.began + Duration::from_secs(seconds)
    }

    fn ask(vital: &Vital, seconds: u64) -> Result<(), Resting> {
        vital.ask(RULES, at(vital, seconds), false)
    }

    fn broken() -> Vital {
        let vital = Vital::default();
        for _ in 0..RULES.failures {
            assert_eq!(ask(&vital, 0), Ok(()));
            vital.failed(RULES, at(&vital, 0), None);
        }
        vital
    }

    #[test]
    fn failures_in_a_row_open_the_breaker_and_one_probe_closes_it() {
        let vital = broken();
        let resting = Resting { remaining: Duration::from_secs(20), why: Why::Failures, is_guess: false };
        assert_eq!(ask(&vital, 10), Err(resting));
        assert_eq!(ask(&vital, 30), Ok(()), "the probe");
        assert!(ask(&vital, 30).is_err(), "only one");
        vital.failed(RULES, at(&vital, 31), None);
        assert!(ask(&vital, 60).is_err(), "a probe that fails opens it again");
        assert_eq!(ask(&vital, 61), Ok(()));
        vital.succeeded(at(&vital, 61), Duration::from_millis(5));
        assert_eq!(ask(&vital, 61), Ok(()));
        assert_eq!(vital.resting(at(&vital, 61)), None);
    }

    #[test]
    fn a_stream_that_came_at_once_says_nothing_of_speed() {
        let vital = Vital::default();
        for took in [Duration::ZERO, Duration::from_micros(300), SPEED_SPAN_MIN.mul_f64(0.99)] {
            vital.streamed(5000, took);
        }
        vital.streamed(0, Duration::from_secs(1));
        assert_eq!(vital.tokens_per_s(), None);
        vital.streamed(50, Duration::from_secs(1));
        assert_eq!(vital.tokens_per_s(), Some(50.0));
    }

    #[test]
    fn streams_that_break_off_one_after_the_other_open_the_breaker() {
        let vital = Vital::default();
        let stream = |second, is_broken| {
            assert_eq!(ask(&vital, second), Ok(()));
            vital.succeeded(at(&vital, second), Duration::from_millis(5));
            vital.ended(is_broken, at(&vital, second));
        };
        (0..4).for_each(|second| stream(second, true));
        stream(4, false);
        (5..10).for_each(|second| stream(second, true));
        assert!(ask(&vital, 10).is_err() && ask(&vital, 38).is_err(), "the last broke off at 9 s");
        assert_eq!(ask(&vital, 39), Ok(()), "the probe");
        vital.succeeded(at(&vital, 39), Duration::from_millis(5));
        assert_eq!(ask(&vital, 39), Ok(()));
    }

    #[test]
    fn kinds_of_failures_have_their_own_numbers() {
        let vital = Vital::default();
        for _ in 0..7 {
            vital.failed(RULES, at(&vital, 0), Some(8));
        }
        assert_eq!(ask(&vital, 0), Ok(()), "more than the five of any kind");
        vital.failed(RULES, at(&vital, 0), Some(8));
        assert!(ask(&vital, 29).is_err() && ask(&vital, 30).is_ok() && ask(&vital, 30).is_err(), "one probe");
        let quick = Vital::default();
        quick.failed(RULES, at(&quick, 0), Some(1));
        assert!(ask(&quick, 1).is_err());
    }

    #[test]
    fn a_probe_that_never_comes_back_does_not_block_for_ever() {
        let vital = broken();
        assert_eq!(ask(&vital, 30), Ok(()));
        assert_eq!(ask(&vital, 60), Ok(()));
    }

    #[test]
    fn a_breaker_that_is_switched_off_never_opens() {
        let vital = broken();
        assert_eq!(vital.ask(Breaker { enabled: false, ..RULES }, at(&vital, 1), false), Ok(()));
    }

    #[test]
    fn an_account_rests_as_long_as_it_asks() {
        let vital = Vital::default();
        vital.rests(at(&vital, 0), Duration::from_secs(3), Why::Limit);
        let resting = Resting { remaining: Duration::from_secs(1), why: Why::Limit, is_guess: false };
        assert_eq!(ask(&vital, 2), Err(resting));
        assert_eq!(vital.ask(RULES, at(&vital, 2), true), Err(resting), "even if it is the last one");
        assert_eq!(ask(&vital, 3), Ok(()));
        vital.rests(at(&vital, 3), Duration::from_hours(24), Why::Limit);
        assert_eq!(ask(&vital, 3 + REST_MAX.as_secs()), Ok(()), "no upstream can bench itself for a day");
    }

    #[test]
    fn one_that_does_not_say_for_how_long_stands_behind_the_others() {
        let vital = Vital::default();
        vital.stands_back(RULES, at(&vital, 0), Why::Credential);
        assert!(ask(&vital, 29).is_err_and(|resting| resting.is_guess && resting.why == Why::Credential));
        assert_eq!(vital.resting(at(&vital, 29)), ask(&vital, 29).err());
        assert_eq!(vital.resting(at(&vital, 30)), None);
        assert_eq!(vital.ask(RULES, at(&vital, 1), true), Ok(()), "better than nobody");
        assert_eq!(ask(&vital, 30), Ok(()));
        vital.stands_back(RULES, at(&vital, 30), Why::Limit);
        vital.forget();
        assert_eq!(ask(&vital, 31), Ok(()), "a new key is a new account");
    }

    #[test]
    fn load_is_counted_while_it_lasts() {
        let vital = Arc::new(Vital::default());
        let (one, two) = (Load::begin(&vital), Load::begin(&vital));
        assert_eq!(vital.in_flight(), 2);
        drop((one, two));
        assert_eq!(vital.in_flight(), 0);
        vital.used(600, at(&vital, 30));
        assert_eq!(vital.tokens_lately(at(&vital, 31)), 600);
        assert_eq!(vital.tokens_lately(at(&vital, 90)), 300, "half of the minute before is still in the last minute");
        assert_eq!(vital.tokens_lately(at(&vital, 200)), 0);
    }

    #[test]
    fn a_measurement_grows_old() {
        let vital = Vital::default();
        vital.succeeded(at(&vital, 10), Duration::from_millis(400));
        assert_eq!(vital.fresh_latency_s(at(&vital, 200)), Some(0.4));
        assert_eq!((vital.fresh_latency_s(at(&vital, 311)), vital.latency_s()), (None, Some(0.4)));
    }

    #[test]
    fn retries_are_a_share_of_requests() {
        let budget = Budget::default();
        let spent = |budget: &Budget| std::iter::repeat_with(|| budget.spend(0.2)).take_while(|is_left| *is_left).take(1000).count();
        assert!(!budget.spend(0.0));
        assert_eq!(spent(&budget), 10);
        (0..100).for_each(|_| budget.earn(0.2));
        assert_eq!(spent(&budget), 10, "what is saved has a bound");
        (0..25).for_each(|_| budget.earn(0.2));
        assert_eq!(spent(&budget), 5);
    }
}
