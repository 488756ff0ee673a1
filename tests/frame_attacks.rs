//! Bad frames against the whole server: each attack ends as it should, in bounded memory, and
//! costs nobody else anything.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/client.rs"]
mod client;
#[path = "common/process.rs"]
mod process;
#[path = "common/server.rs"]
mod server;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use client::{Client, Received, frame, head, text_frame, wait_until};
use highper_realtime::CloseCode;
use highper_realtime::config::{ByteSize, DriverKind};
use process::Process;
use server::{TestServer, each_driver, each_driver_at_once};

fn server(driver: DriverKind) -> TestServer {
    TestServer::start(driver, |_| {})
}

/// An open connection on which these bytes were sent.
fn attacker(address: SocketAddr, bytes: &[u8]) -> Client {
    let mut client = Client::open(address, "/echo");
    client.try_send(bytes);
    client
}

/// These bytes are answered by nothing but this close code.
#[track_caller]
fn refused(address: SocketAddr, bytes: &[u8], code: u16) {
    assert_eq!(
        attacker(address, bytes).until_close(),
        (vec![], code),
        "{:x?}",
        &bytes[..bytes.len().min(20)]
    );
}

/// Echoes numbers until the attack is over, at least 100 of them: none may be lost.
fn bystander(address: SocketAddr, attack_over: &AtomicBool) {
    let mut client = Client::open(address, "/echo");
    let mut number = 0;
    while !attack_over.load(Ordering::Relaxed) || number < 100 {
        client.text(&number.to_string());
        assert_eq!(client.next(), Received::Text(number.to_string()));
        number += 1;
    }
}

#[test]
fn w1_a_declared_length_is_judged_at_once() {
    each_driver(|driver| {
        let server = server(driver);
        for (len, code) in [(1 << 63, 1002), (u64::MAX, 1002), ((1 << 63) - 1, 1009), (1 << 40, 1009)] {
            refused(server.address(), &head(0x82, len), code);
        }
        refused(server.address(), &head(0x82, 2_097_153), 1009);
        let inside = [head(0x02, 2_097_152), vec![0; 2_097_152]].concat();
        let five = [&inside[..], &frame(0x00, &[0; 2_097_152]).repeat(4), &head(0x80, 1)].concat();
        refused(server.address(), &five, 1009);
    });
}

/// Bytes a server may grow by under an attack.
const FLAT_BYTES: usize = 4 << 20;

/// Few receive buffers: those that a burst touches for the first time are no growth to speak of.
fn process_of(driver: &str) -> Process {
    Process::start(&[("REALTIME_IO_DRIVER", driver), ("REALTIME_RECEIVE_BUFFERS", "16")])
}

fn each_process(test: impl Fn(Process) + Sync) {
    std::thread::scope(|scope| {
        for driver in ["uring", "epoll"] {
            let test = &test;
            scope.spawn(move || test(process_of(driver)));
        }
    });
}

#[test]
fn w1_declared_lengths_take_no_memory() {
    each_process(|process| {
        let mut clients: Vec<Client> = (0..200).map(|_| Client::open(process.address(), "/echo")).collect();
        for client in &mut clients {
            client.text("warm");
            client.next();
        }
        let before = process.resident();
        for client in &mut clients {
            client.send(&head(0x82, 2_000_000));
            client.send(b"only this");
        }
        // Both shards have seen it all once they answer what came later.
        for _ in 0..20 {
            let mut later = Client::open(process.address(), "/echo");
            later.text("later");
            assert_eq!(later.next(), Received::Text("later".into()));
        }
        let grown = process.resident().saturating_sub(before);
        assert!(grown < FLAT_BYTES, "200 frames of which nothing came take {grown} bytes");
    });
}

#[test]
fn w2_frames_that_break_the_protocol_are_refused() {
    each_driver(|driver| {
        let server = server(driver);
        let mut broken = vec![
            b"\x81\x02hi".to_vec(),
            frame(0xc1, b"rsv1"),
            frame(0xa1, b"rsv2"),
            frame(0x91, b"rsv3"),
            frame(0x09, b"fragmented ping"),
            frame(0x08, b""),
            frame(0x89, &[0; 126]),
            frame(0x80, b"continues nothing"),
            [frame(0x01, b"not done"), frame(0x81, b"new")].concat(),
            b"\x82\xfe\x00\x7d\0\0\0\0".to_vec(),
            b"\x82\xff\0\0\0\0\0\0\xff\xff\0\0\0\0".to_vec(),
        ];
        broken.extend([3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(|opcode| frame(0x80 | opcode, b"")));
        for bytes in &broken {
            refused(server.address(), bytes, 1002);
            let mut behind_a_message = text_frame("first");
            behind_a_message.extend_from_slice(bytes);
            behind_a_message.extend_from_slice(&text_frame("never"));
            let mut client = attacker(server.address(), &behind_a_message);
            assert_eq!(client.until_close(), (vec![Received::Text("first".into())], 1002), "{bytes:x?}");
        }
    });
}

#[test]
fn w3_bad_utf8_is_refused_at_its_first_byte() {
    each_driver(|driver| {
        let server = server(driver);
        for bad in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x28\xa1"] {
            let text = [b"good ", bad].concat();
            refused(server.address(), &frame(0x81, &text), 1007);
            refused(server.address(), &frame(0x01, &text), 1007);
            // The frame announces more and never ends.
            let mut client = Client::open(server.address(), "/echo");
            let cut = frame(0x01, &[&text[..], &[b'a'; 100]].concat());
            for byte in &cut[..cut.len() - 100] {
                client.send(&[*byte]);
            }
            assert_eq!(client.until_close(), (vec![], 1007), "{bad:x?}");
        }
        let split = [frame(0x01, b"\xe2\x82"), frame(0x00, b""), frame(0x80, b"\xac")].concat();
        assert_eq!(attacker(server.address(), &split).next(), Received::Text("€".into()));
    });
}

#[test]
fn w4_fragments_are_counted_empty_ones_strictly() {
    each_driver(|driver| {
        let server = TestServer::start(driver, |config| config.websocket_max_fragments = 1000);
        let message =
            |empty: usize| [frame(0x01, b""), frame(0x00, b"").repeat(empty), frame(0x80, b"x")].concat();
        assert_eq!(attacker(server.address(), &message(256)).next(), Received::Text("x".into()));
        refused(server.address(), &message(257)[..6 + 257 * 6], 1008);
        let message =
            |all: usize| [frame(0x01, b""), frame(0x00, b"y").repeat(all - 2), frame(0x80, b"")].concat();
        assert_eq!(attacker(server.address(), &message(1000)).next(), Received::Text("y".repeat(998)));
        refused(server.address(), &message(1002)[..6 + 1000 * 7], 1008);
    });
}

#[test]
fn w4_a_million_empty_fragments_take_no_memory() {
    each_process(|process| {
        let attack_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| bystander(process.address(), &attack_over));
            let mut client = Client::open(process.address(), "/echo");
            let before = process.resident();
            let thousand = frame(0x00, b"").repeat(1000);
            client.send(&frame(0x01, b""));
            let sent_all = (0..1000).all(|_| client.try_send(&thousand));
            let grown = process.resident().saturating_sub(before);
            attack_over.store(true, Ordering::Relaxed);
            assert!(grown < FLAT_BYTES, "{grown} bytes more");
            if sent_all {
                assert_eq!(client.until_close(), (vec![], 1008));
            }
        });
    });
}

#[test]
fn w5_a_million_pings_that_read_no_pong_take_no_memory() {
    each_process(|process| {
        let attack_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| bystander(process.address(), &attack_over));
            let mut client = Client::open(process.address(), "/echo");
            let before = process.resident();
            let thousand = frame(0x89, &[b'p'; 125]).repeat(1000);
            let mut most = 0;
            for _ in 0..1000 {
                client.send(&thousand);
                most = most.max(process.resident());
            }
            attack_over.store(true, Ordering::Relaxed);
            let (pongs, code) = client.until_close();
            assert_eq!(code, 1008);
            assert!(pongs.iter().all(|pong| *pong == Received::Pong(vec![b'p'; 125])));
            let grown = most.saturating_sub(before);
            assert!(grown < FLAT_BYTES, "{grown} bytes more");
        });
    });
}

#[test]
fn w5_who_lags_behind_still_gets_the_pong_it_waits_for() {
    each_driver(|driver| {
        let server = TestServer::start(driver, |config| {
            (config.outbox_bytes, config.outbox_soft_bytes) =
                (ByteSize::new(64 << 20), ByteSize::new(64 << 20));
        });
        let mut client = Client::narrow(server.address(), 4096);
        client.upgrade("/echo", None);
        let megabyte = vec![7; 1 << 20];
        for _ in 0..16 {
            client.binary(&megabyte);
        }
        client.send(&frame(0x89, b"are you there?"));
        for _ in 0..16 {
            assert_eq!(client.next(), Received::Binary(megabyte.clone()));
        }
        assert_eq!(client.next(), Received::Pong(b"are you there?".to_vec()));
    });
}

#[test]
fn w6_odd_behaviour_is_counted_and_ends_at_the_limit() {
    each_driver(|driver| {
        let server = server(driver);
        let mut client = Client::native(server.address());
        let pong = frame(0x8a, b"nobody asked");
        for _ in 0..128 {
            client.send(&pong);
            client.text("no JSON");
            assert_eq!(client.json()["code"], "bad_json");
        }
        client.text(r#"{"type":"ping"}"#);
        assert_eq!(client.json()["type"], "pong", "256 are borne");
        client.send(&pong);
        assert_eq!(client.until_close(), (vec![], 1008));
        assert_eq!(server.sum(|shard| shard.counters.glitches), 257);
        assert_eq!(server.sum(|shard| shard.counters.protocol_errors), 1);
    });
}

#[test]
fn w7_close_frames_are_judged_and_the_connection_goes_even_if_the_peer_stays() {
    each_driver_at_once(|driver| {
        let server = server(driver);
        let close = |code: u16, reason: &[u8]| frame(0x88, &[&code.to_be_bytes(), reason].concat());
        let mut games =
            vec![(frame(0x88, b"\x03"), 1002), (close(1000, b"\xff"), 1007), (frame(0x88, b""), 0)];
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
            games.push((close(code, b""), 1002));
        }
        for code in [1000, 1001, 1003, 1011, 3000, 4999] {
            games.push((close(code, &[b'r'; 123]), code));
        }
        let mut stubborn: Vec<Client> = games
            .iter()
            .map(|(bytes, code)| {
                let mut client = attacker(server.address(), &[bytes, &text_frame("late")[..]].concat());
                assert_eq!(client.until_close(), (vec![], *code), "{bytes:x?}");
                client
            })
            .collect();
        wait_until("every socket is closed by the server", || server.connections() == 0);
        for client in &mut stubborn {
            assert_eq!(client.next(), Received::End);
        }
    });
}

#[test]
fn w10_offers_that_make_no_sense_are_declined() {
    each_driver(|driver| {
        let server = server(driver);
        for offer in [
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=\"\"",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=\"\"",
            "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_no_context_takeover=1",
            "permessage-deflate; mystery",
            "permessage-deflate; =9",
            "permessage-deflate; server_max_window_bits=\"10",
            "x-webkit-deflate-frame",
            ", ,",
        ] {
            let mut client = Client::connect(server.address());
            assert_eq!(client.upgrade("/echo", Some(offer)), None, "{offer}");
            client.text("plain");
            assert_eq!(client.next(), Received::Text("plain".into()));
            client.send(&frame(0xc1, b"compressed though nothing was agreed"));
            assert_eq!(client.until_close(), (vec![], 1002), "{offer}");
        }
    });
}

#[test]
fn w13_a_peer_that_takes_nothing_is_closed_after_the_write_timeout() {
    each_driver_at_once(|driver| {
        let server = TestServer::start(driver, |config| {
            config.write_timeout = Duration::from_secs(1);
            (config.outbox_bytes, config.outbox_soft_bytes) =
                (ByteSize::new(256 << 20), ByteSize::new(256 << 20));
        });
        let attack_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| bystander(server.address(), &attack_over));
            let mut client = Client::narrow(server.address(), 1);
            client.upgrade("/echo", None);
            let megabyte = vec![7; 1 << 20];
            for _ in 0..16 {
                client.binary(&megabyte);
            }
            wait_until("the peer is given up", || server.sum(|shard| shard.shard.stalled) == 1);
            attack_over.store(true, Ordering::Relaxed);
        });
        wait_until("its slot is free", || server.connections() == 0);
        assert_eq!(server.sum(|shard| shard.counters.slow), 1);
        assert_eq!(server.sum(|shard| shard.queued_bytes), 0);
    });
}

#[test]
fn w14_a_burst_of_messages_starts_no_thread() {
    each_process(|process| {
        let mut client = Client::open(process.address(), "/echo");
        let before = process.threads();
        for round in 0..100 {
            client.send(&text_frame("burst").repeat(1000));
            for _ in 0..1000 {
                assert_eq!(client.next(), Received::Text("burst".into()));
            }
            assert_eq!(process.threads(), before, "in round {round}");
        }
    });
}

#[test]
fn w15_deep_json_is_refused_and_strange_json_is_answered() {
    each_driver(|driver| {
        let server = server(driver);
        for nest in ["[", r#"{"a":"#] {
            let mut client = Client::native(server.address());
            client.text(&format!(r#"{{"type":"publish","channel":"c","data":{}"#, nest.repeat(100_000)));
            assert_eq!(client.json()["code"], "too_deep");
            assert_eq!(client.until_close(), (vec![], 1008));
        }
        let mut client = Client::native(server.address());
        client.join("c");
        let huge = format!("[{}1e{}]", "9".repeat(100_000), "9".repeat(1000));
        client.text(&format!(r#"{{"type":"publish","channel":"c","data":{huge}}}"#));
        let Received::Text(message) = client.next() else { panic!("the publication comes back") };
        assert!(message.contains(&huge), "it is not read as a number");
        let twice = r#"{"type":"join","type":"leave","channel":"c","id":7}"#;
        for (text, code) in [
            (twice.to_owned(), "bad_request"),
            (format!(r#"{{"type":"join","channel":"{}"}}"#, "c".repeat(100_000)), "bad_channel"),
            (format!(r#"{{"type":"join","channel":"c","id":{}}}"#, "1".repeat(100_000)), "bad_request"),
            (format!(r#"{{"type":"{}","channel":"c"}}"#, "\\u0041".repeat(10_000)), "unknown_type"),
            (r#"{"type":"ping"} {"type":"ping"}"#.to_owned(), "bad_json"),
            ("\u{feff}{}".to_owned(), "bad_json"),
        ] {
            client.text(&text);
            assert_eq!(client.json()["code"], code, "{}", &text[..text.len().min(60)]);
        }
        client.text(r#"{"type":"ping"}"#);
        assert_eq!(client.json()["type"], "pong", "the connection lives");
    });
}

#[test]
fn frames_that_come_with_the_handshake_are_heard() {
    each_driver(|driver| {
        let server = server(driver);
        let mut client = Client::connect(server.address());
        let mut bytes = b"GET /echo HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            .to_vec();
        bytes.extend(text_frame("early"));
        let half = bytes.len() - 3;
        client.send(&bytes[..half]);
        client.send(&bytes[half..]);
        assert_eq!(client::status(&client.head()), 101);
        assert_eq!(client.next(), Received::Text("early".into()));
        client.close(CloseCode::NORMAL);
        assert_eq!(client.until_close(), (vec![], 1000));
    });
}
