//! The highest rate that keeps a limit.

use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{
    Common, Figures, Report,
    target::Target,
    unary::{Load, Round, round},
};

/// Steps end when the best rate is known to this share.
const CLOSE_ENOUGH: f64 = 0.08;
/// A step passes if at least this share of its rate was answered.
const ACHIEVED_MIN: f64 = 0.97;
const WARM_SECONDS: f64 = 0.4;
const REST: Duration = Duration::from_millis(200);

/// Doubling, then bisection on the rate of an open loop.
#[derive(Debug, Clone, Args)]
pub struct CapacityArgs {
    /// The first rate.
    #[arg(long, default_value_t = 250.0)]
    pub start: f64,
    /// Most connections.
    #[arg(long, default_value_t = 128)]
    pub conns: usize,
    /// Seconds of a step.
    #[arg(long, default_value_t = 2.0)]
    pub dur: f64,
    /// A step passes with no error and the 99th percentile from the intended time below this.
    #[arg(long, default_value_t = 50.0)]
    pub p99_ms: f64,
    /// Most steps.
    #[arg(long, default_value_t = 12)]
    pub steps: u32,
}

/// One step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    pub rate: f64,
    pub passed: bool,
    pub round: Round,
}

/// The best rate of one target.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CapacityFigures {
    pub max_rps: f64,
    pub p99_limit_ms: f64,
    pub steps: Vec<Step>,
}

pub(super) async fn search(targets: &[Target], common: &Common, args: &CapacityArgs) -> Report {
    let mut report = Report::new();
    for target in targets {
        let figures = one(target, common, args).await;
        eprintln!("{:<16} sustains {:>7} rps with p99 below {} ms", target.name, figures.max_rps.round(), args.p99_ms);
        report.insert(target.name.clone(), Figures::Capacity(figures));
    }
    report
}

async fn one(target: &Target, common: &Common, args: &CapacityArgs) -> CapacityFigures {
    let mut steps = Vec::new();
    let (mut good, mut bad, mut rate) = (0.0_f64, f64::INFINITY, args.start);
    for _ in 0..args.steps {
        let load = Load {
            rate: Some(rate),
            connections: args.conns,
            seconds: args.dur,
            warm_seconds: WARM_SECONDS,
            prompt_bytes: common.prompt_bytes,
            expected: None,
        };
        let round = round(target, &load).await;
        let passed = round.errors == 0 && round.achieved >= ACHIEVED_MIN * rate && round.intended.p99_us < args.p99_ms * 1000.0;
        steps.push(Step { rate, passed, round });
        if passed {
            good = good.max(rate);
        } else {
            bad = bad.min(rate);
        }
        if (bad - good) / bad < CLOSE_ENOUGH {
            break;
        }
        rate = if bad.is_finite() { f64::midpoint(good, bad) } else { rate * 2.0 };
        sleep(REST).await;
    }
    CapacityFigures { max_rps: good, p99_limit_ms: args.p99_ms, steps }
}
