//! A real Redis of Debian's package, on a port of its own, that can die and come back.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Longest wait for it to listen.
const PATIENCE: Duration = Duration::from_secs(30);
/// Ports that are tried: another process may take a free one first.
const PORTS_MAX: usize = 10;

/// A Redis that runs until it is dropped. It keeps nothing on disk.
pub struct RedisServer {
    port: u16,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts one. Where the program is not installed it says so and gives nothing, except in CI, which installs it.
    ///
    /// # Panics
    /// If it is missing in CI, or does not start.
    pub fn start() -> Option<Self> {
        let Some(program) = program() else {
            let is_ci = option_env!("CI").is_some_and(|value| value != "false");
            assert!(!is_ci, "redis-server is needed in CI: `cargo xtask setup` installs it");
            eprintln!("SKIPPED: there is no redis-server; `cargo xtask setup` installs it");
            return None;
        };
        for _ in 0..PORTS_MAX {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("a free port").port();
            let mut server = Self { port, child: None };
            if server.run(&program) {
                return Some(server);
            }
        }
        panic!("{} does not start", program.display());
    }

    /// `redis://127.0.0.1:PORT/0`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Kills it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again where it was, empty.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_again(&mut self) {
        self.kill();
        let program = program().expect("it was there before");
        let deadline = Instant::now() + PATIENCE;
        while !self.run(&program) {
            assert!(Instant::now() < deadline, "redis-server does not start again on port {}", self.port);
        }
    }

    /// Gives it a command, in words without spaces inside.
    ///
    /// # Panics
    /// If it does not say yes.
    pub fn say(&self, command: &str) {
        let mut line = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("it listens");
        let mut answer = [0; 3];
        let said = line.write_all(format!("{command}\r\n").as_bytes()).and_then(|()| line.read_exact(&mut answer));
        assert!(said.is_ok() && &answer == b"+OK", "{command}: {}", String::from_utf8_lossy(&answer));
    }

    /// Stops it in the middle of what it does: it neither answers nor closes its connections.
    ///
    /// # Panics
    /// If the system's `kill` does not work.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// If the system's `kill` does not work.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let child = self.child.as_ref().expect("it runs");
        let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()));
    }

    /// False: it ended at once, so the port was taken.
    fn run(&mut self, program: &PathBuf) -> bool {
        let mut command = Command::new(program);
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir(std::env::temp_dir());
        let mut child = command.spawn().expect("redis-server can be run");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(_)) = child.try_wait() {
                return false;
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                self.child = Some(child);
                return true;
            }
            assert!(Instant::now() < deadline, "redis-server does not listen on port {}", self.port);
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The server, also under the name of its successor.
fn program() -> Option<PathBuf> {
    let names = ["redis-server", "valkey-server"];
    let folders = ["/usr/bin", "/usr/local/bin", "/usr/sbin", "/opt/homebrew/bin"];
    let found = names.iter().flat_map(|name| folders.iter().map(move |folder| PathBuf::from(folder).join(name))).find(|p| p.is_file());
    found.or_else(|| names.into_iter().map(PathBuf::from).find(|name| runs(name).is_ok()))
}

fn runs(program: &PathBuf) -> io::Result<()> {
    Command::new(program).arg("--version").stdout(Stdio::null()).status().map(drop)
}
