//! The epoll driver: for kernels and containers that forbid io_uring. Every socket is watched once, edge-triggered,
//! for both directions; what is ready is remembered here, so that a receive or a send costs one system call and
//! none to arm it. Sends are tried when they are given. Never holds a buffer for a socket that is silent.

mod pool;
mod sockets;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags};

use self::pool::Pool;
pub use self::sockets::Descriptors;
use self::sockets::{Flags, NOBODY, Sockets};
use crate::clock::Moment;
use crate::driver::{Buffer, Completion, Driver, DriverCounters, Options, Peers, Receive, ReceiveEnd};
use crate::driver::{Socket, Wait};
use crate::error::StartError;
use crate::socket;
use crate::token::{ListenerId, ShardId, Token};
use crate::tx::Frame;

/// One shard's kernel by way of epoll.
pub struct Epoll {
    epoll: OwnedFd,
    peers: Peers,
    sockets: Sockets,
    listeners: Vec<Listening>,
    pool: Pool,
    /// Sockets with a receive armed and bytes in the kernel, the one that waited longest first.
    ready: VecDeque<(Token, Socket)>,
    /// What ended when it was asked for; the next turn delivers it.
    ended: Vec<Completion>,
    events: Vec<epoll::Event>,
    /// The last turn asked the kernel.
    entered: bool,
    counters: DriverCounters,
}

struct Listening {
    descriptor: OwnedFd,
    armed: bool,
    /// Connections may wait.
    ready: bool,
}

/// Buffers one socket may fill in one turn before the next one gets its turn.
const RECEIVES_PER_TURN: usize = 4;

/// Connections one listener may accept in one turn, so that a rush of them does not starve the others.
const ACCEPTS_PER_TURN: usize = 64;

/// Events of one wait; those beyond it come with the next.
const EVENTS_PER_TURN: usize = 512;

impl Epoll {
    /// A driver of its own, with as many descriptors as the process has.
    pub fn new(options: &Options, shard: ShardId, peers: &Peers) -> Result<Self, StartError> {
        Self::sharing(Descriptors::new(u32::MAX), options, shard, peers)
    }

    /// A driver that shares a stock of descriptors with those of the other shards.
    pub fn sharing(
        descriptors: Descriptors,
        options: &Options,
        shard: ShardId,
        peers: &Peers,
    ) -> Result<Self, StartError> {
        let refused = |source: Errno| StartError::Kernel { what: "set up epoll", source: source.into() };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(refused)?;
        if let Some(bell) = peers.waker(shard).descriptor() {
            // Edge-triggered: every ring is an event of its own, so the counter need not be read.
            epoll::add(&epoll, bell, Source::Bell.data(), epoll::EventFlags::IN | epoll::EventFlags::ET)
                .map_err(refused)?;
        }
        Ok(Self {
            epoll,
            peers: peers.clone(),
            sockets: Sockets::new(options.sockets_max, descriptors),
            listeners: Vec::new(),
            pool: Pool::new(options),
            ready: VecDeque::new(),
            ended: Vec::new(),
            events: Vec::with_capacity(EVENTS_PER_TURN),
            entered: false,
            counters: DriverCounters::default(),
        })
    }

    fn wait(&mut self, wait: Wait) -> std::io::Result<()> {
        let has_work = !self.ended.is_empty()
            || !self.ready.is_empty()
            || self.listeners.iter().any(|listener| listener.armed && listener.ready);
        let timeout = match wait {
            Wait::Forever if !has_work => None,
            Wait::AtMost(span) if !has_work => Some(timespec(span)),
            Wait::Forever | Wait::AtMost(_) | Wait::Poll => Some(timespec(Duration::ZERO)),
        };
        self.counters.enters += 1;
        self.events.clear();
        let buffer = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, buffer, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn on_event(&mut self, event: epoll::Event) {
        let (data, flags) = (event.data, event.flags);
        match Source::of(data) {
            Source::Bell => {}
            Source::Listener(listener) => {
                self.listeners[usize::from(listener.0)].ready = true;
            }
            Source::Socket { socket, generation } => {
                let Some(state) = self.sockets.get_mut(socket) else { return };
                if state.token.generation != generation {
                    return;
                }
                let hung = flags.intersects(HUNG);
                if hung {
                    state.flags.set(Flags::HUNG);
                }
                if hung || flags.contains(epoll::EventFlags::IN) {
                    state.flags.set(Flags::READABLE);
                }
                if hung || flags.contains(epoll::EventFlags::OUT) {
                    state.flags.set(Flags::WRITABLE);
                }
                self.on_ready(socket);
            }
        }
    }

    fn on_ready(&mut self, socket: Socket) {
        let Some(state) = self.sockets.get_mut(socket) else { return };
        if state.flags.has_all(Flags::CONNECTING.or(Flags::WRITABLE)) {
            state.flags.clear(Flags::CONNECTING);
            let result = rustix::net::sockopt::socket_error(&state.descriptor).and_then(|result| result);
            self.ended.push(Completion::Connected { token: state.token, result });
        }
        self.try_send(socket);
        self.queue(socket);
    }

    /// Lines a socket up to be received from, if it has bytes and wants them.
    fn queue(&mut self, socket: Socket) {
        let Some(state) = self.sockets.get_mut(socket) else { return };
        if state.flags.has_all(Flags::RECEIVING.or(Flags::READABLE)) && !state.flags.has(Flags::QUEUED) {
            state.flags.set(Flags::QUEUED);
            self.ready.push_back((state.token, socket));
        }
    }

    fn receive_ready(&mut self, completions: &mut Vec<Completion>) {
        for _ in 0..self.ready.len() {
            if self.pool.is_dry() {
                self.counters.no_buffers += self.ready.len() as u64;
                return;
            }
            let Some((token, socket)) = self.ready.pop_front() else { return };
            let Some(state) = self.sockets.of(token, socket) else { continue };
            state.flags.clear(Flags::QUEUED);
            self.receive(token, socket, completions);
            self.queue(socket);
        }
    }

    fn receive(&mut self, token: Token, socket: Socket, completions: &mut Vec<Completion>) {
        let Self { sockets, pool, counters, .. } = self;
        let Some(state) = sockets.of(token, socket) else { return };
        for _ in 0..RECEIVES_PER_TURN {
            if !state.flags.has_all(Flags::RECEIVING.or(Flags::READABLE)) || pool.is_dry() {
                return;
            }
            counters.enters += 1;
            let descriptor = state.descriptor.as_fd();
            let end =
                match pool.fill(|bytes| Ok(rustix::net::recv(descriptor, bytes, RecvFlags::DONTWAIT)?.1)) {
                    Ok(Some(buffer)) => {
                        // A receive that leaves room has emptied the socket, unless its end comes behind.
                        if (buffer.len as usize) < pool.buffer_bytes() && !state.flags.has(Flags::HUNG) {
                            state.flags.clear(Flags::READABLE);
                        }
                        completions.push(Completion::Received { token, buffer, armed: true });
                        continue;
                    }
                    Err(Errno::INTR) => continue,
                    Err(Errno::AGAIN) => {
                        state.flags.clear(Flags::READABLE);
                        return;
                    }
                    Ok(None) => ReceiveEnd::Eof,
                    Err(error) => ReceiveEnd::Failed(error),
                };
            state.flags.clear(Flags::RECEIVING);
            completions.push(Completion::ReceiveEnded { token, end });
        }
    }

    /// Sends what waits, as far as the socket takes it at once.
    fn try_send(&mut self, socket: Socket) {
        let Some(state) = self.sockets.get_mut(socket) else { return };
        if !state.flags.has(Flags::WRITABLE) || state.flags.has(Flags::CONNECTING) {
            return;
        }
        let Some(frame) = state.sending.take() else { return };
        let bytes = &frame[state.from as usize..];
        let result = loop {
            self.counters.enters += 1;
            match rustix::net::send(&state.descriptor, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Err(Errno::INTR) => {}
                result => break result,
            }
        };
        if result == Err(Errno::AGAIN) {
            state.flags.clear(Flags::WRITABLE);
            state.sending = Some(frame);
            return;
        }
        if result.is_ok_and(|taken| taken < bytes.len()) {
            state.flags.clear(Flags::WRITABLE);
        }
        self.ended.push(Completion::Sent { token: state.token, frame, result });
    }

    fn accept_ready(&mut self, completions: &mut Vec<Completion>) {
        for index in 0..self.listeners.len() {
            let listener = ListenerId(index as u8);
            for _ in 0..ACCEPTS_PER_TURN {
                if !self.listeners[index].armed || !self.listeners[index].ready {
                    break;
                }
                match self.accept(index) {
                    Ok((socket, peer)) => {
                        completions.push(Completion::Accepted { listener, socket, peer });
                    }
                    Err(Errno::AGAIN) => self.listeners[index].ready = false,
                    Err(error) if is_of_the_connection(error) => {}
                    Err(error) => {
                        self.disarm(index);
                        completions.push(Completion::AcceptEnded { listener, error });
                    }
                }
            }
        }
    }

    fn accept(&mut self, index: usize) -> Result<(Socket, Option<SocketAddr>), Errno> {
        self.sockets.reserve()?;
        self.counters.enters += 1;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        match rustix::net::acceptfrom_with(&self.listeners[index].descriptor, flags) {
            Ok((descriptor, from)) => {
                let socket = self.sockets.insert(descriptor, NOBODY, Flags::WRITABLE);
                Ok((socket, from.and_then(socket::peer)))
            }
            Err(error) => {
                self.sockets.unreserve();
                Err(error)
            }
        }
    }

    fn disarm(&mut self, index: usize) {
        let listener = &mut self.listeners[index];
        if std::mem::take(&mut listener.armed) {
            // Whoever shares the listening socket hears of its connections from now on.
            epoll::delete(&self.epoll, &listener.descriptor).expect("an armed listener is watched");
        }
        listener.ready = false;
    }

    fn watch(&mut self, token: Token, socket: Socket) -> Result<(), Errno> {
        let state = self.sockets.get_mut(socket).expect("a socket is open until it is closed");
        self.counters.enters += 1;
        let source = Source::Socket { socket, generation: token.generation };
        epoll::add(&self.epoll, &state.descriptor, source.data(), WATCHED)
    }
}

impl Driver for Epoll {
    type Listener = OwnedFd;

    fn now(&mut self) -> Moment {
        Moment::now()
    }

    fn listen(&mut self, listener: OwnedFd) -> std::io::Result<ListenerId> {
        rustix::io::ioctl_fionbio(&listener, true)?;
        let id = u8::try_from(self.listeners.len()).map_err(|_| Errno::MFILE)?;
        self.listeners.push(Listening { descriptor: listener, armed: false, ready: false });
        Ok(ListenerId(id))
    }

    fn arm_accept(&mut self, listener: ListenerId) {
        let state = &mut self.listeners[usize::from(listener.0)];
        if state.armed {
            return;
        }
        // Exclusive: of the shards that share a listening socket, one wakes for one connection.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET | epoll::EventFlags::EXCLUSIVE;
        match epoll::add(&self.epoll, &state.descriptor, Source::Listener(listener).data(), flags) {
            Ok(()) => state.armed = true,
            Err(error) => self.ended.push(Completion::AcceptEnded { listener, error }),
        }
    }

    fn cancel_accept(&mut self, listener: ListenerId) {
        let index = usize::from(listener.0);
        if self.listeners[index].armed {
            self.disarm(index);
            self.ended.push(Completion::AcceptEnded { listener, error: Errno::CANCELED });
        }
    }

    fn adopt(&mut self, token: Token, socket: Socket, _listener: ListenerId) {
        let watched = self.watch(token, socket);
        let state = self.sockets.get_mut(socket).expect("a socket is open until it is closed");
        state.token = token;
        state.unwatched = watched.err();
    }

    fn connect(&mut self, token: Token, address: SocketAddr, from: Option<IpAddr>) -> Result<Socket, Errno> {
        self.sockets.reserve()?;
        let (descriptor, made) = match socket::connect(address, from) {
            Ok(connecting) => connecting,
            Err(error) => {
                self.sockets.unreserve();
                return Err(error);
            }
        };
        let flags = if made { Flags::WRITABLE } else { Flags::CONNECTING };
        let socket = self.sockets.insert(descriptor, token, flags);
        if let Err(error) = self.watch(token, socket) {
            self.sockets.remove(socket);
            return Err(error);
        }
        if made {
            self.ended.push(Completion::Connected { token, result: Ok(()) });
        }
        Ok(socket)
    }

    fn arm_receive(&mut self, token: Token, socket: Socket, how: Receive) {
        // An idle socket costs epoll the same however it waits.
        let (Receive::Stream | Receive::Rest) = how;
        let Some(state) = self.sockets.of(token, socket) else { return };
        if let Some(error) = state.unwatched {
            let end = ReceiveEnd::Failed(error);
            return self.ended.push(Completion::ReceiveEnded { token, end });
        }
        state.flags.set(Flags::RECEIVING);
        self.queue(socket);
    }

    fn cancel_receive(&mut self, token: Token, socket: Socket) {
        let Some(state) = self.sockets.of(token, socket) else { return };
        if state.flags.has(Flags::RECEIVING) {
            state.flags.clear(Flags::RECEIVING);
            self.ended.push(Completion::ReceiveEnded { token, end: ReceiveEnd::Cancelled });
        }
    }

    fn send(&mut self, token: Token, socket: Socket, frame: Frame, from: usize) {
        let Some(state) = self.sockets.of(token, socket) else { return };
        state.sending = Some(frame);
        state.from = u32::try_from(from).expect("an outbox holds less than 4 GiB");
        self.try_send(socket);
    }

    fn shutdown(&mut self, token: Token, socket: Socket) {
        let Some(state) = self.sockets.of(token, socket) else { return };
        self.counters.enters += 1;
        // ENOTCONN: the peer has reset it, which its receive tells.
        let _ = rustix::net::shutdown(&state.descriptor, Shutdown::Write);
    }

    fn close(&mut self, token: Token, socket: Socket) {
        let Some(state) = self.sockets.remove(socket) else { return };
        self.counters.enters += 1;
        if state.flags.has(Flags::RECEIVING) {
            self.ended.push(Completion::ReceiveEnded { token, end: ReceiveEnd::Cancelled });
        }
        if state.flags.has(Flags::CONNECTING) {
            self.ended.push(Completion::Connected { token, result: Err(Errno::CANCELED) });
        }
        if let Some(frame) = state.sending {
            self.ended.push(Completion::Sent { token, frame, result: Err(Errno::CANCELED) });
        }
        self.ended.push(Completion::Closed { token });
    }

    fn discard(&mut self, socket: Socket) {
        self.counters.enters += 1;
        self.sockets.remove(socket);
    }

    fn bytes(&mut self, buffer: &Buffer) -> &mut [u8] {
        self.pool.bytes(buffer)
    }

    fn give_back(&mut self, buffer: Buffer) {
        self.pool.give_back(buffer);
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> std::io::Result<()> {
        // What ended at once costs no system call to deliver, but the kernel is asked every other turn.
        if !self.ended.is_empty() && std::mem::take(&mut self.entered) {
            completions.append(&mut self.ended);
            return Ok(());
        }
        self.entered = true;
        self.wait(wait)?;
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            self.on_event(event);
        }
        self.events = events;
        completions.append(&mut self.ended);
        self.receive_ready(completions);
        self.accept_ready(completions);
        Ok(())
    }

    fn ring(&mut self, peer: ShardId) {
        self.counters.enters += 1;
        self.peers.waker(peer).wake();
    }

    fn counters(&self) -> DriverCounters {
        self.counters
    }
}

/// What an event is about, as 64 bits: kind 8, generation 24, index 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Bell,
    Listener(ListenerId),
    Socket { socket: Socket, generation: u32 },
}

impl Source {
    fn data(self) -> epoll::EventData {
        epoll::EventData::new_u64(match self {
            Self::Bell => 1 << 56,
            Self::Listener(listener) => 2 << 56 | u64::from(listener.0),
            Self::Socket { socket, generation } => u64::from(generation) << 32 | u64::from(socket.0),
        })
    }

    fn of(data: epoll::EventData) -> Self {
        let bits = data.u64();
        match bits >> 56 {
            0 => Self::Socket { socket: Socket(bits as u32), generation: (bits >> 32) as u32 },
            1 => Self::Bell,
            2 => Self::Listener(ListenerId(bits as u8)),
            kind => panic!("no event of kind {kind} was asked for"),
        }
    }
}

const WATCHED: epoll::EventFlags = epoll::EventFlags::IN
    .union(epoll::EventFlags::OUT)
    .union(epoll::EventFlags::RDHUP)
    .union(epoll::EventFlags::ET);

const HUNG: epoll::EventFlags =
    epoll::EventFlags::RDHUP.union(epoll::EventFlags::HUP).union(epoll::EventFlags::ERR);

/// accept(2): errors of the connection that is not there any more, to be treated like its absence.
fn is_of_the_connection(error: Errno) -> bool {
    matches!(
        error,
        Errno::INTR
            | Errno::CONNABORTED
            | Errno::NETDOWN
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
    )
}

fn timespec(span: Duration) -> Timespec {
    Timespec::try_from(span).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
}
