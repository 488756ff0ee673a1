//! What one shard of the generator counted and timed, and the sum over shards. Never prints.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::Verdict;

/// Counts of one shard; of all shards after [`Tally::add`].
#[derive(Clone, Debug)]
pub struct Tally {
    /// Messages that arrived and were right, in the measured window.
    pub messages: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Messages sent by the publisher in the measured window.
    pub published: u64,
    /// From the moment a message was due to the turn in which its answer came in, nanoseconds.
    pub latency: Histogram<u64>,
    /// From connecting to the end of the handshake, nanoseconds.
    pub handshake: Histogram<u64>,
    /// Connections that were opened.
    pub opened: u64,
    /// What went wrong.
    pub errors: Errors,
}

/// What went wrong, by kind. All zero in a good run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// Connections that could not be made or were refused.
    pub failed: u64,
    /// Connections that ended by themselves.
    pub ended: u64,
    /// Messages with other bytes than expected.
    pub wrong: u64,
    /// Messages without an answer at the end.
    pub unanswered: u64,
    /// Messages the generator could not send because the server took none.
    pub unsent: u64,
    /// Lost, duplicated and reordered deliveries.
    pub verdict: Verdict,
    /// The first one in words.
    pub first: Option<String>,
}

/// Latencies from a nanosecond to a minute; longer ones count as a minute.
const LATENCY_MAX: Duration = Duration::from_secs(60);

impl Tally {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, LATENCY_MAX.as_nanos() as u64, 3).expect("bounds are valid");
        Self {
            messages: 0,
            bytes: 0,
            published: 0,
            latency: histogram(),
            handshake: histogram(),
            opened: 0,
            errors: Errors::default(),
        }
    }

    /// Counts a message that was right.
    pub fn message(&mut self, bytes: usize, latency: Duration) {
        self.messages += 1;
        self.bytes += bytes as u64;
        self.latency.saturating_record(latency.as_nanos() as u64);
    }

    /// Forgets messages and latencies: the window begins now. What went wrong stays.
    pub fn begin_window(&mut self) {
        (self.messages, self.bytes, self.published, self.opened) = (0, 0, 0, 0);
        self.latency.reset();
        self.handshake.reset();
    }

    /// Adds what another shard counted.
    pub fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.published += other.published;
        self.opened += other.opened;
        self.latency.add(&other.latency).expect("all histograms have the same bounds");
        self.handshake.add(&other.handshake).expect("all histograms have the same bounds");
        self.errors.add(&other.errors);
    }
}

impl Errors {
    /// All of them.
    pub fn total(&self) -> u64 {
        let Verdict { lost, duplicated, reordered } = self.verdict;
        self.failed + self.ended + self.wrong + self.unanswered + self.unsent + lost + duplicated + reordered
    }

    /// Keeps the words for the first error.
    pub fn say(&mut self, words: impl FnOnce() -> String) {
        self.first.get_or_insert_with(words);
    }

    fn add(&mut self, other: &Self) {
        self.failed += other.failed;
        self.ended += other.ended;
        self.wrong += other.wrong;
        self.unanswered += other.unanswered;
        self.unsent += other.unsent;
        self.verdict.add(&other.verdict);
        self.first = self.first.take().or_else(|| other.first.clone());
    }
}
