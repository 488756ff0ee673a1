//! Addresses that fail to authenticate, counted in a bounded table. Each shard counts what it sees: with N shards an
//! address is found between the limit and N times the limit. Never blocks by itself.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use highper_shards::Moment;

/// Failures of each address, as a bucket that drains at the limit per minute.
pub struct Failures {
    /// Sets of [`WAYS`]; made at the first failure.
    entries: Vec<Entry>,
    key: RandomState,
    limit: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entry {
    /// A v4 address mapped, a v6 network of 64 bits; zero is a free place.
    network: u128,
    /// Failures, in thousandths, at `at`.
    level: u64,
    /// Milliseconds on the monotonic clock.
    at: u64,
    /// Brute force was told since the bucket was last empty.
    told: bool,
}

/// What a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It happens to everybody.
    Counted,
    /// The limit is reached now: brute force.
    Reached,
    /// The limit was reached before.
    Beyond,
}

impl Failures {
    /// A table that takes `limit` failures per minute for brute force.
    pub fn new(limit: u32) -> Self {
        Self { entries: Vec::new(), key: RandomState::new(), limit: limit.max(1) }
    }

    /// An address failed once more.
    pub fn failed(&mut self, address: IpAddr, now: Moment) -> Verdict {
        if self.entries.is_empty() {
            self.entries = vec![Entry::default(); SETS * WAYS];
        }
        let (network, now) = (network(address), now.as_nanos() / 1_000_000);
        let limit = self.limit;
        let set = self.set(network);
        let set = &mut self.entries[set];
        let at = set.iter().position(|entry| entry.network == network).unwrap_or_else(|| {
            // Who failed least of them all is forgotten: a flood of addresses cannot hide the one that insists.
            let least = (0..WAYS).min_by_key(|at| set[*at].drained(limit, now).level).unwrap_or_default();
            set[least] = Entry { network, at: now, ..Entry::default() };
            least
        });
        let mut entry = set[at].drained(limit, now);
        entry.level = (entry.level + ONE).min(u64::from(limit) * ONE * FULL_TIMES);
        let is_over = entry.level >= u64::from(limit) * ONE;
        let verdict = match (is_over, entry.told) {
            (false, _) => Verdict::Counted,
            (true, false) => Verdict::Reached,
            (true, true) => Verdict::Beyond,
        };
        entry.told |= is_over;
        set[at] = entry;
        verdict
    }

    /// How many seconds an address has to wait until its bucket is below the limit; `None` if it is.
    pub fn wait_secs(&self, address: IpAddr, now: Moment) -> Option<u64> {
        if self.entries.is_empty() {
            return None;
        }
        let network = network(address);
        let entry = self.entries[self.set(network)].iter().find(|entry| entry.network == network)?;
        let entry = entry.drained(self.limit, now.as_nanos() / 1_000_000);
        let over = (entry.level + 1).checked_sub(u64::from(self.limit) * ONE).filter(|_| entry.told)?;
        Some((over * 60).div_ceil(u64::from(self.limit) * ONE).max(1))
    }

    /// The places an address may have.
    fn set(&self, network: u128) -> std::ops::Range<usize> {
        // Keyed: nobody can choose addresses that push another one out.
        let at = self.key.hash_one(network) as usize % SETS * WAYS;
        at..at + WAYS
    }
}

impl Entry {
    /// The entry as it is at `now`: a minute drains the limit.
    fn drained(self, limit: u32, now: u64) -> Self {
        let gone = now.saturating_sub(self.at).saturating_mul(u64::from(limit) * ONE) / 60_000;
        let level = self.level.saturating_sub(gone);
        Self { level, at: now.max(self.at), told: self.told && level > 0, ..self }
    }
}

/// What is counted together: an address of version 4, a network of 64 bits of version 6 (one subscriber has all of it).
fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64 | 1,
    }
}

const ONE: u64 = 1000;
/// A bucket holds this many times the limit: who has filled it waits as many minutes after the last failure.
const FULL_TIMES: u64 = 2;
const WAYS: usize = 4;
/// 8,192 addresses, 512 KiB on a shard that has seen a failure.
const SETS: usize = 2048;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(secs: u64) -> Moment {
        Moment::from_nanos(1_000_000_000 * (secs + 100))
    }

    const MALLORY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7));
    const ANN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));

    #[test]
    fn the_limit_is_brute_force_and_one_below_is_not() {
        let mut failures = Failures::new(10);
        assert_eq!(failures.wait_secs(MALLORY, at(0)), None);
        for _ in 0..9 {
            assert_eq!(failures.failed(MALLORY, at(0)), Verdict::Counted);
        }
        assert_eq!(failures.wait_secs(MALLORY, at(0)), None);
        assert_eq!(failures.failed(MALLORY, at(0)), Verdict::Reached);
        assert_eq!(failures.failed(MALLORY, at(0)), Verdict::Beyond);
        assert!(failures.wait_secs(MALLORY, at(0)).is_some());
        assert_eq!(failures.wait_secs(ANN, at(0)), None, "others are left alone");
    }

    #[test]
    fn the_bucket_drains_and_the_wait_is_what_was_said() {
        let mut failures = Failures::new(10);
        for _ in 0..1000 {
            failures.failed(MALLORY, at(0));
        }
        let wait = failures.wait_secs(MALLORY, at(0)).unwrap();
        assert_eq!(wait, 61, "twice the limit drains to the limit in a minute");
        assert!(failures.wait_secs(MALLORY, at(wait - 2)).is_some());
        assert_eq!(failures.wait_secs(MALLORY, at(wait)), None);
        assert_eq!(failures.failed(MALLORY, at(600)), Verdict::Counted, "it was emptied");
    }

    #[test]
    fn slow_failures_are_people_who_mistype() {
        let mut failures = Failures::new(10);
        for minute in 0..100 {
            for _ in 0..5 {
                assert_eq!(failures.failed(ANN, at(minute * 60)), Verdict::Counted);
            }
        }
    }

    #[test]
    fn a_flood_of_addresses_neither_grows_the_table_nor_hides_who_insists() {
        let mut failures = Failures::new(10);
        for _ in 0..12 {
            failures.failed(MALLORY, at(0));
        }
        for number in 0..200_000u32 {
            failures.failed(IpAddr::V4((0x0a00_0000 + number).into()), at(0));
        }
        assert_eq!(failures.entries.len(), SETS * WAYS);
        assert!(failures.wait_secs(MALLORY, at(0)).is_some());
    }

    #[test]
    fn a_network_of_64_bits_is_one_and_a_mapped_address_is_its_own() {
        assert_eq!(network("2001:db8::1".parse().unwrap()), network("2001:db8::ffff:1".parse().unwrap()));
        assert_ne!(network("2001:db8::1".parse().unwrap()), network("2001:db8:0:1::1".parse().unwrap()));
        assert_eq!(network("::ffff:203.0.113.7".parse().unwrap()), network(MALLORY));
    }

    #[test]
    fn time_never_runs_backwards_in_it() {
        let mut failures = Failures::new(1);
        failures.failed(ANN, at(10));
        assert!(failures.wait_secs(ANN, Moment::ZERO + Duration::from_secs(1)).is_some());
    }
}
