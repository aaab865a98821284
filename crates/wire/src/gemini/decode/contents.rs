//! `contents` → messages.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::{
    error::Failure,
    gemini::{
        fields::{Fields, wrong},
        names::Calls,
        parts::{Data, Part},
    },
    ir::{Block, Family, Message, Role, State},
};

/// Messages in order. What parts say beyond the inner language goes into `extra` by its path.
pub(super) fn messages(list: Vec<Value>, path: &str, extra: &mut Map<String, Value>) -> Result<Vec<Message>, Failure> {
    let mut calls = Calls::new(ids(&list));
    let mut messages: Vec<Message> = Vec::new();
    for (index, content) in list.into_iter().enumerate() {
        let mut fields = Fields::of(content, format!("{path}[{index}]"))?;
        let role = role(&mut fields)?;
        if role == Role::Assistant && messages.last().is_some_and(|m| m.role != Role::Assistant) {
            calls.new_turn();
        }
        let place = fields.at("parts");
        let parts = fields.list("parts")?.unwrap_or_default();
        if parts.is_empty() {
            // SDKs keep a model's empty answer in their history.
            if role == Role::Assistant {
                continue;
            }
            return Err(wrong(&place, "a list of at least one part"));
        }
        let mut blocks = Vec::new();
        for (at, part) in parts.into_iter().enumerate() {
            let part_path = format!("{place}[{at}]");
            let part = Part::read(part, &part_path)?;
            read_part(part, &part_path, &mut calls, &mut blocks, extra)?;
        }
        extra.extend(fields.rest().map(|(k, v)| (format!("{path}[{index}].{k}"), v)));
        if role == Role::Assistant && blocks.iter().all(|b| matches!(b, Block::Text { text } if text.is_empty())) {
            continue;
        }
        let only_results = blocks.iter().all(|b| matches!(b, Block::ToolResult { .. }));
        let role = if role == Role::User && only_results { Role::Tool } else { role };
        match messages.last_mut() {
            Some(before) if role == Role::Assistant && before.role == role => go_on(&mut before.blocks, blocks),
            _ => messages.push(Message { role, name: None, blocks }),
        }
    }
    Ok(messages)
}

/// Puts the pieces of a turn together: SDKs keep every chunk of a stream as a content of its own.
fn go_on(turn: &mut Vec<Block>, mut more: Vec<Block>) {
    let joined = match (turn.last_mut(), more.first()) {
        (Some(Block::Text { text }), Some(Block::Text { text: next }))
        | (Some(Block::Reasoning { text, state: None }), Some(Block::Reasoning { text: next, state: None })) => {
            text.push_str(next);
            true
        }
        _ => false,
    };
    if joined {
        more.remove(0);
    }
    turn.append(&mut more);
}

/// The blocks of `systemInstruction`.
pub(super) fn system(mut fields: Fields, extra: &mut Map<String, Value>) -> Result<Vec<Block>, Failure> {
    let place = fields.at("parts");
    fields.take("role");
    let mut blocks = Vec::new();
    for (at, part) in fields.list("parts")?.unwrap_or_default().into_iter().enumerate() {
        let path = format!("{place}[{at}]");
        read_part(Part::read(part, &path)?, &path, &mut Calls::default(), &mut blocks, extra)?;
    }
    let path = fields.at("");
    extra.extend(fields.rest().map(|(k, v)| (format!("{path}{k}"), v)));
    Ok(blocks)
}

/// Ids that clients gave to calls and results.
fn ids(contents: &[Value]) -> HashSet<String> {
    let parts = contents.iter().filter_map(|c| c["parts"].as_array()).flatten();
    let inner = parts.flat_map(|p| ["functionCall", "function_call", "functionResponse", "function_response"].map(|k| &p[k]["id"]));
    inner.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn role(fields: &mut Fields) -> Result<Role, Failure> {
    let path = fields.at("role");
    match fields.text("role")?.as_deref() {
        // `function` was Google's name for the turn of results.
        None | Some("user" | "" | "function" | "tool") => Ok(Role::User),
        Some("model") => Ok(Role::Assistant),
        Some("system") => Ok(Role::System),
        Some(other) => Err(Failure::invalid(path.clone(), format!("`{path}` is {other:?}: user and model are allowed"))),
    }
}

fn state(signature: String) -> State {
    State { family: Family::Gemini, id: None, signature: Some(signature), encrypted: None }
}

fn read_part(part: Part, path: &str, calls: &mut Calls, blocks: &mut Vec<Block>, extra: &mut Map<String, Value>) -> Result<(), Failure> {
    let Part { data, signature, rest } = part;
    extra.extend(rest);
    let signature = signature.map(state);
    match data {
        Data::Thought(text) => blocks.push(Block::Reasoning { text, state: signature }),
        Data::Call(call) => {
            let missing = || wrong(&format!("{path}.functionCall.name"), "the function's name");
            let name = call.name.ok_or_else(missing)?;
            let id = calls.call(call.id, &name);
            let arguments = call.args.map_or_else(|| "{}".to_owned(), |args| args.to_string());
            blocks.push(Block::ToolCall { id, name, arguments, state: signature });
        }
        Data::Text(text) if text.is_empty() && signature.is_some() => blocks.extend(signature.map(alone)),
        Data::Text(text) => push_signed(Block::Text { text }, signature, blocks),
        Data::Media(media) => push_signed(Block::Media(media), signature, blocks),
        Data::Result { id, name, response, media } => {
            let call_id = calls.result(id, &name);
            let (text, is_error) = result_text(response);
            let mut inner = vec![Block::Text { text }];
            inner.extend(media.into_iter().map(Block::Media));
            let name = (!name.is_empty()).then_some(name);
            blocks.push(Block::ToolResult { call_id, name, blocks: inner, is_error });
        }
        Data::Opaque(value) => blocks.push(Block::Opaque { family: Family::Gemini, value }),
    }
    Ok(())
}

/// A state in a block of its own.
fn alone(state: State) -> Block {
    Block::Reasoning { text: String::new(), state: Some(state) }
}

/// The state stands before what it signs, or behind it where it would be taken for that of the block before.
fn push_signed(block: Block, state: Option<State>, blocks: &mut Vec<Block>) {
    let is_behind =
        matches!(blocks.last(), Some(Block::Text { text }) if !text.is_empty()) || matches!(blocks.last(), Some(Block::Media(_)));
    match state.map(alone) {
        None => blocks.push(block),
        Some(state) if is_behind => blocks.extend([block, state]),
        Some(state) => blocks.extend([state, block]),
    }
}

/// A result as text, and whether it reports an error: `{"result": text}` and `{"error": text}` are unwrapped, other objects stay JSON.
fn result_text(response: Value) -> (String, bool) {
    if let Value::Object(members) = &response
        && members.len() == 1
    {
        for (key, is_error) in [("result", false), ("error", true)] {
            if let Some(Value::String(text)) = members.get(key) {
                return (text.clone(), is_error);
            }
        }
    }
    match response {
        Value::String(text) => (text, false),
        other => (other.to_string(), false),
    }
}
