use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use net::{Body, Client, Error, IdleTimeout, Phase, Settings, Timeouts, read_all};
use testkit::{FakeUpstream, Gate, Reply, Script};

use crate::{PATIENT, SHORT, chat, client, post};

#[tokio::test]
async fn a_head_that_does_not_come_times_out_and_closes() {
    let upstream = FakeUpstream::start(Script::always(Reply::ok().hold_head(&Gate::new())));
    let error = client().send(post(&upstream, Bytes::new()), &Timeouts { first_byte: SHORT, ..PATIENT }).await.expect_err("no head");
    assert_eq!(error.timeout(), Some(Phase::FirstByte));
    assert!(error.was_sent());
    assert_eq!(upstream.hangup().await.body_bytes_sent, 0);
}

#[tokio::test]
async fn a_connection_that_is_not_accepted_times_out() {
    // A listener whose queue is full answers no SYN: the connection stays in the making.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
    let listener = socket.listen(1).expect("listening");
    let address = listener.local_addr().expect("an address");
    let mut filling = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        filling.push(stream);
        assert!(filling.len() < 1000, "the queue never fills");
    }
    let request = Request::get(format!("http://{address}/")).body(Body::empty()).expect("a request");
    let error = client().send(request, &Timeouts { connect: SHORT, ..PATIENT }).await.expect_err("no connection");
    assert_eq!(error.timeout(), Some(Phase::Connect));
    assert!(!error.was_sent());
}

#[tokio::test]
async fn a_stream_that_stalls_times_out_and_closes() {
    let upstream = FakeUpstream::start(Script::always(Reply::events(["data: 1\n\n", "data: 2\n\n"]).stall_after(9)));
    let body = client().send(post(&upstream, Bytes::new()), &PATIENT).await.expect("an answer").into_body();
    let error = read_all(body.with_idle_timeout(SHORT), 1000).await.expect_err("a stall");
    assert_eq!(error.timeout(), Some(Phase::Idle));
    assert_eq!(upstream.hangup().await.body_bytes_sent, 9);
}

/// Gives three frames, and makes its reader come twice for each.
struct Hesitant {
    frames_left: usize,
    is_ready: bool,
}

impl http_body::Body for Hesitant {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.is_ready = !self.is_ready;
        if self.is_ready {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = self.frames_left.checked_sub(1);
        self.frames_left = next.unwrap_or(0);
        Poll::Ready(next.map(|_left| Ok(Frame::data(Bytes::from_static(b"x")))))
    }
}

#[tokio::test]
async fn a_reader_that_is_slow_itself_does_not_time_its_upstream_out() {
    let mut body = Box::pin(IdleTimeout::new(Hesitant { frames_left: 3, is_ready: false }, SHORT));
    let mut frames = 0;
    while let Some(frame) = poll_fn(|cx| http_body::Body::poll_frame(body.as_mut(), cx)).await {
        frame.expect("no timeout");
        frames += 1;
        // The timer that was started by the first wait is overdue when the reader comes back.
        tokio::time::sleep(SHORT * 2).await;
    }
    assert_eq!(frames, 3);
}

#[tokio::test]
async fn a_whole_exchange_is_bounded() {
    let upstream = FakeUpstream::start(Script::always(Reply::events(vec!["x"; 10_000]).gap(Duration::from_millis(5))));
    let limits = Timeouts { total: SHORT, ..PATIENT };
    let error = client().fetch(post(&upstream, Bytes::new()), &limits, 100_000).await.expect_err("too slow");
    assert_eq!(error.timeout(), Some(Phase::Total));
    upstream.hangup().await;
}

#[tokio::test]
async fn idle_connections_are_closed_after_their_time() {
    let upstream = FakeUpstream::start(Script::default());
    let client = Client::new(Settings { idle_plain: Duration::ZERO, ..Settings::default() });
    for n in 1..=3 {
        chat(&client, &upstream).await.expect("an answer");
        assert_eq!(upstream.connections(), n, "none is young enough to be used again");
    }
}

#[test]
fn errors_tell_their_phase() {
    for (phase, was_sent) in [(Phase::Connect, false), (Phase::FirstByte, true), (Phase::Idle, true), (Phase::Total, true)] {
        let error = Error::Timeout(phase);
        assert_eq!((error.timeout(), error.was_sent()), (Some(phase), was_sent));
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::TimedOut);
    }
}
