//! `llm-node-worker`: holds one model for `llm-node`, which speaks frames over standard input and output.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use clap::Parser;
use worker::engine::{self, Ended};
use worker::link::{self, Outbox, Pulse};

/// Stack of the engine's thread: the grammar and schema parsers recurse over what callers send.
const ENGINE_STACK_BYTES: usize = 64 << 20;
/// Exit status after standard input ended in the middle of a frame or with something that is none.
const EXIT_BAD_FRAMES: i32 = 2;

/// Holds one GGUF model and generates with it. Started by llm-node, not by hand: it reads length-prefixed JSON frames from
/// standard input, answers on standard output, and logs to standard error. The end of standard input ends it.
///
/// Set OMP_WAIT_POLICY=passive in its environment unless the machine does nothing else.
#[derive(Parser)]
#[command(name = "llm-node-worker", version)]
struct Arguments {
    /// How much is logged: error, warn, info, debug or trace.
    #[arg(long, default_value = "warn")]
    log_level: tracing::Level,
    /// Only say, in JSON, what this build can compute on.
    #[arg(long)]
    devices: bool,
    /// Only write a model anew with weights of fewer bits (q4_k_m, …).
    #[arg(long, num_args = 3, value_names = ["KIND", "FROM", "TO"])]
    quantize: Vec<String>,
    /// Threads for that.
    #[arg(long, default_value_t = 1)]
    threads: u32,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).with_max_level(arguments.log_level).init();
    llama::send_logs_to_tracing();
    let done = match arguments.quantize.as_slice() {
        [kind, from, to] => quantize(kind, from.as_ref(), to.as_ref(), arguments.threads),
        _ if arguments.devices => devices(),
        _ => run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            tracing::error!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn devices() -> Result<(), String> {
    let missing = llama::missing_cpu_features();
    // Asking is computing: on a processor that lacks something it might end in an illegal instruction.
    let gpus = if missing.is_empty() { llama::gpu_names() } else { Vec::new() };
    let body = serde_json::json!({"accelerators": llama::accelerators(), "gpus": gpus, "missing_cpu_features": missing});
    writeln!(io::stdout(), "{body}").map_err(|error| error.to_string())
}

fn quantize(kind: &str, from: &Path, to: &Path, threads: u32) -> Result<(), String> {
    let missing = llama::missing_cpu_features();
    if !missing.is_empty() {
        return Err(format!("this processor lacks {}, which this build needs", missing.join(", ")));
    }
    kind.parse().and_then(|kind| llama::quantize(from, to, kind, threads)).map_err(|error| error.to_string())
}

fn run() -> Result<(), String> {
    let outbox = Outbox::new(io::stdout());
    let pulse = Arc::new(Pulse::default());
    let frames = link::read_frames(io::stdin(), Arc::clone(&pulse), |result| {
        // The engine had its time; a step that still runs is not waited for.
        if let Err(error) = result {
            tracing::error!("cannot read a frame: {error}");
            std::process::exit(EXIT_BAD_FRAMES);
        }
        std::process::exit(0);
    })
    .map_err(|error| format!("cannot start a thread: {error}"))?;
    link::send_heartbeats(outbox.clone(), Arc::clone(&pulse)).map_err(|error| format!("cannot start a thread: {error}"))?;
    let engine = thread::Builder::new()
        .name("engine".to_owned())
        .stack_size(ENGINE_STACK_BYTES)
        .spawn(move || engine::serve(&frames, outbox, pulse))
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    match engine.join() {
        Ok(Ok(Ended::Drained | Ended::Closed)) => Ok(()),
        Ok(Err(broken)) => Err(broken.to_string()),
        Err(_) => Err("the engine thread panicked".to_owned()),
    }
}
