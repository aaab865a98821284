//! `llm-router db`: the database of this machine as a whole.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use serde_json::{Value, json};
use store::{
    Store,
    upkeep::{self, Condition},
};

use super::{Failed, Sources, environment, out};
use crate::app::store_url;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make the database, or bring its schema up to date; a router does the same when it starts.
    #[command(after_help = "Example: llm-router db migrate --json")]
    Migrate {
        #[command(flatten)]
        sources: Sources,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Read all of it and say whether it is sound; status 1 if not. A router may run meanwhile.
    #[command(after_help = "Example: llm-router db check --json")]
    Check {
        #[command(flatten)]
        sources: Sources,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a copy of it to a new file, and of the texts of requests to a directory beside that. A router may run meanwhile. The copy holds secrets as the database does.
    #[command(after_help = "Example: llm-router db backup /backups/router-monday.db")]
    Backup {
        #[command(flatten)]
        sources: Sources,
        /// The new file.
        file: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Put a copy in its place, with the texts beside the copy, while no router runs; what was there stays beside it as `….before-restore`.
    #[command(after_help = "Example: llm-router db restore /backups/router-monday.db")]
    Restore {
        #[command(flatten)]
        sources: Sources,
        /// The copy.
        file: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: Command) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        match command {
            Command::Migrate { sources, json } => {
                let found = examined(&sources).await?;
                say(json, &found, &format!("{} has schema {}", found.path.display(), found.schema))
            }
            Command::Check { sources, json } => {
                let found = examined(&sources).await?;
                say(json, &found, &format!("{} is sound: {} MB, schema {}", found.path.display(), found.bytes / 1_000_000, found.schema))?;
                sound(&found)
            }
            Command::Backup { sources, file, json } => {
                let store = open(&sources).await?;
                store.backup(&file).await.with_context(|| format!("{} cannot be written", file.display()))?;
                store.close().await;
                let bytes = std::fs::metadata(&file).map_or(0, |file| file.len());
                if json {
                    return out::json(&json!({"file": file, "bytes": bytes}));
                }
                out::line(&format!("{}: {} MB", file.display(), bytes / 1_000_000))
            }
            Command::Restore { sources, file, json } => {
                let config = config::load(&sources.args(), &environment()?)?.config;
                let found = upkeep::restore(&store_url(&config.store), &config.server.data_dir, &file).await;
                let found = found.with_context(|| format!("{} was not put in place", file.display()))?;
                say(json, &found, &format!("{} is what {} was", found.path.display(), file.display()))?;
                sound(&found)
            }
        }
    })
}

async fn open(sources: &Sources) -> Result<Store, Failed> {
    let config = config::load(&sources.args(), &environment()?)?.config;
    Ok(Store::open(&store_url(&config.store), &config.server.data_dir).await.context("the store could not be opened")?)
}

async fn examined(sources: &Sources) -> Result<Condition, Failed> {
    let store = open(sources).await?;
    let found = store.examine().await.context("the database could not be read")?;
    store.close().await;
    Ok(found)
}

fn shown(found: &Condition) -> Value {
    json!({"path": found.path, "bytes": found.bytes, "schema": found.schema, "sound": found.faults.is_empty(), "faults": found.faults})
}

/// The condition as JSON, or a line where it is a good one; of a bad one [`sound`] tells.
fn say(as_json: bool, found: &Condition, line: &str) -> Result<(), Failed> {
    match (as_json, found.faults.as_slice()) {
        (true, _) => out::json(&shown(found)),
        (false, []) => out::line(line),
        (false, _) => Ok(()),
    }
}

fn sound(found: &Condition) -> Result<(), Failed> {
    match found.faults.as_slice() {
        [] => Ok(()),
        faults => Err(anyhow!("{} is damaged: {}", found.path.display(), faults.join("; ")).into()),
    }
}
