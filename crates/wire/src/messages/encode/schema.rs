//! JSON Schemas as the API takes them.

use serde_json::{Value, json};

/// A function's arguments: a schema whose root is an object. The second value says whether it had to be changed.
pub(super) fn of_arguments(schema: &Value) -> (Value, bool) {
    let Value::Object(members) = schema else { return (json!({"type": "object", "properties": {}}), !schema.is_null()) };
    if members.get("type").is_some_and(|t| t == "object") {
        return (schema.clone(), false);
    }
    let mut out = members.clone();
    out.insert("type".into(), "object".into());
    (Value::Object(out), !members.is_empty())
}

/// The answer's form: every object says that it has no members besides its properties, or the API refuses it.
pub(super) fn of_answer(schema: &Value) -> (Value, bool) {
    let mut out = schema.clone();
    let is_changed = close(&mut out);
    (out, is_changed)
}

/// Depth is bounded by the JSON reader's own limit.
fn close(schema: &mut Value) -> bool {
    let Value::Object(members) = schema else { return false };
    let mut is_changed = false;
    let is_object = members.get("type").is_some_and(|t| t == "object") || members.contains_key("properties");
    if is_object && members.get("additionalProperties") != Some(&Value::Bool(false)) {
        members.insert("additionalProperties".into(), false.into());
        is_changed = true;
    }
    for (key, value) in members.iter_mut() {
        is_changed |= match key.as_str() {
            "properties" | "$defs" | "definitions" => each(value.as_object_mut().into_iter().flat_map(|m| m.values_mut())),
            "anyOf" | "allOf" | "oneOf" | "prefixItems" => each(value.as_array_mut().into_iter().flatten()),
            "items" => close(value),
            _ => false,
        };
    }
    is_changed
}

fn each<'a>(schemas: impl Iterator<Item = &'a mut Value>) -> bool {
    let mut is_changed = false;
    for schema in schemas {
        is_changed |= close(schema);
    }
    is_changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_becomes_an_object() {
        assert_eq!(of_arguments(&json!(null)), (json!({"type": "object", "properties": {}}), false));
        assert_eq!(of_arguments(&json!({})), (json!({"type": "object"}), false));
        assert_eq!(of_arguments(&json!({"anyOf": []})), (json!({"anyOf": [], "type": "object"}), true));
        assert_eq!(of_arguments(&json!(true)), (json!({"type": "object", "properties": {}}), true));
    }

    #[test]
    fn objects_are_closed_at_every_depth() {
        let open = json!({"type": "object", "properties": {"a": {"type": "array", "items": {"anyOf": [{"type": "object"}, {"type": "null"}]}}}, "$defs": {"d": {"properties": {}}}});
        let (closed, is_changed) = of_answer(&open);
        assert!(is_changed);
        assert_eq!(closed.to_string().matches("\"additionalProperties\":false").count(), 3);
        assert_eq!(of_answer(&closed), (closed, false));
    }
}
