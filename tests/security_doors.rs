//! What is noticed at the door reaches operators: failed tokens (THREATS J14), foreign sites, limits that were hit.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/client.rs"]
mod client;
#[path = "common/issuer.rs"]
mod issuer;
#[path = "common/server.rs"]
mod server;
#[path = "common/stream.rs"]
mod stream;

use std::net::{IpAddr, Ipv4Addr};

use client::{Client, field};
use highper_realtime::config::{Bounds, OriginPattern, SecurityMode, Shards, Value as _};
use highper_shards::clock::unix_millis;
use issuer::{token, with_auth};
use serde_json::{Value, json};
use server::{TestServer, each_driver};
use stream::Stream;

const FAILURES: u32 = 10;

fn server(driver: highper_realtime::config::DriverKind, mode: SecurityMode) -> TestServer {
    TestServer::start(driver, |config| {
        with_auth(config);
        // One shard counts what comes from an address exactly.
        config.shards = Shards::Count(1.try_into().unwrap());
        config.monitoring_security_mode = mode;
        config.monitoring_security_auth_failures = FAILURES;
        config.rate_limit_enabled = true;
        config.rate_limit_connections = 2;
        config.cors_origins = vec![OriginPattern::parse("https://app.example.com", &Bounds::ANY).unwrap()];
    })
}

/// Asks for a WebSocket from an address of this host; the head of the answer.
fn knock(server: &TestServer, from: [u8; 4], fields: &str) -> (String, Client) {
    let mut client = Client::from(server.address(), IpAddr::V4(Ipv4Addr::from(from)));
    client.send(
        format!(
            "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
        )
        .as_bytes(),
    );
    (client.head(), client)
}

fn good() -> String {
    let ann = token(json!({"sub": "ann", "exp": unix_millis() / 1000 + 600}));
    format!("Authorization: Bearer {ann}\r\n")
}

/// The next event of this type in the feed.
fn event(feed: &mut Stream, kind: &str) -> Value {
    loop {
        let seen = feed.json()["security_event"].take();
        if seen["type"] == kind {
            return seen;
        }
    }
}

#[test]
fn j14_an_address_that_guesses_tokens_is_told_of_and_may_be_shut_out() {
    each_driver(|driver| {
        for mode in [SecurityMode::Observe, SecurityMode::Block] {
            let server = server(driver, mode);
            let mut feed = Stream::open(server.address(), "/api/security");
            let guesser = [127, 0, 0, 3];
            let mut statuses = Vec::new();
            for _ in 0..30 {
                let (head, _) = knock(&server, guesser, "Authorization: Bearer a.b.c\r\n");
                if head.starts_with("HTTP/1.1 429") {
                    assert!(field(&head, "retry-after").is_some(), "{head}");
                }
                statuses.push(head[9..12].parse::<u16>().unwrap());
            }
            let shut = statuses.iter().filter(|status| **status == 429).count();
            assert_eq!(shut > 0, mode == SecurityMode::Block, "{statuses:?}");
            assert!(statuses[..FAILURES as usize].iter().all(|status| *status == 401), "{statuses:?}");
            let bad = event(&mut feed, "bad_token");
            assert_eq!((&bad["client_ip"], &bad["blocked"]), (&json!("127.0.0.3"), &json!(true)), "{bad}");
            let brute = event(&mut feed, "brute_force");
            assert_eq!(brute["blocked"], json!(mode == SecurityMode::Block), "{brute}");
            // Who watches only lets a good token in; who blocks lets others in.
            let expected = if mode == SecurityMode::Block { "HTTP/1.1 429" } else { "HTTP/1.1 101" };
            assert!(knock(&server, guesser, &good()).0.starts_with(expected));
            assert!(knock(&server, [127, 0, 0, 4], &good()).0.starts_with("HTTP/1.1 101"));
        }
    });
}

#[test]
fn foreign_sites_and_full_addresses_are_told_of() {
    each_driver(|driver| {
        let server = server(driver, SecurityMode::Observe);
        let mut feed = Stream::open(server.address(), "/api/security");
        let from = [127, 0, 0, 5];
        let foreign = format!("Origin: https://evil.example\r\n{}", good());
        assert!(knock(&server, from, &foreign).0.starts_with("HTTP/1.1 403"));
        assert_eq!(event(&mut feed, "bad_origin")["client_ip"], "127.0.0.5");
        let kept = [knock(&server, from, &good()), knock(&server, from, &good())];
        assert!(kept.iter().all(|(head, _)| head.starts_with("HTTP/1.1 101")));
        assert!(knock(&server, from, &good()).0.starts_with("HTTP/1.1 429"));
        let limit = event(&mut feed, "rate_limit");
        assert_eq!(
            (&limit["client_ip"], &limit["severity"]),
            (&json!("127.0.0.5"), &json!("low")),
            "{limit}"
        );
    });
}
