//! Reading JSON without a tree: checks RFC 8259 completely and lends slices of the text, nothing is copied.
//! Never recurses (one bit per open container), never allocates except for a string that holds escapes.
//!
//! Stricter than the grammar in one point: an escape that is half of a surrogate pair is refused (RFC 8259
//! section 8.2, RFC 7493 section 2.1), because no receiver could turn it into text. Numbers may have any size and
//! precision; they are passed on, not converted. Duplicate keys are the caller's affair.

use std::borrow::Cow;

use super::string::{decode_escape, plain_run, unescape};

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

/// The members of one object in their order: `Members::of(text)?`, then iterate to the end. What lies behind the
/// member returned last is not checked yet; only `None` says that the whole text is good JSON.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    cursor: Cursor<'a>,
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
    cursor: Cursor<'a>,
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
    let mut cursor = Cursor { text, at: 0 };
    cursor.skip_space();
    let value = cursor.value(0)?;
    cursor.end()?;
    Ok(value)
}

impl<'a> Members<'a> {
    /// Starts at the object that `text` must be.
    pub fn of(text: &'a [u8]) -> Result<Self, ScanError> {
        let mut cursor = Cursor { text, at: 0 };
        cursor.skip_space();
        match cursor.peek() {
            Some(b'{') => cursor.at += 1,
            Some(_) => return Err(cursor.fault(Fault::NotAnObject)),
            None => return Err(cursor.fault(Fault::Incomplete)),
        }
        Ok(Self { cursor, next: Next::FirstMember })
    }

    fn step(&mut self) -> Result<Option<Member<'a>>, ScanError> {
        let cursor = &mut self.cursor;
        cursor.skip_space();
        match (self.next, cursor.peek()) {
            (Next::Nothing, _) => return Ok(None),
            (Next::FirstMember | Next::FurtherMember, Some(b'}')) => {
                self.next = Next::Nothing;
                cursor.at += 1;
                cursor.end()?;
                return Ok(None);
            }
            (Next::FirstMember, _) => {}
            (Next::FurtherMember, Some(b',')) => {
                cursor.at += 1;
                cursor.skip_space();
            }
            (Next::FurtherMember, _) => return Err(cursor.unexpected()),
        }
        self.next = Next::FurtherMember;
        let start = cursor.at;
        cursor.name()?;
        let key = Value(cursor.since(start));
        cursor.colon()?;
        let value = cursor.value(1)?;
        Ok(Some(Member { key, value }))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<Member<'a>, ScanError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.next = Next::Nothing;
        }
        step.transpose()
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
        if memchr::memchr(b'\\', inner).is_some() {
            unescape(inner).map(Cow::Owned)
        } else {
            std::str::from_utf8(inner).ok().map(Cow::Borrowed)
        }
    }

    /// The elements of an array; `None` for any other value.
    pub fn elements(self) -> Option<Elements<'a>> {
        match self.0 {
            [b'[', inner @ .., b']'] => Some(Elements { cursor: Cursor { text: inner, at: 0 } }),
            [..] => None,
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.cursor.skip_space();
        if self.cursor.at > 0 && self.cursor.peek() == Some(b',') {
            self.cursor.at += 1;
            self.cursor.skip_space();
        }
        // The array was checked as a whole, so the only failure left is that nothing follows.
        self.cursor.value(0).ok()
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

#[derive(Clone, Copy, Debug)]
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn since(&self, start: usize) -> &'a [u8] {
        &self.text[start..self.at]
    }

    fn fault(&self, fault: Fault) -> ScanError {
        ScanError { fault, at: self.at }
    }

    fn unexpected(&self) -> ScanError {
        self.fault(if self.at < self.text.len() { Fault::Unexpected } else { Fault::Incomplete })
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn end(&mut self) -> Result<(), ScanError> {
        self.skip_space();
        if self.at < self.text.len() { Err(self.fault(Fault::Trailing)) } else { Ok(()) }
    }

    fn colon(&mut self) -> Result<(), ScanError> {
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.unexpected());
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn name(&mut self) -> Result<(), ScanError> {
        if self.peek() == Some(b'"') { self.string() } else { Err(self.unexpected()) }
    }

    /// Steps over one value and returns it. `around` counts the containers it stands in.
    fn value(&mut self, around: u32) -> Result<Value<'a>, ScanError> {
        let start = self.at;
        if !self.scalar_or_open()? {
            self.containers(around)?;
        }
        Ok(Value(self.since(start)))
    }

    /// Steps over a scalar and says true, or says false and stays before the bracket of a container.
    #[inline]
    fn scalar_or_open(&mut self) -> Result<bool, ScanError> {
        match self.peek() {
            Some(b'"') => self.string()?,
            Some(b'{' | b'[') => return Ok(false),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.literal(b"true")?,
            Some(b'f') => self.literal(b"false")?,
            Some(b'n') => self.literal(b"null")?,
            Some(_) | None => return Err(self.unexpected()),
        }
        Ok(true)
    }

    /// Steps over a container and all it holds. Bit n of `objects` says whether the container n levels out is an
    /// object: what the call stack of a recursive reader would say.
    fn containers(&mut self, around: u32) -> Result<(), ScanError> {
        let mut objects = 0u64;
        let mut open = 0;
        loop {
            // Here a value stands.
            if !self.scalar_or_open()? {
                if around + open == DEPTH_MAX {
                    return Err(self.fault(Fault::TooDeep));
                }
                let is_object = self.peek() == Some(b'{');
                objects = (objects << 1) | u64::from(is_object);
                open += 1;
                self.at += 1;
                self.skip_space();
                if self.peek() != Some(closing_bracket(objects)) {
                    if is_object {
                        self.name()?;
                        self.colon()?;
                    }
                    continue;
                }
                self.at += 1;
                objects >>= 1;
                open -= 1;
            }
            // Here a value ended.
            loop {
                if open == 0 {
                    return Ok(());
                }
                self.skip_space();
                match self.peek() {
                    Some(b',') => break,
                    Some(byte) if byte == closing_bracket(objects) => self.at += 1,
                    Some(_) | None => return Err(self.unexpected()),
                }
                objects >>= 1;
                open -= 1;
            }
            self.at += 1;
            self.skip_space();
            if objects & 1 == 1 {
                self.name()?;
                self.colon()?;
            }
        }
    }

    /// Steps over a string; stands on its first quote.
    #[inline]
    fn string(&mut self) -> Result<(), ScanError> {
        self.at += 1;
        loop {
            self.at += plain_run(&self.text[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return Err(self.fault(Fault::BareControl)),
                None => return Err(self.fault(Fault::Incomplete)),
            }
        }
    }

    /// Steps over one escape, or the two that make a surrogate pair.
    fn escape(&mut self) -> Result<(), ScanError> {
        let rest = &self.text[self.at..];
        let (_, len) = decode_escape(rest).map_err(|fault| self.fault(fault))?;
        self.at += len;
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), ScanError> {
        let rest = &self.text[self.at..];
        if rest.starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.fault(if word.starts_with(rest) { Fault::Incomplete } else { Fault::BadToken }))
    }

    /// RFC 8259 section 6: `-? (0 | [1-9][0-9]*) (\.[0-9]+)? ([eE][+-]?[0-9]+)?`.
    fn number(&mut self) -> Result<(), ScanError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
            if let Some(b'0'..=b'9') = self.peek() {
                return Err(self.fault(Fault::BadToken));
            }
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), ScanError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        match self.peek() {
            None if self.at == start => Err(self.fault(Fault::Incomplete)),
            Some(_) if self.at == start => Err(self.fault(Fault::BadToken)),
            Some(_) | None => Ok(()),
        }
    }
}

#[inline]
fn closing_bracket(objects: u64) -> u8 {
    if objects & 1 == 1 { b'}' } else { b']' }
}
