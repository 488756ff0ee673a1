//! Where a client is: its address as a connection keeps it, and whose word on it is believed. Never reads a socket; no other part of who somebody is comes from here.

pub mod forwarded;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::config::Cidr;

/// The address of a client, or none, in 16 bytes: IPv4 is kept as `::ffff:a.b.c.d`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Address([u8; 16]);

impl Address {
    /// No address: of a peer behind a socket file. Kept as `::`, which is nobody's.
    pub const NONE: Self = Self([0; 16]);

    /// The address of a peer, if it has one.
    pub fn of(ip: Option<IpAddr>) -> Self {
        ip.map_or(Self::NONE, |ip| Self(mapped(ip).octets()))
    }

    /// The address; an IPv4 address is never given as IPv6.
    pub fn get(self) -> Option<IpAddr> {
        (self != Self::NONE).then(|| IpAddr::V6(Ipv6Addr::from(self.0)).to_canonical())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Some(ip) => ip.fmt(f),
            None => f.write_str("none"),
        }
    }
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// Networks of proxies whose word on a client's address is believed (REALTIME_TRUSTED_PROXIES).
#[derive(Clone, Debug, Default)]
pub struct Trusted(Box<[Cidr]>);

impl Trusted {
    /// These networks.
    pub fn new(networks: &[Cidr]) -> Self {
        Self(networks.into())
    }

    /// Whether it lies in one of the networks.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(ip))
    }

    /// Whether a peer's word is believed. A peer without an address came by the socket file: whoever may open that
    /// is a proxy of the operator's.
    pub fn believes(&self, peer: Option<IpAddr>) -> bool {
        peer.is_none_or(|ip| self.contains(ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Bounds, Value};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_comes_back_as_it_is() {
        assert_eq!(size_of::<Address>(), 16);
        for text in ["0.0.0.0", "127.0.0.1", "255.255.255.255", "::1", "2001:db8::1", "fe80::ffff:1"] {
            assert_eq!(Address::of(Some(ip(text))).get(), Some(ip(text)), "{text}");
        }
        assert_eq!(Address::of(Some(ip("::ffff:10.0.0.1"))).get(), Some(ip("10.0.0.1")));
        assert_eq!(Address::of(None).get(), None);
        assert_eq!(Address::of(Some(ip("::"))), Address::NONE, "`::` is nobody's");
    }

    #[test]
    fn whom_to_believe_is_in_the_list_or_came_by_the_socket_file() {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|raw| Cidr::parse(raw, &Bounds::ANY).unwrap());
        let trusted = Trusted::new(&networks);
        for text in ["10.255.0.1", "::ffff:10.0.0.1", "fd12::1"] {
            assert!(trusted.believes(Some(ip(text))), "{text}");
        }
        for text in ["11.0.0.1", "127.0.0.1", "::1", "fe00::1"] {
            assert!(!trusted.believes(Some(ip(text))), "{text}");
        }
        assert!(trusted.believes(None));
        assert!(!Trusted::default().believes(Some(ip("127.0.0.1"))), "an empty list trusts nobody");
    }
}
