//! Attacks that go on until they are told to end. Each counts how often it did its worst, so that an attack that does
//! nothing shows. Judges nothing but that; the rows are those of the threats.
#![allow(dead_code, reason = "each test uses its part")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::{Timespec, poll};

use crate::client::{Client, Received, frame, status};

/// Where an attack takes place.
pub struct Field {
    address: SocketAddr,
    over: AtomicBool,
    done: AtomicU64,
}

/// One kind of attack.
pub struct Attack {
    /// The row of the threat.
    pub name: &'static str,
    /// What happens.
    pub what: &'static str,
    /// How the server is configured.
    pub variables: &'static [(&'static str, &'static str)],
    /// Descriptors of the server (RLIMIT_NOFILE), if they are few.
    pub descriptors: Option<u32>,
    /// It must succeed so often to count as an attack.
    pub least: u64,
    /// Attacks until told to end.
    pub run: fn(&Field),
}

impl Field {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, over: AtomicBool::new(false), done: AtomicU64::new(0) }
    }

    /// How often the attack did its worst.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Tells the attacker to end.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn count(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Every attack, and none to compare with.
pub const ATTACKS: &[Attack] = &[
    Attack { name: "–", what: "nobody attacks", least: 0, run: nothing, ..PLAIN },
    Attack {
        name: "H1",
        what: "200 heads in single bytes",
        variables: &[("REALTIME_HEADER_TIMEOUT", "1")],
        least: 100,
        run: slow_heads,
        ..PLAIN
    },
    Attack { name: "W4", what: "a flood of empty fragments", least: 10, run: fragments, ..PLAIN },
    Attack { name: "W5", what: "pings whose pongs nobody reads", least: 1, run: pings, ..PLAIN },
    Attack { name: "W8", what: "a bomb of 256 KiB that would be 256 MiB", least: 10, run: bombs, ..PLAIN },
    Attack { name: "W12", what: "10 of 10 subscribers never read", least: 1, run: slow_readers, ..PLAIN },
    Attack {
        name: "J14",
        what: "bad tokens",
        variables: &[
            ("REALTIME_AUTH_ENABLED", "true"),
            ("REALTIME_JWT_SECRET", crate::issuer::SECRET),
            ("MONITORING_SECURITY_MODE", "block"),
        ],
        least: 100,
        run: bad_tokens,
        ..PLAIN
    },
    Attack {
        name: "S4",
        what: "who may hold 10 connections tries to hold 50",
        variables: &[
            ("REALTIME_RATE_LIMIT_ENABLED", "true"),
            ("REALTIME_RATE_LIMIT_MESSAGES_PER_MINUTE", "12000"),
            ("REALTIME_RATE_LIMIT_BURST", "1000"),
        ],
        least: 10,
        run: holding,
        ..PLAIN
    },
    Attack {
        name: "R1",
        what: "more connections than descriptors",
        descriptors: Some(300),
        least: 10,
        run: descriptors,
        ..PLAIN
    },
    Attack { name: "R6", what: "a flood of bad frames", least: 100, run: bad_frames, ..PLAIN },
];

const PLAIN: Attack =
    Attack { name: "", what: "", variables: &[], descriptors: None, least: 0, run: nothing };

fn nothing(field: &Field) {
    while field.goes_on() {
        drip_pause();
    }
}

/// A pause between drops, cut short by nothing.
fn drip_pause() {
    let pause = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
    let _ = poll(&mut [], Some(&pause));
}

fn slow_heads(field: &Field) {
    let connect = || {
        let mut stream = TcpStream::connect(field.address).expect("the server listens");
        stream.write_all(b"GET /ws HTTP/1.1\r\nHost: h\r\nX: ").expect("a new connection takes it");
        stream.set_nonblocking(true).expect("a socket has options");
        stream
    };
    let mut drippers: Vec<TcpStream> = (0..200).map(|_| connect()).collect();
    let mut buffer = [0; 1024];
    while field.goes_on() {
        for stream in &mut drippers {
            let sent = stream.write(b"a");
            let ended = match stream.read(&mut buffer) {
                Ok(_) => true,
                Err(error) => error.kind() != ErrorKind::WouldBlock,
            };
            if ended || sent.is_err() {
                field.count();
                *stream = connect();
            }
        }
        drip_pause();
    }
}

fn fragments(field: &Field) {
    let thousand = frame(0x00, b"").repeat(1000);
    while field.goes_on() {
        let mut client = Client::open(field.address, "/echo");
        let _ = client.try_send(&frame(0x01, b"")) && (0..1000).all(|_| client.try_send(&thousand));
        field.count();
    }
}

fn pings(field: &Field) {
    let thousand = frame(0x89, &[b'p'; 125]).repeat(1000);
    while field.goes_on() {
        let mut client = Client::open(field.address, "/echo");
        while field.goes_on() && client.try_send(&thousand) {}
        field.count();
    }
}

/// The start of zeros as DEFLATE has them (RFC 1951): a block of its own code, in which two zero bits are 258 bytes.
const ZEROS: [u8; 16] = [0xec, 0xc1, 1, 1, 0, 0, 0, 0x80, 0x90, 0xfe, 0xaf, 0xee, 0x08, 0x0a, 0, 0];

fn bombs(field: &Field) {
    let mut bomb = ZEROS.to_vec();
    bomb.resize(256 * 1024, 0);
    let bomb = frame(0xc2, &bomb);
    while field.goes_on() {
        let mut client = Client::connect(field.address);
        let agreed = client.upgrade("/echo", Some("permessage-deflate"));
        assert!(agreed.is_some(), "compression is agreed");
        client.try_send(&bomb);
        // Who sends on while the server ends the connection may be told by a reset alone.
        match client.next() {
            Received::Close(code, _) => assert_eq!(code, 1009),
            other => assert_eq!(other, Received::End),
        }
        field.count();
    }
}

fn slow_readers(field: &Field) {
    let data = "x".repeat(64 * 1024);
    let publication = format!(r#"{{"type":"publish","channel":"flood","data":"{data}","id":1}}"#);
    let mut publisher = Client::native(field.address);
    while field.goes_on() {
        let slow: Vec<Client> = (0..10)
            .map(|_| {
                let mut client = Client::narrow(field.address, 64 * 1024);
                client.upgrade("/ws", None);
                assert_eq!(client.json()["type"], "welcome");
                client.join("flood");
                client
            })
            .collect();
        for _ in 0..100 {
            publisher.text(&publication);
            assert_eq!(publisher.json()["type"], "ack");
        }
        field.count();
        drop(slow);
    }
}

/// The status of the answer to a handshake with this target, and the connection.
fn shake(field: &Field, target: &str) -> (u16, Client) {
    let mut client = Client::connect(field.address);
    client.try_send(
        format!(
            "GET {target} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .as_bytes(),
    );
    (status(&client.head()), client)
}

fn bad_tokens(field: &Field) {
    let mut number = 0_u64;
    while field.goes_on() {
        number += 1;
        let header = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
        let signature = format!("{number:043}");
        let (status, _) = shake(field, &format!("/ws?token={header}.eyJzdWIiOiJhbm4ifQ.{signature}"));
        assert!([401, 403, 429].contains(&status), "{status}");
        if status == 429 {
            field.count();
        }
    }
}

fn holding(field: &Field) {
    while field.goes_on() {
        let held: Vec<(u16, Client)> = (0..50).map(|_| shake(field, "/ws")).collect();
        let refused = held.iter().filter(|(status, _)| *status == 429).count();
        assert!(refused >= 40, "{refused} of 50 are refused");
        field.count();
    }
}

fn descriptors(field: &Field) {
    let mut held: Vec<Client> = Vec::new();
    while field.goes_on() {
        let (status, client) = shake(field, "/ws");
        match status {
            101 => held.push(client),
            503 => {
                field.count();
                // Sometimes they all go and come again.
                if field.done().is_multiple_of(500) {
                    held.clear();
                }
            }
            other => panic!("{other}"),
        }
    }
}

fn bad_frames(field: &Field) {
    while field.goes_on() {
        let mut client = Client::open(field.address, "/echo");
        client.try_send(&frame(0xc1, b"a bit that nobody agreed on"));
        let (before, code) = client.until_close();
        assert_eq!((before, code), (vec![], 1002));
        field.count();
    }
}
