//! A server inside the test process, on a port of its own. It ends with the test.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::print_stdout, reason = "a failed test tells its driver")]

use std::net::SocketAddr;
use std::time::Duration;

use highper_realtime::config::{Bounds, DriverKind, Host, Shards, UrlPath, Value};
use highper_realtime::observe::counters::Snapshot;
use highper_realtime::{Config, Running, Server};
use highper_shards::socket::Address;

/// A running server.
pub struct TestServer {
    running: Option<Running>,
    address: SocketAddr,
}

impl TestServer {
    /// Starts a server whose configuration is the default after `change`, with an echo endpoint at `/echo`.
    pub fn start(driver: DriverKind, change: impl FnOnce(&mut Config)) -> Self {
        Self::with(driver, change, |server| server)
    }

    /// As [`TestServer::start`], with the endpoints that `build` adds.
    pub fn with(
        driver: DriverKind,
        change: impl FnOnce(&mut Config),
        build: impl FnOnce(Server) -> Server,
    ) -> Self {
        let mut config = Config {
            host: Host::Ip([127, 0, 0, 1].into()),
            port: 0,
            io_driver: driver,
            shards: Shards::Count(2.try_into().expect("it is not zero")),
            receive_buffers: 64,
            echo_path: UrlPath::parse("/echo", &Bounds::ANY),
            ..Config::default()
        };
        change(&mut config);
        let running = build(Server::new(config)).start().expect("the server starts");
        let Address::Tcp(address) = *running.address() else { panic!("tests listen on TCP") };
        Self { running: Some(running), address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server.
    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs until the test ends")
    }

    /// Slots in use on all shards, those included that only wait for their peer to close.
    pub fn connections(&self) -> usize {
        self.sum(|shard| shard.connections as u64) as usize
    }

    /// Sums a number of every shard.
    pub fn sum(&self, number: impl Fn(&Snapshot) -> u64) -> u64 {
        let snapshots = self.running().snapshots();
        assert_eq!(snapshots.len(), self.running().shards().len(), "every shard answers");
        snapshots.iter().map(number).sum()
    }

    /// Stops it as SIGTERM would.
    pub fn stop(mut self, grace: Duration) {
        let running = self.running.take().expect("it runs until the test ends");
        running.stop(grace).expect("every shard ends by itself");
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let stopped = running.stop(Duration::ZERO);
            if !std::thread::panicking() {
                stopped.expect("every shard ends by itself");
            }
        }
    }
}

/// Runs a test once for each driver of the kernel.
pub fn each_driver(test: impl Fn(DriverKind)) {
    for driver in DRIVERS {
        println!("driver {driver:?}");
        test(driver);
    }
}

/// The same at the same time, for tests that mostly wait.
pub fn each_driver_at_once(test: impl Fn(DriverKind) + Sync) {
    std::thread::scope(|scope| {
        for driver in DRIVERS {
            let test = &test;
            scope.spawn(move || {
                println!("driver {driver:?}");
                test(driver);
            });
        }
    });
}

const DRIVERS: [DriverKind; 2] = [DriverKind::Uring, DriverKind::Epoll];
