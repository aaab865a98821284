//! How much: sliding windows of requests and tokens, and how many run at once; reserved, settled, given back.
//!
//! One place counts for one subject: this process's memory, or a Redis that several routers share. While that cannot be reached the
//! memory counts alone; it is kept along the whole time, so what this router has let through is not forgotten.

mod log;
mod memory;

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use journey::{Deposit, Receipt, Request};
use store::counters::{Bound, Change, Counted, Kind, Shared, Unit, Verdict};
use wire::{Code, Failure};

use crate::{budget::Purse, issuer::Issuer};
use memory::{Memory, Settled, Ticket};

/// The window of limits a minute.
const MINUTE: Duration = Duration::from_mins(1);
/// What a caller is told to wait where too many requests run: nobody knows when one ends.
const RUNNING_WAIT: Duration = Duration::from_secs(1);
/// Tokens of an answer that names no bound of its own, as they are held before it is there.
const ANSWER_TOKENS_GUESS: u64 = 256;

/// So many requests in a sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub requests: u32,
    pub span: Duration,
}

/// What a subject may use; no bound where `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// A window of its own length.
    pub window: Option<Window>,
    /// Requests a minute.
    pub rpm: Option<u32>,
    /// Tokens a minute, of prompts and answers together.
    pub tpm: Option<u64>,
    /// Requests at once.
    pub concurrency: Option<u32>,
}

impl Bounds {
    /// Whether nothing is bounded.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn minute(&self) -> Option<Window> {
        self.rpm.map(|requests| Window { requests, span: MINUTE })
    }

    /// Whether the end of a request changes what is counted.
    fn settles(&self) -> bool {
        self.tpm.is_some() || self.concurrency.is_some()
    }
}

/// What a key may use, and spend.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    pub bounds: Bounds,
    /// `None`: as much as it likes.
    pub purse: Option<Arc<Purse>>,
}

impl Terms {
    /// Whether nothing is bounded.
    pub fn is_none(&self) -> bool {
        self.bounds.is_none() && self.purse.is_none()
    }
}

impl From<Bounds> for Terms {
    fn from(bounds: Bounds) -> Self {
        Self { bounds, purse: None }
    }
}

/// Who is bounded how: a slice of the snapshot.
#[derive(Debug, Default)]
pub struct Limits {
    /// Every client's address.
    pub address: Option<Bounds>,
    /// Keys that are bounded, by id.
    pub keys: HashMap<Arc<str>, Terms>,
    /// Each subject of an identity provider's tokens.
    pub subjects: Option<Bounds>,
    /// Accounts, by name.
    pub accounts: HashMap<Arc<str>, Bounds>,
}

impl Limits {
    /// The bounds and the purse of a key, or of the subject of a token.
    pub fn of_key(&self, id: &str) -> (Bounds, Option<&Arc<Purse>>) {
        match self.keys.get(id) {
            Some(terms) => (terms.bounds, terms.purse.as_ref()),
            None => (self.subjects.filter(|_| Issuer::is_subject(id)).unwrap_or_default(), None),
        }
    }
}

/// Whose use is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// By its id.
    Key(Arc<str>),
    /// By its name.
    Account(Arc<str>),
    Address(IpAddr),
}

impl Subject {
    /// A client's address. Of IPv6 the network counts (/64): its single addresses are the client's to choose.
    pub fn address(address: IpAddr) -> Self {
        Self::Address(match address {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key:{id}"),
            Self::Account(name) => write!(f, "account:{name}"),
            Self::Address(address) => write!(f, "address:{address}"),
        }
    }
}

/// How a window stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    pub limit: u64,
    pub used: u64,
    /// Until the oldest use leaves.
    pub first_free: Duration,
    /// Until all uses that are known have left.
    pub all_free: Duration,
}

impl Reading {
    /// What is left.
    pub fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// How the windows of a subject stand; `None` for those it has not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    pub window: Option<Reading>,
    pub minute: Option<Reading>,
    pub tokens: Option<Reading>,
}

impl Standing {
    /// The window of requests that is nearest to its end.
    pub fn requests(&self) -> Option<Reading> {
        [self.window, self.minute].into_iter().flatten().min_by_key(Reading::remaining)
    }

    /// Of two subjects that both count a request, the windows nearest to their ends.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let nearer = |a: Option<Reading>, b: Option<Reading>| a.into_iter().chain(b).min_by_key(Reading::remaining);
        Self { window: nearer(self.requests(), other.requests()), minute: None, tokens: nearer(self.tokens, other.tokens) }
    }
}

/// What is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Requests(Window),
    /// Tokens a minute.
    Tokens(u64),
    /// Requests at once.
    Running(u32),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(w) => write!(f, "{} requests in {} s", w.requests, w.span.as_secs_f64()),
            Self::Tokens(n) => write!(f, "{n} tokens a minute"),
            Self::Running(n) => write!(f, "{n} requests at once"),
        }
    }
}

/// There is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    pub what: What,
    /// Until there will be one, as far as is known.
    pub retry_after: Duration,
    pub standing: Standing,
}

impl Full {
    /// What the caller hears; `who` as in "this key".
    pub fn failure(&self, who: &str) -> Failure {
        Failure::new(Code::RateLimitExceeded, format!("rate limit reached: {who} may have {}", self.what)).retry_after(self.retry_after)
    }
}

/// All counters of a router.
pub struct Counters {
    memory: Memory,
    shared: Option<Arc<Shared>>,
    lease: Duration,
}

impl Counters {
    /// Counters in memory, and in `shared` where several routers count together. There a request that runs holds its place for `lease` at
    /// most, so that a router that dies does not keep it: as long as a request may take.
    pub fn new(shared: Option<Arc<Shared>>, lease: Duration) -> Arc<Self> {
        Arc::new(Self { memory: Memory::new(Instant::now()), shared, lease })
    }

    /// Takes places in all windows, `tokens` and a place among those that run; or nothing.
    ///
    /// # Errors
    /// [`Full`].
    pub async fn take(self: &Arc<Self>, subject: Subject, bounds: Bounds, tokens: u64, now: Instant) -> Result<(Hold, Standing), Full> {
        match self.shared.as_deref().filter(|s| s.is_up()) {
            None => self.take_here(subject, bounds, tokens, now),
            // Boxed: what speaks to Redis is large, and every request would carry the room for it.
            Some(shared) => match Box::pin(self.take_shared(shared, &subject, bounds, tokens, now)).await {
                Some(said) => said,
                None => self.take_here(subject, bounds, tokens, now),
            },
        }
    }

    /// `None`: the others cannot be asked now.
    async fn take_shared(
        self: &Arc<Self>,
        shared: &Shared,
        subject: &Subject,
        bounds: Bounds,
        tokens: u64,
        now: Instant,
    ) -> Option<Result<(Hold, Standing), Full>> {
        let asked = self.shared_bounds(subject, &bounds, tokens);
        let id = shared.id();
        // Made before anything is asked: where the client goes while we wait, or no answer comes, its drop takes the run back.
        let mut hold = self.hold(subject.clone(), bounds, tokens);
        hold.shared = Some(SharedTicket { id, places: Vec::new() });
        match shared.take(id, &asked).await? {
            Verdict::Taken(counted) => {
                hold.shared = Some(SharedTicket { id, places: counted.iter().map(|c| c.place).collect() });
                let kept_along = self.memory.take(subject, &bounds, tokens, true, now);
                hold.ticket = kept_along.ok().map(|(ticket, _)| ticket);
                Some(Ok((hold, standing(&bounds, &counted))))
            }
            Verdict::Full { which, wait, counted } => {
                hold.is_settled = true;
                let what = what(&bounds, which);
                let retry_after = if matches!(what, What::Running(_)) { RUNNING_WAIT } else { wait };
                Some(Err(Full { what, retry_after, standing: standing(&bounds, &counted) }))
            }
        }
    }

    fn take_here(self: &Arc<Self>, subject: Subject, bounds: Bounds, tokens: u64, now: Instant) -> Result<(Hold, Standing), Full> {
        let (ticket, standing) = self.memory.take(&subject, &bounds, tokens, false, now)?;
        let mut hold = self.hold(subject, bounds, tokens);
        hold.ticket = Some(ticket);
        Ok((hold, standing))
    }

    fn hold(self: &Arc<Self>, subject: Subject, bounds: Bounds, tokens: u64) -> Hold {
        let tokens = bounds.tpm.map_or(0, |limit| tokens.min(limit));
        Hold { counters: self.clone(), subject, bounds, tokens, ticket: None, shared: None, is_settled: false }
    }

    /// How a subject stands, without taking anything.
    pub async fn look(&self, subject: &Subject, bounds: &Bounds) -> Standing {
        if let Some(shared) = self.shared.as_deref().filter(|s| s.is_up())
            && let Some(counted) = shared.look(&self.shared_bounds(subject, bounds, 0)).await
        {
            return standing(bounds, &counted);
        }
        self.memory.look(subject, bounds, Instant::now())
    }

    /// Whether the shared counters are used; `None` where there are none.
    pub fn shared_is_up(&self) -> Option<bool> {
        self.shared.as_ref().map(|s| s.is_up())
    }

    /// The bounds as the shared counters know them: their order is that of [`standing`] and [`what`].
    fn shared_bounds(&self, subject: &Subject, bounds: &Bounds, tokens: u64) -> Vec<Bound> {
        let window = |suffix: &str, limit: u64, span: Duration, amount: u64, unit: Unit| Bound {
            // The braces keep all counters of a subject on one server of a cluster. Another length is another window.
            key: format!("llm-router:{{{subject}}}:{suffix}:{}", span.as_millis()),
            kind: Kind::Window { span },
            unit,
            limit,
            amount,
        };
        let own = bounds.window.map(|w| window("window", w.requests.into(), w.span, 1, Unit::Requests));
        let rpm = bounds.rpm.map(|limit| window("rpm", limit.into(), MINUTE, 1, Unit::Requests));
        let tpm = bounds.tpm.map(|limit| window("tpm", limit, MINUTE, tokens.min(limit), Unit::Tokens));
        let running = bounds.concurrency.map(|limit| Bound {
            key: format!("llm-router:{{{subject}}}:running"),
            kind: Kind::Running { lease: self.lease },
            unit: Unit::Requests,
            limit: limit.into(),
            amount: 1,
        });
        [own, rpm, tpm, running].into_iter().flatten().collect()
    }
}

#[derive(Debug)]
struct SharedTicket {
    id: u64,
    /// Where each bound's use stands, in their order; empty where that is not known.
    places: Vec<i64>,
}

/// What a request has taken. It is settled once; dropped unsettled, its places and tokens stay taken and only its run is over.
#[must_use]
pub struct Hold {
    counters: Arc<Counters>,
    subject: Subject,
    bounds: Bounds,
    tokens: u64,
    /// `None`: not counted in memory.
    ticket: Option<Ticket>,
    shared: Option<SharedTicket>,
    is_settled: bool,
}

impl Hold {
    /// Whether the end of the request changes anything.
    pub fn is_pending(&self) -> bool {
        self.bounds.settles()
    }

    /// The request is over; `tokens` is what it came to, `None` if nobody knows: then what was held stands.
    pub fn settle(mut self, tokens: Option<u64>) {
        let tokens = tokens.unwrap_or(self.tokens);
        self.change(Settled {
            request_back: false,
            tokens_back: self.tokens.saturating_sub(tokens),
            tokens_over: tokens.saturating_sub(self.tokens),
            is_over: true,
        });
    }

    /// The request never went anywhere: everything is given back.
    pub fn give_back(mut self) {
        self.change(Settled { request_back: true, tokens_back: self.tokens, tokens_over: 0, is_over: true });
    }

    fn change(&mut self, settled: Settled) {
        if std::mem::replace(&mut self.is_settled, true) {
            return;
        }
        if let Some(ticket) = self.ticket {
            self.counters.memory.settle(&self.subject, &self.bounds, ticket, settled, Instant::now());
        }
        if let (Some(shared), Some(ticket)) = (&self.counters.shared, &self.shared) {
            let changes = self.shared_changes(ticket, settled);
            if !changes.is_empty() {
                shared.settle(changes);
            }
        }
    }

    /// In the order of [`Counters::shared_bounds`].
    fn shared_changes(&self, ticket: &SharedTicket, settled: Settled) -> Vec<Change> {
        let asked = self.counters.shared_bounds(&self.subject, &self.bounds, self.tokens);
        let changes = asked.into_iter().enumerate().filter_map(|(i, bound)| {
            let Bound { key, kind, unit, .. } = bound;
            match (kind, unit) {
                (Kind::Running { .. }, _) => settled.is_over.then_some(Change::Leave { key, id: ticket.id }),
                (Kind::Window { span }, unit) => {
                    let place = *ticket.places.get(i)?;
                    let delta = match unit {
                        Unit::Requests => -i64::from(settled.request_back),
                        Unit::Tokens => signed(settled.tokens_over) - signed(settled.tokens_back),
                    };
                    (delta != 0).then_some(Change::Add { key, span, place, delta })
                }
            }
        });
        changes.collect()
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.bounds.concurrency.is_some() {
            self.change(Settled { is_over: true, ..Settled::default() });
        }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("subject", &self.subject).field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

impl Deposit for Hold {
    fn settle(self: Box<Self>, receipt: &Receipt) {
        Self::settle(*self, receipt.tokens());
    }
}

fn standing(bounds: &Bounds, counted: &[Counted]) -> Standing {
    let mut counted = counted.iter();
    let mut reading = |limit: u64, span: Duration| {
        let c = counted.next()?;
        Some(Reading { limit, used: c.used, first_free: c.first_free.min(span), all_free: c.all_free.min(span) })
    };
    Standing {
        window: bounds.window.and_then(|w| reading(w.requests.into(), w.span)),
        minute: bounds.rpm.and_then(|limit| reading(limit.into(), MINUTE)),
        tokens: bounds.tpm.and_then(|limit| reading(limit, MINUTE)),
    }
}

fn what(bounds: &Bounds, which: usize) -> What {
    let all = [
        bounds.window.map(What::Requests),
        bounds.minute().map(What::Requests),
        bounds.tpm.map(What::Tokens),
        bounds.concurrency.map(What::Running),
    ];
    all.into_iter().flatten().nth(which).unwrap_or(What::Running(0))
}

/// Tokens that a request may come to: its bytes guessed as one for four, and what it lets the answer have.
pub fn estimate(request: &Request) -> u64 {
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Wanted {
        max_tokens: Option<f64>,
        max_completion_tokens: Option<f64>,
        max_output_tokens: Option<f64>,
        #[serde(rename = "generationConfig")]
        generation: Option<Generation>,
    }
    #[derive(serde::Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Generation {
        max_output_tokens: Option<f64>,
    }
    use journey::Operation;
    let answer = match request.operation {
        Operation::Count(_) => return 0,
        Operation::Embeddings => 0,
        Operation::Generate(_) | Operation::Completions | Operation::Other => {
            let wanted = serde_json::from_slice::<Wanted>(&request.body).unwrap_or_default();
            let named = wanted.max_tokens.or(wanted.max_completion_tokens).or(wanted.max_output_tokens);
            let named = named.or_else(|| wanted.generation?.max_output_tokens);
            named.map_or(ANSWER_TOKENS_GUESS, |n| n.max(0.0) as u64)
        }
    };
    request.guessed_tokens().saturating_add(answer)
}

#[cfg(test)]
mod tests;
