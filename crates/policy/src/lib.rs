//! The front desk: who are you, what may you. Reads only its slice of the snapshot; knows no provider.
//!
//! **Invariant:** secrets are compared by their SHA-256, so neither the comparison's time nor a memory dump of the table gives one away.

mod admit;
mod credentials;
mod keys;

pub use admit::{admit, may_call, may_use};
pub use credentials::Credentials;
pub use keys::{Hash, KeyEntry, Keys, hash};
