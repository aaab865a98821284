//! Which tokens are computed next, for which requests: a pure state machine.
//!
//! It knows neither the model nor the clock: times come in as arguments, and the KV cache is behind [`Kv`]. One turn is
//! [`Scheduler::plan`], the decode of its rows by the caller, [`Scheduler::commit`] (or [`Scheduler::fail_step`]), then
//! [`Scheduler::push`] or [`Scheduler::finish`] for every row that had logits.
//!
//! Invariants, all tested: a request ends exactly once; reserved cells are always free when they are needed; cells in use
//! are the sum over sequences with shared ones counted once; the queue never exceeds its bound.

mod ledger;
mod pace;
mod prefix;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use ledger::Ledger;
use pace::CHUNK_MIN;
pub use pace::Pace;
use prefix::Prefixes;
use wire::fleet::worker::RequestId;

/// A token id.
pub type Token = i32;
/// Names a sequence of the KV cache.
pub type SeqId = u32;

/// Cells reserved for the answer of a request that sets no `max_tokens`; it gets more in the same steps as it grows.
/// Reserving its whole context would let two such requests shut out everybody else.
const OPEN_ENDED_RESERVE: u32 = 512;
/// Requests that arrived within this time of each other count as equally old; short prompts go first among them.
const SAME_AGE: Duration = Duration::from_secs(1);
/// Part of the prefill budget that the first prompt leaves to the ones behind it.
const OTHERS_SHARE: u32 = 4;

/// What the scheduler does to the KV cache, besides computing rows.
pub trait Kv {
    /// Lets the empty sequence `to` hold the first `length` tokens of `from` too.
    fn share(&mut self, from: SeqId, to: SeqId, length: u32);
    /// Empties a sequence.
    fn clear(&mut self, sequence: SeqId);
}

/// Sizes that never change while a model is loaded.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests that are computed at once.
    pub slots: u32,
    /// KV cells for all sequences.
    pub cells: u32,
    /// Longest request, prompt and answer, in tokens; at most `cells`.
    pub context: u32,
    /// Requests that may wait.
    pub queue_max: u32,
    /// Sequence ids beyond the slots, for cached sequences.
    pub cached_max: u32,
    /// Longest wanted step while somebody waits for a next token.
    pub step: Duration,
    /// Rows computed at once.
    pub ubatch: u32,
    /// Rows of one step.
    pub batch: u32,
    /// Rows of a step that several sequences share.
    pub mixed_rows: u32,
    /// Whether the model can cut a cached sequence in its middle.
    pub cuts_sequences: bool,
}

/// A request for a place.
#[derive(Debug, Clone)]
pub struct Ticket {
    pub id: RequestId,
    /// Not empty.
    pub prompt: Vec<Token>,
    /// Most tokens to generate, at least 1; the rest of the context if unset.
    pub max_new: Option<u32>,
    /// Whose sequences it may share; `None` shares nothing and leaves nothing behind.
    pub salt: Option<u64>,
    /// How long it may wait.
    pub queue_for: Duration,
}

/// Why a ticket was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The queue is full.
    Busy,
    /// Prompt and at least one token of answer do not fit.
    ContextLength,
}

/// A request that got its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    pub id: RequestId,
    pub prompt_tokens: u32,
    /// Of these, taken from a cached sequence.
    pub cached_tokens: u32,
}

/// One token to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub id: RequestId,
    pub sequence: SeqId,
    pub token: Token,
    pub position: u32,
    /// Whether a token is to be chosen from its logits.
    pub logits: bool,
}

/// One step.
#[derive(Debug, Default)]
pub struct Plan {
    pub accepted: Vec<Accepted>,
    /// Waited too long and were dropped.
    pub expired: Vec<RequestId>,
    /// Still running, but nobody can go on for want of cells: the caller ends these with what they have.
    pub starved: Vec<RequestId>,
    pub rows: Vec<Row>,
}

/// Whether a request may go on after a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    More,
    /// It has reached its `max_tokens` or the context's end.
    Full,
}

/// Numbers for statistics.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Gauges {
    pub running: u32,
    pub waiting: u32,
    /// Cells that running requests hold; cached ones are free for the asking and do not count.
    pub cells_held: u32,
    /// Prompt tokens not yet computed, of all requests.
    pub backlog_tokens: u64,
    pub pace: Pace,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    arrived: Duration,
}

#[derive(Debug)]
struct Slot {
    id: RequestId,
    sequence: SeqId,
    /// Prompt and answer so far.
    tokens: Vec<Token>,
    prompt: u32,
    /// How many of `tokens` are in the cache.
    computed: u32,
    /// How many more are in the step being computed.
    planned: u32,
    /// Cells promised to it, those it holds included.
    reserve: u32,
    /// Most tokens it can ever have.
    limit: u32,
    salt: Option<u64>,
    arrived: Duration,
}

impl Slot {
    fn prefilling(&self) -> bool {
        self.computed < self.prompt
    }

    fn remaining(&self) -> u32 {
        self.tokens.len() as u32 - self.computed
    }

    /// Has a token to compute but no cell for it.
    fn parked(&self) -> bool {
        self.computed >= self.reserve && self.remaining() > 0
    }

    fn rows(&self, count: u32) -> impl Iterator<Item = Row> {
        let last = self.tokens.len() as u32 - 1;
        let tokens = &self.tokens[self.computed as usize..(self.computed + count) as usize];
        (self.computed..).zip(tokens).map(move |(position, &token)| Row {
            id: self.id,
            sequence: self.sequence,
            token,
            position,
            logits: position == last,
        })
    }
}

/// See the module's description.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    ledger: Ledger,
    queue: VecDeque<Waiting>,
    running: Vec<Slot>,
    prefixes: Prefixes,
    sequences: Vec<SeqId>,
    pace: Pace,
}

impl Scheduler {
    /// An idle scheduler over an empty cache.
    pub fn new(limits: Limits) -> Self {
        let sequences = limits.slots + limits.cached_max;
        Self {
            ledger: Ledger::new(limits.cells, sequences),
            queue: VecDeque::new(),
            running: Vec::new(),
            prefixes: Prefixes::new(limits.cached_max, limits.cells, limits.cuts_sequences),
            sequences: (0..sequences).rev().collect(),
            pace: Pace::default(),
            limits,
        }
    }

    /// Starts from a measured pace instead of a guess.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Nothing runs and nothing waits.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.queue.is_empty()
    }

    /// Puts a request into the queue. An idle slot counts as a place: with `queue_max` 0 a request is taken when it need not
    /// wait.
    pub fn submit(&mut self, ticket: Ticket, now: Duration) -> Result<(), Refused> {
        if ticket.prompt.is_empty() || ticket.prompt.len() >= self.limits.context as usize {
            return Err(Refused::ContextLength);
        }
        let idle = self.limits.slots.saturating_sub(self.running.len() as u32);
        if self.queue.len() as u32 >= self.limits.queue_max.saturating_add(idle) {
            return Err(Refused::Busy);
        }
        self.queue.push_back(Waiting { ticket, arrived: now });
        Ok(())
    }

    /// Decides the next step.
    pub fn plan(&mut self, now: Duration, kv: &mut impl Kv) -> Plan {
        let mut plan = Plan::default();
        self.grow(kv);
        // Who runs goes before who waits.
        if !self.running.iter().any(Slot::parked) {
            self.admit(kv, &mut plan.accepted);
        }
        self.expire(now, &mut plan.expired);
        self.fill(&mut plan.rows);
        if plan.rows.is_empty() {
            plan.starved.extend(self.running.iter().max_by_key(|slot| slot.tokens.len()).map(|slot| slot.id));
        }
        plan
    }

    /// The planned rows were computed.
    pub fn commit(&mut self, elapsed: Duration) {
        let (mut prefill, mut decode) = (0, 0);
        for slot in &mut self.running {
            let planned = std::mem::take(&mut slot.planned);
            if planned == 0 {
                continue;
            }
            *(if slot.prefilling() { &mut prefill } else { &mut decode }) += planned;
            self.ledger.extend(slot.sequence, planned);
            slot.computed += planned;
        }
        self.pace.measure(prefill, decode, elapsed);
    }

    /// The planned rows could not be computed: every request in the step is dropped, and their ids returned.
    pub fn fail_step(&mut self, kv: &mut impl Kv) -> Vec<RequestId> {
        let (failed, kept): (Vec<Slot>, Vec<Slot>) = self.running.drain(..).partition(|slot| slot.planned > 0);
        self.running = kept;
        for slot in &failed {
            self.free(slot.sequence, kv);
        }
        failed.into_iter().map(|slot| slot.id).collect()
    }

    /// Gives up all cached sequences.
    pub fn forget(&mut self, kv: &mut impl Kv) {
        while let Some(sequence) = self.prefixes.evict() {
            self.free(sequence, kv);
        }
    }

    /// Adds a chosen token to a running request; it is computed in the next step.
    pub fn push(&mut self, id: RequestId, token: Token) -> Room {
        let Some(slot) = self.running.iter_mut().find(|slot| slot.id == id) else { return Room::Full };
        slot.tokens.push(token);
        if slot.tokens.len() as u32 >= slot.limit { Room::Full } else { Room::More }
    }

    /// Ends a request, whether it runs or waits; false if it is unknown. What it computed is kept for later prompts.
    pub fn finish(&mut self, id: RequestId, kv: &mut impl Kv) -> bool {
        if let Some(index) = self.running.iter().position(|slot| slot.id == id) {
            let slot = self.running.remove(index);
            self.release(slot, kv);
            return true;
        }
        let before = self.queue.len();
        self.queue.retain(|waiting| waiting.ticket.id != id);
        self.queue.len() < before
    }

    /// Numbers for statistics.
    pub fn gauges(&self) -> Gauges {
        let waiting: u64 = self.queue.iter().map(|waiting| waiting.ticket.prompt.len() as u64).sum();
        let running: u64 = self.running.iter().map(|slot| u64::from(slot.prompt.saturating_sub(slot.computed))).sum();
        Gauges {
            running: self.running.len() as u32,
            waiting: self.queue.len() as u32,
            cells_held: self.ledger.held_by(self.holdings()),
            backlog_tokens: waiting + running,
            pace: self.pace,
        }
    }

    fn holdings(&self) -> impl Iterator<Item = (SeqId, u32)> {
        self.running.iter().map(|slot| (slot.sequence, slot.computed))
    }

    /// Cells promised to running requests that they do not hold yet.
    fn outstanding(&self) -> u32 {
        self.running.iter().map(|slot| slot.reserve - slot.computed).sum()
    }

    /// Promises more cells to open-ended requests that have used theirs up.
    fn grow(&mut self, kv: &mut impl Kv) {
        for index in 0..self.running.len() {
            let slot = &self.running[index];
            if !slot.parked() {
                continue;
            }
            let wanted = OPEN_ENDED_RESERVE.min(slot.limit - slot.reserve);
            while self.ledger.free() < self.outstanding() + wanted && self.evict(kv) {}
            let spare = self.ledger.free() - self.outstanding();
            self.running[index].reserve += wanted.min(spare);
        }
    }

    fn admit(&mut self, kv: &mut impl Kv, accepted: &mut Vec<Accepted>) {
        while (self.running.len() as u32) < self.limits.slots {
            let Some(Waiting { ticket, .. }) = self.queue.front() else { return };
            let donor = ticket.salt.and_then(|salt| self.prefixes.donor(salt, &ticket.prompt));
            let shared = donor.map_or(0, |(_, length)| length);
            let prompt = ticket.prompt.len() as u32;
            let limit = ticket.max_new.map_or(u32::MAX, |max| prompt.saturating_add(max)).min(self.limits.context);
            let reserve = if ticket.max_new.is_some() { limit } else { limit.min(prompt + OPEN_ENDED_RESERVE) };
            let kept = self.ledger.held_by(self.holdings().chain(donor));
            if self.ledger.total() - kept < self.outstanding() + reserve - shared {
                return;
            }
            let Some(Waiting { ticket, arrived }) = self.queue.pop_front() else { return };
            let sequence = self.sequences.pop().expect("there are more sequences than slots and cached ones");
            if let Some((from, length)) = donor {
                self.ledger.share(from, sequence, length);
                kv.share(from, sequence, length);
                self.prefixes.touch(from);
            } else if let Some(salt) = ticket.salt {
                self.prefixes.miss(salt, &ticket.prompt);
            }
            accepted.push(Accepted { id: ticket.id, prompt_tokens: prompt, cached_tokens: shared });
            self.running.push(Slot {
                id: ticket.id,
                sequence,
                tokens: ticket.prompt,
                prompt,
                computed: shared,
                planned: 0,
                reserve,
                limit,
                salt: ticket.salt,
                arrived,
            });
            while self.ledger.free() < self.outstanding() && self.evict(kv) {}
        }
    }

    fn expire(&mut self, now: Duration, expired: &mut Vec<RequestId>) {
        self.queue.retain(|waiting| {
            let late = now.saturating_sub(waiting.arrived) >= waiting.ticket.queue_for;
            if late {
                expired.push(waiting.ticket.id);
            }
            !late
        });
    }

    /// The next tokens of all that generate, then prompt tokens within the step's budget.
    fn fill(&mut self, rows: &mut Vec<Row>) {
        for slot in &mut self.running {
            if !slot.prefilling() && slot.remaining() > 0 && !slot.parked() && (rows.len() as u32) < self.limits.batch {
                slot.planned = 1;
                rows.extend(slot.rows(1));
            }
        }
        let generating = rows.len() as u32;
        let chunk = self.pace.chunk(self.limits.step, generating > 0, self.limits.ubatch, self.limits.batch);
        let mut order: Vec<usize> = (0..self.running.len()).filter(|&index| self.running[index].prefilling()).collect();
        let alone = generating == 0 && order.len() == 1;
        let most = if alone { self.limits.batch } else { self.limits.mixed_rows.max(generating + CHUNK_MIN).min(self.limits.batch) };
        let mut budget = chunk.min(most - generating);
        order.sort_by_key(|&index| {
            let slot = &self.running[index];
            (slot.arrived.as_millis() / SAME_AGE.as_millis(), slot.remaining(), slot.arrived)
        });
        // The first takes most of the budget and not all of it, so that a long prompt does not stop the ones behind it.
        let for_others = if order.len() > 1 { budget / OTHERS_SHARE } else { 0 };
        for (place, &index) in order.iter().enumerate() {
            let most = if place == 0 { budget - for_others } else { budget };
            budget -= self.take(index, most);
        }
        if let Some(&first) = order.first() {
            self.take(first, budget);
        }
        for index in order {
            rows.extend(self.running[index].rows(self.running[index].planned));
        }
    }

    /// Plans up to `most` more prompt tokens of a request; how many it took.
    fn take(&mut self, index: usize, most: u32) -> u32 {
        let slot = &mut self.running[index];
        let taken = most.min(slot.remaining() - slot.planned);
        slot.planned += taken;
        taken
    }

    fn release(&mut self, mut slot: Slot, kv: &mut impl Kv) {
        slot.tokens.truncate(slot.computed as usize);
        let needless = match slot.salt {
            Some(salt) => self.prefixes.keep(slot.sequence, slot.tokens, salt),
            None => vec![slot.sequence],
        };
        for sequence in needless {
            self.free(sequence, kv);
        }
    }

    fn evict(&mut self, kv: &mut impl Kv) -> bool {
        let Some(sequence) = self.prefixes.evict() else { return false };
        self.free(sequence, kv);
        true
    }

    fn free(&mut self, sequence: SeqId, kv: &mut impl Kv) {
        self.ledger.truncate(sequence, 0);
        kv.clear(sequence);
        self.sequences.push(sequence);
    }
}
