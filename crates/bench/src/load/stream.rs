//! Streams at the same time: time to the first text, delay of each chunk, exactness.

use std::{cell::RefCell, rc::Rc, time::Duration};

use anyhow::Result;
use clap::Args;
use memchr::{memchr, memmem, memrchr};
use serde::{Deserialize, Serialize};
use tokio::{
    task::spawn_local,
    time::{sleep, timeout},
};

use super::{Common, Figures, Report, Spread, Summary, fingerprint, sample, target::Target, text};
use crate::{
    clock::now_ns,
    figures::{Times, tenths},
    http::{Answer, Connection, get},
    process::Usage,
};

/// Longest stream.
const STREAM_LIMIT: Duration = Duration::from_mins(2);
/// Longest stamp: `@@`, digits, `@`.
const STAMP_BYTES_MAX: usize = 24;

/// Streams at the same time.
#[derive(Debug, Clone, Args)]
pub struct StreamArgs {
    /// Connections.
    #[arg(long, default_value_t = 100)]
    pub conns: usize,
    /// Streams of each connection, one after the other.
    #[arg(long, default_value_t = 1)]
    pub per_conn: u32,
    /// Text chunks of a stream.
    #[arg(long, default_value_t = 200)]
    pub chunks: u64,
    /// Milliseconds between chunks.
    #[arg(long, default_value_t = 20)]
    pub gap_ms: u64,
    /// Milliseconds before the first.
    #[arg(long, default_value_t = 0)]
    pub ttft_ms: u64,
    /// Length of a chunk's text.
    #[arg(long, default_value_t = 32)]
    pub chunk_bytes: usize,
    /// Streams start over this many milliseconds.
    #[arg(long, default_value_t = 200)]
    pub spread_ms: u64,
    /// Leave stamps out and compare each body with the first target's.
    #[arg(long)]
    pub exact: bool,
}

/// What one target is given in a round.
pub(super) struct Streams {
    pub(super) connections: usize,
    pub(super) per_connection: u32,
    pub(super) spread_ms: u64,
    pub(super) prompt_bytes: usize,
    pub(super) chunks: u64,
    /// Fingerprint and text of the body that is right.
    pub(super) expected: Option<(u64, String)>,
}

/// What one round showed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StreamRound {
    pub ttft: Summary,
    /// From the provider's send to our read, where chunks are stamped.
    pub chunk_delay: Summary,
    pub gap: Summary,
    pub ok: u64,
    pub errors: u64,
    pub wrong_chunk_counts: u64,
    pub raw_same: u64,
    pub text_same: u64,
    pub compared: u64,
    pub chunks: u64,
    pub chunks_per_s: f64,
    pub cpu_ms_per_1k_chunks: f64,
    pub wait_pct: f64,
    pub rss_mb: f64,
    pub last_error: String,
}

/// What all rounds showed of one target.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StreamFigures {
    pub ttft_p50_us: Spread,
    pub ttft_p99_us: Spread,
    pub added_ttft_p50_us: Spread,
    pub added_ttft_p99_us: Spread,
    pub delay_p50_us: Spread,
    pub delay_p99_us: Spread,
    pub cpu_ms_per_1k_chunks: Spread,
    pub chunks_per_s: Spread,
    pub rss_mb: Spread,
    pub wait_pct: Spread,
    pub rounds: Vec<StreamRound>,
}

pub(super) async fn measure(targets: &[Target], common: &Common, args: &StreamArgs) -> Result<Report> {
    let StreamArgs { chunks, gap_ms, ttft_ms, chunk_bytes, .. } = args;
    let stamp = u8::from(!args.exact);
    let behaviour = format!("/control?chunks={chunks}&gap_ms={gap_ms}&ttft_ms={ttft_ms}&chunk_bytes={chunk_bytes}&stamp={stamp}");
    get(&common.mock, &behaviour).await?;
    let expected = match targets.first().filter(|_| args.exact) {
        Some(first) => {
            Some(sample(first, common.prompt_bytes, true).await.map(|answer| (fingerprint(&answer.body), text::of(&answer.body)))?)
        }
        None => None,
    };
    let streams = Streams {
        connections: args.conns,
        per_connection: args.per_conn,
        spread_ms: args.spread_ms,
        prompt_bytes: common.prompt_bytes,
        chunks: args.chunks,
        expected,
    };
    let mut rounds: Vec<Vec<StreamRound>> = targets.iter().map(|_| Vec::new()).collect();
    for _ in 0..common.rounds {
        for (target, rounds) in targets.iter().zip(&mut rounds) {
            // Wakes the target's connections up.
            let _ = sample(target, 64, false).await;
            rounds.push(round(target, &streams).await);
        }
    }
    get(&common.mock, "/control?stamp=0&gap_ms=0&ttft_ms=0").await?;
    let base = rounds.first().cloned().unwrap_or_default();
    eprintln!(
        "{:<16} {:>9} {:>9} | added ttft {:>8} {:>8} | delay {:>7} {:>7} | {:>9} {:>8} {:>7}  ok/errors/wrong, same",
        "target", "ttft50", "ttft99", "p50", "p99", "p50", "p99", "cpu/1kch", "chunk/s", "MB"
    );
    Ok(targets
        .iter()
        .zip(rounds)
        .map(|(target, rounds)| {
            let figures = fold(rounds, &base);
            print(&target.name, &figures);
            (target.name.clone(), Figures::Stream(Box::new(figures)))
        })
        .collect())
}

fn fold(rounds: Vec<StreamRound>, base: &[StreamRound]) -> StreamFigures {
    let column = |field: fn(&StreamRound) -> f64| Spread::of(rounds.iter().map(field));
    let added = |field: fn(&StreamRound) -> f64| Spread::of(rounds.iter().zip(base).map(|(round, base)| field(round) - field(base)));
    StreamFigures {
        ttft_p50_us: column(|round| round.ttft.p50_us),
        ttft_p99_us: column(|round| round.ttft.p99_us),
        added_ttft_p50_us: added(|round| round.ttft.p50_us),
        added_ttft_p99_us: added(|round| round.ttft.p99_us),
        delay_p50_us: column(|round| round.chunk_delay.p50_us),
        delay_p99_us: column(|round| round.chunk_delay.p99_us),
        cpu_ms_per_1k_chunks: column(|round| round.cpu_ms_per_1k_chunks),
        chunks_per_s: column(|round| round.chunks_per_s),
        rss_mb: column(|round| round.rss_mb),
        wait_pct: column(|round| round.wait_pct),
        rounds,
    }
}

fn print(name: &str, figures: &StreamFigures) {
    let sum = |field: fn(&StreamRound) -> u64| figures.rounds.iter().map(field).sum::<u64>();
    eprintln!(
        "{name:<16} {:>9} {:>9} | {:>19} {:>8} | {:>13} {:>7} | {:>7}ms {:>8} {:>7}  {}/{}/{}, {} bytes and {} texts of {}",
        figures.ttft_p50_us.med,
        figures.ttft_p99_us.med,
        figures.added_ttft_p50_us.med,
        figures.added_ttft_p99_us.med,
        figures.delay_p50_us.med,
        figures.delay_p99_us.med,
        figures.cpu_ms_per_1k_chunks.med,
        figures.chunks_per_s.med,
        figures.rss_mb.med,
        sum(|round| round.ok),
        sum(|round| round.errors),
        sum(|round| round.wrong_chunk_counts),
        sum(|round| round.raw_same),
        sum(|round| round.text_same),
        sum(|round| round.compared)
    );
}

/// What the connections of a round count together.
struct Tally {
    ttft: Times,
    delay: Times,
    gap: Times,
    ok: u64,
    errors: u64,
    wrong_chunk_counts: u64,
    raw_same: u64,
    text_same: u64,
    compared: u64,
    chunks: u64,
    last_error: String,
}

impl Tally {
    fn new() -> Self {
        Self {
            ttft: Times::new(),
            delay: Times::new(),
            gap: Times::new(),
            ok: 0,
            errors: 0,
            wrong_chunk_counts: 0,
            raw_same: 0,
            text_same: 0,
            compared: 0,
            chunks: 0,
            last_error: String::new(),
        }
    }

    fn failed(&mut self, error: impl ToString) {
        self.errors += 1;
        self.last_error = error.to_string();
    }

    fn ended(&mut self, answer: &Answer, watch: &Watch, sent_ns: u64, streams: &Streams) {
        if answer.status != 200 {
            let start = &answer.body[..answer.body.len().min(200)];
            self.failed(format!("status {}: {}", answer.status, String::from_utf8_lossy(start)));
            return;
        }
        self.ok += 1;
        self.chunks += watch.chunks;
        if let Some(first_ns) = watch.first_ns {
            self.ttft.record(first_ns - sent_ns);
        }
        if watch.chunks != streams.chunks {
            self.wrong_chunk_counts += 1;
        }
        if let Some((hash, said)) = &streams.expected {
            self.compared += 1;
            self.raw_same += u64::from(fingerprint(&answer.body) == *hash);
            self.text_same += u64::from(text::of(&answer.body) == *said);
        }
    }
}

/// Counts the text chunks of one stream as they come.
#[derive(Default)]
struct Watch {
    seen: usize,
    first_ns: Option<u64>,
    last_ns: u64,
    chunks: u64,
}

impl Watch {
    fn look(&mut self, body: &[u8], time_ns: u64, tally: &mut Tally) {
        // Only whole lines: a chunk may be cut anywhere.
        let Some(end) = memrchr(b'\n', body).filter(|end| *end > self.seen) else { return };
        let fresh = &body[self.seen..end];
        self.seen = end;
        let mut found = 0;
        for at in memmem::find_iter(fresh, b"@@") {
            if let Some(sent_ns) = stamp(&fresh[at + 2..]) {
                tally.delay.record(time_ns.saturating_sub(sent_ns));
                found += 1;
            }
        }
        if found == 0 {
            // Without stamps a chunk's text starts with its number.
            found = memmem::find_iter(fresh, b"\"w0").count() as u64;
        }
        if found > 0 {
            if self.first_ns.is_some() {
                tally.gap.record(time_ns - self.last_ns);
            }
            self.first_ns.get_or_insert(time_ns);
            self.last_ns = time_ns;
            self.chunks += found;
        }
    }
}

fn stamp(text: &[u8]) -> Option<u64> {
    let end = memchr(b'@', &text[..text.len().min(STAMP_BYTES_MAX)])?;
    std::str::from_utf8(&text[..end]).ok()?.parse().ok()
}

/// One target, one round.
pub(super) async fn round(target: &Target, streams: &Streams) -> StreamRound {
    let tally = RefCell::new(Tally::new());
    let shared = Rc::new((tally, Streams { expected: streams.expected.clone(), ..*streams }));
    let before = Usage::of(&target.pids);
    let started_ns = now_ns();
    let tasks: Vec<_> = (0..streams.connections)
        .map(|n| {
            let delay = Duration::from_micros(streams.spread_ms * 1000 * n as u64 / streams.connections as u64);
            let (request, address) = (target.request(streams.prompt_bytes, true, n), target.address.clone());
            spawn_local(connection(address, request, delay, shared.clone()))
        })
        .collect();
    for task in tasks {
        let _ = task.await;
    }
    let wall_ns = (now_ns() - started_ns) as f64;
    let after = Usage::of(&target.pids);
    let tally = shared.0.borrow();
    let cpu_ms = after.cpu_ns.saturating_sub(before.cpu_ns) as f64 / 1e6;
    StreamRound {
        ttft: tally.ttft.summary(),
        chunk_delay: tally.delay.summary(),
        gap: tally.gap.summary(),
        ok: tally.ok,
        errors: tally.errors,
        wrong_chunk_counts: tally.wrong_chunk_counts,
        raw_same: tally.raw_same,
        text_same: tally.text_same,
        compared: tally.compared,
        chunks: tally.chunks,
        chunks_per_s: tenths(tally.chunks as f64 / (wall_ns / 1e9)),
        cpu_ms_per_1k_chunks: tenths(cpu_ms * 1000.0 / tally.chunks.max(1) as f64),
        wait_pct: tenths(after.wait_ns.saturating_sub(before.wait_ns) as f64 / wall_ns * 100.0),
        rss_mb: tenths(after.rss_mb()),
        last_error: tally.last_error.clone(),
    }
}

async fn connection(address: String, request: Vec<u8>, delay: Duration, shared: Rc<(RefCell<Tally>, Streams)>) {
    let (tally, streams) = &*shared;
    sleep(delay).await;
    let mut connection = None;
    for _ in 0..streams.per_connection {
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => Connection::open(&address).await,
        };
        let mut open = match open {
            Ok(open) => open,
            Err(error) => {
                tally.borrow_mut().failed(error);
                continue;
            }
        };
        let sent_ns = now_ns();
        let mut watch = Watch::default();
        let streamed = timeout(STREAM_LIMIT, open.call(&request, |body, time_ns| watch.look(body, time_ns, &mut tally.borrow_mut()))).await;
        let mut tally = tally.borrow_mut();
        match streamed {
            Ok(Ok(answer)) => {
                tally.ended(&answer, &watch, sent_ns, streams);
                connection = (!answer.closes).then_some(open);
            }
            Ok(Err(error)) => tally.failed(format!("{error:#}")),
            Err(_elapsed) => tally.failed("no end in 120 s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Tally, Watch, stamp};

    #[test]
    fn chunks_are_counted_wherever_the_reads_fall() {
        let body = b"data: {\"content\":\"@@100@lorem\"}\n\ndata: {\"content\":\"@@200@\"}\n\ndata: [DONE]\n\n";
        for size in 1..body.len() {
            let (mut watch, mut tally) = (Watch::default(), Tally::new());
            let ends = (0..body.len()).step_by(size).map(|at| (at + size).min(body.len()));
            for end in ends {
                watch.look(&body[..end], 300, &mut tally);
            }
            assert_eq!((watch.chunks, tally.delay.summary().n), (2, 2), "reads of {size}");
        }
        assert_eq!(stamp(b"12@"), Some(12));
        assert_eq!((stamp(b"12"), stamp(b"x@")), (None, None));
    }
}
