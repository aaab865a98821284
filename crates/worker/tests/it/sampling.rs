//! Seeds, constraints, biases and log-probabilities.

use wire::fleet::worker::{Constraint, Finish, Submit, WorkerCode};

use crate::support::{Worker, chat, request};

const STORY: &str = "Write a short story about a lighthouse.";

fn warm(seed: u32) -> Submit {
    let mut submit = request(chat(STORY), 16);
    submit.sampling.temperature = 1.0;
    submit.sampling.seed = Some(seed);
    submit
}

#[test]
fn the_seed_decides() {
    let Some((mut worker, _)) = Worker::start(|_| ()) else { return };
    let first = worker.ask(warm(7)).text;
    assert_eq!(worker.ask(warm(7)).text, first);
    assert_ne!(worker.ask(warm(8)).text, first);
    let mut filtered = warm(7);
    filtered.sampling.top_k = 1;
    let greedy = worker.ask(request(chat(STORY), 16)).text;
    assert_eq!(worker.ask(filtered).text, greedy, "one candidate leaves no choice");
    let mut all = warm(7);
    all.sampling = wire::fleet::worker::Sampling {
        top_k: 40,
        top_p: 0.9,
        min_p: 0.05,
        repeat_penalty: 1.1,
        presence_penalty: 0.5,
        frequency_penalty: 0.5,
        ..all.sampling
    };
    let once = worker.ask(all.clone()).text;
    assert_eq!(worker.ask(all).text, once);
    let mut unseeded = warm(0);
    unseeded.sampling.seed = None;
    assert_ne!(worker.ask(unseeded.clone()).text, worker.ask(unseeded).text);
}

#[test]
fn biases_and_penalties_change_greedy() {
    let Some((mut worker, _)) = Worker::start(|_| ()) else { return };
    let mut submit = request(chat("What is the capital of France?"), 4);
    submit.logprobs = Some(2);
    let plain = worker.ask(submit.clone());
    let [likeliest, second] = plain.logprobs[0].top.as_slice() else { panic!("two were asked for") };
    submit.sampling.logit_bias = vec![(likeliest.id, -100.0)];
    assert_eq!(worker.ask(submit.clone()).logprobs[0].token.id, second.id);
    submit.sampling.logit_bias = vec![(10_000, 1000.0)];
    let stuck = worker.ask(submit.clone());
    assert!(stuck.logprobs.iter().all(|entry| entry.token.id == 10_000));
    submit.sampling.frequency_penalty = 2000.0;
    submit.sampling.repeat_last_n = 8;
    assert!(worker.ask(submit).logprobs[1..].iter().all(|entry| entry.token.id != 10_000));
}

#[test]
fn logprobs_are_those_of_the_model() {
    let Some((mut worker, _)) = Worker::start(|_| ()) else { return };
    let mut submit = request(chat("What is the capital of France?"), 20);
    submit.logprobs = Some(20);
    let answer = worker.ask(submit);
    assert_eq!(answer.logprobs.len() as u32, answer.done().completion_tokens);
    let bytes: Vec<u8> = answer.logprobs.iter().flat_map(|entry| entry.token.bytes.clone()).collect();
    assert_eq!(String::from_utf8_lossy(&bytes), answer.text);
    for entry in &answer.logprobs {
        assert_eq!(entry.top.len(), 20);
        assert_eq!(entry.top[0], entry.token, "greedy takes the likeliest");
        assert!(entry.top.is_sorted_by(|a, b| a.logprob >= b.logprob));
        let sum: f64 = entry.top.iter().map(|chance| f64::from(chance.logprob).exp()).sum();
        assert!(sum > 0.3 && sum <= 1.000_1, "{sum}");
    }
    let mut chosen_only = request(chat("Hi"), 3);
    chosen_only.logprobs = Some(0);
    let chosen_only = worker.ask(chosen_only);
    assert!(!chosen_only.logprobs.is_empty() && chosen_only.logprobs.iter().all(|entry| entry.top.is_empty()));
}

#[test]
fn a_schema_and_a_grammar_are_obeyed() {
    let Some((mut worker, _)) = Worker::start(|_| ()) else { return };
    let schema = r#"{"type":"object","properties":{"name":{"type":"string","maxLength":12},"age":{"type":"integer","minimum":0,"maximum":120},
        "kind":{"enum":["cat","dog"]}},"required":["name","age","kind"],"additionalProperties":false}"#;
    for seed in [None, Some(3)] {
        let mut submit = request(chat("Describe a pet."), 120);
        submit.constraint = Some(Constraint::JsonSchema(schema.to_owned()));
        submit.sampling.temperature = if seed.is_some() { 1.0 } else { 0.0 };
        submit.sampling.seed = seed;
        let answer = worker.ask(submit);
        let value: serde_json::Value = serde_json::from_str(&answer.text).unwrap_or_else(|e| panic!("{e}: {}", answer.text));
        assert!(value["name"].is_string() && value["age"].is_u64() && ["cat", "dog"].contains(&value["kind"].as_str().unwrap_or("")));
        assert_eq!(answer.done().finish, Finish::Stop);
    }
    let mut submit = request(chat("Yes or no?"), 20);
    submit.constraint = Some(Constraint::Grammar(r#"root ::= "maybe " [0-9] [0-9]"#.to_owned()));
    submit.logprobs = Some(1);
    let answer = worker.ask(submit);
    assert!(answer.text.starts_with("maybe ") && answer.text.len() == 8, "{}", answer.text);
    assert_eq!(answer.done().finish, Finish::Stop);
}

#[test]
fn what_cannot_be_used_is_refused_and_the_worker_lives_on() {
    let Some((mut worker, info)) = Worker::start(|_| ()) else { return };
    let mut refused = |what: &str, change: &dyn Fn(&mut Submit)| {
        let mut submit = request(chat("Hi"), 4);
        change(&mut submit);
        let answer = worker.ask(submit);
        assert_eq!(answer.code(), Some(WorkerCode::Invalid), "{what}: {answer:?}");
    };
    let grammar = |text: &str| Some(Constraint::Grammar(text.to_owned()));
    let schema = |text: &str| Some(Constraint::JsonSchema(text.to_owned()));
    refused("not JSON", &|submit| submit.constraint = schema("{"));
    refused("not a schema", &|submit| submit.constraint = schema(r#"{"type":"wat"}"#));
    refused("a broken grammar", &|submit| submit.constraint = grammar("root ::= ("));
    refused("no root", &|submit| submit.constraint = grammar("a ::= \"b\""));
    refused("left recursion", &|submit| submit.constraint = grammar("root ::= root \"a\" | \"b\""));
    refused("an undefined rule", &|submit| submit.constraint = grammar("root ::= other"));
    refused("deep groups", &|submit| submit.constraint = grammar(&format!("root ::= {}\"a\"{}", "(".repeat(5000), ")".repeat(5000))));
    refused("endless repetition", &|submit| submit.constraint = grammar("root ::= \"a\"{5000}"));
    refused("a temperature below 0", &|submit| submit.sampling.temperature = -1.0);
    refused("a penalty of 0", &|submit| submit.sampling.repeat_penalty = 0.0);
    refused("a bias for no token", &|submit| submit.sampling.logit_bias = vec![(info.vocabulary as i32, 1.0)]);
    refused("too many alternatives", &|submit| submit.logprobs = Some(21));
    refused("too many stop strings", &|submit| submit.stop = vec!["x".to_owned(); 65]);
    assert_eq!(worker.ask(request(chat("What is the capital of France?"), 20)).text, "The capital of France is Paris.");
}

#[test]
fn from_a_mark_on_the_answer_is_a_call() {
    let Some((mut worker, _)) = Worker::start(|_| ()) else { return };
    let free = worker.ask(request(chat("Count: one, two, three."), 40)).text;
    let mark = free.split_whitespace().nth(2).expect("some words").to_owned();
    let schema = r#"{"type":"object","properties":{"n":{"const":7}},"required":["n"],"additionalProperties":false}"#;
    let mut submit = request(chat("Count: one, two, three."), 60);
    submit.constraint =
        Some(Constraint::Call { open: mark.clone(), schema: schema.to_owned(), close: "</end>".to_owned(), thoughts: None });
    let answer = worker.ask(submit.clone());
    let (before, after) = answer.text.split_once(&mark).expect("the mark");
    assert!(free.starts_with(before), "{free:?} {:?}", answer.text);
    // It may call again, but say nothing else; the last one may be cut by the limit.
    let calls: Vec<&str> = after.split("</end>").collect();
    let (last, whole) = calls.split_last().expect("something");
    assert!(!whole.is_empty(), "{:?}", answer.text);
    for call in whole {
        let document = call.trim().strip_prefix(&mark).unwrap_or(call).trim();
        let document: serde_json::Value = serde_json::from_str(document).expect("JSON");
        assert_eq!(document, serde_json::json!({"n": 7}), "{:?}", answer.text);
    }
    assert!(answer.done().finish == Finish::Length || last.trim().is_empty(), "{:?}", answer.text);
    submit.constraint = Some(Constraint::Call { open: mark, schema: r#"{"type":"wat"}"#.to_owned(), close: String::new(), thoughts: None });
    submit.max_tokens = Some(40);
    assert_eq!(worker.ask(submit).text, free, "what can't be a grammar does not bind");
}

#[test]
fn control_tokens_have_a_text_where_it_is_asked_for() {
    let Some((mut worker, info)) = Worker::start(|_| ()) else { return };
    let mut submit = request(chat("Say hi."), 3);
    submit.sampling.logit_bias = vec![(1, 1000.0)];
    assert_eq!(worker.ask(submit.clone()).text, "", "{:?}", info.bos_token);
    submit.marks = vec!["<|im_start|>".to_owned(), "no token of this vocabulary".to_owned()];
    assert_eq!(worker.ask(submit).text, "<|im_start|>".repeat(3));
}
