//! What a token says.

use serde::Deserialize;
use serde_json::Value;

/// Longest subject, as OpenID Connect bounds it.
const SUBJECT_BYTES_MAX: usize = 255;

/// The claims that are read; their types differ between providers.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    #[serde(default)]
    exp: Value,
    #[serde(default)]
    iss: Value,
    #[serde(default)]
    sub: Value,
    #[serde(default)]
    email: Value,
    #[serde(default)]
    client_id: Value,
    #[serde(default)]
    scope: Value,
    #[serde(default)]
    scp: Value,
    #[serde(default)]
    roles: Value,
    #[serde(default)]
    groups: Value,
    #[serde(default)]
    permissions: Value,
    #[serde(default)]
    realm_access: Value,
}

impl Claims {
    /// Unix seconds.
    pub(super) fn ends_at(&self) -> i64 {
        self.exp.as_f64().map_or(0, |seconds| seconds as i64)
    }

    /// Whether it says so of itself.
    pub(super) fn is_from(&self, issuer: &str) -> bool {
        self.iss.as_str() == Some(issuer)
    }

    /// Whom it is about: `sub`, else `email`, else `client_id`. One that could not stand in a log is none.
    pub(super) fn subject(&self) -> Option<&str> {
        let named = [&self.sub, &self.email, &self.client_id].into_iter().find_map(|claim| claim.as_str().filter(|s| !s.is_empty()))?;
        (named.len() <= SUBJECT_BYTES_MAX && !named.chars().any(char::is_control)).then_some(named)
    }

    /// Whether it has a scope, by `scope` or `scp`.
    pub(super) fn has_scope(&self, scope: &str) -> bool {
        has(&self.scope, scope) || has(&self.scp, scope)
    }

    /// Whether it has a scope, role, group or permission of that name.
    pub(super) fn has_word(&self, word: &str) -> bool {
        let realm = self.realm_access.get("roles").unwrap_or(&Value::Null);
        self.has_scope(word) || [&self.roles, &self.groups, &self.permissions, realm].into_iter().any(|claim| has(claim, word))
    }
}

/// Words stand in a list, or in one text with blanks between.
fn has(claim: &Value, word: &str) -> bool {
    match claim {
        Value::String(text) => text.split_ascii_whitespace().any(|one| one == word),
        Value::Array(items) => items.iter().any(|item| item.as_str() == Some(word)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Claims {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn words_are_found_where_providers_put_them() {
        let found = claims(
            json!({"scope": "a b", "scp": ["c"], "roles": ["d"], "groups": "e", "realm_access": {"roles": ["f"]}, "permissions": ["g"]}),
        );
        assert!(["a", "b", "c"].iter().all(|scope| found.has_scope(scope)));
        assert!(["a", "c", "d", "e", "f", "g"].iter().all(|word| found.has_word(word)));
        assert!(!found.has_scope("d") && !found.has_word("a b") && !found.has_word(""));
    }

    #[test]
    fn a_subject_is_a_name_that_can_be_written_down() {
        let subject = |value| claims(value).subject().map(str::to_owned);
        assert_eq!(subject(json!({"sub": "s", "email": "e"})).as_deref(), Some("s"));
        assert_eq!(subject(json!({"sub": "", "email": "e"})).as_deref(), Some("e"));
        assert_eq!(subject(json!({"client_id": "c"})).as_deref(), Some("c"));
        assert_eq!(subject(json!({"sub": 7})), None);
        assert_eq!(subject(json!({"sub": "a\nb"})), None);
        assert_eq!(subject(json!({"sub": "x".repeat(256)})), None);
    }
}
