//! Pauses that grow, and differ, so that a backend that comes back is not asked by everybody at once. Never waits.

use std::time::Duration;

/// The pause before try number `tries` + 1: `first` doubled that often, `most` at most, and of that between one half
/// and all, as `random` has it.
pub fn pause(tries: u32, first: Duration, most: Duration, random: u64) -> Duration {
    let whole = first.saturating_mul(1u32.checked_shl(tries).unwrap_or(u32::MAX)).min(most);
    let half = whole / 2;
    half + (whole - half).mul_f64(random as f64 / u64::MAX as f64)
}

/// A number that nobody can know.
pub(super) fn random() -> u64 {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes)
        .expect("the system gives random bytes, or TLS could not be spoken either");
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_its_limit_and_lies_in_the_upper_half() {
        let (first, most) = (Duration::from_secs(1), Duration::from_secs(30));
        for (tries, whole) in [(0, 1), (1, 2), (4, 16), (5, 30), (31, 30), (32, 30), (1000, 30)] {
            let whole = Duration::from_secs(whole);
            assert_eq!(pause(tries, first, most, 0), whole / 2);
            assert_eq!(pause(tries, first, most, u64::MAX), whole);
            let middle = pause(tries, first, most, random());
            assert!((whole / 2..=whole).contains(&middle), "{middle:?}");
        }
    }
}
