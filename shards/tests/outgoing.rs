//! Connections that a shard makes itself.
#![allow(clippy::unwrap_used, reason = "a step of a test that fails has failed the test")]

mod world;

use std::net::SocketAddr;

use highper_shards::driver::Options;
use highper_shards::{Close, Errno, Io, Limits};
use world::{Event, Internet, Rig, echo, end, for_each_driver, say};

for_each_driver![
    a_connection_is_made_and_told,
    what_was_written_before_it_was_made_is_sent,
    a_refused_connection_is_told_and_freed,
    a_connection_closed_before_it_was_made_is_never_heard_of,
    a_shard_connects_while_it_accepts,
    a_full_table_refuses_the_connection,
    a_connection_asked_for_while_another_fails_is_made,
];

fn connect(io: &mut Io<(), u64>, address: SocketAddr) -> highper_shards::SlotId {
    io.connect(address, None, ()).expect("there is a slot")
}

fn a_connection_is_made_and_told<W: Internet>() {
    let mut rig = Rig::<W>::new(|io, event| match event {
        Event::Connected(slot, Ok(())) => say(io, *slot, b"ping"),
        Event::Bytes(slot, bytes) if bytes == b"ping" => say(io, *slot, b"pong"),
        Event::Bytes(slot, bytes) if bytes == b"pong" => end(io, *slot),
        _ => {}
    });
    let address = rig.world.address();
    let slot = connect(rig.shard.io(), address);
    rig.until("answered", |rig| rig.events().contains(&Event::Bytes(slot, b"pong".to_vec())));
    rig.until_all_slots_are_free();
    let connected = |event: &&Event| matches!(event, Event::Connected(..));
    assert_eq!(rig.events().iter().filter(connected).count(), 1);
}

fn what_was_written_before_it_was_made_is_sent<W: Internet>() {
    let mut rig = Rig::<W>::new(echo);
    let address = rig.world.address();
    let slot = connect(rig.shard.io(), address);
    say(rig.shard.io(), slot, b"early");
    let arrived =
        |event: &Event| matches!(event, Event::Bytes(at, bytes) if *at != slot && bytes == b"early");
    rig.until("arrived", |rig| rig.events().iter().any(arrived));
}

fn a_refused_connection_is_told_and_freed<W: Internet>() {
    let mut rig = Rig::<W>::new(echo);
    let nowhere = rig.world.nowhere();
    let slot = connect(rig.shard.io(), nowhere);
    rig.until_all_slots_are_free();
    assert_eq!(rig.events(), [Event::Connected(slot, Err(Errno::CONNREFUSED))]);
}

fn a_connection_closed_before_it_was_made_is_never_heard_of<W: Internet>() {
    for how in [Close::Now, Close::AfterFlush] {
        let mut rig = Rig::<W>::new(echo);
        let address = rig.world.address();
        let slot = connect(rig.shard.io(), address);
        rig.shard.io().close(slot, how);
        rig.turn();
        rig.until_all_slots_are_free();
        let of_it = |event: &Event| matches!(event, Event::Connected(..));
        assert!(!rig.events().iter().any(of_it), "{:?}", rig.events());
    }
}

fn a_shard_connects_while_it_accepts<W: Internet>() {
    let nowhere = std::cell::Cell::new(None);
    let nowhere = std::rc::Rc::new(nowhere);
    let known = std::rc::Rc::clone(&nowhere);
    let mut rig = Rig::<W>::new(move |io, event| {
        if let (Event::Accepted(_), Some(address)) = (event, known.get()) {
            connect(io, address);
        }
        echo(io, event);
    });
    nowhere.set(Some(rig.world.nowhere()));
    let mut client = rig.connect();
    rig.write(&mut client, b"mine?");
    assert_eq!(rig.read(&mut client, 5), b"mine?");
}

fn a_full_table_refuses_the_connection<W: Internet>() {
    let options = Options { sockets_max: 1, ..Options::default() };
    let mut rig = Rig::<W>::with(&options, Limits::default(), echo);
    let mut client = rig.connect();
    let address = rig.world.address();
    let slot = connect(rig.shard.io(), address);
    rig.until("told", |rig| rig.connections() == 1);
    assert!(rig.events().contains(&Event::Connected(slot, Err(Errno::NFILE))), "{:?}", rig.events());
    rig.write(&mut client, b"unmoved");
    assert_eq!(rig.read(&mut client, 7), b"unmoved");
}

fn a_connection_asked_for_while_another_fails_is_made<W: Internet>() {
    let options = Options { sockets_max: 1, ..Options::default() };
    let address = std::rc::Rc::new(std::cell::Cell::new(None));
    let known = std::rc::Rc::clone(&address);
    let mut again = 3;
    let mut rig = Rig::<W>::with(&options, Limits::default(), move |io, event| {
        if let (Event::Connected(_, Err(_)), Some(address)) = (event, known.get())
            && again > 0
        {
            again -= 1;
            connect(io, address);
        }
    });
    let client = rig.connect();
    address.set(Some(rig.world.address()));
    let address = rig.world.address();
    connect(rig.shard.io(), address);
    let told = |event: &&Event| matches!(event, Event::Connected(..));
    rig.until("all told", |rig| rig.events().iter().filter(told).count() == 4);
    rig.until("freed", |rig| rig.connections() == 1);
    drop(client);
}
