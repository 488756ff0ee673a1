//! What an embedder's handler can do, done: the one implementation of [`Port`]. Every call of a handler goes
//! through [`Worker::call`], which survives its panics.

use std::any::Any;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use highper_shards::SlotId;
use highper_wire::dialect::Dialect;
use highper_wire::sse;
use highper_wire::ws::{CloseCode, Kind};

use super::close::Cause;
use super::websocket::{Room, soonest};
use super::{ShardIo, Worker};
use crate::conn::deadline::Due;
use crate::conn::{Phase, Repeating};
use crate::handler::{Connection, Error, Message, Outcome, Port, Repeat, Work};
use crate::message::Publication;

struct Reach<'a> {
    worker: &'a mut Worker,
    io: &'a mut ShardIo,
    slot: SlotId,
    /// Stands in for the data of a connection that is gone.
    nothing: Option<Box<dyn Any>>,
}

impl Worker {
    /// A message for the embedder.
    pub(super) fn handle(&mut self, io: &mut ShardIo, slot: SlotId, message: Message<'_>) {
        let Some(endpoint) = io.conn(slot).and_then(|conn| conn.endpoint()) else { return };
        let shared = self.shared.clone();
        if let Some(run) = &shared.endpoints[usize::from(endpoint)].on_message {
            self.call(io, slot, |conn| run(conn, message));
        } else if shared.endpoints[usize::from(endpoint)].dialect == Dialect::Native {
            let reason = "binary messages have no meaning here";
            self.end(io, slot, Cause::Asked(CloseCode::UNSUPPORTED, reason.into()));
        }
    }

    /// The connection is open.
    pub(super) fn opened(&mut self, io: &mut ShardIo, slot: SlotId, endpoint: u8) {
        self.tell_connect(io, slot);
        let shared = self.shared.clone();
        if let Some(run) = &shared.endpoints[usize::from(endpoint)].on_connect {
            self.call(io, slot, run);
        }
    }

    /// The connection has ended; it is out of its channels.
    pub(super) fn closed(&mut self, io: &mut ShardIo, slot: SlotId, endpoint: u8, code: Option<CloseCode>) {
        let shared = self.shared.clone();
        let endpoint = shared.endpoints.get(usize::from(endpoint));
        if let Some(run) = endpoint.and_then(|endpoint| endpoint.on_close.as_ref()) {
            self.call(io, slot, |conn| {
                run(conn, code);
                Ok(())
            });
        }
    }

    /// Runs something of the embedder's on a connection, if it is still open.
    pub(super) fn run(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        run: impl FnOnce(&mut Connection<'_>) -> Outcome,
    ) {
        if io.conn(slot).is_some_and(|conn| conn.is_open()) {
            self.call(io, slot, run);
        }
    }

    /// Runs the embedder's timers that are due.
    pub(super) fn run_repeats(&mut self, io: &mut ShardIo, slot: SlotId) {
        let now = io.now();
        let mut at = 0;
        loop {
            let Some(session) = io.conn(slot).and_then(|conn| conn.session.as_mut()) else { return };
            let Some(repeat) = session.repeats.get_mut(at) else { return };
            if repeat.at <= now
                && let Some(mut run) = repeat.run.take()
            {
                repeat.at = now + repeat.interval;
                self.run(io, slot, &mut run);
                let session = io.conn(slot).and_then(|conn| conn.session.as_mut());
                if let Some(repeat) = session.and_then(|session| session.repeats.get_mut(at)) {
                    repeat.run = Some(run);
                }
            }
            at += 1;
        }
    }

    fn call(&mut self, io: &mut ShardIo, slot: SlotId, run: impl FnOnce(&mut Connection<'_>) -> Outcome) {
        let mut reach = Reach { worker: self, io, slot, nothing: None };
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&mut Connection::new(&mut reach))));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                self.counters.handler_errors += 1;
                tracing::debug!(conn = %slot, %error, "a handler failed");
            }
            Err(_) => {
                self.counters.panics += 1;
                self.end(io, slot, Cause::Panic);
            }
        }
    }

    /// Sets the connection's deadline to the sooner of heartbeat and timers.
    pub(super) fn schedule(&mut self, io: &mut ShardIo, slot: SlotId) {
        let now = io.now();
        let heartbeat = self.heartbeat;
        let Some(conn) = io.conn(slot) else { return };
        let repeat = conn.session.as_ref().and_then(|session| session.next_due());
        let heard = conn.heard;
        let beat = match &conn.phase {
            Phase::Stream(stream) => Some(stream.comment_at),
            Phase::Open(websocket) => match heartbeat.due(now, heard, websocket.pinged) {
                Due::Nothing(at) => at,
                Due::Ping(_) | Due::Close => Some(now),
            },
            Phase::Proxy(_) | Phase::Http(_) | Phase::Closing => return,
        };
        if let Some(at) = soonest(beat, repeat) {
            io.arm(slot, at);
        }
    }
}

impl Reach<'_> {
    fn is_stream(&mut self) -> bool {
        self.io.conn(self.slot).is_some_and(|conn| matches!(conn.phase, Phase::Stream(_)))
    }

    fn publication(&self, data: &[u8]) -> Publication {
        Publication::new(Some(self.slot), data)
    }
}

impl Port for Reach<'_> {
    fn id(&self) -> SlotId {
        self.slot
    }

    fn address(&mut self) -> Option<IpAddr> {
        self.io.conn(self.slot)?.address()
    }

    fn send(&mut self, text: bool, payload: &[u8]) -> Outcome {
        let is_open = |io: &mut ShardIo, slot| io.conn(slot).is_some_and(|conn| conn.is_open());
        if !is_open(self.io, self.slot) {
            return Err(Error::Closed);
        }
        let is_stream = self.is_stream();
        let kind = if text { Kind::Text } else { Kind::Binary };
        match is_stream {
            true if !text => return Err(Error::TextOnly),
            true => self.worker.write_event(self.io, self.slot, None, payload),
            false => self.worker.write(self.io, self.slot, kind, payload, Room::Messages),
        }
        if is_open(self.io, self.slot) { Ok(()) } else { Err(Error::OutboxFull) }
    }

    fn send_event(&mut self, event: &str, data: &[u8]) -> Outcome {
        if !self.is_stream() {
            let name = serde_json::to_string(event)?;
            let text = [br#"{"event":"#, name.as_bytes(), br#","data":"#, data, b"}"].concat();
            return self.send(true, &text);
        }
        sse::check_name(event).map_err(|_| Error::BadEvent)?;
        self.worker.write_event(self.io, self.slot, Some(event), data);
        if self.is_stream() { Ok(()) } else { Err(Error::OutboxFull) }
    }

    fn join(&mut self, channel: &str) -> Outcome {
        let channel = self.worker.shared.names.parse(channel)?;
        self.worker.join(self.io, self.slot, &channel, None, None)
    }

    fn leave(&mut self, channel: &str) -> Outcome {
        self.worker.leave(self.io, self.slot, channel);
        Ok(())
    }

    fn publish(&mut self, channel: &str, data: &[u8]) -> Outcome {
        let channel = self.worker.shared.names.parse(channel)?;
        let publication = self.publication(data);
        Ok(self.worker.publish(self.io, channel, publication, None)?)
    }

    fn to_user(&mut self, user: &str, data: &[u8]) -> Outcome {
        let channel = self.worker.shared.names.user(user);
        let publication = self.publication(data);
        Ok(self.worker.publish(self.io, channel, publication, None)?)
    }

    fn broadcast(&mut self, data: &[u8]) -> Outcome {
        let (everyone, publication) = (self.worker.everyone.clone(), self.publication(data));
        Ok(self.worker.publish(self.io, everyone, publication, None)?)
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        self.worker.end(self.io, self.slot, Cause::Asked(code, reason.into()));
    }

    fn user(&mut self) -> Option<&str> {
        self.io.conn(self.slot)?.session.as_ref()?.user.as_deref()
    }

    fn set_user(&mut self, user: &str) -> Outcome {
        self.worker.set_user(self.io, self.slot, user)
    }

    fn set_info(&mut self, info: Arc<[u8]>) -> Outcome {
        let Some(conn) = self.io.conn(self.slot).filter(|conn| conn.is_open()) else {
            return Err(Error::Closed);
        };
        conn.session().info = Some(info);
        Ok(())
    }

    fn data(&mut self) -> &mut Option<Box<dyn Any>> {
        match self.io.conn(self.slot) {
            Some(conn) => &mut conn.session().data,
            None => &mut self.nothing,
        }
    }

    fn every(&mut self, interval: Duration, repeat: Repeat) {
        let at = self.io.now() + interval;
        let Some(conn) = self.io.conn(self.slot) else { return };
        conn.session().repeats.push(Repeating { at, interval, run: Some(repeat) });
        self.worker.schedule(self.io, self.slot);
    }

    fn offload(&mut self, work: Work) -> Outcome {
        let pool = self.worker.shared.pool.as_ref().ok_or(Error::TryAgain)?;
        pool.submit(self.slot, work, self.io.mailbox())
    }
}
