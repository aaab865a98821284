use std::path::PathBuf;

use wire::{Code, Failure};

/// What went wrong, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address is not one that this build opens: correct the setting.
    #[error("{0}")]
    Address(String),
    /// A directory or file can't be made or opened: correct its place or its permissions.
    #[error("cannot open {}: {source}", path.display())]
    Open { path: PathBuf, source: std::io::Error },
    /// The database can't be opened: it is damaged, or no SQLite file.
    #[error("cannot open the database {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: sqlx::Error },
    /// Another router uses this data directory.
    #[error("another router is already running on the data directory {}{}", directory.display(), holder.as_ref().map(|h| format!(" ({h})")).unwrap_or_default())]
    InUse { directory: PathBuf, holder: Option<String> },
    /// A later version of the program wrote this database: run that version.
    #[error("the database {} has schema {found}, this program knows up to {known}: use the newer program that wrote it", path.display())]
    NewerSchema { path: PathBuf, found: i64, known: i64 },
    /// The schema could not be brought up to date.
    #[error("cannot bring the database's schema up to date: {0}")]
    Migrate(#[source] Box<sqlx::migrate::MigrateError>),
    /// Something of this name exists already.
    #[error("{0} exists already")]
    Exists(&'static str),
    /// Another process holds the database for longer than five seconds: try again.
    #[error("the database is busy: {0}")]
    Busy(#[source] sqlx::Error),
    /// The disk is full.
    #[error("no space left for the database: {0}")]
    Full(#[source] sqlx::Error),
    /// The row that a change must leave can't be stored, so the change was not made.
    #[error("the change was not made, because its audit row could not be stored: {0}")]
    Unrecorded(#[source] Box<StoreError>),
    /// A stored value can't be read back.
    #[error("the stored {what} of {id} can't be read: {source}")]
    Damaged { what: &'static str, id: String, source: serde_json::Error },
    /// Anything else that the database says.
    #[error("database: {0}")]
    Database(#[source] sqlx::Error),
}

/// SQLite's primary result codes.
const SQLITE_ERROR: u32 = 1;
const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
const SQLITE_FULL: u32 = 13;
const SQLITE_TOOBIG: u32 = 18;
const SQLITE_CONSTRAINT: u32 = 19;
const SQLITE_MISMATCH: u32 = 20;
const SQLITE_RANGE: u32 = 25;

impl StoreError {
    /// Whether the same call may succeed later: the fault lies with the database or its disk, not with what was to be written.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Busy(_) | Self::Full(_) => true,
            Self::Database(e) => {
                !matches!(primary_code(e), Some(SQLITE_ERROR | SQLITE_TOOBIG | SQLITE_CONSTRAINT | SQLITE_MISMATCH | SQLITE_RANGE))
            }
            _ => false,
        }
    }

    /// The client-facing form: says what kind of trouble it is, not what the database said.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Exists(what) => Failure::new(Code::Conflict, format!("{what} exists already")),
            Self::Busy(_) => {
                Failure::new(Code::NoAvailableTarget, "the database is busy, try again").retry_after(std::time::Duration::from_secs(1))
            }
            Self::Unrecorded(_) => {
                Failure::new(Code::AuditUnavailable, "the audit row of this change cannot be stored, so nothing was changed")
            }
            Self::Full(_) => Failure::new(Code::InsufficientStorage, "no space left for the database"),
            _ => Failure::new(Code::InternalError, "the database failed"),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match primary_code(&error) {
            Some(SQLITE_BUSY | SQLITE_LOCKED) => Self::Busy(error),
            Some(SQLITE_FULL) => Self::Full(error),
            _ => Self::Database(error),
        }
    }
}

/// SQLite's result code without its extension.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<u32>().ok().map(|c| c & 0xff)
}

/// Whether a write was refused because the value must be unique.
pub(crate) fn is_duplicate(error: &StoreError) -> bool {
    matches!(error, StoreError::Database(sqlx::Error::Database(e)) if e.is_unique_violation())
}
