//! The fleet at one instant, for the request path: immutable but for the counters, replaced whole when membership or models change.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    balance::{self, Balancer, Facts},
    breaker::Admission,
    clock::Clock,
    live::{InFlight, Live},
    record::{Kind, Record, Speaks, Status},
};

/// How long the model of an offline node is still known: asking for it is 503, afterwards 404.
pub(crate) const MEMORY: Duration = Duration::from_hours(24);

/// A node or agent as the request path sees it.
#[derive(Debug)]
pub struct Peer {
    /// A UUID.
    pub id: Arc<str>,
    pub kind: Kind,
    /// What people call it: its custom name, else its machine's.
    pub name: Arc<str>,
    /// `http://address:port`, or an agent's endpoint; without `/v1` and without a slash at its end.
    pub url: Arc<str>,
    /// What the router shows it: `Authorization: Bearer`. Empty for agents.
    pub router_secret: Arc<str>,
    pub speaks: Speaks,
    status: Status,
    initializing: bool,
    live: Arc<Live>,
}

impl Peer {
    fn is_silent(&self, now: Now) -> bool {
        self.status == Status::Offline || now.tick_ms - self.live.seen_ms() > now.timeout_ms
    }

    fn is_forgotten(&self, now: Now) -> bool {
        u128::try_from(now.tick_ms - self.live.seen_ms()).is_ok_and(|ms| ms > MEMORY.as_millis())
    }

    fn is_ready(&self, now: Now) -> bool {
        self.status == Status::Online && !self.initializing && !self.is_silent(now)
    }

    /// Requests in flight there, this router's and others'.
    pub fn active(&self) -> u32 {
        self.live.active()
    }
}

/// One look at the clock for a whole question.
#[derive(Debug, Clone, Copy)]
struct Now {
    tick_ms: i64,
    timeout_ms: i64,
}

/// A node that may be asked, in the order of asking.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub peer: Arc<Peer>,
    /// It failed lately, and so did all others: better than nothing.
    pub last_resort: bool,
    /// What the order was made from, for the request's record.
    pub facts: Facts,
}

impl Candidate {
    /// Counts a request in. `None`: it failed meanwhile, or somebody else is trying whether it is well again; take the next candidate.
    pub fn begin(&self) -> Option<InFlight> {
        self.peer.live.begin(self.last_resort)
    }
}

/// What can be said of a model's nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// At least one can be asked now.
    Ready,
    /// All that are there are still loading: worth waiting for ([`crate::Fleet::wait_ready`]).
    Warming,
    /// Known, but nobody is there: 503.
    Down,
    /// No node has it, or none had for a day.
    Unknown,
}

/// A model for the list of models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub id: Arc<str>,
    /// Names of the nodes that have it, in order of registration.
    pub nodes: Vec<Arc<str>>,
    /// Some node can answer for it now.
    pub ready: bool,
    /// It is in the memory of some node.
    pub loaded: bool,
}

#[derive(Debug)]
struct Holder {
    peer: Arc<Peer>,
    loaded: bool,
}

/// See the module.
#[derive(Debug)]
pub struct FleetView {
    clock: Clock,
    timeout_ms: i64,
    balancer: Balancer,
    dice: AtomicU64,
    peers: BTreeMap<Arc<str>, Arc<Peer>>,
    by_model: HashMap<Arc<str>, Vec<Holder>>,
}

impl FleetView {
    /// `records` in order of registration.
    pub(crate) fn new<'a>(records: impl Iterator<Item = &'a Record>, clock: Clock, timeout_ms: i64, balancer: Balancer) -> Self {
        let mut view = Self { clock, timeout_ms, balancer, dice: AtomicU64::new(0), peers: BTreeMap::new(), by_model: HashMap::new() };
        for record in records {
            let peer = Arc::new(Peer {
                id: record.id.clone(),
                kind: record.kind,
                name: record.custom_name.as_deref().map_or_else(|| record.machine_name.clone(), Arc::from),
                url: record.url().into(),
                router_secret: record.router_secret.clone(),
                speaks: record.machine.speaks,
                status: if record.draining && record.status != Status::Offline { Status::Draining } else { record.status },
                initializing: record.models.initializing,
                live: record.live.clone(),
            });
            let models = &record.models;
            for model in models.loaded.iter().chain(&models.embedding) {
                view.hold(model, &peer, true);
            }
            for model in &models.available {
                view.hold(model, &peer, false);
            }
            view.peers.insert(peer.id.clone(), peer);
        }
        view
    }

    fn hold(&mut self, model: &str, peer: &Arc<Peer>, loaded: bool) {
        let holders = self.by_model.entry(Arc::from(model)).or_default();
        // Loaded ones come first for each peer, so one that is there already says more.
        if holders.last().is_none_or(|h| h.peer.id != peer.id) {
            holders.push(Holder { peer: peer.clone(), loaded });
        }
    }

    /// A node or agent by its id.
    pub fn peer(&self, id: &str) -> Option<&Arc<Peer>> {
        self.peers.get(id)
    }

    /// Whether a node has this model or had it within the last day. Exact text.
    pub fn knows(&self, model: &str) -> bool {
        self.presence(model) != Presence::Unknown
    }

    /// Whether to ask, to wait, or to give up.
    pub fn presence(&self, model: &str) -> Presence {
        let now = self.now();
        let holders = self.holders(model);
        let mut presence = Presence::Unknown;
        for Holder { peer, .. } in holders {
            if peer.is_ready(now) {
                return Presence::Ready;
            }
            let warming = !peer.is_silent(now) && peer.status != Status::Draining;
            if warming {
                presence = Presence::Warming;
            } else if presence == Presence::Unknown && !peer.is_forgotten(now) {
                presence = Presence::Down;
            }
        }
        presence
    }

    /// Who can be asked for this model, best first; later ones are for another try. Empty where [`FleetView::presence`] is not `Ready`.
    pub fn pick_order(&self, model: &str) -> Vec<Candidate> {
        let now = self.now();
        let ready: Vec<&Holder> = self.holders(model).iter().filter(|h| h.peer.is_ready(now)).collect();
        let well: Vec<&Holder> = ready
            .iter()
            .copied()
            .filter(|h| !h.peer.live.is_suspect() && h.peer.live.admission(now.tick_ms) != Admission::Closed)
            .collect();
        if well.is_empty() {
            return last_resort(ready, now);
        }
        let facts: Vec<Facts> = well.iter().map(|h| h.peer.live.facts(h.loaded, now.tick_ms)).collect();
        let order = balance::order(self.balancer, &facts, self.dice.fetch_add(1, Relaxed));
        order.into_iter().map(|i| Candidate { peer: well[i].peer.clone(), last_resort: false, facts: facts[i].clone() }).collect()
    }

    /// The models of nodes that are there, by name. Those of offline nodes are known but not listed.
    pub fn models(&self) -> Vec<Listed> {
        let now = self.now();
        let mut listed: Vec<Listed> = self
            .by_model
            .iter()
            .filter_map(|(id, holders)| {
                let here: Vec<&Holder> = holders.iter().filter(|h| !h.peer.is_silent(now)).collect();
                (!here.is_empty()).then(|| Listed {
                    id: id.clone(),
                    nodes: here.iter().map(|h| h.peer.name.clone()).collect(),
                    ready: here.iter().any(|h| h.peer.is_ready(now)),
                    loaded: here.iter().any(|h| h.loaded),
                })
            })
            .collect();
        listed.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        listed
    }

    /// Whether any node or agent can be asked now.
    pub fn is_ready(&self) -> bool {
        let now = self.now();
        self.peers.values().any(|p| p.is_ready(now))
    }

    /// Whether this node or agent is there: not offline and not silent for too long. It may be loading or draining.
    pub fn is_there(&self, peer: &Peer) -> bool {
        !peer.is_silent(self.now())
    }

    fn now(&self) -> Now {
        Now { tick_ms: self.clock.tick_ms(), timeout_ms: self.timeout_ms }
    }

    fn holders(&self, model: &str) -> &[Holder] {
        self.by_model.get(model).map_or(&[], Vec::as_slice)
    }
}

/// All have failed lately: the one whose failure is longest ago first, so that an outage never lasts longer than its cause.
fn last_resort(mut ready: Vec<&Holder>, now: Now) -> Vec<Candidate> {
    ready.sort_by_key(|h| h.peer.live.failed_at_ms());
    ready.iter().map(|h| Candidate { peer: h.peer.clone(), last_resort: true, facts: h.peer.live.facts(h.loaded, now.tick_ms) }).collect()
}
