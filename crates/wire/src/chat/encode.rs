//! The inner language → chat JSON.

mod answer;
mod history;

use std::borrow::Cow;

use serde_json::{Map, Value, json};

pub(crate) use self::answer::finish;
pub use self::answer::{response, response_body};
use crate::{
    custom, extra,
    ir::{Family, Format, Request, ToolChoice},
    json_wish,
    losses::Losses,
    names,
    thinking::effort_of,
};

/// Writes a request; what chat cannot carry is noted.
///
/// Not noted: whether thoughts are shown, which chat leaves to the server; and a tool result's repeated name.
pub fn request(request: &Request, losses: &mut Losses) -> Value {
    let is_own = request.family.is_none_or(|f| f == Family::Chat);
    let mut out = Map::new();
    out.insert("model".into(), request.model.clone().into());
    let mut messages = history::messages(request, is_own, losses);
    if request.format == Format::Json && !is_own && !json_wish::is_said(request) {
        messages.push(json!({"role": "system", "content": json_wish::ANY}));
    }
    out.insert("messages".into(), messages.into());
    generation(request, &mut out);
    tools(request, is_own, &mut out, losses);
    match &request.format {
        Format::Text => {}
        Format::Json => {
            out.insert("response_format".into(), json!({"type": "json_object"}));
        }
        Format::Schema { name, schema, strict } => {
            let mut described = json!({"name": name, "schema": schema});
            if let Some(strict) = strict {
                described["strict"] = (*strict).into();
            }
            out.insert("response_format".into(), json!({"type": "json_schema", "json_schema": described}));
        }
    }
    if request.stream {
        out.insert("stream".into(), true.into());
        if request.stream_usage {
            out.insert("stream_options".into(), json!({"include_usage": true}));
        }
    }
    put_extra(request, is_own, &mut out, losses);
    if request.reasoning.budget_tokens.is_some() {
        match effort(request) {
            // No thinking is the one budget that chat has a word for.
            Some("none") if request.reasoning.budget_tokens == Some(0) => {}
            Some(_) if request.reasoning.effort.is_none() => losses.change("reasoning.budget_tokens"),
            _ => losses.drop("reasoning.budget_tokens"),
        }
    }
    Value::Object(out)
}

/// The effort, also where only a budget is named.
fn effort(request: &Request) -> Option<&str> {
    request.reasoning.effort.as_deref().or_else(|| request.reasoning.budget_tokens.map(effort_of))
}

/// Functions, and custom tools of OpenAI's other dialect at their places.
fn tools(request: &Request, is_own: bool, out: &mut Map<String, Value>, losses: &mut Losses) {
    let mut tools: Vec<Value> = request.tools.iter().map(|t| tool(t, is_own)).collect();
    for (at, tool) in request.tools.iter().enumerate() {
        if tool.cache.is_some() && !is_own {
            losses.drop(format!("tools[{at}].cache_control"));
        }
    }
    for (place, tool) in request.extra.iter().filter_map(|(key, value)| Some((place_of(key)?, other_tool(request.family, value)?))) {
        tools.insert(place.min(tools.len()), tool);
    }
    if !tools.is_empty() {
        out.insert("tools".into(), tools.into());
    }
    let choice = match &request.tool_choice {
        ToolChoice::Unset => request.extra.get("tool_choice").and_then(|choice| other_tool(request.family, choice)),
        ToolChoice::Auto => Some("auto".into()),
        ToolChoice::None => Some("none".into()),
        ToolChoice::Required => Some("required".into()),
        ToolChoice::Function(name) => Some(json!({"type": "function", "function": {"name": tool_name(name, is_own)}})),
    };
    // Beside no tools it would be refused.
    if out.contains_key("tools") || is_own {
        out.extend(choice.map(|c| ("tool_choice".to_owned(), c)));
        out.extend(request.parallel_tool_calls.map(|p| ("parallel_tool_calls".to_owned(), p.into())));
    } else if matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Function(_)) {
        losses.drop("tool_choice");
    }
}

/// The place in the list of tools that a member of `extra` names.
fn place_of(key: &str) -> Option<usize> {
    key.strip_prefix("tools[")?.strip_suffix(']')?.parse().ok()
}

/// A tool that is no function, or a choice of one, in chat's form.
fn other_tool(family: Option<Family>, value: &Value) -> Option<Value> {
    match family {
        Some(Family::Responses) => custom::nested(value),
        None | Some(Family::Chat) => Some(value.clone()),
        _ => None,
    }
}

/// Fields of Responses that mean the same here; both dialects are one provider's.
const SHARED_WITH_RESPONSES: [&str; 5] =
    ["prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "safety_identifier", "service_tier"];

/// Members of text completions that mean the same here, llama-server's among them.
const SHARED_WITH_COMPLETIONS: [&str; 6] = ["logit_bias", "min_p", "repeat_penalty", "repeat_last_n", "ignore_eos", "grammar"];

/// The caller's own members. What belongs to a message or tool that is written anew has lost its place.
fn put_extra(request: &Request, is_own: bool, out: &mut Map<String, Value>, losses: &mut Losses) {
    for (key, value) in &request.extra {
        let is_tool = place_of(key).is_some() || key == "tool_choice";
        if is_tool && other_tool(request.family, value).is_some() {
            // Written with the tools.
        } else if is_own {
            match key.split_once('.') {
                _ if key.contains('[') => losses.drop(key),
                Some((parent, name)) if out.get(parent).is_some_and(Value::is_object) || parent == "stream_options" => {
                    nested(out, parent, name, value, losses, key);
                }
                Some(_) => losses.drop(key),
                None => {
                    out.insert(key.clone(), value.clone());
                }
            }
        } else if request.family == Some(Family::Responses) && SHARED_WITH_RESPONSES.contains(&key.as_str()) {
            out.insert(key.clone(), value.clone());
        } else if request.family == Some(Family::Responses) && key == "text.verbosity" {
            out.insert("verbosity".to_owned(), value.clone());
        } else if request.family == Some(Family::Responses) && key == "text.format.description" {
            nested(out, "response_format", "json_schema.description", value, losses, key);
        } else if request.family == Some(Family::Completions) && SHARED_WITH_COMPLETIONS.contains(&key.as_str()) {
            out.insert(key.clone(), value.clone());
        } else if extra::is_wish(request.family, key, value) {
            losses.drop(key);
        }
    }
}

/// Puts a member into an object by its path; noted where there is none.
fn nested(out: &mut Map<String, Value>, parent: &str, path: &str, value: &Value, losses: &mut Losses, key: &str) {
    let mut place = out.entry(parent).or_insert_with(|| json!({}));
    let (inner, name) = path.rsplit_once('.').map_or((None, path), |(inner, name)| (Some(inner), name));
    if let Some(inner) = inner {
        match place.get_mut(inner) {
            Some(found) => place = found,
            None => return losses.drop(key),
        }
    }
    match place {
        Value::Object(members) => {
            members.insert(name.to_owned(), value.clone());
        }
        _ => losses.drop(key),
    }
}

fn generation(request: &Request, out: &mut Map<String, Value>) {
    let g = &request.generation;
    let mut put = |key: &str, value: Option<Value>| out.extend(value.map(|v| (key.to_owned(), v)));
    put("max_tokens", g.max_tokens.map(Into::into));
    put("temperature", g.temperature.map(Into::into));
    put("top_p", g.top_p.map(Into::into));
    put("top_k", g.top_k.map(Into::into));
    put("presence_penalty", g.presence_penalty.map(Into::into));
    put("frequency_penalty", g.frequency_penalty.map(Into::into));
    put("seed", g.seed.map(Into::into));
    put("stop", (!g.stop.is_empty()).then(|| g.stop.clone().into()));
    put("n", g.n.map(Into::into));
    put("logprobs", g.logprobs.map(|_| true.into()));
    put("top_logprobs", g.logprobs.filter(|n| *n > 0).map(Into::into));
    put("reasoning_effort", effort(request).map(Into::into));
    put("user", request.user.clone().map(Into::into));
}

fn tool(tool: &crate::ir::Tool, is_own: bool) -> Value {
    let mut function = json!({"name": tool_name(&tool.name, is_own), "parameters": tool.parameters});
    if let Some(text) = &tool.description {
        function["description"] = text.as_str().into();
    }
    if let Some(strict) = tool.strict {
        function["strict"] = strict.into();
    }
    let mut out = json!({"type": "function", "function": function});
    if let Some(ttl) = tool.cache.as_deref().filter(|_| is_own) {
        out["cache_control"] = cache_control(Some(ttl));
    }
    out
}

/// Names of other dialects may have signs that OpenAI refuses; answers bring the original back.
fn tool_name(name: &str, is_own: bool) -> Cow<'_, str> {
    if is_own { Cow::Borrowed(name) } else { names::escape(name) }
}

fn cache_control(ttl: Option<&str>) -> Value {
    match ttl {
        None | Some("") => json!({"type": "ephemeral"}),
        Some(ttl) => json!({"type": "ephemeral", "ttl": ttl}),
    }
}
