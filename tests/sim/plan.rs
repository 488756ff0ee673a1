//! What a seed decides: the faults, the sizes of everything, and what happens to the server. Draws, never acts.

use std::time::Duration;

use highper_realtime::Config;
use highper_realtime::config::{ByteSize, ChannelRules, SlowConsumer};
use highper_shards::Limits;
use highper_shards::driver::Options;
use highper_shards::driver::sim::{Faults, Network, Random, Rate};

use crate::member::{LATEST, OLDEST};

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub shards: u16,
    pub clients: u32,
    /// The first so many clients publish.
    pub publishers: u32,
    pub rooms: u32,
    /// Publications after which the traffic ends.
    pub publications: u64,
    pub faults: Faults,
    pub network: Network,
    pub options: Options,
    pub limits: Limits,
    /// Messages that fit a lane between two shards.
    pub lane: usize,
    pub heartbeat: (Duration, Duration),
    /// After so many publications the server is told to stop, with this much grace.
    pub drain: Option<(u64, Duration)>,
    pub history: Keeps,
    /// Whether channels know who is in them, and tell.
    pub presence: bool,
}

/// What channels keep for those who come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    Nothing,
    /// Some publications, some seconds, some bytes.
    Little(u32, Duration, u64),
    Everything,
}

impl Plan {
    /// Two shards, 200 clients, 50 of them publishers, 20 rooms; sizes and faults as the seed decides.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ PLAN);
        let publications = random.within(200, 700);
        let mut plan = Self {
            seed,
            shards: *one_of(&mut random, &[2, 2, 2, 2, 2, 2, 3, 4]),
            clients: 200,
            publishers: 50,
            rooms: 20,
            publications,
            faults: faults(seed, &mut random),
            network: network(&mut random),
            options: Options {
                buffer_bytes: random.within(64, 8192) as usize,
                buffer_count: *one_of(&mut random, &[4, 16, 64, 256]),
                sockets_max: *one_of(&mut random, &[150, 1000, 1000, 1000]),
                ..Options::default()
            },
            limits: Limits {
                outbox_bytes_max: *one_of(&mut random, &[3000, 16 << 10, 1 << 20]),
                write_timeout: Duration::from_millis(*one_of(&mut random, &[200, 2_000, 10_000])),
                mesh_budget: *one_of(&mut random, &[4, 64, 1024]),
                ..Limits::default()
            },
            lane: *one_of(&mut random, &[3, 8, 32, 1024]),
            heartbeat: (Duration::from_secs(30), Duration::from_secs(10)),
            drain: None,
            history: Keeps::Nothing,
            presence: false,
        };
        if random.hits(Rate::per_mille(200)) {
            plan.heartbeat = (Duration::from_millis(random.within(50, 500)), Duration::from_millis(200));
        }
        if random.hits(Rate::per_mille(250)) {
            let grace = Duration::from_millis(random.below(5_000));
            plan.drain = Some((random.below(publications), grace));
        }
        plan.presence = random.hits(Rate::per_mille(500));
        plan.history = match random.below(3) {
            0 => Keeps::Nothing,
            1 => {
                let ttl = Duration::from_secs(*one_of(&mut random, &[1, 300]));
                Keeps::Little(random.within(1, 20) as u32, ttl, *one_of(&mut random, &[4_000, 256 << 20]))
            }
            _ => Keeps::Everything,
        };
        plan
    }

    /// The configuration of the server.
    pub fn config(&self) -> Config {
        let (history_size, history_ttl, history_bytes) = match self.history {
            Keeps::Nothing => (0, Duration::from_secs(300), 256 << 20),
            Keeps::Little(size, ttl, bytes) => (size, ttl, bytes),
            Keeps::Everything => (100_000, HISTORY_TTL, 256 << 20),
        };
        let mut config = Config {
            history_size,
            history_ttl,
            history_bytes: ByteSize::new(history_bytes),
            gc_interval: GC_INTERVAL,
            presence: self.presence,
            member_events: self.presence,
            mesh_capacity: self.lane as u32,
            websocket_heartbeat_interval: self.heartbeat.0,
            websocket_heartbeat_timeout: self.heartbeat.1,
            ..Config::default()
        };
        config.settle();
        for (prefix, slow_consumer) in
            [(OLDEST, SlowConsumer::DropOldest), (LATEST, SlowConsumer::LatestOnly)]
        {
            let rules = ChannelRules { slow_consumer, ..config.channel_rules() };
            config.namespaces.insert(prefix, rules).expect("it is a prefix");
        }
        config
    }

    /// When channels that nobody is in have been forgotten.
    pub fn forgets_after(&self) -> Duration {
        match self.history {
            Keeps::Nothing => Duration::from_secs(1),
            Keeps::Little(_, ttl, _) => ttl + 2 * GC_INTERVAL,
            Keeps::Everything => HISTORY_TTL + 2 * GC_INTERVAL,
        }
    }

    /// Publications that one connection may get at once when it comes back.
    pub fn missed_max(&self) -> usize {
        match self.history {
            Keeps::Nothing => 0,
            Keeps::Little(size, _, _) => size as usize,
            // Bursts, and three rounds at the end.
            Keeps::Everything => self.publications as usize + 30 + 3 * self.rooms as usize,
        }
    }
}

/// Longer than any run, so that nothing expires while somebody could miss it.
const HISTORY_TTL: Duration = Duration::from_secs(100_000);
const GC_INTERVAL: Duration = Duration::from_secs(10_000);

/// A tenth of the runs have a perfect kernel, a third one that breaks no connection.
fn faults(seed: u64, random: &mut Random) -> Faults {
    match random.below(10) {
        0 => Faults::none(),
        1..=3 => Faults::swarm(seed).harmless(),
        _ => Faults::swarm(seed),
    }
}

fn network(random: &mut Random) -> Network {
    let least = Duration::from_micros(random.below(200));
    Network {
        latency: (least, least + Duration::from_micros(random.below(5_000))),
        window: *one_of(random, &[200, 4_000, 64 << 10]),
        ..Network::default()
    }
}

fn one_of<'a, T>(random: &mut Random, choices: &'a [T]) -> &'a T {
    &choices[random.below(choices.len() as u64) as usize]
}

/// So that the plan, the world and the crowd draw different numbers of one seed.
const PLAN: u64 = 0x706c_616e_0000_0000;
