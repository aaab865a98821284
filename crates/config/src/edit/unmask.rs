//! Secrets that were shown masked and come back masked: what they stand for is put in their place.

use std::ops::Range;

use serde_json::Value;

use super::{Document, holds_secret, is_revealed, name_of_member, pieces, render};
use crate::problems::Problem;
use crate::secret::{MASK, mask_url};
use pieces::{Piece, Shape};

impl Document {
    /// Puts the secrets of `known` in the place of masks. Items of lists are the same where their names are, or without names where the lists
    /// are equally long.
    ///
    /// # Errors
    /// Every mask that stands for nothing.
    pub fn unmask(&mut self, known: &Self) -> Result<(), Vec<Problem>> {
        let Some(root) = self.root() else { return Ok(()) };
        let mut found = Found { text: &self.text, secrets: Vec::new(), lost: Vec::new() };
        found.walk(&root, &self.says, Some(&known.says), "", false);
        if !found.lost.is_empty() {
            return Err(found.lost);
        }
        let mut text = self.text.clone();
        for (span, secret) in found.secrets.into_iter().rev() {
            text.replace_range(span, &secret);
        }
        *self = Self::new(text, &self.path).map_err(|error| vec![Problem::of(&error)])?;
        Ok(())
    }
}

struct Found<'a> {
    text: &'a str,
    /// In the order of the text.
    secrets: Vec<(Range<usize>, String)>,
    lost: Vec<Problem>,
}

impl Found<'_> {
    fn walk(&mut self, piece: &Piece, says: &Value, known: Option<&Value>, path: &str, is_secret: bool) {
        match &piece.shape {
            Shape::List { items, .. } => {
                let all = says.as_array().map(Vec::as_slice).unwrap_or_default();
                for (at, (item, says)) in items.iter().zip(all).enumerate() {
                    let twin = known.and_then(|known| twin(all, at, known.as_array()?));
                    self.walk(item, says, twin, &format!("{path}[{at}]"), is_secret);
                }
            }
            Shape::Map { entries, .. } => {
                let is_secret = is_secret && !is_revealed(entries);
                for entry in entries {
                    let below = if path.is_empty() { entry.name.clone() } else { format!("{path}.{}", entry.name) };
                    let known = known.and_then(|known| known.get(&entry.name));
                    let is_secret = is_secret || holds_secret(&entry.name, known.and_then(Value::as_str));
                    self.walk(&entry.value, &says[entry.name.as_str()], known, &below, is_secret);
                }
            }
            Shape::Inline | Shape::Text => self.scalar(piece, says, known, path, is_secret),
            Shape::Alias => {}
        }
    }

    fn scalar(&mut self, piece: &Piece, says: &Value, known: Option<&Value>, path: &str, is_secret: bool) {
        let Some(said) = says.as_str() else { return };
        let is_block = piece.shape == Shape::Text;
        // Inside a block quotes are part of the text.
        let is_mask = said == MASK || (is_block && said.trim().trim_matches('"') == MASK);
        let secret = match known {
            _ if is_secret && is_mask => known.filter(|known| !known.is_null() && !known.is_object() && !known.is_array()),
            _ if said.contains(&format!(":{MASK}@")) => known.filter(|known| known.as_str().is_some_and(|known| mask_url(known) == said)),
            _ => return,
        };
        match secret {
            Some(Value::String(secret)) if is_block => {
                let line_start = self.text[..piece.span.start].rfind('\n').map_or(0, |at| at + 1);
                let between = format!("\n{}", " ".repeat(piece.span.start - line_start));
                self.secrets.push((piece.span.clone(), secret.trim_end().split('\n').collect::<Vec<_>>().join(&between)));
            }
            Some(secret) => self.secrets.push((piece.span.clone(), render::flow(secret))),
            None => self.lost.push(Problem {
                message: format!("{path}: `{MASK}` stands for a secret that the configuration in force does not have here: write it out"),
                key: Some(path.to_owned()),
                line: Some(self.text[..piece.span.start].matches('\n').count() as u64 + 1),
            }),
        }
    }
}

/// The item of `known` that the item at a place of `all` is.
fn twin<'k>(all: &[Value], at: usize, known: &'k [Value]) -> Option<&'k Value> {
    match name_of_member(&all[at]) {
        Some(name) => known.iter().find(|other| name_of_member(other) == Some(name)),
        None if all.len() == known.len() => known.get(at),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn document(text: &str) -> Document {
        Document::new(text, Path::new("router.yaml")).unwrap()
    }

    const KNOWN: &str = "# ours\naccounts:\n  - name: a # first\n    api_key: sk-a\n    base_url: http://u:pw@h\n    api_key_env: nt0123456789abcdef\n  - {name: b, api_key: 'it''s', headers: {x: y}}\n\
                         auth:\n  keys: [k1, 2222]\n  master: |\n    m-1\n  jwt_secret: env:JWT\n  admin_password: env:jt0123456789abcdef\n";

    #[test]
    fn what_is_shown_masked_comes_back_as_it_was() {
        let known = document(KNOWN);
        let shown = known.masked().unwrap();
        for secret in ["sk-a", "pw", "it''s", "x: y", "k1", "2222", "m-1", "jt0123456789abcdef", "nt0123456789abcdef"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        let mut back = document(&shown);
        back.unmask(&known).unwrap();
        assert_eq!(back.says, known.says);
        assert!(back.text().contains("# ours") && back.text().contains("# first") && back.text().contains("env:JWT"));
    }

    #[test]
    fn accounts_are_known_by_their_names() {
        let mut moved =
            document("accounts:\n  - {name: b, api_key: \"***\"}\n  - {name: c, api_key: sk-c}\n  - {name: a, api_key: '***'}\n");
        moved.unmask(&document(KNOWN)).unwrap();
        let keys: Vec<_> = moved.says["accounts"].as_array().unwrap().iter().map(|a| a["api_key"].as_str().unwrap()).collect();
        assert_eq!(keys, ["it's", "sk-c", "sk-a"]);
    }

    #[test]
    fn a_mask_that_stands_for_nothing_is_named_with_its_line() {
        let mut strange = document(
            "accounts:\n  - {name: z, api_key: '***'}\n  - name: a\n    base_url: http://u:***@elsewhere\nauth:\n  keys: ['***']\n",
        );
        let lost = strange.unmask(&document(KNOWN)).unwrap_err();
        let said: Vec<_> = lost.iter().map(|p| (p.key.as_deref().unwrap(), p.line)).collect();
        assert_eq!(said, [("accounts[0].api_key", Some(2)), ("accounts[1].base_url", Some(4)), ("auth.keys[0]", Some(6))]);
        // A text of stars that is no secret is a text.
        document("default_model: '***'\n").unmask(&document(KNOWN)).unwrap();
    }
}
