//! Everything that is wrong with a configuration at once, for people who write one.

use std::path::Path;

use serde::Serialize;

use crate::env::Environment;
use crate::error::ConfigError;
use crate::file;
use crate::load::{LoadArgs, Loaded, load_tree};
use crate::secret::{Secret, mask_keys};
use crate::tree::{Node, Value};

/// Most problems that are named.
const PROBLEMS_MAX: usize = 100;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What, where and what is allowed; never a secret.
    pub message: String,
    /// Where in the file: `accounts[0].base_url`; what looks like a secret in it is masked.
    pub key: Option<String>,
    /// From 1.
    pub line: Option<u64>,
}

impl Problem {
    /// The problem that an error is.
    pub fn of(error: &ConfigError) -> Self {
        let line = match error {
            ConfigError::UnknownKey { at: place, .. }
            | ConfigError::Value { origin: place, .. }
            | ConfigError::Dangling { at: place, .. }
            | ConfigError::Invalid(place) => line_in(place),
            ConfigError::Syntax { line, .. } => Some(*line),
            ConfigError::Missing { .. } | ConfigError::Unreadable { .. } | ConfigError::Unwritable { .. } => None,
        };
        Self { message: error.to_string(), key: setting(error).map(mask_keys), line }
    }
}

/// The setting that an error is of, where it is of one.
fn setting(error: &ConfigError) -> Option<&str> {
    match error {
        ConfigError::UnknownKey { key: name, .. } | ConfigError::Value { name, .. } | ConfigError::Dangling { name, .. } => Some(name),
        _ => None,
    }
}

/// The line that a message names.
fn line_in(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once(" line ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// As [`crate::load_text`], with every problem instead of the first: what is wrong is set aside, and the rest is read again.
///
/// # Errors
/// At least one problem. Of values that do not go together only those are named that are not due to what was set aside.
pub fn check_text(args: &LoadArgs, env: &Environment, text: &str, path: &Path) -> Result<Loaded, Vec<Problem>> {
    let cwd = args.cwd.clone().unwrap_or_else(|| env.cwd().to_owned());
    let home = args.home.clone().or_else(|| env.home().map(Path::to_owned));
    let mut root = file::parse(text, path).map_err(|error| vec![Problem::of(&error)])?;
    let mut problems = Vec::new();
    loop {
        let error = match load_tree(args, env, &root, Some(path.to_owned()), cwd.clone(), home.clone()) {
            Ok(loaded) if problems.is_empty() => return Ok(Loaded { text: Secret::new(text), ..loaded }),
            Ok(_) => return Err(problems),
            Err(error) => error,
        };
        let setting = setting(&error);
        if setting.is_some() || problems.is_empty() {
            problems.push(Problem::of(&error));
        }
        let is_set_aside = setting.is_some_and(|name| set_aside(&mut root, name));
        if !is_set_aside || problems.len() >= PROBLEMS_MAX {
            return Err(problems);
        }
    }
}

/// Takes away the value at a path as messages have it. False: it is not there, or is an item of a list, whose others would get other places.
fn set_aside(node: &mut Node, path: &str) -> bool {
    match &mut node.value {
        Value::Map(entries) => {
            if let Some(at) = entries.iter().position(|entry| entry.key == path) {
                entries.remove(at);
                return true;
            }
            entries.iter_mut().any(|entry| {
                let below = path.strip_prefix(entry.key.as_str()).filter(|rest| rest.starts_with(['.', '[']));
                below.is_some_and(|rest| set_aside(&mut entry.node, rest.strip_prefix('.').unwrap_or(rest)))
            })
        }
        Value::List(items) => {
            let Some((at, rest)) = path.strip_prefix('[').and_then(|path| path.split_once(']')) else { return false };
            let item = at.parse().ok().and_then(|at: usize| items.get_mut(at));
            item.zip(rest.strip_prefix('.')).is_some_and(|(item, rest)| set_aside(item, rest))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<(Option<String>, Option<u64>)> {
        let found = check_text(&LoadArgs::default(), &Environment::default(), text, Path::new("/etc/router.yaml"));
        found.map_or_else(|all| all.into_iter().map(|p| (p.key, p.line)).collect(), |_| Vec::new())
    }

    #[test]
    fn a_key_that_stands_in_the_place_of_something_else_is_not_told() {
        for text in [
            "accounts: sk-proj-0123456789abcdefABCDEF\n",
            "retry_statuses: 0123456789abcdef0123456789abcdef\n",
            "sk-0123456789abcdefABCDEF: 1\n",
            "accounts: [{name: a, provider: openai, api_key: k, headers: {x: env:sk-0123456789abcdefABCDEF}}]\n",
            "accounts: [{name: a, provider: openai, api_key: k, headers: {'sk 0123456789abcdefABCDEF': b}}]\n",
        ] {
            let found = check_text(&LoadArgs::default(), &Environment::default(), text, Path::new("/etc/router.yaml")).unwrap_err();
            let said = format!("{:?}", found[0]);
            assert!(said.contains("***") && !said.contains("0123456789abcdef"), "{said}");
        }
    }

    #[test]
    fn a_key_that_stands_in_the_place_of_its_variable_is_not_told() {
        for member in ["api_key: os.environ/sk-0123456789abcdefABCDEF", "api_key_env: sk-0123456789abcdefABCDEF"] {
            let text = format!("accounts: [{{name: a, provider: openai, {member}}}]\n");
            let loaded = check_text(&LoadArgs::default(), &Environment::default(), &text, Path::new("/etc/router.yaml")).unwrap();
            let said = format!("{loaded:?}");
            assert!(said.contains("sk-*** is not set") && !said.contains("0123456789abcdef"), "{said}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_named_with_its_line() {
        let text = "acounts: []\nserver:\n  port: many\n  host: 127.0.0.1\naccounts:\n  - name: a\n    provider: openai\n    api_key: k\n    prio: 1\n    \
                    weight: heavy\nretry_statuses: often\ndefault_model: m\n";
        let some = |key: &str, line| (Some(key.to_owned()), Some(line));
        let mut found = problems(text);
        found.sort_by_key(|(_, line)| *line);
        assert_eq!(
            found,
            [
                some("acounts", 1),
                some("server.port", 3),
                some("accounts[0].prio", 9),
                some("accounts[0].weight", 10),
                some("retry_statuses", 11)
            ]
        );
        assert_eq!(problems("a: [\n").len(), 1);
        assert_eq!(problems("default_model: m\n"), []);
    }

    #[test]
    fn what_refers_to_nothing_is_named_with_its_line() {
        let text = "auth:\n  jwt_secret: env:NOBODY_SET\n  master: [env:NOBODY_SET]\naccounts:\n  - name: a\n    provider: openai\n    \
                    api_key: file:/nowhere/key\n    headers: {x-a: env:NOBODY_SET}\n";
        let named: Vec<_> = problems(text).into_iter().map(|(key, line)| (key.unwrap_or_default(), line.unwrap_or_default())).collect();
        for wanted in [("auth.jwt_secret", 2), ("auth.master", 3), ("accounts[0].api_key", 7), ("accounts[0].headers.x-a", 8)] {
            assert!(named.iter().any(|(key, line)| (key.as_str(), *line) == wanted), "{wanted:?}: {named:?}");
        }
    }

    #[test]
    fn what_follows_from_another_mistake_is_not_named() {
        // Without its address the account would be refused for having none.
        let text = "accounts:\n  - {name: a, provider: custom, base_url: 'not an address'}\n";
        let found = problems(text);
        assert_eq!(found, [(Some("accounts[0].base_url".to_owned()), Some(2))]);
    }
}
