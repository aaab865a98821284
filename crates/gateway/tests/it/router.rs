//! A running `llm-router`.

use std::{
    future::Future,
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};
use store::{Store, requests};
use tempfile::TempDir;
use testkit::FakeUpstream;

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The key with every scope.
pub(crate) const MASTER: &str = "sk_master0123456789012345678901234";
/// A static key for inference.
pub(crate) const KEY: &str = "sk_client0123456789012345678901234";

/// What a router is started with.
pub(crate) struct Setup {
    home: Arc<TempDir>,
    program: PathBuf,
    config: Map<String, Value>,
    env: Vec<(String, String)>,
}

impl Setup {
    /// A home of its own, a master key, a client's key, and no account.
    pub(crate) fn new() -> Self {
        let env = [("LLM_ROUTER_LISTEN", "127.0.0.1:0"), ("LLM_ROUTER_MASTER_KEY", MASTER), ("LLM_ROUTER_API_KEYS", KEY)];
        Self {
            home: Arc::new(tempfile::tempdir().unwrap()),
            program: env!("CARGO_BIN_EXE_llm-router").into(),
            config: Map::new(),
            env: env.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec(),
        }
    }

    /// In the home of another.
    pub(crate) fn in_home_of(mut self, other: &Router) -> Self {
        self.home = other.home.clone();
        self
    }

    /// Sets a variable; an empty value counts as not set.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Called by another name.
    #[cfg(unix)]
    pub(crate) fn called(mut self, name: &str) -> Self {
        let link = self.home.path().join(name);
        std::os::unix::fs::symlink(&self.program, &link).unwrap();
        self.program = link;
        self
    }

    /// Sets a top-level key of the file.
    pub(crate) fn set(mut self, key: &str, value: Value) -> Self {
        self.config.insert(key.to_owned(), value);
        self
    }

    /// Adds an account that serves `models`; members of `more` are added to it.
    pub(crate) fn account(mut self, name: &str, base_url: &str, models: &[&str], more: Value) -> Self {
        let mut account = json!({"name": name, "provider": "openai", "base_url": base_url, "api_key": format!("upstream-key-of-{name}"), "models": models});
        account.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        let accounts = self.config.entry("accounts").or_insert_with(|| json!([]));
        accounts.as_array_mut().unwrap().push(account);
        self
    }

    /// An account at an upstream that serves `gpt-mock`.
    pub(crate) fn upstream(self, name: &str, upstream: &FakeUpstream) -> Self {
        self.account(name, &upstream.base_url(), &["gpt-mock"], json!({}))
    }

    /// The program with this environment; the file is written.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        std::fs::write(self.home.path().join("router.yaml"), Value::Object(self.config.clone()).to_string()).unwrap();
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env_clear()
            .env("HOME", self.home.path())
            .env("LLM_ROUTER_DATA_DIR", self.home.path().join("data"))
            .envs(self.env.iter().map(|(n, v)| (n, v)))
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        command
    }

    /// What a command prints that works, without writing the file anew.
    pub(crate) fn shown(&self, args: &[&str]) -> String {
        let file = self.file();
        let mut command = self.command(args);
        std::fs::write(self.home.path().join("router.yaml"), file).unwrap();
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The text of the file as it is.
    pub(crate) fn file(&self) -> String {
        std::fs::read_to_string(self.home.path().join("router.yaml")).unwrap()
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(self) -> Router {
        let mut router = self.spawn();
        let started = router.said.wait(|line| line.contains("llm-router is listening"));
        let line: Value = serde_json::from_str(&started.unwrap_or_else(|all| panic!("it does not start: {all}"))).unwrap();
        line["fields"]["urls"].as_str().unwrap().split(' ').next().unwrap().clone_into(&mut router.url);
        router
    }

    /// Runs it to an end that must come by itself.
    pub(crate) fn fails(self) -> (ExitStatus, String) {
        let mut router = self.spawn();
        let status = router.ended();
        (status, router.said.all())
    }

    fn spawn(self) -> Router {
        let mut command = self.command(&["serve"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Said::default();
        said.listen(child.stdout.take().unwrap());
        said.listen(child.stderr.take().unwrap());
        Router { child, home: self.home.clone(), url: String::new(), said, setup: self }
    }
}

/// A router that runs until it is dropped.
pub(crate) struct Router {
    child: Child,
    home: Arc<TempDir>,
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// Lines of its standard output and standard error.
    pub(crate) said: Said,
    setup: Setup,
}

impl Router {
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.url.strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// Replaces its file by one with another text: whoever reads it sees the one or the other.
    pub(crate) fn write_config(&self, text: &str) {
        let (file, new) = (self.home.path().join("router.yaml"), self.home.path().join("router.yaml.new"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    /// Its file as it was written at the start.
    pub(crate) fn config(&self) -> Value {
        Value::Object(self.setup.config.clone())
    }

    /// Its memory as the system counts it; nothing where it does not say.
    pub(crate) fn rss_bytes(&self) -> Option<u64> {
        Some(self.proc("status", "VmRSS:")?.strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
    }

    /// What the system says of it after these words: a line of a file in proc_pid(5).
    pub(crate) fn proc(&self, file: &str, words: &str) -> Option<String> {
        let text = self.proc_text(file)?;
        text.lines().find_map(|line| line.strip_prefix(words)).map(|rest| rest.trim().to_owned())
    }

    /// A file in proc_pid(5), whole.
    pub(crate) fn proc_text(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).ok()
    }

    /// The niceness of its threads, by their names: field 19 of proc_pid_stat(5).
    #[cfg(target_os = "linux")]
    pub(crate) fn niceness(&self) -> Vec<(String, i32)> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let read = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
            let (named, rest) = stat.rsplit_once(") ")?;
            Some((named.split_once('(')?.1.to_owned(), rest.split(' ').nth(16)?.parse().ok()?))
        };
        tasks.filter_map(read).collect()
    }

    /// Sends a signal by the system's `kill`.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let status = eventually_blocking("the router ends", || self.child.try_wait().unwrap());
        self.said.wait_for_end();
        status
    }

    /// Asks it to end, and waits for that.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        let status = self.ended();
        assert!(status.success(), "{status}: {}", self.said.all());
    }

    /// Runs a command of the program in this router's home and environment.
    pub(crate) fn run(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llm-router"));
        let own = self.setup.env.iter().map(|(n, v)| (n, v));
        command.args(args).env_clear().env("HOME", self.home()).env("LLM_ROUTER_DATA_DIR", self.data_dir()).envs(own);
        command.envs(env.iter().copied()).current_dir(self.home()).stdin(Stdio::null()).output().unwrap()
    }

    /// A command that works: its standard output.
    pub(crate) fn runs(&self, args: &[&str], env: &[(&str, &str)]) -> String {
        let output = self.run(args, env);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Its database, opened beside it.
    pub(crate) async fn store(&self) -> Store {
        Store::open("", &self.data_dir()).await.unwrap()
    }

    /// The record of a request, as soon as it is there.
    pub(crate) async fn record(&self, request_id: &str) -> requests::Row {
        let store = self.store().await;
        eventually(&format!("the record of {request_id}"), || async { requests::get(&store, request_id).await.unwrap() }).await.row
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines of a program, gathered as they come.
#[derive(Clone, Default)]
pub(crate) struct Said(Arc<(Mutex<Gathered>, Condvar)>);

#[derive(Default)]
struct Gathered {
    lines: Vec<String>,
    open: usize,
}

impl Said {
    fn listen(&self, from: impl Read + Send + 'static) {
        let this = self.clone();
        this.0.0.lock().unwrap().open += 1;
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                this.0.0.lock().unwrap().lines.push(line);
                this.0.1.notify_all();
            }
            this.0.0.lock().unwrap().open -= 1;
            this.0.1.notify_all();
        });
    }

    /// The first line that fits; everything that was said where none came before the end.
    pub(crate) fn wait(&self, fits: impl Fn(&str) -> bool) -> Result<String, String> {
        let deadline = Instant::now() + PATIENCE;
        let mut gathered = self.0.0.lock().unwrap();
        loop {
            if let Some(line) = gathered.lines.iter().find(|line| fits(line)) {
                return Ok(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if gathered.open == 0 || left.is_zero() {
                return Err(gathered.lines.join("\n"));
            }
            gathered = self.0.1.wait_timeout(gathered, left).unwrap().0;
        }
    }

    fn wait_for_end(&self) {
        let gathered = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(gathered, PATIENCE, |g| g.open > 0).unwrap());
    }

    /// Everything so far.
    pub(crate) fn all(&self) -> String {
        self.0.0.lock().unwrap().lines.join("\n")
    }
}

/// An address of the loopback where nobody listens.
pub(crate) fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Waits until `check` gives something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn eventually_blocking<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A future that must not take for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}
