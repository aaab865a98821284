//! JSON Schema ↔ the subset of OpenAPI's schema that `responseSchema` and `parameters` take (Gemini API reference, `Schema`).
//!
//! Newer models read JSON Schema itself (`responseJsonSchema`, `parametersJsonSchema`); the subset is for the older ones.

use serde_json::{Map, Value, json};

/// Deepest nesting after references are written out; below it anything is allowed.
const DEPTH_MAX: u32 = 32;
/// Most schemas that writing out references may make.
const NODES_MAX: u32 = 4096;

/// Keywords that both languages have with one meaning.
const SHARED: [&str; 13] = [
    "title",
    "description",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "default",
    "example",
];

/// Keywords that only annotate: leaving them out changes no meaning.
const SILENT: [&str; 9] = ["$schema", "$id", "$comment", "$defs", "definitions", "examples", "$anchor", "readOnly", "writeOnly"];

/// The schema for older models, and whether the answer may now be wider than what was asked for.
pub fn to_openapi(schema: &Value) -> (Value, bool) {
    let mut reducer = Reducer { root: schema, nodes: 0, lossy: false };
    let reduced = reducer.reduce(schema, 0);
    (reduced, reducer.lossy)
}

struct Reducer<'a> {
    root: &'a Value,
    nodes: u32,
    lossy: bool,
}

impl Reducer<'_> {
    fn reduce(&mut self, schema: &Value, depth: u32) -> Value {
        self.nodes += 1;
        let Value::Object(schema) = schema else {
            // `true`, `false` and what is no schema.
            self.lossy |= schema != &Value::Bool(true);
            return json!({"type": "OBJECT"});
        };
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            self.lossy = true;
            return json!({"type": "OBJECT"});
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            return self.follow(reference, schema, depth);
        }
        if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
            let merged = merge(schema, parts);
            return self.reduce(&merged, depth + 1);
        }
        let mut out = Map::new();
        for (key, value) in schema {
            if SHARED.contains(&key.as_str()) {
                out.insert(key.clone(), value.clone());
            } else {
                self.keyword(key, value, depth, &mut out);
            }
        }
        self.finish(&mut out);
        Value::Object(out)
    }

    fn keyword(&mut self, key: &str, value: &Value, depth: u32, out: &mut Map<String, Value>) {
        match (key, value) {
            ("type", _) => Self::kind(value, out),
            ("nullable", Value::Bool(true)) => nullable(out),
            ("format", Value::String(format)) => {
                let known = ["date-time", "enum", "float", "double", "int32", "int64"].contains(&format.as_str());
                if known {
                    out.insert("format".to_owned(), value.clone());
                }
                self.lossy |= !known;
            }
            ("const", value) => self.choices(std::slice::from_ref(value), out),
            ("enum", Value::Array(values)) => self.choices(values, out),
            ("properties", Value::Object(properties)) if !properties.is_empty() => {
                let reduced = properties.iter().map(|(name, p)| (name.clone(), self.reduce(p, depth + 1))).collect();
                out.insert("properties".to_owned(), Value::Object(reduced));
            }
            ("required" | "propertyOrdering", Value::Array(_)) => {
                out.insert(key.to_owned(), value.clone());
            }
            ("items", items) => {
                let reduced = self.reduce(items, depth + 1);
                out.insert("items".to_owned(), reduced);
            }
            ("anyOf" | "oneOf", Value::Array(options)) => self.any_of(options, depth, out),
            // Gemini never adds properties, so that `false` is kept in effect.
            ("properties" | "nullable", _) | ("additionalProperties" | "strict", Value::Bool(_)) => {}
            _ => self.lossy |= !SILENT.contains(&key),
        }
    }

    /// `type`: one word in capitals; a list with `null` in it is `nullable`.
    fn kind(value: &Value, out: &mut Map<String, Value>) {
        let words: Vec<&str> = match value {
            Value::String(word) => vec![word],
            Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let (nulls, words): (Vec<&str>, Vec<&str>) = words.into_iter().partition(|w| w.eq_ignore_ascii_case("null"));
        if !nulls.is_empty() {
            nullable(out);
        }
        match words.as_slice() {
            [] => {}
            [word] => {
                out.insert("type".to_owned(), word.to_ascii_uppercase().into());
            }
            several => {
                let options: Vec<Value> = several.iter().map(|w| json!({"type": w.to_ascii_uppercase()})).collect();
                out.insert("anyOf".to_owned(), options.into());
            }
        }
    }

    /// Only strings may be listed.
    fn choices(&mut self, values: &[Value], out: &mut Map<String, Value>) {
        if values.iter().any(Value::is_null) {
            nullable(out);
        }
        let values: Vec<&Value> = values.iter().filter(|v| !v.is_null()).collect();
        if !values.is_empty() && values.iter().all(|v| v.is_string()) {
            out.insert("type".to_owned(), "STRING".into());
            out.insert("enum".to_owned(), values.into_iter().cloned().collect());
            return;
        }
        self.lossy |= !values.is_empty();
        let kinds = values.first().map(|v| match v {
            Value::Bool(_) => "BOOLEAN",
            Value::Number(n) if n.is_f64() => "NUMBER",
            Value::Number(_) => "INTEGER",
            _ => "OBJECT",
        });
        if let Some(kind) = kinds.filter(|_| !out.contains_key("type")) {
            out.insert("type".to_owned(), kind.into());
        }
    }

    fn any_of(&mut self, options: &[Value], depth: u32, out: &mut Map<String, Value>) {
        let is_null = |o: &Value| o["type"] == "null" || o["type"] == "NULL" || o.get("const") == Some(&Value::Null);
        if options.iter().any(is_null) {
            nullable(out);
        }
        let options: Vec<&Value> = options.iter().filter(|o| !is_null(o)).collect();
        let mut reduced: Vec<Value> = options.into_iter().map(|o| self.reduce(o, depth + 1)).collect();
        match reduced.len() {
            0 => {}
            1 => {
                if let Value::Object(only) = reduced.remove(0) {
                    only.into_iter().for_each(|(k, v)| {
                        out.entry(k).or_insert(v);
                    });
                }
            }
            _ => {
                out.insert("anyOf".to_owned(), reduced.into());
            }
        }
    }

    /// Writes a reference out; keywords beside it win.
    fn follow(&mut self, reference: &str, beside: &Map<String, Value>, depth: u32) -> Value {
        let target = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
        let Some(Value::Object(target)) = target else {
            self.lossy = true;
            return json!({"type": "OBJECT"});
        };
        let mut whole = target.clone();
        whole.extend(beside.iter().filter(|(k, _)| *k != "$ref").map(|(k, v)| (k.clone(), v.clone())));
        self.reduce(&Value::Object(whole), depth + 1)
    }

    /// What the subset insists on: a type, items of a list, required names that exist.
    fn finish(&mut self, out: &mut Map<String, Value>) {
        if !out.contains_key("type") && !out.contains_key("anyOf") {
            let kind = if out.contains_key("items") { "ARRAY" } else { "OBJECT" };
            out.insert("type".to_owned(), kind.into());
        }
        if out.get("type").is_some_and(|t| t == "ARRAY") && !out.contains_key("items") {
            out.insert("items".to_owned(), json!({"type": "STRING"}));
            self.lossy = true;
        }
        for key in ["required", "propertyOrdering"] {
            let Some(Value::Array(mut names)) = out.shift_remove(key) else { continue };
            let properties = out.get("properties").and_then(Value::as_object);
            names.retain(|n| n.as_str().is_some_and(|n| properties.is_some_and(|p| p.contains_key(n))));
            if !names.is_empty() {
                out.insert(key.to_owned(), names.into());
            }
        }
    }
}

fn nullable(out: &mut Map<String, Value>) {
    out.insert("nullable".to_owned(), true.into());
}

/// All of `allOf` as one schema: properties and required names together, other keywords by the last word.
fn merge(schema: &Map<String, Value>, parts: &[Value]) -> Value {
    let mut merged: Map<String, Value> = schema.iter().filter(|(k, _)| *k != "allOf").map(|(k, v)| (k.clone(), v.clone())).collect();
    for (key, value) in parts.iter().filter_map(Value::as_object).flatten() {
        match (merged.get_mut(key), value) {
            (Some(Value::Object(ours)), Value::Object(theirs)) if key == "properties" => ours.extend(theirs.clone()),
            (Some(Value::Array(ours)), Value::Array(theirs)) if key == "required" => ours.extend(theirs.iter().cloned()),
            _ => {
                merged.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(merged)
}

/// JSON Schema from Google's subset: types in small letters, `nullable` as a type, properties in their stated order.
pub fn from_openapi(schema: &Value) -> Value {
    let Value::Object(schema) = schema else { return schema.clone() };
    let get = |camel: &str, snake: &str| schema.get(camel).or_else(|| schema.get(snake));
    let mut out = Map::new();
    for (key, value) in schema {
        let value = match (key.as_str(), value) {
            ("nullable" | "propertyOrdering" | "property_ordering", _) => continue,
            ("type", Value::String(word)) if word == "TYPE_UNSPECIFIED" => continue,
            ("type", Value::String(word)) => word.to_ascii_lowercase().into(),
            ("properties", Value::Object(properties)) => {
                let order = get("propertyOrdering", "property_ordering").and_then(Value::as_array);
                let mut named: Vec<_> = properties.iter().map(|(name, p)| (name.clone(), from_openapi(p))).collect();
                if let Some(order) = order {
                    named.sort_by_key(|(name, _)| order.iter().position(|o| o == name.as_str()).unwrap_or(usize::MAX));
                }
                Value::Object(named.into_iter().collect())
            }
            ("items", items) => from_openapi(items),
            ("anyOf" | "any_of", Value::Array(options)) => {
                out.insert("anyOf".to_owned(), options.iter().map(from_openapi).collect());
                continue;
            }
            // Protocol buffers write 64-bit numbers as text.
            ("minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties", Value::String(number)) => {
                number.parse::<u64>().map_or_else(|_| value.clone(), Value::from)
            }
            _ => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    if schema.get("nullable") == Some(&Value::Bool(true)) {
        if let Some(kind) = out.get("type").cloned() {
            out.insert("type".to_owned(), json!([kind, "null"]));
        } else if let Some(Value::Array(options)) = out.get_mut("anyOf") {
            options.push(json!({"type": "null"}));
        }
        if let Some(Value::Array(values)) = out.get_mut("enum") {
            values.push(Value::Null);
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reduced(schema: Value) -> Value {
        let (out, lossy) = to_openapi(&schema);
        assert!(!lossy, "{out}");
        out
    }

    #[test]
    fn references_constants_and_nulls_have_twins() {
        let out = reduced(json!({
            "$schema": "x",
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "who": {"$ref": "#/$defs/person"},
                "kind": {"const": "a"},
                "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "size": {"type": ["integer", "null"], "minimum": 1},
                "tag": {"enum": ["x", "y", null]},
            },
            "required": ["who", "gone"],
            "$defs": {"person": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}},
        }));
        let wanted = json!({
            "type": "OBJECT",
            "properties": {
                "who": {"type": "OBJECT", "properties": {"name": {"type": "STRING"}}, "required": ["name"]},
                "kind": {"type": "STRING", "enum": ["a"]},
                "note": {"nullable": true, "type": "STRING"},
                "size": {"nullable": true, "type": "INTEGER", "minimum": 1},
                "tag": {"nullable": true, "type": "STRING", "enum": ["x", "y"]},
            },
            "required": ["who"],
        });
        assert_eq!(out, wanted);
    }

    #[test]
    fn all_of_is_merged() {
        let out = reduced(json!({"allOf": [
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"properties": {"b": {"type": "number"}}, "required": ["b"]},
        ]}));
        assert_eq!(out["required"], json!(["a", "b"]));
        assert_eq!(out["properties"]["b"]["type"], "NUMBER");
    }

    #[test]
    fn what_has_no_twin_is_said() {
        for schema in [
            json!({"type": "integer", "enum": [1, 2]}),
            json!({"type": "string", "format": "ipv4"}),
            json!({"type": "object", "patternProperties": {}}),
            json!({"$ref": "https://example.org/schema"}),
            json!({"type": "array"}),
            json!(false),
        ] {
            assert!(to_openapi(&schema).1, "{schema}");
        }
    }

    #[test]
    fn endless_schemas_end() {
        let tree = json!({"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {"l": {"$ref": "#/$defs/n"}, "r": {"$ref": "#/$defs/n"}}}}});
        let (out, lossy) = to_openapi(&tree);
        assert!(lossy && out["properties"]["l"]["type"] == "OBJECT");
        assert!(to_openapi(&json!({"$ref": "#"})).1);
    }

    #[test]
    fn googles_words_become_json_schema() {
        let schema = json!({
            "type": "OBJECT",
            "properties": {
                "b": {"type": "STRING", "nullable": true, "enum": ["x"]},
                "a": {"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": "2"},
            },
            "propertyOrdering": ["a", "b"],
        });
        let out = from_openapi(&schema);
        assert_eq!(out["properties"].as_object().unwrap().keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(out["properties"]["a"], json!({"type": "array", "items": {"type": "integer"}, "minItems": 2}));
        assert_eq!(out["properties"]["b"], json!({"type": ["string", "null"], "enum": ["x", null]}));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let word = "type|properties|items|anyOf|allOf|\\$ref|enum|const|required|null|object|array|#|#/a";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            word.prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((word, inner), 0..5).prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn anything_is_reduced_to_a_schema_with_a_type(schema in any_json()) {
            let (out, _) = to_openapi(&schema);
            prop_assert!(out["type"].is_string() || out["anyOf"].is_array(), "{}", out);
            from_openapi(&schema);
        }
    }
}
