//! What a body asks for, without its text.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Members;

/// What a body asks for in counts and known words, nothing of its text: for records. A member that is not understood counts as not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shape {
    /// Entries of `messages`.
    pub messages: Option<u32>,
    /// Bytes of `input`, as JSON has it.
    pub input_bytes: Option<u64>,
    pub has_tools: bool,
    /// The word of `tool_choice`, or `object`.
    pub tool_choice: Option<&'static str>,
    pub effort: Option<&'static str>,
    /// Whether `thinking` is switched on.
    pub thinks: bool,
    /// `max_tokens` or `max_completion_tokens`.
    pub max_tokens: Option<u64>,
    pub max_output_tokens: Option<u64>,
}

impl Shape {
    pub(super) fn of(members: &Members<'_>, messages: Option<u32>) -> Self {
        let number = |value: Option<&RawValue>| value.and_then(|v| v.get().parse().ok());
        let effort = members.reasoning_effort.map(RawValue::get).or_else(|| Some(effort_of(members.reasoning?)?.get()));
        Self {
            messages,
            input_bytes: members.input.map(|v| v.get().len() as u64),
            has_tools: members.tools.is_some_and(|v| v.get().starts_with('[') && v.get()[1..].trim_start() != "]"),
            tool_choice: members.tool_choice.and_then(|v| match v.get().as_bytes().first() {
                Some(b'{') => Some("object"),
                _ => word(v.get(), &["auto", "none", "required", "any"]),
            }),
            effort: effort.and_then(|text| word(text, &["none", "minimal", "low", "medium", "high", "xhigh", "max"])),
            thinks: members.thinking.and_then(type_of).is_some_and(|kind| kind == r#""enabled""# || kind == r#""adaptive""#),
            max_tokens: number(members.max_tokens).or_else(|| number(members.max_completion_tokens)),
            max_output_tokens: number(members.max_output_tokens),
        }
    }
}

/// `effort` of an object.
fn effort_of(reasoning: &RawValue) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Reasoning<'a> {
        #[serde(borrow)]
        effort: Option<&'a RawValue>,
    }
    serde_json::from_str::<Reasoning<'_>>(reasoning.get()).ok()?.effort
}

/// `type` of an object.
fn type_of(thinking: &RawValue) -> Option<&str> {
    #[derive(Deserialize)]
    struct Thinking<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<&'a RawValue>,
    }
    Some(serde_json::from_str::<Thinking<'_>>(thinking.get()).ok()?.kind?.get())
}

/// Which of the known words a JSON string is.
fn word(text: &str, known: &[&'static str]) -> Option<&'static str> {
    let text = text.strip_prefix('"')?.strip_suffix('"')?;
    known.iter().find(|word| **word == text).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Head;

    #[test]
    fn the_shape_says_counts_and_known_words_only() {
        let shape = |body: &str| Head::scan(body.as_bytes()).unwrap().shape;
        let body = r#"{"messages":[{},{}],"tools":[{}],"tool_choice":{"type":"function"},"reasoning_effort":"high","max_completion_tokens":7,"input":"abc"}"#;
        let wanted = Shape {
            messages: Some(2),
            input_bytes: Some(5),
            has_tools: true,
            tool_choice: Some("object"),
            effort: Some("high"),
            thinks: false,
            max_tokens: Some(7),
            max_output_tokens: None,
        };
        assert_eq!(shape(body), wanted);
        let odd = r#"{"tools":[ ],"tool_choice":"a secret","reasoning":{"effort":"a secret"},"max_tokens":"7","max_output_tokens":-1}"#;
        assert_eq!(shape(odd), Shape::default());
        assert_eq!(shape(r#"{"reasoning":{"effort":"low"}}"#).effort, Some("low"));
        for (thinking, thinks) in [
            (r#"{"type":"enabled","budget_tokens":9}"#, true),
            (r#"{"type":"adaptive"}"#, true),
            (r#"{"type":"disabled"}"#, false),
            ("7", false),
        ] {
            assert_eq!(shape(&format!(r#"{{"thinking":{thinking}}}"#)).thinks, thinks, "{thinking}");
        }
        assert_eq!(shape(r#"{"reasoning":7,"tool_choice":null}"#), Shape::default());
    }
}
