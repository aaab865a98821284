//! What a model's files are: kept beside them, and shown to whoever fetches them.

use std::{fs, io, path::Path};

use net::download::{Hashes, Wanted};
use serde::{Deserialize, Serialize};

use crate::{hub, name};

/// Most files of a model.
const PIECES_MAX: usize = 1000;
/// Most hashes of chunks of a file.
const CHUNKS_MAX: usize = 1 << 20;
/// Largest chunk, in bytes.
const CHUNK_BYTES_MAX: u64 = 1 << 30;

/// Where a model came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// `owner/name` on the hub.
    pub repository: String,
    /// The commit, or what was asked for where the hub named none.
    pub revision: String,
    /// Paths in the repository, in the order of the files; empty where the model was made here.
    #[serde(default)]
    pub paths: Vec<String>,
}

/// One file of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Its name in the model's directory.
    pub file: String,
    /// Its hashes.
    #[serde(flatten)]
    pub hashes: Hashes,
}

impl Piece {
    /// What must come.
    pub fn wanted(&self) -> Wanted {
        let Hashes { bytes, sha256, chunk_bytes, chunks } = self.hashes.clone();
        Wanted { bytes, sha256: Some(sha256), chunk_bytes, chunks }
    }
}

/// A model and its files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its identifier, which is its directory's name.
    pub name: String,
    /// Its quantisation in lower case, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
    /// A chat template that replaces the file's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The registry that this copy follows: once it keeps the model no more, the copy goes too. Others stay until somebody removes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<String>,
    /// Its file, or its parts in order.
    pub files: Vec<Piece>,
}

impl Manifest {
    /// The file that holds it, in the model's directory.
    pub const FILE: &'static str = "model.json";
    /// Largest one that is read, in bytes.
    pub const BYTES_MAX: usize = 64 << 20;

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|piece| piece.hashes.bytes).fold(0, u64::saturating_add)
    }

    /// The hash of its file; of the parts' hashes in order where there are several.
    pub fn sha256(&self) -> String {
        if let [only] = &self.files[..] {
            return only.hashes.sha256.clone();
        }
        let all: String = self.files.iter().map(|piece| piece.hashes.sha256.as_str()).collect();
        net::download::sha256(all.as_bytes())
    }

    /// Reads one, and checks it: it may come from anywhere.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        read.check()?;
        Ok(read)
    }

    /// Checks names and numbers.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        if !name::is_identifier(&self.name) {
            return Err("its name is no identifier".to_owned());
        }
        if self.files.is_empty() || self.files.len() > PIECES_MAX {
            return Err(format!("it has {} files; 1 to {PIECES_MAX} are taken", self.files.len()));
        }
        for piece in &self.files {
            let hashes = &piece.hashes;
            let is_file = hub::check_path(&piece.file).is_ok() && !piece.file.contains('/') && !piece.file.starts_with('.');
            let fits = (1..=CHUNK_BYTES_MAX).contains(&hashes.chunk_bytes)
                && hashes.chunks.len() <= CHUNKS_MAX
                && hashes.chunks.len() as u64 == hashes.bytes.div_ceil(hashes.chunk_bytes);
            let is_hash = |text: &String| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
            if !is_file || piece.file == Self::FILE || !fits || !is_hash(&hashes.sha256) || !hashes.chunks.iter().all(is_hash) {
                return Err("one of its files makes no sense".to_owned());
            }
        }
        Ok(())
    }

    /// The manifest of the model in `dir`; nothing where there is none that can be read.
    pub fn of_dir(dir: &Path) -> Option<Self> {
        let path = dir.join(Self::FILE);
        if fs::metadata(&path).ok()?.len() > Self::BYTES_MAX as u64 {
            return None;
        }
        Self::parse(&fs::read(path).ok()?).ok()
    }

    /// Writes it into `dir`, whole or not at all.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        let written = dir.join(".model.json.new");
        fs::write(&written, serde_json::to_vec(self)?)?;
        fs::rename(written, dir.join(Self::FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, file: &str) -> Manifest {
        let hash = "ab".repeat(32);
        let hashes = Hashes { bytes: 3, sha256: hash.clone(), chunk_bytes: 2, chunks: vec![hash.clone(), hash] };
        Manifest { name: name.to_owned(), files: vec![Piece { file: file.to_owned(), hashes }], ..Manifest::default() }
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = manifest("tiny", "model.gguf");
        wanted.write(dir.path()).unwrap();
        assert_eq!(Manifest::of_dir(dir.path()), Some(wanted.clone()));
        assert_eq!((wanted.bytes(), wanted.sha256()), (3, "ab".repeat(32)));
        fs::write(dir.path().join(Manifest::FILE), b"{}").unwrap();
        assert_eq!(Manifest::of_dir(dir.path()), None);
    }

    #[test]
    fn what_leads_elsewhere_or_makes_no_sense_is_refused() {
        assert_eq!(manifest("tiny", "model.gguf").check(), Ok(()));
        for (name, file) in
            [("../tiny", "model.gguf"), ("tiny", "../model.gguf"), ("tiny", "a/b.gguf"), ("tiny", "model.json"), ("tiny", ".x")]
        {
            assert!(manifest(name, file).check().is_err(), "{name} {file}");
        }
        let mut wrong = manifest("tiny", "model.gguf");
        wrong.files[0].hashes.chunk_bytes = 0;
        assert!(wrong.check().is_err());
        wrong.files[0].hashes.chunk_bytes = 1;
        assert!(wrong.check().is_err());
    }
}
