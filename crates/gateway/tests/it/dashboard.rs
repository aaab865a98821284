//! What the dashboard shows of requests: pages, filters, files, sums, and what a key may see of its own use.

use serde_json::{Value, json};
use testkit::{FakeUpstream, Reply, Script};

use crate::router::{MASTER, Router, Setup, eventually};

const RECORDS: &str = "/api/dashboard/request-responses";

async fn read(router: &Router, path: &str) -> Value {
    let answer = router.get(path).key(MASTER).send().await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

/// Waits until so many requests are recorded.
async fn recorded(router: &Router, count: u64) -> Vec<Value> {
    let look = || async {
        let page = read(router, &format!("{RECORDS}?limit=1000")).await;
        (page["total_count"] == count).then(|| page["records"].as_array().unwrap().clone())
    };
    eventually("the requests are recorded", look).await
}

#[tokio::test]
async fn records_are_filtered_paged_and_sent_as_files() {
    let upstream = FakeUpstream::start(Script::default());
    let broken = FakeUpstream::start(Script::always(Reply::error(500)));
    let setup = Setup::new().upstream("mock", &upstream).account("broken", &broken.base_url(), &["broken"], json!({}));
    let router = setup.set("retry", json!({"max_attempts": 1})).start();
    for n in 0..11 {
        let id = format!("good-{n}");
        assert_eq!(router.chat("gpt-mock", json!({})).header("x-request-id", &id).send().await.status, 200);
    }
    assert_eq!(router.chat("broken", json!({})).header("x-request-id", "=bad,\"one\"").send().await.status, 502);
    recorded(&router, 12).await;

    for (query, count, shown) in [
        ("", 12, 10),
        ("?per_page=25", 12, 12),
        ("?page=2", 12, 2),
        ("?per_page=7&page=3", 12, 0),
        ("?limit=3&offset=10", 12, 2),
        ("?model=GPT", 11, 10),
        ("?account=mock", 11, 10),
        ("?status=error", 1, 1),
        ("?http_status=502", 1, 1),
        ("?search=good-1", 2, 2),
        ("?key=nobody", 0, 0),
        ("?client_ip=127.0.0.1&end_time=2020-01-01T00:00:00Z", 0, 0),
        ("?start_time=2020-01-01T00:00:00Z&model=", 12, 10),
    ] {
        let page = read(&router, &format!("{RECORDS}{query}")).await;
        assert_eq!((page["total_count"].as_u64(), page["records"].as_array().map(Vec::len)), (Some(count), Some(shown)), "{query}");
    }
    for wrong in ["status=lukewarm", "start_time=yesterday", "start_time=2026-02-02T00:00:00Z&end_time=2026-01-01T00:00:00Z", "page=first"]
    {
        assert_eq!(router.get(&format!("{RECORDS}?{wrong}")).key(MASTER).send().await.status, 400, "{wrong}");
    }
    let one = read(&router, &format!("{RECORDS}/good-3")).await;
    assert_eq!((&one["status"]["type"], &one["http_status"], &one["target"]), (&json!("success"), &json!(200), &json!("mock")));
    assert_eq!(router.get(&format!("{RECORDS}/nobody")).key(MASTER).send().await.status, 404);

    let file = router.get(&format!("{RECORDS}/export?status=error")).key(MASTER).send().await;
    assert!(file.header("content-type").starts_with("text/csv") && file.header("content-disposition").contains("request_history.csv"));
    let text = file.text();
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert!(lines[0].starts_with("id,timestamp,request_type,model,") && lines.len() == 3 && lines[2].is_empty(), "{text}");
    assert!(lines[1].starts_with("\"'=bad,\"\"one\"\"\","), "a text of a client's is no formula: {text}");
    let file = router.get(&format!("{RECORDS}/export?format=json")).key(MASTER).send().await;
    assert_eq!(file.json().as_array().map(Vec::len), Some(12));
    assert_eq!(router.get(&format!("{RECORDS}/export?format=json&key=nobody")).key(MASTER).send().await.json(), json!([]));
    assert_eq!(router.get(&format!("{RECORDS}/export?format=xml")).key(MASTER).send().await.status, 400);

    let overview = read(&router, "/api/dashboard/overview").await;
    let sums = |name: &str| overview["history"].as_array().unwrap().iter().map(|point| point[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((overview["history"].as_array().map(Vec::len), sums("success"), sums("error")), (Some(60), 11, 1));
    let stats = &overview["stats"];
    assert_eq!((&stats["total_requests"], &stats["failed_requests"], &overview["nodes"]), (&json!(12), &json!(1), &json!([])));
}

#[tokio::test]
async fn a_file_of_many_records_has_each_once() {
    let mut router = Setup::new().start();
    router.stop();
    let store = router.store().await;
    let now_ms = store::now_ms();
    let row = |n: i64| store::requests::Row {
        id: format!("r{n}").into(),
        started_at_ms: now_ms - n / 7,
        outcome: "success".into(),
        ..Default::default()
    };
    store::requests::insert(&store, &(0..1234).map(row).collect::<Vec<_>>()).await.unwrap();
    store.close().await;
    let router = Setup::new().in_home_of(&router).start();
    let file = router.get(&format!("{RECORDS}/export?format=json")).key(MASTER).send().await.json();
    let ids: std::collections::BTreeSet<_> = file.as_array().unwrap().iter().map(|record| record["id"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), file.as_array().unwrap().len()), (1234, 1234));
}

#[tokio::test]
async fn use_is_summed_and_a_key_sees_its_own() {
    let upstream = FakeUpstream::start(Script::default());
    let price = json!([{"id": "gpt-mock", "price": {"input": 1.0, "output": 2.0}}]);
    let router = Setup::new().upstream("mock", &upstream).set("models", price).start();
    let (id, key) = router.new_key(json!({"scopes": ["inference"]})).await;
    assert_eq!(router.chat("gpt-mock", json!({})).key(&key).send().await.status, 200);
    assert_eq!(router.chat("dummy", json!({})).send().await.status, 200);
    recorded(&router, 2).await;

    let by_model = read(&router, "/api/usage?group_by=model").await;
    let groups: Vec<_> = by_model["rows"].as_array().unwrap().iter().map(|row| row["group"].as_str().unwrap()).collect();
    assert_eq!((groups, &by_model["totals"]["requests"]), (vec!["dummy", "gpt-mock"], &json!(2)));
    let of = |name: &str| by_model["rows"].as_array().unwrap().iter().find(|row| row["group"] == name).unwrap().clone();
    let tokens = |name: &str| of("gpt-mock")[name].as_f64().unwrap();
    let cost = (tokens("prompt_tokens") + 2.0 * tokens("completion_tokens")) / 1e6;
    assert!((of("gpt-mock")["cost_usd"].as_f64().unwrap() - cost).abs() < 1e-12 && cost > 0.0, "{by_model}");
    assert_eq!((&of("dummy")["cost_usd"], &of("dummy")["unpriced_requests"]), (&Value::Null, &json!(1)), "unknown stays unknown");

    let own = router.get("/api/usage?group_by=key").key(&key).send().await.json();
    let rows = own["rows"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["group"], &own["totals"]["requests"]), (1, &json!(id), &json!(1)));
    assert_eq!(router.get("/api/usage?group_by=colour").key(MASTER).send().await.status, 400);

    let used = || async {
        let keys = read(&router, "/api/api-keys").await;
        let found = keys["api_keys"].as_array().unwrap().iter().find(|k| k["id"] == *id)?.clone();
        found["last_used_at"].as_str().map(str::to_owned)
    };
    eventually("the key's last use is stored", used).await;
}
