//! `llm-router key`: over the API where `LLM_ROUTER_URL` is set, else in the store itself.

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};
use store::{Store, audit};

use super::{Failed, Sources, environment, out, remote::Remote};
use crate::{
    admin::{
        keys::{ChangedKey, NewKey},
        trail,
    },
    app::store_url,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key; its secret is printed once.
    #[command(after_help = "Example: llm-router key create --name laptop --expires 30d --json")]
    Create {
        #[command(flatten)]
        sources: Sources,
        /// What people call it.
        #[arg(long)]
        name: String,
        /// What it may do: inference, read, ops, admin, mcp, a2a, files.
        #[arg(long, value_delimiter = ',')]
        scopes: Option<Vec<String>>,
        /// The models that it may use; all if not given.
        #[arg(long, value_delimiter = ',')]
        models: Vec<String>,
        /// When it ends: so long from now (30d), or a time (RFC 3339).
        #[arg(long, value_name = "TIME", value_parser = super::ending())]
        expires: Option<String>,
        /// Most requests in any minute.
        #[arg(long, value_name = "N")]
        rpm: Option<u32>,
        /// Most tokens of prompts and answers in any minute.
        #[arg(long, value_name = "N")]
        tpm: Option<u64>,
        /// Most requests at once.
        #[arg(long, value_name = "N")]
        concurrency: Option<u32>,
        #[command(flatten)]
        allowance: Allowance,
        /// Who answers for it.
        #[arg(long)]
        owner: Option<String>,
        /// Words to find it by.
        #[arg(long, value_delimiter = ',')]
        tags: Vec<String>,
        /// As JSON: {id, key, …}.
        #[arg(long)]
        json: bool,
    },
    /// List the keys; never their secrets.
    #[command(after_help = "Example: llm-router key list --json")]
    List {
        #[command(flatten)]
        sources: Sources,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Change a key; what is not named stays as it is.
    #[command(after_help = "Example: llm-router key update key_0191… --budget 20 --budget-window month")]
    Update {
        #[command(flatten)]
        sources: Sources,
        /// Its id (`key_…`), as `key list` shows it.
        id: String,
        /// What people call it.
        #[arg(long)]
        name: Option<String>,
        /// The models that it may use.
        #[arg(long, value_delimiter = ',')]
        models: Option<Vec<String>>,
        /// When it ends: so long from now (30d), or a time (RFC 3339).
        #[arg(long, value_name = "TIME", value_parser = super::ending())]
        expires: Option<String>,
        #[command(flatten)]
        allowance: Allowance,
        /// It may spend without a bound.
        #[arg(long, conflicts_with = "budget")]
        no_budget: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give a key a new secret, printed once; the old one is refused from now on.
    #[command(after_help = "Example: llm-router key rotate key_0191… --json")]
    Rotate {
        #[command(flatten)]
        sources: Sources,
        /// Its id (`key_…`), as `key list` shows it.
        id: String,
        /// As JSON: {id, key, …}.
        #[arg(long)]
        json: bool,
    },
    /// Refuse a key from now on.
    #[command(after_help = "Example: llm-router key revoke key_0191…")]
    Revoke {
        #[command(flatten)]
        sources: Sources,
        /// Its id (`key_…`), as `key list` shows it.
        id: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What a key may spend.
#[derive(Debug, Args)]
pub(super) struct Allowance {
    /// Dollars that it may spend in a window.
    #[arg(long, value_name = "USD")]
    budget: Option<f64>,
    /// The window, of the calendar in UTC; month if not given.
    #[arg(long, value_parser = ["hour", "day", "week", "month", "total"], requires = "budget")]
    budget_window: Option<String>,
}

impl Allowance {
    fn json(&self) -> Option<Value> {
        let amount = self.budget?;
        Some(json!({"amount": amount, "window": self.budget_window.as_deref().unwrap_or("month")}))
    }
}

pub(super) fn run(command: Command) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        match command {
            Command::Create { sources, name, scopes, models, expires, rpm, tpm, concurrency, allowance, owner, tags, json } => {
                let bounds = [("rpm", rpm.map(Value::from)), ("tpm", tpm.map(Value::from)), ("concurrency", concurrency.map(Value::from))];
                let limits = bounds.into_iter().filter_map(|(name, bound)| Some((name.to_owned(), bound?))).collect();
                let wanted = NewKey {
                    name,
                    scopes,
                    allowed_models: models,
                    expires_at: expires,
                    limits,
                    budget: allowance.json(),
                    owner,
                    tags,
                    ..NewKey::default()
                };
                create(&sources, wanted, json).await
            }
            Command::List { sources, json } => list(&sources, json).await,
            Command::Update { sources, id, name, models, expires, allowance, no_budget, json } => {
                let said = [
                    ("name", name.map(Value::from)),
                    ("allowed_models", models.map(Value::from)),
                    ("expires_at", expires.map(Value::from)),
                ];
                let mut changes: Map<String, Value> =
                    said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
                if let Some(budget) = allowance.json().or_else(|| no_budget.then_some(Value::Null)) {
                    changes.insert("budget".to_owned(), budget);
                }
                update(&sources, &id, changes.into(), json).await
            }
            Command::Rotate { sources, id, json } => rotate(&sources, &id, json).await,
            Command::Revoke { sources, id, json } => revoke(&sources, &id, json).await,
        }
    })
}

async fn create(sources: &Sources, wanted: NewKey, as_json: bool) -> Result<(), Failed> {
    let made = match Remote::of(&environment()?) {
        Some(router) => {
            let body = json!({"name": wanted.name, "scopes": wanted.scopes, "allowed_models": wanted.allowed_models, "expires_at": wanted.expires_at,
                "limits": wanted.limits, "budget": wanted.budget, "owner": wanted.owner, "tags": wanted.tags});
            router.ask(Method::POST, "/api/api-keys", Some(&body)).await?
        }
        None => {
            let (store, rules) = open(sources).await?;
            let (row, secret) = wanted.make("command line").map_err(|f| Failed(1, f.message))?;
            let trail = trail::of("command line", "key.create", Some(&row.id), &rules);
            audit::follow(trail, store::keys::insert(&store, &row)).await.context("the key could not be stored")?;
            store.close().await;
            crate::admin::keys::shown(&row, Some(&secret))
        }
    };
    say_secret(&made, "was made", as_json)
}

async fn update(sources: &Sources, id: &str, changes: Value, as_json: bool) -> Result<(), Failed> {
    let changed = match Remote::of(&environment()?) {
        Some(router) => router.ask(Method::PUT, &format!("/api/api-keys/{id}"), Some(&changes)).await?,
        None => {
            let (store, rules) = open(sources).await?;
            let found = store::keys::get(&store, id).await.context("the key could not be read")?;
            let mut key = found.filter(|key| key.revoked_at_ms.is_none()).ok_or_else(|| anyhow!("there is no key `{id}`"))?;
            let changes: ChangedKey = serde_json::from_value(changes).context("what the command line says of a key")?;
            changes.apply(&mut key).map_err(|f| Failed(1, f.message))?;
            let trail = trail::of("command line", "key.update", Some(id), &rules);
            audit::follow(trail, store::keys::update(&store, &key)).await.context("the key could not be stored")?;
            store.close().await;
            crate::admin::keys::shown(&key, None)
        }
    };
    if as_json { out::json(&changed) } else { out::line(&format!("{id} was changed")) }
}

/// The answer to the making or renewal of a key.
fn say_secret(made: &Value, what: &str, as_json: bool) -> Result<(), Failed> {
    if as_json {
        return out::json(made);
    }
    out::line(made["key"].as_str().unwrap_or_default())?;
    out::remark(&format!("{} {what}; its secret is shown only now.", made["id"].as_str().unwrap_or_default()));
    Ok(())
}

async fn rotate(sources: &Sources, id: &str, as_json: bool) -> Result<(), Failed> {
    let made = match Remote::of(&environment()?) {
        Some(router) => router.ask(Method::POST, &format!("/api/api-keys/{id}/rotate"), None).await?,
        None => {
            let (store, rules) = open(sources).await?;
            let trail = trail::of("command line", "key.rotate", Some(id), &rules);
            let renewed = audit::follow(trail, crate::admin::keys::renewed(&store, id)).await.context("the key could not be renewed")?;
            store.close().await;
            let (key, secret) = renewed.ok_or_else(|| anyhow!("there is no key `{id}`"))?;
            crate::admin::keys::shown(&key, Some(&secret))
        }
    };
    say_secret(&made, "has a new secret", as_json)
}

async fn list(sources: &Sources, as_json: bool) -> Result<(), Failed> {
    let keys = match Remote::of(&environment()?) {
        Some(router) => router.ask(Method::GET, "/api/api-keys", None).await?["api_keys"].take(),
        None => {
            let (store, _) = open(sources).await?;
            let rows = store::keys::list(&store).await.context("the keys could not be read")?;
            store.close().await;
            rows.iter().filter(|k| k.revoked_at_ms.is_none()).map(|k| crate::admin::keys::shown(k, None)).collect()
        }
    };
    if as_json {
        return out::json(&keys);
    }
    let mut rows = Vec::new();
    for key in keys.as_array().into_iter().flatten() {
        let text = |name: &str| key[name].as_str().unwrap_or("-").to_owned();
        let scopes: Vec<&str> = key["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let limits = key["limits"].as_object().into_iter().flatten().map(|(name, bound)| format!("{name}={bound}")).collect::<Vec<_>>();
        rows.push(vec![text("id"), format!("{}…", text("prefix")), text("name"), text("created_at"), scopes.join(","), limits.join(" ")]);
    }
    out::table(&rows)
}

async fn revoke(sources: &Sources, id: &str, as_json: bool) -> Result<(), Failed> {
    match Remote::of(&environment()?) {
        Some(router) => {
            router.ask(Method::DELETE, &format!("/api/api-keys/{id}"), None).await?;
        }
        None => {
            let (store, rules) = open(sources).await?;
            let trail = trail::of("command line", "key.delete", Some(id), &rules);
            let known =
                audit::follow(trail, store::keys::revoke(&store, id, store::now_ms())).await.context("the key could not be revoked")?;
            store.close().await;
            if !known {
                return Err(anyhow!("there is no key `{id}`").into());
            }
        }
    }
    if as_json { out::json(&json!({"id": id, "revoked": true})) } else { out::line(&format!("{id} is refused from now on")) }
}

/// The store that the configuration names, and what it says of audit rows; a running router sees the change within a quarter of a second.
async fn open(sources: &Sources) -> Result<(Store, config::config::Audit), Failed> {
    let config = config::load(&sources.args(), &environment()?)?.config;
    let store = Store::open(&store_url(&config.store), &config.server.data_dir).await.context("the store could not be opened")?;
    Ok((store, config.audit))
}
