//! Limits of addresses, keys and accounts: exact under load, said in headers, settled however a request ends, shared over Redis.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};
use testkit::{FakeUpstream, Gate, RedisServer, Reply, Script};

use crate::{
    client::{Answer, chat},
    router::{KEY, MASTER, Router, Setup, closed_port, eventually},
};

/// A static key of the file.
const STATIC: &str = "sk_static0123456789012345678901234";

fn window(requests: u32) -> Value {
    json!({"rate_limit_requests": requests, "rate_limit_window": 600})
}

/// A router with one account.
fn one(upstream: &FakeUpstream, more: Value) -> Setup {
    Setup::new().account("mock", &upstream.base_url(), &["gpt-mock"], more)
}

/// An account with these bounds before one without.
fn two(first: &FakeUpstream, second: &FakeUpstream, more: Value) -> Setup {
    let bounded = Setup::new().account("first", &first.base_url(), &["gpt-mock"], more);
    bounded.account("second", &second.base_url(), &["gpt-mock"], json!({"priority": 1}))
}

/// So many calls at once, spread over routers; how often each status came.
async fn together(routers: &[&Router], calls: usize, key: &str) -> BTreeMap<u16, usize> {
    let asked = (0..calls).map(|n| routers[n % routers.len()].chat("gpt-mock", json!({})).key(key).send());
    let mut statuses = BTreeMap::new();
    for answer in futures_util::future::join_all(asked).await {
        *statuses.entry(answer.status).or_default() += 1;
    }
    statuses
}

fn reset_is_soon(answer: &Answer) -> bool {
    let now = jiff::Timestamp::now().as_second();
    (now - 30..now + 62).contains(&answer.header("x-ratelimit-reset").parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_calls_against_a_window_of_fifty() {
    let upstream = FakeUpstream::start(Script::default());
    let router = one(&upstream, window(50)).start();
    assert_eq!(together(&[&router], 200, KEY).await, BTreeMap::from([(200, 50), (429, 150)]));
    assert_eq!(upstream.requests().len(), 50);
    let answer = router.chat("gpt-mock", json!({})).send().await;
    assert_eq!((answer.status, answer.code().as_str()), (429, "rate_limit_exceeded"), "{}", answer.text());
    assert!((1..=600).contains(&answer.header("retry-after").parse::<u64>().unwrap()), "{}", answer.header("retry-after"));
    let error = &answer.json()["error"];
    assert!(error["message"].as_str().unwrap().contains("rate limited"), "{error}");
    assert_eq!((&error["attempted_services"], &error["total_services"]), (&json!(1), &json!(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_account_is_passed_over_and_the_record_says_why() {
    let (first, second) = (FakeUpstream::start(Script::default()), FakeUpstream::start(Script::default()));
    let router = two(&first, &second, window(10)).start();
    assert_eq!(together(&[&router], 40, KEY).await, BTreeMap::from([(200, 40)]));
    assert_eq!((first.requests().len(), second.requests().len()), (10, 30));
    let passed = router.chat("gpt-mock", json!({})).header("x-request-id", "passed").send().await;
    assert_eq!((passed.header("x-llm-router-target"), passed.header("x-llm-router-attempts")), ("second", "1"));
    assert_eq!(passed.json()["router"]["attempt"], 1);
    let row = router.record("passed").await;
    let decision: Value = serde_json::from_str(&row.decision.unwrap()).unwrap();
    assert_eq!((row.attempts, &decision["attempts"][0]["outcome"]), (1, &json!("limited")));
    assert!(decision["attempts"][0]["error"].as_str().unwrap().contains("10 requests in 600 s"), "{decision}");
    assert_eq!(router.metric("router_attempts_total{backend=\"first\",outcome=\"limited\"}").await as u64, 31);
}

#[tokio::test]
async fn the_first_place_of_several_full_windows_counts() {
    let (first, second) = (FakeUpstream::start(Script::default()), FakeUpstream::start(Script::default()));
    let short = json!({"rate_limit_requests": 1, "rate_limit_window": 30, "priority": 2});
    let setup = Setup::new().account("long", &first.base_url(), &["gpt-mock"], window(1));
    let router = setup.account("short", &second.base_url(), &["gpt-mock"], short).start();
    for stream in [true, false] {
        assert_eq!(router.chat("gpt-mock", json!({"stream": stream})).send().await.status, 200, "streams count too");
    }
    let answer = router.chat("gpt-mock", json!({})).send().await;
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").parse::<u64>().unwrap() <= 30, "{}", answer.header("retry-after"));
    assert_eq!(answer.json()["error"]["total_services"], 2);
    let anthropic = json!({"model": "gpt-mock", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
    let answer = router.post("/v1/messages", &anthropic).send().await;
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (429, &json!("rate_limit_error")));
    assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
}

#[tokio::test]
async fn a_service_that_was_never_reached_keeps_its_place() {
    let second = FakeUpstream::start(Script::default());
    let nowhere = format!("http://{}/v1", closed_port());
    let setup = Setup::new().account("first", &nowhere, &["gpt-mock"], window(1));
    let router = setup.account("second", &second.base_url(), &["gpt-mock"], json!({"priority": 1})).start();
    for id in ["one", "two"] {
        assert_eq!(router.chat("gpt-mock", json!({})).header("x-request-id", id).send().await.status, 200);
        let row = router.record(id).await;
        let decision: Value = serde_json::from_str(&row.decision.unwrap()).unwrap();
        assert_eq!(decision["attempts"][0]["outcome"], "unreachable", "{decision}");
    }
}

#[tokio::test]
async fn a_services_failed_request_counts() {
    let (first, second) = (FakeUpstream::start(Script::always(Reply::error(500))), FakeUpstream::start(Script::default()));
    let router = two(&first, &second, window(2)).start();
    for _ in 0..4 {
        assert_eq!(router.chat("gpt-mock", json!({})).send().await.status, 200);
    }
    assert_eq!((first.requests().len(), second.requests().len()), (2, 4));
}

#[tokio::test]
async fn a_key_counts_down_over_all_paths_and_dialects() {
    let upstream = FakeUpstream::start(Script::always(
        Reply::ok().header("x-ratelimit-limit-requests", "99999").header("x-ratelimit-limit", "77777").header("x-ratelimit-remaining", "1"),
    ));
    let router = one(&upstream, json!({})).start();
    let (_, key) = router.new_key(json!({"limits": {"rpm": 3}})).await;
    let (_, other) = router.new_key(json!({"limits": {"rpm": 3}})).await;
    let anthropic = json!({"model": "gpt-mock", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
    let calls = [
        ("/v1/chat/completions", chat("gpt-mock", json!({})), 200, "2"),
        ("/chat/completions", chat("gpt-mock", json!({"stream": true})), 200, "1"),
        ("/v1/messages", anthropic.clone(), 200, "0"),
        ("/v1/messages", anthropic, 429, "0"),
        ("/v1/embeddings", json!({"model": "gpt-mock", "input": "a"}), 429, "0"),
        ("/v1/chat/completions", chat("gpt-mock", json!({"stream": true})), 429, "0"),
    ];
    for (path, body, status, left) in calls {
        let answer = router.post(path, &body).key(&key).send().await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        let short = (answer.header("x-ratelimit-limit"), answer.header("x-ratelimit-remaining"));
        let long = (answer.header("x-ratelimit-limit-requests"), answer.header("x-ratelimit-remaining-requests"));
        assert_eq!((short, long), (("3", left), ("3", left)), "{path}");
        assert!(reset_is_soon(&answer) && !answer.header("x-ratelimit-reset-requests").is_empty(), "{:?}", answer.headers);
        assert_eq!(answer.headers.get_all("x-ratelimit-limit-requests").iter().count(), 1);
        if status == 429 {
            assert!((1..=60).contains(&answer.header("retry-after").parse::<u64>().unwrap()));
            assert!(answer.text().contains("rate_limit"), "{}", answer.text());
        }
    }
    assert_eq!(upstream.requests().len(), 3, "what is refused goes nowhere");
    assert_eq!(router.chat("gpt-mock", json!({})).key(&other).send().await.status, 200, "another key has its own");
    let free = router.chat("gpt-mock", json!({})).send().await;
    assert!(free.status == 200 && free.headers.get("x-ratelimit-limit").is_none(), "{:?}", free.headers);
}

#[tokio::test]
async fn static_keys_have_limits_too() {
    let upstream = FakeUpstream::start(Script::default());
    let keys = json!({"keys": [{"name": "team", "key": STATIC, "limits": {"rpm": 1, "tpm": 1000}}]});
    let router = one(&upstream, json!({})).set("auth", keys).start();
    let ask = || router.chat("gpt-mock", json!({"max_tokens": 10})).key(STATIC).send();
    let first = ask().await;
    assert_eq!((first.status, first.header("x-ratelimit-limit-tokens")), (200, "1000"), "{}", first.text());
    let refused = ask().await;
    assert_eq!((refused.status, refused.header("x-ratelimit-remaining")), (429, "0"));
    assert!(refused.text().contains("1 requests in 60 s"), "{}", refused.text());
}

/// An answer of so many tokens.
fn answer_of(tokens: u64) -> Reply {
    Reply::json(&json!({
        "id": "c", "object": "chat.completion", "model": "gpt-mock",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": tokens / 2, "completion_tokens": tokens - tokens / 2, "total_tokens": tokens},
    }))
}

#[tokio::test]
async fn tokens_are_held_as_guessed_and_settled_as_used() {
    let upstream = FakeUpstream::start(Script::sequence([answer_of(700), Reply::error(400), answer_of(10), answer_of(700)]));
    let router = one(&upstream, json!({})).start();
    let (_, key) = router.new_key(json!({"limits": {"tpm": 1000}})).await;
    let ask = |max_tokens: u64| router.chat("gpt-mock", json!({"max_tokens": max_tokens})).key(&key).send();
    assert_eq!(ask(100).await.status, 200); // 700
    assert_eq!(ask(200).await.status, 400); // nothing
    assert_eq!(ask(200).await.status, 200); // 710
    let full = ask(600).await;
    assert_eq!((full.status, full.header("x-ratelimit-remaining-tokens")), (429, "290"), "{}", full.text());
    assert!(full.text().contains("1000 tokens a minute"), "{}", full.text());
    assert_eq!(ask(200).await.status, 200); // 1410
    let full = ask(1).await;
    assert_eq!((full.status, full.header("x-ratelimit-remaining-tokens")), (429, "0"));
}

#[tokio::test]
async fn what_runs_ends_with_its_stream_or_its_caller() {
    let gate = Gate::new();
    let held = Reply::ok().words(["one", "two", "three"]).hold_pieces(&gate);
    let upstream = FakeUpstream::start(Script::always(held));
    let router = one(&upstream, json!({})).start();
    let (_, key) = router.new_key(json!({"limits": {"concurrency": 1, "tpm": 100_000}})).await;
    gate.pass(1);
    let stream = || router.chat("gpt-mock", json!({"stream": true})).key(&key).open();
    let runs = stream().await;
    assert_eq!(runs.status, 200);
    let refused = router.chat("gpt-mock", json!({})).key(&key).send().await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
    assert!(refused.text().contains("1 requests at once"), "{}", refused.text());
    drop(runs);
    gate.pass(1000);
    // The router hears of a hang-up when it hears of it.
    let after = eventually("a place after the hang-up", || async {
        let answer = router.chat("gpt-mock", json!({"stream": true})).key(&key).send().await;
        (answer.status == 200).then_some(answer)
    });
    assert!(after.await.text().contains("[DONE]"));
    assert_eq!(router.chat("gpt-mock", json!({})).key(&key).send().await.status, 200, "and after a stream's end at once");
}

#[tokio::test]
async fn a_busy_account_is_passed_over() {
    let gate = Gate::new();
    let (first, second) = (FakeUpstream::start(Script::always(Reply::ok().hold_pieces(&gate))), FakeUpstream::start(Script::default()));
    let router = two(&first, &second, json!({"limits": {"concurrency": 1}})).start();
    gate.pass(1);
    let runs = router.chat("gpt-mock", json!({"stream": true})).open().await;
    let target = |answer: &Answer| answer.header("x-llm-router-target").to_owned();
    assert_eq!(target(&router.chat("gpt-mock", json!({})).send().await), "second");
    gate.pass(1000);
    runs.rest().await;
    assert_eq!(target(&router.chat("gpt-mock", json!({})).send().await), "first");
}

#[tokio::test]
async fn an_address_has_its_window_and_probes_have_none() {
    let upstream = FakeUpstream::start(Script::default());
    let setup = one(&upstream, json!({})).env("RATE_LIMIT_REQUESTS", "3").env("RATE_LIMIT_WINDOW", "600");
    let router = setup.env("LLM_ROUTER_TRUSTED_PROXIES", "127.0.0.1").start();
    let ask = |from: &str| router.chat("gpt-mock", json!({})).header("x-forwarded-for", from).send();
    let mut left = Vec::new();
    for _ in 0..3 {
        let answer = ask("192.0.2.1").await;
        assert_eq!(answer.status, 200);
        left.push(answer.header("x-ratelimit-remaining").to_owned());
    }
    assert_eq!(left, ["2", "1", "0"]);
    let refused = ask("192.0.2.1").await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limit_exceeded"));
    assert!((1..=600).contains(&refused.header("retry-after").parse::<u64>().unwrap()));
    let unknown = router.chat("gpt-mock", json!({})).key("sk_wrong").header("x-forwarded-for", "192.0.2.1").send().await;
    assert_eq!(unknown.status, 429, "before anybody is identified");
    for path in ["/v1/models", "/models/gpt-mock", "/v1beta/models"] {
        let listed = router.get(path).header("x-forwarded-for", "192.0.2.1").send().await;
        assert_eq!((listed.status, listed.header("x-ratelimit-remaining")), (429, "0"), "{path}");
        assert!((1..=600).contains(&listed.header("retry-after").parse::<u64>().unwrap()), "{path}");
    }
    assert_eq!(ask("192.0.2.2").await.status, 200, "another address");
    let listed = router.get("/v1/models").header("x-forwarded-for", "192.0.2.2").send().await;
    assert_eq!((listed.status, listed.header("x-ratelimit-remaining")), (200, "1"), "a look at the models counts as a call does");
    let node = json!({"name": "a", "endpoint": upstream.url(), "models": ["local_a"]});
    assert_eq!(router.post("/register", &node).header("x-forwarded-for", "192.0.2.1").key(MASTER).send().await.status, 200);
    for _ in 0..5 {
        for path in ["/health", "/_health/live", "/metrics"] {
            assert_eq!(router.get(path).header("x-forwarded-for", "192.0.2.1").send().await.status, 200, "{path}");
        }
        let beat = router.ask(Method::POST, "/heartbeat").json(&json!({"name": "a"})).key(MASTER);
        assert_eq!(beat.header("x-forwarded-for", "192.0.2.1").send().await.status, 200);
    }
}

/// A replica: its account has a window of its own size, its static key a limit.
fn replica(upstream: &FakeUpstream, redis: &RedisServer, more: Value, limits: Value) -> Router {
    let keys = json!({"keys": [{"name": "team", "key": STATIC, "limits": limits}]});
    one(upstream, more).set("auth", keys).env("REDIS_URL", &redis.url()).env("CACHE_ENABLED", "false").start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_on_one_redis_allow_one_limit_between_them() {
    let Some(redis) = RedisServer::start() else { return };
    let upstream = FakeUpstream::start(Script::default());
    let (a, b) = (replica(&upstream, &redis, window(50), json!({"rpm": 30})), replica(&upstream, &redis, window(50), json!({"rpm": 30})));
    assert_eq!(together(&[&a, &b], 100, STATIC).await, BTreeMap::from([(200, 30), (429, 70)]), "the key's");
    assert_eq!(together(&[&a, &b], 100, KEY).await, BTreeMap::from([(200, 20), (429, 80)]), "what is left of the account's");
    assert_eq!(upstream.requests().len(), 50);
    let ready = a.get("/_health/ready").send().await;
    assert_eq!((ready.status, &ready.json()["checks"]["redis"]), (200, &json!("ok")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_on_one_replica_is_a_run_on_the_other() {
    let Some(redis) = RedisServer::start() else { return };
    let gate = Gate::new();
    let upstream = FakeUpstream::start(Script::always(Reply::ok().hold_pieces(&gate)));
    let limits = json!({"concurrency": 1, "tpm": 1000});
    let (a, b) = (replica(&upstream, &redis, json!({}), limits.clone()), replica(&upstream, &redis, json!({}), limits));
    gate.pass(1);
    let runs = a.chat("gpt-mock", json!({"stream": true, "max_tokens": 900})).key(STATIC).open().await;
    assert_eq!(b.chat("gpt-mock", json!({})).key(STATIC).send().await.status, 429);
    gate.pass(1000);
    runs.rest().await;
    // Settling goes behind the path; the tokens that were held and not used are back with it.
    eventually("a place on the other", || async {
        let answer = b.chat("gpt-mock", json!({"max_tokens": 900})).key(STATIC).send().await;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_die_under_load_and_come_back() {
    let Some(mut redis) = RedisServer::start() else { return };
    let upstream = FakeUpstream::start(Script::default());
    let generous = || json!({"rpm": 1_000_000, "tpm": 1_000_000_000, "concurrency": 1000});
    let a = Arc::new(replica(&upstream, &redis, window(1_000_000), generous()));
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..8)
        .map(|_| {
            let (a, stop) = (a.clone(), stop.clone());
            tokio::spawn(async move {
                let mut calls = 0;
                while !stop.load(Relaxed) {
                    let answer = a.chat("gpt-mock", json!({})).key(STATIC).send().await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    let said = |status: &'static str, redis: &'static str| {
        let a = a.clone();
        async move {
            eventually(status, || async {
                let ready = a.get("/_health/ready").send().await;
                let said = ready.json();
                (ready.status == 200 && said["status"] == status && said["checks"]["redis"] == redis).then_some(())
            })
            .await;
        }
    };
    let more_calls = || async {
        let until = upstream.requests().len() + 40;
        eventually("more calls", || async { (upstream.requests().len() >= until).then_some(()) }).await;
    };
    more_calls().await;
    redis.kill();
    said("degraded", "missing").await;
    more_calls().await;
    redis.start_again();
    said("ready", "ok").await;
    more_calls().await;
    redis.freeze();
    said("degraded", "missing").await;
    more_calls().await;
    redis.thaw();
    said("ready", "ok").await;
    stop.store(true, Relaxed);
    for one in load {
        assert!(one.await.unwrap() > 0);
    }
    let warned = || a.said.all().matches("Redis cannot be used").count();
    // Lines are gathered before they are written.
    eventually("both warnings", || async { (warned() >= 2).then_some(()) }).await;
    assert_eq!(warned(), 2, "once each time: {}", a.said.all());
    eventually("the failures are counted", || async { (a.metric("router_redis_failures_total").await > 0.0).then_some(()) }).await;
    // It counts for both again.
    let few = || json!({"rpm": 3});
    let (b, c) = (replica(&upstream, &redis, json!({}), few()), replica(&upstream, &redis, json!({}), few()));
    drop(a);
    redis.start_again();
    for router in [&b, &c] {
        eventually("used again", || async { (router.get("/health").send().await.json()["details"]["redis"] == "ok").then_some(()) }).await;
    }
    tokio::time::timeout(Duration::from_secs(30), async {
        assert_eq!(together(&[&b, &c], 10, STATIC).await, BTreeMap::from([(200, 3), (429, 7)]));
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_unreachable_redis_keeps_nobody_waiting() {
    let upstream = FakeUpstream::start(Script::default());
    let keys = json!({"keys": [{"name": "team", "key": STATIC, "limits": {"rpm": 2}}]});
    let nowhere = format!("redis://{}/0", closed_port());
    let router = one(&upstream, json!({})).set("auth", keys).env("REDIS_URL", &nowhere).start();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(router.chat("gpt-mock", json!({})).key(STATIC).send().await.status);
    }
    assert_eq!(statuses, [200, 200, 429], "counted alone");
    let strict = one(&upstream, json!({})).set("health", json!({"strict": true})).env("REDIS_URL", &nowhere).start();
    let ready = strict.get("/_health/ready").send().await;
    assert_eq!((ready.status, &ready.json()["checks"]["redis"]), (503, &json!("missing")));
    let (status, said) = one(&upstream, json!({})).env("REDIS_URL", "redis://:hidden@:no:port").fails();
    assert!(!status.success() && !said.contains("hidden"), "{said}");
}

/// Everything that upstreams say of their limits and of trying again, with a number that nobody else says.
fn talkative(reply: Reply) -> Reply {
    let names = [
        "x-ratelimit-limit",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-limit-tokens",
        "x-ratelimit-reset-tokens",
        "x-ratelimit-limit-req-minute",
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-output-tokens-remaining",
        "anthropic-ratelimit-unified-status",
        "ratelimit-limit",
        "ratelimitbysize-limit",
        "x-tokenlimit-limit",
        "retry-after",
        "retry-after-ms",
        "x-should-retry",
    ];
    names.iter().fold(reply, |reply, name| reply.header(name, "31337"))
}

#[tokio::test]
async fn what_an_upstream_says_of_its_limits_is_not_told_to_callers() {
    let upstream = FakeUpstream::start(Script::default());
    let account = |setup: Setup, wire: &str, provider: &str| {
        setup.account(wire, &upstream.base_url(), &[wire], json!({"provider": provider, "wire": wire}))
    };
    let sound = Reply::whole("audio/mpeg", "x");
    let refused = Reply::json(&json!({"error": {"message": "no"}})).status(422);
    for (reply, first) in [(Reply::ok(), 200), (refused, 422), (Reply::error(429), 429), (Reply::error(503), 503)] {
        let setup = account(account(account(Setup::new(), "chat", "openai"), "messages", "anthropic"), "gemini", "google");
        let router = setup.set("retry", json!({"max_attempts": 1})).start();
        upstream.set_script(Script::always(talkative(reply)).on("/v1/audio/speech", talkative(sound.clone())));
        for model in ["chat", "messages", "gemini"] {
            for stream in [false, true] {
                let body = json!({"model": model, "max_tokens": 5, "stream": stream, "messages": [{"role": "user", "content": "hi"}]});
                for path in ["/v1/chat/completions", "/v1/messages", "/v1/audio/speech"] {
                    let answer = router.post(path, &body).send().await;
                    if (path, model, stream) == ("/v1/chat/completions", "chat", false) {
                        assert_eq!(answer.status, first, "{}", answer.text());
                    }
                    let told: Vec<_> = answer.headers.iter().filter(|(_, value)| value.as_bytes() == b"31337").collect();
                    // How long an upstream asks to wait is the caller's to know, once, in the words of this router.
                    let may_wait = matches!(answer.status, 429 | 503);
                    assert!(told.iter().all(|(name, _)| may_wait && *name == "retry-after"), "{path} {model}: {told:?}");
                    for name in ["retry-after-ms", "x-ratelimit-limit", "anthropic-ratelimit-requests-limit"] {
                        assert!(!answer.headers.contains_key(name), "{path} {model}: {name}");
                    }
                }
            }
        }
    }
}
