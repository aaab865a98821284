//! Fits a translated body to a provider: what its server would refuse is dropped, what it calls otherwise is renamed. Bodies of the raw
//! lane are never touched.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use wire::{Dialect, ir::Reasoning, losses::Losses};

use crate::catalog::{Chat, Effort, Provider, Refusal};

mod ids;

/// What became of a part of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The same thing in the provider's words, or something that meant nothing: no loss.
    Same,
    /// It arrives in another strength or form.
    Changed,
    /// It is gone.
    Dropped,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitted {
    /// Of the body as the encoder wrote it.
    pub path: String,
    pub how: How,
}

/// OpenAI's words for how much to think, from weak to strong.
pub(crate) const STRENGTHS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// Fits `body`, an encoder's work for `wire`, to a provider; `asked` is what the caller said about thinking. What is lost goes into
/// `losses`; everything that was done comes back.
pub(crate) fn fit(row: &Provider, wire: Dialect, asked: &Reasoning, body: &mut Value, losses: &mut Losses) -> Vec<Fitted> {
    let mut done = Vec::new();
    let Value::Object(body) = body else { return done };
    let model = body.get("model").and_then(Value::as_str).unwrap_or_default().to_owned();
    let effort = body.get("reasoning_effort").or_else(|| body.get("reasoning")?.get("effort"));
    let thinks = effort.and_then(Value::as_str) != Some("none");
    for refusal in row.refused.iter().filter(|r| r.wire == wire && holds_for(r, &model, thinks)) {
        refusal.fields.iter().for_each(|field| refuse(body, field, &mut done));
    }
    if wire == Dialect::Responses && done.iter().any(|part| part.path == "reasoning") {
        fit_include(body);
    }
    if wire == Dialect::Responses && !row.instructions.is_empty() {
        fit_stateless(row.instructions, body, &mut done);
    }
    fit_user(wire, body, &mut done);
    if wire == Dialect::Chat {
        fit_chat(&row.chat, asked, body, losses, &mut done);
    }
    for part in &done {
        match part.how {
            How::Same => {}
            How::Changed => losses.change(part.path.as_str()),
            How::Dropped => losses.drop(part.path.as_str()),
        }
    }
    done
}

/// Longest name of an end user that every server takes (OpenAI 64, Zhipu and OpenRouter 128 characters).
const USER_CHARS_MAX: usize = 64;

/// A name of an end user that is long, or that may be an address (Anthropic refuses those), goes as an opaque one: the same for the same.
fn fit_user(wire: Dialect, body: &mut Map<String, Value>, done: &mut Vec<Fitted>) {
    let (user, path) = match wire {
        Dialect::Messages => (body.get_mut("metadata").and_then(|metadata| metadata.get_mut("user_id")), "metadata.user_id"),
        Dialect::Chat | Dialect::Responses => (body.get_mut("user"), "user"),
        Dialect::Gemini => return,
    };
    let is_plain = |name: &str| name.len() <= USER_CHARS_MAX && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if let Some(Value::String(name)) = user
        && !is_plain(name)
    {
        *name = format!("user-{}", URL_SAFE_NO_PAD.encode(&Sha256::digest(name.as_bytes())[..24]));
        done.push(Fitted { path: path.to_owned(), how: How::Changed });
    }
}

/// Instructions are wanted, and nothing is stored.
fn fit_stateless(instructions: &str, body: &mut Map<String, Value>, done: &mut Vec<Fitted>) {
    if body.get("instructions").and_then(Value::as_str).is_none_or(str::is_empty) {
        body.insert("instructions".to_owned(), instructions.into());
        done.push(Fitted { path: "instructions".to_owned(), how: How::Same });
    }
    if body.insert("store".to_owned(), false.into()) == Some(true.into()) {
        done.push(Fitted { path: "store".to_owned(), how: How::Changed });
    }
}

fn holds_for(refusal: &Refusal, model: &str, thinks: bool) -> bool {
    let begins = |names: &[&str]| names.iter().any(|name| model.starts_with(name));
    (thinks || !refusal.while_thinking) && (refusal.models.is_empty() || (begins(refusal.models) && !begins(refusal.except)))
}

/// The encrypted form of thoughts cannot be had where none are wished for.
fn fit_include(body: &mut Map<String, Value>) {
    if let Some(Value::Array(words)) = body.get_mut("include") {
        words.retain(|word| word != "reasoning.encrypted_content");
        if words.is_empty() {
            body.shift_remove("include");
        }
    }
}

/// Values that say what holds anyhow.
fn is_neutral(field: &str, value: &Value) -> bool {
    match field {
        "temperature" | "top_p" | "n" => value.as_f64() == Some(1.0),
        "presence_penalty" | "frequency_penalty" => value.as_f64() == Some(0.0),
        "parallel_tool_calls" => value == true,
        "logprobs" | "store" => value == false,
        "service_tier" => value == "auto",
        // Who cannot think does not.
        "reasoning_effort" => value == "none",
        "reasoning" => value["effort"] == "none",
        _ => value.is_null(),
    }
}

fn refuse(body: &mut Map<String, Value>, field: &str, done: &mut Vec<Fitted>) {
    if let Some(value) = body.shift_remove(field) {
        let how = if is_neutral(field, &value) { How::Same } else { How::Dropped };
        done.push(Fitted { path: field.to_owned(), how });
    }
}

fn same(path: impl Into<String>) -> Fitted {
    Fitted { path: path.into(), how: How::Same }
}

fn fit_chat(chat: &Chat, asked: &Reasoning, body: &mut Map<String, Value>, losses: &mut Losses, done: &mut Vec<Fitted>) {
    for other in ["max_tokens", "max_completion_tokens"] {
        if other != chat.output_limit
            && let Some(value) = body.shift_remove(other)
        {
            body.entry(chat.output_limit).or_insert(value);
            done.push(same(other));
        }
    }
    if let Some(Value::Array(stops)) = body.get_mut("stop")
        && stops.len() > chat.stops_max
    {
        stops.truncate(chat.stops_max);
        done.push(Fitted { path: format!("stop[{}..]", chat.stops_max), how: How::Dropped });
    }
    if chat.some_tool != "required"
        && let Some(choice) = body.get_mut("tool_choice").filter(|c| **c == "required")
    {
        *choice = chat.some_tool.into();
        done.push(same("tool_choice"));
    }
    effort(chat.effort, asked, body, losses, done);
    let Some(Value::Array(messages)) = body.get_mut("messages") else { return };
    for (at, message) in messages.iter_mut().enumerate() {
        if let Value::Object(message) = message {
            fit_message(chat, at, message, done);
        }
    }
    ids::fit(chat.call_ids, messages, done);
}

fn fit_message(chat: &Chat, at: usize, message: &mut Map<String, Value>, done: &mut Vec<Fitted>) {
    if !chat.developer
        && let Some(role) = message.get_mut("role").filter(|role| **role == "developer")
    {
        *role = "system".into();
        done.push(same(format!("messages[{at}].role")));
    }
    for field in chat.refused_in_messages {
        if message.shift_remove(*field).is_some() {
            done.push(Fitted { path: format!("messages[{at}].{field}"), how: How::Dropped });
        }
    }
    if chat.thoughts == Some("reasoning_content") {
        return;
    }
    if let Some(thoughts) = message.shift_remove("reasoning_content") {
        let path = format!("messages[{at}].reasoning_content");
        match chat.thoughts {
            Some(field) => {
                message.insert(field.to_owned(), thoughts);
                done.push(same(path));
            }
            None => done.push(Fitted { path, how: How::Dropped }),
        }
    }
}

fn effort(effort: Effort, asked: &Reasoning, body: &mut Map<String, Value>, losses: &mut Losses, done: &mut Vec<Fitted>) {
    const FIELD: &str = "reasoning_effort";
    let word = body.get(FIELD).and_then(Value::as_str).map(str::to_owned);
    match (effort, word) {
        (Effort::Words(words), Some(word)) => {
            if let Some(nearest) = nearest(words, &word).filter(|n| *n != word) {
                body.insert(FIELD.to_owned(), nearest.into());
                done.push(Fitted { path: FIELD.to_owned(), how: How::Changed });
            }
        }
        (Effort::Object, Some(word)) => {
            body.shift_remove(FIELD);
            body.insert("reasoning".to_owned(), json!({"effort": word}));
            done.push(same(FIELD));
        }
        (Effort::Object, None) => {
            let Some(budget) = asked.budget_tokens else { return };
            let said = if budget == 0 { json!({"enabled": false}) } else { json!({"max_tokens": budget}) };
            body.insert("reasoning".to_owned(), said);
            carried(losses, done);
        }
        (Effort::Thinking, Some(word)) if word == "none" => {
            body.shift_remove(FIELD);
            body.insert("thinking".to_owned(), json!({"type": "disabled"}));
            done.push(same(FIELD));
        }
        (Effort::Thinking, None) if asked.budget_tokens == Some(0) => {
            body.insert("thinking".to_owned(), json!({"type": "disabled"}));
            carried(losses, done);
        }
        (Effort::Any | Effort::Words(_) | Effort::Thinking, _) => {}
    }
}

/// The encoder knows no place for a budget of thinking on this wire; this provider has one.
fn carried(losses: &mut Losses, done: &mut Vec<Fitted>) {
    const PATH: &str = "reasoning.budget_tokens";
    losses.dropped.retain(|path| path != PATH);
    done.push(same(PATH));
}

/// The word of a list that is nearest in strength, the stronger of two; `None` for a word that is none of [`STRENGTHS`].
fn nearest(words: &'static [&'static str], word: &str) -> Option<&'static str> {
    let strength = |word: &str| STRENGTHS.iter().position(|s| *s == word);
    let wanted = strength(word)?;
    words.iter().copied().rev().min_by_key(|w| strength(w).map_or(usize::MAX, |s| s.abs_diff(wanted)))
}

#[cfg(test)]
mod tests;
