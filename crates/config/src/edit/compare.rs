//! What is different between two configuration files.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Document, holds_secret, name_of_member};
use crate::secret::{MASK, mask_url};

/// Most differences that are told.
const CHANGES_MAX: usize = 500;

/// One value that is another than before. A secret shows as `***` on both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Where it stands: `accounts[primary].priority`, items by name where they have one.
    pub key: String,
    /// `null`: nothing stood there.
    pub from: Value,
    /// `null`: nothing stands there.
    pub to: Value,
}

/// What `after` says otherwise than `before`, in the order of `before` with what is new behind it.
pub fn changes(before: &Document, after: &Document) -> Vec<Change> {
    let mut found = Vec::new();
    compare("", false, &before.says, &after.says, &mut found);
    found.truncate(CHANGES_MAX);
    found
}

fn compare(path: &str, is_secret: bool, before: &Value, after: &Value, out: &mut Vec<Change>) {
    if before == after || out.len() > CHANGES_MAX {
        return;
    }
    match (members(before), members(after)) {
        (Some(old), new) if new.is_some() || after.is_null() => walk(path, is_secret, &old, &new.unwrap_or_default(), out),
        (None, Some(new)) if before.is_null() => walk(path, is_secret, &[], &new, out),
        _ => out.push(Change { key: path.to_owned(), from: shown(before, is_secret), to: shown(after, is_secret) }),
    }
}

fn walk(path: &str, is_secret: bool, old: &[(String, &Value)], new: &[(String, &Value)], out: &mut Vec<Change>) {
    let of = |all: &[(String, &Value)], name: &str| all.iter().find(|(n, _)| n == name).map_or(Value::Null, |(_, value)| (*value).clone());
    let added = new.iter().filter(|(name, _)| !old.iter().any(|(n, _)| n == name));
    for (name, _) in old.iter().chain(added) {
        let below = match name.strip_prefix('[') {
            Some(_) => format!("{path}{name}"),
            None if path.is_empty() => name.clone(),
            None => format!("{path}.{name}"),
        };
        let (old, new) = (of(old, name), of(new, name));
        let is_secret = is_secret || [&old, &new].into_iter().any(|value| holds_secret(name, value.as_str()));
        compare(&below, is_secret, &old, &new, out);
    }
}

/// Members of an object, or items of a list of objects; a list of single values is one value.
fn members(value: &Value) -> Option<Vec<(String, &Value)>> {
    match value {
        Value::Object(members) => Some(members.iter().map(|(name, value)| (name.clone(), value)).collect()),
        Value::Array(items) if items.is_empty() || items.iter().any(Value::is_object) => {
            let name = |(at, item)| format!("[{}]", name_of_member(item).map_or_else(|| usize::to_string(&at), str::to_owned));
            Some(items.iter().enumerate().map(|(at, item)| (name((at, item)), item)).collect())
        }
        _ => None,
    }
}

fn shown(value: &Value, is_secret: bool) -> Value {
    match value {
        Value::Null => Value::Null,
        _ if is_secret => MASK.into(),
        Value::String(text) => mask_url(text).into(),
        Value::Array(items) => items.iter().map(|item| shown(item, false)).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), shown(value, holds_secret(name, value.as_str())))).collect()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn told(before: &str, after: &str) -> Vec<String> {
        let document = |text: &str| Document::new(text, Path::new("router.yaml")).unwrap();
        changes(&document(before), &document(after)).into_iter().map(|c| format!("{} {} {}", c.key, c.from, c.to)).collect()
    }

    #[test]
    fn what_is_different_is_told_by_name_and_without_secrets() {
        let before = "server: {port: 1}\naccounts:\n  - {name: a, api_key: one, models: [x]}\n  - {name: b}\n";
        let after = "accounts:\n  - {name: b, priority: 2}\n  - {name: a, api_key: two, models: [x, y]}\ndefault_model: x\n";
        assert_eq!(
            told(before, after),
            [
                "server.port 1 null",
                "accounts[a].api_key \"***\" \"***\"",
                "accounts[a].models [\"x\"] [\"x\",\"y\"]",
                "accounts[b].priority null 2",
                "default_model null \"x\""
            ]
        );
        assert_eq!(told(before, &format!("# a comment\n{before}")), Vec::<String>::new());
        assert_eq!(
            told("{}", "accounts: [{name: a, api_key: k}]\nretry_statuses: [1]"),
            ["accounts[a].name null \"a\"", "accounts[a].api_key null \"***\"", "retry_statuses null [1]"]
        );
        assert_eq!(told("aliases: [x]", "aliases: {a: {api_key: k}}"), ["aliases [\"x\"] {\"a\":{\"api_key\":\"***\"}}"]);
        let key = "nt0123456789abcdef";
        assert_eq!(
            told("aliases: [x]", &format!("aliases: {{a: {{api_key_env: {key}}}}}")),
            ["aliases [\"x\"] {\"a\":{\"api_key_env\":\"***\"}}"]
        );
        assert_eq!(told(&format!("a: {{api_key_env: {key}}}"), "a: {api_key_env: KEY}"), ["a.api_key_env \"***\" \"***\""]);
        assert_eq!(told("", "cache: {redis_url: 'redis://:pw@h'}"), ["cache.redis_url null \"redis://:***@h\""]);
    }
}
