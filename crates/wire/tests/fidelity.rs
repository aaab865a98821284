//! Nothing is lost without a word: what goes into a translation is compared with what comes out of it and with the record of losses.

#![allow(clippy::unwrap_used, reason = "in a test it is the assertion")]

#[path = "fidelity/answer_facts.rs"]
mod answer_facts;
#[path = "fidelity/answers.rs"]
mod answers;
#[path = "fidelity/corpus.rs"]
mod corpus;
#[path = "fidelity/facts.rs"]
mod facts;
#[path = "fidelity/members.rs"]
mod members;
#[path = "fidelity/requests.rs"]
mod requests;
#[path = "fidelity/silence.rs"]
mod silence;
