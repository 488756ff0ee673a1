//! The JSON scanner accepts exactly what serde_json accepts within our depth cap, lends the same slices and reads the
//! same strings; arbitrary bytes never panic. Texts are random by seed, and a failure prints the seed and the text.

#![expect(clippy::unwrap_used)]

mod random_json;

use std::borrow::Cow;
use std::collections::BTreeMap;

use highper_wire::dialect::native::{self, Command, Since};
use highper_wire::dialect::scan::{self, DEPTH_MAX, Fault, Member, Members, ScanError};
use random_json::{Random, write_object, write_value};
use serde_json::value::RawValue;

const SEED: u64 = 0x5eed_0001;
const MUTANTS: u64 = 1_000_000;
const TEXTS: u64 = 40_000;

#[test]
fn a_million_mutants_get_the_verdict_of_the_judge() {
    let mut random = Random(SEED);
    // Half of the mutants are of clean texts, half of texts that drifted far from any sense.
    let clean = seeds();
    let mut drifted = clean.clone();
    let (mut good, mut bad, mut requests) = (0u32, 0u32, 0u32);
    for round in 0..MUTANTS {
        let at = random.below(clean.len());
        let from = if round % 2 == 0 { &clean } else { &drifted };
        let mut text = from[at].clone();
        for _ in 0..=random.below(3) {
            mutate(&mut random, &mut text);
        }
        // Bytes that are not UTF-8 have no verdict, the transport never lets them in; they only must not panic.
        let scanned = scan::document(&text);
        let parsed = native::parse(&text);
        let Ok(utf8) = std::str::from_utf8(&text) else { continue };
        let verdict = judge(utf8);
        assert_eq!(scanned.is_ok(), verdict, "seed {SEED:#x} round {round}: {utf8:?} gave {scanned:?}");
        if let Ok(request) = parsed {
            assert!(verdict, "seed {SEED:#x} round {round}: {utf8:?}");
            assert_same_request(&request, utf8);
            requests += 1;
        }
        if verdict {
            good += 1;
            if text.len() < 400 {
                drifted[at] = text;
            }
        } else {
            bad += 1;
        }
    }
    let counts = format!("{good} good, {bad} bad, {requests} requests");
    assert!(good > 50_000 && bad > 50_000 && requests > 3_000, "vacuous: {counts}");
}

#[test]
fn members_of_random_objects_are_those_of_the_judge() {
    let mut random = Random(SEED);
    for round in 0..TEXTS {
        let mut text = String::new();
        write_object(&mut random, &mut text, 4);
        let members = members_of(&text)
            .unwrap_or_else(|error| panic!("seed {SEED:#x} round {round}: {error} in {text}"));
        let judged: Judged<'_> = serde_json::from_str(&text).unwrap();
        let ours: BTreeMap<_, _> =
            members.iter().map(|member| (member.key.string().unwrap(), member.value)).collect();
        assert!(ours.keys().eq(judged.keys()), "seed {SEED:#x} round {round}: {text}");
        for (member, value) in ours.into_values().zip(judged.into_values()) {
            assert!(std::ptr::eq(member.raw(), value.get().as_bytes()), "round {round}: {text}");
            let string: Option<String> = serde_json::from_str(value.get()).ok();
            assert_eq!(member.string(), string.map(Cow::Owned), "round {round}: {text}");
            let array: Option<Vec<&RawValue>> = serde_json::from_str(value.get()).ok();
            let elements = member.elements();
            assert_eq!(elements.is_some(), array.is_some(), "round {round}: {text}");
            let ours: Vec<_> = elements.into_iter().flatten().map(|element| element.raw()).collect();
            let theirs = array.iter().flatten();
            assert!(ours.into_iter().eq(theirs.map(|element| element.get().as_bytes())), "{text}");
        }
    }
}

#[test]
fn random_requests_are_read_as_the_judge_reads_them() {
    const TYPES: [&str; 13] = [
        "join",
        "leave",
        "publish",
        "broadcast",
        "to_users",
        "history",
        "presence",
        "presence_stats",
        "auth",
        "refresh",
        "ping",
        "pin\\u0067",
        "none",
    ];
    let mut random = Random(SEED);
    let (mut good, mut bad, mut with_since) = (0, 0, 0);
    for _ in 0..TEXTS {
        let mut members = vec![format!("\"type\":\"{}\"", TYPES[random.below(TYPES.len())])];
        for name in
            ["id", "channel", "data", "users", "since", "limit", "reverse", "token", "other", "ch\\u0061nnel"]
        {
            let value = match random.below(8) {
                0 => continue,
                1..4 if name == "users" => r#"[ "ann", "\u0062ob" ]"#.to_owned(),
                1..6 if name == "since" => random_since(&mut random),
                1..6 if name == "limit" => ["0", "7", "1000", "1001", "1.0"][random.below(5)].to_owned(),
                1..8 if name == "token" => r#""e30.e30""#.to_owned(),
                1..6 if name == "reverse" => ["true", "false"][random.below(2)].to_owned(),
                1..4 => r#""caf\u0065""#.to_owned(),
                _ => {
                    let mut value = String::new();
                    write_value(&mut random, &mut value, 2);
                    value
                }
            };
            // One in four gives a name twice, mostly the channel.
            if name != "ch\\u0061nnel" || random.below(4) == 0 {
                members.insert(random.below(members.len() + 1), format!("\"{name}\" : {value}"));
            }
        }
        let text = format!("{{{}}}", members.join(","));
        let expected = is_request(&text);
        let parsed = native::parse(text.as_bytes());
        assert_eq!(parsed.is_ok(), expected, "seed {SEED:#x}: {text} gave {parsed:?}");
        match parsed {
            Ok(request) => {
                assert_same_request(&request, &text);
                good += 1;
                let (Command::Join { since, .. } | Command::History { since, .. }) = request.command else {
                    continue;
                };
                with_since += u32::from(since.is_some());
            }
            Err(_) => bad += 1,
        }
    }
    let counts = format!("{good} good, {bad} bad, {with_since} with since");
    assert!(good > 5_000 && bad > 5_000 && with_since > 300, "vacuous: {counts}");
}

#[test]
fn every_proper_prefix_of_an_object_is_refused() {
    let mut random = Random(SEED);
    for _ in 0..500 {
        let mut text = String::new();
        write_object(&mut random, &mut text, 3);
        for end in 0..text.len() {
            assert!(
                scan::document(&text.as_bytes()[..end]).is_err(),
                "{}",
                &text.as_bytes()[..end].escape_ascii()
            );
        }
    }
}

#[test]
fn short_texts_of_the_grammars_letters_are_judged_completely() {
    const LETTERS: &[u8] = b"[]{},:\"\\u01-+.eE tn/ad8";
    let mut text = Vec::new();
    for len in 0..=5u32 {
        for number in 0..LETTERS.len().pow(len) {
            let mut rest = number;
            text.clear();
            for _ in 0..len {
                text.push(LETTERS[rest % LETTERS.len()]);
                rest /= LETTERS.len();
            }
            // Most texts fail at once in both; the judge is asked about the rest, and about one in eight anyway.
            let ours = scan::document(&text).is_ok();
            if ours || number % 8 == 0 {
                assert_eq!(ours, judge(std::str::from_utf8(&text).unwrap()), "{}", text.escape_ascii());
            }
        }
    }
}

#[test]
fn every_byte_is_judged_at_every_place_of_a_string() {
    let edges = [0x00, 0x1F, 0x20, 0x21, 0x22, 0x23, 0x5B, 0x5C, 0x5D, 0x7F];
    // Longer than every stretch, block and word that is compared at once, and their sum.
    for len in 0..200 {
        let bytes: Vec<u8> = if len < 20 { (0..0x80).collect() } else { edges.to_vec() };
        for place in 0..len {
            for &byte in &bytes {
                let mut text = vec![b'x'; len + 2];
                text[place + 1] = byte;
                text[0] = b'"';
                text[len + 1] = b'"';
                let utf8 = std::str::from_utf8(&text).unwrap();
                assert_eq!(scan::document(&text).is_ok(), judge(utf8), "{utf8:?}");
            }
        }
    }
}

#[test]
fn every_unit_of_utf16_is_judged_alone_and_in_pairs() {
    let edges = [0x0000, 0x0041, 0xD7FF, 0xD800, 0xDBFF, 0xDC00, 0xDFFF, 0xE000, 0xFFFF];
    let pairs =
        edges.iter().flat_map(|first| edges.map(|second| format!("\"\\u{first:04x}\\u{second:04X}\"")));
    let singles = (0..=0xFFFF).map(|unit| format!("\"\\u{unit:04x}\""));
    for text in pairs.chain(singles) {
        let ours = scan::document(text.as_bytes()).ok().and_then(|value| value.string());
        assert_eq!(ours.as_deref(), serde_json::from_str::<String>(&text).ok().as_deref(), "{text}");
    }
}

fn members_of(text: &str) -> Result<Vec<Member<'_>>, ScanError> {
    let mut members = Members::of(text.as_bytes())?;
    std::iter::from_fn(|| members.next_member().transpose()).collect()
}

/// Whether `text`, an object, holds a command by the rules of the dialect.
fn is_request(text: &str) -> bool {
    let judged: Judged<'_> = serde_json::from_str(text).unwrap();
    let members = members_of(text).unwrap();
    let once = |name: &str| members.iter().filter(|member| member.key.string().unwrap() == name).count() < 2;
    let string = |name: &str| serde_json::from_str::<String>(judged.get(name)?.get()).ok();
    let strings = |name: &str| serde_json::from_str::<Vec<String>>(judged.get(name)?.get()).ok();
    let id_is_good = judged.get("id").is_none_or(|id| {
        let raw = id.get();
        raw == "null" || raw.len() <= 64 && !raw.starts_with(['[', '{', 't', 'f'])
    });
    let printable =
        |name: &String| !name.is_empty() && name.bytes().all(|byte| (0x21..=0x7E).contains(&byte));
    let channel = string("channel").as_ref().is_some_and(printable);
    let data = judged.contains_key("data");
    let users = strings("users").is_some_and(|users| !users.is_empty() && !users.contains(&String::new()));
    let since = judged.get("since").is_none_or(|since| judged_since(since).is_some());
    let number = |name: &str| judged.get(name).map(|limit| serde_json::from_str::<u64>(limit.get()).ok());
    let limit = number("limit").is_none_or(|limit| limit.is_some_and(|limit| limit <= 1000));
    let reverse = judged.get("reverse").is_none_or(|raw| serde_json::from_str::<bool>(raw.get()).is_ok());
    let token = judged.contains_key("token").then(|| string("token").is_some_and(|token| !token.is_empty()));
    let command = match string("type").as_deref() {
        Some("join") => channel && since && token.is_none_or(|is_token| is_token),
        Some("auth" | "refresh") => token == Some(true),
        Some("history") => channel && since && limit && reverse,
        Some("leave" | "presence" | "presence_stats") => channel,
        Some("publish") => channel && data,
        Some("broadcast") => data,
        Some("to_users") => users && data,
        Some("ping") => true,
        Some(_) | None => false,
    };
    let fields = ["type", "id", "channel", "data", "users", "since", "limit", "reverse", "token"];
    command && id_is_good && fields.into_iter().all(once)
}

/// What `since` says, if it is one.
fn judged_since(raw: &RawValue) -> Option<Since> {
    let members = members_of(raw.get()).ok()?;
    let once = |name: &str| {
        members.iter().filter(|member| member.key.string().as_deref() == Some(name)).count() == 1
    };
    let judged: Judged<'_> = serde_json::from_str(raw.get()).ok()?;
    let epoch: String = serde_json::from_str(judged.get("epoch")?.get()).ok()?;
    // serde_json reads -0 as a whole number too.
    let offset = judged.get("offset")?.get();
    let offset = serde_json::from_str(offset).ok().filter(|_| !offset.starts_with('-'))?;
    let is_ours =
        !epoch.is_empty() && epoch.len() <= 16 && epoch.chars().all(|digit| digit.is_ascii_hexdigit());
    let number = if is_ours { u64::from_str_radix(&epoch, 16).unwrap() } else { u64::MAX };
    (epoch.len() <= 64 && once("epoch") && once("offset")).then_some(Since { epoch: number, offset })
}

fn assert_same_request(request: &native::Request<'_>, text: &str) {
    let judged: Judged<'_> = serde_json::from_str(text).unwrap();
    let field = |name: &str| judged.get(name).map(|value| value.get());
    let string = |name: &str| field(name).and_then(|raw| serde_json::from_str::<String>(raw).ok());
    let id = field("id").filter(|id| *id != "null");
    assert_eq!(request.id, id.map(str::as_bytes), "{text}");
    let (kind, channel, data) = match &request.command {
        Command::Auth { token } => {
            assert_eq!(string("token").as_deref(), Some(&**token), "{text}");
            ("auth", None, None)
        }
        Command::Refresh { token } => {
            assert_eq!(string("token").as_deref(), Some(&**token), "{text}");
            ("refresh", None, None)
        }
        Command::Join { channel, since, token } => {
            assert_eq!(string("token").as_deref(), token.as_deref(), "{text}");
            assert_eq!(*since, judged.get("since").and_then(|raw| judged_since(raw)), "{text}");
            ("join", Some(channel), None)
        }
        Command::History { channel, limit, since, reverse } => {
            assert_eq!(*since, judged.get("since").and_then(|raw| judged_since(raw)), "{text}");
            let told: Option<usize> = field("limit").map(|raw| serde_json::from_str(raw).unwrap());
            assert_eq!(*limit, told.unwrap_or(100), "{text}");
            assert_eq!(*reverse, field("reverse") == Some("true"), "{text}");
            ("history", Some(channel), None)
        }
        Command::Presence { channel } => ("presence", Some(channel), None),
        Command::PresenceStats { channel } => ("presence_stats", Some(channel), None),
        Command::Leave { channel } => ("leave", Some(channel), None),
        Command::Publish { channel, data } => ("publish", Some(channel), Some(*data)),
        Command::Broadcast { data } => ("broadcast", None, Some(*data)),
        Command::ToUsers { users, data } => {
            let theirs: Vec<String> = serde_json::from_str(field("users").unwrap()).unwrap();
            assert_eq!(users.len(), theirs.len(), "{text}");
            assert!(users.clone().eq(theirs), "{text}");
            ("to_users", None, Some(*data))
        }
        Command::Ping => ("ping", None, None),
    };
    assert_eq!(string("type").as_deref(), Some(kind), "{text}");
    if let Some(channel) = channel {
        assert_eq!(string("channel").as_deref(), Some(&**channel), "{text}");
    }
    if let Some(data) = data {
        assert_eq!(field("data").map(str::as_bytes), Some(data), "{text}");
    }
}

/// serde_json's verdict, and the depth cap. It refuses numbers beyond `f64` where it builds values and half surrogates
/// only there, so numbers are replaced by 0 before it builds one; the grammar of the numbers is judged without.
fn judge(text: &str) -> bool {
    if serde_json::from_str::<&RawValue>(text).is_err() {
        return false;
    }
    let (mut plain, mut depth, mut depth_seen) = (String::new(), 0, 0);
    let (mut in_string, mut escaped, mut in_number) = (false, false, false);
    for character in text.chars() {
        let numeric = !in_string && matches!(character, '0'..='9' | '-' | '+' | '.')
            || in_number && matches!(character, 'e' | 'E');
        if numeric && !in_number {
            plain.push('0');
        } else if !numeric {
            plain.push(character);
        }
        in_number = numeric;
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => in_string = !in_string,
            '[' | '{' if !in_string => depth += 1,
            ']' | '}' if !in_string => depth -= 1,
            _ => {}
        }
        depth_seen = depth_seen.max(depth);
    }
    serde_json::from_str::<serde_json::Value>(&plain).is_ok() && depth_seen <= DEPTH_MAX
}

#[test]
fn the_judge_itself_is_no_fool() {
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let good = ["1e999", "-0", r#"{"a":1,"a":2}"#, r#""\ud83d\ude00""#, &deep(32), r#""[[[[""#];
    let bad = ["", "01", "1.", r#""\ud83d""#, r#"[1e999,"\ude00"]"#, &deep(33), "nul", "[1,]", "\u{feff}1"];
    assert!(good.into_iter().all(judge));
    assert!(!bad.into_iter().any(judge));
    assert_eq!(scan::document(deep(33).as_bytes()).unwrap_err().fault, Fault::TooDeep);
}

/// The members of an object; of two with one name the last.
type Judged<'a> = BTreeMap<String, &'a RawValue>;

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = include_str!("transcripts/native.txt")
        .lines()
        .filter_map(|line| line.strip_prefix("> ").or(line.strip_prefix("< ")))
        .map(|text| text.as_bytes().to_vec())
        .collect();
    let mut random = Random(SEED ^ 1);
    for _ in 0..100 {
        let mut text = String::new();
        write_object(&mut random, &mut text, 4);
        seeds.push(text.into_bytes());
    }
    seeds
}

fn mutate(random: &mut Random, text: &mut Vec<u8>) {
    const FRAGMENTS: [&str; 34] = [
        "\"",
        "\\",
        "\\u",
        "\\ud83d",
        "\\ude00",
        "\\n",
        "\\/",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\n",
        "0",
        "1",
        "-",
        "+",
        ".",
        "e",
        "E",
        "true",
        "false",
        "null",
        "\"a\":1,",
        "\"id\":",
        "\"type\":\"ping\"",
        "[1,2]",
        "é",
        "😀",
        "\u{0}",
        "\u{1f}",
        "\u{7f}",
    ];
    let at = random.below(text.len() + 1);
    match random.below(6) {
        0 if at < text.len() => text[at] = random.next() as u8,
        1 if at < text.len() => drop(text.remove(at)),
        2 => text.truncate(at),
        3 => {
            let end = at + random.below(text.len() - at + 1).min(12);
            let copy = text[at..end].to_vec();
            let to = random.below(text.len() + 1);
            text.splice(to..to, copy);
        }
        _ => drop(text.splice(at..at, FRAGMENTS[random.below(FRAGMENTS.len())].bytes())),
    }
}

fn random_since(random: &mut Random) -> String {
    let mut members: Vec<String> = Vec::new();
    for name in ["epoch", "offset", "other", "\\u0065poch"] {
        let value = match random.below(24) {
            0 => continue,
            1 => r#""caf\u0065""#.to_owned(),
            2 => ["18446744073709551616", "-0", "1.0", "{}"][random.below(4)].to_owned(),
            _ if name == "offset" => ["0", "41", "18446744073709551615"][random.below(3)].to_owned(),
            _ => ["\"\"", "\"0004f21c\"", "\"+1\"", "\"00000000000000001\""][random.below(4)].to_owned(),
        };
        // One in four gives the epoch by another spelling, mostly twice.
        if name != "\\u0065poch" || random.below(4) == 0 {
            members.insert(random.below(members.len() + 1), format!(" \"{name}\":{value}"));
        }
    }
    format!("{{{}}}", members.join(","))
}
