//! How fast the simulator is. A figure to read, never a gate.

use std::time::Duration;

use highper_shards::driver::sim::{Faults, Random};

use crate::script::{Build, PORT, Script};

#[test]
#[ignore = "prints a figure; run with --ignored --nocapture"]
#[expect(clippy::print_stdout, reason = "the figure is what it is for")]
fn completions_per_second() {
    for (name, faults) in [("perfect", Faults::none()), ("faulty", Faults::swarm(3).harmless())] {
        let mut build = Build::new(1);
        build.faults = faults;
        build.network.latency = (Duration::from_micros(20), Duration::from_micros(200));
        let mut engine = build.engine([Script::echo(), Script::echo()]);
        let clients: Vec<_> = (0..200).map(|_| engine.world.connect(PORT)).collect();
        let mut random = Random::new(1);
        clients.iter().for_each(|client| client.write(&[1; 64]));
        let world = engine.world.clone();
        let (mut echoes, mut back) = (0u64, Vec::new());
        let began = cpu_time();
        engine.until("a million echoes", |_| {
            while let Some(client) = world.next_news() {
                let client = &clients[client.number as usize];
                back.clear();
                if client.read_into(&mut back) > 0 {
                    echoes += 1;
                    client.write(&back[..1 + random.below(back.len() as u64) as usize]);
                }
            }
            echoes >= 1_000_000
        });
        let took = (cpu_time() - began).as_secs_f64();
        let counters: Vec<_> = engine.shards.iter_mut().map(|shard| *shard.io().counters()).collect();
        let completions: u64 = counters.iter().map(|counters| counters.receives + counters.sends).sum();
        let turns: u64 = counters.iter().map(|counters| counters.turns).sum();
        println!(
            "{name}: {:.2} million completions per second of processor time, {turns} turns, {took:.2} s",
            completions as f64 / took / 1e6
        );
    }
}

/// Processor time of this thread: other work on the machine does not count.
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
