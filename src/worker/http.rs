//! HTTP requests: routed, answered, or upgraded to a WebSocket. Never parses a byte itself;
//! `highper_wire::http1` does.

use highper_shards::{Close, SlotId, clock};
use highper_wire::http1::{self, Connection, Event, Head, Limits, Reader, Refusal, Response, Stage, Status};
use highper_wire::ws::Decoder;

use super::api::JOBS_MAX;
use super::close::Cause;
use super::limits::{LIMITED, Shut};
use super::{ShardIo, Worker};
use crate::api::cors::Cors;
use crate::api::{self, Resource, health};
use crate::config::Config;
use crate::conn::{Answer, Caller, Content, Http, Phase, Reply, Waiting};
use crate::page;

/// What one request may cost, by the configuration.
pub(super) fn limits(config: &Config) -> Limits {
    Limits {
        head_bytes_max: config.header_bytes.as_usize(),
        body_bytes_max: config.http_body_bytes.get(),
        ..Limits::default()
    }
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
    pub(super) fn at(&mut self, unix_millis: u64) -> &http1::Date {
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
        if self.keep_early(io, slot, bytes) {
            return;
        }
        let Some(mut reader) = take_reader(io, slot) else { return };
        let mut input: &[u8] = bytes;
        let begun = reader.stage() != Stage::Idle;
        let upgraded = loop {
            // Behind the request of a stream, or one whose answer closes the connection, nothing is a request.
            if !io.conn(slot).is_some_and(|conn| matches!(conn.phase, Phase::Http(_))) {
                return;
            }
            if self.keep_early(io, slot, input) {
                break false;
            }
            match reader.next(&self.head_limits, &mut input) {
                Ok(None) => break false,
                Ok(Some(Event::Request(head))) => {
                    if self.on_request(io, slot, &head) {
                        break true;
                    }
                }
                Ok(Some(Event::Body(bytes))) => keep_body(io, slot, bytes),
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
        if http.has_served() && !begun && now_begun {
            io.arm(slot, io.now() + timeout);
        }
    }

    /// A request's head: decides its answer, or opens a WebSocket or a stream; true if it opened a WebSocket.
    fn on_request(&mut self, io: &mut ShardIo, slot: SlotId, head: &Head<'_>) -> bool {
        self.find_client(io, slot, head);
        if self.refuses(io, slot, head) {
            return false;
        }
        let resource = self.shared.routes.find(head.path());
        let is_waiting = is_waiting(io, slot);
        if opens(resource, head)
            && let Some(shut) = self.shut(io)
        {
            self.refuse(io, slot, shut);
            return false;
        }
        if let Some(Resource::WebSocket(endpoint)) = resource
            && head.wants_upgrade()
            && !is_waiting
        {
            return self.upgrade(io, slot, head, endpoint);
        }
        let cors = match resource {
            None => Cors::default(),
            Some(Resource::Events(_)) => self.shared.events_cors.judge(head),
            Some(_) => self.shared.cors.judge(head),
        };
        let reply = match (resource, head.method) {
            (None, _) => Reply::Refused(Status::NotFound, "no such path".into()),
            (Some(_), "OPTIONS") => Reply::Preflight,
            (Some(Resource::WebSocket(_)), _) => Reply::UpgradeRequired,
            (Some(Resource::Events(_)), "GET" | "HEAD") if is_waiting => {
                Reply::Refused(Status::ServiceUnavailable, "answers before this one are still out".into())
            }
            (Some(Resource::Events(endpoint)), "GET" | "HEAD") => {
                match self.ask_stream(io, slot, head, endpoint, &cors) {
                    None => return false,
                    Some(reply) => reply,
                }
            }
            (Some(Resource::Api), "GET" | "HEAD")
                if !is_waiting && api::method(head.path()) == Some(api::FEED) =>
            {
                match self.open_feed(io, slot, head, &cors) {
                    None => return false,
                    Some(reply) => reply,
                }
            }
            (Some(Resource::Api), "POST") => self.api_reply(io, slot, head),
            (Some(Resource::Api), _) => Reply::NotAllowed("POST, OPTIONS"),
            (Some(resource), "GET" | "HEAD") => Reply::Resource(resource),
            (Some(_), _) => Reply::NotAllowed("GET, HEAD, OPTIONS"),
        };
        // A proxy must never take what follows a refused upgrade for our words.
        let keep_alive = head.keep_alive() && !head.wants_upgrade() && self.draining.is_none();
        let answer = Answer { reply, head_only: head.method == "HEAD", keep_alive, cors };
        let Some(mut open) = io.open(slot) else { return false };
        // Behind an answer that closes the connection nothing is answered any more.
        let Phase::Http(http) = &mut open.conn.phase else { return false };
        http.backlog.get_or_insert_default().answer = Some(answer);
        if head.expects_continue() && !is_waiting {
            // A full outbox cannot be here: one answer is written for each request.
            let _ = open.out.write(|out| out.extend_from_slice(http1::CONTINUE));
        }
        false
    }

    /// The request is whole: writes its answer.
    fn answer(&mut self, io: &mut ShardIo, slot: SlotId) {
        let begun = clock::Moment::now();
        let Some(conn) = io.conn(slot) else { return };
        let Phase::Http(http) = &mut conn.phase else { return };
        let Some(backlog) = &mut http.backlog else { return };
        let Some(answer) = backlog.answer.take() else { return };
        backlog.has_served = true;
        if let Reply::Api(method, caller) = answer.reply {
            self.on_call(io, slot, (&method, caller), answer.keep_alive, answer.cors);
        } else {
            let mut response = std::mem::take(&mut self.body);
            response.clear();
            self.write_answer(&mut response, &answer, begun);
            self.queue_response(io, slot, &response, answer.keep_alive);
            self.body = response;
        }
        io.arm(slot, io.now() + self.shared.config.header_timeout);
    }

    /// Writes a whole response that is known now.
    fn write_answer(&mut self, out: &mut Vec<u8>, answer: &Answer, begun: clock::Moment) {
        let connection = if answer.keep_alive { Connection::KeepAlive } else { Connection::Close };
        let shared = &self.shared;
        let (status, kind, body) = match &answer.reply {
            Reply::Refused(status, message) => (*status, TEXT, format!("{message}\n")),
            Reply::NotAllowed(methods) => (Status::MethodNotAllowed, TEXT, format!("use {methods}\n")),
            Reply::UpgradeRequired => {
                (Status::UpgradeRequired, TEXT, "this path speaks WebSocket only\n".to_owned())
            }
            Reply::Preflight => (Status::NoContent, TEXT, String::new()),
            Reply::Resource(Resource::Page) => (Status::Ok, HTML, shared.page.clone()),
            Reply::Resource(Resource::Live) => (Status::Ok, JSON, health::live()),
            Reply::Resource(Resource::Ready) => json(health::ready(&shared.board)),
            Reply::Resource(Resource::Health) => {
                let timestamp = (shared.unix_millis)() / 1000;
                let took = clock::Moment::now().since(begun).as_secs_f64() * 1000.0;
                json(health::health(&shared.config, &shared.board, timestamp, took))
            }
            Reply::Api(..)
            | Reply::Resource(Resource::WebSocket(_) | Resource::Events(_) | Resource::Api) => {
                unreachable!("it is answered elsewhere")
            }
        };
        let date = self.date.at((self.shared.unix_millis)());
        let response = Response::begin(out, status, connection, date)
            .header("Cache-Control", "no-store")
            .header("X-Content-Type-Options", "nosniff");
        let response = match &answer.reply {
            Reply::Preflight => response.header("Allow", "GET, HEAD, POST, OPTIONS"),
            _ => response.header("Content-Type", kind),
        };
        let response = match &answer.reply {
            Reply::NotAllowed(methods) => response.header("Allow", methods),
            Reply::UpgradeRequired => response.header("Upgrade", "websocket"),
            Reply::Resource(Resource::Page) => {
                response.header("Content-Security-Policy", page::CONTENT_SECURITY_POLICY)
            }
            Reply::Refused(Status::ServiceUnavailable, _) => response.header("Retry-After", "1"),
            Reply::Refused(..) | Reply::Preflight | Reply::Resource(_) | Reply::Api(..) => response,
        };
        let response = answer.cors.write(response);
        match answer.head_only {
            true => response.head_of(body.len()),
            false => response.body(body.as_bytes()),
        }
    }

    /// Sends a response, behind those that wait for other shards.
    fn queue_response(&mut self, io: &mut ShardIo, slot: SlotId, response: &[u8], keep_alive: bool) {
        let Some(mut open) = io.open(slot) else { return };
        let Phase::Http(http) = &mut open.conn.phase else { return };
        if http.is_waiting()
            && let Some(backlog) = &mut http.backlog
        {
            if backlog.waiting.len() >= JOBS_MAX {
                return self.close_http(io, slot);
            }
            let content = Content::Ready(response.into());
            return backlog.waiting.push_back(Waiting { content, keep_alive, cors: Cors::default() });
        }
        self.counters.requests += 1;
        let written = open.out.write(|out| out.extend_from_slice(response));
        if written.is_err() || !keep_alive {
            self.close_http(io, slot);
        }
    }

    fn refuse_request(&mut self, io: &mut ShardIo, slot: SlotId, refusal: &Refusal) {
        self.counters.protocol_errors += 1;
        let date = self.date.at((self.shared.unix_millis)());
        if let Some(mut open) = io.open(slot) {
            open.out.write_last(|out| http1::refuse(out, refusal, date));
        }
        self.close_http(io, slot);
    }

    /// A connection for which nothing opens: told why, and when to come back.
    pub(super) fn refuse(&mut self, io: &mut ShardIo, slot: SlotId, shut: Shut) {
        *match shut {
            Shut::Full | Shut::Busy => &mut self.counters.refused,
            Shut::Rate => &mut self.counters.limited_opens,
            Shut::Overload => &mut self.counters.overload_refused,
            Shut::Address => &mut self.counters.limited_addresses,
            Shut::User => &mut self.counters.limited_users,
        } += 1;
        // A herd that comes back and a server that is full are nobody's attack.
        if matches!(shut, Shut::Address | Shut::User) {
            self.report(io, slot, LIMITED, shut.message().trim_end(), true);
        }
        let (least, more) = shut.retry_secs();
        let lot = self.shared.names.hash_of((slot.index(), io.now().as_nanos()));
        let retry_secs = (least + lot % more).to_string();
        let date = self.date.at((self.shared.unix_millis)());
        if let Some(mut open) = io.open(slot) {
            open.out.write_last(|out| {
                Response::begin(out, shut.status(), Connection::Close, date)
                    .header("Content-Type", TEXT)
                    .header("Retry-After", &retry_secs)
                    .body(shut.message().as_bytes());
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
            | Cause::Limited
            | Cause::Overload
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

    pub(super) fn close_http(&mut self, io: &mut ShardIo, slot: SlotId) {
        self.give_back(io, slot);
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
        Phase::Proxy(_) | Phase::Open(_) | Phase::Stream(_) | Phase::Closing => None,
    }
}

/// Only the server API reads bodies, of those who may call it; the others are passed over.
fn keep_body(io: &mut ShardIo, slot: SlotId, bytes: &[u8]) {
    let Some(conn) = io.conn(slot) else { return };
    if let Phase::Http(Http { backlog: Some(backlog), .. }) = &mut conn.phase
        && let Some(Answer { reply: Reply::Api(_, Caller::Backend | Caller::Client(_)), .. }) =
            &backlog.answer
    {
        backlog.body.extend_from_slice(bytes);
    }
}

fn is_waiting(io: &mut ShardIo, slot: SlotId) -> bool {
    io.conn(slot).is_some_and(|conn| matches!(&conn.phase, Phase::Http(http) if http.is_waiting()))
}

/// Whether a request wants a WebSocket or a stream.
fn opens(resource: Option<Resource>, head: &Head<'_>) -> bool {
    match resource {
        Some(Resource::WebSocket(_)) => head.wants_upgrade(),
        Some(Resource::Events(_)) => head.method == "GET",
        Some(Resource::Page | Resource::Live | Resource::Ready | Resource::Health | Resource::Api) | None => {
            false
        }
    }
}

fn json((status, body): (u16, String)) -> (Status, &'static str, String) {
    (if status == 200 { Status::Ok } else { Status::ServiceUnavailable }, JSON, body)
}

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
