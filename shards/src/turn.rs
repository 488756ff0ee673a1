//! One shard: the loop and its turns. Ties a driver, a logic and their shared state together. Knows when a slot
//! begins and ends; never what its bytes mean.

mod completions;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::clock::{Moment, Tick};
use crate::driver::{Completion, Driver, Receive, Wait};
use crate::io::{Connect, Flags, Io, schedule};
use crate::logic::{End, Limits, Logic, Origin};
use crate::mesh::Mesh;
use crate::timer::Due;
use crate::token::{ListenerId, ShardId, SlotId, Token};

/// A shard: everything one thread owns.
pub struct Shard<D, L: Logic> {
    driver: D,
    logic: L,
    io: Io<L::Conn, L::Message>,
    completions: Vec<Completion>,
    fired: Vec<Due>,
    /// Sends given to the driver in the turn before; those still in flight get a deadline.
    sent: Vec<Token>,
    /// Receives to arm again once this turn has returned its buffers.
    starved: Vec<Token>,
    listeners: Vec<Listener>,
}

struct Listener {
    id: ListenerId,
    /// When to accept again after an error.
    retry_at: Option<Moment>,
    backoff: Duration,
}

/// After a failed accept the listener waits, twice as long each time, so that a full table never spins.
const ACCEPT_BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

impl<D: Driver, L: Logic> Shard<D, L> {
    /// A shard that has not started: its clock is the driver's.
    pub fn new(mut driver: D, logic: L, mesh: Mesh<L::Message>, limits: Limits) -> Self {
        let now = driver.now();
        Self {
            driver,
            logic,
            io: Io::new(now, mesh, limits),
            completions: Vec::new(),
            fired: Vec::new(),
            sent: Vec::new(),
            starved: Vec::new(),
            listeners: Vec::new(),
        }
    }

    /// Takes a listening socket over and accepts from it.
    pub fn listen(&mut self, listener: D::Listener) -> std::io::Result<ListenerId> {
        let id = self.driver.listen(listener)?;
        self.driver.arm_accept(id);
        self.listeners.push(Listener { id, retry_at: None, backoff: ACCEPT_BACKOFF.0 });
        Ok(id)
    }

    /// Runs turns until [`Io::stop`].
    pub fn run(&mut self) -> std::io::Result<()> {
        while !self.io.stopping {
            self.turn(None)?;
        }
        // What the last turn sent and rang may still wait in the driver to be submitted.
        self.turn(Some(Duration::ZERO))
    }

    /// One turn; waits for at most `wait_max`, or as long as nothing is due.
    pub fn turn(&mut self, wait_max: Option<Duration>) -> std::io::Result<()> {
        self.wait(wait_max)?;
        self.work();
        Ok(())
    }

    /// The first half of a turn, for a scheduler that owns time: how long the shard would wait now. Unless that
    /// is [`Wait::Poll`] it sleeps from here on, and its peers ring for it, until [`Shard::wake`].
    pub fn sleep(&mut self) -> Wait {
        let wait = self.longest_wait(None);
        if wait != Wait::Poll && self.io.mesh.may_sleep() { wait } else { Wait::Poll }
    }

    /// The other half: takes what is complete and works on it.
    pub fn wake(&mut self) -> std::io::Result<()> {
        self.io.mesh.awake();
        self.driver.turn(Wait::Poll, &mut self.completions)?;
        self.work();
        Ok(())
    }

    /// The driver.
    pub fn driver(&mut self) -> &mut D {
        &mut self.driver
    }

    /// The logic.
    pub fn logic(&mut self) -> &mut L {
        &mut self.logic
    }

    /// The shared state.
    pub fn io(&mut self) -> &mut Io<L::Conn, L::Message> {
        &mut self.io
    }

    /// Everything a turn does after it has waited.
    fn work(&mut self) {
        let now = self.driver.now();
        self.io.load.turn(self.io.now, now);
        self.io.now = now;
        self.io.counters.turns += 1;
        self.io.turn_by = None;
        self.complete();
        self.watch_sends();
        self.take_messages();
        self.fire_timers();
        self.logic.on_turn(&mut self.io);
        self.connect();
        self.flush();
        self.arm_starved();
        self.accept_again();
        let Self { driver, io, .. } = self;
        io.mesh.ring_sleepers(|peer| driver.ring(peer));
    }

    fn wait(&mut self, wait_max: Option<Duration>) -> std::io::Result<()> {
        let longest = self.longest_wait(wait_max);
        if longest != Wait::Poll && !self.io.limits.spin.is_zero() {
            let until = self.driver.now() + self.io.limits.spin;
            while self.driver.now() < until {
                self.driver.turn(Wait::Poll, &mut self.completions)?;
                if !self.completions.is_empty() || self.io.mesh.has_messages() {
                    return Ok(());
                }
            }
        }
        if longest == Wait::Poll || !self.io.mesh.may_sleep() {
            return self.driver.turn(Wait::Poll, &mut self.completions);
        }
        let result = self.driver.turn(longest, &mut self.completions);
        self.io.mesh.awake();
        result
    }

    fn longest_wait(&mut self, wait_max: Option<Duration>) -> Wait {
        let work = !self.io.dirty.is_empty() || !self.io.connects.is_empty() || self.io.mesh.has_messages();
        if self.io.stopping || work {
            return Wait::Poll;
        }
        let now = self.driver.now();
        self.io.load.rest(now);
        let timer = self.io.wheel.next().map(|next| next.begins_after(now));
        let retry =
            self.listeners.iter().filter_map(|listener| listener.retry_at).map(|at| at.since(now)).min();
        let asked = self.io.turn_by.map(|at| at.since(now));
        match timer.into_iter().chain(retry).chain(asked).chain(wait_max).min() {
            None => Wait::Forever,
            Some(Duration::ZERO) => Wait::Poll,
            Some(span) => Wait::AtMost(span),
        }
    }

    /// The network ended the connection: tell the logic, then close.
    fn ended(&mut self, token: Token, end: End) {
        let Some(entry) = self.io.slots.get_mut(token) else { return };
        if entry.conn.is_some() && !entry.flags.has(Flags::CLOSE_WANTED) {
            let slot = self.slot(token);
            self.guard(slot, |logic, io| logic.on_end(io, slot, end));
        }
        match end {
            End::Eof => self.io.close(self.slot(token), crate::Close::AfterFlush),
            End::Failed(_) | End::Stalled => self.close_now(token),
        }
    }

    /// Sends of the last turn that are still in flight: their peers take nothing right now.
    fn watch_sends(&mut self) {
        let deadline = Tick::at_or_after(self.io.now + self.io.limits.write_timeout);
        for token in self.sent.drain(..) {
            let Some(entry) = self.io.slots.get_mut(token) else { continue };
            if entry.flags.has(Flags::SENDING) && !entry.flags.has(Flags::STALL.or(Flags::LINGERING)) {
                entry.flags.set(Flags::STALL);
                entry.stall = deadline;
                schedule(&mut self.io.wheel, token.index, entry);
            }
        }
    }

    fn take_messages(&mut self) {
        let budget = self.io.limits.mesh_budget;
        // Looked at before the lanes: what a thread posts comes after all that shards had posted when it did.
        let outside = self.io.mesh.waiting_outside().min(budget);
        for peer in (0..self.io.shards() as u16).map(ShardId) {
            for _ in 0..budget {
                let Some(message) = self.io.mesh.take(peer) else { break };
                self.io.counters.messages += 1;
                self.logic.on_message(&mut self.io, Origin::Shard(peer), message);
            }
        }
        for _ in 0..outside {
            let Some(message) = self.io.mesh.take_outside() else { break };
            self.io.counters.messages += 1;
            self.logic.on_message(&mut self.io, Origin::Outside, message);
        }
    }

    fn fire_timers(&mut self) {
        let now = Tick::at(self.io.now);
        let mut fired = std::mem::take(&mut self.fired);
        self.io.wheel.advance(now, &mut fired);
        for due in fired.drain(..) {
            self.fire(due, now);
        }
        self.fired = fired;
    }

    fn fire(&mut self, due: Due, now: Tick) {
        let Some((token, entry)) = self.io.slots.at_mut(due.index) else { return };
        if !entry.flags.has(Flags::IN_WHEEL) || entry.wheel_at != due.at {
            return; // Replaced by a sooner entry, or left over from a slot that was freed.
        }
        entry.flags.clear(Flags::IN_WHEEL);
        if entry.flags.has(Flags::LINGERING) && entry.stall.is_due(now) {
            return self.close_now(token);
        }
        if entry.flags.has(Flags::STALL) && entry.stall.is_due(now) {
            self.io.counters.stalled += 1;
            return self.ended(token, End::Stalled);
        }
        self.let_rest(token, now);
        let Some(entry) = self.io.slots.get_mut(token) else { return };
        if entry.flags.has(Flags::DEADLINE) && entry.deadline.is_due(now) {
            entry.flags.clear(Flags::DEADLINE);
            let slot = self.slot(token);
            self.guard(slot, |logic, io| logic.on_deadline(io, slot));
        }
        if let Some(entry) = self.io.slots.get_mut(token) {
            schedule(&mut self.io.wheel, token.index, entry);
        }
    }

    /// A silent connection gives the kernel's receive state back.
    fn let_rest(&mut self, token: Token, now: Tick) {
        let rest_after = (self.io.limits.rest_after.as_millis() / Tick::LENGTH.as_millis()) as i32;
        let Some(entry) = self.io.slots.get_mut(token) else { return };
        let streams =
            entry.flags.has(Flags::RECEIVING) && !entry.flags.has(Flags::RESTING.or(Flags::CANCELLING));
        if streams && !entry.flags.has(Flags::CLOSING) && entry.received.until(now) >= rest_after {
            entry.flags.set(Flags::CANCELLING);
            let socket = entry.socket;
            self.driver.cancel_receive(token, socket);
        }
    }

    fn connect(&mut self) {
        let mut connects = std::mem::take(&mut self.io.connects);
        for Connect { token, address, from } in connects.drain(..) {
            let result = self.driver.connect(token, address, from);
            let Some(entry) = self.io.slots.get_mut(token) else { continue };
            match result {
                Ok(socket) => entry.socket = socket,
                Err(error) => {
                    if !entry.flags.has(Flags::CLOSE_WANTED) {
                        let slot = self.slot(token);
                        self.guard(slot, |logic, io| logic.on_connected(io, slot, Err(error)));
                    }
                    self.free(token);
                }
            }
        }
        // A logic that was told "failed" may have asked again meanwhile: that is for the next turn.
        connects.append(&mut self.io.connects);
        self.io.connects = connects;
    }

    /// Each dirty connection: one send, or its close.
    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.io.dirty);
        for token in dirty.drain(..) {
            self.flush_one(token);
        }
        // Frees of this loop may have marked nobody: the list is empty again and keeps its memory.
        std::mem::swap(&mut self.io.dirty, &mut dirty);
        self.io.dirty.append(&mut dirty);
    }

    fn flush_one(&mut self, token: Token) {
        let Some(entry) = self.io.slots.get_mut(token) else { return };
        entry.flags.clear(Flags::DIRTY);
        let unmade = entry.flags.has(Flags::CONNECTING) && entry.flags.has(Flags::CLOSE_WANTED);
        if entry.flags.has(Flags::CLOSE_NOW) || unmade {
            return self.close_now(token);
        }
        if entry.flags.has(Flags::FLUSH_AND_CLOSE) {
            entry.conn = None;
        }
        if entry.flags.has(Flags::CLOSING.or(Flags::LINGERING).or(Flags::CONNECTING).or(Flags::SENDING)) {
            return;
        }
        if let Some(frame) = self.io.tx.take(&mut entry.outbox) {
            entry.flags.set(Flags::SENDING);
            entry.sent = 0;
            let socket = entry.socket;
            self.io.counters.sends += 1;
            self.sent.push(token);
            return self.driver.send(token, socket, frame, 0);
        }
        if entry.flags.has(Flags::FLUSH_AND_CLOSE) {
            self.end_sending(token);
        }
    }

    /// Everything is sent: end our direction and wait for the peer's end.
    fn end_sending(&mut self, token: Token) {
        let Some(entry) = self.io.slots.get_mut(token) else { return };
        if entry.flags.has(Flags::EOF) {
            return self.close_now(token);
        }
        entry.flags.set(Flags::LINGERING);
        entry.stall = Tick::at_or_after(self.io.now + self.io.limits.linger);
        schedule(&mut self.io.wheel, token.index, entry);
        let socket = entry.socket;
        self.driver.shutdown(token, socket);
    }

    fn close_now(&mut self, token: Token) {
        let Some(entry) = self.io.slots.get_mut(token) else { return };
        if entry.flags.has(Flags::CLOSING) {
            return;
        }
        entry.flags.set(Flags::CLOSING);
        entry.flags.clear(Flags::DEADLINE.or(Flags::STALL).or(Flags::LINGERING));
        entry.conn = None;
        let socket = entry.socket;
        self.io.tx.drop_waiting(&mut entry.outbox);
        self.driver.close(token, socket);
    }

    /// The slot is free once the kernel has returned everything.
    fn free_if_done(&mut self, token: Token) {
        let Some(entry) = self.io.slots.get_mut(token) else { return };
        let in_flight = Flags::RECEIVING.or(Flags::SENDING).or(Flags::CONNECTING);
        if entry.flags.has(Flags::CLOSED) && !entry.flags.has(in_flight) {
            self.free(token);
        }
    }

    fn free(&mut self, token: Token) {
        if let Some(mut entry) = self.io.slots.free(token) {
            self.io.tx.forget(&mut entry.outbox);
            self.io.counters.closed += 1;
        }
    }

    fn arm_receive(&mut self, token: Token, how: Receive) {
        let Some(entry) = self.io.slots.get_mut(token) else { return };
        if entry.flags.has(Flags::RECEIVING.or(Flags::CLOSING).or(Flags::EOF)) {
            return;
        }
        entry.flags.set(Flags::RECEIVING);
        if how == Receive::Rest {
            entry.flags.set(Flags::RESTING);
        }
        let socket = entry.socket;
        self.driver.arm_receive(token, socket, how);
    }

    fn arm_starved(&mut self) {
        let mut starved = std::mem::take(&mut self.starved);
        for token in starved.drain(..) {
            self.arm_receive(token, Receive::Stream);
        }
        self.starved = starved;
    }

    fn accept_again(&mut self) {
        for listener in &mut self.listeners {
            if listener.retry_at.is_some_and(|at| at <= self.io.now) {
                listener.retry_at = None;
                self.driver.arm_accept(listener.id);
            }
        }
    }

    /// Runs a callback of one connection; a panic ends that connection only.
    fn guard(&mut self, slot: SlotId, callback: impl FnOnce(&mut L, &mut Io<L::Conn, L::Message>)) {
        let Self { logic, io, .. } = self;
        if catch_unwind(AssertUnwindSafe(|| callback(logic, io))).is_err() {
            self.panicked(slot);
        }
    }

    fn panicked(&mut self, slot: SlotId) {
        let Self { logic, io, .. } = self;
        io.counters.panics += 1;
        let _ = catch_unwind(AssertUnwindSafe(|| logic.on_panic(io, slot)));
        io.close(slot, crate::Close::AfterFlush);
    }

    fn mark_dirty(&mut self, token: Token) {
        let Some(entry) = self.io.slots.get_mut(token) else { return };
        if !entry.flags.has(Flags::DIRTY) {
            entry.flags.set(Flags::DIRTY);
            self.io.dirty.push(token);
        }
    }

    fn slot(&self, token: Token) -> SlotId {
        SlotId { token, shard: self.io.shard() }
    }

    fn late(&mut self) {
        self.io.counters.late += 1;
    }
}
