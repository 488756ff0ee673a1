//! UTF-8 validation over pieces (RFC 3629, RFC 6455 §8.1): fails at the first byte that cannot be valid.
//! Never keeps more than the unfinished character.

use super::FrameError;

/// Where a text is between two pieces: the bytes of a character whose end has not come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8 {
    held: [u8; 3],
    len: u8,
}

const _: () = assert!(size_of::<Utf8>() <= 8, "the state lies in every unfinished message");

impl Utf8 {
    /// Takes the next piece of the text.
    ///
    /// # Errors
    /// `NotUtf8` if no continuation could make the text valid.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), FrameError> {
        while self.len > 0 {
            let Some((next, rest)) = bytes.split_first() else { return Ok(()) };
            bytes = rest;
            self.push(*next)?;
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_none() => {
                let open = &bytes[error.valid_up_to()..];
                self.held[..open.len()].copy_from_slice(open);
                self.len = open.len() as u8;
                Ok(())
            }
            Err(_) => Err(FrameError::NotUtf8),
        }
    }

    /// Whether the text may end here.
    ///
    /// # Errors
    /// `NotUtf8` inside a character.
    pub fn finish(self) -> Result<(), FrameError> {
        if self.len == 0 { Ok(()) } else { Err(FrameError::NotUtf8) }
    }

    /// One more byte of the unfinished character.
    fn push(&mut self, next: u8) -> Result<(), FrameError> {
        let len = usize::from(self.len);
        let mut character = [0; 4];
        character[..len].copy_from_slice(&self.held[..len]);
        character[len] = next;
        match std::str::from_utf8(&character[..=len]) {
            Ok(_) => self.len = 0,
            // A character of four bytes is whole or wrong, so what is open here has at most three.
            Err(error) if error.error_len().is_none() => {
                self.held[len] = next;
                self.len += 1;
            }
            Err(_) => return Err(FrameError::NotUtf8),
        }
        Ok(())
    }
}

/// Checks a whole text.
///
/// # Errors
/// `NotUtf8`.
#[inline]
pub fn validate(bytes: &[u8]) -> Result<(), FrameError> {
    if is_ascii(bytes) || std::str::from_utf8(bytes).is_ok() { Ok(()) } else { Err(FrameError::NotUtf8) }
}

/// Whether the text is ASCII, as most is. The standard library looks at what is left after whole blocks one
/// byte at a time, which would cost a short message more than all the rest; here these are at most eight words.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    let (blocks, rest) = bytes.split_at(bytes.len() & !63);
    let (words, few) = rest.as_chunks::<8>();
    let seen = words.iter().fold(0, |seen, word| seen | u64::from_ne_bytes(*word));
    let last = match bytes.last_chunk() {
        Some(word) => u64::from_ne_bytes(*word),
        None => few.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    (seen | last) & HIGH_BITS == 0 && blocks.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The index of the byte at which the text became hopeless, fed one at a time.
    fn fails_at(text: &[u8]) -> Option<usize> {
        let mut state = Utf8::default();
        text.iter().position(|byte| state.feed(&[*byte]).is_err())
    }

    #[test]
    fn fails_at_the_first_byte_that_cannot_be_valid() {
        for (text, at) in [
            (&b"\x80"[..], Some(0)),
            (b"a\xff", Some(1)),
            (b"\xc0", Some(0)),
            (b"\xc1", Some(0)),
            (b"\xf5", Some(0)),
            (b"\xc3\x28", Some(1)),
            (b"\xe0\x80", Some(1)),
            (b"\xe0\xa0\x41", Some(2)),
            (b"\xed\xa0", Some(1)),
            (b"\xf0\x80", Some(1)),
            (b"\xf0\x90\x80\x41", Some(3)),
            (b"\xf4\x90", Some(1)),
            (b"\xf4\x8f\xbf\xbf", None),
            (b"\xce\xba\xe1\xbd\xb9", None),
        ] {
            assert_eq!(fails_at(text), at, "{text:x?}");
        }
    }

    #[test]
    fn every_character_passes_in_any_two_pieces() {
        for character in '\0'..=char::MAX {
            let mut buffer = [0; 4];
            let bytes = character.encode_utf8(&mut buffer).as_bytes();
            for cut in 0..=bytes.len() {
                let mut state = Utf8::default();
                state.feed(&bytes[..cut]).unwrap();
                assert_eq!(state.finish().is_ok(), cut == 0 || cut == bytes.len());
                state.feed(&bytes[cut..]).unwrap();
                state.finish().unwrap();
            }
        }
    }

    #[test]
    fn every_short_text_has_the_verdict_of_the_standard_library() {
        for number in 0..=u16::MAX {
            for tail in [&b""[..], b"\x80", b"\x80\x80", b"\xbfz"] {
                let mut text = number.to_be_bytes().to_vec();
                text.extend_from_slice(tail);
                let mut state = Utf8::default();
                let verdict =
                    text.iter().try_for_each(|byte| state.feed(&[*byte])).and_then(|()| state.finish());
                assert_eq!(verdict.is_ok(), std::str::from_utf8(&text).is_ok(), "{text:x?}");
                assert_eq!(validate(&text).is_ok(), verdict.is_ok());
            }
        }
    }

    #[test]
    fn a_byte_that_is_not_ascii_is_found_at_every_place() {
        for len in 0..140 {
            let mut text = vec![b'a'; len];
            assert!(is_ascii(&text));
            for at in 0..len {
                text[at] = 0x80;
                assert!(!is_ascii(&text), "{at} of {len}");
                assert!(validate(&text).is_err());
                text[at] = b'a';
            }
        }
    }
}
