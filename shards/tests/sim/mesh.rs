//! Messages between shards under the simulated scheduler: sleepers are woken, full lanes lose nothing.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use highper_shards::ShardId;
use highper_shards::driver::Waker;
use highper_shards::driver::sim::{Budget, Why, World};
use highper_shards::mesh::Lane;

use crate::script::{Build, PORT, Script};

#[test]
fn a_post_wakes_a_sleeping_shard_and_travels_on() {
    for seed in 0..50 {
        let arrived: Rc<RefCell<u64>> = Rc::default();
        let script = || {
            let arrived = Rc::clone(&arrived);
            let mut script = Script::echo();
            script.on_message = Box::new(move |io, _, hops| {
                *arrived.borrow_mut() += 1;
                let next = ShardId((io.shard().0 + 1) % 3);
                if hops > 0 {
                    io.post(next, Lane::Bulk, hops - 1).unwrap();
                }
            });
            script
        };
        let mut engine = Build::faulty(seed).engine([script(), script(), script()]);
        engine.run_for(Duration::from_millis(5));
        engine.shards[1].io().mailbox().post(999).unwrap();
        engine.until("it went round", |_| *arrived.borrow() == 1000);
        engine.world.heal();
        engine.run_for(Duration::from_secs(1));
        let turns: u64 = engine.shards.iter_mut().map(|shard| shard.io().counters().turns).sum();
        assert!(turns < 1_500, "a sleeper is not turned for nothing: {turns} turns");
    }
}

#[test]
fn what_a_thread_posts_during_a_turn_waits_until_the_lanes_were_looked_at_again() {
    let seen: Rc<RefCell<Vec<(u64, u64)>>> = Rc::default();
    let script = |first: bool| {
        let seen = Rc::clone(&seen);
        let mut script = Script::echo();
        script.on_message = Box::new(move |io, _, message| {
            if first {
                return io.post(ShardId(1), Lane::Bulk, message).unwrap();
            }
            seen.borrow_mut().push((message, io.counters().turns));
            if message == 1 {
                // Stands for a thread that has heard of something another shard posted in this moment.
                io.mailbox().post(2).unwrap();
            }
        });
        script
    };
    let mut engine = Build::new(1).engine([script(true), script(false)]);
    engine.shards[0].io().mailbox().post(1).unwrap();
    engine.until("both came", |_| seen.borrow().len() == 2);
    let seen = seen.borrow();
    assert_eq!([seen[0].0, seen[1].0], [1, 2]);
    assert!(seen[1].1 > seen[0].1, "not in the same turn: {seen:?}");
}

#[test]
fn a_bell_that_is_not_rung_is_found() {
    let build = Build::new(1);
    let world = World::new(1, build.faults.clone(), build.network.clone());
    let node = world.node(2);
    // The planted bug: mailboxes that wake nobody.
    let deaf = [Waker::none(), Waker::none()];
    let arrived: Rc<RefCell<u64>> = Rc::default();
    let count = Rc::clone(&arrived);
    let mut script = Script::echo();
    script.on_message = Box::new(move |_, _, _| *count.borrow_mut() += 1);
    let mut shards = build.shards(&node, &deaf, PORT, vec![Script::echo(), script]);
    world.run_for(&mut shards, Duration::from_millis(1));
    shards[1].io().mailbox().post(7).unwrap();
    let stuck = world.run_until(&mut shards, Budget::default(), |_| *arrived.borrow() == 1).unwrap_err();
    assert_eq!((stuck.why, stuck.seed), (Why::Asleep, 1));
}

#[test]
fn full_lanes_give_messages_back_and_none_is_lost() {
    for seed in 0..20 {
        let arrived: Rc<RefCell<Vec<u64>>> = Rc::default();
        let refused: Rc<RefCell<u64>> = Rc::default();
        let mut backlog: VecDeque<u64> = VecDeque::new();
        let mut sender = Script::echo();
        let full = Rc::clone(&refused);
        sender.on_message = Box::new(move |io, _, message| {
            // A message of the peer is its word that there may be room again.
            backlog.extend((message < 1000).then_some(message));
            while let Some(next) = backlog.pop_front() {
                if let Err(back) = io.post(ShardId(1), Lane::Bulk, next) {
                    *full.borrow_mut() += 1;
                    return backlog.push_front(back.0);
                }
            }
        });
        let mut receiver = Script::echo();
        let log = Rc::clone(&arrived);
        receiver.on_message = Box::new(move |io, _, message| {
            log.borrow_mut().push(message);
            let _ = io.post(ShardId(0), Lane::Bulk, 1000);
        });
        let mut build = Build::faulty(seed);
        build.lane = 2;
        let mut engine = build.engine([sender, receiver]);
        let mailbox = engine.shards[0].io().mailbox();
        let mut next = 0;
        engine.until("all have arrived", |_| {
            while next < 500 && mailbox.post(next).is_ok() {
                next += 1;
            }
            arrived.borrow().len() == 500
        });
        assert_eq!(*arrived.borrow(), (0..500).collect::<Vec<_>>(), "seed {seed}");
        assert!(*refused.borrow() > 0, "seed {seed}: the lane was full at times");
    }
}
