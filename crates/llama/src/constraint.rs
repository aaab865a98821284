//! JSON schemas and GBNF grammars: bounds first, then llama.cpp's own converter and parser.
//!
//! Both parsers recurse over their input, so what reaches them is bounded in bytes and in nesting.

use llama_cpp_2::json_schema_to_grammar;
use serde_json::Value;

use crate::{Error, log};

/// Longest accepted JSON schema, in bytes.
pub const SCHEMA_BYTES_MAX: usize = 64 << 10;
/// Longest accepted grammar, in bytes; also the longest that a schema may become.
pub const GRAMMAR_BYTES_MAX: usize = 256 << 10;
/// Most blanks in a row around the document of a call: a model must not write them for ever.
const BLANKS_MAX: u32 = 8;
/// Deepest nesting of groups in a grammar or in a schema's `pattern`.
const GROUP_DEPTH_MAX: usize = 64;

/// The grammar that admits exactly the documents of a JSON schema.
///
/// # Errors
/// [`Error::Invalid`] when the text is too long, is not JSON, or is not a schema that can be converted.
pub fn schema_to_grammar(schema: &str) -> Result<String, Error> {
    if schema.len() > SCHEMA_BYTES_MAX {
        return Err(Error::Invalid(format!("the JSON schema has {} bytes; at most {SCHEMA_BYTES_MAX} are allowed", schema.len())));
    }
    // Also bounds the depth: serde_json stops at 128 levels.
    let parsed: Value = serde_json::from_str(schema).map_err(|e| Error::Invalid(format!("the JSON schema is not JSON: {e}")))?;
    if !parsed.is_object() {
        return Err(Error::Invalid("the JSON schema must be an object".to_owned()));
    }
    check_patterns(&parsed)?;
    log::take_errors();
    let grammar = json_schema_to_grammar(schema)
        .map_err(|_| Error::Invalid("the JSON schema uses something that cannot be turned into a grammar".to_owned()))?;
    check_grammar(&grammar)?;
    Ok(grammar)
}

/// The grammar of what comes after `open`: a document of the schema and `close`, perhaps `open` and the same again. Blanks may stand
/// around the documents. Also the name of its start rule: `root` is the document's, which refers to itself by that name.
///
/// # Errors
/// As [`schema_to_grammar`].
pub fn call_to_grammar(open: &str, schema: &str, close: &str) -> Result<(String, String), Error> {
    let document = schema_to_grammar(schema)?;
    let mut start = "call-start".to_owned();
    while document.contains(&start) {
        start.push('x');
    }
    let (open, close) = (literal(open), literal(close));
    let one = format!("{start}-blank root {start}-blank {close} {start}-blank");
    let grammar = format!("{document}\n{start} ::= {one} ({open} {one})*\n{start}-blank ::= [ \\t\\n]{{0,{BLANKS_MAX}}}\n");
    check_grammar(&grammar)?;
    Ok((grammar, start))
}

/// A text as a literal of a grammar.
fn literal(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out + "\""
}

/// Checks the bounds of a GBNF grammar whose start rule is `root`. Whether it parses is known when a sampler is made of it.
///
/// # Errors
/// [`Error::Invalid`] in words.
pub fn check_grammar(grammar: &str) -> Result<(), Error> {
    if grammar.len() > GRAMMAR_BYTES_MAX {
        return Err(Error::Invalid(format!("the grammar has {} bytes; at most {GRAMMAR_BYTES_MAX} are allowed", grammar.len())));
    }
    if grammar.contains('\0') {
        return Err(Error::Invalid("the grammar has a NUL character".to_owned()));
    }
    if group_depth(grammar.bytes(), true) > GROUP_DEPTH_MAX {
        return Err(Error::Invalid(format!("the grammar nests groups deeper than {GROUP_DEPTH_MAX}")));
    }
    Ok(())
}

fn check_patterns(value: &Value) -> Result<(), Error> {
    match value {
        Value::Object(members) => members.iter().try_for_each(|(key, member)| match member {
            Value::String(pattern) if key == "pattern" && group_depth(pattern.bytes(), false) > GROUP_DEPTH_MAX => {
                Err(Error::Invalid(format!("a pattern of the JSON schema nests groups deeper than {GROUP_DEPTH_MAX}")))
            }
            other => check_patterns(other),
        }),
        Value::Array(items) => items.iter().try_for_each(check_patterns),
        _ => Ok(()),
    }
}

/// Deepest nesting of `(`, outside of `[...]`, and in a grammar also outside of `"..."` and comments.
fn group_depth(bytes: impl Iterator<Item = u8>, grammar: bool) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut within: Option<u8> = None;
    let mut escaped = false;
    for byte in bytes {
        if escaped {
            escaped = false;
            continue;
        }
        match (within, byte) {
            (None | Some(b']' | b'"'), b'\\') => escaped = true,
            (Some(end), _) if byte == end => within = None,
            (None, b'[') => within = Some(b']'),
            (None, b'"') if grammar => within = Some(b'"'),
            (None, b'#') if grammar => within = Some(b'\n'),
            (None, b'(') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (None, b')') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_groups_outside_of_literals() {
        assert_eq!(group_depth(br#"root ::= ( "((((" [(((] (a) ) # ((("#.iter().copied(), true), 2);
        assert_eq!(group_depth(br#"root ::= "\"((" (b)"#.iter().copied(), true), 1);
        assert_eq!(group_depth(br#"("a((b))")"#.iter().copied(), false), 3);
    }

    #[test]
    fn a_schema_becomes_a_grammar() {
        let grammar =
            schema_to_grammar(r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}"#).expect("a plain schema");
        assert!(grammar.contains("root ::="), "{grammar}");
    }

    #[test]
    fn bad_schemas_are_refused_in_words() {
        let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
        let groups = format!(r#"{{"type":"string","pattern":"^{}a{}$"}}"#, "(".repeat(100), ")".repeat(100));
        let long = format!(r#"{{"description":"{}"}}"#, "x".repeat(SCHEMA_BYTES_MAX));
        for (schema, word) in [
            ("{", "not JSON"),
            ("[1]", "object"),
            (r#"{"type":"wat"}"#, "cannot"),
            (r#"{"$ref":"https://example.com/x.json"}"#, "cannot"),
            (deep.as_str(), "not JSON"),
            (groups.as_str(), "nests"),
            (long.as_str(), "bytes"),
        ] {
            let error = schema_to_grammar(schema).expect_err(schema).to_string();
            assert!(error.contains(word), "{schema:.60}: {error}");
        }
    }

    #[test]
    fn references_are_followed() {
        let schema = r##"{"$defs":{"tool0":{"$defs":{"P":{"const":"here"}},"type":"object","properties":{"p":{"$ref":"#/$defs/tool0/$defs/P"}}}},
            "type":"object","properties":{"arguments":{"type":"object","properties":{"p":{"$ref":"#/$defs/tool0/$defs/P"}}}},"required":["arguments"]}"##;
        assert!(schema_to_grammar(schema).expect("a schema with references").contains("here"));
    }

    #[test]
    fn a_call_is_a_document_between_marks() {
        let schema = r#"{"type":"object","properties":{"call-start":{"const":1}},"required":["call-start"]}"#;
        let (grammar, start) = call_to_grammar("<\"a\n>", schema, "</a>").expect("a plain schema");
        assert!(start.starts_with("call-startx") && grammar.contains(&format!("{start} ::= ")), "{grammar}");
        assert!(grammar.contains(r#""<\"a\n>""#) && grammar.contains("root ::="), "{grammar}");
    }

    #[test]
    fn grammars_are_bounded() {
        assert!(check_grammar("root ::= \"a\"").is_ok());
        assert!(check_grammar(&format!("root ::= {}\"a\"{}", "(".repeat(65), ")".repeat(65))).is_err());
        assert!(check_grammar(&"x".repeat(GRAMMAR_BYTES_MAX + 1)).is_err());
        assert!(check_grammar("root ::= \"a\0\"").is_err());
    }

    proptest! {
        /// Whatever JSON comes, the converter answers; it never takes the process with it.
        #[test]
        fn any_object_gives_an_answer(keys in prop::collection::vec(("(type|properties|items|enum|pattern|anyOf|minItems|const|\\$ref|format)", "[ -~]{0,12}"), 0..6)) {
            let members: serde_json::Map<String, Value> = keys.into_iter().map(|(key, text)| {
                let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
                (key, value)
            }).collect();
            let _ = schema_to_grammar(&Value::Object(members).to_string());
        }
    }
}
