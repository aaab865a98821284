//! `bench peers`: other gateways in front of the same fake provider. None of them has auth, limits, history or a log switched on.

mod configs;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Result;
use clap::Args;

use crate::{
    gateway::{
        self,
        bed::{Bed, row},
    },
    load::TargetRow,
    machine::{Running, Side, cache_dir, find_program, free_address, python_environment},
};

/// What is run and beside whom.
#[derive(Debug, Clone, Args)]
pub struct Options {
    #[command(flatten)]
    pub gateway: gateway::Options,
    /// Names of the peers; all, if none is named.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Install missing Python peers from the package index into a cache folder.
    #[arg(long)]
    pub install: bool,
}

/// Runs everything beside all peers that are installed.
pub fn run(options: &Options) -> Result<()> {
    let is_wanted = |peer: &&Peer| peer.name == NGINX.name || options.only.is_empty() || options.only.iter().any(|name| name == peer.name);
    let peers: Vec<_> = ALL.iter().filter(is_wanted).copied().collect();
    gateway::compare(&options.gateway, &peers, options.install)
}

/// A gateway that can be started here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// How it gets onto a machine.
    pub(crate) install: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nginx,
    Haproxy,
    VllmRouter,
    SglangRouter,
    Portkey,
    LiteLlm,
}

/// The floor: a plain proxy that looks at nothing.
pub(crate) const NGINX: Peer = Peer { name: "nginx", install: "apt-get install nginx-light", kind: Kind::Nginx };

const ALL: [Peer; 6] = [
    NGINX,
    Peer { name: "haproxy", install: "apt-get install haproxy", kind: Kind::Haproxy },
    Peer { name: "vllm-router", install: "--install: vllm-router from the Python package index", kind: Kind::VllmRouter },
    Peer { name: "sglang-router", install: "--install: sglang-router from the Python package index", kind: Kind::SglangRouter },
    Peer { name: "portkey", install: "npm install @portkey-ai/gateway in the cache folder's portkey", kind: Kind::Portkey },
    Peer { name: "litellm", install: "--install: litellm[proxy] from the Python package index", kind: Kind::LiteLlm },
];

/// A command with what it reads, before it is placed on a core.
struct Start {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
    limit: Duration,
}

impl Start {
    fn new(program: PathBuf, arguments: impl IntoIterator<Item = String>) -> Self {
        let arguments = arguments.into_iter().collect();
        Self { program, arguments, environment: Vec::new(), headers: Vec::new(), limit: Duration::from_mins(1) }
    }

    fn command(&self, bed: &Bed) -> Command {
        let mut command = bed.machine.command(Side::Measured, &self.program);
        command.args(&self.arguments).current_dir(bed.dir()).env("HOME", bed.dir());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Peer {
    /// Starts it in front of the fake provider; None where it is not installed.
    pub(crate) fn start(&self, bed: &Bed, install: bool) -> Result<Option<(Running, TargetRow)>> {
        let address = free_address()?;
        let start = match self.kind {
            Kind::Nginx => nginx(bed, address)?,
            Kind::Haproxy => haproxy(bed, address)?,
            Kind::VllmRouter => launcher("vllm-router", "vllm-router==0.1.17", "vllm_router.launch_router", bed, address, install)?,
            Kind::SglangRouter => launcher("sglang-router", "sglang-router==0.3.2", "sglang_router.launch_router", bed, address, install)?,
            Kind::Portkey => portkey(bed, address)?,
            Kind::LiteLlm => litellm(bed, address, install)?,
        };
        let Some(start) = start else { return Ok(None) };
        let mut process = Running::start(self.name, start.command(bed), bed.dir())?;
        process.wait_for_port(address, start.limit)?;
        let mut row = row(self.name, address, vec![process.pid()]);
        row.headers = start.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Some((process, row)))
    }
}

fn nginx(bed: &Bed, address: SocketAddr) -> Result<Option<Start>> {
    let Some(program) = find_program("nginx") else { return Ok(None) };
    let dir = bed.dir().join("nginx");
    fs::create_dir_all(&dir)?;
    let config = dir.join("nginx.conf");
    fs::write(&config, configs::nginx(&dir, address, bed.upstream))?;
    Ok(Some(Start::new(program, ["-c".into(), text(&config)])))
}

fn haproxy(bed: &Bed, address: SocketAddr) -> Result<Option<Start>> {
    let Some(program) = find_program("haproxy") else { return Ok(None) };
    let config = bed.dir().join("haproxy.cfg");
    fs::write(&config, configs::haproxy(address, bed.upstream))?;
    Ok(Some(Start::new(program, ["-db".into(), "-f".into(), text(&config)])))
}

/// The two routers that share their command line.
fn launcher(name: &str, package: &str, module: &str, bed: &Bed, address: SocketAddr, install: bool) -> Result<Option<Start>> {
    let Some(python) = python_environment(name, &[package], install)? else { return Ok(None) };
    let (host, port, metrics) = (address.ip().to_string(), address.port().to_string(), free_address()?.port().to_string());
    let worker = format!("http://{}", bed.upstream);
    let arguments = [
        "-m",
        module,
        "--host",
        &host,
        "--port",
        &port,
        "--worker-urls",
        &worker,
        "--policy",
        "round_robin",
        "--prometheus-host",
        &host,
        "--prometheus-port",
        &metrics,
        "--log-level",
        "error",
        "--disable-retries",
    ];
    Ok(Some(Start::new(python, arguments.map(str::to_owned))))
}

fn portkey(bed: &Bed, address: SocketAddr) -> Result<Option<Start>> {
    let script = cache_dir()?.join("portkey/node_modules/@portkey-ai/gateway/build/start-server.js");
    let Some(node) = find_program("node").filter(|_| script.is_file()) else { return Ok(None) };
    let mut start = Start::new(node, [text(&script), format!("--port={}", address.port()), "--headless".into()]);
    start.environment =
        vec![("NODE_ENV", "production".into()), ("TRUSTED_CUSTOM_HOSTS", format!("{},{}", bed.upstream.ip(), bed.upstream))];
    start.headers = vec![
        ("authorization", "Bearer sk-bench".into()),
        ("x-portkey-provider", "openai".into()),
        ("x-portkey-custom-host", format!("http://{}/v1", bed.upstream)),
    ];
    Ok(Some(start))
}

fn litellm(bed: &Bed, address: SocketAddr, install: bool) -> Result<Option<Start>> {
    let Some(python) = python_environment("litellm", &["litellm[proxy]==1.104.0"], install)? else { return Ok(None) };
    let config = bed.dir().join("litellm.yaml");
    fs::write(&config, configs::litellm(bed.upstream))?;
    let program = python.with_file_name("litellm");
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let arguments = ["--config".into(), text(&config), "--host".into(), host, "--port".into(), port, "--num_workers".into(), "1".into()];
    let mut start = Start::new(program, arguments);
    let settings =
        [("LITELLM_LOCAL_MODEL_COST_MAP", "True"), ("LITELLM_LOG", "ERROR"), ("LITELLM_TELEMETRY", "False"), ("NO_PROXY", "127.0.0.1")];
    start.environment = settings.map(|(name, value)| (name, value.to_owned())).into();
    start.headers = vec![("authorization", "Bearer sk-bench".into())];
    start.limit = Duration::from_mins(4);
    Ok(Some(start))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
