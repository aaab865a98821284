//! A file of lines that are made behind the path: whoever has something to tell hands it over as it is, and a thread makes lines of it.
//!
//! Handing over costs a place in a list. The list is bounded; what finds no room is counted, and the file says how much that was.

use std::{
    fmt, fs,
    io::{self, Write},
    mem,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    Error, background, logs,
    pieces::{piece_bytes, room},
};

/// Most entries that wait to become lines; what comes while so many wait is counted and dropped.
pub const WAITING_MAX: usize = 16_384;
/// How long entries come together before they are written: every round wakes a thread, which costs as much as many entries.
const GATHER: Duration = Duration::from_millis(100);
/// Entries that are not waited with: what they hold is still in the processor's memory then.
const MANY: usize = 256;
/// A buffer that a long line made larger is given back.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// Something that becomes lines.
pub trait Tell: Send + 'static {
    /// Appends whole lines, each with its line break.
    fn tell(&self, out: &mut Vec<u8>);

    /// Appends the line that says that so many entries were lost.
    fn tell_lost(lost: u64, out: &mut Vec<u8>);
}

/// Where entries are handed over. Cheap to clone.
pub struct Chronicle<T>(Arc<Shared<T>>);

/// The writing thread; dropping it writes out what waits and takes nothing more.
#[derive(Debug)]
pub struct Keeping<T> {
    chronicle: Chronicle<T>,
    thread: Option<JoinHandle<()>>,
}

struct Shared<T> {
    waiting: Mutex<Waiting<T>>,
    wake: Condvar,
    lost: AtomicU64,
}

struct Waiting<T> {
    entries: Vec<T>,
    is_closing: bool,
}

/// Starts writing to `path`: a link to today's file, one file a day as [`logs`] have it, at most `files_max` of them.
///
/// # Errors
/// A folder or file that cannot be used, or no thread.
pub fn start<T: Tell>(path: &Path, files_max: u32) -> Result<Keeping<T>, Error> {
    let fail = |reason: &str| Error::File { dir: path.display().to_string(), reason: reason.to_owned() };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| fail("this is no file name"))?;
    let settings = logs::LogSettings { file_prefix: name.to_owned(), retention_days: files_max, ..logs::LogSettings::default() };
    let file = logs::rolling_file(dir, &settings)?;
    let path = path.to_owned();
    let length = move || fs::metadata(&path).map_or(0, |file| file.len());
    keep(Box::new(file), length).map_err(|error| Error::Thread(error.to_string()))
}

/// `length`: the file's, at present.
fn keep<T: Tell>(sink: Box<dyn Write + Send>, length: impl Fn() -> u64 + Send + 'static) -> io::Result<Keeping<T>> {
    let waiting = Mutex::new(Waiting { entries: Vec::new(), is_closing: false });
    let shared = Arc::new(Shared { waiting, wake: Condvar::new(), lost: AtomicU64::new(0) });
    let serving = shared.clone();
    let thread = thread::Builder::new()
        .name("chronicle".to_owned())
        .spawn(move || serving.write_all(Writer { sink, length, bytes: Vec::new(), entries: 0 }))?;
    Ok(Keeping { chronicle: Chronicle(shared), thread: Some(thread) })
}

impl<T> Clone for Chronicle<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for Chronicle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chronicle").field("lost", &self.lost()).finish_non_exhaustive()
    }
}

impl<T> Chronicle<T> {
    /// Hands an entry over. Never waits for the file.
    pub fn add(&self, entry: T) {
        let mut waiting = self.0.lock();
        if waiting.is_closing || waiting.entries.len() >= WAITING_MAX {
            drop(waiting);
            self.0.lost.fetch_add(1, Relaxed);
            return;
        }
        waiting.entries.push(entry);
        let is_time = waiting.entries.len() == 1 || waiting.entries.len() == MANY;
        drop(waiting);
        if is_time {
            self.0.wake.notify_one();
        }
    }

    /// Entries that found no room, or whose lines the file refused.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Relaxed)
    }
}

impl<T> Keeping<T> {
    /// Where entries are handed over.
    pub fn chronicle(&self) -> Chronicle<T> {
        self.chronicle.clone()
    }
}

impl<T> Drop for Keeping<T> {
    fn drop(&mut self) {
        self.chronicle.0.lock().is_closing = true;
        self.chronicle.0.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for entries and swaps them for the empty `batch`; true when no more will come.
    fn take(&self, batch: &mut Vec<T>) -> bool {
        let waiting = self.lock();
        let waiting = self.wake.wait_while(waiting, |waiting| waiting.entries.is_empty() && !waiting.is_closing);
        let waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let gathered = self.wake.wait_timeout_while(waiting, GATHER, |waiting| !waiting.is_closing && waiting.entries.len() < MANY);
        let mut waiting = gathered.unwrap_or_else(PoisonError::into_inner).0;
        mem::swap(&mut waiting.entries, batch);
        waiting.is_closing
    }
}

/// Lines on their way into the file.
struct Writer<L> {
    sink: Box<dyn Write + Send>,
    length: L,
    bytes: Vec<u8>,
    /// Those whose lines are among the bytes.
    entries: u64,
}

impl<T: Tell> Shared<T> {
    fn write_all(&self, mut writer: Writer<impl Fn() -> u64>) {
        background::step_back();
        let mut batch = Vec::new();
        let mut said_lost = 0;
        loop {
            let is_closing = self.take(&mut batch);
            let lost = self.lost.load(Relaxed);
            if lost > said_lost {
                T::tell_lost(lost - said_lost, &mut writer.bytes);
                said_lost = lost;
            }
            self.lost.fetch_add(writer.write(batch.drain(..)), Relaxed);
            if is_closing {
                return;
            }
        }
    }
}

impl<L: Fn() -> u64> Writer<L> {
    /// Writes the lines of these entries, in pieces that end with a line. Returns how many entries the file refused.
    fn write<T: Tell>(&mut self, entries: impl Iterator<Item = T>) -> u64 {
        let mut length = (self.length)();
        let mut refused = 0;
        for entry in entries {
            entry.tell(&mut self.bytes);
            self.entries += 1;
            if self.bytes.len() >= room(length) {
                let piece = piece_bytes(&self.bytes, room(length));
                length += piece as u64;
                refused += self.write_piece(piece);
            }
        }
        refused += self.write_piece(self.bytes.len());
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        refused
    }

    fn write_piece(&mut self, piece: usize) -> u64 {
        let is_written = self.sink.write_all(&self.bytes[..piece]).is_ok();
        self.bytes.drain(..if is_written { piece } else { self.bytes.len() });
        let told = mem::replace(&mut self.entries, u64::from(!self.bytes.is_empty()));
        if is_written { 0 } else { told }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Number(usize);

    impl Tell for Number {
        fn tell(&self, out: &mut Vec<u8>) {
            out.extend_from_slice(format!("{}\n", self.0).as_bytes());
        }

        fn tell_lost(lost: u64, out: &mut Vec<u8>) {
            out.extend_from_slice(format!("lost {lost}\n").as_bytes());
        }
    }

    /// Keeps what is written; the first write waits until it may go on.
    struct Slow(Arc<Mutex<Vec<u8>>>, mpsc::SyncSender<()>, Option<mpsc::Receiver<()>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(go_on) = self.2.take() {
                self.1.send(()).expect("the test listens");
                go_on.recv().expect("the test lets it go on");
            }
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn entries_become_lines_in_order_and_the_end_waits_for_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("logs/told.jsonl");
        let keeping = start(&path, 3).expect("a file");
        let chronicle = keeping.chronicle();
        (0..5000).for_each(|n| chronicle.add(Number(n)));
        drop(keeping);
        let said = fs::read_to_string(&path).expect("the file");
        assert!(said.lines().map(|line| line.parse::<usize>().expect("a number")).eq(0..5000));
        chronicle.add(Number(0));
        assert_eq!(chronicle.lost(), 1, "what comes after the end is lost, and counted");
    }

    #[test]
    fn what_finds_no_room_is_counted_and_said() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let (entered, entering) = mpsc::sync_channel(1);
        let (going_on, go_on) = mpsc::sync_channel(1);
        let keeping = keep(Box::new(Slow(said.clone(), entered, Some(go_on))), || 0).expect("a thread");
        let chronicle = keeping.chronicle();
        chronicle.add(Number(0));
        // The sink holds the first batch; what comes now has to wait in the list.
        entering.recv().expect("the sink was entered");
        (0..WAITING_MAX + 7).for_each(|n| chronicle.add(Number(n)));
        assert_eq!(chronicle.lost(), 7);
        going_on.send(()).expect("room");
        drop(keeping);
        let said = String::from_utf8(said.lock().expect("not poisoned").clone()).expect("text");
        assert_eq!(said.lines().filter(|line| *line == "lost 7").count(), 1, "{said}");
        assert_eq!(said.lines().count(), 1 + 1 + WAITING_MAX);
    }

    #[test]
    fn what_the_file_refuses_is_counted() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let keeping = keep(Box::new(Full), || 0).expect("a thread");
        let chronicle = keeping.chronicle();
        chronicle.add(Number(1));
        chronicle.add(Number(2));
        drop(keeping);
        assert_eq!(chronicle.lost(), 2);
    }

    #[test]
    fn a_path_that_cannot_be_used_is_an_error() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("file"), "").expect("written");
        assert!(start::<Number>(&dir.path().join("file/below/x.jsonl"), 1).is_err());
        assert!(start::<Number>(Path::new("/"), 1).is_err());
    }
}
