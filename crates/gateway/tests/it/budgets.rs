//! Budgets of keys: refused when used up, over restarts, in every dialect.

use http::Method;
use serde_json::{Value, json};
use testkit::{FakeUpstream, RedisServer, Reply, Script};

use crate::{
    client::Answer,
    router::{MASTER, Router, Setup, eventually},
};

/// A router where a token of a prompt costs a dollar at `gpt-mock`, and nobody knows the price of `dummy`.
fn priced(upstream: &FakeUpstream) -> Setup {
    Setup::new().upstream("mock", upstream).set("models", json!([{"id": "gpt-mock", "price": {"input": 1_000_000, "output": 0}}]))
}

fn two_dollars() -> FakeUpstream {
    FakeUpstream::start(Script::always(Reply::ok().prompt_tokens(2)))
}

async fn chat(router: &Router, key: &str, more: Value) -> Answer {
    router.chat("gpt-mock", more).key(key).send().await
}

async fn key(router: &Router, id: &str) -> Value {
    let all = router.get("/api/api-keys").key(MASTER).send().await.json();
    all["api_keys"].as_array().unwrap().iter().find(|key| key["id"] == id).unwrap().clone()
}

/// Until this much was spent: a stream's cost is known when its last byte is out.
async fn spends(router: &Router, id: &str, dollars: f64) {
    eventually(&format!("{dollars} dollars"), || async { (key(router, id).await["budget"]["spent"] == dollars).then_some(()) }).await;
}

#[tokio::test]
async fn a_key_spends_its_budget_and_no_more() {
    let upstream = two_dollars();
    let router = priced(&upstream).start();
    let (id, secret) = router.new_key(json!({"budget": {"amount": 3, "window": "total"}})).await;
    assert_eq!(
        key(&router, &id).await["budget"],
        json!({"amount": 3.0, "currency": "USD", "window": "total", "spent": 0.0, "resets_at": null})
    );
    let first = chat(&router, &secret, json!({})).await;
    assert_eq!((first.status, first.header("x-llm-router-cost")), (200, "2"));
    spends(&router, &id, 2.0).await;
    assert_eq!(chat(&router, &secret, json!({"stream": true})).await.status, 200, "something is left");
    spends(&router, &id, 4.0).await;

    let asked = upstream.requests().len();
    let refused = chat(&router, &secret, json!({})).await;
    assert_eq!((refused.status, refused.code().as_str(), refused.header("x-should-retry")), (402, "budget_exceeded", "false"));
    assert_eq!(refused.json()["error"]["type"], "insufficient_quota");
    let messages = json!({"model": "gpt-mock", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
    let refused = router.post("/v1/messages", &messages).key(&secret).send().await;
    assert_eq!((refused.status, &refused.json()["type"]), (402, &json!("error")), "{}", refused.text());
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
    let refused = router.post("/v1beta/models/gpt-mock:generateContent", &contents).key(&secret).send().await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (402, &json!(402)), "{}", refused.text());
    assert_eq!(upstream.requests().len(), asked, "nobody was asked");

    let own = router.get("/api/usage").key(&secret).send().await.json();
    assert_eq!((&own["budget"]["spent"], &own["budget"]["amount"]), (&json!(4.0), &json!(3.0)), "its holder sees it: {own}");
    let more = json!({"budget": {"amount": 100, "window": "total"}});
    let changed = router.ask(Method::PUT, &format!("/api/api-keys/{id}")).key(MASTER).json(&more).send().await;
    assert_eq!((changed.status, &changed.json()["budget"]["spent"]), (200, &json!(4.0)));
    assert_eq!(chat(&router, &secret, json!({})).await.status, 200, "at once");
}

#[tokio::test]
async fn what_was_spent_is_known_after_a_stop_and_after_a_crash() {
    let upstream = two_dollars();
    let mut router = priced(&upstream).start();
    let (id, secret) = router.new_key(json!({"budget": {"amount": 5, "window": "month"}})).await;
    assert_eq!(chat(&router, &secret, json!({})).await.status, 200);
    router.stop();
    let mut router = priced(&upstream).in_home_of(&router).start();
    spends(&router, &id, 2.0).await;
    let second = router.chat("gpt-mock", json!({})).key(&secret).header("x-request-id", "second").send().await;
    assert_eq!(second.status, 200);
    router.record("second").await;
    router.signal("KILL");
    router.ended();
    let router = priced(&upstream).in_home_of(&router).start();
    assert_eq!(key(&router, &id).await["budget"]["spent"], 4.0);
    assert_eq!(chat(&router, &secret, json!({})).await.status, 200);
    spends(&router, &id, 6.0).await;
    assert_eq!(chat(&router, &secret, json!({})).await.status, 402);
}

#[tokio::test]
async fn what_has_no_price_costs_nothing_and_wrong_budgets_are_refused() {
    let upstream = two_dollars();
    let router = priced(&upstream).start();
    let (_, secret) = router.new_key(json!({"budget": {"amount": 1e-6}})).await;
    for _ in 0..3 {
        assert_eq!(router.chat("dummy", json!({})).key(&secret).send().await.status, 200);
    }
    for wrong in [json!(5), json!({"amount": -1}), json!({"amount": 1, "currency": "EUR"}), json!({"amount": 1, "window": "fortnight"})] {
        let answer = router.post("/api/api-keys", &json!({"name": "x", "budget": wrong})).key(MASTER).send().await;
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.text());
        assert!(answer.json()["error"]["param"].as_str().unwrap().starts_with("budget"), "{}", answer.text());
    }
}

/// A router whose file names a key with a budget, on a Redis that it may share.
fn sharing(upstream: &FakeUpstream, redis: &RedisServer, dollars: u32) -> Setup {
    let key = json!({"name": "team", "key": SHARED_KEY, "budget": {"amount": dollars, "window": "total"}});
    let keys = json!({"keys": [crate::router::KEY, key]});
    priced(upstream).set("auth", keys).env("REDIS_URL", &redis.url()).env("CACHE_ENABLED", "false")
}

const SHARED_KEY: &str = "sk_of_a_team_with_a_budget";

/// What its holder is told of the budget.
async fn spent(router: &Router) -> Value {
    router.get("/api/usage").key(SHARED_KEY).send().await.json()["budget"]["spent"].clone()
}

#[tokio::test]
async fn routers_on_one_redis_count_one_budget() {
    let Some(mut redis) = RedisServer::start() else { return };
    let upstream = two_dollars();
    let mut a = sharing(&upstream, &redis, 9).start();
    let b = sharing(&upstream, &redis, 9).start();
    let ask = |router: &Router| router.chat("gpt-mock", json!({})).key(SHARED_KEY).send();
    for router in [&a, &b, &a] {
        assert_eq!(ask(router).await.status, 200);
    }
    eventually("the other one knows of all", || async { (spent(&b).await == 6.0).then_some(()) }).await;
    for status in [200, 200, 402] {
        assert_eq!(ask(&b).await.status, status);
    }
    eventually("the first one knows too", || async { (spent(&a).await == 10.0).then_some(()) }).await;
    assert_eq!((ask(&a).await.status, upstream.requests().len()), (402, 5), "the fifth began with a dollar left");
    redis.kill();
    assert_eq!([ask(&a).await.status, ask(&b).await.status], [402, 402], "what was heard stands");
    redis.start_again();
    // A Redis that forgot all is told again, and a router that comes back is the same one.
    a.stop();
    let a = sharing(&upstream, &redis, 11).in_home_of(&a).start();
    eventually("what the other spent is heard again", || async { (spent(&a).await == 10.0).then_some(()) }).await;
    assert_eq!([ask(&a).await.status, ask(&a).await.status], [200, 402], "each dollar counts once");
}
