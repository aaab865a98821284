//! `/api/models/blob/{name}`: a model's files, for nodes: whole or in ranges, with a tag that is their SHA-256.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::{FromRequestParts, Path, Query, State},
    response::Response,
};
use fleet::Peer;
use http::{HeaderMap, Method, request::Parts};
use journey::Caller;
use models::Manifest;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;
use wire::{Code, Failure};

use super::{Admin, Answer, Refusal};
use crate::app::App;

/// Read from the disk at once, in bytes.
const READ_BYTES: usize = 256 << 10;

/// Who may have files: a node with its token, or an administrator.
pub enum Fetcher {
    /// A node.
    Node(Arc<Peer>),
    /// An administrator.
    Admin(Caller),
}

/// The node that a request's token belongs to; `None` where no node's token is shown.
///
/// # Errors
/// 401 for a token that is none.
pub fn node_of(app: &App, headers: &HeaderMap) -> Result<Option<Arc<Peer>>, Failure> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let bearer = || {
        let (scheme, token) = text("authorization")?.split_once(' ')?;
        Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && token.starts_with("nt_"))
    };
    let Some(token) = text("x-node-token").or_else(bearer) else { return Ok(None) };
    let node = app.fleet.node_of_token(token);
    node.map(Some).ok_or_else(|| Failure::new(Code::InvalidApiKey, "this is no node's token: the node has to register again"))
}

impl FromRequestParts<Arc<App>> for Fetcher {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Answer<Self> {
        if let Some(node) = node_of(app, &parts.headers)? {
            return Ok(Self::Node(node));
        }
        Ok(Self::Admin(Admin::from_request_parts(parts, app).await?.0))
    }
}

fn manifest_of(app: &App, name: &str) -> Result<Arc<Manifest>, Failure> {
    let missing = || Failure::new(Code::NotFound, "there is no such file").at("id");
    if !models::name::is_identifier(name) {
        return Err(missing());
    }
    app.registry.get(name).and_then(|model| model.manifest).ok_or_else(missing)
}

/// `GET /api/models/blob/{name}/manifest`.
#[utoipa::path(
    get,
    path = "/api/models/blob/{id}/manifest",
    tag = "models",
    summary = "A model's files with their hashes, whole and by chunks",
    params(("id" = String, Path)),
    responses((status = 200, description = "The manifest", body = serde_json::Value)),
    security(("node_token" = []), ("bearer" = ["admin"]))
)]
pub async fn manifest(State(app): State<Arc<App>>, _: Fetcher, Path(name): Path<String>) -> Answer<Json<Value>> {
    let manifest = manifest_of(&app, &name)?;
    Ok(Json(serde_json::to_value(&*manifest).map_err(|e| Failure::new(Code::InternalError, e.to_string()))?))
}

/// `GET /api/models/blob/{name}`; `?part=2` is the second part of a model that has several.
#[utoipa::path(
    get,
    path = "/api/models/blob/{id}",
    tag = "models",
    summary = "A model's file, whole or in a range",
    params(("id" = String, Path), ("part" = Option<u32>, Query)),
    responses((status = 200, description = "The file; 206 for a range, 304 for a version that is known")),
    security(("node_token" = []), ("bearer" = ["admin"]))
)]
pub async fn blob(
    State(app): State<Arc<App>>,
    _: Fetcher,
    Path(name): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    method: Method,
    headers: HeaderMap,
) -> Answer<Response> {
    let manifest = manifest_of(&app, &name)?;
    let part: usize =
        query.get("part").map_or(Ok(1), |text| text.parse()).map_err(|_| Failure::invalid("part", "`part` must be a number"))?;
    let piece = part.checked_sub(1).and_then(|at| manifest.files.get(at));
    let piece = piece.ok_or_else(|| Failure::new(Code::NotFound, format!("the model has {} parts", manifest.files.len())).at("part"))?;
    let (head, span) = models::blob::answer(piece, &headers);
    let built = |made: http::Result<Response>| made.map_err(|e| Refusal(Failure::new(Code::InternalError, e.to_string())));
    let Some((from, to)) = span.filter(|_| method != Method::HEAD) else { return built(head.body(Body::empty())) };
    let path = app.registry.home(&name).join(&piece.file);
    let opened = async {
        let mut file = tokio::fs::File::open(&path).await?;
        file.seek(std::io::SeekFrom::Start(from)).await?;
        Ok(file)
    };
    let file = opened.await.map_err(|error: std::io::Error| {
        tracing::error!(path = %path.display(), %error, "a model's file can't be read");
        Failure::new(Code::NotFound, "the file can't be read; the log says why")
    })?;
    built(head.body(Body::from_stream(ReaderStream::with_capacity(file.take(to - from), READ_BYTES))))
}
