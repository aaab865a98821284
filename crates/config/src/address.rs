//! Blocks of addresses, as proxies and allow-lists are named.

use std::fmt;
use std::net::IpAddr;

use crate::setting::Setting;

/// An address, or a block of them in CIDR form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressBlock {
    address: IpAddr,
    prefix_bits: u8,
}

impl AddressBlock {
    /// Whether `address` is in the block. An IPv4 address that came through an IPv6 socket counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                same_start(u128::from(own.to_bits()), u128::from(other.to_bits()), 32 - u32::from(self.prefix_bits))
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => same_start(own.to_bits(), other.to_bits(), 128 - u32::from(self.prefix_bits)),
            _ => false,
        }
    }
}

fn same_start(a: u128, b: u128, ignored_bits: u32) -> bool {
    ignored_bits >= 128 || (a ^ b) >> ignored_bits == 0
}

impl Setting for AddressBlock {
    fn allowed() -> String {
        "an address or a block such as 10.0.0.0/8".to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address = IpAddr::from_text(address)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = prefix.map_or(Some(most), |p| p.parse().ok().filter(|bits| *bits <= most))?;
        Some(Self { address, prefix_bits })
    }
}

impl fmt::Display for AddressBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_what_starts_like_them() {
        for (block, inside, outside) in [
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.1"),
            ("192.168.1.7", "192.168.1.7", "192.168.1.8"),
            ("0.0.0.0/0", "8.8.8.8", "::1"),
            ("fd00::/8", "fdff::1", "fe80::1"),
            ("::/0", "2001:db8::1", "1.2.3.4"),
            ("127.0.0.1", "::ffff:127.0.0.1", "::1"),
        ] {
            let parsed = AddressBlock::from_text(block).unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{block} {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{block} {outside}");
        }
        for text in ["10.0.0.0/33", "::/129", "10.0.0/8", "x", "10.0.0.0/-1"] {
            assert_eq!(AddressBlock::from_text(text), None, "{text}");
        }
    }
}
