//! Meaning of the fields that decide where a request ends and what becomes of the connection (RFC 9112 §6, §9).
//! Here live the rules against request smuggling. Never keeps a field's bytes.

use super::head::{BodyKind, Version};
use super::{Limits, Refusal};

/// Gathers what the fields of one head say, field by field, in order.
#[derive(Debug, Clone)]
pub(super) struct Framing {
    version: Version,
    host_seen: bool,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    upgrade_option: bool,
    upgrade_field: bool,
    expects_continue: bool,
}

/// What a whole head says beyond its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) body: BodyKind,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
    pub(super) wants_upgrade: bool,
}

impl Framing {
    pub(super) fn new(version: Version) -> Self {
        Self {
            version,
            host_seen: false,
            length: None,
            chunked: false,
            close: false,
            keep_alive: false,
            upgrade_option: false,
            upgrade_field: false,
            expects_continue: false,
        }
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Takes one field; `name` is a token and `value` is trimmed.
    pub(super) fn on_field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.on_host(value)?,
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade_field |= !value.is_empty(),
            10 if name.eq_ignore_ascii_case(b"connection") => self.on_connection(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.on_content_length(value)?,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.on_transfer_encoding(value)?,
            _ => {}
        }
        Ok(())
    }

    /// Judges the head as a whole, after its last field.
    pub(super) fn finish(&self, limits: &Limits) -> Result<Facts, Refusal> {
        if self.version == Version::Http11 && !self.host_seen {
            return Err(Refusal::HostMissing);
        }
        let body = match (self.chunked, self.length) {
            (true, _) => BodyKind::Chunked,
            (false, None | Some(0)) => BodyKind::None,
            (false, Some(len)) if len > limits.body_bytes_max => return Err(Refusal::BodyTooLarge),
            (false, Some(len)) => BodyKind::Length(len),
        };
        let is_11 = self.version == Version::Http11;
        // RFC 9110 §7.8: an upgrade asked for in HTTP/1.0 is ignored.
        let wants_upgrade = is_11 && self.upgrade_option && self.upgrade_field;
        Ok(Facts {
            body,
            // A peer that asked for another protocol may already speak it: only a 101 may keep that connection.
            keep_alive: !self.close && (is_11 || self.keep_alive) && !wants_upgrade,
            expects_continue: is_11 && self.expects_continue && body != BodyKind::None,
            wants_upgrade,
        })
    }

    fn on_host(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.host_seen {
            return Err(Refusal::HostRepeated);
        }
        self.host_seen = true;
        if is_host(value) { Ok(()) } else { Err(Refusal::HostInvalid) }
    }

    fn on_connection(&mut self, value: &[u8]) {
        for option in tokens(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade_option |= option.eq_ignore_ascii_case(b"upgrade");
        }
    }

    fn on_content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::ContentLengthRepeated);
        }
        self.length = Some(decimal(value).ok_or(Refusal::ContentLength)?);
        if self.chunked { Err(Refusal::LengthAndCoding) } else { Ok(()) }
    }

    fn on_transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.version == Version::Http10 {
            return Err(Refusal::CodingOnHttp10);
        }
        if self.length.is_some() {
            return Err(Refusal::LengthAndCoding);
        }
        // A second field makes the list "chunked, chunked", which RFC 9112 §6.1 forbids.
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::TransferEncoding);
        }
        self.chunked = true;
        Ok(())
    }
}

/// Elements of a comma-separated list, without the white space around them; empty elements are skipped
/// (RFC 9110 §5.6.1.2). Linear in the length of `value`. Does not know quoted strings.
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|element| !element.is_empty())
}

/// True when the list has `token` in it, whatever its case.
pub(crate) fn is_token_list_with(value: &[u8], token: &[u8]) -> bool {
    tokens(value).any(|element| element.eq_ignore_ascii_case(token))
}

/// Takes spaces and tabs away from both ends (OWS, RFC 9110 §5.6.3).
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// True for `uri-host [ ":" port ]` that is not empty (RFC 9110 §7.2, RFC 3986 §3.2.2).
pub(super) fn is_host(value: &[u8]) -> bool {
    let (host_is_valid, port) = match value.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|&byte| byte == b']') else { return false };
            (is_ip_literal(&rest[..end]), &rest[end + 1..])
        }
        None => {
            let end = value.iter().position(|&byte| byte == b':').unwrap_or(value.len());
            (is_name(&value[..end]), &value[end..])
        }
    };
    host_is_valid && is_port(port)
}

fn is_name(host: &[u8]) -> bool {
    let mut rest = host;
    loop {
        rest = match rest {
            [] => return !host.is_empty(),
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest,
            [byte, rest @ ..] if is_name_byte(*byte) => rest,
            [..] => return false,
        }
    }
}

/// unreserved and sub-delims of RFC 3986 §2.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

/// IPv6 addresses, with the dots of an embedded IPv4 address; IPvFuture has no user.
fn is_ip_literal(literal: &[u8]) -> bool {
    str::from_utf8(literal).is_ok_and(|text| text.parse::<core::net::Ipv6Addr>().is_ok())
}

fn is_port(port: &[u8]) -> bool {
    match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= PORT_DIGITS_MAX && digits.iter().all(u8::is_ascii_digit),
        [..] => false,
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

const PORT_DIGITS_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in [
            "a",
            "a.b:80",
            "a:",
            "127.0.0.1:1",
            "[::1]",
            "[::ffff:1.2.3.4]:8080",
            "0.0.0.0=5000",
            "a%2fb",
            "x_y",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "", ":80", "a b", "a/b", "a@b", "a?b", "a#b", "a:8x", "a:123456", "a:1:2", "[::1", "[]",
            "[::1]x", "[g]", "a%2", "a\"b", "ä",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn decimals_fit_64_bits_or_are_none() {
        assert_eq!(decimal(b"003"), Some(3));
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for wrong in ["", "18446744073709551616", "+1", "-1", "1 ", "1,1", "0x1", "1_0", "\u{661}"] {
            assert_eq!(decimal(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn lists_skip_empty_elements() {
        assert_eq!(tokens(b" ,a ,\tb,, c d").collect::<Vec<_>>(), [&b"a"[..], b"b", b"c d"]);
        assert!(is_token_list_with(b"keep-alive, UPGRADE", b"upgrade"));
        assert!(!is_token_list_with(b"not-upgrade, upgrade2", b"upgrade"));
    }
}
