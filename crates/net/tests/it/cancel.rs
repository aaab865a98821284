use std::{future::poll_fn, pin::Pin};

use bytes::Bytes;
use http_body::Body as _;
use testkit::{FakeUpstream, Gate, Hangup, Reply, Script};

use crate::{PATIENT, chat, client, post};

#[tokio::test]
async fn dropping_the_future_closes_the_connection() {
    let upstream = FakeUpstream::start(Script::sequence([Reply::ok().hold_head(&Gate::new()), Reply::ok()]));
    let client = client();
    let (asking, request) = (client.clone(), post(&upstream, Bytes::new()));
    let task = tokio::spawn(async move { asking.send(request, &PATIENT).await.map(|_answer| ()) });
    upstream.request().await;
    task.abort();
    assert_eq!(upstream.hangup().await, Hangup { connection: 0, body_bytes_sent: 0 });
    chat(&client, &upstream).await.expect("the client goes on");
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn dropping_the_body_closes_the_connection() {
    let gate = Gate::new();
    let upstream = FakeUpstream::start(Script::always(Reply::events(["data: 1\n\n", "data: 2\n\n"]).hold_pieces(&gate)));
    let client = client();
    gate.pass(1);
    let mut body = client.send(post(&upstream, Bytes::new()), &PATIENT).await.expect("an answer").into_body();
    let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.expect("a frame").expect("no error");
    assert_eq!(frame.into_data().expect("data"), "data: 1\n\n");
    drop(body);
    assert_eq!(upstream.hangup().await, Hangup { connection: 0, body_bytes_sent: 9 });
}

#[tokio::test]
async fn dropping_an_unread_body_closes_the_connection() {
    let upstream = FakeUpstream::start(Script::always(Reply::events(["data: 1\n\n", "data: 2\n\n"]).stall_after(9)));
    drop(client().send(post(&upstream, Bytes::new()), &PATIENT).await.expect("an answer"));
    assert_eq!(upstream.hangup().await.connection, 0);
}
