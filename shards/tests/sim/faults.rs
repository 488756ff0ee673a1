//! The promises of the engine with faults drawn by seed, the proof that they happened, and planted bugs that are
//! found.

use std::time::Duration;

use highper_shards::driver::sim::{Budget, Fault, FaultCounts, Faults, Random, Rate, Why};

use crate::script::{Build, Engine, PORT, Script, Shared, Talker, echo, say_and_close};

const CLIENTS: usize = 12;

fn talkers(engine: &Engine, random: &mut Random, length: u64) -> Vec<Talker> {
    let clients = engine.connect(CLIENTS).into_iter();
    clients
        .map(|client| {
            let length = random.within(1, length) as usize;
            Talker::new(client, length, random)
        })
        .collect()
}

/// Lets each go on; returns those that do not have everything yet.
fn step_all<'a>(talkers: &'a mut [Talker], random: &mut Random) -> Vec<&'a Talker> {
    talkers.iter_mut().filter_map(|talker| (!talker.step(random)).then_some(&*talker)).collect()
}

/// Echo with breaking faults: wrong bytes are never seen, and whoever is not broken gets everything.
fn echo_run(seed: u64, script: fn() -> Script) -> Result<FaultCounts, String> {
    let mut engine = Build::faulty(seed).engine([script(), script()]);
    let mut random = Random::new(seed);
    let mut talkers = talkers(&engine, &mut random, 20_000);
    let mut rounds = 0;
    let stuck = engine.world.clone().run_until(&mut engine.shards, Budget::default(), |_| {
        rounds += 1;
        if rounds == 20_000 {
            engine.world.heal();
        }
        step_all(&mut talkers, &mut random).into_iter().all(Talker::is_broken)
    });
    stuck.map_err(|stuck| stuck.to_string())?;
    if let Some(wrong) = talkers.iter().position(|talker| !talker.is_right()) {
        return Err(format!("seed {seed}: client {wrong} got other bytes than it sent"));
    }
    drop(talkers);
    engine.expect_empty();
    Ok(engine.world.fault_counts())
}

#[test]
fn echo_survives_every_fault_and_every_fault_happens() {
    let mut counts = FaultCounts::default();
    for seed in 0..300 {
        counts.add(&echo_run(seed, Script::echo).unwrap());
    }
    // Nothing connects out here; `connects_survive_every_fault` proves that one.
    assert_eq!(counts.missing(), [Fault::ConnectFails]);
}

#[test]
fn a_byte_dropped_behind_a_short_write_is_found() {
    fn drops_a_byte_when_something_is_still_owed(
        io: &mut Shared,
        slot: highper_shards::SlotId,
        bytes: &mut [u8],
    ) {
        let owes = io.open(slot).unwrap().out.queued() > 0;
        let kept = if owes && bytes.len() > 1 { bytes.len() - 1 } else { bytes.len() };
        echo(io, slot, &mut bytes[..kept]);
    }
    let script = || Script::new(drops_a_byte_when_something_is_still_owed);
    let found = (0..20).filter(|seed| echo_run(*seed, script).is_err()).count();
    assert!(found > 10, "found by {found} of 20 seeds");
}

#[test]
fn harmless_faults_lose_nothing_at_all() {
    for seed in 0..300 {
        let mut build = Build::faulty(seed);
        build.faults = build.faults.harmless();
        build.limits.write_timeout = Duration::from_secs(600);
        let mut engine = build.engine([Script::echo(), Script::echo()]);
        let mut random = Random::new(seed);
        let mut talkers = talkers(&engine, &mut random, 20_000);
        engine.until("everything is back", |_| step_all(&mut talkers, &mut random).is_empty());
        assert!(talkers.iter().all(Talker::is_right), "seed {seed}");
        drop(talkers);
        engine.expect_empty();
    }
}

#[test]
fn close_after_flush_delivers_everything_unless_the_connection_is_reset() {
    let words = |slot: u64| vec![slot as u8; 60_000];
    let (mut whole, mut broken) = (0, 0);
    for seed in 0..300 {
        let mut build = Build::faulty(seed);
        if seed % 2 == 0 {
            build.faults = build.faults.harmless();
            build.limits.write_timeout = Duration::from_secs(600);
            build.limits.linger = Duration::from_secs(600);
        }
        let harmless = seed % 2 == 0;
        let mut engine = build.engine([Script::new(move |io, slot, bytes| {
            say_and_close(io, slot, &words(bytes[0].into()));
        })]);
        let clients = engine.connect(CLIENTS);
        let mut heard = vec![Vec::new(); CLIENTS];
        clients.iter().zip(0..).for_each(|(client, number)| client.write(&[number; 3]));
        engine.until("all are over", |_| {
            let mut over = 0;
            for (client, heard) in clients.iter().zip(&mut heard) {
                client.write(b"...");
                client.read_into(heard);
                over += usize::from(client.state().eof || client.state().reset);
            }
            over == CLIENTS
        });
        for (number, (client, heard)) in clients.iter().zip(&mut heard).enumerate() {
            client.read_into(heard);
            let right = heard.iter().all(|byte| *byte == number as u8) && heard.len() <= 60_000;
            assert!(right, "seed {seed}");
            let lost = client.state().reset || client.state().shut;
            assert!(heard.len() == 60_000 || lost && !harmless, "seed {seed}: {} heard", heard.len());
            *(if lost { &mut broken } else { &mut whole }) += 1;
        }
        drop(clients);
        engine.expect_empty();
    }
    assert!(whole > 2_000 && broken > 20, "{whole} whole, {broken} broken");
}

#[test]
fn late_completions_never_reach_the_next_connection_of_a_slot() {
    let mut late = 0;
    for seed in 0..100 {
        let mut build = Build::faulty(seed);
        build.faults = build.faults.harmless();
        for fault in [Fault::Stale, Fault::LateClose, Fault::ReceiveEnds] {
            build.faults = build.faults.with(fault, Rate::per_mille(500));
        }
        build.faults.stall_max = Duration::from_millis(5);
        let mut engine = build.engine([Script::echo()]);
        let mut random = Random::new(seed);
        let mut talkers = talkers(&engine, &mut random, 500);
        let mut again = 300;
        let world = engine.world.clone();
        engine.until("everybody was served", |_| {
            for talker in &mut talkers {
                if talker.step(&mut random) && again > 0 {
                    again -= 1;
                    assert!(talker.is_right(), "seed {seed}");
                    *talker = Talker::new(world.connect(PORT), random.within(1, 500) as usize, &mut random);
                }
            }
            talkers.iter().all(Talker::is_done)
        });
        assert!(talkers.iter().all(Talker::is_right), "seed {seed}");
        drop(talkers);
        engine.expect_empty();
        let counters = engine.shards[0].io().counters();
        assert_eq!((counters.accepted, counters.closed, counters.panics), (312, 312, 0), "seed {seed}");
        late += counters.late;
    }
    assert!(late > 1_000, "{late} late completions");
}

#[test]
fn connects_survive_every_fault() {
    let mut counts = FaultCounts::default();
    for seed in 0..200 {
        let build = Build::faulty(seed);
        let world =
            highper_shards::driver::sim::World::new(seed, build.faults.clone(), build.network.clone());
        let mut server = build.engine_in(&world, PORT, [Script::echo()]);
        let told = std::rc::Rc::new(std::cell::Cell::new(0));
        let mut script = Script::new(|io, slot, bytes| {
            // A byte for a byte, as often as the connection's number says.
            let open = io.open(slot).unwrap();
            let left = open.conn.saturating_sub(bytes.len() as u64);
            *open.conn = left;
            if left > 0 {
                echo(io, slot, bytes);
            } else {
                io.close(slot, highper_shards::Close::AfterFlush);
            }
        });
        let count = std::rc::Rc::clone(&told);
        script.on_connected = Box::new(move |_, _, _| count.set(count.get() + 1));
        let mut out = build.engine_in(&world, crate::script::address(81), [script]);
        let mut random = Random::new(seed);
        for _ in 0..30 {
            let slot = out.shards[0].io().connect(PORT, None, random.within(1, 20)).unwrap();
            out.shards[0].io().open(slot).unwrap().out.write(|out| out.push(1)).unwrap();
        }
        let mut shards: Vec<_> = server.shards.drain(..).chain(out.shards.drain(..)).collect();
        let empty = |shards: &mut [highper_shards::Shard<_, Script>]| {
            shards.iter_mut().all(|shard| shard.io().connections() == 0)
        };
        let mut rounds = 0;
        let ended = world.run_until(&mut shards, Budget::default(), |shards| {
            rounds += 1;
            if rounds == 5_000 {
                world.heal();
            }
            told.get() == 30 && empty(shards)
        });
        ended.unwrap();
        counts.add(&world.fault_counts());
    }
    assert!(counts[Fault::ConnectFails] > 0 && counts[Fault::Reset] > 0);
}

#[test]
fn the_same_seed_is_the_same_run_and_another_is_not() {
    let run = |seed| {
        let mut engine = Build::faulty(seed).engine([Script::echo(), Script::echo()]);
        let mut random = Random::new(seed);
        let mut talkers = talkers(&engine, &mut random, 5_000);
        let budget = Budget { steps: 3_000, ..Budget::default() };
        let stuck = engine.world.clone().run_until(&mut engine.shards, budget, |_| {
            step_all(&mut talkers, &mut random);
            false
        });
        assert!(stuck.is_err_and(|stuck| stuck.why != Why::Time));
        (engine.world.log_hash(), engine.world.log_events(), engine.world.now())
    };
    let runs: Vec<_> = (0..30).map(run).collect();
    for (seed, first) in runs.iter().enumerate() {
        assert_eq!(run(seed as u64), *first, "seed {seed}");
        assert!(first.1 > 20, "seed {seed}: {} events", first.1);
        assert_eq!(runs.iter().filter(|other| other.0 == first.0).count(), 1, "seed {seed}");
    }
}

#[test]
fn a_perfect_kernel_counts_no_fault() {
    let mut build = Build::faulty(5);
    build.faults = Faults::none();
    build.network.window = 1 << 20;
    let mut engine = build.engine([Script::echo()]);
    let mut random = Random::new(5);
    let mut talkers = talkers(&engine, &mut random, 5_000);
    engine.until("all are done", |_| step_all(&mut talkers, &mut random).is_empty());
    assert_eq!(engine.world.fault_counts(), FaultCounts::default());
}
