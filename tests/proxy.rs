//! Whom the server takes a client for: headers of proxies are believed from trusted peers only, and what a stranger
//! writes changes nothing. The endpoint `/where` tells its client the address that handlers see.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use client::{Client, DEADLINE, Received, status, wait_until};
use highper_realtime::config::{Bounds, DriverKind, Host, Value};
use highper_realtime::{Config, Connection, Endpoint, Server};
use highper_shards::Moment;
use highper_shards::socket::Address;
use rustix::net::{AddressFamily, SocketType};
use server::{TestServer, each_driver, each_driver_at_once};

/// The trusted proxy, and a peer that nobody trusts.
const PROXY: &str = "127.0.0.1";
const STRANGER: &str = "127.0.0.9";

fn tell(conn: &mut Connection<'_>) -> highper_realtime::Outcome {
    let (address, user) = (conn.address(), conn.user().map(str::to_owned));
    assert_eq!(user, None, "no header makes a user");
    conn.send(address)
}

fn server(driver: DriverKind, change: impl FnOnce(&mut Config)) -> TestServer {
    let change = |config: &mut Config| {
        config.trusted_proxies = Value::parse("127.0.0.1/32, 10.0.0.0/8", &Bounds::ANY).unwrap();
        change(config);
    };
    let build = |server: Server| {
        server
            .endpoint(Endpoint::raw("/where").on_connect(tell))
            .endpoint(Endpoint::sse("/tell").on_connect(tell))
    };
    TestServer::with(driver, change, build)
}

fn behind_proxy(driver: DriverKind) -> TestServer {
    server(driver, |config| config.behind_proxy = true)
}

fn proxy_protocol(driver: DriverKind) -> TestServer {
    server(driver, |config| config.proxy_protocol = true)
}

/// A connection from this address.
fn from(source: &str, server: SocketAddr) -> Client {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
    rustix::net::connect(&socket, &server).unwrap();
    Client::on(socket.into())
}

/// A request to open `/where` with more header lines.
fn upgrade(lines: &[&str]) -> String {
    let more: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!(
        "GET /where HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// The address that the endpoint tells, after the upgrade that was asked for.
#[track_caller]
fn told(client: &mut Client) -> String {
    assert_eq!(status(&client.head()), 101);
    match client.next() {
        Received::Text(text) => text.trim_matches('"').to_owned(),
        other => panic!("an address, not {other:?}"),
    }
}

/// The address told to a connection from `source` that begins with `before`.
#[track_caller]
fn seen(server: &TestServer, source: &str, before: &[u8], lines: &[&str]) -> String {
    let mut client = from(source, server.address());
    client.send(&[before, upgrade(lines).as_bytes()].concat());
    told(&mut client)
}

/// What a connection that begins so gets until it ends; empty is not a word.
#[track_caller]
fn ended(server: &TestServer, source: &str, bytes: &[u8]) -> String {
    let mut client = from(source, server.address());
    client.try_send(bytes);
    String::from_utf8(client.rest()).unwrap()
}

fn v2(command: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
    let len = (rest.len() as u16).to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, kind][..], &len, rest].concat()
}

/// 203.0.113.7:40000 to 192.0.2.1:443.
const V4: [u8; 12] = [203, 0, 113, 7, 192, 0, 2, 1, 0x9c, 0x40, 0x01, 0xbb];

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 443\r\n";

#[test]
fn p1_a_stranger_is_where_its_socket_is_whatever_it_writes() {
    let shapes: [&[&str]; 12] = [
        &["X-Forwarded-For: 203.0.113.7"],
        &["X-Forwarded-For: 203.0.113.7, 127.0.0.1"],
        &["X-Forwarded-For: 127.0.0.1", "X-Forwarded-For: 10.0.0.1"],
        &["x-forwarded-for: 203.0.113.7:80"],
        &["X-Forwarded-For: ::ffff:10.0.0.1"],
        &["X-Forwarded-For: [2001:db8::7]:443"],
        &["X-Forwarded-For:"],
        &["Forwarded: for=203.0.113.7;proto=https;by=127.0.0.1"],
        &["Forwarded: for=\"[2001:db8::7%eth0]:443\", for=10.0.0.1"],
        &["Forwarded: for=\"203.0.113.7"],
        &["X-Real-IP: 203.0.113.7"],
        &["X-Real-IP: 127.0.0.1", "Forwarded: for=unknown", "X-Forwarded-For: 10.0.0.1"],
    ];
    each_driver(|driver| {
        let (behind, apart) = (behind_proxy(driver), server(driver, |_| {}));
        for lines in shapes {
            assert_eq!(seen(&behind, STRANGER, b"", lines), STRANGER, "{lines:?}");
            assert_eq!(seen(&apart, PROXY, b"", lines), PROXY, "{lines:?} without REALTIME_BEHIND_PROXY");
        }
    });
}

#[test]
fn p1_a_trusted_proxy_names_the_client_of_every_transport() {
    each_driver(|driver| {
        let server = behind_proxy(driver);
        let chain = "X-Forwarded-For: 6.6.6.6, 203.0.113.7, 10.4.4.4";
        for lines in [[chain], ["Forwarded: for=6.6.6.6, for=203.0.113.7"], ["X-Real-IP: 203.0.113.7"]] {
            assert_eq!(seen(&server, PROXY, b"", &lines), "203.0.113.7", "{lines:?}");
        }
        assert_eq!(seen(&server, PROXY, b"", &["X-Forwarded-For: 2001:db8::7"]), "2001:db8::7");
        assert_eq!(seen(&server, PROXY, b"", &[]), PROXY, "it speaks for itself");
        let mut stream = from(PROXY, server.address());
        stream.send(format!("GET /tell HTTP/1.1\r\nHost: h\r\n{chain}\r\n\r\n").as_bytes());
        stream.finish();
        let text = String::from_utf8(stream.rest()).unwrap();
        assert!(text.contains("data: \"203.0.113.7\"\n"), "{text}");
    });
}

#[test]
fn p1_requests_of_one_connection_have_a_client_each() {
    each_driver(|driver| {
        let server = behind_proxy(driver);
        for (lines, expected) in [(&["X-Forwarded-For: 198.51.100.1"][..], "198.51.100.1"), (&[], PROXY)] {
            let mut client = from(PROXY, server.address());
            for other in ["203.0.113.7", "203.0.113.8", "unknown"] {
                let head =
                    format!("GET /health/live HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {other}\r\n\r\n");
                client.send(head.as_bytes());
                assert_eq!(client.answer().status, 200);
            }
            client.send(upgrade(lines).as_bytes());
            assert_eq!(told(&mut client), expected, "not whom the requests before it were of");
        }
    });
}

#[test]
fn j17_no_header_says_who_the_user_is() {
    each_driver(|driver| {
        let server = behind_proxy(driver);
        // The endpoint asserts that nobody is known.
        for source in [PROXY, STRANGER] {
            let lines = ["X-User: admin", "Remote-User: admin", "X-Forwarded-User: admin", "X-User-Id: 1"];
            assert_eq!(seen(&server, source, b"", &lines), source);
        }
    });
}

#[test]
fn p2_a_trusted_peers_header_is_believed() {
    let extended = [&V4[..], &[2, 0, 1, b'h', 4, 0, 0]].concat();
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("v1", V1.to_vec(), "203.0.113.7"),
        ("v1 over IPv6", b"PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n".to_vec(), "2001:db8::7"),
        ("v1 of IPv4 as IPv6", b"PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2\r\n".to_vec(), "203.0.113.7"),
        ("UNKNOWN", b"PROXY UNKNOWN\r\n".to_vec(), PROXY),
        ("v2", v2(0x21, 0x11, &V4), "203.0.113.7"),
        ("LOCAL", v2(0x20, 0x11, &V4), PROXY),
        ("UNSPEC", v2(0x21, 0x00, &V4), PROXY),
        ("TLV", v2(0x21, 0x11, &extended), "203.0.113.7"),
    ];
    each_driver(|driver| {
        let server = proxy_protocol(driver);
        for (name, header, expected) in &cases {
            assert_eq!(seen(&server, PROXY, header, &[]), *expected, "{name}");
            let mut client = from(PROXY, server.address());
            for byte in header {
                client.send(&[*byte]);
            }
            client.send(upgrade(&["X-Forwarded-For: 6.6.6.6"]).as_bytes());
            assert_eq!(told(&mut client), *expected, "{name}, byte by byte; other fields say nothing");
        }
        assert_eq!(server.sum(|shard| shard.counters.proxied), 2 * cases.len() as u64);
        assert_eq!(server.sum(|shard| shard.counters.proxy_errors), 0);
    });
}

#[test]
fn p2_a_bad_header_of_a_trusted_peer_ends_the_connection_without_a_word() {
    let request = upgrade(&[]);
    let cases: [(&str, Vec<u8>); 7] = [
        ("absent", request.clone().into_bytes()),
        ("64 KiB", v2(0x20, 0x00, &[0; 65_535])[..16].to_vec()),
        ("537 bytes", v2(0x21, 0x11, &[0; 537])),
        ("a long line", [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 100]].concat()),
        ("a short address", [&v2(0x21, 0x21, &V4)[..], request.as_bytes()].concat()),
        ("a broken TLV", [&v2(0x21, 0x11, &[&V4[..], &[4, 9]].concat())[..], request.as_bytes()].concat()),
        ("a header twice", [V1, V1, request.as_bytes()].concat()),
    ];
    each_driver(|driver| {
        let server = proxy_protocol(driver);
        for (name, bytes) in &cases[..6] {
            assert_eq!(ended(&server, PROXY, bytes), "", "{name}");
        }
        assert_eq!(server.sum(|shard| shard.counters.proxy_errors), 6);
        assert_eq!(status(&ended(&server, PROXY, &cases[6].1)), 400, "only the first one is a header");
        // Truncated: the peer goes away.
        let mut client = from(PROXY, server.address());
        client.send(&v2(0x21, 0x11, &V4)[..20]);
        client.finish();
        assert_eq!(client.rest(), b"");
        wait_until("every slot free", || server.connections() == 0);
    });
}

#[test]
fn p2_a_slow_header_has_three_seconds_however_it_drips() {
    each_driver_at_once(|driver| {
        let server = proxy_protocol(driver);
        let begun = Moment::now();
        let (silent, dripping) = (from(PROXY, server.address()), from(PROXY, server.address()));
        for (client, mut bytes) in [(&dripping, V1), (&silent, &b""[..])] {
            let mut stream: &TcpStream = client.stream();
            stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            loop {
                if let Some((byte, rest)) = bytes.split_first().filter(|(_, rest)| !rest.is_empty()) {
                    let _ = stream.write_all(&[*byte]);
                    bytes = rest;
                }
                match stream.read(&mut [0; 64]) {
                    Ok(count) => break assert_eq!(count, 0, "not a word"),
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
                }
                assert!(Moment::now().since(begun) < DEADLINE, "each byte gives it more time");
            }
            assert!(Moment::now().since(begun) >= Duration::from_secs(3), "it had its time");
        }
        wait_until("both counted", || server.sum(|shard| shard.counters.proxy_errors) == 2);
        // The deadline is the header's: what follows has its own.
        let mut client = from(PROXY, server.address());
        client.send(V1);
        assert_eq!(client.next_within(Duration::from_millis(3500)), None, "it may think about its request");
        client.send(upgrade(&[]).as_bytes());
        assert_eq!(told(&mut client), "203.0.113.7");
    });
}

#[test]
fn p2_a_strangers_header_is_a_bad_request() {
    each_driver(|driver| {
        let (required, unused) = (proxy_protocol(driver), behind_proxy(driver));
        for header in [V1.to_vec(), v2(0x21, 0x11, &V4), v2(0x20, 0x00, &[]), b"PROXY UNKNOWN\r\n".to_vec()] {
            let bytes = [&header[..], upgrade(&[]).as_bytes()].concat();
            for (server, source) in [(&required, STRANGER), (&unused, PROXY), (&unused, STRANGER)] {
                let answer = ended(server, source, &bytes);
                assert_eq!(status(&answer), 400, "{}", header.escape_ascii());
                assert_eq!(answer.matches("HTTP/1.1").count(), 1, "nothing behind it is answered");
            }
        }
        assert_eq!(
            seen(&required, STRANGER, b"", &["X-Forwarded-For: 6.6.6.6"]),
            STRANGER,
            "it is served as itself"
        );
        assert_eq!(required.sum(|shard| shard.counters.proxied), 0);
    });
}

#[test]
fn p2_a_client_named_by_a_header_names_nobody_unless_it_is_trusted() {
    each_driver(|driver| {
        let server = server(driver, |config| (config.behind_proxy, config.proxy_protocol) = (true, true));
        let says = ["X-Forwarded-For: 198.51.100.1"];
        assert_eq!(seen(&server, PROXY, V1, &says), "203.0.113.7", "the client's own word");
        let inner = b"PROXY TCP4 10.1.2.3 192.0.2.1 40000 443\r\n";
        assert_eq!(seen(&server, PROXY, inner, &says), "198.51.100.1", "a proxy behind the proxy");
    });
}

#[test]
fn who_comes_by_the_socket_file_is_a_proxy() {
    each_driver(|driver| {
        let path = std::env::temp_dir().join(format!("highper-proxy-{}-{driver:?}", std::process::id()));
        for (is_behind, says, expected) in [
            (true, "X-Forwarded-For: 203.0.113.7\r\n", "\"203.0.113.7\""),
            (true, "", "null"),
            (false, "X-Forwarded-For: 203.0.113.7\r\n", "null"),
        ] {
            let config = Config {
                host: Host::Unix(path.clone()),
                io_driver: driver,
                behind_proxy: is_behind,
                receive_buffers: 64,
                ..Config::default()
            };
            let running =
                Server::new(config).endpoint(Endpoint::sse("/tell").on_connect(tell)).start().unwrap();
            assert_eq!(*running.address(), Address::Unix(path.clone()));
            let mut client = std::os::unix::net::UnixStream::connect(&path).unwrap();
            client.set_read_timeout(Some(DEADLINE)).unwrap();
            client.write_all(format!("GET /tell HTTP/1.1\r\nHost: h\r\n{says}\r\n").as_bytes()).unwrap();
            let (mut text, mut buffer) = (String::new(), [0; 4096]);
            while !text.contains("data: ") {
                let count = client.read(&mut buffer).unwrap();
                assert_ne!(count, 0, "{says:?}: {text}");
                text.push_str(str::from_utf8(&buffer[..count]).unwrap());
            }
            assert!(text.contains(&format!("data: {expected}\n")), "{says:?}: {text}");
            running.stop(Duration::ZERO).unwrap();
            let _ = std::fs::remove_file(&path);
        }
    });
}

#[test]
fn many_peers_are_told_apart() {
    each_driver(|driver| {
        let server = server(driver, |_| {});
        let sources: Vec<String> = (1..=60).map(|host| format!("127.0.{host}.{}", 61 - host)).collect();
        // All at once, so that one turn accepts several.
        let mut clients: Vec<Client> = sources.iter().map(|source| from(source, server.address())).collect();
        for client in &mut clients {
            client.send(upgrade(&[]).as_bytes());
        }
        for (client, source) in clients.iter_mut().zip(&sources) {
            assert_eq!(told(client), *source);
            assert!(source.parse::<IpAddr>().is_ok());
        }
    });
}
