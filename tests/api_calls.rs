//! Requests to the server API without a server: what the SDKs send is understood, what is wrong is refused with the
//! name of its field.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use highper_realtime::api::server::{Call, Job, Publish, Refusal, parse};
use highper_realtime::message::Position;

#[track_caller]
fn call<'a>(method: &str, body: &'a str) -> Call<'a> {
    parse(method, body.as_bytes()).unwrap_or_else(|refusal| panic!("{method} {body}: {refusal:?}"))
}

#[track_caller]
fn refusal(method: &str, body: &str) -> Refusal {
    match parse(method, body.as_bytes()) {
        Ok(call) => panic!("{method} {body} is {call:?}"),
        Err(refusal) => refusal,
    }
}

#[track_caller]
fn published<'a>(call: Call<'a>) -> Publish<'a> {
    match call {
        Call::Publish { publish, .. } => publish,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_call_of_the_sdks_is_understood() {
    for (method, body, expected) in [
        ("publish", r#"{"channel":"c","data":{"a":1},"skip_history":false}"#, "Publish"),
        ("publish", r#"{"channel":"c","data":1,"delta":true,"version":3,"version_epoch":"x"}"#, "Publish"),
        ("broadcast", r#"{"channels":["c","d"],"data":[],"skip_history":true}"#, "Broadcast"),
        ("subscribe", r#"{"channel":"c","user":"u","client":""}"#, "Subscribe"),
        ("subscribe", r#"{"channel":"c","user":"u","info":{},"recover_since":{"offset":1}}"#, "Subscribe"),
        ("unsubscribe", r#"{"channel":"c","user":"u","session":""}"#, "Unsubscribe"),
        ("disconnect", r#"{"user":"u","client":null,"whitelist":[],"disconnect":null}"#, "Disconnect"),
        ("disconnect", r#"{"user":"u","disconnect":{"code":4000,"reason":"bye"}}"#, "Disconnect"),
        ("presence", r#"{"channel":"c"}"#, "Presence {"),
        ("presence_stats", r#"{"channel":"c"}"#, "PresenceStats"),
        ("history", r#"{"channel":"c","limit":-1,"since":{"offset":3,"epoch":"0000001f"}}"#, "History {"),
        ("history", r#"{"channel":"c","limit":0,"since":null,"reverse":true}"#, "History {"),
        ("history_remove", r#"{"channel":"c"}"#, "HistoryRemove"),
        ("channels", r#"{"pattern":""}"#, "Channels { pattern: None }"),
        ("channels", "{}", "Channels { pattern: None }"),
        ("channels", "", "Channels { pattern: None }"),
        ("channels", r#"{"pattern":"chat:*"}"#, r#"Channels { pattern: Some("chat:*") }"#),
        ("info", " \r\n", "Info"),
        ("info", r#"{"info":{}}"#, "Info"),
        ("to_users", r#"{"users":["u","v"],"data":{}}"#, "ToUsers"),
        ("to_all", r#"{"data":{}}"#, "ToAll"),
        ("batch", r#"{"commands":[{"publish":{"channel":"c","data":{}}}],"parallel":true}"#, "Batch"),
        ("", "{\"method\":\"publish\",\"params\":{\"channel\":\"c\",\"data\":{}}}\n", "Publish"),
        ("", r#"{"method":"info","params":null}"#, "Info"),
        ("", r#"{"method":"batch","params":{"commands":[{"info":{}}]}}"#, "Batch"),
    ] {
        let told = format!("{:?}", call(method, body));
        assert!(told.starts_with(expected), "{method} {body}: {told}");
    }
}

#[test]
fn data_passes_byte_for_byte() {
    for data in
        ["1.0e+5", "null", r#""\u00e4\n""#, "{\"a\" : [1,\n2]}", "[]", "123456789012345678901234567890"]
    {
        let body = format!(r#"{{"channel":"c","data": {data} }}"#);
        assert_eq!(published(call("publish", &body)).data, data.as_bytes());
    }
    for (encoded, data) in [("eyJhIjoxfQ==", r#"{"a":1}"#), ("IG51bGwK", "null")] {
        for body in [
            format!(r#"{{"channel":"c","b64data":"{encoded}"}}"#),
            format!(r#"{{"channel":"c","data":null,"b64data":"{encoded}"}}"#),
        ] {
            assert_eq!(published(call("publish", &body)).data, data.as_bytes(), "{body}");
        }
    }
}

#[test]
fn data_that_a_client_could_not_send_is_refused() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let body = |data: &str| format!(r#"{{"channel":"c","data":{data}}}"#);
    call("publish", &body(&nested(32)));
    for data in [nested(33), nested(100_000), r#""\ud800""#.into(), r#"{"a":"\udc00\ud800"}"#.into()] {
        let refusal = refusal("publish", &body(&data));
        assert_eq!((refusal.status, refusal.code, refusal.field.as_deref()), (400, 107, Some("data")));
    }
    // Not base64; not JSON; two values; bytes that are no text; too deep.
    for encoded in ["*", "eyJhIjoxfQ", "eyJhIjox", "MSAy", "IoAi", "gA=="] {
        let refusal = refusal("publish", &format!(r#"{{"channel":"c","b64data":"{encoded}"}}"#));
        assert_eq!(refusal.message, "b64data: must be JSON in base64", "{encoded}");
    }
}

#[test]
fn optional_fields_of_a_publication_are_kept() {
    let body = r#"{"channel":"c","data":1,"event":"m\u00e4il","tags":{"a":"b","c":"\n"},"skip_history":true,
        "idempotency_key":"k"}"#;
    let publish = published(call("publish", body));
    assert_eq!(publish.event.as_deref(), Some("mäil"));
    assert_eq!(publish.tags, Some(r#"{"a":"b","c":"\n"}"#));
    assert_eq!((publish.skip_history, publish.idempotency_key.as_deref()), (true, Some("k")));
    let body = r#"{"channel":"c","data":1,"event":"","tags":{ },"skip_history":null,"idempotency_key":""}"#;
    let publish = published(call("publish", body));
    assert_eq!((publish.event, publish.tags, publish.idempotency_key), (None, None, None));
    assert!(!publish.skip_history);
}

#[test]
fn an_event_name_cannot_end_its_line() {
    for event in [r"m\nevent: admin", r"m\revent: admin", r"m\r\n\r\ndata: x", r"m\u0000", r"\n"] {
        let refusal = refusal("publish", &format!(r#"{{"channel":"c","data":1,"event":"{event}"}}"#));
        assert_eq!((refusal.status, refusal.field.as_deref()), (400, Some("event")), "{event}");
    }
}

#[test]
fn what_is_wrong_is_refused_with_the_name_of_its_field() {
    for (method, body, field) in [
        ("publish", r#"{"data":1}"#, "channel"),
        ("publish", r#"{"channel":null,"data":1}"#, "channel"),
        ("publish", r#"{"channel":5,"data":1}"#, "channel"),
        ("publish", r#"{"channel":"","data":1}"#, "channel"),
        ("publish", r#"{"channel":"a b","data":1}"#, "channel"),
        ("publish", r#"{"channel":"a\u0001","data":1}"#, "channel"),
        ("publish", r#"{"channel":"\ud800","data":1}"#, "channel"),
        ("publish", r#"{"channel":"c"}"#, "data"),
        ("publish", r#"{"channel":"c","data":null,"b64data":5}"#, "b64data"),
        ("publish", r#"{"channel":"c","data":1,"tags":[]}"#, "tags"),
        ("publish", r#"{"channel":"c","data":1,"tags":{"a":1}}"#, "tags"),
        ("publish", r#"{"channel":"c","data":1,"tags":{"a":{"b":"c"}}}"#, "tags"),
        ("publish", r#"{"channel":"c","data":1,"skip_history":"yes"}"#, "skip_history"),
        ("publish", r#"{"channel":"c","data":1,"idempotency_key":1}"#, "idempotency_key"),
        ("broadcast", r#"{"data":1}"#, "channels"),
        ("broadcast", r#"{"channels":"c","data":1}"#, "channels"),
        ("broadcast", r#"{"channels":[],"data":1}"#, "channels"),
        ("broadcast", r#"{"channels":["a","b","c d"],"data":1}"#, "channels[2]"),
        ("broadcast", r#"{"channels":["a",""],"data":1}"#, "channels[1]"),
        ("to_users", r#"{"users":["a",""],"data":1}"#, "users[1]"),
        ("to_all", "{}", "data"),
        ("subscribe", r#"{"channel":"c"}"#, "user"),
        ("subscribe", r#"{"channel":"c","user":""}"#, "user"),
        ("unsubscribe", r#"{"channel":"c","user":"u","session":"s"}"#, "session"),
        ("disconnect", r#"{"user":42}"#, "user"),
        ("disconnect", r#"{"user":"u","session":"s"}"#, "session"),
        ("disconnect", r#"{"user":"u","whitelist":["a",1]}"#, "whitelist"),
        ("disconnect", r#"{"user":"u","disconnect":[4000,"bye"]}"#, "disconnect"),
        ("disconnect", r#"{"user":"u","disconnect":{"code":2999}}"#, "disconnect.code"),
        ("disconnect", r#"{"user":"u","disconnect":{"code":5000}}"#, "disconnect.code"),
        ("history", r#"{"channel":"c","limit":1.5}"#, "limit"),
        ("history", r#"{"channel":"c","since":[1,"0000001f"]}"#, "since"),
        ("history", r#"{"channel":"c","since":{"offset":-1,"epoch":"0000001f"}}"#, "since"),
        ("history", r#"{"channel":"c","since":{"offset":1}}"#, "since.epoch"),
        ("channels", r#"{"pattern":1}"#, "pattern"),
        ("batch", r#"{"commands":[]}"#, "commands"),
        ("batch", r#"{"commands":{}}"#, "commands"),
        ("batch", r#"{"commands":[{"info":{}},{}]}"#, "commands[1]"),
        ("batch", r#"{"commands":[{"info":{},"channels":{}}]}"#, "commands[0]"),
        ("batch", r#"{"commands":[{"info":{},"info":{}}]}"#, "commands[0]"),
        ("batch", r#"{"commands":[{"publish":3}]}"#, "commands[0].publish"),
        ("batch", r#"{"commands":[{"publish":{"channel":"c"}}]}"#, "commands[0].publish.data"),
        ("", "{}", "method"),
        ("", r#"{"method":5}"#, "method"),
        ("", r#"{"method":"publish","params":{"channel":"c"}}"#, "params.data"),
        ("", "{\"method\":\"info\"}\n{\"method\":\"presence\"}", "[1].params.channel"),
    ] {
        let refusal = refusal(method, body);
        assert_eq!((refusal.status, refusal.code), (400, 107), "{method} {body}: {refusal:?}");
        assert_eq!(refusal.field.as_deref(), Some(field), "{method} {body}: {refusal:?}");
        assert!(refusal.message.starts_with(&format!("{field}: ")), "{method} {body}: {refusal:?}");
    }
}

#[test]
fn a_request_that_is_no_call_is_refused() {
    let bad_name = refusal("broadcast", r#"{"channels":["a","b c"],"data":1}"#);
    assert_eq!(bad_name.message, "channels[1]: must not contain a space");
    for body in ["[]", "5", "{", "{}x", "\u{feff}{}", r#"["c"]"#, r#"{"channel":"c","channel":"d"}"#] {
        let refusal = refusal("publish", body);
        assert_eq!((refusal.status, refusal.field.as_deref()), (400, None), "{body}");
        assert!(refusal.message.starts_with("body: "), "{refusal:?}");
    }
    assert_eq!(parse("info", b"{\"a\":\"\xff\"}").unwrap_err().status, 400);
    for (method, body) in [
        ("nothing", "{}"),
        ("Publish", "{}"),
        ("publish/", "{}"),
        ("", r#"{"method":""}"#),
        ("batch", r#"{"commands":[{"batch":{"commands":[]}}]}"#),
        ("", "{\"method\":\"info\"}{\"method\":\"batch\"}"),
    ] {
        let refusal = refusal(method, body);
        assert_eq!((refusal.status, refusal.code), (404, 104), "{method} {body}");
    }
}

#[test]
fn a_refusal_holds_nothing_of_what_was_sent() {
    for (method, body) in [
        ("publish", r#"{"channel":"SECRET SECRET","data":1}"#),
        ("publish", r#"{"channel":"c","data":1,"tags":"SECRET"}"#),
        ("publish", r#"{"channel":"c","data":"SECRET\ud800"}"#),
        ("publish", r#""SECRET""#),
        ("disconnect", r#"{"user":"u","disconnect":"SECRET"}"#),
        ("", r#"{"method":"SECRET"}"#),
        ("SECRET", "{}"),
    ] {
        let written = serde_json::to_string(&refusal(method, body)).unwrap();
        assert!(!written.contains("SECRET"), "{written}");
    }
}

#[test]
fn every_limit_holds_on_both_sides() {
    let list = |count: usize| serde_json::to_string(&vec!["n"; count]).unwrap();
    let of = |count: usize, one: &str| vec![one; count].join(",");
    let histories = |count: usize, limit: i64| {
        let one = format!(r#"{{"history":{{"channel":"c","limit":{limit}}}}}"#);
        format!(r#"{{"commands":[{}]}}"#, of(count, &one))
    };
    let wide = |count: usize| {
        let one = format!(r#"{{"broadcast":{{"channels":{},"data":1}}}}"#, list(1000));
        format!(r#"{{"commands":[{},{{"broadcast":{{"channels":{},"data":1}}}}]}}"#, of(9, &one), list(count))
    };
    let name = |length: usize| "n".repeat(length);
    for (method, fits, exceeds) in [
        (
            "broadcast",
            format!(r#"{{"channels":{},"data":1}}"#, list(1000)),
            format!(r#"{{"channels":{},"data":1}}"#, list(1001)),
        ),
        (
            "to_users",
            format!(r#"{{"users":{},"data":1}}"#, list(1000)),
            format!(r#"{{"users":{},"data":1}}"#, list(1001)),
        ),
        (
            "disconnect",
            format!(r#"{{"user":"u","whitelist":{}}}"#, list(1000)),
            format!(r#"{{"user":"u","whitelist":{}}}"#, list(1001)),
        ),
        (
            "batch",
            format!(r#"{{"commands":[{}]}}"#, of(1000, r#"{"info":{}}"#)),
            format!(r#"{{"commands":[{}]}}"#, of(1001, r#"{"info":{}}"#)),
        ),
        ("", "{\"method\":\"info\"}\n".repeat(1000), "{\"method\":\"info\"}\n".repeat(1001)),
        ("batch", wide(1000), wide(999).replace("]}", r#",{"info":{}},{"info":{}}]}"#)),
        ("batch", histories(10, -1), histories(11, -1)),
        ("batch", histories(1000, 10), histories(1000, 11)),
        (
            "presence",
            format!(r#"{{"channel":"{}"}}"#, name(255)),
            format!(r#"{{"channel":"{}"}}"#, name(256)),
        ),
        (
            "publish",
            format!(r#"{{"channel":"c","data":1,"event":"{0}","idempotency_key":"{0}"}}"#, name(255)),
            format!(r#"{{"channel":"c","data":1,"idempotency_key":"{}"}}"#, name(256)),
        ),
        (
            "disconnect",
            format!(r#"{{"user":"{}","disconnect":{{"reason":"{}"}}}}"#, name(255), name(123)),
            format!(r#"{{"user":"u","disconnect":{{"reason":"{}"}}}}"#, name(124)),
        ),
    ] {
        call(method, &fits);
        let refusal = refusal(method, &exceeds);
        assert_eq!((refusal.status, refusal.code), (400, 107), "{method} {refusal:?}");
    }
}

#[test]
fn a_position_is_ours_or_no_ones() {
    for (since, expected) in [
        (r#"{"offset":3,"epoch":"0000001f"}"#, Position { epoch: 0x1F, offset: 3 }),
        (r#"{"epoch":"ffffffff"}"#, Position { epoch: 0xFFFF_FFFF, offset: 0 }),
        (r#"{"offset":3,"epoch":"1f"}"#, Position { offset: 3, ..Position::UNKNOWN }),
        (r#"{"offset":3,"epoch":"+000001f"}"#, Position { offset: 3, ..Position::UNKNOWN }),
        (r#"{"offset":3,"epoch":"bRTq"}"#, Position { offset: 3, ..Position::UNKNOWN }),
    ] {
        let body = format!(r#"{{"channel":"c","since":{since}}}"#);
        let Call::History { since, limit: 0, reverse: false, .. } = call("history", &body) else { panic!() };
        assert_eq!(since, Some(expected), "{body}");
    }
}

#[test]
fn damaged_requests_are_refused_or_understood_but_never_more() {
    let bodies = [
        r#"{"channel":"c","data":{"a":[1,"\u00e4"]},"tags":{"a":"b"},"event":"e","b64data":"e30="}"#,
        r#"{"commands":[{"publish":{"channel":"c","data":1}},{"history":{"channel":"c","since":{"epoch":"0000001f"}}}]}"#,
        "{\"method\":\"publish\",\"params\":{\"channel\":\"c\",\"data\":1}}\n{\"method\":\"info\"}",
        r#"{"user":"u","whitelist":["a"],"disconnect":{"code":4000,"reason":"x"},"users":["u"],"channels":["c"]}"#,
    ];
    let methods = ["publish", "broadcast", "batch", "", "disconnect", "history", "to_users"];
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (mut understood, mut refused) = (0, 0);
    for _ in 0..100_000 {
        let mut body = bodies[next(bodies.len())].as_bytes().to_vec();
        for _ in 0..next(3) {
            let at = next(body.len());
            match next(3) {
                0 => body[at] = b"{}[]\",:\\0n \x00\xff"[next(13)],
                1 => drop(body.remove(at)),
                _ => body.insert(at, b"{}[]\",:\\0n \x00\xff"[next(13)]),
            }
        }
        match parse(methods[next(methods.len())], &body) {
            Ok(call) => {
                understood += 1;
                assert!(!Job::new(&call).is_done());
            }
            Err(refusal) => {
                refused += 1;
                assert!([400, 404].contains(&refusal.status), "{refusal:?}");
            }
        }
    }
    assert!(understood > 5_000 && refused > 5_000, "{understood} understood, {refused} refused");
}
