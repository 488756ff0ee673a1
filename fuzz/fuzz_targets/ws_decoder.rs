//! Arbitrary frames never panic the decoder, and any split of them gives the same events.
#![no_main]

use highper_wire::ws::{Decoder, Event, FrameError, Input, Kind, Role, Rules, Scratch};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, PartialEq)]
enum Seen {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Error(FrameError),
}

fuzz_target!(|data: &[u8]| {
    // The first bytes choose the rules and the splits, the rest is what the peer sends.
    let [choice, split, bytes @ ..] = data else { return };
    let role = if choice & 1 == 0 { Role::Server } else { Role::Client };
    let inflate = choice & 2 == 0;
    let rules = Rules {
        frame_bytes_max: 300,
        message_bytes_max: 400,
        fragments_max: 6,
        empty_continuations_max: 3,
        validate_utf8: choice & 4 == 0,
        ..Rules::new(role)
    };
    let mut scratch = Scratch::new();
    let whole = events_of(&rules, inflate, &mut scratch, bytes, bytes.len().max(1));
    let pieces = events_of(&rules, inflate, &mut scratch, bytes, usize::from(*split).max(1));
    let single = events_of(&rules, inflate, &mut scratch, bytes, 1);
    assert_eq!(pieces, whole);
    assert_eq!(single, whole);
    assert!(scratch.held_bytes() < 1 << 20);
});

fn events_of(rules: &Rules, inflate: bool, scratch: &mut Scratch, bytes: &[u8], size: usize) -> Vec<Seen> {
    let mut decoder = Decoder::new();
    let mut received = bytes.to_vec();
    let mut seen = Vec::new();
    for piece in received.chunks_mut(size) {
        let mut input = Input::new(piece);
        loop {
            let next = match decoder.next(rules, inflate, scratch, &mut input) {
                Ok(Some(Event::Message { kind, payload })) => Seen::Message(kind, payload.to_vec()),
                Ok(Some(Event::Ping(payload))) => Seen::Ping(payload.to_vec()),
                Ok(Some(Event::Pong(payload))) => Seen::Pong(payload.to_vec()),
                Ok(Some(Event::Close { code, reason })) => {
                    Seen::Close(code.map(|code| code.get()), reason.to_owned())
                }
                Ok(None) => break,
                Err(error) => Seen::Error(error),
            };
            let over = matches!(next, Seen::Close(..) | Seen::Error(_));
            seen.push(next);
            if over {
                decoder.release(scratch);
                return seen;
            }
        }
        assert!(input.is_empty());
        assert!(decoder.held_bytes() < 4096);
    }
    decoder.release(scratch);
    seen
}
