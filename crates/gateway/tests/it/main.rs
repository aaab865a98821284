//! Black-box tests: the real program on a port of its own, scripted upstreams as its accounts, a small HTTP client as its caller.

#![allow(clippy::unwrap_used, reason = "in a test it is the assertion")]

mod access;
mod accounts;
mod attempts;
mod audit;
mod budgets;
mod choices;
mod cli;
mod client;
mod configuration;
mod dashboard;
mod dummy;
mod errors;
mod faults;
mod fleet;
mod hangups;
mod history;
mod identity;
mod keys;
mod ledger;
mod lifecycle;
mod limits;
mod litellm;
mod login;
mod media;
mod mixtures;
mod nodes;
mod oidc;
mod operating;
mod raw;
mod records;
mod registry;
mod reload;
mod remembered;
mod router;
mod secrets;
mod secrets_kept;
mod streams;
mod translate;
mod ui;
mod users;
