//! Admission, queueing, cancelling, and what does not fit.

use wire::fleet::worker::{Finish, FromWorker, Prompt, RequestId, Submit, ToWorker, WorkerCode};

use crate::support::{Worker, chat, request};

fn endless(max_tokens: u32) -> Submit {
    let mut submit = request(chat("Count to a thousand."), max_tokens);
    submit.ignore_eos = true;
    submit
}

/// Waits until the request has brought a token.
fn await_token(worker: &mut Worker, id: RequestId) {
    loop {
        if let FromWorker::Tokens { outputs } = worker.receive()
            && outputs.iter().any(|output| output.id == id)
        {
            return;
        }
    }
}

#[test]
fn a_cancelled_request_ends_and_leaves_its_place() {
    let Some((mut worker, _)) = Worker::start(|load| load.slots = 1) else { return };
    let running = worker.submit(endless(900));
    await_token(&mut worker, running);
    let waiting = worker.submit(endless(900));
    worker.send(&ToWorker::Cancel { id: waiting });
    worker.send(&ToWorker::Cancel { id: 12_345 });
    worker.send(&ToWorker::Cancel { id: running });
    let answers = worker.collect(&[running, waiting]);
    assert_eq!(answers[&running].done().finish, Finish::Cancelled);
    assert!(answers[&running].done().completion_tokens < 900);
    assert_eq!((answers[&waiting].done().finish, answers[&waiting].done().completion_tokens), (Finish::Cancelled, 0));
    assert_eq!(worker.ask(request(chat("What is the capital of France?"), 20)).text, "The capital of France is Paris.");
    worker.send(&ToWorker::Stats);
    let FromWorker::Stats(stats) = worker.receive() else { panic!("no statistics") };
    assert_eq!((stats.slots_busy, stats.queue_len, stats.kv_used, stats.requests_total), (0, 0, 0, 3));
    assert!(stats.prefill_tps > 0.0 && stats.tpot_ms > 0.0 && stats.completion_tokens_total > 0);
}

#[test]
fn requests_wait_for_cells_and_the_queue_is_bounded() {
    let Some((mut worker, info)) = Worker::start(|load| (load.kv_cells, load.context, load.queue_max, load.slots) = (512, 512, 1, 4))
    else {
        return;
    };
    assert_eq!((info.kv_cells, info.context), (512, 512));
    // Each needs some 220 cells: two fit, the third waits though slots are idle.
    let two = [worker.submit(endless(200)), worker.submit(endless(200))];
    await_token(&mut worker, two[1]);
    let third = worker.submit(endless(5));
    let mut late = endless(200);
    late.queue_ms = 1;
    let late = worker.submit(late);
    let more: Vec<RequestId> = (0..3).map(|_| worker.submit(endless(5))).collect();
    let answers = worker.collect(&[&two[..], &[third, late], &more[..]].concat());
    assert_eq!(answers[&late].code(), Some(WorkerCode::Busy));
    assert_eq!(answers[&third].done().completion_tokens, 5);
    let refused = more.iter().filter(|&id| answers[id].code() == Some(WorkerCode::Busy)).count();
    assert!(refused >= 1, "four can wait where two slots are idle and one more is allowed");
    for id in two {
        assert_eq!(answers[&id].done().completion_tokens, 200);
    }
    assert!(answers[&third].done().timings.queue_ms > 0.0);
}

#[test]
fn what_is_longer_than_the_context_is_refused() {
    let Some((mut worker, _)) = Worker::start(|load| load.context = 128) else { return };
    for words in ["word ".repeat(200), "x".repeat(5_000_000)] {
        let answer = worker.ask(request(chat(&words), 5));
        assert_eq!(answer.code(), Some(WorkerCode::ContextLength), "{answer:?}");
    }
    let mut open = endless(0);
    open.max_tokens = None;
    let answer = worker.ask(open);
    assert_eq!(answer.done().finish, Finish::Length);
    assert_eq!(answer.done().prompt_tokens + answer.done().completion_tokens, 128, "up to the end of the context");
    let unknown = Prompt { segments: vec![wire::fleet::worker::Segment::Tokens { tokens: vec![1, 49_152] }], add_special: false };
    assert_eq!(worker.ask(request(unknown, 5)).code(), Some(WorkerCode::Invalid));
}

#[test]
fn an_empty_prompt_begins_like_the_models_own_texts() {
    let Some((mut worker, _)) = Worker::start(|_| ()) else { return };
    let answer = worker.ask(request(Prompt { segments: vec![], add_special: true }, 3));
    assert_eq!(answer.done().prompt_tokens, 1);
}
