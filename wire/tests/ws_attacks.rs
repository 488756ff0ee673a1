//! The frames of an attacker get the close code they deserve, as soon as they can, at no cost in memory.

mod frames;

use frames::*;
use highper_wire::ws::{CloseCode, Decoder, FrameError, Kind, Role, Rules, Scratch};

/// The error must come after exactly `after` bytes and mean `code`, whole or byte by byte.
#[track_caller]
fn refused(rules: &Rules, bytes: &[u8], error: FrameError, code: CloseCode, after: usize) {
    assert_eq!(error.close_code(), code);
    assert_eq!(error_after(rules, false, bytes), (error, after));
    assert_eq!(events_of(rules, false, &[bytes]).last(), Some(&Seen::Error(error)));
}

#[track_caller]
fn passes(rules: &Rules, bytes: &[u8]) {
    match events_of(rules, false, &[bytes]).last() {
        Some(Seen::Error(error)) => panic!("{error}"),
        last => assert!(last.is_some()),
    }
}

#[test]
fn w1_a_declared_length_costs_no_memory() {
    let rules = server();
    for (len, error, code) in [
        (1 << 63, FrameError::LengthNegative, CloseCode::PROTOCOL_ERROR),
        (u64::MAX, FrameError::LengthNegative, CloseCode::PROTOCOL_ERROR),
        ((1 << 63) - 1, FrameError::FrameTooLong { len: (1 << 63) - 1, limit: 65536 }, CloseCode::TOO_BIG),
        (1 << 40, FrameError::FrameTooLong { len: 1 << 40, limit: 65536 }, CloseCode::TOO_BIG),
        (65537, FrameError::FrameTooLong { len: 65537, limit: 65536 }, CloseCode::TOO_BIG),
    ] {
        let bytes = head(FIN | BINARY, len);
        let after = if error == FrameError::LengthNegative { 10 } else { 14 };
        refused(&rules, &bytes, error, code, after);
    }
    let rules = Rules { frame_bytes_max: u64::MAX, message_bytes_max: usize::MAX, ..server() };
    let (mut decoder, mut scratch, mut seen) = (Decoder::new(), Scratch::new(), Vec::new());
    let mut bytes = head(FIN | BINARY, (1 << 63) - 1);
    bytes.extend([0; 100]);
    feed(&rules, false, &mut decoder, &mut scratch, &bytes, &mut seen);
    assert_eq!(seen, []);
    assert!(decoder.held_bytes() < 2048, "{} bytes", decoder.held_bytes());
}

#[test]
fn w1_memory_follows_what_has_come() {
    let rules = Rules { frame_bytes_max: 1 << 40, message_bytes_max: 1 << 30, ..server() };
    let (mut decoder, mut scratch, mut seen) = (Decoder::new(), Scratch::new(), Vec::new());
    feed(&rules, false, &mut decoder, &mut scratch, &head(FIN | BINARY, 1 << 30), &mut seen);
    for received in (1..4000).map(|pieces| pieces * 1000) {
        feed(&rules, false, &mut decoder, &mut scratch, &[5; 1000], &mut seen);
        assert!(decoder.held_bytes() < 8 * received + 1024, "{} after {received}", decoder.held_bytes());
    }
}

#[test]
fn w1_a_message_of_exactly_the_limit_passes() {
    let rules = Rules { frame_bytes_max: 200, message_bytes_max: 300, ..server() };
    passes(&rules, &binary(&[0; 200]));
    let bytes = binary(&[0; 201]);
    refused(&rules, &bytes, FrameError::FrameTooLong { len: 201, limit: 200 }, CloseCode::TOO_BIG, 8);
    passes(&rules, &fragmented(BINARY, &[&[0; 200], &[0; 100]]).concat());
    let bytes = fragmented(BINARY, &[&[0; 200], &[0; 101]]).concat();
    refused(&rules, &bytes, FrameError::MessageTooLong { limit: 300 }, CloseCode::TOO_BIG, 208 + 6);
    let rules = Rules { frame_bytes_max: 1000, ..rules };
    passes(&rules, &binary(&[0; 300]));
    refused(&rules, &binary(&[0; 301]), FrameError::MessageTooLong { limit: 300 }, CloseCode::TOO_BIG, 8);
    let small = Rules { frame_bytes_max: 10, message_bytes_max: 10, ..server() };
    passes(&small, &text("0123456789"));
    let error = FrameError::FrameTooLong { len: 11, limit: 10 };
    refused(&small, &text("0123456789a"), error, CloseCode::TOO_BIG, 6);
    let small = Rules { frame_bytes_max: 20, ..small };
    refused(&small, &text("0123456789a"), FrameError::MessageTooLong { limit: 10 }, CloseCode::TOO_BIG, 6);
}

#[test]
fn w2_a_length_must_be_in_its_shortest_form() {
    for (bytes, after) in [
        (&[0x82, 0xfe, 0, 125][..], 4),
        (&[0x82, 0xfe, 0, 0], 4),
        (&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], 10),
        (&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 0], 10),
    ] {
        refused(&server(), bytes, FrameError::LengthNotMinimal, CloseCode::PROTOCOL_ERROR, after);
    }
    passes(&Rules { frame_bytes_max: 1 << 20, message_bytes_max: 1 << 20, ..server() }, &binary(&[0; 126]));
    passes(&Rules { frame_bytes_max: 1 << 20, message_bytes_max: 1 << 20, ..server() }, &binary(&[0; 65536]));
}

#[test]
fn w2_reserved_bits_and_opcodes_are_refused_before_the_frame_is_complete() {
    for first in 0..=u8::MAX {
        let (bits, opcode) = (first & 0x70, first & 0x0f);
        let error = match opcode {
            3..=7 | 11..=15 => FrameError::ReservedOpcode { opcode },
            _ if bits != 0 => FrameError::ReservedBits,
            CONTINUATION => FrameError::UnexpectedContinuation,
            CLOSE | PING | PONG if first & FIN == 0 => FrameError::ControlFragmented,
            _ => {
                assert_eq!(events_of(&server(), false, &[&head(first, 5)]), []);
                continue;
            }
        };
        refused(&server(), &head(first, 5), error, CloseCode::PROTOCOL_ERROR, 2);
    }
}

#[test]
fn w2_rsv1_means_compressed_only_on_the_first_frame_of_a_message() {
    assert_eq!(events_of(&server(), true, &[&frame(RSV1 | TEXT, b"")]), []);
    for bytes in [
        [frame(RSV1 | TEXT, b"x"), head(FIN | RSV1, 1)].concat(),
        head(FIN | RSV1 | PING, 1),
        head(FIN | RSV1 | CLOSE, 2),
        head(FIN | 0x60 | TEXT, 2),
        head(FIN | 0x50 | TEXT, 2),
    ] {
        assert_eq!(error_after(&server(), true, &bytes).0, FrameError::ReservedBits);
    }
}

#[test]
fn w2_masks_go_from_client_to_server_only() {
    let bytes = server_head(FIN | TEXT, 1);
    refused(&server(), &bytes, FrameError::NotMasked, CloseCode::PROTOCOL_ERROR, 2);
    let bytes = head(FIN | TEXT, 1);
    refused(&Rules::new(Role::Client), &bytes, FrameError::Masked, CloseCode::PROTOCOL_ERROR, 2);
}

#[test]
fn w2_control_frames_are_short_and_whole() {
    passes(&server(), &ping(&[0; 125]));
    for opcode in [CLOSE, PING, PONG] {
        let (error, code) = (FrameError::ControlTooLong, CloseCode::PROTOCOL_ERROR);
        refused(&server(), &head(FIN | opcode, 126), error, code, 2);
        refused(&server(), &head(FIN | opcode, 70_000), error, code, 2);
        let (error, code) = (FrameError::ControlFragmented, CloseCode::PROTOCOL_ERROR);
        refused(&server(), &head(opcode, 0), error, code, 2);
    }
}

#[test]
fn w2_fragments_stand_in_order() {
    let open = frame(TEXT, b"a");
    let bytes = [open.clone(), head(FIN | TEXT, 9)].concat();
    refused(&server(), &bytes, FrameError::UnfinishedMessage, CloseCode::PROTOCOL_ERROR, open.len() + 2);
    let bytes = [open.clone(), head(BINARY, 9)].concat();
    refused(&server(), &bytes, FrameError::UnfinishedMessage, CloseCode::PROTOCOL_ERROR, open.len() + 2);
    let done = [open, frame(FIN, b"b")].concat();
    let bytes = [done.clone(), head(FIN, 9)].concat();
    refused(&server(), &bytes, FrameError::UnexpectedContinuation, CloseCode::PROTOCOL_ERROR, done.len() + 2);
    assert_eq!(events_of(&server(), false, &[&bytes])[0], Seen::Message(Kind::Text, b"ab".to_vec()));
}

#[test]
fn w3_bad_utf8_is_refused_at_its_first_bad_byte() {
    // Autobahn 6.4: the bad byte is 0xf4 0x90, announced to be followed by more.
    let start = "κόσμε".as_bytes();
    for (bad, at) in [(&b"\xf4\x90\x80\x80"[..], 1), (b"\xed\xa0\x80", 1), (b"\xff", 0), (b"\xc0\xaf", 0)] {
        let long = [head(FIN | TEXT, 1000), masked(&[start, bad, b"edited"].concat())].concat();
        let after = 8 + start.len() + at + 1;
        refused(&server(), &long, FrameError::NotUtf8, CloseCode::BAD_PAYLOAD, after);
        let pieces = [frame(TEXT, start), head(0, 1000), masked(bad)].concat();
        let after = 6 + start.len() + 8 + at + 1;
        refused(&server(), &pieces, FrameError::NotUtf8, CloseCode::BAD_PAYLOAD, after);
    }
}

#[test]
fn w3_a_message_must_not_end_inside_a_character() {
    for bytes in [
        text("").into_iter().chain(frame(FIN | TEXT, b"\xce")).collect::<Vec<u8>>(),
        fragmented(TEXT, &[b"a\xe1\xbd", b""]).concat(),
    ] {
        let after = bytes.len();
        refused(&server(), &bytes, FrameError::NotUtf8, CloseCode::BAD_PAYLOAD, after);
    }
    passes(&server(), &fragmented(TEXT, &[b"a\xe1", b"\xbd", b"\xb9"]).concat());
    passes(&server(), &binary(b"\xff"));
    passes(&Rules { validate_utf8: false, ..server() }, &frame(FIN | TEXT, b"\xff"));
    passes(&Rules { validate_utf8: false, ..server() }, &fragmented(TEXT, &[b"\xff", b"\xff"]).concat());
}

#[test]
fn w4_empty_continuations_are_counted_apart() {
    let rules = server();
    let mut bytes = frame(TEXT, b"a");
    for _ in 0..256 {
        bytes.extend(frame(0, b""));
    }
    passes(&rules, &[bytes.clone(), frame(FIN, b"b")].concat());
    let after = bytes.len() + 6;
    bytes.extend(frame(0, b""));
    let error = FrameError::TooManyEmptyContinuations { limit: 256 };
    refused(&rules, &bytes, error, CloseCode::POLICY, after);
}

#[test]
fn w4_fragments_are_counted() {
    let rules = Rules { fragments_max: 1000, message_bytes_max: 1 << 20, ..server() };
    let pieces = vec![&b"x"[..]; 1000];
    let bytes = fragmented(BINARY, &pieces).concat();
    assert_eq!(events_of(&rules, false, &[&bytes]), [Seen::Message(Kind::Binary, vec![b'x'; 1000])]);
    let bytes = fragmented(BINARY, &[&pieces[..], &[&b"x"[..]]].concat()).concat();
    let error = FrameError::TooManyFragments { limit: 1000 };
    refused(&rules, &bytes, error, CloseCode::POLICY, bytes.len() - 1);
}

#[test]
fn w4_as_many_fragments_as_a_conformance_suite_sends() {
    let rules = Rules { message_bytes_max: 4 << 20, ..server() };
    let pieces = vec![&[b'*'; 64][..]; 65_536];
    let mut bytes = fragmented(TEXT, &pieces);
    bytes.push(frame(FIN, b""));
    bytes[65_535][0] = 0;
    assert_eq!(
        events_of(&rules, false, &[&bytes.concat()]),
        [Seen::Message(Kind::Text, vec![b'*'; 4 << 20])]
    );
}

#[test]
fn w5_control_frames_do_not_disturb_a_message() {
    let pieces = fragmented(TEXT, &[b"a", b"b", b"c"]);
    let bytes = [&pieces[0], &ping(&[1; 125]), &pieces[1], &ping(b""), &frame(FIN | PONG, b"p"), &pieces[2]];
    let bytes: Vec<u8> = bytes.into_iter().flatten().copied().collect();
    let expected = [
        Seen::Ping(vec![1; 125]),
        Seen::Ping(vec![]),
        Seen::Pong(b"p".to_vec()),
        Seen::Message(Kind::Text, b"abc".to_vec()),
    ];
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(events_of(&server(), false, &[&bytes]), expected);
    assert_eq!(events_of(&server(), false, &single), expected);
}

#[test]
fn w5_a_ping_flood_holds_nothing() {
    let (mut decoder, mut scratch, mut seen) = (Decoder::new(), Scratch::new(), Vec::new());
    let flood = ping(&[7; 125]).repeat(1000);
    for piece in flood.chunks(997) {
        feed(&server(), false, &mut decoder, &mut scratch, piece, &mut seen);
        assert!(decoder.held_bytes() < 512);
    }
    assert_eq!(seen.len(), 1000);
    assert_eq!(scratch.held_bytes(), 0);
}

#[test]
fn w7_close_frames_say_nothing_or_a_code_and_text() {
    let protocol = CloseCode::PROTOCOL_ERROR;
    let bytes = frame(FIN | CLOSE, b"\x03");
    refused(&server(), &bytes, FrameError::CloseOneByte, protocol, bytes.len());
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        let bytes = frame(FIN | CLOSE, &code.to_be_bytes());
        refused(&server(), &bytes, FrameError::CloseCode { code }, protocol, bytes.len());
    }
    let bytes = frame(FIN | CLOSE, b"\x03\xe8ok\xff");
    refused(&server(), &bytes, FrameError::NotUtf8, CloseCode::BAD_PAYLOAD, bytes.len());
    for code in
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
    {
        let payload = [&u16::to_be_bytes(code)[..], "é".repeat(61).as_bytes()].concat();
        let expected = Seen::Close(Some(CloseCode::new(code)), "é".repeat(61));
        assert_eq!(events_of(&server(), false, &[&frame(FIN | CLOSE, &payload)]), [expected]);
    }
    assert_eq!(events_of(&server(), false, &[&frame(FIN | CLOSE, b"")]), [Seen::Close(None, String::new())]);
}

/// Masked as the first bytes of a frame.
fn masked(payload: &[u8]) -> Vec<u8> {
    payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
}
