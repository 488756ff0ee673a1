//! Connections end once, for one reason, and give everything back.
#![allow(clippy::unwrap_used, reason = "a step of a test that fails has failed the test")]

mod world;

use std::time::Duration;

use highper_shards::driver::Options;
use highper_shards::logic::End;
use highper_shards::{Close, Errno, Limits, SlotId};
use world::{Event, Read, Rig, World, echo, end, for_each_driver, pattern, say};

for_each_driver![
    a_close_after_flush_delivers_everything,
    a_peer_that_ends_its_side_still_gets_its_answer,
    a_reset_ends_the_connection,
    a_close_now_is_seen_by_the_peer,
    nothing_is_heard_after_a_close,
    a_deadline_of_the_same_turn_is_not_heard_after_a_close,
    a_peer_that_never_closes_is_not_waited_for_long,
    a_panic_ends_its_own_connection_only,
    a_panic_in_any_callback_is_survived,
    slots_are_used_again_by_strangers_only,
];

fn a_close_after_flush_delivers_everything<W: World>() {
    let limits = Limits { outbox_bytes_max: 64 << 20, ..Limits::default() };
    let mut rig = Rig::<W>::with(&Options::default(), limits, |io, event| {
        if let Event::Bytes(slot, _) = event {
            say(io, *slot, &pattern(8 << 20));
            end(io, *slot);
        }
    });
    let mut client = rig.connect();
    rig.write(&mut client, b"last words, please");
    let (bytes, end) = rig.read_to_end(&mut client);
    assert_eq!((bytes.len(), end), (8 << 20, Read::End));
    assert!(bytes == pattern(8 << 20));
    assert_eq!(rig.connections(), 1, "it waits for the peer to close too");
    drop(client);
    rig.until_all_slots_are_free();
    assert!(!rig.events().iter().any(|event| matches!(event, Event::Ended(..))), "the shard closed it");
}

fn a_peer_that_ends_its_side_still_gets_its_answer<W: World>() {
    let limits = Limits { outbox_bytes_max: 64 << 20, ..Limits::default() };
    let mut rig = Rig::<W>::with(&Options::default(), limits, echo);
    let mut client = rig.connect();
    let message = pattern(200_000);
    rig.write(&mut client, &message);
    rig.world.shutdown(&mut client);
    assert!(rig.read_to_end(&mut client) == (message, Read::End));
    rig.until_all_slots_are_free();
    assert_eq!(ends(&mut rig), [End::Eof]);
}

fn a_reset_ends_the_connection<W: World>() {
    let mut rig = Rig::<W>::new(echo);
    let client = rig.connect();
    rig.world.reset(client);
    rig.until_all_slots_are_free();
    assert_eq!(ends(&mut rig), [End::Failed(Errno::CONNRESET)]);
}

fn a_close_now_is_seen_by_the_peer<W: World>() {
    let mut rig = Rig::<W>::new(|io, event| {
        if let Event::Bytes(slot, _) = event {
            io.close(*slot, Close::Now);
        }
    });
    let mut client = rig.connect();
    rig.write(&mut client, b"?");
    let (bytes, _) = rig.read_to_end(&mut client);
    assert_eq!(bytes, []);
    rig.until_all_slots_are_free();
    assert_eq!(ends(&mut rig), []);
}

fn nothing_is_heard_after_a_close<W: World>() {
    let limits = Limits { linger: Duration::from_millis(200), ..Limits::default() };
    let mut rig = Rig::<W>::with(&Options::default(), limits, |io, event| {
        if let Event::Bytes(slot, _) = event {
            io.arm(*slot, io.now());
            io.close(*slot, Close::AfterFlush);
            io.arm(*slot, io.now());
        }
    });
    let mut client = rig.connect();
    rig.write(&mut client, b"first");
    assert_eq!(rig.read_to_end(&mut client), (vec![], Read::End));
    rig.world.write(&mut client, b"second");
    rig.until_all_slots_are_free();
    let slot = opened(&mut rig)[0];
    let expected = [Event::Accepted(slot), Event::Opened(slot), Event::Bytes(slot, b"first".to_vec())];
    assert_eq!(rig.events(), expected);
}

fn a_deadline_of_the_same_turn_is_not_heard_after_a_close<W: World>() {
    let mut due = None;
    let mut rig = Rig::<W>::new(move |io, event| match event {
        Event::Opened(slot) => {
            let due = *due.get_or_insert(io.now() + Duration::from_millis(50));
            io.arm(*slot, due);
        }
        Event::Deadline(..) => io.ids().into_iter().for_each(|slot| io.close(slot, Close::Now)),
        _ => {}
    });
    let clients = rig.connect_many(2);
    rig.until_all_slots_are_free();
    let deadline = |event: &&Event| matches!(event, Event::Deadline(..));
    assert_eq!(rig.events().iter().filter(deadline).count(), 1, "the first one closed both");
    drop(clients);
}

fn a_peer_that_never_closes_is_not_waited_for_long<W: World>() {
    let limits = Limits { linger: Duration::from_millis(50), ..Limits::default() };
    let mut rig = Rig::<W>::with(&Options::default(), limits, |io, event| {
        if let Event::Opened(slot) = event {
            say(io, *slot, b"bye");
            end(io, *slot);
        }
    });
    let before = rig.now();
    let mut client = rig.connect();
    assert_eq!(rig.read_to_end(&mut client), (b"bye".to_vec(), Read::End));
    rig.until_all_slots_are_free();
    assert!(rig.now().since(before) >= Duration::from_millis(50), "it had time to close");
    drop(client);
}

fn a_panic_ends_its_own_connection_only<W: World>() {
    let mut rig = Rig::<W>::new(|io, event| match event {
        Event::Bytes(_, bytes) if bytes == b"panic" => panic!("as it was asked to"),
        Event::Panicked(slot) => say(io, *slot, b"1011"),
        _ => echo(io, event),
    });
    let mut clients = rig.connect_many(3);
    rig.write(&mut clients[1], b"panic");
    assert_eq!(rig.read_to_end(&mut clients[1]), (b"1011".to_vec(), Read::End));
    drop(clients.remove(1));
    rig.until("freed", |rig| rig.connections() == 2);
    for client in &mut clients {
        rig.write(client, b"alive?");
        assert_eq!(rig.read(client, 6), b"alive?");
    }
    assert_eq!(rig.shard.io().counters().panics, 1);
    assert_eq!(ends(&mut rig), []);
}

fn a_panic_in_any_callback_is_survived<W: World>() {
    let mut accepts = 0;
    let mut rig = Rig::<W>::new(move |io, event| match event {
        Event::Accepted(_) => {
            accepts += 1;
            assert!(accepts != 1, "the first is not welcome");
        }
        Event::Opened(_) => assert!(accepts != 2, "the second is not either"),
        Event::Bytes(slot, _) => io.arm(*slot, io.now()),
        Event::Deadline(..) => panic!("out of time"),
        Event::Ended(..) => panic!("out of peers"),
        Event::Panicked(_) => panic!("out of luck"),
        Event::Connected(..) | Event::Message(..) => {}
    });
    let mut first = rig.world.connect();
    let (_, end) = rig.read_to_end(&mut first);
    assert_ne!(end, Read::Nothing);
    let mut second = rig.world.connect();
    assert_eq!(rig.read_to_end(&mut second), (vec![], Read::End));
    let mut third = rig.connect();
    rig.write(&mut third, b"tick");
    assert_eq!(rig.read_to_end(&mut third), (vec![], Read::End));
    let fourth = rig.connect();
    drop((first, second, third, fourth));
    rig.until_all_slots_are_free();
    // Each panics again in on_panic, which is not counted; the first has no slot to say it of.
    assert_eq!(rig.shard.io().counters().panics, 4);
}

fn slots_are_used_again_by_strangers_only<W: World>() {
    let mut rig = Rig::<W>::new(|io, event| {
        if let Event::Bytes(slot, bytes) = event {
            say(io, *slot, bytes);
            io.close(*slot, Close::AfterFlush);
        }
    });
    for round in 0..20u8 {
        let mut client = rig.connect();
        rig.write(&mut client, &[round]);
        assert_eq!(rig.read_to_end(&mut client), (vec![round], Read::End));
        drop(client);
        rig.until_all_slots_are_free();
    }
    let slots = opened(&mut rig);
    let mut names: Vec<String> = slots.iter().map(SlotId::to_string).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 20, "every connection has a name of its own");
    assert!(slots.iter().all(|slot| slot.index() == slots[0].index()), "and all had the same slot");
    for slot in slots {
        assert!(rig.shard.io().conn(slot).is_none());
    }
}

fn ends<W: World>(rig: &mut Rig<W>) -> Vec<End> {
    let end = |event: &Event| if let Event::Ended(_, end) = event { Some(*end) } else { None };
    rig.events().iter().filter_map(end).collect()
}

fn opened<W: World>(rig: &mut Rig<W>) -> Vec<SlotId> {
    let slot = |event: &Event| if let Event::Opened(slot) = event { Some(*slot) } else { None };
    rig.events().iter().filter_map(slot).collect()
}
