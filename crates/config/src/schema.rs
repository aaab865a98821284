//! A JSON Schema of the router's file, out of the tables that the readers use: editors check and complete a file with it.

use serde_json::{Map, Value, json};

use crate::account_fields::{ACCOUNT_FIELDS, LIMIT_FIELDS};
use crate::auth::KEY_FIELDS;
use crate::edit::TIERS;
use crate::fields::Field;
use crate::key::{Key, Shape};
use crate::keys::{KEYS, PREFIX};
use crate::models::{MODEL_FIELDS, ROUTE_FIELDS, STRATEGIES};
use crate::prices::PRICE_FIELDS;

/// The schema (draft 2020-12). Values that are read from words (`5s`, `64MiB`, `20%`) may be texts or numbers there.
pub fn schema_json() -> Value {
    let mut root = object(Map::new());
    for key in KEYS {
        place(&mut root, &key.name.split('.').collect::<Vec<_>>(), of_key(key));
    }
    let mut schema = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "LLM Router's configuration file"});
    if let (Value::Object(schema), Value::Object(root)) = (&mut schema, root) {
        schema.extend(root);
    }
    schema
}

fn object(properties: Map<String, Value>) -> Value {
    json!({"type": ["object", "null"], "additionalProperties": false, "properties": properties})
}

fn place(into: &mut Value, path: &[&str], schema: Value) {
    let Some((name, rest)) = path.split_first() else { return };
    let Some(properties) = into["properties"].as_object_mut() else { return };
    if rest.is_empty() {
        properties.insert((*name).to_owned(), schema);
    } else {
        place(properties.entry(*name).or_insert_with(|| object(Map::new())), rest, schema);
    }
}

fn of_key(key: &Key) -> Value {
    let mut schema = match key.shape {
        Shape::Scalar | Shape::Secret | Shape::Url => single(key.default),
        Shape::Structure => structure(key.name),
        Shape::Kept | Shape::Foreign => json!({"type": ["object", "array", "null"]}),
    };
    schema["description"] = json!(key.meaning);
    if !key.default.is_empty() {
        schema["default"] = json!(key.default);
    }
    if key.is_single() {
        let rule = key.rule_name(PREFIX);
        let by_rule = (!key.env.contains(&rule.as_str())).then_some(rule.as_str());
        schema["x-environment"] = key.env.iter().copied().chain(by_rule).collect();
    }
    schema
}

/// A single value, or a list of them, of the kind that the default is.
fn single(default: &str) -> Value {
    match default {
        "true" | "false" => json!({"type": ["boolean", "string", "integer", "null"]}),
        number if number.parse::<u64>().is_ok() => json!({"type": ["integer", "string", "null"]}),
        word if word.starts_with(|c: char| c.is_ascii_digit()) && !word.contains('.') => {
            json!({"type": ["string", "number", "array", "null"]})
        }
        _ => json!({"type": ["string", "number", "boolean", "array", "null"], "items": {"type": ["string", "number"]}}),
    }
}

fn structure(name: &str) -> Value {
    let names = || json!({"type": ["string", "number", "array"], "items": {"type": ["string", "number"]}});
    match name {
        "accounts" | "services" => json!({"type": ["array", "null"], "items": fields(ACCOUNT_FIELDS)}),
        "models" => {
            let model = || fields(MODEL_FIELDS);
            let entry = json!({"anyOf": [{"type": ["string", "number"]}, model()]});
            json!({"anyOf": [{"type": ["array", "null"], "items": entry}, {"type": "object", "additionalProperties": model()}]})
        }
        "aliases" | "auth.oauth.grants" => json!({"type": ["object", "null"], "additionalProperties": names()}),
        "prices" => json!({"type": ["object", "null"], "additionalProperties": fields(PRICE_FIELDS)}),
        "task_routes" => {
            let tiers: Map<String, Value> = TIERS.iter().map(|tier| ((*tier).to_owned(), names())).collect();
            json!({"type": ["object", "null"], "additionalProperties": object(tiers)})
        }
        "routes" => {
            let mut profile = fields(ROUTE_FIELDS);
            profile["properties"]["strategy"]["enum"] = json!(STRATEGIES);
            json!({"type": ["object", "null"], "additionalProperties": profile})
        }
        "auth.keys" => {
            json!({"type": ["array", "string", "null"], "items": {"anyOf": [{"type": ["string", "number"]}, fields(KEY_FIELDS)]}})
        }
        "auth.master" => names(),
        "auth.oauth.limits" => fields(LIMIT_FIELDS),
        _ => json!({"type": ["array", "object", "null"]}),
    }
}

fn fields(table: &[Field]) -> Value {
    object(table.iter().map(|field| (field.name.to_owned(), json!({"description": field.meaning}))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_place() {
        let schema = schema_json();
        for key in KEYS {
            let path = key.name.split('.').fold(String::new(), |path, part| format!("{path}/properties/{part}"));
            let found = schema.pointer(&path).unwrap_or_else(|| panic!("{}", key.name));
            assert_eq!(found["description"], key.meaning, "{}", key.name);
        }
        let account = &schema["properties"]["accounts"]["items"];
        assert_eq!(account["additionalProperties"], false);
        assert!(ACCOUNT_FIELDS.iter().all(|field| account["properties"][field.name].is_object()));
    }
}
