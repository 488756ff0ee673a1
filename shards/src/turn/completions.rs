//! What the kernel has completed, one by one: each ends in at most one callback of the logic. Never asks the
//! kernel for anything but the next receive and the rest of a send.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::Errno;

use super::{ACCEPT_BACKOFF, Shard};
use crate::clock::Tick;
use crate::driver::{Completion, Driver, Receive, ReceiveEnd, Socket};
use crate::io::{Entry, Flags};
use crate::logic::{End, Logic};
use crate::token::{ListenerId, Token};
use crate::tx::Frame;

impl<D: Driver, L: Logic> Shard<D, L> {
    pub(super) fn complete(&mut self) {
        let mut completions = std::mem::take(&mut self.completions);
        for completion in completions.drain(..) {
            match completion {
                Completion::Received { token, buffer, armed } => {
                    self.received(token, &buffer, armed);
                    self.driver.give_back(buffer);
                }
                Completion::Sent { token, frame, result } => self.frame_sent(token, frame, result),
                Completion::ReceiveEnded { token, end } => self.receive_ended(token, end),
                Completion::Accepted { listener, socket, peer } => self.accepted(listener, socket, peer),
                Completion::AcceptEnded { listener, error } => self.accept_ended(listener, error),
                Completion::Connected { token, result } => self.connected(token, result),
                Completion::Closed { token } => self.closed(token),
            }
        }
        self.completions = completions;
    }

    fn accepted(&mut self, listener: ListenerId, socket: Socket, peer: Option<SocketAddr>) {
        if let Some(state) = self.listeners.iter_mut().find(|state| state.id == listener) {
            state.backoff = ACCEPT_BACKOFF.0;
        }
        let Some(token) = self.io.slots.reserve() else {
            self.io.counters.refused += 1;
            return self.driver.discard(socket);
        };
        self.io.counters.accepted += 1;
        let slot = self.slot(token);
        let Self { logic, io, .. } = self;
        let accept = AssertUnwindSafe(|| logic.on_accept(io, slot, listener, peer));
        let conn = catch_unwind(accept).unwrap_or_else(|_| {
            io.counters.panics += 1;
            None
        });
        let Some(conn) = conn else {
            self.io.slots.unreserve(token);
            return self.driver.discard(socket);
        };
        self.io.slots.fill(token, Entry::new(conn, socket, Tick::at(self.io.now)));
        self.driver.adopt(token, socket, listener);
        self.arm_receive(token, Receive::Stream);
        self.guard(slot, |logic, io| logic.on_open(io, slot));
    }

    fn connected(&mut self, token: Token, result: Result<(), Errno>) {
        let Some(entry) = self.io.slots.get_mut(token) else { return self.late() };
        entry.flags.clear(Flags::CONNECTING);
        if entry.flags.has(Flags::CLOSING) {
            return self.free_if_done(token);
        }
        if !entry.flags.has(Flags::CLOSE_WANTED) {
            let slot = self.slot(token);
            self.guard(slot, |logic, io| logic.on_connected(io, slot, result));
        }
        match result {
            Ok(()) => {
                self.arm_receive(token, Receive::Stream);
                self.mark_dirty(token); // What was written before there was a connection.
            }
            Err(_) => self.close_now(token),
        }
    }

    fn received(&mut self, token: Token, buffer: &crate::driver::Buffer, armed: bool) {
        let Some(entry) = self.io.slots.get_mut(token) else { return self.late() };
        let tick = Tick::at(self.io.now);
        let busy = entry.received.until(tick) < REST_TICKS;
        entry.received = tick;
        entry.flags.clear(Flags::RESTING);
        if !armed {
            entry.flags.clear(Flags::RECEIVING.or(Flags::CANCELLING));
        }
        self.io.counters.receives += 1;
        self.io.counters.bytes_in += u64::from(buffer.len);
        if entry.conn.is_some() && !entry.flags.has(Flags::CLOSE_WANTED) {
            let slot = self.slot(token);
            let Self { driver, logic, io, .. } = self;
            let bytes = driver.bytes(buffer);
            if catch_unwind(AssertUnwindSafe(|| logic.on_bytes(io, slot, bytes))).is_err() {
                self.panicked(slot);
            }
        }
        if !armed {
            self.arm_receive(token, if busy { Receive::Stream } else { Receive::Rest });
            self.free_if_done(token);
        }
    }

    fn receive_ended(&mut self, token: Token, end: ReceiveEnd) {
        let Some(entry) = self.io.slots.get_mut(token) else { return self.late() };
        let was_cancelled = entry.flags.has(Flags::CANCELLING);
        entry.flags.clear(Flags::RECEIVING.or(Flags::RESTING).or(Flags::CANCELLING));
        if entry.flags.has(Flags::CLOSING) {
            return self.free_if_done(token);
        }
        match end {
            ReceiveEnd::NoBuffers => self.starved.push(token),
            ReceiveEnd::Cancelled if was_cancelled => self.arm_receive(token, Receive::Rest),
            ReceiveEnd::Cancelled => self.starved.push(token),
            ReceiveEnd::Eof => {
                entry.flags.set(Flags::EOF);
                if entry.flags.has(Flags::LINGERING) {
                    return self.close_now(token);
                }
                self.ended(token, End::Eof);
            }
            ReceiveEnd::Failed(error) => self.ended(token, End::Failed(error)),
        }
    }

    fn frame_sent(&mut self, token: Token, frame: Frame, result: Result<usize, Errno>) {
        let Some(entry) = self.io.slots.get_mut(token) else {
            self.io.tx.recycle(frame);
            return self.late();
        };
        entry.flags.clear(Flags::STALL);
        let taken = *result.as_ref().unwrap_or(&0);
        self.io.counters.bytes_out += taken as u64;
        self.io.tx.paid(&mut entry.outbox, taken);
        if entry.flags.has(Flags::LAGGING) && entry.outbox.bytes() <= self.io.limits.outbox_soft_bytes {
            entry.flags.set(Flags::CAUGHT_UP);
        }
        entry.sent += taken as u32;
        let unsent = (entry.sent as usize) < frame.len();
        if result.is_ok() && unsent && !entry.flags.has(Flags::CLOSING) {
            let (socket, from) = (entry.socket, entry.sent as usize);
            self.sent.push(token);
            return self.driver.send(token, socket, frame, from);
        }
        self.io.tx.recycle(frame);
        entry.flags.clear(Flags::SENDING);
        if entry.flags.has(Flags::CLOSING) {
            return self.free_if_done(token);
        }
        if let Err(error) = result {
            return self.ended(token, End::Failed(error));
        }
        self.mark_dirty(token);
    }

    fn closed(&mut self, token: Token) {
        let Some(entry) = self.io.slots.get_mut(token) else { return self.late() };
        entry.flags.set(Flags::CLOSED);
        self.free_if_done(token);
    }

    fn accept_ended(&mut self, listener: ListenerId, error: Errno) {
        let Some(state) = self.listeners.iter_mut().find(|state| state.id == listener) else { return };
        if matches!(error, Errno::CONNABORTED | Errno::INTR | Errno::AGAIN) {
            return self.driver.arm_accept(listener);
        }
        self.io.counters.accept_errors += 1;
        state.retry_at = Some(self.io.now + state.backoff);
        state.backoff = (state.backoff * 2).min(ACCEPT_BACKOFF.1);
    }
}

/// Two receives within a second: the connection talks, so its receive stays armed.
const REST_TICKS: i32 = (1000 / Tick::LENGTH.as_millis()) as i32;
