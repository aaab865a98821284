//! Whole answers: an open loop at a constant rate, or a closed loop.

use std::{
    cell::{Cell, RefCell},
    num::NonZeroU64,
    rc::Rc,
    thread,
    time::Duration,
};

use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Mutex, mpsc},
    task::spawn_local,
    time::{sleep, timeout},
};

use super::{Common, Figures, Report, Spread, Summary, fingerprint, sample, target::Target};
use crate::{
    clock::now_ns,
    figures::{Times, tenths},
    http::{Answer, Connection},
    process::Usage,
};

/// Requests that are due and not yet sent; beyond, the dispatcher waits, and the intended times still count.
const DUE_MAX: usize = 65_536;
/// Longest wait for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// What was not sent so long after the end of a round counts as an error.
const LATE_NS: u64 = 3_000_000_000;
/// Above this rate requests are released in ticks: one sleep for each would cost more than the request.
const TICK_ABOVE_RATE: f64 = 5000.0;
const TICK_NS: u64 = 200_000;
/// Rest between two targets.
const REST: Duration = Duration::from_millis(150);

/// An open loop.
#[derive(Debug, Clone, Args)]
pub struct UnaryArgs {
    /// Requests a second.
    #[arg(long, default_value_t = 500.0)]
    pub rate: f64,
    /// Most connections.
    #[arg(long, default_value_t = 128)]
    pub conns: usize,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 2.0)]
    pub dur: f64,
    /// Seconds before that.
    #[arg(long, default_value_t = 0.5)]
    pub warm: f64,
}

/// A closed loop.
#[derive(Debug, Clone, Args)]
pub struct ClosedArgs {
    /// Connections, each always busy.
    #[arg(long, default_value_t = 16)]
    pub conns: usize,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 2.0)]
    pub dur: f64,
    /// Seconds before that.
    #[arg(long, default_value_t = 0.5)]
    pub warm: f64,
}

/// What one target is given in a round.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// None: a closed loop.
    pub(super) rate: Option<f64>,
    pub(super) connections: usize,
    pub(super) seconds: f64,
    pub(super) warm_seconds: f64,
    pub(super) prompt_bytes: usize,
    /// The fingerprint of the body that is right.
    pub(super) expected: Option<u64>,
}

/// What one round showed. Times are from the real send (`service`) and from the intended one (`intended`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Round {
    pub achieved: f64,
    pub ok: u64,
    pub errors: u64,
    pub wrong_bodies: u64,
    pub service: Summary,
    pub intended: Summary,
    pub cpu_ms_per_1k: f64,
    pub cores: f64,
    /// Share of the time in which the target's threads had to wait for a core: above about 2 the round is dirty.
    pub wait_pct: f64,
    /// The same of the load generator.
    pub own_wait_pct: f64,
    pub rss_mb: f64,
    pub last_error: String,
}

/// What all rounds showed of one target. `added` is the same quantile of the same round less that of the first target.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnaryFigures {
    pub p50_us: Spread,
    pub p99_us: Spread,
    pub added_p50_us: Spread,
    pub added_p90_us: Spread,
    pub added_p99_us: Spread,
    pub achieved: Spread,
    pub cpu_ms_per_1k: Spread,
    pub rss_mb: Spread,
    pub wait_pct: Spread,
    pub ok: u64,
    pub errors: u64,
    pub wrong_bodies: u64,
    pub last_error: String,
    pub rounds: Vec<Round>,
}

pub(super) async fn open_loop(targets: &[Target], common: &Common, args: &UnaryArgs) -> Report {
    let load = Load {
        rate: Some(args.rate),
        connections: args.conns,
        seconds: args.dur,
        warm_seconds: args.warm,
        prompt_bytes: common.prompt_bytes,
        expected: None,
    };
    rounds(targets, common, load).await
}

pub(super) async fn closed_loop(targets: &[Target], common: &Common, args: &ClosedArgs) -> Report {
    let load = Load {
        rate: None,
        connections: args.conns,
        seconds: args.dur,
        warm_seconds: args.warm,
        prompt_bytes: common.prompt_bytes,
        expected: None,
    };
    rounds(targets, common, load).await
}

async fn rounds(targets: &[Target], common: &Common, mut load: Load) -> Report {
    load.expected = match targets.first() {
        Some(first) => sample(first, common.prompt_bytes, false).await.ok().map(|answer| fingerprint(&answer.body)),
        None => None,
    };
    let mut rounds: Vec<Vec<Round>> = targets.iter().map(|_| Vec::new()).collect();
    for _ in 0..common.rounds {
        // Targets take turns inside a round, so that what the machine does meanwhile meets all of them.
        for (target, rounds) in targets.iter().zip(&mut rounds) {
            rounds.push(round(target, &load).await);
            sleep(REST).await;
        }
    }
    let base = rounds.first().cloned().unwrap_or_default();
    eprintln!(
        "{:<16} {:>8} {:>9} {:>9} | added {:>8} {:>8} | {:>10} {:>7} {:>6}  errors, wrong",
        "target", "rps", "p50", "p99", "p50", "p99", "cpu/1k", "MB", "wait%"
    );
    let figures = targets.iter().zip(rounds).map(|(target, rounds)| {
        let figures = fold(rounds, &base);
        print(&target.name, &figures);
        (target.name.clone(), Figures::Unary(Box::new(figures)))
    });
    figures.collect()
}

fn fold(rounds: Vec<Round>, base: &[Round]) -> UnaryFigures {
    let column = |field: fn(&Round) -> f64| Spread::of(rounds.iter().map(field));
    let added = |field: fn(&Round) -> f64| Spread::of(rounds.iter().zip(base).map(|(round, base)| field(round) - field(base)));
    UnaryFigures {
        p50_us: column(|round| round.service.p50_us),
        p99_us: column(|round| round.service.p99_us),
        added_p50_us: added(|round| round.service.p50_us),
        added_p90_us: added(|round| round.service.p90_us),
        added_p99_us: added(|round| round.service.p99_us),
        achieved: column(|round| round.achieved),
        cpu_ms_per_1k: column(|round| round.cpu_ms_per_1k),
        rss_mb: column(|round| round.rss_mb),
        wait_pct: column(|round| round.wait_pct),
        ok: rounds.iter().map(|round| round.ok).sum(),
        errors: rounds.iter().map(|round| round.errors).sum(),
        wrong_bodies: rounds.iter().map(|round| round.wrong_bodies).sum(),
        last_error: rounds.iter().map(|round| round.last_error.clone()).find(|error| !error.is_empty()).unwrap_or_default(),
        rounds,
    }
}

fn print(name: &str, figures: &UnaryFigures) {
    let UnaryFigures { achieved, p50_us, p99_us, added_p50_us, added_p99_us, cpu_ms_per_1k, rss_mb, wait_pct, .. } = figures;
    eprintln!(
        "{name:<16} {:>8} {:>9} {:>9} | {:>14} {:>8} | {:>8}ms {:>7} {:>6}  {}, {} {}",
        achieved.med,
        p50_us.med,
        p99_us.med,
        added_p50_us.med,
        added_p99_us.med,
        cpu_ms_per_1k.med,
        rss_mb.med,
        wait_pct.med,
        figures.errors,
        figures.wrong_bodies,
        figures.last_error
    );
}

/// What the connections of a round count together.
struct Tally {
    service: Times,
    intended: Times,
    ok: u64,
    errors: u64,
    wrong_bodies: u64,
    last_error: String,
}

impl Tally {
    fn failed(&mut self, error: impl ToString) {
        self.errors += 1;
        self.last_error = error.to_string();
    }

    fn answered(&mut self, answer: &Answer, sent_ns: u64, intended_ns: u64, expected: Option<u64>) {
        let now = now_ns();
        if answer.status != 200 {
            let start = &answer.body[..answer.body.len().min(200)];
            self.failed(format!("status {}: {}", answer.status, String::from_utf8_lossy(start)));
            return;
        }
        self.ok += 1;
        self.service.record(now - sent_ns);
        self.intended.record(now.saturating_sub(intended_ns));
        if expected.is_some_and(|expected| fingerprint(&answer.body) != expected) {
            self.wrong_bodies += 1;
        }
    }
}

/// When the next request of a connection is due.
#[derive(Clone)]
enum Pace {
    Open(Rc<Mutex<mpsc::Receiver<u64>>>),
    Closed { start_ns: u64, end_ns: u64 },
}

impl Pace {
    /// The intended time, reached; None when the round is over.
    async fn next(&self) -> Option<u64> {
        match self {
            Self::Open(due) => due.lock().await.recv().await,
            Self::Closed { start_ns, end_ns } => {
                let now = now_ns();
                if now < *start_ns {
                    sleep(Duration::from_nanos(start_ns - now)).await;
                }
                (now < *end_ns).then(now_ns)
            }
        }
    }
}

/// One target, one round.
pub(super) async fn round(target: &Target, load: &Load) -> Round {
    let start_ns = now_ns() + 20_000_000;
    let measured_ns = start_ns + (load.warm_seconds * 1e9) as u64;
    let end_ns = measured_ns + (load.seconds * 1e9) as u64;
    let pace = match load.rate {
        Some(rate) => Pace::Open(Rc::new(Mutex::new(dispatch(rate, start_ns, end_ns)))),
        None => Pace::Closed { start_ns, end_ns },
    };
    let tally = Rc::new(RefCell::new(Tally {
        service: Times::new(),
        intended: Times::new(),
        ok: 0,
        errors: 0,
        wrong_bodies: 0,
        last_error: String::new(),
    }));
    let before = Rc::new(Cell::new(Usage::default()));
    let own_before = own_usage();
    let mut tasks = vec![spawn_local(look_at(before.clone(), target.pids.clone(), measured_ns))];
    for connection in 0..load.connections {
        let worker = Worker {
            request: target.request(load.prompt_bytes, false, connection),
            address: target.address.clone(),
            measured_ns,
            end_ns,
            expected: load.expected,
            tally: tally.clone(),
        };
        tasks.push(spawn_local(worker.run(pace.clone())));
    }
    for task in tasks {
        let _ = task.await;
    }
    let (after, own_after) = (Usage::of(&target.pids), own_usage());
    let tally = tally.borrow();
    let wall_ns = (now_ns() - measured_ns) as f64;
    let cpu_ns = after.cpu_ns.saturating_sub(before.get().cpu_ns) as f64;
    let share = |later: u64, earlier: u64| tenths(later.saturating_sub(earlier) as f64 / wall_ns * 100.0);
    Round {
        achieved: (tally.ok as f64 / (wall_ns / 1e9).max(load.seconds)).round(),
        ok: tally.ok,
        errors: tally.errors,
        wrong_bodies: tally.wrong_bodies,
        service: tally.service.summary(),
        intended: tally.intended.summary(),
        cpu_ms_per_1k: tenths(cpu_ns / 1e6 / tally.ok.max(1) as f64 * 1000.0),
        cores: (cpu_ns / wall_ns * 1000.0).round() / 1000.0,
        wait_pct: share(after.wait_ns, before.get().wait_ns),
        own_wait_pct: share(own_after.wait_ns, own_before.wait_ns),
        rss_mb: tenths(after.rss_mb()),
        last_error: tally.last_error.clone(),
    }
}

fn own_usage() -> Usage {
    Usage::of(&[std::process::id() as i32])
}

async fn look_at(usage: Rc<Cell<Usage>>, pids: Vec<i32>, at_ns: u64) {
    sleep(Duration::from_nanos(at_ns.saturating_sub(now_ns()))).await;
    usage.set(Usage::of(&pids));
}

/// Says when each request of an open loop is due, from a thread whose sleeps are not delayed by the connections.
fn dispatch(rate: f64, start_ns: u64, end_ns: u64) -> mpsc::Receiver<u64> {
    let (due, receiver) = mpsc::channel(DUE_MAX);
    thread::spawn(move || {
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let total = ((end_ns - start_ns) as f64 / 1e9 * rate) as u64;
        let tick_ns = if rate > TICK_ABOVE_RATE { TICK_NS } else { 0 };
        for n in 0..total {
            let at = start_ns + (n as f64 * 1e9 / rate) as u64;
            while let Some(early) = at.checked_sub(now_ns()).filter(|early| *early > 0) {
                thread::sleep(Duration::from_nanos(early.max(tick_ns)));
            }
            if due.blocking_send(at).is_err() {
                return;
            }
        }
    });
    receiver
}

/// One connection of a round.
struct Worker {
    request: Vec<u8>,
    address: String,
    measured_ns: u64,
    end_ns: u64,
    expected: Option<u64>,
    tally: Rc<RefCell<Tally>>,
}

impl Worker {
    async fn run(self, pace: Pace) {
        let mut connection = None;
        while let Some(intended_ns) = pace.next().await {
            let counts = intended_ns >= self.measured_ns;
            if now_ns() > self.end_ns + LATE_NS {
                if counts {
                    self.tally.borrow_mut().failed("not sent in time");
                }
                continue;
            }
            let open = match connection.take() {
                Some(open) => Ok(open),
                None => Connection::open(&self.address).await,
            };
            let mut open = match open {
                Ok(open) => open,
                Err(error) => {
                    self.tally.borrow_mut().failed(error);
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let sent_ns = now_ns();
            let answered = timeout(ANSWER_LIMIT, open.call(&self.request, |_body, _time| {})).await;
            let mut tally = self.tally.borrow_mut();
            match answered {
                Ok(Ok(answer)) => {
                    if counts {
                        tally.answered(&answer, sent_ns, intended_ns, self.expected);
                    }
                    connection = (!answer.closes).then_some(open);
                }
                Ok(Err(error)) if counts => tally.failed(format!("{error:#}")),
                Ok(Err(_before)) => {}
                Err(_elapsed) => tally.failed("no answer in 15 s"),
            }
        }
    }
}
