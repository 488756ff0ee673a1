//! One connection: plain data in a slot of one shard, small because there are ten million of them. Its phases,
//! what it is subscribed to, and when it must be looked at again. Never acts; the worker does.

pub mod channels;
pub mod deadline;

use std::any::Any;
use std::time::Duration;

use highper_shards::Moment;
use highper_wire::dialect::Dialect;
use highper_wire::http1;
use highper_wire::ws;

use crate::api::Resource;
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
    /// Everything was said; only the kernel still works on it.
    Closing,
}

/// An HTTP/1.1 connection.
pub struct Http {
    /// Reads the requests.
    pub reader: http1::Reader,
    /// The answer to the request whose body is being read.
    pub answer: Option<Answer>,
    /// Whether a request was answered before: then silence is no error.
    pub served: bool,
}

/// An answer that waits for the end of the request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What to answer.
    pub reply: Reply,
    /// Whether only the head is wanted.
    pub head_only: bool,
    /// Whether the connection goes on.
    pub keep_alive: bool,
}

/// What an HTTP request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The resource.
    Resource(Resource),
    /// 404.
    NotFound,
    /// 405 with `Allow: GET, HEAD`.
    NotAllowed,
    /// 426: the path wants a WebSocket.
    UpgradeRequired,
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

/// State of connections that a user or an embedder's handler has touched.
#[derive(Default)]
pub struct Session {
    /// Who it is.
    pub user: Option<Box<str>>,
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
        let http = Http { reader: http1::Reader::new(), answer: None, served: false };
        Self { phase: Phase::Http(http), channels: Channels::default(), session: None, heard: now }
    }

    /// The WebSocket, if it is open.
    pub fn websocket(&mut self) -> Option<&mut WebSocket> {
        match &mut self.phase {
            Phase::Open(websocket) => Some(websocket),
            Phase::Http(_) | Phase::Closing => None,
        }
    }

    /// Whether it is an open WebSocket.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
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
