use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io, mem,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sqlx::{
    Connection, Database, Sqlite, SqliteConnection, SqlitePool, Transaction,
    migrate::Migrator,
    query::Query,
    sqlite::{SqliteArguments, SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use sqlx_core::transaction::TransactionManager as _;
use telemetry::background;
use tokio::sync::{Mutex, MutexGuard, watch};

use crate::{StoreError, audit, facets, sums, watch as changes};

/// How long a statement waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that read: the control plane asks little, the request path asks nothing.
const READERS_MAX: u32 = 4;
/// How long a start waits for another process that opens the database, which may bring its schema up to date.
const TURN_WAIT: Duration = Duration::from_mins(1);
/// Pages of the write-ahead file (of 4 KiB) after which it is moved into the database: each move waits for the disk twice.
const CHECKPOINT_PAGES: u32 = 2048;
/// The write-ahead file is cut back to this size when it is emptied.
const JOURNAL_BYTES_MAX: &str = "67108864";

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

/// The open database. Cheap to clone; may be used from any runtime.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) writer: Mutex<Writer>,
    readers: SqlitePool,
    pub(crate) changes: watch::Sender<u64>,
    path: PathBuf,
}

/// Whether a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Survives a loss of power.
    Disk,
    /// Survives the end of the process.
    Process,
}

/// The one connection that writes.
pub(crate) struct Writer {
    pub(crate) connection: SqliteConnection,
    options: SqliteConnectOptions,
    durability: Durability,
    /// The commits of others that are known of.
    pub(crate) seen: i64,
    /// The highest number that a request record was given here.
    pub(crate) last_seq: i64,
    pub(crate) facets: facets::Known,
    pub(crate) behind: sums::Behind,
}

impl Writer {
    /// Begins a transaction that holds the write lock from its first moment, so that it can't fail half-way for want of it.
    pub(crate) async fn begin(&mut self) -> Result<Transaction<'_, Sqlite>, StoreError> {
        Ok(self.connection.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Where the disk is full SQLite ends a transaction by itself. Its connection does not hear of it and never begins another, so a new one takes
    /// its place.
    async fn revive(&mut self) -> Result<(), StoreError> {
        let is_inside = |connection: &SqliteConnection| <Sqlite as Database>::TransactionManager::get_transaction_depth(connection) > 0;
        if !is_inside(&self.connection) {
            return Ok(());
        }
        // A transaction that was dropped may be on its way back.
        sqlx::query("SELECT 1").execute(&mut self.connection).await?;
        if is_inside(&self.connection) {
            tracing::warn!("the connection that writes has lost its transaction: it is made anew");
            self.connection = SqliteConnection::connect_with(&self.options).await?;
            self.durability = Durability::Disk;
            step_back(&mut self.connection).await?;
        }
        Ok(())
    }

    async fn set(&mut self, durability: Durability) -> Result<(), StoreError> {
        if self.durability != durability {
            let statement = match durability {
                Durability::Disk => "PRAGMA synchronous = FULL",
                Durability::Process => "PRAGMA synchronous = NORMAL",
            };
            sqlx::query(statement).execute(&mut self.connection).await?;
            self.durability = durability;
        }
        Ok(())
    }
}

impl Store {
    /// Opens the database, makes it where it is missing (directories 0700, file 0600) and brings its schema up to date.
    ///
    /// `url`: `sqlite:PATH` or `sqlite://PATH`; a relative path counts from the working directory; empty means `router.db` in `data_dir`.
    /// Must be called inside a runtime: a task that watches for other processes' writes runs there as long as the store lives.
    ///
    /// # Errors
    /// [`StoreError::Address`] for another database, [`StoreError::NewerSchema`] for a later program's, [`StoreError::Open`] and
    /// [`StoreError::Unreadable`] where the file can't be used.
    pub async fn open(url: &str, data_dir: &Path) -> Result<Self, StoreError> {
        let path = database_path(url, data_dir)?;
        make_directory(data_dir)?;
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            make_directory(parent)?;
        }
        make_file(&path)?;
        let unreadable = |source| StoreError::Unreadable { path: path.clone(), source };
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(false)
            // Of a new database: what is free can be given back.
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .pragma("journal_size_limit", JOURNAL_BYTES_MAX)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string())
            .thread_name(|id| format!("store-{id}"));
        let turn = take_turn(&path).await?;
        let mut connection = SqliteConnection::connect_with(&options).await.map_err(unreadable)?;
        migrate(&mut connection, &path).await?;
        drop(turn);
        step_back(&mut connection).await.map_err(unreadable)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(step_back(connection)))
            .connect_with(options.clone().pragma("query_only", "ON"))
            .await
            .map_err(unreadable)?;
        let seen = changes::data_version(&mut connection).await?;
        let writer = Writer {
            connection,
            options,
            durability: Durability::Disk,
            seen,
            last_seq: 0,
            behind: sums::Behind::default(),
            facets: facets::Known::default(),
        };
        let writer = Mutex::new(writer);
        let inner = Arc::new(Inner { writer, readers, changes: watch::Sender::new(0), path });
        tokio::spawn(changes::watch(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    /// Rises when keys, users, nodes, models or meta may have changed: at once for this process's own writes, within 250 ms for another's.
    /// Request records and times of last use don't count. Take the receiver before the first read, and nothing is missed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Looks now whether another process has changed something: if so, [`Store::changes`] has risen when this returns.
    ///
    /// # Errors
    /// The database's.
    pub async fn look(&self) -> Result<(), StoreError> {
        changes::look(&self.inner).await
    }

    /// Where the database file is.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Whether the database answers: a read of its schema's version.
    ///
    /// # Errors
    /// What the database said.
    pub async fn check(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT count(*) FROM meta").execute(self.readers()).await?;
        Ok(())
    }

    /// Ends the connections; the last one moves the write-ahead file into the database. Later calls fail.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        let mut writer = self.inner.writer.lock().await;
        let emptied = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut writer.connection).await;
        if let Err(error) = emptied {
            tracing::debug!(%error, "the write-ahead file stays: the next start reads it");
        }
    }

    pub(crate) fn readers(&self) -> &SqlitePool {
        &self.inner.readers
    }

    pub(crate) async fn writer(&self, durability: Durability) -> Result<MutexGuard<'_, Writer>, StoreError> {
        let mut writer = self.inner.writer.lock().await;
        writer.revive().await?;
        writer.set(durability).await?;
        Ok(writer)
    }

    /// One statement of the control plane, with the audit row of the change that it is part of: on the disk when this returns. Gives the number of
    /// rows it touched.
    pub(crate) async fn execute(&self, query: Query<'_, Sqlite, SqliteArguments>) -> Result<u64, StoreError> {
        let mut writer = self.writer(Durability::Disk).await?;
        let rows = match audit::pending() {
            None => query.execute(&mut writer.connection).await?.rows_affected(),
            Some(trail) => {
                let mut transaction = writer.begin().await?;
                let rows = query.execute(&mut *transaction).await?.rows_affected();
                if rows > 0 {
                    trail.witness(&mut transaction).await?;
                }
                transaction.commit().await?;
                rows
            }
        };
        drop(writer);
        if rows > 0 {
            self.announce();
        }
        Ok(rows)
    }

    /// Tells whoever listens that something in the control plane changed.
    pub(crate) fn announce(&self) {
        self.inner.changes.send_modify(|n| *n += 1);
    }
}

/// SQLite runs on a thread of sqlx's own, which only a callback reaches: that puts it behind the path.
async fn step_back(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut is_behind = false;
    let once = move || {
        if !mem::replace(&mut is_behind, true) {
            background::step_back();
        }
        true
    };
    connection.lock_handle().await?.set_progress_handler(1, once);
    sqlx::query("SELECT 1").execute(&mut *connection).await?;
    connection.lock_handle().await?.remove_progress_handler();
    Ok(())
}

#[cfg(feature = "testing")]
impl Store {
    /// Lets nothing be written as long as the guard lives.
    pub async fn hold_writes(&self) -> impl Drop + Send + '_ {
        self.inner.writer.lock().await
    }

    /// Lets no other process write until [`Store::release`].
    ///
    /// # Panics
    /// Where the database can't be asked.
    pub async fn seize(&self) {
        let mut writer = self.inner.writer.lock().await;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut writer.connection).await.expect("nobody else writes for that long");
    }

    /// Lets others write again.
    ///
    /// # Panics
    /// Without [`Store::seize`] before.
    pub async fn release(&self) {
        let mut writer = self.inner.writer.lock().await;
        sqlx::query("ROLLBACK").execute(&mut writer.connection).await.expect("it was seized");
    }

    /// Lets no row come into a table any more.
    ///
    /// # Panics
    /// Where the database can't be asked.
    pub async fn refuse_rows_of(&self, table: &str) {
        let mut writer = self.inner.writer.lock().await;
        let trigger = format!("CREATE TRIGGER refused BEFORE INSERT ON {table} BEGIN SELECT raise(FAIL, 'refused'); END");
        sqlx::query(sqlx::AssertSqlSafe(trigger)).execute(&mut writer.connection).await.expect("a trigger that always works");
    }

    /// Makes the database as full as if the disk were: it may not grow beyond so many pages (what it has stays).
    ///
    /// # Panics
    /// Where the database can't be asked.
    pub async fn limit_size(&self, pages: u32) {
        let mut writer = self.inner.writer.lock().await;
        let statement = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
        sqlx::query(statement).execute(&mut writer.connection).await.expect("a pragma that always works");
    }
}

/// Whether a database address is one that this program stores at.
///
/// # Errors
/// [`StoreError::Address`]
pub fn check_address(url: &str, data_dir: &Path) -> Result<(), StoreError> {
    database_path(url, data_dir).map(drop)
}

/// The file behind a database address.
pub(crate) fn database_path(url: &str, data_dir: &Path) -> Result<PathBuf, StoreError> {
    if url.is_empty() {
        return Ok(data_dir.join("router.db"));
    }
    let scheme = url.split(':').next().unwrap_or_default();
    let Some(rest) = url.strip_prefix("sqlite:") else {
        return Err(StoreError::Address(match scheme {
            "postgres" | "postgresql" => "this build stores in SQLite only: give the database as sqlite:PATH".to_owned(),
            // Never the whole address: it may hold a password.
            _ => "the database address must look like sqlite:PATH".to_owned(),
        }));
    };
    let file = rest.strip_prefix("//").unwrap_or(rest).split('?').next().unwrap_or_default();
    if file.is_empty() || file.contains(":memory:") {
        return Err(StoreError::Address("the database must be a file: sqlite:PATH".to_owned()));
    }
    Ok(PathBuf::from(file))
}

pub(crate) fn make_directory(path: &Path) -> Result<(), StoreError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|source| StoreError::Open { path: path.to_owned(), source })
}

/// Makes the database file before SQLite does, because SQLite would let others read it. Its companions take over the file's mode.
pub(crate) fn make_file(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let failed = |source| StoreError::Open { path: path.to_owned(), source };
    let file = options.open(path).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        }
    }
    drop(file);
    Ok(())
}

/// The newest migration that this program has.
pub(crate) fn known_schema() -> i64 {
    MIGRATIONS.iter().map(|m| m.version).max().unwrap_or_default()
}

/// Several processes may start at once (a router and a command): one turns a new file into a database and brings the schema up to date, the
/// others wait for the end of its turn. SQLite itself doesn't wait where two change the journal's kind: the second is told that it is locked.
async fn take_turn(path: &Path) -> Result<File, StoreError> {
    let lock_path = path.with_extension("migrate.lock");
    let failed = |source| StoreError::Open { path: lock_path.clone(), source };
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path).map_err(failed)?;
    let begun = tokio::time::Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if begun.elapsed() < TURN_WAIT => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(TryLockError::WouldBlock) => {
                let said = format!("another process has been opening the database for {} s", TURN_WAIT.as_secs());
                return Err(failed(io::Error::new(io::ErrorKind::TimedOut, said)));
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
}

async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let known = known_schema();
    let found = schema(connection).await?;
    if found == known && applied(connection).await? == MIGRATIONS.iter().count() as i64 {
        return Ok(());
    }
    if found > known {
        return Err(StoreError::NewerSchema { path: path.to_owned(), found, known });
    }
    // The plain `run` makes a future that can't be sent between threads ("Acquire is not general enough").
    MIGRATIONS.run_direct(None, connection, false).await.map_err(|e| StoreError::Migrate(Box::new(e)))
}

/// How many migrations a database has seen that has seen any: numbers may be taken in another order than that of their arrival.
async fn applied(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations").fetch_one(connection).await?)
}

/// The last migration that this database has seen; 0 for a new one.
pub(crate) async fn schema(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'").fetch_one(&mut *connection).await?;
    if tables == 0 {
        return Ok(0);
    }
    Ok(sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations").fetch_one(connection).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_transaction_that_sqlite_has_ended_is_not_the_last() {
        let home = tempfile::tempdir().expect("a directory");
        let store = Store::open("", home.path()).await.expect("a new database");
        for _ in 0..2 {
            let mut writer = store.writer(Durability::Process).await.expect("the writer");
            let mut transaction = writer.begin().await.expect("a transaction");
            // As it does where the disk is full.
            sqlx::query("ROLLBACK").execute(&mut *transaction).await.expect("it is open");
        }
        crate::meta::set(&store, "key", "value").await.expect("a later change");
        assert_eq!(crate::meta::get(&store, "key").await.expect("the database").as_deref(), Some("value"));
    }
}
