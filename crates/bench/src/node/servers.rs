//! The two servers, with the same threads, slots and cells.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::models_dir;
use crate::{
    http::{get, once, post},
    load::Usage,
    machine::{Machine, Running, Side, free_address},
};

const THREADS: u32 = 1;
const SLOTS: u32 = 8;
const CELLS: u32 = 8192;
/// How long a server may take to load the model.
const START_LIMIT: Duration = Duration::from_mins(2);

/// Starts upstream's server from its Python package and lives until it is told to end.
const UPSTREAM_SCRIPT: &str = "\
import signal, sys, xllamacpp
model, port, threads, slots, cells = sys.argv[1], *map(int, sys.argv[2:])
params = xllamacpp.CommonParams()
params.model.path = model
params.hostnames = ['127.0.0.1']
params.port = port
params.n_parallel = slots
params.n_ctx = cells
params.kv_unified = True
params.n_gpu_layers = 0
params.cpuparams.n_threads = threads
params.cpuparams_batch.n_threads = threads
params.verbosity = 0
server = xllamacpp.Server(params)
signal.sigwait([signal.SIGTERM, signal.SIGINT])
import os
os._exit(0)
";

pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    /// The name that it serves the model under.
    pub(super) model: String,
    process: Running,
}

impl Server {
    /// This build's node, alone.
    pub(super) fn ours(machine: Machine, programs: &Path, model: &Path, dir: &Path) -> Result<Self> {
        let (node, worker) = (programs.join("llm-node"), programs.join("llm-node-worker"));
        if let Some(missing) = [&node, &worker].into_iter().find(|program| !program.is_file()) {
            bail!("{} is not there", missing.display());
        }
        let address = free_address()?;
        let mut command = machine.modest_command(Side::Measured, &node);
        command.arg("serve").current_dir(dir).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", dir);
        command.env("LLM_NODE_MODELS_DIR", models_dir(dir, model)?).env("LLM_NODE_LOG_DIR", dir.join("node-logs"));
        command
            .env("LLM_NODE_STANDALONE", "true")
            .env("LLM_NODE_BIND_ADDRESS", "127.0.0.1")
            .env("LLM_NODE_PORT", address.port().to_string());
        command.env("LLM_NODE_THREADS", THREADS.to_string()).env("LLM_NODE_SLOTS", SLOTS.to_string());
        command.env("LLM_NODE_KV_CELLS", CELLS.to_string()).env("LLM_NODE_WORKER", worker);
        let process = Running::start("llm-node", command, dir)?;
        Self::ready("llm-node", process, address)
    }

    /// Upstream's server.
    pub(super) fn upstream(machine: Machine, python: &Path, model: &Path, dir: &Path) -> Result<Self> {
        let script = dir.join("upstream.py");
        fs::write(&script, UPSTREAM_SCRIPT)?;
        let address = free_address()?;
        let mut command = machine.modest_command(Side::Measured, python);
        command.arg(script).arg(model).args([u32::from(address.port()), THREADS, SLOTS, CELLS].map(|number| number.to_string()));
        command.current_dir(dir).env("OMP_WAIT_POLICY", "passive");
        let process = Running::start("upstream", command, dir)?;
        Self::ready("upstream", process, address)
    }

    /// Waits until the model answers.
    fn ready(name: &'static str, mut process: Running, address: SocketAddr) -> Result<Self> {
        process.wait_for_port(address, START_LIMIT)?;
        let mut server = Self { name, address, model: String::new(), process };
        let until = Instant::now() + START_LIMIT;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        loop {
            match runtime.block_on(server.first_answer()) {
                Ok(()) => return Ok(server),
                Err(error) if Instant::now() > until => return Err(error.context(format!("{name} did not get ready"))),
                Err(_loading) => server.process.check()?,
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    async fn first_answer(&mut self) -> Result<()> {
        let address = self.address.to_string();
        let models: Value = serde_json::from_str(&get(&address, "/v1/models").await?)?;
        models["data"][0]["id"].as_str().context("it lists no model")?.clone_into(&mut self.model);
        let body = json!({"model": self.model, "prompt": "Hello", "max_tokens": 1}).to_string();
        let answer = once(&address, &post(&address, "/v1/completions", &[], body.as_bytes()), START_LIMIT).await?;
        if answer.status != 200 {
            bail!("status {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        Ok(())
    }

    /// CPU seconds of all its processes so far.
    pub(super) fn cpu_s(&self) -> f64 {
        Usage::of(&[self.process.pid()]).cpu_ns as f64 / 1e9
    }

    /// Memory of all its processes.
    pub(super) fn rss_mb(&self) -> f64 {
        Usage::of(&[self.process.pid()]).rss_mb()
    }
}
