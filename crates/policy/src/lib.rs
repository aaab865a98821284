//! The front desk: who are you, what may you, how much. Reads only its slice of the snapshot; knows no provider.
//!
//! **Invariant:** secrets are compared by their SHA-256, so neither the comparison's time nor a memory dump of the table gives one away.

mod admit;
pub mod budget;
mod credentials;
pub mod issuer;
mod keys;
mod limit;

pub use admit::{Admission, admit, arrive, may_call, may_use};
pub use budget::{Budget, Prices, Purse};
pub use credentials::Credentials;
pub use issuer::Issuer;
pub use keys::{Hash, KeyEntry, Keys, hash, hash_bytes};
pub use limit::{Bounds, Counters, Full, Hold, Limits, Reading, Standing, Subject, Terms, What, Window, estimate};
