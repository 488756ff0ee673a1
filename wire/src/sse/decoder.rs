//! Reads text/event-stream as a client does (WHATWG HTML "Parsing an event stream", "Interpreting an event stream").
//! Any split of the bytes gives the same events. Never connects again, never waits.

use std::time::Duration;

use memchr::{memchr, memchr2};

/// Bytes of one line, and of the data of one event: 16 times what a publication may have by default.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// One event, borrowed for the time of the callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'d> {
    /// The last id that the stream has set, by this event or before; empty if none.
    pub id: &'d str,
    /// The event's name, `message` if it has none.
    pub event: &'d str,
    /// Its data, lines parted by LF. What was not UTF-8 is U+FFFD.
    pub data: &'d str,
}

/// A line or the data of an event is over the limit: the stream is read no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line or an event of more than {limit} bytes")]
pub struct TooLong {
    /// In bytes.
    pub limit: usize,
}

/// The reading end of one stream.
#[derive(Clone, Debug)]
pub struct Decoder {
    limit: usize,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    position: Position,
    data: String,
    event: String,
    /// What the next event will carry.
    id: String,
    /// What the last whole event carried, even one without data.
    last_id: String,
    retry: Option<Duration>,
}

/// What the next byte may be beside a byte of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// The first line, which may begin with a byte order mark.
    FirstLine,
    InStream,
    /// A CR has ended a line: an LF belongs to it.
    AfterCr,
    /// An error was told.
    Over,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// The beginning of a stream; lines and events have at most [`EVENT_BYTES_MAX`] bytes.
    pub fn new() -> Self {
        Self::with_limit(EVENT_BYTES_MAX)
    }

    /// The same with `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            position: Position::FirstLine,
            data: String::new(),
            event: String::new(),
            id: String::new(),
            last_id: String::new(),
            retry: None,
        }
    }

    /// Takes the next bytes of the stream and tells every event that they complete.
    ///
    /// # Errors
    /// Once a line or an event is over the limit, at once and for ever.
    pub fn feed(&mut self, bytes: &[u8], mut on_event: impl FnMut(Event<'_>)) -> Result<(), TooLong> {
        let told = self.lines(bytes, &mut on_event);
        if told.is_err() {
            self.position = Position::Over;
        }
        told
    }

    /// How long the stream told its clients to wait before they connect again, if it did.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// What a client connects again with (Last-Event-ID): the last id of the stream whose event has ended, also of an
    /// event without data, which is told to nobody. Empty if there is none.
    pub fn last_event_id(&self) -> &str {
        &self.last_id
    }

    fn lines(&mut self, bytes: &[u8], on_event: &mut impl FnMut(Event<'_>)) -> Result<(), TooLong> {
        let mut rest = bytes;
        loop {
            match self.position {
                Position::Over => return Err(TooLong { limit: self.limit }),
                Position::AfterCr if rest.is_empty() => return Ok(()),
                Position::AfterCr => {
                    rest = rest.strip_prefix(b"\n").unwrap_or(rest);
                    self.position = Position::InStream;
                }
                Position::FirstLine | Position::InStream => {}
            }
            let end = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
            if self.line.len() + end > self.limit {
                return Err(TooLong { limit: self.limit });
            }
            let (piece, after) = rest.split_at(end);
            let Some((ending, after)) = after.split_first() else {
                self.line.extend_from_slice(piece);
                return Ok(());
            };
            self.line_ended(piece, on_event)?;
            self.position = if *ending == b'\r' { Position::AfterCr } else { Position::InStream };
            rest = after;
        }
    }

    /// `piece` is the line, or the end of one whose beginning is kept.
    fn line_ended(&mut self, piece: &[u8], on_event: &mut impl FnMut(Event<'_>)) -> Result<(), TooLong> {
        if self.line.is_empty() {
            return self.line(piece, on_event);
        }
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(piece);
        let told = self.line(&line, on_event);
        line.clear();
        self.line = line;
        told
    }

    fn line(&mut self, line: &[u8], on_event: &mut impl FnMut(Event<'_>)) -> Result<(), TooLong> {
        let line = match self.position {
            Position::FirstLine => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line),
            Position::InStream | Position::AfterCr | Position::Over => line,
        };
        if line.is_empty() {
            self.dispatch(on_event);
            return Ok(());
        }
        let (name, value) = match memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        self.field(name, value.strip_prefix(b" ").unwrap_or(value))
    }

    /// A comment is the field without a name; like every unknown field it is ignored.
    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), TooLong> {
        match name {
            b"data" => {
                let value = String::from_utf8_lossy(value);
                if self.data.len() + value.len() > self.limit {
                    return Err(TooLong { limit: self.limit });
                }
                self.data.push_str(&value);
                self.data.push('\n');
            }
            b"event" => assign(&mut self.event, value),
            b"id" if memchr(0, value).is_none() => assign(&mut self.id, value),
            b"retry" => self.retry = milliseconds(value).or(self.retry),
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, on_event: &mut impl FnMut(Event<'_>)) {
        if self.last_id != self.id {
            self.last_id.clone_from(&self.id);
        }
        if self.data.pop().is_some() {
            let event = if self.event.is_empty() { "message" } else { &self.event };
            on_event(Event { id: &self.id, event, data: &self.data });
        }
        self.data.clear();
        self.event.clear();
    }
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

fn assign(text: &mut String, value: &[u8]) {
    text.clear();
    text.push_str(&String::from_utf8_lossy(value));
}

/// Only ASCII digits count, and only as many as a number of milliseconds can have.
fn milliseconds(value: &[u8]) -> Option<Duration> {
    let digits = value.iter().all(u8::is_ascii_digit).then_some(value)?;
    std::str::from_utf8(digits).ok()?.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = (String, String, String);

    fn events_of(decoder: &mut Decoder, pieces: &[&[u8]]) -> (Vec<Seen>, Result<(), TooLong>) {
        let mut seen = Vec::new();
        for piece in pieces {
            let told = decoder.feed(piece, |event| {
                seen.push((event.id.to_owned(), event.event.to_owned(), event.data.to_owned()));
            });
            if told.is_err() {
                return (seen, told);
            }
        }
        (seen, Ok(()))
    }

    fn seen(events: &[(&str, &str, &str)]) -> Vec<Seen> {
        events.iter().map(|(id, event, data)| (id.to_string(), event.to_string(), data.to_string())).collect()
    }

    #[test]
    fn the_examples_of_the_standard() {
        for (stream, events) in [
            ("data: YHOO\ndata: +2\ndata: 10\n\n", &[("", "message", "YHOO\n+2\n10")][..]),
            (
                ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
                &[("1", "message", "first event"), ("", "message", "second event")],
            ),
            ("data\n\ndata\ndata\n\ndata:", &[("", "message", ""), ("", "message", "\n")]),
            ("data:test\n\ndata: test\n\n", &[("", "message", "test"), ("", "message", "test")]),
        ] {
            assert_eq!(events_of(&mut Decoder::new(), &[stream.as_bytes()]).0, seen(events), "{stream:?}");
        }
    }

    #[test]
    fn the_corners_of_the_standard() {
        for (stream, events) in [
            (&b"\xef\xbb\xbfdata: a\n\n"[..], &[("", "message", "a")][..]),
            (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", &[("", "message", "b")]),
            (b"\n\xef\xbb\xbfdata: a\n\n", &[]),
            (
                b"data: a\r\rdata: b\r\n\r\ndata: c\n\n",
                &[("", "message", "a"), ("", "message", "b"), ("", "message", "c")],
            ),
            (b"id: 1\nid: 2\x003\ndata\n\n", &[("1", "message", "")]),
            (b"id: 1\n\ndata: a\n\nid\ndata: b\n\n", &[("1", "message", "a"), ("", "message", "b")]),
            (b"event: x\n\ndata: a\n\n", &[("", "message", "a")]),
            (b"event: x\nevent\ndata: a\n\n", &[("", "message", "a")]),
            (b"event:x\nevent:  y\ndata: a\n\n", &[("", " y", "a")]),
            (b"Data: a\n data: b\ndata : c\n:data: d\ndata:e:\n\n", &[("", "message", "e:")]),
            (b"data: \xc3\xa9\xff\xe2\x82\n\n", &[("", "message", "é\u{fffd}\u{fffd}")]),
            (b"data: a\0b\n\n", &[("", "message", "a\0b")]),
        ] {
            let whole = events_of(&mut Decoder::new(), &[stream]).0;
            assert_eq!(whole, seen(events), "{stream:?}");
            for cut in 0..=stream.len() {
                let (left, right) = stream.split_at(cut);
                assert_eq!(events_of(&mut Decoder::new(), &[left, b"", right]).0, whole, "cut at {cut}");
            }
        }
    }

    #[test]
    fn the_id_to_come_back_with_is_that_of_the_last_event_that_has_ended() {
        let mut decoder = Decoder::new();
        for (piece, id, events) in [
            ("id: 1\n", "", 0),
            ("\n", "1", 0),
            ("id: 2\ndata: a\n", "1", 0),
            ("\n", "2", 1),
            ("data: b\n\n", "2", 1),
            ("id\n", "2", 0),
            ("\n", "", 0),
        ] {
            assert_eq!(events_of(&mut decoder, &[piece.as_bytes()]).0.len(), events, "{piece:?}");
            assert_eq!(decoder.last_event_id(), id, "{piece:?}");
        }
    }

    #[test]
    fn retry_takes_digits_only() {
        for (stream, retry) in [
            ("retry: 2500\n", Some(2500)),
            ("retry:0\n", Some(0)),
            ("retry: 7\nretry: 1s\nretry: -1\nretry: +1\nretry\nretry: 99999999999999999999\n", Some(7)),
            ("retry: 1", None),
            ("", None),
        ] {
            let mut decoder = Decoder::new();
            events_of(&mut decoder, &[stream.as_bytes()]).1.unwrap();
            assert_eq!(decoder.retry(), retry.map(Duration::from_millis), "{stream:?}");
        }
    }

    #[test]
    fn lines_and_events_stop_at_the_limit() {
        let over = Err(TooLong { limit: 20 });
        for (stream, told) in [
            ("data: 4\n\n: 345678901234567890\n", Ok(())),
            ("data: 4\n\n: 3456789012345678901", over),
            ("data: 4\n\n: 3456789012345678901\n\n", over),
            ("data: 4\n\ndata:678901234567890\ndata:1234\n", Ok(())),
            ("data: 4\n\ndata:678901234567890\ndata:12345\n", over),
        ] {
            let whole = events_of(&mut Decoder::with_limit(20), &[stream.as_bytes()]);
            assert_eq!(whole, (seen(&[("", "message", "4")]), told), "{stream:?}");
            for size in 1..stream.len() {
                let mut decoder = Decoder::with_limit(20);
                let pieces: Vec<_> = stream.as_bytes().chunks(size).collect();
                assert_eq!(events_of(&mut decoder, &pieces), whole, "pieces of {size} of {stream:?}");
                assert!(decoder.line.len() <= 20);
                assert_eq!(decoder.feed(b"", |_| {}), told);
            }
        }
    }
}
