//! Which keys and variables there are, and which of them an unknown one is most like.

use std::path::Path;

use crate::env::Environment;
use crate::error::ConfigError;
use crate::key::{Key, Shape};
use crate::tree::{Node, Value};

/// How alike two names must be for one to be offered for the other, 0…1.
const LIKENESS_MIN: f64 = 0.5;

/// The known name that is most like `name`.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let likeness = |other: &str| strsim::normalized_damerau_levenshtein(&name, &other.to_ascii_lowercase());
    let best = known.into_iter().map(|other| (likeness(other), other)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= LIKENESS_MIN).then(|| best.1.to_owned())
}

/// File and line as messages name them.
pub(crate) fn place(file: Option<&Path>, line: u64) -> String {
    match (file, line) {
        (Some(path), 0) => path.display().to_string(),
        (Some(path), line) => format!("{}, line {line}", path.display()),
        (None, _) => "settings".to_owned(),
    }
}

/// Refuses every key that the table does not have. Below `Structure` and `Kept` others judge.
pub(crate) fn check_file(root: &Node, keys: &[Key], file: Option<&Path>) -> Result<(), ConfigError> {
    if !root.is_null() && !matches!(root.value, Value::Map(_)) {
        let at = place(file, root.line);
        return Err(ConfigError::Value {
            name: "the file".to_owned(),
            value: root.brief(),
            origin: at,
            allowed: "a mapping of keys to values".to_owned(),
        });
    }
    check_level(root, "", keys, file)
}

fn check_level(node: &Node, path: &str, keys: &[Key], file: Option<&Path>) -> Result<(), ConfigError> {
    for entry in node.entries() {
        let name = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
        let below = format!("{name}.");
        if keys.iter().any(|key| key.name == name) {
            continue;
        }
        if !keys.iter().any(|key| key.name.starts_with(&below)) {
            let siblings = keys.iter().filter_map(|key| child(key.name, path));
            return Err(ConfigError::UnknownKey { at: place(file, entry.line), nearest: nearest(&entry.key, siblings), key: name });
        }
        if !entry.node.is_null() && !matches!(entry.node.value, Value::Map(_)) {
            let origin = place(file, entry.node.line);
            return Err(ConfigError::Value { name, value: entry.node.brief(), origin, allowed: "a mapping of keys to values".to_owned() });
        }
        check_level(&entry.node, &name, keys, file)?;
    }
    Ok(())
}

/// The part of `name` that stands directly below `path`.
fn child<'a>(name: &'a str, path: &str) -> Option<&'a str> {
    let rest = if path.is_empty() { name } else { name.strip_prefix(path)?.strip_prefix('.')? };
    rest.split('.').next()
}

/// Warns of every variable that begins like ours and means nothing.
pub(crate) fn unknown_variables(
    env: &Environment,
    prefix: &str,
    keys: &[Key],
    others: &[&str],
    beginnings: &[&str],
    rule: bool,
) -> Vec<String> {
    let by_rule: Vec<String> = if rule { keys.iter().filter(|k| k.is_single()).map(|k| k.rule_name(prefix)).collect() } else { Vec::new() };
    let mut known: Vec<&str> = keys.iter().flat_map(|k| k.env.iter().copied()).chain(others.iter().copied()).collect();
    known.extend(by_rule.iter().map(String::as_str));
    let unknown = env.names().filter(|name| {
        name.starts_with(prefix)
            && !known.contains(name)
            && !beginnings.iter().any(|b| name.starts_with(b))
            && !is_service_link(name, prefix)
    });
    unknown
        .map(|name| match nearest(name, known.iter().copied().filter(|k| k.starts_with(prefix))) {
            Some(like) => format!("{name} is no setting; did you mean {like}?"),
            None => format!("{name} is no setting"),
        })
        .collect()
}

/// What Kubernetes exports into every container for a service named like us.
fn is_service_link(name: &str, prefix: &str) -> bool {
    let rest = &name[prefix.len()..];
    rest.starts_with("SERVICE_HOST")
        || rest.starts_with("SERVICE_PORT")
        || rest.strip_prefix("PORT_").is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit()))
}

/// Kept sections are mappings or lists, never a lone value that looks like a mistake.
pub(crate) fn check_kept(root: &Node, keys: &[Key], file: Option<&Path>) -> Result<(), ConfigError> {
    for key in keys.iter().filter(|k| matches!(k.shape, Shape::Kept | Shape::Foreign)) {
        let Some(node) = root.at(key.name) else { continue };
        if node.scalar().is_some() {
            let (value, allowed) = ("a single value".to_owned(), "a mapping".to_owned());
            return Err(ConfigError::Value { name: key.name.to_owned(), value, origin: place(file, node.line), allowed });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_offered_only_if_it_is_near() {
        let known = ["accounts", "aliases", "auth"];
        assert_eq!(nearest("acounts", known).as_deref(), Some("accounts"));
        assert_eq!(nearest("AUHT", known).as_deref(), Some("auth"));
        assert_eq!(nearest("zzzzzzzz", known), None);
    }
}
