//! The forms of a secret in settings: literal, `env:NAME`, `os.environ/NAME`, `file:PATH`.

use std::{fmt::Display, path::Path};

use crate::env::Environment;
use crate::error::ConfigError;
use crate::file;
use crate::secret::{Secret, mask_keys};

/// What a text in the place of a secret turned out to be.
pub(crate) enum Reference {
    Found(Secret),
    /// It refers to this variable, which has no value. To be told: masked where somebody wrote the key itself there.
    Unset(String),
    /// It is an empty text or file.
    Empty,
}

/// The variable that a text refers to, if it does.
pub(crate) fn variable(text: &str) -> Option<&str> {
    text.strip_prefix("env:").or_else(|| text.strip_prefix("os.environ/")).map(str::trim)
}

/// The secret behind the text that `at` (file and line) says for `name`. A file's line end is no part of it. Errors: the file can't be read.
pub(crate) fn resolve(
    text: &str,
    (at, name): (&dyn Display, &str),
    env: &Environment,
    cwd: &Path,
    home: Option<&Path>,
) -> Result<Reference, ConfigError> {
    let text = text.trim();
    if let Some(name) = variable(text) {
        return Ok(env.get(name).and_then(Secret::new).map_or_else(|| Reference::Unset(mask_keys(name)), Reference::Found));
    }
    if let Some(path) = text.strip_prefix("file:") {
        let path = cwd.join(file::expand_home(Path::new(path.trim()), home));
        let inside = file::read_text(&path).map_err(|error| dangling(at, name, error.to_string()))?;
        return Ok(Secret::new(inside.trim()).map_or(Reference::Empty, Reference::Found));
    }
    Ok(Secret::new(text).map_or(Reference::Empty, Reference::Found))
}

/// The error of something that has to be there.
pub(crate) fn dangling(at: impl Display, name: &str, reason: String) -> ConfigError {
    ConfigError::Dangling { at: at.to_string(), name: name.to_owned(), reason }
}

/// The error of a variable that has to be set.
pub(crate) fn unset(at: impl Display, name: &str, variable: &str) -> ConfigError {
    dangling(at, name, format!("the variable {variable} is not set"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), "sk-file\n").unwrap();
        let env = Environment::from_map([("KEY", "sk-env")]);
        let found = |text: &str| match resolve(text, (&"r.yaml line 3", "auth.jwt"), &env, dir.path(), Some(dir.path())).unwrap() {
            Reference::Found(secret) => secret.expose().to_owned(),
            Reference::Unset(name) => format!("unset {name}"),
            Reference::Empty => "empty".to_owned(),
        };
        for (text, want) in [
            ("env:KEY", "sk-env"),
            ("os.environ/KEY", "sk-env"),
            ("env:NO", "unset NO"),
            ("os.environ/sk-0123456789abcdefABCDEF", "unset sk-***"),
            ("file:key", "sk-file"),
            ("file:~/key", "sk-file"),
            ("sk-plain", "sk-plain"),
            (" ", "empty"),
        ] {
            assert_eq!(found(text), want, "{text}");
        }
        let said = resolve("file:nowhere", (&"r.yaml line 3", "auth.jwt"), &env, dir.path(), None).err().unwrap().to_string();
        assert!(said.starts_with("r.yaml line 3: auth.jwt: ") && said.contains("nowhere can't be read"), "{said}");
    }
}
