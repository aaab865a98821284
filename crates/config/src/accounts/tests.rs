use std::time::Duration;

use super::*;
use crate::load::{LoadArgs, Loaded, load_text};

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let env = Environment::from_map(variables.iter().copied());
    load_text(&LoadArgs::default(), &env, text, std::path::Path::new("router.yaml"))
}

fn accounts(text: &str, variables: &[(&str, &str)]) -> Vec<Account> {
    load(text, variables).unwrap_or_else(|e| panic!("{e}")).config.accounts
}

fn key(account: &Account) -> Option<&str> {
    account.api_key.as_ref().map(Secret::expose)
}

#[test]
fn every_provider_of_the_environment() {
    for (variables, name, base_url) in [
        (&[("OPENAI_API_KEY", "k")][..], "openai", "https://api.openai.com/v1"),
        (&[("EXTERNAL_OPENAI_KEY", "k"), ("OPENAI_BASE_URL", "http://h/proxy/v1/")], "openai", "http://h/proxy/v1"),
        (&[("ANTHROPIC_API_KEY", "k")], "anthropic", "https://api.anthropic.com/v1"),
        (
            &[("EXTERNAL_ANTHROPIC_KEY", "k"), ("ANTHROPIC_BASE_URL", "http://b"), ("ANTHROPIC_API_BASE_URL", "http://a")],
            "anthropic",
            "http://a/v1",
        ),
        (&[("GEMINI_API_KEY", "k")], "google", "https://generativelanguage.googleapis.com/v1beta"),
        (&[("GOOGLE_API_KEY", "k"), ("GOOGLE_BASE_URL", "http://h/v1beta")], "google", "http://h/v1beta"),
        (&[("OPENROUTER_API_KEY", "k")], "openrouter", "https://openrouter.ai/api/v1"),
        (&[("OPENROUTER_API_KEY", "k"), ("OPENROUTER_BASE_URL", "http://h/api/v1/")], "openrouter", "http://h/api/v1"),
        (&[("GROK_API_KEY", "k"), ("GROK_BASE_URL", "https://api.groq.com")], "grok", "https://api.groq.com/openai/v1"),
        (&[("VENICE_API_KEY", "k"), ("VENICE_BASE_URL", "http://h/api")], "venice", "http://h/api/v1"),
        (&[("CEREBRAS_API_KEY", "k")], "cerebras", "https://api.cerebras.ai/v1"),
        (&[("DEEPINFRA_TOKEN", "k")], "deepinfra", "https://api.deepinfra.com/v1/openai"),
        (&[("DEEPINFRA_TOKEN", "k"), ("DEEPINFRA_BASE_URL", "http://h/v1/openai")], "deepinfra", "http://h/v1/openai"),
        (&[("BACKEND_API_KEY", "k"), ("BACKEND_BASE_URL", "http://localhost:11434")], "backend", "http://localhost:11434/v1"),
        (&[("VLLM_API_KEY", "k"), ("VLLM_BASE_URL", "http://h")], "vllm", "http://h/v1"),
        (&[("GROQ_API_KEY", "k")], "groq", "https://api.groq.com/openai/v1"),
        (&[("XAI_API_KEY", "k")], "xai", "https://api.x.ai/v1"),
        (&[("MISTRAL_API_KEY", "k")], "mistral", "https://api.mistral.ai/v1"),
        (&[("DEEPSEEK_API_KEY", "k")], "deepseek", "https://api.deepseek.com/v1"),
        (&[("DEEPSEEK_API_KEY", "k"), ("DEEPSEEK_BASE_URL", "http://h")], "deepseek", "http://h/v1"),
        (&[("TOGETHER_API_KEY", "k")], "together", "https://api.together.xyz/v1"),
        (&[("FIREWORKS_API_KEY", "k")], "fireworks", "https://api.fireworks.ai/inference/v1"),
        (
            &[("AZURE_OPENAI_API_KEY", "k"), ("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com/")],
            "azure",
            "https://r.openai.azure.com/openai/v1",
        ),
    ] {
        let found = accounts("", variables);
        assert_eq!(
            found.iter().map(|a| (a.name.as_str(), a.base_url.as_str(), key(a), a.auth_mode)).collect::<Vec<_>>(),
            [(name, base_url, Some("k"), AccountAuth::ApiKey)],
            "{variables:?}"
        );
    }
    for (variable, name) in [
        ("LLMD_ENDPOINT", "llm-d"),
        ("LLM_D_BASE_URL", "llm-d"),
        ("LOCAL_AGENT_URL", "agent"),
        ("OLLAMA_BASE_URL", "ollama"),
        ("OPENAI_BASE_URL", "openai"),
    ] {
        let found = accounts("", &[(variable, "http://h:1/v1/")]);
        assert_eq!(
            found.iter().map(|a| (a.name.as_str(), a.base_url.as_str(), key(a), a.auth_mode)).collect::<Vec<_>>(),
            [(name, "http://h:1/v1", None, AccountAuth::None)]
        );
    }
    for alone in ["AZURE_OPENAI_API_KEY", "OLLAMA_API_KEY", "VLLM_API_KEY", "BACKEND_API_KEY", "UNKNOWN_API_KEY"] {
        assert!(accounts("", &[(alone, "k")]).is_empty(), "{alone}");
    }
}

#[test]
fn the_short_name_of_a_key_wins() {
    let found = accounts("", &[("OPENAI_API_KEY", "short"), ("EXTERNAL_OPENAI_KEY", "long")]);
    assert_eq!((key(&found[0]), found[0].api_key_variable.as_deref()), (Some("short"), Some("OPENAI_API_KEY")));
    assert_eq!(key(&accounts("", &[("OPENAI_API_KEY", ""), ("EXTERNAL_OPENAI_KEY", "long")])[0]), Some("long"));
}

#[test]
fn the_order_is_file_services_environment() {
    let variables = [
        ("OLLAMA_BASE_URL", "http://h"),
        ("OPENAI_API_KEY", "k"),
        ("VENICE_API_KEY", "k"),
        ("DEEPINFRA_TOKEN", "k"),
        ("CEREBRAS_API_KEY", "k"),
        ("ROUTER_SERVICES", r#"[{"name": "A", "backend_type": "custom", "base_url": "http://a/v1/", "priority": 3}]"#),
    ];
    let found =
        accounts("services: [{name: S, base_url: 'http://s'}]\naccounts: [{name: file, base_url: 'http://f', priority: 9}]\n", &variables);
    assert_eq!(
        found.iter().map(|a| a.name.as_str()).collect::<Vec<_>>(),
        ["file", "S", "A", "cerebras", "deepinfra", "openai", "venice", "ollama"]
    );
    assert_eq!(
        found.iter().map(|a| a.reach).take(4).collect::<Vec<_>>(),
        [Reach::Any, Reach::Discovered, Reach::Discovered, Reach::Prefixed]
    );
    assert!(found[3..].is_sorted_by(|a, b| a.priority < b.priority) && found[3].priority > 9);
}

#[test]
fn services_are_accounts() {
    let text = r#"[{"name": "A", "backend_type": "openai", "base_url": "http://a/v1", "api_key": "k", "timeout": 1, "priority": 2, "rate_limit_requests": 5, "rate_limit_window": 10},
                   {"name": "B", "backend_type": "cerebras", "api_key": "k", "models": ["m"]}]"#;
    let found = accounts("", &[("ROUTER_SERVICES", text), ("REQUEST_TIMEOUT", "7")]);
    let a = &found[0];
    assert_eq!(
        (a.provider.as_str(), a.priority, a.timeouts.first_byte, a.timeouts.connect),
        ("openai", 2, Duration::from_secs(1), Duration::from_secs(5))
    );
    assert_eq!(a.rate_limit, Some(RateLimit { requests: 5, window: Duration::from_secs(10) }));
    assert_eq!(
        (found[1].base_url.as_str(), found[1].reach, found[1].timeouts.first_byte),
        ("https://api.cerebras.ai/v1", Reach::Listed, Duration::from_secs(7))
    );
    for (text, word) in [
        ("[{]", "column 3"),
        ("{\"name\": \"A\"}", "a JSON list"),
        (r#"[{"name": "A", "base_url": "http://a"}, {"name": "B", "base_url": "nowhere"}]"#, "ROUTER_SERVICES[1].base_url"),
        (r#"[{"base_url": "http://a"}]"#, "ROUTER_SERVICES[0].name is missing"),
        (r#"[{"name": "A", "base_ulr": "http://a"}]"#, "ROUTER_SERVICES[0].base_ulr"),
        (r#"[{"name": "A", "base_url": "http://a"}, {"name": "A", "base_url": "http://b"}]"#, "ROUTER_SERVICES[0], ROUTER_SERVICES[1]"),
        ("[7]", "ROUTER_SERVICES[0]"),
    ] {
        let said = load("", &[("ROUTER_SERVICES", text)]).map(|_| ()).unwrap_err().to_string();
        assert!(said.contains("ROUTER_SERVICES") && said.contains(word), "{text}: {said}");
    }
}

#[test]
fn keys_in_all_their_forms() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key.txt"), "sk-file\n").unwrap();
    let from_file = format!("file:{}", dir.path().join("key.txt").display());
    for (fields, want, variable) in [
        ("api_key: env:MY_KEY", Some("sk-env"), Some("MY_KEY")),
        ("api_key: os.environ/MY_KEY", Some("sk-env"), Some("MY_KEY")),
        (&format!("api_key: '{from_file}'"), Some("sk-file"), None),
        ("api_key: sk-plain", Some("sk-plain"), None),
        ("api_key: 1234", Some("1234"), None),
        ("api_key_env: MY_KEY", Some("sk-env"), Some("MY_KEY")),
        ("api_key: sk-plain\n    api_key_env: MY_KEY", Some("sk-env"), Some("MY_KEY")),
        ("api_key: sk-plain\n    api_key_env: NOT_SET", Some("sk-plain"), None),
        ("api_key: env:NOT_SET", None, Some("NOT_SET")),
        ("api_key_env: NOT_SET", None, Some("NOT_SET")),
    ] {
        let loaded = load(&format!("accounts:\n  - name: a\n    base_url: http://h\n    {fields}\n"), &[("MY_KEY", "sk-env")]).unwrap();
        let account = &loaded.config.accounts[0];
        assert_eq!(
            (key(account), account.api_key_variable.as_deref(), account.auth_mode),
            (want, variable, AccountAuth::ApiKey),
            "{fields}"
        );
        assert_eq!(account.has_credential(), want.is_some());
        let told = loaded.warnings.iter().any(|w| w.contains("is not set"));
        assert_eq!(told, want.is_none(), "{fields}: {:?}", loaded.warnings);
    }
}

#[test]
fn a_providers_own_key_goes_to_its_own_address_only() {
    let variables = [("OPENAI_API_KEY", "sk-own")];
    let at_home = &accounts("accounts: [{name: a, provider: openai}]\n", &variables)[0];
    assert_eq!((key(at_home), at_home.auth_mode), (Some("sk-own"), AccountAuth::ApiKey));
    let elsewhere = &accounts("accounts: [{name: a, provider: openai, auth_mode: api_key, base_url: 'http://elsewhere'}]\n", &variables)[0];
    assert_eq!((key(elsewhere), elsewhere.auth_mode), (None, AccountAuth::None));
    let missing = &accounts("accounts: [{name: a, provider: anthropic}]\n", &[])[0];
    assert_eq!((missing.has_credential(), missing.api_key_variable.as_deref()), (false, Some("ANTHROPIC_API_KEY")));
    let local = &accounts("accounts: [{name: a, provider: ollama}]\n", &[])[0];
    assert_eq!((local.base_url.as_str(), local.auth_mode), ("http://localhost:11434/v1", AccountAuth::None));
}

#[test]
fn the_files_word_on_a_provider_stands() {
    let named = accounts("accounts: [{name: openai, base_url: 'http://h', api_key: k}]\n", &[("OPENAI_API_KEY", "other")]);
    assert_eq!(named.iter().map(|a| a.base_url.as_str()).collect::<Vec<_>>(), ["http://h/v1"]);
    let same =
        accounts("accounts: [{name: mine, provider: openai, api_key: 'env:OPENAI_API_KEY', models: [m]}]\n", &[("OPENAI_API_KEY", "k")]);
    assert_eq!(same.len(), 1);
    let further = accounts("accounts: [{name: mine, provider: openai, api_key: own, models: [m]}]\n", &[("OPENAI_API_KEY", "k")]);
    assert_eq!(further.len(), 2);
}

#[test]
fn every_field_of_an_account() {
    let text = "accounts:\n  - name: a\n    provider: openai\n    base_url: http://h\n    auth_mode: oauth\n    oauth_access_token: t\n    oauth_refresh_token_env: REFRESH\n    oauth_expires_at: 1700000000\n    \
                oauth_client_id: c\n    oauth_client_secret: s\n    oauth_account_id: acc\n    oauth_token_url: http://t\n    organization: o\n    project: p\n    enabled: false\n    models: [m, 'gpt-*']\n    \
                model_map: {public: own}\n    priority: -1\n    weight: 2.5\n    limits: {rpm: 1, tpm: 2, concurrency: 3}\n    timeouts: {connect: 1s, first_byte: 2s, idle: 3s, total: 4s}\n    \
                headers: {X-Team: red, X-Key: 'env:REFRESH'}\n    wire: responses\n";
    let a = &accounts(text, &[("REFRESH", "r")])[0];
    let oauth = a.oauth.as_ref().unwrap();
    assert_eq!((oauth.access_token.as_ref().map(Secret::expose), oauth.refresh_token.as_ref().map(Secret::expose)), (Some("t"), Some("r")));
    assert_eq!(
        (oauth.expires_at, oauth.client_id.as_deref(), oauth.account_id.as_deref(), oauth.token_url.as_deref()),
        (Some(1_700_000_000), Some("c"), Some("acc"), Some("http://t"))
    );
    assert_eq!((a.enabled, a.priority, a.weight, a.wire, a.reach), (false, -1, Some(2.5), Wire::Responses, Reach::Listed));
    assert_eq!(a.limits, AccountLimits { rpm: Some(1), tpm: Some(2), concurrency: Some(3) });
    let s = Duration::from_secs;
    assert_eq!(a.timeouts, Timeouts { connect: s(1), first_byte: s(2), idle: s(3), total: s(4), stream_first_byte: None });
    assert_eq!(a.headers.iter().map(|(n, v)| (n.as_str(), v.expose())).collect::<Vec<_>>(), [("x-key", "r"), ("x-team", "red")]);
    assert_eq!(
        [a.upstream_name("public"), a.upstream_name("gpt-5"), a.upstream_name("m"), a.upstream_name("n")],
        [Some("own".into()), Some("gpt-5".into()), Some("m".into()), None]
    );
    let said = load(&text.replace("1700000000", "tomorrow"), &[]).map(|_| ()).unwrap_err().to_string();
    assert!(said.contains("oauth_expires_at"), "{said}");
}

#[test]
fn litellm_entries_become_accounts() {
    let text = "model_list:\n  - model_name: team\n    litellm_params: {model: openai/gpt-4o, api_base: 'http://one/v1', api_key: os.environ/TEAM_KEY, weight: 3}\n    model_info: {id: x, mode: chat}\n  \
                - model_name: team\n    litellm_params: {model: openai/gpt-4o-mini, api_base: 'http://two', api_key: sk-plain, timeout: 9, odd: 1}\n  \
                - {model_name: claude, litellm_params: {model: anthropic/claude-x, api_key: os.environ/NOT_SET}}\n  - {model_name: gpt-4o, litellm_params: {model: gpt-4o}}\n  \
                - {model_name: 'local/*', litellm_params: {model: 'hosted_vllm/*', api_base: 'http://h'}}\nrouter_settings: {routing_strategy: simple-shuffle, num_retries: 2, timeout: 30}\n";
    let loaded = load(text, &[("TEAM_KEY", "sk-team")]).unwrap();
    let found = &loaded.config.accounts;
    assert_eq!(
        found.iter().map(|a| (a.name.as_str(), a.provider.as_str(), a.base_url.as_str(), key(a))).collect::<Vec<_>>(),
        [
            ("team", "openai", "http://one/v1", Some("sk-team")),
            ("team-2", "openai", "http://two/v1", Some("sk-plain")),
            ("claude", "anthropic", "https://api.anthropic.com/v1", None),
            ("gpt-4o", "openai", "https://api.openai.com/v1", None),
            ("local/*", "vllm", "http://h/v1", None),
        ]
    );
    assert_eq!(
        [found[0].upstream_name("team"), found[1].upstream_name("team"), found[3].upstream_name("gpt-4o")],
        [Some("gpt-4o".into()), Some("gpt-4o-mini".into()), Some("gpt-4o".into())]
    );
    assert_eq!((found[0].weight, found[1].timeouts.first_byte), (Some(3.0), Duration::from_secs(9)));
    assert_eq!((found[2].api_key_variable.as_deref(), found[3].api_key_variable.as_deref()), (Some("NOT_SET"), Some("OPENAI_API_KEY")));
    assert_eq!(
        (loaded.config.retry.max_attempts, loaded.config.timeouts.total, loaded.config.strategy),
        (3, Duration::from_secs(30), Some(crate::config::Strategy::Shuffle))
    );
    assert!(!loaded.warnings.iter().any(|w| w.contains("weight") || w.contains("routing_strategy")), "{:?}", loaded.warnings);
    assert!(
        loaded.warnings.iter().any(|w| w.contains("litellm_params.odd")) && loaded.warnings.iter().any(|w| w.contains("NOT_SET")),
        "{:?}",
        loaded.warnings
    );
}

#[test]
fn variables_of_one_provider_only() {
    let found = accounts(
        "",
        &[
            ("CEREBRAS_API_KEY", "k"),
            ("CEREBRAS_RATE_LIMIT_REQUESTS", "30"),
            ("BACKEND_BASE_URL", "http://h"),
            ("BACKEND_TIMEOUT_SECONDS", "120"),
        ],
    );
    assert_eq!(found[0].rate_limit, Some(RateLimit { requests: 30, window: Duration::from_mins(1) }));
    assert_eq!((found[1].timeouts.first_byte, found[1].reach), (Duration::from_mins(2), Reach::Any));
    let said = load("", &[("CEREBRAS_API_KEY", "k"), ("CEREBRAS_RATE_LIMIT_REQUESTS", "many")]).map(|_| ()).unwrap_err().to_string();
    assert!(said.contains("CEREBRAS_RATE_LIMIT_REQUESTS") && said.contains("many"), "{said}");
}

#[test]
fn a_dated_version_moves_azures_path() {
    let of = |variables: &[(&'static str, &'static str)], text: &str| {
        let found = accounts(text, variables);
        (found[0].base_url.clone(), found[0].api_version.clone())
    };
    let dated = Some("2024-10-21".to_owned());
    let endpoint = ("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com");
    let key = ("AZURE_OPENAI_API_KEY", "k");
    for variable in ["AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION"] {
        assert_eq!(of(&[key, endpoint, (variable, "2024-10-21")], ""), ("https://r.openai.azure.com/openai".to_owned(), dated.clone()));
    }
    assert_eq!(
        of(&[key, endpoint, ("OPENAI_API_VERSION", "preview")], ""),
        ("https://r.openai.azure.com/openai/v1".to_owned(), Some("preview".to_owned()))
    );
    // The variable belongs to the environment's own account, not to an address of the file.
    let file = |more: &str| format!("accounts: [{{provider: azure, base_url: 'http://h', api_key: k{more}}}]");
    assert_eq!(of(&[("OPENAI_API_VERSION", "2024-10-21")], &file("")), ("http://h/openai/v1".to_owned(), None));
    assert_eq!(of(&[], &file(", api_version: '2024-10-21'")), ("http://h/openai".to_owned(), dated.clone()));
    assert_eq!(of(&[("MY_VERSION", "2024-10-21")], &file(", api_version: env:MY_VERSION")), ("http://h/openai".to_owned(), dated.clone()));
    let litellm =
        "model_list: [{model_name: m, litellm_params: {model: azure/d, api_base: 'http://h', api_key: k, api_version: '2024-10-21'}}]";
    assert_eq!(of(&[], litellm), ("http://h/openai".to_owned(), dated));
    assert!(load(&file(", api_version: 'a&b=c'"), &[]).is_err());
    assert!(load("", &[key, endpoint, ("OPENAI_API_VERSION", "a b")]).is_err());
}

#[test]
fn every_value_of_an_account_may_stand_in_a_variable() {
    let variables = &[("BASE", "https://mine.example/v1"), ("ORG", "org-1"), ("RPM", "7"), ("KEY", "k"), ("VERSION", "2024-10-21")][..];
    let ours = "accounts:\n  - {name: a, base_url: env:BASE, organization: os.environ/ORG, project: env:ORG, priority: env:RPM, api_key: env:KEY}\n";
    let account = &accounts(ours, variables)[0];
    assert_eq!(
        (&*account.base_url, account.organization.as_deref(), account.project.as_deref()),
        ("https://mine.example/v1", Some("org-1"), Some("org-1"))
    );
    assert_eq!((account.priority, key(account), account.api_key_variable.as_deref()), (7, Some("k"), Some("KEY")));
    let theirs = "model_list:\n  - model_name: m\n    litellm_params: {model: azure/m, api_base: os.environ/BASE, api_version: os.environ/VERSION, organization: os.environ/ORG, rpm: os.environ/RPM}\n";
    let account = &accounts(theirs, variables)[0];
    assert!(account.base_url.starts_with("https://mine.example"), "{}", account.base_url);
    assert_eq!((account.organization.as_deref(), account.limits.rpm), (Some("org-1"), Some(7)));
    let missing = load(theirs, &variables[1..]).unwrap_err().to_string();
    assert!(
        missing.contains("line 3") && missing.contains("model_list[0].litellm_params.api_base: the variable BASE is not set"),
        "{missing}"
    );
}

#[test]
fn one_entry_of_a_provider_that_is_not_built_in_is_left_out_and_the_others_stay() {
    let text = "model_list:\n  - {model_name: mine, litellm_params: {model: openai/m, api_key: k}}\n  \
                - {model_name: claude, litellm_params: {model: bedrock/anthropic.claude-x, aws_region_name: eu-west-1}}\n  \
                - {model_name: pro, litellm_params: {model: vertex_ai/gemini-x, vertex_project: p}}\n  \
                - {model_name: typo, litellm_params: {model: anthropics/claude-x}}\n  \
                - {model_name: named, litellm_params: {model: m, custom_llm_provider: sagemaker}}\n  \
                - {model_name: reached, litellm_params: {model: bedrock/x, api_base: 'https://b/openai/v1', api_key: k}}\n  \
                - {model_name: claude, litellm_params: {model: anthropic/claude-x, api_key: k}}\nrouter_settings: {fallbacks: [{mine: [pro]}]}\n";
    let loaded = load(text, &[]).unwrap();
    let found: Vec<_> = loaded.config.accounts.iter().map(|a| (a.name.as_str(), a.base_url.as_str())).collect();
    let wanted = [("mine", "https://api.openai.com/v1"), ("reached", "https://b/openai/v1"), ("claude-2", "https://api.anthropic.com/v1")];
    assert_eq!(found, wanted);
    assert_eq!(loaded.config.accounts[2].weight, None, "alone of its name now");
    for (line, words) in [
        (3, "model_list[1] (claude) is left out: its provider bedrock is none that"),
        (
            4,
            "model_list[2] (pro) is left out: its provider vertex_ai is none that this router knows; Google's models can be asked as gemini/",
        ),
        (5, "its provider anthropics is none that this router knows (did you mean anthropic?)"),
        (6, "its provider sagemaker is none"),
    ] {
        let said = |w: &&String| w.starts_with(&format!("router.yaml, line {line}: ")) && w.contains(words) && w.contains("api_base");
        assert_eq!(loaded.warnings.iter().filter(said).count(), 1, "{words}: {:?}", loaded.warnings);
    }
    assert_eq!(loaded.warnings.len(), 4, "{:?}", loaded.warnings);
    // What is known but has no address of its own is a mistake of the file.
    let said = load("model_list: [{model_name: m, litellm_params: {model: azure/m}}]", &[]).map(drop).unwrap_err().to_string();
    assert!(said.contains("model_list[0].litellm_params.api_base is missing"), "{said}");
}
