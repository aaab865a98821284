//! `bench history`: how long the dashboard's figures take with a thousand nodes and a million records of requests.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use store::{
    Store,
    requests::{self, Row},
};

use crate::{
    clock::now_ns,
    figures::{Summary, Times},
    fleet::{KEY, Router, register},
    http::Connection,
    machine::{Machine, release_dir},
};

/// Bar for every answer.
const P50_MS_MAX: f64 = 100.0;

const DAY_MS: i64 = 24 * 3_600_000;
const DAYS: i64 = 7;

/// Rows that are stored at once, as a busy router does.
const BATCH_ROWS: i64 = 512;

/// What is asked and how often.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Records, spread over the last seven days.
    #[arg(long, default_value_t = 1_000_000)]
    pub rows: u32,
    /// Nodes that are registered.
    #[arg(long, default_value_t = 1000)]
    pub nodes: u16,
    /// How often each path is asked.
    #[arg(long, default_value_t = 15)]
    pub times: u32,
    /// A file for all figures as JSON.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Use the programs of this folder.
    #[arg(long)]
    pub programs: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Figures {
    machine: String,
    rows: u32,
    nodes: u16,
    /// From the first row to the last, in seconds.
    stored_s: f64,
    paths: Vec<(String, Summary)>,
}

/// Runs everything and prints the table.
pub fn run(options: &Options) -> Result<()> {
    let programs = match &options.programs {
        Some(programs) => programs.clone(),
        None => release_dir(&["llm-router"], true)?,
    };
    let machine = Machine::look();
    eprintln!("{}", machine.describe());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let home = tempfile::Builder::new().prefix("llm-history-bench-").tempdir()?;
    let figures = runtime.block_on(async {
        let began = now_ns();
        fill(&home.path().join("data"), i64::from(options.rows)).await?;
        let stored_s = (now_ns() - began) as f64 / 1e9;
        let router = Router::start(machine, &programs, home.path(), true)?;
        let mut connection = Connection::open(&router.address).await?;
        register(&router.address, &mut connection, options.nodes).await?;
        let mut measured = Vec::new();
        for path in paths(store::now_ms()) {
            let summary = ask(&router.address, &mut connection, &path, options.times).await.with_context(|| path.clone())?;
            measured.push((path, summary));
        }
        anyhow::Ok(Figures { machine: machine.describe(), rows: options.rows, nodes: options.nodes, stored_s, paths: measured })
    })?;
    print(&figures);
    if let Some(path) = &options.out {
        std::fs::write(path, serde_json::to_string_pretty(&figures)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Records of forty keys, twenty models and five accounts; one in fifty failed.
async fn fill(data_dir: &std::path::Path, rows: i64) -> Result<()> {
    let store = Store::open("", data_dir).await?;
    let begin = store::now_ms() - DAYS * DAY_MS;
    for first in (0..rows).step_by(BATCH_ROWS as usize) {
        let batch: Vec<Row> = (first..rows.min(first + BATCH_ROWS)).map(|n| row(n, begin + n * DAYS * DAY_MS / rows)).collect();
        requests::insert(&store, &batch).await?;
    }
    store.close().await;
    Ok(())
}

fn row(n: i64, started_at_ms: i64) -> Row {
    let is_error = n % 50 == 0;
    let key = n * 7 % 40;
    let model = format!("model-{}", (key + n % 3) % 20);
    let tokens = 100 + (n % 900).unsigned_abs();
    Row {
        id: format!("{n:08x}-bench").into(),
        started_at_ms,
        duration_ms: 500 + n % 900,
        first_byte_ms: Some(200),
        key_id: Some(format!("key_{key:032}").into()),
        key_name: Some(format!("team {key}").into()),
        client_ip: Some("192.0.2.1".into()),
        dialect: "chat".into(),
        path: "/v1/chat/completions".into(),
        model_requested: Some(model.clone().into()),
        model_served: Some(model.into()),
        target: Some(format!("account-{}", key % 5).into()),
        provider: Some("openai".into()),
        attempts: 1,
        status: if is_error { 502 } else { 200 },
        outcome: if is_error { "error" } else { "success" }.into(),
        prompt_tokens: Some(tokens),
        completion_tokens: Some(100),
        usage_raw: Some(format!("{{\"in_fresh\":{tokens},\"out_text\":100}}").into()),
        bytes_in: 2000,
        bytes_out: 700,
        decision: Some(format!("{{\"attempts\":[],\"note\":\"{}\"}}", "x".repeat(400)).into()),
        cache: [None, None, Some("miss".into()), (n % 20 == 3).then(|| "hit".into())][n as usize % 4].clone(),
        cost_nano: Some(i64::try_from(tokens).unwrap_or_default()),
        ..Row::default()
    }
}

/// Everything that the pages ask: the overview, lists by each of their filters, deep pages, filters that find little or nothing, sums.
fn paths(now_ms: i64) -> Vec<String> {
    let time = |ago_ms: i64| {
        let (day, of_day) = ((now_ms - ago_ms).div_euclid(DAY_MS), (now_ms - ago_ms).rem_euclid(DAY_MS));
        let (year, month, day) = date(day);
        format!("{year}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60)
    };
    let (from, to) = (time(5 * DAY_MS + 1_234_567), time(DAY_MS + 7_654_321));
    let key = format!("key_{:032}", 7);
    let records = "/api/dashboard/request-responses";
    let mut all: Vec<String> =
        ["overview", "stats", "request-history", "nodes"].map(|name| format!("/api/dashboard/{name}")).into_iter().collect();
    all.push("/api/nodes".to_owned());
    let asked = [
        String::new(),
        "&page=9000".to_owned(),
        "&model=model-3".to_owned(),
        "&model=model-3&page=500".to_owned(),
        format!("&key={key}"),
        "&status=error".to_owned(),
        "&status=success".to_owned(),
        "&http_status=502".to_owned(),
        "&http_status=418".to_owned(),
        "&account=account-2".to_owned(),
        format!("&start_time={from}&end_time={to}"),
        format!("&start_time={from}&end_time={to}&status=error"),
        format!("&key={key}&model=model-8&status=error"),
        "&model=nothing-like-it".to_owned(),
        "&duration_min_ms=1000".to_owned(),
        "&duration_min_ms=1000&page=5000".to_owned(),
        "&duration_min_ms=90000".to_owned(),
        "&duration_min_ms=90000&model=model-3".to_owned(),
        "&tokens_min=1000&tokens_max=1050".to_owned(),
        "&tokens_min=90000".to_owned(),
        "&cost_min_usd=0.0000009".to_owned(),
        "&cost_min_usd=1".to_owned(),
        "&cache=hit".to_owned(),
        "&cache=replayed".to_owned(),
        "&first_byte_min_ms=100&duration_max_ms=900&tokens_min=300&cost_max_usd=0.01&cache=miss&status=success".to_owned(),
        format!("&start_time={from}&duration_min_ms=90000"),
    ];
    all.extend(asked.map(|more| format!("{records}?per_page=50{more}")));
    for group in ["day", "key", "model", "account"] {
        all.push(format!("/api/usage?group_by={group}"));
        all.push(format!("/api/usage?group_by={group}&start_time={from}&end_time={to}"));
    }
    all.push("/api/ledger".to_owned());
    all.push(format!("/api/ledger?key={key}&start_time={from}&end_time={to}"));
    all
}

/// The date of a day since 1970 (Howard Hinnant's algorithm, of the public domain).
fn date(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (month, day) = ((month + 2) % 12 + 1, of_year - (153 * month + 2) / 5 + 1);
    (year + era * 400 + i64::from(month <= 2), month, day)
}

async fn ask(address: &str, connection: &mut Connection, path: &str, times: u32) -> Result<Summary> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: router\r\nauthorization: Bearer {KEY}\r\n\r\n");
    let mut took = Times::new();
    for _ in 0..times {
        let began = now_ns();
        let answer = connection.call(request.as_bytes(), |_, _| {}).await?;
        took.record(now_ns() - began);
        if answer.status != 200 {
            bail!("{address} answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
    }
    Ok(took.summary())
}

fn print(figures: &Figures) {
    let Figures { rows, nodes, stored_s, .. } = figures;
    println!("\n{rows} records (stored in {stored_s:.0} s), {nodes} nodes\n");
    println!("| path | p50 | slowest | verdict (p50 ≤ {P50_MS_MAX} ms) |\n|---|---|---|---|");
    for (path, took) in &figures.paths {
        let (p50_ms, max_ms) = (took.p50_us / 1e3, took.max_us / 1e3);
        let verdict = if p50_ms <= P50_MS_MAX { "accept" } else { "MISSED" };
        println!("| `{path}` | {p50_ms:.1} ms | {max_ms:.1} ms | {verdict} |");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        assert_eq!([0, 59, 19_782, 20_778].map(date), [(1970, 1, 1), (1970, 3, 1), (2024, 2, 29), (2026, 11, 21)]);
    }
}
