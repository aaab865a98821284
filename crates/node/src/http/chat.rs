//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use serde_json::{Value, json};
use wire::{
    Code, Failure,
    chat::types::{ChatChunk, ChatRequest, ChatResponse, Choice, ChunkChoice, Content, Delta, Message, Usage},
    fleet::worker::{Done, Finish, Prompt, Segment, TokenLogprob},
    sse::write_data,
};

use super::{
    App, begun,
    choices::{Hints, Plan, chat_logprobs, model_of, stamp},
    frames::{self, Collected, Count, Frames, finish_reason},
    reply::{self, Refusal, RequestId},
    sampling::{self, TOP_LOGPROBS_MAX, Wanted},
    stay,
    tools::{self, Offer, tool_call},
};
use crate::{
    engine::{Bit, PromptCount, StepEnd},
    pool::Lease,
    speech::{Manner, Mode, Piece, Reader, Speech},
    template::{Conversation, TemplateError},
};

/// Most messages of a conversation.
const MESSAGES_MAX: usize = 10_000;
/// Prompts of bodies above this size are rendered outside the threads that serve requests.
const LONG_BODY_BYTES: usize = 64 << 10;

pub(super) async fn chat(State(app): State<Arc<App>>, Extension(id): Extension<RequestId>, request: Request) -> Result<Response, Refusal> {
    let place = app.place()?;
    let hints = Hints::of(request.headers());
    let body = reply::body(&app, request).await?;
    let request = ChatRequest::parse(&body)?;
    let (model, stay) = (model_of(request.model.as_ref())?, stay::wanted(&body)?);
    let (mut conversation, offer) = offered(&request)?;
    let begun = begun::taken(&request, &mut conversation)?;
    let tools = Arc::new(offer.tools);
    let mut plan = plan(&request, hints)?;
    let mode = if plan.constraint.is_some() { Mode::Plain } else { offer.mode };
    if let Some(forced) = offer.constraint {
        if plan.constraint.is_some() {
            return Err(Failure::invalid("tool_choice", "`tool_choice` and `response_format` or `grammar` can't be combined").into());
        }
        plan.constraint = Some(forced);
    }
    let lease = app.lease(&model).await?;
    lease.stay(stay);
    plan.stop.extend(lease.template.stop().map(str::to_owned));
    let mut prompt = render(lease.clone(), conversation, body.len()).await?;
    let manner = manner(lease.template.speech(), mode, &prompt, tools, request.parallel_tool_calls != Some(false));
    plan.fit(&manner);
    let begun = begun.map(|begun| begun.put(&mut prompt, &manner)).transpose()?;
    let steps = plan.start(&app, &lease, vec![prompt]);
    let shape = Shape::new(model, lease.engine.info().fingerprint.clone());
    if plan.is_streamed {
        let include_usage = request.stream_options.as_ref().and_then(|o| o.include_usage).unwrap_or(false);
        let counts_on = request.stream_options.as_ref().and_then(|o| o.continuous_usage_stats).unwrap_or(false);
        let readers = (0..plan.choices).map(|_| reader(&manner, begun.as_deref())).collect();
        let frames = ChatFrames::new(shape, readers, include_usage, counts_on);
        return Ok(frames::stream(steps, frames, place, id).await?);
    }
    let collected = frames::collect(steps, plan.choices as usize).await?;
    Ok(reply::json(StatusCode::OK, &shape.whole(collected, || reader(&manner, begun.as_deref()))))
}

/// The messages, with the tools that are offered beside them.
pub(super) fn offered(request: &ChatRequest) -> Result<(Conversation, Offer), Failure> {
    let conversation = conversation(request)?;
    let offer = tools::offer(request)?;
    let tools = (!offer.tools.is_empty()).then(|| offer.tools.as_slice().into());
    Ok((Conversation { tools, ..conversation }, offer))
}

/// Reads an answer from its beginning, or from where it was begun elsewhere.
fn reader(manner: &Manner, begun: Option<&str>) -> Reader {
    let mut reader = Reader::new(manner);
    if let Some(begun) = begun {
        reader.push(begun.to_owned());
    }
    reader
}

fn manner(speech: &Arc<Speech>, mode: Mode, prompt: &Prompt, tools: Arc<Vec<Value>>, is_parallel: bool) -> Manner {
    let is_thinking = matches!(prompt.segments.last(), Some(Segment::Text { text, special: true }) if speech.is_thinking_after(text));
    Manner { speech: speech.clone(), mode, is_thinking, tools, is_parallel }
}

impl Plan {
    /// What the engine must know of how the answer will be read.
    fn fit(&mut self, manner: &Manner) {
        self.marks = manner.speech.marks(manner.mode);
        if manner.mode == Mode::Auto {
            self.constraint = tools::from_mark(manner);
            self.stop.extend(manner.speech.stops().iter().map(|stop| (*stop).to_owned()));
        }
    }
}

fn plan(request: &ChatRequest, hints: Hints) -> Result<Plan, Failure> {
    let max_completion = sampling::positive("max_completion_tokens", request.max_completion_tokens)?;
    let top = request.top_logprobs.filter(|top| *top > 0);
    if top > Some(TOP_LOGPROBS_MAX) {
        return Err(Failure::invalid("top_logprobs", format!("`top_logprobs` must be between 0 and {TOP_LOGPROBS_MAX}")));
    }
    let wants_logprobs = request.logprobs == Some(true);
    if top.is_some() && !wants_logprobs {
        return Err(Failure::invalid("top_logprobs", "`top_logprobs` needs `logprobs: true`"));
    }
    Ok(Plan {
        max_tokens: max_completion.or(sampling::positive("max_tokens", request.max_tokens)?),
        sampling: Wanted::from(request).check()?,
        constraint: sampling::constraint(request.response_format.as_ref(), None, request.grammar.as_deref())?,
        stop: sampling::stops(request.stop.clone())?,
        marks: Vec::new(),
        logprobs: wants_logprobs.then_some(top.unwrap_or(0)),
        ignore_eos: request.ignore_eos.unwrap_or(false),
        cache_prompt: request.cache_prompt.unwrap_or(true),
        choices: sampling::choices(request.n)?,
        is_streamed: request.stream.unwrap_or(false),
        hints,
    })
}

/// The messages as templates want them.
fn conversation(request: &ChatRequest) -> Result<Conversation, Failure> {
    let messages = request.messages.as_deref().ok_or_else(|| Failure::invalid("messages", "`messages` is missing"))?;
    if messages.is_empty() || messages.len() > MESSAGES_MAX {
        return Err(Failure::invalid("messages", format!("`messages` must have between 1 and {MESSAGES_MAX} messages")));
    }
    let messages = messages.iter().enumerate().map(|(index, message)| plain(index, message)).collect::<Result<_, _>>()?;
    let mut more = request.chat_template_kwargs.clone().unwrap_or_default();
    if let Some(effort) = &request.reasoning_effort {
        more.entry("reasoning_effort").or_insert_with(|| effort.as_str().into());
        if effort == "none" {
            more.entry("enable_thinking").or_insert(false.into());
        }
    }
    if let Some(asked) = request.add_generation_prompt {
        more.entry("add_generation_prompt").or_insert(asked.into());
    }
    Ok(Conversation { messages, tools: None, documents: request.documents.clone(), more })
}

fn plain(index: usize, message: &Message) -> Result<Value, Failure> {
    let at = |field: &str| format!("messages[{index}].{field}");
    if message.role.is_empty() {
        return Err(Failure::invalid(at("role"), "a message has no role"));
    }
    if let Some(Content::Parts(parts)) = &message.content
        && let Some(other) = parts.iter().position(|part| !matches!(part["type"].as_str(), Some("text" | "refusal")))
    {
        let kind = parts[other]["type"].as_str().unwrap_or("?");
        return Err(Failure::new(Code::Unsupported, format!("this model reads text only, not parts of type `{kind}`"))
            .at(format!("{}[{other}]", at("content"))));
    }
    let calls = message.tool_calls.as_deref().unwrap_or_default();
    let mut plain = json!({"role": message.role});
    plain["content"] = match &message.content {
        Some(content) => content.text().into(),
        None if calls.is_empty() => "".into(),
        None => Value::Null,
    };
    for (name, value) in
        [("name", &message.name), ("tool_call_id", &message.tool_call_id), ("reasoning_content", &message.reasoning_content)]
    {
        if let Some(value) = value {
            plain[name] = value.as_str().into();
        }
    }
    if !calls.is_empty() {
        plain["tool_calls"] = calls
            .iter()
            .map(|call| {
                let text = call.function.arguments.as_deref().unwrap_or("{}");
                // Templates print arguments with `tojson`, so that an object must be one.
                let arguments = serde_json::from_str(text).ok().filter(Value::is_object).unwrap_or_else(|| text.into());
                json!({"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": arguments}})
            })
            .collect();
    }
    Ok(plain)
}

/// What the template makes of a conversation that came in a body of so many bytes.
pub(super) async fn render(lease: Lease, conversation: Conversation, body_bytes: usize) -> Result<Prompt, Failure> {
    let work = move || lease.template.render(conversation, lease.engine.info().add_bos);
    let rendered = if body_bytes > LONG_BODY_BYTES {
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| Failure::new(Code::InternalError, format!("rendering the prompt failed: {e}")))?
    } else {
        work()
    };
    rendered.map_err(|error| match error {
        TemplateError::Unreadable(_) => Failure::new(Code::Unsupported, error.to_string()),
        TemplateError::Refused(_) => Failure::invalid("messages", error.to_string()),
    })
}

/// What all frames of an answer have in common.
struct Shape {
    id: String,
    created: i64,
    model: String,
    fingerprint: Option<String>,
}

impl Shape {
    fn new(model: String, fingerprint: String) -> Self {
        let (id, created) = stamp("chatcmpl-");
        Self { id, created, model, fingerprint: Some(fingerprint).filter(|f| !f.is_empty()) }
    }

    fn whole(self, collected: Vec<Collected>, reader: impl Fn() -> Reader) -> ChatResponse {
        let mut count = Count::default();
        let choices = collected.into_iter().enumerate().map(|(index, one)| {
            count.add(&one.done, index == 0);
            choice(index as u32, one, reader(), &mut count)
        });
        let choices = choices.collect();
        ChatResponse {
            id: self.id,
            object: "chat.completion".to_owned(),
            created: self.created,
            model: self.model,
            choices,
            usage: Some(count.usage()),
            system_fingerprint: self.fingerprint,
        }
    }
}

fn choice(index: u32, one: Collected, mut reader: Reader, count: &mut Count) -> Choice {
    let mut pieces = reader.push_counted(one.said.text, &one.said.ends);
    pieces.extend(reader.finish());
    count.think(reader.thought());
    let (mut content, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Text(text) => content.push_str(&text),
            Piece::Thought(text) => thoughts.push_str(&text),
            Piece::Call { name, arguments } => calls.push(tool_call(None, name, arguments)),
        }
    }
    let is_call = !calls.is_empty();
    let content = if is_call && content.is_empty() { None } else { Some(Content::Text(content)) };
    let reasoning_content = (!thoughts.is_empty()).then_some(thoughts);
    let tool_calls = is_call.then_some(calls);
    let message = Message { role: "assistant".to_owned(), content, tool_calls, reasoning_content, ..Message::default() };
    let reason = reason(one.done.finish, is_call);
    Choice { index, message, finish_reason: Some(reason.to_owned()), logprobs: chat_logprobs(&one.said.logprobs) }
}

const fn reason(finish: Finish, is_call: bool) -> &'static str {
    if is_call && !matches!(finish, Finish::Length) { "tool_calls" } else { finish_reason(finish) }
}

/// A stream of chat chunks.
struct ChatFrames {
    shape: Shape,
    choices: Vec<(bool, Reader)>,
    count: Count,
    include_usage: bool,
    /// Where every chunk says the counts so far: those of the prompt, and of each choice.
    so_far: Option<(PromptCount, Vec<u64>)>,
}

impl ChatFrames {
    fn new(shape: Shape, readers: Vec<Reader>, include_usage: bool, counts_on: bool) -> Self {
        let so_far = counts_on.then(|| (PromptCount::default(), vec![0; readers.len()]));
        let choices = readers.into_iter().map(|reader| (false, reader)).collect();
        Self { shape, choices, count: Count::default(), include_usage, so_far }
    }

    fn chunk(&self, choices: Vec<ChunkChoice>) -> ChatChunk {
        ChatChunk {
            id: self.shape.id.clone(),
            object: "chat.completion.chunk".to_owned(),
            created: self.shape.created,
            model: self.shape.model.clone(),
            choices,
            usage: None,
            system_fingerprint: self.shape.fingerprint.clone(),
        }
    }

    fn counts(&self) -> Option<Usage> {
        let (prompt, said) = self.so_far.as_ref()?;
        let thought =
            self.choices.iter().map(|(_, reader)| reader.thought()).fold(None, |sum, one| one.map(|one| one + sum.unwrap_or(0)).or(sum));
        Some(Count::so_far(*prompt, said.iter().sum(), thought))
    }

    fn write(&self, index: usize, delta: Delta, finish_reason: Option<&str>, logprobs: &[TokenLogprob], out: &mut Vec<u8>) {
        let finish_reason = finish_reason.map(str::to_owned);
        let choice = ChunkChoice { index: index as u32, delta, finish_reason, logprobs: chat_logprobs(logprobs) };
        data(out, &ChatChunk { usage: self.counts(), ..self.chunk(vec![choice]) });
    }

    fn pieces(&self, index: usize, pieces: Vec<Piece>, calls_before: u32, logprobs: &[TokenLogprob], out: &mut Vec<u8>) {
        let mut call_index = calls_before;
        let mut logprobs = logprobs;
        for piece in pieces {
            let delta = match piece {
                Piece::Text(text) => Delta { content: Some(text), ..Delta::default() },
                Piece::Thought(text) => Delta { reasoning_content: Some(text), ..Delta::default() },
                Piece::Call { name, arguments } => {
                    call_index += 1;
                    Delta { tool_calls: Some(vec![tool_call(Some(call_index - 1), name, arguments)]), ..Delta::default() }
                }
            };
            self.write(index, delta, None, std::mem::take(&mut logprobs), out);
        }
        if !logprobs.is_empty() {
            self.write(index, Delta::default(), None, logprobs, out);
        }
    }

    fn open(&mut self, index: usize, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.choices[index].0, true) {
            let delta = Delta { role: Some("assistant".to_owned()), content: Some(String::new()), ..Delta::default() };
            self.write(index, delta, None, &[], out);
        }
    }
}

impl Frames for ChatFrames {
    fn text(&mut self, index: usize, bit: Bit, out: &mut Vec<u8>) {
        self.open(index, out);
        if let Some((prompt, said)) = &mut self.so_far {
            *prompt = bit.prompt;
            said[index] = bit.ends.last().map_or(said[index], |end| end.tokens.into());
        }
        let reader = &mut self.choices[index].1;
        let before = reader.calls();
        let pieces = reader.push_counted(bit.text, &bit.ends);
        self.pieces(index, pieces, before, &bit.logprobs, out);
    }

    fn done(&mut self, index: usize, done: Done, out: &mut Vec<u8>) {
        self.open(index, out);
        if let Some((prompt, said)) = &mut self.so_far {
            *prompt = PromptCount { tokens: done.prompt_tokens, cached: done.cached_tokens };
            said[index] = done.completion_tokens.into();
        }
        self.count.add(&done, index == 0);
        let reader = &mut self.choices[index].1;
        let before = reader.calls();
        let end = StepEnd { bytes: done.text.len(), tokens: done.completion_tokens };
        let mut pieces = reader.push_counted(done.text, &[end]);
        pieces.extend(reader.finish());
        self.count.think(reader.thought());
        let is_call = reader.calls() > 0;
        self.pieces(index, pieces, before, &done.logprobs, out);
        self.write(index, Delta::default(), Some(reason(done.finish, is_call)), &[], out);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.include_usage {
            let chunk = ChatChunk { usage: Some(self.count.usage()), ..self.chunk(Vec::new()) };
            data(out, &chunk);
        }
        write_data(out, b"[DONE]");
    }
}

fn data(out: &mut Vec<u8>, chunk: &ChatChunk) {
    write_data(out, &serde_json::to_vec(chunk).unwrap_or_default());
}
