//! What is there of a file that is being fetched: the bytes, and a note of how far each chunk is.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{DownloadError, Wanted};

/// Read at once while hashing, in bytes.
const READ_BYTES: usize = 1 << 20;
/// Longest note that is read, in bytes: a petabyte's chunks fit.
const NOTE_BYTES_MAX: u64 = 64 << 20;

/// The hashes of a file: of the whole and of each chunk, in lower-case hex.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashes {
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the whole.
    pub sha256: String,
    /// Length of a chunk; the last one may be shorter.
    pub chunk_bytes: u64,
    /// SHA-256 of each chunk.
    pub chunks: Vec<String>,
}

/// Hashes a file; blocks for as long as reading it takes.
///
/// # Errors
/// The disk's.
pub fn hashes(path: &Path, chunk_bytes: u64) -> io::Result<Hashes> {
    let mut file = File::open(path)?;
    let (mut whole, mut chunks, mut bytes) = (Sha256::new(), Vec::new(), 0);
    loop {
        let mut chunk = Sha256::new();
        let read = feed(&mut file, chunk_bytes.max(1), |data| {
            whole.update(data);
            chunk.update(data);
        })?;
        if read == 0 {
            break;
        }
        bytes += read;
        chunks.push(hex(chunk));
    }
    Ok(Hashes { bytes, sha256: hex(whole), chunk_bytes, chunks })
}

/// The SHA-256 of `bytes` in lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

fn hex(hash: Sha256) -> String {
    use std::fmt::Write as _;
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads up to `most` bytes; gives how many there were.
fn feed(file: &mut File, most: u64, mut take: impl FnMut(&[u8])) -> io::Result<u64> {
    let mut buffer = vec![0; READ_BYTES.min(usize::try_from(most).unwrap_or(READ_BYTES))];
    let mut left = most;
    while left > 0 {
        let room = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = match file.read(&mut buffer[..room]) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        take(&buffer[..read]);
        left -= read as u64;
    }
    Ok(most - left)
}

pub(super) fn beside(partial: &Path, end: &str) -> PathBuf {
    let mut name = partial.as_os_str().to_owned();
    name.push(".");
    name.push(end);
    name.into()
}

/// What is noted on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    bytes: u64,
    sha256: Option<String>,
    chunk_bytes: u64,
    /// Bytes that are there of each chunk, from its start.
    have: Vec<u64>,
    /// Whether each chunk is whole and, where its hash is known, has it.
    checked: Vec<bool>,
}

pub(super) struct Partial {
    path: PathBuf,
    note_path: PathBuf,
    wanted: Wanted,
    note: Mutex<Note>,
    /// Locked as long as this download runs.
    _lock: File,
}

impl Partial {
    /// Takes up what is there, or begins.
    pub(super) async fn open(partial: &Path, wanted: &Wanted, reserve_bytes: u64) -> Result<Self, DownloadError> {
        let (partial, wanted) = (partial.to_owned(), wanted.clone());
        blocking(move || Self::open_now(&partial, wanted, reserve_bytes)).await
    }

    fn open_now(partial: &Path, mut wanted: Wanted, reserve_bytes: u64) -> Result<Self, DownloadError> {
        let (path, note_path) = (beside(partial, "part"), beside(partial, "json"));
        let disk = |error| DownloadError::Disk { path: path.clone(), error };
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(disk)?;
        }
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(disk)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DownloadError::Busy),
            Err(TryLockError::Error(error)) => return Err(disk(error)),
        }
        wanted.chunk_bytes = wanted.chunk_bytes.max(1);
        let count = usize::try_from(wanted.bytes.div_ceil(wanted.chunk_bytes)).unwrap_or(usize::MAX);
        if !wanted.chunks.is_empty() && wanted.chunks.len() != count {
            return Err(DownloadError::Damaged(format!("{} hashes for {count} chunks", wanted.chunks.len())));
        }
        let fresh = Note {
            bytes: wanted.bytes,
            sha256: wanted.sha256.clone(),
            chunk_bytes: wanted.chunk_bytes,
            have: vec![0; count],
            checked: vec![false; count],
        };
        let length = file.metadata().map_err(disk)?.len();
        let note = read_note(&note_path).filter(|note| length == wanted.bytes && note.is_of(&fresh)).unwrap_or(fresh);
        let needed = wanted.bytes.saturating_sub(note.have.iter().sum());
        // A sparse file takes no room until it is written.
        let available = free_bytes(&path).map_err(disk)?.saturating_sub(reserve_bytes);
        if needed > available {
            return Err(DownloadError::NoSpace { needed, available });
        }
        file.set_len(wanted.bytes).map_err(disk)?;
        let this = Self { path, note_path, wanted, note: Mutex::new(note), _lock: file };
        this.save(&this.note())?;
        Ok(this)
    }

    fn note(&self) -> MutexGuard<'_, Note> {
        self.note.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.wanted.bytes
    }

    /// Bytes that are there.
    pub(super) fn done(&self) -> u64 {
        self.note().have.iter().sum()
    }

    /// Chunks that are not whole, or were not checked yet.
    pub(super) fn missing(&self) -> Vec<usize> {
        let note = self.note();
        (0..note.checked.len()).filter(|chunk| !note.checked[*chunk]).collect()
    }

    /// Where a chunk begins and ends.
    fn span(&self, chunk: usize) -> (u64, u64) {
        let start = self.wanted.chunk_bytes * chunk as u64;
        (start, (start + self.wanted.chunk_bytes).min(self.wanted.bytes))
    }

    pub(super) fn have(&self, chunk: usize) -> u64 {
        self.note().have[chunk]
    }

    /// What is missing of a chunk, as positions in the file.
    pub(super) fn rest_of(&self, chunk: usize) -> (u64, u64) {
        let (start, end) = self.span(chunk);
        (start + self.have(chunk), end)
    }

    pub(super) async fn writer(&self) -> Result<tokio::fs::File, DownloadError> {
        tokio::fs::OpenOptions::new().write(true).open(&self.path).await.map_err(|error| self.disk(error))
    }

    /// So many more bytes of a chunk are written.
    pub(super) fn add(&self, chunk: usize, bytes: u64) -> Result<(), DownloadError> {
        let mut note = self.note();
        note.have[chunk] += bytes;
        self.save(&note)
    }

    /// Whether a whole chunk is what it should be; one that is not begins anew.
    pub(super) async fn check(&self, chunk: usize) -> Result<bool, DownloadError> {
        let Some(wanted) = self.wanted.chunks.get(chunk).cloned() else { return self.checked(chunk, true) };
        let ((start, end), path) = (self.span(chunk), self.path.clone());
        let found = blocking(move || {
            let hash = || {
                let mut file = File::open(&path)?;
                file.seek(SeekFrom::Start(start))?;
                let mut hash = Sha256::new();
                feed(&mut file, end - start, |data| hash.update(data))?;
                Ok(hex(hash))
            };
            hash().map_err(|error| DownloadError::Disk { path: path.clone(), error })
        });
        let is_right = found.await?.eq_ignore_ascii_case(&wanted);
        self.checked(chunk, is_right)
    }

    fn checked(&self, chunk: usize, is_right: bool) -> Result<bool, DownloadError> {
        let mut note = self.note();
        note.checked[chunk] = is_right;
        if !is_right {
            note.have[chunk] = 0;
        }
        self.save(&note)?;
        Ok(is_right)
    }

    /// Checks the whole and moves it to its place. Damaged bytes are forgotten.
    pub(super) async fn finish(&self, target: &Path) -> Result<Hashes, DownloadError> {
        let (path, target, wanted) = (self.path.clone(), target.to_owned(), self.wanted.sha256.clone());
        let chunk_bytes = self.wanted.chunk_bytes;
        let moved = blocking(move || {
            let disk = |error| DownloadError::Disk { path: target.clone(), error };
            let found = hashes(&path, chunk_bytes).map_err(disk)?;
            if let Some(wanted) = wanted.filter(|wanted| !found.sha256.eq_ignore_ascii_case(wanted)) {
                return Err(DownloadError::Damaged(format!("its SHA-256 is {} instead of {wanted}", found.sha256)));
            }
            File::open(&path).and_then(|file| file.sync_all()).map_err(disk)?;
            if let Some(dir) = target.parent() {
                fs::create_dir_all(dir).map_err(disk)?;
            }
            fs::rename(&path, &target).map_err(disk)?;
            #[cfg(unix)]
            if let Some(dir) = target.parent() {
                let _ = File::open(dir).and_then(|dir| dir.sync_all());
            }
            Ok(found)
        });
        let done = moved.await;
        match &done {
            Ok(_) => {
                let _ = fs::remove_file(&self.note_path);
            }
            Err(DownloadError::Damaged(_)) => {
                let mut note = self.note();
                note.checked.fill(false);
                // Chunks with hashes of their own are looked at again, one by one.
                if self.wanted.chunks.is_empty() {
                    note.have.fill(0);
                }
                self.save(&note)?;
            }
            Err(_) => {}
        }
        done
    }

    pub(super) fn disk(&self, error: io::Error) -> DownloadError {
        DownloadError::Disk { path: self.path.clone(), error }
    }

    /// By a rename, so that a note is whole or the one before.
    fn save(&self, note: &Note) -> Result<(), DownloadError> {
        let written = beside(&self.note_path, "new");
        let text = serde_json::to_vec(note).map_err(|error| self.disk(error.into()))?;
        fs::write(&written, text).and_then(|()| fs::rename(&written, &self.note_path)).map_err(|error| self.disk(error))
    }
}

impl Note {
    /// Whether this is about the same file, and possible.
    fn is_of(&self, other: &Self) -> bool {
        let same = (self.bytes, &self.sha256, self.chunk_bytes) == (other.bytes, &other.sha256, other.chunk_bytes);
        let last = self.bytes.checked_rem(self.chunk_bytes).filter(|rest| *rest > 0).unwrap_or(self.chunk_bytes);
        let fits = |(at, have): (usize, &u64)| *have <= if at + 1 == self.have.len() { last } else { self.chunk_bytes };
        same && self.have.len() == other.have.len() && self.checked.len() == other.checked.len() && self.have.iter().enumerate().all(fits)
    }
}

fn read_note(path: &Path) -> Option<Note> {
    if fs::metadata(path).ok()?.len() > NOTE_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Bytes that this user may still write where `path` lies.
#[cfg(unix)]
fn free_bytes(path: &Path) -> io::Result<u64> {
    let about = rustix::fs::statvfs(path.parent().unwrap_or(path))?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}

/// Not known here.
#[cfg(not(unix))]
fn free_bytes(_: &Path) -> io::Result<u64> {
    Ok(u64::MAX)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, DownloadError> + Send + 'static) -> Result<T, DownloadError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(DownloadError::Damaged(format!("the disk's work was not finished: {e}"))))
}
