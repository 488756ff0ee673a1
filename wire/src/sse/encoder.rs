//! Writes text/event-stream. No text given to it can end its line early: names are checked, data is split.
//! Never numbers events, never sends.
//!
//! An event is the [`id`] line of one stream and the [`body`] that all streams share; [`event`] is both.

use std::io::Write;
use std::time::Duration;

use memchr::{memchr2, memchr2_iter, memchr3};

use super::cursor::{self, Tag};

/// Bytes of the longest event name: nobody's name is longer, and every subscriber receives it with every event.
pub const NAME_LEN_MAX: usize = 256;

/// What is wrong with the name or the id of an event. A publisher is told with status 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// CR or LF: what follows would be a field of its own.
    #[error("must not contain a line end")]
    LineEnd,
    /// NUL: clients ignore an id that has one.
    #[error("must not contain NUL")]
    Nul,
    /// More than [`NAME_LEN_MAX`] bytes.
    #[error("must have at most {NAME_LEN_MAX} bytes")]
    TooLong,
}

/// Passes names and ids of at most [`NAME_LEN_MAX`] bytes without CR, LF and NUL. An empty name is the event
/// `message`, an empty id makes the client forget its last one.
///
/// # Errors
/// The first rule that is broken.
pub fn check_name(text: &str) -> Result<(), BadName> {
    if text.len() > NAME_LEN_MAX {
        return Err(BadName::TooLong);
    }
    match memchr3(b'\r', b'\n', 0, text.as_bytes()).map(|at| text.as_bytes()[at]) {
        None => Ok(()),
        Some(0) => Err(BadName::Nul),
        Some(_) => Err(BadName::LineEnd),
    }
}

/// Tells the client how long to wait before it connects again; whole milliseconds, the rest is cut off. No empty line
/// follows: before the first id it would make a browser forget the one it came with.
pub fn retry(out: &mut Vec<u8>, delay: Duration) {
    writeln!(out, "retry: {}", delay.as_millis()).expect("a vector takes every byte");
}

/// Writes what clients skip and connections are kept alive with.
///
/// # Panics
/// If `text` has a line end or NUL.
pub fn comment(out: &mut Vec<u8>, text: &str) {
    field(out, ": ", text);
    out.push(b'\n');
}

/// Writes the id line alone; the [`body`] of its event comes next.
///
/// # Panics
/// If `id` has a line end or NUL. Its length is the caller's: what comes from outside passes [`check_name`] first.
pub fn id(out: &mut Vec<u8>, id: &str) {
    field(out, "id: ", id);
}

/// Writes the id line with the cursor of a stream, see [`cursor::write()`]. Allocates nothing but room in `out`.
pub fn id_of_cursor<T: Into<Tag>>(out: &mut Vec<u8>, positions: impl Iterator<Item = (T, u32, u64)>) {
    out.extend_from_slice(b"id: ");
    cursor::write(out, positions);
    out.push(b'\n');
}

/// Writes the name (if any), one data line for each line of `data`, and the empty line that ends the event. CR, LF and
/// CRLF end a line (the client sees LF); data that ends with a line end has an empty last line. `data` is UTF-8.
/// Nothing but line ends is at most 7 times as long as before.
///
/// # Panics
/// If `event` does not pass [`check_name`].
pub fn body(out: &mut Vec<u8>, event: Option<&str>, data: &[u8]) {
    debug_assert!(std::str::from_utf8(data).is_ok(), "data is UTF-8");
    out.reserve(data.len() + FIXED_LEN + event.map_or(0, str::len));
    if let Some(event) = event {
        assert!(event.len() <= NAME_LEN_MAX, "event names have at most {NAME_LEN_MAX} bytes");
        field(out, "event: ", event);
    }
    out.extend_from_slice(b"data: ");
    match memchr2(b'\r', b'\n', data) {
        None => out.extend_from_slice(data),
        Some(first) => lines(out, data, first),
    }
    out.extend_from_slice(b"\n\n");
}

/// Writes a whole event: the [`id`] line (if any) and the [`body`].
///
/// # Panics
/// As both.
pub fn event(out: &mut Vec<u8>, id: Option<&str>, event: Option<&str>, data: &[u8]) {
    if let Some(id) = id {
        self::id(out, id);
    }
    body(out, event, data);
}

/// Bytes of a body of one line that are neither name nor data.
const FIXED_LEN: usize = "event: \ndata: \n\n".len();

/// Writes the lines of `data` after the first `data: `; the first line end is at `first`.
fn lines(out: &mut Vec<u8>, data: &[u8], first: usize) {
    let mut begin = 0;
    for end in memchr2_iter(b'\r', b'\n', &data[first..]).map(|at| first + at) {
        // The LF of a CRLF: its line ended one byte earlier.
        if end > 0 && data[end] == b'\n' && data[end - 1] == b'\r' {
            begin = end + 1;
            continue;
        }
        out.extend_from_slice(&data[begin..end]);
        out.extend_from_slice(b"\ndata: ");
        begin = end + 1;
    }
    out.extend_from_slice(&data[begin..]);
}

/// Writes one line. The check stands here because an injected line is an event that nobody published.
fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    assert!(memchr3(b'\r', b'\n', 0, value.as_bytes()).is_none(), "line end or NUL in {name}{value:?}");
    out.reserve(name.len() + value.len() + 1);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_part_has_its_bytes() {
        assert_eq!(written(|out| retry(out, Duration::from_micros(2_500_900))), "retry: 2500\n");
        assert_eq!(written(|out| comment(out, "")), ": \n\n");
        assert_eq!(written(|out| comment(out, "still here")), ": still here\n\n");
        assert_eq!(written(|out| id(out, "7")), "id: 7\n");
        assert_eq!(written(|out| body(out, None, b"{}")), "data: {}\n\n");
        assert_eq!(
            written(|out| event(out, Some("1"), Some("join"), b"a\nb")),
            "id: 1\nevent: join\ndata: a\ndata: b\n\n"
        );
        assert_eq!(written(|out| id_of_cursor(out, std::iter::empty::<(Tag, u32, u64)>())), "id: AQ\n");
    }

    #[test]
    fn s2_every_line_end_splits_data() {
        for (data, lines) in [
            ("", &[""][..]),
            ("a", &["a"]),
            ("a\nb", &["a", "b"]),
            ("a\rb", &["a", "b"]),
            ("a\r\nb", &["a", "b"]),
            ("a\n\rb", &["a", "", "b"]),
            ("a\r\r\nb", &["a", "", "b"]),
            ("a\r\n\nb", &["a", "", "b"]),
            ("\n", &["", ""]),
            ("\r\n", &["", ""]),
            ("a\n", &["a", ""]),
            ("a\r", &["a", ""]),
            ("\r\na\r\n", &["", "a", ""]),
            ("x\n\nevent: admin\n\n", &["x", "", "event: admin", "", ""]),
            (" two\u{2028}\u{85}\u{b}", &[" two\u{2028}\u{85}\u{b}"]),
        ] {
            let wanted: String = lines.iter().map(|line| format!("data: {line}\n")).collect();
            assert_eq!(written(|out| body(out, None, data.as_bytes())), wanted + "\n", "{data:?}");
        }
    }

    #[test]
    fn a_body_of_one_line_fits_the_room_it_reserves() {
        let mut out = Vec::new();
        body(&mut out, Some("name"), &[b'x'; 1000]);
        assert_eq!(out.len(), 1000 + "name".len() + FIXED_LEN);
    }
}
