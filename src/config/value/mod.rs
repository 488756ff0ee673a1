//! What a variable can hold: the [`Value`] trait, switches, texts, lists, and the types of its children. Text becomes
//! a type here once; inside the server there is nothing left to check. Never reads the environment or a file.

mod country;
mod cpu;
mod keys;
mod net;
mod number;
mod secret;
mod words;

pub use country::Country;
pub use cpu::{CpuList, SHARDS_MAX, Shards};
pub use keys::KeySource;
pub use net::{Cidr, Host, HostPort, OriginPattern, Url, UrlPath};
pub use number::{ByteCap, ByteSize, Cap, Ratio};
pub(super) use secret::HIDDEN;
pub use secret::Secret;
pub use words::{
    Alpn, Anonymous, AppEnv, AuthDriver, BroadcastDriver, CompressionAlgorithm, CongestionControl, CpuPolicy,
    DriverKind, JwtAlgorithm, LogLevel, OriginMissing, OtlpProtocol, Reliability, SecurityMode, SlowConsumer,
    TracesExporter, Transport, WebhookEvent,
};

use std::fmt;
use std::path::PathBuf;

use number::digits;

/// A type that a variable can have.
pub trait Value: Sized {
    /// Whether values of this type are never shown.
    const SECRET: bool = false;

    /// What is accepted, as the rest of a sentence that starts with "expected".
    fn expects(bounds: &Bounds) -> String;

    /// The value of the text, or `None` if it is not what [`Value::expects`] says. `raw` carries no blanks around
    /// it and is empty only for a default that means "unset".
    fn parse(raw: &str, bounds: &Bounds) -> Option<Self>;

    /// The value as text that [`Value::parse`] reads back, except that secrets are hidden.
    fn show(&self) -> String;

    /// The raw text as it may stand in an error.
    fn redacted(raw: &str) -> String {
        raw.to_owned()
    }

    /// Whether the raw text carries a secret, so that it must not come from the command line.
    fn exposes(_raw: &str) -> bool {
        Self::SECRET
    }
}

/// Unit of a plain number and the range of a variable, counted in that unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// What a number without a suffix counts.
    pub unit: Unit,
    /// Smallest value.
    pub min: u64,
    /// Largest value.
    pub max: u64,
    /// Whether only powers of two will do.
    pub power_of_two: bool,
}

/// What a number without a suffix counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Microseconds.
    Micros,
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Mebibytes (1,048,576 bytes).
    Mebibytes,
}

impl Unit {
    /// The unit's sign in tables; empty for counts.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Count => "",
            Self::Micros => "µs",
            Self::Millis => "ms",
            Self::Seconds => "s",
            Self::Bytes => "bytes",
            Self::Mebibytes => "MiB",
        }
    }

    /// How many of the smallest unit of its kind (nanoseconds, bytes) it is.
    pub(super) const fn factor(self) -> u64 {
        match self {
            Self::Count | Self::Bytes => 1,
            Self::Micros => 1_000,
            Self::Millis => 1_000_000,
            Self::Seconds => 1_000_000_000,
            Self::Mebibytes => 1 << 20,
        }
    }
}

impl Bounds {
    /// Everything, counted in things.
    pub const ANY: Self = Self { unit: Unit::Count, min: 0, max: u64::MAX, power_of_two: false };

    /// Whether `value`, counted in the smallest unit of its kind, is allowed.
    fn holds(&self, value: u64) -> bool {
        let factor = self.unit.factor();
        value >= self.min.saturating_mul(factor)
            && value <= self.max.saturating_mul(factor)
            && (!self.power_of_two || value.is_power_of_two())
    }

    fn range(&self, type_max: u64, show: impl Fn(u64) -> String) -> String {
        let max = self.max.min(type_max);
        let range = match (self.min, max) {
            (0, u64::MAX) => String::new(),
            (min, u64::MAX) => format!(" of at least {}", show(min)),
            (min, max) => format!(" from {} to {}", show(min), show(max)),
        };
        if self.power_of_two { format!("{range}, a power of two") } else { range }
    }
}

/// A word of visible ASCII without separators (RFC 9110 §5.6.2): a method, a header name, a node name, `*`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token(Box<str>);

impl Token {
    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Value for bool {
    fn expects(_: &Bounds) -> String {
        "true or false (1/0, yes/no, on/off)".to_owned()
    }

    fn parse(raw: &str, _: &Bounds) -> Option<Self> {
        match raw.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    fn expects(_: &Bounds) -> String {
        "text without control characters".to_owned()
    }

    fn parse(raw: &str, _: &Bounds) -> Option<Self> {
        (!raw.chars().any(char::is_control)).then(|| raw.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    fn expects(_: &Bounds) -> String {
        "the path of a file, without control characters".to_owned()
    }

    fn parse(raw: &str, _: &Bounds) -> Option<Self> {
        (!raw.is_empty() && !raw.chars().any(char::is_control)).then(|| Self::from(raw))
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Value for Token {
    fn expects(_: &Bounds) -> String {
        "a word of letters, digits and !#$%&'*+-.^_`|~, at most 128".to_owned()
    }

    fn parse(raw: &str, _: &Bounds) -> Option<Self> {
        let fits = (1..=128).contains(&raw.len());
        let sound =
            raw.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        (fits && sound).then(|| Self(raw.into()))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

impl<T: Value> Value for Option<T> {
    const SECRET: bool = T::SECRET;

    fn expects(bounds: &Bounds) -> String {
        T::expects(bounds)
    }

    fn parse(raw: &str, bounds: &Bounds) -> Option<Self> {
        if raw.is_empty() { Some(None) } else { T::parse(raw, bounds).map(Some) }
    }

    fn show(&self) -> String {
        self.as_ref().map(T::show).unwrap_or_default()
    }

    fn redacted(raw: &str) -> String {
        T::redacted(raw)
    }

    fn exposes(raw: &str) -> bool {
        T::exposes(raw)
    }
}

impl<T: Value> Value for Vec<T> {
    const SECRET: bool = T::SECRET;

    fn expects(bounds: &Bounds) -> String {
        format!("a list with commas between, each {}", T::expects(bounds))
    }

    fn parse(raw: &str, bounds: &Bounds) -> Option<Self> {
        raw.split(|c: char| c == ',' || c.is_whitespace())
            .filter(|item| !item.is_empty())
            .map(|item| T::parse(item, bounds))
            .collect()
    }

    fn show(&self) -> String {
        self.iter().map(T::show).collect::<Vec<_>>().join(",")
    }

    fn redacted(raw: &str) -> String {
        T::redacted(raw)
    }

    fn exposes(raw: &str) -> bool {
        T::exposes(raw)
    }
}
