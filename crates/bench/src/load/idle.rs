//! Many slow streams: what each costs in memory.

use std::{cell::Cell, rc::Rc, time::Duration};

use anyhow::Result;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{task::spawn_local, time::sleep};

use super::{
    Common, Figures, Report,
    stream::{StreamRound, Streams, round},
    target::Target,
};
use crate::{figures::tenths, http::get, process::Usage};

/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(700);

/// Slow streams at the same time.
#[derive(Debug, Clone, Args)]
pub struct IdleArgs {
    /// Streams.
    #[arg(long, default_value_t = 1000)]
    pub conns: usize,
    /// Text chunks of a stream.
    #[arg(long, default_value_t = 8)]
    pub chunks: u64,
    /// Milliseconds between chunks.
    #[arg(long, default_value_t = 1000)]
    pub gap_ms: u64,
    /// Streams start over this many milliseconds.
    #[arg(long, default_value_t = 2000)]
    pub spread_ms: u64,
}

/// What slow streams cost one target.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IdleFigures {
    pub streams: usize,
    /// Most streams that the provider saw open at once.
    pub open_at_once: u64,
    pub rss_before_mb: f64,
    pub rss_peak_mb: f64,
    pub kb_per_stream: f64,
    pub round: StreamRound,
}

pub(super) async fn measure(targets: &[Target], common: &Common, args: &IdleArgs) -> Result<Report> {
    let mut report = Report::new();
    get(&common.mock, &format!("/control?chunks={}&gap_ms={}&ttft_ms=0&chunk_bytes=32&stamp=1", args.chunks, args.gap_ms)).await?;
    for target in targets {
        let figures = one(target, common, args).await;
        eprintln!(
            "{:<16} {} streams, {} at once, rss {} -> {} MB = {} kB each, delay p99 {} us, {} errors {}",
            target.name,
            figures.streams,
            figures.open_at_once,
            figures.rss_before_mb,
            figures.rss_peak_mb,
            figures.kb_per_stream,
            figures.round.chunk_delay.p99_us,
            figures.round.errors,
            figures.round.last_error
        );
        report.insert(target.name.clone(), Figures::Idle(Box::new(figures)));
    }
    get(&common.mock, "/control?stamp=0&gap_ms=0").await?;
    Ok(report)
}

async fn one(target: &Target, common: &Common, args: &IdleArgs) -> IdleFigures {
    let before = Usage::of(&target.pids);
    let (peak_kb, open) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let watcher = spawn_local(watch(peak_kb.clone(), open.clone(), target.pids.clone(), common.mock.clone()));
    let streams = Streams {
        connections: args.conns,
        per_connection: 1,
        spread_ms: args.spread_ms,
        prompt_bytes: common.prompt_bytes.min(200),
        chunks: args.chunks,
        expected: None,
    };
    let round = round(target, &streams).await;
    watcher.abort();
    IdleFigures {
        streams: args.conns,
        open_at_once: open.get(),
        rss_before_mb: tenths(before.rss_mb()),
        rss_peak_mb: tenths(peak_kb.get() as f64 / 1024.0),
        kb_per_stream: tenths(peak_kb.get().saturating_sub(before.rss_kb) as f64 / args.conns.max(1) as f64),
        round,
    }
}

async fn watch(peak_kb: Rc<Cell<u64>>, open: Rc<Cell<u64>>, pids: Vec<i32>, mock: String) {
    loop {
        sleep(LOOK_EVERY).await;
        peak_kb.set(peak_kb.get().max(Usage::of(&pids).rss_kb));
        let stats: Value = get(&mock, "/stats").await.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        open.set(open.get().max(stats["streams_open"].as_u64().unwrap_or(0)));
    }
}
