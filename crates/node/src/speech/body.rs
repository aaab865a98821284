//! What stands between the marks of a call, family by family.

use serde_json::{Map, Value};

use super::{Piece, python};

/// What a body was read as.
#[derive(Debug, PartialEq)]
pub(super) enum Read {
    Calls(Vec<Piece>),
    /// It breaks off; more may make it a call.
    Unfinished,
    /// No call, whatever comes.
    No,
}

/// The forms of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// Objects or lists of them as JSON; in the same tags also Qwen3-Coder's and GLM's elements.
    Tagged,
    /// Mistral: a list as JSON, or `name[ARGS]{…}`.
    Mistral,
    /// Python calls.
    Python,
    /// DeepSeek: calls within marks of their own, with a fence around the arguments or without.
    DeepSeek,
    /// Kimi: calls within marks of their own, `functions.name:0` in front of the arguments.
    Kimi,
    /// Gemma: `call:name{key:<escape>text<escape>}`.
    Gemma,
    /// MiniMax: `<invoke name="…"><parameter name="…">…`.
    Invoke,
    /// Llama's mark, after which come JSON or Python.
    PythonTag,
}

impl Body {
    /// Reads a whole body. `tools` are the offered ones.
    pub(super) fn read(self, text: &str, tools: &[Value]) -> Read {
        match self {
            Self::Tagged if text.trim_start().starts_with("<function=") => {
                elements(text, tools, &Elements { call: ("<function=", ">", "</function>"), value: ("<parameter=", ">", "</parameter>") })
            }
            Self::Tagged if text.contains("<arg_key>") => glm(text, tools),
            Self::Tagged => match json(text) {
                Read::No if names(tools).any(|name| name == text.trim()) => Read::Calls(vec![call(text.trim(), Value::Null)]),
                read => read,
            },
            Self::Mistral => mistral(text),
            Self::Python => python::calls(text),
            Self::DeepSeek => deepseek(text),
            Self::Kimi => kimi(text),
            Self::Gemma => gemma(text),
            Self::Invoke => {
                let form = Elements { call: ("<invoke name=\"", "\">", "</invoke>"), value: ("<parameter name=\"", "\">", "</parameter>") };
                elements(text, tools, &form)
            }
            Self::PythonTag => match json(text) {
                Read::No => python::calls(text),
                read => read,
            },
        }
    }
}

/// The names of the tools.
pub(super) fn names(tools: &[Value]) -> impl Iterator<Item = &str> {
    tools.iter().filter_map(|tool| tool["function"]["name"].as_str())
}

fn call(name: &str, arguments: Value) -> Piece {
    let arguments = match arguments {
        Value::Null => "{}".to_owned(),
        Value::String(text) => text,
        arguments => arguments.to_string(),
    };
    Piece::Call { name: name.to_owned(), arguments }
}

/// Objects, lists of objects, or several of them one after the other (`;` between them or nothing).
pub(super) fn json(text: &str) -> Read {
    let mut calls = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let value = match values.next() {
            Some(Ok(value)) => value,
            Some(Err(error)) if error.is_eof() => return Read::Unfinished,
            _ => return Read::No,
        };
        rest = rest[values.byte_offset()..].trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ';' | ','));
        let found = match &value {
            Value::Array(items) => items.iter().map(one).collect::<Option<Vec<_>>>(),
            value => one(value).map(|call| vec![call]),
        };
        match found {
            Some(found) => calls.extend(found),
            None => return Read::No,
        }
    }
    if calls.is_empty() { Read::No } else { Read::Calls(calls) }
}

/// A call under one of the names that families give its parts.
fn one(value: &Value) -> Option<Piece> {
    let inner = if value["function"].is_object() { &value["function"] } else { value };
    let name = ["name", "tool_name", "function"].iter().find_map(|key| inner[key].as_str()).filter(|name| !name.is_empty())?;
    let arguments = ["arguments", "parameters", "args"].iter().find_map(|key| inner.get(key)).cloned().unwrap_or_default();
    Some(call(name, arguments))
}

/// The arguments after a name: an object as JSON and nothing more.
fn named(name: &str, arguments: &str) -> Read {
    let (name, arguments) = (name.trim(), arguments.trim());
    if name.is_empty() {
        return Read::No;
    }
    match serde_json::from_str::<Value>(if arguments.is_empty() { "{}" } else { arguments }) {
        Ok(value @ Value::Object(_)) => Read::Calls(vec![call(name, value)]),
        Err(error) if error.is_eof() => Read::Unfinished,
        _ => Read::No,
    }
}

fn all(reads: impl Iterator<Item = Read>) -> Read {
    let mut calls = Vec::new();
    for read in reads {
        match read {
            Read::Calls(more) => calls.extend(more),
            other => return other,
        }
    }
    if calls.is_empty() { Read::No } else { Read::Calls(calls) }
}

fn mistral(text: &str) -> Read {
    let text = text.trim();
    match text.split_once("[ARGS]") {
        // Some write the id of the call between: `name[CALL_ID]abc123[ARGS]{…}`.
        Some((head, arguments)) => named(head.split_once("[CALL_ID]").map_or(head, |(name, _)| name), arguments),
        None if text.starts_with(['[', '{']) || text.is_empty() => json(text),
        None => match text.split_once('{') {
            Some((name, _)) => named(name, &text[name.len()..]),
            None => Read::Unfinished,
        },
    }
}

fn deepseek(text: &str) -> Read {
    const SEPARATOR: &str = "<｜tool▁sep｜>";
    let inside = text.split("<｜tool▁call▁begin｜>").skip(1).map(|part| part.split("<｜tool▁call▁end｜>").next().unwrap_or_default());
    all(inside.map(|part| {
        let Some((left, right)) = part.split_once(SEPARATOR) else { return Read::Unfinished };
        match right.split_once("```json") {
            // R1 and V3: `function<sep>name`, and the arguments in a fence.
            Some((name, fenced)) => named(name, fenced.trim_end().trim_end_matches("```")),
            None => named(left, right),
        }
    }))
}

fn kimi(text: &str) -> Read {
    let inside = text.split("<|tool_call_begin|>").skip(1).map(|part| part.split("<|tool_call_end|>").next().unwrap_or_default());
    all(inside.map(|part| {
        let Some((id, arguments)) = part.split_once("<|tool_call_argument_begin|>") else { return Read::Unfinished };
        let name = id.trim().rsplit_once(':').map_or(id.trim(), |(name, _)| name);
        named(name.strip_prefix("functions.").unwrap_or(name), arguments)
    }))
}

/// How elements are written: before a name, after it, and the end.
struct Elements {
    call: (&'static str, &'static str, &'static str),
    value: (&'static str, &'static str, &'static str),
}

fn elements(text: &str, tools: &[Value], form: &Elements) -> Read {
    let mut calls = Vec::new();
    for part in text.split(form.call.0).skip(1) {
        let Some((name, rest)) = part.split_once(form.call.1) else { return Read::Unfinished };
        let Some((inside, _)) = rest.split_once(form.call.2) else { return Read::Unfinished };
        let mut arguments = Map::new();
        for value in inside.split(form.value.0).skip(1) {
            let Some((key, rest)) = value.split_once(form.value.1) else { return Read::No };
            // The last end counts, so that a value may hold the mark itself.
            let text = rest.rsplit_once(form.value.2).map_or(rest, |(text, _)| text);
            let text = text.strip_prefix('\n').unwrap_or(text);
            arguments.insert(key.trim().to_owned(), typed(tools, name.trim(), key.trim(), text.strip_suffix('\n').unwrap_or(text)));
        }
        calls.push(call(name.trim(), arguments.into()));
    }
    if calls.is_empty() { Read::No } else { Read::Calls(calls) }
}

/// GLM: the name, then pairs of `<arg_key>` and `<arg_value>`.
fn glm(text: &str, tools: &[Value]) -> Read {
    let Some((name, _)) = text.split_once("<arg_key>") else { return Read::No };
    let name = name.trim();
    let mut arguments = Map::new();
    for pair in text.split("<arg_key>").skip(1) {
        let Some((key, rest)) = pair.split_once("</arg_key>") else { return Read::Unfinished };
        let Some((_, value)) = rest.split_once("<arg_value>") else { return Read::Unfinished };
        let Some((value, _)) = value.rsplit_once("</arg_value>") else { return Read::Unfinished };
        arguments.insert(key.trim().to_owned(), typed(tools, name, key.trim(), value));
    }
    if name.is_empty() { Read::No } else { Read::Calls(vec![call(name, arguments.into())]) }
}

/// A value written as bare text: text where the tool's schema wants text, else JSON if it is JSON.
fn typed(tools: &[Value], name: &str, key: &str, text: &str) -> Value {
    let tool = tools.iter().find(|tool| tool["function"]["name"] == name);
    let kind = tool.map(|tool| &tool["function"]["parameters"]["properties"][key]["type"]);
    let wants_text = kind.is_some_and(|kind| kind == "string");
    if wants_text {
        return text.into();
    }
    serde_json::from_str(text.trim()).unwrap_or_else(|_| match text.trim() {
        "True" => true.into(),
        "False" => false.into(),
        "None" => Value::Null,
        _ => text.into(),
    })
}

/// Deepest nesting of Gemma's values.
const DEPTH_MAX: u32 = 32;
/// What stands around Gemma's texts, by generation.
const ESCAPES: [&str; 3] = ["<escape>", "<|\"|>", "\""];

fn gemma(text: &str) -> Read {
    let mut calls = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let Some(named) = rest.strip_prefix("call:") else {
            return if "call:".starts_with(rest) { Read::Unfinished } else { Read::No };
        };
        let Some((name, _)) = named.split_once('{') else { return Read::Unfinished };
        let mut values = &named[name.len()..];
        let Some(arguments) = gemma_value(&mut values, 0) else { return if values.is_empty() { Read::Unfinished } else { Read::No } };
        calls.push(call(name.trim(), arguments));
        rest = values.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
    }
    if calls.is_empty() { Read::No } else { Read::Calls(calls) }
}

/// `None` with nothing left of `rest`: it breaks off.
fn gemma_value(rest: &mut &str, depth: u32) -> Option<Value> {
    *rest = rest.trim_start();
    if depth > DEPTH_MAX {
        return None;
    }
    if let Some(escape) = ESCAPES.iter().find(|escape| rest.starts_with(**escape)) {
        let inside = &rest[escape.len()..];
        let Some(end) = inside.find(escape) else {
            *rest = "";
            return None;
        };
        *rest = &inside[end + escape.len()..];
        return Some(inside[..end].into());
    }
    if let Some(inside) = rest.strip_prefix('{') {
        *rest = inside;
        let mut members = Map::new();
        while !gemma_ends(rest, '}')? {
            let Some(colon) = rest.find(':') else {
                *rest = "";
                return None;
            };
            let key =
                ESCAPES.iter().fold(rest[..colon].trim(), |key, escape| key.trim_start_matches(escape).trim_end_matches(escape)).to_owned();
            *rest = &rest[colon + 1..];
            members.insert(key, gemma_value(rest, depth + 1)?);
        }
        return Some(members.into());
    }
    if let Some(inside) = rest.strip_prefix('[') {
        *rest = inside;
        let mut items = Vec::new();
        while !gemma_ends(rest, ']')? {
            items.push(gemma_value(rest, depth + 1)?);
        }
        return Some(items.into());
    }
    let Some(end) = rest.find([',', '}', ']']) else {
        *rest = "";
        return None;
    };
    let word = rest[..end].trim();
    *rest = &rest[end..];
    (!word.is_empty()).then(|| serde_json::from_str(word).unwrap_or_else(|_| word.into()))
}

fn gemma_ends(rest: &mut &str, close: char) -> Option<bool> {
    *rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
    match rest.strip_prefix(close) {
        Some(after) => {
            *rest = after;
            Some(true)
        }
        None if rest.is_empty() => None,
        None => Some(false),
    }
}
