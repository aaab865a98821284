//! Reads an object inside a list or map of the file (an account, a model, a route): known keys only, each with its type.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::ConfigError;
use crate::known;
use crate::setting::Setting;
use crate::tree::{Node, Value, shorten, sounds_secret};

/// A key of such an object, for the check and for the reference.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) meaning: &'static str,
}

/// Shorthand for tables.
pub(crate) const fn field(name: &'static str, meaning: &'static str) -> Field {
    Field { name, meaning }
}

/// Where a tree came from, for messages.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) file: Option<&'a Path>,
    /// What to say where there is no file.
    pub(crate) otherwise: &'a str,
}

impl Place<'_> {
    pub(crate) fn at(&self, line: u64) -> String {
        match self.file {
            Some(file) => known::place(Some(file), line),
            None => self.otherwise.to_owned(),
        }
    }
}

/// An object whose keys have been checked.
pub(crate) struct Fields<'a> {
    node: &'a Node,
    pub(crate) path: String,
    pub(crate) place: Place<'a>,
}

impl<'a> Fields<'a> {
    /// Errors: it is no object, or has a key that the table lacks.
    pub(crate) fn new(node: &'a Node, path: String, table: &[Field], place: Place<'a>) -> Result<Self, ConfigError> {
        let fields = Self::open(node, path, place)?;
        for entry in node.entries() {
            if table.iter().all(|f| f.name != entry.key) {
                let key = format!("{}.{}", fields.path, entry.key);
                return Err(ConfigError::UnknownKey {
                    at: place.at(entry.line),
                    nearest: known::nearest(&entry.key, table.iter().map(|f| f.name)),
                    key,
                });
            }
        }
        Ok(fields)
    }

    /// As [`Fields::new`], with unknown keys told to `warn` instead.
    pub(crate) fn lenient(
        node: &'a Node,
        path: String,
        table: &[Field],
        place: Place<'a>,
        warn: &mut Vec<String>,
    ) -> Result<Self, ConfigError> {
        let fields = Self::open(node, path, place)?;
        for entry in node.entries().iter().filter(|e| table.iter().all(|f| f.name != e.key)) {
            warn.push(format!("{}: {}.{} has no effect", place.at(entry.line), fields.path, entry.key));
        }
        Ok(fields)
    }

    fn open(node: &'a Node, path: String, place: Place<'a>) -> Result<Self, ConfigError> {
        if matches!(node.value, Value::Map(_) | Value::Null) {
            return Ok(Self { node, path, place });
        }
        let value = if sounds_secret(path.rsplit('.').next().unwrap_or_default()) { crate::secret::MASK.to_owned() } else { node.brief() };
        Err(ConfigError::Value { name: path, value, origin: place.at(node.line), allowed: "a mapping".to_owned() })
    }

    /// The value of a key, if it was written.
    pub(crate) fn optional<T: Setting>(&self, key: &str) -> Result<Option<T>, ConfigError> {
        let Some(node) = self.node(key) else { return Ok(None) };
        T::from_node(node).map(Some).ok_or_else(|| self.wrong(key, node, T::allowed()))
    }

    /// The value of a key, or of an older word for it.
    pub(crate) fn either<T: Setting>(&self, key: &str, older: &str) -> Result<Option<T>, ConfigError> {
        Ok(match self.optional(key)? {
            Some(found) => Some(found),
            None => self.optional(older)?,
        })
    }

    /// The value of a key that must be there.
    pub(crate) fn required<T: Setting>(&self, key: &str) -> Result<T, ConfigError> {
        self.optional(key)?
            .ok_or_else(|| ConfigError::Invalid(format!("{}: {}.{key} is missing", self.place.at(self.node.line), self.path)))
    }

    /// A map of texts; empty where it was not written.
    pub(crate) fn texts(&self, key: &str) -> Result<BTreeMap<String, String>, ConfigError> {
        let Some(node) = self.node(key) else { return Ok(BTreeMap::new()) };
        let below = Self::open(node, format!("{}.{key}", self.path), self.place)?;
        let pair = |entry: &crate::tree::Entry| {
            let text = entry.node.scalar().ok_or_else(|| below.wrong(&entry.key, &entry.node, "a text".to_owned()))?;
            Ok((entry.key.clone(), text))
        };
        node.entries().iter().map(pair).collect()
    }

    /// Where a key stands: file and line.
    pub(crate) fn at(&self, key: &str) -> String {
        self.place.at(self.node.get(key).map_or(self.node.line, |node| node.line))
    }

    /// The node of a key, if it has a value.
    pub(crate) fn node(&self, key: &str) -> Option<&'a Node> {
        self.node.get(key).filter(|n| n.scalar().is_none_or(|text| !text.trim().is_empty()))
    }

    /// An object below this one.
    pub(crate) fn below(&self, key: &str, table: &[Field]) -> Result<Fields<'a>, ConfigError> {
        let node = self.node.get(key).unwrap_or(&Node::NOTHING);
        Fields::new(node, format!("{}.{key}", self.path), table, self.place)
    }

    /// The line of the object.
    pub(crate) fn line(&self) -> u64 {
        self.node.line
    }

    /// What to say of a value that is not what it should be.
    pub(crate) fn wrong(&self, key: &str, node: &Node, allowed: String) -> ConfigError {
        let value = if sounds_secret(key) { crate::secret::MASK.to_owned() } else { shorten(&crate::secret::mask_url(&node.brief())) };
        ConfigError::Value { name: format!("{}.{key}", self.path), value, origin: self.place.at(node.line), allowed }
    }
}
