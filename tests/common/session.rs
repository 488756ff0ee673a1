//! A client of the native dialect: bytes in, events out, commands as bytes. Opens the connection, answers pings
//! and closes. Owns no socket and no clock: each test moves the bytes its own way.

use highper_realtime::message::Position;
use highper_wire::ws::handshake::Key;
use highper_wire::ws::handshake::client::{AnswerError, ClientReader, write_request};
use highper_wire::ws::{CloseCode, Decoder, Event as Frame, Input, Kind, Role, Rules, Scratch, encoder};

/// What all clients of a test share.
pub struct Kit {
    rules: Rules,
    scratch: Scratch,
}

impl Kit {
    pub fn new() -> Self {
        Self { rules: Rules::new(Role::Client), scratch: Scratch::new() }
    }
}

/// One connection.
pub struct Session {
    state: State,
    /// Bytes for the server.
    pub out: Vec<u8>,
}

enum State {
    Handshake(ClientReader),
    Open(Decoder),
    Closed,
}

/// What the server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The first word.
    Welcome,
    Joined {
        channel: &'a str,
        at: Position,
        /// What became of `since`.
        recovered: Option<bool>,
        id: Option<u64>,
    },
    Left {
        channel: &'a str,
        id: Option<u64>,
    },
    Message {
        channel: &'a str,
        offset: u64,
        data: &'a [u8],
    },
    Gap {
        channel: &'a str,
        at: Position,
    },
    Ack {
        offset: Option<u64>,
        id: Option<u64>,
    },
    Error {
        code: &'a str,
        id: Option<u64>,
    },
    Pong {
        id: Option<u64>,
    },
    /// Somebody joined or left the channel.
    Members {
        channel: &'a str,
    },
    /// A binary message, as endpoints with handlers send.
    Binary(&'a [u8]),
    /// The last word; the close is answered already.
    Close(Option<u16>),
}

/// The connection is of no use any more.
#[derive(Debug)]
pub enum Broken {
    /// The handshake was answered with this status.
    Refused(u16),
    /// The server broke the protocol.
    Protocol(String),
}

/// Every client may draw its key and mask alike: nobody listens.
const NONCE: [u8; 16] = *b"the sample nonce";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

impl Session {
    /// A connection whose handshake waits to be sent.
    pub fn open(path: &str) -> Self {
        let (mut out, key) = (Vec::new(), Key::from_nonce(NONCE));
        write_request(&mut out, "localhost", path, &key, None, None, &[]);
        Self { state: State::Handshake(ClientReader::new(key)), out }
    }

    /// A connection that has ended.
    pub fn closed() -> Self {
        Self { state: State::Closed, out: Vec::new() }
    }

    /// Whether the handshake is done and nobody has closed.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Takes what came; it is unmasked in place, though servers do not mask.
    pub fn on_bytes(
        &mut self,
        kit: &mut Kit,
        bytes: &mut [u8],
        mut each: impl FnMut(Event<'_>),
    ) -> Result<(), Broken> {
        let mut from = 0;
        if let State::Handshake(reader) = &mut self.state {
            let mut input = &bytes[..];
            let answer = reader.next(None, &mut input).map_err(|error| match error {
                AnswerError::Status(status) => Broken::Refused(status),
                other => Broken::Protocol(other.to_string()),
            })?;
            if answer.is_none() {
                return Ok(());
            }
            from = bytes.len() - input.len();
            self.state = State::Open(Decoder::new());
        }
        let Self { state: State::Open(decoder), out } = self else { return Ok(()) };
        let mut input = Input::new(&mut bytes[from..]);
        loop {
            let frame = decoder.next(&kit.rules, false, &mut kit.scratch, &mut input);
            match frame.map_err(|error| Broken::Protocol(error.to_string()))? {
                None => return Ok(()),
                Some(Frame::Message { kind: Kind::Text, payload }) => each(parse(payload)?),
                Some(Frame::Message { kind: Kind::Binary, payload }) => each(Event::Binary(payload)),
                Some(Frame::Ping(payload)) => encoder::masked_pong(out, MASK, payload),
                Some(Frame::Pong(_)) => {}
                Some(Frame::Close { code, .. }) => {
                    encoder::masked_close(out, MASK, code, "");
                    self.state = State::Closed;
                    each(Event::Close(code.map(CloseCode::get)));
                    return Ok(());
                }
            }
        }
    }

    pub fn join(&mut self, channel: &str, id: u64) {
        self.text(&format!(r#"{{"type":"join","channel":"{channel}","id":{id}}}"#));
    }

    /// Joins and wants what came after a position.
    pub fn join_since(&mut self, channel: &str, Position { epoch, offset }: Position, id: u64) {
        let since = format!(r#"{{"epoch":"{epoch:08x}","offset":{offset}}}"#);
        self.text(&format!(r#"{{"type":"join","channel":"{channel}","since":{since},"id":{id}}}"#));
    }

    pub fn leave(&mut self, channel: &str, id: u64) {
        self.text(&format!(r#"{{"type":"leave","channel":"{channel}","id":{id}}}"#));
    }

    /// Publishes; without `id` the server does not answer.
    pub fn publish(&mut self, channel: &str, data: impl std::fmt::Display, id: Option<u64>) {
        self.text(&match id {
            Some(id) => format!(r#"{{"type":"publish","channel":"{channel}","data":{data},"id":{id}}}"#),
            None => format!(r#"{{"type":"publish","channel":"{channel}","data":{data}}}"#),
        });
    }

    pub fn ping(&mut self, id: u64) {
        self.text(&format!(r#"{{"type":"ping","id":{id}}}"#));
    }

    pub fn text(&mut self, text: &str) {
        encoder::masked_message(&mut self.out, MASK, Kind::Text, text.as_bytes());
    }

    pub fn binary(&mut self, payload: &[u8]) {
        encoder::masked_message(&mut self.out, MASK, Kind::Binary, payload);
    }

    pub fn close(&mut self) {
        encoder::masked_close(&mut self.out, MASK, Some(CloseCode::NORMAL), "");
    }
}

/// Reads an event. Its fields stand in the documented order, and no string of these tests needs an escape.
pub fn parse(text: &[u8]) -> Result<Event<'_>, Broken> {
    let broken = || Broken::Protocol(format!("no event of the dialect: {}", String::from_utf8_lossy(text)));
    read(text).ok_or_else(broken)
}

fn read(text: &[u8]) -> Option<Event<'_>> {
    let mut rest = Fields(text.strip_prefix(br#"{"type":""#)?);
    let kind = rest.until(b'"')?;
    Some(match kind {
        b"message" => {
            let channel = rest.string("channel")?;
            let offset = rest.number("offset")?;
            let from = rest.0.windows(FROM.len()).rposition(|window| window == FROM)?;
            Event::Message { channel, offset, data: rest.0[..from].strip_prefix(br#","data":"#)? }
        }
        b"welcome" => Event::Welcome,
        b"joined" => {
            let channel = rest.string("channel")?;
            let at = rest.position()?;
            Event::Joined { channel, at, recovered: rest.boolean("recovered"), id: rest.number("id") }
        }
        b"left" => Event::Left { channel: rest.string("channel")?, id: rest.number("id") },
        b"gap" => Event::Gap { channel: rest.string("channel")?, at: rest.position()? },
        b"ack" => Event::Ack { offset: rest.number("offset"), id: rest.number("id") },
        b"member_joined" | b"member_left" => Event::Members { channel: rest.string("channel")? },
        b"pong" => Event::Pong { id: rest.number("id") },
        b"error" => {
            let code = rest.string("code")?;
            rest.string("message")?;
            Event::Error { code, id: rest.number("id") }
        }
        _ => return None,
    })
}

const FROM: &[u8] = br#","from":""#;

/// What is left of an object.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn value(&mut self, name: &str) -> Option<&'a [u8]> {
        let after = self.0.strip_prefix(b",\"")?.strip_prefix(name.as_bytes())?;
        after.strip_prefix(b"\":")
    }

    fn string(&mut self, name: &str) -> Option<&'a str> {
        let value = self.value(name)?.strip_prefix(b"\"")?;
        let end = value.iter().position(|byte| *byte == b'"')?;
        self.0 = &value[end + 1..];
        std::str::from_utf8(&value[..end]).ok()
    }

    fn number(&mut self, name: &str) -> Option<u64> {
        let value = self.value(name)?;
        let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.0 = &value[digits..];
        std::str::from_utf8(&value[..digits]).ok()?.parse().ok()
    }

    fn boolean(&mut self, name: &str) -> Option<bool> {
        let value = self.value(name)?;
        let (is_true, rest) = match value.strip_prefix(b"true") {
            Some(rest) => (true, rest),
            None => (false, value.strip_prefix(b"false")?),
        };
        self.0 = rest;
        Some(is_true)
    }

    fn position(&mut self) -> Option<Position> {
        let epoch = u64::from_str_radix(self.string("epoch")?, 16).ok()?;
        Some(Position { epoch, offset: self.number("offset")? })
    }

    fn until(&mut self, end: u8) -> Option<&'a [u8]> {
        let at = self.0.iter().position(|byte| *byte == end)?;
        let (before, after) = self.0.split_at(at);
        self.0 = &after[1..];
        Some(before)
    }
}
