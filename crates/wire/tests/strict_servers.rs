//! What translations must not send, because the servers refuse it.

#![allow(clippy::unwrap_used, reason = "in a test it is the assertion")]

use serde_json::{Value, json};
use wire::{Dialect, losses::Losses};

/// The body of `from` as `to` gets it for `model`, and what was lost.
fn sent(from: Dialect, to: Dialect, model: &str, body: &Value) -> (Value, String) {
    let mut inner = from.decode_request(body.to_string().as_bytes(), model, false).unwrap();
    model.clone_into(&mut inner.model);
    let mut losses = Losses::default();
    let body = to.encode_request(&inner, &mut losses);
    (body, losses.header())
}

fn chat(members: Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

#[test]
fn thinking_is_asked_of_claude_as_its_generation_knows_it() {
    let asked = |model: &str, members: Value| sent(Dialect::Chat, Dialect::Messages, model, &chat(members));
    let (old, said) = asked("claude-sonnet-4-5-20250929", json!({"reasoning_effort": "low", "max_tokens": 4000}));
    assert_eq!((&old["thinking"], &old["output_config"]), (&json!({"type": "enabled", "budget_tokens": 1024}), &Value::Null));
    assert_eq!(said, "lossy; changed=reasoning.effort");
    let (new, said) = asked("claude-sonnet-4-6", json!({"reasoning_effort": "low"}));
    assert_eq!((&new["thinking"], &new["output_config"]), (&json!({"type": "adaptive"}), &json!({"effort": "low"})));
    assert_eq!(said, "exact");
    // Those after it say nothing of their thoughts by themselves.
    let (newer, _) = asked("claude-opus-4-7", json!({"reasoning_effort": "high"}));
    assert_eq!(newer["thinking"], json!({"type": "adaptive", "display": "summarized"}));
    let (always, said) = asked("claude-fable-5", json!({"reasoning_effort": "none"}));
    assert_eq!(
        (&always["thinking"]["type"], &always["output_config"], &*said),
        (&json!("adaptive"), &json!({"effort": "low"}), "lossy; changed=reasoning")
    );
    assert_eq!(asked("claude-opus-4-7", json!({"reasoning_effort": "none"})).0["thinking"], json!({"type": "disabled"}));

    let gemini = json!({"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"thinkingConfig": {"thinkingBudget": 8192}}});
    let of_gemini = |model: &str| sent(Dialect::Gemini, Dialect::Messages, model, &gemini);
    assert_eq!(of_gemini("claude-sonnet-4-5").0["thinking"]["budget_tokens"], 8192);
    let (newer, said) = of_gemini("claude-opus-4-7");
    assert_eq!((&newer["thinking"]["type"], &newer["output_config"]["effort"]), (&json!("adaptive"), &json!("medium")));
    assert_eq!(said, "lossy; changed=reasoning.budget_tokens");
}

#[test]
fn an_older_claude_does_not_begin_to_think_in_the_middle_of_a_turn_of_calls() {
    let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let body = json!({"model": "m", "reasoning_effort": "high", "messages": [{"role": "user", "content": "hi"},
        {"role": "assistant", "content": null, "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c1", "content": "1"}]});
    let (body, said) = sent(Dialect::Chat, Dialect::Messages, "claude-haiku-4-5", &body);
    assert_eq!((body.get("thinking"), body.get("output_config")), (None, None));
    assert!(said.contains("reasoning"), "{said}");
}

#[test]
fn newer_claudes_are_not_steered_in_their_sampling() {
    let members = json!({"temperature": 0.5, "max_tokens": 9});
    let (new, said) = sent(Dialect::Chat, Dialect::Messages, "claude-opus-4-7", &chat(members.clone()));
    assert_eq!((new.get("temperature"), &*said), (None, "lossy; dropped=temperature"));
    let (neutral, said) =
        sent(Dialect::Chat, Dialect::Messages, "claude-opus-4-7", &chat(json!({"temperature": 1, "top_p": 1, "max_tokens": 9})));
    assert_eq!((neutral.get("temperature"), neutral.get("top_p"), &*said), (None, None, "exact"));
    let (old, said) = sent(Dialect::Chat, Dialect::Messages, "claude-sonnet-4-6", &chat(members));
    assert_eq!((&old["temperature"], &*said), (&json!(0.5), "exact"));
}

#[test]
fn geminis_that_always_think_are_asked_for_the_least() {
    let asked = |model: &str, effort: &str| {
        let (body, said) = sent(Dialect::Chat, Dialect::Gemini, model, &chat(json!({"reasoning_effort": effort})));
        (body["generationConfig"]["thinkingConfig"].clone(), said)
    };
    let (pro, said) = asked("gemini-2.5-pro", "none");
    assert_eq!((&pro["thinkingBudget"], &*said), (&json!(128), "lossy; changed=reasoning"));
    assert_eq!(asked("gemini-2.5-flash", "none"), (json!({"thinkingBudget": 0}), "exact".to_owned()));
    for effort in ["none", "minimal"] {
        let (pro, said) = asked("gemini-3-pro-preview", effort);
        assert_eq!(pro["thinkingLevel"], "LOW", "{effort}: {said}");
        assert!(said.contains("changed=reasoning"), "{said}");
    }
    assert_eq!(asked("gemini-3-flash", "minimal").0["thinkingLevel"], "MINIMAL");
}

#[test]
fn all_calls_of_a_turn_stand_in_one_message_before_their_results() {
    let call = |name: &str| json!({"role": "model", "parts": [{"text": name}, {"functionCall": {"name": name, "args": {}}}]});
    let result = |name: &str| json!({"functionResponse": {"name": name, "response": {"result": 1}}});
    let contents =
        json!([{"role": "user", "parts": [{"text": "q"}]}, call("f"), call("g"), {"role": "user", "parts": [result("f"), result("g")]}]);
    let (body, _) = sent(Dialect::Gemini, Dialect::Chat, "m", &json!({"contents": contents}));
    let messages = body["messages"].as_array().unwrap();
    let roles: Vec<_> = messages.iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool"]);
    assert_eq!(messages[1]["tool_calls"].as_array().unwrap().len(), 2);
    assert_eq!(messages[1]["content"], json!([{"type": "text", "text": "f"}, {"type": "text", "text": "g"}]));
}

#[test]
fn pieces_of_a_streamed_turn_become_one() {
    let piece = |part: Value| json!({"role": "model", "parts": [part]});
    let contents = json!([{"role": "user", "parts": [{"text": "q"}]}, piece(json!({"text": "hm", "thought": true})), piece(json!({"text": "m.", "thought": true})),
        piece(json!({"text": "My na"})), piece(json!({"text": "me is Ann."})), piece(json!({"text": ""})), {"role": "user", "parts": [{"text": "?"}]}]);
    let (body, _) = sent(Dialect::Gemini, Dialect::Chat, "m", &json!({"contents": contents}));
    let turn = json!({"role": "assistant", "content": "My name is Ann.", "reasoning_content": "hmm."});
    assert_eq!(body["messages"], json!([{"role": "user", "content": "q"}, turn, {"role": "user", "content": "?"}]));
    // An empty answer is none.
    let contents =
        json!([{"role": "user", "parts": [{"text": "q"}]}, piece(json!({"text": ""})), {"role": "user", "parts": [{"text": "?"}]}]);
    let (body, _) = sent(Dialect::Gemini, Dialect::Chat, "m", &json!({"contents": contents}));
    assert_eq!(body["messages"].as_array().unwrap().len(), 2);
}

#[test]
fn where_openai_wants_the_word_json_it_is_said() {
    const WISH: &str = "Answer with one JSON object and nothing else.";
    let gemini =
        |text: &str| json!({"contents": [{"parts": [{"text": text}]}], "generationConfig": {"responseMimeType": "application/json"}});
    for (text, is_added) in [("a city", true), ("a city as Json", false)] {
        let (chat, said) = sent(Dialect::Gemini, Dialect::Chat, "m", &gemini(text));
        assert_eq!((chat["messages"].to_string().contains(WISH), &*said), (is_added, "exact"), "{chat}");
        let (responses, said) = sent(Dialect::Gemini, Dialect::Responses, "m", &gemini(text));
        assert_eq!((responses["input"].to_string().contains(WISH), &*said), (is_added, "exact"), "{responses}");
    }
    // The word of the instructions must stand in the input.
    let body = json!({"model": "m", "response_format": {"type": "json_object"},
        "messages": [{"role": "system", "content": "Speak JSON."}, {"role": "user", "content": "hi"}]});
    let (responses, _) = sent(Dialect::Chat, Dialect::Responses, "m", &body);
    assert!(responses.get("instructions").is_none() && responses["input"].to_string().contains("Speak JSON."), "{responses}");
}

#[test]
fn older_geminis_are_asked_for_json_in_words_where_they_have_functions() {
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]);
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object", "title": "SCHEMA"}}});
    let (old, said) = sent(Dialect::Chat, Dialect::Gemini, "gemini-2.5-flash", &chat(json!({"tools": tools, "response_format": format})));
    assert_eq!((old.get("generationConfig"), &*said), (None, "lossy; changed=format"));
    assert!(old["systemInstruction"].to_string().contains("SCHEMA"), "{old}");
    let (new, _) = sent(Dialect::Chat, Dialect::Gemini, "gemini-3-flash", &chat(json!({"tools": tools, "response_format": format})));
    assert_eq!(new["generationConfig"]["responseMimeType"], "application/json");
    assert!(new.get("systemInstruction").is_none());
}

#[test]
fn responses_gets_no_sound() {
    let parts = json!([{"type": "text", "text": "what is it?"}, {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}]);
    let (body, said) =
        sent(Dialect::Chat, Dialect::Responses, "m", &json!({"model": "m", "messages": [{"role": "user", "content": parts}]}));
    assert!(!body.to_string().contains("input_audio"), "{body}");
    assert_eq!(said, "lossy; dropped=messages[0].blocks[1]");
}

#[test]
fn a_stream_for_gemini_ends_with_a_part() {
    use wire::ir::{Event, Finish};
    let mut encoder = wire::gemini::stream::Encoder::new();
    let mut out = Vec::new();
    let start = Event::Start { id: "r".to_owned(), created: 1, model: "m".to_owned() };
    for event in [start, Event::Finish { choice: 0, reason: Finish::Stop }, Event::End] {
        encoder.event(&event, &mut out);
    }
    // Google's SDKs take a piece without parts for invalid and forget the turn.
    assert!(String::from_utf8(out).unwrap().contains(r#""parts":[{"text":""}]"#));
}
