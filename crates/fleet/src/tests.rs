//! The fleet as a whole, over a real store and real sockets, with a clock that tests move.

mod administering;
mod agents;
mod beating;
mod endpoints;
mod joining;
mod picking;
mod queueing;
mod tethers;
mod tokens;
mod vigils;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
};

use store::Store;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use wire::fleet::node::{GpuDevice, Heartbeat, Registered, Registration};

use crate::{AgentRegistration, Fleet, FleetSettings, NodeView, Origin};

/// As many candidates as there are.
const ALL: usize = usize::MAX;
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A registration from this machine.
fn here() -> Origin<'static> {
    from(LOOPBACK)
}

fn from(addr: IpAddr) -> Origin<'static> {
    Origin { addr, forwarded: false, trusted: false, join_token: None, keyed: false }
}

struct World {
    home: TempDir,
    fleet: Arc<Fleet>,
}

impl World {
    async fn with(settings: FleetSettings) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let fleet = open(&home, settings).await;
        Self { home, fleet }
    }

    async fn new() -> Self {
        Self::with(FleetSettings::default()).await
    }

    /// The router ends and starts again on the same data.
    async fn restart(&mut self) {
        self.fleet.save().await;
        self.fleet = open(&self.home, FleetSettings::clone(&self.fleet.settings())).await;
    }

    /// A registered node with these models in memory, online.
    async fn node(&self, name: &str, models: &[&str]) -> Node {
        let server = Server::start(&list_of(models)).await;
        let (registered, _) = self.fleet.register(server.registration(name), here()).await.expect("it may join");
        let node = Node { server, registered, models: models.iter().map(ToString::to_string).collect() };
        self.beat(&node, |_| {});
        node
    }

    fn beat(&self, node: &Node, change: impl FnOnce(&mut Heartbeat)) {
        let mut beat = node.heartbeat();
        change(&mut beat);
        self.fleet.heartbeat(Some(&node.registered.node_token), beat).expect("its own token");
    }

    fn seen(&self, node: &Node) -> NodeView {
        self.fleet.get(&node.registered.node_id).expect("it is registered")
    }

    /// Counts a request for a node's first model in, whatever the balancer thinks of it.
    fn begin(&self, node: &Node) -> Option<crate::InFlight> {
        let view = self.fleet.view();
        let peer = view.peer(&node.registered.node_id).expect("it is registered");
        peer.live.begin(&peer.live.known_instance(&node.models[0]).expect("it has it"), crate::live::Pass::Nothing)
    }

    /// Names in the order of asking.
    fn order(&self, model: &str) -> Vec<String> {
        self.fleet.view().candidates(model, ALL).iter().map(|c| c.peer.name.to_string()).collect()
    }

    /// Asks `n` times, one after the other, and says who answered.
    fn ask(&self, model: &str, n: usize) -> Vec<String> {
        let ask = || {
            let first = self.fleet.view().candidates(model, ALL).into_iter().next().expect("somebody is there");
            first.begin().expect("it is well").end(crate::End::Success);
            first.peer.name.to_string()
        };
        (0..n).map(|_| ask()).collect()
    }
}

async fn open(home: &TempDir, settings: FleetSettings) -> Arc<Fleet> {
    let store = Store::open("", home.path()).await.expect("a database");
    Fleet::open(store, net::Client::new(net::Settings::default()), settings).await.expect("a fleet")
}

struct Node {
    server: Server,
    registered: Registered,
    models: Vec<String>,
}

impl Node {
    fn heartbeat(&self) -> Heartbeat {
        let n = u32::try_from(self.models.len()).expect("few");
        Heartbeat {
            node_id: self.registered.node_id.clone(),
            cpu_usage: 10.0,
            memory_usage: 10.0,
            loaded_models: self.models.clone(),
            ready_models: Some((n, n)),
            ..Heartbeat::default()
        }
    }
}

/// Answers every request with the same page, and remembers what was asked.
struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(body: &str) -> Self {
        Self::answering(&format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await
    }

    async fn answering(answer: &str) -> Self {
        let answer = answer.to_owned();
        Self::saying(move |_| answer.clone()).await
    }

    /// Each request's head gets the answer that `say` has for it.
    async fn saying(say: impl Fn(&str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                    match socket.read_buf(&mut head).await {
                        Ok(n) if n > 0 => {}
                        _ => break,
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let answer = say(&head);
                heard.lock().expect("no panic").push(head);
                // The other side may have gone meanwhile.
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        Self { port, asked, task }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }

    /// Nobody listens there any more when this returns.
    async fn stop(self) -> u16 {
        self.task.abort();
        // Aborted is what it should be.
        let _ = self.task.await;
        self.port
    }

    fn registration(&self, name: &str) -> Registration {
        registration(name, self.port)
    }
}

/// As a node with one good GPU sends it; `api_port` is where it listens.
fn registration(name: &str, api_port: u16) -> Registration {
    Registration {
        machine_name: name.to_owned(),
        ip_address: "127.0.0.1".to_owned(),
        runtime_version: "0.1.42".to_owned(),
        runtime_port: api_port - 1,
        gpu_available: true,
        gpu_devices: vec![GpuDevice { model: "NVIDIA RTX".to_owned(), count: 1, memory: None }],
        gpu_count: Some(1),
        ..Registration::default()
    }
}

/// As an agent sends it.
fn agent(name: &str, endpoint: &str, models: &[&str]) -> AgentRegistration {
    let models = models.iter().map(ToString::to_string).collect();
    AgentRegistration { name: name.to_owned(), endpoint: endpoint.to_owned(), models, tether: false }
}

fn list_of(models: &[&str]) -> String {
    let data: Vec<_> = models.iter().map(|id| serde_json::json!({"id": id, "object": "model"})).collect();
    serde_json::json!({"object": "list", "data": data}).to_string()
}
