//! What a client sends, read within its bounds.

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use journey::{Operation, Upload};
use tokio::time::{Duration, timeout};
use wire::{Code, Failure, multipart::Scanner};

use crate::shard::Limits;

/// How long a client may take to send a body.
const TIME_MAX: Duration = Duration::from_mins(2);

/// How long a client may send nothing of a form that is passed on as it comes.
const GAP_MAX: Duration = Duration::from_mins(1);

/// Most bytes of a body that is read before it is known whose it is.
const STRANGER_BYTES_MAX: u64 = 64 << 10;

/// Of a body that is too large, how much is read and thrown away so that the client gets to read why.
const DISCARD_BYTES_MAX: u64 = 256 << 20;

/// How long that may take.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(20);

/// Whether a body may be larger than what anybody has room for.
pub fn is_large(headers: &HeaderMap) -> bool {
    announced(headers).is_none_or(|bytes| bytes > STRANGER_BYTES_MAX)
}

/// The body in memory, or a form that is passed on as it comes.
pub async fn read(operation: Operation, headers: &HeaderMap, body: Incoming, limits: Limits) -> Result<(Bytes, Option<Upload>), Failure> {
    if let Some(coding) = headers.get(header::CONTENT_ENCODING).filter(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        pass_over(headers, body).await;
        let message = format!("the body's `content-encoding` {coding:?} is not taken: send it uncompressed");
        return Err(Failure::new(Code::UnsupportedMediaType, message));
    }
    let kind = headers.get(header::CONTENT_TYPE).filter(|_| operation == Operation::Other);
    let form = kind.and_then(|kind| Some((kind, Scanner::of(kind.to_str().ok()?)?)));
    let scanner = form.map(|(kind, scanner)| scanner.map(|scanner| (kind, scanner))).transpose()?;
    let (bytes_max, setting) = match scanner {
        Some(_) => (limits.form_bytes_max, "server.max_upload"),
        None => (limits.body_bytes_max as u64, "server.max_body"),
    };
    let announced = announced(headers);
    if announced.is_some_and(|bytes| bytes > bytes_max) {
        pass_over(headers, body).await;
        return Err(Failure::too_large(bytes_max, setting));
    }
    let Some((kind, scanner)) = scanner else {
        return Ok((whole(body, limits.body_bytes_max).await?, None));
    };
    let body = body.map_err(|e| net::Error::RequestBody(e.to_string()));
    let body = net::IdleTimeout::new(body, GAP_MAX).map_err(Into::into);
    let upload = Upload::open(Box::pin(body), kind.clone(), scanner, announced, bytes_max).await?;
    Ok((Bytes::new(), Some(upload)))
}

/// Reads away what a client may be writing: it would not see the answer. One that waits for "100 Continue" has sent nothing.
pub async fn pass_over(headers: &HeaderMap, body: Incoming) {
    if !headers.contains_key(header::EXPECT) {
        discard(body).await;
    }
}

/// Reads away what is left of a form that nobody took.
pub async fn discard_form(form: &Upload) {
    let _ = timeout(DISCARD_TIME_MAX, form.discard(DISCARD_BYTES_MAX)).await;
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn whole(mut body: Incoming, bytes_max: usize) -> Result<Bytes, Failure> {
    match timeout(TIME_MAX, Limited::new(&mut body, bytes_max).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => {
            discard(body).await;
            Err(Failure::too_large(bytes_max as u64, "server.max_body"))
        }
        Ok(Err(_)) => Err(Failure::new(Code::InvalidRequest, "the body broke off before its end")),
        Err(_) => Err(Failure::new(Code::InvalidRequest, format!("the body did not come within {} s", TIME_MAX.as_secs()))),
    }
}

async fn discard(mut body: Incoming) {
    let mut read = 0;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len) as u64;
            if read > DISCARD_BYTES_MAX {
                break;
            }
        }
    };
    let _ = timeout(DISCARD_TIME_MAX, reading).await;
}
