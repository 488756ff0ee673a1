//! What Linux tells of memory, read out of its text: how much the process has, and how much it may have. Never opens a
//! file; whoever asks gives a way to read one.

/// Reads a whole file; `None` if it cannot.
pub type Read<'r> = &'r dyn Fn(&str) -> Option<Vec<u8>>;

/// Where the kernel tells what the process has, in pages.
pub const STATM: &str = "/proc/self/statm";

/// Bytes that are resident, by the text of [`STATM`].
pub fn resident(statm: &[u8], page_bytes: u64) -> Option<u64> {
    let pages: u64 = text(statm)?.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(page_bytes)
}

/// Bytes of a page: what the kernel told the process when it began, else 4096.
pub fn page_bytes(read: Read<'_>) -> u64 {
    let told = read("/proc/self/auxv").and_then(|auxv| {
        let words =
            auxv.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes")));
        let words: Vec<u64> = words.collect();
        words.chunks_exact(2).find(|pair| pair[0] == AT_PAGESZ).map(|pair| pair[1])
    });
    told.filter(|bytes| bytes.is_power_of_two()).unwrap_or(4096)
}

/// Bytes that the process may have: the least of its control groups (version 2 and 1), and what the host has. `None`
/// where nothing is told.
pub fn limit(read: Read<'_>) -> Option<u64> {
    let host = read("/proc/meminfo").and_then(|meminfo| {
        let line = text(&meminfo)?.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    });
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let of_groups = text(&groups).into_iter().flat_map(str::lines).filter_map(|line| of_group(read, line));
    host.into_iter().chain(of_groups).min()
}

/// The least limit on the way from a group to the root; in a container the way often begins at the root.
fn of_group(read: Read<'_>, line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let (root, file) = if controllers.is_empty() {
        ("/sys/fs/cgroup", "memory.max")
    } else if controllers.split(',').any(|controller| controller == "memory") {
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
    } else {
        return None;
    };
    let mut path = path.trim_end_matches('/');
    let mut least: Option<u64> = None;
    loop {
        let told = read(&format!("{root}{path}/{file}"));
        // "max" is no number, and no limit.
        let bytes = told.as_deref().and_then(text).and_then(|told| told.trim().parse().ok());
        least = least.into_iter().chain(bytes).min();
        let Some(parent) = path.rfind('/') else { return least };
        path = &path[..parent];
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// The entry of the auxiliary vector that holds the size of a page (getauxval(3)).
const AT_PAGESZ: u64 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn with<'f>(files: &'f [(&'f str, &'f str)]) -> impl Fn(&str) -> Option<Vec<u8>> + 'f {
        |path| files.iter().find(|(name, _)| *name == path).map(|(_, text)| text.as_bytes().to_vec())
    }

    const HOST: (&str, &str) = ("/proc/meminfo", "MemTotal:        1000 kB\nMemFree:          500 kB\n");

    #[test]
    fn the_second_number_is_what_is_resident() {
        assert_eq!(resident(b"22061 4912 1870 1563 0 5121 0\n", 4096), Some(4912 * 4096));
        assert_eq!(resident(b"", 4096), None);
        assert_eq!(resident(b"1 x", 4096), None);
        assert_eq!(resident(b"1 18446744073709551615", 4096), None);
    }

    #[test]
    fn the_least_of_host_and_groups_counts() {
        assert_eq!(limit(&with(&[])), None);
        assert_eq!(limit(&with(&[HOST])), Some(1_024_000));
        let group = ("/proc/self/cgroup", "0::/system.slice/realtime.service\n");
        let (own, above) = (
            "/sys/fs/cgroup/system.slice/realtime.service/memory.max",
            "/sys/fs/cgroup/system.slice/memory.max",
        );
        assert_eq!(limit(&with(&[HOST, group, (own, "max\n")])), Some(1_024_000));
        assert_eq!(limit(&with(&[HOST, group, (own, "5000\n")])), Some(5000));
        assert_eq!(limit(&with(&[HOST, group, (own, "5000\n"), (above, "4000\n")])), Some(4000));
        assert_eq!(limit(&with(&[HOST, group, (own, "9223372036854771712\n")])), Some(1_024_000));
        let container = ("/proc/self/cgroup", "0::/\n");
        assert_eq!(limit(&with(&[HOST, container, ("/sys/fs/cgroup/memory.max", "7000\n")])), Some(7000));
    }

    #[test]
    fn groups_of_version_one_are_known_too() {
        let group = ("/proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/docker/b\n1:name=systemd:/a\n");
        let file = "/sys/fs/cgroup/memory/docker/b/memory.limit_in_bytes";
        assert_eq!(limit(&with(&[HOST, group, (file, "6000\n")])), Some(6000));
        // Inside a container the path is the host's, and only the root is there.
        let root = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
        assert_eq!(limit(&with(&[HOST, group, (root, "3000\n")])), Some(3000));
    }

    #[test]
    fn this_process_has_memory_and_a_limit() {
        let read = |path: &str| std::fs::read(path).ok();
        let resident = resident(&read(STATM).unwrap(), page_bytes(&read)).unwrap();
        let limit = limit(&read).unwrap();
        assert!(resident > 1 << 20 && resident < limit, "{resident} of {limit}");
        assert_eq!(page_bytes(&|_| None), 4096);
    }
}
