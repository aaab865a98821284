//! The porch: sockets, connections and their bounds.
//!
//! One `current_thread` runtime per core, each with its own accept sockets (`SO_REUSEPORT`) and its own upstream connections, so that no
//! request ever changes its thread. What is behind the path has a runtime of its own.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpStream, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    entrance,
    patience::{Patient, handed},
    preface::Preface,
    render::Out,
    shard::Shard,
};

/// Connections that may wait to be accepted, per socket.
const BACKLOG: i32 = 1024;

/// Streams that one HTTP/2 connection may have open.
const STREAMS_PER_CONNECTION_MAX: u32 = 256;

/// Sockets of all runtimes: `[runtime][address]`.
pub struct Sockets {
    per_runtime: Vec<Vec<TcpListener>>,
    /// The addresses as bound (port 0 resolved).
    pub addresses: Vec<SocketAddr>,
}

impl Sockets {
    /// Binds every address for every runtime.
    ///
    /// # Errors
    /// An address that is taken or not ours; the message names it.
    pub fn bind(addresses: &[SocketAddr], runtimes: usize) -> io::Result<Self> {
        let mut bound = Vec::with_capacity(addresses.len());
        let mut per_runtime: Vec<Vec<TcpListener>> = (0..runtimes).map(|_| Vec::new()).collect();
        for wanted in addresses {
            let named = |e: io::Error| io::Error::new(e.kind(), format!("cannot listen on {wanted}: {e}"));
            // A shared bind would succeed beside another router of the same user: an exclusive one first tells.
            let probe = listener(*wanted, false).map_err(named)?;
            let address = probe.local_addr().map_err(named)?;
            if runtimes == 1 || !cfg!(unix) {
                for sockets in &mut per_runtime {
                    sockets.push(probe.try_clone().map_err(named)?);
                }
            } else {
                drop(probe);
                for sockets in &mut per_runtime {
                    sockets.push(listener(address, true).map_err(named)?);
                }
            }
            bound.push(address);
        }
        Ok(Self { per_runtime, addresses: bound })
    }
}

fn listener(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    #[cfg(unix)]
    {
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared)?;
    }
    #[cfg(not(unix))]
    let _ = shared;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Where a browser on this machine finds a router that listens at this address.
pub fn url(listening: SocketAddr) -> String {
    let host = match listening.ip() {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        named => named,
    };
    format!("http://{}", SocketAddr::new(host, listening.port()))
}

/// Starts the runtimes that serve connections; they end when `stop` is cancelled and what runs has drained.
///
/// # Errors
/// A thread or runtime that cannot be made.
pub fn start(app: &Arc<App>, sockets: Sockets, stop: &CancellationToken) -> io::Result<Vec<JoinHandle<()>>> {
    let door = Arc::new(Door { open: AtomicU32::new(0), max: app.house().config.server.max_connections });
    let threads = sockets.per_runtime.into_iter().enumerate().map(|(index, listeners)| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (app, stop, door) = (app.clone(), stop.clone(), door.clone());
        std::thread::Builder::new().name(format!("serve-{index}")).spawn(move || {
            let (shard, listeners) = {
                let _inside = runtime.enter();
                let listeners = listeners.into_iter().filter_map(|l| tokio::net::TcpListener::from_std(l).ok()).collect();
                (Arc::new(Shard::new(app)), listeners)
            };
            runtime.block_on(serve(shard, listeners, stop, door));
        })
    });
    threads.collect()
}

/// Counts connections over all runtimes.
struct Door {
    open: AtomicU32,
    max: u32,
}

/// A connection's place; free again when dropped.
struct Place(Arc<Door>);

impl Door {
    fn enter(self: &Arc<Self>) -> Option<Place> {
        let took = self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.max).then_some(n + 1));
        took.is_ok().then(|| Place(self.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve(shard: Arc<Shard>, listeners: Vec<tokio::net::TcpListener>, stop: CancellationToken, door: Arc<Door>) {
    let graceful = Arc::new(GracefulShutdown::new());
    let mut accepting = tokio::task::JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(shard.clone(), listener, stop.clone(), door.clone(), graceful.clone()));
    }
    stop.cancelled().await;
    // Listeners close as their tasks end: new connections are refused from here on.
    while accepting.join_next().await.is_some() {}
    let limit = shard.app.house().config.server.drain_timeout;
    let Some(graceful) = Arc::into_inner(graceful) else { return };
    if timeout(limit, graceful.shutdown()).await.is_err() {
        tracing::warn!(limit_s = limit.as_secs_f64(), "connections were still busy when the drain time was over; they are closed");
    }
}

async fn accept(
    shard: Arc<Shard>,
    listener: tokio::net::TcpListener,
    stop: CancellationToken,
    door: Arc<Door>,
    graceful: Arc<GracefulShutdown>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => match door.enter() {
                Some(place) => drop(tokio::spawn(connection(shard.clone(), stream, peer, place, graceful.watcher(), stop.clone()))),
                // Closing at once is the only answer that costs nothing.
                None => drop(stream),
            },
            Err(e) => {
                // Out of file descriptors, mostly: wait until some are free again.
                tracing::warn!(error = %e, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Serves one connection to its end.
async fn connection(shard: Arc<Shard>, stream: TcpStream, peer: SocketAddr, _place: Place, watcher: Watcher, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let limits = shard.limits;
    let mut socket = net::Socket::new(stream, Some(shard.outbox.clone()));
    // Who says nothing holds a place, and keeps a router from stopping.
    let begun = stop.run_until_cancelled_owned(timeout(limits.header_timeout, Preface::read(&mut socket))).await;
    let Some(Ok(Ok((is_http2, preface)))) = begun else { return };
    let socket = TokioIo::new(Patient::new(socket, preface, limits.idle));
    let service = service_fn(move |request: http::Request<Incoming>| {
        let shard = shard.clone();
        // Boxed: what a request needs is free again while its stream runs, and a connection that waits holds nothing of it. The box is made
        // first, and a function's result is made where it goes: the future is large, and was made elsewhere and copied.
        let place = Box::new_uninit();
        Box::into_pin(Box::write(place, answer(shard, peer, request)))
    });
    let ended = if is_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX);
        // Boxed: it is the larger, and the rarer.
        Box::pin(watcher.watch(builder.serve_connection(socket, service))).await
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_header_size(limits.header_bytes_max)
            .max_buf_size(limits.header_bytes_max);
        watcher.watch(builder.serve_connection(socket, service)).await
    };
    // A client that resets its connection is no fault of ours.
    if let Err(e) = ended {
        tracing::debug!(error = %e, "a connection ended with an error");
    }
}

/// What one request is answered. Inlined, it would be made on the stack first (10 kB).
#[inline(never)]
#[expect(clippy::manual_async_fn, reason = "it is this function, not the future, that is not inlined")]
fn answer(
    shard: Arc<Shard>,
    peer: SocketAddr,
    request: http::Request<Incoming>,
) -> impl Future<Output = Result<http::Response<Out>, Infallible>> + Send {
    async move {
        let is_one_of_many = request.version() == http::Version::HTTP_2;
        let response = entrance::answer(&shard, peer, request).await;
        Ok(if is_one_of_many { response.map(|body| handed(body, shard.limits.idle)) } else { response })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_browser_is_sent_to_this_machine() {
        for (listening, there) in [
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("[::]:8080", "http://[::1]:8080"),
            ("192.168.1.7:80", "http://192.168.1.7:80"),
            ("[::1]:1", "http://[::1]:1"),
        ] {
            assert_eq!(super::url(listening.parse().expect("an address")), there);
        }
    }
}
