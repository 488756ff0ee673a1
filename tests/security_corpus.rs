//! What the detector finds and what it leaves alone: attacks of every kind as public lists have them, ordinary
//! requests and messages as clients send them.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![allow(clippy::print_stdout, reason = "a failed test shows what was missed")]

use highper_realtime::security::{Detector, Finding, Kind};
use highper_shards::Moment;
use highper_wire::http1::{Event, Limits, Reader};

const SQL: &str = include_str!("corpus/security/sql_injection.txt");
const XSS: &str = include_str!("corpus/security/xss.txt");
const PATHS: &str = include_str!("corpus/security/path_traversal.txt");
const REQUESTS: &str = include_str!("corpus/security/requests.txt");
const MESSAGES: &str = include_str!("corpus/security/messages.txt");

/// The lines that are no comment.
fn lines(corpus: &str) -> Vec<&str> {
    corpus.lines().filter(|line| !line.starts_with("# ")).collect()
}

/// What is found in a GET for this target with these fields.
fn request(target: &str, fields: &[&str]) -> Option<Finding> {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let text = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let mut input = text.as_bytes();
    match Reader::new().next(&Limits::default(), &mut input) {
        Ok(Some(Event::Request(head))) => Detector::new(&[]).request(Moment::ZERO, &head),
        other => panic!("{target}: {other:?}"),
    }
}

/// Every byte that is no letter or digit as an escape.
fn percent(value: &str) -> String {
    let one = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02x}"),
    };
    value.bytes().map(one).collect()
}

fn message(text: &str) -> Option<Finding> {
    Detector::new(&[]).message(Moment::ZERO, text.as_bytes())
}

/// At least 95 of 100 are found, as what they are.
fn assert_found(corpus: &str, kind: Kind, find: impl Fn(&str) -> Option<Finding>) {
    let lines = lines(corpus);
    let missed: Vec<_> =
        lines.iter().filter(|line| find(line).is_none_or(|found| found.kind != kind)).collect();
    println!("{kind:?}: {} of {} missed: {missed:#?}", missed.len(), lines.len());
    assert!(lines.len() >= 40 && missed.len() * 20 <= lines.len());
}

#[test]
fn attacks_in_queries_are_found_however_they_are_encoded() {
    for (corpus, kind) in [(SQL, Kind::SqlInjection), (XSS, Kind::Xss)] {
        assert_found(corpus, kind, |value| request(&format!("/ws?a=1&q={}", percent(value)), &[]));
        assert_found(corpus, kind, |value| request(&format!("/ws?q={}", percent(&percent(value))), &[]));
    }
}

#[test]
fn attacks_in_cookies_and_referers_are_found() {
    for (corpus, kind) in [(SQL, Kind::SqlInjection), (XSS, Kind::Xss)] {
        assert_found(corpus, kind, |value| request("/ws", &[&format!("Cookie: a=b; id={}", percent(value))]));
        let referer = |value: &str| format!("Referer: https://example.org/a?q={}", percent(value));
        assert_found(corpus, kind, |value| request("/ws", &[&referer(value)]));
    }
}

/// Of SQL in messages nine in ten: what a person could have written in a chat ("1 or 1=1") is left alone.
#[test]
fn attacks_in_messages_are_found() {
    let json = |value: &str| serde_json::json!({ "type": "publish", "channel": "c", "data": { "t": value } });
    assert_found(XSS, Kind::Xss, |value| message(&json(value).to_string()));
    let lines = lines(SQL);
    let missed: Vec<_> = lines.iter().filter(|value| message(&json(value).to_string()).is_none()).collect();
    println!("{} of {} missed: {missed:#?}", missed.len(), lines.len());
    assert!(missed.len() * 10 <= lines.len());
}

#[test]
fn climbing_targets_are_found() {
    assert_found(PATHS, Kind::PathTraversal, |target| request(target, &[]));
}

#[test]
fn nothing_is_found_in_ordinary_requests() {
    let found: Vec<_> = lines(REQUESTS)
        .into_iter()
        .filter_map(|line| {
            let mut parts = line.split('\t');
            let target = parts.next().unwrap();
            Some((line, request(target, &parts.collect::<Vec<_>>())?))
        })
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// The rate that the README states.
#[test]
fn of_ordinary_messages_at_most_one_in_fifty_is_taken_for_an_attack() {
    let lines = lines(MESSAGES);
    let found: Vec<_> = lines.iter().filter_map(|line| Some((line, message(line)?))).collect();
    println!("{} of {}: {found:#?}", found.len(), lines.len());
    assert!(found.len() * 50 <= lines.len());
}

#[test]
fn a_finding_never_shows_a_secret() {
    let secret = "s3cr3t-value";
    for target in [
        format!("/ws?token={secret}'+or+1=1--"),
        format!("/ws?access_token={secret}&q=<script>alert(1)</script>"),
        format!("/ws?api_key=../../{secret}"),
        format!("/%2e%2e/x?token={secret}"),
    ] {
        let found = request(&target, &[&format!("Cookie: sid={secret}")]).unwrap();
        assert!(!found.detail.contains(secret), "{found:?}");
    }
}

/// A stream of numbers that the seed decides.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }
}

/// The corpora cut, joined and bent: the matcher is somebody else's and must survive them all.
fn bend(seed: u64, rounds: usize) {
    println!("seed {seed}");
    let mut random = Random(seed);
    let seeds: Vec<&[u8]> =
        [SQL, XSS, PATHS, REQUESTS, MESSAGES].into_iter().flat_map(lines).map(str::as_bytes).collect();
    let mut detector = Detector::new(&[]);
    for round in 0..rounds {
        let mut text = Vec::new();
        for _ in 0..=random.below(4) {
            let piece = seeds[random.below(seeds.len())];
            let from = random.below(piece.len().max(1));
            text.extend_from_slice(&piece[from.min(piece.len())..]);
        }
        for _ in 0..random.below(6) {
            let at = random.below(text.len().max(1)).min(text.len());
            match random.below(3) {
                0 => text.insert(at, random.below(256) as u8),
                1 => text.truncate(at),
                _ => text.extend(std::iter::repeat_n(b"/<'-.\\(\0&#"[random.below(10)], random.below(40))),
            }
        }
        let now = Moment::from_nanos(round as u64 * 1_000_000_000);
        detector.message(now, &text);
        let target: String = text.iter().map(|byte| format!("%{byte:02x}")).collect();
        let head = format!("GET /{target}?q={target} HTTP/1.1\r\nHost: h\r\nCookie: a={target}\r\n\r\n");
        let mut input = head.as_bytes();
        let limits = Limits { head_bytes_max: 1 << 16, ..Limits::default() };
        if let Ok(Some(Event::Request(head))) = Reader::new().next(&limits, &mut input) {
            detector.request(now, &head);
        }
    }
}

#[test]
fn whatever_comes_it_never_panics() {
    bend(1, 20_000);
}

#[test]
#[ignore = "minutes; before a release of the matcher is taken"]
fn whatever_comes_it_never_panics_for_long() {
    (2..100).for_each(|seed| bend(seed, 50_000));
}

/// Values that are slow for the matcher cost no more than their budget.
#[test]
fn a_flood_of_slow_values_is_passed_over_and_counted() {
    let mut detector = Detector::new(&[]);
    let text = format!("{}'--", "a.".repeat(500));
    for _ in 0..10_000 {
        detector.message(Moment::ZERO, text.as_bytes());
    }
    let looked_at = 10_000 * text.len() as u64 - detector.passed_over();
    assert!(looked_at <= highper_realtime::security::detector::SCAN_BYTES_PER_SLICE as u64, "{looked_at}");
    assert!(
        detector
            .message(Moment::ZERO + highper_realtime::security::detector::SLICE, b"1' or '1'='1' --")
            .is_some(),
        "the next second"
    );
}

/// For callgrind: the difference between the two counts, divided by a thousand, is the cost of one request.
#[test]
#[ignore = "measured, not judged"]
fn cost_of_an_ordinary_request() {
    let mut count = String::new();
    std::io::stdin().read_line(&mut count).unwrap();
    let count: usize = count.trim().parse().unwrap();
    let text = "GET /ws?v=2.3.1&client=js HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0\r\n\
        Cookie: sid=3f9d2c1e8b7a; theme=dark\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://example.org\r\n\r\n";
    let mut input = text.as_bytes();
    let mut reader = Reader::new();
    let Ok(Some(Event::Request(head))) = reader.next(&Limits::default(), &mut input) else {
        panic!("a request")
    };
    let mut detector = Detector::new(&[]);
    for _ in 0..count {
        assert_eq!(detector.request(Moment::ZERO, std::hint::black_box(&head)), None);
    }
}
