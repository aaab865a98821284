//! Frames in and out: a thread that reads, a lock that writes, and a heartbeat.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use wire::fleet::worker::{FromWorker, ToWorker, encode_frame, read_frame};

/// Frames that wait for the engine; the reader stops beyond it, and the supervisor's pipe fills.
const FRAMES_MAX: usize = 256;
/// Time between heartbeats; the supervisor expects one a second.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Time that the engine gets to leave its step after the end of standard input.
const GRACE: Duration = Duration::from_millis(500);

/// What heartbeats tell; shared by all threads.
#[derive(Debug, Default)]
pub struct Pulse {
    /// Steps computed.
    pub steps: AtomicU64,
    /// Requests read and not yet answered.
    pub active: AtomicU32,
    /// Standard input has ended: the engine is to stop.
    pub closed: AtomicBool,
}

/// Where frames go. Clones share the stream.
#[derive(Clone)]
pub struct Outbox {
    stream: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl Outbox {
    /// Frames go to `stream`, each in one write.
    pub fn new(stream: impl Write + Send + 'static) -> Self {
        Self { stream: Arc::new(Mutex::new(Box::new(stream))) }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// When the supervisor is gone or the frame is too large to be one.
    pub fn send(&self, frame: &FromWorker) -> io::Result<()> {
        let bytes = encode_frame(frame)?;
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.write_all(&bytes)?;
        stream.flush()
    }
}

/// Reads frames on a thread of its own until the stream ends; the receiver then hangs up.
///
/// `ended` is called on that thread: at once when the stream cannot be read; when it has ended, after [`Pulse::closed`] was
/// set and the engine had half a second to stop by itself.
pub fn read_frames(
    mut stream: impl Read + Send + 'static,
    pulse: Arc<Pulse>,
    ended: impl FnOnce(io::Result<()>) + Send + 'static,
) -> io::Result<Receiver<ToWorker>> {
    let (sender, receiver) = sync_channel(FRAMES_MAX);
    thread::Builder::new().name("frames".to_owned()).spawn(move || {
        let result = pass_on(&mut stream, &sender, &pulse);
        if result.is_err() {
            // Before the engine hears of it: what ends first decides the exit status.
            ended(result);
            pulse.closed.store(true, Ordering::Release);
            return;
        }
        pulse.closed.store(true, Ordering::Release);
        drop(sender);
        thread::sleep(GRACE);
        ended(result);
    })?;
    Ok(receiver)
}

fn pass_on(stream: &mut impl Read, sender: &SyncSender<ToWorker>, pulse: &Pulse) -> io::Result<()> {
    while let Some(frame) = read_frame(stream)? {
        if wants_answer(&frame) {
            pulse.active.fetch_add(1, Ordering::AcqRel);
        }
        if sender.send(frame).is_err() {
            break;
        }
    }
    Ok(())
}

/// Whether the frame is a request that counts as active until it is answered.
fn wants_answer(frame: &ToWorker) -> bool {
    matches!(frame, ToWorker::Submit(_) | ToWorker::Embed { .. } | ToWorker::Tokenize { .. } | ToWorker::Detokenize { .. })
}

/// Sends heartbeats on a thread of its own, for as long as anybody listens.
pub fn send_heartbeats(outbox: Outbox, pulse: Arc<Pulse>) -> io::Result<()> {
    thread::Builder::new().name("heartbeat".to_owned()).spawn(move || {
        loop {
            let frame = FromWorker::Heartbeat { steps: pulse.steps.load(Ordering::Acquire), active: pulse.active.load(Ordering::Acquire) };
            if outbox.send(&frame).is_err() {
                return;
            }
            thread::sleep(HEARTBEAT);
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use wire::fleet::worker::Prompt;

    use super::*;

    fn frames(frames: &[ToWorker]) -> Vec<u8> {
        frames.iter().flat_map(|frame| encode_frame(frame).expect("a small frame")).collect()
    }

    #[test]
    fn frames_arrive_in_order_and_requests_are_counted() {
        let bytes = frames(&[ToWorker::Tokenize { id: 1, prompt: Prompt::plain("a") }, ToWorker::Cancel { id: 7 }, ToWorker::Stats]);
        let pulse = Arc::new(Pulse::default());
        let (ended, end) = mpsc::channel();
        let receiver =
            read_frames(io::Cursor::new(bytes), Arc::clone(&pulse), move |result| ended.send(result.is_ok()).expect("the test waits"))
                .expect("a thread");
        let received: Vec<ToWorker> = receiver.iter().collect();
        assert!(matches!(received[..], [ToWorker::Tokenize { id: 1, .. }, ToWorker::Cancel { id: 7 }, ToWorker::Stats]));
        assert_eq!(pulse.active.load(Ordering::Acquire), 1);
        assert!(end.recv().expect("the reader reports"));
        assert!(pulse.closed.load(Ordering::Acquire));
    }

    #[test]
    fn a_broken_frame_ends_the_stream_with_an_error() {
        let mut bytes = frames(&[ToWorker::Stats]);
        bytes.extend(5_u32.to_le_bytes());
        bytes.extend(b"{oops");
        let (ended, end) = mpsc::channel();
        let receiver = read_frames(io::Cursor::new(bytes), Arc::default(), move |result| ended.send(result).expect("the test waits"))
            .expect("a thread");
        assert_eq!(receiver.iter().count(), 1);
        assert_eq!(end.recv().expect("the reader reports").expect_err("not a frame").kind(), io::ErrorKind::InvalidData);
    }
}
