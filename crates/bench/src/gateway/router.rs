//! This build's router as people run it: auth, keys, history, logs and metrics at their defaults.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    bed::{Bed, MODEL, row},
    suite::Suite,
};
use crate::{
    http::{get, once, post},
    load::TargetRow,
    machine::{Running, Side, free_address},
};

/// The target's name.
pub(crate) const NAME: &str = "llm-router";
/// The same router, asked for a model whose account speaks Messages.
pub(crate) const TRANSLATED: &str = "translated";
/// That model.
const TRANSLATED_MODEL: &str = "mock-messages-model";
/// Keys that the load uses, in turn.
const KEYS_USED: usize = 64;
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long the counters may take to agree after the last answer.
const BOOKS_LIMIT: Duration = Duration::from_secs(10);

pub(crate) struct Router {
    process: Running,
    address: SocketAddr,
    keys: Vec<String>,
    /// From the start of the program to the first answered chat.
    pub(crate) first_answer_ms: f64,
}

impl Router {
    /// Makes the keys, starts the router, waits for its first answer.
    pub(crate) fn start(bed: &Bed, programs: &Path, keys: usize) -> Result<Self> {
        let program = programs.join("llm-router");
        if !program.is_file() {
            bail!("{} is not there", program.display());
        }
        let home = bed.dir().join("router");
        fs::create_dir_all(&home)?;
        let config = home.join("router.yaml");
        fs::write(&config, configuration(bed))?;
        let keys = make_keys(&program, &home, &config, keys)?;
        let address = free_address()?;
        let mut command = bed.machine.command(Side::Measured, &program);
        at_home(&mut command, &home);
        command.arg("serve").arg("--config").arg(&config).args(["--listen", &address.to_string()]);
        let started = Instant::now();
        let mut process = Running::start(NAME, command, bed.dir())?;
        process.wait_for_port(address, START_LIMIT)?;
        let mut router = Self { process, address, keys, first_answer_ms: 0.0 };
        router.first_answer(started)?;
        Ok(router)
    }

    pub(crate) fn row(&self) -> TargetRow {
        TargetRow { keys: self.keys.clone(), ..row(NAME, self.address, vec![self.process.pid()]) }
    }

    /// Asked in chat for what has to be translated to Messages and back.
    pub(crate) fn translated_row(&self) -> TargetRow {
        TargetRow { name: TRANSLATED.into(), model: TRANSLATED_MODEL.into(), ..self.row() }
    }

    fn first_answer(&mut self, started: Instant) -> Result<()> {
        let headers = [("authorization".to_owned(), format!("Bearer {}", self.keys[0]))];
        let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}).to_string();
        let request = post(&self.address.to_string(), "/v1/chat/completions", &headers, body.as_bytes());
        loop {
            let answer = block_on(once(&self.address.to_string(), &request, Duration::from_secs(5)))?;
            match answer {
                Ok(answer) if answer.status == 200 => {
                    self.first_answer_ms = (started.elapsed().as_secs_f64() * 10_000.0).round() / 10.0;
                    return Ok(());
                }
                Ok(answer) if started.elapsed() > START_LIMIT => {
                    bail!("the router answers {}: {}", answer.status, String::from_utf8_lossy(&answer.body))
                }
                Err(error) if started.elapsed() > START_LIMIT => return Err(error),
                _ => self.process.check()?,
            }
        }
    }

    /// Whether every request that the router forwarded in a closed loop of its own is counted, and none was dropped.
    pub(crate) fn check_books(&self, bed: &Bed, suite: &Suite<'_>) -> Result<String> {
        let before = (self.counted()?, forwarded(bed)?);
        suite.load("books", &[NAME], 1, &["closed", "--conns", "16", "--dur", "1"])?;
        let until = Instant::now() + BOOKS_LIMIT;
        loop {
            let (counted, sent) = (self.counted()? - before.0, forwarded(bed)? - before.1);
            let dropped = block_on(self.metric("router_dropped_rows_total"))??;
            if (counted - sent).abs() < 0.5 || Instant::now() > until {
                return Ok(format!("books: {sent} requests forwarded, {counted} counted, {dropped} records dropped"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn counted(&self) -> Result<f64> {
        block_on(self.metric("router_requests_total"))?
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// The sum of a metric's samples.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let text = get(&self.address.to_string(), "/metrics").await?;
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        Ok(text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }
}

fn configuration(bed: &Bed) -> String {
    let account = |name: &str, wire: &str, model: &str| {
        let base_url = format!("http://{}/v1", bed.upstream);
        json!({"name": name, "provider": "custom", "wire": wire, "base_url": base_url, "api_key": "sk-upstream", "models": [model]})
    };
    let accounts = [account("mock", "chat", MODEL), account("mock-messages", "messages", TRANSLATED_MODEL)];
    // JSON is YAML.
    json!({"auth": {"mode": "required"}, "accounts": accounts}).to_string()
}

/// No setting of the one who measures reaches the router.
fn at_home(command: &mut Command, home: &Path) {
    command.current_dir(home).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home).env("LLM_ROUTER_DATA_DIR", home.join("data"));
}

/// Makes keys with the command line and returns those that the load uses.
fn make_keys(program: &Path, home: &Path, config: &PathBuf, count: usize) -> Result<Vec<String>> {
    eprintln!("making {count} keys");
    let make = |n: usize| -> Result<String> {
        let mut command = Command::new(program);
        at_home(&mut command, home);
        command.args(["key", "create", "--json", "--name", &format!("bench-{n:04}")]).arg("--config").arg(config);
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let made: Value = serde_json::from_str(&text).unwrap_or_default();
        let key = made["key"].as_str().map(str::to_owned);
        key.with_context(|| format!("key create printed no key: {text}{}", String::from_utf8_lossy(&output.stderr)))
    };
    let keys = (0..count.max(1)).map(make).collect::<Result<Vec<_>>>()?;
    let step = keys.len().div_ceil(KEYS_USED);
    Ok(keys.into_iter().step_by(step).collect())
}

fn forwarded(bed: &Bed) -> Result<f64> {
    let stats = block_on(get(&bed.upstream.to_string(), "/stats"))??;
    let stats: Value = serde_json::from_str(&stats)?;
    stats["requests"].as_f64().context("the fake provider counts its requests")
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}
