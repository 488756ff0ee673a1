//! Sockets as they are made: listeners for every shard, outgoing connections, and their options. Never accepts,
//! receives or sends; that is a driver's.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, ipproto};

use crate::clock::Moment;
use crate::error::StartError;
use crate::token::ShardId;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP. Port 0 lets the kernel choose one for all shards. `[::]` takes IPv4 too.
    Tcp(SocketAddr),
    /// A socket file.
    Unix(PathBuf),
}

/// What was written is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address; expected `127.0.0.1:8080`, `[::]:8080` or `unix:/path/to/socket`")]
pub struct BadAddress(pub String);

impl Address {
    /// Reads `127.0.0.1:8080`, `[::]:8080` or `unix:/path`; a path of 1 to 107 bytes without NUL.
    pub fn parse(raw: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress(raw.to_owned());
        match raw.strip_prefix("unix:") {
            Some(path) if path.is_empty() || path.len() > UNIX_PATH_MAX || path.contains('\0') => Err(bad()),
            Some(path) => Ok(Self::Unix(PathBuf::from(path))),
            None => raw.parse().map(Self::Tcp).map_err(|_| bad()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How to listen.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Connections the kernel holds for each shard until they are accepted; it caps this at
    /// `net.core.somaxconn`.
    pub backlog: i32,
    /// Refuse an address that somebody listens on already. Without it a second server of the same user would
    /// share the port in silence and get half of the connections.
    pub exclusive: bool,
    /// The CPU of each shard: a connection goes to the shard whose CPU the network card interrupts. Pays when
    /// the card spreads its flows over the CPUs; on loopback all connections of a client go to its own CPU.
    pub steer_to: Option<Vec<usize>>,
    /// How long the kernel waits for a peer to acknowledge what was sent to it, or to open its window, until it breaks
    /// the connection (TCP_USER_TIMEOUT, whole milliseconds). For peers that are gone without a word: it must not be
    /// shorter than [`Limits::write_timeout`](crate::Limits), which tells the logic.
    pub user_timeout: Option<Duration>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { backlog: 4096, exclusive: true, steer_to: None, user_timeout: None }
    }
}

/// One address with a listening socket for every shard.
#[derive(Debug)]
pub struct Listener {
    address: Address,
    sockets: Vec<OwnedFd>,
}

impl Listener {
    /// Listens for as many shards. TCP: a socket each, among which the kernel spreads the connections
    /// (SO_REUSEPORT). A socket file: the same socket for all.
    pub fn open(address: &Address, shards: usize, options: &ListenOptions) -> Result<Self, StartError> {
        let opened = match address {
            Address::Tcp(address) => listen_tcp(*address, shards, options),
            Address::Unix(path) => listen_unix(path, shards, options),
        };
        opened.map_err(|source| StartError::Listen { address: address.to_string(), source })
    }

    /// Takes over sockets that listen already, one for each shard: from a supervisor or an older process.
    pub fn inherit(address: Address, sockets: Vec<OwnedFd>) -> Self {
        Self { address, sockets }
    }

    /// Where it listens: with the port that the kernel chose.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How many shards it serves.
    pub fn shards(&self) -> usize {
        self.sockets.len()
    }

    /// A copy of the shard's socket; a shard that is started again gets the same one.
    pub fn socket(&self, shard: ShardId) -> io::Result<OwnedFd> {
        self.sockets[shard.index()].try_clone()
    }

    /// All sockets, in the order of their shards.
    pub fn sockets(&self) -> &[OwnedFd] {
        &self.sockets
    }
}

/// Starts a TCP connection, from the address `from` if it is given. True: it is made already. The kernel sets
/// aside a port of `from` for it, so one source address carries as many connections as
/// `net.ipv4.ip_local_port_range` has ports.
pub fn connect(address: SocketAddr, from: Option<IpAddr>) -> Result<(OwnedFd, bool), Errno> {
    let socket = tcp_socket(address)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    if let Some(from) = from {
        rustix::net::bind(&socket, &SocketAddr::new(from, 0))?;
    }
    match rustix::net::connect(&socket, &address) {
        Ok(()) => Ok((socket, true)),
        // EINTR: the connection goes on being made, see connect(2).
        Err(Errno::INPROGRESS | Errno::INTR) => Ok((socket, false)),
        Err(error) => Err(error),
    }
}

/// The address of a peer, IPv4 never written as IPv6; `None` if it is none of the internet.
pub(crate) fn peer(address: SocketAddrAny) -> Option<SocketAddr> {
    let address = SocketAddr::try_from(address).ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

fn tcp_socket(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))
}

fn listen_tcp(mut address: SocketAddr, shards: usize, options: &ListenOptions) -> io::Result<Listener> {
    if options.exclusive && address.port() != 0 {
        drop(bind_alone(address)?);
    }
    let mut sockets = Vec::with_capacity(shards);
    for shard in 0..shards {
        let socket = bind_tcp(address, Sharing::Shards)?;
        if let Some(cpu) = options.steer_to.as_ref().and_then(|cpus| cpus.get(shard)) {
            let cpu = u32::try_from(*cpu).map_err(|_| Errno::INVAL)?;
            sockopt::set_socket_incoming_cpu(&socket, cpu)?;
        }
        if let Some(timeout) = options.user_timeout {
            // Accepted sockets inherit it: no system call for each.
            sockopt::set_tcp_user_timeout(
                &socket,
                u32::try_from(timeout.as_millis()).unwrap_or(i32::MAX as u32),
            )?;
        }
        rustix::net::listen(&socket, options.backlog)?;
        // Port 0 was chosen by the first one; the others join it.
        address = local_address(&socket)?;
        sockets.push(socket);
    }
    Ok(Listener { address: Address::Tcp(address), sockets })
}

/// Binds an address that nobody else listens on. The kernel closes the listeners of a ring a little after their
/// process has ended, so an address that is taken is tried again: a server may be started right after the last one.
fn bind_alone(address: SocketAddr) -> io::Result<OwnedFd> {
    let until = Moment::now() + RELEASE_MAX;
    loop {
        match bind_tcp(address, Sharing::Nobody) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Moment::now() < until => {
                std::thread::sleep(RELEASE_POLL);
            }
            bound => return bound,
        }
    }
}

/// How long the listeners of an ended process may linger: 86 ms was the longest seen.
const RELEASE_MAX: Duration = Duration::from_secs(1);
const RELEASE_POLL: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Shards,
    Nobody,
}

fn bind_tcp(address: SocketAddr, sharing: Sharing) -> io::Result<OwnedFd> {
    let socket = tcp_socket(address)?;
    // Connections of the process before us may still be in TIME_WAIT.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, sharing == Sharing::Shards)?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    // Accepted sockets inherit it.
    sockopt::set_tcp_nodelay(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

fn local_address(socket: impl AsFd) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(rustix::net::getsockname(socket)?)?)
}

fn listen_unix(path: &Path, shards: usize, options: &ListenOptions) -> io::Result<Listener> {
    let name = SocketAddrUnix::new(path)?;
    let socket = unix_socket()?;
    match rustix::net::bind(&socket, &name) {
        Err(Errno::ADDRINUSE) if is_stale(path, &name)? => {
            std::fs::remove_file(path)?;
            rustix::net::bind(&socket, &name)?;
        }
        bound => bound?,
    }
    rustix::net::listen(&socket, options.backlog)?;
    let copies = (1..shards).map(|_| socket.try_clone()).collect::<io::Result<Vec<_>>>()?;
    let sockets = std::iter::once(socket).chain(copies).collect();
    Ok(Listener { address: Address::Unix(path.to_owned()), sockets })
}

fn unix_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// A socket file that nobody listens on: a process before us left it behind.
fn is_stale(path: &Path, name: &SocketAddrUnix) -> io::Result<bool> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    Ok(rustix::net::connect(unix_socket()?, name) == Err(Errno::CONNREFUSED))
}

/// unix(7): 108 bytes with the NUL that most programs write behind it.
const UNIX_PATH_MAX: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn open(address: &str, shards: usize) -> Result<Listener, StartError> {
        Listener::open(&Address::parse(address).unwrap(), shards, &ListenOptions::default())
    }

    fn port(listener: &Listener) -> u16 {
        match listener.address() {
            Address::Tcp(address) => address.port(),
            Address::Unix(path) => panic!("{} is no port", path.display()),
        }
    }

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("highper-shards-{name}-{}", std::process::id()))
    }

    #[test]
    fn addresses_read_as_they_are_written() {
        for raw in ["127.0.0.1:8080", "[::]:443", "unix:/run/realtime.sock"] {
            assert_eq!(Address::parse(raw).unwrap().to_string(), raw);
        }
        for raw in ["", "8080", "localhost", "unix:", "127.0.0.1:65536", "unix:\0"] {
            assert_eq!(Address::parse(raw), Err(BadAddress(raw.to_owned())));
        }
        let path = |len: usize| format!("unix:/{}", "x".repeat(len - 1));
        assert!(Address::parse(&path(107)).is_ok());
        assert!(Address::parse(&path(108)).is_err(), "sun_path holds 107 bytes and a NUL");
    }

    #[test]
    fn all_shards_get_the_port_the_kernel_chose() {
        let listener = open("127.0.0.1:0", 3).unwrap();
        let ports: Vec<u16> =
            listener.sockets().iter().map(|socket| local_address(socket).unwrap().port()).collect();
        assert_ne!(ports[0], 0);
        assert_eq!(ports, [port(&listener); 3]);
    }

    #[test]
    fn a_port_in_use_is_refused_and_named() {
        let first = open("127.0.0.1:0", 2).unwrap();
        let address = first.address().to_string();
        let error = open(&address, 2).unwrap_err().to_string();
        assert!(error.contains(&address) && error.contains("in use"), "{error}");
        let shared = ListenOptions { exclusive: false, ..ListenOptions::default() };
        Listener::open(first.address(), 2, &shared).expect("sharing is allowed when it is asked for");
    }

    #[test]
    fn the_unspecified_ipv6_address_takes_ipv4_too() {
        let listener = match open("[::]:0", 1) {
            Ok(listener) => listener,
            // A host without IPv6 has nothing to show here.
            Err(StartError::Listen { source, .. }) if source.raw_os_error() == Some(97) => return,
            Err(error) => panic!("{error}"),
        };
        TcpStream::connect(("127.0.0.1", port(&listener))).unwrap();
        TcpStream::connect(("::1", port(&listener))).unwrap();
    }

    #[test]
    fn accepted_sockets_inherit_their_options() {
        let options =
            ListenOptions { user_timeout: Some(Duration::from_secs(40)), ..ListenOptions::default() };
        let address = Address::parse("127.0.0.1:0").unwrap();
        let listener = Listener::open(&address, 1, &options).unwrap();
        let _client = TcpStream::connect(("127.0.0.1", port(&listener))).unwrap();
        let accepted = loop {
            match rustix::net::accept(&listener.sockets()[0]) {
                Err(Errno::AGAIN) => std::thread::yield_now(),
                accepted => break accepted.unwrap(),
            }
        };
        assert!(sockopt::tcp_nodelay(&accepted).unwrap());
        assert_eq!(sockopt::tcp_user_timeout(&accepted).unwrap(), 40_000);
    }

    #[test]
    fn steering_marks_each_listener_with_its_cpu() {
        let options = ListenOptions { steer_to: Some(vec![1, 0]), ..ListenOptions::default() };
        let listener = Listener::open(&Address::parse("127.0.0.1:0").unwrap(), 2, &options).unwrap();
        let cpus: Vec<u32> =
            listener.sockets().iter().map(|socket| sockopt::socket_incoming_cpu(socket).unwrap()).collect();
        assert_eq!(cpus, [1, 0]);
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_a_living_one_is_not() {
        let path = scratch("stale");
        let address = format!("unix:{}", path.display());
        drop(open(&address, 2).unwrap());
        assert!(path.exists(), "the file outlives its listener");
        let listener = open(&address, 2).expect("nobody listens there");
        assert_eq!(listener.shards(), 2);
        assert!(matches!(open(&address, 1), Err(StartError::Listen { .. })), "somebody does");
        std::os::unix::net::UnixStream::connect(&path).expect("the first listener was left alone");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_never_removed() {
        let path = scratch("file");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(open(&format!("unix:{}", path.display()), 1), Err(StartError::Listen { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_file(&path).unwrap();
    }
}
