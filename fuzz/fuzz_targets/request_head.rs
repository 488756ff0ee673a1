//! Arbitrary bytes as one HTTP/1.1 connection: no panic, and the same events whole or split.
//! The first bytes of the input choose the cuts and the limits, the rest is what the peer sends.
#![no_main]

use std::fmt::Write as _;

use highper_wire::http1::{Event, Head, Limits, Reader};
use highper_wire::ws::handshake::accept;
use libfuzzer_sys::fuzz_target;

const STEPS: usize = 4;

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_at_checked(STEPS + 1) else { return };
    let (steps, small) = (&choice[..STEPS], choice[STEPS] & 1 == 1);
    let limits = if small {
        Limits { head_bytes_max: 64, headers_max: 3, target_bytes_max: 16, body_bytes_max: 20 }
    } else {
        Limits::default()
    };
    let whole = transcript(&limits, &[bytes]);
    assert_eq!(transcript(&limits, &cut(bytes, steps)), whole);
    assert_eq!(transcript(&limits, &bytes.chunks(1).collect::<Vec<_>>()), whole);
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

fn transcript(limits: &Limits, pieces: &[&[u8]]) -> String {
    let mut reader = Reader::new();
    let mut text = String::new();
    let mut is_refused = false;
    let mut in_body = false;
    for piece in pieces {
        let mut input = *piece;
        loop {
            match reader.next(limits, &mut input) {
                Ok(None) => break,
                Ok(Some(_)) if is_refused => panic!("an event after a refusal"),
                Ok(Some(Event::Request(head))) => note_head(&mut text, &head),
                Ok(Some(Event::Body(bytes))) => {
                    // Where a body is cut is the one thing a split may change.
                    if !in_body {
                        text.push_str("body ");
                    }
                    in_body = true;
                    let _ = write!(text, "{}", bytes.escape_ascii());
                }
                Ok(Some(Event::End)) => {
                    in_body = false;
                    text.push_str("\nend\n");
                }
                Err(refusal) => {
                    assert!(!is_refused, "refused twice");
                    is_refused = true;
                    let _ = write!(text, "{} {refusal}", refusal.status().code());
                }
            }
        }
        assert!(input.is_empty());
    }
    let _ = write!(text, "{:?}", reader.stage());
    text
}

fn note_head(text: &mut String, head: &Head<'_>) {
    let (path, query, host) = (head.path(), head.query(), head.host());
    assert!(path.starts_with('/') || path == "*");
    let _ = writeln!(text, "{} {} {path} {query:?} {host:?} {:?}", head.method, head.target, head.version);
    let (keep_alive, upgrade) = (head.keep_alive(), head.wants_upgrade());
    let _ = writeln!(text, "{:?} {keep_alive} {} {upgrade}", head.body(), head.expects_continue());
    for (name, value) in head.fields() {
        assert!(!name.is_empty() && head.header(name).is_some());
        let _ = writeln!(text, "{name}: {}", value.escape_ascii());
    }
    let handshake = accept(head, |_| true).map(|accepted| (accepted.protocol, accepted.extensions().count()));
    let _ = writeln!(text, "{handshake:?}");
}
