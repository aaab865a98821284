//! Settings: one typed struct each for router and node, from flags, environment and file. The only room that reads the
//! environment or a configuration file.
//!
//! **Invariant.** A configuration that loads is valid as a whole; one that does not names the first wrong value, where it
//! came from and what would be right, and never prints a secret.

mod dotenv;
pub mod env;
pub mod error;
pub mod node;
pub mod secret;

pub use env::Environment;
pub use error::ConfigError;
pub use node::{NodeFlags, NodeSettings};
pub use secret::Secret;
