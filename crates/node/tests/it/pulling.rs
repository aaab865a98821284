//! Models of the router that come to a node: through cuts, kills and lies, from whoever has them.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use models::{Manifest, Piece, ticket};
use net::download::hashes;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::node::{PLAIN, eventually, free_port, program};

const CHUNK: u64 = 128 << 10;
const SIZE: usize = 4 << 20;

/// A model file of [`SIZE`] bytes whose bytes are all unlike.
fn file() -> Vec<u8> {
    let mut bytes = crate::gguf::file(PLAIN);
    let mut state = 7u64;
    bytes.resize_with(SIZE, || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    bytes
}

/// A router with one model, `tiny`, of which it may give only a part.
#[derive(Clone)]
struct Router(Arc<Shelf>);

struct Shelf {
    port: u16,
    data: Vec<u8>,
    manifest: Manifest,
    /// What it says of the model besides.
    more: Mutex<Value>,
    mode: Mutex<Mode>,
    sent: Mutex<usize>,
    asked: Mutex<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Whole,
    /// Nothing comes beyond so many bytes, and nothing ends.
    Until(usize),
    Status(u16),
    /// The first answer has a wrong byte.
    Lie,
}

impl Router {
    fn start(mode: Mode) -> Self {
        let data = file();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), &data).unwrap();
        let piece = Piece { file: "model.gguf".to_owned(), hashes: hashes(&dir.path().join("f"), CHUNK).unwrap() };
        let manifest = Manifest { name: "tiny".to_owned(), files: vec![piece], ..Manifest::default() };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shelf = Shelf {
            port: listener.local_addr().unwrap().port(),
            data,
            manifest,
            more: Mutex::new(json!({})),
            mode: Mutex::new(mode),
            sent: Mutex::default(),
            asked: Mutex::default(),
        };
        let router = Self(Arc::new(shelf));
        let shared = router.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                thread::spawn(move || shared.serve(stream));
            }
        });
        router
    }

    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut out = stream.try_clone().ok()?;
        let mut reader = BufReader::new(stream);
        loop {
            let (mut line, mut head) = (String::new(), Vec::new());
            while reader.read_line(&mut line).ok()? > 2 {
                head.push(std::mem::take(&mut line).trim().to_lowercase());
            }
            let path = head.first()?.split(' ').nth(1)?.to_owned();
            let value = |name: &str| head.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            let mut body = vec![0; value("content-length").map_or(0, |n| n.parse().unwrap())];
            std::io::Read::read_exact(&mut reader, &mut body).ok()?;
            if path.contains("models") {
                assert_eq!(value("x-node-token"), Some("nt_1"), "{path}");
            }
            self.0.asked.lock().unwrap().push(path.clone());
            if path.starts_with("/api/models/blob/tiny?") {
                let (from, to) = value("range")?.strip_prefix("bytes=")?.split_once('-')?;
                self.blob(&mut out, from.parse().ok()?, to.parse::<usize>().ok()? + 1)?;
                continue;
            }
            let said = match path.as_str() {
                "/api/nodes" => {
                    json!({"node_id": "n", "status": "registered", "node_api_port": 1, "node_token": "nt_1", "router_secret": "s"})
                }
                "/v1/models" => {
                    let mut model = json!({"id": "tiny", "sha256": self.0.manifest.sha256(), "download_url": "/api/models/blob/tiny", "manifest_url": "/api/models/blob/tiny/manifest"});
                    model.as_object_mut().unwrap().extend(self.0.more.lock().unwrap().as_object().unwrap().clone());
                    json!({"data": [{"id": 7}, model]})
                }
                "/api/models/blob/tiny/manifest" => serde_json::to_value(&self.0.manifest).unwrap(),
                _ => Value::Null,
            };
            let said = said.to_string();
            write!(out, "HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n{said}", said.len()).ok()?;
        }
    }

    fn blob(&self, out: &mut TcpStream, from: usize, to: usize) -> Option<()> {
        let mode = *self.0.mode.lock().unwrap();
        if let Mode::Status(status) = mode {
            write!(out, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").ok()?;
            return Some(());
        }
        write!(out, "HTTP/1.1 206 X\r\ncontent-length: {}\r\ncontent-range: bytes {from}-{}/{SIZE}\r\n\r\n", to - from, to - 1).ok()?;
        let mut data = self.0.data[from..to].to_vec();
        if mode == Mode::Lie {
            data[0] ^= 1;
            *self.0.mode.lock().unwrap() = Mode::Whole;
        }
        for piece in data.chunks(16 << 10) {
            let sent = {
                let mut sent = self.0.sent.lock().unwrap();
                *sent += piece.len();
                *sent
            };
            out.write_all(piece).ok()?;
            while matches!(*self.0.mode.lock().unwrap(), Mode::Until(most) if sent >= most) {
                thread::sleep(Duration::from_millis(5));
            }
        }
        Some(())
    }

    fn sent(&self) -> usize {
        *self.0.sent.lock().unwrap()
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
        command.env("LLM_ROUTER_URL", format!("http://127.0.0.1:{}", router.0.port)).env("LLM_NODE_HEARTBEAT_SECS", "1");
        command.env("LLM_DL_CONCURRENCY", "2").env("LLM_NODE_DISK_RESERVE", "1KiB").env("LLM_DL_BACKOFF_MS", "1");
        Self { child: command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap(), port }
    }

    /// The model as the node lists it, as soon as it does.
    fn has_tiny(&self) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        write!(stream, "GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
        let mut said = String::new();
        std::io::Read::read_to_string(&mut stream, &mut said).ok()?;
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
    let (dir, router) = (tempfile::tempdir().unwrap(), Router::start(Mode::Until(SIZE * 3 / 4)));
    let node = Node::start(&dir, &router);
    eventually("three quarters are sent", || (router.sent() >= SIZE * 3 / 4).then_some(()));
    assert_eq!(node.has_tiny(), None);
    drop(node);
    *router.0.mode.lock().unwrap() = Mode::Whole;
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
    *router.0.mode.lock().unwrap() = Mode::Status(404);
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600;
    let url = |ticket: &str| format!("http://127.0.0.1:{}/api/models/blob/tiny?expires={expires}&ticket={ticket}", first.port);
    let good = url(&ticket::sign("s", "tiny", expires));
    *router.0.more.lock().unwrap() = json!({"peers": [url("00"), good]});
    let other = tempfile::tempdir().unwrap();
    let second = Node::start(&other, &router);
    comes_whole(&other, &router, &second);
    assert_eq!(router.sent(), sent);
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
    command.args(["serve", "--scripted", "--port", "0"]).env("LLM_ROUTER_URL", format!("http://127.0.0.1:{}", router.0.port));
    command.env("LLM_NODE_HEARTBEAT_SECS", "1").env("LLM_NODE_DISK_RESERVE", "1000000GiB").stdin(Stdio::null()).stdout(Stdio::null());
    let node = Node { child: command.spawn().unwrap(), port: 0 };
    let log = dir.path().join("logs/node.log");
    eventually("it says so", || fs::read_to_string(&log).ok()?.contains("the disk has no room for it").then_some(()));
    assert_eq!(router.sent(), 0);
    drop(node);
}
