//! Beginning and end of the process.

use std::io::Write;
use std::process::Command;

use wire::fleet::worker::{Finish, FromWorker, Load, ToWorker, WorkerCode};

use crate::support::{Worker, chat, gguf, load, request};

fn refused(path: &std::path::Path) -> String {
    let mut worker = Worker::spawn();
    worker.send(&ToWorker::Load(load(path)));
    let FromWorker::LoadFailed { message } = worker.receive() else { panic!("it must not load") };
    assert_eq!(worker.child.wait().expect("it ends").code(), Some(1));
    message
}

#[test]
fn a_file_that_is_no_model_is_refused_in_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = refused(&folder.path().join("missing.gguf"));
    assert!(missing.contains("cannot open") && missing.contains("missing.gguf"), "{missing}");
    let garbage = folder.path().join("garbage.gguf");
    std::fs::write(&garbage, b"this is no model at all").expect("a file");
    let message = refused(&garbage);
    assert!(message.contains("cannot load") && message.len() > garbage.display().to_string().len() + 20, "{message}");
    assert!(refused(folder.path()).contains("not a file"));
}

#[test]
fn a_truncated_model_is_refused_in_words() {
    let Some(path) = gguf() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let whole = std::fs::read(path).expect("the model");
    for length in [40, 100_000, whole.len() / 2] {
        let cut = folder.path().join(format!("{length}.gguf"));
        std::fs::File::create(&cut).and_then(|mut file| file.write_all(&whole[..length])).expect("a file");
        let message = refused(&cut);
        assert!(message.contains("cannot load"), "{message}");
    }
}

#[test]
fn the_end_of_input_ends_the_worker_even_while_it_generates() {
    let Some((mut worker, _)) = Worker::start(|_| ()) else { return };
    let mut submit = request(chat("Tell me everything."), 900);
    submit.ignore_eos = true;
    worker.submit(submit);
    while !matches!(worker.receive(), FromWorker::Tokens { .. }) {}
    assert_eq!(worker.close().code(), Some(0));
}

#[test]
fn draining_finishes_what_runs_and_takes_nothing_new() {
    let Some((mut worker, _)) = Worker::start(|_| ()) else { return };
    let mut submit = request(chat("Tell me a story."), 40);
    submit.ignore_eos = true;
    let running = worker.submit(submit);
    while !matches!(worker.receive(), FromWorker::Tokens { .. }) {}
    worker.send(&ToWorker::Drain);
    let late = worker.submit(request(chat("Hi"), 2));
    let answers = worker.collect(&[running, late]);
    assert_eq!((answers[&running].done().finish, answers[&running].done().completion_tokens), (Finish::Length, 40));
    assert_eq!(answers[&late].code(), Some(WorkerCode::Busy));
    assert!(matches!(worker.receive(), FromWorker::Drained));
    assert_eq!(worker.child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn heartbeats_tell_of_progress() {
    let Some((mut worker, _)) = Worker::start(|_| ()) else { return };
    let mut submit = request(chat("Tell me a story."), 900);
    submit.ignore_eos = true;
    let id = worker.submit(submit);
    let first = loop {
        let (steps, active) = worker.heartbeat();
        if active > 0 && steps > 0 {
            break steps;
        }
    };
    assert!(worker.heartbeat().0 > first);
    worker.send(&ToWorker::Cancel { id });
    worker.collect(&[id]);
    while worker.heartbeat().1 > 0 {}
}

#[test]
fn frames_that_are_none_end_the_worker() {
    let mut worker = Worker::spawn();
    worker.send_bytes(&[3, 0, 0, 0, b'a', b'b', b'c']);
    assert_eq!(worker.child.wait().expect("it ends").code(), Some(2));
    let mut worker = Worker::spawn();
    worker.send_bytes(&u32::MAX.to_le_bytes());
    assert_eq!(worker.child.wait().expect("it ends").code(), Some(2));
    let mut worker = Worker::spawn();
    worker.send(&ToWorker::Stats);
    assert_eq!(worker.child.wait().expect("it ends").code(), Some(1), "the first frame must load a model");
    assert_eq!(Worker::spawn().close().code(), Some(0), "nothing at all is a plain end");
}

#[test]
fn a_second_model_is_refused() {
    let Some((mut worker, _)) = Worker::start(|_| ()) else { return };
    let again: Load = load(std::path::Path::new("/nowhere.gguf"));
    worker.send(&ToWorker::Load(again));
    assert_eq!(worker.child.wait().expect("it ends").code(), Some(1));
}

#[test]
fn the_version_is_told() {
    let output = Command::new(env!("CARGO_BIN_EXE_llm-node-worker")).arg("--version").output().expect("it runs");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("llm-node-worker {}\n", env!("CARGO_PKG_VERSION")));
    let help = Command::new(env!("CARGO_BIN_EXE_llm-node-worker")).arg("--help").output().expect("it runs");
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("OMP_WAIT_POLICY"));
}

#[test]
fn a_model_is_written_with_fewer_bits_or_it_is_said_why_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("to.gguf");
    let quantize = |kind: &str, from: &std::path::Path| {
        let done =
            Command::new(env!("CARGO_BIN_EXE_llm-node-worker")).args(["--quantize", kind]).arg(from).arg(&to).output().expect("it runs");
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let garbage = folder.path().join("garbage.gguf");
    std::fs::write(&garbage, b"this is no model at all").expect("a file");
    let (status, said) = quantize("q4_k_m", &garbage);
    assert!(status == Some(1) && said.contains("failed to quantize"), "{status:?} {said}");
    let (status, said) = quantize("q9", &garbage);
    assert!(status == Some(1) && said.contains("q4_k_m"), "{status:?} {said}");
    let Some(path) = gguf() else { return };
    let (status, said) = quantize("q4_k_m", &path);
    assert!(status == Some(1) && said.contains("requantizing"), "bits that are gone do not come back: {status:?} {said}");
}
