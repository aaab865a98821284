//! A running `llm-node` and a small HTTP client.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::Gguf;

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A template that prints the messages' texts and nothing else.
pub(crate) const PLAIN: &str = "{% for m in messages %}{{ m.content }}{% endfor %}{% if tools %} tools {{ tools | tojson }}{% endif %}";

pub(crate) struct Node {
    pub(crate) child: Child,
    pub(crate) dir: TempDir,
    pub(crate) port: u16,
    /// Shown with every request.
    pub(crate) secret: Mutex<Option<String>>,
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The `data:` of all events.
    pub(crate) fn events(&self) -> Vec<String> {
        self.text().lines().filter_map(|line| line.strip_prefix("data: ").map(str::to_owned)).collect()
    }

    /// The content of all chunks of a stream.
    pub(crate) fn streamed(&self) -> String {
        let chunk =
            |event: &String| Some(serde_json::from_str::<Value>(event).ok()?["choices"][0]["delta"]["content"].as_str()?.to_owned());
        self.events().iter().filter_map(chunk).collect()
    }
}

/// A port that nobody listens on just now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until `check` gives something.
pub(crate) fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The program, with an environment of its own.
pub(crate) fn program(dir: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm-node"));
    let models = dir.path().join("models");
    command
        .env_clear()
        .env("HOME", dir.path())
        .env("LLM_NODE_MODELS_DIR", models)
        .env("LLM_NODE_LOG_DIR", dir.path().join("logs"))
        .env("LLM_NODE_BIND_ADDRESS", "127.0.0.1")
        .current_dir(dir.path());
    command
}

/// The port that a node listens on, from its log.
pub(crate) fn port(dir: &TempDir) -> u16 {
    let path = dir.path().join("logs/node.log");
    eventually("the node listens", || {
        let text = fs::read_to_string(&path).ok()?;
        let line = text.lines().find(|line| line.contains("llm-node listens"))?;
        let entry: Value = serde_json::from_str(line).ok()?;
        entry["fields"]["address"].as_str()?.rsplit_once(':')?.1.parse().ok()
    })
}

impl Node {
    /// A stand-alone node with these models.
    pub(crate) fn alone(models: &[&str]) -> Self {
        Self::start(models, &[("LLM_NODE_STANDALONE", "true")], &["--hang-timeout-ms", "1000"])
    }

    pub(crate) fn start(models: &[&str], env: &[(&str, &str)], flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("models")).unwrap();
        for model in models {
            fs::write(dir.path().join("models").join(format!("{model}.gguf")), Gguf::with_template(PLAIN).build()).unwrap();
        }
        let mut command = program(&dir);
        command.args(["serve", "--scripted", "--port", "0"]).args(flags).envs(env.iter().copied());
        command.env("LLM_NODE_HEARTBEAT_SECS", "1").stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().unwrap();
        let port = port(&dir);
        let node = Self { child, dir, port, secret: Mutex::default() };
        eventually("the node starts", || node.try_call("GET", "/startup", None).filter(|answer| answer.status == 200));
        node
    }

    pub(crate) fn models_dir(&self) -> PathBuf {
        self.dir.path().join("models")
    }

    pub(crate) fn open(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = body.map_or(0, <[u8]>::len);
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-length: {length}\r\n")?;
        if let Some(secret) = self.secret.lock().unwrap().as_deref() {
            write!(stream, "authorization: Bearer {secret}\r\n")?;
        }
        for (name, value) in headers {
            write!(stream, "{name}: {value}\r\n")?;
        }
        stream.write_all(b"\r\n")?;
        stream.write_all(body.unwrap_or_default())?;
        Ok(stream)
    }

    fn try_call(&self, method: &str, path: &str, body: Option<&[u8]>) -> Option<Answer> {
        read(self.open(method, path, &[], body).ok()?)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.try_call("GET", path, None).expect("an answer")
    }

    pub(crate) fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        read(self.open(method, path, headers, Some(body)).expect("a connection")).expect("an answer")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.try_call("POST", path, Some(body.to_string().as_bytes())).expect("an answer")
    }

    /// A chat with one message, with more members in the body.
    pub(crate) fn chat(&self, model: &str, text: &str, more: Value) -> Answer {
        self.post("/v1/chat/completions", &Self::body(model, text, more))
    }

    pub(crate) fn body(model: &str, text: &str, more: Value) -> Value {
        let mut body = json!({"model": model, "messages": [{"role": "user", "content": text}]});
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        body
    }

    /// The text of a chat that works.
    pub(crate) fn said(&self, model: &str, text: &str) -> String {
        let answer = self.chat(model, text, json!({}));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    }

    /// A counter of a model from `/metrics`.
    pub(crate) fn counter(&self, model: &str, name: &str) -> Option<u64> {
        let metrics = self.get("/metrics").json();
        metrics["models"].as_array()?.iter().find(|m| m["model"] == model)?[name].as_u64()
    }

    /// Process ids of the workers.
    pub(crate) fn workers(&self) -> Vec<String> {
        let path = format!("/proc/{0}/task/{0}/children", self.child.id());
        // Threads fork too: look at all of them.
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let all = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok()).collect::<String>();
        let own = fs::read_to_string(path).unwrap_or_default();
        let mut pids: Vec<String> = all.split_whitespace().chain(own.split_whitespace()).map(str::to_owned).collect();
        pids.sort();
        pids.dedup();
        pids
    }

    /// Sends a signal by the system's `kill`.
    pub(crate) fn signal(pid: &str, signal: &str) {
        assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
    }

    /// Waits for the end; its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        eventually("the node ends", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads an answer to its end.
pub(crate) fn read(stream: TcpStream) -> Option<Answer> {
    let mut reader = BufReader::new(stream);
    let (status, headers) = head(&mut reader)?;
    let mut body = Vec::new();
    let is_chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    if is_chunked {
        while let Some(chunk) = chunk(&mut reader) {
            body.extend(chunk);
        }
    } else {
        let _ = reader.read_to_end(&mut body);
    }
    Some(Answer { status, headers, body })
}

pub(crate) fn head(reader: &mut BufReader<TcpStream>) -> Option<(u16, Vec<(String, String)>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let status = line.split_whitespace().nth(1)?.parse().ok()?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Some((status, headers)) };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// One chunk of a chunked body; none at its end.
pub(crate) fn chunk(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let length = usize::from_str_radix(line.trim_end(), 16).ok().filter(|length| *length > 0)?;
    let mut bytes = vec![0; length + 2];
    reader.read_exact(&mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

/// Closes a connection without waiting for the rest.
pub(crate) fn leave(reader: &BufReader<TcpStream>) {
    let _ = reader.get_ref().shutdown(Shutdown::Both);
}
