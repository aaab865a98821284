//! A caller.

use std::{future::poll_fn, pin::Pin};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body::Body as _;
use net::ResponseBody;
use serde_json::{Value, json};

use crate::router::{KEY, PATIENCE, Router};

const BODY_BYTES_MAX: usize = 64 << 20;
const TIMEOUTS: net::Timeouts = net::Timeouts { connect: PATIENCE, first_byte: PATIENCE, idle: PATIENCE, total: PATIENCE };

/// A request in the making; it carries the client's key unless told otherwise.
pub(crate) struct Ask {
    request: Request<net::Body>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An answer that is being read.
pub(crate) struct Stream {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: ResponseBody,
    seen: Vec<u8>,
}

impl Router {
    pub(crate) fn ask(&self, method: Method, path: &str) -> Ask {
        let mut request = Request::new(net::Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = format!("{}{path}", self.url).parse().unwrap();
        Ask { request }.key(KEY)
    }

    pub(crate) fn get(&self, path: &str) -> Ask {
        self.ask(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Ask {
        self.ask(Method::POST, path).json(body)
    }

    /// A chat with one message; members of `more` are added to the body.
    pub(crate) fn chat(&self, model: &str, more: Value) -> Ask {
        self.post("/v1/chat/completions", &chat(model, more))
    }

    /// A key made over the API; its id and its secret.
    pub(crate) async fn new_key(&self, more: Value) -> (String, String) {
        let mut body = json!({"name": "made for a test"});
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        let made = self.post("/api/api-keys", &body).key(crate::router::MASTER).send().await;
        assert_eq!(made.status, 201, "{}", made.text());
        let text = |name: &str| made.json()[name].as_str().unwrap().to_owned();
        (text("id"), text("key"))
    }

    /// The value of a metric without labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").send().await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().parse().unwrap()
    }
}

/// The body of a chat with one message.
pub(crate) fn chat(model: &str, more: Value) -> Value {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    body
}

impl Ask {
    /// Shows this key in the place of the client's.
    pub(crate) fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// Shows no key.
    pub(crate) fn nobody(mut self) -> Self {
        self.request.headers_mut().remove("authorization");
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().unwrap();
        self.request.headers_mut().insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body(body.to_string()).header("content-type", "application/json")
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        *self.request.body_mut() = net::Body::from(body.into());
        self
    }

    /// A body without a length.
    pub(crate) fn chunked(mut self, pieces: Vec<Bytes>) -> Self {
        let frames = pieces.into_iter().map(|piece| Ok::<_, std::io::Error>(http_body::Frame::data(piece)));
        *self.request.body_mut() = net::Body::stream(http_body_util::StreamBody::new(futures_util::stream::iter(frames)));
        self
    }

    /// Sends it and reads the whole answer.
    pub(crate) async fn send(self) -> Answer {
        let what = format!("{} {}", self.request.method(), self.request.uri());
        let answer = net::Client::new(net::Settings::default()).fetch(self.request, &TIMEOUTS, BODY_BYTES_MAX).await;
        let (head, body) = answer.unwrap_or_else(|e| panic!("{what}: {e}")).into_parts();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    /// Sends it and waits for the head of the answer.
    pub(crate) async fn open(self) -> Stream {
        let answer = net::Client::new(net::Settings::default()).send(self.request, &TIMEOUTS).await.unwrap();
        let (head, body) = answer.into_parts();
        Stream { status: head.status.as_u16(), headers: head.headers, body, seen: Vec::new() }
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// `error.code`.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The `data:` of all events of a stream; comments are passed over, and anything else is an error.
    pub(crate) fn events(&self) -> Vec<String> {
        events(&self.text())
    }
}

/// The `data:` of all events.
pub(crate) fn events(text: &str) -> Vec<String> {
    let text = text.replace("\r\n", "\n");
    let frames = text.split("\n\n").filter(|frame| !frame.is_empty() && !frame.starts_with(':'));
    frames.map(|frame| frame.strip_prefix("data: ").unwrap_or_else(|| panic!("no event: {frame:?} in {text:?}")).to_owned()).collect()
}

impl Stream {
    /// Reads until `needle` has come; everything so far.
    pub(crate) async fn until(&mut self, needle: &str) -> String {
        while !self.text().contains(needle) {
            let piece = self.piece().await.unwrap_or_else(|| panic!("the stream ended before {needle:?}: {:?}", self.text()));
            self.seen.extend_from_slice(&piece);
        }
        self.text()
    }

    /// Reads to the end; everything.
    pub(crate) async fn rest(mut self) -> String {
        while let Some(piece) = self.piece().await {
            self.seen.extend_from_slice(&piece);
        }
        self.text()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    async fn piece(&mut self) -> Option<Bytes> {
        let body = &mut self.body;
        let next = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
        let frame = crate::router::soon("more of the stream", next).await?;
        Some(frame.unwrap_or_else(|e| panic!("the stream broke: {e}")).into_data().unwrap_or_default())
    }
}
