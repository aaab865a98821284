//! Idle connections, per host, and the lines that exchanges hold.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Uri, uri::Authority};
use hyper::client::conn::http1::SendRequest;
use tokio::{task::AbortHandle, time::Instant};

use crate::{body::Body, proxy::Route};

/// Most destinations remembered; those without a connection are forgotten first.
const HOSTS_MAX: usize = 1024;
/// How often idle connections are looked through for those that are over their time.
const REAP_EVERY: Duration = Duration::from_secs(2);

/// One connection. Whoever drops it closes it.
pub(crate) struct Line {
    pub(crate) sender: SendRequest<Body>,
    task: AbortHandle,
    /// Set when bytes arrive; cleared before each exchange.
    heard: Arc<AtomicBool>,
    open: Arc<AtomicUsize>,
    idle_since: Instant,
    /// It has carried an exchange before, so that the other side may have closed it meanwhile.
    pub(crate) used: bool,
}

impl Line {
    pub(crate) fn new(sender: SendRequest<Body>, task: AbortHandle, heard: Arc<AtomicBool>, open: Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self { sender, task, heard, open, idle_since: Instant::now(), used: false }
    }

    /// Forgets what was heard so far.
    pub(crate) fn listen(&self) {
        self.heard.store(false, Ordering::Relaxed);
    }

    /// Whether any byte arrived since [`Line::listen`].
    pub(crate) fn heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // The task owns the socket: ending it closes the connection now, not when the other side next writes.
        self.task.abort();
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("used", &self.used).finish_non_exhaustive()
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

    /// The most recently used line that is ready; closed and overdue ones on the way are dropped.
    pub(crate) fn checkout(&self) -> Option<Line> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.is_empty() {
            return None;
        }
        let now = Instant::now();
        let mut at = idle.len();
        while at > 0 {
            at -= 1;
            let line = &idle[at];
            if line.sender.is_closed() || now.duration_since(line.idle_since) >= self.idle_for {
                idle.remove(at);
            } else if line.sender.is_ready() {
                return Some(idle.remove(at));
            }
        }
        None
    }

    /// Keeps a line whose exchange is over.
    pub(crate) fn give_back(&self, mut line: Line) {
        if line.sender.is_closed() {
            return;
        }
        line.used = true;
        line.idle_since = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.idle_max {
            idle.push(line);
        }
    }

    fn reap(&self) -> usize {
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|line| !line.sender.is_closed() && now.duration_since(line.idle_since) < self.idle_for);
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
