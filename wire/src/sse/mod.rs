//! Server-Sent Events (text/event-stream, WHATWG HTML "Server-sent events"): events to bytes, bytes to events, the
//! cursor from which a stream resumes, and compression that subscribers share. Never writes a response head, never
//! decides when to keep a stream alive.

pub mod cursor;
pub mod decoder;
pub mod encoder;
pub mod gzip;

pub use cursor::{BadCursor, Cursor, Tag};
pub use decoder::{Decoder, Event, TooLong};
pub use encoder::{BadName, body, check_name, comment, event, id, id_of_cursor, retry};
pub use gzip::Gzip;
