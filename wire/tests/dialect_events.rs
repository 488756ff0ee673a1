//! Events of the native dialect are valid JSON that says what was meant, whatever text goes in, and are as long as
//! foretold.

#![expect(clippy::unwrap_used)]

use std::time::Duration;

use highper_wire::dialect::ErrorCode;
use highper_wire::dialect::native::{self, Member, PresenceStats};
use highper_wire::dialect::scan;
use highper_wire::dialect::string::{number_len, string_len, write_number, write_string};
use serde_json::{Value, json};

/// Text with everything that could go wrong in a string, at every alignment the writer sees.
const NASTY: [&str; 12] = [
    "",
    "c",
    "chat-room",
    "\"",
    "\\",
    "a\"b\\c",
    "\u{0}\u{1}\u{8}\t\n\u{b}\u{c}\r\u{e}\u{1f}",
    "\u{7f}\u{80}\u{2028}\u{2029}",
    "größe 😀",
    "01234567\"",
    "0123456789abcdef\n0123456789abcdef",
    "</script><!--",
];

#[test]
fn strings_are_written_as_the_judge_writes_them() {
    let all: String = (0..0x300).filter_map(char::from_u32).collect();
    let each = (0..0x300).filter_map(char::from_u32).map(String::from);
    let shifted = (0..20).map(|at| format!("{}\n\"{}", "x".repeat(at), "y".repeat(20 - at)));
    for text in NASTY.map(str::to_owned).into_iter().chain([all]).chain(each).chain(shifted) {
        let mut out = Vec::new();
        write_string(&mut out, &text);
        assert_eq!(out, serde_json::to_vec(&text).unwrap(), "{text:?}");
        assert_eq!(out.len(), string_len(&text), "{text:?}");
        assert_eq!(scan::document(&out).unwrap().string().as_deref(), Some(&*text));
    }
}

#[test]
fn numbers_are_written_in_decimal() {
    let powers = (0..20).map(|power| 10u64.pow(power)).flat_map(|power| [power - 1, power, power + 1]);
    for number in powers.chain([u64::MAX - 1, u64::MAX, u64::from(u32::MAX)]) {
        let mut out = Vec::new();
        write_number(&mut out, number);
        assert_eq!(out, number.to_string().as_bytes());
        assert_eq!(out.len(), number_len(number));
    }
}

#[test]
fn every_event_says_what_was_meant() {
    for text in NASTY {
        for id in [None, Some("7"), Some(r#""x\n""#), Some("-1e3")] {
            let raw = id.map(str::as_bytes);
            let with_id = |mut event: Value| {
                if let Some(id) = id {
                    event["id"] = serde_json::from_str(id).unwrap();
                }
                event
            };
            let joined = json!({"type": "joined", "channel": text, "epoch": "ffffffff", "offset": u64::MAX});
            let error = json!({"type": "error", "code": "forbidden", "message": text});
            for recovered in [None, Some(true), Some(false)] {
                let mut joined = joined.clone();
                if let Some(recovered) = recovered {
                    joined["recovered"] = json!(recovered);
                }
                assert_eq!(
                    written(|out| native::joined(out, text, u32::MAX, u64::MAX, recovered, raw)),
                    with_id(joined)
                );
            }
            assert_eq!(
                written(|out| native::left(out, text, raw)),
                with_id(json!({"type": "left", "channel": text}))
            );
            assert_eq!(written(|out| native::error(out, ErrorCode::Forbidden, text, raw)), with_id(error));
            assert_eq!(
                written(|out| native::rate_limited(out, text, Duration::MAX, raw)),
                with_id(
                    json!({"type": "error", "code": "rate_limited", "message": text, "retry_in_ms": u64::MAX})
                )
            );
            assert_eq!(written(|out| native::ack(out, None, raw)), with_id(json!({"type": "ack"})));
            assert_eq!(
                written(|out| native::ack(out, Some(0), raw)),
                with_id(json!({"type": "ack", "offset": 0}))
            );
            assert_eq!(written(|out| native::pong(out, raw)), with_id(json!({"type": "pong"})));
        }
        assert_eq!(
            written(|out| native::gap(out, text, 0x4f21c, 3)),
            json!({"type": "gap", "channel": text, "epoch": "0004f21c", "offset": 3})
        );
        assert_eq!(
            written(|out| native::closing(out, 1012, text, Some(Duration::from_micros(1_999)))),
            json!({"type": "closing", "code": 1012, "reason": text, "reconnect_ms": 1})
        );
        assert_eq!(
            written(|out| native::closing(out, 1008, text, None)),
            json!({"type": "closing", "code": 1008, "reason": text})
        );
    }
}

#[test]
fn who_a_client_is_is_told_as_meant() {
    for text in NASTY {
        assert_eq!(
            written(|out| native::welcome(out, text, u16::MAX, u32::MAX, false, None)),
            json!({"type": "welcome", "connection": text, "shard": u16::MAX, "heartbeat": u32::MAX})
        );
        assert_eq!(
            written(|out| native::welcome(out, text, 0, 0, true, None)),
            json!({"type": "welcome", "connection": text, "shard": 0, "heartbeat": 0, "auth": "required"})
        );
        assert_eq!(
            written(|out| native::authenticated(out, text, None, None)),
            json!({"type": "authenticated", "user": text})
        );
        assert_eq!(
            written(|out| native::authenticated(out, text, Some(u64::MAX), Some(b"1"))),
            json!({"type": "authenticated", "user": text, "expires_in": u64::MAX, "id": 1})
        );
        assert_eq!(written(|out| native::expired(out, 10)), json!({"type": "expired", "timeout": 10}));
    }
}

#[test]
fn an_epoch_is_eight_hexadecimal_digits() {
    for epoch in (0..32).map(|bit| 1 << bit).chain([0, 9, 10, 0x0123_4567, 0x89ab_cdef, u32::MAX]) {
        let event = written(|out| native::gap(out, "c", epoch, 0));
        assert_eq!(event["epoch"], format!("{epoch:08x}"));
    }
}

#[test]
fn answers_of_many_parts_are_one_object_however_many_there_are() {
    for text in NASTY {
        for (id, tags, info) in [(None, None, None), (Some(7), Some(json!({"a": text})), Some(json!([text])))]
        {
            let raw = id.map(|id: u64| id.to_string());
            let raw = raw.as_deref().map(str::as_bytes);
            let (tags_raw, info_raw) =
                (tags.as_ref().map(Value::to_string), info.as_ref().map(Value::to_string));
            let (tags_raw, info_raw) =
                (tags_raw.as_deref().map(str::as_bytes), info_raw.as_deref().map(str::as_bytes));
            for count in 0..4u64 {
                let history = written(|out| {
                    native::history_begin(out, text, 0xabc, 9);
                    for at in 0..count {
                        native::history_item(out, at == 0, at, b"[ 1.0 ]", text, tags_raw);
                    }
                    native::history_end(out, raw);
                });
                let publications: Vec<_> = (0..count)
                    .map(|at| with(json!({"offset": at, "data": [1.0], "from": text}), "tags", &tags))
                    .collect();
                let expected = json!({"type": "history", "channel": text, "epoch": "00000abc", "offset": 9, "publications": publications});
                assert_eq!(history, with(expected, "id", &id.map(Value::from)));
                let names: Vec<_> = (0..count).map(|at| format!("{text}{at}")).collect();
                let presence = written(|out| {
                    native::presence_begin(out, text);
                    for (at, connection) in names.iter().enumerate() {
                        native::presence_item(
                            out,
                            at == 0,
                            Member { connection, user: text, info: info_raw },
                        );
                    }
                    native::presence_end(out, raw);
                });
                let connections: serde_json::Map<_, _> = names
                    .into_iter()
                    .map(|name| (name, with(json!({"user": text}), "info", &info)))
                    .collect();
                let expected = json!({"type": "presence", "channel": text, "connections": connections});
                assert_eq!(presence, with(expected, "id", &id.map(Value::from)));
            }
            let stats = PresenceStats { connections: u64::MAX, users: 0 };
            let expected =
                json!({"type": "presence_stats", "channel": text, "connections": u64::MAX, "users": 0});
            assert_eq!(
                written(|out| native::presence_stats(out, text, stats, raw)),
                with(expected, "id", &id.map(Value::from))
            );
        }
    }
}

#[test]
fn coming_and_going_name_the_user_and_the_connection() {
    for text in NASTY {
        for info in [None, Some(json!({"name": text}))] {
            let raw = info.as_ref().map(Value::to_string);
            let member = Member { connection: "0-1f", user: text, info: raw.as_deref().map(str::as_bytes) };
            let event = |kind: &str| {
                with(
                    json!({"type": kind, "channel": text, "user": text, "connection": "0-1f"}),
                    "info",
                    &info,
                )
            };
            assert_eq!(written(|out| native::member_joined(out, text, member)), event("member_joined"));
            assert_eq!(written(|out| native::member_left(out, text, member)), event("member_left"));
        }
    }
}

#[test]
fn events_with_data_are_as_long_as_foretold() {
    let data = br#"{ "a": [1.0, "\u00e9"] }"#;
    let value: Value = serde_json::from_slice(data).unwrap();
    let tags = json!({"lang": "de", "a\"b": "\u{1f}"});
    let tags_raw = tags.to_string();
    for channel in NASTY {
        for from in NASTY {
            for (tags_raw, tags) in [(None, None), (Some(tags_raw.as_bytes()), Some(tags.clone()))] {
                for offset in [0, 1, 9, 10, 12_345, u64::MAX] {
                    let mut out = b"header".to_vec();
                    native::message(&mut out, channel, offset, data, from, tags_raw);
                    assert_eq!(out.len() - 6, native::message_len(channel, offset, data, from, tags_raw));
                    let offset = Some(offset).filter(|offset| *offset != 0).map(Value::from);
                    let expected =
                        json!({"type": "message", "channel": channel, "data": value, "from": from});
                    let expected = with(with(expected, "offset", &offset), "tags", &tags);
                    assert_eq!(serde_json::from_slice::<Value>(&out[6..]).unwrap(), expected);
                }
                let mut out = Vec::new();
                native::broadcast(&mut out, data, from, tags_raw);
                assert_eq!(out.len(), native::broadcast_len(data, from, tags_raw));
                let expected = json!({"type": "broadcast", "data": value, "from": from});
                assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), with(expected, "tags", &tags));
                out.clear();
                native::user_message(&mut out, data, from, tags_raw);
                assert_eq!(out.len(), native::user_message_len(data, from, tags_raw));
                let expected = json!({"type": "user_message", "data": value, "from": from});
                assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), with(expected, "tags", &tags));
            }
        }
    }
}

/// The object with one field more, if there is a value for it.
fn with(mut object: Value, field: &str, value: &Option<Value>) -> Value {
    if let Some(value) = value {
        object[field] = value.clone();
    }
    object
}

fn written(encode: impl FnOnce(&mut Vec<u8>)) -> Value {
    let mut out = Vec::new();
    encode(&mut out);
    assert!(scan::document(&out).is_ok());
    serde_json::from_slice(&out).unwrap()
}
