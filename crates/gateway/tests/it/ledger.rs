//! The ledger: what was used beside its price, whether it is right, and charging anew.

use serde_json::{Value, json};
use testkit::{FakeUpstream, Reply, Script};

use crate::router::{MASTER, Router, Setup, eventually};

async fn read(router: &Router, path: &str) -> Value {
    let answer = router.get(path).key(MASTER).send().await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

/// Until so many requests are written down.
async fn ledger(router: &Router, rows: usize) -> Value {
    eventually(&format!("{rows} rows"), || async {
        let ledger = read(router, "/api/ledger").await;
        (ledger["rows"].as_array()?.len() == rows).then_some(ledger)
    })
    .await
}

fn upstream() -> FakeUpstream {
    FakeUpstream::start(Script::always(Reply::ok().prompt_tokens(1000)))
}

#[tokio::test]
async fn use_stands_beside_its_price_and_where_that_is_from() {
    let upstream = upstream();
    let prices = json!({"gpt-mock": {"input": 2, "output": 0, "source": "https://example.com/prices"}});
    let router = Setup::new().upstream("mock", &upstream).set("prices", prices).start();
    let (id, key) = router.new_key(json!({"scopes": ["inference"]})).await;
    let answer = router.chat("gpt-mock", json!({})).key(&key).send().await;
    assert_eq!((answer.status, answer.header("x-llm-router-cost")), (200, "0.002"));
    let unpriced = router.chat("dummy", json!({})).send().await;
    assert_eq!((unpriced.header("x-llm-router-cost"), unpriced.header("x-llm-router-cost-known")), ("0", "false"));

    let ledger = ledger(&router, 2).await;
    let [dummy, priced] = ledger["rows"].as_array().unwrap().as_slice() else { panic!("{ledger}") };
    assert_eq!((&priced["cost_usd"], &priced["price"]["source"]), (&json!(0.002), &json!("https://example.com/prices")), "{ledger}");
    assert_eq!(priced["usage"]["in_fresh"], 1000);
    assert_eq!(priced["lines"][0], json!({"what": "input", "tokens": 1000, "usd_per_million": 2.0, "usd": 0.002}));
    assert_eq!((&dummy["cost_usd"], &dummy["price"], &dummy["price_version"]), (&Value::Null, &Value::Null, &priced["price_version"]));
    let book = &ledger["price_books"][0];
    assert_eq!(
        (&book["version"], &book["is_current"], &book["models"]["gpt-mock"]["input"]),
        (&priced["price_version"], &json!(true), &json!(2.0))
    );

    let why = read(&router, &format!("/api/requests/{}/explain", priced["request_id"].as_str().unwrap())).await;
    assert_eq!(
        (&why["cost"]["total_usd"], &why["cost"]["lines"], &why["cost"]["price_book"]),
        (&json!(0.002), &priced["lines"], &book["version"])
    );

    let own = router.get("/api/ledger").key(&key).send().await.json();
    assert_eq!((own["rows"].as_array().unwrap().len(), &own["rows"][0]["key_id"], &own["price_books"]), (1, &json!(id), &json!([])));
    let first = read(&router, "/api/ledger?limit=1").await;
    assert_eq!((&first["has_more"], &first["rows"][0]["request_id"]), (&json!(true), &dummy["request_id"]));
    let second = read(&router, &format!("/api/ledger?limit=1&after={}", first["next"].as_str().unwrap())).await;
    assert_eq!(
        (&second["has_more"], &second["next"], &second["rows"][0]["request_id"]),
        (&json!(false), &Value::Null, &priced["request_id"])
    );
    assert_eq!(router.get("/api/ledger?after=yesterday").key(MASTER).send().await.status, 400);
}

#[tokio::test]
async fn what_was_charged_is_verified_and_charged_anew() {
    let upstream = upstream();
    let setup = || Setup::new().upstream("mock", &upstream);
    let mut router = setup().start();
    assert_eq!(router.chat("gpt-mock", json!({})).send().await.status, 200);
    ledger(&router, 1).await;
    router.stop();

    // A price that comes later leaves what was before as it is.
    let prices = json!({"gpt-mock": {"input": 3, "output": 0}});
    let mut router = setup().set("prices", prices.clone()).in_home_of(&router).start();
    assert_eq!(router.chat("gpt-mock", json!({})).send().await.status, 200);
    let rows = ledger(&router, 2).await["rows"].clone();
    assert_eq!((&rows[0]["cost_usd"], &rows[1]["cost_usd"]), (&json!(0.003), &Value::Null));
    assert_ne!(rows[0]["price_version"], rows[1]["price_version"]);
    let sums = read(&router, "/api/usage?group_by=model").await["totals"].clone();
    assert_eq!((&sums["cost_usd"], &sums["unpriced_requests"]), (&json!(0.003), &json!(1)));
    let found = read(&router, "/api/ledger/verify").await;
    assert_eq!((&found["examined"], &found["different"], &found["unverifiable"]), (&json!(2), &json!(0), &json!(0)), "{found}");

    let done = router.post("/api/ledger/recompute", &json!({})).key(MASTER).send().await;
    assert_eq!((done.status, &done.json()["changed"], &done.json()["after_usd"]), (200, &json!(1), &json!(0.003)), "{}", done.text());
    let sums = read(&router, "/api/usage?group_by=model").await["totals"].clone();
    assert_eq!((&sums["requests"], &sums["cost_usd"], &sums["unpriced_requests"]), (&json!(2), &json!(0.006), &json!(0)));
    let audit = read(&router, "/api/audit?action=ledger.recompute").await;
    assert_eq!((&audit["rows"][0]["outcome"], &audit["rows"][0]["details"]["after"]["rows"]), (&json!("success"), &json!(1)), "{audit}");
    assert_eq!(router.post("/api/ledger/recompute", &json!({"al": true})).key(MASTER).send().await.status, 400);
    router.stop();

    // Somebody has changed a row.
    let store = router.store().await;
    let version = rows[0]["price_version"].as_str().unwrap().to_owned();
    let wrong = store::prices::Repriced { seq: 1, cost_nano: Some(1), version: &version };
    assert_eq!(store::prices::reprice(&store, &[wrong]).await.unwrap(), 1);
    store.close().await;
    let router = setup().set("prices", prices).in_home_of(&router).start();
    let found = read(&router, "/api/ledger/verify").await;
    assert_eq!((&found["different"], &found["rows"][0]["what"], &found["rows"][0]["computed"]), (&json!(1), &json!("cost"), &json!(0.003)));
}
