//! Bad HTTP against the whole server: each attack ends as it should and costs nobody else
//! anything.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use client::{Client, DEADLINE, Received, field, status, wait_until};
use highper_realtime::config::{ByteSize, DriverKind};
use highper_shards::Moment;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use server::{TestServer, each_driver, each_driver_at_once};

fn server(driver: DriverKind) -> TestServer {
    TestServer::start(driver, |_| {})
}

/// Sends these bytes and returns everything that comes back until the connection ends.
fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut client = Client::connect(address);
    client.try_send(bytes);
    String::from_utf8(client.rest()).unwrap()
}

/// The one answer to these bytes, after which the server ends the connection.
#[track_caller]
fn only_answer(address: SocketAddr, bytes: &str) -> String {
    let answer = exchange(address, bytes.as_bytes());
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{bytes:?} got {answer:?}");
    assert_eq!(field(&answer, "connection"), Some("close"), "{bytes:?} got {answer:?}");
    answer
}

#[track_caller]
fn is_alive(address: SocketAddr) {
    let mut client = Client::connect(address);
    client.send(b"GET /health/live HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.answer().status, 200);
}

const NEXT: &str = "GET /health/live HTTP/1.1\r\nHost: h\r\n\r\n";

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
                       dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A slowloris: its requests never end.
struct Dripper {
    stream: TcpStream,
    sent: usize,
    received: Vec<u8>,
}

impl Dripper {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { stream, sent: 0, received: Vec::new() }
    }

    /// Sends one byte more and looks for an answer; false once the server has ended the connection.
    fn drip(&mut self) -> bool {
        let line = b"GET / HTTP/1.1\r\nHost: h\r\nX: ";
        let byte = line.get(self.sent).copied().unwrap_or(b'a');
        self.sent += self.stream.write(&[byte]).unwrap_or(0);
        let mut buffer = [0; 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(len) => {
                self.received.extend_from_slice(&buffer[..len]);
                true
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn h1_slow_heads_are_cut_off_and_a_bystander_loses_nothing() {
    each_driver_at_once(|driver| {
        let server = TestServer::start(driver, |config| config.header_timeout = Duration::from_millis(500));
        let attack_over = AtomicBool::new(false);
        let mut bystander = Client::open(server.address(), "/echo");
        std::thread::scope(|scope| {
            let talk = scope.spawn(|| {
                let mut number = 0;
                while !attack_over.load(Ordering::Relaxed) || number < 100 {
                    bystander.text(&number.to_string());
                    assert_eq!(bystander.next(), Received::Text(number.to_string()));
                    number += 1;
                }
            });
            let mut drippers: Vec<Dripper> = (0..64).map(|_| Dripper::connect(server.address())).collect();
            let until = Moment::now() + DEADLINE;
            let mut left: Vec<&mut Dripper> = drippers.iter_mut().collect();
            while !left.is_empty() {
                assert!(Moment::now() < until, "{} still drip", left.len());
                left.retain_mut(|dripper| dripper.drip());
                let mut waits: Vec<PollFd<'_>> =
                    left.iter().map(|one| PollFd::new(&one.stream, PollFlags::IN)).collect();
                poll(&mut waits, Some(&Timespec { tv_sec: 0, tv_nsec: 5_000_000 })).unwrap();
            }
            attack_over.store(true, Ordering::Relaxed);
            talk.join().unwrap();
            for dripper in &drippers {
                let answer = String::from_utf8_lossy(&dripper.received);
                assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
                assert!(dripper.sent > 1, "the deadline counts from the accept, not from the last byte");
            }
            let told = drippers.iter().filter(|dripper| !dripper.received.is_empty()).count();
            assert!(told > 0, "somebody was told 408");
        });
        wait_until("only the bystander is left", || server.connections() == 1);
    });
}

#[test]
fn h1_who_says_nothing_is_cut_off_before_and_after_a_request() {
    each_driver_at_once(|driver| {
        let server = TestServer::start(driver, |config| config.header_timeout = Duration::from_millis(200));
        let mut silent = Client::connect(server.address());
        assert_eq!(status(&silent.head()), 408);
        assert_eq!(silent.rest(), b"");
        let mut served = Client::connect(server.address());
        served.send(NEXT.as_bytes());
        assert_eq!(served.answer().status, 200);
        assert_eq!(served.rest(), b"", "an idle connection is closed without a word");
        let mut slow = Client::connect(server.address());
        slow.send(format!("{NEXT}GET /").as_bytes());
        assert_eq!(slow.answer().status, 200);
        assert_eq!(status(&slow.head()), 408, "the second request is as slow as the first may not be");
    });
}

#[test]
fn h1_a_body_that_never_ends_is_cut_off() {
    each_driver_at_once(|driver| {
        let server = TestServer::start(driver, |config| config.header_timeout = Duration::from_millis(200));
        for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
            let request = format!("POST /ws HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n5");
            assert_eq!(status(&only_answer(server.address(), &request)), 408);
        }
    });
}

#[test]
fn h3_a_head_in_single_bytes_is_refused_at_the_limit() {
    each_driver(|driver| {
        let server = server(driver);
        let start = "GET /health/live HTTP/1.1\r\nHost: h\r\nX: ";
        let drip = |client: &mut Client, bytes: &[u8]| {
            for byte in bytes {
                client.send(&[*byte]);
            }
        };
        let mut whole = start.to_owned() + &"a".repeat(8192 - start.len() - 4);
        whole += "\r\n\r\n";
        let mut client = Client::connect(server.address());
        drip(&mut client, whole.as_bytes());
        assert_eq!(client.answer().status, 200, "8 KiB are allowed");
        let endless = start.to_owned() + &"a".repeat(8192 - start.len());
        let mut client = Client::connect(server.address());
        drip(&mut client, &endless.as_bytes()[..8000]);
        drip(&mut client, &endless.as_bytes()[8000..]);
        assert_eq!(client.answer().status, 431, "no byte beyond 8 KiB is waited for");
        assert_eq!(client.rest(), b"");
    });
}

#[test]
fn h4_more_headers_than_allowed_are_refused() {
    each_driver(|driver| {
        let server = server(driver);
        let request = |fields: usize| {
            format!("GET /health/live HTTP/1.1\r\nHost: h\r\n{}\r\n", "ab: c\r\n".repeat(fields))
        };
        let mut client = Client::connect(server.address());
        client.send(request(99).as_bytes());
        assert_eq!(client.answer().status, 200, "100 fields are allowed");
        for fields in [100, 2000] {
            assert_eq!(status(&only_answer(server.address(), &request(fields))), 431, "{fields} fields");
        }
        is_alive(server.address());
    });
}

#[test]
fn h5_sub_protocols_are_read_in_linear_time() {
    each_driver(|driver| {
        let spaces = " ".repeat(32 * 1024);
        let request = |protocols: &str| {
            format!("GET /echo HTTP/1.1\r\nHost: h\r\n{UPGRADE}Sec-WebSocket-Protocol: {protocols}\r\n\r\n")
        };
        let server = server(driver);
        assert_eq!(status(&only_answer(server.address(), &request(&spaces))), 431);
        let server = TestServer::start(driver, |config| config.header_bytes = ByteSize::new(65_536));
        for protocols in [&spaces, &format!("a{spaces}b"), &format!("{spaces},"), &",".repeat(32 * 1024)] {
            assert_eq!(status(&only_answer(server.address(), &request(protocols))), 400);
        }
        let mut client = Client::connect(server.address());
        client.send(request(&format!("{}chat", "a,".repeat(10_000))).as_bytes());
        let head = client.head();
        assert_eq!((status(&head), field(&head, "sec-websocket-protocol")), (101, Some("a")));
    });
}

/// Fields and body of a request that two servers could read differently.
const SMUGGLING: &[&str] = &[
    "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
    "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nX",
    "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "Content-Length: 3, 4\r\n\r\nabcd",
    "Content-Length: +3\r\n\r\nabc",
    "Content-Length: -3\r\n\r\nabc",
    "Content-Length: 0x3\r\n\r\nabc",
    "Content-Length: 3 3\r\n\r\nabc",
    "Content-Length:\r\n\r\n",
    "Content-Length: 18446744073709551619\r\n\r\nabc",
    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding:\r\n\r\n",
    "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "X: y\r\n Content-Length: 3\r\n\r\nabc",
    "X: y\nContent-Length: 3\r\n\r\nabc",
    "X: y\rContent-Length: 3\r\n\r\nabc",
    "X: y\0Content-Length: 3\r\n\r\nabc",
    ": y\r\n\r\n",
    "Content-Length\r\n\r\n",
    "Host: other\r\n\r\n",
    "Host:\r\n\r\n",
    "X: y\r\n\n",
    "X: y\r\n\r\r\n",
    "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n3;a\nGET\r\n0\r\n\r\n",
];

#[test]
fn h6_a_request_of_two_meanings_gets_one_refusal_and_nothing_behind_it_is_read() {
    assert!(SMUGGLING.len() >= 25);
    each_driver(|driver| {
        let server = server(driver);
        for fields in SMUGGLING {
            for path in ["/", "/ws"] {
                let bytes = format!("POST {path} HTTP/1.1\r\nHost: h\r\n{fields}{NEXT}");
                assert_eq!(status(&only_answer(server.address(), &bytes)), 400, "{bytes:?}");
            }
        }
        let bytes = format!("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{NEXT}");
        assert_eq!(status(&only_answer(server.address(), &bytes)), 400);
        is_alive(server.address());
    });
}

#[test]
fn h7_an_upgrade_that_fails_leaves_no_tunnel() {
    each_driver(|driver| {
        let server = server(driver);
        let check = |request: &str, expected: u16| {
            let answer = only_answer(server.address(), &format!("{request}{NEXT}"));
            assert_eq!(status(&answer), expected, "{request:?}");
            answer
        };
        let with = |line: &str, upgrade: &str| format!("{line} HTTP/1.1\r\nHost: h\r\n{upgrade}\r\n");
        let answer = check(&with("GET /ws", &UPGRADE.replace(": 13", ": 777")), 426);
        assert_eq!(field(&answer, "sec-websocket-version"), Some("13"));
        check(&with("GET /ws", &UPGRADE.replace("Sec-WebSocket-Version: 13\r\n", "")), 426);
        check(&with("GET /ws", &UPGRADE.replace("Upgrade: websocket", "Upgrade: h2c")), 426);
        check(&with("GET /ws", &UPGRADE.replace("dGhl", "")), 400);
        check(&with("GET /ws", &format!("{UPGRADE}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")), 400);
        check(&format!("{}abc", with("GET /ws", &format!("{UPGRADE}Content-Length: 3\r\n"))), 400);
        check(&with("POST /ws", UPGRADE), 405);
        check(&with("GET /nowhere", UPGRADE), 404);
        check(&with("GET /health/live", UPGRADE), 200);
        assert_eq!(server.sum(|shard| shard.counters.opened), 0);
    });
}

#[test]
fn h10_an_absolute_target_is_routed_by_its_path_and_nobody_is_called() {
    each_driver(|driver| {
        let server = server(driver);
        let request =
            |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let inside = "http://169.254.169.254/latest/meta-data";
        assert_eq!(status(&only_answer(server.address(), &request(inside, UPGRADE))), 404);
        let close = "Connection: close\r\n";
        assert_eq!(status(&only_answer(server.address(), &request(inside, close))), 404);
        let live = "http://169.254.169.254/health/live";
        assert_eq!(status(&only_answer(server.address(), &request(live, close))), 200);
        let connect = "CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: h\r\n\r\n";
        assert_eq!(status(&only_answer(server.address(), connect)), 501);
        let sockets = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        assert!(!sockets.contains("FEA9FEA9"), "a socket to 169.254.169.254");
    });
}

#[test]
fn r7_the_page_is_in_no_frame_and_no_get_changes_anything() {
    each_driver(|driver| {
        let server = server(driver);
        let mut client = Client::connect(server.address());
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        let page = client.answer();
        let policy = field(&page.head, "content-security-policy").unwrap_or_default();
        for rule in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(rule), "{policy}");
        }
        assert_eq!(field(&page.head, "x-content-type-options"), Some("nosniff"));
        for method in ["publish", "disconnect", "revoke", "history_remove", "batch", ""] {
            client.send(format!("GET /api/{method}?user=ann HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
            assert_eq!(client.answer().status, 405, "{method}");
        }
    });
}

#[test]
fn keep_alive_and_pipelining_work() {
    each_driver(|driver| {
        let server = server(driver);
        let mut client = Client::connect(server.address());
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        client.send(format!("{}{}{}", get("/health/live"), get("/nowhere"), get("/health/ready")).as_bytes());
        let statuses: Vec<u16> = (0..3).map(|_| client.answer().status).collect();
        assert_eq!(statuses, [200, 404, 200]);
        client.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
        let head = client.head();
        assert!(status(&head) == 200 && field(&head, "content-length") != Some("0"), "{head}");
        for body in
            ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
        {
            client.send(format!("POST / HTTP/1.1\r\nHost: h\r\n{body}{}", get("/health/live")).as_bytes());
            let answer = client.answer();
            assert_eq!((answer.status, field(&answer.head, "allow")), (405, Some("GET, HEAD, OPTIONS")));
            assert_eq!(client.answer().status, 200, "the body is no request");
        }
        let page = get("/");
        for byte in page.as_bytes() {
            client.send(&[*byte]);
        }
        let answer = client.answer();
        assert!(answer.status == 200 && answer.body.starts_with(b"<!"), "{}", answer.head);
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        assert_eq!(client.answer().status, 200);
        assert_eq!(client.rest(), b"");
        only_answer(server.address(), "GET / HTTP/1.0\r\n\r\n");
    });
}

#[test]
fn answers_nobody_reads_do_not_pile_up() {
    each_driver_at_once(|driver| {
        let server = TestServer::start(driver, |config| {
            config.write_timeout = Duration::from_millis(500);
            config.outbox_bytes = ByteSize::new(65_536);
        });
        let mut client = Client::connect(server.address());
        let requests = "GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(100);
        wait_until("the server gives up", || {
            let goes_on = client.try_send(requests.as_bytes());
            assert!(server.sum(|shard| shard.queued_bytes) < 1 << 20, "answers are not bounded");
            !goes_on || server.connections() == 0
        });
        is_alive(server.address());
    });
}

#[test]
fn w16_what_is_disabled_is_a_404_for_every_kind_of_request() {
    each_driver(|driver| {
        let bodies = [
            format!("GET PATH HTTP/1.1\r\nHost: h\r\n{UPGRADE}\r\n"),
            "GET PATH HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_owned(),
            "POST PATH HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
            "GET PATH HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n"
                .to_owned(),
        ];
        let refused = |server: &TestServer, path: &str| {
            for body in &bodies {
                let answer = only_answer(server.address(), &body.replace("PATH", path));
                assert_eq!(status(&answer), 404, "{path} {body:?}");
            }
        };
        let off = TestServer::start(driver, |config| {
            config.websocket_enabled = false;
            config.sse_enabled = false;
            config.health_check_enabled = false;
        });
        for path in ["/ws", "/echo", "/sse", "/wt", "/metrics", "/realtime/health"] {
            refused(&off, path);
        }
        is_alive(off.address());
        // On, nothing but what was switched off is missing.
        let on = TestServer::start(driver, |config| config.echo_path = None);
        for path in ["/echo", "/sse/", "/wt", "/metrics", "/ws/", "/WS", "//ws", "/ws%20", "/%77s"] {
            refused(&on, path);
        }
        Client::native(on.address());
    });
}
