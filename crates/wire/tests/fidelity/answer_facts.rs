//! What an answer says, and what of it another dialect shows.

use std::collections::BTreeMap;

use serde_json::Value;
use wire::{
    Dialect,
    ir::{BlockKind, Delta, Event, Finish, event::LogprobsBox},
    losses::Losses,
};

use crate::facts::canonical;

/// Lines under the path that a loss of it would name. Texts of one kind are joined, since borders of blocks mean nothing.
pub(crate) fn facts(events: &[Event]) -> Vec<(String, String)> {
    let mut choices: BTreeMap<u32, Choice> = BTreeMap::new();
    let mut out = Vec::new();
    for event in events {
        match event {
            Event::Start { model, .. } => out.push(("answer.model".to_owned(), format!("model {model}"))),
            Event::BlockStart { choice, block, kind } => choices.entry(*choice).or_default().start(*block, kind),
            Event::Delta { choice, delta, .. } => choices.entry(*choice).or_default().delta(delta),
            Event::BlockStop { .. } => {}
            Event::Finish { choice, reason } => choices.entry(*choice).or_default().finish = Some(reason.clone()),
            Event::Usage(usage) => {
                for (name, count) in [
                    ("input", Some(usage.input())),
                    ("output", Some(usage.output())),
                    ("in_cache_read", usage.in_cache_read),
                    ("in_cache_write", usage.in_cache_write),
                    ("in_cache_write_1h", usage.in_cache_write_1h),
                    ("out_reasoning", usage.out_reasoning),
                    ("in_audio", usage.in_audio),
                    ("in_image", usage.in_image),
                    ("out_audio", usage.out_audio),
                    ("server_tools", usage.server_tools),
                ] {
                    if let Some(count) = count.filter(|n| *n > 0) {
                        out.push((format!("answer.usage.{name}"), format!("{name} {count}")));
                    }
                }
            }
            Event::End => out.push(("answer".to_owned(), "a normal end".to_owned())),
            Event::Failed { message, .. } => out.push(("answer".to_owned(), format!("failed: {message}"))),
        }
    }
    for (index, choice) in choices {
        choice.say(index, &mut out);
    }
    out
}

#[derive(Default)]
struct Choice {
    text: String,
    thought: String,
    refusal: String,
    calls: Vec<(String, String)>,
    opaque: Vec<(u32, String, bool)>,
    citations: Vec<String>,
    tokens: Vec<String>,
    finish: Option<Finish>,
}

impl Choice {
    fn start(&mut self, block: u32, kind: &BlockKind) {
        match kind {
            BlockKind::ToolCall { name, .. } => self.calls.push((name.clone(), String::new())),
            BlockKind::Opaque { family, value } => {
                let mut value = value.clone();
                let is_custom = value["type"] == "custom_tool_call";
                if let Some(members) = value.as_object_mut().filter(|_| is_custom) {
                    members.retain(|k, _| k != "id" && k != "status");
                }
                self.opaque.push((block, format!("{family:?} {}", canonical(&value)), is_custom));
            }
            _ => {}
        }
    }

    fn delta(&mut self, delta: &Delta) {
        match delta {
            Delta::Text(text) => self.text.push_str(text),
            Delta::Reasoning(text) => self.thought.push_str(text),
            Delta::Refusal(text) => self.refusal.push_str(text),
            Delta::Arguments(text) => {
                if let Some((_, arguments)) = self.calls.last_mut() {
                    arguments.push_str(text);
                }
            }
            Delta::Citation(cited) => {
                // OpenAI's two dialects have one kind in two forms.
                let own = if cited.own["url_citation"].is_object() { cited.own["url_citation"].clone() } else { cited.own.clone() };
                let mut own = own;
                own.as_object_mut().map(|m| m.shift_remove("type"));
                self.citations.push(canonical(&own));
            }
            Delta::Logprobs(LogprobsBox(all)) => {
                let lists = [&all.content, &all.refusal].into_iter().flatten().flatten();
                self.tokens.extend(lists.map(|t| format!("{} {} {}", t.token, t.logprob, t.top_logprobs.len())));
            }
            Delta::State(_) => {}
        }
    }

    fn say(self, index: u32, out: &mut Vec<(String, String)>) {
        let of = if index == 0 { "answer".to_owned() } else { format!("answer.choices[{index}]") };
        let mut say = |path: &str, line: String| out.push((format!("{of}.{path}"), format!("{index}: {line}")));
        let is_refused = !self.refusal.is_empty();
        for (path, kind, text) in
            [("text", "text", self.text), ("reasoning", "thought", self.thought), ("refusal", "refusal", self.refusal)]
        {
            if !text.is_empty() {
                say(path, format!("{kind} {text}"));
            }
        }
        for (name, arguments) in self.calls {
            let arguments = if arguments.trim().is_empty() { "{}".to_owned() } else { arguments };
            let arguments = serde_json::from_str::<Value>(&arguments).map_or(arguments, |v| canonical(&v));
            say("calls", format!("call {name} {arguments}"));
        }
        for (block, value, _) in self.opaque {
            say(&format!("blocks[{block}]"), format!("opaque {value}"));
        }
        for own in self.citations {
            say("citations", format!("source {own}"));
        }
        for token in self.tokens {
            say("logprobs", format!("token {token}"));
        }
        match self.finish {
            // A refusal in words says why by itself.
            Some(Finish::Stop) if is_refused => say("finish_reason", "ended by refusal".to_owned()),
            Some(Finish::Refusal) => say("finish_reason", "ended by refusal".to_owned()),
            Some(Finish::StopSequence(text)) => {
                say("finish_reason", "ended by stop".to_owned());
                say("stop_sequence", format!("at {text:?}"));
            }
            Some(Finish::Stop) => say("finish_reason", "ended by stop".to_owned()),
            Some(reason) => say("finish_reason", format!("ended by {reason:?}")),
            None => {}
        }
    }
}

fn covers(said: &str, path: &str) -> bool {
    path.strip_prefix(said).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Every difference is named, and every name is a difference. `got` is what a client of `dialect` reads.
pub(crate) fn compare(dialect: Dialect, sent: &[Event], got: &[Event]) -> Result<Losses, String> {
    let losses = dialect.answer_losses(sent);
    // Of a stream that failed, the error is what must arrive.
    if let Some(Event::Failed { message, .. }) = sent.last() {
        let is_same = matches!(got.last(), Some(Event::Failed { message: got, .. }) if got == message);
        return if is_same { Ok(losses) } else { Err(format!("{message} became {:?}", got.last())) };
    }
    let mut after = facts(got);
    let mut gone = Vec::new();
    for fact in facts(sent) {
        match after.iter().position(|f| f.1 == fact.1) {
            Some(at) => drop(after.remove(at)),
            None => gone.push(fact),
        }
    }
    // A refusal that became text stands at the end or in the middle of the text.
    let is_text_of_refusal = losses.changed.iter().any(|p| p == "answer.refusal" || p.ends_with(".refusal"));
    let said: Vec<&String> = losses.dropped.iter().chain(&losses.changed).collect();
    for (path, line) in &gone {
        let is_merged = is_text_of_refusal && path.rsplit('.').next() == Some("text");
        // A call that cannot be read fails the whole response there.
        let is_failed = dialect == Dialect::Responses && said.iter().any(|s| *s == "answer.finish_reason") && line == "a normal end";
        if !is_merged && !is_failed && !said.iter().any(|s| covers(s, path)) {
            return Err(format!("{path} ({line}) is gone without a word in {}; said: {said:?}; new: {after:?}", dialect.name()));
        }
    }
    for path in &said {
        if !gone.iter().any(|(g, _)| covers(path, g) || covers(g, path)) {
            return Err(format!("{path} is called a loss in {}, but nothing differs: {after:?}", dialect.name()));
        }
    }
    Ok(losses)
}
