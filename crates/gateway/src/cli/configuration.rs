//! `llm-router config`: judging, showing, converting and changing the configuration.

use std::{io::Read as _, path::PathBuf};

use clap::{Args, Subcommand};
use config::{Config, Foreign, LoadArgs, Loaded};
use serde_json::{Value, json};

use super::{Failed, edit, environment, login, out};
use crate::{app::store_url, discovery::Lists, snapshot::House, stored::Stored};

/// Most bytes of a file to convert.
const CONVERTED_BYTES_MAX: u64 = 8 << 20;

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// The configuration file; without it the one that `serve` would read.
    #[arg(long, alias = "path", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Base of database, logs, models and files.
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// Of a change, print the file as it would be (secrets masked) and write nothing.
    #[arg(long, global = true)]
    dry_run: bool,
    /// Answer as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read the configuration as `serve` would, and say what is wrong with it.
    #[command(after_help = "Example: llm-router config check --config router.yaml")]
    Check,
    /// Print every setting in effect and where it comes from; secrets are masked.
    #[command(after_help = "Example: llm-router config show --json")]
    Show,
    /// Print accounts, routes and fallbacks in short.
    #[command(after_help = "Example: llm-router config summary --config router.yaml")]
    Summary,
    /// Print a JSON Schema of the file, for editors.
    #[command(after_help = "Example: llm-router config schema > router.schema.json")]
    Schema,
    /// Rewrite another program's configuration as a file for this one.
    #[command(after_help = "Example: llm-router config convert --from litellm config.yaml --output router.yaml")]
    Convert(Convert),
    /// List the accounts, those of the environment included.
    #[command(after_help = "Example: llm-router config list-accounts --json")]
    ListAccounts,
    /// Log in to a subscription in a browser, and write an account with its tokens.
    #[command(after_help = "Example: llm-router config login-chatgpt --account chatgpt --models gpt-5.2,gpt-5.2-codex --set-default")]
    LoginChatgpt(Box<login::Login>),
    #[command(flatten)]
    Edit(edit::Command),
}

#[derive(Debug, Args)]
struct Convert {
    /// Whose configuration it is: litellm, open-llm-router or router-services.
    #[arg(long, value_name = "PROGRAM")]
    from: Foreign,
    /// The file, or `-` for standard input; without it, the variable `ROUTER_SERVICES`.
    file: Option<PathBuf>,
    /// Where to write it; a file that exists is left alone. Without this it is printed.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl ConfigArgs {
    /// As the program of that name has it: its `show` is our `summary`.
    pub(super) fn like_smr_config(mut self) -> Self {
        if matches!(self.command, Command::Show) {
            self.command = Command::Summary;
        }
        self
    }
}

pub(super) fn run(args: ConfigArgs) -> Result<(), Failed> {
    let environment = environment()?;
    let ConfigArgs { config, data_dir, dry_run, json, command } = args;
    let sources = LoadArgs { config, data_dir, ..LoadArgs::default() };
    let load = || config::load(&sources, &environment);
    match command {
        Command::Check => check(load()?, json),
        Command::Show if json => out::json(&config::show_json(&load()?)),
        Command::Show => out::print(&config::show_text(&load()?)),
        Command::Summary => summary(&load()?, json),
        Command::Schema => out::json(&config::schema_json()),
        Command::Convert(convert) => run_convert(&convert, &sources, &environment),
        Command::ListAccounts => list_accounts(&load()?.config, json),
        Command::LoginChatgpt(login) => login::run(*login, &edit::How { sources, dry_run, json }, &environment),
        Command::Edit(command) => edit::run(command, &edit::How { sources, dry_run, json }, &environment),
    }
}

/// What only shows when accounts are put together.
pub(super) fn check_house(config: Config) -> Result<(), Failed> {
    let refused = |error: store::StoreError| Failed(super::EXIT_CONFIG, error.to_string());
    store::check_address(&store_url(&config.store), &config.server.data_dir).map_err(refused)?;
    let house = House::build(std::sync::Arc::new(config), &Stored::default(), &dispatch::Health::default(), &Lists::default(), None);
    house.map(drop).map_err(|message| Failed(super::EXIT_CONFIG, message))
}

fn check(loaded: Loaded, as_json: bool) -> Result<(), Failed> {
    check_house(loaded.config)?;
    let file = loaded.file.map(|file| file.display().to_string());
    if as_json {
        return out::json(&json!({"valid": true, "file": file, "warnings": loaded.warnings}));
    }
    for warning in loaded.warnings {
        out::remark(&format!("warning: {warning}"));
    }
    match file {
        Some(file) => out::line(&format!("{file}: ok")),
        None => out::line("ok (no file; environment and defaults)"),
    }
}

fn account_json(account: &config::Account) -> Value {
    json!({
        "name": account.name,
        "provider": account.provider,
        "base_url": account.base_url,
        "auth_mode": account.auth_mode.as_str(),
        "has_credential": account.has_credential(),
        "enabled": account.enabled,
        "priority": account.priority,
        "models": account.models,
        "origin": account.origin.to_string(),
    })
}

fn list_accounts(config: &Config, as_json: bool) -> Result<(), Failed> {
    if as_json {
        return out::json(&json!({"accounts": config.accounts.iter().map(account_json).collect::<Vec<_>>()}));
    }
    let row = |a: &config::Account| {
        let state = match (a.enabled, a.has_credential()) {
            (false, _) => "disabled",
            (true, false) => "no credential",
            (true, true) => "ready",
        };
        let models = if a.models.is_empty() { "any".to_owned() } else { a.models.join(",") };
        [a.name.as_str(), &a.provider, &a.base_url, a.auth_mode.as_str(), state, &models, &a.origin.to_string()].map(str::to_owned).to_vec()
    };
    let rows: Vec<_> = config.accounts.iter().map(row).collect();
    out::table(&rows)
}

fn summary(loaded: &Loaded, as_json: bool) -> Result<(), Failed> {
    let config = &loaded.config;
    let route = |route: &config::config::TaskRoute| {
        let tiers = [&route.low, &route.medium, &route.high, &route.xhigh, &route.default];
        let named = config::edit::TIERS.into_iter().zip(tiers).filter(|(_, models)| !models.is_empty());
        named.map(|(tier, models)| (tier.to_owned(), json!(models))).collect::<serde_json::Map<_, _>>()
    };
    let routes: serde_json::Map<String, Value> =
        config.task_routes.iter().map(|(task, tiers)| (task.clone(), Value::Object(route(tiers)))).collect();
    let models: Vec<&str> = config.models.iter().map(|m| m.id.as_str()).collect();
    if as_json {
        return out::json(&json!({
            "file": loaded.file.as_ref().map(|f| f.display().to_string()),
            "default_model": config.default_model,
            "models": models,
            "accounts": config.accounts.iter().map(account_json).collect::<Vec<_>>(),
            "task_routes": routes,
            "fallback_models": config.fallback_models,
        }));
    }
    let file = loaded.file.as_ref().map_or_else(|| "none".to_owned(), |f| f.display().to_string());
    let default = config.default_model.as_deref().unwrap_or("none");
    let account = |account: &config::Account| {
        let served = if account.models.is_empty() { "any model".to_owned() } else { account.models.join(", ") };
        let off = if account.enabled { "" } else { " (disabled)" };
        format!("  {} [{}]{off}: {served}", account.name, account.provider)
    };
    let mut lines = vec![
        format!("file: {file}"),
        format!("default model: {default}"),
        format!("models: {}", models.join(", ")),
        "accounts:".to_owned(),
    ];
    lines.extend(config.accounts.iter().map(account));
    lines.push("routes:".to_owned());
    lines.extend(routes.iter().map(|(task, tiers)| format!("  {task}: {tiers}")));
    lines.push(format!("fallbacks: {}", config.fallback_models.join(", ")));
    out::line(&lines.join("\n"))
}

fn run_convert(convert: &Convert, sources: &LoadArgs, environment: &config::Environment) -> Result<(), Failed> {
    let (text, path) = match &convert.file {
        Some(path) if path.as_os_str() == "-" => (read(std::io::stdin(), "standard input")?, PathBuf::from("standard input")),
        Some(path) => {
            let file = std::fs::File::open(path).map_err(|e| Failed(1, format!("{}: {e}", path.display())))?;
            (read(file, &path.display().to_string())?, path.clone())
        }
        None if convert.from == Foreign::RouterServices => {
            let text = environment.get("ROUTER_SERVICES").ok_or_else(|| Failed(1, "name a file, or set ROUTER_SERVICES".to_owned()))?;
            (text.to_owned(), PathBuf::from("ROUTER_SERVICES"))
        }
        None => return Err(Failed(1, "name the file to convert".to_owned())),
    };
    let made = config::convert(convert.from, &text, &path)?;
    let place = convert.output.clone().unwrap_or_else(|| PathBuf::from("the converted file"));
    // What it says must stand by itself, without the services that it was made from.
    let loaded = config::load_text(sources, &environment.without("ROUTER_SERVICES"), &made.text, &place)?;
    check_house(loaded.config)?;
    for note in made.notes.iter().chain(&loaded.warnings) {
        out::remark(&format!("note: {note}"));
    }
    let Some(output) = &convert.output else { return out::print(&made.text) };
    let target = config::edit::target(&LoadArgs { config: Some(output.clone()), ..LoadArgs::default() }, environment)?;
    if target.path().exists() {
        return Err(Failed(1, format!("{} exists already and is left alone", target.path().display())));
    }
    target.write(&made.text)?;
    out::line(&format!("{}: written", target.path().display()))
}

fn read(from: impl std::io::Read, name: &str) -> Result<String, Failed> {
    let mut text = String::new();
    let taken = from.take(CONVERTED_BYTES_MAX + 1).read_to_string(&mut text).map_err(|e| Failed(1, format!("{name}: {e}")))?;
    if taken as u64 > CONVERTED_BYTES_MAX {
        return Err(Failed(1, format!("{name} is larger than {CONVERTED_BYTES_MAX} bytes")));
    }
    Ok(text)
}
