//! Model files: what they are called, what their headers say, where they can be had, and how they come whole.
//!
//! The router and its nodes keep models alike: `<directory>/<name>/` holds the file (`model.gguf`, or the parts under their own names) and
//! [`Manifest::FILE`], which says what they are. What is on its way stands below `.partial`, which no scan looks at.
//!
//! **Invariant.** What stands in a model's directory was checked whole: its length, its SHA-256, and its header. Hostile files and hostile names
//! cost an error: no path leaves the directory, no count is believed.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "in a test it is the assertion"))]

pub mod blob;
mod choice;
pub mod gguf;
pub mod hub;
mod manifest;
pub mod name;
mod pull;
pub mod ticket;

pub use choice::{Choice, ChoiceError, Reference, all, choose};
pub use manifest::{Manifest, Origin, Piece};
pub use pull::{CHUNK_BYTES, Progress, PullError, Puller, clean, left_behind, remove};
