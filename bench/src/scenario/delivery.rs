//! One publisher and its many subscribers, whatever carries the publications: which numbers every subscriber of this
//! shard must get, what the publisher's shard is told, and what is missing at the end. Never knows a protocol.
//!
//! Publishing begins with probes until every subscriber got one: then a server that subscribes after it has
//! answered is not accused of losing what came before.

use std::time::Duration;

use highper_shards::io::Open;
use highper_shards::mesh::Lane;
use highper_shards::{Io, Moment, ShardId, SlotId};

use super::progress::Progress;
use super::publisher::Publisher;
use super::{RunError, describe_window, share};
use crate::client::{DIGITS, number};
use crate::generator::Conn;
use crate::measure::{Arrival, Sequence};
use crate::report::Report;
use crate::seam::{Message, Peer, Phase, Window};

/// What is written into each payload, so that whoever receives it can be checked.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Tells this run from another one on the same channel.
    run: u64,
    size: usize,
}

/// A payload of another run or none at all.
#[derive(Debug)]
pub struct Foreign;

/// The deliveries of one shard.
pub struct Delivery {
    stamp: Stamp,
    shard: u16,
    subscribers: u32,
    slots: Vec<SlotId>,
    /// Subscribers that got anything yet.
    begun: u32,
    progress: Progress,
    /// What the publisher's shard was told.
    told_seen: bool,
    told_end: u64,
    /// On the first shard.
    publisher: Option<Publisher>,
    /// How many were published, once it has ended.
    end: Option<u64>,
    /// Shards that must still be told the end.
    untold: Vec<u16>,
}

/// When the publisher publishes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Publications in flight of a closed loop.
    pub depth: u16,
    /// Publications a second of an open loop.
    pub rate: Option<u32>,
    /// After so long without progress the closed loop goes on behind what was lost.
    pub timeout: Duration,
}

/// How far ahead of what all have a number may be before it is taken for damage.
const AHEAD_MAX: u64 = 1 << 24;

impl Stamp {
    /// The stamp of a new run with payloads of `size` bytes, at least three times [`DIGITS`].
    pub fn new(size: usize) -> Self {
        // The process and the time make two runs differ; the low digits are the publisher's number, 0.
        let run = (Moment::now().as_nanos() ^ u64::from(std::process::id()) << 32) << 16;
        Self { run, size }
    }

    /// What stands where in the message whose payload begins at `offset`: publication `number`, due at `due`.
    pub fn numbers(&self, offset: usize, number: u64, due: Moment) -> [(usize, u64); 3] {
        let numbers = [self.run, number, due.as_nanos()];
        [0, 1, 2].map(|place| (offset + place * DIGITS, numbers[place]))
    }

    /// Reads a payload: its number and when it was due.
    pub fn read(&self, payload: &[u8]) -> Result<(u64, Moment), Foreign> {
        let (numbers, filler) = payload.split_first_chunk::<{ 3 * DIGITS }>().ok_or(Foreign)?;
        let (numbers, _) = numbers.as_chunks::<DIGITS>();
        let [run, sequence, due] = numbers else { return Err(Foreign) };
        let is_ours = number(run) == Some(self.run);
        if !is_ours || payload.len() != self.size || filler.iter().any(|byte| *byte != b'x') {
            return Err(Foreign);
        }
        Ok((number(sequence).ok_or(Foreign)?, Moment::from_nanos(number(due).ok_or(Foreign)?)))
    }
}

impl Delivery {
    /// The part of shard `shard` of `shards`, of all `subscribers`.
    pub fn new(stamp: Stamp, shard: u16, shards: u16, subscribers: u32, pace: Pace) -> Self {
        let subscribers = share(subscribers, shards, shard);
        let rate = pace.rate.map(u64::from);
        Self {
            stamp,
            shard,
            subscribers,
            slots: Vec::new(),
            begun: 0,
            progress: Progress::new(subscribers),
            told_seen: false,
            told_end: 0,
            publisher: (shard == 0).then(|| Publisher::new(shards, pace.depth, rate, pace.timeout)),
            end: None,
            untold: Vec::new(),
        }
    }

    /// Whether the connection with this index of the shard subscribes; the one after them publishes.
    pub fn is_subscriber(&self, index: u32) -> bool {
        index < self.subscribers
    }

    /// A subscriber's connection is open.
    pub fn subscriber_opened(&mut self, slot: SlotId) {
        self.slots.push(slot);
    }

    /// The publisher's connection is open.
    pub fn publisher_opened(&mut self, slot: SlotId) {
        if let Some(publisher) = &mut self.publisher {
            publisher.opened(slot);
        }
    }

    /// A subscriber is gone.
    pub fn left(&mut self, sequence: &Sequence) {
        self.subscribers -= 1;
        self.begun -= u32::from(sequence.has_begun());
        self.progress.leave();
    }

    /// A subscriber got a payload.
    pub fn deliver(&mut self, window: &mut Window, sequence: &mut Sequence, payload: &[u8]) {
        let Ok((number, due)) = self.stamp.read(payload) else {
            window.wrong(|| "a delivery is not what was published".to_owned());
            return;
        };
        if number >= self.progress.end() + AHEAD_MAX {
            window.wrong(|| format!("publication {number} was never sent"));
            return;
        }
        self.begun += u32::from(!sequence.has_begun());
        let arrival = sequence.see(number);
        window.tally.errors.verdict.count(arrival);
        match arrival {
            Arrival::InOrder | Arrival::AfterHole => {}
            Arrival::Reordered => window.tally.errors.say(|| format!("publication {number} came late")),
            Arrival::Duplicate => {
                return window.tally.errors.say(|| format!("publication {number} came twice"));
            }
        }
        self.progress.see(number);
        window.message(payload.len(), due);
    }

    /// The window moved on.
    pub fn on_phase(&mut self, window: &Window) {
        let Some(publisher) = &mut self.publisher else { return };
        match window.phase {
            Phase::Loading => publisher.begin(window.now),
            Phase::Draining => {
                self.end = Some(publisher.published());
                self.untold = publisher.other_shards().collect();
            }
            Phase::Opening | Phase::Measuring => {}
        }
    }

    /// Another shard says something.
    pub fn on_peer(&mut self, now: Moment, peer: Peer) {
        match (peer, &mut self.publisher) {
            (Peer::Published { end }, _) => self.end = Some(end),
            (Peer::Seen | Peer::Delivered { .. }, Some(publisher)) => publisher.hear(now, peer),
            (Peer::Seen | Peer::Delivered { .. }, None) => {}
        }
    }

    /// Once a turn: reports, then publishes what is due. `write` appends the message with a number and when it was
    /// due; how many it was asked for.
    pub fn on_turn<C>(
        &mut self,
        window: &mut Window,
        io: &mut Io<Conn<C>, Message>,
        write: impl Fn(&mut Vec<u8>, u64, Moment),
    ) -> u64 {
        self.report(window.now, io);
        if !window.phase.has_load() {
            return 0;
        }
        let Some(publisher) = &mut self.publisher else { return 0 };
        let Some(Open { mut out, .. }) = publisher.slot().and_then(|slot| io.open(slot)) else { return 0 };
        let mut written = 0;
        while let Some((number, due)) = publisher.take(window.now) {
            match out.write(|bytes| write(bytes, number, due)) {
                Ok(()) => written += 1,
                Err(_) => window.unsent(1),
            }
            window.tally.published += u64::from(window.phase == Phase::Measuring);
        }
        written
    }

    /// How long the shard may sleep.
    pub fn wait_max(&self, now: Moment) -> Option<Duration> {
        self.publisher.as_ref().and_then(|publisher| publisher.wait(now))
    }

    /// Whether everybody has everything and everybody knows.
    pub fn is_drained(&self) -> bool {
        self.end.is_some_and(|end| self.progress.end() >= end && self.untold.is_empty())
    }

    /// Counts what is missing; `sequence_of` finds what a subscriber has seen.
    pub fn finish<C>(
        &self,
        window: &mut Window,
        io: &mut Io<Conn<C>, Message>,
        sequence_of: impl Fn(&C) -> Option<&Sequence>,
    ) {
        // Without an end the publisher's shard is gone, and with it the number that could be missed.
        let Some(end) = self.end else { return };
        let begin = self.publisher.as_ref().map_or(0, Publisher::begun_at);
        let errors = &mut window.tally.errors;
        for slot in &self.slots {
            let Some(conn) = io.conn(*slot) else { continue };
            let missing = sequence_of(&conn.state).map_or(0, |sequence| sequence.missing(begin, end));
            errors.verdict.lost += missing;
            if missing > 0 {
                errors.say(|| format!("a subscriber never got {missing} of {end} publications"));
            }
        }
    }

    /// Tells the publisher, here or on the first shard, what arrived since the last turn.
    fn report<C>(&mut self, now: Moment, io: &mut Io<Conn<C>, Message>) {
        if !self.told_seen && self.begun >= self.subscribers {
            self.told_seen = self.tell(now, io, Peer::Seen);
        }
        if self.progress.end() > self.told_end {
            let end = self.progress.end();
            if self.tell(now, io, Peer::Delivered { shard: self.shard, end }) {
                self.told_end = end;
            }
        }
        let Some(end) = self.end else { return };
        self.untold.retain(|shard| {
            io.post(ShardId(*shard), Lane::Control, Message::Peer(Peer::Published { end })).is_err()
        });
    }

    fn tell<C>(&mut self, now: Moment, io: &mut Io<Conn<C>, Message>, peer: Peer) -> bool {
        match &mut self.publisher {
            Some(publisher) => {
                publisher.hear(now, peer);
                true
            }
            // A full lane: the next turn says it again, with newer numbers.
            None => io.post(ShardId(0), Lane::Bulk, Message::Peer(peer)).is_ok(),
        }
    }
}

/// Refuses a run in which a shard of the generator would have no subscriber.
pub fn check_shards(shards: u16, subscribers: u32) -> Result<(), RunError> {
    if u32::from(shards) <= subscribers {
        return Ok(());
    }
    Err(RunError::Option("--shards: more than --connections leaves shards without a subscriber".into()))
}

/// The figures of a run with `subscribers` and payloads of `size` bytes.
pub fn describe(report: &mut Report, measured: &super::Measured, subscribers: u32, pace: Pace, size: u32) {
    report.count("subscribers", subscribers.into());
    match pace.rate {
        Some(rate) => report.count("rate_asked", rate.into()),
        None => report.count("depth", pace.depth.into()),
    }
    report.count("payload_bytes", size.into());
    let published = measured.tally.published;
    report.count("publications", published);
    report.number("publications_per_second", published as f64 / measured.elapsed.as_secs_f64(), "1/s");
    describe_window(report, measured, "delivery", measured.tally.messages);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::digits;

    fn payload(stamp: &Stamp, number: u64, due: u64) -> Vec<u8> {
        let mut payload = vec![b'x'; stamp.size];
        for (offset, value) in stamp.numbers(0, number, Moment::from_nanos(due)) {
            payload[offset..offset + DIGITS].copy_from_slice(&digits(value));
        }
        payload
    }

    #[test]
    fn what_was_stamped_is_read() {
        for size in [48, 49, 200] {
            let stamp = Stamp::new(size);
            let read = stamp.read(&payload(&stamp, 77, 123_456_789)).unwrap();
            assert_eq!(read, (77, Moment::from_nanos(123_456_789)), "{size} bytes");
        }
    }

    #[test]
    fn a_damaged_or_foreign_payload_is_not_ours() {
        let stamp = Stamp::new(200);
        let payload = payload(&stamp, 1, 2);
        assert!(stamp.read(&payload[..199]).is_err(), "too short");
        for at in [0, 199] {
            let mut bent = payload.clone();
            bent[at] ^= 1;
            assert!(stamp.read(&bent).is_err(), "byte {at}");
        }
    }
}
