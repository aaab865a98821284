use std::path::Path;

use crate::{ConfigError, Environment, LoadArgs, Loaded};

/// The settings that a file and variables come to.
fn load(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let environment = Environment::from_map(variables.iter().copied().chain([("HOME", "/home/me")]));
    crate::load_text(&LoadArgs { cwd: Some("/work".into()), ..LoadArgs::default() }, &environment, text, Path::new("/router.yaml"))
}

const ON: (&str, &str) = ("OAUTH_ENABLED", "true");
const KEYS: (&str, &str) = ("OAUTH_JWKS_URL", "http://issuer.test/keys");

#[test]
fn algorithms_fit_what_signatures_are_verified_by() {
    let algorithms = |variables: &[(&str, &str)]| load("", variables).map(|loaded| loaded.config.auth.oauth.unwrap().algorithms);
    let secret = ("OAUTH_JWT_SECRET", "a-shared-secret");
    assert_eq!(algorithms(&[ON, KEYS]).unwrap(), ["RS256"]);
    assert_eq!(algorithms(&[ON, secret]).unwrap(), ["HS256"]);
    assert_eq!(algorithms(&[ON, KEYS, ("OAUTH_ALGORITHMS", "ES256,EdDSA")]).unwrap(), ["ES256", "EdDSA"]);
    for (by, wrong) in [(KEYS, "HS256"), (KEYS, "none"), (KEYS, "RS1024"), (secret, "RS256"), (secret, "none")] {
        let said = algorithms(&[ON, by, ("OAUTH_ALGORITHMS", wrong)]).unwrap_err().to_string();
        assert!(said.contains(wrong) && said.contains("OAUTH_ALGORITHMS"), "{said}");
    }
}

#[test]
fn what_tokens_may_is_checked() {
    let oauth = |text: &str| load(text, &[ON, KEYS]).map(|loaded| loaded.config.auth.oauth.unwrap());
    let found = oauth("auth: {oauth: {grants: {llm.use: [inference], boss: admin}, limits: {rpm: 5}}}").unwrap();
    let grants = found.grants.unwrap();
    assert_eq!((grants["llm.use"].as_slice(), grants["boss"].as_slice()), (&["inference".to_owned()][..], &["admin".to_owned()][..]));
    assert_eq!((found.limits.rpm, found.limits.tpm), (Some(5), None));
    assert_eq!(oauth("").unwrap().grants, None);
    for (text, names) in [
        ("auth: {oauth: {grants: {x: [root]}}}", "auth.oauth.grants.x"),
        ("auth: {oauth: {grants: [inference]}}", "auth.oauth.grants"),
        ("auth: {oauth: {grants: {}}}", "auth.oauth.grants"),
        ("auth: {oauth: {limits: {rpm: 0}}}", "auth.oauth.limits"),
        ("auth: {oauth: {limits: {rqm: 1}}}", "rpm"),
    ] {
        assert!(oauth(text).unwrap_err().to_string().contains(names), "{text}");
    }
}
