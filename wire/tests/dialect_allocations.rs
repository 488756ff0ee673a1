//! Reading a request and writing an event into a buffer with room allocate nothing, and a refusal does not either.

mod counting;

use std::hint::black_box;

use counting::allocations;
use highper_wire::dialect::native::{self, Command, Member, PresenceStats};
use highper_wire::dialect::{ErrorCode, raw};

#[test]
fn requests_and_events_allocate_nothing() {
    let texts: [&[u8]; 14] = [
        br#"{"type":"publish","channel":"chat","data":{"text":"caf\u00e9 \"x\"","n":[1,2.5e3,null]},"id":"7f"}"#,
        br#" { "id" : 1 , "extra" : [[[{}]]] , "channel" : "chat" , "type" : "join" } "#,
        br#"{"type":"to_users","users":["ann","bob"],"data":1}"#,
        br#"{"type":"broadcast","data":"x"}"#,
        br#"{"type":"join","channel":"chat","since":{ "epoch" : "0004f21c" , "extra":[{}], "offset" : 41 },"id":1}"#,
        br#"{"type":"join","channel":"chat","since":{"epoch":"elsewhere","offset":18446744073709551615}}"#,
        br#"{"type":"history","channel":"chat","limit":3,"since":{"epoch":"1","offset":0},"reverse":true,"id":1}"#,
        br#"{"type":"presence","channel":"chat"}"#,
        br#"{"type":"presence_stats","channel":"chat","id":"x"}"#,
        br#"{"type":"history","channel":"chat","since":{"epoch":"1"}}"#,
        br#"{"type":"ping"}"#,
        br#"{"type":"join","channel":"two words","id":1}"#,
        br#"{"type":"nothing","id":1}"#,
        br#"{"type":"ping","#,
    ];
    let mut out = Vec::with_capacity(4096);
    let made = allocations(|| {
        for _ in 0..100 {
            for text in texts {
                out.clear();
                answer(black_box(text), &mut out);
                assert!(!out.is_empty());
            }
        }
    });
    assert_eq!(made, 0);
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(black_box(Vec::<u8>::with_capacity(black_box(10))))), 1);
}

fn answer(text: &[u8], out: &mut Vec<u8>) {
    let request = match native::parse(text) {
        Ok(request) => request,
        Err(refused) => return native::error(out, refused.code, refused.message, refused.id),
    };
    match request.command {
        Command::Auth { token } | Command::Refresh { token } => {
            native::authenticated(out, &token, Some(600), request.id);
        }
        Command::Join { channel, since, token: _ } => {
            let recovered = since.map(|since| since.epoch == 0x4f21c);
            native::joined(out, &channel, 0x4f21c, 7, recovered, request.id);
        }
        Command::Leave { channel } => native::left(out, &channel, request.id),
        Command::Publish { channel, data } => {
            native::message(out, &channel, 123_456_789, data, "0-1f", None);
            native::message(out, &channel, 0, data, "0-1f", Some(br#"{"a":"b"}"#));
            raw::message(out, data);
            native::ack(out, Some(1), request.id);
        }
        Command::Broadcast { data } => native::broadcast(out, data, "0-1f", Some(b"{}")),
        Command::ToUsers { users, data } => {
            for user in users {
                native::user_message(out, data, &user, Some(b"{}"));
            }
        }
        Command::History { channel, limit, since: _, reverse: _ } => {
            native::history_begin(out, &channel, 0x4f21c, 7);
            for at in 0..limit {
                native::history_item(out, at == 0, at as u64, b"1", "0-1f", Some(b"{}"));
            }
            native::history_end(out, request.id);
        }
        Command::Presence { channel } => {
            let member = Member { connection: "0-1f", user: "ann", info: Some(b"{}") };
            native::presence_begin(out, &channel);
            native::presence_item(out, true, member);
            native::presence_item(out, false, Member { connection: "0-2a", ..member });
            native::presence_end(out, request.id);
            native::member_joined(out, &channel, member);
            native::member_left(out, &channel, member);
        }
        Command::PresenceStats { channel } => {
            native::presence_stats(out, &channel, PresenceStats { connections: 2, users: 1 }, request.id);
        }
        Command::Ping => {
            native::pong(out, request.id);
            native::welcome(out, "0-1f", 0, 30, false, None);
            native::gap(out, "chat", 1, 9);
            native::closing(out, 1012, "restart", None);
            native::error(out, ErrorCode::TryAgain, "\u{1f}", request.id);
        }
    }
}
