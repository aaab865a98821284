//! Calls written as Python: `[weather(city="Paris", days=3), time()]`.

use serde_json::{Map, Number, Value};

use super::{Piece, body::Read};

/// Deepest nesting of values.
const DEPTH_MAX: u32 = 32;

/// A list of calls in brackets, or calls one after the other. `print(…)` around a call is taken off.
pub(super) fn calls(text: &str) -> Read {
    let mut source = Source { text, at: 0 };
    let is_list = source.eats("[");
    let mut calls = Vec::new();
    loop {
        source.blanks();
        if is_list && source.eats("]") {
            break;
        }
        if source.rest().is_empty() {
            if is_list {
                return Read::Unfinished;
            }
            break;
        }
        match source.call() {
            Some((name, arguments)) => calls.push(Piece::Call { name, arguments: Value::Object(arguments).to_string() }),
            None if source.rest().is_empty() => return Read::Unfinished,
            None => return Read::No,
        }
        source.blanks();
        let _ = source.eats(",") || source.eats(";");
    }
    source.blanks();
    if calls.is_empty() || !source.rest().is_empty() { Read::No } else { Read::Calls(calls) }
}

struct Source<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Source<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn eats(&mut self, wanted: &str) -> bool {
        self.blanks();
        let is_there = self.rest().starts_with(wanted);
        if is_there {
            self.at += wanted.len();
        }
        is_there
    }

    fn word(&mut self) -> Option<&'t str> {
        self.blanks();
        let rest = self.rest();
        let length = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '-'))).unwrap_or(rest.len());
        self.at += length;
        (length > 0).then(|| &rest[..length])
    }

    fn call(&mut self) -> Option<(String, Map<String, Value>)> {
        let name = self.word()?;
        if !self.eats("(") {
            return None;
        }
        if name == "print" {
            let inside = self.call()?;
            return self.eats(")").then_some(inside);
        }
        let mut arguments = Map::new();
        while !self.eats(")") {
            let key = self.word()?.to_owned();
            if !self.eats("=") {
                return None;
            }
            arguments.insert(key, self.value(0)?);
            if !self.eats(",") && !self.rest().trim_start().starts_with(')') {
                return None;
            }
        }
        Some((name.to_owned(), arguments))
    }

    fn value(&mut self, depth: u32) -> Option<Value> {
        self.blanks();
        if depth > DEPTH_MAX {
            return None;
        }
        match self.rest().chars().next()? {
            '"' | '\'' => self.string().map(Value::String),
            '[' | '(' => {
                let close = if self.eats("[") { "]" } else { self.eats("(").then_some(")")? };
                let mut items = Vec::new();
                while !self.eats(close) {
                    items.push(self.value(depth + 1)?);
                    if !self.eats(",") && !self.rest().trim_start().starts_with(close) {
                        return None;
                    }
                }
                Some(Value::Array(items))
            }
            '{' => {
                self.eats("{");
                let mut members = Map::new();
                while !self.eats("}") {
                    self.blanks();
                    let key = self.string()?;
                    if !self.eats(":") {
                        return None;
                    }
                    members.insert(key, self.value(depth + 1)?);
                    if !self.eats(",") && !self.rest().trim_start().starts_with('}') {
                        return None;
                    }
                }
                Some(Value::Object(members))
            }
            _ => self.plain(),
        }
    }

    fn plain(&mut self) -> Option<Value> {
        let rest = self.rest();
        let length = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '+'))).unwrap_or(rest.len());
        self.at += length;
        Some(match &rest[..length] {
            "True" | "true" => true.into(),
            "False" | "false" => false.into(),
            "None" | "null" => Value::Null,
            number => number
                .parse::<i64>()
                .map(Value::from)
                .ok()
                .or_else(|| number.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number))?,
        })
    }

    fn string(&mut self) -> Option<String> {
        let quote = self.rest().chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let mut out = String::new();
        let mut chars = self.rest()[1..].char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.at += 1 + at + 1;
                    return Some(out);
                }
                '\\' => match chars.next()?.1 {
                    'n' => out.push('\n'),
                    't' => out.push('\t'),
                    'r' => out.push('\r'),
                    'u' => {
                        let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                        out.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                    }
                    other @ ('\\' | '\'' | '"') => out.push(other),
                    other => {
                        out.push('\\');
                        out.push(other);
                    }
                },
                c => out.push(c),
            }
        }
        // It breaks off.
        self.at = self.text.len();
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let Read::Calls(calls) = calls(text) else { return Vec::new() };
        let pair = |piece| match piece {
            Piece::Call { name, arguments } => (name, arguments),
            other => (format!("{other:?}"), String::new()),
        };
        calls.into_iter().map(pair).collect()
    }

    #[test]
    fn values_of_all_kinds() {
        let text = r#"[f(a="x\"y\n", b=-2, c=1.5, d=[True, None,], e={'k': (1, 2)}), ns.g()]"#;
        let wanted = r#"{"a":"x\"y\n","b":-2,"c":1.5,"d":[true,null],"e":{"k":[1,2]}}"#;
        assert_eq!(read(text), [("f".to_owned(), wanted.to_owned()), ("ns.g".to_owned(), "{}".to_owned())]);
        assert_eq!(read("print(f(x='é'))\n"), [("f".to_owned(), r#"{"x":"é"}"#.to_owned())]);
    }

    #[test]
    fn what_is_no_call_is_not_read_as_one() {
        for text in ["[1, 2]", "[]", "f(1)", "[f(a=)]", "[f(a=1)] and more", "f(a=b c)", ""] {
            assert!(!matches!(calls(text), Read::Calls(_)), "{text}");
        }
        for text in ["[f(a=1)", "[f(a=\"x)]", "f(a", "f"] {
            assert!(matches!(calls(text), Read::Unfinished), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in r#"[\[\](){}a-c=,:"'\\. 0-9é]{0,60}"#) {
            let _ = calls(&text);
        }
    }
}
