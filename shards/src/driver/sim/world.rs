//! A simulated world and its nodes, as tests see them. All handles of a world live on one thread. Decides
//! nothing itself.

use std::cell::{RefCell, RefMut};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::client::{Client, ClientId};
use super::ends::Owner;
use super::fault::{FaultCounts, Faults};
use super::kernel::Kernel;
use super::log::Event;
use super::{Flags, Options, Sim};
use crate::clock::Moment;
use crate::driver::Waker;
use crate::token::{ShardId, Token};

/// One simulated world: time, the network and everybody in it. Cloning makes another handle to the same world.
#[derive(Clone)]
pub struct World {
    kernel: Rc<RefCell<Kernel>>,
}

/// The network of a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// How long a packet travels: at least and at most. Each is drawn; the bytes of one direction keep their order.
    pub latency: (Duration, Duration),
    /// Bytes that are sent to a socket and not read before its peer must wait. Clients may change theirs.
    pub window: u32,
    /// Connections that wait to be accepted by one listener; requests beyond it are sent again a second later.
    pub backlog_max: usize,
}

impl Default for Network {
    fn default() -> Self {
        Self { latency: (Duration::ZERO, Duration::ZERO), window: 64 * 1024, backlog_max: 4096 }
    }
}

impl World {
    /// A world that this seed decides.
    pub fn new(seed: u64, faults: Faults, network: Network) -> Self {
        Self { kernel: Rc::new(RefCell::new(Kernel::new(seed, faults, network))) }
    }

    /// A process with so many shards.
    pub fn node(&self, shards: usize) -> Node {
        Node { world: self.clone(), wakers: (0..shards).map(|_| Waker::flag()).collect() }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.kernel().seed
    }

    /// The virtual time.
    pub fn now(&self) -> Moment {
        self.kernel().now
    }

    /// Moves time and lets the network work meanwhile; no shard turns.
    pub fn advance(&self, span: Duration) {
        let mut kernel = self.kernel();
        let to = kernel.now + span;
        kernel.advance(to);
    }

    /// Connects a client to one of the listeners of this address, chosen by chance. The connection takes as long
    /// as the network does; [`Client::state`] tells whether it was refused.
    pub fn connect(&self, address: SocketAddr) -> Client {
        self.dial(address, None, None)
    }

    /// As [`World::connect`], from another host: the server sees its address.
    pub fn connect_from(&self, from: IpAddr, address: SocketAddr) -> Client {
        self.dial(address, None, Some(from))
    }

    /// Connects a client to the listener that this shard has on the address.
    pub fn connect_to(&self, address: SocketAddr, shard: ShardId) -> Client {
        self.dial(address, Some(shard), None)
    }

    /// The next client with news: bytes, the end of them, a reset, a half-close. Each is named once until then.
    pub fn next_news(&self) -> Option<ClientId> {
        let mut kernel = self.kernel();
        while let Some(client) = kernel.news.pop_front() {
            if let Some(end) = kernel.ends.get_mut(client.end) {
                end.flags.clear(Flags::QUEUED);
                return Some(client);
            }
        }
        None
    }

    /// Other faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.kernel().faults = faults;
    }

    /// No more faults. What is delayed or stalled comes when it is due.
    pub fn heal(&self) {
        self.set_faults(Faults::none());
    }

    /// How often each fault has happened.
    pub fn fault_counts(&self) -> FaultCounts {
        self.kernel().counts
    }

    /// A hash over everything that has happened: the same for the same seed.
    pub fn log_hash(&self) -> u64 {
        self.kernel().log.hash()
    }

    /// How many events the log has seen.
    pub fn log_events(&self) -> u64 {
        self.kernel().log.events()
    }

    /// Keeps the last `events` of the log, for whoever replays a seed; none at first.
    pub fn keep_log(&self, events: usize) {
        self.kernel().log.keep(events);
    }

    /// The events kept.
    pub fn last_events(&self) -> Vec<Event> {
        self.kernel().log.last()
    }

    pub(super) fn kernel(&self) -> RefMut<'_, Kernel> {
        self.kernel.borrow_mut()
    }

    pub(super) fn try_kernel(&self) -> Option<RefMut<'_, Kernel>> {
        self.kernel.try_borrow_mut().ok()
    }

    fn dial(&self, address: SocketAddr, shard: Option<ShardId>, from: Option<IpAddr>) -> Client {
        let mut kernel = self.kernel();
        let to = kernel.route(address, shard);
        let (near, far) = kernel.dial(Owner::Client, to);
        kernel.comes_from(far, from);
        let number = kernel.clients;
        kernel.clients += 1;
        kernel.ends.get_mut(near).expect("it was just made").token = Token { index: number, generation: 0 };
        Client::new(self.clone(), ClientId { number, end: near })
    }
}

/// A simulated process: shards that wake each other and share addresses.
#[derive(Clone)]
pub struct Node {
    world: World,
    wakers: Rc<[Waker]>,
}

impl Node {
    /// The wakers of its shards: what [`crate::mesh::mesh`] is built with.
    pub fn wakers(&self) -> &[Waker] {
        &self.wakers
    }

    /// The driver of one of its shards. Dropping it kills the shard: its sockets are closed by the kernel.
    pub fn driver(&self, shard: ShardId, options: &Options) -> Sim {
        Sim::new(self.world.clone(), shard, Rc::clone(&self.wakers), options)
    }
}
