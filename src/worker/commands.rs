//! The native dialect's commands, carried out: who may, what happens, what is answered. Never parses JSON; the
//! dialect does.

use std::sync::Arc;

use highper_shards::SlotId;
use highper_wire::dialect::native::{self, Command, Request, Since, Users};
use highper_wire::dialect::{Dialect, ErrorCode};
use highper_wire::ws::{CloseCode, Kind};

use super::close::Cause;
use super::identity::INVALID_TOKEN;
use super::websocket::Room;
use super::{ShardIo, Worker};
use crate::auth::{Action, Denied, is_for};
use crate::handler::Error;
use crate::message::{Position, Publication, Purpose, Question, Receipt};

impl Worker {
    /// A text message of a client that speaks the native dialect.
    pub(super) fn on_command(&mut self, io: &mut ShardIo, slot: SlotId, text: &[u8]) {
        if self.keep_command(io, slot, text) {
            return;
        }
        match native::parse(text) {
            Ok(Request { id, command }) if !self.may_carry_out(io, slot, &command, id) => {}
            Ok(Request { id, command }) => self.carry_out(io, slot, command, id),
            Err(bad) => {
                self.refuse_command(io, slot, bad.code, bad.message, bad.id);
                match bad.code.close_code() {
                    Some(code) => {
                        let code = CloseCode::from_wire(code).unwrap_or(CloseCode::POLICY);
                        self.end(io, slot, Cause::Asked(code, bad.message.into()));
                    }
                    None => self.glitch(io, slot),
                }
            }
        }
    }

    fn carry_out(&mut self, io: &mut ShardIo, slot: SlotId, command: Command<'_>, id: Option<&[u8]>) {
        match command {
            _ if self.is_unknown(io, slot) && !matches!(command, Command::Auth { .. } | Command::Ping) => {
                self.refuse_command(io, slot, ErrorCode::Unauthorized, "auth comes first", id);
                self.end(io, slot, Cause::Asked(INVALID_TOKEN, "auth comes first".into()));
            }
            Command::Auth { token } => self.on_auth(io, slot, &token, id),
            Command::Refresh { token } => self.on_refresh(io, slot, &token, id),
            Command::Join { channel, since, token } => {
                self.join_for(io, slot, &channel, since, token.as_deref(), id);
            }
            Command::Leave { channel } => {
                if self.leave(io, slot, &channel) {
                    self.tell(io, slot, |out| native::left(out, &channel, id));
                } else {
                    let message = "channel is not one the connection is in";
                    self.refuse_command(io, slot, ErrorCode::NotJoined, message, id);
                }
            }
            Command::Publish { channel, data } => self.publish_for(io, slot, &channel, data, id),
            Command::Broadcast { .. } | Command::ToUsers { .. }
                if self.is_denied(io, slot, Action::Broadcast, "", id) => {}
            Command::Broadcast { data } => {
                let publication = Publication::new(Some(slot), data);
                let receipt = receipt(slot, id);
                if self.publish(io, self.everyone.clone(), publication, receipt).is_err() {
                    self.fail(io, slot, &Error::TryAgain, id);
                }
            }
            Command::ToUsers { users, data } => self.publish_to_users(io, slot, users, data, id),
            Command::History { channel, .. } if self.is_denied(io, slot, Action::History, &channel, id) => {}
            Command::Presence { channel } | Command::PresenceStats { channel }
                if self.is_denied(io, slot, Action::Presence, &channel, id) => {}
            Command::History { channel, limit, since, reverse } => {
                let since = since.map(|Since { epoch, offset }| Position { epoch, offset });
                let question = Question::History { since, limit: limit as u32, reverse };
                self.ask_for(io, slot, &channel, question, id);
            }
            Command::Presence { channel } => self.ask_for(io, slot, &channel, Question::Presence, id),
            Command::PresenceStats { channel } => {
                self.ask_for(io, slot, &channel, Question::PresenceStats, id);
            }
            Command::Ping => self.tell(io, slot, |out| native::pong(out, id)),
        }
    }

    fn join_for(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        name: &str,
        since: Option<Since>,
        token: Option<&str>,
        id: Option<&[u8]>,
    ) {
        let ticket = match self.ticket(io, slot, token) {
            Ok(ticket) => ticket,
            Err(error) => {
                return self.refuse_command(io, slot, ErrorCode::Unauthorized, &error.to_string(), id);
            }
        };
        // A token of something else must not pass for the backend's word on this channel.
        let user = io.conn(slot).and_then(|conn| conn.identity()).map_or("", |who| &who.user);
        if ticket.as_ref().is_some_and(|ticket| !is_for(ticket, name, user)) {
            let message = "the token is of another channel or user";
            return self.refuse_command(io, slot, ErrorCode::Unauthorized, message, id);
        }
        let rules = self.shared.config.namespaces.rules(name);
        let may = match rules.websocket {
            true => self.may(io, slot, Action::Subscribe, name, ticket.as_ref()),
            false => Err(Denied::Closed),
        };
        if let Err(denied) = may {
            return self.deny(io, slot, denied, id);
        }
        let since = since.map(|Since { epoch, offset }| Position { epoch, offset });
        let since = self.recoverable(io, slot, name, ticket.as_ref(), since);
        // A ticket is the backend's word already.
        if ticket.is_none() && self.asks_about(name) {
            return self.ask_subscribe(io, slot, name, since, id);
        }
        if let Some(ticket) = ticket {
            self.keep_pass(io, slot, name, ticket);
        }
        let channel = self.channel(name);
        if let Err(error) = self.join(io, slot, &channel, id, since) {
            self.fail(io, slot, &error, id);
        }
    }

    /// Whether something is not allowed; the client was told.
    fn is_denied(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        action: Action,
        channel: &str,
        id: Option<&[u8]>,
    ) -> bool {
        let may = self.may(io, slot, action, channel, None);
        if let Err(denied) = may {
            self.deny(io, slot, denied, id);
        }
        may.is_err()
    }

    pub(super) fn deny(&mut self, io: &mut ShardIo, slot: SlotId, denied: Denied, id: Option<&[u8]>) {
        let code = match denied {
            Denied::Anonymous | Denied::NeedsToken => ErrorCode::Unauthorized,
            Denied::Reserved | Denied::Closed | Denied::Pattern | Denied::OtherUsers => ErrorCode::Forbidden,
        };
        self.refuse_command(io, slot, code, &denied.to_string(), id);
    }

    fn publish_for(&mut self, io: &mut ShardIo, slot: SlotId, name: &str, data: &[u8], id: Option<&[u8]>) {
        if self.is_denied(io, slot, Action::Publish, name, id) {
            return;
        }
        let channel = self.channel(name);
        let publication = Publication::new(Some(slot), data);
        if self.publish(io, channel, publication, receipt(slot, id)).is_err() {
            self.fail(io, slot, &Error::TryAgain, id);
        }
    }

    /// Only who is in a channel may ask what it keeps.
    fn ask_for(&mut self, io: &mut ShardIo, slot: SlotId, name: &str, question: Question, id: Option<&[u8]>) {
        let channel = self.channel(name);
        let known = self.local.find(name, channel.hash());
        let is_in = known.is_some_and(|at| io.conn(slot).is_some_and(|conn| conn.channels.contains(at)));
        if !is_in {
            let message = "channel is not one the connection is in";
            return self.refuse_command(io, slot, ErrorCode::NotJoined, message, id);
        }
        let receipt = Box::new(Receipt { slot, purpose: Purpose::Command(id.map(Box::from)) });
        if self.ask(io, &channel, question, receipt).is_err() {
            self.fail(io, slot, &Error::TryAgain, id);
        }
    }

    /// All users or none: a lane without room for all of them is left alone.
    fn publish_to_users(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        users: Users<'_>,
        data: &[u8],
        id: Option<&[u8]>,
    ) {
        if !self.has_room(io, users.len()) {
            return self.fail(io, slot, &Error::TryAgain, id);
        }
        let data: Arc<[u8]> = data.into();
        for user in users {
            let publication = Publication::new(Some(slot), Arc::clone(&data));
            let channel = self.shared.names.user(&user);
            // The lanes had room for every user; whom a publication closes as slow may have taken some of it.
            if self.publish(io, channel, publication, None).is_err() {
                return self.fail(io, slot, &Error::TryAgain, id);
            }
        }
        if id.is_some() {
            self.tell(io, slot, |out| native::ack(out, None, id));
        }
    }

    /// Sends an event of the native dialect; to connections of other dialects nothing.
    pub(super) fn tell(&mut self, io: &mut ShardIo, slot: SlotId, write: impl FnOnce(&mut Vec<u8>)) {
        let websocket = io.conn(slot).and_then(|conn| conn.websocket());
        if websocket.is_none_or(|websocket| websocket.dialect != Dialect::Native) {
            return;
        }
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        write(&mut text);
        self.write(io, slot, Kind::Text, &text, Room::Control);
        self.text = text;
    }

    pub(super) fn fail(&mut self, io: &mut ShardIo, slot: SlotId, error: &Error, id: Option<&[u8]>) {
        let code = match error {
            Error::BadChannel(_) => ErrorCode::BadChannel,
            Error::TooManyChannels(_) => ErrorCode::TooManyChannels,
            Error::TryAgain => ErrorCode::TryAgain,
            Error::OutboxFull
            | Error::Closed
            | Error::TextOnly
            | Error::BadEvent
            | Error::Json(_)
            | Error::Application(_) => ErrorCode::Internal,
        };
        self.refuse_command(io, slot, code, &error.to_string(), id);
    }

    /// Tells a client that its command was not carried out.
    pub(super) fn refuse_command(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        code: ErrorCode,
        message: &str,
        id: Option<&[u8]>,
    ) {
        self.tell(io, slot, |out| native::error(out, code, message, id));
    }
}

/// Only who gave an `id` is answered.
fn receipt(slot: SlotId, id: Option<&[u8]>) -> Option<Box<Receipt>> {
    id.map(|id| Box::new(Receipt { slot, purpose: Purpose::Command(Some(id.into())) }))
}
