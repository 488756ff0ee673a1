//! A cursor resumes every channel of its stream, fits its limits, and nothing else passes for one (THREATS A1.4 S3).

mod seeded;

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use highper_wire::sse::cursor::CURSOR_LEN_MAX;
use highper_wire::sse::{self, BadCursor, Cursor, Tag};
use seeded::Random;

type Position = (String, u32, u64);

fn written(positions: &[Position]) -> Vec<u8> {
    let mut out = b"before".to_vec();
    let borrowed = positions.iter().map(|(channel, epoch, offset)| (&channel[..], *epoch, *offset));
    sse::cursor::write(&mut out, borrowed);
    out.strip_prefix(b"before").expect("appended").to_vec()
}

/// The text of a cursor with these bytes.
fn text(bytes: &[u8]) -> Vec<u8> {
    URL_SAFE_NO_PAD.encode(bytes).into_bytes()
}

/// Channels with tags of their own.
fn channels(count: usize) -> Vec<String> {
    let mut found = Vec::new();
    for name in (0..).map(|number| format!("room-{number}")) {
        if found.len() == count {
            break;
        }
        let mut with = found.clone();
        with.push(name.clone());
        if colliding(&with).is_none() {
            found.push(name);
        }
    }
    found
}

/// Two of these channels that share a tag: a cursor of both gives neither's position.
fn colliding(names: &[String]) -> Option<(String, String)> {
    let mut seen = HashMap::new();
    names
        .iter()
        .find_map(|name| seen.insert(short_tag(name), name).map(|other| (other.clone(), name.clone())))
}

/// The tag as the documentation describes it.
fn short_tag(name: &str) -> u16 {
    let hash = fnv_1a(name);
    (hash >> 48) as u16 ^ (hash >> 32) as u16
}

fn fnv_1a(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn every_position_comes_back() {
    for seed in 1..=2_000 {
        let random = &mut Random::new(seed);
        let positions: Vec<Position> = channels(1 + random.below(16))
            .into_iter()
            .map(|channel| (channel, random.next() as u32, random.next() >> random.below(64)))
            .collect();
        let text = written(&positions);
        let cursor = Cursor::parse(&text).unwrap();
        for (channel, epoch, offset) in &positions {
            assert_eq!(cursor.position(&channel[..]), Some((*epoch, *offset)), "seed {seed}: {channel}");
        }
        assert_eq!(URL_SAFE_NO_PAD.decode(&text).unwrap()[0], 1, "seed {seed}: canonical base64, version 1");
    }
}

#[test]
fn offsets_at_every_edge_come_back() {
    let edges = (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1]).chain([u64::MAX]);
    for offset in edges {
        for epoch in [0, 1, u32::MAX] {
            let cursor = Cursor::parse(&written(&[("chat".to_owned(), epoch, offset)])).unwrap();
            assert_eq!(cursor.position("chat"), Some((epoch, offset)));
        }
    }
}

#[test]
fn the_bytes_are_the_same_on_every_node_and_in_every_release() {
    let (hash, epoch) = (fnv_1a("chat"), 0x0102_0304);
    let mut bytes = vec![1];
    bytes.extend(short_tag("chat").to_le_bytes());
    bytes.extend((hash as u32 ^ epoch).to_le_bytes());
    bytes.extend([0x80 | 0x2c, 0x02]);
    assert_eq!(written(&[("chat".to_owned(), epoch, 300)]), text(&bytes));
    assert_eq!(written(&[("chat".to_owned(), epoch, 300)]), b"ATJ_jzdZCqwC");
}

#[test]
fn a_tag_does_for_a_name() {
    let mut by_tag = Vec::new();
    sse::cursor::write(&mut by_tag, [(Tag::of("a"), 1, 2), (Tag::of("b"), 3, 4)].into_iter());
    assert_eq!(by_tag, written(&[("a".to_owned(), 1, 2), ("b".to_owned(), 3, 4)]));
    assert_eq!(Cursor::parse(&by_tag).unwrap().position(Tag::of("b")), Some((3, 4)));
}

#[test]
fn sixteen_channels_fit_256_bytes() {
    let largest = |count, offset: u64| {
        let positions: Vec<_> =
            channels(count).into_iter().map(|channel| (channel, u32::MAX, offset)).collect();
        written(&positions).len()
    };
    assert_eq!(largest(16, (1 << 35) - 1), 236);
    assert!(largest(16, 1 << 35) <= 258);
    assert!(largest(128, (1 << 35) - 1) <= CURSOR_LEN_MAX);
}

#[test]
fn what_does_not_fit_is_left_out_and_the_rest_resumes() {
    let positions: Vec<Position> = channels(200)
        .into_iter()
        .enumerate()
        .map(|(at, name)| (name, at as u32, u64::MAX - at as u64))
        .collect();
    let text = written(&positions);
    assert!(text.len() <= CURSOR_LEN_MAX && text.len() > CURSOR_LEN_MAX - 22, "{} bytes", text.len());
    let cursor = Cursor::parse(&text).unwrap();
    let fitting = (CURSOR_LEN_MAX / 4 * 3 - 1) / 16;
    for (at, (channel, epoch, offset)) in positions.iter().enumerate() {
        let wanted = (at < fitting).then_some((*epoch, *offset));
        assert_eq!(cursor.position(&channel[..]), wanted, "{channel}");
    }
}

#[test]
fn an_unknown_channel_has_no_position() {
    let [a, b, c]: [String; 3] = channels(3).try_into().unwrap();
    let cursor = Cursor::parse(&written(&[(a.clone(), 1, 2), (b.clone(), 3, 4)])).unwrap();
    assert_eq!(cursor.position(&c[..]), None);
    assert_eq!(Cursor::parse(&written(&[])).unwrap().position(&a[..]), None);
}

#[test]
fn s3_channels_with_one_tag_never_get_each_others_position() {
    let names: Vec<_> = (0..2_000).map(|number| format!("news-{number}")).collect();
    let (a, b) = colliding(&names).expect("2,000 names and 65,536 tags");
    // Both in the stream: nobody knows whose the entries are.
    let both =
        Cursor::parse(&written(&[(a.clone(), 1, 2), (b.clone(), 3, 4), ("c".to_owned(), 5, 6)])).unwrap();
    assert_eq!((both.position(&a[..]), both.position(&b[..])), (None, None));
    assert_eq!(both.position("c"), Some((5, 6)));
    // One of them, and the client comes back for the other: an epoch that is not a's, so no home takes it.
    let one = Cursor::parse(&written(&[(a.clone(), 1, 2)])).unwrap();
    let (epoch, _) = one.position(&b[..]).unwrap();
    assert_ne!(epoch, 1);
    assert_eq!(epoch, 1 ^ fnv_1a(&a) as u32 ^ fnv_1a(&b) as u32);
}

#[test]
fn tags_are_spread_like_random_numbers() {
    for prefix in ["", "room-", "user:", "a-much-longer-namespace:with/a/path/"] {
        let names: Vec<_> = (0..20_000).map(|number| format!("{prefix}{number}")).collect();
        let mut counts = vec![0_u64; 1 << 16];
        names.iter().for_each(|name| counts[usize::from(short_tag(name))] += 1);
        let pairs: u64 = counts.iter().map(|count| count * count.saturating_sub(1) / 2).sum();
        // 20,000² / 2 / 65,536 = 3,052 are expected of a fair draw.
        assert!(pairs < 4_000, "{pairs} pairs of {prefix:?} share a tag");
    }
}

#[test]
fn s3_nothing_else_is_a_cursor() {
    let entry = [1, 0x35, 0x49, 0, 0, 0, 0];
    let offset = |digits: &[u8]| text(&[&entry[..], digits].concat());
    let cases: Vec<(Vec<u8>, BadCursor)> = vec![
        (b"".to_vec(), BadCursor::Version),
        (vec![b'A'; 1 << 20], BadCursor::TooLong),
        (vec![b'A'; CURSOR_LEN_MAX + 1], BadCursor::TooLong),
        (b"AQ\0".to_vec(), BadCursor::NotBase64),
        (b"\0".to_vec(), BadCursor::NotBase64),
        (b"AQ==".to_vec(), BadCursor::NotBase64),
        (b"AQ=".to_vec(), BadCursor::NotBase64),
        (b"AR".to_vec(), BadCursor::NotBase64),
        (b"A".to_vec(), BadCursor::NotBase64),
        (b"AQ ".to_vec(), BadCursor::NotBase64),
        (b" AQ".to_vec(), BadCursor::NotBase64),
        (b"AQ\n".to_vec(), BadCursor::NotBase64),
        (b"AT+/".to_vec(), BadCursor::NotBase64),
        (b"AQ\xff\xfe".to_vec(), BadCursor::NotBase64),
        (b"1700000000:42".to_vec(), BadCursor::NotBase64),
        (text(&[0]), BadCursor::Version),
        (text(&[2, 0x35, 0x49, 0, 0, 0, 0, 1]), BadCursor::Version),
        (b"not-a-cursor".to_vec(), BadCursor::Version),
        (vec![b'A'; CURSOR_LEN_MAX], BadCursor::Version),
        (text(&entry[..2]), BadCursor::Truncated),
        (text(&entry[..3]), BadCursor::Truncated),
        (text(&entry[..6]), BadCursor::Truncated),
        (text(&entry), BadCursor::Truncated),
        (offset(&[0x80]), BadCursor::Truncated),
        (offset(&[0xff; 200]), BadCursor::Truncated),
        (offset(&[1, 0]), BadCursor::Truncated),
        (offset(&[0x80, 0]), BadCursor::Offset),
        (offset(&[0xff, 0x80, 0]), BadCursor::Offset),
        (offset(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]), BadCursor::Offset),
        (offset(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]), BadCursor::Offset),
    ];
    for (text, error) in cases {
        let shown = String::from_utf8_lossy(&text[..text.len().min(40)]);
        assert_eq!(Cursor::parse(&text), Err(error), "{shown:?}");
    }
    let largest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    assert!(Cursor::parse(&offset(&largest)).is_ok());
    assert!(Cursor::parse(&offset(&[0])).is_ok());
}

#[test]
fn s3_the_longest_cursor_is_read() {
    // 1 + 219 × 7 bytes, and two longer offsets to fill 1,536.
    let mut bytes = vec![1];
    for tag in 0..219_u16 {
        bytes.extend(tag.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(if tag < 2 { &[0x80, 1][..] } else { &[1][..] });
    }
    assert_eq!(bytes.len(), CURSOR_LEN_MAX / 4 * 3);
    let text = text(&bytes);
    assert_eq!(text.len(), CURSOR_LEN_MAX);
    assert!(Cursor::parse(&text).is_ok());
}

#[test]
fn s3_a_cursor_that_was_cut_gives_no_other_position() {
    let positions: Vec<Position> = channels(8).into_iter().map(|channel| (channel, 7, 1_000_000)).collect();
    let text = written(&positions);
    for end in 0..text.len() {
        if let Ok(cursor) = Cursor::parse(&text[..end]) {
            for (channel, epoch, offset) in &positions {
                let position = cursor.position(&channel[..]);
                assert!(position.is_none() || position == Some((*epoch, *offset)), "cut at {end}");
            }
        }
    }
}

#[test]
fn s3_no_two_texts_are_one_cursor() {
    let positions: Vec<Position> = channels(8).into_iter().map(|channel| (channel, 7, 1_000_000)).collect();
    let text = written(&positions);
    let cursor = Cursor::parse(&text).unwrap();
    let mut read = 0;
    for seed in 1..=50_000 {
        let random = &mut Random::new(seed);
        let mut changed = text.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(changed.len());
            changed[at] = random.next() as u8;
        }
        let parsed = Cursor::parse(&changed);
        read += usize::from(parsed.is_ok());
        assert!(changed == text || parsed.as_ref() != Ok(&cursor), "seed {seed}: {changed:?}");
    }
    assert!(read > 1_000, "{read} changed cursors were read");
}
