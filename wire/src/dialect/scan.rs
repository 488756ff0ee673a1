//! Reading JSON without a tree: checks RFC 8259 completely and lends slices of the text, nothing is copied.
//! Never recurses (one bit per open container), never allocates except for a string that holds escapes.
//!
//! Stricter than the grammar in one point: an escape that is half of a surrogate pair is refused (RFC 8259
//! section 8.2, RFC 7493 section 2.1), because no receiver could turn it into text. Numbers may have any size and
//! precision; they are passed on, not converted. Duplicate keys are the caller's affair.

use std::borrow::Cow;

use super::string::{decode_escape, plain_run, short_plain_run, unescape};

/// Containers open at one point of a text, the outermost included. Real messages nest less than ten deep; the cap
/// keeps receivers with recursive parsers safe. Beyond it the text is refused with [`Fault::TooDeep`].
pub const DEPTH_MAX: u32 = 32;
const _: () = assert!(DEPTH_MAX < u64::BITS, "the open containers are the bits of one word");

/// Why a text is not acceptable JSON, and the byte at which that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} at byte {at}", fault.message())]
pub struct ScanError {
    /// What is wrong.
    pub fault: Fault,
    /// Offset in the text, at most its length.
    pub at: usize,
}

/// The kinds of [`ScanError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An object was demanded and the text starts with something else.
    NotAnObject,
    /// The text ends before its value does.
    Incomplete,
    /// A byte that the grammar does not allow here.
    Unexpected,
    /// A literal other than `true`, `false`, `null`, or a number such as `01`, `1.` or `+1`.
    BadToken,
    /// A byte below 0x20 inside a string (RFC 8259 section 7).
    BareControl,
    /// An unknown escape, or `\u` without four hexadecimal digits.
    BadEscape,
    /// Half of a surrogate pair.
    LoneSurrogate,
    /// More than [`DEPTH_MAX`] containers inside one another.
    TooDeep,
    /// Something other than white space after the value.
    Trailing,
}

/// The members of one object in their order. What lies behind the member returned last is not checked yet: only the
/// `None` at the end says that the whole text is good JSON.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    text: Text<'a>,
    at: usize,
    next: Next,
}

/// One member of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name; always a string.
    pub key: Value<'a>,
    /// What it stands for.
    pub value: Value<'a>,
}

/// A checked value, as the slice of the text it was read from, without the white space around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a>(&'a [u8]);

/// The elements of an array that was checked before.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    inside: Text<'a>,
    at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    FirstMember,
    FurtherMember,
    Nothing,
}

/// Checks that `text` is one JSON value with nothing but white space around it. For data that does not come from a
/// client's message: what an embedder or the HTTP interface publishes into channels of the native dialect.
pub fn document(text: &[u8]) -> Result<Value<'_>, ScanError> {
    let text = Text(text);
    let start = text.space(0);
    let end = text.value(start, 0)?;
    text.end(end)?;
    Ok(text.between(start, end))
}

impl<'a> Members<'a> {
    /// Starts at the object that `text` must be.
    pub fn of(text: &'a [u8]) -> Result<Self, ScanError> {
        let text = Text(text);
        let at = text.space(0);
        match text.byte(at) {
            Some(b'{') => Ok(Self { text, at: at + 1, next: Next::FirstMember }),
            Some(_) => Err(ScanError { fault: Fault::NotAnObject, at }),
            None => Err(ScanError { fault: Fault::Incomplete, at }),
        }
    }

    /// The next member; `None` after the last, when the whole text is known to be good.
    #[inline]
    pub fn next_member(&mut self) -> Result<Option<Member<'a>>, ScanError> {
        let text = self.text;
        let mut at = text.space(self.at);
        match (self.next, text.byte(at)) {
            (Next::Nothing, _) => return Ok(None),
            (Next::FirstMember | Next::FurtherMember, Some(b'}')) => {
                self.next = Next::Nothing;
                text.end(at + 1)?;
                return Ok(None);
            }
            (Next::FirstMember, _) => self.next = Next::FurtherMember,
            (Next::FurtherMember, Some(b',')) => at = text.space(at + 1),
            (Next::FurtherMember, _) => return Err(text.unexpected(at)),
        }
        let key_end = text.name(at)?;
        let key = text.between(at, key_end);
        let start = text.colon(key_end)?;
        self.at = text.value(start, 1)?;
        Ok(Some(Member { key, value: text.between(start, self.at) }))
    }
}

impl<'a> Value<'a> {
    /// The value's bytes exactly as they were sent.
    pub fn raw(self) -> &'a [u8] {
        self.0
    }

    /// The value is `null`.
    pub fn is_null(self) -> bool {
        self.0 == b"null"
    }

    /// The value is a number.
    pub fn is_number(self) -> bool {
        matches!(self.0, [b'-' | b'0'..=b'9', ..])
    }

    /// The bytes between the quotes of a string, escapes as they were sent; `None` for any other value.
    pub fn string_bytes(self) -> Option<&'a [u8]> {
        match self.0 {
            [b'"', inner @ .., b'"'] => Some(inner),
            [..] => None,
        }
    }

    /// The text of a string: borrowed, or built if it holds escapes. `None` if the value is not a string, or the
    /// caller broke its promise that the text is UTF-8.
    pub fn string(self) -> Option<Cow<'a, str>> {
        let inner = self.string_bytes()?;
        // The string was checked, so only an escape can end the plain run early.
        if plain_run(inner) == inner.len() {
            std::str::from_utf8(inner).ok().map(Cow::Borrowed)
        } else {
            unescape(inner).map(Cow::Owned)
        }
    }

    /// The elements of an array; `None` for any other value.
    pub fn elements(self) -> Option<Elements<'a>> {
        match self.0 {
            [b'[', inner @ .., b']'] => Some(Elements { inside: Text(inner), at: 0 }),
            [..] => None,
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let mut start = self.inside.space(self.at);
        if self.at > 0 && self.inside.byte(start) == Some(b',') {
            start = self.inside.space(start + 1);
        }
        // The array was checked as a whole, so the only failure left is that nothing follows.
        self.at = self.inside.value(start, 0).ok()?;
        Some(self.inside.between(start, self.at))
    }
}

impl Fault {
    /// What to tell the sender; holds nothing of the text.
    pub fn message(self) -> &'static str {
        match self {
            Self::NotAnObject => "text is not a JSON object",
            Self::Incomplete => "text ends before its JSON does",
            Self::Unexpected => "text is not JSON",
            Self::BadToken => "text holds a word or number that JSON does not know",
            Self::BareControl => "a string holds a control character that is not escaped",
            Self::BadEscape => "a string holds an escape that JSON does not know",
            Self::LoneSurrogate => "a string holds half of a surrogate pair",
            Self::TooDeep => "text nests deeper than 32 levels",
            Self::Trailing => "something follows the JSON object",
        }
    }
}

/// The text and the steps over it: each takes the place where something starts and returns the place after it.
#[derive(Clone, Copy, Debug)]
struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    #[inline]
    fn byte(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    #[inline]
    fn between(self, start: usize, end: usize) -> Value<'a> {
        Value(&self.0[start..end])
    }

    #[cold]
    fn unexpected(self, at: usize) -> ScanError {
        ScanError { fault: if at < self.0.len() { Fault::Unexpected } else { Fault::Incomplete }, at }
    }

    #[inline]
    fn space(self, mut at: usize) -> usize {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte(at) {
            at += 1;
        }
        at
    }

    fn end(self, at: usize) -> Result<(), ScanError> {
        let at = self.space(at);
        if at < self.0.len() { Err(ScanError { fault: Fault::Trailing, at }) } else { Ok(()) }
    }

    #[inline]
    fn colon(self, at: usize) -> Result<usize, ScanError> {
        let at = self.space(at);
        if self.byte(at) == Some(b':') { Ok(self.space(at + 1)) } else { Err(self.unexpected(at)) }
    }

    #[inline]
    fn name(self, at: usize) -> Result<usize, ScanError> {
        if self.byte(at) == Some(b'"') { self.string(at) } else { Err(self.unexpected(at)) }
    }

    /// `around` counts the containers the value stands in.
    #[inline]
    fn value(self, at: usize, around: u32) -> Result<usize, ScanError> {
        match self.byte(at) {
            Some(b'{' | b'[') => self.container(at, around),
            Some(_) | None => self.scalar(at),
        }
    }

    #[inline]
    fn scalar(self, at: usize) -> Result<usize, ScanError> {
        match self.byte(at) {
            Some(b'"') => self.string(at),
            Some(b'-' | b'0'..=b'9') => self.number(at),
            Some(b't') => self.literal(at, b"true"),
            Some(b'f') => self.literal(at, b"false"),
            Some(b'n') => self.literal(at, b"null"),
            Some(_) | None => Err(self.unexpected(at)),
        }
    }

    /// An object or array and all it holds; its bracket stands at `at`. Bit n of `objects` says whether the container
    /// n levels out is an object: what the call stack of a recursive reader would say.
    fn container(self, mut at: usize, around: u32) -> Result<usize, ScanError> {
        let mut objects = 0u64;
        let mut open = 0;
        loop {
            // Here a value stands.
            if let Some(bracket @ (b'{' | b'[')) = self.byte(at) {
                if around + open == DEPTH_MAX {
                    return Err(ScanError { fault: Fault::TooDeep, at });
                }
                objects = (objects << 1) | u64::from(bracket == b'{');
                open += 1;
                at = self.space(at + 1);
                if self.byte(at) != Some(closing_bracket(objects)) {
                    if bracket == b'{' {
                        at = self.colon(self.name(at)?)?;
                    }
                    continue;
                }
            } else {
                at = self.space(self.scalar(at)?);
            }
            // Here one ended; with it may end the containers it is the last of.
            loop {
                match self.byte(at) {
                    Some(b',') => break,
                    Some(bracket) if bracket == closing_bracket(objects) => {}
                    Some(_) | None => return Err(self.unexpected(at)),
                }
                objects >>= 1;
                open -= 1;
                if open == 0 {
                    return Ok(at + 1);
                }
                at = self.space(at + 1);
            }
            at = self.space(at + 1);
            if objects & 1 == 1 {
                at = self.colon(self.name(at)?)?;
            }
        }
    }

    /// Nearly all names and many values end within one comparison: that much is inline.
    #[inline]
    fn string(self, at: usize) -> Result<usize, ScanError> {
        let end = at + 1 + short_plain_run(&self.0[at + 1..]);
        if self.byte(end) == Some(b'"') { Ok(end + 1) } else { self.string_from(end) }
    }

    fn string_from(self, mut at: usize) -> Result<usize, ScanError> {
        loop {
            at += plain_run(&self.0[at..]);
            match self.byte(at) {
                Some(b'"') => return Ok(at + 1),
                Some(b'\\') => at = self.escape(at)?,
                Some(_) => return Err(ScanError { fault: Fault::BareControl, at }),
                None => return Err(ScanError { fault: Fault::Incomplete, at }),
            }
        }
    }

    /// One escape, or the two that make a surrogate pair.
    fn escape(self, at: usize) -> Result<usize, ScanError> {
        match decode_escape(&self.0[at..]) {
            Ok((_, len)) => Ok(at + len),
            Err(fault) => Err(ScanError { fault, at }),
        }
    }

    fn literal(self, at: usize, word: &[u8]) -> Result<usize, ScanError> {
        let rest = &self.0[at..];
        if rest.starts_with(word) {
            return Ok(at + word.len());
        }
        let fault = if word.starts_with(rest) { Fault::Incomplete } else { Fault::BadToken };
        Err(ScanError { fault, at })
    }

    /// RFC 8259 section 6: `-? (0 | [1-9][0-9]*) (\.[0-9]+)? ([eE][+-]?[0-9]+)?`.
    fn number(self, mut at: usize) -> Result<usize, ScanError> {
        if self.byte(at) == Some(b'-') {
            at += 1;
        }
        if self.byte(at) == Some(b'0') {
            at += 1;
            if let Some(b'0'..=b'9') = self.byte(at) {
                return Err(ScanError { fault: Fault::BadToken, at });
            }
        } else {
            at = self.digits(at)?;
        }
        if self.byte(at) == Some(b'.') {
            at = self.digits(at + 1)?;
        }
        if let Some(b'e' | b'E') = self.byte(at) {
            at += 1;
            if let Some(b'+' | b'-') = self.byte(at) {
                at += 1;
            }
            at = self.digits(at)?;
        }
        Ok(at)
    }

    /// At least one digit.
    #[inline]
    fn digits(self, start: usize) -> Result<usize, ScanError> {
        let mut at = start;
        while let Some(b'0'..=b'9') = self.byte(at) {
            at += 1;
        }
        if at > start {
            return Ok(at);
        }
        Err(ScanError { fault: if at < self.0.len() { Fault::BadToken } else { Fault::Incomplete }, at })
    }
}

#[inline]
fn closing_bracket(objects: u64) -> u8 {
    if objects & 1 == 1 { b'}' } else { b']' }
}
