//! Measuring: a fake provider, a load generator, and the runs that set us beside others in the same minutes on the same machine.
//!
//! Absolute times move with the machine and the hour; only ratios of one run are judged. The bars are in the tables that each run prints.

pub mod fleet;
pub mod gateway;
pub mod history;
pub mod load;
pub mod mock;
pub mod node;
pub mod peers;
pub mod soak;

mod clock;
mod figures;
mod http;
mod machine;
mod process;
