//! Every limit holds, exactly, and the shard lives on beyond it.
#![allow(clippy::unwrap_used, reason = "a step of a test that fails has failed the test")]

mod world;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use highper_shards::driver::Options;
use highper_shards::io::CONTROL_BYTES;
use highper_shards::logic::End;
use highper_shards::tx::{Frame, OutboxFull};
use highper_shards::{Io, Limits, Moment};
use world::{Event, Read, Rig, World, echo, for_each_driver, pattern, say};

for_each_driver![
    a_peer_that_takes_nothing_is_stalled,
    a_slow_peer_that_takes_something_is_not,
    the_outbox_refuses_what_would_pass_its_limit,
    a_full_outbox_has_room_for_control_frames,
    a_deadline_fires_once_and_not_early,
    a_deadline_can_be_moved_and_unset,
    connections_beyond_the_limit_are_closed,
    a_full_table_accepts_again_once_there_is_room,
    a_stopped_shard_sends_what_it_was_given,
];

fn a_peer_that_takes_nothing_is_stalled<W: World>() {
    let limits =
        Limits { outbox_bytes_max: 64 << 20, write_timeout: Duration::from_millis(100), ..Limits::default() };
    let mut rig = Rig::<W>::with(&Options::default(), limits, |io, event| {
        if let Event::Opened(slot) = event {
            say(io, *slot, &vec![0; 32 << 20]);
        }
    });
    let before = rig.now();
    let client = rig.connect();
    rig.until("stalled", |rig| rig.shard.io().counters().stalled == 1);
    assert!(rig.now().since(before) >= Duration::from_millis(100));
    rig.until_all_slots_are_free();
    let ended = |event: &&Event| matches!(event, Event::Ended(_, End::Stalled));
    assert_eq!(rig.events().iter().filter(ended).count(), 1);
    drop(client);
}

fn a_slow_peer_that_takes_something_is_not<W: World>() {
    let limits =
        Limits { outbox_bytes_max: 64 << 20, write_timeout: Duration::from_millis(400), ..Limits::default() };
    let mut rig = Rig::<W>::with(&Options::default(), limits, |io, event| {
        if let Event::Opened(slot) = event {
            say(io, *slot, &vec![0; 32 << 20]);
        }
    });
    let mut client = rig.connect();
    // The whole takes several times the timeout; every quarter of it the peer makes room for a send.
    for _ in 0..12 {
        let paid = rig.shard.io().counters().bytes_out;
        let later = rig.now() + Duration::from_millis(100);
        rig.until("made room", |rig| {
            let out = rig.shard.io().counters().bytes_out;
            if out == paid {
                rig.world.read(&mut client, 1 << 20);
            }
            out > paid && rig.now() >= later
        });
    }
    assert_eq!(rig.shard.io().counters().stalled, 0);
}

fn the_outbox_refuses_what_would_pass_its_limit<W: World>() {
    let limits = Limits { outbox_bytes_max: 1000, ..Limits::default() };
    let results = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&results);
    let mut rig = Rig::<W>::with(&Options::default(), limits, move |io, event| {
        let Event::Bytes(slot, _) = event else { return };
        for len in [600, 400, 1] {
            let frame = Frame::from(pattern(len));
            seen.borrow_mut().push(io.open(*slot).unwrap().out.push(frame));
        }
    });
    let mut client = rig.connect();
    rig.write(&mut client, b"go");
    assert_eq!(rig.read(&mut client, 1000), [pattern(600), pattern(400)].concat());
    assert_eq!(*results.borrow(), [Ok(()), Ok(()), Err(OutboxFull)]);
    rig.until("paid", |rig| rig.shard.io().queued() == 0);
    rig.write(&mut client, b"go");
    assert_eq!(rig.read(&mut client, 1000).len(), 1000, "what was paid makes room");
}

fn a_full_outbox_has_room_for_control_frames<W: World>() {
    let limits = Limits { outbox_bytes_max: 1000, ..Limits::default() };
    let results = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&results);
    let mut rig = Rig::<W>::with(&Options::default(), limits, move |io, event| {
        let Event::Bytes(slot, _) = event else { return };
        let mut out = io.open(*slot).unwrap().out;
        out.push(Frame::from(pattern(1000))).unwrap();
        out.write_control(|out| out.resize(out.len() + 1, 7)).unwrap();
        seen.borrow_mut().push(out.write(|out| out.push(8)));
        for len in [CONTROL_BYTES, 1] {
            seen.borrow_mut().push(out.write_control(|out| out.resize(out.len() + len, 7)));
        }
    });
    let mut client = rig.connect();
    rig.write(&mut client, b"go");
    let sent = [pattern(1000), vec![7; CONTROL_BYTES + 1]].concat();
    assert_eq!(rig.read(&mut client, sent.len()), sent);
    assert_eq!(*results.borrow(), [Err(OutboxFull), Ok(()), Err(OutboxFull)]);
}

fn a_deadline_fires_once_and_not_early<W: World>() {
    let due = Rc::new(RefCell::new(Moment::ZERO));
    let set = Rc::clone(&due);
    let mut rig = Rig::<W>::new(move |io, event| {
        if let Event::Opened(slot) = event {
            *set.borrow_mut() = io.now() + Duration::from_millis(37);
            io.arm(*slot, *set.borrow());
        }
    });
    let client = rig.connect();
    rig.until("due", |rig| rig.events().iter().any(|event| matches!(event, Event::Deadline(..))));
    let later = rig.now() + Duration::from_millis(100);
    rig.until("later", |rig| rig.now() >= later);
    let fired = deadlines(&mut rig);
    assert_eq!(fired.len(), 1, "it is unset once it has fired");
    assert!(fired[0] >= *due.borrow(), "{:?} is before {:?}", fired[0], due.borrow());
    drop(client);
}

fn a_deadline_can_be_moved_and_unset<W: World>() {
    let span = Duration::from_millis(40);
    let mut rig = Rig::<W>::new(move |io, event| match event {
        Event::Opened(slot) => io.arm(*slot, io.now() + span),
        Event::Bytes(slot, bytes) if bytes == b"later" => io.arm(*slot, io.now() + span * 3),
        Event::Bytes(slot, bytes) if bytes == b"sooner" => io.arm(*slot, io.now() + span / 8),
        Event::Bytes(slot, _) => io.disarm(*slot),
        _ => {}
    });
    let start = rig.now();
    let mut clients = rig.connect_many(3);
    rig.write(&mut clients[0], b"later");
    rig.write(&mut clients[1], b"never");
    rig.write(&mut clients[2], b"sooner");
    rig.until("both due", |rig| deadlines(rig).len() == 2);
    let fired = deadlines(&mut rig);
    assert!(fired[1].since(start) >= span * 3, "the later one was moved");
    let later = rig.now() + span * 2;
    rig.until("later", |rig| rig.now() >= later);
    assert_eq!(deadlines(&mut rig).len(), 2, "the third was unset");
}

fn connections_beyond_the_limit_are_closed<W: World>() {
    let limits = Limits { connections_max: 3, ..Limits::default() };
    let mut rig = Rig::<W>::with(&Options::default(), limits, echo);
    let mut clients = rig.connect_many(3);
    let mut refused = rig.world.connect();
    let (bytes, _) = rig.read_to_end(&mut refused);
    assert_eq!((bytes, rig.shard.io().counters().refused), (vec![], 1));
    rig.write(&mut clients[0], b"still here");
    assert_eq!(rig.read(&mut clients[0], 10), b"still here");
    drop(clients.pop());
    rig.until("freed", |rig| rig.connections() == 2);
    let mut welcome = rig.connect();
    rig.write(&mut welcome, b"there is room");
    assert_eq!(rig.read(&mut welcome, 13), b"there is room");
}

fn a_full_table_accepts_again_once_there_is_room<W: World>() {
    let options = Options { sockets_max: 4, ..Options::default() };
    let mut rig = Rig::<W>::with(&options, Limits::default(), echo);
    let mut clients = rig.connect_many(4);
    let mut waiting = rig.world.connect();
    rig.until("told", |rig| rig.shard.io().counters().accept_errors > 0);
    let (turns, errors) = (rig.shard.io().counters().turns, rig.shard.io().counters().accept_errors);
    let later = rig.now() + Duration::from_millis(100);
    rig.until("later", |rig| rig.now() >= later);
    let counters = *rig.shard.io().counters();
    assert!(counters.accept_errors - errors <= 5, "the listener backs off: {counters:?} since {turns}");
    assert_eq!(rig.world.read(&mut waiting, 1), Read::Nothing, "it waits in the backlog");
    clients.truncate(3);
    rig.write(&mut waiting, b"my turn");
    assert_eq!(rig.read(&mut waiting, 7), b"my turn");
}

fn a_stopped_shard_sends_what_it_was_given<W: World>() {
    let mut rig = Rig::<W>::new(|io: &mut Io<(), u64>, event| {
        if let Event::Bytes(slot, _) = event {
            say(io, *slot, b"going down");
            io.stop();
        }
    });
    let mut client = rig.connect();
    rig.write(&mut client, b"stop");
    rig.until("told", |rig| rig.events().iter().any(|event| matches!(event, Event::Bytes(..))));
    rig.shard.run().unwrap();
    assert_eq!(rig.read(&mut client, 10), b"going down");
}

fn deadlines<W: World>(rig: &mut Rig<W>) -> Vec<Moment> {
    let at = |event: &Event| if let Event::Deadline(_, at) = event { Some(*at) } else { None };
    rig.events().iter().filter_map(at).collect()
}
