//! A model's name → candidates, by the first rule that knows it.

use std::{cmp::Reverse, sync::Arc};

use config::{
    account::{Reach, matches_model},
    config::Strategy,
};
use journey::{Candidate, Plan, Target, When};
use wire::{Code, Failure};

use crate::{
    balance::{View, balance},
    map::{AccountRoutes, Map, Presence},
};

/// How deep aliases may lead to aliases.
const ALIAS_DEPTH_MAX: u8 = 8;

/// Most candidates of one plan.
const CANDIDATES_MAX: usize = 64;

/// Resolves a request's model name and the names that stand in for it, each with what must have gone wrong first (`models: []`: nothing). Of accounts with the same priority the strategy's choice comes first,
/// or, without one, those that speak the caller's dialect: nothing is lost there.
///
/// # Errors
/// [`Code::ModelNotFound`] with the nearest names; [`Code::NoAvailableTarget`] where only nodes that are away have the model;
/// [`Code::InvalidRequest`] where no name is given and none is configured.
pub fn plan(map: &Map, view: &View<'_>, model: &str, stand_ins: &[(&str, When)]) -> Result<Plan, Failure> {
    let resolved = |name| resolve(map, view, name, 0);
    let mut found = resolved(model);
    for (at, (name, when)) in stand_ins.iter().enumerate().take(CANDIDATES_MAX) {
        if let Ok((_, more)) = resolved(name) {
            let more = more.into_iter().map(|c| Candidate { when: *when, name: at as u8 + 1, ..c });
            match &mut found {
                Ok((_, candidates)) => candidates.extend(more),
                Err(_) if when.is_always() => found = Ok(("models", more.collect())),
                Err(_) => {}
            }
        }
    }
    let (rule, mut candidates) = found?;
    let mut seen = Vec::new();
    candidates.retain(|c| {
        let id = (c.target.clone(), c.model.clone(), c.when);
        let fresh = !seen.contains(&id);
        seen.push(id);
        fresh
    });
    candidates.truncate(CANDIDATES_MAX);
    let stand_ins = stand_ins.iter().take(CANDIDATES_MAX).map(|(name, _)| (*name).into()).collect();
    Ok(Plan { requested: model.into(), rule, candidates, stand_ins })
}

type Found = (&'static str, Vec<Candidate>);

/// Puts equals in order: accounts of one priority that serve one name. Whose pattern says more of the name comes first; among those the
/// operator's strategy decides, where there is one, else those that speak the caller's dialect come first.
fn ordered(map: &Map, view: &View<'_>, model: &str, mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    if candidates.len() < 2 {
        return candidates;
    }
    let account = |c: &Candidate| match &c.target {
        Target::Account { name } => map.accounts.iter().find(|a| a.name == *name),
        _ => None,
    };
    let rank = |c: &Candidate| account(c).map(|a| (a.is_fallback(), a.priority));
    let said = |c: &Candidate| account(c).map_or(0, |a| a.says(model));
    for group in candidates.chunk_by_mut(|a, b| rank(a).is_some() && rank(a) == rank(b)) {
        group.sort_by_key(|c| Reverse(said(c)));
        for group in group.chunk_by_mut(|a, b| said(a) == said(b)).filter(|group| group.len() > 1) {
            let is_weighted = || group.iter().any(|c| account(c).is_some_and(|a| a.weight.is_some()));
            match map.strategy.or_else(|| is_weighted().then_some(Strategy::Shuffle)) {
                Some(strategy) => balance(strategy, view, group, |c| account(c).and_then(|a| a.weight).unwrap_or(1.0)),
                None => group.sort_by_key(|c| !account(c).is_some_and(|a| a.speaks.contains(&view.caller))),
            }
        }
    }
    candidates
}

fn resolve(map: &Map, view: &View<'_>, model: &str, depth: u8) -> Result<Found, Failure> {
    if let Some(targets) = map.aliases.get(model) {
        return alias(map, view, model, targets, depth);
    }
    if let Some(found) = exact(map, view, model) {
        return found;
    }
    if let Some(found) = prefixed(map, view, model)? {
        return Ok(found);
    }
    if model.contains('|') {
        return any_of(map, view, model, depth);
    }
    if is_auto(model) {
        return match &map.default_model {
            Some(name) if depth < ALIAS_DEPTH_MAX => resolve(map, view, name, depth + 1).map(|(_, c)| ("default_model", c)),
            _ if model.is_empty() => Err(Failure::invalid("model", "`model` is missing, and no `default_model` is configured")),
            _ => Err(unknown(map, view, model)),
        };
    }
    let by_name = accounts(map, model, "name_prefix", |a| a.reach != Reach::Listed && a.sounds_like(model));
    if !by_name.is_empty() {
        return Ok(("name_prefix", ordered(map, view, model, by_name)));
    }
    let wide = accounts(map, model, "wildcard", |a| a.matches(model) || a.takes_any());
    if !wide.is_empty() && !is_dummy(model) {
        return Ok(("wildcard", ordered(map, view, model, wide)));
    }
    if is_dummy(model) {
        return Ok(("dummy", vec![Candidate::new(Target::Dummy, model.into(), "dummy")]));
    }
    Err(unknown(map, view, model))
}

/// A name that somebody lists or matches by a pattern is theirs; one that merely could go to whoever takes anything is not.
fn is_dummy(model: &str) -> bool {
    model == "dummy" || model.starts_with("dummy-")
}

fn is_auto(model: &str) -> bool {
    model.is_empty() || model == "auto" || model == "openrouter/auto"
}

fn alias(map: &Map, view: &View<'_>, name: &str, targets: &[String], depth: u8) -> Result<Found, Failure> {
    if depth >= ALIAS_DEPTH_MAX {
        return Err(Failure::new(Code::ModelNotFound, format!("the alias `{name}` leads in a circle")).at("model"));
    }
    let mut all = Vec::new();
    let mut first_error = None;
    for target in targets {
        match target_of(map, view, target, depth) {
            Ok((_, candidates)) => all.extend(candidates.into_iter().map(|c| Candidate { reason: "alias", ..c })),
            Err(e) => {
                first_error.get_or_insert(e);
            }
        }
    }
    match first_error {
        Some(e) if all.is_empty() => Err(e),
        _ => Ok(("alias", all)),
    }
}

/// One target of an alias: `node:model`, `account/model`, or a name.
fn target_of(map: &Map, view: &View<'_>, target: &str, depth: u8) -> Result<Found, Failure> {
    if let Some(model) = target.strip_prefix("node:") {
        return fleet(view, model).unwrap_or_else(|| Err(unknown(map, view, model)));
    }
    if let Some((name, model)) = target.split_once('/')
        && let Some(account) = map.accounts.iter().find(|a| *a.name == *name)
    {
        return Ok(("alias", vec![candidate(account, model, "alias")]));
    }
    // An alias may have the name of the model that it stands for.
    match exact(map, view, target) {
        Some(found) => found,
        None => resolve(map, view, target, depth + 1),
    }
}

/// A known name never falls through to a later rule: a private prompt must not drift to a cloud because its node is away.
fn exact(map: &Map, view: &View<'_>, model: &str) -> Option<Result<Found, Failure>> {
    let mut listed = accounts(map, model, "exact", |a| a.lists(model) && !a.is_fallback());
    let on_nodes = fleet(view, model);
    if let Some(Ok((_, nodes))) = &on_nodes {
        listed.splice(0..0, nodes.clone());
    }
    if listed.is_empty() {
        listed = accounts(map, model, "exact", |a| a.lists(model));
    }
    if listed.is_empty() {
        return on_nodes;
    }
    let is_of_service = |a: &AccountRoutes| a.reach == Reach::Discovered && a.lists(model);
    let mut found = ordered(map, view, model, listed);
    // Among services one whose own list is not known yet may have it too; those that have it come first.
    if map.accounts.iter().any(is_of_service) {
        let unknown = accounts(map, model, "unlisted", |a| a.reach == Reach::Discovered && a.discovered.is_none() && !a.lists(model));
        found.extend(ordered(map, view, model, unknown));
    }
    Some(Ok(("exact", found)))
}

fn fleet(view: &View<'_>, model: &str) -> Option<Result<Found, Failure>> {
    match view.nodes.presence(model) {
        Presence::Unknown => None,
        Presence::Ready | Presence::Warming => Some(Ok(("exact", vec![Candidate::new(Target::Fleet, model.into(), "node")]))),
        Presence::Down => {
            let message = format!("no available target: the nodes that have the model `{model}` are not available now");
            Some(Err(Failure::new(Code::NoAvailableTarget, message).at("model").retry_after(std::time::Duration::from_secs(5))))
        }
    }
}

/// `provider:model` and `account:model`, then `provider/model` and `account/model`.
fn prefixed(map: &Map, view: &View<'_>, model: &str) -> Result<Option<Found>, Failure> {
    for (mark, rule) in [(':', "prefix"), ('/', "provider")] {
        let Some((prefix, rest)) = model.split_once(mark) else { continue };
        let prefix = config::providers::meant(prefix);
        let named: Vec<_> = map.accounts.iter().filter(|a| *a.name == *prefix || *a.provider == *prefix).collect();
        if named.is_empty() {
            continue;
        }
        if rest.is_empty() {
            return Err(Failure::invalid("model", format!("`{model}` names a provider but no model: write {prefix}{mark}MODEL")));
        }
        // A pattern that spells the prefix out is the operator's own word on such names.
        let spelt = |p: &String| p.split_once(mark).is_some_and(|(before, _)| !before.contains('*')) && matches_model(p, model);
        let own = accounts(map, model, rule, |a| !a.is_fallback() && a.models.iter().any(spelt));
        let served = named.into_iter().filter(|a| a.serves(rest)).map(|a| candidate(a, rest, rule));
        let candidates: Vec<Candidate> = own.into_iter().chain(served).collect();
        if !candidates.is_empty() {
            return Ok(Some((rule, ordered(map, view, model, candidates))));
        }
    }
    Ok(None)
}

fn any_of(map: &Map, view: &View<'_>, model: &str, depth: u8) -> Result<Found, Failure> {
    if depth >= ALIAS_DEPTH_MAX {
        return Err(unknown(map, view, model));
    }
    let mut all = Vec::new();
    for part in model.split('|').map(str::trim).filter(|p| !p.is_empty()).take(CANDIDATES_MAX) {
        if let Ok((_, candidates)) = resolve(map, view, part, depth + 1) {
            all.extend(candidates.into_iter().map(|c| Candidate { reason: "any_of", ..c }));
        }
    }
    // Each service takes the first of the names that it has, and services come in their own order, own nodes before them; what else
    // they have comes after all.
    let place = |c: &Candidate| match &c.target {
        Target::Account { name } => map.accounts.iter().position(|a| a.name == *name).map_or(usize::MAX, |at| at + 1),
        Target::Fleet | Target::Dummy => 0,
    };
    let mut seen = Vec::new();
    let mut options: Vec<(bool, usize, Candidate)> = all
        .into_iter()
        .map(|candidate| {
            let is_again = seen.contains(&candidate.target);
            seen.push(candidate.target.clone());
            (is_again, place(&candidate), candidate)
        })
        .collect();
    options.sort_by_key(|(is_again, place, _)| (*is_again, *place));
    let all: Vec<Candidate> = options.into_iter().map(|(.., candidate)| candidate).collect();
    if all.is_empty() { Err(unknown(map, view, model)) } else { Ok(("any_of", all)) }
}

fn accounts(map: &Map, model: &str, reason: &'static str, wanted: impl Fn(&AccountRoutes) -> bool) -> Vec<Candidate> {
    map.accounts.iter().filter(|a| wanted(a)).map(|a| candidate(a, model, reason)).collect()
}

fn candidate(account: &AccountRoutes, model: &str, reason: &'static str) -> Candidate {
    Candidate::new(Target::Account { name: account.name.clone() }, account.upstream_name(model), reason)
}

/// 404 that offers the nearest names.
fn unknown(map: &Map, view: &View<'_>, model: &str) -> Failure {
    let mut names: Vec<Arc<str>> = map.names().map(|(n, _)| n.into()).chain(map.aliases.keys().map(|n| n.as_str().into())).collect();
    names.extend(view.nodes.names().into_iter().map(Into::into));
    names.sort();
    names.dedup();
    let mut near: Vec<(f64, Arc<str>)> =
        names.into_iter().map(|n| (strsim::jaro_winkler(&n, model), n)).filter(|(score, _)| *score > 0.8).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let near: Vec<_> = near.iter().take(3).map(|(_, n)| format!("`{n}`")).collect();
    let hint = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) };
    let shown: String = model.chars().take(100).collect();
    Failure::new(Code::ModelNotFound, format!("the model `{shown}` is not known here{hint}")).at("model")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use proptest::prelude::*;

    use super::*;

    struct Fake(&'static [(&'static str, bool)]);
    impl Nodes for Fake {
        fn presence(&self, model: &str) -> Presence {
            match self.0.iter().find(|(n, _)| *n == model) {
                Some((_, true)) => Presence::Ready,
                Some(_) => Presence::Down,
                None => Presence::Unknown,
            }
        }
        fn names(&self) -> Vec<String> {
            self.0.iter().filter(|n| n.1).map(|n| n.0.to_owned()).collect()
        }
    }

    use wire::Dialect;

    use crate::{Figures, Nodes};

    struct Unknown;
    impl Figures for Unknown {
        fn price(&self, _: &str) -> Option<(f64, f64)> {
            None
        }
        fn latency_s(&self, _: &str) -> Option<f64> {
            None
        }
        fn tokens_per_s(&self, _: &str) -> Option<f64> {
            None
        }
    }

    fn plan(map: &Map, nodes: &dyn Nodes, model: &str, fallbacks: &[&str], caller: Dialect) -> Result<Plan, Failure> {
        let stand_ins: Vec<_> = fallbacks.iter().map(|name| (*name, When::Always)).collect();
        super::plan(map, &View { nodes, caller, figures: &Unknown, chance: &|| 0.5 }, model, &stand_ins)
    }

    fn account(name: &str, provider: &str, models: &[&str]) -> AccountRoutes {
        AccountRoutes {
            name: name.into(),
            provider: provider.into(),
            models: models.iter().map(|m| (*m).to_owned()).collect(),
            model_map: BTreeMap::new(),
            reach: Reach::Listed,
            discovered: None,
            priority: 0,
            weight: None,
            name_prefixes: &[],
            foreign_prefixes: &[],
            speaks: vec![Dialect::Chat],
        }
    }

    fn map() -> Map {
        let mut mapped = account("mapped", "custom", &["house-large"]);
        mapped.model_map.insert("public".into(), "secret-name".into());
        mapped.priority = -1;
        let env = AccountRoutes {
            reach: Reach::Prefixed,
            name_prefixes: &["gpt-"],
            foreign_prefixes: &["gpt-oss"],
            ..account("openai", "openai", &[])
        };
        let aliases = HashMap::from([
            ("fast".to_owned(), vec!["one/m1".to_owned(), "node:local".to_owned()]),
            ("loop".to_owned(), vec!["loop".to_owned()]),
            ("m1".to_owned(), vec!["m1".to_owned()]),
        ]);
        Map::new(
            vec![env, account("one", "openai", &["m1", "shared"]), account("two", "custom", &["shared", "wild-*"]), mapped],
            aliases,
            Some("m1".into()),
        )
    }

    fn ask(model: &str) -> Result<(&'static str, Vec<String>), Code> {
        let nodes = Fake(&[("local", true), ("away", false), ("gpt-oss:20b", true)]);
        plan(&map(), &nodes, model, &[], Dialect::Chat).map_err(|e| e.code).map(|p| {
            let names = p.candidates.iter().map(|c| match &c.target {
                Target::Account { name } => format!("{name}/{}", c.model),
                Target::Fleet => format!("node:{}", c.model),
                Target::Dummy => "dummy".to_owned(),
            });
            (p.rule, names.collect())
        })
    }

    #[test]
    fn the_first_rule_that_knows_the_name_decides() {
        for (model, rule, wanted) in [
            ("fast", "alias", vec!["one/m1", "node:local"]),
            ("m1", "alias", vec!["one/m1"]),
            ("local", "exact", vec!["node:local"]),
            ("shared", "exact", vec!["one/shared", "two/shared"]),
            ("public", "exact", vec!["mapped/secret-name"]),
            ("openai:gpt-9", "prefix", vec!["openai/gpt-9"]),
            ("one:m1", "prefix", vec!["one/m1"]),
            ("openai/m1", "provider", vec!["one/m1", "openai/m1"]),
            ("nobody|shared|m1", "any_of", vec!["one/shared", "two/shared", "one/m1"]),
            ("", "default_model", vec!["one/m1"]),
            ("auto", "default_model", vec!["one/m1"]),
            ("gpt-4o", "name_prefix", vec!["openai/gpt-4o"]),
            ("gpt-oss:20b", "exact", vec!["node:gpt-oss:20b"]),
            ("wild-7", "wildcard", vec!["two/wild-7"]),
            ("dummy-x", "dummy", vec!["dummy"]),
        ] {
            assert_eq!(ask(model), Ok((rule, wanted.into_iter().map(str::to_owned).collect())), "{model}");
        }
    }

    #[test]
    fn a_pattern_with_a_prefix_goes_before_what_the_prefix_names() {
        let environment = AccountRoutes { reach: Reach::Prefixed, ..account("openrouter", "openrouter", &[]) };
        let mut own = account("openrouter/*", "openrouter", &["openrouter/*"]);
        own.model_map.insert("openrouter/*".into(), "*".into());
        let accounts = vec![environment, own, account("any", "custom", &["*"])];
        let plan = plan(&Map::new(accounts, HashMap::new(), None), &Fake(&[]), "openrouter/meta/llama", &[], Dialect::Chat).unwrap();
        let asked: Vec<_> = plan.candidates.iter().map(|c| (&c.target, &*c.model)).collect();
        let account = |name: &str| Target::Account { name: name.into() };
        assert_eq!(asked, [(&account("openrouter/*"), "meta/llama"), (&account("openrouter"), "meta/llama")]);
    }

    #[test]
    fn services_take_what_they_have() {
        let service = |name, models: Option<&[&str]>| AccountRoutes {
            reach: Reach::Discovered,
            discovered: models.map(|names| Arc::new(names.iter().map(|n| (*n).to_owned()).collect())),
            ..account(name, "custom", &[])
        };
        let known = Map::new(vec![service("A", Some(&["x"])), service("B", Some(&["y"]))], HashMap::new(), None);
        let first = |map: &Map, model: &str| {
            let plan = plan(map, &Fake(&[]), model, &[], Dialect::Chat).map_err(|e| e.code)?;
            let Target::Account { name } = &plan.candidates[0].target else { panic!("an account: {plan:?}") };
            Ok::<_, Code>(format!("{name}/{}", plan.candidates[0].model))
        };
        for (model, wanted) in [("y", "B/y"), ("y|x", "A/x"), (" x |y", "A/x"), ("z|y", "B/y"), ("nobody | y | x", "A/x"), ("A:x", "A/x")] {
            assert_eq!(first(&known, model), Ok(wanted.to_owned()), "{model}");
        }
        assert_eq!(first(&known, "nobody"), Err(Code::ModelNotFound));
        let unknown = Map::new(vec![service("A", None), service("B", Some(&["y"]))], HashMap::new(), None);
        assert_eq!(first(&unknown, "anything"), Ok("A/anything".to_owned()), "assumed, while its list is not known");
        assert_eq!(first(&unknown, "y"), Ok("B/y".to_owned()));
        let behind = plan(&unknown, &Fake(&[]), "y", &[], Dialect::Chat).unwrap().candidates;
        assert_eq!(behind.iter().map(|c| c.reason).collect::<Vec<_>>(), ["exact", "unlisted"], "A may have it too");
    }

    #[test]
    fn equal_accounts_that_speak_the_callers_dialect_come_first() {
        let speaks = |name, priority, speaks| AccountRoutes { priority, speaks: vec![speaks], ..account(name, "custom", &["m"]) };
        let accounts = vec![speaks("a", 1, Dialect::Chat), speaks("b", 1, Dialect::Messages), speaks("c", 2, Dialect::Messages)];
        let aliases = HashMap::from([("mine".to_owned(), vec!["a/m".to_owned(), "b/m".to_owned()])]);
        let map = Map::new(accounts, aliases, None);
        let order = |model: &str, caller| {
            let plan = plan(&map, &Fake(&[]), model, &[], caller).unwrap();
            plan.candidates
                .iter()
                .map(|c| if let Target::Account { name } = &c.target { name.to_string() } else { String::new() })
                .collect::<String>()
        };
        assert_eq!([order("m", Dialect::Chat), order("m", Dialect::Messages)], ["abc", "bac"]);
        assert_eq!(order("mine", Dialect::Messages), "ab", "an alias is in its own order");
    }

    #[test]
    fn names_that_lead_nowhere_say_so() {
        assert_eq!(ask("away"), Err(Code::NoAvailableTarget));
        assert_eq!(ask("house-lagre"), Err(Code::ModelNotFound));
        assert_eq!(ask("gpt-oss:99b"), Err(Code::ModelNotFound));
        assert_eq!(ask("loop"), Err(Code::ModelNotFound));
        assert_eq!(ask("openai:"), Err(Code::InvalidRequest));
        let near = plan(&map(), &Fake(&[]), "house-lagre", &[], Dialect::Chat).unwrap_err();
        assert!(near.message.contains("house-large"), "{near}");
    }

    #[test]
    fn fallbacks_follow_and_stand_in() {
        let nodes = Fake(&[]);
        let names = |model: &str, more: &[&str]| {
            plan(&map(), &nodes, model, more, Dialect::Chat).unwrap().candidates.iter().map(|c| c.model.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names("m1", &["shared", "m1"]), ["m1", "shared", "shared"]);
        assert_eq!(names("nobody", &["public"]), ["secret-name"]);
    }

    #[test]
    fn what_stands_in_for_a_reason_waits_for_it() {
        let view = View { nodes: &Fake(&[]), caller: Dialect::Chat, figures: &Unknown, chance: &|| 0.5 };
        let stand_ins = [("public", When::TooLong), ("shared", When::AgainstPolicy), ("public", When::Always)];
        let plan = super::plan(&map(), &view, "m1", &stand_ins).unwrap();
        let order: Vec<_> = plan.candidates.iter().map(|c| (&*c.model, c.when, c.name)).collect();
        assert_eq!(
            order,
            [
                ("m1", When::Always, 0),
                ("secret-name", When::TooLong, 1),
                ("shared", When::AgainstPolicy, 2),
                ("shared", When::AgainstPolicy, 2),
                ("secret-name", When::Always, 3)
            ]
        );
        assert_eq!(plan.stand_ins.len(), 3);
        assert!(super::plan(&map(), &view, "nobody", &stand_ins[..2]).is_err(), "nothing was too long for a name that is not known");
    }

    #[test]
    fn the_pattern_that_says_most_is_asked_first() {
        let accounts = ["*", "team/*", "team/big-*"].map(|pattern| account(pattern, "custom", &[pattern]));
        for strategy in [None, Some(config::config::Strategy::Shuffle)] {
            let mut map = Map::new(accounts.to_vec(), HashMap::new(), None);
            map.strategy = strategy;
            let asked = |model: &str| {
                let plan = plan(&map, &Fake(&[]), model, &[], Dialect::Chat).unwrap();
                plan.candidates.into_iter().map(|c| c.target).collect::<Vec<_>>()
            };
            let named = |names: &[&str]| names.iter().map(|name| Target::Account { name: (*name).into() }).collect::<Vec<_>>();
            assert_eq!(asked("team/big-one"), named(&["team/big-*", "team/*", "*"]));
            assert_eq!(asked("team/abc"), named(&["team/*", "*"]));
            assert_eq!(asked("else"), named(&["*"]));
        }
    }

    #[test]
    fn a_pattern_is_mapped_to_a_pattern() {
        let mut team = account("team", "anthropic", &["claude/*"]);
        team.model_map = BTreeMap::from([("claude/*".to_owned(), "*".to_owned()), ("claude/old".to_owned(), "claude-2".to_owned())]);
        let map = Map::new(vec![team], HashMap::new(), None);
        for (model, upstream) in [("claude/opus-4", "opus-4"), ("claude/old", "claude-2")] {
            assert_eq!(&*plan(&map, &Fake(&[]), model, &[], Dialect::Chat).unwrap().candidates[0].model, upstream);
        }
        assert_eq!(map.names().map(|(name, _)| name).collect::<Vec<_>>(), ["claude/old"], "a pattern is no name");
    }

    proptest! {
        #[test]
        fn no_name_panics_or_grows(model in "[a-z|:/*-]{0,300}") {
            if let Ok((_, candidates)) = ask(&model) {
                prop_assert!(!candidates.is_empty() && candidates.len() <= CANDIDATES_MAX);
            }
        }
    }
}
