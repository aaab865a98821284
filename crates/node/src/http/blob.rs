//! Files of models that were pulled, for other nodes, which show a ticket of their router.

use std::{collections::HashMap, io::SeekFrom, sync::Arc};

use axum::{
    body::Body,
    extract::{Path, Query, State},
    response::Response,
};
use http::{HeaderMap, Method};
use models::{Manifest, name};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;
use wire::{Code, Failure};

use super::{App, reply::Refusal};

/// Read from the disk at once, in bytes.
const READ_BYTES: usize = 256 << 10;

pub(super) async fn blob(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let missing = || Failure::new(Code::NotFound, "there is no such file").at("id");
    if !name::is_identifier(&id) {
        return Err(missing().into());
    }
    let home = app.pool.library().dir().join(&id);
    let looked = home.clone();
    let manifest = tokio::task::spawn_blocking(move || Manifest::of_dir(&looked)).await.ok().flatten().ok_or_else(missing)?;
    let part: usize =
        query.get("part").map_or(Ok(1), |text| text.parse()).map_err(|_| Failure::invalid("part", "`part` must be a number"))?;
    let piece = part.checked_sub(1).and_then(|at| manifest.files.get(at)).ok_or_else(missing)?;
    let (head, span) = models::blob::answer(piece, &headers);
    let built = |made: http::Result<Response>| made.map_err(|e| Refusal(Failure::new(Code::InternalError, e.to_string())));
    let Some((from, to)) = span.filter(|_| method != Method::HEAD) else { return built(head.body(Body::empty())) };
    let opened = async {
        let mut file = tokio::fs::File::open(home.join(&piece.file)).await?;
        file.seek(SeekFrom::Start(from)).await?;
        std::io::Result::Ok(file)
    };
    let file = opened.await.map_err(|_| missing())?;
    built(head.body(Body::from_stream(ReaderStream::with_capacity(file.take(to - from), READ_BYTES))))
}
