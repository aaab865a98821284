//! JSON in: errors that name the place and the field.

use serde::de::DeserializeOwned;

use crate::error::{Code, Failure};

/// Reads a JSON body into a typed request.
///
/// # Errors
/// [`Code::InvalidRequest`]: an empty body, broken JSON (with line and column), or a wrong type (with the field as `param`).
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    expect_object(body)?;
    // Where the place of a fault is kept track of, reading takes half as long again: for the few that have one.
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
        let path = e.path().to_string();
        let inner = e.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data if path != "." => {
                Failure::invalid(path.clone(), format!("`{path}`: {}", without_place(&inner)))
            }
            serde_json::error::Category::Data => Failure::new(Code::InvalidRequest, format!("expected a JSON object: {inner}")),
            _ => broken(&inner),
        }
    })?;
    reader.end().map_err(|e| broken(&e))?;
    Ok(value)
}

/// Refuses what cannot be a JSON object; a derived reader would take a list for a struct.
pub(crate) fn expect_object(body: &[u8]) -> Result<(), Failure> {
    match body.trim_ascii_start().first() {
        Some(b'{') => Ok(()),
        Some(_) => match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
            Ok(_) => Err(Failure::new(Code::InvalidRequest, "the body must be a JSON object")),
            Err(e) => Err(broken(&e)),
        },
        None => Err(Failure::new(Code::InvalidRequest, "the body is empty: a JSON object is expected")),
    }
}

/// A value as text, without the detour of its `Display`.
pub fn text(value: &serde_json::Value) -> Vec<u8> {
    // Only a map whose keys are no strings could fail.
    serde_json::to_vec(value).unwrap_or_default()
}

/// The failure for a body that is no JSON.
pub fn broken(error: &serde_json::Error) -> Failure {
    Failure::new(Code::InvalidRequest, format!("the body is not valid JSON: {error}"))
}

fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(said, _)| said.to_owned())
}
