//! Bodies come out without their framing, and broken framing is refused.

use highper_wire::http1::Refusal;

use super::{Seen, read, refusal_of};

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn a_body_with_content_length_ends_after_its_bytes() {
    let seen = read(&[
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbodyGET / HTTP/1.1\r\nHost: h\r\n\r\n",
    ]);
    assert_eq!(seen.events[1..3], [Seen::Body(b"body".to_vec()), Seen::End]);
    assert_eq!(seen.heads().len(), 2);
}

#[test]
fn a_chunked_body_comes_without_chunks_extensions_and_trailers() {
    let bytes =
        format!("{CHUNKED}5;q=\"\\\"\\\\\t \u{e4}\"\r\nhello\r\nA\r\n, everyone\r\n0;last\r\nX: y\r\n\r\n");
    let seen = read(&[bytes.as_bytes()]);
    assert_eq!(seen.body(), b"hello, everyone");
    assert_eq!((seen.events.last(), seen.refusal), (Some(&Seen::End), None));
}

#[test]
fn an_empty_chunked_body() {
    let seen = read(&[format!("{CHUNKED}0\r\n\r\n").as_bytes()]);
    assert_eq!((seen.body(), seen.events.len(), seen.refusal), (Vec::new(), 2, None));
}

#[test]
fn broken_chunks_are_refused() {
    for (body, refusal) in [
        ("\r\n", Refusal::ChunkSize),
        ("g\r\n", Refusal::ChunkSize),
        ("-1\r\n", Refusal::ChunkSize),
        ("0x1\r\n", Refusal::ChunkSize),
        (" 1\r\n", Refusal::ChunkSize),
        ("1 \r\n", Refusal::ChunkSize),
        ("1\n", Refusal::BareLf),
        ("1\ra", Refusal::BareCr),
        ("1\r\nab", Refusal::ChunkEnd),
        ("1\r\na\n", Refusal::ChunkEnd),
        ("1\r\na\rb", Refusal::ChunkEnd),
        ("1;\r\n", Refusal::ChunkExtension),
        ("1;;\r\n", Refusal::ChunkExtension),
        ("1;a=\r\n", Refusal::ChunkExtension),
        ("1;a=b=c\r\n", Refusal::ChunkExtension),
        ("1;a b\r\n", Refusal::ChunkExtension),
        ("1; a\r\n", Refusal::ChunkExtension),
        ("1;a=\"b\r\n", Refusal::ChunkExtension),
        ("1;a=\"b\"c\r\n", Refusal::ChunkExtension),
        ("1;a\n", Refusal::BareLf),
        ("1;a=\"\n", Refusal::BareLf),
        ("0\r\n T: u\r\n\r\n", Refusal::Fold),
        ("0\r\nT: u\n\r\n", Refusal::BareLf),
        ("0\r\nT : u\r\n\r\n", Refusal::NameSpace),
        ("0\r\n\rx", Refusal::BareCr),
    ] {
        assert_eq!(refusal_of(format!("{CHUNKED}{body}").as_bytes()), Some(refusal), "{body:?}");
    }
}
