//! `make run` and `make dev`: the programs as one would try them.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::{
        fs::OpenOptionsExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{http, model, paths, setup, shell, suite, ui};

/// How long the router may take until it answers, and the node until it lists the model.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// How long the first answer may take: it loads the model.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_mins(3);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// `make run`: builds, brings the model, starts the router with a node, and says how to use them.
pub(crate) fn run() -> Result<()> {
    setup::install_missing()?;
    suite::build_release()?;
    model::ensure()?;
    let router = paths::program("release", "llm-router");
    let address = listening_address(&router)?;
    check_port(address)?;
    let key = demo_key(&router)?;
    let mut server = Server::start(shell::command(&router).args(["serve", "--with-node"]))?;
    let client = Client { address: reachable(address), key };
    match server.greet(&client) {
        Ok(()) => server.wait(),
        Err(error) => {
            server.signal(Signal::TERM);
            server.wait().context("while stopping").and(Err(error))
        }
    }
}

/// `make dev`: this process becomes the debug build, on loopback, port 8000, authentication off.
pub(crate) fn dev(arguments: &[String]) -> Result<()> {
    ui::build_if_possible()?;
    shell::run(shell::cargo("build").args(["--locked", "-p", "llm-router"]))?;
    let mut router = shell::command(paths::program("debug", "llm-router"));
    router.arg("serve").args(arguments);
    router.envs([("LLM_ROUTER_HOST", "127.0.0.1"), ("LLM_ROUTER_PORT", "8000"), ("LLM_ROUTER_AUTH_MODE", "off")]);
    println!("$ {}", shell::show(&router));
    Err(router.exec()).context("cannot start the router")
}

/// The first address that the router will listen on, from its own settings.
fn listening_address(router: &Path) -> Result<SocketAddr> {
    let shown = shell::output(shell::command(router).args(["config", "show", "--json"]))?;
    address_of(&serde_json::from_str(&shown).context("`llm-router config show --json` printed no JSON")?)
}

/// `server.listen` if it is set, else `server.host` and `server.port`; all values are printed as text.
fn address_of(shown: &Value) -> Result<SocketAddr> {
    let value = |key: &str| shown.pointer(&format!("/settings/{key}/value")).and_then(Value::as_str).unwrap_or_default();
    let listen = value("server.listen").trim_matches(['[', ']', '"']).split(',').next().unwrap_or_default().trim();
    let address = if listen.is_empty() { format!("{}:{}", value("server.host"), value("server.port")) } else { listen.to_owned() };
    address.parse().with_context(|| format!("the router's settings name no address: {address}"))
}

/// The address a client on this machine uses.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() { SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())) } else { address }
}

fn check_port(address: SocketAddr) -> Result<()> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) => bail!("{address} cannot be used ({error}): stop what listens there, or choose another port with LLM_ROUTER_PORT=…"),
    }
}

/// The key of the demonstration, made at the first run and kept in a file that only its owner can read.
fn demo_key(router: &Path) -> Result<String> {
    let path = paths::data_dir()?.join("demo.key");
    if let Ok(key) = fs::read_to_string(&path)
        && is_stored(router)?
    {
        return Ok(key.trim().to_owned());
    }
    let made = shell::output(offline(router).args(["key", "create", "--name", DEMO, "--json"]))?;
    let made: Value = serde_json::from_str(&made).context("`llm-router key create --json` printed no JSON")?;
    let key = made["key"].as_str().context("`llm-router key create --json` printed no key")?;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    writeln!(file, "{key}").with_context(|| format!("cannot write {}", path.display()))?;
    Ok(key.to_owned())
}

/// The demonstration key's name.
const DEMO: &str = "demo";

/// A command on the data directory itself, not on a router that runs elsewhere.
fn offline(router: &Path) -> Command {
    let mut command = shell::command(router);
    command.env_remove("LLM_ROUTER_URL");
    command
}

/// Whether the store still has a demonstration key: it may have been revoked, or the database removed.
fn is_stored(router: &Path) -> Result<bool> {
    let listed = shell::output(offline(router).args(["key", "list", "--json"]))?;
    let listed: Value = serde_json::from_str(&listed).context("`llm-router key list --json` printed no JSON")?;
    let keys = listed.as_array().or_else(|| listed["keys"].as_array()).context("`llm-router key list --json` printed no list")?;
    Ok(keys.iter().any(|key| key["name"] == DEMO && key["revoked_at"].is_null()))
}

/// Someone who calls the router with the demonstration key.
struct Client {
    address: SocketAddr,
    key: String,
}

impl Client {
    fn is_healthy(&self) -> bool {
        http::exchange(self.address, "/health", None, None, PROBE_TIMEOUT).is_ok_and(|answer| answer.status == 200)
    }

    fn lists(&self, model: &str) -> bool {
        let answer = http::exchange(self.address, "/v1/models", Some(&self.key), None, PROBE_TIMEOUT);
        answer.is_ok_and(|answer| answer.status == 200 && answer.body.contains(&format!("\"{model}\"")))
    }

    /// One token: the node loads the model for it.
    fn warm(&self, model: &str) -> Result<()> {
        let body = chat(model, "Hi", Some(1));
        let answer = http::exchange(self.address, "/v1/chat/completions", Some(&self.key), Some(&body), FIRST_ANSWER_TIMEOUT)?;
        if answer.status != 200 {
            bail!("the model does not answer: status {}: {}", answer.status, answer.body.trim());
        }
        Ok(())
    }
}

fn chat(model: &str, text: &str, max_tokens: Option<u32>) -> String {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": text}]});
    if let Some(max_tokens) = max_tokens {
        body["max_tokens"] = max_tokens.into();
    }
    body.to_string()
}

/// What the router prints once, when it makes its first user: the greeting repeats it.
const FIRST_START: &str = "First start: ";

/// The running router and the signals that are meant for it.
struct Server {
    child: Child,
    signals: Signals,
    is_stopping: bool,
    /// Lines with secrets that were made at this start, without [`FIRST_START`].
    made: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts the router in a process group of its own: the terminal's Ctrl-C then reaches it once, passed on from here.
    fn start(command: &mut Command) -> Result<Self> {
        let signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        println!("\n$ {}", shell::show(command));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn().context("cannot start the router")?;
        let made = Arc::default();
        if let Some(output) = child.stdout.take() {
            let made = Arc::clone(&made);
            thread::spawn(move || pass_on(output, &made));
        }
        Ok(Self { child, signals, is_stopping: false, made })
    }

    /// Waits until the model answers and prints how to call it. Returns early if the router is told to stop.
    fn greet(&mut self, client: &Client) -> Result<()> {
        let model = model::id()?;
        self.until("answer on /health", || client.is_healthy())?;
        self.until("list the model", || client.lists(&model))?;
        if self.is_stopping {
            return Ok(());
        }
        client.warm(&model)?;
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).join("\n           ");
        println!("{}", greeting(client, &model, &paths::data_dir()?.join("demo.key"), &made));
        Ok(())
    }

    fn until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
        let started = Instant::now();
        while !self.is_stopping && !is_so() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the router ended with {status} before it could {what}: see its last lines above");
            }
            if started.elapsed() > START_TIMEOUT {
                bail!("the router did not {what} within {} s: see its log above", START_TIMEOUT.as_secs());
            }
            self.pass_signals();
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    fn pass_signals(&mut self) {
        let pending: Vec<i32> = self.signals.pending().collect();
        for signal in pending {
            self.signal(if signal == SIGINT { Signal::INT } else { Signal::TERM });
        }
    }

    fn signal(&mut self, signal: Signal) {
        self.is_stopping = true;
        // An error means that it is gone already, which `wait` notices.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Stays until the router ends; it stops its node itself.
    fn wait(mut self) -> Result<()> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                if status.success() {
                    println!("stopped");
                    return Ok(());
                }
                let reason = status.signal().map(|signal| format!(" by signal {signal}")).unwrap_or_default();
                bail!("the router ended with {status}{reason}");
            }
            self.pass_signals();
            thread::sleep(POLL_INTERVAL);
        }
    }
}

/// Prints the router's lines as they come, and keeps those that are shown only once.
fn pass_on(output: impl Read, made: &Mutex<Vec<String>>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        println!("{line}");
        if let Some(text) = line.strip_prefix(FIRST_START) {
            made.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
        }
    }
}

fn greeting(client: &Client, model: &str, key_file: &Path, made: &str) -> String {
    let admin = if made.is_empty() { "the password was printed at the first start, and can be read nowhere" } else { made };
    let Client { address, key } = client;
    let body = chat(model, "Write one sentence about the sea.", None);
    format!(
        "\n\
         LLM Router is ready.\n\n  \
         URL      http://{address}\n  \
         model    {model}\n  \
         API key  {key}  (kept in {key_file})\n  \
         admin    {admin}\n\n\
         Try it:\n\n  \
         curl http://{address}/v1/chat/completions -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n    -d '{body}'\n\n\
         Ctrl-C stops the router and its node.\n",
        key_file = key_file.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_said_in_words() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
        let address = taken.local_addr().expect("has one");
        let error = check_port(address).expect_err("taken").to_string();
        assert!(error.contains(&address.to_string()) && error.contains("LLM_ROUTER_PORT"), "{error}");
    }

    /// A stand-in for the router: says when it can be told to stop, and ends with `status` then.
    fn server_that_ends_with(status: u8, ready: &Path) -> Server {
        let script = format!("trap 'exit {status}' TERM; : > '{}'; while :; do sleep 0.02; done", ready.display());
        let mut server = Server::start(shell::command("sh").args(["-c", &script])).expect("starts");
        server.until("get ready", || ready.exists()).expect("gets ready");
        server
    }

    #[test]
    fn a_router_that_ends_well_when_told_to_is_no_error() {
        let folder = tempfile::tempdir().expect("makes");
        let mut server = server_that_ends_with(0, &folder.path().join("a"));
        server.signal(Signal::TERM);
        assert!(server.is_stopping);
        server.wait().expect("status 0");
        let mut server = server_that_ends_with(3, &folder.path().join("b"));
        server.signal(Signal::TERM);
        let error = server.wait().expect_err("status 3").to_string();
        assert!(error.contains("exit status: 3"), "{error}");
    }

    #[test]
    fn a_router_that_ends_before_it_is_ready_is_an_error() {
        let mut server = Server::start(shell::command("sh").args(["-c", "exit 4"])).expect("starts");
        let error = server.until("answer", || false).expect_err("it ended").to_string();
        assert!(error.contains("exit status: 4") && error.contains("answer"), "{error}");
    }

    #[test]
    fn the_address_is_the_first_that_the_router_listens_on() {
        let mut shown = json!({"settings": {"server.host": {"value": "0.0.0.0"}, "server.port": {"value": "8080"}}});
        assert_eq!(address_of(&shown).expect("has one").to_string(), "0.0.0.0:8080");
        shown["settings"]["server.listen"] = json!({"value": "127.0.0.1:8000, 127.0.0.1:4000"});
        assert_eq!(address_of(&shown).expect("has one").to_string(), "127.0.0.1:8000");
    }

    #[test]
    fn lines_that_are_shown_once_are_kept() {
        let made = Mutex::default();
        pass_on(b"a line\nFirst start: the password is x\nanother\n".as_slice(), &made);
        assert_eq!(made.into_inner().expect("not poisoned"), ["the password is x"]);
    }

    #[test]
    fn the_greeting_has_a_line_to_paste() {
        let client = Client { address: reachable(SocketAddr::from(([0, 0, 0, 0], 8080))), key: "sk_x".to_owned() };
        let text = greeting(&client, "m", Path::new("/d/demo.key"), "");
        assert!(text.contains("curl http://127.0.0.1:8080/v1/chat/completions -H 'Authorization: Bearer sk_x'"), "{text}");
    }
}
