//! What the server tells a client of the native dialect: each function appends one JSON text to `out`, unframed.
//! Never checks: `data` must be one JSON value and `id` one JSON string or number, as [`super::parse`] gives them.
//! Other text may be anything, it is escaped.
//!
//! The events that carry data know their length beforehand (`*_len`), so a caller can write a frame header first.

use std::time::Duration;

use crate::dialect::ErrorCode;
use crate::dialect::string::{number_len, string_len, write_number, write_string};

/// The first event of a connection: its name, the shard that serves it, and how often the server pings.
pub fn welcome(out: &mut Vec<u8>, connection: &str, shard: u16, heartbeat_secs: u32) {
    out.extend_from_slice(br#"{"type":"welcome","connection":"#);
    write_string(out, connection);
    out.extend_from_slice(br#","shard":"#);
    write_number(out, u64::from(shard));
    out.extend_from_slice(br#","heartbeat":"#);
    write_number(out, u64::from(heartbeat_secs));
    out.push(b'}');
}

/// The connection is in `channel`; what it will receive comes after `offset` of `epoch`.
pub fn joined(out: &mut Vec<u8>, channel: &str, epoch: &str, offset: u64, id: Option<&[u8]>) {
    out.extend_from_slice(br#"{"type":"joined","channel":"#);
    place(out, channel, epoch, offset);
    end(out, id);
}

/// The connection is no longer in `channel`; without `id` if the server ended it.
pub fn left(out: &mut Vec<u8>, channel: &str, id: Option<&[u8]>) {
    out.extend_from_slice(br#"{"type":"left","channel":"#);
    write_string(out, channel);
    end(out, id);
}

/// A publication in `channel`. `from` is the publisher's connection, empty if the server published.
pub fn message(out: &mut Vec<u8>, channel: &str, offset: u64, data: &[u8], from: &str) {
    out.reserve(MESSAGE_FIXED_LEN + NUMBER_ROOM + channel.len() + data.len() + from.len());
    out.extend_from_slice(MESSAGE);
    write_string(out, channel);
    out.extend_from_slice(OFFSET);
    write_number(out, offset);
    data_from(out, data, from);
}

/// Bytes that [`message`] appends for the same arguments.
pub fn message_len(channel: &str, offset: u64, data: &[u8], from: &str) -> usize {
    MESSAGE_FIXED_LEN + string_len(channel) + number_len(offset) + data.len() + string_len(from)
}

/// Something sent to every connection.
pub fn broadcast(out: &mut Vec<u8>, data: &[u8], from: &str) {
    out.reserve(BROADCAST.len() + FROM_FIXED_LEN + data.len() + from.len());
    out.extend_from_slice(BROADCAST);
    data_from(out, data, from);
}

/// Bytes that [`broadcast`] appends for the same arguments.
pub fn broadcast_len(data: &[u8], from: &str) -> usize {
    BROADCAST.len() + FROM_FIXED_LEN + data.len() + string_len(from)
}

/// Something sent to the user of this connection.
pub fn user_message(out: &mut Vec<u8>, data: &[u8], from: &str) {
    out.reserve(USER_MESSAGE.len() + FROM_FIXED_LEN + data.len() + from.len());
    out.extend_from_slice(USER_MESSAGE);
    data_from(out, data, from);
}

/// Bytes that [`user_message`] appends for the same arguments.
pub fn user_message_len(data: &[u8], from: &str) -> usize {
    USER_MESSAGE.len() + FROM_FIXED_LEN + data.len() + string_len(from)
}

/// The command was carried out; a publication whose place is known stands at `offset`.
pub fn ack(out: &mut Vec<u8>, offset: Option<u64>, id: Option<&[u8]>) {
    out.extend_from_slice(br#"{"type":"ack""#);
    if let Some(offset) = offset {
        out.extend_from_slice(OFFSET);
        write_number(out, offset);
    }
    end(out, id);
}

/// The command was not carried out. `message` is English for the developer.
pub fn error(out: &mut Vec<u8>, code: ErrorCode, message: &str, id: Option<&[u8]>) {
    out.extend_from_slice(br#"{"type":"error","code":"#);
    write_string(out, code.as_str());
    out.extend_from_slice(br#","message":"#);
    write_string(out, message);
    end(out, id);
}

/// Answer to `ping`.
pub fn pong(out: &mut Vec<u8>, id: Option<&[u8]>) {
    out.extend_from_slice(br#"{"type":"pong""#);
    end(out, id);
}

/// Publications up to `offset` of `epoch` were lost for this connection; what follows is complete again.
pub fn gap(out: &mut Vec<u8>, channel: &str, epoch: &str, offset: u64) {
    out.extend_from_slice(br#"{"type":"gap","channel":"#);
    place(out, channel, epoch, offset);
    end(out, None);
}

/// The last event before the close frame with the same `code`. `reconnect_after` asks the client to come back then;
/// `None` asks it not to. Counted in whole milliseconds.
pub fn closing(out: &mut Vec<u8>, code: u16, reason: &str, reconnect_after: Option<Duration>) {
    out.extend_from_slice(br#"{"type":"closing","code":"#);
    write_number(out, u64::from(code));
    out.extend_from_slice(br#","reason":"#);
    write_string(out, reason);
    if let Some(delay) = reconnect_after {
        out.extend_from_slice(br#","reconnect_ms":"#);
        write_number(out, u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
    }
    end(out, None);
}

fn place(out: &mut Vec<u8>, channel: &str, epoch: &str, offset: u64) {
    write_string(out, channel);
    out.extend_from_slice(br#","epoch":"#);
    write_string(out, epoch);
    out.extend_from_slice(OFFSET);
    write_number(out, offset);
}

fn data_from(out: &mut Vec<u8>, data: &[u8], from: &str) {
    out.extend_from_slice(DATA);
    out.extend_from_slice(data);
    out.extend_from_slice(FROM);
    write_string(out, from);
    out.push(b'}');
}

fn end(out: &mut Vec<u8>, id: Option<&[u8]>) {
    if let Some(id) = id {
        out.extend_from_slice(br#","id":"#);
        out.extend_from_slice(id);
    }
    out.push(b'}');
}

const MESSAGE: &[u8] = br#"{"type":"message","channel":"#;
const BROADCAST: &[u8] = br#"{"type":"broadcast""#;
const USER_MESSAGE: &[u8] = br#"{"type":"user_message""#;
const OFFSET: &[u8] = br#","offset":"#;
const DATA: &[u8] = br#","data":"#;
const FROM: &[u8] = br#","from":"#;
const FROM_FIXED_LEN: usize = DATA.len() + FROM.len() + "}".len();
const MESSAGE_FIXED_LEN: usize = MESSAGE.len() + OFFSET.len() + FROM_FIXED_LEN;
/// An offset of twenty digits and the quotes of two strings.
const NUMBER_ROOM: usize = 24;
