//! Subscribers that read too slowly: what they lose by the policy of each channel, and when they are closed. Never
//! loses what has no offset, and never a publication of a channel whose policy is to disconnect.

use std::time::Duration;

use highper_shards::tx::{Label, Loss, Lost};
use highper_shards::{Frame, SlotId};
use highper_wire::dialect::{Dialect, native};
use highper_wire::sse;
use highper_wire::ws::{self, Kind};

use super::channels::{GAP, epoch, write_event};
use super::close::Cause;
use super::events::write_piece;
use super::{ShardIo, Worker};
use crate::config::SlowConsumer;
use crate::conn::Phase;
use crate::hub::local::Local;
use crate::message::{Channel, Position};

/// How soon a shard that holds too much looks again, if nobody could be closed.
const AGAIN: Duration = Duration::from_millis(10);

/// How a publication may be lost while it waits.
pub(super) fn label(policy: SlowConsumer, at: u32, offset: u64) -> Option<Label> {
    let loss = match policy {
        SlowConsumer::Disconnect => return None,
        SlowConsumer::DropOldest => Loss::Oldest,
        SlowConsumer::LatestOnly => Loss::Latest,
    };
    (offset > 0).then_some(Label { loss, topic: at, number: offset as u32 })
}

impl Worker {
    /// Puts a frame that did not fit into an outbox; false if nothing there may be lost for it.
    pub(super) fn squeeze(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        opening: Option<Frame>,
        frame: &Frame,
        label: Option<Label>,
    ) -> bool {
        let bytes = frame.len() + opening.as_ref().map_or(0, |opening| opening.len());
        let has_room = self.make_room(io, slot, bytes);
        let Some(mut open) = io.open(slot) else {
            opening.into_iter().for_each(|opening| io.recycle(opening));
            return true;
        };
        match label {
            // One that may be lost is always taken, so that what is in flight keeps nobody from the newest.
            Some(label) if !has_room && !open.out.has_loose() => {
                open.out.push_newest(opening, frame.clone(), label);
                true
            }
            _ => open.out.push_event(opening, frame.clone(), label).is_ok(),
        }
    }

    /// Drops publications that may be lost, the oldest first, until an outbox takes this many bytes; false if that is
    /// not enough. The subscriber is told where they were.
    pub(super) fn make_room(&mut self, io: &mut ShardIo, slot: SlotId, bytes: usize) -> bool {
        let most = io.limits().outbox_bytes_max.saturating_sub(bytes);
        let (local, text) = (&self.local, &mut self.text);
        let Some(mut open) = io.open(slot) else { return true };
        while open.out.queued() > most {
            let phase = &open.conn.phase;
            let lost = open.out.drop_oldest(most, |lost, out| {
                self.counters.gaps += u64::from(write_gap(out, text, local, phase, lost));
            });
            let Some(lost) = lost else { return false };
            self.counters.dropped_oldest += lost.count as u64;
        }
        true
    }

    /// The connection leaves a channel: its number there means nothing any more, so that what waits is not lost.
    pub(super) fn keep_waiting(&self, io: &mut ShardIo, slot: SlotId, at: u32, channel: &Channel) {
        let policy = self.shared.config.namespaces.rules(channel.name()).slow_consumer;
        if policy != SlowConsumer::Disconnect
            && let Some(mut open) = io.open(slot)
        {
            open.out.keep(at);
        }
    }

    /// Closes who has been over the soft limit for too long, unless what waits for it may be lost. Called once a turn.
    pub(super) fn close_laggards(&mut self, io: &mut ShardIo) {
        while let Some(slot) = io.next_laggard() {
            let soft = io.limits().outbox_soft_bytes;
            if io.open(slot).is_some_and(|open| open.out.kept() > soft) {
                self.end(io, slot, Cause::Slow);
            }
        }
    }

    /// Closes who owes most while the shard holds too much, some in each turn.
    pub(super) fn close_slowest(&mut self, io: &mut ShardIo) {
        let most = io.limits().outbox_total_bytes;
        if io.held() <= most {
            return;
        }
        let mut slow = std::mem::take(&mut self.slow);
        io.slowest(&mut slow);
        io.turn_by(io.now() + if slow.is_empty() { AGAIN } else { Duration::ZERO });
        while let Some(slot) = slow.pop().filter(|_| io.held() > most) {
            self.end(io, slot, Cause::Slow);
        }
        slow.clear();
        self.slow = slow;
    }
}

/// Tells a subscriber what it lost, in its own words; false if it has none.
fn write_gap(out: &mut Vec<u8>, text: &mut Vec<u8>, local: &Local, phase: &Phase, lost: Lost) -> bool {
    let Some(entry) = local.get(lost.topic) else { return false };
    let Some(now) = entry.state.position() else { return false };
    // The label has the lower half of an offset that is not far behind.
    let behind = (now.offset as u32).wrapping_sub(lost.number);
    let position = Position { offset: now.offset - u64::from(behind), ..now };
    text.clear();
    match phase {
        Phase::Stream(stream) => {
            write_event(text, GAP, &entry.channel);
            write_piece(out, stream.is_gzip, |out| {
                // A stream of many channels has the id of the lost event before this.
                if !stream.has_many {
                    let place = (entry.state.tag, epoch(position), position.offset);
                    sse::id_of_cursor(out, std::iter::once(place));
                }
                sse::body(out, Some(GAP), text);
            });
        }
        Phase::Open(websocket) if websocket.dialect == Dialect::Native => {
            native::gap(text, entry.channel.name(), epoch(position), position.offset);
            ws::encoder::message(out, Kind::Text, text);
        }
        Phase::Open(_) | Phase::Proxy(_) | Phase::Http(_) | Phase::Closing => return false,
    }
    true
}
