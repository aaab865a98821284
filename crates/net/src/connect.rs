//! From a destination to a line: name, TCP, proxy, TLS.

use std::{
    convert::Infallible,
    future::ready,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use http::Uri;
use hyper_util::{
    client::legacy::connect::{HttpConnector, dns::Name, proxy::Tunnel},
    rt::TokioIo,
};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tower::{Service, ServiceExt, service_fn};

use crate::{
    error::Error,
    guard::Reach,
    outbox::{Outbox, Socket},
    pool::{Host, Line},
    proxy::Route,
    stream::Stream,
    tls::Tls,
};

/// Silent peers are noticed by the kernel after this and a few probes.
const TCP_KEEPALIVE: Duration = Duration::from_mins(1);

/// Opens connections; cheap to clone, the TLS part is shared.
#[derive(Clone)]
pub(crate) struct Connector {
    http: HttpConnector,
    tls: Tls,
    /// Where it is set, nothing nearer is connected to.
    reach: Option<Reach>,
    /// Where its connections leave what they write.
    outbox: Option<Outbox>,
}

impl Connector {
    pub(crate) fn new() -> Self {
        Self { http: usual(HttpConnector::new()), tls: Tls::default(), reach: None, outbox: None }
    }

    pub(crate) fn within(&self, reach: Reach) -> Self {
        Self { reach: Some(reach), ..self.clone() }
    }

    pub(crate) fn through(&self, outbox: Outbox) -> Self {
        Self { outbox: Some(outbox), ..self.clone() }
    }

    /// A new line to the host. The caller limits the time.
    pub(crate) async fn open(&self, host: &Host, open: Arc<AtomicUsize>) -> Result<Line, Error> {
        let tcp = Socket::new(self.tcp(host).await?, self.outbox.clone());
        if !host.is_tls {
            return Ok(Line::new(Stream::Plain(tcp), open));
        }
        let fail = |cause: String| Error::Connect { host: host.name().to_owned(), cause, kind: None };
        let tls = self.tls.connector().await.map_err(&fail)?;
        let name = host.origin.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(|error| fail(error.to_string()))?;
        let stream = tls.connect(name, tcp).await.map_err(|error| Error::connect(host.name(), &error))?;
        Ok(Line::new(Stream::Tls(Box::new(stream)), open))
    }

    async fn tcp(&self, host: &Host) -> Result<TcpStream, Error> {
        let fail = |error: &(dyn std::error::Error + 'static)| Error::connect(host.name(), error);
        self.reach.map_or(Ok(()), |reach| reach.check_literal(&host.origin))?;
        let io = match &host.route {
            Route::Direct => return self.direct(&host.origin).await,
            Route::Forward { proxy, .. } => self.dial(plain_proxy(proxy, host)?).await.map_err(|error| fail(&error))?,
            Route::Tunnel { proxy, authorization } => {
                let mut tunnel = Tunnel::new(plain_proxy(proxy, host)?, self.http.clone());
                if let Some(value) = authorization {
                    tunnel = tunnel.with_auth(value.clone());
                }
                let tunnel = tunnel.ready().await.map_err(|error| fail(&error))?;
                tunnel.call(host.origin.clone()).await.map_err(|error| fail(&error))?
            }
        };
        Ok(io.into_inner())
    }

    /// A bare connection to an origin, past any proxy. The caller limits the time.
    pub(crate) async fn direct(&self, origin: &Uri) -> Result<TcpStream, Error> {
        let name = origin.authority().map_or("", |authority| authority.as_str());
        let io = match self.reach {
            Some(reach) => {
                let pinned = reach.pin(origin).await?;
                let known = service_fn(move |_: Name| ready(Ok::<_, Infallible>(pinned.clone().into_iter())));
                let http = usual(HttpConnector::new_with_resolver(known));
                http.oneshot(origin.clone()).await.map_err(|error| Error::connect(name, &error))?
            }
            None => self.dial(origin.clone()).await.map_err(|error| Error::connect(name, &error))?,
        };
        Ok(io.into_inner())
    }

    async fn dial(&self, uri: Uri) -> Result<TokioIo<TcpStream>, impl std::error::Error + 'static + use<>> {
        self.http.clone().oneshot(uri).await
    }
}

fn usual<R>(mut http: HttpConnector<R>) -> HttpConnector<R> {
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(TCP_KEEPALIVE));
    http
}

fn plain_proxy(proxy: &Uri, host: &Host) -> Result<Uri, Error> {
    if proxy.scheme_str() == Some("http") {
        return Ok(proxy.clone());
    }
    let cause = format!("a proxy is reached over http, not {}", proxy.scheme_str().unwrap_or("an unnamed scheme"));
    Err(Error::Connect { host: host.name().to_owned(), cause, kind: None })
}
