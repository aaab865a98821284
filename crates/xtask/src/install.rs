//! Puts the release executables, and the links under which they behave as other programs, in place.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{environment, paths, suite};

const PROGRAMS: [&str; 3] = ["llm-router", "llm-node", "llm-node-worker"];
/// Names under which `llm-router` is also called.
const LINKS: [&str; 2] = ["open-llm-router", "smr-config"];

/// Builds, then copies to `<prefix>/bin`. A running program keeps its old file until it is started again.
pub(crate) fn install(prefix: Option<PathBuf>) -> Result<()> {
    suite::build_release()?;
    let folder = match prefix.or_else(|| environment::path("PREFIX")) {
        Some(prefix) => prefix,
        None if rustix::process::geteuid().is_root() => PathBuf::from("/usr/local"),
        None => paths::home()?.join(".local"),
    }
    .join("bin");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for name in PROGRAMS {
        place(&folder.join(name), |path| fs::copy(paths::program("release", name), path).map(|_| ()))?;
    }
    for name in LINKS {
        place(&folder.join(name), |path| std::os::unix::fs::symlink("llm-router", path))?;
    }
    println!("installed in {}: {}, {}", folder.display(), PROGRAMS.join(", "), LINKS.join(", "));
    if !environment::get("PATH").is_some_and(|search| std::env::split_paths(&search).any(|entry| entry == folder)) {
        println!("note: {} is not on PATH", folder.display());
    }
    Ok(())
}

/// Makes the new file beside the old one and renames it over it, so that there is never half a program.
fn place(path: &Path, make: impl Fn(&Path) -> std::io::Result<()>) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = path.with_file_name(format!(".{name}.{}", std::process::id()));
    make(&fresh)
        .and_then(|()| fs::rename(&fresh, path))
        .inspect_err(|_| drop(fs::remove_file(&fresh)))
        .with_context(|| format!("cannot put {} in place", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_place_is_replaced_and_no_half_one_stays() {
        let folder = tempfile::tempdir().expect("makes");
        let path = folder.path().join("program");
        for content in ["old", "new"] {
            place(&path, |to| fs::write(to, content)).expect("places");
        }
        assert_eq!(fs::read_to_string(&path).expect("reads"), "new");
        place(&path, |_| Err(std::io::Error::other("no"))).expect_err("the copy failed");
        assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 1);
    }
}
