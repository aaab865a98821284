//! How the fake provider behaves, changed while it runs by `/control?k=v&k=v`, or for one request by a header `x-mock: k=v,k=v`.

use std::net::SocketAddr;

use clap::Args;
use serde::Serialize;

/// Where the fake provider listens and how it behaves at first.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9000")]
    pub listen: SocketAddr,
    /// The model that it lists.
    #[arg(long, default_value = "mock-model")]
    pub model: String,
    /// Behaviour: `ttft_ms gap_ms chunks chunk_bytes out_bytes err_permille err_status stamp`, as `k=v,k=v`.
    #[arg(long, default_value = "")]
    pub behaviour: String,
}

/// What an answer looks like and when it comes.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Behaviour {
    pub(super) ttft_ms: u64,
    pub(super) gap_ms: u64,
    pub(super) chunks: u64,
    pub(super) chunk_bytes: usize,
    pub(super) out_bytes: usize,
    pub(super) err_permille: u64,
    pub(super) err_status: u16,
    /// Each text chunk carries the time at which it was sent, as `@@ns@`.
    pub(super) stamp: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { ttft_ms: 0, gap_ms: 0, chunks: 50, chunk_bytes: 32, out_bytes: 400, err_permille: 0, err_status: 503, stamp: false }
    }
}

impl Behaviour {
    /// Changes what `k=v` pairs, joined by `&` or `,`, name; what is unknown or no number is left out.
    pub(super) fn apply(&mut self, pairs: &str) {
        for (name, value) in pairs.split(['&', ',']).filter_map(|pair| pair.split_once('=')) {
            let Ok(value) = value.trim().parse::<u64>() else { continue };
            match name.trim() {
                "ttft_ms" => self.ttft_ms = value,
                "gap_ms" => self.gap_ms = value,
                "chunks" => self.chunks = value,
                "chunk_bytes" => self.chunk_bytes = value as usize,
                "out_bytes" => self.out_bytes = value as usize,
                "err_permille" => self.err_permille = value,
                "err_status" => self.err_status = value as u16,
                "stamp" => self.stamp = value != 0,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Behaviour;

    #[test]
    fn pairs_change_what_they_name() {
        let mut behaviour = Behaviour::default();
        behaviour.apply("chunks=7&gap_ms=x, stamp=1,unknown=3&ttft_ms");
        assert_eq!((behaviour.chunks, behaviour.gap_ms, behaviour.stamp, behaviour.ttft_ms), (7, 0, true, 0));
    }
}
