//! The effective settings with their origins, for `config show` and the control plane.

use std::fmt;
use std::path::PathBuf;

use crate::load::Loaded;

/// One setting as it is in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The key in the file, with dots and `[n]`.
    pub key: String,
    /// Its value as text; `***` for a secret.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This flag.
    Flag(&'static str),
    /// This variable of the process.
    Environment(String),
    /// This variable in `.env`.
    DotEnv(String),
    /// A line of the file.
    File {
        /// The file.
        path: PathBuf,
        /// From 1; 0 where it is not known.
        line: u64,
    },
    /// Nobody wrote it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::DotEnv(name) => write!(f, ".env {name}"),
            Self::File { path, line: 0 } => write!(f, "{}", path.display()),
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The settings as lines `key = value  # origin`, under the name of the file.
pub fn show_text(loaded: &Loaded) -> String {
    use fmt::Write;
    let mut out = match &loaded.file {
        Some(path) => format!("# file: {}\n", path.display()),
        None => "# file: none\n".to_owned(),
    };
    let widest = loaded.shown.iter().map(|s| s.key.len() + s.value.len()).filter(|n| *n < 72).max().unwrap_or(0);
    for Shown { key, value, origin } in &loaded.shown {
        let blank = widest.saturating_sub(key.len() + value.len());
        let _ = writeln!(out, "{key} = {value}{:blank$}  # {origin}", "");
    }
    for warning in &loaded.warnings {
        let _ = writeln!(out, "# warning: {warning}");
    }
    out
}

/// The same as JSON: `{file, settings: {key: {value, origin}}, warnings}`.
pub fn show_json(loaded: &Loaded) -> serde_json::Value {
    let settings: serde_json::Map<String, serde_json::Value> =
        loaded.shown.iter().map(|s| (s.key.clone(), serde_json::json!({"value": s.value, "origin": s.origin.to_string()}))).collect();
    serde_json::json!({"file": loaded.file.as_ref().map(|p| p.display().to_string()), "settings": settings, "warnings": loaded.warnings})
}
