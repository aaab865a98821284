//! A call whose arguments come in pieces (`partialArgs`, asked for by `streamFunctionCallArguments`), put together again.

use serde_json::{Map, Value};

use crate::gemini::fields::Fields;

/// Steps of a path and elements of a list beyond these are not followed.
const STEPS_MAX: usize = 32;
const ELEMENTS_MAX: usize = 4096;

/// Arguments so far.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    root: Map<String, Value>,
}

/// One step of a path.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Member(String),
    Element(usize),
}

impl Arguments {
    /// Arguments that came whole; pieces may follow.
    pub(super) fn set(&mut self, args: Value) {
        if let Value::Object(args) = args {
            self.root.extend(args);
        }
    }

    /// Adds one piece: a string goes on where the last one at the same place ended.
    ///
    /// # Errors
    /// A message, where a piece has another shape: the call would be incomplete.
    pub(super) fn add(&mut self, piece: Value) -> Result<(), String> {
        let bad = || "the upstream sent a piece of a call's arguments of another shape".to_owned();
        let mut fields = Fields::of(piece, "partialArgs").map_err(|_| bad())?;
        let path = fields.text("jsonPath").ok().flatten().ok_or_else(bad)?;
        let steps = steps(&path).ok_or_else(bad)?;
        let place = self.place(&steps).ok_or_else(bad)?;
        if let Ok(Some(text)) = fields.text("stringValue") {
            match place {
                Value::String(said) => said.push_str(&text),
                other => *other = text.into(),
            }
            return Ok(());
        }
        let value = fields.take("numberValue").or_else(|| fields.take("boolValue"));
        *place = value.unwrap_or(Value::Null);
        Ok(())
    }

    /// The whole as JSON text.
    pub(super) fn into_text(self) -> String {
        Value::Object(self.root).to_string()
    }

    /// The value at a path, made if it is not there.
    fn place(&mut self, steps: &[Step]) -> Option<&mut Value> {
        let (Step::Member(first), rest) = steps.split_first()? else { return None };
        let mut value = self.root.entry(first.clone()).or_insert(Value::Null);
        for step in rest {
            value = match step {
                Step::Member(name) => {
                    if value.is_null() {
                        *value = Value::Object(Map::new());
                    }
                    value.as_object_mut()?.entry(name.clone()).or_insert(Value::Null)
                }
                Step::Element(index) => {
                    if value.is_null() {
                        *value = Value::Array(Vec::new());
                    }
                    let list = value.as_array_mut()?;
                    if *index >= list.len() {
                        list.resize(index + 1, Value::Null);
                    }
                    &mut list[*index]
                }
            };
        }
        Some(value)
    }
}

/// `$.a.b[0]['c']` as steps.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() && steps.len() < STEPS_MAX {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            steps.push(Step::Member(after[..end].to_owned()));
            rest = &after[end..];
        } else if let Some(quote) = ["['", "[\""].into_iter().find(|q| rest.starts_with(*q)) {
            let closing = if quote == "['" { "']" } else { "\"]" };
            let (name, after) = rest[2..].split_once(closing)?;
            steps.push(Step::Member(name.to_owned()));
            rest = after;
        } else {
            let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
            steps.push(Step::Element(index.parse().ok().filter(|i| *i < ELEMENTS_MAX)?));
            rest = after;
        }
    }
    (rest.is_empty() && !steps.is_empty()).then_some(steps)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn pieces_become_one_object() {
        let mut arguments = Arguments::default();
        for piece in [
            json!({"jsonPath": "$.city", "stringValue": "Troms", "willContinue": true}),
            json!({"jsonPath": "$.city", "stringValue": "ø"}),
            json!({"json_path": "$.days[1]['at']", "numberValue": 3}),
            json!({"jsonPath": "$.snow", "boolValue": true}),
            json!({"jsonPath": "$.wind", "nullValue": null}),
        ] {
            arguments.add(piece).unwrap();
        }
        assert_eq!(arguments.into_text(), r#"{"city":"Tromsø","days":[null,{"at":3}],"snow":true,"wind":null}"#);
    }

    #[test]
    fn refuses_other_shapes() {
        let mut arguments = Arguments::default();
        arguments.add(json!({"jsonPath": "$.a", "numberValue": 1})).unwrap();
        for piece in [json!(1), json!({}), json!({"jsonPath": "$[0]", "boolValue": true}), json!({"jsonPath": "$.a.b", "boolValue": true})]
        {
            arguments.add(piece).unwrap_err();
        }
        assert_eq!(arguments.into_text(), r#"{"a":1}"#);
    }

    proptest! {
        #[test]
        fn paths_never_panic(paths in prop::collection::vec("\\$?[.\\[\\]'\"a0-9é]{0,12}", 0..5)) {
            let mut arguments = Arguments::default();
            for path in paths {
                let _ = arguments.add(json!({"jsonPath": path, "stringValue": "x"}));
            }
        }
    }
}
