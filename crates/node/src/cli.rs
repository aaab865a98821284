//! The command line.

mod bench;
mod doctor;
mod models;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use config::{Environment, NodeFlags, NodeSettings};
use telemetry::logs::{self, LogSettings};

use crate::{
    engine::scripted,
    run::{self, Modes},
};

/// An engine that shows no sign of life for so long is replaced, in milliseconds.
const HANG_MS: u64 = 30_000;

/// Runs models on this machine and serves them to a router, or to this machine alone.
#[derive(Debug, Parser)]
#[command(name = "llm-node", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve models (what happens without a verb).
    Serve(ServeArgs),
    /// List, bring and delete models on disk.
    Models {
        #[command(subcommand)]
        verb: models::ModelsVerb,
    },
    /// Measure how fast a model is here. Example: llm-node bench smollm2-135m-instruct --parallel 1,8
    Bench(bench::BenchArgs),
    /// Check whether a node would work on this machine. Example: llm-node doctor --json
    Doctor(doctor::DoctorArgs),
    /// Print completions for a shell. Example: llm-node completions fish > ~/.config/fish/completions/llm-node.fish
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Be a worker with the scripted engine.
    #[command(hide = true)]
    ScriptedWorker,
}

#[derive(Debug, Default, Args)]
struct CommonArgs {
    /// JSON file with settings (also LLM_NODE_CONFIG).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the models (also LLM_NODE_MODELS_DIR).
    #[arg(long, value_name = "DIR")]
    models_dir: Option<PathBuf>,
}

#[derive(Debug, Default, Args)]
struct ServeArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Base URL of the router (also LLM_ROUTER_URL).
    #[arg(long, value_name = "URL")]
    router: Option<String>,
    /// Port to listen on (also LLM_NODE_PORT).
    #[arg(long)]
    port: Option<u16>,
    /// Address to listen on (also LLM_NODE_BIND_ADDRESS).
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<String>,
    /// Run without a router and answer this machine only (also LLM_NODE_STANDALONE).
    #[arg(long)]
    standalone: bool,
    /// Join the router by name and endpoint, as agents of the first Router API did, and answer `/infer` (also LLM_NODE_AGENT).
    #[arg(long)]
    agent: bool,
    /// Be the child of a router: one line of JSON on standard input says how to join it, and its end is the end.
    #[arg(long, hide = true)]
    supervised: bool,
    /// Answer with the scripted engine.
    #[arg(long, hide = true)]
    scripted: bool,
    /// Replace an engine that shows no sign of life for so long.
    #[arg(long, hide = true, default_value_t = HANG_MS)]
    hang_timeout_ms: u64,
}

impl CommonArgs {
    fn flags(&self) -> NodeFlags {
        NodeFlags { config: self.config.clone(), models_dir: self.models_dir.clone(), ..NodeFlags::default() }
    }
}

impl ServeArgs {
    fn flags(&self) -> NodeFlags {
        NodeFlags {
            config: self.common.config.clone(),
            models_dir: self.common.models_dir.clone(),
            router_url: self.router.clone(),
            port: self.port,
            // Nobody but the router beside it is to reach a supervised node.
            bind_address: self.bind.clone().or_else(|| self.supervised.then(|| "127.0.0.1".to_owned())),
            standalone: self.standalone,
            agent: self.agent,
            ..NodeFlags::default()
        }
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.verb {
        None => serve(&cli.serve),
        Some(Verb::Serve(args)) => serve(&args),
        Some(Verb::Models { verb }) => models::run(verb),
        Some(Verb::Bench(args)) => bench::run(&args),
        Some(Verb::Doctor(args)) => match doctor::run(&args) {
            Ok(true) => Ok(()),
            Ok(false) => return ExitCode::FAILURE,
            Err(error) => Err(error),
        },
        Some(Verb::Completions { shell }) => completions(shell),
        Some(Verb::ScriptedWorker) => scripted_worker(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "llm-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "llm-node", &mut script);
    match io::stdout().write_all(&script) {
        // A reader that has seen enough is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let environment = Environment::of_process()?;
    let (mut settings, warnings) = NodeSettings::load(&args.flags(), &environment)?;
    let gone = if args.supervised { Some(run::supervised(&mut settings)?) } else { None };
    let log = LogSettings {
        level: settings.log_level.clone(),
        dir: Some(settings.log_dir.clone()),
        file_prefix: "node.log".to_owned(),
        retention_days: settings.log_retention_days,
        ..LogSettings::default()
    };
    let logs = Arc::new(logs::start(&log).context("logging can't be set up")?);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let modes = Modes { is_scripted: args.scripted, hang: Duration::from_millis(args.hang_timeout_ms.max(100)) };
    let served = runtime.block_on(run::serve(settings, &environment, logs, modes, gone));
    // Threads that wait for a slow disk are not waited for.
    runtime.shutdown_background();
    Ok(served?)
}

fn scripted_worker() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let exit = runtime.block_on(scripted::serve(tokio::io::stdin(), tokio::io::stdout()));
    match exit {
        Ok(scripted::Exit::Crashed) => std::process::abort(),
        // Not by returning: a thread still reads standard input.
        Ok(scripted::Exit::Clean) => std::process::exit(0),
        Err(error) => Err(error.into()),
    }
}
