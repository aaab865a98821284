//! One request while it generates: its sampler, its text, its times.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use llama::{Candidates, Model, Sampler, SamplerOptions};
use memchr::memmem;
use wire::fleet::worker::{Constraint, Done, Finish, RequestId, Submit, Thoughts, Timings, TokenChance, TokenLogprob};

use crate::fault::Fault;
use crate::logprobs::{self, TOP_MAX};
use crate::scheduler::{Accepted, Token};
use crate::text::{Piece, STOP_BYTES_MAX, STOPS_MAX, TextOut};

/// Most marks of one request, and their length in bytes.
const MARKS_MAX: usize = 64;
const MARK_BYTES_MAX: usize = 256;

/// A request that was taken.
pub(super) struct Generation {
    id: RequestId,
    sampler: Sampler,
    text: TextOut<TokenLogprob>,
    /// Control tokens that have a text here; few.
    marks: Vec<Token>,
    /// Until it is seen.
    trigger: Option<Trigger>,
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
            marks: marks(model, &submit.marks)?,
            trigger: Trigger::of(submit.constraint.as_ref())?,
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
        model.piece_into(token, self.marks.contains(&token), &mut bytes);
        self.look_out(model, token)?;
        let tag = self.logprobs.map(|top| logprob(model, logits, token, top));
        let piece = self.text.push(&bytes, tag);
        Ok(if piece.stopped { Turn::End { finish: Finish::StopString, piece } } else { Turn::Token { token, piece } })
    }

    /// Once the mark of a call is complete, the grammar holds.
    fn look_out(&mut self, model: &Model, token: Token) -> Result<(), Fault> {
        let Some(trigger) = &mut self.trigger else { return Ok(()) };
        let mut bytes = Vec::new();
        model.piece_into(token, true, &mut bytes);
        if let Some(said) = trigger.push(&bytes)
            && let Some(trigger) = self.trigger.take()
        {
            self.sampler.constrain(model, &trigger.grammar, &trigger.start, &said)?;
        }
        Ok(())
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

/// Ids of the control tokens that `marks` spell.
fn marks(model: &Model, marks: &[String]) -> Result<Vec<Token>, Fault> {
    if marks.len() > MARKS_MAX || marks.iter().any(|mark| mark.len() > MARK_BYTES_MAX) {
        return Err(Fault::invalid(format!("at most {MARKS_MAX} marks of at most {MARK_BYTES_MAX} bytes are allowed")));
    }
    let one = |mark: &String| match model.tokenize(mark, false, true).as_slice() {
        [token] => Some(*token),
        _ => None,
    };
    Ok(marks.iter().filter_map(one).collect())
}

/// Waits for the mark after which a grammar holds.
struct Trigger {
    open: String,
    grammar: String,
    start: String,
    thoughts: Option<Thoughts>,
    /// The end of what was said, where a mark may begin.
    tail: Vec<u8>,
}

impl Trigger {
    fn of(constraint: Option<&Constraint>) -> Result<Option<Self>, Fault> {
        let Some(Constraint::Call { open, schema, close, thoughts }) = constraint else { return Ok(None) };
        let marks = [open, close].into_iter().chain(thoughts.iter().flat_map(|thoughts| [&thoughts.open, &thoughts.close]));
        if open.is_empty() || marks.into_iter().any(|mark| mark.len() > MARK_BYTES_MAX) {
            return Err(Fault::invalid("the marks of a call are empty or too long"));
        }
        // A schema of which no grammar can be made leaves the model free: it may call without, only less surely.
        let Ok((grammar, start)) = llama::call_to_grammar(open, schema, close) else {
            tracing::debug!("no grammar can be made of the tools' schemas");
            return Ok(None);
        };
        Ok(Some(Self { open: open.clone(), grammar, start, thoughts: thoughts.clone(), tail: Vec::new() }))
    }

    /// What came after the mark, once it is there outside of thoughts.
    fn push(&mut self, bytes: &[u8]) -> Option<String> {
        self.tail.extend_from_slice(bytes);
        loop {
            let find = |mark: &str| memmem::find(&self.tail, mark.as_bytes()).filter(|_| !mark.is_empty());
            let thoughts = self.thoughts.as_ref();
            let (at, mark, is_call) = match thoughts.filter(|thoughts| thoughts.has_begun) {
                Some(thoughts) => (find(&thoughts.close), &thoughts.close, false),
                None => match (find(&self.open), thoughts.and_then(|thoughts| Some((find(&thoughts.open)?, thoughts)))) {
                    (call, Some((at, thoughts))) if call.is_none_or(|call| at < call) => (Some(at), &thoughts.open, false),
                    (call, _) => (call, &self.open, true),
                },
            };
            let Some(at) = at else { break };
            let rest = self.tail.split_off(at + mark.len());
            if is_call {
                return Some(String::from_utf8_lossy(&rest).into_owned());
            }
            self.tail = rest;
            if let Some(thoughts) = &mut self.thoughts {
                thoughts.has_begun = !thoughts.has_begun;
            }
        }
        let keep = self.tail.len().min(MARK_BYTES_MAX);
        self.tail.drain(..self.tail.len() - keep);
        None
    }
}

fn options(submit: &Submit) -> Result<SamplerOptions, Fault> {
    let sampling = &submit.sampling;
    let grammar = match &submit.constraint {
        None | Some(Constraint::Call { .. }) => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(thoughts: Option<Thoughts>) -> Trigger {
        Trigger { open: "<call>".to_owned(), grammar: String::new(), start: String::new(), thoughts, tail: Vec::new() }
    }

    #[test]
    fn a_mark_is_seen_wherever_tokens_cut_it() {
        for cut in 1..8 {
            let (text, mut trigger) = (b"a <<call>\n", trigger(None));
            assert_eq!(trigger.push(&text[..cut]), None);
            assert_eq!(trigger.push(&text[cut..]).as_deref(), Some("\n"));
        }
        let mut long = trigger(None);
        assert!((0..1000).all(|_| long.push(b"some words").is_none()) && long.tail.len() <= MARK_BYTES_MAX);
    }

    #[test]
    fn within_thoughts_the_mark_means_nothing() {
        let thoughts = |has_begun| Some(Thoughts { open: "<t>".to_owned(), close: "</t>".to_owned(), has_begun });
        let text = b"<t>I say <call> soon</t>now<call>{";
        let rest = &text[3..];
        for size in 1..text.len() {
            let mut unseen = trigger(thoughts(false));
            let said = text.chunks(size).find_map(|part| unseen.push(part));
            assert!(said.is_some_and(|said| "{".starts_with(&said)), "{size}");
            let mut begun = trigger(thoughts(true));
            assert!(rest.chunks(size).find_map(|part| begun.push(part)).is_some_and(|said| "{".starts_with(&said)), "{size}");
        }
    }
}
