//! Changes to a configuration file that leave everything else as people wrote it: comments, order, quotes, blank lines.
//!
//! A [`Document`] is the text itself. A change replaces the bytes of one value, or adds or takes away its lines; where they stand is known from
//! the spans of a YAML parser. **Invariant.** After each change the text is read anew, and must say exactly what was to be said: where it does
//! not (a file written in a way that is not followed), the change is refused and nothing is touched.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::ConfigError;
use crate::secret::{MASK, mask_keys, mask_url};
use crate::tree::{is_key_itself, sounds_secret};
use crate::{file, secret_ref};

mod accounts;
mod compare;
mod pieces;
mod render;
mod routing;
mod splice;
#[cfg(test)]
mod tests;
mod unmask;
mod write;

pub use accounts::{AccountChange, AccountSecret, add_account, add_model, remove_account};
pub use compare::{Change, changes};
pub use routing::{Learned, Profile, TIERS, set_candidates, set_fallbacks, set_learned, set_profile, set_route};
pub use write::{Target, target};

use pieces::{Piece, Shape};
use splice::{Splice, Stuck};

/// A step to a value: the key of an object, or the place in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// Below this key.
    Key(&'a str),
    /// The item at this place, from 0.
    Item(usize),
}

/// A configuration file as text, with what it says.
#[derive(Clone)]
pub struct Document {
    path: PathBuf,
    text: String,
    says: Value,
}

/// Never what it holds: it may be secret.
impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document").field("path", &self.path).field("bytes", &self.text.len()).finish_non_exhaustive()
    }
}

impl Document {
    /// The text of the file at `path`, which need not exist: the name is for messages.
    ///
    /// # Errors
    /// It is no YAML.
    pub fn new(text: impl Into<String>, path: &Path) -> Result<Self, ConfigError> {
        let text = text.into();
        let says = file::parse(&text, path)?.to_json();
        Ok(Self { path: path.to_owned(), text, says })
    }

    /// The text as it is now.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where it comes from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is said at a path; `None` where nothing is, or null.
    pub fn get(&self, path: &[Step]) -> Option<&Value> {
        let found = path.iter().try_fold(&self.says, |value, step| match step {
            Step::Key(key) => value.get(*key),
            Step::Item(at) => value.get(*at),
        })?;
        (!found.is_null()).then_some(found)
    }

    /// Says `value` at a path, with objects made on the way. What is said already is left as it is.
    ///
    /// # Errors
    /// Something other than an object stands on the way, or the file is written in a way that is not followed there.
    pub fn set(&mut self, path: &[Step], value: &Value) -> Result<(), ConfigError> {
        if self.get(path) == Some(value) {
            return Ok(());
        }
        if let (Some(Value::Array(old)), Value::Array(new)) = (self.get(path).cloned(), value)
            && self.grow(path, &old, new)
        {
            return Ok(());
        }
        let mut wanted = self.says.clone();
        *self.place(&mut wanted, path)? = value.clone();
        let splice = match self.root() {
            Some(root) => splice::set(&self.text, &root, path, value),
            None => Ok(self.appended(&wanted)),
        };
        self.apply(splice, wanted)
    }

    /// Adds an item at the end of a list; makes the list where there is none.
    ///
    /// # Errors
    /// As [`Document::set`]; something other than a list stands there.
    pub fn push(&mut self, path: &[Step], value: &Value) -> Result<(), ConfigError> {
        match self.get(path) {
            Some(Value::Array(items)) if !items.is_empty() => {}
            Some(Value::Array(_)) | None => return self.set(path, &Value::Array(vec![value.clone()])),
            Some(_) => return Err(self.refused(&format!("{} is no list", name_of(path)))),
        }
        let mut wanted = self.says.clone();
        if let Value::Array(items) = self.place(&mut wanted, path)? {
            items.push(value.clone());
        }
        let root = self.root().ok_or_else(|| self.stuck(0))?;
        let list = path.iter().try_fold(&root, |piece, step| splice::below(piece, step));
        let splice = list.ok_or(Stuck(0)).and_then(|list| splice::push(&self.text, &root, list, value));
        self.apply(splice, wanted)
    }

    /// Takes away what is said at a path. Nothing is said there: nothing happens.
    ///
    /// # Errors
    /// The file is written in a way that is not followed there.
    pub fn remove(&mut self, path: &[Step]) -> Result<(), ConfigError> {
        let Some((last, before)) = path.split_last() else { return Err(self.stuck(0)) };
        let mut wanted = self.says.clone();
        let gone = match (self.place(&mut wanted, before)?, last) {
            (Value::Object(entries), Step::Key(key)) => entries.shift_remove(*key).is_some(),
            (Value::Array(items), Step::Item(at)) => {
                *at < items.len() && {
                    items.remove(*at);
                    true
                }
            }
            _ => false,
        };
        if !gone {
            return Ok(());
        }
        if wanted == Value::Object(Map::new()) {
            wanted = Value::Null;
        }
        let root = self.root().ok_or_else(|| self.stuck(0))?;
        let splice = splice::remove(&self.text, &root, path);
        self.apply(splice, wanted)
    }

    /// What a file would say, as a person would write it.
    ///
    /// # Errors
    /// It can't be written as YAML that says the same.
    pub fn of_json(says: &Value, path: &Path) -> Result<Self, ConfigError> {
        let text = match says {
            Value::Object(members) if members.is_empty() => String::new(),
            other => format!("{}\n", render::block(other, 0)),
        };
        Self::new(text, path)
    }

    /// The text with every literal secret masked; references (`env:NAME`) stay. `None`: it is written in a way that is not followed, so
    /// nobody knows where its secrets stand.
    pub fn masked(&self) -> Option<String> {
        let mut spans = Vec::new();
        match self.root() {
            Some(root) => secrets(&self.text, &root, false, &mut spans),
            None if self.says.is_null() => {}
            None => return None,
        }
        let mut text = self.text.clone();
        for (span, masked) in spans.into_iter().rev() {
            text.replace_range(span, &render::scalar(&masked));
        }
        Some(text)
    }

    /// Where only items were added or taken away, does just that, so that comments beside the others stay.
    fn grow(&mut self, path: &[Step], old: &[Value], new: &[Value]) -> bool {
        let kept: Vec<&Value> = old.iter().filter(|item| new.contains(item)).collect();
        if kept.is_empty() || !new.iter().zip(&kept).all(|(a, b)| a == *b) || kept.len() > new.len() {
            return false;
        }
        let mut changed = self.clone();
        let mut gone = (0..old.len()).rev().filter(|at| !new.contains(&old[*at]));
        let done = gone.try_for_each(|at| changed.remove(&[path, &[Step::Item(at)]].concat()));
        if done.and_then(|()| new[kept.len()..].iter().try_for_each(|item| changed.push(path, item))).is_err() {
            return false;
        }
        *self = changed;
        true
    }

    /// The value at a path in `says`, objects being made on the way.
    fn place<'v>(&self, says: &'v mut Value, path: &[Step]) -> Result<&'v mut Value, ConfigError> {
        let mut value = says;
        for (depth, step) in path.iter().enumerate() {
            if value.is_null() && matches!(step, Step::Key(_)) {
                *value = Value::Object(Map::new());
            }
            value = match (step, value) {
                (Step::Key(key), Value::Object(entries)) => entries.entry(*key).or_insert(Value::Null),
                (Step::Item(at), Value::Array(items)) if *at < items.len() => &mut items[*at],
                _ => return Err(self.refused(&format!("{} does not hold what it should", name_of(&path[..depth])))),
            };
        }
        Ok(value)
    }

    /// The pieces of the text; `None` where it says nothing at all.
    fn root(&self) -> Option<Piece> {
        pieces::read(&self.text).filter(|root| !(root.span.is_empty() && root.shape == Shape::Inline))
    }

    /// At the end of a text that says nothing yet.
    fn appended(&self, says: &Value) -> Splice {
        let end = self.text.len();
        let before = if self.text.is_empty() || self.text.ends_with('\n') { "" } else { "\n" };
        Splice { range: end..end, text: format!("{before}{}\n", render::block(says, 0)) }
    }

    fn apply(&mut self, splice: Result<Splice, Stuck>, wanted: Value) -> Result<(), ConfigError> {
        let Splice { range, text: mut written } = splice.map_err(|Stuck(at)| self.stuck(at))?;
        if self.text.contains("\r\n") {
            written = written.replace('\n', "\r\n");
        }
        let at = range.start;
        let mut text = self.text.clone();
        text.replace_range(range, &written);
        match file::parse(&text, &self.path) {
            Ok(read) if read.to_json() == wanted => {
                (self.text, self.says) = (text, wanted);
                Ok(())
            }
            _ => Err(self.stuck(at)),
        }
    }

    fn stuck(&self, at: usize) -> ConfigError {
        let line = self.text[..at.min(self.text.len())].matches('\n').count() + 1;
        ConfigError::Invalid(format!(
            "{}, line {line}: what stands here is written in a way that is not changed by a command (an anchor, an alias, a tag, a complex key): change it by hand",
            self.path.display()
        ))
    }

    fn refused(&self, why: &str) -> ConfigError {
        ConfigError::Invalid(format!("{}: {why}", self.path.display()))
    }
}

/// A path as people write it.
fn name_of(path: &[Step]) -> String {
    use std::fmt::Write;
    let mut name = String::new();
    for step in path {
        let _ = match step {
            Step::Key(key) if name.is_empty() => write!(name, "{key}"),
            Step::Key(key) => write!(name, ".{key}"),
            Step::Item(at) => write!(name, "[{at}]"),
        };
    }
    if name.is_empty() { "the file".to_owned() } else { name }
}

/// Of a map among secrets (a key with its name and scopes), whether it says itself which of its members is the secret one.
fn is_revealed(entries: &[pieces::Entry]) -> bool {
    entries.iter().any(|entry| entry.name == "key")
}

/// The name of an item of a list, if it has one.
fn name_of_member(item: &Value) -> Option<&str> {
    ["name", "id"].iter().find_map(|member| item.get(member)?.as_str()).filter(|name| *name != MASK)
}

/// Whether a member holds a secret, or everything below it is one.
fn holds_secret(name: &str, value: Option<&str>) -> bool {
    sounds_secret(name) || name == "master" || value.is_some_and(|value| is_key_itself(name, value))
}

/// What to show for the literal values below keys that sound secret, and for addresses with a password, in the order of the text.
fn secrets(text: &str, piece: &Piece, is_secret: bool, out: &mut Vec<(Range<usize>, String)>) {
    match &piece.shape {
        Shape::List { items, .. } => items.iter().for_each(|item| secrets(text, item, is_secret, out)),
        Shape::Map { entries, .. } => {
            let is_secret = is_secret && !is_revealed(entries);
            for entry in entries {
                let written = text[entry.value.span.clone()].trim_matches(['"', '\'']);
                secrets(text, &entry.value, is_secret || holds_secret(&entry.name, Some(written)), out);
            }
        }
        Shape::Inline | Shape::Text => {
            let written = text[piece.span.clone()].trim_matches(['"', '\'']);
            // Behind `env:` somebody may have written the key itself.
            let refers = secret_ref::variable(written).is_some_and(|name| mask_keys(name) == name) || written.starts_with("file:");
            let masked = if is_secret && !refers && !written.is_empty() { MASK.to_owned() } else { mask_url(written) };
            if masked != written {
                out.push((piece.span.clone(), masked));
            }
        }
        Shape::Alias => {}
    }
}
