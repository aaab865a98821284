//! The checks that run no product code: formatting, clippy, dependency rules, Markdown.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{environment, paths, python, shell, tidy};

/// The checker of licences, bans and sources; pinned, because each version reads `deny.toml` its own way.
const CARGO_DENY_VERSION: &str = "0.20.2";

/// The packages with C++ in them: built and tested in the release profile only, so that the C++ compiles once.
pub(crate) const WITH_CPP: [&str; 2] = ["llama", "worker"];

/// All checks, the quick ones first.
pub(crate) fn lint() -> Result<()> {
    format(true)?;
    tidy::run()?;
    deny()?;
    markdown()?;
    clippy()
}

/// Formats the code, or only checks that it is formatted.
pub(crate) fn format(check: bool) -> Result<()> {
    let mut fmt = shell::command("cargo");
    fmt.args(["fmt", "--all"]);
    if check {
        fmt.arg("--check");
    }
    shell::run(&mut fmt)
}

/// Clippy on everything, warnings as errors.
fn clippy() -> Result<()> {
    let mut without_cpp = shell::cargo("clippy");
    without_cpp.args(["--locked", "--quiet", "--workspace", "--all-targets"]);
    for package in WITH_CPP {
        without_cpp.args(["--exclude", package]);
    }
    shell::run(without_cpp.args(["--", "-D", "warnings"]))?;
    let mut with_cpp = shell::cargo("clippy");
    with_cpp.args(["--locked", "--quiet", "--release", "--all-targets"]);
    for package in WITH_CPP {
        with_cpp.args(["-p", package]);
    }
    shell::run(with_cpp.args(["--", "-D", "warnings"]))
}

/// Licences, bans and sources. Advisories are checked when a release is made: their database is a download of its own.
pub(crate) fn deny() -> Result<()> {
    let mut check = shell::command(cargo_deny()?);
    shell::run(check.args(["--locked", "--log-level", "error", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))
}

/// The pinned cargo-deny: from the search path if it is that version, else from the cache, where it is installed once.
fn cargo_deny() -> Result<PathBuf> {
    let is_pinned = |program: &PathBuf| {
        shell::output(Command::new(program).arg("--version")).is_ok_and(|text| text.trim().ends_with(CARGO_DENY_VERSION))
    };
    if let Some(program) = environment::which("cargo-deny").filter(is_pinned) {
        return Ok(program);
    }
    let folder = paths::cache_dir()?.join(format!("tools/cargo-deny-{CARGO_DENY_VERSION}"));
    let program = folder.join("bin/cargo-deny");
    if !is_pinned(&program) {
        let mut install = shell::cargo("install");
        install.args(["--quiet", "--locked", "cargo-deny", "--version", &format!("={CARGO_DENY_VERSION}"), "--root"]).arg(&folder);
        // The C++ settings of this workspace are nothing to that build, and its output is not ours.
        shell::run(install.env_remove("CARGO_TARGET_DIR").current_dir(paths::home()?))?;
    }
    Ok(program)
}

/// Lints the Markdown files with the rules of `.pymarkdown.json`.
pub(crate) fn markdown() -> Result<()> {
    let is_markdown = |path: &String| Path::new(path).extension().is_some_and(|ending| ending == "md");
    // A fragment is a sentence of a later document, not a document.
    let is_fragment = |path: &String| path.starts_with("changes/") && !path.ends_with("README.md");
    let files: Vec<String> = tidy::tracked_files()?.into_iter().filter(|path| is_markdown(path) && !is_fragment(path)).collect();
    shell::run(python::tool("pymarkdown")?.args(["--config", ".pymarkdown.json", "scan"]).args(files))
}

/// Writes docs/settings.md anew; a test of `config` fails while the page and the tables differ.
pub(crate) fn generate() -> Result<()> {
    shell::run(shell::cargo("test").args(["--locked", "--quiet", "-p", "config", "--", "--ignored", "write_the_reference"]))
}

/// Runs the measuring program; `cargo xtask bench --help` lists its verbs.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    shell::run(shell::cargo("run").args(["--release", "--locked", "--quiet", "-p", "bench", "--"]).args(arguments))
}
