//! Who comes in: a request for a WebSocket or a stream is read, judged, and opened, maybe after others were asked.
//! Never reads frames or events.

use std::sync::Arc;

use highper_shards::SlotId;
use highper_wire::dialect::{Dialect, native};
use highper_wire::http1::{Connection, Head, Response, Status};
use highper_wire::ws::handshake::{self, HandshakeRefusal};
use highper_wire::ws::{Decoder, extension};

use super::identity::REVOKED;
use super::limits::Shut;
use super::{ShardIo, Worker};
use crate::api::credentials;
use crate::auth::Identity;
use crate::config::Anonymous;
use crate::conn::entry::{Door, EARLY_BYTES_MAX, Entry, Handshake};
use crate::conn::{Expiry, Http, Phase, WebSocket};
use crate::limits::{Kind, Subject, Verdict};
use crate::security;

/// Why a request is turned away before anything opens.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turned {
    pub(super) status: Status,
    /// In plain words; names the field or header.
    pub(super) message: String,
    /// Seconds after which it may be tried again.
    pub(super) retry_after: Option<u64>,
}

impl Turned {
    pub(super) fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None }
    }
}

impl Worker {
    /// A request for a WebSocket; true if the connection is one now.
    pub(super) fn upgrade(&mut self, io: &mut ShardIo, slot: SlotId, head: &Head<'_>, endpoint: u8) -> bool {
        self.counters.requests += 1;
        let dialect = self.shared.endpoints[usize::from(endpoint)].dialect;
        let handshake = match self.handshake(head, dialect) {
            Ok(handshake) => handshake,
            Err(refusal) => {
                self.refuse_handshake(io, slot, &refusal);
                return false;
            }
        };
        let when_missing = self.shared.cors.may_be_missing(&self.shared.config);
        if let Err(refused) = self.shared.cors.admits(head, when_missing) {
            self.report(
                io,
                slot,
                (security::Kind::BadOrigin, security::Severity::Medium),
                "a WebSocket",
                true,
            );
            self.turn_away(io, slot, &Turned::new(Status::Forbidden, refused.to_string()));
            return false;
        }
        let known = match self.identify(io, slot, head, &self.shared.clone().cors) {
            Ok(known) => known,
            Err(turned) => {
                self.turn_away(io, slot, &turned);
                return false;
            }
        };
        let headers = self.shown(head, &known);
        self.knock(io, slot, Entry::new(endpoint, Door::WebSocket(handshake), known, headers))
    }

    fn handshake(&self, head: &Head<'_>, dialect: Dialect) -> Result<Handshake, HandshakeRefusal> {
        // The echo endpoint takes whatever sub-protocol is offered first.
        let speaks = |name: &str| match dialect {
            Dialect::Echo => !credentials::is_token(name),
            Dialect::Native | Dialect::Raw => name == credentials::PROTOCOL,
        };
        let accepted = handshake::accept(head, speaks)?;
        let settings = extension::Settings { server_window_bits_max: 15 };
        let may_compress = self.shared.config.websocket_compression;
        let agreement =
            may_compress.then(|| extension::negotiate(accepted.extensions(), &settings)).flatten();
        Ok(Handshake { key: accepted.key, protocol: accepted.protocol.map(Box::from), agreement })
    }

    /// Lets somebody in, or asks those who must be asked before; true if the connection is a WebSocket now.
    pub(super) fn knock(&mut self, io: &mut ShardIo, slot: SlotId, mut entry: Entry) -> bool {
        match self.ask_connect(io, slot, &mut entry) {
            Ok(true) => {
                self.let_wait(io, slot, entry);
                false
            }
            Ok(false) => self.identified(io, slot, entry),
            Err(turned) => {
                self.turn_away(io, slot, &turned);
                false
            }
        }
    }

    /// Who it is is known, as far as it will be; true if the connection is a WebSocket now.
    pub(super) fn identified(&mut self, io: &mut ShardIo, slot: SlotId, mut entry: Entry) -> bool {
        let asked = if self.must_show_token(&entry) {
            Err(Turned::new(Status::Unauthorized, "a token is needed (REALTIME_AUTH_ENABLED)"))
        } else {
            self.judge_stream(&mut entry).and_then(|()| self.ask_channels(io, slot, &mut entry))
        };
        match asked {
            Ok(0) => self.count_in(io, slot, entry),
            Ok(_) => {
                self.let_wait(io, slot, entry);
                false
            }
            Err(turned) => {
                self.turn_away(io, slot, &turned);
                false
            }
        }
    }

    /// Counts somebody at the address and the user, and lets him in if both have room.
    pub(super) fn count_in(&mut self, io: &mut ShardIo, slot: SlotId, entry: Entry) -> bool {
        let wanted = self.counted(io, slot, entry.known.identity.as_deref(), true);
        if wanted.is_empty() {
            return self.let_in(io, slot, entry);
        }
        match self.admit(io, slot, &wanted) {
            Some(Verdict::Admitted) => self.let_in(io, slot, entry),
            Some(refused) => {
                self.admitted(io, slot, refused);
                false
            }
            None => {
                self.let_wait(io, slot, entry);
                false
            }
        }
    }

    /// Where a connection is counted, with the limits.
    pub(super) fn counted(
        &self,
        io: &mut ShardIo,
        slot: SlotId,
        who: Option<&Identity>,
        at_address: bool,
    ) -> Vec<(Subject, u32)> {
        let config = &self.shared.config;
        if !config.rate_limit_enabled {
            return Vec::new();
        }
        let address = io.conn(slot).and_then(|conn| conn.address()).filter(|_| at_address);
        let of_address = address.map(|ip| (Subject::Network(ip.into()), config.rate_limit_connections));
        let of_user = who.filter(|who| !who.user.is_empty()).and_then(|who| {
            let most = who.limits.connections.unwrap_or(config.rate_limit_connections_per_user);
            (most > 0).then(|| (Subject::User(Arc::from(&*who.user)), most))
        });
        of_address.into_iter().chain(of_user).collect()
    }

    /// Somebody waits for others to decide; nothing is a request behind his.
    pub(super) fn let_wait(&mut self, io: &mut ShardIo, slot: SlotId, entry: Entry) {
        if let Some(Phase::Http(http)) = io.conn(slot).map(|conn| &mut conn.phase) {
            http.backlog.get_or_insert_default().entry = Some(Box::new(entry));
        }
    }

    /// The verdict on a connection that was counted elsewhere.
    pub(super) fn admitted(&mut self, io: &mut ShardIo, slot: SlotId, verdict: Verdict) {
        if self.is_unknown(io, slot) {
            return self.known_admitted(io, slot, verdict);
        }
        let shut = match verdict {
            Verdict::Admitted => {
                if let Some(entry) = take_entry(io, slot) {
                    self.let_in(io, slot, entry);
                }
                return;
            }
            Verdict::Refused(Kind::Network) => Shut::Address,
            Verdict::Refused(Kind::User) => Shut::User,
            Verdict::TryAgain => Shut::Busy,
        };
        self.refuse(io, slot, shut);
    }

    /// Whether somebody who showed no token is turned away. Who speaks the native dialect can show one later.
    fn must_show_token(&self, entry: &Entry) -> bool {
        self.wants_token(entry) && !self.can_show_token_later(entry)
    }

    fn wants_token(&self, entry: &Entry) -> bool {
        let config = &self.shared.config;
        config.auth_enabled && entry.known.identity.is_none() && config.anonymous == Anonymous::Refuse
    }

    fn can_show_token_later(&self, entry: &Entry) -> bool {
        let dialect = self.shared.endpoints[usize::from(entry.endpoint)].dialect;
        entry.is_websocket() && dialect == Dialect::Native
    }

    /// Keeps what comes behind a request that waits; false if nothing waits.
    pub(super) fn keep_early(&mut self, io: &mut ShardIo, slot: SlotId, bytes: &[u8]) -> bool {
        let Some(entry) = entry_of(io, slot) else { return false };
        let is_websocket = entry.is_websocket();
        if is_websocket && entry.early.len() + bytes.len() > EARLY_BYTES_MAX {
            let message = "send nothing before the WebSocket is open";
            self.turn_away(io, slot, &Turned::new(Status::ContentTooLarge, message));
        } else if is_websocket {
            entry.early.extend_from_slice(bytes);
        }
        true
    }

    /// Everybody who was asked said yes; true if the connection is a WebSocket now.
    fn let_in(&mut self, io: &mut ShardIo, slot: SlotId, entry: Entry) -> bool {
        if self.is_revoked(&entry.known) {
            self.turn_away(io, slot, &Turned::new(Status::Unauthorized, REVOKED));
            return false;
        }
        let is_unknown = self.wants_token(&entry);
        let Entry { endpoint, door, known, data, passes, mut early, .. } = entry;
        if let Some(conn) = io.conn(slot).filter(|_| !passes.is_empty()) {
            conn.session().passes = passes;
        }
        match door {
            Door::Stream(wanted) => {
                self.open_stream(io, slot, endpoint, wanted, known);
                false
            }
            Door::WebSocket(handshake) => {
                self.open_websocket(io, slot, endpoint, &handshake, is_unknown, data.as_deref());
                let is_open = match is_unknown {
                    true => {
                        self.schedule(io, slot);
                        true
                    }
                    false => self.settle_in(io, slot, endpoint, known),
                };
                if is_open && !early.is_empty() {
                    self.on_frames(io, slot, Decoder::new(), &mut early);
                }
                is_open
            }
        }
    }

    fn open_websocket(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        endpoint: u8,
        handshake: &Handshake,
        is_unknown: bool,
        data: Option<&[u8]>,
    ) {
        let dialect = self.shared.endpoints[usize::from(endpoint)].dialect;
        let Handshake { key, protocol, agreement } = handshake;
        let auth_until = io.now() + self.shared.config.auth_timeout;
        let Some(mut open) = io.open(slot) else { return };
        if is_unknown {
            open.conn.session().expiry = Some(Expiry::Unknown(auth_until));
        }
        open.conn.phase = Phase::Open(WebSocket {
            decoder: Decoder::new(),
            endpoint,
            dialect,
            window_bits: agreement.map_or(0, |agreement| agreement.server_window_bits),
            glitches: 0,
            pongs_lagging: 0,
            pinged: false,
            is_unknown,
        });
        let response = agreement.map(|agreement| agreement.response());
        open.out.write_last(|out| handshake::write_101(out, key, protocol.as_deref(), response));
        self.open += 1;
        self.counters.opened += 1;
        let config = &self.shared.config;
        let heartbeat = config.websocket_heartbeat_enabled.then_some(config.websocket_heartbeat_interval);
        let heartbeat_secs = heartbeat.map_or(0, |interval| interval.as_secs() as u32);
        let (name, shard) = (slot.to_string(), io.shard().0);
        self.tell(io, slot, |out| native::welcome(out, &name, shard, heartbeat_secs, is_unknown, data));
    }

    /// Says why nothing opens, and ends the connection.
    pub(super) fn turn_away(&mut self, io: &mut ShardIo, slot: SlotId, turned: &Turned) {
        let date = self.date.at((self.shared.unix_millis)());
        if let Some(mut open) = io.open(slot) {
            open.out.write_last(|out| {
                let response = Response::begin(out, turned.status, Connection::Close, date)
                    .header("Content-Type", "text/plain; charset=utf-8")
                    .header("Cache-Control", "no-store");
                let response = match turned.retry_after {
                    Some(secs) => response.header("Retry-After", &secs.to_string()),
                    None => response,
                };
                let response = match turned.status {
                    Status::Unauthorized => response.header("WWW-Authenticate", "Bearer"),
                    _ => response,
                };
                response.body(format!("{}\n", turned.message).as_bytes());
            });
        }
        self.close_http(io, slot);
    }

    fn refuse_handshake(&mut self, io: &mut ShardIo, slot: SlotId, refusal: &HandshakeRefusal) {
        let date = self.date.at((self.shared.unix_millis)());
        if let Some(mut open) = io.open(slot) {
            open.out.write_last(|out| refusal.write(out, date));
        }
        self.close_http(io, slot);
    }
}

pub(super) fn take_entry(io: &mut ShardIo, slot: SlotId) -> Option<Entry> {
    match &mut io.conn(slot)?.phase {
        Phase::Http(Http { backlog: Some(backlog), .. }) => backlog.entry.take().map(|entry| *entry),
        Phase::Proxy(_) | Phase::Http(_) | Phase::Open(_) | Phase::Stream(_) | Phase::Closing => None,
    }
}

/// Who waits at the door of this connection.
pub(super) fn entry_of(io: &mut ShardIo, slot: SlotId) -> Option<&mut Entry> {
    match &mut io.conn(slot)?.phase {
        Phase::Http(Http { backlog: Some(backlog), .. }) => backlog.entry.as_deref_mut(),
        Phase::Proxy(_) | Phase::Http(_) | Phase::Open(_) | Phase::Stream(_) | Phase::Closing => None,
    }
}
