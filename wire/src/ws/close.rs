//! Close codes and the payload of a close frame (RFC 6455 §7.4, §5.5.1). Never decides when to close.

use super::FrameError;

/// A status code that may stand in a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The server goes down or the page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// A kind of data this endpoint does not take.
    pub const UNSUPPORTED: Self = Self(1003);
    /// The payload is not what its kind promises: text that is not UTF-8, data that does not inflate.
    pub const BAD_PAYLOAD: Self = Self(1007);
    /// A policy was violated and no other code says it better.
    pub const POLICY: Self = Self(1008);
    /// The message is too big.
    pub const TOO_BIG: Self = Self(1009);
    /// The client wanted an extension the server did not agree to.
    pub const MISSING_EXTENSION: Self = Self(1010);
    /// The server met a condition it did not expect.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// The server restarts; reconnect after a random delay.
    pub const RESTART: Self = Self(1012);
    /// The server is overloaded; try again later.
    pub const TRY_LATER: Self = Self(1013);

    /// A code for our own close frames.
    ///
    /// # Panics
    /// If `code` must not stand on the wire; in a constant this fails the build.
    pub const fn new(code: u16) -> Self {
        match Self::from_wire(code) {
            Some(code) => code,
            None => panic!("this code must not stand in a close frame"),
        }
    }

    /// The code as received, or `None` if it must not stand in a close frame: below 1000, 1004–1006, 1015–2999
    /// and from 5000 on (RFC 6455 §7.4.1–7.4.2).
    pub const fn from_wire(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number on the wire.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Code and reason of a close frame's payload. An empty payload has neither.
///
/// # Errors
/// One byte, a code that must not be sent, a reason that is not UTF-8.
pub(super) fn parse(payload: &[u8]) -> Result<(Option<CloseCode>, &str), FrameError> {
    match payload {
        [] => Ok((None, "")),
        [_] => Err(FrameError::CloseOneByte),
        [high, low, reason @ ..] => {
            let number = u16::from_be_bytes([*high, *low]);
            let code = CloseCode::from_wire(number).ok_or(FrameError::CloseCode { code: number })?;
            let reason = std::str::from_utf8(reason).map_err(|_| FrameError::NotUtf8)?;
            Ok((Some(code), reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_registered_and_private_codes_are_valid() {
        let valid: Vec<u16> = (0..=u16::MAX).filter(|code| CloseCode::from_wire(*code).is_some()).collect();
        let expected: Vec<u16> = (1000..=1003).chain(1007..=1014).chain(3000..=4999).collect();
        assert_eq!(valid, expected);
    }

    #[test]
    fn a_payload_is_nothing_or_a_code_and_a_reason() {
        assert_eq!(parse(b"").unwrap(), (None, ""));
        assert_eq!(parse(b"\x03\xe8").unwrap(), (Some(CloseCode::NORMAL), ""));
        assert_eq!(parse("\u{3}\u{7f}é".as_bytes()).unwrap_err(), FrameError::CloseCode { code: 0x037f });
        assert_eq!(parse(b"\x03\xe8b\xc3\xa9").unwrap(), (Some(CloseCode::NORMAL), "bé"));
        assert_eq!(parse(b"\x03").unwrap_err(), FrameError::CloseOneByte);
        assert_eq!(parse(b"\x03\xe8\xc3").unwrap_err(), FrameError::NotUtf8);
    }
}
