//! What is encoded is what a client of the standard reads: 100,000 random events through a parser that stands here and
//! shares nothing with ours, the same through ours at random splits. No name and no data writes a field of its own.

mod seeded;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use highper_wire::sse::{self, BadName, Decoder};
use seeded::Random;

const STREAMS: u64 = 2_000;
const EVENTS_OF_A_STREAM: usize = 50;

/// An event as its publisher gives it.
#[derive(Debug)]
struct Given {
    id: Option<String>,
    event: Option<String>,
    data: String,
}

/// An event as a client gets it: last id, name, data.
type Got = (String, String, String);

#[test]
fn a_hundred_thousand_random_events_come_out_as_they_went_in() {
    let mut lines = 0;
    for seed in 1..=STREAMS {
        let random = &mut Random::new(seed);
        let given: Vec<_> = (0..EVENTS_OF_A_STREAM).map(|_| random_event(random)).collect();
        let bytes = encoded(&given, random);
        let wanted = normalised(&given);
        assert_eq!(standard::events(&bytes), wanted, "seed {seed}: {given:?}");
        assert_eq!(decoded(&bytes, random), wanted, "seed {seed}: {given:?}");
        lines += wanted.iter().map(|(_, _, data)| data.matches('\n').count()).sum::<usize>();
    }
    assert!(lines > 100_000, "most data has line ends: {lines}");
}

#[test]
fn random_bytes_are_the_same_events_to_both_parsers() {
    let pieces: [&[u8]; 23] = [
        b"\ndata",
        b"\n\ndata:",
        b"\rid:",
        b"data",
        b"event",
        b"id",
        b"retry",
        b":",
        b":",
        b" ",
        b"\n",
        b"\n",
        b"\r",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"a",
        b"7",
        b"\0",
        b"\xef\xbb\xbf",
        b"\xff",
        b"\xc3",
        b"\xe2\x82",
    ];
    let mut events = 0;
    for seed in 1..=20_000 {
        let random = &mut Random::new(seed);
        let bytes: Vec<u8> =
            (0..random.below(60)).flat_map(|_| pieces[random.below(pieces.len())]).copied().collect();
        let wanted = standard::events(&bytes);
        assert_eq!(decoded(&bytes, random), wanted, "seed {seed}: {bytes:?}");
        events += wanted.len();
    }
    assert!(events > 5_000, "{events} events are not many");
}

#[test]
fn s1_nobody_writes_a_field_by_a_name_or_an_id() {
    for bad in [
        "m\nevent: admin",
        "m\revent: admin",
        "m\r\nevent: admin",
        "m\n\ndata: forged",
        "m\r\rdata: forged\r\r",
        "\nretry: 0",
        "\rid: 7",
        "m\n",
        "m\r",
        "\n",
        "\r",
        "\r\n",
    ] {
        assert_eq!(sse::check_name(bad), Err(BadName::LineEnd), "{bad:?}");
        refused(bad);
    }
    for bad in ["\0", "1\0", "\u{0}\n"] {
        assert_eq!(sse::check_name(bad), Err(BadName::Nul), "{bad:?}");
        refused(bad);
    }
    let longest = "n".repeat(256);
    assert_eq!(sse::check_name(&longest), Ok(()));
    sse::body(&mut Vec::new(), Some(&longest), b"");
    let longer = "n".repeat(257);
    assert_eq!(sse::check_name(&longer), Err(BadName::TooLong));
    assert!(catch_unwind(|| sse::body(&mut Vec::new(), Some(&longer), b"")).is_err());
    for good in ["", "message", " x", "a:b", "\u{85}\u{2028}\u{b}\u{c}", "é漢", "\u{feff}", "\t\u{7f}"] {
        assert_eq!(sse::check_name(good), Ok(()), "{good:?}");
    }
}

#[test]
fn s2_data_writes_no_field() {
    for data in [
        "x\nevent: admin",
        "x\revent: admin\r",
        "x\r\nid: 9\r\n\r\ndata: forged",
        "x\n\nretry: 0\n\n",
        "\u{feff}\n:",
    ] {
        let mut bytes = Vec::new();
        sse::event(&mut bytes, Some("1"), Some("m"), data.as_bytes());
        let data = data.replace("\r\n", "\n").replace('\r', "\n");
        assert_eq!(standard::events(&bytes), [("1".to_owned(), "m".to_owned(), data)]);
    }
}

/// `bad` in every place of a name panics and leaves nothing of it behind.
fn refused(bad: &str) {
    type Write<'w> = &'w dyn Fn(&mut Vec<u8>);
    let writes: [Write<'_>; 5] = [
        &|out| sse::id(out, bad),
        &|out| sse::comment(out, bad),
        &|out| sse::body(out, Some(bad), b"x"),
        &|out| sse::event(out, None, Some(bad), b"x"),
        &|out| sse::event(out, Some(bad), None, b"x"),
    ];
    for (at, write) in writes.iter().enumerate() {
        let mut out = Vec::new();
        assert!(catch_unwind(AssertUnwindSafe(|| write(&mut out))).is_err(), "{at}: {bad:?}");
        assert!(out.is_empty(), "{at}: {bad:?} wrote {out:?}");
    }
}

fn random_event(random: &mut Random) -> Given {
    Given { id: random_name(random), event: random_name(random), data: random_text(random, 24) }
}

fn random_name(random: &mut Random) -> Option<String> {
    let text = random_text(random, 5);
    let good = !text.contains(['\r', '\n', '\0']);
    assert_eq!(sse::check_name(&text).is_ok(), good, "{text:?}");
    (good && random.below(3) > 0).then_some(text)
}

fn random_text(random: &mut Random, pieces_max: usize) -> String {
    const PIECES: [&str; 28] = [
        "\r",
        "\n",
        "\r\n",
        "\n\n",
        "\u{feff}",
        ":",
        " ",
        "  ",
        "\t",
        "\0",
        "data",
        "data: ",
        "event: x",
        "id: 7",
        "id",
        "retry: 1",
        "a",
        "message",
        "{\"n\":1.5}",
        "é",
        "漢字",
        "😀",
        "\u{2028}",
        "\u{85}",
        "\u{b}",
        "\u{fffd}",
        "\u{10ffff}",
        "the quick brown fox jumps over the lazy dog",
    ];
    (0..random.below(pieces_max)).map(|_| PIECES[random.below(PIECES.len())]).collect()
}

/// The stream of these events, with comments and retries in between as a server sends them.
fn encoded(given: &[Given], random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    sse::retry(&mut bytes, Duration::from_millis(random.next() >> 40));
    for event in given {
        if random.below(10) == 0 {
            sse::comment(&mut bytes, "data: still here");
        }
        match (&event.id, random.below(2)) {
            (Some(id), 0) => {
                sse::id(&mut bytes, id);
                sse::body(&mut bytes, event.event.as_deref(), event.data.as_bytes());
            }
            (id, _) => sse::event(&mut bytes, id.as_deref(), event.event.as_deref(), event.data.as_bytes()),
        }
    }
    bytes
}

/// What a client must make of these events.
fn normalised(given: &[Given]) -> Vec<Got> {
    let mut last_id = String::new();
    let got = given.iter().map(|given| {
        if let Some(id) = &given.id {
            last_id.clone_from(id);
        }
        let event = given.event.as_deref().filter(|event| !event.is_empty()).unwrap_or("message");
        let data = given.data.replace("\r\n", "\n").replace('\r', "\n");
        (last_id.clone(), event.to_owned(), data)
    });
    got.collect()
}

/// What [`Decoder`] makes of the stream, cut at random.
fn decoded(bytes: &[u8], random: &mut Random) -> Vec<Got> {
    let mut decoder = Decoder::new();
    let mut got = Vec::new();
    let longest = 1 + random.below(200);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.below(longest + 1).min(rest.len()));
        let told = decoder.feed(piece, |event| {
            got.push((event.id.to_owned(), event.event.to_owned(), event.data.to_owned()));
        });
        told.expect("no event is near the limit");
        rest = after;
    }
    got
}

/// A client written from the text of the standard (WHATWG HTML §9.2.5 and §9.2.6), whole stream at once.
mod standard {
    use super::Got;

    #[derive(Default)]
    struct Stream {
        data_buffer: String,
        event_type_buffer: String,
        last_event_id_buffer: String,
        last_event_id_string: String,
        dispatched: Vec<Got>,
    }

    pub fn events(bytes: &[u8]) -> Vec<Got> {
        // "Streams must be decoded using the UTF-8 decode algorithm", which strips one leading byte order mark.
        let decoded = String::from_utf8_lossy(bytes);
        let characters: Vec<char> = decoded.strip_prefix('\u{feff}').unwrap_or(&decoded).chars().collect();
        let mut stream = Stream::default();
        let mut line = String::new();
        let mut at = 0;
        while at < characters.len() {
            match (characters[at], characters.get(at + 1)) {
                ('\r', Some('\n')) => {
                    stream.process_line(&std::mem::take(&mut line));
                    at += 1;
                }
                ('\r' | '\n', _) => stream.process_line(&std::mem::take(&mut line)),
                (character, _) => line.push(character),
            }
            at += 1;
        }
        // "Once the end of the file is reached, any pending data must be discarded."
        stream.dispatched
    }

    impl Stream {
        fn process_line(&mut self, line: &str) {
            if line.is_empty() {
                self.dispatch();
            } else if line.starts_with(':') {
                // Ignore the line.
            } else if let Some((field, value)) = line.split_once(':') {
                // "Collect the characters on the line before the first U+003A … after the first U+003A."
                self.process_field(field, value.strip_prefix(' ').unwrap_or(value));
            } else {
                self.process_field(line, "");
            }
        }

        fn process_field(&mut self, field: &str, value: &str) {
            match field {
                "event" => self.event_type_buffer = value.to_owned(),
                "data" => {
                    self.data_buffer += value;
                    self.data_buffer += "\n";
                }
                "id" if !value.contains('\0') => self.last_event_id_buffer = value.to_owned(),
                // "retry" changes no event; any other field is ignored.
                _ => {}
            }
        }

        fn dispatch(&mut self) {
            self.last_event_id_string = self.last_event_id_buffer.clone();
            if self.data_buffer.is_empty() {
                self.event_type_buffer = String::new();
                return;
            }
            if self.data_buffer.ends_with('\n') {
                self.data_buffer.pop();
            }
            let mut event_type = "message".to_owned();
            if !self.event_type_buffer.is_empty() {
                event_type = self.event_type_buffer.clone();
            }
            let data = std::mem::take(&mut self.data_buffer);
            self.event_type_buffer = String::new();
            self.dispatched.push((self.last_event_id_string.clone(), event_type, data));
        }
    }
}
