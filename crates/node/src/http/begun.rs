//! Answers that were begun elsewhere: the last message is the beginning of the answer, and the model goes on in it.
//!
//! The prompt is what it was, up to where the assistant's turn opens, and behind it the text as the model would have written it. So nothing depends on how a
//! template writes earlier turns.

use wire::{
    Code, Failure,
    chat::types::ChatRequest,
    fleet::worker::{Prompt, Segment},
};

use crate::{speech::Manner, template::Conversation};

/// What was said so far.
#[derive(Debug)]
pub(super) struct Begun {
    text: String,
    thoughts: String,
}

/// Takes the beginning of the answer out of a conversation, where the request has one (`continue_final_message`, as vLLM and SGLang call it).
pub(super) fn taken(request: &ChatRequest, conversation: &mut Conversation) -> Result<Option<Begun>, Failure> {
    if request.continue_final_message != Some(true) {
        return Ok(None);
    }
    let field = "continue_final_message";
    if request.add_generation_prompt == Some(true) {
        return Err(Failure::invalid(field, "`continue_final_message` and `add_generation_prompt` can't be combined"));
    }
    let last = conversation.messages.pop().filter(|last| last["role"] == "assistant" && last["tool_calls"].is_null());
    let Some(last) = last else {
        return Err(Failure::invalid(field, "`continue_final_message` needs a last message of the assistant, without calls"));
    };
    // The turn is opened as for any answer.
    conversation.more.insert("add_generation_prompt".to_owned(), true.into());
    let text = |name: &str| last[name].as_str().unwrap_or_default().to_owned();
    Ok(Some(Begun { text: text("content"), thoughts: text("reasoning_content") }))
}

impl Begun {
    /// Puts what was said behind the prompt; gives it as the model would have written it.
    pub(super) fn put(self, prompt: &mut Prompt, manner: &Manner) -> Result<String, Failure> {
        let raw = self.written(manner)?;
        if !raw.is_empty() {
            // As plain text: nothing that was said may become a control token, but for the marks of thoughts, which are the model's own.
            prompt.segments.push(Segment::Text { text: raw.clone(), special: !self.thoughts.is_empty() });
        }
        Ok(raw)
    }

    fn written(&self, manner: &Manner) -> Result<String, Failure> {
        if manner.speech.name() == "harmony" {
            return Err(Failure::new(Code::Unsupported, "this model's answers can't be gone on with").at("continue_final_message"));
        }
        let Some((open, close)) = manner.speech.tags() else { return Ok(self.text.clone()) };
        let open = if manner.is_thinking || self.thoughts.is_empty() { String::new() } else { format!("{open}\n") };
        let close = match (self.text.is_empty(), self.thoughts.is_empty()) {
            (false, false) => format!("\n{close}\n\n"),
            // A turn that opens with thoughts has none here: they end at once.
            (false, true) if manner.is_thinking => format!("{close}\n\n"),
            _ => String::new(),
        };
        Ok(format!("{open}{}{close}{}", self.thoughts, self.text))
    }
}
