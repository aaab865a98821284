//! Which files of a repository are meant.

use crate::{
    hub::{self, HubError, RemoteFile},
    name,
};

/// Which quantisation is taken where none is named: the first of these that is there. Small enough for most machines, and hardly worse.
const LIKED: [&str; 12] =
    ["q4_k_m", "ud-q4_k_xl", "q4_k_s", "q5_k_m", "iq4_xs", "q4_0", "q4_1", "q5_k_s", "q6_k", "mxfp4", "q8_0", "q3_k_m"];

/// A model as people name it on a command line: `owner/name`, `owner/name:Q4_K_M`, `owner/name@revision:file.gguf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// `owner/name`.
    pub repository: String,
    /// A branch, tag or commit.
    pub revision: Option<String>,
    /// A file.
    pub file: Option<String>,
    /// A quantisation.
    pub quant: Option<String>,
}

impl Reference {
    /// Reads one.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, HubError> {
        let (head, tail) = text.split_once(':').map_or((text, None), |(head, tail)| (head, Some(tail)));
        let (repository, revision) = head.split_once('@').map_or((head, None), |(id, revision)| (id, Some(revision)));
        hub::check_repository(repository)?;
        revision.map_or(Ok(()), hub::check_revision)?;
        tail.map_or(Ok(()), hub::check_path)?;
        let is_file = tail.is_some_and(is_gguf);
        let (file, quant) = if is_file { (tail, None) } else { (None, tail) };
        let own = |text: Option<&str>| text.map(str::to_owned);
        Ok(Self { repository: repository.to_owned(), revision: own(revision), file: own(file), quant: own(quant) })
    }
}

/// The files of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What the model will be called.
    pub name: String,
    /// Its quantisation in lower case, where a name says so.
    pub quant: Option<String>,
    /// Its file, or its parts in order.
    pub files: Vec<RemoteFile>,
    /// Others that were there, by their quantisation or name.
    pub others: Vec<String>,
}

impl Choice {
    /// Bytes of all files, where all are known.
    pub fn bytes(&self) -> Option<u64> {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// Why nothing is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// The repository has no GGUF file.
    #[error("the repository holds no GGUF file")]
    NoGguf,
    /// Not this one.
    #[error("Specified GGUF file not found: `{wanted}` is none of {there}")]
    NotThere {
        /// What was asked for.
        wanted: String,
        /// What there is.
        there: String,
    },
    /// Parts are missing.
    #[error("`{0}` has not all its parts in the repository")]
    Incomplete(String),
}

/// Chooses by file, else by quantisation, else the only one, else the one that is liked most.
///
/// # Errors
/// None fits.
pub fn choose(repository: &str, files: &[RemoteFile], file: Option<&str>, quant: Option<&str>) -> Result<Choice, ChoiceError> {
    let mut models = models(repository, files)?;
    let there = || models.iter().map(Model::label).collect::<Vec<_>>();
    let at = match (file, quant) {
        (Some(file), _) => models.iter().position(|model| model.files.iter().any(|part| part.path == file)),
        (None, Some(quant)) => models.iter().position(|model| model.quant.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(quant))),
        (None, None) if models.len() == 1 => Some(0),
        (None, None) => {
            let liked = LIKED.iter().find_map(|liked| models.iter().position(|model| model.quant.as_deref() == Some(liked)));
            liked.or_else(|| (0..models.len()).min_by_key(|at| models[*at].bytes()))
        }
    };
    let Some(at) = at else {
        let wanted = file.or(quant).unwrap_or_default().chars().take(200).collect();
        return Err(ChoiceError::NotThere { wanted, there: there().join(", ") });
    };
    let others = there().into_iter().enumerate().filter(|(other, _)| *other != at).map(|(_, label)| label).collect();
    let model = models.swap_remove(at);
    if !model.is_whole() {
        return Err(ChoiceError::Incomplete(model.label()));
    }
    Ok(Choice { name: model.name, quant: model.quant, files: model.files, others })
}

/// All models of a repository whose files are whole, in order of their paths.
pub fn all(repository: &str, files: &[RemoteFile]) -> Vec<Choice> {
    let whole = models(repository, files).unwrap_or_default().into_iter().filter(Model::is_whole);
    whole.map(|model| Choice { name: model.name, quant: model.quant, files: model.files, others: Vec::new() }).collect()
}

/// Whether a path ends as GGUF files do.
pub(crate) fn is_gguf(path: &str) -> bool {
    path.len() > 5 && path.as_bytes()[path.len() - 5..].eq_ignore_ascii_case(b".gguf")
}

struct Model {
    name: String,
    quant: Option<String>,
    files: Vec<RemoteFile>,
    parts: u32,
}

impl Model {
    fn label(&self) -> String {
        self.quant.as_ref().map_or_else(|| self.files[0].path.clone(), |quant| quant.to_uppercase())
    }

    fn bytes(&self) -> u64 {
        self.files.iter().filter_map(|file| file.bytes).fold(0, u64::saturating_add)
    }

    fn is_whole(&self) -> bool {
        self.files.len() as u32 == self.parts
    }
}

/// The models of a repository, parts put together.
fn models(repository: &str, files: &[RemoteFile]) -> Result<Vec<Model>, ChoiceError> {
    let mut files: Vec<&RemoteFile> = files.iter().filter(|file| is_gguf(&file.path) && !is_projector(&file.path)).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut models: Vec<Model> = Vec::new();
    let mut begun: Vec<(String, usize)> = Vec::new();
    for file in files {
        let stem = &file.path[..file.path.len() - 5];
        let (base, parts) = name::shard(stem).map_or((stem, 1), |(base, _, count)| (base, count));
        let key = format!("{base}/{parts}");
        if let Some((_, at)) = begun.iter().find(|(other, _)| parts > 1 && *other == key) {
            models[*at].files.push(file.clone());
            continue;
        }
        begun.push((key, models.len()));
        let (name, quant) = name::of_file(base, repository);
        models.push(Model { name, quant, files: vec![file.clone()], parts });
    }
    if models.is_empty() { Err(ChoiceError::NoGguf) } else { Ok(models) }
}

/// A projector for images: it lies beside its model and is none.
fn is_projector(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|file| file.to_ascii_lowercase().starts_with("mmproj"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(paths: &[&str]) -> Vec<RemoteFile> {
        paths.iter().map(|path| RemoteFile { path: (*path).to_owned(), bytes: Some(path.len() as u64), sha256: None }).collect()
    }

    fn chosen(paths: &[&str], file: Option<&str>, quant: Option<&str>) -> Result<(String, Vec<String>), ChoiceError> {
        choose("o/Thing-GGUF", &files(paths), file, quant).map(|c| (c.name, c.files.into_iter().map(|f| f.path).collect()))
    }

    #[test]
    fn by_file_by_quantisation_or_the_one_that_is_liked() {
        let paths = ["thing.Q8_0.gguf", "thing.Q4_K_M.gguf", "README.md", "mmproj-F16.gguf"];
        let one = |path: &str| Ok(("thing".to_owned(), vec![path.to_owned()]));
        assert_eq!(chosen(&paths, None, None), one("thing.Q4_K_M.gguf"));
        assert_eq!(chosen(&paths, Some("thing.Q8_0.gguf"), None), one("thing.Q8_0.gguf"));
        assert_eq!(chosen(&paths, None, Some("Q8_0")), one("thing.Q8_0.gguf"));
        assert!(chosen(&paths, None, Some("Q2_K")).unwrap_err().to_string().contains("Q4_K_M, Q8_0"));
        assert!(chosen(&paths, Some("nope.gguf"), None).unwrap_err().to_string().contains("Specified GGUF file not found"));
        assert_eq!(chosen(&["README.md", "mmproj-F16.gguf"], None, None), Err(ChoiceError::NoGguf));
    }

    #[test]
    fn parts_are_one_model_and_all_must_be_there() {
        let whole = ["Q8_0/big-Q8_0-00001-of-00002.gguf", "Q8_0/big-Q8_0-00002-of-00002.gguf"];
        let (name, paths) = chosen(&whole, None, None).unwrap();
        assert_eq!((name.as_str(), paths.len()), ("big", 2));
        assert_eq!(chosen(&whole, Some(whole[1]), None).unwrap().1, whole);
        assert!(matches!(chosen(&whole[..1], None, None), Err(ChoiceError::Incomplete(_))));
    }

    #[test]
    fn references_of_the_command_line() {
        let read = |text: &str| Reference::parse(text).map(|r| (r.repository, r.revision, r.file, r.quant)).ok();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read("o/n"), Some(("o/n".to_owned(), None, None, None)));
        assert_eq!(read("o/n:Q4_K_M"), Some(("o/n".to_owned(), None, None, some("Q4_K_M"))));
        assert_eq!(read("o/n@v1:a/b.gguf"), Some(("o/n".to_owned(), some("v1"), some("a/b.gguf"), None)));
        for wrong in ["n", "o/n:../x.gguf", "o/n@..", "o/n:"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
