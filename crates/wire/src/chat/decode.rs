//! Chat JSON → the inner language.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{
    details::Details,
    leftovers, media,
    parts::Parts,
    types::{ChatRequest, ChatResponse, Choice, Content, FunctionCall, Logprobs, Message as ChatMessage, ResponseFormat, ToolCall},
};
use crate::{
    citations, custom,
    error::Failure,
    ir::{
        Block, BlockKind, Delta, Event, Family, Finish, Format, Generation, Message, Reasoning, Request, Role, State, Tool, ToolChoice,
        Usage, event::LogprobsBox,
    },
    names,
};

/// Reads a request body.
///
/// What has no place in the inner language is in `extra`: members of the body under their name, those of messages, parts and tools under
/// their path (`messages[1].audio`, `tools[0].function.x`), tools that are no functions whole (`tools[1]`).
///
/// # Errors
/// A failure that names the field: not JSON, a wrong type, no messages, an unknown role, a tool message without its call.
pub fn request(body: &[u8]) -> Result<Request, Failure> {
    let mut chat = ChatRequest::parse(body)?;
    let all: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let messages =
        chat.messages.take().ok_or_else(|| Failure::invalid("messages", "`messages` is missing: a list of messages is needed"))?;
    let mut extra: Map<String, Value> =
        all.iter().filter(|(key, _)| !KNOWN.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect();
    leftovers::collect(&all, &mut extra);
    let mut turns = Turns { raw: all.get("messages").unwrap_or(&Value::Null), custom: HashSet::new() };
    let messages = messages.into_iter().enumerate().map(|(i, m)| turns.message(i, m)).collect::<Result<_, _>>()?;
    let (tool_choice, allowed) = tool_choice(all.get("tool_choice").or(all.get("function_call")), &mut extra)?;
    Ok(Request {
        model: chat.model.clone().unwrap_or_default(),
        messages,
        tools: tools(&all, allowed.as_deref(), &mut extra)?,
        tool_choice,
        parallel_tool_calls: chat.parallel_tool_calls,
        format: format(&chat)?,
        stream: chat.stream.unwrap_or(false),
        stream_usage: chat.stream_options.as_ref().and_then(|o| o.include_usage).unwrap_or(false),
        generation: generation(&chat),
        reasoning: Reasoning { effort: chat.reasoning_effort.clone(), ..Reasoning::default() },
        user: chat.user.clone(),
        family: Some(Family::Chat),
        extra,
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

struct Turns<'a> {
    /// The list of messages as it came.
    raw: &'a Value,
    /// Ids of calls of custom tools so far.
    custom: HashSet<String>,
}

impl Turns<'_> {
    fn message(&mut self, index: usize, m: ChatMessage) -> Result<Message, Failure> {
        let raw = &self.raw[index];
        let role = role(index, &m.role)?;
        if role == Role::Tool {
            return self.result(index, m);
        }
        let mut blocks = Vec::new();
        if let Some(text) = m.reasoning_content.as_deref().or(raw["reasoning"].as_str()).filter(|t| !t.is_empty()) {
            blocks.push(Block::Reasoning { text: text.to_owned(), state: None });
        }
        let has_calls = m.tool_calls.is_some() || raw["function_call"].is_object();
        match m.content {
            Some(Content::Text(text)) if !text.is_empty() || !has_calls => blocks.push(Block::Text { text }),
            Some(Content::Parts(parts)) => blocks.extend(parts.into_iter().flat_map(parts_of)),
            _ => {}
        }
        if let Some(text) = m.refusal {
            blocks.push(Block::Refusal { text });
        }
        for (at, one) in m.tool_calls.unwrap_or_default().into_iter().enumerate() {
            let raw = &raw["tool_calls"][at];
            match custom::of_chat_call(raw) {
                Some(block) => {
                    self.custom.insert(one.id.unwrap_or_default());
                    blocks.push(block);
                }
                None => blocks.push(call(one, raw)),
            }
        }
        // The form before there were tools: one call, without an id, whose result names the function.
        if let Some(name) = raw["function_call"]["name"].as_str() {
            let arguments = raw["function_call"]["arguments"].as_str().unwrap_or_default().to_owned();
            blocks.push(Block::ToolCall { id: name.to_owned(), name: name.to_owned(), arguments, state: None });
        }
        Ok(Message { role, name: m.name, blocks })
    }

    fn result(&self, index: usize, m: ChatMessage) -> Result<Message, Failure> {
        let path = format!("messages[{index}].tool_call_id");
        let call_id = m
            .tool_call_id
            .or(m.name.clone())
            .ok_or_else(|| Failure::invalid(path.clone(), format!("`{path}` is missing: it names the call that this result answers")))?;
        if self.custom.contains(&call_id) {
            let block = custom::output_of_chat(&call_id, &self.raw[index]["content"]);
            return Ok(Message { role: Role::Tool, name: None, blocks: vec![block] });
        }
        let inner = match m.content {
            Some(Content::Text(text)) => vec![Block::Text { text }],
            Some(Content::Parts(parts)) => parts.into_iter().flat_map(parts_of).collect(),
            None => Vec::new(),
        };
        // A mark belongs behind the result that it ends.
        let (marks, blocks) = inner.into_iter().partition(|b| matches!(b, Block::CacheMark { .. }));
        let mut all = vec![Block::ToolResult { call_id, name: m.name, blocks, is_error: false }];
        all.extend::<Vec<Block>>(marks);
        Ok(Message { role: Role::Tool, name: None, blocks: all })
    }
}

fn role(index: usize, word: &str) -> Result<Role, Failure> {
    Ok(match word {
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
    })
}

/// Google's own chat endpoint puts a call's signature into `extra_content`.
fn call(call: ToolCall, raw: &Value) -> Block {
    let FunctionCall { name, arguments } = call.function;
    let signature = raw["extra_content"]["google"]["thought_signature"].as_str().filter(|s| !s.is_empty());
    let state = signature.map(|s| State { family: Family::Gemini, id: None, signature: Some(s.to_owned()), encrypted: None });
    Block::ToolCall { id: call.id.unwrap_or_default(), name: name.unwrap_or_default(), arguments: arguments.unwrap_or_default(), state }
}

/// A part, and the cache mark behind it.
fn parts_of(mut part: Value) -> Vec<Block> {
    let Some(members) = part.as_object_mut() else { return vec![media::part(part)] };
    let mut take = |name: &str| members.shift_remove(name).filter(Value::is_object);
    let mark = match (take("prompt_cache_breakpoint"), take("cache_control")) {
        (_, Some(control)) => Some(Block::CacheMark { ttl: control["ttl"].as_str().map(str::to_owned) }),
        (Some(_), None) => Some(Block::CacheMark { ttl: None }),
        (None, None) => None,
    };
    std::iter::once(media::part(part)).chain(mark).collect()
}

/// Functions go to the inner language, other tools stay whole under their place. `allowed` narrows the list itself, which says the same
/// in every dialect.
fn tools(all: &Map<String, Value>, allowed: Option<&[Value]>, extra: &mut Map<String, Value>) -> Result<Vec<Tool>, Failure> {
    let list = |name: &str| all.get(name).and_then(Value::as_array).into_iter().flatten();
    let mut out = Vec::new();
    let mut place = 0;
    for (index, tool) in list("tools").enumerate() {
        let kind = tool["type"].as_str().unwrap_or("function");
        let name = tool[kind]["name"].as_str().unwrap_or_default();
        if allowed.is_some_and(|allowed| !allowed.iter().any(|a| a["type"] == kind && a[kind]["name"] == name)) {
            continue;
        }
        if leftovers::is_function(tool) {
            let path = format!("tools[{index}].function");
            let described = tool.get("function").filter(|f| !f.is_null());
            let described = described.ok_or_else(|| Failure::invalid(path.clone(), format!("`{path}` is missing")))?;
            let cache = tool["cache_control"].is_object().then(|| tool["cache_control"]["ttl"].as_str().unwrap_or_default().to_owned());
            out.push(Tool { cache, ..function(described) });
        } else {
            extra.insert(format!("tools[{place}]"), tool.clone());
        }
        place += 1;
    }
    out.extend(list("functions").map(function));
    Ok(out)
}

fn function(described: &Value) -> Tool {
    let text = |name: &str| described[name].as_str().map(str::to_owned);
    Tool {
        name: text("name").unwrap_or_default(),
        description: text("description"),
        parameters: described
            .get("parameters")
            .filter(|p| !p.is_null())
            .cloned()
            .unwrap_or_else(|| json!({"type": "object", "properties": {}})),
        strict: described["strict"].as_bool(),
        cache: None,
    }
}

/// The choice, and the tools that it allows.
fn tool_choice(choice: Option<&Value>, extra: &mut Map<String, Value>) -> Result<(ToolChoice, Option<Vec<Value>>), Failure> {
    const ALLOWED: &str = "`tool_choice` must be none, auto, required, or {\"type\":\"function\",\"function\":{\"name\":…}}";
    let word = |word: &str| match word {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" | "any" => Ok(ToolChoice::Required),
        other => Err(Failure::invalid("tool_choice", format!("`tool_choice` is {other:?}: none, auto, required or a function is allowed"))),
    };
    let object = match choice {
        None | Some(Value::Null) => return Ok((ToolChoice::Unset, None)),
        Some(Value::String(said)) => return Ok((word(said)?, None)),
        Some(object) => object,
    };
    match object["type"].as_str() {
        Some("allowed_tools") => {
            let inner = &object["allowed_tools"];
            let allowed = inner["tools"].as_array().ok_or_else(|| {
                let path = "tool_choice.allowed_tools.tools";
                Failure::invalid(path, format!("`{path}` is missing: a list of the tools that may be called is needed"))
            })?;
            Ok((word(inner["mode"].as_str().unwrap_or("auto"))?, Some(allowed.clone())))
        }
        Some("custom") => {
            extra.insert("tool_choice".to_owned(), object.clone());
            Ok((ToolChoice::Unset, None))
        }
        _ => {
            let name = object["function"]["name"].as_str().or(object["name"].as_str());
            let name = name.ok_or_else(|| Failure::invalid("tool_choice", ALLOWED))?;
            Ok((ToolChoice::Function(name.to_owned()), None))
        }
    }
}

fn format(chat: &ChatRequest) -> Result<Format, Failure> {
    chat.response_format.as_ref().map_or(Ok(Format::Text), format_of)
}

/// The form of the answer that is wished for.
pub(crate) fn format_of(wanted: &ResponseFormat) -> Result<Format, Failure> {
    match (wanted.kind.as_str(), &wanted.schema) {
        ("text", _) => Ok(Format::Text),
        ("json_object", None) => Ok(Format::Json),
        ("json_object", Some(schema)) => Ok(Format::Schema { name: "answer".to_owned(), schema: schema.clone(), strict: None }),
        ("json_schema", _) => {
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
        (other, _) => Err(Failure::invalid(
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
    let raw: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut events = vec![Event::Start { id: answer.id.clone(), model: answer.model, created: answer.created }];
    if answer.choices.is_empty() {
        events.push(Event::Finish { choice: 0, reason: Finish::Stop });
    }
    let mut taken = HashSet::new();
    for (at, mut choice) in answer.choices.into_iter().enumerate() {
        // Some servers number all of them alike.
        while !taken.insert(choice.index) {
            choice.index = choice.index.wrapping_add(1);
        }
        read_choice(choice, &answer.id, &raw["choices"][at]["message"], &mut events);
    }
    events.extend(answer.usage.map(|u| Event::Usage(Usage::from_chat(&u))));
    events.push(Event::End);
    Ok(events)
}

/// Reads one choice of the answer `id`; `raw` is its message as it came.
fn read_choice(choice: Choice, id: &str, raw: &Value, events: &mut Vec<Event>) {
    let mut next = 0;
    let mut block = |kind: BlockKind, deltas: Vec<Delta>| {
        let (choice, block) = (choice.index, next);
        next += 1;
        events.push(Event::BlockStart { choice, block, kind });
        events.extend(deltas.into_iter().map(|delta| Event::Delta { choice, block, delta }));
        events.push(Event::BlockStop { choice, block });
    };
    let said = choice.message;
    let mut parts = match said.content {
        Some(Content::Text(text)) => Parts { text, ..Parts::default() },
        Some(Content::Parts(parts)) => Parts::of(&parts),
        None => Parts::default(),
    };
    let mut details = Details::of(raw);
    let thought = said.reasoning_content.as_deref().or(raw["reasoning"].as_str()).filter(|t| !t.is_empty()).unwrap_or(&parts.thought);
    let thought = if thought.is_empty() { details.text() } else { thought.to_owned() };
    if !thought.is_empty() || !details.is_empty() {
        let thought = Some(thought).filter(|thought| !thought.is_empty()).map(Delta::Reasoning);
        block(BlockKind::Reasoning, thought.into_iter().chain(details.state().map(Delta::State)).collect());
    }
    let text = std::mem::take(&mut parts.text);
    let refusal = said.refusal.filter(|t| !t.is_empty());
    let (of_text, of_refusal) = match choice.logprobs {
        Some(l) if l.content.is_none() && l.refusal.is_some() && refusal.is_some() => (None, Some(l)),
        other => (other, None),
    };
    let cited = raw["annotations"].as_array().into_iter().flatten().map(|own| Delta::Citation(Box::new(citations::from_chat(own))));
    let more: Vec<Delta> = of_text.map(logprobs).into_iter().chain(cited).collect();
    if !text.is_empty() || !more.is_empty() {
        block(BlockKind::Text, std::iter::once(Delta::Text(text)).filter(|d| *d != Delta::Text(String::new())).chain(more).collect());
    }
    let refused = refusal.is_some();
    if let Some(text) = refusal {
        block(BlockKind::Refusal, std::iter::once(Delta::Refusal(text)).chain(of_refusal.map(logprobs)).collect());
    }
    let images = raw["images"].as_array().filter(|all| !all.is_empty()).map(|all| json!({ "images": all }));
    let audio = raw["audio"].is_object().then(|| json!({"audio": raw["audio"]}));
    for value in parts.own().into_iter().chain(images).chain(audio) {
        block(BlockKind::Opaque { family: Family::Chat, value }, Vec::new());
    }
    let calls = said.tool_calls.unwrap_or_default();
    let called = !calls.is_empty() || raw["function_call"].is_object();
    for (at, one) in calls.into_iter().enumerate() {
        match custom::of_chat_call(&raw["tool_calls"][at]) {
            Some(Block::Opaque { family, value }) => block(BlockKind::Opaque { family, value }, Vec::new()),
            _ => {
                let given = one.id.filter(|given| !given.is_empty());
                let id = given.unwrap_or_else(|| names::answer_call_id(id, at as u32));
                let kind = BlockKind::ToolCall { id, name: unescaped(one.function.name) };
                let state = match call(ToolCall::default(), &raw["tool_calls"][at]) {
                    Block::ToolCall { state, .. } => state.map(Delta::State),
                    _ => None,
                };
                let arguments = Delta::Arguments(one.function.arguments.unwrap_or_default());
                block(kind, state.into_iter().chain([arguments]).collect());
            }
        }
    }
    if let Some(name) = raw["function_call"]["name"].as_str() {
        let arguments = raw["function_call"]["arguments"].as_str().unwrap_or_default().to_owned();
        block(BlockKind::ToolCall { id: name.to_owned(), name: name.to_owned() }, vec![Delta::Arguments(arguments)]);
    }
    events.push(Event::Finish { choice: choice.index, reason: finish(choice.finish_reason.as_deref(), called, refused) });
}

fn logprobs(given: Logprobs) -> Delta {
    Delta::Logprobs(LogprobsBox(Box::new(given)))
}

/// The name that a request of another dialect gave.
pub(super) fn unescaped(name: Option<String>) -> String {
    name.map(|n| names::unescape(&n).into_owned()).unwrap_or_default()
}

/// The reason in the inner language; calls that were made beat what the upstream says, and a refusal says why by itself.
pub(super) fn finish(reason: Option<&str>, called: bool, refused: bool) -> Finish {
    match reason {
        Some("length") => Finish::Length,
        Some("content_filter") if !refused => Finish::Filter,
        _ if called => Finish::ToolCall,
        _ if refused => Finish::Refusal,
        Some("stop" | "eos" | "tool_calls" | "function_call" | "") | None => Finish::Stop,
        Some(other) => Finish::Other(other.to_owned()),
    }
}
