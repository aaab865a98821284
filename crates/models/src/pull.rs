//! Bringing a model's files into a models directory: all of them, checked, or none.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, SystemTime},
};

use net::{
    Client,
    download::{DownloadError, DownloadOptions, Hashes, Source, Wanted, download, hashes},
};

use crate::{
    choice::Choice,
    gguf::{GgufError, Header},
    hub::{Hub, HubError},
    manifest::{Manifest, Origin, Piece},
    name,
};

/// Length of a chunk with a hash of its own, in bytes.
pub const CHUNK_BYTES: u64 = 64 << 20;
/// Below this stands what is on its way.
const STAGE: &str = ".partial";
/// The only file's name in a model's directory.
const ONLY_FILE: &str = "model.gguf";

/// How far a model is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are there.
    pub done: u64,
    /// Bytes of all files.
    pub total: u64,
}

/// Why a model did not come.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A file.
    #[error("{file}: {error}")]
    File {
        /// Which.
        file: String,
        /// Why.
        error: DownloadError,
    },
    /// What came is no model.
    #[error("{file} is no usable model: {error}")]
    Model {
        /// Which file.
        file: String,
        /// Why.
        error: GgufError,
    },
    /// What was said about the model makes no sense.
    #[error("what is said about the model makes no sense: {0}")]
    Manifest(String),
    /// The disk refused.
    #[error("{path}: {error}", path = path.display())]
    Disk {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Brings models into a directory. Dropping one of its futures stops a pull; what came is kept for the next.
#[derive(Debug, Clone)]
pub struct Puller {
    client: Client,
    dir: PathBuf,
    options: DownloadOptions,
    chunk_bytes: u64,
}

impl Puller {
    /// Into the models directory `dir`, which need not exist yet.
    pub fn new(client: Client, dir: impl Into<PathBuf>, options: DownloadOptions) -> Self {
        Self { client, dir: dir.into(), options, chunk_bytes: CHUNK_BYTES }
    }

    /// With chunks of another length.
    #[must_use]
    pub fn with_chunk_bytes(mut self, chunk_bytes: u64) -> Self {
        self.chunk_bytes = chunk_bytes.max(1);
        self
    }

    /// The models directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the model called `name` stands.
    pub fn home(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Brings what was chosen of a repository, as the model called `name`.
    ///
    /// # Errors
    /// See [`PullError`]; nothing stands in the model's place then.
    pub async fn from_hub(
        &self,
        hub: &Hub,
        (repository, revision): (&str, &str),
        choice: &Choice,
        (name, chat_template): (&str, Option<&str>),
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Manifest, PullError> {
        let mut pieces = Vec::new();
        for file in &choice.files {
            let bytes = file.bytes.ok_or_else(|| PullError::Manifest(format!("the hub does not say how long {} is", file.path)))?;
            let wanted = Wanted { bytes, sha256: file.sha256.clone(), chunk_bytes: self.chunk_bytes, chunks: Vec::new() };
            let called = if choice.files.len() == 1 { ONLY_FILE } else { file.path.rsplit('/').next().unwrap_or(&file.path) };
            pieces.push((called.to_owned(), wanted, vec![hub.source(repository, revision, &file.path)?]));
        }
        let origin = Origin {
            repository: repository.to_owned(),
            revision: revision.to_owned(),
            paths: choice.files.iter().map(|file| file.path.clone()).collect(),
        };
        let about = Manifest {
            name: name.to_owned(),
            quantization: choice.quant.clone(),
            chat_template: chat_template.map(str::to_owned),
            origin: Some(origin),
            follows: None,
            files: Vec::new(),
        };
        let wanted = pieces.iter().map(|(file, wanted, _)| (file.clone(), wanted.clone())).collect();
        if let Some(here) = self.stands(&about, wanted).await {
            progress(Progress { done: here.bytes(), total: here.bytes() });
            return Ok(here);
        }
        self.bring(about, pieces, progress).await
    }

    /// The model, where it stands in its place already and all its bytes are what is wanted.
    async fn stands(&self, about: &Manifest, wanted: Vec<(String, Wanted)>) -> Option<Manifest> {
        if !name::is_identifier(&about.name) {
            return None;
        }
        let (home, about) = (self.home(&about.name), about.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let here = Manifest::of_dir(&home)?;
            let is_wanted = |(piece, (file, wanted)): (&Piece, &(String, Wanted))| {
                let is_same = |sha256: &str| wanted.sha256.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(sha256));
                piece.file == *file
                    && is_same(&piece.hashes.sha256)
                    && hashes(&home.join(file), piece.hashes.chunk_bytes).is_ok_and(|found| is_same(&found.sha256))
            };
            let is_all = here.files.len() == wanted.len() && here.files.iter().zip(&wanted).all(is_wanted);
            let now = is_all.then_some(Manifest { files: here.files, ..about })?;
            now.write(&home).ok()?;
            Some(now)
        });
        looked.await.ok().flatten()
    }

    /// Brings a model that is known in full. `sources` gives, for each file by its place, where it can be had, the best first.
    ///
    /// # Errors
    /// See [`PullError`]; nothing stands in the model's place then.
    pub async fn from_manifest(
        &self,
        manifest: &Manifest,
        sources: impl Fn(usize) -> Vec<Source>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Manifest, PullError> {
        manifest.check().map_err(PullError::Manifest)?;
        let pieces = manifest.files.iter().enumerate().map(|(at, piece)| (piece.file.clone(), piece.wanted(), sources(at))).collect();
        self.bring(Manifest { files: Vec::new(), ..manifest.clone() }, pieces, progress).await
    }

    /// Makes a model of a file that was made here; it is moved.
    ///
    /// # Errors
    /// It is no model, or the disk refuses.
    pub async fn adopt(&self, about: Manifest, file: PathBuf) -> Result<Manifest, PullError> {
        let this = self.clone();
        blocking(move || {
            let stage = this.stage(&about.name)?;
            let staged = stage.join(ONLY_FILE);
            fs::rename(&file, &staged).map_err(|error| disk(&staged, error))?;
            let hashes = hashes(&staged, this.chunk_bytes).map_err(|error| disk(&staged, error))?;
            this.settle(&stage, Manifest { files: vec![Piece { file: ONLY_FILE.to_owned(), hashes }], ..about })
        })
        .await
    }

    /// Uses a model's files where they stand, on a disk that is shared with whoever keeps them: links instead of copies, after all bytes were
    /// checked. `places` are the files, in order.
    ///
    /// # Errors
    /// They are not the manifest's files, or can't be linked.
    #[cfg(unix)]
    pub async fn link(&self, manifest: &Manifest, places: Vec<PathBuf>) -> Result<Manifest, PullError> {
        manifest.check().map_err(PullError::Manifest)?;
        let (this, manifest) = (self.clone(), manifest.clone());
        blocking(move || {
            let stage = this.stage(&manifest.name)?;
            for (piece, place) in manifest.files.iter().zip(&places) {
                let (place, staged) = (fs::canonicalize(place).map_err(|error| disk(place, error))?, stage.join(&piece.file));
                let length = fs::metadata(&place).map_err(|error| disk(&place, error))?.len();
                if length != piece.hashes.bytes
                    || hashes(&place, piece.hashes.chunk_bytes).map_err(|error| disk(&place, error))?.sha256 != piece.hashes.sha256
                {
                    let error = DownloadError::Damaged("the shared file is another one".to_owned());
                    return Err(PullError::File { file: piece.file.clone(), error });
                }
                let _ = fs::remove_file(&staged);
                std::os::unix::fs::symlink(&place, &staged).map_err(|error| disk(&staged, error))?;
            }
            this.settle(&stage, manifest)
        })
        .await
    }

    async fn bring(
        &self,
        about: Manifest,
        pieces: Vec<(String, Wanted, Vec<Source>)>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Manifest, PullError> {
        if !name::is_identifier(&about.name) {
            return Err(PullError::Manifest("its name is no identifier".to_owned()));
        }
        let stage = self.stage(&about.name)?;
        let total = pieces.iter().map(|(_, wanted, _)| wanted.bytes).fold(0, u64::saturating_add);
        let before = Mutex::new(0);
        let mut files = Vec::new();
        for (file, wanted, sources) in pieces {
            let staged = stage.join(&file);
            let done = *before.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let hashes = match self.finished(&staged, &wanted).await {
                Some(hashes) => hashes,
                None => {
                    let told = |bytes| progress(Progress { done: done + bytes, total });
                    let fetched = download(&self.client, &sources, &wanted, (&staged, &staged), &self.options, &told).await;
                    fetched.map_err(|error| PullError::File { file: file.clone(), error })?
                }
            };
            *before.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += hashes.bytes;
            progress(Progress { done: done + hashes.bytes, total });
            files.push(Piece { file, hashes });
        }
        let this = self.clone();
        blocking(move || this.settle(&stage, Manifest { files, ..about })).await
    }

    /// A file that came whole before the process ended.
    async fn finished(&self, staged: &Path, wanted: &Wanted) -> Option<Hashes> {
        let (staged, wanted) = (staged.to_owned(), wanted.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let length = fs::symlink_metadata(&staged).ok().filter(fs::Metadata::is_file)?.len();
            let found = (length == wanted.bytes).then(|| hashes(&staged, wanted.chunk_bytes).ok()).flatten();
            let found = found.filter(|found| wanted.sha256.as_ref().is_some_and(|sha256| sha256.eq_ignore_ascii_case(&found.sha256)));
            if found.is_none() {
                let _ = fs::remove_file(&staged);
            }
            found
        });
        looked.await.ok().flatten()
    }

    fn stage(&self, name: &str) -> Result<PathBuf, PullError> {
        let stage = self.dir.join(STAGE).join(name);
        fs::create_dir_all(&stage).map_err(|error| disk(&stage, error))?;
        Ok(stage)
    }

    /// Checks the headers and moves everything to its place.
    fn settle(&self, stage: &Path, manifest: Manifest) -> Result<Manifest, PullError> {
        manifest.check().map_err(PullError::Manifest)?;
        for piece in &manifest.files {
            if let Err(error) = Header::of_file(&stage.join(&piece.file)) {
                let _ = fs::remove_dir_all(stage);
                return Err(PullError::Model { file: piece.file.clone(), error });
            }
        }
        let home = self.home(&manifest.name);
        if Manifest::of_dir(&home).is_none()
            && let Some(taken) = manifest.files.iter().map(|piece| home.join(&piece.file)).find(|path| path.exists())
        {
            return Err(disk(&taken, io::Error::new(io::ErrorKind::AlreadyExists, "a file of the owner's stands there")));
        }
        // First, so that files which were moved are known as ours, however this ends.
        manifest.write(&home).map_err(|error| disk(&home, error))?;
        for piece in &manifest.files {
            let to = home.join(&piece.file);
            fs::rename(stage.join(&piece.file), &to).map_err(|error| disk(&to, error))?;
        }
        let _ = fs::remove_dir_all(stage);
        Ok(manifest)
    }
}

/// Removes a model that was pulled into `dir`, and what is there of a pull. False: there was none.
///
/// # Errors
/// The disk's.
pub fn remove(dir: &Path, name: &str) -> io::Result<bool> {
    if !name::is_identifier(name) {
        return Ok(false);
    }
    let stage = dir.join(STAGE).join(name);
    let was_begun = stage.is_dir();
    if was_begun {
        fs::remove_dir_all(&stage)?;
    }
    let home = dir.join(name);
    let Some(manifest) = Manifest::of_dir(&home) else { return Ok(was_begun) };
    for file in manifest.files.iter().map(|piece| piece.file.as_str()).chain([Manifest::FILE]) {
        match fs::remove_file(home.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    // Something else of the owner's may lie there.
    let _ = fs::remove_dir(home);
    Ok(true)
}

/// Names of the models in `dir` that follow a registry and that it does not keep any more.
pub fn left_behind(dir: &Path, registry: &str, is_kept: impl Fn(&str) -> bool) -> Vec<String> {
    let homes = fs::read_dir(dir).into_iter().flatten().flatten();
    let manifests = homes.filter_map(|home| Some((home.file_name(), Manifest::of_dir(&home.path())?)));
    let follows = |manifest: &Manifest| manifest.follows.as_deref() == Some(registry) && !is_kept(&manifest.name);
    manifests.filter(|(home, manifest)| *home == *manifest.name && follows(manifest)).map(|(_, manifest)| manifest.name).collect()
}

/// Removes what is there of pulls that nobody has gone on with for `age`.
pub fn clean(dir: &Path, age: Duration) {
    let Ok(entries) = fs::read_dir(dir.join(STAGE)) else { return };
    for entry in entries.flatten() {
        let files = fs::read_dir(entry.path()).into_iter().flatten().flatten();
        let changed = files.filter_map(|file| file.metadata().ok()?.modified().ok()).max();
        let changed = changed.or_else(|| entry.metadata().ok()?.modified().ok());
        if changed.is_some_and(|at| SystemTime::now().duration_since(at).is_ok_and(|since| since >= age)) {
            tracing::info!(path = %entry.path().display(), "what is left of an old download is removed");
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn disk(path: &Path, error: io::Error) -> PullError {
    PullError::Disk { path: path.to_owned(), error }
}

async fn blocking(work: impl FnOnce() -> Result<Manifest, PullError> + Send + 'static) -> Result<Manifest, PullError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(PullError::Manifest(format!("the disk's work was not finished: {e}"))))
}
