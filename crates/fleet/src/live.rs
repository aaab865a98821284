//! What moves with every request on one node: counters. The request path touches nothing else of a node but the model's [`Instance`].

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use tokio::sync::Notify;

use crate::{
    balance::{Known, Usage, incapability, risen_after},
    breaker::Admission,
    clock::Clock,
    instance::Instance,
    queue::Queue,
    tally::{End, Tally, Totals},
};

/// A report of load older than this says nothing any more.
const LOAD_AGE_MS_MAX: i64 = 120_000;

/// A node's report of load. Percentages are 0..=100.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load {
    pub(crate) cpu: f64,
    pub(crate) memory: f64,
    pub(crate) gpu: Option<f64>,
    pub(crate) gpu_memory: Option<f64>,
    pub(crate) capability: Option<f64>,
    /// Whether the report measures the machine (an agent's does not).
    pub(crate) measured: bool,
}

/// What is looked at of every node for every request, in one line of the processor's cache. The last report is here as policies compare it.
#[derive(Debug)]
#[repr(align(64))]
struct Front {
    seen_ms: AtomicI64,
    /// When the load was reported; [`NEVER`] before the first report.
    reported_ms: AtomicI64,
    /// The same of the last report that measured the machine.
    measured_ms: AtomicI64,
    usage: AtomicU64,
    incapability: AtomicU64,
    last_turn: AtomicU64,
    active: AtomicU32,
    /// Requests there that are not this router's, as last reported.
    others: AtomicU32,
    suspect: AtomicBool,
    /// Nobody listens at its address.
    cut_off: AtomicBool,
    /// It does not answer when it is asked whether it is there.
    mute: AtomicBool,
    /// When it joined or came back, in steps of the clock ([`STEP_BITS`]).
    came: AtomicU32,
}

/// Milliseconds of a step, as a power of two: so long ago a node may have come without the number running over.
const STEP_BITS: u32 = 7;

const fn steps(tick_ms: i64) -> u32 {
    (tick_ms >> STEP_BITS) as u32
}

/// Before every time, and far from where subtracting would overflow.
const NEVER: i64 = i64::MIN / 2;

/// Shared by the registry, every view and every request in flight.
#[derive(Debug)]
pub(crate) struct Live {
    front: Front,
    clock: Clock,
    /// Turns of all nodes: what "in turn" counts by.
    turns: Arc<AtomicU64>,
    assigned: AtomicU64,
    tally: Tally,
    /// There was a sign of life all the same.
    stirred: Notify,
    failed_at_ms: AtomicI64,
    /// Requests that have waited for a while for the first byte of an answer.
    waiting: AtomicU32,
    /// By model: those that the node has, and those that it had and that still have requests in flight.
    instances: Mutex<HashMap<Arc<str>, Arc<Instance>>>,
}

impl Live {
    pub(crate) fn new(clock: Clock, turns: Arc<AtomicU64>, seen_ms: i64) -> Self {
        let (never, unknown) = (|| AtomicI64::new(NEVER), incapability(None));
        let front = Front {
            seen_ms: AtomicI64::new(seen_ms),
            reported_ms: never(),
            measured_ms: never(),
            usage: AtomicU64::default(),
            incapability: AtomicU64::new(unknown),
            last_turn: AtomicU64::default(),
            active: AtomicU32::default(),
            others: AtomicU32::default(),
            suspect: AtomicBool::default(),
            cut_off: AtomicBool::default(),
            mute: AtomicBool::default(),
            came: AtomicU32::new(steps(clock.tick_ms())),
        };
        Self {
            front,
            clock,
            turns,
            assigned: AtomicU64::default(),
            tally: Tally::default(),
            stirred: Notify::new(),
            failed_at_ms: never(),
            waiting: AtomicU32::default(),
            instances: Mutex::default(),
        }
    }

    /// Steady time of the last sign of life.
    pub(crate) fn seen_ms(&self) -> i64 {
        self.front.seen_ms.load(Relaxed)
    }

    /// A sign of life: whatever made the node suspect is over. That it can be reached is for its next connection to prove.
    pub(crate) fn seen(&self) {
        self.front.seen_ms.store(self.clock.tick_ms(), Relaxed);
        self.front.suspect.store(false, Relaxed);
        if self.front.cut_off.load(Relaxed) {
            self.stirred.notify_one();
        }
    }

    /// Resolves with the next sign of life of a node that could not be reached.
    pub(crate) async fn stirs(&self) {
        self.stirred.notified().await;
    }

    /// Whether somebody listens at its address; what was thought before.
    pub(crate) fn set_cut_off(&self, cut_off: bool) -> bool {
        if cut_off {
            self.failed_at_ms.store(self.clock.tick_ms(), Relaxed);
        }
        let was_cut_off = self.front.cut_off.swap(cut_off, Relaxed);
        if was_cut_off && !cut_off {
            self.comes_back();
        }
        was_cut_off
    }

    /// A request waits for a sign of life; whether it is the first that does.
    pub(crate) fn waited_for(&self) -> bool {
        self.waiting.fetch_add(1, Relaxed) == 0
    }

    /// It waits no longer.
    pub(crate) fn left_alone(&self) {
        self.waiting.fetch_sub(1, Relaxed);
    }

    /// Whether it is to be asked whether it is there.
    pub(crate) fn is_watched(&self) -> bool {
        self.waiting.load(Relaxed) > 0 || self.is_mute()
    }

    /// Whether it did not answer that question.
    pub(crate) fn is_mute(&self) -> bool {
        self.front.mute.load(Relaxed)
    }

    /// Whether it answers when it is asked whether it is there; what was thought before.
    pub(crate) fn set_mute(&self, is_mute: bool) -> bool {
        let was_mute = self.front.mute.swap(is_mute, Relaxed);
        if was_mute && !is_mute {
            self.comes_back();
        }
        was_mute
    }

    /// From now on it gets its share little by little.
    pub(crate) fn comes_back(&self) {
        self.front.came.store(steps(self.clock.tick_ms()), Relaxed);
    }

    /// How much of its share it may have, of [`crate::balance::RISEN`].
    pub(crate) fn risen(&self, now_tick_ms: i64) -> u32 {
        let age = steps(now_tick_ms).wrapping_sub(self.front.came.load(Relaxed));
        // A moment before it came, seen from a question that was begun before.
        if age > u32::MAX / 2 { risen_after(0) } else { risen_after(age.saturating_mul(1 << STEP_BITS)) }
    }

    /// A report: `active` as the node counts it, this router's own requests included.
    pub(crate) fn report(&self, load: &Load, active: u32) {
        let (front, now_ms) = (&self.front, self.clock.tick_ms());
        // What this router has in flight there now is in the node's figure too: counting both would weigh it double.
        front.others.store(active.saturating_sub(self.own_active()), Relaxed);
        front.usage.store(Usage::of([Some(load.cpu), Some(load.memory), load.gpu, load.gpu_memory]).0, Relaxed);
        front.incapability.store(incapability(load.capability), Relaxed);
        front.measured_ms.store(if load.measured { now_ms } else { NEVER }, Relaxed);
        front.reported_ms.store(now_ms, Relaxed);
    }

    /// The node begins anew: what was reported of it and what failed there is forgotten.
    pub(crate) fn begins_anew(&self) {
        self.comes_back();
        self.report(&Load::default(), 0);
        self.front.reported_ms.store(NEVER, Relaxed);
        self.instances().values().for_each(|instance| instance.begins_anew());
    }

    pub(crate) fn own_active(&self) -> u32 {
        self.front.active.load(Relaxed)
    }

    /// Requests in flight, this router's and others'.
    pub(crate) fn active(&self) -> u32 {
        self.own_active().saturating_add(self.front.others.load(Relaxed))
    }

    pub(crate) fn average_ms(&self) -> Option<f64> {
        self.tally.average_ms()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.tally.totals()
    }

    /// The model here, and all models that the node has beside it.
    pub(crate) fn instance(&self, model: &str, queue: &Queue) -> Arc<Instance> {
        let mut instances = self.instances();
        match instances.get(model) {
            Some(known) => known.clone(),
            None => instances.entry(model.into()).or_insert_with(|| Arc::new(Instance::new(queue.line(model)))).clone(),
        }
    }

    /// The model here, if it is known.
    pub(crate) fn known_instance(&self, model: &str) -> Option<Arc<Instance>> {
        self.instances().get(model).cloned()
    }

    /// Forgets models that the node has no more, where it knows more than `count`; those with requests in flight stay.
    pub(crate) fn keep_instances(&self, count: usize, is_there: impl Fn(&str) -> bool) {
        let mut instances = self.instances();
        if instances.len() <= count {
            return;
        }
        instances.retain(|model, instance| is_there(model) || instance.active() > 0);
    }

    /// All models here.
    pub(crate) fn all_instances(&self) -> Vec<(Arc<str>, Arc<Instance>)> {
        self.instances().iter().map(|(model, instance)| (model.clone(), instance.clone())).collect()
    }

    fn instances(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Arc<Instance>>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_suspect(&self) -> bool {
        self.front.suspect.load(Relaxed) || self.front.cut_off.load(Relaxed) || self.is_mute()
    }

    /// Silent for longer than heartbeats may be apart, but not so long that it counts as gone.
    pub(crate) fn is_late(&self, now_tick_ms: i64, timeout_ms: i64) -> bool {
        (now_tick_ms - self.seen_ms()).saturating_mul(3) > timeout_ms.saturating_mul(2)
    }

    /// Steady time of the last failure.
    pub(crate) fn failed_at_ms(&self) -> i64 {
        self.failed_at_ms.load(Relaxed)
    }

    /// Whether one of its models has failed so often that it is left alone.
    pub(crate) fn is_degraded(&self, now_tick_ms: i64) -> bool {
        self.instances().values().any(|instance| instance.admission(now_tick_ms) != Admission::Open)
    }

    pub(crate) fn has_fresh_load(&self, now_tick_ms: i64) -> bool {
        now_tick_ms - self.front.reported_ms.load(Relaxed) <= LOAD_AGE_MS_MAX
    }

    /// The node as policies look at it.
    pub(crate) fn known(&self, is_loaded: bool, now_tick_ms: i64) -> KnownLive<'_> {
        KnownLive { live: self, is_loaded, now_tick_ms }
    }

    /// Counts a request in. `None`: there is no room, the breaker is shut, or its one trial is taken; `pass` says which of these it passes.
    pub(crate) fn begin(self: &Arc<Self>, instance: &Arc<Instance>, pass: Pass) -> Option<InFlight> {
        if !instance.enter(pass == Pass::Everything) {
            return None;
        }
        let Some(trial) = instance.pass_breaker(self.clock.tick_ms(), pass != Pass::Nothing) else {
            instance.left();
            return None;
        };
        self.front.active.fetch_add(1, Relaxed);
        self.assigned.fetch_add(1, Relaxed);
        self.front.last_turn.store(self.turns.fetch_add(1, Relaxed) + 1, Relaxed);
        Some(InFlight { live: self.clone(), instance: instance.clone(), begun: Instant::now(), end: End::Cancelled, trial })
    }

    /// It did not answer when it was asked how it is.
    pub(crate) fn doubted(&self) {
        self.front.suspect.store(true, Relaxed);
        self.failed_at_ms.store(self.clock.tick_ms(), Relaxed);
    }

    fn ended(&self, instance: &Instance, end: End, took_ms: f64, trial: bool) {
        self.front.active.fetch_sub(1, Relaxed);
        self.tally.count(end, took_ms);
        match end {
            End::Success => {
                self.front.suspect.store(false, Relaxed);
                instance.is_well(self.clock.tick_ms());
            }
            End::Refused => instance.is_well(self.clock.tick_ms()),
            End::Failed | End::Broken => {
                if end == End::Broken {
                    self.front.suspect.store(true, Relaxed);
                }
                let now_ms = self.clock.tick_ms();
                self.failed_at_ms.store(now_ms, Relaxed);
                instance.failed(now_ms);
            }
            End::Cancelled | End::Silent if trial => instance.give_back_trial(),
            End::Cancelled | End::Silent => {}
        }
        // Last, so that whoever is called finds everything counted.
        instance.tally().count(end, took_ms);
        instance.left();
    }
}

/// See [`Live::known`].
#[derive(Clone, Copy)]
pub(crate) struct KnownLive<'a> {
    live: &'a Live,
    is_loaded: bool,
    now_tick_ms: i64,
}

impl Known for KnownLive<'_> {
    fn is_loaded(&self) -> bool {
        self.is_loaded
    }

    fn is_measured(&self) -> bool {
        self.now_tick_ms - self.live.front.measured_ms.load(Relaxed) <= LOAD_AGE_MS_MAX
    }

    fn active(&self) -> u32 {
        self.live.active()
    }

    fn usage(&self) -> Usage {
        Usage(self.live.front.usage.load(Relaxed))
    }

    fn incapability(&self) -> u64 {
        self.live.front.incapability.load(Relaxed)
    }

    fn average_ms(&self) -> Option<f64> {
        self.live.average_ms()
    }

    fn assigned(&self) -> u64 {
        self.live.assigned.load(Relaxed)
    }

    fn last_turn(&self) -> u64 {
        self.live.front.last_turn.load(Relaxed)
    }

    fn risen(&self) -> u32 {
        self.live.risen(self.now_tick_ms)
    }
}

/// What a request may pass where a node would not have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    Nothing,
    /// A shut breaker, as too many others are shut too.
    Breaker,
    /// That and full places: nobody is well, and one must be tried.
    Everything,
}

/// One request on a node, counted as long as this lives. Dropped without [`InFlight::end`], it counts as cancelled.
#[derive(Debug)]
#[must_use = "the request counts as over when this is dropped"]
pub struct InFlight {
    live: Arc<Live>,
    instance: Arc<Instance>,
    begun: Instant,
    end: End,
    trial: bool,
}

impl InFlight {
    /// Counts the request out and says how it ended.
    pub fn end(mut self, end: End) {
        self.end = end;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.live.ended(&self.instance, self.end, self.begun.elapsed().as_secs_f64() * 1000.0, self.trial);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn live() -> (Clock, Arc<Live>) {
        let clock = Clock::new();
        (clock.clone(), Arc::new(Live::new(clock, Arc::default(), 0)))
    }

    /// A request for the one model.
    fn begin(live: &Arc<Live>, pass: Pass) -> Option<InFlight> {
        live.begin(&live.instance("m", &Queue::default()), pass)
    }

    #[test]
    fn own_requests_do_not_count_twice() {
        let (_, live) = live();
        let mine = begin(&live, Pass::Nothing).expect("a new breaker is open");
        live.report(&Load::default(), 3);
        assert_eq!(live.active(), 3, "two of others and mine");
        drop(mine);
        assert_eq!(live.active(), 2, "mine left before the node reported again");
        live.report(&Load::default(), 0);
        assert_eq!(live.active(), 0);
    }

    #[test]
    fn a_broken_connection_makes_suspect_until_a_sign_of_life() {
        let (_, live) = live();
        begin(&live, Pass::Nothing).expect("open").end(End::Broken);
        assert!(live.is_suspect());
        live.seen();
        assert!(!live.is_suspect());
    }

    #[test]
    fn client_errors_and_hang_ups_never_shut_the_breaker() {
        let (_, live) = live();
        for end in [End::Refused, End::Cancelled] {
            (0..20).for_each(|_| begin(&live, Pass::Nothing).expect("open").end(end));
        }
        assert!(!live.is_degraded(0));
        assert_eq!(live.totals(), Totals { total: 40, successful: 0, failed: 20, cancelled: 20 });
    }

    #[test]
    fn a_shut_breaker_lets_one_trial_through() {
        let (clock, live) = live();
        (0..3).for_each(|_| begin(&live, Pass::Nothing).expect("open").end(End::Failed));
        assert!(begin(&live, Pass::Nothing).is_none());
        assert!(begin(&live, Pass::Everything).is_some(), "the last resort passes");
        clock.advance(Duration::from_secs(6));
        let trial = begin(&live, Pass::Nothing).expect("the pause is over");
        assert!(begin(&live, Pass::Nothing).is_none(), "one trial at a time");
        drop(trial);
        begin(&live, Pass::Nothing).expect("the trial was cancelled, another may try").end(End::Success);
        assert!(!live.is_degraded(0));
    }

    #[test]
    fn the_average_follows_new_answers() {
        let (_, live) = live();
        assert_eq!(live.average_ms(), None);
        live.tally.count(End::Success, 100.0);
        live.tally.count(End::Success, 200.0);
        live.tally.count(End::Failed, 9000.0);
        assert_eq!(live.average_ms(), Some(120.0));
    }

    proptest! {
        #[test]
        fn counters_are_the_sum_of_the_guards(steps in proptest::collection::vec((0..3_usize, 0..8_usize, 0..6_usize), 1..200)) {
            let nodes: Vec<_> = (0..3).map(|_| live().1).collect();
            let mut held: Vec<(usize, InFlight)> = Vec::new();
            let mut ended = [0; 3];
            for (node, what, end) in steps {
                if what < 4 {
                    held.push((node, begin(&nodes[node], Pass::Everything).expect("forced")));
                } else if !held.is_empty() {
                    let (node, guard) = held.swap_remove(what * 7 % held.len());
                    ended[node] += 1;
                    match [End::Success, End::Refused, End::Failed, End::Broken, End::Cancelled].get(end) {
                        Some(&end) => guard.end(end),
                        None => drop(guard),
                    }
                }
                for (i, live) in nodes.iter().enumerate() {
                    prop_assert_eq!(live.own_active() as usize, held.iter().filter(|(n, _)| *n == i).count());
                    prop_assert_eq!(live.totals().total, ended[i]);
                }
            }
            drop(held);
            prop_assert!(nodes.iter().all(|n| n.own_active() == 0));
        }
    }
}
