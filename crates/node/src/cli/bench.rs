//! `llm-node bench`: how fast a model is on this machine.

use std::{
    io::{self, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{anyhow, bail};
use clap::Args;
use config::{Environment, NodeSettings};
use futures_util::future::join_all;
use serde_json::json;
use wire::fleet::worker::{Done, Prompt, Sampling, Segment, Submit};

use super::CommonArgs;
use crate::{
    engine::{Event, process::Processes},
    library::Library,
    pool::{DRAIN_MAX, Lease, Pool},
    run,
};

/// Most rounds, and most requests at once.
const ROUNDS_MAX: u32 = 16;
const PARALLEL_MAX: u32 = 64;
/// Stops an engine that hangs.
const HANG: Duration = Duration::from_mins(2);
/// Steps through the vocabulary, so that prompts have nothing in common.
const STRIDE: u64 = 7919;

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// The model's id, as `llm-node models list` gives it.
    model: String,
    /// Tokens of each prompt.
    #[arg(long, default_value_t = 128)]
    prompt_tokens: u32,
    /// Tokens of each answer.
    #[arg(long, default_value_t = 32)]
    tokens: u32,
    /// Requests at once; several rounds where there are several.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 8])]
    parallel: Vec<u32>,
    #[command(flatten)]
    common: CommonArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Answer with the scripted engine.
    #[arg(long, hide = true)]
    scripted: bool,
}

/// What one round came to.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Round {
    parallel: u32,
    /// Prompt tokens per second while prompts are computed, over all requests.
    prompt_per_second: f64,
    /// Tokens per second from the first to the last, over all requests.
    tokens_per_second: f64,
    /// Half of the requests had their first token by then, in milliseconds.
    first_token_ms: f64,
    wall_ms: f64,
}

pub(super) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let environment = Environment::of_process()?;
    let (settings, _) = NodeSettings::load(&args.common.flags(), &environment)?;
    if args.parallel.is_empty()
        || args.parallel.len() > ROUNDS_MAX as usize
        || args.parallel.iter().any(|n| !(1..=PARALLEL_MAX).contains(n))
    {
        bail!("--parallel takes up to {ROUNDS_MAX} numbers between 1 and {PARALLEL_MAX}");
    }
    if args.prompt_tokens == 0 || args.tokens == 0 {
        bail!("--prompt-tokens and --tokens must be at least 1");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(args, &settings, &environment))
}

async fn measure(args: &BenchArgs, settings: &NodeSettings, environment: &Environment) -> anyhow::Result<()> {
    let most = args.parallel.iter().copied().max().unwrap_or(1);
    let length = args.prompt_tokens.saturating_add(args.tokens).saturating_add(1);
    let mut options = run::pool_options(settings, HANG, Arc::default());
    (options.slots, options.context) = (most, length);
    options.kv_cells = Some(length.saturating_mul(most).max(settings.kv_cells.unwrap_or(0)));
    let workers = if args.scripted { Processes::scripted(environment)? } else { Processes::new(settings.worker.as_deref(), environment) };
    let pool = Pool::new(Arc::new(Library::new(&settings.models_dir)), workers, options);
    let began = Instant::now();
    let lease = pool.acquire(&args.model).await.map_err(|failure| anyhow!("{}", failure.message))?;
    let load_ms = began.elapsed().as_secs_f64() * 1e3;
    let (mut rounds, mut seed) = (Vec::new(), 1);
    for parallel in &args.parallel {
        rounds.push(round(&lease, args, *parallel, seed).await?);
        seed += u64::from(*parallel);
    }
    print(args, &lease, load_ms, &rounds)?;
    drop(lease);
    pool.close(DRAIN_MAX).await;
    Ok(())
}

async fn round(lease: &Lease, args: &BenchArgs, parallel: u32, seed: u64) -> anyhow::Result<Round> {
    let began = Instant::now();
    let vocabulary = u64::from(lease.engine.info().vocabulary.max(1000));
    let each = (0..parallel).map(|n| one(lease, submit(args, vocabulary, seed + u64::from(n))));
    let done = join_all(each).await.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Round::of(&done, parallel, began.elapsed()))
}

fn submit(args: &BenchArgs, vocabulary: u64, seed: u64) -> Submit {
    let tokens = (0..u64::from(args.prompt_tokens)).map(|n| ((seed * 1_000_003 + n * STRIDE) % vocabulary) as i32).collect();
    Submit {
        id: 0,
        prompt: Prompt { segments: vec![Segment::Tokens { tokens }], add_special: false },
        max_tokens: Some(args.tokens),
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        constraint: None,
        stop: Vec::new(),
        marks: Vec::new(),
        logprobs: None,
        ignore_eos: true,
        cache_prompt: false,
        salt: seed,
        queue_ms: 600_000,
    }
}

async fn one(lease: &Lease, submit: Submit) -> anyhow::Result<Done> {
    let mut generation = lease.engine.submit(submit)?;
    loop {
        match generation.next().await {
            Event::Done(done) => return Ok(done),
            Event::Failed(error) => return Err(error.into()),
            Event::Accepted { .. } | Event::Text(_) => {}
        }
    }
}

impl Round {
    fn of(done: &[Done], parallel: u32, wall: Duration) -> Self {
        let per_second = |count: u64, ms: f64| if ms > 0.0 { count as f64 / ms * 1e3 } else { 0.0 };
        let longest = |ms: fn(&Done) -> f32| done.iter().map(|done| f64::from(ms(done))).fold(0.0, f64::max);
        let mut first: Vec<f64> = done.iter().map(|done| f64::from(done.timings.queue_ms + done.timings.prefill_ms)).collect();
        first.sort_by(f64::total_cmp);
        // All requests' prompts are computed side by side, so that the last one's time is everybody's.
        let prompts = longest(|done| done.timings.queue_ms + done.timings.prefill_ms);
        Self {
            parallel,
            prompt_per_second: per_second(done.iter().map(|done| u64::from(done.prompt_tokens)).sum(), prompts),
            // The first token comes with the prompt.
            tokens_per_second: per_second(
                done.iter().map(|done| u64::from(done.completion_tokens.saturating_sub(1))).sum(),
                longest(|done| done.timings.decode_ms),
            ),
            first_token_ms: first.get(first.len() / 2).copied().unwrap_or(0.0),
            wall_ms: wall.as_secs_f64() * 1e3,
        }
    }
}

fn print(args: &BenchArgs, lease: &Lease, load_ms: f64, rounds: &[Round]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let info = lease.engine.info();
    if args.json {
        let rounds: Vec<_> = rounds
            .iter()
            .map(|round| {
                json!({"parallel": round.parallel, "prompt_tokens_per_second": round.prompt_per_second, "tokens_per_second": round.tokens_per_second,
                    "first_token_ms": round.first_token_ms, "wall_ms": round.wall_ms})
            })
            .collect();
        let body = json!({"model": lease.model.id, "devices": info.devices, "load_ms": load_ms, "prompt_tokens": args.prompt_tokens,
            "tokens": args.tokens, "rounds": rounds});
        return writeln!(out, "{body}");
    }
    let on = if info.devices.is_empty() { "the processor".to_owned() } else { info.devices.join(", ") };
    writeln!(out, "{} on {on}, loaded in {load_ms:.0} ms; {} tokens in, {} out", lease.model.id, args.prompt_tokens, args.tokens)?;
    writeln!(out, "{:>8}  {:>14}  {:>14}  {:>12}  {:>8}", "at once", "prompt tok/s", "answer tok/s", "1st token ms", "wall ms")?;
    for round in rounds {
        writeln!(
            out,
            "{:>8}  {:>14.1}  {:>14.1}  {:>12.0}  {:>8.0}",
            round.parallel, round.prompt_per_second, round.tokens_per_second, round.first_token_ms, round.wall_ms
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use wire::fleet::worker::{Finish, Timings};

    use super::*;

    #[test]
    fn a_round_counts_all_requests_over_the_longest_time() {
        let done = |prefill_ms, decode_ms| Done {
            id: 1,
            finish: Finish::Length,
            text: String::new(),
            logprobs: Vec::new(),
            prompt_tokens: 100,
            cached_tokens: 0,
            completion_tokens: 11,
            timings: Timings { queue_ms: 0.0, prefill_ms, decode_ms },
        };
        let round = Round::of(&[done(500.0, 1000.0), done(1000.0, 500.0)], 2, Duration::from_secs(2));
        assert!((round.prompt_per_second - 200.0).abs() < 1e-6 && (round.tokens_per_second - 20.0).abs() < 1e-6, "{round:?}");
        assert!((round.first_token_ms - 1000.0).abs() < 1e-6 && (round.wall_ms - 2000.0).abs() < 1e-6, "{round:?}");
        assert!(Round::of(&[], 1, Duration::ZERO).tokens_per_second.abs() < 1e-9);
    }
}
