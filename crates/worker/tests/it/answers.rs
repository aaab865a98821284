//! What is generated, and that neighbours and caches do not change it.

use std::collections::HashMap;

use wire::fleet::worker::{Finish, FromWorker, Prompt, RequestId, Segment, Submit, ToWorker};

use crate::support::{Worker, chat, request};

const QUESTIONS: [&str; 8] = [
    "What is the capital of France?",
    "Name three colours.",
    "How many legs does a spider have?",
    "Write a sentence about the sea.",
    "What is two plus two?",
    "Who wrote Hamlet?",
    "Say hello in Spanish.",
    "Why is the sky blue?",
];

/// Tokens that are compared of each answer.
const COMPARED: u32 = 24;

/// The first tokens of answers that are all under way at once. Nobody ends before all have come so far: the cells of one who
/// ends are given to the others out of order, which changes the last digits of what they compute.
fn together(worker: &mut Worker, submits: Vec<Submit>) -> Vec<String> {
    let ids: Vec<RequestId> = submits.into_iter().map(|submit| worker.submit(submit)).collect();
    let mut texts: HashMap<RequestId, (u32, String)> = ids.iter().map(|&id| (id, (0, String::new()))).collect();
    while texts.values().any(|&(count, _)| count < COMPARED) {
        let FromWorker::Tokens { outputs } = worker.receive() else { continue };
        for output in outputs.into_iter().filter(|output| output.count <= COMPARED) {
            let (count, text) = texts.get_mut(&output.id).expect("one of ours");
            *count = output.count;
            text.push_str(&output.text);
        }
    }
    for &id in &ids {
        worker.send(&ToWorker::Cancel { id });
    }
    worker.collect(&ids);
    ids.iter().map(|id| texts.remove(id).expect("one of ours").1).collect()
}

#[test]
fn greedy_alone_equals_greedy_in_a_batch_of_eight() {
    let Some((mut worker, info)) = Worker::start(|_| ()) else { return };
    assert_eq!((info.architecture.as_str(), info.slots, info.context), ("llama", 8, 1024));
    let endless = |words: &str| {
        let mut submit = request(chat(words), 200);
        submit.cache_prompt = false;
        submit.ignore_eos = true;
        submit
    };
    let alone: Vec<String> = QUESTIONS.iter().flat_map(|words| together(&mut worker, vec![endless(words)])).collect();
    assert!(alone[0].contains("Paris"), "{alone:?}");
    let crowd = together(&mut worker, QUESTIONS.iter().map(|words| endless(words)).collect());
    assert_eq!(crowd, alone);
}

#[test]
fn a_prompt_seen_before_is_not_computed_again() {
    let Some((mut worker, _)) = Worker::start(|_| ()) else { return };
    let words = "Tell me, in a few short words and without any long introduction, what a river is and where it begins.";
    let first = worker.ask(request(chat(words), 12));
    assert_eq!(first.cached_tokens, 0);
    let prompt_tokens = first.done().prompt_tokens;
    let again = worker.ask(request(chat(words), 12));
    assert_eq!(again.cached_tokens, prompt_tokens - 1, "all but the last token");
    assert_eq!(again.text, first.text);
    let longer = worker.ask(request(chat(&format!("{words} And where does it end?")), 12));
    assert!(longer.cached_tokens > 15 && longer.cached_tokens < longer.done().prompt_tokens);
    let mut other = request(chat(words), 12);
    other.salt = 2;
    assert_eq!(worker.ask(other).cached_tokens, 0, "never across salts");
    let mut fresh = request(chat(words), 12);
    fresh.cache_prompt = false;
    let fresh = worker.ask(fresh);
    assert_eq!((fresh.cached_tokens, fresh.text), (0, first.text));
}

#[test]
fn stop_strings_end_the_answer_and_are_not_part_of_it() {
    let Some((mut worker, _)) = Worker::start(|_| ()) else { return };
    let whole = worker.ask(request(chat(QUESTIONS[0]), 20));
    assert_eq!(whole.done().finish, Finish::Stop);
    assert_eq!(whole.text, "The capital of France is Paris.");
    let mut submit = request(chat(QUESTIONS[0]), 20);
    submit.stop = vec!["nowhere".to_owned(), " of Fra".to_owned()];
    let cut = worker.ask(submit);
    assert_eq!((cut.text.as_str(), cut.done().finish), ("The capital", Finish::StopString));
    let short = worker.ask(request(chat(QUESTIONS[0]), 3));
    assert_eq!((short.text.as_str(), short.done().finish, short.done().completion_tokens), ("The capital of", Finish::Length, 3));
    let none = worker.ask(request(chat(QUESTIONS[0]), 0));
    assert_eq!((none.text.as_str(), none.done().finish, none.done().completion_tokens), ("", Finish::Length, 0));
    let mut on = request(chat(QUESTIONS[0]), 30);
    on.ignore_eos = true;
    let on = worker.ask(on);
    assert_eq!((on.done().finish, on.done().completion_tokens), (Finish::Length, 30));
}

#[test]
fn a_user_cannot_write_control_tokens() {
    let Some((mut worker, _)) = Worker::start(|_| ()) else { return };
    let mut tokens = |text: &str, special| {
        let prompt = Prompt { segments: vec![Segment::Text { text: text.to_owned(), special }], add_special: false };
        worker.send(&ToWorker::Tokenize { id: 9, prompt });
        match worker.receive() {
            FromWorker::Tokenized { tokens, .. } => tokens,
            other => panic!("unexpected {other:?}"),
        }
    };
    assert_eq!(tokens("<|im_end|>", true).len(), 1);
    assert!(tokens("<|im_end|>", false).len() > 1);
    let text = "Grüße 😀 語 <|im_start|>\n";
    let ids = tokens(text, true);
    worker.send(&ToWorker::Detokenize { id: 10, tokens: ids });
    assert!(matches!(worker.receive(), FromWorker::Detokenized { text: back, .. } if back == text));
    worker.send(&ToWorker::Detokenize { id: 11, tokens: vec![-1] });
    assert!(matches!(worker.receive(), FromWorker::Failed { id: 11, .. }));
}

#[test]
fn tokens_can_be_the_prompt() {
    let Some((mut worker, _)) = Worker::start(|_| ()) else { return };
    worker.send(&ToWorker::Tokenize { id: 1, prompt: chat(QUESTIONS[0]) });
    let FromWorker::Tokenized { tokens, .. } = worker.receive() else { panic!("not tokenised") };
    let answer = worker.ask(request(Prompt { segments: vec![Segment::Tokens { tokens }], add_special: false }, 20));
    assert_eq!(answer.text, "The capital of France is Paris.");
}
