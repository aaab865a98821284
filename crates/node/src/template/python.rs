//! What templates expect of Python: `tojson` as `json.dumps` writes it, and values printed as Python prints them.

use std::fmt::{self, Write};

use minijinja::{
    Error, ErrorKind, Output, State, Value,
    value::{Kwargs, ValueKind},
};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// Widest indentation of `tojson`.
const INDENT_MAX: usize = 16;

/// `tojson(value, indent=None, separators=None, sort_keys=False, ensure_ascii=False)` without HTML escapes.
pub(super) fn tojson(value: &Value, indent: Option<Value>, args: Kwargs) -> Result<Value, Error> {
    let indent = indent.or(args.get::<Option<Value>>("indent")?).filter(|v| !v.is_none() && !v.is_undefined());
    let separators: Option<Value> = args.get("separators")?;
    let _: (Option<bool>, Option<bool>) = (args.get("sort_keys")?, args.get("ensure_ascii")?);
    args.assert_all_used()?;
    let mut out = Vec::new();
    let done = if let Some(indent) = indent {
        let spaces = usize::try_from(indent)?.min(INDENT_MAX);
        let spaces = " ".repeat(spaces);
        value.serialize(&mut Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(spaces.as_bytes())))
    } else {
        let mut pair = separators.iter().filter(|v| !v.is_none()).flat_map(|v| v.try_iter().into_iter().flatten().map(|s| s.to_string()));
        let item = pair.next().unwrap_or_else(|| ", ".to_owned());
        let key = pair.next().unwrap_or_else(|| ": ".to_owned());
        value.serialize(&mut Serializer::with_formatter(&mut out, Separators { item, key }))
    };
    done.map_err(|e| Error::new(ErrorKind::InvalidOperation, format!("tojson: {e}")))?;
    Ok(Value::from(String::from_utf8_lossy(&out)))
}

/// `json.dumps` puts a blank after commas and colons.
struct Separators {
    item: String,
    key: String,
}

impl Formatter for Separators {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(self.item.as_bytes()) }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(self.item.as_bytes()) }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(self.key.as_bytes())
    }
}

/// Writes a value as `str()` would.
pub(super) fn print(out: &mut Output, _state: &State, value: &Value) -> Result<(), Error> {
    let written = match value.as_str() {
        Some(text) => out.write_str(text),
        None if value.is_undefined() => Ok(()),
        None => represent(out, value, 0),
    };
    written.map_err(|e| Error::new(ErrorKind::WriteFailure, e.to_string()))
}

/// `str(value)`.
pub(super) fn string(value: &Value) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = match value.as_str() {
        Some(text) => out.write_str(text),
        None => represent(&mut out, value, 0),
    };
    out
}

/// Nothing at all can be iterated over, `None` can't.
pub(super) fn is_iterable(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Undefined | ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable)
}

/// What has a length and can be indexed: texts and dicts too.
pub(super) fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Undefined | ValueKind::String | ValueKind::Seq | ValueKind::Map)
}

/// Writes a value as `repr()` would.
fn represent(out: &mut impl Write, value: &Value, depth: u32) -> fmt::Result {
    const DEPTH_MAX: u32 = 64;
    if depth > DEPTH_MAX {
        return out.write_str("...");
    }
    match value.kind() {
        ValueKind::Undefined => Ok(()),
        ValueKind::None => out.write_str("None"),
        ValueKind::Bool => out.write_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::String if depth > 0 => quoted(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq => {
            out.write_char('[')?;
            for (index, item) in value.try_iter().into_iter().flatten().enumerate() {
                out.write_str(if index > 0 { ", " } else { "" })?;
                represent(out, &item, depth + 1)?;
            }
            out.write_char(']')
        }
        ValueKind::Map => {
            out.write_char('{')?;
            for (index, key) in value.try_iter().into_iter().flatten().enumerate() {
                out.write_str(if index > 0 { ", " } else { "" })?;
                represent(out, &key, depth + 1)?;
                out.write_str(": ")?;
                represent(out, &value.get_item(&key).unwrap_or_default(), depth + 1)?;
            }
            out.write_char('}')
        }
        _ => write!(out, "{value}"),
    }
}

fn quoted(out: &mut impl Write, text: &str) -> fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.write_char(quote)?;
    for c in text.chars() {
        match c {
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\\' => out.write_str("\\\\")?,
            c if c == quote => write!(out, "\\{c}")?,
            c => out.write_char(c)?,
        }
    }
    out.write_char(quote)
}
