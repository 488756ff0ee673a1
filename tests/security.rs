//! Threat monitoring over real sockets, on both drivers: what looks like an attack is told, refused in block mode
//! only, and tells nothing that is secret. Named after the rows of the threat model.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/client.rs"]
mod client;
#[path = "common/process.rs"]
mod process;
#[path = "common/server.rs"]
mod server;
#[path = "common/stream.rs"]
mod stream;

use std::net::SocketAddr;

use client::{Answer, Client, Received, wait_until};
use highper_realtime::Config;
use highper_realtime::config::{Bounds, DriverKind, OriginPattern, Secret, SecurityMode, Value as _};
use highper_realtime::observe::counters::Security;
use highper_realtime::security::Kind;
use process::Process;
use serde_json::Value;
use server::{TestServer, each_driver};
use stream::Stream;

const ATTACK: &str = "/ws?q=1%27%20or%20%271%27%3D%271%27%20--";
const KEY: &str = "the key of this test, long enough";

fn server(driver: DriverKind, change: impl FnOnce(&mut Config)) -> TestServer {
    TestServer::start(driver, change)
}

fn blocking(config: &mut Config) {
    config.monitoring_security_mode = SecurityMode::Block;
    config.monitoring_security_messages = true;
}

/// Asks for a target on a connection of its own.
fn get(address: SocketAddr, target: &str, fields: &str) -> Answer {
    let mut client = Client::connect(address);
    client.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes());
    client.answer()
}

/// Sums what every shard counts.
fn counted(server: &TestServer, number: impl Fn(&Security) -> u64) -> u64 {
    server.sum(|snapshot| number(&snapshot.security))
}

fn seen(server: &TestServer, kind: Kind) -> u64 {
    counted(server, |security| security.seen[kind.index()].iter().sum())
}

/// The next event of the feed.
#[track_caller]
fn event(feed: &mut Stream) -> Value {
    let seen = feed.next();
    assert_eq!(seen.event, "security_event");
    seen.json()["security_event"].clone()
}

#[test]
fn observing_tells_of_attacks_and_serves_them() {
    each_driver(|driver| {
        let server = server(driver, |_| {});
        let mut feed = Stream::open(server.address(), "/api/security");
        assert_eq!(get(server.address(), ATTACK, "").status, 426, "it is served as ever");
        let told = event(&mut feed);
        assert_eq!((&told["type"], &told["severity"]), (&"sql_injection".into(), &"high".into()));
        assert_eq!((&told["blocked"], &told["where"]), (&false.into(), &"query".into()));
        assert!(told["timestamp"].as_u64().unwrap() > 1_700_000_000);
        assert_eq!(get(server.address(), "/", "User-Agent: sqlmap/1.8\r\n").status, 200);
        assert_eq!(event(&mut feed)["type"], "suspicious_user_agent");
        assert_eq!(get(server.address(), "/..%2f..%2fetc/passwd", "").status, 404);
        assert_eq!(event(&mut feed)["type"], "path_traversal");
        assert_eq!(get(server.address(), "/?n=O%27Brien&q=select+a+table+for+two", "").status, 200);
        assert_eq!(counted(&server, Security::total), 3);
        wait_until("health tells", || {
            let health: Value =
                serde_json::from_slice(&get(server.address(), "/realtime/health", "").body).unwrap();
            health["monitoring"]["security_monitor"]["threats_detected"] == 3
        });
    });
}

#[test]
fn blocking_refuses_requests_and_closes_the_connection() {
    each_driver(|driver| {
        let server = server(driver, blocking);
        let mut feed = Stream::open(server.address(), "/api/security");
        for target in [ATTACK, "/?x=%3Cscript%3Ealert(1)%3C/script%3E", "/%2e%2e/%2e%2e/etc/passwd"] {
            let mut client = Client::connect(server.address());
            client.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
            assert_eq!(client.answer().status, 403, "{target}");
            assert_eq!(client.next(), Received::End, "{target}");
            assert_eq!(event(&mut feed)["blocked"], true);
        }
        assert_eq!(
            get(server.address(), "/", "User-Agent: Nikto/2.5\r\n").status,
            200,
            "medium is only told"
        );
        assert_eq!(event(&mut feed)["blocked"], false);
        assert_eq!(get(server.address(), "/", "").status, 200);
        assert_eq!(counted(&server, |security| security.blocked), 3);
    });
}

#[test]
fn messages_are_looked_at_when_asked_for() {
    let attack = r#"{"type":"publish","channel":"c","data":"<script>alert(1)</script>"}"#;
    each_driver(|driver| {
        let strict = server(driver, blocking);
        let mut client = Client::native(strict.address());
        client.text(r#"{"type":"publish","channel":"c","data":"it's <b>fine</b>","id":"1"}"#);
        assert_eq!(client.json()["type"], "ack");
        client.text(attack);
        assert_eq!(client.until_close().1, 1008);
        let lax = server(driver, |config| config.monitoring_security_messages = true);
        let off = server(driver, |config| config.monitoring_security_mode = SecurityMode::Block);
        for server in [&lax, &off] {
            let mut client = Client::native(server.address());
            client.text(attack);
            client.text(r#"{"type":"ping"}"#);
            assert_eq!(client.json()["type"], "pong");
        }
        assert_eq!((seen(&lax, Kind::Xss), seen(&off, Kind::Xss)), (1, 0));
    });
}

#[test]
fn the_feed_is_for_those_who_may_call_the_api() {
    each_driver(|driver| {
        let guarded = server(driver, |config| config.api_key = Some(Secret::new(KEY)));
        for fields in ["", "X-API-Key: wrong\r\n"] {
            assert_eq!(get(guarded.address(), "/api/security", fields).status, 401, "{fields}");
        }
        let mut feed = Stream::with(guarded.address(), "/api/security", &format!("X-API-Key: {KEY}\r\n"));
        assert!(feed.head.contains("text/event-stream"), "{}", feed.head);
        get(guarded.address(), ATTACK, "");
        assert_eq!(event(&mut feed)["type"], "sql_injection");
        let open = server(driver, |_| {});
        let foreign = "Origin: https://evil.example\r\n";
        assert_eq!(get(open.address(), "/api/security", foreign).status, 403);
        let off = server(driver, |config| config.monitoring_security_enabled = false);
        assert_eq!(get(off.address(), "/api/security", "").status, 404);
        assert_eq!(get(off.address(), ATTACK, "").status, 426);
        assert_eq!(counted(&off, Security::total), 0);
    });
}

#[test]
fn nobody_but_the_feed_hears_of_events() {
    each_driver(|driver| {
        let server = server(driver, |_| {});
        let mut bystander = Client::native(server.address());
        bystander.join("security");
        let mut feed = Stream::open(server.address(), "/api/security");
        get(server.address(), ATTACK, "");
        event(&mut feed);
        bystander.text(r#"{"type":"broadcast","data":1}"#);
        assert_eq!(bystander.json()["type"], "error", "clients may not broadcast, and heard nothing else");
    });
}

#[test]
fn j11_no_token_reaches_the_log_the_feed_or_health() {
    let secret = "tok3n-that-nobody-may-read";
    let process = Process::start(&[
        ("REALTIME_LOG_LEVEL", "trace"),
        ("REALTIME_API_KEY", KEY),
        ("MONITORING_SECURITY_MESSAGES", "true"),
    ]);
    let address = process.address();
    let mut feed = Stream::with(address, "/api/security", &format!("X-API-Key: {KEY}\r\n"));
    let mut open = Client::open(address, &format!("/ws?token={secret}"));
    assert_eq!(open.json()["type"], "welcome");
    open.text(&format!(r#"{{"type":"join","channel":"{secret}<script>alert(1)</script>"}}"#));
    open.json();
    for target in [
        format!("/ws?token={secret}%27%20or%201=1%20--"),
        format!("/nowhere?access_token={secret}"),
        format!("/%2e%2e/%2e%2e/etc/passwd?api_key={secret}"),
        format!("/ws?q=%3Cscript%3E{secret}"),
    ] {
        get(address, &target, &format!("Authorization: Bearer {secret}\r\nCookie: sid={secret}\r\n"));
    }
    get(address, "/api/security", &format!("X-API-Key: {secret}\r\n"));
    feed.until_raw("bad_token");
    let fed = String::from_utf8(feed.raw.clone()).unwrap();
    let health = String::from_utf8(get(address, "/realtime/health", "").body).unwrap();
    drop((open, feed));
    let log = process.log();
    assert!(log.contains(r#"{"security_event":{"type":"sql_injection""#), "{log}");
    for text in [fed, health, log] {
        assert!(!text.contains(secret) && !text.contains(KEY), "{text}");
    }
}

#[test]
fn j14_keys_that_are_wrong_are_counted_and_told() {
    each_driver(|driver| {
        let server = server(driver, |config| config.api_key = Some(Secret::new(KEY)));
        for _ in 0..20 {
            assert_eq!(get(server.address(), "/api/security", "X-API-Key: guess\r\n").status, 401);
        }
        assert_eq!(seen(&server, Kind::BadToken), 20);
        let feed = Stream::with(server.address(), "/api/security", &format!("X-API-Key: {KEY}\r\n"));
        assert!(feed.head.starts_with("HTTP/1.1 200"), "who knows the key is let in while only observing");
    });
}

#[test]
fn r5_whatever_a_client_sends_a_line_of_the_log_is_one_event() {
    let process = Process::start(&[("REALTIME_LOG_LEVEL", "trace")]);
    let address = process.address();
    get(address, "/%1b%5b2J%0a%7b%22level%22%3a%22x%22%7d/../x", "User-Agent: nikto\x0c\u{9b}31m\r\n");
    get(address, "/", "User-Agent: sqlmap \u{9b}31m\r\n");
    let log = process.log();
    for line in log.lines() {
        assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    assert!(log.contains(r#""type":"suspicious_user_agent""#), "{log}");
}

#[test]
fn r6_events_beyond_the_budget_are_counted_and_not_told() {
    each_driver(|driver| {
        let server = server(driver, |config| config.monitoring_security_events_per_second = 1);
        let mut client = Client::connect(server.address());
        for _ in 0..500 {
            client.send(format!("GET {ATTACK} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
            assert_eq!(client.answer().status, 426);
        }
        assert_eq!(seen(&server, Kind::SqlInjection), 500);
        let suppressed = counted(&server, |security| security.suppressed[Kind::SqlInjection.index()]);
        assert!((1..500).contains(&suppressed), "{suppressed}");
    });
}

#[test]
fn r8_a_server_that_is_told_so_leaves_no_dump() {
    let server = server(DriverKind::Epoll, |config| config.no_core_dumps = true);
    let behavior = rustix::process::dumpable_behavior().unwrap();
    assert!(matches!(behavior, rustix::process::DumpableBehavior::NotDumpable));
    assert_eq!(get(server.address(), "/health/live", "").status, 200);
}

#[test]
fn w4_a_flood_of_empty_continuations_is_an_event() {
    each_driver(|driver| {
        let server = server(driver, |_| {});
        let mut feed = Stream::open(server.address(), "/api/security");
        let mut client = Client::open(server.address(), "/echo");
        // Masked with zeros: a text frame without FIN, then empty continuations.
        client.send(&[0x01, 0x80, 0, 0, 0, 0]);
        for _ in 0..300 {
            if !client.try_send(&[0x00, 0x80, 0, 0, 0, 0]) {
                break;
            }
        }
        let told = event(&mut feed);
        assert_eq!((&told["type"], &told["blocked"]), (&"protocol_glitches".into(), &true.into()));
    });
}

#[test]
fn w6_odd_frames_are_told_at_three_quarters_and_closed_at_the_limit() {
    each_driver(|driver| {
        let server = server(driver, |_| {});
        let mut feed = Stream::open(server.address(), "/api/security");
        let mut client = Client::open(server.address(), "/echo");
        let pong = [0x8a, 0x80, 0, 0, 0, 0];
        (0..191).for_each(|_| client.send(&pong));
        client.text("here");
        assert_eq!(client.next(), Received::Text("here".into()));
        assert_eq!(counted(&server, Security::total), 0, "one below is nothing");
        client.send(&pong);
        let told = event(&mut feed);
        assert_eq!((&told["severity"], &told["blocked"]), (&"low".into(), &false.into()));
        (0..64).for_each(|_| client.send(&pong));
        client.text("still here");
        assert_eq!(client.next(), Received::Text("still here".into()));
        client.send(&pong);
        assert_eq!(client.until_close().1, 1008);
        let told = event(&mut feed);
        assert_eq!((&told["severity"], &told["blocked"]), (&"medium".into(), &true.into()));
        assert_eq!(server.sum(|snapshot| snapshot.counters.glitches), 257);
    });
}

#[test]
fn h8_sites_that_may_not_open_anything_are_told_of_whatever_they_open() {
    each_driver(|driver| {
        let server = server(driver, |config| {
            let listed = OriginPattern::parse("https://app.example.com", &Bounds::ANY).unwrap();
            config.cors_origins = vec![listed.clone()];
            config.sse_cors_origins = vec![listed];
        });
        const EVIL: &str = "Origin: https://evil.example\r\n";
        assert_eq!(get(server.address(), "/sse?channel=a", EVIL).status, 403);
        assert_eq!(seen(&server, Kind::BadOrigin), 1);
        let upgrade = format!(
            "{EVIL}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        assert_eq!(get(server.address(), "/ws", &upgrade).status, 403);
        assert_eq!(seen(&server, Kind::BadOrigin), 2);
    });
}

#[test]
fn whoever_goes_on_beyond_a_limit_is_told_of_once() {
    each_driver(|driver| {
        let server = server(driver, |config| {
            config.rate_limit_enabled = true;
            config.rate_limit_messages_per_minute = 1;
            config.rate_limit_burst = 5;
            config.rate_limit_connections = 1;
        });
        let mut client = Client::native(server.address());
        assert_eq!(get(server.address(), "/sse?channel=a", "").status, 429);
        assert_eq!(seen(&server, Kind::RateLimit), 1);
        for _ in 0..11 {
            client.text(r#"{"type":"ping"}"#);
        }
        assert_eq!(client.until_close().1, 1008);
        assert_eq!(seen(&server, Kind::RateLimit), 2);
    });
}
