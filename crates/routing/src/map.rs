//! The map: what names lead where, built once per configuration.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use config::{
    account::{Reach, mapped_name, matches_model},
    config::Strategy,
};
use wire::Dialect;

/// What routing must know of an account.
#[derive(Debug, Clone)]
pub struct AccountRoutes {
    pub name: Arc<str>,
    pub provider: Arc<str>,
    /// Names and patterns that it was told to serve.
    pub models: Vec<String>,
    /// Public name → the upstream's name.
    pub model_map: BTreeMap<String, String>,
    /// What it serves beyond those.
    pub reach: Reach,
    /// What its own list says, where that is known.
    pub discovered: Option<Arc<Vec<String>>>,
    /// Lower is tried first.
    pub priority: i32,
    /// Its share among those of its priority, where the operator wrote one.
    pub weight: Option<f64>,
    /// Names that sound like this provider's: they begin so, …
    pub name_prefixes: &'static [&'static str],
    /// … but not so.
    pub foreign_prefixes: &'static [&'static str],
    /// Dialects that it answers without a translation.
    pub speaks: Vec<Dialect>,
}

impl AccountRoutes {
    /// An enabled account of the configuration.
    pub fn new(
        account: &config::account::Account,
        name_prefixes: &'static [&'static str],
        foreign_prefixes: &'static [&'static str],
        speaks: Vec<Dialect>,
    ) -> Self {
        Self {
            name: account.name.as_str().into(),
            provider: account.provider.as_str().into(),
            models: account.models.clone(),
            model_map: account.model_map.clone(),
            reach: account.reach,
            discovered: None,
            priority: account.priority,
            weight: account.weight,
            name_prefixes,
            foreign_prefixes,
            speaks,
        }
    }

    /// Whether it comes from a provider's variables: it then serves prefixed names and those that nobody else serves.
    pub(crate) fn is_fallback(&self) -> bool {
        self.reach == Reach::Prefixed
    }

    /// Whether the account lists the name exactly.
    pub(crate) fn lists(&self, model: &str) -> bool {
        self.model_map.contains_key(model) || self.models.iter().any(|m| m == model) || self.is_discovered(model)
    }

    fn is_discovered(&self, model: &str) -> bool {
        self.discovered.as_ref().is_some_and(|names| names.iter().any(|name| name == model))
    }

    /// Whether it takes any name: so it was told, or what it has is not known yet.
    pub(crate) fn takes_any(&self) -> bool {
        self.reach == Reach::Any || (self.reach == Reach::Discovered && self.discovered.is_none())
    }

    /// Whether the account would serve the name: listed, by pattern, or because it serves any.
    pub(crate) fn serves(&self, model: &str) -> bool {
        !matches!(self.reach, Reach::Listed | Reach::Discovered) || self.takes_any() || self.is_discovered(model) || self.matches(model)
    }

    /// Whether its map, list or patterns have the name.
    pub(crate) fn matches(&self, model: &str) -> bool {
        mapped_name(&self.model_map, model).is_some() || self.models.iter().any(|p| matches_model(p, model))
    }

    /// How many characters of the name its lists and patterns spell out: all of them for a listed name, none where it takes any.
    pub(crate) fn says(&self, model: &str) -> usize {
        if self.lists(model) {
            return model.len();
        }
        let patterns = self.models.iter().chain(self.model_map.keys()).filter(|pattern| matches_model(pattern, model));
        patterns.map(|pattern| pattern.replace('*', "").len()).max().unwrap_or(0)
    }

    /// Whether the name sounds like this provider's.
    pub(crate) fn sounds_like(&self, model: &str) -> bool {
        self.name_prefixes.iter().any(|p| model.starts_with(p)) && !self.foreign_prefixes.iter().any(|p| model.starts_with(p))
    }

    /// The name of a model at the upstream.
    pub(crate) fn upstream_name(&self, model: &str) -> Arc<str> {
        mapped_name(&self.model_map, model).map_or_else(|| model.into(), Into::into)
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
    /// How one of several equal accounts is chosen, where the operator said so.
    pub strategy: Option<Strategy>,
}

impl Map {
    /// Sorts accounts by priority, environment accounts last; equal ones keep their order.
    pub fn new(mut accounts: Vec<AccountRoutes>, aliases: HashMap<String, Vec<String>>, default_model: Option<String>) -> Self {
        accounts.sort_by_key(|a| (a.is_fallback(), a.priority));
        Self { accounts, aliases, default_model, strategy: None }
    }

    /// Names that a client can ask for, besides nodes' models and aliases.
    pub fn names(&self) -> impl Iterator<Item = (&str, &AccountRoutes)> {
        self.accounts.iter().flat_map(|account| {
            let discovered = account.discovered.iter().flat_map(|names| names.iter());
            let listed = account.models.iter().chain(account.model_map.keys()).filter(|m| !m.contains('*')).chain(discovered);
            listed.map(move |name| (name.as_str(), account))
        })
    }
}

/// What can be said of a model's nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// At least one can be asked now.
    Ready,
    /// Some are there, still loading: worth waiting for.
    Warming,
    /// Known, but nobody is there.
    Down,
    /// No node has it.
    Unknown,
}

/// What routing asks of the fleet.
pub trait Nodes {
    /// Whether the model's nodes can be asked.
    fn presence(&self, model: &str) -> Presence;
    /// Names of the models of nodes that are there, for suggestions.
    fn names(&self) -> Vec<String>;
}
