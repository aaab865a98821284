//! A fleet under stress: nodes that die, fall silent or are busy, callers that leave, tokens, and servers of other makers.

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use testkit::{FakeUpstream, Gate, Reply, Script};

use crate::{
    nodes::{beat_with, join},
    router::{KEY, MASTER, Router, Setup, eventually, soon},
};

const MODEL: &str = "house-model";
const FRAME: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one\"},\"finish_reason\":null}]}\n\n";

fn node(reply: Reply) -> FakeUpstream {
    FakeUpstream::start(Script::always(reply).models([MODEL]))
}

/// Begins a stream and says nothing more.
fn stalling() -> Reply {
    Reply::events([FRAME, FRAME]).stall_after(FRAME.len())
}

async fn nodes(router: &Router) -> Value {
    router.get("/api/nodes").key(MASTER).send().await.json()
}

async fn state(router: &Router, name: &str) -> (String, u64) {
    let all = nodes(router).await;
    let found = all.as_array().unwrap().iter().find(|n| n["machine_name"] == name).unwrap_or_else(|| panic!("{name} in {all}"));
    (found["state"].as_str().unwrap().to_owned(), found["active_requests"].as_u64().unwrap())
}

async fn line(router: &Router, start: &str) -> Option<f64> {
    let text = router.get("/metrics").send().await.text();
    text.lines().find_map(|line| line.strip_prefix(start)?.trim().parse().ok())
}

#[tokio::test]
async fn two_hundred_left_streams_leave_no_count_behind() {
    let (a, b) = (node(stalling()), node(stalling()));
    let router = Setup::new().start();
    join(&router, &a, "a", MODEL).await;
    join(&router, &b, "b", MODEL).await;
    for _ in 0..4 {
        let ask = async || {
            let mut stream = router.chat(MODEL, json!({"stream": true})).open().await;
            stream.until("one").await;
            stream
        };
        let streams = join_all((0..50).map(|_| ask())).await;
        let active: u64 = nodes(&router).await.as_array().unwrap().iter().map(|n| n["active_requests"].as_u64().unwrap()).sum();
        assert_eq!(active, 50);
        drop(streams);
    }
    eventually("all counts are at nothing", || async {
        let all = nodes(&router).await;
        let idle = all.as_array().unwrap().iter().all(|n| n["active_requests"] == 0);
        let mut sum = 0.0;
        for name in ["router_active_requests ", "router_open_streams ", "router_queued_requests "] {
            sum += line(&router, name).await.unwrap();
        }
        for name in ["a", "b"] {
            sum += line(&router, &format!("router_node_active_requests{{node=\"{name}\",model=\"{MODEL}\"}} ")).await.unwrap();
        }
        (idle && sum == 0.0).then_some(())
    })
    .await;
    let summary = router.get("/api/metrics/summary").key(MASTER).send().await.json();
    assert_eq!((&summary["cancelled_requests"], &summary["total_active_requests"]), (&json!(200), &json!(0)));
    let mut ended = 0.0;
    for name in ["a", "b"] {
        ended += line(&router, &format!("router_node_requests_total{{node=\"{name}\",model=\"{MODEL}\",outcome=\"cancelled\"}} "))
            .await
            .unwrap();
    }
    assert!(ended >= 200.0, "{ended}");
}

#[tokio::test]
async fn a_node_that_dies_in_a_stream_is_not_picked_again() {
    let (dying, well) = (node(stalling()), node(Reply::ok()));
    let router = Setup::new().start();
    let registered = join(&router, &dying, "dying", MODEL).await;
    let mut stream = router.chat(MODEL, json!({"stream": true})).open().await;
    stream.until("one").await;
    let other = join(&router, &well, "well", MODEL).await;
    // It looks better than the other until its connection breaks.
    beat_with(&router, &other, MODEL, json!({"cpu_usage": 79.0, "active_requests": 50})).await;
    beat_with(&router, &registered, MODEL, json!({"cpu_usage": 0.0})).await;
    drop(dying);
    let rest = stream.rest().await;
    assert!(rest.contains("\"node_lost\"") && !rest.contains("[DONE]"), "one error event and no end mark: {rest}");
    assert_eq!(state(&router, "dying").await, ("suspect".to_owned(), 0));
    for n in 0..20 {
        let id = format!("after-{n}");
        let answer = router.chat(MODEL, json!({})).header("x-request-id", &id).send().await;
        assert_eq!((answer.status, answer.header("x-llm-router-target"), answer.header("x-llm-router-attempts")), (200, "well", "1"));
    }
    router.record("after-19").await;
    let said = router.get("/api/requests/after-19/explain").key(MASTER).send().await.json();
    let pick = &said["attempts"][0]["pick"];
    assert_eq!(
        (&pick["policy"], &pick["candidates"], &pick["reason"]),
        (&json!("auto"), &json!(1), &json!("the only one that can be asked"))
    );
}

#[tokio::test]
async fn the_death_of_an_idle_node_is_noticed_before_anything_is_asked_of_it() {
    // A process of its own plays a server: another router, with an account behind it.
    let cloud = FakeUpstream::start(Script::always(Reply::ok()));
    let mut dying = Setup::new().account("cloud", &cloud.base_url(), &[MODEL], json!({})).start();
    let router = Setup::new().start();
    let wanted = json!({"endpoint": dying.url, "kind": "vllm", "name": "dying", "api_key": KEY});
    let adopted = router.post("/api/nodes/adopt", &wanted).key(MASTER).send().await;
    assert_eq!(adopted.status, 201, "{}", adopted.text());
    assert_eq!(router.chat(MODEL, json!({})).send().await.header("x-llm-router-target"), "dying");
    let well = node(Reply::ok());
    join(&router, &well, "well", MODEL).await;
    assert_eq!(state(&router, "dying").await.0, "ready");
    dying.signal("KILL");
    dying.ended();
    let noticed = router.said.wait(|line| line.contains("nobody listens at a node's address any more") && line.contains("dying"));
    noticed.unwrap_or_else(|all| panic!("nobody noticed: {all}"));
    assert_eq!(state(&router, "dying").await, ("suspect".to_owned(), 0));
    for _ in 0..5 {
        let answer = router.chat(MODEL, json!({})).send().await;
        assert_eq!((answer.status, answer.header("x-llm-router-target"), answer.header("x-llm-router-attempts")), (200, "well", "1"));
    }
}

#[tokio::test]
async fn what_waits_for_a_node_that_falls_silent_is_asked_of_another() {
    let gate = Gate::new();
    let (mute, well) = (node(Reply::ok().hold_head(&gate)), node(Reply::ok()));
    let router = Setup::new().env("NODE_TIMEOUT", "2").env("HEALTH_CHECK_INTERVAL", "1").start();
    join(&router, &mute, "mute", MODEL).await;
    let waiting = tokio::spawn(router.chat(MODEL, json!({})).send());
    soon("it was asked", async {
        while state(&router, "mute").await.1 == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let other = join(&router, &well, "well", MODEL).await;
    let answer = soon("the other answers", async {
        let mut waiting = waiting;
        loop {
            tokio::select! {
                answer = &mut waiting => break answer.unwrap(),
                () = tokio::time::sleep(std::time::Duration::from_millis(200)) => { beat_with(&router, &other, MODEL, json!({})).await; }
            }
        }
    })
    .await;
    assert_eq!((answer.status, answer.header("x-llm-router-target"), answer.header("x-llm-router-attempts")), (200, "well", "2"));
    assert_eq!(state(&router, "mute").await, ("gone".to_owned(), 0));
}

#[tokio::test]
async fn a_stopped_node_keeps_no_request_and_serves_again_when_it_goes_on() {
    let cloud = FakeUpstream::start(Script::always(Reply::ok()));
    let stopped = Setup::new().account("cloud", &cloud.base_url(), &[MODEL], json!({})).start();
    let router = Setup::new().start();
    let wanted = json!({"endpoint": stopped.url, "kind": "vllm", "name": "stopped", "api_key": KEY});
    assert_eq!(router.post("/api/nodes/adopt", &wanted).key(MASTER).send().await.status, 201);
    stopped.signal("STOP");
    let lost = tokio::spawn(router.chat(MODEL, json!({"stream": true})).header("x-request-id", "lost").send());
    eventually("it is asked", || async { (state(&router, "stopped").await.1 == 1).then_some(()) }).await;
    let well = node(Reply::ok());
    let registered = join(&router, &well, "well", MODEL).await;
    let answer = soon("another answers", lost).await.unwrap();
    assert_eq!((answer.status, answer.header("x-llm-router-target"), answer.header("x-llm-router-attempts")), (200, "well", "2"));
    assert_eq!(state(&router, "stopped").await, ("suspect".to_owned(), 0));
    router.record("lost").await;
    let said = router.get("/api/requests/lost/explain").key(MASTER).send().await.json();
    assert!(said["attempts"][0]["error"].as_str().is_some_and(|error| error.contains("fell silent")), "{said}");
    stopped.signal("CONT");
    eventually("it is there again", || async { (state(&router, "stopped").await.0 == "ready").then_some(()) }).await;
    beat_with(&router, &registered, MODEL, json!({"draining": true})).await;
    assert_eq!(router.chat(MODEL, json!({})).send().await.header("x-llm-router-target"), "stopped", "its model has done nothing wrong");
}

#[tokio::test]
async fn a_node_s_stream_that_stalls_is_broken_off() {
    let node = node(stalling());
    let router = Setup::new().set("fleet", json!({"stream_stall": "300ms"})).start();
    join(&router, &node, "smithy", MODEL).await;
    let answer = soon("it ends", router.chat(MODEL, json!({"stream": true})).send()).await;
    let rest = answer.text();
    assert!(rest.contains("\"one\"") && rest.contains("\"error\"") && !rest.contains("[DONE]"), "{rest}");
}

#[tokio::test]
async fn busy_nodes_are_waited_for_in_order_and_within_bounds() {
    let gate = Gate::new();
    let node = node(Reply::ok().hold_head(&gate));
    let router = Setup::new().env("ROUTER_MAX_WAITERS", "3").env("LLM_ROUTER_MAX_WAITERS_PER_KEY", "2").start();
    let registered = join(&router, &node, "smithy", MODEL).await;
    beat_with(&router, &registered, MODEL, json!({"instances": [{"model": MODEL, "slots_total": 1}]})).await;
    let waiting = async |n: f64| {
        eventually("so many wait", || async { (line(&router, "router_queued_requests ").await == Some(n)).then_some(()) }).await;
    };
    let ask = |key: &str| tokio::spawn(router.chat(MODEL, json!({})).key(key).send());
    let running = [ask(KEY), ask(KEY)];
    eventually("one place, and one ahead", || async { (state(&router, "smithy").await.1 == 2).then_some(()) }).await;
    let first = ask(KEY);
    waiting(1.0).await;
    let second = ask(KEY);
    waiting(2.0).await;
    let own = router.chat(MODEL, json!({})).send().await;
    assert_eq!(
        (own.status, own.code().as_str(), own.header("retry-after").is_empty()),
        (429, "rate_limit_exceeded", false),
        "{}",
        own.text()
    );
    let third = ask(MASTER);
    waiting(3.0).await;
    let full = router.chat(MODEL, json!({})).key(MASTER).send().await;
    assert_eq!((full.status, full.code().as_str()), (503, "queue_full"), "{}", full.text());
    assert!(full.header("retry-after").parse::<u32>().is_ok_and(|seconds| (1..=30).contains(&seconds)));
    assert_eq!(line(&router, &format!("router_model_queued_requests{{model=\"{MODEL}\"}} ")).await, Some(3.0));
    gate.pass(5);
    for (position, one) in ["1", "2", "3"].into_iter().zip([first, second, third]) {
        let answer = soon("its turn", one).await.unwrap();
        assert_eq!((answer.status, answer.header("x-queue-position")), (200, position), "{}", answer.text());
        assert!(answer.header("x-queue-wait-ms").parse::<u32>().is_ok());
    }
    for one in running {
        assert_eq!(one.await.unwrap().header("x-queue-position"), "");
    }
    waiting(0.0).await;
    assert_eq!(state(&router, "smithy").await.1, 0);
}

#[tokio::test]
async fn a_drained_node_gets_nothing_until_that_is_taken_back() {
    let node = node(Reply::ok());
    let router = Setup::new().start();
    let registered = join(&router, &node, "smithy", MODEL).await;
    let path = format!("/api/nodes/{}/drain", registered["node_id"].as_str().unwrap());
    assert_eq!(router.post(&path, &json!({})).key(MASTER).send().await.status, 202);
    assert_eq!(router.chat(MODEL, json!({})).send().await.status, 503);
    beat_with(&router, &registered, MODEL, json!({})).await;
    assert_eq!(state(&router, "smithy").await.0, "draining");
    assert_eq!(router.post(&path, &json!({"draining": false})).key(MASTER).send().await.status, 202);
    assert_eq!(router.chat(MODEL, json!({})).send().await.status, 200);
    beat_with(&router, &registered, MODEL, json!({"draining": true})).await;
    assert_eq!(
        (state(&router, "smithy").await.0.as_str(), router.chat(MODEL, json!({})).send().await.status),
        ("draining", 503),
        "it is about to end"
    );
}

#[tokio::test]
async fn made_tokens_admit_and_nodes_wait_for_consent() {
    let node = node(Reply::ok());
    let router = Setup::new().start();
    let wanted = json!({"name": "rack 4", "max_uses": 1, "require_approval": true});
    let made = router.post("/api/nodes/join-tokens", &wanted).key(MASTER).send().await;
    assert_eq!(made.status, 201, "{}", made.text());
    let token = made.json()["token"].as_str().unwrap().to_owned();
    let said = json!({"machine_name": "smithy", "ip_address": "127.0.0.1", "runtime_port": node.address().port() - 1, "accelerator": "cpu", "available_models": [MODEL]});
    let register = async |said: &Value, token: &str| router.post("/api/nodes", said).nobody().header("x-join-token", token).send().await;
    assert_eq!(register(&said, "jt_wrong").await.status, 401);
    let answer = register(&said, &token).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let registered = answer.json();
    let twin = json!({"machine_name": "twin", "ip_address": "127.0.0.1", "runtime_port": node.address().port() - 1, "accelerator": "cpu"});
    assert_eq!(register(&twin, &token).await.status, 401, "it is used up");
    assert_eq!(beat_with(&router, &registered, MODEL, json!({})).await.status, 200);
    assert_eq!(state(&router, "smithy").await.0, "pending");
    assert_eq!(router.chat(MODEL, json!({})).send().await.status, 404);
    let path = format!("/api/nodes/{}/approve", registered["node_id"].as_str().unwrap());
    assert_eq!(router.post(&path, &json!({})).key(KEY).send().await.status, 403);
    assert_eq!(router.post(&path, &json!({})).key(MASTER).send().await.status, 200);
    beat_with(&router, &registered, MODEL, json!({})).await;
    assert_eq!(router.chat(MODEL, json!({})).send().await.status, 200);
    let listed = router.get("/api/nodes/join-tokens").key(MASTER).send().await;
    assert!(!listed.text().contains(&token), "{}", listed.text());
    let id = listed.json()["join_tokens"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(listed.json()["join_tokens"][0]["uses"], 1);
    assert_eq!(router.ask(Method::DELETE, &format!("/api/nodes/join-tokens/{id}")).key(MASTER).send().await.status, 204);
    assert_eq!(register(&said, &token).await.status, 401, "revoked");
    assert_eq!(router.chat(MODEL, json!({})).send().await.status, 200, "whoever came with it stays");
}

#[tokio::test]
async fn a_server_of_another_maker_is_adopted_and_served_from() {
    let list = json!({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "vllm", "max_model_len": 4096}]});
    let metrics =
        format!("vllm:num_requests_running{{model_name=\"{MODEL}\"}} 2.0\nvllm:num_requests_waiting{{model_name=\"{MODEL}\"}} 1.0\n");
    let script = Script::always(Reply::ok())
        .on("/v1/models", Reply::json(&list))
        .on("/health", Reply::whole("text/plain", ""))
        .on("/metrics", Reply::whole("text/plain", metrics));
    let server = FakeUpstream::start(script);
    let router = Setup::new().env("NODE_TIMEOUT", "2").env("HEALTH_CHECK_INTERVAL", "1").start();
    let wanted = json!({"endpoint": server.base_url(), "name": "big-box", "api_key": "box-key"});
    assert_eq!(router.post("/api/nodes/adopt", &wanted).key(KEY).send().await.status, 403);
    let adopted = router.post("/api/nodes/adopt", &wanted).key(MASTER).send().await;
    assert_eq!(adopted.status, 201, "{}", adopted.text());
    let view = adopted.json();
    assert_eq!(
        (&view["kind"], &view["maker"], &view["status"], &view["active_requests"]),
        (&json!("endpoint"), &json!("vllm"), &json!("online"), &json!(3))
    );
    for stream in [false, true] {
        let answer = router.chat(MODEL, json!({"stream": stream})).send().await;
        assert_eq!((answer.status, answer.header("x-llm-router-target")), (200, "big-box"), "{}", answer.text());
    }
    let asked = server.requests().into_iter().filter(|r| r.method == "POST").collect::<Vec<_>>();
    assert!(asked.len() == 2 && asked.iter().all(|r| r.header("authorization") == Some("Bearer box-key")));
    assert!(!nodes(&router).await.to_string().contains("box-key"));
    let env = [("LLM_ROUTER_URL", router.url.as_str()), ("LLM_ROUTER_API_KEY", MASTER)];
    let listed = router.runs(&["node", "list"], &env);
    assert!(listed.lines().any(|line| line.contains("big-box") && line.contains("endpoint") && line.contains(MODEL)), "{listed}");
    router.runs(&["node", "drain", "big-box"], &env);
    assert_eq!(router.chat(MODEL, json!({})).send().await.status, 503);
    router.runs(&["node", "drain", "big-box", "--undo"], &env);
    assert_eq!(router.chat(MODEL, json!({})).send().await.status, 200);
    let token = router.runs(&["node", "token", "rack", "--max-uses", "2"], &env);
    assert!(token.trim().starts_with("jt_"), "{token}");
    assert!(!router.run(&["node", "remove", "nobody"], &env).status.success());
    let id = view["id"].as_str().unwrap();
    let points = eventually("its history grows", || async {
        let points = router.get(&format!("/api/dashboard/metrics/{id}")).key(MASTER).send().await.json();
        (points.as_array().unwrap().len() > 1).then_some(points)
    })
    .await;
    assert_eq!(points[0]["active_requests"], 3);
    assert_eq!(router.get("/api/dashboard/metrics/nobody").key(MASTER).send().await.status, 404);
    drop(server);
    eventually("it is offline", || async { (state(&router, "big-box").await.0 == "gone").then_some(()) }).await;
    assert_eq!(router.chat(MODEL, json!({})).send().await.status, 503);
}

#[tokio::test]
async fn what_a_node_had_in_its_cache_is_seen() {
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"});
    let usage = json!({"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 13, "prompt_tokens_details": {"cached_tokens": 8}});
    let body = json!({"id": "c", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice], "usage": usage});
    let node = FakeUpstream::start(Script::always(Reply::json(&body)).on("/v1/models", Reply::json(&json!({"data": [{"id": MODEL}]}))));
    let router = Setup::new().start();
    join(&router, &node, "smithy", MODEL).await;
    let answer = router.chat(MODEL, json!({})).header("x-request-id", "cached").send().await.json();
    assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 8);
    assert_eq!(router.record("cached").await.cached_tokens, Some(8));
    let counted = |direction: &str| format!("router_tokens_total{{model=\"{MODEL}\",direction=\"{direction}\"}} ");
    assert_eq!((line(&router, &counted("input")).await, line(&router, &counted("cached")).await), (Some(12.0), Some(8.0)));
}

/// Words of a chat's stream, each with the counts so far.
fn counted(words: &[&str]) -> Vec<String> {
    let frame = |(n, word): (usize, &&str)| {
        let choice = json!({"index": 0, "delta": {"content": word}, "finish_reason": null});
        let usage = json!({"prompt_tokens": 7, "completion_tokens": n + 1, "total_tokens": n + 8});
        format!(
            "data: {}\n\n",
            json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": [choice], "usage": usage})
        )
    };
    words.iter().enumerate().map(frame).collect()
}

#[tokio::test]
async fn a_stream_goes_on_where_another_node_can_and_the_request_may() {
    let begun = counted(&["one", " two"]);
    let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n".to_owned();
    let rest = [counted(&[" three"]), vec![end]].concat();
    let (dying, well, plain) = (node(Reply::events(begun.clone()).then_close()), node(Reply::events(rest)), node(Reply::ok()));
    let router = Setup::new().set("fleet", json!({"balancer": "round-robin", "resume": true})).start();
    for (name, node, continues) in [("dying", &dying, true), ("plain", &plain, false), ("well", &well, true)] {
        let said = json!({"machine_name": name, "ip_address": "127.0.0.1", "runtime_port": node.address().port() - 1, "accelerator": "cpu", "continues": continues});
        let registered = router.post("/api/nodes", &said).nobody().send().await.json();
        assert_eq!(beat_with(&router, &registered, MODEL, json!({})).await.status, 200);
    }
    let body = json!({"stream": true, "max_tokens": 10, "seed": 3, "stream_options": {"include_usage": true}});
    let answer = router.chat(MODEL, body).header("x-request-id", "gone-on").send().await;
    assert_eq!((answer.status, answer.header("x-llm-router-target")), (200, "dying"));
    let events = answer.events();
    let chunks: Vec<Value> = events.iter().filter_map(|event| serde_json::from_str(event).ok()).collect();
    let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!((text.as_str(), events.last().map(String::as_str)), ("one two three", Some("[DONE]")), "{}", answer.text());
    assert!(chunks.iter().all(|chunk| chunk["id"] == "chatcmpl-1") && answer.text().contains(": x-resumed: 1"));
    assert_eq!(chunks.last().unwrap()["usage"], json!({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}));
    let asked: Vec<Value> = well.requests().iter().filter(|r| r.method == "POST").map(testkit::Recorded::json).collect();
    assert_eq!(asked.len(), 1);
    let sent = &asked[0];
    assert_eq!(sent["messages"].as_array().unwrap().last().unwrap(), &json!({"role": "assistant", "content": "one two"}));
    assert_eq!((&sent["continue_final_message"], &sent["max_tokens"], &sent["seed"]), (&json!(true), &json!(8), &json!(3)));
    let row = router.record("gone-on").await;
    assert_eq!((&*row.outcome, row.completion_tokens), ("success", Some(3)));
    assert_eq!(line(&router, "router_resumed_streams_total{outcome=\"resumed\"} ").await, Some(1.0));
    for more in [
        json!({"response_format": {"type": "json_object"}}),
        json!({"logprobs": true}),
        json!({"n": 2}),
        json!({"tool_choice": "required"}),
    ] {
        dying.set_script(Script::always(Reply::events(begun.clone()).then_close()).models([MODEL]));
        let mut body = json!({"stream": true});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let ended = eventually("it is the dying node's turn", async || {
            let answer = router.chat(MODEL, body.clone()).send().await;
            (answer.header("x-llm-router-target") == "dying").then_some(answer)
        })
        .await;
        assert!(ended.text().contains("node_lost") && !ended.text().contains("[DONE]"), "{more}: {}", ended.text());
    }
}
