//! What the hub decides, done to connections: joins answered, publications numbered and put into outboxes, gaps
//! told. Never decides who may join or publish.

use std::fmt::Write;

use highper_shards::mesh::Lane;
use highper_shards::{ShardId, SlotId};
use highper_wire::dialect::{Dialect, ErrorCode, native, raw};

use super::{ShardIo, Worker};
use crate::handler::Error;
use crate::hub::local::{Join, Joining};
use crate::message::{Channel, ChannelKind, Message, Position, Publication, Receipt};

/// The lane to a channel's home, or the answers it owes, are at their limit: nothing happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TryAgain;

impl From<TryAgain> for Error {
    fn from(_: TryAgain) -> Self {
        Self::TryAgain
    }
}

impl Worker {
    /// The channel of this name, which passed the rule for names.
    pub(super) fn channel(&self, name: &str) -> Channel {
        let hash = self.shared.names.hash(name);
        match self.local.find(name, hash).and_then(|at| self.local.get(at)) {
            Some(entry) => entry.channel.clone(),
            None => self.shared.names.channel(name, hash),
        }
    }

    /// Subscribes an open connection. Its dialect is told once the home has answered, maybe now.
    pub(super) fn join(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        channel: &Channel,
        id: Option<&[u8]>,
    ) -> Result<(), Error> {
        // Who is closing has left its channels already: a subscription would pass to the next one in its slot.
        let Some(conn) = io.conn(slot).filter(|conn| conn.is_open()) else { return Err(Error::Closed) };
        let known = self.local.find(channel.name(), channel.hash());
        let is_in = known.is_some_and(|at| conn.channels.contains(at));
        let limit = self.shared.config.max_channels_per_connection as usize;
        // The reserved channels of everyone and of the user do not count.
        let joined = conn.channels.len().saturating_sub(1 + usize::from(conn.has_user()));
        if !is_in && !channel.is_reserved() && joined >= limit {
            return Err(Error::TooManyChannels(joined));
        }
        let home_shard = self.shared.names.home(channel);
        let joining = Joining { slot, id: id.map(Box::from) };
        let (at, position) = match self.local.join(channel, joining, (home_shard, &mut self.home), io) {
            Join::Joined(at, position) => (at, Some(position)),
            Join::Waiting(at) => (at, None),
            Join::TryAgain => return Err(Error::TryAgain),
        };
        if let Some(conn) = io.conn(slot).filter(|_| !is_in) {
            conn.channels.insert(at);
        }
        if let Some(position) = position {
            self.joined(io, slot, channel, position, id);
        }
        Ok(())
    }

    /// Ends a subscription; false if there was none. Joins that were not answered yet are answered now.
    pub(super) fn leave(&mut self, io: &mut ShardIo, slot: SlotId, name: &str) -> bool {
        let Some(at) = self.local.find(name, self.shared.names.hash(name)) else { return false };
        if !io.conn(slot).is_some_and(|conn| conn.channels.remove(at)) {
            return false;
        }
        for joining in self.local.leave(at, slot, &mut self.home, io) {
            let message = "the connection left before it was in";
            self.refuse_command(io, slot, ErrorCode::NotJoined, message, joining.id.as_deref());
        }
        true
    }

    /// Sends a publication on its way. The receipt comes back when the home has numbered it.
    pub(super) fn publish(
        &mut self,
        io: &mut ShardIo,
        channel: Channel,
        publication: Publication,
        receipt: Option<Box<Receipt>>,
    ) -> Result<(), TryAgain> {
        let home = self.shared.names.home(&channel);
        if home == io.shard() {
            self.sequence(io, channel, publication, receipt);
            return Ok(());
        }
        let wants_answer = receipt.is_some();
        // The home answers by a lane that must have room for every answer it owes.
        if wants_answer && self.outstanding[home.index()] >= self.receipts_max {
            self.counters.mesh_full += 1;
            return Err(TryAgain);
        }
        match io.post(home, Lane::Bulk, Message::Publish { channel, publication, receipt }) {
            Ok(()) => {
                self.outstanding[home.index()] += usize::from(wants_answer);
                Ok(())
            }
            Err(_) => {
                self.counters.mesh_full += 1;
                Err(TryAgain)
            }
        }
    }

    /// Whether every lane takes this many messages more.
    pub(super) fn has_room(&self, io: &ShardIo, messages: usize) -> bool {
        let others = (0..self.shared.names.shards()).map(ShardId).filter(|shard| *shard != io.shard());
        others.into_iter().all(|shard| io.room(shard, Lane::Bulk) >= messages)
    }

    /// At home: numbers a publication, sends it to every interested shard and answers the publisher.
    pub(super) fn sequence(
        &mut self,
        io: &mut ShardIo,
        channel: Channel,
        publication: Publication,
        receipt: Option<Box<Receipt>>,
    ) {
        let sequenced = self.home.publish(&channel, &publication, io);
        self.counters.published += 1;
        self.counters.shards_behind += u64::from(sequenced.behind);
        if let Some(offset) = sequenced.offset.filter(|_| sequenced.deliver_here) {
            self.deliver(io, &channel, offset, &publication);
        }
        let Some(receipt) = receipt else { return };
        if receipt.slot.shard == io.shard() {
            return self.acknowledge(io, &receipt, sequenced.offset);
        }
        let publisher = receipt.slot.shard;
        let answer = Message::Published { offset: sequenced.offset, receipt };
        io.post(publisher, Lane::Control, answer).expect("publishers have fewer receipts out than it holds");
    }

    /// The home's answer to a publisher of this shard.
    pub(super) fn acknowledge(&mut self, io: &mut ShardIo, receipt: &Receipt, offset: Option<u64>) {
        self.tell(io, receipt.slot, |out| native::ack(out, offset, Some(&receipt.id)));
    }

    /// The home told where a channel stands.
    pub(super) fn stand(&mut self, io: &mut ShardIo, channel: &Channel, position: Position, is_answer: bool) {
        let Some(stood) = self.local.stand(channel, position, is_answer) else { return };
        if stood.gap {
            self.signal_gap(io, stood.at, position);
        }
        for joining in stood.joined {
            self.joined(io, joining.slot, channel, position, joining.id.as_deref());
        }
    }

    /// Puts a publication into the outbox of every subscriber of this shard.
    pub(super) fn deliver(
        &mut self,
        io: &mut ShardIo,
        channel: &Channel,
        offset: u64,
        publication: &Publication,
    ) {
        let Some(at) = self.local.deliver(channel, offset) else { return };
        let mut from = std::mem::take(&mut self.from);
        from.clear();
        if let Some(slot) = publication.from {
            write!(from, "{slot}").expect("a string takes everything");
        }
        let data = &publication.data;
        self.fan_out(io, at, |out, dialect| match (dialect, channel.kind()) {
            (Dialect::Native, ChannelKind::Named) => {
                native::message(out, channel.name(), offset, data, &from)
            }
            (Dialect::Native, ChannelKind::User) => native::user_message(out, data, &from),
            (Dialect::Native, ChannelKind::Everyone) => native::broadcast(out, data, &from),
            (Dialect::Raw | Dialect::Echo, _) => raw::message(out, data),
        });
        self.from = from;
    }

    /// Tells subscribers that they missed publications. Who speaks no dialect has no word for it.
    fn signal_gap(&mut self, io: &mut ShardIo, at: u32, position: Position) {
        let Some(entry) = self.local.get(at).filter(|entry| !entry.channel.is_reserved()) else { return };
        let (channel, epoch) = (entry.channel.clone(), epoch(position));
        self.counters.gaps += 1;
        self.fan_out(io, at, |out, dialect| match dialect {
            Dialect::Native => native::gap(out, channel.name(), &epoch, position.offset),
            Dialect::Raw | Dialect::Echo => {}
        });
    }

    /// A subscription began: the dialect's answer to a join.
    fn joined(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        channel: &Channel,
        position: Position,
        id: Option<&[u8]>,
    ) {
        if !channel.is_reserved() {
            let epoch = epoch(position);
            self.tell(io, slot, |out| native::joined(out, channel.name(), &epoch, position.offset, id));
        }
    }
}

/// An epoch as clients see it.
fn epoch(position: Position) -> String {
    format!("{:016x}", position.epoch)
}
