//! Where a client is: its address as a connection keeps it, whose word on it is believed, and the key under which
//! limiters count it. Never reads a socket; no other part of who somebody is comes from here.

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

/// Under what limiters count an address: IPv4 each for itself, IPv6 by its first 64 bits, which one household or
/// machine has for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressKey([u8; 16]);

impl AddressKey {
    /// The key of an address. IPv4 written as IPv6 counts as IPv4.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            ip @ IpAddr::V4(_) => Self(mapped(ip).octets()),
            // No network has an address of `::ffff:0:0/96`, so that the two never meet.
            IpAddr::V6(ip) => Self((ip.to_bits() >> 64 << 64).to_be_bytes()),
        }
    }

    /// The bytes to hash.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
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
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

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

    /// xorshift64*.
    fn random(state: &mut u64) -> u64 {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    #[test]
    fn p4_a_million_addresses_of_one_network_are_one_key() {
        let mut state = 4;
        let network = u128::from(random(&mut state) | 1 << 61) << 64;
        let keys: HashSet<AddressKey> = (0..1_000_000)
            .map(|_| AddressKey::of(Ipv6Addr::from_bits(network | u128::from(random(&mut state))).into()))
            .collect();
        assert_eq!(keys.len(), 1, "seed 4");
        let next = AddressKey::of(Ipv6Addr::from_bits(network + (1 << 64)).into());
        assert!(!keys.contains(&next), "the network beside it is another");
    }

    #[test]
    fn p4_every_address_of_ipv4_is_a_key_however_it_is_written() {
        let mut state = 5;
        let mut keys = HashSet::new();
        for _ in 0..100_000 {
            let v4 = Ipv4Addr::from_bits(random(&mut state) as u32);
            let key = AddressKey::of(v4.into());
            assert_eq!(key, AddressKey::of(v4.to_ipv6_mapped().into()), "seed 5, {v4}");
            assert_eq!(key, AddressKey::of(Address::of(Some(v4.into())).get().unwrap()));
            keys.insert((key, v4));
        }
        let distinct: HashSet<AddressKey> = keys.iter().map(|(key, _)| *key).collect();
        assert_eq!(distinct.len(), keys.len(), "seed 5: two addresses share no key");
        assert!(!distinct.contains(&AddressKey::of(ip("::1"))), "nor does IPv6 share one with IPv4");
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
