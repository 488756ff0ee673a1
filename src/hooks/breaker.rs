//! A circuit breaker: while a backend fails, nobody waits for it. Time and chance are arguments. Never asks anything.

use std::time::Duration;

use highper_shards::Moment;

use super::backoff;

/// The breaker of one backend. Every question needs a [`Permit`] and records what became of it.
#[derive(Debug, Default)]
pub struct Breaker {
    phase: Phase,
    /// Changes with the phase: what was permitted before says nothing about now.
    round: u32,
    /// How often it has opened since it was last closed.
    opened: u32,
}

/// Leave for one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a permit that is not recorded may be the one that a half-open breaker waits for"]
pub struct Permit(u32);

#[derive(Debug)]
enum Phase {
    Closed(Recent),
    Open {
        until: Moment,
    },
    /// One question is out, and decides.
    HalfOpen,
}

impl Default for Phase {
    fn default() -> Self {
        Self::Closed(Recent::default())
    }
}

/// Outcomes of the last [`WINDOW`] questions.
#[derive(Debug, Default)]
struct Recent {
    /// A bit for each, the newest lowest; set is a failure.
    failures: u32,
    count: u32,
}

impl Breaker {
    /// Leave for a question now; `None` while the backend is left alone.
    pub fn permit(&mut self, now: Moment) -> Option<Permit> {
        match self.phase {
            Phase::Closed(_) => {}
            Phase::Open { until } if until <= now => self.enter(Phase::HalfOpen),
            Phase::Open { .. } | Phase::HalfOpen => return None,
        }
        Some(Permit(self.round))
    }

    /// What became of a question; `random` spreads the time that a breaker stays open.
    pub fn record(&mut self, permit: Permit, is_success: bool, now: Moment, random: u64) {
        if permit.0 != self.round {
            return;
        }
        let is_broken = match &mut self.phase {
            Phase::Closed(recent) => recent.record(is_success),
            Phase::HalfOpen => !is_success,
            Phase::Open { .. } => unreachable!("nothing is permitted in its round"),
        };
        if is_broken {
            let until = now + backoff::pause(self.opened, OPEN_FIRST, OPEN_MAX, random);
            self.opened += 1;
            self.enter(Phase::Open { until });
        } else if matches!(self.phase, Phase::HalfOpen) {
            self.opened = 0;
            self.enter(Phase::default());
        }
    }

    /// Whether the backend is left alone, or is about to be tried again.
    pub fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Closed(_))
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.round = self.round.wrapping_add(1);
    }
}

impl Recent {
    /// True if that is too much.
    fn record(&mut self, is_success: bool) -> bool {
        self.failures = (self.failures << 1 | u32::from(!is_success)) & ((1 << WINDOW) - 1);
        self.count = (self.count + 1).min(WINDOW);
        let in_a_row = self.failures.trailing_ones();
        let is_half = self.count == WINDOW && self.failures.count_ones() * 2 >= WINDOW;
        in_a_row >= IN_A_ROW || is_half
    }
}

/// Failures one after the other that open it.
const IN_A_ROW: u32 = 5;

/// Half of so many questions opens it too.
const WINDOW: u32 = 20;

/// How long it stays open at first; each time in a row twice as long, up to [`OPEN_MAX`].
const OPEN_FIRST: Duration = Duration::from_secs(1);
const OPEN_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    /// A breaker with a clock that is moved by hand, and no chance: pauses are whole.
    struct Bench {
        breaker: Breaker,
        now: Moment,
    }

    impl Bench {
        fn new() -> Self {
            Self { breaker: Breaker::default(), now: Moment::ZERO }
        }

        fn ask(&mut self, is_success: bool) -> bool {
            let Some(permit) = self.breaker.permit(self.now) else { return false };
            self.breaker.record(permit, is_success, self.now, u64::MAX);
            true
        }

        fn ask_each(&mut self, outcomes: impl IntoIterator<Item = bool>) {
            for is_success in outcomes {
                assert!(self.ask(is_success), "it is closed");
            }
        }

        fn advance(&mut self, millis: u64) {
            self.now = self.now + Duration::from_millis(millis);
        }
    }

    #[test]
    fn five_failures_in_a_row_open_it() {
        let mut bench = Bench::new();
        bench.ask_each([false, false, false, false, true, false, false, false, false]);
        assert!(!bench.breaker.is_open(), "a success stands between them");
        bench.ask_each([false]);
        assert!(bench.breaker.is_open());
        assert!(!bench.ask(true), "nobody is asked while it is open");
    }

    #[test]
    fn half_of_the_last_twenty_opens_it() {
        let mut bench = Bench::new();
        bench.ask_each([true, false].repeat(9));
        bench.ask_each([true]);
        assert!(!bench.breaker.is_open(), "nineteen are too few to judge");
        bench.ask_each([false]);
        assert!(bench.breaker.is_open());
    }

    #[test]
    fn less_than_half_of_the_last_twenty_keeps_it_closed() {
        let mut bench = Bench::new();
        for _ in 0..10 {
            bench.ask_each([true, false].repeat(9));
            bench.ask_each([true, true]);
        }
        assert!(!bench.breaker.is_open());
    }

    #[test]
    fn half_open_lets_one_through_and_its_outcome_decides() {
        let mut bench = Bench::new();
        bench.ask_each([false; 5]);
        bench.advance(999);
        assert!(!bench.ask(true));
        bench.advance(1);
        let permit = bench.breaker.permit(bench.now).expect("the first second is over");
        assert_eq!(bench.breaker.permit(bench.now), None, "one is out");
        bench.breaker.record(permit, true, bench.now, 0);
        assert!(!bench.breaker.is_open());
        bench.ask_each([false; 4]);
        assert!(!bench.breaker.is_open(), "what was before is forgotten");
    }

    #[test]
    fn it_stays_open_twice_as_long_each_time_up_to_thirty_seconds() {
        let mut bench = Bench::new();
        bench.ask_each([false; 5]);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            bench.advance(seconds * 1000 - 1);
            assert!(!bench.ask(false), "{seconds}");
            bench.advance(1);
            assert!(bench.ask(false), "{seconds}");
        }
        bench.advance(30_000);
        assert!(bench.ask(true));
        bench.ask_each([false; 5]);
        bench.advance(1000);
        assert!(bench.ask(false), "after a success it begins with a second again");
    }

    #[test]
    fn a_late_outcome_of_another_round_says_nothing() {
        let mut bench = Bench::new();
        let slow = bench.breaker.permit(bench.now).expect("it is closed");
        bench.ask_each([false; 5]);
        bench.breaker.record(slow, true, bench.now, 0);
        assert!(bench.breaker.is_open());
        bench.advance(1000);
        let probe = bench.breaker.permit(bench.now).expect("the first second is over");
        bench.breaker.record(slow, true, bench.now, 0);
        assert!(bench.breaker.is_open(), "only the probe decides");
        bench.breaker.record(probe, true, bench.now, 0);
        assert!(!bench.breaker.is_open());
    }
}
