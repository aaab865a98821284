//! From a destination to a line: name, TCP, proxy, TLS, HTTP/1.1.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper::client::conn::http1;
use hyper_util::{
    client::legacy::connect::{HttpConnector, proxy::Tunnel},
    rt::TokioIo,
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tower::{Service, ServiceExt};

use crate::{
    error::Error,
    pool::{Host, Line},
    proxy::Route,
    tls::Tls,
};

/// Most bytes of an answer that a connection holds before its reader takes them; also the limit of an answer's head.
const READ_BUFFER_BYTES_MAX: usize = 256 * 1024;
/// Silent peers are noticed by the kernel after this and a few probes.
const TCP_KEEPALIVE: Duration = Duration::from_mins(1);

/// Opens connections; cheap to clone, the TLS part is shared.
#[derive(Clone)]
pub(crate) struct Connector {
    http: HttpConnector,
    tls: Tls,
}

impl Connector {
    pub(crate) fn new() -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(TCP_KEEPALIVE));
        Self { http, tls: Tls::default() }
    }

    /// A new line to the host. The caller limits the time.
    pub(crate) async fn open(&self, host: &Host, open: Arc<AtomicUsize>) -> Result<Line, Error> {
        let tcp = self.tcp(host).await?;
        if !host.is_tls {
            return handshake(tcp, host, open).await;
        }
        let fail = |cause: String| Error::Connect { host: host.name().to_owned(), cause };
        let tls = self.tls.connector().await.map_err(&fail)?;
        let name = host.origin.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(|error| fail(error.to_string()))?;
        let stream = tls.connect(name, tcp).await.map_err(|error| Error::connect(host.name(), &error))?;
        handshake(stream, host, open).await
    }

    async fn tcp(&self, host: &Host) -> Result<TcpStream, Error> {
        let fail = |error: &dyn std::error::Error| Error::connect(host.name(), error);
        let io = match &host.route {
            Route::Direct => self.dial(host.origin.clone()).await.map_err(|error| fail(&error))?,
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

    async fn dial(&self, uri: Uri) -> Result<TokioIo<TcpStream>, impl std::error::Error + use<>> {
        self.http.clone().oneshot(uri).await
    }
}

fn plain_proxy(proxy: &Uri, host: &Host) -> Result<Uri, Error> {
    if proxy.scheme_str() == Some("http") {
        return Ok(proxy.clone());
    }
    let cause = format!("a proxy is reached over http, not {}", proxy.scheme_str().unwrap_or("an unnamed scheme"));
    Err(Error::Connect { host: host.name().to_owned(), cause })
}

async fn handshake<S>(stream: S, host: &Host, open: Arc<AtomicUsize>) -> Result<Line, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let heard = Arc::new(AtomicBool::new(false));
    let io = TokioIo::new(Listening { stream, heard: heard.clone() });
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(READ_BUFFER_BYTES_MAX)
        .handshake(io)
        .await
        .map_err(|error| Error::connect(host.name(), &error))?;
    // Its error reaches whoever waits on the sender or the body.
    let task = tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(Line::new(sender, task.abort_handle(), heard, open))
}

/// A stream that notes when bytes arrive: what tells a connection that died idle from an answer that broke off.
struct Listening<S> {
    stream: S,
    heard: Arc<AtomicBool>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Listening<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.heard.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Listening<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
