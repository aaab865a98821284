//! Workers that die, hang or are left alone; and the node's own end.

use std::{
    io::{BufReader, Read, Write},
    process::Stdio,
};

use serde_json::json;

use crate::node::{Node, chunk, eventually, head, leave, port, program, read};

#[test]
fn a_worker_that_dies_before_the_first_word_is_replaced_unseen() {
    let model = "m+crash=0+once";
    let node = Node::alone(&[model]);
    let streamed = node.chat(model, "one two", json!({"stream": true}));
    assert_eq!(
        (streamed.status, streamed.streamed().as_str(), streamed.events().last().map(String::as_str)),
        (200, "one two", Some("[DONE]"))
    );
}

#[test]
fn a_worker_that_dies_while_a_whole_answer_is_made_is_replaced_unseen() {
    let model = "m+crash=2+once";
    let node = Node::alone(&[model]);
    assert_eq!(node.said(model, "one two three four"), "one two three four");
}

#[test]
fn a_worker_that_dies_in_a_stream_ends_it_with_one_error_and_the_next_request_works() {
    let model = "m+delay=5+crash=3+once";
    let node = Node::alone(&[model]);
    let broken = node.chat(model, "one two three four five", json!({"stream": true}));
    let events = broken.events();
    assert_eq!(broken.status, 200);
    assert!(broken.streamed().starts_with("one"), "{events:?}");
    let last: serde_json::Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "upstream_error");
    assert_eq!(events.iter().filter(|e| e.contains("\"error\"")).count(), 1);
    assert!(!events.contains(&"[DONE]".to_owned()));
    assert_eq!(node.said(model, "one two three four five"), "one two three four five");
}

#[test]
fn a_model_that_kills_every_worker_is_an_error_and_others_go_on() {
    let node = Node::alone(&["bad+crash=1", "good"]);
    let answer = node.chat("bad+crash=1", "one two three", json!({}));
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (502, &json!("upstream_error")));
    assert_eq!(node.said("good", "fine"), "fine");
}

#[test]
fn a_worker_that_is_killed_is_replaced_by_the_next_request() {
    let node = Node::alone(&["m"]);
    node.said("m", "x");
    let worker = node.workers().pop().unwrap();
    Node::signal(&worker, "-KILL");
    eventually("the worker is gone", || (!node.workers().contains(&worker)).then_some(()));
    assert_eq!(node.said("m", "one two"), "one two");
}

#[test]
fn a_worker_that_hangs_is_replaced() {
    for model in ["m+hang=1+once", "m+mute=1+once"] {
        let node = Node::alone(&[model]);
        assert_eq!(node.said(model, "one two three"), "one two three");
        assert_eq!(node.workers().len(), 1);
    }
}

#[test]
fn a_model_that_refuses_to_load_says_why() {
    let node = Node::alone(&["m+refuse"]);
    let answer = node.chat("m+refuse", "x", json!({"stream": true}));
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("this model refuses to load"), "{}", answer.text());
}

#[test]
fn who_waits_long_for_a_load_is_told_to_come_back_and_the_load_goes_on() {
    let model = "m+load=2000";
    let node = Node::start(&[model], &[("LLM_NODE_STANDALONE", "true"), ("LLM_NODE_LOAD_PATIENCE", "100ms")], &[]);
    let refused = node.chat(model, "one two", json!({"stream": true}));
    let error = &refused.json()["error"];
    assert_eq!((refused.status, error["code"].as_str(), error["loading_s"].is_u64()), (503, Some("model_loading"), true), "{error}");
    assert_eq!(refused.header("retry-after"), Some("10"));
    let said = eventually("it is loaded", || {
        let answer = node.chat(model, "one two", json!({}));
        (answer.status == 200).then(|| answer.json()["choices"][0]["message"]["content"].clone())
    });
    assert_eq!(said, "one two");
    let log = std::fs::read_to_string(node.dir.path().join("logs/node.log")).unwrap();
    assert_eq!(log.matches("a worker was started").count(), 1, "all wait for the same load");
}

#[test]
fn a_client_that_leaves_a_stream_frees_its_place() {
    let model = "m+delay=5";
    let node = Node::alone(&[model]);
    let body = Node::body(model, "on and", json!({"stream": true, "ignore_eos": true})).to_string();
    let mut reader = BufReader::new(node.open("POST", "/v1/chat/completions", &[], Some(body.as_bytes())).unwrap());
    assert_eq!(head(&mut reader).unwrap().0, 200);
    assert!(chunk(&mut reader).is_some());
    assert_eq!(node.counter(model, "active_requests"), Some(1));
    leave(&reader);
    eventually("the place is free", || {
        (node.counter(model, "active_requests")? == 0 && node.counter(model, "slots_busy")? == 0).then_some(())
    });
    let made = node.counter(model, "completion_tokens_total").unwrap();
    assert!(made < 4000, "it must not have run to its end: {made}");
}

#[test]
fn a_client_that_leaves_before_a_whole_answer_frees_its_place() {
    let model = "m+delay=5";
    let node = Node::alone(&[model]);
    let body = Node::body(model, "on and", json!({"ignore_eos": true})).to_string();
    let reader = BufReader::new(node.open("POST", "/v1/chat/completions", &[], Some(body.as_bytes())).unwrap());
    eventually("it runs", || (node.counter(model, "slots_busy")? == 1).then_some(()));
    leave(&reader);
    eventually("the place is free", || {
        (node.counter(model, "active_requests")? == 0 && node.counter(model, "slots_busy")? == 0).then_some(())
    });
}

#[test]
fn a_reader_that_stops_reading_does_not_hold_up_others() {
    let model = "m+delay=1";
    let node = Node::alone(&[model]);
    let body = Node::body(model, "on and", json!({"stream": true, "ignore_eos": true})).to_string();
    let sleeping = node.open("POST", "/v1/chat/completions", &[], Some(body.as_bytes())).unwrap();
    eventually("it runs", || (node.counter(model, "slots_busy")? == 1).then_some(()));
    assert_eq!(node.said(model, "one two three"), "one two three");
    drop(sleeping);
}

#[test]
fn the_end_lets_streams_finish_and_is_clean() {
    let model = "m+delay=20";
    let mut node = Node::alone(&[model]);
    let body = Node::body(model, "one two three four five six", json!({"stream": true})).to_string();
    let stream = node.open("POST", "/v1/chat/completions", &[], Some(body.as_bytes())).unwrap();
    eventually("it runs", || (node.counter(model, "active_requests")? == 1).then_some(()));
    Node::signal(&node.child.id().to_string(), "-TERM");
    let answer = read(stream).unwrap();
    assert_eq!((answer.streamed().as_str(), answer.events().last().map(String::as_str)), ("one two three four five six", Some("[DONE]")));
    assert_eq!(node.ended(), Some(0));
}

#[test]
fn a_second_signal_does_not_wait() {
    let model = "m+delay=20";
    let mut node = Node::alone(&[model]);
    let body = Node::body(model, "on and", json!({"stream": true, "ignore_eos": true})).to_string();
    let _stream = node.open("POST", "/v1/chat/completions", &[], Some(body.as_bytes())).unwrap();
    eventually("it runs", || (node.counter(model, "active_requests")? == 1).then_some(()));
    let pid = node.child.id().to_string();
    Node::signal(&pid, "-INT");
    eventually("it takes no more", || node.open("GET", "/health", &[], None).is_err().then_some(()));
    Node::signal(&pid, "-INT");
    assert_eq!(node.ended(), Some(130));
}

#[test]
fn workers_end_with_a_node_that_is_killed() {
    let mut node = Node::alone(&["m"]);
    node.said("m", "x");
    let worker = node.workers().pop().unwrap();
    node.child.kill().unwrap();
    node.ended();
    // A zombie has no command line.
    let is_gone = || std::fs::read(format!("/proc/{worker}/cmdline")).map_or(true, |line| line.is_empty());
    eventually("the worker ends", || is_gone().then_some(()));
}

#[test]
fn a_supervised_node_ends_with_its_supervisor() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = program(&dir);
    command.args(["serve", "--supervised", "--scripted", "--router", "http://127.0.0.1:9", "--port", "0"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{\"join_token\": \"t\", \"more\": 1}\n").unwrap();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port(&dir))).is_ok());
    drop(stdin);
    let status = eventually("it ends", || child.try_wait().unwrap());
    assert!(status.success());
    let mut broken = program(&dir).args(["serve", "--supervised"]).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    broken.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(!broken.wait().unwrap().success() && said.contains("supervisor"), "{said}");
}
