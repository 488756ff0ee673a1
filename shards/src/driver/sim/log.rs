//! The event log of a simulated world: a hash over everything that happened, and the last events in words for
//! whoever replays a seed. Never decides anything.

use std::collections::VecDeque;

use crate::clock::Moment;

/// Something that happened in a simulated world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Moment,
    /// What.
    pub what: What,
    /// To which shard or client.
    pub whom: u64,
    /// With which result: bytes, an error number, a time.
    pub value: u64,
}

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A shard got a connection.
    Accepted,
    /// A listener of a shard stopped.
    AcceptEnded,
    /// A shard got bytes.
    Received,
    /// A receive of a shard ended.
    ReceiveEnded,
    /// A send of a shard ended well.
    Sent,
    /// A send of a shard failed.
    SendFailed,
    /// An outgoing connection of a shard was made or failed.
    Connected,
    /// A socket of a shard was closed.
    Closed,
    /// Bytes reached a client.
    Arrived,
    /// A connection was reset.
    Reset,
    /// A shard began a turn.
    Turn,
    /// A shard was killed.
    Killed,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    hash: u64,
    events: u64,
    last: VecDeque<Event>,
    keep: usize,
}

impl Log {
    pub fn note(&mut self, at: Moment, what: What, whom: u64, value: u64) {
        self.events += 1;
        self.hash = mix(mix(mix(self.hash, at.as_nanos()), whom << 8 | what as u64), value);
        if self.keep > 0 {
            if self.last.len() == self.keep {
                self.last.pop_front();
            }
            self.last.push_back(Event { at, what, whom, value });
        }
    }

    /// What the bytes were: a byte that changes on the way changes the hash.
    pub fn note_bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.hash = mix(self.hash, u64::from_le_bytes(*word));
        }
        self.hash = rest.iter().fold(self.hash, |hash, byte| mix(hash, u64::from(*byte)));
    }

    pub fn keep(&mut self, events: usize) {
        self.keep = events;
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn events(&self) -> u64 {
        self.events
    }

    pub fn last(&self) -> Vec<Event> {
        self.last.iter().copied().collect()
    }
}

fn mix(hash: u64, value: u64) -> u64 {
    (hash.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
