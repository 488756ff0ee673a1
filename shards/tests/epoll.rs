//! What only the epoll driver has to survive: sockets that count against the process.
#![allow(clippy::unwrap_used, reason = "a step of a test that fails has failed the test")]

mod world;

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use highper_shards::Limits;
use highper_shards::driver::epoll::Epoll;
use highper_shards::driver::{Driver, Options};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use world::kernel::Kernel;
use world::{Event, Read, Rig, World, echo};

/// In a process of its own, because the limit holds for every test of a process.
#[test]
fn a_process_without_descriptors_serves_on_and_accepts_again() {
    let itself = std::env::current_exe().unwrap();
    let child = Command::new(itself)
        .args(["--ignored", "--exact", "without_descriptors", "--test-threads=1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "lowers the limit of its process: run by a_process_without_descriptors_serves_on_and_accepts_again"]
fn without_descriptors() {
    const CLIENTS: usize = 40;
    let mut rig = Rig::<Kernel<Epoll>>::with(&Options::default(), Limits::default(), echo);
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| rig.world.connect()).collect();
    let used = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(used + 9), maximum }).unwrap();

    rig.until("out of descriptors", |rig| rig.shard.io().counters().accept_errors > 0);
    let accepted = rig.shard.io().counters().accepted;
    assert!(accepted > 0 && accepted < CLIENTS as u64, "{accepted} of {CLIENTS}");
    let (turns, errors) = (rig.shard.io().counters().turns, rig.shard.io().counters().accept_errors);
    let later = rig.now() + Duration::from_millis(200);
    while rig.now() < later {
        rig.shard.turn(Some(Duration::from_millis(200))).unwrap();
    }
    let counters = *rig.shard.io().counters();
    assert!(counters.accept_errors - errors <= 6 && counters.turns - turns <= 30, "it spins: {counters:?}");
    rig.write(&mut clients[0], b"served");
    assert_eq!(rig.read(&mut clients[0], 6), b"served");

    // Each client that leaves frees two descriptors, and the next ones get in.
    for mut client in clients {
        rig.write(&mut client, b"me too");
        assert_eq!(rig.read(&mut client, 6), b"me too");
    }
    rig.until_all_slots_are_free();
    assert_eq!(rig.shard.io().counters().accepted, CLIENTS as u64);
}

#[test]
fn an_echo_costs_one_receive_and_one_send() {
    let mut rig = Rig::<Kernel<Epoll>>::new(echo);
    let mut client = rig.connect();
    rig.write(&mut client, b"warm");
    rig.read(&mut client, 4);
    rig.until("counted", |rig| rig.shard.io().counters().bytes_out == 4);
    let before = rig.shard.driver().counters().enters;
    rig.world.write(&mut client, b"echo");
    // The turn that receives and sends, the one that hears of the send, and the wait that began before.
    rig.until("paid", |rig| rig.shard.io().counters().bytes_out == 8);
    let enters = rig.shard.driver().counters().enters - before;
    assert_eq!(enters, 3, "one wait, one receive, one send");
    assert_eq!(rig.read(&mut client, 4), b"echo");
}

#[test]
fn an_end_behind_the_last_bytes_is_seen() {
    // The end arrives with the bytes, so no event of its own follows.
    let mut rig = Rig::<Kernel<Epoll>>::new(|_, _| {});
    for len in [1, 8191, 8192, 8193, 40_000] {
        let before = rig.events().len();
        let mut client = rig.world.connect();
        assert_eq!(rig.world.write(&mut client, &vec![0; len]), len);
        rig.world.shutdown(&mut client);
        rig.until("ended", |rig| {
            rig.events()[before..].iter().any(|event| matches!(event, Event::Ended(..)))
        });
        assert_ne!(rig.world.read(&mut client, 1), Read::Reset);
        drop(client);
        rig.until_all_slots_are_free();
    }
    let received: usize = rig
        .events()
        .iter()
        .map(|event| if let Event::Bytes(_, bytes) = event { bytes.len() } else { 0 })
        .sum();
    assert_eq!(received, 1 + 8191 + 8192 + 8193 + 40_000);
}
