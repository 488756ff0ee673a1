//! What the engine promises, on a kernel without faults and in exact virtual time.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use highper_shards::driver::sim::{Fault, Faults, Random, Rate};
use highper_shards::logic::End;
use highper_shards::{Close, Frame, Moment};

use crate::script::{Build, Engine, PORT, Script, Talker, echo, say_and_close};

const TICK: Duration = Duration::from_millis(4);

fn talk(engine: &mut Engine, clients: usize, length: usize) -> Vec<Talker> {
    let mut random = Random::new(engine.world.seed());
    let mut talkers: Vec<Talker> =
        engine.connect(clients).into_iter().map(|client| Talker::new(client, length, &mut random)).collect();
    engine.until("everything is echoed", |_| {
        talkers.iter_mut().map(|talker| talker.step(&mut random)).filter(|done| !done).count() == 0
    });
    assert!(talkers.iter().all(Talker::is_right));
    talkers
}

#[test]
fn bytes_are_echoed() {
    let mut engine = Build::new(1).engine([Script::echo()]);
    let client = engine.world.connect(PORT);
    client.write(b"hello");
    let mut back = Vec::new();
    engine.until("the echo", |_| client.read_into(&mut back) > 0);
    assert_eq!(back, b"hello");
    drop(client);
    engine.expect_empty();
}

#[test]
fn many_connections_are_echoed_on_all_shards() {
    let mut engine = Build::new(2).engine([Script::echo(), Script::echo(), Script::echo()]);
    let talkers = talk(&mut engine, 100, 5_000);
    for shard in &mut engine.shards {
        assert!(shard.io().counters().accepted > 10);
    }
    drop(talkers);
    engine.expect_empty();
}

#[test]
fn a_large_echo_survives_full_windows() {
    let mut engine = Build::new(3).engine([Script::echo()]);
    talk(&mut engine, 2, 1 << 20);
    let mut engine =
        Build::new(3).engine([Script::new(|io, slot, _| say_and_close(io, slot, &[7; 4 << 20]))]);
    let client = engine.world.connect(PORT);
    client.write(b"?");
    let mut back = Vec::new();
    engine.until("the end of it", |_| {
        if client.state().readable == 64 * 1024 {
            client.read_into(&mut back);
        }
        client.state().eof
    });
    client.read_into(&mut back);
    assert_eq!(back.len(), 4 << 20);
}

#[test]
fn a_shared_frame_reaches_every_connection() {
    let frame = Rc::new(RefCell::new(None));
    let script = Script::new(move |io, _, bytes| {
        let shared = frame.borrow_mut().get_or_insert_with(|| Frame::from(bytes.to_vec())).clone();
        for slot in io.ids() {
            io.open(slot).unwrap().out.push(shared.clone()).unwrap();
        }
    });
    let mut engine = Build::new(4).engine([script]);
    let clients = engine.connect(200);
    engine.until("all are accepted", |shards| shards[0].io().connections() == 200);
    clients[17].write(b"news");
    let mut heard = 0;
    engine.until("all have heard", |_| {
        heard += clients.iter().filter(|client| client.read() == b"news").count();
        heard == 200
    });
}

#[test]
fn close_after_flush_delivers_everything_although_the_client_talks_on() {
    let mut engine =
        Build::new(5).engine([Script::new(|io, slot, _| say_and_close(io, slot, &[9; 300_000]))]);
    let client = engine.world.connect(PORT);
    let mut back = Vec::new();
    engine.until("the end", |_| {
        client.write(b"and another thing");
        client.read_at_most(5_000, &mut back);
        client.state().eof
    });
    client.read_into(&mut back);
    assert_eq!(back, [9; 300_000]);
    assert!(!client.state().reset);
    client.shutdown();
    engine.expect_empty();
}

#[test]
fn a_client_that_never_closes_is_waited_for_as_long_as_linger_says() {
    let mut build = Build::new(6);
    build.limits.linger = Duration::from_millis(1500);
    let mut engine = build.engine([Script::new(|io, slot, _| say_and_close(io, slot, b"bye"))]);
    let client = engine.world.connect(PORT);
    client.write(b"?");
    engine.until("the end", |_| client.state().eof);
    let eof = engine.world.now();
    engine.expect_empty();
    let waited = engine.world.now().since(eof);
    assert!(waited >= Duration::from_millis(1499) && waited < Duration::from_millis(1510), "{waited:?}");
    assert_eq!(client.read(), b"bye");
}

#[test]
fn a_reader_that_takes_nothing_is_stalled_at_the_write_timeout() {
    let mut engine = Build::new(7).engine([Script::new(|io, slot, _| {
        io.open(slot).unwrap().out.write(|out| out.resize(1 << 20, 1)).unwrap();
    })]);
    let (slow, quick) = (engine.world.connect(PORT), engine.world.connect(PORT));
    slow.stop_reading();
    slow.write(b"?");
    let began = engine.world.now();
    engine.until("the slow one is given up", |shards| !shards[0].logic().ended.is_empty());
    let waited = engine.world.now().since(began);
    let limit = Duration::from_secs(10);
    assert!(waited >= limit && waited < limit + 2 * TICK, "{waited:?}");
    assert_eq!(engine.shards[0].logic().ended[0].1, End::Stalled);
    assert_eq!(engine.shards[0].io().counters().stalled, 1);
    quick.write(b"?");
    let mut back = 0;
    engine.until("the other one is served", |_| {
        back += quick.read().len();
        back == 1 << 20
    });
}

#[test]
fn who_lags_is_named_after_the_soft_time_and_again_until_it_catches_up() {
    let mut build = Build::new(7);
    build.limits.write_timeout = Duration::from_secs(1000);
    build.limits.outbox_soft_bytes = 500_000;
    let mut script = Script::new(|io, slot, bytes| {
        let len = if bytes == b"much" { 1 << 20 } else { 400_000 };
        io.open(slot).unwrap().out.write(|out| out.resize(len, 1)).unwrap();
    });
    let named: Rc<RefCell<Vec<Moment>>> = Rc::default();
    let log = Rc::clone(&named);
    script.on_turn = Box::new(move |io| {
        while io.next_laggard().is_some() {
            log.borrow_mut().push(io.now());
        }
    });
    let mut engine = build.engine([script]);
    let (slow, modest) = (engine.world.connect(PORT), engine.world.connect(PORT));
    for (client, words) in [(&slow, b"much"), (&modest, b"less")] {
        client.stop_reading();
        client.write(words);
    }
    let began = engine.world.now();
    engine.until("the slow one is named", |_| named.borrow().len() == 3);
    // What it reads counts from the next look on.
    slow.resume_reading();
    let mut read = 0;
    engine.until("the slow one has caught up", |_| {
        read += slow.read().len();
        read == 1 << 20
    });
    slow.stop_reading();
    slow.write(b"much");
    engine.until("it is named again", |_| named.borrow().len() == 4);
    for (named, seconds) in named.borrow().iter().zip([10, 20, 30, 50]) {
        let (waited, limit) = (named.since(began), Duration::from_secs(seconds));
        assert!(waited >= limit && waited < limit + 2 * TICK, "{waited:?}");
    }
}

#[test]
fn those_who_owe_most_are_named_and_only_if_they_take_nothing() {
    let mut engine = Build::new(7).engine([Script::new(|io, slot, bytes| {
        // What is in flight alone is not worth a close: nothing would be freed.
        for _ in 0..2 {
            let len = usize::from(bytes[0]) * 100_000;
            let frame = io.frame(|out| out.resize(len, 1));
            io.open(slot).unwrap().out.push(frame).unwrap();
        }
    })]);
    let clients = engine.connect(20);
    for (client, number) in clients.iter().zip(1..) {
        client.stop_reading();
        client.write(&[number]);
    }
    let reader = engine.world.connect(PORT);
    reader.write(&[50]);
    let mut read = 0;
    engine.until("all but one wait", |_| {
        read += reader.read().len();
        read == 10_000_000
    });
    let mut named = Vec::new();
    engine.shards[0].io().slowest(&mut named);
    let mut owed: Vec<usize> =
        named.iter().map(|slot| engine.shards[0].io().open(*slot).unwrap().out.queued()).collect();
    assert!(owed.is_sorted() && owed.len() == 16, "{owed:?}");
    assert!(owed[0] > 700_000 && owed.pop() > Some(3_900_000), "the sixteen that owe most: {owed:?}");
    let (held, queued) = (engine.shards[0].io().held(), engine.shards[0].io().queued());
    assert!(held >= queued && queued > 40_000_000, "nothing is shared: {held} {queued}");
}

#[test]
fn a_reader_that_takes_a_little_now_and_then_is_not_stalled() {
    let mut engine =
        Build::new(8).engine([Script::new(|io, slot, _| say_and_close(io, slot, &[1; 1 << 20]))]);
    let client = engine.world.connect(PORT);
    client.write(b"?");
    let mut back = Vec::new();
    while !client.state().eof {
        engine.run_for(Duration::from_secs(9));
        client.read_at_most(30_000, &mut back);
    }
    client.read_into(&mut back);
    assert_eq!(back.len(), 1 << 20);
}

#[test]
fn deadlines_fire_once_at_their_tick_and_never_early() {
    let fired: Rc<RefCell<Vec<(u64, Moment)>>> = Rc::default();
    let mut script = Script::echo();
    let log = Rc::clone(&fired);
    script.on_deadline = Box::new(move |io, slot| log.borrow_mut().push((*io.conn(slot).unwrap(), io.now())));
    let mut engine = Build::new(9).engine([script]);
    let clients = engine.connect(500);
    engine.until("all are there", |shards| shards[0].io().connections() == 500);
    let mut random = Random::new(9);
    let now = engine.world.now();
    let shared = engine.shards[0].io();
    let mut wanted = Vec::new();
    for (number, slot) in shared.ids().into_iter().enumerate() {
        let at = now + Duration::from_micros(random.within(5_000, 400_000_000));
        *shared.conn(slot).unwrap() = number as u64;
        shared.arm(slot, at);
        wanted.push(at);
    }
    engine.node.wakers()[0].wake();
    engine.until("all have fired", |_| fired.borrow().len() == 500);
    engine.run_for(Duration::from_secs(500));
    let fired = fired.borrow();
    assert_eq!(fired.len(), 500, "each fires once");
    for (number, at) in fired.iter() {
        let wanted = wanted[*number as usize];
        assert!(*at >= wanted, "early by {:?}", wanted.since(*at));
        assert!(at.since(wanted) < TICK + Duration::from_micros(200), "late by {:?}", at.since(wanted));
    }
    drop(clients);
}

#[test]
fn a_deadline_that_was_moved_or_unset_does_not_fire() {
    let fired: Rc<RefCell<Vec<Moment>>> = Rc::default();
    let mut script = Script::new(|io, slot, bytes| match bytes[0] {
        b'd' => io.disarm(slot),
        _ => io.arm(slot, io.now() + Duration::from_secs(1)),
    });
    let log = Rc::clone(&fired);
    script.on_deadline = Box::new(move |io, _| log.borrow_mut().push(io.now()));
    let mut engine = Build::new(10).engine([script]);
    let client = engine.world.connect(PORT);
    for _ in 0..5 {
        client.write(b"a");
        engine.run_for(Duration::from_millis(900));
    }
    assert_eq!(*fired.borrow(), []);
    client.write(b"d");
    engine.run_for(Duration::from_secs(60));
    assert_eq!(*fired.borrow(), []);
}

#[test]
fn a_panic_closes_its_connection_and_no_other() {
    let mut engine = Build::new(11).engine([Script::new(|io, slot, bytes| {
        assert!(bytes != b"bomb", "as the test wants");
        echo(io, slot, bytes);
    })]);
    let clients = engine.connect(10);
    clients.iter().for_each(|client| client.write(b"a"));
    let mut back = 0;
    engine.until("all are echoed", |_| {
        back += clients.iter().map(|client| client.read().len()).sum::<usize>();
        back == 10
    });
    clients[3].write(b"bomb");
    engine.until("it is closed", |_| clients[3].state().eof);
    clients.iter().for_each(|client| client.write(b"b"));
    engine.until("the others are echoed", |_| {
        back += clients.iter().map(|client| client.read().len()).sum::<usize>();
        back == 19
    });
    assert_eq!(engine.shards[0].io().counters().panics, 1);
    assert_eq!(engine.shards[0].logic().panicked.len(), 1);
}

#[test]
fn eight_buffers_serve_hundreds_of_senders() {
    let mut build = Build::new(12);
    build.options.buffer_count = 8;
    build.options.buffer_bytes = 100;
    let mut engine = build.engine([Script::echo()]);
    talk(&mut engine, 300, 2_000);
    assert!(engine.world.fault_counts()[Fault::NoBuffers] > 100);
    assert!(engine.shards[0].driver().buffers_lent() == 0);
}

#[test]
fn a_full_table_accepts_again_when_sockets_are_closed() {
    let mut build = Build::new(13);
    build.options.sockets_max = 10;
    let mut engine = build.engine([Script::echo()]);
    let mut clients = engine.connect(30);
    clients.iter().for_each(|client| client.write(b"x"));
    let mut served = 0;
    let began = engine.world.now();
    engine.until("everybody was served", |_| {
        let before = clients.len();
        clients.retain(|client| client.read().is_empty());
        served += before - clients.len();
        served == 30
    });
    assert!(engine.world.fault_counts()[Fault::AcceptFull] > 0);
    assert!(engine.world.now().since(began) < Duration::from_secs(3), "the back-off is bounded");
    engine.expect_empty();
}

#[test]
fn connections_beyond_the_limit_are_closed() {
    let mut build = Build::new(14);
    build.limits.connections_max = 5;
    let mut engine = build.engine([Script::echo()]);
    let clients = engine.connect(8);
    engine.until("three are refused", |_| clients.iter().filter(|client| client.state().eof).count() == 3);
    assert_eq!(engine.shards[0].io().counters().refused, 3);
    assert_eq!(engine.shards[0].io().connections(), 5);
}

#[test]
fn a_reset_ends_the_connection_as_failed() {
    let mut engine = Build::new(15).engine([Script::echo()]);
    let client = engine.world.connect(PORT);
    engine.until("it is there", |shards| shards[0].io().connections() == 1);
    client.reset();
    engine.expect_empty();
    assert!(matches!(engine.shards[0].logic().ended[..], [(_, End::Failed(_))]));
}

#[test]
fn a_half_closed_client_gets_its_answers() {
    let mut engine = Build::new(16).engine([Script::echo()]);
    let client = engine.world.connect(PORT);
    client.write(&[5; 200_000]);
    client.shutdown();
    let mut back = Vec::new();
    engine.until("the end", |_| {
        client.read_at_most(30_000, &mut back);
        client.state().eof && client.state().readable == 0
    });
    assert_eq!(back, [5; 200_000]);
    assert!(matches!(engine.shards[0].logic().ended[..], [(_, End::Eof)]));
    engine.expect_empty();
}

#[test]
fn a_silent_connection_rests_and_wakes() {
    let mut script = Script::echo();
    script.on_open = Box::new(|io, slot| io.arm(slot, io.now() + Duration::from_secs(20)));
    let mut engine = Build::new(17).engine([script]);
    let client = engine.world.connect(PORT);
    engine.run_for(Duration::from_secs(30));
    let before = engine.shards[0].driver().sockets();
    for _ in 0..3 {
        client.write(b"still there?");
        let mut back = Vec::new();
        engine.until("the echo", |_| client.read_into(&mut back) > 0);
    }
    assert_eq!(before, 1);
}

#[test]
fn writing_nothing_sends_nothing() {
    let mut engine = Build::new(18).engine([Script::new(|io, slot, _| {
        let mut open = io.open(slot).unwrap();
        open.out.write(|_| {}).unwrap();
        open.out.push(Frame::from(Vec::new())).unwrap();
        io.close(slot, Close::AfterFlush);
    })]);
    let client = engine.world.connect(PORT);
    client.write(b"?");
    engine.until("the end", |_| client.state().eof);
    assert_eq!(engine.shards[0].io().counters().sends, 0);
}

#[test]
fn accepting_goes_on_whatever_ended_it() {
    let mut build = Build::new(19);
    for fault in [Fault::AcceptFull, Fault::AcceptAborted, Fault::AcceptEnds] {
        build.faults = build.faults.with(fault, Rate::per_mille(200));
    }
    let mut engine = build.engine([Script::echo()]);
    let clients = engine.connect(200);
    engine.until("each is accepted or reset", |shards| {
        let gone = clients.iter().filter(|client| client.state().reset).count();
        shards[0].io().connections() + gone == 200
    });
    engine.world.set_faults(Faults::none());
    talk(&mut engine, 10, 100);
}
