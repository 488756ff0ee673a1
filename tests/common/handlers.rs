//! What tests of handlers share: a server with an embedder's endpoint, and results out of its callbacks.
#![allow(dead_code, reason = "each test uses its part")]

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use highper_realtime::Server;
use highper_realtime::config::DriverKind;

use crate::client::Client;
use crate::server::TestServer;

/// A server with the endpoints that `build` adds.
pub fn start(driver: DriverKind, build: impl FnOnce(Server) -> Server) -> TestServer {
    TestServer::with(driver, |_| {}, build)
}

/// A client of the endpoint at `/app`.
pub fn open(server: &TestServer) -> Client {
    Client::open(server.address(), "/app")
}

/// A channel of results out of handlers, which are shared by threads.
pub fn results<T: Send>() -> (Mutex<Sender<T>>, Receiver<T>) {
    let (to, from) = channel();
    (Mutex::new(to), from)
}

/// Sends one of them.
pub fn report<T>(to: &Mutex<Sender<T>>, result: T) {
    to.lock().expect("no test panics with it").send(result).expect("the test waits for it");
}
