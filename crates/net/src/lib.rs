//! The gate: the only way out of the grounds. One HTTP/1.1 client with its own connection pools, deadlines and proxies.
//!
//! Invariant: a connection is either in the pool or held by one exchange; an exchange that is dropped before its end closes its connection at once.
//! Nothing here knows what the bytes mean, whose account they belong to, or where settings come from.

mod body;
mod client;
mod connect;
pub mod download;
mod error;
mod fetch;
mod guard;
mod h1;
mod idle;
mod inflate;
mod outbox;
mod pool;
mod proxy;
mod stream;
mod tether;
mod tls;

pub use body::{Body, ResponseBody};
pub use client::{Client, Settings, Timeouts};
pub use error::{BoxError, Error, Phase};
pub use fetch::read_all;
pub use guard::Reach;
pub use idle::IdleTimeout;
pub use outbox::{Outbox, Socket};
pub use proxy::ProxySettings;
pub use tether::Tether;
