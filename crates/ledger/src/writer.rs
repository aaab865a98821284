use std::{
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, SeqCst},
            fence,
        },
    },
    thread,
    time::Duration,
};

use store::{Store, StoreError, requests::Row};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{BATCH_ROWS_MAX, QUEUE_ROWS_MAX, Recorder, WRITE_INTERVAL, recorder::Shared};

/// Pauses between tries of a write that the database refuses for now; doubles each time.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// What went wrong with the ledger itself.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The operating system gives no thread or no runtime: the program can't start.
    #[error("the ledger's thread can't be started: {0}")]
    Thread(#[source] std::io::Error),
    /// The database took not all rows in time; they are lost.
    #[error("{rows} request records were not written before the end")]
    Unwritten { rows: u64 },
}

/// The writer behind a [`Recorder`]. Close it at the end of the program, or the last rows are lost.
#[derive(Debug)]
pub struct Ledger<R> {
    recorder: Recorder<R>,
    /// Accepted rows that are over; its sender is gone when the writer has ended.
    done: watch::Receiver<u64>,
}

impl<R: Into<Row> + Send + 'static> Ledger<R> {
    /// Starts the writer.
    ///
    /// # Errors
    /// [`LedgerError::Thread`].
    pub fn start(store: Store) -> Result<Self, LedgerError> {
        Self::with_queue(store, QUEUE_ROWS_MAX)
    }

    fn with_queue(store: Store, rows_max: usize) -> Result<Self, LedgerError> {
        let (queue, rows) = mpsc::channel(rows_max);
        let recorder = Recorder::new(queue);
        let (progress, done) = watch::channel(0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LedgerError::Thread)?;
        let writer = Writer { store, rows, shared: recorder.shared.clone(), progress, batch: Vec::with_capacity(BATCH_ROWS_MAX) };
        thread::Builder::new().name("ledger".to_owned()).spawn(move || runtime.block_on(writer.run())).map_err(LedgerError::Thread)?;
        Ok(Self { recorder, done })
    }

    /// The end that the request path holds.
    pub fn recorder(&self) -> Recorder<R> {
        self.recorder.clone()
    }

    /// Waits until all rows that were recorded before this call are written (or lost).
    pub async fn flush(&self) {
        let shared = &self.recorder.shared;
        let wanted = shared.accepted.load(SeqCst);
        shared.hurry.notify_one();
        // An error means that the writer has ended: nothing is left to wait for.
        let _ = self.done.clone().wait_for(|done| *done >= wanted).await;
    }

    /// Takes no more rows, writes those that are there, and ends. After `limit` the rest is given up.
    ///
    /// # Errors
    /// [`LedgerError::Unwritten`] says how many rows were given up.
    pub async fn close(self, limit: Duration) -> Result<(), LedgerError> {
        let shared = self.recorder.shared.clone();
        shared.stopping.store(true, SeqCst);
        shared.wake.notify_one();
        shared.hurry.notify_one();
        let mut done = self.done.clone();
        let ended = timeout(limit, async { while done.changed().await.is_ok() {} }).await;
        if ended.is_err() {
            shared.giving_up.store(true, SeqCst);
            shared.hurry.notify_one();
        }
        match shared.accepted.load(SeqCst).saturating_sub(shared.written.load(SeqCst)) {
            0 => Ok(()),
            rows => Err(LedgerError::Unwritten { rows }),
        }
    }
}

impl<R> Drop for Ledger<R> {
    /// Without a call of [`Ledger::close`] the thread still writes what it can and ends; nobody waits for it.
    fn drop(&mut self) {
        let shared = &self.recorder.shared;
        shared.stopping.store(true, SeqCst);
        shared.wake.notify_one();
        shared.hurry.notify_one();
    }
}

struct Writer<R> {
    store: Store,
    rows: mpsc::Receiver<R>,
    shared: Arc<Shared>,
    progress: watch::Sender<u64>,
    /// Taken from the queue and not written yet.
    batch: Vec<Row>,
}

impl<R: Into<Row>> Writer<R> {
    async fn run(mut self) {
        loop {
            if self.shared.stopping.load(SeqCst) {
                self.rows.close();
            }
            while self.batch.len() < BATCH_ROWS_MAX
                && let Ok(row) = self.rows.try_recv()
            {
                self.batch.push(row.into());
            }
            let full = self.batch.len() == BATCH_ROWS_MAX;
            if self.batch.is_empty() {
                if self.rows.is_closed() {
                    return;
                }
                self.sleep().await;
            } else {
                self.write().await;
                self.batch.clear();
                self.progress.send_replace(self.shared.done());
            }
            if !full && !self.shared.stopping.load(SeqCst) {
                // Lets more rows come together, unless somebody waits for these.
                let _ = timeout(WRITE_INTERVAL, self.shared.hurry.notified()).await;
            }
        }
    }

    /// Waits for the first row.
    async fn sleep(&self) {
        self.shared.asleep.store(true, Relaxed);
        // Pairs with the recorder's fence.
        fence(SeqCst);
        if self.rows.is_empty() && !self.shared.stopping.load(SeqCst) {
            self.shared.wake.notified().await;
        }
        self.shared.asleep.store(false, Relaxed);
    }

    /// Writes the batch, however long it takes.
    async fn write(&mut self) {
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            match store::requests::insert(&self.store, &self.batch).await {
                Ok(()) => {
                    self.count(&self.shared.written);
                    return;
                }
                Err(error) if !error.is_transient() => {
                    self.write_singly(&error).await;
                    return;
                }
                Err(error) => {
                    if self.shared.giving_up.load(SeqCst) {
                        self.count(&self.shared.unwritable);
                        return;
                    }
                    if pause == RETRY_PAUSE_MIN || pause == RETRY_PAUSE_MAX {
                        tracing::warn!(%error, rows = self.batch.len(), "request records wait for the database");
                    }
                    self.shared.retries.fetch_add(1, Relaxed);
                    let _ = timeout(pause, self.shared.hurry.notified()).await;
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
            }
        }
    }

    fn count(&self, counter: &AtomicU64) {
        counter.fetch_add(self.batch.len() as u64, Relaxed);
    }

    /// One row that the database will never take must not cost its neighbours.
    async fn write_singly(&mut self, error: &StoreError) {
        tracing::error!(%error, "a request record can't be written");
        for row in std::mem::take(&mut self.batch) {
            let written = store::requests::insert(&self.store, std::slice::from_ref(&row)).await;
            let counter = if written.is_ok() { &self.shared.written } else { &self.shared.unwritable };
            counter.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use store::requests;

    use super::*;

    async fn store() -> (tempfile::TempDir, Store) {
        let home = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open("", home.path()).await.expect("a new database");
        (home, store)
    }

    fn row(n: usize) -> Row {
        Row { id: format!("request-{n}").into(), started_at_ms: n as i64, outcome: "success".into(), ..Row::default() }
    }

    #[tokio::test]
    async fn rows_arrive_in_order_and_are_counted() {
        let (_home, store) = store().await;
        let ledger = Ledger::start(store.clone()).expect("a thread");
        let recorder = ledger.recorder();
        (0..1000).for_each(|n| recorder.record(row(n)));
        ledger.flush().await;
        assert_eq!(recorder.stats(), crate::Stats { written: 1000, ..Default::default() });
        let newest = requests::recent(&store, &requests::Filter { limit: 2, ..Default::default() }).await.expect("rows");
        assert_eq!(newest.iter().map(|s| s.row.id.as_str()).collect::<Vec<_>>(), ["request-999", "request-998"]);
    }

    #[tokio::test]
    async fn the_writer_wakes_up_again_and_again() {
        let (_home, store) = store().await;
        let ledger = Ledger::start(store.clone()).expect("a thread");
        for n in 0..20 {
            ledger.recorder().record(row(n));
            ledger.flush().await;
        }
        assert_eq!(requests::count(&store).await.expect("a count"), 20);
    }

    #[tokio::test]
    async fn closing_writes_what_is_there_and_takes_nothing_more() {
        let (_home, store) = store().await;
        let ledger = Ledger::start(store.clone()).expect("a thread");
        let recorder = ledger.recorder();
        (0..700).for_each(|n| recorder.record(row(n)));
        ledger.close(Duration::from_mins(1)).await.expect("all written");
        assert_eq!(requests::count(&store).await.expect("a count"), 700);
        recorder.record(row(700));
        assert_eq!(recorder.stats().lost, 1);
    }

    #[tokio::test]
    async fn a_full_queue_turns_rows_away_and_never_blocks() {
        let (_home, store) = store().await;
        let ledger = Ledger::with_queue(store.clone(), 8).expect("a thread");
        let recorder = ledger.recorder();
        let held = store.hold_writes().await;
        (0..2000).for_each(|n| recorder.record(row(n)));
        let stats = recorder.stats();
        assert_eq!(stats.lost + stats.waiting, 2000);
        assert!(stats.waiting <= (8 + BATCH_ROWS_MAX) as u64, "memory is bounded: {stats:?}");
        drop(held);
        ledger.flush().await;
        assert_eq!(requests::count(&store).await.expect("a count"), stats.waiting, "what was accepted is written");
    }

    #[tokio::test]
    async fn a_full_disk_delays_rows_and_loses_none() {
        let (_home, store) = store().await;
        let ledger = Ledger::start(store.clone()).expect("a thread");
        let recorder = ledger.recorder();
        store.limit_size(1).await;
        (0..600).for_each(|n| recorder.record(row(n)));
        while recorder.stats().retries == 0 {
            tokio::task::yield_now().await;
        }
        store.limit_size(u32::MAX - 1).await;
        ledger.flush().await;
        assert_eq!(requests::count(&store).await.expect("a count"), 600);
        assert_eq!(recorder.stats().lost, 0);
    }

    #[tokio::test]
    async fn a_disk_that_stays_full_does_not_keep_the_program_from_ending() {
        let (_home, store) = store().await;
        let ledger = Ledger::start(store.clone()).expect("a thread");
        store.limit_size(1).await;
        (0..600).for_each(|n| ledger.recorder().record(row(n)));
        match ledger.close(Duration::from_millis(1)).await {
            Err(LedgerError::Unwritten { rows }) => assert!(rows > 0 && rows <= 600, "{rows}"),
            other => panic!("{other:?}"),
        }
    }
}
