//! Where things are: the tree, the build's output, the user's data and the cache.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::environment;

/// The project's root.
pub(crate) fn root() -> PathBuf {
    let manifest = environment::path("CARGO_MANIFEST_DIR").unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    manifest.ancestors().nth(2).unwrap_or(Path::new(".")).to_path_buf()
}

/// Cargo's output folder.
pub(crate) fn target() -> PathBuf {
    root().join(environment::path("CARGO_TARGET_DIR").unwrap_or_else(|| PathBuf::from("target")))
}

/// A built program: `target/<profile>/<name>`.
pub(crate) fn program(profile: &str, name: &str) -> PathBuf {
    target().join(profile).join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// The router's data directory, by the same rule as its own: `LLM_ROUTER_DATA_DIR`, else `~/.llm-router`.
pub(crate) fn data_dir() -> Result<PathBuf> {
    match environment::path("LLM_ROUTER_DATA_DIR") {
        Some(path) => Ok(path),
        None => Ok(home()?.join(".llm-router")),
    }
}

/// What can be thrown away and made again: tools and virtual environments.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let base = match environment::path("XDG_CACHE_HOME") {
        Some(path) => path,
        None => home()?.join(".cache"),
    };
    Ok(base.join("llm-router"))
}

/// The user's home.
pub(crate) fn home() -> Result<PathBuf> {
    environment::path("HOME").or_else(|| environment::path("USERPROFILE")).context("HOME is not set")
}
