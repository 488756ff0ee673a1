//! Where the sockets of a ring live: its table of direct descriptors, which does not count against the process's
//! limit, or ordinary descriptors when the table is refused. Never submits and never closes what is adopted.
#![expect(unsafe_code, reason = "ownership of accepted descriptors, one socket option")]

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use io_uring::{squeue, types};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use rustix::process::{Resource, getrlimit};

use super::setup::Ring;
use crate::driver::Socket;

/// The sockets of one ring.
pub(super) enum Files {
    /// A table inside the kernel. The kernel picks the places.
    Direct {
        /// Places it has.
        size: u32,
        /// Places taken, those included whose close is queued behind everything that could take another.
        used: u32,
    },
    /// Descriptors of the process.
    Ordinary(HashMap<u32, OwnedFd>),
}

impl Files {
    /// Asks for a table of `sockets_max` places. A table is never larger than RLIMIT_NOFILE; none, or a table of
    /// no places, means ordinary descriptors.
    pub fn new(ring: &Ring, sockets_max: u32) -> Self {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let size = sockets_max.min(u32::try_from(limit).unwrap_or(u32::MAX));
        match ring.submitter().register_files_sparse(size) {
            Ok(()) => Self::Direct { size, used: 0 },
            Err(_) => Self::Ordinary(HashMap::new()),
        }
    }

    /// Places of the table.
    pub fn direct(&self) -> Option<u32> {
        match self {
            Self::Direct { size, .. } => Some(*size),
            Self::Ordinary(_) => None,
        }
    }

    /// How many more sockets find a place. The process's own limit is the kernel's to tell.
    pub fn room(&self) -> u32 {
        match self {
            Self::Direct { size, used } => size.saturating_sub(*used),
            Self::Ordinary(_) => u32::MAX,
        }
    }

    /// A socket that an accept has just made.
    pub fn accepted(&mut self, descriptor: u32) -> Socket {
        match self {
            Self::Direct { used, .. } => *used += 1,
            Self::Ordinary(open) => {
                open.insert(descriptor, lent(descriptor));
            }
        }
        Socket(descriptor)
    }

    /// A socket made by us that was put at `place` of the table.
    pub fn installed(&mut self, place: u32) -> Socket {
        if let Self::Direct { used, .. } = self {
            *used += 1;
        }
        Socket(place)
    }

    /// A socket made by us that stays an ordinary descriptor; gives it back if there is a table.
    pub fn keep(&mut self, descriptor: OwnedFd) -> Result<Socket, OwnedFd> {
        match self {
            Self::Direct { .. } => Err(descriptor),
            Self::Ordinary(open) => {
                let number = descriptor.as_raw_fd() as u32;
                open.insert(number, descriptor);
                Ok(Socket(number))
            }
        }
    }

    /// The descriptor of a socket that is an ordinary one.
    pub fn ordinary(&self, socket: Socket) -> Option<&OwnedFd> {
        match self {
            Self::Direct { .. } => None,
            Self::Ordinary(open) => open.get(&socket.0),
        }
    }

    /// The socket's close is being queued.
    pub fn closing(&mut self, socket: Socket) {
        match self {
            Self::Direct { used, .. } => *used = used.saturating_sub(1),
            Self::Ordinary(open) => {
                // The queued close ends the descriptor; dropping it here would end it twice.
                let _ = open.remove(&socket.0).map(IntoRawFd::into_raw_fd);
            }
        }
    }

    /// Makes an entry built for the descriptor `socket.0` mean this socket.
    pub fn address(&self, entry: squeue::Entry) -> squeue::Entry {
        match self {
            Self::Direct { .. } => entry.flags(squeue::Flags::FIXED_FILE),
            Self::Ordinary(_) => entry,
        }
    }

    /// The entry that closes a socket.
    pub fn close(&self, socket: Socket) -> squeue::Entry {
        match self {
            Self::Direct { .. } => io_uring::opcode::Close::new(types::Fixed(socket.0)).build(),
            Self::Ordinary(_) => io_uring::opcode::Close::new(descriptor(socket)).build(),
        }
    }
}

/// The socket as the number an entry carries; see [`Files::address`].
pub(super) fn descriptor(socket: Socket) -> types::Fd {
    types::Fd(socket.0 as i32)
}

/// An ordinary descriptor that a completion has just brought.
pub(super) fn lent(descriptor: u32) -> OwnedFd {
    // SAFETY: it comes from the completion that made it, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(descriptor as i32) }
}

/// Ends the sending direction.
pub(super) fn shutdown(socket: &OwnedFd) {
    // It fails on a connection that is broken already, which its receive tells.
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
}

/// A socket for an outgoing connection to `to`, bound to the address `from`. The port is chosen when it connects,
/// so that one address can make as many connections as there are ports for each destination.
pub(super) fn outgoing(to: SocketAddr, from: Option<IpAddr>) -> Result<OwnedFd, Errno> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    if let Some(from) = from {
        choose_port_at_connect(&socket)?;
        bind(&socket, &SocketAddr::new(from, 0))?;
    }
    Ok(socket)
}

fn choose_port_at_connect(socket: &OwnedFd) -> Result<(), Errno> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, `on` outlives the call and its size is told.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            std::ptr::from_ref(&on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn a_table_is_as_large_as_asked_for_within_the_limit_of_descriptors() {
        let (ring, _) = Ring::open(8).expect("io_uring is there");
        assert_eq!(Files::new(&ring, 100).direct(), Some(100));
        let (ring, _) = Ring::open(8).expect("io_uring is there");
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let size = Files::new(&ring, 1 << 20).direct().expect("the table is within the limit");
        assert_eq!(u64::from(size), limit.min(1 << 20));
    }

    #[test]
    fn without_a_table_sockets_are_ordinary_descriptors_that_end_with_the_driver() {
        let (ring, _) = Ring::open(8).expect("io_uring is there");
        let mut files = Files::new(&ring, 0);
        assert_eq!(files.direct(), None);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let address = listener.local_addr().expect("bound");
        let fd = outgoing(address, Some(Ipv4Addr::new(127, 0, 0, 9).into())).expect("a socket");
        rustix::net::connect(&fd, &address).expect("loopback");
        let (mut accepted, peer) = listener.accept().expect("a connection");
        assert_eq!(peer.ip(), Ipv4Addr::new(127, 0, 0, 9));
        assert!(files.keep(fd).is_ok());
        drop(files);
        let read = std::io::Read::read(&mut accepted, &mut [0]).expect("the end");
        assert_eq!(read, 0, "the descriptor was closed");
    }
}
