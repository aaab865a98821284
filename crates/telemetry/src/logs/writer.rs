//! Lines on their way to a slow place: gathered in memory, written by a thread.
//!
//! Whoever logs copies its line under a lock and goes on. The thread is woken by the first line only and then lets more come together, so that
//! a line costs no system call where many are written.

use std::{
    io::{self, Write},
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

use crate::{background, pieces::write_lines};

/// Most bytes that wait to be written; a line that finds no room is counted and dropped.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long lines come together before they are written: every round wakes a thread, which costs as much as many lines.
const GATHER: Duration = Duration::from_millis(100);
/// A buffer that grew beyond this in a burst is given back.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// Where lines are left. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Lines(Arc<Shared>);

/// The writing thread; dropping it writes out what waits.
#[derive(Debug)]
pub(super) struct Writing {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    dropped: AtomicUsize,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    is_closing: bool,
}

/// Starts a thread of that name in front of `sink`.
pub(super) fn start(name: &str, sink: Box<dyn Write + Send>) -> io::Result<(Lines, Writing)> {
    let shared = Arc::new(Shared::default());
    let serving = shared.clone();
    let thread = thread::Builder::new().name(name.into()).spawn(move || serving.write_all(sink))?;
    Ok((Lines(shared.clone()), Writing { shared, thread: Some(thread) }))
}

impl Writing {
    /// Lines that were lost: they found no room, or the place refused them.
    pub(super) fn dropped_lines(&self) -> usize {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, mut sink: Box<dyn Write + Send>) {
        background::step_back();
        let mut batch = Vec::new();
        loop {
            let is_closing = self.take(&mut batch);
            if write_lines(&mut *sink, &batch).is_err() {
                let lines = batch.split(|byte| *byte == b'\n').count() - 1;
                self.dropped.fetch_add(lines, Ordering::Relaxed);
            }
            if is_closing {
                return;
            }
            batch.clear();
            batch.shrink_to(KEPT_BYTES_MAX);
        }
    }

    /// Waits for lines and swaps them for the empty `batch`; true when no more will come.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let waiting = self.lock();
        let waiting = self.wake.wait_while(waiting, |waiting| waiting.bytes.is_empty() && !waiting.is_closing);
        let waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let gathered = self.wake.wait_timeout_while(waiting, GATHER, |waiting| !waiting.is_closing);
        let mut waiting = gathered.unwrap_or_else(PoisonError::into_inner).0;
        mem::swap(&mut waiting.bytes, batch);
        waiting.is_closing
    }
}

impl Write for Lines {
    /// Takes a whole line, or none of it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.lock();
        if waiting.bytes.len() + line.len() > WAITING_BYTES_MAX {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return Ok(line.len());
        }
        let is_first = waiting.bytes.is_empty();
        waiting.bytes.extend_from_slice(line);
        drop(waiting);
        if is_first {
            self.0.wake.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex, mpsc},
    };

    use super::{WAITING_BYTES_MAX, start};

    /// Keeps what is written; the first write waits until it may go on.
    struct Slow {
        written: Arc<Mutex<Vec<u8>>>,
        entered: mpsc::SyncSender<()>,
        go_on: mpsc::Receiver<()>,
        is_first: bool,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.is_first {
                self.is_first = false;
                self.entered.send(()).expect("the test listens");
                self.go_on.recv().expect("the test lets it go on");
            }
            self.written.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_out_in_order_and_whole() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let (entered, entering) = mpsc::sync_channel(1);
        let (going_on, go_on) = mpsc::sync_channel(1);
        going_on.send(()).expect("room");
        let sink = Slow { written: written.clone(), entered, go_on, is_first: true };
        let (lines, writing) = start("log-test", Box::new(sink)).expect("a thread");
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let mut lines = lines.clone();
                std::thread::spawn(move || {
                    for n in 0..500 {
                        lines.write_all(format!("{thread} {n}\n").as_bytes()).expect("it never fails");
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
        drop(writing);
        drop(entering);
        let text = String::from_utf8(written.lock().expect("not poisoned").clone()).expect("text");
        for thread in 0..4 {
            let of_thread: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(&format!("{thread} "))).collect();
            assert_eq!(of_thread, (0..500).map(|n| n.to_string()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let (entered, entering) = mpsc::sync_channel(1);
        let (going_on, go_on) = mpsc::sync_channel(1);
        let (mut lines, writing) =
            start("log-test", Box::new(Slow { written: written.clone(), entered, go_on, is_first: true })).expect("a thread");
        lines.write_all(b"first\n").expect("it never fails");
        // The sink holds the first batch; what comes now has to wait in the bounded buffer.
        entering.recv().expect("the sink was entered");
        let line = [b'x'; 1023].iter().chain(b"\n").copied().collect::<Vec<_>>();
        let fitting = WAITING_BYTES_MAX / line.len();
        for _ in 0..fitting + 7 {
            lines.write_all(&line).expect("it never fails");
        }
        assert_eq!(writing.dropped_lines(), 7);
        going_on.send(()).expect("room");
        drop(writing);
        assert_eq!(written.lock().expect("not poisoned").len(), 6 + fitting * line.len());
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut lines, writing) = start("log-test", Box::new(Full)).expect("a thread");
        lines.write_all(b"one\n").expect("it never fails");
        lines.write_all(b"two\n").expect("it never fails");
        let shared = writing.shared.clone();
        drop(writing);
        assert_eq!(shared.dropped.load(std::sync::atomic::Ordering::Relaxed), 2);
    }
}
