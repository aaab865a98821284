//! The smithy: a machine that runs models. It finds them on disk, runs one worker process per loaded model, serves OpenAI's
//! inference paths and reports to a router.
//!
//! **Invariant.** No C++ in this process and no model's tensors: a worker that crashes, hangs or is fed a hostile file costs its own
//! requests at most one attempt. Nothing here knows that other nodes or providers exist.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "in a test it is the assertion"))]

pub mod activity;
pub mod agent;
pub mod answer;
pub mod cli;
pub mod cpu;
pub mod engine;
pub mod fetch;
pub mod gpu;
pub mod http;
pub mod library;
pub mod machine;
mod memory;
pub mod pool;
pub mod register;
pub mod run;
pub mod speech;
pub mod sync;
pub mod template;

#[cfg(test)]
mod testing;
