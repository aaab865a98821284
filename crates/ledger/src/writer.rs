use std::{
    path::PathBuf,
    pin::pin,
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

use store::{
    Store, StoreError,
    bodies::{Appender, Bodies},
    requests::{Mark, Row, insert, insert_marked},
};
use telemetry::background;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};

use crate::{
    BATCH_ROWS_MAX, QUEUE_ROWS_MAX, Recorder, WRITE_INTERVAL,
    intake::Intake,
    recorder::Shared,
    spill::{self, Page, Spill},
};

/// Pauses between tries of a write that the database refuses for now; doubles each time.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often a write that is not done yet is left for the rows that come meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What went wrong with the ledger itself.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The operating system gives no thread or no runtime: the program can't start.
    #[error("the ledger's thread can't be started: {0}")]
    Thread(#[source] std::io::Error),
    /// Neither the database nor the spill file took all rows in time; they are lost.
    #[error("{rows} request records were not written before the end")]
    Unwritten { rows: u64 },
}

/// The writer behind a [`Recorder`]. Close it at the end of the program, or the last rows are lost.
#[derive(Debug)]
pub struct Ledger<R> {
    recorder: Recorder<R>,
    /// Accepted rows that are over; its sender is gone when the writer has ended.
    done: watch::Receiver<u64>,
    newest: watch::Receiver<i64>,
}

impl<R: Send + 'static> Ledger<R> {
    /// Starts the writer. `spill` is the file in which rows wait while the database does not take them, or not fast enough; those that an
    /// earlier process has left there are stored now. `make` makes a row of what was recorded, and its texts, on the writer's thread.
    ///
    /// # Errors
    /// [`LedgerError::Thread`].
    pub fn start(store: Store, spill: PathBuf, make: impl FnMut(R) -> (Row, Option<Bodies>) + Send + 'static) -> Result<Self, LedgerError> {
        Self::with_queue(store, spill, QUEUE_ROWS_MAX, make)
    }

    fn with_queue(
        store: Store,
        spill: PathBuf,
        rows_max: usize,
        make: impl FnMut(R) -> (Row, Option<Bodies>) + Send + 'static,
    ) -> Result<Self, LedgerError> {
        let (queue, rows) = mpsc::channel(rows_max);
        let recorder = Recorder::new(queue);
        let (progress, done) = watch::channel(0);
        let (tail, newest) = watch::channel(0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LedgerError::Thread)?;
        let shared = recorder.shared.clone();
        let writer = Writer {
            inbox: Inbox {
                intake: Intake::new(rows, make, Appender::new(&store), shared.clone()),
                spill: Spill::none(spill),
                held: Vec::new(),
                behind_rows: rows_max / 2,
                shared: shared.clone(),
            },
            store,
            shared,
            progress,
            tail,
            batch: Vec::with_capacity(BATCH_ROWS_MAX),
            pause: RETRY_PAUSE_MIN,
            away_until: None,
        };
        let write = move || {
            background::step_back();
            runtime.block_on(writer.run());
        };
        thread::Builder::new().name("ledger".to_owned()).spawn(write).map_err(LedgerError::Thread)?;
        Ok(Self { recorder, done, newest })
    }

    /// The end that the request path holds.
    pub fn recorder(&self) -> Recorder<R> {
        self.recorder.clone()
    }

    /// The number of the newest row in the database ([`store::requests::Stored::seq`]), 0 before the first: changes whenever rows were
    /// written, and costs the request path nothing.
    pub fn newest(&self) -> watch::Receiver<i64> {
        self.newest.clone()
    }

    /// Waits until all rows that were recorded before this call are written (or lost).
    pub fn flush(&self) -> impl Future<Output = ()> + Send + use<R> {
        let shared = self.recorder.shared.clone();
        let mut done = self.done.clone();
        let wanted = shared.accepted.load(SeqCst);
        async move {
            shared.hurry.notify_one();
            // An error means that the writer has ended: nothing is left to wait for.
            let _ = done.wait_for(|done| *done >= wanted).await;
        }
    }

    /// Takes no more rows, writes those that are there, and ends. After `limit` the rest is left to the spill file, or given up.
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
        let safe = shared.written.load(SeqCst) + shared.spilled.load(SeqCst);
        match shared.accepted.load(SeqCst).saturating_sub(safe) {
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

struct Writer<R, F> {
    store: Store,
    inbox: Inbox<R, F>,
    shared: Arc<Shared>,
    progress: watch::Sender<u64>,
    tail: watch::Sender<i64>,
    /// Taken from the queue and not written yet.
    batch: Vec<Row>,
    pause: Duration,
    /// The database takes nothing; it is asked again then.
    away_until: Option<Instant>,
}

/// Where rows come from, and where they wait while the database does not take them.
struct Inbox<R, F> {
    intake: Intake<R, F>,
    spill: Spill,
    /// Taken from the queue for the file, which did not take them.
    held: Vec<Row>,
    /// Rows that wait when the database is too slow for them.
    behind_rows: usize,
    shared: Arc<Shared>,
}

impl<R, F: FnMut(R) -> (Row, Option<Bodies>)> Inbox<R, F> {
    /// The next batch. True: there may be more.
    fn gather(&mut self, batch: &mut Vec<Row>) -> bool {
        if self.held.is_empty() {
            return self.intake.gather(batch);
        }
        batch.append(&mut self.held);
        true
    }

    fn is_behind(&self) -> bool {
        self.intake.rows() > self.behind_rows
    }

    /// Puts rows into the file. False: it takes nothing either.
    fn spill(&mut self, rows: &[Row]) -> bool {
        match self.spill.append(rows) {
            Ok(()) => {
                count(&self.shared.spilled, rows.len());
                true
            }
            Err(error) => {
                if !self.shared.stuck.load(Relaxed) {
                    tracing::error!(%error, path = %self.spill.path().display(), "request records can't be spilled; those that find the queue full are lost");
                }
                false
            }
        }
    }

    /// Waits for a write. On a core that is never idle that may take long: rows that come in great number meanwhile go into the file.
    async fn during<T>(&mut self, write: impl Future<Output = T>) -> T {
        let mut write = pin!(write);
        loop {
            if let Ok(done) = timeout(LOOK_INTERVAL, write.as_mut()).await {
                return done;
            }
            while self.is_behind() && self.held.is_empty() {
                let mut rows = Vec::new();
                self.intake.gather(&mut rows);
                if !self.spill(&rows) {
                    self.held = rows;
                }
            }
        }
    }
}

impl<R, F: FnMut(R) -> (Row, Option<Bodies>)> Writer<R, F> {
    async fn run(mut self) {
        self.take_up().await;
        loop {
            if self.shared.stopping.load(SeqCst) {
                self.inbox.intake.close();
            }
            let is_full = self.inbox.gather(&mut self.batch);
            let had_rows = !self.batch.is_empty();
            if had_rows {
                self.put_away().await;
                self.batch.clear();
            }
            let drains = self.may_drain();
            if drains {
                self.drain().await;
            } else if !had_rows {
                if self.inbox.intake.is_closed() {
                    return;
                }
                self.sleep().await;
            }
            self.progress.send_replace(self.shared.done());
            if !is_full && !drains && !self.shared.stopping.load(SeqCst) {
                // Lets more rows come together, unless somebody waits for these.
                let _ = timeout(WRITE_INTERVAL, self.shared.hurry.notified()).await;
            }
        }
    }

    /// The rows that an earlier process has left.
    async fn take_up(&mut self) {
        let path = self.inbox.spill.path().to_owned();
        match Spill::open(path, &self.store).await {
            Ok(spill) => self.inbox.spill = spill,
            Err(error) => {
                tracing::error!(%error, path = %self.inbox.spill.path().display(), "what is left of the spill file of request records can't be read; it is set aside");
                self.inbox.spill.set_aside();
            }
        }
    }

    /// Waits for the first row, or until the database is asked again for those that wait in the file.
    async fn sleep(&self) {
        self.shared.asleep.store(true, Relaxed);
        // Pairs with the recorder's fence.
        fence(SeqCst);
        if self.inbox.intake.rows() == 0 && !self.shared.stopping.load(SeqCst) {
            match self.away_until {
                Some(until) if !self.inbox.spill.is_empty() => drop(tokio::time::timeout_at(until, self.shared.wake.notified()).await),
                _ => self.shared.wake.notified().await,
            }
        }
        self.shared.asleep.store(false, Relaxed);
    }

    fn is_away(&self) -> bool {
        self.away_until.is_some_and(|until| Instant::now() < until)
    }

    fn may_drain(&self) -> bool {
        !self.inbox.spill.is_empty() && !self.is_away() && !self.inbox.is_behind() && !self.shared.giving_up.load(SeqCst)
    }

    /// Brings the batch to the database, or into the file, however long it takes.
    async fn put_away(&mut self) {
        if (self.is_away() || self.inbox.is_behind()) && self.inbox.spill(&self.batch) {
            return;
        }
        loop {
            match self.inbox.during(insert(&self.store, &self.batch)).await {
                Ok(first) => {
                    self.stored(first, self.batch.len());
                    count(&self.shared.written, self.batch.len());
                    break;
                }
                Err(error) if !error.is_transient() => {
                    self.write_singly(&error).await;
                    break;
                }
                Err(error) => self.went_away(&error),
            }
            if self.inbox.spill(&self.batch) {
                break;
            }
            if self.shared.giving_up.load(SeqCst) {
                count(&self.shared.unwritable, self.batch.len());
                break;
            }
            self.shared.stuck.store(true, Relaxed);
            let _ = timeout(self.pause, self.shared.hurry.notified()).await;
        }
        self.shared.stuck.store(false, Relaxed);
    }

    fn stored(&mut self, first: i64, rows: usize) {
        if self.away_until.take().is_some() {
            self.shared.away.store(false, Relaxed);
            tracing::info!("request records are written again");
            self.pause = RETRY_PAUSE_MIN;
        }
        if rows > 0 {
            self.tail.send_replace(first + rows as i64 - 1);
        }
    }

    fn went_away(&mut self, error: &StoreError) {
        if self.away_until.is_none() || self.pause == RETRY_PAUSE_MAX {
            tracing::warn!(%error, rows = self.batch.len(), "request records wait for the database");
        }
        if self.away_until.is_some() {
            self.pause = (self.pause * 2).min(RETRY_PAUSE_MAX);
        }
        self.shared.retries.fetch_add(1, Relaxed);
        self.shared.away.store(true, Relaxed);
        self.away_until = Some(Instant::now() + self.pause);
    }

    /// One row that the database will never take must not cost its neighbours.
    async fn write_singly(&mut self, error: &StoreError) {
        tracing::error!(%error, "a request record can't be written");
        for row in std::mem::take(&mut self.batch) {
            let counter = match insert(&self.store, std::slice::from_ref(&row)).await {
                Ok(first) => {
                    self.stored(first, 1);
                    &self.shared.written
                }
                Err(_) => &self.shared.unwritable,
            };
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Brings a page of the file to the database.
    async fn drain(&mut self) {
        let page = match self.inbox.spill.next() {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(%error, path = %self.inbox.spill.path().display(), "spilled request records can't be read; the file is set aside");
                let own = self.shared.spilled.swap(0, SeqCst);
                self.shared.unwritable.fetch_add(own, SeqCst);
                self.inbox.spill.set_aside();
                return;
            }
        };
        let value = self.inbox.spill.mark(&page);
        let mark = Some(Mark { name: spill::MARK, value: &value });
        let lost = match self.inbox.during(insert_marked(&self.store, &page.rows, mark)).await {
            Ok(first) => {
                self.stored(first, page.rows.len());
                0
            }
            Err(error) if error.is_transient() => return self.went_away(&error),
            Err(error) => {
                tracing::error!(%error, "a spilled request record can't be written");
                self.drain_singly(&page, mark).await
            }
        };
        let own = page.own + page.damaged_own;
        let lost_own = lost.min(page.own) + page.damaged_own;
        self.shared.written.fetch_add(own - lost_own, SeqCst);
        self.shared.unwritable.fetch_add(lost_own, SeqCst);
        self.shared.spilled.fetch_sub(own, SeqCst);
        if page.damaged > 0 {
            tracing::error!(lines = page.damaged, "spilled request records can't be read");
        }
        self.inbox.spill.took(&page);
    }

    /// Stores what can be stored of a page; gives how many rows could not.
    async fn drain_singly(&mut self, page: &Page, mark: Option<Mark<'_>>) -> u64 {
        let mut lost = 0;
        for row in &page.rows {
            match insert(&self.store, std::slice::from_ref(row)).await {
                Ok(first) => self.stored(first, 1),
                Err(_) => lost += 1,
            }
        }
        if let Err(error) = insert_marked(&self.store, &[], mark).await {
            tracing::error!(%error, "how far the spill file was taken out can't be stored");
        }
        lost
    }
}

fn count(counter: &AtomicU64, rows: usize) {
    counter.fetch_add(rows as u64, SeqCst);
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

    fn spill(store: &Store) -> PathBuf {
        store.path().with_extension("spill")
    }

    fn start(store: &Store) -> Result<Ledger<Row>, LedgerError> {
        Ledger::start(store.clone(), spill(store), |row| (row, None))
    }

    fn row(n: usize) -> Row {
        Row { id: format!("request-{n}").into(), started_at_ms: n as i64, outcome: "success".into(), ..Row::default() }
    }

    #[tokio::test]
    async fn rows_arrive_in_order_and_are_counted() {
        let (_home, store) = store().await;
        let ledger = start(&store).expect("a thread");
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
        let ledger = start(&store).expect("a thread");
        for n in 0..20 {
            ledger.recorder().record(row(n));
            ledger.flush().await;
        }
        assert_eq!(requests::count(&store).await.expect("a count"), 20);
    }

    #[tokio::test]
    async fn closing_writes_what_is_there_and_takes_nothing_more() {
        let (_home, store) = store().await;
        let ledger = start(&store).expect("a thread");
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
        let ledger = Ledger::with_queue(store.clone(), spill(&store), 8, |row| (row, None)).expect("a thread");
        let recorder = ledger.recorder();
        let held = store.hold_writes().await;
        (0..2000).for_each(|n| recorder.record(row(n)));
        let stats = recorder.stats();
        assert_eq!(stats.lost + stats.waiting, 2000);
        assert!(stats.waiting <= (8 + BATCH_ROWS_MAX) as u64 + stats.spilled, "memory is bounded: {stats:?}");
        drop(held);
        ledger.flush().await;
        assert_eq!(requests::count(&store).await.expect("a count"), stats.waiting, "what was accepted is written");
    }

    #[tokio::test]
    async fn a_full_disk_delays_rows_and_loses_none() {
        let (_home, store) = store().await;
        let ledger = start(&store).expect("a thread");
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
    async fn rows_wait_in_a_file_while_the_database_takes_none() {
        let (_home, store) = store().await;
        let ledger = start(&store).expect("a thread");
        let recorder = ledger.recorder();
        store.limit_size(1).await;
        (0..3000).for_each(|n| recorder.record(row(n)));
        ledger.close(Duration::from_mins(1)).await.expect("in the file");
        assert!(spill(&store).exists());
        assert!(requests::count(&store).await.expect("a count") < 3000);
        store.limit_size(1 << 30).await;
        let again = start(&store).expect("a thread");
        let mut newest = again.newest();
        newest.wait_for(|seq| *seq == 3000).await.expect("all rows");
        again.close(Duration::from_mins(1)).await.expect("nothing left");
        assert_eq!(requests::count(&store).await.expect("a count"), 3000);
        assert!(!spill(&store).exists());
    }

    #[tokio::test]
    async fn a_disk_and_a_file_that_stay_full_do_not_keep_the_program_from_ending() {
        let (home, store) = store().await;
        let nowhere = home.path().join("no such directory/spill");
        let ledger = Ledger::start(store.clone(), nowhere, |row: Row| (row, None)).expect("a thread");
        store.limit_size(1).await;
        (0..600).for_each(|n| ledger.recorder().record(row(n)));
        let recorder = ledger.recorder();
        while !recorder.is_stuck() {
            tokio::task::yield_now().await;
        }
        match ledger.close(Duration::from_millis(1)).await {
            Err(LedgerError::Unwritten { rows }) => assert!(rows > 0 && rows <= 600, "{rows}"),
            other => panic!("{other:?}"),
        }
    }
}
