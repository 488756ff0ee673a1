//! `sse`: one publisher by HTTP, many subscribers by Server-Sent Events, every delivery checked as in `fanout`. All
//! publications leave on one kept-alive connection, and each is to be answered by 2xx.

use std::sync::Arc;
use std::time::Duration;

use highper_shards::io::Outgoing;
use highper_shards::{Moment, SlotId};
use highper_wire::sse;

use super::delivery::{Delivery, Pace, Stamp, check_shards, describe};
use super::publication::Publication;
use super::{RunError, load};
use crate::client::response::{Answers, Part, Reader};
use crate::engine::Engine;
use crate::measure::Sequence;
use crate::options::{self, Format, Target, Tokens};
use crate::report::Report;
use crate::seam::{BenchIo, Dial, Peer, Scenario, Step, Window};

/// One shard of the scenario.
pub struct Sse {
    shape: Arc<Shape>,
    delivery: Delivery,
    /// Publications without an answer.
    unanswered: u64,
    /// Streams that were asked for.
    asked: usize,
}

/// What every shard knows of the messages.
struct Shape {
    subscribe_to: Target,
    tokens: Tokens,
    publish_to: Target,
    format: Format,
    publication: Publication,
    stamp: Stamp,
}

/// One connection.
pub enum Conn {
    /// The one that publishes.
    Publisher(Answers),
    /// One that receives.
    Subscriber(Box<Stream>),
}

/// One event stream.
#[derive(Default)]
pub struct Stream {
    reader: Reader,
    decoder: sse::Decoder,
    sequence: Sequence,
}

/// Runs the scenario.
pub fn run(options: &options::Sse) -> Result<Report, RunError> {
    let subscribers = options.connections.get();
    let shards = options.common.shards.get();
    check_shards(shards, subscribers)?;
    let size = options.size as usize;
    let language = &options.language;
    let shape = Arc::new(Shape {
        subscribe_to: options.common.url.clone(),
        tokens: options.common.token.clone(),
        publish_to: options.publish_url.clone(),
        format: language.publish_format,
        publication: Publication::new(language, &options.publish_url, &language.channel, size),
        stamp: Stamp::new(size),
    });
    let pace = Pace {
        depth: options.depth.get(),
        rate: options.rate.map(|rate| rate.get()),
        timeout: options.common.timeout,
    };
    let engine = Engine::start(&options.common, subscribers + 1, move |shard| Sse {
        delivery: Delivery::new(shape.stamp, shard, shards, subscribers, pace),
        shape: Arc::clone(&shape),
        unanswered: 0,
        asked: 0,
    })?;
    engine.open_with_one_more(subscribers)?;
    let measured = load(engine, &options.common, &options.window)?;
    let mut report = Report::new("sse", &options.common.url.url);
    report.text("publish_url", &options.publish_url.url);
    describe(&mut report, &measured, subscribers, pace, options.size);
    Ok(report)
}

impl Sse {
    fn on_stream(&mut self, window: &mut Window, stream: &mut Stream, mut bytes: &[u8]) -> Step {
        let mut step = Step::Go;
        loop {
            match stream.reader.next(&mut bytes) {
                Ok(None) => return step,
                Ok(Some(Part::Head { status: 200, is_event_stream: true })) => step = Step::Ready,
                Ok(Some(Part::Head { status, .. })) => {
                    return Step::Fail(format!("the server answered {status} without an event stream"));
                }
                Ok(Some(Part::Body(text))) => {
                    let (format, delivery) = (self.shape.format, &mut self.delivery);
                    let told = stream.decoder.feed(text, |event| {
                        // Other names are what a server says of the stream itself.
                        if event.event == "message" {
                            let payload = format.payload(event.data.as_bytes());
                            delivery.deliver(window, &mut stream.sequence, payload);
                        }
                    });
                    if let Err(error) = told {
                        return Step::Fail(error.to_string());
                    }
                }
                Ok(Some(Part::End)) => return Step::Fail("the server ended a stream".to_owned()),
                Err(error) => return Step::Fail(error.to_string()),
            }
        }
    }

    fn on_answers(&mut self, answers: &mut Answers, bytes: &[u8]) -> Step {
        let mut refused = None;
        let told = answers.feed(bytes, |status, body| {
            self.unanswered = self.unanswered.saturating_sub(1);
            if !(200..300).contains(&status) {
                refused = Some(format!("a publication was answered {status}: {}", body.escape_ascii()));
            }
        });
        match (told, refused) {
            (Err(error), _) => Step::Fail(error.to_string()),
            (Ok(()), Some(words)) => Step::Fail(words),
            (Ok(()), None) => Step::Go,
        }
    }
}

impl Scenario for Sse {
    type Conn = Conn;

    fn dial(&mut self, index: u32) -> Dial<Conn> {
        if self.delivery.is_subscriber(index) {
            return Dial::bytes(self.shape.subscribe_to.address, Conn::Subscriber(Box::default()));
        }
        Dial::bytes(self.shape.publish_to.address, Conn::Publisher(Answers::default()))
    }

    fn on_open(&mut self, slot: SlotId, conn: &mut Conn, out: &mut Outgoing<'_>) -> Step {
        match conn {
            Conn::Publisher(_) => {
                self.delivery.publisher_opened(slot);
                Step::Ready
            }
            Conn::Subscriber(_) => {
                self.delivery.subscriber_opened(slot);
                let Target { path, host, .. } = &self.shape.subscribe_to;
                let token = self.shape.tokens.authorization(self.asked);
                self.asked += 1;
                let token = token.map_or_else(String::new, |token| format!("Authorization: {token}\r\n"));
                let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{token}");
                out.write_last(|bytes| {
                    bytes.extend_from_slice(head.as_bytes());
                    bytes.extend_from_slice(b"Accept: text/event-stream\r\n\r\n");
                });
                Step::Go
            }
        }
    }

    fn on_message(&mut self, window: &mut Window, conn: &mut Conn, bytes: &[u8]) -> Step {
        match conn {
            Conn::Publisher(answers) => self.on_answers(answers, bytes),
            Conn::Subscriber(stream) => self.on_stream(window, stream, bytes),
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
            Conn::Publisher(_) => {}
            Conn::Subscriber(stream) => self.delivery.left(&stream.sequence),
        }
    }

    fn on_turn(&mut self, window: &mut Window, io: &mut BenchIo<Self>) {
        let Shape { publication, stamp, .. } = &*self.shape;
        self.unanswered += self.delivery.on_turn(window, io, |bytes, number, due| {
            publication.request.stamp(bytes, &stamp.numbers(publication.offset, number, due));
        });
    }

    fn wait_max(&self, now: Moment) -> Option<Duration> {
        self.delivery.wait_max(now)
    }

    fn is_drained(&self) -> bool {
        self.delivery.is_drained() && self.unanswered == 0
    }

    fn finish(&mut self, window: &mut Window, io: &mut BenchIo<Self>) {
        self.delivery.finish(window, io, |conn| match conn {
            Conn::Publisher(_) => None,
            Conn::Subscriber(stream) => Some(&stream.sequence),
        });
        if self.unanswered > 0 {
            window.tally.errors.unanswered += self.unanswered;
            window.tally.errors.say(|| "publications were never answered".to_owned());
        }
    }
}
