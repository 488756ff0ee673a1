//! tungstenite, written by others, reads the same bytes the same way.

mod frames;

use std::io::{self, Read, Write};

use frames::*;
use highper_wire::ws::{CloseCode, FrameError, Kind, Role, Rules, encoder};
use tungstenite::protocol::{self, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message};

/// Received bytes to read; what is written goes nowhere.
struct Received<'a>(&'a [u8]);

impl Read for Received<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Received<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How tungstenite's reading ended.
#[derive(Debug, PartialEq)]
enum End {
    /// The bytes were used up.
    Eof,
    Close,
    /// A close whose code tungstenite replaces.
    CloseViolation,
    Refused,
}

const LIMIT: usize = 400;

fn judge(bytes: &[u8], role: protocol::Role) -> (Vec<Seen>, End) {
    let config = WebSocketConfig::default().max_message_size(Some(LIMIT)).max_frame_size(Some(LIMIT));
    let mut socket = WebSocket::from_raw_socket(Received(bytes), role, Some(config));
    let mut seen = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => seen.push(Seen::Message(Kind::Text, text.as_bytes().to_vec())),
            Ok(Message::Binary(bytes)) => seen.push(Seen::Message(Kind::Binary, bytes.to_vec())),
            Ok(Message::Ping(payload)) => seen.push(Seen::Ping(payload.to_vec())),
            Ok(Message::Pong(payload)) => seen.push(Seen::Pong(payload.to_vec())),
            Ok(Message::Close(Some(close))) if close.reason == "Protocol violation" => {
                return (seen, End::CloseViolation);
            }
            Ok(Message::Close(close)) => {
                let code = close.as_ref().map(|close| CloseCode::new(close.code.into()));
                let reason = close.map(|close| close.reason.to_string()).unwrap_or_default();
                seen.push(Seen::Close(code, reason));
                return (seen, End::Close);
            }
            Ok(Message::Frame(frame)) => panic!("{frame:?}"),
            Err(Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
                return (seen, End::Eof);
            }
            Err(_) => return (seen, End::Refused),
        }
    }
}

/// Pieces of text that are cut anywhere, characters of all lengths among them.
fn random_payload(random: &mut Random, text: bool) -> Vec<u8> {
    let len = if random.below(12) == 0 { random.below(LIMIT + 20) } else { random.below(40) };
    if !text {
        return random.bytes(len);
    }
    let mut text = String::new();
    while text.len() < len {
        text.push(['a', ' ', 'é', 'κ', '€', '😀', '\u{10ffff}'][random.below(7)]);
    }
    text.into_bytes()
}

/// A conversation a client may have, most of the time: messages in fragments, control frames anywhere.
fn conversation(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.below(6) + 1 {
        let text = random.below(2) == 0;
        let payload = random_payload(random, text);
        let mut rest = &payload[..];
        let mut opcode = if text { TEXT } else { BINARY };
        while random.below(3) == 0 {
            let (piece, after) = rest.split_at(random.below(rest.len() + 1));
            bytes.extend(frame(opcode, piece));
            (opcode, rest) = (CONTINUATION, after);
            if random.below(3) == 0 {
                let len = random.below(126);
                bytes.extend(frame(FIN | [PING, PONG][random.below(2)], &random.bytes(len)));
            }
        }
        bytes.extend(frame(FIN | opcode, rest));
    }
    if random.below(2) == 0 {
        let code = [1000u16, 1001, 1003, 1012, 3000, 4999, 1004, 1005, 1015, 999, 5000][random.below(11)];
        let reason = "é".repeat(random.below(62));
        let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
        bytes.extend(frame(
            FIN | CLOSE,
            &payload[..if random.below(8) == 0 { random.below(2) } else { payload.len() }],
        ));
    }
    bytes
}

fn rules(role: Role) -> Rules {
    Rules {
        frame_bytes_max: LIMIT as u64,
        message_bytes_max: LIMIT,
        fragments_max: u32::MAX,
        empty_continuations_max: u32::MAX,
        ..Rules::new(role)
    }
}

/// Compares both readings; `fail_fast` allows us to refuse what tungstenite still waits for.
fn compare(seed: u64, bytes: &[u8], fail_fast: bool) -> End {
    let mut ours = events_of(&rules(Role::Server), false, &[bytes]);
    let (theirs, end) = judge(bytes, protocol::Role::Server);
    let error = match ours.last() {
        Some(Seen::Error(error)) => Some(*error),
        _ => None,
    };
    ours.truncate(ours.len() - usize::from(error.is_some()));
    match (error, &end) {
        // tungstenite takes lengths in any form and goes on.
        (Some(FrameError::LengthNotMinimal), _) => {
            assert!(theirs.starts_with(&ours), "seed {seed}");
            return end;
        }
        // It does not know 1014, which was registered later.
        (None, End::CloseViolation) => {
            assert!(
                matches!(ours.pop(), Some(Seen::Close(Some(code), _)) if code.get() == 1014),
                "seed {seed}"
            );
        }
        (None, End::Eof | End::Close)
        | (Some(FrameError::CloseCode { .. }), End::CloseViolation)
        | (Some(_), End::Refused) => {}
        (Some(_), End::Eof) if fail_fast => {}
        (error, end) => panic!("seed {seed}: {error:?} and {end:?} in {bytes:x?}"),
    }
    assert_eq!(ours, theirs, "seed {seed}");
    end
}

#[test]
fn random_conversations_decode_alike() {
    let (mut eof, mut closed, mut refused) = (0, 0, 0);
    for seed in 0..20_000 {
        let bytes = conversation(&mut Random::new(seed));
        match compare(seed, &bytes, false) {
            End::Eof => eof += 1,
            End::Close => closed += 1,
            End::CloseViolation | End::Refused => refused += 1,
        }
    }
    assert!(eof > 1000 && closed > 1000 && refused > 1000, "{eof} {closed} {refused}");
}

#[test]
fn random_mutations_decode_alike() {
    let (mut eof, mut closed, mut refused) = (0, 0, 0);
    for seed in 0..60_000 {
        let mut random = Random::new(1_000_000 + seed);
        let mut bytes = conversation(&mut random);
        for _ in 0..random.below(3) + 1 {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes[at] = random.next() as u8,
                2 => bytes.insert(at, random.next() as u8),
                _ if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => {}
            }
        }
        match compare(seed, &bytes, true) {
            End::Eof => eof += 1,
            End::Close => closed += 1,
            End::CloseViolation | End::Refused => refused += 1,
        }
    }
    assert!(eof > 1000 && closed > 1000 && refused > 10_000, "{eof} {closed} {refused}");
}

#[test]
fn tungstenite_reads_what_we_write() {
    for seed in 0..2000 {
        let mut random = Random::new(2_000_000 + seed);
        let key = [1, 2, 3, 4].map(|_: u8| random.next() as u8);
        let (mut server, mut client, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..5 {
            let text = random.below(2) == 0;
            let kind = if text { Kind::Text } else { Kind::Binary };
            let payload = random_payload(&mut random, text);
            if payload.len() > LIMIT {
                continue;
            }
            let start = server.len();
            encoder::message(&mut server, kind, &payload);
            assert_eq!(server.len() - start, encoder::frame_len(payload.len()));
            encoder::masked_message(&mut client, key, kind, &payload);
            expected.push(Seen::Message(kind, payload));
            let beat = random.bytes(9);
            encoder::ping(&mut server, &beat);
            encoder::masked_ping(&mut client, key, &beat);
            expected.push(Seen::Ping(beat.clone()));
            encoder::pong(&mut server, &beat);
            encoder::masked_pong(&mut client, key, &beat);
            expected.push(Seen::Pong(beat));
        }
        let code = (seed % 3 > 0).then_some(CloseCode::RESTART);
        let reason = if code.is_some() { "see you" } else { "" };
        encoder::close(&mut server, code, reason);
        encoder::masked_close(&mut client, key, code, reason);
        expected.push(Seen::Close(code, reason.to_owned()));
        assert_eq!(judge(&server, protocol::Role::Client), (expected.clone(), End::Close), "seed {seed}");
        assert_eq!(judge(&client, protocol::Role::Server), (expected.clone(), End::Close), "seed {seed}");
        assert_eq!(events_of(&rules(Role::Client), false, &[&server]), expected, "seed {seed}");
        assert_eq!(events_of(&rules(Role::Server), false, &[&client]), expected, "seed {seed}");
    }
}
