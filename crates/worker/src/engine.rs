//! The thread that owns the model's context: takes frames, computes steps, answers.
//!
//! Everything a frame asks for happens between two steps, so a cancelled request is gone before the next one.

mod embedding;
mod generation;
mod open;
mod prompt;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use embedding::Embeddings;
use generation::{Generation, Turn};
use llama::{Candidates, Context, Model};
use wire::fleet::worker::{EngineStats, Finish, FromWorker, RequestId, Submit, ToWorker, TokenLogprob, TokenOutput, WorkerCode};

use crate::fault::Fault;
use crate::link::{Outbox, Pulse};
use crate::scheduler::{Kv, Plan, Refused, Room, Row, Scheduler, SeqId, Ticket};
use crate::text::Piece;

/// Frames handled between two steps, so that a flood of them cannot stop the steps.
const FRAMES_PER_STEP: usize = 256;
/// Tokens that a text may have that is only to be tokenised.
const TOKENIZE_MAX: usize = 1 << 18;
/// How often an idle engine looks whether it can give memory back.
const TICK: Duration = Duration::from_secs(5);

/// Text with the log-probabilities of its tokens.
type Said = Piece<TokenLogprob>;
/// How a request came to its end, with its last text.
type End = Result<(Finish, Said), Fault>;

/// How an engine came to its end in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Asked to drain, and everything is answered.
    Drained,
    /// The frames have ended.
    Closed,
}

/// Why a worker cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The model could not be loaded; the supervisor was told.
    #[error("{0}")]
    Load(String),
    /// The first frame was not a `Load`, or a second one came.
    #[error("{0}")]
    Protocol(&'static str),
    /// The supervisor does not listen any more.
    #[error("cannot send a frame: {0}")]
    Outbox(#[from] std::io::Error),
}

/// Loads the model that the first frame names, then serves frames until they end.
///
/// # Errors
/// See [`Broken`].
pub fn serve(frames: &Receiver<ToWorker>, outbox: Outbox, pulse: Arc<Pulse>) -> Result<Ended, Broken> {
    let load = match frames.recv() {
        Ok(ToWorker::Load(load)) => load,
        Ok(_) => return Err(Broken::Protocol("the first frame must load a model")),
        Err(_) => return Ok(Ended::Closed),
    };
    let refuse = |error: llama::Error| {
        let message = error.to_string();
        outbox.send(&FromWorker::LoadFailed { message: message.clone() }).map_or_else(Broken::Outbox, |()| Broken::Load(message))
    };
    let model = open::model(&load).map_err(refuse)?;
    let opened = open::context(&model, &load).map_err(refuse)?;
    outbox.send(&FromWorker::Loaded(Box::new(open::info(&model, &opened))))?;
    tracing::info!(
        model = load.path,
        context = opened.limits.context,
        cells = opened.limits.cells,
        slots = opened.limits.slots,
        "model is ready"
    );
    let mut scheduler = Scheduler::new(opened.limits);
    scheduler.set_pace(opened.pace);
    let mut engine = Engine {
        model: &model,
        embeddings: Embeddings::new(&model, opened.limits.context, load.threads_batch),
        kv: opened.context.map(ContextKv),
        scheduler,
        slots: opened.limits.slots,
        cells: opened.limits.cells,
        context: opened.limits.context,
        live: HashMap::new(),
        scratch: Candidates::default(),
        totals: Totals::default(),
        draining: false,
        start: Instant::now(),
        outbox,
        pulse,
    };
    engine.run(frames)
}

/// The context as the scheduler sees it.
struct ContextKv<'model>(Context<'model>);

impl Kv for ContextKv<'_> {
    fn share(&mut self, from: SeqId, to: SeqId, length: u32) {
        self.0.share(from, to, length);
    }

    fn clear(&mut self, sequence: SeqId) {
        self.0.clear(sequence);
    }
}

#[derive(Debug, Default)]
struct Totals {
    prompt_tokens: u64,
    cached_tokens: u64,
    completion_tokens: u64,
    requests: u64,
}

struct Engine<'model> {
    model: &'model Model,
    /// `None` for models that only embed.
    kv: Option<ContextKv<'model>>,
    embeddings: Embeddings<'model>,
    scheduler: Scheduler,
    slots: u32,
    cells: u32,
    context: u32,
    /// What the scheduler knows, from the other side. Bounded by its slots and queue.
    live: HashMap<RequestId, Generation>,
    scratch: Candidates,
    totals: Totals,
    draining: bool,
    start: Instant,
    outbox: Outbox,
    pulse: Arc<Pulse>,
}

impl Engine<'_> {
    fn run(&mut self, frames: &Receiver<ToWorker>) -> Result<Ended, Broken> {
        loop {
            if self.pulse.closed.load(Ordering::Acquire) {
                return Ok(Ended::Closed);
            }
            if self.is_idle() {
                if self.draining {
                    self.outbox.send(&FromWorker::Drained)?;
                    return Ok(Ended::Drained);
                }
                match self.wait(frames) {
                    Ok(frame) => self.handle(frame)?,
                    Err(RecvTimeoutError::Timeout) => self.embeddings.tick(self.now()),
                    Err(RecvTimeoutError::Disconnected) => return Ok(Ended::Closed),
                }
            }
            for _ in 0..FRAMES_PER_STEP {
                match frames.try_recv() {
                    Ok(frame) => self.handle(frame)?,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(Ended::Closed),
                }
            }
            self.step()?;
        }
    }

    fn wait(&self, frames: &Receiver<ToWorker>) -> Result<ToWorker, RecvTimeoutError> {
        if self.embeddings.holds_context() { frames.recv_timeout(TICK) } else { frames.recv().map_err(Into::into) }
    }

    fn is_idle(&self) -> bool {
        self.scheduler.is_idle() && self.embeddings.is_idle()
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn handle(&mut self, frame: ToWorker) -> Result<(), Broken> {
        match frame {
            ToWorker::Load(_) => return Err(Broken::Protocol("a worker loads one model only")),
            ToWorker::Submit(submit) => {
                let id = submit.id;
                if let Err(fault) = self.submit(*submit) {
                    self.fail(id, fault)?;
                }
            }
            ToWorker::Cancel { id } => self.cancel(id)?,
            ToWorker::Embed { id, inputs } => {
                let taken = self.refuse_while_draining().and_then(|()| self.embeddings.submit(id, &inputs));
                if let Err(fault) = taken {
                    self.fail(id, fault)?;
                }
            }
            ToWorker::Tokenize { id, prompt } => match prompt::tokenize(self.model, &prompt, TOKENIZE_MAX) {
                Ok(tokens) => self.answer(id, &FromWorker::Tokenized { id, tokens })?,
                Err(fault) => self.fail(id, fault)?,
            },
            ToWorker::Detokenize { id, tokens } => match prompt::detokenize(self.model, &tokens) {
                Ok(text) => self.answer(id, &FromWorker::Detokenized { id, text })?,
                Err(fault) => self.fail(id, fault)?,
            },
            ToWorker::Stats => self.outbox.send(&FromWorker::Stats(self.stats()))?,
            ToWorker::Drain => self.draining = true,
        }
        Ok(())
    }

    fn refuse_while_draining(&self) -> Result<(), Fault> {
        if self.draining { Err(Fault::new(WorkerCode::Busy, "the model is being unloaded")) } else { Ok(()) }
    }

    fn submit(&mut self, submit: Submit) -> Result<(), Fault> {
        self.refuse_while_draining()?;
        if self.kv.is_none() {
            return Err(Fault::new(WorkerCode::Unsupported, "the model embeds; it does not generate"));
        }
        if self.live.contains_key(&submit.id) {
            return Err(Fault::invalid("a request with this id is running"));
        }
        // One token of answer has to fit too.
        let tokens = prompt::tokenize(self.model, &submit.prompt, self.context as usize - 1)?;
        let now = self.now();
        let generation = Generation::new(self.model, &submit, &tokens, now)?;
        let ticket = Ticket {
            id: submit.id,
            prompt: tokens,
            // A request for no tokens is over at its first row, before a token is chosen.
            max_new: submit.max_tokens.map(|most| most.max(1)),
            salt: submit.cache_prompt.then_some(submit.salt),
            queue_for: Duration::from_millis(u64::from(submit.queue_ms)),
        };
        self.scheduler.submit(ticket, now).map_err(|refused| match refused {
            Refused::Busy => Fault::new(WorkerCode::Busy, "the queue is full"),
            Refused::ContextLength => {
                Fault::new(WorkerCode::ContextLength, format!("the prompt is too long; the context has {} tokens", self.context))
            }
        })?;
        self.totals.requests += 1;
        self.live.insert(submit.id, generation);
        Ok(())
    }

    fn cancel(&mut self, id: RequestId) -> Result<(), Broken> {
        if self.live.contains_key(&id) {
            return self.end(id, Finish::Cancelled, Piece::default());
        }
        if self.embeddings.cancel(id) {
            return self.fail(id, Fault::new(WorkerCode::Internal, "cancelled"));
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), Broken> {
        if let Some(mut kv) = self.kv.take() {
            let stepped = self.generate(&mut kv);
            self.kv = Some(kv);
            stepped?;
        }
        if !self.embeddings.is_idle() {
            let alone = self.scheduler.is_idle();
            if let Some((id, answer)) = self.embeddings.advance(alone, self.now()) {
                self.answer(id, &answer)?;
            }
            self.pulse.steps.fetch_add(1, Ordering::AcqRel);
        } else if self.embeddings.holds_context() {
            self.embeddings.tick(self.now());
        }
        Ok(())
    }

    fn generate(&mut self, kv: &mut ContextKv<'_>) -> Result<(), Broken> {
        if self.scheduler.is_idle() {
            return Ok(());
        }
        let plan = self.scheduler.plan(self.now(), kv);
        self.announce(&plan, kv)?;
        if plan.rows.is_empty() {
            return Ok(());
        }
        let began = self.now();
        let decoded = self.decode(&plan.rows, kv);
        self.pulse.steps.fetch_add(1, Ordering::AcqRel);
        if let Err(error) = decoded {
            tracing::error!(%error, rows = plan.rows.len(), "a step failed");
            for id in self.scheduler.fail_step(kv) {
                self.live.remove(&id);
                self.fail(id, Fault::new(WorkerCode::Internal, error.to_string()))?;
            }
            return Ok(());
        }
        self.scheduler.commit(self.now().saturating_sub(began));
        self.choose(&plan.rows, kv)
    }

    /// Tells who got a place, who waited too long, and who cannot go on.
    fn announce(&mut self, plan: &Plan, kv: &mut ContextKv<'_>) -> Result<(), Broken> {
        let now = self.now();
        for accepted in &plan.accepted {
            if let Some(generation) = self.live.get_mut(&accepted.id) {
                generation.admit(accepted, now);
            }
            self.totals.prompt_tokens += u64::from(accepted.prompt_tokens);
            self.totals.cached_tokens += u64::from(accepted.cached_tokens);
            self.outbox.send(&FromWorker::Accepted {
                id: accepted.id,
                prompt_tokens: accepted.prompt_tokens,
                cached_tokens: accepted.cached_tokens,
            })?;
        }
        for &id in &plan.expired {
            self.live.remove(&id);
            self.fail(id, Fault::new(WorkerCode::Busy, "no place became free in time"))?;
        }
        for &id in &plan.starved {
            self.scheduler.finish(id, kv);
            self.say_done(id, Finish::Length, Piece::default())?;
        }
        Ok(())
    }

    fn decode(&mut self, rows: &[Row], kv: &mut ContextKv<'_>) -> Result<(), llama::Error> {
        let rows: Vec<llama::Row> = rows
            .iter()
            .map(|row| llama::Row { token: row.token, position: row.position, sequence: row.sequence, logits: row.logits })
            .collect();
        match kv.0.decode(&rows) {
            // The scheduler counts cells, so this is not to be expected; a model with a smaller window may still say it.
            Err(llama::Error::NoCells) => {
                self.scheduler.forget(kv);
                kv.0.decode(&rows)
            }
            other => other,
        }
    }

    /// Chooses a token for every row that has logits and sends what came of it in one frame.
    fn choose(&mut self, rows: &[Row], kv: &mut ContextKv<'_>) -> Result<(), Broken> {
        let now = self.now();
        let mut outputs = Vec::new();
        let mut ends: Vec<(RequestId, End)> = Vec::new();
        for (index, row) in rows.iter().enumerate().filter(|(_, row)| row.logits) {
            let Some(generation) = self.live.get_mut(&row.id) else { continue };
            let turn = match kv.0.logits(index) {
                Some(_) if generation.wants_nothing() => Ok(Turn::End { finish: Finish::Length, piece: Piece::default() }),
                Some(logits) => generation.advance(self.model, logits, &mut self.scratch, now),
                None => Err(Fault::new(WorkerCode::Internal, "a row has no logits")),
            };
            match turn {
                Ok(Turn::Token { token, piece }) => {
                    self.totals.completion_tokens += 1;
                    match self.scheduler.push(row.id, token) {
                        Room::More => {
                            outputs.push(TokenOutput { id: row.id, text: piece.text, count: generation.count(), logprobs: piece.tags });
                        }
                        Room::Full => ends.push((row.id, Ok((Finish::Length, piece)))),
                    }
                }
                Ok(Turn::End { finish, piece }) => ends.push((row.id, Ok((finish, piece)))),
                Err(fault) => ends.push((row.id, Err(fault))),
            }
        }
        if !outputs.is_empty() {
            self.outbox.send(&FromWorker::Tokens { outputs })?;
        }
        for (id, end) in ends {
            self.scheduler.finish(id, kv);
            match end {
                Ok((finish, piece)) => self.say_done(id, finish, piece)?,
                Err(fault) => {
                    self.live.remove(&id);
                    self.fail(id, fault)?;
                }
            }
        }
        Ok(())
    }

    /// Ends a request between two steps.
    fn end(&mut self, id: RequestId, finish: Finish, piece: Said) -> Result<(), Broken> {
        if let Some(kv) = &mut self.kv {
            self.scheduler.finish(id, kv);
        }
        self.say_done(id, finish, piece)
    }

    fn say_done(&mut self, id: RequestId, finish: Finish, piece: Said) -> Result<(), Broken> {
        let Some(generation) = self.live.remove(&id) else { return Ok(()) };
        let done = generation.done(finish, piece, self.now());
        self.answer(id, &FromWorker::Done(done))
    }

    fn fail(&mut self, id: RequestId, fault: Fault) -> Result<(), Broken> {
        self.answer(id, &FromWorker::Failed { id, code: fault.code, message: fault.message })
    }

    /// Sends the last frame of a request.
    fn answer(&mut self, id: RequestId, frame: &FromWorker) -> Result<(), Broken> {
        match self.outbox.send(frame) {
            // Nothing of it was sent.
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                self.outbox.send(&FromWorker::Failed {
                    id,
                    code: WorkerCode::Invalid,
                    message: format!("the answer is too large: {error}"),
                })?;
            }
            other => other?,
        }
        self.pulse.active.fetch_sub(1, Ordering::AcqRel);
        Ok(())
    }

    fn stats(&self) -> EngineStats {
        let gauges = self.scheduler.gauges();
        EngineStats {
            slots_total: self.slots,
            slots_busy: gauges.running,
            queue_len: gauges.waiting,
            kv_total: self.cells,
            kv_used: gauges.cells_held,
            backlog_tokens: gauges.backlog_tokens,
            prompt_tokens_total: self.totals.prompt_tokens,
            cached_tokens_total: self.totals.cached_tokens,
            completion_tokens_total: self.totals.completion_tokens,
            requests_total: self.totals.requests,
            steps_total: self.pulse.steps.load(Ordering::Acquire),
            prefill_tps: gauges.pace.prefill_tps,
            tpot_ms: gauges.pace.tpot_ms,
        }
    }
}
