//! Sound, pictures, moderation, reranking, and forms: passed through both ways, never whole in memory unless they are small.

use bytes::Bytes;
use serde_json::{Value, json};
use testkit::{FakeUpstream, Gate, Reply, Script};

use crate::{
    client::Answer,
    router::{Router, Setup, closed_port, soon},
};

const BOUNDARY: &str = "a-boundary";

/// A form in this order of fields; a field named `file` is a file.
fn form(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let file = if *name == "file" { "; filename=\"speech.wav\"\r\nContent-Type: audio/wav" } else { "" };
        body.extend_from_slice(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").as_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

fn sound(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i * 31 % 251) as u8).collect()
}

async fn upload(router: &Router, path: &str, body: Vec<u8>, id: &str) -> Answer {
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    router.ask(http::Method::POST, path).body(body).header("content-type", &kind).header("x-request-id", id).send().await
}

fn text() -> Reply {
    Reply::json(&json!({"text": "hello", "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 3, "total_tokens": 17}}))
}

/// An account that calls `gpt-mock` by another name.
fn renamed(upstream: &FakeUpstream) -> Setup {
    Setup::new().account("mock", &upstream.base_url(), &["gpt-mock"], json!({"model_map": {"gpt-mock": "their-own-name"}}))
}

async fn decision(router: &Router, id: &str) -> Value {
    serde_json::from_str(&router.record(id).await.decision.unwrap()).unwrap()
}

#[tokio::test]
async fn json_paths_answer_with_and_without_their_version() {
    let said = json!({"data": [], "results": [], "usage": {"input_tokens": 7, "output_tokens": 9}});
    let upstream = FakeUpstream::start(Script::always(Reply::json(&said)));
    let router = renamed(&upstream).start();
    for path in ["/images/generations", "/moderations", "/rerank", "/audio/speech"] {
        for (asked, wanted) in [(path.to_owned(), format!("/v1{path}")), (format!("/v1{path}/"), format!("/v1{path}"))] {
            let id = asked.replace('/', "-");
            let answer = router.post(&asked, &json!({"model": "gpt-mock", "input": "x"})).header("x-request-id", &id).send().await;
            assert_eq!((answer.status, answer.json()), (200, said.clone()), "{asked}");
            let got = soon("the upstream's request", upstream.request()).await;
            assert_eq!((got.path(), &got.json()["model"]), (&*wanted, &json!("their-own-name")));
            let row = router.record(&id).await;
            assert_eq!((&*row.outcome, row.prompt_tokens, row.completion_tokens), ("success", Some(7), Some(9)), "{asked}");
        }
    }
    router.post("/v2/rerank", &json!({"model": "gpt-mock", "query": "q", "documents": []})).send().await;
    assert_eq!(soon("the upstream's request", upstream.request()).await.path(), "/v1/rerank");
    assert_eq!(router.get("/v1/images/generations").send().await.status, 405);
}

#[tokio::test]
async fn azures_paths_name_the_model() {
    let upstream = FakeUpstream::start(Script::default());
    let router = renamed(&upstream).start();
    for (path, body) in [
        ("chat/completions", json!({"messages": [{"role": "user", "content": "hi"}]})),
        ("embeddings", json!({"input": "a", "model": "x"})),
    ] {
        let answer = router.post(&format!("/openai/deployments/gpt-mock/{path}?api-version=2024-10-21"), &body).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let got = soon("the upstream's request", upstream.request()).await;
        assert_eq!((got.target.as_str(), &got.json()["model"]), (&*format!("/v1/{path}"), &json!("their-own-name")));
    }
    upstream.set_script(Script::always(text()));
    let body = form(&[("file", b"RIFF")]);
    let answer = upload(&router, "/openai/deployments/gpt-mock/audio/transcriptions?api-version=1&x=2", body, "azure").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let got = soon("the upstream's request", upstream.request()).await;
    assert_eq!(
        (got.target.as_str(), &*got.body),
        ("/v1/audio/transcriptions?x=2", &*form(&[("model", b"their-own-name"), ("file", b"RIFF")]))
    );
}

#[tokio::test]
async fn a_form_passes_under_the_upstreams_name_wherever_its_model_stands() {
    let upstream = FakeUpstream::start(Script::always(text()));
    let router = renamed(&upstream).set("default_model", json!("gpt-mock")).start();
    let file = sound(3 << 20);
    for (number, path) in
        ["/v1/audio/transcriptions", "/audio/translations", "/v1/images/edits", "/v1/some/other/form"].into_iter().enumerate()
    {
        let fields = |model: &'static [u8]| [[("model", model), ("file", &file)], [("file", &file), ("model", model)]][number % 2];
        let id = format!("form-{number}");
        let answer = upload(&router, path, form(&fields(b"gpt-mock")), &id).await;
        assert_eq!((answer.status, answer.json()["text"].as_str()), (200, Some("hello")), "{}", answer.text());
        let got = soon("the upstream's request", upstream.request()).await;
        assert!(got.path().ends_with(path.trim_start_matches("/v1")) && got.path().starts_with("/v1/"), "{}", got.path());
        assert!(got.body == form(&fields(b"their-own-name")), "the same bytes but for the name");
        assert_eq!(got.header("content-type"), Some(&*format!("multipart/form-data; boundary={BOUNDARY}")));
        assert_eq!(got.header("content-length"), Some(&*got.body.len().to_string()));
        let row = router.record(&id).await;
        assert_eq!((&*row.outcome, row.prompt_tokens, row.completion_tokens), ("success", Some(14), Some(3)));
        assert!(row.bytes_in > 3 << 20, "{}", row.bytes_in);
    }
    let unnamed = upload(&router, "/v1/audio/transcriptions", form(&[("file", b"RIFF")]), "unnamed").await;
    assert_eq!(unnamed.status, 200, "{}", unnamed.text());
    assert_eq!(soon("the upstream's request", upstream.request()).await.body, form(&[("model", b"their-own-name"), ("file", b"RIFF")]));
}

#[tokio::test]
async fn a_form_is_sent_again_while_it_is_held() {
    let (first, second) = (FakeUpstream::start(Script::always(Reply::error(500))), FakeUpstream::start(Script::always(text())));
    let router = Setup::new().upstream("first", &first).upstream("second", &second).start();
    let small = form(&[("model", b"gpt-mock"), ("file", &sound(100_000))]);
    let answer = upload(&router, "/v1/audio/transcriptions", small.clone(), "small").await;
    assert_eq!((answer.status, answer.header("x-llm-router-target"), answer.header("x-llm-router-attempts")), (200, "second", "2"));
    assert_eq!((&first.requests()[0].body, &second.requests()[0].body), (&small.clone().into(), &small.into()));

    let large = form(&[("model", b"gpt-mock"), ("file", &sound(4 << 20))]);
    let answer = upload(&router, "/v1/audio/transcriptions", large, "large").await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_error"), "{}", answer.text());
    assert!(answer.text().contains("too large to be held"), "{}", answer.text());
    assert_eq!(second.requests().len(), 1);
    let said = decision(&router, "large").await;
    assert!(said["attempts"][0]["error"].as_str().unwrap().contains("nobody else was asked"), "{said}");
}

#[tokio::test]
async fn a_large_form_moves_on_where_nothing_of_it_was_sent() {
    let second = FakeUpstream::start(Script::always(text()));
    let nowhere = format!("http://{}/v1", closed_port());
    let router = Setup::new().account("first", &nowhere, &["gpt-mock"], json!({})).upstream("second", &second).start();
    let large = form(&[("model", b"gpt-mock"), ("file", &sound(4 << 20))]);
    let answer = upload(&router, "/v1/audio/transcriptions", large.clone(), "large").await;
    assert_eq!((answer.status, answer.header("x-llm-router-target")), (200, "second"), "{}", answer.text());
    assert!(second.requests()[0].body == large);
}

#[tokio::test]
async fn forms_have_their_bounds() {
    let upstream = FakeUpstream::start(Script::always(text()));
    let router = Setup::new().upstream("mock", &upstream).set("server", json!({"max_upload": "1MiB"})).start();
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let large = form(&[("model", b"gpt-mock"), ("file", &sound(2 << 20))]);
    let path = "/v1/audio/transcriptions";
    let announced = upload(&router, path, large.clone(), "announced").await;
    assert_eq!((announced.status, announced.code().as_str()), (413, "payload_too_large"));
    let pieces = large.chunks(50_000).map(Bytes::copy_from_slice).collect();
    let chunked = router.ask(http::Method::POST, path).chunked(pieces).header("content-type", &kind).send().await;
    assert_eq!((chunked.status, chunked.code().as_str()), (413, "payload_too_large"), "{}", chunked.text());
    let nobody = router.ask(http::Method::POST, path).body(form(&[("model", b"gpt-mock"), ("file", &sound(900_000))]));
    assert_eq!(nobody.header("content-type", &kind).nobody().send().await.status, 401);
    for (fields, param) in
        [(vec![("model", &b"gpt-mock"[..]), ("file", b"x"), ("model", b"gpt-other")], "model"), (vec![("file", &b"x"[..])], "model")]
    {
        let answer = upload(&router, path, form(&fields), "wrong").await;
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!(param)), "{}", answer.text());
    }
    let unknown = upload(&router, path, form(&[("model", b"nobody-has-it"), ("file", b"x")]), "unknown").await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "model_not_found"));
    assert!(upstream.requests().iter().all(|got| got.body.len() < 1 << 20));
}

#[tokio::test]
async fn sound_comes_as_it_is_made() {
    let gate = Gate::new();
    let pieces = [sound(1000), sound(2000), sound(3000)];
    let reply = Reply::events(pieces.clone()).header("content-type", "audio/mpeg").hold_pieces(&gate);
    let upstream = FakeUpstream::start(Script::always(reply));
    let router = Setup::new().upstream("mock", &upstream).start();
    gate.pass(1);
    let asked = router.post("/v1/audio/speech", &json!({"model": "gpt-mock", "input": "hi", "voice": "alloy"}));
    let answer = asked.header("accept", "audio/mpeg").header("x-request-id", "speech").open().await;
    assert_eq!((answer.status, answer.headers["content-type"].as_bytes()), (200, &b"audio/mpeg"[..]));
    assert_eq!(soon("the upstream's request", upstream.request()).await.header("accept"), Some("audio/mpeg"));
    gate.pass(5);
    let whole = net::read_all(answer.body, 1 << 20).await.unwrap();
    assert!(whole == pieces.concat(), "byte for byte");
    let row = router.record("speech").await;
    assert_eq!((&*row.outcome, row.bytes_out, row.target.as_deref()), ("success", 6000, Some("mock")));
}

#[tokio::test]
async fn sound_that_breaks_off_breaks_off_here_too() {
    let upstream = FakeUpstream::start(Script::always(Reply::whole("audio/mpeg", sound(500_000)).cut_after(100_000)));
    let router = Setup::new().upstream("mock", &upstream).start();
    let asked = router.post("/v1/audio/speech", &json!({"model": "gpt-mock", "input": "hi"})).header("x-request-id", "cut");
    let answer = asked.open().await;
    assert_eq!((answer.status, answer.headers["content-length"].as_bytes()), (200, &b"500000"[..]));
    assert!(net::read_all(answer.body, 1 << 20).await.is_err(), "half a sound is no whole one");
    let row = router.record("cut").await;
    assert_eq!((&*row.outcome, row.error_code.as_deref()), ("error", Some("upstream_error")));
}

#[tokio::test]
async fn long_answers_pass_and_are_counted() {
    let said = json!({"data": [{"b64_json": "A".repeat(3 << 20)}], "usage": {"input_tokens": 40, "output_tokens": 1056}});
    let upstream = FakeUpstream::start(Script::always(Reply::json(&said)));
    let router = Setup::new().upstream("mock", &upstream).start();
    let answer =
        router.post("/v1/images/generations", &json!({"model": "gpt-mock", "prompt": "a cat"})).header("x-request-id", "long").send().await;
    assert!(answer.status == 200 && answer.json() == said);
    let row = router.record("long").await;
    assert_eq!((&*row.outcome, row.prompt_tokens, row.completion_tokens), ("success", Some(40), Some(1056)));
}

#[tokio::test]
async fn broken_answers_move_on() {
    for reply in [
        Reply::whole("application/json", "<html>"),
        Reply::json(&json!({"data": [], "x": "y".repeat(500)})).cut_after(100),
        Reply::json(&json!({"error": {"message": "out of memory"}})),
        Reply::error(503),
    ] {
        let (first, second) =
            (FakeUpstream::start(Script::always(reply)), FakeUpstream::start(Script::always(Reply::json(&json!({"data": []})))));
        let router = Setup::new().upstream("first", &first).upstream("second", &second).start();
        let answer = router.post("/v1/images/generations", &json!({"model": "gpt-mock", "prompt": "a cat"})).send().await;
        assert_eq!((answer.status, answer.header("x-llm-router-target")), (200, "second"), "{}", answer.text());
    }
}

#[tokio::test]
async fn transcripts_stream() {
    let done = "event: transcript.text.done\ndata: {\"type\":\"transcript.text.done\",\"text\":\"hi\",\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}\n\n";
    let pieces = ["event: transcript.text.delta\ndata: {\"type\":\"transcript.text.delta\",\"delta\":\"hi\"}\n\n", done];
    let upstream = FakeUpstream::start(Script::always(Reply::events(pieces)));
    let router = Setup::new().upstream("mock", &upstream).start();
    let body = form(&[("model", b"gpt-mock"), ("stream", b"true"), ("file", b"RIFF")]);
    let answer = upload(&router, "/v1/audio/transcriptions", body, "stream").await;
    assert_eq!((answer.status, answer.text()), (200, pieces.concat()));
    let row = router.record("stream").await;
    assert_eq!((&*row.outcome, row.prompt_tokens, row.completion_tokens), ("success", Some(5), Some(1)));
}

#[tokio::test]
async fn what_no_account_can_do_is_named() {
    let upstream = FakeUpstream::start(Script::default());
    let router =
        Setup::new().account("claude", &upstream.base_url(), &["gpt-mock"], json!({"provider": "anthropic", "wire": "messages"})).start();
    let answer = router.post("/v1/images/generations", &json!({"model": "gpt-mock", "prompt": "a cat"})).send().await;
    assert_eq!((answer.status, answer.code().as_str()), (501, "unsupported"), "{}", answer.text());
    assert!(answer.text().contains("/images/generations") && upstream.requests().is_empty());
}
