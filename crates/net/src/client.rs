//! The client: one exchange at a time over pooled lines.

use std::{fmt, sync::Arc, time::Duration};

use http::{
    HeaderValue, Request, Response, Uri,
    header::PROXY_AUTHORIZATION,
    uri::{Authority, PathAndQuery, Scheme},
};
use tokio::time::timeout;

use crate::{
    body::{Body, ResponseBody},
    connect::Connector,
    error::{Error, Phase},
    guard::Reach,
    h1::{Fault, Outgoing, talk},
    outbox::Outbox,
    pool::{Host, Key, Line, Pool},
    proxy::{Proxies, ProxySettings, Route},
};

/// The four timers of an exchange. [`Client::send`] keeps the first two, [`Client::fetch`] all; whoever streams an answer wraps it in
/// [`crate::IdleTimeout`] and keeps the total itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Name, TCP, proxy and TLS together.
    pub connect: Duration,
    /// From the request being handed to a connection to the answer's head.
    pub first_byte: Duration,
    /// Between two pieces of the answer's body.
    pub idle: Duration,
    /// The whole exchange.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_mins(1),
            idle: Duration::from_mins(1),
            total: Duration::from_mins(10),
        }
    }
}

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    pub proxy: ProxySettings,
    /// How long an idle plain connection is kept: less than the 5 s of the usual local engines' servers.
    pub idle_plain: Duration,
    /// How long an idle TLS connection is kept: less than the 60 s of the usual load balancers.
    pub idle_tls: Duration,
    /// Most idle connections kept per host. Those in use are as many as there are exchanges; whoever starts exchanges bounds them.
    pub idle_per_host_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            proxy: ProxySettings::default(),
            idle_plain: Duration::from_secs(4),
            idle_tls: Duration::from_secs(50),
            idle_per_host_max: 256,
        }
    }
}

/// An HTTP/1.1 client. Cheap to clone; clones share their pool.
///
/// A connection's readiness is told by the runtime that opened it, so each single-threaded runtime takes a client of its own:
/// [`Client::sibling`], or [`Client::through`] its outbox.
/// It follows no redirect, keeps no cookie, adds no header but `Host`, and decodes no content encoding.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    pool: Arc<Pool>,
    connector: Connector,
    proxies: Arc<Proxies>,
    settings: Settings,
}

impl Client {
    /// A client with an empty pool. Opens nothing and reads nothing yet.
    pub fn new(settings: Settings) -> Self {
        let proxies = Arc::new(Proxies::new(&settings.proxy));
        Self(Arc::new(Inner { pool: Arc::default(), connector: Connector::new(), proxies, settings }))
    }

    /// A client with the same settings and TLS configuration and a pool of its own, for another runtime.
    #[must_use]
    pub fn sibling(&self) -> Self {
        self.with(self.0.connector.clone())
    }

    /// A sibling that goes no nearer to this machine than `reach`, for destinations that others name. Its pool is its own, so no line of
    /// another client leads it elsewhere. Where a proxy looks names up, only addresses that stand in the URL are checked.
    #[must_use]
    pub fn within(&self, reach: Reach) -> Self {
        self.with(self.0.connector.within(reach))
    }

    /// A sibling for the runtime of this outbox, which its connections leave what they write in.
    #[must_use]
    pub fn through(&self, outbox: Outbox) -> Self {
        self.with(self.0.connector.through(outbox))
    }

    fn with(&self, connector: Connector) -> Self {
        Self(Arc::new(Inner { pool: Arc::default(), connector, proxies: self.0.proxies.clone(), settings: self.0.settings.clone() }))
    }

    /// Sends a request with an absolute `http` or `https` URL and waits for the answer's head (any status).
    ///
    /// A pooled connection that turns out closed before any byte of an answer costs one more try on a fresh connection, if the body is in memory.
    /// Dropping the future, or the answer's body before its end, closes the connection at once.
    pub fn send(&self, request: Request<Body>, timeouts: &Timeouts) -> impl Future<Output = Result<Response<ResponseBody>, Error>> + Send {
        // Before the future begins, which would carry the whole request otherwise.
        let ready = self.host(request.uri()).map(|host| (outgoing(request, &host), host));
        self.send_ready(ready, *timeouts)
    }

    async fn send_ready(&self, ready: Result<(Outgoing, Arc<Host>), Error>, timeouts: Timeouts) -> Result<Response<ResponseBody>, Error> {
        let (outgoing, host) = ready?;
        let Some(line) = host.checkout() else {
            let line = self.open(&host, timeouts.connect).await?;
            return exchange(line, host, outgoing, timeouts.first_byte).await.map_err(|fault| fault.error);
        };
        let spare = outgoing.copy();
        let fault = match exchange(line, host.clone(), outgoing, timeouts.first_byte).await {
            Ok(response) => return Ok(response),
            Err(fault) => fault,
        };
        let again = match (fault.unsent, fault.is_silent) {
            (Some(unsent), _) => Some(*unsent),
            (None, true) => spare,
            (None, false) => None,
        };
        let Some(again) = again else { return Err(fault.error) };
        let line = self.open(&host, timeouts.connect).await?;
        exchange(line, host, again, timeouts.first_byte).await.map_err(|fault| fault.error)
    }

    pub(crate) fn connector(&self) -> &Connector {
        &self.0.connector
    }

    async fn open(&self, host: &Host, limit: Duration) -> Result<Line, Error> {
        // Boxed: most exchanges find a line that stands.
        let opening = Box::pin(self.0.connector.open(host, self.0.pool.open.clone()));
        let line = timeout(limit, opening).await.map_err(|_elapsed| Error::Timeout(Phase::Connect))??;
        self.0.pool.reap_in_background();
        Ok(line)
    }

    fn host(&self, uri: &Uri) -> Result<Arc<Host>, Error> {
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(Error::Url(without_secrets(uri))),
        };
        let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or_else(|| Error::Url(without_secrets(uri)))?;
        self.0.pool.host((is_tls, authority.clone()), |key| self.make_host(key))
    }

    fn make_host(&self, (is_tls, authority): &Key) -> Result<Host, Error> {
        // User and password of a URL are not sent: credentials travel in headers.
        let bare = authority.as_str().rsplit('@').next().unwrap_or_default();
        let wrong = || Error::Url(bare.to_owned());
        let origin = Uri::builder()
            .scheme(if *is_tls { Scheme::HTTPS } else { Scheme::HTTP })
            .authority(Authority::try_from(bare).map_err(|_invalid| wrong())?)
            .path_and_query("/")
            .build()
            .map_err(|_invalid| wrong())?;
        let header = HeaderValue::from_str(bare).map_err(|_invalid| wrong())?;
        let route = self.0.proxies.route(&origin, *is_tls);
        let settings = &self.0.settings;
        let idle_for = if *is_tls { settings.idle_tls } else { settings.idle_plain };
        Ok(Host::new(origin, *is_tls, route, header, idle_for, settings.idle_per_host_max))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

async fn exchange(mut line: Line, host: Arc<Host>, outgoing: Outgoing, limit: Duration) -> Result<Response<ResponseBody>, Fault> {
    let reads_compressed = outgoing.reads_compressed;
    let Ok(answered) = timeout(limit, talk(&mut line.stream, outgoing)).await else {
        return Err(Fault { error: Error::Timeout(Phase::FirstByte), unsent: None, is_silent: false });
    };
    Ok(ResponseBody::of(answered?, line, host, reads_compressed))
}

/// The request with its target in the form that the next hop reads.
fn outgoing(mut request: Request<Body>, host: &Host) -> Outgoing {
    let uri = std::mem::take(request.uri_mut());
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let Route::Forward { authorization, .. } = &host.route else {
        return Outgoing::new(request, path, &host.header);
    };
    if let Some(value) = authorization {
        request.headers_mut().insert(PROXY_AUTHORIZATION, value.clone());
    }
    let target = format!("http://{}{path}", host.name());
    Outgoing::new(request, &target, &host.header)
}

/// The URL without its query and user part, which may hold secrets.
fn without_secrets(uri: &Uri) -> String {
    let host = uri.authority().map_or("", |authority| authority.as_str().rsplit('@').next().unwrap_or_default());
    format!("{}://{host}{}", uri.scheme_str().unwrap_or(""), uri.path())
}
