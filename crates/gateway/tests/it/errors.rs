//! Bad requests: each a clear error in one shape.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use testkit::{FakeUpstream, Script};

use crate::{
    client::{Answer, chat},
    router::{MASTER, PATIENCE, Router, Setup},
};

/// An error in the one shape, with an id that the header repeats.
fn assert_error(answer: &Answer, status: u16, code: &str) -> Value {
    let said = answer.json();
    let error = &said["error"];
    assert_eq!((answer.status, error["code"].as_str()), (status, Some(code)), "{said}");
    assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()) && error["type"].is_string(), "{said}");
    assert!(error.as_object().unwrap().contains_key("param"), "{said}");
    assert!(!answer.header("x-request-id").is_empty());
    assert_eq!(error["request_id"], answer.header("x-request-id"));
    said["error"].clone()
}

#[tokio::test]
async fn bad_bodies_are_named() {
    let upstream = FakeUpstream::start(Script::default());
    let router = Setup::new().upstream("mock", &upstream).start();
    let chat = "/v1/chat/completions";
    let table: &[(&str, &str, Value, &str)] = &[
        (chat, "", json!(null), "empty"),
        (chat, "   \n", json!(null), "empty"),
        (chat, "{\"model\":\"gpt-mock\",\n\"messages\":[}", json!(null), "line 2 column 13"),
        (chat, "{\"model\":\"gpt-mock\"", json!(null), "line 1 column 19"),
        (chat, "not json", json!(null), "line 1 column 2"),
        (chat, "[]", json!(null), "object"),
        (chat, "\u{feff}{}", json!(null), "line 1"),
        (chat, r#"{"model":"gpt-mock","model":"gpt-mock"}"#, json!(null), "duplicate"),
        (chat, r#"{"model":7,"messages":[{"role":"user","content":"x"}]}"#, json!("model"), "a string"),
        (chat, r#"{"model":"gpt-mock"}"#, json!("messages"), "missing"),
        (chat, r#"{"model":"gpt-mock","messages":null}"#, json!("messages"), "missing"),
        (chat, r#"{"model":"gpt-mock","messages":"hi"}"#, json!("messages"), "list"),
        (chat, r#"{"model":"gpt-mock","messages":[]}"#, json!("messages"), "empty"),
        (chat, r#"{"model":"gpt-mock","messages":[5]}"#, json!("messages"), "objects"),
        (chat, r#"{"model":"gpt-mock","messages":[{"role":"user","content":5}]}"#, json!("messages[0].content"), "a number"),
        (chat, r#"{"model":"gpt-mock","stream":"yes","messages":[{"role":"user","content":"x"}]}"#, json!("stream"), "true or false"),
        (chat, r#"{"messages":[{"role":"user","content":"x"}]}"#, json!("model"), "missing"),
        ("/v1/completions", r#"{"model":"gpt-mock"}"#, json!("prompt"), "missing"),
        ("/v1/embeddings", r#"{"model":"gpt-mock"}"#, json!("input"), "missing"),
    ];
    for (path, body, param, word) in table {
        let answer = router.ask(Method::POST, path).body(*body).send().await;
        let error = assert_error(&answer, 400, "invalid_request");
        assert_eq!(&error["param"], param, "{body}: {error}");
        assert!(error["message"].as_str().unwrap().contains(word), "{body}: {error} should say {word}");
    }
    let bytes = router.ask(Method::POST, chat).body(vec![b'{', b'"', 0xff, 0xfe, b'"', b':', b'1', b'}']).send().await;
    assert_error(&bytes, 400, "invalid_request");
    let deep = router.ask(Method::POST, chat).body("[".repeat(100_000)).send().await;
    assert_error(&deep, 400, "invalid_request");
    let deep = format!("{{\"model\":\"gpt-mock\",\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_error(&router.ask(Method::POST, chat).body(deep).send().await, 400, "invalid_request");
    assert!(upstream.requests().is_empty(), "nothing of it went on");
}

#[tokio::test]
async fn an_unknown_model_is_answered_with_its_neighbours() {
    let router = Setup::new().account("one", "http://127.0.0.1:1", &["house-large", "house-small"], json!({})).start();
    let answer = router.chat("house-lagre", json!({})).send().await;
    let error = assert_error(&answer, 404, "model_not_found");
    assert!(error["message"].as_str().unwrap().contains("`house-large`"), "{error}");
    assert_eq!(error["param"], "model");
    let far = router.chat("zzz", json!({})).send().await;
    assert!(!assert_error(&far, 404, "model_not_found")["message"].as_str().unwrap().contains("house"));
}

#[tokio::test]
async fn the_callers_id_is_kept_if_it_is_sane() {
    let router = Setup::new().start();
    let with = |id: String| router.chat("nobody", json!({})).header("x-request-id", &id).send();
    for sane in ["a", "req_01-2:3/4.5", &"x".repeat(128)] {
        let answer = with(sane.to_owned()).await;
        assert_error(&answer, 404, "model_not_found");
        assert_eq!(answer.header("x-request-id"), sane);
    }
    for insane in ["", "with blank", "ümlaut", "tab\tin", &"x".repeat(129)] {
        let answer = with(insane.to_owned()).await;
        assert_error(&answer, 404, "model_not_found");
        let id = answer.header("x-request-id");
        assert!(id.len() == 36 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'), "{insane:?} became {id:?}");
    }
    let plain = router.chat("dummy", json!({})).header("x-request-id", "mine").send().await;
    assert_eq!((plain.status, plain.header("x-request-id")), (200, "mine"));
    assert_eq!(router.get("/health").header("x-request-id", "mine").send().await.header("x-request-id"), "mine");
}

#[tokio::test]
async fn unknown_paths_and_methods_have_the_same_shape() {
    let router = Setup::new().start();
    for path in ["/nothing", "/v1/nothing", "/v1", "/api", "/v1/chat", "/v1/chat/completions/x", "//v1/models", "/%2e%2e/etc/passwd"] {
        let answer = router.get(path).send().await;
        assert!(assert_error(&answer, 404, "not_found")["message"].as_str().unwrap().contains("nothing at"));
    }
    for path in ["/v1/chat/completions", "/completions", "/v1/embeddings/"] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let answer = router.ask(method, path).send().await;
            assert_error(&answer, 405, "method_not_allowed");
            assert_eq!(answer.header("allow"), "POST");
        }
        assert_eq!(router.ask(Method::OPTIONS, path).nobody().send().await.status, 204);
    }
    for path in ["/v1/models", "/models/gpt-mock", "/v1beta/models", "/v1beta/models/gpt-mock:generateContent", "/v1/audio/odd"] {
        let preflight = router.ask(Method::OPTIONS, path).nobody().send().await;
        assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (204, "*"), "{path}");
    }
    for (path, origin) in [("/v1/models", "*"), ("/v1beta/models", "*"), ("/anthropic/v1/models/nothing", "*"), ("/api/nodes", "")] {
        assert_eq!(router.get(path).send().await.header("access-control-allow-origin"), origin, "{path}");
    }
    assert_eq!(router.ask(Method::OPTIONS, "/api/nodes").send().await.header("access-control-allow-origin"), "");
    let other = router.ask(Method::POST, "/health").send().await;
    assert_error(&other, 405, "method_not_allowed");
    assert_eq!(other.header("allow"), "GET,HEAD");
    assert_error(&router.ask(Method::PUT, "/api/api-keys").key(MASTER).send().await, 405, "method_not_allowed");
}

#[tokio::test]
async fn the_control_plane_answers_in_the_same_shape() {
    let router = Setup::new().start();
    let keys = |body: &str| router.ask(Method::POST, "/api/api-keys").key(MASTER).body(body).send();
    assert_error(&keys("{").await, 400, "invalid_request");
    assert_error(&keys("[]").await, 400, "invalid_request");
    assert_eq!(assert_error(&keys("{}").await, 400, "invalid_request")["param"], "name");
    assert_eq!(assert_error(&keys(r#"{"name":7}"#).await, 400, "invalid_request")["param"], "name");
    assert_eq!(assert_error(&keys(r#"{"name":"x","scopes":["root"]}"#).await, 400, "invalid_request")["param"], "scopes");
    assert_eq!(assert_error(&keys(r#"{"name":"x","expires_at":"soon"}"#).await, 400, "invalid_request")["param"], "expires_at");
    let huge = format!(r#"{{"name":"{}"}}"#, "x".repeat(2 << 20));
    assert_error(&keys(&huge).await, 413, "payload_too_large");
    let gone = router.ask(Method::DELETE, "/api/api-keys/key_nobody").key(MASTER).send().await;
    assert_error(&gone, 404, "not_found");
    let garbled = router.ask(Method::DELETE, "/api/api-keys/%ff%fe").key(MASTER).send().await;
    assert_error(&garbled, 400, "invalid_request");
}

/// A request as bytes; everything that comes back.
fn spoken(router: &Router, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(router.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A router that has answered may close before the last byte is written.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap_or_else(|e| panic!("{e} after {:?}", String::from_utf8_lossy(&answer)));
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_the_client_gets_to_read_why() {
    let router = Setup::new().env("LLM_ROUTER_MAX_BODY", "1000").start();
    let fits = chat("dummy", json!({"x": "x".repeat(900)}));
    assert_eq!(router.post("/v1/chat/completions", &fits).send().await.status, 200);
    for size in [2_000, 8 << 20] {
        let large = chat("dummy", json!({"x": "x".repeat(size)}));
        let answer = router.post("/v1/chat/completions", &large).send().await;
        let error = assert_error(&answer, 413, "payload_too_large");
        assert!(error["message"].as_str().unwrap().contains("1000"), "{error}");
        let pieces = large.to_string().into_bytes().chunks(60_000).map(Bytes::copy_from_slice).collect();
        let answer = router.ask(Method::POST, "/v1/chat/completions").chunked(pieces).send().await;
        assert_error(&answer, 413, "payload_too_large");
    }
    // A client that waits to be asked for its body is not asked for it.
    let answer = spoken(&router, b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2000\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("payload_too_large"), "{answer}");
}

#[tokio::test]
async fn nobody_is_asked_for_a_large_body_before_it_is_known_who_he_is() {
    let router = Setup::new().start();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nconnection: close\r\n";
    for length in ["content-length: 60000000", "transfer-encoding: chunked"] {
        for (key, status) in [("", "401 "), ("authorization: Bearer sk_wrong\r\n", "401 ")] {
            let answer = spoken(&router, format!("{head}{key}{length}\r\n\r\n").as_bytes());
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains("invalid_api_key"), "{length}: {answer}");
        }
    }
    let large = chat("dummy", json!({"x": "x".repeat(1 << 20)}));
    assert_error(&router.post("/v1/chat/completions", &large).key("sk_wrong").send().await, 401, "invalid_api_key");
    assert_eq!(router.post("/v1/chat/completions", &large).send().await.status, 200);
}

#[tokio::test]
async fn a_body_of_a_hundred_megabytes_is_refused() {
    let router = Setup::new().start();
    let mut body = vec![b' '; 100 << 20];
    body.extend_from_slice(chat("dummy", json!({})).to_string().as_bytes());
    let answer = router.ask(Method::POST, "/v1/chat/completions").body(body).send().await;
    assert!(assert_error(&answer, 413, "payload_too_large")["message"].as_str().unwrap().contains("67108864"));
    assert_eq!(router.chat("dummy", json!({})).send().await.status, 200, "and the next request works");
}

#[tokio::test]
async fn what_is_not_http_is_refused_without_harm() {
    let router = Setup::new().start();
    let answer = spoken(&router, b"hello\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
    let long = [b"GET / HTTP/1.1\r\nhost: x\r\nx-long: ".to_vec(), vec![b'x'; 100_000], b"\r\n\r\n".to_vec()].concat();
    assert!(spoken(&router, &long).starts_with("HTTP/1.1 431 "));
    let both = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!";
    assert!(spoken(&router, both).starts_with("HTTP/1.1 400 "));
    assert_eq!(router.get("/health").send().await.status, 200);
}

#[tokio::test]
async fn who_begins_and_does_not_go_on_is_left() {
    let router = Setup::new().set("server", json!({"header_timeout": "200ms", "max_header": 10_000})).start();
    for begun in ["", "P", "PRI * HTTP/2.0\r\n", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"] {
        assert_eq!(spoken(&router, begun.as_bytes()), "", "{begun:?}");
    }
    // And who says too much gets to read that, however it comes.
    for (length, status) in [(9_000, "200 "), (11_000, "431 "), (100_000, "431 ")] {
        let head = format!("GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-long: {}\r\n\r\n", "x".repeat(length));
        let answer = spoken(&router, head.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{length}: {answer}");
    }
}

#[tokio::test]
async fn keys_are_refused_with_their_reason() {
    let router = Setup::new().start();
    let missing = router.chat("dummy", json!({})).nobody().send().await;
    assert!(assert_error(&missing, 401, "invalid_api_key")["message"].as_str().unwrap().contains("Missing"));
    assert_eq!(missing.header("www-authenticate"), "Bearer");
    for wrong in ["sk_nobody", "", "Bearer", &"x".repeat(10_000)] {
        let answer = router.chat("dummy", json!({})).key(wrong).send().await;
        assert_error(&answer, 401, "invalid_api_key");
    }
    let (_, expired) = router.new_key(json!({"expires_at": "2020-01-01T00:00:00Z"})).await;
    let answer = router.chat("dummy", json!({})).key(&expired).send().await;
    assert!(assert_error(&answer, 401, "invalid_api_key")["message"].as_str().unwrap().contains("expired"));

    let (_, reader) = router.new_key(json!({"scopes": ["read"]})).await;
    let answer = router.chat("dummy", json!({})).key(&reader).send().await;
    assert!(assert_error(&answer, 403, "permission_denied")["message"].as_str().unwrap().contains("inference"));

    let (id, revoked) = router.new_key(json!({})).await;
    assert_eq!(router.chat("dummy", json!({})).key(&revoked).send().await.status, 200);
    assert_eq!(router.ask(Method::DELETE, &format!("/api/api-keys/{id}")).key(MASTER).send().await.status, 204);
    assert_error(&router.chat("dummy", json!({})).key(&revoked).send().await, 401, "invalid_api_key");
}

#[tokio::test]
async fn a_key_for_some_models_opens_no_other_by_any_way() {
    let upstream = FakeUpstream::start(Script::default());
    let setup = Setup::new().account("mine", "http://127.0.0.1:1", &["mine"], json!({})).upstream("other", &upstream);
    let router = setup.set("retry", json!({"max_attempts": 2, "backoff": "1ms..2ms"})).start();
    let (_, key) = router.new_key(json!({"allowed_models": ["mine", "dummy"]})).await;
    assert_eq!(router.chat("dummy", json!({})).key(&key).send().await.status, 200);
    assert_eq!(router.chat("mine", json!({})).key(&key).send().await.status, 502);
    for body in [
        chat("gpt-mock", json!({})),
        chat("other:gpt-mock", json!({})),
        chat("mine|gpt-mock", json!({})),
        chat("mine", json!({"models": ["gpt-mock"]})),
        chat("dummy", json!({"models": ["mine", "gpt-mock"]})),
    ] {
        let answer = router.post("/v1/chat/completions", &body).key(&key).send().await;
        assert_error(&answer, 403, "model_not_allowed");
    }
    assert!(upstream.requests().is_empty());
    let listed = router.get("/v1/models").key(&key).send().await.json();
    assert_eq!(listed["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect::<Vec<_>>(), ["mine"]);
    assert_eq!(router.get("/v1/models/gpt-mock").key(&key).send().await.status, 404);
}
