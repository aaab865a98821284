//! Chat JSON → the inner language.

use serde_json::{Map, Value, json};

use super::types::{ChatRequest, ChatResponse, Content, FunctionCall, Message as ChatMessage, ToolCall};
use crate::{
    error::Failure,
    ir::{
        Block, BlockKind, Delta, Event, Family, Finish, Format, Generation, Media, Message, Reasoning, Request, Role, Source, Tool,
        ToolChoice, Usage, event::LogprobsBox,
    },
};

/// Reads a request body.
///
/// # Errors
/// A failure that names the field: not JSON, a wrong type, no messages, an unknown role, a tool message without its call.
pub fn request(body: &[u8]) -> Result<Request, Failure> {
    let chat = ChatRequest::parse(body)?;
    let all: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let messages =
        chat.messages.clone().ok_or_else(|| Failure::invalid("messages", "`messages` is missing: a list of messages is needed"))?;
    let messages = messages.into_iter().enumerate().map(|(i, m)| message(i, m)).collect::<Result<_, _>>()?;
    Ok(Request {
        model: chat.model.clone().unwrap_or_default(),
        messages,
        tools: tools(&chat)?,
        tool_choice: tool_choice(chat.tool_choice.as_ref())?,
        parallel_tool_calls: chat.parallel_tool_calls,
        format: format(&chat)?,
        stream: chat.stream.unwrap_or(false),
        stream_usage: chat.stream_options.as_ref().and_then(|o| o.include_usage).unwrap_or(false),
        generation: generation(&chat),
        reasoning: Reasoning { effort: chat.reasoning_effort.clone(), ..Reasoning::default() },
        user: chat.user.clone(),
        family: Some(Family::Chat),
        extra: all.into_iter().filter(|(key, _)| !KNOWN.contains(&key.as_str())).collect(),
    })
}

/// Members that have a place of their own in the inner language.
const KNOWN: [&str; 24] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "n",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logprobs",
    "top_logprobs",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning_effort",
    "functions",
    "function_call",
    "user",
];

fn generation(chat: &ChatRequest) -> Generation {
    Generation {
        max_tokens: chat.max_completion_tokens.or(chat.max_tokens),
        temperature: chat.temperature,
        top_p: chat.top_p,
        top_k: chat.top_k,
        presence_penalty: chat.presence_penalty,
        frequency_penalty: chat.frequency_penalty,
        seed: chat.seed,
        stop: chat.stop.clone().map(super::types::Stop::into_vec).unwrap_or_default(),
        n: chat.n,
        logprobs: chat.logprobs.unwrap_or(false).then(|| chat.top_logprobs.unwrap_or(0)),
    }
}

fn message(index: usize, m: ChatMessage) -> Result<Message, Failure> {
    let role = match m.role.as_str() {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        other => {
            let path = format!("messages[{index}].role");
            return Err(Failure::invalid(
                path.clone(),
                format!("`{path}` is {other:?}: system, developer, user, assistant and tool are allowed"),
            ));
        }
    };
    let mut blocks = Vec::new();
    if let Some(text) = m.reasoning_content.filter(|t| !t.is_empty()) {
        blocks.push(Block::Reasoning { text, state: None });
    }
    match m.content {
        Some(Content::Text(text)) if !text.is_empty() || m.tool_calls.is_none() => blocks.push(Block::Text { text }),
        Some(Content::Parts(parts)) => blocks.extend(parts.into_iter().map(part)),
        _ => {}
    }
    if let Some(text) = m.refusal {
        blocks.push(Block::Refusal { text });
    }
    blocks.extend(m.tool_calls.unwrap_or_default().into_iter().map(call));
    if role == Role::Tool {
        let path = format!("messages[{index}].tool_call_id");
        let call_id = m
            .tool_call_id
            .or(m.name.clone())
            .ok_or_else(|| Failure::invalid(path.clone(), format!("`{path}` is missing: it names the call that this result answers")))?;
        blocks = vec![Block::ToolResult { call_id, name: m.name.clone(), blocks, is_error: false }];
    }
    Ok(Message { role, name: m.name, blocks })
}

fn call(call: ToolCall) -> Block {
    let FunctionCall { name, arguments } = call.function;
    Block::ToolCall {
        id: call.id.unwrap_or_default(),
        name: name.unwrap_or_default(),
        arguments: arguments.unwrap_or_default(),
        state: None,
    }
}

fn part(part: Value) -> Block {
    let media = |mime: &str, source: Source, detail: Option<&str>, name: Option<&str>| {
        Block::Media(Media { mime: mime.to_owned(), source, file_name: name.map(str::to_owned), detail: detail.map(str::to_owned) })
    };
    match part["type"].as_str() {
        Some("text") if part["text"].is_string() => Block::Text { text: part["text"].as_str().unwrap_or_default().to_owned() },
        Some("refusal") if part["refusal"].is_string() => Block::Refusal { text: part["refusal"].as_str().unwrap_or_default().to_owned() },
        Some("image_url") => {
            let image = &part["image_url"];
            let url = image["url"].as_str().or(image.as_str()).unwrap_or_default();
            let (mime, source) = data_url(url).unwrap_or_else(|| ("image/*".to_owned(), Source::Url(url.to_owned())));
            media(&mime, source, image["detail"].as_str(), None)
        }
        Some("input_audio") if part["input_audio"]["data"].is_string() => {
            let audio = &part["input_audio"];
            let source = Source::Base64(audio["data"].as_str().unwrap_or_default().to_owned());
            media(&format!("audio/{}", audio["format"].as_str().unwrap_or("wav")), source, None, None)
        }
        Some("file") if part["file"].is_object() => {
            let file = &part["file"];
            let name = file["filename"].as_str();
            match (file["file_data"].as_str(), file["file_id"].as_str()) {
                (Some(data), _) => {
                    let (mime, source) =
                        data_url(data).unwrap_or_else(|| ("application/octet-stream".to_owned(), Source::Base64(data.to_owned())));
                    media(&mime, source, None, name)
                }
                (None, Some(id)) => media("application/octet-stream", Source::File(id.to_owned()), None, name),
                (None, None) => Block::Opaque { family: Family::Chat, value: part },
            }
        }
        _ => Block::Opaque { family: Family::Chat, value: part },
    }
}

/// `data:image/png;base64,…` → (`image/png`, bytes as base64).
fn data_url(url: &str) -> Option<(String, Source)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let mime = head.strip_suffix(";base64")?;
    Some((mime.to_owned(), Source::Base64(data.to_owned())))
}

fn tools(chat: &ChatRequest) -> Result<Vec<Tool>, Failure> {
    let listed = chat.tools.as_deref().unwrap_or_default();
    listed
        .iter()
        .enumerate()
        .filter(|(_, t)| t.kind.as_deref().is_none_or(|k| k == "function"))
        .map(|(i, t)| {
            let path = format!("tools[{i}].function");
            let function = t.function.as_ref().ok_or_else(|| Failure::invalid(path.clone(), format!("`{path}` is missing")))?;
            Ok(Tool {
                name: function.name.clone(),
                description: function.description.clone(),
                parameters: function.parameters.clone().unwrap_or_else(|| json!({"type": "object", "properties": {}})),
                strict: function.strict,
                cache: None,
            })
        })
        .collect()
}

fn tool_choice(choice: Option<&Value>) -> Result<ToolChoice, Failure> {
    match choice {
        None | Some(Value::Null) => Ok(ToolChoice::Unset),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" | "any" => Ok(ToolChoice::Required),
            other => {
                Err(Failure::invalid("tool_choice", format!("`tool_choice` is {other:?}: none, auto, required or a function is allowed")))
            }
        },
        Some(object) => object["function"]["name"].as_str().map(|name| ToolChoice::Function(name.to_owned())).ok_or_else(|| {
            Failure::invalid(
                "tool_choice",
                "`tool_choice` must be none, auto, required, or {\"type\":\"function\",\"function\":{\"name\":…}}",
            )
        }),
    }
}

fn format(chat: &ChatRequest) -> Result<Format, Failure> {
    let Some(wanted) = &chat.response_format else { return Ok(Format::Text) };
    match wanted.kind.as_str() {
        "text" => Ok(Format::Text),
        "json_object" => Ok(Format::Json),
        "json_schema" => {
            let given = wanted.json_schema.as_ref();
            let schema = given.and_then(|g| g.schema.clone()).ok_or_else(|| {
                Failure::invalid(
                    "response_format.json_schema.schema",
                    "`response_format.json_schema.schema` is missing: a JSON Schema is needed",
                )
            })?;
            let name = given.and_then(|g| g.name.clone()).unwrap_or_else(|| "answer".to_owned());
            Ok(Format::Schema { name, schema, strict: given.and_then(|g| g.strict) })
        }
        other => Err(Failure::invalid(
            "response_format.type",
            format!("`response_format.type` is {other:?}: text, json_object and json_schema are allowed"),
        )),
    }
}

/// Reads a whole answer as the events that it would have streamed.
///
/// # Errors
/// Where it is no chat completion.
pub fn response(body: &[u8]) -> Result<Vec<Event>, Failure> {
    let answer: ChatResponse = crate::json::parse(body)?;
    let mut events = vec![Event::Start { id: answer.id, model: answer.model, created: answer.created }];
    for choice in answer.choices {
        let mut next = 0;
        let mut block = |kind: BlockKind, deltas: Vec<Delta>, events: &mut Vec<Event>| {
            let (choice, block) = (choice.index, next);
            next += 1;
            events.push(Event::BlockStart { choice, block, kind });
            events.extend(deltas.into_iter().map(|delta| Event::Delta { choice, block, delta }));
            events.push(Event::BlockStop { choice, block });
        };
        let said = choice.message;
        if let Some(text) = said.reasoning_content.filter(|t| !t.is_empty()) {
            block(BlockKind::Reasoning, vec![Delta::Reasoning(text)], &mut events);
        }
        let text = said.content.map(|c| c.text()).unwrap_or_default();
        let logprobs = choice.logprobs.map(|l| Delta::Logprobs(LogprobsBox(Box::new(l))));
        if !text.is_empty() || logprobs.is_some() {
            block(BlockKind::Text, std::iter::once(Delta::Text(text)).chain(logprobs).collect(), &mut events);
        }
        if let Some(text) = said.refusal {
            block(BlockKind::Refusal, vec![Delta::Refusal(text)], &mut events);
        }
        let calls = said.tool_calls.unwrap_or_default();
        let called = !calls.is_empty();
        for call in calls {
            let kind = BlockKind::ToolCall { id: call.id.unwrap_or_default(), name: call.function.name.unwrap_or_default() };
            block(kind, vec![Delta::Arguments(call.function.arguments.unwrap_or_default())], &mut events);
        }
        events.push(Event::Finish { choice: choice.index, reason: finish(choice.finish_reason.as_deref(), called) });
    }
    events.extend(answer.usage.map(|u| Event::Usage(Usage::from_chat(&u))));
    events.push(Event::End);
    Ok(events)
}

/// The reason in the inner language; calls that were made beat what the upstream says.
pub(super) fn finish(reason: Option<&str>, called: bool) -> Finish {
    match reason {
        Some("length") => Finish::Length,
        Some("content_filter") => Finish::Filter,
        _ if called => Finish::ToolCall,
        Some("stop" | "eos" | "tool_calls" | "function_call" | "") | None => Finish::Stop,
        Some(other) => Finish::Other(other.to_owned()),
    }
}
