//! JSON strings: where a plain run ends, what an escape means, how any text is written (RFC 8259 section 7).
//! Never looks at what a string is for.

use super::scan::Fault;

/// Appends `text` as a JSON string, quotes included. Escapes only what RFC 8259 demands: `"`, `\` and what is
/// below 0x20.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest.split_at(plain_run(rest));
        out.extend_from_slice(plain);
        let [byte, after @ ..] = special else { break };
        write_escape(out, *byte);
        rest = after;
    }
    out.push(b'"');
}

/// Bytes that [`write_string`] appends for `text`.
pub fn string_len(text: &str) -> usize {
    let mut len = text.len() + 2;
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = &rest[plain_run(rest)..] {
        len += if short_escape(*byte).is_some() { 1 } else { 5 };
        rest = after;
    }
    len
}

/// Appends `number` in decimal.
pub fn write_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; NUMBER_LEN_MAX];
    let mut start = NUMBER_LEN_MAX;
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Bytes that [`write_number`] appends for `number`.
pub fn number_len(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// The digits of hexadecimal numbers, lower case.
pub(super) const HEX: &[u8; 16] = b"0123456789abcdef";

const NUMBER_LEN_MAX: usize = 20;

/// One vector of the kind that every 64-bit processor has.
const BLOCK_LEN: usize = 16;
/// Four vectors: from there on a longer stretch gains nothing.
const STRETCH_LEN: usize = 64;

#[cold]
fn write_escape(out: &mut Vec<u8>, byte: u8) {
    match short_escape(byte) {
        Some(letter) => out.extend_from_slice(&[b'\\', letter]),
        None => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    }
}

fn short_escape(byte: u8) -> Option<u8> {
    match byte {
        b'"' | b'\\' => Some(byte),
        0x08 => Some(b'b'),
        0x09 => Some(b't'),
        0x0A => Some(b'n'),
        0x0C => Some(b'f'),
        0x0D => Some(b'r'),
        _ => None,
    }
}

/// Length of the run of bytes that stand for themselves in a string: everything but `"`, `\` and controls.
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    // To say that a stretch holds no end is cheaper than to say where the end is, so the end is sought in what is left.
    let (stretches, _) = bytes.as_chunks::<STRETCH_LEN>();
    let is_clean = |bytes: &[u8; STRETCH_LEN]| bytes.iter().fold(true, |clean, &byte| clean & is_plain(byte));
    let mut run = stretches.iter().take_while(|stretch| is_clean(stretch)).count() * STRETCH_LEN;
    loop {
        let step = short_plain_run(&bytes[run..]);
        run += step;
        if step < BLOCK_LEN {
            break;
        }
    }
    while bytes.get(run).is_some_and(|&byte| is_plain(byte)) {
        run += 1;
    }
    run
}

/// The same, but it may end early: looks only at what one comparison shows.
#[inline]
pub(super) fn short_plain_run(bytes: &[u8]) -> usize {
    if let Some(block) = bytes.first_chunk() {
        plain_run_of_block(block)
    } else if let Some(word) = bytes.first_chunk() {
        plain_run_of_word(*word)
    } else {
        0
    }
}

/// All bytes are compared without a branch, so the compiler uses vectors.
#[inline]
fn plain_run_of_block(block: &[u8; BLOCK_LEN]) -> usize {
    let mut marks = [0; BLOCK_LEN];
    for (mark, &byte) in marks.iter_mut().zip(block) {
        *mark = if is_plain(byte) { 0 } else { 0xFF };
    }
    u128::from_le_bytes(marks).trailing_zeros() as usize / 8
}

#[inline]
fn is_plain(byte: u8) -> bool {
    (byte >= 0x20) & (byte != b'"') & (byte != b'\\')
}

/// Marks the top bit of each byte that ends a run. A borrow can mark a byte wrongly only above one that is marked
/// rightly, so the lowest mark is always true.
#[inline]
fn plain_run_of_word(word: [u8; 8]) -> usize {
    const ONES: u64 = u64::MAX / 0xFF;
    const TOPS: u64 = ONES * 0x80;
    let word = u64::from_le_bytes(word);
    let quotes = word ^ (ONES * b'"' as u64);
    let backslashes = word ^ (ONES * b'\\' as u64);
    let marks = (quotes.wrapping_sub(ONES) & !quotes)
        | (backslashes.wrapping_sub(ONES) & !backslashes)
        | (word.wrapping_sub(ONES * 0x20) & !word);
    (marks & TOPS).trailing_zeros() as usize / 8
}

/// The character that the escape at the start of `bytes` stands for, and the number of bytes it takes.
pub(super) fn decode_escape(bytes: &[u8]) -> Result<(char, usize), Fault> {
    let short = match bytes.get(1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return decode_unicode(bytes),
        Some(_) => return Err(Fault::BadEscape),
        None => return Err(Fault::Incomplete),
    };
    Ok((short, 2))
}

fn decode_unicode(bytes: &[u8]) -> Result<(char, usize), Fault> {
    let first = hex4(&bytes[2..])?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, 6));
    }
    // Only surrogates are no characters: a high one, then `\u`, then a low one make one character.
    let second = match bytes[6..] {
        [b'\\', b'u', ref digits @ ..] if first < 0xDC00 => hex4(digits)?,
        [..] => return Err(Fault::LoneSurrogate),
    };
    if !(0xDC00..=0xDFFF).contains(&second) {
        return Err(Fault::LoneSurrogate);
    }
    let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
    char::from_u32(code).map(|character| (character, 12)).ok_or(Fault::LoneSurrogate)
}

fn hex4(bytes: &[u8]) -> Result<u32, Fault> {
    let digits = bytes.first_chunk::<4>().ok_or(Fault::BadEscape)?;
    digits.iter().try_fold(0, |value, &byte| {
        let digit = char::from(byte).to_digit(16).ok_or(Fault::BadEscape)?;
        Ok((value << 4) | digit)
    })
}

/// The text of the inside of a checked string; `None` if it is not UTF-8.
pub(super) fn unescape(mut rest: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(rest.len());
    while !rest.is_empty() {
        let (plain, escaped) = rest.split_at(memchr::memchr(b'\\', rest).unwrap_or(rest.len()));
        text.push_str(std::str::from_utf8(plain).ok()?);
        rest = escaped;
        if !rest.is_empty() {
            let (character, len) = decode_escape(rest).ok()?;
            text.push(character);
            rest = &rest[len..];
        }
    }
    Some(text)
}
