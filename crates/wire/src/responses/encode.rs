//! The inner language → Responses JSON.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::{
    decode::{INCLUDE_LOGPROBS, INCLUDE_STATE, OTHER_INPUT},
    output::Encoder,
    write_items,
};
use crate::{
    custom,
    error::Failure,
    extra,
    ir::{Block, Event, Family, Format, Message, Request, Role, Tool, ToolChoice},
    json_wish,
    losses::Losses,
    names,
    thinking::effort_of,
};

/// Fewest output tokens that Responses takes.
const OUTPUT_TOKENS_MIN: u32 = 16;

/// Fields of chat that mean the same here; both dialects are one provider's.
const SHARED_WITH_CHAT: [&str; 5] =
    ["prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "safety_identifier", "service_tier"];

/// Writes a request; what Responses cannot carry is noted.
///
/// For a request of another dialect nothing is stored (`store: false`) and functions are not strict unless they say so: the server's
/// own defaults are the opposite of what that caller means.
pub fn request(request: &Request, losses: &mut Losses) -> Value {
    let own = request.family.is_none_or(|f| f == Family::Responses);
    let mut out = Map::new();
    out.insert("model".into(), request.model.clone().into());
    let first = usize::from(takes_instructions(request));
    if let (1, Some(Message { blocks, .. })) = (first, request.messages.first()) {
        out.insert("instructions".into(), text_of(blocks).into());
    }
    let mut items = write_items::items(&request.messages[first..], first, own, losses);
    if request.format == Format::Json && request.family != Some(Family::Responses) && !json_wish::is_said(request) {
        items.push(json!({"type": "message", "role": "developer", "content": json_wish::ANY}));
    }
    if items.is_empty() && !request.messages.is_empty() && !has_other_input(request) {
        // Without any input it would be refused.
        items.push(json!({"type": "message", "role": "user", "content": ""}));
    }
    if !items.is_empty() || !has_other_input(request) {
        out.insert("input".into(), items.into());
    }
    generation(request, &mut out, losses);
    write_tools(request, &mut out, losses);
    reasoning(request, &mut out, losses);
    format(request, &mut out);
    if request.stream {
        out.insert("stream".into(), true.into());
    }
    if request.family != Some(Family::Responses) {
        out.insert("store".into(), false.into());
    }
    put_extra(request, own, &mut out, losses);
    Value::Object(out)
}

fn text_of(blocks: &[Block]) -> &str {
    match blocks {
        [Block::Text { text }] => text,
        _ => "",
    }
}

/// A first system message of one text becomes `instructions`; one of several blocks keeps their borders as an item. Where a caller of another dialect
/// asks for JSON the word must stand in the input, for which instructions do not count everywhere.
fn takes_instructions(request: &Request) -> bool {
    let fits = |m: &Message| m.role == Role::System && m.name.is_none() && !text_of(&m.blocks).is_empty();
    let may_stand = request.format != Format::Json || request.family == Some(Family::Responses);
    may_stand && request.messages.first().is_some_and(fits) && (request.messages.len() > 1 || has_other_input(request))
}

fn has_other_input(request: &Request) -> bool {
    OTHER_INPUT.iter().any(|name| request.extra.contains_key(*name))
}

fn generation(request: &Request, out: &mut Map<String, Value>, losses: &mut Losses) {
    let g = &request.generation;
    let mut put = |name: &str, value: Option<Value>| out.extend(value.map(|v| (name.to_owned(), v)));
    let limit = g.max_tokens.map(|n| {
        // Others may ask for a single token; here that is refused.
        let raised = if request.family == Some(Family::Responses) { n } else { n.max(OUTPUT_TOKENS_MIN) };
        if raised != n {
            losses.change("max_tokens");
        }
        raised
    });
    put("max_output_tokens", limit.map(Into::into));
    put("temperature", g.temperature.map(Into::into));
    put("top_p", g.top_p.map(Into::into));
    put("top_logprobs", g.logprobs.filter(|n| *n > 0).map(Into::into));
    put("include", Some(include(request)).filter(|words| !words.is_empty()).map(Into::into));
    put("user", request.user.clone().map(Into::into));
    for (name, is_set) in [
        ("top_k", g.top_k.is_some()),
        ("presence_penalty", g.presence_penalty.is_some_and(|p| p != 0.0)),
        ("frequency_penalty", g.frequency_penalty.is_some_and(|p| p != 0.0)),
        ("seed", g.seed.is_some()),
        ("stop", !g.stop.is_empty()),
        ("n", g.n.is_some_and(|n| n != 1)),
    ] {
        if is_set {
            losses.drop(name);
        }
    }
}

fn write_tools(request: &Request, out: &mut Map<String, Value>, losses: &mut Losses) {
    if !request.tools.is_empty() {
        out.insert("tools".into(), request.tools.iter().map(|t| tool(t, request.family)).collect::<Vec<_>>().into());
    }
    for (at, _) in request.tools.iter().enumerate().filter(|(_, t)| t.cache.is_some()) {
        losses.drop(format!("tools[{at}].cache_control"));
    }
    // Custom tools are OpenAI's in both dialects.
    let is_chat = request.family == Some(Family::Chat);
    for (place, value) in request.extra.iter().filter(|_| is_chat).filter_map(|(key, value)| Some((place_of(key)?, custom::flat(value)?))) {
        if let Some(tools) = out.entry("tools").or_insert_with(|| json!([])).as_array_mut() {
            tools.insert(place.min(tools.len()), value);
        }
    }
    let choice = match &request.tool_choice {
        ToolChoice::Unset => request.extra.get("tool_choice").filter(|_| is_chat).and_then(custom::flat),
        ToolChoice::Auto => Some("auto".into()),
        ToolChoice::None => Some("none".into()),
        ToolChoice::Required => Some("required".into()),
        ToolChoice::Function(name) => Some(json!({"type": "function", "name": tool_name(name, request.family)})),
    };
    // Beside no tools it would be refused.
    if request.family.is_none_or(|f| f == Family::Responses) || out.contains_key("tools") {
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

/// Names of other dialects may have signs that OpenAI refuses; answers bring the original back.
fn tool_name(name: &str, family: Option<Family>) -> Cow<'_, str> {
    if family.is_none_or(|f| f == Family::Responses) { Cow::Borrowed(name) } else { names::escape(name) }
}

fn tool(tool: &Tool, family: Option<Family>) -> Value {
    let mut out = json!({"type": "function", "name": tool_name(&tool.name, family)});
    if let Some(text) = &tool.description {
        out["description"] = text.as_str().into();
    }
    out["parameters"] = tool.parameters.clone();
    // Unset means strict here, and not strict elsewhere.
    if let Some(strict) = tool.strict.or((family != Some(Family::Responses)).then_some(false)) {
        out["strict"] = strict.into();
    }
    out
}

fn reasoning(request: &Request, out: &mut Map<String, Value>, losses: &mut Losses) {
    let wanted = &request.reasoning;
    let mut said = Map::new();
    let effort = wanted.effort.clone().or_else(|| wanted.budget_tokens.map(|budget| effort_of(budget).to_owned()));
    // No thinking is the one budget that has a word.
    if wanted.budget_tokens.is_some_and(|n| n > 0 || effort.as_deref() != Some("none")) {
        losses.change("reasoning.budget_tokens");
    }
    said.extend(effort.map(|e| ("effort".to_owned(), e.into())));
    // Chat has no word for it; its clients read what comes.
    let is_shown = wanted.shown.unwrap_or(request.family == Some(Family::Chat) && thinks(request));
    if is_shown {
        said.insert("summary".into(), "auto".into());
    }
    if !said.is_empty() {
        out.insert("reasoning".into(), said.into());
    }
}

/// Whether thinking is wished for.
fn thinks(request: &Request) -> bool {
    let wanted = &request.reasoning;
    match (wanted.effort.as_deref(), wanted.budget_tokens) {
        (Some(effort), _) => effort != "none",
        (None, Some(budget)) => budget > 0,
        (None, None) => wanted.shown == Some(true),
    }
}

/// Without stored state, the next turn needs the encrypted form of what was thought. Models that do not think refuse the wish, so it is
/// made only where thinking is wished for or has been done.
fn include(request: &Request) -> Vec<Value> {
    let is_own_thought = |b: &Block| matches!(b, Block::Reasoning { state: Some(state), .. } if state.family == Family::Responses && state.encrypted.is_some());
    let has_thought = request.messages.iter().flat_map(|m| &m.blocks).any(is_own_thought);
    let needs_state = request.family.is_some_and(|f| f != Family::Responses) && (thinks(request) || has_thought);
    let words = [(request.generation.logprobs.is_some(), INCLUDE_LOGPROBS), (needs_state, INCLUDE_STATE)];
    words.into_iter().filter(|(is_needed, _)| *is_needed).map(|(_, word)| word.into()).collect()
}

fn format(request: &Request, out: &mut Map<String, Value>) {
    let format = match &request.format {
        Format::Text => return,
        Format::Json => json!({"type": "json_object"}),
        Format::Schema { name, schema, strict } => {
            let mut format = json!({"type": "json_schema", "name": name, "schema": schema});
            if let Some(strict) = strict {
                format["strict"] = (*strict).into();
            }
            format
        }
    };
    out.insert("text".into(), json!({ "format": format }));
}

/// Puts the caller's own fields back where they were; those of another dialect are noted, but for the few that are shared.
fn put_extra(request: &Request, own: bool, out: &mut Map<String, Value>, losses: &mut Losses) {
    for (key, value) in &request.extra {
        let is_chat = request.family == Some(Family::Chat);
        match key.as_str() {
            _ if own => put_back(key, value, out, losses),
            "verbosity" if is_chat => nested(out, "text", "verbosity", value),
            "response_format.json_schema.description" if is_chat && matches!(request.format, Format::Schema { .. }) => {
                put_back("text.format.description", value, out, losses);
            }
            shared if is_chat && SHARED_WITH_CHAT.contains(&shared) => {
                out.insert(key.clone(), value.clone());
            }
            tool if is_chat && (place_of(tool).is_some() || tool == "tool_choice") && custom::flat(value).is_some() => {}
            _ if extra::is_wish(request.family, key, value) => losses.drop(key),
            _ => {}
        }
    }
}

fn put_back(key: &str, value: &Value, out: &mut Map<String, Value>, losses: &mut Losses) {
    if let Some(index) = place_of(key) {
        let tools = out.entry("tools").or_insert_with(|| json!([]));
        if let Some(tools) = tools.as_array_mut() {
            tools.insert(index.min(tools.len()), value.clone());
        }
    } else if let Some((index, name)) = key.strip_prefix("tools[").and_then(|k| k.split_once("].")) {
        let tool = index.parse::<usize>().ok().and_then(|at| out.get_mut("tools")?.get_mut(at));
        match tool {
            Some(Value::Object(tool)) => {
                tool.insert(name.to_owned(), value.clone());
            }
            _ => losses.drop(key),
        }
    } else if key.contains('[') {
        losses.drop(key);
    } else if let Some(name) = key.strip_prefix("text.format.") {
        match object(out, "text").map(|text| text.entry("format").or_insert_with(|| json!({"type": "text"}))) {
            Some(Value::Object(format)) => {
                format.insert(name.to_owned(), value.clone());
            }
            _ => losses.drop(key),
        }
    } else if let Some((parent, name)) =
        key.split_once('.').filter(|(parent, _)| matches!(*parent, "text" | "reasoning" | "stream_options"))
    {
        nested(out, parent, name, value);
    } else if key.contains('.') {
        losses.drop(key);
    } else if let (Some(Value::Array(all)), "include", Value::Array(more)) = (out.get_mut(key), key, value) {
        all.extend(more.iter().cloned());
    } else {
        out.insert(key.to_owned(), value.clone());
    }
}

fn nested(out: &mut Map<String, Value>, parent: &str, name: &str, value: &Value) {
    if let Some(members) = object(out, parent) {
        members.insert(name.to_owned(), value.clone());
    }
}

/// The object under a name, made if it is missing.
fn object<'a>(out: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    out.entry(name).or_insert_with(|| json!({})).as_object_mut()
}

/// Writes a whole answer from its events.
pub fn response(events: &[Event]) -> Value {
    Encoder::new().whole(events)
}

/// Writes a whole answer that repeats what was asked (instructions, tools, limits, …), as the official server does.
pub fn response_to(request: &Request, events: &[Event]) -> Value {
    Encoder::for_request(request).whole(events)
}

/// Writes an error body.
pub fn failure(failure: &Failure, request_id: &str) -> Value {
    failure.to_openai(Some(request_id))
}
