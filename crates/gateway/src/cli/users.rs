//! `llm-router user`: over the API where `LLM_ROUTER_URL` is set, else in the store itself.

use std::io::{IsTerminal as _, Read as _};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};
use store::{
    Store, audit,
    users::{self, Change, User},
};

use super::{Failed, Sources, environment, out, remote::Remote};
use crate::{
    admin::{trail, users as rules},
    app::store_url,
    first_run,
};

/// Letters of a password that is made.
const PASSWORD_LETTERS: usize = 20;

/// Most bytes of a password that are read.
const PASSWORD_BYTES_MAX: u64 = 4096;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a user; a password that is made for them is printed once and has to be changed at the first log-in.
    #[command(after_help = "Example: llm-router user create ann --role viewer --json")]
    Create {
        #[command(flatten)]
        sources: Sources,
        /// What they log in as.
        username: String,
        /// What they may.
        #[arg(long, value_enum, default_value = "viewer")]
        role: Role,
        #[command(flatten)]
        password: Password,
        /// As JSON: {id, username, role, password?, …}.
        #[arg(long)]
        json: bool,
    },
    /// List the users.
    #[command(after_help = "Example: llm-router user list --json")]
    List {
        #[command(flatten)]
        sources: Sources,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give a user another password, which ends their sessions.
    #[command(after_help = "Example: printf %s \"$NEW\" | llm-router user set-password ann --password-stdin")]
    SetPassword {
        #[command(flatten)]
        sources: Sources,
        /// Their name or id.
        user: String,
        #[command(flatten)]
        password: Password,
        /// As JSON: {id, username, role, password?, …}.
        #[arg(long)]
        json: bool,
    },
    /// Remove a user, and their sessions with them. The last administrator stays.
    #[command(after_help = "Example: llm-router user delete ann")]
    Delete {
        #[command(flatten)]
        sources: Sources,
        /// Their name or id.
        user: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Role {
    Admin,
    Viewer,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Viewer => "viewer",
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Password {
    /// Read the password from standard input instead of making one.
    #[arg(long)]
    password_stdin: bool,
}

/// A password, and whether it was made here.
struct Chosen {
    password: String,
    is_made: bool,
}

impl Password {
    fn choose(&self, username: &str) -> Result<Chosen, Failed> {
        if !self.password_stdin {
            return Ok(Chosen { password: first_run::random(PASSWORD_LETTERS), is_made: true });
        }
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            out::remark("The password, then Enter and Ctrl-D (it is shown as it is typed):");
        }
        let mut password = String::new();
        stdin.lock().take(PASSWORD_BYTES_MAX).read_to_string(&mut password).context("the password cannot be read")?;
        let password = password.trim_end_matches(['\r', '\n']).to_owned();
        rules::check_password(&password, username).map_err(|f| Failed(1, f.message))?;
        Ok(Chosen { password, is_made: false })
    }
}

pub(super) fn run(command: Command) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        match command {
            Command::Create { sources, username, role, password, json } => {
                create(&sources, &username, role, &password.choose(&username)?, json).await
            }
            Command::List { sources, json } => list(&sources, json).await,
            Command::SetPassword { sources, user, password, json } => set_password(&sources, &user, &password.choose(&user)?, json).await,
            Command::Delete { sources, user, json } => delete(&sources, &user, json).await,
        }
    })
}

async fn create(sources: &Sources, username: &str, role: Role, chosen: &Chosen, as_json: bool) -> Result<(), Failed> {
    let made = match Remote::of(&environment()?) {
        Some(router) => {
            let body =
                json!({"username": username, "password": chosen.password, "role": role.name(), "must_change_password": chosen.is_made});
            router.ask(Method::POST, "/api/users", Some(&body)).await?
        }
        None => {
            let user = User {
                id: store::new_id("user"),
                username: rules::checked_name(username).map_err(|f| Failed(1, f.message))?,
                password_hash: hashed(chosen)?,
                role: role.name().to_owned(),
                must_change_password: chosen.is_made,
                created_at_ms: store::now_ms(),
                last_login_at_ms: None,
            };
            let (store, audited) = open(sources).await?;
            let trail = trail::of("command line", "user.create", Some(&user.id), &audited);
            audit::follow(trail, users::insert(&store, &user)).await.context("the user could not be stored")?;
            store.close().await;
            rules::shown(&user)
        }
    };
    say(made, chosen, "was made", as_json)
}

async fn set_password(sources: &Sources, meant: &str, chosen: &Chosen, as_json: bool) -> Result<(), Failed> {
    let changed = match Remote::of(&environment()?) {
        Some(router) => {
            let all = router.ask(Method::GET, "/api/users", None).await?;
            let id = id_of(&all["users"], meant)?;
            let body = json!({"password": chosen.password, "must_change_password": chosen.is_made});
            router.ask(Method::PUT, &format!("/api/users/{id}"), Some(&body)).await?
        }
        None => {
            let (store, audited) = open(sources).await?;
            let id = id_of(&all(&store).await?, meant)?;
            let trail = trail::of("command line", "user.update", Some(&id), &audited);
            let change = Change { password_hash: Some(hashed(chosen)?), must_change_password: Some(chosen.is_made), ..Change::default() };
            audit::follow(trail, users::change(&store, &id, &change)).await.context("the password could not be stored")?;
            let user = users::get_by_id(&store, &id).await.context("the user could not be read")?;
            store.close().await;
            rules::shown(&user.ok_or_else(|| anyhow!("there is no user `{meant}` any more"))?)
        }
    };
    say(changed, chosen, "has a new password", as_json)
}

/// A user who was made or changed; with the password where nobody else knows it.
fn say(mut user: Value, chosen: &Chosen, what: &str, as_json: bool) -> Result<(), Failed> {
    if as_json {
        if chosen.is_made {
            user["password"] = chosen.password.clone().into();
        }
        return out::json(&user);
    }
    let name = user["username"].as_str().unwrap_or_default();
    if !chosen.is_made {
        return out::line(&format!("{name} {what}"));
    }
    out::line(&chosen.password)?;
    out::remark(&format!("{name} {what}; the password is shown only now and has to be changed at the first log-in."));
    Ok(())
}

async fn list(sources: &Sources, as_json: bool) -> Result<(), Failed> {
    let found = match Remote::of(&environment()?) {
        Some(router) => router.ask(Method::GET, "/api/users", None).await?["users"].take(),
        None => {
            let (store, _) = open(sources).await?;
            let found = all(&store).await?;
            store.close().await;
            found
        }
    };
    if as_json {
        return out::json(&found);
    }
    let text = |user: &Value, name: &str| user[name].as_str().unwrap_or("-").to_owned();
    let row = |user: &Value| ["id", "username", "role", "created_at", "last_login"].map(|name| text(user, name)).to_vec();
    out::table(&found.as_array().into_iter().flatten().map(row).collect::<Vec<_>>())
}

async fn delete(sources: &Sources, meant: &str, as_json: bool) -> Result<(), Failed> {
    let id = match Remote::of(&environment()?) {
        Some(router) => {
            let all = router.ask(Method::GET, "/api/users", None).await?;
            let id = id_of(&all["users"], meant)?;
            router.ask(Method::DELETE, &format!("/api/users/{id}"), None).await?;
            id
        }
        None => {
            let (store, audited) = open(sources).await?;
            let id = id_of(&all(&store).await?, meant)?;
            let trail = trail::of("command line", "user.delete", Some(&id), &audited);
            let is_gone = audit::follow(trail, users::delete(&store, &id)).await.context("the user could not be removed")?;
            store.close().await;
            if !is_gone {
                return Err(anyhow!("`{meant}` is the last administrator, who stays").into());
            }
            id
        }
    };
    if as_json { out::json(&json!({"id": id, "deleted": true})) } else { out::line(&format!("{meant} is removed")) }
}

fn hashed(chosen: &Chosen) -> anyhow::Result<String> {
    first_run::hash_password(&chosen.password).map_err(|_| anyhow!("the password could not be hashed"))
}

async fn all(store: &Store) -> anyhow::Result<Value> {
    let all = users::list(store).await.context("the users could not be read")?;
    Ok(all.iter().map(rules::shown).collect())
}

/// The id of the user that people mean: an id counts before a name.
fn id_of(all: &Value, meant: &str) -> anyhow::Result<String> {
    let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
    let found = ["id", "username"].iter().find_map(|member| all.iter().find(|user| user[*member] == meant));
    found.and_then(|user| Some(user["id"].as_str()?.to_owned())).ok_or_else(|| anyhow!("there is no user `{meant}`"))
}

/// The store that the configuration names; a running router sees the change within a quarter of a second.
async fn open(sources: &Sources) -> Result<(Store, config::config::Audit), Failed> {
    let config = config::load(&sources.args(), &environment()?)?.config;
    let store = Store::open(&store_url(&config.store), &config.server.data_dir).await.context("the store could not be opened")?;
    Ok((store, config.audit))
}
