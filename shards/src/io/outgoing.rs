//! The outgoing side of one connection: what is queued, what may be lost, what has room beyond the limit. Never gives
//! anything to the driver.

use super::Flags;
use super::slow::Laggards;
use crate::logic::Limits;
use crate::token::Token;
use crate::tx::{Frame, Label, Lost, Outbox, OutboxFull, Tx};

/// The outgoing side of one connection.
pub struct Outgoing<'a> {
    pub(super) token: Token,
    pub(super) outbox: &'a mut Outbox,
    pub(super) flags: &'a mut Flags,
    pub(super) tx: &'a mut Tx,
    pub(super) dirty: &'a mut Vec<Token>,
    pub(super) laggards: &'a mut Laggards,
    pub(super) limits: &'a Limits,
}

impl Outgoing<'_> {
    /// Queues a shared frame.
    pub fn push(&mut self, frame: Frame) -> Result<(), OutboxFull> {
        self.mark();
        let pushed = self.tx.push(self.outbox, frame, self.limits.outbox_bytes_max);
        self.watch();
        pushed
    }

    /// Queues a shared frame and what opens it for this connection alone, both or none. With a label it may be lost
    /// while it waits; true if it took the place of one that waited.
    pub fn push_event(
        &mut self,
        opening: Option<Frame>,
        frame: Frame,
        label: Option<Label>,
    ) -> Result<bool, OutboxFull> {
        self.mark();
        let limit = self.limits.outbox_bytes_max;
        let pushed = self.tx.push_event(self.outbox, opening, frame, label, limit);
        self.watch();
        pushed
    }

    /// Like [`Outgoing::push_event`], but not refused: for the newest frame, where nothing is left that may be lost.
    pub fn push_newest(&mut self, opening: Option<Frame>, frame: Frame, label: Label) -> bool {
        self.mark();
        let pushed = self.tx.push_event(self.outbox, opening, frame, Some(label), usize::MAX);
        self.watch();
        pushed.expect("there is no limit to reach")
    }

    /// Queues what `write` appends. Everything written in one turn leaves in one send.
    pub fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), OutboxFull> {
        self.write_within(self.limits.outbox_bytes_max, write)
    }

    /// Like [`Outgoing::write`], with room of its own beyond the limit: for answers, errors, pings and pongs of a
    /// connection whose outbox is full. Refused once [`CONTROL_BYTES`] of it are used.
    pub fn write_control(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), OutboxFull> {
        self.write_within(self.limits.outbox_bytes_max.saturating_add(CONTROL_BYTES), write)
    }

    /// Like [`Outgoing::write`], but not refused: for the last words of a connection whose outbox is full.
    pub fn write_last(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.write_within(usize::MAX, write).expect("there is no limit to reach");
    }

    /// Makes a frame to share; recycles a buffer.
    pub fn frame(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Frame {
        self.tx.frame(write)
    }

    /// Bytes the kernel has not accepted yet.
    pub fn queued(&self) -> usize {
        self.outbox.bytes()
    }

    /// Bytes that wait and may not be lost; see [`Tx::kept`]. Costs a look at everything that waits.
    pub fn kept(&self) -> usize {
        self.tx.kept(self.outbox)
    }

    /// Whether something waits that may be lost.
    pub fn has_loose(&self) -> bool {
        self.tx.has_loose(self.outbox)
    }

    /// Frames that may be lost make room, the oldest first; see [`Tx::drop_oldest`].
    pub fn drop_oldest(&mut self, most: usize, write: impl FnOnce(Lost, &mut Vec<u8>)) -> Option<Lost> {
        self.tx.drop_oldest(self.outbox, most, write)
    }

    /// The newest frame of a topic that waits is lost; see [`Tx::drop_latest`].
    pub fn drop_latest(&mut self, topic: u32) -> bool {
        self.tx.drop_latest(self.outbox, topic)
    }

    /// What waits of a topic is lost no more; see [`Tx::keep`].
    pub fn keep(&mut self, topic: u32) {
        self.tx.keep(self.outbox, topic);
    }

    /// Drops whole frames that were not given to the kernel; returns their bytes. A frame in flight stays.
    pub fn drop_waiting(&mut self) -> usize {
        self.tx.drop_waiting(self.outbox)
    }

    fn write_within(&mut self, limit: usize, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), OutboxFull> {
        self.mark();
        let written = self.tx.write(self.outbox, limit, write);
        self.watch();
        written
    }

    fn mark(&mut self) {
        if !self.flags.has(Flags::DIRTY) {
            self.flags.set(Flags::DIRTY);
            self.dirty.push(self.token);
        }
    }

    fn watch(&mut self) {
        if self.outbox.bytes() > self.limits.outbox_soft_bytes && !self.flags.has(Flags::LAGGING) {
            self.flags.set(Flags::LAGGING);
            self.laggards.fresh.push(self.token);
        }
    }
}

/// What an outbox that is full still takes for answers, errors, pings and pongs: sixteen of the longest pongs and
/// as many errors.
pub const CONTROL_BYTES: usize = 4096;
