//! Starts the shards: one named thread each, pinned, with a driver of the kind that works for all of them. Returns
//! once every shard listens, and tells afterwards how each of them ended. Never touches a connection.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::affinity::{Pinning, pin};
use crate::driver::epoll::{Descriptors, Epoll};
use crate::driver::uring::Uring;
use crate::driver::{Driver, Options, Peers, Waker};
use crate::error::StartError;
use crate::logic::{Limits, Logic};
use crate::mesh::{Mailbox, Mesh, mesh};
use crate::socket::Listener;
use crate::token::ShardId;
use crate::turn::Shard;

/// Which driver the shards run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriverKind {
    /// io_uring where it works for every shard, else epoll for all of them.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// epoll.
    Epoll,
}

/// What the shards are started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many shards: 1 to 65,535. More than CPUs are allowed; each io_uring ring has a table of its own.
    pub shards: u16,
    /// Which driver.
    pub driver: DriverKind,
    /// Sizes of each driver.
    pub options: Options,
    /// Limits of each shard.
    pub limits: Limits,
    /// How shards are tied to CPUs.
    pub pinning: Pinning,
    /// Messages that fit one lane between two shards, and one mailbox.
    pub mesh_capacity: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shards: 1,
            driver: DriverKind::Auto,
            options: Options::default(),
            limits: Limits::default(),
            pinning: Pinning::Auto,
            mesh_capacity: 4096,
        }
    }
}

/// What a logic is told about its place when it is made.
#[derive(Clone)]
pub struct Seat<M> {
    /// Its shard.
    pub shard: ShardId,
    /// The CPU it is pinned to.
    pub cpu: Option<usize>,
    /// Connections that fit the shard: its share of [`Capacity`].
    pub connections_max: usize,
    /// Where outside threads post, for every shard in their order.
    pub mailboxes: Arc<[Mailbox<M>]>,
}

/// The shards of a process, running.
pub struct Runtime<M> {
    driver: Kind,
    shards: Vec<ShardReport>,
    capacity: Capacity,
    warning: Option<String>,
    mailboxes: Arc<[Mailbox<M>]>,
    ended: Receiver<Ended>,
    threads: Vec<JoinHandle<Ending>>,
}

/// How a shard started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardReport {
    /// Which shard.
    pub shard: ShardId,
    /// The CPU it is pinned to.
    pub cpu: Option<usize>,
    /// What its driver makes use of, for people.
    pub features: String,
}

/// How many connections all shards together can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Connections.
    pub connections: u64,
    /// What bounds them, for people.
    pub bound: String,
}

/// A shard ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shard {} {how}", .shard.0)]
pub struct Ended {
    /// Which shard.
    pub shard: ShardId,
    /// How.
    pub how: Ending,
}

/// How a shard ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its logic asked for it by [`crate::Io::stop`].
    Stopped,
    /// Its driver failed.
    Failed(String),
    /// It panicked outside a callback of a connection. Its connections are closed.
    Panicked(String),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => write!(f, "stopped"),
            Self::Failed(error) => write!(f, "failed: {error}"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
        }
    }
}

/// Starts the shards and returns once each of them listens. `logic` is called on the shard's own thread. A
/// listener serves as many shards as there are; its sockets are copied, so it can be handed over later.
pub fn start<L, F>(
    settings: &Settings,
    listeners: &[Listener],
    logic: F,
) -> Result<Runtime<L::Message>, StartError>
where
    L: Logic + 'static,
    F: Fn(&Seat<L::Message>) -> L + Send + Sync + 'static,
{
    let shards = usize::from(settings.shards);
    assert!(shards > 0, "a runtime has shards");
    assert!(listeners.iter().all(|listener| listener.shards() == shards), "a listener serves every shard");
    let cpus = settings.pinning.assign(shards)?;
    let descriptors_max = raise_descriptor_limit();
    let logic = Arc::new(logic);
    let round = |driver| Round { settings, cpus: &cpus, listeners, driver, descriptors_max };
    match settings.driver {
        DriverKind::Epoll => round(Kind::Epoll).start(&logic, None),
        DriverKind::Uring => round(Kind::Uring).start(&logic, None),
        DriverKind::Auto => match round(Kind::Uring).start(&logic, None) {
            Err(error) if error.epoll_would_do() => {
                round(Kind::Epoll).start(&logic, Some(format!("falling back to epoll: {error}")))
            }
            started => started,
        },
    }
}

impl<M> Runtime<M> {
    /// The driver that was chosen.
    pub fn driver(&self) -> Kind {
        self.driver
    }

    /// How each shard started.
    pub fn shards(&self) -> &[ShardReport] {
        &self.shards
    }

    /// How many connections fit, and why no more.
    pub fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// Why io_uring was not taken though it would have been preferred, with the fix.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Where outside threads post, for every shard in their order.
    pub fn mailboxes(&self) -> &Arc<[Mailbox<M>]> {
        &self.mailboxes
    }

    /// Tells of every shard that ends, as it ends: for a supervisor to watch.
    pub fn ended(&self) -> &Receiver<Ended> {
        &self.ended
    }

    /// Waits until every shard has ended; an error names the first that did not stop by itself. Shards stop when
    /// their logic does: post to the mailboxes what makes it.
    pub fn join(self) -> Result<(), Ended> {
        let mut first = Ok(());
        for (shard, thread) in (0..).map(ShardId).zip(self.threads) {
            let how = thread.join().unwrap_or_else(|payload| Ending::Panicked(message_of(&*payload)));
            if first.is_ok() && how != Ending::Stopped {
                first = Err(Ended { shard, how });
            }
        }
        first
    }
}

/// A driver that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// io_uring.
    Uring,
    /// epoll.
    Epoll,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uring => "io_uring",
            Self::Epoll => "epoll",
        })
    }
}

/// One attempt to start all shards on one kind of driver. Every shard takes the same three steps, and none takes
/// the next before all have taken this one: build the driver, make the logic and listen, serve. A failure ends
/// the attempt for all.
struct Round<'a> {
    settings: &'a Settings,
    cpus: &'a [Option<usize>],
    listeners: &'a [Listener],
    driver: Kind,
    descriptors_max: u64,
}

impl Round<'_> {
    fn start<L, F>(self, logic: &Arc<F>, warning: Option<String>) -> Result<Runtime<L::Message>, StartError>
    where
        L: Logic + 'static,
        F: Fn(&Seat<L::Message>) -> L + Send + Sync + 'static,
    {
        let wakers = self.cpus.iter().map(|_| Waker::new()).collect::<io::Result<Vec<_>>>();
        let wakers = wakers.map_err(|source| StartError::Kernel { what: "make an eventfd", source })?;
        let peers = Peers::new(wakers);
        let (capacity, stock) = self.capacity();
        let connections_max = (capacity.connections / u64::from(self.settings.shards)) as usize;
        let (ended_sender, ended) = unbounded();
        let crew = self.spawn::<L, F>(logic, &peers, &stock, &ended_sender)?;
        let features = crew.reports()?;
        let meshes = mesh(self.settings.mesh_capacity, peers.wakers());
        let mailboxes: Arc<[_]> = meshes.iter().map(Mesh::mailbox).collect();
        for (shard, (line, mesh)) in (0..).map(ShardId).zip(crew.lines.iter().zip(meshes)) {
            let (cpu, mailboxes) = (self.cpus[shard.index()], Arc::clone(&mailboxes));
            let seat = Seat { shard, cpu, connections_max, mailboxes };
            let listeners = self.listeners.iter().map(|listener| listener.socket(shard));
            let listeners = listeners
                .collect::<io::Result<_>>()
                .map_err(|source| StartError::Kernel { what: "copy a listening socket", source })?;
            // A shard that is gone says why when it is asked next.
            let _ = line.seats.send(Seated { seat, mesh, listeners });
        }
        crew.reports()?;
        let threads = crew.serve();
        let report = |(shard, features)| ShardReport { shard, cpu: self.cpus[shard.index()], features };
        let shards = (0..).map(ShardId).zip(features).map(report).collect();
        Ok(Runtime { driver: self.driver, shards, capacity, warning, mailboxes, ended, threads })
    }

    /// A thread for each shard; each of them builds its driver.
    fn spawn<L, F>(
        &self,
        logic: &Arc<F>,
        peers: &Peers,
        stock: &Descriptors,
        ended: &Sender<Ended>,
    ) -> Result<Crew<L::Message>, StartError>
    where
        L: Logic + 'static,
        F: Fn(&Seat<L::Message>) -> L + Send + Sync + 'static,
    {
        let mut crew = Crew { threads: Vec::new(), lines: Vec::new() };
        for (shard, cpu) in (0..).map(ShardId).zip(self.cpus) {
            let (reports, report) = unbounded();
            let (seats, seat) = unbounded();
            let (serves, serve) = unbounded();
            let work = Work {
                shard,
                cpu: *cpu,
                driver: self.driver,
                options: self.settings.options.clone(),
                limits: self.settings.limits.clone(),
                peers: peers.clone(),
                stock: stock.clone(),
                reports,
                seat,
                serve,
            };
            let (logic, ended) = (Arc::clone(logic), ended.clone());
            let thread = Builder::new()
                .name(format!("shard-{}", shard.0))
                .spawn(move || run(work, &*logic, &ended))
                .map_err(|source| StartError::Thread { shard: shard.0, source })?;
            crew.threads.push(thread);
            crew.lines.push(Line { report, seats, serves });
        }
        Ok(crew)
    }

    /// How many connections fit, and the stock of descriptors that the shards share.
    fn capacity(&self) -> (Capacity, Descriptors) {
        let Settings { shards, options, limits, .. } = self.settings;
        let shards = u64::from(*shards);
        let limit = self.descriptors_max;
        // Of each shard: its eventfd, its epoll or ring, and its listeners.
        let reserved = RESERVED_DESCRIPTORS + shards * (2 + self.listeners.len() as u64);
        let free = limit.saturating_sub(reserved);
        let sockets = match self.driver {
            Kind::Epoll => (free, format!("RLIMIT_NOFILE {limit} less {reserved} reserved descriptors")),
            Kind::Uring => (
                limit.saturating_mul(shards),
                format!("RLIMIT_NOFILE {limit} for the file table of each of {shards} rings"),
            ),
        };
        let table = u64::from(options.sockets_max) * shards;
        let slots = (limits.connections_max as u64).saturating_mul(shards);
        let (connections, bound) = [
            sockets,
            (table, format!("{} sockets for each of {shards} drivers", options.sockets_max)),
            (slots, format!("{} connections for each of {shards} shards", limits.connections_max)),
        ]
        .into_iter()
        .min_by_key(|(connections, _)| *connections)
        .expect("there are three");
        (Capacity { connections, bound }, Descriptors::new(u32::try_from(free).unwrap_or(u32::MAX)))
    }
}

/// The threads of an attempt. Dropping it unserved ends them.
struct Crew<M> {
    threads: Vec<JoinHandle<Ending>>,
    lines: Vec<Line<M>>,
}

/// The starter's ends of what ties it to one shard.
struct Line<M> {
    report: Receiver<Result<String, StartError>>,
    seats: Sender<Seated<M>>,
    serves: Sender<()>,
}

struct Seated<M> {
    seat: Seat<M>,
    mesh: Mesh<M>,
    listeners: Vec<OwnedFd>,
}

impl<M> Crew<M> {
    /// What every shard says about its step; the first error ends the attempt.
    fn reports(&self) -> Result<Vec<String>, StartError> {
        self.lines
            .iter()
            .map(|line| line.report.recv().expect("a shard reports each step, and its panic too"))
            .collect()
    }

    fn serve(mut self) -> Vec<JoinHandle<Ending>> {
        for line in &self.lines {
            // It waits for this and nothing else.
            let _ = line.serves.send(());
        }
        std::mem::take(&mut self.threads)
    }
}

impl<M> Drop for Crew<M> {
    fn drop(&mut self) {
        self.lines.clear();
        for thread in self.threads.drain(..) {
            // Whatever it says, the attempt has failed already.
            let _ = thread.join();
        }
    }
}

/// What one shard is to do.
struct Work<M> {
    shard: ShardId,
    cpu: Option<usize>,
    driver: Kind,
    options: Options,
    limits: Limits,
    peers: Peers,
    stock: Descriptors,
    reports: Sender<Result<String, StartError>>,
    seat: Receiver<Seated<M>>,
    serve: Receiver<()>,
}

fn run<L, F>(work: Work<L::Message>, logic: &F, ended: &Sender<Ended>) -> Ending
where
    L: Logic,
    F: Fn(&Seat<L::Message>) -> L,
{
    let (shard, reports) = (work.shard, work.reports.clone());
    let how = catch_unwind(AssertUnwindSafe(|| match work.driver {
        Kind::Epoll => serve(&work, logic, || {
            let driver = Epoll::sharing(work.stock.clone(), &work.options, shard, &work.peers)?;
            Ok((driver, "edge-triggered".to_owned()))
        }),
        Kind::Uring => serve(&work, logic, || {
            let driver = Uring::new(&work.options, shard, &work.peers)?;
            let features = driver.features().to_string();
            Ok((driver, features))
        }),
    }));
    let how = match how {
        Ok(Ok(ending)) => ending,
        Ok(Err(error)) => {
            let ending = Ending::Failed(error.to_string());
            let _ = reports.send(Err(error));
            ending
        }
        Err(payload) => {
            let message = message_of(&*payload);
            let _ = reports.send(Err(StartError::Panicked { shard: shard.0, message: message.clone() }));
            Ending::Panicked(message)
        }
    };
    // Nobody may be listening: the attempt may have failed, or the owner may have no supervisor.
    let _ = ended.send(Ended { shard, how: how.clone() });
    how
}

/// The three steps of a shard. Between them it waits for the others; when the starter has given up it leaves.
fn serve<D, L, F>(
    work: &Work<L::Message>,
    logic: &F,
    driver: impl FnOnce() -> Result<(D, String), StartError>,
) -> Result<Ending, StartError>
where
    D: Driver<Listener = OwnedFd>,
    L: Logic,
    F: Fn(&Seat<L::Message>) -> L,
{
    if let Some(cpu) = work.cpu {
        pin(cpu).map_err(|source| StartError::Kernel { what: "pin a shard to its CPU", source })?;
    }
    let (driver, features) = driver()?;
    let _ = work.reports.send(Ok(features));
    let Ok(Seated { seat, mesh, listeners }) = work.seat.recv() else { return Ok(Ending::Stopped) };
    let mut shard = Shard::new(driver, logic(&seat), mesh, work.limits.clone());
    for listener in listeners {
        let listened = shard.listen(listener);
        listened.map_err(|source| StartError::Kernel { what: "take a listener over", source })?;
    }
    let _ = work.reports.send(Ok(String::new()));
    if work.serve.recv().is_err() {
        return Ok(Ending::Stopped);
    }
    Ok(match shard.run() {
        Ok(()) => Ending::Stopped,
        Err(error) => Ending::Failed(error.to_string()),
    })
}

/// Raises the soft limit of descriptors to the hard one; returns what holds then.
fn raise_descriptor_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(_) => current.unwrap_or(u64::MAX),
    }
}

fn message_of(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

/// Descriptors that connections never take: files, logs, brokers, the control socket, a handover.
const RESERVED_DESCRIPTORS: u64 = 64;
