//! From prompt segments to tokens.

use llama::Model;
use wire::fleet::worker::{Prompt, Segment, WorkerCode};

use crate::fault::Fault;
use crate::scheduler::Token;

/// A text that cannot fit is refused before it is tokenised; this is the least that a token is taken to be long, in bytes,
/// for vocabularies that fold several characters into one.
const PIECE_BYTES_MIN: usize = 64;

/// Tokens of a prompt, at most `most`. Control tokens are recognised only where a segment says so.
///
/// # Errors
/// `ContextLength` beyond `most`, `Invalid` for ids outside the vocabulary or when nothing is left to compute.
pub(super) fn tokenize(model: &Model, prompt: &Prompt, most: usize) -> Result<Vec<Token>, Fault> {
    let facts = model.facts();
    let bytes: usize = prompt.segments.iter().map(|segment| if let Segment::Text { text, .. } = segment { text.len() } else { 0 }).sum();
    if bytes / PIECE_BYTES_MIN.max(facts.piece_bytes_max as usize) > most {
        return Err(too_long(&format!("a prompt of {bytes} bytes"), most));
    }
    let mut tokens = match prompt.segments.as_slice() {
        [Segment::Text { text, special }] => model.tokenize(text, prompt.add_special, *special),
        segments => {
            let mut tokens = Vec::new();
            tokens.extend(facts.bos.filter(|_| prompt.add_special && facts.add_bos));
            for segment in segments {
                append(model, segment, &mut tokens)?;
            }
            tokens.extend(facts.eos.filter(|_| prompt.add_special && facts.add_eos));
            // A vocabulary that ends no text ends the second half as the first.
            let is_pair = segments.contains(&Segment::Between);
            tokens.extend(facts.sep.filter(|_| is_pair && prompt.add_special && facts.add_sep && !facts.add_eos));
            tokens
        }
    };
    if tokens.is_empty() {
        // Nothing to go on from: begin like the model's own texts do.
        tokens.extend(facts.bos);
    }
    if tokens.is_empty() {
        return Err(Fault::invalid("the prompt is empty"));
    }
    if tokens.len() > most {
        return Err(too_long(&format!("a prompt of {} tokens", tokens.len()), most));
    }
    Ok(tokens)
}

fn append(model: &Model, segment: &Segment, tokens: &mut Vec<Token>) -> Result<(), Fault> {
    match segment {
        Segment::Text { text, special } => tokens.extend(model.tokenize(text, false, *special)),
        Segment::Tokens { tokens: ids } => {
            check_ids(model, ids)?;
            tokens.extend(ids);
        }
        Segment::Between => {
            let facts = model.facts();
            tokens.extend(facts.eos.filter(|_| facts.add_eos));
            tokens.extend(facts.sep.filter(|_| facts.add_sep));
        }
    }
    Ok(())
}

/// Text of tokens, control tokens included.
///
/// # Errors
/// `Invalid` for ids outside the vocabulary.
pub(super) fn detokenize(model: &Model, tokens: &[Token]) -> Result<String, Fault> {
    check_ids(model, tokens)?;
    let mut bytes = Vec::new();
    for &token in tokens {
        model.piece_into(token, true, &mut bytes);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn check_ids(model: &Model, tokens: &[Token]) -> Result<(), Fault> {
    match tokens.iter().find(|&&token| !model.has_token(token)) {
        Some(token) => Err(Fault::invalid(format!("token {token} is not in the vocabulary"))),
        None => Ok(()),
    }
}

fn too_long(what: &str, most: usize) -> Fault {
    Fault::new(WorkerCode::ContextLength, format!("{what} is too long; at most {most} tokens fit"))
}
