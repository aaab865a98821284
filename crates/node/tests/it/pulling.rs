//! Models of the router that come to a node: through cuts, kills and lies, from whoever has them.

use std::{
    fs,
    io::{self, Write},
    net::TcpStream,
    process::{Child, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use models::{Manifest, Piece, ticket};
use net::download::hashes;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{
    Gguf,
    files::{Asked, Tap, listen, say},
};

use crate::node::{PLAIN, eventually, free_port, program};

const CHUNK: u64 = 128 << 10;
const SIZE: usize = 4 << 20;

/// A model file of [`SIZE`] bytes whose bytes are all unlike.
fn file() -> Vec<u8> {
    Gguf::with_template(PLAIN).padded(SIZE)
}

/// A router with one model, `tiny`, of which it may give only a part.
#[derive(Clone)]
struct Router(Arc<Shelf>);

struct Shelf {
    port: OnceLock<u16>,
    data: Vec<u8>,
    manifest: Manifest,
    /// What it says of the model besides.
    more: Mutex<Value>,
    /// What it says of all models that it keeps.
    registry: Mutex<Value>,
    mode: Mutex<Mode>,
    tap: Tap,
    /// How often it was asked for its models.
    looks: AtomicUsize,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Whole,
    Status(u16),
    /// The first answer has a wrong byte.
    Lie,
    /// The model is not listed.
    Gone,
}

impl Router {
    fn start(mode: Mode) -> Self {
        let data = file();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), &data).unwrap();
        let piece = Piece { file: "model.gguf".to_owned(), hashes: hashes(&dir.path().join("f"), CHUNK).unwrap() };
        let manifest = Manifest { name: "tiny".to_owned(), files: vec![piece], ..Manifest::default() };
        let shelf = Shelf {
            port: OnceLock::new(),
            data,
            manifest,
            more: Mutex::new(json!({})),
            registry: Mutex::default(),
            mode: Mutex::new(mode),
            tap: Tap::default(),
            looks: AtomicUsize::new(0),
        };
        let router = Self(Arc::new(shelf));
        let shared = router.clone();
        router.0.port.set(listen(move |asked, out| shared.answer(asked, out))).unwrap();
        router
    }

    fn port(&self) -> u16 {
        *self.0.port.get().unwrap()
    }

    fn set(&self, mode: Mode) {
        *self.0.mode.lock().unwrap() = mode;
    }

    fn answer(&self, asked: &Asked, out: &mut TcpStream) -> io::Result<()> {
        let path = asked.path.as_str();
        if path.contains("models") {
            assert_eq!(asked.header("x-node-token"), Some("nt_1"), "{path}");
        }
        if path.starts_with("/api/models/blob/tiny?") {
            let (from, to) = asked.range().ok_or(io::ErrorKind::InvalidInput)?;
            return self.blob(out, from, to);
        }
        let said = match path {
            "/api/nodes" => {
                json!({"node_id": "n", "status": "registered", "node_api_port": 1, "node_token": "nt_1", "router_secret": "s"})
            }
            "/v1/models" => {
                self.0.looks.fetch_add(1, Ordering::Relaxed);
                let mut model = json!({"id": "tiny", "sha256": self.0.manifest.sha256(), "download_url": "/api/models/blob/tiny", "manifest_url": "/api/models/blob/tiny/manifest"});
                model.as_object_mut().unwrap().extend(self.0.more.lock().unwrap().as_object().unwrap().clone());
                let models =
                    if *self.0.mode.lock().unwrap() == Mode::Gone { vec![json!({"id": 7})] } else { vec![json!({"id": 7}), model] };
                json!({"data": models, "registry": *self.0.registry.lock().unwrap()})
            }
            "/api/models/blob/tiny/manifest" => serde_json::to_value(&self.0.manifest).unwrap(),
            _ => Value::Null,
        };
        say(out, 200, &[], &said.to_string())
    }

    fn blob(&self, out: &mut TcpStream, from: usize, to: usize) -> io::Result<()> {
        let mode = *self.0.mode.lock().unwrap();
        if let Mode::Status(status) = mode {
            return say(out, status, &[], "");
        }
        let mut data = self.0.data[from..to].to_vec();
        // Taken and changed at once: pieces are fetched side by side.
        let mut mode = self.0.mode.lock().unwrap();
        if *mode == Mode::Lie {
            data[0] ^= 1;
            *mode = Mode::Whole;
        }
        drop(mode);
        self.0.tap.give(out, &data, from, SIZE)
    }

    fn sent(&self) -> usize {
        self.0.tap.sent()
    }
}

struct Node {
    child: Child,
    port: u16,
}

impl Node {
    fn start(dir: &TempDir, router: &Router) -> Self {
        let port = free_port();
        let mut command = program(dir);
        command.args(["serve", "--scripted", "--port", &port.to_string()]);
        command.env("LLM_ROUTER_URL", format!("http://127.0.0.1:{}", router.port())).env("LLM_NODE_HEARTBEAT_SECS", "1");
        command.env("LLM_DL_CONCURRENCY", "2").env("LLM_NODE_DISK_RESERVE", "1KiB").env("LLM_DL_BACKOFF_MS", "1");
        Self { child: command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap(), port }
    }

    /// The model as the node lists it, as soon as it does.
    fn has_tiny(&self) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        write!(stream, "GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
        let mut said = String::new();
        io::Read::read_to_string(&mut stream, &mut said).ok()?;
        let list: Value = serde_json::from_str(&said[said.find("\r\n\r\n")? + 4..]).ok()?;
        list["data"].as_array()?.iter().find(|model| model["id"] == "tiny").cloned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn comes_whole(dir: &TempDir, router: &Router, node: &Node) {
    eventually("the model is there", || node.has_tiny());
    assert_eq!(fs::read(dir.path().join("models/tiny/model.gguf")).unwrap(), router.0.data);
    let left: Vec<_> = fs::read_dir(dir.path().join("models/.partial")).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_node_that_is_killed_goes_on_where_it_was() {
    let (dir, router) = (tempfile::tempdir().unwrap(), Router::start(Mode::Whole));
    router.0.tap.stop_after(Some(SIZE * 3 / 4));
    let node = Node::start(&dir, &router);
    eventually("three quarters are sent", || (router.sent() >= SIZE * 3 / 4).then_some(()));
    assert_eq!(node.has_tiny(), None);
    drop(node);
    router.0.tap.stop_after(None);
    let node = Node::start(&dir, &router);
    comes_whole(&dir, &router, &node);
    assert!(router.sent() <= SIZE * 11 / 10, "{} of {SIZE} bytes were sent", router.sent());
}

#[test]
fn a_damaged_chunk_is_fetched_again_and_nothing_else() {
    let (dir, router) = (tempfile::tempdir().unwrap(), Router::start(Mode::Lie));
    let node = Node::start(&dir, &router);
    comes_whole(&dir, &router, &node);
    assert_eq!(router.sent(), SIZE + CHUNK as usize);
}

#[test]
fn another_node_gives_what_the_router_does_not() {
    let (dir, router) = (tempfile::tempdir().unwrap(), Router::start(Mode::Whole));
    let first = Node::start(&dir, &router);
    comes_whole(&dir, &router, &first);
    let sent = router.sent();
    router.set(Mode::Status(404));
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600;
    let url = |ticket: &str| format!("http://127.0.0.1:{}/api/models/blob/tiny?expires={expires}&ticket={ticket}", first.port);
    let good = url(&ticket::sign("s", "tiny", expires));
    *router.0.more.lock().unwrap() = json!({"peers": [url("00"), good]});
    let other = tempfile::tempdir().unwrap();
    let second = Node::start(&other, &router);
    comes_whole(&other, &router, &second);
    assert_eq!(router.sent(), sent);
}

#[test]
fn what_the_router_has_deleted_goes_and_nothing_else_does() {
    let (dir, router) = (tempfile::tempdir().unwrap(), Router::start(Mode::Whole));
    *router.0.registry.lock().unwrap() = json!({"id": "r1", "known": ["tiny"]});
    let models = dir.path().join("models");
    fs::create_dir_all(models.join("pulled")).unwrap();
    fs::write(models.join("own.gguf"), Gguf::with_template(PLAIN).build()).unwrap();
    fs::write(models.join("pulled/model.gguf"), &router.0.data).unwrap();
    Manifest { name: "pulled".to_owned(), ..router.0.manifest.clone() }.write(&models.join("pulled")).unwrap();
    let node = Node::start(&dir, &router);
    comes_whole(&dir, &router, &node);
    let log = dir.path().join("logs/node.log");
    let has_said = |what: &str| fs::read_to_string(&log).is_ok_and(|text| text.contains(what));
    let looks = || router.0.looks.load(Ordering::Relaxed);
    // A model that is only not ready, one of another router, and a router that says nothing: the copy stays.
    router.set(Mode::Gone);
    for registry in [json!({"id": "r1", "known": ["tiny"]}), json!({"id": "r2", "known": []}), Value::Null] {
        *router.0.registry.lock().unwrap() = registry;
        let before = looks();
        eventually("it looks, and looks again", || (looks() >= before + 2).then_some(()));
        assert!(models.join("tiny/model.gguf").exists());
    }
    *router.0.registry.lock().unwrap() = json!({"id": "r1", "known": []});
    eventually("the deleted model goes", || (!models.join("tiny").exists() && node.has_tiny().is_none()).then_some(()));
    eventually("the log says so", || has_said("a model that the router has deleted was removed").then_some(()));
    assert!(models.join("own.gguf").exists() && models.join("pulled/model.gguf").exists());
    *router.0.registry.lock().unwrap() = json!({"id": "r1", "known": ["tiny"]});
    router.set(Mode::Whole);
    comes_whole(&dir, &router, &node);
}

#[cfg(unix)]
#[test]
fn a_shared_disk_is_used_where_it_is_the_same_file() {
    let (dir, router, shared) = (tempfile::tempdir().unwrap(), Router::start(Mode::Whole), tempfile::tempdir().unwrap());
    let path = shared.path().join("model.gguf");
    fs::write(&path, &router.0.data).unwrap();
    *router.0.more.lock().unwrap() = json!({"paths": [path]});
    let node = Node::start(&dir, &router);
    eventually("the model is there", || node.has_tiny());
    assert_eq!(fs::canonicalize(dir.path().join("models/tiny/model.gguf")).unwrap(), fs::canonicalize(&path).unwrap());
    assert_eq!(router.sent(), 0);

    let mut other = router.0.data.clone();
    other[SIZE - 1] ^= 1;
    fs::write(&path, other).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&dir, &router);
    comes_whole(&dir, &router, &node);
    assert_eq!(router.sent(), SIZE);
}

#[test]
fn a_full_disk_takes_nothing() {
    let (dir, router) = (tempfile::tempdir().unwrap(), Router::start(Mode::Whole));
    let mut command = program(&dir);
    command.args(["serve", "--scripted", "--port", "0"]).env("LLM_ROUTER_URL", format!("http://127.0.0.1:{}", router.port()));
    command.env("LLM_NODE_HEARTBEAT_SECS", "1").env("LLM_NODE_DISK_RESERVE", "1000000GiB").stdin(Stdio::null()).stdout(Stdio::null());
    let node = Node { child: command.spawn().unwrap(), port: 0 };
    let log = dir.path().join("logs/node.log");
    eventually("it says so", || fs::read_to_string(&log).ok()?.contains("the disk has no room for it").then_some(()));
    assert_eq!(router.sent(), 0);
    drop(node);
}
