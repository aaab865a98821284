use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
            fence,
        },
    },
    thread,
    time::Duration,
};

use tokio::sync::{Notify, mpsc};

/// Rows that come together before the writer is called, though its time has not come: what they hold is soon used again then, and still in the
/// processor's memory.
const ROWS_TOGETHER: u64 = 256;

/// Rows that wait where the writer is behind: the path leaves its core to it now and then.
const ROWS_BEHIND: usize = 512;
/// Rows that come between two pauses for a writer that is behind. After a pause whoever sent requests or answers them is asleep and has to be
/// woken, and the processor's memory holds what the writer used: rare long ones cost less than many short ones.
const ROWS_BETWEEN_PAUSES: u64 = 512;
/// The longest of these pauses, and how many rows too many it is for; fewer get a part of it. A longer one would be noticed.
const PAUSE_MAX: Duration = Duration::from_millis(16);
const ROWS_TOO_MANY: usize = 1024;

/// Where the request path leaves what is to be recorded. Cheap to clone.
#[derive(Debug)]
pub struct Recorder<R> {
    queue: mpsc::Sender<R>,
    pub(crate) shared: Arc<Shared>,
}

/// What both ends know.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// The writer waits for `wake`. While it works it looks into the queue by itself, and no request pays for waking it.
    pub(crate) asleep: AtomicBool,
    pub(crate) wake: Notify,
    /// Somebody waits for the rows that are there: write them now.
    pub(crate) hurry: Notify,
    pub(crate) stopping: AtomicBool,
    pub(crate) giving_up: AtomicBool,
    /// Rows that got a place in the queue.
    pub(crate) accepted: AtomicU64,
    pub(crate) written: AtomicU64,
    /// Rows that found no place.
    pub(crate) turned_away: AtomicU64,
    /// Rows that had a place and could not be written.
    pub(crate) unwritable: AtomicU64,
    pub(crate) retries: AtomicU64,
    /// Rows without the texts that they should have.
    pub(crate) textless: AtomicU64,
    /// Rows of this process that wait in the file.
    pub(crate) spilled: AtomicU64,
    /// The database takes no rows.
    pub(crate) away: AtomicBool,
    /// Neither the database nor the file takes rows.
    pub(crate) stuck: AtomicBool,
}

impl Shared {
    /// Accepted rows that are over, one way or the other.
    pub(crate) fn done(&self) -> u64 {
        self.written.load(Relaxed) + self.unwritable.load(Relaxed)
    }
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rows in the database.
    pub written: u64,
    /// Rows that wait or are being written.
    pub waiting: u64,
    /// Rows that found the queue full, or that the database will never take. More than none is an alarm.
    pub lost: u64,
    /// Writes that failed and were tried again.
    pub retries: u64,
    /// Rows that wait in the spill file; they are among those that wait.
    pub spilled: u64,
    /// Rows whose texts could not be written.
    pub textless: u64,
}

impl<R> Clone for Recorder<R> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), shared: self.shared.clone() }
    }
}

impl<R> Recorder<R> {
    pub(crate) fn new(queue: mpsc::Sender<R>) -> Self {
        Self { queue, shared: Arc::default() }
    }

    /// Hands over what becomes a row behind the path. Never waits for a place: where the queue is full or the ledger is closed, the row is counted
    /// as lost. Where many rows wait it pauses now and then: on a core that is never idle the writer, which is behind the path, would get none of it.
    pub fn record(&self, row: R) {
        let shared = &self.shared;
        // Counted before it can be written, so that nothing is ever done that was not accepted.
        let accepted = shared.accepted.fetch_add(1, Relaxed);
        if self.queue.try_send(row).is_err() {
            shared.accepted.fetch_sub(1, Relaxed);
            shared.turned_away.fetch_add(1, Relaxed);
            return;
        }
        // Pairs with the writer's fence: either it sees this row before it sleeps, or this sees that it sleeps.
        fence(SeqCst);
        if shared.asleep.load(Relaxed) && shared.asleep.swap(false, Relaxed) {
            shared.wake.notify_one();
        }
        if (accepted + 1).is_multiple_of(ROWS_TOGETHER) {
            shared.hurry.notify_one();
        }
        if accepted.is_multiple_of(ROWS_BETWEEN_PAUSES) && !self.is_stuck() {
            let waiting = self.queue.max_capacity() - self.queue.capacity();
            let too_many = waiting.saturating_sub(ROWS_BEHIND).min(ROWS_TOO_MANY);
            if too_many > 0 {
                thread::sleep(PAUSE_MAX.mul_f64(too_many as f64 / ROWS_TOO_MANY as f64));
            }
        }
    }

    /// Whether the database took none of the rows that it was last given; they wait.
    pub fn is_away(&self) -> bool {
        self.shared.away.load(Relaxed)
    }

    /// Whether rows can neither be stored nor spilled at present: those that find the queue full are lost.
    pub fn is_stuck(&self) -> bool {
        self.shared.stuck.load(Relaxed)
    }

    /// The counters of this instant, each true by itself.
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        Stats {
            written: shared.written.load(Relaxed),
            waiting: shared.accepted.load(Relaxed).saturating_sub(shared.done()),
            lost: shared.turned_away.load(Relaxed) + shared.unwritable.load(Relaxed),
            retries: shared.retries.load(Relaxed),
            spilled: shared.spilled.load(Relaxed),
            textless: shared.textless.load(Relaxed),
        }
    }
}
