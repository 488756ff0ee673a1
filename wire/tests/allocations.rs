//! Steady traffic allocates nothing, and the peak under attack is bounded.

mod counting;
mod frames;

use counting::{allocations, peak_bytes};
use flate2::{Compress, Compression, FlushCompress};
use frames::*;
use highper_wire::http1::{self, Limits, Reader};
use highper_wire::ws::{Decoder, Deflater, Event, Input, Kind, Rules, Scratch, encoder, handshake};

/// A connection that echoes into a buffer; the inputs are masked anew for each round.
struct Echo {
    rules: Rules,
    decoder: Decoder,
    scratch: Scratch,
    received: Vec<u8>,
    out: Vec<u8>,
}

impl Echo {
    fn new(rules: Rules) -> Self {
        let (decoder, scratch) = (Decoder::new(), Scratch::new());
        Self { rules, decoder, scratch, received: Vec::new(), out: Vec::new() }
    }

    /// Feeds the bytes in pieces; the number of messages echoed.
    fn round(&mut self, bytes: &[u8], piece: usize) -> usize {
        self.received.clear();
        self.received.extend_from_slice(bytes);
        self.out.clear();
        let mut messages = 0;
        for piece in self.received.chunks_mut(piece) {
            let mut input = Input::new(piece);
            while let Some(event) =
                self.decoder.next(&self.rules, true, &mut self.scratch, &mut input).expect("valid frames")
            {
                match event {
                    Event::Message { kind, payload } => encoder::message(&mut self.out, kind, payload),
                    Event::Ping(payload) => encoder::pong(&mut self.out, payload),
                    Event::Pong(_) | Event::Close { .. } => {}
                }
                messages += 1;
            }
        }
        messages
    }
}

#[track_caller]
fn no_allocations_after_the_first_round(rules: Rules, bytes: &[u8], piece: usize, messages: usize) {
    let mut echo = Echo::new(rules);
    assert_eq!(echo.round(bytes, piece), messages);
    let made = allocations(|| {
        for _ in 0..100 {
            assert_eq!(echo.round(bytes, piece), messages);
        }
    });
    assert_eq!(made, 0, "in pieces of {piece}");
}

#[test]
fn small_messages_allocate_nothing() {
    let bytes = [text("hello"), binary(&[1; 20]), ping(b"beat"), text("κόσμε")].concat();
    for piece in [bytes.len(), 1000, 7, 1] {
        no_allocations_after_the_first_round(server(), &bytes, piece, 4);
    }
}

#[test]
fn split_messages_of_16_kib_allocate_nothing() {
    let bytes = binary(&[3; 16 * 1024]).repeat(5);
    for piece in [bytes.len(), 16 * 1024, 4096, 1000] {
        no_allocations_after_the_first_round(server(), &bytes, piece, 5);
    }
}

#[test]
fn split_messages_of_1_mib_allocate_nothing() {
    let rules = Rules { frame_bytes_max: 1 << 20, message_bytes_max: 1 << 20, ..server() };
    no_allocations_after_the_first_round(rules, &binary(&vec![3; 1 << 20]), 16 * 1024, 1);
}

#[test]
fn fragmented_messages_allocate_nothing() {
    let pieces = vec![&b"a fragment of a message"[..]; 100];
    let bytes = fragmented(TEXT, &pieces).concat();
    for piece in [bytes.len(), 500, 3] {
        no_allocations_after_the_first_round(server(), &bytes, piece, 1);
    }
}

#[test]
fn compressed_messages_allocate_nothing() {
    let mut deflater = Deflater::new();
    let payload = b"{\"text\":\"again and again\"}".repeat(200);
    let (mut compressed, mut bytes) = (Vec::new(), Vec::new());
    deflater.compress(&payload, 15, &mut compressed);
    encoder::masked_compressed_message(&mut bytes, KEY, Kind::Text, &compressed);
    for piece in [bytes.len(), 10] {
        no_allocations_after_the_first_round(server(), &bytes, piece, 1);
    }
    let made = allocations(|| {
        for _ in 0..100 {
            compressed.clear();
            deflater.compress(&payload, 15, &mut compressed);
        }
    });
    assert_eq!(made, 0);
}

#[test]
fn connections_take_turns_with_the_same_buffers() {
    let mut scratch = Scratch::new();
    let rules = server();
    let mut decoders: Vec<Decoder> = (0..10).map(|_| Decoder::new()).collect();
    let bytes = binary(&[9; 5000]);
    let mut received = vec![bytes.clone(); 10];
    let mut turn = || {
        for (fresh, buffer) in received.iter_mut().zip(std::iter::repeat(&bytes)) {
            fresh.copy_from_slice(buffer);
        }
        for half in [0..2000, 2000..bytes.len()] {
            for (decoder, received) in decoders.iter_mut().zip(&mut received) {
                let mut input = Input::new(&mut received[half.clone()]);
                while decoder.next(&rules, false, &mut scratch, &mut input).expect("valid frames").is_some() {
                }
            }
        }
    };
    turn();
    assert_eq!(allocations(|| (0..20).for_each(|_| turn())), 0);
}

#[test]
fn w1_a_declared_length_allocates_next_to_nothing() {
    let rules = Rules { frame_bytes_max: 1 << 40, message_bytes_max: 1 << 40, ..server() };
    let mut echo = Echo::new(rules);
    let bytes = head(FIN | BINARY, 1 << 40);
    echo.received.reserve(64);
    let peak = peak_bytes(|| assert_eq!(echo.round(&bytes, 64), 0));
    assert!(peak < 512, "{peak} bytes");
}

#[test]
fn w8_a_bomb_takes_less_than_twice_the_limit() {
    let cap = 256 * 1024;
    let rules = Rules { frame_bytes_max: 2 << 20, message_bytes_max: cap, ..server() };
    let mut bomb = Vec::with_capacity(1 << 20);
    let mut raw = Compress::new(Compression::best(), false);
    raw.compress_vec(&vec![0; 64 << 20], &mut bomb, FlushCompress::Sync).expect("room for zeros");
    bomb.truncate(bomb.len() - 4);
    let mut bytes = frame(FIN | RSV1 | BINARY, &bomb);
    let (mut decoder, mut scratch) = (Decoder::new(), Scratch::new());
    let peak = peak_bytes(|| {
        let mut input = Input::new(&mut bytes);
        assert!(decoder.next(&rules, true, &mut scratch, &mut input).is_err());
    });
    // The inflater itself is some 50 KiB, once per shard.
    assert!(peak < 2 * cap + 64 * 1024, "{peak} bytes");
}

#[test]
fn a_handshake_that_arrives_whole_allocates_nothing() {
    let request = b"GET /ws HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut out = Vec::with_capacity(1024);
    let made = allocations(|| {
        for _ in 0..100 {
            let (mut reader, mut input) = (Reader::new(), request.as_slice());
            let event = reader.next(&Limits::default(), &mut input).unwrap();
            let Some(http1::Event::Request(head)) = event else { panic!("the head is whole") };
            let accepted = handshake::accept(&head, |_| false).unwrap();
            out.clear();
            handshake::write_101(&mut out, &accepted.key, None, None);
        }
    });
    assert_eq!(made, 0);
    assert!(out.starts_with(b"HTTP/1.1 101 "));
}
