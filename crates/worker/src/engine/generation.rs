//! One request while it generates: its sampler, its text, its times.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use llama::{Candidates, Model, Sampler, SamplerOptions};
use wire::fleet::worker::{Constraint, Done, Finish, RequestId, Submit, Timings, TokenChance, TokenLogprob};

use crate::fault::Fault;
use crate::logprobs::{self, TOP_MAX};
use crate::scheduler::{Accepted, Token};
use crate::text::{Piece, STOP_BYTES_MAX, STOPS_MAX, TextOut};

/// A request that was taken.
pub(super) struct Generation {
    id: RequestId,
    sampler: Sampler,
    text: TextOut<TokenLogprob>,
    logprobs: Option<u8>,
    prompt_tokens: u32,
    cached_tokens: u32,
    count: u32,
    /// Asked for zero tokens.
    wants_nothing: bool,
    arrived: Duration,
    admitted: Option<Duration>,
    first_token: Option<Duration>,
}

/// What a row of logits brought.
pub(super) enum Turn {
    /// One more token.
    Token { token: Token, piece: Piece<TokenLogprob> },
    /// The end, with the last text.
    End { finish: Finish, piece: Piece<TokenLogprob> },
}

impl Generation {
    /// # Errors
    /// `Invalid` for parameters, stop strings or constraints that cannot be used.
    pub(super) fn new(model: &Model, submit: &Submit, prompt: &[Token], now: Duration) -> Result<Self, Fault> {
        if submit.logprobs.is_some_and(|top| top > TOP_MAX) {
            return Err(Fault::invalid(format!("at most {TOP_MAX} alternatives can be listed for a token")));
        }
        if submit.stop.len() > STOPS_MAX || submit.stop.iter().any(|stop| stop.len() > STOP_BYTES_MAX) {
            return Err(Fault::invalid(format!("at most {STOPS_MAX} stop strings of at most {STOP_BYTES_MAX} bytes are allowed")));
        }
        let mut sampler = Sampler::new(model, &options(submit)?)?;
        sampler.accept_prompt(prompt)?;
        Ok(Self {
            id: submit.id,
            sampler,
            text: TextOut::new(&submit.stop),
            logprobs: submit.logprobs,
            prompt_tokens: prompt.len() as u32,
            cached_tokens: 0,
            count: 0,
            wants_nothing: submit.max_tokens == Some(0),
            arrived: now,
            admitted: None,
            first_token: None,
        })
    }

    pub(super) fn admit(&mut self, accepted: &Accepted, now: Duration) {
        self.cached_tokens = accepted.cached_tokens;
        self.admitted = Some(now);
    }

    /// Whether it only wanted its prompt computed.
    pub(super) fn wants_nothing(&self) -> bool {
        self.wants_nothing
    }

    /// Tokens generated so far.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Chooses the next token.
    ///
    /// # Errors
    /// `Internal`; the request is over.
    pub(super) fn advance(&mut self, model: &Model, logits: &[f32], scratch: &mut Candidates, now: Duration) -> Result<Turn, Fault> {
        self.first_token.get_or_insert(now);
        let chosen = self.sampler.choose(logits, scratch)?.filter(|&token| !model.ends_answer(token));
        let Some(token) = chosen else {
            return Ok(Turn::End { finish: Finish::Stop, piece: self.text.finish() });
        };
        self.sampler.accept(token)?;
        self.count += 1;
        let mut bytes = Vec::new();
        model.piece_into(token, false, &mut bytes);
        let tag = self.logprobs.map(|top| logprob(model, logits, token, top));
        let piece = self.text.push(&bytes, tag);
        Ok(if piece.stopped { Turn::End { finish: Finish::StopString, piece } } else { Turn::Token { token, piece } })
    }

    /// The last frame. `piece` is what the last token brought.
    pub(super) fn done(mut self, finish: Finish, piece: Piece<TokenLogprob>, now: Duration) -> Done {
        let rest = self.text.finish();
        let admitted = self.admitted.unwrap_or(now);
        let first_token = self.first_token.unwrap_or(now);
        let between = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f32() * 1e3;
        Done {
            id: self.id,
            finish,
            text: piece.text + &rest.text,
            logprobs: piece.tags.into_iter().chain(rest.tags).collect(),
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            completion_tokens: self.count,
            timings: Timings {
                queue_ms: between(self.arrived, admitted),
                prefill_ms: between(admitted, first_token),
                decode_ms: between(first_token, now),
            },
        }
    }
}

fn options(submit: &Submit) -> Result<SamplerOptions, Fault> {
    let sampling = &submit.sampling;
    let grammar = match &submit.constraint {
        None => None,
        Some(Constraint::Grammar(grammar)) => Some(grammar.clone()),
        Some(Constraint::JsonSchema(schema)) => Some(llama::schema_to_grammar(schema)?),
    };
    Ok(SamplerOptions {
        temperature: sampling.temperature,
        top_k: sampling.top_k,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        repeat_penalty: sampling.repeat_penalty,
        repeat_last_n: sampling.repeat_last_n,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        // Every `RandomState` has keys of its own, which is all the randomness that an unset seed asks for.
        seed: sampling.seed.unwrap_or_else(|| RandomState::new().hash_one(submit.id) as u32),
        logit_bias: sampling.logit_bias.clone(),
        ignore_end: submit.ignore_eos,
        grammar,
    })
}

fn logprob(model: &Model, logits: &[f32], token: Token, top: u8) -> TokenLogprob {
    let chance = |id: Token, logprob: f32| {
        let mut bytes = Vec::new();
        model.piece_into(id, true, &mut bytes);
        TokenChance { id, bytes, logprob }
    };
    let (chosen, best) = logprobs::chances(logits, token, top);
    TokenLogprob { token: chance(token, chosen), top: best.into_iter().map(|(id, value)| chance(id, value)).collect() }
}
