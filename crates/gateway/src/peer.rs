//! Where a request comes from.

use std::net::{IpAddr, SocketAddr};

use config::AddressBlock;
use http::{HeaderMap, HeaderName, header::FORWARDED};

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// A client's address, and how sure of it we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The socket's peer, or what the last trusted proxy says.
    pub address: IpAddr,
    /// The request carries forwarding headers.
    pub forwarded: bool,
    /// The socket's peer is a trusted proxy.
    pub trusted: bool,
}

impl Peer {
    /// Reads `X-Forwarded-For` from the right, as far as the proxies are trusted; from anybody else it is only noticed.
    pub fn of(headers: &HeaderMap, socket: SocketAddr, proxies: &[AddressBlock]) -> Self {
        let direct = socket.ip().to_canonical();
        let forwarded = [&FORWARDED_FOR, &FORWARDED, &REAL_IP].into_iter().any(|name| headers.contains_key(name));
        let is_trusted = |address: IpAddr| proxies.iter().any(|block| block.contains(address));
        if !is_trusted(direct) {
            return Self { address: direct, forwarded, trusted: false };
        }
        let hops: Vec<&str> = headers.get_all(&FORWARDED_FOR).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).collect();
        let mut address = direct;
        for hop in hops.iter().rev() {
            let Ok(said) = hop.trim().parse::<IpAddr>() else { break };
            address = said.to_canonical();
            if !is_trusted(address) {
                break;
            }
        }
        Self { address, forwarded, trusted: true }
    }
}
