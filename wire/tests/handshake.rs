//! Promises of the WebSocket opening handshake (RFC 6455 section 4), both sides.

use highper_wire::http1::{Date, Event, Limits, Reader, Status};
use highper_wire::ws::handshake::client::{AnswerError, ClientReader, Established, write_request};
use highper_wire::ws::handshake::{HandshakeRefusal, Key, accept, accept_key, write_101};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn request(line: &str, fields: &str) -> Vec<u8> {
    format!("{line}\r\nHost: h\r\n{fields}\r\n").into_bytes()
}

fn fields(changed: &[(&str, &str)]) -> String {
    let mut all = vec![
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "WebSocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
    ];
    for (name, value) in changed {
        all.retain(|(known, _value)| known != name);
        if *value != "-" {
            all.push((name, value));
        }
    }
    all.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

/// Chosen protocol and offered extensions of a handshake, or why it is refused.
fn outcome_within(
    limits: &Limits,
    bytes: &[u8],
    speaks: impl Fn(&str) -> bool,
) -> Result<(Option<String>, Vec<String>), HandshakeRefusal> {
    let mut input = bytes;
    let mut reader = Reader::new();
    let Ok(Some(Event::Request(head))) = reader.next(limits, &mut input) else { panic!("no request") };
    let accepted = accept(&head, speaks)?;
    assert_eq!(accepted.key.as_bytes(), KEY.as_bytes());
    Ok((accepted.protocol.map(str::to_owned), accepted.extensions().map(str::to_owned).collect()))
}

fn outcome(
    bytes: &[u8],
    speaks: impl Fn(&str) -> bool,
) -> Result<(Option<String>, Vec<String>), HandshakeRefusal> {
    outcome_within(&Limits::default(), bytes, speaks)
}

fn refusal(line: &str, changed: &[(&str, &str)]) -> Option<HandshakeRefusal> {
    outcome(&request(line, &fields(changed)), |_| true).err()
}

const GET: &str = "GET /ws HTTP/1.1";

#[test]
fn a_handshake_in_order_is_accepted() {
    assert_eq!(outcome(&request(GET, &fields(&[])), |_| true), Ok((None, Vec::new())));
    let lists = fields(&[("Upgrade", "h2c, websocket"), ("Connection", "Upgrade"), ("Content-Length", "0")]);
    assert_eq!(outcome(&request(GET, &lists), |_| true), Ok((None, Vec::new())));
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    for (line, changed, wanted) in [
        ("POST /ws HTTP/1.1", &[][..], HandshakeRefusal::Method),
        ("get /ws HTTP/1.1", &[], HandshakeRefusal::Method),
        ("GET /ws HTTP/1.0", &[], HandshakeRefusal::HttpVersion),
        (GET, &[("Connection", "keep-alive")], HandshakeRefusal::NoUpgrade),
        (GET, &[("Connection", "-")], HandshakeRefusal::NoUpgrade),
        (GET, &[("Upgrade", "websocket2")], HandshakeRefusal::NoUpgrade),
        (GET, &[("Upgrade", "-")], HandshakeRefusal::NoUpgrade),
        (GET, &[("Content-Length", "5")], HandshakeRefusal::Body),
        (GET, &[("Transfer-Encoding", "chunked")], HandshakeRefusal::Body),
        (GET, &[("Sec-WebSocket-Version", "777")], HandshakeRefusal::WebSocketVersion),
        (GET, &[("Sec-WebSocket-Version", "8, 13")], HandshakeRefusal::WebSocketVersion),
        (GET, &[("Sec-WebSocket-Version", "-")], HandshakeRefusal::WebSocketVersion),
        (GET, &[("sec-websocket-version", "13")], HandshakeRefusal::WebSocketVersion),
        (GET, &[("Sec-WebSocket-Key", "-")], HandshakeRefusal::Key),
        (GET, &[("Sec-WebSocket-Key", "c2hvcnQ=")], HandshakeRefusal::Key),
        (GET, &[("sec-websocket-key", KEY)], HandshakeRefusal::Key),
        (GET, &[("Sec-WebSocket-Protocol", "a b")], HandshakeRefusal::Protocol),
        (GET, &[("Sec-WebSocket-Protocol", "a, b/c")], HandshakeRefusal::Protocol),
        (GET, &[("Sec-WebSocket-Protocol", "")], HandshakeRefusal::Protocol),
        (GET, &[("Sec-WebSocket-Protocol", " , ")], HandshakeRefusal::Protocol),
    ] {
        assert_eq!(refusal(line, changed), Some(wanted), "{line} {changed:?}");
    }
}

#[test]
fn h7_another_version_is_told_ours_and_the_connection_closes() {
    let refusal = refusal(GET, &[("Sec-WebSocket-Version", "777")]).unwrap();
    let mut out = Vec::new();
    refusal.write(&mut out, &Date::from_unix(0));
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{text}");
    for field in ["Sec-WebSocket-Version: 13", "Upgrade: websocket", "Connection: close"] {
        assert!(text.contains(&format!("\r\n{field}\r\n")), "{text}");
    }
}

#[test]
fn every_refusal_has_its_status() {
    for (refusal, status) in [
        (HandshakeRefusal::Method, Status::MethodNotAllowed),
        (HandshakeRefusal::HttpVersion, Status::BadRequest),
        (HandshakeRefusal::NoUpgrade, Status::UpgradeRequired),
        (HandshakeRefusal::Body, Status::BadRequest),
        (HandshakeRefusal::WebSocketVersion, Status::UpgradeRequired),
        (HandshakeRefusal::Key, Status::BadRequest),
        (HandshakeRefusal::Protocol, Status::BadRequest),
    ] {
        let mut out = Vec::new();
        refusal.write(&mut out, &Date::from_unix(0));
        let text = String::from_utf8(out).unwrap();
        assert_eq!(refusal.status(), status);
        assert!(
            text.starts_with(&format!("HTTP/1.1 {} ", status.code()))
                && text.contains("Connection: close\r\n")
        );
        assert_eq!(text.contains("Allow: GET"), status == Status::MethodNotAllowed);
    }
}

#[test]
fn the_first_offered_protocol_we_speak_is_chosen() {
    let offer = fields(&[("Sec-WebSocket-Protocol", "x,b , a"), ("sec-websocket-protocol", "c")]);
    let chosen = |known: &'static [&'static str]| {
        let (protocol, _extensions) = outcome(&request(GET, &offer), |name| known.contains(&name)).unwrap();
        protocol
    };
    assert_eq!(chosen(&["a", "b"]).as_deref(), Some("b"));
    assert_eq!(chosen(&["c"]).as_deref(), Some("c"));
    assert_eq!(chosen(&["B"]), None);
    assert_eq!(chosen(&[]), None);
}

#[test]
fn h5_a_protocol_list_of_32_kib_is_judged_in_one_pass() {
    let limits = Limits { head_bytes_max: 65_536, ..Limits::default() };
    for (filler, wanted) in [
        (" ".repeat(32_768), Err(HandshakeRefusal::Protocol)),
        (format!("a{}b", " ".repeat(32_768)), Err(HandshakeRefusal::Protocol)),
        (",".repeat(32_768), Err(HandshakeRefusal::Protocol)),
        (format!("a{}b", " ,".repeat(16_384)), Ok((Some("a".to_owned()), Vec::new()))),
    ] {
        // How often a protocol is looked at shows the number of passes.
        let asked = std::cell::Cell::new(0);
        let bytes = request(GET, &fields(&[("Sec-WebSocket-Protocol", &filler)]));
        let seen = outcome_within(&limits, &bytes, |_| {
            asked.set(asked.get() + 1);
            true
        });
        assert_eq!(seen, wanted);
        assert!(asked.get() <= 1);
    }
}

#[test]
fn extension_offers_are_handed_over_as_they_came() {
    let offers = fields(&[
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits, x"),
        ("sec-websocket-extensions", "foo; bar=\"1,2\""),
    ]);
    let (_protocol, extensions) = outcome(&request(GET, &offers), |_| true).unwrap();
    assert_eq!(extensions, ["permessage-deflate; client_max_window_bits, x", "foo; bar=\"1,2\""]);
}

fn key() -> Key {
    Key::parse(KEY.as_bytes()).expect("the key of RFC 6455 section 1.3")
}

#[test]
fn client_and_server_understand_each_other_in_any_split() {
    let mut bytes = Vec::new();
    write_request(
        &mut bytes,
        "h:1",
        "/ws?t=1",
        &key(),
        Some("a, b"),
        Some("x; y"),
        &[("Origin", "http://h")],
    );
    let (protocol, extensions) = outcome(&bytes, |name| name == "b").unwrap();
    assert_eq!((protocol.as_deref(), extensions.as_slice()), (Some("b"), &["x; y".to_owned()][..]));

    let mut answer = Vec::new();
    write_101(&mut answer, &key(), protocol.as_deref(), Some("x; y=1"));
    answer.extend_from_slice(b"\x81\x02hi");
    for cut in 0..=answer.len() {
        let mut reader = ClientReader::new(key());
        let mut established = None;
        let mut rest = Vec::new();
        for mut input in [&answer[..cut], &answer[cut..]] {
            if established.is_none() {
                established =
                    reader.next(Some("a, b"), &mut input).unwrap().map(|answer: Established<'_>| {
                        (answer.protocol.map(str::to_owned), answer.extensions.map(str::to_owned))
                    });
            }
            rest.extend_from_slice(input);
        }
        assert_eq!(established, Some((Some("b".to_owned()), Some("x; y=1".to_owned()))), "cut at byte {cut}");
        assert_eq!(rest, b"\x81\x02hi", "cut at byte {cut}");
    }
}

fn answer_error(offered: Option<&str>, answer: &str) -> Option<AnswerError> {
    let whole = ClientReader::new(key()).next(offered, &mut answer.as_bytes()).err();
    let mut reader = ClientReader::new(key());
    let mut split = None;
    for byte in answer.as_bytes().chunks(1) {
        split = split.or_else(|| reader.next(offered, &mut &byte[..]).err());
    }
    assert_eq!(split, whole, "{answer:?}");
    whole
}

#[test]
fn a_client_takes_only_an_answer_to_its_request() {
    let accept = String::from_utf8(accept_key(&key()).to_vec()).unwrap();
    let other = String::from_utf8(accept_key(&Key::from_nonce([7; 16])).to_vec()).unwrap();
    let answer = |fields: &str| {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n{fields}\r\n"
        )
    };
    let ours = format!("Sec-WebSocket-Accept: {accept}\r\n");
    for (text, wanted) in [
        (answer(&ours), None),
        (answer(&format!("Sec-WebSocket-Accept: {other}\r\n")), Some(AnswerError::Accept)),
        (answer(""), Some(AnswerError::Accept)),
        (answer(&format!("{ours}{ours}")), Some(AnswerError::Accept)),
        (answer(&format!("{ours}Sec-WebSocket-Protocol: a\r\n")), None),
        (answer(&format!("{ours}Sec-WebSocket-Protocol: c\r\n")), Some(AnswerError::Protocol)),
        (
            answer(&format!("{ours}Sec-WebSocket-Extensions: a\r\nSec-WebSocket-Extensions: b\r\n")),
            Some(AnswerError::Extensions),
        ),
        (format!("HTTP/1.1 101 X\r\nUpgrade: websocket\r\n{ours}\r\n"), Some(AnswerError::NoUpgrade)),
        (format!("HTTP/1.1 101 X\r\nConnection: upgrade\r\n{ours}\r\n"), Some(AnswerError::NoUpgrade)),
        ("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_owned(), Some(AnswerError::Status(503))),
        (format!("HTTP/1.0 101 X\r\n{ours}\r\n"), Some(AnswerError::Malformed)),
        ("garbage\r\n\r\n".to_owned(), Some(AnswerError::Malformed)),
    ] {
        assert_eq!(answer_error(Some("a, b"), &text), wanted, "{text:?}");
    }
}

#[test]
fn an_answer_without_an_end_is_refused_at_8_kib() {
    let mut head = b"HTTP/1.1 503 Busy\r\nX: ".to_vec();
    head.resize(8192 - 4, b'x');
    let fits = [&head[..], b"\r\n\r\n"].concat();
    let too_large = [&head[..], b"x\r\n\r\n"].concat();
    assert_eq!(answer_error(None, str::from_utf8(&fits).unwrap()), Some(AnswerError::Status(503)));
    assert_eq!(answer_error(None, str::from_utf8(&too_large).unwrap()), Some(AnswerError::TooLarge));
}
