//! What a token says (RFC 7519 §4.1 and our own claims), typed and bounded: parsed once, nothing left to check inside.
//! Never checks a signature or the time.
//!
//! | claim | what it is |
//! |---|---|
//! | `sub` | the user, at most 255 bytes; missing or empty is nobody in particular |
//! | `exp`, `nbf`, `iat` | seconds since 1970: whole numbers below 2^53, nothing else |
//! | `iss`, `aud`, `jti` | text; `aud` may be a list |
//! | `channels` | channels that the connection is put into, at most 128 |
//! | `channel` | makes it the token of this one channel, which opens no connection |
//! | `permissions` | lists of patterns: `publish`, `subscribe`, `presence`, `history` |
//! | `info` | any JSON, shown to other members as it was written |
//! | `limits` | `messages_per_minute`, `burst`, `connections`, in place of the configured ones |
//!
//! Other claims are ignored. Inside `permissions` and `limits` unknown names are refused: a slip there would lift a
//! restriction in silence.

use std::borrow::Cow;

use highper_wire::dialect::channel;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// What a token says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Whose token it is: at most [`USER_LEN_MAX`] bytes without control characters. Empty is nobody in particular.
    pub user: Box<str>,
    /// When it ends, in seconds since 1970.
    pub expires_at: Option<u64>,
    /// When it begins.
    pub not_before: Option<u64>,
    /// When it was made.
    pub issued_at: Option<u64>,
    /// Its own name.
    pub id: Option<Box<str>>,
    /// Who made it.
    pub issuer: Option<Box<str>>,
    /// Whom it was made for.
    pub audiences: Box<[Box<str>]>,
    /// Channels that the connection is put into. Each passed the rule of channel names.
    pub channels: Box<[Box<str>]>,
    /// The one channel that it is for, if it is the token of a channel.
    pub channel: Option<Box<str>>,
    /// What it allows and denies; without any the configuration alone decides.
    pub permissions: Option<Permissions>,
    /// JSON that other members are shown, without control characters.
    pub info: Option<Box<str>>,
    /// Limits in place of the configured ones.
    pub limits: Limits,
}

/// For each action the patterns of channels. An action without a list is not restricted by the token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Where it may publish.
    pub publish: Option<Box<[Pattern]>>,
    /// What it may subscribe to.
    pub subscribe: Option<Box<[Pattern]>>,
    /// Whose members it may see.
    pub presence: Option<Box<[Pattern]>>,
    /// Whose history it may read.
    pub history: Option<Box<[Pattern]>>,
}

/// A pattern of channel names: `*` is any text, also none; every other character is itself. `!` before it denies.
///
/// The pattern meets the whole name, so `*` also means private channels. Names that begin with `!` are reached by a
/// pattern that begins with `*` only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    denies: bool,
}

/// Limits that a token sets, each in place of the configured one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Messages per minute.
    #[serde(default, deserialize_with = "limit")]
    pub messages_per_minute: Option<u32>,
    /// Messages at once.
    #[serde(default, deserialize_with = "limit")]
    pub burst: Option<u32>,
    /// Concurrent connections of the user.
    #[serde(default, deserialize_with = "limit")]
    pub connections: Option<u32>,
}

/// The claim that is wrong, and what would be right. Holds nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct BadClaims(pub &'static str);

impl Claims {
    /// Reads the payload of a token.
    ///
    /// # Errors
    /// No JSON object, a claim twice, or one that is not as the table above has it.
    pub fn parse(payload: &[u8]) -> Result<Self, BadClaims> {
        let raw: RawClaims<'_> =
            super::object(payload).ok_or(BadClaims("a JSON object with each claim once"))?;
        Ok(Self {
            user: raw.sub.map_or(Ok(Box::default()), user)?,
            expires_at: raw.exp.map(|raw| time(raw, EXP)).transpose()?,
            not_before: raw.nbf.map(|raw| time(raw, NBF)).transpose()?,
            issued_at: raw.iat.map(|raw| time(raw, IAT)).transpose()?,
            id: raw.jti.map(|raw| text(raw, JTI)).transpose()?,
            issuer: raw.iss.map(|raw| text(raw, ISS)).transpose()?,
            audiences: raw.aud.map_or(Ok(Box::default()), audiences)?,
            channels: raw.channels.map_or(Ok(Box::default()), channels)?,
            channel: raw.channel.map(one_channel).transpose()?,
            permissions: raw.permissions.map(permissions).transpose()?,
            info: raw.info.map(|raw| without_controls(raw.get())),
            limits: raw.limits.map_or(Ok(Limits::default()), limits)?,
        })
    }
}

impl Permissions {
    /// Reads lists of patterns from JSON, as the claim of a token has them; `None` if they are something else.
    pub fn parse(json: &[u8]) -> Option<Self> {
        Self::of(serde_json::from_slice(json).ok()?)
    }

    /// The lists by their names in a token.
    fn of(raw: RawPermissions<'_>) -> Option<Self> {
        let list = |list: Option<Vec<Cow<'_, str>>>| match list {
            None => Some(None),
            Some(list) if list.len() > PATTERNS_MAX => None,
            Some(list) => list.iter().map(|text| Pattern::parse(text)).collect::<Option<_>>().map(Some),
        };
        Some(Self {
            publish: list(raw.publish)?,
            subscribe: list(raw.subscribe)?,
            presence: list(raw.presence)?,
            history: list(raw.history)?,
        })
    }
}

impl Pattern {
    /// A pattern as a token has it: 1 to 255 printable ASCII characters behind an optional `!`.
    pub fn parse(raw: &str) -> Option<Self> {
        let (text, denies) = raw.strip_prefix('!').map_or((raw, false), |text| (text, true));
        channel::check(text).is_ok().then(|| Self { text: text.into(), denies })
    }

    /// Whether it denies what it matches.
    pub fn denies(&self) -> bool {
        self.denies
    }

    /// Whether it is `*`: every name there is.
    pub fn is_any(&self) -> bool {
        self.text.bytes().all(|byte| byte == b'*')
    }

    /// Whether the whole name matches, byte by byte.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.text.as_bytes(), name.as_bytes());
        let (mut at, mut seen) = (0, 0);
        // Where the last star was, and up to where of the name it reaches.
        let mut star = None;
        while seen < name.len() {
            match (pattern.get(at), star) {
                (Some(b'*'), _) => {
                    star = Some((at + 1, seen));
                    at += 1;
                }
                (Some(byte), _) if *byte == name[seen] => (at, seen) = (at + 1, seen + 1),
                (Some(_) | None, Some((after, reached))) => {
                    star = Some((after, reached + 1));
                    (at, seen) = (after, reached + 1);
                }
                (Some(_) | None, None) => return false,
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}

/// Each claim as it was written. `null` is a value, and a wrong one.
#[derive(Deserialize)]
struct RawClaims<'a> {
    #[serde(borrow, default, deserialize_with = "written")]
    sub: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    exp: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    nbf: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    iat: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    jti: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    iss: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    aud: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    channels: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    channel: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    permissions: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    info: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    limits: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPermissions<'a> {
    #[serde(borrow, default, deserialize_with = "list")]
    publish: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default, deserialize_with = "list")]
    subscribe: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default, deserialize_with = "list")]
    presence: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default, deserialize_with = "list")]
    history: Option<Vec<Cow<'a, str>>>,
}

fn written<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

fn list<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Cow<'de, str>>>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

fn limit<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let limit = u32::deserialize(from)?;
    if (1..=LIMIT_MAX).contains(&limit) {
        Ok(Some(limit))
    } else {
        Err(serde::de::Error::custom("out of range"))
    }
}

fn json<'a, T: Deserialize<'a>>(raw: &'a RawValue, expected: &'static str) -> Result<T, BadClaims> {
    serde_json::from_str(raw.get()).map_err(|_| BadClaims(expected))
}

/// A whole number that every JSON library keeps as it is (RFC 8259 §6).
fn time(raw: &RawValue, expected: &'static str) -> Result<u64, BadClaims> {
    json(raw, expected)
        .and_then(|time: u64| if time < TIME_END { Ok(time) } else { Err(BadClaims(expected)) })
}

fn text(raw: &RawValue, expected: &'static str) -> Result<Box<str>, BadClaims> {
    json(raw, expected)
}

fn user(raw: &RawValue) -> Result<Box<str>, BadClaims> {
    let user = text(raw, SUB)?;
    let fits = user.len() <= USER_LEN_MAX && !user.chars().any(char::is_control);
    if fits { Ok(user) } else { Err(BadClaims(SUB)) }
}

/// One or a list of them (RFC 7519 §4.1.3).
fn audiences(raw: &RawValue) -> Result<Box<[Box<str>]>, BadClaims> {
    if raw.get().starts_with('"') {
        return Ok(Box::new([text(raw, AUD)?]));
    }
    json(raw, AUD)
}

fn channels(raw: &RawValue) -> Result<Box<[Box<str>]>, BadClaims> {
    let names: Box<[Box<str>]> = json(raw, CHANNELS)?;
    let fit = names.len() <= CHANNELS_MAX && names.iter().all(|name| channel::check(name).is_ok());
    if fit { Ok(names) } else { Err(BadClaims(CHANNELS)) }
}

fn one_channel(raw: &RawValue) -> Result<Box<str>, BadClaims> {
    let name = text(raw, CHANNEL)?;
    if channel::check(&name).is_ok() { Ok(name) } else { Err(BadClaims(CHANNEL)) }
}

fn permissions(raw: &RawValue) -> Result<Permissions, BadClaims> {
    super::object(raw.get().as_bytes()).and_then(Permissions::of).ok_or(BadClaims(PERMISSIONS))
}

fn limits(raw: &RawValue) -> Result<Limits, BadClaims> {
    super::object(raw.get().as_bytes()).ok_or(BadClaims(LIMITS))
}

/// JSON in one line: outside of strings control characters are white space, inside they are escaped (RFC 8259 §7).
fn without_controls(json: &str) -> Box<str> {
    json.chars().filter(|c| !c.is_ascii_control()).collect::<String>().into()
}

/// Bytes of the longest user, as everywhere else.
pub const USER_LEN_MAX: usize = channel::CHANNEL_LEN_MAX;

/// Channels one token may put a connection into: each is a round between shards when the connection opens.
pub const CHANNELS_MAX: usize = 128;

/// Patterns for one action: each permission may look at all of them.
pub const PATTERNS_MAX: usize = 64;

/// The end of the numbers that every JSON library keeps as they are: 2^53.
const TIME_END: u64 = 1 << 53;

/// The largest limit that the configuration takes too.
const LIMIT_MAX: u32 = 100_000_000;

const SUB: &str = "sub to be text of at most 255 bytes without control characters";
const EXP: &str = "exp to be a whole number of seconds below 2^53";
const NBF: &str = "nbf to be a whole number of seconds below 2^53";
const IAT: &str = "iat to be a whole number of seconds below 2^53";
const JTI: &str = "jti to be text";
const ISS: &str = "iss to be text";
const AUD: &str = "aud to be text or a list of it";
const CHANNELS: &str = "channels to be a list of at most 128 channel names";
const CHANNEL: &str = "channel to be the name of a channel";
const PERMISSIONS: &str =
    "permissions to hold publish, subscribe, presence or history, each a list of at most 64 patterns";
const LIMITS: &str =
    "limits to hold messages_per_minute, burst or connections, each a whole number from 1 to 100000000";
