//! Version 1: one line for humans to read (PP §2.1).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::FromStr;

use super::{Header, Refusal, V1_BYTES_MAX};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// Reads a line; `None` while its end has not come.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Refusal> {
    let line = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let end = line.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    match end.map(|end| (end, line[end], line.get(end + 1))) {
        None if line.len() == V1_BYTES_MAX => Err(Refusal::LineTooLong),
        None => Ok(None),
        Some((end, b'\r', Some(b'\n'))) => Ok(Some((line_of(&line[SIGNATURE.len()..end])?, end + 2))),
        Some((_, b'\r', None)) if line.len() == V1_BYTES_MAX => Err(Refusal::LineTooLong),
        Some((_, b'\r', None)) => Ok(None),
        Some(_) => Err(Refusal::BadLine),
    }
}

/// What stands behind `PROXY ` and before the end of the line.
fn line_of(line: &[u8]) -> Result<Header, Refusal> {
    // PP §2.1: whatever follows UNKNOWN is to be ignored.
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(Header::Own);
    }
    let line = str::from_utf8(line).map_err(|_| Refusal::BadLine)?;
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let (family, from, to, from_port, to_port) = (word(), word(), word(), word(), word());
    let addresses = match family {
        "TCP4" => pair::<Ipv4Addr>(from, to),
        "TCP6" => pair::<Ipv6Addr>(from, to),
        _ => None,
    };
    match (addresses, port(from_port), port(to_port), words.next()) {
        (Some(ip), Some(port), Some(_), None) => Ok(Header::Client(SocketAddr::new(ip, port))),
        _ => Err(Refusal::BadLine),
    }
}

/// The first of two addresses, if both are addresses of the family.
fn pair<A: FromStr + Into<IpAddr>>(from: &str, to: &str) -> Option<IpAddr> {
    to.parse::<A>().ok()?;
    from.parse::<A>().ok().map(Into::into)
}

/// A decimal number without zeros in front.
fn port(word: &str) -> Option<u16> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if is_plain { word.parse().ok() } else { None }
}
