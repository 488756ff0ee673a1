//! `fanout`: one publisher, many subscribers, every delivery checked. A publication carries who sent it, its number
//! and when it was due, so each shard counts what is lost, duplicated or reordered, and how long it took.
//!
//! Two protocols. `native` is the native dialect on one URL: subscribers join, the publisher publishes. `topic` is
//! for any other server and has two paths and no language: who connects to the URL is subscribed, and each text
//! that is sent to the publish path is delivered to all of them as it came.

use std::time::Duration;

use highper_shards::io::Outgoing;
use highper_shards::{Moment, SlotId};
use highper_wire::ws::{Kind, encoder};

use super::delivery::{Delivery, Pace, Stamp, check_shards, describe};
use super::{RunError, load, native};
use crate::client::{KEY, Template};
use crate::engine::Engine;
use crate::measure::Sequence;
use crate::options::{self, Protocol};
use crate::report::Report;
use crate::seam::{BenchIo, Dial, Peer, Scenario, Step, Window};

/// One shard of the scenario.
pub struct Fanout {
    shape: Shape,
    delivery: Delivery,
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
    stamp: Stamp,
}

/// One connection.
pub enum Conn {
    /// The one that publishes.
    Publisher,
    /// One that receives.
    Subscriber(Sequence),
}

/// Runs the scenario.
pub fn run(options: &options::Fanout) -> Result<Report, RunError> {
    let subscribers = options.connections.get();
    let shards = options.common.shards.get();
    check_shards(shards, subscribers)?;
    let shape = Shape::new(options);
    let pace = Pace {
        depth: options.depth.get(),
        rate: options.rate.map(|rate| rate.get()),
        timeout: options.common.timeout,
    };
    let engine = Engine::start(&options.common, subscribers + 1, move |shard| Fanout {
        delivery: Delivery::new(shape.stamp, shard, shards, subscribers, pace),
        shape: shape.clone(),
    })?;
    engine.open_with_one_more(subscribers)?;
    let measured = load(engine, &options.common, &options.window)?;
    let mut report = Report::new("fanout", &options.common.url.url);
    describe(&mut report, &measured, subscribers, pace, options.size);
    Ok(report)
}

impl Shape {
    fn new(options: &options::Fanout) -> Self {
        let size = options.size as usize;
        let (text, offset) = match options.protocol {
            Protocol::Native => native::publish(&options.channel, size),
            Protocol::Topic => (vec![b'x'; size], 0),
        };
        Self {
            protocol: options.protocol,
            channel: options.channel.clone(),
            publish_path: options.publish_path.clone(),
            template: Template::new(&text, Kind::Text),
            offset,
            stamp: Stamp::new(size),
        }
    }

    /// Writes publication `number`, due at `due`.
    fn write(&self, out: &mut Vec<u8>, number: u64, due: Moment) {
        self.template.stamp(out, &self.stamp.numbers(self.offset, number, due));
    }
}

impl Scenario for Fanout {
    type Conn = Conn;

    fn dial(&mut self, index: u32) -> Dial<Conn> {
        if self.delivery.is_subscriber(index) {
            return Dial::websocket(Conn::Subscriber(Sequence::new()));
        }
        match self.shape.protocol {
            Protocol::Native => Dial::websocket(Conn::Publisher),
            Protocol::Topic => Dial::websocket_at(self.shape.publish_path.clone(), Conn::Publisher),
        }
    }

    fn on_open(&mut self, slot: SlotId, conn: &mut Conn, out: &mut Outgoing<'_>) -> Step {
        match (conn, self.shape.protocol) {
            (Conn::Publisher, _) => {
                self.delivery.publisher_opened(slot);
                Step::Ready
            }
            (Conn::Subscriber(_), Protocol::Topic) => {
                self.delivery.subscriber_opened(slot);
                Step::Ready
            }
            (Conn::Subscriber(_), Protocol::Native) => {
                self.delivery.subscriber_opened(slot);
                let join = native::join(&self.shape.channel);
                out.write_last(|bytes| encoder::masked_message(bytes, KEY, Kind::Text, join.as_bytes()));
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
                self.delivery.deliver(window, sequence, payload);
                Step::Go
            }
            (native::Said::Joined | native::Said::Message(_), Conn::Publisher) | (native::Said::Other, _) => {
                Step::Go
            }
        }
    }

    fn on_phase(&mut self, window: &mut Window, _io: &mut BenchIo<Self>) {
        self.delivery.on_phase(window);
    }

    fn on_peer(&mut self, now: Moment, peer: Peer) {
        self.delivery.on_peer(now, peer);
    }

    fn on_ended(&mut self, conn: &mut Conn) {
        match conn {
            Conn::Publisher => {}
            Conn::Subscriber(sequence) => self.delivery.left(sequence),
        }
    }

    fn on_turn(&mut self, window: &mut Window, io: &mut BenchIo<Self>) {
        let shape = &self.shape;
        self.delivery.on_turn(window, io, |bytes, number, due| shape.write(bytes, number, due));
    }

    fn wait_max(&self, now: Moment) -> Option<Duration> {
        self.delivery.wait_max(now)
    }

    fn is_drained(&self) -> bool {
        self.delivery.is_drained()
    }

    fn finish(&mut self, window: &mut Window, io: &mut BenchIo<Self>) {
        self.delivery.finish(window, io, |conn| match conn {
            Conn::Publisher => None,
            Conn::Subscriber(sequence) => Some(sequence),
        });
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
    fn the_native_publication_is_json_with_the_numbers_in_its_data() {
        let shape = shape("--size 128");
        let text = sent(&shape, 5, 6);
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let payload = value["data"].as_str().unwrap();
        assert!(matches!(shape.stamp.read(payload.as_bytes()), Ok((5, _))));
    }
}
