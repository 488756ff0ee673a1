//! The embedder's backend: asked whether a connection may open or join ([`Hooks`]), told what happened ([`Webhooks`]).
//! Threads of its own do the waiting; a shard only hands over and goes on. Never decides what a verdict does to a
//! connection.

pub mod backoff;
mod batch;
pub mod breaker;
mod dispatch;
mod event;
mod question;
mod sender;
mod webhooks;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Sender, TrySendError};
use highper_shards::Moment;
use highper_wire::http1::Head;

use crate::config::{Config, Token};
use crate::handler::Transport;
use crate::message::hook::HookAnswer;
use crate::outbound::{Backend, OutboundError, agent};
use dispatch::{Asked, Dispatcher};
pub use event::Event;
pub use question::{Header, Question};
pub use webhooks::{WebhookCounts, Webhooks};

/// Which question a backend is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// REALTIME_HOOK_CONNECT: may this connection open?
    Connect,
    /// REALTIME_HOOK_SUBSCRIBE: may this connection join this channel?
    Subscribe,
}

/// The hooks that are configured. Their threads end when it is dropped: what they were asked before is answered
/// within REALTIME_HOOK_TIMEOUT_MS.
pub struct Hooks {
    asks: Sender<Asked>,
    counters: Arc<Counters>,
    asked: [bool; 2],
    headers: Vec<Token>,
}

/// So many questions wait already that this one would not be answered in time: nothing was asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the backend has too many questions to answer")]
pub struct Busy;

/// Why hooks or webhooks do not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HooksError {
    /// The file of certificates is of no use.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// The system gave no thread.
    #[error("start the threads of hooks: {0}")]
    Thread(#[from] std::io::Error),
}

/// What became of questions since the start. Every question ends up in exactly one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookCounts {
    /// The backend accepted.
    pub accepted: u64,
    /// The backend refused, or wanted the connection closed.
    pub refused: u64,
    /// The backend failed: no answer in time, a status other than 200, an answer without meaning.
    pub failed: u64,
    /// Nobody was asked, because the backend failed too often before.
    pub skipped: u64,
    /// Nobody was asked, because the time was over before it was the question's turn.
    pub expired: u64,
    /// Nobody was asked, because the queue was full.
    pub busy: u64,
    /// Backends that are left alone now.
    pub open_breakers: u64,
}

#[derive(Default)]
struct Counters {
    accepted: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    skipped: AtomicU64,
    expired: AtomicU64,
    busy: AtomicU64,
    open_breakers: AtomicU64,
}

/// Questions that may wait for each that is asked (REALTIME_HOOK_CONCURRENCY). If a backend answers within a fifth of
/// the time it has, none of them expires.
const WAITING_PER_THREAD: usize = 4;

impl Hooks {
    /// Starts the threads of the hooks that are configured; `None` if none is.
    ///
    /// # Errors
    /// REALTIME_HOOK_CA_FILE is of no use, or the system gives no threads.
    pub fn start(config: &Config) -> Result<Option<Self>, HooksError> {
        let urls = [&config.hook_connect, &config.hook_subscribe];
        if urls.iter().all(|url| url.is_none()) {
            return Ok(None);
        }
        let agent = agent(config, config.hook_timeout)?;
        let backends = urls.map(|url| url.as_ref().map(|url| Backend::new(agent.clone(), url)));
        let threads = usize::from(config.hook_concurrency);
        let (asks, queue) = crossbeam_channel::bounded(threads * WAITING_PER_THREAD);
        let counters = Arc::new(Counters::default());
        Dispatcher::start(backends, threads, config.hook_timeout, queue, Arc::clone(&counters))?;
        let (asked, headers) = (urls.map(Option::is_some), config.hook_headers.clone());
        Ok(Some(Self { asks, counters, asked, headers }))
    }

    /// Whether a hook is configured. Only then may its questions be asked.
    pub fn asks(&self, hook: Hook) -> bool {
        self.asked[hook.index()]
    }

    /// Asks a backend, without waiting. `reply` gets the answer once, on a thread that may wait a little: it posts to
    /// the shard's mailbox.
    ///
    /// # Errors
    /// As many questions wait as may: `reply` was not called and will not be.
    pub fn ask(
        &self,
        question: Question,
        reply: impl FnOnce(HookAnswer) + Send + 'static,
    ) -> Result<(), Busy> {
        assert!(self.asks(question.hook()), "only a hook that is configured is asked");
        let asked = Asked { question, reply: Box::new(reply), at: Moment::now() };
        self.asks.try_send(asked).map_err(|refused| match refused {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => {
                add(&self.counters.busy, 1);
                Busy
            }
        })
    }

    /// The fields of a request that a backend may see (REALTIME_HOOK_HEADERS).
    pub fn shown(&self, head: &Head<'_>) -> Vec<Header> {
        let shown = self.headers.iter().filter_map(|name| {
            let values: Vec<_> = head.headers(name.as_str()).map(String::from_utf8_lossy).collect();
            // RFC 9113 §8.2.3: pieces of a cookie are put together by semicolons, other lists by commas.
            let between = if name.as_str().eq_ignore_ascii_case("cookie") { "; " } else { ", " };
            let header = || Header { name: name.as_str().into(), value: values.join(between).into() };
            (!values.is_empty()).then(header)
        });
        shown.collect()
    }

    /// What became of the questions so far.
    pub fn counts(&self) -> HookCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &*self.counters;
        HookCounts {
            accepted: read(&counters.accepted),
            refused: read(&counters.refused),
            failed: read(&counters.failed),
            skipped: read(&counters.skipped),
            expired: read(&counters.expired),
            busy: read(&counters.busy),
            open_breakers: read(&counters.open_breakers),
        }
    }
}

impl Hook {
    fn index(self) -> usize {
        match self {
            Self::Connect => 0,
            Self::Subscribe => 1,
        }
    }

    /// The variable that names its backend.
    fn variable(self) -> &'static str {
        match self {
            Self::Connect => "REALTIME_HOOK_CONNECT",
            Self::Subscribe => "REALTIME_HOOK_SUBSCRIBE",
        }
    }
}

/// A transport as backends are told of it.
fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::WebSocket => "websocket",
        Transport::Events => "sse",
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// Bytes of an answer that are read: a verdict is far shorter.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
