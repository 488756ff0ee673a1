//! Connections counted exactly: per address and per user, over all shards and every transport (THREATS S4, P4).
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/client.rs"]
mod client;
#[path = "common/issuer.rs"]
mod issuer;
#[path = "common/server.rs"]
mod server;

use std::net::{IpAddr, Ipv4Addr};

use client::{Client, wait_until};
use highper_realtime::config::{Config, DriverKind};
use highper_shards::clock::unix_millis;
use issuer::{token, with_auth};
use serde_json::json;
use server::{TestServer, each_driver};

fn server(driver: DriverKind, change: impl FnOnce(&mut Config)) -> TestServer {
    TestServer::start(driver, |config| {
        config.rate_limit_enabled = true;
        config.rate_limit_connections = 10;
        change(config);
    })
}

/// Asks from an address of this host; the status and the client.
fn ask(server: &TestServer, from: [u8; 4], request: &str) -> (u16, Client) {
    let mut client = Client::from(server.address(), IpAddr::V4(Ipv4Addr::from(from)));
    client.send(request.as_bytes());
    let head = client.head();
    if head.starts_with("HTTP/1.1 429") {
        let after = client::field(&head, "retry-after").unwrap();
        assert!((5..=15).contains(&after.parse().unwrap()), "{head}");
    }
    (head[9..12].parse().unwrap(), client)
}

fn socket(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

const STREAM: &str = "GET /sse?channel=room HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn s4_an_address_has_as_many_connections_as_it_may() {
    each_driver(|driver| {
        let server = server(driver, |_| {});
        let requests = [socket("/ws"), STREAM.to_owned()];
        let mut kept = Vec::new();
        let mut refused = 0;
        for number in 0..50 {
            match ask(&server, [127, 0, 0, 1], &requests[number % 2]) {
                (101 | 200, client) => kept.push(client),
                (429, mut client) => {
                    client.rest();
                    refused += 1;
                }
                (status, _) => panic!("{status}"),
            }
        }
        assert_eq!((kept.len(), refused), (10, 40));
        assert_eq!(server.sum(|shard| shard.counters.limited_addresses), 40);
        // Another address has a count of its own, and plain requests are not counted.
        assert_eq!(ask(&server, [127, 0, 0, 2], STREAM).0, 200);
        assert_eq!(ask(&server, [127, 0, 0, 1], "GET /health/live HTTP/1.1\r\nHost: h\r\n\r\n").0, 200);
        // Whoever goes makes room for one.
        for _ in 0..30 {
            drop(kept.pop());
            let before = kept.len();
            wait_until("the place is free", || match ask(&server, [127, 0, 0, 1], &requests[0]) {
                (101, client) => {
                    kept.push(client);
                    true
                }
                (status, _) => {
                    assert_eq!(status, 429);
                    false
                }
            });
            assert_eq!((kept.len(), ask(&server, [127, 0, 0, 1], STREAM).0), (before + 1, 429));
        }
    });
}

#[test]
fn a_user_has_as_many_connections_as_it_may_however_it_says_who_it_is() {
    each_driver(|driver| {
        let server = server(driver, |config| {
            with_auth(config);
            config.rate_limit_connections = 1000;
            config.rate_limit_connections_per_user = 4;
        });
        let of = |user: &str, limits: serde_json::Value| {
            token(json!({"sub": user, "exp": unix_millis() / 1000 + 600, "limits": limits}))
        };
        let ann = of("ann", json!({}));
        let by_address = |token: &str| ask(&server, [127, 0, 0, 1], &socket(&format!("/ws?token={token}")));
        let by_message = |token: &str| {
            let mut client = Client::connect(server.address());
            client.upgrade("/ws", None);
            assert_eq!(client.json()["auth"], "required");
            // What comes right behind waits for the answer.
            client.text(&json!({"type": "auth", "token": token}).to_string());
            client.text(r#"{"type":"join","channel":"room","id":1}"#);
            client
        };
        let mut kept = vec![by_address(&ann), by_address(&ann)];
        assert!(kept.iter().all(|(status, _)| *status == 101));
        for _ in 0..2 {
            let mut client = by_message(&ann);
            assert_eq!(client.json()["type"], "authenticated");
            assert_eq!(client.json()["type"], "joined");
            kept.push((101, client));
        }
        for _ in 0..10 {
            assert_eq!(by_address(&ann).0, 429);
            assert_eq!(by_message(&ann).until_close(), (vec![], 3504));
        }
        assert_eq!(by_address(&of("bob", json!({}))).0, 101);
        // The token may say another number.
        let two = of("eve", json!({"connections": 1}));
        let first = by_address(&two);
        assert_eq!((first.0, by_address(&two).0), (101, 429));
        drop(kept);
        wait_until("the places are free", || by_address(&ann).0 == 101);
    });
}
