//! Application languages on top of a message transport: bytes to commands, events to bytes.
//! Never frames, masks or compresses; never knows who may do what.
//!
//! [`native`] is the JSON language of `/ws`, [`raw`] leaves the bytes to the embedder's handler. The tables of the
//! native dialect (messages, error codes) stand in the documentation of [`native`].

pub mod channel;
pub mod native;
pub mod raw;
pub mod scan;
pub mod string;

/// The language a connection speaks, chosen by the path it was opened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// JSON commands and events in text messages ([`native`]); binary messages go to the embedder's handler.
    Native,
    /// Every message goes to the embedder's handler as it came; publications arrive as their data alone ([`raw`]).
    Raw,
    /// Every message comes back with its opcode, unread. For conformance suites and load generators: it sits on the
    /// path that `REALTIME_ECHO_PATH` names, which is off by default.
    Echo,
}

/// Why the server did not do what a client asked. The names are stable: a release may add codes, it does not change
/// or reuse one. A client treats a code it does not know as [`ErrorCode::Internal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The text is not one JSON object.
    BadJson,
    /// The text nests deeper than [`scan::DEPTH_MAX`]: no honest client does, the server closes with 1008.
    TooDeep,
    /// A field is missing, of the wrong kind, out of range or given twice; the message names it.
    BadRequest,
    /// No command has the `type` that was sent.
    UnknownType,
    /// A token is missing, expired or not valid.
    Unauthorized,
    /// The channel's name breaks the rule of [`channel::check`].
    BadChannel,
    /// The connection is not in the channel it wants to leave, or left it before its join was carried out.
    NotJoined,
    /// The connection is in as many channels as one may join.
    TooManyChannels,
    /// The command is switched off, or the connection has no permission for it.
    Forbidden,
    /// The channel has no history, or no presence: it is switched off for it.
    NotAvailable,
    /// The connection sends more messages than its rate allows; this one was dropped.
    RateLimited,
    /// A queue inside the server is full and nothing was done: send the same again, later.
    TryAgain,
    /// The data is larger than the channel accepts.
    TooLarge,
    /// The server's own fault.
    Internal,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 14] = [
        Self::BadJson,
        Self::TooDeep,
        Self::BadRequest,
        Self::UnknownType,
        Self::Unauthorized,
        Self::BadChannel,
        Self::NotJoined,
        Self::TooManyChannels,
        Self::Forbidden,
        Self::NotAvailable,
        Self::RateLimited,
        Self::TryAgain,
        Self::TooLarge,
        Self::Internal,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::TooDeep => "too_deep",
            Self::BadRequest => "bad_request",
            Self::UnknownType => "unknown_type",
            Self::Unauthorized => "unauthorized",
            Self::BadChannel => "bad_channel",
            Self::NotJoined => "not_joined",
            Self::TooManyChannels => "too_many_channels",
            Self::Forbidden => "forbidden",
            Self::NotAvailable => "not_available",
            Self::RateLimited => "rate_limited",
            Self::TryAgain => "try_again",
            Self::TooLarge => "too_large",
            Self::Internal => "internal",
        }
    }

    /// The WebSocket close code with which the connection ends after the error, or `None` if it lives on.
    pub fn close_code(self) -> Option<u16> {
        match self {
            Self::TooDeep => Some(1008),
            Self::BadJson
            | Self::BadRequest
            | Self::UnknownType
            | Self::Unauthorized
            | Self::BadChannel
            | Self::NotJoined
            | Self::TooManyChannels
            | Self::Forbidden
            | Self::NotAvailable
            | Self::RateLimited
            | Self::TryAgain
            | Self::TooLarge
            | Self::Internal => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_code_stands_in_the_documentation() {
        let documentation = include_str!("native/mod.rs");
        for code in ErrorCode::ALL {
            let row = format!("//! | `{}` | ", code.as_str());
            assert!(documentation.contains(&row), "{row}");
            let closes = format!("closes with {}", code.close_code().unwrap_or_default());
            let line = documentation.lines().find(|line| line.starts_with(&row)).unwrap();
            assert_eq!(line.contains(&closes), code.close_code().is_some(), "{row}");
        }
    }
}
