//! Registering a model, and bringing its files.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use models::{Choice, ChoiceError, Manifest, PullError, choose, hub::RemoteFile};
use serde::Deserialize;
use serde_json::{Value, json};
use store::model_files::{self, ModelFile};
use wire::{Code, Failure};

use super::{Entry, MEMORY_FACTOR, MODELS_MAX, Registry, convert::ConversionWanted, may_pass, refused, stored};

/// How often a download is begun again, besides its own tries, before it counts as failed.
const ROUNDS_MAX: u32 = 5;
/// Pause before the second round; doubled with each further one.
const ROUND_PAUSE: Duration = Duration::from_secs(2);
/// Longest chat template and name for people, in bytes.
const TEMPLATE_BYTES_MAX: usize = 1 << 20;
const DISPLAY_NAME_BYTES_MAX: usize = 256;

/// `POST /api/models/register`.
#[derive(Debug, Default, Deserialize)]
pub struct RegistrationWanted {
    /// `owner/name` on the hub.
    #[serde(default)]
    pub repo: String,
    /// A GGUF file of it; chosen where none is named.
    #[serde(default)]
    pub filename: Option<String>,
    /// A quantisation, instead of a file.
    #[serde(default)]
    pub quantization: Option<String>,
    /// A branch, tag or commit.
    #[serde(default)]
    pub revision: Option<String>,
    /// For people.
    #[serde(default)]
    pub display_name: Option<String>,
    /// Replaces the file's own.
    #[serde(default)]
    pub chat_template: Option<String>,
}

impl RegistrationWanted {
    fn check(&self) -> Result<(), Failure> {
        let is_long = |text: &Option<String>, max| text.as_ref().is_some_and(|text| text.len() > max);
        if is_long(&self.chat_template, TEMPLATE_BYTES_MAX) {
            return Err(Failure::invalid("chat_template", format!("a chat template has at most {TEMPLATE_BYTES_MAX} bytes")));
        }
        if is_long(&self.display_name, DISPLAY_NAME_BYTES_MAX) {
            return Err(Failure::invalid("display_name", format!("a name has at most {DISPLAY_NAME_BYTES_MAX} bytes")));
        }
        Ok(())
    }
}

impl Registry {
    /// Registers a model of the hub and begins to bring its file, or to convert it where it has none in GGUF.
    ///
    /// # Errors
    /// It does not exist there, is registered already, or the hub fails.
    pub async fn register(self: &Arc<Self>, mut wanted: RegistrationWanted) -> Result<Value, Failure> {
        for text in
            [&mut wanted.filename, &mut wanted.quantization, &mut wanted.revision, &mut wanted.chat_template, &mut wanted.display_name]
        {
            *text = text.take().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        }
        wanted.check()?;
        let repo = wanted.repo.trim();
        let found = self.hub().repository(repo, wanted.revision.as_deref()).await.map_err(refused)?;
        let choice = match choose(repo, &found.files, wanted.filename.as_deref(), wanted.quantization.as_deref()) {
            Ok(choice) => choice,
            Err(ChoiceError::NoGguf) if wanted.filename.is_none() && has_safetensors(&found.files) => {
                return self.register_by_conversion(&wanted).await;
            }
            Err(error @ ChoiceError::NoGguf) => return Err(Failure::invalid("repo", error.to_string())),
            Err(error) => {
                return Err(Failure::invalid(if wanted.filename.is_some() { "filename" } else { "quantization" }, error.to_string()));
            }
        };
        let bytes = choice.bytes().ok_or_else(|| Failure::new(Code::UpstreamError, "the hub does not say how long the file is"))?;
        let revision = found.commit.or(wanted.revision).unwrap_or_else(|| "main".to_owned());
        let row = ModelFile {
            name: choice.name.clone(),
            repo: repo.to_owned(),
            revision,
            filename: choice.files[0].path.clone(),
            quantization: choice.quant.clone(),
            display_name: wanted.display_name,
            chat_template: wanted.chat_template,
            tags: found.tags,
            size_bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            status: "downloading".to_owned(),
            ..ModelFile::default()
        };
        let row = self.reserve(row).await?;
        let mut warnings = Vec::new();
        if !choice.others.is_empty() && wanted.filename.is_none() && wanted.quantization.is_none() {
            warnings.push(format!("{} was chosen; there are also {}", choice.files[0].path, choice.others.join(", ")));
        }
        if choice.files.iter().any(|file| file.sha256.is_none()) {
            warnings.push("the hub names no hash of the file: only its length and its header can be checked".to_owned());
        }
        let answer = json!({
            "name": row.name,
            "status": "registered",
            "size_bytes": bytes,
            "required_memory_bytes": (bytes as f64 * MEMORY_FACTOR) as u64,
            "warnings": warnings,
        });
        self.spawn_download(row);
        Ok(answer)
    }

    async fn register_by_conversion(self: &Arc<Self>, wanted: &RegistrationWanted) -> Result<Value, Failure> {
        let conversion = ConversionWanted {
            repo: wanted.repo.trim().to_owned(),
            filename: None,
            revision: wanted.revision.clone(),
            quantization: wanted.quantization.clone(),
            chat_template: wanted.chat_template.clone(),
        };
        let (task, bytes) = self.convert(conversion).await?;
        Ok(json!({
            "name": task.model,
            "status": "registered",
            "size_bytes": bytes,
            "required_memory_bytes": (bytes as f64 * MEMORY_FACTOR) as u64,
            "warnings": [format!("the repository has no GGUF file: it is converted ({})", task.id)],
            "task_id": task.id,
        }))
    }

    /// Takes a name for a model: its own, or with its quantisation behind it where another model has that. A model that failed makes room.
    pub(super) async fn reserve(&self, mut row: ModelFile) -> Result<ModelFile, Failure> {
        row.name = self.free_name(&row.name, &row.repo, &row.filename, row.quantization.as_deref())?;
        (row.created_at_ms, row.updated_at_ms) = (store::now_ms(), store::now_ms());
        let failed = self.entries().get(&row.name).is_some_and(|entry| entry.row.status == "failed");
        if failed {
            self.delete(&row.name).await?;
        }
        if self.entries().len() >= MODELS_MAX {
            return Err(Failure::new(Code::InsufficientStorage, format!("{MODELS_MAX} models are registered, the most that are kept")));
        }
        if !model_files::insert(&self.store, &row).await.map_err(stored)? {
            return Err(taken(&row.name));
        }
        self.entries().insert(row.name.clone(), Entry::new(row.clone(), None, None));
        Ok(row)
    }

    /// # Errors
    /// It is registered already.
    pub(super) fn free_name(&self, name: &str, repo: &str, filename: &str, quant: Option<&str>) -> Result<String, Failure> {
        let entries = self.entries();
        let is_free = |name: &str| entries.get(name).is_none_or(|entry| entry.row.status == "failed");
        let is_same = |row: &ModelFile| row.repo == repo && row.filename == filename && row.quantization.as_deref() == quant;
        if let Some(known) = entries.values().find(|entry| entry.row.status != "failed" && is_same(&entry.row)) {
            return Err(taken(&known.row.name));
        }
        let longer = quant.map(|quant| models::name::identifier(&format!("{name}-{quant}")));
        let free = [Some(name.to_owned()), longer].into_iter().flatten().find(|name| is_free(name));
        free.ok_or_else(|| taken(name))
    }

    pub(super) fn spawn_download(self: &Arc<Self>, row: ModelFile) {
        let Some((cancel, busy)) = self.entries().get(&row.name).map(|e| (e.cancel.clone(), e.busy.clone())) else { return };
        let this = self.clone();
        self.work.spawn(async move {
            let Ok(_alone) = busy.try_lock() else { return };
            tokio::select! {
                () = this.bring(row) => {}
                () = cancel.cancelled() => {}
                () = this.stop.cancelled() => {}
            }
        });
    }

    /// Brings a model's files, however often that takes, within reason.
    async fn bring(&self, row: ModelFile) {
        let _place = self.downloads.acquire().await;
        tracing::info!(model = row.name, repo = row.repo, file = row.filename, "a model's file is fetched");
        let mut round = 1;
        let error = loop {
            match self.fetch(&row).await {
                Ok(manifest) => {
                    tracing::info!(model = row.name, bytes = manifest.bytes(), "a model's file is here");
                    let size_bytes = i64::try_from(manifest.bytes()).unwrap_or(i64::MAX);
                    self.settle(ModelFile { status: "ready".to_owned(), error: None, size_bytes, ..row }, Some(manifest)).await;
                    return;
                }
                Err(error) if may_pass(&error) && round < ROUNDS_MAX => {
                    tracing::warn!(model = row.name, %error, "a model's file did not come yet; it is tried again");
                    tokio::time::sleep(ROUND_PAUSE.saturating_mul(1 << (round - 1))).await;
                    round += 1;
                }
                Err(error) => break error,
            }
        };
        tracing::error!(model = row.name, %error, "a model's file could not be fetched");
        self.settle(ModelFile { status: "failed".to_owned(), error: Some(error.to_string()), ..row }, None).await;
    }

    async fn fetch(&self, row: &ModelFile) -> Result<Manifest, PullError> {
        let hub = self.hub();
        let found = hub.repository(&row.repo, Some(&row.revision)).await?;
        let choice: Choice = choose(&row.repo, &found.files, Some(&row.filename), None).map_err(|e| PullError::Manifest(e.to_string()))?;
        let meter = self.entries().get(&row.name).map(|entry| entry.meter.clone()).unwrap_or_default();
        let told = move |progress: models::Progress| {
            meter.total.store(progress.total, Relaxed);
            meter.done.store(progress.done, Relaxed);
        };
        let called = (row.name.as_str(), row.chat_template.as_deref());
        self.puller().from_hub(&hub, (&row.repo, &row.revision), &choice, called, &told).await
    }
}

fn taken(name: &str) -> Failure {
    Failure::new(Code::Conflict, format!("Model already registered: `{name}`"))
}

pub(super) fn has_safetensors(files: &[RemoteFile]) -> bool {
    files.iter().any(|file| file.path.ends_with(".safetensors"))
}
