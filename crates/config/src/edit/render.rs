//! A value as YAML: as a person would write it, and so that it is read back as what it is.

use serde_json::Value;

/// Longest list that is written in one line.
const LINE_CHARS_MAX: usize = 88;

/// Texts that YAML, or the YAML of other programs, takes for something else.
const WORDS: &[&str] = &["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity"];

/// A value in one line.
pub(super) fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entries: Vec<String> = entries.iter().map(|(key, value)| format!("{}: {}", scalar(key), flow(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// A value after `key:` or `-`, if it goes into the rest of that line: single values, nothing in brackets, short lists of single values.
pub(super) fn inline(value: &Value) -> Option<String> {
    let written = flow(value);
    let fits = match value {
        Value::Array(items) => items.is_empty() || (items.iter().all(is_single) && written.chars().count() <= LINE_CHARS_MAX),
        Value::Object(entries) => entries.is_empty(),
        _ => true,
    };
    fits.then_some(written)
}

/// A list or an object as lines, the first without its indentation; `indent` is that of all.
pub(super) fn block(value: &Value, indent: usize) -> String {
    let lines: Vec<String> = match value {
        Value::Object(entries) => entries.iter().map(|(key, value)| entry(key, value, indent)).collect(),
        Value::Array(items) => items.iter().map(|value| item(value, indent)).collect(),
        single => vec![flow(single)],
    };
    lines.join(&format!("\n{}", " ".repeat(indent)))
}

/// `key: value`, over as many lines as it takes.
pub(super) fn entry(key: &str, value: &Value, indent: usize) -> String {
    match inline(value) {
        Some(line) => format!("{}: {line}", scalar(key)),
        None => format!("{}:\n{}{}", scalar(key), " ".repeat(indent + 2), block(value, indent + 2)),
    }
}

/// `- value`.
pub(super) fn item(value: &Value, indent: usize) -> String {
    let written = inline(value).unwrap_or_else(|| block(value, indent + 2));
    format!("- {written}")
}

fn is_single(value: &Value) -> bool {
    !value.is_array() && !value.is_object()
}

/// A text, in quotes where it would not be read as that text without them.
pub(super) fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}

fn is_plain(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_');
    let goes_on = text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:@+".contains(c));
    begins && goes_on && !text.ends_with(':') && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_quoted_where_they_must_be() {
        for (text, want) in [
            ("gpt-5.2", "gpt-5.2"),
            ("http://h:1/v1", "http://h:1/v1"),
            ("openai/gpt-4o", "openai/gpt-4o"),
            ("llama3:8b", "llama3:8b"),
            ("env:KEY", "env:KEY"),
            ("~/x", "\"~/x\""),
            ("1.10", "\"1.10\""),
            ("No", "\"No\""),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("gpt-*", "\"gpt-*\""),
            ("é", "\"é\""),
            ("a:", "\"a:\""),
            ("a\n\"b\"\\", r#""a\n\"b\"\\""#),
        ] {
            assert_eq!(scalar(text), want);
        }
    }

    #[test]
    fn values_are_lines() {
        let value = json!({"name": "a", "on": true, "models": ["x", "1"], "none": [], "deep": {"k": {"m": 0.5}}, "list": [{"a": 1, "b": [2]}, [3]]});
        let want = "name: a\n  \"on\": true\n  models: [x, \"1\"]\n  none: []\n  deep:\n    k:\n      m: 0.5\n  list:\n    - a: 1\n      b: [2]\n    - [3]";
        assert_eq!(block(&value, 2), want);
        let long: Vec<String> = (0..20).map(|i| format!("model-{i}")).collect();
        assert!(entry("models", &json!(long), 0).starts_with("models:\n  - model-0\n  - model-1\n"));
    }
}
