//! Remembered answers of one kind, and how equal requests share them.

use std::{sync::Arc, time::Duration};

use store::{answers, leases::Lease, redis::Redis};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    answer::Answer,
    flight::{Flights, Landing, Seat},
    key::Key,
    lead::Lead,
    memory::Memory,
};

/// No answer takes more than this part of the memory: one could push out all others.
const ANSWER_SHARE: u64 = 8;
/// Pauses between looks for what another router makes; they double.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(20);
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(500);
/// Most answers of streams that wait to be written to Redis.
const WRITES_MAX: usize = 64;

/// What answers are remembered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To answer equal requests.
    Cache,
    /// To answer a call that is made again with its `Idempotency-Key`.
    Repeats,
}

impl Kind {
    /// What its keys on Redis begin with.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Cache => "llm-router:cache:",
            Self::Repeats => "llm-router:repeats:",
        }
    }

    /// What the leases of its leaders begin with, where a call must run once among all routers. A flush of the answers leaves them alone.
    const fn lease_prefix(self) -> Option<&'static str> {
        match self {
            Self::Cache => None,
            Self::Repeats => Some("llm-router:running:"),
        }
    }

    /// How many leaders that fail somebody follows before going alone. Equal requests would wait for one failure after the other; a repeated
    /// call must not run twice.
    const fn failures_max(self) -> u32 {
        match self {
            Self::Cache => 1,
            Self::Repeats => u32::MAX,
        }
    }
}

/// What a request wants of the answers.
#[derive(Debug, Clone)]
pub struct Ask {
    pub key: Key,
    /// How long its own answer is kept.
    pub ttl: Duration,
    /// How old another's may be; zero for one that was not there before.
    pub age_max: Duration,
    /// Until when it waits for an equal request; `None` if it does not.
    pub until: Option<Instant>,
}

/// What was found.
pub enum Recalled {
    /// It was answered before.
    Found(Arc<Answer>),
    /// It has to be answered.
    Missing(Lead),
}

/// An equal request is still under way and the time to wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdue;

/// The remembered answers of one kind.
pub struct Answers {
    kind: Kind,
    memory: Memory,
    redis: Option<Arc<Redis>>,
    flights: Arc<Flights>,
    answer_bytes_max: usize,
    pub(crate) writes: Arc<Semaphore>,
}

impl Answers {
    /// Remembers at most `bytes_max` in memory; on `redis` while that can be reached.
    pub fn new(kind: Kind, bytes_max: u64, redis: Option<Arc<Redis>>) -> Arc<Self> {
        Arc::new(Self {
            kind,
            memory: Memory::new(bytes_max),
            redis,
            flights: Arc::default(),
            answer_bytes_max: usize::try_from(bytes_max / ANSWER_SHARE).unwrap_or(usize::MAX),
            writes: Arc::new(Semaphore::new(WRITES_MAX)),
        })
    }

    /// The largest answer that is kept, in bytes.
    pub fn answer_bytes_max(&self) -> usize {
        self.answer_bytes_max
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> u64 {
        self.memory.bytes()
    }

    /// Finds the answer to a request, waits for it where an equal request is under way, or gives leave to make it.
    ///
    /// With it, how long that was waited for.
    ///
    /// # Errors
    /// [`Overdue`].
    pub async fn recall(self: &Arc<Self>, ask: &Ask) -> Result<(Recalled, Duration), Overdue> {
        let mut waited = Duration::ZERO;
        if ask.age_max.is_zero() {
            return Ok((Recalled::Missing(self.lead_alone(ask)), waited));
        }
        // In memory a look costs less than a seat.
        if self.shared().is_none()
            && let Some(found) = self.memory.get(&ask.key, store::now_ms(), ask.age_max)
        {
            return Ok((Recalled::Found(found), waited));
        }
        let Some(until) = ask.until else {
            let found = self.look(ask).await;
            return Ok((found.map_or_else(|| Recalled::Missing(self.lead_alone(ask)), Recalled::Found), waited));
        };
        let mut failures = 0;
        loop {
            let mut landing = match self.flights.join(ask.key) {
                Seat::Leads(flight) => {
                    let lead = Lead { flight: Some(flight), ..self.lead_alone(ask) };
                    // Somebody may have landed between the look and the seat.
                    let recalled = match self.look(ask).await {
                        Some(found) => {
                            lead.share(found.clone());
                            Recalled::Found(found)
                        }
                        None => match self.kind.lease_prefix().filter(|_| self.shared().is_some()) {
                            Some(prefix) => {
                                let (recalled, waited_for_others) = Box::pin(self.lead_among_all(prefix, lead, ask, until)).await?;
                                waited += waited_for_others;
                                recalled
                            }
                            None => Recalled::Missing(lead),
                        },
                    };
                    return Ok((recalled, waited));
                }
                Seat::Follows(landing) => landing,
            };
            let began = Instant::now();
            let landed = timeout_at(until, landing.wait_for(|landing| !matches!(landing, Landing::Flying))).await;
            waited += began.elapsed();
            match landed.map_err(|_| Overdue)?.as_deref() {
                Ok(Landing::Landed(answer)) if answer.is_fresh(store::now_ms(), ask.age_max) => {
                    return Ok((Recalled::Found(answer.clone()), waited));
                }
                Ok(Landing::Failed) => {
                    failures += 1;
                    if failures > self.kind.failures_max() {
                        return Ok((Recalled::Missing(self.lead_alone(ask)), waited));
                    }
                }
                _ => {}
            }
        }
    }

    fn lead_alone(self: &Arc<Self>, ask: &Ask) -> Lead {
        Lead { answers: self.clone(), key: ask.key, ttl: ask.ttl, flight: None, lease: None }
    }

    /// Leads for the other routers too, or waits for the one of them that does. Where Redis dies meanwhile there are no others.
    async fn lead_among_all(
        self: &Arc<Self>,
        prefix: &str,
        mut lead: Lead,
        ask: &Ask,
        until: Instant,
    ) -> Result<(Recalled, Duration), Overdue> {
        let began = Instant::now();
        let mut pause = LOOK_PAUSE_MIN;
        while let Some(redis) = self.redis.as_ref().filter(|redis| redis.is_up()) {
            let Ok(lease) = Lease::take(redis, &format!("{prefix}{}", ask.key)).await else { break };
            lead.lease = lease;
            // Whoever had the lease may have left an answer before it was free.
            if let Some(found) = self.look(ask).await {
                lead.share(found.clone());
                return Ok((Recalled::Found(found), began.elapsed()));
            }
            if lead.lease.is_some() {
                break;
            }
            let next = Instant::now() + pause;
            if next >= until {
                return Err(Overdue);
            }
            sleep_until(next).await;
            pause = (pause * 2).min(LOOK_PAUSE_MAX);
        }
        Ok((Recalled::Missing(lead), began.elapsed()))
    }

    /// Redis, if it can be reached as far as is known.
    pub(crate) fn shared(&self) -> Option<&Redis> {
        self.redis.as_deref().filter(|redis| redis.is_up())
    }

    async fn look(&self, ask: &Ask) -> Option<Arc<Answer>> {
        if let Some(redis) = self.shared()
            // Boxed, here and below: what speaks to Redis is large, and every request would carry the room for it.
            && let Ok(found) = Box::pin(answers::get(redis, &self.name(&ask.key))).await
        {
            let answer = found.and_then(Answer::from_bytes)?;
            return answer.is_fresh(store::now_ms(), ask.age_max).then(|| Arc::new(answer));
        }
        self.memory.get(&ask.key, store::now_ms(), ask.age_max)
    }

    /// Keeps an answer where it is looked for; one that is too large nowhere.
    pub(crate) async fn keep(&self, key: Key, answer: &Arc<Answer>, ttl: Duration) {
        if answer.weight() > self.answer_bytes_max {
            return;
        }
        if let Some(redis) = self.shared()
            && Box::pin(answers::put(redis, &self.name(&key), &answer.to_bytes(), ttl)).await.is_ok()
        {
            return;
        }
        self.keep_here(key, answer);
    }

    /// Keeps an answer in memory, unless it is too large.
    pub(crate) fn keep_here(&self, key: Key, answer: &Arc<Answer>) {
        if answer.weight() <= self.answer_bytes_max {
            self.memory.put(key, answer.clone());
        }
    }

    /// Forgets everything; how many answers there were, as far as they can be reached.
    pub async fn flush(&self) -> u64 {
        let mut count = self.memory.clear();
        if let Some(redis) = self.shared() {
            count += answers::flush(redis, self.kind.prefix()).await.unwrap_or(0);
        }
        count
    }

    fn name(&self, key: &Key) -> String {
        format!("{}{key}", self.kind.prefix())
    }
}

#[cfg(test)]
mod tests;
