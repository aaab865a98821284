//! Content of an answer that comes in parts. Most servers write one text; models of Mistral's that think write their thoughts as parts
//! before it (docs.mistral.ai/capabilities/reasoning).

use serde_json::{Value, json};

/// The parts by what they are.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) text: String,
    pub(super) thought: String,
    /// What has no place in the inner language.
    pub(super) other: Vec<Value>,
}

impl Parts {
    pub(super) fn of(parts: &[Value]) -> Self {
        let mut out = Self::default();
        for part in parts {
            match (part["type"].as_str(), part["text"].as_str()) {
                (Some("text" | "output_text"), Some(text)) => out.text.push_str(text),
                (Some("thinking"), _) => out.think(&part["thinking"]),
                _ => out.other.push(part.clone()),
            }
        }
        out
    }

    /// Thoughts are a text, or a list of parts with texts.
    fn think(&mut self, thinking: &Value) {
        let texts = thinking.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str());
        thinking.as_str().into_iter().chain(texts).for_each(|text| self.thought.push_str(text));
    }

    /// The members of a message that only chat understands.
    pub(super) fn own(&self) -> Option<Value> {
        (!self.other.is_empty()).then(|| json!({ "content": self.other }))
    }
}

/// Adds such members to a message that is written: what is a list goes behind what is there.
pub(super) fn add_own(message: &mut Value, own: &Value) {
    let (Value::Object(message), Value::Object(own)) = (message, own) else { return };
    for (name, value) in own {
        let mut all = match message.get(name) {
            Some(Value::String(text)) if !text.is_empty() => vec![json!({"type": "text", "text": text})],
            Some(Value::Array(all)) => all.clone(),
            _ => Vec::new(),
        };
        let value = match value {
            Value::Array(more) => {
                all.extend(more.iter().cloned());
                all.into()
            }
            other => other.clone(),
        };
        message.insert(name.clone(), value);
    }
}
