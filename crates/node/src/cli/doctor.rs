//! `llm-node doctor`: whether a node would work on this machine, and what it would have.

use std::{
    fs::{self, File},
    io::{self, Write},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use clap::Args;
use config::{Environment, NodeSettings};
use http::{Method, Request};
use net::{Body, Client, Settings, Timeouts};
use serde_json::{Value, json};

use super::CommonArgs;
use crate::{cpu, engine::process::Processes, gpu::Gpus, library::Library, machine, machine::Machine};

/// Written into the models directory and taken away again.
const TRIAL: &str = ".llm-node-doctor";
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(3),
    first_byte: Duration::from_secs(5),
    idle: Duration::from_secs(5),
    total: Duration::from_secs(8),
};
/// Most of the router's answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Base URL of the router (also LLM_ROUTER_URL).
    #[arg(long, value_name = "URL")]
    router: Option<String>,
    /// Port that the node would listen on (also LLM_NODE_PORT).
    #[arg(long)]
    port: Option<u16>,
    /// Without a router (also LLM_NODE_STANDALONE).
    #[arg(long)]
    standalone: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    /// It works, but not as well as it could.
    Doubtful,
    Bad,
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Doubtful => "warn",
            Self::Bad => "fail",
        }
    }
}

struct Finding {
    what: &'static str,
    verdict: Verdict,
    said: String,
}

impl Finding {
    fn new(what: &'static str, verdict: Verdict, said: impl Into<String>) -> Self {
        Self { what, verdict, said: said.into() }
    }
}

/// True if nothing is bad.
pub(super) fn run(args: &DoctorArgs) -> anyhow::Result<bool> {
    let environment = Environment::of_process()?;
    let mut flags = args.common.flags();
    flags.router_url.clone_from(&args.router);
    flags.port = args.port;
    flags.standalone = args.standalone;
    let mut findings = Vec::new();
    match NodeSettings::load(&flags, &environment) {
        Err(error) => findings.push(Finding::new("settings", Verdict::Bad, error.to_string())),
        Ok((settings, warnings)) => {
            let verdict = if warnings.is_empty() { Verdict::Good } else { Verdict::Doubtful };
            let said = if warnings.is_empty() { "they are valid".to_owned() } else { warnings.join("; ") };
            findings.push(Finding::new("settings", verdict, said));
            findings.extend([processor(), memory(), graphics()]);
            findings.push(worker(&settings, &environment));
            findings.extend([directory(&settings.models_dir), models(&settings.models_dir), port(&settings)]);
            if !settings.standalone {
                findings.push(router(&settings)?);
            }
        }
    }
    print(&findings, args.json)?;
    Ok(findings.iter().all(|finding| finding.verdict != Verdict::Bad))
}

fn print(findings: &[Finding], is_json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if is_json {
        let list: Vec<_> = findings
            .iter()
            .map(|finding| json!({"check": finding.what, "status": finding.verdict.name(), "detail": finding.said}))
            .collect();
        return writeln!(out, "{}", json!({"version": env!("CARGO_PKG_VERSION"), "checks": list}));
    }
    findings.iter().try_for_each(|finding| writeln!(out, "{:<5} {:<17} {}", finding.verdict.name(), finding.what, finding.said))
}

fn processor() -> Finding {
    let cpu = cpu::find();
    let features = cpu.features.map_or_else(|| "unknown instruction sets".to_owned(), |features| features.join(" "));
    let model = cpu.model.unwrap_or_else(|| "unknown".to_owned());
    let threads = machine::threads(None);
    Finding::new("processor", Verdict::Good, format!("{model} ({}), {threads} threads per worker; {features}", cpu.architecture))
}

fn memory() -> Finding {
    let (total, free) = Machine::new().memory_bytes();
    let verdict = if free < 1 << 30 { Verdict::Doubtful } else { Verdict::Good };
    Finding::new("memory", verdict, format!("{} MiB free of {}", free >> 20, total >> 20))
}

fn graphics() -> Finding {
    let gpus = Gpus::find().last();
    let one = |gpu: &crate::gpu::Gpu| {
        let memory = gpu.memory_bytes.map_or_else(|| "unknown memory".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
        format!("{} ({memory})", gpu.model)
    };
    let said = if gpus.is_empty() { "none found".to_owned() } else { gpus.iter().map(one).collect::<Vec<_>>().join(", ") };
    Finding::new("graphics", Verdict::Good, said)
}

/// Starts the worker with the question what it can compute on.
fn worker(settings: &NodeSettings, environment: &Environment) -> Finding {
    let workers = Processes::new(settings.worker.as_deref(), environment);
    let program = workers.program().display().to_string();
    let output = Command::new(workers.program()).arg("--devices").stdin(Stdio::null()).stderr(Stdio::null()).output();
    let said = match output {
        Err(error) => {
            return Finding::new("worker", Verdict::Bad, format!("{program}: {error}; build it with `cargo build --release -p worker`"));
        }
        Ok(output) if !output.status.success() => {
            return Finding::new("worker", Verdict::Bad, format!("{program} ends with {}", output.status));
        }
        Ok(output) => serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default(),
    };
    judge(&program, &said, !Gpus::find().last().is_empty())
}

fn judge(program: &str, said: &Value, has_gpus: bool) -> Finding {
    let texts = |key: &str| said[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    let (missing, devices, builds) = (texts("missing_cpu_features"), texts("gpus"), texts("accelerators"));
    if !missing.is_empty() {
        return Finding::new("worker", Verdict::Bad, format!("{program} needs a processor with {}", missing.join(", ")));
    }
    let made_for = if builds.is_empty() { "the processor".to_owned() } else { builds.join(", ") };
    if has_gpus && devices.is_empty() {
        let said = format!("{program} is built for {made_for} and uses no GPU of this machine");
        return Finding::new("worker", Verdict::Doubtful, said);
    }
    let used = if devices.is_empty() { ", computes on the processor".to_owned() } else { format!(", uses {}", devices.join(", ")) };
    Finding::new("worker", Verdict::Good, format!("{program}, built for {made_for}{used}"))
}

fn directory(dir: &Path) -> Finding {
    let tried = fs::create_dir_all(dir).and_then(|()| File::create(dir.join(TRIAL))).and_then(|_| fs::remove_file(dir.join(TRIAL)));
    match tried {
        Ok(()) => Finding::new("models directory", Verdict::Good, dir.display().to_string()),
        Err(error) => Finding::new("models directory", Verdict::Bad, format!("{} can't be written to: {error}", dir.display())),
    }
}

fn models(dir: &Path) -> Finding {
    let shelf = Library::new(dir).shelf();
    if let Some((id, reason)) = shelf.broken.first() {
        let said = format!("{} usable; {} not, the first is {id}: {reason}", shelf.models.len(), shelf.broken.len());
        return Finding::new("models", Verdict::Doubtful, said);
    }
    if shelf.models.is_empty() {
        return Finding::new("models", Verdict::Doubtful, "none; `llm-node models pull OWNER/NAME` brings one");
    }
    Finding::new("models", Verdict::Good, shelf.ids().join(", "))
}

fn port(settings: &NodeSettings) -> Finding {
    let address = (settings.bind_address, settings.port);
    match TcpListener::bind(address) {
        Ok(_) => Finding::new("port", Verdict::Good, format!("{} is free on {}", settings.port, settings.bind_address)),
        // Perhaps by the node itself.
        Err(error) => Finding::new("port", Verdict::Doubtful, format!("{} on {}: {error}", settings.port, settings.bind_address)),
    }
}

fn router(settings: &NodeSettings) -> anyhow::Result<Finding> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let url = format!("{}/health", settings.router_url);
    let request = Request::builder().method(Method::GET).uri(&url).body(Body::from(Vec::new()))?;
    let answer = runtime.block_on(async { Client::new(Settings::default()).fetch(request, &TIMEOUTS, ANSWER_BYTES_MAX).await });
    Ok(match answer {
        Ok(answer) if answer.status().is_success() => Finding::new("router", Verdict::Good, settings.router_url.clone()),
        Ok(answer) => Finding::new("router", Verdict::Doubtful, format!("{url} answers {}", answer.status())),
        // The node waits for its router, however long that takes.
        Err(error) => Finding::new("router", Verdict::Doubtful, format!("{}: {error}", settings.router_url)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_judged_by_what_it_says() {
        let judged = |said: Value, has_gpus| judge("w", &said, has_gpus).verdict;
        assert_eq!(judged(json!({"missing_cpu_features": ["avx2"]}), false), Verdict::Bad);
        assert_eq!(judged(json!({"accelerators": [], "gpus": []}), true), Verdict::Doubtful);
        assert_eq!(judged(json!({"accelerators": ["cuda"], "gpus": ["H100"]}), true), Verdict::Good);
        assert_eq!(judged(json!({"accelerators": [], "gpus": []}), false), Verdict::Good);
    }

    #[test]
    fn a_directory_that_is_a_file_is_bad() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(directory(&dir.path().join("new")).verdict, Verdict::Good);
        fs::write(dir.path().join("file"), b"").unwrap();
        assert_eq!(directory(&dir.path().join("file")).verdict, Verdict::Bad);
        assert_eq!(models(&dir.path().join("new")).verdict, Verdict::Doubtful);
    }
}
