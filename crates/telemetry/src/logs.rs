//! Log lines: JSON in a file per day, the same on the console (text where a person reads it at a terminal), a level that changes while running.
//!
//! Writers never block whoever logs: lines go through a bounded buffer to a thread, and what does not fit is counted and dropped.

mod level;
mod tail;
mod writer;

use std::{
    fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use tracing::Dispatch;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::{
    EnvFilter, Registry,
    fmt::{
        self,
        writer::{BoxMakeWriter, MakeWriterExt},
    },
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use crate::Error;
pub use tail::{TAIL_ENTRIES_MAX, tail};
use writer::{Lines, Writing};

/// Where lines go besides the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Console {
    #[default]
    Stdout,
    /// Where stdout carries something else (a protocol, a command's answer).
    Stderr,
    Off,
}

/// What to log where.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// Env-filter syntax: a level, or `target=level` pairs. Noisy libraries stay at `warn` unless named.
    pub level: String,
    /// Directory of the files; none: no file. Made if it is not there.
    pub dir: Option<PathBuf>,
    /// `router.log`: files are `router.log.YYYY-MM-DD` (UTC), and `router.log` is a link to the newest.
    pub file_prefix: String,
    /// Files kept, one a day; 0 counts as 1.
    pub retention_days: u32,
    pub console: Console,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "info".into(), dir: None, file_prefix: "router.log".into(), retention_days: 7, console: Console::Stdout }
    }
}

/// The running log. Dropping it writes out what is queued, so keep it to the end of `main`.
#[derive(Debug)]
pub struct Logs {
    level: Mutex<String>,
    filter: reload::Handle<EnvFilter, Registry>,
    files: Option<(PathBuf, String)>,
    writers: Vec<Writing>,
    lines: Option<Vec<Lines>>,
}

/// Where lines that were made elsewhere go: the same places as all others, past the machinery that makes them. For the one line of a request,
/// which is made thousands of times a second.
#[derive(Debug, Clone)]
pub struct ReadyLines(Vec<Lines>);

impl ReadyLines {
    /// Writes one whole JSON line, its line break included. Never waits.
    pub fn write(&self, line: &[u8]) {
        for lines in &self.0 {
            // Taking a line never fails: what finds no room is counted.
            let _ = io::Write::write(&mut lines.clone(), line);
        }
    }
}

/// Sets logging up for the process.
pub fn start(settings: &LogSettings) -> Result<Logs, Error> {
    let (dispatch, logs) = build(settings)?;
    dispatch.try_init().map_err(|_set| Error::AlreadyStarted)?;
    Ok(logs)
}

impl Logs {
    /// Where ready-made JSON lines go; `None` where a person reads text at a terminal.
    pub fn ready_lines(&self) -> Option<ReadyLines> {
        self.lines.clone().map(ReadyLines)
    }

    /// Whether a text is a level, in env-filter syntax.
    pub fn check_level(level: &str) -> Result<(), Error> {
        level::filter(level).map(drop)
    }

    /// Changes the level, in env-filter syntax.
    pub fn set_level(&self, level: &str) -> Result<(), Error> {
        let filter = level::filter(level)?;
        self.filter.reload(filter).map_err(|error| Error::Level { given: level.to_owned(), reason: error.to_string() })?;
        level.trim().clone_into(&mut self.level.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }

    /// The level as it was last set.
    pub fn level(&self) -> String {
        self.level.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The link to the newest file, if lines go to files.
    pub fn path(&self) -> Option<PathBuf> {
        self.files.as_ref().map(|(dir, prefix)| dir.join(prefix))
    }

    /// The newest `n` entries of the files, oldest first; see [`tail`]. Reads files: not for a thread that serves requests.
    pub fn tail(&self, n: usize) -> Vec<serde_json::Value> {
        self.files.as_ref().map_or_else(Vec::new, |(dir, prefix)| tail(dir, prefix, n))
    }

    /// Lines lost because a writer could not keep up or its place refused them.
    pub fn dropped_lines(&self) -> usize {
        self.writers.iter().map(Writing::dropped_lines).sum()
    }
}

fn build(settings: &LogSettings) -> Result<(Dispatch, Logs), Error> {
    let (filter, handle) = reload::Layer::new(level::filter(&settings.level)?);
    let mut writers = Vec::new();
    let mut writer = |sink: Box<dyn io::Write + Send>, name: &str| -> Result<Lines, Error> {
        let (lines, writing) = writer::start(name, sink).map_err(|error| Error::Thread(error.to_string()))?;
        writers.push(writing);
        Ok(lines)
    };
    let console = match settings.console {
        Console::Stdout => Some((writer(Box::new(io::stdout()), "log-console")?, io::stdout().is_terminal())),
        Console::Stderr => Some((writer(Box::new(io::stderr()), "log-console")?, io::stderr().is_terminal())),
        Console::Off => None,
    };
    let file = match &settings.dir {
        Some(dir) => Some(writer(Box::new(rolling_file(dir, settings)?), "log-file")?),
        None => None,
    };
    let plain = match (&console, &file) {
        (Some((_, true)), _) => None,
        (console, file) => Some(console.iter().map(|(lines, _)| lines.clone()).chain(file.clone()).collect()),
    };
    // A person at a terminal reads text; whatever else reads the console gets the file's own lines, which are then made only once.
    let (text, lines) = match (console, file) {
        (Some((console, true)), file) => (Some(console), file.map(BoxMakeWriter::new)),
        (Some((console, false)), Some(file)) => (None, Some(BoxMakeWriter::new(console.and(file)))),
        (Some((console, false)), None) => (None, Some(BoxMakeWriter::new(console))),
        (None, file) => (None, file.map(BoxMakeWriter::new)),
    };
    let text = text.map(|writer| fmt::layer().with_writer(writer));
    let lines = lines.map(|writer| fmt::layer().json().with_current_span(false).with_span_list(false).with_writer(writer));
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(filter).with(text).with(lines));
    let files = settings.dir.clone().map(|dir| (dir, settings.file_prefix.clone()));
    let level = Mutex::new(settings.level.trim().to_owned());
    Ok((dispatch, Logs { level, filter: handle, files, writers, lines: plain }))
}

/// One file a day in `dir`, and a link to the newest.
pub(crate) fn rolling_file(dir: &Path, settings: &LogSettings) -> Result<RollingFileAppender, Error> {
    let fail = |reason: String| Error::File { dir: dir.display().to_string(), reason };
    fs::create_dir_all(dir).map_err(|error| fail(error.to_string()))?;
    let prefix = &settings.file_prefix;
    // The link takes this name; a file that another program left there is kept and ages like the others.
    let link = dir.join(prefix);
    if fs::symlink_metadata(&link).is_ok_and(|found| found.is_file()) {
        fs::rename(&link, dir.join(format!("{prefix}.old"))).map_err(|error| fail(error.to_string()))?;
    }
    let files_max = settings.retention_days.max(1) as usize;
    let builder = || RollingFileAppender::builder().rotation(Rotation::DAILY).filename_prefix(prefix).max_log_files(files_max);
    builder()
        .latest_symlink(prefix)
        .build(dir)
        // A file system without links still gets its dated files.
        .or_else(|_no_link| builder().build(dir))
        .map_err(|error| fail(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tracing::{debug, dispatcher, info};

    use super::{Console, LogSettings, build};

    fn settings(dir: &std::path::Path) -> LogSettings {
        LogSettings { dir: Some(dir.to_owned()), console: Console::Off, ..LogSettings::default() }
    }

    #[test]
    fn lines_reach_the_dated_file_and_the_link() {
        let dir = tempfile::tempdir().expect("a directory");
        let (dispatch, logs) = build(&settings(dir.path())).expect("logging");
        let path = logs.path().expect("a file");
        dispatcher::with_default(&dispatch, || {
            info!(request_id = "r-1", latency_ms = 3, "served");
            debug!("not at this level");
        });
        drop(logs);
        let text = fs::read_to_string(&path).expect("the link leads to a file");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(fs::symlink_metadata(&path).expect("a link").is_symlink());
        let entry = &super::tail(dir.path(), "router.log", 10)[0];
        assert_eq!(entry["message"], "served");
        assert_eq!(entry["level"], "info");
        assert_eq!(entry["fields"]["request_id"], "r-1");
        assert_eq!(entry["fields"]["latency_ms"], 3);
        assert!(entry["timestamp"].is_string() && entry["target"].is_string(), "{entry}");
    }

    #[test]
    fn the_level_changes_while_running() {
        let dir = tempfile::tempdir().expect("a directory");
        let (dispatch, logs) = build(&settings(dir.path())).expect("logging");
        dispatcher::with_default(&dispatch, || {
            debug!("before");
            logs.set_level("debug").expect("a level");
            debug!("after");
            debug!(target: "hyper::proto", "noise");
            assert!(logs.set_level("loud").is_err());
        });
        assert_eq!(logs.level(), "debug");
        drop(logs);
        let said: Vec<_> = super::tail(dir.path(), "router.log", 10).iter().map(|entry| entry["message"].clone()).collect();
        assert_eq!(said, ["after"]);
    }

    #[test]
    fn a_file_in_the_links_place_is_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("router.log"), "from before\n").expect("written");
        let (_dispatch, logs) = build(&settings(dir.path())).expect("logging");
        drop(logs);
        assert_eq!(fs::read_to_string(dir.path().join("router.log.old")).expect("kept"), "from before\n");
    }

    #[test]
    fn no_more_files_than_days_are_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        for day in 10..20 {
            fs::write(dir.path().join(format!("router.log.2020-01-{day}")), "{}\n").expect("written");
        }
        let (_dispatch, logs) = build(&LogSettings { retention_days: 3, ..settings(dir.path()) }).expect("logging");
        drop(logs);
        let files = fs::read_dir(dir.path())
            .expect("read")
            .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())));
        assert_eq!(files.count(), 3);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_an_error() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        fs::write(&file, "").expect("written");
        let error = build(&settings(&file.join("logs"))).map(|_made| ()).expect_err("a file is no directory");
        assert!(error.to_string().contains("log file in"), "{error}");
    }
}
