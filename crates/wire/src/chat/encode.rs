//! The inner language → chat JSON.

use serde_json::{Map, Value, json};

use super::types::{ChatResponse, Choice, Content, FunctionCall, Logprobs, Message as ChatMessage, ToolCall};
use crate::{
    ir::{Block, BlockKind, Delta, Event, Family, Finish, Format, Media, Message, Request, Role, Source, ToolChoice},
    losses::Losses,
};

/// Writes a request; what chat cannot carry is noted.
pub fn request(request: &Request, losses: &mut Losses) -> Value {
    let mut out = Map::new();
    out.insert("model".into(), request.model.clone().into());
    let messages: Vec<Value> = request.messages.iter().enumerate().flat_map(|(i, m)| message(i, m, losses)).collect();
    out.insert("messages".into(), messages.into());
    generation(request, &mut out);
    if !request.tools.is_empty() {
        out.insert("tools".into(), request.tools.iter().map(tool).collect::<Vec<_>>().into());
    }
    let choice = match &request.tool_choice {
        ToolChoice::Unset => None,
        ToolChoice::Auto => Some("auto".into()),
        ToolChoice::None => Some("none".into()),
        ToolChoice::Required => Some("required".into()),
        ToolChoice::Function(name) => Some(json!({"type": "function", "function": {"name": name}})),
    };
    out.extend(choice.map(|c| ("tool_choice".to_owned(), c)));
    out.extend(request.parallel_tool_calls.map(|p| ("parallel_tool_calls".to_owned(), p.into())));
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
    if request.family.is_none_or(|f| f == Family::Chat) {
        out.extend(request.extra.clone());
    } else {
        request.extra.keys().for_each(|key| losses.drop(key));
    }
    if request.reasoning.effort.is_none() && request.reasoning.budget_tokens.is_some() {
        losses.drop("reasoning.budget_tokens");
    }
    for tool in request.tools.iter().filter(|t| t.cache.is_some()) {
        losses.drop(format!("tools.{}.cache", tool.name));
    }
    Value::Object(out)
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
    put("reasoning_effort", request.reasoning.effort.clone().map(Into::into));
    put("user", request.user.clone().map(Into::into));
}

fn tool(tool: &crate::ir::Tool) -> Value {
    let mut function = json!({"name": tool.name, "parameters": tool.parameters});
    if let Some(text) = &tool.description {
        function["description"] = text.as_str().into();
    }
    if let Some(strict) = tool.strict {
        function["strict"] = strict.into();
    }
    json!({"type": "function", "function": function})
}

/// One inner message may hold several tool results, each of which is a chat message of its own.
fn message(index: usize, m: &Message, losses: &mut Losses) -> Vec<Value> {
    let role = match m.role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let mut results = Vec::new();
    let (mut parts, mut calls, mut reasoning, mut refusal) = (Vec::new(), Vec::new(), String::new(), None);
    for (at, block) in m.blocks.iter().enumerate() {
        let path = format!("messages[{index}].blocks[{at}]");
        match block {
            Block::Text { text } => parts.push(json!({"type": "text", "text": text})),
            Block::Reasoning { text, state } => {
                reasoning.push_str(text);
                if state.is_some() {
                    losses.drop(format!("{path}.state"));
                }
            }
            Block::Refusal { text } => refusal = Some(text.clone()),
            Block::ToolCall { id, name, arguments, state } => {
                if state.is_some() {
                    losses.drop(format!("{path}.state"));
                }
                let arguments = if arguments.is_empty() { "{}" } else { arguments };
                calls.push(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}));
            }
            Block::ToolResult { call_id, blocks, is_error, .. } => {
                let inner: Vec<Value> = blocks.iter().filter_map(|b| part(b, &path, losses)).collect();
                if *is_error {
                    losses.drop(format!("{path}.is_error"));
                }
                results.push(json!({"role": "tool", "tool_call_id": call_id, "content": content(inner)}));
            }
            other => parts.extend(part(other, &path, losses)),
        }
    }
    if m.role == Role::Tool || (!results.is_empty() && parts.is_empty() && calls.is_empty()) {
        return results;
    }
    let mut out = json!({"role": role, "content": content(parts)});
    if let Some(name) = &m.name {
        out["name"] = name.as_str().into();
    }
    if !reasoning.is_empty() {
        out["reasoning_content"] = reasoning.into();
    }
    if let Some(refusal) = refusal {
        out["refusal"] = refusal.into();
    }
    if !calls.is_empty() {
        out["tool_calls"] = calls.into();
    }
    results.push(out);
    results
}

/// A single text is written as text; nothing as null.
fn content(mut parts: Vec<Value>) -> Value {
    match parts.len() {
        0 => Value::Null,
        1 if parts[0]["type"] == "text" => parts[0]["text"].take(),
        _ => parts.into(),
    }
}

fn part(block: &Block, path: &str, losses: &mut Losses) -> Option<Value> {
    match block {
        Block::Text { text } => Some(json!({"type": "text", "text": text})),
        Block::Media(media) => Some(media_part(media)),
        Block::Opaque { family: Family::Chat, value } => Some(value.clone()),
        _ => {
            losses.drop(path);
            None
        }
    }
}

fn media_part(media: &Media) -> Value {
    let data = match &media.source {
        Source::Base64(data) => format!("data:{};base64,{data}", media.mime),
        Source::Url(url) => url.clone(),
        Source::File(id) => return json!({"type": "file", "file": {"file_id": id}}),
    };
    if media.mime.starts_with("image/") {
        let mut image = json!({"url": data});
        if let Some(detail) = &media.detail {
            image["detail"] = detail.as_str().into();
        }
        return json!({"type": "image_url", "image_url": image});
    }
    if let (Some(format), Source::Base64(data)) = (media.mime.strip_prefix("audio/"), &media.source) {
        return json!({"type": "input_audio", "input_audio": {"data": data, "format": format}});
    }
    let mut file = json!({"file_data": data});
    if let Some(name) = &media.file_name {
        file["filename"] = name.as_str().into();
    }
    json!({"type": "file", "file": file})
}

/// Chat's word for the end of a choice.
pub(crate) fn finish(reason: &Finish) -> &str {
    match reason {
        Finish::Stop | Finish::StopSequence(_) | Finish::Paused => "stop",
        Finish::Length | Finish::ContextFull => "length",
        Finish::ToolCall => "tool_calls",
        Finish::Refusal | Finish::Filter => "content_filter",
        Finish::MalformedCall => "error",
        Finish::Other(own) => own,
    }
}

/// Writes a whole answer from its events.
pub fn response(events: &[Event]) -> ChatResponse {
    let mut answer = ChatResponse { object: "chat.completion".to_owned(), ..ChatResponse::default() };
    let mut kinds = std::collections::HashMap::new();
    for event in events {
        match event {
            Event::Start { id, model, created } => {
                answer.id.clone_from(id);
                answer.model.clone_from(model);
                answer.created = *created;
            }
            Event::BlockStart { choice, block, kind } => {
                let message = &mut choice_of(&mut answer, *choice).message;
                if let BlockKind::ToolCall { id, name } = kind {
                    let function = FunctionCall { name: Some(name.clone()), arguments: Some(String::new()) };
                    let calls = message.tool_calls.get_or_insert_default();
                    kinds.insert((*choice, *block), calls.len());
                    calls.push(ToolCall { index: None, id: Some(id.clone()), kind: Some("function".to_owned()), function });
                }
            }
            Event::Delta { choice, block, delta } => {
                let call = kinds.get(&(*choice, *block)).copied();
                add(choice_of(&mut answer, *choice), call, delta);
            }
            Event::BlockStop { choice, block } => {
                let call = kinds.get(&(*choice, *block)).copied();
                let calls = choice_of(&mut answer, *choice).message.tool_calls.as_mut();
                if let Some(call) = call.and_then(|i| calls?.get_mut(i)) {
                    let arguments = call.function.arguments.get_or_insert_default();
                    if arguments.trim().is_empty() {
                        "{}".clone_into(arguments);
                    }
                }
            }
            Event::Finish { choice, reason } => choice_of(&mut answer, *choice).finish_reason = Some(finish(reason).to_owned()),
            Event::Usage(usage) => answer.usage = Some(usage.to_chat()),
            Event::End | Event::Failed { .. } => {}
        }
    }
    answer
}

fn choice_of(answer: &mut ChatResponse, index: u32) -> &mut Choice {
    let at = answer.choices.iter().position(|c| c.index == index).unwrap_or_else(|| {
        let message = ChatMessage { role: "assistant".to_owned(), ..ChatMessage::default() };
        answer.choices.push(Choice { index, message, ..Choice::default() });
        answer.choices.len() - 1
    });
    &mut answer.choices[at]
}

fn add(choice: &mut Choice, call: Option<usize>, delta: &Delta) {
    let message = &mut choice.message;
    match delta {
        Delta::Text(text) => match &mut message.content {
            Some(Content::Text(said)) => said.push_str(text),
            _ => message.content = Some(Content::Text(text.clone())),
        },
        Delta::Reasoning(text) => message.reasoning_content.get_or_insert_default().push_str(text),
        Delta::Refusal(text) => message.refusal.get_or_insert_default().push_str(text),
        Delta::Arguments(text) => {
            if let Some(call) = call.and_then(|i| message.tool_calls.as_mut()?.get_mut(i)) {
                call.function.arguments.get_or_insert_default().push_str(text);
            }
        }
        Delta::State(_) | Delta::Citation(_) => {}
        Delta::Logprobs(more) => {
            let all = choice.logprobs.get_or_insert_with(Logprobs::default);
            if let Some(more) = &more.0.content {
                all.content.get_or_insert_default().extend(more.iter().cloned());
            }
        }
    }
}
