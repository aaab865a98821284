//! Heads: of a request as bytes, of an answer from bytes.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
};
use httparse::{ParserConfig, Status};

use crate::body::{Body, Payload};

/// Most headers of an answer.
const HEADERS_MAX: usize = 100;

/// A request ready to be written.
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) head: Bytes,
    pub(crate) payload: Payload,
    /// The payload travels in chunks.
    pub(crate) is_chunked: bool,
    /// Whoever sends it reads compressed answers itself.
    pub(crate) reads_compressed: bool,
}

impl Outgoing {
    /// Writes the head. `target` is what stands in the first line, `host` the `Host` header; what the framing needs is ours to say.
    pub(crate) fn new(request: Request<Body>, target: &str, host: &HeaderValue) -> Self {
        let (parts, body) = request.into_parts();
        let length = body.size_hint().exact();
        let mut head = Vec::with_capacity(256 + target.len() + 48 * parts.headers.len());
        for piece in [parts.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
            head.extend_from_slice(piece.as_bytes());
        }
        line(&mut head, &HOST, host);
        let ours = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION];
        for (name, value) in parts.headers.iter().filter(|(name, _)| !ours.contains(name)) {
            line(&mut head, name, value);
        }
        match length {
            Some(0) if !matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) => {}
            Some(length) => line(&mut head, &CONTENT_LENGTH, &HeaderValue::from(length)),
            None => line(&mut head, &TRANSFER_ENCODING, &HeaderValue::from_static("chunked")),
        }
        head.extend_from_slice(b"\r\n");
        Self {
            method: parts.method,
            head: head.into(),
            payload: body.into_payload(),
            is_chunked: length.is_none(),
            reads_compressed: parts.headers.get(ACCEPT_ENCODING).is_some_and(|encodings| encodings != "identity"),
        }
    }

    /// The same request again, where its payload is in memory.
    pub(crate) fn copy(&self) -> Option<Self> {
        let Payload::Full(bytes) = &self.payload else { return None };
        Some(Self {
            method: self.method.clone(),
            head: self.head.clone(),
            payload: Payload::Full(bytes.clone()),
            is_chunked: self.is_chunked,
            reads_compressed: self.reads_compressed,
        })
    }
}

fn line(head: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    head.extend_from_slice(name.as_str().as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value.as_bytes());
    head.extend_from_slice(b"\r\n");
}

/// An answer's head and how many bytes it took; None where more are needed. Header values share `raw`'s memory.
pub(crate) fn parse(raw: &Bytes) -> Result<Option<(Response<()>, usize)>, String> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let status = ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, raw, &mut headers);
    let Status::Complete(used) = status.map_err(|error| error.to_string())? else { return Ok(None) };
    let mut response = Response::new(());
    *response.status_mut() = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or("a status beyond those there are")?;
    *response.version_mut() = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let map = response.headers_mut();
    map.reserve(parsed.headers.len());
    for header in parsed.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|error| error.to_string())?;
        let value = HeaderValue::from_maybe_shared(raw.slice_ref(header.value)).map_err(|error| error.to_string())?;
        map.append(name, value);
    }
    Ok(Some((response, used)))
}

/// Whether the connection may carry another exchange after this answer.
pub(crate) fn keeps_alive(version: Version, headers: &HeaderMap) -> bool {
    let says = |word: &[u8]| {
        let values = headers.get_all(CONNECTION).iter();
        values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).any(|token| token.trim_ascii().eq_ignore_ascii_case(word))
    };
    if version == Version::HTTP_10 { says(b"keep-alive") } else { !says(b"close") }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderValue, Method, Request, Version};
    use proptest::prelude::{any, prop, proptest};

    use super::{Outgoing, keeps_alive, parse};
    use crate::Body;

    fn written(method: Method, body: Body) -> String {
        let request = Request::builder()
            .method(method)
            .header("a", "1")
            .header("host", "forged")
            .header("content-length", "999")
            .header("transfer-encoding", "gzip")
            .header("connection", "close")
            .header("a", "2")
            .body(body)
            .expect("a request");
        let outgoing = Outgoing::new(request, "/p?q", &HeaderValue::from_static("h:1"));
        String::from_utf8(outgoing.head.to_vec()).expect("text")
    }

    #[test]
    fn requests_say_what_they_are_and_no_more() {
        let body = || Body::from(Bytes::from_static(b"hello"));
        assert_eq!(written(Method::POST, body()), "POST /p?q HTTP/1.1\r\nhost: h:1\r\na: 1\r\na: 2\r\ncontent-length: 5\r\n\r\n");
        assert_eq!(written(Method::POST, Body::empty()), "POST /p?q HTTP/1.1\r\nhost: h:1\r\na: 1\r\na: 2\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(written(Method::GET, Body::empty()), "GET /p?q HTTP/1.1\r\nhost: h:1\r\na: 1\r\na: 2\r\n\r\n");
    }

    #[test]
    fn answers_are_read_once_they_are_whole() {
        let raw = b"HTTP/1.1 200 OK\r\nA: x\r\na: y\r\nB: \xe4\r\n\r\nbody";
        for end in 0..raw.len() - 4 {
            assert!(parse(&Bytes::copy_from_slice(&raw[..end])).expect("no error").is_none(), "{end}");
        }
        let (response, used) = parse(&Bytes::from_static(raw)).expect("valid").expect("whole");
        assert_eq!((response.status().as_u16(), &raw[used..]), (200, &b"body"[..]));
        assert_eq!(response.headers().get_all("a").iter().collect::<Vec<_>>(), ["x", "y"]);
        for wrong in [&b"HTTP/2 200 OK\r\n\r\n"[..], b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 20 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\na b: c\r\n\r\n"]
        {
            assert!(parse(&Bytes::from_static(wrong)).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
        let many = ["HTTP/1.1 200 OK\r\n", &"a: b\r\n".repeat(101), "\r\n"].concat();
        assert!(parse(&many.into()).is_err());
    }

    #[test]
    fn connections_live_on_unless_an_answer_says_otherwise() {
        let headers = |value: &'static str| [(http::header::CONNECTION, HeaderValue::from_static(value))].into_iter().collect();
        assert!(keeps_alive(Version::HTTP_11, &headers("keep-alive")));
        assert!(!keeps_alive(Version::HTTP_11, &headers("x, Close")));
        assert!(!keeps_alive(Version::HTTP_10, &headers("x")));
        assert!(keeps_alive(Version::HTTP_10, &headers("Keep-Alive")));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(raw in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&Bytes::from([b"HTTP/1.1 200 OK\r\n".as_slice(), &raw].concat()));
        }
    }
}
