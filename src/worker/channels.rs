//! What the hub decides, done to connections: joins answered, publications numbered and put into outboxes, gaps
//! told. Never decides who may join or publish.

use std::fmt::Write;

use highper_shards::mesh::Lane;
use highper_shards::{ShardId, SlotId};
use highper_wire::dialect::string::write_string;
use highper_wire::dialect::{Dialect, ErrorCode, native, raw};

use super::{ShardIo, Worker};
use crate::api::server::Outcome;
use crate::handler::Error;
use crate::hub::local::{Join, Joining};
use crate::message::{Channel, ChannelKind, Kind, Message, Position, Publication, Purpose, Receipt};

/// The lane to a channel's home, or the answers it owes, are at their limit: nothing happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TryAgain;

/// A join whose connection was not told yet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Begun {
    /// In, from this position on.
    Joined(Position),
    /// The home must be asked what was missed after a position; with the serial number of the join.
    Away(Position, u32),
    /// The home was asked where the channel stands.
    Waiting,
}

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

    /// Subscribes an open connection. Its dialect is told once the home has answered, maybe now. With `since` it
    /// gets what it missed after that position, or is told that it cannot.
    pub(super) fn join(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        channel: &Channel,
        id: Option<&[u8]>,
        since: Option<Position>,
    ) -> Result<(), Error> {
        let begun = self.begin_join(io, slot, channel, id, since)?;
        self.answer_join(io, slot, channel, id, begun);
        Ok(())
    }

    /// The first half of [`Worker::join`]: the connection has its place in the channel, but nothing was said.
    pub(super) fn begin_join(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        channel: &Channel,
        id: Option<&[u8]>,
        since: Option<Position>,
    ) -> Result<Begun, Error> {
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
        // Who is in already misses nothing.
        let since = since.filter(|_| !is_in);
        let serial = self.local.serial();
        let joining = Joining { slot, id: id.map(Box::from), since, serial };
        let (at, position) = match self.local.join(channel, joining, (home_shard, &mut self.home), io) {
            Join::Joined(at, position) => (at, Some(position)),
            Join::Waiting(at) | Join::Recovering(at) => (at, None),
            Join::TryAgain => return Err(Error::TryAgain),
        };
        if let Some(conn) = io.conn(slot).filter(|_| !is_in) {
            conn.channels.insert(at);
        }
        let is_held = || self.local.get(at).is_some_and(|entry| entry.state.position().is_some());
        Ok(match (position, since) {
            (Some(position), _) => Begun::Joined(position),
            (None, Some(since)) if is_held() => Begun::Away(since, serial),
            (None, _) => Begun::Waiting,
        })
    }

    /// The second half: says what is known already, asks for what was missed.
    pub(super) fn answer_join(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        channel: &Channel,
        id: Option<&[u8]>,
        begun: Begun,
    ) {
        match begun {
            Begun::Joined(position) => self.joined(io, slot, channel, position, id, None),
            Begun::Away(since, serial) => self.ask_missed(io, slot, channel, since, serial),
            Begun::Waiting => {}
        }
    }

    /// Ends a subscription; false if there was none. Joins that were not answered yet are answered now.
    pub(super) fn leave(&mut self, io: &mut ShardIo, slot: SlotId, name: &str) -> bool {
        let Some(at) = self.local.find(name, self.shared.names.hash(name)) else { return false };
        if !io.conn(slot).is_some_and(|conn| conn.channels.remove(at)) {
            return false;
        }
        let channel = self.local.get(at).map(|entry| entry.channel.clone());
        let withdrawn = self.local.leave(at, slot, &mut self.home, io);
        if let Some(channel) = channel {
            self.keep_waiting(io, slot, at, &channel);
            self.exit(io, slot, &channel);
        }
        for joining in withdrawn {
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
        let sequenced = self.home.publish(&channel, &publication, io.now(), io);
        self.counters.published += 1;
        self.counters.shards_behind += u64::from(sequenced.behind);
        if sequenced.deliver_here {
            self.deliver(io, &channel, sequenced.offset, &publication);
        }
        let Some(receipt) = receipt else { return };
        if receipt.slot.shard == io.shard() {
            return self.acknowledge(io, *receipt, sequenced.position);
        }
        let publisher = receipt.slot.shard;
        let answer = Message::Published { position: sequenced.position, receipt };
        io.post(publisher, Lane::Control, answer).expect("publishers have fewer receipts out than it holds");
    }

    /// The home's answer to a publisher of this shard.
    pub(super) fn acknowledge(&mut self, io: &mut ShardIo, receipt: Receipt, position: Option<Position>) {
        match receipt.purpose {
            Purpose::Command(id) => {
                let offset = position.map(|position| position.offset);
                self.tell(io, receipt.slot, |out| native::ack(out, offset, id.as_deref()));
            }
            Purpose::Part { job, part } => {
                self.put_part(io, receipt.slot, job, part, Outcome::Published(position));
            }
            Purpose::Join(_) => unreachable!("a join publishes nothing"),
        }
    }

    /// The home told where a channel stands.
    pub(super) fn stand(&mut self, io: &mut ShardIo, channel: &Channel, position: Position, is_answer: bool) {
        let Some(stood) = self.local.stand(channel, position, is_answer) else { return };
        if stood.gap {
            self.signal_gap(io, stood.at, position);
        }
        for joining in stood.joined {
            self.joined(io, joining.slot, channel, position, joining.id.as_deref(), None);
        }
        for (slot, since, serial) in stood.recovering {
            self.ask_missed(io, slot, channel, since, serial);
        }
    }

    /// Puts a publication into the outbox of every subscriber of this shard. Offset 0 is not numbered.
    pub(super) fn deliver(
        &mut self,
        io: &mut ShardIo,
        channel: &Channel,
        offset: u64,
        publication: &Publication,
    ) {
        let Some(at) = self.local.deliver(channel, offset) else { return };
        let from = self.publisher(publication);
        let event = publication.extras.as_ref().and_then(|extras| extras.event.as_deref());
        self.fan_out(io, at, offset, event, |out, dialect, _| {
            write_publication(out, dialect, channel, offset, publication, &from);
        });
        self.from = from;
    }

    /// The name of who published, in memory that is given back to `from`.
    pub(super) fn publisher(&mut self, publication: &Publication) -> String {
        let mut from = std::mem::take(&mut self.from);
        from.clear();
        if let Some(slot) = publication.from {
            write!(from, "{slot}").expect("a string takes everything");
        }
        from
    }

    /// Tells subscribers that they missed publications. Who speaks no dialect has no word for it.
    fn signal_gap(&mut self, io: &mut ShardIo, at: u32, position: Position) {
        let Some(entry) = self.local.get(at).filter(|entry| !entry.channel.is_reserved()) else { return };
        let (channel, epoch) = (entry.channel.clone(), epoch(position));
        self.counters.gaps += 1;
        self.fan_out(io, at, position.offset, Some(GAP), |out, dialect, is_event| match dialect {
            _ if is_event => write_event(out, GAP, &channel),
            Dialect::Native => native::gap(out, channel.name(), epoch, position.offset),
            Dialect::Raw | Dialect::Echo => {}
        });
    }

    /// A subscription began: the dialect's answer to a join.
    pub(super) fn joined(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        channel: &Channel,
        position: Position,
        id: Option<&[u8]>,
        recovered: Option<bool>,
    ) {
        if channel.is_reserved() {
            return;
        }
        let epoch = epoch(position);
        self.tell(io, slot, |out| {
            native::joined(out, channel.name(), epoch, position.offset, recovered, id);
        });
        let event = if recovered == Some(false) { GAP } else { JOINED };
        self.stream_joined(io, slot, channel, event);
        self.enter(io, slot, channel);
    }
}

/// One publication in the words of a dialect.
pub(super) fn write_publication(
    out: &mut Vec<u8>,
    dialect: Dialect,
    channel: &Channel,
    offset: u64,
    publication: &Publication,
    from: &str,
) {
    let (data, tags) = (&publication.data, publication.tags());
    match (dialect, publication.kind(), channel.kind()) {
        (Dialect::Native, Kind::Joined | Kind::Left, _) => {
            out.extend_from_slice(data);
        }
        (Dialect::Native, Kind::Data, ChannelKind::Named) => {
            native::message(out, channel.name(), offset, data, from, tags);
        }
        (Dialect::Native, Kind::Data, ChannelKind::User) => native::user_message(out, data, from, tags),
        // Only streams of the raw dialect are in it.
        (Dialect::Native, Kind::Data, ChannelKind::Security) => raw::message(out, data),
        (Dialect::Native, Kind::Data, ChannelKind::Everyone) => native::broadcast(out, data, from, tags),
        (Dialect::Raw | Dialect::Echo, Kind::Data, _) => raw::message(out, data),
        (Dialect::Raw | Dialect::Echo, Kind::Joined | Kind::Left, _) => {}
    }
}

/// The data of the event that tells a stream what became of a channel: [`GAP`] or [`JOINED`].
pub(super) fn write_event(out: &mut Vec<u8>, event: &'static str, channel: &Channel) {
    out.extend_from_slice(br#"{"type":""#);
    out.extend_from_slice(event.as_bytes());
    out.extend_from_slice(br#"","channels":["#);
    write_string(out, channel.name());
    out.extend_from_slice(b"]}");
}

/// The event that tells a stream of a gap.
pub(super) const GAP: &str = "gap";

/// The event that tells a stream that it is in a channel.
const JOINED: &str = "joined";

/// An epoch as clients see it.
pub(super) fn epoch(position: Position) -> u32 {
    u32::try_from(position.epoch).expect("homes make epochs of 32 bits")
}
