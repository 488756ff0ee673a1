//! PROXY headers: what HAProxy's specification says of them, whole and in any pieces, and where they are refused.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod seeded;

use std::net::SocketAddr;

use highper_wire::proxy::{Header, Reader, Refusal, V1_BYTES_MAX, V2_REST_MAX};
use seeded::Random;

/// What stands behind every header here: it must be left alone.
const BEHIND: &[u8] = b"GET / HTTP/1.1\r\n";

/// What comes of these pieces, and the bytes that were left.
fn read(pieces: &[&[u8]]) -> Result<(Option<Header>, Vec<u8>), Refusal> {
    let mut reader = Reader::new();
    let (mut header, mut left) = (None, Vec::new());
    for piece in pieces {
        let mut input = *piece;
        if header.is_none() {
            header = reader.next(&mut input)?;
        }
        assert!(header.is_some() || input.is_empty(), "what is no whole header is taken");
        left.extend_from_slice(input);
    }
    Ok((header, left))
}

/// The verdict on a header with a request behind it.
fn verdict(header: &[u8]) -> Result<Header, Refusal> {
    let (read, left) = read(&[&[header, BEHIND].concat()])?;
    assert_eq!(left, BEHIND, "{}", header.escape_ascii());
    Ok(read.expect("the header is whole"))
}

fn client(address: &str) -> Result<Header, Refusal> {
    Ok(Header::Client(address.parse().unwrap()))
}

fn v2(command: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, kind]);
    header.extend((rest.len() as u16).to_be_bytes());
    header.extend_from_slice(rest);
    header
}

/// 192.0.2.7:40000 to 192.0.2.1:443.
const V4: [u8; 12] = [192, 0, 2, 7, 192, 0, 2, 1, 0x9c, 0x40, 0x01, 0xbb];

/// [2001:db8::7]:40000 to [2001:db8::1]:443.
fn v6() -> Vec<u8> {
    let ip = |last| [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[last]].concat();
    [ip(7), ip(1), vec![0x9c, 0x40, 0x01, 0xbb]].concat()
}

fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &(value.len() as u16).to_be_bytes(), value].concat()
}

/// A header with its checksum, computed bit by bit.
fn with_checksum(kind: u8, rest: &[u8], spoil: u32) -> Vec<u8> {
    let mut header = v2(0x21, kind, &[rest, &extension(3, &[0; 4])].concat());
    let mut sum = !0u32;
    for byte in &header {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
        }
    }
    let at = header.len() - 4;
    header[at..].copy_from_slice(&(!sum ^ spoil).to_be_bytes());
    header
}

#[test]
fn lines_of_version_1_are_read() {
    let cases = [
        ("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", client("192.168.0.1:56324")),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", client("255.255.255.255:65535")),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 0 0\r\n", client("1.2.3.4:0")),
        ("PROXY TCP6 2001:db8::1 ::1 4711 80\r\n", client("[2001:db8::1]:4711")),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            client("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        ),
        ("PROXY UNKNOWN\r\n", Ok(Header::Own)),
        ("PROXY UNKNOWN what 1 ever\x01 follows\r\n", Ok(Header::Own)),
        (
            "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            Ok(Header::Own),
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(verdict(line.as_bytes()), expected, "{line:?}");
    }
}

#[test]
fn lines_of_another_form_are_refused() {
    for line in [
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 \r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 1\r\n",
        "PROXY TCP4  192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY TCP4\t192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY TCP4 192.168.0.01 192.168.0.11 56324 443\r\n",
        "PROXY TCP4 192.168.0.256 192.168.0.11 56324 443\r\n",
        "PROXY TCP4 192.168.1 192.168.0.11 56324 443\r\n",
        "PROXY TCP4 192.168.0.1 ::1 56324 443\r\n",
        "PROXY TCP4 ::1 ::1 56324 443\r\n",
        "PROXY TCP6 192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 56324 443\r\n",
        "PROXY TCP6 [::1] ::1 56324 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 65536 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 0443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 +5 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 -5 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11  443\r\n",
        "PROXY TCP5 192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY UDP4 192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY tcp4 192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY \r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r ",
        "PROXY UNKNOWN \n\r\n",
    ] {
        assert_eq!(verdict(line.as_bytes()), Err(Refusal::BadLine), "{line:?}");
    }
    assert_eq!(verdict(b"PROXY TCP4 \xff 1.2.3.4 1 2\r\n"), Err(Refusal::BadLine));
}

#[test]
fn a_line_has_107_bytes() {
    let line = |len: usize| format!("{:<width$}\r\n", "PROXY UNKNOWN", width = len - 2);
    assert_eq!(verdict(line(V1_BYTES_MAX).as_bytes()), Ok(Header::Own));
    assert_eq!(verdict(line(V1_BYTES_MAX + 1).as_bytes()), Err(Refusal::LineTooLong));
    assert_eq!(verdict(&[b"PROXY ".as_slice(), &[b' '; 70_000]].concat()), Err(Refusal::LineTooLong));
}

#[test]
fn headers_of_version_2_are_read() {
    let (v6, unix) = (v6(), [b'/'; 216]);
    let host = [&V4[..], &extension(2, b"example.org"), &extension(4, &[])].concat();
    let cases = [
        (v2(0x21, 0x11, &V4), client("192.0.2.7:40000")),
        (v2(0x21, 0x21, &v6), client("[2001:db8::7]:40000")),
        (v2(0x21, 0x11, &host), client("192.0.2.7:40000")),
        (v2(0x21, 0x21, &[&v6[..], &extension(0xee, &[7; 255])].concat()), client("[2001:db8::7]:40000")),
        (with_checksum(0x11, &host, 0), client("192.0.2.7:40000")),
        (with_checksum(0x21, &v6, 0), client("[2001:db8::7]:40000")),
        (v2(0x20, 0x00, &[]), Ok(Header::Own)),
        (v2(0x20, 0x11, &V4), Ok(Header::Own)),
        (v2(0x20, 0xff, b"whatever"), Ok(Header::Own)),
        (v2(0x21, 0x00, &[]), Ok(Header::Own)),
        (v2(0x21, 0x00, b"whatever"), Ok(Header::Own)),
        (v2(0x21, 0x12, &V4), Ok(Header::Own)),
        (v2(0x21, 0x22, &v6), Ok(Header::Own)),
        (v2(0x21, 0x31, &unix), Ok(Header::Own)),
        (v2(0x21, 0x32, &unix), Ok(Header::Own)),
    ];
    for (header, expected) in cases {
        assert_eq!(verdict(&header), expected, "{}", header.escape_ascii());
    }
}

#[test]
fn headers_that_break_a_rule_are_refused() {
    let (v6, unix) = (v6(), [0; 215]);
    let tail = |bytes: &[u8]| v2(0x21, 0x11, &[&V4[..], bytes].concat());
    let cases = [
        (v2(0x11, 0x11, &V4), Refusal::Command(0x11)),
        (v2(0x31, 0x11, &V4), Refusal::Command(0x31)),
        (v2(0x22, 0x11, &V4), Refusal::Command(0x22)),
        (v2(0x21, 0x10, &V4), Refusal::Family(0x10)),
        (v2(0x21, 0x13, &V4), Refusal::Family(0x13)),
        (v2(0x21, 0x01, &V4), Refusal::Family(0x01)),
        (v2(0x21, 0x41, &V4), Refusal::Family(0x41)),
        (v2(0x21, 0x11, &V4[..11]), Refusal::TooShort(11)),
        (v2(0x21, 0x11, &[]), Refusal::TooShort(0)),
        (v2(0x21, 0x21, &v6[..35]), Refusal::TooShort(35)),
        (v2(0x21, 0x31, &unix), Refusal::TooShort(215)),
        (tail(&[4]), Refusal::BadExtension),
        (tail(&[4, 0]), Refusal::BadExtension),
        (tail(&[4, 0, 1]), Refusal::BadExtension),
        (tail(&[4, 0xff, 0xff, 0]), Refusal::BadExtension),
        (tail(&extension(3, &[0; 3])), Refusal::BadExtension),
        (tail(&extension(3, &[0; 5])), Refusal::BadExtension),
        (tail(&extension(3, &[0; 4])), Refusal::BadChecksum),
        (with_checksum(0x11, &V4, 1), Refusal::BadChecksum),
    ];
    for (header, expected) in cases {
        assert_eq!(verdict(&header), Err(expected), "{}", header.escape_ascii());
    }
}

#[test]
fn a_header_has_16_and_536_bytes() {
    let long = |rest: usize| v2(0x21, 0x11, &[&V4[..], &extension(4, &vec![0; rest - 15])].concat());
    assert_eq!(verdict(&long(V2_REST_MAX)), client("192.0.2.7:40000"));
    assert_eq!(verdict(&long(V2_REST_MAX + 1)), Err(Refusal::TooLong(537)));
    // The length alone is enough: nobody waits for 64 KiB.
    let head = &v2(0x20, 0, &[0; 65_535])[..16];
    assert_eq!(read(&[head]), Err(Refusal::TooLong(65_535)));
}

#[test]
fn what_begins_no_header_is_refused_at_its_first_wrong_byte() {
    for bytes in
        [&b"GET / HTTP/1.1\r\n"[..], b"\r\nGET", b"\r\n\r\n\r", b"PROXY\r\n", b"proxy ", b"\0", b"PROXYS"]
    {
        assert_eq!(read(&[bytes]), Err(Refusal::Absent), "{}", bytes.escape_ascii());
    }
    for begun in [&b""[..], b"P", b"PROXY", b"PROXY ", b"\r", b"\r\n\r\n\0\r\nQUIT", b"\r\n\r\n\0\r\nQUIT\n"]
    {
        assert_eq!(read(&[begun]), Ok((None, Vec::new())), "{}", begun.escape_ascii());
    }
}

/// Headers good and bad, and headers with a byte or two changed.
fn corpus(random: &mut Random) -> Vec<Vec<u8>> {
    let v6 = v6();
    let line = |line: &str| line.as_bytes().to_vec();
    let mut all = vec![
        line("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"),
        line("PROXY TCP6 2001:db8::1 ::1 4711 80\r\n"),
        line("PROXY UNKNOWN\r\n"),
        line("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\r\n"),
        line("GET / HTTP/1.1\r\n\r\n"),
        vec![b'P'; 200],
        [b"PROXY ".as_slice(), &[b'x'; 200]].concat(),
        v2(0x20, 0, &[]),
        v2(0x21, 0x11, &V4),
        v2(0x21, 0x21, &[&v6[..], &extension(0xe0, &[1; 40])].concat()),
        v2(0x21, 0x21, &v6[..20]),
        v2(0x21, 0x31, &[0; 216]),
        with_checksum(0x11, &V4, 0),
        with_checksum(0x11, &V4, 9),
        v2(0x21, 0x11, &[0; 600]),
    ];
    for at in 0..all.len() {
        for _ in 0..40 {
            let mut spoilt = all[at].clone();
            for _ in 0..=random.below(2) {
                let place = random.below(spoilt.len());
                spoilt[place] = random.next() as u8;
            }
            all.push(spoilt);
        }
    }
    all
}

#[test]
fn p3_any_split_gives_the_same_result() {
    let seed = 0x9077;
    let mut random = Random::new(seed);
    for header in corpus(&mut random) {
        let bytes = [&header[..], BEHIND].concat();
        let whole = read(&[&bytes]);
        for cut in 0..=bytes.len() {
            assert_eq!(
                read(&[&bytes[..cut], &bytes[cut..]]),
                whole,
                "seed {seed}: {} at {cut}",
                bytes.escape_ascii()
            );
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single), whole, "seed {seed}: {} byte by byte", bytes.escape_ascii());
        let (first, second) = (random.below(bytes.len()), random.below(bytes.len()));
        let (first, second) = (first.min(second), first.max(second));
        let three = [&bytes[..first], &[], &bytes[first..second], &bytes[second..]];
        assert_eq!(read(&three), whole, "seed {seed}: {} at {first} and {second}", bytes.escape_ascii());
    }
}

#[test]
fn p3_a_header_that_never_ends_costs_no_more_than_the_longest() {
    assert!(size_of::<Reader>() <= 8, "a reader is in every connection that has not begun");
    let header = v2(0x21, 0x11, &[&V4[..], &extension(4, &[0; V2_REST_MAX - 15])].concat());
    let mut reader = Reader::new();
    for byte in &header[..header.len() - 1] {
        assert_eq!(reader.next(&mut std::slice::from_ref(byte)), Ok(None));
    }
    let mut rest = [&header[header.len() - 1..], &[7; 100_000]].concat();
    let mut input = &rest[..];
    assert_eq!(reader.next(&mut input), client("192.0.2.7:40000").map(Some));
    assert_eq!(input.len(), 100_000);
    rest.clear();
}

#[test]
fn addresses_are_the_senders_not_the_receivers() {
    let Ok(Header::Client(address)) = verdict(&v2(0x21, 0x11, &V4)) else { panic!("it names a client") };
    assert_ne!(address, "192.0.2.1:443".parse::<SocketAddr>().unwrap());
}
