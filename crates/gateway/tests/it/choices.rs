//! Which account serves: rests, breakers, fallbacks and what the caller prefers.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use testkit::{FakeUpstream, Reply, Script};

use crate::router::{Router, Setup};

fn two(first: &FakeUpstream, second: &FakeUpstream) -> Setup {
    let account = |setup: Setup, name: &str, upstream: &FakeUpstream, priority: u32| {
        setup.account(name, &upstream.base_url(), &["m"], json!({"priority": priority}))
    };
    account(account(Setup::new(), "first", first, 0), "second", second, 1).set("retry", json!({"max_attempts": 2, "backoff": "1ms..2ms"}))
}

async fn target(router: &Router, more: Value) -> String {
    let answer = router.chat("m", more).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-llm-router-target").to_owned()
}

#[tokio::test]
async fn an_account_that_asks_for_rest_is_left_alone() {
    let (first, second) = (FakeUpstream::start(Script::always(Reply::rate_limited(600))), FakeUpstream::start(Script::default()));
    let router = two(&first, &second).start();
    for _ in 0..4 {
        assert_eq!(target(&router, json!({})).await, "second");
    }
    assert_eq!(first.requests().len(), 1);

    let only = router.chat("m", json!({"provider": {"only": ["first"]}})).send().await;
    assert_eq!((only.status, only.code().as_str()), (429, "rate_limit_exceeded"), "{}", only.text());
    let wait: u64 = only.header("retry-after").parse().unwrap();
    assert!((500..=600).contains(&wait), "{wait}");
}

#[tokio::test]
async fn an_account_that_fails_again_and_again_is_left_alone() {
    let (first, second) = (FakeUpstream::start(Script::always(Reply::error(500))), FakeUpstream::start(Script::default()));
    let router = two(&first, &second).start();
    for _ in 0..9 {
        assert_eq!(target(&router, json!({})).await, "second");
    }
    assert_eq!(first.requests().len(), 5, "the breaker is open after five failures in a row");
    let only = router.chat("m", json!({"provider": {"only": ["first"]}})).send().await;
    assert_eq!((only.status, only.code().as_str()), (503, "no_available_target"), "{}", only.text());
    assert!(!only.header("retry-after").is_empty());
}

#[tokio::test]
async fn retries_of_a_lone_failing_account_are_a_share_of_its_requests() {
    let upstream = FakeUpstream::start(Script::always(Reply::error(400).status(408)));
    let setup = Setup::new().upstream("mock", &upstream);
    let router = setup.set("retry", json!({"max_attempts": 3, "backoff": "1ms..2ms", "retry_budget": "20%"})).start();
    for _ in 0..60 {
        let answer = router.chat("gpt-mock", json!({})).send().await;
        assert!(answer.status >= 500, "{}", answer.status);
    }
    let sent = upstream.requests().len();
    assert!(sent <= 60 + 10 + 12, "{sent} requests went upstream");
}

#[tokio::test]
async fn another_model_takes_over() {
    let (first, second) = (FakeUpstream::start(Script::always(Reply::error(503))), FakeUpstream::start(Script::default()));
    let setup =
        Setup::new().account("first", &first.base_url(), &["big"], json!({})).account("second", &second.base_url(), &["small"], json!({}));
    let router = setup.set("fallback_models", json!(["small"])).set("retry", json!({"max_attempts": 2, "backoff": "1ms..2ms"})).start();
    let answer = router.chat("big", json!({})).send().await;
    assert_eq!((answer.status, answer.header("x-llm-router-model")), (200, "small"), "{}", answer.text());

    let (_, limited) = router.new_key(json!({"allowed_models": ["big"]})).await;
    let refused = router.chat("big", json!({})).key(&limited).send().await;
    assert_eq!(refused.status, 503, "a key that may not use the other model does not get it: {}", refused.text());
    assert_eq!(refused.header("x-llm-router-attempts"), "2");
}

#[tokio::test]
async fn what_is_too_long_for_one_model_goes_to_the_next() {
    let too_long = Reply::json(&json!({"error": {"message": "maximum context length is 8 tokens", "type": "invalid_request_error",
        "code": "context_length_exceeded", "param": "messages"}}))
    .status(400);
    let (first, second) = (FakeUpstream::start(Script::always(too_long.clone())), FakeUpstream::start(Script::default()));
    let setup =
        Setup::new().account("first", &first.base_url(), &["big"], json!({})).account("second", &second.base_url(), &["small"], json!({}));
    let router = setup.start();
    let answer = router.chat("big", json!({"models": ["small"]})).send().await;
    assert_eq!((answer.status, answer.header("x-llm-router-target")), (200, "second"), "{}", answer.text());

    second.set_script(Script::always(too_long));
    let refused = router.chat("big", json!({"models": ["small"]})).send().await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "context_length_exceeded"), "{}", refused.text());
    assert_eq!(refused.header("x-llm-router-target"), "first", "the refusal is of the model that was asked for");
    let alone = router.chat("big", json!({})).send().await;
    assert_eq!(alone.status, 400);
}

#[tokio::test]
async fn callers_choose_among_accounts() {
    let (first, second) = (FakeUpstream::start(Script::default()), FakeUpstream::start(Script::default()));
    let router = two(&first, &second).start();
    for (wanted, served) in [
        (json!({}), "first"),
        (json!({"order": ["second"]}), "second"),
        (json!({"only": ["second"]}), "second"),
        (json!({"ignore": ["first"]}), "second"),
    ] {
        assert_eq!(target(&router, json!({"provider": wanted})).await, served, "{wanted}");
    }
    let by_header = router.chat("m", json!({})).header("x-llm-router-order", "second").send().await;
    assert_eq!(by_header.header("x-llm-router-target"), "second");

    for (name, value, status) in [
        ("x-llm-router-data-collection", "deny", 400),
        ("x-llm-router-data-collection", "perhaps", 400),
        ("x-llm-router-sort", "beauty", 400),
        ("x-llm-router-timeout-ms", "soon", 400),
        ("x-llm-router-strict", "yes", 400),
        ("x-llm-router-allow-fallbacks", "no", 400),
        ("x-llm-router-max-price", "0.0001", 404),
        ("x-llm-router-max-price", "cheap", 400),
        ("x-llm-router-sort", "latency", 200),
        ("x-llm-router-strict", "", 200),
    ] {
        let answer = router.chat("m", json!({})).header(name, value).send().await;
        assert_eq!(answer.status, status, "{name}: {value}: {}", answer.text());
    }
    let other = router.chat("nosuch", json!({})).header("x-llm-router-models", "gone, m").send().await;
    assert_eq!(other.status, 200, "{}", other.text());

    first.set_script(Script::always(Reply::error(503)));
    let alone = router.chat("m", json!({"provider": {"order": ["first"], "allow_fallbacks": false}})).send().await;
    assert_eq!(alone.status, 503, "{}", alone.text());

    for wrong in [json!([]), json!({"sort": "beauty"}), json!({"onyl": ["x"]}), json!({"only": "second"})] {
        let answer = router.chat("m", json!({"provider": wrong})).send().await;
        assert_eq!((answer.status, answer.json()["error"]["param"].as_str()), (400, Some("provider")), "{wrong}");
    }
    let nobody =
        router.ask(Method::POST, "/v1/chat/completions").json(&json!({"model": "m", "messages": [{"role": "user", "content": "x"}],
        "provider": {"only": ["nobody"]}}));
    assert_eq!(nobody.send().await.status, 404);
}

#[tokio::test]
async fn services_are_asked_what_they_have() {
    let (a, b) = (FakeUpstream::start(Script::default().models(["x"])), FakeUpstream::start(Script::default().models(["y"])));
    let services = json!([
        {"name": "A", "backend_type": "custom", "base_url": a.base_url(), "api_key": "k"},
        {"name": "B", "backend_type": "custom", "base_url": b.base_url(), "api_key": "k", "priority": 1},
        {"name": "gone", "backend_type": "custom", "base_url": format!("http://{}/v1", crate::router::closed_port()), "api_key": "k", "priority": 2},
    ]);
    let router = Setup::new().env("ROUTER_SERVICES", &services.to_string()).start();
    let listed = crate::router::eventually("both lists", || async {
        let list = router.get("/v1/models").send().await.json();
        (list["router"]["working_services"] == 2).then_some(list)
    })
    .await;
    let of = |id: &str| listed["data"].as_array().unwrap().iter().find(|m| m["id"] == id).unwrap()["service"].clone();
    assert_eq!((of("x"), of("y"), &listed["router"]["total_services"]), (json!("A"), json!("B"), &json!(3)));
    let target = async |model: &str| router.chat(model, json!({})).send().await.header("x-llm-router-target").to_owned();
    assert_eq!([target("y").await, target("nobody | y | x").await], ["B", "A"]);
}

#[tokio::test]
async fn services_of_which_none_is_there_are_not_available() {
    let silent = FakeUpstream::start(Script::always(Reply::ok().delay(Duration::from_secs(30))).models(["m"]));
    let service =
        |name: &str, base_url: &str| json!({"name": name, "backend_type": "custom", "base_url": base_url, "api_key": "k", "timeout": 1});
    let out_of_reach = format!("http://{}/v1", crate::router::closed_port());
    for (first, second, status) in [(silent.base_url(), out_of_reach.clone(), 503), (out_of_reach.clone(), out_of_reach, 502)] {
        let services = json!([service("A", &first), service("B", &second)]);
        let router = Setup::new().env("ROUTER_SERVICES", &services.to_string()).start();
        let answer = router.chat("m", json!({})).send().await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}
