//! Processes of a run: where they run, how they start and that they end.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to end by itself.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Most of a log that an error quotes.
const QUOTED_LINES: usize = 12;

/// The side of the machine that a process runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// What is measured: core 0.
    Measured,
    /// What measures and what stands behind: core 1.
    Measuring,
}

/// What this machine lets us do against noise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    can_pin: bool,
    can_prefer: bool,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let works = |program: &str, arguments: &[&str]| {
            let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        Self { can_pin: works("taskset", &["-c", "0,1", "true"]), can_prefer: works("chrt", &["-r", "1", "true"]) }
    }

    /// A line for the report.
    pub(crate) fn describe(self) -> String {
        let cores = thread::available_parallelism().map_or(0, usize::from);
        let pinned = if self.can_pin { "one core for what is measured, one for the rest" } else { "not pinned to cores" };
        let preferred = if self.can_prefer { "real-time priority" } else { "no real-time priority: expect noise" };
        format!("{cores} cores; {pinned}; {preferred}")
    }

    /// A command on one side, with real-time priority where it may have it.
    pub(crate) fn command(self, side: Side, program: &Path) -> Command {
        self.wrapped(side, program, self.can_prefer)
    }

    /// A command on one side, with ordinary priority: for what computes all the time.
    pub(crate) fn modest_command(self, side: Side, program: &Path) -> Command {
        self.wrapped(side, program, false)
    }

    fn wrapped(self, side: Side, program: &Path, prefer: bool) -> Command {
        let core = if side == Side::Measured { "0" } else { "1" };
        let mut words: Vec<PathBuf> = Vec::new();
        if prefer {
            words.extend(["chrt", "-r", "1"].map(PathBuf::from));
        }
        if self.can_pin {
            words.extend(["taskset", "-c", core].map(PathBuf::from));
        }
        words.push(program.to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }
}

/// A process that ends with this value.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Running {
    /// Starts a command; what it says goes to `<name>.log` in `dir`.
    pub(crate) fn start(name: &str, mut command: Command, dir: &Path) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = out.try_clone()?;
        let child = command.stdin(Stdio::null()).stdout(out).stderr(errors).spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name: name.into(), log })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Waits until the port is open.
    pub(crate) fn wait_for_port(&mut self, address: SocketAddr, limit: Duration) -> Result<()> {
        let until = Instant::now() + limit;
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            self.check()?;
            if Instant::now() > until {
                bail!("{} did not open {address} in {} s\n{}", self.name, limit.as_secs(), self.last_words());
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// An error if the process has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}\n{}", self.name, self.last_words());
        }
        Ok(())
    }

    /// Ends it at once, without a word.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn last_words(&self) -> String {
        let text = fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n")
    }

    fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Some(pid) = Pid::from_raw(self.pid()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let until = Instant::now() + STOP_LIMIT;
        while Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port of the loopback that nobody has at the moment.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Where installed peers are kept between runs.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let dir = std::env::home_dir().context("no home directory")?.join(".cache/llm-router-bench");
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// The folder with this workspace's release programs; they are built first unless told not to.
pub(crate) fn release_dir(packages: &[&str], build: bool) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(Path::parent).context("this program is in no target folder")?;
    if build {
        eprintln!("building {} (--no-build leaves that out)", packages.join(", "));
        let selected = packages.iter().flat_map(|package| ["-p", package]);
        let status = Command::new("cargo").args(["build", "--release", "--locked", "--quiet"]).args(selected).status()?;
        if !status.success() {
            bail!("cargo build ended with {status}");
        }
    }
    Ok(target.join("release"))
}

/// A program on the search path.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let dirs = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    dirs.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
}

/// A Python environment of its own with these packages; made where it is missing, if that is wanted.
pub(crate) fn python_environment(name: &str, packages: &[&str], install: bool) -> Result<Option<PathBuf>> {
    let dir = cache_dir()?.join(name);
    let python = dir.join("bin/python");
    let complete = dir.join(".complete");
    if complete.is_file() {
        return Ok(Some(python));
    }
    let Some(system) = find_program("python3").filter(|_| install) else { return Ok(None) };
    eprintln!("installing {} into {}", packages.join(", "), dir.display());
    let run = |command: &mut Command| command.stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    let is_made = run(Command::new(system).args(["-m", "venv"]).arg(&dir));
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"];
    if !is_made || !run(Command::new(&python).args(pip).args(packages)) {
        return Ok(None);
    }
    fs::write(complete, packages.join("\n"))?;
    Ok(Some(python))
}

#[cfg(test)]
mod tests {
    use std::{path::Path, process::Command, time::Duration};

    use super::{Machine, Running, Side, free_address};

    #[test]
    fn what_ends_early_says_why() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("sh");
        command.args(["-c", "echo went wrong; exit 3"]);
        let mut running = Running::start("it", command, dir.path()).expect("started");
        let error = running.wait_for_port(free_address().expect("a port"), Duration::from_secs(20)).expect_err("it ends");
        assert!(error.to_string().contains("exit status: 3") && error.to_string().contains("went wrong"), "{error}");
    }

    #[test]
    fn what_runs_ends_with_its_value() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut command = Machine { can_pin: false, can_prefer: false }.command(Side::Measured, Path::new("sleep"));
        command.arg("1000");
        let running = Running::start("it", command, dir.path()).expect("started");
        let home = format!("/proc/{}", running.pid());
        assert!(Path::new(&home).exists());
        drop(running);
        assert!(!Path::new(&home).exists());
    }
}
