//! The rule for channel names, in one place for every dialect and transport. Never knows which channels exist.
//!
//! Names outside the rule are free for the server's own channels (a user's, everyone's): no client can name them.

use std::fmt;

/// Bytes of the longest channel name, as Centrifugo has it; also what a label, a log line and a broker key must hold.
pub const CHANNEL_LEN_MAX: usize = 255;

/// What is wrong with a channel name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadChannel {
    /// No byte at all.
    Empty,
    /// More than [`CHANNEL_LEN_MAX`] bytes.
    TooLong,
    /// A space (0x20).
    Space,
    /// A byte below 0x20, or 0x7F.
    Control,
    /// A byte above 0x7F.
    NotAscii,
}

/// Passes names of 1 to [`CHANNEL_LEN_MAX`] printable ASCII characters (0x21 to 0x7E). Names are compared byte by
/// byte; there is no case folding, no decoding and no wildcard.
pub fn check(name: &str) -> Result<(), BadChannel> {
    let bytes = name.as_bytes();
    if bytes.is_empty() {
        return Err(BadChannel::Empty);
    }
    if bytes.len() > CHANNEL_LEN_MAX {
        return Err(BadChannel::TooLong);
    }
    // A fold over all bytes compiles to vector instructions, a search for the first bad one does not.
    if bytes.iter().fold(true, |good, byte| good & byte.is_ascii_graphic()) {
        return Ok(());
    }
    match bytes.iter().find(|byte| !byte.is_ascii_graphic()) {
        Some(b' ') => Err(BadChannel::Space),
        Some(0x80..) => Err(BadChannel::NotAscii),
        Some(_) | None => Err(BadChannel::Control),
    }
}

impl BadChannel {
    /// What to tell the sender; holds nothing of the name.
    pub fn message(self) -> &'static str {
        match self {
            Self::Empty => "channel must not be empty",
            Self::TooLong => "channel must have at most 255 characters",
            Self::Space => "channel must not contain a space",
            Self::Control => "channel must not contain a control character",
            Self::NotAscii => "channel must contain only ASCII characters",
        }
    }
}

impl fmt::Display for BadChannel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.message())
    }
}

impl std::error::Error for BadChannel {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printable_ascii_character_is_allowed_and_nothing_else() {
        for code in 0..=0x17F {
            let character = char::from_u32(code).unwrap();
            let verdict = match code {
                0x21..=0x7E => Ok(()),
                0x20 => Err(BadChannel::Space),
                0..0x20 | 0x7F => Err(BadChannel::Control),
                0x80.. => Err(BadChannel::NotAscii),
            };
            assert_eq!(check(&format!("a{character}b")), verdict, "character {code:#x}");
        }
    }

    #[test]
    fn length_is_one_to_255() {
        assert_eq!(check(""), Err(BadChannel::Empty));
        assert_eq!(check("c"), Ok(()));
        assert_eq!(check(&"c".repeat(CHANNEL_LEN_MAX)), Ok(()));
        assert_eq!(check(&"c".repeat(CHANNEL_LEN_MAX + 1)), Err(BadChannel::TooLong));
        assert!(BadChannel::TooLong.message().contains(&CHANNEL_LEN_MAX.to_string()));
    }
}
