//! Where the kernel writes the addresses of those who come: one place for each accept in flight of a listener. Owns
//! the memory and knows which places the kernel holds. Never submits and never looks at a completion.
#![expect(unsafe_code, reason = "the kernel writes addresses while it accepts")]

use std::cell::UnsafeCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The accepts of one listener.
pub(super) struct Arrivals {
    places: Box<[UnsafeCell<Arrival>]>,
    /// A bit for each place that the kernel holds.
    in_flight: u32,
}

/// What one accept writes.
#[derive(Clone, Copy)]
struct Arrival {
    /// `struct sockaddr_in` or `sockaddr_in6`.
    address: [u8; ADDRESS_BYTES],
    len: libc::socklen_t,
}

/// What an entry of the submission queue points to.
pub(super) struct Pointers {
    pub address: *mut libc::sockaddr,
    pub len: *mut libc::socklen_t,
}

/// The longest address of the internet; a longer one is cut by the kernel.
const ADDRESS_BYTES: usize = size_of::<libc::sockaddr_in6>();

impl Arrivals {
    /// Room for as many accepts at once, at most 31.
    pub fn new(places: u32) -> Self {
        assert!(places < u32::BITS, "a bit for each place");
        let arrival = |_| UnsafeCell::new(Arrival { address: [0; ADDRESS_BYTES], len: 0 });
        Self { places: (0..places).map(arrival).collect(), in_flight: 0 }
    }

    /// How many accepts are in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.count_ones()
    }

    /// The places that the kernel holds now.
    pub fn held(&self) -> impl Iterator<Item = u32> + use<> {
        let in_flight = self.in_flight;
        (0..u32::BITS).filter(move |place| in_flight & 1 << place != 0)
    }

    /// Whether the kernel holds this place.
    pub fn is_held(&self, place: u32) -> bool {
        self.held().any(|held| held == place)
    }

    /// Lends a place to the kernel until [`Arrivals::take`]; `None` if it holds all of them.
    pub fn lend(&mut self) -> Option<(u32, Pointers)> {
        let place = self.in_flight.trailing_ones();
        let arrival = self.places.get(place as usize)?.get();
        self.in_flight |= 1 << place;
        // SAFETY: the kernel does not hold the place and `self` is borrowed alone, so nobody else looks at it.
        let pointers = unsafe {
            // An accept that fails writes nothing: then there is no family.
            *arrival = Arrival { address: [0; ADDRESS_BYTES], len: ADDRESS_BYTES as libc::socklen_t };
            Pointers { address: (&raw mut (*arrival).address).cast(), len: &raw mut (*arrival).len }
        };
        Some((place, pointers))
    }

    /// Takes a place back whose accept has completed; the address of who came, if it is one of the internet.
    pub fn take(&mut self, place: u32) -> Option<SocketAddr> {
        assert!(self.is_held(place), "an accept completes once");
        self.in_flight &= !(1 << place);
        // SAFETY: its accept has completed, so the kernel has let go of the place. Any bytes are an arrival.
        let arrival = unsafe { *self.places[place as usize].get() };
        arrival.address()
    }

    /// For a driver that ends while the kernel holds places: better lost than written to when somebody else has
    /// them.
    pub fn leak(&mut self) {
        std::mem::forget(std::mem::take(&mut self.places));
    }
}

impl Arrival {
    fn address(&self) -> Option<SocketAddr> {
        let bytes = &self.address[..(self.len as usize).min(ADDRESS_BYTES)];
        let (family, rest) = bytes.split_first_chunk::<2>()?;
        let (port, rest) = rest.split_first_chunk::<2>()?;
        let ip = match i32::from(u16::from_ne_bytes(*family)) {
            libc::AF_INET => IpAddr::V4(Ipv4Addr::from(*rest.first_chunk::<4>()?)),
            // Behind the flow label.
            libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(*rest.get(4..)?.first_chunk::<16>()?)),
            _ => return None,
        };
        Some(SocketAddr::new(ip.to_canonical(), u16::from_be_bytes(*port)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_lent_once_until_it_is_taken_back() {
        let mut arrivals = Arrivals::new(2);
        for place in [0, 1] {
            assert_eq!(arrivals.lend().map(|(at, _)| at), Some(place));
        }
        assert!(arrivals.lend().is_none(), "the kernel holds both");
        assert_eq!(arrivals.held().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(arrivals.take(0), None, "the kernel wrote nothing");
        assert!(!arrivals.is_held(0) && arrivals.is_held(1) && !arrivals.is_held(32));
        assert_eq!((arrivals.lend().map(|(at, _)| at), arrivals.in_flight()), (Some(0), 2));
    }

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let arrival = |family: i32, rest: &[u8], len: u32| {
            let mut address = [0; ADDRESS_BYTES];
            address[..2].copy_from_slice(&(family as u16).to_ne_bytes());
            address[2..2 + rest.len()].copy_from_slice(rest);
            Arrival { address, len }.address().map(|address| address.to_string())
        };
        let v4 = [0x1f, 0x90, 127, 1, 2, 3];
        assert_eq!(arrival(libc::AF_INET, &v4, 16).as_deref(), Some("127.1.2.3:8080"));
        let mut v6 = [0; 26];
        (v6[1], v6[21]) = (80, 1);
        assert_eq!(arrival(libc::AF_INET6, &v6, 28).as_deref(), Some("[::1]:80"));
        (v6[16], v6[17]) = (0xff, 0xff);
        assert_eq!(arrival(libc::AF_INET6, &v6, 28).as_deref(), Some("0.0.0.1:80"), "IPv4 written as IPv6");
        for (family, len) in
            [(libc::AF_UNIX, 2), (libc::AF_INET, 2), (libc::AF_INET6, 16), (libc::AF_UNIX, 110)]
        {
            assert_eq!(arrival(family, &v4, len), None, "family {family}, {len} bytes");
        }
    }

    #[test]
    #[should_panic(expected = "an accept completes once")]
    fn a_place_that_was_not_lent_is_not_taken() {
        Arrivals::new(1).take(0);
    }
}
