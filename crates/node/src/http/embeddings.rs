//! `POST /v1/embeddings`.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use wire::{
    Failure,
    completions::types::PromptInput,
    embeddings::types::{Embedding, EmbeddingRequest, EmbeddingResponse, EmbeddingUsage, Vector},
    fleet::worker::{Prompt, Segment},
};

use super::{
    App,
    choices::model_of,
    reply::{self, Refusal},
    stay,
};
use crate::{answer::failure, engine::EngineError, pool::Lease};

/// Most inputs of one request.
const INPUTS_MAX: usize = 2048;

pub(super) async fn embeddings(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let _place = app.place()?;
    let body = reply::body(&app, request).await?;
    let (request, stay) = (EmbeddingRequest::parse(&body)?, stay::wanted(&body)?);
    let named = request.model.as_ref().filter(|model| !model.trim().is_empty());
    let model = model_of(named.or(app.default_embedding_model.as_ref()))?;
    let is_base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            return Err(Failure::invalid("encoding_format", format!("`encoding_format` must be float or base64, not {other}")).into());
        }
    };
    let inputs = inputs(request.input.ok_or_else(|| Failure::invalid("input", "`input` is missing"))?)?;
    let lease = app.lease(&model).await?;
    lease.stay(stay);
    let (mut vectors, prompt_tokens) = embed(&app, lease, inputs).await?;
    if let Some(dimensions) = request.dimensions {
        vectors.iter_mut().try_for_each(|vector| cut(vector, dimensions as usize))?;
    }
    let one = |(index, vector): (usize, Vec<f32>)| {
        let embedding = if is_base64 {
            Vector::Base64(STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()))
        } else {
            Vector::Floats(vector)
        };
        Embedding { object: "embedding".to_owned(), index: index as u32, embedding }
    };
    let data = vectors.into_iter().enumerate().map(one).collect();
    let tokens = u64::from(prompt_tokens);
    let usage = EmbeddingUsage { prompt_tokens: tokens, total_tokens: tokens };
    Ok(reply::json(StatusCode::OK, &EmbeddingResponse { object: "list".to_owned(), data, model, usage }))
}

/// Tries once more where the engine dies: nothing was shown yet.
pub(super) async fn embed(app: &App, lease: Lease, inputs: Vec<Prompt>) -> Result<(Vec<Vec<f32>>, u32), Failure> {
    let id = lease.model.id.clone();
    let first = lease.engine.embed(inputs.clone()).await;
    drop(lease);
    let made = match first {
        Err(EngineError::Lost(how)) => {
            tracing::warn!(model = id, how, "an engine was lost; the request is tried once more");
            app.lease(&id).await?.engine.embed(inputs).await
        }
        made => made,
    };
    made.map_err(|e| failure(&e))
}

fn inputs(input: PromptInput) -> Result<Vec<Prompt>, Failure> {
    let tokens = |tokens: Vec<i32>| Prompt { segments: vec![Segment::Tokens { tokens }], add_special: false };
    let inputs: Vec<Prompt> = match input {
        PromptInput::Text(one) => vec![Prompt::plain(one)],
        PromptInput::Texts(many) => many.into_iter().map(Prompt::plain).collect(),
        PromptInput::Tokens(one) => vec![tokens(one)],
        PromptInput::TokenLists(many) => many.into_iter().map(tokens).collect(),
    };
    if inputs.is_empty() || inputs.len() > INPUTS_MAX {
        return Err(Failure::invalid("input", format!("`input` must hold between 1 and {INPUTS_MAX} inputs")));
    }
    let is_empty = |prompt: &Prompt| match &prompt.segments[0] {
        Segment::Text { text, .. } => text.is_empty(),
        Segment::Tokens { tokens } => tokens.is_empty(),
        Segment::Between => true,
    };
    match inputs.iter().position(is_empty) {
        Some(index) => Err(Failure::invalid(format!("input[{index}]"), "an input is empty")),
        None => Ok(inputs),
    }
}

/// The first dimensions, of length 1 again.
fn cut(vector: &mut Vec<f32>, dimensions: usize) -> Result<(), Failure> {
    if dimensions == 0 || dimensions > vector.len() {
        return Err(Failure::invalid("dimensions", format!("`dimensions` must be between 1 and {}, not {dimensions}", vector.len())));
    }
    vector.truncate(dimensions);
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        for x in vector {
            *x /= length;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_vector_has_length_one_again() {
        let mut vector = vec![3.0, 4.0, 12.0];
        cut(&mut vector, 2).unwrap();
        assert_eq!(vector, [0.6, 0.8]);
        assert!(cut(&mut vector, 3).is_err() && cut(&mut vector, 0).is_err());
        let mut nothing = vec![0.0, 0.0];
        cut(&mut nothing, 1).unwrap();
        assert_eq!(nothing, [0.0]);
    }
}
