//! Keys made and revoked, over the API and by the command line, with and without a running router.

use http::Method;
use serde_json::{Value, json};

use crate::router::{MASTER, Router, Setup, eventually};

async fn status_with(router: &Router, key: &str) -> u16 {
    router.chat("dummy", json!({})).key(key).send().await.status
}

fn made(said: &str) -> (String, String) {
    let said: Value = serde_json::from_str(said).unwrap();
    (said["id"].as_str().unwrap().to_owned(), said["key"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn the_command_line_writes_what_a_running_router_honours() {
    let router = Setup::new().start();
    let create = ["key", "create", "--name", "laptop", "--scopes", "inference,read", "--models", "dummy", "--json"];
    let (id, key) = made(&router.runs(&create, &[]));
    assert!(key.len() == 35 && key.starts_with("sk_") && key[3..].bytes().all(|b| b.is_ascii_alphanumeric()), "{key}");
    eventually("the key works", || async { (status_with(&router, &key).await == 200).then_some(()) }).await;
    assert_eq!(router.get("/api/nodes").key(&key).send().await.status, 200);
    assert_eq!(router.chat("other", json!({})).key(&key).send().await.status, 403);

    for args in [&["key", "list"][..], &["key", "list", "--json"]] {
        let listed = router.runs(args, &[]);
        assert!(listed.contains(&id) && listed.contains("laptop") && !listed.contains(&key), "{listed}");
    }
    router.runs(&["key", "revoke", &id], &[]);
    eventually("the key is refused", || async { (status_with(&router, &key).await == 401).then_some(()) }).await;
    assert!(!router.runs(&["key", "list"], &[]).contains(&id));
}

#[tokio::test]
async fn the_command_line_works_without_a_router() {
    let mut router = Setup::new().start();
    router.stop();
    let (id, key) = made(&router.runs(&["key", "create", "--name", "offline", "--json"], &[]));
    let plain = router.runs(&["key", "create", "--name", "plain"], &[]);
    router.runs(&["key", "revoke", &id], &[]);
    let month: Value =
        serde_json::from_str(&router.runs(&["key", "create", "--name", "month", "--expires", "30d", "--json"], &[])).unwrap();
    let ends: jiff::Timestamp = month["expires_at"].as_str().unwrap().parse().unwrap();
    assert_eq!((ends.as_second() - jiff::Timestamp::now().as_second() + 3600) / 86_400, 30, "{month}");
    let again = Setup::new().in_home_of(&router).start();
    assert_eq!(status_with(&again, plain.trim()).await, 200);
    assert_eq!(status_with(&again, &key).await, 401);
}

#[tokio::test]
async fn the_command_line_asks_the_router_that_it_is_pointed_to() {
    let router = Setup::new().start();
    let env = [("LLM_ROUTER_URL", router.url.as_str()), ("LLM_ROUTER_API_KEY", MASTER), ("LLM_ROUTER_DATA_DIR", "/nonexistent")];
    let (id, key) = made(&router.runs(&["key", "create", "--name", "remote", "--json"], &env));
    assert_eq!(status_with(&router, &key).await, 200, "at once");
    let listed = router.runs(&["key", "list"], &env);
    assert!(listed.contains(&id) && !listed.contains(&key), "{listed}");
    router.runs(&["key", "revoke", &id], &env);
    assert_eq!(status_with(&router, &key).await, 401, "at once");

    let weak = [env[0], ("LLM_ROUTER_API_KEY", crate::router::KEY), env[2]];
    let refused = router.run(&["key", "list"], &weak);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("403"), "{}", String::from_utf8_lossy(&refused.stderr));
}

#[tokio::test]
async fn commands_say_what_is_wrong() {
    let router = Setup::new().start();
    for (args, word) in [
        (&["key", "create", "--name", "x", "--scopes", "root"][..], "root"),
        (&["key", "create", "--name", "x", "--expires", "soon"], "RFC 3339"),
        (&["key", "create", "--name", " "], "name"),
        (&["key", "revoke", "key_nobody"], "key_nobody"),
    ] {
        let output = router.run(args, &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.starts_with("llm-router: ") && said.contains(word), "{args:?}: {said}");
    }
}

#[tokio::test]
async fn keys_made_side_by_side_all_work_at_once() {
    let router = std::sync::Arc::new(Setup::new().start());
    let makers: Vec<_> = (0..24)
        .map(|_| {
            let router = router.clone();
            tokio::spawn(async move {
                let (id, key) = router.new_key(json!({})).await;
                assert_eq!(status_with(&router, &key).await, 200, "a key that was acknowledged is not known");
                assert_eq!(router.ask(Method::DELETE, &format!("/api/api-keys/{id}")).key(MASTER).send().await.status, 204);
                assert_eq!(status_with(&router, &key).await, 401, "a key that was revoked is honoured");
            })
        })
        .collect();
    for maker in makers {
        maker.await.unwrap();
    }
}

#[tokio::test]
async fn every_place_of_a_key_is_accepted() {
    let router = Setup::new().env("LLM_ROUTER_AUTH_HEADER_NAME", "X-House-Key").start();
    for name in ["x-api-key", "api-key", "x-goog-api-key", "x-litellm-api-key", "x-house-key"] {
        let answer = router.chat("dummy", json!({})).nobody().header(name, crate::router::KEY).send().await;
        assert_eq!(answer.status, 200, "{name}");
    }
    let admin = router.get("/api/api-keys").nobody().header("x-admin-api-key", MASTER).send().await;
    assert_eq!(admin.status, 200);
    assert_eq!(router.chat("dummy", json!({})).nobody().header("authorization", "bearer  nobody").send().await.status, 401);
}

#[tokio::test]
async fn bounds_are_kept_shown_and_changed() {
    let router = Setup::new().start();
    let (id, _) = router.new_key(json!({"limits": {"rpm": 2, "tpm": 5_000_000_000_u64, "concurrency": null}})).await;
    let path = format!("/api/api-keys/{id}");
    let listed = async || {
        let all = router.get("/api/api-keys").key(MASTER).send().await.json();
        all["api_keys"].as_array().unwrap().iter().find(|key| key["id"] == *id).unwrap().clone()
    };
    assert_eq!(listed().await["limits"], json!({"rpm": 2, "tpm": 5_000_000_000_u64}));

    let put = async |body: Value| router.ask(Method::PUT, &path).key(MASTER).json(&body).send().await;
    let changed = put(json!({"limits": {"rpm": 100}, "expires_at": "2100-01-31T00:00:00Z"})).await;
    assert_eq!((changed.status, &changed.json()["limits"]), (200, &json!({"rpm": 100})));
    assert_eq!(put(json!({"name": "renamed"})).await.status, 200);
    let now = listed().await;
    assert_eq!(
        (&now["name"], &now["limits"], &now["expires_at"]),
        (&json!("renamed"), &json!({"rpm": 100}), &json!("2100-01-31T00:00:00Z"))
    );
    assert_eq!(put(json!({"limits": null, "expires_at": null})).await.status, 200);
    let now = listed().await;
    assert_eq!((&now["limits"], &now["expires_at"]), (&json!({}), &Value::Null));

    for (limits, word) in [
        (json!({"rpm": 0}), "limits.rpm"),
        (json!({"rps": 1}), "limits.rps"),
        (json!({"rpm": "many"}), "limits.rpm"),
        (json!({"concurrency": 5_000_000_000_u64}), "limits.concurrency"),
    ] {
        let answer = put(json!({"limits": limits})).await;
        assert_eq!(answer.status, 400, "{limits}");
        assert!(answer.text().contains(word), "{}", answer.text());
    }
    assert_eq!(router.ask(Method::PUT, "/api/api-keys/key_nobody").key(MASTER).json(&json!({})).send().await.status, 404);
}

#[tokio::test]
async fn a_rotated_key_keeps_everything_but_its_secret() {
    let router = Setup::new().start();
    let (id, old) = router.new_key(json!({"limits": {"rpm": 7}})).await;
    let answer = router.ask(Method::POST, &format!("/api/api-keys/{id}/rotate")).key(MASTER).send().await;
    assert_eq!((answer.status, &answer.json()["limits"]), (200, &json!({"rpm": 7})), "{}", answer.text());
    let new = answer.json()["key"].as_str().unwrap().to_owned();
    assert_eq!((status_with(&router, &old).await, status_with(&router, &new).await), (401, 200));
    assert_eq!(router.ask(Method::DELETE, &format!("/api/api-keys/{id}")).key(MASTER).send().await.status, 204);
    assert_eq!(router.ask(Method::POST, &format!("/api/api-keys/{id}/rotate")).key(MASTER).send().await.status, 404);
}

#[tokio::test]
async fn a_restriction_that_nobody_knows_is_refused() {
    let router = Setup::new().start();
    for wrong in [json!({"name": "n", "enabled": false}), json!({"name": "n", "allowed_model": ["m"]}), json!({"name": "n", "mcp": {}})] {
        let answer =
            router.ask(Method::POST, "/api/api-keys").header("authorization", &format!("Bearer {MASTER}")).json(&wrong).send().await;
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.text());
    }
}
