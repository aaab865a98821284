//! Request records: exactly one row per admitted request, whatever became of it.

use std::collections::HashMap;

use serde_json::json;
use store::requests::{self, Filter};
use testkit::{FakeUpstream, Reply, Script};

use crate::router::{MASTER, Router, Setup};

async fn rows(router: &Router) -> HashMap<String, Vec<requests::Row>> {
    let store = router.store().await;
    let mut by_id: HashMap<String, Vec<requests::Row>> = HashMap::new();
    for stored in requests::recent(&store, &Filter { limit: 1000, ..Filter::default() }).await.unwrap() {
        by_id.entry(stored.row.id.to_string()).or_default().push(stored.row);
    }
    by_id
}

#[tokio::test]
async fn every_admitted_request_has_one_row_and_others_none() {
    let upstream = FakeUpstream::start(Script::default());
    let broken = FakeUpstream::start(Script::always(Reply::error(500)));
    let setup = Setup::new().upstream("mock", &upstream).account("broken", &broken.base_url(), &["broken"], json!({}));
    let mut router = setup.set("retry", json!({"max_attempts": 1})).start();
    let admitted = [
        ("whole", router.chat("gpt-mock", json!({})), 200),
        ("streamed", router.chat("gpt-mock", json!({"stream": true})), 200),
        ("dummy", router.chat("dummy", json!({})), 200),
        ("dummy-streamed", router.chat("dummy", json!({"stream": true})), 200),
        ("embedded", router.post("/v1/embeddings", &json!({"model": "gpt-mock", "input": "x"})), 200),
        ("completed", router.post("/completions", &json!({"model": "gpt-mock", "prompt": "x"})), 200),
        ("unknown", router.chat("nobody", json!({})), 404),
        ("nothing", router.post("/v1/chat/completions", &json!({"model": "gpt-mock"})), 400),
        ("broken", router.chat("broken", json!({})), 502),
        ("broken-streamed", router.chat("broken", json!({"stream": true})), 502),
        ("unsupported", router.post("/v1/embeddings", &json!({"model": "dummy", "input": "x"})), 501),
    ];
    let others = [
        ("no-key", router.chat("dummy", json!({})).nobody(), 401),
        ("bad-key", router.chat("dummy", json!({})).key("sk_wrong"), 401),
        ("no-json", router.chat("dummy", json!({})).body("{"), 400),
        ("no-inference", router.get("/v1/models"), 200),
    ];
    let mut wanted = HashMap::new();
    for (id, ask, status) in admitted {
        assert_eq!(ask.header("x-request-id", id).send().await.status, status, "{id}");
        wanted.insert(id, status);
    }
    for (id, ask, status) in others {
        assert_eq!(ask.header("x-request-id", id).send().await.status, status, "{id}");
    }
    router.stop();
    let rows = rows(&router).await;
    assert_eq!(rows.len(), wanted.len(), "{:?}", rows.keys());
    for (id, status) in wanted {
        let [row] = &rows[id][..] else { panic!("{id}: {} rows", rows[id].len()) };
        assert_eq!((row.status, row.key_name.as_deref()), (status, Some("LLM_ROUTER_API_KEYS[0]")), "{id}");
        let outcome = if status == 200 { "success" } else { "error" };
        assert_eq!((&*row.outcome, row.error_code.is_none()), (outcome, status == 200), "{id}: {:?}", row.error_code);
        assert_eq!(row.stream, id.contains("streamed"), "{id}");
    }
    let row = &rows["streamed"][0];
    assert_eq!((row.prompt_tokens, row.completion_tokens, row.model_requested.as_deref()), (Some(5), Some(2), Some("gpt-mock")));
    assert_eq!((row.target.as_deref(), row.provider.as_deref(), &*row.dialect, row.attempts), (Some("mock"), Some("openai"), "chat", 1));
    assert_eq!((row.client_ip.as_deref(), &*row.path), (Some("127.0.0.1"), "/v1/chat/completions"));
    assert_eq!((&*rows["embedded"][0].dialect, &*rows["completed"][0].dialect), ("embeddings", "completions"));
    assert!(rows["whole"][0].bytes_in > 0 && rows["whole"][0].bytes_out > 0 && rows["whole"][0].overhead_us.is_some());
}

#[tokio::test]
async fn many_at_once_are_all_recorded() {
    let upstream = FakeUpstream::start(Script::default());
    let mut router = Setup::new().upstream("mock", &upstream).start();
    let asked: Vec<_> = (0..200)
        .map(|n| tokio::spawn(router.chat("gpt-mock", json!({"stream": n % 2 == 0})).header("x-request-id", &format!("many-{n}")).send()))
        .collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    router.stop();
    let rows = rows(&router).await;
    assert_eq!(rows.len(), 200);
    assert!(rows.values().all(|same| same.len() == 1 && &*same[0].outcome == "success"));
}

#[tokio::test]
async fn a_killed_router_keeps_its_keys_and_its_written_rows() {
    let mut router = Setup::new().start();
    assert_eq!(router.chat("dummy", json!({})).header("x-request-id", "before").send().await.status, 200);
    router.record("before").await;
    let (revoked, _) = router.new_key(json!({})).await;
    assert_eq!(router.ask(http::Method::DELETE, &format!("/api/api-keys/{revoked}")).key(MASTER).send().await.status, 204);
    let mut keys = Vec::new();
    for _ in 0..5 {
        keys.push(router.new_key(json!({})).await);
    }
    router.signal("KILL");
    assert!(!router.ended().success());

    let again = Setup::new().in_home_of(&router).start();
    for (_, key) in &keys {
        assert_eq!(again.chat("dummy", json!({})).key(key).send().await.status, 200, "an acknowledged key is lost");
    }
    let listed = again.get("/api/api-keys").key(MASTER).send().await.json();
    assert_eq!(listed["api_keys"].as_array().unwrap().len(), keys.len(), "{listed}");
    assert_eq!(rows(&again).await["before"].len(), 1);
}
