//! Typed access to the members of a JSON object, with failures that name the field. `null` is absent.

use serde_json::{Map, Value};

use crate::error::Failure;

/// An object of the request, and where it stands in it.
#[derive(Debug)]
pub(super) struct Fields {
    map: Map<String, Value>,
    /// `""` for the body, `input[3]`, `text.format`, …
    path: String,
}

impl Fields {
    pub(super) fn of(map: Map<String, Value>, path: impl Into<String>) -> Self {
        Self { map, path: path.into() }
    }

    /// An object, or a failure at `path`.
    pub(super) fn from_value(value: Value, path: impl Into<String>) -> Result<Self, Failure> {
        let path = path.into();
        match value {
            Value::Object(map) => Ok(Self { map, path }),
            other => Err(wrong(&path, "an object", &other)),
        }
    }

    /// The full path of a member.
    pub(super) fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub(super) fn peek(&self, name: &str) -> Option<&Value> {
        self.map.get(name).filter(|v| !v.is_null())
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        // Keeps the order of the others.
        self.map.shift_remove(name).filter(|v| !v.is_null())
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(&self.at(name), "a text", &other)),
        }
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, Failure> {
        self.read(name, "true or false", Value::as_bool)
    }

    pub(super) fn number(&mut self, name: &str) -> Result<Option<f64>, Failure> {
        self.read(name, "a number", Value::as_f64)
    }

    pub(super) fn count<T: TryFrom<u64>>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        self.read(name, "a whole number that is not negative", |v| v.as_u64().and_then(|n| n.try_into().ok()))
    }

    pub(super) fn list(&mut self, name: &str) -> Result<Option<Vec<Value>>, Failure> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(other) => Err(wrong(&self.at(name), "a list", &other)),
        }
    }

    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>, Failure> {
        let path = self.at(name);
        self.take(name).map(|value| Self::from_value(value, path)).transpose()
    }

    /// A member that must be there.
    pub(super) fn needed<T>(&self, name: &str, value: Option<T>, what: &str) -> Result<T, Failure> {
        value.ok_or_else(|| {
            let path = self.at(name);
            Failure::invalid(path.clone(), format!("`{path}` is missing: {what}"))
        })
    }

    /// The object as it came, less what was taken.
    pub(super) fn into_map(self) -> Map<String, Value> {
        self.map
    }

    /// What nobody took, without nulls.
    pub(super) fn rest(self) -> Map<String, Value> {
        self.map.into_iter().filter(|(_, v)| !v.is_null()).collect()
    }

    fn read<T>(&mut self, name: &str, wanted: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>, Failure> {
        let Some(value) = self.take(name) else { return Ok(None) };
        read(&value).map(Some).ok_or_else(|| wrong(&self.at(name), wanted, &value))
    }
}

/// The failure for a value of the wrong type; says the type, never the value, which may be text of a prompt.
pub(super) fn wrong(path: &str, wanted: &str, found: &Value) -> Failure {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "this number",
        Value::String(_) => "this text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Failure::invalid(path, format!("`{path}` must be {wanted}, not {found}"))
}

/// The failure for a word that is not one of those allowed.
pub(super) fn unknown(path: &str, found: &str, allowed: &str) -> Failure {
    Failure::invalid(path, format!("`{path}` is {found:?}: {allowed} are allowed"))
}
