//! Header fields by which proxies say whom they speak for: X-Forwarded-For, Forwarded (RFC 7239), X-Real-IP. Read from
//! the right, where the nearest proxy wrote, so that what stands to the left can change nothing of what stands to the
//! right of it. Tells an address and nothing else of who the client is.

use std::net::{IpAddr, Ipv6Addr};

use highper_wire::http1::Head;

use super::Trusted;

/// The client of a request that came from `peer`. What is said is believed as long as a trusted proxy said it: the
/// first address from the right that is not trusted is the client, and what cannot be read ends the walk at the last
/// proxy. The first of the three fields that is there counts, in the order X-Forwarded-For, Forwarded, X-Real-IP.
pub fn client(peer: Option<IpAddr>, trusted: &Trusted, head: &Head<'_>) -> Option<IpAddr> {
    let (chain, list, real) =
        (fields(head, "x-forwarded-for"), fields(head, "forwarded"), fields(head, "x-real-ip"));
    let said: &mut dyn Iterator<Item = Option<IpAddr>> = match (chain.is_empty(), list.is_empty()) {
        (false, _) => {
            &mut chain.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')).filter_map(entry)
        }
        (true, false) => {
            &mut list.iter().rev().flat_map(|line| Elements { rest: Some(line) }).filter_map(element)
        }
        // It holds one address: a second one was not written by the proxy that wrote the first.
        (true, true) => &mut real.iter().rev().take(1).map(|line| node(line.trim_ascii())),
    };
    walk(peer, trusted, said)
}

fn walk(
    peer: Option<IpAddr>,
    trusted: &Trusted,
    said: &mut dyn Iterator<Item = Option<IpAddr>>,
) -> Option<IpAddr> {
    let mut client = peer;
    while trusted.believes(client) {
        match said.next() {
            Some(Some(ip)) => client = Some(ip),
            Some(None) | None => break,
        }
    }
    client
}

/// The lines of a field, in order.
fn fields<'a>(head: &Head<'a>, name: &str) -> Vec<&'a [u8]> {
    head.headers(name).collect()
}

/// An entry of X-Forwarded-For: `None` if it is empty, which RFC 9110 §5.6.1 tells recipients to pass over.
fn entry(raw: &[u8]) -> Option<Option<IpAddr>> {
    let raw = raw.trim_ascii();
    (!raw.is_empty()).then(|| node(raw))
}

/// The elements of a line of Forwarded, the last one first. Quotes are counted from the right: one that is missing on
/// the left hides nothing of what the nearest proxy wrote.
struct Elements<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let mut is_quoted = false;
        let comma = rest.iter().rposition(|byte| {
            is_quoted ^= *byte == b'"';
            *byte == b',' && !is_quoted
        });
        self.rest = comma.map(|at| &rest[..at]);
        Some(comma.map_or(rest, |at| &rest[at + 1..]))
    }
}

/// An element of Forwarded: the node of its `for`, which it has once.
fn element(raw: &[u8]) -> Option<Option<IpAddr>> {
    let raw = raw.trim_ascii();
    if raw.is_empty() {
        return None;
    }
    let mut is_quoted = false;
    let pairs = raw.split(|byte| {
        is_quoted ^= *byte == b'"';
        *byte == b';' && !is_quoted
    });
    let mut nodes = pairs.filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        pair[..at].trim_ascii().eq_ignore_ascii_case(b"for").then(|| pair[at + 1..].trim_ascii())
    });
    match (nodes.next(), nodes.next()) {
        (Some(value), None) => Some(node(unquoted(value))),
        (Some(_), Some(_)) | (None, _) => Some(None),
    }
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`, with a zone
/// (RFC 4007 §11) that is left out. `None` is anything else: `unknown`, `_hidden` (RFC 7239 §6), or no address at all.
fn node(raw: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(raw).ok()?;
    let ip = match text.strip_prefix('[') {
        Some(rest) => {
            let (inside, port) = rest.split_once(']')?;
            if !port.is_empty() {
                is_port(port.strip_prefix(':')?).then_some(())?;
            }
            IpAddr::V6(v6(inside)?)
        }
        None => match text.split_once(':') {
            // Only IPv6 has a second colon.
            Some((host, port)) if !port.contains(':') => {
                is_port(port).then_some(())?;
                IpAddr::V4(host.parse().ok()?)
            }
            Some(_) => IpAddr::V6(v6(text)?),
            None => IpAddr::V4(text.parse().ok()?),
        },
    };
    let ip = ip.to_canonical();
    // Nobody is at 0.0.0.0 or `::`.
    (!ip.is_unspecified()).then_some(ip)
}

fn v6(text: &str) -> Option<Ipv6Addr> {
    let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    let is_zone = |zone: &str| !zone.is_empty() && zone.bytes().all(is_of_name);
    if zone.is_none_or(is_zone) { address.parse().ok() } else { None }
}

/// A number, or a name that hides one (RFC 7239 §6.2).
fn is_port(port: &str) -> bool {
    match port.strip_prefix('_') {
        Some(name) => !name.is_empty() && name.bytes().all(is_of_name),
        None => (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use highper_wire::http1::{Event, Limits, Reader};

    use super::*;
    use crate::config::{Bounds, Cidr, Value};

    const PROXY: &str = "10.0.0.1";

    /// Who is behind `peer`, by these header lines; the proxies are in 10.0.0.0/8 and fd00::/8.
    #[track_caller]
    fn behind(peer: &str, lines: &[&str]) -> String {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|raw| Cidr::parse(raw, &Bounds::ANY).unwrap());
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", lines.join("\r\n") + "\r\n");
        let request = request.replace("\r\n\r\n\r\n", "\r\n\r\n");
        let mut reader = Reader::new();
        match reader.next(&Limits::default(), &mut request.as_bytes()) {
            Ok(Some(Event::Request(head))) => {
                client(Some(peer.parse().unwrap()), &Trusted::new(&networks), &head).unwrap().to_string()
            }
            other => panic!("{other:?} of {request:?}"),
        }
    }

    #[test]
    fn p1_the_walk_ends_at_the_first_who_is_not_trusted() {
        let cases: [(&[&str], &str); 14] = [
            (&["X-Forwarded-For: 203.0.113.7"], "203.0.113.7"),
            (&["X-Forwarded-For: 6.6.6.6, 203.0.113.7"], "203.0.113.7"),
            (&["X-Forwarded-For: 6.6.6.6, 203.0.113.7, 10.9.9.9"], "203.0.113.7"),
            (&["X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 203.0.113.7"], "203.0.113.7"),
            (
                &["X-Forwarded-For: 6.6.6.6, 203.0.113.7", "X-Forwarded-For: 10.2.0.1 , 10.1.0.1"],
                "203.0.113.7",
            ),
            (&["X-Forwarded-For: 10.3.0.1, 10.2.0.1"], "10.3.0.1"),
            (&["X-Forwarded-For: 6.6.6.6,, ,203.0.113.7 ,"], "203.0.113.7"),
            (&["Forwarded: for=6.6.6.6, for=203.0.113.7;proto=https;by=10.0.0.1"], "203.0.113.7"),
            (
                &["Forwarded: for=6.6.6.6", "forwarded: proto=http; FOR=\"203.0.113.7:80\", for=10.2.3.4"],
                "203.0.113.7",
            ),
            (&["X-Real-IP: 203.0.113.7"], "203.0.113.7"),
            (&["X-Real-IP: 6.6.6.6", "X-Real-IP: 203.0.113.7"], "203.0.113.7"),
            (&["X-Real-IP: 6.6.6.6", "Forwarded: for=203.0.113.7"], "203.0.113.7"),
            (
                &["Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6", "X-Forwarded-For: 203.0.113.7"],
                "203.0.113.7",
            ),
            (&["X-Forwarded-Host: 6.6.6.6", "Via: 6.6.6.6", "X-Client-IP: 6.6.6.6"], PROXY),
        ];
        for (lines, expected) in cases {
            assert_eq!(behind(PROXY, lines), expected, "{lines:?}");
            assert_eq!(behind("198.51.100.1", lines), "198.51.100.1", "{lines:?} of a peer nobody trusts");
        }
    }

    #[test]
    fn p1_every_form_of_an_address_is_read() {
        let v6 = "2001:db8::7";
        for (text, expected) in [
            ("203.0.113.7:4711", "203.0.113.7"),
            ("203.0.113.7:_hidden", "203.0.113.7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            (v6, v6),
            ("2001:DB8:0:0::7", v6),
            ("[2001:db8::7]", v6),
            ("[2001:db8::7]:443", v6),
            ("[2001:db8::7]:_p0", v6),
            ("fe80::7%eth0", "fe80::7"),
            ("[fe80::7%eth0.1]:80", "fe80::7"),
        ] {
            assert_eq!(behind(PROXY, &[&format!("X-Forwarded-For: {text}, fd00::1")]), expected, "{text}");
            assert_eq!(behind(PROXY, &[&format!("Forwarded: for=\"{text}\"")]), expected, "{text}");
            assert_eq!(behind(PROXY, &[&format!("X-Real-IP: {text}")]), expected, "{text}");
        }
    }

    #[test]
    fn p1_what_cannot_be_read_ends_the_walk_at_the_last_proxy() {
        for text in [
            "unknown",
            "_hidden",
            "localhost",
            "203.0.113",
            "203.0.113.256",
            "203.0.113.7:",
            "203.0.113.7:x",
            "203.0.113.7:123456",
            "[203.0.113.7]",
            "[2001:db8::7",
            "2001:db8::7]",
            "[2001:db8::7]443",
            "[2001:db8::7]:",
            "[2001:db8::7]:-1",
            "2001:db8::7%",
            "2001:db8:::7",
            "203.0.113.7 x",
            "0.0.0.0",
            "::",
            "0:0::0",
            "0x7f.1",
            "203.0.113.07",
            "\u{2460}",
            "http://203.0.113.7",
        ] {
            let chain = format!("X-Forwarded-For: 203.0.113.7, {text}, 10.5.0.1");
            assert_eq!(behind(PROXY, &[&chain]), "10.5.0.1", "{chain}");
            let list = format!("Forwarded: for=203.0.113.7, for=\"{text}\", for=10.5.0.1");
            assert_eq!(behind(PROXY, &[&list]), "10.5.0.1", "{list}");
            let real = format!("X-Real-IP: {text}");
            assert_eq!(behind(PROXY, &[&real]), PROXY, "{real}");
        }
    }

    #[test]
    fn p1_what_the_client_wrote_hides_nothing_that_its_proxy_wrote() {
        for spoof in
            ["for=\"6.6.6.6", "for=\"6.6.6.6\\\"", "\"", "for=6.6.6.6;for=\"", ";;;", "=", ",\",\",\""]
        {
            for lines in [
                vec![format!("Forwarded: {spoof}, for=203.0.113.7")],
                vec![format!("Forwarded: {spoof}"), "Forwarded: proto=https;for=203.0.113.7".to_owned()],
            ] {
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                assert_eq!(behind(PROXY, &lines), "203.0.113.7", "{lines:?}");
            }
        }
        for element in
            ["for=1.1.1.1;for=6.6.6.6", "by=6.6.6.6", "for", "for=\"6.6.6.6", "for=6.6.6.6\"", "x=y;for = "]
        {
            assert_eq!(behind(PROXY, &[&format!("Forwarded: for=7.7.7.7, {element}")]), PROXY, "{element}");
        }
    }

    #[test]
    fn who_comes_by_the_socket_file_is_a_proxy() {
        let request = b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 6.6.6.6, 203.0.113.7\r\n\r\n";
        let mut reader = Reader::new();
        let Ok(Some(Event::Request(head))) = reader.next(&Limits::default(), &mut &request[..]) else {
            panic!("it is a request")
        };
        assert_eq!(client(None, &Trusted::default(), &head), "203.0.113.7".parse().ok());
        let mut reader = Reader::new();
        let request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let Ok(Some(Event::Request(head))) = reader.next(&Limits::default(), &mut &request[..]) else {
            panic!("it is a request")
        };
        assert_eq!(client(None, &Trusted::default(), &head), None);
    }
}
