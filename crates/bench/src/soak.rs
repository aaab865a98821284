//! `bench soak`: hours of everything mixed, and what is left of it in memory, sockets and counters.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use tokio::{
    sync::{Mutex, mpsc},
    task::{LocalSet, spawn_local},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    figures::tenths,
    gateway::{bed::Bed, router::Router},
    http::{Connection, get},
    load::Target,
    machine::release_dir,
    process::Usage,
};

/// Connections that carry the load.
const CALLERS: usize = 200;
/// Requests that are due and not yet sent; beyond, none becomes due.
const DUE_MAX: usize = 4096;
/// Longest wait for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// When those hang up that do: within the stream.
const HANG_UP_AFTER: Duration = Duration::from_millis(100);
/// A stream lasts 400 ms; one of fifty of the provider's answers is an error.
const PROVIDER: &str = "chunks=20&gap_ms=20&ttft_ms=0&err_permille=20&err_status=503";
const PROMPT_BYTES: usize = 2000;
/// Looks at the router between the beginning and the end.
const LOOKS: u32 = 120;
/// How long what is going on may take to end after the last request.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);

/// What is asked, and how long.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Minutes of load.
    #[arg(long, default_value_t = 60.0)]
    pub minutes: f64,
    /// Requests a second.
    #[arg(long, default_value_t = 500)]
    pub rate: u32,
    /// Use the programs of this folder.
    #[arg(long)]
    pub programs: Option<PathBuf>,
}

/// What a request is, in turn: of twenty, eleven whole answers passed on and four translated, three streams passed on, one translated, one
/// stream that its caller leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Whole,
    WholeTranslated,
    Stream,
    StreamTranslated,
    HungUp,
}

impl Kind {
    const fn of(number: u64) -> Self {
        match number % 20 {
            0..11 => Self::Whole,
            11..15 => Self::WholeTranslated,
            15..18 => Self::Stream,
            18 => Self::StreamTranslated,
            _ => Self::HungUp,
        }
    }

    const fn is_stream(self) -> bool {
        !matches!(self, Self::Whole | Self::WholeTranslated)
    }
}

/// What the router holds at an instant.
#[derive(Debug, Clone, Copy)]
struct Look {
    rss_mb: f64,
    files: usize,
    threads: u64,
}

/// Runs the load and prints what became of it.
pub fn run(options: &Options) -> Result<()> {
    let programs = match &options.programs {
        Some(programs) => programs.clone(),
        None => release_dir(&["llm-router"], true)?,
    };
    let bed = Bed::start()?;
    eprintln!("{}", bed.machine.describe());
    let router = Router::start(&bed, &programs, 64)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, soak(options, &bed, &router))
}

async fn soak(options: &Options, bed: &Bed, router: &Router) -> Result<()> {
    get(&bed.upstream.to_string(), &format!("/control?{PROVIDER}")).await?;
    let (plain, translated) = (Rc::new(Target::new(router.row())?), Rc::new(Target::new(router.translated_row())?));
    let counted: Rc<RefCell<BTreeMap<(Kind, String), u64>>> = Rc::default();
    let length = Duration::from_secs_f64(options.minutes * 60.0);
    let due = Rc::new(Mutex::new(due(options.rate, Instant::now() + length)));
    for caller in 0..CALLERS {
        spawn_local(call(caller, [plain.clone(), translated.clone()], due.clone(), counted.clone()));
    }
    let mut looks = Vec::new();
    for _ in 0..LOOKS {
        sleep(length / LOOKS).await;
        looks.push(look(router.pid()));
        if looks.len().is_multiple_of(LOOKS as usize / 10) {
            eprintln!("{} %: {:?}", looks.len() * 100 / LOOKS as usize, looks[looks.len() - 1]);
        }
    }
    drop(due);
    let until = Instant::now() + SETTLE_LIMIT;
    while Instant::now() < until && router.metric("router_active_requests").await? > 0.0 {
        sleep(Duration::from_millis(100)).await;
    }
    report(&looks, &counted.take(), router).await
}

/// Says when each request is due.
fn due(rate: u32, until: Instant) -> mpsc::Receiver<u64> {
    let (due, receiver) = mpsc::channel(DUE_MAX);
    spawn_local(async move {
        let mut ticks = interval(Duration::from_secs(1) / rate.max(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for number in 0.. {
            ticks.tick().await;
            if Instant::now() > until || due.send(number).await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// One caller: a connection that is opened anew after an end.
async fn call(
    caller: usize,
    [plain, translated]: [Rc<Target>; 2],
    due: Rc<Mutex<mpsc::Receiver<u64>>>,
    counted: Rc<RefCell<BTreeMap<(Kind, String), u64>>>,
) {
    let mut connection: Option<Connection> = None;
    loop {
        let Some(number) = due.lock().await.recv().await else { return };
        let kind = Kind::of(number);
        let target = if matches!(kind, Kind::WholeTranslated | Kind::StreamTranslated) { &translated } else { &plain };
        let request = target.request(PROMPT_BYTES, kind.is_stream(), caller);
        let limit = if kind == Kind::HungUp { HANG_UP_AFTER } else { ANSWER_LIMIT };
        let exchange = async {
            let mut open = match connection.take() {
                Some(open) => open,
                None => Connection::open(target.address()).await?,
            };
            let answer = open.call(&request, |_, _| {}).await?;
            connection = (!answer.closes).then_some(open);
            anyhow::Ok(answer.status)
        };
        let said = match timeout(limit, exchange).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "left".to_owned(),
        };
        *counted.borrow_mut().entry((kind, said)).or_default() += 1;
    }
}

fn look(pid: i32) -> Look {
    let usage = Usage::of(&[pid]);
    let files = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    Look { rss_mb: tenths(usage.rss_mb()), files, threads: usage.threads }
}

async fn report(looks: &[Look], counted: &BTreeMap<(Kind, String), u64>, router: &Router) -> Result<()> {
    println!("| requests | came to | times |\n|---|---|---|");
    for ((kind, said), times) in counted {
        println!("| {kind:?} | {said} | {times} |");
    }
    // The first tenth is not judged: buffers and connections come to be.
    let tenth = looks.len() / 10;
    let middle = |looks: &[Look]| {
        let mut rss: Vec<f64> = looks.iter().map(|look| look.rss_mb).collect();
        rss.sort_by(f64::total_cmp);
        rss.get(rss.len() / 2).copied().context("it was too short to be looked at")
    };
    let (early, late) = (middle(&looks[tenth..2 * tenth])?, middle(&looks[looks.len() - tenth..])?);
    let end = look(router.pid());
    println!("\nRSS {early} MB in the second tenth, {late} MB in the last: {:+.1} %", (late / early - 1.0) * 100.0);
    println!(
        "files open {} in the second tenth, {} at the end; threads {} and {}",
        looks[tenth].files, end.files, looks[tenth].threads, end.threads
    );
    let (active, made, dropped) = (
        router.metric("router_active_requests").await?,
        router.metric("router_requests_total").await?,
        router.metric("router_dropped_rows_total").await?,
    );
    println!("{active} requests still counted as active, {made} answered by the provider, {dropped} records dropped");
    ensure!(active == 0.0 && dropped == 0.0, "something is left");
    Ok(())
}
