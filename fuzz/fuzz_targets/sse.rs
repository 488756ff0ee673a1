//! Arbitrary bytes as a stream, as a cursor and as an event: no panic, any split gives the same events, and what is
//! encoded comes back.
#![no_main]

use highper_wire::sse::{self, Cursor, Decoder, Tag};
use libfuzzer_sys::fuzz_target;

type Seen = (String, String, String);

fuzz_target!(|data: &[u8]| {
    let [split, bytes @ ..] = data else { return };
    stream(bytes, usize::from(*split).max(1));
    cursor(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        event(text, usize::from(*split));
    }
});

fn stream(bytes: &[u8], size: usize) {
    let whole = events_of(bytes, bytes.len().max(1));
    assert_eq!(events_of(bytes, size), whole);
    assert_eq!(events_of(bytes, 1), whole);
}

/// The events, and whether the stream went over the limit.
fn events_of(bytes: &[u8], size: usize) -> (Vec<Seen>, bool) {
    let mut decoder = Decoder::with_limit(60);
    let mut seen = Vec::new();
    for piece in bytes.chunks(size) {
        let told = decoder.feed(piece, |event| {
            assert!(event.data.len() <= 60 && !event.event.is_empty() && !event.id.contains('\0'));
            seen.push((event.id.to_owned(), event.event.to_owned(), event.data.to_owned()));
        });
        if told.is_err() {
            return (seen, true);
        }
    }
    (seen, false)
}

fn cursor(bytes: &[u8]) {
    if let Ok(cursor) = Cursor::parse(bytes) {
        let _position = cursor.position("chat");
    }
    // Names and positions drawn from the same bytes, one from each seven; 109 of at most 14 bytes all fit.
    let positions: Vec<_> = bytes
        .chunks_exact(7)
        .take(109)
        .map(|piece| {
            let number = piece.iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
            (format!("{}", piece[0]), number as u32, number >> (piece[1] & 31))
        })
        .collect();
    let mut text = Vec::new();
    sse::cursor::write(&mut text, positions.iter().map(|(name, epoch, offset)| (&name[..], *epoch, *offset)));
    assert!(text.len() <= sse::cursor::CURSOR_LEN_MAX);
    let cursor = Cursor::parse(&text).expect("what is written is read");
    for (name, epoch, offset) in &positions {
        let lonely = positions.iter().filter(|(other, ..)| other == name).count() == 1;
        let position = cursor.position(Tag::of(name));
        assert!(position == lonely.then_some((*epoch, *offset)), "{name}: {position:?}");
    }
}

fn event(text: &str, split: usize) {
    let at = (0..=split.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let (name, data) = text.split_at(at);
    if sse::check_name(name).is_err() {
        return;
    }
    let mut bytes = Vec::new();
    sse::event(&mut bytes, Some(name), Some(name), data.as_bytes());
    let mut seen = Vec::new();
    let told = Decoder::new().feed(&bytes, |event| {
        seen.push((event.id.to_owned(), event.event.to_owned(), event.data.to_owned()));
    });
    told.expect("inputs of a fuzzer are short");
    let named = if name.is_empty() { "message" } else { name };
    let data = data.replace("\r\n", "\n").replace('\r', "\n");
    assert_eq!(seen, [(name.to_owned(), named.to_owned(), data)]);
}
