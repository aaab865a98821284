//! Counters that several routers share: windows of requests and tokens, and what runs. Every change is one script, so two routers never
//! give away one place twice. Time is the server's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use redis::Script;
use tokio::sync::{Mutex, mpsc};

use crate::redis::Redis;

/// Most settlements that wait to be written; one more is lost, and what it would have given back leaves with its window or lease.
const SETTLEMENTS_MAX: usize = 4096;

/// How a bound counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What came in the last `span`.
    Window { span: Duration },
    /// What has not left yet, for `lease` at most.
    Running { lease: Duration },
}

/// What a bound counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Requests,
    Tokens,
}

/// One bound of a subject.
#[derive(Debug, Clone)]
pub struct Bound {
    /// The key under which it is counted.
    pub key: String,
    pub kind: Kind,
    pub unit: Unit,
    pub limit: u64,
    /// What is to be taken.
    pub amount: u64,
}

/// How a bound stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    pub used: u64,
    /// Until the oldest use leaves, and until all have; zero for what runs.
    pub first_free: Duration,
    pub all_free: Duration,
    /// Where a use that was taken now is noted.
    pub place: i64,
}

/// What came of asking; `counted` is in the order of the bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Taken(Vec<Counted>),
    Full {
        /// The full bound; of several the one that is full for longest.
        which: usize,
        /// Until there is a place; zero for what runs.
        wait: Duration,
        counted: Vec<Counted>,
    },
}

/// A change of what was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Less than nothing is given back where it was noted; more is noted now.
    Add { key: String, span: Duration, place: i64, delta: i64 },
    /// It does not run any more.
    Leave { key: String, id: u64 },
}

/// The shared counters.
pub struct Shared {
    redis: Arc<Redis>,
    take: Script,
    settle: Script,
    ids: AtomicU64,
    settlements: mpsc::Sender<Vec<Change>>,
    /// Taken by the one who tends them.
    waiting: Mutex<mpsc::Receiver<Vec<Change>>>,
}

impl Shared {
    /// Counters on a Redis.
    pub fn new(redis: Arc<Redis>) -> Arc<Self> {
        let (settlements, waiting) = mpsc::channel(SETTLEMENTS_MAX);
        // Ids of several routers must differ: each counts from a place of its own.
        let start = uuid::Uuid::new_v4().as_u64_pair().0;
        Arc::new(Self {
            redis,
            take: Script::new(include_str!("counters/take.lua")),
            settle: Script::new(include_str!("counters/settle.lua")),
            ids: AtomicU64::new(start),
            settlements,
            waiting: Mutex::new(waiting),
        })
    }

    /// Writes settlements for as long as it is polled.
    pub async fn tend(&self) {
        let mut waiting = self.waiting.lock().await;
        while let Some(changes) = waiting.recv().await {
            self.write(&changes).await;
        }
    }

    /// Writes what still waits; nobody tends them any more.
    pub async fn finish(&self) {
        let mut waiting = self.waiting.lock().await;
        while let Ok(changes) = waiting.try_recv() {
            self.write(&changes).await;
        }
    }

    /// Whether they can be asked, as far as is known.
    pub fn is_up(&self) -> bool {
        self.redis.is_up()
    }

    /// A new id for something that runs.
    pub fn id(&self) -> u64 {
        self.ids.fetch_add(1, Relaxed)
    }

    /// Takes what all bounds ask for, or nothing. `None`: they cannot be asked now.
    pub async fn take(&self, id: u64, bounds: &[Bound]) -> Option<Verdict> {
        let numbers = self.ask("take", id, bounds).await?;
        let counted = counted(&numbers);
        Some(match usize::try_from(numbers[0]).unwrap_or(0) {
            0 => Verdict::Taken(counted),
            full => Verdict::Full { which: full - 1, wait: micros(numbers[1]), counted },
        })
    }

    /// How the bounds stand; nothing is taken. `None`: they cannot be asked now.
    pub async fn look(&self, bounds: &[Bound]) -> Option<Vec<Counted>> {
        Some(counted(&self.ask("look", 0, bounds).await?))
    }

    /// Changes what was taken, behind the path.
    pub fn settle(&self, changes: Vec<Change>) {
        if self.is_up() && self.settlements.try_send(changes).is_err() {
            tracing::debug!("a settlement of shared counters was lost: too many wait");
        }
    }

    async fn ask(&self, mode: &str, id: u64, bounds: &[Bound]) -> Option<Vec<i64>> {
        let mut line = self.redis.line()?;
        let mut call = self.take.prepare_invoke();
        call.arg(mode).arg(id);
        for bound in bounds {
            let (kind, span) = match bound.kind {
                Kind::Window { span } => ("w", span),
                Kind::Running { lease } => ("r", lease),
            };
            call.key(&bound.key).arg(kind).arg(bound.limit).arg(span_us(span)).arg(bound.amount);
        }
        let mut answer: Result<Vec<i64>, _> = call.invoke_async(&mut line.0.clone()).await;
        if let Err(error) = &answer {
            line = self.redis.renewed(&line, error).await?;
            answer = call.invoke_async(&mut line.0.clone()).await;
        }
        match answer {
            Ok(numbers) if numbers.len() == 2 + 4 * bounds.len() => Some(numbers),
            Ok(_) => None,
            Err(error) => {
                self.redis.failed(&line, &error);
                None
            }
        }
    }

    async fn write(&self, changes: &[Change]) {
        let Some(line) = self.redis.line() else { return };
        let mut call = self.settle.prepare_invoke();
        for change in changes {
            match change {
                Change::Add { key, span, place, delta } => call.key(key).arg("w").arg(span_us(*span)).arg(*place).arg(*delta),
                Change::Leave { key, id } => call.key(key).arg("r").arg(*id).arg("").arg(""),
            };
        }
        if let Err(error) = call.invoke_async::<i64>(&mut line.0.clone()).await {
            self.redis.failed(&line, &error);
        }
    }
}

fn span_us(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1)
}

fn micros(number: i64) -> Duration {
    Duration::from_micros(u64::try_from(number).unwrap_or(0))
}

fn counted(numbers: &[i64]) -> Vec<Counted> {
    let bounds = numbers[2..].chunks_exact(4);
    bounds
        .map(|n| Counted { used: u64::try_from(n[0]).unwrap_or(0), first_free: micros(n[1]), all_free: micros(n[2]), place: n[3] })
        .collect()
}
