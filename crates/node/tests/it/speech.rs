//! Thoughts and calls in answers, by the template of the model. The scripted engine repeats the prompt, so the prompt is the answer.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};
use testkit::Gguf;

use crate::node::{Node, eventually};

/// Prints the messages' texts; its comment shows the family's marks.
fn template(marks: &str) -> String {
    format!("{{% for m in messages %}}{{{{ m.content }}}}{{% endfor %}}{{# {marks} #}}")
}

fn node(marks: &str) -> Node {
    let node = Node::alone(&[]);
    fs::write(node.models_dir().join("tiny.gguf"), Gguf::with_template(&template(marks)).build()).unwrap();
    eventually("the model is found", || (node.get("/v1/models/tiny").status == 200).then_some(()));
    node
}

fn tools() -> Value {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}});
    json!([tool("weather"), tool("time")])
}

/// A streamed answer put together: content, thoughts, calls by index (name, arguments), and how it finished.
fn streamed(node: &Node, prompt: &str, more: &Value) -> (String, String, BTreeMap<u64, (String, String)>, String) {
    let mut all = json!({"stream": true});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = node.chat("tiny", prompt, all);
    let (mut content, mut thoughts, mut calls, mut finish) = (String::new(), String::new(), BTreeMap::new(), String::new());
    for event in answer.events().iter().filter(|event| *event != "[DONE]") {
        let chunk: Value = serde_json::from_str(event).unwrap();
        let choice = &chunk["choices"][0];
        content.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        thoughts.push_str(choice["delta"]["reasoning_content"].as_str().unwrap_or_default());
        finish.push_str(choice["finish_reason"].as_str().unwrap_or_default());
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let text = |name: &str| call["function"][name].as_str().unwrap().to_owned();
            let before = calls.insert(call["index"].as_u64().unwrap(), (text("name"), text("arguments")));
            assert!(before.is_none() && call["id"].as_str().unwrap().starts_with("call_"), "{call}");
        }
    }
    (content, thoughts, calls, finish)
}

#[test]
fn each_family_s_calls_are_found_streamed_or_not() {
    let weather = ("weather".to_owned(), "{\"city\":\"Paris\"}".to_owned());
    let time = ("time".to_owned(), "{}".to_owned());
    for (marks, answer) in [
        (
            "<tool_call>",
            "Well. <tool_call> {\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}} </tool_call> <tool_call>{\"name\": \"time\"}</tool_call>",
        ),
        (
            "[TOOL_CALLS]",
            "Well. [TOOL_CALLS] [{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}, {\"name\": \"time\", \"arguments\": {}}]",
        ),
        (
            "<｜tool▁call▁begin｜>",
            "Well. <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"city\": \"Paris\"}<｜tool▁call▁end｜> <｜tool▁call▁begin｜>time<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        ),
        (
            "<|channel|><|message|>",
            "<|channel|>final<|message|>Well.<|end|><|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{\"city\":\"Paris\"}<|call|><|start|>assistant to=functions.time<|channel|>commentary json<|message|>{}",
        ),
    ] {
        let node = node(marks);
        let (content, thoughts, calls, finish) = streamed(&node, answer, &json!({"tools": tools()}));
        assert_eq!((content.as_str(), thoughts.as_str(), finish.as_str()), ("Well.", "", "tool_calls"), "{marks}");
        assert_eq!(calls.into_values().collect::<Vec<_>>(), [weather.clone(), time.clone()], "{marks}");
        let whole = node.chat("tiny", answer, json!({"tools": tools()})).json();
        let message = &whole["choices"][0]["message"];
        assert_eq!((&message["content"], &message["tool_calls"][1]["function"]["name"]), (&json!("Well."), &json!("time")), "{whole}");
        assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
        let one = node.chat("tiny", answer, json!({"tools": tools(), "parallel_tool_calls": false})).json();
        assert_eq!(one["choices"][0]["message"]["tool_calls"].as_array().unwrap().len(), 1, "{marks}");
    }
}

#[test]
fn thoughts_are_told_apart_from_the_answer() {
    let node = node("<think>");
    let answer = "<think> Let me see. </think>  It is four.";
    assert_eq!(
        streamed(&node, answer, &json!({})),
        ("It is four.".to_owned(), "Let me see.".to_owned(), BTreeMap::new(), "stop".to_owned())
    );
    let whole = node.chat("tiny", answer, json!({})).json();
    let wanted = json!({"role": "assistant", "content": "It is four.", "reasoning_content": "Let me see."});
    assert_eq!(whole["choices"][0]["message"], wanted);
    // Each word is a token; those of a thought with its marks.
    assert_eq!(
        (&whole["usage"]["completion_tokens"], &whole["usage"]["completion_tokens_details"]),
        (&json!(8), &json!({"reasoning_tokens": 5}))
    );
    let counted = node.chat("tiny", answer, json!({"stream": true, "stream_options": {"include_usage": true}}));
    let last: Value = serde_json::from_str(counted.events().iter().rev().nth(1).unwrap()).unwrap();
    assert_eq!(last["usage"], whole["usage"]);
    let plain = self::node("no marks").chat("tiny", answer, json!({})).json();
    assert_eq!(plain["choices"][0]["message"]["content"], answer, "a model that does not think");
    assert!(plain["usage"]["completion_tokens_details"].is_null(), "{plain}");
}

#[test]
fn an_answer_of_a_prescribed_form_is_taken_as_it_is() {
    let node = node("<think>");
    let made = node.chat("tiny", "x", json!({"response_format": {"type": "json_object"}})).json();
    assert_eq!(made["choices"][0]["message"], json!({"role": "assistant", "content": "{}"}));
}

#[test]
fn an_answer_that_was_begun_elsewhere_is_gone_on_with() {
    let node = Node::alone(&["tiny+count=6"]);
    let ask = |more: Value| {
        let mut body = json!({"model": "tiny+count=6", "messages": [{"role": "user", "content": "count"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        node.post("/v1/chat/completions", &body)
    };
    let begun = json!([{"role": "user", "content": "count"}, {"role": "assistant", "content": "1 2 3"}]);
    let whole = ask(json!({"messages": begun, "continue_final_message": true, "add_generation_prompt": false})).json();
    assert_eq!(
        (&whole["choices"][0]["message"]["content"], &whole["usage"]["completion_tokens"]),
        (&json!(" 4 5 6"), &json!(3)),
        "{whole}"
    );
    let counted = ask(json!({"stream": true, "stream_options": {"include_usage": true, "continuous_usage_stats": true}}));
    let chunks: Vec<Value> = counted.events().iter().filter_map(|event| serde_json::from_str(event).ok()).collect();
    let said = |chunk: &Value| chunk["choices"][0]["delta"]["content"].as_str().map_or(0, |text| text.split_whitespace().count());
    let (mut so_far, last) = (0, chunks.last().unwrap()["usage"].clone());
    for chunk in &chunks {
        so_far += said(chunk);
        let prompt = if so_far == 0 { json!(0) } else { last["prompt_tokens"].clone() };
        assert_eq!((&chunk["usage"]["prompt_tokens"], &chunk["usage"]["completion_tokens"]), (&prompt, &json!(so_far)), "{chunk}");
    }
    assert_eq!(so_far, 6);
    for wrong in
        [json!({"continue_final_message": true}), json!({"messages": begun, "continue_final_message": true, "add_generation_prompt": true})]
    {
        assert_eq!(ask(wrong).status, 400);
    }
}

#[test]
fn thoughts_that_were_begun_elsewhere_are_thoughts() {
    let node = node("<think>");
    let begun = |text: &str, thoughts: &str| {
        let last = json!({"role": "assistant", "content": text, "reasoning_content": thoughts});
        let messages = json!([{"role": "user", "content": "a b </think> c"}, last]);
        let body = json!({"model": "tiny", "messages": messages, "continue_final_message": true});
        node.post("/v1/chat/completions", &body).json()["choices"][0]["message"].clone()
    };
    // The engine repeats its prompt, whose words are thoughts here until their end.
    assert_eq!(begun("", "so")["reasoning_content"], "a b", "{}", begun("", "so"));
    let text = begun("yes", "so");
    assert!(text["content"].as_str().unwrap().starts_with("a b"), "the thoughts were over: {text}");
}
