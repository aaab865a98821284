//! The near end of an engine: sends frames, sorts what comes back to those who wait for it, and notices its end.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, BufReader},
    sync::{Notify, mpsc, oneshot, watch},
    time,
};
use wire::fleet::worker::{EngineStats, FromWorker, Load, ModelInfo, Prompt, RequestId, Submit, ToWorker, WorkerCode, encode_frame};

use super::{EngineError, Event, Limits, Link, LoadError, REQUESTS_MAX, loading, mailbox::Mailbox, pipe, pulse, pulse::Pulse};

/// Frames on their way to the engine: two for every request at most, and a few of the engine's own.
const OUTBOX_MAX: usize = 2 * REQUESTS_MAX + 64;
/// How long an engine that was told to end, or has closed its pipe, may take before it is killed.
const END_GRACE: Duration = Duration::from_secs(5);
/// Between two questions for counters.
const STATS_EVERY: Duration = Duration::from_secs(1);

/// A loaded model. Dropping it ends the far end.
pub struct Engine {
    shared: Arc<Shared>,
    info: ModelInfo,
}

struct Shared {
    outbox: mpsc::Sender<Vec<u8>>,
    waiting: Mutex<HashMap<RequestId, Waiting>>,
    next_id: AtomicU64,
    pulse: Mutex<Pulse>,
    stats: Mutex<EngineStats>,
    /// Why the engine was killed, where it was.
    fault: Mutex<Option<String>>,
    kill: Arc<Notify>,
    /// How it ended.
    ended: watch::Sender<Option<String>>,
}

enum Waiting {
    Generation(Arc<Mailbox>),
    Reply(oneshot::Sender<Result<FromWorker, EngineError>>),
    /// Cancelled; the engine has not said its last word on it.
    Abandoned,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// Loads a model over a fresh link.
    pub async fn start(link: Link, load: Load, limits: Limits) -> Result<Self, LoadError> {
        let (outbox, frames) = mpsc::channel(OUTBOX_MAX);
        let shared = Arc::new(Shared {
            outbox,
            waiting: Mutex::default(),
            next_id: AtomicU64::new(1),
            pulse: Mutex::new(Pulse::new(Instant::now())),
            stats: Mutex::default(),
            fault: Mutex::default(),
            kill: link.kill,
            ended: watch::Sender::new(None),
        });
        let (told, loaded) = oneshot::channel();
        tokio::spawn(pipe::write(link.writer, frames, shared.ended.subscribe()));
        tokio::spawn(read(shared.clone(), BufReader::new(link.reader), told, link.ended));
        // Ends the far end if this future is dropped or fails.
        let mut guard = Guard(Some(shared.clone()));
        shared.send(&ToWorker::Load(load)).map_err(|e| LoadError::Died(e.to_string()))?;
        let info = match loading::wait(loaded, link.effort, limits).await {
            Ok(Ok(Ok(info))) => *info,
            Ok(Ok(Err(message))) => return Err(LoadError::Refused(message)),
            Ok(Err(_gone)) => return Err(LoadError::Died(shared.how_it_ended().await)),
            Err(waited) => return Err(LoadError::TimedOut(waited)),
        };
        *lock(&shared.stats) = EngineStats { slots_total: info.slots, kv_total: info.kv_cells, ..EngineStats::default() };
        guard.0 = None;
        tokio::spawn(watch_over(shared.clone(), limits.hang));
        Ok(Self { shared, info })
    }

    /// What is loaded.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Starts a generation; its id is replaced by one of the engine's own. Dropping what comes back cancels it.
    pub fn submit(&self, mut request: Submit) -> Result<Generation, EngineError> {
        let mailbox = Arc::new(Mailbox::default());
        let id = self.shared.register(Waiting::Generation(mailbox.clone()))?;
        request.id = id;
        let generation = Generation { shared: self.shared.clone(), id, mailbox, has_ended: false };
        self.shared.send(&ToWorker::Submit(Box::new(request)))?;
        Ok(generation)
    }

    /// One vector per input, and the tokens over all inputs.
    pub async fn embed(&self, inputs: Vec<Prompt>) -> Result<(Vec<Vec<f32>>, u32), EngineError> {
        match self.ask(|id| ToWorker::Embed { id, inputs }).await? {
            FromWorker::Embedded { vectors, prompt_tokens, .. } => Ok((vectors, prompt_tokens)),
            _ => Err(unexpected()),
        }
    }

    /// The text of tokens.
    pub async fn detokenize(&self, tokens: Vec<i32>) -> Result<String, EngineError> {
        match self.ask(|id| ToWorker::Detokenize { id, tokens }).await? {
            FromWorker::Detokenized { text, .. } => Ok(text),
            _ => Err(unexpected()),
        }
    }

    /// The tokens of a text.
    pub async fn tokenize(&self, prompt: Prompt) -> Result<Vec<i32>, EngineError> {
        match self.ask(|id| ToWorker::Tokenize { id, prompt }).await? {
            FromWorker::Tokenized { tokens, .. } => Ok(tokens),
            _ => Err(unexpected()),
        }
    }

    /// Counters, about a second old.
    pub fn stats(&self) -> EngineStats {
        lock(&self.shared.stats).clone()
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        self.shared.ended.borrow().is_none()
    }

    /// Resolves when it has ended, with how. Does not keep it alive.
    pub fn ended(&self) -> impl Future<Output = String> + Send + 'static {
        let mut ended = self.shared.ended.subscribe();
        async move { ended.wait_for(Option::is_some).await.ok().and_then(|how| how.clone()).unwrap_or_default() }
    }

    /// Lets it finish what runs, for at most `limit`, and ends it. It is gone when this returns.
    pub async fn shut_down(&self, limit: Duration) {
        let _ = self.shared.send(&ToWorker::Drain);
        if time::timeout(limit, self.shared.how_it_ended()).await.is_err() {
            self.shared.kill("it did not end in time");
            self.shared.how_it_ended().await;
        }
    }

    async fn ask(&self, question: impl FnOnce(RequestId) -> ToWorker) -> Result<FromWorker, EngineError> {
        let (told, answer) = oneshot::channel();
        let id = self.shared.register(Waiting::Reply(told))?;
        let abandoned = Abandon(&self.shared, id);
        self.shared.send(&question(id))?;
        let answer = answer.await.unwrap_or_else(|_| Err(EngineError::Lost("it ended".to_owned())));
        drop(abandoned);
        answer
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.kill.notify_one();
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("name", &self.info.name).field("is_alive", &self.is_alive()).finish_non_exhaustive()
    }
}

/// Kills a far end whose loading was given up.
struct Guard(Option<Arc<Shared>>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.kill.notify_one();
        }
    }
}

/// Cancels a question whose asker has gone; harmless once it is answered.
struct Abandon<'s>(&'s Shared, RequestId);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.0.cancel(self.1);
    }
}

/// A running generation. Dropping it before its end cancels it.
pub struct Generation {
    shared: Arc<Shared>,
    id: RequestId,
    mailbox: Arc<Mailbox>,
    has_ended: bool,
}

impl Generation {
    /// The next event; after `Done` or `Failed` there is none and this waits for ever. May be dropped and called again.
    pub async fn next(&mut self) -> Event {
        let event = self.mailbox.next().await;
        self.has_ended |= matches!(event, Event::Done(_) | Event::Failed(_));
        event
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if !self.has_ended {
            self.shared.cancel(self.id);
        }
    }
}

impl Shared {
    fn register(&self, waiting: Waiting) -> Result<RequestId, EngineError> {
        let mut all = lock(&self.waiting);
        // Looked at under the lock, so that nobody registers after the last one was told.
        if let Some(how) = self.ended.borrow().clone() {
            return Err(EngineError::Lost(how));
        }
        if all.len() >= REQUESTS_MAX {
            return Err(EngineError::Full);
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        if all.is_empty() {
            lock(&self.pulse).moved(Instant::now());
        }
        all.insert(id, waiting);
        Ok(id)
    }

    fn send(&self, frame: &ToWorker) -> Result<(), EngineError> {
        let bytes = encode_frame(frame).map_err(|e| EngineError::Refused { code: WorkerCode::Invalid, message: e.to_string() })?;
        self.outbox.try_send(bytes).map_err(|_| EngineError::Lost("its pipe is closed or full".to_owned()))
    }

    fn cancel(&self, id: RequestId) {
        if let Some(waiting) = lock(&self.waiting).get_mut(&id) {
            *waiting = Waiting::Abandoned;
        } else {
            return;
        }
        let _ = self.send(&ToWorker::Cancel { id });
    }

    fn kill(&self, why: &str) {
        lock(&self.fault).get_or_insert_with(|| why.to_owned());
        self.kill.notify_one();
    }

    async fn how_it_ended(&self) -> String {
        let mut ended = self.ended.subscribe();
        let how = ended.wait_for(Option::is_some).await.ok().and_then(|how| how.clone());
        how.unwrap_or_default()
    }

    fn load(&self) -> pulse::Load {
        let all = lock(&self.waiting);
        if all.is_empty() {
            pulse::Load::Idle
        } else if all.values().any(|w| matches!(w, Waiting::Reply(_))) {
            pulse::Load::LongSteps
        } else {
            pulse::Load::Steps
        }
    }

    /// Gives a frame to whom it concerns.
    fn sort(&self, frame: FromWorker) {
        let now = Instant::now();
        match frame {
            FromWorker::Heartbeat { steps, active: _ } => lock(&self.pulse).beat(now, steps),
            FromWorker::Stats(stats) => {
                lock(&self.pulse).hear(now);
                *lock(&self.stats) = stats;
            }
            FromWorker::Loaded(_) | FromWorker::LoadFailed { .. } | FromWorker::Drained => lock(&self.pulse).hear(now),
            frame => {
                lock(&self.pulse).moved(now);
                self.deliver(frame);
            }
        }
    }

    fn deliver(&self, frame: FromWorker) {
        let mut all = lock(&self.waiting);
        match frame {
            FromWorker::Accepted { id, prompt_tokens, cached_tokens } => {
                if let Some(Waiting::Generation(mailbox)) = all.get(&id) {
                    mailbox.accept(prompt_tokens, cached_tokens);
                }
            }
            FromWorker::Tokens { outputs } => {
                let mut unread = Vec::new();
                for output in outputs {
                    let id = output.id;
                    if let Some(Waiting::Generation(mailbox)) = all.get(&id)
                        && !mailbox.add(output)
                    {
                        mailbox.end(Err(EngineError::Unread));
                        unread.push(id);
                    }
                }
                drop(all);
                for id in unread {
                    self.cancel(id);
                }
            }
            FromWorker::Done(done) => {
                if let Some(Waiting::Generation(mailbox)) = all.remove(&done.id) {
                    mailbox.end(Ok(done));
                }
            }
            FromWorker::Failed { id, code, message } => {
                if let Some(waiting) = all.remove(&id) {
                    waiting.fail(EngineError::Refused { code, message });
                }
            }
            FromWorker::Embedded { id, .. } | FromWorker::Tokenized { id, .. } | FromWorker::Detokenized { id, .. } => {
                if let Some(Waiting::Reply(told)) = all.remove(&id) {
                    let _ = told.send(Ok(frame));
                }
            }
            _ => {}
        }
    }
}

impl Waiting {
    fn fail(self, error: EngineError) {
        match self {
            Self::Generation(mailbox) => mailbox.end(Err(error)),
            Self::Reply(told) => {
                let _ = told.send(Err(error));
            }
            Self::Abandoned => {}
        }
    }
}

fn unexpected() -> EngineError {
    EngineError::Lost("it answered something else".to_owned())
}

type Loaded = oneshot::Sender<Result<Box<ModelInfo>, String>>;

/// Reads frames until the engine's end, then tells all who wait.
async fn read(shared: Arc<Shared>, mut reader: impl AsyncRead + Unpin, loaded: Loaded, ended: impl Future<Output = String> + Unpin) {
    let mut loaded = Some(loaded);
    let fault = loop {
        match pipe::next_frame(&mut reader).await {
            Ok(Some(FromWorker::Loaded(info))) if loaded.is_some() => {
                let _ = loaded.take().map(|told| told.send(Ok(info)));
            }
            Ok(Some(FromWorker::LoadFailed { message })) if loaded.is_some() => {
                let _ = loaded.take().map(|told| told.send(Err(message)));
            }
            Ok(Some(frame)) => shared.sort(frame),
            Ok(None) => break None,
            Err(e) => break Some(format!("its frames can't be read: {e}")),
        }
    };
    if let Some(fault) = fault {
        shared.kill(&fault);
    }
    let mut ended = ended;
    let how = match time::timeout(END_GRACE, &mut ended).await {
        Ok(how) => how,
        Err(_elapsed) => {
            shared.kill("it closed its pipe and did not end");
            ended.await
        }
    };
    let how = lock(&shared.fault).take().map_or(how.clone(), |why| format!("{why}; {how}"));
    let all = {
        let mut waiting = lock(&shared.waiting);
        shared.ended.send_replace(Some(how.clone()));
        std::mem::take(&mut *waiting)
    };
    drop(loaded);
    for waiting in all.into_values() {
        waiting.fail(EngineError::Lost(how.clone()));
    }
}

/// Asks for counters and ends an engine that hangs.
async fn watch_over(shared: Arc<Shared>, hang: Duration) {
    let mut ended = shared.ended.subscribe();
    let mut ticks = time::interval(STATS_EVERY.min(hang / 4));
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut asked = Instant::now();
    lock(&shared.pulse).moved(Instant::now());
    loop {
        tokio::select! {
            _ = ended.wait_for(Option::is_some) => return,
            _ = ticks.tick() => {}
        }
        let (now, load) = (Instant::now(), shared.load());
        let fault = lock(&shared.pulse).fault(now, load, hang);
        if let Some(fault) = fault {
            shared.kill(&fault);
            return;
        }
        if asked.elapsed() >= STATS_EVERY {
            asked = now;
            let _ = shared.send(&ToWorker::Stats);
        }
    }
}
