//! One shard of the generator: opens connections, bounded, speaks the handshake, reads frames and hands what they
//! say to its scenario, or the bytes themselves where the scenario speaks. Never decides what is sent or what is
//! right; the scenario does.

use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::Sender;
use std::time::Duration;

use highper_shards::io::{Open, Outgoing};
use highper_shards::logic::End;
use highper_shards::{Close, Errno, ListenerId, Logic, Moment, Origin, SlotId};
use highper_wire::ws::handshake::client::{ClientReader, write_request};
use highper_wire::ws::{CloseCode, Decoder, Event as Frame, Input, Scratch, encoder};

use crate::client::{KEY, RULES, handshake_key};
use crate::measure::Tally;
use crate::seam::{BenchIo, Dial, Event, Message, Parting, Phase, Plan, Scenario, Speaks, Step, Window};

/// One connection: where its handshake stands and what the scenario keeps.
pub struct Conn<C> {
    stage: Stage,
    decoder: Decoder,
    speaks: Speaks,
    since: Moment,
    /// State of the scenario.
    pub state: C,
}

enum Stage {
    Connecting,
    Upgrading(ClientReader),
    /// The handshake is done, the scenario is not content yet.
    Joining,
    Ready,
    /// Our close frame is sent.
    Parting,
}

/// The logic of one shard.
pub struct Generator<S: Scenario> {
    scenario: S,
    window: Window,
    plan: Plan,
    /// Memory of unfinished messages.
    scratch: Scratch,
    events: Sender<Event>,
    goal: u32,
    started: u32,
    finished: u32,
    announced: u32,
    /// Handshakes that were asked for.
    asked: usize,
    drain_until: Option<Moment>,
    stopped: bool,
}

/// What became of a connection while its bytes were read.
enum Outcome {
    Going,
    Failed(String),
    Parted(Close),
}

/// So many failures without one success end the run: the server is not there.
const FAILURES_MAX: u64 = 64;

impl<S: Scenario> Generator<S> {
    /// A shard that has not opened anything.
    pub fn new(scenario: S, plan: Plan, events: Sender<Event>) -> Self {
        Self {
            scenario,
            window: Window { now: Moment::ZERO, phase: Phase::Opening, tally: Tally::new() },
            plan,
            scratch: Scratch::new(),
            events,
            goal: 0,
            started: 0,
            finished: 0,
            announced: 0,
            asked: 0,
            drain_until: None,
            stopped: false,
        }
    }

    /// Whether the shard's loop ends.
    pub fn has_stopped(&self) -> bool {
        self.stopped
    }

    /// How long the next turn may wait.
    pub fn wait_max(&self, now: Moment) -> Option<Duration> {
        let drain = self.drain_until.map(|until| until.since(now));
        drain.into_iter().chain(self.scenario.wait_max(now)).min()
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more when the run was given up; Stop is on its way then.
        let _ = self.events.send(event);
    }

    fn open_more(&mut self, io: &mut BenchIo<S>) {
        while self.started < self.goal && self.started - self.finished < self.plan.in_flight {
            let Dial { speaks, conn: state } = self.scenario.dial(self.started);
            let stage = Stage::Connecting;
            let address = self.address(&speaks);
            let conn = Conn { stage, decoder: Decoder::new(), speaks, since: io.now(), state };
            let sources = self.plan.sources.as_deref().unwrap_or_default();
            let from = sources.get(self.started as usize % sources.len().max(1)).copied().map(IpAddr::V4);
            self.started += 1;
            match io.connect(address, from, conn) {
                Ok(slot) => io.arm(slot, io.now() + self.plan.timeout),
                Err(_) => self.failed("the generator has no slot left".to_owned()),
            }
        }
        if self.finished == self.goal && self.announced < self.goal {
            self.announced = self.goal;
            let errors = &self.window.tally.errors;
            self.tell(Event::Opened { failed: errors.failed, first: errors.first.clone() });
        }
    }

    fn address(&self, speaks: &Speaks) -> SocketAddr {
        match speaks {
            Speaks::WebSocket { .. } => self.plan.address,
            Speaks::Bytes { address } => *address,
        }
    }

    fn failed(&mut self, words: String) {
        self.finished += 1;
        let tally = &mut self.window.tally;
        tally.errors.failed += 1;
        tally.errors.say(|| words.clone());
        if tally.opened == 0 && tally.errors.failed == FAILURES_MAX {
            self.tell(Event::Failed(words));
        }
    }

    /// The connection ended, whoever wanted it.
    fn ended(&mut self, io: &mut BenchIo<S>, slot: SlotId, words: String) {
        let Some(conn) = io.conn(slot) else { return };
        conn.decoder.release(&mut self.scratch);
        match conn.stage {
            Stage::Connecting | Stage::Upgrading(_) | Stage::Joining => self.failed(words),
            Stage::Parting => self.finished += 1,
            Stage::Ready => {
                self.scenario.on_ended(&mut conn.state);
                self.window.tally.errors.ended += 1;
                self.window.tally.errors.say(|| words);
            }
        }
    }

    fn upgraded(&mut self, slot: SlotId, conn: &mut Conn<S::Conn>, out: &mut Outgoing<'_>) -> Outcome {
        conn.stage = Stage::Joining;
        let step = self.scenario.on_open(slot, &mut conn.state, out);
        self.step(conn, out, step)
    }

    fn step(&mut self, conn: &mut Conn<S::Conn>, out: &mut Outgoing<'_>, step: Step) -> Outcome {
        match step {
            Step::Go => Outcome::Going,
            Step::Ready => {
                self.opened(conn);
                conn.stage = Stage::Ready;
                self.finished += 1;
                Outcome::Going
            }
            Step::Part(Parting::Handshake) => {
                self.opened(conn);
                conn.stage = Stage::Parting;
                out.write_last(|bytes| encoder::masked_close(bytes, KEY, Some(CloseCode::NORMAL), ""));
                Outcome::Going
            }
            Step::Part(Parting::Abrupt) => {
                self.opened(conn);
                self.finished += 1;
                Outcome::Parted(Close::Now)
            }
            Step::Fail(words) => Outcome::Failed(words),
        }
    }

    fn opened(&mut self, conn: &Conn<S::Conn>) {
        let tally = &mut self.window.tally;
        tally.opened += 1;
        tally.handshake.saturating_record(self.window.now.since(conn.since).as_nanos() as u64);
    }

    fn read(
        &mut self,
        slot: SlotId,
        conn: &mut Conn<S::Conn>,
        out: &mut Outgoing<'_>,
        bytes: &mut [u8],
    ) -> Outcome {
        let mut used = 0;
        if let Stage::Upgrading(answer) = &mut conn.stage {
            let mut rest = &*bytes;
            match answer.next(None, &mut rest) {
                Ok(None) => return Outcome::Going,
                Ok(Some(established)) if established.extensions.is_some() => {
                    return Outcome::Failed("the server chose an extension that was not offered".to_owned());
                }
                Ok(Some(_)) => used = bytes.len() - rest.len(),
                Err(error) => return Outcome::Failed(error.to_string()),
            }
            let outcome = self.upgraded(slot, conn, out);
            if !matches!(outcome, Outcome::Going) {
                return outcome;
            }
        }
        match conn.speaks {
            Speaks::WebSocket { .. } => self.read_frames(conn, out, &mut Input::new(&mut bytes[used..])),
            Speaks::Bytes { .. } => self.read_bytes(conn, out, bytes),
        }
    }

    fn read_bytes(&mut self, conn: &mut Conn<S::Conn>, out: &mut Outgoing<'_>, bytes: &[u8]) -> Outcome {
        let step = self.scenario.on_message(&mut self.window, &mut conn.state, bytes);
        let outcome = self.step(conn, out, step);
        if matches!(outcome, Outcome::Going) {
            self.scenario.on_batch(&mut self.window, &mut conn.state, out);
        }
        outcome
    }

    /// Does to the connection what its bytes, or the lack of a handshake, brought about.
    fn settle(&mut self, io: &mut BenchIo<S>, slot: SlotId, was_ready: bool, outcome: Outcome) {
        let is_ready = io.conn(slot).is_some_and(|conn| matches!(conn.stage, Stage::Ready));
        match outcome {
            Outcome::Going if is_ready && !was_ready => io.disarm(slot),
            Outcome::Going => {}
            Outcome::Failed(words) => {
                self.ended(io, slot, words);
                io.close(slot, Close::AfterFlush);
            }
            Outcome::Parted(how) => {
                if how == Close::AfterFlush {
                    self.ended(io, slot, String::new());
                }
                io.close(slot, how);
            }
        }
    }

    fn read_frames(
        &mut self,
        conn: &mut Conn<S::Conn>,
        out: &mut Outgoing<'_>,
        input: &mut Input<'_>,
    ) -> Outcome {
        loop {
            let step = match conn.decoder.next(&RULES, false, &mut self.scratch, input) {
                Ok(Some(Frame::Message { payload, .. })) => {
                    self.scenario.on_message(&mut self.window, &mut conn.state, payload)
                }
                Ok(Some(Frame::Ping(payload))) => {
                    out.write_last(|bytes| encoder::masked_pong(bytes, KEY, payload));
                    Step::Go
                }
                Ok(Some(Frame::Pong(_))) => Step::Go,
                Ok(Some(Frame::Close { code, .. })) => return close(conn, out, code),
                Ok(None) => {
                    self.scenario.on_batch(&mut self.window, &mut conn.state, out);
                    return Outcome::Going;
                }
                Err(error) => return Outcome::Failed(format!("the server broke the protocol: {error}")),
            };
            if step == Step::Go {
                continue;
            }
            let outcome = self.step(conn, out, step);
            if !matches!(outcome, Outcome::Going) {
                return outcome;
            }
        }
    }

    fn enter(&mut self, io: &mut BenchIo<S>, phase: Phase) {
        self.window.phase = phase;
        match phase {
            Phase::Measuring => self.window.tally.begin_window(),
            Phase::Draining => self.drain_until = Some(io.now() + self.plan.timeout),
            Phase::Opening | Phase::Loading => {}
        }
        self.scenario.on_phase(&mut self.window, io);
    }
}

/// The server closes: answer, unless it is the answer to ours.
fn close<C>(conn: &Conn<C>, out: &mut Outgoing<'_>, code: Option<CloseCode>) -> Outcome {
    if matches!(conn.stage, Stage::Parting) {
        return Outcome::Parted(Close::AfterFlush);
    }
    out.write_last(|bytes| encoder::masked_close(bytes, KEY, code, ""));
    Outcome::Failed(format!("the server closed the connection: {code:?}"))
}

impl<S: Scenario> Logic for Generator<S> {
    type Conn = Conn<S::Conn>;
    type Message = Message;

    fn on_accept(
        &mut self,
        _io: &mut BenchIo<S>,
        _slot: SlotId,
        _listener: ListenerId,
        _peer: Option<SocketAddr>,
    ) -> Option<Self::Conn> {
        None // A generator listens nowhere.
    }

    fn on_connected(&mut self, io: &mut BenchIo<S>, slot: SlotId, result: Result<(), Errno>) {
        self.window.now = io.now();
        if let Err(error) = result {
            let Some(conn) = io.conn(slot) else { return };
            let words = format!("cannot connect to {}: {error}", self.address(&conn.speaks));
            return self.ended(io, slot, words);
        }
        let Some(Open { conn, mut out }) = io.open(slot) else { return };
        match &conn.speaks {
            Speaks::WebSocket { path } => {
                conn.stage = Stage::Upgrading(ClientReader::new(handshake_key()));
                let path = path.as_deref().unwrap_or(&self.plan.path);
                let token = self.plan.tokens.authorization(self.asked);
                self.asked += 1;
                let token = token.map(|token| ("Authorization", token));
                out.write_last(|bytes| {
                    let more = token.as_slice();
                    write_request(bytes, &self.plan.host, path, &handshake_key(), None, None, more)
                });
            }
            Speaks::Bytes { .. } => {
                let outcome = self.upgraded(slot, conn, &mut out);
                self.settle(io, slot, false, outcome);
            }
        }
    }

    fn on_bytes(&mut self, io: &mut BenchIo<S>, slot: SlotId, bytes: &mut [u8]) {
        self.window.now = io.now();
        let Some(Open { conn, mut out }) = io.open(slot) else { return };
        let was_ready = matches!(conn.stage, Stage::Ready);
        let outcome = self.read(slot, conn, &mut out, bytes);
        self.settle(io, slot, was_ready, outcome);
    }

    fn on_end(&mut self, io: &mut BenchIo<S>, slot: SlotId, end: End) {
        let words = match end {
            End::Eof => "the server ended a connection without a goodbye".to_owned(),
            End::Failed(error) => format!("a connection broke: {error}"),
            End::Stalled => "the server took no bytes".to_owned(),
        };
        self.ended(io, slot, words);
    }

    fn on_deadline(&mut self, io: &mut BenchIo<S>, slot: SlotId) {
        self.ended(io, slot, format!("no answer to a handshake within {:?}", self.plan.timeout));
        io.close(slot, Close::Now);
    }

    fn on_message(&mut self, io: &mut BenchIo<S>, _origin: Origin, message: Message) {
        self.window.now = io.now();
        match message {
            Message::Open(goal) => self.goal = goal,
            Message::Phase(phase) => self.enter(io, phase),
            Message::Stop => self.stopped = true,
            Message::Peer(peer) => self.scenario.on_peer(io.now(), peer),
        }
    }

    fn on_panic(&mut self, _io: &mut BenchIo<S>, _slot: SlotId) {
        self.tell(Event::Failed("a callback of the generator panicked".to_owned()));
    }

    fn on_turn(&mut self, io: &mut BenchIo<S>) {
        self.window.now = io.now();
        self.open_more(io);
        self.scenario.on_turn(&mut self.window, io);
        let Some(until) = self.drain_until else { return };
        if self.scenario.is_drained() || until <= io.now() {
            self.drain_until = None;
            self.scenario.finish(&mut self.window, io);
            self.tell(Event::Drained(Box::new(self.window.tally.clone())));
        }
    }
}
