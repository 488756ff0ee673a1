//! One shard's policy: what happens to its connections. Ties protocols, hub, limits and handlers together; each
//! file beside this one is one part of it. Owns the state of one shard; shares only what never changes.

mod admission;
mod api;
mod channels;
mod close;
mod commands;
mod entry;
mod events;
mod fanout;
mod feed;
mod http;
mod identity;
mod limits;
mod members;
mod overload;
mod peers;
mod questions;
mod reach;
mod recovery;
#[cfg(test)]
mod rig;
mod slow;
mod watch;
mod webhooks;
mod websocket;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use highper_shards::logic::End;
use highper_shards::mesh::Lane;
use highper_shards::{Io, ListenerId, Logic, Moment, Origin, ShardId, SlotId};
use highper_wire::{http1, ws};

use crate::address::Trusted;
use crate::api::server::reply::Node;
use crate::api::{Routes, cors};
use crate::auth::{self, Policy, Revocations, Verifier};
use crate::config::Config;
use crate::conn::deadline::Heartbeat;
use crate::conn::{Conn, Phase};
use crate::handler::Endpoint;
use crate::hooks::{Hooks, Webhooks};
use crate::hub::home::{Home, Keeping};
use crate::hub::local::Local;
use crate::limits::Table;
use crate::message::{Channel, Message, Names};
use crate::observe::counters::{Board, Counters, Snapshot};
use crate::pool::Pool;
use crate::security::{Geo, Monitor};

/// What all shards of a server share. Never changes while they run.
pub struct Shared {
    /// The configuration.
    pub config: Config,
    /// Where WebSocket connections are accepted.
    pub endpoints: Vec<Endpoint>,
    /// What HTTP answers.
    pub routes: Routes,
    /// Makes channels.
    pub names: Names,
    /// What shards show each other.
    pub board: Board,
    /// Runs blocking work; `None` if nobody can ask for it.
    pub pool: Option<Pool>,
    /// Asks the embedder's backend; `None` if no hook is configured.
    pub hooks: Option<Hooks>,
    /// Tells the embedder's backend; `None` if nothing is to be told.
    pub webhooks: Option<Webhooks>,
    /// Connections one shard may hold; `None` is as many as the driver has room for.
    pub connections_max: Option<usize>,
    /// The demo page.
    pub page: String,
    /// Judges tokens; `None` where nobody shows any.
    pub verifier: Option<Verifier>,
    /// What browsers on other sites may do.
    pub cors: cors::Rules,
    /// The same for streams of events.
    pub events_cors: cors::Rules,
    /// Where addresses are, if the operator gave a database.
    pub geo: Option<Arc<Geo>>,
    /// Whether only local callers can reach the listener.
    pub is_local: bool,
    /// Milliseconds since the Unix epoch when the server was started.
    pub started: u64,
    /// Differs between starts: epochs of channels begin with it.
    pub epoch_seed: u64,
    /// Milliseconds since the Unix epoch: [`highper_shards::clock::unix_millis`], or a virtual clock.
    pub unix_millis: fn() -> u64,
}

impl Shared {
    /// What the server API tells of this process.
    pub fn node(&self, unix_millis: u64) -> Node<'_> {
        let name = self.config.node_id.as_ref().map(|name| name.as_str());
        let uptime_secs = unix_millis.saturating_sub(self.started) / 1000;
        Node { epoch_seed: self.epoch_seed, name, uptime_secs }
    }
}

/// The runtime as this server uses it.
pub(crate) type ShardIo = Io<Conn, Message>;

// Sixteen of them are the address of the client: limits, logs and handlers ask for it as long as it is there.
const _: () = assert!(ShardIo::SLOT_BYTES <= 120, "a slot is multiplied by ten million");

/// The policy of one shard.
pub struct Worker {
    shared: Arc<Shared>,
    trusted: Trusted,
    rules: ws::Rules,
    /// For those who have not said yet who they are.
    unknown_rules: ws::Rules,
    /// Judges tokens, with the newest keys.
    verifier: Option<Verifier>,
    revocations: Revocations,
    policy: Policy,
    head_limits: http1::Limits,
    heartbeat: Heartbeat,
    everyone: Channel,
    told: webhooks::Told,
    local: Local,
    home: Home,
    scratch: ws::Scratch,
    deflater: ws::Deflater,
    /// A message that was compressed, kept for its memory.
    deflated: Vec<u8>,
    /// Text that is being put together, kept for its memory.
    text: Vec<u8>,
    encoder: fanout::Encoder,
    /// The body of an answer, kept for its memory.
    body: Vec<u8>,
    /// The name of a publisher, kept for its memory.
    from: String,
    /// Connections that read too slowly, found while a publication is delivered.
    slow: Vec<SlotId>,
    /// Requests sent to each home shard that it has not answered yet.
    outstanding: Vec<usize>,
    /// How many those may be for each home shard.
    receipts_max: usize,
    /// Connections of the addresses and users whose home this shard is.
    admissions: Table,
    rates: limits::Rates,
    ceiling: limits::Ceiling,
    relief: overload::Relief,
    /// What the histories of this shard may hold, in bytes.
    history_bytes: usize,
    /// For each home shard: who came and went, while its lane was full.
    unsent: Vec<VecDeque<Message>>,
    /// When the homes are looked through for what is too old.
    sweep_at: Moment,
    date: http::Date,
    open: usize,
    draining: Option<Moment>,
    counters: Counters,
    /// Looks for attacks; `None` if nobody wants to know.
    monitor: Option<Box<Monitor>>,
}

impl Worker {
    /// The worker of one shard.
    pub fn new(shared: Arc<Shared>, shard: ShardId) -> Self {
        let config = &shared.config;
        let everyone = shared.names.everyone();
        let home_shard = shared.names.home(&everyone);
        let told = webhooks::Told::of(&shared);
        let keeping = keeping(config, &shared.names, told);
        let history_bytes = keeping.history_bytes;
        let (mut local, mut home) =
            (Local::default(), Home::new(shared.epoch_seed ^ u64::from(shard.0) << 48, keeping));
        local.keep(&everyone, home_shard);
        if home_shard == shard {
            home.keep(&everyone, shared.names.shards());
        }
        Self {
            trusted: Trusted::new(&config.trusted_proxies),
            rules: websocket::rules(config),
            unknown_rules: websocket::unknown_rules(websocket::rules(config)),
            verifier: shared.verifier.clone(),
            revocations: Revocations::new(auth::USERS_MAX),
            policy: Policy::of(config),
            head_limits: http::limits(config),
            heartbeat: websocket::heartbeat(config),
            everyone,
            told,
            local,
            home,
            scratch: ws::Scratch::new(),
            deflater: ws::Deflater::with_level(u32::from(config.websocket_compression_level)),
            deflated: Vec::new(),
            text: Vec::new(),
            encoder: fanout::Encoder::new(config),
            body: Vec::new(),
            from: String::new(),
            slow: Vec::new(),
            // The mesh gives its control lanes a quarter of the capacity; half of that leaves room for the rest.
            receipts_max: (config.mesh_capacity as usize / 8).max(8),
            outstanding: vec![0; usize::from(shared.names.shards())],
            admissions: Table::new(config.rate_limit_table as usize),
            rates: limits::Rates::new(config),
            ceiling: limits::Ceiling::new(shared.connections_max, usize::MAX),
            relief: overload::Relief::new(history_bytes),
            history_bytes,
            unsent: (0..shared.names.shards()).map(|_| VecDeque::new()).collect(),
            sweep_at: Moment::ZERO,
            date: http::Date::default(),
            open: 0,
            draining: None,
            counters: Counters::default(),
            monitor: Monitor::new(&shared.config, shared.geo.clone()),
            shared,
        }
    }

    /// Leaves some of the sockets that the shard has room for to those who are told that there is no more.
    pub fn with_room(mut self, sockets: usize) -> Self {
        self.ceiling = limits::Ceiling::new(self.shared.connections_max, sockets);
        self
    }

    /// What the worker counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Connections that are open WebSockets.
    pub fn open(&self) -> usize {
        self.open
    }

    /// One question less is out.
    fn answered(&mut self, origin: Origin) {
        if let Origin::Shard(home) = origin {
            self.outstanding[home.index()] -= 1;
        }
    }

    /// Drops what is too old, a little in each turn.
    fn sweep(&mut self, io: &mut ShardIo) {
        if io.now() >= self.sweep_at && self.home.sweep(io.now()) {
            self.sweep_at = io.now() + self.shared.config.gc_interval;
        }
        if !self.home.is_empty() {
            io.turn_by(self.sweep_at.max(io.now() + SWEEP_PAUSE));
        }
    }

    fn snapshot(&self, io: &ShardIo) -> Snapshot {
        Snapshot {
            counters: self.counters,
            security: self.monitor.as_ref().map(|monitor| monitor.counts).unwrap_or_default(),
            shard: *io.counters(),
            connections: io.connections(),
            open: self.open,
            channels: self.local.len(),
            homes: self.home.len(),
            queued_bytes: io.queued(),
            held_bytes: io.held(),
        }
    }

    /// Says goodbye to every connection; the shard ends when all are gone or the grace is over.
    fn drain(&mut self, io: &mut ShardIo, grace: Duration) {
        if self.draining.is_none() {
            self.draining = Some(io.now() + grace);
            for slot in io.ids() {
                self.end(io, slot, close::Cause::Restart);
            }
        }
    }
}

impl Logic for Worker {
    type Conn = Conn;
    type Message = Message;

    fn on_accept(
        &mut self,
        io: &mut ShardIo,
        _slot: SlotId,
        _listener: ListenerId,
        peer: Option<SocketAddr>,
    ) -> Option<Conn> {
        Some(self.begin(io.now(), peer))
    }

    fn on_open(&mut self, io: &mut ShardIo, slot: SlotId) {
        if self.draining.is_some() {
            // Readers of streams take an answer for the last word, its absence for a reason to come back; proxies
            // turn to another server.
            self.counters.refused += 1;
            return self.close_http(io, slot);
        }
        if io.connections() > self.ceiling.all {
            return self.refuse(io, slot, limits::Shut::Full);
        }
        let is_proxy = io.conn(slot).is_some_and(|conn| matches!(conn.phase, Phase::Proxy(_)));
        let timeout = if is_proxy { peers::PROXY_TIMEOUT } else { self.shared.config.header_timeout };
        io.arm(slot, io.now() + timeout);
    }

    fn on_bytes(&mut self, io: &mut ShardIo, slot: SlotId, bytes: &mut [u8]) {
        let now = io.now();
        let Some(conn) = io.conn(slot) else { return };
        conn.heard = now;
        match &mut conn.phase {
            Phase::Open(websocket) => {
                websocket.pinged = false;
                let decoder = std::mem::take(&mut websocket.decoder);
                self.on_frames(io, slot, decoder, bytes);
            }
            Phase::Http(_) => self.on_requests(io, slot, bytes),
            Phase::Proxy(_) => self.on_proxy_header(io, slot, bytes),
            // A stream takes nothing: what a client sends behind its request is left alone.
            Phase::Stream(_) | Phase::Closing => {}
        }
    }

    fn on_end(&mut self, io: &mut ShardIo, slot: SlotId, end: End) {
        self.end(io, slot, close::Cause::Network(end));
    }

    fn on_deadline(&mut self, io: &mut ShardIo, slot: SlotId) {
        let Some(conn) = io.conn(slot) else { return };
        match &conn.phase {
            Phase::Http(http) if http.is_waiting() => {
                // The shards are slow, not the client.
                let timeout = self.shared.config.header_timeout;
                io.arm(slot, io.now() + timeout);
            }
            Phase::Http(http) => {
                let idle = http.has_served() && http.reader.stage() == http1::Stage::Idle;
                self.end(
                    io,
                    slot,
                    if idle { close::Cause::KeepAliveOver } else { close::Cause::HeadTimeout },
                );
            }
            Phase::Proxy(_) => self.on_proxy_deadline(io, slot),
            Phase::Open(_) => self.on_heartbeat(io, slot),
            Phase::Stream(_) => self.on_stream_deadline(io, slot),
            Phase::Closing => {}
        }
    }

    fn on_message(&mut self, io: &mut ShardIo, origin: Origin, message: Message) {
        match message {
            Message::Publish { channel, publication, receipt } => {
                self.sequence(io, channel, publication, receipt);
            }
            Message::Published { position, receipt } => {
                self.answered(origin);
                self.acknowledge(io, *receipt, position);
            }
            Message::Ask { channel, question, receipt } => self.home.owe_answer(channel, question, receipt),
            Message::Answer { channel, answer, receipt } => {
                self.answered(origin);
                self.on_answer(io, &channel, *answer, *receipt);
            }
            Message::Enter { .. } | Message::Exit { .. } => self.on_membership(io, message),
            Message::Travelled { trip } => self.arrived(io, *trip),
            Message::Order { user, order } => self.obey(io, &user, &order),
            Message::Survey { survey, receipt } => {
                let found = Box::new(self.survey(&survey));
                let asker = receipt.slot.shard;
                let answer = Message::Surveyed { found, receipt };
                io.post(asker, Lane::Control, answer).expect("shards have fewer receipts out than it holds");
            }
            Message::Surveyed { found, receipt } => {
                self.answered(origin);
                self.put_found(io, receipt.slot, receipt.purpose, *found);
            }
            Message::Interest { channel, shard } => {
                self.home.interest(&channel, shard, io);
            }
            Message::Release { channel, shard } => self.home.release(&channel, shard),
            Message::Standing { channel, position, is_answer } => {
                self.stand(io, &channel, position, is_answer);
            }
            Message::Deliver { channel, offset, publication } => {
                self.deliver(io, &channel, offset, &publication);
            }
            Message::Admit { subject, limit, slot, round } => {
                self.on_admit(io, slot, round, (subject, limit));
            }
            Message::Admitted { subject, ticket, slot, round } => {
                self.answered(origin);
                self.on_admitted(io, slot, round, subject, ticket);
            }
            Message::Vacate { subject, ticket } => self.on_vacate(&subject, ticket),
            // The turn that takes it looks at the board.
            Message::Overload => {}
            Message::Task { slot, task } => self.run(io, slot, |conn| task.run(conn)),
            Message::Keys(set) => {
                self.verifier = self.verifier.take().map(|verifier| verifier.with_keys(set));
            }
            Message::Hooked(hooked) => self.on_hooked(io, *hooked),
            Message::Drain { grace } => self.drain(io, grace),
            Message::Report { to } => {
                // Whoever asked may have gone away; then nobody needs the answer.
                let _ = to.try_send(self.snapshot(io));
            }
        }
    }

    fn on_panic(&mut self, io: &mut ShardIo, slot: SlotId) {
        self.counters.panics += 1;
        self.end(io, slot, close::Cause::Panic);
    }

    fn on_turn(&mut self, io: &mut ShardIo) {
        self.pass_on_events(io);
        self.home.catch_up(io.now(), io);
        self.local.settle(&mut self.home, io);
        let is_unsent = self.resend(io);
        self.close_laggards(io);
        self.close_slowest(io);
        self.tell_departures(io);
        self.tell_occupancy(io);
        if let Some(at) = self.home.next_departure() {
            io.turn_by(at);
        }
        self.sweep(io);
        self.relieve(io);
        let beat = io.now().as_nanos() / 1_000_000;
        let (open, is_draining) = (self.open as u64, self.draining.is_some());
        self.shared.board.write(io.shard().index(), open, beat, is_draining, io.turn_time());
        if self.home.owes() || self.local.owes() || is_unsent {
            // The peer whose lane is full does not ring when it has made room.
            io.turn_by(io.now() + LANE_RETRY);
        }
        if let Some(until) = self.draining
            && (io.connections() == 0 || io.now() >= until)
        {
            io.stop();
        }
        if let Some(until) = self.draining {
            io.turn_by(until);
        }
    }
}

/// How soon a full lane is tried again: about the time a peer needs for a batch of it.
const LANE_RETRY: Duration = Duration::from_millis(1);

/// Between two steps of a sweep that has not come around.
const SWEEP_PAUSE: Duration = Duration::from_millis(10);

fn keeping(config: &Config, names: &Names, told: webhooks::Told) -> Keeping {
    Keeping {
        namespaces: config.namespaces.clone(),
        history_bytes: config.history_bytes.as_usize() / usize::from(names.shards()),
        presence_hold: config.presence_hold,
        occupancy: told.occupancy,
    }
}
