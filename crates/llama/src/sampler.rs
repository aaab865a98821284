//! Choosing the next token of one request.
//!
//! Greedy without penalties is a plain maximum; everything else is a chain of llama.cpp's samplers. A grammar is asked about
//! the chosen token first and masks the whole vocabulary only if it refuses, which is rare and saves most of its cost.

use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;
use llama_cpp_2::token::logit_bias::LlamaLogitBias;

use crate::{Error, Model, Token, constraint, log};

/// Most (token, bias) pairs of one request, besides the ones for end tokens.
const LOGIT_BIAS_MAX: usize = 1024;
/// Farthest that penalties look back, in tokens.
const PENALTY_TOKENS_MAX: i32 = 8192;

/// How to choose tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerOptions {
    /// 0 always takes the likeliest token.
    pub temperature: f32,
    /// Keep this many of the likeliest; 0 or less keeps all.
    pub top_k: i32,
    /// Keep the likeliest whose probabilities sum to this; 1 keeps all.
    pub top_p: f32,
    /// Keep those at least this likely relative to the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Greater than 0; 1 is none.
    pub repeat_penalty: f32,
    /// Tokens that the penalties look back over; negative for as many as allowed.
    pub repeat_last_n: i32,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    pub seed: u32,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(Token, f32)>,
    /// Never choose a token that ends the answer.
    pub ignore_end: bool,
    /// GBNF with the start rule `root` that the answer must match.
    pub grammar: Option<String>,
}

/// Room for one row of candidates, used again for every row.
#[derive(Debug)]
pub struct Candidates {
    array: LlamaTokenDataArray,
}

impl Default for Candidates {
    fn default() -> Self {
        Self { array: LlamaTokenDataArray::new(Vec::new(), false) }
    }
}

impl Candidates {
    fn fill(&mut self, logits: &[f32]) {
        self.array.sorted = false;
        self.array.selected = None;
        self.array.data.clear();
        self.array.data.extend((0..).zip(logits).map(|(id, &logit)| LlamaTokenData::new(LlamaToken(id), logit, 0.0)));
    }
}

/// The state of one request's choices.
#[derive(Debug)]
pub struct Sampler {
    /// Tokens that never win or win more easily, sorted by token.
    bias: Vec<(Token, f32)>,
    /// `None` for greedy without penalties.
    chain: Option<LlamaSampler>,
    grammar: Option<LlamaSampler>,
}

impl Sampler {
    /// # Errors
    /// [`Error::Invalid`] when a parameter is out of its range or the grammar does not parse.
    pub fn new(model: &Model, options: &SamplerOptions) -> Result<Self, Error> {
        validate(model, options)?;
        let mut bias = options.logit_bias.clone();
        if options.ignore_end {
            bias.extend(model.facts().end_tokens.iter().map(|&token| (token, f32::NEG_INFINITY)));
        }
        bias.sort_by_key(|&(token, _)| token);
        let grammar = options.grammar.as_deref().map(|text| parse_grammar(model, text, "root")).transpose()?;
        Ok(Self { chain: chain(model, options, &bias), bias, grammar })
    }

    /// The next token for a row of logits; `None` when the grammar allows none.
    ///
    /// # Errors
    /// [`Error::Engine`] when the logits are not numbers.
    pub fn choose(&mut self, logits: &[f32], scratch: &mut Candidates) -> Result<Option<Token>, Error> {
        let first = self.pick(logits, scratch, false)?;
        let Some(grammar) = &mut self.grammar else { return Ok(first) };
        if let Some(token) = first {
            let mut one = LlamaTokenDataArray::new(vec![LlamaTokenData::new(LlamaToken(token), 1.0, 0.0)], false);
            one.apply_sampler(grammar);
            if one.data.first().is_some_and(|candidate| candidate.logit().is_finite()) {
                return Ok(Some(token));
            }
        }
        self.pick(logits, scratch, true)
    }

    /// Takes note of the token that was chosen. Not to be called for a token that ends the answer.
    ///
    /// # Errors
    /// [`Error::Engine`] when the grammar does not admit it; the sampler is of no use afterwards.
    pub fn accept(&mut self, token: Token) -> Result<(), Error> {
        for sampler in [&mut self.chain, &mut self.grammar].into_iter().flatten() {
            sampler.try_accept(LlamaToken(token)).map_err(|e| Error::Engine(format!("the grammar lost track: {e}")))?;
        }
        Ok(())
    }

    /// From here on the answer must match a grammar, whose beginning is `said` already. If that does not match, nothing changes:
    /// what is said is said.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the grammar does not parse.
    pub fn constrain(&mut self, model: &Model, grammar: &str, start: &str, said: &str) -> Result<(), Error> {
        let mut grammar = parse_grammar(model, grammar, start)?;
        let tokens = model.tokenize(said, false, true);
        if tokens.into_iter().all(|token| grammar.try_accept(LlamaToken(token)).is_ok()) {
            self.grammar = Some(grammar);
        }
        Ok(())
    }

    /// Takes note of prompt tokens for the penalties.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn accept_prompt(&mut self, tokens: &[Token]) -> Result<(), Error> {
        let Some(chain) = &mut self.chain else { return Ok(()) };
        let start = tokens.len().saturating_sub(PENALTY_TOKENS_MAX as usize);
        for &token in &tokens[start..] {
            chain.try_accept(LlamaToken(token)).map_err(|e| Error::Engine(e.to_string()))?;
        }
        Ok(())
    }

    fn pick(&mut self, logits: &[f32], scratch: &mut Candidates, masked: bool) -> Result<Option<Token>, Error> {
        if !masked && self.chain.is_none() {
            return match likeliest(logits, &self.bias) {
                Some(token) => Ok(Some(token)),
                None => no_numbers(logits, !self.bias.is_empty()),
            };
        }
        scratch.fill(logits);
        if let (true, Some(grammar)) = (masked, &mut self.grammar) {
            scratch.array.apply_sampler(grammar);
            // What the grammar refuses would only slow the chain down, and a row of nothing else would trip it.
            scratch.array.data.retain(|candidate| candidate.logit() > f32::NEG_INFINITY);
        }
        let banned = |token: Token| self.bias.iter().any(|&(other, value)| other == token && value == f32::NEG_INFINITY);
        if !scratch.array.data.iter().any(|candidate| candidate.logit().is_finite() && !banned(candidate.id().0)) {
            return if masked { Ok(None) } else { no_numbers(logits, !self.bias.is_empty()) };
        }
        match &mut self.chain {
            Some(chain) => scratch.array.apply_sampler(chain),
            None => return Ok(likeliest_of(&scratch.array.data, &self.bias)),
        }
        Ok(scratch.array.selected_token().map(|token| token.0))
    }
}

/// An answer for a row in which nothing can be chosen: an error unless everything was banned on purpose.
fn no_numbers(logits: &[f32], biased: bool) -> Result<Option<Token>, Error> {
    if biased && logits.iter().any(|logit| logit.is_finite()) {
        return Ok(None);
    }
    Err(Error::Engine("the model computed no numbers".to_owned()))
}

fn bias_of(bias: &[(Token, f32)], token: Token) -> f32 {
    let start = bias.partition_point(|&(other, _)| other < token);
    bias[start..].iter().take_while(|&&(other, _)| other == token).map(|&(_, value)| value).sum()
}

/// The likeliest token after biases; the lowest id among equals. `None` when no logit is finite.
fn likeliest(logits: &[f32], bias: &[(Token, f32)]) -> Option<Token> {
    let mut best: Option<(usize, f32)> = None;
    for (id, &logit) in logits.iter().enumerate() {
        if logit > best.map_or(f32::NEG_INFINITY, |(_, value)| value)
            && bias.binary_search_by_key(&(id as Token), |&(token, _)| token).is_err()
        {
            best = Some((id, logit));
        }
    }
    let mut best = best.map(|(id, value)| (id as Token, value));
    for &(token, _) in bias {
        let Some(&logit) = usize::try_from(token).ok().and_then(|id| logits.get(id)) else { continue };
        let value = logit + bias_of(bias, token);
        let better = best.is_none_or(|(other, kept)| value > kept || (value.total_cmp(&kept).is_eq() && token < other));
        if value.is_finite() && better {
            best = Some((token, value));
        }
    }
    best.map(|(token, _)| token)
}

fn likeliest_of(candidates: &[LlamaTokenData], bias: &[(Token, f32)]) -> Option<Token> {
    let biased = |candidate: &LlamaTokenData| candidate.logit() + bias_of(bias, candidate.id().0);
    candidates
        .iter()
        .filter(|candidate| biased(candidate).is_finite())
        .max_by(|a, b| biased(a).total_cmp(&biased(b)).then(b.id().cmp(&a.id())))
        .map(|candidate| candidate.id().0)
}

fn chain(model: &Model, options: &SamplerOptions, bias: &[(Token, f32)]) -> Option<LlamaSampler> {
    let vocabulary = model.facts().vocabulary as i32;
    let greedy = options.temperature <= 0.0;
    let look_back = match options.repeat_last_n {
        n if n < 0 => PENALTY_TOKENS_MAX,
        n => n.min(PENALTY_TOKENS_MAX),
    };
    let neutral = |value: f32, off: f32| (value - off).abs() < f32::EPSILON;
    let penalised = look_back > 0
        && !(neutral(options.repeat_penalty, 1.0) && neutral(options.presence_penalty, 0.0) && neutral(options.frequency_penalty, 0.0));
    if greedy && !penalised {
        return None;
    }
    let mut parts = Vec::with_capacity(8);
    if !bias.is_empty() {
        let pairs: Vec<LlamaLogitBias> = bias.iter().map(|&(token, value)| LlamaLogitBias::new(LlamaToken(token), value)).collect();
        parts.push(LlamaSampler::logit_bias(vocabulary, &pairs));
    }
    if penalised {
        parts.push(LlamaSampler::penalties(
            vocabulary,
            look_back,
            options.repeat_penalty,
            options.frequency_penalty,
            options.presence_penalty,
        ));
    }
    if greedy {
        parts.push(LlamaSampler::greedy());
    } else {
        if options.top_k > 0 {
            parts.push(LlamaSampler::top_k(options.top_k));
        }
        if options.top_p < 1.0 {
            parts.push(LlamaSampler::top_p(options.top_p, 1));
        }
        if options.min_p > 0.0 {
            parts.push(LlamaSampler::min_p(options.min_p, 1));
        }
        parts.push(LlamaSampler::temp(options.temperature));
        parts.push(LlamaSampler::dist(options.seed));
    }
    Some(LlamaSampler::chain(parts, true))
}

fn parse_grammar(model: &Model, grammar: &str, start: &str) -> Result<LlamaSampler, Error> {
    constraint::check_grammar(grammar)?;
    log::take_errors();
    LlamaSampler::grammar(model.raw(), grammar, start).map_err(|e| {
        let said = log::take_errors();
        Error::Invalid(format!("the grammar cannot be used: {}", if said.is_empty() { e.to_string() } else { said }))
    })
}

fn validate(model: &Model, options: &SamplerOptions) -> Result<(), Error> {
    let refuse = |what: &str| Err(Error::Invalid(what.to_owned()));
    if !(options.temperature.is_finite() && options.temperature >= 0.0) {
        return refuse("temperature must be 0 or more");
    }
    if !(options.top_p >= 0.0 && options.top_p <= 1.0) {
        return refuse("top_p must be from 0 to 1");
    }
    if !(options.min_p >= 0.0 && options.min_p <= 1.0) {
        return refuse("min_p must be from 0 to 1");
    }
    if !(options.repeat_penalty.is_finite() && options.repeat_penalty > 0.0) {
        return refuse("repeat_penalty must be greater than 0");
    }
    if !(options.presence_penalty.is_finite() && options.frequency_penalty.is_finite()) {
        return refuse("presence_penalty and frequency_penalty must be numbers");
    }
    if options.logit_bias.len() > LOGIT_BIAS_MAX {
        return refuse("logit_bias has too many tokens");
    }
    for &(token, value) in &options.logit_bias {
        if !model.has_token(token) {
            return Err(Error::Invalid(format!("logit_bias names token {token}, which is not in the vocabulary")));
        }
        if value.is_nan() || value == f32::INFINITY {
            return refuse("a logit_bias must be a number");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_likeliest_wins_and_the_lowest_id_among_equals() {
        assert_eq!(likeliest(&[0.0, 3.0, 3.0, 1.0], &[]), Some(1));
        assert_eq!(likeliest(&[0.0, 3.0, 3.0, 1.0], &[(1, f32::NEG_INFINITY)]), Some(2));
        assert_eq!(likeliest(&[0.0, 3.0, 3.0, 1.0], &[(3, 100.0)]), Some(3));
        assert_eq!(likeliest(&[f32::NAN, f32::NAN], &[]), None);
    }

    #[test]
    fn a_row_of_nothing_is_an_error_unless_it_was_banned() {
        assert!(no_numbers(&[f32::NAN], false).is_err());
        assert!(matches!(no_numbers(&[1.0], true), Ok(None)));
    }

    proptest! {
        #[test]
        fn the_short_way_agrees_with_the_long_way(
            logits in prop::collection::vec(-5.0_f32..5.0, 1..40),
            raw_bias in prop::collection::vec((0_i32..40, -6.0_f32..6.0), 0..6),
        ) {
            let mut bias = raw_bias;
            bias.sort_by_key(|&(token, _)| token);
            let mut scratch = Candidates::default();
            scratch.fill(&logits);
            prop_assert_eq!(likeliest(&logits, &bias), likeliest_of(&scratch.array.data, &bias));
        }
    }
}
