//! Webhooks as the shards see them: a bounded queue that takes an event without waiting, and forgets the oldest when it
//! is full. Never sends a request; the thread of `sender` does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use highper_shards::{Moment, clock};

use super::sender::{Outbox, Stop};
use super::{Event, HooksError, add};
use crate::config::{Config, WebhookEvent};

/// The webhooks of a server. The thread behind it ends when it is dropped, and what was not sent is lost.
pub struct Webhooks {
    events: Sender<Told>,
    /// The other end, to make room.
    oldest: Receiver<Told>,
    stop: Sender<Stop>,
    ended: Receiver<()>,
    /// A bit for each kind that is told.
    wanted: u16,
    counters: Arc<Counters>,
}

/// An event and when it happened.
pub(super) struct Told {
    pub(super) event: Box<Event>,
    pub(super) unix_millis: u64,
}

/// What became of events since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookCounts {
    /// Events that the backend took.
    pub sent: u64,
    /// Requests that were sent again.
    pub retried: u64,
    /// Events that were lost: the queue was full, the backend took none for REALTIME_WEBHOOK_RETRY, or the server ended.
    pub lost: u64,
    /// Events that wait, those of the request under way included.
    pub queued: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) sent: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) lost: AtomicU64,
    /// Events that left the queue and are not sent yet.
    pub(super) in_hand: AtomicU64,
}

impl Webhooks {
    /// Starts the thread; `None` without REALTIME_WEBHOOK_URL or with nothing to tell.
    ///
    /// # Errors
    /// REALTIME_HOOK_CA_FILE is of no use, or the system gives no thread.
    pub fn start(config: &Config) -> Result<Option<Self>, HooksError> {
        let wanted = config.webhook_events.iter().fold(0, |wanted, kind| wanted | bit(*kind));
        let Some(url) = config.webhook_url.as_ref().filter(|_| wanted != 0) else { return Ok(None) };
        let (events, oldest) = crossbeam_channel::bounded(config.webhook_queue as usize);
        let (stop, stopped) = crossbeam_channel::bounded(1);
        let (ending, ended) = crossbeam_channel::bounded(0);
        let counters = Arc::new(Counters::default());
        let outbox = Outbox::new(config, url, oldest.clone(), stopped, Arc::clone(&counters))?;
        std::thread::Builder::new().name("webhooks".into()).spawn(move || {
            outbox.run();
            drop(ending);
        })?;
        Ok(Some(Self { events, oldest, stop, ended, wanted, counters }))
    }

    /// Whether events of this kind are told.
    pub fn wants(&self, kind: WebhookEvent) -> bool {
        self.wanted & bit(kind) != 0
    }

    /// Queues an event, if its kind is told. Never waits: in a full queue it takes the place of the oldest.
    pub fn post(&self, event: Event) {
        if !self.wants(event.kind()) {
            return;
        }
        let mut told = Told { event: Box::new(event), unix_millis: clock::unix_millis() };
        for _ in 0..ROOM_TRIES {
            match self.events.try_send(told) {
                Ok(()) => return,
                Err(TrySendError::Disconnected(_)) => break,
                Err(TrySendError::Full(back)) => told = back,
            }
            if self.oldest.try_recv().is_ok() {
                add(&self.counters.lost, 1);
            }
        }
        add(&self.counters.lost, 1);
    }

    /// What became of the events so far.
    pub fn counts(&self) -> WebhookCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WebhookCounts {
            sent: read(&self.counters.sent),
            retried: read(&self.counters.retried),
            lost: read(&self.counters.lost),
            queued: self.oldest.len() as u64 + read(&self.counters.in_hand),
        }
    }

    /// Tells what waits, each request tried once more, and ends. Waits `grace` at most; what is not told by then is
    /// lost.
    pub fn stop(&self, grace: Duration) {
        // One that was asked before is under way.
        let _ = self.stop.try_send(Stop { until: Moment::now() + grace });
        // Nothing is ever sent here: the end of the thread drops the other end.
        let _ = self.ended.recv_timeout(grace);
        let counts = self.counts();
        if counts.lost + counts.queued > 0 {
            tracing::warn!(lost = counts.lost, unsent = counts.queued, "events were not told to the webhook");
        }
    }
}

fn bit(kind: WebhookEvent) -> u16 {
    1 << kind as u16
}

/// Others may take the room that one makes; after so many times the event is lost itself.
const ROOM_TRIES: usize = 8;
