//! The configuration file, changed over the API: judged as a whole, written, in force, kept in versions.

use http::Method;
use serde_json::{Value, json};
use testkit::{FakeUpstream, Script};

use crate::{
    client::Answer,
    router::{MASTER, Router, Setup},
};

async fn show(router: &Router) -> Answer {
    let answer = router.get("/api/config").key(MASTER).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

async fn put(router: &Router, query: &str, body: &Value) -> Answer {
    router.ask(Method::PUT, &format!("/api/config{query}")).key(MASTER).json(body).send().await
}

async fn chats(router: &Router, model: &str) -> u16 {
    router.chat(model, json!({})).send().await.status
}

fn file(router: &Router) -> String {
    std::fs::read_to_string(router.home().join("router.yaml")).unwrap()
}

fn text(upstream: &FakeUpstream, models: &str) -> String {
    let url = upstream.base_url();
    format!(
        "# ours\naccounts:\n  - name: mock # the only one\n    provider: openai\n    base_url: {url}\n    api_key: sk-upstream-secret\n    models: {models}\n"
    )
}

/// A router with this text as its file, in force.
async fn with_text(text: &str) -> Router {
    let router = Setup::new().start();
    let done = put(&router, "", &json!({"text": text})).await;
    assert_eq!(done.status, 200, "{}", done.text());
    router
}

#[tokio::test]
async fn what_is_shown_can_be_changed_and_put_back_with_its_masks() {
    let upstream = FakeUpstream::start(Script::default());
    let router = with_text(&text(&upstream, "[one]")).await;
    let shown = show(&router).await.json();
    let masked = shown["text"].as_str().unwrap();
    assert!(masked.contains("# the only one") && !masked.contains("sk-upstream-secret"), "{masked}");

    let changed = masked.replace("[one]", "[one, two]");
    let tried = put(&router, "?dry_run", &json!({"text": changed})).await;
    assert_eq!((tried.status, &tried.json()["version"]), (200, &Value::Null), "{}", tried.text());
    assert_eq!(tried.json()["changes"], json!([{"key": "accounts[mock].models", "from": ["one"], "to": ["one", "two"]}]));
    assert_eq!((chats(&router, "two").await, file(&router)), (404, text(&upstream, "[one]")), "nothing was changed");
    let rows = router.get("/api/audit?action=config.update").key(MASTER).send().await.json();
    assert_eq!(rows["rows"].as_array().unwrap().len(), 1, "who only asks leaves no row: {rows}");

    let done = put(&router, "", &json!({"text": changed, "comment": "a second model"})).await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(chats(&router, "two").await, 200);
    // As it was given, with the secret that was never shown.
    assert_eq!(file(&router).replace('"', ""), text(&upstream, "[one, two]"));
    let sent = upstream.requests();
    assert_eq!(sent.last().unwrap().header("authorization"), Some("Bearer sk-upstream-secret"));
}

#[tokio::test]
async fn everything_that_is_wrong_is_said_at_once_and_nothing_changes() {
    let upstream = FakeUpstream::start(Script::default());
    let router = with_text(&text(&upstream, "[one]")).await;
    let before = show(&router).await.text();
    let wrong = format!("acounts: []\nretry_statuses: often\n{}    prio: 1\n", text(&upstream, "[two]"));
    let answer = put(&router, "", &json!({"text": wrong})).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{}", answer.text());
    let errors = answer.json()["error"]["errors"].clone();
    let mut found: Vec<_> =
        errors.as_array().unwrap().iter().map(|e| (e["line"].as_u64(), e["key"].as_str().unwrap().to_owned())).collect();
    found.sort();
    let want = [(Some(1), "acounts"), (Some(2), "retry_statuses"), (Some(10), "accounts[0].prio")];
    assert_eq!(found, want.map(|(line, key)| (line, key.to_owned())));
    for body in [
        json!({"text": "a: ["}),
        json!({"text": "\n"}),
        json!({"retry_statuses": "often"}),
        json!({"acounts": []}),
        json!([]),
        json!({"text": "", "config": {}}),
        json!({"text": "", "other": 1}),
        json!({"text": "auth: {mode: required}\naccounts: [{name: new, provider: openai, api_key: '***'}]"}),
        json!({"text": "log: {level: loud}"}),
    ] {
        let answer = put(&router, "", &body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    assert_eq!(show(&router).await.text(), before);
    assert_eq!((chats(&router, "one").await, file(&router)), (200, text(&upstream, "[one]")));
}

#[tokio::test]
async fn nobody_overwrites_what_they_have_not_seen() {
    let router = with_text("default_model: dummy\n").await;
    let first = show(&router).await;
    let version = first.json()["version"].as_i64().unwrap();
    let (tag, body) = (first.header("etag").to_owned(), json!({"text": "default_model: dummy\n# one\n"}));
    let ask = |tag: &str, body: &Value| router.ask(Method::PUT, "/api/config").key(MASTER).header("if-match", tag).json(body).send();
    let done = ask(&tag, &body).await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert_ne!(done.header("etag"), tag);
    let other = json!({"text": "default_model: dummy\n# two\n"});
    assert_eq!(ask(&tag, &other).await.status, 409);
    assert_eq!(put(&router, &format!("?base={version}"), &other).await.status, 409);
    assert_eq!(put(&router, &format!("?base={}", version + 1), &other).await.status, 200);
    // Somebody edits the file by hand and has not put it in force yet.
    router.write_config("default_model: dummy\n# by hand\n");
    let refused = put(&router, "", &body).await;
    assert_eq!((refused.status, file(&router).contains("by hand")), (409, true), "{}", refused.text());
    assert_eq!(router.ask(Method::POST, "/config/reload").key(MASTER).send().await.status, 200);
    assert_eq!(put(&router, "", &body).await.status, 200);
    router.write_config("server: {max_connections: 9}\n");
    let read = router.ask(Method::POST, "/config/reload").key(MASTER).send().await.json();
    assert!(read["warnings"].to_string().contains("server.max_connections is read at start"), "{read}");
}

#[tokio::test]
async fn versions_tell_what_was_changed_and_lead_back() {
    let upstream = FakeUpstream::start(Script::default());
    let router = with_text(&text(&upstream, "[one]")).await;
    let one = show(&router).await.json()["version"].clone();
    assert_eq!(put(&router, "?comment=second", &json!({"text": text(&upstream, "[two]")})).await.status, 200);
    router.write_config(&text(&upstream, "[three]"));
    assert_eq!(router.ask(Method::POST, "/config/reload").key(MASTER).send().await.status, 200);

    let versions = async || router.get("/api/config/versions").key(MASTER).send().await.json()["versions"].as_array().unwrap().clone();
    let listed = versions().await;
    let of = |name: &str| listed.iter().map(|v| v[name].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>();
    assert_eq!(of("origin"), ["file", "api", "api", "start"]);
    assert_eq!(of("comment"), ["", "second", "", ""]);
    assert_eq!((&listed[0]["in_force"], &listed[1]["author"]), (&json!(true), &json!("master")));
    assert_eq!(listed[1]["changes"], json!([{"key": "accounts[mock].models", "from": ["one"], "to": ["two"]}]));
    let all = json!(listed).to_string();
    assert!(!all.contains("sk-upstream-secret") && all.contains("# the only one"), "{all}");

    let seen = router.get(&format!("/api/config/versions/{one}")).key(MASTER).send().await.json();
    assert_eq!(seen["changes_to_go_back"], json!([{"key": "accounts[mock].models", "from": ["three"], "to": ["one"]}]));
    assert_eq!(put(&router, "", &json!({"revert_to": 9999})).await.status, 404);
    let back = put(&router, "", &json!({"revert_to": one})).await;
    assert_eq!(back.status, 200, "{}", back.text());
    assert_eq!((chats(&router, "one").await, file(&router)), (200, text(&upstream, "[one]")));
    let newest = &versions().await[0];
    assert_eq!((&newest["origin"], &newest["comment"]), (&json!("revert"), &json!(format!("back to version {one}"))));
    assert_eq!(show(&router).await.json()["version"], newest["version"]);

    let bytes = std::fs::read(router.data_dir().join("router.db")).unwrap();
    let wal = std::fs::read(router.data_dir().join("router.db-wal")).unwrap_or_default();
    let is_there = |bytes: &[u8]| bytes.windows(18).any(|part| part == b"sk-upstream-secret");
    assert!(!is_there(&bytes) && !is_there(&wal), "versions are sealed");
    let audit = router.get("/api/audit?action=config.update").key(MASTER).send().await.json();
    assert_eq!(audit["rows"][0]["details"]["changes"][0]["key"], "accounts[mock].models");
    assert!(!audit.to_string().contains("sk-upstream-secret"));
}

#[tokio::test]
async fn the_file_keeps_its_mode_and_one_is_made_where_there_was_none() {
    use std::os::unix::fs::PermissionsExt as _;
    let router = with_text("default_model: dummy\n").await;
    let path = router.home().join("router.yaml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let done = router.ask(Method::PUT, "/api/config").key(MASTER).body("default_model: dummy\nfallback_models: [dummy]\n");
    assert_eq!(done.header("content-type", "application/yaml").send().await.status, 200);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(put(&router, "", &json!({"default_model": "dummy", "aliases": {"x": ["dummy"]}})).await.status, 200);
    assert_eq!((chats(&router, "x").await, file(&router).as_str()), (200, "default_model: dummy\naliases:\n  x: [dummy]\n"));
    // What the environment says wins, and that is told.
    let done = put(&router, "", &json!({"server": {"listen": ["127.0.0.1:1"]}})).await;
    assert!(done.json()["warnings"].to_string().contains("LLM_ROUTER_LISTEN"), "{}", done.text());
}
