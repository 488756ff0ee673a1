//! Reading a request and writing an event into a buffer with room allocate nothing, and a refusal does not either.

mod counting;

use std::hint::black_box;

use counting::allocations;
use highper_wire::dialect::native::{self, Command};
use highper_wire::dialect::{ErrorCode, raw};

#[test]
fn requests_and_events_allocate_nothing() {
    let texts: [&[u8]; 8] = [
        br#"{"type":"publish","channel":"chat","data":{"text":"caf\u00e9 \"x\"","n":[1,2.5e3,null]},"id":"7f"}"#,
        br#" { "id" : 1 , "extra" : [[[{}]]] , "channel" : "chat" , "type" : "join" } "#,
        br#"{"type":"to_users","users":["ann","bob"],"data":1}"#,
        br#"{"type":"broadcast","data":"x"}"#,
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
        Command::Join { channel } => native::joined(out, &channel, "e\"1", 7, request.id),
        Command::Leave { channel } => native::left(out, &channel, request.id),
        Command::Publish { channel, data } => {
            native::message(out, &channel, 123_456_789, data, "0-1f");
            raw::message(out, data);
            native::ack(out, Some(1), request.id);
        }
        Command::Broadcast { data } => native::broadcast(out, data, "0-1f"),
        Command::ToUsers { users, data } => {
            for user in users {
                native::user_message(out, data, &user);
            }
        }
        Command::Ping => {
            native::pong(out, request.id);
            native::welcome(out, "0-1f", 0, 30);
            native::gap(out, "chat", "e1", 9);
            native::closing(out, 1012, "restart", None);
            native::error(out, ErrorCode::TryAgain, "\u{1f}", request.id);
        }
    }
}
