//! `fanout`: one publisher, many subscribers, every delivery checked. A publication carries who sent it, its number
//! and when it was due, so each shard counts what is lost, duplicated or reordered, and how long it took.
//!
//! Two protocols. `native` is the native dialect on one URL: subscribers join, the publisher publishes. `topic` is
//! for any other server and has two paths and no language: who connects to the URL is subscribed, and each text
//! that is sent to the publish path is delivered to all of them as it came.
//!
//! Publishing begins with probes until every subscriber got one: then a server that subscribes after it has
//! answered the handshake is not accused of losing what came before.

use std::time::Duration;

use highper_shards::io::{Open, Outgoing};
use highper_shards::mesh::Lane;
use highper_shards::{Moment, ShardId, SlotId};
use highper_wire::ws::{Kind, encoder};

use super::progress::Progress;
use super::publisher::Publisher;
use super::{RunError, describe_window, load, native, share};
use crate::client::{DIGITS, KEY, Template, number};
use crate::engine::Engine;
use crate::measure::{Arrival, Sequence};
use crate::options::{self, Protocol};
use crate::report::Report;
use crate::seam::{BenchIo, Dial, Message, Peer, Phase, Scenario, Step, Window};

/// One shard of the scenario.
pub struct Fanout {
    shape: Shape,
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

/// What every shard knows of the messages.
#[derive(Clone)]
pub struct Shape {
    protocol: Protocol,
    channel: String,
    publish_path: String,
    /// The publication, and where its payload begins in it.
    template: Template,
    offset: usize,
    size: usize,
    /// Tells this run from another one on the same channel.
    run: u64,
}

/// One connection.
pub enum Conn {
    /// The one that publishes.
    Publisher,
    /// One that receives.
    Subscriber(Sequence),
}

/// A payload of another run or none at all.
struct Foreign;

/// How far ahead of what all have a number may be before it is taken for damage.
const AHEAD_MAX: u64 = 1 << 24;

/// Runs the scenario.
pub fn run(options: &options::Fanout) -> Result<Report, RunError> {
    let subscribers = options.connections.get();
    let shards = options.common.shards.get();
    if u32::from(shards) > subscribers {
        return Err(RunError::Option(
            "--shards: more than --connections leaves shards without a subscriber".into(),
        ));
    }
    let shape = Shape::new(options);
    let (depth, rate, timeout) = (options.depth.get(), options.rate, options.common.timeout);
    let engine = Engine::start(&options.common, subscribers + 1, move |shard| {
        let publisher =
            (shard == 0).then(|| Publisher::new(shards, depth, rate.map(|rate| rate.get().into()), timeout));
        Fanout::new(shape.clone(), shard, share(subscribers, shards, shard), publisher)
    })?;
    engine.open_with_one_more(subscribers)?;
    let measured = load(engine, &options.common, &options.window)?;
    let mut report = Report::new("fanout", &options.common.url.url);
    report.count("subscribers", subscribers.into());
    match options.rate {
        Some(rate) => report.count("rate_asked", rate.get().into()),
        None => report.count("depth", depth.into()),
    }
    report.count("payload_bytes", options.size.into());
    let published = measured.tally.published;
    report.count("publications", published);
    report.number("publications_per_second", published as f64 / measured.elapsed.as_secs_f64(), "1/s");
    describe_window(&mut report, &measured, "delivery", measured.tally.messages);
    Ok(report)
}

impl Shape {
    fn new(options: &options::Fanout) -> Self {
        let size = options.size as usize;
        let (text, offset) = match options.protocol {
            Protocol::Native => native::publish(&options.channel, size),
            Protocol::Topic => (vec![b'x'; size], 0),
        };
        // The process and the time make two runs differ; the low digits are the publisher's number, 0.
        let run = (Moment::now().as_nanos() ^ u64::from(std::process::id()) << 32) << 16;
        Self {
            protocol: options.protocol,
            channel: options.channel.clone(),
            publish_path: options.publish_path.clone(),
            template: Template::new(&text, Kind::Text),
            offset,
            size,
            run,
        }
    }

    /// Writes publication `number`, due at `due`.
    pub fn write(&self, out: &mut Vec<u8>, number: u64, due: Moment) {
        let numbers = [self.run, number, due.as_nanos()];
        let places = [0, 1, 2].map(|place| (self.offset + place * DIGITS, numbers[place]));
        self.template.stamp(out, &places);
    }

    /// Reads a publication: its number and when it was due.
    fn read(&self, payload: &[u8]) -> Result<(u64, Moment), Foreign> {
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

impl Fanout {
    fn new(shape: Shape, shard: u16, subscribers: u32, publisher: Option<Publisher>) -> Self {
        Self {
            shape,
            shard,
            subscribers,
            slots: Vec::new(),
            begun: 0,
            progress: Progress::new(subscribers),
            told_seen: false,
            told_end: 0,
            publisher,
            end: None,
            untold: Vec::new(),
        }
    }

    fn deliver(&mut self, window: &mut Window, sequence: &mut Sequence, payload: &[u8]) {
        let Ok((number, due)) = self.shape.read(payload) else {
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

    /// Tells the publisher, here or on the first shard, what arrived since the last turn.
    fn report(&mut self, now: Moment, io: &mut BenchIo<Self>) {
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

    fn tell(&mut self, now: Moment, io: &mut BenchIo<Self>, peer: Peer) -> bool {
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

impl Scenario for Fanout {
    type Conn = Conn;

    fn dial(&mut self, index: u32) -> Dial<Conn> {
        if index < self.subscribers {
            return Dial { path: None, conn: Conn::Subscriber(Sequence::new()) };
        }
        let path = match self.shape.protocol {
            Protocol::Native => None,
            Protocol::Topic => Some(self.shape.publish_path.clone()),
        };
        Dial { path, conn: Conn::Publisher }
    }

    fn on_open(&mut self, slot: SlotId, conn: &mut Conn, out: &mut Outgoing<'_>) -> Step {
        match (conn, self.shape.protocol) {
            (Conn::Publisher, _) => {
                if let Some(publisher) = &mut self.publisher {
                    publisher.opened(slot);
                }
                Step::Ready
            }
            (Conn::Subscriber(_), Protocol::Topic) => {
                self.slots.push(slot);
                Step::Ready
            }
            (Conn::Subscriber(_), Protocol::Native) => {
                self.slots.push(slot);
                out.write_last(|bytes| {
                    encoder::masked_message(
                        bytes,
                        KEY,
                        Kind::Text,
                        native::join(&self.shape.channel).as_bytes(),
                    )
                });
                Step::Go
            }
        }
    }

    fn on_message(&mut self, window: &mut Window, conn: &mut Conn, payload: &[u8]) -> Step {
        let said = match self.shape.protocol {
            Protocol::Topic => native::Said::Message(payload),
            Protocol::Native => native::read(payload),
        };
        match (said, conn) {
            (native::Said::Error(text), _) => Step::Fail(String::from_utf8_lossy(text).into_owned()),
            (native::Said::Joined, Conn::Subscriber(_)) => Step::Ready,
            (native::Said::Message(payload), Conn::Subscriber(sequence)) => {
                self.deliver(window, sequence, payload);
                Step::Go
            }
            (native::Said::Joined | native::Said::Message(_), Conn::Publisher) | (native::Said::Other, _) => {
                Step::Go
            }
        }
    }

    fn on_phase(&mut self, window: &mut Window, _io: &mut BenchIo<Self>) {
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

    fn on_peer(&mut self, now: Moment, peer: Peer) {
        match (peer, &mut self.publisher) {
            (Peer::Published { end }, _) => self.end = Some(end),
            (Peer::Seen | Peer::Delivered { .. }, Some(publisher)) => publisher.hear(now, peer),
            (Peer::Seen | Peer::Delivered { .. }, None) => {}
        }
    }

    fn on_ended(&mut self, conn: &mut Conn) {
        match conn {
            Conn::Publisher => {}
            Conn::Subscriber(sequence) => {
                self.subscribers -= 1;
                self.begun -= u32::from(sequence.has_begun());
                self.progress.leave();
            }
        }
    }

    fn on_turn(&mut self, window: &mut Window, io: &mut BenchIo<Self>) {
        self.report(window.now, io);
        if !window.phase.has_load() {
            return;
        }
        let Some(publisher) = &mut self.publisher else { return };
        let Some(Open { mut out, .. }) = publisher.slot().and_then(|slot| io.open(slot)) else { return };
        while let Some((number, due)) = publisher.take(window.now) {
            if out.write(|bytes| self.shape.write(bytes, number, due)).is_err() {
                window.unsent(1);
            }
            window.tally.published += u64::from(window.phase == Phase::Measuring);
        }
    }

    fn wait_max(&self, now: Moment) -> Option<Duration> {
        self.publisher.as_ref().and_then(|publisher| publisher.wait(now))
    }

    fn is_drained(&self) -> bool {
        self.end.is_some_and(|end| self.progress.end() >= end && self.untold.is_empty())
    }

    fn finish(&mut self, window: &mut Window, io: &mut BenchIo<Self>) {
        // Without an end the publisher's shard is gone, and with it the number that could be missed.
        let Some(end) = self.end else { return };
        let begin = self.publisher.as_ref().map_or(0, Publisher::begun_at);
        for slot in &self.slots {
            let Some(conn) = io.conn(*slot) else { continue };
            if let Conn::Subscriber(sequence) = &conn.state {
                let missing = sequence.missing(begin, end);
                window.tally.errors.verdict.lost += missing;
                if missing > 0 {
                    window
                        .tally
                        .errors
                        .say(|| format!("a subscriber never got {missing} of {end} publications"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn shape(arguments: &str) -> Shape {
        let words = ["realtime-bench", "fanout"].into_iter().chain(arguments.split(' '));
        match options::Cli::try_parse_from(words).unwrap().command {
            options::Command::Fanout(options) => Shape::new(&options),
            other => panic!("{other:?}"),
        }
    }

    fn sent(shape: &Shape, number: u64, due: u64) -> Vec<u8> {
        let mut frame = Vec::new();
        shape.write(&mut frame, number, Moment::from_nanos(due));
        // A payload of 126 to 65,535 bytes: four bytes of length, four of key.
        frame[8..].iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let shape = shape("--protocol topic --size 200");
        let payload = sent(&shape, 77, 123_456_789);
        assert!(matches!(shape.read(&payload), Ok((77, due)) if due == Moment::from_nanos(123_456_789)));
    }

    #[test]
    fn a_damaged_or_foreign_payload_is_not_ours() {
        let shape = shape("--protocol topic --size 200");
        let payload = sent(&shape, 1, 2);
        assert!(shape.read(&payload[..199]).is_err(), "too short");
        for at in [0, 199] {
            let mut bent = payload.clone();
            bent[at] ^= 1;
            assert!(shape.read(&bent).is_err(), "byte {at}");
        }
    }

    #[test]
    fn the_native_publication_is_json_with_the_numbers_in_its_data() {
        let shape = shape("--size 128");
        let text = sent(&shape, 5, 6);
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let payload = value["data"].as_str().unwrap();
        assert!(matches!(shape.read(payload.as_bytes()), Ok((5, _))));
    }
}
