//! Which file a command changes, and how it is written: all of it or nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::Document;
use crate::env::Environment;
use crate::error::ConfigError;
use crate::file;
use crate::load::LoadArgs;

/// The file that a command changes, as it was when it was read.
#[derive(Debug, Clone)]
pub struct Target {
    path: PathBuf,
    /// `None`: there was none.
    before: Option<String>,
}

/// The file that `serve` would read with the same arguments; where there is none, the one that was named, or `router.yaml` in the working
/// directory, which the command will make.
///
/// # Errors
/// It exists and can't be read.
pub fn target(args: &LoadArgs, env: &Environment) -> Result<Target, ConfigError> {
    let cwd = args.cwd.clone().unwrap_or_else(|| env.cwd().to_owned());
    let home = args.home.clone().or_else(|| env.home().map(Path::to_owned));
    let path = match file::find(args.config.as_deref(), env, &cwd, home.as_deref()) {
        Ok(Some(path)) | Err(ConfigError::Missing { path, .. }) => path,
        Ok(None) => cwd.join("router.yaml"),
        Err(other) => return Err(other),
    };
    let before = if path.exists() { Some(file::read_text(&path)?) } else { None };
    Ok(Target { path, before })
}

impl Target {
    /// Its path, whether it exists or not.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its text as it was; an empty one where there is no file.
    pub fn text(&self) -> &str {
        self.before.as_deref().unwrap_or_default()
    }

    /// Its text to change; an empty one where there is no file.
    ///
    /// # Errors
    /// It is no YAML.
    pub fn document(&self) -> Result<Document, ConfigError> {
        Document::new(self.before.clone().unwrap_or_default(), &self.path)
    }

    /// Puts `text` in the file's place: beside it first, on the disk before it is renamed, with the file's own permissions (0600 for a new
    /// one, since it may come to hold keys). A link stays a link. False: that is what it holds already, and nothing was written.
    ///
    /// # Errors
    /// The system's, or somebody changed the file in the meantime.
    pub fn write(&self, text: &str) -> Result<bool, ConfigError> {
        if self.before.as_deref() == Some(text) {
            return Ok(false);
        }
        let failed = |e: std::io::Error| ConfigError::Unwritable { path: self.path.clone(), reason: e.to_string() };
        // Held until it is replaced. Who waited for it sees another text in its place.
        let _turn = turn(&self.path).map_err(failed)?;
        let now = if self.path.exists() { Some(file::read_text(&self.path)?) } else { None };
        if now != self.before {
            return Err(failed(taken()));
        }
        let real = if now.is_some() { fs::canonicalize(&self.path).map_err(failed)? } else { self.path.clone() };
        let name = real.file_name().unwrap_or_default().to_string_lossy();
        let beside = real.with_file_name(format!(".{name}.{}.{:?}.new", std::process::id(), std::thread::current().id()));
        let written = put(&beside, text, now.is_some().then_some(&real)).and_then(|()| place(&beside, &real, now.is_none()));
        if let Err(error) = written {
            let _ = fs::remove_file(&beside);
            return Err(failed(error));
        }
        // The rename itself, where the system can be told to keep it.
        if let Some(folder) = real.parent()
            && let Ok(folder) = File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
        {
            let _ = folder.sync_all();
        }
        Ok(true)
    }
}

fn taken() -> std::io::Error {
    std::io::Error::other("somebody else has changed it in the meantime; try again")
}

/// The turn to replace a file, until it is dropped; `None`: there is no file, or its file system knows no turns.
#[cfg(unix)]
fn turn(path: &Path) -> std::io::Result<Option<File>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.lock() {
        Ok(()) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where a locked file can neither be read nor replaced there are none.
#[cfg(not(unix))]
fn turn(_: &Path) -> std::io::Result<Option<File>> {
    Ok(None)
}

/// Puts a written file in its place: over the one that is there, or, where there was none, only if there still is none.
fn place(beside: &Path, real: &Path, is_new: bool) -> std::io::Result<()> {
    if !is_new {
        return fs::rename(beside, real);
    }
    match fs::hard_link(beside, real) {
        Ok(()) => fs::remove_file(beside),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(taken()),
        // Not every file system has links.
        Err(_) => fs::rename(beside, real),
    }
}

/// A new file with this text, on the disk; `like` is the file whose permissions and owner it gets.
fn put(path: &Path, text: &str, like: Option<&PathBuf>) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    if let Some(like) = like {
        let about = fs::metadata(like)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            // Only root may give a file away; anybody else's is their own already.
            let _ = std::os::unix::fs::fchown(&file, Some(about.uid()), Some(about.gid()));
        }
        file.set_permissions(about.permissions())?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &Path) -> Target {
        target(&LoadArgs { config: Some(path.to_owned()), ..LoadArgs::default() }, &Environment::default()).unwrap()
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_keeps_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("real.yaml");
        fs::write(&path, "a: 1\n").unwrap();
        let target = of(&path);
        assert!(!target.write("a: 1\n").unwrap(), "nothing to do");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let link = dir.path().join("link.yaml");
            std::os::unix::fs::symlink(&path, &link).unwrap();
            assert!(of(&link).write("a: 2\n").unwrap());
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        }
        #[cfg(not(unix))]
        assert!(target.write("a: 2\n").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "a: 2\n");
        let said = target.write("a: 3\n").unwrap_err().to_string();
        assert!(said.contains("real.yaml") && said.contains("in the meantime"), "{said}");
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains(".new")).count(),
            0
        );
    }

    #[test]
    fn of_many_who_change_it_at_once_one_does_and_the_others_are_told() {
        const WRITERS: usize = 8;
        for was_there in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("router.yaml");
            if was_there {
                fs::write(&path, "n: 0\n").unwrap();
            }
            let targets: Vec<Target> = (0..WRITERS).map(|_| of(&path)).collect();
            let start = std::sync::Barrier::new(WRITERS);
            let done: usize = std::thread::scope(|scope| {
                let writers = targets.iter().enumerate().map(|(n, target)| {
                    let start = &start;
                    scope.spawn(move || {
                        start.wait();
                        usize::from(target.write(&format!("writer: {n}\n")).is_ok())
                    })
                });
                writers.collect::<Vec<_>>().into_iter().map(|writer| writer.join().unwrap()).sum()
            });
            assert_eq!(done, 1, "{was_there}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_new_file_is_its_owners_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("router.yaml");
        let target = of(&path);
        assert_eq!(target.document().unwrap().text(), "");
        assert!(target.write("a: 1\n").unwrap());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let said = of(&dir.path().join("nowhere/router.yaml")).write("a: 1\n").unwrap_err().to_string();
        assert!(said.contains("nowhere"), "{said}");
    }
}
