//! When the publisher of a fan-out publishes: probes until every subscriber got one, then in a closed loop of
//! `depth` or at a rate. Knows numbers and time, never bytes.

use std::time::Duration;

use highper_shards::{Moment, SlotId};

use super::schedule::Schedule;
use crate::seam::Peer;

/// The publisher.
pub struct Publisher {
    slot: Option<SlotId>,
    depth: u64,
    rate: Option<u64>,
    timeout: Duration,
    /// The number that is published next.
    next: u64,
    /// Up to which number each shard has everything.
    delivered: Vec<u64>,
    /// Shards whose subscribers all got something.
    seen: usize,
    stage: Stage,
    /// When something was last delivered.
    progress_at: Moment,
}

enum Stage {
    Waiting,
    Probing { next_at: Moment },
    Closed { begin: u64 },
    Open { begin: u64, schedule: Schedule },
}

/// Between two probes: longer than a server needs to finish a handshake.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);

impl Publisher {
    /// A publisher that waits for its connection.
    pub fn new(shards: u16, depth: u16, rate: Option<u64>, timeout: Duration) -> Self {
        Self {
            slot: None,
            depth: depth.into(),
            rate,
            timeout,
            next: 0,
            delivered: vec![0; shards.into()],
            seen: 0,
            stage: Stage::Waiting,
            progress_at: Moment::ZERO,
        }
    }

    /// Its connection is open.
    pub fn opened(&mut self, slot: SlotId) {
        self.slot = Some(slot);
    }

    /// Its connection.
    pub fn slot(&self) -> Option<SlotId> {
        self.slot
    }

    /// Starts to publish.
    pub fn begin(&mut self, now: Moment) {
        self.stage = Stage::Probing { next_at: now };
    }

    /// A shard of the generator, this one included, reports.
    pub fn hear(&mut self, now: Moment, peer: Peer) {
        match peer {
            Peer::Seen => self.seen += 1,
            Peer::Delivered { shard, end } => {
                self.delivered[usize::from(shard)] = end;
                self.progress_at = now;
            }
            Peer::Published { .. } => {}
        }
        if matches!(self.stage, Stage::Probing { .. }) && self.seen == self.delivered.len() {
            let begin = self.next;
            self.progress_at = now;
            self.stage = match self.rate {
                Some(rate) => Stage::Open { begin, schedule: Schedule::new(now, rate) },
                None => Stage::Closed { begin },
            };
        }
    }

    /// The next publication, if one is to leave now: its number and when it was due.
    pub fn take(&mut self, now: Moment) -> Option<(u64, Moment)> {
        let done = self.delivered.iter().copied().min().unwrap_or(0);
        let due = match &mut self.stage {
            Stage::Waiting => None,
            Stage::Probing { next_at } => (*next_at <= now).then(|| {
                *next_at = now + PROBE_INTERVAL;
                now
            }),
            Stage::Closed { begin } => {
                if now.since(self.progress_at) >= self.timeout {
                    // Something was lost: the checker knows it; the loop goes on behind it.
                    (*begin, self.progress_at) = (self.next, now);
                }
                (self.next - done.max(*begin) < self.depth).then_some(now)
            }
            Stage::Open { schedule, .. } => schedule.take(now),
        }?;
        self.next += 1;
        Some((self.next - 1, due))
    }

    /// How long until [`Publisher::take`] may have something though nobody reports.
    pub fn wait(&self, now: Moment) -> Option<Duration> {
        match &self.stage {
            Stage::Waiting => None,
            Stage::Probing { next_at } => Some(next_at.since(now)),
            Stage::Closed { .. } => Some((self.progress_at + self.timeout).since(now)),
            Stage::Open { schedule, .. } => Some(schedule.wait(now)),
        }
    }

    /// How many were published.
    pub fn published(&self) -> u64 {
        self.next
    }

    /// The first number after the probes.
    pub fn begun_at(&self) -> u64 {
        match &self.stage {
            Stage::Waiting | Stage::Probing { .. } => 0,
            Stage::Closed { begin } | Stage::Open { begin, .. } => *begin,
        }
    }

    /// The shards besides this one.
    pub fn other_shards(&self) -> impl Iterator<Item = u16> + use<> {
        1..self.delivered.len() as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment::from_nanos(1_000_000_000);
    const TIMEOUT: Duration = Duration::from_secs(1);

    fn taken(publisher: &mut Publisher, now: Moment) -> Vec<u64> {
        std::iter::from_fn(|| publisher.take(now)).map(|(number, _)| number).collect()
    }

    fn begun(depth: u16, rate: Option<u64>) -> Publisher {
        let mut publisher = Publisher::new(2, depth, rate, TIMEOUT);
        publisher.begin(START);
        publisher
    }

    #[test]
    fn it_probes_until_every_shard_has_seen_something() {
        let mut publisher = begun(1, None);
        assert_eq!(taken(&mut publisher, START), [0]);
        publisher.hear(START, Peer::Seen);
        assert_eq!(taken(&mut publisher, START + PROBE_INTERVAL), [1]);
        publisher.hear(START + PROBE_INTERVAL, Peer::Seen);
        assert_eq!(taken(&mut publisher, START + PROBE_INTERVAL), [2], "the loop begins");
        assert_eq!(publisher.begun_at(), 2);
    }

    #[test]
    fn a_closed_loop_waits_for_the_slowest_shard() {
        let mut publisher = begun(2, None);
        publisher.hear(START, Peer::Seen);
        publisher.hear(START, Peer::Seen);
        assert_eq!(taken(&mut publisher, START), [0, 1]);
        publisher.hear(START, Peer::Delivered { shard: 0, end: 2 });
        assert_eq!(taken(&mut publisher, START), [0; 0]);
        publisher.hear(START, Peer::Delivered { shard: 1, end: 1 });
        assert_eq!(taken(&mut publisher, START), [2]);
    }

    #[test]
    fn a_loss_does_not_stop_a_closed_loop_for_good() {
        let mut publisher = begun(1, None);
        publisher.hear(START, Peer::Seen);
        publisher.hear(START, Peer::Seen);
        assert_eq!(taken(&mut publisher, START), [0]);
        assert_eq!(publisher.wait(START), Some(TIMEOUT));
        assert_eq!(taken(&mut publisher, START + TIMEOUT), [1]);
    }

    #[test]
    fn a_rate_does_not_wait_for_anybody() {
        let mut publisher = begun(1, Some(1000));
        publisher.hear(START, Peer::Seen);
        publisher.hear(START, Peer::Seen);
        assert_eq!(taken(&mut publisher, START + Duration::from_millis(3)), [0, 1, 2, 3]);
    }
}
