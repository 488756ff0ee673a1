//! The sockets of one epoll driver, each with what it waits for, and the descriptors all shards share. Never
//! makes a system call; dropping a socket closes it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;

use crate::driver::Socket;
use crate::token::Token;
use crate::tx::Frame;

/// A socket and what is known of it.
pub struct State {
    pub descriptor: OwnedFd,
    /// The slot it belongs to; [`NOBODY`] until it is adopted.
    pub token: Token,
    /// The send that waits for the socket to take bytes again.
    pub sending: Option<Frame>,
    /// Where in the frame that send begins.
    pub from: u32,
    /// Why the kernel would not watch it: told by its first receive.
    pub unwatched: Option<Errno>,
    pub flags: Flags,
}

const _: () = assert!(size_of::<Option<State>>() <= 32, "a state is multiplied by every connection");

/// The token of a socket that no slot has adopted. Generations have 24 bits, so it is nobody's.
pub const NOBODY: Token = Token { index: u32::MAX, generation: u32::MAX };

/// What a socket waits for and what epoll said about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// A receive is armed.
    pub const RECEIVING: Self = Self(1);
    /// The kernel may have bytes, an end or an error.
    pub const READABLE: Self = Self(1 << 1);
    /// The kernel may take bytes.
    pub const WRITABLE: Self = Self(1 << 2);
    /// An end or an error was announced: a short receive is not the last one.
    pub const HUNG: Self = Self(1 << 3);
    /// The connection is being made.
    pub const CONNECTING: Self = Self(1 << 4);
    /// In the list of sockets to receive from.
    pub const QUEUED: Self = Self(1 << 5);

    pub fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    /// Whether every one of `flags` is set.
    pub fn has_all(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    pub fn set(&mut self, flag: Self) {
        self.0 |= flag.0;
    }

    pub fn clear(&mut self, flag: Self) {
        self.0 &= !flag.0;
    }

    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A dense table of sockets; [`Socket`] is the index.
pub struct Sockets {
    states: Vec<Option<State>>,
    free: Vec<u32>,
    open: u32,
    open_max: u32,
    descriptors: Descriptors,
}

impl Sockets {
    pub fn new(open_max: u32, descriptors: Descriptors) -> Self {
        Self { states: Vec::new(), free: Vec::new(), open: 0, open_max, descriptors }
    }

    /// Makes room for one more socket, which [`Sockets::insert`] or [`Sockets::unreserve`] must follow.
    pub fn reserve(&mut self) -> Result<(), Errno> {
        if self.open >= self.open_max {
            return Err(Errno::NFILE);
        }
        if !self.descriptors.take() {
            return Err(Errno::MFILE);
        }
        self.open += 1;
        Ok(())
    }

    pub fn unreserve(&mut self) {
        self.open -= 1;
        self.descriptors.give_back(1);
    }

    /// Puts a socket into the room that was made for it.
    pub fn insert(&mut self, descriptor: OwnedFd, token: Token, flags: Flags) -> Socket {
        let state = State { descriptor, token, sending: None, from: 0, unwatched: None, flags };
        match self.free.pop() {
            Some(index) => {
                self.states[index as usize] = Some(state);
                Socket(index)
            }
            None => {
                self.states.push(Some(state));
                Socket((self.states.len() - 1) as u32)
            }
        }
    }

    /// Takes a socket out; dropping its state closes it.
    pub fn remove(&mut self, socket: Socket) -> Option<State> {
        let state = self.states.get_mut(socket.0 as usize)?.take()?;
        self.free.push(socket.0);
        self.unreserve();
        Some(state)
    }

    /// The socket, if it is open.
    pub fn get_mut(&mut self, socket: Socket) -> Option<&mut State> {
        self.states.get_mut(socket.0 as usize)?.as_mut()
    }

    /// The socket, if it still belongs to this slot.
    pub fn of(&mut self, token: Token, socket: Socket) -> Option<&mut State> {
        self.get_mut(socket).filter(|state| state.token == token)
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.descriptors.give_back(self.open);
    }
}

/// Descriptors the drivers of one process may still open: the limit without what is reserved for files, logs,
/// brokers and the control thread. One copy for all shards; counted once per connection, never per message.
#[derive(Clone, Debug)]
pub struct Descriptors(Arc<AtomicU32>);

impl Descriptors {
    /// As many as `free` sockets.
    pub fn new(free: u32) -> Self {
        Self(Arc::new(AtomicU32::new(free)))
    }

    fn take(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(1)).is_ok()
    }

    fn give_back(&self, count: u32) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};

    fn open(sockets: &mut Sockets) -> Result<Socket, Errno> {
        sockets.reserve()?;
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        Ok(sockets.insert(descriptor, NOBODY, Flags::default()))
    }

    #[test]
    fn shards_share_the_descriptors_and_each_has_its_own_limit() {
        let descriptors = Descriptors::new(3);
        let mut one = Sockets::new(2, descriptors.clone());
        let mut two = Sockets::new(2, descriptors.clone());
        let first = open(&mut one).unwrap();
        open(&mut one).unwrap();
        assert_eq!(open(&mut one), Err(Errno::NFILE), "the table is full");
        open(&mut two).unwrap();
        assert_eq!(open(&mut two), Err(Errno::MFILE), "the process is");
        one.remove(first).unwrap();
        open(&mut two).unwrap();
        drop((one, two));
        assert_eq!(descriptors.0.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_socket_is_found_by_its_own_slot_only() {
        let mut sockets = Sockets::new(2, Descriptors::new(2));
        let socket = open(&mut sockets).unwrap();
        let token = Token { index: 4, generation: 1 };
        sockets.get_mut(socket).unwrap().token = token;
        assert!(sockets.of(token, socket).is_some());
        assert!(sockets.of(Token { generation: 2, ..token }, socket).is_none());
        sockets.remove(socket).unwrap();
        assert!(sockets.of(token, socket).is_none());
        assert!(sockets.remove(socket).is_none());
    }
}
