//! The simulated network itself: what a client may rely on.

use std::time::Duration;

use highper_shards::driver::sim::{Fault, Faults, Network, What};
use highper_shards::{Moment, ShardId};

use crate::script::{Build, PORT, Script};

#[test]
fn bytes_travel_as_long_as_the_network_says() {
    let mut build = Build::new(1);
    build.network.latency = (Duration::from_millis(20), Duration::from_millis(20));
    let mut engine = build.engine([Script::echo()]);
    let client = engine.world.connect(PORT);
    client.write(b"far");
    let began = engine.world.now();
    let mut back = Vec::new();
    engine.until("the echo", |_| client.read_into(&mut back) > 0);
    let took = engine.world.now().since(began);
    assert!(took >= Duration::from_millis(40) && took < Duration::from_millis(41), "{took:?}");
}

#[test]
fn a_client_may_choose_its_shard() {
    let mut engine = Build::new(2).engine([Script::echo(), Script::echo()]);
    let clients: Vec<_> = (0..20).map(|_| engine.world.connect_to(PORT, ShardId(1))).collect();
    engine.until("all are there", |shards| shards[1].io().connections() == 20);
    assert_eq!(engine.shards[0].io().connections(), 0);
    drop(clients);
}

#[test]
fn a_client_has_news_once_and_only_if_there_is_some() {
    let mut engine = Build::new(3).engine([Script::echo()]);
    let clients = engine.connect(50);
    engine.until("all are there", |shards| shards[0].io().connections() == 50);
    assert_eq!(engine.world.next_news(), None);
    clients[20].write(b"a");
    engine.run_for(Duration::from_millis(1));
    assert_eq!(engine.world.next_news().map(|client| client.number), Some(20));
    assert_eq!(engine.world.next_news(), None);
    clients[20].write(b"b");
    engine.run_for(Duration::from_millis(1));
    assert_eq!(engine.world.next_news(), Some(clients[20].id()));
    assert_eq!(clients[20].read(), b"ab");
}

#[test]
fn requests_beyond_the_backlog_are_sent_again() {
    let mut build = Build::new(4);
    build.network = Network { backlog_max: 10, ..Network::default() };
    let mut engine = build.engine([Script::echo()]);
    let clients = engine.connect(35);
    engine.world.advance(Duration::from_millis(1));
    engine.until("all are there", |shards| shards[0].io().connections() == 35);
    assert!(clients.iter().all(|client| !client.state().reset));
}

#[test]
fn a_window_holds_what_it_says() {
    let mut engine = Build::new(5).engine([Script::new(|io, slot, _| {
        io.open(slot).unwrap().out.write(|out| out.resize(100_000, 3)).unwrap();
    })]);
    let client = engine.world.connect(PORT);
    client.set_window(1234);
    client.write(b"?");
    engine.run_for(Duration::from_secs(1));
    assert_eq!(client.state().readable, 1234);
    assert_eq!(engine.shards[0].io().queued(), 100_000 - 1234);
    assert_eq!(engine.world.fault_counts()[Fault::FullWindow], 1);
    client.set_window(5000);
    engine.run_for(Duration::from_secs(1));
    assert_eq!(client.state().readable, 5000);
}

#[test]
fn what_was_not_read_resets_the_connection_of_a_client_that_closes() {
    let mut engine = Build::new(6).engine([Script::echo()]);
    let client = engine.world.connect(PORT);
    client.write(b"?");
    engine.until("an echo", |_| client.state().readable > 0);
    drop(client);
    engine.expect_empty();
    assert!(matches!(engine.shards[0].logic().ended[..], [(_, highper_shards::logic::End::Failed(_))]));
}

#[test]
fn the_log_keeps_the_last_events() {
    let mut engine = Build::new(7).engine([Script::echo()]);
    engine.world.keep_log(10);
    let client = engine.world.connect(PORT);
    client.write(b"seen");
    engine.until("an echo", |_| client.state().readable > 0);
    let events = engine.world.last_events();
    assert!(events.len() <= 10 && events.iter().all(|event| event.at > Moment::ZERO));
    assert!(events.iter().any(|event| (event.what, event.value) == (What::Received, 4)), "{events:?}");
    assert!(events.iter().any(|event| (event.what, event.value) == (What::Arrived, 4)), "{events:?}");
}

#[test]
fn swarms_differ_and_leave_some_faults_out() {
    assert_ne!(Faults::swarm(1), Faults::swarm(2));
    assert_eq!(Faults::swarm(1), Faults::swarm(1));
    assert_eq!(Faults::swarm(1).harmless().harmless(), Faults::swarm(1).harmless());
}
