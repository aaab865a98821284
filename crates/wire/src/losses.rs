//! What a translation could not carry, as data.

use serde::{Deserialize, Serialize};

/// Most paths that are kept of one translation; a last one, [`MORE`], stands for the others.
pub const PATHS_MAX: usize = 512;

/// Stands for paths beyond [`PATHS_MAX`], and in the header for those beyond its length.
pub const MORE: &str = "...";

/// Longest value of the header, in bytes.
const HEADER_BYTES_MAX: usize = 2048;

/// Parts of a request or an answer that a translation dropped or changed. Empty means that nothing was lost.
///
/// Paths are those of the inner language (`messages[1].blocks[0]`, `tools[2].cache`, `temperature`) or names of the caller's own members
/// (`previous_response_id`). Those of an answer begin with `answer.`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Paths of what is gone.
    pub dropped: Vec<String>,
    /// Paths of what arrived in another form.
    pub changed: Vec<String>,
}

impl Losses {
    /// Notes that something is gone.
    pub fn drop(&mut self, path: impl Into<String>) {
        note(&mut self.dropped, path.into());
    }

    /// Notes that something has another form.
    pub fn change(&mut self, path: impl Into<String>) {
        note(&mut self.changed, path.into());
    }

    /// Whether everything was carried.
    pub fn is_exact(&self) -> bool {
        self.dropped.is_empty() && self.changed.is_empty()
    }

    /// Takes over what another translation lost.
    pub fn extend(&mut self, other: Self) {
        other.dropped.into_iter().for_each(|path| self.drop(path));
        other.changed.into_iter().for_each(|path| self.change(path));
    }

    /// The value of `x-llm-router-fidelity`: `exact` or `lossy; dropped=a,b; changed=c`. Visible ASCII of a bounded length, whatever
    /// names the caller gave to its members.
    pub fn header(&self) -> String {
        if self.is_exact() {
            return "exact".to_owned();
        }
        let mut text = "lossy".to_owned();
        for (word, paths) in [("dropped", &self.dropped), ("changed", &self.changed)] {
            for (at, path) in paths.iter().enumerate() {
                if text.len() + path.len() > HEADER_BYTES_MAX {
                    text.push_str(if at == 0 { "; " } else { "," });
                    text.push_str(MORE);
                    break;
                }
                if at == 0 {
                    text.push_str("; ");
                    text.push_str(word);
                    text.push('=');
                } else {
                    text.push(',');
                }
                text.extend(path.chars().map(|c| if c.is_ascii_graphic() && !matches!(c, ',' | ';') { c } else { '_' }));
            }
        }
        text
    }
}

fn note(paths: &mut Vec<String>, path: String) {
    if paths.len() > PATHS_MAX || paths.contains(&path) {
        return;
    }
    paths.push(if paths.len() == PATHS_MAX { MORE.to_owned() } else { path });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_noted_once() {
        let mut losses = Losses::default();
        for path in ["n", "seed", "n"] {
            losses.drop(path);
        }
        losses.change("n");
        assert_eq!(losses.header(), "lossy; dropped=n,seed; changed=n");
    }

    #[test]
    fn the_header_is_legal_and_bounded_whatever_names_there_are() {
        let mut losses = Losses::default();
        losses.drop("a\r\nx-evil: 1;é,");
        assert_eq!(losses.header(), "lossy; dropped=a__x-evil:_1___");
        for n in 0..5000 {
            losses.change(format!("messages[{n}].blocks[0].detail"));
        }
        assert_eq!(losses.changed.len(), PATHS_MAX + 1);
        assert_eq!(losses.changed.last().map(String::as_str), Some(MORE));
        assert!(losses.header().len() < HEADER_BYTES_MAX + 16 && losses.header().ends_with(MORE));
        let mut long = Losses::default();
        long.drop("x".repeat(1 << 20));
        assert_eq!(long.header(), "lossy; ...");
    }
}
