//! One plain HTTP/1.0 exchange with a server on this machine: enough to wait for it and to warm it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result};

/// An answer: status and body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// More than any answer asked for here.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// GETs `path`, or POSTs `body` to it if there is one.
pub(crate) fn exchange(address: SocketAddr, path: &str, key: Option<&str>, body: Option<&str>, timeout: Duration) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(request(address, path, key, body).as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    parse(&String::from_utf8_lossy(&answer))
}

fn request(address: SocketAddr, path: &str, key: Option<&str>, body: Option<&str>) -> String {
    let method = if body.is_some() { "POST" } else { "GET" };
    let authorization = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
    let content = body.map(|body| format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())).unwrap_or_default();
    format!("{method} {path} HTTP/1.0\r\nhost: {address}\r\n{authorization}{content}\r\n{}", body.unwrap_or_default())
}

fn parse(answer: &str) -> Result<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).context("no HTTP status")?;
    Ok(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_carries_key_and_body() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let text = request(address, "/x", Some("sk_1"), Some("{}"));
        assert_eq!(
            text,
            "POST /x HTTP/1.0\r\nhost: 127.0.0.1:80\r\nauthorization: Bearer sk_1\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        );
    }

    #[test]
    fn an_answer_is_split_into_status_and_body() {
        let answer = parse("HTTP/1.0 404 Not Found\r\na: b\r\n\r\n{\"error\":1}").expect("parses");
        assert_eq!((answer.status, answer.body.as_str()), (404, "{\"error\":1}"));
        assert!(parse("nonsense").is_err());
    }
}
