use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

/// A cache that keeps the tokens of every sequence and counts cells in its own way.
#[derive(Debug, Default)]
struct FakeKv {
    cells: HashMap<u64, Token>,
    sequences: HashMap<SeqId, Vec<u64>>,
    next: u64,
}

impl Kv for FakeKv {
    fn share(&mut self, from: SeqId, to: SeqId, length: u32) {
        assert!(self.sequences.get(&to).is_none_or(Vec::is_empty), "sequence {to} is not empty");
        let start = self.sequences[&from][..length as usize].to_vec();
        self.sequences.insert(to, start);
    }

    fn clear(&mut self, sequence: SeqId) {
        self.sequences.remove(&sequence);
        let held: HashSet<u64> = self.sequences.values().flatten().copied().collect();
        self.cells.retain(|cell, _| held.contains(cell));
    }
}

impl FakeKv {
    fn compute(&mut self, row: &Row) {
        let cells = self.sequences.entry(row.sequence).or_default();
        assert_eq!(cells.len() as u32, row.position, "rows come in order");
        self.next += 1;
        cells.push(self.next);
        self.cells.insert(self.next, row.token);
    }

    fn tokens(&self, sequence: SeqId) -> Vec<Token> {
        self.sequences[&sequence].iter().map(|cell| self.cells[cell]).collect()
    }
}

const LIMITS: Limits = Limits {
    slots: 4,
    cells: 1500,
    context: 1000,
    queue_max: 5,
    cached_max: 3,
    step: Duration::from_millis(200),
    ubatch: 64,
    batch: 128,
    mixed_rows: 100,
    cuts_sequences: true,
};

/// A scheduler, its cache, and what every request should look like.
struct Bench {
    scheduler: Scheduler,
    kv: FakeKv,
    now: Duration,
    /// Tokens of each live request.
    live: HashMap<RequestId, Vec<Token>>,
    ended: HashMap<RequestId, u32>,
    next: RequestId,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        Self {
            scheduler: Scheduler::new(limits),
            kv: FakeKv::default(),
            now: Duration::ZERO,
            live: HashMap::new(),
            ended: HashMap::new(),
            next: 0,
        }
    }

    fn submit(&mut self, prompt: Vec<Token>, max_new: Option<u32>, salt: Option<u64>, queue_for: Duration) -> Result<RequestId, Refused> {
        let id = self.next;
        self.next += 1;
        self.scheduler.submit(Ticket { id, prompt: prompt.clone(), max_new, salt, queue_for }, self.now)?;
        self.live.insert(id, prompt);
        Ok(id)
    }

    fn end(&mut self, id: RequestId) {
        assert!(self.live.remove(&id).is_some(), "request {id} ends once");
        *self.ended.entry(id).or_default() += 1;
    }

    fn finish(&mut self, id: RequestId) {
        assert!(self.scheduler.finish(id, &mut self.kv));
        self.end(id);
    }

    /// One turn; `answer` says what each row with logits brings: a token, or the end. `fails` loses the step.
    fn turn(&mut self, fails: bool, mut answer: impl FnMut(RequestId) -> Option<Token>) -> Plan {
        let plan = self.scheduler.plan(self.now, &mut self.kv);
        for &id in &plan.expired {
            self.end(id);
        }
        for &id in &plan.starved {
            self.finish(id);
        }
        assert!(plan.rows.len() as u32 <= self.scheduler.limits.batch);
        self.now += Duration::from_millis(50);
        if fails {
            for id in self.scheduler.fail_step(&mut self.kv) {
                self.end(id);
            }
            return plan;
        }
        for row in &plan.rows {
            self.kv.compute(row);
        }
        assert!(self.kv.cells.len() <= self.scheduler.limits.cells as usize, "more cells than there are");
        self.scheduler.commit(Duration::from_millis(50));
        for row in plan.rows.iter().filter(|row| row.logits) {
            assert_eq!(self.kv.tokens(row.sequence), self.live[&row.id], "the cache holds just this request's tokens");
            match answer(row.id) {
                None => self.finish(row.id),
                Some(token) => {
                    self.live.get_mut(&row.id).expect("it is live").push(token);
                    if self.scheduler.push(row.id, token) == Room::Full {
                        self.finish(row.id);
                    }
                }
            }
        }
        plan
    }

    fn check(&self) {
        self.scheduler.ledger.check();
        let used = self.scheduler.ledger.total() - self.scheduler.ledger.free();
        assert_eq!(used as usize, self.kv.cells.len(), "both count the same cells");
        assert!(self.scheduler.ledger.free() >= self.scheduler.outstanding(), "promised cells are free");
        let gauges = self.scheduler.gauges();
        assert!(gauges.running <= self.scheduler.limits.slots);
        assert!(gauges.waiting <= self.scheduler.limits.queue_max + self.scheduler.limits.slots);
        assert!(self.scheduler.prefixes.iter().count() <= self.scheduler.limits.cached_max as usize);
        assert_eq!((gauges.running + gauges.waiting) as usize, self.live.len());
    }

    /// Runs on until nothing is left; every request generates until its end.
    fn run_out(&mut self) {
        for _ in 0..10_000 {
            if self.scheduler.is_idle() {
                return;
            }
            self.turn(false, |_| Some(7));
            self.check();
        }
        panic!("it never came to rest: {:?}", self.scheduler);
    }
}

fn long() -> Duration {
    Duration::from_hours(1)
}

fn prompt(range: std::ops::Range<i32>) -> Vec<Token> {
    range.collect()
}

#[test]
fn generating_requests_go_first_and_prefill_shares_the_rest() {
    let mut bench = Bench::new(LIMITS);
    bench.scheduler.set_pace(Pace { prefill_tps: 200.0, tpot_ms: 5.0 });
    let first = bench.submit(prompt(0..10), Some(50), None, long()).expect("there is room");
    bench.turn(false, |_| Some(1));
    bench.submit(prompt(0..300), Some(5), None, long()).expect("there is room");
    bench.scheduler.set_pace(Pace { prefill_tps: 200.0, tpot_ms: 5.0 });
    let plan = bench.turn(false, |_| Some(1));
    assert_eq!(plan.rows[0].id, first);
    assert!(plan.rows[0].logits);
    assert_eq!(plan.rows.len(), 1 + 40, "a step of 200 ms at 200 tokens a second");
}

#[test]
fn steps_that_several_share_are_smaller() {
    let mut bench = Bench::new(Limits { mixed_rows: 63, ..LIMITS });
    bench.scheduler.set_pace(Pace { prefill_tps: 1e4, tpot_ms: 0.0 });
    bench.submit(prompt(0..900), Some(5), None, long()).expect("room");
    assert_eq!(bench.turn(false, |_| Some(1)).rows.len(), 128, "alone it may fill the batch");
    bench.submit(prompt(0..20), Some(5), None, long()).expect("room");
    bench.scheduler.set_pace(Pace { prefill_tps: 1e4, tpot_ms: 0.0 });
    assert_eq!(bench.turn(false, |_| Some(1)).rows.len(), 63);
}

#[test]
fn short_prompts_of_the_same_age_go_first_and_older_ones_before_both() {
    let mut bench = Bench::new(LIMITS);
    bench.scheduler.set_pace(Pace { prefill_tps: 40.0, tpot_ms: 0.0 });
    let old = bench.submit(prompt(0..200), Some(5), None, long()).expect("room");
    bench.now += SAME_AGE * 2;
    let long_one = bench.submit(prompt(0..300), Some(5), None, long()).expect("room");
    let short_one = bench.submit(prompt(0..30), Some(5), None, long()).expect("room");
    let plan = bench.turn(false, |_| Some(1));
    let count = |id| plan.rows.iter().filter(|row| row.id == id).count();
    assert_eq!((count(old), count(short_one), count(long_one)), (30, 10, 0));
}

#[test]
fn a_finished_prompt_is_shared_and_the_donor_stays() {
    let mut bench = Bench::new(LIMITS);
    bench.submit(prompt(0..40), Some(1), Some(9), long()).expect("room");
    bench.run_out();
    bench.submit([prompt(0..30), prompt(90..99)].concat(), Some(1), Some(9), long()).expect("room");
    let plan = bench.turn(false, |_| None);
    assert_eq!(plan.accepted[0].cached_tokens, 30);
    bench.submit(prompt(0..40), Some(1), Some(9), long()).expect("room");
    let plan = bench.turn(false, |_| None);
    assert_eq!(plan.accepted[0].cached_tokens, 39);
    bench.submit(prompt(0..40), Some(1), Some(8), long()).expect("room");
    assert_eq!(bench.turn(false, |_| None).accepted[0].cached_tokens, 0, "another salt");
    bench.check();
}

#[test]
fn admission_waits_for_cells_and_evicts_only_when_that_helps() {
    let mut bench = Bench::new(LIMITS);
    bench.submit(prompt(0..100), Some(1), Some(1), long()).expect("room");
    bench.run_out();
    let big = bench.submit(prompt(1000..1900), Some(50), Some(1), long()).expect("room");
    let blocked = bench.submit(prompt(2000..2900), Some(50), Some(1), long()).expect("it may wait");
    let plan = bench.turn(false, |_| Some(1));
    assert_eq!(plan.accepted.iter().map(|accepted| accepted.id).collect::<Vec<_>>(), [big]);
    assert_eq!(bench.scheduler.prefixes.iter().count(), 1, "the cached sequence is not in the way");
    assert_eq!(bench.scheduler.gauges().waiting, 1);
    while bench.live.contains_key(&big) {
        bench.turn(false, |_| Some(1));
        bench.check();
    }
    let plan = bench.turn(false, |_| Some(1));
    assert_eq!(plan.accepted[0].id, blocked);
    bench.run_out();
}

#[test]
fn the_queue_is_bounded_and_its_deadline_holds() {
    let mut bench = Bench::new(Limits { queue_max: 1, slots: 1, ..LIMITS });
    bench.submit(prompt(0..20), Some(100), None, long()).expect("a slot");
    bench.turn(false, |_| Some(1));
    let waiting = bench.submit(prompt(0..20), Some(1), None, Duration::from_millis(40)).expect("a place in the queue");
    assert_eq!(bench.submit(prompt(0..20), Some(1), None, long()), Err(Refused::Busy));
    bench.now += Duration::from_millis(39);
    assert!(bench.turn(false, |_| Some(1)).expired.is_empty());
    assert_eq!(bench.turn(false, |_| Some(1)).expired, [waiting]);
    bench.run_out();
}

#[test]
fn without_a_queue_an_idle_slot_still_takes_a_request() {
    let mut bench = Bench::new(Limits { queue_max: 0, slots: 1, ..LIMITS });
    bench.submit(prompt(0..20), Some(1), None, Duration::ZERO).expect("an idle slot");
    assert_eq!(bench.submit(prompt(0..20), Some(1), None, Duration::ZERO), Err(Refused::Busy));
    assert_eq!(bench.turn(false, |_| Some(1)).accepted.len(), 1);
    bench.run_out();
}

#[test]
fn open_ended_requests_share_the_cells_and_end_when_none_are_left() {
    let mut bench = Bench::new(Limits { cells: 1200, ..LIMITS });
    for start in 0..3 {
        bench.submit(prompt(start * 1000..start * 1000 + 50), None, Some(1), long()).expect("room");
    }
    let accepted = bench.turn(false, |_| Some(1)).accepted.len();
    assert_eq!(accepted, 2, "two reserves fit");
    bench.run_out();
    assert_eq!(bench.ended.len(), 3);
}

#[test]
fn too_long_and_empty_prompts_are_refused() {
    let mut bench = Bench::new(LIMITS);
    assert_eq!(bench.submit(prompt(0..1000), Some(1), None, long()), Err(Refused::ContextLength));
    assert_eq!(bench.submit(Vec::new(), Some(1), None, long()), Err(Refused::ContextLength));
    assert!(bench.submit(prompt(0..999), Some(1), None, long()).is_ok());
    bench.run_out();
}

#[derive(Debug, Clone)]
enum Act {
    Submit { kind: u8, length: u16, max_new: Option<u16>, salt: Option<u8>, queue_ms: u16 },
    Cancel { which: u8 },
    Turn { ends: u8, fails: bool },
    Wait { ms: u16 },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0_u8..4, 1_u16..1100, prop::option::of(1_u16..400), prop::option::of(0_u8..2), 0_u16..2000)
            .prop_map(|(kind, length, max_new, salt, queue_ms)| Act::Submit { kind, length, max_new, salt, queue_ms }),
        1 => any::<u8>().prop_map(|which| Act::Cancel { which }),
        8 => (any::<u8>(), prop::bool::weighted(0.03)).prop_map(|(ends, fails)| Act::Turn { ends, fails }),
        1 => (0_u16..3000).prop_map(|ms| Act::Wait { ms }),
    ]
}

/// Prompts of the same kind share a beginning of half their length.
fn prompt_of(kind: u8, length: u16) -> Vec<Token> {
    let same = i32::from(kind) * 10_000;
    let half = i32::from(length / 2);
    (same..same + half).chain((0..i32::from(length) - half).map(|i| i * i % 97 + i32::from(length))).collect()
}

fn run(acts: Vec<Act>, limits: Limits) {
    let mut bench = Bench::new(limits);
    let (mut submitted, mut turns) = (0_usize, 0_u32);
    for act in acts {
        match act {
            Act::Submit { kind, length, max_new, salt, queue_ms } => {
                let max_new = max_new.map(u32::from);
                let taken = bench.submit(prompt_of(kind, length), max_new, salt.map(u64::from), Duration::from_millis(u64::from(queue_ms)));
                submitted += usize::from(taken.is_ok());
            }
            Act::Cancel { which } => {
                let mut ids: Vec<RequestId> = bench.live.keys().copied().collect();
                ids.sort_unstable();
                if !ids.is_empty() {
                    bench.finish(ids[which as usize % ids.len()]);
                }
                assert!(!bench.scheduler.finish(RequestId::MAX, &mut bench.kv), "unknown requests are not there");
            }
            Act::Turn { ends, fails } => {
                turns += 1;
                let seed = turns;
                bench.turn(fails, |id| (!(u32::from(ends) + seed + id as u32).is_multiple_of(7)).then_some((id % 50) as Token));
            }
            Act::Wait { ms } => bench.now += Duration::from_millis(u64::from(ms)),
        }
        bench.check();
    }
    bench.run_out();
    assert_eq!(bench.ended.len(), submitted, "every request that was taken has ended");
    assert!(bench.ended.values().all(|&times| times == 1), "and only once");
    bench.scheduler.forget(&mut bench.kv);
    assert_eq!(bench.scheduler.ledger.free(), limits.cells, "no cell is lost");
    assert_eq!(bench.scheduler.sequences.len() as u32, limits.slots + limits.cached_max, "no sequence is lost");
    assert!(bench.kv.cells.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_leaks_and_everything_ends_once(acts in prop::collection::vec(act(), 1..80)) {
        run(acts, LIMITS);
    }

    #[test]
    fn nor_in_a_tight_cache_without_cuts_or_spare_sequences(acts in prop::collection::vec(act(), 1..60), cached_max in 0_u32..2) {
        run(acts, Limits { cells: 1000, cached_max, cuts_sequences: false, slots: 3, queue_max: 2, ..LIMITS });
    }
}
