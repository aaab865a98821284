//! What a caller prefers among the ways that a plan found.

use journey::{Candidate, Target};
use wire::{
    Code, Failure,
    preferences::{DataCollection, Preferences, Sort},
};

use crate::map::{AccountRoutes, Map};

/// Figures that accounts are sorted by.
pub trait Figures {
    /// Dollars for a million tokens of prompt and of completion.
    fn price(&self, model: &str) -> Option<(f64, f64)>;
    /// Mean seconds to the first byte.
    fn latency_s(&self, account: &str) -> Option<f64>;
    /// Mean tokens per second.
    fn tokens_per_s(&self, account: &str) -> Option<f64>;
    /// Dollars for a million tokens of prompt and of completion at one account.
    fn price_at(&self, _account: &str, model: &str) -> Option<(f64, f64)> {
        self.price(model)
    }
    /// Mean seconds to the first byte, where that was measured lately.
    fn fresh_latency_s(&self, account: &str) -> Option<f64> {
        self.latency_s(account)
    }
    /// Requests under way at an account.
    fn in_flight(&self, _account: &str) -> u64 {
        0
    }
    /// Tokens that an account was asked for in the last minute.
    fn tokens_lately(&self, _account: &str) -> u64 {
        0
    }
}

/// Filters and orders candidates as the caller wants.
///
/// # Errors
/// [`Code::ModelNotFound`] where nothing is left; [`Code::UnsupportedParameter`] for what nobody can promise here.
pub fn prefer(map: &Map, figures: &dyn Figures, candidates: Vec<Candidate>, wanted: &Preferences) -> Result<Vec<Candidate>, Failure> {
    if wanted.data_collection == Some(DataCollection::Deny) {
        let message = "`provider.data_collection: deny` cannot be promised: what accounts keep is not known here; name them in `only`";
        return Err(Failure::new(Code::UnsupportedParameter, message).at("provider.data_collection"));
    }
    let is_named = |names: &[String], c: &Candidate| place(map, names, c).is_some();
    let mut left: Vec<Candidate> = candidates
        .into_iter()
        .filter(|c| wanted.only.is_empty() || is_named(&wanted.only, c))
        .filter(|c| !is_named(&wanted.ignore, c))
        .filter(|c| wanted.max_price.is_none_or(|max| is_affordable(price(figures, c), max.prompt, max.completion)))
        .collect();
    if left.is_empty() {
        let message = "`provider` leaves no account for this model: see `only`, `ignore` and `max_price`";
        return Err(Failure::new(Code::ModelNotFound, message).at("provider"));
    }
    if let Some(sort) = wanted.sort {
        left.sort_by(|a, b| cost(map, figures, sort, a).total_cmp(&cost(map, figures, sort, b)));
    }
    left.sort_by_key(|c| place(map, &wanted.order, c).unwrap_or(usize::MAX));
    if wanted.allow_fallbacks == Some(false) {
        // Those that are named may stand in for each other; without names only the first may answer.
        if wanted.order.is_empty() {
            left.truncate(1);
        }
        left.retain(|c| wanted.order.is_empty() || is_named(&wanted.order, c));
        if left.is_empty() {
            let message = "`provider.order` names no account for this model, and `allow_fallbacks` is false";
            return Err(Failure::new(Code::ModelNotFound, message).at("provider.order"));
        }
    }
    Ok(left)
}

fn price(figures: &dyn Figures, candidate: &Candidate) -> Option<(f64, f64)> {
    match &candidate.target {
        Target::Account { name } => figures.price_at(name, &candidate.model),
        Target::Fleet | Target::Dummy => figures.price(&candidate.model),
    }
}

fn account<'m>(map: &'m Map, candidate: &Candidate) -> Option<&'m AccountRoutes> {
    match &candidate.target {
        Target::Account { name } => map.accounts.iter().find(|a| a.name == *name),
        Target::Fleet | Target::Dummy => None,
    }
}

/// Where a candidate stands among names: of its account, else of its provider; own nodes are `node`.
fn place(map: &Map, names: &[String], candidate: &Candidate) -> Option<usize> {
    let at = |name: &str| names.iter().position(|n| n == name);
    match (&candidate.target, account(map, candidate)) {
        (_, Some(account)) => at(&account.name).or_else(|| at(&account.provider)),
        (Target::Fleet, None) => at("node"),
        _ => at("dummy"),
    }
}

/// What is sorted by, the least first; unknown is last.
fn cost(map: &Map, figures: &dyn Figures, sort: Sort, candidate: &Candidate) -> f64 {
    let name = account(map, candidate).map(|a| &*a.name);
    let known = match sort {
        Sort::Price => price(figures, candidate).map(|(prompt, completion)| prompt + completion),
        Sort::Latency => name.and_then(|name| figures.latency_s(name)),
        Sort::Throughput => name.and_then(|name| figures.tokens_per_s(name)).map(|speed| -speed),
    };
    known.unwrap_or(f64::INFINITY)
}

fn is_affordable(price: Option<(f64, f64)>, prompt: Option<f64>, completion: Option<f64>) -> bool {
    price.is_some_and(|(in_price, out_price)| prompt.is_none_or(|max| in_price <= max) && completion.is_none_or(|max| out_price <= max))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use config::account::Reach;
    use wire::Dialect;

    use super::*;

    struct Known;
    impl Figures for Known {
        fn price(&self, model: &str) -> Option<(f64, f64)> {
            (model == "cheap").then_some((1.0, 2.0))
        }
        fn latency_s(&self, account: &str) -> Option<f64> {
            HashMap::from([("a", 0.9), ("c", 0.1)]).get(account).copied()
        }
        fn tokens_per_s(&self, account: &str) -> Option<f64> {
            HashMap::from([("a", 10.0), ("b", 90.0)]).get(account).copied()
        }
    }

    fn chosen(wanted: &str) -> Result<String, Code> {
        let route = |name: &str, provider: &str| AccountRoutes {
            name: name.into(),
            provider: provider.into(),
            models: Vec::new(),
            model_map: BTreeMap::new(),
            reach: Reach::Any,
            discovered: None,
            priority: 0,
            weight: None,
            name_prefixes: &[],
            foreign_prefixes: &[],
            speaks: vec![Dialect::Chat],
        };
        let map = Map::new(vec![route("a", "x"), route("b", "y"), route("c", "y")], HashMap::new(), None);
        let way = |name: &str, model: &str| Candidate::new(Target::Account { name: name.into() }, model.into(), "exact");
        let wanted = serde_json::from_str(wanted).unwrap();
        let left = prefer(&map, &Known, vec![way("a", "dear"), way("b", "cheap"), way("c", "dear")], &wanted);
        let name = |c: Candidate| if let Target::Account { name } = c.target { name.to_string() } else { String::new() };
        left.map(|left| left.into_iter().map(name).collect()).map_err(|e| e.code)
    }

    #[test]
    fn callers_choose() {
        for (wanted, left) in [
            ("{}", "abc"),
            (r#"{"order": ["c", "b"]}"#, "cba"),
            (r#"{"order": ["y"]}"#, "bca"),
            (r#"{"only": ["y"]}"#, "bc"),
            (r#"{"ignore": ["b", "x"]}"#, "c"),
            (r#"{"order": ["b"], "allow_fallbacks": false}"#, "b"),
            (r#"{"order": ["c", "b"], "allow_fallbacks": false}"#, "cb"),
            (r#"{"allow_fallbacks": false}"#, "a"),
            (r#"{"sort": "latency"}"#, "cab"),
            (r#"{"sort": "throughput"}"#, "bac"),
            (r#"{"sort": "price"}"#, "bac"),
            (r#"{"sort": "price", "order": ["c"]}"#, "cba"),
            (r#"{"max_price": {"completion": 2}}"#, "b"),
        ] {
            assert_eq!(chosen(wanted), Ok(left.to_owned()), "{wanted}");
        }
        assert_eq!(chosen(r#"{"only": ["nobody"]}"#), Err(Code::ModelNotFound));
        assert_eq!(chosen(r#"{"order": ["nobody"], "allow_fallbacks": false}"#), Err(Code::ModelNotFound), "not some other account");
        assert_eq!(chosen(r#"{"max_price": {"prompt": 0.5}}"#), Err(Code::ModelNotFound));
        assert_eq!(chosen(r#"{"data_collection": "deny"}"#), Err(Code::UnsupportedParameter));
    }
}
