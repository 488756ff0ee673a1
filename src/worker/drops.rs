//! Slow subscribers of channels whose policy is to drop: they lose publications instead of their connection, and are
//! told so as soon as they read again. Never drops what was already queued.

use std::time::Duration;

use highper_shards::SlotId;
use highper_wire::dialect::{Dialect, native};
use highper_wire::sse;
use highper_wire::ws::{self, Kind};

use super::channels::{GAP, epoch, write_event};
use super::events::write_piece;
use super::fanout::places;
use super::{ShardIo, Worker};
use crate::conn::Phase;
use crate::message::Position;

/// How soon who was dropped is looked at again, if nothing is published meanwhile.
const AGAIN: Duration = Duration::from_secs(1);

impl Worker {
    /// A publication did not fit into the outbox of a subscriber; it will be told.
    pub(super) fn dropped(&mut self, io: &mut ShardIo, at: u32, slot: SlotId) {
        self.counters.dropped += 1;
        if self.local.drop_for(at, slot.index()) {
            self.dropping.push(at);
            io.turn_by(io.now() + AGAIN);
        }
    }

    /// Tells those who read again what they lost, in every channel. Called once a turn.
    pub(super) fn tell_dropped(&mut self, io: &mut ShardIo) {
        if self.dropping.is_empty() || io.now() < self.drops_at {
            if !self.dropping.is_empty() {
                io.turn_by(self.drops_at);
            }
            return;
        }
        self.drops_at = io.now() + AGAIN;
        for at in std::mem::take(&mut self.dropping) {
            let position = self.local.get(at).and_then(|entry| entry.state.position());
            if let Some(position) = position
                && self.tell_drops(io, at, position)
            {
                self.dropping.push(at);
            }
        }
        io.turn_by(self.drops_at);
    }

    /// Tells those of one channel who have room that they lost what came up to `position`; true if somebody has
    /// none yet.
    pub(super) fn tell_drops(&mut self, io: &mut ShardIo, at: u32, position: Position) -> bool {
        let dropped = self.local.take_dropped(at);
        let mut is_left = false;
        for index in dropped {
            if !self.tell_drop(io, at, index, position) {
                is_left = true;
                self.local.drop_for(at, index);
            }
        }
        is_left
    }

    /// False if the connection has not read enough yet.
    fn tell_drop(&mut self, io: &mut ShardIo, at: u32, index: u32, position: Position) -> bool {
        let room = self.shared.config.outbox_bytes.as_usize() / 2;
        let Some(channel) = self.local.get(at).map(|entry| entry.channel.clone()) else { return true };
        let Some((slot, mut open)) = io.open_at(index) else { return true };
        if open.out.queued() > room {
            return false;
        }
        self.text.clear();
        match &open.conn.phase {
            Phase::Stream(stream) => {
                let is_gzip = stream.is_gzip;
                write_event(&mut self.text, GAP, &channel);
                let (text, channels) = (&self.text, &open.conn.channels);
                let places = places(&self.local, channels, slot, Some((at, position.offset)));
                open.out.write_last(|out| {
                    write_piece(out, is_gzip, |out| {
                        sse::id_of_cursor(out, places);
                        sse::body(out, Some(GAP), text);
                    });
                });
            }
            Phase::Open(websocket) if websocket.dialect == Dialect::Native => {
                native::gap(&mut self.text, channel.name(), epoch(position), position.offset);
                let text = &self.text;
                open.out.write_last(|out| ws::encoder::message(out, Kind::Text, text));
            }
            Phase::Proxy(_) | Phase::Open(_) | Phase::Http(_) | Phase::Closing => {}
        }
        self.counters.gaps += 1;
        true
    }
}
