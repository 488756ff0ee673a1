//! In steady state a shard allocates nothing for an echo and nothing for a delivery; a publication costs its
//! payload, and a publisher who wants an answer what is kept for it. Counted by a global allocator on the shard's
//! own thread, under both drivers: a handler that runs there tells the count.

#[path = "common/client.rs"]
mod client;
#[path = "../wire/tests/counting/mod.rs"]
mod counting;
#[path = "common/server.rs"]
mod server;

use std::net::SocketAddr;

use client::{Client, Received, text_frame};
use highper_realtime::Endpoint;
use highper_realtime::config::{DriverKind, Shards};
use server::{TestServer, each_driver};

/// Messages that are counted.
const MESSAGES: u64 = 200;
/// What comes before: buffers and lists grow to what this traffic needs.
const WARM_UP: u64 = 400;

/// What a publication costs: its payload.
const PUBLISH: u64 = 1;
/// What an answer costs: the receipt and the `id` in it.
const RECEIPT: u64 = 2;

#[test]
fn an_echo_allocates_nothing() {
    each_driver(|driver| {
        let server = start(driver, 1);
        let mut probes = Probes::open(server.address(), 1);
        for (bytes, depth) in [(20, 1), (20, 16), (1_000, 1), (4_000, 4), (20_000, 1)] {
            let mut client = Client::open(server.address(), "/echo");
            let text = "x".repeat(bytes);
            let frames = text_frame(&text).repeat(depth);
            let mut echo = |messages: u64| {
                for _ in 0..messages / depth as u64 {
                    client.send(&frames);
                    for _ in 0..depth {
                        assert_eq!(client.next(), Received::Text(text.clone()));
                    }
                }
            };
            echo(WARM_UP);
            let counts = probes.count(|| echo(MESSAGES));
            assert_eq!(counts, [0], "{bytes} bytes, depth {depth}");
        }
    });
}

#[test]
fn a_delivery_allocates_nothing_and_a_publication_its_payload() {
    each_driver(|driver| {
        for (id, each) in [("", PUBLISH), (r#","id":7"#, PUBLISH + RECEIPT)] {
            for subscribers in [1, 40] {
                let server = start(driver, 1);
                let mut probes = Probes::open(server.address(), 1);
                let mut room = Room::open(server.address(), subscribers);
                room.publish(WARM_UP, id);
                let counts = probes.count(|| room.publish(MESSAGES, id));
                assert_eq!(counts, [each * MESSAGES], "{subscribers} subscribers, id {id:?}");
            }
        }
    });
}

#[test]
fn between_shards_nothing_is_allocated_twice() {
    each_driver(|driver| {
        let server = start(driver, 2);
        let mut probes = Probes::open(server.address(), 2);
        let mut room = Room::open(server.address(), 40);
        room.publish(WARM_UP, "");
        let counts = probes.count(|| room.publish(MESSAGES, ""));
        assert_eq!(
            counts.iter().sum::<u64>(),
            PUBLISH * MESSAGES,
            "on whatever shard it is read: {counts:?}"
        );
        assert!(counts.contains(&0), "only the shard that reads it: {counts:?}");
    });
}

fn start(driver: DriverKind, shards: u16) -> TestServer {
    let tell = |conn: &mut highper_realtime::Connection<'_>, _: highper_realtime::Message<'_>| {
        let told = [u64::from(conn.shard()), counting::so_far()];
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&told[0].to_le_bytes());
        bytes[8..].copy_from_slice(&told[1].to_le_bytes());
        conn.send_binary(&bytes)
    };
    let shards = Shards::Count(shards.try_into().expect("it is not zero"));
    let configure = |config: &mut highper_realtime::Config| config.shards = shards;
    TestServer::with(driver, configure, |server| server.endpoint(Endpoint::raw("/count").on_message(tell)))
}

/// A connection to each shard that tells what the shard has allocated.
struct Probes(Vec<Client>);

impl Probes {
    fn open(address: SocketAddr, shards: u16) -> Self {
        let mut found: Vec<Option<Client>> = (0..shards).map(|_| None).collect();
        // Which shard accepts is the kernel's choice.
        while found.iter().any(Option::is_none) {
            let mut client = Client::open(address, "/count");
            let (shard, _) = ask(&mut client);
            found[shard as usize].get_or_insert(client);
        }
        Self(found.into_iter().flatten().collect())
    }

    /// What each shard allocates meanwhile, without what the asking costs.
    fn count(&mut self, traffic: impl FnOnce()) -> Vec<u64> {
        let idle: Vec<u64> = self.0.iter_mut().map(|client| ask(client).1).collect();
        let before: Vec<u64> = self.0.iter_mut().map(|client| ask(client).1).collect();
        assert_eq!(idle, before, "asking costs nothing");
        traffic();
        self.0.iter_mut().zip(before).map(|(client, before)| ask(client).1 - before).collect()
    }
}

fn ask(client: &mut Client) -> (u64, u64) {
    client.binary(b"?");
    let Received::Binary(told) = client.next() else { panic!("the handler tells two numbers") };
    let number = |at: usize| u64::from_le_bytes(told[at..at + 8].try_into().expect("eight bytes"));
    (number(0), number(8))
}

/// Subscribers of one channel, the first of whom publishes.
struct Room(Vec<Client>);

impl Room {
    fn open(address: SocketAddr, subscribers: usize) -> Self {
        let open = |_| {
            let mut client = Client::native(address);
            client.join("room");
            client
        };
        Self((0..subscribers).map(open).collect())
    }

    /// Publishes one after the other, each when everybody has the one before.
    fn publish(&mut self, messages: u64, id: &str) {
        let frame =
            text_frame(&format!(r#"{{"type":"publish","channel":"room","data":{{"text":"hello"}}{id}}}"#));
        for _ in 0..messages {
            self.0[0].send(&frame);
            for client in &mut self.0 {
                client.json_of("message");
            }
            if !id.is_empty() {
                self.0[0].json_of("ack");
            }
        }
    }
}
