//! Starts workers and speaks frames with them.

use std::collections::HashMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use wire::fleet::worker::{
    Done, FromWorker, Load, ModelInfo, Prompt, RequestId, Sampling, Segment, Submit, ToWorker, TokenLogprob, WorkerCode, read_frame,
    write_frame,
};

/// Longest wait for a frame; only ever used up by a test that fails.
const PATIENCE: Duration = Duration::from_mins(2);
const MODEL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// The real model's file, if it is there.
#[expect(clippy::disallowed_methods, reason = "tests find their model through the environment")]
pub(crate) fn gguf() -> Option<PathBuf> {
    let named = std::env::var_os("LLM_TEST_GGUF").map(PathBuf::from);
    let home = std::env::home_dir().map(|home| home.join(".llm-router/models").join(MODEL));
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/models").join(MODEL);
    let found = named.into_iter().chain(home).chain([target]).find(|path| path.is_file());
    if found.is_none() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "the real model is needed in CI: set LLM_TEST_GGUF or put {MODEL} into target/models"
        );
        println!("skipped: no {MODEL}; set LLM_TEST_GGUF or put it into target/models");
    }
    found
}

/// How tests load a model: one thread, so that they disturb each other little.
pub(crate) fn load(path: &Path) -> Load {
    Load {
        path: path.display().to_string(),
        context: 1024,
        kv_cells: 2048,
        slots: 8,
        threads: 1,
        threads_batch: 1,
        step_ms: 200,
        gpu_layers: 0,
        queue_max: 16,
    }
}

/// A running worker. Killed when dropped.
pub(crate) struct Worker {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    frames: Receiver<FromWorker>,
    next: RequestId,
    /// Steps that the latest heartbeat told.
    pub(crate) steps: u64,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came of a request.
#[derive(Debug, Default, Clone)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) logprobs: Vec<TokenLogprob>,
    pub(crate) done: Option<Done>,
    pub(crate) failed: Option<(WorkerCode, String)>,
    pub(crate) cached_tokens: u32,
}

impl Answer {
    pub(crate) fn done(&self) -> &Done {
        self.done.as_ref().unwrap_or_else(|| panic!("it failed: {:?}", self.failed))
    }

    pub(crate) fn code(&self) -> Option<WorkerCode> {
        self.failed.as_ref().map(|(code, _)| *code)
    }
}

impl Worker {
    /// Starts the process without loading anything.
    pub(crate) fn spawn() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_llm-node-worker"))
            .env("OMP_WAIT_POLICY", "passive")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the worker starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let stdin = child.stdin.take();
        let (sender, frames) = channel();
        thread::spawn(move || {
            while let Ok(Some(frame)) = read_frame(&mut stdout) {
                if sender.send(frame).is_err() {
                    return;
                }
            }
        });
        Self { child, stdin, frames, next: 0, steps: 0 }
    }

    /// A worker with the real model, or `None` where there is none.
    pub(crate) fn start(change: impl FnOnce(&mut Load)) -> Option<(Self, ModelInfo)> {
        let mut load = load(&gguf()?);
        change(&mut load);
        let mut worker = Self::spawn();
        worker.send(&ToWorker::Load(load));
        match worker.receive() {
            FromWorker::Loaded(info) => Some((worker, *info)),
            other => panic!("not loaded: {other:?}"),
        }
    }

    pub(crate) fn send(&mut self, frame: &ToWorker) {
        write_frame(self.stdin.as_mut().expect("still open"), frame).expect("the worker listens");
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        use std::io::Write;
        let stdin = self.stdin.as_mut().expect("still open");
        stdin.write_all(bytes).and_then(|()| stdin.flush()).expect("the worker listens");
    }

    /// Ends the worker's standard input and waits for its end.
    pub(crate) fn close(&mut self) -> ExitStatus {
        self.stdin = None;
        self.child.wait().expect("it ends")
    }

    /// The next frame that is no heartbeat.
    pub(crate) fn receive(&mut self) -> FromWorker {
        loop {
            match self.frames.recv_timeout(PATIENCE).expect("a frame") {
                FromWorker::Heartbeat { steps, .. } => self.steps = steps,
                frame => return frame,
            }
        }
    }

    /// The next heartbeat.
    pub(crate) fn heartbeat(&mut self) -> (u64, u32) {
        loop {
            if let FromWorker::Heartbeat { steps, active } = self.frames.recv_timeout(PATIENCE).expect("a frame") {
                return (steps, active);
            }
        }
    }

    /// Sends a request; the id it got.
    pub(crate) fn submit(&mut self, mut submit: Submit) -> RequestId {
        self.next += 1;
        submit.id = self.next;
        self.send(&ToWorker::Submit(Box::new(submit)));
        self.next
    }

    /// Receives until all of these requests have ended.
    pub(crate) fn collect(&mut self, ids: &[RequestId]) -> HashMap<RequestId, Answer> {
        let mut answers: HashMap<RequestId, Answer> = ids.iter().map(|&id| (id, Answer::default())).collect();
        while answers.values().any(|answer| answer.done.is_none() && answer.failed.is_none()) {
            match self.receive() {
                FromWorker::Accepted { id, cached_tokens, .. } => answers.entry(id).or_default().cached_tokens = cached_tokens,
                FromWorker::Tokens { outputs } => {
                    for output in outputs {
                        let answer = answers.entry(output.id).or_default();
                        answer.text.push_str(&output.text);
                        answer.logprobs.extend(output.logprobs);
                    }
                }
                FromWorker::Done(done) => {
                    let answer = answers.entry(done.id).or_default();
                    answer.text.push_str(&done.text);
                    answer.logprobs.extend(done.logprobs.clone());
                    answer.done = Some(done);
                }
                FromWorker::Failed { id, code, message } => answers.entry(id).or_default().failed = Some((code, message)),
                other => panic!("unexpected {other:?}"),
            }
        }
        answers
    }

    /// Sends one request and receives its answer.
    pub(crate) fn ask(&mut self, submit: Submit) -> Answer {
        let id = self.submit(submit);
        self.collect(&[id]).remove(&id).expect("it was asked for")
    }
}

/// A chat turn as the model's template writes it, the user's words without control tokens.
pub(crate) fn chat(words: &str) -> Prompt {
    let control = |text: &str| Segment::Text { text: text.to_owned(), special: true };
    Prompt {
        segments: vec![
            control("<|im_start|>user\n"),
            Segment::Text { text: words.to_owned(), special: false },
            control("<|im_end|>\n<|im_start|>assistant\n"),
        ],
        add_special: false,
    }
}

/// A greedy request.
pub(crate) fn request(prompt: Prompt, max_tokens: u32) -> Submit {
    Submit {
        id: 0,
        prompt,
        max_tokens: Some(max_tokens),
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        constraint: None,
        stop: Vec::new(),
        marks: Vec::new(),
        logprobs: None,
        ignore_eos: false,
        cache_prompt: true,
        salt: 1,
        queue_ms: 60_000,
    }
}
