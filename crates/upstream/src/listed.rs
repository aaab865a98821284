//! The models that an account says it has.

use serde_json::Value;

/// Most names that are kept of one account.
pub const MODELS_MAX: usize = 4096;

/// The names in a model list of any dialect: OpenAI's and Anthropic's `data[].id`, Gemini's `models[].name`. `None` if it is no such list.
pub fn listed(body: &[u8]) -> Option<Vec<String>> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let names = |list: &[Value], member: &str| -> Vec<String> {
        let name = |entry: &Value| Some(entry[member].as_str()?.trim_start_matches("models/").to_owned());
        list.iter().filter_map(name).filter(|name| !name.is_empty()).take(MODELS_MAX).collect()
    };
    match (&value["data"], &value["models"], &value) {
        (Value::Array(list), ..) => Some(names(list, "id")),
        (_, Value::Array(list), _) => Some(names(list, "name")),
        // Together answers with the bare list.
        (.., Value::Array(list)) => Some(names(list, "id")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_every_dialect_are_read() {
        for body in [
            r#"{"object":"list","data":[{"id":"a"},{"id":"b/c:d"},{"x":1},{"id":""}]}"#,
            r#"{"models":[{"name":"models/a"},{"name":"b/c:d"}]}"#,
            r#"[{"id":"a"},{"id":"b/c:d"}]"#,
        ] {
            assert_eq!(listed(body.as_bytes()), Some(vec!["a".to_owned(), "b/c:d".to_owned()]), "{body}");
        }
        for body in ["<html>", "{}", "null", r#"{"data":{}}"#] {
            assert_eq!(listed(body.as_bytes()), None, "{body}");
        }
    }
}
