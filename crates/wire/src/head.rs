//! The head of a request body: the few top-level members that the router reads, found without building a tree.
//!
//! In the raw lane the body's bytes travel on as they came; only the spans found here are changed.

mod members;
mod shape;

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, de};
use serde_json::value::RawValue;

use crate::{
    caching::Caching,
    error::{Code, Failure},
    json,
    preferences::Preferences,
};
use members::Ordered;
pub use shape::Shape;

/// Longest model name, in bytes.
pub const MODEL_BYTES_MAX: usize = 256;

/// Members that steer the router and are taken out before a body travels on.
pub(crate) const CONTROLS: [&str; 6] = ["models", "provider", "route", "cache", "timeout_ms", "guardrails"];

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<Vec<Message<'a>>>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    contents: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    models: Option<&'a RawValue>,
    #[serde(borrow)]
    provider: Option<&'a RawValue>,
    #[serde(borrow)]
    route: Option<&'a RawValue>,
    #[serde(borrow)]
    cache: Option<&'a RawValue>,
    #[serde(borrow)]
    timeout_ms: Option<&'a RawValue>,
    #[serde(borrow)]
    guardrails: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_choice: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_effort: Option<&'a RawValue>,
    #[serde(borrow)]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    n: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Route {
    #[serde(default)]
    strict: bool,
}

/// What the head says, and where it stands in the body.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Head {
    /// The model's name; `None` if missing, null or blank.
    pub model: Option<String>,
    pub stream: bool,
    /// Whether the caller asked for usage inside the stream.
    pub include_usage: bool,
    /// Which of the members that carry the input are there.
    pub has_messages: bool,
    pub has_prompt: bool,
    pub has_input: bool,
    pub has_contents: bool,
    /// `route.strict`: refuse what a translation would lose.
    pub strict: bool,
    /// `models`: other names to try after `model`.
    pub models: Vec<String>,
    /// `timeout_ms`: the caller's own deadline for the whole call.
    pub timeout_ms: Option<u64>,
    /// `provider`: which accounts are preferred.
    pub preferences: Option<Box<Preferences>>,
    /// `cache`: what is wanted of remembered answers.
    pub caching: Option<Box<Caching>>,
    /// `n`: how many choices are asked for, where that is said and a number.
    pub choices: Option<u32>,
    /// For the record.
    pub shape: Shape,
    /// `metadata` as it stands, for the record.
    pub metadata: Option<Range<usize>>,
    model_at: Option<Range<usize>>,
    stream_options_at: Option<Range<usize>>,
    /// The model was named elsewhere, so the body may name another or none.
    is_renamed: bool,
    /// A control is present, so the members must be written anew.
    has_controls: bool,
}

/// What changes on the way to an upstream.
#[derive(Debug, Clone, Copy, Default)]
pub struct Edits<'a> {
    /// The upstream's name of the model, if it is another.
    pub model: Option<&'a str>,
    /// Ask for usage inside the stream.
    pub include_usage: bool,
}

impl Head {
    /// Scans a body.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`]: empty, not JSON, not an object, a member twice, one that some servers take for `model`, or a member of the wrong
    /// type (named).
    pub fn scan(body: &[u8]) -> Result<Self, Failure> {
        json::expect_object(body)?;
        // Once for all: values that nobody reads here would pass unseen, and could not be written anew.
        let text = std::str::from_utf8(body)
            .map_err(|e| Failure::new(Code::InvalidRequest, format!("the body is not UTF-8: a wrong byte at {}", e.valid_up_to())))?;
        let members: Members<'_> = serde_json::from_str(text).map_err(|e| match e.classify() {
            serde_json::error::Category::Data => unusable(text, &e),
            _ => json::broken(&e),
        })?;
        let span = |value: &RawValue| {
            let start = value.get().as_ptr() as usize - body.as_ptr() as usize;
            start..start + value.get().len()
        };
        if let Some(twin) = members::twin_of_model(text) {
            return Err(Failure::invalid("model", format!("`{twin}` is no member of a request: the model is named by `model`")));
        }
        let model: Option<String> = typed(members.model, "model", "a string")?;
        if let Some(name) = model.as_ref().filter(|n| n.len() > MODEL_BYTES_MAX || n.chars().any(char::is_control)) {
            return Err(Failure::invalid(
                "model",
                format!("`model` is no model name: {} bytes; at most {MODEL_BYTES_MAX} without control characters are allowed", name.len()),
            ));
        }
        let options: Option<crate::chat::types::StreamOptions> =
            typed(members.stream_options, "stream_options", "an object such as {\"include_usage\": true}")?;
        let messages = members.messages.as_deref().map(check_messages).transpose()?;
        let is_padded = model.as_ref().is_some_and(|m| m.trim().len() < m.len());
        let controls = [members.models, members.provider, members.route, members.cache, members.timeout_ms, members.guardrails];
        Ok(Self {
            model: model.map(|m| m.trim().to_owned()).filter(|m| !m.is_empty()),
            stream: typed(members.stream, "stream", "true or false")?.unwrap_or(false),
            include_usage: options.and_then(|o| o.include_usage).unwrap_or(false),
            has_messages: members.messages.is_some(),
            has_prompt: members.prompt.is_some(),
            has_input: members.input.is_some(),
            has_contents: members.contents.is_some(),
            strict: members.route.is_some_and(|r| serde_json::from_str::<Route>(r.get()).is_ok_and(|r| r.strict)),
            models: typed(members.models, "models", "a list of model names")?.unwrap_or_default(),
            timeout_ms: typed(members.timeout_ms, "timeout_ms", "a number of milliseconds")?,
            preferences: object(members.provider, "provider", Preferences::FORM)?,
            caching: object(members.cache, "cache", Caching::FORM)?,
            choices: members.n.and_then(|n| n.get().parse().ok()),
            shape: Shape::of(&members, messages),
            metadata: members.metadata.map(span),
            model_at: members.model.map(span),
            stream_options_at: members.stream_options.map(span),
            // What goes on is what was looked up.
            is_renamed: is_padded,
            has_controls: controls.iter().any(Option::is_some),
        })
    }

    /// The head of what is no JSON; `model` may be empty.
    pub fn naming(model: &str) -> Self {
        Self { model: Some(model.to_owned()).filter(|m| !m.is_empty()), ..Self::default() }
    }

    /// Names the model from without: what the body says of it does not count.
    pub fn rename(&mut self, model: &str) {
        self.model = Some(model.to_owned());
        self.is_renamed = true;
    }

    /// The body as it goes to an upstream; the same bytes where nothing has to change.
    pub fn rewrite(&self, body: &Bytes, edits: Edits<'_>) -> Bytes {
        let model = edits.model.filter(|m| self.is_renamed || self.model.as_deref() != Some(*m));
        let usage = edits.include_usage && !self.include_usage;
        if self.has_controls || (model.is_some() && self.model_at.is_none()) {
            return self.write_anew(body, model, usage).unwrap_or_else(|| body.clone());
        }
        let mut changes: Vec<(Range<usize>, String)> = Vec::with_capacity(2);
        if let (Some(model), Some(at)) = (model, &self.model_at) {
            changes.push((at.clone(), quoted(model)));
        }
        if usage {
            if let Some(at) = &self.stream_options_at {
                changes.push((at.clone(), with_usage(&body[at.clone()])));
            } else {
                let Some(end) = memchr::memrchr(b'}', body) else { return body.clone() };
                let comma = if body[..end].trim_ascii_end().ends_with(b"{") { "" } else { "," };
                changes.push((end..end, format!("{comma}\"stream_options\":{}", with_usage(b"{}"))));
            }
        }
        if changes.is_empty() {
            return body.clone();
        }
        changes.sort_by_key(|(at, _)| at.start);
        let mut out = Vec::with_capacity(body.len() + 64);
        let mut from = 0;
        for (at, text) in changes {
            out.extend_from_slice(&body[from..at.start]);
            out.extend_from_slice(text.as_bytes());
            from = at.end;
        }
        out.extend_from_slice(&body[from..]);
        out.into()
    }

    /// Writes the members one by one without the controls; their values stay byte for byte.
    fn write_anew(&self, body: &[u8], model: Option<&str>, usage: bool) -> Option<Bytes> {
        let Ordered(members) = serde_json::from_slice(body).ok()?;
        let mut out = Vec::with_capacity(body.len() + 64);
        let mut write = |key: &str, value: &str| {
            out.push(if out.is_empty() { b'{' } else { b',' });
            out.extend_from_slice(quoted(key).as_bytes());
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
        };
        if let Some(model) = model.filter(|_| self.model_at.is_none()) {
            write("model", &quoted(model));
        }
        for (key, value) in &members {
            match &**key {
                key if CONTROLS.contains(&key) => {}
                "model" if model.is_some() => write(key, &quoted(model?)),
                "stream_options" if usage => write(key, &with_usage(value.get().as_bytes())),
                key => write(key, value.get()),
            }
        }
        if usage && self.stream_options_at.is_none() {
            write("stream_options", &with_usage(b"{}"));
        }
        if out.is_empty() {
            out.push(b'{');
        }
        out.push(b'}');
        Some(out.into())
    }
}

/// A member has a type that nothing can be made of: the messages, or one that is there twice.
fn unusable(body: &str, error: &serde_json::Error) -> Failure {
    #[derive(Deserialize)]
    struct Members<'a> {
        #[serde(borrow)]
        messages: Option<&'a RawValue>,
    }
    match serde_json::from_str(body) {
        Ok(Members { messages: Some(messages) }) if !messages.get().starts_with('[') => {
            Failure::invalid("messages", format!("`messages` must be a list of messages, not {}", kind_of(messages)))
        }
        Ok(Members { messages: Some(messages) }) if serde_json::from_str::<Vec<Message<'_>>>(messages.get()).is_err() => {
            Failure::invalid("messages", "`messages` must be a list of objects such as {\"role\": \"user\", \"content\": \"…\"}")
        }
        Ok(_) => Failure::new(Code::InvalidRequest, format!("the body is not usable: {error}")),
        // What was said first may be of the messages, and would quote them: what is said with them unread is told.
        Err(error) if error.is_data() => Failure::new(Code::InvalidRequest, format!("the body is not usable: {error}")),
        Err(error) => json::broken(&error),
    }
}

/// Counts messages, and refuses those that no dialect could mean: none, or content that is neither text nor parts.
fn check_messages(list: &[Message<'_>]) -> Result<u32, Failure> {
    if list.is_empty() {
        return Err(Failure::invalid("messages", "`messages` is empty: at least one message is needed"));
    }
    for (index, message) in list.iter().enumerate() {
        let wrong = |name: &str, value: &RawValue, wanted: &str| {
            let path = format!("messages[{index}].{name}");
            Err(Failure::invalid(path.clone(), format!("`{path}` must be {wanted}, not {}", kind_of(value))))
        };
        match (message.role, message.content) {
            (Some(role), _) if !role.get().starts_with('"') => return wrong("role", role, "a string"),
            (_, Some(content)) if !content.get().starts_with(['"', '[']) => {
                return wrong("content", content, "a string or a list of parts");
            }
            _ => {}
        }
    }
    Ok(list.len() as u32)
}

fn typed<T: de::DeserializeOwned>(value: Option<&RawValue>, name: &str, wanted: &str) -> Result<Option<T>, Failure> {
    value
        .map(|v| {
            let kind = kind_of(v);
            serde_json::from_str(v.get()).map_err(|error| match &*without_place(&error) {
                // Of the right kind, and wrong inside.
                why if wanted.starts_with(kind) => Failure::invalid(name, format!("`{name}` must be {wanted}: {why}")),
                _ => Failure::invalid(name, format!("`{name}` must be {wanted}, not {kind}")),
            })
        })
        .transpose()
}

/// A control that is an object; null is nothing, and a list is no object although serde would take one.
fn object<T: de::DeserializeOwned>(value: Option<&RawValue>, name: &str, form: &str) -> Result<Option<Box<T>>, Failure> {
    let Some(value) = value else { return Ok(None) };
    let wrong = |why: &str| Failure::invalid(name, format!("`{name}` must be {form}{why}"));
    match value.get().as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'{') => serde_json::from_str(value.get()).map(Some).map_err(|e| wrong(&format!(": {}", without_place(&e)))),
        _ => Err(wrong(&format!(", not {}", kind_of(value)))),
    }
}

/// serde's words without the line and column of the member, which are not those of the body.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(words, _)| words.to_owned())
}

/// What a JSON value is, in words; never the value itself, which may be the user's text.
fn kind_of(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn with_usage(options: &[u8]) -> String {
    let mut members: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(options).unwrap_or_default();
    members.insert("include_usage".to_owned(), true.into());
    serde_json::Value::Object(members).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn rewritten(body: &str, edits: Edits<'_>) -> String {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let out = Head::scan(&body).unwrap().rewrite(&body, edits);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn nothing_to_change_means_the_same_bytes() {
        let body = Bytes::from_static(b" { \"model\" : \"m\", \"messages\":[{}],\"x\":1.50 } ");
        let head = Head::scan(&body).unwrap();
        let out = head.rewrite(&body, Edits { model: Some("m"), include_usage: false });
        assert_eq!(out.as_ptr(), body.as_ptr());
    }

    #[test]
    fn only_the_spans_change() {
        let edits = Edits { model: Some("up/\"1"), include_usage: true };
        assert_eq!(
            rewritten(r#"{"messages":[{"content":"model"}], "model" : "m" ,"stream":true,"x":1.50}"#, edits),
            r#"{"messages":[{"content":"model"}], "model" : "up/\"1" ,"stream":true,"x":1.50,"stream_options":{"include_usage":true}}"#
        );
        assert_eq!(
            rewritten(r#"{"model":"m","stream_options":{"include_obfuscation":false},"y":[]}"#, edits),
            r#"{"model":"up/\"1","stream_options":{"include_obfuscation":false,"include_usage":true},"y":[]}"#
        );
    }

    #[test]
    fn controls_are_taken_out_and_values_stay() {
        assert_eq!(
            rewritten(r#"{"models":["a"],"model":"m","x":1.50,"timeout_ms":5,"provider":{"only":[]}}"#, Edits::default()),
            r#"{"model":"m","x":1.50}"#
        );
        assert_eq!(rewritten("{ }", Edits { model: None, include_usage: true }), r#"{ "stream_options":{"include_usage":true}}"#);
        assert_eq!(rewritten(r#"{"prompt":"p"}"#, Edits { model: Some("m"), include_usage: false }), r#"{"model":"m","prompt":"p"}"#);
    }

    #[test]
    fn bad_bodies_are_named() {
        for (body, param, word) in [
            ("", None, "empty"),
            ("{", None, "line 1"),
            ("[]", None, "object"),
            ("\"x\"", None, "object"),
            (r#"{"model":1}"#, Some("model"), "a number"),
            (r#"{"model":"a","model":"b"}"#, None, "duplicate"),
            (r#"{"model":"a","\u006dodel":"b"}"#, None, "duplicate"),
            (r#"{"model":"a","Model":"b"}"#, Some("model"), "`Model`"),
            (r#"{"\u004dODEL":"b"}"#, Some("model"), "`MODEL`"),
            (r#"{"mode\u006C":"b", "modeL" :"a"}"#, Some("model"), "`modeL`"),
            (r#"{"stream":"yes"}"#, Some("stream"), "true or false"),
            (r#"{"messages":"hi"}"#, Some("messages"), "a string"),
            (r#"{"messages":"hi","#, None, "EOF"),
            (r#"{"messages":[{"role":"a","role":"b"}]}"#, Some("messages"), "objects"),
            (r#"{"messages":[],"messages":[]}"#, None, "duplicate"),
            (r#"{"messages":[]}"#, Some("messages"), "empty"),
            (r#"{"messages":["hi"]}"#, Some("messages"), "objects"),
            (r#"{"messages":[{"role":"user","content":5}]}"#, Some("messages[0].content"), "a number"),
            (r#"{"messages":[{},{"role":[]}]}"#, Some("messages[1].role"), "a list"),
            (r#"{"models":[1]}"#, Some("models"), "list"),
            (r#"{"stream_options":3}"#, Some("stream_options"), "a number"),
            (r#"{"model":"m"} x"#, None, "trailing"),
        ] {
            let failure = Head::scan(body.as_bytes()).unwrap_err();
            assert_eq!((failure.status(), failure.param.as_deref()), (400, param), "{body}: {failure}");
            assert!(failure.message.contains(word), "{body}: {failure}");
        }
    }

    #[test]
    fn what_a_user_wrote_is_in_no_error() {
        for body in [r#"{"messages":"private","messages":[]}"#, r#"{"messages":["private"]}"#, r#"{"messages":"private","model""#] {
            let failure = Head::scan(body.as_bytes()).unwrap_err();
            assert!(!failure.message.contains("private"), "{body}: {failure}");
        }
    }

    #[test]
    fn what_is_of_the_right_kind_is_not_said_to_be_of_another() {
        for (body, said) in [
            (r#"{"timeout_ms":-1}"#, "invalid value: integer `-1`"),
            (r#"{"models":[1]}"#, "invalid type: integer `1`"),
            (r#"{"timeout_ms":"1"}"#, "not a string"),
        ] {
            let failure = Head::scan(body.as_bytes()).unwrap_err();
            assert!(failure.message.contains(said) && !failure.message.contains("not a number"), "{failure}");
        }
    }

    #[test]
    fn a_body_that_is_not_utf8_is_refused_wherever_the_wrong_byte_stands() {
        let body = b"{\"models\":[\"a\"],\"model\":\"m\",\"x\":\"\xff\"}";
        let failure = Head::scan(body).unwrap_err();
        assert_eq!(failure.status(), 400);
        assert!(failure.message.contains("not UTF-8") && failure.message.ends_with("at 33"), "{failure}");
    }

    proptest! {
        #[test]
        fn rewriting_changes_what_it_says_and_nothing_else(
            keys in prop::collection::btree_map("[a-z]{1,6}|models|provider|cache|stream_options|mod\\\\u0065l", prop_oneof![Just(json!({"a": [1, "}"]})), Just(json!([])), Just(json!(null))], 0..6),
            model in "[a-z\"\\\\é]{1,5}", usage: bool,
        ) {
            let mut object: serde_json::Map<String, Value> = serde_json::from_str(&format!("{{{}}}", keys.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect::<Vec<_>>().join(","))).unwrap();
            // A control that is null says nothing and may stay.
            object.retain(|key, value| !(value.is_null() && CONTROLS.contains(&key.as_str())));
            let text = Value::Object(object.clone()).to_string();
            let Ok(head) = Head::scan(text.as_bytes()) else { return Ok(()) };
            let out = head.rewrite(&Bytes::from(text), Edits { model: Some(&model), include_usage: usage });
            let out: Value = serde_json::from_slice(&out).unwrap();
            for control in CONTROLS {
                object.remove(control);
            }
            object.insert("model".into(), model.into());
            if usage {
                let options = object.entry("stream_options").or_insert(Value::Null);
                if !options.is_object() { *options = json!({}); }
                options["include_usage"] = true.into();
            }
            prop_assert_eq!(out, Value::Object(object));
        }

        #[test]
        fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Head::scan(&body);
        }
    }
}
