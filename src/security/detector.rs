//! Requests and messages looked at for SQL injection, scripts, climbing paths and scanners. Ordinary ones are passed
//! over after one look at each byte; the matcher (libinjection's method: tokens, not patterns) sees only what could
//! be an attack, cut and within a budget. Never changes what it looks at, never keeps it.

use std::time::Duration;

use highper_shards::Moment;
use highper_wire::http1::Head;
use libinjectionrs::sqli::{SqliFlags, SqliState};
use libinjectionrs::xss::{Html5Flags, XssDetector};

use super::agents::Agents;
use super::decode::{self, Marks};
use super::event::{Kind, Place, Severity, escaped};
use super::traversal;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it looks like.
    pub kind: Kind,
    /// How bad it is.
    pub severity: Severity,
    /// Where it was.
    pub place: Place,
    /// What exactly: a name or what the matcher saw, never a value.
    pub detail: String,
}

/// Looks at what one shard receives. Keeps its memory from one to the next.
pub struct Detector {
    agents: Agents,
    budget: Budget,
    value: Vec<u8>,
    scratch: [Vec<u8>; 2],
}

impl Detector {
    /// A detector that also knows these words of User-Agent fields.
    pub fn new(user_agents: &[String]) -> Self {
        Self {
            agents: Agents::new(user_agents),
            budget: Budget::default(),
            value: Vec::new(),
            scratch: [Vec::new(), Vec::new()],
        }
    }

    /// Bytes that looked as if they could be an attack and were passed over, because the budget was spent.
    pub fn passed_over(&self) -> u64 {
        self.budget.passed_over
    }

    /// The first thing about a request that looks like an attack.
    pub fn request(&mut self, now: Moment, head: &Head<'_>) -> Option<Finding> {
        self.budget.begin(now);
        let found = self
            .path(head.path().as_bytes())
            .or_else(|| self.pairs(head.query()?.as_bytes(), b'&', Place::Query));
        found.or_else(|| head.fields().find_map(|(name, value)| self.field(name, value)))
    }

    fn field(&mut self, name: &str, value: &[u8]) -> Option<Finding> {
        match name.len() {
            6 if name.eq_ignore_ascii_case("cookie") => self.pairs(value, b';', Place::Cookie),
            7 if name.eq_ignore_ascii_case("referer") => {
                let query = value.iter().position(|byte| *byte == b'?')?;
                self.pairs(&value[query + 1..], b'&', Place::Referer)
            }
            10 if name.eq_ignore_ascii_case("user-agent") => self.user_agent(value),
            _ => None,
        }
    }

    /// The worst thing about a text message: strings of its JSON, or all of it if it is none.
    pub fn message(&mut self, now: Moment, text: &[u8]) -> Option<Finding> {
        self.budget.begin(now);
        if !matches!(text.trim_ascii_start().first(), Some(b'{' | b'[' | b'"')) {
            let text = &text[..text.len().min(MESSAGE_STRING_BYTES_MAX)];
            return self.text(text);
        }
        let mut scratch = std::mem::take(&mut self.value);
        let (mut found, mut strings) = (None, 0);
        decode::for_each_string(text, MESSAGE_STRING_BYTES_MAX, &mut scratch, |string| {
            found = self.text(string);
            strings += 1;
            found.is_none() && strings < MESSAGE_STRINGS_MAX
        });
        self.value = scratch;
        found
    }

    fn path(&mut self, path: &[u8]) -> Option<Finding> {
        let marks = Marks::of(path);
        if !marks.any(PATH_MARKS) {
            return None;
        }
        if let Some(what) = traversal::check(path, &mut self.scratch) {
            let detail = format!("{what}: {}", escaped(path));
            return Some(high(Kind::PathTraversal, Place::Path, detail));
        }
        self.value(path, Place::Path, false, || "path".to_owned())
    }

    /// Pairs of name and value.
    fn pairs(&mut self, text: &[u8], between: u8, place: Place) -> Option<Finding> {
        if !Marks::of(text).any(VALUE_MARKS.or(Marks::PERCENT)) && !has_pair(text, b'-') {
            return None;
        }
        text.split(|byte| *byte == between).take(VALUES_MAX).find_map(|pair| {
            let equals = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = equals.map_or((&b""[..], pair), |at| (&pair[..at], &pair[at + 1..]));
            let value = value.trim_ascii();
            let named = || escaped(&name[..name.len().min(NAME_BYTES_MAX)]);
            self.climbing(value, place, &named).or_else(|| {
                // What a value may begin and end with, and base64 is padded with.
                let bare =
                    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
                self.value(without_padding(bare), place, place != Place::Cookie, named)
            })
        })
    }

    fn climbing(&mut self, value: &[u8], place: Place, named: &dyn Fn() -> String) -> Option<Finding> {
        let marks = Marks::of(value);
        if place == Place::Cookie || !marks.any(Marks::PERCENT.or(Marks::SEPARATOR)) {
            return None;
        }
        let what = traversal::check(value, &mut self.scratch)?;
        Some(high(Kind::PathTraversal, place, format!("{}: {what}", named())))
    }

    fn user_agent(&mut self, user_agent: &[u8]) -> Option<Finding> {
        let user_agent = &user_agent[..user_agent.len().min(VALUE_BYTES_MAX)];
        if let Some(scanner) = self.agents.find(user_agent) {
            let detail = format!("{scanner}: {}", escaped(user_agent));
            let (kind, place) = (Kind::SuspiciousUserAgent, Place::UserAgent);
            return Some(Finding { kind, severity: Severity::Medium, place, detail });
        }
        // Every browser has parentheses, semicolons and blanks in it: only quotes, tags and comments count.
        let marks = Marks::of(user_agent);
        if !marks.any(Marks::QUOTE.or(Marks::ANGLE)) && !has_pair(user_agent, b'-') {
            return None;
        }
        self.judge(user_agent, marks, Place::UserAgent, &|| "User-Agent".to_owned())
    }

    /// One value, decoded as often as it was encoded.
    fn value(
        &mut self,
        raw: &[u8],
        place: Place,
        plus_is_blank: bool,
        named: impl Fn() -> String,
    ) -> Option<Finding> {
        let raw = &raw[..raw.len().min(VALUE_BYTES_MAX)];
        let marks = Marks::of(raw);
        let is_encoded = marks.any(Marks::PERCENT) || plus_is_blank && marks.any(Marks::BLANK);
        if !is_encoded {
            return self.judge(raw, marks, place, &named);
        }
        let mut value = std::mem::take(&mut self.value);
        let mut again = Vec::new();
        let mut changed = decode::percent(raw, plus_is_blank, &mut value);
        let mut found = None;
        for _ in 0..DECODE_ROUNDS_MAX {
            found = self.judge(&value, Marks::of(&value), place, &named);
            if found.is_some() || !changed || !value.contains(&b'%') {
                break;
            }
            changed = decode::percent(&value, false, &mut again);
            if !changed {
                break;
            }
            std::mem::swap(&mut value, &mut again);
        }
        self.value = value;
        found
    }

    /// Prose that people send each other: apostrophes, brackets and questions about SQL are no attack by themselves.
    fn text(&mut self, text: &[u8]) -> Option<Finding> {
        let marks = Marks::of(text);
        if !marks.any(Marks::QUOTE.or(Marks::ANGLE).or(Marks::SQL)) {
            return None;
        }
        self.judge(text, marks, Place::Message, &|| "string".to_owned())
    }

    /// Lets the matcher look at a decoded value.
    fn judge(
        &mut self,
        value: &[u8],
        marks: Marks,
        place: Place,
        named: &dyn Fn() -> String,
    ) -> Option<Finding> {
        if !marks.any(VALUE_MARKS) && !has_pair(value, b'-') {
            return None;
        }
        if !self.budget.spend(value.len()) {
            return None;
        }
        if is_script(value, marks) {
            return Some(high(Kind::Xss, place, named()));
        }
        if !marks.any(Marks::QUOTE.or(Marks::SQL).or(Marks::BLANK)) && !has_pair(value, b'-') {
            return None;
        }
        let mut state = SqliState::new(value, SqliFlags::FLAG_NONE);
        if !state.detect() {
            return None;
        }
        let fingerprint = state.fingerprint_string();
        let is_prose = place == Place::Message && !has_syntax(&fingerprint, value);
        (!is_prose).then(|| high(Kind::SqlInjection, place, format!("{}: {fingerprint}", named())))
    }
}

/// Whether a value runs a script where a page shows it.
fn is_script(value: &[u8], marks: Marks) -> bool {
    let start = value.trim_ascii_start();
    let schemes: [&[u8]; 2] = [b"javascript:", b"vbscript:"];
    let is_scheme =
        |scheme: &[u8]| start.get(..scheme.len()).is_some_and(|own| own.eq_ignore_ascii_case(scheme));
    if marks.any(Marks::COLON) && schemes.into_iter().any(is_scheme) {
        return true;
    }
    if marks.any(Marks::ANGLE) && XssDetector::is_xss(value, Html5Flags::DataState) {
        return true;
    }
    // The end of an attribute's value and the beginning of another attribute.
    let quotes = [
        (b'"', Html5Flags::ValueDoubleQuote),
        (b'\'', Html5Flags::ValueSingleQuote),
        (b'`', Html5Flags::ValueBackQuote),
    ];
    marks.any(Marks::QUOTE)
        && value.contains(&b'=')
        && quotes
            .into_iter()
            .any(|(quote, context)| value.contains(&quote) && XssDetector::is_xss(value, context))
}

/// Whether a message that the matcher takes for SQL has more of it than a sentence about a table has.
fn has_syntax(fingerprint: &str, value: &[u8]) -> bool {
    let is_ended =
        has_pair(value, b'-') || value.contains(&b'#') || value.windows(2).any(|pair| pair == b"/*");
    let pieces = ["s&", "so", "f(", "&("];
    is_ended
        || fingerprint.contains(['U', 'E', 'T'])
        || pieces.iter().any(|piece| fingerprint.contains(piece))
}

fn high(kind: Kind, place: Place, detail: String) -> Finding {
    Finding { kind, severity: Severity::High, place, detail }
}

fn without_padding(mut value: &[u8]) -> &[u8] {
    while let [rest @ .., b'='] = value {
        value = rest;
    }
    value
}

/// Two of the same byte in a row.
fn has_pair(text: &[u8], byte: u8) -> bool {
    text.windows(2).any(|pair| pair == [byte, byte])
}

/// Bytes that the matcher may look at, and what it did not. It needs up to a microsecond for a byte that was chosen to
/// be slow: a flood of those costs a quarter of a shard's time, and others wait for it some milliseconds at once.
#[derive(Default)]
struct Budget {
    slice: u64,
    left: usize,
    passed_over: u64,
}

impl Budget {
    fn begin(&mut self, now: Moment) {
        let slice = now.as_nanos() / SLICE.as_nanos() as u64 + 1;
        if slice != self.slice {
            *self = Self { slice, left: SCAN_BYTES_PER_SLICE, passed_over: self.passed_over };
        }
    }

    fn spend(&mut self, bytes: usize) -> bool {
        let has = self.left >= bytes;
        match has {
            true => self.left -= bytes,
            false => self.passed_over += bytes as u64,
        }
        has
    }
}

/// Bytes of one value that are looked at. The matcher's time for words with many dots grows with their square.
pub const VALUE_BYTES_MAX: usize = 1024;
/// Values of one query or of one Cookie field that are looked at.
pub const VALUES_MAX: usize = 64;
/// Strings of one message that are looked at.
pub const MESSAGE_STRINGS_MAX: usize = 32;
/// Bytes of each of them.
pub const MESSAGE_STRING_BYTES_MAX: usize = 1024;
/// Bytes that the matcher looks at in each [`SLICE`] on one shard: 256 KiB in a second.
pub const SCAN_BYTES_PER_SLICE: usize = 16 * 1024;
/// A sixteenth of a second.
pub const SLICE: Duration = Duration::from_micros(62_500);
/// Bytes of a parameter's name that an event tells.
const NAME_BYTES_MAX: usize = 32;
const DECODE_ROUNDS_MAX: usize = 3;

/// A path without any of these is a path.
const PATH_MARKS: Marks = Marks::PERCENT
    .or(Marks::DOT)
    .or(Marks::QUOTE)
    .or(Marks::ANGLE)
    .or(Marks::SQL)
    .or(Marks::CONTROL)
    .or(Marks::BLANK);

/// A value without any of these, and without `--`, is harmless: words, numbers, tokens, identifiers.
const VALUE_MARKS: Marks =
    Marks::QUOTE.or(Marks::ANGLE).or(Marks::SQL).or(Marks::BLANK).or(Marks::CONTROL).or(Marks::COLON);
