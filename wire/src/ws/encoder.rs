//! Frames for the peer (RFC 6455 §5), appended to a buffer: unmasked as a server sends them, masked as a client
//! does. Never fragments, never compresses.

use super::frame::{CONTROL_BYTES_MAX, Header, Opcode};
use super::mask::Mask;
use super::{CloseCode, Kind};

/// Appends a message.
#[inline]
pub fn message(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    frame(out, kind.into(), false, None, &[payload]);
}

/// Appends a message whose payload went through [`Deflater::compress`](super::Deflater::compress).
#[inline]
pub fn compressed_message(out: &mut Vec<u8>, kind: Kind, compressed: &[u8]) {
    frame(out, kind.into(), true, None, &[compressed]);
}

/// Appends a ping; of the payload at most 125 bytes.
pub fn ping(out: &mut Vec<u8>, payload: &[u8]) {
    frame(out, Opcode::Ping, false, None, &[cut(payload)]);
}

/// Appends a pong; of the payload at most 125 bytes, which is all a ping can have.
pub fn pong(out: &mut Vec<u8>, payload: &[u8]) {
    frame(out, Opcode::Pong, false, None, &[cut(payload)]);
}

/// Appends a close frame. Without a code it is empty; the reason is cut to 123 bytes at a character boundary.
pub fn close(out: &mut Vec<u8>, code: Option<CloseCode>, reason: &str) {
    close_frame(out, None, code, reason);
}

/// Bytes of a server's frame with a payload of `payload_len` bytes.
pub const fn frame_len(payload_len: usize) -> usize {
    match payload_len {
        0..=125 => payload_len + 2,
        126..=0xffff => payload_len + 4,
        _ => payload_len + 10,
    }
}

/// [`message`] as a client sends it. Outside of tests and benchmarks `key` is random for each frame
/// (RFC 6455 §5.3).
pub fn masked_message(out: &mut Vec<u8>, key: [u8; 4], kind: Kind, payload: &[u8]) {
    frame(out, kind.into(), false, Some(key), &[payload]);
}

/// [`compressed_message`] as a client sends it.
pub fn masked_compressed_message(out: &mut Vec<u8>, key: [u8; 4], kind: Kind, compressed: &[u8]) {
    frame(out, kind.into(), true, Some(key), &[compressed]);
}

/// [`ping`] as a client sends it.
pub fn masked_ping(out: &mut Vec<u8>, key: [u8; 4], payload: &[u8]) {
    frame(out, Opcode::Ping, false, Some(key), &[cut(payload)]);
}

/// [`pong`] as a client sends it.
pub fn masked_pong(out: &mut Vec<u8>, key: [u8; 4], payload: &[u8]) {
    frame(out, Opcode::Pong, false, Some(key), &[cut(payload)]);
}

/// [`close`] as a client sends it.
pub fn masked_close(out: &mut Vec<u8>, key: [u8; 4], code: Option<CloseCode>, reason: &str) {
    close_frame(out, Some(key), code, reason);
}

fn close_frame(out: &mut Vec<u8>, key: Option<[u8; 4]>, code: Option<CloseCode>, reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(CONTROL_BYTES_MAX - 2)];
    match code {
        Some(code) => frame(out, Opcode::Close, false, key, &[&code.get().to_be_bytes(), reason.as_bytes()]),
        None => frame(out, Opcode::Close, false, key, &[]),
    }
}

#[inline]
fn frame(out: &mut Vec<u8>, opcode: Opcode, rsv1: bool, key: Option<[u8; 4]>, payload: &[&[u8]]) {
    let len: usize = payload.iter().map(|piece| piece.len()).sum();
    out.reserve(frame_len(len) + if key.is_some() { 4 } else { 0 });
    Header { fin: true, rsv1, opcode, key, len: len as u64 }.encode(out);
    let start = out.len();
    for piece in payload {
        out.extend_from_slice(piece);
    }
    if let Some(key) = key {
        Mask::new(key).apply(&mut out[start..]);
    }
}

fn cut(payload: &[u8]) -> &[u8] {
    &payload[..payload.len().min(CONTROL_BYTES_MAX)]
}
