//! What is sent: the caller's bytes on the raw lane, or a translation.

use std::sync::Arc;

use bytes::Bytes;
use journey::{Operation, Request};
use wire::{Code, Dialect, Failure, head::Edits, losses::Losses};

/// A body for a wire.
#[derive(Debug, Default)]
pub(crate) struct Letter {
    /// Below the upstream's base URL.
    pub(crate) path: String,
    pub(crate) body: Bytes,
    /// The extra usage frame was asked for by the router and is for the router alone.
    pub(crate) strip_usage: bool,
    /// The wire that the answer comes on, where it is not the caller's.
    pub(crate) translate: Option<Dialect>,
    /// What the translation cannot carry.
    pub(crate) losses: Losses,
}

impl Letter {
    /// Writes a request for an upstream that speaks `wire` and calls the model `model`.
    ///
    /// # Errors
    /// [`Code::Unsupported`] where the wire has no such operation, [`Code::LossyTranslation`] where `strict` refuses, and what the
    /// caller's dialect finds wrong with the body.
    pub(crate) fn write(request: &Request, wire: Dialect, model: &Arc<str>, knows_usage: bool) -> Result<Self, Failure> {
        match request.operation {
            Operation::Completions | Operation::Embeddings if wire != Dialect::Chat => {
                let message = format!("{} cannot be asked of an account that speaks `{}`", request.operation.name(), wire.name());
                Err(Failure::new(Code::Unsupported, message).at("model"))
            }
            Operation::Completions => Ok(Self::raw(request, wire, model, "/completions".to_owned(), knows_usage)),
            Operation::Embeddings => Ok(Self::raw(request, wire, model, "/embeddings".to_owned(), false)),
            Operation::Count(Dialect::Gemini) => Ok(Self::raw(request, wire, model, format!("/models/{model}:countTokens"), false)),
            Operation::Count(_) => Ok(Self::raw(request, wire, model, "/messages/count_tokens".to_owned(), false)),
            Operation::Generate(dialect) if dialect == wire => {
                let as_array = request.in_path.as_ref().is_some_and(|p| p.as_array);
                let path = wire.path(model, request.head.stream);
                let path = if as_array { path.trim_end_matches("?alt=sse").to_owned() } else { path };
                Ok(Self::raw(request, wire, model, path, knows_usage))
            }
            Operation::Generate(_) => Self::translated(request, wire, model, knows_usage),
        }
    }

    fn raw(request: &Request, wire: Dialect, model: &Arc<str>, path: String, knows_usage: bool) -> Self {
        let head = &request.head;
        // Usage is always asked of a stream: records and limits need it.
        let add_usage = wire == Dialect::Chat && head.stream && knows_usage && !head.include_usage;
        // Gemini's model stands in the path.
        let named = (wire != Dialect::Gemini).then_some(&**model);
        let body = head.rewrite(&request.body, Edits { model: named, include_usage: add_usage });
        Self { path, body, strip_usage: add_usage, translate: None, losses: Losses::default() }
    }

    fn translated(request: &Request, wire: Dialect, model: &Arc<str>, knows_usage: bool) -> Result<Self, Failure> {
        let mut inner = request.inner()?.clone();
        model.as_ref().clone_into(&mut inner.model);
        inner.stream_usage = inner.stream && knows_usage;
        let mut losses = Losses::default();
        let body = wire.encode_request(&inner, &mut losses);
        if request.strict && !losses.is_exact() {
            let message = format!("`strict` refuses this translation to `{}`: {}", wire.name(), losses.header());
            return Err(Failure::new(Code::LossyTranslation, message));
        }
        let path = wire.path(model, request.head.stream);
        Ok(Self { path, body: body.to_string().into(), strip_usage: false, translate: Some(wire), losses })
    }
}
