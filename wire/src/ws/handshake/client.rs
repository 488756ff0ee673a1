//! The client side of the opening handshake (RFC 6455 §4.1): writes the request, reads the answer.
//! Never connects, never draws a nonce.

use memchr::memmem;

use super::{ACCEPT, EXTENSIONS, KEY, Key, PROTOCOL, accept_key};
use crate::http1::{is_token_list_with, push_field, tokens};

/// Writes the GET that asks for a WebSocket. `extra` are fields such as Origin or Authorization.
///
/// # Panics
/// When an argument holds a control character, or `path` a space: it could write fields of its own.
pub fn write_request(
    out: &mut Vec<u8>,
    host: &str,
    path: &str,
    key: &Key,
    protocol: Option<&str>,
    extensions: Option<&str>,
    extra: &[(&str, &str)],
) {
    assert!(
        path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()),
        "path is no target: {path:?}"
    );
    out.extend_from_slice(b"GET ");
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    push_field(out, "Host", host);
    out.extend_from_slice(b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n");
    out.extend_from_slice(KEY.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\r\n");
    if let Some(protocol) = protocol {
        push_field(out, PROTOCOL, protocol);
    }
    if let Some(extensions) = extensions {
        push_field(out, EXTENSIONS, extensions);
    }
    for (name, value) in extra {
        push_field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

/// Reads the answer to one handshake, however it is split. Allocates only when the head comes in pieces.
#[derive(Debug)]
pub struct ClientReader {
    key: Key,
    /// The part of the head that has come, when it did not come whole.
    partial: Vec<u8>,
}

/// The server's yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Established<'a> {
    /// The sub-protocol the server chose; one of the offered.
    pub protocol: Option<&'a str>,
    /// Value of Sec-WebSocket-Extensions, for the caller to check against its offer.
    pub extensions: Option<&'a str>,
}

impl ClientReader {
    /// Waits for the answer to the request that carried `key`.
    pub fn new(key: Key) -> Self {
        Self { key, partial: Vec::new() }
    }

    /// Takes bytes until the head is complete, and leaves `input` behind it, where the first frame starts.
    /// `None`: more bytes are needed. `offered` is the Sec-WebSocket-Protocol value of the request. Call no more after
    /// `Some` or an error.
    ///
    /// # Errors
    /// The answer is no 101, or not to this request; close the connection.
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        offered: Option<&str>,
        input: &mut &'i [u8],
    ) -> Result<Option<Established<'a>>, AnswerError> {
        let before = self.partial.len();
        let room = HEAD_BYTES_MAX - before;
        let window = &input[..input.len().min(room)];
        if before == 0
            && let Some(end) = end_of_head(window, 0)
        {
            *input = &input[end..];
            return established(&self.key, offered, &window[..end]).map(Some);
        }
        self.partial.extend_from_slice(window);
        // The end may have begun three bytes before the new ones.
        let Some(end) = end_of_head(&self.partial, before.saturating_sub(3)) else {
            if window.len() == room {
                return Err(AnswerError::TooLarge);
            }
            *input = &[];
            return Ok(None);
        };
        *input = &input[end - before..];
        established(&self.key, offered, &self.partial[..end]).map(Some)
    }
}

/// An answer that opens no WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// Not an HTTP/1.1 response head.
    #[error("answer is not an HTTP/1.1 response")]
    Malformed,
    /// The head does not end within 8 KiB.
    #[error("answer head is too large")]
    TooLarge,
    /// The server answered with another status.
    #[error("server answered {0} instead of 101")]
    Status(u16),
    /// `Upgrade: websocket` or `Connection: Upgrade` is missing.
    #[error("answer does not upgrade to websocket")]
    NoUpgrade,
    /// Sec-WebSocket-Accept does not belong to our key.
    #[error("Sec-WebSocket-Accept does not match the key")]
    Accept,
    /// The server chose a sub-protocol nobody offered, or several.
    #[error("server chose a sub-protocol that was not offered")]
    Protocol,
    /// Sec-WebSocket-Extensions twice, or not text.
    #[error("Sec-WebSocket-Extensions is repeated or not text")]
    Extensions,
}

fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    memmem::find(&bytes[from..], END_OF_HEAD).map(|at| from + at + END_OF_HEAD.len())
}

fn established<'a>(key: &Key, offered: Option<&str>, head: &'a [u8]) -> Result<Established<'a>, AnswerError> {
    let mut storage = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut storage);
    match response.parse(head) {
        Ok(httparse::Status::Complete(len)) if len == head.len() && response.version == Some(1) => {}
        Ok(_) | Err(_) => return Err(AnswerError::Malformed),
    }
    match response.code {
        Some(101) => {}
        Some(other) => return Err(AnswerError::Status(other)),
        None => return Err(AnswerError::Malformed),
    }
    let (mut upgrade, mut connection, mut accepts, mut is_ours) = (false, false, 0, false);
    let mut answer = Established { protocol: None, extensions: None };
    for field in response.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("Upgrade") {
            upgrade |= is_token_list_with(field.value, b"websocket");
        } else if is("Connection") {
            connection |= is_token_list_with(field.value, b"upgrade");
        } else if is(ACCEPT) {
            accepts += 1;
            is_ours = field.value == accept_key(key);
        } else if is(PROTOCOL) {
            let chosen = chosen_protocol(offered, field.value).ok_or(AnswerError::Protocol)?;
            if answer.protocol.replace(chosen).is_some() {
                return Err(AnswerError::Protocol);
            }
        } else if is(EXTENSIONS) {
            let value = str::from_utf8(field.value).map_err(|_| AnswerError::Extensions)?;
            if answer.extensions.replace(value).is_some() {
                return Err(AnswerError::Extensions);
            }
        }
    }
    if !(upgrade && connection) {
        return Err(AnswerError::NoUpgrade);
    }
    if !(accepts == 1 && is_ours) {
        return Err(AnswerError::Accept);
    }
    Ok(answer)
}

fn chosen_protocol<'a>(offered: Option<&str>, chosen: &'a [u8]) -> Option<&'a str> {
    let is_offered = tokens(offered?.as_bytes()).any(|one| one == chosen);
    if is_offered { str::from_utf8(chosen).ok() } else { None }
}

/// As much as the server side takes.
const HEAD_BYTES_MAX: usize = 8192;
const FIELDS_MAX: usize = 64;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
