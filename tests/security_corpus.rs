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

#[test]
fn attacks_in_messages_are_found() {
    let json = |value: &str| serde_json::json!({ "type": "publish", "channel": "c", "data": { "t": value } });
    assert_found(XSS, Kind::Xss, |value| message(&json(value).to_string()));
    assert_found(SQL, Kind::SqlInjection, |value| message(&json(value).to_string()));
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
