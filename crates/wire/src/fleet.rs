//! Router ↔ node ↔ worker: the shapes that our own processes exchange, and those of other servers that can stand for a node.

pub mod endpoint;
pub mod node;
pub mod worker;
