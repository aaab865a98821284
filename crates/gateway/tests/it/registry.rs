//! Models that the router keeps: from a hub that fails, cuts and sends elsewhere.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use http::Method;
use net::download::sha256;
use serde_json::{Value, json};

use crate::router::{KEY, MASTER, Router, Setup, eventually};

const REPO: &str = "someone/Tiny-GGUF";
const TOKEN: &str = "hf_a_secret_of_the_hub";

/// A GGUF file with a chat template, and noise behind it.
fn gguf(size: usize) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let pair = |key: &str, value: &str| [text(key), 8u32.to_le_bytes().to_vec(), text(value)].concat();
    let pairs = [pair("general.architecture", "llama"), pair("tokenizer.chat_template", "{{ messages }}")].concat();
    let mut bytes = [b"GGUF".as_slice(), &3u32.to_le_bytes(), &0u64.to_le_bytes(), &2u64.to_le_bytes(), &pairs].concat();
    let mut state = 3u64;
    bytes.resize_with(size.max(bytes.len()), || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    bytes
}

/// Path and `Authorization` of a request.
type Asked = (String, Option<String>);
/// A file's path and bytes.
type File = (String, Vec<u8>);

/// A hub with one repository, which behaves as it is told.
#[derive(Clone, Default)]
struct Hub {
    port: u16,
    files: Arc<Mutex<Vec<File>>>,
    how: Arc<Mutex<How>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    sent: Arc<Mutex<usize>>,
}

#[derive(Clone, Default)]
struct How {
    /// Answered instead of a file, so many times.
    status: Option<(u16, u32)>,
    /// Files are elsewhere.
    elsewhere: Option<u16>,
    /// Nothing comes beyond so many bytes, and nothing ends.
    until: Option<usize>,
}

impl Hub {
    fn start(files: &[(&str, Vec<u8>)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let files = files.iter().map(|(path, data)| ((*path).to_owned(), data.clone())).collect();
        let hub = Self { port: listener.local_addr().unwrap().port(), files: Arc::new(Mutex::new(files)), ..Self::default() };
        let shared = hub.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                thread::spawn(move || shared.serve(stream));
            }
        });
        hub
    }

    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut out = stream.try_clone().ok()?;
        let mut reader = BufReader::new(stream);
        loop {
            let (mut line, mut head) = (String::new(), Vec::new());
            while reader.read_line(&mut line).ok()? > 2 {
                head.push(std::mem::take(&mut line).trim().to_owned());
            }
            let path = head.first()?.split(' ').nth(1)?.to_owned();
            let value = |name: &str| {
                head.iter().find_map(|line| line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_owned()))
            };
            self.asked.lock().unwrap().push((path.clone(), value("authorization")));
            let how = self.how.lock().unwrap().clone();
            if path.starts_with("/api/") {
                let files = self.files.lock().unwrap().clone();
                let siblings: Vec<Value> = files
                    .iter()
                    .map(|(path, data)| json!({"rfilename": path, "size": data.len(), "lfs": {"sha256": sha256(data), "size": data.len()}}))
                    .collect();
                let said = json!({"id": REPO, "sha": "c0ffee", "tags": ["gguf"], "siblings": siblings}).to_string();
                write!(out, "HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n{said}", said.len()).ok()?;
                continue;
            }
            if let Some((status, left)) = how.status.filter(|(_, left)| *left > 0) {
                self.how.lock().unwrap().status = Some((status, left - 1));
                write!(out, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nretry-after: 0\r\n\r\n").ok()?;
                continue;
            }
            if let Some(port) = how.elsewhere {
                write!(out, "HTTP/1.1 302 X\r\ncontent-length: 0\r\nlocation: http://127.0.0.1:{port}{path}\r\n\r\n").ok()?;
                continue;
            }
            let data = self.files.lock().unwrap().iter().find(|(name, _)| path.ends_with(name.as_str()))?.1.clone();
            let range = value("range")?;
            let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
            let (from, to) = (from.parse::<usize>().ok()?, to.parse::<usize>().ok()? + 1);
            write!(out, "HTTP/1.1 206 X\r\ncontent-length: {}\r\ncontent-range: bytes {from}-{}/{}\r\n\r\n", to - from, to - 1, data.len())
                .ok()?;
            for piece in data[from..to].chunks(16 << 10) {
                let sent = {
                    let mut sent = self.sent.lock().unwrap();
                    *sent += piece.len();
                    *sent
                };
                out.write_all(piece).ok()?;
                while self.how.lock().unwrap().until.is_some_and(|most| sent >= most) {
                    thread::sleep(Duration::from_millis(5));
                }
            }
        }
    }

    fn downloads(&self) -> Vec<Option<String>> {
        self.asked.lock().unwrap().iter().filter(|(path, _)| path.contains("/resolve/")).map(|(_, shown)| shown.clone()).collect()
    }

    fn setup(&self) -> Setup {
        let setup = Setup::new().env("HF_BASE_URL", &format!("http://127.0.0.1:{}", self.port)).env("HF_TOKEN", TOKEN);
        setup
            .env("LLM_DL_CHUNK", "128KiB")
            .env("LLM_DL_CONCURRENCY", "2")
            .env("LLM_DL_BACKOFF_MS", "1")
            .env("LLM_ROUTER_DOWNLOADS_DISK_RESERVE", "1KiB")
    }
}

async fn registered(router: &Router, name: &str) -> Option<Value> {
    let all = router.get("/api/models/registered").key(MASTER).send().await.json();
    all.as_array().unwrap().iter().find(|model| model["name"] == name).cloned()
}

async fn in_state(router: &Router, name: &str, status: &str) -> Value {
    eventually(&format!("{name} is {status}"), || async { registered(router, name).await.filter(|model| model["status"] == status) }).await
}

async fn register(router: &Router, body: Value) -> (u16, Value) {
    let answer = router.post("/api/models/register", &body).key(MASTER).send().await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn a_router_that_is_killed_goes_on_with_its_downloads() {
    let data = gguf(4 << 20);
    let hub = Hub::start(&[("tiny.Q4_0.gguf", data.clone())]);
    hub.how.lock().unwrap().until = Some(data.len() * 3 / 4);
    let router = hub.setup().start();
    assert_eq!(register(&router, json!({"repo": REPO})).await.0, 201);
    eventually("three quarters are sent", || async { (*hub.sent.lock().unwrap() >= data.len() * 3 / 4).then_some(()) }).await;
    let model = registered(&router, "tiny").await.unwrap();
    assert_eq!((&model["status"], &model["ready"]), (&json!("downloading"), &json!(false)));
    let setup = hub.setup().in_home_of(&router);
    router.signal("KILL");
    drop(router);
    hub.how.lock().unwrap().until = None;
    let router = setup.start();
    in_state(&router, "tiny", "ready").await;
    let sent = *hub.sent.lock().unwrap();
    assert!(sent <= data.len() * 11 / 10, "{sent} of {} bytes were sent", data.len());
    assert_eq!(std::fs::read(router.data_dir().join("models/tiny/model.gguf")).unwrap(), data);
    assert_eq!(hub.downloads().iter().filter(|shown| shown.as_deref() == Some(&format!("Bearer {TOKEN}"))).count(), hub.downloads().len());
}

#[tokio::test]
async fn a_hub_that_is_busy_is_waited_for_and_the_token_stays_with_it() {
    let data = gguf(1 << 20);
    let store = Hub::start(&[("tiny.Q4_0.gguf", data.clone())]);
    let hub = Hub::start(&[("tiny.Q4_0.gguf", data)]);
    *hub.how.lock().unwrap() = How { status: Some((429, 3)), elsewhere: Some(store.port), until: None };
    let router = hub.setup().start();
    let (status, said) = register(&router, json!({"repo": REPO, "quantization": "q4_0", "display_name": "Tiny"})).await;
    assert_eq!((status, &said["name"]), (201, &json!("tiny")));
    let model = in_state(&router, "tiny", "ready").await;
    assert_eq!((&model["display_name"], &model["quantization"], &model["progress"]), (&json!("Tiny"), &json!("Q4_0"), &json!(1.0)));
    assert!(!store.downloads().is_empty() && store.downloads().iter().all(Option::is_none), "{:?}", store.downloads());
    assert!(!router.said.all().contains(TOKEN));
}

#[tokio::test]
async fn what_can_not_come_says_why_and_can_be_tried_again() {
    let hub = Hub::start(&[("tiny.Q4_0.gguf", gguf(1000)), ("broken.Q4_0.gguf", b"not a model".to_vec())]);
    let router = hub.setup().start();
    assert_eq!(register(&router, json!({"repo": REPO, "filename": "broken.Q4_0.gguf"})).await.0, 201);
    let model = in_state(&router, "broken", "failed").await;
    assert!(model["error"].as_str().unwrap().contains("no GGUF file"), "{model}");
    assert!(!router.data_dir().join("models/broken").exists() && !router.data_dir().join("models/.partial/broken").exists());
    hub.files.lock().unwrap()[1].1 = gguf(2000);
    assert_eq!(register(&router, json!({"repo": REPO, "filename": "broken.Q4_0.gguf"})).await.0, 201);
    in_state(&router, "broken", "ready").await;
    assert_eq!(register(&router, json!({"repo": REPO, "filename": "broken.Q4_0.gguf"})).await.0, 409);
    let full = hub.setup().env("LLM_ROUTER_DOWNLOADS_DISK_RESERVE", "1000000GiB").start();
    assert_eq!(register(&full, json!({"repo": REPO, "filename": "tiny.Q4_0.gguf"})).await.0, 201);
    let model = in_state(&full, "tiny", "failed").await;
    assert!(model["error"].as_str().unwrap().contains("the disk has no room"), "{model}");
}

#[tokio::test]
async fn a_model_that_is_removed_while_it_comes_leaves_nothing() {
    let data = gguf(2 << 20);
    let hub = Hub::start(&[("tiny.Q4_0.gguf", data)]);
    hub.how.lock().unwrap().until = Some(500_000);
    let router = hub.setup().start();
    assert_eq!(register(&router, json!({"repo": REPO})).await.0, 201);
    eventually("some of it is there", || async { (*hub.sent.lock().unwrap() >= 500_000).then_some(()) }).await;
    assert_eq!(router.ask(Method::DELETE, "/api/models/tiny").key(MASTER).send().await.status, 204);
    assert_eq!(registered(&router, "tiny").await, None);
    assert!(!router.data_dir().join("models/.partial/tiny").exists());
    hub.how.lock().unwrap().until = None;
    assert_eq!(register(&router, json!({"repo": REPO})).await.0, 201);
    in_state(&router, "tiny", "ready").await;
}

#[tokio::test]
async fn a_model_that_no_node_has_yet_is_known_and_not_there() {
    let hub = Hub::start(&[("tiny.Q4_0.gguf", gguf(1000))]);
    let router = hub.setup().start();
    assert_eq!(register(&router, json!({"repo": REPO})).await.0, 201);
    in_state(&router, "tiny", "ready").await;
    let answer = eventually("the snapshot knows it", || async {
        let answer = router.chat("tiny", json!({})).key(KEY).send().await;
        (answer.status != 404).then_some(answer)
    });
    assert_eq!(answer.await.status, 503);
    let manifest = router.get("/api/models/blob/tiny/manifest").key(MASTER).send().await.json();
    assert_eq!((&manifest["name"], &manifest["files"][0]["sha256"]), (&json!("tiny"), &json!(sha256(&gguf(1000)))));
    assert_eq!(router.get("/api/models/blob/tiny?part=2").key(MASTER).send().await.status, 404);
    assert_eq!(router.get("/api/models/registered").key(KEY).send().await.status, 403);
}
