//! Frames for tests, written independently of the encoder, and events that outlive their input.
#![allow(dead_code)]

use highper_wire::ws::{CloseCode, Decoder, Event, FrameError, Input, Kind, Role, Rules, Scratch};

pub const FIN: u8 = 0x80;
pub const RSV1: u8 = 0x40;
pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

pub const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What a test remembers of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<CloseCode>, String),
    Error(FrameError),
}

/// A client's frame: the first byte as given, the payload masked.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(first, payload.len() as u64);
    bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// The head of a client's frame that announces `len` bytes.
pub fn head(first: u8, len: u64) -> Vec<u8> {
    let mut bytes = server_head(first, len);
    bytes[1] |= 0x80;
    bytes.extend(KEY);
    bytes
}

/// The head of a server's frame.
pub fn server_head(first: u8, len: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match len {
        0..126 => bytes.push(len as u8),
        126..0x1_0000 => {
            bytes.push(126);
            bytes.extend((len as u16).to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend(len.to_be_bytes());
        }
    }
    bytes
}

pub fn text(text: &str) -> Vec<u8> {
    frame(FIN | TEXT, text.as_bytes())
}

pub fn binary(payload: &[u8]) -> Vec<u8> {
    frame(FIN | BINARY, payload)
}

pub fn ping(payload: &[u8]) -> Vec<u8> {
    frame(FIN | PING, payload)
}

/// One message in as many frames as pieces.
pub fn fragmented(opcode: u8, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let last = pieces.len() - 1;
    let first_byte = |at| u8::from(at == last) << 7 | if at == 0 { opcode } else { CONTINUATION };
    pieces.iter().enumerate().map(|(at, piece)| frame(first_byte(at), piece)).collect()
}

pub fn server() -> Rules {
    Rules::new(Role::Server)
}

/// Everything a decoder says to these inputs, until an error or a close.
pub fn events_of(rules: &Rules, inflate: bool, inputs: &[&[u8]]) -> Vec<Seen> {
    let (mut decoder, mut scratch) = (Decoder::new(), Scratch::new());
    let mut seen = Vec::new();
    for input in inputs {
        if feed(rules, inflate, &mut decoder, &mut scratch, input, &mut seen) {
            break;
        }
    }
    seen
}

/// Feeds one input; true if the conversation is over.
pub fn feed(
    rules: &Rules,
    inflate: bool,
    decoder: &mut Decoder,
    scratch: &mut Scratch,
    input: &[u8],
    seen: &mut Vec<Seen>,
) -> bool {
    let mut bytes = input.to_vec();
    let mut input = Input::new(&mut bytes);
    loop {
        let next = match decoder.next(rules, inflate, scratch, &mut input) {
            Ok(Some(Event::Message { kind, payload })) => Seen::Message(kind, payload.to_vec()),
            Ok(Some(Event::Ping(payload))) => Seen::Ping(payload.to_vec()),
            Ok(Some(Event::Pong(payload))) => Seen::Pong(payload.to_vec()),
            Ok(Some(Event::Close { code, reason })) => Seen::Close(code, reason.to_owned()),
            Ok(None) => {
                assert!(input.is_empty(), "what is not consumed is lost");
                return false;
            }
            Err(error) => Seen::Error(error),
        };
        let over = matches!(next, Seen::Close(..) | Seen::Error(_));
        seen.push(next);
        if over {
            return true;
        }
    }
}

/// The one error these bytes lead to, fed byte by byte, and how many bytes it took.
pub fn error_after(rules: &Rules, inflate: bool, bytes: &[u8]) -> (FrameError, usize) {
    let (mut decoder, mut scratch, mut seen) = (Decoder::new(), Scratch::new(), Vec::new());
    for at in 0..bytes.len() {
        if feed(rules, inflate, &mut decoder, &mut scratch, &bytes[at..=at], &mut seen) {
            match seen.pop() {
                Some(Seen::Error(error)) => return (error, at + 1),
                other => panic!("{other:?}"),
            }
        }
    }
    panic!("no error in {bytes:x?}: {seen:?}")
}

/// xorshift64*: the same numbers on every machine for a printed seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 40) as u8).collect()
    }
}
