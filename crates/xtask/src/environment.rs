//! The build verbs' only look at the environment.
#![expect(clippy::disallowed_methods, reason = "the build verbs don't stand on `config`: they must run before it compiles")]

use std::{env, ffi::OsString, path::PathBuf};

/// The value of `name`, if it is set and not empty.
pub(crate) fn get(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// The same as a path.
pub(crate) fn path(name: &str) -> Option<PathBuf> {
    get(name).map(PathBuf::from)
}

/// Whether this is a run of continuous integration: a missing tool is then an error, not a reason to skip.
pub(crate) fn is_ci() -> bool {
    get("CI").is_some_and(|value| value != "false")
}

/// Where `program` is found on the search path.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let search = get("PATH")?;
    env::split_paths(&search).map(|folder| folder.join(program)).find(|file| file.is_file())
}
