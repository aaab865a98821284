//! Reads an object of a request member by member: both spellings of a name, errors with the place, and what nobody asked for.

use serde_json::{Map, Value};

use crate::error::Failure;

/// The members of one object that are still to be read.
#[derive(Debug)]
pub(super) struct Fields {
    members: Map<String, Value>,
    path: String,
}

impl Fields {
    /// # Errors
    /// If the value is no object.
    pub(super) fn of(value: Value, path: impl Into<String>) -> Result<Self, Failure> {
        let path = path.into();
        match value {
            Value::Object(members) => Ok(Self { members, path }),
            _ => Err(wrong(&path, "an object")),
        }
    }

    /// The place of a member, as an error names it.
    pub(super) fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Whether a member is there and not null.
    pub(super) fn has(&self, name: &str) -> bool {
        [name, &snake(name)].iter().any(|n| self.members.get(*n).is_some_and(|v| !v.is_null()))
    }

    /// Whether nothing is there, or only nulls.
    pub(super) fn is_empty(&self) -> bool {
        self.members.values().all(Value::is_null)
    }

    /// Whether nothing but these is there.
    pub(super) fn has_only(&self, names: &[&str]) -> bool {
        self.members.iter().all(|(key, value)| value.is_null() || names.contains(&camel(key).as_str()))
    }

    /// Takes a member by its camelCase name, also where it is written in snake_case; null is absent.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let camel = self.members.shift_remove(name).filter(|v| !v.is_null());
        let snake = snake(name);
        let other = if snake == name { None } else { self.members.shift_remove(&snake).filter(|v| !v.is_null()) };
        camel.or(other)
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(&self.at(name), "a string")),
        }
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, Failure> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(wrong(&self.at(name), "true or false")),
        }
    }

    pub(super) fn number(&mut self, name: &str) -> Result<Option<f64>, Failure> {
        let Some(value) = self.take(name) else { return Ok(None) };
        number(&value).map(Some).ok_or_else(|| wrong(&self.at(name), "a number"))
    }

    /// A whole number; `40.0`, `4e1` and `"40"` are 40, as protocol buffers read them.
    pub(super) fn whole<T: TryFrom<i64>>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let exact = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
        let whole = exact.or_else(|| number(&value).filter(|n| n.fract() == 0.0 && n.abs() < 9e15).map(|n| n as i64));
        match whole.and_then(|n| T::try_from(n).ok()) {
            Some(n) => Ok(Some(n)),
            None => Err(wrong(&self.at(name), "a whole number in its range")),
        }
    }

    /// A list; a single object stands for a list of one, as Google's own examples write it.
    pub(super) fn list(&mut self, name: &str) -> Result<Option<Vec<Value>>, Failure> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(Value::Object(one)) if !one.is_empty() => Ok(Some(vec![Value::Object(one)])),
            Some(_) => Err(wrong(&self.at(name), "a list of objects")),
        }
    }

    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>, Failure> {
        let path = self.at(name);
        self.take(name).map(|value| Self::of(value, path)).transpose()
    }

    /// What was not taken, by camelCase names.
    pub(super) fn rest(self) -> impl Iterator<Item = (String, Value)> {
        self.members.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (camel(&k), v))
    }

    /// What was not taken, as it came.
    pub(super) fn into_value(self) -> Value {
        Value::Object(self.members)
    }
}

/// The failure for a wrong type.
pub(super) fn wrong(path: &str, wanted: &str) -> Failure {
    let path = if path.is_empty() { "body" } else { path };
    Failure::invalid(path, format!("`{path}` must be {wanted}"))
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|n| n.is_finite())
}

fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut raise = false;
    for c in name.chars() {
        if c == '_' && !out.is_empty() {
            raise = true;
        } else {
            out.push(if raise { c.to_ascii_uppercase() } else { c });
            raise = false;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn takes_both_spellings_and_keeps_the_rest() {
        let mut fields =
            Fields::of(json!({"top_k": 4e1, "topP": "0.5", "n": null, "safety_settings": [], "_x": 1}), "generationConfig").unwrap();
        assert_eq!(fields.whole::<i32>("topK").unwrap(), Some(40));
        assert_eq!(fields.number("topP").unwrap(), Some(0.5));
        assert_eq!(fields.rest().map(|(k, _)| k).collect::<Vec<_>>(), ["safetySettings", "_x"]);
    }

    #[test]
    fn names_the_place_of_a_wrong_type() {
        let mut fields = Fields::of(json!({"stop": {}, "max_tokens": 1.5, "text": 1}), "a").unwrap();
        assert_eq!(fields.list("stop").unwrap_err().param.as_deref(), Some("a.stop"));
        assert_eq!(fields.whole::<u32>("maxTokens").unwrap_err().param.as_deref(), Some("a.maxTokens"));
        assert_eq!(fields.text("text").unwrap_err().message, "`a.text` must be a string");
    }
}
