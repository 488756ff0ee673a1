//! Outgoing connections: made, refused, given up, and killed nodes.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use highper_shards::driver::sim::{Budget, World};
use highper_shards::{Close, Errno};

use crate::script::{Build, Engine, PORT, Script, address};

type Results = Rc<RefCell<Vec<Result<(), Errno>>>>;

/// A node that connects out, and what became of its connections.
fn dialler(build: &Build, world: &World, on_bytes: Script) -> (Engine, Results) {
    let results: Results = Rc::default();
    let log = Rc::clone(&results);
    let mut script = on_bytes;
    script.on_connected = Box::new(move |_, _, result| log.borrow_mut().push(result));
    (build.engine_in(world, address(81), [script]), results)
}

#[test]
fn what_was_written_before_the_connection_was_made_is_sent_when_it_is() {
    let mut build = Build::new(1);
    build.network.latency = (Duration::from_millis(1), Duration::from_millis(3));
    let world = World::new(1, build.faults.clone(), build.network.clone());
    let mut server = build.engine_in(&world, PORT, [Script::echo()]);
    let back: Rc<RefCell<Vec<u8>>> = Rc::default();
    let log = Rc::clone(&back);
    let (mut out, results) =
        dialler(&build, &world, Script::new(move |_, _, bytes| log.borrow_mut().extend_from_slice(bytes)));
    let slot = out.shards[0].io().connect(PORT, None, 7).unwrap();
    out.shards[0].io().open(slot).unwrap().out.write(|out| out.extend_from_slice(b"early")).unwrap();
    let mut shards: Vec<_> = server.shards.drain(..).chain(out.shards.drain(..)).collect();
    world.run_until(&mut shards, Budget::default(), |_| *back.borrow() == b"early").unwrap();
    assert_eq!(*results.borrow(), [Ok(())]);
}

#[test]
fn nobody_listens_and_the_logic_tries_again() {
    let build = Build::new(2);
    let world = World::new(2, build.faults.clone(), build.network.clone());
    let (mut out, results) = dialler(&build, &world, Script::echo());
    let log = Rc::clone(&results);
    out.shards[0].logic().on_connected = Box::new(move |io, _, result| {
        log.borrow_mut().push(result);
        if log.borrow().len() < 5 {
            io.connect(PORT, None, 0).unwrap();
        }
    });
    out.shards[0].io().connect(PORT, None, 0).unwrap();
    out.until("five were refused", |_| results.borrow().len() == 5);
    assert_eq!(*results.borrow(), [Err(Errno::CONNREFUSED); 5]);
    out.expect_empty();
}

#[test]
fn without_descriptors_a_connect_fails_at_once_and_may_be_tried_again() {
    let mut build = Build::new(3);
    build.options.sockets_max = 0;
    let world = World::new(3, build.faults.clone(), build.network.clone());
    let (mut out, results) = dialler(&build, &world, Script::echo());
    let log = Rc::clone(&results);
    out.shards[0].logic().on_connected = Box::new(move |io, _, result| {
        log.borrow_mut().push(result);
        if log.borrow().len() < 3 {
            io.connect(PORT, None, 0).unwrap();
        }
    });
    out.shards[0].io().connect(PORT, None, 0).unwrap();
    out.until("three have failed", |_| results.borrow().len() == 3);
    assert_eq!(*results.borrow(), [Err(Errno::NFILE); 3]);
    out.expect_empty();
}

#[test]
fn a_connection_closed_while_it_is_being_made_is_dropped() {
    for how in [Close::Now, Close::AfterFlush] {
        dropped_while_it_is_made(how);
    }
}

fn dropped_while_it_is_made(how: Close) {
    let mut build = Build::new(4);
    build.network.latency = (Duration::from_secs(30), Duration::from_secs(60));
    let world = World::new(4, build.faults.clone(), build.network.clone());
    let mut server = build.engine_in(&world, PORT, [Script::echo()]);
    let (mut out, results) = dialler(&build, &world, Script::echo());
    let slot = out.shards[0].io().connect(PORT, None, 7).unwrap();
    out.run_for(Duration::from_secs(1));
    out.shards[0].io().close(slot, how);
    out.node.wakers()[0].wake();
    let began = world.now();
    out.expect_empty();
    assert!(world.now().since(began) < Duration::from_secs(1), "it does not wait for the network");
    assert_eq!(*results.borrow(), [], "nothing is heard of a closed connection");
    server.run_for(Duration::from_secs(200));
    server.expect_empty();
}

#[test]
fn a_killed_shard_closes_its_connections_and_its_listener() {
    let mut engine = Build::new(6).engine([Script::echo(), Script::echo()]);
    let clients = engine.connect(40);
    engine.until("all are there", |shards| {
        shards.iter_mut().map(|shard| shard.io().connections()).sum::<usize>() == 40
    });
    let left = engine.shards[0].io().connections();
    assert!(left > 0 && left < 40);
    drop(engine.shards.pop());
    engine.run_for(Duration::from_millis(1));
    assert_eq!(clients.iter().filter(|client| client.state().eof).count(), 40 - left);
    let others = engine.connect(20);
    engine.until("the other shard takes them", |shards| shards[0].io().connections() == left + 20);
    drop(engine.shards.pop());
    let refused = engine.world.connect(PORT);
    engine.run_for(Duration::from_millis(1));
    assert!(refused.state().reset);
    assert!(others.iter().all(|client| client.state().eof));
}
