//! A node and its router, played by the test.

use std::{
    collections::VecDeque,
    io::{BufReader, Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};
use testkit::Gguf;

use crate::node::{Node, eventually};

/// What the router was sent: path, headers, body.
type Seen = (String, Vec<(String, String)>, Value);

/// A router that answers registrations and heartbeats from a script, then kindly.
#[derive(Clone)]
struct Router {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    refusals: Arc<Mutex<VecDeque<(&'static str, u16)>>>,
}

impl Router {
    fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let router = Self { port: listener.local_addr().unwrap().port(), seen: Arc::default(), refusals: Arc::default() };
        let shared = router.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                thread::spawn(move || shared.serve(stream));
            }
        });
        router
    }

    fn serve(&self, stream: std::net::TcpStream) {
        let mut out = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        while let Some((path, headers)) = request_head(&mut reader) {
            let length = headers.iter().find(|(n, _)| n == "content-length").map_or(0, |(_, v)| v.parse().unwrap());
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let refusal = {
                let mut refusals = self.refusals.lock().unwrap();
                if refusals.front().is_some_and(|(p, _)| *p == path) { refusals.pop_front() } else { None }
            };
            let count = {
                let mut seen = self.seen.lock().unwrap();
                seen.push((path.clone(), headers, serde_json::from_slice(&body).unwrap_or_default()));
                seen.iter().filter(|(p, ..)| *p == "/api/nodes").count()
            };
            let (status, body) = match (refusal, path.as_str()) {
                (Some((_, status)), _) => (status, json!({"error": "no"})),
                (None, "/api/nodes") => (
                    201,
                    json!({"node_id": "n1", "status": "registered", "node_api_port": 1, "node_token": format!("nt_{count}"), "router_secret": format!("s{count}")}),
                ),
                (None, _) => (200, Value::Null),
            };
            let body = body.to_string();
            let _ = write!(out, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\ncontent-type: application/json\r\n\r\n{body}", body.len());
        }
    }

    fn seen(&self, path: &str) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|(p, ..)| p == path).cloned().collect()
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn request_head(reader: &mut BufReader<std::net::TcpStream>) -> Option<(String, Vec<(String, String)>)> {
    use std::io::BufRead;
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split_whitespace().nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Some((path, headers)) };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn header<'s>(seen: &'s Seen, name: &str) -> Option<&'s str> {
    seen.1.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}

fn node(url: &str, more: &[(&str, &str)]) -> Node {
    let env = [&[("LLM_ROUTER_URL", url), ("LLM_NODE_IP", "127.0.0.1")], more].concat();
    Node::start(&["tiny.Q4_0"], &env, &[])
}

#[test]
fn a_node_says_what_it_is_and_reports_what_it_does() {
    let router = Router::start(0);
    let node = node(&router.url(), &[("LLM_NODE_JOIN_TOKEN", "join-me")]);
    let registered = eventually("it registers", || router.seen("/api/nodes").pop());
    let said = &registered.2;
    assert_eq!(header(&registered, "x-join-token"), Some("join-me"));
    assert_eq!((&said["runtime_port"], &said["ip_address"]), (&json!(node.port - 1), &json!("127.0.0.1")));
    assert_eq!((&said["available_models"], said["machine_name"].as_str().is_some_and(|n| !n.is_empty())), (&json!(["tiny"]), true));
    if said["gpu_available"] == json!(false) {
        assert_eq!(said["accelerator"], "cpu");
    }
    let beat = eventually("it reports", || router.seen("/api/health").pop());
    assert_eq!((header(&beat, "x-node-token"), &beat.2["node_id"]), (Some("nt_1"), &json!("n1")));
    assert!(beat.2["memory_usage"].as_f64().unwrap() > 0.0 && beat.2["memory_usage"].as_f64().unwrap() <= 100.0);
    *node.secret.lock().unwrap() = Some("s1".to_owned());
    node.said("tiny", "x");
    let report =
        eventually("the model is reported", || router.seen("/api/health").pop().filter(|beat| beat.2["loaded_models"] == json!(["tiny"])));
    assert_eq!((&report.2["ready_models"], &report.2["initializing"]), (&json!([1, 1]), &json!(false)));
    assert!(report.2["average_response_time_ms"].as_f64().is_some());
}

#[test]
fn only_the_router_s_secret_opens_inference() {
    let router = Router::start(0);
    let node = node(&router.url(), &[]);
    eventually("it reports", || router.seen("/api/health").pop());
    let body = Node::body("tiny", "x", json!({}));
    for secret in [None, Some("wrong"), Some("nt_1")] {
        *node.secret.lock().unwrap() = secret.map(str::to_owned);
        for path in ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/api/models/load", "/log/level"] {
            let answer = node.post(path, &body);
            assert_eq!((answer.status, &answer.json()["error"]["code"]), (401, &json!("invalid_api_key")), "{path} with {secret:?}");
        }
        assert_eq!(node.get("/api/logs").status, 401);
        for path in ["/v1/models", "/health", "/startup", "/metrics", "/metrics/prom"] {
            assert_eq!(node.get(path).status, 200, "{path}");
        }
    }
    *node.secret.lock().unwrap() = Some("s1".to_owned());
    assert_eq!(node.said("tiny", "open"), "open");
}

#[test]
fn a_node_waits_for_its_router_and_comes_back_when_it_is_forgotten() {
    let port = crate::node::free_port();
    let node = node(&format!("http://127.0.0.1:{port}"), &[]);
    assert_eq!(node.get("/health").status, 200);
    let router = Router::start(port);
    router.refusals.lock().unwrap().extend([
        ("/api/nodes", 403),
        ("/api/nodes", 500),
        ("/api/health", 500),
        ("/api/health", 401),
        ("/api/health", 404),
    ]);
    eventually("it registers after each refusal", || (router.seen("/api/nodes").len() >= 5).then_some(()));
    let beat = eventually("it reports with its newest token", || {
        router.seen("/api/health").pop().filter(|beat| header(beat, "x-node-token") == Some("nt_5"))
    });
    assert_eq!(beat.2["available_models"], json!(["tiny"]));
    *node.secret.lock().unwrap() = Some("s5".to_owned());
    assert_eq!(node.said("tiny", "back"), "back");
}

#[test]
fn models_that_come_later_are_reported() {
    let router = Router::start(0);
    let node = node(&router.url(), &[]);
    eventually("it reports", || router.seen("/api/health").pop());
    std::fs::write(node.models_dir().join("later.gguf"), Gguf::with_template("x").build()).unwrap();
    eventually("the new model is reported", || {
        router.seen("/api/health").pop().filter(|beat| beat.2["available_models"] == json!(["later", "tiny"]))
    });
    assert_eq!(router.seen("/api/nodes").len(), 1);
}

#[test]
fn a_node_that_is_told_to_end_ends_while_its_router_is_away() {
    let mut node = node("http://127.0.0.1:9", &[]);
    Node::signal(&node.child.id().to_string(), "-TERM");
    assert_eq!(node.ended(), Some(0));
}

#[test]
fn an_agent_joins_by_name_and_answers_infer() {
    let router = Router::start(0);
    router.refusals.lock().unwrap().extend([("/register", 503), ("/heartbeat", 404)]);
    let url = router.url();
    let env = [("ROUTER_URL", &*url), ("LLM_NODE_IP", "127.0.0.1"), ("AGENT_NAME", "attic"), ("LLM_NODE_JOIN_TOKEN", "join-me")];
    let node = Node::start(&["tiny.Q4_0"], &env, &["--agent"]);
    let registered = eventually("it registers again when it is unknown", || router.seen("/register").into_iter().nth(2));
    let wanted = json!({"name": "attic", "endpoint": format!("http://127.0.0.1:{}", node.port), "models": ["tiny"], "tether": true});
    assert_eq!((&registered.2, header(&registered, "x-join-token")), (&wanted, Some("join-me")));
    let beat = eventually("it beats", || router.seen("/heartbeat").into_iter().nth(1));
    assert_eq!(beat.2, json!({"name": "attic", "queue_length": 0}));
    assert!(router.seen("/api/nodes").is_empty() && router.seen("/api/health").is_empty());
    let text = |body: &Value| node.post("/infer", body).json()["choices"][0]["message"]["content"].clone();
    assert_eq!(text(&json!({"prompt": "one two"})), "one two");
    assert_eq!(text(&Node::body("tiny", "three", json!({}))), "three");
    assert_eq!(node.post("/infer", &json!({"model": "no", "prompt": "x"})).status, 404);
    for path in ["/infer", "/v1/chat/completions"] {
        let answer = node.post(path, &Node::body("local_mistral-7b-instruct-q4", "four", json!({}))).json();
        assert_eq!(answer["choices"][0]["message"]["content"], "four", "an announced name, on {path}: {answer}");
    }
}

#[test]
fn a_node_that_ends_tells_its_router() {
    let router = Router::start(0);
    let mut node = node(&router.url(), &[]);
    eventually("it reports", || router.seen("/api/health").pop());
    *node.secret.lock().unwrap() = Some("s1".to_owned());
    node.said("tiny", "x");
    let report = eventually("its model is reported", || router.seen("/api/health").pop().filter(|beat| beat.2["instances"].is_array()));
    assert_eq!((&report.2["instances"][0]["model"], &report.2["instances"][0]["slots_total"]), (&json!("tiny"), &json!(8)));
    Node::signal(&node.child.id().to_string(), "-TERM");
    assert_eq!(node.ended(), Some(0));
    let last = router.seen("/api/health").pop().unwrap();
    assert_eq!(last.2["draining"], true);
}
