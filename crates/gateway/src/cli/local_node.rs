//! The node on this machine that `serve --with-node` starts and watches over.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use config::{Config, Environment};
use serde_json::json;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, ChildStdin, Command},
};
use tokio_util::sync::CancellationToken;

/// The port that a node takes by default.
const PORT: u16 = 11435;

/// Pauses before a node that ended is started again.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long a node may take to end.
const END_TIME_MAX: Duration = Duration::from_secs(12);

/// Names of the environment that a node gets besides its own: never a provider's key.
const INHERITED: [&str; 8] = ["PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "HF_TOKEN", "RUST_BACKTRACE"];

/// How to start it.
pub(super) struct LocalNode {
    executable: PathBuf,
    environment: Vec<(String, String)>,
    /// Travels over the node's standard input, not over its environment or command line.
    join_token: Option<String>,
}

impl LocalNode {
    /// Prepares the node that joins the router at `router`.
    ///
    /// # Errors
    /// There is no `llm-node` beside this executable.
    pub(super) fn prepare(config: &Config, environment: &Environment, router: SocketAddr) -> anyhow::Result<Self> {
        let this = std::env::current_exe()?;
        let executable = this.with_file_name(format!("llm-node{}", std::env::consts::EXE_SUFFIX));
        anyhow::ensure!(executable.is_file(), "--with-node needs `llm-node` beside this program: {} is not there", executable.display());
        let host = if router.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { router.ip() };
        let own = environment.names().filter(|n| n.starts_with("LLM_NODE_") || n.starts_with("LLM_MODEL") || n.starts_with("LLM_MAX_"));
        let mut passed: Vec<(String, String)> =
            own.chain(INHERITED).filter_map(|name| Some((name.to_owned(), environment.get(name)?.to_owned()))).collect();
        let mut add = |name: &str, value: String| {
            if environment.get(name).is_none() {
                passed.push((name.to_owned(), value));
            }
        };
        add("LLM_NODE_PORT", free_port()?.to_string());
        add("LLM_NODE_BIND_ADDRESS", Ipv4Addr::LOCALHOST.to_string());
        add("LLM_NODE_IP", Ipv4Addr::LOCALHOST.to_string());
        add("LLM_NODE_MODELS_DIR", config.server.data_dir.join("models").display().to_string());
        add("LLM_NODE_LOG_DIR", config.log.dir.display().to_string());
        passed.push(("LLM_ROUTER_URL".to_owned(), format!("http://{}", SocketAddr::new(host, router.port()))));
        let join_token = config.fleet.join_token.as_ref().map(|t| t.expose().to_owned());
        Ok(Self { executable, environment: passed, join_token })
    }

    /// Keeps the node running until `stop`; then lets it end.
    pub(super) async fn supervise(self, stop: CancellationToken) {
        let mut pause = PAUSE_MIN;
        while !stop.is_cancelled() {
            let began = tokio::time::Instant::now();
            match self.start().await {
                Ok((mut child, lifeline)) => {
                    tracing::info!(pid = child.id(), "the local node was started");
                    tokio::select! {
                        ended = child.wait() => tracing::warn!(status = ?ended.ok(), "the local node ended; it is started again"),
                        () = stop.cancelled() => return end(child, lifeline).await,
                    }
                }
                Err(error) => tracing::error!(%error, "the local node cannot be started"),
            }
            pause = if began.elapsed() > PAUSE_MAX { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
            tokio::select! {
                () = tokio::time::sleep(pause / 2) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// The child, and its standard input: the node lives as long as that is open. (`Child::wait` would close it.)
    async fn start(&self) -> std::io::Result<(Child, Option<ChildStdin>)> {
        let mut command = Command::new(&self.executable);
        command.args(["serve", "--supervised"]).env_clear().envs(self.environment.iter().cloned());
        // A group of its own: Ctrl-C reaches the router, which ends the node in order.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.stdin(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut lifeline = child.stdin.take();
        if let Some(stdin) = &mut lifeline {
            let line = format!("{}\n", json!({"join_token": self.join_token}));
            stdin.write_all(line.as_bytes()).await?;
            stdin.flush().await?;
        }
        Ok((child, lifeline))
    }
}

/// The end of its standard input tells the node to end.
async fn end(mut child: Child, lifeline: Option<ChildStdin>) {
    drop(lifeline);
    if tokio::time::timeout(END_TIME_MAX, child.wait()).await.is_err() {
        tracing::warn!("the local node did not end in time; it is killed");
        let _ = child.kill().await;
    }
}

/// The usual port, or any free one.
fn free_port() -> std::io::Result<u16> {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(taken.local_addr()?.port())
}
