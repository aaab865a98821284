//! The line to a Redis that several routers share. It may be dead at any time, and nobody waits for it then: whoever asks is told so at
//! once, and the line is looked after behind the path until it stands again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use redis::{AsyncConnectionConfig, Client, aio::MultiplexedConnection};
use tokio::{
    sync::{Mutex, Notify},
    time::{sleep, timeout},
};

use crate::StoreError;

/// How long a connection may take to stand.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long an answer may take. One that is later counts as none, and the line as dead until it was tried anew.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Pauses between attempts to connect; they double.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often an idle line is tried.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How long whoever found the line cut waits for a new one, once for all.
const RENEW_MAX: Duration = Duration::from_millis(500);
/// What is written to see that writing works: a server that only lets read is of no use.
const PROBE_KEY: &str = "llm-router:probe";

/// Redis cannot be asked now, or refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the shared Redis cannot be used")]
pub struct Unreachable;

/// The line to a shared Redis.
pub struct Redis {
    client: Client,
    line: ArcSwapOption<Line>,
    /// The line has failed, look at it now.
    failed: Notify,
    /// Held by the one who renews the line.
    renewing: Mutex<()>,
    is_reported: AtomicBool,
    failures: AtomicU64,
}

/// A connection that stood when it was last used; cloned for each use.
#[derive(Clone)]
pub struct Line(pub(crate) MultiplexedConnection);

impl Redis {
    /// A line to an address `redis://[user:password@]host[:port][/database]`, or `rediss://` over TLS. Nothing is connected yet.
    ///
    /// # Errors
    /// [`StoreError::Address`]; never shows the address.
    pub fn open(address: &str) -> Result<Arc<Self>, StoreError> {
        let client = Client::open(address).map_err(|_| {
            StoreError::Address("the address of Redis is not one: write redis://[user:password@]host[:port][/database]".to_owned())
        })?;
        Ok(Arc::new(Self {
            client,
            line: ArcSwapOption::empty(),
            failed: Notify::new(),
            renewing: Mutex::default(),
            is_reported: AtomicBool::new(false),
            failures: AtomicU64::new(0),
        }))
    }

    /// Tries once to connect.
    pub async fn connect(&self) {
        match self.try_connect().await {
            Ok(line) => {
                self.line.store(Some(Arc::new(line)));
                if self.is_reported.swap(false, Relaxed) {
                    tracing::info!("Redis is back and is used again");
                }
            }
            Err(error) => self.report(&error),
        }
    }

    /// Keeps the line up for as long as it is polled.
    pub async fn tend(&self) {
        let mut pause = PAUSE_MIN;
        loop {
            if let Some(line) = self.line() {
                pause = PAUSE_MIN;
                tokio::select! {
                    () = self.failed.notified() => {}
                    () = sleep(PROBE_EVERY) => {
                        if let Err(error) = probe(&mut line.0.clone()).await {
                            self.failed(&line, &error);
                        }
                    }
                }
            } else {
                self.connect().await;
                if self.line.load().is_none() {
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// The line, if it stands as far as is known.
    pub fn line(&self) -> Option<Arc<Line>> {
        self.line.load_full()
    }

    /// Whether the line stands as far as is known.
    pub fn is_up(&self) -> bool {
        self.line.load().is_some()
    }

    /// How often it could not be used.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// A use of `line` has failed. A line that was cut may only be old (the server was started anew): it is renewed at once, and the use may
    /// be repeated on the new one. `None`: it is down.
    pub async fn renewed(&self, line: &Arc<Line>, error: &redis::RedisError) -> Option<Arc<Line>> {
        if !error.is_connection_dropped() {
            self.failed(line, error);
            return None;
        }
        let _one = self.renewing.lock().await;
        let current = self.line()?;
        if !Arc::ptr_eq(&current, line) {
            return Some(current);
        }
        match timeout(RENEW_MAX, self.try_connect()).await {
            Ok(Ok(new)) => {
                self.failures.fetch_add(1, Relaxed);
                let new = Arc::new(new);
                self.line.store(Some(new.clone()));
                Some(new)
            }
            Ok(Err(why)) => {
                self.failed(line, &why);
                None
            }
            Err(_) => {
                self.failed(line, error);
                None
            }
        }
    }

    /// A use of `line` has failed: nobody uses it any more.
    pub fn failed(&self, line: &Arc<Line>, error: &redis::RedisError) {
        self.failures.fetch_add(1, Relaxed);
        let current = self.line.load();
        // One that was made since then is another.
        if current.as_ref().is_some_and(|c| Arc::ptr_eq(c, line)) {
            self.line.compare_and_swap(&*current, None);
            self.report(error);
            self.failed.notify_one();
        }
    }

    /// Asks, and once more on a new line where the old one was only cut. `None`: it cannot be asked now, or refuses.
    pub(crate) async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Option<T> {
        let mut line = self.line()?;
        let mut answer = command.query_async(&mut line.0.clone()).await;
        if let Err(error) = &answer {
            // A refusal in words, as of a full memory, says nothing of the line.
            if !(error.is_io_error() || error.is_timeout() || error.is_connection_dropped()) {
                self.failures.fetch_add(1, Relaxed);
                tracing::debug!(%error, "Redis refuses");
                return None;
            }
            line = self.renewed(&line, error).await?;
            answer = command.query_async(&mut line.0.clone()).await;
        }
        answer.inspect_err(|error| self.failed(&line, error)).ok()
    }

    /// Says once that it is down.
    fn report(&self, error: &redis::RedisError) {
        if !self.is_reported.swap(true, Relaxed) {
            tracing::warn!(%error, "Redis cannot be used: this router counts and remembers alone until it is back");
        }
    }

    async fn try_connect(&self) -> Result<Line, redis::RedisError> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_MAX)).set_response_timeout(Some(ANSWER_MAX));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        probe(&mut connection).await?;
        Ok(Line(connection))
    }
}

async fn probe(connection: &mut MultiplexedConnection) -> Result<(), redis::RedisError> {
    redis::cmd("SET").arg(PROBE_KEY).arg(1).arg("PX").arg(1000).query_async(connection).await
}
