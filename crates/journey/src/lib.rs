//! The values that travel with a request, in order: `Call` → `Caller` → `Request` → `Permit` → `Plan` → `Flow` → `Receipt`.
//!
//! Plain types; the rooms fill them. **Invariant:** a [`Permit`] settles exactly once, however its request ends.

mod call;
mod caller;
mod flow;
mod kept;
mod meter;
mod passage;
mod permit;
mod plan;
mod receipt;
mod upload;

pub use call::{Call, Forwarded, InPath, Operation, REQUEST_ID, Request};
pub use caller::{Caller, KeyRef, Scope, Scopes};
pub use flow::{Body, BodyError, Flow, Late, Served, Stream, Told, WentOn};
pub use kept::{BODY_BYTES_MAX, Far, Kept, Room, STREAM_BYTES_MAX, Said};
pub use meter::{Closing, Meter, Source, Witness};
pub use passage::Passage;
pub use permit::{Deposit, Permit, Settle};
pub use plan::{Candidate, Plan, Target, Weighed, When};
pub use receipt::{Attempt, AttemptOutcome, CacheUse, Outcome, Pick, Receipt, Remembered};
pub use upload::{Reader, Upload};
