//! The watchman: which addresses a request may go to where somebody else than the operator names its destination.
//!
//! Names are looked up once, every address that they have must be allowed, and the connection is made to one of these very addresses.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use http::Uri;
use tokio::{net::lookup_host, time::timeout};

use crate::error::Error;

/// Where the machines of clouds ask who they are and get credentials: AWS, Azure and Alibaba, beside 169.254.169.254.
const METADATA_V4: [Ipv4Addr; 5] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
];
/// The same of AWS in IPv6, for machines and for pods.
const METADATA_V6: [Ipv6Addr; 2] = [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)];

/// How near an address is to this machine. A client that may go so far may go to everything before it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Everybody's network.
    Public,
    /// Own networks, and what is set aside for special use.
    Private,
    /// This machine.
    Loopback,
    /// The next machine on the wire.
    LinkLocal,
    /// Services that give out credentials of clouds, and what is no single machine's address: nobody may go there.
    Barred,
}

impl Reach {
    /// Of one address. One of IPv4 within one of IPv6 counts as what it is.
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => embedded(ip).map_or_else(|| Self::of_v6(ip), Self::of_v4),
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Self {
        match ip.octets() {
            _ if METADATA_V4.contains(&ip) => Self::Barred,
            [0 | 224..=255, ..] | [192, 0, 0, _] => Self::Barred,
            [127, ..] => Self::Loopback,
            [169, 254, ..] => Self::LinkLocal,
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] | [198, 18 | 19, ..] => Self::Private,
            _ if ip.is_documentation() => Self::Private,
            _ => Self::Public,
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Self {
        match ip.segments() {
            _ if METADATA_V6.contains(&ip) || ip.is_unspecified() || ip.is_multicast() => Self::Barred,
            _ if ip.is_loopback() => Self::Loopback,
            _ if ip.is_unicast_link_local() => Self::LinkLocal,
            // Teredo, whose end nobody sees, and the addresses of examples.
            [0x2001, 0 | 0xdb8, ..] => Self::Private,
            [0x2000..=0x3fff, ..] => Self::Public,
            _ => Self::Private,
        }
    }

    fn allows(self, ip: IpAddr) -> bool {
        let reach = Self::of(ip);
        reach <= self && reach != Self::Barred
    }

    /// Of the address of a host that is nearest; public where it has none that this machine knows within `limit`.
    pub(crate) async fn of_host(uri: &Uri, limit: Duration) -> Self {
        let found = timeout(limit, look_up(uri)).await;
        found.into_iter().flatten().flatten().map(|address| Self::of(address.ip())).max().unwrap_or(Self::Public)
    }

    /// The addresses of a host, of which every one is allowed.
    pub(crate) async fn pin(self, uri: &Uri) -> Result<Vec<SocketAddr>, Error> {
        let found = look_up(uri).await.map_err(|error| Error::connect(name(uri), &error))?;
        found.iter().try_for_each(|address| self.check(uri, address.ip()))?;
        Ok(found)
    }

    /// Of a host that a proxy looks up, what can be seen here: an address instead of a name.
    pub(crate) fn check_literal(self, uri: &Uri) -> Result<(), Error> {
        bare(uri).parse().map_or(Ok(()), |ip| self.check(uri, ip))
    }

    fn check(self, uri: &Uri, ip: IpAddr) -> Result<(), Error> {
        if self.allows(ip) { Ok(()) } else { Err(Error::Barred { host: name(uri).to_owned(), address: ip }) }
    }
}

/// The address of IPv4 that one of IPv6 stands for: mapped, compatible, of a translator, or of a 6to4 relay.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => v4(high, low),
        _ => None,
    }
}

async fn look_up(uri: &Uri) -> std::io::Result<Vec<SocketAddr>> {
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    Ok(lookup_host((bare(uri), port)).await?.collect())
}

/// The host without the brackets of an IPv6 address.
fn bare(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

fn name(uri: &Uri) -> &str {
    uri.authority().map_or("", |authority| authority.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_near_addresses_are() {
        let cases: [(Reach, &[&str]); 5] = [
            (Reach::Public, &["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]),
            (
                Reach::Private,
                &[
                    "10.0.0.1",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.168.1.1",
                    "100.64.0.1",
                    "198.18.0.1",
                    "203.0.113.1",
                    "fd12::1",
                    "fec0::1",
                ],
            ),
            (
                Reach::Private,
                &["::ffff:10.0.0.1", "::10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1", "2001::1", "2001:db8::1", "64:ff9b:1::1"],
            ),
            (Reach::Loopback, &["127.0.0.1", "127.255.0.1", "::1", "::ffff:127.0.0.1", "2002:7f00:1::"]),
            (
                Reach::Barred,
                &["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00:ec2::254", "168.63.129.16", "100.100.100.200"],
            ),
        ];
        for (reach, addresses) in cases {
            for address in addresses {
                assert_eq!(Reach::of(address.parse().unwrap()), reach, "{address}");
            }
        }
        for address in ["169.254.1.1", "fe80::1", "::ffff:169.254.1.1"] {
            assert_eq!(Reach::of(address.parse().unwrap()), Reach::LinkLocal, "{address}");
        }
        for address in ["0.0.0.0", "0.1.2.3", "192.0.0.192", "224.0.0.1", "255.255.255.255", "240.0.0.1", "::", "ff02::1", "::ffff:0.0.0.0"]
        {
            assert_eq!(Reach::of(address.parse().unwrap()), Reach::Barred, "{address}");
        }
    }

    #[test]
    fn whoever_may_go_far_may_go_near_and_nobody_to_what_is_barred() {
        let ips = ["1.1.1.1", "10.0.0.1", "127.0.0.1", "169.254.1.1", "169.254.169.254"].map(|ip| ip.parse().unwrap());
        for (at, reach) in [Reach::Public, Reach::Private, Reach::Loopback, Reach::LinkLocal].into_iter().enumerate() {
            assert_eq!(ips.map(|ip| reach.allows(ip)), [0, 1, 2, 3, 9].map(|near| near <= at), "{reach:?}");
        }
        assert!(!Reach::Barred.allows(ips[4]));
    }

    #[tokio::test]
    async fn a_host_is_as_near_as_its_nearest_address() {
        for (url, reach) in
            [("http://[::1]:1/", Reach::Loopback), ("http://localhost/", Reach::Loopback), ("https://10.1.1.1", Reach::Private)]
        {
            assert_eq!(Reach::of_host(&url.parse().unwrap(), Duration::from_secs(5)).await, reach, "{url}");
        }
        assert_eq!(Reach::of_host(&"http://nobody.invalid/".parse().unwrap(), Duration::from_millis(200)).await, Reach::Public);
    }
}
