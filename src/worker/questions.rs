//! Questions to the embedder's backend, and what its answers do to connections: who may come in, who may join. Never
//! waits; `hooks` asks on threads of its own.

use std::sync::Arc;
use std::time::Duration;

use highper_shards::SlotId;
use highper_wire::dialect::{ErrorCode, native};
use highper_wire::http1::{Head, Status};
use highper_wire::ws::CloseCode;

use super::close::Cause;
use super::entry::{Turned, take_entry};
use super::{ShardIo, Worker};
use crate::auth::{Action, Claims, Identity, Permissions};
use crate::conn::Pass;
use crate::conn::entry::{Door, Entry, Known};
use crate::handler::Transport;
use crate::hooks::{Header, Hook, Question};
use crate::message::hook::{Admission, Asked, ConnectVerdict, HookAnswer, Hooked, SubscribeVerdict};
use crate::message::{Message, Position};

impl Worker {
    /// What the backend is shown of a request, if it is asked about it: whoever brings a token is known already.
    pub(super) fn shown(&self, head: &Head<'_>, known: &Known) -> Vec<Header> {
        match &self.shared.hooks {
            Some(hooks) if hooks.asks(Hook::Connect) && known.identity.is_none() => hooks.shown(head),
            Some(_) | None => Vec::new(),
        }
    }

    /// Asks who somebody is; false if nobody is asked.
    pub(super) fn ask_connect(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        entry: &mut Entry,
    ) -> Result<bool, Turned> {
        let asks = self.shared.hooks.as_ref().is_some_and(|hooks| hooks.asks(Hook::Connect));
        if !asks || entry.known.identity.is_some() {
            return Ok(false);
        }
        let question = Question::Connect {
            client: slot,
            transport: entry.transport(),
            remote_addr: io.conn(slot).and_then(|conn| conn.address()),
            headers: std::mem::take(&mut entry.headers),
            data: None,
        };
        entry.asked = 1;
        self.ask_backend(io, slot, question, Asked::Connect).map(|()| true)
    }

    /// Asks about the channels of a stream whose namespace wants that; the number of questions.
    pub(super) fn ask_channels(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        entry: &mut Entry,
    ) -> Result<u16, Turned> {
        let Door::Stream(wanted) = &entry.door else { return Ok(0) };
        let user = entry.known.identity.as_ref().map(|identity| identity.user.clone()).unwrap_or_default();
        let mut asked = 0;
        for channel in &wanted.channels {
            if !self.asks_about(channel.name()) {
                continue;
            }
            let name: Box<str> = channel.name().into();
            let question = Question::Subscribe {
                client: slot,
                transport: Transport::Events,
                user: user.clone(),
                channel: name.clone(),
                data: None,
            };
            self.ask_backend(io, slot, question, Asked::Stream(name))?;
            asked += 1;
        }
        entry.asked = asked;
        Ok(asked)
    }

    /// Whether the backend is asked before a client joins this channel.
    pub(super) fn asks_about(&self, channel: &str) -> bool {
        let hooks = self.shared.hooks.as_ref();
        hooks.is_some_and(|hooks| hooks.asks(Hook::Subscribe))
            && self.shared.config.namespaces.rules(channel).subscribe_hook
    }

    /// Asks whether a client may join.
    pub(super) fn ask_subscribe(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        channel: &str,
        since: Option<Position>,
        id: Option<&[u8]>,
    ) {
        let user = io.conn(slot).and_then(|conn| conn.session.as_ref()?.user.clone()).unwrap_or_default();
        let question = Question::Subscribe {
            client: slot,
            transport: Transport::WebSocket,
            user,
            channel: channel.into(),
            data: None,
        };
        let asked = Asked::Join { channel: channel.into(), since, id: id.map(Box::from) };
        if let Err(turned) = self.ask_backend(io, slot, question, asked) {
            self.refuse_command(io, slot, ErrorCode::TryAgain, &turned.message, id);
        }
    }

    fn ask_backend(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        question: Question,
        asked: Asked,
    ) -> Result<(), Turned> {
        let hooks = self.shared.hooks.as_ref().expect("it was looked at whether the hook is configured");
        let mailbox = io.mailbox();
        let reply = move |answer| {
            mailbox.post_waiting(Message::Hooked(Box::new(Hooked { slot, asked, answer })));
        };
        hooks.ask(question, reply).map_err(|_| unavailable())
    }

    /// The backend has answered, or could not.
    pub(super) fn on_hooked(&mut self, io: &mut ShardIo, hooked: Hooked) {
        let Hooked { slot, asked, answer } = hooked;
        match (asked, answer) {
            (Asked::Connect, HookAnswer::Connect(verdict)) => self.on_connect_verdict(io, slot, verdict),
            (Asked::Stream(channel), HookAnswer::Subscribe(verdict)) => {
                self.on_stream_verdict(io, slot, channel, verdict);
            }
            (Asked::Join { channel, since, id }, HookAnswer::Subscribe(verdict)) => {
                self.on_join_verdict(io, slot, (channel, since), id.as_deref(), verdict);
            }
            (Asked::Connect, HookAnswer::Subscribe(_))
            | (Asked::Stream(_) | Asked::Join { .. }, HookAnswer::Connect(_)) => {
                unreachable!("a question is answered in its own kind")
            }
        }
    }

    fn on_connect_verdict(&mut self, io: &mut ShardIo, slot: SlotId, verdict: ConnectVerdict) {
        // Who has gone away meanwhile, or was turned away, has no entry.
        let Some(mut entry) = take_entry(io, slot) else { return };
        let turned = match verdict {
            ConnectVerdict::Accept(admission) => {
                match known(*admission, (self.shared.unix_millis)() / 1000) {
                    Some((known, data)) => {
                        (entry.known, entry.data, entry.asked) = (known, data, 0);
                        self.identified(io, slot, entry);
                        return;
                    }
                    None => unavailable(),
                }
            }
            ConnectVerdict::Refuse { message, .. } => {
                self.auth_failed(io, slot, "the backend refused the connection");
                Turned::new(Status::Forbidden, message)
            }
            ConnectVerdict::Unavailable => unavailable(),
        };
        self.turn_away(io, slot, &turned);
    }

    fn on_stream_verdict(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        channel: Box<str>,
        verdict: SubscribeVerdict,
    ) {
        let Some(mut entry) = take_entry(io, slot) else { return };
        let turned = match verdict {
            SubscribeVerdict::Accept { info, expires_at } => {
                entry.passes.extend(self.pass(io, channel, info, expires_at));
                entry.asked -= 1;
                match entry.asked {
                    0 => drop(self.count_in(io, slot, entry)),
                    _ => self.let_wait(io, slot, entry),
                }
                return;
            }
            SubscribeVerdict::Refuse { message, .. }
            | SubscribeVerdict::Disconnect { reason: message, .. } => {
                Turned::new(Status::Forbidden, format!("channel: {channel}: {message}"))
            }
            SubscribeVerdict::Unavailable => unavailable(),
        };
        self.turn_away(io, slot, &turned);
    }

    fn on_join_verdict(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        (name, since): (Box<str>, Option<Position>),
        id: Option<&[u8]>,
        verdict: SubscribeVerdict,
    ) {
        match verdict {
            SubscribeVerdict::Accept { info, expires_at } => {
                // The client may have come with a newer token meanwhile, which allows less.
                if let Err(denied) = self.may(io, slot, Action::Subscribe, &name, None) {
                    return self.deny(io, slot, denied, id);
                }
                let pass = self.pass(io, name.clone(), info, expires_at);
                if let Some(conn) = io.conn(slot).filter(|conn| conn.is_open()) {
                    conn.session().set_pass(&name, pass);
                }
                let channel = self.channel(&name);
                if let Err(error) = self.join(io, slot, &channel, id, since) {
                    self.fail(io, slot, &error, id);
                }
                self.schedule(io, slot);
            }
            SubscribeVerdict::Refuse { message, .. } => {
                self.refuse_command(io, slot, ErrorCode::Forbidden, &message, id);
            }
            SubscribeVerdict::Disconnect { code, reason } => {
                let code = u16::try_from(code).ok().and_then(CloseCode::from_wire);
                self.end(io, slot, Cause::Asked(code.unwrap_or(CloseCode::POLICY), reason.into()));
            }
            SubscribeVerdict::Unavailable => {
                self.refuse_command(io, slot, ErrorCode::TryAgain, UNAVAILABLE, id);
            }
        }
    }

    /// What a backend says of one subscription, if it says anything.
    fn pass(
        &self,
        io: &ShardIo,
        channel: Box<str>,
        info: Option<Arc<[u8]>>,
        expires_at: Option<u64>,
    ) -> Option<Pass> {
        let until = expires_at.map(|at| self.moment_of(io, at, Duration::ZERO));
        (info.is_some() || until.is_some()).then_some(Pass { channel, info, until })
    }

    /// A subscription ends with the token of its channel, and shows what that says.
    pub(super) fn keep_pass(&mut self, io: &mut ShardIo, slot: SlotId, name: &str, ticket: Claims) {
        let expires_at = ticket.expires_at.filter(|_| self.shared.config.jwt_verify_expiration);
        let until = expires_at.map(|at| self.moment_of(io, at, self.shared.config.jwt_leeway));
        let info = ticket.info.map(|info| Arc::from(info.as_bytes()));
        let pass = (info.is_some() || until.is_some()).then(|| Pass { channel: name.into(), info, until });
        if let Some(conn) = io.conn(slot).filter(|conn| conn.is_open()) {
            conn.session().set_pass(name, pass);
        }
        self.schedule(io, slot);
    }

    /// Ends subscriptions whose time is over; the client is told, and may join again.
    pub(super) fn end_passes(&mut self, io: &mut ShardIo, slot: SlotId) {
        let now = io.now();
        while let Some(pass) = io.conn(slot).and_then(|conn| conn.session.as_mut()?.take_expired(now)) {
            if self.leave(io, slot, &pass.channel) {
                self.tell(io, slot, |out| native::left(out, &pass.channel, None));
            }
        }
    }
}

/// Who the backend says it is, and what the client is told first; `None` if its permissions mean nothing.
fn known(admission: Admission, now_unix_secs: u64) -> Option<(Known, Option<Arc<[u8]>>)> {
    let Admission { user, expires_at, info, data, channels, permissions } = admission;
    let permissions = match permissions {
        Some(json) => Some(Permissions::parse(&json)?),
        None => None,
    };
    let info = info.map(|info| String::from_utf8_lossy(&info).into());
    let identity =
        Identity { user, permissions, expires_at, info, issued_at: now_unix_secs, ..Identity::default() };
    Some((Known { identity: Some(Box::new(identity)), channels: channels.into() }, data))
}

fn unavailable() -> Turned {
    Turned { retry_after: Some(1), ..Turned::new(Status::ServiceUnavailable, UNAVAILABLE) }
}

const UNAVAILABLE: &str = "the backend that decides this gives no answer; try again";
