//! HTTP requests: routed, answered, or upgraded to a WebSocket. Never parses a byte itself;
//! `highper_wire::http1` does.

use highper_shards::{Close, SlotId, clock};
use highper_wire::dialect::{Dialect, native};
use highper_wire::http1::{self, Connection, Event, Head, Limits, Reader, Refusal, Response, Stage, Status};
use highper_wire::ws::handshake::{self, HandshakeRefusal};
use highper_wire::ws::{Decoder, extension};

use super::close::Cause;
use super::{ShardIo, Worker};
use crate::api::{Resource, health};
use crate::config::Config;
use crate::conn::{Answer, Http, Phase, Reply, WebSocket};
use crate::page;

/// What one request may cost, by the configuration.
pub(super) fn limits(config: &Config) -> Limits {
    Limits { head_bytes_max: config.header_bytes.as_usize(), ..Limits::default() }
}

/// The Date field of this second, and the wall clock behind it.
pub(super) struct Date {
    second: u64,
    text: http1::Date,
}

impl Default for Date {
    fn default() -> Self {
        Self { second: 0, text: http1::Date::from_unix(0) }
    }
}

impl Date {
    fn at(&mut self, unix_millis: u64) -> &http1::Date {
        let second = unix_millis / 1000;
        if second != self.second {
            *self = Self { second, text: http1::Date::from_unix(second) };
        }
        &self.text
    }
}

impl Worker {
    /// Reads requests and answers each, until the connection becomes a WebSocket or ends.
    pub(super) fn on_requests(&mut self, io: &mut ShardIo, slot: SlotId, bytes: &mut [u8]) {
        let Some(mut reader) = take_reader(io, slot) else { return };
        let mut input: &[u8] = bytes;
        let begun = reader.stage() != Stage::Idle;
        let upgraded = loop {
            match reader.next(&self.head_limits, &mut input) {
                Ok(None) => break false,
                Ok(Some(Event::Request(head))) => {
                    if self.on_request(io, slot, &head) {
                        break true;
                    }
                }
                Ok(Some(Event::Body(_))) => {}
                Ok(Some(Event::End)) => self.answer(io, slot),
                Err(refusal) => return self.refuse_request(io, slot, &refusal),
            }
        };
        if upgraded {
            let taken = bytes.len() - input.len();
            return self.on_frames(io, slot, Decoder::new(), &mut bytes[taken..]);
        }
        let now_begun = reader.stage() != Stage::Idle;
        let timeout = self.shared.config.header_timeout;
        let Some(Phase::Http(http)) = io.conn(slot).map(|conn| &mut conn.phase) else { return };
        http.reader = reader;
        // The deadline of a request is absolute: it counts from its first byte, not from its last.
        if http.served && !begun && now_begun {
            io.arm(slot, io.now() + timeout);
        }
    }

    /// A request's head: decides its answer, or upgrades the connection; true if it did.
    fn on_request(&mut self, io: &mut ShardIo, slot: SlotId, head: &Head<'_>) -> bool {
        let resource = self.shared.routes.find(head.path());
        if let Some(Resource::WebSocket(endpoint)) = resource
            && head.wants_upgrade()
        {
            return self.upgrade(io, slot, head, endpoint);
        }
        let reply = match (resource, head.method) {
            (None, _) => Reply::NotFound,
            (Some(Resource::WebSocket(_)), _) => Reply::UpgradeRequired,
            (Some(resource), "GET" | "HEAD") => Reply::Resource(resource),
            (Some(_), _) => Reply::NotAllowed,
        };
        // A proxy must never take what follows a refused upgrade for our words.
        let keep_alive = head.keep_alive() && !head.wants_upgrade() && self.draining.is_none();
        let answer = Answer { reply, head_only: head.method == "HEAD", keep_alive };
        let Some(mut open) = io.open(slot) else { return false };
        // Behind an answer that closes the connection nothing is answered any more.
        let Phase::Http(http) = &mut open.conn.phase else { return false };
        http.answer = Some(answer);
        if head.expects_continue() {
            // A full outbox cannot be here: one answer is written for each request.
            let _ = open.out.write(|out| out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"));
        }
        false
    }

    /// The request is whole: writes its answer.
    fn answer(&mut self, io: &mut ShardIo, slot: SlotId) {
        let begun = clock::Moment::now();
        let Some(mut open) = io.open(slot) else { return };
        let Phase::Http(http) = &mut open.conn.phase else { return };
        let Some(answer) = http.answer.take() else { return };
        http.served = true;
        self.counters.requests += 1;
        let connection = if answer.keep_alive { Connection::KeepAlive } else { Connection::Close };
        let shared = &self.shared;
        let (status, kind, body) = match answer.reply {
            Reply::NotFound => (Status::NotFound, TEXT, "no such path\n".to_owned()),
            Reply::NotAllowed => (Status::MethodNotAllowed, TEXT, "use GET\n".to_owned()),
            Reply::UpgradeRequired => {
                (Status::UpgradeRequired, TEXT, "this path speaks WebSocket only\n".to_owned())
            }
            Reply::Resource(Resource::Page) => (Status::Ok, HTML, page::html(&shared.page_path)),
            Reply::Resource(Resource::Live) => (Status::Ok, JSON, health::live()),
            Reply::Resource(Resource::Ready) => json(health::ready(&shared.board)),
            Reply::Resource(Resource::Health) => {
                let timestamp = (shared.unix_millis)() / 1000;
                let took = clock::Moment::now().since(begun).as_secs_f64() * 1000.0;
                json(health::health(&shared.config, &shared.board, timestamp, took))
            }
            Reply::Resource(Resource::WebSocket(_)) => unreachable!("it is UpgradeRequired"),
        };
        let date = self.date.at((self.shared.unix_millis)());
        let written = open.out.write(|out| {
            let response = Response::begin(out, status, connection, date)
                .header("Content-Type", kind)
                .header("Cache-Control", "no-store")
                .header("X-Content-Type-Options", "nosniff");
            let response = match answer.reply {
                Reply::NotAllowed => response.header("Allow", "GET, HEAD"),
                Reply::UpgradeRequired => response.header("Upgrade", "websocket"),
                Reply::Resource(Resource::Page) => {
                    response.header("Content-Security-Policy", page::CONTENT_SECURITY_POLICY)
                }
                Reply::NotFound | Reply::Resource(_) => response,
            };
            match answer.head_only {
                true => response.head_of(body.len()),
                false => response.body(body.as_bytes()),
            }
        });
        if written.is_err() || !answer.keep_alive {
            return self.close_http(io, slot);
        }
        io.arm(slot, io.now() + self.shared.config.header_timeout);
    }

    /// The opening handshake; true if the connection is a WebSocket now.
    fn upgrade(&mut self, io: &mut ShardIo, slot: SlotId, head: &Head<'_>, endpoint: u8) -> bool {
        self.counters.requests += 1;
        let dialect = self.shared.endpoints[usize::from(endpoint)].dialect;
        // The echo endpoint takes whatever sub-protocol is offered first; the others speak none yet.
        let accepted = match handshake::accept(head, |_| dialect == Dialect::Echo) {
            Ok(accepted) => accepted,
            Err(refusal) => {
                self.refuse_handshake(io, slot, &refusal);
                return false;
            }
        };
        let config = &self.shared.config;
        let agreement = config
            .websocket_compression
            .then(|| {
                extension::negotiate(
                    accepted.extensions(),
                    &extension::Settings { server_window_bits_max: 15 },
                )
            })
            .flatten();
        let heartbeat = config.websocket_heartbeat_enabled.then_some(config.websocket_heartbeat_interval);
        let Some(mut open) = io.open(slot) else { return false };
        open.conn.phase = Phase::Open(WebSocket {
            decoder: Decoder::new(),
            endpoint,
            dialect,
            window_bits: agreement.map_or(0, |agreement| agreement.server_window_bits),
            glitches: 0,
            pongs_lagging: 0,
            pinged: false,
        });
        let response = agreement.map(|agreement| agreement.response());
        open.out.write_last(|out| handshake::write_101(out, &accepted.key, accepted.protocol, response));
        self.open += 1;
        self.counters.opened += 1;
        let (everyone, shard) = (self.everyone.clone(), io.shard().0);
        let name = slot.to_string();
        let heartbeat_secs = heartbeat.map_or(0, |interval| interval.as_secs() as u32);
        self.tell(io, slot, |out| native::welcome(out, &name, shard, heartbeat_secs));
        if self.join(io, slot, &everyone, None).is_err() {
            return false; // Answers to requests before this one fill the outbox: the welcome had no room.
        }
        self.opened(io, slot, endpoint);
        self.schedule(io, slot);
        io.conn(slot).is_some_and(|conn| conn.is_open())
    }

    fn refuse_handshake(&mut self, io: &mut ShardIo, slot: SlotId, refusal: &HandshakeRefusal) {
        let date = self.date.at((self.shared.unix_millis)());
        if let Some(mut open) = io.open(slot) {
            open.out.write_last(|out| refusal.write(out, date));
        }
        self.close_http(io, slot);
    }

    fn refuse_request(&mut self, io: &mut ShardIo, slot: SlotId, refusal: &Refusal) {
        self.counters.protocol_errors += 1;
        let date = self.date.at((self.shared.unix_millis)());
        if let Some(mut open) = io.open(slot) {
            open.out.write_last(|out| http1::refuse(out, refusal, date));
        }
        self.close_http(io, slot);
    }

    /// A connection that the server has no room for: told so before it asks.
    pub(super) fn refuse(&mut self, io: &mut ShardIo, slot: SlotId) {
        self.counters.refused += 1;
        let date = self.date.at((self.shared.unix_millis)());
        if let Some(mut open) = io.open(slot) {
            open.out.write_last(|out| {
                Response::begin(out, Status::ServiceUnavailable, Connection::Close, date)
                    .header("Content-Type", TEXT)
                    .header("Retry-After", "5")
                    .body(b"the server holds as many connections as it may\n");
            });
        }
        self.close_http(io, slot);
    }

    /// An HTTP connection ends for a reason that is not its own request.
    pub(super) fn end_http(&mut self, io: &mut ShardIo, slot: SlotId, cause: &Cause) {
        let status = match cause {
            Cause::HeadTimeout => Status::RequestTimeout,
            Cause::Panic => Status::InternalServerError,
            Cause::Peer(..)
            | Cause::Frame(_)
            | Cause::Glitches
            | Cause::Slow
            | Cause::Silent
            | Cause::Asked(..)
            | Cause::Restart
            | Cause::Network(_)
            | Cause::KeepAliveOver => return,
        };
        let date = self.date.at((self.shared.unix_millis)());
        if let Some(mut open) = io.open(slot) {
            open.out.write_last(|out| Response::begin(out, status, Connection::Close, date).body(b""));
        }
    }

    fn close_http(&mut self, io: &mut ShardIo, slot: SlotId) {
        if let Some(conn) = io.conn(slot) {
            conn.phase = Phase::Closing;
        }
        io.disarm(slot);
        io.close(slot, Close::AfterFlush);
    }
}

fn take_reader(io: &mut ShardIo, slot: SlotId) -> Option<Reader> {
    match &mut io.conn(slot)?.phase {
        Phase::Http(Http { reader, .. }) => Some(std::mem::take(reader)),
        Phase::Open(_) | Phase::Closing => None,
    }
}

fn json((status, body): (u16, String)) -> (Status, &'static str, String) {
    (if status == 200 { Status::Ok } else { Status::ServiceUnavailable }, JSON, body)
}

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
