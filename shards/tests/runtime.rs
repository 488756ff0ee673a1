//! Shards on threads of their own: they start together, wake each other, and are seen when they end.
#![allow(clippy::unwrap_used, reason = "a step of a test that fails has failed the test")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use highper_shards::affinity::{CpuList, Pinning, allowed};
use highper_shards::driver::Options;
use highper_shards::logic::End;
use highper_shards::mesh::{Full, Lane};
use highper_shards::runtime::{Ended, Ending, Kind};
use highper_shards::socket::{Address, ListenOptions, Listener};
use highper_shards::{DriverKind, Io, Limits, ListenerId, Logic, Origin, Runtime, Seat, Settings};
use highper_shards::{ShardId, SlotId, StartError, start};

/// Runs each promise on every kernel driver.
macro_rules! for_each_driver {
    ($($promise:ident),* $(,)?) => {
        mod epoll {
            $(#[test]
            fn $promise() {
                super::$promise(highper_shards::DriverKind::Epoll);
            })*
        }
        mod uring {
            $(#[test]
            fn $promise() {
                super::$promise(highper_shards::DriverKind::Uring);
            })*
        }
    };
}

for_each_driver![
    shards_wake_each_other,
    an_outside_thread_wakes_a_shard,
    a_full_mailbox_gives_the_message_back,
    every_shard_serves_the_same_port,
    a_socket_file_is_served_by_all_shards,
    a_panic_outside_a_connection_is_seen_by_the_owner,
    a_panic_of_the_factory_is_an_error_of_the_start,
    threads_are_named_and_pinned,
    the_capacity_says_what_bounds_it,
    shards_beyond_the_cpus_are_allowed,
];

/// Longer than anything takes here, so that a promise that is broken fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// Echoes, passes a token around, and tells the test what it was told.
struct Node {
    told: Sender<Told>,
    shard: ShardId,
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Passed { by: ShardId, left: u32 },
    Named(Option<String>, usize),
    Accepted(ShardId),
}

#[derive(Debug, PartialEq, Eq)]
enum Order {
    /// Pass it on so many times.
    Pass(u32),
    Name,
    Panic,
    Stop,
}

impl Logic for Node {
    type Conn = ();
    type Message = Order;

    fn on_accept(
        &mut self,
        _: &mut Io<(), Order>,
        _: SlotId,
        _: ListenerId,
        _: Option<SocketAddr>,
    ) -> Option<()> {
        self.tell(Told::Accepted(self.shard));
        Some(())
    }

    fn on_bytes(&mut self, io: &mut Io<(), Order>, slot: SlotId, bytes: &mut [u8]) {
        io.open(slot).unwrap().out.write(|out| out.extend_from_slice(bytes)).unwrap();
    }

    fn on_end(&mut self, _: &mut Io<(), Order>, _: SlotId, _: End) {}

    fn on_deadline(&mut self, _: &mut Io<(), Order>, _: SlotId) {}

    fn on_panic(&mut self, _: &mut Io<(), Order>, _: SlotId) {}

    fn on_message(&mut self, io: &mut Io<(), Order>, _: Origin, order: Order) {
        match order {
            Order::Pass(0) => self.tell(Told::Passed { by: io.shard(), left: 0 }),
            Order::Pass(left) => {
                let next = ShardId((io.shard().0 + 1) % io.shards() as u16);
                io.post(next, Lane::Bulk, Order::Pass(left - 1)).unwrap();
            }
            Order::Name => {
                let name = std::thread::current().name().map(str::to_owned);
                self.tell(Told::Named(name, rustix::thread::sched_getcpu()));
            }
            Order::Panic => panic!("ordered to"),
            Order::Stop => io.stop(),
        }
    }
}

impl Node {
    fn tell(&self, told: Told) {
        // The test may have seen enough.
        let _ = self.told.send(told);
    }
}

fn settings(driver: DriverKind, shards: u16) -> Settings {
    Settings { shards, driver, ..Settings::default() }
}

fn nodes(told: Sender<Told>) -> impl Fn(&Seat<Order>) -> Node + Send + Sync + 'static {
    move |seat| Node { told: told.clone(), shard: seat.shard }
}

fn run(settings: &Settings, listeners: &[Listener]) -> (Runtime<Order>, Receiver<Told>) {
    let (told, hear) = unbounded();
    (start(settings, listeners, nodes(told)).unwrap(), hear)
}

fn order(runtime: &Runtime<Order>, shard: usize, order: Order) {
    runtime.mailboxes()[shard].post(order).expect("there is room");
}

fn stop(runtime: Runtime<Order>) -> Result<(), Ended> {
    for mailbox in runtime.mailboxes().iter() {
        // A shard that has ended takes no orders.
        let _ = mailbox.post(Order::Stop);
    }
    runtime.join()
}

fn listen(address: &str, shards: u16) -> Listener {
    let address = Address::parse(address).unwrap();
    Listener::open(&address, usize::from(shards), &ListenOptions::default()).unwrap()
}

fn port_of(listener: &Listener) -> SocketAddr {
    let Address::Tcp(address) = *listener.address() else { panic!("it is TCP") };
    address
}

fn shards_wake_each_other(driver: DriverKind) {
    let (runtime, hear) = run(&settings(driver, 3), &[]);
    // Nothing else happens, so all but one sleep: a bell that is missed ends the relay.
    for _ in 0..20 {
        order(&runtime, 0, Order::Pass(301));
        assert_eq!(hear.recv_timeout(PATIENCE), Ok(Told::Passed { by: ShardId(1), left: 0 }));
    }
    stop(runtime).unwrap();
}

fn an_outside_thread_wakes_a_shard(driver: DriverKind) {
    let (runtime, hear) = run(&settings(driver, 1), &[]);
    for _ in 0..500 {
        order(&runtime, 0, Order::Pass(0));
        assert_eq!(hear.recv_timeout(PATIENCE), Ok(Told::Passed { by: ShardId(0), left: 0 }));
    }
    stop(runtime).unwrap();
}

fn a_full_mailbox_gives_the_message_back(driver: DriverKind) {
    let settings = Settings { mesh_capacity: 4, ..settings(driver, 1) };
    let (runtime, _hear) = run(&settings, &[]);
    order(&runtime, 0, Order::Stop);
    assert_eq!(runtime.ended().recv_timeout(PATIENCE).unwrap().how, Ending::Stopped);
    let mailbox = runtime.mailboxes()[0].clone();
    let Err(Full(back)) = mailbox.post(Order::Name) else { panic!("the shard is gone") };
    assert_eq!(back, Order::Name);
    runtime.join().unwrap();
}

fn every_shard_serves_the_same_port(driver: DriverKind) {
    let listener = listen("127.0.0.1:0", 2);
    let address = port_of(&listener);
    let (runtime, hear) = run(&settings(driver, 2), &[listener]);
    let (mut clients, mut seen) = (Vec::new(), [false; 2]);
    while seen != [true; 2] {
        assert!(clients.len() < 500, "the kernel spreads 500 connections over two shards");
        clients.push(TcpStream::connect(address).unwrap());
        match hear.recv_timeout(PATIENCE) {
            Ok(Told::Accepted(shard)) => seen[shard.index()] = true,
            told => panic!("{told:?}"),
        }
    }
    clients.iter_mut().for_each(echo);
    stop(runtime).unwrap();
}

fn echo(client: &mut TcpStream) {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"hello").unwrap();
    let mut bytes = [0; 5];
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
}

fn a_socket_file_is_served_by_all_shards(driver: DriverKind) {
    let path = std::env::temp_dir().join(format!("highper-runtime-{}-{driver:?}", std::process::id()));
    let listener = listen(&format!("unix:{}", path.display()), 2);
    let (runtime, hear) = run(&settings(driver, 2), &[listener]);
    for _ in 0..50 {
        let mut client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"hello").unwrap();
        let mut bytes = [0; 5];
        client.read_exact(&mut bytes).unwrap();
        assert!(matches!(hear.recv_timeout(PATIENCE), Ok(Told::Accepted(_))));
    }
    stop(runtime).unwrap();
    std::fs::remove_file(path).unwrap();
}

fn a_panic_outside_a_connection_is_seen_by_the_owner(driver: DriverKind) {
    let listener = listen("127.0.0.1:0", 2);
    let address = port_of(&listener);
    let (runtime, hear) = run(&settings(driver, 2), &[listener]);
    let (mut of_one, mut of_other) = (Vec::new(), Vec::new());
    while of_one.is_empty() || of_other.is_empty() {
        let client = TcpStream::connect(address).unwrap();
        match hear.recv_timeout(PATIENCE) {
            Ok(Told::Accepted(ShardId(0))) => of_other.push(client),
            Ok(Told::Accepted(_)) => of_one.push(client),
            told => panic!("{told:?}"),
        }
    }
    order(&runtime, 1, Order::Panic);
    let ended = runtime.ended().recv_timeout(PATIENCE).unwrap();
    assert_eq!(ended, Ended { shard: ShardId(1), how: Ending::Panicked("ordered to".into()) });
    of_other.iter_mut().for_each(echo);
    for mut client in of_one {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        match client.read(&mut [0; 1]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("its shard is gone, but it reads {other:?}"),
        }
    }
    assert_eq!(stop(runtime).unwrap_err().to_string(), "shard 1 panicked: ordered to");
}

fn a_panic_of_the_factory_is_an_error_of_the_start(driver: DriverKind) {
    let (told, _hear) = unbounded();
    let make = nodes(told);
    let started = start::<Node, _>(&settings(driver, 3), &[], move |seat| {
        assert!(seat.shard != ShardId(2), "no place for me");
        make(seat)
    });
    match started.map(|_| ()).unwrap_err() {
        StartError::Panicked { shard: 2, message } => assert_eq!(message, "no place for me"),
        error => panic!("{error}"),
    }
}

fn threads_are_named_and_pinned(driver: DriverKind) {
    let cpus = allowed().unwrap();
    let list: Vec<String> = cpus.iter().rev().map(usize::to_string).collect();
    let list = CpuList::parse(&list.join(",")).unwrap();
    let settings = Settings { pinning: Pinning::Cpus(list), ..settings(driver, 2) };
    let (runtime, hear) = run(&settings, &[]);
    for shard in 0..2 {
        let cpu = cpus[cpus.len() - 1 - shard % cpus.len()];
        assert_eq!(runtime.shards()[shard].cpu, Some(cpu));
        order(&runtime, shard, Order::Name);
        assert_eq!(hear.recv_timeout(PATIENCE), Ok(Told::Named(Some(format!("shard-{shard}")), cpu)));
    }
    stop(runtime).unwrap();
}

fn the_capacity_says_what_bounds_it(driver: DriverKind) {
    let with = |sockets_max, connections_max| Settings {
        options: Options { sockets_max, ..Options::default() },
        limits: Limits { connections_max, ..Limits::default() },
        ..settings(driver, 2)
    };
    let capacity = |settings: &Settings| {
        let (runtime, _hear) = run(settings, &[]);
        let capacity = runtime.capacity().clone();
        stop(runtime).unwrap();
        capacity
    };
    let few = capacity(&with(1000, 100));
    assert_eq!((few.connections, few.bound.as_str()), (200, "100 connections for each of 2 shards"));
    let narrow = capacity(&with(50, 100));
    assert_eq!((narrow.connections, narrow.bound.as_str()), (100, "50 sockets for each of 2 drivers"));
    if driver == DriverKind::Epoll {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap();
        let many = capacity(&with(u32::MAX, usize::MAX));
        // 64 are reserved, and each shard has an eventfd and an epoll.
        assert_eq!(many.connections, limit - 68);
        assert!(many.bound.contains(&limit.to_string()), "{}", many.bound);
    }
}

fn shards_beyond_the_cpus_are_allowed(driver: DriverKind) {
    let shards = allowed().unwrap().len() as u16 * 2 + 1;
    let (runtime, hear) = run(&settings(driver, shards), &[]);
    order(&runtime, 0, Order::Pass(u32::from(shards)));
    assert_eq!(hear.recv_timeout(PATIENCE), Ok(Told::Passed { by: ShardId(0), left: 0 }));
    stop(runtime).unwrap();
}

#[test]
fn auto_takes_one_driver_for_all_shards_and_warns_if_it_is_not_io_uring() {
    let (runtime, _hear) = run(&settings(DriverKind::Auto, 2), &[]);
    match runtime.driver() {
        Kind::Uring => assert_eq!(runtime.warning(), None),
        Kind::Epoll => {
            let warning = runtime.warning().unwrap();
            assert!(warning.contains("io_uring") && warning.contains("epoll"), "{warning}");
        }
    }
    assert!(runtime.shards().iter().all(|shard| !shard.features.is_empty()));
    stop(runtime).unwrap();
}
