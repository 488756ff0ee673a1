//! Arbitrary bytes through the reader of the native dialect: no panic, and what it accepts goes out as good JSON of the
//! length foretold.
#![no_main]

use highper_wire::dialect::native::{self, Command, HISTORY_LIMIT_MAX, Member, PresenceStats};
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
        Command::Auth { token } | Command::Refresh { token } => {
            assert!((1..=native::TOKEN_LEN_MAX).contains(&token.len()));
            native::authenticated(out, token, Some(1), id);
        }
        Command::Join { channel, since, token: _ } => {
            assert!(channel::check(channel).is_ok());
            native::joined(out, channel, 0xe1, 1, since.map(|since| since.epoch == 0xe1), id);
        }
        Command::Leave { channel } => native::left(out, channel, id),
        Command::Publish { channel, data } => {
            // The data may be an object, and then stands for tags as well.
            let tags = Some(*data).filter(|data| data.starts_with(b"{"));
            for offset in [0, 1] {
                out.clear();
                native::message(out, channel, offset, data, "from", tags);
                assert_eq!(out.len(), native::message_len(channel, offset, data, "from", tags));
            }
        }
        Command::Broadcast { data } => {
            native::broadcast(out, data, "from", None);
            assert_eq!(out.len(), native::broadcast_len(data, "from", None));
        }
        Command::ToUsers { users, data } => {
            assert_eq!(users.len(), users.clone().count());
            for user in users.clone() {
                out.clear();
                native::user_message(out, data, &user, None);
                assert_eq!(out.len(), native::user_message_len(data, &user, None));
            }
        }
        Command::History { channel, limit, since, reverse } => {
            assert!(channel::check(channel).is_ok() && *limit <= HISTORY_LIMIT_MAX);
            native::history_begin(out, channel, 0xe1, since.map_or(0, |since| since.offset));
            for at in 0..*limit {
                native::history_item(out, at == 0, at as u64, b"{}", channel, reverse.then_some(b"{}"));
            }
            native::history_end(out, id);
        }
        Command::Presence { channel } => {
            native::presence_begin(out, channel);
            native::presence_item(out, true, Member { connection: channel, user: channel, info: id });
            native::presence_end(out, id);
        }
        Command::PresenceStats { channel } => {
            native::presence_stats(out, channel, PresenceStats { connections: 2, users: 1 }, id);
        }
        Command::Ping => native::pong(out, id),
    }
}
