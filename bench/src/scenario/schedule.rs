//! When messages of an open loop are due: at a constant rate from a start, whatever the server does. A message
//! that leaves late keeps the moment it was due, so that waiting counts as latency (no coordinated omission).

use std::time::Duration;

use highper_shards::Moment;

/// A constant rate.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    start: Moment,
    per_second: u64,
    taken: u64,
}

impl Schedule {
    /// `per_second` messages a second from `start` on; the first is due at once.
    pub fn new(start: Moment, per_second: u64) -> Self {
        Self { start, per_second: per_second.max(1), taken: 0 }
    }

    /// Takes the next message that is due at `now`; the moment it was due.
    pub fn take(&mut self, now: Moment) -> Option<Moment> {
        let due = self.due();
        if due > now {
            return None;
        }
        self.taken += 1;
        Some(due)
    }

    /// How long until the next message is due.
    pub fn wait(&self, now: Moment) -> Duration {
        self.due().since(now)
    }

    fn due(&self) -> Moment {
        let nanos = u128::from(self.taken) * 1_000_000_000 / u128::from(self.per_second);
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_is_due_at_the_moment_it_was_due() {
        let mut schedule = Schedule::new(Moment::from_nanos(1000), 1_000_000);
        let late = Moment::from_nanos(4500);
        let due: Vec<u64> = std::iter::from_fn(|| schedule.take(late)).map(Moment::as_nanos).collect();
        assert_eq!(due, [1000, 2000, 3000, 4000]);
        assert_eq!(schedule.wait(late), Duration::from_nanos(500));
    }

    #[test]
    fn a_rate_that_divides_no_second_does_not_drift() {
        let mut schedule = Schedule::new(Moment::ZERO, 3);
        let end = Moment::from_nanos(100_000_000_000);
        assert_eq!(std::iter::from_fn(|| schedule.take(end)).count(), 301);
    }
}
