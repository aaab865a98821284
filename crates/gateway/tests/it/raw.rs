//! The raw lane: what passes untouched, what is changed, and what never gets through.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use testkit::{FakeUpstream, Recorded, Reply, Script};

use crate::router::{KEY, Router, Setup, soon};

/// A body that no serializer would write so.
const ODD: &str = " {\n\t\"model\" : \"gpt-mock\" , \"messages\":[ {\"role\":\"user\",\"content\":\"\\u00e4 ü \\ud83d\\ude00\"} ],\
                    \"temperature\":1.50,\"seed\":12345678901234567890123, \"x_unknown\":{\"b\":1,\"a\":[ ]} , \"logit_bias\":{}}\n ";

fn mocked(reply: Reply) -> (FakeUpstream, Router) {
    let upstream = FakeUpstream::start(Script::always(reply));
    let router = Setup::new().upstream("mock", &upstream).start();
    (upstream, router)
}

/// Sends these bytes as a chat; what the upstream got.
async fn travelled(router: &Router, upstream: &FakeUpstream, body: &str) -> Recorded {
    let answer = router.ask(Method::POST, "/v1/chat/completions").body(body).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    soon("the upstream's request", upstream.request()).await
}

#[tokio::test]
async fn the_body_reaches_the_upstream_as_it_was() {
    let (upstream, router) = mocked(Reply::ok());
    let got = travelled(&router, &upstream, ODD).await;
    assert_eq!((got.method.as_str(), got.path()), ("POST", "/v1/chat/completions"));
    assert_eq!(String::from_utf8_lossy(&got.body), ODD);
}

#[tokio::test]
async fn a_stream_is_asked_for_its_usage_and_nothing_else_changes() {
    let (upstream, router) = mocked(Reply::ok());
    let streamed = ODD.replace(" , \"logit_bias\":{}}", ",\"stream\":true}");
    let got = travelled(&router, &upstream, &streamed).await;
    let wanted = streamed.replace("\"stream\":true}", "\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
    assert_eq!(String::from_utf8_lossy(&got.body), wanted);

    let (before, after) =
        ("{\"include_usage\":false, \"include_obfuscation\": false}", "{\"include_usage\":true,\"include_obfuscation\":false}");
    let with_options = ODD.replace("\"logit_bias\":{}", &format!("\"stream\" : true, \"stream_options\":{before}"));
    let got = travelled(&router, &upstream, &with_options).await;
    assert_eq!(String::from_utf8_lossy(&got.body), with_options.replace(before, after));

    let asked = ODD.replace("\"logit_bias\":{}", "\"stream\" : true, \"stream_options\": {\"include_usage\" : true}");
    let got = travelled(&router, &upstream, &asked).await;
    assert_eq!(String::from_utf8_lossy(&got.body), asked);
}

#[tokio::test]
async fn the_upstreams_own_name_of_the_model_is_all_that_changes() {
    let upstream = FakeUpstream::start(Script::default());
    let more = json!({"model_map": {"public \"name\"": "house/large"}});
    let router = Setup::new().account("mapped", &upstream.base_url(), &[], more).start();
    let body = ODD.replace("\"gpt-mock\"", "\"public \\\"name\\\"\"");
    let got = travelled(&router, &upstream, &body).await;
    assert_eq!(String::from_utf8_lossy(&got.body), ODD.replace("gpt-mock", "house/large"));
}

#[tokio::test]
async fn the_routers_own_controls_stay_here() {
    let (upstream, router) = mocked(Reply::ok());
    let body = r#"{"models":["other"],"timeout_ms":30000,"model":"gpt-mock","x":1.50,"provider":{"only":["mock"]},"metadata":{"a":"b"},"messages":[{"role":"user","content":"x"}]}"#;
    let got = travelled(&router, &upstream, body).await;
    let wanted = r#"{"model":"gpt-mock","x":1.50,"metadata":{"a":"b"},"messages":[{"role":"user","content":"x"}]}"#;
    assert_eq!(String::from_utf8_lossy(&got.body), wanted);
}

#[tokio::test]
async fn a_clients_headers_never_reach_the_upstream() {
    let upstream = FakeUpstream::start(Script::default());
    let more = json!({"headers": {"x-house": "ours"}, "organization": "org-1"});
    let router = Setup::new().account("mock", &upstream.base_url(), &["gpt-mock"], more).start();
    let mut ask = router.chat("gpt-mock", json!({})).header("x-request-id", "id-of-the-client");
    for name in ["x-api-key", "api-key", "x-goog-api-key", "cookie", "proxy-authorization", "x-litellm-api-key"] {
        ask = ask.header(name, KEY);
    }
    for name in ["openai-organization", "x-house", "user-agent", "x-forwarded-for", "forwarded", "x-anything", "accept-encoding", "te"] {
        ask = ask.header(name, "of-the-client");
    }
    assert_eq!(ask.send().await.status, 200);
    let got = soon("the upstream's request", upstream.request()).await;
    let mut names: Vec<&str> = got.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let known = ["accept", "authorization", "content-length", "content-type", "host", "openai-organization", "x-house", "x-request-id"];
    assert_eq!(names, known);
    assert_eq!(got.header("authorization"), Some("Bearer upstream-key-of-mock"));
    assert_eq!((got.header("x-house"), got.header("openai-organization")), (Some("ours"), Some("org-1")));
    assert_eq!(got.header("x-request-id"), Some("id-of-the-client"), "the id is what both sides can search for");
}

#[tokio::test]
async fn a_whole_answer_comes_back_untouched() {
    let said = "{ \"id\":\"x\",\n \"choices\":[{\"index\":0,\"message\":{\"content\":\"\\u00e4\"},\"finish_reason\":\"stop\"}], \"x_unknown\":1.50,\
                \"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7,\"x\":{}} } \n";
    let (_upstream, router) = mocked(Reply::whole("application/json; charset=utf-8", said).header("x-of-the-upstream", "1"));
    let answer = router.chat("gpt-mock", json!({})).header("x-request-id", "whole").send().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, said));
    assert_eq!(answer.header("content-type"), "application/json; charset=utf-8");
    assert!(!answer.headers.contains_key("x-of-the-upstream"));
    for (name, value) in [("model", "gpt-mock"), ("provider", "openai"), ("target", "mock"), ("attempts", "1"), ("route", "exact")] {
        assert_eq!(answer.header(&format!("x-llm-router-{name}")), value);
    }
    let row = router.record("whole").await;
    assert_eq!((row.prompt_tokens, row.completion_tokens, row.bytes_out), (Some(3), Some(4), said.len() as u64));

    let debugged = router.chat("gpt-mock", json!({})).header("x-router-debug", "1").send().await;
    assert!(debugged.text().starts_with(said.trim_end().strip_suffix('}').unwrap()), "{}", debugged.text());
    let router_says = &debugged.json()["router"];
    assert_eq!((&router_says["service"], &router_says["attempt"]), (&json!("mock"), &json!(1)));
    assert_eq!((&router_says["requested_model"], &router_says["backend_type"]), (&json!("gpt-mock"), &json!("openai")));
}

const USAGE: &str = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\n";

fn frames(usage: bool) -> String {
    let chunk = |delta: &str| {
        format!(
            "data: {{\"id\":\"c\", \"x\":1.50,\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}],\"usage\":null}}\n\n"
        )
    };
    let end = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let mut all = vec![": a comment\n\n".to_owned(), chunk("{\"role\":\"assistant\"}"), chunk("{\"content\":\"\\\"usage\\\":{ ä😀\"}")];
    all.extend([chunk("{\"content\":\"b\"}"), end.to_owned()]);
    if usage {
        all.push(USAGE.to_owned());
    }
    all.push("data: [DONE]\n\n".to_owned());
    all.concat()
}

#[tokio::test]
async fn a_stream_comes_back_untouched_however_it_is_cut() {
    let upstream = FakeUpstream::start(Script::default());
    let router = Setup::new().upstream("mock", &upstream).start();
    for crlf in [false, true] {
        let with = |usage: bool| if crlf { frames(usage).replace('\n', "\r\n") } else { frames(usage) };
        for bytes in [1, 2, 3, 7, 61, 4096] {
            upstream.set_script(Script::always(Reply::events([Bytes::from(with(true))]).split_every(bytes)));
            for asks in [false, true] {
                let id = format!("cut-{crlf}-{bytes}-{asks}");
                let more = json!({"stream": true, "stream_options": {"include_usage": asks}});
                let answer = router.chat("gpt-mock", more).header("x-request-id", &id).send().await;
                assert_eq!(answer.text(), with(asks), "cut every {bytes} bytes, CRLF {crlf}, usage asked for: {asks}");
                let row = router.record(&id).await;
                assert_eq!((&*row.outcome, row.prompt_tokens, row.completion_tokens), ("success", Some(3), Some(2)), "{id}");
            }
        }
    }
}

#[tokio::test]
async fn one_piece_with_every_frame_loses_only_its_usage() {
    let (_upstream, router) = mocked(Reply::events([frames(true)]));
    let answer = router.chat("gpt-mock", json!({"stream": true})).send().await;
    assert_eq!(answer.text(), frames(false));
    assert_eq!(answer.header("content-type"), "text/event-stream; charset=utf-8");
}

#[tokio::test]
async fn a_frame_of_many_megabytes_passes() {
    let picture = "A".repeat(3 << 20);
    let chunk = format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{picture}\"}},\"finish_reason\":null}}]}}\n\n");
    let said = format!("{chunk}{USAGE}data: [DONE]\n\n");
    let (_upstream, router) = mocked(Reply::events([said]).split_every(10_000));
    let answer = router.chat("gpt-mock", json!({"stream": true})).send().await;
    assert_eq!(answer.body.len(), chunk.len() + "data: [DONE]\n\n".len());
    assert!(answer.text() == format!("{chunk}data: [DONE]\n\n"));
}

#[tokio::test]
async fn completions_and_embeddings_travel_the_same_way() {
    let (upstream, router) = mocked(Reply::ok());
    let body = json!({"model": "gpt-mock", "prompt": "say", "x": 1});
    let answer = router.post("/completions", &body).send().await;
    assert_eq!(answer.json()["choices"][0]["text"], "Hello world");
    let got = soon("the upstream's request", upstream.request()).await;
    assert_eq!((got.path(), got.json()), ("/v1/completions", body));

    let body = json!({"model": "gpt-mock", "prompt": "say", "stream": true});
    let events = router.post("/v1/completions", &body).send().await.events();
    assert!(events.iter().all(|event| !event.contains("usage")), "{events:?}");
    let text: String =
        events.iter().filter_map(|e| serde_json::from_str::<Value>(e).ok()?["choices"][0]["text"].as_str().map(str::to_owned)).collect();
    assert_eq!((text.as_str(), events.last().map(String::as_str)), ("Hello world", Some("[DONE]")));
    soon("the upstream's request", upstream.request()).await;

    let body = json!({"model": "gpt-mock", "input": ["a", "b"], "dimensions": 4});
    let answer = router.post("/v1/embeddings", &body).send().await;
    assert_eq!(answer.json()["data"].as_array().map(Vec::len), Some(2));
    let got = soon("the upstream's request", upstream.request()).await;
    assert_eq!((got.path(), got.json()), ("/v1/embeddings", body));
}

#[tokio::test]
async fn an_upstream_that_does_not_stream_is_made_to() {
    let said = json!({"id": "x", "object": "chat.completion", "created": 1, "model": "gpt-mock", "choices": [{"index": 0, "message": {"role": "assistant", "content": "all at once"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}});
    let (_upstream, router) = mocked(Reply::json(&said));
    let answer = router.chat("gpt-mock", json!({"stream": true})).send().await;
    let mut events = answer.events();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"), "{}", answer.text());
    let chunks: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let text: String = chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "all at once");
    assert!(chunks.iter().all(|c| c["usage"].is_null()), "{}", answer.text());
}

#[tokio::test]
async fn what_the_upstream_refuses_comes_back_as_it_said_it() {
    for status in [400, 405, 413, 415, 422] {
        let said = "{ \"error\" : {\"message\":\"no\", \"x\":1.50} }\n";
        let (upstream, router) = mocked(Reply::whole("application/problem+json", said).status(status));
        let id = format!("refused-{status}");
        let answer = router.chat("gpt-mock", json!({"stream": true})).header("x-request-id", &id).send().await;
        assert_eq!((answer.status, answer.text().as_str()), (status, said));
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(upstream.requests().len(), 1, "a refusal of the request itself is not tried again");
        let row = router.record(&id).await;
        assert_eq!((row.status, &*row.outcome, row.error_code.as_deref()), (status, "error", Some("upstream_refused")));
    }
}

/// A dialect's own words, none of them as a serializer would write it. `MODEL` stands for the model's name.
struct Own {
    wire: &'static str,
    /// Of the account's address, and of the caller's path below it.
    base: &'static str,
    path: &'static str,
    streamed: &'static str,
    body: &'static str,
    whole: &'static str,
    stream: &'static str,
}

const OWN: [Own; 4] = [
    Own {
        wire: "chat",
        base: "/v1",
        path: "/chat/completions",
        streamed: "/chat/completions",
        body: " {\t\"model\" :\"MODEL\", STREAM \"messages\":[{\"role\":\"user\",\"content\":\"\\u00e4\"}], \"x\":1.50 }\n",
        whole: "{ \"id\":\"c\", \"x\":1.50,\"choices\":[{\"index\":0,\"message\":{\"content\":\"\\u00e4\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7} }\n",
        stream: ": hi\n\ndata: {\"id\":\"c\", \"x\":1.50,\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\u00e4\"},\"finish_reason\":\"stop\"}]}\r\n\r\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}\n\ndata: [DONE]\n\n",
    },
    Own {
        wire: "responses",
        base: "/v1",
        path: "/responses",
        streamed: "/responses",
        body: " {\t\"model\" :\"MODEL\", STREAM \"input\":\"\\u00e4\", \"store\":false, \"x\":1.50 }\n",
        whole: "{ \"id\":\"resp_1\", \"x\":1.50,\"object\":\"response\",\"status\":\"completed\",\"output\":[{\"type\":\"new_thing\"}],\"usage\":{\"input_tokens\":3,\"output_tokens\":4,\"total_tokens\":7} }\n",
        stream: ": hi\n\nevent: response.created\ndata: {\"type\":\"response.created\", \"x\":1.50,\"response\":{\"id\":\"resp_1\"}}\n\nevent: response.new_thing\r\ndata: {\"type\":\"response.new_thing\"}\r\n\r\nevent: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"status\":\"completed\",\"output\":[],\"usage\":{\"input_tokens\":3,\"output_tokens\":4,\"total_tokens\":7}}}\n\n",
    },
    Own {
        wire: "messages",
        base: "/v1",
        path: "/messages",
        streamed: "/messages",
        body: " {\t\"model\" :\"MODEL\", STREAM \"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"\\u00e4\"}], \"x\":1.50 }\n",
        whole: "{ \"id\":\"msg_1\", \"x\":1.50,\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":\"new_thing\"}],\"stop_reason\":\"end_turn\",\"usage\":{\"input_tokens\":3,\"output_tokens\":4} }\n",
        stream: "event: message_start\ndata: {\"type\":\"message_start\", \"x\":1.50,\"message\":{\"id\":\"msg_1\",\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\nevent: new_thing\r\ndata: {\"type\":\"new_thing\"}\r\n\r\nevent: ping\ndata: {\"type\": \"ping\"}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"\\u00e4\"}}\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":4}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    },
    Own {
        wire: "gemini",
        base: "/v1beta",
        path: "/models/MODEL:generateContent",
        streamed: "/models/MODEL:streamGenerateContent?alt=sse",
        body: " {\t\"contents\":[ {\"parts\":[{\"text\":\"\\u00e4\"}]} ], \"x\":1.50 }\n",
        whole: "{ \"candidates\":[{\"content\":{\"parts\":[{\"newThing\":1.50}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":3,\"candidatesTokenCount\":4} }\n",
        stream: "data: { \"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\\u00e4\"}]},\"x\":1.50}],\"usageMetadata\":{\"promptTokenCount\":3,\"candidatesTokenCount\":1}}\r\n\r\ndata: {\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":3,\"candidatesTokenCount\":4}}\r\n\r\n",
    },
];

#[tokio::test]
async fn every_dialect_passes_untouched_both_ways() {
    let upstreams = OWN.map(|own| (own, FakeUpstream::start(Script::default())));
    let mut setup = Setup::new();
    for (own, upstream) in &upstreams {
        let base = format!("{}{}", upstream.url(), own.base);
        let (public, theirs) = (format!("m-{}", own.wire), format!("their-{}", own.wire));
        let more = json!({"provider": "custom", "wire": own.wire, "model_map": {public: theirs}});
        setup = setup.account(own.wire, &base, &[], more);
    }
    let router = setup.start();
    for (own, upstream) in &upstreams {
        for (at, size) in [0, 1, 7, 4096].into_iter().enumerate() {
            let streams = size > 0;
            let (path, said) = if streams { (own.streamed, own.stream) } else { (own.path, own.whole) };
            let reply = if streams { Reply::events([said]).split_every(size) } else { Reply::whole("application/json", said) };
            upstream.set_script(Script::always(reply));
            let asked = if streams { "\"stream\" : true,\"stream_options\":{\"include_usage\":true}," } else { "" };
            let body = |model: &str| own.body.replace("MODEL", model).replace("STREAM", asked);
            let (public, theirs) = (format!("m-{}", own.wire), format!("their-{}", own.wire));
            let id = format!("{}-{at}", own.wire);
            let ask = router.ask(Method::POST, &format!("{}{}", own.base, path.replace("MODEL", &public))).body(body(&public));
            let answer = ask.header("content-type", "application/json").header("x-request-id", &id).send().await;
            assert_eq!((answer.status, answer.text()), (200, said.to_owned()), "{id}");
            assert_eq!(answer.header("x-llm-router-fidelity"), "exact", "{id}");
            let got = soon("the upstream's request", upstream.request()).await;
            assert_eq!(String::from_utf8_lossy(&got.body), body(&theirs), "{id}");
            assert!(path.replace("MODEL", &theirs).starts_with(got.path().strip_prefix(own.base).unwrap()), "{id}: {}", got.path());
            let row = router.record(&id).await;
            assert_eq!((&*row.outcome, row.prompt_tokens, row.completion_tokens), ("success", Some(3), Some(4)), "{id}");
        }
    }
}

/// What the last comment of a stream says, and what stands before it.
fn closed(text: &str) -> (&str, Value) {
    let (before, comment) = text.rsplit_once(": router ").expect("a comment");
    assert!(comment.ends_with("\n\n"), "{comment:?}");
    (before, serde_json::from_str(comment.trim_end()).expect("JSON"))
}

#[tokio::test]
async fn a_stream_says_what_it_came_to_where_that_is_asked_for() {
    let upstream = FakeUpstream::start(Script::always(Reply::events([frames(true)])));
    let prices = json!({"gpt-mock": {"input": 2, "output": 10}});
    let router = Setup::new().upstream("mock", &upstream).set("prices", prices).start();
    let ask = |path: &str| {
        let body =
            json!({"model": "gpt-mock", "stream": true, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "prompt": "hi"});
        router.post(path, &body).header("x-router-debug", "1").header("x-request-id", "told").send()
    };
    let answer = ask("/v1/chat/completions").await.text();
    let (before, said) = closed(&answer);
    assert_eq!(before, frames(false), "every frame is as it was");
    assert_eq!(said, json!({"request_id": "told", "cost_usd": 0.000_026, "prompt_tokens": 3, "completion_tokens": 2}));
    assert_eq!(router.record("told").await.cost_nano, Some(26_000));
    assert!(closed(&ask("/v1/messages").await.text()).0.ends_with("\"message_stop\"}\n\n"), "after the end of another dialect too");
    let gemini = router.post("/v1beta/models/gpt-mock:streamGenerateContent?alt=sse", &json!({"contents": [{"parts": [{"text": "hi"}]}]}));
    let gemini = gemini.header("x-router-debug", "1").send().await;
    assert!(gemini.status == 200 && !gemini.text().contains(": router"), "its readers fail at comments");
    let whole = frames(true);
    let broken = whole[..whole.find("\"finish_reason\":\"").expect("a reason")].to_owned();
    upstream.set_script(Script::always(Reply::events([broken])));
    assert!(!ask("/v1/chat/completions").await.text().contains(": router"), "what broke has its error as the last word");
}

#[tokio::test]
async fn every_stream_says_what_it_came_to_where_the_operator_wants_that() {
    let upstream = FakeUpstream::start(Script::always(Reply::events([frames(true)])));
    let router = Setup::new().upstream("mock", &upstream).set("stream", json!({"closing_comment": true})).start();
    let answer = router.chat("gpt-mock", json!({"stream": true})).send().await.text();
    let (before, said) = closed(&answer);
    assert_eq!((before, &said["cost_usd"]), (&*frames(false), &Value::Null), "no price is known");
}
