//! What a peer can do wrong in its frames, and the close code that answers it. Never carries payload.

use super::CloseCode;

/// The peer broke RFC 6455, RFC 7692 or a limit. Nothing more of this connection can be decoded:
/// close with [`FrameError::close_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// RSV bits without an extension that gives them a meaning (RFC 6455 §5.2, RFC 7692 §6).
    #[error("a reserved bit is set")]
    ReservedBits,
    /// Opcodes 3–7 and 11–15 (RFC 6455 §5.2).
    #[error("opcode {opcode} is reserved")]
    ReservedOpcode {
        /// As received.
        opcode: u8,
    },
    /// A client's frame without a mask (RFC 6455 §5.1).
    #[error("a client must mask its frames")]
    NotMasked,
    /// A server's frame with a mask (RFC 6455 §5.1).
    #[error("a server must not mask its frames")]
    Masked,
    /// A control frame without FIN (RFC 6455 §5.5).
    #[error("a control frame is fragmented")]
    ControlFragmented,
    /// A control frame of more than 125 bytes (RFC 6455 §5.5).
    #[error("a control frame is longer than 125 bytes")]
    ControlTooLong,
    /// A length that would fit in fewer bytes (RFC 6455 §5.2).
    #[error("the length is not in its shortest form")]
    LengthNotMinimal,
    /// The most significant bit of a 64-bit length (RFC 6455 §5.2).
    #[error("the length has its most significant bit set")]
    LengthNegative,
    /// A continuation frame outside a message (RFC 6455 §5.4).
    #[error("a continuation without a message to continue")]
    UnexpectedContinuation,
    /// A text or binary frame inside a fragmented message (RFC 6455 §5.4).
    #[error("a new message inside a fragmented one")]
    UnfinishedMessage,
    /// A close frame whose payload is half a code (RFC 6455 §5.5.1).
    #[error("a close frame of one byte")]
    CloseOneByte,
    /// A code that must not stand in a close frame (RFC 6455 §7.4).
    #[error("close code {code} must not be sent")]
    CloseCode {
        /// As received.
        code: u16,
    },
    /// Text or a close reason is not UTF-8 (RFC 6455 §8.1).
    #[error("text is not UTF-8")]
    NotUtf8,
    /// A compressed message does not inflate (RFC 7692 §7.2.2).
    #[error("compressed data is damaged")]
    BadDeflate,
    /// A frame is over `frame_bytes_max`.
    #[error("a frame of {len} bytes is over the limit of {limit}")]
    FrameTooLong {
        /// As declared in the header.
        len: u64,
        /// `Rules::frame_bytes_max`.
        limit: u64,
    },
    /// A message is over `message_bytes_max`, as received or after decompression.
    #[error("a message is over the limit of {limit} bytes")]
    MessageTooLong {
        /// `Rules::message_bytes_max`.
        limit: usize,
    },
    /// A message has more than `fragments_max` frames.
    #[error("a message of more than {limit} frames")]
    TooManyFragments {
        /// `Rules::fragments_max`.
        limit: u32,
    },
    /// A message has more than `empty_continuations_max` continuations without payload.
    #[error("a message with more than {limit} empty continuations")]
    TooManyEmptyContinuations {
        /// `Rules::empty_continuations_max`.
        limit: u32,
    },
}

impl FrameError {
    /// The close code that tells the peer.
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::ReservedBits
            | Self::ReservedOpcode { .. }
            | Self::NotMasked
            | Self::Masked
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::LengthNotMinimal
            | Self::LengthNegative
            | Self::UnexpectedContinuation
            | Self::UnfinishedMessage
            | Self::CloseOneByte
            | Self::CloseCode { .. } => CloseCode::PROTOCOL_ERROR,
            Self::NotUtf8 | Self::BadDeflate => CloseCode::BAD_PAYLOAD,
            Self::FrameTooLong { .. } | Self::MessageTooLong { .. } => CloseCode::TOO_BIG,
            Self::TooManyFragments { .. } | Self::TooManyEmptyContinuations { .. } => CloseCode::POLICY,
        }
    }
}
