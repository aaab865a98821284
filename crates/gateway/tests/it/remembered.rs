//! Remembered answers: equal requests and repeated calls share one, and nobody gets what is not theirs.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use serde_json::{Value, json};
use testkit::{FakeUpstream, Gate, RedisServer, Reply, Script};

use crate::{
    client::{Answer, Ask, chat},
    router::{KEY, MASTER, Router, Setup, eventually},
};

/// A router that remembers, with one account.
fn remembering(upstream: &FakeUpstream, cache: Value) -> Router {
    let mut settings = json!({"enabled": true});
    settings.as_object_mut().unwrap().extend(cache.as_object().unwrap().clone());
    Setup::new().upstream("mock", upstream).set("cache", settings).start()
}

fn state(answer: &Answer) -> &str {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-llm-router-cache")
}

fn is_replay(answer: &Answer) -> bool {
    answer.header("x-llm-router-idempotency") == "replayed"
}

/// Waits until so many calls are under way.
async fn running(router: &Router, calls: f64) {
    eventually("the calls are under way", || async { (router.metric("router_active_requests").await >= calls).then_some(()) }).await;
}

/// Sends so many at once.
fn at_once(count: usize, ask: impl Fn() -> Ask) -> Vec<tokio::task::JoinHandle<Answer>> {
    (0..count).map(|_| tokio::spawn(ask().send())).collect()
}

async fn answers(asked: Vec<tokio::task::JoinHandle<Answer>>) -> Vec<Answer> {
    let mut all = Vec::new();
    for one in asked {
        all.push(one.await.unwrap());
    }
    all
}

fn count_of<'a>(answers: &'a [Answer], of: impl Fn(&'a Answer) -> &'a str) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(of(answer)).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_requests_at_once_ask_once() {
    let gate = Gate::new();
    let upstream = FakeUpstream::start(Script::always(Reply::ok().hold_head(&gate)));
    let router = remembering(&upstream, json!({}));
    let asked = at_once(30, || router.chat("gpt-mock", json!({})));
    running(&router, 30.0).await;
    gate.pass(1);
    let got = answers(asked).await;
    assert_eq!(count_of(&got, state), BTreeMap::from([("hit", 29), ("miss", 1)]));
    assert!(got.iter().all(|answer| answer.json()["choices"] == got[0].json()["choices"]));
    assert_eq!(upstream.requests().len(), 1);
    assert_eq!(router.metric("router_cache_hits_total{model=\"gpt-mock\"}").await as u64, 29);
    assert_eq!(router.metric("router_cache_misses_total{model=\"gpt-mock\"}").await as u64, 1);
    assert_eq!(router.metric("router_tokens_total{model=\"gpt-mock\",direction=\"input\"}").await as u64, 5, "used once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_leaves_or_fails_lets_the_next_go_on() {
    let gate = Gate::new();
    let held = |reply: Reply| reply.hold_head(&gate);
    let upstream = FakeUpstream::start(Script::sequence([held(Reply::ok()), held(Reply::error(400)), held(Reply::ok())]));
    let router = remembering(&upstream, json!({}));
    let leaver = tokio::spawn(router.chat("gpt-mock", json!({})).send());
    upstream.request().await;
    let asked = at_once(6, || router.chat("gpt-mock", json!({})));
    running(&router, 7.0).await;
    leaver.abort();
    upstream.hangup().await;
    upstream.request().await; // the next one's, which fails
    gate.pass(2);
    let mut statuses = BTreeMap::new();
    for answer in answers(asked).await {
        *statuses.entry(answer.status).or_insert(0) += 1;
    }
    assert_eq!((statuses, upstream.requests().len()), (BTreeMap::from([(200, 5), (400, 1)]), 3));
}

#[tokio::test]
async fn a_hit_is_recorded_as_one_and_costs_nothing() {
    let upstream = FakeUpstream::start(Script::default());
    let price = json!([{"id": "gpt-mock", "price": {"input": 1000.0, "output": 1000.0}}]);
    let setup = Setup::new().upstream("mock", &upstream).set("cache", json!({"enabled": true})).set("models", price);
    let router = setup.start();
    let (_, key) = router.new_key(json!({"limits": {"tpm": 1000}})).await;
    let ask = |id: &str| router.chat("gpt-mock", json!({"max_tokens": 100})).key(&key).header("x-request-id", id).send();
    let (first, second) = (ask("first").await, ask("second").await);
    assert_eq!((state(&first), state(&second)), ("miss", "hit"));
    assert_eq!((first.header("x-request-id"), second.header("x-request-id")), ("first", "second"));
    assert_eq!(first.json()["usage"], second.json()["usage"]);
    assert!(first.header("x-llm-router-cost").parse::<f64>().unwrap() > 0.0);
    assert_eq!((second.header("x-llm-router-cost"), second.header("x-llm-router-attempts")), ("0", "0"));
    assert_eq!((second.header("x-llm-router-target"), second.header("x-llm-router-route")), ("mock", "cache"));
    let third = ask("third").await;
    assert_eq!(third.header("x-ratelimit-remaining-tokens"), second.header("x-ratelimit-remaining-tokens"), "a hit uses no tokens");
    let row = router.record("second").await;
    assert_eq!((row.cache.as_deref(), row.attempts, row.prompt_tokens, row.target.as_deref()), (Some("hit"), 0, Some(5), Some("mock")));
    assert_eq!(router.record("first").await.cache.as_deref(), Some("miss"));
    let said = router.get("/api/requests/second/explain").key(MASTER).send().await.json();
    assert_eq!((&said["cache"]["state"], &said["cache"]["request_id"], &said["rule"]), (&json!("hit"), &json!("first"), &json!("cache")));
    assert!(said["cache"]["age_ms"].is_u64() && said["attempts"] == json!([]), "{said}");
    let stats = router.get("/router/stats").send().await.json();
    assert_eq!(stats["service_stats"]["mock"]["requests"], 1);
    let line = router.said.wait(|line| line.contains("\"second\"") && line.contains("cache_hit")).unwrap();
    assert!(line.contains("\"cache_hit\":true"), "{line}");
}

#[tokio::test]
async fn callers_share_only_where_the_operator_says_so() {
    let upstream = FakeUpstream::start(Script::default());
    for (shared, wanted) in [(false, "miss"), (true, "hit")] {
        let router = remembering(&upstream, json!({"shared": shared}));
        let (_, other) = router.new_key(json!({})).await;
        let ask = |key: &str| router.chat("gpt-mock", json!({})).key(key).send();
        assert_eq!(state(&ask(KEY).await), "miss");
        assert_eq!((state(&ask(&other).await), state(&ask(KEY).await)), (wanted, "hit"), "shared: {shared}");
        let (_, restricted) = router.new_key(json!({"allowed_models": ["another"]})).await;
        assert_eq!(ask(&restricted).await.status, 403, "who may not ask gets no remembered answer either");
    }
    let open = Setup::new().upstream("mock", &upstream).set("cache", json!({"enabled": true})).set("auth", json!({"mode": "off"})).start();
    let ask = |key: &str| open.chat("gpt-mock", json!({})).key(key).send();
    assert_eq!([state(&ask("one").await), state(&ask("two").await), state(&ask("one").await)], ["miss", "miss", "hit"]);
}

/// A generation in each dialect, whole and streamed.
fn forms() -> Vec<(&'static str, Value, &'static str, Value)> {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let with = |body: &Value, stream: bool| {
        let mut body = body.clone();
        body["stream"] = stream.into();
        body
    };
    let bodies = [
        ("/v1/chat/completions", json!({"model": "gpt-mock", "messages": messages, "stream_options": {"include_usage": true}})),
        ("/v1/messages", json!({"model": "gpt-mock", "max_tokens": 50, "messages": messages})),
        ("/v1/responses", json!({"model": "gpt-mock", "input": "hi", "store": false})),
    ];
    let mut all: Vec<_> = bodies.iter().map(|(path, body)| (*path, with(body, false), *path, with(body, true))).collect();
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
    let (whole, streamed) = ("/v1beta/models/gpt-mock:generateContent", "/v1beta/models/gpt-mock:streamGenerateContent?alt=sse");
    all.push((whole, gemini.clone(), streamed, gemini));
    all
}

#[tokio::test]
async fn with_streams_a_whole_answer_makes_a_stream_and_a_stream_a_whole_answer() {
    let upstream = FakeUpstream::start(Script::default());
    for is_stream_first in [false, true] {
        let router = remembering(&upstream, json!({"streams": true}));
        for (at, (whole_path, whole, stream_path, stream)) in forms().into_iter().enumerate() {
            // Where an account's dialects are not known yet, other paths are tried first.
            let generated = || upstream.requests().iter().filter(|request| request.path() == "/v1/chat/completions").count();
            let before = generated();
            let mut orders = [(whole_path, &whole, false), (stream_path, &stream, true)];
            if is_stream_first {
                orders.reverse();
            }
            for (n, (path, body, is_stream)) in orders.into_iter().chain([orders[1]]).enumerate() {
                let answer = router.post(path, body).send().await;
                let text = answer.text();
                assert_eq!(state(&answer), if n == 0 { "miss" } else { "hit" }, "{path}, stream first: {is_stream_first}: {text}");
                assert_eq!(answer.header("content-type").starts_with("text/event-stream"), is_stream, "{path}");
                assert!(text.contains("Hello"), "{path}: {text}");
                let usage = ["\"prompt_tokens\":5", "\"input_tokens\":5", "\"promptTokenCount\":5"];
                assert!(usage.iter().any(|usage| text.replace(": ", ":").contains(usage)), "{path}: {text}");
            }
            assert_eq!(generated() - before, 1, "form {at}");
        }
    }
}

#[tokio::test]
async fn a_whole_answer_makes_a_growing_list_too() {
    let upstream = FakeUpstream::start(Script::default());
    let router = remembering(&upstream, json!({"streams": true}));
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
    let ask = |verb: &str| router.post(&format!("/v1beta/models/gpt-mock:{verb}"), &body).send();
    assert_eq!(state(&ask("generateContent").await), "miss");
    let list = ask("streamGenerateContent").await;
    assert_eq!((state(&list), list.header("content-type")), ("hit", "application/json"));
    assert!(list.json().as_array().is_some_and(|pieces| !pieces.is_empty()) && list.text().contains("Hello"), "{}", list.text());
}

#[tokio::test]
async fn a_stream_that_breaks_is_not_remembered() {
    let broken = Reply::events(["data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"},\"finish_reason\":null}]}\n\n"]);
    let upstream = FakeUpstream::start(Script::sequence([broken, Reply::ok()]));
    let router = remembering(&upstream, json!({"streams": true}));
    let ask = |stream: bool| router.chat("gpt-mock", json!({"stream": stream})).send();
    assert!(ask(true).await.text().contains("upstream_error"));
    assert_eq!((state(&ask(true).await), state(&ask(false).await)), ("miss", "hit"));
}

#[tokio::test]
async fn without_streams_they_have_nothing_to_do_with_it() {
    let upstream = FakeUpstream::start(Script::default());
    let router = remembering(&upstream, json!({}));
    let ask = |stream: bool| router.chat("gpt-mock", json!({"stream": stream})).send();
    assert_eq!(
        [state(&ask(true).await), state(&ask(false).await), state(&ask(true).await), state(&ask(false).await)],
        ["off", "miss", "off", "hit"]
    );
    assert_eq!(upstream.requests().len(), 3);
}

#[tokio::test]
async fn what_another_model_said_or_a_filter_cut_is_not_remembered() {
    let filtered = json!({"id": "c", "object": "chat.completion", "model": "gpt-mock",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "content_filter"}]});
    let first = FakeUpstream::start(Script::sequence([Reply::error(500), Reply::json(&filtered), Reply::ok()]));
    let second = FakeUpstream::start(Script::default());
    let setup = Setup::new().upstream("first", &first).account("second", &second.base_url(), &["small"], json!({}));
    let router = setup.set("cache", json!({"enabled": true})).set("retry", json!({"max_attempts": 2})).start();
    let ask = || router.chat("gpt-mock", json!({"models": ["small"]})).send();
    let stood_in = ask().await;
    assert_eq!((state(&stood_in), stood_in.header("x-llm-router-model")), ("miss", "small"));
    assert_eq!([state(&ask().await), state(&ask().await), state(&ask().await)], ["miss", "miss", "hit"]);
    assert_eq!((first.requests().len(), second.requests().len()), (3, 1));
}

#[tokio::test]
async fn tools_are_remembered_on_request_and_a_hit_can_be_refused() {
    let upstream = FakeUpstream::start(Script::default());
    let router = remembering(&upstream, json!({}));
    let tools = json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]});
    let ask = || router.chat("gpt-mock", tools.clone());
    assert_eq!([state(&ask().send().await), state(&ask().send().await)], ["off", "off"]);
    let wanted = || ask().header("x-llm-router-cache", "exact");
    assert_eq!([state(&wanted().send().await), state(&wanted().send().await)], ["miss", "hit"]);
    let fresh = wanted().header("cache-control", "no-cache").send().await;
    assert_eq!((state(&fresh), state(&wanted().send().await)), ("miss", "hit"));
    assert_eq!(state(&wanted().header("cache-control", "no-store").send().await), "off");
    let wrong = router.chat("gpt-mock", json!({"cache": {"mode": "sometimes"}})).send().await;
    assert_eq!((wrong.status, &wrong.json()["error"]["param"]), (400, &json!("cache")), "{}", wrong.text());
}

#[tokio::test]
async fn answers_are_forgotten_when_an_administrator_says_so() {
    let upstream = FakeUpstream::start(Script::default());
    let router = remembering(&upstream, json!({}));
    let ask = || router.chat("gpt-mock", json!({})).send();
    assert_eq!([state(&ask().await), state(&ask().await)], ["miss", "hit"]);
    let flushed = router.post("/api/cache/flush", &json!({})).key(MASTER).send().await;
    assert_eq!((flushed.status, flushed.json()), (200, json!({"status": "success", "flushed": 1})));
    assert_eq!(state(&ask().await), "miss");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_die_under_load_and_come_back() {
    let Some(mut redis) = RedisServer::start() else { return };
    let upstream = FakeUpstream::start(Script::default());
    let replica = || Arc::new(Setup::new().upstream("mock", &upstream).env("REDIS_URL", &redis.url()).start());
    let (a, b) = (replica(), replica());
    let say = |router: &Router, words: &str| {
        router.post("/v1/chat/completions", &json!({"model": "gpt-mock", "messages": [{"role": "user", "content": words}]}))
    };
    assert_eq!(state(&say(&a, "before").send().await), "miss");
    assert_eq!(state(&say(&b, "before").send().await), "hit", "the replicas share");
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..8)
        .map(|n| {
            let (a, stop, calls) = (a.clone(), stop.clone(), calls.clone());
            tokio::spawn(async move {
                while !stop.load(Relaxed) {
                    let word = format!("{n} {}", calls.fetch_add(1, Relaxed) % 7);
                    let ask =
                        a.post("/v1/chat/completions", &json!({"model": "gpt-mock", "messages": [{"role": "user", "content": word}]}));
                    let answer = ask.header("idempotency-key", &word).send().await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            })
        })
        .collect();
    let more_calls = |than: usize| {
        let calls = calls.clone();
        async move { eventually("more calls", || async { (calls.load(Relaxed) > than).then_some(()) }).await }
    };
    more_calls(40).await;
    for freeze in [false, true] {
        if freeze {
            redis.freeze();
        } else {
            redis.kill();
        }
        let checks = |wanted: &'static str| {
            let a = a.clone();
            async move {
                let is = |a: Arc<Router>| async move { a.get("/_health/ready").send().await.json()["checks"]["redis"] == wanted };
                eventually(wanted, || async { is(a.clone()).await.then_some(()) }).await;
            }
        };
        eventually("Redis is missed", || {
            let a = a.clone();
            async move { (a.get("/_health/ready").send().await.json()["checks"]["redis"] != "ok").then_some(()) }
        })
        .await;
        let word = format!("alone {freeze}");
        assert_eq!([state(&say(&a, &word).send().await), state(&say(&a, &word).send().await)], ["miss", "hit"], "each remembers alone");
        more_calls(calls.load(Relaxed) + 40).await;
        if freeze {
            redis.thaw();
        } else {
            redis.start_again();
        }
        checks("ok").await;
        more_calls(calls.load(Relaxed) + 40).await;
        let word = format!("again {freeze}");
        eventually("the replicas share again", || async {
            say(&a, &word).send().await;
            (state(&say(&b, &word).send().await) == "hit").then_some(())
        })
        .await;
    }
    stop.store(true, Relaxed);
    for one in load {
        one.await.expect("no call was lost");
    }
}

// -- calls that are made again ----------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_call_runs_once() {
    let gate = Gate::new();
    let upstream = FakeUpstream::start(Script::always(Reply::ok().hold_head(&gate)));
    let router = Setup::new().upstream("mock", &upstream).start();
    let call = |key: &str, id: &str| router.chat("gpt-mock", json!({})).header("idempotency-key", key).header("x-request-id", id);
    let asked = at_once(5, || router.chat("gpt-mock", json!({})).header("idempotency-key", "k"));
    running(&router, 5.0).await;
    gate.pass(1000);
    let got = answers(asked).await;
    assert_eq!(got.iter().filter(|answer| is_replay(answer)).count(), 4);
    assert!(got.iter().all(|answer| answer.status == 200 && answer.json()["id"] == got[0].json()["id"]));
    let later = call("k", "later").send().await;
    assert!(is_replay(&later) && later.header("x-llm-router-cost") == "0" && later.header("x-llm-router-cache") == "off");
    assert_eq!((upstream.requests().len(), later.header("x-request-id")), (1, "later"));
    let row = router.record("later").await;
    assert_eq!((row.cache.as_deref(), row.attempts), (Some("replayed"), 0));
    assert!(!is_replay(&call("other", "x").send().await));
    let other_body = router.chat("gpt-mock", json!({"seed": 1})).header("idempotency-key", "k").send().await;
    assert!(!is_replay(&other_body), "another body is another call");
    let (_, other) = router.new_key(json!({})).await;
    assert!(!is_replay(&call("k", "y").key(&other).send().await), "another's call is another");
    assert_eq!(upstream.requests().len(), 4);
}

#[tokio::test]
async fn only_successes_are_replayed_and_on_every_path_that_does_not_stream() {
    let upstream = FakeUpstream::start(
        Script::sequence([Reply::error(500), Reply::error(400), Reply::ok()]).on("/v1/rerank", Reply::json(&json!({"results": []}))),
    );
    let router = Setup::new().upstream("mock", &upstream).set("retry", json!({"max_attempts": 1})).start();
    let call = |path: &str, body: Value| router.post(path, &body).header("idempotency-key", "k").send();
    let talk = || call("/v1/chat/completions", chat("gpt-mock", json!({})));
    assert_eq!([talk().await.status, talk().await.status], [502, 400]);
    let (first, second) = (talk().await, talk().await);
    assert_eq!((first.status, is_replay(&first), second.status, is_replay(&second)), (200, false, 200, true));
    for (path, body) in [
        ("/v1/embeddings", json!({"model": "gpt-mock", "input": "x"})),
        ("/v1/rerank", json!({"model": "gpt-mock", "query": "x", "documents": []})),
        ("/v1/messages", json!({"model": "gpt-mock", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]})),
    ] {
        let (first, second) = (call(path, body.clone()).await, call(path, body).await);
        assert_eq!((first.status, is_replay(&first), is_replay(&second)), (200, false, true), "{path}: {}", first.text());
        assert_eq!((first.text(), first.header("content-type")), (second.text(), second.header("content-type")), "{path}");
    }
    let streamed = || call("/v1/chat/completions", chat("gpt-mock", json!({"stream": true})));
    let (first, second) = (streamed().await, streamed().await);
    assert!(!is_replay(&first) && !is_replay(&second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_call_does_not_wait_for_ever() {
    let gate = Gate::new();
    let upstream = FakeUpstream::start(Script::always(Reply::ok().hold_head(&gate)));
    let router = Setup::new().upstream("mock", &upstream).set("idempotency", json!({"wait": "100ms"})).start();
    let call = || router.chat("gpt-mock", json!({})).header("idempotency-key", "k").send();
    let first = tokio::spawn(call());
    upstream.request().await;
    let second = call().await;
    assert_eq!((second.status, second.code().as_str(), second.header("retry-after")), (409, "conflict", "1"), "{}", second.text());
    gate.pass(1);
    assert_eq!(first.await.unwrap().status, 200);
    assert!(is_replay(&call().await));
    let off = Setup::new().upstream("mock", &upstream).env("IDEMPOTENCY_ENABLED", "false").start();
    gate.pass(2);
    for _ in 0..2 {
        assert!(!is_replay(&off.chat("gpt-mock", json!({})).header("idempotency-key", "k").send().await));
    }
}

#[tokio::test]
async fn a_hit_is_what_a_repeated_call_replays() {
    let upstream = FakeUpstream::start(Script::default());
    let router = remembering(&upstream, json!({}));
    assert_eq!(state(&router.chat("gpt-mock", json!({})).send().await), "miss");
    let call = || router.chat("gpt-mock", json!({})).header("idempotency-key", "k").send();
    let (first, second) = (call().await, call().await);
    assert_eq!((state(&first), is_replay(&first), is_replay(&second)), ("hit", false, true));
    assert_eq!(upstream.requests().len(), 1);
}

// -- calls that are made again at another router ----------------------------------------------------------------------

/// Two routers on one Redis in front of one upstream, with the same keys.
fn replicas(upstream: &FakeUpstream, redis: &RedisServer, idempotency: &Value) -> [Router; 2] {
    let replica = || {
        let setup = Setup::new().upstream("mock", upstream).set("idempotency", idempotency.clone());
        setup.env("REDIS_URL", &redis.url()).env("CACHE_ENABLED", "false").start()
    };
    [replica(), replica()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_call_runs_once_among_routers() {
    let Some(redis) = RedisServer::start() else { return };
    let gate = Gate::new();
    let upstream = FakeUpstream::start(Script::always(Reply::ok().hold_head(&gate)));
    let [a, b] = replicas(&upstream, &redis, &json!({}));
    let call = |router: &Router| router.chat("gpt-mock", json!({})).header("idempotency-key", "k");
    let asked: Vec<_> = (0..6).map(|n| tokio::spawn(call(if n % 2 == 0 { &a } else { &b }).send())).collect();
    running(&a, 3.0).await;
    running(&b, 3.0).await;
    upstream.request().await;
    gate.pass(1000);
    let got = answers(asked).await;
    assert_eq!(got.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200; 6]);
    assert_eq!(got.iter().filter(|answer| is_replay(answer)).count(), 5);
    assert!(got.iter().all(|answer| answer.json()["id"] == got[0].json()["id"]));
    assert_eq!(upstream.requests().len(), 1);
    assert!(is_replay(&call(&b).send().await) && is_replay(&call(&a).send().await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_runs_elsewhere_does_not_keep_others_for_ever() {
    let Some(mut redis) = RedisServer::start() else { return };
    let gate = Gate::new();
    let upstream = FakeUpstream::start(Script::always(Reply::error(500).hold_head(&gate)));
    let [a, b] = replicas(&upstream, &redis, &json!({"wait": "300ms"}));
    let call = |router: &Router| router.chat("gpt-mock", json!({"timeout_ms": 20_000})).header("idempotency-key", "k").send();
    let first = tokio::spawn(call(&a));
    upstream.request().await;
    let second = call(&b).await;
    assert_eq!((second.status, second.code().as_str(), second.header("retry-after")), (409, "conflict", "1"), "{}", second.text());
    upstream.set_script(Script::default());
    // The caller of the first one goes: what it held is free, and the call runs where it is made again.
    first.abort();
    let third = eventually("the call is free", || async { Some(call(&b).await).filter(|answer| answer.status != 409) }).await;
    assert_eq!((third.status, is_replay(&third)), (200, false), "{}", third.text());
    assert!(is_replay(&call(&a).await), "what one router answered the other repeats");
    redis.kill();
    let alone = call(&a).await;
    assert_eq!((alone.status, is_replay(&alone)), (200, false), "without Redis each remembers alone: {}", alone.text());
    assert!(is_replay(&call(&a).await));
    gate.pass(10);
}
