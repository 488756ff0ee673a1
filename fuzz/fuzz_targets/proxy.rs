//! Arbitrary bytes as the PROXY header of a connection: no panic, the same result whole or split, and never a byte
//! taken that is not the header's. The first bytes of the input choose the cuts, and whether the rest follows a
//! signature, which chance would not find.
#![no_main]

use highper_wire::proxy::{Header, Reader, Refusal, V2_REST_MAX};
use libfuzzer_sys::fuzz_target;

const STEPS: usize = 4;

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_at_checked(STEPS + 1) else { return };
    let (steps, signature) = (&choice[..STEPS], choice[STEPS]);
    let bytes = match signature % 4 {
        0 => rest.to_vec(),
        1 => [b"PROXY TCP4 ", rest].concat(),
        2 => [b"PROXY TCP6 ", rest].concat(),
        _ => [b"\r\n\r\n\0\r\nQUIT\n\x21", rest].concat(),
    };
    let whole = read(&[&bytes]);
    assert_eq!(read(&cut(&bytes, steps)), whole);
    assert_eq!(read(&bytes.chunks(1).collect::<Vec<_>>()), whole);
    if let Ok((Some(_), left)) = whole {
        assert!(bytes.len() - left <= 16 + V2_REST_MAX);
    }
});

/// Pieces of 1 to 256 bytes whose lengths go round the `steps`.
fn cut<'b>(mut bytes: &'b [u8], steps: &[u8]) -> Vec<&'b [u8]> {
    let mut pieces = Vec::new();
    for step in steps.iter().cycle() {
        let (piece, rest) = bytes.split_at(bytes.len().min(usize::from(*step) + 1));
        pieces.push(piece);
        bytes = rest;
        if bytes.is_empty() {
            break;
        }
    }
    pieces
}

/// The header, and how many bytes are left behind it.
fn read(pieces: &[&[u8]]) -> Result<(Option<Header>, usize), Refusal> {
    let mut reader = Reader::new();
    let (mut header, mut left) = (None, 0);
    for piece in pieces {
        let mut input = *piece;
        if header.is_none() {
            header = reader.next(&mut input)?;
        }
        assert!(header.is_some() || input.is_empty());
        left += input.len();
    }
    Ok((header, left))
}
