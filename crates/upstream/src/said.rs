//! What an error body says, whatever its shape.

use serde_json::Value;

/// Most bytes that are looked through where a body is no JSON.
const TEXT_BYTES_MAX: usize = 4096;
/// Most identifiers that are kept of one error.
const NAMES_MAX: usize = 16;

/// An error's identifiers and words.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) is_json: bool,
    /// `code`, `type`, `status` and reasons, in lower case; numbers are left out.
    names: Vec<String>,
    /// As the upstream wrote it.
    pub(crate) message: String,
    lower: String,
}

impl Said {
    /// Reads a body. Never fails: what is no JSON is words.
    pub(crate) fn read(body: &[u8]) -> Self {
        let mut said = Self::default();
        match serde_json::from_slice::<Value>(body) {
            Ok(value) => {
                said.is_json = true;
                said.take(&value, 0);
            }
            Err(_) => said.message = String::from_utf8_lossy(&body[..body.len().min(TEXT_BYTES_MAX)]).into_owned(),
        }
        said.lower = said.message.to_lowercase();
        said
    }

    /// Whether one of the identifiers is this (given in lower case).
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }

    /// Whether the message has these words (given in lower case).
    pub(crate) fn message_has(&self, words: &str) -> bool {
        self.lower.contains(words)
    }

    fn take(&mut self, value: &Value, depth: usize) {
        // Google's compatible endpoints answer with a list of one.
        let value = value.get(0).unwrap_or(value);
        let error = value.get("error").filter(|e| !e.is_null()).unwrap_or(value);
        for object in [error, value] {
            for key in ["code", "type", "status", "error_type"] {
                self.name(&object[key]);
            }
        }
        self.name(&error["innererror"]["code"]);
        self.name(&error["metadata"]["error_type"]);
        for detail in error["details"].as_array().into_iter().flatten().take(NAMES_MAX) {
            self.name(&detail["reason"]);
        }
        let words = [&error["message"], error, &value["detail"], &value["message"]];
        self.message = words.into_iter().find_map(words_of).unwrap_or_default();
        // A router of routers puts what it was told into its own error.
        if let (Some(raw), 0) = (error["metadata"]["raw"].as_str(), depth) {
            match serde_json::from_str::<Value>(raw) {
                Ok(inner @ (Value::Object(_) | Value::Array(_))) => self.take(&inner, depth + 1),
                _ if !raw.trim().is_empty() => raw.clone_into(&mut self.message),
                _ => {}
            }
        }
    }

    fn name(&mut self, value: &Value) {
        if let Some(name) = value.as_str().filter(|_| self.names.len() < NAMES_MAX) {
            self.names.push(name.to_lowercase());
        }
    }
}

/// A text, or a list of a validator's complaints, or an object that holds one.
fn words_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Array(complaints) => complaints.first().and_then(complaint),
        Value::Object(object) => ["detail", "error", "message"].iter().find_map(|key| words_of(object.get(*key)?)),
        _ => None,
    }
}

fn complaint(value: &Value) -> Option<String> {
    let said = value["msg"].as_str().or(value.as_str())?;
    let place: Vec<String> =
        value["loc"].as_array().into_iter().flatten().map(|p| p.as_str().map_or_else(|| p.to_string(), str::to_owned)).collect();
    Some(if place.is_empty() { said.to_owned() } else { format!("{}: {said}", place.join(".")) })
}
