//! The thread that tells the backend: collects events into requests, sends them in order, and the same one again until
//! the backend takes it or its time is over. Never runs on a shard.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, select};
use highper_shards::{Moment, clock};

use super::backoff::{pause, random};
use super::batch::{Batch, Signer};
use super::webhooks::{Counters, Told};
use super::{ANSWER_BYTES_MAX, HooksError, add};
use crate::config::{Config, Url};
use crate::outbound::{Backend, agent};

/// Everything the thread owns.
pub(super) struct Outbox {
    events: Receiver<Told>,
    stop: Receiver<Stop>,
    ending: Ending,
    backend: Backend,
    signer: Option<Signer>,
    batch_max: usize,
    retry: Duration,
    counters: Arc<Counters>,
}

/// The wish that the thread ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    /// Nothing is sent after it.
    pub(super) until: Moment,
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    /// It is not wanted yet.
    No,
    /// Each request is tried once more, until this moment.
    Until(Moment),
    /// Nobody is left who could want anything.
    Now,
}

impl Outbox {
    /// Nothing to send yet.
    pub(super) fn new(
        config: &Config,
        url: &Url,
        events: Receiver<Told>,
        stop: Receiver<Stop>,
        counters: Arc<Counters>,
    ) -> Result<Self, HooksError> {
        Ok(Self {
            events,
            stop,
            ending: Ending::No,
            backend: Backend::new(agent(config, TRY_TIME_MAX)?, url),
            signer: config.webhook_secret.as_ref().map(|secret| Signer::new(secret.expose())),
            batch_max: usize::from(config.webhook_batch),
            retry: config.webhook_retry,
            counters,
        })
    }

    /// Sends until it is told to stop.
    pub(super) fn run(mut self) {
        while let Some(batch) = self.collect() {
            self.counters.in_hand.store(batch.events, Ordering::Relaxed);
            let is_sent = self.deliver(&batch);
            self.counters.in_hand.store(0, Ordering::Relaxed);
            add(if is_sent { &self.counters.sent } else { &self.counters.lost }, batch.events);
            if !is_sent && !matches!(self.ending, Ending::No) {
                // A backend that does not take one does not take the next either.
                break;
            }
        }
        add(&self.counters.lost, self.events.try_iter().count() as u64);
    }

    /// Waits for an event and then a little for more. `None` if there is nothing more to send.
    fn collect(&mut self) -> Option<Batch> {
        if matches!(self.ending, Ending::No) {
            select! {
                recv(self.events) -> first => match first {
                    Ok(first) => return Some(self.gather(first)),
                    Err(_) => self.ending = Ending::Now,
                },
                recv(self.stop) -> stop => self.on_stop(stop.ok()),
            }
        }
        match self.ending {
            Ending::No | Ending::Now => None,
            Ending::Until(until) if Moment::now() >= until => None,
            Ending::Until(_) => self.events.try_recv().ok().map(|first| self.gather(first)),
        }
    }

    /// Nobody receives meanwhile, so that a shard that queues an event need not wake this thread.
    fn gather(&mut self, first: Told) -> Batch {
        let complete = Moment::now() + COLLECT_TIME;
        while matches!(self.ending, Ending::No)
            && self.events.len() + 1 < self.batch_max
            && Moment::now() < complete
        {
            self.wait(COLLECT_STEP);
        }
        let mut events = vec![first];
        events.extend(self.events.try_iter().take(self.batch_max - 1));
        Batch::new(clock::unix_millis(), &events)
    }

    /// Sends a batch until the backend takes it; false if it never did.
    fn deliver(&mut self, batch: &Batch) -> bool {
        let since = Moment::now();
        let mut tries = 0;
        loop {
            let is_last = !matches!(self.ending, Ending::No);
            let failure = match self.send(batch) {
                Ok(()) => return true,
                Err(failure) => failure,
            };
            let is_over = Moment::now().since(since) >= self.retry;
            if is_last || is_over {
                let events = batch.events;
                tracing::warn!(delivery = batch.delivery, events, failure, "a webhook was lost");
                return false;
            }
            if tries == 0 {
                tracing::warn!(
                    delivery = batch.delivery,
                    failure,
                    "a webhook is sent again until it is taken"
                );
            }
            self.wait(pause(tries, RETRY_FIRST, RETRY_MAX, random()));
            if matches!(self.ending, Ending::Now) {
                return false;
            }
            tries += 1;
            add(&self.counters.retried, 1);
        }
    }

    fn send(&self, batch: &Batch) -> Result<(), String> {
        let timeout = match self.ending {
            Ending::Until(until) => until.since(Moment::now()).min(TRY_TIME_MAX),
            Ending::No | Ending::Now => TRY_TIME_MAX,
        };
        if timeout.is_zero() {
            return Err("the server ends".to_owned());
        }
        let timestamp = (clock::unix_millis() / 1000).to_string();
        let signature = self.signer.as_ref().map(|signer| signer.sign(&timestamp, &batch.body));
        let mut headers =
            vec![("X-Realtime-Timestamp", &*timestamp), ("X-Realtime-Delivery", &batch.delivery)];
        if let Some(signature) = &signature {
            headers.push(("X-Realtime-Signature", signature));
        }
        let answer = self.backend.post(&headers, &batch.body, timeout, ANSWER_BYTES_MAX);
        match answer.map_err(|error| error.to_string())? {
            (200..=299, _) => Ok(()),
            (status, _) => Err(format!("status {status}")),
        }
    }

    /// Lets time go by, unless the end comes.
    fn wait(&mut self, time: Duration) {
        match self.stop.recv_timeout(time) {
            Ok(stop) => self.on_stop(Some(stop)),
            Err(RecvTimeoutError::Disconnected) => self.on_stop(None),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }

    fn on_stop(&mut self, stop: Option<Stop>) {
        self.ending = match stop {
            Some(Stop { until }) => Ending::Until(until),
            None => Ending::Now,
        };
    }
}

/// How long events are collected before they are sent, if they do not fill a request.
const COLLECT_TIME: Duration = Duration::from_millis(100);

/// How often it is looked whether they do.
const COLLECT_STEP: Duration = Duration::from_millis(5);

/// How long the backend may take for one request.
const TRY_TIME_MAX: Duration = Duration::from_secs(10);

/// Between tries, doubling.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
