//! Engines in processes of their own: a worker that dies takes nothing with it, and one that is ended gives all its memory back.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
};

use config::Environment;
use futures_util::FutureExt;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::{Child, Command},
    sync::Notify,
};

use super::{Launch, Link, loading};

/// The worker's file name.
const WORKER: &str = if cfg!(windows) { "llm-node-worker.exe" } else { "llm-node-worker" };
/// Longest line of a worker's log that is kept, in bytes.
const LINE_BYTES_MAX: u64 = 4096;
/// What a worker may know of the node's environment. Secrets of the node are not among it.
const PASSED_ON: [&str; 12] = [
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "SYSTEMROOT",
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "GGML_VK_VISIBLE_DEVICES",
    "RUST_BACKTRACE",
];

/// Starts worker processes.
#[derive(Debug, Clone)]
pub struct Processes {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, String)>,
}

impl Processes {
    /// Workers of the executable `named`, else of the one beside this program, else of the one on the search path.
    pub fn new(named: Option<&Path>, environment: &Environment) -> Self {
        let program = named.map(Path::to_owned).or_else(|| environment.program(WORKER)).unwrap_or_else(|| WORKER.into());
        Self::of(program, Vec::new(), environment)
    }

    /// Workers of this very program with the scripted engine inside.
    pub fn scripted(environment: &Environment) -> Result<Self, std::io::Error> {
        Ok(Self::of(std::env::current_exe()?, vec!["scripted-worker".into()], environment))
    }

    fn of(program: PathBuf, arguments: Vec<OsString>, environment: &Environment) -> Self {
        let known = PASSED_ON.iter().filter_map(|name| Some((*name, environment.get(name)?.to_owned())));
        // Threads that spin at barriers cost several times the speed on a machine that does anything else.
        let environment = known.chain([("OMP_WAIT_POLICY", "passive".to_owned())]).collect();
        Self { program, arguments, environment }
    }

    /// The executable.
    pub fn program(&self) -> &Path {
        &self.program
    }
}

impl Launch for Processes {
    fn launch(&self, id: &str) -> Result<Link, String> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // A Ctrl-C in the terminal is for the node, which lets its workers finish.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().map_err(|e| format!("{}: {e}", self.program.display()))?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
            return Err("its pipes are missing".to_owned());
        };
        tracing::info!(model = id, pid = child.id(), "a worker was started");
        tokio::spawn(log(id.to_owned(), stderr));
        let effort = child.id().map(loading::of_process);
        let kill = Arc::new(Notify::new());
        let ended = tokio::spawn(guard(child, kill.clone()));
        let ended = ended.map(|how| how.unwrap_or_else(|e| e.to_string())).boxed();
        Ok(Link { reader: Box::new(stdout), writer: Box::new(stdin), kill, ended, effort })
    }
}

async fn guard(mut child: Child, kill: Arc<Notify>) -> String {
    let status = tokio::select! {
        status = child.wait() => status,
        () = kill.notified() => {
            let _ = child.start_kill();
            child.wait().await
        }
    };
    status.map_or_else(|e| e.to_string(), describe)
}

fn describe(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("signal {signal}");
    }
    status.code().map_or_else(|| "unknown status".to_owned(), |code| format!("exit code {code}"))
}

/// Logs a line as loudly as it is meant. What C++ prints by itself may quote a request (a grammar that does not parse): that is
/// for debugging, unless it says why the process dies.
fn tell(model: &str, text: &str) {
    const LAST_WORDS: [&str; 5] = ["GGML_ASSERT", "terminate called", "what():", "panicked at", "out of memory"];
    let level = text.split_whitespace().nth(1).unwrap_or_default();
    match level {
        "ERROR" | "WARN" => tracing::warn!(target: "llm_node::worker", model, "{text}"),
        "INFO" => tracing::info!(target: "llm_node::worker", model, "{text}"),
        _ if LAST_WORDS.iter().any(|words| text.contains(words)) => tracing::warn!(target: "llm_node::worker", model, "{text}"),
        _ => tracing::debug!(target: "llm_node::worker", model, "{text}"),
    }
}

/// Puts a worker's standard error into the log, line by line.
async fn log(model: String, stderr: impl AsyncRead + Unpin) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                let text = text.trim_end();
                if !text.is_empty() {
                    tell(&model, text);
                }
            }
        }
    }
}
