//! The llhttp corpus gets the verdicts of a strict server, whole and split. Origin and meaning: `data/README.md`.
#![allow(clippy::print_stdout, reason = "deviations are listed for the reader of a failed run")]
#![allow(clippy::unwrap_used, reason = "a corpus of another form is a failed test")]

use base64::Engine as _;
use highper_wire::http1::{Event, Limits, Reader, Refusal, Stage, Status};
use serde_json::Value;

struct Case {
    id: String,
    raw: Vec<u8>,
    expect: String,
    agree: u64,
}

/// What a server sees of one connection.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// Requests that are whole.
    complete: usize,
    refusal: Option<Refusal>,
    /// Closed after a request that asked for it, with more data behind it.
    data_after_close: bool,
}

fn cases() -> Vec<Case> {
    let text = include_str!("data/http1-llhttp.json");
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    let text = |case: &Value, key: &str| case[key].as_str().unwrap().to_owned();
    let decode = |raw: String| base64::engine::general_purpose::STANDARD.decode(raw).unwrap();
    cases
        .iter()
        .map(|case| Case {
            id: text(case, "id"),
            raw: decode(text(case, "raw")),
            expect: text(case, "expect"),
            agree: case["agree"].as_u64().unwrap(),
        })
        .collect()
}

fn outcome(pieces: &[&[u8]]) -> Outcome {
    let limits = Limits::default();
    let mut reader = Reader::new();
    let mut outcome = Outcome { complete: 0, refusal: None, data_after_close: false };
    let mut upgrade = false;
    for piece in pieces {
        let mut input = *piece;
        loop {
            if reader.stage() == Stage::Closed {
                outcome.data_after_close |= !input.is_empty();
            }
            match reader.next(&limits, &mut input) {
                Ok(Some(Event::Request(head))) => upgrade = head.wants_upgrade(),
                Ok(Some(Event::Body(_))) => {}
                Ok(Some(Event::End)) => {
                    outcome.complete += 1;
                    // What follows belongs to the other protocol.
                    if upgrade {
                        return outcome;
                    }
                }
                Ok(None) => break,
                Err(refusal) => {
                    outcome.refusal = Some(refusal);
                    return outcome;
                }
            }
        }
    }
    outcome
}

fn gets_verdict(case: &Case, outcome: &Outcome) -> bool {
    let accepted = outcome.complete > 0 && outcome.refusal.is_none();
    match case.expect.as_str() {
        "reject" => outcome.refusal.is_some() || outcome.data_after_close,
        // 501 and 505 answer a request that was understood: whether a server has a method or a version is its own affair.
        "accept" => accepted || outcome.refusal.is_some_and(|refusal| is_understood(&refusal)),
        "accept-or-nohost" => {
            let is_400 = outcome.refusal.is_some_and(|refusal| refusal.status() == Status::BadRequest);
            accepted || (is_400 && !has_host(&case.raw))
        }
        "incomplete" => outcome.complete == 0,
        "either" => true,
        other => panic!("{}: unknown verdict {other}", case.id),
    }
}

fn is_understood(refusal: &Refusal) -> bool {
    matches!(refusal.status(), Status::NotImplemented | Status::HttpVersionNotSupported)
}

fn has_host(raw: &[u8]) -> bool {
    raw.split(|&byte| byte == b'\n').any(|line| line.to_ascii_lowercase().starts_with(b"host:"))
}

#[test]
fn verdicts_all_servers_agree_on_are_ours() {
    let deviations: Vec<_> = cases()
        .into_iter()
        .filter(|case| case.agree == 5 && !gets_verdict(case, &outcome(&[&case.raw])))
        .map(|case| (case.id, case.expect))
        .collect();
    assert!(deviations.is_empty(), "{deviations:#?}");
}

/// Of the verdicts servers disagree on, ours deviate where a rule of the RFC is stricter than the corpus, nowhere else.
#[test]
fn other_verdicts_deviate_only_where_the_rfc_says_so() {
    let others: Vec<_> = cases().into_iter().filter(|case| case.agree < 5).collect();
    let deviations: Vec<_> =
        others.iter().filter(|case| !gets_verdict(case, &outcome(&[&case.raw]))).collect();
    for case in &deviations {
        println!("{} (agree {}) wants {}: {:?}", case.id, case.agree, case.expect, outcome(&[&case.raw]));
    }
    println!("{} of {} verdicts are ours", others.len() - deviations.len(), others.len());
    let ids: Vec<_> = deviations.iter().map(|case| case.id.as_str()).collect();
    let known: Vec<_> = DEVIATIONS.iter().map(|(id, _rule)| *id).collect();
    assert_eq!(ids, known);
    assert!(deviations.len() * 10 <= others.len(), "nine in ten are ours");
}

#[test]
fn any_split_gets_the_same_verdict() {
    for case in cases() {
        let whole = outcome(&[&case.raw]);
        for cut in 0..=case.raw.len() {
            let (front, back) = case.raw.split_at(cut);
            assert_eq!(outcome(&[front, back]), whole, "{} cut at byte {cut}", case.id);
        }
        let bytes: Vec<_> = case.raw.chunks(1).collect();
        assert_eq!(outcome(&bytes), whole, "{} byte by byte", case.id);
    }
}

const DEVIATIONS: &[(&str, &str)] = &[
    (
        "llhttp/request/invalid.md:69",
        "RFC 9110 section 9.1: any token may be a method; ANNOUNCE is not known, not wrong",
    ),
    ("llhttp/request/sample.md:317", "RFC 9112 appendix C.2.1: HTTP/0.9 is not expected of servers"),
];
