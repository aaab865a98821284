//! The engine room: carries out a plan. Attempts, time limits, retry and fallback, and the commit point of a stream.
//!
//! **Invariant:** before the first byte of an answer a failed attempt is unseen by the client; after it nothing is ever tried again.
//! Of the caller it knows a name that tells conversations apart, of SQL nothing.

mod account;
mod answer;
mod attempt;
mod dummy;
mod ears;
mod fault;
mod health;
mod letter;
mod luggage;
mod memory;
mod probe;
mod resume;
mod run;
mod stream;
mod tries;
mod way;

pub use health::{Breaker, Health, Resting, Vital, Why};
pub use luggage::seal_as_sent;
pub use memory::Memory;
pub use run::{Dispatch, Rules, Trail, run};
