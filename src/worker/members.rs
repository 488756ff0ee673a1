//! Members of channels, where presence is on or webhooks tell of them: who comes and goes is told to the channel's home in order, and the
//! home's events are published. Never decides who is a member; the home does.

use highper_shards::mesh::Lane;
use highper_shards::{ShardId, SlotId};
use highper_wire::dialect::native;

use super::{ShardIo, Worker};
use crate::message::{Channel, Extras, Kind, Member, Message, Publication};

impl Worker {
    /// A connection is in a channel now: it becomes a member, if the channel has members.
    pub(super) fn enter(&mut self, io: &mut ShardIo, slot: SlotId, channel: &Channel) {
        if !self.has_members(channel) {
            return;
        }
        // Who could not even be told that it is in has left already.
        let Some(conn) = io.conn(slot).filter(|conn| conn.is_open()) else { return };
        let session = conn.session.as_ref();
        let member = Member {
            user: session.and_then(|session| session.user.clone()).unwrap_or_default(),
            info: session.and_then(|session| session.info_in(channel.name())),
        };
        let message = Message::Enter { channel: channel.clone(), slot, member: Box::new(member) };
        self.tell_home(io, channel, message);
    }

    /// A connection has left a channel.
    pub(super) fn exit(&mut self, io: &mut ShardIo, slot: SlotId, channel: &Channel) {
        if self.has_members(channel) {
            self.tell_home(io, channel, Message::Exit { channel: channel.clone(), slot });
        }
    }

    fn has_members(&self, channel: &Channel) -> bool {
        let is_wanted = self.told.members || self.shared.config.namespaces.rules(channel.name()).presence;
        is_wanted && !channel.is_reserved()
    }

    /// Nothing of this may be lost: what finds its lane full waits, and everything behind it too.
    fn tell_home(&mut self, io: &mut ShardIo, channel: &Channel, message: Message) {
        let home = self.shared.names.home(channel);
        match home == io.shard() {
            true => self.on_membership(io, message),
            false => self.post_surely(io, home, message),
        }
    }

    /// Posts what must arrive: at the latest when its lane has room again, and behind what waits for that already.
    pub(super) fn post_surely(&mut self, io: &mut ShardIo, home: ShardId, message: Message) {
        let unsent = &mut self.unsent[home.index()];
        if !unsent.is_empty() {
            return unsent.push_back(message);
        }
        if let Err(full) = io.post(home, Lane::Bulk, message) {
            unsent.push_back(full.0);
        }
    }

    /// Posts what waited for room; true if something still waits. Called once a turn.
    pub(super) fn resend(&mut self, io: &mut ShardIo) -> bool {
        let mut waits = false;
        for (home, unsent) in (0..).map(ShardId).zip(&mut self.unsent) {
            while let Some(message) = unsent.pop_front() {
                if let Err(full) = io.post(home, Lane::Bulk, message) {
                    unsent.push_front(full.0);
                    waits = true;
                    break;
                }
            }
        }
        waits
    }

    /// At home: somebody comes or goes.
    pub(super) fn on_membership(&mut self, io: &mut ShardIo, message: Message) {
        // A channel is occupied before anybody is told to be in it.
        self.tell_occupancy(io);
        match message {
            Message::Enter { channel, slot, member } => {
                if self.home.enter(&channel, slot, Member::clone(&member), io.now()) {
                    self.publish_member(io, Kind::Joined, &channel, slot, &member);
                }
            }
            Message::Exit { channel, slot } => {
                if let Some(member) = self.home.exit(&channel, slot, io.now()) {
                    self.publish_member(io, Kind::Left, &channel, slot, &member);
                }
            }
            other => unreachable!("no membership: {other:?}"),
        }
    }

    /// Tells channels whose members have left for good by now. Called once a turn.
    pub(super) fn tell_departures(&mut self, io: &mut ShardIo) {
        for (channel, slot, member) in self.home.departed(io.now()) {
            self.publish_member(io, Kind::Left, &channel, slot, &member);
        }
    }

    fn publish_member(
        &mut self,
        io: &mut ShardIo,
        kind: Kind,
        channel: &Channel,
        slot: SlotId,
        member: &Member,
    ) {
        self.tell_member(kind, channel, slot, member);
        let rules = self.shared.config.namespaces.rules(channel.name());
        if !rules.presence || !rules.member_events {
            return;
        }
        let mut data = Vec::new();
        let connection = slot.to_string();
        let who = native_member(&connection, member);
        let event = match kind {
            Kind::Joined => {
                native::member_joined(&mut data, channel.name(), who);
                "member_joined"
            }
            Kind::Left => {
                native::member_left(&mut data, channel.name(), who);
                "member_left"
            }
            Kind::Data => unreachable!("data come from publishers"),
        };
        let extras = Extras { kind, event: Some(event.into()), ..Extras::default() };
        let publication = Publication { extras: Some(extras.into()), ..Publication::new(None, data) };
        self.sequence(io, channel.clone(), publication, None);
    }
}

/// A member in the words of the native dialect.
pub(super) fn native_member<'m>(connection: &'m str, member: &'m Member) -> native::Member<'m> {
    native::Member { connection, user: &member.user, info: member.info.as_deref() }
}
