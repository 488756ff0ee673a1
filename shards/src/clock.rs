//! The clock: the only place that reads time. A turn stamps it once and passes it down, so that a simulated
//! driver can move it. Never sleeps.

use std::time::Duration;

/// A point on the monotonic clock, in nanoseconds since an arbitrary start. Virtual under the simulated driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The start of the clock.
    pub const ZERO: Self = Self(0);

    /// Reads the monotonic clock of the system.
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Self(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    /// A moment `nanos` after the start of the clock.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start of the clock.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// The wall clock in milliseconds since the Unix epoch, for stamps that people and other machines read.
/// Deadlines never depend on it: it can jump.
pub fn unix_millis() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000
}

/// The unit of the timer wheel and of stored deadlines: 4 ms, counted in 32 bits that wrap after 198 days.
/// Comparisons hold for deadlines up to 99 days away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tick(pub(crate) u32);

impl Tick {
    /// Length of a tick.
    pub const LENGTH: Duration = Duration::from_millis(4);
    /// The farthest deadline that still compares rightly.
    pub const SPAN_MAX: Duration = Duration::from_secs(90 * 24 * 3600);

    /// The tick that has begun at `moment`.
    pub fn at(moment: Moment) -> Self {
        Self((moment.as_nanos() / Self::LENGTH.as_nanos() as u64) as u32)
    }

    /// The first tick that begins at `moment` or later: a deadline is never early.
    pub fn at_or_after(moment: Moment) -> Self {
        Self(moment.as_nanos().div_ceil(Self::LENGTH.as_nanos() as u64) as u32)
    }

    /// The time from `now` until this tick begins; zero if it has begun.
    pub fn begins_after(self, now: Moment) -> Duration {
        let begun = now.as_nanos() % Self::LENGTH.as_nanos() as u64;
        let span = Self::LENGTH * Self::at(now).until(self).max(0) as u32;
        span.saturating_sub(Duration::from_nanos(begun))
    }

    /// Ticks from `self` until `later`; negative if `later` has passed.
    pub fn until(self, later: Self) -> i32 {
        later.0.wrapping_sub(self.0) as i32
    }

    /// Whether this tick has come at `now`.
    pub fn is_due(self, now: Self) -> bool {
        self.until(now) >= 0
    }

    pub(crate) fn plus(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_begins_neither_early_nor_late() {
        for nanos in [0, 1, 3_999_999, 4_000_000, 4_000_001, 17_179_869_183_999_999] {
            let now = Moment::from_nanos(nanos);
            for ticks in [1, 2, 250, 100_000] {
                let tick = Tick::at(now).plus(ticks);
                let begins = now + tick.begins_after(now);
                assert_eq!((Tick::at(begins), Tick::at_or_after(begins)), (tick, tick), "{nanos} + {ticks}");
            }
            assert_eq!(Tick::at(now).begins_after(now), Duration::ZERO);
        }
    }
}
