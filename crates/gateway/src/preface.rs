//! What a connection speaks, told by how it begins.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

/// What every connection of HTTP/2 begins with, and none of HTTP/1.1 (RFC 9113, section 3.4).
const HTTP2: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first bytes of a connection, which are to be read with what follows them.
#[derive(Default)]
pub(crate) struct Preface {
    bytes: [u8; HTTP2.len()],
    given: usize,
    length: usize,
}

impl Preface {
    /// Reads as many bytes as tell what the connection speaks; returns whether it is HTTP/2.
    ///
    /// # Errors
    /// What reading fails with.
    pub(crate) async fn read(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<(bool, Self)> {
        let mut preface = Self::default();
        while preface.length < HTTP2.len() && HTTP2.starts_with(preface.left()) {
            let count = socket.read(&mut preface.bytes[preface.length..]).await?;
            if count == 0 {
                return Ok((false, preface));
            }
            preface.length += count;
        }
        Ok((preface.left() == HTTP2, preface))
    }

    /// Gives what is left of it and finds room; returns whether that was anything.
    pub(crate) fn give(&mut self, into: &mut ReadBuf<'_>) -> bool {
        let count = self.left().len().min(into.remaining());
        into.put_slice(&self.left()[..count]);
        self.given += count;
        count > 0
    }

    fn left(&self) -> &[u8] {
        &self.bytes[self.given..self.length]
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use super::*;

    /// Bytes of which at most so many are read at once.
    struct Pieces<'a>(&'a [u8], usize);

    impl AsyncRead for Pieces<'_> {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let (piece, rest) = self.0.split_at(self.1.min(self.0.len()).min(into.remaining()));
            into.put_slice(piece);
            self.0 = rest;
            Poll::Ready(Ok(()))
        }
    }

    /// What the bytes are taken for, come in such pieces, and what is to be read then.
    async fn told(bytes: &[u8], piece: usize) -> (bool, Vec<u8>) {
        let mut socket = Pieces(bytes, piece);
        let (is_http2, mut preface) = Preface::read(&mut socket).await.unwrap();
        let (mut all, mut room) = (Vec::new(), [0; 7]);
        let mut into = ReadBuf::new(&mut room);
        while preface.give(&mut into) {
            all.extend_from_slice(into.filled());
            into.clear();
        }
        all.extend_from_slice(socket.0);
        (is_http2, all)
    }

    #[tokio::test]
    async fn http2_is_told_from_its_preface_however_it_is_split() {
        let mut settings = HTTP2.to_vec();
        settings.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
        for piece in [1, 2, 5, 23, 100] {
            assert_eq!(told(&settings, piece).await, (true, settings.clone()), "in pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn what_is_not_the_whole_preface_is_http1() {
        for bytes in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r", "PRI * HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\nhost: a\r\n\r\n", "\0\0"] {
            for piece in [1, 3, 100] {
                assert_eq!(told(bytes.as_bytes(), piece).await, (false, bytes.as_bytes().to_vec()), "{bytes:?} in pieces of {piece}");
            }
        }
    }
}
