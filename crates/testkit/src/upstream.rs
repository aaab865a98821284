//! The fake upstream: a thread of its own, so that a test's runtime and clock do not touch it.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex as AsyncMutex, mpsc, oneshot},
    time::sleep,
};

use crate::{
    answers,
    reply::{Ending, Payload, Reply},
    request::{self, Recorded},
    script::Script,
};

/// Most requests and hang-ups kept for a test to ask for; those beyond are served and not kept.
const KEPT_MAX: usize = 4096;

/// A peer that closed its connection before its answer was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hangup {
    /// Which connection, counted from 0.
    pub connection: usize,
    /// Bytes of the body that had been sent.
    pub body_bytes_sent: usize,
}

/// An upstream on a free port of the loopback, speaking HTTP/1.1. Ends when it is dropped.
pub struct FakeUpstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    requests: AsyncMutex<mpsc::Receiver<Recorded>>,
    hangups: AsyncMutex<mpsc::Receiver<Hangup>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Shared {
    script: Mutex<Script>,
    seen: Mutex<Vec<Recorded>>,
    connections: AtomicUsize,
    requests: mpsc::Sender<Recorded>,
    hangups: mpsc::Sender<Hangup>,
}

impl FakeUpstream {
    /// Starts serving.
    ///
    /// # Panics
    /// If the machine gives no port or thread.
    pub fn start(script: Script) -> Self {
        let (requests, requests_out) = mpsc::channel(KEPT_MAX);
        let (hangups, hangups_out) = mpsc::channel(KEPT_MAX);
        let shared =
            Arc::new(Shared { script: Mutex::new(script), seen: Mutex::default(), connections: AtomicUsize::new(0), requests, hangups });
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a listener can be non-blocking");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (stop, stopped) = oneshot::channel();
        let serving = shared.clone();
        let thread = thread::Builder::new().name("fake-upstream".into()).spawn(move || run(listener, serving, stopped)).expect("a thread");
        Self {
            address,
            shared,
            requests: AsyncMutex::new(requests_out),
            hangups: AsyncMutex::new(hangups_out),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The base URL of an OpenAI-compatible account: `…/v1`.
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.url())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the script for the requests to come.
    pub fn set_script(&self, script: Script) {
        *self.shared.script.lock().unwrap_or_else(PoisonError::into_inner) = script;
    }

    /// Waits for the next request that was not asked for yet.
    ///
    /// # Panics
    /// If the upstream's thread has died.
    pub async fn request(&self) -> Recorded {
        self.requests.lock().await.recv().await.expect("the upstream holds the sender")
    }

    /// Waits for the next peer that goes before its answer is complete.
    ///
    /// # Panics
    /// If the upstream's thread has died.
    pub async fn hangup(&self) -> Hangup {
        self.hangups.lock().await.recv().await.expect("the upstream holds the sender")
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }
}

impl Drop for FakeUpstream {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for FakeUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeUpstream").field("address", &self.address).finish_non_exhaustive()
    }
}

fn run(listener: std::net::TcpListener, shared: Arc<Shared>, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener).expect("a listener of this runtime");
        tokio::select! {
            _ = stopped => {}
            () = accept(&listener, &shared) => {}
        }
    });
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let connection = shared.connections.fetch_add(1, Ordering::AcqRel);
        let shared = shared.clone();
        tokio::spawn(async move {
            let _ = serve(stream, connection, &shared).await;
        });
    }
}

/// Requests of one connection, until either side ends it.
async fn serve(stream: TcpStream, connection: usize, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut from, to) = stream.into_split();
    let mut answer = Answer { to, body_bytes_sent: 0 };
    let mut buffer = BytesMut::new();
    while let Some(request) = request::read(&mut from, &mut buffer, connection).await {
        let (reply, models) = {
            let mut script = shared.script.lock().unwrap_or_else(PoisonError::into_inner);
            (script.next(&request.method, request.path()), script.models.clone())
        };
        shared.record(&request);
        let (head, pieces) = prepare(&request, &reply, &models);
        answer.body_bytes_sent = 0;
        let sent = tokio::select! {
            sent = answer.send(&reply, head, pieces) => sent,
            () = gone(&mut from, &mut buffer) => Err(io::ErrorKind::ConnectionAborted.into()),
        };
        match sent {
            Ok(true) => {}
            Ok(false) => return answer.to.shutdown().await,
            Err(error) => {
                let _ = shared.hangups.try_send(Hangup { connection, body_bytes_sent: answer.body_bytes_sent });
                return Err(error);
            }
        }
    }
    Ok(())
}

impl Shared {
    fn record(&self, request: &Recorded) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < KEPT_MAX {
            seen.push(request.clone());
        }
        let _ = self.requests.try_send(request.clone());
    }
}

/// Returns when the peer has closed its side; what it sends meanwhile is kept for later.
async fn gone(from: &mut OwnedReadHalf, buffer: &mut BytesMut) {
    while matches!(from.read_buf(buffer).await, Ok(read) if read > 0) {}
}

/// The answer's head and the pieces of its body, framed.
fn prepare(request: &Recorded, reply: &Reply, models: &[String]) -> (Bytes, Vec<Piece>) {
    let payload = match &reply.payload {
        Payload::Endpoint(said) => answers::endpoint(request, said, models),
        other => Some(other.clone()),
    };
    let missing = || Payload::Whole {
        content_type: "application/json".into(),
        bytes: json!({"error": {"message": "no such path", "type": "not_found_error", "param": null, "code": "not_found"}})
            .to_string()
            .into(),
    };
    let status = if payload.is_some() { reply.status } else { 404 };
    let (framing, content_type, pieces) = match payload.unwrap_or_else(missing) {
        Payload::Whole { content_type, bytes } => {
            (("content-length", bytes.len().to_string()), content_type, vec![Piece { bytes, chunked: false }])
        }
        Payload::Events(events) => {
            let pieces = split(events, reply.split_bytes).into_iter().map(|bytes| Piece { bytes, chunked: true }).collect();
            (("transfer-encoding", "chunked".to_owned()), "text/event-stream".to_owned(), pieces)
        }
        Payload::Endpoint(_) => unreachable!("an endpoint's payload is whole or events"),
    };
    let mut head = format!("HTTP/1.1 {status} Scripted\r\n{}: {}\r\n", framing.0, framing.1);
    if !reply.headers.iter().any(|(name, _)| name == "content-type") {
        head.extend(["content-type: ", &content_type, "\r\n"]);
    }
    for (name, value) in &reply.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head += "\r\n";
    (head.into(), pieces)
}

/// Bytes of a body, and whether they travel as an HTTP chunk.
struct Piece {
    bytes: Bytes,
    chunked: bool,
}

fn split(events: Vec<Bytes>, split_bytes: Option<usize>) -> Vec<Bytes> {
    let Some(size) = split_bytes else { return events };
    let whole = Bytes::from(events.concat());
    (0..whole.len()).step_by(size).map(|at| whole.slice(at..whole.len().min(at + size))).collect()
}

/// A timer's tick is a millisecond: no time means none at all.
async fn pause(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

struct Answer {
    to: OwnedWriteHalf,
    body_bytes_sent: usize,
}

impl Answer {
    /// Sends as the reply says; false where the connection is to be closed by us.
    async fn send(&mut self, reply: &Reply, head: Bytes, pieces: Vec<Piece>) -> io::Result<bool> {
        pause(reply.delay).await;
        if let Some(gate) = &reply.head_gate {
            gate.wait().await;
        }
        let (limit, stalls) = match reply.ending {
            Ending::Nothing => return Ok(false),
            Ending::Cut(bytes) => (bytes, false),
            Ending::Stall(bytes) => (bytes, true),
            Ending::Clean | Ending::ThenClose => (usize::MAX, false),
        };
        self.to.write_all(&head).await?;
        let is_chunked = pieces.first().is_some_and(|piece| piece.chunked);
        for (at, piece) in pieces.into_iter().enumerate() {
            if let Some(gate) = &reply.piece_gate {
                gate.wait().await;
            }
            if at > 0 {
                pause(reply.gap).await;
            }
            let left = limit - self.body_bytes_sent;
            self.write(&piece, left).await?;
            if piece.bytes.len() >= left {
                return if stalls { std::future::pending().await } else { Ok(false) };
            }
        }
        if is_chunked {
            self.to.write_all(b"0\r\n\r\n").await?;
        }
        Ok(reply.ending != Ending::ThenClose)
    }

    /// Writes the first `left` bytes of a piece.
    async fn write(&mut self, piece: &Piece, left: usize) -> io::Result<()> {
        let bytes = &piece.bytes[..piece.bytes.len().min(left)];
        if !bytes.is_empty() {
            let framed =
                if piece.chunked { [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat() } else { bytes.to_vec() };
            self.to.write_all(&framed).await?;
        }
        self.body_bytes_sent += bytes.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use serde_json::{Value, json};

    use super::{FakeUpstream, Hangup};
    use crate::{Gate, Reply, Script};

    /// One request over a connection of its own; everything that comes back until the other side closes or the answer is complete.
    fn ask(upstream: &FakeUpstream, method: &str, path: &str, body: &Value) -> String {
        let mut stream = std::net::TcpStream::connect(upstream.address()).expect("connected");
        let body = body.to_string();
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len()).expect("sent");
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while !is_complete(&answer) {
            match stream.read(&mut buffer).expect("an answer") {
                0 => break,
                read => answer.extend_from_slice(&buffer[..read]),
            }
        }
        String::from_utf8(answer).expect("text")
    }

    fn is_complete(answer: &[u8]) -> bool {
        let text = String::from_utf8_lossy(answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        match head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
            Some(length) => body.len() >= length.parse::<usize>().expect("a number"),
            None => body.ends_with("0\r\n\r\n"),
        }
    }

    #[test]
    fn endpoints_answer_in_their_shapes() {
        let upstream = FakeUpstream::start(Script::default().models(["a", "b"]));
        let body = |answer: String| -> Value { serde_json::from_str(answer.split_once("\r\n\r\n").expect("a head").1).expect("JSON") };
        let chat = body(ask(&upstream, "POST", "/v1/chat/completions", &json!({"model": "m", "messages": []})));
        assert_eq!(chat["choices"][0]["message"]["content"], "Hello world");
        assert_eq!(chat["usage"]["total_tokens"], 7);
        assert_eq!(body(ask(&upstream, "GET", "/v1/models", &Value::Null))["data"][1]["id"], "b");
        assert_eq!(body(ask(&upstream, "POST", "/v1/completions", &json!({"model": "m"})))["choices"][0]["text"], "Hello world");
        assert_eq!(body(ask(&upstream, "POST", "/v1/embeddings", &json!({"input": ["x", "y"]})))["data"].as_array().map(Vec::len), Some(2));
        assert!(ask(&upstream, "POST", "/v1/nothing", &Value::Null).starts_with("HTTP/1.1 404"));
        let stream = ask(&upstream, "POST", "/v1/chat/completions", &json!({"stream": true, "stream_options": {"include_usage": true}}));
        assert_eq!(stream.matches("data: ").count(), 6, "{stream}");
        assert!(stream.contains("data: [DONE]") && stream.contains("\"prompt_tokens\":5"));
        assert_eq!(upstream.requests().len(), 6);
    }

    #[test]
    fn replies_come_in_order_and_the_last_stays() {
        let script = Script::sequence([Reply::rate_limited(2), Reply::nothing(), Reply::ok()]).on("/v1/embeddings", Reply::error(500));
        let upstream = FakeUpstream::start(script);
        let ask = |path: &str| ask(&upstream, "POST", path, &json!({}));
        let first = ask("/v1/chat/completions");
        assert!(first.starts_with("HTTP/1.1 429") && first.contains("retry-after: 2\r\n"), "{first}");
        assert_eq!(ask("/v1/chat/completions"), "");
        for _ in 0..2 {
            assert!(ask("/v1/embeddings").starts_with("HTTP/1.1 500"));
            assert!(ask("/v1/chat/completions").starts_with("HTTP/1.1 200"));
        }
    }

    #[test]
    fn bodies_are_cut_and_split_where_the_script_says() {
        let upstream = FakeUpstream::start(Script::always(Reply::events(["data: abc\n\n", "data: d\n\n"]).split_every(4).cut_after(13)));
        let answer = ask(&upstream, "POST", "/v1/chat/completions", &json!({}));
        assert!(answer.ends_with("\r\n4\r\ndata\r\n4\r\n: ab\r\n4\r\nc\n\nd\r\n1\r\na\r\n"), "{answer:?}");
    }

    #[tokio::test]
    async fn a_peer_that_goes_is_noticed() {
        let gate = Gate::new();
        let upstream = FakeUpstream::start(Script::always(Reply::events(["data: 1\n\n", "data: 2\n\n"]).hold_pieces(&gate)));
        let mut stream = std::net::TcpStream::connect(upstream.address()).expect("connected");
        stream
            .write_all(b"POST /v1/x HTTP/1.1\r\nauthorization: Bearer k\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
            .expect("sent");
        let request = upstream.request().await;
        assert_eq!((request.header("Authorization"), &*request.body), (Some("Bearer k"), &b"hi"[..]));
        gate.pass(1);
        let mut answer = Vec::new();
        while !answer.ends_with(b"data: 1\n\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the first event");
            answer.extend(byte);
        }
        drop(stream);
        assert_eq!(upstream.hangup().await, Hangup { connection: 0, body_bytes_sent: 9 });
    }
}
