//! The one router that may be asked, and whether an address is on it.

use std::net::IpAddr;

use http::{Uri, uri::Scheme};
use percent_encoding::percent_decode_str;

/// A router's scheme, host, port, and the path below which it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    scheme: Scheme,
    /// As it was written, with its port: what requests are sent to.
    authority: String,
    host: String,
    port: u16,
    /// Empty, or `/…` without a slash at its end.
    below: String,
}

impl Origin {
    /// Reads a router's address.
    pub(super) fn of(url: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("LLM_ROUTER_URL must be the address of a router, such as http://localhost:8080: {why}");
        let uri: Uri = url.trim().parse().map_err(|_| wrong("it is none"))?;
        let (scheme, authority, host, port) = parts(&uri).map_err(|why| wrong(&why))?;
        if uri.query().is_some() {
            return Err(wrong("it has a query"));
        }
        Ok(Self { scheme, authority, host, port, below: uri.path().trim_end_matches('/').to_owned() })
    }

    /// The address of a path of the router; the path begins with `/` and may have a query.
    pub(super) fn at(&self, path: &str) -> Result<Uri, String> {
        let Self { scheme, authority, below, .. } = self;
        format!("{scheme}://{authority}{below}{path}").parse().map_err(|_| format!("`{path}` cannot be a path"))
    }

    /// An address that somebody wrote, on this router as the settings write it. As `curl` does, one without a scheme gets `http`.
    pub(super) fn place(&self, written: &str) -> Result<Uri, String> {
        let whole = if written.contains("://") { written.to_owned() } else { format!("http://{written}") };
        let uri: Uri = whole.parse().map_err(|_| format!("`{written}` is no address"))?;
        let (scheme, _, host, port) = parts(&uri)?;
        let is_here = scheme == self.scheme && port == self.port && (host == self.host || (is_loopback(&host) && is_loopback(&self.host)));
        if !is_here {
            return Err(format!("only the router at {self} may be asked, not {scheme}://{host}:{port}"));
        }
        if uri.path().split('/').any(is_dots) {
            return Err("the path has `.` or `..` in it".to_owned());
        }
        let rest = uri.path().strip_prefix(&self.below).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let rest = rest.ok_or_else(|| format!("only what is below {self} may be asked"))?;
        let path = if rest.is_empty() { "/" } else { rest };
        match uri.query() {
            Some(query) => self.at(&format!("{path}?{query}")),
            None => self.at(path),
        }
    }

    /// The path below the router's own, of an address that [`Self::place`] gave.
    pub(super) fn path<'a>(&self, uri: &'a Uri) -> &'a str {
        uri.path().strip_prefix(&self.below).unwrap_or_else(|| uri.path())
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.below)
    }
}

fn parts(uri: &Uri) -> Result<(Scheme, String, String, u16), String> {
    let scheme =
        uri.scheme().filter(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(*scheme)).ok_or("only http and https are spoken")?.clone();
    let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or("it names no host")?;
    if authority.as_str().contains('@') {
        return Err("credentials do not belong into an address".to_owned());
    }
    let port = authority.port_u16().unwrap_or(if scheme == Scheme::HTTPS { 443 } else { 80 });
    let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
    Ok((scheme, authority.as_str().to_owned(), host, port))
}

/// Whether a host is this machine: `localhost` and its addresses are one.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_dots(segment: &str) -> bool {
    matches!(&*percent_decode_str(segment).collect::<Vec<u8>>(), b"." | b"..")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_router_is_here() {
        let origin = Origin::of("http://localhost:8080/").expect("an address");
        for (written, sent) in [
            ("http://localhost:8080", "http://localhost:8080/"),
            ("http://127.0.0.1:8080/v1/models?limit=1", "http://localhost:8080/v1/models?limit=1"),
            ("http://[::1]:8080/health", "http://localhost:8080/health"),
            ("LOCALHOST:8080/health", "http://localhost:8080/health"),
        ] {
            assert_eq!(origin.place(written).expect(written).to_string(), sent);
        }
        for other in [
            "http://localhost:8081/",
            "https://localhost:8080/",
            "http://localhost/",
            "http://example.org/",
            "http://localhost:8080@example.org/",
            "http://user:secret@localhost:8080/",
            "http://localhost.example.org:8080/",
            "file:///etc/passwd",
            "gopher://localhost:8080/",
            "http://localhost:8080/a/../b",
            "http://localhost:8080/a/%2e%2E/b",
            "http://",
            "",
        ] {
            assert!(origin.place(other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_router_below_a_path_is_asked_below_it() {
        let origin = Origin::of("https://gate.example.org/llm/").expect("an address");
        assert_eq!(origin.at("/health").expect("a path").to_string(), "https://gate.example.org/llm/health");
        let placed = origin.place("https://gate.example.org:443/llm/api/nodes").expect("below it");
        assert_eq!((placed.to_string().as_str(), origin.path(&placed)), ("https://gate.example.org/llm/api/nodes", "/api/nodes"));
        assert!(origin.place("https://gate.example.org/llmx/api").is_err());
        assert!(origin.place("https://gate.example.org/other").is_err());
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        for url in ["", "localhost", "ftp://x", "http://", "http://a:b@c", "http://x/?y"] {
            assert!(Origin::of(url).is_err(), "{url}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_placed_is_on_the_router(written in r"[a-z:/@.\[\]?#%0-9\\]{0,60}") {
            let origin = Origin::of("http://127.0.0.1:8080").expect("an address");
            if let Ok(uri) = origin.place(&written) {
                prop_assert_eq!(uri.authority().map(http::uri::Authority::as_str), Some("127.0.0.1:8080"));
            }
        }
    }
}
