//! The text that an answer carries, whole or streamed, in any dialect.

use serde_json::Value;

const POINTERS: [&str; 4] = ["/choices/0/delta/content", "/choices/0/message/content", "/candidates/0/content/parts/0/text", "/delta/text"];

/// All text of a body.
pub(super) fn of(body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    let mut text = String::new();
    if body.trim_start().starts_with('{') {
        add(&body, &mut text);
    } else {
        body.lines().filter_map(|line| line.strip_prefix("data:")).for_each(|event| add(event.trim(), &mut text));
    }
    text
}

fn add(json: &str, text: &mut String) {
    let Ok(value) = serde_json::from_str::<Value>(json) else { return };
    let mut push = |found: Option<&Value>| text.push_str(found.and_then(Value::as_str).unwrap_or_default());
    for pointer in POINTERS {
        push(value.pointer(pointer));
    }
    if value["type"] == "response.output_text.delta" {
        push(value.get("delta"));
    }
    if value["type"] == "message" || value["object"] == "response" {
        push(value.pointer("/content/0/text").or_else(|| value.pointer("/output/0/content/0/text")));
    }
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn every_dialect_has_its_text() {
        let bodies = [
            r#"{"choices":[{"message":{"content":"ab"}}]}"#,
            r#"{"type":"message","content":[{"text":"ab"}]}"#,
            r#"{"object":"response","output":[{"content":[{"text":"ab"}]}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"ab"}]}}]}"#,
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\ndata: [DONE]\n\n",
            "event: x\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"ab\"}}\n\n",
            "data: {\"type\":\"response.output_text.delta\",\"delta\":\"ab\"}\n\n",
        ];
        for body in bodies {
            assert_eq!(of(body.as_bytes()), "ab", "{body}");
        }
        assert_eq!(of(b"nothing"), "");
    }
}
