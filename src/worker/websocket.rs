//! An open WebSocket: frames in, messages to the dialect or the embedder, heartbeats and the embedder's timers.
//! Never parses a frame itself; `highper_wire::ws` does.

use highper_shards::{Moment, SlotId};
use highper_wire::dialect::{Dialect, native};
use highper_wire::ws::{self, Decoder, Event, Input, Kind, Role, Rules};

use super::close::Cause;
use super::identity::INVALID_TOKEN;
use super::{ShardIo, Worker};
use crate::config::Config;
use crate::conn::Phase;
use crate::conn::deadline::{Due, Heartbeat};
use crate::handler::Message;
use crate::security::{self, Severity};

/// What a peer may send, by the configuration.
pub(super) fn rules(config: &Config) -> Rules {
    Rules {
        frame_bytes_max: config.websocket_max_frame_size.get(),
        message_bytes_max: config.websocket_max_message_size.as_usize(),
        fragments_max: config.websocket_max_fragments,
        empty_continuations_max: config.websocket_max_empty_fragments,
        validate_utf8: config.websocket_validate_utf8,
        ..Rules::new(Role::Server)
    }
}

/// What a peer may send before it has said who it is: one token.
pub(super) fn unknown_rules(rules: Rules) -> Rules {
    let most = native::TOKEN_LEN_MAX + 1024;
    Rules {
        frame_bytes_max: rules.frame_bytes_max.min(most as u64),
        message_bytes_max: rules.message_bytes_max.min(most),
        fragments_max: rules.fragments_max.min(16),
        ..rules
    }
}

/// How silence is bounded, by the configuration.
pub(super) fn heartbeat(config: &Config) -> Heartbeat {
    Heartbeat {
        interval: config.websocket_heartbeat_enabled.then_some(config.websocket_heartbeat_interval),
        timeout: config.websocket_heartbeat_timeout,
        idle_timeout: config.connection_timeout,
    }
}

/// A peer that has not taken this many bytes lags behind: its pongs are counted.
const LAGGING_BYTES: usize = 4096;

/// Pongs that a peer which lags behind may wait for, between two heartbeats: enough for clients that ask whether we
/// live, at most 2 KiB for those that never read.
const PONGS_LAGGING_MAX: u8 = 16;

/// Odd but legal frames between two heartbeats: beyond it close 1008.
const GLITCHES_MAX: u16 = 256;

/// From here on somebody is told.
const GLITCHES_SOFT: u16 = GLITCHES_MAX / 4 * 3;
/// Which room of an outbox a message goes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Up to the limit.
    Messages,
    /// Beyond it too: what the dialect answers.
    Control,
}

impl Worker {
    /// Decodes what came in and acts on each event. The decoder is out of its connection meanwhile.
    pub(super) fn on_frames(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        mut decoder: Decoder,
        bytes: &mut [u8],
    ) {
        let Some(websocket) = io.conn(slot).and_then(|conn| conn.websocket()) else { return };
        let (dialect, inflate) = (websocket.dialect, websocket.window_bits != 0);
        let mut is_unknown = websocket.is_unknown;
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut input = Input::new(bytes);
        let failed = loop {
            let rules = if is_unknown { &self.unknown_rules } else { &self.rules };
            match decoder.next(rules, inflate, &mut scratch, &mut input) {
                Ok(None) => break None,
                Ok(Some(event)) => {
                    self.on_event(io, slot, dialect, event);
                    let Some(conn) = io.conn(slot).filter(|conn| conn.is_open()) else { break None };
                    is_unknown = is_unknown && conn.websocket().is_some_and(|websocket| websocket.is_unknown);
                }
                Err(error) => break Some(error),
            }
        };
        self.scratch = scratch;
        if let Some(error) = failed {
            self.report_frame(io, slot, &error);
            return self.end(io, slot, Cause::Frame(error));
        }
        if let Some(websocket) = io.conn(slot).and_then(|conn| conn.websocket()) {
            websocket.decoder = decoder;
        }
    }

    fn on_event(&mut self, io: &mut ShardIo, slot: SlotId, dialect: Dialect, event: Event<'_>) {
        match event {
            Event::Message { kind, payload } => {
                self.counters.messages_in += 1;
                if !self.may_send(io, slot, dialect, (kind, payload))
                    || kind == Kind::Text && self.refuses_message(io, slot, payload)
                {
                    return;
                }
                match (dialect, kind) {
                    (Dialect::Echo, kind) => self.write(io, slot, kind, payload, Room::Messages),
                    (Dialect::Native, Kind::Text) => self.on_command(io, slot, payload),
                    (Dialect::Native, Kind::Binary) if self.is_unknown(io, slot) => {
                        self.end(io, slot, Cause::Asked(INVALID_TOKEN, "auth comes first".into()));
                    }
                    (Dialect::Native, Kind::Binary) | (Dialect::Raw, _) => {
                        self.handle(io, slot, Message::new(payload, kind == Kind::Text));
                    }
                }
            }
            Event::Ping(_) | Event::Pong(_) if !self.may_control(io, slot) => {}
            Event::Ping(payload) => self.pong(io, slot, payload),
            Event::Pong(_) => self.on_pong(io, slot),
            Event::Close { code, reason } => self.end(io, slot, Cause::Peer(code, reason.to_owned())),
        }
    }

    /// Sends one message to one client; a client whose outbox has no room for it is closed as slow.
    pub(super) fn write(&mut self, io: &mut ShardIo, slot: SlotId, kind: Kind, payload: &[u8], room: Room) {
        let threshold = self.shared.config.compression_threshold.as_usize();
        let Some(conn) = io.conn(slot) else { return };
        let bits = conn.websocket().map_or(0, |websocket| websocket.window_bits);
        let compress = bits != 0 && payload.len() >= threshold && !self.relief.is_lean();
        if compress {
            self.deflated.clear();
            self.deflater.compress(payload, bits, &mut self.deflated);
        }
        let write = |io: &mut ShardIo, deflated: &[u8]| {
            let Some(mut open) = io.open(slot) else { return Ok(()) };
            let write = |out: &mut Vec<u8>| match compress {
                true => ws::encoder::compressed_message(out, kind, deflated),
                false => ws::encoder::message(out, kind, payload),
            };
            match room {
                Room::Messages => open.out.write(write),
                Room::Control => open.out.write_control(write),
            }
        };
        let is_written = write(io, &self.deflated).is_ok()
            || (self.make_room(io, slot, 0) && write(io, &self.deflated).is_ok());
        if !is_written {
            self.end(io, slot, Cause::Slow);
        }
    }

    fn pong(&mut self, io: &mut ShardIo, slot: SlotId, payload: &[u8]) {
        let Some(mut open) = io.open(slot) else { return };
        let is_lagging = open.out.queued() > LAGGING_BYTES;
        let Some(websocket) = open.conn.websocket() else { return };
        if !is_lagging {
            websocket.pongs_lagging = 0;
        } else if websocket.pongs_lagging < PONGS_LAGGING_MAX {
            websocket.pongs_lagging += 1;
        } else {
            self.counters.pongs_skipped += 1;
            return self.glitch(io, slot);
        }
        let written = open.out.write_control(|out| ws::encoder::pong(out, payload));
        if written.is_err() {
            self.end(io, slot, Cause::Slow);
        }
    }

    /// A pong nobody asked for is legal (RFC 6455 §5.5.3), many of them are odd.
    fn on_pong(&mut self, io: &mut ShardIo, slot: SlotId) {
        self.glitch(io, slot);
    }

    /// Counts odd but legal behaviour; too much of it between two heartbeats ends the connection.
    pub(super) fn glitch(&mut self, io: &mut ShardIo, slot: SlotId) {
        self.counters.glitches += 1;
        let Some(websocket) = io.conn(slot).and_then(|conn| conn.websocket()) else { return };
        websocket.glitches += 1;
        let glitches = websocket.glitches;
        if glitches == GLITCHES_SOFT {
            let odd = (security::Kind::ProtocolGlitches, Severity::Low);
            self.report(io, slot, odd, "three quarters of the odd frames a connection may send", false);
        }
        if glitches > GLITCHES_MAX {
            let odd = (security::Kind::ProtocolGlitches, Severity::Medium);
            self.report(io, slot, odd, "too many odd frames", true);
            self.end(io, slot, Cause::Glitches);
        }
    }

    /// The connection's deadline has passed: timers of the embedder, heartbeat, and when to look again.
    pub(super) fn on_heartbeat(&mut self, io: &mut ShardIo, slot: SlotId) {
        if self.expire(io, slot) {
            return;
        }
        self.run_repeats(io, slot);
        let now = io.now();
        let Some(mut open) = io.open(slot) else { return };
        let heard = open.conn.heard;
        let repeat = open.conn.session.as_ref().and_then(|session| session.next_due());
        let Phase::Open(websocket) = &mut open.conn.phase else { return };
        websocket.glitches /= 2;
        websocket.pongs_lagging = 0;
        let again = match self.heartbeat.due(now, heard, websocket.pinged) {
            Due::Close => return self.end(io, slot, Cause::Silent),
            Due::Nothing(again) => again,
            Due::Ping(again) => {
                websocket.pinged = true;
                // An outbox that is full needs no ping: its send deadline finds a dead peer.
                let _ = open.out.write_control(|out| ws::encoder::ping(out, b""));
                Some(again)
            }
        };
        if let Some(at) = soonest(again, repeat) {
            io.arm(slot, at);
        }
    }
}

/// The sooner of two moments, where there are any.
pub(super) fn soonest(one: Option<Moment>, two: Option<Moment>) -> Option<Moment> {
    one.into_iter().chain(two).min()
}
