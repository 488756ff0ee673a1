//! The PROXY protocol, versions 1 and 2, as a receiver: the header by which a proxy says on whose behalf it connects
//! (HAProxy's proxy-protocol.txt, cited as PP). Never decides whom to believe; only a trusted peer's header means
//! anything. Addresses come from `core::net`: plain values, no socket is near.

mod v1;
mod v2;

use core::net::SocketAddr;

/// Reads one header off the beginning of a connection, in pieces as they come.
#[derive(Debug, Default)]
pub struct Reader {
    /// The beginning of a header whose rest has not come; nothing is kept for one that comes whole.
    held: Option<Box<Held>>,
}

#[derive(Debug)]
struct Held {
    bytes: [u8; V2_BYTES_MAX],
    len: usize,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The proxy speaks for itself (LOCAL: a health check), or does not say for whom (UNKNOWN, UNSPEC, a kind of
    /// address that is no TCP over IP): the addresses of the connection count.
    Own,
    /// The proxy speaks for this client.
    Client(SocketAddr),
}

/// Why bytes are no header that is taken. The connection ends: nothing that follows can be trusted to begin anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The bytes begin no header.
    #[error("no PROXY header where there must be one")]
    Absent,
    /// The line does not end within [`V1_BYTES_MAX`] bytes.
    #[error("a PROXY line has at most {V1_BYTES_MAX} bytes")]
    LineTooLong,
    /// The line is none of the forms of PP §2.1.
    #[error("a PROXY line that cannot be read")]
    BadLine,
    /// The version is not 2 or the command neither LOCAL nor PROXY (PP §2.2).
    #[error("a PROXY header of version and command {0:#04x}")]
    Command(u8),
    /// A family or protocol of address that PP §2.2 does not know.
    #[error("a PROXY header for addresses of kind {0:#04x}")]
    Family(u8),
    /// More follows the first 16 bytes than [`V2_REST_MAX`].
    #[error("a PROXY header of 16 and {0} bytes, at most 16 and {V2_REST_MAX}")]
    TooLong(u16),
    /// The header is shorter than its addresses.
    #[error("a PROXY header of 16 and {0} bytes, too short for its addresses")]
    TooShort(u16),
    /// The length of an extension (TLV) goes beyond the header.
    #[error("a PROXY header with an extension that goes beyond it")]
    BadExtension,
    /// The checksum (PP §2.2.3) is not that of the header.
    #[error("a PROXY header whose checksum is wrong")]
    BadChecksum,
}

/// Bytes of the longest line of version 1, its end included (PP §2.1).
pub const V1_BYTES_MAX: usize = 107;

/// Bytes of version 2 that may follow the first 16: the addresses of two Unix sockets and 320 bytes of extensions.
/// A longer header is refused.
pub const V2_REST_MAX: usize = 536;

const V2_BYTES_MAX: usize = v2::FIXED + V2_REST_MAX;

impl Reader {
    /// A reader at the beginning of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the header off `input`; `None` if all of it was taken and the header goes on. Where pieces end changes
    /// nothing. Not to be called again after a header or a refusal.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Header>, Refusal> {
        let (read, before) = match &mut self.held {
            None => (parse(input)?, 0),
            Some(held) => {
                let before = held.len;
                held.append(input);
                (parse(&held.bytes[..held.len])?, before)
            }
        };
        let Some((header, len)) = read else {
            if self.held.is_none() {
                self.hold(input);
            }
            *input = &[];
            return Ok(None);
        };
        *input = &input[len - before..];
        self.held = None;
        Ok(Some(header))
    }

    fn hold(&mut self, input: &[u8]) {
        let mut held = Box::new(Held { bytes: [0; V2_BYTES_MAX], len: 0 });
        held.append(input);
        self.held = Some(held);
    }
}

impl Held {
    /// A header that is not whole is shorter than the room, so that what finds none belongs to no header.
    fn append(&mut self, input: &[u8]) {
        let count = input.len().min(V2_BYTES_MAX - self.len);
        self.bytes[self.len..self.len + count].copy_from_slice(&input[..count]);
        self.len += count;
    }
}

/// Reads the header that begins `bytes` and its length; `None` while it is not whole. What is refused with some bytes
/// is refused alike with more.
fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Refusal> {
    if begins(bytes, v1::SIGNATURE) {
        return v1::parse(bytes);
    }
    if begins(bytes, v2::SIGNATURE) {
        return v2::parse(bytes);
    }
    Err(Refusal::Absent)
}

/// Whether `bytes`, as far as they have come, begin with `signature`.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let len = bytes.len().min(signature.len());
    bytes[..len] == signature[..len]
}
