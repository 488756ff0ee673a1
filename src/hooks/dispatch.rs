//! The threads behind [`Hooks`](super::Hooks): one hands out the questions and owns the circuit breakers, the others ask
//! and wait. Never runs on a shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Builder;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, never, select};
use highper_shards::Moment;

use super::backoff::random;
use super::breaker::{Breaker, Permit};
use super::question::Question;
use super::{ANSWER_BYTES_MAX, Counters, Hook, HooksError, add};
use crate::message::hook::{ConnectVerdict, HookAnswer, SubscribeVerdict};
use crate::outbound::{Backend, OutboundError};

/// A question and who wants to know.
pub(super) struct Asked {
    pub(super) question: Question,
    pub(super) reply: Box<dyn FnOnce(HookAnswer) + Send>,
    pub(super) at: Moment,
}

/// Hands out the questions.
pub(super) struct Dispatcher {
    queue: Receiver<Asked>,
    work: Sender<(Asked, Permit)>,
    done: Receiver<Done>,
    /// Threads that ask nothing now.
    free: usize,
    timeout: Duration,
    breakers: [Breaker; 2],
    counters: Arc<Counters>,
    complaints: Complaints,
}

/// A thread that asks.
struct Asker {
    work: Receiver<(Asked, Permit)>,
    done: Sender<Done>,
    backends: [Option<Backend>; 2],
    timeout: Duration,
    counters: Arc<Counters>,
}

/// A question was asked.
struct Done {
    hook: Hook,
    permit: Permit,
    failure: Option<Failure>,
}

/// Why there is no verdict.
struct Failure {
    what: String,
    /// The backend is down. A status that blames the request, or an answer without meaning, is none of it: whoever
    /// can provoke those must not be able to lock everybody out.
    is_down: bool,
}

impl Dispatcher {
    /// Starts all threads. They end when the sender of the queue is gone.
    pub(super) fn start(
        backends: [Option<Backend>; 2],
        threads: usize,
        timeout: Duration,
        queue: Receiver<Asked>,
        counters: Arc<Counters>,
    ) -> Result<(), HooksError> {
        // Only as much is handed out as there are threads, so that neither side waits for room.
        let (work, for_askers) = crossbeam_channel::bounded(threads);
        let (told, done) = crossbeam_channel::bounded(threads);
        for number in 0..threads {
            let asker = Asker {
                work: for_askers.clone(),
                done: told.clone(),
                backends: backends.clone(),
                timeout,
                counters: Arc::clone(&counters),
            };
            Builder::new().name(format!("hook-{number}")).spawn(move || asker.run())?;
        }
        let complaints = Complaints::default();
        let breakers = [Breaker::default(), Breaker::default()];
        let dispatcher = Self { queue, work, done, free: threads, timeout, breakers, counters, complaints };
        Builder::new().name("hooks".into()).spawn(move || dispatcher.run())?;
        Ok(())
    }

    fn run(mut self) {
        let nobody = never();
        loop {
            // While every thread is busy the questions wait in the queue, where they are bounded.
            let queue = if self.free > 0 { &self.queue } else { &nobody };
            select! {
                recv(queue) -> asked => match asked {
                    Ok(asked) => self.hand_out(asked),
                    Err(_) => return,
                },
                recv(self.done) -> done => match done {
                    Ok(done) => self.on_done(done),
                    Err(_) => return,
                },
            }
        }
    }

    fn hand_out(&mut self, asked: Asked) {
        let (now, hook) = (Moment::now(), asked.question.hook());
        if now.since(asked.at) >= self.timeout {
            add(&self.counters.expired, 1);
            return (asked.reply)(hook.unavailable());
        }
        match self.breakers[hook.index()].permit(now) {
            Some(permit) => {
                self.free -= 1;
                self.work.send((asked, permit)).expect("the askers live as long as this sender");
            }
            None => {
                add(&self.counters.skipped, 1);
                (asked.reply)(hook.unavailable());
            }
        }
    }

    fn on_done(&mut self, Done { hook, permit, failure }: Done) {
        self.free += 1;
        let now = Moment::now();
        let breaker = &mut self.breakers[hook.index()];
        let was_open = breaker.is_open();
        let is_down = failure.as_ref().is_some_and(|failure| failure.is_down);
        breaker.record(permit, !is_down, now, random());
        let is_open = breaker.is_open();
        let open = self.breakers.iter().filter(|breaker| breaker.is_open()).count();
        self.counters.open_breakers.store(open as u64, Ordering::Relaxed);
        if let Some(failure) = failure {
            self.complaints.tell(hook, &failure.what, now);
        }
        if was_open != is_open {
            let state = if is_open { "is left alone for a while" } else { "answers again" };
            tracing::warn!(hook = hook.variable(), "the backend {state}");
        }
    }
}

impl Asker {
    fn run(self) {
        for (Asked { question, reply, at }, permit) in &self.work {
            let hook = question.hook();
            let left = self.timeout.saturating_sub(Moment::now().since(at));
            let answer = self.ask(&question, left);
            add(self.counter(&answer), 1);
            let (answer, failure) = match answer {
                Ok(answer) => (answer, None),
                Err(failure) => (hook.unavailable(), Some(failure)),
            };
            reply(answer);
            if self.done.send(Done { hook, permit, failure }).is_err() {
                return;
            }
        }
    }

    fn ask(&self, question: &Question, left: Duration) -> Result<HookAnswer, Failure> {
        let hook = question.hook();
        let backend = self.backends[hook.index()].as_ref().expect("hooks that are asked are configured");
        let headers: Vec<(&str, &str)> =
            question.headers().iter().map(|header| (&*header.name, &*header.value)).collect();
        let (status, body) =
            backend.post(&headers, &question.body(), left, ANSWER_BYTES_MAX).map_err(|error| Failure {
                is_down: !matches!(error, OutboundError::TooLong(_)),
                what: error.to_string(),
            })?;
        match status {
            200 => hook.read(&body).map_err(|error| Failure { what: error.to_string(), is_down: false }),
            _ => Err(Failure { what: format!("status {status}"), is_down: status >= 500 || status == 429 }),
        }
    }

    fn counter(&self, answer: &Result<HookAnswer, Failure>) -> &AtomicU64 {
        match answer {
            Ok(
                HookAnswer::Connect(ConnectVerdict::Accept(_))
                | HookAnswer::Subscribe(SubscribeVerdict::Accept { .. }),
            ) => &self.counters.accepted,
            Ok(
                HookAnswer::Connect(ConnectVerdict::Refuse { .. })
                | HookAnswer::Subscribe(SubscribeVerdict::Refuse { .. } | SubscribeVerdict::Disconnect { .. }),
            ) => &self.counters.refused,
            Ok(
                HookAnswer::Connect(ConnectVerdict::Unavailable)
                | HookAnswer::Subscribe(SubscribeVerdict::Unavailable),
            )
            | Err(_) => &self.counters.failed,
        }
    }
}

/// Log lines about failures: one a second at most, each telling how many it stands for.
#[derive(Default)]
struct Complaints {
    next: Option<Moment>,
    untold: u64,
}

impl Complaints {
    fn tell(&mut self, hook: Hook, failure: &str, now: Moment) {
        if self.next.is_some_and(|next| now < next) {
            self.untold += 1;
            return;
        }
        let more = std::mem::take(&mut self.untold);
        tracing::warn!(hook = hook.variable(), failure, more, "the backend gives no verdict");
        self.next = Some(now + COMPLAINT_PAUSE);
    }
}

const COMPLAINT_PAUSE: Duration = Duration::from_secs(1);
