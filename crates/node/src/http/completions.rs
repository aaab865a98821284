//! `POST /v1/completions`.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use serde_json::Map;
use wire::{
    Code, Failure,
    completions::types::{CompletionChoice, CompletionLogprobs, CompletionRequest, CompletionResponse, PromptInput},
    fleet::worker::{Done, Prompt, Segment, TokenLogprob},
    sse::write_data,
};

use super::{
    App,
    choices::{Hints, Plan, model_of, spelled, stamp},
    frames::{self, Collected, Count, Frames, finish_reason},
    reply::{self, Refusal, RequestId},
    sampling::{self, TOP_LOGPROBS_MAX, Wanted},
    stay,
};
use crate::{answer::failure, engine::Bit, pool::Lease};

/// Most prompts of one request, and most choices over all of them.
const PROMPTS_MAX: usize = 64;

pub(super) async fn completions(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, Refusal> {
    let place = app.place()?;
    let hints = Hints::of(request.headers());
    let body = reply::body(&app, request).await?;
    let request = CompletionRequest::parse(&body)?;
    let (model, stay) = (model_of(request.model.as_ref())?, stay::wanted(&body)?);
    let plan = plan(&request, hints)?;
    let prompts = prompts(request.prompt.ok_or_else(|| Failure::invalid("prompt", "`prompt` is missing"))?)?;
    let count = prompts.len() * plan.choices as usize;
    if count > PROMPTS_MAX {
        return Err(Failure::invalid("n", format!("{count} choices; at most {PROMPTS_MAX} are made at once")).into());
    }
    let lease = app.lease(&model).await?;
    lease.stay(stay);
    let echoes = if request.echo == Some(true) { echoes(&lease, &prompts).await? } else { vec![String::new(); prompts.len()] };
    let steps = plan.start(&app, &lease, prompts);
    let include_usage = request.stream_options.as_ref().and_then(|o| o.include_usage).unwrap_or(false);
    let shape = Shape::new(model, lease.engine.info().fingerprint.clone(), echoes, plan.choices as usize, include_usage);
    if plan.is_streamed {
        return Ok(frames::stream(steps, shape, place, id).await?);
    }
    let collected = frames::collect(steps, count).await?;
    Ok(reply::json(StatusCode::OK, &shape.whole(collected)))
}

fn plan(request: &CompletionRequest, hints: Hints) -> Result<Plan, Failure> {
    if request.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
        return Err(Failure::new(Code::UnsupportedParameter, "`suffix` is not supported").at("suffix"));
    }
    if request.logprobs > Some(TOP_LOGPROBS_MAX) {
        return Err(Failure::invalid("logprobs", format!("`logprobs` must be between 0 and {TOP_LOGPROBS_MAX}")));
    }
    Ok(Plan {
        max_tokens: sampling::positive("max_tokens", request.max_tokens)?,
        sampling: Wanted::from(request).check()?,
        constraint: sampling::constraint(request.response_format.as_ref(), request.json_schema.as_ref(), request.grammar.as_deref())?,
        stop: sampling::stops(request.stop.clone())?,
        marks: Vec::new(),
        logprobs: request.logprobs,
        ignore_eos: request.ignore_eos.unwrap_or(false),
        cache_prompt: request.cache_prompt.unwrap_or(true),
        choices: sampling::choices(request.n)?,
        is_streamed: request.stream.unwrap_or(false),
        hints,
    })
}

/// The prompts as they are. No template belongs here, and whoever writes a raw prompt may write control tokens.
fn prompts(input: PromptInput) -> Result<Vec<Prompt>, Failure> {
    let text = |text: String| Prompt { segments: vec![Segment::Text { text, special: true }], add_special: true };
    let tokens = |tokens: Vec<i32>| Prompt { segments: vec![Segment::Tokens { tokens }], add_special: false };
    let prompts: Vec<Prompt> = match input {
        PromptInput::Text(one) => vec![text(one)],
        PromptInput::Texts(many) => many.into_iter().map(text).collect(),
        PromptInput::Tokens(one) => vec![tokens(one)],
        PromptInput::TokenLists(many) => many.into_iter().map(tokens).collect(),
    };
    if prompts.is_empty() || prompts.len() > PROMPTS_MAX {
        return Err(Failure::invalid("prompt", format!("`prompt` must hold between 1 and {PROMPTS_MAX} prompts")));
    }
    let is_empty = |prompt: &Prompt| prompt.segments.iter().all(|s| matches!(s, Segment::Tokens { tokens } if tokens.is_empty()));
    match prompts.iter().position(is_empty) {
        Some(index) => Err(Failure::invalid(format!("prompt[{index}]"), "a list of tokens is empty")),
        None => Ok(prompts),
    }
}

async fn echoes(lease: &Lease, prompts: &[Prompt]) -> Result<Vec<String>, Failure> {
    let mut echoes = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        let mut echo = String::new();
        for segment in &prompt.segments {
            match segment {
                Segment::Text { text, .. } => echo.push_str(text),
                Segment::Tokens { tokens } => echo.push_str(&lease.engine.detokenize(tokens.clone()).await.map_err(|e| failure(&e))?),
                Segment::Between => {}
            }
        }
        echoes.push(echo);
    }
    Ok(echoes)
}

/// What all frames of an answer have in common, and where its choices are.
struct Shape {
    id: String,
    created: i64,
    model: String,
    fingerprint: Option<String>,
    /// Per prompt; empty where the prompt is not shown.
    echoes: Vec<String>,
    choices_per_prompt: usize,
    include_usage: bool,
    count: Count,
    /// Characters shown so far, by choice.
    offsets: Vec<usize>,
}

impl Shape {
    fn new(model: String, fingerprint: String, echoes: Vec<String>, choices_per_prompt: usize, include_usage: bool) -> Self {
        let (id, created) = stamp("cmpl-");
        let offsets = vec![0; echoes.len() * choices_per_prompt];
        let fingerprint = Some(fingerprint).filter(|f| !f.is_empty());
        Self { id, created, model, fingerprint, echoes, choices_per_prompt, include_usage, count: Count::default(), offsets }
    }

    fn add(&mut self, index: usize, done: &Done) {
        self.count.add(done, index.is_multiple_of(self.choices_per_prompt));
    }

    /// Text of a choice, with the prompt in front where it is the first.
    fn choice(&mut self, index: usize, text: String, finish_reason: Option<&str>, logprobs: &[TokenLogprob]) -> CompletionChoice {
        let echo = if self.offsets[index] == 0 { self.echoes[index / self.choices_per_prompt].clone() } else { String::new() };
        let start = self.offsets[index] + echo.chars().count();
        self.offsets[index] = start + text.chars().count();
        let logprobs = columns(logprobs, start);
        let text = if echo.is_empty() { text } else { echo + &text };
        CompletionChoice { index: index as u32, text, finish_reason: finish_reason.map(str::to_owned), logprobs }
    }

    fn response(&self, choices: Vec<CompletionChoice>) -> CompletionResponse {
        CompletionResponse {
            id: self.id.clone(),
            object: "text_completion".to_owned(),
            created: self.created,
            model: self.model.clone(),
            choices,
            usage: None,
            system_fingerprint: self.fingerprint.clone(),
        }
    }

    fn whole(mut self, collected: Vec<Collected>) -> CompletionResponse {
        let mut choices = Vec::with_capacity(collected.len());
        for (index, one) in collected.into_iter().enumerate() {
            self.add(index, &one.done);
            choices.push(self.choice(index, one.said.text, Some(finish_reason(one.done.finish)), &one.said.logprobs));
        }
        CompletionResponse { usage: Some(self.count.usage()), ..self.response(choices) }
    }

    fn write(&self, choices: Vec<CompletionChoice>, out: &mut Vec<u8>) {
        write_data(out, &serde_json::to_vec(&self.response(choices)).unwrap_or_default());
    }
}

impl Frames for Shape {
    fn text(&mut self, index: usize, Bit { text, logprobs, .. }: Bit, out: &mut Vec<u8>) {
        let choice = self.choice(index, text, None, &logprobs);
        self.write(vec![choice], out);
    }

    fn done(&mut self, index: usize, done: Done, out: &mut Vec<u8>) {
        self.add(index, &done);
        let choice = self.choice(index, done.text, Some(finish_reason(done.finish)), &done.logprobs);
        self.write(vec![choice], out);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.include_usage {
            let last = CompletionResponse { usage: Some(self.count.usage()), ..self.response(Vec::new()) };
            write_data(out, &serde_json::to_vec(&last).unwrap_or_default());
        }
        write_data(out, b"[DONE]");
    }
}

/// The older, column-wise form; `start` is the first token's place in the text, in characters.
fn columns(all: &[TokenLogprob], start: usize) -> Option<CompletionLogprobs> {
    if all.is_empty() {
        return None;
    }
    let mut columns = CompletionLogprobs { top_logprobs: Some(Vec::new()), ..CompletionLogprobs::default() };
    let mut offset = start;
    for one in all {
        let token = spelled(&one.token);
        columns.text_offset.push(offset);
        offset += token.chars().count();
        columns.tokens.push(token);
        columns.token_logprobs.push(Some(f64::from(one.token.logprob)));
        let top: Map<_, _> = one.top.iter().map(|chance| (spelled(chance), f64::from(chance.logprob).into())).collect();
        columns.top_logprobs.get_or_insert_default().push(top);
    }
    Some(columns)
}
