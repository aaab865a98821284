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

#[test]
fn a_provider_to_log_in_at_lets_somebody_in_and_not_everybody_administer() {
    let oidc = |text: &str| load(&format!("auth: {{oidc: {{{text}}}}}"), &[]).map(|loaded| loaded.config.auth.oidc);
    let found = oidc("issuer: 'https://login.test', client_id: me, client_secret: s, admins: ops").unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.scopes.join(" ").as_str()), ("single sign-on", "openid profile email"));
    assert_eq!((found.admins.as_slice(), found.viewers.len()), (&["ops".to_owned()][..], 0));
    assert_eq!(load("", &[]).unwrap().config.auth.oidc, None);
    let halves = load("auth: {oidc: {client_id: me, admins: ops}}", &[]).unwrap();
    assert!(
        halves.config.auth.oidc.is_none() && halves.warnings.iter().any(|warning| warning.contains("`issuer`")),
        "{:?}",
        halves.warnings
    );
    for (text, word) in [
        ("issuer: 'https://login.test', admins: ops", "client_id"),
        ("issuer: login.test, client_id: me, admins: ops", "URL"),
        ("issuer: 'https://login.test', client_id: me", "viewers"),
        ("issuer: 'https://login.test', client_id: me, admins: '*'", "everybody"),
    ] {
        assert!(oidc(text).unwrap_err().to_string().contains(word), "{text}");
    }
    let variables = [
        ("LLM_ROUTER_AUTH_OIDC_ISSUER", "https://login.test"),
        ("LLM_ROUTER_AUTH_OIDC_CLIENT_ID", "me"),
        ("LLM_ROUTER_AUTH_OIDC_VIEWERS", "*"),
    ];
    assert!(load("", &variables).unwrap().config.auth.oidc.is_some());
}

#[test]
fn a_key_of_the_file_may_have_a_budget() {
    let key = |budget: &str| load(&format!("auth: {{keys: [{{name: a, key: sk_a, budget: {budget}}}, sk_b]}}"), &[]);
    let of = |budget: &str| {
        let keys = key(budget).unwrap().config.auth.keys;
        assert_eq!(keys[1].budget, None);
        keys[0].budget.clone().map(|budget| (budget.dollars, budget.window))
    };
    assert_eq!(of("{amount: 2.5, currency: usd}"), Some((2.5, "month".to_owned())));
    assert_eq!(of("{amount: 1, window: total}"), Some((1.0, "total".to_owned())));
    for (wrong, word) in [
        ("{}", "budget.amount"),
        ("{amount: 0}", "above 0"),
        ("{amount: 1, currency: EUR}", "USD"),
        ("{amount: 1, window: year}", "month"),
        ("{amount: 1, per: day}", "budget.per"),
        ("5", "a mapping"),
    ] {
        let said = key(wrong).map(|_| ()).unwrap_err().to_string();
        assert!(said.contains(word), "{wrong}: {said}");
    }
}
