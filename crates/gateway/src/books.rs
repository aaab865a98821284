//! The books: records of requests on their way into the store, and who may look something up in them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use config::{Config, config::History};
use journey::Room;
use ledger::{Ledger, LedgerError, Recorder};
use store::{Store, StoreError, history::Search};
use telemetry::metrics::Metrics;
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::timeout,
};

use crate::{admin::history::live::TAILS_MAX, settle::Settled, snapshot::House};

/// For the texts of requests that run or wait to be written down.
pub static ROOM: Room = Room::new(128 << 20);

/// The file below the data directory in which records wait for the database.
const SPILL_FILE: &str = "requests.spill";

/// How often records that are too old are looked for, and how many are removed at once.
pub const PURGE_INTERVAL: Duration = Duration::from_mins(5);
pub const PURGE_ROWS: u32 = 100;

/// Records that are removed between two looks at how large the database is.
const ROOM_ROWS: u32 = 1000;

/// What the database may keep free for what comes next.
const FREE_BYTES_MAX: u64 = 64 << 20;

/// How long an answer waits for records to be stored.
const FLUSH_TIME_MAX: Duration = Duration::from_millis(200);

/// How long a stop waits for the last records: longer than the database waits for another process that writes, so that what it does not take
/// then gets into the file.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(10);

/// Searches of texts at once.
const TEXT_SEARCHES_MAX: usize = 2;

/// Records of requests, from their end until they are stored.
pub struct Books {
    store: Store,
    ledger: Mutex<Option<Ledger<Settled>>>,
    /// Where receipts become records.
    pub recorder: Recorder<Settled>,
    /// The number of the newest record that is stored.
    pub newest: watch::Receiver<i64>,
    /// Places to listen to new records.
    pub tails: Arc<Semaphore>,
    searches: Semaphore,
}

impl Books {
    /// Opens them. `house`: the snapshot of the instant in which a record is made.
    ///
    /// # Errors
    /// [`LedgerError::Thread`].
    pub fn open(store: &Store, config: &Config, house: Arc<ArcSwap<House>>) -> Result<Self, LedgerError> {
        let spill = config.server.data_dir.join(SPILL_FILE);
        let ledger = Ledger::start(store.clone(), spill, move |settled: Settled| {
            let house = house.load();
            (settled.row(&house), settled.bodies(&house))
        })?;
        Ok(Self {
            store: store.clone(),
            recorder: ledger.recorder(),
            newest: ledger.newest(),
            ledger: Mutex::new(Some(ledger)),
            tails: Arc::new(Semaphore::new(TAILS_MAX)),
            searches: Semaphore::new(TEXT_SEARCHES_MAX),
        })
    }

    /// Waits until the records of requests that are over by now are stored; where the database takes none, not for long.
    pub async fn settled(&self) {
        let flush = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Ledger::flush);
        if let Some(flush) = flush {
            let _ = timeout(FLUSH_TIME_MAX, flush).await;
        }
    }

    /// A turn to look for a text, where one is looked for: those are so much to read that others would have to wait.
    pub async fn turn(&self, search: &Search) -> Option<SemaphorePermit<'_>> {
        match search.text {
            Some(_) => self.searches.acquire().await.ok(),
            None => None,
        }
    }

    /// Brings their counts to where others see them.
    pub fn show(&self, metrics: &Metrics) {
        let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let stats = self.recorder.stats();
        metrics.pending_rows.set(gauge(stats.waiting));
        metrics.spilled_rows.set(gauge(stats.spilled));
        metrics.body_bytes.set(gauge(ROOM.bytes() as u64));
        let left_out = ROOM.left_out() + stats.textless;
        metrics.bodies_left_out.inc_by(left_out.saturating_sub(metrics.bodies_left_out.get()));
        let lost = stats.lost.saturating_sub(metrics.dropped_rows.get());
        metrics.dropped_rows.inc_by(lost);
        if lost > 0 {
            tracing::error!(rows = lost, "request records were lost: they could neither be stored nor spilled");
        }
    }

    /// Removes records that are older than they are kept, and the oldest of those for which there is no room; gives back what nobody needs.
    pub async fn purge(&self, history: &History) {
        let retention_ms = i64::try_from(history.retention.as_millis()).unwrap_or(i64::MAX);
        match store::requests::purge(&self.store, store::now_ms().saturating_sub(retention_ms), PURGE_ROWS).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "old request records were removed"),
            Err(error) => tracing::warn!(%error, "old request records can't be removed"),
        }
        if let Err(error) = store::sums::forget_names(&self.store).await {
            tracing::warn!(%error, "names of models that nobody served can't be forgotten");
        }
        match make_room(&self.store, history.size_max).await {
            Ok(0) => {}
            Ok(rows) => tracing::warn!(
                rows,
                size_max = history.size_max,
                "database and texts were larger than `history.size_max`: the oldest request records were removed"
            ),
            Err(error) => tracing::warn!(%error, "the database can't be made smaller"),
        }
    }

    /// Takes nothing more, and stores or spills the rest.
    pub async fn close(&self) {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ledger) = ledger
            && let Err(error) = ledger.close(CLOSE_TIME_MAX).await
        {
            tracing::error!(%error, "request records were lost at the end");
        }
    }
}

/// Removes the oldest records with their texts until database and texts take no more than this; gives how many. What is free and not soon
/// needed goes back to the disk.
async fn make_room(store: &Store, size_max: u64) -> Result<u64, StoreError> {
    let mut removed = 0;
    let mut room = store.room().await?;
    // Once it is too large it becomes a little smaller than it may be, or it would be too large again at once.
    let wanted = if room.used() > size_max { size_max - size_max / 20 } else { u64::MAX };
    while room.used() > wanted {
        let Some(before_ms) = store::requests::start_after_oldest(store, ROOM_ROWS).await? else { break };
        removed += store::requests::purge(store, before_ms, PURGE_ROWS).await?;
        room = store.room().await?;
    }
    if room.free > FREE_BYTES_MAX.max((room.total - room.free) / 4) {
        store.give_back(FREE_BYTES_MAX).await?;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use store::{
        bodies::{Appender, Bodies},
        requests::{self, Row},
    };

    use super::*;

    /// A database of so many records, each in its own second, a quarter of them with a text of 4 kB; `ROOM_ROWS` in a file.
    async fn filled(rows: i64) -> (tempfile::TempDir, Store) {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open("", home.path()).await.unwrap();
        for first in (0..rows).step_by(ROOM_ROWS as usize) {
            let mut texts = Appender::new(&store);
            let mut row = |n: i64| {
                let text = Bodies { request: Some("x".repeat(4096)), ..Bodies::default() };
                let bodies = (n % 4 == 0).then(|| texts.add(&text).unwrap());
                Row {
                    id: format!("r{n}").into(),
                    started_at_ms: n * 1000,
                    bodies,
                    decision: Some("y".repeat(500).into()),
                    ..Row::default()
                }
            };
            let batch: Vec<_> = (first..first + i64::from(ROOM_ROWS)).map(&mut row).collect();
            texts.flush().unwrap();
            requests::insert(&store, &batch).await.unwrap();
        }
        (home, store)
    }

    #[tokio::test]
    async fn the_oldest_records_go_where_there_is_no_room_with_their_texts() {
        let (_home, store) = filled(5000).await;
        let full = store.room().await.unwrap();
        assert!(full.texts > 5000 / 4 * 4096, "{full:?}");
        assert_eq!(make_room(&store, full.used()).await.unwrap(), 0, "it may be as large as that");
        assert_eq!(store.room().await.unwrap(), full);

        let removed = make_room(&store, full.used() / 2).await.unwrap();
        let small = store.room().await.unwrap();
        assert!(small.used() <= full.used() / 2, "{full:?} {small:?}");
        assert!(small.texts <= full.texts / 2, "{full:?} {small:?}");
        assert!((2000..4000).contains(&removed), "{removed}");
        assert_eq!(requests::count(&store).await.unwrap(), 5000 - removed);
        let is_there = async |n: u64| requests::get(&store, &format!("r{n}")).await.unwrap().is_some();
        assert_eq!((is_there(removed - 1).await, is_there(removed).await), (false, true), "the oldest {removed} went");
        assert_eq!(make_room(&store, full.used() / 2).await.unwrap(), 0, "nothing more is too much");
    }

    #[tokio::test]
    async fn what_never_fits_costs_all_records_and_no_more() {
        let (_home, store) = filled(2000).await;
        assert_eq!(make_room(&store, 1).await.unwrap(), 2000);
        assert_eq!(store.room().await.unwrap().texts, 0);
        assert_eq!(make_room(&store, 1).await.unwrap(), 0, "and it ends");
    }
}
