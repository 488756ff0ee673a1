//! What an embedder writes: endpoints with callbacks, and the one handle of a connection they get, whatever its
//! transport. Callbacks run on the connection's shard and never block; work that does goes to
//! [`Connection::offload`]. Never knows how a connection is kept.

use std::any::Any;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use highper_shards::SlotId;
use highper_wire::dialect::Dialect;
use highper_wire::dialect::channel::BadChannel;
use highper_wire::ws::CloseCode;
use serde::Serialize;

/// A message of a client, as a handler sees it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    payload: &'a [u8],
    is_text: bool,
}

impl<'a> Message<'a> {
    pub(crate) fn new(payload: &'a [u8], is_text: bool) -> Self {
        Self { payload, is_text }
    }

    /// The text; empty if this is a binary message.
    pub fn text(&self) -> &'a str {
        if self.is_text { std::str::from_utf8(self.payload).unwrap_or_default() } else { "" }
    }

    /// The payload, text or binary.
    pub fn bytes(&self) -> &'a [u8] {
        self.payload
    }

    /// Whether the client sent text.
    pub fn is_text(&self) -> bool {
        self.is_text
    }

    /// Reads the payload as JSON.
    pub fn json<T: serde::Deserialize<'a>>(&self) -> Result<T, Error> {
        Ok(serde_json::from_slice(self.payload)?)
    }
}

/// Why a handler's wish was not granted. A handler may return it: it is counted and logged, the connection lives.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The channel's name breaks a rule.
    #[error(transparent)]
    BadChannel(#[from] BadChannel),
    /// The connection is in as many channels as it may be (REALTIME_MAX_CHANNELS_PER_CONNECTION).
    #[error("the connection is in {0} channels already, the most it may be in")]
    TooManyChannels(usize),
    /// A lane to another shard or the pool's queue is full: nothing happened, try again.
    #[error("the server is busy; nothing was done, try again")]
    TryAgain,
    /// The client reads too slowly: its outbox (REALTIME_OUTBOX_BYTES) is full and it is being disconnected.
    #[error("the client's outbox is full")]
    OutboxFull,
    /// The connection is closing.
    #[error("the connection is closed")]
    Closed,
    /// A stream of Server-Sent Events carries text only.
    #[error("a stream of events carries text, not bytes")]
    TextOnly,
    /// The name of an event has a line end or NUL in it, or is longer than 256 bytes.
    #[error("the name of an event has no line ends and at most 256 bytes")]
    BadEvent,
    /// The value cannot be written as JSON, or the message is not the JSON that was asked for.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Anything the application wants to report.
    #[error("{0}")]
    Application(String),
}

/// What callbacks return.
pub type Outcome = Result<(), Error>;

/// Work to run on a connection of another thread or shard, if it is still there.
pub struct Task(Box<dyn FnOnce(&mut Connection<'_>) -> Outcome + Send>);

impl Task {
    /// A task.
    pub fn new(run: impl FnOnce(&mut Connection<'_>) -> Outcome + Send + 'static) -> Self {
        Self(Box::new(run))
    }

    pub(crate) fn run(self, conn: &mut Connection<'_>) -> Outcome {
        (self.0)(conn)
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Task")
    }
}

pub(crate) type Repeat = Box<dyn FnMut(&mut Connection<'_>) -> Outcome>;
pub(crate) type Work = Box<dyn FnOnce() -> Task + Send>;

/// What the worker does for a connection handle. One implementation; a trait so that handlers need not know it.
pub(crate) trait Port {
    fn id(&self) -> SlotId;
    fn address(&mut self) -> Option<IpAddr>;
    fn send(&mut self, text: bool, payload: &[u8]) -> Outcome;
    fn send_event(&mut self, event: &str, data: &[u8]) -> Outcome;
    fn join(&mut self, channel: &str) -> Outcome;
    fn leave(&mut self, channel: &str) -> Outcome;
    fn publish(&mut self, channel: &str, data: &[u8]) -> Outcome;
    fn to_user(&mut self, user: &str, data: &[u8]) -> Outcome;
    fn broadcast(&mut self, data: &[u8]) -> Outcome;
    fn close(&mut self, code: CloseCode, reason: &str);
    fn user(&mut self) -> Option<&str>;
    fn set_user(&mut self, user: &str) -> Outcome;
    fn set_info(&mut self, info: Arc<[u8]>) -> Outcome;
    fn data(&mut self) -> &mut Option<Box<dyn Any>>;
    fn every(&mut self, interval: Duration, repeat: Repeat);
    fn offload(&mut self, work: Work) -> Outcome;
}

/// A connection, during one callback. The same handle for every transport.
pub struct Connection<'a> {
    port: &'a mut dyn Port,
}

impl<'a> Connection<'a> {
    pub(crate) fn new(port: &'a mut dyn Port) -> Self {
        Self { port }
    }

    /// The connection's name: unique in this process while it lives.
    pub fn id(&self) -> String {
        self.port.id().to_string()
    }

    /// The shard that serves it.
    pub fn shard(&self) -> u16 {
        self.port.id().shard.0
    }

    /// Where the client is: the peer of the connection, or whom a trusted proxy speaks for (REALTIME_BEHIND_PROXY,
    /// REALTIME_PROXY_PROTOCOL). `None` for who came by a socket file without a proxy's word, and when the connection
    /// is gone.
    pub fn address(&mut self) -> Option<IpAddr> {
        self.port.address()
    }

    /// Sends a value as JSON text to this client.
    pub fn send(&mut self, value: impl Serialize) -> Outcome {
        let text = serde_json::to_vec(&value)?;
        self.port.send(true, &text)
    }

    /// Sends text to this client.
    pub fn send_text(&mut self, text: &str) -> Outcome {
        self.port.send(true, text.as_bytes())
    }

    /// Sends a value under the name of an event: to a stream as that event, to a WebSocket as
    /// `{"event":…,"data":…}`. The name has at most 256 bytes and no line ends.
    pub fn send_event(&mut self, event: &str, value: impl Serialize) -> Outcome {
        let data = serde_json::to_vec(&value)?;
        self.port.send_event(event, &data)
    }

    /// Sends bytes to this client; a stream of events cannot carry them.
    pub fn send_binary(&mut self, bytes: &[u8]) -> Outcome {
        self.port.send(false, bytes)
    }

    /// Joins a channel: 1 to 255 printable ASCII characters.
    pub fn join(&mut self, channel: &str) -> Outcome {
        self.port.join(channel)
    }

    /// Leaves a channel; nothing happens if the connection is not in it.
    pub fn leave(&mut self, channel: &str) -> Outcome {
        self.port.leave(channel)
    }

    /// Publishes a value as JSON to every subscriber of a channel.
    pub fn publish(&mut self, channel: &str, value: impl Serialize) -> Outcome {
        let data = serde_json::to_vec(&value)?;
        self.port.publish(channel, &data)
    }

    /// Publishes a value as JSON to every connection of these users.
    pub fn to_users<'u>(
        &mut self,
        users: impl IntoIterator<Item = &'u str>,
        value: impl Serialize,
    ) -> Outcome {
        let data = serde_json::to_vec(&value)?;
        users.into_iter().try_for_each(|user| self.port.to_user(user, &data))
    }

    /// Publishes a value as JSON to every connection of the server.
    pub fn broadcast(&mut self, value: impl Serialize) -> Outcome {
        let data = serde_json::to_vec(&value)?;
        self.port.broadcast(&data)
    }

    /// Closes the connection after everything sent before has left.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        self.port.close(code, reason);
    }

    /// Who this is, if it is known.
    pub fn user(&mut self) -> Option<&str> {
        self.port.user()
    }

    /// Says who this is: from now on it gets what is sent to the user.
    pub fn set_user(&mut self, user: &str) -> Outcome {
        self.port.set_user(user)
    }

    /// What others see of this connection where presence is on, beside the user: any JSON. Set it before the
    /// connection joins, so in `on_connect`.
    pub fn set_info(&mut self, info: impl Serialize) -> Outcome {
        let info = serde_json::to_vec(&info)?;
        self.port.set_info(info.into())
    }

    /// The embedder's data of this connection, if there is any of this type.
    pub fn data<T: 'static>(&mut self) -> Option<&mut T> {
        self.port.data().as_mut()?.downcast_mut()
    }

    /// Stores the embedder's data of this connection, in place of what was there.
    pub fn set_data<T: 'static>(&mut self, data: T) {
        *self.port.data() = Some(Box::new(data));
    }

    /// Runs `repeat` on this connection again and again until it closes. The interval is at least 10 ms.
    pub fn every(
        &mut self,
        interval: Duration,
        repeat: impl FnMut(&mut Connection<'_>) -> Outcome + 'static,
    ) {
        self.port.every(interval.max(Duration::from_millis(10)), Box::new(repeat));
    }

    /// Runs blocking `work` on the pool (REALTIME_ASYNC_WORKERS threads); `then` gets its result on this
    /// connection, if it is still there. [`Error::TryAgain`] if the pool's queue is full.
    pub fn offload<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(&mut Connection<'_>, T) -> Outcome + Send + 'static,
    ) -> Outcome {
        self.port.offload(Box::new(move || {
            let result = work();
            Task::new(move |conn| then(conn, result))
        }))
    }
}

type OnConnect = Box<dyn Fn(&mut Connection<'_>) -> Outcome + Send + Sync>;
type OnMessage = Box<dyn Fn(&mut Connection<'_>, Message<'_>) -> Outcome + Send + Sync>;
type OnClose = Box<dyn Fn(&mut Connection<'_>, Option<CloseCode>) + Send + Sync>;

/// How an endpoint is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// By a WebSocket handshake.
    WebSocket,
    /// By a GET request; the answer is a stream of Server-Sent Events.
    Events,
}

/// A path that accepts connections, the language spoken there, and the embedder's callbacks.
pub struct Endpoint {
    pub(crate) path: String,
    pub(crate) transport: Transport,
    pub(crate) dialect: Dialect,
    pub(crate) on_connect: Option<OnConnect>,
    pub(crate) on_message: Option<OnMessage>,
    pub(crate) on_close: Option<OnClose>,
}

impl Endpoint {
    /// The native dialect at this path; text is the server's to answer, binary messages go to `on_message`.
    pub fn native(path: impl Into<String>) -> Self {
        Self::new(path, Transport::WebSocket, Dialect::Native)
    }

    /// No dialect: every message goes to `on_message`, publications arrive as their data alone.
    pub fn raw(path: impl Into<String>) -> Self {
        Self::new(path, Transport::WebSocket, Dialect::Raw)
    }

    /// Every message comes back as it was.
    pub fn echo(path: impl Into<String>) -> Self {
        Self::new(path, Transport::WebSocket, Dialect::Echo)
    }

    /// Server-Sent Events (the WHATWG's text/event-stream) of the channels that the request names,
    /// `?channel=a&channel=b`, and of what `on_connect` sends. A request may name none. Publications come in the
    /// JSON of the native dialect, or with `format=raw` as their data alone.
    pub fn sse(path: impl Into<String>) -> Self {
        Self::new(path, Transport::Events, Dialect::Raw)
    }

    /// As [`Endpoint::sse`], for requests that name at least one channel.
    pub fn channel_events(path: impl Into<String>) -> Self {
        Self::new(path, Transport::Events, Dialect::Native)
    }

    /// Called once the connection is open.
    pub fn on_connect(
        mut self,
        run: impl Fn(&mut Connection<'_>) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        self.on_connect = Some(Box::new(run));
        self
    }

    /// Called for each message.
    pub fn on_message(
        mut self,
        run: impl Fn(&mut Connection<'_>, Message<'_>) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        self.on_message = Some(Box::new(run));
        self
    }

    /// Called when an open connection ends, with its close code, `None` if it broke or gave none. It can still
    /// publish, but not send.
    pub fn on_close(
        mut self,
        run: impl Fn(&mut Connection<'_>, Option<CloseCode>) + Send + Sync + 'static,
    ) -> Self {
        self.on_close = Some(Box::new(run));
        self
    }

    fn new(path: impl Into<String>, transport: Transport, dialect: Dialect) -> Self {
        Self { path: path.into(), transport, dialect, on_connect: None, on_message: None, on_close: None }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("path", &self.path).field("dialect", &self.dialect).finish()
    }
}
