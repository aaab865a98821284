//! Models that the router keeps: from a hub that fails, cuts and sends elsewhere.

use std::{
    io,
    net::TcpStream,
    sync::{Arc, Mutex},
};

use http::Method;
use net::download::sha256;
use serde_json::{Value, json};
use testkit::{
    Gguf,
    files::{self, Tap, listen, say},
};

use crate::router::{KEY, MASTER, Router, Setup, eventually};

const REPO: &str = "someone/Tiny-GGUF";
const TOKEN: &str = "hf_a_secret_of_the_hub";

/// A GGUF file with a chat template, and noise behind it.
fn gguf(size: usize) -> Vec<u8> {
    Gguf::with_template("{{ messages }}").padded(size)
}

/// Path and `Authorization` of a request.
type Asked = (String, Option<String>);
/// A file's path and bytes.
type File = (String, Vec<u8>);

/// A hub with one repository, which behaves as it is told.
struct Hub {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    files: Mutex<Vec<File>>,
    how: Mutex<How>,
    asked: Mutex<Vec<Asked>>,
    tap: Tap,
}

#[derive(Clone, Default)]
struct How {
    /// Answered instead of a file, so many times.
    status: Option<(u16, u32)>,
    /// Files are elsewhere.
    elsewhere: Option<u16>,
}

impl std::ops::Deref for Hub {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Hub {
    fn start(files: &[(&str, Vec<u8>)]) -> Self {
        let files = files.iter().map(|(path, data)| ((*path).to_owned(), data.clone())).collect();
        let shared = Arc::new(Shared { files: Mutex::new(files), ..Shared::default() });
        let answering = shared.clone();
        Self { port: listen(move |asked, out| answering.answer(asked, out)), shared }
    }
}

impl Shared {
    fn answer(&self, asked: &files::Asked, out: &mut TcpStream) -> io::Result<()> {
        self.asked.lock().unwrap().push((asked.path.clone(), asked.header("authorization").map(str::to_owned)));
        let how = self.how.lock().unwrap().clone();
        let files = self.files.lock().unwrap().clone();
        if asked.path.starts_with("/api/") {
            let sibling =
                |(path, data): &File| json!({"rfilename": path, "size": data.len(), "lfs": {"sha256": sha256(data), "size": data.len()}});
            let siblings: Vec<Value> = files.iter().map(sibling).collect();
            return say(out, 200, &[], &json!({"id": REPO, "sha": "c0ffee", "tags": ["gguf"], "siblings": siblings}).to_string());
        }
        if let Some((status, left)) = how.status.filter(|(_, left)| *left > 0) {
            self.how.lock().unwrap().status = Some((status, left - 1));
            return say(out, status, &[("retry-after", "0")], "");
        }
        if let Some(port) = how.elsewhere {
            return say(out, 302, &[("location", &format!("http://127.0.0.1:{port}{}", asked.path))], "");
        }
        let found = files.iter().find(|(name, _)| asked.path.ends_with(name.as_str())).zip(asked.range());
        let ((_, data), (from, to)) = found.ok_or(io::ErrorKind::NotFound)?;
        self.tap.give(out, &data[from..to], from, data.len())
    }
}

impl Hub {
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
    hub.tap.stop_after(Some(data.len() * 3 / 4));
    let router = hub.setup().start();
    assert_eq!(register(&router, json!({"repo": REPO})).await.0, 201);
    eventually("three quarters are sent", || async { (hub.tap.sent() >= data.len() * 3 / 4).then_some(()) }).await;
    let model = registered(&router, "tiny").await.unwrap();
    assert_eq!((&model["status"], &model["ready"]), (&json!("downloading"), &json!(false)));
    let setup = hub.setup().in_home_of(&router);
    router.signal("KILL");
    drop(router);
    hub.tap.stop_after(None);
    let router = setup.start();
    in_state(&router, "tiny", "ready").await;
    let sent = hub.tap.sent();
    assert!(sent <= data.len() * 11 / 10, "{sent} of {} bytes were sent", data.len());
    assert_eq!(std::fs::read(router.data_dir().join("models/tiny/model.gguf")).unwrap(), data);
    assert_eq!(hub.downloads().iter().filter(|shown| shown.as_deref() == Some(&format!("Bearer {TOKEN}"))).count(), hub.downloads().len());
}

#[tokio::test]
async fn a_hub_that_is_busy_is_waited_for_and_the_token_stays_with_it() {
    let data = gguf(1 << 20);
    let store = Hub::start(&[("tiny.Q4_0.gguf", data.clone())]);
    let hub = Hub::start(&[("tiny.Q4_0.gguf", data)]);
    *hub.how.lock().unwrap() = How { status: Some((429, 3)), elsewhere: Some(store.port) };
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
    hub.tap.stop_after(Some(500_000));
    let router = hub.setup().start();
    assert_eq!(register(&router, json!({"repo": REPO})).await.0, 201);
    eventually("some of it is there", || async { (hub.tap.sent() >= 500_000).then_some(()) }).await;
    assert_eq!(router.ask(Method::DELETE, "/api/models/tiny").key(MASTER).send().await.status, 204);
    assert_eq!(registered(&router, "tiny").await, None);
    assert!(!router.data_dir().join("models/.partial/tiny").exists());
    hub.tap.stop_after(None);
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

/// An executable script.
#[cfg(unix)]
fn script(router_home: &std::path::Path, name: &str, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = router_home.join(name);
    std::fs::write(&path, format!("#!/bin/sh\nset -e\n{text}")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[cfg(unix)]
#[tokio::test]
async fn a_conversion_to_few_bits_is_the_converter_s_work_and_then_the_quantizer_s() {
    let home = tempfile::tempdir().unwrap();
    let [large, small] = [4000, 1000].map(|size| {
        let path = home.path().join(format!("{size}.gguf"));
        std::fs::write(&path, gguf(size)).unwrap();
        path.to_str().unwrap().to_owned()
    });
    // Called with: the source, --outfile, the file, --outtype, the type.
    let converter = script(home.path(), "convert", &format!("test \"$5\" = auto\ncp {large} \"$3\"\n"));
    // Called with: --threads, their number, --quantize, the kind, from, to.
    let quantizer = script(home.path(), "quantize", &format!("test \"$3$4\" = --quantizeq4_k_m\ncmp {large} \"$5\"\ncp {small} \"$6\"\n"));
    let hub = Hub::start(&[("model.safetensors", b"weights".to_vec()), ("config.json", b"{}".to_vec())]);
    let setup =
        || hub.setup().env("LLM_CONVERT_PYTHON", "/bin/sh").env("LLM_CONVERT_SCRIPT", &converter).env("LLM_CONVERT_SKIP_VENV", "true");
    let wanted = json!({"repo": REPO, "quantization": "Q4_K_M"});
    let router = setup().env("LLM_CONVERT_QUANTIZER", &quantizer).start();
    let answer = router.post("/api/models/convert", &wanted).key(MASTER).send().await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let path = format!("/api/models/convert/{}", answer.json()["task_id"].as_str().unwrap());
    let task = eventually("it is over", || async {
        let task = router.get(&path).key(MASTER).send().await.json();
        (task["status"] == "completed" || task["status"] == "failed").then_some(task)
    })
    .await;
    assert_eq!((&task["status"], &task["error"]), (&json!("completed"), &Value::Null), "{task}");
    assert_eq!(std::fs::read(task["path"].as_str().unwrap()).unwrap(), gguf(1000));
    let unknown = router.post("/api/models/convert", &json!({"repo": REPO, "quantization": "q9"})).key(MASTER).send().await;
    assert_eq!(unknown.status, 400);
    assert!(unknown.text().contains("q8_0") && unknown.text().contains("q4_k_m"), "{}", unknown.text());
    let without = setup().env("LLM_CONVERT_QUANTIZER", "/nowhere/llm-node-worker").start();
    let answer = without.post("/api/models/convert", &wanted).key(MASTER).send().await;
    assert_eq!((answer.status, answer.code().as_str()), (501, "unsupported"), "{}", answer.text());
    assert!(answer.text().contains("LLM_CONVERT_QUANTIZER"), "{}", answer.text());
}
