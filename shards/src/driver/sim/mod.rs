//! The simulated driver: a kernel and a network without descriptors, threads or real time, in which everything
//! that can go wrong does as often as a seed says. Same seed, same run. Knows sockets and buffers, never what the
//! bytes mean.
//!
//! A [`World`] holds any number of [`Node`]s, each a process with shards of its own; [`Node::driver`] makes the
//! driver of one shard and [`Client`]s are the test's ends of connections. [`World::run_until`] decides who turns
//! next and when time moves; `Shard::run`, which waits in the kernel, is not for simulated shards. A driver that
//! is dropped is a process that was killed.
//!
//! It is also the strict judge of what the turn owes a driver: a second send in flight, a buffer given back
//! twice or a socket used after its close fail an assertion.

mod client;
mod ends;
mod fault;
mod kernel;
mod listen;
mod log;
mod pool;
mod random;
mod schedule;
mod tcp;
mod world;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use rustix::io::Errno;

use super::{Buffer, Completion, Driver, DriverCounters, Options, Receive, ReceiveEnd, Socket, Wait, Waker};
use crate::clock::Moment;
use crate::token::{ListenerId, ShardId, Token};
use crate::tx::Frame;
use ends::{EndId, Flags, Owner};
use kernel::{Kernel, Ready, ShardState, Sleep};
use pool::Pool;

pub use client::{Client, ClientId, ClientState};
pub use fault::{Fault, FaultCounts, Faults};
pub use log::{Event, What};
pub use random::{Random, Rate};
pub use schedule::{Budget, Stuck, Why};
pub use world::{Network, Node, World};

/// The driver of one simulated shard.
pub struct Sim {
    world: World,
    /// This shard among all of the world, and within its node.
    index: u32,
    shard: ShardId,
    node: Rc<[Waker]>,
    pool: Pool,
    taken: Vec<Ready>,
    completions_max: usize,
    counters: DriverCounters,
}

impl Sim {
    fn new(world: World, shard: ShardId, node: Rc<[Waker]>, options: &Options) -> Self {
        let state = ShardState {
            ready: Vec::new(),
            listeners: Vec::new(),
            sockets: 0,
            sockets_max: options.sockets_max,
            waker: node[shard.index()].clone(),
            sleep: Sleep::Awake,
            alive: true,
        };
        let mut kernel = world.kernel();
        let index = kernel.shards.len() as u32;
        kernel.shards.push(state);
        drop(kernel);
        Self {
            world,
            index,
            shard,
            node,
            pool: Pool::new(options),
            taken: Vec::new(),
            completions_max: options.ring_entries as usize * COMPLETIONS_PER_ENTRY,
            counters: DriverCounters::default(),
        }
    }

    /// Receive buffers that were not given back: none between two turns.
    pub fn buffers_lent(&self) -> usize {
        self.pool.lent()
    }

    /// Sockets that are open.
    pub fn sockets(&self) -> usize {
        self.world.kernel().shards[self.index as usize].sockets as usize
    }

    fn take(&mut self, kernel: &mut Kernel, ready: Ready, completions: &mut Vec<Completion>) {
        match ready {
            Ready::Receive(end) => self.receive(kernel, end, completions),
            Ready::Accept(listener) => kernel.accept(self.index, listener, completions),
            Ready::Done(completion) => {
                let (what, value) = match &completion {
                    Completion::Connected { result, .. } => (What::Connected, u64::from(result.is_ok())),
                    Completion::AcceptEnded { .. } => (What::AcceptEnded, 0),
                    Completion::ReceiveEnded { .. } => (What::ReceiveEnded, 0),
                    Completion::Accepted { .. }
                    | Completion::Received { .. }
                    | Completion::Sent { .. }
                    | Completion::Closed { .. } => (What::Closed, 0),
                };
                kernel.note(what, self.index.into(), value);
                completions.push(completion);
            }
            Ready::Sent { end, token, frame, result } => {
                if let Some(end) = kernel.ends.get_mut(end) {
                    end.flags.clear(Flags::SENDING);
                }
                match result {
                    Ok(bytes) => kernel.note(What::Sent, token.index.into(), bytes as u64),
                    Err(error) => {
                        kernel.note(What::SendFailed, token.index.into(), error.raw_os_error() as u64)
                    }
                }
                completions.push(Completion::Sent { token, frame, result });
            }
            Ready::Last { token, bytes } => {
                completions.push(match self.pool.fill(&bytes[..bytes.len().min(self.pool.buffer_bytes())]) {
                    Some(buffer) => Completion::Received { token, buffer, armed: false },
                    None => Completion::ReceiveEnded { token, end: ReceiveEnd::NoBuffers },
                });
            }
        }
    }

    /// What an armed receive finds: bytes as long as there are buffers, then perhaps the end of them.
    fn receive(&mut self, kernel: &mut Kernel, id: EndId, completions: &mut Vec<Completion>) {
        let Some(end) = kernel.ends.get_mut(id) else { return };
        end.flags.clear(Flags::QUEUED);
        let token = end.token;
        if !end.flags.has(Flags::ARMED) {
            return;
        }
        for _ in 0..RECEIVES_PER_TURN {
            let Some(end) = kernel.ends.get(id) else { return };
            let (arrived, flags) = (end.inbox.arrived(), end.flags);
            if arrived == 0 {
                return self.receive_end(kernel, id, completions);
            }
            if kernel.draw(Fault::ReceiveEnds) && kernel.toss() {
                return self.end_receive(kernel, id, ReceiveEnd::Cancelled, completions);
            }
            if self.pool.is_dry() || kernel.draw(Fault::NoBuffers) {
                if self.pool.is_dry() {
                    kernel.counts.count(Fault::NoBuffers);
                }
                self.counters.no_buffers += 1;
                return self.end_receive(kernel, id, ReceiveEnd::NoBuffers, completions);
            }
            let mut count = arrived.min(self.pool.buffer_bytes());
            let partial = count > 1 && kernel.draw(Fault::PartialRead);
            if partial {
                count = kernel.random.within(1, count as u64 - 1) as usize;
            }
            let armed = !flags.has(Flags::ONCE.or(Flags::CANCELLING)) && !kernel.draw(Fault::ReceiveEnds);
            let bytes = &kernel.ends.get(id).expect("it is there").inbox.readable()[..count];
            let buffer = self.pool.fill(bytes).expect("the pool was not dry");
            kernel.log.note_bytes(self.pool.bytes(&buffer));
            kernel.note(What::Received, token.index.into(), count as u64);
            kernel.read(id, count);
            completions.push(Completion::Received { token, buffer, armed });
            if !armed {
                return self.disarm(kernel, id);
            }
            if partial {
                break;
            }
        }
        kernel.tell(id);
    }

    /// No bytes are there: the end of the connection, or of the receive, if one is.
    fn receive_end(&mut self, kernel: &mut Kernel, id: EndId, completions: &mut Vec<Completion>) {
        let flags = kernel.ends.get(id).expect("the caller looked").flags;
        let end = if flags.has(Flags::RESET) {
            ReceiveEnd::Failed(Errno::CONNRESET)
        } else if flags.has(Flags::EOF) {
            ReceiveEnd::Eof
        } else if flags.has(Flags::CANCELLING) {
            ReceiveEnd::Cancelled
        } else {
            return;
        };
        self.end_receive(kernel, id, end, completions);
    }

    fn end_receive(
        &mut self,
        kernel: &mut Kernel,
        id: EndId,
        end: ReceiveEnd,
        completions: &mut Vec<Completion>,
    ) {
        self.disarm(kernel, id);
        let token = kernel.ends.get(id).expect("the caller looked").token;
        kernel.note(What::ReceiveEnded, token.index.into(), u64::from(end == ReceiveEnd::Eof));
        completions.push(Completion::ReceiveEnded { token, end });
    }

    fn disarm(&mut self, kernel: &mut Kernel, id: EndId) {
        if let Some(end) = kernel.ends.get_mut(id) {
            end.flags.clear(Flags::ARMED.or(Flags::ONCE).or(Flags::CANCELLING));
            self.counters.rearmed += 1;
        }
    }
}

impl Driver for Sim {
    type Listener = SocketAddr;

    fn now(&mut self) -> Moment {
        self.world.now()
    }

    fn listen(&mut self, address: SocketAddr) -> std::io::Result<ListenerId> {
        Ok(self.world.kernel().listen(self.index, self.shard, address))
    }

    fn arm_accept(&mut self, listener: ListenerId) {
        self.world.kernel().arm_accept(self.index, listener);
    }

    fn cancel_accept(&mut self, listener: ListenerId) {
        self.world.kernel().cancel_accept(self.index, listener);
    }

    fn adopt(&mut self, token: Token, socket: Socket, _listener: ListenerId) {
        let mut kernel = self.world.kernel();
        let id = owned(&kernel, self.index, socket);
        let end = kernel.ends.get_mut(id).expect("it is owned");
        assert!(!end.flags.has(Flags::ADOPTED), "a socket is adopted once");
        end.flags.set(Flags::ADOPTED);
        end.token = token;
    }

    fn connect(&mut self, token: Token, address: SocketAddr, from: Option<IpAddr>) -> Result<Socket, Errno> {
        let mut kernel = self.world.kernel();
        let state = &mut kernel.shards[self.index as usize];
        if state.sockets >= state.sockets_max {
            return Err(Errno::NFILE);
        }
        state.sockets += 1;
        let to = if kernel.draw(Fault::ConnectFails) {
            Owner::Refused(if kernel.toss() { Errno::TIMEDOUT } else { Errno::CONNREFUSED })
        } else {
            kernel.route(address, None)
        };
        let (near, far) = kernel.dial(Owner::Shard(self.index), to);
        kernel.comes_from(far, from);
        let end = kernel.ends.get_mut(near).expect("it was just made");
        end.flags.set(Flags::ADOPTED.or(Flags::CONNECTING));
        end.token = token;
        Ok(Socket(near.index))
    }

    fn arm_receive(&mut self, token: Token, socket: Socket, how: Receive) {
        let mut kernel = self.world.kernel();
        let id = adopted(&kernel, self.index, token, socket);
        let flags = &mut kernel.ends.get_mut(id).expect("it is adopted").flags;
        assert!(!flags.has(Flags::ARMED), "one receive at a time");
        assert!(!flags.has(Flags::CONNECTING), "nothing is received before the connection is made");
        flags.set(Flags::ARMED);
        match how {
            Receive::Stream => {}
            Receive::Rest => flags.set(Flags::ONCE),
        }
        kernel.tell(id);
    }

    fn cancel_receive(&mut self, token: Token, socket: Socket) {
        let mut kernel = self.world.kernel();
        let id = adopted(&kernel, self.index, token, socket);
        let flags = &mut kernel.ends.get_mut(id).expect("it is adopted").flags;
        // The receive may have ended already; its completion is on the way.
        if flags.has(Flags::ARMED) {
            flags.set(Flags::CANCELLING);
            kernel.tell(id);
        }
    }

    fn send(&mut self, token: Token, socket: Socket, frame: Frame, from: usize) {
        assert!(from < frame.len(), "a send has at least one byte");
        let mut kernel = self.world.kernel();
        let id = adopted(&kernel, self.index, token, socket);
        kernel.send(id, frame, from);
    }

    fn shutdown(&mut self, token: Token, socket: Socket) {
        let mut kernel = self.world.kernel();
        let id = adopted(&kernel, self.index, token, socket);
        kernel.shut(id);
    }

    fn close(&mut self, token: Token, socket: Socket) {
        let mut kernel = self.world.kernel();
        let id = adopted(&kernel, self.index, token, socket);
        kernel.shards[self.index as usize].sockets -= 1;
        kernel.close_socket(self.index, id);
    }

    fn discard(&mut self, socket: Socket) {
        let mut kernel = self.world.kernel();
        let id = owned(&kernel, self.index, socket);
        let was_adopted = kernel.ends.get(id).is_some_and(|end| end.flags.has(Flags::ADOPTED));
        assert!(!was_adopted, "an adopted socket is closed, not discarded");
        kernel.shards[self.index as usize].sockets -= 1;
        kernel.close_end(id);
    }

    fn bytes(&mut self, buffer: &Buffer) -> &mut [u8] {
        self.pool.bytes(buffer)
    }

    fn give_back(&mut self, buffer: Buffer) {
        self.pool.give_back(buffer);
    }

    /// Never blocks, whatever `wait` says: when a shard turns is up to [`World::run_until`].
    fn turn(&mut self, _wait: Wait, completions: &mut Vec<Completion>) -> std::io::Result<()> {
        let world = self.world.clone();
        let mut kernel = world.kernel();
        self.counters.enters += 1;
        self.node[self.shard.index()].reset();
        let mut taken = std::mem::take(&mut self.taken);
        if kernel.take_ready(self.index, self.completions_max, &mut taken) {
            self.counters.overflows += 1;
        }
        for ready in taken.drain(..) {
            self.take(&mut kernel, ready, completions);
        }
        self.taken = taken;
        Ok(())
    }

    fn ring(&mut self, peer: ShardId) {
        self.node[peer.index()].wake();
    }

    fn counters(&self) -> DriverCounters {
        self.counters
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        // A failed assertion unwinds with the kernel still borrowed.
        if let Some(mut kernel) = self.world.try_kernel() {
            kernel.kill(self.index);
        }
    }
}

fn owned(kernel: &Kernel, shard: u32, socket: Socket) -> EndId {
    let id = kernel.ends.at(socket.0).expect("the socket is open");
    let owner = kernel.ends.get(id).map(|end| end.owner);
    assert_eq!(owner, Some(Owner::Shard(shard)), "the socket belongs to this shard");
    id
}

fn adopted(kernel: &Kernel, shard: u32, token: Token, socket: Socket) -> EndId {
    let id = owned(kernel, shard, socket);
    let end = kernel.ends.get(id).expect("it is owned");
    assert!(end.flags.has(Flags::ADOPTED) && end.token == token, "the socket belongs to this slot");
    id
}

/// As the ring of the kernel: the completion queue is four times as long as the submission queue.
const COMPLETIONS_PER_ENTRY: usize = 4;

/// Buffers one connection fills in a turn; then the others have theirs, as in the kernel.
const RECEIVES_PER_TURN: usize = 32;
