//! Judges the sequence numbers one subscriber receives from one publisher: what is missing, what came twice, what
//! came late. Works on numbers as they arrive and remembers only the holes. Never knows time or bytes.

use std::ops::Range;

/// What one subscriber has seen of one publisher.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    /// The first number seen: the subscription counts from there.
    first: u64,
    /// The number that comes next if nothing goes wrong; `first` until something arrived.
    next: u64,
    begun: bool,
    /// Numbers below `next` that have not arrived, ascending.
    holes: Vec<Range<u64>>,
}

/// How a number arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The one that was expected.
    InOrder,
    /// Later than expected: those between are missing for now.
    AfterHole,
    /// One that was missing: it was not lost but overtaken.
    Reordered,
    /// One that had arrived before.
    Duplicate,
}

/// The sum over subscribers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Numbers that never arrived at a subscriber that had to get them.
    pub lost: u64,
    /// Numbers that arrived again.
    pub duplicated: u64,
    /// Numbers that were overtaken by a later one.
    pub reordered: u64,
}

impl Sequence {
    /// Nothing seen: the first number that arrives begins the subscription.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next number.
    pub fn see(&mut self, number: u64) -> Arrival {
        if !self.begun {
            (self.begun, self.first, self.next) = (true, number, number + 1);
            return Arrival::InOrder;
        }
        if number == self.next {
            self.next += 1;
            return Arrival::InOrder;
        }
        if number > self.next {
            self.holes.push(self.next..number);
            self.next = number + 1;
            return Arrival::AfterHole;
        }
        if self.fill(number) { Arrival::Reordered } else { Arrival::Duplicate }
    }

    /// Whether anything arrived.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Numbers below `end` that are missing, from the first one seen; all from `begin` on if nothing was.
    pub fn missing(&self, begin: u64, end: u64) -> u64 {
        if !self.begun {
            return end.saturating_sub(begin);
        }
        let holes: u64 = self.holes.iter().map(|hole| hole.end - hole.start).sum();
        holes + end.saturating_sub(self.next)
    }

    fn fill(&mut self, number: u64) -> bool {
        let Some(at) = self.holes.iter().position(|hole| hole.contains(&number)) else { return false };
        let hole = self.holes.remove(at);
        let parts = [number + 1..hole.end, hole.start..number];
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            self.holes.insert(at, part);
        }
        true
    }
}

impl Verdict {
    /// Counts an arrival.
    pub fn count(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::InOrder | Arrival::AfterHole => {}
            Arrival::Reordered => self.reordered += 1,
            Arrival::Duplicate => self.duplicated += 1,
        }
    }

    /// Adds what another shard found.
    pub fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict on a log of one subscriber when `0..end` was published.
    fn verdict(log: &[u64], end: u64) -> Verdict {
        let (mut sequence, mut verdict) = (Sequence::new(), Verdict::default());
        for number in log {
            verdict.count(sequence.see(*number));
        }
        verdict.lost = sequence.missing(0, end);
        verdict
    }

    #[test]
    fn a_log_in_order_is_clean() {
        assert_eq!(verdict(&[0, 1, 2, 3], 4), Verdict::default());
    }

    #[test]
    fn a_number_that_never_comes_is_lost() {
        assert_eq!(verdict(&[0, 1, 4], 5), Verdict { lost: 2, ..Verdict::default() });
        assert_eq!(verdict(&[0, 1, 2], 5), Verdict { lost: 2, ..Verdict::default() }, "at the end");
        assert_eq!(verdict(&[], 5), Verdict { lost: 5, ..Verdict::default() }, "all of them");
    }

    #[test]
    fn a_number_that_comes_again_is_a_duplicate() {
        assert_eq!(verdict(&[0, 1, 1, 2, 0], 3), Verdict { duplicated: 2, ..Verdict::default() });
    }

    #[test]
    fn a_number_that_was_overtaken_is_reordered_and_not_lost() {
        assert_eq!(verdict(&[0, 2, 1, 3], 4), Verdict { reordered: 1, ..Verdict::default() });
        assert_eq!(verdict(&[0, 4, 2, 1, 3, 5], 6), Verdict { reordered: 3, ..Verdict::default() });
    }

    #[test]
    fn each_fault_is_counted_as_what_it_is() {
        let found = verdict(&[0, 3, 2, 2, 5], 6);
        assert_eq!(found, Verdict { lost: 2, duplicated: 1, reordered: 1 }, "1 and 4 are lost");
    }

    #[test]
    fn a_subscription_counts_from_the_first_number_it_sees() {
        assert_eq!(verdict(&[7, 8, 10], 11), Verdict { lost: 1, ..Verdict::default() });
    }

    #[test]
    fn random_logs_agree_with_a_set() {
        let mut state = 7u64;
        for round in 0..500 {
            let mut log = vec![0];
            for _ in 0..40 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                log.push(state >> 59);
            }
            let (mut seen, mut highest, mut expected) =
                (std::collections::BTreeSet::new(), 0, Verdict::default());
            for number in &log {
                if !seen.insert(*number) {
                    expected.duplicated += 1;
                } else if *number < highest {
                    expected.reordered += 1;
                }
                highest = highest.max(*number);
            }
            expected.lost = 32 - seen.len() as u64;
            assert_eq!(verdict(&log, 32), expected, "round {round}: {log:?}");
        }
    }
}
