//! The opening handshake, server side, and the key both sides share (RFC 6455 §4). The client side is in [`client`].
//! Never decides who may connect: paths, origins and tokens are the server's business.

pub mod client;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1_smol::Sha1;

use crate::http1::{BodyKind, Connection, Date, Head, Response, Status, Version};
use crate::http1::{is_token, is_token_list_with, push_field, tokens};

/// What a client asked for, once its handshake is in order.
#[derive(Debug, Clone, Copy)]
pub struct Accepted<'a> {
    /// The client's nonce; [`write_101`] answers it.
    pub key: Key,
    /// The first sub-protocol the client offered that the server speaks.
    pub protocol: Option<&'a str>,
    head: Head<'a>,
}

/// Checks an opening handshake (RFC 6455 §4.2.1). `speaks` tells the sub-protocols the server has: the first offered
/// one it says yes to is chosen, so the client's order of preference counts. Linear in the bytes of the head.
///
/// # Errors
/// Answer with [`HandshakeRefusal::write`] and close: whoever asked for an upgrade may already speak another protocol.
pub fn accept<'a>(head: &Head<'a>, speaks: impl Fn(&str) -> bool) -> Result<Accepted<'a>, HandshakeRefusal> {
    if head.method != "GET" {
        return Err(HandshakeRefusal::Method);
    }
    if head.version != Version::Http11 {
        return Err(HandshakeRefusal::HttpVersion);
    }
    let mut offer = Offer::default();
    for (name, value) in head.fields() {
        offer.on_field(name, value, &speaks);
    }
    if !(head.wants_upgrade() && offer.websocket) {
        return Err(HandshakeRefusal::NoUpgrade);
    }
    if head.body() != BodyKind::None {
        return Err(HandshakeRefusal::Body);
    }
    if !offer.version_13 {
        return Err(HandshakeRefusal::WebSocketVersion);
    }
    if offer.protocols_are_invalid {
        return Err(HandshakeRefusal::Protocol);
    }
    let key = offer.key.ok_or(HandshakeRefusal::Key)?;
    Ok(Accepted { key, protocol: offer.protocol, head: *head })
}

impl<'a> Accepted<'a> {
    /// The values of Sec-WebSocket-Extensions, unparsed, in order. A value that is not UTF-8 offers nothing we know.
    pub fn extensions(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.head.fields().filter_map(|(name, value)| {
            name.eq_ignore_ascii_case(EXTENSIONS).then(|| str::from_utf8(value).ok()).flatten()
        })
    }

    /// The head the client sent.
    pub fn head(&self) -> &Head<'a> {
        &self.head
    }
}

/// Writes the `101 Switching Protocols` that opens the connection (RFC 6455 §4.2.2). `extensions` is the value of
/// Sec-WebSocket-Extensions, already formatted.
///
/// # Panics
/// When `protocol` or `extensions` hold a control character; [`accept`] never gives such a protocol.
pub fn write_101(out: &mut Vec<u8>, key: &Key, protocol: Option<&str>, extensions: Option<&str>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(&accept_key(key));
    out.extend_from_slice(b"\r\n");
    if let Some(protocol) = protocol {
        push_field(out, PROTOCOL, protocol);
    }
    if let Some(extensions) = extensions {
        push_field(out, EXTENSIONS, extensions);
    }
    out.extend_from_slice(b"\r\n");
}

/// A handshake that cannot become a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeRefusal {
    /// Not GET.
    #[error("a WebSocket handshake is a GET")]
    Method,
    /// HTTP/1.0, which has no upgrade.
    #[error("a WebSocket handshake needs HTTP/1.1")]
    HttpVersion,
    /// `Connection: upgrade` or `Upgrade: websocket` is missing.
    #[error("this resource speaks WebSocket: Connection: Upgrade and Upgrade: websocket are needed")]
    NoUpgrade,
    /// The request has a body.
    #[error("a WebSocket handshake has no body")]
    Body,
    /// Sec-WebSocket-Version is not 13, is missing or repeated.
    #[error("Sec-WebSocket-Version is not 13")]
    WebSocketVersion,
    /// Sec-WebSocket-Key is not the base64 of 16 bytes, is missing or repeated.
    #[error("Sec-WebSocket-Key is not the base64 of 16 bytes")]
    Key,
    /// Sec-WebSocket-Protocol is not a list of tokens.
    #[error("Sec-WebSocket-Protocol is not a list of tokens")]
    Protocol,
}

impl HandshakeRefusal {
    /// Status of the answer.
    pub fn status(&self) -> Status {
        match self {
            Self::Method => Status::MethodNotAllowed,
            Self::HttpVersion | Self::Body | Self::Key | Self::Protocol => Status::BadRequest,
            Self::NoUpgrade | Self::WebSocketVersion => Status::UpgradeRequired,
        }
    }

    /// Writes the whole answer, with `Connection: close` and what the status demands beside it.
    pub fn write(&self, out: &mut Vec<u8>, date: &Date) {
        let mut response = Response::begin(out, self.status(), Connection::Close, date);
        response = match self {
            // RFC 9110 §15.5.6 and §15.5.22, RFC 6455 §4.2.2.
            Self::Method => response.header("Allow", "GET"),
            Self::NoUpgrade | Self::WebSocketVersion => {
                response.header("Upgrade", "websocket").header("Sec-WebSocket-Version", "13")
            }
            Self::HttpVersion | Self::Body | Self::Key | Self::Protocol => response,
        };
        response.header("Content-Type", "text/plain; charset=utf-8").body(format!("{self}\n").as_bytes());
    }
}

/// A client's nonce: the base64 of 16 bytes (RFC 6455 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; KEY_LEN]);

impl Key {
    /// Takes exactly 24 characters of canonical base64.
    pub fn parse(raw: &[u8]) -> Option<Self> {
        let text: [u8; KEY_LEN] = raw.try_into().ok()?;
        // 18 bytes are what 24 characters without padding would hold.
        let mut nonce = [0; 18];
        let len = STANDARD.decode_slice(text, &mut nonce).ok()?;
        (len == NONCE_LEN).then_some(Self(text))
    }

    /// The key of a nonce; the client draws it at random for each connection.
    pub fn from_nonce(nonce: [u8; NONCE_LEN]) -> Self {
        let mut text = [0; KEY_LEN];
        let len = STANDARD.encode_slice(nonce, &mut text).expect("16 bytes are 24 characters of base64");
        assert_eq!(len, KEY_LEN);
        Self(text)
    }

    /// The 24 characters.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

/// Value of Sec-WebSocket-Accept for a key: base64(SHA-1(key ‖ GUID)) (RFC 6455 §4.2.2). Allocates nothing.
pub fn accept_key(key: &Key) -> [u8; 28] {
    let mut sha1 = Sha1::new();
    sha1.update(&key.0);
    sha1.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let mut text = [0; 28];
    let len = STANDARD
        .encode_slice(sha1.digest().bytes(), &mut text)
        .expect("20 bytes are 28 characters of base64");
    assert_eq!(len, text.len());
    text
}

/// What the fields of a handshake say, gathered in one pass.
#[derive(Debug, Default)]
struct Offer<'a> {
    websocket: bool,
    version_seen: bool,
    version_13: bool,
    key_seen: bool,
    key: Option<Key>,
    protocol: Option<&'a str>,
    protocols_are_invalid: bool,
}

impl<'a> Offer<'a> {
    fn on_field(&mut self, name: &str, value: &'a [u8], speaks: &impl Fn(&str) -> bool) {
        match name.len() {
            7 if name.eq_ignore_ascii_case("upgrade") => {
                self.websocket |= is_token_list_with(value, b"websocket")
            }
            17 if name.eq_ignore_ascii_case(KEY) => {
                self.key = if self.key_seen { None } else { Key::parse(value) };
                self.key_seen = true;
            }
            21 if name.eq_ignore_ascii_case(VERSION) => {
                self.version_13 = !self.version_seen && value == b"13";
                self.version_seen = true;
            }
            22 if name.eq_ignore_ascii_case(PROTOCOL) => self.on_protocols(value, speaks),
            _ => {}
        }
    }

    fn on_protocols(&mut self, value: &'a [u8], speaks: &impl Fn(&str) -> bool) {
        let mut is_empty = true;
        for offered in tokens(value) {
            is_empty = false;
            match token(offered) {
                Some(offered) if self.protocol.is_none() && speaks(offered) => self.protocol = Some(offered),
                Some(_) => {}
                None => self.protocols_are_invalid = true,
            }
        }
        self.protocols_are_invalid |= is_empty;
    }
}

fn token(raw: &[u8]) -> Option<&str> {
    if raw.iter().all(|&byte| is_token(byte)) { str::from_utf8(raw).ok() } else { None }
}

const KEY: &str = "Sec-WebSocket-Key";
const VERSION: &str = "Sec-WebSocket-Version";
const PROTOCOL: &str = "Sec-WebSocket-Protocol";
const EXTENSIONS: &str = "Sec-WebSocket-Extensions";
const ACCEPT: &str = "Sec-WebSocket-Accept";
const NONCE_LEN: usize = 16;
const KEY_LEN: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_6455_section_1_3_accept_key() {
        let key = Key::parse(b"dGhlIHNhbXBsZSBub25jZQ==").unwrap();
        assert_eq!(&accept_key(&key), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(Key::from_nonce(*b"the sample nonce"), key);
    }

    #[test]
    fn a_key_is_exactly_16_bytes() {
        for wrong in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZQ===",
            "dGhlIHNhbXBsZSBub25jZS4=",
            "dGhlIHNhbXBsZSBub25jZS4u",
            "dGhlIHNhbXBsZSBub25j====",
            "dGhlIHNhbXBsZSBub25jZR==",
            "dGhlIHNhbXBsZSBub25j Q==",
            "dGhlIHNhbXBsZS_ub25jZQ==",
        ] {
            assert_eq!(Key::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
