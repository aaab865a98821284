//! Remembered answers: the answer cache, and the answers to repeated calls of one `Idempotency-Key`.
//!
//! An answer is kept in this process's memory, or on a Redis that routers share while that can be reached, for as long as its kind says.
//! Of equal requests that come at once one goes to an upstream; the others wait for its answer. **Invariant:** an answer is given again only
//! to the caller that it was made for, unless the operator said that callers share; the memory never holds more bytes than its bound; no
//! request fails because something that is remembered cannot be reached. **Boundary:** knows no provider and no SQL.

mod answer;
mod answers;
mod flight;
mod key;
mod lead;
mod memory;
mod wanted;

pub use answer::{Answer, Made};
pub use answers::{Answers, Ask, Kind, Overdue, Recalled};
pub use key::{Key, Tenant};
pub use lead::Lead;
pub use wanted::{Rules, Wanted, repeated, wanted};
