//! The fake provider's server: one thread, plain HTTP/1.1.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use memchr::{memchr, memmem};
use serde_json::json;
use tokio::{
    net::{TcpSocket, TcpStream},
    task::{LocalSet, spawn_local},
    time::sleep,
};

use super::{
    answers,
    events::{Api, Events, text},
    settings::{Behaviour, Options},
};

/// Largest request body that is read.
const BODY_BYTES_MAX: usize = 128 * 1024 * 1024;
const BACKLOG: u32 = 16_384;
/// Every so many requests the one at hand is kept for `/last`.
const KEEP_EVERY: u64 = 1024;

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Stats {
    connections: Cell<u64>,
    connections_open: Cell<u64>,
    requests: Cell<u64>,
    errors_sent: Cell<u64>,
    streams_started: Cell<u64>,
    streams_open: Cell<u64>,
    streams_done: Cell<u64>,
    streams_aborted: Cell<u64>,
    chunks: Cell<u64>,
    body_bytes: Cell<u64>,
}

fn more(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

fn less(counter: &Cell<u64>) {
    counter.set(counter.get().saturating_sub(1));
}

impl Stats {
    pub(super) fn stream_started(&self) {
        more(&self.streams_started);
        more(&self.streams_open);
    }

    pub(super) fn stream_ended(&self, is_finished: bool) {
        less(&self.streams_open);
        more(if is_finished { &self.streams_done } else { &self.streams_aborted });
    }

    pub(super) fn chunk(&self) {
        more(&self.chunks);
    }

    fn to_json(&self) -> String {
        json!({
            "conns": self.connections.get(), "conns_open": self.connections_open.get(),
            "requests": self.requests.get(), "errors_sent": self.errors_sent.get(),
            "streams_started": self.streams_started.get(), "streams_open": self.streams_open.get(),
            "streams_done": self.streams_done.get(), "streams_aborted": self.streams_aborted.get(),
            "chunks": self.chunks.get(), "body_in": self.body_bytes.get(),
        })
        .to_string()
    }
}

/// All that the connections share; everything runs on one thread.
pub(super) struct State {
    pub(super) stats: Stats,
    behaviour: RefCell<Behaviour>,
    last: RefCell<String>,
    model: String,
    error_seed: Cell<u64>,
}

/// Serves until the process ends.
pub fn serve(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, accept(options))
}

async fn accept(options: &Options) -> Result<()> {
    let mut behaviour = Behaviour::default();
    behaviour.apply(&options.behaviour);
    let state = Rc::new(State {
        stats: Stats::default(),
        behaviour: RefCell::new(behaviour),
        last: RefCell::default(),
        model: options.model.clone(),
        error_seed: Cell::new(1),
    });
    let socket = if options.listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(options.listen).with_context(|| format!("cannot listen on {}", options.listen))?;
    let listener = socket.listen(BACKLOG)?;
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        spawn_local(connection(stream, state.clone()));
    }
}

async fn connection(stream: TcpStream, state: Rc<State>) {
    let _ = stream.set_nodelay(true);
    more(&state.stats.connections);
    more(&state.stats.connections_open);
    let serving = state.clone();
    let service = service_fn(move |request| {
        let state = serving.clone();
        async move { Ok::<_, Infallible>(handle(request, state).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new().pipeline_flush(true).serve_connection(TokioIo::new(stream), service).await;
    less(&state.stats.connections_open);
}

async fn handle(request: Request<Incoming>, state: Rc<State>) -> Response<Answer> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if parts.method == Method::GET || path == "/control" {
        return control(path, parts.uri.query().unwrap_or_default(), &state);
    }
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return json_answer(400, r#"{"error":{"message":"the body broke off or is too large"}}"#.into());
    };
    let body = body.to_bytes();
    let count = state.stats.requests.get();
    state.stats.requests.set(count + 1);
    state.stats.body_bytes.set(state.stats.body_bytes.get() + body.len() as u64);
    if count.is_multiple_of(KEEP_EVERY) {
        *state.last.borrow_mut() = describe(path, &parts.headers, &body);
    }
    let mut behaviour = state.behaviour.borrow().clone();
    if let Some(pairs) = parts.headers.get("x-mock").and_then(|value| value.to_str().ok()) {
        behaviour.apply(pairs);
    }
    infer(path, &body, behaviour, state).await
}

/// What is asked of the fake itself, and the probes.
fn control(path: &str, query: &str, state: &State) -> Response<Answer> {
    match path {
        "/control" => {
            state.behaviour.borrow_mut().apply(query);
            json_answer(200, json!({"behaviour": &*state.behaviour.borrow()}).to_string())
        }
        "/stats" => json_answer(200, state.stats.to_json()),
        "/last" => json_answer(200, state.last.borrow().clone()),
        _ => match answers::probe(path, &state.model) {
            Some(text) => json_answer(200, text),
            None => json_answer(404, r#"{"error":{"message":"not found"}}"#.into()),
        },
    }
}

fn describe(path: &str, headers: &HeaderMap, body: &[u8]) -> String {
    let headers: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))).collect();
    json!({"path": path, "headers": headers, "body": String::from_utf8_lossy(body)}).to_string()
}

async fn infer(path: &str, body: &[u8], behaviour: Behaviour, state: Rc<State>) -> Response<Answer> {
    let api = api(path);
    let says = |text: &[u8]| memmem::find(body, text).is_some();
    let is_stream = match api {
        Some(Api::Gemini) => path.contains(":streamGenerateContent"),
        _ => says(b"\"stream\":true") || says(b"\"stream\": true"),
    };
    let asks_usage = says(b"\"include_usage\":true") || says(b"\"include_usage\": true");
    let model = named_model(body).unwrap_or(&state.model).to_owned();
    if is_error(&behaviour, &state) {
        more(&state.stats.errors_sent);
        let status = behaviour.err_status;
        return json_answer(status, format!(r#"{{"type":"error","error":{{"type":"mock_error","message":"injected {status}"}}}}"#));
    }
    if behaviour.ttft_ms > 0 && !is_stream {
        sleep(Duration::from_millis(behaviour.ttft_ms)).await;
    }
    if path.ends_with("/embeddings") {
        return json_answer(200, answers::embedding(&model));
    }
    if path.ends_with("/count_tokens") {
        return json_answer(200, r#"{"input_tokens":100}"#.into());
    }
    let Some(api) = api else { return json_answer(404, r#"{"error":{"message":"no such path"}}"#.into()) };
    if !is_stream {
        return json_answer(200, answers::whole(api, &model, &text(0, behaviour.out_bytes, false)));
    }
    let mut response = Response::new(Answer::Events(Events::new(api, behaviour, model, asks_usage, state)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn api(path: &str) -> Option<Api> {
    if path.ends_with("/chat/completions") {
        Some(Api::Chat)
    } else if path.ends_with("/responses") {
        Some(Api::Responses)
    } else if path.ends_with("/messages") {
        Some(Api::Messages)
    } else if path.contains(":generateContent") || path.contains(":streamGenerateContent") {
        Some(Api::Gemini)
    } else {
        None
    }
}

/// The text behind the first `"model"`.
fn named_model(body: &[u8]) -> Option<&str> {
    let rest = &body[memmem::find(body, b"\"model\"")? + 7..];
    let rest = &rest[memchr(b'"', rest)? + 1..];
    std::str::from_utf8(&rest[..memchr(b'"', rest)?]).ok()
}

/// Whether this request is one of those that fail: a fixed sequence, the same in every run.
fn is_error(behaviour: &Behaviour, state: &State) -> bool {
    if behaviour.err_permille == 0 {
        return false;
    }
    let next = state.error_seed.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    state.error_seed.set(next);
    (next >> 33) % 1000 < behaviour.err_permille
}

fn json_answer(status: u16, text: String) -> Response<Answer> {
    let mut response = Response::new(Answer::Whole(Some(text.into())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

enum Answer {
    Whole(Option<Bytes>),
    Events(Events),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Events(events) => Pin::new(events).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::named_model;

    #[test]
    fn the_model_is_found_without_parsing() {
        assert_eq!(named_model(br#"{"x": 1, "model" : "a-b", "y": "z"}"#), Some("a-b"));
        assert_eq!(named_model(b"{}"), None);
        assert_eq!(named_model(br#"{"model": "#), None);
    }
}
