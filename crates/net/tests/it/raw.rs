//! Answers as no well-behaved server sends them, byte by byte.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread::JoinHandle,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::StreamBody;
use hyper_util::rt::TokioIo;
use net::{Body, Client, Error};

use crate::{PATIENT, client};

/// A server that answers the requests of each connection with these bytes, in order, and then closes it. One list per connection; it ends
/// with the last.
fn serve(connections: Vec<Vec<&'static [u8]>>) -> (SocketAddr, JoinHandle<Vec<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let thread = std::thread::spawn(move || connections.into_iter().map(|answers| serve_one(&listener, &answers)).collect());
    (address, thread)
}

/// How many answers were asked for.
fn serve_one(listener: &TcpListener, answers: &[&[u8]]) -> usize {
    let (mut stream, _) = listener.accept().expect("a connection");
    for (given, answer) in answers.iter().enumerate() {
        let mut buffer = [0; 4096];
        if stream.read(&mut buffer).unwrap_or(0) == 0 {
            return given;
        }
        stream.write_all(answer).expect("written");
    }
    answers.len()
}

async fn fetch(client: &Client, method: Method, address: SocketAddr) -> Result<(StatusCode, Bytes), Error> {
    let request = Request::builder().method(method).uri(format!("http://{address}/")).body(Body::empty()).expect("a request");
    let answer = client.fetch(request, &PATIENT, 10_000).await?;
    Ok((answer.status(), answer.into_body()))
}

#[tokio::test]
async fn bodies_end_where_their_heads_say() {
    let cases: [(Method, &'static [u8], &[u8]); 8] = [
        (Method::GET, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"hi"),
        (Method::GET, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;x\r\nh\r\n1\r\ni\r\n0\r\nt: x\r\n\r\n", b"hi"),
        (Method::GET, b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (Method::GET, b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"hi"),
        (Method::HEAD, b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n", b""),
        (Method::GET, b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (
            Method::GET,
            b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            b"hi",
        ),
        (Method::GET, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b""),
    ];
    for (method, answer, body) in cases {
        let (address, server) = serve(vec![vec![answer]]);
        let (status, came) = fetch(&client(), method, address).await.expect("an answer");
        assert!(status.is_success());
        assert_eq!(came, body, "{}", String::from_utf8_lossy(answer));
        assert_eq!(server.join().expect("no panic"), [1]);
    }
}

#[tokio::test]
async fn a_connection_is_used_again_only_where_that_is_safe() {
    const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
    let cases: [(&'static [u8], bool); 6] = [
        (PLAIN, true),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", true),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nhi", true),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi", false),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", false),
        // More than the answer: whatever that is, the next answer would not begin where it should.
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1 500 Forged\r\ncontent-length: 0\r\n\r\n", false),
    ];
    for (first, is_used_again) in cases {
        let connections = if is_used_again { vec![vec![first, PLAIN]] } else { vec![vec![first, PLAIN], vec![PLAIN]] };
        let (address, server) = serve(connections);
        let client = client();
        for _ in 0..2 {
            let (status, body) = fetch(&client, Method::GET, address).await.expect("an answer");
            assert_eq!((status.as_u16(), &body[..]), (200, &b"hi"[..]), "{}", String::from_utf8_lossy(first));
        }
        let asked = server.join().expect("no panic");
        assert_eq!(asked, if is_used_again { vec![2] } else { vec![1, 1] }, "{}", String::from_utf8_lossy(first));
    }
}

#[tokio::test]
async fn answers_that_cannot_be_read_are_protocol_faults() {
    let cases: [&'static [u8]; 6] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nhi",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header: x\r\n\r\n",
        b"HTTP/3 200 OK\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ];
    for answer in cases {
        let (address, server) = serve(vec![vec![answer]]);
        let error = fetch(&client(), Method::GET, address).await.expect_err("no HTTP");
        assert!(matches!(error, Error::Protocol(_)) && error.was_sent(), "{error:?} for {}", String::from_utf8_lossy(answer));
        drop(server.join());
    }
}

#[tokio::test]
async fn a_head_that_breaks_off_is_not_replayed() {
    const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
    let (address, server) = serve(vec![vec![PLAIN, b"HTTP/1.1 200 OK\r\ncontent-"]]);
    let client = client();
    fetch(&client, Method::GET, address).await.expect("an answer");
    let error = fetch(&client, Method::GET, address).await.expect_err("half a head");
    assert!(matches!(error, Error::Closed { sent: true, .. }), "{error:?}");
    assert_eq!(server.join().expect("no panic"), [2]);
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
    head.extend(format!("a: {}\r\n", "x".repeat(600_000)).as_bytes());
    let (address, server) = serve(vec![vec![Box::leak(head.into_boxed_slice())]]);
    let error = fetch(&client(), Method::GET, address).await.expect_err("too long");
    assert!(matches!(&error, Error::Protocol(cause) if cause.contains("head of more than")), "{error:?}");
    drop(server);
}

#[tokio::test]
async fn an_answer_before_the_request_is_whole_is_taken() {
    let (address, server) = serve(vec![vec![b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"]]);
    // A body that never ends by itself.
    let endless = Body::stream(StreamBody::new(futures_util::stream::pending::<Result<_, std::io::Error>>()));
    let request = Request::post(format!("http://{address}/")).body(endless).expect("a request");
    let client = client();
    let answer = client.fetch(request, &PATIENT, 100).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (413, &b"no"[..]));
    assert_eq!(server.join().expect("no panic"), [1]);
}

#[tokio::test]
async fn bodies_larger_than_any_buffer_go_both_ways() {
    let size = 20_000_000;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        // An echo: it sends while it receives.
        let echo = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async move {
            Ok::<_, std::convert::Infallible>(http::Response::new(request.into_body()))
        });
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), echo).await
    });
    let body: Bytes = (0..size).map(|n: u32| (n % 251) as u8).collect();
    let request = Request::post(format!("http://{address}/")).body(body.clone().into()).expect("a request");
    let answer = client().fetch(request, &PATIENT, size as usize).await.expect("an answer");
    assert!(answer.body() == &body);
}
