//! Which destinations go through a forward proxy.

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;

/// Forward proxies, as the conventional environment variables name them; whoever owns the environment reads them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// `ALL_PROXY`: for both schemes where they have none of their own. Empty: none.
    pub all: String,
    /// `HTTP_PROXY`: for `http` destinations. Credentials may be in the URL.
    pub http: String,
    /// `HTTPS_PROXY`: for `https` destinations, through a CONNECT tunnel.
    pub https: String,
    /// `NO_PROXY`: comma-separated domains, addresses and networks that are reached directly; `*` is everything.
    pub none: String,
}

impl ProxySettings {
    /// What no proxy can reach for this machine, as `none` has it.
    pub const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";
}

/// How one host is reached.
#[derive(Debug, Clone)]
pub(crate) enum Route {
    Direct,
    /// Plain HTTP in absolute form to the proxy.
    Forward {
        proxy: Uri,
        authorization: Option<HeaderValue>,
    },
    /// A CONNECT tunnel through the proxy.
    Tunnel {
        proxy: Uri,
        authorization: Option<HeaderValue>,
    },
}

/// The settings made ready for questions.
#[derive(Debug)]
pub(crate) struct Proxies(Option<Matcher>);

impl Proxies {
    pub(crate) fn new(settings: &ProxySettings) -> Self {
        let empty = settings.all.is_empty() && settings.http.is_empty() && settings.https.is_empty();
        Self((!empty).then(|| {
            Matcher::builder()
                .all(settings.all.clone())
                .http(settings.http.clone())
                .https(settings.https.clone())
                .no(settings.none.clone())
                .build()
        }))
    }

    /// How to reach the destination.
    pub(crate) fn route(&self, destination: &Uri, is_tls: bool) -> Route {
        let Some(intercept) = self.0.as_ref().and_then(|matcher| matcher.intercept(destination)) else {
            return Route::Direct;
        };
        let proxy = intercept.uri().clone();
        let authorization = intercept.basic_auth().cloned();
        if is_tls { Route::Tunnel { proxy, authorization } } else { Route::Forward { proxy, authorization } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_exempt() {
        let settings =
            ProxySettings { all: "http://proxy.example:3128".into(), none: ProxySettings::LOOPBACK.into(), ..ProxySettings::default() };
        let proxies = Proxies::new(&settings);
        let is_direct = |url: &str| matches!(proxies.route(&url.parse().unwrap(), false), Route::Direct);
        for own in ["http://localhost:11434/v1", "http://127.0.0.1:1/v1", "http://127.8.0.1/v1", "http://[::1]:1/v1"] {
            assert!(is_direct(own), "{own}");
        }
        for other in ["http://localhost.example/v1", "http://10.0.0.1/v1", "http://[::2]/v1"] {
            assert!(!is_direct(other), "{other}");
        }
    }
}
