//! The HTTP surface of a node that stands alone.

use std::{fs, process::Stdio};

use base64::Engine;
use serde_json::{Value, json};
use testkit::Gguf;

use crate::node::{Node, program};

#[test]
fn a_chat_repeats_its_prompt_with_honest_numbers() {
    let node = Node::alone(&["tiny.Q4_0"]);
    let answer = node.chat("tiny", "one two three", json!({})).json();
    assert_eq!(answer["choices"][0]["message"], json!({"role": "assistant", "content": "one two three"}));
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        answer["usage"],
        json!({"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6, "prompt_tokens_details": {"cached_tokens": 0}})
    );
    assert_ne!(answer["id"], node.chat("TINY.q4_0", "one", json!({})).json()["id"]);
    let cut = node.chat("tiny", "one two three", json!({"max_completion_tokens": 2, "n": 2, "logprobs": true, "top_logprobs": 2})).json();
    assert_eq!((cut["choices"].as_array().unwrap().len(), &cut["choices"][1]["finish_reason"]), (2, &json!("length")));
    assert_eq!((&cut["usage"]["prompt_tokens"], &cut["usage"]["completion_tokens"]), (&json!(3), &json!(4)));
    let logprobs = cut["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!((logprobs.len(), logprobs[0]["top_logprobs"].as_array().unwrap().len(), &logprobs[1]["token"]), (2, 2, &json!(" two")));
}

#[test]
fn a_stream_comes_word_by_word_and_ends_with_its_numbers() {
    let node = Node::alone(&["tiny+delay=2"]);
    let answer = node.chat("tiny+delay=2", "one two three", json!({"stream": true, "stream_options": {"include_usage": true}}));
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let events = answer.events();
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    let chunks: Vec<Value> = events[..events.len() - 1].iter().map(|e| serde_json::from_str(e).unwrap()).collect();
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(answer.streamed(), "one two three");
    let last = &chunks[chunks.len() - 1];
    assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(6)));
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "stop");
    assert!(chunks.iter().all(|c| c["id"] == chunks[0]["id"] && c["object"] == "chat.completion.chunk"));
}

#[test]
fn stop_strings_are_no_part_of_the_answer_streamed_or_not() {
    let node = Node::alone(&["tiny"]);
    for stop in [json!(" three"), json!(["xyz", "o th"])] {
        let whole = node.chat("tiny", "one two three", json!({"stop": stop})).json();
        let streamed = node.chat("tiny", "one two three", json!({"stop": stop, "stream": true})).streamed();
        let wanted = if stop.is_string() { "one two" } else { "one tw" };
        assert_eq!((whole["choices"][0]["message"]["content"].as_str(), streamed.as_str()), (Some(wanted), wanted));
        assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    }
}

#[test]
fn completions_take_texts_and_tokens_and_show_them_if_asked() {
    let node = Node::alone(&["tiny"]);
    let call = |more: Value| {
        let mut body = json!({"model": "tiny", "max_tokens": 2});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        node.post("/v1/completions", &body).json()
    };
    let one = call(json!({"prompt": "a b c", "logprobs": 1}));
    assert_eq!(
        (&one["object"], &one["choices"][0]["text"], &one["choices"][0]["finish_reason"]),
        (&json!("text_completion"), &json!("a b"), &json!("length"))
    );
    assert_eq!(one["choices"][0]["logprobs"]["text_offset"], json!([0, 1]));
    let many = call(json!({"prompt": ["a b", "c d"], "n": 2, "echo": true}));
    let texts: Vec<_> = many["choices"].as_array().unwrap().iter().map(|c| c["text"].as_str().unwrap().to_owned()).collect();
    assert_eq!(texts, ["a ba b", "a ba b", "c dc d", "c dc d"]);
    assert_eq!(
        many["usage"],
        json!({"prompt_tokens": 4, "completion_tokens": 8, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 0}})
    );
    assert_eq!(call(json!({"prompt": [7, 8]}))["choices"][0]["text"], " #7 #8");
    let streamed = node.post("/v1/completions", &json!({"model": "tiny", "prompt": "x y", "stream": true}));
    let text: String = streamed
        .events()
        .iter()
        .filter_map(|e| Some(serde_json::from_str::<Value>(e).ok()?["choices"][0]["text"].as_str()?.to_owned()))
        .collect();
    assert_eq!((text.as_str(), streamed.events().last().map(String::as_str)), ("x y", Some("[DONE]")));
}

#[test]
fn embeddings_come_as_numbers_or_bytes_and_can_be_shortened() {
    let node = Node::start(&["tiny"], &[("LLM_NODE_STANDALONE", "true"), ("LLM_DEFAULT_EMBEDDING_MODEL", "tiny")], &[]);
    let made = node.post("/v1/embeddings", &json!({"input": ["the cat", "a dog", "the cat"]})).json();
    let vector =
        |made: &Value, n: usize| made["data"][n]["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>();
    assert_eq!(vector(&made, 0), vector(&made, 2));
    assert_ne!(vector(&made, 0), vector(&made, 1));
    assert_eq!((&made["data"][1]["index"], &made["usage"]["prompt_tokens"]), (&json!(1), &json!(6)));
    let short = node.post("/v1/embeddings", &json!({"model": "tiny", "input": "the cat", "dimensions": 8})).json();
    let length: f64 = vector(&short, 0).iter().map(|x| x * x).sum();
    assert!(vector(&short, 0).len() == 8 && (length - 1.0).abs() < 1e-3 || length == 0.0);
    let coded = node.post("/v1/embeddings", &json!({"model": "tiny", "input": [[1, 2]], "encoding_format": "base64"})).json();
    let bytes = base64::engine::general_purpose::STANDARD.decode(coded["data"][0]["embedding"].as_str().unwrap()).unwrap();
    assert_eq!(bytes.len(), 32 * 4);
}

#[test]
fn bad_requests_are_named() {
    let node = Node::alone(&["tiny"]);
    let hello = json!([{"role": "user", "content": "x"}]);
    for (body, status, code, param) in [
        (json!({"messages": hello}), 400, "invalid_request", json!("model")),
        (json!({"model": "tiny"}), 400, "invalid_request", json!("messages")),
        (json!({"model": "tiny", "messages": []}), 400, "invalid_request", json!("messages")),
        (json!({"model": "nope", "messages": hello}), 404, "model_not_found", json!("model")),
        (json!({"model": "tiny", "messages": hello, "temperature": "hot"}), 400, "invalid_request", json!("temperature")),
        (json!({"model": "tiny", "messages": hello, "temperature": 3}), 400, "invalid_request", json!("temperature")),
        (json!({"model": "tiny", "messages": hello, "n": 100}), 400, "invalid_request", json!("n")),
        (json!({"model": "tiny", "messages": hello, "max_tokens": 0}), 400, "invalid_request", json!("max_tokens")),
        (json!({"model": "tiny", "messages": hello, "top_logprobs": 2}), 400, "invalid_request", json!("top_logprobs")),
        (
            json!({"model": "tiny", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
            501,
            "unsupported",
            json!("messages[0].content[0]"),
        ),
        (
            json!({"model": "tiny", "messages": [{"role": "user", "content": "w ".repeat(5000)}]}),
            400,
            "context_length_exceeded",
            Value::Null,
        ),
    ] {
        let answer = node.post("/v1/chat/completions", &body);
        let error = &answer.json()["error"];
        assert_eq!((answer.status, &error["code"], &error["param"]), (status, &json!(code), &param), "{}", answer.text());
        assert_eq!(error["request_id"].as_str(), answer.header("x-request-id"));
    }
    for broken in [&b""[..], b"{not json", b"[]", b"{\"model\": \"tiny\""] {
        let answer = node.raw("POST", "/v1/chat/completions", &[], broken);
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &json!("invalid_request")));
    }
}

#[test]
fn a_body_that_is_too_large_is_refused_and_the_node_goes_on() {
    let node = Node::alone(&["tiny"]);
    let answer = node.raw("POST", "/v1/chat/completions", &[], &vec![b' '; 65 << 20]);
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (413, &json!("payload_too_large")));
    assert_eq!(node.said("tiny", "still here"), "still here");
}

#[test]
fn every_answer_has_an_id_and_unknown_paths_say_so() {
    let node = Node::alone(&[]);
    let answer = node.raw("GET", "/nope", &[("x-request-id", "my-id-1"), ("traceparent", "00-1-2-01")], b"");
    assert_eq!((answer.status, answer.header("x-request-id"), answer.header("traceparent")), (404, Some("my-id-1"), Some("00-1-2-01")));
    assert_eq!(answer.json()["error"]["code"], "not_found");
    assert_eq!(node.raw("DELETE", "/health", &[], b"").json()["error"]["code"], "method_not_allowed");
    let preflight = node.raw("OPTIONS", "/v1/chat/completions", &[("origin", "http://x")], b"");
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (204, Some("*")));
    assert_eq!(node.get("/internal-error").status, 404);
    assert!(node.get("/health").header("x-request-id").is_some_and(|id| id.len() == 36));
}

#[test]
fn models_are_listed_loaded_and_unloaded() {
    let node = Node::alone(&["Tiny.Q4_0", "other"]);
    fs::write(node.models_dir().join("broken.gguf"), [b"GGUF".as_slice(), &[7; 500]].concat()).unwrap();
    let list = node.get("/v1/models").json();
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!((ids, &list["ready_models"], &list["initializing"]), (vec!["other", "tiny"], &json!([0, 0]), &json!(false)));
    assert_eq!(node.post("/api/models/load", &json!({"name": "tiny"})).json()["status"], "loaded");
    assert_eq!(node.get("/v1/models/tiny").json()["state"], "ready");
    assert_eq!((node.workers().len(), &node.get("/v1/models").json()["ready_models"]), (1, &json!([1, 1])));
    assert_eq!(node.post("/api/models/unload", &json!({"model": "tiny"})).json()["status"], "unloaded");
    assert!(node.workers().is_empty(), "the process must be gone");
    assert_eq!(node.said("tiny", "again"), "again");
    for path in ["/api/models/load", "/api/models/unload"] {
        assert_eq!(node.post(path, &json!({"model": "nope"})).json()["error"]["code"], "model_not_found");
        assert_eq!(node.post(path, &json!({})).status, 400);
    }
    assert_eq!(node.get("/v1/models/nope").status, 404);
    let broken = crate::node::eventually("the broken file is known", || {
        Some(node.chat("broken", "x", json!({}))).filter(|answer| answer.status != 404)
    });
    assert_eq!(broken.status, 503);
    assert!(broken.text().contains("GGUF version"), "{}", broken.text());
    assert_eq!(node.said("other", "fine"), "fine");
}

#[test]
fn a_model_that_no_machine_has_the_memory_for_is_refused_with_both_figures() {
    let node = Node::alone(&["tiny"]);
    // The buffers of a model of this width are 128 TiB.
    let huge = Gguf::with_template("x").number("llama.embedding_length", u32::MAX).build();
    fs::write(node.models_dir().join("huge.gguf"), huge).unwrap();
    let answer = crate::node::eventually("the file is known", || {
        Some(node.post("/api/models/load", &json!({"model": "huge"}))).filter(|answer| answer.status != 404)
    });
    let error = &answer.json()["error"];
    assert_eq!((answer.status, &error["code"]), (507, &json!("insufficient_storage")));
    let said = error["message"].as_str().unwrap();
    assert!(said.contains("needs about 134217") && said.contains(" MiB are free"), "{said}");
    assert_eq!(node.said("tiny", "fits"), "fits");
}

#[test]
fn operators_see_metrics_and_the_log_and_set_its_level() {
    let node = Node::alone(&["tiny"]);
    node.said("tiny", "one two");
    let metrics = node.get("/metrics").json();
    for name in ["uptime_seconds", "gpu_devices", "gpu_memory_bytes", "gpu_capability"] {
        assert!(metrics[name].is_number(), "{name}");
    }
    let text = node.get("/metrics/prom").text();
    assert!(text.contains("\nllm_node_uptime_seconds ") && text.contains("\nllm_node_slots{model=\"tiny\"} 8\n"), "{text}");
    let slots = node.get("/slots?model=tiny").json();
    let slots = slots.as_array().expect("a list");
    assert!(slots.len() == 8 && slots.iter().all(|slot| slot["model"] == "tiny" && slot["is_processing"] == false), "{slots:?}");
    assert_eq!([node.get("/slots?fail_on_no_slot=1").status, node.get("/slots?model=nope").status], [200, 404]);
    let logs = crate::node::eventually("lines are written", || {
        Some(node.get("/api/logs?tail=2").json()).filter(|l| l["entries"].as_array().is_some_and(|e| !e.is_empty()))
    });
    assert!(logs["entries"].as_array().unwrap().len() <= 2 && logs["path"].as_str().unwrap().ends_with("node.log"));
    assert_eq!(node.get("/api/logs?tail=x").status, 400);
    assert_eq!(node.get("/log/level").json()["level"], "info");
    assert_eq!(node.post("/log/level", &json!({"level": "debug"})).json()["level"], "debug");
    assert_eq!(node.get("/log/level").json()["level"], "debug");
    assert_eq!([node.post("/log/level", &json!({})).status, node.post("/log/level", &json!({"level": "a=b=c"})).status], [400, 400]);
}

#[test]
fn text_of_a_prompt_is_in_no_log() {
    let node = Node::start(&["tiny"], &[("LLM_NODE_STANDALONE", "true"), ("LLM_NODE_LOG_LEVEL", "trace")], &[]);
    node.said("tiny", "sesame-open-7f3a");
    node.chat("nope", "sesame-open-7f3a", json!({}));
    crate::node::eventually("the load is logged", || node.get("/api/logs?tail=1000").text().contains("a model was loaded").then_some(()));
    assert!(!node.get("/api/logs?tail=1000").text().contains("sesame"));
}

#[test]
fn tools_are_offered_and_calls_are_found() {
    let node = Node::alone(&["tiny"]);
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let call = "see <tool_call>{\"name\":\"f\",\"arguments\":{\"a\":1}}</tool_call>";
    let answer = node.chat("tiny", call, json!({"tools": tools, "max_tokens": 2})).json();
    let message = &answer["choices"][0]["message"];
    assert_eq!(
        (&message["content"], &message["tool_calls"][0]["function"]),
        (&json!("see"), &json!({"name": "f", "arguments": "{\"a\":1}"}))
    );
    let without = node.chat("tiny", call, json!({"max_tokens": 2})).json();
    assert_eq!(without["choices"][0]["message"]["content"], call);
    let streamed = node.chat("tiny", call, json!({"tools": tools, "max_tokens": 2, "stream": true})).text();
    assert!(streamed.contains("\"name\":\"f\"") && !streamed.contains("tool_call>"), "{streamed}");
    assert_eq!(node.chat("tiny", "x", json!({"tools": tools, "tool_choice": {"function": {"name": "g"}}})).status, 400);
}

#[test]
fn the_command_line_says_what_it_does_and_what_it_does_not_know() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| program(&dir).args(args).stdin(Stdio::null()).output().unwrap();
    for (argument, is_good) in [("--help", true), ("--version", true), ("--bogus", false), ("bogus", false)] {
        let done = run(&[argument]);
        assert_eq!(done.status.success(), is_good, "{argument}");
        assert!(!(if is_good { done.stdout } else { done.stderr }).is_empty(), "{argument}");
    }
    fs::create_dir(dir.path().join("models")).unwrap();
    fs::write(dir.path().join("models/A.Q8_0.gguf"), Gguf::with_template("x").build()).unwrap();
    let listed = String::from_utf8(run(&["models", "list"]).stdout).unwrap();
    assert!(listed.starts_with("a\t"), "{listed}");
}
