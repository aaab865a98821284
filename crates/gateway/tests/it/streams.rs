//! Many streams, and silent ones.

use serde_json::json;
use store::requests::{self, Filter};
use testkit::{FakeUpstream, Gate, Reply, Script};

use crate::router::{KEY, Router, Setup, eventually, soon};

const FIRST: &str = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one\"},\"finish_reason\":null}]}\n\n";
const LAST: &str =
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" two\"},\"finish_reason\":null}]}\n\ndata: [DONE]\n\n";

#[tokio::test]
async fn two_hundred_callers_that_leave_leave_nothing_behind() {
    const STREAMS: usize = 200;
    let upstream = FakeUpstream::start(Script::always(Reply::events([FIRST, LAST]).stall_after(FIRST.len())));
    let router = Setup::new().upstream("mock", &upstream).start();
    let opening: Vec<_> = (0..STREAMS).map(|_| tokio::spawn(router.chat("gpt-mock", json!({"stream": true})).open())).collect();
    let mut streams = Vec::new();
    for stream in opening {
        let mut stream = stream.await.unwrap();
        stream.until("one").await;
        streams.push(stream);
    }
    assert_eq!(router.metric("router_open_streams").await as usize, STREAMS);
    assert_eq!(router.metric("router_active_requests").await as usize, STREAMS);
    drop(streams);
    for _ in 0..STREAMS {
        soon("the upstream is left", upstream.hangup()).await;
    }
    for name in ["router_open_streams", "router_active_requests"] {
        eventually(name, || async { (router.metric(name).await as usize == 0).then_some(()) }).await;
    }
    let store = router.store().await;
    let filter = Filter { limit: 1000, outcome: Some("cancelled".to_owned()), ..Filter::default() };
    eventually("their records", || async { (requests::recent(&store, &filter).await.unwrap().len() == STREAMS).then_some(()) }).await;
    assert_eq!(requests::count(&store).await.unwrap() as usize, STREAMS);
}

/// One router for all: its upstream plays what `script` says next.
fn kept_alive() -> (FakeUpstream, Router) {
    let upstream = FakeUpstream::start(Script::default());
    let router = Setup::new().upstream("mock", &upstream).set("stream", json!({"keepalive": "1s"})).start();
    (upstream, router)
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive() {
    let (upstream, router) = kept_alive();
    for asks in [false, true] {
        // The end of a frame may come in a piece of its own.
        for split in [FIRST.len(), FIRST.len() - 1, 1] {
            let gate = Gate::new();
            upstream.set_script(Script::always(Reply::events([FIRST, LAST]).split_every(split).hold_pieces(&gate)));
            gate.pass(FIRST.len().div_ceil(split));
            let more = json!({"stream": true, "stream_options": {"include_usage": asks}});
            let mut stream = router.chat("gpt-mock", more).open().await;
            let said = stream.until(": keepalive\n\n").await;
            // A piece more may have come with the frame's end.
            assert!(said.starts_with(FIRST), "split every {split}: {said:?}");
            gate.pass(LAST.len());
            let said = stream.rest().await;
            assert_eq!(said.replace(": keepalive\n\n", ""), [FIRST, LAST].concat(), "split every {split}");
        }
    }
}

#[tokio::test]
async fn no_comment_comes_between_the_halves_of_a_frame() {
    let (upstream, router) = kept_alive();
    let half = FIRST.len() / 2;
    for asks in [false, true] {
        let (gate, open) = (Gate::new(), Gate::new());
        open.pass(1);
        let halves = Reply::events([&FIRST[..half], &FIRST[half..], LAST]).hold_pieces(&gate);
        upstream.set_script(Script::sequence([halves, Reply::events([FIRST, LAST]).hold_pieces(&open)]));
        let more = json!({"stream": true, "stream_options": {"include_usage": asks}});
        gate.pass(1);
        let stream = router.chat("gpt-mock", more).open().await;
        // A second stream, silent after a whole frame, shows how time goes by.
        let mut clock = router.chat("gpt-mock", json!({"stream": true})).open().await;
        clock.until(": keepalive\n\n: keepalive\n\n").await;
        gate.pass(2);
        let said = stream.rest().await;
        assert!(said.contains(FIRST), "{said:?}");
        assert_eq!(said.replace(": keepalive\n\n", ""), [FIRST, LAST].concat());
    }
}

const PIECE_BYTES: usize = 64 << 10;
const PIECES: usize = 768;
/// What the buffers of four sockets on the way may hold, and little more; half of the stream.
const HELD_BYTES_MAX: usize = PIECES * PIECE_BYTES / 2;

/// A stream of many megabytes.
fn much() -> Reply {
    let piece = FIRST.replace("one", &"x".repeat(PIECE_BYTES));
    Reply::events(std::iter::repeat_n(bytes::Bytes::from(piece), PIECES).chain([LAST.into()]))
}

#[tokio::test]
async fn a_caller_that_reads_slowly_holds_up_its_upstream_and_nobody_else() {
    let upstream = FakeUpstream::start(Script::always(much()));
    let router = Setup::new().upstream("mock", &upstream).start();
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let body = json!({"model": "gpt-mock", "stream": true, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
        let slow = router.post(path, &body).open().await;
        assert_eq!(slow.status, 200);
        // Another caller's stream from its begin to its end is time enough for what nobody takes to pile up.
        let whole = router.post(path, &body).send().await;
        assert!(whole.body.len() > PIECES * PIECE_BYTES, "{path}: {}", whole.body.len());
        drop(slow);
        let left = soon("the upstream is left", upstream.hangup()).await;
        assert!(left.body_bytes_sent < HELD_BYTES_MAX, "{path}: {} bytes were read for a caller that takes none", left.body_bytes_sent);
    }
}

#[tokio::test]
async fn an_upstream_that_always_has_more_ends_with_its_time() {
    let upstream = FakeUpstream::start(Script::always(much()));
    let total = std::time::Duration::from_secs(1);
    let router = Setup::new().upstream("mock", &upstream).set("timeouts", json!({"total": "1s"})).start();
    let stream = router.chat("gpt-mock", json!({"stream": true})).header("x-request-id", "endless").open().await;
    // Its time goes by; what is read then lies ready, so nothing ever has to be waited for.
    tokio::time::sleep(total).await;
    let said = stream.rest().await;
    assert!(said.contains("the request's time is over") && !said.contains("[DONE]"), "{} bytes", said.len());
    assert_eq!(&*router.record("endless").await.outcome, "error");
}

#[tokio::test]
async fn a_caller_that_takes_nothing_is_left() {
    let upstream = FakeUpstream::start(Script::always(much()));
    let router = Setup::new().upstream("mock", &upstream).set("timeouts", json!({"idle": "1s"})).start();
    let slow = router.chat("gpt-mock", json!({"stream": true})).header("x-request-id", "slow").open().await;
    let left = soon("the upstream is left", upstream.hangup()).await;
    assert!(left.body_bytes_sent < HELD_BYTES_MAX, "{}", left.body_bytes_sent);
    let row = router.record("slow").await;
    assert_eq!(&*row.outcome, "cancelled");
    assert!(row.completion_tokens.is_some_and(|n| n > 0), "{row:?}");
    drop(slow);
}

#[tokio::test]
async fn a_caller_that_takes_nothing_of_one_stream_among_others_is_left_there() {
    let upstream = FakeUpstream::start(Script::always(much()));
    let router = Setup::new().upstream("mock", &upstream).set("timeouts", json!({"idle": "1s"})).start();
    let socket = tokio::net::TcpStream::connect(router.address()).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), hyper_util::rt::TokioIo::new(socket)).await.unwrap();
    let connection = tokio::spawn(connection);
    let ask = |method: &str, path: &str, body: String| {
        let request = http::Request::builder().method(method).uri(format!("http://{}{path}", router.address()));
        let request = request.header("authorization", format!("Bearer {KEY}")).header("x-request-id", "held");
        request.header("content-type", "application/json").body(http_body_util::Full::new(bytes::Bytes::from(body))).unwrap()
    };
    let wanted = json!({"model": "gpt-mock", "stream": true, "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let held = client.send_request(ask("POST", "/v1/chat/completions", wanted.clone())).await.unwrap();
    assert_eq!((held.status(), held.version()), (http::StatusCode::OK, http::Version::HTTP_2));
    let left = soon("the upstream is left", upstream.hangup()).await;
    assert!(left.body_bytes_sent < HELD_BYTES_MAX, "{}", left.body_bytes_sent);
    assert_eq!(&*router.record("held").await.outcome, "cancelled");

    // The connection and its other streams live on, from their beginnings to their ends.
    let health = client.send_request(ask("GET", "/health", String::new())).await.unwrap();
    assert_eq!(health.status(), http::StatusCode::OK);
    upstream.set_script(Script::always(Reply::events([FIRST, LAST])));
    let whole = client.send_request(ask("POST", "/v1/chat/completions", wanted)).await.unwrap();
    let text = http_body_util::BodyExt::collect(whole.into_body()).await.unwrap().to_bytes();
    assert!(text.ends_with(b"data: [DONE]\n\n"), "{text:?}");
    // What was let go is no whole answer, however late it is read.
    assert!(http_body_util::BodyExt::collect(held.into_body()).await.is_err());
    drop(client);
    let _ = connection.await;
}
