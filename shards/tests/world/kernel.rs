//! The world of the kernel drivers: loopback sockets, and clients of the standard library that never block.

use std::io::ErrorKind;
use std::marker::PhantomData;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use highper_shards::driver::epoll::Epoll;
use highper_shards::driver::{Driver, Options, Peers, Waker};
use highper_shards::mesh::mesh;
use highper_shards::socket::{Address, ListenOptions, Listener};
use highper_shards::{Limits, Shard, ShardId};

use rustix::net::{AddressFamily, SocketType};

use super::{Internet, Probe, Read, World};

/// A driver of the real kernel.
pub trait KernelDriver: Driver<Listener = OwnedFd> {
    fn build(options: &Options, peers: &Peers) -> Self;
}

impl KernelDriver for Epoll {
    fn build(options: &Options, peers: &Peers) -> Self {
        Self::new(options, ShardId(0), peers).unwrap()
    }
}

impl KernelDriver for highper_shards::driver::uring::Uring {
    fn build(options: &Options, peers: &Peers) -> Self {
        Self::new(options, ShardId(0), peers).unwrap()
    }
}

pub struct Kernel<D> {
    address: SocketAddr,
    /// Where it listens too, over IPv6.
    address_v6: Option<SocketAddr>,
    driver: PhantomData<D>,
}

impl<D: KernelDriver> World for Kernel<D> {
    type Driver = D;
    type Client = TcpStream;

    fn build(options: &Options, limits: Limits, logic: Probe) -> (Self, Shard<D, Probe>) {
        let listener = listen("127.0.0.1:0");
        let shard = shard(options, limits, logic, &listener);
        (Self { address: address_of(&listener), address_v6: None, driver: PhantomData }, shard)
    }

    fn connect(&mut self) -> TcpStream {
        prepared(TcpStream::connect(self.address).unwrap())
    }

    fn write(&mut self, client: &mut TcpStream, bytes: &[u8]) -> usize {
        write(client, bytes)
    }

    fn read(&mut self, client: &mut TcpStream, len: usize) -> Read {
        read(client, len)
    }

    fn shutdown(&mut self, client: &mut TcpStream) {
        client.shutdown(Shutdown::Write).unwrap();
    }

    fn reset(&mut self, client: TcpStream) {
        // Closing with a linger time of zero sends RST.
        rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    }

    fn turn(&mut self, shard: &mut Shard<D, Probe>) {
        shard.turn(Some(Duration::from_millis(1))).unwrap();
    }
}

impl<D: KernelDriver> Internet for Kernel<D> {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn nowhere(&self) -> SocketAddr {
        address_of(&listen("127.0.0.1:0"))
    }

    fn listen_v6(&mut self, shard: &mut Shard<D, Probe>) {
        let listener = listen("[::1]:0");
        self.address_v6 = Some(address_of(&listener));
        shard.listen(listener.socket(ShardId(0)).unwrap()).unwrap();
    }

    fn connect_from(&mut self, from: IpAddr) -> TcpStream {
        let to = if from.is_ipv4() { self.address } else { self.address_v6.expect("it listens there") };
        let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = rustix::net::socket(family, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddr::new(from, 0)).unwrap();
        rustix::net::connect(&socket, &to).unwrap();
        prepared(socket.into())
    }
}

fn prepared(client: TcpStream) -> TcpStream {
    client.set_nonblocking(true).unwrap();
    client.set_nodelay(true).unwrap();
    client
}

/// Writes what the socket takes at once.
pub fn write(client: &mut impl std::io::Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match client.write(&bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    written
}

/// Reads what has arrived.
pub fn read(client: &mut impl std::io::Read, len: usize) -> Read {
    let mut bytes = vec![0; len];
    match client.read(&mut bytes) {
        Ok(0) => Read::End,
        Ok(count) => {
            bytes.truncate(count);
            Read::Bytes(bytes)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Read::Nothing,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Read::Reset,
        Err(error) => panic!("{error}"),
    }
}

/// A shard on the driver `D` that listens there.
pub fn shard<D: KernelDriver>(
    options: &Options,
    limits: Limits,
    logic: Probe,
    listener: &Listener,
) -> Shard<D, Probe> {
    let peers = Peers::new([Waker::new().unwrap()]);
    let driver = D::build(options, &peers);
    let mesh = mesh(64, peers.wakers()).pop().unwrap();
    let mut shard = Shard::new(driver, logic, mesh, limits);
    shard.listen(listener.socket(ShardId(0)).unwrap()).unwrap();
    shard
}

fn listen(anywhere: &str) -> Listener {
    Listener::open(&Address::parse(anywhere).unwrap(), 1, &ListenOptions::default()).unwrap()
}

fn address_of(listener: &Listener) -> SocketAddr {
    let Address::Tcp(address) = *listener.address() else { panic!("it is TCP") };
    address
}
