//! A connection whose other side has to take what it asked for.
//!
//! Nothing of an answer is read ahead of its caller, so one that stops reading holds up the upstream, and holds its connection and its
//! place there for as long as it likes. When it has taken nothing for a while, its connection is closed as if it had hung up. On HTTP/2 it
//! may hold up one stream and read all others; so there each answer that comes from an upstream is handed over by a task, which lets go.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use journey::BodyError;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
    time::{Sleep, sleep, timeout},
};

use crate::{preface::Preface, render::Out};

/// Frames that wait to be taken by a caller of HTTP/2, besides those in its connection.
const FRAMES_WAITING_MAX: usize = 1;

const TAKES_NOTHING: &str = "the caller takes nothing of its answer";

/// A socket that fails when its peer has taken nothing for too long.
pub(crate) struct Patient {
    socket: net::Socket,
    /// What was read of it already.
    preface: Preface,
    limit: Duration,
    /// Runs while something waits to be taken.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    pub(crate) fn new(socket: net::Socket, preface: Preface, limit: Duration) -> Self {
        Self { socket, preface, limit, waiting: None }
    }

    /// Lets what was written pass, and counts the time while nothing was.
    fn wait<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        waiting.as_mut().poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, TAKES_NOTHING)))
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // With what follows, as if nothing had been read: a reader takes a short read for all there is, and makes room for more.
        let gave = self.preface.give(into);
        match Pin::new(&mut self.socket).poll_read(cx, into) {
            Poll::Pending if gave => Poll::Ready(Ok(())),
            read => read,
        }
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.wait(cx, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.wait(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.socket).poll_shutdown(cx);
        self.wait(cx, shut)
    }
}

/// The end of an answer that a caller of HTTP/2 takes from.
pub struct Handed {
    /// `None` is the end; a channel that ends without it was let go.
    taken: mpsc::Receiver<Option<Result<Frame<Bytes>, BodyError>>>,
    is_over: bool,
}

/// The answer as a caller of HTTP/2 may have it: one that comes from an upstream is let go when nothing of it was taken for `limit`.
pub(crate) fn handed(body: Out, limit: Duration) -> Out {
    // What has a length is in memory or on the disk, and holds up nobody.
    if body.is_end_stream() || body.size_hint().exact().is_some() {
        return body;
    }
    let (given, taken) = mpsc::channel(FRAMES_WAITING_MAX);
    tokio::spawn(hand_over(body, given, limit));
    Out::Handed(Handed { taken, is_over: false })
}

async fn hand_over(mut body: Out, given: mpsc::Sender<Option<Result<Frame<Bytes>, BodyError>>>, limit: Duration) {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = given.closed() => return,
        };
        let is_end = frame.is_none();
        if !matches!(timeout(limit, given.send(frame)).await, Ok(Ok(()))) || is_end {
            return;
        }
    }
}

impl Body for Handed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let frame = ready!(self.taken.poll_recv(cx)).unwrap_or_else(|| Some(Err(TAKES_NOTHING.into())));
        self.is_over = !matches!(frame, Some(Ok(_)));
        Poll::Ready(frame)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// Both ends of a connection of the loopback.
    async fn pair(limit: Duration) -> (Patient, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (Patient::new(net::Socket::new(ours.unwrap(), None), Preface::default(), limit), theirs.unwrap().0)
    }

    const LIMIT: Duration = Duration::from_millis(200);
    /// More than the buffers of both sockets hold.
    const TOO_MUCH: usize = 64 << 20;

    #[tokio::test]
    async fn who_takes_nothing_is_left() {
        let (mut ours, theirs) = pair(LIMIT).await;
        let error = ours.write_all(&vec![0; TOO_MUCH]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(theirs);
    }

    #[tokio::test]
    async fn who_takes_a_little_at_a_time_gets_all() {
        let (mut ours, mut theirs) = pair(Duration::from_mins(1)).await;
        let writing = tokio::spawn(async move { ours.write_all(&vec![7; TOO_MUCH]).await.map(|()| drop(ours)) });
        let (mut some, mut taken) = (vec![0; 1 << 20], 0);
        loop {
            match theirs.read(&mut some).await.unwrap() {
                0 => break,
                count => taken += count,
            }
        }
        assert_eq!(taken, TOO_MUCH);
        writing.await.unwrap().unwrap();
    }
}
