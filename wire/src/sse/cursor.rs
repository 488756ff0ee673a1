//! The id of an event: an opaque cursor from which every channel of a stream resumes. Anyone can write one, so it
//! proves nothing: a position is a claim that the channel's home checks. Never knows which channels exist.
//!
//! base64url without padding of one version byte and, for each channel, a 16-bit tag and a 32-bit epoch (little-endian)
//! and the offset (LEB128). Tag and a mask over the epoch come from an unkeyed hash of the channel's name: the same on
//! every node. A channel that was not in the stream finds no entry, or (1 in 65,536) one whose epoch does not fit it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Bytes of the longest cursor, written or read: 128 channels with offsets below 2^35. Header fields of common
/// servers and proxies hold it.
pub const CURSOR_LEN_MAX: usize = 2048;

/// A cursor that was read: where the client stands in each channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    entries: Vec<Entry>,
}

/// What a cursor knows of a channel's name. A stream that keeps its channels' tags need not hash names for each event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    mask: u32,
    short: u16,
}

/// Why a text is no cursor. The stream begins as if nothing could be recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCursor {
    /// More than [`CURSOR_LEN_MAX`] bytes.
    #[error("a cursor has at most {CURSOR_LEN_MAX} bytes")]
    TooLong,
    /// Not base64url without padding, or not in the one form that has no bits left over.
    #[error("a cursor is base64url without padding")]
    NotBase64,
    /// Empty, or of a version that this release does not know.
    #[error("unknown version of a cursor")]
    Version,
    /// It ends inside an entry.
    #[error("the cursor is cut off")]
    Truncated,
    /// An offset of more than 64 bits, or with more bytes than it needs.
    #[error("bad offset in a cursor")]
    Offset,
}

impl Cursor {
    /// Reads what a client sent as `Last-Event-ID`.
    ///
    /// # Errors
    /// Everything but what [`write()`] writes, see [`BadCursor`].
    pub fn parse(text: &[u8]) -> Result<Self, BadCursor> {
        if text.len() > CURSOR_LEN_MAX {
            return Err(BadCursor::TooLong);
        }
        let mut bytes = [0; DECODED_LEN_MAX];
        let len = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).map_err(|_| BadCursor::NotBase64)?;
        let [VERSION, rest @ ..] = &bytes[..len] else { return Err(BadCursor::Version) };
        let mut rest = rest;
        let mut entries = Vec::with_capacity(rest.len() / ENTRY_LEN_MIN);
        while !rest.is_empty() {
            let (entry, after) = Entry::decode(rest)?;
            entries.push(entry);
            rest = after;
        }
        Ok(Self { entries })
    }

    /// Epoch and offset of the last publication that the client has of `channel`. `None` if the cursor does not say:
    /// no entry, or two entries with the tag of this channel. Then the client is told of a gap, and it never gets the
    /// position of another channel.
    pub fn position(&self, channel: impl Into<Tag>) -> Option<(u32, u64)> {
        let tag = channel.into();
        let mut same = self.entries.iter().filter(|entry| entry.short == tag.short);
        match (same.next(), same.next()) {
            (Some(entry), None) => Some((entry.masked_epoch ^ tag.mask, entry.offset)),
            (None | Some(_), _) => None,
        }
    }
}

/// Appends the cursor of a stream: for each channel its name or [`Tag`], epoch and offset. At most [`CURSOR_LEN_MAX`]
/// bytes; channels beyond that are left out, and a client that resumes is told of a gap in them. Allocates nothing but
/// room in `out`.
pub fn write<T: Into<Tag>>(out: &mut Vec<u8>, positions: impl Iterator<Item = (T, u32, u64)>) {
    let begin = out.len();
    out.push(VERSION);
    for (channel, epoch, offset) in positions {
        let (bytes, len) = Entry::encode(channel.into(), epoch, offset);
        let end = out.len() + len;
        if end - begin > DECODED_LEN_MAX {
            break;
        }
        // All of it, for a copy of fixed length is one instruction.
        out.extend_from_slice(&bytes);
        out.truncate(end);
    }
    encode_in_place(out, begin);
}

impl Tag {
    /// The tag of a channel's name: FNV-1a of 64 bits, the upper half folded to 16 bits.
    pub const fn of(channel: &str) -> Self {
        let name = channel.as_bytes();
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let mut at = 0;
        while at < name.len() {
            hash = (hash ^ name[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
            at += 1;
        }
        Self { mask: hash as u32, short: (hash >> 48 ^ hash >> 32) as u16 }
    }
}

impl From<&str> for Tag {
    fn from(channel: &str) -> Self {
        Self::of(channel)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    short: u16,
    masked_epoch: u32,
    offset: u64,
}

impl Entry {
    /// The bytes of an entry, and how many of them it has.
    fn encode(tag: Tag, epoch: u32, offset: u64) -> ([u8; ENTRY_LEN_MAX], usize) {
        let (mut digits, mut rest, mut len) = (0_u128, offset, 0);
        while rest >= 0x80 {
            digits |= u128::from(rest & 0x7f | 0x80) << (8 * len);
            rest >>= 7;
            len += 1;
        }
        digits |= u128::from(rest) << (8 * len);
        let entry = u128::from(tag.short) | u128::from(epoch ^ tag.mask) << 16 | digits << 48;
        (entry.to_le_bytes(), ENTRY_LEN_MIN + len)
    }

    /// The entry at the beginning of `bytes`, and what follows it.
    fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), BadCursor> {
        let (short, rest) = bytes.split_first_chunk().ok_or(BadCursor::Truncated)?;
        let (epoch, rest) = rest.split_first_chunk().ok_or(BadCursor::Truncated)?;
        let last = rest.iter().position(|byte| byte & 0x80 == 0).ok_or(BadCursor::Truncated)?;
        let (digits, after) = rest.split_at(last + 1);
        // One form for each offset: the last digit is not zero unless it is the only one.
        let overlong = digits.len() > 1 && digits.ends_with(&[0]);
        if overlong
            || digits.len() > OFFSET_LEN_MAX
            || digits.get(OFFSET_LEN_MAX - 1).is_some_and(|&high| high > 1)
        {
            return Err(BadCursor::Offset);
        }
        let offset = digits.iter().rev().fold(0, |offset, digit| offset << 7 | u64::from(digit & 0x7f));
        let entry =
            Self { short: u16::from_le_bytes(*short), masked_epoch: u32::from_le_bytes(*epoch), offset };
        Ok((entry, after))
    }
}

/// Replaces the bytes from `begin` on by their base64url, last group first: text is longer, so it never overwrites what
/// is still to be read. A cursor is written for each subscriber of each event; this needs neither a copy nor a buffer.
fn encode_in_place(out: &mut Vec<u8>, begin: usize) {
    let len = out.len() - begin;
    out.resize(begin + (len * 4).div_ceil(3), 0);
    let text = &mut out[begin..];
    let groups = len / 3;
    let rest = len % 3;
    if rest > 0 {
        let mut last = [0; 3];
        last[..rest].copy_from_slice(&text[groups * 3..len]);
        text[groups * 4..].copy_from_slice(&sextets(last)[..=rest]);
    }
    for group in (0..groups).rev() {
        let bytes = [text[group * 3], text[group * 3 + 1], text[group * 3 + 2]];
        text[group * 4..group * 4 + 4].copy_from_slice(&sextets(bytes));
    }
}

fn sextets([a, b, c]: [u8; 3]) -> [u8; 4] {
    let bits = u32::from_be_bytes([0, a, b, c]);
    [18, 12, 6, 0].map(|shift| ALPHABET[(bits >> shift & 63) as usize])
}

const VERSION: u8 = 1;

/// RFC 4648 §5.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Bytes that [`CURSOR_LEN_MAX`] characters stand for.
const DECODED_LEN_MAX: usize = CURSOR_LEN_MAX / 4 * 3;

/// 7 bits a byte.
const OFFSET_LEN_MAX: usize = 10;
const ENTRY_LEN_MIN: usize = 2 + 4 + 1;
const ENTRY_LEN_MAX: usize = 2 + 4 + OFFSET_LEN_MAX;
const _: () = assert!(size_of::<Tag>() == 8, "a stream keeps one for each channel");
