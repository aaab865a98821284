//! The engine room: carries out a plan. Attempts, time limits, retry and fallback, and the commit point of a stream.
//!
//! **Invariant:** before the first byte of an answer a failed attempt is unseen by the client; after it nothing is ever tried again.
//! Knows neither who the caller is nor any SQL.

mod attempt;
mod dummy;
mod fault;
mod letter;
mod run;
mod stream;

pub use run::{Dispatch, Rules, Trail, run};
