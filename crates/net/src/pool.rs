//! Idle connections, per host, and the lines that exchanges hold.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use foldhash::HashMap;
use http::{HeaderValue, Uri, uri::Authority};
use tokio::time::Instant;

use crate::{proxy::Route, stream::Stream};

/// Most destinations remembered; those without a connection are forgotten first.
const HOSTS_MAX: usize = 1024;
/// How often idle connections are looked through for those that are over their time.
const REAP_EVERY: Duration = Duration::from_secs(2);

/// One connection. Whoever drops it closes it.
pub(crate) struct Line {
    pub(crate) stream: Stream,
    open: Arc<AtomicUsize>,
    idle_since: Instant,
}

impl Line {
    pub(crate) fn new(stream: Stream, open: Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self { stream, open, idle_since: Instant::now() }
    }

    /// Whether an idle line still stands: nobody has closed it, and nothing came that nobody asked for.
    fn is_alive(&mut self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        self.stream.poll_read(&mut nobody, |_unasked| ()).is_pending()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A destination: how it is reached and its idle lines.
pub(crate) struct Host {
    /// Scheme and authority.
    pub(crate) origin: Uri,
    pub(crate) is_tls: bool,
    pub(crate) route: Route,
    /// The `Host` header's value.
    pub(crate) header: HeaderValue,
    idle_for: Duration,
    idle_max: usize,
    idle: Mutex<Vec<Line>>,
}

impl Host {
    pub(crate) fn new(origin: Uri, is_tls: bool, route: Route, header: HeaderValue, idle_for: Duration, idle_max: usize) -> Self {
        Self { origin, is_tls, route, header, idle_for, idle_max, idle: Mutex::default() }
    }

    /// `host:port`, for messages.
    pub(crate) fn name(&self) -> &str {
        self.origin.authority().map_or("", Authority::as_str)
    }

    /// The most recently used line that still stands; those on the way that do not are dropped.
    pub(crate) fn checkout(&self) -> Option<Line> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.is_empty() {
            return None;
        }
        let now = Instant::now();
        while let Some(mut line) = idle.pop() {
            if now.duration_since(line.idle_since) < self.idle_for && line.is_alive() {
                return Some(line);
            }
        }
        None
    }

    /// Keeps a line whose exchange is over.
    pub(crate) fn give_back(&self, mut line: Line) {
        line.idle_since = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.idle_max {
            idle.push(line);
        }
    }

    fn reap(&self) -> usize {
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain_mut(|line| now.duration_since(line.idle_since) < self.idle_for && line.is_alive());
        idle.len()
    }
}

/// Scheme (TLS or not) and authority.
pub(crate) type Key = (bool, Authority);

/// All destinations of one client.
#[derive(Default)]
pub(crate) struct Pool {
    hosts: Mutex<HashMap<Key, Arc<Host>>>,
    /// Lines that exist, idle or held.
    pub(crate) open: Arc<AtomicUsize>,
    reaping: AtomicBool,
}

impl Pool {
    /// The destination's entry, made if it is new.
    pub(crate) fn host<E>(&self, key: Key, make: impl FnOnce(&Key) -> Result<Host, E>) -> Result<Arc<Host>, E> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(&key) {
            return Ok(host.clone());
        }
        if hosts.len() >= HOSTS_MAX {
            hosts.retain(|_, host| Arc::strong_count(host) > 1 || host.reap() > 0);
        }
        let host = Arc::new(make(&key)?);
        // Still full of hosts with live connections: serve this one without remembering it.
        if hosts.len() < HOSTS_MAX {
            hosts.insert(key, host.clone());
        }
        Ok(host)
    }

    /// Closes overdue lines from now on, until none is left.
    pub(crate) fn reap_in_background(self: &Arc<Self>) {
        if !self.reaping.swap(true, Ordering::AcqRel) {
            tokio::spawn(reap(Arc::downgrade(self)));
        }
    }

    fn reap_once(&self) {
        let hosts: Vec<_> = self.hosts.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for host in hosts {
            host.reap();
        }
    }
}

/// Holds the pool weakly, so that a dropped client ends it.
async fn reap(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(REAP_EVERY).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.reap_once();
        if pool.open.load(Ordering::Acquire) == 0 {
            pool.reaping.store(false, Ordering::Release);
            // A line opened between the two would find nobody to reap it.
            if pool.open.load(Ordering::Acquire) == 0 || pool.reaping.swap(true, Ordering::AcqRel) {
                return;
            }
        }
    }
}
