//! Any split of the bytes gives the same events.

mod frames;

use frames::*;
use highper_wire::ws::{Decoder, Deflater, Kind, Rules, Scratch};

/// Conversations that touch every state: lengths of all three forms, fragments, control frames in between,
/// compression, and each way to end badly.
fn conversations() -> Vec<Vec<u8>> {
    let mut deflater = Deflater::new();
    let mut deflated = Vec::new();
    deflater.compress("{\"text\":\"κόσμε κόσμε κόσμε\"}".as_bytes(), 15, &mut deflated);
    let (left, right) = deflated.split_at(deflated.len() / 2);
    let fragments = fragmented(TEXT, &["κό".as_bytes(), b"\xcf", b"\x83", b"", "με".as_bytes()]);
    let close = frame(FIN | CLOSE, b"\x03\xe8bye");
    let good = [
        [text("hé"), ping(b"x"), binary(&[0; 126]), text(""), frame(FIN | PONG, b""), close.clone()].concat(),
        [
            fragments[0].clone(),
            ping(b"a"),
            fragments[1].clone(),
            frame(FIN | PONG, &[7; 125]),
            fragments[2..].concat(),
            text("x"),
        ]
        .concat(),
        [
            frame(FIN | RSV1 | TEXT, &deflated),
            frame(RSV1 | TEXT, left),
            ping(b"y"),
            frame(FIN, right),
            text("z"),
        ]
        .concat(),
        [frame(FIN | RSV1 | BINARY, b"\0"), frame(FIN | RSV1 | TEXT, b""), binary(&[1; 700]), close.clone()]
            .concat(),
    ];
    let good = good.into_iter();
    let bad = [
        text("\u{0}").into_iter().chain(frame(FIN | TEXT, b"ab\xffcd")).collect(),
        [fragments[..2].concat(), frame(0, b"z"), text("never")].concat(),
        [fragments[..2].concat(), frame(FIN, b"")].concat(),
        [fragments[0].clone(), text("new")].concat(),
        [ping(b""), frame(FIN, b"lost")].concat(),
        [text("a"), frame(FIN | CLOSE, b"\x03")].concat(),
        [text("a"), frame(FIN | CLOSE, b"\x03\xe8\xff")].concat(),
        [text("a"), frame(FIN | CLOSE, b"\x03\xed")].concat(),
        [frame(FIN | RSV1 | TEXT, b"\xff\xff\xff"), text("never")].concat(),
        [binary(b"ok"), head(FIN | BINARY, 1 << 20)].concat(),
        [frame(BINARY, &[0; 600]), frame(FIN, &[0; 401])].concat(),
    ];
    good.chain(bad).collect()
}

fn rules() -> Rules {
    Rules { frame_bytes_max: 1000, message_bytes_max: 1000, ..server() }
}

#[test]
fn any_two_pieces_give_the_same_events() {
    for bytes in conversations() {
        let whole = events_of(&rules(), true, &[&bytes]);
        assert!(!whole.is_empty());
        for cut in 0..=bytes.len() {
            let events = events_of(&rules(), true, &[&bytes[..cut], &bytes[cut..]]);
            assert_eq!(events, whole, "cut at byte {cut} of {bytes:x?}");
        }
    }
}

#[test]
fn pieces_of_every_size_give_the_same_events() {
    for bytes in conversations() {
        let whole = events_of(&rules(), true, &[&bytes]);
        for size in 1..bytes.len().min(200) {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(events_of(&rules(), true, &pieces), whole, "pieces of {size} of {bytes:x?}");
        }
    }
}

#[test]
fn connections_that_share_a_scratch_do_not_share_bytes() {
    let conversations = conversations();
    for size in [1, 3, 7, 50] {
        let mut scratch = Scratch::new();
        let mut decoders: Vec<_> =
            conversations.iter().map(|_| (Decoder::new(), Vec::new(), false)).collect();
        let longest = conversations.iter().map(Vec::len).max().unwrap_or(0);
        for start in (0..longest).step_by(size) {
            for (bytes, (decoder, seen, over)) in conversations.iter().zip(&mut decoders) {
                if start < bytes.len() && !*over {
                    let piece = &bytes[start..bytes.len().min(start + size)];
                    *over = feed(&rules(), true, decoder, &mut scratch, piece, seen);
                }
            }
        }
        for (bytes, (_, seen, _)) in conversations.iter().zip(&decoders) {
            assert_eq!(*seen, events_of(&rules(), true, &[bytes]), "pieces of {size}");
        }
    }
}

#[test]
fn nothing_is_held_between_messages() {
    let mut scratch = Scratch::new();
    for bytes in &conversations()[..4] {
        let (mut decoder, mut seen) = (Decoder::new(), Vec::new());
        for byte in bytes {
            feed(&rules(), true, &mut decoder, &mut scratch, &[*byte], &mut seen);
        }
        assert!(decoder.is_idle());
        assert_eq!(decoder.held_bytes(), 0);
    }
}

#[test]
fn a_released_connection_gives_its_buffer_back() {
    let (mut decoder, mut scratch, mut seen) = (Decoder::new(), Scratch::new(), Vec::new());
    feed(&rules(), true, &mut decoder, &mut scratch, &frame(BINARY, &[9; 900]), &mut seen);
    assert!(!decoder.is_idle() && decoder.held_bytes() >= 900);
    assert_eq!(scratch.held_bytes(), 0);
    decoder.release(&mut scratch);
    assert!(decoder.is_idle());
    assert!(scratch.held_bytes() >= 900);
}

#[test]
fn a_client_reads_what_a_server_writes_at_any_split() {
    use highper_wire::ws::{CloseCode, Role, encoder};
    let mut bytes = Vec::new();
    encoder::message(&mut bytes, Kind::Text, "κόσμε".as_bytes());
    encoder::ping(&mut bytes, b"p");
    encoder::message(&mut bytes, Kind::Binary, &[3; 300]);
    encoder::pong(&mut bytes, &[1; 200]);
    encoder::close(&mut bytes, Some(CloseCode::GOING_AWAY), &"é".repeat(100));
    let expected = vec![
        Seen::Message(Kind::Text, "κόσμε".into()),
        Seen::Ping(b"p".to_vec()),
        Seen::Message(Kind::Binary, vec![3; 300]),
        Seen::Pong(vec![1; 125]),
        Seen::Close(Some(CloseCode::GOING_AWAY), "é".repeat(61)),
    ];
    let rules = Rules::new(Role::Client);
    for cut in 0..=bytes.len() {
        assert_eq!(events_of(&rules, false, &[&bytes[..cut], &bytes[cut..]]), expected, "cut at byte {cut}");
    }
}
