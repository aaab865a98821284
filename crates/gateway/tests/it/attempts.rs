//! Fallback: what moves on unseen, what goes back, and what it comes to when nothing serves.

use serde_json::json;
use testkit::{FakeUpstream, Gate, Reply, Script};

use crate::router::{MASTER, Router, Setup, closed_port, soon};

/// Two accounts for one model: the first answers so, the second as it should.
fn pair(first: Reply) -> (FakeUpstream, FakeUpstream, Router) {
    let (first, second) = (FakeUpstream::start(Script::always(first)), FakeUpstream::start(Script::default()));
    let short = json!({"timeouts": {"first_byte": "300ms"}});
    let setup = Setup::new().account("first", &first.base_url(), &["gpt-mock"], short).upstream("second", &second);
    (first, second, setup.start())
}

/// The second account served, and nothing shows of the first.
async fn assert_served_by_second(router: &Router, stream: bool, what: &str) {
    let answer = router.chat("gpt-mock", json!({"stream": stream})).send().await;
    assert_eq!(answer.status, 200, "{what}: {}", answer.text());
    assert_eq!((answer.header("x-llm-router-target"), answer.header("x-llm-router-attempts")), ("second", "2"), "{what}");
    if stream {
        let events = answer.events();
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{what}");
        assert!(events.iter().all(|e| !e.contains("\"error\"")), "{what}: {}", answer.text());
        assert_eq!(answer.text().matches("\"role\"").count(), 1, "{what}: {}", answer.text());
    } else {
        assert_eq!(answer.json()["choices"][0]["message"]["content"], "Hello world", "{what}");
        assert_eq!((&answer.json()["router"]["service"], &answer.json()["router"]["attempt"]), (&json!("second"), &json!(2)));
    }
}

#[tokio::test]
async fn a_failed_attempt_moves_on_unseen() {
    let gate = Gate::new();
    let upstream_says = |text: &str| Reply::whole("application/json", text.to_owned());
    let both: Vec<(String, Reply)> = [408, 425, 429, 500, 502, 503, 504, 529, 401, 402, 403, 404]
        .into_iter()
        .map(|status| (format!("status {status}"), Reply::error(status)))
        .chain([
            ("credit".to_owned(), upstream_says(r#"{"error":{"message":"Your credit balance is too low"}}"#).status(400)),
            ("a wait".to_owned(), Reply::rate_limited(30)),
            ("no answer".to_owned(), Reply::nothing()),
            ("silence".to_owned(), Reply::ok().hold_head(&gate)),
        ])
        .collect();
    let whole = [
        ("half a body".to_owned(), Reply::ok().cut_after(20)),
        ("a body that stops".to_owned(), Reply::ok().stall_after(20)),
        ("no JSON".to_owned(), upstream_says("<html>")),
        ("an error with 200".to_owned(), upstream_says(r#"{"error":{"message":"out of memory"}}"#)),
    ];
    let streamed = [
        ("a head only".to_owned(), Reply::ok().cut_after(0)),
        ("a head and silence".to_owned(), Reply::ok().stall_after(0)),
        ("an empty stream".to_owned(), Reply::events(Vec::<String>::new())),
    ];
    // Each with a router of its own: accounts that fail are left alone for a while.
    for (what, reply) in both.iter().chain(&whole) {
        let (_first, _second, router) = pair(reply.clone());
        // Its timers are short; those of a body that stops are the account's idle one.
        if what != "a body that stops" {
            assert_served_by_second(&router, false, what).await;
        }
    }
    for (what, reply) in both.iter().chain(&streamed) {
        let (_first, _second, router) = pair(reply.clone());
        assert_served_by_second(&router, true, what).await;
    }
}

#[tokio::test]
async fn a_body_that_stops_moves_on_too() {
    let (first, second) = (FakeUpstream::start(Script::always(Reply::ok().stall_after(20))), FakeUpstream::start(Script::default()));
    let short = json!({"timeouts": {"idle": "300ms"}});
    let router = Setup::new().account("first", &first.base_url(), &["gpt-mock"], short).upstream("second", &second).start();
    assert_served_by_second(&router, false, "a body that stops").await;
}

#[tokio::test]
async fn a_host_that_is_not_there_moves_on() {
    let second = FakeUpstream::start(Script::default());
    let nowhere = format!("http://{}/v1", closed_port());
    let router = Setup::new().account("first", &nowhere, &["gpt-mock"], json!({})).upstream("second", &second).start();
    for stream in [false, true] {
        assert_served_by_second(&router, stream, "nobody listens").await;
    }
    let row = router.chat("gpt-mock", json!({})).header("x-request-id", "moved").send().await;
    assert_eq!(row.status, 200);
    let row = router.record("moved").await;
    assert_eq!((row.attempts, row.target.as_deref(), &*row.outcome), (2, Some("second"), "success"));
    let decision: serde_json::Value = serde_json::from_str(&row.decision.unwrap()).unwrap();
    assert_eq!((&decision["attempts"][0]["outcome"], &decision["attempts"][1]["outcome"]), (&json!("unreachable"), &json!("served")));
    assert!(!decision.to_string().contains("127.0.0.1"), "{decision}");
}

#[tokio::test]
async fn priorities_and_the_callers_own_list_give_the_order() {
    let (first, second) = (FakeUpstream::start(Script::default()), FakeUpstream::start(Script::default()));
    let setup = Setup::new()
        .account("late", &second.base_url(), &["gpt-mock"], json!({"priority": 5}))
        .account("early", &first.base_url(), &["gpt-mock"], json!({"priority": -5}))
        .account("spare", &second.base_url(), &["spare"], json!({}));
    let router = setup.start();
    let target = |answer: crate::client::Answer| answer.header("x-llm-router-target").to_owned();
    assert_eq!(target(router.chat("gpt-mock", json!({})).send().await), "early");
    first.set_script(Script::always(Reply::error(500)));
    assert_eq!(target(router.chat("gpt-mock", json!({})).send().await), "late");
    second.set_script(Script::sequence([Reply::error(500), Reply::ok()]));
    assert_eq!(target(router.chat("gpt-mock", json!({"models": ["spare"]})).send().await), "spare");
}

#[tokio::test]
async fn the_same_target_is_tried_again_where_the_fault_passes() {
    let upstream = FakeUpstream::start(Script::sequence([Reply::error(500), Reply::error(503), Reply::ok()]));
    let router = Setup::new().upstream("mock", &upstream).set("retry", json!({"max_attempts": 3, "backoff": "1ms..2ms"})).start();
    let answer = router.chat("gpt-mock", json!({})).send().await;
    assert_eq!((answer.status, answer.header("x-llm-router-attempts")), (200, "3"), "{}", answer.text());
}

/// All attempts end so: what the client gets.
async fn comes_to(replies: [Reply; 2], status: u16, code: &str) -> crate::client::Answer {
    let upstreams = replies.map(|reply| FakeUpstream::start(Script::always(reply)));
    let short = || json!({"timeouts": {"first_byte": "200ms"}});
    let setup = Setup::new().account("first", &upstreams[0].base_url(), &["gpt-mock"], short()).account(
        "second",
        &upstreams[1].base_url(),
        &["gpt-mock"],
        short(),
    );
    let router = setup.set("retry", json!({"max_attempts": 2, "backoff": "1ms..2ms"})).start();
    let answer = router.chat("gpt-mock", json!({})).header("x-request-id", "failed").send().await;
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text());
    let attempts = answer.json()["error"]["attempts"].clone();
    let targets: Vec<&str> = attempts.as_array().unwrap().iter().map(|a| a["target"].as_str().unwrap()).collect();
    assert_eq!(targets, ["first", "second"], "{}", answer.text());
    assert!(!answer.text().contains("127.0.0.1") && !answer.text().contains("upstream-key-of"), "{}", answer.text());
    let row = router.record("failed").await;
    assert_eq!((row.status, &*row.outcome, row.error_code.as_deref(), row.attempts), (status, "error", Some(code), 2));
    answer
}

#[tokio::test]
async fn agreeing_failures_keep_their_status() {
    let gate = Gate::new();
    let limited = comes_to([Reply::rate_limited(7), Reply::rate_limited(9)], 429, "rate_limit_exceeded").await;
    assert_eq!(limited.header("retry-after"), "7");
    let busy = comes_to([Reply::error(503), Reply::error(529)], 503, "no_available_target").await;
    assert_eq!(busy.header("retry-after"), "1");
    comes_to([Reply::ok().hold_head(&gate), Reply::ok().hold_head(&gate)], 504, "upstream_timeout").await;
    comes_to([Reply::error(404), Reply::error(404)], 404, "model_not_found").await;
    comes_to([Reply::error(401), Reply::error(401)], 502, "upstream_credentials").await;
}

#[tokio::test]
async fn other_failures_are_the_upstreams() {
    let failed = comes_to([Reply::error(500), Reply::error(500).header("x-request-id", "theirs")], 502, "upstream_error").await;
    assert_eq!(failed.json()["error"]["upstream_status"], 500);
    assert_eq!(failed.json()["error"]["upstream_request_id"], "theirs");
    comes_to([Reply::rate_limited(1), Reply::error(500)], 502, "upstream_error").await;
    comes_to([Reply::nothing(), Reply::nothing()], 502, "upstream_error").await;
}

#[tokio::test]
async fn a_missing_key_is_named() {
    let setup =
        Setup::new().set("accounts", json!([{"name": "cloud", "provider": "openai", "models": ["gpt-9"], "api_key_env": "MY_KEY"}]));
    let router = setup.start();
    let answer = router.chat("gpt-9", json!({})).send().await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "provider_key_missing"));
    assert!(answer.text().contains("MY_KEY"), "{}", answer.text());
}

#[tokio::test]
async fn a_missing_key_only_skips_its_account() {
    let upstream = FakeUpstream::start(Script::default());
    let setup = Setup::new().account("first", "http://127.0.0.1:1", &["gpt-mock"], json!({"api_key": null, "api_key_env": "MY_KEY"}));
    let router = setup.upstream("second", &upstream).start();
    let answer = router.chat("gpt-mock", json!({})).send().await;
    assert_eq!((answer.status, answer.header("x-llm-router-target"), answer.header("x-llm-router-attempts")), (200, "second", "1"));
}

#[tokio::test]
async fn at_the_deadline_the_caller_hears_and_the_upstream_is_left() {
    let gate = Gate::new();
    let upstream = FakeUpstream::start(Script::always(Reply::ok().hold_head(&gate)));
    let router = Setup::new().upstream("mock", &upstream).start();
    let answer = router.chat("gpt-mock", json!({"timeout_ms": 200})).header("x-request-id", "late").send().await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "upstream_timeout"), "{}", answer.text());
    soon("the upstream's connection closes", upstream.hangup()).await;
    let row = router.record("late").await;
    assert_eq!((row.status, &*row.outcome, row.error_code.as_deref()), (504, "error", Some("upstream_timeout")));
}

#[tokio::test]
async fn who_hangs_up_leaves_who_was_being_asked_in_the_record() {
    let gate = Gate::new();
    let upstream = FakeUpstream::start(Script::always(Reply::ok().hold_head(&gate)));
    let router = Setup::new().upstream("mock", &upstream).start();
    let request = router.chat("gpt-mock", json!({})).header("x-request-id", "gone");
    tokio::select! {
        answer = request.send() => panic!("{}", answer.text()),
        _ = upstream.request() => {}
    }
    soon("the upstream's connection closes", upstream.hangup()).await;
    let row = router.record("gone").await;
    assert_eq!((&*row.outcome, row.attempts), ("cancelled", 1));
    let told = router.get("/api/requests/gone/explain").key(MASTER).send().await.json();
    let attempt = &told["attempts"][0];
    assert_eq!((&attempt["target"], &attempt["outcome"]), (&json!("mock"), &json!("left")), "{told}");
    assert!(attempt["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{told}");
}

#[tokio::test]
async fn weights_share_the_requests_among_equals_and_the_record_says_so() {
    let upstream = FakeUpstream::start(Script::default());
    let more = |weight: f64| json!({"weight": weight});
    let setup = Setup::new()
        .account("often", &upstream.base_url(), &["gpt-mock"], more(3.0))
        .account("seldom", &upstream.base_url(), &["gpt-mock"], more(1.0))
        .account("never", &upstream.base_url(), &["gpt-mock"], more(0.0));
    let router = setup.start();
    let mut served = std::collections::HashMap::new();
    for number in 0..200 {
        let answer = router.chat("gpt-mock", json!({})).header("x-request-id", &format!("weighed-{number}")).send().await;
        *served.entry(answer.header("x-llm-router-target").to_owned()).or_insert(0) += 1;
    }
    assert!((110..=190).contains(&served["often"]) && served["seldom"] >= 10 && !served.contains_key("never"), "{served:?}");
    let decision: serde_json::Value = serde_json::from_str(&router.record("weighed-0").await.decision.unwrap()).unwrap();
    let last = &decision["candidates"][2];
    assert_eq!(
        (&last["target"]["name"], &last["weighed"]),
        (&json!("never"), &json!({"by": "simple-shuffle", "figure": 0.0})),
        "{decision}"
    );
}
