//! The measures, each run by the load generator as a process of its own against all targets in turn.

use std::{collections::BTreeMap, fs, process::Stdio};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::{bed::Bed, router::TRANSLATED};
use crate::{
    load::{Report, TargetRow},
    machine::Side,
};

/// Rates of the open loop.
pub(crate) const RATES: [u32; 3] = [500, 1000, 3000];
/// Streams compared byte by byte.
pub(crate) const EXACT_STREAMS: u64 = 20;

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    pub(crate) seconds: f64,
    pub(crate) idle_streams: usize,
}

/// All figures of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) first_answer_ms: f64,
    pub(crate) idle_streams: usize,
    pub(crate) at_rest: Report,
    /// By rate.
    pub(crate) unary: BTreeMap<u32, Report>,
    pub(crate) closed: Report,
    pub(crate) stream: Report,
    pub(crate) exact: Report,
    pub(crate) idle: Report,
}

pub(crate) struct Suite<'a> {
    bed: &'a Bed,
    rows: Vec<TargetRow>,
    plan: Plan,
}

impl<'a> Suite<'a> {
    pub(crate) fn new(bed: &'a Bed, rows: Vec<TargetRow>, plan: Plan) -> Result<Self> {
        fs::write(bed.dir().join("targets.json"), serde_json::to_string_pretty(&rows)?)?;
        Ok(Self { bed, rows, plan })
    }

    /// The targets' names, the direct one first.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.rows.iter().map(|row| row.name.as_str()).collect()
    }

    /// Runs every measure.
    pub(crate) fn run(&self, first_answer_ms: f64) -> Result<Results> {
        let all = self.names();
        let plain: Vec<&str> = all.iter().copied().filter(|name| *name != TRANSLATED).collect();
        let gateways = &plain[1..];
        let Plan { rounds, idle_streams, .. } = self.plan;
        let seconds = self.plan.seconds.to_string();
        let at_rest = self.load("rss", gateways, 1, &["rss"])?;
        let mut unary = BTreeMap::new();
        for rate in RATES {
            eprintln!("\nwhole answers, {rate} a second");
            let report = self.load("unary", &plain, rounds, &["unary", "--rate", &rate.to_string(), "--dur", &seconds])?;
            unary.insert(rate, report);
        }
        eprintln!("\nclosed loop, 16 connections");
        let closed = self.load("closed", &all, rounds, &["closed", "--conns", "16", "--dur", &seconds])?;
        eprintln!("\n100 streams of 200 chunks");
        let few = rounds.min(3);
        let stream =
            self.load("stream", &all, few, &["stream", "--conns", "100", "--chunks", "200", "--gap-ms", "20", "--ttft-ms", "0"])?;
        eprintln!("\n{EXACT_STREAMS} streams compared byte by byte");
        let count = EXACT_STREAMS.to_string();
        let exact =
            self.load("exact", &plain, 1, &["stream", "--exact", "--conns", &count, "--chunks", "50", "--gap-ms", "2", "--ttft-ms", "10"])?;
        eprintln!("\n{idle_streams} idle streams");
        let idle = self.load("idle", gateways, 1, &["idle", "--conns", &idle_streams.to_string(), "--gap-ms", "1000", "--chunks", "8"])?;
        Ok(Results { first_answer_ms, idle_streams, at_rest, unary, closed, stream, exact, idle })
    }

    /// One measure; the load generator prints its lines meanwhile.
    pub(crate) fn load(&self, name: &str, only: &[&str], rounds: u32, mode: &[&str]) -> Result<Report> {
        let out = self.bed.dir().join(format!("{name}.json"));
        let mut command = self.bed.machine.command(Side::Measuring, &std::env::current_exe()?);
        command.arg("loadgen").args(mode).arg("--targets").arg(self.bed.dir().join("targets.json"));
        command.args(["--only", &only.join(","), "--rounds", &rounds.to_string(), "--mock", &self.bed.upstream.to_string()]);
        let status = command.arg("--out").arg(&out).stdin(Stdio::null()).status()?;
        if !status.success() {
            bail!("the load generator ended with {status}");
        }
        serde_json::from_str(&fs::read_to_string(&out)?).with_context(|| format!("{} holds no figures", out.display()))
    }
}
