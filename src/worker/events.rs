//! Streams of Server-Sent Events: opened by a request, fed by the channels they name, kept alive by comments. Never
//! writes the format itself; `highper_wire::sse` does.

use highper_shards::SlotId;
use highper_wire::dialect::Dialect;
use highper_wire::dialect::channel::check;
use highper_wire::http1::{Connection, Head, Response, Status, tokens};
use highper_wire::sse::{self, Cursor, gzip};

use super::channels::GAP;
use super::close::Cause;
use super::entry::Turned;
use super::{ShardIo, Worker};
use crate::api::cors::Cors;
use crate::auth::{Action, Denied};
use crate::config::CompressionAlgorithm;
use crate::conn::entry::{Door, Entry, Known, Wanted};
use crate::conn::{EventStream, Phase, Reply};
use crate::handler::Error;
use crate::message::Position;
use crate::security;

impl Worker {
    /// A request for a stream: opens it, or says what is wrong with the request. `None` if it is cared for.
    pub(super) fn ask_stream(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        head: &Head<'_>,
        endpoint: u8,
        cors: &Cors,
    ) -> Option<Reply> {
        // Browsers leave the origin out where page and stream have the same.
        if let Err(refused) = self.shared.events_cors.admits(head, true) {
            let bad = (security::Kind::BadOrigin, security::Severity::Medium);
            self.report(io, slot, bad, "a stream", true);
            return Some(Reply::Refused(Status::Forbidden, refused.to_string()));
        }
        let shared = self.shared.clone();
        let known = match self.identify(io, slot, head, &shared.events_cors) {
            Ok(known) => known,
            Err(turned) => {
                self.turn_away(io, slot, &turned);
                return None;
            }
        };
        let mut wanted = match self.wanted(head) {
            Ok(wanted) => wanted,
            Err((status, message)) => return Some(Reply::Refused(status, message)),
        };
        wanted.cors = cors.clone();
        let headers = self.shown(head, &known);
        self.knock(io, slot, Entry::new(endpoint, Door::Stream(wanted), known, headers));
        None
    }

    /// Whether a stream may have the channels that it wants, those of its token or hook added. WebSockets join later.
    pub(super) fn judge_stream(&self, entry: &mut Entry) -> Result<(), Turned> {
        let is_default = self.shared.endpoints[usize::from(entry.endpoint)].dialect == Dialect::Native;
        let Door::Stream(wanted) = &mut entry.door else { return Ok(()) };
        self.add_channels(wanted, &entry.known);
        let bad = |message: String| Turned::new(Status::BadRequest, message);
        let most = self.shared.config.max_channels_per_connection as usize;
        match wanted.channels.len() {
            0 if is_default => return Err(bad("channel: name at least one, ?channel=a&channel=b".into())),
            count if count > most => return Err(bad(format!("channel: at most {most} for one stream"))),
            _ => {}
        }
        let who = entry.known.identity.as_deref();
        for channel in &wanted.channels {
            let rules = self.shared.config.namespaces.rules(channel.name());
            let denied = match self.may_identity(who, Action::Subscribe, channel.name(), None) {
                Ok(()) if rules.sse => continue,
                Ok(()) => Denied::Closed,
                // Without a token, 401 tells that there is one to bring.
                Err(Denied::Anonymous | Denied::NeedsToken) if who.is_none() && self.policy.auth => {
                    let message = format!("channel: {}: this needs a token", channel.name());
                    return Err(Turned::new(Status::Unauthorized, message));
                }
                Err(denied) => denied,
            };
            let message = format!("channel: {}: {denied}", channel.name());
            return Err(Turned::new(Status::Forbidden, message));
        }
        Ok(())
    }

    /// The channels of the token beside those of the request; those that are closed to streams it can do without.
    fn add_channels(&self, wanted: &mut Wanted, known: &Known) {
        for name in &known.channels {
            let channel = self.channel(name);
            let is_new = !wanted.channels.contains(&channel);
            let rules = self.shared.config.namespaces.rules(name);
            let may = self.may_identity(known.identity.as_deref(), Action::Subscribe, name, None);
            if is_new && rules.sse && may.is_ok() {
                wanted.channels.push(channel);
            }
        }
    }

    /// Opens a stream for somebody who may come in.
    pub(super) fn open_stream(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        endpoint: u8,
        wanted: Wanted,
        known: Known,
    ) {
        self.begin_stream(io, slot, endpoint, &wanted);
        if wanted.head_only {
            return self.close_http(io, slot);
        }
        // The channels of the token are among those of the stream.
        let known = Known { channels: Box::default(), ..known };
        // First of all: who this is, members of its channels will see.
        if !self.settle_in(io, slot, endpoint, known) {
            return;
        }
        if self.join_wanted(io, slot, &wanted).is_err() {
            // The browser comes back by itself, with the cursor it has.
            return self.end(io, slot, Cause::Restart);
        }
        self.schedule(io, slot);
    }

    /// Joins the channels of a stream. It has a place in all of them before any is told of: whatever id it gets says
    /// where it is in every one.
    fn join_wanted(&mut self, io: &mut ShardIo, slot: SlotId, wanted: &Wanted) -> Result<(), Error> {
        let mut begun = Vec::with_capacity(wanted.channels.len());
        for channel in &wanted.channels {
            // A cursor that says nothing of a channel may have lost it: its client is told of a gap.
            let since = wanted.cursor.as_ref().map(|cursor| match cursor.position(channel.name()) {
                Some((epoch, offset)) => Position { epoch: u64::from(epoch), offset },
                None => Position::UNKNOWN,
            });
            let since = self.recoverable(io, slot, channel.name(), None, since);
            // Whom a handler let in before cannot get any more what it missed.
            let at = self.local.find(channel.name(), channel.hash());
            let was_in = at.is_some_and(|at| io.conn(slot).is_some_and(|conn| conn.channels.contains(at)));
            begun.push((self.begin_join(io, slot, channel, None, since)?, was_in && since.is_some()));
        }
        for (channel, (begun, has_gap)) in wanted.channels.iter().zip(begun) {
            if !io.conn(slot).is_some_and(|conn| conn.is_open()) {
                return Err(Error::Closed);
            }
            match has_gap {
                true => self.stream_joined(io, slot, channel, GAP),
                false => self.answer_join(io, slot, channel, None, begun),
            }
        }
        Ok(())
    }

    /// Reads the request; the error names the field.
    fn wanted(&self, head: &Head<'_>) -> Result<Wanted, (Status, String)> {
        let config = &self.shared.config;
        let may_gzip =
            config.compression_enabled && config.compression_algorithm == CompressionAlgorithm::Gzip;
        let is_gzip = may_gzip && accepts_gzip(head);
        let mut wanted = Wanted {
            channels: Vec::new(),
            is_gzip,
            cursor: None,
            dialect: Dialect::Native,
            head_only: head.method == "HEAD",
            cors: Cors::default(),
        };
        let bad = |message: String| (Status::BadRequest, message);
        let mut last_event_id = head.header("last-event-id").map(<[u8]>::to_vec);
        for (name, value) in form_urlencoded::parse(head.query().unwrap_or_default().as_bytes()) {
            match &*name {
                "channel" => {
                    check(&value).map_err(|error| bad(format!("channel: {error}")))?;
                    let channel = self.channel(&value);
                    if !wanted.channels.contains(&channel) {
                        wanted.channels.push(channel);
                    }
                }
                "last_event_id" if last_event_id.is_none() => last_event_id = Some(value.into_owned().into()),
                "format" if value == "raw" => wanted.dialect = Dialect::Raw,
                "format" if value == "json" => {}
                "format" => return Err(bad("format: raw or json".into())),
                _ => {}
            }
        }
        if let Some(id) = last_event_id.filter(|id| !id.is_empty()) {
            wanted.cursor = Some(Cursor::parse(&id).map_err(|error| bad(format!("last_event_id: {error}")))?);
        }
        Ok(wanted)
    }

    /// Writes the head of a stream; the connection is one from now on.
    pub(super) fn begin_stream(&mut self, io: &mut ShardIo, slot: SlotId, endpoint: u8, wanted: &Wanted) {
        self.counters.requests += 1;
        let date = self.date.at((self.shared.unix_millis)());
        let retry = self.shared.config.sse_retry_interval;
        let comment_at = io.now() + self.shared.config.sse_keep_alive_interval;
        let is_gzip = wanted.is_gzip;
        let Some(mut open) = io.open(slot) else { return };
        // What was asked before has been answered, so that there is room.
        open.out.write_last(|out| {
            let response = Response::begin(out, Status::Ok, Connection::Close, date)
                .header("Content-Type", "text/event-stream; charset=utf-8")
                .header("Cache-Control", "no-store, no-transform")
                .header("X-Accel-Buffering", "no")
                .header("X-Content-Type-Options", "nosniff");
            let response = match is_gzip {
                true => response.header("Content-Encoding", "gzip").header("Vary", "Accept-Encoding"),
                false => response,
            };
            wanted.cors.write(response).head_only();
            if wanted.head_only {
                return;
            }
            if is_gzip {
                out.extend_from_slice(&gzip::HEADER);
            }
            write_piece(out, is_gzip, |out| sse::retry(out, retry));
        });
        if wanted.head_only {
            return;
        }
        open.conn.phase = Phase::Stream(EventStream {
            endpoint,
            dialect: wanted.dialect,
            has_many: wanted.channels.len() > 1,
            is_gzip,
            comment_at,
        });
        self.open += 1;
        self.counters.streams += 1;
    }

    /// Sends one event of the embedder's; a client whose outbox is full is closed as slow.
    pub(super) fn write_event(&mut self, io: &mut ShardIo, slot: SlotId, event: Option<&str>, data: &[u8]) {
        self.make_room(io, slot, 0);
        let Some(mut open) = io.open(slot) else { return };
        let Phase::Stream(stream) = &open.conn.phase else { return };
        let is_gzip = stream.is_gzip;
        let write = |out: &mut Vec<u8>| write_piece(out, is_gzip, |out| sse::body(out, event, data));
        if open.out.write(write).is_err() {
            self.end(io, slot, Cause::Slow);
        }
    }

    /// The stream's deadline has passed: timers of the embedder, a comment, and when to look again.
    pub(super) fn on_stream_deadline(&mut self, io: &mut ShardIo, slot: SlotId) {
        if self.expire(io, slot) {
            return;
        }
        self.run_repeats(io, slot);
        let (now, interval) = (io.now(), self.shared.config.sse_keep_alive_interval);
        let Some(mut open) = io.open(slot) else { return };
        let Phase::Stream(stream) = &mut open.conn.phase else { return };
        if now >= stream.comment_at {
            stream.comment_at = now + interval;
            // An outbox that is full needs no comment: its send deadline finds a dead peer.
            let is_gzip = stream.is_gzip;
            let _ = open.out.write_control(|out| write_piece(out, is_gzip, |out| sse::comment(out, "")));
        }
        self.schedule(io, slot);
    }
}

/// Writes a piece of a stream; what is for one stream alone is not worth compressing.
pub(super) fn write_piece(out: &mut Vec<u8>, is_gzip: bool, write: impl FnOnce(&mut Vec<u8>)) {
    if !is_gzip {
        return write(out);
    }
    let mut plain = Vec::new();
    write(&mut plain);
    gzip::stored(&plain, out);
}

/// Whether a client asks for gzip (RFC 9110 §12.5.3).
fn accepts_gzip(head: &Head<'_>) -> bool {
    head.headers("accept-encoding").flat_map(tokens).any(|coding| {
        let mut parts = coding.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"gzip"));
        let is_refused = |part: &[u8]| matches!(part, b"q=0" | b"q=0.0" | b"q=0.00" | b"q=0.000");
        is_named && !parts.any(is_refused)
    })
}
