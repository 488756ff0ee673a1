//! The threads of the generator: starts one shard on each, tells them what phase it is, collects what they found.
//! The only place of the generator that waits. Never looks at bytes.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use highper_shards::driver::epoll::Epoll;
use highper_shards::driver::uring::Uring;
use highper_shards::driver::{self, Options, Peers, Waker};
use highper_shards::mesh::{Mailbox, Mesh, mesh};
use highper_shards::{Limits, Moment, Shard, ShardId, StartError, affinity};

use crate::generator::Generator;
use crate::measure::Tally;
use crate::options::{Common, Driver};
use crate::scenario::{RunError, share};
use crate::seam::{Event, Message, Phase, Plan, Scenario};

/// A running generator.
pub struct Engine {
    shards: Vec<Mailbox<Message>>,
    threads: Vec<JoinHandle<()>>,
    events: Receiver<Event>,
    timeout: Duration,
}

/// Connections of a shard beyond its share: a publisher, and closed ones the kernel has not returned yet.
const SPARE_CONNECTIONS: u32 = 4096;

/// Messages that fit a lane between shards: reports of deliveries, at most a few each turn.
const LANE: usize = 4096;

/// Receive buffers of a shard: what a thousand connections answer in one turn.
const BUFFERS: (usize, u16) = (16 * 1024, 1024);

impl Engine {
    /// Starts the shards; `scenario` makes the part of each. `connections` are open at once at most, all together.
    pub fn start<S, F>(common: &Common, connections: u32, scenario: F) -> Result<Self, RunError>
    where
        S: Scenario,
        F: Fn(u16) -> S + Clone + Send + 'static,
    {
        raise_descriptor_limit();
        let count = common.shards.get();
        let wakers: Vec<Waker> =
            (0..count).map(|_| Waker::new()).collect::<Result<_, _>>().map_err(RunError::Thread)?;
        let peers = Peers::new(wakers.iter().cloned());
        let meshes = mesh(LANE, &wakers);
        let shards = meshes.iter().map(Mesh::mailbox).collect();
        let (sender, events) = channel();
        let mut threads = Vec::new();
        for (shard, mesh) in meshes.into_iter().enumerate() {
            let shard = shard as u16;
            let start = Start {
                shard: ShardId(shard),
                connections: share(connections, count, shard) + SPARE_CONNECTIONS,
                driver: common.driver,
                cpu: common.cpu,
                peers: peers.clone(),
                plan: Plan {
                    address: common.url.address,
                    host: common.url.host.clone(),
                    path: common.url.path.clone(),
                    tokens: common.token.clone(),
                    sources: common.source_addresses(connections),
                    in_flight: share(common.in_flight.get(), count, shard).max(1),
                    timeout: common.timeout,
                },
            };
            let (scenario, events) = (scenario.clone(), sender.clone());
            let thread = std::thread::Builder::new().name(format!("bench-{shard}"));
            let body = move || start.run(|| scenario(shard), mesh, events);
            threads.push(thread.spawn(body).map_err(RunError::Thread)?);
        }
        Ok(Self { shards, threads, events, timeout: common.timeout })
    }

    /// Opens connections until `connections` were tried since the start, and waits for all of them.
    pub fn open(&self, connections: u32) -> Result<(), RunError> {
        let mut opening = 0;
        for shard in 0..self.shards.len() as u16 {
            let part = share(connections, self.shards.len() as u16, shard);
            if part > 0 {
                self.post(shard, Message::Open(part))?;
                opening += 1;
            }
        }
        for _ in 0..opening {
            match self.event(None)? {
                Some(Event::Opened { failed, first: Some(words) }) if failed >= u64::from(connections) => {
                    return Err(RunError::Failed(words));
                }
                Some(Event::Opened { .. }) | None => {}
                Some(Event::Drained(_)) => unreachable!("nothing is drained before it was loaded"),
                Some(Event::Failed(words)) => return Err(RunError::Failed(words)),
            }
        }
        Ok(())
    }

    /// Opens one connection more on the first shard than its share of `connections`: the publisher.
    pub fn open_with_one_more(&self, connections: u32) -> Result<(), RunError> {
        self.open(connections)?;
        let part = share(connections, self.shards.len() as u16, 0);
        self.post(0, Message::Open(part + 1))?;
        match self.event(None)? {
            Some(Event::Failed(words)) => Err(RunError::Failed(words)),
            Some(Event::Opened { .. } | Event::Drained(_)) | None => Ok(()),
        }
    }

    /// Moves all shards on.
    pub fn enter(&self, phase: Phase) -> Result<(), RunError> {
        (0..self.shards.len() as u16).try_for_each(|shard| self.post(shard, Message::Phase(phase)))
    }

    /// Lets time pass; ends early with an error if a shard cannot go on.
    pub fn pass(&self, span: Duration) -> Result<(), RunError> {
        let until = Moment::now() + span;
        loop {
            match self.event(Some(until.since(Moment::now())))? {
                None => return Ok(()),
                Some(Event::Failed(words)) => return Err(RunError::Failed(words)),
                Some(Event::Opened { .. } | Event::Drained(_)) => {}
            }
        }
    }

    /// Ends the load, waits for outstanding answers, ends the shards; the sum of what they counted.
    pub fn finish(self) -> Result<Tally, RunError> {
        self.enter(Phase::Draining)?;
        let mut tally = Tally::new();
        let mut left = self.shards.len();
        while left > 0 {
            match self.event(Some(self.timeout * 2 + Duration::from_secs(5)))? {
                Some(Event::Drained(part)) => {
                    tally.add(&part);
                    left -= 1;
                }
                Some(Event::Failed(words)) => return Err(RunError::Failed(words)),
                Some(Event::Opened { .. }) => {}
                None => return Err(RunError::Failed("a shard of the generator does not end".to_owned())),
            }
        }
        Ok(tally)
    }

    fn post(&self, shard: u16, message: Message) -> Result<(), RunError> {
        let posted = self.shards[usize::from(shard)].post(message);
        posted.map_err(|_| RunError::Failed(format!("shard {shard} of the generator has ended")))
    }

    /// The next event; `None` when `span` passed without one.
    fn event(&self, span: Option<Duration>) -> Result<Option<Event>, RunError> {
        let ended = || RunError::Failed("all shards of the generator have ended".to_owned());
        match span {
            None => self.events.recv().map(Some).map_err(|_| ended()),
            Some(span) => match self.events.recv_timeout(span) {
                Ok(event) => Ok(Some(event)),
                Err(RecvTimeoutError::Timeout) => Ok(None),
                Err(RecvTimeoutError::Disconnected) => Err(ended()),
            },
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for shard in &self.shards {
            // A mailbox refuses only when its shard has ended already.
            let _ = shard.post(Message::Stop);
        }
        for thread in self.threads.drain(..) {
            // A panic was told as an event or by the standard hook; there is nothing to add.
            let _ = thread.join();
        }
    }
}

/// What one thread begins with.
struct Start {
    shard: ShardId,
    connections: u32,
    driver: Driver,
    cpu: Option<u16>,
    peers: Peers,
    plan: Plan,
}

impl Start {
    fn run<S: Scenario>(self, scenario: impl FnOnce() -> S, mesh: Mesh<Message>, events: Sender<Event>) {
        let failed = events.clone();
        if let Err(words) = self.try_run(scenario, mesh, events) {
            // The listener is gone only if the run was given up already.
            let _ = failed.send(Event::Failed(words));
        }
    }

    fn try_run<S: Scenario>(
        self,
        scenario: impl FnOnce() -> S,
        mesh: Mesh<Message>,
        events: Sender<Event>,
    ) -> Result<(), String> {
        if let Some(cpu) = self.cpu {
            let pinned = affinity::pin(usize::from(cpu));
            pinned.map_err(|error| format!("--cpu {cpu}: cannot run there: {error}"))?;
        }
        let options = Options {
            buffer_bytes: BUFFERS.0,
            buffer_count: BUFFERS.1,
            sockets_max: self.connections,
            ..Options::default()
        };
        let uring = match self.driver {
            Driver::Epoll => None,
            Driver::Uring => Some(Uring::new(&options, self.shard, &self.peers).map_err(explain)?),
            Driver::Auto => match Uring::new(&options, self.shard, &self.peers) {
                Ok(uring) => Some(uring),
                Err(error) if error.epoll_would_do() => None,
                Err(error) => return Err(explain(error)),
            },
        };
        match uring {
            Some(driver) => self.turn(driver, scenario(), mesh, events),
            None => {
                let driver = Epoll::new(&options, self.shard, &self.peers).map_err(explain)?;
                self.turn(driver, scenario(), mesh, events)
            }
        }
    }

    fn turn<D: driver::Driver, S: Scenario>(
        self,
        driver: D,
        scenario: S,
        mesh: Mesh<Message>,
        events: Sender<Event>,
    ) -> Result<(), String> {
        let limits = Limits {
            connections_max: self.connections as usize,
            outbox_bytes_max: OUTBOX_BYTES_MAX,
            write_timeout: self.plan.timeout,
            // The load is over when connections are closed: nobody waits for what a peer still says.
            linger: Duration::from_millis(100),
            ..Limits::default()
        };
        let mut shard = Shard::new(driver, Generator::new(scenario, self.plan, events), mesh, limits);
        while !shard.logic().has_stopped() {
            let wait_max = shard.logic().wait_max(Moment::now());
            shard.turn(wait_max).map_err(|error| format!("the driver failed: {error}"))?;
        }
        Ok(())
    }
}

/// A window of large messages may be queued on one connection.
const OUTBOX_BYTES_MAX: usize = 1 << 30;

fn explain(error: StartError) -> String {
    format!("the generator cannot start: {error}")
}

/// As many descriptors as the hard limit allows; what is left of the limit shows when connecting.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Refused only if the hard limit fell meanwhile.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
