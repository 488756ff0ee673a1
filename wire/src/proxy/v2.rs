//! Version 2: a binary header of 16 bytes, addresses and extensions (PP §2.2).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Header, Refusal, V2_REST_MAX};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and protocol, length of the rest.
pub(super) const FIXED: usize = 16;

/// Reads a header; `None` while it is not whole.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Refusal> {
    let Some(&command) = bytes.get(12) else { return Ok(None) };
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Refusal::Command(command)),
    };
    let Some(&kind) = bytes.get(13) else { return Ok(None) };
    // PP §2.2: with LOCAL the family and the addresses are to be ignored.
    let kind = match is_local {
        true => Kind::Unspecified,
        false => Kind::of(kind).ok_or(Refusal::Family(kind))?,
    };
    let Some(&[high, low]) = bytes.get(14..FIXED).and_then(<[u8]>::first_chunk) else { return Ok(None) };
    let rest = u16::from_be_bytes([high, low]);
    let len = FIXED + usize::from(rest);
    if usize::from(rest) > V2_REST_MAX {
        return Err(Refusal::TooLong(rest));
    }
    if usize::from(rest) < kind.bytes() {
        return Err(Refusal::TooShort(rest));
    }
    let Some(whole) = bytes.get(..len) else { return Ok(None) };
    if is_local || kind == Kind::Unspecified {
        // PP §2.2: everything behind the length is to be skipped.
        return Ok(Some((Header::Own, len)));
    }
    extensions(whole, FIXED + kind.bytes())?;
    Ok(Some((kind.client(&whole[FIXED..]), len)))
}

/// The combinations of family and protocol that PP §2.2 lists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unspecified,
    TcpV4,
    UdpV4,
    TcpV6,
    UdpV6,
    Unix,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            0x00 => Self::Unspecified,
            0x11 => Self::TcpV4,
            0x12 => Self::UdpV4,
            0x21 => Self::TcpV6,
            0x22 => Self::UdpV6,
            0x31 | 0x32 => Self::Unix,
            _ => return None,
        })
    }

    /// Bytes of the two addresses and ports.
    fn bytes(self) -> usize {
        match self {
            Self::Unspecified => 0,
            Self::TcpV4 | Self::UdpV4 => 2 * (4 + 2),
            Self::TcpV6 | Self::UdpV6 => 2 * (16 + 2),
            Self::Unix => 2 * 108,
        }
    }

    /// The client of the addresses that begin `bytes`; there are as many as this kind has.
    fn client(self, bytes: &[u8]) -> Header {
        let ip = match self {
            Self::TcpV4 => bytes.first_chunk::<4>().map(|ip| IpAddr::V4(Ipv4Addr::from(*ip))),
            Self::TcpV6 => bytes.first_chunk::<16>().map(|ip| IpAddr::V6(Ipv6Addr::from(*ip))),
            // PP §2.2: what is not supported counts as unspecified. A stream is no datagram.
            Self::Unspecified | Self::UdpV4 | Self::UdpV6 | Self::Unix => None,
        };
        // Both addresses, then both ports.
        let port = bytes.get(self.bytes() - 4..).and_then(|ports| ports.first_chunk::<2>());
        match (ip, port) {
            (Some(ip), Some(port)) => Header::Client(SocketAddr::new(ip, u16::from_be_bytes(*port))),
            _ => Header::Own,
        }
    }
}

/// Walks the extensions, which begin at `at`: each must end within the header, and a checksum must be right.
fn extensions(header: &[u8], mut at: usize) -> Result<(), Refusal> {
    while at < header.len() {
        let Some(&[kind, high, low]) = header[at..].first_chunk::<3>() else {
            return Err(Refusal::BadExtension);
        };
        let begin = at + 3;
        let end = begin + usize::from(u16::from_be_bytes([high, low]));
        let value = header.get(begin..end).ok_or(Refusal::BadExtension)?;
        if kind == CHECKSUM {
            let told = *value.first_chunk::<4>().filter(|_| value.len() == 4).ok_or(Refusal::BadExtension)?;
            // PP §2.2.3: of the whole header, with zeros in the place of the checksum.
            let sum = [&header[..begin], &[0; 4], &header[end..]].into_iter().fold(!0, crc32c);
            if !sum != u32::from_be_bytes(told) {
                return Err(Refusal::BadChecksum);
            }
        }
        at = end;
    }
    Ok(())
}

/// PP2_TYPE_CRC32C.
const CHECKSUM: u8 = 0x03;

/// CRC-32C (RFC 9260 appendix A), without the inversions before and behind.
fn crc32c(sum: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(sum, |sum, byte| sum >> 8 ^ TABLE[usize::from(sum as u8 ^ byte)])
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let (mut sum, mut bit) = (index as u32, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
            bit += 1;
        }
        table[index] = sum;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283, "the check value of CRC-32C");
        assert_eq!(!crc32c(!0, &[0; 32]), 0x8a91_36aa, "RFC 7143 appendix A.4");
    }
}
