//! The dashboard and the playground: files that `npm run build` leaves in `ui/dist`, held by the executable. A build without
//! them serves a page that says how to get them.

use std::borrow::Cow;

use axum::{
    extract::Path,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use rust_embed::RustEmbed;

use crate::admin::{Refusal, probes::nowhere};

#[derive(RustEmbed)]
#[folder = "../../ui/dist"]
#[allow_missing = true]
struct Files;

const ABSENT: &str = include_str!("ui/absent.html");
const INDEX: &str = "index.html";

/// Scripts, styles and data come from here and nowhere else, and nothing inline runs. Pictures may also be those that somebody
/// is about to send to a model.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; \
                      font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Below this, names change with their content.
const HASHED: &str = "assets/";

/// Endings of files; a path that has none of them is a place within the dashboard. Ids in such paths may have dots of their own.
const TYPES: [(&str, &str); 6] = [
    ("html", "text/html; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("map", "application/json"),
];

/// The dashboard's first page.
#[utoipa::path(get, path = "/dashboard", tag = "documentation", summary = "The dashboard",
    responses((status = 200, description = "HTML", body = String, content_type = "text/html")), security(()))]
pub async fn dashboard(headers: HeaderMap) -> Response {
    page(&headers)
}

/// A file of the dashboard, or a place within it.
#[utoipa::path(get, path = "/dashboard/{path}", tag = "documentation", summary = "A file of the dashboard, or a place within it",
    params(("path" = String, Path)),
    responses((status = 200, description = "The file; HTML for a place", body = String, content_type = "text/html")), security(()))]
pub async fn dashboard_file(Path(path): Path<String>, headers: HeaderMap, uri: Uri) -> Result<Response, Refusal> {
    let Some(content_type) = content_type(&path) else { return Ok(page(&headers)) };
    match Files::get(&path) {
        Some(file) => Ok(answer(&headers, &path, file.data, &file.metadata.sha256_hash(), content_type)),
        None => Err(nowhere(uri).await),
    }
}

/// The playground.
#[utoipa::path(get, path = "/playground", tag = "documentation", summary = "The playground",
    responses((status = 200, description = "HTML", body = String, content_type = "text/html")), security(()))]
pub async fn playground(headers: HeaderMap) -> Response {
    page(&headers)
}

/// A place within the playground.
#[utoipa::path(get, path = "/playground/{path}", tag = "documentation", summary = "A place within the playground", params(("path" = String, Path)),
    responses((status = 200, description = "HTML", body = String, content_type = "text/html")), security(()))]
pub async fn playground_place(Path(path): Path<String>, headers: HeaderMap, uri: Uri) -> Result<Response, Refusal> {
    if content_type(&path).is_some() { Err(nowhere(uri).await) } else { Ok(page(&headers)) }
}

fn content_type(path: &str) -> Option<&'static str> {
    let (_, ending) = path.rsplit_once('.')?;
    TYPES.iter().find(|(known, _)| *known == ending).map(|(_, content_type)| *content_type)
}

/// The page in which all places are.
fn page(headers: &HeaderMap) -> Response {
    match Files::get(INDEX) {
        Some(file) => answer(headers, INDEX, file.data, &file.metadata.sha256_hash(), TYPES[0].1),
        None => ([(header::CONTENT_TYPE, TYPES[0].1), (header::CONTENT_SECURITY_POLICY, POLICY)], ABSENT).into_response(),
    }
}

fn answer(headers: &HeaderMap, path: &str, data: Cow<'static, [u8]>, hash: &[u8; 32], content_type: &'static str) -> Response {
    let etag = etag(hash);
    let mut response = if is_known(headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        // Compressed when the dashboard was built; files that are small have no second form.
        match Files::get(&format!("{path}.br")).filter(|_| accepts_brotli(headers)) {
            Some(small) => ([(header::CONTENT_ENCODING, "br")], bytes(small.data)).into_response(),
            None => bytes(data).into_response(),
        }
    };
    let caching = if path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let rules = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static(caching)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
    ];
    for (name, value) in rules {
        response.headers_mut().insert(name, value);
    }
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

/// A release build's files are not copied.
fn bytes(data: Cow<'static, [u8]>) -> Bytes {
    match data {
        Cow::Borrowed(data) => Bytes::from_static(data),
        Cow::Owned(data) => data.into(),
    }
}

/// Weak: the compressed form has the same.
fn etag(hash: &[u8; 32]) -> String {
    use std::fmt::Write as _;
    let mut tag = "W/\"".to_owned();
    for byte in &hash[..8] {
        // A String takes everything.
        let _ = write!(tag, "{byte:02x}");
    }
    tag + "\""
}

fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or_default();
    known.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag.trim_start_matches("W/"))
}

/// Whether `br` is among what is accepted, and not with a weight of nothing.
fn accepts_brotli(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_brotli = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("br"));
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        is_brotli && weight.is_none_or(|weight| weight > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: header::HeaderName, value: &'static str) -> HeaderMap {
        [(name, HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn only_endings_of_files_are_files() {
        assert_eq!(content_type("assets/index-1.js"), Some("text/javascript; charset=utf-8"));
        assert_eq!(content_type("requests/chatcmpl-1.5"), None);
        assert_eq!(content_type("nodes"), None);
        assert_eq!(content_type("index.js.br"), None);
    }

    #[test]
    fn a_weight_of_nothing_refuses() {
        for (accepted, wanted) in
            [("gzip, br", true), ("br;q=0.5", true), ("br;q=0, gzip", false), ("gzip", false), ("", false), ("brotli", false)]
        {
            assert_eq!(accepts_brotli(&with(header::ACCEPT_ENCODING, accepted)), wanted, "{accepted}");
        }
    }

    #[test]
    fn a_known_file_is_not_sent_again() {
        let answered = |headers: &HeaderMap| answer(headers, "theme.js", Cow::Borrowed(b"x"), &[7; 32], "text/javascript");
        let first = answered(&HeaderMap::new());
        let tag = first.headers()[header::ETAG].clone();
        let again: HeaderMap = [(header::IF_NONE_MATCH, tag)].into_iter().collect();
        let second = answered(&again);
        assert_eq!((first.status(), second.status()), (StatusCode::OK, StatusCode::NOT_MODIFIED));
        assert!(!is_known(&with(header::IF_NONE_MATCH, "\"other\""), "W/\"this\""));
        assert!(is_known(&with(header::IF_NONE_MATCH, "\"a\", \"this\""), "W/\"this\""));
    }

    #[test]
    fn a_build_without_the_files_says_how_to_get_them() {
        assert!(ABSENT.contains("cargo xtask ui") && !ABSENT.contains("<script"));
    }
}
