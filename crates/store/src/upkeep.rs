//! Looking after the database as a whole: is it sound, a copy of it, and a copy put in its place.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{
    InstanceLock, Store, StoreError, bodies,
    open::{Durability, database_path, known_schema, make_file, schema},
};

/// Faults that are named; a damaged database may have any number.
const FAULTS_MAX: usize = 100;

/// How long a copy waits for somebody who writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// What follows the names of the files that a restored copy replaces.
const REPLACED: &str = ".before-restore";

/// How a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub path: PathBuf,
    pub bytes: u64,
    /// Number of its last migration.
    pub schema: i64,
    /// What is wrong with it, at most 100; none: it is sound.
    pub faults: Vec<String>,
}

/// Pages that are given back in one transaction: whoever writes waits for it.
const PAGES_AT_A_TIME: u32 = 64;

/// What the database and the texts beside it take on the disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The database's.
    pub total: u64,
    /// Of it, what nothing stands in: it is used again.
    pub free: u64,
    /// Texts that go with their records; a file that is still written stays.
    pub texts: u64,
}

impl Room {
    /// What something stands in.
    pub fn used(self) -> u64 {
        self.total - self.free + self.texts
    }
}

impl Store {
    /// What the database takes, and the texts beside it.
    ///
    /// # Errors
    /// The database's; a directory of texts that can't be read.
    pub async fn room(&self) -> Result<Room, StoreError> {
        let query =
            "SELECT page_count * page_size, freelist_count * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
        let (total, free): (i64, i64) = sqlx::query_as(query).fetch_one(self.readers()).await?;
        Ok(Room { total: total.unsigned_abs(), free: free.unsigned_abs(), texts: bodies::closed_bytes(self.path())? })
    }

    /// Gives free pages back to the disk, but for so many bytes, a few at a time so that others write in between. A database that was made by an
    /// earlier version keeps its size: it uses its free pages again.
    ///
    /// # Errors
    /// The database's; what was given back before stays so.
    pub async fn give_back(&self, bytes_kept: u64) -> Result<(), StoreError> {
        let mut before = self.room().await?;
        while before.free > bytes_kept {
            let mut writer = self.writer(Durability::Process).await?;
            let statement = sqlx::AssertSqlSafe(format!("PRAGMA incremental_vacuum({PAGES_AT_A_TIME})"));
            sqlx::query(statement).execute(&mut writer.connection).await?;
            drop(writer);
            let now = self.room().await?;
            if now.total >= before.total {
                break;
            }
            before = now;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Reads the whole database and looks whether it is sound: a read of every page, so it takes as long as the disk needs for that.
    ///
    /// # Errors
    /// The database's.
    pub async fn examine(&self) -> Result<Condition, StoreError> {
        let mut connection = self.readers().acquire().await?;
        condition(&mut connection, self.path()).await
    }

    /// Writes a copy of the database, as it is at this moment, to a file that is not there yet (mode 0600), and of the texts of requests to a
    /// directory beside that (`copy.bodies` beside `copy.db`). Others may read and write meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Exists`] where the file is there; [`StoreError::Open`]; the database's.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        if to.exists() {
            return Err(StoreError::Exists("the file of the copy"));
        }
        // SQLite takes an empty file for a new one, and this one is nobody else's to read.
        make_file(to)?;
        let copied = async {
            let options = SqliteConnectOptions::new().filename(self.path()).create_if_missing(false).busy_timeout(BUSY_TIMEOUT);
            let mut connection = SqliteConnection::connect_with(&options).await?;
            let done = sqlx::query("VACUUM INTO ?").bind(to.to_string_lossy().into_owned()).execute(&mut connection).await;
            connection.close().await?;
            done.map(drop)
        };
        if let Err(error) = copied.await {
            let _ = fs::remove_file(to);
            return Err(error.into());
        }
        let synced = File::open(to).and_then(|file| file.sync_all());
        // Texts after rows: whatever a row of the copy points to is there by now.
        synced.and_then(|()| bodies::copy(self.path(), to)).map_err(|source| StoreError::Open { path: to.to_owned(), source })
    }
}

/// Puts a copy in the place of the database, while no router runs on the data directory. What was there stays beside it as
/// `….before-restore`; texts of requests are added to those that are there. Gives how the copy is.
///
/// # Errors
/// [`StoreError::InUse`] while a router runs; [`StoreError::NewerSchema`] and [`StoreError::Unreadable`] for a copy that this program cannot
/// use; [`StoreError::Open`].
pub async fn restore(url: &str, data_dir: &Path, from: &Path) -> Result<Condition, StoreError> {
    let path = database_path(url, data_dir)?;
    let _lock = InstanceLock::take(data_dir)?;
    let found = inspect(from).await?;
    if !found.faults.is_empty() {
        return Ok(found);
    }
    let fresh = beside(&path, ".restoring");
    let opened = |path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Open { path, source }
    };
    let _ = fs::remove_file(&fresh);
    make_file(&fresh)?;
    fs::copy(from, &fresh).map_err(opened(from))?;
    // A copy takes over the other file's mode.
    make_file(&fresh)?;
    File::open(&fresh).and_then(|file| file.sync_all()).map_err(opened(&fresh))?;
    bodies::copy(from, &path).map_err(opened(from))?;
    // The write-ahead file belongs to the database that it was written for: it goes with it, and never stays beside the other.
    for companion in ["-wal", "-shm", ""] {
        let (old, kept) = (beside(&path, companion), beside(&path, &format!("{REPLACED}{companion}")));
        match fs::rename(&old, &kept) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => drop(fs::remove_file(&kept)),
            done => done.map_err(opened(&old))?,
        }
    }
    fs::rename(&fresh, &path).map_err(opened(&path))?;
    Ok(Condition { path, ..found })
}

/// How a file is that is to become the database.
async fn inspect(from: &Path) -> Result<Condition, StoreError> {
    let unreadable = |source| StoreError::Unreadable { path: from.to_owned(), source };
    let options = SqliteConnectOptions::new().filename(from).create_if_missing(false).read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await.map_err(unreadable)?;
    let found = condition(&mut connection, from).await?;
    let _ = connection.close().await;
    let known = known_schema();
    match found.schema {
        0 => Err(unreadable(sqlx::Error::Configuration("it is no database of LLM Router".into()))),
        newer if newer > known => Err(StoreError::NewerSchema { path: from.to_owned(), found: newer, known }),
        _ => Ok(found),
    }
}

async fn condition(connection: &mut SqliteConnection, path: &Path) -> Result<Condition, StoreError> {
    let unreadable = |source| StoreError::Unreadable { path: path.to_owned(), source };
    let said: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(100)").fetch_all(&mut *connection).await.map_err(unreadable)?;
    let mut faults: Vec<String> = said.into_iter().filter(|line| line != "ok").collect();
    let strays: Vec<String> =
        sqlx::query_scalar("SELECT \"table\" FROM pragma_foreign_key_check LIMIT 100").fetch_all(&mut *connection).await?;
    faults.extend(strays.into_iter().map(|table| format!("a row of {table} belongs to one that is not there")));
    faults.truncate(FAULTS_MAX);
    let bytes: i64 =
        sqlx::query_scalar("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetch_one(&mut *connection).await?;
    Ok(Condition { path: path.to_owned(), bytes: u64::try_from(bytes).unwrap_or_default(), schema: schema(connection).await?, faults })
}

/// A file whose name has this at its end.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
