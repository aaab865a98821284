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
    #[serde(default)]
    nonce: Value,
    #[serde(default)]
    azp: Value,
    #[serde(default)]
    preferred_username: Value,
    #[serde(default)]
    name: Value,
    #[serde(default)]
    email_verified: Value,
}

/// Somebody for whom the identity provider vouches.
#[derive(Debug)]
pub struct Person {
    subject: String,
    claims: Claims,
}

impl Person {
    /// The person of a token whose signature counts, where it names one.
    pub(super) fn of(claims: Claims) -> Option<Self> {
        let subject = claims.sub.as_str().filter(|sub| is_name(sub))?.to_owned();
        Some(Self { subject, claims })
    }

    /// What the provider calls them for ever.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// What people call them; the provider may give it to somebody else one day.
    pub fn name(&self) -> &str {
        let Claims { preferred_username, email, name, .. } = &self.claims;
        [preferred_username, email, name].into_iter().find_map(|claim| claim.as_str().filter(|text| is_name(text))).unwrap_or(&self.subject)
    }

    /// Whether a scope, role, group or permission of theirs is among these words, or their address, if the provider has seen that it is theirs.
    /// `*` is everybody's.
    pub fn has_any(&self, words: &[String]) -> bool {
        let Claims { email, email_verified, .. } = &self.claims;
        let address = email.as_str().filter(|_| email_verified == &Value::Bool(true));
        words.iter().any(|word| word == "*" || address == Some(word) || self.claims.has_word(word))
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= SUBJECT_BYTES_MAX && !text.chars().any(char::is_control)
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
        is_name(named).then_some(named)
    }

    /// Whether it was made for the log-in that this word went along with.
    pub(super) fn has_nonce(&self, nonce: &str) -> bool {
        !nonce.is_empty() && self.nonce.as_str() == Some(nonce)
    }

    /// Whether it was made for this party, where it says for which of several.
    pub(super) fn is_for(&self, party: Option<&str>) -> bool {
        self.azp.is_null() || self.azp.as_str() == party
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
    fn a_person_is_known_by_an_id_and_let_in_by_words() {
        let person = |value| Person::of(claims(value));
        let ann = person(json!({"sub": "1", "name": "Ann", "email": "ann@x", "email_verified": true, "groups": ["ops"]})).unwrap();
        assert_eq!((ann.subject(), ann.name()), ("1", "ann@x"));
        let has = |person: &Person, word: &str| person.has_any(&[word.to_owned()]);
        assert!(has(&ann, "ops") && has(&ann, "ann@x") && has(&ann, "*") && !has(&ann, "1") && !ann.has_any(&[]));
        let unseen = person(json!({"sub": "1", "email": "ann@x", "email_verified": "true"})).unwrap();
        assert!(!has(&unseen, "ann@x"), "anybody can say so");
        assert!(person(json!({"email": "ann@x"})).is_none(), "an address is no id");
        assert!(
            claims(json!({"nonce": "n"})).has_nonce("n")
                && !claims(json!({"nonce": ""})).has_nonce("")
                && !claims(json!({})).has_nonce("n")
        );
        assert!(
            claims(json!({})).is_for(Some("a"))
                && claims(json!({"azp": "a"})).is_for(Some("a"))
                && !claims(json!({"azp": "b"})).is_for(Some("a"))
        );
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
