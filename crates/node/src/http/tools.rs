//! Tool calls: offered through the template, and found in the answer where the model writes them in the common form
//! `<tool_call>{"name": …, "arguments": …}</tool_call>`, or where the answer was made to be one.

use serde_json::{Value, json};
use wire::{
    Code, Failure,
    chat::types::{ChatRequest, FunctionCall, ToolCall},
    fleet::worker::Constraint,
};

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";
/// Longest tool call that is waited for, in bytes.
const CALL_BYTES_MAX: usize = 1 << 20;

/// What the tools of a request mean for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// There are none: text is text.
    None,
    /// The model may call.
    Auto,
    /// The whole answer is a call, because the grammar allows nothing else.
    Forced,
}

/// What the template and the engine are told about tools.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) mode: Mode,
    pub(super) tools: Option<Value>,
    pub(super) constraint: Option<Constraint>,
}

/// Reads `tools` and `tool_choice`.
pub(super) fn offer(request: &ChatRequest) -> Result<Offer, Failure> {
    let tools = request.tools.as_deref().unwrap_or_default();
    let choice = request.tool_choice.as_ref().filter(|choice| !choice.is_null());
    let named = choice.and_then(|choice| choice["function"]["name"].as_str());
    let word = choice.and_then(Value::as_str);
    let none = Offer { mode: Mode::None, tools: None, constraint: None };
    if tools.is_empty() {
        return if matches!(word, Some("required")) || named.is_some() {
            Err(Failure::invalid("tool_choice", "`tool_choice` asks for a tool and `tools` has none"))
        } else {
            Ok(none)
        };
    }
    let mut list = Vec::new();
    for (index, tool) in tools.iter().enumerate() {
        let Some(function) = &tool.function else {
            return Err(
                Failure::new(Code::UnsupportedParameter, "only tools of type `function` are supported").at(format!("tools[{index}]"))
            );
        };
        list.push(json!({"type": "function", "function": function}));
    }
    let (mode, constraint) = match (word, named) {
        (Some("none"), _) => return Ok(none),
        (Some("auto"), _) | (None, None) if choice.is_none_or(Value::is_string) => (Mode::Auto, None),
        (Some("required"), _) => (Mode::Forced, Some(calls(&list)?)),
        (_, Some(name)) => {
            let one: Vec<_> = list.iter().filter(|tool| tool["function"]["name"] == name).cloned().collect();
            if one.is_empty() {
                return Err(Failure::invalid("tool_choice", format!("`tool_choice` names `{name}`, which is not in `tools`")));
            }
            (Mode::Forced, Some(calls(&one)?))
        }
        _ => return Err(Failure::invalid("tool_choice", "`tool_choice` must be none, auto, required or a function")),
    };
    Ok(Offer { mode, tools: Some(list.into()), constraint })
}

/// A schema of a call of one of `tools`.
fn calls(tools: &[Value]) -> Result<Constraint, Failure> {
    let each = tools.iter().map(|tool| {
        let function = &tool["function"];
        let arguments = if function["parameters"].is_object() { function["parameters"].clone() } else { json!({"type": "object"}) };
        let properties = json!({"name": {"const": function["name"]}, "arguments": arguments});
        json!({"type": "object", "properties": properties, "required": ["name", "arguments"], "additionalProperties": false})
    });
    let each: Vec<_> = each.collect();
    let schema = if each.len() == 1 { each[0].to_string() } else { json!({ "anyOf": each }).to_string() };
    if schema.len() > CALL_BYTES_MAX {
        return Err(Failure::invalid("tools", "the schemas of the tools are too long"));
    }
    Ok(Constraint::JsonSchema(schema))
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Call { name: String, arguments: String },
}

/// Finds calls in text that comes bit by bit; never gives out half of a mark.
#[derive(Debug)]
pub(super) struct Finder {
    mode: Mode,
    held: String,
    is_inside: bool,
    /// Nothing but blanks has come since the last call.
    is_after_call: bool,
    /// Calls found so far.
    pub(super) calls: u32,
}

impl Finder {
    pub(super) const fn new(mode: Mode) -> Self {
        Self { mode, held: String::new(), is_inside: false, is_after_call: false, calls: 0 }
    }

    /// Takes more text; gives what is decided.
    pub(super) fn push(&mut self, text: String) -> Vec<Piece> {
        match self.mode {
            Mode::None => vec![Piece::Text(text)],
            Mode::Forced if self.held.len() + text.len() <= CALL_BYTES_MAX => {
                self.held.push_str(&text);
                Vec::new()
            }
            Mode::Forced | Mode::Auto => {
                self.held.push_str(&text);
                self.scan()
            }
        }
    }

    fn scan(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        loop {
            let mark = if self.is_inside { CLOSE } else { OPEN };
            let Some(at) = self.held.find(mark) else { break };
            let rest = self.held.split_off(at + mark.len());
            let mut before = std::mem::replace(&mut self.held, rest);
            before.truncate(at);
            if self.is_inside {
                self.close(&before, &mut pieces);
            } else {
                self.text(before, &mut pieces);
            }
            self.is_inside = !self.is_inside;
        }
        if !self.is_inside {
            let keep = (1..OPEN.len()).rev().find(|n| self.held.ends_with(&OPEN[..*n])).unwrap_or(0);
            let tail = self.held.split_off(self.held.len() - keep);
            let text = std::mem::replace(&mut self.held, tail);
            self.text(text, &mut pieces);
        } else if self.held.len() > CALL_BYTES_MAX {
            self.is_inside = false;
            pieces.push(Piece::Text(format!("{OPEN}{}", std::mem::take(&mut self.held))));
        }
        pieces
    }

    fn close(&mut self, inside: &str, pieces: &mut Vec<Piece>) {
        match call(inside) {
            Some(found) => {
                self.calls += 1;
                self.is_after_call = true;
                pieces.push(found);
            }
            None => self.text(format!("{OPEN}{inside}{CLOSE}"), pieces),
        }
    }

    /// Blanks after a call are no content.
    fn text(&mut self, text: String, pieces: &mut Vec<Piece>) {
        let text = if self.is_after_call { text.trim_start().to_owned() } else { text };
        if !text.is_empty() {
            self.is_after_call = false;
            pieces.push(Piece::Text(text));
        }
    }

    /// What is left at the end.
    pub(super) fn finish(&mut self) -> Vec<Piece> {
        let held = std::mem::take(&mut self.held);
        // Models end with the call, and some forget to close it.
        let found = if self.is_inside || self.mode == Mode::Forced { call(&held) } else { None };
        let mut pieces = Vec::new();
        match found {
            Some(found) => {
                self.calls += 1;
                pieces.push(found);
            }
            None if self.is_inside => pieces.push(Piece::Text(format!("{OPEN}{held}"))),
            None => self.text(held, &mut pieces),
        }
        self.is_inside = false;
        pieces
    }
}

fn call(text: &str) -> Option<Piece> {
    let value: Value = serde_json::from_str(text.trim()).ok()?;
    let name = value["name"].as_str()?.to_owned();
    let arguments = match value.get("arguments").or_else(|| value.get("parameters"))? {
        Value::String(text) => text.clone(),
        arguments => arguments.to_string(),
    };
    Some(Piece::Call { name, arguments })
}

/// A call as OpenAI writes it.
pub(super) fn tool_call(index: Option<u32>, name: String, arguments: String) -> ToolCall {
    let id = format!("call_{}", uuid::Uuid::new_v4().simple());
    ToolCall {
        index,
        id: Some(id),
        kind: Some("function".to_owned()),
        function: FunctionCall { name: Some(name), arguments: Some(arguments) },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(mode: Mode, parts: &[&str]) -> Vec<Piece> {
        let mut finder = Finder::new(mode);
        let mut pieces: Vec<_> = parts.iter().flat_map(|part| finder.push((*part).to_owned())).collect();
        pieces.extend(finder.finish());
        let mut joined: Vec<Piece> = Vec::new();
        for piece in pieces {
            match (joined.last_mut(), piece) {
                (Some(Piece::Text(text)), Piece::Text(more)) => text.push_str(&more),
                (_, piece) => joined.push(piece),
            }
        }
        joined
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    fn called(name: &str, arguments: &str) -> Piece {
        Piece::Call { name: name.to_owned(), arguments: arguments.to_owned() }
    }

    #[test]
    fn calls_are_found_and_the_rest_stays_text() {
        let answer = "Let me see.<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>\n<tool_call>{\"name\":\"g\",\"arguments\":\"{}\"}</tool_call>";
        assert_eq!(find(Mode::Auto, &[answer]), [text("Let me see."), called("f", "{\"a\":1}"), called("g", "{}")]);
        assert_eq!(find(Mode::Auto, &["<tool_call>{\"name\":\"f\",\"arguments\":{}}"]), [called("f", "{}")]);
        for plain in ["a < b <tool", "<tool_call>no json</tool_call> x", "<tool_call>{\"x\":1}"] {
            assert_eq!(find(Mode::Auto, &[plain]), [text(plain)]);
        }
        assert_eq!(find(Mode::None, &["<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>"]).len(), 1);
        assert_eq!(find(Mode::Forced, &["{\"name\":\"f\",", "\"arguments\":{}}"]), [called("f", "{}")]);
        assert_eq!(find(Mode::Forced, &["cut sho"]), [text("cut sho")]);
    }

    #[test]
    fn a_choice_that_cannot_be_kept_is_refused() {
        let request =
            |tools: Value, choice: Value| serde_json::from_value::<ChatRequest>(json!({"tools": tools, "tool_choice": choice})).unwrap();
        let tools = json!([{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}]);
        let mode = |choice: Value| offer(&request(tools.clone(), choice)).map(|offer| (offer.mode, offer.constraint.is_some())).ok();
        assert_eq!(mode(Value::Null), Some((Mode::Auto, false)));
        assert_eq!(mode("auto".into()), Some((Mode::Auto, false)));
        assert_eq!(mode("none".into()), Some((Mode::None, false)));
        assert_eq!(mode("required".into()), Some((Mode::Forced, true)));
        assert_eq!(mode(json!({"type": "function", "function": {"name": "g"}})), Some((Mode::Forced, true)));
        assert_eq!(mode(json!({"type": "function", "function": {"name": "h"}})), None);
        assert_eq!(mode("sometimes".into()), None);
        assert_eq!(mode(json!({"type": "x"})), None);
        assert!(offer(&request(json!([]), "required".into())).is_err());
        assert!(offer(&request(json!([{"type": "web_search"}]), Value::Null)).is_err());
    }

    proptest! {
        #[test]
        fn where_the_text_is_cut_changes_nothing(cuts in prop::collection::vec(0usize..120, 0..8)) {
            let whole = "é <tool_call>{\"name\":\"f\",\"arguments\":{\"q\":\"<b>\"}}</tool_call> and <tool_calls> <tool_call>x</tool_call> end";
            let mut cuts: Vec<_> = cuts.into_iter().map(|at| at.min(whole.len())).filter(|at| whole.is_char_boundary(*at)).chain([0, whole.len()]).collect();
            cuts.sort_unstable();
            let parts: Vec<_> = cuts.windows(2).map(|w| &whole[w[0]..w[1]]).collect();
            prop_assert_eq!(find(Mode::Auto, &parts), find(Mode::Auto, &[whole]));
        }
    }
}
