//! A streamed completion as if it had not been streamed.

use serde_json::Value;

use crate::sse::SseReader;

/// Puts the frames of a stream together; `None` where they tell no completion.
pub fn assembled(frames: &[u8]) -> Option<Value> {
    let mut whole: Option<Value> = None;
    let mut reader = SseReader::new();
    let mut add = |data: &str| {
        // `[DONE]` and comments are no chunks.
        let Ok(chunk) = serde_json::from_str::<Value>(data) else { return };
        match &mut whole {
            None if chunk["choices"].is_array() => whole = Some(chunk),
            None => {}
            Some(whole) => join(whole, chunk),
        }
    };
    reader.feed(frames, |event| add(&event.data)).ok()?;
    reader.finish(|event| add(&event.data));
    whole
}

/// Adds a later chunk: texts grow, everything else that is said stands.
fn join(whole: &mut Value, mut chunk: Value) {
    for mut choice in chunk["choices"].take().as_array_mut().map(std::mem::take).unwrap_or_default() {
        let index = choice["index"].as_u64();
        let Some(choices) = whole["choices"].as_array_mut() else { return };
        let Some(known) = choices.iter_mut().find(|known| known["index"].as_u64() == index) else {
            choices.push(choice);
            continue;
        };
        if let (Value::String(text), Value::String(more)) = (&mut known["text"], &choice["text"]) {
            text.push_str(more);
        }
        if !choice["finish_reason"].is_null() {
            known["finish_reason"] = choice["finish_reason"].take();
        }
    }
    if !chunk["usage"].is_null() {
        whole["usage"] = chunk["usage"].take();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_grow_and_the_end_is_kept() {
        let chunk = |value: Value| format!("data: {value}\n\n");
        let frames = [
            chunk(json!({"id": "c", "choices": [{"index": 0, "text": "Hel", "finish_reason": null}]})),
            chunk(
                json!({"id": "c", "choices": [{"index": 1, "text": "B", "finish_reason": null}, {"index": 0, "text": "lo", "finish_reason": "stop"}]}),
            ),
            chunk(json!({"id": "c", "choices": [], "usage": {"total_tokens": 3}})),
            "data: [DONE]\n\n".to_owned(),
        ];
        let choices = json!([{"index": 0, "text": "Hello", "finish_reason": "stop"}, {"index": 1, "text": "B", "finish_reason": null}]);
        assert_eq!(assembled(frames.concat().as_bytes()), Some(json!({"id": "c", "choices": choices, "usage": {"total_tokens": 3}})));
        assert_eq!(assembled(b"data: [DONE]\n\n"), None);
        assert_eq!(assembled(b"no stream"), None);
    }
}
