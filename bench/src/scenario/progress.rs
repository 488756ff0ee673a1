//! How far the subscribers of one shard are: the number up to which all of them have everything that all of them
//! will get. Knows counts, never connections.

use std::collections::VecDeque;

/// Progress of a shard's subscribers.
pub struct Progress {
    subscribers: u32,
    end: u64,
    /// How many have `end`, `end + 1`, ….
    counts: VecDeque<u32>,
}

impl Progress {
    /// Nobody has anything yet.
    pub fn new(subscribers: u32) -> Self {
        Self { subscribers, end: 0, counts: VecDeque::new() }
    }

    /// One more than the highest number that every subscriber has.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// A subscriber has got `number`, for the first time.
    pub fn see(&mut self, number: u64) {
        let Some(ahead) = number.checked_sub(self.end) else { return };
        let at = usize::try_from(ahead).expect("callers bound how far ahead a number is");
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += 1;
        if self.counts[at] >= self.subscribers {
            // What came before and is not complete now is lost to somebody; the checker has it in its holes.
            self.counts.drain(..=at);
            self.end = number + 1;
        }
    }

    /// A subscriber is gone; the others decide alone.
    pub fn leave(&mut self) {
        self.subscribers = self.subscribers.saturating_sub(1);
        while let Some(at) = self.counts.iter().position(|count| *count >= self.subscribers) {
            self.counts.drain(..=at);
            self.end += at as u64 + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_subscriber_decides() {
        let mut progress = Progress::new(2);
        for number in [0, 1, 2] {
            progress.see(number);
        }
        assert_eq!(progress.end(), 0);
        progress.see(0);
        assert_eq!(progress.end(), 1);
        progress.see(1);
        progress.see(2);
        assert_eq!(progress.end(), 3);
    }

    #[test]
    fn a_number_one_subscriber_lost_does_not_hold_up_the_next() {
        let mut progress = Progress::new(2);
        for number in [0, 0, 1, 2, 2] {
            progress.see(number);
        }
        assert_eq!(progress.end(), 3);
        progress.see(1);
        assert_eq!(progress.end(), 3, "late numbers change nothing");
    }

    #[test]
    fn who_leaves_is_not_waited_for() {
        let mut progress = Progress::new(3);
        for number in [0, 0, 1, 1] {
            progress.see(number);
        }
        progress.leave();
        assert_eq!(progress.end(), 2);
    }
}
