//! Pipes of the cellar: logs, metrics, the one list of their names, and the claim to a core of what is down here. Knows nothing of a request's content.

pub mod background;
pub mod chronicle;
pub mod logs;
pub mod metrics;
pub mod names;
mod pieces;

/// Why logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The level is not in env-filter syntax; the text says what is.
    #[error("log level {given:?}: {reason}")]
    Level { given: String, reason: String },
    /// The log directory or a file in it cannot be used.
    #[error("log file in {dir}: {reason}")]
    File { dir: String, reason: String },
    /// The thread that writes could not be started.
    #[error("no thread for the log: {0}")]
    Thread(String),
    /// Logging was set up before in this process.
    #[error("logging is already set up")]
    AlreadyStarted,
}
