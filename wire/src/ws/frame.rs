//! Frame headers (RFC 6455 §5.2): bytes to header and back, and every rule the header alone can break.
//! Never sees a payload, never knows a limit of ours.

use super::{FrameError, Kind, Role};

/// Bytes of the longest header: two, a 64-bit length, a masking key.
pub const HEADER_BYTES_MAX: usize = 14;

/// Bytes of the longest payload of a control frame (RFC 6455 §5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// More of the message that is open.
    Continuation,
    /// First frame of a text.
    Text,
    /// First frame of a binary message.
    Binary,
    /// The peer is done.
    Close,
    /// Wants a pong with the same payload.
    Ping,
    /// Answers a ping, or comes unasked.
    Pong,
}

/// One frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Last frame of its message.
    pub fin: bool,
    /// The message is compressed (RFC 7692 §6); only on its first frame.
    pub rsv1: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// The masking key, if the payload is masked.
    pub key: Option<[u8; 4]>,
    /// Bytes of payload.
    pub len: u64,
}

/// What a header is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Which end we are.
    pub role: Role,
    /// permessage-deflate was agreed, so RSV1 has a meaning.
    pub inflate: bool,
    /// A fragmented message is open, so data must continue it.
    pub message_open: bool,
}

impl Opcode {
    const fn from_wire(bits: u8) -> Option<Self> {
        match bits {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xa => Some(Self::Pong),
            _ => None,
        }
    }

    const fn to_wire(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }
}

impl From<Kind> for Opcode {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text,
            Kind::Binary => Self::Binary,
        }
    }
}

impl Header {
    /// The header at the start of `bytes` and its length, or `None` if its end has not come. What the first two
    /// bytes can break is an error as soon as they are there.
    ///
    /// # Errors
    /// Everything RFC 6455 §5 forbids in a header.
    #[inline]
    pub fn parse(bytes: &[u8], expected: Expected) -> Result<Option<(Self, usize)>, FrameError> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let opcode = Opcode::from_wire(first & 0x0f);
        let opcode = opcode.ok_or(FrameError::ReservedOpcode { opcode: first & 0x0f })?;
        check_start(*first, *second, opcode, expected)?;
        let (len, rest) = match second & 0x7f {
            126 => {
                let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let len = u64::from(u16::from_be_bytes(*len));
                if len < 126 {
                    return Err(FrameError::LengthNotMinimal);
                }
                (len, rest)
            }
            127 => {
                let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let len = u64::from_be_bytes(*len);
                if len >> 63 != 0 {
                    return Err(FrameError::LengthNegative);
                }
                if len <= 0xffff {
                    return Err(FrameError::LengthNotMinimal);
                }
                (len, rest)
            }
            len => (u64::from(len), rest),
        };
        let (key, rest) = if second & 0x80 == 0 {
            (None, rest)
        } else {
            let Some((key, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (Some(*key), rest)
        };
        let header = Self { fin: first & 0x80 != 0, rsv1: first & 0x40 != 0, opcode, key, len };
        Ok(Some((header, bytes.len() - rest.len())))
    }

    /// Appends the header in its shortest form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut bytes = [0; HEADER_BYTES_MAX];
        bytes[0] = u8::from(self.fin) << 7 | u8::from(self.rsv1) << 6 | self.opcode.to_wire();
        let mut end = match self.len {
            0..126 => {
                bytes[1] = self.len as u8;
                2
            }
            126..=0xffff => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&(self.len as u16).to_be_bytes());
                4
            }
            len => {
                bytes[1] = 127;
                bytes[2..10].copy_from_slice(&len.to_be_bytes());
                10
            }
        };
        if let Some(key) = self.key {
            bytes[1] |= 0x80;
            bytes[end..end + 4].copy_from_slice(&key);
            end += 4;
        }
        out.extend_from_slice(&bytes[..end]);
    }
}

/// What two bytes can break. On the path of a good frame this is a handful of predicted branches.
#[inline]
fn check_start(first: u8, second: u8, opcode: Opcode, expected: Expected) -> Result<(), FrameError> {
    let fin = first & 0x80 != 0;
    let rsv1_means_compressed = expected.inflate && matches!(opcode, Opcode::Text | Opcode::Binary);
    if first & 0x30 != 0 || (first & 0x40 != 0 && !rsv1_means_compressed) {
        return Err(FrameError::ReservedBits);
    }
    match (expected.role, second & 0x80 != 0) {
        (Role::Server, true) | (Role::Client, false) => {}
        (Role::Server, false) => return Err(FrameError::NotMasked),
        (Role::Client, true) => return Err(FrameError::Masked),
    }
    match opcode {
        Opcode::Continuation if !expected.message_open => Err(FrameError::UnexpectedContinuation),
        Opcode::Text | Opcode::Binary if expected.message_open => Err(FrameError::UnfinishedMessage),
        Opcode::Continuation | Opcode::Text | Opcode::Binary => Ok(()),
        Opcode::Close | Opcode::Ping | Opcode::Pong if !fin => Err(FrameError::ControlFragmented),
        Opcode::Close | Opcode::Ping | Opcode::Pong if second & 0x7f > CONTROL_BYTES_MAX as u8 => {
            Err(FrameError::ControlTooLong)
        }
        Opcode::Close | Opcode::Ping | Opcode::Pong => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_as_it_was_written() {
        for len in [0, 1, 125, 126, 127, 0xffff, 0x1_0000, (1 << 63) - 1] {
            for role in [Role::Server, Role::Client] {
                let key = matches!(role, Role::Server).then_some([1, 2, 3, 4]);
                let header = Header { fin: false, rsv1: true, opcode: Opcode::Binary, key, len };
                let mut bytes = Vec::new();
                header.encode(&mut bytes);
                let expected = Expected { role, inflate: true, message_open: false };
                for end in 0..bytes.len() {
                    assert_eq!(Header::parse(&bytes[..end], expected), Ok(None), "{len} cut at {end}");
                }
                assert_eq!(Header::parse(&bytes, expected), Ok(Some((header, bytes.len()))));
            }
        }
    }
}
