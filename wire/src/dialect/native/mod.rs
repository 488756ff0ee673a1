//! The native dialect: JSON objects in text messages, one command or event each. Bytes to [`Request`], events to
//! bytes. Never keeps state: who is in which channel, and who may do what, is the server's business.
//!
//! The fields of an object may stand in any order, fields that are not listed here are ignored, a listed field given
//! twice is refused. `id` is a string or number of at most 64 bytes that the client chooses; every answer to a command
//! repeats it exactly as it was written (`null` is as good as no id).
//!
//! # What a client sends
//! | `type` | fields | what it does | answer |
//! |---|---|---|---|
//! | `auth` | `token` | says who the client is, if `welcome` requires it; at most once | `authenticated` |
//! | `refresh` | `token` | goes on with a newer token of the same user | `authenticated` |
//! | `join` | `channel`, optional `since`, `token` | subscribes the connection, and sends what it missed after `since`; again is harmless | `joined` |
//! | `leave` | `channel` | ends the subscription | `left` |
//! | `publish` | `channel`, `data` | sends `data` to all in the channel, the sender too if it joined; joining is not required | `ack` |
//! | `broadcast` | `data` | sends `data` to every connection; off unless `REALTIME_CLIENT_BROADCAST=true` | `ack` |
//! | `to_users` | `users`, `data` | sends `data` to every connection of 1 to 256 users; off as `broadcast` is | `ack` |
//! | `history` | `channel`, optional `limit`, `since`, `reverse` | shows what the channel keeps | `history` |
//! | `presence` | `channel` | shows who is in the channel | `presence` |
//! | `presence_stats` | `channel` | shows how many are in the channel | `presence_stats` |
//! | `ping` | | measures the way to the server and back | `pong` |
//!
//! ```json
//! {"type":"publish","channel":"chat","data":{"text":"hi"},"id":7}
//! ```
//! A channel is named by 1 to 255 printable ASCII characters without spaces ([`check`](super::channel::check)), a user
//! by 1 to 255 bytes. `data` is any JSON, `null` included; it may be left out nowhere. An `ack` is sent only for a
//! command that has an `id`; errors are always sent. A command that is answered by an error has had no effect.
//!
//! `since` is a position the client has reached, as `joined`, `message`, `history` or `gap` told it:
//! `{"epoch":"0004f21c","offset":41}`. `offset` is a whole number below 2^64 in digits alone, `epoch` a string of at most
//! 64 bytes. An epoch that is not the channel's, of another server for example, is no error: what came after it cannot be
//! recovered, and the answer says so. `limit` is 0 to 1000, 100 if left out; with 0 only the position is told. `history`
//! goes from the oldest kept publication to the newest, with `"reverse":true` the other way round; with `since` it begins
//! beside that position, which is not repeated: after it, or before it in reverse. None of these may be `null`. `token` is
//! a string of 1 to 8192 bytes: with `join` it is one made for this channel, where the channel needs that.
//!
//! # What the server sends
//! | `type` | fields | when |
//! |---|---|---|
//! | `welcome` | `connection`, `shard`, `heartbeat` | first, once: the connection's name, the shard that serves it, seconds between the server's pings; with `"auth":"required"` if `auth` must come before anything else, and `data` if the embedder's backend has something to say |
//! | `authenticated` | `user` | answer to `auth` and `refresh`; with `expires_in`, seconds, if the token expires |
//! | `expired` | `timeout` | the token has expired: without `refresh` the connection is closed after so many seconds |
//! | `joined` | `channel`, `epoch`, `offset` | answer to `join`: publications after `offset` will come; with `recovered` if it had `since` |
//! | `left` | `channel` | answer to `leave`, or the server ended the subscription (then without `id`) |
//! | `message` | `channel`, `offset`, `data`, `from` | a publication; offsets rise by one within an epoch; without `offset` if it is not numbered, and with `tags` if it has some |
//! | `broadcast` | `data`, `from` | something sent to everyone; with `tags` if it has some |
//! | `user_message` | `data`, `from` | something sent to this connection's user; with `tags` if it has some |
//! | `history` | `channel`, `epoch`, `offset`, `publications` | answer to `history`: the channel's position, and a list of `{offset, data, from}`, with `tags` where there are some |
//! | `presence` | `channel`, `connections` | answer to `presence`: for each connection's name its `user`, and `info` if it brought some |
//! | `presence_stats` | `channel`, `connections`, `users` | answer to `presence_stats`: how many connections, and of how many users |
//! | `member_joined` | `channel`, `user`, `connection` | a user's first connection came into the channel; with `info` if it brought some; only where the channel is set so |
//! | `member_left` | `channel`, `user`, `connection` | a user's last connection left the channel; `info` as above; only where the channel is set so |
//! | `ack` | | the command was carried out; with `offset` where the publication's place is known |
//! | `pong` | | answer to `ping` |
//! | `gap` | `channel`, `epoch`, `offset` | publications up to `offset` were lost for this connection; what follows is complete again |
//! | `closing` | `code`, `reason` | last, before the close frame with the same code; with `reconnect_ms` if the client should come back, and after how long; reserved, this release sends the close frame alone |
//! | `error` | `code`, `message` | a command failed (table below); with `retry_in_ms` if it was one too many, and when it would not be |
//!
//! ```json
//! {"type":"message","channel":"chat","offset":42,"data":{"text":"hi"},"from":"0-1f"}
//! ```
//! `data` is what the publisher sent, byte for byte: white space, escapes and digits are kept. `from` is the
//! publisher's connection, or empty if the server itself published; a `user` without a name is empty too. `tags` is an
//! object that the publisher set by the server's interface, always last. `epoch` names a life of the channel's numbering,
//! eight hexadecimal digits that a client compares and repeats: if it changes, offsets start anew. The fields of `message`
//! come in this order and without white space between them. Clients ignore types and fields they do not know.
//!
//! # Coming back
//! ```json
//! {"type":"join","channel":"chat","since":{"epoch":"0004f21c","offset":41},"id":1}
//! {"type":"joined","channel":"chat","epoch":"0004f21c","offset":43,"recovered":true,"id":1}
//! ```
//! After `"recovered":true` come the publications after `since` up to the `offset` of `joined`, as ordinary `message`
//! events, then what is published from there on: nothing is missing, nothing comes twice. `"recovered":false` says that
//! this cannot be done, because the channel does not keep that much or its epoch is another: the client has missed
//! something, must get the state of things by another way, and goes on from the `epoch` and `offset` it was told.
//!
//! # Error codes
//! The codes are stable; the message is English for the developer and may change.
//!
//! | `code` | meaning |
//! |---|---|
//! | `bad_json` | the text is not one JSON object (RFC 8259; half a surrogate pair is refused too) |
//! | `too_deep` | more than 32 objects and arrays inside one another; the server closes with 1008 |
//! | `bad_request` | a field is missing, of the wrong kind, out of range or given twice; the message names it |
//! | `unknown_type` | there is no such command |
//! | `unauthorized` | a token is missing, expired or not valid; while `auth` is required the server closes with 3500 |
//! | `bad_channel` | the channel's name breaks the rule |
//! | `not_joined` | the connection is not in the channel it wants to leave, or left it before its join was carried out |
//! | `too_many_channels` | the connection is in as many channels as one may join |
//! | `forbidden` | the command is switched off, or the connection has no permission for it |
//! | `not_available` | the channel has no history, or no presence: it is switched off for it |
//! | `rate_limited` | the connection sends more messages than its rate allows; this one was dropped. `retry_in_ms` says when the same would pass; who goes on without waiting is closed with 1008 |
//! | `try_again` | a queue inside the server is full and nothing was done: send the same again, later |
//! | `too_large` | the data is larger than the channel accepts |
//! | `internal` | the server's own fault |
//!
//! `bad_json` and `too_deep` have no `id`: what cannot be read has none.

mod event;
mod request;

pub use event::{
    Member, PresenceStats, ack, authenticated, broadcast, broadcast_len, closing, error, expired, gap,
    history_begin, history_end, history_item, joined, left, member_joined, member_left, message, message_len,
    pong, presence_begin, presence_end, presence_item, presence_stats, rate_limited, user_message,
    user_message_len, welcome,
};
pub use request::{
    BadRequest, Command, EPOCH_LEN_MAX, HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX, ID_LEN_MAX, Request, Since,
    TOKEN_LEN_MAX, USER_LEN_MAX, USERS_MAX, Users, parse,
};
