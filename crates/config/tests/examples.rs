//! Every file in `examples/` loads, and says what its first comment says.

#![allow(clippy::unwrap_used, reason = "in a test it is the assertion")]

use std::path::{Path, PathBuf};

use config::{Environment, LoadArgs, Loaded, Reach, Secret, load};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

fn example(name: &str, variables: &[(&str, &str)]) -> Loaded {
    let args = LoadArgs { config: Some(examples().join(name)), ..LoadArgs::default() };
    load(&args, &Environment::from_map(variables.iter().copied())).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn laptop() {
    let loaded = example("laptop.yaml", &[("OPENAI_API_KEY", "sk-o"), ("CEREBRAS_API_KEY", "sk-c")]);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let keys: Vec<_> = loaded.config.accounts.iter().map(|a| (a.name.as_str(), a.api_key.as_ref().map(Secret::expose))).collect();
    assert_eq!(keys, [("openai", Some("sk-o")), ("cerebras", Some("sk-c"))]);
    assert_eq!(loaded.config.aliases["quick"].len(), 2);
    assert_eq!(loaded.config.server.listeners()[0].to_string(), "127.0.0.1:8080");
}

#[test]
fn services() {
    let loaded = example("services.yaml", &[("CEREBRAS_API_KEY", "a"), ("DEEPINFRA_TOKEN", "b")]);
    let order: Vec<_> = loaded.config.accounts.iter().map(|a| (a.name.as_str(), a.priority, a.reach)).collect();
    assert_eq!(order, [("free-tier", 0, Reach::Discovered), ("paid", 1, Reach::Discovered), ("at-home", 2, Reach::Discovered)]);
    assert!(loaded.config.accounts.iter().all(config::Account::has_credential) && loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn open_llm_router() {
    let loaded = example("open-llm-router.yaml", &[("BACKEND_API_KEY", "k")]);
    assert_eq!(loaded.warnings, ["accepted, but without effect in this version: task_routes, complexity"]);
    assert_eq!(loaded.config.default_model.as_deref(), Some("gpt-5.2"));
    assert_eq!(loaded.config.task_routes["general"].low, ["gpt-5.2-mini"]);
    assert_eq!(loaded.config.accounts[0].base_url, "http://127.0.0.1:11434/v1");
}

#[test]
fn litellm() {
    let loaded = example("litellm.yaml", &[("OPENAI_API_KEY", "k"), ("LITELLM_MASTER_KEY", "sk-master")]);
    let served: Vec<_> = loaded.config.accounts.iter().map(|a| a.upstream_name("gpt-team")).collect();
    assert_eq!(&served[..2], [Some("gpt-4o".into()), Some("qwen3-32b".into())]);
    assert_eq!(loaded.config.auth.master_keys.len(), 1);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn no_example_is_without_a_test() {
    let mut names: Vec<_> = std::fs::read_dir(examples())
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().into_string().ok())
        .filter(|n| n != "README.md")
        .collect();
    names.sort();
    assert_eq!(names, ["laptop.yaml", "litellm.yaml", "open-llm-router.yaml", "services.yaml"]);
}
