//! Numbers: counts, durations, sizes, shares, and ceilings that may be left to the server. Never rounds: what does
//! not fit is refused.

use std::num::NonZeroU64;
use std::time::Duration;

use super::{Bounds, Unit, Value};

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes, at most `usize::MAX`.
    pub const fn as_usize(self) -> usize {
        if self.0 > usize::MAX as u64 { usize::MAX } else { self.0 as usize }
    }
}

/// A number of things that the server finds out by itself unless it is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cap {
    /// What the host's memory and descriptors allow (`0` or `auto`).
    #[default]
    Auto,
    /// Exactly so many.
    Count(NonZeroU64),
}

impl Cap {
    /// The number that was set, if one was.
    pub fn get(self) -> Option<u64> {
        match self {
            Self::Auto => None,
            Self::Count(count) => Some(count.get()),
        }
    }
}

/// A number of bytes that the server finds out by itself unless it is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ByteCap {
    /// What the control group or the host has (`0` or `auto`).
    #[default]
    Auto,
    /// Exactly so many bytes.
    Bytes(NonZeroU64),
}

impl ByteCap {
    /// The number of bytes that was set, if one was.
    pub fn get(self) -> Option<u64> {
        match self {
            Self::Auto => None,
            Self::Bytes(bytes) => Some(bytes.get()),
        }
    }
}

/// A share between 0 and 1, such as a sampling rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Ratio(f64);

impl Ratio {
    /// The share.
    pub const fn get(self) -> f64 {
        self.0
    }
}

macro_rules! whole_numbers {
    ($($ty:ty),*) => { $(
        impl Value for $ty {
            fn expects(bounds: &Bounds) -> String {
                format!("a whole number{}", bounds.range(u64::from(<$ty>::MAX), |n| n.to_string()))
            }

            fn parse(raw: &str, bounds: &Bounds) -> Option<Self> {
                let number = digits(raw)?;
                bounds.holds(number).then(|| Self::try_from(number).ok())?
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )* };
}

whole_numbers!(u8, u16, u32, u64);

impl Value for Duration {
    fn expects(bounds: &Bounds) -> String {
        let sign = bounds.unit.sign();
        let range = bounds.range(u64::MAX, |n| format!("{n}{sign}"));
        format!("a duration such as 30s or 500ms{range}; a plain number counts {sign}")
    }

    fn parse(raw: &str, bounds: &Bounds) -> Option<Self> {
        let (number, suffix) = split_suffix(raw)?;
        let nanos = match suffix {
            "" => bounds.unit.factor(),
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" | "min" => 60 * 1_000_000_000,
            "h" => 3_600 * 1_000_000_000,
            "d" => 86_400 * 1_000_000_000,
            _ => return None,
        };
        let nanos = number.checked_mul(nanos)?;
        bounds.holds(nanos).then(|| Self::from_nanos(nanos))
    }

    fn show(&self) -> String {
        let nanos = self.as_nanos();
        let (unit, sign) = [(1_000_000_000, "s"), (1_000_000, "ms")]
            .into_iter()
            .find(|(unit, _)| nanos.is_multiple_of(*unit))
            .unwrap_or((1_000, "us"));
        format!("{}{sign}", nanos / unit)
    }
}

impl Value for ByteSize {
    fn expects(bounds: &Bounds) -> String {
        let sign = bounds.unit.sign();
        let range = bounds.range(u64::MAX, |n| format!("{n} {sign}"));
        format!("a size such as 16k, 10M or 1G{range}; a plain number counts {sign}")
    }

    fn parse(raw: &str, bounds: &Bounds) -> Option<Self> {
        let bytes = bytes(raw, bounds.unit)?;
        bounds.holds(bytes).then_some(Self(bytes))
    }

    fn show(&self) -> String {
        show_bytes(self.0)
    }
}

impl Value for Cap {
    fn expects(bounds: &Bounds) -> String {
        format!("auto, 0 (the same) or {}", u64::expects(bounds))
    }

    fn parse(raw: &str, bounds: &Bounds) -> Option<Self> {
        if raw.eq_ignore_ascii_case("auto") {
            return Some(Self::Auto);
        }
        let number = digits(raw)?;
        match NonZeroU64::new(number) {
            None => Some(Self::Auto),
            Some(count) => bounds.holds(number).then_some(Self::Count(count)),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "auto".to_owned(),
            Self::Count(count) => count.to_string(),
        }
    }
}

impl Value for ByteCap {
    fn expects(bounds: &Bounds) -> String {
        format!("auto, 0 (the same) or {}", ByteSize::expects(bounds))
    }

    fn parse(raw: &str, bounds: &Bounds) -> Option<Self> {
        if raw.eq_ignore_ascii_case("auto") {
            return Some(Self::Auto);
        }
        let number = bytes(raw, bounds.unit)?;
        match NonZeroU64::new(number) {
            None => Some(Self::Auto),
            Some(count) => bounds.holds(number).then_some(Self::Bytes(count)),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "auto".to_owned(),
            Self::Bytes(bytes) => show_bytes(bytes.get()),
        }
    }
}

impl Value for Ratio {
    fn expects(_: &Bounds) -> String {
        "a number from 0 to 1 such as 0.25".to_owned()
    }

    fn parse(raw: &str, _: &Bounds) -> Option<Self> {
        let plain = raw.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let ratio = raw.parse().ok()?;
        (plain && (0.0..=1.0).contains(&ratio)).then_some(Self(ratio))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// A number of plain digits: no sign, no blanks.
pub(super) fn digits(raw: &str) -> Option<u64> {
    raw.bytes().all(|byte| byte.is_ascii_digit()).then(|| raw.parse().ok())?
}

fn split_suffix(raw: &str) -> Option<(u64, &str)> {
    let end = raw.find(|c: char| !c.is_ascii_digit()).unwrap_or(raw.len());
    let (number, suffix) = raw.split_at(end);
    Some((digits(number)?, suffix.trim_start()))
}

fn bytes(raw: &str, unit: Unit) -> Option<u64> {
    let (number, suffix) = split_suffix(raw)?;
    let factor = match suffix.to_ascii_lowercase().as_str() {
        "" => unit.factor(),
        "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn show_bytes(bytes: u64) -> String {
    [(1 << 30, "G"), (1 << 20, "M"), (1 << 10, "k")]
        .into_iter()
        .find(|(unit, _)| bytes != 0 && bytes.is_multiple_of(*unit))
        .map_or_else(|| format!("{bytes}B"), |(unit, sign)| format!("{}{sign}", bytes / unit))
}
