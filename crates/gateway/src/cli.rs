//! The command line: one executable, roles as commands.

mod configuration;
mod cost;
mod db;
mod edit;
mod history;
mod keys;
mod local_node;
mod login;
#[cfg(feature = "mcp")]
mod mcp;
mod models;
mod nodes;
mod out;
mod pulls;
mod remote;
mod serve;
mod users;

use std::{path::PathBuf, process::ExitCode};

use clap::{
    Args, CommandFactory as _, Parser, Subcommand,
    builder::{StringValueParser, TypedValueParser},
};
use config::{Environment, LoadArgs};
use jiff::Timestamp;

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
    /// Judge, show, convert or change the configuration.
    #[command(after_help = "Example: llm-router config check --config router.yaml")]
    Config(configuration::ConfigArgs),
    /// Register, list and forget models by name.
    #[command(subcommand, after_help = "Example: llm-router model add house-model openai http://127.0.0.1:8001")]
    Model(models::Command),
    /// The same as `model add`.
    #[command(hide = true, after_help = "Example: llm-router add-model house-model openai http://127.0.0.1:8001")]
    AddModel(models::Add),
    /// The same as `model refresh-openai`.
    #[command(hide = true, after_help = "Example: OPENAI_API_KEY=sk-… llm-router refresh-openai")]
    RefreshOpenai(models::Refresh),
    /// Make, list, renew and revoke API keys.
    #[command(subcommand, after_help = "Example: llm-router key create --name laptop")]
    Key(keys::Command),
    /// Make, list and remove users, and give them passwords.
    #[command(subcommand, after_help = "Example: llm-router user create ann --role viewer")]
    User(users::Command),
    /// List, drain, remove, adopt and consent to nodes of a running router.
    #[command(subcommand, after_help = "Example: LLM_ROUTER_URL=http://127.0.0.1:8080 llm-router node list")]
    Node(nodes::Command),
    /// What was used and what it cost.
    #[command(subcommand, after_help = "Example: LLM_ROUTER_URL=http://127.0.0.1:8080 llm-router cost report --by model")]
    Cost(cost::Command),
    /// Look after the database of this machine: bring it up to date, check, copy, put a copy in its place.
    #[command(subcommand, after_help = "Example: llm-router db backup /backups/router-monday.db")]
    Db(db::Command),
    /// Serve an assistant over stdio (MCP), in front of the router that `LLM_ROUTER_URL` names.
    #[cfg(feature = "mcp")]
    #[command(after_help = "Example: LLM_ROUTER_URL=http://localhost:8080 LLM_ROUTER_API_KEY=sk_… llm-router mcp")]
    Mcp,
    /// Write records of requests to files, read those of files, and remove old ones.
    #[command(subcommand, after_help = "Example: llm-router history export --output request_history.json")]
    History(Box<history::Command>),
    /// Print the description of all paths (OpenAPI).
    #[command(after_help = "Example: llm-router openapi > openapi.json")]
    Openapi,
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
    /// Show an icon in the notification area; a double click opens the dashboard.
    #[cfg(all(feature = "tray", any(windows, target_os = "macos")))]
    #[arg(long)]
    tray: bool,
    /// Under which name it was called.
    #[arg(skip)]
    as_open_llm_router: bool,
}

/// What went wrong in a command, with the status that says so.
struct Failed(u8, String);

impl Failed {
    /// Nothing went wrong: whoever reads the output has seen enough.
    fn enough() -> Self {
        Self(0, String::new())
    }
}

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

/// When something ends: so long from now (`30d`), or a time. What is neither is refused where all times are.
fn ending() -> impl TypedValueParser<Value = String> {
    StringValueParser::new().map(|text| {
        let is_length = text.ends_with(|c: char| c.is_ascii_alphabetic());
        let length = config::durations::parse_duration(&text).filter(|_| is_length);
        length.map_or(text, |length| (Timestamp::now() + length).to_string())
    })
}

/// Runs what the command line asks for.
pub fn main() -> ExitCode {
    let done = match parse() {
        Command::Serve(args) => serve::run(args),
        Command::Config(command) => configuration::run(command),
        Command::Key(command) => keys::run(command),
        Command::Cost(command) => cost::run(command),
        Command::Db(command) => db::run(command),
        Command::User(command) => users::run(command),
        Command::Model(command) => models::run(command),
        Command::Node(command) => nodes::run(command),
        Command::History(command) => history::run(*command),
        Command::AddModel(add) => models::run(add.into()),
        Command::RefreshOpenai(refresh) => models::run(refresh.into()),
        #[cfg(feature = "mcp")]
        Command::Mcp => mcp::run(),
        Command::Openapi => out::json(&crate::admin::openapi::description()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "llm-router", &mut script);
            out::print(&String::from_utf8_lossy(&script))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(status, message)) => {
            if !message.is_empty() {
                out::remark(&format!("llm-router: {message}"));
            }
            ExitCode::from(status)
        }
    }
}

/// Called as `smr-config` the executable is its `config` command, as `open-llm-router` its `serve` (Open-LLM Router's programs).
fn parse() -> Command {
    let mut words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let name = words.first().map(PathBuf::from).and_then(|p| p.file_stem().map(|s| s.to_string_lossy().into_owned()));
    let name = name.unwrap_or_default();
    let serves = words.get(1).is_none_or(|w| w.to_string_lossy().starts_with("--") && w != "--help" && w != "--version");
    match name.as_str() {
        "smr-config" => words.insert(1, "config".into()),
        "open-llm-router" if serves => words.insert(1, "serve".into()),
        _ => {}
    }
    match Cli::parse_from(words).command.unwrap_or(Command::Serve(ServeArgs::default())) {
        Command::Serve(args) => Command::Serve(ServeArgs { as_open_llm_router: name == "open-llm-router", ..args }),
        Command::Config(args) if name == "smr-config" => Command::Config(args.like_smr_config()),
        other => other,
    }
}

/// The forward proxies that the environment names.
fn proxy(environment: &Environment) -> net::ProxySettings {
    let get = |upper: &str, lower: &str| environment.get(upper).or_else(|| environment.get(lower)).unwrap_or_default().to_owned();
    net::ProxySettings {
        all: get("ALL_PROXY", "all_proxy"),
        http: get("HTTP_PROXY", "http_proxy"),
        https: get("HTTPS_PROXY", "https_proxy"),
        none: format!("{},{}", get("NO_PROXY", "no_proxy"), net::ProxySettings::LOOPBACK),
    }
}

fn environment() -> Result<Environment, Failed> {
    Ok(Environment::of_process()?)
}
