//! Black-box tests: the real program, with the scripted engine in its worker processes.

#![allow(clippy::unwrap_used, reason = "in a test it is the assertion")]

mod api;
mod commands;
mod faults;
mod fleet;
mod inputs;
mod node;
mod pulling;
mod speech;
