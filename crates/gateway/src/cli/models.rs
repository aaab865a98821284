//! `llm-router model`: names that stand for a type of provider and an address, in the store; a running router sees a change at once.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use clap::Subcommand;
use config::Account;
use http::{HeaderValue, Request, header};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Store, audit, models::Model};

use super::{Failed, Sources, environment, out, proxy, pulls};
use crate::{admin::trail, app::store_url};

/// Most bytes of a file of models, and of a provider's list.
const LIST_BYTES_MAX: usize = 8 << 20;

/// Most models that one command registers.
const MODELS_MAX: usize = 10_000;

/// How long a provider may take for its list.
const LIST_TIME_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Register a model by name, or say anew what a name stands for. The provider's key (as `OPENAI_API_KEY`) is sent to that address.
    #[command(after_help = "Example: llm-router model add house-model openai http://127.0.0.1:8001")]
    Add(Add),
    /// List the registered models.
    #[command(after_help = "Example: llm-router model list --json")]
    List {
        #[command(flatten)]
        sources: Sources,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Forget a registered model.
    #[command(after_help = "Example: llm-router model remove house-model")]
    Remove {
        #[command(flatten)]
        sources: Sources,
        /// Its name.
        name: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Register all models of a JSON file: a list of {name, type, endpoint, kind}. All or none.
    #[command(after_help = "Example: llm-router model seed models.json")]
    Seed {
        #[command(flatten)]
        sources: Sources,
        /// The file.
        file: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Replace the registered models of OpenAI by the list that its API gives; those of other types stay.
    #[command(after_help = "Example: OPENAI_API_KEY=sk-… llm-router model refresh-openai")]
    RefreshOpenai(Refresh),
    /// Register a GGUF model of the hub with a running router, which brings its file behind the answer.
    #[command(
        after_help = "Example: LLM_ROUTER_URL=http://127.0.0.1:8080 llm-router model register Qwen/Qwen3-0.6B-GGUF --quantization Q8_0"
    )]
    Register(pulls::Register),
    /// The same, and wait until the file is there.
    #[command(after_help = "Example: LLM_ROUTER_URL=http://127.0.0.1:8080 llm-router model pull Qwen/Qwen3-0.6B-GGUF --quantization Q8_0")]
    Pull(pulls::Register),
    /// Let a running router convert a repository's safetensors to GGUF, and wait for it.
    #[command(after_help = "Example: LLM_ROUTER_URL=http://127.0.0.1:8080 llm-router model convert Qwen/Qwen3-0.6B --quantization q8_0")]
    Convert(pulls::Convert),
}

#[derive(Debug, clap::Args)]
pub(super) struct Add {
    #[command(flatten)]
    sources: Sources,
    /// What clients call it.
    name: String,
    /// What serves it: local, openai, llm-d, anthropic, google, openrouter, grok, venice and others.
    r#type: String,
    /// Where it is served.
    endpoint: String,
    /// What it is registered as.
    #[arg(default_value = "api", value_parser = ["api", "weight"])]
    kind: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Refresh {
    #[command(flatten)]
    sources: Sources,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: Command) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        match command {
            Command::Add(add) => self::add(add).await,
            Command::List { sources, json } => list(&sources, json).await,
            Command::Remove { sources, name, json } => remove(&sources, &name, json).await,
            Command::Seed { sources, file, json } => seed(&sources, &file, json).await,
            Command::RefreshOpenai(args) => refresh(&args.sources, args.json).await,
            Command::Register(args) => pulls::register(&args).await,
            Command::Pull(args) => pulls::pull(&args).await,
            Command::Convert(args) => pulls::convert(&args).await,
        }
    })
}

fn shown(model: &Model) -> Value {
    json!({"name": model.name, "type": model.r#type, "endpoint": model.endpoint, "kind": model.kind})
}

async fn add(add: Add) -> Result<(), Failed> {
    config::registered::check_registration(&add.name, &add.r#type, &add.endpoint).map_err(|e| Failed(1, e.to_string()))?;
    let model = Model { name: add.name, r#type: add.r#type, endpoint: add.endpoint, kind: add.kind, created_at_ms: store::now_ms() };
    let (store, rules) = open(&add.sources).await?;
    let trail = trail::of("command line", "model.add", Some(&model.name), &rules);
    audit::follow(trail, store::models::upsert(&store, std::slice::from_ref(&model))).await.context("the model could not be stored")?;
    store.close().await;
    if add.json {
        return out::json(&shown(&model));
    }
    out::line(&format!("{} is served by {} at {}", model.name, model.r#type, model.endpoint))
}

async fn list(sources: &Sources, as_json: bool) -> Result<(), Failed> {
    let (store, _) = open(sources).await?;
    let models = store::models::list(&store).await.context("the models could not be read")?;
    store.close().await;
    if as_json {
        return out::json(&json!({"models": models.iter().map(shown).collect::<Vec<_>>()}));
    }
    let rows: Vec<Vec<String>> = models.into_iter().map(|m| vec![m.name, m.r#type, m.kind, m.endpoint]).collect();
    out::table(&rows)
}

async fn remove(sources: &Sources, name: &str, as_json: bool) -> Result<(), Failed> {
    let (store, rules) = open(sources).await?;
    let trail = trail::of("command line", "model.remove", Some(name), &rules);
    let known = audit::follow(trail, store::models::delete(&store, name)).await.context("the model could not be removed")?;
    store.close().await;
    if !known {
        return Err(anyhow!("no model `{name}` is registered").into());
    }
    if as_json { out::json(&json!({"name": name, "removed": true})) } else { out::line(&format!("{name} is forgotten")) }
}

/// An entry of a file of models.
#[derive(Deserialize)]
struct Entry {
    name: String,
    r#type: String,
    endpoint: String,
    kind: Option<String>,
}

async fn seed(sources: &Sources, file: &std::path::Path, as_json: bool) -> Result<(), Failed> {
    let named = |what: String| Failed(1, format!("{}: {what}", file.display()));
    let length = std::fs::metadata(file).map_err(|e| named(e.to_string()))?.len();
    if length > LIST_BYTES_MAX as u64 {
        return Err(named(format!("it is larger than {LIST_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(file).map_err(|e| named(e.to_string()))?;
    let entries: Vec<Entry> = serde_json::from_str(&text).map_err(|e| named(format!("it must be a JSON list of models: {e}")))?;
    if entries.len() > MODELS_MAX {
        return Err(named(format!("it has more than {MODELS_MAX} models")));
    }
    let now = store::now_ms();
    let models = entries.into_iter().enumerate().map(|(i, entry)| {
        config::registered::check_registration(&entry.name, &entry.r#type, &entry.endpoint).map_err(|e| named(format!("[{i}]: {e}")))?;
        let kind = entry.kind.unwrap_or_else(|| "api".to_owned());
        if !matches!(kind.as_str(), "api" | "weight") {
            return Err(named(format!("[{i}]: the kind is `api` or `weight`, not `{kind}`")));
        }
        Ok(Model { name: entry.name, r#type: entry.r#type, endpoint: entry.endpoint, kind, created_at_ms: now })
    });
    let models = models.collect::<Result<Vec<_>, Failed>>()?;
    let (store, rules) = open(sources).await?;
    let trail = trail::of("command line", "model.seed", None, &rules);
    audit::follow(trail, store::models::upsert(&store, &models)).await.context("the models could not be stored")?;
    store.close().await;
    if as_json {
        return out::json(&json!({"count": models.len(), "models": models.iter().map(shown).collect::<Vec<_>>()}));
    }
    out::line(&format!("{} models are registered", models.len()))
}

async fn refresh(sources: &Sources, as_json: bool) -> Result<(), Failed> {
    let environment = environment()?;
    let config = config::load(&sources.args(), &environment)?.config;
    let (r#type, account) = config.refreshed().map_err(|e| Failed(1, e.to_string()))?;
    let client = net::Client::new(net::Settings { proxy: proxy(&environment), ..net::Settings::default() });
    let now = store::now_ms();
    let names = listed(&client, account).await?;
    let endpoint = &account.base_url;
    let fits = |name: &String| config::registered::check_registration(name, r#type, endpoint).is_ok();
    let models: Vec<Model> = names
        .into_iter()
        .filter(fits)
        .take(MODELS_MAX)
        .map(|name| Model { name, r#type: r#type.to_owned(), endpoint: endpoint.clone(), kind: "api".to_owned(), created_at_ms: now })
        .collect();
    if models.is_empty() {
        return Err(anyhow!("{endpoint} lists no model; nothing was changed").into());
    }
    let (store, rules) = open(sources).await?;
    let trail = trail::of("command line", "model.refresh", Some(r#type), &rules);
    audit::follow(trail, store::models::replace_type(&store, r#type, &models)).await.context("the models could not be stored")?;
    store.close().await;
    if as_json {
        return out::json(&json!({"count": models.len(), "models": models.iter().map(shown).collect::<Vec<_>>()}));
    }
    out::line(&format!("{} models of {type} are registered", models.len()))
}

/// The names that an account's list of models has.
async fn listed(client: &net::Client, account: &Account) -> anyhow::Result<Vec<String>> {
    let mut request = Request::new(net::Body::from(Bytes::new()));
    let url = format!("{}/models", account.base_url);
    *request.uri_mut() = url.parse().with_context(|| format!("{url} is no address"))?;
    for (name, value) in &account.headers {
        let (name, value) = (name.parse::<http::HeaderName>(), HeaderValue::from_str(value.expose()));
        request.headers_mut().insert(name.context("a header's name")?, value.context("a header's value")?);
    }
    if let Some(key) = &account.api_key {
        let value = HeaderValue::from_str(&format!("Bearer {}", key.expose())).context("the key has characters that no header may have")?;
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    let timeouts = net::Timeouts { total: LIST_TIME_MAX, ..net::Timeouts::default() };
    let response = client.fetch(request, &timeouts, LIST_BYTES_MAX).await.with_context(|| format!("{url} cannot be asked"))?;
    if !response.status().is_success() {
        return Err(anyhow!("{url} answered with status {}", response.status().as_u16()));
    }
    let said: Value = serde_json::from_slice(response.body()).with_context(|| format!("{url} answered with something that is no JSON"))?;
    let models = said["data"].as_array().ok_or_else(|| anyhow!("{url} answered with something that is no list of models"))?;
    Ok(models.iter().filter_map(|model| model["id"].as_str().map(str::to_owned)).collect())
}

/// The store that the configuration names, and what it says of audit rows.
async fn open(sources: &Sources) -> Result<(Store, config::config::Audit), Failed> {
    let environment = environment()?;
    let config = config::load(&sources.args(), &environment)?.config;
    let elsewhere = environment.get("LLM_ROUTER_URL").filter(|url| !is_here(url));
    if let Some(url) = elsewhere {
        out::remark(&format!("note: models are kept in the store of this machine, whatever LLM_ROUTER_URL ({url}) says"));
    }
    let store = Store::open(&store_url(&config.store), &config.server.data_dir).await.context("the store could not be opened")?;
    Ok((store, config.audit))
}

/// Whether a URL's host is this machine.
fn is_here(url: &str) -> bool {
    let host = url.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
    let bare = host.trim_matches(['[', ']']);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl From<Add> for Command {
    fn from(add: Add) -> Self {
        Self::Add(add)
    }
}

impl From<Refresh> for Command {
    fn from(refresh: Refresh) -> Self {
        Self::RefreshOpenai(refresh)
    }
}
