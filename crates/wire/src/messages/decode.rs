//! Messages JSON → the inner language.

mod answer;
mod content;
mod fields;

use serde_json::{Map, Value, json};

use self::{
    content::{ContentReader, cache_ttl, or_empty_text},
    fields::Fields,
};
use crate::{
    error::Failure,
    ir::{Block, Family, Format, Generation, Message, Reasoning, Request, Role, Tool, ToolChoice},
};

pub(super) use self::answer::{arguments, finish, state};
pub use self::answer::{count, response};

/// Reads a request body (API reference, "Create a Message").
///
/// What has no place in the inner language is in `extra`: members of the body under their name, members of blocks and tools under
/// their path (`tools[0].defer_loading`), tools that run at the provider whole (`tools[1]`).
///
/// # Errors
/// A failure that names the field: not JSON, a wrong type, no `max_tokens`, no messages, an unknown role.
pub fn request(body: &[u8]) -> Result<Request, Failure> {
    read(body, true)
}

/// Reads the body of `/v1/messages/count_tokens`: the same request, without the need of `max_tokens`.
///
/// # Errors
/// As [`request`].
pub fn count_request(body: &[u8]) -> Result<Request, Failure> {
    read(body, false)
}

fn read(body: &[u8], is_limit_needed: bool) -> Result<Request, Failure> {
    let mut fields = Fields::new(crate::json::parse(body)?, "");
    let mut extra = Map::new();
    let max_tokens = fields.count("max_tokens")?;
    if is_limit_needed && max_tokens.is_none() {
        return Err(fields.wrong("max_tokens", "is missing: the most tokens of the answer, 1 or more"));
    }
    if max_tokens == Some(0) {
        return Err(fields.wrong("max_tokens", "must be 1 or more"));
    }
    let messages = messages(&mut fields, &mut extra)?;
    let tools = tools(&mut fields, &mut extra)?;
    let (tool_choice, parallel_tool_calls) = tool_choice(&mut fields, &mut extra)?;
    let (reasoning, format) = output(&mut fields, &mut extra)?;
    let user = user(&mut fields)?;
    let stream = fields.flag("stream")?.unwrap_or(false);
    let generation = Generation {
        max_tokens,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.count("top_k")?.map(|k| i32::try_from(k).unwrap_or(i32::MAX)),
        stop: stop(&mut fields)?,
        ..Generation::default()
    };
    let model = fields.text("model")?.unwrap_or_default();
    extra.extend(fields.drain());
    Ok(Request {
        model,
        messages,
        tools,
        tool_choice,
        parallel_tool_calls,
        generation,
        reasoning,
        format,
        user,
        stream,
        stream_usage: stream,
        family: Some(Family::Messages),
        extra,
    })
}

fn messages(fields: &mut Fields, extra: &mut Map<String, Value>) -> Result<Vec<Message>, Failure> {
    let mut reader = ContentReader { extra };
    let mut out = Vec::new();
    let system = reader.content(fields.any("system"), "system")?;
    if system.iter().any(|block| !matches!(block, Block::Text { text } if text.is_empty())) {
        out.push(Message { role: Role::System, name: None, blocks: system });
    }
    let listed = fields.list("messages")?.ok_or_else(|| fields.wrong("messages", "is missing: a list of messages is needed"))?;
    if listed.is_empty() {
        return Err(fields.wrong("messages", "is empty: at least one message is needed"));
    }
    for (i, value) in listed.into_iter().enumerate() {
        message(Fields::of(value, format!("messages[{i}]"))?, &mut reader, &mut out)?;
    }
    Ok(out)
}

/// Results of tools stand in the user's turn; they become a message of their own, before what the user says.
fn message(mut fields: Fields, reader: &mut ContentReader, out: &mut Vec<Message>) -> Result<(), Failure> {
    let role = match fields.needed_text("role")?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        // Newer models take instructions in the middle of a conversation.
        "system" => Role::System,
        other => return Err(fields.wrong("role", &format!("is {other:?}: user and assistant are allowed"))),
    };
    let path = fields.path("content");
    let content = fields.any("content").ok_or_else(|| fields.wrong("content", "is missing: a string or a list of content blocks"))?;
    let mut blocks = or_empty_text(reader.content(Some(content), &path)?);
    fields.keep_rest(reader.extra);
    if role == Role::User {
        let results = take_results(&mut blocks);
        if !results.is_empty() {
            out.push(Message { role: Role::Tool, name: None, blocks: results });
            if blocks.is_empty() {
                return Ok(());
            }
        }
    }
    out.push(Message { role, name: None, blocks });
    Ok(())
}

/// Takes the results out, each with the cache mark after it.
fn take_results(blocks: &mut Vec<Block>) -> Vec<Block> {
    let mut results = Vec::new();
    let mut others = Vec::new();
    let mut is_after_result = false;
    for block in blocks.drain(..) {
        is_after_result = match &block {
            Block::ToolResult { .. } => true,
            Block::CacheMark { .. } => is_after_result,
            _ => false,
        };
        if is_after_result { results.push(block) } else { others.push(block) }
    }
    *blocks = others;
    results
}

fn tools(fields: &mut Fields, extra: &mut Map<String, Value>) -> Result<Vec<Tool>, Failure> {
    let mut out = Vec::new();
    for (i, value) in fields.list("tools")?.unwrap_or_default().into_iter().enumerate() {
        let path = format!("tools[{i}]");
        if value["type"].as_str().is_some_and(|kind| kind != "custom") {
            extra.insert(path, value);
            continue;
        }
        let mut tool = Fields::of(value, path)?;
        tool.any("type");
        let parameters = match tool.any("input_schema") {
            None => json!({"type": "object", "properties": {}}),
            Some(schema @ Value::Object(_)) => schema,
            Some(_) => return Err(tool.wrong("input_schema", "must be an object: a JSON Schema")),
        };
        out.push(Tool {
            name: tool.needed_text("name")?,
            description: tool.text("description")?,
            parameters,
            strict: tool.flag("strict")?,
            cache: cache_ttl(&mut tool)?,
        });
        tool.keep_rest(extra);
    }
    Ok(out)
}

fn tool_choice(fields: &mut Fields, extra: &mut Map<String, Value>) -> Result<(ToolChoice, Option<bool>), Failure> {
    let Some(mut choice) = fields.object("tool_choice")? else { return Ok((ToolChoice::Unset, None)) };
    let parallel = choice.flag("disable_parallel_tool_use")?.map(|disabled| !disabled);
    let wanted = match choice.needed_text("type")?.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Function(choice.needed_text("name")?),
        other => return Err(choice.wrong("type", &format!("is {other:?}: auto, any, tool and none are allowed"))),
    };
    choice.keep_rest(extra);
    Ok((wanted, parallel))
}

/// `thinking` and `output_config`, which say how hard to think and in which form to answer.
fn output(fields: &mut Fields, extra: &mut Map<String, Value>) -> Result<(Reasoning, Format), Failure> {
    let mut reasoning = Reasoning::default();
    let mut config = fields.object("output_config")?;
    if let Some(config) = &mut config {
        reasoning.effort = config.text("effort")?;
        // An effort alone does not make the model show what it thinks.
        reasoning.shown = reasoning.effort.as_ref().map(|_| false);
    }
    if let Some(mut said) = fields.object("thinking")? {
        thinking(&mut said, &mut reasoning, config.as_mut())?;
        let rest = said.drain();
        if !rest.is_empty() {
            fields.put("thinking", rest.into());
        }
    }
    let mut wanted = None;
    if let Some(mut config) = config {
        wanted = config.object("format")?;
        let rest = config.drain();
        if !rest.is_empty() {
            fields.put("output_config", rest.into());
        }
    }
    // The name that the format had before it moved into `output_config`.
    let wanted = match wanted {
        None => fields.object("output_format")?,
        some => some,
    };
    Ok((reasoning, wanted.map_or(Ok(Format::Text), |wanted| format(wanted, extra))?))
}

/// Reads `thinking`; what only this family knows stays in it.
fn thinking(said: &mut Fields, reasoning: &mut Reasoning, config: Option<&mut Fields>) -> Result<(), Failure> {
    let display = said.text("display")?;
    match said.needed_text("type")?.as_str() {
        "enabled" => {
            let budget = said.count("budget_tokens")?;
            reasoning.budget_tokens = Some(budget.ok_or_else(|| said.wrong("budget_tokens", "is missing: a number of tokens"))?);
            reasoning.shown = Some(display.as_deref() != Some("omitted"));
            if let Some(display) = display.filter(|d| d != "omitted") {
                said.put("display", display.into());
            }
        }
        "adaptive" => {
            // Here an effort that is not said is high; in other dialects it is the model's default.
            reasoning.effort.get_or_insert_with(|| "high".to_owned());
            reasoning.shown = display.as_deref().map(|d| d != "omitted");
            if reasoning.shown == Some(false) {
                // Tells it from an effort alone.
                said.put("type", "adaptive".into());
                said.put("display", "omitted".into());
            }
        }
        "disabled" => {
            // The effort also governs what is not thinking; it stays for models of this family.
            if let (Some(effort), Some(config)) = (reasoning.effort.take(), config) {
                config.put("effort", effort.into());
            }
            *reasoning = Reasoning { effort: Some("none".to_owned()), budget_tokens: Some(0), shown: None };
        }
        other => return Err(said.wrong("type", &format!("is {other:?}: enabled, adaptive and disabled are allowed"))),
    }
    Ok(())
}

fn format(mut wanted: Fields, extra: &mut Map<String, Value>) -> Result<Format, Failure> {
    match wanted.needed_text("type")?.as_str() {
        "json_schema" => {
            let schema = wanted.any("schema").ok_or_else(|| wanted.wrong("schema", "is missing: a JSON Schema is needed"))?;
            wanted.keep_rest(extra);
            Ok(Format::Schema { name: "answer".to_owned(), schema, strict: None })
        }
        "text" => Ok(Format::Text),
        other => Err(wanted.wrong("type", &format!("is {other:?}: json_schema is allowed"))),
    }
}

fn user(fields: &mut Fields) -> Result<Option<String>, Failure> {
    let Some(mut metadata) = fields.object("metadata")? else { return Ok(None) };
    let user = metadata.text("user_id")?;
    let rest = metadata.drain();
    if !rest.is_empty() {
        fields.put("metadata", rest.into());
    }
    Ok(user)
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, Failure> {
    let listed = fields.list("stop_sequences")?.unwrap_or_default();
    let texts: Option<Vec<_>> = listed.into_iter().map(|v| v.as_str().map(str::to_owned)).collect();
    let texts = texts.ok_or_else(|| fields.wrong("stop_sequences", "must be a list of strings"))?;
    Ok(texts.into_iter().filter(|t| !t.is_empty()).collect())
}
