//! Each limit lets through what reaches it and refuses one more, with the status for it (H3, H4).

use highper_wire::http1::{Limits, Reader, Refusal, Status};

use super::{Transcript, read_within};

/// A GET whose head has exactly `len` bytes.
fn head_of(len: usize) -> Vec<u8> {
    let mut head = b"GET / HTTP/1.1\r\nHost: h\r\nX: ".to_vec();
    head.resize(len - 4, b'x');
    head.extend_from_slice(b"\r\n\r\n");
    head
}

fn head_with_fields(count: usize) -> Vec<u8> {
    let mut head = b"GET / HTTP/1.1\r\nHost: h\r\n".to_vec();
    for _ in 1..count {
        head.extend_from_slice(b"ab: c\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn head_with_target(len: usize) -> Vec<u8> {
    format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "t".repeat(len - 1)).into_bytes()
}

/// Whole and byte by byte.
fn read_both_ways(limits: &Limits, bytes: &[u8]) -> Transcript {
    let whole = read_within(limits, &[bytes]);
    let pieces: Vec<_> = bytes.chunks(1).collect();
    assert_eq!(read_within(limits, &pieces), whole);
    whole
}

#[track_caller]
fn passes(limits: &Limits, bytes: &[u8]) {
    let transcript = read_both_ways(limits, bytes);
    assert_eq!((transcript.heads().len(), transcript.refusal), (1, None));
}

#[track_caller]
fn is_refused(limits: &Limits, bytes: &[u8], refusal: Refusal, status: Status) {
    assert_eq!(read_both_ways(limits, bytes).refusal, Some(refusal));
    assert_eq!(refusal.status(), status);
}

#[test]
fn head_bytes() {
    let limits = Limits::default();
    passes(&limits, &head_of(8192));
    is_refused(&limits, &head_of(8193), Refusal::HeadTooLarge, Status::RequestHeaderFieldsTooLarge);
    // The limit is for one head, not for a connection.
    let pair = [head_of(8192), head_of(8192)].concat();
    assert_eq!(read_both_ways(&limits, &pair).heads().len(), 2);
}

#[test]
fn h4_header_count() {
    let limits = Limits::default();
    for count in [1, 63, 64, 65, 100] {
        passes(&limits, &head_with_fields(count));
    }
    let status = Status::RequestHeaderFieldsTooLarge;
    is_refused(&limits, &head_with_fields(101), Refusal::TooManyFields, status);
    let few = Limits { headers_max: 4, ..Limits::default() };
    passes(&few, &head_with_fields(4));
    is_refused(&few, &head_with_fields(5), Refusal::TooManyFields, status);
    let larger = Limits { head_bytes_max: 65_536, ..Limits::default() };
    is_refused(&larger, &head_with_fields(2000), Refusal::TooManyFields, status);
}

#[test]
fn target_bytes() {
    let limits = Limits { target_bytes_max: 100, ..Limits::default() };
    passes(&limits, &head_with_target(100));
    is_refused(&limits, &head_with_target(101), Refusal::TargetTooLong, Status::UriTooLong);
    // A target that fills the head is too long, however large targets may be.
    let limits = Limits { target_bytes_max: 1 << 20, ..Limits::default() };
    is_refused(&limits, &head_with_target(9000), Refusal::TargetTooLong, Status::UriTooLong);
}

#[test]
fn method_bytes() {
    let limits = Limits::default();
    let head = |len: usize| format!("{} / HTTP/1.1\r\nHost: h\r\n\r\n", "M".repeat(len)).into_bytes();
    passes(&limits, &head(32));
    is_refused(&limits, &head(33), Refusal::MethodTooLong, Status::NotImplemented);
}

#[test]
fn content_length() {
    let limits = Limits { body_bytes_max: 10, ..Limits::default() };
    passes(&limits, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789");
    let head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n";
    is_refused(&limits, head, Refusal::BodyTooLarge, Status::ContentTooLarge);
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn chunked_body() {
    let limits = Limits { body_bytes_max: 10, ..Limits::default() };
    passes(&limits, format!("{CHUNKED}6\r\n012345\r\n4\r\n6789\r\n0\r\n\r\n").as_bytes());
    // Refused by the size line, before any byte of the chunk.
    let too_large = format!("{CHUNKED}6\r\n012345\r\n5");
    is_refused(&limits, too_large.as_bytes(), Refusal::BodyTooLarge, Status::ContentTooLarge);
    let huge = format!("{CHUNKED}ffffffffffffffff\r\n");
    is_refused(&Limits::default(), huge.as_bytes(), Refusal::BodyTooLarge, Status::ContentTooLarge);
}

#[test]
fn chunk_extensions_of_a_whole_body() {
    let body = |bytes: usize| {
        // Two chunks share the budget; ";" is not counted, the CR that ends the extension is.
        let (first, second) = ("e".repeat(100 - 1), "e".repeat(bytes - 100 - 1));
        format!("{CHUNKED}1;{first}\r\na\r\n1;{second}\r\nb\r\n0\r\n\r\n").into_bytes()
    };
    passes(&Limits::default(), &body(4096));
    is_refused(&Limits::default(), &body(4097), Refusal::ChunkExtension, Status::BadRequest);
}

#[test]
fn chunk_size_digits() {
    passes(&Limits::default(), format!("{CHUNKED}{}1\r\na\r\n0\r\n\r\n", "0".repeat(15)).as_bytes());
    let too_many = format!("{CHUNKED}{}1\r\na\r\n0\r\n\r\n", "0".repeat(16));
    is_refused(&Limits::default(), too_many.as_bytes(), Refusal::ChunkSize, Status::BadRequest);
}

#[test]
fn trailers() {
    let limits = Limits { head_bytes_max: 100, headers_max: 4, ..Limits::default() };
    let bytes = |len: usize| format!("{CHUNKED}0\r\nT: {}\r\n\r\n", "x".repeat(len - 7)).into_bytes();
    passes(&limits, &bytes(100));
    is_refused(&limits, &bytes(101), Refusal::HeadTooLarge, Status::RequestHeaderFieldsTooLarge);
    let count = |count: usize| format!("{CHUNKED}0\r\n{}\r\n", "T: u\r\n".repeat(count)).into_bytes();
    passes(&limits, &count(4));
    is_refused(&limits, &count(5), Refusal::TooManyFields, Status::RequestHeaderFieldsTooLarge);
}

#[test]
fn h3_a_huge_head_in_single_bytes_is_refused_at_the_limit() {
    let mut reader = Reader::new();
    let limits = Limits::default();
    let huge = head_of(1 << 20);
    for (at, byte) in huge.chunks(1).enumerate() {
        let mut input = byte;
        match reader.next(&limits, &mut input) {
            Ok(None) => assert!(at + 1 < limits.head_bytes_max, "byte {at} was taken"),
            Ok(Some(event)) => panic!("{event:?}"),
            Err(refusal) => {
                assert_eq!((refusal, at + 1), (Refusal::HeadTooLarge, limits.head_bytes_max));
                return;
            }
        }
    }
    panic!("never refused");
}

#[test]
fn a_limit_lowered_in_the_middle_of_a_head_refuses_it() {
    let mut reader = Reader::new();
    let mut input: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nX: y";
    assert!(reader.next(&Limits::default(), &mut input).is_ok_and(|event| event.is_none()));
    let mut input: &[u8] = b"z\r\n\r\n";
    let lower = Limits { head_bytes_max: 10, ..Limits::default() };
    assert_eq!(reader.next(&lower, &mut input).err(), Some(Refusal::HeadTooLarge));
}
