//! Every limit of the native dialect passes at the limit and refuses beyond it, and no size of a text makes the
//! reader deep or slow (W15).

use highper_wire::dialect::ErrorCode;
use highper_wire::dialect::native::{self, BadRequest, Command, ID_LEN_MAX, USER_LEN_MAX, USERS_MAX};
use highper_wire::dialect::scan::{self, DEPTH_MAX, Fault};

#[test]
fn depth_counts_the_message_and_ends_at_the_cap() {
    let inside = DEPTH_MAX as usize - 1;
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"a":"#, "}]")] {
        let levels = inside / open.matches(['[', '{']).count();
        let spare = inside % open.matches(['[', '{']).count();
        let at_cap =
            open.repeat(levels) + &"[".repeat(spare) + "1" + &"]".repeat(spare) + &close.repeat(levels);
        assert!(native::parse(ping_with(&at_cap).as_bytes()).is_ok(), "{at_cap}");
        let beyond = format!("[{at_cap}]");
        assert_eq!(refusal(&ping_with(&beyond)), (ErrorCode::TooDeep, false), "{beyond}");
    }
    // Siblings do not add up.
    let wide = format!("[{}1]", "[[[]]],".repeat(1000));
    assert!(native::parse(ping_with(&wide).as_bytes()).is_ok());
    assert!(Fault::TooDeep.message().contains(&DEPTH_MAX.to_string()));
    assert_eq!(ErrorCode::TooDeep.close_code(), Some(1008));
}

#[test]
fn depth_of_a_hundred_thousand_is_refused_without_recursion() {
    // A stack of 64 KiB would not survive a recursive reader of this text.
    let thread = std::thread::Builder::new().stack_size(64 * 1024).spawn(|| {
        for open in ["[", r#"{"a":"#, "[ ", r#"[{"":["#] {
            let text = ping_with(&open.repeat(100_000));
            assert_eq!(refusal(&text), (ErrorCode::TooDeep, false), "{open}");
            let fault = scan::document(open.repeat(100_000).as_bytes()).unwrap_err();
            assert_eq!(fault.fault, Fault::TooDeep, "{open}");
        }
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn an_id_has_at_most_64_bytes() {
    for (open, letter, close) in [("\"", "x", "\""), ("", "1", ""), ("-", "1", ""), ("\"\\n", "é", "x\"")] {
        let fill = ID_LEN_MAX - open.len() - close.len();
        let id = format!("{open}{}{close}", letter.repeat(fill / letter.len()));
        let text = format!(r#"{{"type":"ping","id": {id} }}"#);
        assert_eq!(native::parse(text.as_bytes()).unwrap().id, Some(id.as_bytes()));
        let long = format!("{open}{}{close}", letter.repeat(fill + 1));
        let text = format!(r#"{{"type":"ping","id":{long}}}"#);
        assert_eq!(refusal(&text), (ErrorCode::BadRequest, false), "{long}");
    }
    let told = native::parse(br#"{"type":"ping","id":[]}"#).unwrap_err().message;
    assert!(told.contains(&ID_LEN_MAX.to_string()));
}

#[test]
fn a_channel_has_at_most_255_characters_however_they_are_written() {
    for letter in ["c", "\\u0063", "~"] {
        let text = |count: usize| format!(r#"{{"type":"join","channel":"{}","id":1}}"#, letter.repeat(count));
        let longest = text(255);
        let Ok(native::Request { command: Command::Join { channel }, .. }) =
            native::parse(longest.as_bytes())
        else {
            panic!("{longest}")
        };
        assert_eq!(channel.len(), 255);
        for count in [256, 1_000, 100_000] {
            assert_eq!(refusal(&text(count)), (ErrorCode::BadChannel, true), "{letter} × {count}");
        }
    }
}

#[test]
fn users_are_1_to_256_names_of_1_to_255_bytes() {
    let text =
        |users: &[String]| format!(r#"{{"type":"to_users","users":[{}],"data":0,"id":1}}"#, users.join(","));
    let user = |len: usize| format!("\"{}\"", "u".repeat(len));
    for good in
        [vec![user(1); USERS_MAX], vec![user(USER_LEN_MAX)], vec!["\"\\u0000 \\ud83d\\ude00\"".to_owned()]]
    {
        let text = text(&good);
        let request = native::parse(text.as_bytes()).unwrap();
        let Command::ToUsers { users, .. } = request.command else { panic!("{text}") };
        assert_eq!((users.len(), users.count()), (good.len(), good.len()));
    }
    let escaped = format!("\"{}\"", "\\u0075".repeat(USER_LEN_MAX + 1));
    for bad in
        [vec![], vec![user(1); USERS_MAX + 1], vec![user(USER_LEN_MAX + 1)], vec![user(0)], vec![escaped]]
    {
        assert_eq!(refusal(&text(&bad)), (ErrorCode::BadRequest, true), "{bad:?}");
    }
    let told = native::parse(br#"{"type":"to_users","users":[]}"#).unwrap_err().message;
    assert!(told.contains(&USERS_MAX.to_string()) && told.contains(&USER_LEN_MAX.to_string()));
}

#[test]
fn data_is_kept_byte_for_byte() {
    let large = format!("\"{}\"", "0123456789\\n😀".repeat(100_000));
    let digits = "9".repeat(1_000_000);
    let data = [
        "0",
        "-0.0",
        "1E400",
        "1.000000000000000000000000000000000000000",
        "null",
        "\"\"",
        r#""\u00e9\/\ud83d\ude00""#,
        "{ \"b\" : 1,\n\t\"a\" : [ ] , \"b\" : 2 }",
        "[\r\n1 , 2\r\n]",
        &large,
        &digits,
    ];
    for data in data {
        for space in ["", " ", "\r\n\t "] {
            let text =
                format!(r#"{{"type":"publish","data":{space}{data}{space},"channel":"c"{space}}}{space}"#);
            let request = native::parse(text.as_bytes()).unwrap();
            let Command::Publish { data: kept, .. } = request.command else { panic!("not a publish") };
            assert_eq!(kept, data.as_bytes());
            let mut out = Vec::new();
            native::message(&mut out, "c", 1, kept, "x");
            let expected =
                format!(r#"{{"type":"message","channel":"c","offset":1,"data":{data},"from":"x"}}"#);
            assert_eq!(out, expected.as_bytes());
        }
    }
}

#[test]
fn text_that_is_not_utf8_is_no_danger() {
    let channel = native::parse(b"{\"type\":\"join\",\"channel\":\"a\xff\",\"id\":1}").unwrap_err();
    assert_eq!(channel.code, ErrorCode::BadChannel);
    let escaped = native::parse(b"{\"type\":\"join\",\"channel\":\"\\n\xff\"}").unwrap_err();
    assert_eq!(escaped.code, ErrorCode::BadChannel);
    let user = native::parse(b"{\"type\":\"to_users\",\"users\":[\"\xff\"],\"data\":1}").unwrap_err();
    assert_eq!(user.code, ErrorCode::BadRequest);
    let kind = native::parse(b"{\"type\":\"ping\xff\"}").unwrap_err();
    assert_eq!(kind.code, ErrorCode::UnknownType);
    let kind = native::parse(b"{\"type\":\"\\n\xff\"}").unwrap_err();
    assert_eq!(kind.code, ErrorCode::BadRequest);
    assert!(native::parse(b"{\"type\":\"ping\",\"\xff\":\"\xc3\"}").is_ok());
}

#[test]
fn a_refusal_holds_nothing_of_what_was_sent() {
    let sent = "\\u001b[2J\\n{\\\"level\\\":\\\"x\\\"}";
    for text in [
        format!(r#"{{"type":"{sent}"}}"#),
        format!(r#"{{"type":"join","channel":"{sent}"}}"#),
        format!(r#"{{"type":"{sent}","type":1}}"#),
        format!(r#"{{"type":"ping"}}{sent}"#),
    ] {
        let refused = native::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(!refused.contains("[2J") && refused.bytes().all(|byte| byte >= 0x20), "{refused}");
    }
}

fn ping_with(extra: &str) -> String {
    format!(r#"{{"id":1,"type":"ping","extra":{extra}}}"#)
}

/// The code, and whether the id came back.
fn refusal(text: &str) -> (ErrorCode, bool) {
    match native::parse(text.as_bytes()) {
        Ok(request) => panic!("accepted {request:?}"),
        Err(BadRequest { code, id, .. }) => (code, id.is_some()),
    }
}
