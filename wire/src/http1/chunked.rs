//! Takes the framing off a chunked request body (RFC 9112 §7.1). Discards extensions and trailers, keeps no bytes.

use super::syntax::{Mark, Syntax, is_token};
use super::{Limits, Refusal};

/// Where in the body the next byte is.
#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    /// Chunk size while it is read, then bytes of data still to come.
    chunk_left: u64,
    /// Bytes the rest of the body may have, the chunk being read not counted.
    body_left: u64,
    /// Bytes the extensions of all chunks may still have.
    extension_left: u32,
    /// Trailer bytes seen.
    trailer_bytes: usize,
    pub(super) keep_alive: bool,
}

#[derive(Debug)]
enum State {
    /// So many digits of the size are read.
    Size(u8),
    Extension(Extension),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers(Syntax),
}

#[derive(Debug, Clone, Copy)]
enum Extension {
    NameStart,
    Name,
    ValueStart,
    Value,
    Quoted,
    Escaped,
    /// Behind the closing quote.
    QuotedEnd,
}

/// What the decoder found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'i> {
    Data(&'i [u8]),
    End,
}

impl Chunked {
    pub(super) fn new(limits: &Limits, keep_alive: bool) -> Self {
        Self {
            state: State::Size(0),
            chunk_left: 0,
            body_left: limits.body_bytes_max,
            extension_left: EXTENSION_BYTES_MAX,
            trailer_bytes: 0,
            keep_alive,
        }
    }

    pub(super) fn next<'i>(
        &mut self,
        limits: &Limits,
        input: &mut &'i [u8],
    ) -> Result<Option<Piece<'i>>, Refusal> {
        while let [byte, rest @ ..] = *input {
            match &mut self.state {
                State::Data => return Ok(Some(Piece::Data(self.take_data(input)))),
                State::Trailers(syntax) => {
                    if trailers(syntax, &mut self.trailer_bytes, limits, input)? {
                        return Ok(Some(Piece::End));
                    }
                    continue;
                }
                State::Size(digits) => {
                    let digits = *digits;
                    self.state = self.size(digits, *byte)?;
                }
                State::Extension(extension) => {
                    let extension = *extension;
                    self.extension_left =
                        self.extension_left.checked_sub(1).ok_or(Refusal::ChunkExtension)?;
                    self.state = extension_step(extension, *byte)?;
                }
                State::SizeLf => {
                    expect(*byte, b'\n', Refusal::BareCr)?;
                    self.body_left =
                        self.body_left.checked_sub(self.chunk_left).ok_or(Refusal::BodyTooLarge)?;
                    self.state = match self.chunk_left {
                        0 => State::Trailers(Syntax::of_trailers(limits)),
                        _ => State::Data,
                    };
                }
                State::DataCr => {
                    expect(*byte, b'\r', Refusal::ChunkEnd)?;
                    self.state = State::DataLf;
                }
                State::DataLf => {
                    expect(*byte, b'\n', Refusal::ChunkEnd)?;
                    self.state = State::Size(0);
                }
            }
            *input = rest;
        }
        Ok(None)
    }

    fn size(&mut self, digits: u8, byte: u8) -> Result<State, Refusal> {
        if digits > 0 {
            match byte {
                b'\r' => return Ok(State::SizeLf),
                b'\n' => return Err(Refusal::BareLf),
                b';' => return Ok(State::Extension(Extension::NameStart)),
                _ => {}
            }
        } else {
            self.chunk_left = 0;
        }
        let digit = char::from(byte).to_digit(16).ok_or(Refusal::ChunkSize)?;
        if digits == SIZE_DIGITS_MAX {
            return Err(Refusal::ChunkSize);
        }
        self.chunk_left = self.chunk_left << 4 | u64::from(digit);
        if self.chunk_left > self.body_left {
            return Err(Refusal::BodyTooLarge);
        }
        Ok(State::Size(digits + 1))
    }

    fn take_data<'i>(&mut self, input: &mut &'i [u8]) -> &'i [u8] {
        let (data, rest, left) = take(input, self.chunk_left);
        *input = rest;
        self.chunk_left = left;
        if left == 0 {
            self.state = State::DataCr;
        }
        data
    }
}

/// Splits off what of `left` bytes has come: (bytes, rest, still to come).
pub(super) fn take(input: &[u8], left: u64) -> (&[u8], &[u8], u64) {
    let len = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
    let (taken, rest) = input.split_at(len);
    (taken, rest, left - len as u64)
}

/// `chunk-ext = *( ";" ext-name [ "=" ( token / quoted-string ) ] )`; "bad" white space is refused: nobody sends it.
fn extension_step(extension: Extension, byte: u8) -> Result<State, Refusal> {
    use Extension::{Escaped, Name, NameStart, Quoted, QuotedEnd, Value, ValueStart};
    let next = match (extension, byte) {
        (Name | Value | QuotedEnd, b'\r') => return Ok(State::SizeLf),
        (NameStart | Name | ValueStart | Value | Quoted | Escaped | QuotedEnd, b'\n') => {
            return Err(Refusal::BareLf);
        }
        (Name | Value | QuotedEnd, b';') => NameStart,
        (Name, b'=') => ValueStart,
        (ValueStart, b'"') => Quoted,
        (NameStart | Name, byte) if is_token(byte) => Name,
        (ValueStart | Value, byte) if is_token(byte) => Value,
        (Quoted, b'"') => QuotedEnd,
        (Quoted, b'\\') => Escaped,
        (Quoted | Escaped, b'\t' | b' '..=b'~' | 0x80..) => Quoted,
        (NameStart | Name | ValueStart | Value | Quoted | Escaped | QuotedEnd, _) => {
            return Err(Refusal::ChunkExtension);
        }
    };
    Ok(State::Extension(next))
}

/// Reads trailer fields; true once the empty line has come.
fn trailers(
    syntax: &mut Syntax,
    seen: &mut usize,
    limits: &Limits,
    input: &mut &[u8],
) -> Result<bool, Refusal> {
    let left = limits.head_bytes_max.saturating_sub(*seen);
    let window = &input[..input.len().min(left)];
    let mut at = 0;
    let mut ended = false;
    while let Some(mark) = syntax.advance(window, &mut at)? {
        if mark == Mark::End {
            ended = true;
            break;
        }
    }
    *seen += at;
    *input = &input[at..];
    if !ended && *seen >= limits.head_bytes_max {
        return Err(Refusal::HeadTooLarge);
    }
    Ok(ended)
}

fn expect(byte: u8, wanted: u8, refusal: Refusal) -> Result<(), Refusal> {
    if byte == wanted { Ok(()) } else { Err(refusal) }
}

/// 16 hexadecimal digits fill 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;
/// Extensions carry nothing for us; a body may waste this much on them (Node.js CVE-2024-22019 had no limit).
const EXTENSION_BYTES_MAX: u32 = 4096;
