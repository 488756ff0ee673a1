//! A stop is told to everyone, loses nothing that was sent, waits for nobody longer than its grace, and returns.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use client::{Client, DEADLINE, Received, wait_until};
use highper_realtime::config::ByteSize;
use highper_realtime::{CloseCode, Endpoint};
use server::{TestServer, each_driver, each_driver_at_once};

/// Longer than a test may take: a stop that waits for it fails the test.
const LONG_GRACE: Duration = Duration::from_secs(3600);

/// Stops the server on another thread while `meanwhile` runs; the stop must return.
fn stop(server: TestServer, grace: Duration, meanwhile: impl FnOnce()) {
    let (to, stopped) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            server.stop(grace);
            to.send(()).unwrap();
        });
        meanwhile();
        stopped.recv_timeout(DEADLINE).expect("the stop returns");
    });
}

#[test]
fn everyone_is_told_1012_and_the_stop_returns_when_all_are_gone() {
    each_driver(|driver| {
        let (to, ends) = channel();
        let to = Mutex::new(to);
        let server = TestServer::with(
            driver,
            |_| {},
            |server| {
                let endpoint = Endpoint::raw("/app")
                    .on_close(move |_, code| to.lock().unwrap().send(code.map(CloseCode::get)).unwrap());
                server.endpoint(endpoint)
            },
        );
        let address = server.address();
        let mut sockets: Vec<Client> = (0..10).map(|_| Client::native(address)).collect();
        sockets.extend((0..10).map(|_| Client::open(address, "/echo")));
        sockets.extend((0..10).map(|_| Client::open(address, "/app")));
        for (number, socket) in sockets.iter_mut().enumerate().take(10) {
            socket.join(&format!("c{}", number % 3));
        }
        let mut idle = Client::connect(address);
        idle.send(b"GET /health/live HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(idle.answer().status, 200);
        let mut half = Client::connect(address);
        half.send(b"GET /health/live HT");
        // Who is accepted later than that is refused instead.
        wait_until("everybody is accepted", || server.connections() == 32);
        stop(server, LONG_GRACE, || {
            for socket in &mut sockets {
                assert_eq!(socket.next(), Received::Close(1012, "server restarts".into()));
            }
            assert_eq!((idle.rest(), half.rest()), (vec![], vec![]));
            drop((sockets, idle, half));
        });
        let told: Vec<Option<u16>> = ends.try_iter().collect();
        assert_eq!(told, [Some(1012); 10], "every handler hears of it once");
    });
}

#[test]
fn what_was_sent_before_the_stop_arrives() {
    each_driver(|driver| {
        let server = TestServer::start(driver, |config| {
            (config.outbox_bytes, config.outbox_soft_bytes) =
                (ByteSize::new(64 << 20), ByteSize::new(64 << 20));
        });
        let mut client = Client::narrow(server.address(), 4096);
        client.upgrade("/echo", None);
        let megabyte = vec![7; 1 << 20];
        for _ in 0..12 {
            client.binary(&megabyte);
        }
        let all_received = || server.sum(|shard| shard.counters.messages_in) == 12;
        wait_until("the server has them all", all_received);
        stop(server, LONG_GRACE, || {
            for number in 0..12 {
                assert_eq!(client.next(), Received::Binary(megabyte.clone()), "message {number}");
            }
            assert_eq!(client.until_close(), (vec![], 1012));
            drop(client);
        });
    });
}

#[test]
fn nobody_holds_a_stop_up_for_longer_than_its_grace_and_nobody_comes_in() {
    each_driver_at_once(|driver| {
        let server = TestServer::start(driver, |_| {});
        let address = server.address();
        let mut stubborn: Vec<Client> = (0..10).map(|_| Client::native(address)).collect();
        let deaf = Client::open(address, "/echo");
        stop(server, Duration::from_millis(500), || {
            for client in &mut stubborn {
                assert_eq!(client.until_close(), (vec![], 1012));
            }
            // Every shard says goodbye now, if it is not gone.
            if let Ok(stream) = std::net::TcpStream::connect(address) {
                let mut late = Client::on(stream);
                let answer = late.rest();
                // EventSource would never come back after a 503.
                assert!(answer.is_empty(), "{:?}", String::from_utf8_lossy(&answer));
            }
        });
        drop(deaf);
    });
}
