//! The registry itself and its settings.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use arc_swap::ArcSwap;
use store::{Store, StoreError};
use tokio::sync::{Notify, watch};

use crate::{
    balance::Balancer,
    clock::Clock,
    queue::Queue,
    record::{Kind, Record},
    view::{FleetView, Peer},
};

/// Nodes and agents that a router keeps. A registration beyond it takes the place of the one that has been gone longest.
pub(crate) const NODES_MAX: usize = 1024;

/// The settings under `fleet` that this crate needs.
#[derive(Debug, Clone)]
pub struct FleetSettings {
    /// Silence after which a node is offline.
    pub node_timeout: Duration,
    /// How long a node that has a request may say nothing and leave the question whether it is there without an answer.
    pub silence_timeout: Duration,
    /// How often silent nodes are looked for.
    pub check_interval: Duration,
    /// Needed to register, where set.
    pub join_token: Option<String>,
    /// Whether nodes without a GPU that say so (`accelerator: cpu`) may join.
    pub allow_cpu_nodes: bool,
    /// Accept nodes without calling them back.
    pub skip_health_check: bool,
    pub balancer: Balancer,
    /// Whether every new node waits for an administrator's consent.
    pub require_approval: bool,
    /// Requests that may wait for a node, all models together.
    pub max_waiters: usize,
    /// And those of one caller.
    pub max_waiters_per_key: usize,
    /// How long each may wait.
    pub queue_timeout: Duration,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self {
            node_timeout: Duration::from_mins(1),
            silence_timeout: Duration::from_secs(3),
            check_interval: Duration::from_secs(30),
            join_token: None,
            allow_cpu_nodes: true,
            skip_health_check: false,
            balancer: Balancer::default(),
            require_approval: false,
            max_waiters: 1024,
            max_waiters_per_key: 256,
            queue_timeout: Duration::from_secs(30),
        }
    }
}

/// All nodes and agents of this router. Made once; shared by an [`Arc`].
pub struct Fleet {
    pub(crate) store: Store,
    pub(crate) client: net::Client,
    pub(crate) clock: Clock,
    settings: ArcSwap<FleetSettings>,
    registry: Mutex<Registry>,
    pub(crate) view: ArcSwap<FleetView>,
    pub(crate) changed: watch::Sender<u64>,
    /// Held from the reading of a record to its storing, so that what is stored and what is in memory change in the same order.
    pub(crate) writing: tokio::sync::Mutex<()>,
    /// Ids whose heartbeats are not stored yet.
    pub(crate) unsaved: Mutex<HashSet<Arc<str>>>,
    pub(crate) turns: Arc<AtomicU64>,
    pub(crate) queue: Queue,
    /// Somebody begins to wait for a node.
    pub(crate) vigils: Notify,
}

impl Fleet {
    /// The fleet as it was stored. `client` calls nodes: it must use no proxy for them.
    ///
    /// Silent nodes are noticed and heartbeats stored only while [`Fleet::tend`] runs.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(store: Store, client: net::Client, settings: FleetSettings) -> Result<Arc<Self>, StoreError> {
        let clock = Clock::new();
        let turns = Arc::default();
        let mut registry = Registry::default();
        for row in store::nodes::list(&store).await? {
            registry.put(Record::from_row(row, &clock, &turns));
        }
        let queue = Queue::default();
        let view = ArcSwap::from_pointee(registry.view(&clock, &settings, &queue));
        Ok(Arc::new(Self {
            store,
            // Whoever registers or is adopted names its own address: it is never a cloud's service that gives out credentials.
            client: client.within(net::Reach::LinkLocal),
            clock,
            settings: ArcSwap::from_pointee(settings),
            registry: Mutex::new(registry),
            view,
            changed: watch::Sender::new(0),
            writing: tokio::sync::Mutex::default(),
            unsaved: Mutex::default(),
            turns,
            queue,
            vigils: Notify::new(),
        }))
    }

    /// The settings of this instant.
    pub fn settings(&self) -> Arc<FleetSettings> {
        self.settings.load_full()
    }

    /// Takes over changed settings; requests in flight and registrations are not disturbed.
    pub fn set_settings(&self, settings: FleetSettings) {
        self.settings.store(Arc::new(settings));
        self.publish(&self.registry());
    }

    /// The fleet for the request path: one atomic load.
    pub fn view(&self) -> Arc<FleetView> {
        self.view.load_full()
    }

    /// Rises with each new view.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The node that this token belongs to; `None` also while it waits for consent. Looks at every node's token, each in constant time.
    pub fn node_of_token(&self, token: &str) -> Option<Arc<Peer>> {
        let hash = crate::register::hash(token);
        let id = {
            let registry = self.registry();
            let found = registry.in_order().filter(|r| crate::register::is_same(&r.token_hash, &hash)).last();
            found.filter(|r| !r.pending).map(|r| r.id.clone())
        };
        self.view.load().peer(&id?).cloned()
    }

    pub(crate) fn timeout_ms(&self) -> i64 {
        as_ms(self.settings.load().node_timeout)
    }

    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a new view of what the registry holds now.
    pub(crate) fn publish(&self, registry: &Registry) {
        self.view.store(Arc::new(registry.view(&self.clock, &self.settings.load(), &self.queue)));
        self.changed.send_modify(|n| *n += 1);
        self.queue.call_all();
    }
}

pub(crate) fn as_ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// All records. The lock around it is held for moments only, never across a wait.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// By time of registration and id.
    records: BTreeMap<(i64, Arc<str>), Record>,
    by_id: BTreeMap<Arc<str>, i64>,
}

impl Registry {
    pub(crate) fn put(&mut self, record: Record) {
        self.remove(&record.id.clone());
        self.by_id.insert(record.id.clone(), record.registered_at_ms);
        self.records.insert((record.registered_at_ms, record.id.clone()), record);
    }

    pub(crate) fn remove(&mut self, id: &str) -> Option<Record> {
        let (id, at) = self.by_id.remove_entry(id)?;
        self.records.remove(&(at, id))
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Record> {
        let (id, at) = self.by_id.get_key_value(id)?;
        self.records.get(&(*at, id.clone()))
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut Record> {
        let (id, at) = self.by_id.get_key_value(id)?;
        self.records.get_mut(&(*at, id.clone()))
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn in_order(&self) -> impl Iterator<Item = &Record> + Clone {
        self.records.values()
    }

    pub(crate) fn in_order_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        self.records.values_mut()
    }

    /// The one that registered under this name before: nodes by machine and port, agents by name.
    pub(crate) fn find(&self, kind: Kind, machine_name: &str, runtime_port: u16) -> Option<&Record> {
        self.in_order().find(|r| r.kind == kind && &*r.machine_name == machine_name && r.runtime_port == runtime_port)
    }

    fn view(&self, clock: &Clock, settings: &FleetSettings, queue: &Queue) -> FleetView {
        FleetView::new(self.in_order(), clock.clone(), as_ms(settings.node_timeout), settings.balancer, queue)
    }
}

/// An address without the v4-in-v6 disguise of dual-stack sockets.
pub(crate) fn plain(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
