//! Secrets out of what an assistant reads: its transcript outlives the session.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

/// What stands where a secret was.
pub(super) const MASK: &str = "***";

/// Members of JSON objects whose texts are secrets.
const MEMBERS: [&str; 22] = [
    "authorization",
    "proxy-authorization",
    "api_key",
    "apikey",
    "api-key",
    "x-api-key",
    "x-goog-api-key",
    "x-litellm-api-key",
    "x-admin-api-key",
    "x-node-token",
    "x-join-token",
    "token",
    "access_token",
    "refresh_token",
    "id_token",
    "node_token",
    "join_token",
    "router_secret",
    "secret",
    "client_secret",
    "password",
    "cookie",
];

/// What looks like a credential wherever it stands: bearer tokens, keys of this router and of others, tokens of sessions.
static LOOKS: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?i)(?P<kept>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{6,}|\b(?:sk|nt|jt|rk|pk|gsk|xai|hf|gh[pousr]|xox[a-z])[-_][A-Za-z0-9_-]{12,}|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*|\bAIza[A-Za-z0-9_-]{20,}";
    Regex::new(pattern).expect("the pattern is a constant")
});

/// A secret behind its name, in headers, queries, forms and JSON that is a text.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r#"(?i)(?P<kept>\b(?:proxy-authorization|authorization|cookie|[a-z-]*api[-_]?key|(?:[a-z]+[-_])*(?:token|secret|password))\\?["']?\s*[:=]\s*\\?["']?(?:bearer\s+|basic\s+)?)[^\s"'&,;}\\]+"#;
    Regex::new(pattern).expect("the pattern is a constant")
});

/// Masks a text. `own` are the secrets that this process holds.
pub(super) fn text(text: &str, own: &[String]) -> String {
    let mut masked = text.to_owned();
    for secret in own.iter().filter(|secret| !secret.is_empty()) {
        if masked.contains(secret.as_str()) {
            masked = masked.replace(secret.as_str(), MASK);
        }
    }
    let kept = |found: &Captures<'_>| format!("{}{MASK}", found.name("kept").map_or("", |kept| kept.as_str()));
    match LOOKS.replace_all(&masked, kept) {
        std::borrow::Cow::Owned(changed) => changed,
        std::borrow::Cow::Borrowed(_) => masked,
    }
}

/// Masks a text in which secrets may stand behind their names: a command, a page that is no JSON.
pub(super) fn command(command: &str, own: &[String]) -> String {
    let named = |found: &Captures<'_>| format!("{}{MASK}", found.name("kept").map_or("", |kept| kept.as_str()));
    text(&NAMED.replace_all(command, named), own)
}

/// Masks all texts of a value.
pub(super) fn value(value: &mut Value, own: &[String]) {
    match value {
        Value::String(said) => *said = text(said, own),
        Value::Array(list) => list.iter_mut().for_each(|each| self::value(each, own)),
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(said) if MEMBERS.contains(&name.to_ascii_lowercase().as_str()) => MASK.clone_into(said),
                    other => self::value(other, own),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = "sk_0123456789abcdefghijklmnopqrstuv";

    #[test]
    fn credentials_go_and_the_rest_stays() {
        let own = ["short-master".to_owned()];
        for (said, masked) in [
            (format!("the key {KEY} leaked"), "the key *** leaked".to_owned()),
            ("Authorization: Bearer abcdefghij".into(), "Authorization: Bearer ***".into()),
            ("my short-master".into(), "my ***".into()),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln".into(), "***".into()),
            ("key sk_0191 of prefix sk_ab12".into(), "key sk_0191 of prefix sk_ab12".into()),
            ("the bearer of this key".into(), "the bearer of this key".into()),
        ] {
            assert_eq!(text(&said, &own), masked);
        }
    }

    #[test]
    fn commands_show_no_secret_behind_a_name() {
        for (said, masked) in [
            ("curl -H 'X-API-Key: abc' x", "curl -H 'X-API-Key: ***' x"),
            ("curl -H 'Authorization: Bearer abc' x", "curl -H 'Authorization: Bearer ***' x"),
            (r#"curl -d '{"password":"hunter2","name":"a"}' x"#, r#"curl -d '{"password":"***","name":"a"}' x"#),
            ("curl x?api_key=abc&limit=1", "curl x?api_key=***&limit=1"),
            ("curl -H 'X-Node-Token: nt' x", "curl -H 'X-Node-Token: ***' x"),
            (r#"curl -d '{"max_tokens":5}' x"#, r#"curl -d '{"max_tokens":5}' x"#),
        ] {
            assert_eq!(command(said, &[]), masked);
        }
    }

    #[test]
    fn members_that_are_secrets_are_masked_and_counts_are_not() {
        let mut answer = json!({"token": "x", "usage": {"prompt_tokens": 3}, "list": [{"Password": "p", "key": KEY}], "prefix": "sk_ab12"});
        value(&mut answer, &[]);
        assert_eq!(
            answer,
            json!({"token": "***", "usage": {"prompt_tokens": 3}, "list": [{"Password": "***", "key": "***"}], "prefix": "sk_ab12"})
        );
    }
}
