//! Every attempt to change something leaves a row.

use http::Method;
use serde_json::{Value, json};
use store::Store;

use crate::{
    access,
    router::{KEY, MASTER, Router, Setup},
};

/// What leaves no row: it changes nothing that is kept, or is the daily report of a node.
const UNFOLLOWED: [&str; 6] =
    ["/api/health", "/heartbeat", "/router/route", "/api/models/discover-gguf", "/api/feedback", "/api/auth/logout"];

async fn rows(router: &Router, query: &str) -> Vec<Value> {
    let answer = router.get(&format!("/api/audit?{query}")).key(MASTER).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["rows"].as_array().unwrap().clone()
}

#[tokio::test]
async fn no_path_that_changes_something_is_forgotten() {
    let setup = Setup::new().env("LLM_ROUTER_ADMIN_PASSWORD", "the-password");
    let router = setup.env("HF_BASE_URL", &format!("http://{}", crate::router::closed_port())).start();
    for (n, (method, path)) in access::routes().into_iter().filter(|(method, _)| method != "GET").enumerate() {
        let asked = path.replace("{*id}", "some/thing").replace("{id}", "some%20thing").replace("{node_id}", "x");
        let id = format!("asked-{n}");
        let ask = router.ask(method.parse::<Method>().unwrap(), &asked).key(MASTER).header("x-request-id", &id);
        let answer = ask.json(&json!({})).send().await;
        let found = rows(&router, &format!("request_id={id}")).await;
        if UNFOLLOWED.contains(&path.as_str()) {
            assert!(found.is_empty(), "{method} {path}: {found:?}");
            continue;
        }
        assert_eq!(found.len(), 1, "{method} {path}: {found:?}");
        let row = &found[0];
        let outcome = match answer.status {
            ..=399 => "success",
            401 | 403 | 429 => "denied",
            _ => "error",
        };
        assert_eq!(row["outcome"], outcome, "{method} {path}: {} {row}", answer.status);
        assert_eq!(row["client_ip"], "127.0.0.1", "{row}");
        let is_named = path.contains("{id}") || path.contains("{*id}");
        assert_eq!(is_named, row["resource_id"].as_str().is_some_and(|id| id.starts_with("some")), "{method} {path}: {row}");
    }
}

#[tokio::test]
async fn a_row_says_who_what_and_how_it_was_before() {
    let router = Setup::new().start();
    let (id, secret) = router.new_key(json!({"name": "audited", "limits": {"rpm": 5}})).await;
    let changed = router.ask(Method::PUT, &format!("/api/api-keys/{id}")).key(MASTER).json(&json!({"limits": {"rpm": 7}})).send().await;
    assert_eq!(changed.status, 200);
    assert_eq!(router.ask(Method::DELETE, &format!("/api/api-keys/{id}")).key(MASTER).send().await.status, 204);
    assert_eq!(router.post("/api/api-keys", &json!({"name": "x"})).key(KEY).send().await.status, 403);
    assert_eq!(router.post("/api/api-keys", &json!({"name": "x"})).nobody().send().await.status, 401);

    let found = rows(&router, &format!("resource_id={id}")).await;
    let seen: Vec<_> = found.iter().map(|row| (row["action"].as_str().unwrap(), row["outcome"].as_str().unwrap())).collect();
    assert_eq!(seen, [("key.delete", "success"), ("key.update", "success"), ("key.create", "success")]);
    assert_eq!(found[1]["details"], json!({"before": {"limits": {"rpm": 5}}, "after": {"limits": {"rpm": 7}}}));
    assert_eq!((&found[2]["actor"], &found[2]["actor_type"]), (&json!("master"), &json!("master")));
    assert_eq!(found[2]["details"]["after"]["name"], "audited");
    let denied = rows(&router, "outcome=denied&action=key").await;
    assert_eq!(denied.iter().map(|row| row["reason"].as_str().unwrap()).collect::<Vec<_>>(), ["invalid_api_key", "permission_denied"]);
    assert_eq!((&denied[0]["actor"], denied[1]["actor"].is_string()), (&Value::Null, true));

    let file = router.get("/api/audit/export?format=csv&action=key").key(MASTER).send().await.text();
    assert_eq!(file.lines().count(), 6, "{file}");
    let all: Value = router.get("/api/audit/export?format=json&action=key").key(MASTER).send().await.json();
    assert_eq!(all.as_array().unwrap().len(), 5);
    for text in [file, all.to_string()] {
        assert!(!text.contains(&secret) && !text.contains(MASTER) && !text.contains(KEY), "{text}");
    }
}

#[tokio::test]
async fn pages_follow_each_other() {
    let router = Setup::new().start();
    for n in 0..5 {
        router.new_key(json!({"name": format!("k{n}")})).await;
    }
    let page = async |query: &str| router.get(&format!("/api/audit?limit=2&action=key{query}")).key(MASTER).send().await.json();
    let names = |page: &Value| -> Vec<String> {
        page["rows"].as_array().unwrap().iter().map(|row| row["details"]["after"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let first = page("").await;
    assert_eq!((names(&first), &first["has_more"]), (vec!["k4".to_owned(), "k3".to_owned()], &json!(true)));
    let second = page(&format!("&after={}", first["rows"][1]["id"].as_str().unwrap())).await;
    let third = page(&format!("&after={}", second["rows"][1]["id"].as_str().unwrap())).await;
    assert_eq!((names(&third), &third["has_more"]), (vec!["k0".to_owned()], &json!(false)));
    let back = page(&format!("&before={}", third["rows"][0]["id"].as_str().unwrap())).await;
    assert_eq!((names(&back), &back["has_more"]), (names(&second), &json!(true)));
    for query in ["outcome=great", "start_time=never", "after=a&before=b"] {
        assert_eq!(router.get(&format!("/api/audit?{query}")).key(MASTER).send().await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn log_ins_are_rows_and_an_unknown_name_is_not_kept() {
    let router = Setup::new().env("LLM_ROUTER_ADMIN_PASSWORD", "the-password").start();
    for (name, password) in [("admin", "wrong"), ("hunter2-typed-as-a-name", "wrong"), ("admin", "the-password")] {
        router.post("/api/auth/login", &json!({"username": name, "password": password})).nobody().send().await;
    }
    let found = rows(&router, "action=auth.login").await;
    let seen: Vec<_> = found.iter().map(|row| (row["actor"].as_str(), row["outcome"].as_str().unwrap())).collect();
    assert_eq!(seen, [(Some("admin"), "success"), (None, "denied"), (Some("admin"), "denied")]);
    assert!(!json!(found).to_string().contains("hunter2"));
}

#[tokio::test]
async fn commands_leave_rows_of_their_own() {
    let router = Setup::new().start();
    router.runs(&["key", "create", "--name", "by hand"], &[]);
    router.runs(&["model", "add", "house", "openai", "http://127.0.0.1:1"], &[]);
    let found = rows(&router, "actor=command").await;
    let seen: Vec<_> = found.iter().map(|row| (row["action"].as_str().unwrap(), row["outcome"].as_str().unwrap())).collect();
    assert_eq!(seen, [("model.add", "success"), ("key.create", "success")]);
}

/// Makes the audit table refuse every row.
async fn spoil(router: &Router) -> Store {
    let store = router.store().await;
    store.refuse_rows_of("audit").await;
    store
}

#[tokio::test]
async fn where_rows_must_be_nothing_is_changed_without_one() {
    let router = Setup::new().set("audit", json!({"fail_mode": "closed"})).start();
    let _store = spoil(&router).await;
    let body = json!({"name": "unrecorded"});
    for (method, path) in
        [("POST", "/api/api-keys"), ("POST", "/api/cache/flush"), ("POST", "/router/reset-stats"), ("POST", "/config/reload")]
    {
        let answer = router.ask(method.parse().unwrap(), path).key(MASTER).json(&body).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "audit_log_unavailable"), "{path}");
    }
    let keys = router.get("/api/api-keys").key(MASTER).send().await.text();
    assert!(!keys.contains("unrecorded"), "{keys}");

    let open = Setup::new().start();
    let _store = spoil(&open).await;
    open.new_key(body.clone()).await;
    let off = Setup::new().env("AUDIT_LOG_ENABLED", "false").start();
    off.new_key(body).await;
    assert!(rows(&off, "").await.is_empty());
}
