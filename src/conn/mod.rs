//! One connection: plain data in a slot of one shard, small because there are ten million of them. Its phases,
//! what it is subscribed to, and when it must be looked at again. Never acts; the worker does.

pub mod channels;
pub mod deadline;
pub mod entry;

use std::any::Any;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use highper_shards::Moment;
use highper_wire::dialect::Dialect;
use highper_wire::http1;
use highper_wire::proxy;
use highper_wire::ws;

use crate::address::Address;
use crate::api::Resource;
use crate::api::cors::Cors;
use crate::api::server::{Job, Refusal};
use crate::auth::Identity;
use crate::handler::Repeat;
use crate::limits::{Holder, Meter, Rules};
pub use channels::Channels;
use entry::{Entry, Known};

/// The state of a connection.
pub struct Conn {
    /// Which protocol it speaks, and where in it the connection is.
    pub phase: Phase,
    /// The channels it is in.
    pub channels: Channels,
    /// What only some connections have.
    pub session: Option<Box<Session>>,
    /// When the peer was last heard.
    pub heard: Moment,
    /// Where the client is: the peer of the socket, or whom a trusted proxy speaks for.
    pub address: Address,
}

const _: () = assert!(size_of::<Conn>() <= 80, "Conn is multiplied by ten million");

/// What the connection does now.
pub enum Phase {
    /// A trusted proxy is to say whom it speaks for.
    Proxy(proxy::Reader),
    /// Requests are read and answered.
    Http(Http),
    /// The connection is a WebSocket.
    Open(WebSocket),
    /// The connection is a stream of Server-Sent Events.
    Stream(EventStream),
    /// Everything was said; only the kernel still works on it.
    Closing,
}

impl Phase {
    /// HTTP before the first byte.
    pub fn http() -> Self {
        Self::Http(Http { reader: http1::Reader::new(), backlog: None })
    }
}

/// An HTTP/1.1 connection.
pub struct Http {
    /// Reads the requests.
    pub reader: http1::Reader,
    /// What is there from the first request on.
    pub backlog: Option<Box<Backlog>>,
}

impl Http {
    /// Whether a request was answered before: then silence is no error.
    pub fn has_served(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| backlog.has_served)
    }

    /// Whether answers wait for other shards.
    pub fn is_waiting(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| !backlog.waiting.is_empty() || backlog.entry.is_some())
    }
}

/// An answer that waits for the end of the request's body.
#[derive(Debug)]
pub struct Answer {
    /// What to answer.
    pub reply: Reply,
    /// Whether only the head is wanted.
    pub head_only: bool,
    /// Whether the connection goes on.
    pub keep_alive: bool,
    /// What a browser on another site may see.
    pub cors: Cors,
}

/// What an HTTP request is answered with.
#[derive(Debug)]
pub enum Reply {
    /// The resource.
    Resource(Resource),
    /// What the server API answers to this method, once the body is there.
    Api(Box<str>, Caller),
    /// 204, for a browser that asks what it may do.
    Preflight,
    /// An error: status and what is wrong, in plain words.
    Refused(http1::Status, String),
    /// 405 with these methods.
    NotAllowed(&'static str),
    /// 426: the path wants a WebSocket.
    UpgradeRequired,
}

/// Who calls the server API.
#[derive(Debug)]
pub enum Caller {
    /// A backend that has the key.
    Backend,
    /// A client with a token, who may do what its connection may.
    Client(Box<Identity>),
    /// Nobody who may.
    Refused(Box<Refusal>),
}

/// Requests whose answers are not written yet, in order.
#[derive(Debug, Default)]
pub struct Backlog {
    /// The answer to the request whose body is being read.
    pub answer: Option<Answer>,
    /// Whether a request was answered before.
    pub has_served: bool,
    /// The body of the request that is being read.
    pub body: Vec<u8>,
    /// Answers in the order of their requests; the first one is not ready.
    pub waiting: VecDeque<Waiting>,
    /// Number of the first of them, counted from the connection's first.
    pub first: u32,
    /// A request that waits for leave to come in. Nothing is a request behind it.
    pub entry: Option<Box<Entry>>,
    /// The proxy whose connection this is, once it has said whom it speaks for.
    pub peer: Option<Address>,
}

/// An answer that cannot be written yet.
#[derive(Debug)]
pub struct Waiting {
    /// What it is made of, or the whole response.
    pub content: Content,
    /// Whether the connection goes on after it.
    pub keep_alive: bool,
    /// What a browser on another site may see.
    pub cors: Cors,
}

/// What a waiting answer is made of.
#[derive(Debug)]
pub enum Content {
    /// Parts that come from several shards.
    Job(Job),
    /// A response that waits for those before it.
    Ready(Vec<u8>),
}

/// An open WebSocket.
pub struct WebSocket {
    /// Reads the frames.
    pub decoder: ws::Decoder,
    /// Index of the endpoint it was opened at.
    pub endpoint: u8,
    /// The language of the endpoint.
    pub dialect: Dialect,
    /// The window of agreed compression, 9 to 15 bits; 0 if there is none.
    pub window_bits: u8,
    /// Odd but legal behaviour since the last heartbeat.
    pub glitches: u16,
    /// Pongs sent while the peer lags behind, since the last heartbeat.
    pub pongs_lagging: u8,
    /// A ping was sent and nothing was heard since.
    pub pinged: bool,
    /// It must say who it is before anything is done for it; its handler does not know it yet.
    pub is_unknown: bool,
}

/// The endpoint of a stream that belongs to no endpoint: the feed of security events. A server has at most 255.
pub const NO_ENDPOINT: u8 = u8::MAX;

/// An open stream of Server-Sent Events.
#[derive(Clone, Copy, Debug)]
pub struct EventStream {
    /// Index of the endpoint it was opened at.
    pub endpoint: u8,
    /// How publications are written.
    pub dialect: Dialect,
    /// It may be in several channels: the ids of its events are its own.
    pub has_many: bool,
    /// Its bytes are gzip.
    pub is_gzip: bool,
    /// When the next comment keeps it alive.
    pub comment_at: Moment,
}

/// State of connections that a user or an embedder's handler has touched.
#[derive(Default)]
pub struct Session {
    /// Who it is.
    pub user: Option<Box<str>>,
    /// What other members of its channels see of it: JSON text.
    pub info: Option<Arc<[u8]>>,
    /// What the token or a hook said about it.
    pub identity: Option<Box<Identity>>,
    /// When that ends.
    pub expiry: Option<Expiry>,
    /// What a backend said of single subscriptions.
    pub passes: Vec<Pass>,
    /// Who the client says it is, while others are asked whether there is room.
    pub arriving: Option<Box<Arriving>>,
    /// The embedder's data.
    pub data: Option<Box<dyn Any>>,
    /// The embedder's timers.
    pub repeats: Vec<Repeating>,
    /// What it may send, where its token says so.
    pub rules: Option<Box<Rules>>,
    /// What it has sent lately, where that is limited.
    pub meter: Meter,
    /// Where it is counted.
    pub holder: Holder,
}

/// What a backend said of one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The channel.
    pub channel: Box<str>,
    /// What other members see of the connection there: JSON text.
    pub info: Option<Arc<[u8]>>,
    /// When the subscription ends.
    pub until: Option<Moment>,
}

/// A client that has shown its token as first message.
pub struct Arriving {
    /// Who it is.
    pub known: Known,
    /// The mark of its command.
    pub id: Option<Box<[u8]>>,
    /// Commands behind that one, together at most [`entry::EARLY_BYTES_MAX`].
    pub early: Vec<Box<[u8]>>,
}

/// When a connection ends because of who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// No token came yet; it must come until then.
    Unknown(Moment),
    /// The token ends then.
    At(Moment),
    /// The token has ended; a newer one must come until then.
    Grace(Moment),
}

/// A timer of an embedder.
pub struct Repeating {
    /// When it is due.
    pub at: Moment,
    /// From one run to the next.
    pub interval: Duration,
    /// What to run; taken out while it runs.
    pub run: Option<Repeat>,
}

impl Session {
    /// When the soonest timer is due, or what ends the connection.
    pub fn next_due(&self) -> Option<Moment> {
        let end = self.expiry.map(|(Expiry::Unknown(at) | Expiry::At(at) | Expiry::Grace(at))| at);
        let passes = self.passes.iter().filter_map(|pass| pass.until);
        self.repeats.iter().map(|repeat| repeat.at).chain(end).chain(passes).min()
    }

    /// The backend has said something new of a channel, or nothing any more.
    pub fn set_pass(&mut self, channel: &str, pass: Option<Pass>) {
        self.passes.retain(|pass| *pass.channel != *channel);
        self.passes.extend(pass);
    }

    /// A subscription whose time is over, if there is one.
    pub fn take_expired(&mut self, now: Moment) -> Option<Pass> {
        let at = self.passes.iter().position(|pass| pass.until.is_some_and(|until| now >= until))?;
        Some(self.passes.swap_remove(at))
    }

    /// What other members of a channel see of the connection.
    pub fn info_in(&self, channel: &str) -> Option<Arc<[u8]>> {
        let own = self.passes.iter().find(|pass| *pass.channel == *channel);
        own.and_then(|pass| pass.info.clone()).or_else(|| self.info.clone())
    }
}

impl Conn {
    /// A connection that was just accepted from this address.
    pub fn new(now: Moment, address: Address) -> Self {
        Self { phase: Phase::http(), channels: Channels::default(), session: None, heard: now, address }
    }

    /// Where the client is; `None` for one that came by the socket file and that no proxy has named.
    pub fn address(&self) -> Option<IpAddr> {
        self.address.get()
    }

    /// The WebSocket, if it is open.
    pub fn websocket(&mut self) -> Option<&mut WebSocket> {
        match &mut self.phase {
            Phase::Open(websocket) => Some(websocket),
            Phase::Proxy(_) | Phase::Http(_) | Phase::Stream(_) | Phase::Closing => None,
        }
    }

    /// Index of the endpoint of an open WebSocket or stream; [`NO_ENDPOINT`] is none.
    pub fn endpoint(&self) -> Option<u8> {
        match &self.phase {
            Phase::Open(websocket) => Some(websocket.endpoint),
            Phase::Stream(stream) => Some(stream.endpoint),
            Phase::Proxy(_) | Phase::Http(_) | Phase::Closing => None,
        }
    }

    /// Whether it is an open WebSocket or stream.
    pub fn is_open(&self) -> bool {
        self.endpoint().is_some()
    }

    /// What its token or a hook said about it.
    pub fn identity(&self) -> Option<&Identity> {
        self.session.as_ref()?.identity.as_deref()
    }

    /// Whether the user is known, so that the connection is in the user's channel.
    pub fn has_user(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.user.is_some())
    }

    /// State that is made when it is first needed.
    pub fn session(&mut self) -> &mut Session {
        self.session.get_or_insert_default()
    }
}
