//! What can be wrong with the settings, by what the operator has to change. No text of a secret is ever part of it.

use std::path::PathBuf;

use crate::secret::mask_keys;

/// Why there is no configuration. The message says what, where and what is allowed; it never contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that was named does not exist.
    #[error("the configuration file {} does not exist ({origin})", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// Who named it: a flag or a variable.
        origin: String,
    },
    /// A file exists but can't be read.
    #[error("{} can't be read: {reason}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A file can't be written.
    #[error("{} can't be written: {reason}", .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A file is not in its format.
    #[error("{}, line {line}, column {column}: {}", .path.display(), mask_keys(.message))]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// From 1.
        column: u64,
        /// What the parser said.
        message: String,
    },
    /// A key that no setting has.
    #[error("{at}: unknown key `{}`{}", mask_keys(.key), nearest_text(.nearest.as_deref()))]
    UnknownKey {
        /// File and line.
        at: String,
        /// The key with its path, as `accounts[0].base_ulr`.
        key: String,
        /// The known key of that place that is most like it.
        nearest: Option<String>,
    },
    /// A value of the wrong type or out of its range.
    #[error("{} = {} is not valid ({origin}): {allowed}", mask_keys(.name), mask_keys(.value))]
    Value {
        /// The key, variable or flag as the operator wrote it.
        name: String,
        /// The value, `***` for a secret; what looks like a key is masked in the message.
        value: String,
        /// Where it came from.
        origin: String,
        /// What would be right.
        allowed: String,
    },
    /// A setting refers to a variable or a file that isn't there.
    #[error("{at}: {}: {reason}", mask_keys(.name))]
    Dangling {
        /// File and line, or what else said it.
        at: String,
        /// The key with its path, as `accounts[0].api_key`.
        name: String,
        /// What is missing.
        reason: String,
    },
    /// Values that are right alone and wrong together, or against what exists; what looks like a key is masked, for a name may be one.
    #[error("{}", mask_keys(.0))]
    Invalid(String),
}

fn nearest_text(nearest: Option<&str>) -> String {
    nearest.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default()
}
