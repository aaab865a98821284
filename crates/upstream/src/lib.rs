//! The harbour: how to talk to one provider once. Knows URLs, credentials, quirks and what a refusal means; nothing of retries or of
//! other providers.

mod account;
pub mod catalog;
mod classify;

pub use account::Account;
pub use classify::{Verdict, classify, message_of, retry_after};
