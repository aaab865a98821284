//! Tools: what a request offers, and whether its answer must be a call.

use serde_json::{Map, Value, json};
use wire::{
    Code, Failure,
    chat::types::{ChatRequest, FunctionCall, ToolCall},
    fleet::worker::{Constraint, Thoughts},
};

use super::sampling::CONSTRAINT_BYTES_MAX;
use crate::speech::{CALL_BYTES_MAX, Manner, Mode};

/// What the template and the engine are told about tools.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) mode: Mode,
    pub(super) tools: Vec<Value>,
    pub(super) constraint: Option<Constraint>,
}

/// Reads `tools` and `tool_choice`.
pub(super) fn offer(request: &ChatRequest) -> Result<Offer, Failure> {
    let tools = request.tools.as_deref().unwrap_or_default();
    let choice = request.tool_choice.as_ref().filter(|choice| !choice.is_null());
    let named = choice.and_then(|choice| choice["function"]["name"].as_str());
    let word = choice.and_then(Value::as_str);
    let none = Offer { mode: Mode::None, tools: Vec::new(), constraint: None };
    if tools.is_empty() {
        return if matches!(word, Some("required")) || named.is_some() {
            Err(Failure::invalid("tool_choice", "`tool_choice` asks for a tool and `tools` has none"))
        } else {
            Ok(none)
        };
    }
    let mut list = Vec::new();
    for (index, tool) in tools.iter().enumerate() {
        let Some(function) = &tool.function else {
            return Err(
                Failure::new(Code::UnsupportedParameter, "only tools of type `function` are supported").at(format!("tools[{index}]"))
            );
        };
        list.push(json!({"type": "function", "function": function}));
    }
    let (mode, constraint) = match (word, named) {
        (Some("none"), _) => return Ok(none),
        (Some("auto"), _) | (None, None) if choice.is_none_or(Value::is_string) => (Mode::Auto, None),
        (Some("required"), _) => (Mode::Forced, Some(calls(&list)?)),
        (_, Some(name)) => {
            let one: Vec<_> = list.iter().filter(|tool| tool["function"]["name"] == name).cloned().collect();
            if one.is_empty() {
                return Err(Failure::invalid("tool_choice", format!("`tool_choice` names `{name}`, which is not in `tools`")));
            }
            (Mode::Forced, Some(calls(&one)?))
        }
        _ => return Err(Failure::invalid("tool_choice", "`tool_choice` must be none, auto, required or a function")),
    };
    Ok(Offer { mode, tools: list, constraint })
}

/// A schema of a call of one of `tools`.
fn calls(tools: &[Value]) -> Result<Constraint, Failure> {
    let schema = schema(tools, "arguments").to_string();
    if schema.len() > CALL_BYTES_MAX {
        return Err(Failure::invalid("tools", "the schemas of the tools are too long"));
    }
    Ok(Constraint::JsonSchema(schema))
}

/// What holds from the mark of a call on, where the model's family writes its calls as JSON between marks.
pub(super) fn from_mark(manner: &Manner) -> Option<Constraint> {
    let form = manner.speech.call()?;
    let mut schema = schema(&manner.tools, form.arguments);
    if form.is_list {
        let defs = schema.as_object_mut().and_then(|members| members.remove("$defs")).unwrap_or_else(|| json!({}));
        schema = json!({"$defs": defs, "type": "array", "items": schema, "minItems": 1});
        if !manner.is_parallel {
            schema["maxItems"] = 1.into();
        }
    }
    let schema = schema.to_string();
    let thoughts = manner.speech.tags().map(|(open, close)| Thoughts {
        open: open.to_owned(),
        close: close.to_owned(),
        has_begun: manner.is_thinking,
    });
    let (open, close) = (form.open.to_owned(), form.close.to_owned());
    (schema.len() <= CONSTRAINT_BYTES_MAX).then_some(Constraint::Call { open, schema, close, thoughts })
}

/// One of the tools' calls, with the arguments under this key. Each tool's schema stays whole below `$defs`, so that what it refers
/// to is found.
fn schema(tools: &[Value], key: &str) -> Value {
    let (mut each, mut defs) = (Vec::new(), Map::new());
    for (index, tool) in tools.iter().enumerate() {
        let function = &tool["function"];
        let mut arguments = if function["parameters"].is_object() { function["parameters"].clone() } else { json!({"type": "object"}) };
        let name = format!("tool{index}");
        if refers(&mut arguments, &name) {
            defs.insert(name, arguments.clone());
        }
        let properties = json!({"name": {"const": function["name"]}, (key): arguments});
        each.push(json!({"type": "object", "properties": properties, "required": ["name", key], "additionalProperties": false}));
    }
    let mut schema = if each.len() == 1 { each.remove(0) } else { json!({ "anyOf": each }) };
    if !defs.is_empty() {
        schema["$defs"] = defs.into();
    }
    schema
}

/// Lets references within a tool's schema point to where it will be. Whether there are any.
fn refers(value: &mut Value, name: &str) -> bool {
    let mut found = false;
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::String(target) if key == "$ref" && target.starts_with('#') => {
                        *target = format!("#/$defs/{name}{}", &target[1..]);
                        found = true;
                    }
                    member => found |= refers(member, name),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| found |= refers(item, name)),
        _ => {}
    }
    found
}

/// A call as OpenAI writes it.
pub(super) fn tool_call(index: Option<u32>, name: String, arguments: String) -> ToolCall {
    let id = format!("call_{}", uuid::Uuid::new_v4().simple());
    ToolCall {
        index,
        id: Some(id),
        kind: Some("function".to_owned()),
        function: FunctionCall { name: Some(name), arguments: Some(arguments) },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::speech::Speech;

    #[test]
    fn a_choice_that_cannot_be_kept_is_refused() {
        let request =
            |tools: Value, choice: Value| serde_json::from_value::<ChatRequest>(json!({"tools": tools, "tool_choice": choice})).unwrap();
        let tools = json!([{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}]);
        let mode = |choice: Value| offer(&request(tools.clone(), choice)).map(|offer| (offer.mode, offer.constraint.is_some())).ok();
        assert_eq!(mode(Value::Null), Some((Mode::Auto, false)));
        assert_eq!(mode("auto".into()), Some((Mode::Auto, false)));
        assert_eq!(mode("none".into()), Some((Mode::None, false)));
        assert_eq!(mode("required".into()), Some((Mode::Forced, true)));
        assert_eq!(mode(json!({"type": "function", "function": {"name": "g"}})), Some((Mode::Forced, true)));
        assert_eq!(mode(json!({"type": "function", "function": {"name": "h"}})), None);
        assert_eq!(mode("sometimes".into()), None);
        assert_eq!(mode(json!({"type": "x"})), None);
        assert!(offer(&request(json!([]), "required".into())).is_err());
        assert!(offer(&request(json!([{"type": "web_search"}]), Value::Null)).is_err());
    }

    #[test]
    fn references_in_a_tool_s_schema_are_found() {
        let parameters = json!({"$defs": {"P": {"type": "string"}}, "type": "object", "properties": {"p": {"$ref": "#/$defs/P"}, "self": {"$ref": "#"}}});
        let tools = [json!({"function": {"name": "f", "parameters": parameters}}), json!({"function": {"name": "g"}})];
        let schema = schema(&tools, "parameters");
        let wanted = &schema["anyOf"][0]["properties"]["parameters"]["properties"];
        assert_eq!((&wanted["p"]["$ref"], &wanted["self"]["$ref"]), (&json!("#/$defs/tool0/$defs/P"), &json!("#/$defs/tool0")));
        assert_eq!(schema.pointer("/$defs/tool0/$defs/P/type"), Some(&json!("string")));
        assert_eq!(schema["anyOf"][1]["required"], json!(["name", "parameters"]));
    }

    #[test]
    fn a_family_that_writes_json_is_held_to_it_from_the_mark_on() {
        let tools = Arc::new(vec![json!({"function": {"name": "f", "parameters": {"type": "object", "properties": {}}}})]);
        let manner = |turn: &str, source: &str| Manner {
            speech: Arc::new(Speech::of(turn, source)),
            mode: Mode::Auto,
            is_thinking: true,
            tools: tools.clone(),
            is_parallel: false,
        };
        let turn = "<tool_call>\n{\"name\": \"probe_name\", \"arguments\": {}}\n</tool_call>";
        let Some(Constraint::Call { open, schema, close, thoughts }) = from_mark(&manner(turn, "</think>")) else { panic!("a constraint") };
        assert_eq!(
            (open.as_str(), close.as_str(), thoughts.is_some_and(|thoughts| thoughts.has_begun)),
            ("<tool_call>", "</tool_call>", true)
        );
        assert!(schema.contains(r#""arguments""#), "{schema}");
        let turn = "<TOOLCALL>[{\"name\": \"probe_name\", \"arguments\": {}}]</TOOLCALL>";
        let Some(Constraint::Call { schema, thoughts: None, .. }) = from_mark(&manner(turn, "")) else { panic!("a constraint") };
        assert!(schema.contains(r#""maxItems":1"#), "{schema}");
        assert!(from_mark(&manner("<tool_call>\n<function=probe_name>", "")).is_none(), "elements are no JSON");
        assert!(from_mark(&manner("", "<tool_call>")).is_none(), "a form that was never shown");
    }
}
