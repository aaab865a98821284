//! Packages of npm in the cache: one folder per lock file, linked into the tests that use them.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{environment, paths, sha256, shell};

/// The oldest major version of Node that the SDKs and the test runner work with.
const NODE_MAJOR_MIN: u32 = 20;

/// Fails with what to install where there is no Node that is new enough, or no npm.
pub(crate) fn require() -> Result<()> {
    let what = format!(
        "the tests of the JavaScript SDKs need Node {NODE_MAJOR_MIN} or later with npm: install `nodejs` and `npm` \
         with your system's package manager if it has that version, else from https://nodejs.org/en/download"
    );
    if environment::which("node").is_none() || environment::which("npm").is_none() {
        bail!("{what}");
    }
    let version = shell::output(Command::new("node").arg("--version"))?;
    if major(&version).is_none_or(|major| major < NODE_MAJOR_MIN) {
        bail!("{what}; `node --version` says {}", version.trim());
    }
    Ok(())
}

/// The number before the first dot of `v20.1.2`.
fn major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// Puts exactly the packages of `folder`'s lock file into the cache, if they are not there, and links them as its `node_modules`.
pub(crate) fn install(folder: &Path) -> Result<()> {
    let lists = ["package.json", "package-lock.json"];
    let mut text = Vec::new();
    for name in lists {
        let path = folder.join(name);
        text.extend(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    let cached = paths::cache_dir()?.join(format!("npm-{}", &sha256::of(&text)[..16]));
    let stamp = cached.join(".complete");
    if !stamp.exists() {
        // A folder without its stamp is half made.
        if cached.exists() {
            fs::remove_dir_all(&cached)?;
        }
        fs::create_dir_all(&cached)?;
        for name in lists {
            fs::copy(folder.join(name), cached.join(name))?;
        }
        let mut npm = Command::new("npm");
        // No package's own scripts: nothing here has to be built.
        npm.current_dir(&cached).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]);
        shell::run(&mut npm)?;
        fs::write(&stamp, "")?;
    }
    link(&cached.join("node_modules"), &folder.join("node_modules"))
}

/// Makes `at` a link to `target`. A folder that somebody's own `npm install` left there is an error, not thrown away.
fn link(target: &Path, at: &Path) -> Result<()> {
    match fs::read_link(at) {
        Ok(there) if there == target => return Ok(()),
        Ok(_) => fs::remove_file(at)?,
        Err(_) if at.exists() => bail!("{} is not the link that this makes: remove it", at.display()),
        Err(_) => {}
    }
    symlink(target, at).with_context(|| format!("cannot link {}", at.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("node 20"), None);
    }

    #[test]
    fn a_link_is_made_anew_and_a_folder_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (old, new, at) = (folder.path().join("old"), folder.path().join("new"), folder.path().join("node_modules"));
        link(&old, &at).expect("made");
        link(&new, &at).expect("replaced");
        link(&new, &at).expect("kept");
        assert_eq!(fs::read_link(&at).expect("a link"), new);
        fs::remove_file(&at).expect("removed");
        fs::create_dir(&at).expect("made");
        assert!(link(&new, &at).is_err());
        assert!(at.is_dir());
    }
}
