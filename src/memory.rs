//! How much memory the process may use: what the configuration says, else what its control groups and the host have.
//! Read once at start. Never measures what is used.

use std::fs;
use std::path::Path;

use crate::config::Config;

/// Bytes that the process may use: REALTIME_MEMORY_LIMIT_MB, or the smallest limit of the control groups it is in and
/// the memory of the host. `None` if the system says neither.
pub fn limit(config: &Config) -> Option<u64> {
    config.memory_limit.get().or_else(|| {
        let host = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
        let groups = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| smallest(&text));
        host.into_iter().chain(groups).min()
    })
}

/// Bytes of memory that what waits for the connections of one shard may take: REALTIME_OUTBOX_TOTAL_BYTES, or a
/// quarter of the memory, in equal shares.
pub fn outbox_share(config: &Config, shards: u16) -> u64 {
    let total = config.outbox_total_bytes.get().or_else(|| Some(limit(config)? / 4));
    total.map_or(u64::MAX, |total| total / u64::from(shards))
}

/// The memory of the host by /proc/meminfo.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The smallest limit on the way from the control group that /proc/self/cgroup names up to the root.
fn smallest(text: &str) -> Option<u64> {
    let is_group = |line: &&str| line.starts_with("0::") || line.contains(":memory:");
    let bytes = |folder: &Path, file: &str| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok();
    let limits = text.lines().filter(is_group).flat_map(|line| {
        let (root, file) = match line.starts_with("0::") {
            true => ("/sys/fs/cgroup", "memory.max"),
            false => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        };
        let group = line.rsplit(':').next().unwrap_or_default().trim_start_matches('/');
        let group = Path::new(root).join(group);
        let folders: Vec<_> = group.ancestors().take_while(|folder| folder.starts_with(root)).collect();
        folders.into_iter().filter_map(|folder| bytes(folder, file)).collect::<Vec<u64>>()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Bounds, ByteCap, Value};

    fn cap(raw: &str) -> ByteCap {
        ByteCap::parse(raw, &Bounds::ANY).unwrap()
    }

    #[test]
    fn the_host_says_how_much_it_has() {
        assert_eq!(total("MemTotal:       24610320 kB\nMemFree: 1 kB\n"), Some(24_610_320 * 1024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert!(limit(&Config::default()).is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn what_is_configured_counts_and_is_shared_equally() {
        let mut config = Config { memory_limit: cap("8000000"), ..Config::default() };
        assert_eq!((limit(&config), outbox_share(&config, 2)), (Some(8_000_000), 1_000_000));
        config.outbox_total_bytes = cap("900000");
        assert_eq!(outbox_share(&config, 3), 300_000);
    }
}
