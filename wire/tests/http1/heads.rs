//! What a head says: target, fields, connection, upgrade, body framing.

use highper_wire::http1::{BodyKind, Event, Limits, Reader, Refusal, Stage, Version};

use super::{read, refusal_of};

fn head(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n")
}

#[test]
fn fields_are_found_by_name_whatever_the_case() {
    let bytes = head("A: 1\r\na:2\r\nB:\r\nC: \t x y \t\r\nD: \u{e4}\r\n");
    let mut input = bytes.as_bytes();
    let mut reader = Reader::new();
    let Ok(Some(Event::Request(head))) = reader.next(&Limits::default(), &mut input) else {
        panic!("no request")
    };
    assert_eq!(head.header("a"), Some(&b"1"[..]));
    assert_eq!(head.headers("A").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(head.header("b"), Some(&b""[..]));
    assert_eq!(head.header("c"), Some(&b"x y"[..]));
    assert_eq!(head.header("d"), Some("\u{e4}".as_bytes()));
    assert_eq!(head.header("e"), None);
    assert_eq!(head.fields().count(), 6);
}

#[test]
fn h10_absolute_form_is_routed_by_its_path_only() {
    let seen = read(&[b"GET http://169.254.169.254/latest?x HTTP/1.1\r\nHost: us\r\n\r\n"]);
    let head = seen.heads()[0].clone();
    assert_eq!((head.path.as_str(), head.query.as_deref()), ("/latest", Some("x")));
    // RFC 9112 section 3.2.2: the authority of the target outranks Host.
    assert_eq!(head.host.as_deref(), Some("169.254.169.254"));
}

#[test]
fn keep_alive_follows_version_and_connection() {
    for (bytes, keep_alive) in [
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: x\r\nConnection: y, close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: closed\r\n\r\n", true),
        ("GET / HTTP/1.0\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", false),
    ] {
        let seen = read(&[bytes.as_bytes(), b"GET /2 HTTP/1.1\r\nHost: h\r\n\r\n"]);
        assert_eq!(seen.heads()[0].keep_alive, keep_alive, "{bytes:?}");
        assert_eq!(seen.heads().len(), if keep_alive { 2 } else { 1 }, "{bytes:?}");
        assert_eq!(seen.stage, if keep_alive { Stage::Idle } else { Stage::Closed }, "{bytes:?}");
    }
}

#[test]
fn an_upgrade_needs_both_fields_and_http_1_1() {
    for (bytes, wants_upgrade) in [
        (head("Connection: keep-alive, UPGRADE\r\nUpgrade: websocket\r\n"), true),
        (head("Connection: upgrade\r\n"), false),
        (head("Upgrade: websocket\r\n"), false),
        (head("Connection: upgrade\r\nUpgrade:\r\n"), false),
        ("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".to_owned(), false),
    ] {
        assert_eq!(read(&[bytes.as_bytes()]).heads()[0].wants_upgrade, wants_upgrade, "{bytes:?}");
    }
}

#[test]
fn continue_is_expected_only_before_a_body() {
    for (fields, expects) in [
        ("Content-Length: 1\r\nExpect: 100-Continue\r\n", true),
        ("Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n", true),
        ("Content-Length: 0\r\nExpect: 100-continue\r\n", false),
        ("Expect: 100-continue\r\n", false),
        ("Content-Length: 1\r\nExpect: else\r\n", false),
    ] {
        assert_eq!(read(&[head(fields).as_bytes()]).heads()[0].expects_continue, expects, "{fields:?}");
    }
}

#[test]
fn methods_are_any_token() {
    for method in ["get", "M-SEARCH", "QUERY", "x!#$%&'*+-.^_`|~9"] {
        let seen = read(&[format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()]);
        assert_eq!(seen.heads()[0].method, method);
    }
}

#[test]
fn host_is_one_and_valid() {
    let with = |hosts: &str| refusal_of(format!("GET / HTTP/1.1\r\n{hosts}\r\n").as_bytes());
    assert_eq!(with("Host: a.example:8080\r\n"), None);
    assert_eq!(with("Host: [::1]:1\r\n"), None);
    assert_eq!(with(""), Some(Refusal::HostMissing));
    assert_eq!(with("Host:\r\n"), Some(Refusal::HostInvalid));
    assert_eq!(with("Host: a/b\r\n"), Some(Refusal::HostInvalid));
    assert_eq!(with("Host: a, b\r\n"), Some(Refusal::HostInvalid));
    assert_eq!(with("Host: a\r\nHost: a\r\n"), Some(Refusal::HostRepeated));
    let old = read(&[b"GET / HTTP/1.0\r\n\r\n"]);
    assert_eq!(
        (old.heads()[0].version, old.heads()[0].host.clone(), old.refusal),
        (Version::Http10, None, None)
    );
}

#[test]
fn content_length_zero_is_no_body() {
    assert_eq!(read(&[head("Content-Length: 0\r\n").as_bytes()]).heads()[0].body, BodyKind::None);
    assert_eq!(read(&[head("Content-Length: 7\r\n").as_bytes()]).heads()[0].body, BodyKind::Length(7));
    assert_eq!(read(&[head("Transfer-Encoding: Chunked\r\n").as_bytes()]).heads()[0].body, BodyKind::Chunked);
}

#[test]
fn after_an_upgrade_the_input_starts_with_the_new_protocol() {
    let head = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let bytes = format!("{head}\u{1}\u{2}");
    for cut in 0..=bytes.len() {
        let mut reader = Reader::new();
        let mut rest = Vec::new();
        let mut requests = 0;
        for piece in [&bytes.as_bytes()[..cut], &bytes.as_bytes()[cut..]] {
            let mut input = piece;
            if requests == 0 {
                let event = reader.next(&Limits::default(), &mut input).unwrap();
                requests += usize::from(matches!(event, Some(Event::Request(_))));
            }
            rest.extend_from_slice(input);
        }
        assert_eq!((requests, rest.as_slice()), (1, &b"\x01\x02"[..]), "cut at byte {cut}");
    }
}

#[test]
fn stages_tell_which_deadline_counts() {
    let mut reader = Reader::new();
    let limits = Limits::default();
    let mut feed = |mut bytes: &[u8]| {
        let event = reader.next(&limits, &mut bytes).unwrap().is_some();
        (event, reader.stage())
    };
    assert_eq!(feed(b"\r"), (false, Stage::Idle));
    assert_eq!(feed(b"\n"), (false, Stage::Idle));
    assert_eq!(feed(b"G"), (false, Stage::Head));
    assert_eq!(feed(b"ET / HTTP/1.1\r\nHost: h\r\n\r\n"), (true, Stage::Body));
    assert_eq!(feed(b""), (true, Stage::Idle));
}

#[test]
fn a_head_that_comes_whole_is_lent_from_the_input() {
    let bytes = head("Accept: */*\r\nUser-Agent: x\r\n");
    let mut input = bytes.as_bytes();
    let mut reader = Reader::new();
    let Ok(Some(Event::Request(head))) = reader.next(&Limits::default(), &mut input) else {
        panic!("no request")
    };
    assert_eq!(head.method.as_ptr(), bytes.as_ptr());
    for (name, value) in head.fields() {
        assert!(bytes.as_bytes().as_ptr_range().contains(&name.as_ptr()));
        assert!(bytes.as_bytes().as_ptr_range().contains(&value.as_ptr()));
    }
}
