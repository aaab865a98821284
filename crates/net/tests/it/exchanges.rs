use bytes::Bytes;
use http::{Method, Request};
use http_body::Frame;
use http_body_util::StreamBody;
use net::{Body, Error};
use serde_json::json;
use testkit::{FakeUpstream, Gate, Reply, Script};

use crate::{PATIENT, chat, client, post, text};

#[tokio::test]
async fn a_request_arrives_as_it_was_sent() {
    let upstream = FakeUpstream::start(Script::default());
    let request = Request::post(format!("{}/chat/completions?a=b%20c", upstream.base_url()))
        .header("authorization", "Bearer key")
        .header("host", "forged")
        .body(Bytes::from_static(b"{\"model\":\"m\"}").into())
        .expect("a request");
    let response = client().send(request, &PATIENT).await.expect("an answer");
    assert_eq!(response.status(), 200);
    let answer: serde_json::Value = serde_json::from_str(&text(response).await.expect("a body")).expect("JSON");
    assert_eq!(answer["model"], "m");
    let seen = upstream.request().await;
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.target, "/v1/chat/completions?a=b%20c");
    assert_eq!(seen.header("host"), Some(upstream.address().to_string().as_str()));
    let names: Vec<_> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["host", "authorization", "content-length"], "nothing is added but what HTTP needs");
    assert_eq!(seen.json(), json!({"model": "m"}));
}

#[tokio::test]
async fn connections_are_used_again() {
    let upstream = FakeUpstream::start(Script::default());
    let client = client();
    for _ in 0..5 {
        chat(&client, &upstream).await.expect("an answer");
    }
    assert_eq!(upstream.connections(), 1);
    let head =
        Request::builder().method(Method::GET).uri(format!("{}/models", upstream.base_url())).body(Body::empty()).expect("a request");
    client.fetch(head, &PATIENT, 10_000).await.expect("an answer");
    assert_eq!(upstream.connections(), 1);
    chat(&client.sibling(), &upstream).await.expect("an answer");
    assert_eq!(upstream.connections(), 2, "a sibling has a pool of its own");
}

#[tokio::test]
async fn answers_at_the_same_time_take_connections_of_their_own() {
    let gate = Gate::new();
    let upstream = FakeUpstream::start(Script::always(Reply::ok().hold_pieces(&gate)));
    let client = client();
    let one = client.send(post(&upstream, Bytes::new()), &PATIENT).await.expect("an answer");
    let two = client.send(post(&upstream, Bytes::new()), &PATIENT).await.expect("an answer");
    gate.pass(3);
    assert_eq!(upstream.connections(), 2);
    text(one).await.expect("a body");
    text(two).await.expect("a body");
    chat(&client, &upstream).await.expect("an answer");
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_no_error() {
    let upstream = FakeUpstream::start(Script::always(Reply::ok().then_close()));
    let client = client();
    for n in 1..=20 {
        chat(&client, &upstream).await.expect("an answer");
        assert_eq!(upstream.connections(), n);
    }
    assert_eq!(upstream.requests().len(), 20);
}

#[tokio::test]
async fn a_used_connection_that_dies_silently_costs_one_replay() {
    let upstream = FakeUpstream::start(Script::sequence([Reply::ok(), Reply::nothing(), Reply::ok()]));
    let client = client();
    chat(&client, &upstream).await.expect("the first answer");
    chat(&client, &upstream).await.expect("replayed on a fresh connection");
    assert_eq!(upstream.requests().iter().map(|seen| seen.connection).collect::<Vec<_>>(), [0, 0, 1]);
    assert_eq!(upstream.requests()[2].json(), json!({"model": "m"}));
}

#[tokio::test]
async fn a_fresh_connection_that_dies_silently_is_not_replayed() {
    let upstream = FakeUpstream::start(Script::sequence([Reply::nothing(), Reply::ok()]));
    let error = chat(&client(), &upstream).await.expect_err("no answer");
    assert!(matches!(error, Error::Closed { sent: true, .. }) && error.was_sent(), "{error:?}");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_replay_happens_once() {
    let upstream = FakeUpstream::start(Script::sequence([Reply::ok(), Reply::nothing()]));
    let client = client();
    chat(&client, &upstream).await.expect("the first answer");
    let error = chat(&client, &upstream).await.expect_err("no answer");
    assert!(matches!(error, Error::Closed { sent: true, .. }), "{error:?}");
    assert_eq!(upstream.requests().len(), 3);
}

#[tokio::test]
async fn a_streamed_body_is_sent_in_pieces_and_not_replayed() {
    let upstream = FakeUpstream::start(Script::sequence([Reply::ok(), Reply::nothing(), Reply::ok()]));
    let client = client();
    let stream = || {
        let pieces = ["{\"model\":", "\"m\"}"].map(|piece| Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(piece))));
        Body::stream(StreamBody::new(futures_util::stream::iter(pieces)))
    };
    text(client.send(post(&upstream, stream()), &PATIENT).await.expect("an answer")).await.expect("a body");
    let seen = upstream.request().await;
    assert_eq!((seen.header("transfer-encoding"), seen.json()), (Some("chunked"), json!({"model": "m"})));
    let error = client.send(post(&upstream, stream()), &PATIENT).await.expect_err("no answer");
    assert!(error.was_sent(), "{error:?}");
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_reached_was_not_sent() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let request = Request::post(format!("http://{nobody}/v1/x")).body(Body::empty()).expect("a request");
    let error = client().send(request, &PATIENT).await.expect_err("refused");
    assert!(matches!(&error, Error::Connect { host, cause, .. } if *host == nobody.to_string() && cause.contains("refused")), "{error:?}");
    assert!(!error.was_sent());
    for url in ["/relative", "ftp://127.0.0.1/x", "unix://x/y"] {
        let request = Request::get(url).body(Body::empty()).expect("a request");
        let error = client().send(request, &PATIENT).await.expect_err(url);
        assert!(matches!(error, Error::Url(_)) && !error.was_sent(), "{url}: {error:?}");
    }
    let request = Request::get("ftp://user:secret@127.0.0.1/x?key=secret").body(Body::empty()).expect("a request");
    let error = client().send(request, &PATIENT).await.expect_err("not http");
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn what_is_not_http_is_said() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        std::io::Write::write_all(&mut stream, b"220 mail.example ESMTP\r\n\r\n").expect("written");
        stream
    });
    let request = Request::get(format!("http://{address}/")).body(Body::empty()).expect("a request");
    let error = client().send(request, &PATIENT).await.expect_err("not HTTP");
    drop(server.join());
    assert!(matches!(error, Error::Protocol(_)), "{error:?}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_wherever_it_breaks() {
    let events = ["data: {\"a\":1}\n\n", "data: [DONE]\n\n"];
    let whole = events.concat().len();
    for cut in [0, 1, 7, whole - 1, whole] {
        let upstream = FakeUpstream::start(Script::always(Reply::events(events).cut_after(cut)));
        let client = client();
        let error = chat(&client, &upstream).await.expect_err("a body without its end");
        assert!(matches!(error, Error::Body(_)), "cut after {cut}: {error:?}");
    }
}

#[tokio::test]
async fn bodies_are_bounded() {
    let upstream = FakeUpstream::start(Script::always(Reply::whole("text/plain", vec![b'x'; 5000])));
    let client = client();
    let get = || post(&upstream, Bytes::new());
    let whole = client.fetch(get(), &PATIENT, 5000).await.expect("it fits");
    assert_eq!(whole.body().len(), 5000);
    assert!(matches!(client.fetch(get(), &PATIENT, 4999).await, Err(Error::TooLarge { max: 4999 })));
    upstream.set_script(Script::always(Reply::events(vec!["x"; 5000])));
    assert_eq!(client.fetch(get(), &PATIENT, 5000).await.expect("it fits").body().len(), 5000);
    assert!(matches!(client.fetch(get(), &PATIENT, 4999).await, Err(Error::TooLarge { max: 4999 })));
}

#[tokio::test]
async fn redirects_are_answers() {
    let upstream =
        FakeUpstream::start(Script::always(Reply::whole("text/plain", "gone").status(302).header("location", "http://127.0.0.1:1/")));
    let answer = client().fetch(post(&upstream, Bytes::new()), &PATIENT, 100).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), upstream.requests().len()), (302, 1));
}

#[test]
fn each_runtime_has_its_own_client() {
    let upstream = FakeUpstream::start(Script::default());
    let first = client();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (client, url) = (first.sibling(), upstream.base_url());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async {
                    for _ in 0..20 {
                        let request = Request::post(format!("{url}/embeddings")).body(Body::empty()).expect("a request");
                        client.fetch(request, &PATIENT, 10_000).await.expect("an answer");
                    }
                });
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
    assert_eq!((upstream.requests().len(), upstream.connections()), (40, 2));
}

/// `{"said":"compressed"}` by gzip.
const GZIPPED: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\xab\x56\x2a\x4e\xcc\x4c\x51\xb2\x52\x4a\xce\xcf\x2d\x28\x4a\x2d\x2e\x4e\x4d\x51\xaa\x05\x00\x9f\x19\xf0\xc7\x15\x00\x00\x00";

#[tokio::test]
async fn a_compressed_answer_is_read_and_the_next_takes_the_same_connection() {
    let whole = || Reply::whole("application/json", GZIPPED).header("content-encoding", "gzip");
    let cut = Reply::whole("application/json", &GZIPPED[..20]).header("content-encoding", "gzip");
    let upstream = FakeUpstream::start(Script::sequence([whole(), whole().split_every(3), cut]));
    let client = client();
    for _ in 0..2 {
        let response = client.send(post(&upstream, Bytes::from_static(b"{}")), &PATIENT).await.expect("an answer");
        assert!(!response.headers().contains_key("content-encoding") && !response.headers().contains_key("content-length"));
        assert_eq!(text(response).await.expect("a body"), "{\"said\":\"compressed\"}");
    }
    assert!(matches!(chat(&client, &upstream).await, Err(Error::Body(_))), "cut off");
    assert_eq!(upstream.connections(), 1);
}
