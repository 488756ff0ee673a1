//! Memory of a process and of the kernel by /proc: user pages from smaps_rollup, kernel objects from slabinfo.
//! Never samples by itself; the caller says when.

use std::collections::BTreeMap;

use super::{ProcError, odd, read};

/// Memory at one moment.
#[derive(Clone, Debug, Default)]
pub struct MemorySample {
    /// Resident bytes of the process.
    pub rss: u64,
    /// Resident bytes, shared pages divided by their sharers.
    pub pss: u64,
    /// Resident bytes nobody else has.
    pub private: u64,
    /// Bytes of all slab caches of the kernel, with what they keep in reserve.
    pub slab: u64,
    /// Bytes of live objects by cache; empty where slabinfo may not be read.
    pub caches: BTreeMap<String, u64>,
}

/// Memory gained between two samples, in bytes; what shrank is negative.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Resident bytes.
    pub rss: i64,
    /// Proportional bytes.
    pub pss: i64,
    /// Private bytes.
    pub private: i64,
    /// All slab caches.
    pub slab: i64,
    /// Caches that gained, most first.
    pub caches: Vec<(String, i64)>,
}

impl MemorySample {
    /// Reads the memory of process `pid` and of the kernel.
    pub fn of(pid: u32) -> Result<Self, ProcError> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let rollup = read(&path)?;
        let field = |name: &str| kilobytes(&rollup, name).ok_or_else(|| odd(&path));
        let slab = kilobytes(&read("/proc/meminfo")?, "Slab:").ok_or_else(|| odd("/proc/meminfo"))?;
        Ok(Self {
            rss: field("Rss:")?,
            pss: field("Pss:")?,
            private: field("Private_Clean:")? + field("Private_Dirty:")?,
            slab,
            // Only root reads slabinfo; without it the sum of meminfo must do.
            caches: read("/proc/slabinfo").map(|text| caches(&text)).unwrap_or_default(),
        })
    }

    /// The memory of several processes together, and of the kernel; nothing if there are none.
    pub fn of_all(pids: &[u32]) -> Result<Option<Self>, ProcError> {
        let mut all: Option<Self> = None;
        for pid in pids {
            let mut sample = Self::of(*pid)?;
            if let Some(others) = all {
                sample.rss += others.rss;
                sample.pss += others.pss;
                sample.private += others.private;
            }
            all = Some(sample);
        }
        Ok(all)
    }

    /// What was gained since `earlier`.
    pub fn since(&self, earlier: &Self) -> Growth {
        let gained = |now: u64, before: u64| now as i64 - before as i64;
        let mut caches: Vec<(String, i64)> = self
            .caches
            .iter()
            .map(|(name, now)| (name.clone(), gained(*now, earlier.caches.get(name).copied().unwrap_or(0))))
            .filter(|(_, bytes)| *bytes > 0)
            .collect();
        caches.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        Growth {
            rss: gained(self.rss, earlier.rss),
            pss: gained(self.pss, earlier.pss),
            private: gained(self.private, earlier.private),
            slab: gained(self.slab, earlier.slab),
            caches,
        }
    }
}

/// The value of a line `name  123 kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Live objects times their size, by cache: `name <active_objs> <num_objs> <objsize> …`.
fn caches(slabinfo: &str) -> BTreeMap<String, u64> {
    let parse = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let name = fields.next()?.to_owned();
        let live: u64 = fields.next()?.parse().ok()?;
        let size: u64 = fields.nth(1)?.parse().ok()?;
        Some((name, live * size))
    };
    slabinfo.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLABINFO: &str = "slabinfo - version: 2.1\n# name <active_objs> <num_objs> <objsize>\n\
                            TCP 10 13 2368 13 8 : tunables 0 0 0 : slabdata 1 1 0\nfilp 4 21 192 21 1 : x\n";

    #[test]
    fn a_cache_counts_its_live_objects() {
        let found = caches(SLABINFO);
        assert_eq!(found.get("TCP"), Some(&23_680));
        assert_eq!(found.get("filp"), Some(&768));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn growth_names_the_caches_that_gained_most_first() {
        let sample = |rss, tcp, filp, dentry| MemorySample {
            rss,
            caches: [("TCP", tcp), ("filp", filp), ("dentry", dentry)]
                .map(|(name, bytes)| (name.to_owned(), bytes))
                .into(),
            ..MemorySample::default()
        };
        let growth = sample(100, 5000, 900, 1).since(&sample(300, 1000, 100, 7));
        assert_eq!(growth.rss, -200);
        assert_eq!(growth.caches, [("TCP".to_owned(), 4000), ("filp".to_owned(), 800)]);
    }

    #[test]
    fn this_process_can_be_read() {
        let sample = MemorySample::of(std::process::id()).unwrap();
        assert!(sample.rss >= sample.private && sample.private > 0 && sample.slab > 0);
    }
}
