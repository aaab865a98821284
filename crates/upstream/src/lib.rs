//! The harbour: how to talk to one provider once. Knows URLs, credentials, quirks and what a refusal means; nothing of retries or of
//! other providers.

mod account;
mod address;
pub mod catalog;
mod classify;
mod fit;
#[cfg(test)]
mod goldens;
pub mod grant;
mod learn;
mod limits;
mod listed;
mod mask;
mod pass;
mod reference;
mod said;

pub use account::Account;
pub use classify::{Field, Judgement, Kind, Tell, Verdict, classify, judge, message_of};
pub use fit::{Fitted, How};
pub use grant::{Grant, Grants};
pub use learn::{Learned, Standing};
pub use limits::{Bucket, Limits, limits, retry_after};
pub use listed::{MODELS_MAX, listed};
pub use pass::{may_pass, shaping};
pub use reference::reference_markdown;
