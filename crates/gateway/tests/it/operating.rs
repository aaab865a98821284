//! What operators see: why a request went as it did, how services and keys are used, the decision log.

use std::path::Path;

use http::Method;
use serde_json::{Value, json};
use testkit::{FakeUpstream, Reply, Script};

use crate::{
    client::Answer,
    router::{KEY, MASTER, Router, Setup, closed_port, eventually},
};

/// The first account cannot be reached, the second serves; a third is not needed.
fn three() -> (FakeUpstream, Setup) {
    let upstream = FakeUpstream::start(Script::default());
    let setup = Setup::new()
        .account("away", &format!("http://{}/v1", closed_port()), &["gpt-mock"], json!({"priority": 1}))
        .account("well", &upstream.base_url(), &["gpt-mock"], json!({"priority": 2}))
        .account("spare", &upstream.base_url(), &["gpt-mock"], json!({"priority": 3}));
    (upstream, setup)
}

async fn explained(router: &Router, id: &str, key: &str) -> Value {
    let path = format!("/api/requests/{id}/explain");
    eventually(&path, || async { Some(router.get(&path).key(key).send().await).filter(|answer| answer.status == 200) }).await.json()
}

async fn get(router: &Router, path: &str) -> Value {
    let answer = router.get(path).key(MASTER).send().await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

async fn post(router: &Router, path: &str, body: Value) -> Answer {
    router.post(path, &body).key(MASTER).send().await
}

#[tokio::test]
async fn a_request_is_explained_from_candidates_to_tokens() {
    let (_upstream, setup) = three();
    let router = setup.start();
    assert_eq!(router.chat("gpt-mock", json!({"stream": true})).header("x-request-id", "why").send().await.status, 200);
    let said = explained(&router, "why", MASTER).await;
    let candidates: Vec<_> = said["candidates"].as_array().unwrap().iter().map(|c| (&c["target"], &c["reason"], &c["result"])).collect();
    let wanted = [("away", "unreachable"), ("well", "served"), ("spare", "not_tried")].map(|(t, r)| (json!(t), json!("exact"), json!(r)));
    assert_eq!(candidates, wanted.iter().map(|(t, r, o)| (t, r, o)).collect::<Vec<_>>(), "{said}");
    assert_eq!((&said["rule"], &said["source"], &said["requested_model"]), (&json!("exact"), &json!("request"), &json!("gpt-mock")));
    assert_eq!(said["attempts"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&said["served"]["target"], &said["served"]["model"], &said["outcome"]),
        (&json!("well"), &json!("gpt-mock"), &json!("success"))
    );
    assert_eq!((&said["usage"]["prompt_tokens"], &said["usage"]["completion_tokens"]), (&json!(5), &json!(2)));
    let timing = |name: &str| said["timings"][name].as_f64().unwrap_or_else(|| panic!("{name}: {said}"));
    assert!(timing("first_byte_ms") <= timing("duration_ms") && timing("waited_ms") > 0.0 && timing("overhead_ms") >= 0.0);
    assert!(timing("streaming_ms") >= 0.0);
    assert_eq!(said["losses"], json!({"dropped": [], "changed": []}));
}

#[tokio::test]
async fn a_failure_is_explained_too() {
    let router = Setup::new().start();
    assert_eq!(router.chat("nobody", json!({})).header("x-request-id", "lost").send().await.status, 404);
    let said = explained(&router, "lost", MASTER).await;
    assert_eq!((&said["status"], &said["error_code"], &said["rule"]), (&json!(404), &json!("model_not_found"), &Value::Null));
    assert_eq!((&said["candidates"], &said["attempts"], &said["served"]["target"]), (&json!([]), &json!([]), &Value::Null));
}

#[tokio::test]
async fn who_may_not_read_sees_its_own_requests_only() {
    let router = Setup::new().start();
    let (_, first) = router.new_key(json!({"scopes": ["inference"]})).await;
    let (_, second) = router.new_key(json!({"scopes": ["inference"]})).await;
    let (_, reader) = router.new_key(json!({"scopes": ["read"]})).await;
    for key in [&first, &second] {
        assert_eq!(router.chat("dummy", json!({})).key(key).header("x-request-id", "same").send().await.status, 200);
    }
    let own = explained(&router, "same", &first).await["key"]["id"].clone();
    let other = explained(&router, "same", &second).await["key"]["id"].clone();
    assert_ne!(own, other, "each its own, though both have one id");
    assert_eq!(explained(&router, "same", &reader).await["key"]["id"], other, "a reader sees the newest");
    assert_eq!(router.chat("dummy", json!({})).key(&first).header("x-request-id", "private").send().await.status, 200);
    explained(&router, "private", &first).await;
    let long = "x".repeat(300);
    for (key, id, refusal) in [
        (second.as_str(), "private", (403, "permission_denied")),
        (&second, "nobody", (403, "permission_denied")),
        (KEY, "private", (403, "permission_denied")),
        (MASTER, "nobody", (404, "not_found")),
        (MASTER, &long, (404, "not_found")),
    ] {
        let answer = router.get(&format!("/api/requests/{id}/explain")).key(key).send().await;
        assert_eq!((answer.status, answer.code().as_str()), refusal, "{id}");
    }
}

#[tokio::test]
async fn services_are_counted_and_set_back() {
    let (upstream, setup) = three();
    let router = setup.start();
    let stats = get(&router, "/router/stats").await;
    assert_eq!(stats["service_order"], json!(["away", "well", "spare"]));
    assert_eq!(stats["service_stats"]["away"], json!({"requests": 0, "failures": 0, "rate_limited": 0}));
    assert_eq!(get(&router, "/router/health").await["overall_status"], "unknown");
    for _ in 0..4 {
        assert_eq!(router.chat("gpt-mock", json!({})).send().await.status, 200);
    }
    assert_eq!(router.chat("dummy", json!({})).send().await.status, 200);
    let stats = get(&router, "/router/stats").await;
    assert_eq!((&stats["total_requests"], &stats["total_failovers"], &stats["failover_rate"]), (&json!(5), &json!(4), &json!(80.0)));
    let count = |name: &str| (stats["service_stats"][name]["requests"].clone(), stats["service_stats"][name]["failures"].clone());
    assert_eq!((count("away"), count("well"), count("spare")), ((json!(4), json!(4)), (json!(4), json!(0)), (json!(0), json!(0))));
    assert_eq!(count("dummy").0, 1);
    let health = get(&router, "/router/health").await;
    let of = |name: &str| health["services"][name]["status"].clone();
    assert_eq!(
        (of("away"), of("well"), of("spare"), &health["overall_status"]),
        (json!("unhealthy"), json!("healthy"), json!("unknown"), &json!("degraded"))
    );
    assert_eq!(
        (&health["services"]["well"]["has_api_key"], &health["services"]["well"]["base_url"]),
        (&json!(true), &json!(upstream.base_url()))
    );
    let as_client = router.get("/router/health").send().await.json();
    assert_eq!(as_client["services"]["well"].get("base_url"), None, "addresses are for operators");
    let both = get(&router, "/backend/info").await;
    assert_eq!((&both["mode"], &both["status"], &both["router_stats"]["total_requests"]), (&json!("router"), &json!("active"), &json!(5)));
    let live = get(&router, "/v1/router/live-metrics").await;
    assert!(live["accounts"]["well"]["first_byte_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{live}");
    assert_eq!((&live["accounts"]["spare"]["first_byte_ms"], &live["accounts"]["well"]["state"]), (&Value::Null, &json!("open")));

    assert_eq!(post(&router, "/router/reset-stats", json!({})).await.json()["status"], "success");
    let stats = get(&router, "/router/stats").await;
    assert_eq!((&stats["total_requests"], &stats["service_stats"]["away"]["requests"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn an_account_that_asked_for_rest_is_shown_as_limited() {
    let upstream = FakeUpstream::start(Script::always(Reply::rate_limited(60)));
    let router = Setup::new()
        .account("busy", &upstream.base_url(), &["gpt-mock"], json!({"rate_limit_requests": 9, "rate_limit_window": 30}))
        .start();
    assert_eq!(router.chat("gpt-mock", json!({})).send().await.status, 429);
    let limit = get(&router, "/router/rate-limits").await["rate_limiting"]["busy"].clone();
    assert_eq!((&limit["rate_limit"], &limit["is_rate_limited"]), (&json!("9/30s"), &json!(true)));
    assert_eq!((&limit["current_requests"], &limit["remaining_quota"]), (&json!(1), &json!(8)));
    assert!(limit["window_reset_in"].as_f64().is_some_and(|s| s > 30.0 && s <= 60.0), "the rest is longer than the window: {limit}");
    let health = get(&router, "/router/health").await["services"]["busy"].clone();
    assert_eq!((&health["is_currently_rate_limited"], &health["rate_limit_config"]["max_requests"]), (&json!(true), &json!(9)));
    assert_eq!(get(&router, "/v1/router/live-metrics").await["accounts"]["busy"]["state"], "limited");
    // Who is passed by is explained too.
    assert_eq!(router.chat("gpt-mock", json!({})).header("x-request-id", "rests").send().await.status, 429);
    let said = explained(&router, "rests", MASTER).await;
    assert_eq!((&said["candidates"][0]["result"], &said["attempts"][0]["outcome"]), (&json!("cooling"), &json!("cooling")), "{said}");
    let stats = get(&router, "/router/stats").await;
    assert_eq!((&stats["service_stats"]["busy"]["requests"], &stats["total_rate_limit_skips"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn full_windows_are_shown_counted_and_told() {
    let upstream = FakeUpstream::start(Script::default());
    let setup =
        Setup::new().account("small", &upstream.base_url(), &["gpt-mock"], json!({"rate_limit_requests": 2, "rate_limit_window": 60}));
    let mut router = setup.account("large", &upstream.base_url(), &["gpt-mock"], json!({"priority": 9, "limits": {"rpm": 50}})).start();
    for (id, target) in [("one", "small"), ("two", "small"), ("three", "large")] {
        let answer = router.chat("gpt-mock", json!({})).header("x-request-id", id).send().await;
        assert_eq!((answer.header("x-llm-router-target"), answer.header("x-llm-router-attempts")), (target, "1"));
    }
    let said = get(&router, "/router/rate-limits").await;
    let (small, large) = (&said["rate_limiting"]["small"], &said["rate_limiting"]["large"]);
    assert_eq!((&small["rate_limit"], &small["current_requests"], &small["remaining_quota"]), (&json!("2/60s"), &json!(2), &json!(0)));
    assert_eq!((&small["is_rate_limited"], &large["is_rate_limited"]), (&json!(true), &json!(false)));
    assert_eq!((&large["rate_limit"], &large["current_requests"], &large["remaining_quota"]), (&json!("50/60s"), &json!(1), &json!(49)));
    assert!(small["window_reset_in"].as_f64().is_some_and(|s| s > 0.0 && s <= 60.0), "{small}");
    assert_eq!((&said["total_rate_limit_skips"], &said["rate_limit_skip_rate"]), (&json!(1), &json!(33.33)));
    let stats = get(&router, "/router/stats").await;
    assert_eq!((&stats["service_stats"]["small"]["rate_limited"], &stats["total_failovers"]), (&json!(1), &json!(0)));
    router.stop();
    let all = lines(&router.data_dir().join("logs/router_decisions.jsonl"));
    let events: Vec<_> = all.iter().filter(|l| l["request_id"] == "three").map(|l| l["event"].as_str().unwrap()).collect();
    assert_eq!(events[2..4], ["proxy_skip_rate_limited", "proxy_attempt"], "{events:?}");
}

#[tokio::test]
async fn keys_are_counted_masked_and_set_back() {
    let upstream = FakeUpstream::start(Script::sequence([Reply::ok(), Reply::ok(), Reply::error(400)]));
    let setup = Setup::new().upstream("mock", &upstream).env("LLM_ROUTER_API_KEYS", "").env("AUTH_KEY_01", "abcd-middle-part-wxyz");
    let router = setup.start();
    let (_, stored) = router.new_key(json!({})).await;
    for _ in 0..3 {
        router.chat("gpt-mock", json!({})).key("abcd-middle-part-wxyz").send().await;
    }
    router.chat("dummy", json!({})).key(&stored).send().await;
    for n in 0..20 {
        assert_eq!(router.chat("dummy", json!({})).key(&format!("sk_invalid{n}")).send().await.status, 401);
    }
    let status = router.get("/auth/status").key("abcd-middle-part-wxyz").send().await.json();
    assert_eq!(status, json!({"enabled": true, "valid_keys_count": 3, "auth_header": "Authorization", "system_status": "active"}));
    let said = get(&router, "/auth/metrics").await;
    let keys = said["keys_metrics"].as_object().unwrap();
    assert_eq!(keys.keys().map(String::as_str).collect::<Vec<_>>(), ["abcd...wxyz", &format!("{}...", &stored[..7])], "{said}");
    let mine = &keys["abcd...wxyz"];
    assert_eq!(
        (&mine["requests_count"], &mine["success_count"], &mine["error_count"], &mine["success_rate"]),
        (&json!(3), &json!(2), &json!(1), &json!(66.67))
    );
    let time = |name: &str| mine[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(time("first_request") <= time("last_request"));
    assert_eq!((&said["total_requests"], &said["total_success"], &said["active_keys"]), (&json!(4), &json!(3), &json!(2)));
    assert!(!said.to_string().contains("middle-part"));

    // A key of the settings may operate, a stored one without the scope may not.
    assert_eq!(router.post("/auth/reset-metrics", &json!({})).key(&stored).send().await.status, 403);
    assert_eq!(router.post("/auth/reset-metrics", &json!({})).key("abcd-middle-part-wxyz").send().await.status, 200);
    let said = get(&router, "/auth/metrics").await;
    assert_eq!((&said["total_requests"], &said["keys_metrics"]), (&json!(0), &json!({})));
}

#[tokio::test]
async fn keys_are_read_again_and_nothing_else_is() {
    let setup = Setup::new().env("LLM_ROUTER_API_KEYS", "").set("aliases", json!({"old": ["dummy"]}));
    let write = |home: &Path, text: &str| std::fs::write(home.join(".env"), text).unwrap();
    let router = setup.start();
    write(router.home(), "AUTH_KEY_01=sk-one-user\nAUTH_KEY_03=sk-three-user\n");
    router.write_config(&json!({"aliases": {"new": ["dummy"]}}).to_string());
    let status_with = async |key: &str, model: &str| router.chat(model, json!({})).key(key).send().await.status;
    assert_eq!(status_with("sk-one-user", "dummy").await, 401);
    let said = post(&router, "/auth/reload-keys", json!({})).await.json();
    assert_eq!((&said["status"], &said["valid_keys_count"]), (&json!("success"), &json!(3)), "{said}");
    assert_eq!((status_with("sk-one-user", "old").await, status_with("sk-three-user", "new").await), (200, 404));
    // A change of stored keys builds everything anew, and these stay.
    let (_, stored) = router.new_key(json!({})).await;
    assert_eq!((status_with(&stored, "old").await, status_with("sk-one-user", "old").await), (200, 200));

    write(router.home(), "AUTH_KEY_03=sk-three-user\n");
    assert_eq!(post(&router, "/auth/reload-keys", json!({})).await.status, 200);
    assert_eq!((status_with("sk-one-user", "old").await, status_with("sk-three-user", "old").await), (401, 200));
    write(router.home(), "what is this\n");
    assert_eq!(post(&router, "/auth/reload-keys", json!({})).await.status, 400);
    assert_eq!(status_with("sk-three-user", "old").await, 200);
}

#[tokio::test]
async fn a_choice_is_shown_without_a_call() {
    let upstream = FakeUpstream::start(Script::default());
    let setup = Setup::new().account("one", &upstream.base_url(), &["ma", "mb"], json!({})).set("default_model", json!("ma"));
    let router = setup.set("fallback_models", json!(["mb"])).start();
    for body in [json!({"query": "Explain tea"}), json!({"messages": [{"role": "user", "content": "Explain tea"}]})] {
        let said = router.post("/router/route", &body).send().await.json();
        assert_eq!(
            (&said["selected_model"], &said["confidence"], &said["rule"]),
            (&json!("ma"), &json!(1.0), &json!("default_model")),
            "{said}"
        );
        assert_eq!(said["alternatives"], json!([{"model": "mb", "score": 0.0}]));
    }
    assert_eq!(upstream.requests().len(), 0);
    assert_eq!(router.chat("auto", json!({})).send().await.header("x-llm-router-model"), "ma");
    for body in [json!({}), json!({"query": 5}), json!({"query": " "}), json!({"messages": "x"}), json!({"messages": []}), json!([])] {
        assert_eq!(router.post("/router/route", &body).send().await.status, 400, "{body}");
    }
    let (_, narrow) = router.new_key(json!({"allowed_models": ["mb"]})).await;
    assert_eq!(router.post("/router/route", &json!({"query": "x"})).key(&narrow).send().await.status, 403);
    let info = get(&router, "/router/info").await;
    assert_eq!(info["strategy_count"], info["registered_strategies"].as_array().unwrap().len());
    let policy = router.get("/v1/router/policy").key(&narrow).send().await.json();
    assert_eq!((&policy["accounts"][0]["name"], &policy["accounts"][0]["models"]), (&json!("one"), &json!(["mb"])), "{policy}");
    assert_eq!(get(&router, "/config/sync/status").await["enabled"], false);
    let reloaded = post(&router, "/router/reload", json!({})).await.json();
    assert_eq!(reloaded, json!({"status": "success", "reloaded": [], "errors": []}));
}

#[tokio::test]
async fn the_root_describes_itself_and_sends_browsers_on() {
    let (_upstream, setup) = three();
    let router = setup.start();
    let said = router.get("/").nobody().send().await;
    assert!(!said.text().contains("127.0.0.1") && !said.text().contains("upstream-key"), "{}", said.text());
    let said = said.json();
    assert_eq!(
        (&said["mode"], &said["services_count"], &said["primary_backend"], &said["docs"]),
        (&json!("router"), &json!(3), &json!("away"), &json!("/docs"))
    );
    assert_eq!(said["services"][1], json!({"name": "well", "type": "openai", "priority": 2}));
    assert_eq!(said["authentication"], json!({"enabled": true, "valid_keys_count": 2, "auth_header": "Authorization"}));
    let sent = router.get("/").header("accept", "text/html,application/xhtml+xml").nobody().send().await;
    assert_eq!((sent.status, sent.header("location")), (303, "/dashboard"));
}

#[tokio::test]
async fn the_pages_of_the_description_come_with_their_assets() {
    let router = Setup::new().start();
    for path in ["/docs", "/redoc", "/docs/"] {
        let page = router.get(path).nobody().send().await;
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"), "{path}");
        assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
        for asset in page.text().split(['"']).filter(|text| text.starts_with("/docs/")) {
            assert_eq!(router.get(asset).nobody().send().await.status, 200, "{asset}");
        }
    }
    let printed: Value = serde_json::from_str(&router.runs(&["openapi"], &[])).unwrap();
    assert_eq!(printed, router.get("/openapi.json").nobody().send().await.json());
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn decisions_are_told_line_by_line() {
    let (_upstream, setup) = three();
    let mut router = setup.set("fallback_models", json!(["dummy"])).start();
    let more = json!({"max_tokens": 9, "tools": [{"type": "function"}], "tool_choice": "auto", "reasoning_effort": "high"});
    assert_eq!(router.chat("gpt-mock", more).header("x-request-id", "told").send().await.status, 200);
    assert_eq!(router.chat("nobody", json!({})).header("x-request-id", "none").send().await.status, 200, "the fallback");
    assert_eq!(
        router.post("/v1/embeddings", &json!({"model": "nobody", "input": "x"})).header("x-request-id", "lost").send().await.status,
        404
    );
    router.stop();
    let all = lines(&router.data_dir().join("logs/router_decisions.jsonl"));
    assert!(all.iter().all(|line| line["ts"].is_i64() && line["event"].is_string() && line["request_id"].is_string()));
    let events = |id: &str| all.iter().filter(|l| l["request_id"] == id).map(|l| l["event"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(
        events("told"),
        [
            "route_decision",
            "proxy_start",
            "proxy_attempt",
            "proxy_request_error",
            "proxy_retry",
            "proxy_attempt",
            "proxy_upstream_connected",
            "proxy_response",
            "proxy_chat_result",
            "proxy_terminal"
        ]
    );
    assert_eq!(events("lost"), ["proxy_no_target", "proxy_terminal"]);
    let of = |id: &str, event: &str| all.iter().find(|l| l["request_id"] == id && l["event"] == event).unwrap();
    let decision = of("told", "route_decision");
    assert_eq!(
        (&decision["requested_model"], &decision["selected_model"], &decision["source"]),
        (&json!("gpt-mock"), &json!("gpt-mock"), &json!("request"))
    );
    assert_eq!((&decision["fallback_models"], &decision["ranked_models"]), (&json!(["dummy"]), &json!(["gpt-mock", "dummy"])));
    let payload = &decision["payload_summary"];
    assert_eq!((&payload["messages_count"], &payload["max_tokens"], &payload["has_tools"]), (&json!(1), &json!(9), &json!(true)));
    assert_eq!(
        (&payload["tool_choice_type"], &payload["reasoning_effort"], &payload["stream"]),
        (&json!("auto"), &json!("high"), &json!(false))
    );
    let retry = of("told", "proxy_retry");
    assert_eq!(
        (&retry["target"], &retry["next_target"], &retry["error_type"]),
        (&json!("away:gpt-mock"), &json!("well:gpt-mock"), &json!("unreachable"))
    );
    assert_eq!((&of("told", "proxy_chat_result")["total_tokens"], &of("told", "proxy_response")["account"]), (&json!(7), &json!("well")));
    assert_eq!(of("lost", "proxy_no_target")["error_type"], "model_not_found");
    assert_eq!(of("none", "proxy_terminal")["key"], "LLM_ROUTER_API_KEYS[0]");
}

#[tokio::test]
async fn the_decision_log_has_a_path_and_a_switch() {
    let setup = Setup::new().env("ROUTER_AUDIT_LOG_PATH", "told/here.jsonl");
    let mut router = setup.start();
    assert_eq!(router.chat("dummy", json!({})).send().await.status, 200);
    router.stop();
    let found = |router: &Router| {
        let places = [router.home().join("told/here.jsonl"), router.data_dir().join("told/here.jsonl")];
        places.iter().map(|path| lines(path).len()).sum::<usize>()
    };
    assert!(found(&router) > 0);
    assert!(!router.data_dir().join("logs/router_decisions.jsonl").exists());

    let mut quiet = Setup::new().env("ROUTER_AUDIT_LOG_ENABLED", "false").start();
    assert_eq!(quiet.chat("dummy", json!({})).send().await.status, 200);
    quiet.stop();
    assert!(!quiet.data_dir().join("logs/router_decisions.jsonl").exists());

    // What cannot be written is said at the start.
    let home = Setup::new();
    let (status, said) = home.env("ROUTER_AUDIT_LOG_PATH", "/dev/null/x.jsonl").fails();
    assert!(!status.success() && said.contains("audit.decision_log_path"), "{said}");
}

#[tokio::test]
async fn a_reload_keeps_the_counts() {
    let (_upstream, setup) = three();
    let router = setup.start();
    assert_eq!(router.chat("gpt-mock", json!({})).send().await.status, 200);
    assert_eq!(router.ask(Method::POST, "/config/reload").key(MASTER).send().await.status, 200);
    assert_eq!(get(&router, "/router/stats").await["service_stats"]["well"]["requests"], 1);
}

#[cfg(unix)]
#[tokio::test]
async fn answers_name_the_decision_as_the_programs_callers_know_it() {
    for (name, member, other) in [("open-llm-router", "_router", "router"), ("other-name", "router", "_router")] {
        let router = Setup::new().called(name).start();
        let answer = router.chat("dummy", json!({})).header("x-router-debug", "1").send().await.json();
        assert_eq!((&answer[member]["service"], answer.get(other)), (&json!("dummy"), None), "{answer}");
    }
}
