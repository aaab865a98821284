//! An engine without a model: it repeats the prompt word by word, as slowly or as badly as the name of the model's file says.
//!
//! It speaks the same frames as the real one, in a process of its own (`llm-node scripted-worker`) or inside this one, so that
//! crashes, hangs and cancellations are tried on the real supervisor and no engine has to be compiled.

mod script;

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{Notify, mpsc},
    time,
};
use wire::fleet::worker::{
    Done, EngineStats, Finish, FromWorker, Load, ModelInfo, Prompt, RequestId, Segment, Submit, Timings, ToWorker, TokenOutput, WorkerCode,
    encode_frame, frame_length,
};

use super::{Launch, Link};
use script::{Answer, Script};

/// Width of its embeddings.
const WIDTH: usize = 32;
/// Between two heartbeats.
const BEAT: Duration = Duration::from_millis(200);
/// Bytes that a pipe inside this process holds.
const PIPE_BYTES: usize = 64 << 10;
/// Most requests that wait for a place.
const QUEUE_MAX: usize = 64;

/// How a scripted engine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Its input was closed, or it was drained.
    Clean,
    /// It was told to crash, by the name of its model.
    Crashed,
}

/// Starts scripted engines inside this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct InProcess;

impl Launch for InProcess {
    fn launch(&self, _id: &str) -> Result<Link, String> {
        let (near_in, far_out) = tokio::io::duplex(PIPE_BYTES);
        let (far_in, near_out) = tokio::io::duplex(PIPE_BYTES);
        let kill = Arc::new(Notify::new());
        let killed = kill.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                exit = serve(far_in, far_out) => exit.map_or_else(|e| e.to_string(), |exit| format!("{exit:?}")),
                () = killed.notified() => "killed".to_owned(),
            }
        });
        let ended = task.map(|how| how.unwrap_or_else(|e| e.to_string())).boxed();
        Ok(Link { reader: Box::new(near_in), writer: Box::new(near_out), kill, ended, effort: None })
    }
}

/// Serves one model until the input ends.
///
/// # Errors
/// A pipe failed, or what came is no frame.
pub async fn serve(reader: impl AsyncRead + Send + Unpin + 'static, writer: impl AsyncWrite + Unpin) -> io::Result<Exit> {
    let (told, mut frames) = mpsc::channel(64);
    tokio::spawn(receive(reader, told));
    let mut far = Far { writer };
    let Some(ToWorker::Load(load)) = frames.recv().await.transpose()? else { return Ok(Exit::Clean) };
    let script = Script::of_path(&load.path);
    time::sleep(script.load).await;
    if script.refuses {
        far.say(&FromWorker::LoadFailed { message: "this model refuses to load".to_owned() }).await?;
        return Ok(Exit::Clean);
    }
    far.say(&FromWorker::Loaded(Box::new(about(&load, script.ranks)))).await?;
    let mut engine = Scripted {
        script,
        load,
        running: Vec::new(),
        queue: VecDeque::new(),
        words: HashMap::new(),
        stats: EngineStats::default(),
        drains: false,
    };
    let mut beats = time::interval(BEAT);
    let mut is_stuck = false;
    loop {
        if engine.drains && engine.running.is_empty() && engine.queue.is_empty() {
            far.say(&FromWorker::Drained).await?;
            return Ok(Exit::Clean);
        }
        tokio::select! {
            biased;
            frame = frames.recv() => match frame.transpose()? {
                Some(frame) => for answer in engine.hear(frame) {
                    far.say(&answer).await?;
                },
                None => return Ok(Exit::Clean),
            },
            _ = beats.tick() => {
                if !(is_stuck && engine.script.is_mute()) {
                    let active = (engine.running.len() + engine.queue.len()) as u32;
                    far.say(&FromWorker::Heartbeat { steps: engine.stats.steps_total, active }).await?;
                }
            }
            () = time::sleep(engine.script.delay), if !engine.running.is_empty() && !is_stuck => {
                let generated = engine.running.iter().map(|r| r.answer.count()).max().unwrap_or(0);
                match engine.script.accident(generated) {
                    Some(script::Accident::Crash) => return Ok(Exit::Crashed),
                    Some(script::Accident::Hang) => is_stuck = true,
                    None => for answer in engine.step() {
                        far.say(&answer).await?;
                    },
                }
            }
        }
    }
}

async fn receive(mut reader: impl AsyncRead + Unpin, told: mpsc::Sender<io::Result<ToWorker>>) {
    loop {
        let frame = async {
            let mut head = [0; 4];
            reader.read_exact(&mut head).await?;
            let mut body = vec![0; frame_length(head)?];
            reader.read_exact(&mut body).await?;
            Ok(serde_json::from_slice(&body)?)
        };
        match frame.await {
            Err(e) if io::Error::kind(&e) == io::ErrorKind::UnexpectedEof => return,
            frame => {
                if told.send(frame).await.is_err() {
                    return;
                }
            }
        }
    }
}

struct Far<W> {
    writer: W,
}

impl<W: AsyncWrite + Unpin> Far<W> {
    async fn say(&mut self, frame: &FromWorker) -> io::Result<()> {
        self.writer.write_all(&encode_frame(frame)?).await?;
        self.writer.flush().await
    }
}

struct Scripted {
    script: Script,
    load: Load,
    running: Vec<Running>,
    queue: VecDeque<Submit>,
    /// Ids of the words seen so far.
    words: HashMap<String, i32>,
    stats: EngineStats,
    drains: bool,
}

struct Running {
    id: RequestId,
    answer: Answer,
    prompt_tokens: u32,
}

impl Scripted {
    fn hear(&mut self, frame: ToWorker) -> Vec<FromWorker> {
        match frame {
            ToWorker::Submit(submit) => return self.submit(*submit),
            ToWorker::Cancel { id } => {
                if let Some(at) = self.running.iter().position(|r| r.id == id) {
                    let mut running = self.running.swap_remove(at);
                    return vec![running.done(Finish::Cancelled)].into_iter().chain(self.admit()).collect();
                }
                if let Some(submit) = self.queue.iter().position(|s| s.id == id).and_then(|at| self.queue.remove(at)) {
                    let answer = Answer::new(&submit, Vec::new(), 0);
                    return vec![Running { id, answer, prompt_tokens: 0 }.done(Finish::Cancelled)];
                }
            }
            ToWorker::Embed { id, inputs } => {
                let words: Vec<Vec<String>> = inputs.iter().map(|p| self.split(p)).collect();
                let prompt_tokens = words.iter().map(Vec::len).sum::<usize>() as u32;
                let vectors = if self.script.ranks {
                    inputs.iter().map(|input| vec![self.rank(input)]).collect()
                } else {
                    words.iter().map(|w| vector(w)).collect()
                };
                return vec![FromWorker::Embedded { id, vectors, prompt_tokens }];
            }
            ToWorker::Tokenize { id, prompt } => {
                let tokens = self.split(&prompt).into_iter().map(|word| self.token(word)).collect();
                return vec![FromWorker::Tokenized { id, tokens }];
            }
            ToWorker::Detokenize { id, tokens } => {
                let text = tokens.iter().map(|token| self.word(*token)).collect();
                return vec![FromWorker::Detokenized { id, text }];
            }
            ToWorker::Stats => return vec![FromWorker::Stats(self.counters())],
            ToWorker::Drain => self.drains = true,
            ToWorker::Load(_) => {}
        }
        Vec::new()
    }

    fn submit(&mut self, submit: Submit) -> Vec<FromWorker> {
        let failed = |code, message: &str| vec![FromWorker::Failed { id: submit.id, code, message: message.to_owned() }];
        if self.queue.len() >= QUEUE_MAX || self.drains {
            return failed(WorkerCode::Busy, "no place is free");
        }
        let prompt = self.split(&submit.prompt).len() as u32;
        if prompt >= self.load.context {
            return failed(WorkerCode::ContextLength, &format!("the prompt has {prompt} tokens; at most {} fit", self.load.context));
        }
        self.queue.push_back(submit);
        self.admit()
    }

    fn admit(&mut self) -> Vec<FromWorker> {
        let mut accepted = Vec::new();
        while self.running.len() < self.load.slots as usize {
            let Some(submit) = self.queue.pop_front() else { break };
            let words = self.split(&submit.prompt);
            let prompt_tokens = words.len() as u32;
            self.stats.requests_total += 1;
            self.stats.prompt_tokens_total += u64::from(prompt_tokens);
            accepted.push(FromWorker::Accepted { id: submit.id, prompt_tokens, cached_tokens: 0 });
            let left = self.load.context - prompt_tokens;
            self.running.push(Running { id: submit.id, answer: Answer::new(&submit, self.script.answer(words), left), prompt_tokens });
        }
        accepted
    }

    fn step(&mut self) -> Vec<FromWorker> {
        self.stats.steps_total += 1;
        let (mut outputs, mut ends) = (Vec::new(), Vec::new());
        self.running.retain_mut(|running| match running.answer.step() {
            Ok((text, logprobs)) => {
                outputs.push(TokenOutput { id: running.id, text, count: running.answer.count(), logprobs });
                true
            }
            Err(finish) => {
                ends.push(running.done(finish));
                false
            }
        });
        self.stats.completion_tokens_total += outputs.len() as u64;
        let mut frames = if outputs.is_empty() { Vec::new() } else { vec![FromWorker::Tokens { outputs }] };
        frames.extend(ends);
        frames.extend(self.admit());
        frames
    }

    fn counters(&self) -> EngineStats {
        EngineStats {
            slots_total: self.load.slots,
            slots_busy: self.running.len() as u32,
            queue_len: self.queue.len() as u32,
            kv_total: self.load.kv_cells,
            kv_used: self.running.iter().map(|r| r.prompt_tokens + r.answer.count()).sum(),
            ..self.stats.clone()
        }
    }

    /// A prompt's words, each with the blanks before it.
    fn split(&self, prompt: &Prompt) -> Vec<String> {
        let mut words = Vec::new();
        for segment in &prompt.segments {
            match segment {
                Segment::Text { text, .. } => words.extend(script::words(text)),
                Segment::Tokens { tokens } => words.extend(tokens.iter().map(|token| self.word(*token))),
                Segment::Between => {}
            }
        }
        words
    }

    /// The words of an input's second half that are in the first too.
    fn rank(&self, input: &Prompt) -> f32 {
        let halves = input.segments.split(|segment| *segment == Segment::Between);
        let mut halves = halves.map(|half| self.split(&Prompt { segments: half.to_vec(), add_special: false }));
        let (query, document) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
        document.iter().filter(|word| query.iter().any(|known| known.trim() == word.trim())).count() as f32
    }

    fn token(&mut self, word: String) -> i32 {
        let next = self.words.len() as i32;
        *self.words.entry(word).or_insert(next)
    }

    fn word(&self, token: i32) -> String {
        self.words.iter().find(|(_, id)| **id == token).map_or_else(|| format!(" #{token}"), |(word, _)| word.clone())
    }
}

impl Running {
    fn done(&mut self, finish: Finish) -> FromWorker {
        let (text, logprobs) = self.answer.rest(finish);
        FromWorker::Done(Done {
            id: self.id,
            finish,
            text,
            logprobs,
            prompt_tokens: self.prompt_tokens,
            cached_tokens: 0,
            completion_tokens: self.answer.count(),
            timings: Timings::default(),
        })
    }
}

fn about(load: &Load, ranks: bool) -> ModelInfo {
    ModelInfo {
        architecture: "scripted".to_owned(),
        context: load.context,
        context_train: load.context,
        kv_cells: load.kv_cells,
        slots: load.slots,
        embedding_length: WIDTH as u32,
        pooling: Some(if ranks { "rank" } else { "mean" }.to_owned()),
        fingerprint: "scripted".to_owned(),
        ..ModelInfo::default()
    }
}

/// Counts words by a hash of their letters; of length 1.
fn vector(words: &[String]) -> Vec<f32> {
    let mut counts = [0.0f32; WIDTH];
    for word in words {
        let hash = word.trim().bytes().fold(2_166_136_261u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
        counts[hash as usize % WIDTH] += 1.0;
    }
    let length = counts.iter().map(|c| c * c).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    counts.iter().map(|c| c / length).collect()
}
