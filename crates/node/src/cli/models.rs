//! `llm-node models`: what is on disk, bringing more, taking some away.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use config::{Environment, NodeSettings};
use models::{Progress, Reference, choose, name};
use net::{Client, Settings};
use serde_json::{Value, json};

use super::CommonArgs;
use crate::{
    fetch,
    library::{Found, Library, Model},
};

/// Where the hub does not say which commit it showed.
const REVISION: &str = "main";
/// Between two signs of progress on a terminal, and in a log.
const SIGN_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Subcommand)]
pub(super) enum ModelsVerb {
    /// List them: id, bytes, file. Example: llm-node models list --json
    List(ListArgs),
    /// Bring one from the hub. Example: llm-node models pull Qwen/Qwen3-0.6B-GGUF:Q8_0
    Pull(PullArgs),
    /// Delete one from the disk. Example: llm-node models rm qwen3-0.6b
    Rm(RmArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct PullArgs {
    /// OWNER/NAME, OWNER/NAME:QUANT or OWNER/NAME@REVISION:FILE.gguf.
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// What the model is called here, instead of by its file.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    common: CommonArgs,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RmArgs {
    /// Its id, or its file below the models directory.
    #[arg(value_name = "MODEL")]
    name: String,
    #[command(flatten)]
    common: CommonArgs,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(verb: ModelsVerb) -> anyhow::Result<()> {
    match verb {
        ModelsVerb::List(args) => list(&args),
        ModelsVerb::Pull(args) => pull(&args),
        ModelsVerb::Rm(args) => remove(&args),
    }
}

fn settings(common: &CommonArgs) -> anyhow::Result<NodeSettings> {
    Ok(NodeSettings::load(&common.flags(), &Environment::of_process()?)?.0)
}

fn entry(model: &Model) -> Value {
    json!({
        "id": model.id,
        "bytes": model.bytes,
        "path": model.path,
        "quantization": model.quant,
        "architecture": model.header.architecture,
        "context_length": model.header.context_train,
    })
}

fn list(args: &ListArgs) -> anyhow::Result<()> {
    let shelf = Library::new(settings(&args.common)?.models_dir).shelf();
    let mut out = io::stdout().lock();
    if args.json {
        let broken: Vec<_> = shelf.broken.iter().map(|(id, reason)| json!({"id": id, "reason": reason})).collect();
        let models: Vec<_> = shelf.models.iter().map(|model| entry(model)).collect();
        writeln!(out, "{}", json!({"models": models, "broken": broken}))?;
        return Ok(());
    }
    for model in &shelf.models {
        writeln!(out, "{}\t{}\t{}", model.id, model.bytes, model.path.display())?;
    }
    for (id, reason) in &shelf.broken {
        writeln!(io::stderr(), "{id}: {reason}")?;
    }
    Ok(())
}

fn pull(args: &PullArgs) -> anyhow::Result<()> {
    let settings = settings(&args.common)?;
    let reference = Reference::parse(&args.reference)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let manifest = runtime.block_on(async {
        let client = Client::new(Settings::default());
        let (hub, puller) = (fetch::hub(&settings, client.clone()), fetch::puller(&settings, client));
        let repository = hub.repository(&reference.repository, reference.revision.as_deref()).await?;
        let revision = repository.commit.as_deref().or(reference.revision.as_deref()).unwrap_or(REVISION);
        let choice = choose(&repository.id, &repository.files, reference.file.as_deref(), reference.quant.as_deref())?;
        let wanted = args.name.clone().unwrap_or_else(|| choice.name.clone());
        if !name::is_identifier(&wanted) {
            bail!("`{wanted}` is no name of a model: lower-case letters, digits, `.`, `_` and `-`");
        }
        for other in choice.others.iter().take(20) {
            writeln!(io::stderr(), "not taken: {other}")?;
        }
        let sign = Sign::new(&wanted);
        let pulled = puller.from_hub(&hub, (&repository.id, revision), &choice, (&wanted, None), &|progress| sign.show(progress)).await;
        sign.end();
        anyhow::Ok(pulled?)
    })?;
    let path = settings.models_dir.join(&manifest.name);
    let mut out = io::stdout().lock();
    if args.json {
        let body = json!({"id": manifest.name, "bytes": manifest.bytes(), "path": path, "sha256": manifest.sha256(), "quantization": manifest.quantization});
        writeln!(out, "{body}")?;
    } else {
        writeln!(out, "{}\t{}\t{}", manifest.name, manifest.bytes(), path.display())?;
    }
    Ok(())
}

/// How far a pull is, on standard error: one line that changes on a terminal, a line now and then elsewhere.
struct Sign {
    what: String,
    is_terminal: bool,
    last: Mutex<Option<Instant>>,
}

impl Sign {
    fn new(what: &str) -> Self {
        Self { what: what.to_owned(), is_terminal: io::stderr().is_terminal(), last: Mutex::new(None) }
    }

    fn show(&self, progress: Progress) {
        let every = if self.is_terminal { SIGN_EVERY } else { LINE_EVERY };
        let Ok(mut last) = self.last.lock() else { return };
        if last.is_some_and(|at| at.elapsed() < every) && progress.done < progress.total {
            return;
        }
        *last = Some(Instant::now());
        let percent = (100 * progress.done).checked_div(progress.total).unwrap_or(0);
        let line = format!("{}: {percent} % of {} MB", self.what, progress.total / 1_000_000);
        let mut err = io::stderr().lock();
        let _ = if self.is_terminal { write!(err, "\r{line}").and_then(|()| err.flush()) } else { writeln!(err, "{line}") };
    }

    fn end(&self) {
        if self.is_terminal && self.last.lock().is_ok_and(|last| last.is_some()) {
            let _ = writeln!(io::stderr());
        }
    }
}

fn remove(args: &RmArgs) -> anyhow::Result<()> {
    let settings = settings(&args.common)?;
    let library = Library::new(&settings.models_dir);
    let found = library.shelf().find(&args.name).cloned();
    let id = match &found {
        Some(Found::Model(model)) => model.id.clone(),
        Some(Found::Broken(id, _)) => id.clone(),
        None => args.name.clone(),
    };
    let mut was_there = models::remove(&settings.models_dir, &id).with_context(|| format!("{id} can't be removed"))?;
    if let Some(Found::Model(model)) = &found {
        for file in files(&model.path)? {
            fs::remove_file(&file).with_context(|| format!("{} can't be removed", file.display()))?;
            was_there = true;
        }
    }
    if let (Some(Found::Broken(id, _)), false) = (&found, was_there) {
        let file = settings.models_dir.join(format!("{id}.gguf"));
        fs::remove_file(&file).with_context(|| format!("{} can't be removed", file.display()))?;
        was_there = true;
    }
    if !was_there {
        bail!("there is no model `{}` in {}", args.name, settings.models_dir.display());
    }
    let mut out = io::stdout().lock();
    let said = if args.json { json!({"id": id, "removed": true}).to_string() } else { format!("{id} was removed") };
    writeln!(out, "{said}")?;
    Ok(())
}

/// The file of a model, or all its shards; those that are there.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let shard = |path: &Path| Some(name::shard(path.file_stem()?.to_str()?)).flatten().map(|(base, _, total)| (base.to_owned(), total));
    let (Some(own), Some(dir)) = (shard(path), path.parent()) else { return Ok(vec![path.to_owned()]) };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let other = entry?.path();
        if shard(&other).as_ref() == Some(&own) && other.extension() == path.extension() {
            files.push(other);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shards_of_a_model_belong_to_it() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "n-00001-of-00002.gguf", "m-00001-of-00003.gguf", "m.gguf"] {
            fs::write(dir.path().join(file), b"x").unwrap();
        }
        let mut found = files(&dir.path().join("m-00001-of-00002.gguf")).unwrap();
        found.sort();
        assert_eq!(found, ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"].map(|file| dir.path().join(file)));
        assert_eq!(files(&dir.path().join("m.gguf")).unwrap().len(), 1);
        assert!(files(&dir.path().join("gone.gguf")).unwrap().is_empty());
    }
}
