//! The grammar of a request head, byte by byte: request line, field lines, empty line (RFC 9112 §2 to §5), strict.
//! Looks at each byte once, however the head is split. Keeps no bytes and knows no field's meaning.

use super::{Limits, Refusal};

/// Walks over the bytes of a head, or of the trailers of a chunked body.
#[derive(Debug, Clone)]
pub(super) struct Syntax {
    state: State,
    method_left: usize,
    target_left: usize,
    fields_left: usize,
}

/// What the byte just read has completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The space behind the method.
    Method,
    /// The space behind the target.
    Target,
    /// The CRLF of the request line.
    RequestLine,
    /// The CRLF of a field line.
    Field,
    /// The empty line.
    End,
}

#[derive(Debug, Clone, Copy)]
enum State {
    MethodStart,
    Method,
    TargetStart,
    Target,
    /// So many bytes of `HTTP/1.x` are read.
    Version(usize),
    FieldStart,
    Name,
    Value,
    /// CR is read; LF completes the line.
    Lf(Mark),
}

impl Syntax {
    /// At the first byte of a request line.
    pub(super) fn of_head(limits: &Limits) -> Self {
        Self {
            state: State::MethodStart,
            method_left: METHOD_BYTES_MAX,
            target_left: limits.target_bytes_max,
            fields_left: limits.headers_max,
        }
    }

    /// At the first byte of a field section that has no request line.
    pub(super) fn of_trailers(limits: &Limits) -> Self {
        Self { state: State::FieldStart, ..Self::of_head(limits) }
    }

    /// Reads `bytes` from `at` on until something is complete (`at` is then behind it) or the bytes are used up.
    pub(super) fn advance(&mut self, bytes: &[u8], at: &mut usize) -> Result<Option<Mark>, Refusal> {
        while let Some(&byte) = bytes.get(*at) {
            let mark = match self.state {
                State::MethodStart => self.method_start(byte)?,
                State::Method => self.method(bytes, at)?,
                State::TargetStart => self.target_start(byte)?,
                State::Target => self.target(bytes, at)?,
                State::Version(seen) => self.version(seen, byte, at)?,
                State::FieldStart => self.field_start(byte, at)?,
                State::Name => self.name(bytes, at)?,
                State::Value => self.value(bytes, at)?,
                State::Lf(mark) => self.line_feed(mark, byte, at)?,
            };
            if mark.is_some() {
                return Ok(mark);
            }
        }
        Ok(None)
    }

    /// True while the target is read: a head that grows too large there has a target that is too long.
    pub(super) fn is_in_target(&self) -> bool {
        matches!(self.state, State::TargetStart | State::Target)
    }

    fn method_start(&mut self, byte: u8) -> Result<Option<Mark>, Refusal> {
        if byte == TLS_HANDSHAKE_RECORD {
            return Err(Refusal::Tls);
        }
        if !is_token(byte) {
            return Err(line_end_or(byte, Refusal::Method));
        }
        self.state = State::Method;
        Ok(None)
    }

    fn method(&mut self, bytes: &[u8], at: &mut usize) -> Result<Option<Mark>, Refusal> {
        let len = run(&bytes[*at..], TOKEN);
        self.method_left = self.method_left.checked_sub(len).ok_or(Refusal::MethodTooLong)?;
        self.space_behind(bytes, at, len, Refusal::Method, State::TargetStart, Mark::Method)
    }

    fn target_start(&mut self, byte: u8) -> Result<Option<Mark>, Refusal> {
        // RFC 9112 §3.2: "/" starts the origin-form, a letter the absolute-form, "*" is the asterisk-form.
        if !(byte == b'/' || byte == b'*' || byte.is_ascii_alphabetic()) {
            return Err(line_end_or(byte, Refusal::Target));
        }
        self.state = State::Target;
        Ok(None)
    }

    fn target(&mut self, bytes: &[u8], at: &mut usize) -> Result<Option<Mark>, Refusal> {
        let len = run(&bytes[*at..], TARGET);
        self.target_left = self.target_left.checked_sub(len).ok_or(Refusal::TargetTooLong)?;
        // A line that ends here is a request of HTTP/0.9.
        let is_09 = bytes.get(*at + len) == Some(&b'\r');
        let refusal = if is_09 { Refusal::Version } else { Refusal::Target };
        self.space_behind(bytes, at, len, refusal, State::Version(0), Mark::Target)
    }

    fn space_behind(
        &mut self,
        bytes: &[u8],
        at: &mut usize,
        len: usize,
        refusal: Refusal,
        next: State,
        mark: Mark,
    ) -> Result<Option<Mark>, Refusal> {
        *at += len;
        match bytes.get(*at) {
            None => Ok(None),
            Some(b' ') => {
                *at += 1;
                self.state = next;
                Ok(Some(mark))
            }
            Some(&other) => Err(line_end_or(other, refusal)),
        }
    }

    fn version(&mut self, seen: usize, byte: u8, at: &mut usize) -> Result<Option<Mark>, Refusal> {
        self.state = match (seen, byte) {
            (MINOR_AT, b'0' | b'1') => State::Version(seen + 1),
            (VERSION_LEN, b'\r') => State::Lf(Mark::RequestLine),
            (_, b'\n') => return Err(Refusal::BareLf),
            (MAJOR_AT | MINOR_AT, b'0'..=b'9') if byte != VERSION[seen] => {
                return Err(Refusal::VersionUnsupported);
            }
            (0..MINOR_AT, _) if byte == VERSION[seen] => State::Version(seen + 1),
            // Another protocol of the same form, such as RTSP/1.0: understood, and not spoken here.
            (0, b'A'..=b'Z') => return Err(Refusal::VersionUnsupported),
            (_, _) => return Err(Refusal::Version),
        };
        *at += 1;
        Ok(None)
    }

    fn field_start(&mut self, byte: u8, at: &mut usize) -> Result<Option<Mark>, Refusal> {
        match byte {
            b'\r' => {
                *at += 1;
                self.state = State::Lf(Mark::End);
            }
            b' ' | b'\t' => return Err(Refusal::Fold),
            b':' => return Err(Refusal::NameEmpty),
            b'\n' => return Err(Refusal::BareLf),
            _ if is_token(byte) => {
                self.fields_left = self.fields_left.checked_sub(1).ok_or(Refusal::TooManyFields)?;
                self.state = State::Name;
            }
            _ => return Err(Refusal::Name),
        }
        Ok(None)
    }

    fn name(&mut self, bytes: &[u8], at: &mut usize) -> Result<Option<Mark>, Refusal> {
        *at += run(&bytes[*at..], TOKEN);
        match bytes.get(*at) {
            None => return Ok(None),
            Some(b':') => self.state = State::Value,
            Some(b' ' | b'\t') => return Err(Refusal::NameSpace),
            Some(&other) => return Err(line_end_or(other, Refusal::Name)),
        }
        *at += 1;
        Ok(None)
    }

    fn value(&mut self, bytes: &[u8], at: &mut usize) -> Result<Option<Mark>, Refusal> {
        *at += run(&bytes[*at..], VALUE);
        match bytes.get(*at) {
            None => return Ok(None),
            Some(b'\r') => self.state = State::Lf(Mark::Field),
            Some(&other) => return Err(line_end_or(other, Refusal::Value)),
        }
        *at += 1;
        Ok(None)
    }

    fn line_feed(&mut self, mark: Mark, byte: u8, at: &mut usize) -> Result<Option<Mark>, Refusal> {
        if byte != b'\n' {
            return Err(Refusal::BareCr);
        }
        *at += 1;
        self.state = State::FieldStart;
        Ok(Some(mark))
    }
}

/// True for the characters of a token (RFC 9110 §5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    CLASSES[byte as usize] & TOKEN != 0
}

fn run(bytes: &[u8], class: u8) -> usize {
    bytes.iter().position(|&byte| CLASSES[byte as usize] & class == 0).unwrap_or(bytes.len())
}

fn line_end_or(byte: u8, refusal: Refusal) -> Refusal {
    if byte == b'\n' { Refusal::BareLf } else { refusal }
}

/// Longest method in the IANA registry has 17 bytes (`UPDATEREDIRECTREF`); no need to read more than double.
pub(super) const METHOD_BYTES_MAX: usize = 32;
/// First byte of a TLS ClientHello (RFC 8446 §5.1).
const TLS_HANDSHAKE_RECORD: u8 = 22;
const VERSION: &[u8; VERSION_LEN] = b"HTTP/1.1";
const VERSION_LEN: usize = 8;
const MAJOR_AT: usize = 5;
const MINOR_AT: usize = 7;

const TOKEN: u8 = 1;
/// Bytes of a target: visible ASCII. Wider than RFC 3986 (browsers send `|` and `"`), but no UTF-8.
const TARGET: u8 = 2;
/// Bytes of a field value: tab, space, visible ASCII, obs-text (RFC 9110 §5.5).
const VALUE: u8 = 4;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        if b.is_ascii_alphanumeric() {
            table[byte] |= TOKEN;
        }
        if b.is_ascii_graphic() {
            table[byte] |= TARGET;
        }
        if b == b'\t' || b == b' ' || b.is_ascii_graphic() || b >= 0x80 {
            table[byte] |= VALUE;
        }
        byte += 1;
    }
    let marks = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] |= TOKEN;
        at += 1;
    }
    table
}
