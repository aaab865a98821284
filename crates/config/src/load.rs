//! From everything that was written to one valid configuration. A reload is the same call with a fresh [`Environment`].

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::env::Environment;
use crate::error::ConfigError;
use crate::keys::{KEYS, OTHER_BEGINNINGS, OTHER_VARIABLES, PREFIX, WITHOUT_EFFECT};
use crate::reader::Reader;
use crate::secret::{MASK, Secret};
use crate::show::{Origin, Shown};
use crate::tree::Node;
use crate::{auth, check, file, known, sections};

#[cfg(test)]
mod tests;

/// The port of Open-LLM Router.
const OPEN_LLM_ROUTER_PORT: &str = "8000";

/// What the command line says about the configuration.
#[derive(Debug, Clone, Default)]
pub struct LoadArgs {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// Every `--listen`, each one or several `address:port` with commas between.
    pub listen: Vec<String>,
    /// Started as `open-llm-router`: on port 8000 unless told otherwise, with `_router` in answers.
    pub as_open_llm_router: bool,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// Where relative paths start; the environment's working directory where `None`.
    pub cwd: Option<PathBuf>,
    /// What `~` means; the environment's home directory where `None`.
    pub home: Option<PathBuf>,
}

/// A valid configuration and what should be said about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file it was read from, if there is one.
    pub file: Option<PathBuf>,
    /// The text of that file, if it has any; secret, since secrets may stand in it.
    pub text: Option<Secret>,
    /// What should be told once: deprecated names, unknown variables, things without effect.
    pub warnings: Vec<String>,
    /// Every setting in effect with its origin, secrets masked.
    pub shown: Vec<Shown>,
}

/// Reads file and environment and makes the configuration of them; flags win over the environment (`.env` included), that
/// over the file, that over defaults.
///
/// Errors name the first value that is wrong, where it came from and what would be right; nothing is changed by a failure.
pub fn load(args: &LoadArgs, env: &Environment) -> Result<Loaded, ConfigError> {
    let cwd = args.cwd.clone().unwrap_or_else(|| env.cwd().to_owned());
    let home = args.home.clone().or_else(|| env.home().map(Path::to_owned));
    let path = file::find(args.config.as_deref(), env, &cwd, home.as_deref())?;
    let text = path.as_deref().map(file::read_text).transpose()?;
    let root = text.as_deref().zip(path.as_deref()).map_or(Ok(Node::NOTHING), |(text, path)| file::parse(text, path))?;
    let loaded = load_tree(args, env, &root, path, cwd, home)?;
    Ok(Loaded { text: text.and_then(Secret::new), ..loaded })
}

/// As [`load`], with this text in the place of the file, which need not exist.
pub fn load_text(args: &LoadArgs, env: &Environment, text: &str, path: &Path) -> Result<Loaded, ConfigError> {
    let cwd = args.cwd.clone().unwrap_or_else(|| env.cwd().to_owned());
    let home = args.home.clone().or_else(|| env.home().map(Path::to_owned));
    let loaded = load_tree(args, env, &file::parse(text, path)?, Some(path.to_owned()), cwd, home)?;
    Ok(Loaded { text: Secret::new(text), ..loaded })
}

/// A tree that was read, as [`load`] takes it.
pub(crate) fn load_tree(
    args: &LoadArgs,
    env: &Environment,
    root: &Node,
    file: Option<PathBuf>,
    cwd: PathBuf,
    home: Option<PathBuf>,
) -> Result<Loaded, ConfigError> {
    known::check_file(root, KEYS, file.as_deref())?;
    known::check_kept(root, KEYS, file.as_deref())?;
    let of_file = root.at("environment_variables").map_or(&[][..], Node::entries);
    let with_file = (!of_file.is_empty())
        .then(|| env.over(of_file.iter().filter_map(|entry| Some((entry.key.clone(), entry.node.scalar()?, entry.line)))));
    let env = with_file.as_ref().unwrap_or(env);
    let mut reader = Reader::new(env, root, file.as_deref(), KEYS, Some(PREFIX));
    (reader.cwd, reader.home) = (cwd, home);
    if args.as_open_llm_router {
        reader.otherwise("server.port", OPEN_LLM_ROUTER_PORT);
    }
    let listen = (!args.listen.is_empty()).then(|| args.listen.join(","));
    reader.flag("server.listen", "--listen", listen);
    reader.flag("server.data_dir", "--data-dir", args.data_dir.as_ref().map(|p| p.display().to_string()));
    let mut config = sections::read(&mut reader)?;
    config.server.as_open_llm_router = args.as_open_llm_router;
    check::settle(&mut config, &mut reader)?;
    reader.report_deprecated();
    let mut warnings = std::mem::take(&mut reader.warnings);
    let others: Vec<&str> = [OTHER_VARIABLES, auth::KEY_VARIABLES, auth::MASTER_VARIABLES].concat();
    warnings.extend(known::unknown_variables(env, PREFIX, KEYS, &others, OTHER_BEGINNINGS, true));
    warnings.extend(without_effect(&reader));
    show_rest(&config, &mut reader);
    let shown = std::mem::take(&mut reader.shown);
    Ok(Loaded { config, file, text: None, warnings, shown })
}

fn without_effect(reader: &Reader) -> Option<String> {
    let is_written = |name: &&str| match reader.root.at(name) {
        Some(node) => !node.items().is_empty() && node.to_json() != serde_json::json!({}),
        None => KEYS.iter().any(|key| key.name == *name && key.is_single()) && reader.is_written(name),
    };
    let written: Vec<&str> = WITHOUT_EFFECT.iter().copied().filter(is_written).collect();
    (!written.is_empty()).then(|| format!("accepted, but without effect in this version: {}", written.join(", ")))
}

/// Shows what is no single setting: accounts as they came out, all else as it was written.
fn show_rest(config: &Config, reader: &mut Reader) {
    for (i, account) in config.accounts.iter().enumerate() {
        let origin = match &account.origin {
            crate::account::AccountOrigin::File { line } => reader.at_line(*line),
            crate::account::AccountOrigin::Services { position } => match reader.of_variable("ROUTER_SERVICES") {
                Origin::DotEnv(name) => Origin::DotEnv(format!("{name}[{position}]")),
                _ => Origin::Environment(format!("ROUTER_SERVICES[{position}]")),
            },
            crate::account::AccountOrigin::Environment { variable } => reader.of_variable(variable),
            // None stands among those of the configuration.
            crate::account::AccountOrigin::Registered => Origin::Default,
        };
        for (key, value) in account.shown() {
            reader.note(&format!("accounts[{i}].{key}"), value, origin.clone());
        }
    }
    let mut flat = Vec::new();
    let own = ["accounts", "services", "model_list", "auth.keys", "auth.master"];
    for key in KEYS.iter().filter(|k| !k.is_single() && !own.contains(&k.name)) {
        if let Some(node) = reader.root.at(key.name) {
            if key.name == "environment_variables" {
                flat.extend(node.entries().iter().map(|e| (format!("{}.{}", key.name, e.key), MASK.to_owned(), e.line)));
            } else {
                node.flatten(key.name, &mut flat);
            }
        }
    }
    for (key, value, line) in flat {
        let origin = reader.at_line(line);
        reader.note(&key, value, origin);
    }
}
