//! Every limit of the native dialect passes at the limit and refuses beyond it, and no size of a text makes the
//! reader deep or slow (W15).

use highper_wire::dialect::ErrorCode;
use highper_wire::dialect::native::{
    self, BadRequest, Command, EPOCH_LEN_MAX, HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX, ID_LEN_MAX, Since,
    USER_LEN_MAX, USERS_MAX,
};
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
        let Ok(native::Request { command: Command::Join { channel, .. }, .. }) =
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
fn since_is_an_epoch_of_at_most_64_bytes_and_a_whole_number() {
    let foreign = Since::FOREIGN_EPOCH;
    let longest = "é".repeat(EPOCH_LEN_MAX / 2);
    let escaped = "\\u0041".repeat(EPOCH_LEN_MAX);
    for (epoch, read) in [
        ("0004f21c", 0x4f21c),
        ("ffffFFFF", 0xffff_ffff),
        ("\\u0061", 0xa),
        ("0", 0),
        ("0123456789abcdef", 0x0123_4567_89ab_cdef),
        ("00000000000000001", foreign),
        ("", foreign),
        ("+1", foreign),
        ("0x1", foreign),
        (" 1", foreign),
        ("xyz1", foreign),
        (&longest, foreign),
        (&escaped, foreign),
    ] {
        for (offset, number) in [("0", 0), ("41", 41), ("18446744073709551615", u64::MAX)] {
            for text in [
                format!(r#"{{"epoch":"{epoch}","offset":{offset}}}"#),
                format!(r#"{{ "x" : [{{}}] , "offs\u0065t" : {offset} , "x":1, "\u0065poch" : "{epoch}" }}"#),
            ] {
                assert_eq!(join_since(&text), Ok(Since { epoch: read, offset: number }), "{text}");
            }
        }
    }
    let [too_long, far_too_long] = [1, 100_000].map(|more| "e".repeat(EPOCH_LEN_MAX + more));
    let escaped = "\\u0041".repeat(EPOCH_LEN_MAX + 1);
    for text in [
        "null".to_owned(),
        "1".to_owned(),
        "\"0004f21c\"".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        r#"{"epoch":"1"}"#.to_owned(),
        r#"{"offset":1}"#.to_owned(),
        r#"{"epoch":1,"offset":1}"#.to_owned(),
        r#"{"epoch":null,"offset":1}"#.to_owned(),
        r#"{"epoch":"1","epoch":"1","offset":1}"#.to_owned(),
        r#"{"epoch":"1","offset":1,"off\u0073et":1}"#.to_owned(),
    ]
    .into_iter()
    .chain([too_long, far_too_long, escaped].map(|epoch| format!(r#"{{"epoch":"{epoch}","offset":1}}"#)))
    .chain(
        ["-1", "-0", "1.0", "1e2", "18446744073709551616", "\"1\"", "null", "true", "[1]"]
            .map(|offset| format!(r#"{{"epoch":"1","offset":{offset}}}"#)),
    ) {
        let message = join_since(&text).unwrap_err();
        assert!(message.starts_with("since ") && message.contains(&EPOCH_LEN_MAX.to_string()), "{text}");
    }
}

#[test]
fn history_gives_at_most_1000_publications_and_100_unless_told() {
    let history = |fields: &str| {
        let text = format!(r#"{{"type":"history","channel":"c"{fields},"id":1}}"#);
        match native::parse(text.as_bytes()) {
            Ok(request) => {
                let Command::History { channel, limit, since, reverse } = request.command else {
                    panic!("{text}")
                };
                assert_eq!(channel, "c");
                Ok((limit, since, reverse))
            }
            Err(refused) => {
                assert_eq!((refused.code, refused.id), (ErrorCode::BadRequest, Some(&b"1"[..])), "{text}");
                Err(refused.message)
            }
        }
    };
    assert_eq!(history(""), Ok((HISTORY_LIMIT_DEFAULT, None, false)));
    assert_eq!(history(r#","reverse":true,"limit":0"#), Ok((0, None, true)));
    let since = Since { epoch: 2, offset: 3 };
    let told = r#","since":{"epoch":"2","offset":3},"limit":1000,"reverse":false"#;
    assert_eq!(history(told), Ok((HISTORY_LIMIT_MAX, Some(since), false)));
    for limit in ["1001", "-1", "1.0", "1e1", "18446744073709551616", "\"1\"", "null", "[]"] {
        assert_eq!(
            history(&format!(r#","limit":{limit}"#)),
            Err("limit must be a whole number from 0 to 1000")
        );
    }
    for reverse in ["1", "null", "\"true\"", "{}"] {
        assert_eq!(history(&format!(r#","reverse":{reverse}"#)), Err("reverse must be true or false"));
    }
    assert!(history(r#","since":null"#).unwrap_err().starts_with("since must be"));
    assert_eq!(history(r#","limit":1,"limit":1"#), Err("limit is given twice"));
    assert_eq!((HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX), (100, 1000), "as the documentation says");
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
            native::message(&mut out, "c", 1, kept, "x", None);
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
        format!(r#"{{"type":"join","channel":"c","since":{{"epoch":"{sent}"}}}}"#),
        format!(r#"{{"type":"history","channel":"c","limit":"{sent}"}}"#),
        format!(r#"{{"type":"ping"}}{sent}"#),
    ] {
        let refused = native::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(!refused.contains("[2J") && refused.bytes().all(|byte| byte >= 0x20), "{refused}");
    }
}

fn ping_with(extra: &str) -> String {
    format!(r#"{{"id":1,"type":"ping","extra":{extra}}}"#)
}

/// The position of a `join`, or what is said against it.
fn join_since(since: &str) -> Result<Since, &'static str> {
    let text = format!(r#"{{"type":"join","channel":"c","since":{since},"id":1}}"#);
    match native::parse(text.as_bytes()) {
        Ok(native::Request { command: Command::Join { since: Some(since), .. }, .. }) => Ok(since),
        Ok(request) => panic!("{text} gave {request:?}"),
        Err(refused) => {
            assert_eq!((refused.code, refused.id), (ErrorCode::BadRequest, Some(&b"1"[..])), "{text}");
            Err(refused.message)
        }
    }
}

/// The code, and whether the id came back.
fn refusal(text: &str) -> (ErrorCode, bool) {
    match native::parse(text.as_bytes()) {
        Ok(request) => panic!("accepted {request:?}"),
        Err(BadRequest { code, id, .. }) => (code, id.is_some()),
    }
}
