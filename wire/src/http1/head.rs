//! A request head as the reader lends it: a view on validated bytes. Owns nothing, parses nothing twice but field lines.

use memchr::memchr;

use super::fields::{Facts, trim};
use super::target;

/// The head of one request. Lives as long as the input it was read from, or until the reader is asked again.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Method as sent; methods are case-sensitive (RFC 9110 §9.1).
    pub method: &'a str,
    /// Target as sent: visible ASCII in origin-form, absolute-form or asterisk-form. Route by [`path`](Self::path).
    pub target: &'a str,
    /// Version of the request line.
    pub version: Version,
    /// Field lines, each with its CRLF, as the grammar admits them; without the empty line.
    fields: &'a [u8],
    facts: Facts,
}

/// Versions this server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// How the body of a request is framed (RFC 9112 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// Nothing follows; also said of `Content-Length: 0`.
    None,
    /// So many bytes follow: at least one, at most [`Limits::body_bytes_max`](super::Limits::body_bytes_max).
    Length(u64),
    /// Chunks follow; the reader takes their framing off.
    Chunked,
}

/// Where the parts of a validated head are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) method_len: usize,
    pub(super) target_len: usize,
    /// From the method to behind the empty line.
    pub(super) len: usize,
    pub(super) version: Version,
    pub(super) facts: Facts,
}

impl<'a> Head<'a> {
    /// `bytes` is exactly the head that `layout` describes.
    pub(super) fn new(bytes: &'a [u8], layout: &Layout) -> Self {
        let target_at = layout.method_len + 1;
        let target_end = target_at + layout.target_len;
        let fields = &bytes[target_end + VERSION_AND_LINE_END..layout.len - EMPTY_LINE];
        Self {
            method: ascii(&bytes[..layout.method_len]),
            target: ascii(&bytes[target_at..target_end]),
            version: layout.version,
            fields,
            facts: layout.facts,
        }
    }

    /// Path of the target, as sent, without the query: starts with `/`, or is `*` for `OPTIONS *`.
    /// An absolute-form target is cut to its path: this server answers for no other host.
    pub fn path(&self) -> &'a str {
        target::path_and_query(self.target).0
    }

    /// What follows the first `?` of the target, as sent.
    pub fn query(&self) -> Option<&'a str> {
        target::path_and_query(self.target).1
    }

    /// `host[:port]` the request is for: of an absolute-form target, else of Host (RFC 9112 §3.2.2).
    /// `None` only in HTTP/1.0.
    pub fn host(&self) -> Option<&'a str> {
        target::authority(self.target).or_else(|| self.header("host").map(ascii))
    }

    /// Value of the first field named `name`, whatever its case, without the white space around it.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers(name).next()
    }

    /// Values of all fields named `name`, in order.
    pub fn headers<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.fields()
            .filter(move |(candidate, _value)| candidate.eq_ignore_ascii_case(name))
            .map(|(_name, value)| value)
    }

    /// All fields in order: name as sent, value without the white space around it.
    pub fn fields(&self) -> FieldIter<'a> {
        FieldIter { rest: self.fields }
    }

    /// How the body is framed.
    pub fn body(&self) -> BodyKind {
        self.facts.body
    }

    /// True when another request may follow the answer (RFC 9112 §9.3). False for a request that
    /// [wants an upgrade](Self::wants_upgrade): an answer other than 101 closes the connection.
    pub fn keep_alive(&self) -> bool {
        self.facts.keep_alive
    }

    /// True when the client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
    pub fn expects_continue(&self) -> bool {
        self.facts.expects_continue
    }

    /// True for HTTP/1.1 with `Connection: upgrade` and an Upgrade field (RFC 9110 §7.8).
    pub fn wants_upgrade(&self) -> bool {
        self.facts.wants_upgrade
    }
}

/// Fields of a head, in order. Made by [`Head::fields`].
#[derive(Debug, Clone)]
pub struct FieldIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for FieldIter<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // The grammar was checked: a name has no colon, a value has no CR, each line ends in CRLF.
        let colon = memchr(b':', self.rest)?;
        let (name, behind) = (&self.rest[..colon], &self.rest[colon + 1..]);
        let end = memchr(b'\r', behind)?;
        self.rest = &behind[end + LINE_END..];
        Some((ascii(name), trim(&behind[..end])))
    }
}

fn ascii(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("the grammar admits ASCII only in methods, targets, names and hosts")
}

const LINE_END: usize = 2;
const EMPTY_LINE: usize = 2;
/// ` HTTP/1.1` and CRLF.
pub(super) const VERSION_AND_LINE_END: usize = 11;
