//! Text to tokens and back, and what a model's template makes of a conversation: `POST /tokenize`, `/detokenize`, `/apply-template`, each also
//! below `/v1`, where routers pass them on.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use serde_json::json;
use wire::{
    Code, Failure,
    chat::types::ChatRequest,
    fleet::worker::{Prompt, Segment},
    tokenize::types::{DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse},
};

use super::{
    App, chat,
    choices::model_of,
    reply::{self, Refusal},
};
use crate::{answer::failure, pool::Lease, template};

pub(super) async fn tokenize(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let _place = app.place()?;
    let body = reply::body(&app, request).await?;
    let said = TokenizeRequest::parse(&body)?;
    if said.with_pieces == Some(true) {
        let message = "the text of each token is not given: ask /detokenize for it";
        return Err(Failure::new(Code::UnsupportedParameter, message).at("with_pieces").into());
    }
    let text = |text: String, add_special: bool| Prompt {
        segments: vec![Segment::Text { text, special: said.parse_special.unwrap_or(true) }],
        add_special: said.add_special.unwrap_or(add_special),
    };
    let (lease, prompt) = match (said.content, said.prompt, said.messages) {
        (Some(content), None, None) => (lease(&app, said.model.as_ref()).await?, text(content, false)),
        (None, Some(prompt), None) => (lease(&app, said.model.as_ref()).await?, text(prompt, true)),
        (None, None, Some(_)) => rendered(&app, &body).await?,
        _ => return Err(Failure::invalid("content", "one of `content`, `prompt` and `messages` must be there").into()),
    };
    let tokens = lease.engine.tokenize(prompt).await.map_err(|e| failure(&e))?;
    let answer = TokenizeResponse { count: tokens.len(), tokens, max_model_len: lease.engine.info().context };
    Ok(reply::json(StatusCode::OK, &answer))
}

pub(super) async fn detokenize(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let _place = app.place()?;
    let said = DetokenizeRequest::parse(&reply::body(&app, request).await?)?;
    let tokens = said.tokens.ok_or_else(|| Failure::invalid("tokens", "`tokens` is missing"))?;
    let lease = lease(&app, said.model.as_ref()).await?;
    let content = lease.engine.detokenize(tokens).await.map_err(|e| failure(&e))?;
    Ok(reply::json(StatusCode::OK, &DetokenizeResponse { prompt: content.clone(), content }))
}

pub(super) async fn apply_template(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let _place = app.place()?;
    let body = reply::body(&app, request).await?;
    let (_lease, prompt) = rendered(&app, &body).await?;
    Ok(reply::json(StatusCode::OK, &json!({"prompt": template::text_of(&prompt)})))
}

/// The model that is named; the only one there is, where none is.
async fn lease(app: &App, model: Option<&String>) -> Result<Lease, Failure> {
    let named = match model_of(model) {
        Ok(named) => named,
        Err(missing) => match app.pool.library().fresh().await.models.as_slice() {
            [only] => only.id.clone(),
            _ => return Err(missing),
        },
    };
    app.lease(&named).await
}

/// What a chat with this body would ask the model.
async fn rendered(app: &App, body: &[u8]) -> Result<(Lease, Prompt), Failure> {
    let request = ChatRequest::parse(body)?;
    let conversation = chat::offered(&request)?.0;
    let lease = lease(app, request.model.as_ref()).await?;
    let prompt = chat::render(lease.clone(), conversation, body.len()).await?;
    Ok((lease, prompt))
}
