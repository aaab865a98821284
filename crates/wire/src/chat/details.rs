//! `reasoning_details`, as OpenRouter has them: parts of a model's thinking with what its provider knows them by (signatures, encrypted
//! parts). They go back as they came (openrouter.ai/docs/use-cases/reasoning-tokens).

use serde_json::Value;

use crate::{
    ir::{Family, State},
    sse::EVENT_BYTES_MAX,
};

/// Members whose words come in pieces, where the index says that it is the same part.
const WORDS: [&str; 2] = ["text", "summary"];

/// The details of one answer, put together.
#[derive(Debug, Default)]
pub(super) struct Details {
    parts: Vec<Value>,
    bytes: usize,
}

impl Details {
    /// Those of a whole message.
    pub(super) fn of(message: &Value) -> Self {
        let mut details = Self::default();
        // The message is bounded, and so they are.
        let _ = details.add(message["reasoning_details"].as_array().cloned().unwrap_or_default());
        details
    }

    /// More of a stream. The error is a message for the caller.
    pub(super) fn add(&mut self, more: Vec<Value>) -> Result<(), &'static str> {
        for part in more.into_iter().filter(Value::is_object) {
            self.bytes += part.to_string().len();
            let is_same = |known: &&mut Value| {
                !part["index"].is_null() && known["index"] == part["index"] && known["type"] == part["type"] && part["data"].is_null()
            };
            match self.parts.last_mut().filter(is_same) {
                Some(known) => grow(known, part),
                None => self.parts.push(part),
            }
        }
        if self.bytes > EVENT_BYTES_MAX { Err("the upstream's reasoning details are too long") } else { Ok(()) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// What may be read of them.
    pub(super) fn text(&self) -> String {
        words(&self.parts)
    }

    /// Takes them out, as the state of a block of reasoning; `None` where there are none.
    pub(super) fn state(&mut self) -> Option<State> {
        let parts = std::mem::take(&mut self.parts);
        let encrypted = (!parts.is_empty()).then(|| Value::Array(parts).to_string())?;
        Some(State { family: Family::Chat, id: None, signature: None, encrypted: Some(encrypted) })
    }
}

/// What may be read of parts.
pub(super) fn words(parts: &[Value]) -> String {
    parts.iter().filter_map(|part| WORDS.iter().find_map(|name| part[*name].as_str())).collect()
}

fn grow(known: &mut Value, more: Value) {
    let (Value::Object(known), Value::Object(more)) = (known, more) else { return };
    for (name, value) in more.into_iter().filter(|(_, value)| !value.is_null()) {
        match (known.get_mut(&name), value) {
            (Some(Value::String(words)), Value::String(more)) if WORDS.contains(&name.as_str()) => words.push_str(&more),
            (_, value) => drop(known.insert(name, value)),
        }
    }
}

/// The details that a state of this dialect holds.
pub(super) fn of_state(state: &State) -> Option<Vec<Value>> {
    let text = state.encrypted.as_deref().filter(|_| state.family == Family::Chat)?;
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pieces_of_one_part_are_put_together_and_others_are_left_alone() {
        let mut details = Details::default();
        let piece = |text: &str| json!({"type": "reasoning.text", "text": text, "index": 0, "format": "f"});
        details.add(vec![piece("Hm"), piece(", so")]).unwrap();
        details.add(vec![json!({"type": "reasoning.text", "signature": "s1", "index": 0, "text": null})]).unwrap();
        details
            .add(vec![
                json!({"type": "reasoning.encrypted", "data": "e1", "index": 0}),
                json!({"type": "reasoning.encrypted", "data": "e2", "index": 0}),
            ])
            .unwrap();
        assert_eq!(details.text(), "Hm, so");
        let state = details.state().unwrap();
        let expected = json!([
            {"type": "reasoning.text", "text": "Hm, so", "index": 0, "format": "f", "signature": "s1"},
            {"type": "reasoning.encrypted", "data": "e1", "index": 0},
            {"type": "reasoning.encrypted", "data": "e2", "index": 0}
        ]);
        assert_eq!(Value::Array(of_state(&state).unwrap()), expected);
        assert!(details.state().is_none(), "they are given once");
        assert!(of_state(&State { family: Family::Messages, ..state }).is_none());
    }
}
