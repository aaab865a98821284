//! The command line: one executable, roles as commands.

mod configuration;
mod keys;
mod local_node;
mod remote;
mod serve;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use config::{Environment, LoadArgs};

/// A configuration that is not valid (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;

/// One gateway for every language model.
#[derive(Debug, Parser)]
#[command(name = "llm-router", version, about, after_help = "Example: llm-router serve --config router.yaml --with-node")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (what happens without a command).
    #[command(after_help = "Example: llm-router serve --listen 127.0.0.1:8080 --with-node")]
    Serve(ServeArgs),
    /// Judge or show the configuration.
    #[command(subcommand, after_help = "Example: llm-router config check --config router.yaml")]
    Config(configuration::Command),
    /// Make, list and revoke API keys.
    #[command(subcommand, after_help = "Example: llm-router key create --name laptop")]
    Key(keys::Command),
    /// Print completions for a shell.
    #[command(after_help = "Example: llm-router completions bash > /etc/bash_completion.d/llm-router")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Default, Args)]
struct Sources {
    /// The configuration file.
    #[arg(long, alias = "path", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Base of database, logs, models and files.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Sources {
    fn args(&self) -> LoadArgs {
        LoadArgs { config: self.config.clone(), data_dir: self.data_dir.clone(), ..LoadArgs::default() }
    }
}

#[derive(Debug, Default, Args)]
struct ServeArgs {
    #[command(flatten)]
    sources: Sources,
    /// An address to listen on (ADDR:PORT); may be given several times.
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Start and supervise an inference node on this machine.
    #[arg(long)]
    with_node: bool,
}

/// What went wrong in a command, with the status that says so.
struct Failed(u8, String);

impl From<config::ConfigError> for Failed {
    fn from(error: config::ConfigError) -> Self {
        Self(EXIT_CONFIG, error.to_string())
    }
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self(1, format!("{error:#}"))
    }
}

/// Runs what the command line asks for.
pub fn main() -> ExitCode {
    let done = match parse() {
        Command::Serve(args) => serve::run(args),
        Command::Config(command) => configuration::run(command),
        Command::Key(command) => keys::run(command),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "llm-router", &mut std::io::stdout());
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(status, message)) => {
            eprintln!("llm-router: {message}");
            ExitCode::from(status)
        }
    }
}

/// Called as `smr-config` the executable is its `config` command, as `open-llm-router` its `serve` (Open-LLM Router's programs).
fn parse() -> Command {
    let mut words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let name = words.first().map(PathBuf::from).and_then(|p| p.file_stem().map(|s| s.to_string_lossy().into_owned()));
    match name.as_deref() {
        Some("smr-config") => words.insert(1, "config".into()),
        Some("open-llm-router")
            if words.get(1).is_none_or(|w| w.to_string_lossy().starts_with("--") && w != "--help" && w != "--version") =>
        {
            words.insert(1, "serve".into());
        }
        _ => {}
    }
    Cli::parse_from(words).command.unwrap_or(Command::Serve(ServeArgs::default()))
}

fn environment() -> Result<Environment, Failed> {
    Ok(Environment::of_process()?)
}
