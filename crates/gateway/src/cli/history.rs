//! `llm-router history`: records of requests, as files too, and their removal. On the store itself, whether a router runs on it or not; lists and files
//! can also be had from the running router that `LLM_ROUTER_URL` names.

mod import;

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use config::Config;
use http::Method;
use serde_json::{Value, json};
use store::{
    InstanceLock, Store, StoreError,
    history::{self, Search},
    requests,
};

use super::{
    Failed, Sources, environment, out,
    remote::{self, Remote},
};
use crate::{
    admin::file::{Format, Pages as _},
    admin::history::{Asked, Showing, export::Export, listed},
    app::store_url,
};

/// Records that `purge` removes at once: a running router's own come in between.
const PURGE_ROWS: u32 = 2000;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List records of requests, the newest first.
    #[command(after_help = "Example: llm-router history list --status error --duration-min-ms 2000 --limit 20")]
    List {
        #[command(flatten)]
        sources: Sources,
        #[command(flatten)]
        asked: Asked,
        /// Most records.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(requests::ROWS_MAX)))]
        limit: u32,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write records with what was asked and answered to a file, or to standard output.
    #[command(after_help = "Example: llm-router history export --since 2027-01-31T00:00:00Z --output request_history.json")]
    Export(ExportArgs),
    /// Read the records of a file that `history export` or LLM Router before it has written (`request_history.json`).
    #[command(after_help = "Example: llm-router history import ~/.llm-router/request_history.json")]
    Import {
        #[command(flatten)]
        sources: Sources,
        /// The file; `-` reads standard input.
        file: PathBuf,
        /// What became of the records, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove records that are older than they are kept (`history.retention`), as a running router does by itself.
    #[command(after_help = "Example: llm-router history purge --older-than 2d --json")]
    Purge {
        #[command(flatten)]
        sources: Sources,
        /// Another age, such as 12h or 30d.
        #[arg(long, value_name = "AGE", value_parser = age)]
        older_than: Option<Duration>,
        /// All records, whatever their age.
        #[arg(long, conflicts_with = "older_than")]
        all: bool,
        /// How many were removed, as JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    sources: Sources,
    /// Where to write; a file that is there already stays as it is.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The form of the file.
    #[arg(long, value_enum, default_value_t = Form::Json)]
    format: Form,
    #[command(flatten)]
    asked: Asked,
    /// What was written, as JSON; with --output only, since standard output has the records otherwise.
    #[arg(long, requires = "output")]
    json: bool,
}

/// A form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// With what was said.
    Json,
    /// A line each.
    Csv,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
        }
    }
}

/// Where a router tells of requests.
const RECORDS: &str = "/api/dashboard/request-responses";

fn age(text: &str) -> Result<Duration, String> {
    config::durations::parse_duration(text).ok_or_else(|| "give a time with its unit, such as 90m, 12h or 7d".to_owned())
}

pub(super) fn run(command: Command) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        match command {
            Command::List { sources, asked, limit, json } => list(&sources, asked.at_most(limit), limit, json).await,
            Command::Export(args) => export(args).await,
            Command::Import { sources, file, json } => {
                let home = Home::open(&sources).await?;
                let done = import::run(&home.store, &home.config, &file).await?;
                home.close().await;
                done.say(json)
            }
            Command::Purge { sources, older_than, all, json } => purge(&sources, older_than, all, json).await,
        }
    })
}

/// The store that the configuration names.
struct Home {
    config: Config,
    store: Store,
}

impl Home {
    async fn open(sources: &Sources) -> Result<Self, Failed> {
        let environment = environment()?;
        if Remote::of(&environment).is_some() {
            return Err(anyhow!(
                "this works on the data directory itself, not over LLM_ROUTER_URL: run it where the router's data is, without that variable"
            )
            .into());
        }
        Self::here(sources, &environment).await
    }

    async fn here(sources: &Sources, environment: &config::Environment) -> Result<Self, Failed> {
        let config = config::load(&sources.args(), environment)?.config;
        let store = Store::open(&store_url(&config.store), &config.server.data_dir).await.context("the store could not be opened")?;
        // Its moment only: a router may start meanwhile.
        if let Err(StoreError::InUse { .. }) = InstanceLock::take(&config.server.data_dir) {
            out::remark(
                "A router is running on this data: it sees what is changed here at once, and records of its last moment may be missing here.",
            );
        }
        Ok(Self { config, store })
    }

    async fn close(self) {
        self.store.close().await;
    }
}

async fn export(args: ExportArgs) -> Result<(), Failed> {
    let environment = environment()?;
    let search = args.asked.search().map_err(|failure| Failed(2, failure.message))?;
    let mut out = Out::open(args.output.as_deref())?;
    // Beside records on the same terminal nobody could read it.
    let mut bar = args.output.as_ref().map(|_| out::Bar::new("written"));
    let rows = match Remote::of(&environment) {
        Some(router) => {
            let mut bytes = 0;
            let take = |piece: &[u8]| {
                bytes += piece.len() as u64;
                if let Some(bar) = &mut bar {
                    bar.show_bytes(bytes);
                }
                out.write(piece)
            };
            router.copy(&path(&format!("{RECORDS}/export"), &args.asked.clone().as_file(args.format.name())), take).await?;
            None
        }
        None => {
            let home = Home::here(&args.sources, &environment).await?;
            let format = if args.format == Form::Csv { Format::Csv } else { Format::Json };
            let search = search.looked(&home.store).await.context("the records could not be searched")?;
            let total = match &bar {
                Some(_) => history::count(&home.store, &search).await.context("the records could not be counted")?,
                None => 0,
            };
            let mut export = Export::new(home.store.clone(), search, format, home.showing().await?);
            loop {
                let piece = export.next().await.context("the records could not be read")?;
                if piece.is_empty() {
                    break;
                }
                out.write(&piece)?;
                if let Some(bar) = &mut bar {
                    bar.show(export.rows.count as f64 / total.max(1) as f64);
                }
            }
            home.close().await;
            Some(export.rows.count)
        }
    };
    drop(bar);
    out.finish()?;
    match (&args.output, args.json) {
        (Some(path), true) => out::json(&json!({"file": path.display().to_string(), "records": rows})),
        (Some(path), false) => {
            out::line(&format!("{} records are in {}", rows.map_or_else(|| "The".to_owned(), |n| n.to_string()), path.display()))
        }
        _ => Ok(()),
    }
}

/// The path with what is asked for as its query.
fn path(path: &str, asked: &Asked) -> String {
    let pairs = asked.pairs();
    remote::asked(path, pairs.iter().map(|(name, value)| (name.as_str(), Some(value.as_str()))))
}

async fn list(sources: &Sources, asked: Asked, limit: u32, as_json: bool) -> Result<(), Failed> {
    let environment = environment()?;
    let page = match Remote::of(&environment) {
        Some(router) => router.ask(Method::GET, &path(RECORDS, &asked), None).await?,
        None => {
            let search = asked.search().map_err(|failure| Failed(2, failure.message))?;
            let home = Home::here(sources, &environment).await?;
            let found = listed(&home.store, &mut home.showing().await?, &search, 0, limit).await;
            let (records, total) = found.context("the records could not be read")?;
            home.close().await;
            json!({"records": records, "total_count": total})
        }
    };
    if as_json {
        return out::json(&page);
    }
    let records = page["records"].as_array().map(Vec::as_slice).unwrap_or_default();
    let heads = ["TIME", "STATUS", "MODEL", "TARGET", "FIRST BYTE", "TOTAL", "TOKENS", "COST", "CACHE", "KEY", "ID"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(records.iter().map(cells));
    out::table(&rows)?;
    out::remark(&format!("{} of {}", records.len(), page["total_count"]));
    Ok(())
}

/// A record as a line of a table.
fn cells(record: &Value) -> Vec<String> {
    let unknown = || "-".to_owned();
    let text = |name: &str| record[name].as_str().filter(|text| !text.is_empty()).map_or_else(unknown, str::to_owned);
    let ms = |name: &str| record[name].as_i64().map_or_else(unknown, |ms| format!("{ms} ms"));
    let (asked, served) = (text("model"), text("model_served"));
    let tokens = [&record["prompt_tokens"], &record["completion_tokens"]].map(Value::as_u64);
    vec![
        text("timestamp"),
        record["http_status"].as_u64().map_or_else(|| record["status"]["type"].as_str().unwrap_or("-").to_owned(), |n| n.to_string()),
        if record["model_served"].is_null() || asked == served { asked } else { format!("{asked} → {served}") },
        text("target"),
        ms("first_byte_ms"),
        ms("duration_ms"),
        if tokens == [None, None] { unknown() } else { tokens.iter().flatten().sum::<u64>().to_string() },
        record["cost_usd"].as_f64().map_or_else(unknown, |dollars| format!("${dollars:.6}")),
        text("cache"),
        text("key_name"),
        text("id"),
    ]
}

impl Home {
    async fn showing(&self) -> Result<Showing, Failed> {
        let nodes = store::nodes::list(&self.store).await.context("the nodes could not be read")?;
        let places: HashMap<_, _> = nodes.into_iter().map(|node| (node.id, (node.machine_name, node.ip_address))).collect();
        Ok(Showing::offline(places))
    }
}

/// Where a file goes.
enum Out {
    Standard,
    /// It gets its name when it is whole.
    File {
        file: io::BufWriter<File>,
        part: PathBuf,
        path: PathBuf,
    },
}

impl Out {
    fn open(path: Option<&Path>) -> Result<Self, Failed> {
        let Some(path) = path else { return Ok(Self::Standard) };
        let failed = |why: &dyn std::fmt::Display| Failed(1, format!("{}: {why}", path.display()));
        if path.exists() {
            return Err(failed(&"there is a file already"));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        // What people asked is their own.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&part).map_err(|error| failed(&error))?;
        Ok(Self::File { file: io::BufWriter::new(file), part, path: path.to_owned() })
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), Failed> {
        match self {
            Self::Standard => out::bytes(piece),
            Self::File { file, part, .. } => file.write_all(piece).map_err(|error| Failed(1, format!("{}: {error}", part.display()))),
        }
    }

    fn finish(self) -> Result<(), Failed> {
        let Self::File { file, part, path } = self else { return Ok(()) };
        let named = file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(&part, &path));
        named.map_err(|error| Failed(1, format!("{}: {error}", path.display())))
    }
}

async fn purge(sources: &Sources, older_than: Option<Duration>, all: bool, as_json: bool) -> Result<(), Failed> {
    let home = Home::open(sources).await?;
    let age = older_than.unwrap_or(home.config.history.retention);
    let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    let before_ms = if all { i64::MAX } else { store::now_ms().saturating_sub(age_ms) };
    let old = Search { until_ms: Some(before_ms.saturating_sub(1)), ..Search::default() };
    let total = history::count(&home.store, &old).await.context("the records could not be counted")?;
    let mut bar = out::Bar::new("removed");
    let tell = |removed: u64| bar.show(removed as f64 / total.max(1) as f64);
    let removed = requests::purge_told(&home.store, before_ms, PURGE_ROWS, tell).await.context("the records could not be removed")?;
    bar.end();
    home.close().await;
    if as_json {
        return out::json(&json!({"removed": removed}));
    }
    out::line(&format!("{removed} records were removed"))
}
