//! What the server tells a client of the native dialect: each function appends one JSON text to `out`, unframed.
//! Never checks: `data` and `info` must be one JSON value, `tags` one JSON object and `id` one JSON string or number, as
//! [`super::parse`] gives them. Other text may be anything, it is escaped.
//!
//! The events that carry data know their length beforehand (`*_len`), so a caller can write a frame header first.
//! Answers of many parts (`history`, `presence`) are written as `*_begin`, any number of `*_item`, `*_end`; the caller
//! bounds how many.

use std::time::Duration;

use crate::dialect::ErrorCode;
use crate::dialect::string::{HEX, number_len, string_len, write_number, write_string};

/// One connection in a channel's presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The connection's name.
    pub connection: &'a str,
    /// Its user; empty if it has none.
    pub user: &'a str,
    /// What the connection brought along, one JSON value.
    pub info: Option<&'a [u8]>,
}

/// How many are in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceStats {
    /// Connections.
    pub connections: u64,
    /// Different users of those connections.
    pub users: u64,
}

/// The first event of a connection: its name, the shard that serves it, how often the server pings, and whether
/// nothing is done for it before it has said who it is.
/// `data` is one JSON value of the embedder's backend.
pub fn welcome(
    out: &mut Vec<u8>,
    connection: &str,
    shard: u16,
    heartbeat_secs: u32,
    needs_auth: bool,
    data: Option<&[u8]>,
) {
    out.extend_from_slice(br#"{"type":"welcome","connection":"#);
    write_string(out, connection);
    out.extend_from_slice(br#","shard":"#);
    write_number(out, u64::from(shard));
    out.extend_from_slice(br#","heartbeat":"#);
    write_number(out, u64::from(heartbeat_secs));
    if needs_auth {
        out.extend_from_slice(br#","auth":"required""#);
    }
    if let Some(data) = data {
        out.extend_from_slice(br#","data":"#);
        out.extend_from_slice(data);
    }
    out.push(b'}');
}

/// A token was taken: the connection is `user`'s, empty if nobody's, for so many seconds; `None` is for good.
pub fn authenticated(out: &mut Vec<u8>, user: &str, expires_in_secs: Option<u64>, id: Option<&[u8]>) {
    out.extend_from_slice(br#"{"type":"authenticated","user":"#);
    write_string(out, user);
    if let Some(secs) = expires_in_secs {
        out.extend_from_slice(br#","expires_in":"#);
        write_number(out, secs);
    }
    end(out, id);
}

/// The token has expired; without a newer one the connection is closed after so many seconds.
pub fn expired(out: &mut Vec<u8>, timeout_secs: u64) {
    out.extend_from_slice(br#"{"type":"expired","timeout":"#);
    write_number(out, timeout_secs);
    end(out, None);
}

/// The connection is in `channel`; what is published from now on comes after `offset` of `epoch`. `recovered` answers
/// the `since` of the join, and is `None` without one: `Some(true)` promises every publication after it up to `offset`
/// as [`message`] events, next; `Some(false)` says that they are lost for this connection.
pub fn joined(
    out: &mut Vec<u8>,
    channel: &str,
    epoch: u32,
    offset: u64,
    recovered: Option<bool>,
    id: Option<&[u8]>,
) {
    out.extend_from_slice(br#"{"type":"joined","channel":"#);
    place(out, channel, epoch, offset);
    if let Some(recovered) = recovered {
        out.extend_from_slice(if recovered { br#","recovered":true"# } else { br#","recovered":false"# });
    }
    end(out, id);
}

/// The connection is no longer in `channel`; without `id` if the server ended it.
pub fn left(out: &mut Vec<u8>, channel: &str, id: Option<&[u8]>) {
    out.extend_from_slice(br#"{"type":"left","channel":"#);
    write_string(out, channel);
    end(out, id);
}

/// A publication in `channel`. `offset` 0 means that it is not numbered, and is left out. `from` is the publisher's
/// connection, empty if the server published.
pub fn message(out: &mut Vec<u8>, channel: &str, offset: u64, data: &[u8], from: &str, tags: Option<&[u8]>) {
    out.reserve(MESSAGE_FIXED_LEN + NUMBER_ROOM + channel.len() + data.len() + from.len() + tags_len(tags));
    out.extend_from_slice(MESSAGE);
    write_string(out, channel);
    if offset != 0 {
        out.extend_from_slice(OFFSET);
        write_number(out, offset);
    }
    data_from(out, data, from, tags);
}

/// Bytes that [`message`] appends for the same arguments.
pub fn message_len(channel: &str, offset: u64, data: &[u8], from: &str, tags: Option<&[u8]>) -> usize {
    let numbered = if offset == 0 { 0 } else { OFFSET.len() + number_len(offset) };
    MESSAGE.len() + string_len(channel) + numbered + data_from_len(data, from, tags)
}

/// Something sent to every connection.
pub fn broadcast(out: &mut Vec<u8>, data: &[u8], from: &str, tags: Option<&[u8]>) {
    out.reserve(BROADCAST.len() + FROM_FIXED_LEN + data.len() + from.len() + tags_len(tags));
    out.extend_from_slice(BROADCAST);
    data_from(out, data, from, tags);
}

/// Bytes that [`broadcast`] appends for the same arguments.
pub fn broadcast_len(data: &[u8], from: &str, tags: Option<&[u8]>) -> usize {
    BROADCAST.len() + data_from_len(data, from, tags)
}

/// Something sent to the user of this connection.
pub fn user_message(out: &mut Vec<u8>, data: &[u8], from: &str, tags: Option<&[u8]>) {
    out.reserve(USER_MESSAGE.len() + FROM_FIXED_LEN + data.len() + from.len() + tags_len(tags));
    out.extend_from_slice(USER_MESSAGE);
    data_from(out, data, from, tags);
}

/// Bytes that [`user_message`] appends for the same arguments.
pub fn user_message_len(data: &[u8], from: &str, tags: Option<&[u8]>) -> usize {
    USER_MESSAGE.len() + data_from_len(data, from, tags)
}

/// Begins the answer to `history`: `channel` stands at `offset` of `epoch`.
pub fn history_begin(out: &mut Vec<u8>, channel: &str, epoch: u32, offset: u64) {
    out.extend_from_slice(br#"{"type":"history","channel":"#);
    place(out, channel, epoch, offset);
    out.extend_from_slice(br#","publications":["#);
}

/// One publication of the answer to `history`; `first` of them or a further one.
pub fn history_item(
    out: &mut Vec<u8>,
    first: bool,
    offset: u64,
    data: &[u8],
    from: &str,
    tags: Option<&[u8]>,
) {
    out.extend_from_slice(if first { br#"{"offset":"# } else { br#",{"offset":"# });
    write_number(out, offset);
    data_from(out, data, from, tags);
}

/// Ends the answer to `history`.
pub fn history_end(out: &mut Vec<u8>, id: Option<&[u8]>) {
    out.push(b']');
    end(out, id);
}

/// Begins the answer to `presence`.
pub fn presence_begin(out: &mut Vec<u8>, channel: &str) {
    out.extend_from_slice(br#"{"type":"presence","channel":"#);
    write_string(out, channel);
    out.extend_from_slice(br#","connections":{"#);
}

/// One connection of the answer to `presence`; `first` of them or a further one. None may come twice.
pub fn presence_item(out: &mut Vec<u8>, first: bool, member: Member<'_>) {
    if !first {
        out.push(b',');
    }
    write_string(out, member.connection);
    out.extend_from_slice(br#":{"user":"#);
    write_string(out, member.user);
    info(out, member.info);
    out.push(b'}');
}

/// Ends the answer to `presence`.
pub fn presence_end(out: &mut Vec<u8>, id: Option<&[u8]>) {
    out.push(b'}');
    end(out, id);
}

/// The answer to `presence_stats`.
pub fn presence_stats(out: &mut Vec<u8>, channel: &str, stats: PresenceStats, id: Option<&[u8]>) {
    out.extend_from_slice(br#"{"type":"presence_stats","channel":"#);
    write_string(out, channel);
    out.extend_from_slice(br#","connections":"#);
    write_number(out, stats.connections);
    out.extend_from_slice(br#","users":"#);
    write_number(out, stats.users);
    end(out, id);
}

/// A user came into `channel`: `member` is its first connection there.
pub fn member_joined(out: &mut Vec<u8>, channel: &str, member: Member<'_>) {
    out.extend_from_slice(br#"{"type":"member_joined","channel":"#);
    member_of(out, channel, member);
}

/// A user is no longer in `channel`: `member` was its last connection there.
pub fn member_left(out: &mut Vec<u8>, channel: &str, member: Member<'_>) {
    out.extend_from_slice(br#"{"type":"member_left","channel":"#);
    member_of(out, channel, member);
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

/// The message was dropped because it is one too many; the same sent again after `retry_in` would not be, if nothing
/// else is sent meanwhile. Told in milliseconds, rounded up.
pub fn rate_limited(out: &mut Vec<u8>, message: &str, retry_in: Duration, id: Option<&[u8]>) {
    out.extend_from_slice(br#"{"type":"error","code":"#);
    write_string(out, ErrorCode::RateLimited.as_str());
    out.extend_from_slice(br#","message":"#);
    write_string(out, message);
    out.extend_from_slice(br#","retry_in_ms":"#);
    let millis = retry_in.as_nanos().div_ceil(1_000_000);
    write_number(out, u64::try_from(millis).unwrap_or(u64::MAX));
    end(out, id);
}

/// Answer to `ping`.
pub fn pong(out: &mut Vec<u8>, id: Option<&[u8]>) {
    out.extend_from_slice(br#"{"type":"pong""#);
    end(out, id);
}

/// Publications up to `offset` of `epoch` were lost for this connection; what follows is complete again.
pub fn gap(out: &mut Vec<u8>, channel: &str, epoch: u32, offset: u64) {
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

fn place(out: &mut Vec<u8>, channel: &str, epoch: u32, offset: u64) {
    write_string(out, channel);
    out.extend_from_slice(br#","epoch":""#);
    write_epoch(out, epoch);
    out.extend_from_slice(br#"","offset":"#);
    write_number(out, offset);
}

/// Eight hexadecimal digits: text, because a client only compares and repeats it.
fn write_epoch(out: &mut Vec<u8>, epoch: u32) {
    for nibble in (0..8).rev() {
        out.push(HEX[(epoch >> (4 * nibble)) as usize & 15]);
    }
}

fn data_from(out: &mut Vec<u8>, data: &[u8], from: &str, tags: Option<&[u8]>) {
    out.extend_from_slice(DATA);
    out.extend_from_slice(data);
    out.extend_from_slice(FROM);
    write_string(out, from);
    if let Some(tags) = tags {
        out.extend_from_slice(TAGS);
        out.extend_from_slice(tags);
    }
    out.push(b'}');
}

fn data_from_len(data: &[u8], from: &str, tags: Option<&[u8]>) -> usize {
    FROM_FIXED_LEN + data.len() + string_len(from) + tags_len(tags)
}

fn tags_len(tags: Option<&[u8]>) -> usize {
    tags.map_or(0, |tags| TAGS.len() + tags.len())
}

fn member_of(out: &mut Vec<u8>, channel: &str, member: Member<'_>) {
    write_string(out, channel);
    out.extend_from_slice(br#","user":"#);
    write_string(out, member.user);
    out.extend_from_slice(br#","connection":"#);
    write_string(out, member.connection);
    info(out, member.info);
    out.push(b'}');
}

fn info(out: &mut Vec<u8>, info: Option<&[u8]>) {
    if let Some(info) = info {
        out.extend_from_slice(br#","info":"#);
        out.extend_from_slice(info);
    }
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
const TAGS: &[u8] = br#","tags":"#;
const FROM_FIXED_LEN: usize = DATA.len() + FROM.len() + "}".len();
const MESSAGE_FIXED_LEN: usize = MESSAGE.len() + OFFSET.len() + FROM_FIXED_LEN;
/// An offset of twenty digits and the quotes of two strings.
const NUMBER_ROOM: usize = 24;
