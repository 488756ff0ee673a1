//! Arbitrary bytes through the reader of the native dialect: no panic, and what it accepts goes out as good JSON of the
//! length foretold.
#![no_main]

use highper_wire::dialect::native::{self, Command};
use highper_wire::dialect::{ErrorCode, channel, scan};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let mut out = Vec::new();
    match native::parse(text) {
        Ok(request) => {
            assert!(scan::document(text).is_ok());
            answer(&mut out, &request.command, request.id);
        }
        Err(refused) => {
            let is_object = scan::document(text).is_ok_and(|value| value.raw().starts_with(b"{"));
            assert_eq!(matches!(refused.code, ErrorCode::BadJson | ErrorCode::TooDeep), !is_object);
            native::error(&mut out, refused.code, refused.message, refused.id);
        }
    }
    assert!(scan::document(&out).is_ok());
});

fn answer(out: &mut Vec<u8>, command: &Command<'_>, id: Option<&[u8]>) {
    match command {
        Command::Join { channel } => {
            assert!(channel::check(channel).is_ok());
            native::joined(out, channel, "epoch", 1, id);
        }
        Command::Leave { channel } => native::left(out, channel, id),
        Command::Publish { channel, data } => {
            native::message(out, channel, 1, data, "from");
            assert_eq!(out.len(), native::message_len(channel, 1, data, "from"));
        }
        Command::Broadcast { data } => native::broadcast(out, data, "from"),
        Command::ToUsers { users, data } => {
            assert_eq!(users.len(), users.clone().count());
            for user in users.clone() {
                out.clear();
                native::user_message(out, data, &user);
                assert_eq!(out.len(), native::user_message_len(data, &user));
            }
        }
        Command::Ping => native::pong(out, id),
    }
}
