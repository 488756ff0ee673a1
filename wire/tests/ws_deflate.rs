//! Compressed messages come back as they went, whatever wrote them, and a bomb stops at the limit.

mod frames;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use frames::*;
use highper_wire::ws::deflate::Inflater;
use highper_wire::ws::{CloseCode, Decoder, Deflater, FrameError, Kind, Rules, Scratch, encoder};

/// Payloads that compress well, badly and not at all, around the sizes where zlib changes its ways.
fn payloads() -> Vec<Vec<u8>> {
    let mut random = Random::new(7);
    let mut payloads = vec![];
    for len in [0, 1, 2, 3, 20, 125, 126, 255, 256, 257, 1000, 16_383, 32_768, 65_535, 65_536, 70_000] {
        payloads.push(vec![b'a'; len]);
        payloads.push(random.bytes(len));
        payloads.push((0..len).map(|at| b"{\"text\":\"hello\"}, "[(at * at / 7 + at) % 18]).collect());
        payloads.push((0..len).map(|_| b'a' + random.below(4) as u8).collect());
    }
    payloads
}

fn inflate(compressed: &[u8], bytes_max: usize) -> Result<Vec<u8>, FrameError> {
    let mut out = Vec::new();
    Inflater::default().inflate(compressed, bytes_max, &mut out).map(|()| out)
}

/// What another zlib makes of the payload, flushed and with the tail removed.
fn deflated(payload: &[u8], level: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() * 2 + 1000);
    let mut raw = Compress::new(Compression::new(level), false);
    raw.compress_vec(payload, &mut out, FlushCompress::Sync).expect("room for any data");
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
    out.truncate(out.len() - 4);
    out
}

/// The same as a finished stream (BFINAL), with the byte that RFC 7692 §7.2.3.4 adds.
fn finished(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() * 2 + 1000);
    let mut raw = Compress::new(Compression::new(6), false);
    let status = raw.compress_vec(payload, &mut out, FlushCompress::Finish);
    assert_eq!(status.expect("room for any data"), Status::StreamEnd);
    out.push(0);
    out
}

#[test]
fn what_we_deflate_inflates_again_at_every_window() {
    let (mut deflater, mut inflater, mut plain) = (Deflater::new(), Inflater::default(), Vec::new());
    for payload in payloads() {
        for window_bits in 9..=15 {
            let mut compressed = b"before".to_vec();
            deflater.compress(&payload, window_bits, &mut compressed);
            let compressed = compressed.strip_prefix(b"before").unwrap();
            inflater.inflate(compressed, payload.len(), &mut plain).unwrap();
            assert!(plain == payload, "{} bytes at {window_bits} bits", payload.len());
        }
    }
}

#[test]
fn no_byte_refers_back_beyond_the_agreed_window() {
    let mut deflater = Deflater::new();
    for payload in payloads() {
        for window_bits in 9..=15 {
            let mut compressed = Vec::new();
            deflater.compress(&payload, window_bits, &mut compressed);
            compressed.extend([0, 0, 0xff, 0xff]);
            // Output in small pieces: a peer with this window has no more history than it.
            let mut raw = Decompress::new_with_window_bits(false, window_bits);
            let (mut plain, mut rest) = (Vec::new(), &compressed[..]);
            while plain.len() < payload.len() {
                let mut piece = Vec::with_capacity(64);
                let before = raw.total_in();
                raw.decompress_vec(rest, &mut piece, FlushDecompress::None).unwrap();
                rest = &rest[(raw.total_in() - before) as usize..];
                assert!(!piece.is_empty());
                plain.extend(piece);
            }
            assert!(plain == payload, "{} bytes at {window_bits} bits", payload.len());
        }
    }
}

#[test]
fn what_others_deflate_inflates_at_every_level() {
    for payload in payloads() {
        for level in 0..=9 {
            assert!(inflate(&deflated(&payload, level), payload.len()).unwrap() == payload);
        }
        assert!(inflate(&finished(&payload), payload.len()).unwrap() == payload);
    }
}

#[test]
fn rfc_7692_section_7_2_3_examples() {
    // 7.2.3.1 one block, 7.2.3.3 no compression, 7.2.3.4 BFINAL, 7.2.3.5 two blocks, 7.2.3.6 empty.
    for compressed in [
        &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
        b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
    ] {
        assert_eq!(inflate(compressed, 5).unwrap(), b"Hello", "{compressed:x?}");
        assert_eq!(inflate(compressed, 4), Err(FrameError::MessageTooLong { limit: 4 }));
    }
    assert_eq!(inflate(b"\x00", 0).unwrap(), b"");
    assert_eq!(inflate(b"", 0).unwrap(), b"");
    let mut empty = Vec::new();
    Deflater::new().compress(b"", 15, &mut empty);
    assert_eq!(empty, b"\x00");
}

#[test]
fn a_final_block_may_come_first_or_unfinished_senders_may_forget_the_zero() {
    let (hello, again) = (finished(b"Hello Hello Hello "), deflated(b"again", 6));
    let hello = &hello[..hello.len() - 1];
    assert_eq!(inflate(hello, 100).unwrap(), b"Hello Hello Hello ");
    assert_eq!(inflate(&[hello, &again].concat(), 100).unwrap(), b"Hello Hello Hello again");
    // A block after the final one may refer to what came before it.
    let mut raw = Compress::new(Compression::new(6), false);
    raw.set_dictionary(b"Hello Hello Hello ").unwrap();
    let mut back = Vec::with_capacity(100);
    raw.compress_vec(b"Hello Hello Hello ", &mut back, FlushCompress::Sync).unwrap();
    back.truncate(back.len() - 4);
    assert_eq!(inflate(&[hello, &back].concat(), 100).unwrap(), b"Hello Hello Hello Hello Hello Hello ");
    assert_eq!(inflate(&[&hello.repeat(8)[..], &again].concat(), 1000).unwrap().len(), 8 * 18 + 5);
    assert_eq!(inflate(&[&hello.repeat(9)[..], &again].concat(), 1000), Err(FrameError::BadDeflate));
}

#[test]
fn damaged_data_is_refused_with_1007() {
    assert_eq!(FrameError::BadDeflate.close_code(), CloseCode::BAD_PAYLOAD);
    for compressed in
        [&b"\xff\xff\xff"[..], b"\x06", b"\x00\x05\x00\x05\x00Hello", b"\xf2\x48\xcd\xc9\xc9\x07\x02\xff"]
    {
        assert_eq!(inflate(compressed, 100), Err(FrameError::BadDeflate), "{compressed:x?}");
    }
    let events = events_of(&server(), true, &[&frame(FIN | RSV1 | TEXT, b"\xff\xff\xff")]);
    assert_eq!(events, [Seen::Error(FrameError::BadDeflate)]);
}

#[test]
fn a_message_that_ends_inside_a_block_is_refused() {
    let whole = deflated(b"the quick brown fox jumps over the lazy dog, twice: the quick brown fox", 9);
    for end in 1..whole.len() - 1 {
        assert_eq!(inflate(&whole[..end], 1000), Err(FrameError::BadDeflate), "cut at {end}");
    }
}

#[test]
fn inflated_text_must_be_utf8() {
    for (payload, good) in [(&b"caf\xc3\xa9"[..], true), (b"caf\xc3", false), (b"\xff", false)] {
        let compressed = deflated(payload, 6);
        let expected =
            if good { Seen::Message(Kind::Text, payload.to_vec()) } else { Seen::Error(FrameError::NotUtf8) };
        let (left, right) = compressed.split_at(2);
        let pieces = [frame(RSV1 | TEXT, left), frame(FIN, right)].concat();
        assert_eq!(
            events_of(&server(), true, &[&frame(FIN | RSV1 | TEXT, &compressed)]),
            std::slice::from_ref(&expected)
        );
        assert_eq!(events_of(&server(), true, &[&pieces]), [expected]);
        let binary = events_of(&server(), true, &[&frame(FIN | RSV1 | BINARY, &compressed)]);
        assert_eq!(binary, [Seen::Message(Kind::Binary, payload.to_vec())]);
    }
}

#[test]
fn w8_a_bomb_stops_at_the_limit() {
    let cap = 64 * 1024;
    let rules = Rules { frame_bytes_max: 2 << 20, message_bytes_max: cap, ..server() };
    for inflated in [cap + 1, 1 << 20, 64 << 20] {
        let bomb = frame(FIN | RSV1 | BINARY, &deflated(&vec![0; inflated], 9));
        let (mut decoder, mut scratch) = (Decoder::new(), Scratch::new());
        for _ in 0..100 {
            let mut seen = Vec::new();
            feed(&rules, true, &mut decoder, &mut scratch, &bomb, &mut seen);
            let error = FrameError::MessageTooLong { limit: cap };
            assert_eq!(seen, [Seen::Error(error)]);
            assert_eq!(error.close_code(), CloseCode::TOO_BIG);
            assert!(scratch.held_bytes() <= 2 * cap, "{} bytes", scratch.held_bytes());
        }
        scratch.trim();
        assert!(scratch.held_bytes() <= cap);
    }
    let bytes = frame(FIN | RSV1 | BINARY, &deflated(&vec![0; cap], 9));
    assert_eq!(events_of(&rules, true, &[&bytes]), [Seen::Message(Kind::Binary, vec![0; cap])]);
}

#[test]
fn w8_compressed_bytes_are_limited_too() {
    let rules = Rules { frame_bytes_max: 1 << 20, message_bytes_max: 1000, ..server() };
    let incompressible = Random::new(3).bytes(1000);
    for level in [0, 6] {
        let bytes = frame(FIN | RSV1 | BINARY, &deflated(&incompressible, level));
        assert_eq!(events_of(&rules, true, &[&bytes]), [Seen::Message(Kind::Binary, incompressible.clone())]);
    }
    // Empty blocks inflate to nothing, but they do not come for free.
    let blocks = b"\0\0\0\xff\xff".repeat(1000);
    let error = FrameError::MessageTooLong { limit: 1000 };
    assert_eq!(events_of(&rules, true, &[&frame(FIN | RSV1 | BINARY, &blocks)]), [Seen::Error(error)]);
    let pieces: Vec<u8> = [frame(RSV1 | BINARY, &blocks[..1000]), frame(0, &blocks[1000..])].concat();
    assert_eq!(events_of(&rules, true, &[&pieces]), [Seen::Error(error)]);
    assert_eq!(
        events_of(&rules, true, &[&frame(FIN | RSV1 | BINARY, &[&blocks[..1100], b"\0"].concat())]).len(),
        1
    );
}

#[test]
fn a_compressed_conversation_survives_any_split() {
    let mut deflater = Deflater::new();
    let (mut bytes, mut compressed, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    for payload in payloads().into_iter().filter(|payload| payload.len() <= 1000) {
        compressed.clear();
        deflater.compress(&payload, 12, &mut compressed);
        encoder::masked_compressed_message(&mut bytes, KEY, Kind::Binary, &compressed);
        expected.push(Seen::Message(Kind::Binary, payload));
    }
    for size in [1, 2, 100, 1000, bytes.len()] {
        let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
        assert_eq!(events_of(&server(), true, &pieces), expected, "pieces of {size}");
    }
}

#[test]
fn w9_random_data_never_disturbs_the_next_message() {
    let (mut inflater, mut random, mut out) = (Inflater::default(), Random::new(11), Vec::new());
    let good = deflated(b"still fine, still fine", 6);
    for _ in 0..20_000 {
        let len = random.below(60);
        let mut data = if random.below(2) == 0 { random.bytes(len) } else { good.clone() };
        if !data.is_empty() {
            let at = random.below(data.len());
            data[at] ^= 1 << random.below(8);
        }
        let _verdict = inflater.inflate(&data, 1000, &mut out);
        assert!(out.len() <= 1001 || out.capacity() <= 2048);
        inflater.inflate(&good, 1000, &mut out).unwrap();
        assert_eq!(out, b"still fine, still fine");
    }
}
