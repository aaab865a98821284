//! The inner language → text completions.

use serde_json::{Value, json};

use super::types::{CompletionChoice, CompletionResponse};
use crate::{
    chat::encode::finish,
    ir::{Delta, Event, Usage},
    sse::{write_data, write_json},
};

/// Writes a whole answer; only text has a place in this dialect.
pub fn response(events: &[Event]) -> CompletionResponse {
    let mut answer = CompletionResponse { object: "text_completion".to_owned(), ..CompletionResponse::default() };
    for event in events {
        match event {
            Event::Start { id, model, created } => {
                answer.id.clone_from(id);
                answer.model.clone_from(model);
                answer.created = *created;
            }
            Event::Delta { choice, delta: Delta::Text(text), .. } => choice_of(&mut answer, *choice).text.push_str(text),
            Event::Finish { choice, reason } => choice_of(&mut answer, *choice).finish_reason = Some(finish(reason).to_owned()),
            Event::Usage(usage) => answer.usage = Some(usage.to_chat()),
            _ => {}
        }
    }
    answer
}

fn choice_of(answer: &mut CompletionResponse, index: u32) -> &mut CompletionChoice {
    let at = answer.choices.iter().position(|c| c.index == index).unwrap_or_else(|| {
        answer.choices.push(CompletionChoice { index, ..CompletionChoice::default() });
        answer.choices.len() - 1
    });
    &mut answer.choices[at]
}

/// Writes events as a completion stream.
#[derive(Debug, Default)]
pub struct Encoder {
    head: Option<(String, String, i64)>,
    include_usage: bool,
    usage: Usage,
}

impl Encoder {
    /// `include_usage`: the client asked for a last chunk with usage.
    pub fn new(include_usage: bool) -> Self {
        Self { include_usage, ..Self::default() }
    }

    /// Appends the frames of one event.
    pub fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model, created } => self.head = Some((id.clone(), model.clone(), *created)),
            Event::Delta { choice, delta: Delta::Text(text), .. } => {
                let choice = json!({"index": choice, "text": text, "finish_reason": null, "logprobs": null});
                self.write(json!([choice]), None, out);
            }
            Event::Finish { choice, reason } => {
                let choice = json!({"index": choice, "text": "", "finish_reason": finish(reason), "logprobs": null});
                self.write(json!([choice]), None, out);
            }
            Event::Usage(usage) => self.usage = *usage,
            Event::End => {
                if self.include_usage {
                    self.write(json!([]), Some(json!(self.usage.to_chat())), out);
                }
                write_data(out, b"[DONE]");
            }
            Event::Failed { message, code } => {
                let error = json!({"error": {"message": message, "type": "api_error", "param": null, "code": code}});
                write_json(out, &error);
            }
            _ => {}
        }
    }

    fn write(&self, choices: Value, usage: Option<Value>, out: &mut Vec<u8>) {
        let (id, model, created) = self.head.clone().unwrap_or_default();
        let mut chunk = json!({"id": id, "object": "text_completion", "created": created, "model": model, "choices": choices});
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        write_json(out, &chunk);
    }
}
