//! Every limit holds against real sockets, says so, and lets those who keep to it alone. Names begin with the row of the
//! threat they answer.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/client.rs"]
mod client;
#[path = "common/process.rs"]
mod process;
#[path = "common/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use client::{Client, Received, field, frame, text_frame, wait_until};
use highper_realtime::Config;
use highper_realtime::config::Bounds;
use highper_realtime::config::{ByteSize, Cap, Shards, Value};
use highper_shards::Moment;
use highper_wire::ws::handshake::{Key, client as handshake};
use process::Process;
use serde_json::Value as Json;
use server::{TestServer, each_driver};

const PING: u8 = 0x89;

/// Limits so slow that nothing comes back while a test runs: one message a minute, five at once.
fn limited(config: &mut Config) {
    config.rate_limit_enabled = true;
    config.rate_limit_messages_per_minute = 1;
    config.rate_limit_burst = 5;
}

fn ping(id: u32) -> Vec<u8> {
    text_frame(&format!(r#"{{"type":"ping","id":{id}}}"#))
}

#[test]
fn too_many_messages_are_refused_then_the_connection_is_closed() {
    each_driver(|driver| {
        let server = TestServer::start(driver, limited);
        let mut client = Client::native(server.address());
        client.send(&(1..=11).flat_map(ping).collect::<Vec<u8>>());
        for id in 1..=5 {
            let event = client.json();
            assert_eq!((&event["type"], &event["id"]), (&"pong".into(), &id.into()));
        }
        for id in 6..=11 {
            let event = client.json();
            assert_eq!((&event["type"], &event["code"]), (&"error".into(), &"rate_limited".into()));
            assert_eq!(event["id"], id);
            let retry_in = event["retry_in_ms"].as_u64().unwrap();
            assert!(retry_in > 30_000 && retry_in <= 60_000, "{retry_in}");
        }
        let (before, code) = client.until_close();
        assert_eq!((before, code), (vec![], 1008), "five may be refused, the sixth is the last");
        assert_eq!(server.sum(|shard| shard.counters.limited_messages), 6);
        assert_eq!(server.sum(|shard| shard.counters.limited_closed), 1);
    });
}

#[test]
fn a_raw_endpoint_drops_without_a_word_then_closes() {
    each_driver(|driver| {
        let server = TestServer::start(driver, limited);
        let mut client = Client::open(server.address(), "/echo");
        client.send(&(0..11).flat_map(|number| text_frame(&number.to_string())).collect::<Vec<u8>>());
        let (before, code) = client.until_close();
        let echoed: Vec<_> = (0..5).map(|number| Received::Text(number.to_string())).collect();
        assert_eq!((before, code), (echoed, 1008));
    });
}

#[test]
fn without_limits_nobody_is_limited() {
    let server = TestServer::start(highper_realtime::config::DriverKind::Auto, |_| {});
    let mut client = Client::native(server.address());
    client.send(&(0..2000).flat_map(ping).collect::<Vec<u8>>());
    for id in 0..2000 {
        assert_eq!(client.json()["id"], id);
    }
}

#[test]
fn one_client_beyond_its_limit_takes_nothing_from_another() {
    let server = TestServer::start(highper_realtime::config::DriverKind::Auto, limited);
    let mut other = Client::native(server.address());
    let mut flood = Client::native(server.address());
    flood.send(&(0..100).flat_map(ping).collect::<Vec<u8>>());
    assert_eq!(flood.until_close().1, 1008);
    for id in 1..=5 {
        other.send(&ping(id));
        assert_eq!(other.json()["type"], "pong");
    }
}

#[test]
fn w5_a_flood_of_pings_ends() {
    each_driver(|driver| {
        let server = TestServer::start(driver, limited);
        let mut client = Client::open(server.address(), "/echo");
        // Four pings cost a message: twenty are answered, twenty are not, the next is the last.
        client.try_send(&(0..100).flat_map(|_| frame(PING, b"?")).collect::<Vec<u8>>());
        let (before, code) = client.until_close();
        assert_eq!(code, 1008);
        assert_eq!(before, vec![Received::Pong(b"?".to_vec()); 20]);
        assert_eq!(server.sum(|shard| shard.counters.limited_controls), 21);
    });
}

#[test]
fn joins_and_bytes_are_limited_apart_from_messages() {
    let server = TestServer::start(highper_realtime::config::DriverKind::Auto, |config| {
        config.rate_limit_enabled = true;
        config.rate_limit_messages_per_minute = 1000;
        config.rate_limit_burst = 1000;
        config.rate_limit_joins_per_minute = 2;
        config.rate_limit_bytes_per_minute = ByteSize::new(100);
    });
    let mut client = Client::native(server.address());
    (0..2).for_each(|number| client.join(&format!("room-{number}")));
    client.text(r#"{"type":"join","channel":"room-2","id":"j"}"#);
    let event = client.json();
    assert_eq!((&event["code"], &event["id"]), (&"rate_limited".into(), &"j".into()));
    assert!(event["retry_in_ms"].as_u64().unwrap() <= 30_000);
    client.text(r#"{"type":"leave","channel":"room-0"}"#);
    assert_eq!(client.json()["type"], "left");
    let publish = |bytes: usize| {
        let data = "x".repeat(bytes - 2);
        format!(r#"{{"type":"publish","channel":"elsewhere","data":"{data}","id":7}}"#)
    };
    client.text(&publish(90));
    assert_eq!(client.json()["type"], "ack");
    client.text(&publish(90));
    let event = client.json();
    assert_eq!((&event["code"], &event["id"]), (&"rate_limited".into(), &7.into()));
    client.text(r#"{"type":"ping"}"#);
    assert_eq!(client.json()["type"], "pong");
    assert_eq!(server.sum(|shard| shard.counters.limited_joins), 1);
    assert_eq!(server.sum(|shard| shard.counters.limited_bytes), 1);
}

/// The opening handshake for `/ws`.
fn upgrade() -> Vec<u8> {
    let mut request = Vec::new();
    let key = Key::from_nonce(*b"sixteen byte key");
    handshake::write_request(&mut request, "localhost", "/ws", &key, None, None, &[]);
    request
}

/// Asks for a WebSocket; `None` if it is open, else the head of the refusal.
fn knock(address: SocketAddr) -> (Client, Option<String>) {
    let mut client = Client::connect(address);
    client.send(&upgrade());
    let head = client.head();
    let refused = (client::status(&head) != 101).then_some(head);
    (client, refused)
}

fn get(address: SocketAddr, path: &str) -> (u16, Json) {
    let mut client = Client::connect(address);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    let answer = client.answer();
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

#[test]
fn f22_a_herd_is_let_in_at_the_rate_and_told_to_come_back_at_different_times() {
    each_driver(|driver| {
        let server = TestServer::start(driver, |config| {
            config.shards = Shards::Count(1.try_into().unwrap());
            config.rate_limit_enabled = true;
            config.rate_limit_new_connections = 2;
        });
        let began = Moment::now();
        let mut clients: Vec<Client> = (0..60).map(|_| Client::connect(server.address())).collect();
        clients.iter_mut().for_each(|client| client.send(&upgrade()));
        let heads: Vec<String> = clients.iter_mut().map(Client::head).collect();
        let most = 2 + 2 * (Moment::now().since(began).as_secs() + 1);
        let opened = heads.iter().filter(|head| client::status(head) == 101).count() as u64;
        assert!((2..=most).contains(&opened), "{opened}");
        let refused = heads.iter().filter(|head| client::status(head) == 503);
        let retry: BTreeSet<u64> =
            refused.map(|head| field(head, "retry-after").unwrap().parse().unwrap()).collect();
        assert!(retry.len() > 1 && retry.iter().all(|secs| (1..=5).contains(secs)), "{retry:?}");
        assert_eq!(get(server.address(), "/realtime/health").0, 200);
        assert_eq!(server.sum(|shard| shard.counters.limited_opens), 60 - opened);
    });
}

#[test]
fn calls_of_the_server_api_beyond_the_rate_get_429() {
    let server = TestServer::start(highper_realtime::config::DriverKind::Auto, |config| {
        config.shards = Shards::Count(1.try_into().unwrap());
        config.rate_limit_enabled = true;
        config.rate_limit_api_calls = 3;
    });
    let mut client = Client::connect(server.address());
    let body = r#"{"commands":[{"info":{}},{"info":{}},{"info":{}}]}"#;
    let request = |path: &str, body: &str| {
        format!(
            "POST /api/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    // One segment, one turn: a batch of three, then one more.
    client.send((request("batch", body) + &request("info", "{}")).as_bytes());
    assert_eq!(client.answer().status, 200);
    let refused = client.answer();
    assert_eq!((refused.status, field(&refused.head, "retry-after")), (429, Some("1")));
    let body: Json = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!((&body["error"]["code"], &body["error"]["temporary"]), (&111.into(), &true.into()));
    wait_until("it comes back", || {
        client.send(request("info", "{}").as_bytes());
        client.answer().status == 200
    });
}

#[test]
fn r1_beyond_the_ceiling_there_are_503s_and_health_and_no_spinning() {
    each_driver(|driver| {
        let server = TestServer::start(driver, |config| {
            config.shards = Shards::Count(1.try_into().unwrap());
            config.max_connections = Cap::parse("8", &Bounds::ANY).unwrap();
        });
        let address = server.address();
        let mut open: Vec<Client> = Vec::new();
        for _ in 0..100 {
            match knock(address) {
                (client, None) => open.push(client),
                (_, Some(head)) => {
                    assert_eq!(client::status(&head), 503);
                    assert!((5..15).contains(&field(&head, "retry-after").unwrap().parse().unwrap()));
                }
            }
        }
        assert_eq!(open.len(), 8);
        assert_eq!(get(address, "/realtime/health").0, 200);
        // Sockets that never say anything: told at once beyond the spare ones, the rest wait.
        let silent: Vec<Client> = (0..200).map(|_| Client::connect(address)).collect();
        wait_until("the spare is full", || server.sum(|shard| shard.counters.refused) > 92);
        let turns = server.sum(|shard| shard.shard.turns);
        assert_eq!(open[0].next_within(Duration::from_millis(20)).map(|_| ()), Some(()), "the welcome");
        assert_eq!(open[0].next_within(Duration::from_millis(500)), None);
        let more = server.sum(|shard| shard.shard.turns) - turns;
        assert!(more < 300, "{more} turns in half a second in which nothing happened");
        drop(silent);
        wait_until("room again", || get(address, "/realtime/health").0 == 200);
        open.pop();
        wait_until("one more may come", || knock(address).1.is_none());
    });
}

#[test]
fn r1_at_the_limit_of_descriptors_there_are_503s_and_health() {
    for driver in ["uring", "epoll"] {
        let variables = [("REALTIME_IO_DRIVER", driver), ("REALTIME_SHARDS", "1")];
        let process = Process::limited(&variables, 300);
        let mut open = Vec::new();
        let mut refused = 0;
        for _ in 0..1000 {
            match knock(process.address()) {
                (client, None) => open.push(client),
                (_, Some(head)) => {
                    assert_eq!(client::status(&head), 503);
                    refused += 1;
                }
            }
        }
        assert!(open.len() > 100 && open.len() < 300, "{driver}: {} are open", open.len());
        assert_eq!(open.len() + refused, 1000);
        assert_eq!(get(process.address(), "/realtime/health").0, 200);
        let mut last = open.pop().unwrap();
        assert!(matches!(last.next(), Received::Text(_)), "the welcome");
        last.send(&ping(1));
        assert_eq!(last.json()["type"], "pong");
    }
}
