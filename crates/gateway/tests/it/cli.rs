//! Commands: files that are changed in places, models by name, programs' other names, and readers that go away.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use testkit::{FakeUpstream, Reply, Script};

use crate::router::{KEY, Router, Setup, eventually};

const FILE: &str = "\
# our routing
default_model: m1   # the usual one
models:
  - m1
accounts:
  - name: first
    provider: openai
    base_url: http://127.0.0.1:9
    api_key: sk-first-secret   # literal
    models: [m1]
task_routes:
  general: {low: m1}
";

const ADD: [&str; 10] = [
    "add-account",
    "--name",
    "second",
    "--provider",
    "openai",
    "--base-url",
    "http://h:1",
    "--api-key-env",
    "SECOND_KEY",
    "--models=m1,m2",
];

/// A directory with a `router.yaml`, and the program in it.
struct Desk {
    home: tempfile::TempDir,
}

impl Desk {
    fn new(text: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("router.yaml"), text).unwrap();
        Self { home }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.home.path().join("router.yaml")).unwrap()
    }

    fn command(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).env_clear().env("HOME", self.home.path()).current_dir(self.home.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(Path::new(env!("CARGO_BIN_EXE_llm-router")), args).output().unwrap()
    }

    fn config(&self, args: &[&str]) -> Output {
        self.run(&[&["config"], args].concat())
    }

    /// The program under another name.
    fn called(&self, name: &str) -> std::path::PathBuf {
        let link = self.home.path().join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_llm-router"), &link).unwrap();
        }
        link
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_dry_run_shows_and_writes_nothing() {
    let desk = Desk::new(FILE);
    let done = desk.config(&[&ADD[..], &["--dry-run"]].concat());
    assert!(done.status.success(), "{}", err(&done));
    assert!(out(&done).contains("api_key_env: SECOND_KEY") && out(&done).contains("# our routing"), "{}", out(&done));
    assert!(!out(&done).contains("sk-first-secret"), "secrets are masked: {}", out(&done));
    assert_eq!(desk.text(), FILE);
    let done = desk.config(&[&ADD[..], &["--dry-run", "--json"]].concat());
    let said: Value = serde_json::from_str(&out(&done)).unwrap();
    assert_eq!((&said["changed"], &said["dry_run"]), (&json!(true), &json!(true)));
    assert_eq!(desk.text(), FILE);
}

#[test]
fn a_change_is_made_once_and_leaves_the_rest() {
    let desk = Desk::new(FILE);
    let done = desk.config(&[&ADD[..], &["--json"]].concat());
    let said: Value = serde_json::from_str(&out(&done)).unwrap();
    assert_eq!((&said["changed"], said["warnings"].as_array().unwrap().len()), (&json!(true), 1), "the key is not set: {said}");
    let account = "  - name: second\n    provider: openai\n    base_url: http://h:1\n    api_key_env: SECOND_KEY\n    models: [m1, m2]\n";
    let want = FILE.replace("task_routes", &format!("{account}task_routes")).replace("  - m1\n", "  - m1\n  - m2\n");
    assert_eq!(desk.text(), want);
    let again = desk.config(&ADD);
    assert!(out(&again).contains("nothing to change"), "{}", out(&again));
    assert_eq!(desk.text(), want);
    for args in [
        &["set-route", "--task", "coding", "--tier", "high", "--model", "m2"][..],
        &["set-fallbacks", "--models", "m1,other"],
        &["set-fallbacks", "--models", "m2", "--append"],
        &["set-profile", "--model", "m1", "--quality-bias", "-0.5", "--latency-ms", "800"],
        &["set-candidates", "--task", "coding", "--models", "m1,m2", "--enable"],
        &["set-learned", "--bias", "-4", "--utility-cost", "12", "--set-feature", "code_score=0.2", "--enabled", "false"],
        &["add-model", "--model", "m3", "--account", "second", "--set-default"],
        &["remove-account", "first"],
    ] {
        let done = desk.config(args);
        assert!(done.status.success() && out(&done).contains("changed"), "{args:?}: {}{}", out(&done), err(&done));
    }
    let end = "task_routes:\n  general: {low: m1}\n  coding:\n    high: m2\nfallback_models: [m1, other, m2]\nmodel_profiles:\n  m1:\n    quality_bias: -0.5\n    latency_ms: 800\nlearned_routing:\n  task_candidates:\n    coding: [m1, m2]\n  enabled: false\n  bias: -4\n  utility_weights:\n    cost: 12\n  feature_weights:\n    code_score: 0.2\n";
    assert!(desk.text().ends_with(end), "{}", desk.text());
    assert!(desk.text().starts_with("# our routing\ndefault_model: m3   # the usual one\n"), "{}", desk.text());
    let summary = out(&desk.config(&["summary"]));
    assert!(summary.contains("second [openai]: m1, m2, m3") && !summary.contains("first"), "{summary}");
    let checked: Value = serde_json::from_str(&out(&desk.config(&["check", "--json"]))).unwrap();
    assert_eq!(checked["valid"], true);
}

#[test]
fn what_is_refused_touches_nothing() {
    let desk = Desk::new(FILE);
    for (args, status, word) in [
        (&["set-route", "--task", "coding", "--tier", "gigantic", "--model", "m1"][..], 2, "xhigh"),
        (&["add-model", "--model", "m", "--account", "frist"], 1, "did you mean first"),
        (&["remove-account", "nobody"], 1, "nobody"),
        (&["set-learned", "--set-feature", "code_skore=1"], 1, "code_score"),
        (&["set-profile", "--model", "m1"], 1, "nothing is said"),
        (&["add-account", "--name", "x", "--base-url", "nowhere"], 78, "base_url"),
        (&["add-account", "--name", "x", "--provider", "custom"], 78, "base_url is missing"),
        (&["add-account", "--name", "x", "--api-key", "a", "--api-key-env", "B"], 2, "--api-key"),
    ] {
        let done = desk.config(args);
        assert_eq!(done.status.code(), Some(status), "{args:?}: {}", err(&done));
        assert!(err(&done).contains(word), "{args:?}: {}", err(&done));
        assert_eq!(desk.text(), FILE);
    }
    let missing = desk.config(&["add-account", "--path", "no/such/place.yaml", "--name", "x"]);
    assert!(err(&missing).contains("no/such/place.yaml"), "{}", err(&missing));
}

#[test]
fn a_file_that_is_not_there_yet_is_made() {
    let desk = Desk::new("");
    let done =
        desk.config(&["--path", "new.yaml", "add-account", "--name", "a", "--base-url", "http://h", "--models", "m", "--set-default"]);
    assert!(done.status.success(), "{}", err(&done));
    let made = std::fs::read_to_string(desk.home.path().join("new.yaml")).unwrap();
    assert_eq!(made, "accounts:\n  - name: a\n    base_url: http://h\n    models: [m]\ndefault_model: m\n");
    assert_eq!(desk.text(), "");
}

#[test]
fn other_names_of_the_program_do_what_those_programs_did() {
    let desk = Desk::new(FILE);
    let run = |name: &str, args: &[&str]| desk.command(&desk.called(name), args).output().unwrap();
    let done = run("smr-config", &["--path", "router.yaml", "set-fallbacks", "--models", "m1", "--dry-run"]);
    assert!(out(&done).ends_with("fallback_models: [m1]\n"), "{}{}", out(&done), err(&done));
    let shown = run("smr-config", &["--path", "router.yaml", "show"]);
    assert!(out(&shown).contains("default model: m1"), "{}", out(&shown));
    assert!(out(&run("open-llm-router", &["config", "show"])).contains("server.port = 8080"));

    let mut command = desk.command(&desk.called("open-llm-router"), &[]);
    command.env("LLM_ROUTER_HOST", "127.0.0.1").env("LLM_ROUTER_DATA_DIR", desk.home.path().join("data"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It listens on 8000, or says that somebody else does.
    let said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).find(|line| line.contains("127.0.0.1:8000"));
    let _ = child.kill();
    let ended = child.wait_with_output().unwrap();
    assert!(said.is_some() || err(&ended).contains("127.0.0.1:8000"), "{said:?} {}", err(&ended));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let desk = Desk::new(FILE);
    for args in [&["config", "show"][..], &["config", "schema"], &["completions", "bash"], &["config", "list-accounts", "--json"]] {
        let mut child =
            desk.command(Path::new(env!("CARGO_BIN_EXE_llm-router")), args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success() && ended.stderr.is_empty(), "{args:?}: {} {}", ended.status, err(&ended));
    }
}

#[test]
fn other_programs_files_become_ours() {
    let desk = Desk::new("");
    let litellm = "model_list:\n  - model_name: fast\n    litellm_params: {model: openai/gpt-4o-mini, api_key: os.environ/OPENAI_API_KEY}\nlitellm_settings: {drop_params: true}\n";
    std::fs::write(desk.home.path().join("old.yaml"), litellm).unwrap();
    let done = desk.config(&["convert", "--from", "litellm", "old.yaml"]);
    assert!(done.status.success(), "{}", err(&done));
    assert!(out(&done).starts_with("accounts:\n  - name: fast\n") && out(&done).contains("env:OPENAI_API_KEY"), "{}", out(&done));
    assert!(err(&done).contains("litellm_settings.drop_params"), "{}", err(&done));
    assert!(desk.config(&["convert", "--from", "litellm", "old.yaml", "--output", "new.yaml"]).status.success());
    assert_eq!(std::fs::read_to_string(desk.home.path().join("new.yaml")).unwrap(), out(&done));
    let again = desk.config(&["convert", "--from", "litellm", "old.yaml", "--output", "new.yaml"]);
    assert!(err(&again).contains("exists already"), "{}", err(&again));

    let services = r#"[{"name": "s", "backend_type": "custom", "base_url": "http://h", "api_key": "k", "models": ["m"]}]"#;
    let mut command = desk.command(Path::new(env!("CARGO_BIN_EXE_llm-router")), &["config", "convert", "--from", "router-services"]);
    let done = command.env("ROUTER_SERVICES", services).output().unwrap();
    assert!(out(&done).starts_with("services:\n  - name: s\n    provider: custom\n"), "{}{}", out(&done), err(&done));
    for args in
        [&["convert", "--from", "nobody", "old.yaml"][..], &["convert", "--from", "litellm"], &["convert", "--from", "router-services"]]
    {
        assert!(!desk.config(args).status.success(), "{args:?}");
    }
}

async fn lists(router: &Router) -> Vec<String> {
    let listed = router.get("/v1/models").send().await.json();
    listed["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect()
}

async fn chats(router: &Router, model: &str) -> u16 {
    router.chat(model, json!({})).send().await.status
}

#[tokio::test]
async fn a_registered_model_is_served_at_once_and_forgotten_again() {
    let upstream = FakeUpstream::start(Script::default());
    let router = Setup::new().env("EXTERNAL_OPENAI_KEY", "key-of-openai").start();
    let base = upstream.base_url();
    let said: Value = serde_json::from_str(&router.runs(&["model", "add", "house", "openai", &base, "--json"], &[])).unwrap();
    assert_eq!(said, json!({"name": "house", "type": "openai", "endpoint": base, "kind": "api"}));
    assert!(lists(&router).await.contains(&"house".to_owned()), "the list is what the store says");
    assert_eq!(chats(&router, "house").await, 200);
    let call = upstream.requests().pop().unwrap();
    assert_eq!(call.header("authorization"), Some("Bearer key-of-openai"));

    assert!(router.runs(&["model", "list"], &[]).contains("house"));
    router.runs(&["add-model", "agent-model", "local", &base, "weight"], &[]);
    let listed: Value = serde_json::from_str(&router.runs(&["model", "list", "--json"], &[])).unwrap();
    let kinds: Vec<_> =
        listed["models"].as_array().unwrap().iter().map(|m| (m["name"].as_str().unwrap(), m["kind"].as_str().unwrap())).collect();
    assert_eq!(kinds, [("agent-model", "weight"), ("house", "api")]);
    eventually("the agent's model", || async { (chats(&router, "agent-model").await == 200).then_some(()) }).await;
    assert_eq!(upstream.requests().pop().unwrap().header("authorization"), None, "an agent gets no key");

    router.runs(&["model", "remove", "house"], &[]);
    assert!(!lists(&router).await.contains(&"house".to_owned()));
    assert_eq!(chats(&router, "house").await, 404);
    assert_eq!(router.run(&["model", "remove", "house"], &[]).status.code(), Some(1));
}

#[tokio::test]
async fn a_registered_model_without_its_key_says_which() {
    let upstream = FakeUpstream::start(Script::default());
    let router = Setup::new().start();
    router.runs(&["model", "add", "claude-x", "anthropic", &upstream.base_url()], &[]);
    let answer = eventually("the model", || async {
        let answer = router.chat("claude-x", json!({})).send().await;
        (answer.status != 404).then_some(answer)
    })
    .await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "provider_key_missing"));
    assert!(answer.text().contains("ANTHROPIC_API_KEY") && upstream.requests().is_empty(), "{}", answer.text());
    for args in [
        &["model", "add", "m", "bogus", "http://h"][..],
        &["model", "add", "m", "openai", "nowhere"],
        &["model", "refresh-openai"],
        &["model", "seed", "none.json"],
    ] {
        let output = router.run(args, &[]);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", err(&output));
    }
    let bogus = err(&router.run(&["model", "add", "m", "bogus", "http://h"], &[]));
    assert!(
        bogus.contains("Invalid model type") && ["local", "llm-d", "openrouter", "venice"].iter().all(|t| bogus.contains(t)),
        "{bogus}"
    );
}

#[tokio::test]
async fn files_and_lists_of_models_are_registered_whole() {
    let upstream = FakeUpstream::start(Script::default());
    let router = Setup::new().start();
    let file = router.home().join("models.json");
    let models = json!([{"name": "a", "type": "openai", "endpoint": upstream.base_url()}, {"name": "b", "type": "local", "endpoint": "http://h", "kind": "weight"}]);
    std::fs::write(&file, models.to_string()).unwrap();
    for _ in 0..2 {
        assert!(router.runs(&["model", "seed", file.to_str().unwrap()], &[]).contains('2'));
    }
    assert_eq!(lists(&router).await.iter().filter(|m| ["a", "b"].contains(&m.as_str())).count(), 2);
    std::fs::write(
        &file,
        json!([{"name": "c", "type": "openai", "endpoint": "http://h"}, {"name": "d", "type": "x", "endpoint": "http://h"}]).to_string(),
    )
    .unwrap();
    let refused = router.run(&["model", "seed", file.to_str().unwrap()], &[]);
    assert!(refused.status.code() == Some(1) && err(&refused).contains("[1]"), "{}", err(&refused));
    assert!(!lists(&router).await.contains(&"c".to_owned()), "all or none");
}

#[tokio::test]
async fn a_refresh_replaces_one_type_and_leaves_the_others() {
    let upstream = FakeUpstream::start(Script::default().models(["gpt-1", "gpt-2"]));
    let router = Setup::new().env("OPENAI_API_KEY", "key-of-openai").env("OPENAI_BASE_URL", &upstream.base_url()).start();
    router.runs(&["model", "add", "kept", "anthropic", "http://h"], &[]);
    router.runs(&["model", "add", "gone", "openai", &upstream.base_url()], &[]);
    assert!(router.runs(&["refresh-openai"], &[]).starts_with("2 models"));
    let asked = upstream.requests().pop().unwrap();
    assert_eq!((asked.path(), asked.header("authorization")), ("/v1/models", Some("Bearer key-of-openai")));
    let listed = router.runs(&["model", "list"], &[]);
    assert!(["kept", "gpt-1", "gpt-2"].iter().all(|m| listed.contains(m)) && !listed.contains("gone"), "{listed}");
    assert_eq!(chats(&router, "gpt-2").await, 200);
    for (script, word) in [
        (Script::default().on("/v1/models", Reply::error(500)), "500"),
        (Script::default().models(Vec::<String>::new()), "nothing was changed"),
    ] {
        upstream.set_script(script);
        let failed = router.run(&["model", "refresh-openai"], &[]);
        assert!(failed.status.code() == Some(1) && err(&failed).contains(word), "{}", err(&failed));
        assert!(router.runs(&["model", "list"], &[]).contains("gpt-1"), "what was there stays");
    }
}

#[tokio::test]
async fn keys_with_bounds_are_made_renewed_and_listed() {
    let router = Setup::new().start();
    let remote = [("LLM_ROUTER_URL", router.url.as_str()), ("LLM_ROUTER_API_KEY", crate::router::MASTER)];
    for env in [&[][..], &remote] {
        let create = ["key", "create", "--name", "bounded", "--rpm", "60", "--tpm", "100000", "--concurrency", "4", "--json"];
        let made: Value = serde_json::from_str(&router.runs(&create, env)).unwrap();
        assert_eq!(made["limits"], json!({"rpm": 60, "tpm": 100_000, "concurrency": 4}));
        let id = made["id"].as_str().unwrap();
        let renewed: Value = serde_json::from_str(&router.runs(&["key", "rotate", id, "--json"], env)).unwrap();
        assert_eq!((&renewed["id"], &renewed["limits"]), (&made["id"], &made["limits"]));
        assert_ne!(renewed["key"], made["key"]);
        let key = renewed["key"].as_str().unwrap();
        eventually("the new secret", || async { (router.chat("dummy", json!({})).key(key).send().await.status == 200).then_some(()) })
            .await;
        assert_eq!(router.chat("dummy", json!({})).key(made["key"].as_str().unwrap()).send().await.status, 401);
        assert!(router.runs(&["key", "list"], env).contains("rpm=60"));
        router.runs(&["key", "revoke", id], env);
        assert_eq!(router.run(&["key", "rotate", id], env).status.code(), Some(1));
    }
    let zero = router.run(&["key", "create", "--name", "x", "--rpm", "0"], &[]);
    assert!(zero.status.code() == Some(1) && err(&zero).contains("limits.rpm"), "{}", err(&zero));
    assert_eq!(router.chat("dummy", json!({})).key(KEY).send().await.status, 200);
}

/// What a command says as JSON.
fn json_of(output: &Output) -> Value {
    serde_json::from_str(&out(output)).unwrap_or_else(|_| panic!("{}{}", out(output), err(output)))
}

#[test]
fn users_are_made_and_given_passwords_in_the_store() {
    let desk = Desk::new("");
    let made = json_of(&desk.run(&["user", "create", "ann", "--role", "admin", "--json"]));
    assert_eq!((&made["username"], &made["role"], &made["must_change_password"]), (&json!("ann"), &json!("admin"), &json!(true)));
    assert_eq!(made["password"].as_str().unwrap().len(), 20);
    let twice = desk.run(&["user", "create", "ann"]);
    assert_eq!(twice.status.code(), Some(1));
    assert!(err(&twice).contains("exists already"), "{}", err(&twice));

    let mut command =
        desk.command(Path::new(env!("CARGO_BIN_EXE_llm-router")), &["user", "set-password", "ann", "--password-stdin", "--json"]);
    let give = |command: &mut Command, password: &str| {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), password.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let changed = give(&mut command, "chosen by ann\n");
    assert!(changed.status.success(), "{}", err(&changed));
    assert_eq!(json_of(&changed).get("password"), None, "a password that somebody chose is not repeated");
    let short = give(&mut command, "short");
    assert!(short.status.code() == Some(1) && err(&short).contains("at least 12 characters"), "{}", err(&short));

    let bob = json_of(&desk.run(&["user", "create", "bob", "--json"]));
    let listed = json_of(&desk.run(&["user", "list", "--json"]));
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap()).collect();
    assert_eq!(names, ["ann", "bob"]);
    assert!(!listed.to_string().contains("hash"), "{listed}");
    assert!(out(&desk.run(&["user", "list"])).contains("viewer"));
    let last = desk.run(&["user", "delete", "ann"]);
    assert!(last.status.code() == Some(1) && err(&last).contains("last administrator"), "{}", err(&last));
    let gone = json_of(&desk.run(&["user", "delete", bob["id"].as_str().unwrap(), "--json"]));
    assert_eq!(gone["deleted"], true);
    let nobody = desk.run(&["user", "set-password", "bob"]);
    assert!(nobody.status.code() == Some(1) && err(&nobody).contains("no user `bob`"), "{}", err(&nobody));
}

#[tokio::test]
async fn users_of_a_running_router_are_changed_over_its_api() {
    let setup = Setup::new().env("LLM_ROUTER_ADMIN_PASSWORD", "the-first-password");
    let router = setup.start();
    let desk = Desk::new("");
    let run = |key: &str, args: &[&str]| {
        let mut command = desk.command(Path::new(env!("CARGO_BIN_EXE_llm-router")), args);
        command.env("LLM_ROUTER_URL", &router.url).env("LLM_ROUTER_API_KEY", key).output().unwrap()
    };
    let made = json_of(&run(crate::router::MASTER, &["user", "create", "vera", "--json"]));
    let log_in = async |password: &str| {
        let body = json!({"username": "vera", "password": password});
        router.post("/api/auth/login", &body).nobody().send().await.status
    };
    let first = made["password"].as_str().unwrap();
    assert_eq!(log_in(first).await, 200);
    let changed = run(crate::router::MASTER, &["user", "set-password", "vera"]);
    let second = out(&changed).trim().to_owned();
    assert!(err(&changed).contains("only now"), "{}", err(&changed));
    assert_eq!((log_in(first).await, log_in(&second).await), (401, 200));
    let refused = run(KEY, &["user", "list"]);
    assert!(refused.status.code() == Some(1) && err(&refused).contains("403"), "{}", err(&refused));
    assert!(run(crate::router::MASTER, &["user", "delete", "vera"]).status.success());
    assert_eq!(log_in(&second).await, 401);
}

#[test]
fn completions_are_for_every_shell_and_have_the_commands() {
    let desk = Desk::new("");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = out(&desk.run(&["completions", shell]));
        assert!(script.contains("set-password") && script.contains("refresh-openai"), "{shell}");
    }
    assert_eq!(desk.run(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn every_command_shows_an_example() {
    let desk = Desk::new("");
    let mut waiting: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = 0;
    while let Some(words) = waiting.pop() {
        let mut args: Vec<&str> = words.iter().map(String::as_str).collect();
        args.push("--help");
        let help = out(&desk.run(&args));
        assert!(help.contains("Example:"), "{words:?}: {help}");
        seen += 1;
        let verbs = help.split("Commands:\n").nth(1).map_or("", |rest| rest.split("\n\n").next().unwrap_or_default());
        // Wrapped descriptions are indented deeper.
        let names = verbs
            .lines()
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next());
        waiting.extend(names.filter(|name| *name != "help").map(|name| words.iter().cloned().chain([name.to_owned()]).collect()));
    }
    assert!(seen > 30, "{seen}");
}

#[tokio::test]
async fn a_model_of_the_hub_that_is_refused_says_why() {
    let router = Setup::new().start();
    let desk = Desk::new("");
    let run = |args: &[&str]| {
        let mut command = desk.command(Path::new(env!("CARGO_BIN_EXE_llm-router")), args);
        command.env("LLM_ROUTER_URL", &router.url).env("LLM_ROUTER_API_KEY", crate::router::MASTER).output().unwrap()
    };
    for args in [&["model", "pull", "no-repository"][..], &["model", "register", "no-repository"], &["model", "convert", "no-repository"]] {
        let refused = run(args);
        assert!(refused.status.code() == Some(1) && err(&refused).contains("400"), "{args:?}: {}", err(&refused));
    }
    let nowhere = desk.run(&["model", "pull", "a/b"]);
    assert!(nowhere.status.code() == Some(1) && err(&nowhere).contains("LLM_ROUTER_URL"), "{}", err(&nowhere));
}

#[test]
fn the_database_is_checked_copied_and_put_back() {
    let desk = Desk::new("");
    assert!(json_of(&desk.run(&["db", "migrate", "--json"]))["schema"].as_i64().unwrap() > 0);
    assert!(desk.run(&["key", "create", "--name", "kept"]).status.success());
    let copied = json_of(&desk.run(&["db", "backup", "copy.db", "--json"]));
    assert!(copied["bytes"].as_u64().unwrap() > 0);
    let twice = desk.run(&["db", "backup", "copy.db"]);
    assert!(twice.status.code() == Some(1) && err(&twice).contains("exists already"), "{}", err(&twice));
    assert!(desk.run(&["key", "create", "--name", "lost"]).status.success());
    assert!(out(&desk.run(&["db", "restore", "copy.db"])).contains("copy.db"));
    let keys = json_of(&desk.run(&["key", "list", "--json"]));
    assert_eq!(keys.as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect::<Vec<_>>(), ["kept"]);
    assert_eq!(json_of(&desk.run(&["db", "check", "--json"]))["sound"], true);
    std::fs::write(desk.home.path().join("junk.db"), "junk").unwrap();
    let junk = desk.run(&["db", "restore", "junk.db"]);
    assert!(junk.status.code() == Some(1) && err(&junk).contains("junk.db"), "{}", err(&junk));
}

#[tokio::test]
async fn what_was_used_is_reported() {
    let router = Setup::new().start();
    assert_eq!(router.chat("dummy", json!({})).key(KEY).send().await.status, 200);
    let desk = Desk::new("");
    let report = |args: &[&str]| {
        let mut command = desk.command(Path::new(env!("CARGO_BIN_EXE_llm-router")), &[&["cost", "report"], args].concat());
        command.env("LLM_ROUTER_URL", &router.url).env("LLM_ROUTER_API_KEY", crate::router::MASTER).output().unwrap()
    };
    // The row is written behind the answer.
    let said = eventually("the row", || async {
        Some(json_of(&report(&["--by", "model", "--json"]))).filter(|said| said["totals"]["requests"] == 1)
    })
    .await;
    assert_eq!(said["rows"][0]["group"], "dummy", "{said}");
    assert!(out(&report(&["--by", "model"])).contains("dummy"));
    let never = out(&report(&["--from", "2001-01-01T00:00:00Z", "--to", "2001-01-02T00:00:00Z"]));
    assert!(never.lines().count() == 2 && never.contains("total"), "{never}");
    assert_eq!(report(&["--from", "yesterday"]).status.code(), Some(1));
}
