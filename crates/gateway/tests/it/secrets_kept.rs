//! Secrets stay secret where requests, changes and answers are kept, and in everything that is made of that: records with full texts, their
//! files, exports, what waits for the database, the audit, the versions of the configuration, and what an assistant is told.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use http::Method;
use serde_json::{Value, json};
use testkit::FakeUpstream;

use crate::{
    router::{KEY, MASTER, Router, eventually},
    secrets::{assert_clean, opened_in_every_way, printed},
};

/// Models of accounts that are opened in every way and fail in every way.
const MODELS: [&str; 8] = ["sso", "ended", "lent", "lent-away", "broken", "limited", "inside", "forbidden"];

/// Looks for everything but the prompts: those are what is kept.
fn assert_no_credential(place: &str, text: &str, made: &[&str]) {
    assert_clean(place, &text.replace("SECRETprompt", ""), made);
}

/// Every file below a folder but one.
fn assert_files_hold_no_credential(folder: &Path, made: &[&str]) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            count += assert_files_hold_no_credential(&entry.path(), made);
        } else {
            count += 1;
            let text = String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned();
            assert_no_credential(&entry.path().display().to_string(), &text, made);
        }
    }
    count
}

/// Asks every model in two dialects, whole and streamed; how many requests that were.
async fn ask_everything(router: &Router) -> u64 {
    let mut asked = 0;
    let words = json!([{"role": "user", "content": format!("SECRETprompt, and my key is {KEY}, or was it SECRETlent")}]);
    for model in MODELS {
        for stream in [false, true] {
            let body = json!({"model": model, "max_tokens": 5, "stream": stream, "messages": words});
            for path in ["/v1/chat/completions", "/v1/messages"] {
                router.post(path, &body).key("SECRETlent").header("x-litellm-api-key", KEY).send().await;
                asked += 1;
            }
        }
    }
    asked
}

async fn got(router: &Router, path: &str) -> String {
    let answer = router.get(path).key(MASTER).send().await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.text()
}

/// What an assistant is told by the tools that look at a router.
fn assistant(router: &Router, request_id: &str) -> String {
    let call = |id: u32, name: &str, arguments: Value| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": name, "arguments": arguments}});
    let init = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let at = |path: &str| format!("http://{}{path}", router.address());
    let curl = |path: &str| json!({"command": format!("curl -H 'Authorization: Bearer {MASTER}' {}", at(path))});
    let lines = [
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": init}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        call(2, "request_history", json!({})),
        call(3, "request_explain", json!({"request_id": request_id})),
        call(4, "list_api_keys", json!({})),
        call(5, "usage", json!({})),
        call(6, "router_health", json!({})),
        call(7, "execute_curl", curl("/api/config")),
        call(8, "execute_curl", curl("/api/dashboard/request-responses/export?format=json")),
        call(9, "create_api_key", json!({"name": "of an assistant"})),
    ];
    let mut child = Command::new(env!("CARGO_BIN_EXE_llm-router"))
        .args(["mcp"])
        .env_clear()
        .envs([("HOME", router.home().to_str().unwrap()), ("LLM_ROUTER_URL", &at("")), ("LLM_ROUTER_API_KEY", MASTER)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for line in &lines {
        writeln!(input, "{line}").unwrap();
    }
    // It answers what it was asked before it ends.
    drop(input);
    let said = child.wait_with_output().unwrap();
    let answers = String::from_utf8(said.stdout).unwrap();
    for id in 1..=9 {
        assert!(answers.contains(&format!("\"id\":{id}")), "{id}: {answers} {}", String::from_utf8_lossy(&said.stderr));
    }
    answers + &String::from_utf8_lossy(&said.stderr)
}

#[tokio::test]
async fn what_is_kept_and_given_out_again_holds_no_credential() {
    let (setup, _upstreams): (_, Vec<FakeUpstream>) = opened_in_every_way();
    let mut router = setup.set("history", json!({"bodies": "full"})).env("LLM_ROUTER_ADMIN_PASSWORD", "SECRETpassword").start();
    let asked = ask_everything(&router).await;
    router.chat("dummy", json!({})).header("x-request-id", "last").send().await;
    router.record("last").await;
    let (_, made) = router.new_key(json!({})).await;
    let made = [made.as_str()];

    let list: Value = serde_json::from_str(&got(&router, "/api/dashboard/request-responses?per_page=100").await).unwrap();
    assert!(list["total_count"].as_u64().unwrap() > asked, "{list}");
    let mut pages = vec![("the list", list.to_string())];
    for record in list["records"].as_array().unwrap() {
        pages.push(("a record", got(&router, &format!("/api/dashboard/request-responses/{}", record["id"].as_str().unwrap())).await));
    }
    assert!(pages.iter().filter(|(_, page)| page.contains("SECRETprompt")).count() as u64 >= asked - 4, "texts are kept");
    for format in ["csv", "json"] {
        pages.push(("an export", got(&router, &format!("/api/dashboard/request-responses/export?format={format}")).await));
    }

    // A configuration with secrets, put in force and replaced: both are kept.
    let text = router.config().to_string();
    for comment in ["one", "two"] {
        let done = router.ask(Method::PUT, "/api/config").key(MASTER).json(&json!({"text": text, "comment": comment})).send().await;
        assert_eq!(done.status, 200, "{}", done.text());
        pages.push(("a change", done.text()));
    }
    let versions: Value = serde_json::from_str(&got(&router, "/api/config/versions").await).unwrap();
    for version in versions["versions"].as_array().unwrap() {
        pages.push(("a version", got(&router, &format!("/api/config/versions/{}", version["version"])).await));
    }
    pages.push(("the versions", versions.to_string()));
    let user = json!({"username": "other", "password": "SECRETpassword", "role": "viewer"});
    assert_eq!(router.post("/api/users", &user).key(MASTER).send().await.status, 201);
    for path in ["/api/audit", "/api/audit/export?format=csv", "/api/audit/export?format=json", "/api/users", "/api/ledger", "/api/usage"] {
        pages.push(("what operators read", got(&router, path).await));
    }
    pages.push(("what an assistant is told", assistant(&router, "last")));
    for args in [&["history", "export"][..], &["history", "export", "--format", "csv"], &["cost", "report"], &["key", "list", "--json"]] {
        pages.push(("a command's output", printed(&router, args)));
    }
    for (place, page) in &pages {
        assert_no_credential(place, page, &made);
    }

    // What waits for a database that is away.
    let held = router.store().await;
    held.seize().await;
    ask_everything(&router).await;
    router.stop();
    let spill = std::fs::read_to_string(router.data_dir().join("requests.spill")).unwrap();
    assert!(spill.lines().count() as u64 > asked && !spill.contains("SECRETprompt"), "rows wait there, and no texts");
    assert!(assert_files_hold_no_credential(&router.data_dir(), &made) >= 4);
    held.release().await;
    held.close().await;
    let again = crate::router::Setup::new().in_home_of(&router).start();
    eventually("what waited is stored", || async { (!again.data_dir().join("requests.spill").exists()).then_some(()) }).await;
    assert_no_credential("an export", &got(&again, "/api/dashboard/request-responses/export?format=json").await, &made);
}
