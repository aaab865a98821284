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
    balance::{Balancer, RISEN},
    breaker::Admission,
    clock::Clock,
    instance::Instance,
    live::{InFlight, KnownLive, Live, Pass},
    queue::{Queue, Queued},
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
    /// It goes on with an answer that another node began, and counts its tokens all along.
    pub continues: bool,
    /// Which path of it answers at once.
    pub(crate) question: &'static str,
    status: Status,
    initializing: bool,
    /// A connection is to be held to it.
    pub(crate) is_tethered: bool,
    pub(crate) live: Arc<Live>,
}

impl Peer {
    fn is_silent(&self, now: Now) -> bool {
        self.status == Status::Offline || self.live.seen_ms() < now.silent_before_tick
    }

    /// Milliseconds since its last sign of life.
    pub(crate) fn silent_ms(&self, now_tick_ms: i64) -> i64 {
        now_tick_ms - self.live.seen_ms()
    }

    pub(crate) fn is_offline(&self) -> bool {
        self.status == Status::Offline
    }

    fn is_forgotten(&self, now: Now) -> bool {
        u128::try_from(now.tick_ms - self.live.seen_ms()).is_ok_and(|ms| ms > MEMORY.as_millis())
    }

    /// As it was last heard of.
    fn serves(&self) -> bool {
        self.status == Status::Online && !self.initializing
    }

    fn is_ready(&self, now: Now) -> bool {
        self.serves() && !self.is_silent(now)
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
    /// Whoever was seen last before this is gone.
    silent_before_tick: i64,
    /// Whoever was seen last before this has missed so many heartbeats that something is wrong with it.
    late_before_tick: i64,
}

/// Why a node was taken, from what the balancer knew at that instant; for the request's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picked {
    /// The balancer's name.
    pub policy: &'static str,
    /// What put it before the others.
    pub reason: &'static str,
    /// Nodes that could have been asked.
    pub candidates: u32,
    /// Requests in flight there before this one.
    pub active: u32,
}

/// A node that may be asked, in the order of asking.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub peer: Arc<Peer>,
    instance: Arc<Instance>,
    pub(crate) pass: Pass,
    pub picked: Picked,
}

impl Candidate {
    /// Counts a request in. `None`: it has no room, it failed meanwhile, or somebody else is trying whether it is well again; take the next.
    pub fn begin(&self) -> Option<InFlight> {
        self.peer.live.begin(&self.instance, self.pass)
    }
}

/// A node with the request counted in, and whom to ask if that fails.
#[derive(Debug)]
pub struct Turn {
    pub first: Candidate,
    pub guard: InFlight,
    pub rest: Vec<Candidate>,
    /// Where the request had to wait.
    pub queued: Option<Queued>,
}

/// Who is to be asked now.
#[derive(Debug)]
pub(crate) enum Pick {
    Turn(Box<Turn>),
    /// All that are well have as much to do as they can.
    Busy,
    /// See [`Presence`].
    Warming,
    Down,
    Unknown,
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
    /// The peer's.
    live: Arc<Live>,
    instance: Arc<Instance>,
    loaded: bool,
    /// Whether the peer is online and not loading.
    serves: bool,
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
    pub(crate) fn new<'a>(
        records: impl Iterator<Item = &'a Record>,
        clock: Clock,
        timeout_ms: i64,
        balancer: Balancer,
        queue: &Queue,
    ) -> Self {
        let mut view = Self { clock, timeout_ms, balancer, dice: AtomicU64::new(0), peers: BTreeMap::new(), by_model: HashMap::new() };
        for record in records {
            let peer = Arc::new(Peer {
                id: record.id.clone(),
                kind: record.kind,
                name: record.shown_name(),
                url: record.url().into(),
                router_secret: record.router_secret.clone(),
                speaks: record.machine.speaks,
                continues: record.continues(),
                question: record.question(),
                status: if record.draining && record.status != Status::Offline { Status::Draining } else { record.status },
                initializing: record.models.initializing,
                is_tethered: record.status != Status::Offline && !record.pending && record.bears_tether(),
                live: record.live.clone(),
            });
            // Nobody is asked before an administrator has agreed to it.
            if !record.pending {
                let models = &record.models;
                models.loaded.iter().chain(&models.embedding).for_each(|model| view.hold(model, &peer, true, queue));
                models.available.iter().for_each(|model| view.hold(model, &peer, false, queue));
                peer.live.keep_instances(models.count(), |model| models.has(model));
            }
            view.peers.insert(peer.id.clone(), peer);
        }
        view
    }

    fn hold(&mut self, model: &str, peer: &Arc<Peer>, loaded: bool, queue: &Queue) {
        let holder = || Holder {
            peer: peer.clone(),
            live: peer.live.clone(),
            instance: peer.live.instance(model, queue),
            loaded,
            serves: peer.serves(),
        };
        match self.by_model.get_mut(model) {
            // Loaded ones come first for each peer, so one that is there already says more.
            Some(holders) if holders.last().is_some_and(|h| h.peer.id == peer.id) => {}
            Some(holders) => holders.push(holder()),
            None => {
                self.by_model.insert(model.into(), vec![holder()]);
            }
        }
    }

    /// A node or agent by its id.
    pub fn peer(&self, id: &str) -> Option<&Arc<Peer>> {
        self.peers.get(id)
    }

    /// Those that a connection is to be held to.
    pub(crate) fn tethered(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.peers.values().filter(|peer| peer.is_tethered)
    }

    /// Whether a node has this model or had it within the last day. Exact text.
    pub fn knows(&self, model: &str) -> bool {
        self.presence(model) != Presence::Unknown
    }

    /// Those that are to be asked whether they are there. Agents are not: they may serve one request after the other.
    pub(crate) fn watched(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.peers.values().filter(|peer| peer.kind != Kind::Agent && peer.live.is_watched())
    }

    /// Whether another node than this one could be asked for the model now, and nothing speaks against it.
    pub(crate) fn has_other(&self, model: &str, peer: &Peer) -> bool {
        let now = self.now();
        self.holders(model).iter().any(|h| h.peer.id != peer.id && h.is_ready(now) && !h.is_suspect(now) && !h.is_shut(now))
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

    /// Who can be asked for this model, best first; later ones are for another try. Empty where nobody is ready, or all are busy.
    pub fn candidates(&self, model: &str, places: usize) -> Vec<Candidate> {
        self.ranked(model, places).0
    }

    /// The candidates, and whether somebody is ready at all.
    fn ranked(&self, model: &str, places: usize) -> (Vec<Candidate>, bool) {
        let now = self.now();
        let holders = self.holders(model);
        let look = Look::at(holders, now);
        if look.well == 0 && look.ready > 0 {
            return (last_resort(holders.iter().filter(|h| h.is_ready(now)).collect(), places, self.balancer), true);
        }
        let kept = if look.shut > look.shut_max() { look.kept(holders, now) } else { Vec::new() };
        let mut free = look.free;
        if !kept.is_empty() {
            free.extend(kept.iter().filter(|&&i| holders[i as usize].instance.has_room()));
            free.sort_unstable();
        }
        let known = free.iter().map(|&i| holders[i as usize].known(now));
        let choice = self.balancer.choose_of(known, places, self.dice.fetch_add(1, Relaxed), look.rising);
        let candidate = |(place, chosen): (usize, usize)| {
            let (i, holder) = (free[chosen], &holders[free[chosen] as usize]);
            let is_kept = kept.contains(&i);
            let reason = match place {
                0 if is_kept => "it failed lately, but half of a model's nodes are never left out for that",
                0 => choice.reason,
                _ => "the next after those before it",
            };
            let picked = Picked { policy: self.balancer.name(), reason, candidates: count(free.len()), active: holder.live.active() };
            holder.candidate(if is_kept { Pass::Breaker } else { Pass::Nothing }, picked)
        };
        (choice.order.iter().copied().enumerate().map(candidate).collect(), look.ready > 0)
    }

    /// The best candidate with the request counted in.
    pub(crate) fn pick(&self, model: &str, places: usize) -> Pick {
        let (mut candidates, is_ready) = self.ranked(model, places);
        let begun = candidates.iter().enumerate().find_map(|(i, candidate)| Some((i, candidate.begin()?)));
        match begun {
            Some((i, guard)) => {
                let rest = candidates.split_off(i + 1);
                let first = candidates.swap_remove(i);
                Pick::Turn(Box::new(Turn { first, guard, rest, queued: None }))
            }
            // Others were faster, or all are busy.
            None if is_ready => Pick::Busy,
            None => match self.presence(model) {
                Presence::Ready => Pick::Busy,
                Presence::Warming => Pick::Warming,
                Presence::Down => Pick::Down,
                Presence::Unknown => Pick::Unknown,
            },
        }
    }

    /// A model on the nodes that can be asked for it now.
    pub(crate) fn instances_of(&self, model: &str) -> impl Iterator<Item = &Arc<Instance>> {
        let now = self.now();
        self.holders(model).iter().filter(move |h| h.is_ready(now)).map(|h| &h.instance)
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

    /// Our own nodes that are there and have a model, and whether it is in their memory; in order of registration.
    pub fn holding(&self, model: &str) -> Vec<(Arc<Peer>, bool)> {
        let now = self.now();
        let here = self.holders(model).iter().filter(|h| h.peer.kind == Kind::Node && !h.peer.is_silent(now));
        here.map(|h| (h.peer.clone(), h.loaded)).collect()
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
        let tick_ms = self.clock.tick_ms();
        let late_ms = self.timeout_ms / 3 * 2 + self.timeout_ms % 3 * 2 / 3;
        Now { tick_ms, silent_before_tick: tick_ms.saturating_sub(self.timeout_ms), late_before_tick: tick_ms.saturating_sub(late_ms) }
    }

    fn holders(&self, model: &str) -> &[Holder] {
        self.by_model.get(model).map_or(&[], Vec::as_slice)
    }
}

impl Holder {
    fn candidate(&self, pass: Pass, picked: Picked) -> Candidate {
        Candidate { peer: self.peer.clone(), instance: self.instance.clone(), pass, picked }
    }

    fn is_ready(&self, now: Now) -> bool {
        self.serves && self.live.seen_ms() >= now.silent_before_tick
    }

    /// A connection to it broke, or it is late: not asked while others are well.
    fn is_suspect(&self, now: Now) -> bool {
        self.live.is_suspect() || self.live.seen_ms() < now.late_before_tick
    }

    fn is_shut(&self, now: Now) -> bool {
        self.instance.admission(now.tick_ms) == Admission::Closed
    }

    fn known(&self, now: Now) -> KnownLive<'_> {
        self.live.known(self.loaded, now.tick_ms)
    }
}

/// A model's nodes at one instant.
#[derive(Debug, Default)]
struct Look {
    ready: usize,
    /// Of these, those that nothing speaks against.
    well: usize,
    /// Those that only their breaker keeps out.
    shut: usize,
    /// Some of them joined or came back a moment ago.
    rising: bool,
    /// Positions of the well ones that have room.
    free: Vec<u32>,
}

impl Look {
    fn at(holders: &[Holder], now: Now) -> Self {
        let mut look = Self { free: Vec::with_capacity(holders.len()), ..Self::default() };
        for (i, holder) in (0..).zip(holders).filter(|(_, h)| h.is_ready(now)) {
            look.ready += 1;
            if holder.is_suspect(now) {
                continue;
            }
            if holder.is_shut(now) {
                look.shut += 1;
                continue;
            }
            look.well += 1;
            look.rising |= holder.live.risen(now.tick_ms) < RISEN;
            if holder.instance.has_room() {
                look.free.push(i);
            }
        }
        look
    }

    /// How many breakers may leave out: when most fail it is seldom the fault of each, and the rest would drown in what all had to do.
    fn shut_max(&self) -> usize {
        self.ready / 2
    }

    /// Positions of those beyond that, whose failures are the longest ago: they stay in use.
    fn kept(&self, holders: &[Holder], now: Now) -> Vec<u32> {
        let is_out = |h: &Holder| h.is_ready(now) && !h.is_suspect(now) && h.is_shut(now);
        let mut shut: Vec<(i64, u32)> = (0..).zip(holders).filter(|(_, h)| is_out(h)).map(|(i, h)| (h.live.failed_at_ms(), i)).collect();
        shut.sort_unstable();
        shut.truncate(self.shut.saturating_sub(self.shut_max()));
        shut.into_iter().map(|(_, i)| i).collect()
    }
}

/// All have failed lately: the one whose failure is longest ago first, so that an outage never lasts longer than its cause.
fn last_resort(mut ready: Vec<&Holder>, places: usize, balancer: Balancer) -> Vec<Candidate> {
    ready.sort_by_key(|h| h.peer.live.failed_at_ms());
    let reason = "all have failed lately, and it the longest time ago";
    let picked = |h: &Holder| Picked { policy: balancer.name(), reason, candidates: count(ready.len()), active: h.peer.active() };
    ready.iter().take(places).map(|h| h.candidate(Pass::Everything, picked(h))).collect()
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
