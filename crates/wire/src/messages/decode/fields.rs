//! Members taken out of a JSON object one by one; `null` is absent, a wrong type is an error that names the member's path.

use serde_json::{Map, Value};

use crate::error::Failure;

/// An object being read.
pub(super) struct Fields {
    members: Map<String, Value>,
    /// Where the object stands; empty for the body itself.
    path: String,
}

impl Fields {
    pub(super) fn new(members: Map<String, Value>, path: impl Into<String>) -> Self {
        Self { members, path: path.into() }
    }

    /// An object at a path.
    pub(super) fn of(value: Value, path: impl Into<String>) -> Result<Self, Failure> {
        let path = path.into();
        match value {
            Value::Object(members) => Ok(Self { members, path }),
            _ => Err(Failure::invalid(path.clone(), format!("`{path}` must be an object"))),
        }
    }

    /// Where a member stands.
    pub(super) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The failure for a member: what is allowed.
    pub(super) fn wrong(&self, key: &str, allowed: &str) -> Failure {
        let path = self.path(key);
        Failure::invalid(path.clone(), format!("`{path}` {allowed}"))
    }

    /// A member of any type.
    pub(super) fn any(&mut self, key: &str) -> Option<Value> {
        self.members.shift_remove(key).filter(|v| !v.is_null())
    }

    fn take<T>(&mut self, key: &str, allowed: &str, read: impl FnOnce(Value) -> Option<T>) -> Result<Option<T>, Failure> {
        match self.any(key) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.wrong(key, allowed)),
        }
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, Failure> {
        self.take(key, "must be a string", |v| match v {
            Value::String(text) => Some(text),
            _ => None,
        })
    }

    pub(super) fn needed_text(&mut self, key: &str) -> Result<String, Failure> {
        self.text(key)?.ok_or_else(|| self.wrong(key, "is missing: a string is needed"))
    }

    pub(super) fn number(&mut self, key: &str) -> Result<Option<f64>, Failure> {
        self.take(key, "must be a number", |v| v.as_f64())
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, Failure> {
        self.take(key, "must be true or false", |v| v.as_bool())
    }

    /// A whole number, 0 or more. One beyond `u32` is a number of tokens that no model has: it is cut.
    pub(super) fn count(&mut self, key: &str) -> Result<Option<u32>, Failure> {
        let count = self.take(key, "must be a whole number, 0 or more", |v| v.as_u64())?;
        Ok(count.map(|n| u32::try_from(n).unwrap_or(u32::MAX)))
    }

    pub(super) fn list(&mut self, key: &str) -> Result<Option<Vec<Value>>, Failure> {
        self.take(key, "must be a list", |v| match v {
            Value::Array(items) => Some(items),
            _ => None,
        })
    }

    pub(super) fn object(&mut self, key: &str) -> Result<Option<Fields>, Failure> {
        let path = self.path(key);
        self.any(key).map(|value| Self::of(value, path)).transpose()
    }

    /// Puts a member back.
    pub(super) fn put(&mut self, key: &str, value: Value) {
        self.members.insert(key.to_owned(), value);
    }

    /// Takes everything that is left.
    pub(super) fn drain(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.members)
    }

    /// What nobody took, under full paths; members that say nothing (`null`, empty lists) are left out.
    pub(super) fn keep_rest(self, extra: &mut Map<String, Value>) {
        let Self { members, path } = self;
        let says_something = |v: &Value| !v.is_null() && v.as_array().is_none_or(|a| !a.is_empty());
        extra.extend(members.into_iter().filter(|(_, v)| says_something(v)).map(|(key, value)| (format!("{path}.{key}"), value)));
    }
}
