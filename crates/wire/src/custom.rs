//! Custom tools, whose input is free text: OpenAI's two dialects have them in two forms, the others not at all.
//!
//! Definitions stay among the caller's own members (`tools[i]`). Calls and outputs are blocks in the form of Responses.

use serde_json::{Value, json};

use crate::ir::{Block, BlockKind, Family};

/// Whether an item is a call of a custom tool.
pub(crate) fn is_call(item: &Value) -> bool {
    item["type"] == "custom_tool_call"
}

/// Whether an item is the output of a custom tool.
pub(crate) fn is_output(item: &Value) -> bool {
    item["type"] == "custom_tool_call_output"
}

/// The call as an item.
pub(crate) fn call(id: &str, name: &str, input: &str) -> Value {
    json!({"type": "custom_tool_call", "call_id": id, "name": name, "input": input})
}

/// The call as the beginning of an answer's block.
pub(crate) fn call_kind(id: &str, name: &str, input: &str) -> BlockKind {
    BlockKind::Opaque { family: Family::Responses, value: call(id, name, input) }
}

/// Chat's entry in `tool_calls` for a call.
pub(crate) fn chat_call(item: &Value) -> Value {
    let text = |name: &str| item[name].as_str().unwrap_or_default();
    json!({"id": text("call_id"), "type": "custom", "custom": {"name": text("name"), "input": text("input")}})
}

/// A block for one of chat's custom calls; `None` where it is a function's.
pub(crate) fn of_chat_call(entry: &Value) -> Option<Block> {
    let custom = entry.get("custom").filter(|c| c.is_object() && entry["type"] == "custom")?;
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let value = call(&text(entry, "id"), &text(custom, "name"), &text(custom, "input"));
    Some(Block::Opaque { family: Family::Responses, value })
}

/// The output as an item; `content` is chat's, text or parts of text.
pub(crate) fn output_of_chat(call_id: &str, content: &Value) -> Block {
    let output = match content {
        Value::Array(parts) => {
            parts.iter().map(|p| if p["type"] == "text" { json!({"type": "input_text", "text": p["text"]}) } else { p.clone() }).collect()
        }
        Value::String(_) => content.clone(),
        _ => json!(""),
    };
    Block::Opaque { family: Family::Responses, value: json!({"type": "custom_tool_call_output", "call_id": call_id, "output": output}) }
}

/// Chat's message for an output.
pub(crate) fn chat_output(item: &Value) -> Value {
    let content = match &item["output"] {
        Value::Array(parts) => {
            parts.iter().map(|p| if p["text"].is_string() { json!({"type": "text", "text": p["text"]}) } else { p.clone() }).collect()
        }
        other => other.clone(),
    };
    json!({"role": "tool", "tool_call_id": item["call_id"], "content": content})
}

/// A definition, or a choice of one, from chat's form to Responses': members of `custom` beside `type`.
pub(crate) fn flat(nested: &Value) -> Option<Value> {
    let mut out = json!({"type": "custom"});
    for (name, value) in nested.get("custom").filter(|_| nested["type"] == "custom")?.as_object()? {
        out[name] = match (name.as_str(), value.get("grammar")) {
            ("format", Some(Value::Object(grammar))) => {
                let mut format = value.clone();
                format.as_object_mut().map(|members| members.shift_remove("grammar"));
                grammar.iter().for_each(|(k, v)| format[k] = v.clone());
                format
            }
            _ => value.clone(),
        };
    }
    let beside = nested.as_object().into_iter().flatten().filter(|(name, _)| !matches!(name.as_str(), "type" | "custom"));
    beside.for_each(|(name, value)| out[name] = value.clone());
    Some(out)
}

/// The same from Responses' form to chat's.
pub(crate) fn nested(flat: &Value) -> Option<Value> {
    let mut custom = json!({});
    for (name, value) in flat.as_object().filter(|_| flat["type"] == "custom")?.iter().filter(|(name, _)| *name != "type") {
        custom[name] = match (name.as_str(), value) {
            ("format", Value::Object(format)) if value["type"] == "grammar" => {
                let grammar: serde_json::Map<String, Value> =
                    format.iter().filter(|(k, _)| *k != "type").map(|(k, v)| (k.clone(), v.clone())).collect();
                json!({"type": "grammar", "grammar": grammar})
            }
            _ => value.clone(),
        };
    }
    Some(json!({"type": "custom", "custom": custom}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let chat = json!({"type": "custom", "custom": {"name": "sql", "description": "d", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: X"}}}});
        let responses = json!({"type": "custom", "name": "sql", "description": "d", "format": {"type": "grammar", "syntax": "lark", "definition": "start: X"}});
        assert_eq!(flat(&chat), Some(responses.clone()));
        assert_eq!(nested(&responses), Some(chat));
        assert_eq!(nested(&json!({"type": "web_search"})), None);
        assert_eq!(flat(&json!({"type": "function", "function": {}})), None);
    }
}
