//! `publish`: publications by HTTP, so many in flight on each kept-alive connection. Every answer must be 2xx, and
//! name a position in its channel behind the one before: answers that were swapped or repeated are found.

use std::collections::VecDeque;
use std::sync::Arc;

use highper_shards::io::{Open, Outgoing};
use highper_shards::{Moment, SlotId};

use super::publication::{Position, Publication};
use super::{RunError, describe_window, run_window};
use crate::client::response::Answers;
use crate::engine::Engine;
use crate::options::{self, Format};
use crate::report::Report;
use crate::seam::{BenchIo, Dial, Phase, Scenario, Step, Window};

/// One shard of the scenario.
pub struct Publish {
    shape: Arc<Shape>,
    slots: Vec<SlotId>,
    in_flight: u64,
}

struct Shape {
    address: std::net::SocketAddr,
    format: Format,
    /// One for each channel, taken in turn.
    publications: Vec<Publication>,
    size: usize,
    depth: u16,
}

/// What is in flight on one connection.
pub struct Conn {
    answers: Answers,
    sent: u64,
    answered: u64,
    due: VecDeque<Moment>,
    /// Answers of this receive, to be followed by as many publications.
    replies: u32,
    /// The last position in each channel.
    positions: Vec<Option<Position>>,
}

/// Runs the scenario.
pub fn run(options: &options::Publish) -> Result<Report, RunError> {
    let connections = options.connections.get();
    let shape = Arc::new(Shape::new(options));
    if options.common.token.authorization(0).is_some() {
        return Err(RunError::Option("--token: publications show the key of --api-key".into()));
    }
    let engine = Engine::start(&options.common, connections, move |_| Publish {
        shape: Arc::clone(&shape),
        slots: Vec::new(),
        in_flight: 0,
    })?;
    let measured = run_window(engine, connections, &options.common, &options.window)?;
    let mut report = Report::new("publish", &options.common.url.url);
    report.count("connections", connections.into());
    report.count("depth", options.depth.get().into());
    report.count("channels", options.channels.get().into());
    report.count("payload_bytes", options.size.into());
    describe_window(&mut report, &measured, "publication", measured.tally.messages);
    Ok(report)
}

impl Shape {
    fn new(options: &options::Publish) -> Self {
        let (language, size) = (&options.language, options.size as usize);
        let publication = |number: u16| {
            let channel = match number {
                0 => language.channel.clone(),
                more => format!("{}-{more}", language.channel),
            };
            Publication::new(language, &options.common.url, &channel, size)
        };
        Self {
            address: options.common.url.address,
            format: language.publish_format,
            publications: (0..options.channels.get()).map(publication).collect(),
            size,
            depth: options.depth.get(),
        }
    }

    /// The publication, by its place in the list, that number `number` of a connection is.
    fn place(&self, number: u64) -> usize {
        (number % self.publications.len() as u64) as usize
    }

    fn send(&self, conn: &mut Conn, out: &mut Outgoing<'_>, count: u32, due: Moment) -> bool {
        let first = conn.sent;
        let sent = out.write(|bytes| {
            for number in first..first + u64::from(count) {
                let Publication { request, offset } = &self.publications[self.place(number)];
                request.stamp(bytes, &[(*offset, number)]);
            }
        });
        if sent.is_ok() {
            conn.sent += u64::from(count);
            conn.due.extend(std::iter::repeat_n(due, count as usize));
        }
        sent.is_ok()
    }
}

impl Conn {
    /// An answer came in: whether it is the next one, in words if not.
    fn on_answer(&mut self, shape: &Shape, status: u16, body: &[u8]) -> Result<Moment, String> {
        let due = self.due.pop_front().ok_or("an answer came in that answers nothing")?;
        let place = shape.place(self.answered);
        self.answered += 1;
        self.replies += 1;
        if !(200..300).contains(&status) {
            return Err(format!("a publication was answered {status}: {}", body.escape_ascii()));
        }
        let position = shape.format.position(body);
        let last = std::mem::replace(&mut self.positions[place], position);
        if position.is_none() {
            return Err(format!("an answer names no position: {}", body.escape_ascii()));
        }
        if position <= last {
            return Err(format!("an answer names position {position:?} behind {last:?}"));
        }
        Ok(due)
    }
}

impl Scenario for Publish {
    type Conn = Conn;

    fn dial(&mut self, _index: u32) -> Dial<Conn> {
        let positions = vec![None; self.shape.publications.len()];
        let (answers, due) = (Answers::default(), VecDeque::new());
        let conn = Conn { answers, sent: 0, answered: 0, due, replies: 0, positions };
        Dial::bytes(self.shape.address, conn)
    }

    fn on_open(&mut self, slot: SlotId, _conn: &mut Conn, _out: &mut Outgoing<'_>) -> Step {
        self.slots.push(slot);
        Step::Ready
    }

    fn on_message(&mut self, window: &mut Window, conn: &mut Conn, bytes: &[u8]) -> Step {
        let mut answers = std::mem::take(&mut conn.answers);
        let before = conn.due.len();
        let read = answers.feed(bytes, |status, body| match conn.on_answer(&self.shape, status, body) {
            Ok(due) => window.message(self.shape.size, due),
            Err(words) => {
                window.wrong(|| words);
            }
        });
        conn.answers = answers;
        self.in_flight -= (before - conn.due.len()) as u64;
        match read {
            Ok(()) => Step::Go,
            Err(error) => Step::Fail(error.to_string()),
        }
    }

    fn on_batch(&mut self, window: &mut Window, conn: &mut Conn, out: &mut Outgoing<'_>) {
        let replies = std::mem::take(&mut conn.replies);
        if replies == 0 || !window.phase.has_load() {
            return;
        }
        if self.shape.send(conn, out, replies, window.now) {
            self.in_flight += u64::from(replies);
        } else {
            window.unsent(replies);
        }
    }

    fn on_phase(&mut self, window: &mut Window, io: &mut BenchIo<Self>) {
        if window.phase != Phase::Loading {
            return;
        }
        let depth = u32::from(self.shape.depth);
        for slot in &self.slots {
            let Some(Open { conn, mut out }) = io.open(*slot) else { continue };
            if self.shape.send(&mut conn.state, &mut out, depth, window.now) {
                self.in_flight += u64::from(depth);
            } else {
                window.unsent(depth);
            }
        }
    }

    fn on_ended(&mut self, conn: &mut Conn) {
        self.in_flight -= conn.due.len() as u64;
        conn.due.clear();
    }

    fn is_drained(&self) -> bool {
        self.in_flight == 0
    }

    fn finish(&mut self, window: &mut Window, _io: &mut BenchIo<Self>) {
        if self.in_flight > 0 {
            window.tally.errors.unanswered += self.in_flight;
            window.tally.errors.say(|| "publications were never answered".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn connection(arguments: &str) -> (Shape, Conn) {
        let words = ["realtime-bench", "publish"].into_iter().chain(arguments.split(' '));
        let options::Command::Publish(options) = options::Cli::try_parse_from(words).unwrap().command else {
            panic!("publish was asked")
        };
        let shape = Arc::new(Shape::new(&options));
        let mut scenario = Publish { shape: Arc::clone(&shape), slots: Vec::new(), in_flight: 0 };
        let mut conn = scenario.dial(0).conn;
        conn.due.extend([Moment::ZERO; 4]);
        drop(scenario);
        (Arc::into_inner(shape).unwrap(), conn)
    }

    fn answer(shape: &Shape, conn: &mut Conn, offset: u64) -> Result<Moment, String> {
        conn.on_answer(shape, 200, format!(r#"{{"result":{{"offset":{offset}}}}}"#).as_bytes())
    }

    #[test]
    fn positions_grow_in_each_channel() {
        let (shape, mut conn) = connection("--channels 2");
        for offset in [5, 1, 6] {
            answer(&shape, &mut conn, offset).unwrap();
        }
        let words = answer(&shape, &mut conn, 1).unwrap_err();
        assert!(words.contains("behind"), "{words}");
    }

    #[test]
    fn refusals_and_strange_answers_are_wrong() {
        let (shape, mut conn) = connection("--channels 1");
        assert!(conn.on_answer(&shape, 503, b"{}").unwrap_err().contains("503"));
        assert!(conn.on_answer(&shape, 200, b"{}").unwrap_err().contains("no position"));
        conn.due.clear();
        assert!(answer(&shape, &mut conn, 1).unwrap_err().contains("answers nothing"));
    }
}
