//! What each level of overload does and leaves alone, in the simulator.

use std::time::Duration;

use highper_shards::driver::sim::Client;
use highper_wire::ws::{Kind, encoder};

use crate::config::ByteSize;
use crate::worker::rig::{Rig, retry_after, status};

/// Text with both of its first bits in the first byte: the end of a message, compressed or not.
const PLAIN: u8 = 0x81;
const COMPRESSED: u8 = 0xc1;

fn text(payload: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    encoder::masked_message(&mut frame, [1, 2, 3, 4], Kind::Text, payload.as_bytes());
    frame
}

fn get(rig: &mut Rig, path: &str) -> (u16, String) {
    let client = rig.connect();
    client.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    let (head, body) = rig.answer(&client);
    (status(&head), String::from_utf8(body).unwrap())
}

#[test]
fn from_the_first_level_on_nothing_is_compressed() {
    let mut rig = Rig::new(1, 2, 64, |config| {
        config.compression_threshold = ByteSize::new(0);
    });
    for (level, first) in [(0, COMPRESSED), (1, PLAIN), (0, COMPRESSED)] {
        rig.shared.board.set_overload(level, 0);
        // Every shard has a turn with the level: a request that is answered is one for its own.
        (0..8).for_each(|_| assert_eq!(get(&mut rig, "/health/live").0, 200));
        rig.run_for(Duration::from_secs(1));
        let client = rig.knock("/ws");
        let (head, frames) = rig.answer(&client);
        assert_eq!((status(&head), frames[0]), (101, first), "level {level}");
    }
}

#[test]
fn from_the_second_level_on_nothing_opens_and_health_answers() {
    let mut rig = Rig::new(2, 2, 64, |_| {});
    let before = rig.knock("/ws");
    assert_eq!(status(&rig.answer(&before).0), 101);
    for (memory, turn) in [(2, 0), (0, 2), (4, 4)] {
        rig.shared.board.set_overload(memory, turn);
        let client = rig.knock("/ws");
        let (head, _) = rig.answer(&client);
        assert_eq!(status(&head), 503);
        assert!((5..15).contains(&retry_after(&head).unwrap()), "{head}");
        let (status, health) = get(&mut rig, "/realtime/health");
        let health: serde_json::Value = serde_json::from_str(&health).unwrap();
        assert_eq!((status, &health["overload_level"]), (200, &memory.max(turn).into()));
        let (status, ready) = get(&mut rig, "/health/ready");
        assert_eq!((status, ready.contains("overloaded")), (503, true));
        // Who is in goes on.
        before.write(&text(r#"{"type":"ping","id":1}"#));
        rig.run_for(Duration::from_millis(50));
        assert!(before.state().readable > 0);
        before.read();
    }
    rig.shared.board.set_overload(0, 0);
    let client = rig.knock("/ws");
    assert_eq!(status(&rig.answer(&client).0), 101);
    assert_eq!(rig.sum(|worker| worker.counters.overload_refused), 3);
}

#[test]
fn histories_are_halved_and_grow_again() {
    let mut rig = Rig::new(3, 1, 64, |config| config.history_size = 10_000);
    let client = rig.knock("/ws");
    assert_eq!(status(&rig.answer(&client).0), 101);
    let publish = |rig: &mut Rig, count: usize| {
        let data = "x".repeat(1000);
        for _ in 0..count {
            client.write(&text(&format!(r#"{{"type":"publish","channel":"news","data":"{data}"}}"#)));
        }
        rig.run_for(Duration::from_millis(100));
    };
    let bytes = |rig: &mut Rig| rig.sum(|worker| worker.home.shelf().bytes() as u64);
    publish(&mut rig, 4000);
    let full = bytes(&mut rig);
    assert!(full > 4_000_000, "{full}");
    // Turns have no part in it: what is short there is not memory.
    rig.shared.board.set_overload(1, 4);
    publish(&mut rig, 1);
    assert!(bytes(&mut rig) > full);
    let mut last = bytes(&mut rig);
    for level in 2..=4 {
        rig.shared.board.set_overload(level, 0);
        publish(&mut rig, 1);
        let now = bytes(&mut rig);
        assert!(now <= last / 2 + 1200 && now > last / 2 - 3000, "level {level}: {now} of {last}");
        last = now;
    }
    // It did not suffice: again, a second later.
    rig.run_for(Duration::from_millis(1000));
    assert!(bytes(&mut rig) <= last / 2);
    rig.shared.board.set_overload(0, 0);
    publish(&mut rig, 4000);
    assert!(bytes(&mut rig) > 4_000_000, "there is room again");
}

#[test]
fn from_the_third_level_on_the_slowest_go_first() {
    let mut rig = Rig::new(4, 1, 64, |config| config.websocket_compression = false);
    let clients: Vec<Client> = (0..40).map(|_| rig.knock("/echo")).collect();
    for client in &clients {
        assert_eq!(status(&rig.answer(client).0), 101);
    }
    // The first ten read everything, each other one has 10,000 bytes more to read than the one before.
    for (number, client) in clients.iter().enumerate().skip(10) {
        client.stop_reading();
        (0..8 + number).for_each(|_| client.write(&text(&"x".repeat(10_000))));
    }
    rig.run_for(Duration::from_millis(500));
    let queued = |rig: &mut Rig| rig.shards[0].io().queued();
    let before = queued(&mut rig);
    assert!(before > 5_000_000, "{before}");
    let open = |rig: &mut Rig| rig.sum(|worker| worker.open() as u64);
    assert_eq!(open(&mut rig), 40);
    rig.shared.board.set_overload(2, 0);
    clients[0].write(&text("a turn"));
    rig.run_for(Duration::from_millis(100));
    assert_eq!((open(&mut rig), queued(&mut rig)), (40, before), "not yet");
    rig.shared.board.set_overload(3, 0);
    rig.until("some are dropped", |shards| shards[0].logic().worker.counters.overload_dropped > 0);
    assert_eq!((open(&mut rig), rig.sum(|worker| worker.counters.overload_dropped)), (24, 16));
    rig.shared.board.set_overload(0, 0);
    rig.run_for(Duration::from_millis(200));
    assert_eq!(open(&mut rig), 24, "no more than it takes");
    assert!(queued(&mut rig) < before / 2);
    clients.iter().for_each(Client::resume_reading);
    let mut received = vec![Vec::new(); clients.len()];
    for _ in 0..100 {
        rig.run_for(Duration::from_millis(10));
        for (client, received) in clients.iter().zip(&mut received) {
            client.read_into(received);
        }
    }
    for (number, received) in received.iter().enumerate() {
        let code = 1013u16.to_be_bytes();
        let is_told = received.windows(2).any(|window| window == code);
        assert_eq!(is_told, number >= 24, "client {number}");
    }
}

#[test]
fn who_reads_is_never_dropped() {
    let mut rig = Rig::new(5, 2, 64, |_| {});
    let clients: Vec<Client> = (0..20).map(|_| rig.knock("/echo")).collect();
    for client in &clients {
        assert_eq!(status(&rig.answer(client).0), 101);
    }
    rig.shared.board.set_overload(4, 4);
    for round in 0..100 {
        clients.iter().for_each(|client| client.write(&text("hello")));
        rig.run_for(Duration::from_millis(20));
        for client in &clients {
            assert_eq!(client.read(), b"\x81\x05hello", "round {round}");
        }
    }
    assert_eq!(rig.sum(|worker| worker.counters.overload_dropped), 0);
}
