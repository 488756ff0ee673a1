//! What this shard tells webhooks: its connections, and the channels whose home it is. Never decides what is told;
//! REALTIME_WEBHOOK_EVENTS does.

use std::borrow::Cow;

use highper_shards::SlotId;
use highper_shards::logic::End;
use highper_wire::ws::CloseCode;

use super::close::Cause;
use super::{ShardIo, Shared, Worker};
use crate::config::WebhookEvent;
use crate::conn::{Conn, Phase};
use crate::handler::Transport;
use crate::hooks::Event;
use crate::hub::occupancy::Change;
use crate::message::{Channel, Kind, Member};

/// What webhooks want to know of a shard: looked up once, so that nothing costs anything without them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    connections: bool,
    /// Who is in which channel, in channels without presence too.
    pub(super) members: bool,
    /// Which channels have a listener.
    pub(super) occupancy: bool,
}

impl Told {
    pub(super) fn of(shared: &Shared) -> Self {
        let wants = |kinds: [WebhookEvent; 2]| {
            shared.webhooks.as_ref().is_some_and(|webhooks| kinds.iter().any(|kind| webhooks.wants(*kind)))
        };
        Self {
            connections: wants([WebhookEvent::Connect, WebhookEvent::Disconnect]),
            members: wants([WebhookEvent::Join, WebhookEvent::Leave]),
            occupancy: wants([WebhookEvent::ChannelOccupied, WebhookEvent::ChannelVacated]),
        }
    }
}

impl Worker {
    /// A connection opened.
    pub(super) fn tell_connect(&self, io: &mut ShardIo, slot: SlotId) {
        if !self.told.connections {
            return;
        }
        let Some(conn) = io.conn(slot) else { return };
        let transport = match conn.phase {
            Phase::Open(_) => Transport::WebSocket,
            Phase::Stream(_) => Transport::Events,
            Phase::Proxy(_) | Phase::Http(_) | Phase::Closing => return,
        };
        self.post_event(Event::Connect { client: slot, user: user(conn), transport });
    }

    /// An open connection ends.
    pub(super) fn tell_disconnect(&self, io: &mut ShardIo, slot: SlotId, cause: &Cause) {
        if !self.told.connections {
            return;
        }
        let user = io.conn(slot).map(|conn| user(conn)).unwrap_or_default();
        let (code, reason) = ending(cause);
        self.post_event(Event::Disconnect { client: slot, user, code, reason: reason.into() });
    }

    /// At home: a member came or went.
    pub(super) fn tell_member(&self, kind: Kind, channel: &Channel, client: SlotId, member: &Member) {
        if !self.told.members {
            return;
        }
        let (channel, user) = (channel.clone(), member.user.clone());
        match kind {
            Kind::Joined => self.post_event(Event::Join { channel, client, user }),
            Kind::Left => self.post_event(Event::Leave { channel, client, user }),
            Kind::Data => unreachable!("data come from publishers"),
        }
    }

    /// At home: channels that became occupied or vacated. Called once a turn, and before a member is told of.
    pub(super) fn tell_occupancy(&mut self, io: &mut ShardIo) {
        let Some(occupancy) = self.home.occupancy() else { return };
        let changes = occupancy.take_changes(io.now());
        if let Some(at) = occupancy.next_due() {
            io.turn_by(at);
        }
        for (channel, change) in changes {
            self.post_event(match change {
                Change::Occupied => Event::Occupied(channel),
                Change::Vacated => Event::Vacated(channel),
            });
        }
    }

    fn post_event(&self, event: Event) {
        if let Some(webhooks) = &self.shared.webhooks {
            webhooks.post(event);
        }
    }
}

fn user(conn: &Conn) -> Box<str> {
    conn.session.as_ref().and_then(|session| session.user.clone()).unwrap_or_default()
}

/// Close code and reason of an end; without a close frame those that RFC 6455 §7.4.1 has for it.
fn ending(cause: &Cause) -> (u16, Cow<'_, str>) {
    const NO_CODE: u16 = 1005;
    const ABNORMAL: u16 = 1006;
    if let Some((code, reason)) = cause.frame() {
        return (code.map_or(NO_CODE, CloseCode::get), reason);
    }
    let Cause::Network(end) = cause else { return (ABNORMAL, "".into()) };
    let lost = match end {
        End::Eof => "the client hung up",
        End::Failed(_) => "the connection broke",
        End::Stalled => "the client takes nothing",
    };
    (ABNORMAL, lost.into())
}
