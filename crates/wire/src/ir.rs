//! The inner language: a request, an answer and its stream as ordered blocks, which every dialect is translated from and to.
//!
//! Blocks keep their order and their provider's state (signatures, encrypted reasoning), which no dialect's own message form does
//! for all the others.

pub mod event;
pub mod message;
pub mod request;
pub mod usage;

pub use event::{BlockKind, Delta, Event, Finish};
pub use message::{Block, Citation, Family, Media, Message, Role, Source, State};
pub use request::{Format, Generation, Reasoning, Request, Tool, ToolChoice};
pub use usage::Usage;
