//! The native dialect's commands, carried out: who may, what happens, what is answered. Never parses JSON; the
//! dialect does.

use std::sync::Arc;

use highper_shards::SlotId;
use highper_wire::dialect::native::{self, Command, Request, Users};
use highper_wire::dialect::{Dialect, ErrorCode};
use highper_wire::ws::{CloseCode, Kind};

use super::close::Cause;
use super::{ShardIo, Worker};
use crate::handler::Error;
use crate::message::{Publication, Receipt};

impl Worker {
    /// A text message of a client that speaks the native dialect.
    pub(super) fn on_command(&mut self, io: &mut ShardIo, slot: SlotId, text: &[u8]) {
        match native::parse(text) {
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
        let config = &self.shared.config;
        let (may_publish, may_broadcast) = (config.client_publish, config.client_broadcast);
        match command {
            Command::Join { channel } => {
                let channel = self.channel(&channel);
                if let Err(error) = self.join(io, slot, &channel, id) {
                    self.fail(io, slot, &error, id);
                }
            }
            Command::Leave { channel } => {
                if self.leave(io, slot, &channel) {
                    self.tell(io, slot, |out| native::left(out, &channel, id));
                } else {
                    let message = "channel is not one the connection is in";
                    self.refuse_command(io, slot, ErrorCode::NotJoined, message, id);
                }
            }
            Command::Publish { .. } if !may_publish => {
                let message = "publish is off for clients (REALTIME_CLIENT_PUBLISH)";
                self.refuse_command(io, slot, ErrorCode::Forbidden, message, id);
            }
            Command::Publish { channel, data } => self.publish_for(io, slot, &channel, data, id),
            Command::Broadcast { .. } | Command::ToUsers { .. } if !may_broadcast => {
                let message = "broadcast and to_users are off for clients (REALTIME_CLIENT_BROADCAST)";
                self.refuse_command(io, slot, ErrorCode::Forbidden, message, id);
            }
            Command::Broadcast { data } => {
                let publication = Publication { from: Some(slot), data: data.into() };
                let receipt = receipt(slot, id);
                if self.publish(io, self.everyone.clone(), publication, receipt).is_err() {
                    self.fail(io, slot, &Error::TryAgain, id);
                }
            }
            Command::ToUsers { users, data } => self.publish_to_users(io, slot, users, data, id),
            Command::Ping => self.tell(io, slot, |out| native::pong(out, id)),
        }
    }

    fn publish_for(&mut self, io: &mut ShardIo, slot: SlotId, name: &str, data: &[u8], id: Option<&[u8]>) {
        let channel = self.channel(name);
        let publication = Publication { from: Some(slot), data: data.into() };
        if self.publish(io, channel, publication, receipt(slot, id)).is_err() {
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
            let publication = Publication { from: Some(slot), data: Arc::clone(&data) };
            let channel = self.shared.names.user(&user);
            self.publish(io, channel, publication, None).expect("the lanes had room for every user");
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
        self.write(io, slot, Kind::Text, &text);
        self.text = text;
    }

    fn fail(&mut self, io: &mut ShardIo, slot: SlotId, error: &Error, id: Option<&[u8]>) {
        let code = match error {
            Error::BadChannel(_) => ErrorCode::BadChannel,
            Error::TooManyChannels(_) => ErrorCode::TooManyChannels,
            Error::TryAgain => ErrorCode::TryAgain,
            Error::OutboxFull | Error::Closed | Error::Json(_) | Error::Application(_) => ErrorCode::Internal,
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
    id.map(|id| Box::new(Receipt { slot, id: id.into() }))
}
