//! Messages a client sends, masked (RFC 6455 section 5.3) or as they are. A message of a scenario is stamped from a
//! template that was masked once, so that the generator spends its time on the server, not on itself.

use highper_wire::ws::{Kind, encoder};

use super::KEY;

/// Digits of a number in a payload.
pub const DIGITS: usize = 16;

/// One message of fixed shape with places for numbers.
#[derive(Clone, Debug)]
pub struct Template {
    frame: Vec<u8>,
    header: usize,
    key: [u8; 4],
}

impl Template {
    /// A template for a masked frame with `payload`.
    pub fn new(payload: &[u8], kind: Kind) -> Self {
        let mut frame = Vec::with_capacity(payload.len() + 14);
        encoder::masked_message(&mut frame, KEY, kind, payload);
        let header = frame.len() - payload.len();
        Self { frame, header, key: KEY }
    }

    /// A template for bytes without a frame.
    pub fn plain(bytes: Vec<u8>) -> Self {
        Self { frame: bytes, header: 0, key: [0; 4] }
    }

    /// Appends the message with the last digits of `value` at each `(offset, value)`, as many as fit.
    pub fn stamp(&self, out: &mut Vec<u8>, numbers: &[(usize, u64)]) {
        let start = out.len() + self.header;
        out.extend_from_slice(&self.frame);
        let payload = &mut out[start..];
        for (offset, value) in numbers {
            let places = DIGITS.min(payload.len() - offset);
            let digits = digits(*value);
            let masked = payload[*offset..].iter_mut().zip(&digits[DIGITS - places..]);
            for (index, (byte, digit)) in masked.enumerate() {
                *byte = digit ^ self.key[(offset + index) % 4];
            }
        }
    }
}

/// The number as sixteen lower-case hexadecimal digits: legal in text, in JSON and of constant length.
pub fn digits(value: u64) -> [u8; DIGITS] {
    let mut digits = [0; DIGITS];
    for (index, digit) in digits.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(value >> (60 - 4 * index)) as usize & 0xf];
    }
    digits
}

/// The number written by [`digits`]; `None` if it is none.
pub fn number(digits: &[u8; DIGITS]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(nibble))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use tungstenite::protocol::{Role, WebSocket};

    fn judged(bytes: Vec<u8>) -> Vec<tungstenite::Message> {
        let mut socket = WebSocket::from_raw_socket(Cursor::new(bytes), Role::Server, None);
        std::iter::from_fn(|| socket.read().ok()).collect()
    }

    #[test]
    fn a_judge_reads_what_was_stamped() {
        for size in [0, 5, 16, 40, 125, 126, 65_535, 65_536] {
            let template = Template::new(&vec![b'a'; size], Kind::Text);
            let mut out = Vec::new();
            template.stamp(&mut out, &[(0, 0x1234)]);
            let mut expected = vec![b'a'; size];
            let places = size.min(DIGITS);
            expected[..places].copy_from_slice(&digits(0x1234)[DIGITS - places..]);
            let [message] = &judged(out)[..] else { panic!("one message of {size} bytes") };
            assert_eq!(message.to_text().unwrap().as_bytes(), expected);
        }
    }

    #[test]
    fn plain_bytes_are_stamped_as_they_are() {
        let mut out = b"before ".to_vec();
        Template::plain(b"POST 0123456789abcdef\n".to_vec()).stamp(&mut out, &[(5, 0xfedc)]);
        assert_eq!(out, b"before POST 000000000000fedc\n");
    }

    #[test]
    fn numbers_survive_their_digits() {
        for value in [0, 1, 0xdead_beef, u64::MAX] {
            assert_eq!(number(&digits(value)), Some(value));
        }
        assert_eq!(number(b"000000000000000g"), None);
    }
}
