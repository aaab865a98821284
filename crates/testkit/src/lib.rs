//! Stand-ins for the world outside, for tests: an upstream that does exactly what a script says and tells what it saw.
//!
//! Its answers are written by hand, not with the types that the product reads them with, so that it cannot share their mistakes.

mod answers;
pub mod files;
mod gguf;
mod redis;
mod reply;
mod request;
mod script;
mod upstream;

pub use gguf::Gguf;
pub use redis::RedisServer;
pub use reply::{Gate, Reply};
pub use request::Recorded;
pub use script::Script;
pub use upstream::{FakeUpstream, Hangup};
