use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::{AuthMode, Balancer, HistoryBodies, ManagementAuth, StoreUrl};
use crate::key::{Key, Shape};
use crate::show::{show_json, show_text};

fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let env = Environment::from_map(variables.iter().copied().chain([("HOME", "/home/me")]));
    load_text(&LoadArgs { cwd: Some("/work".into()), ..LoadArgs::default() }, &env, text, Path::new("/etc/router.yaml"))
}

fn loaded(text: &str, variables: &[(&str, &str)]) -> Loaded {
    load_with(text, variables).unwrap_or_else(|e| panic!("{e}"))
}

fn refused(text: &str, variables: &[(&str, &str)]) -> String {
    load_with(text, variables).map(|l| format!("it loaded: {}", show_text(&l))).expect_err("it must be refused").to_string()
}

fn shown<'a>(loaded: &'a Loaded, key: &str) -> (&'a str, String) {
    let found = loaded.shown.iter().find(|s| s.key == key).unwrap_or_else(|| panic!("{key} is not shown"));
    (&found.value, found.origin.to_string())
}

/// A value that a setting takes and that is not its default.
fn sample(key: &Key) -> &'static str {
    match key.name {
        "server.host" => "127.0.0.9",
        "server.port" => "8123",
        "server.listen" => "127.0.0.1:1,127.0.0.1:2",
        "server.data_dir" | "log.dir" | "audit.decision_log_path" | "default_model" | "fallback_models" | "default_embedding_model" => {
            "some-name"
        }
        "server.trusted_proxies" => "10.0.0.0/8",
        "server.max_body" | "server.max_upload" | "server.max_header" => "77KiB",
        "retry_statuses" => "500,503",
        "retry.backoff" => "1s..3s",
        "retry.retry_budget" => "7%",
        "fleet.balancer" => "p2c",
        "ledger.when_full" => "refuse",
        "auth.mode" => "off",
        "auth.management" => "open",
        "auth.oauth.algorithms" => "ES256",
        "store.url" => "sqlite:other.db",
        "history.bodies" | "auth.admin" => "none",
        "audit.fail_mode" => "closed",
        "log.level" => "debug",
        "telemetry.otlp_endpoint" | "auth.oauth.issuer" | "auth.oauth.jwks_url" | "auth.oidc.issuer" | "hub.url" => "http://127.0.0.1:4318",
        "cache.redis_url" => "redis://127.0.0.1/0",
        _ if key.default == "true" => "false",
        _ if key.default == "false" => "true",
        _ => "77",
    }
}

#[test]
fn every_setting_is_read_from_every_one_of_its_variables_and_from_the_file() {
    for key in KEYS.iter().filter(|k| k.is_single()) {
        let value = sample(key);
        // A switch alone asks for more, and is tried with that.
        let more = |switch: &str, value: &'static str| if key.name == switch { value } else { "" };
        let keys = ("OAUTH_JWKS_URL", more("auth.oauth.enabled", "http://127.0.0.1:1"));
        let client = ("LLM_ROUTER_AUTH_OIDC_CLIENT_ID", more("auth.oidc.issuer", "router"));
        let people = ("LLM_ROUTER_AUTH_OIDC_VIEWERS", more("auth.oidc.issuer", "*"));
        let want = if key.shape == Shape::Secret { "***" } else { value };
        let rule = key.rule_name(PREFIX);
        for variable in key.env.iter().copied().chain([rule.as_str()]) {
            let value = if variable == "HOST" { "127.0.0.9" } else { value };
            let loaded = loaded("", &[keys, client, people, (variable, value)]);
            assert_eq!(shown(&loaded, key.name), (want, format!("environment {variable}")), "{variable}");
            let told =
                loaded.warnings.iter().filter(|w| w.starts_with(&format!("{variable} is deprecated")) && w.contains(key.env[0])).count();
            assert_eq!(told, usize::from(key.deprecated.contains(&variable)), "{variable}: {:?}", loaded.warnings);
            assert!(loaded.warnings.iter().all(|w| !w.contains("no setting")), "{:?}", loaded.warnings);
        }
        let parts: Vec<&str> = key.name.split('.').collect();
        let text = parts.iter().rev().fold(format!("\"{value}\""), |inner, part| format!("{{{part}: {inner}}}"));
        assert_eq!(shown(&loaded(&text, &[keys, client, people]), key.name), (want, "/etc/router.yaml line 1".to_owned()), "{text}");
    }
}

#[test]
fn defaults_are_those_of_the_table() {
    let loaded = loaded("", &[]);
    for key in KEYS.iter().filter(|k| k.is_single() && !k.default.is_empty() && k.default_note.is_empty()) {
        assert_eq!(shown(&loaded, key.name), (key.default, "default".to_owned()), "{}", key.name);
    }
    let c = &loaded.config;
    assert_eq!(c.server.listeners(), ["0.0.0.0:8080".parse::<SocketAddr>().unwrap()]);
    assert_eq!((c.server.data_dir.to_str(), c.log.dir.to_str()), (Some("/home/me/.llm-router"), Some("/home/me/.llm-router/logs")));
    assert_eq!(c.store, StoreUrl::Sqlite("/home/me/.llm-router/router.db".into()));
    assert_eq!((c.server.max_body_bytes, c.retry_statuses.as_slice(), c.retry.budget), (64 << 20, &[429, 500, 502, 503, 504][..], 0.2));
    assert_eq!((c.auth.mode, c.auth.mode_explicit, c.auth.management), (AuthMode::Required, false, ManagementAuth::Required));
    assert_eq!((c.fleet.balancer, c.history.bodies, c.cache.enabled, c.rate_limit), (Balancer::Auto, HistoryBodies::Full, false, None));
    assert!(c.accounts.is_empty() && c.check_keys(false).is_ok() && loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn an_empty_file_is_fine() {
    for text in ["", "# nothing\n", "{}\n", "---\n", "server:\ndefault_model:\naccounts:\nauth: {keys: }\n", "default_model: ''\n"] {
        assert_eq!(loaded(text, &[]).config.default_model, None, "{text:?}");
    }
}

#[test]
fn a_flag_wins_over_a_variable_over_dotenv_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("router.yaml"), "server: {port: 1001, listen: '127.0.0.1:9'}\nfleet:\n  node_timeout: 5s\n").unwrap();
    std::fs::write(dir.path().join(".env"), "LLM_ROUTER_PORT=1002\n").unwrap();
    let with = |variables: &[(&str, &str)], listen: &[&str]| {
        let env = Environment::from_parts(variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())), dir.path()).unwrap();
        load(&LoadArgs { listen: listen.iter().map(|l| (*l).to_owned()).collect(), ..LoadArgs::default() }, &env).unwrap()
    };
    let at = dir.path().join("router.yaml");
    assert_eq!(with(&[], &[]).file.as_deref(), Some(at.as_path()));
    assert_eq!(shown(&with(&[], &[]), "server.port"), ("1002", ".env LLM_ROUTER_PORT".to_owned()));
    assert_eq!(shown(&with(&[("LLM_ROUTER_PORT", "")], &[]), "server.port").0, "1002");
    assert_eq!(shown(&with(&[("LLM_ROUTER_PORT", "1003")], &[]), "server.port").0, "1003");
    assert_eq!(shown(&with(&[], &[]), "fleet.node_timeout"), ("5s", format!("{} line 3", at.display())));
    let flagged = with(&[("LLM_ROUTER_LISTEN", "127.0.0.1:8")], &["127.0.0.1:7", "127.0.0.1:6,127.0.0.1:5"]);
    assert_eq!(shown(&flagged, "server.listen"), ("127.0.0.1:7,127.0.0.1:6,127.0.0.1:5", "flag --listen".to_owned()));
    assert_eq!(flagged.config.server.listeners().len(), 3);
}

#[test]
fn the_names_of_the_port_have_an_order() {
    let names = ["LLM_ROUTER_PORT", "ROUTER_PORT", "LITELLM_PORT", "PORT", "LLM_ROUTER_SERVER_PORT"];
    for pair in names.windows(2) {
        assert_eq!(loaded("", &[(pair[0], "1"), (pair[1], "2")]).config.server.port, 1, "{pair:?}");
    }
    let both = loaded("", &[("LLM_ROUTER_PORT", "1"), ("ROUTER_PORT", "2")]);
    assert_eq!(both.warnings, ["ROUTER_PORT is deprecated: use LLM_ROUTER_PORT"]);
}

#[test]
fn a_bare_host_counts_only_if_it_is_an_address() {
    for (host, want) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("my-laptop", "0.0.0.0")] {
        assert_eq!(loaded("", &[("HOST", host)]).config.server.host.to_string(), want);
    }
    assert!(refused("", &[("LLM_ROUTER_HOST", "my-laptop")]).contains("my-laptop"));
}

#[test]
fn what_kubernetes_exports_for_a_service_of_our_name_is_left_alone() {
    let loaded = loaded(
        "",
        &[
            ("LLM_ROUTER_PORT", "tcp://10.0.0.1:8080"),
            ("LLM_ROUTER_SERVICE_HOST", "10.0.0.1"),
            ("LLM_ROUTER_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("PORT", "81"),
        ],
    );
    assert_eq!((loaded.config.server.port, loaded.warnings.len()), (81, 0));
}

#[test]
fn a_wrong_variable_is_named_with_its_value_and_what_is_allowed() {
    for (name, value, allowed) in [
        ("LLM_ROUTER_PORT", "abc", "from 0 to 65535"),
        ("LLM_ROUTER_PORT", "99999", "from 0 to 65535"),
        ("PORT", "-1", "from 0 to 65535"),
        ("LLM_ROUTER_NODE_TIMEOUT", "soon", "a time"),
        ("LLM_ROUTER_NODE_TIMEOUT", "0", "above 0"),
        ("LLM_ROUTER_AUTH_MODE", "sometimes", "required, off"),
        ("ENABLE_AUTH", "maybe", "required, off"),
        ("LLM_ROUTER_LOAD_BALANCER_MODE", "coin", "round-robin"),
        ("LLM_ROUTER_LISTEN", "8080", "127.0.0.1:8080"),
        ("LLM_ROUTER_DATABASE_URL", "mysql://me@db/x", "sqlite:PATH or postgres://"),
        ("LLM_ROUTER_RETRY_STATUSES", "200", "400 to 599"),
        ("LLM_ROUTER_TRUSTED_PROXIES", "10.0.0.0/99", "a block"),
        ("OAUTH_ALGORITHMS", "none", "RS256"),
        ("LLM_ROUTER_RETRY_RETRY_BUDGET", "200%", "20%"),
        ("OPENAI_BASE_URL", "localhost:8000", "http://"),
        ("CEREBRAS_API_KEY", "k", ""),
    ] {
        if allowed.is_empty() {
            continue;
        }
        let said = refused("", &[(name, value), ("OPENAI_API_KEY", "k")]);
        let value = if name == "LLM_ROUTER_DATABASE_URL" { "mysql://me" } else { value };
        assert!(said.contains(name) && said.contains(value) && said.contains(allowed), "{name}={value}: {said}");
    }
}

#[test]
fn a_wrong_file_is_named_with_key_line_and_nearest() {
    for (text, words) in [
        ("default_model: m\nacounts: []\n", &["acounts", "`accounts`", "line 2", "/etc/router.yaml"][..]),
        (
            "default_model: m\naccounts:\n  - name: a\n    provider: openai\n    base_ulr: http://127.0.0.1:9\n",
            &["accounts[0].base_ulr", "`base_url`", "line 5"],
        ),
        ("# one\n# two\nretry_statusess: [500]\n", &["retry_statusess", "`retry_statuses`", "line 3"]),
        ("server:\n  prot: 1\n", &["server.prot", "`port`", "line 2"]),
        ("server: 8080\n", &["server = 8080", "a mapping", "line 1"]),
        ("default_model: m\nretry_statuses: often\n", &["retry_statuses", "often", "line 2"]),
        ("accounts:\n  - {name: a, base_url: 'http://h', priority: high}\n", &["accounts[0].priority", "high", "whole number", "line 2"]),
        (
            "accounts:\n  - {name: a, base_url: 'http://h', timeouts: {frist_byte: 1}}\n",
            &["accounts[0].timeouts.frist_byte", "`first_byte`"],
        ),
        ("accounts: {a: b}\n", &["accounts", "a list", "line 1"]),
        ("accounts: [{name: a, provider: nobodys}]\n", &["accounts[0].base_url is missing", "nobodys"]),
        ("accounts: [{name: a, base_url: 'http://h'}, {name: a, base_url: 'http://i'}]\n", &["two accounts are named a"]),
        ("accounts: [{name: a, base_url: 'http://h', wire: morse}]\n", &["accounts[0].wire", "morse", "responses"]),
        ("accounts: [{name: a, base_url: 'http://h', headers: {'a b': x}}]\n", &["headers.a b", "no header's name"]),
        ("models: [{name: m}]\n", &["models[0].name", "unknown key"]),
        ("models: [{context: 5}]\n", &["models[0].id is missing"]),
        ("task_routes: {general: {lo: m}}\n", &["task_routes.general.lo", "`low`"]),
        ("routes: {auto: {strategy: llmrouter-magic}}\n", &["routes.auto.strategy", "llmrouter-magic", "llmrouter-knn"]),
        ("aliases: {fast: []}\n", &["aliases.fast", "name of a model"]),
        ("server: {listen: ['127.0.0.1:1', '127.0.0.1:1']}\n", &["127.0.0.1:1 twice"]),
        ("default_model: [\nmodels: x\n", &["router.yaml", "line"]),
        ("- a\n", &["the file", "a mapping"]),
        ("mcp: yes\n", &["mcp", "a mapping"]),
        ("auth: {keys: [{key: k, scopes: [all]}]}\n", &["auth.keys[0].scopes", "all", "inference"]),
        ("auth: {keys: ['env:NOT_SET']}\n", &["auth.keys[0]", "NOT_SET"]),
        ("model_list: [{model_name: m, litellm_params: {}}]\n", &["litellm_params.model is missing"]),
    ] {
        let said = refused(text, &[]);
        assert!(words.iter().all(|w| said.contains(w)), "{text}\n{said}\nwants {words:?}");
    }
}

#[test]
fn errors_and_shown_settings_have_no_secrets() {
    const KEY: &str = "sk-very-secret";
    for text in [
        "accounts: [{name: a, base_url: 'http://u:sk-very-secret@h'}]\n",
        "accounts: [{name: a, base_url: 'http://h', headers: sk-very-secret}]\n",
        "accounts: [{name: a, base_url: 'http://h', api_key: [sk-very-secret]}]\n",
        "accounts: [{name: a, base_url: 'http://h', api_key: sk-very-secret, priority: x}]\n",
        "api_key: sk-very-secret\n",
        "a: sk-very-secret\nb: [\n",
        "a: \"sk-very-secret\n",
        "a: !!int sk-very-secret\n",
        "a: !!binary sk-very-secret\n",
        "a: sk-very-secret: b\n",
        "a: 'sk-very-secret' x\n",
        "general_settings: sk-very-secret\n",
        "store: {url: 'mysql://me:sk-very-secret@db/x'}\n",
        "auth: {keys: {sk: sk-very-secret}}\n",
        "auth: {jwt_secret: [sk-very-secret]}\n",
    ] {
        let said = refused(text, &[]);
        assert!(!said.contains(KEY), "{text}{said}");
    }
    assert!(!refused("", &[("ROUTER_SERVICES", "[{\"name\": \"a\", \"api_key\": \"sk-very-secret\",]")]).contains(KEY));
    assert!(!refused("", &[("LLM_ROUTER_DATABASE_URL", "mysql://me:sk-very-secret@db/x")]).contains(KEY));
    let text = "accounts: [{name: a, base_url: 'http://h', api_key: sk-very-secret, headers: {x-key: sk-very-secret}}]\nauth: {keys: [sk-very-secret], jwt_secret: sk-very-secret}\n\
                general_settings: {master_key: sk-very-secret}\nmcp: {servers: [{authorization_token: sk-very-secret, headers: {a: sk-very-secret}}]}\n";
    let variables =
        [("LLM_ROUTER_ADMIN_PASSWORD", KEY), ("OPENAI_API_KEY", KEY), ("REDIS_URL", "redis://:sk-very-secret@h/0"), ("AUTH_KEY_07", KEY)];
    let loaded = loaded(text, &variables);
    assert_eq!(loaded.config.accounts[0].api_key.as_ref().map(Secret::expose), Some(KEY));
    for said in [show_text(&loaded), show_json(&loaded).to_string(), format!("{loaded:?}")] {
        let at = said.find(KEY).map(|at| &said[at.saturating_sub(80)..at]);
        assert_eq!(at, None, "the secret stands behind this");
        assert!(said.contains("***"));
    }
}

#[test]
fn show_says_where_values_came_from() {
    let loaded = loaded(
        "default_model: m\naccounts:\n  - {name: a, base_url: 'http://h:1', models: [m], api_key: k}\n",
        &[("LLM_ROUTER_NODE_TIMEOUT", "77")],
    );
    let text = show_text(&loaded);
    let line = |word: &str| text.lines().find(|l| l.contains(word)).unwrap_or_else(|| panic!("{word}: {text}"));
    assert!(line("= 77").contains("fleet.node_timeout") && line("= 77").contains("environment LLM_ROUTER_NODE_TIMEOUT"));
    assert!(
        line("default_model").contains("/etc/router.yaml line 1")
            && line("server.port").ends_with("# default")
            && line("accounts[0].base_url").contains("http://h:1/v1")
    );
    let json = show_json(&loaded);
    assert_eq!(json["settings"]["fleet.node_timeout"], serde_json::json!({"value": "77", "origin": "environment LLM_ROUTER_NODE_TIMEOUT"}));
    assert_eq!(json["file"], "/etc/router.yaml");
}

#[test]
fn an_unknown_variable_of_ours_is_reported_with_the_nearest() {
    let warnings = loaded(
        "",
        &[("LLM_ROUTER_PROT", "1"), ("LLM_ROUTER_MCP_GATEWAY_ENABLED", "true"), ("LLM_ROUTER_API_KEY", "k"), ("OTHER_PROT", "1")],
    )
    .warnings;
    assert_eq!(warnings, ["LLM_ROUTER_PROT is no setting; did you mean LLM_ROUTER_PORT?"]);
}

#[test]
fn what_has_no_effect_is_said() {
    let text = "guardrails: {a: 1}\nmcp: {}\ngeneral_settings: {store_model_in_db: true}\nlitellm_settings: {drop_params: true}\n";
    let warnings = loaded(text, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")]).warnings;
    let foreign = "/etc/router.yaml line 3: general_settings.store_model_in_db has no effect";
    assert_eq!(warnings, [foreign, "accepted, but without effect in this version: telemetry.otlp_endpoint, guardrails"]);
}

#[test]
fn the_default_model_must_be_somewhere_if_it_is_said_what_there_is() {
    let account = "accounts: [{name: a, base_url: 'http://h', models: [m, 'gpt-*'], model_map: {public: own}}]\n";
    for known in ["m", "public", "gpt-5", "extra", "short", "a/x", "openai:x", "node:x", "auto", "m|x", "dummy"] {
        let text = format!("default_model: '{known}'\nmodels: [extra]\naliases: {{short: m}}\n{account}");
        assert!(load_with(&text, &[]).is_ok(), "{known}");
    }
    let said = refused(&format!("default_model: extr\nmodels: [extra]\n{account}"), &[]);
    assert!(said.contains("default_model = extr") && said.contains("line 1") && said.contains("did you mean extra?"), "{said}");
    assert!(loaded(&format!("default_model: nobody\n{account}"), &[]).warnings[0].contains("nobody"));
    for text in ["default_model: m\n", "default_model: m\nmodels: [x]\naccounts: [{name: a, base_url: 'http://h'}]\n"] {
        assert!(loaded(text, &[]).warnings.is_empty(), "{text}");
    }
}

#[test]
fn open_access_stays_on_loopback_unless_it_is_said_twice() {
    let off = ("LLM_ROUTER_AUTH_MODE", "off");
    let host = |variables: &[(&str, &str)]| loaded("", variables).config.server.listeners()[0].ip().to_string();
    assert_eq!(host(&[off]), "127.0.0.1");
    assert!(loaded("", &[off]).warnings[0].contains("127.0.0.1 only"));
    assert_eq!(shown(&loaded("", &[off]), "server.host").0, "127.0.0.1");
    for name in ["INGRESS_AUTH_REQUIRED", "ENABLE_AUTH"] {
        for value in ["false", "FALSE", "0", "no"] {
            let open = loaded("", &[(name, value)]);
            assert_eq!(
                (open.config.auth.mode, open.config.server.host.to_string().as_str()),
                (AuthMode::Off, "127.0.0.1"),
                "{name}={value}"
            );
        }
    }
    for named in [("LLM_ROUTER_HOST", "0.0.0.0"), ("LLM_ROUTER_LISTEN", "127.0.0.1:1,192.168.1.2:2"), ("HOST", "::")] {
        for open in [off, ("LLM_ROUTER_MANAGEMENT_AUTH", "open")] {
            let said = refused("", &[open, named]);
            assert!(said.contains("LLM_ROUTER_ALLOW_INSECURE") && said.contains(named.0), "{said}");
            assert!(load_with("", &[open, named, ("LLM_ROUTER_ALLOW_INSECURE", "true")]).is_ok());
        }
    }
    assert_eq!(host(&[off, ("LLM_ROUTER_HOST", "127.0.0.2")]), "127.0.0.2");
}

#[test]
fn required_by_the_operator_needs_a_possible_key() {
    let check = |variables: &[(&str, &str)], in_store| loaded("", variables).config.check_keys(in_store);
    let required = ("INGRESS_AUTH_REQUIRED", "true");
    assert!(check(&[required], false).unwrap_err().to_string().contains("LLM_ROUTER_API_KEYS"));
    assert!(check(&[required], true).is_ok() && check(&[], false).is_ok());
    for key in [("INGRESS_API_KEYS", "a"), ("AUTH_KEY_99", "a"), ("ADMIN_API_KEYS", "a"), ("LLM_ROUTER_MASTER_KEY", "a")] {
        assert!(check(&[required, key], false).is_ok(), "{key:?}");
    }
    assert!(check(&[required, ("OAUTH_ENABLED", "true"), ("OAUTH_ISSUER", "https://issuer")], false).is_ok());
    assert!(refused("", &[("OAUTH_ENABLED", "true")]).contains("OAUTH_ISSUER"));
}

#[test]
fn keys_of_all_sources_count_together() {
    let text =
        "auth: {keys: [sk-file, {name: ci, key: 'env:CI_KEY', scopes: [read]}], master: [sk-m0]}\ngeneral_settings: {master_key: sk-m1}\n";
    let variables = [
        ("CI_KEY", "sk-ci"),
        ("LLM_ROUTER_API_KEYS", "sk-a, sk-b,,sk-a"),
        ("AUTH_KEY", "sk-b"),
        ("AUTH_KEY_03", "sk-3"),
        ("ADMIN_API_KEYS", "sk-m2,sk-m0"),
        ("LITELLM_MASTER_KEY", "sk-m3"),
    ];
    let auth = loaded(text, &variables).config.auth;
    let keys: Vec<(&str, &str, usize)> = auth.keys.iter().map(|k| (k.name.as_str(), k.secret.expose(), k.scopes.len())).collect();
    assert_eq!(
        keys,
        [
            ("auth.keys[0]", "sk-file", 4),
            ("ci", "sk-ci", 1),
            ("LLM_ROUTER_API_KEYS[0]", "sk-a", 4),
            ("LLM_ROUTER_API_KEYS[1]", "sk-b", 6),
            ("AUTH_KEY_03", "sk-3", 3)
        ]
    );
    let masters: Vec<&str> = auth.master_keys.iter().map(Secret::expose).collect();
    assert_eq!(masters, ["sk-m0", "sk-m1", "sk-m3", "sk-m2"]);
}

#[test]
fn databases() {
    let url = |text: &str| loaded("", &[("DATABASE_URL", text)]).config.store;
    for (text, path) in [
        ("sqlite:router.db", "/work/router.db"),
        ("sqlite://router.db", "/work/router.db"),
        ("sqlite:///var/r.db?mode=rwc", "/var/r.db"),
        ("sqlite:/var/r.db", "/var/r.db"),
        ("sqlite:~/r.db", "/home/me/r.db"),
        ("data/models.db", "/work/data/models.db"),
    ] {
        assert_eq!(url(text), StoreUrl::Sqlite(path.into()), "{text}");
    }
    assert_eq!(url("sqlite::memory:"), StoreUrl::SqliteMemory);
    assert!(matches!(url("postgres://u:p@h/db"), StoreUrl::Postgres(_)));
    for text in ["mysql://h/db", "sqlite:", "mongodb:x", "postgres:x"] {
        assert!(refused("", &[("DATABASE_URL", text)]).contains("store.url"), "{text}");
    }
}

#[test]
fn prices_are_read_whole() {
    let text = "prices: {m: {input: 2.5, output: 10, cached: 0.25, source: 'https://example.com/prices'}}\n";
    let price = loaded(text, &[]).config.prices["m"].clone();
    assert_eq!((price.input, price.output, price.cached, price.cache_write), (2.5, 10.0, Some(0.25), None));
    assert_eq!(price.source.as_deref(), Some("https://example.com/prices"));
    for (wrong, at) in [
        ("prices: [m]\n", "prices"),
        ("prices: {m: {input: 1}}\n", "prices.m.output"),
        ("prices: {m: {input: -1, output: 1}}\n", "prices.m.input"),
        ("prices: {m: {input: 1, output: 1, per: token}}\n", "prices.m.per"),
    ] {
        let said = refused(wrong, &[]);
        assert!(said.contains(at), "{said}");
    }
}

#[test]
fn the_rest_is_read_into_its_types() {
    let text = "models:\n  - m\n  - {id: n, context: 4096, max_output: 512, capabilities: [tools], price: {input: 1}}\naliases: {fast: m, both: [m, n]}\n\
                task_routes: {general: {low: m, high: [n, m]}}\nfallback_models: [n]\nroutes: {cheap: {strategy: llmrouter-mlp, model: models/router/, quality: 0.3}}\n\
                retry: {max_attempts: 5, backoff: 1s..4s, retry_budget: 10%}\nrate_limit: {requests: 5}\nlimits: {default: {rpm: 1}}\n";
    let c = loaded(text, &[("REDIS_URL", "redis://h/0")]).config;
    assert_eq!(c.models.iter().map(|m| (m.id.as_str(), m.context)).collect::<Vec<_>>(), [("m", None), ("n", Some(4096))]);
    assert_eq!((c.aliases["fast"].len(), c.aliases["both"].len()), (1, 2));
    assert_eq!(
        (c.task_routes["general"].low.as_slice(), c.task_routes["general"].high.as_slice()),
        (&["m".to_owned()][..], &["n".to_owned(), "m".to_owned()][..])
    );
    assert_eq!((c.routes["cheap"].model.as_deref(), c.routes["cheap"].quality), (Some(Path::new("/work/models/router/")), Some(0.3)));
    assert_eq!((c.retry.max_attempts, c.retry.backoff_max, c.retry.budget), (5, Duration::from_secs(4), 0.1));
    assert_eq!((c.rate_limit.map(|r| r.window), c.cache.enabled), (Some(Duration::from_mins(1)), true));
    assert_eq!(c.sections.get("limits"), Some(&serde_json::json!({"default": {"rpm": 1}})));
    let named = loaded("models: {m: {context: 1}}\n", &[]).config.models;
    assert_eq!((named[0].id.as_str(), named[0].context), ("m", Some(1)));
}

const WHOLE: &str = "default_model: m\nserver: {port: 1, listen: ['127.0.0.1:1']}\nmodels: [m, {id: n, context: 5}]\naccounts:\n  - name: a\n    provider: openai\n    base_url: http://h\n    \
                     api_key: env:K\n    models: [m, \"gpt-*\"]\n    model_map: {x: y}\n    timeouts: {connect: 5s}\n    headers: {a: b}\naliases: {f: [m]}\ntask_routes: {general: {low: m}}\n\
                     retry: {backoff: 100ms..2s}\nauth: {mode: required, keys: [k, {key: j}], oauth: {enabled: false}}\nmodel_list:\n  - model_name: l\n    litellm_params: {model: openai/x}\n\
                     base: &b {a: 1}\nmcp: *b\n";

proptest! {
    #[test]
    fn a_damaged_file_never_panics(cuts in proptest::collection::vec((0usize..WHOLE.len(), 0usize..6, "[\\PC\n\t]{0,4}"), 1..6)) {
        let mut text = WHOLE.to_owned();
        for (at, length, insert) in cuts {
            let at = (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
            let end = (at + length..=text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(at);
            text.replace_range(at..end.max(at), &insert);
        }
        let _ = load_with(&text, &[]).map(|l| show_json(&l));
    }

    #[test]
    fn any_value_of_a_variable_is_survived(key in 0..KEYS.len(), text in "\\PC{0,24}") {
        let name = KEYS[key].rule_name(PREFIX);
        let _ = load_with("", &[(name.as_str(), text.as_str()), ("ROUTER_SERVICES", text.as_str())]);
    }
}
