//! The map: what names lead where, built once per configuration.

use std::{collections::HashMap, sync::Arc};

use crate::pattern::Pattern;

/// What routing must know of an account.
#[derive(Debug, Clone)]
pub struct AccountRoutes {
    pub name: Arc<str>,
    pub provider: Arc<str>,
    /// Names that it serves; empty serves any.
    pub models: Vec<Pattern>,
    /// Public name → the upstream's name.
    pub model_map: HashMap<String, Arc<str>>,
    /// Lower is tried first.
    pub priority: i64,
    /// From the environment: only for names with a prefix or that nobody else serves.
    pub is_fallback: bool,
    /// Used by the rule of seed 000's names: `local…`, `gpt-…`, `claude…`.
    pub name_prefixes: Vec<Arc<str>>,
    /// Names below those prefixes that are somebody else's.
    pub not_prefixes: Vec<Arc<str>>,
}

impl AccountRoutes {
    /// Whether the account lists the name exactly.
    pub(crate) fn lists(&self, model: &str) -> bool {
        self.model_map.contains_key(model) || self.models.iter().any(|p| p.is_exact() && p.as_str() == model)
    }

    /// Whether the account would serve the name: listed, by pattern, or because it serves any.
    pub(crate) fn serves(&self, model: &str) -> bool {
        self.lists(model) || self.models.is_empty() || self.models.iter().any(|p| p.matches(model))
    }

    /// The name of a model at the upstream.
    pub(crate) fn upstream_name(&self, model: &str) -> Arc<str> {
        self.model_map.get(model).cloned().unwrap_or_else(|| model.into())
    }
}

/// Everything but nodes.
#[derive(Debug, Default)]
pub struct Map {
    /// In the order in which they are tried.
    pub accounts: Vec<AccountRoutes>,
    /// Public name → targets, each `account/model`, `node:model` or a name to resolve again.
    pub aliases: HashMap<String, Vec<String>>,
    /// What `auto`, a blank or a missing name means.
    pub default_model: Option<String>,
}

impl Map {
    /// Sorts accounts by priority, environment accounts last; equal ones keep their order.
    pub fn new(mut accounts: Vec<AccountRoutes>, aliases: HashMap<String, Vec<String>>, default_model: Option<String>) -> Self {
        accounts.sort_by_key(|a| (a.is_fallback, a.priority));
        Self { accounts, aliases, default_model }
    }

    /// Names that a client can ask for, besides nodes' models.
    pub fn names(&self) -> impl Iterator<Item = (&str, &AccountRoutes)> {
        self.accounts.iter().flat_map(|account| {
            let listed = account.models.iter().filter(|p| p.is_exact()).map(Pattern::as_str);
            listed.chain(account.model_map.keys().map(String::as_str)).map(move |name| (name, account))
        })
    }
}

/// What routing asks of the fleet.
pub trait Nodes {
    /// Whether any known node has the model, live or not.
    fn knows(&self, model: &str) -> bool;
    /// Whether a live node has it.
    fn is_live(&self, model: &str) -> bool;
    /// Names of live nodes' models, for suggestions.
    fn names(&self) -> Vec<String>;
}
