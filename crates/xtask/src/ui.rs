//! The dashboard: built with npm into `ui/dist`, from where the router takes it, and tested in a browser.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{environment, npm, paths, setup, sha256, shell, tidy};

/// What the build reads.
const SOURCES: [&str; 7] =
    ["ui/src/", "ui/public/", "ui/scripts/", "ui/index.html", "ui/package-lock.json", "ui/vite.config.ts", "ui/tsconfig.json"];
/// Vite asks for this, or a later one.
const NODE_MIN: (u32, u32) = (20, 19);

fn folder() -> PathBuf {
    paths::root().join("ui")
}

/// Builds the dashboard, unless what is there was built from the same sources.
pub(crate) fn build() -> Result<()> {
    require()?;
    let stamp = folder().join("dist/.built-from");
    let sources = fingerprint()?;
    if fs::read_to_string(&stamp).is_ok_and(|built| built == sources) {
        println!("ui: the dashboard is built");
        return Ok(());
    }
    install()?;
    run(["run", "build"])?;
    fs::write(&stamp, sources).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Builds the dashboard where there is Node for it. Without it the router serves a page that says what is missing; in continuous
/// integration that is an error.
pub(crate) fn build_if_possible() -> Result<()> {
    match require() {
        Ok(()) => build(),
        Err(error) if environment::is_ci() => Err(error),
        Err(error) => {
            println!("ui: the dashboard is left out: {error:#}");
            Ok(())
        }
    }
}

/// Rules, logic, and every page in a browser: against a router that only looks like one, then against the built executable.
pub(crate) fn test() -> Result<()> {
    build()?;
    install()?;
    run(["run", "lint"])?;
    run(["test"])?;
    setup::install_browser()?;
    run(["run", "test:pages"])?;
    let router = paths::program("release", "llm-router");
    let mut journey = npm_in(&folder());
    shell::run(journey.args(["run", "test:router"]).env("LLM_ROUTER_BIN", router))
}

/// Fails with what to install where there is no Node that is new enough.
fn require() -> Result<()> {
    npm::require()?;
    let version = shell::output(Command::new("node").arg("--version"))?;
    if number(&version).is_none_or(|version| version < NODE_MIN) {
        bail!("the dashboard needs Node {}.{} or later to be built; `node --version` says {}", NODE_MIN.0, NODE_MIN.1, version.trim());
    }
    Ok(())
}

/// Major and minor number of `v20.19.2`.
fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim().strip_prefix('v')?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The packages of the lock file; a folder of somebody's own `npm ci` is used as it is.
fn install() -> Result<()> {
    let own = folder().join("node_modules");
    let is_own = own.is_dir() && !own.is_symlink();
    if is_own { Ok(()) } else { npm::install(&folder()) }
}

fn run<const N: usize>(arguments: [&str; N]) -> Result<()> {
    shell::run(npm_in(&folder()).args(arguments))
}

fn npm_in(folder: &Path) -> Command {
    let mut npm = shell::command("npm");
    npm.current_dir(folder).env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1");
    npm
}

/// One hash over all that the build reads.
fn fingerprint() -> Result<String> {
    let mut text = Vec::new();
    for path in tidy::tracked_files()?.iter().filter(|path| SOURCES.iter().any(|source| path.starts_with(source))) {
        text.extend(path.as_bytes());
        text.extend(fs::read(paths::root().join(path)).with_context(|| format!("cannot read {path}"))?);
    }
    Ok(sha256::of(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(number("v20.19.0\n"), Some((20, 19)));
        assert_eq!(number("v20"), None);
        assert!(number("v22.1.0") > Some(NODE_MIN));
        assert!(number("v20.9.0") < Some(NODE_MIN));
    }

    #[test]
    fn the_fingerprint_is_of_the_sources() {
        let made = fingerprint().expect("reads them");
        assert_eq!(made.len(), 64);
        assert_eq!(made, fingerprint().expect("reads them again"));
    }
}
