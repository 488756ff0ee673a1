//! The state behind a simulated world: time, chance, what is due when, and what each shard will find in its next
//! turn. What a connection does is decided in `tcp`, what a listener does in `listen`.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustix::io::Errno;

use super::ends::{EndId, Ends};
use super::fault::{Fault, FaultCounts, Faults};
use super::listen::Listening;
use super::log::{Log, What};
use super::random::{Random, Rate};
use super::{ClientId, Network};
use crate::clock::Moment;
use crate::driver::{Completion, Waker};
use crate::token::Token;
use crate::tx::Frame;

pub(super) struct Kernel {
    pub seed: u64,
    pub now: Moment,
    pub random: Random,
    pub faults: Faults,
    pub counts: FaultCounts,
    pub network: Network,
    pub ends: Ends,
    pub shards: Vec<ShardState>,
    pub listeners: Vec<Listening>,
    /// Clients that something happened to since they were last taken.
    pub news: VecDeque<ClientId>,
    pub clients: u32,
    /// Where connections come from that do not come from this host, by the index of the end that is accepted.
    sources: HashMap<u32, IpAddr>,
    pub log: Log,
    events: BinaryHeap<Due>,
    scheduled: u64,
    parked: Vec<Option<(u32, Ready)>>,
    free_parked: Vec<u32>,
}

/// A shard as the kernel sees it.
pub(super) struct ShardState {
    /// What its next turn finds.
    pub ready: Vec<Ready>,
    /// Its listeners, by their local number.
    pub listeners: Vec<u32>,
    pub sockets: u32,
    pub sockets_max: u32,
    pub waker: Waker,
    pub sleep: Sleep,
    pub alive: bool,
}

/// Whether a shard turns by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sleep {
    Awake,
    Until(Moment),
    Forever,
}

/// Something for the next turn of a shard.
pub(super) enum Ready {
    /// Look at this end: bytes or the end of them.
    Receive(EndId),
    Sent {
        end: EndId,
        token: Token,
        frame: Frame,
        result: Result<usize, Errno>,
    },
    /// Bytes that were received while the socket was being closed.
    Last {
        token: Token,
        bytes: Vec<u8>,
    },
    /// Look at the backlog of this listener.
    Accept(u32),
    Done(Completion),
}

/// Something that will happen.
#[derive(Clone, Copy)]
pub(super) enum Act {
    /// What is on the way to an end arrives.
    Deliver(EndId),
    /// A reset arrives.
    Reset(EndId),
    /// A connection request arrives; the end is the one it brings.
    Request(EndId),
    /// A reader that took nothing reads on.
    Resume(EndId),
    /// A window that was said to be closed is open.
    Reopen(EndId),
    /// A completion that was held back is there.
    Complete(u32),
}

struct Due {
    at: Moment,
    number: u64,
    act: Act,
}

impl Kernel {
    pub fn new(seed: u64, faults: Faults, network: Network) -> Self {
        Self {
            seed,
            now: Moment::from_nanos(START),
            random: Random::new(seed),
            faults,
            counts: FaultCounts::default(),
            network,
            ends: Ends::default(),
            shards: Vec::new(),
            listeners: Vec::new(),
            news: VecDeque::new(),
            clients: 0,
            sources: HashMap::new(),
            log: Log::default(),
            events: BinaryHeap::new(),
            scheduled: 0,
            parked: Vec::new(),
            free_parked: Vec::new(),
        }
    }

    /// Whether this fault happens now; if so it is counted. Asked only where it can happen.
    pub fn draw(&mut self, fault: Fault) -> bool {
        let hits = self.random.hits(self.faults[fault]);
        if hits {
            self.counts.count(fault);
        }
        hits
    }

    /// A span of at least one nanosecond and at most `longest`.
    pub fn span(&mut self, longest: Duration) -> Duration {
        Duration::from_nanos(self.random.within(1, (longest.as_nanos() as u64).max(1)))
    }

    /// How long the next packet travels.
    pub fn latency(&mut self) -> Duration {
        let (least, most) = self.network.latency;
        if most == Duration::ZERO {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.random.within(least.as_nanos() as u64, most.as_nanos() as u64))
    }

    pub fn schedule(&mut self, after: Duration, act: Act) {
        let number = self.scheduled;
        self.scheduled += 1;
        self.events.push(Due { at: self.now + after, number, act });
    }

    /// Lets everything happen that is due until `to`, each at its time.
    pub fn advance(&mut self, to: Moment) {
        while let Some(due) = self.events.peek()
            && due.at <= to
        {
            self.now = self.now.max(due.at);
            let Due { act, .. } = self.events.pop().expect("peek saw it");
            self.act(act);
        }
        self.now = self.now.max(to);
    }

    /// When something happens next.
    pub fn next_event(&self) -> Option<Moment> {
        self.events.peek().map(|due| due.at)
    }

    /// Something for the next turn of a shard, now or a little later.
    pub fn complete(&mut self, shard: u32, ready: Ready) {
        if self.draw(Fault::Delay) {
            let delay = self.span(self.faults.delay_max);
            return self.complete_after(delay, shard, ready);
        }
        self.hand_over(shard, ready);
    }

    /// The same for what was in flight when its socket was closed.
    pub fn complete_closed(&mut self, shard: u32, ready: Ready) -> Duration {
        if self.draw(Fault::LateClose) {
            let delay = self.span(self.faults.delay_max * LATE);
            self.complete_after(delay, shard, ready);
            return delay;
        }
        self.complete(shard, ready);
        self.faults.delay_max
    }

    pub fn complete_after(&mut self, delay: Duration, shard: u32, ready: Ready) {
        let place = self.free_parked.pop().unwrap_or_else(|| {
            self.parked.push(None);
            (self.parked.len() - 1) as u32
        });
        self.parked[place as usize] = Some((shard, ready));
        self.schedule(delay, Act::Complete(place));
    }

    /// What the next turn of this shard finds, in the order it finds it; `taken` is empty. More than `room` waits
    /// for the turn after: true if so.
    pub fn take_ready(&mut self, shard: u32, mut room: usize, taken: &mut Vec<Ready>) -> bool {
        let Self { shards, random, faults, counts, .. } = self;
        let ready = &mut shards[shard as usize].ready;
        if ready.len() > 1 {
            if random.hits(faults[Fault::Reorder]) {
                counts.count(Fault::Reorder);
                random.shuffle(ready);
            }
            if random.hits(faults[Fault::Overflow]) {
                room = room.min(random.within(1, ready.len() as u64 - 1) as usize);
            }
        }
        if ready.len() <= room {
            std::mem::swap(ready, taken);
            return false;
        }
        counts.count(Fault::Overflow);
        taken.extend(ready.drain(..room));
        true
    }

    pub fn note(&mut self, what: What, whom: u64, value: u64) {
        self.log.note(self.now, what, whom, value);
    }

    /// A connection whose far end this is comes from there; `None` is from this host.
    pub fn comes_from(&mut self, far: EndId, from: Option<IpAddr>) {
        match from {
            Some(from) => self.sources.insert(far.index, from),
            // Somebody else may have had the index.
            None => self.sources.remove(&far.index),
        };
    }

    /// Where the connection comes from that is being accepted as this end.
    pub fn source(&self, far: EndId) -> SocketAddr {
        let ip = self.sources.get(&far.index).copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        SocketAddr::new(ip, FIRST_PORT + (far.index % u32::from(u16::MAX - FIRST_PORT)) as u16)
    }

    /// Picks one of `count` by chance.
    pub fn pick(&mut self, count: usize) -> usize {
        if count == 1 { 0 } else { self.random.below(count as u64) as usize }
    }

    /// True half of the time.
    pub fn toss(&mut self) -> bool {
        self.random.hits(Rate::per_mille(500))
    }

    fn hand_over(&mut self, shard: u32, ready: Ready) {
        let state = &mut self.shards[shard as usize];
        if state.alive {
            state.ready.push(ready);
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Deliver(end) => self.deliver(end),
            Act::Reset(end) => self.reset_arrives(end),
            Act::Request(end) => self.request_arrives(end),
            Act::Resume(end) => self.resume(end),
            Act::Reopen(end) => self.reopen(end),
            Act::Complete(place) => {
                let parked = self.parked[place as usize].take();
                self.free_parked.push(place);
                let (shard, ready) = parked.expect("a parked completion comes once");
                self.hand_over(shard, ready);
            }
        }
    }
}

impl ShardState {
    /// Whether a turn would find something, or is wanted.
    pub fn is_due(&self, now: Moment) -> bool {
        let awake = match self.sleep {
            Sleep::Awake => true,
            Sleep::Until(at) => at <= now,
            Sleep::Forever => false,
        };
        self.alive && (awake || !self.ready.is_empty() || self.waker.is_raised())
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    /// The soonest is the greatest: the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// Ports that nobody listens on begin here, as on Linux.
const FIRST_PORT: u16 = 32_768;

/// A world does not begin at zero, where "a minute ago" would not exist.
const START: u64 = 3_600_000_000_000;

/// A late close is at most this many times as late as a delayed completion.
const LATE: u32 = 100;
