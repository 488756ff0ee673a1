//! H6: bytes two servers could read differently get one refusal, and nothing behind them is ever a request.

use highper_wire::http1::{Refusal, Status};

use super::{Transcript, read};

const NEXT: &str = "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n";

const PAYLOADS: &[(&str, Refusal)] = &[
    ("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX", Refusal::LengthAndCoding),
    ("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nX", Refusal::LengthAndCoding),
    ("Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", Refusal::ContentLengthRepeated),
    ("Content-Length: 3, 4\r\n\r\nabcd", Refusal::ContentLength),
    ("Content-Length: +3\r\n\r\nabc", Refusal::ContentLength),
    ("Content-Length: -3\r\n\r\nabc", Refusal::ContentLength),
    ("Content-Length: 0x3\r\n\r\nabc", Refusal::ContentLength),
    ("Content-Length: 3 3\r\n\r\nabc", Refusal::ContentLength),
    ("Content-Length:\r\n\r\n", Refusal::ContentLength),
    ("Content-Length: 18446744073709551619\r\n\r\nabc", Refusal::ContentLength),
    ("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", Refusal::TransferEncoding),
    ("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Refusal::TransferEncoding),
    ("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", Refusal::TransferEncoding),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refusal::TransferEncoding),
    ("Transfer-Encoding:\r\n\r\n", Refusal::TransferEncoding),
    ("Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", Refusal::TransferEncoding),
    ("Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", Refusal::Value),
    ("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", Refusal::NameSpace),
    ("X: y\r\n Content-Length: 3\r\n\r\nabc", Refusal::Fold),
    ("X: y\nContent-Length: 3\r\n\r\nabc", Refusal::BareLf),
    ("X: y\rContent-Length: 3\r\n\r\nabc", Refusal::BareCr),
    ("X: y\0Content-Length: 3\r\n\r\nabc", Refusal::Value),
    (": y\r\n\r\n", Refusal::NameEmpty),
    ("Content-Length\r\n\r\n", Refusal::Name),
    ("Host: other\r\n\r\n", Refusal::HostRepeated),
    ("X: y\r\n\n", Refusal::BareLf),
    ("X: y\r\n\r\r\n", Refusal::BareCr),
    ("Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", Refusal::BareLf),
    ("Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", Refusal::ChunkEnd),
    ("Transfer-Encoding: chunked\r\n\r\n3;a\nGET\r\n0\r\n\r\n", Refusal::BareLf),
    ("Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", Refusal::BodyTooLarge),
];

#[track_caller]
fn is_refused_once(bytes: &str, refusal: Refusal) {
    let check = |seen: &Transcript, how: &str| {
        assert_eq!(seen.refusal, Some(refusal), "{how}: {bytes:?}");
        let paths: Vec<_> = seen.heads().iter().map(|head| head.path.clone()).collect();
        assert!(
            paths.len() <= 1 && !paths.contains(&"/metrics".to_owned()),
            "{how}: {bytes:?} gave {paths:?}"
        );
    };
    check(&read(&[bytes.as_bytes()]), "whole");
    for cut in 0..=bytes.len() {
        let (front, back) = bytes.as_bytes().split_at(cut);
        check(&read(&[front, back]), "split");
    }
}

#[test]
fn h6_one_refusal_and_no_second_request() {
    assert!(PAYLOADS.len() >= 25);
    for (fields, refusal) in PAYLOADS {
        is_refused_once(&format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}{NEXT}"), *refusal);
        if *refusal != Refusal::BodyTooLarge {
            assert_eq!(refusal.status(), Status::BadRequest, "{fields:?}");
        }
    }
}

#[test]
fn h6_http_1_0_has_no_transfer_coding() {
    let bytes = format!("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{NEXT}");
    is_refused_once(&bytes, Refusal::CodingOnHttp10);
}

#[test]
fn h6_nothing_is_read_after_a_connection_that_closes() {
    let bytes = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n{NEXT}");
    let seen = read(&[bytes.as_bytes()]);
    assert_eq!((seen.heads().len(), seen.refusal), (1, None));
}

#[test]
fn h7_nothing_is_read_after_an_upgrade_that_is_not_taken() {
    let bytes =
        format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n{NEXT}");
    let seen = read(&[bytes.as_bytes()]);
    assert_eq!((seen.heads().len(), seen.refusal), (1, None));
}
