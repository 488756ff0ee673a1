//! Scripts of other sites open no WebSocket and no stream, and read no answer (THREATS H8, H9): one exact list for
//! every transport.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use client::Client;
use highper_realtime::config::{Bounds, Config, OriginMissing, OriginPattern, Value};
use server::{TestServer, each_driver};

const LISTED: [&str; 2] = ["https://app.example.com", "http://localhost:3000"];

/// Nobody of these is listed.
const FOREIGN: [&str; 13] = [
    "https://app.example.com.evil.com",
    "https://evilapp.example.com",
    "https://evilexample.com",
    "https://example.com",
    "http://app.example.com",
    "https://app.example.com:8443",
    "https://APP.example.com",
    "http://localhost",
    "http://localhost:30000",
    "https://evil.com/https://app.example.com",
    "null",
    "*",
    "",
];

fn list(config: &mut Config) {
    let parse = |origin| OriginPattern::parse(origin, &Bounds::ANY).unwrap();
    config.cors_origins = LISTED.map(parse).into();
    config.sse_cors_origins = LISTED.map(parse).into();
}

fn upgrade(server: &TestServer, fields: &str) -> u16 {
    ask(
        server,
        &format!(
            "GET /ws HTTP/1.1\r\nHost: realtime.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
        ),
    )
}

fn stream(server: &TestServer, fields: &str) -> u16 {
    ask(server, &format!("GET /sse?channel=news HTTP/1.1\r\nHost: realtime.test\r\n{fields}\r\n"))
}

fn ask(server: &TestServer, request: &str) -> u16 {
    let mut client = Client::connect(server.address());
    client.send(request.as_bytes());
    client.head()[9..12].parse().unwrap()
}

#[test]
fn h8_only_listed_sites_open_anything() {
    each_driver(|driver| {
        let server = TestServer::start(driver, list);
        for origin in LISTED {
            let field = format!("Origin: {origin}\r\n");
            assert_eq!((upgrade(&server, &field), stream(&server, &field)), (101, 200), "{origin}");
        }
        for origin in FOREIGN {
            let field = format!("Origin: {origin}\r\n");
            assert_eq!((upgrade(&server, &field), stream(&server, &field)), (403, 403), "{origin}");
        }
        let two = format!("Origin: {}\r\nOrigin: {}\r\n", LISTED[0], LISTED[0]);
        assert_eq!((upgrade(&server, &two), stream(&server, &two)), (403, 403), "two origins are none");
    });
}

#[test]
fn h8_a_missing_origin_is_taken_by_setting_alone() {
    each_driver(|driver| {
        for (setting, expected) in
            [(OriginMissing::Auto, 403), (OriginMissing::Allow, 101), (OriginMissing::Refuse, 403)]
        {
            let server = TestServer::start(driver, |config| {
                list(config);
                config.origin_missing = setting;
            });
            assert_eq!(upgrade(&server, ""), expected, "{setting}");
            // Browsers send no origin to the one they have; without one nobody of another site can read a stream.
            assert_eq!(stream(&server, ""), 200, "{setting}");
        }
        let server = TestServer::start(driver, |config| config.origin_missing = OriginMissing::Refuse);
        assert_eq!((upgrade(&server, ""), upgrade(&server, "Origin: https://any.example\r\n")), (403, 101));
    });
}

#[test]
fn h8_without_cors_only_pages_of_the_server_itself_open_anything() {
    each_driver(|driver| {
        let server = TestServer::start(driver, |config| config.cors_enabled = false);
        for (origin, expected) in [
            ("http://realtime.test", (101, 200)),
            ("https://realtime.test", (101, 200)),
            ("https://realtime.test:444", (403, 403)),
            ("https://evil.example", (403, 403)),
            ("null", (403, 403)),
        ] {
            let field = format!("Origin: {origin}\r\n");
            assert_eq!((upgrade(&server, &field), stream(&server, &field)), expected, "{origin}");
        }
        assert_eq!(upgrade(&server, ""), 101);
    });
}

#[test]
fn h9_no_answer_allows_a_foreign_site_to_read_it() {
    each_driver(|driver| {
        let server = TestServer::start(driver, list);
        for target in ["/health/ready", "/api/info", "/sse?channel=news", "/"] {
            let fields = |origin: &str| {
                let mut client = Client::connect(server.address());
                let request =
                    format!("GET {target} HTTP/1.1\r\nHost: realtime.test\r\nOrigin: {origin}\r\n\r\n");
                client.send(request.as_bytes());
                client.head().to_ascii_lowercase()
            };
            for origin in FOREIGN {
                let head = fields(origin);
                assert!(!head.contains("access-control-"), "{target} {origin}: {head}");
            }
            let head = fields(LISTED[0]);
            let allowed = format!("access-control-allow-origin: {}\r\n", LISTED[0]);
            assert!(head.contains(&allowed) && head.contains("vary: origin\r\n"), "{target}: {head}");
            assert!(!head.contains("allow-credentials"), "{target}: {head}");
        }
    });
}
