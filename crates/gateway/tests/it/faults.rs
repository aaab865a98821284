//! Streams that break after they began, and callers that leave.

use serde_json::{Value, json};
use testkit::{FakeUpstream, Gate, Reply, Script};

use crate::{
    client::{Answer, events},
    router::{Router, Setup, soon},
};

const FRAMES: [&str; 3] = [
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"one\"},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" two\"},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" three\"},\"finish_reason\":null}]}\n\n",
];

/// Two accounts; only the first is ever asked by these tests.
fn pair(first: Reply, more: Value) -> (FakeUpstream, FakeUpstream, Router) {
    let (first, second) = (FakeUpstream::start(Script::always(first)), FakeUpstream::start(Script::default()));
    let setup = Setup::new().account("first", &first.base_url(), &["gpt-mock"], more).upstream("second", &second);
    // However often it breaks off.
    (first, second, setup.set("breaker", json!({"enabled": false})).start())
}

/// One error event at the end, in the one shape, and no normal end; the events before it.
fn assert_broken(text: &str) -> Vec<Value> {
    assert_ended(text, "upstream_error")
}

fn assert_ended(text: &str, code: &str) -> Vec<Value> {
    let mut all: Vec<Value> =
        events(text).iter().map(|event| serde_json::from_str(event).unwrap_or_else(|e| panic!("{e}: {event:?} in {text:?}"))).collect();
    let last = all.pop().unwrap();
    assert_eq!(last["error"]["code"], code, "{text}");
    assert!(last["error"]["request_id"].is_string() && last["error"]["message"].is_string(), "{text}");
    assert!(all.iter().all(|event| event.get("error").is_none()), "{text}");
    assert!(!text.contains("[DONE]"), "{text}");
    all
}

#[tokio::test]
async fn a_stream_that_is_cut_ends_with_one_error_wherever_the_cut_is() {
    let whole = FRAMES.concat();
    let (first, second, router) = pair(Reply::ok(), json!({}));
    let first_end = FRAMES[0].len();
    let cuts = [1, 4, first_end - 2, first_end - 1, first_end, first_end + 1, first_end + 10, whole.len() - 1, whole.len()];
    for asks in [false, true] {
        for bytes in cuts {
            first.set_script(Script::always(Reply::events(FRAMES).cut_after(bytes)));
            let id = format!("cut-{asks}-{bytes}");
            let more = json!({"stream": true, "stream_options": {"include_usage": asks}});
            let answer = router.chat("gpt-mock", more).header("x-request-id", &id).send().await;
            assert_eq!(answer.status, 200);
            if bytes < first_end {
                assert_eq!((answer.header("x-llm-router-target"), answer.header("x-llm-router-attempts")), ("second", "2"), "{id}");
                assert!(answer.text().ends_with("data: [DONE]\n\n") && !answer.text().contains("one"), "{id}: {}", answer.text());
                continue;
            }
            let before = assert_broken(&answer.text());
            let complete = [first_end, first_end + FRAMES[1].len(), whole.len()].into_iter().filter(|end| *end <= bytes).count();
            assert_eq!(before.len(), complete, "cut after {bytes}: {}", answer.text());
            let row = router.record(&id).await;
            assert_eq!((row.status, &*row.outcome, row.error_code.as_deref()), (200, "error", Some("upstream_error")), "{id}");
        }
    }
    assert_eq!(second.requests().len(), 8, "after the first word nobody else is asked");
}

#[tokio::test]
async fn a_stream_that_begins_with_an_error_moves_on_unseen() {
    let role = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    let error = |code: &str| format!("data: {{\"error\":{{\"message\":\"no\",\"code\":\"{code}\"}}}}\n\n");
    for pieces in [vec![error("server_error")], vec![role.to_owned(), error("rate_limit_exceeded")], vec![role.to_owned()]] {
        let (_first, second, router) = pair(Reply::events(pieces), json!({}));
        let answer = streamed(&router, "early").await;
        assert_eq!((answer.status, answer.header("x-llm-router-target")), (200, "second"), "{}", answer.text());
        assert!(answer.text().ends_with("data: [DONE]\n\n") && !answer.text().contains("error"), "{}", answer.text());
        let decision: Value = serde_json::from_str(&router.record("early").await.decision.unwrap()).unwrap();
        assert_eq!((&decision["attempts"][0]["outcome"], second.requests().len()), (&json!("broken"), 1), "{decision}");
    }
    let (_first, second, router) = pair(Reply::events([role.to_owned(), error("context_length_exceeded")]), json!({}));
    let answer = streamed(&router, "own").await;
    assert!(answer.text().contains("context_length_exceeded"), "what is wrong with the request is said: {}", answer.text());
    assert!(second.requests().is_empty());
}

#[tokio::test]
async fn a_stream_that_takes_its_time_is_passed_on_from_its_beginning() {
    let role = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    let gate = Gate::new();
    gate.pass(1);
    let first = FakeUpstream::start(Script::always(Reply::events([role, FRAMES[0], "data: [DONE]\n\n"]).hold_pieces(&gate)));
    let router = Setup::new().upstream("first", &first).set("stream", json!({"probe_window": "50ms"})).start();
    let mut stream = router.chat("gpt-mock", json!({"stream": true})).open().await;
    stream.until("assistant").await;
    gate.pass(5);
    assert!(stream.rest().await.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn an_end_without_the_end_mark_is_an_error() {
    let (_first, _second, router) = pair(Reply::events(FRAMES), json!({}));
    let answer = router.chat("gpt-mock", json!({"stream": true})).send().await;
    assert_eq!(assert_broken(&answer.text()).len(), 3);
}

#[tokio::test]
async fn without_the_end_mark_every_choice_that_was_asked_for_has_to_end() {
    let end =
        |index: u32| format!("data: {{\"id\":\"c\",\"choices\":[{{\"index\":{index},\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\n");
    for (ends, n, is_whole) in [(vec![end(0)], 1, true), (vec![end(0)], 2, false), (vec![end(1), end(0)], 2, true)] {
        let pieces: Vec<String> = std::iter::once(FRAMES[0].to_owned()).chain(ends).collect();
        let (_first, _second, router) = pair(Reply::events(pieces.clone()), json!({}));
        let answer = router.chat("gpt-mock", json!({"stream": true, "n": n})).header("x-request-id", "choices").send().await;
        assert_eq!(answer.text() == pieces.concat(), is_whole, "{n}: {}", answer.text());
        assert_eq!(answer.text().contains("ended before its end mark"), !is_whole, "{n}: {}", answer.text());
        assert_eq!(&*router.record("choices").await.outcome, if is_whole { "success" } else { "error" }, "{n}");
    }
}

#[tokio::test]
async fn silence_in_the_middle_is_an_error() {
    let more = json!({"timeouts": {"idle": "200ms"}});
    let (first, _second, router) = pair(Reply::events(FRAMES).stall_after(FRAMES[0].len() + 5), more);
    let answer = router.chat("gpt-mock", json!({"stream": true})).send().await;
    assert_eq!(assert_ended(&answer.text(), "upstream_timeout").len(), 1);
    soon("the upstream is left", first.hangup()).await;
}

#[tokio::test]
async fn the_deadline_ends_a_stream_that_drags_on() {
    let (first, _second, router) = pair(Reply::events(FRAMES).stall_after(FRAMES[0].len()), json!({}));
    let answer = router.chat("gpt-mock", json!({"stream": true, "timeout_ms": 300})).send().await;
    assert_eq!(assert_ended(&answer.text(), "upstream_timeout").len(), 1);
    soon("the upstream is left", first.hangup()).await;
}

async fn streamed(router: &Router, id: &str) -> Answer {
    router.chat("gpt-mock", json!({"stream": true})).header("x-request-id", id).send().await
}

#[tokio::test]
async fn the_upstreams_own_error_passes_once() {
    let error = "data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n";
    for pieces in [vec![FRAMES[0], error], vec![FRAMES[0], error, "data: [DONE]\n\n"]] {
        let (_first, _second, router) = pair(Reply::events(pieces.clone()), json!({}));
        let answer = streamed(&router, "theirs").await;
        assert_eq!(answer.text(), pieces.concat());
        let row = router.record("theirs").await;
        assert_eq!((&*row.outcome, row.error_code.as_deref()), ("error", Some("upstream_error")), "{pieces:?}");
    }
}

#[tokio::test]
async fn a_connection_cut_after_the_end_mark_is_no_error() {
    let pieces = [FRAMES[0], "data: [DONE]\n\n"];
    let (_first, _second, router) = pair(Reply::events(pieces).cut_after(pieces.concat().len()), json!({}));
    let answer = streamed(&router, "whole").await;
    assert_eq!(answer.text(), pieces.concat());
    assert_eq!(&*router.record("whole").await.outcome, "success");
}

#[tokio::test]
async fn a_caller_that_leaves_a_stream_takes_the_upstream_along() {
    let (first, second, router) = pair(Reply::events(FRAMES).stall_after(FRAMES[0].len()), json!({}));
    let mut stream = router.chat("gpt-mock", json!({"stream": true})).header("x-request-id", "left").open().await;
    assert_eq!((stream.status, stream.headers["x-llm-router-target"].to_str().unwrap()), (200, "first"));
    stream.until("one").await;
    drop(stream);
    let left = soon("the upstream is left", first.hangup()).await;
    assert_eq!(left.body_bytes_sent, FRAMES[0].len());
    let row = router.record("left").await;
    assert_eq!((row.status, &*row.outcome, row.target.as_deref()), (200, "cancelled", Some("first")));
    assert_eq!(row.bytes_out, FRAMES[0].len() as u64);
    assert!(second.requests().is_empty());
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_first_byte_takes_the_upstream_along() {
    let gate = Gate::new();
    let (first, second, router) = pair(Reply::ok().hold_head(&gate), json!({}));
    for stream in [false, true] {
        let id = format!("early-{stream}");
        let asking = tokio::spawn(router.chat("gpt-mock", json!({"stream": stream})).header("x-request-id", &id).send());
        soon("the upstream is asked", first.request()).await;
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
        soon("the upstream is left", first.hangup()).await;
        let row = router.record(&id).await;
        assert_eq!((row.status, &*row.outcome), (499, "cancelled"));
    }
    assert!(second.requests().is_empty(), "a caller that is gone is not served by anybody else");
}

#[tokio::test]
async fn an_account_whose_streams_keep_breaking_off_is_left_alone() {
    let first = FakeUpstream::start(Script::always(Reply::events(FRAMES).cut_after(FRAMES[0].len() + 10)));
    let second = FakeUpstream::start(Script::default());
    let router = Setup::new().upstream("first", &first).upstream("second", &second).start();
    for n in 0..5 {
        let answer = streamed(&router, &format!("broken-{n}")).await;
        assert_broken(&answer.text());
        router.record(&format!("broken-{n}")).await;
    }
    let answer = streamed(&router, "spared").await;
    assert_eq!((answer.header("x-llm-router-target"), answer.header("x-llm-router-attempts")), ("second", "1"), "{}", answer.text());
    assert_eq!((first.requests().len(), second.requests().len()), (5, 1));
}
