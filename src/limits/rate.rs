//! How often something may happen: a [`Rate`] shared by all, and a [`Bucket`] of eight bytes for each that is
//! limited. The generic cell rate algorithm (ITU-T I.371): a bucket only remembers when it will be full again.
//! Never reads a clock.

use std::time::Duration;

use highper_shards::Moment;

/// So many units in a period on average, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    units: u64,
    /// Nanoseconds.
    period: u64,
    burst: u64,
    /// The time in which a burst comes back, in nanoseconds.
    burst_time: u64,
}

/// What one sender has used of a [`Rate`]. The default is full: a whole burst may be taken.
///
/// The rate is kept to the nanosecond: where `period / units` is not a whole number of nanoseconds, each taking costs
/// up to one nanosecond too much, never too little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When the bucket is full again, if nothing more is taken.
    full_at: Moment,
}

const _: () = assert!(size_of::<Bucket>() == 8, "every connection has several");

impl Rate {
    /// `units` in each `period` on average, `burst` at once. None of the three may be zero.
    pub fn new(units: u64, period: Duration, burst: u64) -> Self {
        assert!(units > 0 && !period.is_zero() && burst > 0, "a rate that lets nothing pass is no rate");
        let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        Self { units, period, burst, burst_time: time_of(burst, units, period) }
    }

    /// What may be taken at once.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    fn time_of(&self, cost: u64) -> u64 {
        time_of(cost, self.units, self.period)
    }
}

/// The time in which `cost` units come back, rounded up to nanoseconds; at most 584 years.
fn time_of(cost: u64, units: u64, period: u64) -> u64 {
    match cost.checked_mul(period) {
        Some(product) => product.div_ceil(units),
        None => {
            // Dear, but no message costs so much.
            let nanos = (u128::from(cost) * u128::from(period)).div_ceil(units.into());
            u64::try_from(nanos).unwrap_or(u64::MAX)
        }
    }
}

impl Bucket {
    /// Takes `cost` units. More than a burst is given only to a bucket that is full, which then owes the rest.
    ///
    /// # Errors
    /// The time after which the same would be given, if nothing else is taken meanwhile; nothing is taken now.
    pub fn take(&mut self, now: Moment, rate: &Rate, cost: u64) -> Result<(), Duration> {
        let missing = self.full_at.since(now);
        let (time, burst) = (rate.time_of(cost), Duration::from_nanos(rate.burst_time));
        // A burst comes back in no less time than a part of it.
        let needed = Duration::from_nanos(time.min(rate.burst_time));
        let over = missing.saturating_add(needed).saturating_sub(burst);
        if !over.is_zero() {
            return Err(over);
        }
        self.full_at = self.full_at.max(now) + Duration::from_nanos(time);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(nanos: u64) -> Moment {
        Moment::from_nanos(nanos)
    }

    #[test]
    fn a_burst_passes_and_one_more_does_not() {
        let rate = Rate::new(60, 60 * SECOND, 10);
        let (mut bucket, now) = (Bucket::default(), at(5_000_000_000));
        for _ in 0..10 {
            assert_eq!(bucket.take(now, &rate, 1), Ok(()));
        }
        assert_eq!(bucket.take(now, &rate, 1), Err(SECOND));
        let edge = now + SECOND;
        assert_eq!(bucket.take(at(edge.as_nanos() - 1), &rate, 1), Err(Duration::from_nanos(1)));
        assert_eq!(bucket.take(edge, &rate, 1), Ok(()));
        assert_eq!(bucket.take(edge, &rate, 1), Err(SECOND), "it was one, not two");
    }

    #[test]
    fn who_waits_gets_a_whole_burst_and_no_more() {
        let rate = Rate::new(1, SECOND, 3);
        let mut bucket = Bucket::default();
        for now in [at(0), at(1 << 50)] {
            assert_eq!(bucket.take(now, &rate, 3), Ok(()));
            assert_eq!(bucket.take(now, &rate, 1), Err(SECOND));
        }
    }

    #[test]
    fn more_than_a_burst_needs_a_full_bucket_and_is_paid_back() {
        let rate = Rate::new(10, SECOND, 10);
        let (mut bucket, now) = (Bucket::default(), at(77));
        assert_eq!(bucket.take(now, &rate, 35), Ok(()));
        assert_eq!(bucket.take(now, &rate, 1), Err(SECOND * 26 / 10));
        assert_eq!(bucket.take(now + SECOND * 26 / 10, &rate, 1), Ok(()));
        assert_eq!(
            bucket.take(now + SECOND * 30 / 10, &rate, 35),
            Err(SECOND * 6 / 10),
            "it is not full yet"
        );
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let slow = Rate::new(1, Duration::MAX, u64::MAX);
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(at(u64::MAX), &slow, u64::MAX), Ok(()));
        assert!(bucket.take(at(u64::MAX), &slow, u64::MAX).is_ok(), "the clock has ended");
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(at(0), &slow, u64::MAX), Ok(()));
        assert!(bucket.take(at(0), &slow, 1).is_err());
        let fast = Rate::new(u64::MAX, Duration::from_nanos(1), 1);
        let mut bucket = Bucket::default();
        for now in 0..1000 {
            assert_eq!(bucket.take(at(now), &fast, 1), Ok(()));
        }
    }

    /// A token bucket with exact fractions: tokens are counted in `1 / (units * nanoseconds of the period)`.
    struct Naive {
        tokens: u128,
        last: u64,
    }

    impl Naive {
        /// What is there now, and what this cost takes of it.
        fn at(&mut self, now: u64, (units, period, burst): (u64, u64, u64), cost: u64) -> (u128, u128) {
            let whole = u128::from(period);
            let gained = u128::from(now - self.last) * u128::from(units);
            self.tokens = (self.tokens + gained).min(u128::from(burst) * whole);
            self.last = now;
            (self.tokens, u128::from(cost) * whole)
        }
    }

    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ mixed >> 31
    }

    /// Runs both through the same takings. Each of ours may be `error` nanoseconds too dear.
    fn compare(seed: u64, units: u64, period: u64, burst: u64, error: u128) {
        let rate = Rate::new(units, Duration::from_nanos(period), burst);
        let (mut state, mut now, mut taken) = (seed, 0, 0u128);
        let tokens = u128::from(burst) * u128::from(period);
        let (mut bucket, mut naive) = (Bucket::default(), Naive { tokens, last: 0 });
        for step in 0..2000 {
            now += random(&mut state) % (3 * (period / units).max(1));
            let cost = 1 + random(&mut state) % burst.min(3);
            let before = bucket;
            let given = bucket.take(at(now), &rate, cost);
            let (tokens, wanted) = naive.at(now, (units, period, burst), cost);
            match given {
                Ok(()) => {
                    assert!(tokens >= wanted, "too much: seed {seed} step {step} at {now}");
                    naive.tokens -= wanted;
                    taken += 1;
                }
                Err(wait) => {
                    let slack = (taken + 2) * error * u128::from(units);
                    assert!(tokens < wanted + slack, "too little: seed {seed} step {step} at {now}");
                    let nanos = wait.as_nanos() as u64;
                    for (later, is_given) in [(now + nanos - 1, false), (now + nanos, true)] {
                        let mut again = before;
                        let given = again.take(at(later), &rate, cost).is_ok();
                        assert_eq!(given, is_given, "seed {seed} step {step} at {later}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_product_beyond_64_bits_is_counted_as_well() {
        // 400 million × 60 s are 2.4 × 10^19 ns, more than 64 bits hold.
        let units = 400_000_000;
        let (rate, mut bucket) = (Rate::new(units, 60 * SECOND, units), Bucket::default());
        assert_eq!(bucket.take(at(0), &rate, units), Ok(()));
        assert_eq!(bucket.take(at(0), &rate, 1), Err(Duration::from_nanos(150)));
        assert_eq!(bucket.take(at(0), &rate, units), Err(60 * SECOND));
        assert_eq!(bucket.take(at(60_000_000_000), &rate, units), Ok(()));
    }

    #[test]
    fn it_is_the_naive_token_bucket() {
        for seed in 0..200 {
            let mut state = seed;
            let units = 1 + random(&mut state) % 1000;
            let interval = 1 + random(&mut state) % 1_000_000_000;
            let burst = 1 + random(&mut state) % 20;
            compare(seed, units, units * interval, burst, 0);
        }
    }

    #[test]
    fn it_is_a_nanosecond_stricter_where_the_interval_is_no_whole_number() {
        for seed in 0..200 {
            let mut state = seed;
            let units = 1 + random(&mut state) % 10_000_000;
            let burst = 1 + random(&mut state) % 20;
            compare(seed, units, 60_000_000_000, burst, 1);
        }
    }

    #[test]
    fn the_long_run_is_the_rate() {
        // Seven in a second are 142,857,142.86 ns apart. Somebody asks every millisecond, a thousand seconds long.
        let rate = Rate::new(7, SECOND, 2);
        let mut bucket = Bucket::default();
        let given =
            (0..1_000_000).filter(|millis| bucket.take(at(millis * 1_000_000), &rate, 1).is_ok()).count();
        assert_eq!(given, 2 + 6999, "the burst, and seven in each second that has passed");
    }
}
