use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Write},
    path::Path,
};

use crate::{StoreError, open::make_directory};

/// Name of the lock file in the data directory.
const FILE: &str = "router.lock";

/// The right to be the one router on a data directory. The operating system takes it back when the process ends, however it ends.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
}

impl InstanceLock {
    /// Takes the lock, or says who has it. The directory is made (mode 0700) where it is missing.
    ///
    /// # Errors
    /// [`StoreError::InUse`] names the directory; [`StoreError::Open`] where the file can't be made.
    pub fn take(data_dir: &Path) -> Result<Self, StoreError> {
        make_directory(data_dir)?;
        let path = data_dir.join(FILE);
        let opened = |source| StoreError::Open { path: path.clone(), source };
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(opened)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let read = file.take(64).read_to_string(&mut text);
                let holder = read.ok().map(|_| text.trim().to_owned()).filter(|t| !t.is_empty());
                return Err(StoreError::InUse { directory: data_dir.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(opened(source)),
        }
        // Only for the message that a second router shows: the lock itself is the operating system's.
        let noted = file.set_len(0).and_then(|()| writeln!(file, "process {}", std::process::id()));
        if let Err(error) = noted {
            tracing::debug!(%error, "the lock file does not name this process");
        }
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_free_again_when_dropped() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let data = home.path().join("data");
        let first = InstanceLock::take(&data).expect("nobody has it");
        let said = InstanceLock::take(&data).expect_err("the first has it").to_string();
        assert!(said.contains(&data.display().to_string()), "{said}");
        assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
        drop(first);
        InstanceLock::take(&data).expect("it is free again");
    }
}
