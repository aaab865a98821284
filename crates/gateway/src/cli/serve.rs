//! `llm-router serve`.

#[cfg(all(feature = "tray", any(windows, target_os = "macos")))]
use std::process::ExitCode;
use std::{net::SocketAddr, path::Path, sync::Arc, thread::JoinHandle};

use anyhow::Context as _;
use config::Loaded;
use telemetry::logs::{Console, LogSettings};
use tokio_util::sync::CancellationToken;

use super::{Failed, ServeArgs, environment, local_node::LocalNode, out, proxy};
use crate::{
    admin::trail,
    app::{App, Sources, StartError},
    first_run::FirstRun,
    server::{self, Sockets},
};

/// Files and connections that may be open at once, where the system lets this program set it: each client, provider and node takes some, and the
/// usual bound is meant for programs of another kind.
#[cfg(unix)]
const OPEN_FILES: u64 = 65_536;
/// Threads behind the path: the store, nodes' heartbeats, the control plane.
const BACK_THREADS: usize = 2;

pub(super) fn run(args: ServeArgs) -> Result<(), Failed> {
    let environment = environment()?;
    let mut load_args = args.sources.args();
    load_args.listen = args.listen;
    load_args.as_open_llm_router = args.as_open_llm_router;
    let loaded = config::load(&load_args, &environment)?;
    let config = &loaded.config;
    let log_settings = LogSettings {
        level: config.log.level.clone(),
        dir: Some(config.log.dir.clone()),
        retention_days: config.log.retention_days,
        console: Console::Stdout,
        ..LogSettings::default()
    };
    raise_open_files();
    // The address first: a router that cannot listen must not make keys that nobody gets to see.
    let runtimes = config.server.threads.map_or_else(cores, |n| n.max(1) as usize);
    let sockets = Sockets::bind(&config.server.listeners(), runtimes).map_err(|e| Failed(1, e.to_string()))?;
    own_directory(&config.server.data_dir).with_context(|| format!("{} cannot be made", config.server.data_dir.display()))?;
    let logs = telemetry::logs::start(&log_settings).context("the log cannot be written")?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let back = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(BACK_THREADS)
        .thread_name("back")
        .enable_all()
        .build()
        .context("no runtime")?;
    let addresses = sockets.addresses.clone();
    let local_node = args.with_node.then(|| LocalNode::prepare(config, &environment, addresses[0])).transpose()?;
    #[cfg(all(feature = "tray", any(windows, target_os = "macos")))]
    let tray_url = server::url(addresses[0]);
    let sources = Sources { args: load_args, proxy: proxy(&environment) };
    let shown = Shown::of(&loaded, &addresses);
    let (app, made) = back.block_on(App::start(loaded, sources, Some(logs))).map_err(|e| match e {
        StartError::Config(e) => e.into(),
        other => Failed(1, other.to_string()),
    })?;
    back.block_on(app.note_version("start"));
    let stop = CancellationToken::new();
    let threads = server::start(&app, sockets, &stop).context("the serving threads cannot be started")?;
    shown.say(&made);
    // Somebody asks for the end by other means than a signal.
    let quit = CancellationToken::new();
    #[cfg(all(feature = "tray", any(windows, target_os = "macos")))]
    if args.tray {
        let serving = {
            let quit = quit.clone();
            move || serve(back, &app, local_node, threads, (&stop, &quit)).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        };
        return crate::tray::desktop::run(tray_url, quit, serving).map_err(|e| Failed(1, format!("there is no notification area: {e}")));
    }
    serve(back, &app, local_node, threads, (&stop, &quit))
}

/// Serves until the end, and closes.
fn serve(
    back: tokio::runtime::Runtime,
    app: &Arc<App>,
    local_node: Option<LocalNode>,
    threads: Vec<JoinHandle<()>>,
    ends: (&CancellationToken, &CancellationToken),
) -> Result<(), Failed> {
    back.block_on(until_stopped(app, local_node, threads, ends))?;
    app.end_log();
    back.shutdown_timeout(std::time::Duration::from_secs(2));
    Ok(())
}

/// What the system refuses stays as it was: the router then serves fewer at once. To be called before there are threads.
#[cfg(unix)]
fn raise_open_files() {
    use rustix::io::fcntl_dupfd_cloexec;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit });
    }
    // Linux doubles a process's table of files as they come. Where there are threads, whoever opens that file waits 10 to 30 ms, and with it
    // all connections of its thread. The last place taken once, the table has its whole size (8 bytes a place).
    let last = getrlimit(Resource::Nofile).current.map_or(OPEN_FILES, |current| current.min(OPEN_FILES)).saturating_sub(1);
    if let (Ok(file), Ok(last)) = (std::fs::File::open("/dev/null"), last.try_into()) {
        drop(fcntl_dupfd_cloexec(file, last));
    }
}

#[cfg(not(unix))]
fn raise_open_files() {}

/// Makes the data directory, its owner's only, before the log makes one below it.
fn own_directory(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Cores that this process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What is said once at start.
struct Shown {
    /// As they can be opened on this machine.
    urls: Vec<String>,
    listening: Vec<String>,
    is_open: bool,
    data_dir: String,
}

impl Shown {
    fn of(loaded: &Loaded, addresses: &[SocketAddr]) -> Self {
        Self {
            urls: addresses.iter().map(|a| server::url(*a)).collect(),
            listening: addresses.iter().map(SocketAddr::to_string).collect(),
            is_open: loaded.config.auth.mode == config::AuthMode::Off,
            data_dir: loaded.config.server.data_dir.display().to_string(),
        }
    }

    /// Secrets go to standard output only, never into the log.
    fn say(&self, made: &FirstRun) {
        // A router whose standard output nobody reads serves all the same.
        let said = |text: &str| drop(out::line(text));
        tracing::info!(
            urls = self.urls.join(" "),
            listening = self.listening.join(" "),
            data_dir = self.data_dir,
            version = env!("CARGO_PKG_VERSION"),
            "llm-router is listening"
        );
        if self.is_open {
            tracing::warn!("auth is off: everybody who reaches this address may use everything");
        }
        if let Some((name, password)) = &made.admin {
            said(&format!(
                "First start: the administrator is `{name}` with the password `{password}` (shown once; change it after the first log-in)."
            ));
        }
        if let Some(key) = &made.key {
            said(&format!("First start: an API key was made (shown once): {key}"));
        }
    }
}

async fn until_stopped(
    app: &Arc<App>,
    local_node: Option<LocalNode>,
    threads: Vec<JoinHandle<()>>,
    (stop, quit): (&CancellationToken, &CancellationToken),
) -> Result<(), Failed> {
    let node_stop = CancellationToken::new();
    let node = local_node.map(|node| tokio::spawn(node.supervise(node_stop.clone())));
    let mut signals = Signals::listen().context("signals cannot be listened for")?;
    tokio::select! {
        () = signals.termination(app) => {}
        () = quit.cancelled() => {}
    }
    tracing::info!("stopping: what is under way is finished first; a second signal ends at once");
    app.drain();
    stop.cancel();
    let drained = async {
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|t| drop(t.join())));
        let _ = joined.await;
        // The node last: streams from it are finished first.
        node_stop.cancel();
        if let Some(node) = node {
            let _ = node.await;
        }
        app.close().await;
    };
    tokio::select! {
        () = drained => tracing::info!("stopped"),
        () = signals.termination(app) => {
            eprintln!("llm-router: ended at once by a second signal");
            app.end_log();
            std::process::exit(130);
        }
    }
    Ok(())
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal to end; a hang-up reads the configuration again.
    async fn termination(&mut self, app: &Arc<App>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => {
                    let trail = trail::of("signal", "config.reload", None, &app.house().config.audit);
                    if let Err(error) = trail::followed(app, trail, Box::pin(app.reload())).await {
                        tracing::error!(%error, "the new configuration is not valid; the old one stays in force");
                    }
                }
            }
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn termination(&mut self, _: &Arc<App>) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
