//! Waiting for a node: one line for each model, first come, first served, with a bound for all together and one for each caller.
//!
//! Only the first of a line looks for a node; whoever leaves the line calls the next. A request that waits costs an entry and a task.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use wire::{Code, Failure};

use crate::{
    Fleet,
    balance::mix,
    view::{FleetView, Pick, Turn},
};

/// When to try again after a refusal, where nothing says how long it will take.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Bounds of what is said otherwise.
const RETRY_AFTER_MIN: f64 = 1.0;
const RETRY_AFTER_MAX: f64 = 30.0;
/// How often the first of a line looks again, called or not: breakers open and reports age without a call.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// The waiters of one model in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Line {
    waiting: AtomicUsize,
    waiters: Mutex<BTreeMap<u64, Arc<Notify>>>,
}

impl Line {
    /// Wakes the first. One look at a number where nobody waits.
    pub(crate) fn call_next(&self) {
        if self.waiting.load(SeqCst) > 0
            && let Some(first) = self.waiters().values().next()
        {
            first.notify_one();
        }
    }

    /// Requests that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    fn waiters(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Notify>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All lines.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    lines: Mutex<HashMap<Arc<str>, Arc<Line>>>,
    tickets: AtomicU64,
    waiting: AtomicUsize,
    /// Of those that wait now, how many are whose. As many entries as waiters at most.
    by_caller: Mutex<HashMap<Arc<str>, usize>>,
}

impl Queue {
    /// The line of a model.
    pub(crate) fn line(&self, model: &str) -> Arc<Line> {
        let mut lines = self.lines();
        match lines.get(model) {
            Some(line) => line.clone(),
            None => lines.entry(model.into()).or_default().clone(),
        }
    }

    /// Wakes the first of every line, after something has changed, and forgets lines of models that nobody has any more.
    pub(crate) fn call_all(&self) {
        self.lines().retain(|_, line| {
            line.call_next();
            Arc::strong_count(line) > 1
        });
    }

    /// Requests that wait, by model.
    pub(crate) fn waiting_by_model(&self) -> Vec<(Arc<str>, usize)> {
        self.lines().iter().map(|(model, line)| (model.clone(), line.waiting())).collect()
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn callers(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.by_caller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter<'q>(&'q self, line: &'q Arc<Line>, caller: Option<&Arc<str>>, bounds: (usize, usize)) -> Result<Place<'q>, Failure> {
        let (all_max, caller_max) = bounds;
        if self.waiting.fetch_update(Relaxed, Relaxed, |n| (n < all_max).then_some(n + 1)).is_err() {
            return Err(Failure::new(Code::QueueFull, format!("{all_max} requests wait already")));
        }
        if let Some(caller) = caller {
            let mut callers = self.callers();
            let own = callers.entry(caller.clone()).or_default();
            if *own >= caller_max {
                self.waiting.fetch_sub(1, Relaxed);
                return Err(Failure::new(Code::RateLimitExceeded, format!("{caller_max} requests of this key wait already")));
            }
            *own += 1;
        }
        let (ticket, call) = (self.tickets.fetch_add(1, Relaxed), Arc::new(Notify::new()));
        let mut waiters = line.waiters();
        let position = waiters.len();
        waiters.insert(ticket, call.clone());
        line.waiting.store(waiters.len(), SeqCst);
        drop(waiters);
        Ok(Place { queue: self, line, caller: caller.cloned(), ticket, call, position })
    }
}

/// A place in a line, given back when dropped.
struct Place<'q> {
    queue: &'q Queue,
    line: &'q Arc<Line>,
    caller: Option<Arc<str>>,
    ticket: u64,
    call: Arc<Notify>,
    /// How many stood before it when it came.
    position: usize,
}

impl Place<'_> {
    fn is_first(&self) -> bool {
        self.line.waiters().keys().next() == Some(&self.ticket)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiters = self.line.waiters();
        waiters.remove(&self.ticket);
        self.line.waiting.store(waiters.len(), SeqCst);
        drop(waiters);
        self.queue.waiting.fetch_sub(1, Relaxed);
        if let Some(caller) = self.caller.take()
            && let Entry::Occupied(mut own) = self.queue.callers().entry(caller)
        {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
        self.line.call_next();
    }
}

/// What is asked of the fleet.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub model: &'a str,
    /// Whose request it is, where that is known.
    pub caller: Option<&'a Arc<str>>,
    /// When nobody waits for the answer any more.
    pub deadline: Instant,
    /// Candidates for later tries, the first included.
    pub places: usize,
    /// Stand in line while all nodes are busy; else that is a refusal.
    pub may_queue: bool,
}

/// How long a request stood in line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Queued {
    /// 1 for the first.
    pub position: u32,
    pub wait_ms: f64,
}

impl Fleet {
    /// A node for this model with the request counted in, at once or after waiting: at most `queue_timeout`, and not beyond the deadline. Dropping
    /// the future leaves the line.
    ///
    /// # Errors
    /// `model_not_found` where no node knows it, `no_available_target` where nobody is there or is left to wait for, `queue_full` where too many
    /// wait already, `rate_limit_exceeded` where too many of this caller do, `queue_timeout` when the time is over or would be. With `Retry-After`.
    pub async fn admit(&self, wanted: &Wanted<'_>) -> Result<Turn, Failure> {
        let line = self.queue.line_if_waiting(wanted.model);
        if line.is_none()
            && let Some(decided) = self.decide(wanted, wanted.may_queue)
        {
            return decided;
        }
        let line = line.unwrap_or_else(|| self.queue.line(wanted.model));
        if !wanted.may_queue {
            return Err(Failure::new(Code::QueueFull, format!("all nodes that have `{}` are busy", wanted.model)));
        }
        self.stand_in_line(wanted, &line).await
    }

    async fn stand_in_line(&self, wanted: &Wanted<'_>, line: &Arc<Line>) -> Result<Turn, Failure> {
        let (settings, came) = (self.settings(), Instant::now());
        let later = |failure: Failure| {
            let wait = self.expected_wait(wanted.model, line.waiting());
            failure.retry_after(wait.map_or(RETRY_AFTER, |wait| rounded(wait, self.queue.tickets.load(Relaxed))))
        };
        let limit = wanted.deadline.min(came + settings.queue_timeout);
        let place = self.queue.enter(line, wanted.caller, (settings.max_waiters, settings.max_waiters_per_key)).map_err(later)?;
        let hopeless = self.expected_wait(wanted.model, place.position).is_some_and(|wait| came + wait > limit);
        if hopeless {
            let message = format!("{} requests wait for `{}`: its turn would come too late", place.position, wanted.model);
            return Err(later(Failure::new(Code::QueueTimeout, message).with("queue_position", place.position + 1)));
        }
        loop {
            let is_first = place.is_first();
            if is_first && let Some(decided) = self.decide(wanted, true) {
                let position = u32::try_from(place.position + 1).unwrap_or(u32::MAX);
                let queued = Queued { position, wait_ms: came.elapsed().as_secs_f64() * 1e3 };
                return decided.map(|turn| Turn { queued: Some(queued), ..turn });
            }
            let look = if is_first { limit.min(Instant::now() + LOOK_INTERVAL) } else { limit };
            let called = timeout_at(look, place.call.notified()).await.is_ok();
            if !called && Instant::now() >= limit {
                let message = format!("no node became free for `{}` in time", wanted.model);
                return Err(later(Failure::new(Code::QueueTimeout, message).with("queue_position", place.position + 1)));
            }
        }
    }

    /// The end of the wait, unless it is worth going on.
    fn decide(&self, wanted: &Wanted<'_>, may_wait: bool) -> Option<Result<Turn, Failure>> {
        match self.view().pick(wanted.model, wanted.places) {
            Pick::Turn(turn) => Some(Ok(*turn)),
            Pick::Busy | Pick::Warming if may_wait => None,
            Pick::Busy | Pick::Warming => {
                Some(Err(Failure::new(Code::QueueFull, format!("all nodes that have `{}` are busy or loading", wanted.model))
                    .retry_after(RETRY_AFTER)))
            }
            Pick::Down => Some(Err(
                Failure::new(Code::NoAvailableTarget, format!("no node that has `{}` is there", wanted.model)).retry_after(RETRY_AFTER)
            )),
            Pick::Unknown => Some(Err(Failure::new(Code::ModelNotFound, format!("no node has the model `{}`", wanted.model)))),
        }
    }

    /// How long so many before it take, where nodes have said how many they work on at once and have answered something.
    fn expected_wait(&self, model: &str, before: usize) -> Option<Duration> {
        let pace = self.view().places_per_s(model)?;
        Some(Duration::from_secs_f64((before as f64 + 1.0) / pace))
    }

    /// Requests that wait now.
    pub fn waiting(&self) -> usize {
        self.queue.waiting.load(Relaxed)
    }
}

impl Queue {
    /// A model's line where somebody stands in it: whoever comes now stands behind them.
    fn line_if_waiting(&self, model: &str) -> Option<Arc<Line>> {
        if self.waiting.load(Relaxed) == 0 {
            return None;
        }
        self.lines().get(model).filter(|line| line.waiting() > 0).cloned()
    }
}

impl FleetView {
    /// Requests that a model's nodes end in a second when all their places are taken; `None` where that is not known.
    fn places_per_s(&self, model: &str) -> Option<f64> {
        let pace = |slots: u32, average_ms: f64| f64::from(slots) * 1e3 / average_ms.max(1.0);
        let known = self.instances_of(model).filter(|i| i.slots() > 0).filter_map(|i| Some(pace(i.slots(), i.average_ms()?)));
        let sum: f64 = known.sum();
        (sum > 0.0).then_some(sum)
    }
}

/// Whole seconds, spread by a fifth so that those who were refused together do not come back together.
fn rounded(wait: Duration, dice: u64) -> Duration {
    let spread = 0.8 + 0.4 * (mix(dice) >> 11) as f64 / (1u64 << 53) as f64;
    Duration::from_secs_f64((wait.as_secs_f64() * spread).ceil().clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter<'q>(queue: &'q Queue, line: &'q Arc<Line>, caller: &str) -> Result<Place<'q>, Code> {
        queue.enter(line, Some(&caller.into()), (4, 3)).map_err(|failure| failure.code)
    }

    #[test]
    fn a_line_is_in_order_of_arrival_whoever_leaves() {
        let queue = Queue::default();
        let line = queue.line("m");
        let [a, b, c] = [0; 3].map(|_| enter(&queue, &line, "k").unwrap());
        assert_eq!(([a.position, b.position, c.position], [a.is_first(), b.is_first(), c.is_first()]), ([0, 1, 2], [true, false, false]));
        drop(b);
        assert!(!c.is_first());
        drop(a);
        assert!(c.is_first());
        drop(c);
        assert_eq!((line.waiting(), queue.waiting.load(Relaxed), queue.callers().len()), (0, 0, 0));
        drop(line);
        queue.call_all();
        assert!(queue.lines().is_empty(), "a line of a model that nobody has is forgotten");
    }

    #[test]
    fn all_together_and_each_caller_have_a_bound() {
        let queue = Queue::default();
        let (line, other) = (queue.line("m"), queue.line("n"));
        let held = [enter(&queue, &line, "k"), enter(&queue, &other, "k"), enter(&queue, &line, "k")];
        assert_eq!(enter(&queue, &line, "k").err(), Some(Code::RateLimitExceeded));
        let last = enter(&queue, &line, "l");
        assert!(last.is_ok());
        assert_eq!(enter(&queue, &line, "l").err(), Some(Code::QueueFull));
        drop((held, last));
        assert_eq!((queue.waiting.load(Relaxed), queue.callers().len()), (0, 0), "a refusal holds nothing");
    }

    #[test]
    fn when_to_come_back_is_spread_and_bounded() {
        let seconds: Vec<f64> = (0..200).map(|dice| rounded(Duration::from_secs(10), dice).as_secs_f64()).collect();
        assert!(seconds.iter().all(|s| (8.0..=12.0).contains(s)) && seconds.iter().any(|s| *s < 10.0) && seconds.iter().any(|s| *s > 10.0));
        assert_eq!(rounded(Duration::ZERO, 1).as_secs(), 1);
        assert_eq!(rounded(Duration::from_hours(1), 1).as_secs(), 30);
    }
}
