//! `echo`: each message comes back as it was sent. Closed loop: every connection keeps `depth` messages in flight
//! and sends as many as came back, in one write. Open loop: all connections together keep a rate. Every reply is
//! checked byte for byte; a wrong one is an error.

use std::collections::VecDeque;
use std::time::Duration;

use highper_shards::io::{Open, Outgoing};
use highper_shards::{Moment, SlotId};
use highper_wire::ws::Kind;

use super::schedule::Schedule;
use super::{RunError, describe_window, run_window, share};
use crate::client::{DIGITS, Template, digits};
use crate::engine::Engine;
use crate::options;
use crate::report::Report;
use crate::seam::{BenchIo, Dial, Phase, Scenario, Step, Window};

/// One shard of the scenario.
pub struct Echo {
    template: Template,
    payload: Vec<u8>,
    depth: u16,
    /// Messages a second of this shard, in an open loop.
    rate: Option<u64>,
    schedule: Option<Schedule>,
    slots: Vec<SlotId>,
    turn_of: usize,
    in_flight: u64,
}

/// What is in flight on one connection.
#[derive(Default)]
pub struct Conn {
    sent: u64,
    answered: u64,
    due: VecDeque<Moment>,
    /// Replies of this receive, to be answered together.
    replies: u32,
}

/// Messages an open loop lets wait for one connection; beyond it the message counts as unsent.
const WAITING_MAX: usize = 1 << 16;

/// Runs the scenario.
pub fn run(options: &options::Echo) -> Result<Report, RunError> {
    let connections = options.connections.get();
    let shards = options.common.shards.get();
    let (size, kind, depth, rate) = (
        options.size as usize,
        if options.binary { Kind::Binary } else { Kind::Text },
        options.depth.get(),
        options.rate,
    );
    let engine = Engine::start(&options.common, connections, move |shard| {
        Echo::new(size, kind, depth, rate.map(|rate| share(rate.get(), shards, shard).into()))
    })?;
    let measured = run_window(engine, connections, &options.common, &options.window)?;
    let mut report = Report::new("echo", &options.common.url.url);
    report.count("connections", connections.into());
    match options.rate {
        Some(rate) => report.count("rate_asked", rate.get().into()),
        None => report.count("depth", options.depth.get().into()),
    }
    report.count("payload_bytes", options.size.into());
    describe_window(&mut report, &measured, "message", measured.tally.messages);
    Ok(report)
}

impl Echo {
    fn new(size: usize, kind: Kind, depth: u16, rate: Option<u64>) -> Self {
        let payload: Vec<u8> = (0..size).map(|at| b'a' + (at % 26) as u8).collect();
        Self {
            template: Template::new(&payload, kind),
            payload,
            depth,
            rate,
            schedule: None,
            slots: Vec::new(),
            turn_of: 0,
            in_flight: 0,
        }
    }

    /// Whether `reply` is the message with this number: every byte of it.
    fn is_right(&self, reply: &[u8], number: u64) -> bool {
        let numbered = DIGITS.min(self.payload.len());
        reply.len() == self.payload.len()
            && reply[..numbered] == digits(number)[DIGITS - numbered..]
            && reply[numbered..] == self.payload[numbered..]
    }

    fn send(&mut self, conn: &mut Conn, out: &mut Outgoing<'_>, count: u32, due: Moment) -> bool {
        let template = &self.template;
        let first = conn.sent;
        let sent = out.write(|bytes| {
            for number in first..first + u64::from(count) {
                template.stamp(bytes, &[(0, number)]);
            }
        });
        if sent.is_err() {
            return false;
        }
        conn.sent += u64::from(count);
        conn.due.extend(std::iter::repeat_n(due, count as usize));
        self.in_flight += u64::from(count);
        true
    }
}

impl Scenario for Echo {
    type Conn = Conn;

    fn dial(&mut self, _index: u32) -> Dial<Conn> {
        Dial::websocket(Conn::default())
    }

    fn on_open(&mut self, slot: SlotId, _conn: &mut Conn, _out: &mut Outgoing<'_>) -> Step {
        self.slots.push(slot);
        Step::Ready
    }

    fn on_message(&mut self, window: &mut Window, conn: &mut Conn, payload: &[u8]) -> Step {
        let Some(due) = conn.due.pop_front() else {
            return window.wrong(|| "a message came in that answers nothing".to_owned());
        };
        self.in_flight -= 1;
        conn.replies += 1;
        let number = conn.answered;
        conn.answered += 1;
        if !self.is_right(payload, number) {
            return window.wrong(|| format!("message {number} came back with other bytes"));
        }
        window.message(payload.len(), due);
        Step::Go
    }

    fn on_batch(&mut self, window: &mut Window, conn: &mut Conn, out: &mut Outgoing<'_>) {
        let replies = std::mem::take(&mut conn.replies);
        if replies == 0 || self.rate.is_some() || !window.phase.has_load() {
            return;
        }
        if !self.send(conn, out, replies, window.now) {
            window.unsent(replies);
        }
    }

    fn on_phase(&mut self, window: &mut Window, io: &mut BenchIo<Self>) {
        if window.phase != Phase::Loading {
            return;
        }
        self.schedule = self.rate.map(|rate| Schedule::new(window.now, rate));
        if self.rate.is_some() {
            return;
        }
        for at in 0..self.slots.len() {
            let Some(Open { conn, mut out }) = io.open(self.slots[at]) else { continue };
            if !self.send(&mut conn.state, &mut out, self.depth.into(), window.now) {
                window.unsent(self.depth.into());
            }
        }
    }

    fn on_turn(&mut self, window: &mut Window, io: &mut BenchIo<Self>) {
        if !window.phase.has_load() {
            return;
        }
        let Some(mut schedule) = self.schedule else { return };
        while let Some(due) = schedule.take(window.now) {
            self.turn_of = (self.turn_of + 1) % self.slots.len().max(1);
            let Some(slot) = self.slots.get(self.turn_of) else { break };
            let Some(Open { conn, mut out }) = io.open(*slot) else { continue };
            if conn.state.due.len() >= WAITING_MAX || !self.send(&mut conn.state, &mut out, 1, due) {
                window.unsent(1);
            }
        }
        self.schedule = Some(schedule);
    }

    fn on_ended(&mut self, conn: &mut Conn) {
        self.in_flight -= conn.due.len() as u64;
        conn.due.clear();
    }

    fn wait_max(&self, now: Moment) -> Option<Duration> {
        self.schedule.map(|schedule| schedule.wait(now))
    }

    fn is_drained(&self) -> bool {
        self.in_flight == 0
    }

    fn finish(&mut self, window: &mut Window, _io: &mut BenchIo<Self>) {
        if self.in_flight > 0 {
            window.tally.errors.unanswered += self.in_flight;
            window.tally.errors.say(|| "messages were never answered".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_right_only_byte_for_byte() {
        for size in [1, 8, 16, 17, 300] {
            let echo = Echo::new(size, Kind::Text, 1, None);
            let mut reply = echo.payload.clone();
            let numbered = size.min(DIGITS);
            reply[..numbered].copy_from_slice(&digits(5)[DIGITS - numbered..]);
            assert!(echo.is_right(&reply, 5));
            assert!(!echo.is_right(&reply, 6), "another number");
            assert!(!echo.is_right(&reply[1..], 5), "too short");
            for at in 0..size {
                let mut bent = reply.clone();
                bent[at] ^= 1;
                assert!(!echo.is_right(&bent, 5), "byte {at} of {size}");
            }
        }
        assert!(Echo::new(0, Kind::Text, 1, None).is_right(b"", 9));
    }
}
