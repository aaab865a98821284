//! A body that is made piece by piece behind the path: what makes it runs where the control plane runs, and waits for its client.

use std::fmt::Display;

use axum::body::Body;
use bytes::Bytes;
use tokio::sync::mpsc;

/// Pieces that wait for their client.
const PIECES_MAX: usize = 4;

/// The end where pieces are made; the body ends when it is dropped.
pub struct Sender(mpsc::Sender<Result<Bytes, std::io::Error>>);

/// Both ends.
pub fn channel() -> (Sender, Body) {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let pieces = futures_util::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    (Sender(sender), Body::from_stream(pieces))
}

impl Sender {
    /// Waits for room. False: the client has gone.
    pub async fn send(&self, piece: Bytes) -> bool {
        self.0.send(Ok(piece)).await.is_ok()
    }

    /// Breaks the body off, so that the client does not take it for whole.
    pub async fn broke(self, why: impl Display) {
        let _ = self.0.send(Err(std::io::Error::other(why.to_string()))).await;
    }

    /// Waits until the client has gone.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}
