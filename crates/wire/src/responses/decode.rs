//! Responses JSON → the inner language.

use serde_json::{Map, Value, json};

use super::{
    read::{Fields, unknown, wrong},
    read_items,
    stream_items::Items,
    types::usage_of,
};
use crate::{
    error::{Code, Failure},
    ir::{Event, Family, Format, Generation, Message, Reasoning, Request, Role, Tool, ToolChoice},
};

/// In `include`: log-probabilities are wanted.
pub(super) const INCLUDE_LOGPROBS: &str = "message.output_text.logprobs";

/// In `include`: the encrypted form of what was thought is wanted.
pub(super) const INCLUDE_STATE: &str = "reasoning.encrypted_content";

/// Members that stand for an input of their own: with one of them `input` may be missing.
pub(super) const OTHER_INPUT: [&str; 3] = ["previous_response_id", "conversation", "prompt"];

/// Reads a request body (API reference, "Create a model response").
///
/// What has no place in the inner language is kept in `extra` under its own name; leftovers of nested members under their path:
/// `reasoning.summary`, `text.verbosity`, `tools[2]` (a hosted or custom tool and its place), `tools[0].x` (a function's further members),
/// `input[1].x`, `input[1].content[0].x`.
///
/// # Errors
/// A failure that names the field: not JSON, a wrong type, no input, an unknown role or word.
pub fn request(body: &[u8]) -> Result<Request, Failure> {
    crate::json::expect_object(body)?;
    let all: Map<String, Value> = serde_json::from_slice(body).map_err(|e| crate::json::broken(&e))?;
    let mut fields = Fields::of(all, "");
    let mut extra = Map::new();
    let messages = messages(&mut fields, &mut extra)?;
    let (tool_choice, allowed) = tool_choice(&mut fields, &mut extra)?;
    let tools = read_tools(&mut fields, allowed.as_deref(), &mut extra)?;
    Ok(Request {
        model: fields.text("model")?.unwrap_or_default(),
        messages,
        tools,
        tool_choice,
        parallel_tool_calls: fields.flag("parallel_tool_calls")?,
        generation: generation(&mut fields, &mut extra)?,
        reasoning: reasoning(&mut fields, &mut extra)?,
        format: format(&mut fields, &mut extra)?,
        user: fields.text("user")?,
        stream: fields.flag("stream")?.unwrap_or(false),
        // The last event always carries usage.
        stream_usage: true,
        family: Some(Family::Responses),
        extra: {
            if let Some(options) = fields.object("stream_options")? {
                extra.extend(options.rest().into_iter().map(|(name, value)| (format!("stream_options.{name}"), value)));
            }
            extra.extend(fields.rest());
            extra
        },
    })
}

fn messages(fields: &mut Fields, extra: &mut Map<String, Value>) -> Result<Vec<Message>, Failure> {
    let mut messages = Vec::new();
    if let Some(text) = fields.text("instructions")?.filter(|t| !t.is_empty()) {
        messages.push(Message::text(Role::System, text));
    }
    match fields.take("input") {
        Some(input) => read_items::messages(input, &mut messages, extra)?,
        None if OTHER_INPUT.iter().any(|name| fields.peek(name).is_some()) => {}
        None => return fields.needed("input", None, "a text or a list of items is needed"),
    }
    if messages.is_empty() && OTHER_INPUT.iter().all(|name| fields.peek(name).is_none()) {
        return Err(Failure::invalid("input", "`input` is empty: a text or at least one item is needed"));
    }
    Ok(messages)
}

fn generation(fields: &mut Fields, extra: &mut Map<String, Value>) -> Result<Generation, Failure> {
    let mut wants_logprobs = false;
    if let Some(mut include) = fields.list("include")? {
        let before = include.len();
        include.retain(|word| word != INCLUDE_LOGPROBS);
        wants_logprobs = include.len() < before;
        if !include.is_empty() {
            extra.insert("include".to_owned(), include.into());
        }
    }
    let top = fields.count::<u8>("top_logprobs")?;
    Ok(Generation {
        max_tokens: fields.count("max_output_tokens")?,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        logprobs: if wants_logprobs { Some(top.unwrap_or(0)) } else { top.filter(|n| *n > 0) },
        ..Generation::default()
    })
}

fn reasoning(fields: &mut Fields, extra: &mut Map<String, Value>) -> Result<Reasoning, Failure> {
    let Some(mut reasoning) = fields.object("reasoning")? else { return Ok(Reasoning::default()) };
    let effort = reasoning.text("effort")?;
    let summary = reasoning.text("summary")?.or(reasoning.text("generate_summary")?);
    let shown = summary.as_ref().map(|_| true);
    if let Some(word) = summary.filter(|word| word != "auto") {
        extra.insert("reasoning.summary".to_owned(), word.into());
    }
    extra.extend(reasoning.rest().into_iter().map(|(name, value)| (format!("reasoning.{name}"), value)));
    Ok(Reasoning { effort, budget_tokens: None, shown })
}

fn format(fields: &mut Fields, extra: &mut Map<String, Value>) -> Result<Format, Failure> {
    let Some(mut text) = fields.object("text")? else { return Ok(Format::Text) };
    let format = text.object("format")?;
    extra.extend(text.rest().into_iter().map(|(name, value)| (format!("text.{name}"), value)));
    let Some(mut format) = format else { return Ok(Format::Text) };
    let kind = format.text("type")?;
    let read = match format.needed("type", kind, "text, json_object or json_schema is needed")?.as_str() {
        "text" => Format::Text,
        "json_object" => Format::Json,
        "json_schema" => {
            let schema = format.object("schema")?;
            Format::Schema {
                name: format.text("name")?.unwrap_or_else(|| "answer".to_owned()),
                schema: Value::Object(format.needed("schema", schema, "a JSON Schema is needed")?.into_map()),
                strict: format.flag("strict")?,
            }
        }
        other => return Err(unknown(&format.at("type"), other, "text, json_object and json_schema")),
    };
    extra.extend(format.rest().into_iter().map(|(name, value)| (format!("text.format.{name}"), value)));
    Ok(read)
}

/// Functions go to the inner language, the others stay whole under the place that they have in the list. `allowed_tools` narrows the
/// list itself, which says the same in every dialect.
fn read_tools(fields: &mut Fields, allowed: Option<&[Value]>, extra: &mut Map<String, Value>) -> Result<Vec<Tool>, Failure> {
    let (mut tools, mut place) = (Vec::new(), 0);
    for (index, tool) in fields.list("tools")?.unwrap_or_default().into_iter().enumerate() {
        let mut tool = Fields::from_value(tool, format!("tools[{index}]"))?;
        // Chat's nested form, which some clients keep.
        if let Some(mut nested) = tool.object("function")? {
            nested.take("type");
            tool.take("type");
            extra.extend(tool.rest().into_iter().map(|(key, value)| (format!("tools[{place}].{key}"), value)));
            tool = nested;
        }
        let kind = tool.peek("type").and_then(Value::as_str).unwrap_or("function");
        let name = tool.peek("name").and_then(Value::as_str).unwrap_or_default();
        if allowed.is_some_and(|allowed| !is_allowed(allowed, kind, name)) {
            continue;
        }
        if kind == "function" {
            tools.push(function(tool, place, extra)?);
        } else {
            extra.insert(format!("tools[{place}]"), Value::Object(tool.into_map()));
        }
        place += 1;
    }
    Ok(tools)
}

/// A hosted tool may be named by its type alone.
fn is_allowed(allowed: &[Value], kind: &str, name: &str) -> bool {
    allowed.iter().any(|a| a["type"] == kind && (a["name"] == name || (a["name"].is_null() && kind != "function")))
}

fn function(mut tool: Fields, place: usize, extra: &mut Map<String, Value>) -> Result<Tool, Failure> {
    tool.take("type");
    let name = tool.text("name")?;
    let name = tool.needed("name", name, "the function's name is needed")?;
    let description = tool.text("description")?;
    let strict = tool.flag("strict")?;
    let parameters = match tool.object("parameters")? {
        Some(schema) => Value::Object(schema.into_map()),
        None => json!({"type": "object", "properties": {}}),
    };
    extra.extend(tool.rest().into_iter().map(|(key, value)| (format!("tools[{place}].{key}"), value)));
    Ok(Tool { name, description, parameters, strict, cache: None })
}

/// The choice, and the tools that it allows.
fn tool_choice(fields: &mut Fields, extra: &mut Map<String, Value>) -> Result<(ToolChoice, Option<Vec<Value>>), Failure> {
    const ALLOWED: &str = "none, auto, required and an object with a type";
    let word = |word: &str| match word {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" | "any" => Ok(ToolChoice::Required),
        other => Err(unknown("tool_choice", other, ALLOWED)),
    };
    let choice = match fields.take("tool_choice") {
        None => return Ok((ToolChoice::Unset, None)),
        Some(Value::String(said)) => return Ok((word(&said)?, None)),
        Some(choice @ Value::Object(_)) => choice,
        Some(other) => return Err(wrong("tool_choice", "one of none, auto, required, or an object with a type", &other)),
    };
    match choice["type"].as_str() {
        Some("function") => match choice["name"].as_str().or(choice["function"]["name"].as_str()) {
            Some(name) => {
                keep_unknown(&choice, "tool_choice", &["type", "name", "function"], extra);
                Ok((ToolChoice::Function(name.to_owned()), None))
            }
            None => Err(Failure::invalid("tool_choice.name", "`tool_choice.name` is missing: the function's name is needed")),
        },
        Some("allowed_tools") => {
            let allowed = choice["tools"].as_array().ok_or_else(|| {
                Failure::invalid("tool_choice.tools", "`tool_choice.tools` is missing: a list of the tools that may be called is needed")
            })?;
            keep_unknown(&choice, "tool_choice", &["type", "mode", "tools"], extra);
            for (at, tool) in allowed.iter().enumerate() {
                keep_unknown(tool, &format!("tool_choice.tools[{at}]"), &["type", "name", "server_label"], extra);
            }
            Ok((word(choice["mode"].as_str().unwrap_or("auto"))?, Some(allowed.clone())))
        }
        Some(_) => {
            extra.insert("tool_choice".to_owned(), choice);
            Ok((ToolChoice::Unset, None))
        }
        None => Err(unknown("tool_choice", "an object without a type", ALLOWED)),
    }
}

/// Keeps the members of an object besides those that are read.
pub(super) fn keep_unknown(value: &Value, path: &str, read: &[&str], extra: &mut Map<String, Value>) {
    for (key, value) in value.as_object().into_iter().flatten().filter(|(key, value)| !read.contains(&key.as_str()) && !value.is_null()) {
        extra.insert(format!("{path}.{key}"), value.clone());
    }
}

/// Reads a whole answer as the events that it would have streamed (API reference, "The response object").
///
/// # Errors
/// [`Code::UpstreamError`] where it is no response object.
pub fn response(body: &[u8]) -> Result<Vec<Event>, Failure> {
    let other_shape = |what: &str| Failure::new(Code::UpstreamError, format!("the upstream's answer is no response object: {what}"));
    let answer: Map<String, Value> = serde_json::from_slice(body).map_err(|e| other_shape(&e.to_string()))?;
    let output = answer.get("output").and_then(Value::as_array);
    let mut events = vec![start(&answer)];
    if let Some(failed) = failed(&answer) {
        events.extend(usage_of(&answer).map(Event::Usage));
        events.push(failed);
        return Ok(events);
    }
    let mut items = Items::default();
    for (index, item) in output.ok_or_else(|| other_shape("`output` is no list"))?.iter().enumerate() {
        if items.whole(Some(index as u64), item, &mut events).is_err() {
            return Err(other_shape("it has too many items"));
        }
    }
    items.end(&answer, &mut events);
    Ok(events)
}

/// The first event.
pub(super) fn start(response: &Map<String, Value>) -> Event {
    let text = |name: &str| response.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    // Some servers give seconds with a fraction.
    let created = response.get("created_at").and_then(|v| v.as_i64().or_else(|| v.as_f64().map(|s| s as i64))).unwrap_or(0);
    Event::Start { id: text("id"), model: text("model"), created }
}

/// The failure that a response object reports, if it does.
pub(super) fn failed(response: &Map<String, Value>) -> Option<Event> {
    let status = response.get("status").and_then(Value::as_str).unwrap_or("completed");
    let error = response.get("error").filter(|e| !e.is_null());
    if error.is_none() && matches!(status, "completed" | "incomplete") {
        return None;
    }
    let (message, code) = match error {
        Some(error) => said(error),
        None => (format!("the upstream's answer has the status {status:?}"), None),
    };
    Some(Event::Failed { message, code: code.or_else(|| Some(status.to_owned()).filter(|s| s != "failed")) })
}

/// Message and code of an error object, or of an error that is only text.
pub(super) fn said(error: &Value) -> (String, Option<String>) {
    let message = error["message"].as_str().or(error.as_str()).unwrap_or("the upstream reported an error");
    let code = error["code"].as_str().or(error["type"].as_str().filter(|t| *t != "error"));
    (message.to_owned(), code.map(str::to_owned))
}
