//! How many shards, and on which cores. Never asks the system how many cores there are.

use std::num::NonZeroU16;

use super::{Bounds, Value, digits};

/// How many shards the server runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shards {
    /// One per core the process may use (`0` or `auto`).
    #[default]
    Auto,
    /// Exactly so many; more than there are cores is allowed.
    Count(NonZeroU16),
}

/// Cores by their number in the system, ascending, without repetition; empty means "not limited".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuList(Box<[u16]>);

impl CpuList {
    /// The cores.
    pub fn cores(&self) -> &[u16] {
        &self.0
    }

    /// Whether no core is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Value for Shards {
    fn expects(_: &Bounds) -> String {
        format!("auto, 0 (the same) or a whole number from 1 to {SHARDS_MAX}")
    }

    fn parse(raw: &str, _: &Bounds) -> Option<Self> {
        if raw.eq_ignore_ascii_case("auto") {
            return Some(Self::Auto);
        }
        let count = u16::try_from(digits(raw)?).ok().filter(|count| *count <= SHARDS_MAX)?;
        Some(NonZeroU16::new(count).map_or(Self::Auto, Self::Count))
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "auto".to_owned(),
            Self::Count(count) => count.to_string(),
        }
    }
}

impl Value for CpuList {
    fn expects(_: &Bounds) -> String {
        format!("cores and ranges of cores such as 0-3,6, none above {CPU_MAX}")
    }

    fn parse(raw: &str, _: &Bounds) -> Option<Self> {
        let core = |text: &str| u16::try_from(digits(text)?).ok().filter(|core| *core <= CPU_MAX);
        let mut cores = Vec::new();
        for piece in raw.split(',').map(str::trim).filter(|piece| !piece.is_empty()) {
            let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
            let (first, last) = (core(first)?, core(last)?);
            if first > last {
                return None;
            }
            cores.extend(first..=last);
        }
        cores.sort_unstable();
        cores.dedup();
        Some(Self(cores.into()))
    }

    fn show(&self) -> String {
        self.0.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
    }
}

/// A mesh of N shards has N × (N − 1) rings: beyond this their memory outweighs any gain.
pub const SHARDS_MAX: u16 = 256;

/// Highest core number: the kernel's largest configuration has 8192 cores.
const CPU_MAX: u16 = 8191;
