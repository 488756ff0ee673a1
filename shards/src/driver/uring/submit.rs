//! From what the turn asks for to entries of the submission queue. Keeps what entries point to alive until the
//! kernel has done with it. Never looks at a completion.
#![expect(unsafe_code, reason = "entries of the submission queue point to memory")]

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use io_uring::types::{CancelBuilder, DestinationSlot};
use io_uring::{opcode, squeue, types};
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;

use super::buffers::GROUP;
use super::files::{self, descriptor};
use super::flight::{BURST, CANCEL, CLOSE, CONNECT, ONCE, RECEIVE, REST, SHUTDOWN};
use super::operation::Operation;
use super::{Accepting, FLUSH_ROUNDS, Uring};
use crate::driver::{Completion, Receive, Socket, Wait};
use crate::token::{ListenerId, ShardId, Token};
use crate::tx::Frame;

/// Flags of a receive, in the field the kernel shares with I/O priorities: again and again; wait first, receive then.
/// A multishot receive receives first: one that waits first and finds bytes never looks at what stands behind them, and
/// a reset that was there before wakes nobody. In return one that finds the pool empty ends at once.
const POLL_FIRST: u16 = 1;
const MULTISHOT: u16 = 1 << 1;

/// Lets the kernel choose the place in the file table.
const ANY_PLACE: i32 = -1;

impl Uring {
    /// Keeps as many accepts in flight as the listener has arrivals for, and never more than there are places: the
    /// kernel resets a connection that it accepts and has no place for, in the backlog it can wait.
    pub(super) fn push_accepts(&mut self, listener: ListenerId) {
        let direct = self.files.direct().is_some();
        let flags = if direct { 0 } else { libc::SOCK_CLOEXEC };
        let mut room = self.room();
        loop {
            let Some(state) = self.listeners.get_mut(usize::from(listener.0)) else { return };
            if state.accepting != Accepting::On {
                return;
            }
            if room == 0 && state.arrivals.in_flight() == 0 {
                state.accepting = Accepting::Off;
                return self.early.push(Completion::AcceptEnded { listener, error: Errno::NFILE });
            }
            if room == 0 {
                return;
            }
            let Some((place, to)) = state.arrivals.lend() else { return };
            room -= 1;
            let entry = opcode::Accept::new(types::Fd(state.socket.as_raw_fd()), to.address, to.len)
                .file_index(direct.then(DestinationSlot::auto_target))
                .flags(flags)
                .build()
                .user_data(Operation::Accept.of(arrival(listener, place)));
            // SAFETY: `arrivals` has lent the place to the kernel until this accept completes, and is leaked if the
            // driver ends before that.
            unsafe { self.push(&entry) };
        }
    }

    /// Ends the accepts of a listener; when the last one has ended it is told.
    pub(super) fn push_cancel_accepts(&mut self, listener: ListenerId) {
        let Some(state) = self.listeners.get_mut(usize::from(listener.0)) else { return };
        state.accepting = Accepting::Ending;
        for place in state.arrivals.held() {
            self.push_cancel_accept(arrival(listener, place));
        }
    }

    fn push_cancel_accept(&mut self, arrival: Token) {
        self.push_cancel(Operation::Accept.of(arrival), Operation::CancelAccept.of(arrival));
    }

    pub(super) fn push_receive(&mut self, token: Token, socket: Socket, how: Receive) {
        let (entry, operation, flag) = match how {
            Receive::Stream => {
                let is_once = self.receives_once(token);
                self.flights.clear(token, BURST);
                let entry = opcode::Recv::new(descriptor(socket), std::ptr::null_mut(), 0)
                    .ioprio(if is_once { POLL_FIRST } else { MULTISHOT })
                    .buf_group(GROUP)
                    .build()
                    .flags(squeue::Flags::BUFFER_SELECT);
                (entry, Operation::Receive, RECEIVE)
            }
            Receive::Rest => {
                let entry = opcode::PollAdd::new(descriptor(socket), libc::POLLIN as u32).build();
                (entry, Operation::Rest, REST)
            }
        };
        self.flights.set(token, flag);
        let entry = self.files.address(entry).user_data(operation.of(token));
        // SAFETY: the entry points to no memory; buffers come from the registered ring.
        unsafe { self.push(&entry) };
    }

    /// Whether the next receive of this socket is meant to end with the first bytes.
    fn receives_once(&self, token: Token) -> bool {
        self.flights.get(token).is_some_and(|flight| flight.has(ONCE) && !flight.has(BURST))
    }

    pub(super) fn push_cancel_receive(&mut self, token: Token) {
        self.flights.set(token, CANCEL);
        self.cancel_flights(token, RECEIVE | REST);
    }

    pub(super) fn push_send(&mut self, token: Token, socket: Socket, frame: Frame, from: usize) {
        let bytes = &frame[from..];
        let (start, len) = (bytes.as_ptr(), bytes.len().min(i32::MAX as usize) as u32);
        let place = self.flights.hold(token, frame);
        let entry = opcode::Send::new(descriptor(socket), start, len).flags(libc::MSG_NOSIGNAL).build();
        let held = Token { index: place, generation: token.generation };
        let entry = self.files.address(entry).user_data(Operation::Send.of(held));
        // SAFETY: `flights` holds the frame until its completion. The bytes of a frame are on the heap, do not move
        // with it, and are written to only by a sole holder, who would have to take it out of `flights` first.
        unsafe { self.push(&entry) };
    }

    /// The kernel has `IORING_OP_SHUTDOWN` done by a thread, which costs more than the rest of the connection's
    /// life. So a direct descriptor is lent to the process for the length of two system calls; see `reap`.
    pub(super) fn push_shutdown(&mut self, token: Token, socket: Socket) {
        if let Some(descriptor) = self.files.ordinary(socket) {
            return files::shutdown(descriptor);
        }
        let entry = if self.features.install {
            opcode::FixedFdInstall::new(types::Fixed(socket.0), 0)
                .build()
                .user_data(Operation::Shutdown.at(0))
        } else {
            self.flights.set(token, SHUTDOWN);
            opcode::Shutdown::new(types::Fixed(socket.0), libc::SHUT_WR)
                .build()
                .user_data(Operation::ThreadShutdown.of(token))
        };
        // SAFETY: the entry points to no memory.
        unsafe { self.push(&entry) };
    }

    /// Cancels by name, one by one: cancelling by descriptor would walk every armed operation of the ring.
    pub(super) fn push_close(&mut self, token: Token, socket: Socket) {
        self.flights.set(token, CLOSE);
        self.cancel_flights(token, RECEIVE | REST | CONNECT);
        self.cancel_send(token);
        if self.flights.get(token).is_some_and(|flight| flight.has(SHUTDOWN)) {
            // The thread looks the socket up when it gets to it. By then the place of one that was closed may be
            // another's.
            return self.closing.push((token, socket));
        }
        self.push_close_entry(token, socket);
    }

    /// The close that has waited for a thread.
    fn push_waiting_close(&mut self, token: Token) {
        if let Some(at) = self.closing.iter().position(|(waiting, _)| *waiting == token) {
            let (token, socket) = self.closing.swap_remove(at);
            self.push_close_entry(token, socket);
        }
    }

    fn push_close_entry(&mut self, token: Token, socket: Socket) {
        let entry = self.files.close(socket).user_data(Operation::Close.of(token));
        self.files.closing(socket);
        // SAFETY: the entry points to no memory.
        unsafe { self.push(&entry) };
    }

    pub(super) fn push_discard(&mut self, socket: Socket) {
        let entry = self.files.close(socket).flags(squeue::Flags::SKIP_SUCCESS);
        self.files.closing(socket);
        // SAFETY: the entry points to no memory.
        unsafe { self.push(&entry.user_data(Operation::Forgotten.at(0))) };
    }

    /// Makes a socket, puts it into the table and queues its connect.
    pub(super) fn push_connect(
        &mut self,
        token: Token,
        to: SocketAddr,
        from: Option<IpAddr>,
    ) -> Result<Socket, Errno> {
        let made = files::outgoing(to, from)?;
        let socket = match self.files.keep(made) {
            Ok(socket) => socket,
            Err(made) => self.install(&made)?,
        };
        self.flights.begin(token);
        self.flights.set(token, CONNECT);
        let address = Box::new(to.as_any());
        let entry =
            opcode::Connect::new(descriptor(socket), address.as_ptr().cast(), address.addr_len()).build();
        let entry = self.files.address(entry).user_data(Operation::Connect.of(token));
        self.addresses.push(address);
        // SAFETY: `addresses` keeps the boxed address until the queue is submitted; the kernel copies it then.
        unsafe { self.push(&entry) };
        Ok(socket)
    }

    /// Puts a descriptor into the file table, at a place the kernel chooses so that it never collides with an
    /// accept. One system call, because the place must be known before the connect is queued.
    fn install(&mut self, made: &OwnedFd) -> Result<Socket, Errno> {
        if self.room() == 0 {
            return Err(Errno::NFILE);
        }
        *self.installing = made.as_fd().as_raw_fd();
        self.installed = None;
        let entry = opcode::FilesUpdate::new(std::ptr::from_ref(&*self.installing), 1).offset(ANY_PLACE);
        // SAFETY: the box lives as long as the driver; the kernel reads and writes it while it submits, below.
        unsafe { self.push(&entry.build().user_data(Operation::Install.at(0))) };
        self.submit_early();
        for _ in 0..FLUSH_ROUNDS {
            match self.installed.take() {
                Some(Ok(_)) => return Ok(self.files.installed(*self.installing as u32)),
                Some(Err(error)) => return Err(error),
                // Its completion found no place in the queue yet.
                None => self.ring.submit_and_wait(Wait::Poll)?,
            }
            self.reap_early();
        }
        Err(Errno::IO)
    }

    /// Watches the eventfd by which outside threads wake this shard. It is never read: each write wakes a
    /// multishot poll, and a counter cannot overflow in the life of a process.
    pub(super) fn push_wake(&mut self) {
        let Some(event) = self.waker.descriptor() else { return };
        let entry = opcode::PollAdd::new(types::Fd(event.as_raw_fd()), libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(Operation::Wake.at(0));
        // SAFETY: the entry points to no memory.
        unsafe { self.push(&entry) };
    }

    pub(super) fn push_ring(&mut self, peer: ShardId) {
        let Some(ring) = self.peers.ring(peer).filter(|_| self.features.ring_messages) else {
            return self.peers.waker(peer).wake();
        };
        let entry = opcode::MsgRingData::new(types::Fd(ring), 0, Operation::Rung.at(0), None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Operation::Ring.at(u32::from(peer.0)));
        // SAFETY: the entry points to no memory.
        unsafe { self.push(&entry) };
    }

    /// Queues what completions have asked for: multishot operations that ended for no reason of the turn's, and
    /// cancels that came before the kernel had armed what they should end.
    pub(super) fn push_again(&mut self) {
        let mut again = std::mem::take(&mut self.again);
        for (operation, token) in again.drain(..) {
            match operation {
                Operation::Accept => self.push_accepts(ListenerId(token.index as u8)),
                Operation::CancelAccept => self.push_cancel_accept(token),
                Operation::Wake => self.push_wake(),
                Operation::CancelReceive => self.cancel_flights(token, RECEIVE),
                Operation::CancelRest => self.cancel_flights(token, REST),
                Operation::CancelConnect => self.cancel_flights(token, CONNECT),
                Operation::CancelSend => self.cancel_send(token),
                Operation::ThreadShutdown => self.push_waiting_close(token),
                Operation::Receive
                | Operation::Rest
                | Operation::Send
                | Operation::Connect
                | Operation::Close
                | Operation::Forgotten
                | Operation::Rung
                | Operation::Ring
                | Operation::Shutdown
                | Operation::Install => {}
            }
        }
        if self.again.is_empty() {
            self.again = again;
        }
    }

    /// Cancels those of the `wanted` operations that are in flight.
    pub(super) fn cancel_flights(&mut self, token: Token, wanted: u32) {
        let Some(flight) = self.flights.get(token) else { return };
        for (flag, target, cancel) in [
            (RECEIVE, Operation::Receive, Operation::CancelReceive),
            (REST, Operation::Rest, Operation::CancelRest),
            (CONNECT, Operation::Connect, Operation::CancelConnect),
        ] {
            if wanted & flag != 0 && flight.has(flag) {
                self.push_cancel(target.of(token), cancel.of(token));
            }
        }
    }

    pub(super) fn cancel_send(&mut self, token: Token) {
        let Some(place) = self.flights.get(token).and_then(|flight| flight.send()) else { return };
        let held = Token { index: place, generation: token.generation };
        self.push_cancel(Operation::Send.of(held), Operation::CancelSend.of(token));
    }

    fn push_cancel(&mut self, target: u64, name: u64) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(target))
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(name);
        // SAFETY: the entry points to no memory.
        unsafe { self.push(&entry) };
    }

    /// Queues an entry; submits what is queued first if that makes a batch.
    ///
    /// # Safety
    /// As for `Ring::push`.
    unsafe fn push(&mut self, entry: &squeue::Entry) {
        if self.ring.is_batch_full() {
            self.submit_early();
        }
        // SAFETY: passed on to the caller.
        if !unsafe { self.ring.push(entry) } && self.broken.is_none() {
            self.broken = Some(Errno::BUSY);
        }
    }

    /// Submits before the turn ends and takes what has completed out of the queue, so that a large turn does not
    /// overflow it. The completions are part of the next turn.
    fn submit_early(&mut self) {
        self.buffers.publish();
        let mut result = self.ring.submit();
        for _ in 0..FLUSH_ROUNDS {
            self.reap_early();
            match result {
                // The kernel wants its completions taken, or has no memory right now.
                Err(Errno::BUSY | Errno::AGAIN) => result = self.ring.submit_and_wait(Wait::Poll),
                Ok(()) | Err(_) => break,
            }
        }
        self.submitted();
        match result {
            Ok(()) | Err(Errno::BUSY | Errno::AGAIN) => {}
            Err(error) => self.broken = Some(error),
        }
    }

    /// Lets go of what the kernel has copied.
    pub(super) fn submitted(&mut self) {
        if !self.addresses.is_empty() && self.ring.queued() == 0 {
            self.addresses.clear();
        }
    }
}

/// The name of an accept in flight: its listener, and the place of its address.
fn arrival(listener: ListenerId, place: u32) -> Token {
    Token { index: u32::from(listener.0), generation: place }
}
