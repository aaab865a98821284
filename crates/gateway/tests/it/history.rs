//! What is kept of requests and answers, who may see it, how it comes out and in again.

use serde_json::{Value, json};
use testkit::{FakeUpstream, Reply, Script};

use crate::router::{KEY, MASTER, Router, Setup, eventually, soon};

const RECORDS: &str = "/api/dashboard/request-responses";

async fn read(router: &Router, path: &str) -> Value {
    let answer = router.get(path).key(MASTER).send().await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

/// A record with its texts, right after its answer.
async fn detail(router: &Router, id: &str) -> Value {
    read(router, &format!("{RECORDS}/{id}")).await
}

#[tokio::test]
async fn both_bodies_are_kept_streams_whole_and_errors_as_they_were_told() {
    let upstream = FakeUpstream::start(Script::default());
    let refusing = FakeUpstream::start(Script::always(Reply::error(422)));
    let setup = Setup::new().upstream("mock", &upstream).account("refusing", &refusing.base_url(), &["refusing"], json!({}));
    let router = setup.set("retry", json!({"max_attempts": 1})).start();
    let asked = [
        ("whole", router.chat("gpt-mock", json!({})), 200),
        ("streamed", router.chat("gpt-mock", json!({"stream": true})), 200),
        ("dummy-streamed", router.chat("dummy", json!({"stream": true})), 200),
        ("completed", router.post("/v1/completions", &json!({"model": "dummy", "prompt": "x", "stream": true})), 200),
        (
            "messages",
            router.post(
                "/v1/messages",
                &json!({"model": "dummy", "max_tokens": 9, "stream": true, "messages": [{"role": "user", "content": "hi"}]}),
            ),
            200,
        ),
        ("unknown", router.chat("nobody", json!({})), 404),
        ("refused", router.chat("refusing", json!({})), 422),
    ];
    let mut told = Vec::new();
    for (id, ask, status) in asked {
        let answer = ask.header("x-request-id", id).send().await;
        assert_eq!(answer.status, status, "{id}: {}", answer.text());
        told.push((id, answer));
    }
    for (id, answer) in told {
        let kept = detail(&router, id).await;
        assert!(kept["request_body"]["model"].is_string(), "{id}: {kept}");
        assert_eq!((&kept["request_body_truncated"], &kept["feedback"]), (&json!(false), &json!([])), "{id}");
        let said = &kept["response_body"];
        match id {
            "whole" | "unknown" | "refused" => assert_eq!(*said, answer.json(), "{id}"),
            "streamed" => assert!(said["choices"][0]["message"]["content"].is_string(), "{said}"),
            "dummy-streamed" => assert_eq!(said["choices"][0]["message"]["content"], "Hello world", "{said}"),
            "completed" => assert_eq!(said["choices"][0]["text"], "Hello world", "{said}"),
            _ => assert_eq!(said["content"][0]["text"], "Hello world", "{said}"),
        }
    }
    let file = read(&router, &format!("{RECORDS}/export?format=json&search=hello+WORLD&model=dummy")).await;
    let ids: Vec<&str> = file.as_array().unwrap().iter().map(|record| record["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["messages", "completed", "dummy-streamed"], "what was said is searched, and in the file");
    assert_eq!(file[0]["response_body"]["content"][0]["text"], "Hello world");
}

#[tokio::test]
async fn how_much_is_kept_is_a_setting() {
    for (word, has_request, has_words) in [("full", true, true), ("redacted", true, false), ("none", false, false)] {
        let router = Setup::new().env("LLM_ROUTER_HISTORY_BODIES", word).start();
        let ask = router.chat("dummy", json!({"messages": [{"role": "user", "content": "my private words"}]}));
        assert_eq!(ask.header("x-request-id", "one").send().await.status, 200);
        let kept = detail(&router, "one").await;
        assert_eq!(
            (kept["request_body"]["model"] == "dummy", kept.to_string().contains("private")),
            (has_request, has_words),
            "{word}: {kept}"
        );
        assert_eq!(kept.to_string().contains("Hello world"), has_words, "{word}");
    }
}

#[tokio::test]
async fn long_bodies_are_cut_and_it_is_said() {
    let router = Setup::new().start();
    let long = "é ".repeat(600_000);
    let ask = router.chat("dummy", json!({"messages": [{"role": "user", "content": long}]}));
    assert_eq!(ask.header("x-request-id", "long").send().await.status, 200);
    // A megabyte may take longer to write down than a reader waits for it.
    let kept: Value = eventually("the record", async || {
        let answer = router.get(&format!("{RECORDS}/long")).key(MASTER).send().await;
        (answer.status == 200).then(|| answer.json())
    })
    .await;
    let text = kept["request_body"].as_str().unwrap();
    assert!(text.len() <= (1 << 20) + 3 && text.ends_with('…'), "{}", text.len());
    assert_eq!((&kept["request_body_truncated"], &kept["response_body_truncated"]), (&json!(true), &json!(false)));
}

#[tokio::test]
async fn no_credential_is_kept_with_full_bodies() {
    let echo =
        json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": format!("you said upstream-key-of-echo and {KEY}")}}]});
    let echoing = FakeUpstream::start(Script::always(Reply::json(&echo)));
    let lent = json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "you are the-callers-own-secret"}}]});
    let lent = FakeUpstream::start(Script::always(Reply::json(&lent)));
    let refusing =
        FakeUpstream::start(Script::always(Reply::json(&json!({"error": {"message": "not upstream-key-of-refusing"}})).status(422)));
    let setup = Setup::new()
        .account("echo", &echoing.base_url(), &["echo"], json!({}))
        .account("refusing", &refusing.base_url(), &["refusing"], json!({}))
        .account("lent", &lent.base_url(), &["lent"], json!({"auth_mode": "passthrough", "api_key": null}))
        .env("LLM_ROUTER_API_KEYS", &format!("{KEY},a-key-of-another-form"));
    let mut router = setup.start();
    let (_, made) = router.new_key(json!({})).await;
    let leak =
        |model: &str, secret: &str| router.chat(model, json!({"messages": [{"role": "user", "content": format!("my key is {secret}")}]}));
    for ask in [
        leak("echo", KEY),
        leak("echo", &made).key(&made),
        leak("echo", "a-key-of-another-form").key("a-key-of-another-form"),
        leak("lent", "nothing").key("the-callers-own-secret").header("x-litellm-api-key", KEY),
    ] {
        assert_eq!(ask.send().await.status, 200);
    }
    assert_eq!(leak("refusing", MASTER).send().await.status, 422);
    router.stop();
    let mut looked_at = String::new();
    for directory in [router.data_dir().clone(), router.data_dir().join("router.bodies")] {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap).filter(|e| e.file_type().unwrap().is_file()) {
            looked_at += &String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap());
        }
    }
    assert_eq!(looked_at.matches("my key is").count(), 5, "bodies are kept");
    for secret in
        ["upstream-key-of-echo", "upstream-key-of-refusing", "the-callers-own-secret", "a-key-of-another-form", KEY, MASTER, made.as_str()]
    {
        assert!(!looked_at.contains(secret), "{secret}");
    }
}

/// The `data:` of the first event of this kind and number.
fn event(text: &str, kind: &str, n: usize) -> Option<(String, Value)> {
    let frames = text.split("\n\n").filter(|frame| frame.contains(&format!("event: {kind}\n")));
    let frame = frames.into_iter().nth(n)?;
    let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    Some((field("id: ")?, serde_json::from_str(&field("data: ")?).ok()?))
}

#[tokio::test]
async fn new_records_come_as_they_are_written_and_after_the_last_one_seen() {
    let mut router = Setup::new().start();
    let ask = |id: &str| router.chat("dummy", json!({})).header("x-request-id", id).send();
    ask("before").await;
    detail(&router, "before").await;
    let mut tail = router.get(&format!("{RECORDS}/stream")).key(MASTER).open().await;
    assert_eq!((tail.status, tail.headers["content-type"].to_str().unwrap()), (200, "text/event-stream"));
    let mut other = router.get(&format!("{RECORDS}/stream?model=nothing-of-this-name")).key(MASTER).open().await;
    tail.until("retry").await;
    ask("first").await;
    let text = tail.until("\"first\"").await;
    ask("second").await;
    let text = text + &tail.until("\"second\"").await;
    let (seen, first) = event(&text, "request", 0).unwrap();
    assert_eq!((&first["id"], &first["model"]), (&json!("first"), &json!("dummy")), "what was there before is not told");
    assert_eq!(
        first,
        {
            let page = read(&router, &format!("{RECORDS}?search=first")).await;
            page["records"][0].clone()
        },
        "as in the list"
    );
    other.until("retry").await;
    assert!(!other.text().contains("event:"));

    let mut again = router.get(&format!("{RECORDS}/stream")).key(MASTER).header("last-event-id", &seen).open().await;
    let text = again.until("\"second\"").await;
    assert_eq!(event(&text, "request", 0).unwrap().1["id"], "second");
    let all = router.get(&format!("{RECORDS}/stream?after=0")).key(MASTER).open().await.until("\"second\"").await;
    assert_eq!(event(&all, "request", 0).unwrap().1["id"], "before");

    let rest = tokio::spawn(tail.rest());
    router.stop();
    soon("the tail ends with the router", rest).await.unwrap();
}

#[tokio::test]
async fn a_tail_that_is_far_behind_is_told_how_far() {
    let mut router = Setup::new().start();
    router.stop();
    let store = router.store().await;
    let row = |n: i64| store::requests::Row {
        id: format!("r{n}").into(),
        started_at_ms: store::now_ms(),
        outcome: "success".into(),
        ..Default::default()
    };
    store::requests::insert(&store, &(1..=2500).map(row).collect::<Vec<_>>()).await.unwrap();
    store.close().await;
    let router = Setup::new().in_home_of(&router).start();
    let mut tail = router.get(&format!("{RECORDS}/stream?after=100")).key(MASTER).open().await;
    let text = tail.until("\"r2500\"").await;
    assert_eq!(event(&text, "skipped", 0).unwrap().1, json!({"records": 400}));
    assert_eq!((event(&text, "request", 0).unwrap().0, text.matches("event: request").count()), ("501".to_owned(), 2000));
}

#[tokio::test]
async fn a_tail_ends_when_its_key_does() {
    let router = Setup::new().start();
    let (id, key) = router.new_key(json!({"scopes": ["read"]})).await;
    let mut tail = router.get(&format!("{RECORDS}/stream")).key(&key).open().await;
    tail.until("retry").await;
    assert_eq!(router.ask(http::Method::DELETE, &format!("/api/api-keys/{id}")).key(MASTER).send().await.status, 204);
    // The next record wakes it.
    router.chat("dummy", json!({})).send().await;
    let heard = soon("the tail ends", tail.rest()).await;
    assert!(!heard.contains("event: request"), "{heard}");
}

#[tokio::test]
async fn opinions_are_kept_with_the_request() {
    let router = Setup::new().start();
    let (own_id, own) = router.new_key(json!({"scopes": ["inference"]})).await;
    let (_, other) = router.new_key(json!({"scopes": ["inference"]})).await;
    assert_eq!(router.chat("dummy", json!({})).key(&own).header("x-request-id", "one").send().await.status, 200);
    let give = |key: &str, body: Value| router.post("/api/feedback", &body).key(key).send();
    let said = give(&own, json!({"request_id": "one", "label": "thumbs_down", "comment": "too short"})).await;
    assert_eq!((said.status, &said.json()["score"]), (200, &json!(0.0)), "{}", said.text());
    assert_eq!(give(&own, json!({"request_id": "one", "score": 0.25})).await.status, 200);
    assert_eq!(give(MASTER, json!({"request_id": "one", "preferred_model": "gpt-x"})).await.status, 200);
    assert_eq!(give(&other, json!({"request_id": "one", "score": 1})).await.status, 404, "another's request is not there");
    assert_eq!(give(&own, json!({"request_id": "none", "score": 1})).await.status, 404);
    for wrong in [
        json!({"request_id": "one"}),
        json!({"request_id": "one", "score": 2}),
        json!({"request_id": "one", "stars": 5}),
        json!({"score": 1}),
    ] {
        assert_eq!(give(&own, wrong.clone()).await.status, 400, "{wrong}");
    }
    let kept = detail(&router, "one").await;
    let opinions = kept["feedback"].as_array().unwrap();
    assert_eq!(opinions.len(), 2, "{kept}");
    assert_eq!(
        (&opinions[0]["score"], &opinions[0]["comment"], &opinions[0]["by"]),
        (&json!(0.25), &Value::Null, &json!(own_id)),
        "the second in place of the first"
    );
    assert_eq!(opinions[1]["preferred_model"], "gpt-x");
}

#[tokio::test]
async fn what_is_translated_is_kept_in_both_dialects_and_nothing_twice() {
    let usage = json!({"input_tokens": 9, "output_tokens": 2});
    let message = json!({"id": "m", "type": "message", "role": "assistant", "model": "claude-mock", "stop_reason": "end_turn", "stop_sequence": null,
        "content": [{"type": "text", "text": "Hello"}], "usage": usage});
    let frames = [
        json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "claude-stream", "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": usage}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 2}}),
        json!({"type": "message_stop"}),
    ];
    let pieces = frames.map(|frame| format!("event: {}\ndata: {frame}\n\n", frame["type"].as_str().unwrap()));
    let upstream = FakeUpstream::start(Script::default().on("/v1/messages", Reply::json(&message)));
    let streaming = FakeUpstream::start(Script::always(Reply::events(pieces)));
    let refusing = FakeUpstream::start(Script::always(Reply::error(422)));
    let claude = json!({"provider": "anthropic", "wire": "messages", "api_key": "sk-ant-secret-of-the-provider"});
    let setup = Setup::new()
        .account("claude", &upstream.base_url(), &["claude-mock"], claude.clone())
        .account("streaming", &streaming.base_url(), &["claude-stream"], claude.clone())
        .account("refusing", &refusing.base_url(), &["refusing"], claude.clone())
        .upstream("mock", &upstream);
    let router = setup.set("retry", json!({"max_attempts": 1})).start();
    let secret = "my key is sk-ant-secret-of-the-provider";
    for (id, model, stream) in
        [("whole", "claude-mock", false), ("streamed", "claude-stream", true), ("refused", "refusing", false), ("raw", "gpt-mock", true)]
    {
        let body = json!({"stream": stream, "max_tokens": 77, "messages": [{"role": "user", "content": secret}]});
        let answer = router.chat(model, body).header("x-request-id", id).send().await;
        assert_eq!(answer.status, if id == "refused" { 422 } else { 200 }, "{id}: {}", answer.text());
        let kept = detail(&router, id).await;
        let (asked, said) = (&kept["upstream_request_body"], &kept["upstream_response_body"]);
        assert!(!kept.to_string().contains("secret-of-the-provider"), "{id}: {kept}");
        match id {
            "raw" => assert!(asked.is_null() && said.is_null(), "{kept}"),
            "refused" => assert!(asked["max_tokens"] == 77 && said["error"].is_object(), "{kept}"),
            _ => {
                assert_eq!(
                    (&asked["max_tokens"], &said["type"], &said["role"]),
                    (&json!(77), &json!("message"), &json!("assistant")),
                    "{id}: {kept}"
                );
                assert_eq!(said["content"][0]["text"], kept["response_body"]["choices"][0]["message"]["content"], "{id}: {kept}");
            }
        }
    }
    let exported = router.get(&format!("{RECORDS}/export?format=json")).key(MASTER).send().await.text();
    assert_eq!(exported.matches("upstream_request_body").count(), 3, "{exported}");
    let shapes = Setup::new().account("claude", &upstream.base_url(), &["claude-mock"], claude);
    let router = shapes.set("history", json!({"bodies": "redacted"})).start();
    let answer = router.chat("claude-mock", json!({"max_tokens": 77})).header("x-request-id", "shape").send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let kept = detail(&router, "shape").await;
    assert!(kept["request_body"].is_object() && kept["upstream_request_body"].is_null(), "{kept}");
}

#[tokio::test]
async fn header_records_and_sums_tell_the_same_cost() {
    let (dear, cheap) = (FakeUpstream::start(Script::default()), FakeUpstream::start(Script::default()));
    let setup = Setup::new()
        .account("dear", &dear.base_url(), &["gpt-mock"], json!({"price": {"input": 100.0, "output": 200.0}, "weight": 1}))
        .account("cheap", &cheap.base_url(), &["other-mock"], json!({}));
    let prices =
        json!([{"id": "gpt-mock", "price": {"input": 1.0, "output": 2.0}}, {"id": "other-mock", "price": {"input": 3.0, "output": 4.0}}]);
    let router = setup.set("models", prices).start();
    let mut told = 0.0;
    for (model, id) in [("gpt-mock", "a"), ("gpt-mock", "b"), ("other-mock", "c")] {
        let answer = router.chat(model, json!({})).header("x-request-id", id).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let cost: f64 = answer.header("x-llm-router-cost").parse().unwrap();
        assert!(cost > 0.0);
        assert_eq!(detail(&router, id).await["cost_usd"].as_f64(), Some(cost), "{id}");
        let explained = read(&router, &format!("/api/requests/{id}/explain")).await;
        assert_eq!(explained["cost"]["total_usd"].as_f64(), Some(cost), "{id}");
        let lines: Vec<f64> = explained["cost"]["lines"].as_array().unwrap().iter().map(|line| line["usd"].as_f64().unwrap()).collect();
        assert!(lines.len() == 2 && (lines.iter().sum::<f64>() - cost).abs() < 1e-12, "{explained}");
        told += cost;
    }
    let usage = answer_of(&dear);
    assert_eq!(detail(&router, "a").await["cost_usd"].as_f64(), Some((usage.0 * 100.0 + usage.1 * 200.0) / 1e6), "the account's own price");
    for group in ["model", "account", "key", "day"] {
        let sums = read(&router, &format!("/api/usage?group_by={group}")).await;
        let rows: f64 = sums["rows"].as_array().unwrap().iter().map(|row| row["cost_usd"].as_f64().unwrap()).sum();
        let total = sums["totals"]["cost_usd"].as_f64().unwrap();
        assert!((total - told).abs() < 1e-12 && (rows - told).abs() < 1e-12, "{group}: {told} {sums}");
    }
}

/// Tokens that the scripted upstream tells.
fn answer_of(_: &FakeUpstream) -> (f64, f64) {
    (5.0, 2.0)
}

#[tokio::test]
async fn records_go_out_to_a_file_and_in_again() {
    let upstream = FakeUpstream::start(Script::default());
    let mut router = Setup::new().upstream("mock", &upstream).start();
    for (id, model) in [("one", "gpt-mock"), ("two", "dummy"), ("three", "nobody")] {
        router.chat(model, json!({})).header("x-request-id", id).send().await;
    }
    let before = [detail(&router, "one").await, detail(&router, "three").await];
    let file = router.home().join("request_history.json");
    let path = file.to_str().unwrap();
    let remark = String::from_utf8(router.run(&["history", "export", "--model", "none such"], &[]).stderr).unwrap();
    assert!(remark.contains("A router is running"), "{remark}");
    let said: Value = serde_json::from_str(&router.runs(&["history", "export", "--output", path, "--json"], &[])).unwrap();
    assert_eq!(said["records"], 3);
    assert!(!router.run(&["history", "export", "--output", path], &[]).status.success(), "a file that is there stays");
    let records: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for record in records.as_array().unwrap() {
        for member in [
            "id",
            "timestamp",
            "request_type",
            "model",
            "node_id",
            "node_machine_name",
            "node_ip",
            "request_body",
            "duration_ms",
            "status",
            "completed_at",
        ] {
            assert!(!record[member].is_null(), "{member}: {record}");
        }
    }
    let (address, key) = (router.url.clone(), [("LLM_ROUTER_URL", router.url.as_str()), ("LLM_ROUTER_API_KEY", MASTER)]);
    let over_api: Value = serde_json::from_str(&router.runs(&["history", "export"], &key)).unwrap();
    assert_eq!(over_api, records, "{address}");
    let csv = router.runs(&["history", "export", "--format", "csv", "--status", "error"], &[]);
    assert_eq!(csv.lines().count(), 2, "{csv}");
    assert!(!router.run(&["history", "purge", "--all"], &key).status.success(), "not over the API");
    let purged: Value = serde_json::from_str(&router.runs(&["history", "purge", "--all", "--json"], &[])).unwrap();
    assert_eq!(purged["removed"], 3);
    assert_eq!(router.get(&format!("{RECORDS}/one")).key(MASTER).send().await.status, 404, "the running router sees it");

    router.stop();
    let import = |expected: Value| {
        let said: Value = serde_json::from_str(&router.runs(&["history", "import", path, "--json"], &[])).unwrap();
        assert_eq!(said, expected);
    };
    import(json!({"imported": 3, "known": 0, "unreadable": 0, "expired": 0}));
    import(json!({"imported": 0, "known": 3, "unreadable": 0, "expired": 0}));
    let again = Setup::new().upstream("mock", &upstream).in_home_of(&router).start();
    for mut old in before {
        let new = detail(&again, old["id"].as_str().unwrap()).await;
        old["feedback"] = json!([]);
        assert_eq!(new, old);
    }
}

#[tokio::test]
async fn records_are_found_by_what_they_took_used_and_cost() {
    let mut router = Setup::new().start();
    router.stop();
    let store = router.store().await;
    let row = |n: i64, cache: Option<&'static str>| store::requests::Row {
        id: format!("r{n}").into(),
        started_at_ms: store::now_ms() - 1000 + n,
        duration_ms: n * 1000,
        first_byte_ms: Some(n * 100),
        outcome: "success".into(),
        status: 200,
        model_requested: Some("m".into()),
        prompt_tokens: Some(10 * n.unsigned_abs()),
        completion_tokens: Some(n.unsigned_abs()),
        cost_nano: (n > 1).then_some(n * 1_000_000),
        cache: cache.map(Into::into),
        ..Default::default()
    };
    store::requests::insert(&store, &[row(1, None), row(2, Some("hit")), row(3, Some("miss")), row(4, Some("replayed"))]).await.unwrap();
    store.close().await;
    let again = Setup::new().in_home_of(&router).start();
    let remote = [("LLM_ROUTER_URL", again.url.as_str()), ("LLM_ROUTER_API_KEY", MASTER)];
    for (query, flags, ids) in [
        ("duration_min_ms=2000&duration_max_ms=3000", "--duration-min-ms 2000 --duration-max-ms 3000", "r3 r2"),
        ("first_byte_max_ms=100", "--first-byte-max-ms 100", "r1"),
        ("tokens_min=33&tokens_max=44", "--tokens-min 33 --tokens-max 44", "r4 r3"),
        ("cost_min_usd=0.003", "--cost-min-usd 0.003", "r4 r3"),
        ("cost_max_usd=1", "--cost-max-usd 1", "r4 r3 r2"),
        ("cache=off", "--cache off", "r1"),
        ("cache=hit&status=success", "--cache hit --status success", "r2"),
        ("cache=miss&tokens_min=900", "--cache miss --tokens-min 900", ""),
    ] {
        let ids: Vec<&str> = ids.split_whitespace().collect();
        let of = |found: &Value| found.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        let page = read(&again, &format!("{RECORDS}?{query}")).await;
        assert_eq!(
            (of(&page["records"]), page["total_count"].as_u64()),
            (ids.iter().map(ToString::to_string).collect(), Some(ids.len() as u64))
        );
        assert_eq!(of(&read(&again, &format!("{RECORDS}/export?format=json&{query}")).await), ids, "{query}");
        for environment in [&[][..], &remote] {
            let told = |verb: &str, more: &[&str]| {
                let arguments: Vec<&str> = ["history", verb].into_iter().chain(flags.split(' ')).chain(more.iter().copied()).collect();
                again.runs(&arguments, environment)
            };
            let listed: Value = serde_json::from_str(&told("list", &["--json"])).unwrap();
            assert_eq!(of(&listed["records"]), ids, "{flags}");
            assert_eq!(told("list", &[]).lines().count(), ids.len() + 1, "{flags}");
            assert_eq!(told("export", &["--format", "csv"]).lines().count(), ids.len() + 1, "{flags}");
        }
    }
    for wrong in ["duration_min_ms=2&duration_max_ms=1", "cost_min_usd=-1", "cost_min_usd=much", "tokens_min=-4", "cache=warm"] {
        assert_eq!(again.get(&format!("{RECORDS}?{wrong}")).key(MASTER).send().await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn old_records_are_removed() {
    let mut router = Setup::new().start();
    router.stop();
    let store = router.store().await;
    let day_ms = 86_400_000;
    for day in 0..10 {
        let mut texts = store::bodies::Appender::new(&store);
        let row = |_| store::requests::Row {
            id: format!("day-{day}").into(),
            started_at_ms: store::now_ms() - day * day_ms,
            outcome: "success".into(),
            bodies: Some(texts.add(&store::bodies::Bodies::default()).unwrap()),
            ..Default::default()
        };
        let rows: Vec<_> = (0..30).map(row).collect();
        texts.flush().unwrap();
        store::requests::insert(&store, &rows).await.unwrap();
    }
    store.close().await;
    let files_of_texts = || std::fs::read_dir(router.data_dir().join("router.bodies")).unwrap().count();
    assert_eq!(files_of_texts(), 10);
    assert_eq!(router.runs(&["history", "purge", "--older-than", "8d12h"], &[]).trim(), "30 records were removed");
    assert_eq!(files_of_texts(), 9);
    let again = Setup::new().in_home_of(&router).start();
    eventually("what is older than seven days goes", || async { (read(&again, RECORDS).await["total_count"] == 210).then_some(()) }).await;
    eventually("its texts too", || async { (files_of_texts() == 7).then_some(()) }).await;
}

#[tokio::test]
async fn where_nothing_can_be_recorded_requests_are_refused_if_that_is_wanted() {
    let router = Setup::new().set("ledger", json!({"when_full": "refuse"})).start();
    let served = || async { router.chat("dummy", json!({})).send().await };
    // No file can be made in its place.
    let spill = router.data_dir().join("requests.spill");
    std::fs::create_dir(&spill).unwrap();
    let held = router.store().await;
    held.seize().await;
    assert_eq!(served().await.status, 200);
    let refused = eventually("requests are refused", || async { Some(served().await).filter(|answer| answer.status == 503) }).await;
    assert_eq!((refused.code().as_str(), refused.header("retry-after")), ("queue_full", "5"));
    held.release().await;
    held.close().await;
    eventually("requests are served", || async { (served().await.status == 200).then_some(()) }).await;
    std::fs::remove_dir(spill).unwrap();
}

#[tokio::test]
async fn a_normal_stop_loses_no_record_though_the_database_is_away() {
    let mut router = Setup::new().start();
    router.chat("dummy", json!({})).header("x-request-id", "before").send().await;
    detail(&router, "before").await;
    let held = router.store().await;
    held.seize().await;
    for n in 0..20 {
        assert_eq!(router.chat("dummy", json!({})).header("x-request-id", &format!("away-{n}")).send().await.status, 200);
    }
    let part = async |path: &str, parts: &str| router.get(path).send().await.json()[parts]["store"].clone();
    eventually("health tells it", || async { (part("/health", "details").await == "missing").then_some(()) }).await;
    assert_eq!(part("/_health/ready", "checks").await, "missing");
    router.stop();
    assert!(router.data_dir().join("requests.spill").exists(), "they wait in a file");
    held.release().await;
    held.close().await;
    let again = Setup::new().in_home_of(&router).start();
    eventually("all are stored", || async { (read(&again, RECORDS).await["total_count"] == 21).then_some(()) }).await;
    assert_eq!(detail(&again, "away-7").await["response_body"]["choices"][0]["message"]["content"], "Hello world");
    assert!(!again.data_dir().join("requests.spill").exists());
}
