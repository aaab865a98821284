//! A connection that is held for its end only.

use std::time::Duration;

use http::Uri;
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use crate::{
    client::Client,
    error::{Error, Phase},
};

/// Most bytes of a peer that speaks although nothing was asked; more end the tether.
const UNASKED_BYTES_MAX: usize = 64 * 1024;

/// A bare connection over which nothing is said. When the process at its other end dies, its system closes it, and this side knows at once.
#[derive(Debug)]
pub struct Tether(TcpStream);

impl Client {
    /// Opens one to the host and port of a URL, past any proxy: what a proxy's end would say is nothing about the host.
    ///
    /// # Errors
    /// [`Error::is_refusal`] tells whether nobody listens there.
    pub async fn tether(&self, to: &Uri, limit: Duration) -> Result<Tether, Error> {
        timeout(limit, self.connector().direct(to)).await.map_err(|_elapsed| Error::Timeout(Phase::Connect))?.map(Tether)
    }
}

impl Tether {
    /// Resolves when the other side has closed it.
    pub async fn parted(mut self) {
        let mut unasked = [0; 1024];
        let mut left = UNASKED_BYTES_MAX;
        while let Ok(read @ 1..) = self.0.read(&mut unasked).await {
            match left.checked_sub(read) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    }
}
