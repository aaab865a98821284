//! `llm-router node`: the nodes of a running router, over its API.

use anyhow::Context as _;
use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::{Failed, environment, out, remote::Remote};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List nodes, agents and endpoints.
    #[command(after_help = "Example: LLM_ROUTER_URL=http://127.0.0.1:8080 llm-router node list")]
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Send a node nothing new; what it has it finishes.
    #[command(after_help = "Example: llm-router node drain 0191… ; llm-router node drain 0191… --undo")]
    Drain {
        /// Its id or its name.
        node: String,
        /// Send requests again.
        #[arg(long)]
        undo: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Forget a node; it may register again.
    #[command(after_help = "Example: llm-router node remove 0191…")]
    Remove {
        /// Its id or its name.
        node: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Consent to a node that waits for it.
    #[command(after_help = "Example: llm-router node approve 0191…")]
    Approve {
        /// Its id or its name.
        node: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take a server of another maker in as a node.
    #[command(after_help = "Example: BOX_KEY=… llm-router node adopt http://10.0.0.7:8000 --name big-box --api-key-env BOX_KEY")]
    Adopt {
        /// Its base URL.
        endpoint: String,
        /// What made it, as docs/operating.md lists them; found out if not given.
        #[arg(long)]
        kind: Option<String>,
        /// What to call it; its address if not given.
        #[arg(long)]
        name: Option<String>,
        /// The variable that holds the key to show it.
        #[arg(long, value_name = "VARIABLE")]
        api_key_env: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a token that nodes may register with; it is printed once.
    #[command(after_help = "Example: llm-router node token rack-4 --max-uses 8 --expires 2027-01-31T00:00:00Z --require-approval")]
    Token {
        /// What people call it.
        name: String,
        /// Nodes that may come with it.
        #[arg(long, value_name = "N")]
        max_uses: Option<u32>,
        /// When it ends: so long from now (30d), or a time (RFC 3339).
        #[arg(long, value_name = "TIME", value_parser = super::ending())]
        expires: Option<String>,
        /// Whether nodes that come with it wait for consent.
        #[arg(long)]
        require_approval: bool,
        /// As JSON: {id, token, …}.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: Command) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let environment = environment()?;
        let router = Remote::of(&environment).context("the nodes are those of a running router: name it in LLM_ROUTER_URL")?;
        match command {
            Command::List { json } => list(&router, json).await,
            Command::Drain { node, undo, json } => {
                let id = id_of(&router, &node).await?;
                router.ask(Method::POST, &format!("/api/nodes/{id}/drain"), Some(&json!({"draining": !undo}))).await?;
                say(json, json!({"id": id, "draining": !undo}), if undo { "It gets requests again." } else { "It gets nothing new." })
            }
            Command::Remove { node, json } => {
                let id = id_of(&router, &node).await?;
                router.ask(Method::DELETE, &format!("/api/nodes/{id}"), None).await?;
                say(json, json!({"id": id, "removed": true}), "It is forgotten.")
            }
            Command::Approve { node, json } => {
                let id = id_of(&router, &node).await?;
                router.ask(Method::POST, &format!("/api/nodes/{id}/approve"), None).await?;
                say(json, json!({"id": id, "approved": true}), "It may serve.")
            }
            Command::Adopt { endpoint, kind, name, api_key_env, json } => {
                let key = match api_key_env {
                    Some(variable) => Some(environment.get(&variable).with_context(|| format!("{variable} is not set"))?.to_owned()),
                    None => None,
                };
                let wanted = json!({"endpoint": endpoint, "kind": kind, "name": name, "api_key": key});
                let node = router.ask(Method::POST, "/api/nodes/adopt", Some(&wanted)).await?;
                let line = format!("{} {} ({})", text(&node["id"]), text(&node["machine_name"]), text(&node["maker"]));
                say(json, node, &line)
            }
            Command::Token { name, max_uses, expires, require_approval, json } => {
                let wanted = json!({"name": name, "max_uses": max_uses, "expires_at": expires, "require_approval": require_approval});
                let made = router.ask(Method::POST, "/api/nodes/join-tokens", Some(&wanted)).await?;
                if json {
                    return out::json(&made);
                }
                out::line(text(&made["token"]))?;
                out::remark(&format!("{} was made; the token is shown only now.", text(&made["id"])));
                Ok(())
            }
        }
    })
}

/// What was done, as JSON or as a line.
fn say(as_json: bool, value: Value, line: &str) -> Result<(), Failed> {
    if as_json { out::json(&value) } else { out::line(line) }
}

async fn list(router: &Remote, as_json: bool) -> Result<(), Failed> {
    let nodes = router.ask(Method::GET, "/api/nodes", None).await?;
    if as_json {
        return out::json(&nodes);
    }
    let mut rows = vec![["id", "name", "kind", "state", "requests", "models"].map(str::to_owned).to_vec()];
    for node in nodes.as_array().into_iter().flatten() {
        let names = ["loaded_models", "available_models"].into_iter().flat_map(|list| node[list].as_array().into_iter().flatten());
        let mut models: Vec<&str> = names.map(text).collect();
        models.sort_unstable();
        models.dedup();
        let active = node["active_requests"].to_string();
        let cells = [text(&node["id"]), called(node), text(&node["kind"]), text(&node["state"]), &active, &models.join(",")];
        rows.push(cells.map(str::to_owned).to_vec());
    }
    out::table(&rows)
}

/// The id of the node that people mean.
async fn id_of(router: &Remote, meant: &str) -> anyhow::Result<String> {
    let nodes = router.ask(Method::GET, "/api/nodes", None).await?;
    let all = nodes.as_array().map(Vec::as_slice).unwrap_or_default();
    let found: Vec<&Value> =
        all.iter().filter(|node| text(&node["id"]) == meant || called(node) == meant || text(&node["machine_name"]) == meant).collect();
    match found.as_slice() {
        [only] => Ok(text(&only["id"]).to_owned()),
        [] => anyhow::bail!("no node is called `{meant}`"),
        _ => anyhow::bail!("several nodes are called `{meant}`: use an id of `node list`"),
    }
}

fn called(node: &Value) -> &str {
    node["custom_name"].as_str().unwrap_or_else(|| text(&node["machine_name"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
