//! `bench fleet`: how long a node is chosen among a thousand, what the way to a node adds, what a second node brings, and how soon the loss of one
//! is known.

mod loss;
mod nodes;
mod picks;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::{LocalSet, spawn_local};

use crate::{
    clock::now_ns,
    figures::{Summary, Times, tenths},
    http::{Connection, get, once, post},
    machine::{Machine, Running, Side, free_address, release_dir},
};
use nodes::ScriptedNode;

/// A name for both sides.
const MODEL: &str = "tiny";
pub(crate) const KEY: &str = "sk_bench0123456789012345678901234";
const START_LIMIT: Duration = Duration::from_secs(30);
/// Bars.
const PICK_P99_US_MAX: f64 = 100.0;
const LIST_P50_MS_MAX: f64 = 50.0;
const HOP_P50_US_MAX: f64 = 300.0;
const TWO_OVER_ONE_MIN: f64 = 1.9;
const LAST_PICK_MS_MAX: f64 = 100.0;

/// What is run and how long.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Nodes to choose among.
    #[arg(long, default_value_t = 1000)]
    pub nodes: u16,
    /// Choices per policy.
    #[arg(long, default_value_t = 20_000)]
    pub picks: u32,
    /// Requests, one after the other, for what the way to a node adds.
    #[arg(long, default_value_t = 1000)]
    pub requests: u32,
    /// Seconds of load for each number of nodes.
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// Only these parts. Without it: all.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Part>,
    /// A file for all figures as JSON.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Use the programs of this folder.
    #[arg(long)]
    pub programs: Option<PathBuf>,
}

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Choosing among many nodes, in this process: no other program is needed.
    Picks,
    /// The list of many nodes.
    List,
    /// What the way to a node adds.
    Hop,
    /// What a second node brings.
    Second,
    /// How soon the loss of a node is known.
    Loss,
}

/// What was measured.
#[derive(Debug, Default, Serialize)]
struct Figures {
    machine: String,
    picks: Vec<(&'static str, Summary)>,
    list: Option<Summary>,
    /// Straight to a node, and through the router to it.
    hop: Option<[Summary; 2]>,
    /// Answers per second of one node and of two.
    nodes_per_s: Option<[f64; 2]>,
    loss: Option<loss::Loss>,
}

/// Runs what is wanted and prints the table.
pub fn run(options: &Options) -> Result<()> {
    let is_wanted = |part: Part| options.only.is_empty() || options.only.contains(&part);
    let programs = match &options.programs {
        Some(programs) => programs.clone(),
        None if options.only == [Part::Picks] => PathBuf::new(),
        None => release_dir(&["llm-router", "llm-node"], true)?,
    };
    let machine = Machine::look();
    eprintln!("{}", machine.describe());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let dir = tempfile::Builder::new().prefix("llm-fleet-bench-").tempdir()?;
    let mut figures = Figures { machine: machine.describe(), ..Figures::default() };
    if is_wanted(Part::Picks) {
        figures.picks = runtime.block_on(picks::measure(options.nodes, options.picks))?;
    }
    if is_wanted(Part::List) {
        figures.list = Some(runtime.block_on(listing(machine, &programs, dir.path(), options.nodes))?);
    }
    if is_wanted(Part::Hop) {
        figures.hop = Some(runtime.block_on(hop(machine, &programs, dir.path(), options.requests))?);
    }
    if is_wanted(Part::Second) {
        let load = Duration::from_secs(options.seconds);
        let per_s = |count| LocalSet::new().block_on(&runtime, throughput(machine, &programs, dir.path(), count, load));
        figures.nodes_per_s = Some([per_s(1)?, per_s(2)?]);
    }
    if is_wanted(Part::Loss) {
        figures.loss = Some(LocalSet::new().block_on(&runtime, loss::measure(machine, &programs, dir.path()))?);
    }
    print(&figures, options.nodes);
    if let Some(path) = &options.out {
        std::fs::write(path, serde_json::to_string_pretty(&figures)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// A router of this build, in a home of its own, that believes its nodes.
pub(crate) struct Router {
    pub(crate) address: String,
    _process: Running,
}

impl Router {
    pub(crate) fn start(machine: Machine, programs: &Path, home: &Path, trusting: bool) -> Result<Self> {
        std::fs::create_dir_all(home)?;
        let address = free_address()?;
        let mut command = machine.command(Side::Measured, &programs.join("llm-router"));
        command
            .args(["serve", "--listen", &address.to_string()])
            .current_dir(home)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", home);
        command.env("LLM_ROUTER_DATA_DIR", home.join("data")).env("LLM_ROUTER_MASTER_KEY", KEY);
        command.env("LLM_ROUTER_SKIP_HEALTH_CHECK", trusting.to_string());
        let mut process = Running::start("llm-router", command, home)?;
        process.wait_for_port(address, START_LIMIT)?;
        Ok(Self { address: address.to_string(), _process: process })
    }

    async fn nodes(&self) -> Result<Value> {
        let request = format!("GET /api/nodes HTTP/1.1\r\nhost: router\r\nauthorization: Bearer {KEY}\r\n\r\n");
        let answer = once(&self.address, request.as_bytes(), START_LIMIT).await?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    async fn until_online(&self, count: usize) -> Result<()> {
        let until = Instant::now() + START_LIMIT;
        loop {
            let nodes = self.nodes().await?;
            let online = nodes.as_array().into_iter().flatten().filter(|node| node["status"] == "online").count();
            if online >= count {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("{online} of {count} nodes came online: {nodes}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Registers so many nodes at a router that believes them.
pub(crate) async fn register(address: &str, connection: &mut Connection, count: u16) -> Result<()> {
    for n in 0..count {
        let said = picks::registration(n);
        let answer = connection.call(&post(address, "/api/nodes", &[], said.to_string().as_bytes()), |_, _| {}).await?;
        if answer.status != 201 {
            bail!("registration {n} was answered with {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
    }
    Ok(())
}

/// `GET /api/nodes` with so many nodes.
async fn listing(machine: Machine, programs: &Path, dir: &Path, count: u16) -> Result<Summary> {
    let router = Router::start(machine, programs, &dir.join("listing"), true)?;
    let mut connection = Connection::open(&router.address).await?;
    register(&router.address, &mut connection, count).await?;
    let request = format!("GET /api/nodes HTTP/1.1\r\nhost: router\r\nauthorization: Bearer {KEY}\r\n\r\n");
    let mut times = Times::new();
    for _ in 0..100 {
        let began = now_ns();
        let answer = connection.call(request.as_bytes(), |_, _| {}).await?;
        times.record(now_ns() - began);
        let listed: Vec<Value> = serde_json::from_slice(&answer.body)?;
        if listed.len() != usize::from(count) {
            bail!("{} of {count} nodes are listed", listed.len());
        }
    }
    Ok(times.summary())
}

/// The same requests to a node and through the router to it, in turns.
async fn hop(machine: Machine, programs: &Path, dir: &Path, requests: u32) -> Result<[Summary; 2]> {
    let router = Router::start(machine, programs, &dir.join("hop"), false)?;
    let alone = ScriptedNode::start(machine, programs, &dir.join("alone"), MODEL, None)?;
    let joined = ScriptedNode::start(machine, programs, &dir.join("joined"), MODEL, Some(&router.address))?;
    router.until_online(1).await?;
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "one two"}], "max_tokens": 1}).to_string();
    let headers = [("authorization".to_owned(), format!("Bearer {KEY}"))];
    let ask = |address: &str| post(address, "/v1/chat/completions", &headers, body.as_bytes());
    let targets = [alone.address.clone(), router.address.clone()];
    let mut connections = [Connection::open(&targets[0]).await?, Connection::open(&targets[1]).await?];
    let mut times = [Times::new(), Times::new()];
    let warm_up = requests / 10 + 10;
    for n in 0..requests + warm_up {
        for which in 0..2 {
            let request = ask(&targets[which]);
            let began = now_ns();
            let answer = connections[which].call(&request, |_, _| {}).await?;
            if answer.status != 200 {
                bail!("{} answered {}: {}", targets[which], answer.status, String::from_utf8_lossy(&answer.body));
            }
            if n >= warm_up {
                times[which].record(now_ns() - began);
            }
        }
    }
    drop((alone, joined));
    Ok(times.map(|times| times.summary()))
}

/// Answers per second of so many nodes, each with two slots and twenty milliseconds a word, asked by more callers than they have slots.
async fn throughput(machine: Machine, programs: &Path, dir: &Path, count: usize, load: Duration) -> Result<f64> {
    let home = dir.join(format!("load-{count}"));
    let router = Router::start(machine, programs, &home, false)?;
    let model = format!("{MODEL}+delay=20");
    let nodes = (0..count)
        .map(|n| ScriptedNode::start(machine, programs, &home.join(format!("node-{n}")), &model, Some(&router.address)))
        .collect::<Result<Vec<_>>>()?;
    router.until_online(count).await?;
    let models: Value = serde_json::from_str(&get(&nodes[0].address, "/v1/models").await?)?;
    let model = models["data"][0]["id"].as_str().context("the node lists its model")?.to_owned();
    let body = json!({"model": model, "messages": [{"role": "user", "content": "a b c d e f g h"}]}).to_string();
    let headers = [("authorization".to_owned(), format!("Bearer {KEY}"))];
    let request = post(&router.address, "/v1/chat/completions", &headers, body.as_bytes());
    let warm = Instant::now() + Duration::from_secs(2);
    let until = warm + load;
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (address, request) = (router.address.clone(), request.clone());
            spawn_local(async move {
                let mut connection = Connection::open(&address).await?;
                let mut done = 0.0;
                while Instant::now() < until {
                    let began = Instant::now();
                    let answer = connection.call(&request, |_, _| {}).await?;
                    if answer.status != 200 {
                        bail!("status {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
                    }
                    done += part_within((began, Instant::now()), (warm, until));
                }
                Ok(done)
            })
        })
        .collect();
    let mut done = 0.0;
    for caller in callers {
        done += caller.await??;
    }
    drop(nodes);
    Ok(tenths(done / load.as_secs_f64()))
}

/// The part of a time that lies within a window. Answers that are counted so have no edge: neither is one that was begun before the window counted
/// whole, nor is one that ends after it lost.
fn part_within((began, ended): (Instant, Instant), (from, until): (Instant, Instant)) -> f64 {
    let inside = ended.min(until).saturating_duration_since(began.max(from));
    let whole = ended.saturating_duration_since(began).as_secs_f64();
    if whole > 0.0 { inside.as_secs_f64() / whole } else { 0.0 }
}

fn print(figures: &Figures, nodes: u16) {
    println!("\n| measure | figure | accept | verdict |\n|---|---|---|---|");
    let verdict = |met: bool| if met { "accept" } else { "MISSED" };
    for (policy, picks) in &figures.picks {
        let met = verdict(picks.p99_us <= PICK_P99_US_MAX);
        println!(
            "| choice among {nodes} nodes, `{policy}`, p50 / p99 | {} / {} µs | p99 ≤ {PICK_P99_US_MAX} µs | {met} |",
            picks.p50_us, picks.p99_us
        );
    }
    if let Some(list) = &figures.list {
        let list_ms = list.p50_us / 1e3;
        let met = verdict(list_ms <= LIST_P50_MS_MAX);
        println!("| `GET /api/nodes` with {nodes} nodes, p50 | {list_ms:.1} ms | ≤ {LIST_P50_MS_MAX} ms | {met} |");
    }
    if let Some([direct, through_router]) = &figures.hop {
        let added = tenths(through_router.p50_us - direct.p50_us);
        let met = verdict(added <= HOP_P50_US_MAX);
        println!("| added by router and hop to a node, p50 | {added} µs | ≤ {HOP_P50_US_MAX} µs | {met} |");
    }
    if let Some([one, two]) = figures.nodes_per_s {
        let ratio = two / one;
        let met = verdict(ratio >= TWO_OVER_ONE_MIN);
        println!("| two nodes over one, answers/s | {two} / {one} = {ratio:.2} | ≥ {TWO_OVER_ONE_MIN} | {met} |");
    }
    if let Some(loss) = figures.loss {
        println!(
            "| kill -9 of a node under load: the last request sent to it began after | {} ms ({} of {} sent there, {} failed) | ≤ {LAST_PICK_MS_MAX} ms | {} |",
            loss.last_pick_ms,
            loss.moved,
            loss.asked,
            loss.failed,
            verdict(loss.last_pick_ms <= LAST_PICK_MS_MAX && loss.failed == 0)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_by_the_part_of_it_that_lies_in_the_window() {
        let (zero, s) = (Instant::now(), Duration::from_secs);
        let at = |from: u64, until: u64| (zero + s(from), zero + s(until));
        let window = at(10, 20);
        for (answer, part) in
            [(at(8, 12), 0.5), (at(12, 13), 1.0), (at(19, 23), 0.25), (at(5, 25), 0.5), (at(1, 9), 0.0), (at(21, 22), 0.0)]
        {
            assert!((part_within(answer, window) - part).abs() < 1e-9, "{answer:?}");
        }
        // Callers that ask one after the other, 4 s each: as many as there are in steady state, wherever the window lies.
        let all: f64 = (0..10).map(|n| part_within(at(4 * n, 4 * n + 4), at(5, 16))).sum();
        assert!((all - 11.0 / 4.0).abs() < 1e-9, "{all}");
    }
}
