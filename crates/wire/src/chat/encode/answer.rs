//! Answers for clients of the dialect.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::{
    chat::{
        parts,
        types::{ChatResponse, Choice, Content, FunctionCall, Logprobs, Message as ChatMessage, ToolCall},
    },
    citations, custom,
    ir::{BlockKind, Delta, Event, Family, Finish},
};

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

/// Writes a whole answer from its events as JSON, with the members that [`ChatResponse`] has no field for: sources, sound, calls of
/// custom tools.
pub fn response_body(events: &[Event]) -> Value {
    let mut body = json!(response(events));
    for event in events {
        let (choice, name, value) = match event {
            Event::Delta { choice, delta: Delta::Citation(citation), .. } => match citations::to_chat(citation) {
                Some(own) => (*choice, "annotations", own),
                None => continue,
            },
            Event::BlockStart { choice, kind: BlockKind::Opaque { family: Family::Responses, value }, .. } if custom::is_call(value) => {
                (*choice, "tool_calls", custom::chat_call(value))
            }
            Event::BlockStart { choice, kind: BlockKind::Opaque { family: Family::Chat, value }, .. } => {
                if let Some(message) = message_of(&mut body, *choice) {
                    parts::add_own(message, value);
                }
                continue;
            }
            _ => continue,
        };
        if let Some(message) = message_of(&mut body, choice) {
            match &mut message[name] {
                Value::Array(all) => all.push(value),
                other => *other = json!([value]),
            }
        }
    }
    body
}

fn message_of(body: &mut Value, index: u32) -> Option<&mut Value> {
    body["choices"].as_array_mut()?.iter_mut().find(|c| c["index"] == index).map(|c| &mut c["message"])
}

/// Writes a whole answer from its events; [`response_body`] writes what these types have no field for, too.
pub fn response(events: &[Event]) -> ChatResponse {
    let mut answer = ChatResponse { object: "chat.completion".to_owned(), ..ChatResponse::default() };
    let mut kinds = HashMap::new();
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
            Event::Finish { choice, reason } => {
                let choice = choice_of(&mut answer, *choice);
                // Beside a refusal in words, the official server says `stop`.
                let reason = if choice.message.refusal.is_some() && *reason == Finish::Refusal { &Finish::Stop } else { reason };
                choice.finish_reason = Some(finish(reason).to_owned());
            }
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
            for (all, more) in [(&mut all.content, &more.0.content), (&mut all.refusal, &more.0.refusal)] {
                if let Some(more) = more {
                    all.get_or_insert_default().extend(more.iter().cloned());
                }
            }
        }
    }
}
