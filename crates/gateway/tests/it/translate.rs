//! Callers of one dialect at upstreams of another: state that survives, losses that are said, counts that flowed.

use http::Method;
use serde_json::{Value, json};
use testkit::{FakeUpstream, Gate, Reply, Script};

use crate::router::{MASTER, Router, Setup, soon};

/// One account for each wire, all at the same upstream.
fn house(upstream: &FakeUpstream) -> Router {
    let account = |setup: Setup, name: &str, provider: &str, wire: &str, model: &str| {
        setup.account(name, &upstream.base_url(), &[model], json!({"provider": provider, "wire": wire}))
    };
    let setup = account(Setup::new(), "chats", "openai", "chat", "gpt-mock");
    let setup = account(setup, "answers", "openai", "responses", "responses-mock");
    let setup = account(setup, "talks", "anthropic", "messages", "claude-mock");
    let setup = account(setup, "more-talks", "anthropic", "messages", "claude-other");
    account(setup, "thinks", "google", "gemini", "gemini-mock").start()
}

/// What the upstream got last.
async fn got(upstream: &FakeUpstream) -> Value {
    let recorded = soon("the upstream's request", upstream.request()).await;
    serde_json::from_slice(&recorded.body).unwrap()
}

async fn asked(router: &Router, path: &str, body: &Value) -> Value {
    let answer = router.ask(Method::POST, path).json(body).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}}])
}

fn thinking_call() -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-mock", "stop_reason": "tool_use", "stop_sequence": null,
        "content": [
            {"type": "thinking", "thinking": "I should look.", "signature": "c2lnbmVk"},
            {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "sky"}},
        ],
        "usage": {"input_tokens": 9, "output_tokens": 7}})
}

fn said(text: &str) -> Value {
    json!({"id": "msg_2", "type": "message", "role": "assistant", "model": "claude-mock", "stop_reason": "end_turn", "stop_sequence": null,
        "content": [{"type": "text", "text": text}], "usage": {"input_tokens": 9, "output_tokens": 2}})
}

/// The turn as a client keeps it that knows chat and nothing else.
fn second_turn(model: &str, answer: &Value) -> Value {
    let call = &answer["choices"][0]["message"]["tool_calls"][0];
    let kept =
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": call["id"], "type": "function", "function": call["function"]}]});
    json!({"model": model, "tools": tools(), "messages": [
        {"role": "user", "content": "Look up."}, kept, {"role": "tool", "tool_call_id": call["id"], "content": "blue"}]})
}

#[tokio::test]
async fn a_client_that_knows_no_signatures_still_gives_them_back() {
    let upstream = FakeUpstream::start(Script::sequence([Reply::json(&thinking_call()), Reply::json(&said("Blue."))]));
    let router = house(&upstream);
    let first = json!({"model": "claude-mock", "tools": tools(), "messages": [{"role": "user", "content": "Look up."}]});
    let answer = asked(&router, "/v1/chat/completions", &first).await;
    got(&upstream).await;

    asked(&router, "/v1/chat/completions", &second_turn("claude-mock", &answer)).await;
    let history = got(&upstream).await;
    assert_eq!(history["messages"][1]["content"], thinking_call()["content"], "as it was, in its order: {history}");

    asked(&router, "/v1/chat/completions", &second_turn("claude-other", &answer)).await;
    let elsewhere = got(&upstream).await;
    assert_eq!(elsewhere["messages"][1]["content"], json!([thinking_call()["content"][1]]), "another model gets nothing of it");
}

#[tokio::test]
async fn the_same_holds_for_streams() {
    let frames = [
        r#"{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"claude-mock","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"I should look."}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2lnbmVk"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"look","input":{}}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"at\": \"sky\"}"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":7}}"#,
        r#"{"type":"message_stop"}"#,
    ];
    let pieces = frames.map(|data| {
        let kind = serde_json::from_str::<Value>(data).unwrap()["type"].as_str().unwrap().to_owned();
        format!("event: {kind}\ndata: {data}\n\n")
    });
    let upstream = FakeUpstream::start(Script::sequence([Reply::events(pieces), Reply::json(&said("Blue."))]));
    let router = house(&upstream);
    let first = json!({"model": "claude-mock", "stream": true, "tools": tools(), "messages": [{"role": "user", "content": "Look up."}]});
    let streamed = router.ask(Method::POST, "/v1/chat/completions").json(&first).header("x-request-id", "thoughts").send().await.text();
    got(&upstream).await;
    assert!(streamed.contains("\"toolu_1\"") && streamed.ends_with("data: [DONE]\n\n"), "{streamed}");
    let row = router.record("thoughts").await;
    assert_eq!((row.prompt_tokens, row.completion_tokens, &*row.outcome), (Some(9), Some(7), "success"));

    let call = json!({"id": "toolu_1", "function": {"name": "look", "arguments": "{\"at\":\"sky\"}"}});
    let answer = json!({"choices": [{"message": {"tool_calls": [call]}}]});
    asked(&router, "/v1/chat/completions", &second_turn("claude-mock", &answer)).await;
    assert_eq!(got(&upstream).await["messages"][1]["content"], thinking_call()["content"]);
}

#[tokio::test]
async fn state_in_a_clients_luggage_goes_home_and_nowhere_else() {
    let thought = json!({"responseId": "r", "modelVersion": "gemini-mock",
        "candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [
            {"text": "Hm.", "thought": true, "thoughtSignature": "Z2VtaW5p"}, {"text": "Blue."}]}}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "thoughtsTokenCount": 1, "totalTokenCount": 6}});
    let upstream = FakeUpstream::start(Script::sequence([Reply::json(&thought), Reply::json(&thought), Reply::json(&said("Yes."))]));
    let router = house(&upstream);
    let turn = |model: &str, messages: Value| json!({"model": model, "max_tokens": 64, "messages": messages});
    let first = asked(&router, "/v1/messages", &turn("gemini-mock", json!([{"role": "user", "content": "Which?"}]))).await;
    got(&upstream).await;
    assert_eq!(first["content"][0]["thinking"], "Hm.");
    let signature = first["content"][0]["signature"].as_str().unwrap();
    assert!(!signature.is_empty() && !signature.contains("Z2VtaW5p"), "sealed: {signature}");

    let history = json!([{"role": "user", "content": "Which?"}, {"role": "assistant", "content": first["content"]}, {"role": "user", "content": "Sure?"}]);
    asked(&router, "/v1/messages", &turn("gemini-mock", history.clone())).await;
    let home = got(&upstream).await;
    assert_eq!(home["contents"][1]["parts"], thought["candidates"][0]["content"]["parts"], "{home}");

    let answer = router.ask(Method::POST, "/v1/messages").json(&turn("claude-mock", history)).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let abroad = got(&upstream).await;
    assert_eq!(abroad["messages"][1]["content"], "Blue.", "dropped whole: {abroad}");
    assert_eq!(answer.header("x-llm-router-fidelity"), "lossy; dropped=messages[1].blocks[0]");
}

#[tokio::test]
async fn a_turn_of_calls_that_lost_its_thoughts_goes_on_without_thinking() {
    let item = json!({"id": "resp_1", "object": "response", "created_at": 5, "status": "completed", "model": "responses-mock", "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}], "encrypted_content": "a2VwdA"},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look", "arguments": "{}", "status": "completed"}],
        "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}});
    let upstream = FakeUpstream::start(Script::sequence([Reply::json(&item), Reply::json(&item), Reply::json(&said("Yes."))]));
    let router = house(&upstream);
    let turn = |model: &str, messages: &Value| {
        json!({"model": model, "max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 2000}, "messages": messages,
            "tools": [{"name": "look", "input_schema": {"type": "object"}}]})
    };
    let first = asked(&router, "/v1/messages", &turn("responses-mock", &json!([{"role": "user", "content": "Look."}]))).await;
    got(&upstream).await;
    let signature = first["content"][0]["signature"].as_str().unwrap();
    assert!(!signature.is_empty() && !signature.contains("a2VwdA"), "sealed: {first}");

    let result = json!([{"type": "tool_result", "tool_use_id": first["content"][1]["id"], "content": "blue"}]);
    let history = json!([{"role": "user", "content": "Look."}, {"role": "assistant", "content": first["content"]}, {"role": "user", "content": result}]);
    asked(&router, "/v1/messages", &turn("responses-mock", &history)).await;
    let home = got(&upstream).await;
    assert_eq!(home["input"][1]["encrypted_content"], "a2VwdA", "{home}");

    let answer = router.ask(Method::POST, "/v1/messages").json(&turn("claude-mock", &history)).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let abroad = got(&upstream).await;
    assert_eq!((&abroad["messages"][1]["content"][0]["type"], &abroad["thinking"]), (&json!("tool_use"), &Value::Null), "{abroad}");
    assert_eq!(answer.header("x-llm-router-fidelity"), "lossy; dropped=messages[1].blocks[0],reasoning");
}

#[tokio::test]
async fn a_long_name_of_a_function_is_shortened_and_comes_back() {
    let name = format!("mcp__{}", "forecast_".repeat(12));
    let ask = async |called: &str| {
        let call = json!({"id": "call_1", "type": "function", "function": {"name": called, "arguments": "{}"}});
        let upstream = FakeUpstream::start(Script::always(Reply::json(
            &json!({"id": "c", "object": "chat.completion", "created": 5, "model": "gpt-mock",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": null, "tool_calls": [call]}, "finish_reason": "tool_calls"}]}),
        )));
        let body = json!({"model": "gpt-mock", "max_tokens": 64, "messages": [{"role": "user", "content": "Look."}],
            "tools": [{"name": name, "input_schema": {"type": "object"}}], "tool_choice": {"type": "tool", "name": name}});
        let answer = house(&upstream).ask(Method::POST, "/v1/messages").json(&body).send().await;
        assert_eq!(answer.header("x-llm-router-fidelity"), "exact");
        (got(&upstream).await, answer.json())
    };
    let (sent, _) = ask("other").await;
    let short = sent["tools"][0]["function"]["name"].as_str().unwrap();
    assert!(short.len() == 64 && short.starts_with("mcp__forecast_"), "{sent}");
    assert_eq!(sent["tool_choice"]["function"]["name"], short);
    let (_, answer) = ask(short).await;
    assert_eq!(answer["content"][0]["name"], name.as_str());
}

#[tokio::test]
async fn what_is_lost_is_said_recorded_and_refused_where_asked() {
    let upstream = FakeUpstream::start(Script::always(Reply::json(&said("Hi."))));
    let router = house(&upstream);
    let lossy = json!({"model": "claude-mock", "seed": 7, "messages": [{"role": "user", "content": "Hi"}]});
    let answer = router.ask(Method::POST, "/v1/chat/completions").json(&lossy).header("x-request-id", "lossy").send().await;
    assert_eq!((answer.status, answer.header("x-llm-router-fidelity")), (200, "lossy; dropped=seed"));
    let decision: Value = serde_json::from_str(&router.record("lossy").await.decision.unwrap()).unwrap();
    assert_eq!(decision["losses"], json!({"dropped": ["seed"], "changed": []}));
    soon("the upstream's request", upstream.request()).await;

    let refused = router.ask(Method::POST, "/v1/chat/completions").json(&lossy).header("x-llm-router-strict", "true").send().await;
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (400, Some("lossy_translation")));
    assert!(refused.text().contains("seed"), "{}", refused.text());

    let exact = json!({"model": "claude-mock", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
    let answer = router.ask(Method::POST, "/v1/chat/completions").json(&exact).header("x-llm-router-strict", "true").send().await;
    assert_eq!((answer.status, answer.header("x-llm-router-fidelity")), (200, "exact"), "{}", answer.text());
}

#[tokio::test]
async fn a_client_that_leaves_pays_for_what_had_flowed() {
    let chunk = |text: &str| {
        format!("data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n")
    };
    let pieces: Vec<String> = ["one", " two", " three", " four"].into_iter().map(chunk).collect();
    let three: usize = pieces[..3].iter().map(String::len).sum();
    let upstream = FakeUpstream::start(Script::always(Reply::events(pieces).stall_after(three)));
    let router = house(&upstream);
    let body = json!({"stream": true, "max_tokens": 99, "messages": [{"role": "user", "content": "Count, please."}]});
    for (path, id) in [("/v1/chat/completions", "raw"), ("/v1/messages", "translated")] {
        let mut body = body.clone();
        body["model"] = "gpt-mock".into();
        let sent = body.to_string().len() as u64;
        let mut stream = router.ask(Method::POST, path).json(&body).header("x-request-id", id).open().await;
        stream.until("three").await;
        drop(stream);
        soon("the upstream is left", upstream.hangup()).await;
        let row = router.record(id).await;
        assert_eq!((&*row.outcome, row.completion_tokens, row.prompt_tokens), ("cancelled", Some(3), Some(sent.div_ceil(4))), "{id}");
        assert!(row.decision.unwrap().contains("\"usage_is_estimated\":true"), "{id}");
    }
}

#[tokio::test]
async fn any_other_path_goes_to_the_models_account() {
    let script = Script::default().on("/v1/some/new-thing", Reply::json(&json!({"fine": [1.0, null]})));
    let upstream = FakeUpstream::start(script.on("/v1/spoken", Reply::whole("audio/mpeg", &b"\xff\xfbsound"[..])));
    let router = house(&upstream);
    let body = "{ \"model\": \"gpt-mock\",\"z\":1.50 }";
    let answer = router.ask(Method::POST, "/v1/some/new-thing?mode=a&key=secret").body(body).send().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "{\"fine\":[1.0,null]}"));
    let recorded = soon("the upstream's request", upstream.request()).await;
    assert_eq!((recorded.target.as_str(), &recorded.body[..]), ("/v1/some/new-thing?mode=a", body.as_bytes()));
    assert_eq!(recorded.header("authorization"), Some("Bearer upstream-key-of-chats"));

    let spoken = router.ask(Method::POST, "/v1/spoken").body(body).send().await;
    assert_eq!((spoken.header("content-type"), &spoken.body[..]), ("audio/mpeg", &b"\xff\xfbsound"[..]));
    soon("the upstream's request", upstream.request()).await;

    for path in ["/v1/models/x", "/v1/router/policy", "/v1/mcp/tools", "/v1/skills"] {
        let answer = router.ask(Method::POST, path).body(body).send().await;
        assert!(matches!(answer.status, 404 | 405), "{path} is the router's own: {}", answer.status);
    }
    for path in ["/v1/a/../b", "/v1/a//b", "/v1/%2e%2e/b", "/v1/a%2fb", "/v1/..%5cb"] {
        let answer = router.ask(Method::POST, path).body(body).send().await;
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
    }
    assert_eq!(router.ask(Method::POST, "/v1/some/new-thing").nobody().body(body).send().await.status, 401);
}

#[tokio::test]
async fn a_familys_own_headers_stay_in_the_family() {
    let upstream = FakeUpstream::start(Script::default());
    let router = house(&upstream);
    for (model, own) in [("gpt-mock", "openai-project"), ("claude-mock", "anthropic-beta")] {
        let mut ask = router.ask(Method::POST, "/v1/messages");
        for name in ["openai-project", "anthropic-beta", "traceparent", "idempotency-key", "cookie"] {
            ask = ask.header(name, "of-the-client");
        }
        ask.json(&json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]})).send().await;
        let recorded = soon("the upstream's request", upstream.request()).await;
        for name in ["openai-project", "anthropic-beta", "traceparent", "idempotency-key", "cookie"] {
            let travels = name == own || name == "traceparent" || name == "idempotency-key";
            assert_eq!(recorded.header(name).is_some(), travels, "{name} to {model}");
        }
    }
}

#[tokio::test]
async fn an_account_is_asked_once_whether_it_speaks_the_callers_dialect() {
    let missing = Reply::json(&json!({"detail": "Not Found"})).status(404);
    let upstream = FakeUpstream::start(Script::default().on("/v1/messages", missing));
    let router = Setup::new().account("server", &upstream.base_url(), &["gpt-mock"], json!({"provider": "vllm"})).start();
    let body = json!({"model": "gpt-mock", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
    for paths in [&["/v1/messages", "/v1/chat/completions"][..], &["/v1/chat/completions"]] {
        assert_eq!(asked(&router, "/v1/messages", &body).await["content"][0]["text"], "Hello world");
        for path in paths {
            assert_eq!(soon("the upstream's request", upstream.request()).await.path(), *path);
        }
    }
}

#[tokio::test]
async fn a_count_that_nobody_made_says_so() {
    let upstream = FakeUpstream::start(Script::always(Reply::json(&json!({"input_tokens": 77}))));
    let router = house(&upstream);
    for (model, fidelity) in [("claude-mock", "exact"), ("gpt-mock", "lossy; changed=input_tokens")] {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "How many?"}]});
        let answer = router.ask(Method::POST, "/v1/messages/count_tokens").json(&body).send().await;
        assert_eq!((answer.status, answer.header("x-llm-router-fidelity")), (200, fidelity), "{}", answer.text());
        assert!(answer.json()["input_tokens"].as_u64().is_some_and(|n| n > 0));
    }
}

#[tokio::test]
async fn tokens_are_counted_in_any_dialect_by_who_can() {
    let upstream = FakeUpstream::start(Script::always(Reply::json(&json!({"input_tokens": 77, "totalTokens": 78}))));
    let router = house(&upstream);
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "How many?"}]}]});
    assert_eq!(asked(&router, "/v1beta/models/claude-mock:countTokens", &body).await["totalTokens"], 77);
    let recorded = soon("the upstream's request", upstream.request()).await;
    let sent: Value = serde_json::from_slice(&recorded.body).unwrap();
    let messages = json!([{"role": "user", "content": "How many?"}]);
    assert_eq!((recorded.path(), sent), ("/v1/messages/count_tokens", json!({"model": "claude-mock", "messages": messages})));

    let body = json!({"model": "gemini-mock", "system": "Be short.", "messages": messages});
    assert_eq!(asked(&router, "/v1/messages/count_tokens", &body).await["input_tokens"], 78);
    let recorded = soon("the upstream's request", upstream.request()).await;
    let sent: Value = serde_json::from_slice(&recorded.body).unwrap();
    assert!(recorded.path().ends_with("/models/gemini-mock:countTokens"), "{}", recorded.path());
    let counted = &sent["generateContentRequest"];
    assert_eq!((&counted["model"], &counted["systemInstruction"]["parts"][0]["text"]), (&json!("models/gemini-mock"), &json!("Be short.")));
}

#[tokio::test]
async fn where_a_count_says_no_number_one_is_guessed() {
    let upstream = FakeUpstream::start(Script::always(Reply::json(&said("Hi."))));
    let router = house(&upstream);
    let body = json!({"model": "gemini-mock", "messages": [{"role": "user", "content": "How many?"}]});
    let answer = router.ask(Method::POST, "/v1/messages/count_tokens").json(&body).send().await;
    assert_eq!((answer.status, answer.header("x-llm-router-fidelity")), (200, "lossy; changed=input_tokens"), "{}", answer.text());
}

#[tokio::test]
async fn an_answer_of_responses_repeats_what_was_asked() {
    let upstream = FakeUpstream::start(Script::always(Reply::json(&said("Hi."))));
    let router = house(&upstream);
    let asks = json!({"instructions": "Be short.", "metadata": {"a": "b"}, "parallel_tool_calls": false, "max_output_tokens": 99,
        "temperature": 0.5, "text": {"format": {"type": "json_object"}}});
    let mut body =
        json!({"model": "claude-mock", "input": "Hi", "store": true, "tools": [{"type": "function", "name": "look", "parameters": {}}]});
    body.as_object_mut().unwrap().extend(asks.as_object().unwrap().clone());
    let answer = asked(&router, "/v1/responses", &body).await;
    body["stream"] = true.into();
    let streamed = router.post("/v1/responses", &body).send().await.text();
    let last = streamed.lines().rfind(|line| line.contains("response.completed") && line.starts_with("data: ")).unwrap();
    let last: Value = serde_json::from_str(&last["data: ".len()..]).unwrap();
    for told in [&answer, &last["response"]] {
        for (name, value) in asks.as_object().unwrap() {
            assert_eq!(&told[name], value, "{name}: {told}");
        }
        assert_eq!((&told["tools"][0]["name"], &told["store"]), (&json!("look"), &json!(false)), "nothing is stored");
    }
}

#[tokio::test]
async fn anthropics_clients_find_the_requests_id() {
    let upstream = FakeUpstream::start(Script::always(Reply::json(&said("Hi."))));
    let router = house(&upstream);
    let body = json!({"model": "claude-mock", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
    for (body, status) in [(body, 200), (json!({"model": "claude-mock"}), 400)] {
        let answer = router.ask(Method::POST, "/v1/messages").json(&body).send().await;
        assert_eq!((answer.status, answer.header("request-id")), (status, answer.header("x-request-id")));
        assert!(!answer.header("request-id").is_empty());
    }
}

#[tokio::test]
async fn text_completions_reach_other_wires() {
    let upstream = FakeUpstream::start(Script::always(Reply::json(&said("there."))));
    let router = house(&upstream);
    let body = json!({"model": "claude-mock", "prompt": "Say hello", "max_tokens": 5, "stop": ["\n"], "echo": false});
    let answer = asked(&router, "/v1/completions", &body).await;
    assert_eq!((&answer["object"], &answer["choices"][0]["text"]), (&json!("text_completion"), &json!("there.")), "{answer}");
    assert_eq!(answer["usage"]["total_tokens"], 11);
    let sent = got(&upstream).await;
    assert_eq!((&sent["max_tokens"], &sent["stop_sequences"]), (&json!(5), &json!(["\n"])), "{sent}");
    assert_eq!(sent["messages"][0]["role"], "user");

    let streamed = router.post("/v1/completions", &json!({"model": "claude-mock", "prompt": "Say hello", "stream": true})).send().await;
    assert!(streamed.text().contains("there.") && streamed.text().ends_with("data: [DONE]\n\n"), "{}", streamed.text());
}

#[tokio::test]
async fn what_only_one_server_knows_is_not_sent_to_another() {
    let upstream = FakeUpstream::start(Script::always(Reply::json(&said("Hi."))));
    let router = house(&upstream);
    for (member, value) in [("previous_response_id", json!("resp_1")), ("conversation", json!("conv_1")), ("background", json!(true))] {
        let mut body = json!({"model": "claude-mock", "input": "Hi"});
        body[member] = value;
        let answer = router.post("/v1/responses", &body).send().await;
        assert_eq!((answer.status, answer.json()["error"]["param"].as_str()), (400, Some(member)), "{}", answer.text());
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn an_answer_may_be_as_long_as_the_operator_says_the_model_writes() {
    let upstream = FakeUpstream::start(Script::always(Reply::json(&said("Hi."))));
    let account = json!({"provider": "anthropic", "wire": "messages"});
    let setup = Setup::new().account("talks", &upstream.base_url(), &["claude-mock"], account);
    let router = setup.set("models", json!([{"id": "claude-mock", "max_output": 12345}])).start();
    let body = json!({"model": "claude-mock", "messages": [{"role": "user", "content": "Hi"}]});
    asked(&router, "/v1/chat/completions", &body).await;
    assert_eq!(got(&upstream).await["max_tokens"], 12345);
}

#[tokio::test]
async fn a_model_that_thinks_with_tools_on_responses_only_is_asked_there() {
    let upstream = FakeUpstream::start(Script::default());
    let account = json!({"provider": "openai-compatible"});
    let setup = Setup::new().account("both", &upstream.base_url(), &["gpt-mock"], account);
    let flag = json!([{"id": "gpt-mock", "capabilities": ["thinking_tools_on_responses"]}]);
    let router = setup.set("models", flag).start();
    for (more, path) in [
        (json!({"tools": tools(), "reasoning_effort": "high"}), "/v1/responses"),
        (json!({"tools": tools(), "reasoning_effort": "none"}), "/v1/chat/completions"),
        (json!({"tools": tools()}), "/v1/chat/completions"),
        (json!({"reasoning_effort": "high"}), "/v1/chat/completions"),
    ] {
        router.chat("gpt-mock", more.clone()).send().await;
        assert_eq!(soon("the upstream's request", upstream.request()).await.path(), path, "{more}");
    }
}

/// The second turn of a caller of Messages that gives back all that it was told.
fn told_again(model: &str, answer: &Value) -> Value {
    json!({"model": model, "max_tokens": 50, "messages": [
        {"role": "user", "content": "Look up."}, {"role": "assistant", "content": answer["content"]}, {"role": "user", "content": "And now?"}]})
}

#[tokio::test]
async fn reasoning_details_go_back_as_they_came() {
    let details = json!([
        {"type": "reasoning.text", "text": "I should look.", "signature": "c2ln", "format": "anthropic-claude-v1", "index": 0, "id": null},
        {"type": "reasoning.encrypted", "data": "ZW5j", "format": "anthropic-claude-v1", "index": 1, "id": "e1"}
    ]);
    let message = json!({"role": "assistant", "content": "Blue.", "reasoning": "I should look.", "reasoning_details": details});
    let whole = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-mock",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}});
    let upstream = FakeUpstream::start(Script::sequence([Reply::json(&whole), Reply::ok(), Reply::json(&said("Blue."))]));
    let router = house(&upstream);
    let first = json!({"model": "gpt-mock", "max_tokens": 50, "messages": [{"role": "user", "content": "Look up."}]});
    let answer = asked(&router, "/v1/messages", &first).await;
    got(&upstream).await;
    assert_eq!((&answer["content"][0]["thinking"], &answer["content"][1]["text"]), (&json!("I should look."), &json!("Blue.")));

    asked(&router, "/v1/messages", &told_again("gpt-mock", &answer)).await;
    let history = got(&upstream).await;
    assert_eq!(
        (&history["messages"][1]["reasoning_details"], &history["messages"][1]["content"]),
        (&details, &json!("Blue.")),
        "{history}"
    );
    asked(&router, "/v1/messages", &told_again("claude-mock", &answer)).await;
    let elsewhere = got(&upstream).await;
    assert_eq!(elsewhere["messages"][1]["content"], "Blue.", "another provider gets nothing of it");
}

#[tokio::test]
async fn a_phase_goes_back_where_it_came_from() {
    let text = |id: &str, phase: &str, text: &str| {
        let part = json!({"type": "output_text", "text": text, "annotations": []});
        json!({"type": "message", "id": id, "status": "completed", "role": "assistant", "phase": phase, "content": [part]})
    };
    let output = json!([text("m1", "commentary", "I look."), text("m2", "final_answer", "Blue.")]);
    let whole = json!({"id": "r", "object": "response", "created_at": 1, "status": "completed", "model": "responses-mock", "output": output,
        "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}});
    let upstream = FakeUpstream::start(Script::sequence([Reply::json(&whole)]));
    let router = house(&upstream);
    let first = json!({"model": "responses-mock", "max_tokens": 50, "messages": [{"role": "user", "content": "Look up."}]});
    let answer = asked(&router, "/v1/messages", &first).await;
    got(&upstream).await;
    assert_eq!(answer["content"], json!([{"type": "text", "text": "I look."}, {"type": "text", "text": "Blue."}]), "{answer}");
    asked(&router, "/v1/messages", &told_again("responses-mock", &answer)).await;
    let history = got(&upstream).await;
    let said: Vec<_> = history["input"].as_array().unwrap().iter().filter(|item| item["role"] == "assistant").collect();
    assert_eq!((&said[0]["phase"], &said[1]["phase"]), (&json!("commentary"), &json!("final_answer")), "{history}");
}

#[tokio::test]
async fn every_frame_of_a_translated_stream_goes_on_at_once() {
    let frames = [
        r#"{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"claude-mock","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"toolu_1","name":"look","input":{}}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"first"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"second"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"third\": 1}"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":7}}"#,
        r#"{"type":"message_stop"}"#,
    ];
    let pieces = frames.map(|data| {
        let kind = serde_json::from_str::<Value>(data).unwrap()["type"].as_str().unwrap().to_owned();
        format!("event: {kind}\ndata: {data}\n\n")
    });
    let gate = Gate::new();
    let upstream = FakeUpstream::start(Script::always(Reply::events(pieces).hold_pieces(&gate)));
    let router = house(&upstream);
    for (path, member, words) in
        [("/v1/chat/completions", "messages", json!([{"role": "user", "content": "hi"}])), ("/v1/responses", "input", json!("hi"))]
    {
        let body = json!({"model": "claude-mock", "stream": true, member: words});
        gate.pass(3);
        let mut stream = router.ask(Method::POST, path).json(&body).open().await;
        for (word, next) in [("first", "second"), ("second", "third"), ("third", "[nothing more]")] {
            let text = soon(word, stream.until(word)).await;
            assert!(!text.contains(next), "{path}: the next piece is still at the upstream");
            gate.pass(1);
        }
        gate.pass(2);
        soon("the end", stream.rest()).await;
    }
}

#[tokio::test]
async fn the_record_of_a_stream_has_state_as_the_caller_got_it() {
    let piece = |parts: Value, more: Value| {
        let mut chunk = json!({"responseId": "r", "modelVersion": "gemini-mock", "candidates": [{"index": 0, "content": {"role": "model", "parts": parts}}]});
        chunk["candidates"][0].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        format!("data: {chunk}\n\n")
    };
    let thought = piece(json!([{"text": "Hm.", "thought": true, "thoughtSignature": "Z2VtaW5p"}]), json!({}));
    let upstream =
        FakeUpstream::start(Script::always(Reply::events([thought, piece(json!([{"text": "Blue."}]), json!({"finishReason": "STOP"}))])));
    let router = house(&upstream);
    let body = json!({"model": "gemini-mock", "max_tokens": 64, "stream": true, "messages": [{"role": "user", "content": "Which?"}]});
    let told = router.ask(Method::POST, "/v1/messages").json(&body).header("x-request-id", "sealed").send().await.text();
    let frames = told.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let sealed = frames.filter_map(|frame| frame["delta"]["signature"].as_str().map(str::to_owned)).collect::<String>();
    assert!(!sealed.is_empty() && !told.contains("Z2VtaW5p"), "{told}");
    router.record("sealed").await;
    let kept = router.get("/api/dashboard/request-responses/sealed").key(MASTER).send().await.json();
    assert_eq!(kept["response_body"]["content"][0]["signature"], sealed, "{kept}");
    assert!(kept["upstream_response_body"].to_string().contains("Z2VtaW5p"), "{kept}");
}

#[tokio::test]
async fn a_long_name_of_an_end_user_goes_as_one_that_servers_take() {
    let upstream = FakeUpstream::start(Script::default());
    let router = house(&upstream);
    let long = format!("user_{}_account__session_1", "0123456789abcdef".repeat(8));
    let body =
        json!({"model": "gpt-mock", "max_tokens": 9, "metadata": {"user_id": long}, "messages": [{"role": "user", "content": "hi"}]});
    for _ in 0..2 {
        let answer = router.ask(Method::POST, "/v1/messages").json(&body).send().await;
        assert_eq!((answer.status, answer.header("x-llm-router-fidelity")), (200, "lossy; changed=user"), "{}", answer.text());
    }
    let (first, again) = (got(&upstream).await["user"].clone(), got(&upstream).await["user"].clone());
    assert!(first == again && first.as_str().is_some_and(|name| name.len() <= 64 && name.starts_with("user-")), "{first} {again}");
}

#[tokio::test]
async fn the_list_of_chunks_is_a_stream_too() {
    let chunk = |text: &str, more: Value| {
        let mut chunk = json!({"responseId": "r", "candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": text}]}}]});
        chunk["candidates"][0].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        chunk
    };
    let list = json!([chunk("Bl", json!({})), chunk("ue.", json!({"finishReason": "STOP"}))]);
    let upstream = FakeUpstream::start(Script::always(Reply::json(&list)));
    let router = house(&upstream);
    let chat = json!({"model": "gemini-mock", "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let gemini = json!({"contents": [{"parts": [{"text": "hi"}]}]});
    for (path, body) in [("/v1/chat/completions", chat), ("/v1beta/models/gemini-mock:streamGenerateContent?alt=sse", gemini)] {
        let answer = router.ask(Method::POST, path).json(&body).send().await;
        assert_eq!((answer.status, answer.header("content-type").starts_with("text/event-stream")), (200, true), "{}", answer.text());
        assert!(answer.text().contains("Bl") && answer.text().contains("ue."), "{}", answer.text());
        // A translation says who said it, though the upstream did not.
        assert_eq!(answer.text().contains("\"model\":\"gemini-mock\""), path.ends_with("completions"), "{}", answer.text());
    }
}

#[tokio::test]
async fn text_that_was_cut_inside_a_sign_reaches_other_wires() {
    let whole = json!({"id": "m", "type": "message", "role": "assistant", "model": "claude-mock", "content": [{"type": "text", "text": "Hm."}],
        "stop_reason": "end_turn", "stop_sequence": null, "usage": {"input_tokens": 3, "output_tokens": 2}});
    let upstream = FakeUpstream::start(Script::always(Reply::json(&whole)));
    let router = house(&upstream);
    let body = r#"{"model": "claude-mock", "max_tokens": 9, "messages": [{"role": "user", "content": "cut \ud83d"}]}"#;
    let answer = router.ask(Method::POST, "/v1/chat/completions").body(body).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(got(&upstream).await["messages"].to_string().contains("cut \u{fffd}"));
}
