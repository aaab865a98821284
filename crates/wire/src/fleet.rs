//! Router ↔ node ↔ worker: the shapes that our own processes exchange.

pub mod node;
pub mod worker;
