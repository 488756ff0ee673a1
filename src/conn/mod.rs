//! One connection: plain data in a slot of one shard, small because there are ten million of them. Its phases,
//! what it is subscribed to, and when it must be looked at again. Never acts; the worker does.

pub mod channels;
pub mod deadline;

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use highper_shards::Moment;
use highper_wire::dialect::Dialect;
use highper_wire::http1;
use highper_wire::ws;

use crate::api::Resource;
use crate::api::cors::Cors;
use crate::api::server::{Job, Refusal};
use crate::handler::Repeat;
pub use channels::Channels;

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
}

const _: () = assert!(size_of::<Conn>() <= 80, "Conn is multiplied by ten million");

/// What the connection does now.
pub enum Phase {
    /// Requests are read and answered.
    Http(Http),
    /// The connection is a WebSocket.
    Open(WebSocket),
    /// The connection is a stream of Server-Sent Events.
    Stream(EventStream),
    /// Everything was said; only the kernel still works on it.
    Closing,
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
        self.backlog.as_ref().is_some_and(|backlog| !backlog.waiting.is_empty())
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
    /// What the server API answers to this method, once the body is there; or why it answers nothing.
    Api(Box<str>, Option<Box<Refusal>>),
    /// 204, for a browser that asks what it may do.
    Preflight,
    /// An error: status and what is wrong, in plain words.
    Refused(http1::Status, String),
    /// 405 with these methods.
    NotAllowed(&'static str),
    /// 426: the path wants a WebSocket.
    UpgradeRequired,
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
    /// The embedder's data.
    pub data: Option<Box<dyn Any>>,
    /// The embedder's timers.
    pub repeats: Vec<Repeating>,
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
    /// When the soonest timer is due.
    pub fn next_repeat(&self) -> Option<Moment> {
        self.repeats.iter().map(|repeat| repeat.at).min()
    }
}

impl Conn {
    /// A connection that was just accepted.
    pub fn new(now: Moment) -> Self {
        let http = Http { reader: http1::Reader::new(), backlog: None };
        Self { phase: Phase::Http(http), channels: Channels::default(), session: None, heard: now }
    }

    /// The WebSocket, if it is open.
    pub fn websocket(&mut self) -> Option<&mut WebSocket> {
        match &mut self.phase {
            Phase::Open(websocket) => Some(websocket),
            Phase::Http(_) | Phase::Stream(_) | Phase::Closing => None,
        }
    }

    /// Index of the endpoint of an open WebSocket or stream; [`NO_ENDPOINT`] is none.
    pub fn endpoint(&self) -> Option<u8> {
        match &self.phase {
            Phase::Open(websocket) => Some(websocket.endpoint),
            Phase::Stream(stream) => Some(stream.endpoint),
            Phase::Http(_) | Phase::Closing => None,
        }
    }

    /// Whether it is an open WebSocket or stream.
    pub fn is_open(&self) -> bool {
        self.endpoint().is_some()
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
