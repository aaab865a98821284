//! An MCP server over stdin and stdout, in front of a running router.
//!
//! It holds no state and reads no database: every tool is one HTTP request to the router, with the credentials that it was given at its start.
//! What comes back is bounded in time and size, and secrets in it are masked.

mod curl;
mod execute;
mod mask;
mod origin;
mod prompts;
mod resources;
mod router;
mod server;
mod tools;
mod typed;
mod words;

use std::{path::PathBuf, time::Duration};

use rmcp::ServiceExt as _;

/// Longest time for a request that a caller may ask for, seconds.
pub const TIMEOUT_S_MAX: u64 = 300;

/// Time for a request where nobody says another one, seconds.
pub const TIMEOUT_S: u64 = 30;

/// Which router, and as whom.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The router's address: `http` or `https`, a host, and the path below which it is served, if any.
    pub url: String,
    /// Shown as `Authorization: Bearer …`.
    pub api_key: Option<String>,
    /// A session's token, shown instead of the key where users and keys are administered, and everywhere if there is no key.
    pub session_token: Option<String>,
    /// A file with the description of the router's paths, instead of the router's own.
    pub openapi_path: Option<PathBuf>,
    /// Time for a request where its caller says nothing else: up to [`TIMEOUT_S_MAX`] seconds.
    pub timeout: Duration,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    /// The settings name no router.
    #[error("{0}")]
    Settings(String),
    /// The client broke off before it had said hello, or said something else.
    #[error("the client did not begin a session: {0}")]
    NoSession(String),
    /// The server's own task failed.
    #[error("the server ended: {0}")]
    Ended(String),
}

/// Serves the client at the other end of stdin and stdout until it closes its end.
///
/// # Errors
/// [`StdioError`].
pub async fn serve(settings: Settings) -> Result<(), StdioError> {
    let server = server::Server::new(settings).map_err(StdioError::Settings)?;
    let running = match server.serve(rmcp::transport::stdio()).await {
        Ok(running) => running,
        // A client that starts the program and thinks better of it.
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(StdioError::NoSession(error.to_string())),
    };
    running.waiting().await.map(drop).map_err(|error| StdioError::Ended(error.to_string()))
}
