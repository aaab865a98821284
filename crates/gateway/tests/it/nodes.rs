//! Nodes as targets: an upstream that plays a node.

use serde_json::{Value, json};
use testkit::{FakeUpstream, Reply, Script};

use crate::{
    client::Answer,
    router::{MASTER, Router, Setup, eventually, soon},
};

/// Registers `upstream` as a node that has `model`, and lets it say so.
pub(crate) async fn join(router: &Router, upstream: &FakeUpstream, name: &str, model: &str) -> Value {
    let registration = json!({"machine_name": name, "ip_address": "127.0.0.1", "runtime_port": upstream.address().port() - 1, "accelerator": "cpu", "available_models": [model]});
    let answer = router.post("/api/nodes", &registration).nobody().send().await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let said = answer.json();
    assert_eq!(beat(router, &said, model).await.status, 200);
    said
}

async fn beat(router: &Router, registered: &Value, model: &str) -> Answer {
    beat_with(router, registered, model, json!({})).await
}

/// A heartbeat in which members of `more` replace others or are added.
pub(crate) async fn beat_with(router: &Router, registered: &Value, model: &str, more: Value) -> Answer {
    let mut beat = json!({"node_id": registered["node_id"], "loaded_models": [model], "ready_models": [1, 1], "cpu_usage": 1.0});
    beat.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    let token = registered["node_token"].as_str().unwrap();
    router.post("/api/health", &beat).nobody().header("x-node-token", token).send().await
}

fn models(reply: Reply, model: &str) -> Script {
    Script::always(reply).models([model])
}

#[tokio::test]
async fn a_node_serves_and_its_address_is_never_shown() {
    let node = FakeUpstream::start(models(Reply::ok(), "house-model"));
    let router = Setup::new().start();
    let registered = join(&router, &node, "smithy", "house-model").await;
    for stream in [false, true] {
        let answer = router.chat("house-model", json!({"stream": stream})).header("cookie", "of the client").send().await;
        assert_eq!((answer.status, answer.header("x-llm-router-target")), (200, "smithy"), "{}", answer.text());
        assert_eq!(answer.header("x-llm-router-provider"), "node");
        let shown = format!("{:?} {}", answer.headers, answer.text());
        assert!(!shown.contains("127.0.0.1") && !shown.contains(&node.address().port().to_string()), "{shown}");
        assert!(shown.contains("Hello"), "{shown}");
    }
    let asked: Vec<_> = node.requests().into_iter().filter(|r| r.method == "POST").collect();
    let proof = format!("Bearer {}", registered["router_secret"].as_str().unwrap());
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|r| r.header("authorization") == Some(&proof) && r.header("cookie").is_none()));
    let listed = router.get("/v1/models/house-model").send().await.json();
    assert_eq!((&listed["owned_by"], &listed["nodes"]), (&json!("node"), &json!(["smithy"])));
    assert_eq!(router.get("/_health/ready").send().await.status, 200);
}

#[tokio::test]
async fn a_node_that_fails_hands_over_to_the_next() {
    let nodes = [models(Reply::nothing(), "house-model"), models(Reply::error(500), "house-model")].map(FakeUpstream::start);
    let account = FakeUpstream::start(Script::default());
    let router = Setup::new().account("cloud", &account.base_url(), &["house-model"], json!({})).start();
    join(&router, &nodes[0], "one", "house-model").await;
    join(&router, &nodes[1], "two", "house-model").await;
    let answer = router.chat("house-model", json!({})).send().await;
    assert_eq!((answer.status, answer.header("x-llm-router-target"), answer.header("x-llm-router-attempts")), (200, "cloud", "3"));
    let streamed = router.chat("house-model", json!({"stream": true})).send().await;
    assert_eq!((streamed.status, streamed.header("x-llm-router-target")), (200, "cloud"));
    assert_eq!(streamed.events().last().map(String::as_str), Some("[DONE]"));
}

#[tokio::test]
async fn a_known_model_without_its_node_is_no_other_ones() {
    let node = FakeUpstream::start(models(Reply::ok(), "private-model"));
    let anybody = FakeUpstream::start(Script::default());
    let router = Setup::new().account("takes-anything", &anybody.base_url(), &[], json!({})).start();
    let registered = join(&router, &node, "smithy", "private-model").await;
    let id = registered["node_id"].as_str().unwrap();
    let gone = router.post(&format!("/api/nodes/{id}/disconnect"), &json!({})).key(MASTER).send().await;
    assert_eq!(gone.status, 202);
    let answer = router.chat("private-model", json!({})).send().await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "no_available_target"), "{}", answer.text());
    assert!(!answer.header("retry-after").is_empty());
    assert!(anybody.requests().is_empty(), "a private prompt does not drift to a cloud");
    let removed = router.ask(http::Method::DELETE, &format!("/api/nodes/{id}")).key(MASTER).send().await;
    assert_eq!(removed.status, 204);
    assert_eq!(router.chat("private-model", json!({})).send().await.status, 200, "a name that nobody knows is anybody's");
}

#[tokio::test]
async fn a_caller_that_leaves_frees_the_node() {
    let frame = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one\"},\"finish_reason\":null}]}\n\n";
    let node = FakeUpstream::start(models(Reply::events([frame, frame]).stall_after(frame.len()), "house-model"));
    let router = Setup::new().start();
    join(&router, &node, "smithy", "house-model").await;
    let active = async || {
        let nodes = router.get("/api/nodes").key(MASTER).send().await.json();
        nodes[0]["active_requests"].as_u64().unwrap_or_else(|| panic!("{nodes}"))
    };
    let mut stream = router.chat("house-model", json!({"stream": true})).header("x-request-id", "left").open().await;
    stream.until("one").await;
    assert_eq!(active().await, 1);
    drop(stream);
    soon("the node is left", node.hangup()).await;
    eventually("the node is free", || async { (active().await == 0).then_some(()) }).await;
    let row = router.record("left").await;
    assert_eq!((&*row.outcome, row.target.as_deref(), row.node_id.is_some()), ("cancelled", Some("smithy"), true));
}

#[tokio::test]
async fn a_node_is_called_back_before_it_is_believed() {
    let router = Setup::new().start();
    let port = crate::router::closed_port().port();
    let said = json!({"machine_name": "ghost", "ip_address": "127.0.0.1", "runtime_port": port - 1, "accelerator": "cpu"});
    let answer = router.post("/api/nodes", &said).nobody().send().await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_error"), "{}", answer.text());
    let elsewhere = json!({"machine_name": "ghost", "ip_address": "10.0.0.1", "runtime_port": port - 1, "accelerator": "cpu"});
    assert_eq!(router.post("/api/nodes", &elsewhere).nobody().send().await.status, 403);
    let forwarded = router.post("/api/nodes", &said).nobody().header("x-forwarded-for", "127.0.0.1").send().await;
    assert_eq!(forwarded.status, 403, "{}", forwarded.text());
    assert_eq!(router.get("/api/nodes").key(MASTER).send().await.json(), json!([]));
}

#[tokio::test]
async fn nothing_is_sent_where_a_node_may_not_be() {
    let node = FakeUpstream::start(models(Reply::ok(), "house-model"));
    let router = Setup::new().start();
    // The system takes this name for 0.0.0.0, which is this machine too, and no address of a node.
    let said = json!({"name": "crooked", "endpoint": format!("http://0:{}", node.address().port()), "models": ["house-model"]});
    assert_eq!(router.post("/register", &said).nobody().send().await.status, 200);
    let answer = router.chat("house-model", json!({})).send().await;
    assert!(matches!(answer.status, 502 | 503), "{} {}", answer.status, answer.text());
    assert!(node.requests().is_empty(), "{:?}", node.requests());
    // Nothing to wait for: the address stays what it is.
    assert_eq!(answer.json()["error"]["attempts"].as_array().map(Vec::len), Some(1), "{}", answer.text());
}

#[tokio::test]
async fn what_is_no_chat_passes_to_a_node_as_it_comes() {
    let ranked = json!({"id": "r", "results": [{"index": 1, "relevance_score": 0.9}], "usage": {"prompt_tokens": 7, "total_tokens": 7}});
    let script = models(Reply::ok(), "house-model")
        .on("/v1/rerank", Reply::json(&ranked))
        .on("/v1/tokenize", Reply::json(&json!({"tokens": [1, 2]})));
    let node = FakeUpstream::start(script);
    let router = Setup::new().start();
    join(&router, &node, "smithy", "house-model").await;
    let body = json!({"model": "house-model", "query": "q", "documents": ["a", "b"], "top_n": 1});
    for path in ["/v1/rerank", "/rerank", "/v2/rerank"] {
        let answer = router.post(path, &body).send().await;
        assert_eq!((answer.status, answer.json(), answer.header("x-llm-router-target")), (200, ranked.clone(), "smithy"), "{path}");
    }
    let answer = router.post("/v1/tokenize", &json!({"model": "house-model", "content": "x y"})).send().await;
    assert_eq!((answer.status, answer.json()), (200, json!({"tokens": [1, 2]})));
    let asked: Vec<_> = node.requests().into_iter().filter(|r| r.method == "POST").collect();
    assert_eq!(asked.iter().map(testkit::Recorded::path).collect::<Vec<_>>(), ["/v1/rerank", "/v1/rerank", "/v1/rerank", "/v1/tokenize"]);
    assert_eq!(asked[0].json(), body);
}

#[tokio::test]
async fn a_node_without_the_memory_for_a_model_is_well_and_says_so_itself() {
    let said = json!({"error": {"message": "needs about 9 MiB, and 5 MiB are free", "type": "server_error", "param": null, "code": "insufficient_storage"}});
    let list = Reply::json(&json!({"data": [{"id": "house-model"}]}));
    let node = FakeUpstream::start(Script::always(Reply::json(&said).status(507)).on("/v1/models", list));
    let router = Setup::new().start();
    join(&router, &node, "smithy", "house-model").await;
    for _ in 0..4 {
        let answer = router.chat("house-model", json!({})).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (507, "insufficient_storage"), "{}", answer.text());
        assert!(answer.text().contains("5 MiB are free"), "{}", answer.text());
    }
    let nodes = router.get("/api/nodes").key(MASTER).send().await.json();
    assert_eq!(nodes[0]["state"], "ready", "{nodes}");
}

#[tokio::test]
async fn a_node_that_still_loads_a_model_is_well_and_nobody_else_begins_to() {
    let said = json!({"error": {"message": "the model `house-model` is being loaded, for 60 s now", "type": "service_unavailable", "param": "model", "code": "model_loading", "loading_s": 60}});
    let list = || Reply::json(&json!({"data": [{"id": "house-model"}]}));
    let loads = || Reply::json(&said).status(503).header("retry-after", "10");
    let nodes = [0, 1].map(|_| FakeUpstream::start(Script::always(loads()).on("/v1/models", list())));
    let router = Setup::new().start();
    join(&router, &nodes[0], "one", "house-model").await;
    join(&router, &nodes[1], "two", "house-model").await;
    for _ in 0..8 {
        let answer = router.chat("house-model", json!({"stream": true})).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "model_loading"), "{}", answer.text());
        assert_eq!((answer.header("retry-after"), answer.text().contains("60 s")), ("10", true), "{}", answer.text());
    }
    let asked = nodes.iter().map(|node| node.requests().iter().filter(|r| r.method == "POST").count()).sum::<usize>();
    assert_eq!(asked, 8, "one node each");
    let states = router.get("/api/nodes").key(MASTER).send().await.json();
    assert!(states.as_array().unwrap().iter().all(|node| node["state"] == "ready"), "{states}");
}

#[tokio::test]
async fn a_node_s_own_log_is_shown() {
    let log = json!({"path": "/var/log/node.log", "entries": [{"level": "info", "message": "a model was loaded"}]});
    let node = FakeUpstream::start(models(Reply::ok(), "house-model").on("/api/logs", Reply::json(&log)));
    let router = Setup::new().start();
    let registered = join(&router, &node, "smithy", "house-model").await;
    let path = format!("/api/nodes/{}/logs", registered["node_id"].as_str().unwrap());
    let shown = router.get(&format!("{path}?tail=7")).key(MASTER).send().await;
    assert_eq!(
        (shown.status, &shown.json()["source"], &shown.json()["entries"]),
        (200, &json!("node:smithy"), &log["entries"]),
        "{}",
        shown.text()
    );
    let asked = node.requests().into_iter().find(|request| request.target.starts_with("/api/logs")).unwrap();
    assert!(asked.target.contains("tail=7"), "{}", asked.target);
    assert_eq!(asked.header("authorization"), Some(&*format!("Bearer {}", registered["router_secret"].as_str().unwrap())));
    assert_eq!(router.get("/api/nodes/nobody/logs").key(MASTER).send().await.status, 404);
    router.post(&path.replace("/logs", "/disconnect"), &json!({})).key(MASTER).send().await;
    assert_eq!(router.get(&path).key(MASTER).send().await.status, 503, "nobody is there to be asked");
}

#[tokio::test]
async fn nodes_outlive_a_killed_router() {
    let node = FakeUpstream::start(models(Reply::ok(), "house-model"));
    let mut router = Setup::new().start();
    let registered = join(&router, &node, "smithy", "house-model").await;
    router.signal("KILL");
    router.ended();
    let again = Setup::new().in_home_of(&router).start();
    assert_eq!(beat(&again, &registered, "house-model").await.status, 200, "its token is still good");
    assert_eq!(again.chat("house-model", json!({})).send().await.header("x-llm-router-target"), "smithy");
}

#[tokio::test]
async fn models_are_loaded_and_unloaded_by_hand() {
    let loaded = Reply::json(&json!({"model": "house-model", "status": "loaded", "memory_bytes": 7, "context_length": 9}));
    let full = Reply::json(&json!({"error": {"message": "there is no room"}})).status(503);
    let script = |load: Reply| models(Reply::ok(), "house-model").on("/api/models/load", load);
    let unloaded = Reply::json(&json!({"model": "house-model", "status": "unloaded"}));
    let first = FakeUpstream::start(script(loaded).on("/api/models/unload", unloaded));
    let second = FakeUpstream::start(script(full));
    let router = Setup::new().start();
    join(&router, &first, "first", "house-model").await;
    let registered = join(&router, &second, "second", "house-model").await;
    beat_with(&router, &registered, "house-model", json!({"loaded_models": []})).await;
    let ask = async |verb: &str, body: Value| router.post(&format!("/api/models/{verb}"), &body).key(MASTER).send().await;

    let done = ask("load", json!({"model": "house-model"})).await;
    assert_eq!((done.status, &done.json()["status"]), (200, &json!("loaded")), "where it is already: {}", done.text());
    let on = &done.json()["nodes"][0];
    assert_eq!((&on["name"], &on["memory_bytes"], &on["context_length"]), (&json!("first"), &json!(7), &json!(9)));
    let refused = ask("load", json!({"model": "node:house-model", "node": "second"})).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "no_available_target"));
    assert!(refused.text().contains("there is no room"), "{}", refused.text());
    let done = ask("unload", json!({"model": "house-model"})).await;
    assert_eq!((done.status, &done.json()["nodes"].as_array().unwrap().len()), (200, &1), "from where it is: {}", done.text());
    for (body, status) in [(json!({}), 400), (json!({"model": "nowhere"}), 404), (json!({"model": "house-model", "node": "nobody"}), 404)] {
        assert_eq!(ask("load", body.clone()).await.status, status, "{body}");
    }
    let sent = first.requests();
    let proof = sent.iter().find(|r| r.path().ends_with("/unload")).unwrap();
    assert!(proof.header("authorization").is_some_and(|shown| shown.starts_with("Bearer ")));
}
