//! Compressed events are shared: any pieces, in any order, behind one header inflate at once to what they stand for.

mod seeded;

use std::io::Write;

use flate2::write::GzDecoder;
use highper_wire::sse::gzip::{self, Gzip};
use highper_wire::sse::{self, Decoder};
use seeded::Random;

/// The receiver of one stream.
struct Receiver {
    inflater: GzDecoder<Vec<u8>>,
    wanted: Vec<u8>,
}

impl Receiver {
    fn new() -> Self {
        let mut inflater = GzDecoder::new(Vec::new());
        inflater.write_all(&gzip::HEADER).expect("a gzip header");
        Self { inflater, wanted: Vec::new() }
    }

    /// Takes a piece; all that it stands for must be there before anything else comes.
    fn take(&mut self, piece: &[u8], plain: &[u8]) {
        self.inflater.write_all(piece).expect("a piece inflates");
        self.inflater.flush().expect("a piece ends on a byte");
        self.wanted.extend_from_slice(plain);
        assert!(*self.inflater.get_ref() == self.wanted, "behind by a piece of {} bytes", plain.len());
    }
}

fn plains(random: &mut Random) -> Vec<Vec<u8>> {
    let lens =
        [0, 1, 2, 7, 50, 200, 255, 256, 1_000, 4_096, 16_383, 65_534, 65_535, 65_536, 131_070, 200_000];
    let kinds = lens.into_iter().flat_map(|len| {
        let noise = (0..len).map(|_| random.next() as u8).collect();
        let text = (0..len).map(|at| b"data: {\"text\":\"hello\"}\n\n"[(at * at / 7 + at) % 24]).collect();
        [noise, text, vec![b'a'; len]]
    });
    kinds.collect()
}

fn compressed(gzip: &mut Gzip, plain: &[u8]) -> Vec<u8> {
    let mut out = b"before".to_vec();
    gzip.compress(plain, &mut out);
    out.strip_prefix(b"before").expect("appended").to_vec()
}

fn stored(plain: &[u8]) -> Vec<u8> {
    let mut out = b"before".to_vec();
    gzip::stored(plain, &mut out);
    out.strip_prefix(b"before").expect("appended").to_vec()
}

#[test]
fn compressed_stored_compressed_arrives_piece_by_piece() {
    let mut random = Random::new(1);
    let plains = plains(&mut random);
    for level in 1..=9 {
        let mut gzip = Gzip::new(level);
        let mut receiver = Receiver::new();
        for plain in &plains {
            receiver.take(&compressed(&mut gzip, plain), plain);
            receiver.take(&stored(plain), plain);
            receiver.take(&compressed(&mut gzip, plain), plain);
        }
    }
}

#[test]
fn pieces_of_one_compressor_stand_alone_in_any_order() {
    let random = &mut Random::new(2);
    let mut gzip = Gzip::new(6);
    let plains: Vec<_> = plains(random).into_iter().filter(|plain| plain.len() < 5_000).collect();
    let pieces: Vec<_> = plains.iter().map(|plain| compressed(&mut gzip, plain)).collect();
    for (piece, plain) in pieces.iter().zip(&plains) {
        Receiver::new().take(piece, plain);
    }
    for _ in 0..200 {
        let mut receiver = Receiver::new();
        for _ in 0..20 {
            let at = random.below(plains.len());
            receiver.take(&stored(b"id: 7\n"), b"id: 7\n");
            receiver.take(&pieces[at], &plains[at]);
        }
    }
}

#[test]
fn the_same_event_is_the_same_bytes() {
    let mut gzip = Gzip::new(2);
    let first = compressed(&mut gzip, b"data: hello hello hello\n\n");
    compressed(&mut gzip, &[b'x'; 100_000]);
    assert_eq!(compressed(&mut gzip, b"data: hello hello hello\n\n"), first);
}

#[test]
fn stored_blocks_cost_five_bytes_for_each_65535() {
    for (len, blocks) in [(0, 0), (1, 1), (65_535, 1), (65_536, 2), (131_070, 2), (131_071, 3)] {
        assert_eq!(stored(&vec![7; len]).len(), len + 5 * blocks);
    }
    assert_eq!(stored(b"id"), [0, 2, 0, 0xfd, 0xff, b'i', b'd']);
}

#[test]
fn nothing_is_no_piece() {
    assert!(compressed(&mut Gzip::new(1), b"").is_empty());
    assert!(stored(b"").is_empty());
}

#[test]
fn text_becomes_smaller() {
    let mut event = Vec::new();
    sse::body(&mut event, Some("message"), "{\"user\":\"ann\",\"text\":\"hello\"}".repeat(20).as_bytes());
    let len = compressed(&mut Gzip::new(2), &event).len();
    assert!(len * 4 < event.len(), "{len} of {} bytes", event.len());
}

#[test]
fn a_compressed_stream_is_read_as_events() {
    let mut gzip = Gzip::new(2);
    let mut receiver = Receiver::new();
    let mut decoder = Decoder::new();
    let mut read = 0;
    for number in 0..100 {
        let (mut id, mut body) = (Vec::new(), Vec::new());
        sse::id(&mut id, &number.to_string());
        sse::body(&mut body, None, format!("event {number}").as_bytes());
        receiver.take(&stored(&id), &id);
        receiver.take(&compressed(&mut gzip, &body), &body);
        let plain = receiver.inflater.get_ref();
        let mut seen = Vec::new();
        decoder
            .feed(&plain[read..], |event| seen.push((event.id.to_owned(), event.data.to_owned())))
            .unwrap();
        read = plain.len();
        assert_eq!(seen, [(number.to_string(), format!("event {number}"))]);
    }
}
