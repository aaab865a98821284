//! The map room: which way for this model name. Knows maps, not roads: no socket, no clock.

mod map;
mod pattern;
mod resolve;

pub use map::{AccountRoutes, Map, Nodes};
pub use pattern::Pattern;
pub use resolve::plan;
