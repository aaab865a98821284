//! A hub of models with the Hugging Face API: search, what a repository holds, and where its files are.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use http::{
    HeaderValue, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, LOCATION, RETRY_AFTER},
};
use net::{Body, Client, Timeouts, download::Source};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

/// The public hub.
pub const PUBLIC: &str = "https://huggingface.co";
/// Largest answer that is read, in bytes: a page of a hundred repositories with their files.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// Most files of a repository that are looked at.
const FILES_MAX: usize = 20_000;
/// Most redirects of one question, to a repository's new name.
const REDIRECTS_MAX: usize = 3;
/// Longest name of a repository or a revision, in bytes.
const NAME_BYTES_MAX: usize = 200;
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(10),
    first_byte: Duration::from_secs(30),
    idle: Duration::from_secs(15),
    total: Duration::from_mins(1),
};
/// What stands as itself in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why the hub gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Such a thing can't exist there.
    #[error("{0}")]
    Name(String),
    /// It does not exist there.
    #[error("{0} does not exist on the hub")]
    Missing(String),
    /// It exists, and this router may not have it.
    #[error("the hub does not give {0}: it is gated or private, and needs a token (HF_TOKEN) whose owner was let in")]
    Denied(String),
    /// Not now.
    #[error("the hub asks to be left alone for a while")]
    Busy {
        /// For how long, where it says so.
        retry_after: Option<Duration>,
    },
    /// It answers with a failure of its own.
    #[error("the hub answered {0}")]
    Failed(StatusCode),
    /// It was not reached.
    #[error("the hub was not reached: {0}")]
    Away(#[from] net::Error),
    /// It says what makes no sense.
    #[error("the hub's answer makes no sense: {0}")]
    Answer(String),
}

/// A file of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its path in the repository.
    pub path: String,
    /// Its length, where the hub says so.
    pub bytes: Option<u64>,
    /// Its SHA-256 in lower-case hex, where the hub says so.
    pub sha256: Option<String>,
}

/// A repository of models.
#[derive(Debug, Clone, Default)]
pub struct Repository {
    /// `owner/name`.
    pub id: String,
    /// The commit that its files are of.
    pub commit: Option<String>,
    /// Its labels.
    pub tags: Vec<String>,
    /// How often it was fetched lately.
    pub downloads: Option<u64>,
    /// Its files.
    pub files: Vec<RemoteFile>,
}

impl Repository {
    /// Its owner.
    pub fn owner(&self) -> &str {
        self.id.split('/').next().unwrap_or_default()
    }
}

/// What is searched for.
#[derive(Debug, Clone, Default)]
pub struct Search<'a> {
    /// Words of its name.
    pub text: &'a str,
    /// Only of this owner.
    pub author: Option<&'a str>,
    /// Only with this label, such as `gguf`.
    pub label: Option<&'a str>,
    /// Most repositories; the most fetched first.
    pub limit: usize,
}

/// A hub, or a mirror of one. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    client: Client,
    base: String,
    proof: Option<HeaderValue>,
}

impl Hub {
    /// The hub at `base` (no slash at its end); `token` is shown to its own host only.
    pub fn new(client: Client, base: &str, token: Option<&str>) -> Self {
        let proof = token.and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok()).map(|mut value| {
            value.set_sensitive(true);
            value
        });
        Self { client, base: base.trim_end_matches('/').to_owned(), proof }
    }

    /// What a repository holds, at a branch, tag or commit; `main` where none is named.
    ///
    /// # Errors
    /// It does not exist, may not be had, or the hub fails.
    pub async fn repository(&self, id: &str, revision: Option<&str>) -> Result<Repository, HubError> {
        check_repository(id)?;
        let revision = revision.unwrap_or("main");
        check_revision(revision)?;
        let path = format!("/api/models/{id}/revision/{}?blobs=true", utf8_percent_encode(revision, SEGMENT));
        let said: Said = self.ask(&path, &format!("the repository `{id}`")).await?;
        let mut found = said.into_repository();
        // A repository that was renamed answers under its new name; its files are asked for under the one that was asked for.
        id.clone_into(&mut found.id);
        Ok(found)
    }

    /// Repositories that fit. Their files may come without lengths.
    ///
    /// # Errors
    /// The hub fails.
    pub async fn search(&self, search: &Search<'_>) -> Result<Vec<Repository>, HubError> {
        let text = |text: &str| utf8_percent_encode(text, SEGMENT).to_string();
        let mut path = format!("/api/models?search={}&sort=downloads&direction=-1&limit={}&full=true", text(search.text), search.limit);
        for (name, value) in [("author", search.author), ("filter", search.label)] {
            if let Some(value) = value {
                let _ = write!(path, "&{name}={}", text(value));
            }
        }
        let said: Vec<Said> = self.ask(&path, "the search").await?;
        Ok(said.into_iter().map(Said::into_repository).filter(|found| check_repository(&found.id).is_ok()).collect())
    }

    /// Where a file can be had.
    ///
    /// # Errors
    /// Its name is none.
    pub fn source(&self, id: &str, revision: &str, path: &str) -> Result<Source, HubError> {
        let source = Source::new(&self.url_of(id, revision, path)?)?;
        Ok(match &self.proof {
            Some(proof) => source.with_proof(AUTHORIZATION, proof.clone()),
            None => source,
        })
    }

    /// The address of a file, without any proof.
    ///
    /// # Errors
    /// Its name is none.
    pub fn url_of(&self, id: &str, revision: &str, path: &str) -> Result<String, HubError> {
        check_repository(id)?;
        check_revision(revision)?;
        check_path(path)?;
        let path: Vec<String> = path.split('/').map(|segment| utf8_percent_encode(segment, SEGMENT).to_string()).collect();
        Ok(format!("{}/{id}/resolve/{}/{}", self.base, utf8_percent_encode(revision, SEGMENT), path.join("/")))
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, path: &str, what: &str) -> Result<T, HubError> {
        let mut path = path.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            let mut request = Request::get(format!("{}{path}", self.base)).header(ACCEPT, "application/json");
            if let Some(proof) = &self.proof {
                request = request.header(AUTHORIZATION, proof.clone());
            }
            let request = request.body(Body::empty()).map_err(|e| HubError::Name(format!("{what}: {e}")))?;
            let (head, body) = self.client.fetch(request, &TIMEOUTS, ANSWER_BYTES_MAX).await?.into_parts();
            let header = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
            match head.status.as_u16() {
                200 => return serde_json::from_slice(&body).map_err(|e| HubError::Answer(e.to_string())),
                301 | 302 | 307 | 308 => {
                    let to = header(LOCATION).unwrap_or_default();
                    let to = to.strip_prefix(&self.base).unwrap_or(to);
                    // Elsewhere the token must not go, and nothing else is expected.
                    if !to.starts_with('/') || to.starts_with("//") {
                        return Err(HubError::Answer("it sends questions elsewhere".to_owned()));
                    }
                    to.clone_into(&mut path);
                }
                404 => return Err(HubError::Missing(what.to_owned())),
                401 | 403 => return Err(HubError::Denied(what.to_owned())),
                429 => {
                    let retry_after = header(RETRY_AFTER).and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
                    return Err(HubError::Busy { retry_after });
                }
                _ => return Err(HubError::Failed(head.status)),
            }
        }
        Err(HubError::Answer("it redirects in circles".to_owned()))
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("base", &self.base).field("has_token", &self.proof.is_some()).finish_non_exhaustive()
    }
}

/// A repository in the hub's own words. Fields that are missing or of another kind are left out, not errors.
#[derive(Deserialize)]
struct Said {
    id: String,
    #[serde(default)]
    sha: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    downloads: Option<u64>,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    #[serde(default)]
    sha256: Option<String>,
    #[serde(default)]
    size: Option<u64>,
}

impl Said {
    fn into_repository(self) -> Repository {
        let file = |said: Sibling| {
            let (size, sha256) = said.lfs.map_or((None, None), |lfs| (lfs.size, lfs.sha256));
            RemoteFile { bytes: size.or(said.size), sha256: sha256.filter(|hash| is_sha256(hash)), path: said.rfilename }
        };
        let files = self.siblings.into_iter().take(FILES_MAX).filter(|said| check_path(&said.rfilename).is_ok()).map(file).collect();
        let commit = self.sha.filter(|sha| check_revision(sha).is_ok());
        Repository { id: self.id, commit, tags: self.tags, downloads: self.downloads, files }
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// `owner/name`, of letters, digits, `.`, `_` and `-`.
///
/// # Errors
/// [`HubError::Name`].
pub fn check_repository(id: &str) -> Result<(), HubError> {
    let is_part = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    let is_name = id.len() <= NAME_BYTES_MAX && id.split_once('/').is_some_and(|(owner, name)| is_part(owner) && is_part(name));
    if is_name { Ok(()) } else { Err(HubError::Name("a repository is named `owner/name`".to_owned())) }
}

/// A branch, tag or commit.
///
/// # Errors
/// [`HubError::Name`].
pub fn check_revision(revision: &str) -> Result<(), HubError> {
    let is_one = !revision.is_empty()
        && revision.len() <= NAME_BYTES_MAX
        && !revision.contains("..")
        && revision.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/'));
    if is_one { Ok(()) } else { Err(HubError::Name("a revision is a branch, a tag or a commit".to_owned())) }
}

/// A file's path below its repository: it leads nowhere else.
///
/// # Errors
/// [`HubError::Name`].
pub fn check_path(path: &str) -> Result<(), HubError> {
    let is_segment = |segment: &str| !segment.is_empty() && !matches!(segment, "." | "..") && segment.len() <= 255;
    let is_path = path.len() <= 1024 && !path.contains(['\\', '\0', ':']) && path.split('/').all(is_segment);
    if is_path { Ok(()) } else { Err(HubError::Name("a file is named by its path in the repository".to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        for good in ["TheBloke/Llama-2-7B-GGUF", "a/b.c_d"] {
            assert!(check_repository(good).is_ok(), "{good}");
        }
        for wrong in ["", "no-slash-at-all", "/x", "x/", "a/b/c", "../x", "a/..", "a/b?c", "a b/c", "a/b#", "%2e/x"] {
            assert!(check_repository(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "/etc/passwd", "a//b", "../x", "a/../b", "a\\b", "c:x", "a/"] {
            assert!(check_path(wrong).is_err(), "{wrong}");
        }
        assert!(check_path("UD-Q4/model 1.gguf").is_ok());
        assert!(check_revision("refs/pr/1").is_ok() && check_revision("a..b").is_err() && check_revision("").is_err());
    }

    #[test]
    fn the_address_of_a_file() {
        let hub = Hub::new(Client::new(net::Settings::default()), "https://mirror/", Some("hf_secret"));
        assert_eq!(hub.url_of("o/n", "main", "a b/c#.gguf").unwrap(), "https://mirror/o/n/resolve/main/a%20b/c%23.gguf");
        assert!(!format!("{hub:?}").contains("hf_secret"));
    }

    #[test]
    fn what_a_hub_says_may_lack_much() {
        let said: Said = serde_json::from_str(
            r#"{"id": "o/n", "modelId": "o/n", "siblings": [{"rfilename": "a.gguf", "size": 3, "lfs": {"sha256": "zz"}}, {"rfilename": "../x"}], "gated": "auto"}"#,
        )
        .unwrap();
        let found = said.into_repository();
        assert_eq!(found.files, [RemoteFile { path: "a.gguf".to_owned(), bytes: Some(3), sha256: None }]);
        assert_eq!((found.commit, found.downloads), (None, None));
    }
}
