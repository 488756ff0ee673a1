//! Writing an event, its cursor and its stored form into a buffer with room allocates nothing; reading a cursor allocates
//! once, a bad one once at most; an open stream reads events without allocating.

mod counting;

use std::hint::black_box;
use std::time::Duration;

use counting::allocations;
use highper_wire::sse::{self, Cursor, Decoder, Tag, gzip};

#[test]
fn writing_allocates_nothing() {
    let mut out = Vec::with_capacity(1 << 16);
    let mut packed = Vec::with_capacity(1 << 16);
    let tags: Vec<_> = (0..16).map(|number| Tag::of(&format!("room-{number}"))).collect();
    let made = allocations(|| {
        for offset in 0..100 {
            out.clear();
            packed.clear();
            sse::retry(&mut out, Duration::from_secs(3));
            sse::comment(&mut out, "still here");
            sse::id_of_cursor(&mut out, tags.iter().map(|tag| (*tag, 7, offset)));
            sse::body(&mut out, Some("message"), black_box(b"one line"));
            sse::id_of_cursor(&mut out, ["a", "b"].into_iter().map(|channel| (channel, 7, offset)));
            sse::event(&mut out, None, None, black_box(b"two\r\nlines\n"));
            gzip::stored(&out, &mut packed);
        }
    });
    assert_eq!(made, 0);
    assert!(out.len() > 200 && packed.len() == out.len() + 5);
}

#[test]
fn a_cursor_costs_one_allocation() {
    let mut text = Vec::new();
    sse::cursor::write(&mut text, (0..16).map(|number| (["a", "b"][number % 2], 7, 9)));
    assert_eq!(allocations(|| drop(black_box(Cursor::parse(&text)))), 1);
    for bad in [&b""[..], b"AA", b"not a cursor", &[b'A'; 1 << 20]] {
        assert_eq!(allocations(|| drop(black_box(Cursor::parse(bad)))), 0);
    }
    assert!(allocations(|| drop(black_box(Cursor::parse(&text[..text.len() - 1])))) <= 1);
}

#[test]
fn an_open_stream_is_read_without_allocating() {
    let mut stream = Vec::new();
    sse::event(&mut stream, Some("id"), Some("name"), b"first\nsecond");
    let (left, right) = stream.split_at(30);
    let mut decoder = Decoder::new();
    let mut events = 0;
    let mut read = || {
        for piece in [left, right, &stream] {
            decoder.feed(piece, |_| events += 1).unwrap();
        }
    };
    read();
    assert_eq!(allocations(|| (0..100).for_each(|_| read())), 0);
    assert_eq!(events, 202);
}
