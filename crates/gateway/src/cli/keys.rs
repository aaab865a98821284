//! `llm-router key`: over the API where `LLM_ROUTER_URL` is set, else in the store itself.

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};
use store::Store;

use super::{Failed, Sources, environment, remote::Remote};
use crate::{admin::keys::NewKey, app::store_url};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key; its secret is printed once.
    #[command(after_help = "Example: llm-router key create --name laptop --expires 2027-01-31T00:00:00Z --json")]
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
        /// When it ends (RFC 3339).
        #[arg(long)]
        expires: Option<String>,
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
    /// Refuse a key from now on.
    #[command(after_help = "Example: llm-router key revoke key_0191…")]
    Revoke {
        #[command(flatten)]
        sources: Sources,
        /// Its id (`key_…`), as `key list` shows it.
        id: String,
    },
}

pub(super) fn run(command: Command) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        match command {
            Command::Create { sources, name, scopes, models, expires, json } => {
                let wanted = NewKey { name, scopes, allowed_models: models, expires_at: expires, ..NewKey::default() };
                create(&sources, wanted, json).await
            }
            Command::List { sources, json } => list(&sources, json).await,
            Command::Revoke { sources, id } => revoke(&sources, &id).await,
        }
    })
}

async fn create(sources: &Sources, wanted: NewKey, as_json: bool) -> Result<(), Failed> {
    let made = match Remote::of(&environment()?) {
        Some(router) => {
            let body = json!({"name": wanted.name, "scopes": wanted.scopes, "allowed_models": wanted.allowed_models, "expires_at": wanted.expires_at});
            router.ask(Method::POST, "/api/api-keys", Some(&body)).await?
        }
        None => {
            let store = open(sources).await?;
            let (row, secret) = wanted.make("command line").map_err(|f| Failed(1, f.message))?;
            store::keys::insert(&store, &row).await.context("the key could not be stored")?;
            store.close().await;
            crate::admin::keys::shown(&row, Some(&secret))
        }
    };
    if as_json {
        println!("{made:#}");
    } else {
        println!("{}", made["key"].as_str().unwrap_or_default());
        eprintln!("{} was made; its secret is shown only now.", made["id"].as_str().unwrap_or_default());
    }
    Ok(())
}

async fn list(sources: &Sources, as_json: bool) -> Result<(), Failed> {
    let keys = match Remote::of(&environment()?) {
        Some(router) => router.ask(Method::GET, "/api/api-keys", None).await?["api_keys"].take(),
        None => {
            let store = open(sources).await?;
            let rows = store::keys::list(&store).await.context("the keys could not be read")?;
            store.close().await;
            rows.iter().filter(|k| k.revoked_at_ms.is_none()).map(|k| crate::admin::keys::shown(k, None)).collect()
        }
    };
    if as_json {
        println!("{keys:#}");
        return Ok(());
    }
    for key in keys.as_array().into_iter().flatten() {
        let text = |name: &str| key[name].as_str().unwrap_or("-").to_owned();
        let scopes: Vec<&str> = key["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        println!("{}  {}…  {:24}  {}  {}", text("id"), text("prefix"), text("name"), text("created_at"), scopes.join(","));
    }
    Ok(())
}

async fn revoke(sources: &Sources, id: &str) -> Result<(), Failed> {
    match Remote::of(&environment()?) {
        Some(router) => {
            router.ask(Method::DELETE, &format!("/api/api-keys/{id}"), None).await?;
        }
        None => {
            let store = open(sources).await?;
            let known = store::keys::revoke(&store, id, store::now_ms()).await.context("the key could not be revoked")?;
            store.close().await;
            if !known {
                return Err(anyhow!("there is no key `{id}`").into());
            }
        }
    }
    println!("{id} is refused from now on");
    Ok(())
}

/// The store that the configuration names; a running router sees the change within a quarter of a second.
async fn open(sources: &Sources) -> Result<Store, Failed> {
    let config = config::load(&sources.args(), &environment()?)?.config;
    Ok(Store::open(&store_url(&config.store), &config.server.data_dir).await.context("the store could not be opened")?)
}
