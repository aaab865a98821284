//! The environment as one map: the process's variables over those of `.env` in the working directory. An empty value counts as not set.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::dotenv;
use crate::error::ConfigError;

/// Most bytes of `.env` that are read.
const DOTENV_BYTES_MAX: u64 = 1 << 20;

/// What a program was given besides its arguments. The only reader of the process's environment in the product.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, Variable>,
    cwd: PathBuf,
    home: Option<PathBuf>,
}

#[derive(Clone)]
struct Variable {
    text: String,
    from: From,
}

/// Where a variable came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Process,
    DotEnv,
    /// This line of the configuration's file.
    File(u64),
}

impl Environment {
    /// The environment of this process, with `.env` of its working directory read anew at every call (so that a reload sees
    /// changes there). Errors: `.env` exists but can't be read or has a line that is no assignment.
    pub fn of_process() -> Result<Self, ConfigError> {
        let cwd = std::env::current_dir().unwrap_or_default();
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
        let process = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let mut env = Self::from_parts(process, cwd)?;
        // Services are started without the variable; the system knows it all the same.
        env.home = env.home.or_else(std::env::home_dir);
        Ok(env)
    }

    /// As [`Environment::of_process`], from given variables and working directory.
    pub fn from_parts(process: impl IntoIterator<Item = (String, String)>, cwd: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        let mut env = Self::from_map(process);
        env.cwd = cwd.into();
        let path = env.cwd.join(".env");
        if let Some(text) = read_dotenv(&path)? {
            env.add_dotenv(&text).map_err(|line| ConfigError::Syntax {
                path,
                line: line as u64,
                column: 1,
                message: "this line is no NAME=value".to_owned(),
            })?;
        }
        Ok(env)
    }

    /// Only the given variables, no `.env`; for tests.
    pub fn from_map<N: Into<String>, V: Into<String>>(process: impl IntoIterator<Item = (N, V)>) -> Self {
        let named = process.into_iter().map(|(name, value)| (name.into(), Variable { text: value.into(), from: From::Process }));
        let variables: BTreeMap<String, Variable> = named.filter(|(_, v)| !v.text.trim().is_empty()).collect();
        let home = ["HOME", "USERPROFILE"].iter().find_map(|name| variables.get(*name)).map(|v| PathBuf::from(&v.text));
        Self { variables, cwd: PathBuf::new(), home }
    }

    /// An executable of this name: beside this program, else on the search path.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        let beside = std::env::current_exe().ok().map(|own| own.with_file_name(name));
        let on_path = self.get("PATH").into_iter().flat_map(std::env::split_paths).map(|dir| dir.join(name));
        beside.into_iter().chain(on_path).find(|path| path.is_file())
    }

    /// Adds what a `.env` text says beneath the process's variables. The error is the 1-based line that is no assignment.
    pub(crate) fn add_dotenv(&mut self, text: &str) -> Result<(), usize> {
        let mut added = BTreeMap::new();
        for (name, text) in dotenv::parse(text)? {
            added.insert(name, text);
        }
        for (name, text) in added {
            if !text.trim().is_empty() {
                self.variables.entry(name).or_insert(Variable { text, from: From::DotEnv });
            }
        }
        Ok(())
    }

    /// The value of `name` without blanks at its ends, `None` where it is unset or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|v| v.text.trim())
    }

    /// Whether the value of `name` came from `.env`.
    pub fn is_from_dotenv(&self, name: &str) -> bool {
        self.variables.get(name).is_some_and(|v| v.from == From::DotEnv)
    }

    /// The line of the configuration's file that the value of `name` came from, if it did.
    pub(crate) fn line_of(&self, name: &str) -> Option<u64> {
        match self.variables.get(name)?.from {
            From::File(line) => Some(line),
            From::Process | From::DotEnv => None,
        }
    }

    /// With variables of the configuration's file, each with its line, beneath all others.
    pub(crate) fn over(&self, of_file: impl IntoIterator<Item = (String, String, u64)>) -> Self {
        let mut env = self.clone();
        for (name, text, line) in of_file.into_iter().filter(|(_, text, _)| !text.trim().is_empty()) {
            env.variables.entry(name).or_insert(Variable { text, from: From::File(line) });
        }
        env
    }

    /// The same without one variable.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let mut env = self.clone();
        env.variables.remove(name);
        env
    }

    /// Every name that has a value, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }

    /// The working directory; empty where it is not known.
    pub fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// The user's home directory, where the environment names one.
    pub fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }
}

/// Names only: values may be secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("names", &self.variables.keys()).field("cwd", &self.cwd).finish_non_exhaustive()
    }
}

fn read_dotenv(path: &Path) -> Result<Option<String>, ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.to_owned(), reason };
    match std::fs::metadata(path) {
        Ok(about) if about.len() > DOTENV_BYTES_MAX => Err(unreadable(format!("it is larger than {DOTENV_BYTES_MAX} bytes"))),
        // A directory named .env (a Python environment, say) is not ours.
        Ok(about) if !about.is_file() => Ok(None),
        Ok(_) => std::fs::read_to_string(path).map(Some).map_err(|e| unreadable(e.to_string())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(unreadable(e.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(process: &[(&str, &str)], dotenv: &str) -> Environment {
        let mut env = Environment::from_map(process.iter().copied());
        env.add_dotenv(dotenv).unwrap();
        env
    }

    #[test]
    fn the_process_wins_over_the_file_and_an_empty_value_is_none() {
        let env = env(&[("A", "process"), ("B", ""), ("C", "  ")], "A=file\nB=file\nD=first\nD=second\nE=\n");
        assert_eq!(
            [env.get("A"), env.get("B"), env.get("C"), env.get("D"), env.get("E")],
            [Some("process"), Some("file"), None, Some("second"), None]
        );
        assert!(env.is_from_dotenv("B") && !env.is_from_dotenv("A"));
    }

    #[test]
    fn debug_shows_no_value() {
        assert!(!format!("{:?}", env(&[("KEY", "sk-secret")], "B=sk-other")).contains("sk-"));
    }

    #[test]
    fn a_broken_file_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".env"), "A=1\nwhat\n").unwrap();
        let said = Environment::from_parts([], dir.path()).unwrap_err().to_string();
        assert!(said.contains(".env") && said.contains("line 2"), "{said}");
    }

    #[test]
    fn a_directory_of_that_name_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(".env")).unwrap();
        assert!(Environment::from_parts([], dir.path()).is_ok());
    }
}
