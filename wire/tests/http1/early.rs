//! What can never become a request is refused by the byte that proves it, not at a deadline.

use highper_wire::http1::{Refusal, Status};

use super::{read, refusal_of};

/// The last byte of `bytes` brings the refusal; without it the reader still waits.
#[track_caller]
fn is_refused_by_its_last_byte(bytes: &[u8], refusal: Refusal) {
    assert_eq!(refusal_of(bytes), Some(refusal), "{}", bytes.escape_ascii());
    let before = read(&[&bytes[..bytes.len() - 1]]);
    assert_eq!(before.refusal, None, "{} is refused too early", bytes.escape_ascii());
}

#[test]
fn other_protocols() {
    is_refused_by_its_last_byte(b"\x16", Refusal::Tls);
    is_refused_by_its_last_byte(b"\0", Refusal::Method);
    is_refused_by_its_last_byte(b"\xff", Refusal::Method);
    is_refused_by_its_last_byte(b" ", Refusal::Method);
    is_refused_by_its_last_byte(b"{", Refusal::Method);
    is_refused_by_its_last_byte(b"\n", Refusal::BareLf);
    is_refused_by_its_last_byte(b"\rG", Refusal::BareCr);
    is_refused_by_its_last_byte(b"\r\n\r", Refusal::Method);
    is_refused_by_its_last_byte(b"PRI ", Refusal::Http2);
    is_refused_by_its_last_byte(b"CONNECT ", Refusal::Connect);
    is_refused_by_its_last_byte(b"SSH-2.0-x\r", Refusal::Method);
    is_refused_by_its_last_byte(b"PROXY TCP4 ", Refusal::Target);
    assert_eq!(Refusal::Http2.status(), Status::HttpVersionNotSupported);
    assert_eq!(Refusal::Connect.status(), Status::NotImplemented);
}

#[test]
fn methods_for_others_are_refused_in_a_head_that_is_otherwise_in_order() {
    for (method, refusal) in [("CONNECT", Refusal::Connect), ("PRI", Refusal::Http2)] {
        let head = format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(refusal_of(head.as_bytes()), Some(refusal));
    }
}

#[test]
fn request_lines() {
    is_refused_by_its_last_byte(b"GET  ", Refusal::Target);
    is_refused_by_its_last_byte(b"GET \n", Refusal::BareLf);
    is_refused_by_its_last_byte(b"GET ?", Refusal::Target);
    is_refused_by_its_last_byte(b"GET /\x7f", Refusal::Target);
    is_refused_by_its_last_byte(b"GET /\xc3", Refusal::Target);
    is_refused_by_its_last_byte(b"GET http:/x ", Refusal::Target);
    is_refused_by_its_last_byte(b"GET http://u@h/ ", Refusal::Target);
    is_refused_by_its_last_byte(b"GET /\r", Refusal::Version);
    is_refused_by_its_last_byte(b"GET / \r", Refusal::Version);
    is_refused_by_its_last_byte(b"GET / I", Refusal::VersionUnsupported);
    is_refused_by_its_last_byte(b"GET / h", Refusal::Version);
    is_refused_by_its_last_byte(b"GET / HTTP/2", Refusal::VersionUnsupported);
    is_refused_by_its_last_byte(b"GET / HTTP/0", Refusal::VersionUnsupported);
    is_refused_by_its_last_byte(b"GET / HTTP/1.2", Refusal::VersionUnsupported);
    is_refused_by_its_last_byte(b"GET / HTTP/1,", Refusal::Version);
    is_refused_by_its_last_byte(b"GET / HTTP/1.1 ", Refusal::Version);
    is_refused_by_its_last_byte(b"GET / HTTP/1.11", Refusal::Version);
    is_refused_by_its_last_byte(b"GET / HTTP/1.1\n", Refusal::BareLf);
    is_refused_by_its_last_byte(b"GET / HTTP/1.1\r\r", Refusal::BareCr);
    assert_eq!(Refusal::VersionUnsupported.status(), Status::HttpVersionNotSupported);
}

#[test]
fn field_lines() {
    let line = |line: &[u8]| [b"GET / HTTP/1.1\r\nHost: h\r\n", line].concat();
    for (bytes, refusal) in [
        (&b" "[..], Refusal::Fold),
        (b"\t", Refusal::Fold),
        (b":", Refusal::NameEmpty),
        (b"\n", Refusal::BareLf),
        (b"\rX", Refusal::BareCr),
        (b"A ", Refusal::NameSpace),
        (b"A\t", Refusal::NameSpace),
        (b"A\r", Refusal::Name),
        (b"A\n", Refusal::BareLf),
        (b"A\0", Refusal::Name),
        (b"A(", Refusal::Name),
        (b"A\xc3", Refusal::Name),
        (b"A:\0", Refusal::Value),
        (b"A: b\x7f", Refusal::Value),
        (b"A: b\n", Refusal::BareLf),
        (b"A: b\rB", Refusal::BareCr),
        (b"A: b\r\n ", Refusal::Fold),
        (b"Host: h\r\n", Refusal::HostRepeated),
        (b"Content-Length: x\r\n", Refusal::ContentLength),
        (b"Content-Length: 1\r\nContent-Length: 1\r\n", Refusal::ContentLengthRepeated),
        (b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", Refusal::LengthAndCoding),
    ] {
        is_refused_by_its_last_byte(&line(bytes), refusal);
    }
}
