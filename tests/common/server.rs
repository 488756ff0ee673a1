//! A server inside the test process, on a port of its own. It ends with the test.

use std::net::SocketAddr;
use std::time::Duration;

use highper_realtime::config::{Bounds, DriverKind, Host, Shards, UrlPath, Value};
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
        let mut config = Config::default();
        config.host = Host::Ip([127, 0, 0, 1].into());
        config.port = 0;
        config.io_driver = driver;
        config.shards = Shards::Count(2.try_into().expect("it is not zero"));
        config.receive_buffers = 64;
        config.echo_path = UrlPath::parse("/echo", &Bounds::ANY);
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
    for driver in [DriverKind::Uring, DriverKind::Epoll] {
        println!("driver {driver:?}");
        test(driver);
    }
}
