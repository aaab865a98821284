//! The models on disk.
//!
//! Found are `<name>.gguf`, `<name>/model.gguf` and `<owner>/<repository>/<file>.gguf`; a model that was pulled is called what its manifest says.
//! A scan lists directories and reads the headers of files that are new or changed; it is bounded in depth and number, so a wrong directory costs little.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use models::{Manifest, gguf::Header, name};

/// Deepest level below the directory: `<owner>/<repository>/<file>`.
const DEPTH_MAX: usize = 3;
/// Most directory entries looked at in one scan.
const ENTRIES_MAX: usize = 20_000;
/// Most models listed.
const MODELS_MAX: usize = 1_000;
/// A scan younger than this is good enough, also for a name that it does not know.
const FRESH_FOR: Duration = Duration::from_secs(1);
const UNKNOWN_FOR: Duration = Duration::from_millis(100);

/// One model on disk.
#[derive(Debug)]
pub struct Model {
    /// What clients call it.
    pub id: String,
    /// The GGUF file, the first one if it is sharded.
    pub path: PathBuf,
    /// Bytes of all its files.
    pub bytes: u64,
    /// When its file was last changed.
    pub modified: SystemTime,
    /// `q4_k_m`, where the file's name says so.
    pub quant: Option<String>,
    /// What its header says.
    pub header: Arc<Header>,
}

/// What one scan found.
#[derive(Debug, Default)]
pub struct Shelf {
    /// Usable models, sorted by id.
    pub models: Vec<Arc<Model>>,
    /// Unusable ones: id and reason.
    pub broken: Vec<(String, String)>,
    names: HashMap<String, Found>,
}

/// What a name stands for.
#[derive(Debug, Clone)]
pub enum Found {
    /// A usable model.
    Model(Arc<Model>),
    /// A file that can't be used: id and reason.
    Broken(String, String),
}

impl Shelf {
    /// Finds a model by id, file name (with or without `.gguf`) or path below the directory, in any case of letters.
    pub fn find(&self, name: &str) -> Option<&Found> {
        let name = name.to_lowercase();
        self.names.get(&name).or_else(|| self.names.get(name.strip_suffix(".gguf")?))
    }

    /// Ids of the usable models, sorted.
    pub fn ids(&self) -> Vec<String> {
        self.models.iter().map(|model| model.id.clone()).collect()
    }
}

/// The models directory.
#[derive(Debug)]
pub struct Library {
    dir: PathBuf,
    shelf: Mutex<Arc<Shelf>>,
    /// Held for the time of a scan.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    scanned: Option<Instant>,
    /// What is known of files that have not changed, by path.
    files: HashMap<PathBuf, Known>,
}

#[derive(Debug, Clone)]
struct Known {
    bytes: u64,
    modified: SystemTime,
    header: Result<Arc<Header>, String>,
    /// What a pulled model is called, with its quantisation.
    called: Option<(String, Option<String>)>,
}

impl Library {
    /// A library over `dir`, which need not exist yet. Nothing is read before the first call.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), shelf: Mutex::default(), state: Mutex::default() }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is on disk, at most [`FRESH_FOR`] old. Blocks for the time of a scan.
    pub fn shelf(&self) -> Arc<Shelf> {
        self.scanned_within(FRESH_FOR)
    }

    fn scanned_within(&self, age_max: Duration) -> Arc<Shelf> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.scanned.is_none_or(|at| at.elapsed() >= age_max) {
            let shelf = Arc::new(state.scan(&self.dir));
            *self.last() = shelf;
        }
        self.last().clone()
    }

    /// What the last scan knows under a name; nothing is read.
    fn known(&self, name: &str) -> Option<Found> {
        let shelf = self.last().clone();
        shelf.find(name).cloned()
    }

    fn last(&self) -> MutexGuard<'_, Arc<Shelf>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Library::shelf`], for use in asynchronous code.
    pub async fn fresh(self: &Arc<Self>) -> Arc<Shelf> {
        self.scan(FRESH_FOR).await
    }

    /// The same as it is now: something was changed.
    pub async fn renewed(self: &Arc<Self>) -> Arc<Shelf> {
        self.scan(Duration::ZERO).await
    }

    /// What a name stands for, after a look at the disk if the last scan does not know it as a usable model.
    pub async fn find(self: &Arc<Self>, name: &str) -> Option<Found> {
        match self.known(name) {
            Some(Found::Model(model)) => Some(Found::Model(model)),
            _ => self.scan(UNKNOWN_FOR).await.find(name).cloned(),
        }
    }

    async fn scan(self: &Arc<Self>, age_max: Duration) -> Arc<Shelf> {
        let library = self.clone();
        let scanned = tokio::task::spawn_blocking(move || library.scanned_within(age_max)).await;
        scanned.unwrap_or_default()
    }
}

/// A file on the way to becoming a model.
struct Candidate {
    path: PathBuf,
    relative: String,
    file: name::FileName,
    bytes: u64,
    modified: SystemTime,
    header: Result<Arc<Header>, String>,
}

impl State {
    fn scan(&mut self, dir: &Path) -> Shelf {
        let mut files = Vec::new();
        let mut budget = ENTRIES_MAX;
        if let Err(error) = walk(dir, DEPTH_MAX, &mut budget, &mut files)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(dir = %dir.display(), %error, "the models directory can't be read");
        }
        if budget == 0 {
            tracing::warn!(dir = %dir.display(), "the models directory has more than {ENTRIES_MAX} entries; the rest is not looked at");
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let candidates = self.candidates(dir, &files);
        self.files.retain(|path, _| files.iter().any(|file| file.path == *path));
        self.scanned = Some(Instant::now());
        arrange(candidates)
    }

    fn candidates(&mut self, dir: &Path, files: &[Listed]) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for found in files {
            let (Ok(relative), Some(stem)) = (found.path.strip_prefix(dir), found.path.file_stem().and_then(|s| s.to_str())) else {
                continue;
            };
            let (mut bytes, mut missing, mut base) = (found.bytes, None, stem);
            if let Some((name, index, count)) = name::shard(stem) {
                if index != 1 {
                    continue;
                }
                base = name;
                for number in 2..=count.min(1000) {
                    let path = found.path.with_file_name(format!("{name}-{number:05}-of-{count:05}.gguf"));
                    match files.iter().find(|f| f.path == path) {
                        Some(shard) => bytes += shard.bytes,
                        None => missing = Some(format!("part {number} of {count} is missing")),
                    }
                }
            }
            let parent = relative.parent().and_then(|p| p.file_name()).and_then(|p| p.to_str());
            let called = if base.eq_ignore_ascii_case("model") { parent.unwrap_or(base) } else { base };
            let (header, pulled) = match missing {
                Some(reason) => (Err(reason), None),
                None => {
                    let known = self.known(found);
                    (known.header, known.called)
                }
            };
            // Projectors for images lie beside their model and are none.
            if base.to_ascii_lowercase().starts_with("mmproj") || header.as_ref().is_ok_and(|h| h.architecture == "clip") {
                continue;
            }
            let relative = relative.with_extension("").to_string_lossy().replace('\\', "/");
            let mut file = name::split(called);
            if let Some((name, quant)) = pulled {
                (file.base, file.quant) = (name, quant.or(file.quant));
            }
            candidates.push(Candidate { path: found.path.clone(), relative, file, bytes, modified: found.modified, header });
        }
        candidates
    }

    /// The header of a file, and what it is called if it was pulled.
    fn known(&mut self, found: &Listed) -> Known {
        if let Some(known) = self.files.get(&found.path)
            && (known.bytes, known.modified) == (found.bytes, found.modified)
        {
            return known.clone();
        }
        let pulled = found.path.parent().and_then(Manifest::of_dir);
        let pulled = pulled.filter(|m| found.path.file_name().is_some_and(|file| m.files.iter().any(|piece| *piece.file == *file)));
        let mut header = Header::of_file(&found.path).map_err(|e| e.to_string());
        if let Err(reason) = &header {
            tracing::warn!(path = %found.path.display(), reason, "a model file can't be used");
        }
        if let (Ok(header), Some(template)) = (&mut header, pulled.as_ref().and_then(|m| m.chat_template.clone())) {
            header.template = Some(template);
        }
        let called = pulled.map(|m| (m.name, m.quantization));
        let known = Known { bytes: found.bytes, modified: found.modified, header: header.map(Arc::new), called };
        self.files.insert(found.path.clone(), known.clone());
        known
    }
}

/// A `.gguf` file as the directory lists it.
struct Listed {
    path: PathBuf,
    bytes: u64,
    modified: SystemTime,
}

fn walk(dir: &Path, depth: usize, budget: &mut usize, files: &mut Vec<Listed>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        if *budget == 0 {
            break;
        }
        *budget -= 1;
        let Ok(entry) = entry else { continue };
        let path = entry.path();
        // Follows links: model stores link into caches.
        let Ok(about) = fs::metadata(&path) else { continue };
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if about.is_dir() && depth > 1 {
            // One unreadable directory hides its own models only.
            let _ = walk(&path, depth - 1, budget, files);
        } else if about.is_file() && path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")) && files.len() < MODELS_MAX * 4 {
            files.push(Listed { path, bytes: about.len(), modified: about.modified().unwrap_or(SystemTime::UNIX_EPOCH) });
        }
    }
    Ok(())
}

/// Gives every candidate an id of its own. The file that came first keeps the plain id, so that a second quantisation of a
/// model does not change what its name means.
fn arrange(mut candidates: Vec<Candidate>) -> Shelf {
    candidates.sort_by(|a, b| (a.header.is_err(), a.modified, &a.path).cmp(&(b.header.is_err(), b.modified, &b.path)));
    candidates.truncate(MODELS_MAX);
    let mut shelf = Shelf::default();
    let mut aliases = Vec::new();
    for candidate in candidates {
        let id = free_id(&candidate, &shelf.names);
        let found = match candidate.header {
            Ok(header) => {
                let (path, bytes, modified, quant) = (candidate.path, candidate.bytes, candidate.modified, candidate.file.quant.clone());
                let model = Arc::new(Model { id: id.clone(), path, bytes, modified, quant, header });
                shelf.models.push(model.clone());
                Found::Model(model)
            }
            Err(reason) => {
                shelf.broken.push((id.clone(), reason.clone()));
                Found::Broken(id.clone(), reason)
            }
        };
        aliases.push((candidate.file.stem.to_lowercase(), found.clone()));
        aliases.push((candidate.relative.to_lowercase(), found.clone()));
        shelf.names.insert(id, found);
    }
    for (alias, found) in aliases {
        shelf.names.entry(alias).or_insert(found);
    }
    shelf.models.sort_by(|a, b| a.id.cmp(&b.id));
    shelf
}

fn free_id(candidate: &Candidate, taken: &HashMap<String, Found>) -> String {
    let file = &candidate.file;
    let with_quant = file.quant.as_ref().map(|quant| format!("{}-{quant}", file.base));
    let by_path = candidate.relative.to_lowercase().replace('/', "-");
    let wanted = [Some(file.base.clone()), with_quant, Some(by_path.clone())];
    let free = wanted.into_iter().flatten().find(|id| !taken.contains_key(id));
    free.unwrap_or_else(|| (2..=MODELS_MAX + 1).map(|n| format!("{by_path}-{n}")).find(|id| !taken.contains_key(id)).unwrap_or(by_path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn library(files: &[&str]) -> (tempfile::TempDir, Arc<Library>) {
        let dir = tempfile::tempdir().unwrap();
        for (age, file) in files.iter().enumerate() {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, testing::gguf("", &[])).unwrap();
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + age as u64);
            fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
        }
        let library = Arc::new(Library::new(dir.path()));
        (dir, library)
    }

    fn id(shelf: &Shelf, name: &str) -> Option<String> {
        match shelf.find(name)? {
            Found::Model(model) => Some(model.id.clone()),
            Found::Broken(..) => None,
        }
    }

    #[test]
    fn every_layout_is_found_under_its_names() {
        let (_dir, library) = library(&[
            "Tiny-Chat.Q4_0.gguf",
            "named/model.gguf",
            "owner/Repo-GGUF/File-Q8_0.gguf",
            ".hidden/x.gguf",
            "a/b/c/too-deep.gguf",
            "notes.txt",
        ]);
        let shelf = library.shelf();
        assert_eq!(shelf.ids(), ["file", "named", "tiny-chat"]);
        for (name, wanted) in [
            ("tiny-chat", "tiny-chat"),
            ("TINY-CHAT", "tiny-chat"),
            ("Tiny-Chat.Q4_0", "tiny-chat"),
            ("tiny-chat.q4_0.gguf", "tiny-chat"),
            ("named", "named"),
            ("owner/repo-gguf/file-q8_0", "file"),
        ] {
            assert_eq!(id(&shelf, name).as_deref(), Some(wanted), "{name}");
        }
        assert!(shelf.find("nope").is_none());
    }

    #[test]
    fn the_first_file_keeps_the_name_and_later_ones_take_their_quantisation() {
        let (_dir, library) = library(&["m.Q8_0.gguf", "m.Q4_0.gguf", "x/m.Q4_0.gguf", "y/m.Q4_0.gguf"]);
        assert_eq!(library.shelf().ids(), ["m", "m-q4_0", "x-m.q4_0", "y-m.q4_0"]);
        assert_eq!(id(&library.shelf(), "m.Q4_0").as_deref(), Some("m-q4_0"));
    }

    #[test]
    fn shards_are_one_model_and_all_must_be_there() {
        let (_dir, library) = library(&["big-Q4_0-00001-of-00002.gguf", "big-Q4_0-00002-of-00002.gguf", "part-00001-of-00002.gguf"]);
        let shelf = library.shelf();
        assert_eq!(shelf.ids(), ["big"]);
        assert_eq!(shelf.models[0].bytes, 2 * testing::gguf("", &[]).len() as u64);
        assert!(matches!(shelf.find("part"), Some(Found::Broken(_, reason)) if reason.contains("part 2 of 2 is missing")));
    }

    #[test]
    fn a_damaged_file_is_known_with_its_reason() {
        let (dir, library) = library(&["good.gguf"]);
        fs::write(dir.path().join("bad.gguf"), b"GGUF\x07\x07\x07\x07").unwrap();
        let shelf = library.shelf();
        assert_eq!(shelf.ids(), ["good"]);
        assert!(matches!(shelf.find("bad"), Some(Found::Broken(id, reason)) if id == "bad" && reason.contains("version")));
    }

    #[test]
    fn a_directory_that_does_not_exist_is_empty() {
        assert!(Library::new("/nonexistent/models").shelf().models.is_empty());
    }
}
