//! Settings: one typed struct each for router and node, from flags, environment and file. The only room that reads the
//! environment or a configuration file.
//!
//! **Invariant.** A configuration that loads is valid as a whole; one that does not names the first wrong value, where it
//! came from and what would be right, and never prints a secret.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "in a test it is the assertion"))]

pub mod account;
mod account_fields;
mod accounts;
pub mod address;
mod auth;
mod base_url;
mod check;
pub mod config;
pub mod convert;
mod dotenv;
pub mod durations;
pub mod edit;
pub mod env;
pub mod error;
mod fields;
mod file;
pub mod files;
mod key;
mod keys;
mod known;
mod litellm;
mod litellm_router;
mod litellm_words;
pub mod load;
mod models;
pub mod node;
mod node_keys;
mod prices;
pub mod problems;
pub mod providers;
mod reader;
mod reference;
pub mod registered;
pub mod schema;
pub mod secret;
mod secret_ref;
mod sections;
mod setting;
pub mod show;
mod tree;

pub use account::{Account, AccountAuth, AccountOrigin, Reach, Timeouts, Wire, matches_model};
pub use address::AddressBlock;
pub use config::{Auth, AuthMode, Balancer, Config, RateLimit, Server, StaticKey, StoreUrl};
pub use convert::{Foreign, convert};
pub use env::Environment;
pub use error::ConfigError;
pub use load::{LoadArgs, Loaded, load, load_text};
pub use models::STRATEGIES;
pub use node::{NodeFlags, NodeSettings};
pub use prices::Price;
pub use problems::{Problem, check_text};
pub use providers::{Provider, provider, providers};
pub use reference::reference_markdown;
pub use schema::schema_json;
pub use secret::Secret;
pub use show::{Origin, Shown, show_json, show_text};
pub use tree::{is_key_itself, sounds_secret};
