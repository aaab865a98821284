//! One place where a file can be had.

use std::{fmt, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri,
    header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_RANGE, LOCATION, RANGE, RETRY_AFTER},
    uri::{Authority, Scheme},
};

use tokio::sync::OnceCell;

use super::DownloadError;
use crate::{Body, Client, Error, Reach, ResponseBody, Timeouts};

/// Most redirects that are followed for one piece.
const REDIRECTS_MAX: usize = 5;

/// One place where a file can be had, and what proves that one may.
#[derive(Clone)]
pub struct Source {
    url: Uri,
    host: String,
    proof: HeaderMap,
}

impl Source {
    /// The file at `url`, an absolute `http` or `https` one.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn new(url: &str) -> Result<Self, Error> {
        let parsed: Uri = url.parse().map_err(|_| Error::Url(url.chars().take(200).collect()))?;
        let is_usable = matches!(parsed.scheme_str(), Some("http" | "https")) && parsed.host().is_some_and(|host| !host.is_empty());
        let host = parsed.authority().map(|a| a.as_str().rsplit('@').next().unwrap_or_default().to_owned()).filter(|_| is_usable);
        let host = host.ok_or_else(|| Error::Url(url.chars().take(200).collect()))?;
        Ok(Self { url: parsed, host, proof: HeaderMap::new() })
    }

    /// With a header that proves who asks: shown to this URL's own host, never to one that it redirects to.
    #[must_use]
    pub fn with_proof(mut self, name: HeaderName, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        self.proof.insert(name, value);
        self
    }

    /// Host and port, for messages.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Asks for the bytes from `from` up to and without `to`. Where it sends elsewhere, a client is made for that: it goes no nearer to this machine
    /// than the source itself is. With the error comes how long to leave the source alone.
    pub(super) async fn open(
        &self,
        (client, away): (&Client, &OnceCell<Client>),
        timeouts: &Timeouts,
        (from, to): (u64, u64),
        etag: Option<HeaderValue>,
    ) -> Result<Answer, (DownloadError, Duration)> {
        let net = |error| (DownloadError::Net { host: self.host.clone(), error }, Duration::ZERO);
        let mut url = self.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = url.clone();
            let headers = request.headers_mut();
            let is_own = is_same_origin(&url, &self.url);
            if is_own {
                headers.extend(self.proof.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            headers.insert(RANGE, HeaderValue::try_from(format!("bytes={from}-{}", to - 1)).expect("digits are a header's text"));
            if let Some(etag) = &etag {
                headers.insert(IF_RANGE, etag.clone());
            }
            let client = if is_own {
                client
            } else {
                away.get_or_init(|| async { client.within(Reach::of_host(&self.url, timeouts.connect).await) }).await
            };
            let (head, body) = client.send(request, timeouts).await.map_err(net)?.into_parts();
            if !head.status.is_redirection() {
                return Ok(Answer { status: head.status, headers: head.headers, body }).and_then(|answer| answer.accepted(&self.host));
            }
            let refused = || (DownloadError::Refused { host: self.host.clone(), status: head.status }, Duration::ZERO);
            url = head.headers.get(LOCATION).and_then(|to| redirected(&url, to)).ok_or_else(refused)?;
        }
        Err(net(Error::Protocol(format!("more than {REDIRECTS_MAX} redirects"))))
    }
}

/// The URL without the query, which may be signed.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({}://{}{})", self.url.scheme_str().unwrap_or_default(), self.host, self.url.path())
    }
}

/// The head of an answer, its body unread.
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: ResponseBody,
}

/// A body that has what was asked for.
pub(super) struct Opened {
    pub(super) body: ResponseBody,
    /// Bytes before what was asked for.
    pub(super) skip: u64,
    /// A strong tag of this version of the file.
    pub(super) etag: Option<HeaderValue>,
}

impl Answer {
    fn accepted(self, host: &str) -> Result<Self, (DownloadError, Duration)> {
        if matches!(self.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            return Ok(self);
        }
        let seconds = self.headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.trim().parse().ok()).unwrap_or(0);
        Err((DownloadError::Refused { host: host.to_owned(), status: self.status }, Duration::from_secs(seconds)))
    }

    /// Checks that the answer is about the file that is wanted.
    pub(super) fn checked(self, host: &str, (from, to): (u64, u64), total: u64) -> Result<Opened, DownloadError> {
        let different = |what: String| DownloadError::Different { host: host.to_owned(), what };
        let text = |name| self.headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
        let skip = if self.status == StatusCode::PARTIAL_CONTENT {
            let range = text(CONTENT_RANGE).unwrap_or_default();
            if range.strip_prefix("bytes ") != Some(&format!("{from}-{}/{total}", to - 1)) {
                return Err(different(format!("asked for bytes {from}-{} of {total}, it gives `{range}`", to - 1)));
            }
            0
        } else {
            let length = text(CONTENT_LENGTH).and_then(|n| n.parse::<u64>().ok());
            if length.is_some_and(|length| length != total) {
                return Err(different(format!("{} bytes instead of {total}", length.unwrap_or_default())));
            }
            from
        };
        let etag = self.headers.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")).cloned();
        Ok(Opened { body: self.body, skip, etag })
    }
}

fn is_same_origin(a: &Uri, b: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().unwrap_or(if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 });
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    a.scheme() == b.scheme() && host(a) == host(b) && port(a) == port(b)
}

/// Where a redirect leads; nowhere from `https` to `http`.
fn redirected(from: &Uri, to: &HeaderValue) -> Option<Uri> {
    let to: Uri = to.to_str().ok()?.parse().ok()?;
    let mut parts = to.into_parts();
    if parts.authority.is_none() {
        parts.authority = from.authority().cloned();
        parts.scheme = from.scheme().cloned();
    }
    parts.scheme.get_or_insert_with(|| from.scheme().cloned().unwrap_or(Scheme::HTTPS));
    parts.path_and_query.get_or_insert_with(|| http::uri::PathAndQuery::from_static("/"));
    let is_http = parts.scheme == Some(Scheme::HTTP);
    let is_usable = is_http || parts.scheme == Some(Scheme::HTTPS);
    let has_host = parts.authority.as_ref().map(Authority::host).is_some_and(|host| !host.is_empty());
    (is_usable && has_host && !(is_http && from.scheme() == Some(&Scheme::HTTPS))).then(|| Uri::from_parts(parts).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(from: &str, to: &str) -> Option<String> {
        redirected(&from.parse().unwrap(), &HeaderValue::from_str(to).unwrap()).map(|uri| uri.to_string())
    }

    #[test]
    fn redirects_lead_on_but_never_to_less_protection() {
        assert_eq!(lead("https://hub/a/b", "/c?x=1").as_deref(), Some("https://hub/c?x=1"));
        assert_eq!(lead("http://hub/a", "https://cdn/c").as_deref(), Some("https://cdn/c"));
        assert_eq!(lead("https://hub/a", "http://cdn/c"), None);
        assert_eq!(lead("https://hub/a", "file:///etc/passwd"), None);
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| is_same_origin(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(same("https://Hub/a", "https://hub:443/b") && same("http://h:80/", "http://h/"));
        for other in ["http://hub/a", "https://hub:444/a", "https://cdn.hub/a", "https://hub.evil/a"] {
            assert!(!same("https://hub/a", other), "{other}");
        }
    }

    #[test]
    fn only_urls_of_the_web_are_sources() {
        assert!(Source::new("https://hub/x").is_ok());
        for wrong in ["hub/x", "ftp://hub/x", "", "/x", "http://"] {
            assert!(Source::new(wrong).is_err(), "{wrong}");
        }
        let shown = format!("{:?}", Source::new("https://u:p@hub/x?signature=s").unwrap());
        assert_eq!(shown, "Source(https://hub/x)");
    }
}
