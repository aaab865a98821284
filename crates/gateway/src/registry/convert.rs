//! Conversions: a repository's safetensors become one GGUF file, by llama.cpp's own converter.
//!
//! Only what is data is fetched: weights in safetensors, and the texts that describe model and vocabulary. Pickled weights and code never are.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use models::{
    Manifest, Origin,
    hub::{self, RemoteFile, Repository},
    name,
};
use net::download::{Wanted, download};
use serde::Deserialize;
use store::{
    StoreError,
    model_files::ModelFile,
    model_tasks::{self, ModelTask},
};
use wire::{Code, Failure};

use super::{Meter, Registry, files::has_safetensors, program::run, refused, stored};

/// What the converter writes.
const OUT_TYPES: [&str; 7] = ["auto", "f16", "bf16", "f32", "q8_0", "tq1_0", "tq2_0"];
/// What llama.cpp's quantiser makes of that afterwards.
const QUANTIZATIONS: [&str; 15] = [
    "q2_k", "q3_k_s", "q3_k_m", "q3_k_l", "q4_0", "q4_1", "q4_k_s", "q4_k_m", "q5_0", "q5_1", "q5_k_s", "q5_k_m", "q6_k", "iq4_nl",
    "iq4_xs",
];
/// Largest file beside the weights, in bytes.
const TEXT_BYTES_MAX: u64 = 256 << 20;
/// Most files of a conversion.
const FILES_MAX: usize = 2000;
/// Of a conversion, how much is the download.
const DOWNLOAD_SHARE: f64 = 0.5;
/// The meter counts to this.
const METER_TOTAL: u64 = 1_000_000;

/// `POST /api/models/convert`.
#[derive(Debug, Default, Deserialize)]
pub struct ConversionWanted {
    /// `owner/name` on the hub.
    #[serde(default)]
    pub repo: String,
    /// The weights, or the first part of them; all of the repository's where none are named.
    #[serde(default)]
    pub filename: Option<String>,
    /// A branch, tag or commit.
    #[serde(default)]
    pub revision: Option<String>,
    /// What to write.
    #[serde(default)]
    pub quantization: Option<String>,
    /// Replaces the model's own.
    #[serde(default)]
    pub chat_template: Option<String>,
}

impl Registry {
    /// Takes a conversion in. Also gives how many bytes are fetched for it.
    ///
    /// # Errors
    /// The repository has no such weights, its model is registered already, or the hub fails.
    pub async fn convert(self: &Arc<Self>, wanted: ConversionWanted) -> Result<(ModelTask, u64), Failure> {
        let text = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let quantization = text(wanted.quantization);
        if let Some(asked) = &quantization {
            self.check_quantization(asked)?;
        }
        let (repo, revision) = (wanted.repo.trim().to_owned(), text(wanted.revision));
        let found = self.hub().repository(&repo, revision.as_deref()).await.map_err(refused)?;
        let filename = match text(wanted.filename) {
            Some(file) => file,
            None => {
                found.files.iter().map(|file| &file.path).filter(|path| path.ends_with(".safetensors")).min().cloned().unwrap_or_default()
            }
        };
        let files = parts(&found, &filename).map_err(|said| Failure::invalid("filename", said))?;
        let bytes = files.iter().filter_map(|file| file.bytes).sum();
        let stem = filename.rsplit('/').next().unwrap_or_default().trim_end_matches(".safetensors");
        let (called, _) = name::of_file(name::shard(stem).map_or(stem, |(base, ..)| base), &repo);
        let row = ModelFile {
            name: called,
            repo: repo.clone(),
            revision: found.commit.clone().or_else(|| revision.clone()).unwrap_or_else(|| "main".to_owned()),
            filename: filename.clone(),
            quantization: quantization.as_ref().map(|quant| quant.to_lowercase()).filter(|quant| quant != "auto"),
            chat_template: text(wanted.chat_template),
            tags: found.tags.clone(),
            size_bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            status: "converting".to_owned(),
            ..ModelFile::default()
        };
        let row = self.reserve(row).await?;
        let task = ModelTask {
            id: uuid::Uuid::now_v7().to_string(),
            repo,
            filename,
            revision,
            quantization,
            chat_template: row.chat_template.clone(),
            model: row.name.clone(),
            status: "queued".to_owned(),
            created_at_ms: row.created_at_ms,
            updated_at_ms: row.created_at_ms,
            ..ModelTask::default()
        };
        model_tasks::insert(&self.store, &task).await.map_err(stored)?;
        self.spawn_conversion(task.clone(), row);
        Ok((task, bytes))
    }

    fn check_quantization(&self, asked: &str) -> Result<(), Failure> {
        let is_in = |all: &[&str]| all.iter().any(|known| known.eq_ignore_ascii_case(asked));
        if is_in(&QUANTIZATIONS) {
            let found = self.environment.quantizer(&self.settings.load().convert, &self.data_dir);
            return found
                .map(drop)
                .map_err(|said| Failure::new(Code::Unsupported, format!("`{asked}` can't be written: {said}")).at("quantization"));
        }
        if is_in(&OUT_TYPES) {
            return Ok(());
        }
        let (asked, known): (String, _) = (asked.chars().take(50).collect(), [OUT_TYPES.as_slice(), &QUANTIZATIONS].concat());
        Err(Failure::invalid("quantization", format!("`{asked}` can't be written: one of {} can", known.join(", "))))
    }

    /// All conversions, the newest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn conversions(&self) -> Result<Vec<ModelTask>, Failure> {
        let mut tasks = model_tasks::list(&self.store).await.map_err(stored)?;
        for task in &mut tasks {
            self.read_meter(task);
        }
        Ok(tasks)
    }

    /// One conversion.
    ///
    /// # Errors
    /// 404 for an unknown one; the store's.
    pub async fn conversion(&self, id: &str) -> Result<ModelTask, Failure> {
        let mut task = model_tasks::get(&self.store, id).await.map_err(stored)?.ok_or_else(|| unknown(id))?;
        self.read_meter(&mut task);
        Ok(task)
    }

    /// Forgets a conversion; one that runs is stopped first.
    ///
    /// # Errors
    /// 404 for an unknown one; the store's.
    pub async fn forget_conversion(&self, id: &str) -> Result<(), Failure> {
        let task = model_tasks::get(&self.store, id).await.map_err(stored)?.ok_or_else(|| unknown(id))?;
        if !model_tasks::delete(&self.store, id).await.map_err(stored)? {
            return Err(unknown(id));
        }
        let is_open = matches!(&*task.status, "queued" | "in_progress");
        if is_open && self.get(&task.model).is_some_and(|model| model.row.status == "converting") {
            self.delete(&task.model).await?;
        }
        Ok(())
    }

    /// Takes up the conversions that a crash interrupted.
    pub(super) async fn resume_conversions(self: &Arc<Self>) -> Result<(), StoreError> {
        let mut tasks = model_tasks::list(&self.store).await?;
        tasks.reverse();
        let mut open = Vec::new();
        for task in tasks.into_iter().filter(|task| matches!(&*task.status, "queued" | "in_progress")) {
            open.push(self.work_dir(&task.id));
            match self.get(&task.model) {
                Some(model) if model.row.status == "converting" => self.spawn_conversion(task, model.row),
                // It ended between two notes.
                found => {
                    let status = if found.is_some_and(|model| model.manifest.is_some()) { "completed" } else { "failed" };
                    self.note(&ModelTask { status: status.to_owned(), ..task }).await;
                }
            }
        }
        let base = self.data_dir.join("convert/work");
        let _ = tokio::task::spawn_blocking(move || {
            for entry in std::fs::read_dir(base).into_iter().flatten().flatten().filter(|entry| !open.contains(&entry.path())) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        })
        .await;
        Ok(())
    }

    fn read_meter(&self, task: &mut ModelTask) {
        if task.status == "in_progress"
            && let Some(entry) = self.entries().get(&task.model)
        {
            task.progress = entry.meter.share();
        }
    }

    fn spawn_conversion(self: &Arc<Self>, task: ModelTask, row: ModelFile) {
        let found = self.entries().get(&row.name).map(|e| (e.cancel.clone(), e.busy.clone(), e.meter.clone()));
        let Some((cancel, busy, meter)) = found else { return };
        let this = self.clone();
        self.work.spawn(async move {
            let Ok(_alone) = busy.try_lock() else { return };
            meter.total.store(METER_TOTAL, Relaxed);
            let work = this.work_dir(&task.id);
            let is_over = tokio::select! {
                () = this.carry_out(&task, row, &meter, &work) => true,
                () = cancel.cancelled() => {
                    this.note(&ModelTask { status: "failed".to_owned(), error: Some("its model was removed".to_owned()), ..task }).await;
                    true
                }
                () = this.stop.cancelled() => false,
            };
            if is_over {
                let _ = tokio::fs::remove_dir_all(work).await;
            }
        });
    }

    async fn carry_out(&self, task: &ModelTask, row: ModelFile, meter: &Arc<Meter>, work: &Path) {
        let _place = self.conversions.acquire().await;
        self.note(&ModelTask { status: "in_progress".to_owned(), ..task.clone() }).await;
        tracing::info!(task = task.id, repo = task.repo, model = row.name, "a model is converted");
        match self.make(task, &row, meter, work).await {
            Ok(manifest) => {
                let path = self.home(&row.name).join(&manifest.files[0].file).to_string_lossy().into_owned();
                let size_bytes = i64::try_from(manifest.bytes()).unwrap_or(i64::MAX);
                tracing::info!(task = task.id, model = row.name, size_bytes, "a model was converted");
                self.settle(ModelFile { status: "ready".to_owned(), error: None, size_bytes, ..row }, Some(manifest)).await;
                self.note(&ModelTask { status: "completed".to_owned(), progress: 1.0, path: Some(path), ..task.clone() }).await;
            }
            Err(error) => {
                tracing::error!(task = task.id, model = row.name, error, "a model could not be converted");
                self.settle(ModelFile { status: "failed".to_owned(), error: Some(error.clone()), ..row }, None).await;
                let progress = meter.share();
                self.note(&ModelTask { status: "failed".to_owned(), progress, error: Some(error), ..task.clone() }).await;
            }
        }
    }

    async fn make(&self, task: &ModelTask, row: &ModelFile, meter: &Arc<Meter>, work: &Path) -> Result<Manifest, String> {
        let (source, mut made) = (work.join("model"), work.join("model.gguf"));
        self.bring_parts(row, &source, meter).await?;
        let settings = self.settings.load().convert.clone();
        let mut command = self.environment.command(&settings, work).await?;
        let wanted = task.quantization.as_ref().map_or_else(|| "auto".to_owned(), |quant| quant.to_lowercase());
        let is_small = QUANTIZATIONS.contains(&&*wanted);
        // What is made smaller afterwards is first written as it is.
        command.arg(&source).arg("--outfile").arg(&made).args(["--outtype", if is_small { "auto" } else { &wanted }]);
        run(command, &|share| meter.done.store(((DOWNLOAD_SHARE + share * (0.95 - DOWNLOAD_SHARE)) * METER_TOTAL as f64) as u64, Relaxed))
            .await?;
        if !made.is_file() {
            return Err("the converter ended well, and wrote nothing".to_owned());
        }
        if is_small {
            made = self.made_smaller(&made, &wanted, &settings, work).await?;
        }
        let about = Manifest {
            name: row.name.clone(),
            quantization: row.quantization.clone(),
            chat_template: row.chat_template.clone(),
            origin: Some(Origin { repository: row.repo.clone(), revision: row.revision.clone(), paths: Vec::new() }),
            follows: None,
            files: Vec::new(),
        };
        self.puller().adopt(about, made).await.map_err(|e| e.to_string())
    }

    /// Writes a model with weights of fewer bits in place of another.
    async fn made_smaller(&self, from: &Path, kind: &str, settings: &config::files::Convert, work: &Path) -> Result<PathBuf, String> {
        let to = work.join("smaller.gguf");
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut command = self.environment.quantizer(settings, work)?;
        command.args(["--threads", &threads.to_string(), "--quantize", kind]).arg(from).arg(&to);
        run(command, &|_| {}).await?;
        let _ = tokio::fs::remove_file(from).await;
        if to.is_file() { Ok(to) } else { Err("the quantiser ended well, and wrote nothing".to_owned()) }
    }

    /// Fetches what the converter reads.
    async fn bring_parts(&self, row: &ModelFile, to: &Path, meter: &Meter) -> Result<(), String> {
        let hub = self.hub();
        let found = hub.repository(&row.repo, Some(&row.revision)).await.map_err(|e| e.to_string())?;
        let files = parts(&found, &row.filename)?;
        let total: u64 = files.iter().filter_map(|file| file.bytes).sum::<u64>().max(1);
        let (options, chunk_bytes) = (self.download_options(), self.settings.load().downloads.chunk_bytes);
        let mut before = 0;
        for file in files {
            let target = to.join(&file.path);
            let bytes = file.bytes.ok_or_else(|| format!("the hub does not say how long {} is", file.path))?;
            let told = |done: u64| {
                let share = (before + done) as f64 / total as f64;
                meter.done.store((share * DOWNLOAD_SHARE * METER_TOTAL as f64) as u64, Relaxed);
            };
            let is_here = tokio::fs::metadata(&target).await.is_ok_and(|about| about.len() == bytes);
            if !is_here {
                let source = hub.source(&row.repo, &row.revision, &file.path).map_err(|e| e.to_string())?;
                let wanted = Wanted { bytes, sha256: file.sha256.clone(), chunk_bytes, chunks: Vec::new() };
                let fetched = download(&self.client, &[source], &wanted, (&target, &target), &options, &told).await;
                fetched.map_err(|error| format!("{}: {error}", file.path))?;
            }
            before += bytes;
        }
        Ok(())
    }

    fn work_dir(&self, id: &str) -> PathBuf {
        self.data_dir.join("convert/work").join(id)
    }

    async fn note(&self, task: &ModelTask) {
        let task = ModelTask { updated_at_ms: store::now_ms(), ..task.clone() };
        if let Err(error) = model_tasks::update(&self.store, &task).await {
            tracing::error!(task = task.id, %error, "a conversion's state could not be stored");
        }
    }
}

fn unknown(id: &str) -> Failure {
    Failure::new(Code::NotFound, format!("there is no conversion `{}`", id.chars().take(100).collect::<String>()))
}

/// The weights that `filename` begins, and the texts beside them.
fn parts(found: &Repository, filename: &str) -> Result<Vec<RemoteFile>, String> {
    if !has_safetensors(&found.files) {
        return Err("the repository holds no safetensors, and other weights are not converted".to_owned());
    }
    let shown: String = filename.chars().take(200).collect();
    if !filename.ends_with(".safetensors") || !found.files.iter().any(|file| file.path == filename) {
        return Err(format!("`{shown}` is no safetensors file of the repository"));
    }
    if filename.contains('/') {
        return Err(format!("`{shown}` stands in a folder: only weights beside their config.json are converted"));
    }
    let stem = |path: &str| path.trim_end_matches(".safetensors").to_owned();
    let whole = name::shard(&stem(filename)).map(|(base, _, count)| (base.to_owned(), count));
    let is_weight = |path: &str| {
        let own = stem(path);
        path == filename || whole.as_ref().is_some_and(|(base, count)| name::shard(&own).is_some_and(|(b, _, c)| b == base && c == *count))
    };
    let is_text = |file: &RemoteFile| {
        let is_kind = [".json", ".txt", ".model", ".jinja", ".tiktoken"].iter().any(|end| file.path.ends_with(end));
        let is_near = !file.path.contains('/') || file.path.ends_with("/config.json");
        is_kind && is_near && file.bytes.is_none_or(|bytes| bytes <= TEXT_BYTES_MAX)
    };
    let wanted = |file: &&RemoteFile| (file.path.ends_with(".safetensors") && is_weight(&file.path)) || is_text(file);
    let files: Vec<RemoteFile> =
        found.files.iter().filter(|file| hub::check_path(&file.path).is_ok()).filter(wanted).take(FILES_MAX).cloned().collect();
    let weights = files.iter().filter(|file| file.path.ends_with(".safetensors")).count();
    match whole {
        Some((_, count)) if weights != count as usize => Err(format!("{weights} of {count} parts of `{shown}` are in the repository")),
        _ => Ok(files),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(paths: &[&str]) -> Repository {
        let file = |path: &&str| RemoteFile { path: (*path).to_owned(), bytes: Some(1), sha256: None };
        Repository { files: paths.iter().map(file).collect(), ..Repository::default() }
    }

    fn chosen(paths: &[&str], filename: &str) -> Result<Vec<String>, String> {
        parts(&repository(paths), filename).map(|files| files.into_iter().map(|file| file.path).collect())
    }

    #[test]
    fn data_is_fetched_and_code_is_not() {
        let all = [
            "model.safetensors",
            "other.safetensors",
            "config.json",
            "1_Pooling/config.json",
            "tokenizer.model",
            "modeling.py",
            "pytorch_model.bin",
            "onnx/model.onnx",
            "README.md",
        ];
        let wanted = ["model.safetensors", "config.json", "1_Pooling/config.json", "tokenizer.model"];
        assert_eq!(chosen(&all, "model.safetensors").unwrap(), wanted);
    }

    #[test]
    fn parts_belong_together() {
        let all = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "config.json"];
        assert_eq!(chosen(&all, all[0]).unwrap(), all);
        assert!(chosen(&all[1..], all[1]).unwrap_err().contains("1 of 2 parts"));
        assert!(chosen(&all, "nope.safetensors").is_err() && chosen(&["a.bin"], "a.bin").is_err());
    }
}
