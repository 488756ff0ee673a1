//! Events of the native dialect are valid JSON that says what was meant, whatever text goes in, and are as long as
//! foretold.

#![expect(clippy::unwrap_used)]

use std::time::Duration;

use highper_wire::dialect::ErrorCode;
use highper_wire::dialect::native;
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
            let joined = json!({"type": "joined", "channel": text, "epoch": text, "offset": u64::MAX});
            let error = json!({"type": "error", "code": "forbidden", "message": text});
            assert_eq!(written(|out| native::joined(out, text, text, u64::MAX, raw)), with_id(joined));
            assert_eq!(
                written(|out| native::left(out, text, raw)),
                with_id(json!({"type": "left", "channel": text}))
            );
            assert_eq!(written(|out| native::error(out, ErrorCode::Forbidden, text, raw)), with_id(error));
            assert_eq!(written(|out| native::ack(out, None, raw)), with_id(json!({"type": "ack"})));
            assert_eq!(
                written(|out| native::ack(out, Some(0), raw)),
                with_id(json!({"type": "ack", "offset": 0}))
            );
            assert_eq!(written(|out| native::pong(out, raw)), with_id(json!({"type": "pong"})));
        }
        assert_eq!(
            written(|out| native::welcome(out, text, u16::MAX, u32::MAX)),
            json!({"type": "welcome", "connection": text, "shard": u16::MAX, "heartbeat": u32::MAX})
        );
        assert_eq!(
            written(|out| native::gap(out, text, text, 3)),
            json!({"type": "gap", "channel": text, "epoch": text, "offset": 3})
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
fn events_with_data_are_as_long_as_foretold() {
    let data = br#"{ "a": [1.0, "\u00e9"] }"#;
    let value: Value = serde_json::from_slice(data).unwrap();
    for channel in NASTY {
        for from in NASTY {
            for offset in [0, 9, 10, 12_345, u64::MAX] {
                let mut out = b"header".to_vec();
                native::message(&mut out, channel, offset, data, from);
                assert_eq!(out.len() - 6, native::message_len(channel, offset, data, from));
                let expected = json!({"type": "message", "channel": channel, "offset": offset, "data": value, "from": from});
                assert_eq!(serde_json::from_slice::<Value>(&out[6..]).unwrap(), expected);
            }
            let mut out = Vec::new();
            native::broadcast(&mut out, data, from);
            assert_eq!(out.len(), native::broadcast_len(data, from));
            let expected = json!({"type": "broadcast", "data": value, "from": from});
            assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
            out.clear();
            native::user_message(&mut out, data, from);
            assert_eq!(out.len(), native::user_message_len(data, from));
            let expected = json!({"type": "user_message", "data": value, "from": from});
            assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
        }
    }
}

fn written(encode: impl FnOnce(&mut Vec<u8>)) -> Value {
    let mut out = Vec::new();
    encode(&mut out);
    assert!(scan::document(&out).is_ok());
    serde_json::from_slice(&out).unwrap()
}
