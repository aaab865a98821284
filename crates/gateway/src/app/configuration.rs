//! The configuration while the router runs: read again, changed over the API, kept in versions.
//!
//! What is in force is one text of one file, with what flags and environment say beside it. A new text is judged as a whole before anything is
//! touched; then its version is stored, the file replaced, and the snapshot swapped, in this order: what is interrupted leaves a file and a
//! snapshot that agree at the next start.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use config::{
    ConfigError, Environment, Loaded, Origin, Problem,
    edit::{self, Change, Document, Target},
};
use serde_json::Value;
use store::config_versions::{self, Version};
use wire::{Code, Failure};

use super::{App, PoisonError, StartError};
use crate::{admin::trail, snapshot, snapshot::House, stored::Stored, vault::Seal};

/// What the seal of a version is bound to.
const SEAL_PLACE: &str = "configuration";

/// The text in force, and what seals those that were.
pub(super) struct Versions {
    in_force: Mutex<InForce>,
    seal: Seal,
}

impl Versions {
    /// Versions that a secret opens.
    pub(super) fn new(secret: &str) -> Result<Self, StartError> {
        Ok(Self { in_force: Mutex::default(), seal: Seal::new("versions of the configuration", secret)? })
    }

    fn in_force(&self) -> MutexGuard<'_, InForce> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct InForce {
    version: Option<i64>,
    text: Arc<str>,
}

/// What the file shall say.
pub enum Wanted {
    /// Its text.
    Text(String),
    /// The same without a form of its own.
    Json(Value),
    /// What a version said.
    Version(i64),
}

/// How a change is to be made.
#[derive(Default)]
pub struct Terms {
    /// The version that it was made from; another one in force is a conflict.
    pub base: Option<i64>,
    /// [`App::config_tag`] of the text that it was made from.
    pub tag: Option<String>,
    pub author: Option<String>,
    pub comment: Option<String>,
    /// Only judge it.
    pub is_dry_run: bool,
}

/// What came of a change.
pub struct Configured {
    /// `None` where nothing was stored: it was only judged.
    pub version: Option<i64>,
    pub warnings: Vec<String>,
    pub changes: Vec<Change>,
}

/// Between two looks at a file that may just be written.
const SETTLING: Duration = Duration::from_millis(20);

/// Most looks at it.
const LOOKS_MAX: u32 = 25;

/// What two looks in a row agree on: an editor that writes into the file itself leaves half of it there for a moment, and half of a file, or an
/// empty one, may be valid.
async fn settled<T>(mut look: impl FnMut() -> T, is_same: impl Fn(&T, &T) -> bool) -> T {
    let mut before = look();
    for _ in 1..LOOKS_MAX {
        tokio::time::sleep(SETTLING).await;
        let now = look();
        if is_same(&before, &now) {
            return now;
        }
        before = now;
    }
    before
}

impl App {
    /// The number and the text of the configuration file that is in force. No number: there was never a file, or it could not be stored.
    pub fn config_in_force(&self) -> (Option<i64>, Arc<str>) {
        let in_force = self.versions.in_force();
        (in_force.version, in_force.text.clone())
    }

    /// A word that is another for every other text.
    pub fn config_tag(&self) -> String {
        let (_, text) = self.config_in_force();
        let first = policy::hash(&text).first_chunk().copied().map_or(0, u64::from_be_bytes);
        format!("{first:016x}")
    }

    /// The text of a stored version; `None` where it was sealed with another secret.
    pub fn config_text(&self, version: &Version) -> Option<String> {
        String::from_utf8(self.versions.seal.open(SEAL_PLACE, &version.sealed)?).ok()
    }

    /// Reads environment and file again. A configuration that is not valid changes nothing.
    ///
    /// # Errors
    /// The first wrong value, in words.
    pub async fn reload(&self) -> Result<Vec<String>, StartError> {
        let _order = self.rebuilding.lock().await;
        let environment = Environment::of_process()?;
        let read = || config::load(&self.sources.args, &environment);
        let loaded = settled(read, |a, b| match (a, b) {
            (Ok(a), Ok(b)) => a.text.as_ref().map(config::Secret::expose) == b.text.as_ref().map(config::Secret::expose),
            (Err(a), Err(b)) => a.to_string() == b.to_string(),
            _ => false,
        })
        .await?;
        let stored = Stored::read(&self.store).await?;
        let house = self.judge(&loaded, &stored)?;
        let mut warnings = loaded.warnings.clone();
        let (_, before) = self.config_in_force();
        warnings.extend(read_at_start(&changes_of(&before, &loaded).unwrap_or_default()));
        self.put_in_force(loaded, house).await?;
        self.note_version("file").await;
        tracing::info!("the configuration was read again");
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        Ok(warnings)
    }

    /// Replaces the configuration file and puts it in force; secrets that come masked are those of the text in force.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] with every problem; [`Code::Conflict`] where somebody else has changed it in the meantime, over the API or on the
    /// disk; [`Code::Unprocessable`] where the file can't be written. Nothing is changed then.
    pub async fn configure(&self, wanted: Wanted, terms: Terms) -> Result<Configured, Failure> {
        let _order = self.rebuilding.lock().await;
        let environment = Environment::of_process().map_err(|error| invalid(&[Problem::of(&error)]))?;
        let target = edit::target(&self.sources.args, &environment).map_err(|error| refused(&error))?;
        let (version, text) = self.config_in_force();
        self.check_base(version, &terms)?;
        if target.text() != &*text {
            let message = format!(
                "{} was changed on the disk and is not in force: read it again (POST /config/reload) before it is replaced",
                target.path().display()
            );
            return Err(Failure::new(Code::Conflict, message));
        }
        let known = Document::new(&*text, target.path()).map_err(|error| refused(&error))?;
        let document = self.document(&wanted, &known, target.path()).await?;
        let loaded =
            config::check_text(&self.sources.args, &environment, document.text(), target.path()).map_err(|problems| invalid(&problems))?;
        let stored = Stored::read(&self.store).await.map_err(|error| error.failure())?;
        let said = |error: &StartError| invalid(&[Problem { message: error.to_string(), key: None, line: None }]);
        let house = self.judge(&loaded, &stored).map_err(|error| said(&error))?;
        let has_keys = stored.keys.iter().any(|key| key.revoked_at_ms.is_none());
        loaded.config.check_keys(has_keys).map_err(|error| invalid(&[Problem::of(&error)]))?;
        let changes = edit::changes(&known, &document);
        let mut warnings = loaded.warnings.clone();
        warnings.extend(overridden(&changes, &loaded));
        warnings.extend(read_at_start(&changes));
        if terms.is_dry_run {
            return Ok(Configured { version: None, warnings, changes });
        }
        let origin = if matches!(wanted, Wanted::Version(_)) { "revert" } else { "api" };
        let version = self.replace(&target, &document, &changes, origin, terms).await?;
        self.put_in_force(loaded, house).await.map_err(|error| said(&error))?;
        tracing::info!(version, "the configuration was changed");
        Ok(Configured { version: Some(version), warnings, changes })
    }

    fn check_base(&self, version: Option<i64>, terms: &Terms) -> Result<(), Failure> {
        let is_other = terms.base.is_some_and(|base| Some(base) != version);
        if is_other || terms.tag.as_ref().is_some_and(|tag| *tag != self.config_tag()) {
            let named = version.map_or_else(|| "another text".to_owned(), |version| format!("version {version}"));
            return Err(Failure::new(Code::Conflict, format!("{named} is in force: look at it before it is replaced")));
        }
        Ok(())
    }

    /// What the file shall say, as a document without masks.
    async fn document(&self, wanted: &Wanted, known: &Document, path: &Path) -> Result<Document, Failure> {
        let of_error = |error: ConfigError| invalid(&[Problem::of(&error)]);
        let mut document = match wanted {
            // A file that somebody's script could not read comes like this.
            Wanted::Text(text) if text.trim().is_empty() => {
                return Err(Failure::new(Code::InvalidRequest, "the configuration is empty: one without settings is `{}`"));
            }
            Wanted::Text(text) => Document::new(text.as_str(), path).map_err(of_error)?,
            Wanted::Json(says) => Document::of_json(says, path).map_err(of_error)?,
            Wanted::Version(number) => {
                let found = config_versions::get(&self.store, *number).await.map_err(|error| error.failure())?;
                let found =
                    found.ok_or_else(|| Failure::new(Code::NotFound, format!("there is no version {number} of the configuration")))?;
                let sealed = || {
                    Failure::new(Code::Unprocessable, format!("version {number} was sealed with another secret than the router has now"))
                };
                return Document::new(self.config_text(&found).ok_or_else(sealed)?, path).map_err(of_error);
            }
        };
        document.unmask(known).map_err(|lost| invalid(&lost))?;
        Ok(document)
    }

    /// Stores the version and replaces the file.
    async fn replace(&self, target: &Target, document: &Document, changes: &[Change], origin: &str, terms: Terms) -> Result<i64, Failure> {
        let version = self.sealed(document.text(), changes, origin).map(|version| Version {
            author: terms.author,
            comment: terms.comment,
            ..version
        });
        let version = version.ok_or_else(|| Failure::new(Code::InternalError, "the version could not be sealed"))?;
        trail::note_changes(changes);
        let number = config_versions::insert(&self.store, &version).await.map_err(|error| error.failure())?;
        trail::about(&number.to_string());
        if let Err(error) = target.write(document.text()) {
            if let Err(error) = config_versions::delete(&self.store, number).await {
                tracing::error!(%error, number, "a version that did not come in force is still listed");
            }
            return Err(refused(&error));
        }
        *self.versions.in_force() = InForce { version: Some(number), text: document.text().into() };
        Ok(number)
    }

    fn sealed(&self, text: &str, changes: &[Change], origin: &str) -> Option<Version> {
        Some(Version {
            at_ms: store::now_ms(),
            origin: origin.to_owned(),
            changes: serde_json::to_value(changes).ok()?,
            sealed: self.versions.seal.seal(SEAL_PLACE, text.as_bytes().to_vec())?,
            ..Version::default()
        })
    }

    /// Keeps the text that was just read as a version, if it is another than the newest.
    pub async fn note_version(&self, origin: &str) {
        let loaded = self.loaded();
        let text: Arc<str> = loaded.text.as_ref().map_or("", config::Secret::expose).into();
        let newest = match config_versions::list(&self.store, None, 1).await {
            Ok(found) => found.into_iter().next(),
            Err(error) => return tracing::error!(%error, "versions of the configuration cannot be read"),
        };
        let known = newest.as_ref().and_then(|newest| self.config_text(newest));
        let set = |version| *self.versions.in_force() = InForce { version, text: text.clone() };
        match newest {
            Some(newest) if known.as_deref() == Some(&*text) => return set(Some(newest.version)),
            None if loaded.file.is_none() => return set(None),
            _ => set(None),
        }
        let changes = known.and_then(|known| changes_of(&known, &loaded));
        let Some(version) = self.sealed(&text, &changes.unwrap_or_default(), origin) else { return };
        match config_versions::insert(&self.store, &version).await {
            Ok(number) => set(Some(number)),
            Err(error) => tracing::error!(%error, "the version of the configuration that is in force cannot be stored"),
        }
    }

    /// The snapshot of a configuration that may come in force.
    fn judge(&self, loaded: &Loaded, stored: &Stored) -> Result<House, StartError> {
        self.check_openness(&loaded.config)?;
        telemetry::logs::Logs::check_level(&loaded.config.log.level).map_err(|error| StartError::Settings(error.to_string()))?;
        House::build(Arc::new(loaded.config.clone()), stored, &self.health, &self.discovery.lists(), Some(&self.grants))
            .map_err(StartError::Settings)
    }

    async fn put_in_force(&self, loaded: Loaded, house: House) -> Result<(), StartError> {
        if let Some(logs) = &*self.logs.lock().unwrap_or_else(PoisonError::into_inner) {
            logs.set_level(&loaded.config.log.level).map_err(|error| StartError::Settings(error.to_string()))?;
        }
        self.fleet.set_settings(snapshot::fleet_settings(&loaded.config));
        self.registry.set_settings(&loaded.config);
        self.move_in(house).await;
        self.loaded.store(Arc::new(loaded));
        Ok(())
    }
}

/// How the text that was loaded differs from the one before; `None` where one of them can't be read.
fn changes_of(before: &str, loaded: &Loaded) -> Option<Vec<Change>> {
    let path = loaded.file.clone().unwrap_or_default();
    let document = |text: &str| Document::new(text, &path).ok();
    let after = loaded.text.as_ref().map_or("", config::Secret::expose);
    Some(edit::changes(&document(before)?, &document(after)?))
}

/// Changes of the file that change nothing, since a flag or a variable says the same setting.
fn overridden(changes: &[Change], loaded: &Loaded) -> Vec<String> {
    let wins = |change: &Change| {
        let shown = loaded.shown.iter().find(|shown| shown.key == change.key)?;
        let is_stronger = matches!(shown.origin, Origin::Flag(_) | Origin::Environment(_) | Origin::DotEnv(_));
        is_stronger.then(|| format!("{} has no effect: {} says it too, and wins", shown.key, shown.origin))
    };
    changes.iter().filter_map(wins).collect()
}

/// Settings that a router which runs does not take up.
const AT_START: [&str; 10] = [
    "server.host",
    "server.port",
    "server.listen",
    "server.data_dir",
    "server.max_body",
    "server.max_upload",
    "server.max_header",
    "server.header_timeout",
    "server.max_connections",
    "server.threads",
];

/// Warnings of changes that wait for the next start.
fn read_at_start(changes: &[Change]) -> impl Iterator<Item = String> {
    let waits = |change: &&Change| AT_START.contains(&&*change.key) || change.key.starts_with("store.") || change.key == "cache.redis_url";
    changes.iter().filter(waits).map(|change| format!("{} is read at start: it counts when the router is started again", change.key))
}

/// The failure of a configuration that is not valid: every problem in `error.errors`.
fn invalid(problems: &[Problem]) -> Failure {
    let first = problems.first().map_or("the configuration is not valid", |problem| problem.message.as_str());
    let message = match problems.len() {
        0 | 1 => first.to_owned(),
        n => format!("{first} (and {} more)", n - 1),
    };
    let key = problems.first().and_then(|problem| problem.key.clone());
    let failure = Failure::new(Code::InvalidRequest, message).with("errors", serde_json::to_value(problems).unwrap_or_default());
    match key {
        Some(key) => failure.at(key),
        None => failure,
    }
}

/// The failure of a file that can't be read or written.
fn refused(error: &ConfigError) -> Failure {
    Failure::new(Code::Unprocessable, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_read_when_it_is_written() {
        let mut texts = ["", "accounts: [", "accounts: []\naliases: {}", "accounts: []\naliases: {}", "other"].into_iter();
        assert_eq!(settled(|| texts.next().unwrap(), |a, b| a == b).await, "accounts: []\naliases: {}");
        let mut looks = 0;
        let last = settled(
            || {
                looks += 1;
                looks
            },
            |a, b| a == b,
        );
        assert_eq!(last.await, LOOKS_MAX, "one that never settles is taken as it is in the end");
    }
}
