//! Embeddings from a chat model.

use wire::fleet::worker::{FromWorker, Prompt, ToWorker, WorkerCode};

use crate::support::{Worker, chat, request};

/// Vectors and tokens.
type Embedded = (Vec<Vec<f32>>, u32);

fn embed(worker: &mut Worker, inputs: Vec<Prompt>) -> Result<Embedded, WorkerCode> {
    worker.send(&ToWorker::Embed { id: 1000, inputs });
    loop {
        match worker.receive() {
            FromWorker::Embedded { id: 1000, vectors, prompt_tokens } => return Ok((vectors, prompt_tokens)),
            FromWorker::Failed { id: 1000, code, .. } => return Err(code),
            _ => {}
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[test]
fn vectors_have_length_one_and_mean_something() {
    let Some((mut worker, info)) = Worker::start(|_| ()) else { return };
    assert_eq!(info.pooling.as_deref(), Some("mean"));
    let inputs = ["The cat sat on the mat.", "A cat was sitting on the mat.", "Interest rates rose in the third quarter."];
    let (vectors, tokens) = embed(&mut worker, inputs.map(Prompt::plain).to_vec()).expect("three vectors");
    assert!(tokens > 15);
    assert_eq!(vectors.len(), 3);
    for vector in &vectors {
        assert_eq!(vector.len() as u32, info.embedding_length);
        assert!((dot(vector, vector) - 1.0).abs() < 1e-4);
    }
    assert!(dot(&vectors[0], &vectors[1]) > dot(&vectors[0], &vectors[2]));
    let (again, _) = embed(&mut worker, vec![Prompt::plain(inputs[0])]).expect("a vector");
    assert!(dot(&again[0], &vectors[0]) > 0.999_9);
}

#[test]
fn long_inputs_go_in_pieces_beside_a_running_generation() {
    let Some((mut worker, _)) = Worker::start(|_| ()) else { return };
    let mut running = request(chat("Tell me a story."), 60);
    running.ignore_eos = true;
    let id = worker.submit(running);
    let long = "a b c d ".repeat(80);
    let beside = embed(&mut worker, vec![Prompt::plain(long.clone())]).expect("a vector").0;
    worker.send(&ToWorker::Cancel { id });
    worker.collect(&[id]);
    let alone = embed(&mut worker, vec![Prompt::plain(long)]).expect("a vector").0;
    assert!(dot(&alone[0], &beside[0]) > 0.999, "the size of the pieces does not matter");
}

#[test]
fn what_cannot_be_embedded_is_refused() {
    let Some((mut worker, _)) = Worker::start(|_| ()) else { return };
    assert_eq!(embed(&mut worker, vec![]).expect_err("nothing to do"), WorkerCode::Invalid);
    let endless = Prompt::plain("word ".repeat(2000));
    assert_eq!(embed(&mut worker, vec![endless]).expect_err("too long"), WorkerCode::ContextLength);
    assert!(embed(&mut worker, vec![Prompt::plain("fine")]).is_ok());
}
