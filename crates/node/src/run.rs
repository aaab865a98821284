//! `serve`: puts the parts together, waits for the end, and ends in good order.

use std::{
    io::{self, BufRead, Read},
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use config::{Environment, NodeSettings, Secret};
use net::Client;
use serde::Deserialize;
use telemetry::logs::Logs;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
};

use crate::{
    agent::Agent,
    engine::process::Processes,
    fetch,
    gpu::Gpus,
    http::{self, Access, App},
    library::Library,
    machine,
    memory::Host,
    pool::{Options, Pool},
    register::{self, Reporter},
    sync::Sync,
};

/// Requests that run when the node is told to end have so long to finish.
const DRAIN: Duration = Duration::from_secs(8);
/// How long the router may take to hear of it.
const GOODBYE: Duration = Duration::from_secs(2);
/// And then engines.
const CLOSE: Duration = Duration::from_secs(2);
/// Longest first line of a supervisor.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// What only tests and supervisors ask for.
#[derive(Debug, Clone, Copy)]
pub struct Modes {
    /// The scripted engine answers, in worker processes all the same.
    pub is_scripted: bool,
    /// An engine that shows no sign of life for so long is replaced.
    pub hang: Duration,
}

/// Why the node could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The address is taken or not ours.
    #[error("can't listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The system refused something else.
    #[error("{what}: {error}")]
    System {
        /// What.
        what: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// The supervisor's first line is missing or no JSON.
    #[error("the supervisor's line can't be read: {0}")]
    Supervisor(String),
}

/// What a supervising router says on standard input, in one line of JSON.
#[derive(Debug, Deserialize)]
struct Told {
    join_token: Option<String>,
}

/// Reads the supervisor's line into `settings`; the end of standard input then ends the node: `gone` resolves.
pub fn supervised(settings: &mut NodeSettings) -> Result<oneshot::Receiver<()>, RunError> {
    let mut line = String::new();
    let mut stdin = io::BufReader::new(io::stdin());
    (&mut stdin).take(LINE_BYTES_MAX).read_line(&mut line).map_err(|e| RunError::Supervisor(e.to_string()))?;
    let told: Told = serde_json::from_str(&line).map_err(|e| RunError::Supervisor(e.to_string()))?;
    settings.join_token = told.join_token.and_then(Secret::new).or(settings.join_token.take());
    let (sender, gone) = oneshot::channel();
    let watch = move || {
        let mut rest = [0; 1024];
        while stdin.read(&mut rest).is_ok_and(|n| n > 0) {}
        let _ = sender.send(());
    };
    thread::Builder::new().name("supervisor".to_owned()).spawn(watch).map_err(|error| RunError::System { what: "no thread", error })?;
    Ok(gone)
}

/// Serves until a signal, or until `gone` resolves.
pub async fn serve(
    settings: NodeSettings,
    environment: &Environment,
    logs: Arc<Logs>,
    modes: Modes,
    gone: Option<oneshot::Receiver<()>>,
) -> Result<(), RunError> {
    let wanted = SocketAddr::new(settings.bind_address, settings.port);
    let listen = |error| RunError::Listen { address: wanted, error };
    let listener = TcpListener::bind(wanted).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let (stop, stopped) = watch::channel(false);
    let host: Arc<Host> = Arc::default();
    let app = app(&settings, environment, logs, modes, host.clone())?;
    tracing::info!(%address, models_dir = %settings.models_dir.display(), standalone = settings.standalone, version = env!("CARGO_PKG_VERSION"), "llm-node listens");
    let mut until = stopped.clone();
    let until = async move {
        let _ = until.wait_for(|stop| *stop).await;
    };
    let server = tokio::spawn(http::server::serve(listener, http::router(app.clone()), until, DRAIN));
    app.pool.library().fresh().await;
    let gpus = Arc::new(tokio::task::spawn_blocking(Gpus::find).await.unwrap_or_default());
    for gpu in gpus.last() {
        tracing::info!(
            vendor = gpu.vendor.name(),
            model = gpu.model,
            memory_bytes = gpu.memory_bytes,
            driver = gpu.driver,
            "a GPU was found"
        );
    }
    let _ = host.gpus.set(gpus.clone());
    let _ = app.gpus.set(gpus.clone());
    app.is_ready.store(true, Ordering::Relaxed);
    let mut reporting = None;
    if !settings.standalone {
        let reporter = Reporter {
            router_url: settings.router_url.clone(),
            join_token: settings.join_token.clone(),
            address,
            ip: settings.ip.clone(),
            heartbeat: settings.heartbeat,
            gpus,
            pool: app.pool.clone(),
            activity: app.activity.clone(),
            access: app.access.clone(),
            agent: settings.agent.then(|| agent_of(&settings)),
        };
        if settings.sync_models && !settings.agent {
            tokio::spawn(synced(&settings, &app).run());
        }
        let started = register::start(reporter, stopped);
        reporting = Some(started.map_err(|error| RunError::System { what: "no thread for heartbeats", error })?);
    }
    // Heard from here on, so that a second one is not lost while the first is acted on.
    let mut signals = Signals::listen().map_err(|error| RunError::System { what: "signals can't be waited for", error })?;
    end(gone, &mut signals).await;
    tracing::info!("ending: no new requests are taken");
    stop.send_replace(true);
    tokio::spawn(end_at_once(signals));
    let _ = server.await;
    if let Some(thread) = reporting {
        // It says goodbye; where it is held up by a vendor's tool, nobody waits for that.
        let _ = tokio::time::timeout(GOODBYE, tokio::task::spawn_blocking(move || thread.join())).await;
    }
    app.pool.close(CLOSE).await;
    tracing::info!("llm-node ends");
    Ok(())
}

fn agent_of(settings: &NodeSettings) -> Agent {
    Agent { name: settings.agent_name.clone(), endpoint: settings.agent_endpoint.clone(), models: settings.agent_models.clone() }
}

/// What brings the router's models here.
fn synced(settings: &NodeSettings, app: &App) -> Sync {
    // The router and other nodes are on our own network: no proxy stands between.
    let client = Client::new(net::Settings::default());
    Sync {
        router_url: settings.router_url.clone(),
        every: settings.heartbeat,
        access: app.access.clone(),
        pool: app.pool.clone(),
        puller: fetch::puller(settings, client.clone()),
        hub: fetch::hub(settings, client.clone()),
        client,
    }
}

/// How models are loaded and kept, by the settings.
pub fn pool_options(settings: &NodeSettings, hang: Duration, host: Arc<Host>) -> Options {
    Options {
        slots: settings.slots,
        context: settings.context,
        kv_cells: settings.kv_cells,
        threads: machine::threads(settings.threads),
        idle_timeout: settings.idle_timeout,
        loaded_max: settings.max_loaded_models,
        memory_bytes_max: settings.max_memory_bytes,
        meter: host,
        min_residency: settings.min_residency,
        hang,
    }
}

fn app(settings: &NodeSettings, environment: &Environment, logs: Arc<Logs>, modes: Modes, host: Arc<Host>) -> Result<Arc<App>, RunError> {
    let library = Arc::new(Library::new(&settings.models_dir));
    let options = pool_options(settings, modes.hang, host);
    let workers = if modes.is_scripted {
        Processes::scripted(environment).map_err(|error| RunError::System { what: "this program can't be found", error })?
    } else {
        Processes::new(settings.worker.as_deref(), environment)
    };
    tracing::info!(worker = %workers.program().display(), threads = options.threads, "workers");
    let pool = Pool::new(library, workers, options);
    let mut app =
        App::new(pool, logs, if settings.agent && !settings.standalone { Access::of_agent() } else { Access::new(settings.standalone) });
    app.default_embedding_model.clone_from(&settings.default_embedding_model);
    app.debug_paths = settings.debug_paths;
    app.load_patience = settings.load_patience;
    Ok(Arc::new(app))
}

/// Resolves when the node is told to end.
async fn end(gone: Option<oneshot::Receiver<()>>, signals: &mut Signals) {
    let gone = async {
        match gone {
            Some(gone) => {
                let _ = gone.await;
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = signals.next() => {}
        () = gone => {}
    }
}

/// A second signal does not wait.
async fn end_at_once(mut signals: Signals) {
    signals.next().await;
    std::process::exit(130);
}

/// What the system asks a program to end with.
#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What the system asks a program to end with.
#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn listen() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}
