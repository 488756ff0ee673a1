//! Rates, enforced: what is refused before a connection opens, what is dropped of what an open one sends, and when it
//! ends. Never counts; `limits` does.

use std::time::Duration;

use highper_shards::{Moment, SlotId};
use highper_wire::dialect::Dialect;
use highper_wire::dialect::native::{self, Command};
use highper_wire::http1::Status;
use highper_wire::ws::Kind;

use super::close::Cause;
use super::{ShardIo, Worker};
use crate::auth;
use crate::config::Config;
use crate::conn::Session;
use crate::limits::{Bucket, Level, Meter, Overrun, Rate, Rules};
use crate::security::{self, Severity};

/// The rates of a shard; `None` is no limit.
pub(super) struct Rates {
    /// What every connection may send.
    pub sender: Option<Rules>,
    opens: Option<Rate>,
    opened: Bucket,
    calls: Option<Rate>,
    called: Bucket,
}

/// Why nothing opens for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shut {
    /// The shard holds as many connections as it may.
    Full,
    /// Too many came within a second.
    Rate,
    /// The process is overloaded.
    Overload,
    /// Its address has as many as it may.
    Address,
    /// Its user has as many as it may.
    User,
    /// A lane between shards is full.
    Busy,
}

/// What a client sent too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    Messages,
    Controls,
    Joins,
    Bytes,
}

/// What an event says of somebody who has as many connections as he may.
pub(super) const LIMITED: (security::Kind, Severity) = (security::Kind::RateLimit, Severity::Low);

/// After so many sockets beyond the ceiling a connection is refused before it has said anything. Those below may ask
/// for health and the server API.
const SPARE: usize = 32;

/// What a shard holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ceiling {
    /// Beyond it no WebSocket or stream opens.
    pub open: usize,
    /// Beyond it nothing is even listened to.
    pub all: usize,
}

impl Ceiling {
    /// As many as were asked for, in a shard that has room for so many sockets.
    pub fn new(wanted: Option<usize>, room: usize) -> Self {
        let spare = SPARE.min(room / 8);
        let wanted = wanted.unwrap_or(usize::MAX);
        Self {
            open: wanted.min(room.saturating_sub(2 * spare)),
            all: wanted.saturating_add(SPARE).min(room.saturating_sub(spare)),
        }
    }
}

impl Rates {
    /// What a connection may send whose token says so; `None` if it says nothing.
    pub fn of_token(config: &Config, limits: auth::Limits) -> Option<Box<Rules>> {
        limits.messages_per_minute.or(limits.burst)?;
        Some(Box::new(Rules::new(
            limits.messages_per_minute.unwrap_or(config.rate_limit_messages_per_minute),
            limits.burst.unwrap_or(config.rate_limit_burst),
            config.rate_limit_joins_per_minute,
            config.rate_limit_bytes_per_minute.get(),
        )))
    }

    /// The rates that the configuration asks for.
    pub fn new(config: &Config) -> Self {
        let per_second = |count: u32| {
            let count = u64::from(count);
            (config.rate_limit_enabled && count > 0).then(|| Rate::new(count, Duration::from_secs(1), count))
        };
        let sender = Rules::new(
            config.rate_limit_messages_per_minute,
            config.rate_limit_burst,
            config.rate_limit_joins_per_minute,
            config.rate_limit_bytes_per_minute.get(),
        );
        Self {
            sender: config.rate_limit_enabled.then_some(sender),
            opens: per_second(config.rate_limit_new_connections),
            opened: Bucket::default(),
            calls: per_second(config.rate_limit_api_calls),
            called: Bucket::default(),
        }
    }
}

impl Shut {
    pub fn status(self) -> Status {
        match self {
            Self::Full | Self::Rate | Self::Overload | Self::Busy => Status::ServiceUnavailable,
            Self::Address | Self::User => Status::TooManyRequests,
        }
    }

    /// Seconds after which to come back: the least, and how many more are drawn by lot, so that those who were refused
    /// together do not come back together.
    pub fn retry_secs(self) -> (u64, u64) {
        match self {
            Self::Busy => (1, 1),
            Self::Rate => (1, 5),
            Self::Full | Self::Overload | Self::Address | Self::User => (5, 10),
        }
    }

    pub fn message(self) -> &'static str {
        match self {
            Self::Full => "the server holds as many connections as it may\n",
            Self::Rate => "too many connections open at once\n",
            Self::Overload => "the server is overloaded\n",
            Self::Address => "this address has as many connections as it may\n",
            Self::User => "this user has as many connections as it may\n",
            Self::Busy => "the server is busy\n",
        }
    }
}

impl Worker {
    /// Whether a WebSocket or a stream may open now, by what needs no knowledge of the client.
    pub(super) fn shut(&mut self, io: &ShardIo) -> Option<Shut> {
        if self.shared.board.overload_level() >= Level::Shed.number() {
            return Some(Shut::Overload);
        }
        if io.connections() > self.ceiling.open {
            return Some(Shut::Full);
        }
        let Rates { opens: Some(rate), opened, .. } = &mut self.rates else { return None };
        opened.take(io.now(), rate, 1).is_err().then_some(Shut::Rate)
    }

    /// Whether so many calls of the server API may be carried out now.
    pub(super) fn may_call(&mut self, io: &ShardIo, calls: usize) -> bool {
        let Rates { calls: Some(rate), called, .. } = &mut self.rates else { return true };
        let is_given = called.take(io.now(), rate, calls as u64).is_ok();
        self.counters.limited_calls += u64::from(!is_given);
        is_given
    }

    /// A message came in; false if it is one too many and must be dropped.
    pub(super) fn may_send(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        dialect: Dialect,
        (kind, payload): (Kind, &[u8]),
    ) -> bool {
        if self.rates.sender.is_none() {
            return true;
        }
        let is_command = dialect == Dialect::Native && kind == Kind::Text;
        if let Err(overrun) = self.meter(io, slot, |meter, now, rules| meter.on_message(now, rules)) {
            // Read for its id alone: whoever goes on is closed before this becomes dear.
            let id = is_command.then(|| native::parse(payload).ok()).flatten().and_then(|request| request.id);
            self.overrun(io, slot, Excess::Messages, overrun, id);
            return false;
        }
        if is_command {
            return true; // What it costs beyond that is known once it is read.
        }
        self.may_publish(io, slot, payload.len(), None)
    }

    /// Whether a command may be carried out, by what it joins and publishes; false if it was refused.
    pub(super) fn may_carry_out(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        command: &Command<'_>,
        id: Option<&[u8]>,
    ) -> bool {
        if self.rates.sender.is_none() {
            return true;
        }
        match command {
            Command::Join { .. } => {
                match self.meter(io, slot, |meter, now, rules| meter.on_join(now, rules)) {
                    Ok(()) => true,
                    Err(overrun) => {
                        self.overrun(io, slot, Excess::Joins, overrun, id);
                        false
                    }
                }
            }
            Command::Publish { data, .. } | Command::Broadcast { data } => {
                self.may_publish(io, slot, data.len(), id)
            }
            Command::ToUsers { users, data } => self.may_publish(io, slot, users.len() * data.len(), id),
            Command::Auth { .. }
            | Command::Refresh { .. }
            | Command::Leave { .. }
            | Command::History { .. }
            | Command::Presence { .. }
            | Command::PresenceStats { .. }
            | Command::Ping => true,
        }
    }

    /// A client sends so many messages, which publish so many bytes, as a call of the server API; false if they are
    /// too many. What its connections may send, it may send by calls too.
    pub(super) fn may_send_by_call(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        who: &auth::Identity,
        (messages, bytes): (usize, usize),
    ) -> bool {
        if self.rates.sender.is_none() {
            return true;
        }
        if let Some(conn) = io.conn(slot) {
            // Each request of a connection may show another token.
            conn.session().rules = Rates::of_token(&self.shared.config, who.limits);
        }
        let are_few = self.meter(io, slot, |meter, now, rules| meter.on_messages(now, rules, messages));
        self.counters.limited_messages += u64::from(are_few.is_err());
        let are_short = are_few.and_then(|()| {
            let taken = self.meter(io, slot, |meter, now, rules| meter.on_publish(now, rules, bytes));
            self.counters.limited_bytes += u64::from(taken.is_err());
            taken
        });
        are_short.is_ok()
    }

    /// A ping or pong came in; false if it is one too many and must be dropped.
    pub(super) fn may_control(&mut self, io: &mut ShardIo, slot: SlotId) -> bool {
        match self.meter(io, slot, |meter, now, rules| meter.on_control(now, rules)) {
            Ok(()) => true,
            Err(overrun) => {
                self.overrun(io, slot, Excess::Controls, overrun, None);
                false
            }
        }
    }

    fn may_publish(&mut self, io: &mut ShardIo, slot: SlotId, bytes: usize, id: Option<&[u8]>) -> bool {
        match self.meter(io, slot, |meter, now, rules| meter.on_publish(now, rules, bytes)) {
            Ok(()) => true,
            Err(overrun) => {
                self.overrun(io, slot, Excess::Bytes, overrun, id);
                false
            }
        }
    }

    fn meter(
        &self,
        io: &mut ShardIo,
        slot: SlotId,
        take: impl FnOnce(&mut Meter, Moment, &Rules) -> Result<(), Overrun>,
    ) -> Result<(), Overrun> {
        let (Some(rules), now) = (&self.rates.sender, io.now()) else { return Ok(()) };
        match io.conn(slot) {
            Some(conn) => {
                let Session { meter, rules: own, .. } = conn.session();
                take(meter, now, own.as_deref().unwrap_or(rules))
            }
            None => Ok(()),
        }
    }

    /// What was sent is dropped; its sender is told so, in a dialect that has a word for it, and closed if it goes on.
    fn overrun(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        excess: Excess,
        Overrun { retry_in, is_last }: Overrun,
        id: Option<&[u8]>,
    ) {
        let message = match excess {
            Excess::Messages => {
                self.counters.limited_messages += 1;
                "too many messages (REALTIME_RATE_LIMIT_MESSAGES_PER_MINUTE)"
            }
            Excess::Controls => {
                self.counters.limited_controls += 1;
                "too many pings and pongs"
            }
            Excess::Joins => {
                self.counters.limited_joins += 1;
                "too many joins (REALTIME_RATE_LIMIT_JOINS_PER_MINUTE)"
            }
            Excess::Bytes => {
                self.counters.limited_bytes += 1;
                "too many bytes published (REALTIME_RATE_LIMIT_BYTES_PER_MINUTE)"
            }
        };
        if excess != Excess::Controls {
            self.tell(io, slot, |out| native::rate_limited(out, message, retry_in, id));
        }
        if is_last {
            self.report(io, slot, (security::Kind::RateLimit, Severity::Medium), message, true);
            self.end(io, slot, Cause::Limited);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_leaves_room_for_those_who_are_told_so() {
        assert_eq!(Ceiling::new(Some(1000), usize::MAX), Ceiling { open: 1000, all: 1032 });
        assert_eq!(Ceiling::new(None, 300), Ceiling { open: 236, all: 268 });
        assert_eq!(Ceiling::new(Some(250), 300), Ceiling { open: 236, all: 268 });
        assert_eq!(Ceiling::new(Some(100), 300), Ceiling { open: 100, all: 132 });
        assert_eq!(Ceiling::new(None, 16), Ceiling { open: 12, all: 14 });
        assert_eq!(Ceiling::new(Some(3), 67), Ceiling { open: 3, all: 35 });
    }
}
