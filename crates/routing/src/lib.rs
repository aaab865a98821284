//! The map room: which way for this model name. Knows maps, not roads: no socket, no clock.

mod balance;
mod map;
mod prefer;
mod resolve;

pub use balance::View;
pub use map::{AccountRoutes, Map, Nodes, Presence};
pub use prefer::{Figures, prefer};
pub use resolve::plan;
