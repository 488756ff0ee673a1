//! WebSocket (RFC 6455) with permessage-deflate (RFC 7692). Owns the words its parts share: kinds, roles, limits.
//! Never decides what a message means; dialects do.

pub mod close;
pub mod decoder;
pub mod deflate;
pub mod encoder;
pub mod error;
pub mod extension;
pub mod frame;
pub mod handshake;
pub mod mask;
mod partial;
pub mod scratch;
pub mod utf8;

pub use close::CloseCode;
pub use decoder::{Decoder, Event, Input};
pub use deflate::Deflater;
pub use error::FrameError;
pub use scratch::Scratch;

/// What a message carries (RFC 6455 §5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}

/// Which end of the connection we are. A server takes only masked frames, a client only unmasked ones
/// (RFC 6455 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We accepted the connection.
    Server,
    /// We opened the connection.
    Client,
}

/// What a peer may send. Checked from a frame's header, before any of its payload is stored.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Which end we are.
    pub role: Role,
    /// Bytes of payload in one frame as it is on the wire; beyond it close 1009.
    pub frame_bytes_max: u64,
    /// Bytes of one message, all its frames together and after decompression; beyond it close 1009.
    pub message_bytes_max: usize,
    /// Frames of one message; beyond it close 1008. An unfragmented message is one.
    pub fragments_max: u32,
    /// Continuation frames without payload in one message; beyond it close 1008.
    pub empty_continuations_max: u32,
    /// Whether text must be UTF-8 (RFC 6455 §8.1). Close reasons are checked always.
    pub validate_utf8: bool,
}

impl Rules {
    /// The defaults for one end: frames and messages of 64 KiB, 65,537 fragments (what 4 MiB in 64-byte fragments
    /// and an empty last one need), 256 empty continuations, text checked.
    pub const fn new(role: Role) -> Self {
        Self {
            role,
            frame_bytes_max: 64 * 1024,
            message_bytes_max: 64 * 1024,
            fragments_max: 65_537,
            empty_continuations_max: 256,
            validate_utf8: true,
        }
    }

    /// Bytes a compressed message may have on the wire: what the largest message grows to when it does not
    /// compress. DEFLATE's worst sender adds an eighth, and a message always ends in a block of its own.
    pub(crate) const fn compressed_bytes_max(&self) -> usize {
        self.message_bytes_max.saturating_add(self.message_bytes_max / 8).saturating_add(64)
    }
}
