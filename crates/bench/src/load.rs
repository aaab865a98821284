//! The load generator: open and closed loops, capacity, streams and idle streams, one after the other against several targets.

mod capacity;
mod idle;
mod stream;
mod target;
mod text;
mod unary;

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

use crate::{
    figures::tenths,
    http::{self, Answer, get},
};
pub use crate::{
    figures::{Spread, Summary},
    process::Usage,
};
pub use capacity::{CapacityArgs, CapacityFigures};
pub use idle::{IdleArgs, IdleFigures};
pub use stream::{StreamArgs, StreamFigures};
pub use target::{Api, TargetRow};
pub use unary::{ClosedArgs, UnaryArgs, UnaryFigures};

pub(crate) use target::Target;

/// Longest wait for one answer outside of a measured round.
const SAMPLE_LIMIT: Duration = Duration::from_secs(30);

/// What all modes take.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// A JSON file with the targets: rows of `{name, url, model, api, headers, keys, pids}`.
    #[arg(long, global = true, default_value = "targets.json")]
    pub targets: PathBuf,
    /// Names of the targets to use; the first is what "added" is measured against.
    #[arg(long, global = true, value_delimiter = ',', default_value = "direct")]
    pub only: Vec<String>,
    /// Where the fake provider listens.
    #[arg(long, global = true, default_value = "127.0.0.1:9000")]
    pub mock: String,
    /// Behaviour of the fake provider, set first: `k=v&k=v`.
    #[arg(long, global = true)]
    pub control: Option<String>,
    /// Times that all targets are measured.
    #[arg(long, global = true, default_value_t = 3)]
    pub rounds: u32,
    /// Length of a request's prompt.
    #[arg(long, global = true, default_value_t = 2000)]
    pub prompt_bytes: usize,
    /// A file for the figures as JSON.
    #[arg(long, global = true)]
    pub out: Option<PathBuf>,
}

/// What to do to the targets.
#[derive(Debug, Clone, Subcommand)]
pub enum Mode {
    /// One whole and one streamed call to each, printed.
    Check,
    /// An open loop at a constant rate.
    Unary(UnaryArgs),
    /// A closed loop.
    Closed(ClosedArgs),
    /// The highest rate of an open loop that keeps a limit.
    Max(CapacityArgs),
    /// Streams at the same time.
    Stream(StreamArgs),
    /// Many slow streams: memory.
    Idle(IdleArgs),
    /// Memory, processes, threads and CPU time so far.
    Rss,
}

/// The load generator's command line.
#[derive(Debug, Clone, Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub mode: Mode,
}

/// The figures of one target.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Figures {
    Unary(Box<UnaryFigures>),
    Capacity(CapacityFigures),
    Stream(Box<StreamFigures>),
    Idle(Box<IdleFigures>),
    Usage(Usage),
}

/// The figures of a run, by target.
pub type Report = BTreeMap<String, Figures>;

/// Runs a mode on this thread, prints a line per target to stderr, and writes the figures where asked.
pub fn run(options: &Options) -> Result<()> {
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, main(options))
}

async fn main(options: &Options) -> Result<()> {
    let common = &options.common;
    let targets = read_targets(common)?;
    if let Some(pairs) = &common.control {
        get(&common.mock, &format!("/control?{pairs}")).await?;
    }
    let report = match &options.mode {
        Mode::Check => return check(&targets).await,
        Mode::Unary(args) => unary::open_loop(&targets, common, args).await,
        Mode::Closed(args) => unary::closed_loop(&targets, common, args).await,
        Mode::Max(args) => capacity::search(&targets, common, args).await,
        Mode::Stream(args) => stream::measure(&targets, common, args).await?,
        Mode::Idle(args) => idle::measure(&targets, common, args).await?,
        Mode::Rss => usage(&targets),
    };
    if let Some(path) = &common.out {
        fs::write(path, serde_json::to_string_pretty(&report)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn read_targets(common: &Common) -> Result<Vec<Target>> {
    let path = &common.targets;
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let rows: Vec<TargetRow> = serde_json::from_str(&text).with_context(|| format!("{} is not a list of targets", path.display()))?;
    let find = |name: &String| {
        let row = rows.iter().find(|row| row.name == *name).with_context(|| format!("no target {name}"))?;
        Target::new(row.clone())
    };
    common.only.iter().map(find).collect()
}

async fn check(targets: &[Target]) -> Result<()> {
    for target in targets {
        for is_stream in [false, true] {
            match sample(target, 64, is_stream).await {
                Ok(answer) => {
                    let text: String = text::of(&answer.body).chars().take(40).collect();
                    let start = String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]).into_owned();
                    eprintln!(
                        "== {} stream={is_stream} status={} bytes={} text={text:?}\n{start}",
                        target.name,
                        answer.status,
                        answer.body.len()
                    );
                }
                Err(error) => eprintln!("== {} stream={is_stream} error: {error:#}", target.name),
            }
        }
    }
    Ok(())
}

fn usage(targets: &[Target]) -> Report {
    let line = |target: &Target| {
        let usage = Usage::of(&target.pids);
        let (name, rss, cpu_s) = (&target.name, tenths(usage.rss_mb()), usage.cpu_ns as f64 / 1e9);
        eprintln!("{name:<16} rss {rss} MB, {} processes, {} threads, {cpu_s:.2} s of CPU", usage.processes, usage.threads);
        (name.clone(), Figures::Usage(usage))
    };
    targets.iter().map(line).collect()
}

/// One call outside of a measured round.
async fn sample(target: &Target, prompt_bytes: usize, is_stream: bool) -> Result<Answer> {
    http::once(&target.address, &target.request(prompt_bytes, is_stream, 0), SAMPLE_LIMIT).await
}

/// A hash that tells bodies apart (FNV-1a).
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// As many open files as the hard limit lets us have.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, opening too many connections says so itself.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
