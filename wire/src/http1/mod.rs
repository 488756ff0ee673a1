//! HTTP/1.1 requests and responses as a server sees them (RFC 9112).
//! Owns the strict reading of requests and the writing of small answers. Never routes, never proxies, never times out.

mod chunked;
mod date;
mod fields;
mod head;
mod reader;
mod refusal;
mod response;
mod scan;
mod syntax;
mod target;

pub use date::Date;
pub use fields::tokens;
pub use head::{BodyKind, FieldIter, Head, Version};
pub use reader::{Event, Reader, Stage};
pub use refusal::Refusal;
pub use response::{CONTINUE, Connection, Response, Status, refuse};

pub(crate) use fields::is_token_list_with;
pub(crate) use response::push_field;
pub(crate) use syntax::is_token;

/// What one request may cost. One value serves every connection of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head, from the method to the empty line; also of the trailers of a chunked body. Over it: 431.
    pub head_bytes_max: usize,
    /// Header fields of a head; also trailer fields of a chunked body. Over it: 431.
    pub headers_max: usize,
    /// Bytes of the request target. Over it: 414.
    pub target_bytes_max: usize,
    /// Bytes of a request body without its framing. Over it: 413.
    pub body_bytes_max: u64,
}

impl Default for Limits {
    /// 8 KiB and 100 fields as most servers have it; a target of 8,000 bytes is the least RFC 9112 §3 recommends;
    /// 64 KiB of body is a publication with its envelope.
    fn default() -> Self {
        Self { head_bytes_max: 8192, headers_max: 100, target_bytes_max: 8000, body_bytes_max: 65_536 }
    }
}
