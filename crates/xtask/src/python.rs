//! Python tools in virtual environments of the cache: one per list of pinned packages.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{paths, sha256, shell};

/// The `bin` folder of an environment that has exactly the packages of `requirements`, made if it is not there.
pub(crate) fn environment(requirements: &Path) -> Result<PathBuf> {
    let list = fs::read(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let folder = paths::cache_dir()?.join(format!("venv-{}", &sha256::of(&list)[..16]));
    let bin = folder.join("bin");
    let stamp = folder.join(".complete");
    if stamp.exists() && bin.join("python").exists() {
        return Ok(bin);
    }
    // An environment without its stamp is half made.
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    shell::run(shell::command("python3").args(["-m", "venv"]).arg(&folder))?;
    shell::run(
        shell::command(bin.join("python")).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(requirements),
    )?;
    fs::write(&stamp, "")?;
    Ok(bin)
}

/// The environment of the black-box tests and the Markdown linter.
pub(crate) fn tool(name: &str) -> Result<Command> {
    let bin = environment(&paths::root().join("tests/sdk/requirements.txt"))?;
    Ok(shell::command(bin.join(name)))
}
