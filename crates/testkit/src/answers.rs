//! The bodies of OpenAI's endpoints.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    reply::{Payload, Said},
    request::Recorded,
};

/// Seconds since the epoch in `created`: any fixed time will do.
const CREATED: u64 = 1_700_000_000;

/// The body of an endpoint's answer, or None for a path that nobody serves.
pub(crate) fn endpoint(request: &Recorded, said: &Said, models: &[String]) -> Option<Payload> {
    let body = request.json();
    let is_stream = body["stream"] == true;
    let path = request.path();
    let path = path.strip_prefix("/v1").unwrap_or(path);
    Some(match path {
        "/models" => whole(&json!({"object": "list", "data": models.iter().map(|id| model(id)).collect::<Vec<_>>()})),
        "/chat/completions" if is_stream => chat_events(&body, said),
        "/chat/completions" => whole(&chat(&body, said)),
        "/completions" if is_stream => completion_events(&body, said),
        "/completions" => whole(&completion(&body, said)),
        "/embeddings" => whole(&embeddings(&body, said)),
        "/health" => whole(&json!({"status": "ok"})),
        _ => return None,
    })
}

fn whole(body: &Value) -> Payload {
    Payload::Whole { content_type: "application/json".into(), bytes: body.to_string().into() }
}

fn model(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": CREATED, "owned_by": "testkit"})
}

fn usage(said: &Said) -> Value {
    let completion = said.words.len() as u64;
    json!({"prompt_tokens": said.prompt_tokens, "completion_tokens": completion, "total_tokens": said.prompt_tokens + completion})
}

fn chat(body: &Value, said: &Said) -> Value {
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": said.words.concat(), "refusal": null}, "logprobs": null, "finish_reason": "stop"});
    json!({"id": "chatcmpl-test", "object": "chat.completion", "created": CREATED, "model": body["model"], "choices": [choice], "usage": usage(said)})
}

fn completion(body: &Value, said: &Said) -> Value {
    let choice = json!({"index": 0, "text": said.words.concat(), "logprobs": null, "finish_reason": "stop"});
    json!({"id": "cmpl-test", "object": "text_completion", "created": CREATED, "model": body["model"], "choices": [choice], "usage": usage(said)})
}

fn embeddings(body: &Value, said: &Said) -> Value {
    let inputs = match &body["input"] {
        Value::Array(inputs) if inputs.iter().all(|input| !input.is_number()) => inputs.len(),
        _ => 1,
    };
    let vector: Vec<f64> = (0..said.dimensions).map(|n| n as f64 * 0.25).collect();
    let data: Vec<_> = (0..inputs).map(|index| json!({"object": "embedding", "index": index, "embedding": vector})).collect();
    let usage = json!({"prompt_tokens": said.prompt_tokens, "total_tokens": said.prompt_tokens});
    json!({"object": "list", "data": data, "model": body["model"], "usage": usage})
}

fn chat_events(body: &Value, said: &Said) -> Payload {
    let asks_usage = body["stream_options"]["include_usage"] == true;
    let chunk = |choices: Value, usage: Option<Value>| {
        let mut chunk = json!({"id": "chatcmpl-test", "object": "chat.completion.chunk", "created": CREATED, "model": body["model"], "choices": choices});
        if asks_usage {
            chunk["usage"] = usage.unwrap_or(Value::Null);
        }
        chunk
    };
    let choice = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
    let mut events = vec![chunk(choice(json!({"role": "assistant", "content": ""}), Value::Null), None)];
    events.extend(said.words.iter().map(|word| chunk(choice(json!({"content": word}), Value::Null), None)));
    events.push(chunk(choice(json!({}), json!("stop")), None));
    if asks_usage {
        events.push(chunk(json!([]), Some(usage(said))));
    }
    event_stream(&events)
}

fn completion_events(body: &Value, said: &Said) -> Payload {
    let chunk = |text: &str, finish: Value| {
        let choice = json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish});
        json!({"id": "cmpl-test", "object": "text_completion", "created": CREATED, "model": body["model"], "choices": [choice]})
    };
    let mut events: Vec<_> = said.words.iter().map(|word| chunk(word, Value::Null)).collect();
    events.push(chunk("", json!("stop")));
    if body["stream_options"]["include_usage"] == true {
        let mut last = chunk("", Value::Null);
        last["choices"] = json!([]);
        last["usage"] = usage(said);
        events.push(last);
    }
    event_stream(&events)
}

fn event_stream(events: &[Value]) -> Payload {
    let mut pieces: Vec<Bytes> = events.iter().map(|event| format!("data: {event}\n\n").into()).collect();
    pieces.push(Bytes::from_static(b"data: [DONE]\n\n"));
    Payload::Events(pieces)
}
