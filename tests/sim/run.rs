//! One run: a world, a server of some shards in it, a crowd of clients, traffic, and the oracle that says at the
//! end whether every promise was kept. Same plan, same run.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use highper_realtime::api::{Routes, cors};
use highper_realtime::handler::Transport;
use highper_realtime::message::{Message, Names};
use highper_realtime::observe::counters::{Board, Counters, Snapshot};
use highper_realtime::worker::Shared;
use highper_realtime::{CloseCode, Connection, Endpoint, Error, Outcome};
use highper_shards::driver::sim::{Budget, FaultCounts, Random, Sim, World};
use highper_shards::io::CONTROL_BYTES;
use highper_shards::mesh::{Mailbox, mesh};
use highper_shards::{Moment, Shard, ShardId};

use crate::checker::Tally;
use crate::crowd::Crowd;
use crate::plan::Plan;
use crate::planted::{Bug, Planted};

/// Where the server listens.
pub const PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 80);

/// What a handler panics with when it is asked to; such panics are not printed.
pub const PANIC: &str = "a client asked for this panic";

/// What happened in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub log_hash: u64,
    pub tally: Tally,
    pub faults: FaultCounts,
    /// Closes by the server, in the order of the crowd's codes.
    pub closes: [u64; 6],
    /// Handshakes that took too long, and those without an answer because the server stops.
    pub timeouts: u64,
    pub refused: u64,
    /// Of all shards.
    pub counters: Counters,
    pub drained: u64,
    pub virtual_time: Duration,
}

/// Runs a plan to its end; an error is a broken promise.
pub fn run(plan: &Plan, bug: Option<Bug>) -> Result<Report, String> {
    let mut run = Run::new(plan, bug);
    run.traffic()?;
    if run.crowd.is_draining {
        run.end_of_drain()?;
    } else {
        run.heal_and_settle()?;
        run.everybody_goes()?;
    }
    run.verdict()
}

type Server = [Shard<Sim, Planted>];

struct Run<'a> {
    plan: &'a Plan,
    world: World,
    shards: Vec<Shard<Sim, Planted>>,
    mailboxes: Vec<Mailbox<Message>>,
    crowd: Crowd,
    random: Random,
    began: Moment,
    /// Counters of shards that have ended.
    ended: Counters,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, bug: Option<Bug>) -> Self {
        let world = World::new(plan.seed, plan.faults.clone(), plan.network.clone());
        let node = world.node(plan.shards.into());
        let shared = shared(plan);
        let meshes = mesh(plan.lane, node.wakers());
        let mailboxes = meshes.iter().map(|mesh| mesh.mailbox()).collect();
        let shard = |(id, mesh)| {
            let (driver, logic) =
                (node.driver(id, &plan.options), Planted::new(Arc::clone(&shared), id, bug));
            let mut shard = Shard::new(driver, logic, mesh, plan.limits.clone());
            shard.listen(PORT).expect("the simulated network has room");
            shard
        };
        let shards = (0..).map(ShardId).zip(meshes).map(shard).collect();
        let mut crowd = Crowd::new(plan);
        for _ in 0..plan.clients {
            crowd.arrive(&world);
        }
        let (random, began) = (Random::new(plan.seed.rotate_left(32)), world.now());
        Self { plan, world, shards, mailboxes, crowd, random, began, ended: Counters::default() }
    }

    /// Clients do what they do, until enough was published or the server is told to stop.
    fn traffic(&mut self) -> Result<(), String> {
        let Self { plan, world, shards, crowd, random, .. } = self;
        let (mut steps, mut broken) = (0u64, Ok(()));
        let stop_at = plan.drain.map_or(plan.publications, |(at, _)| at);
        let budget = Budget { steps: 400_000, span: Duration::from_secs(300) };
        let ran = world.run_until(shards, budget, |shards| {
            crowd.hear(world);
            for _ in 0..random.below(3) {
                crowd.act(world);
            }
            steps += 1;
            if steps.is_multiple_of(64) {
                broken = invariants(plan, shards);
            }
            // Before half of the clients have tried something there is nothing to see.
            broken.is_err() || (crowd.checker.tally().published >= stop_at && steps > 300)
        });
        broken?;
        ran.map_err(|stuck| format!("traffic: {stuck}"))?;
        if let Some((_, grace)) = plan.drain {
            for mailbox in &self.mailboxes {
                mailbox.post(Message::Drain { grace }).map_err(|_| "a mailbox is full".to_owned())?;
            }
            self.crowd.is_draining = true;
        }
        Ok(())
    }

    /// Each shard says goodbye and ends in time, whatever the kernel and the clients do.
    fn end_of_drain(&mut self) -> Result<(), String> {
        let Self { plan, world, shards, crowd, .. } = self;
        let (_, grace) = plan.drain.expect("it drains because the plan says so");
        let began = world.now();
        let late = grace + plan.faults.jump_max + Duration::from_secs(1);
        while !shards.is_empty() {
            let budget = Budget { steps: 400_000, span: Duration::from_secs(3600) };
            let ran = world.run_until(shards, budget, |shards| {
                crowd.hear(world);
                crowd.act(world);
                shards.iter_mut().any(|shard| shard.io().is_stopping())
            });
            ran.map_err(|stuck| format!("drain: {stuck}"))?;
            let ended = &mut self.ended;
            shards.retain_mut(|shard| {
                let stopping = shard.io().is_stopping();
                if stopping {
                    add(ended, shard.logic().worker.counters());
                }
                !stopping
            });
        }
        let took = world.now().since(began);
        if took > late { Err(format!("the drain took {took:?} of {late:?}")) } else { Ok(()) }
    }

    /// Without faults everything that was accepted arrives, and everything works as on the first day.
    fn heal_and_settle(&mut self) -> Result<(), String> {
        self.world.heal();
        self.crowd.calm();
        self.until("settling", |crowd| crowd.is_calm())?;
        let witness = self.crowd.arrive(&self.world);
        self.until("a client comes", |crowd| crowd.is_open(witness) && crowd.is_calm())?;
        // Lanes may be too short for all rooms at once; each round that is taken must arrive.
        for _ in 0..3 {
            self.crowd.publish_everywhere(witness);
            self.until("publishing everywhere", |crowd| crowd.is_calm())?;
        }
        self.run_for(Duration::from_millis(200));
        if self.crowd.is_calm() { Ok(()) } else { Err("it was calm, and is not any more".into()) }
    }

    /// Nothing is left of clients that are gone.
    fn everybody_goes(&mut self) -> Result<(), String> {
        self.crowd.disperse();
        self.until("dispersing", Crowd::is_gone)?;
        let Self { world, shards, .. } = self;
        let empty = |shard: &mut Shard<Sim, Planted>| {
            (shard.io().connections(), shard.io().queued(), shard.driver().sockets()) == (0, 0, 0)
        };
        let ran = world.run_until(shards, Budget::default(), |shards| shards.iter_mut().all(empty));
        ran.map_err(|stuck| format!("giving everything back: {stuck}"))?;
        self.run_for(self.plan.forgets_after());
        let snapshots = self.snapshots();
        // Every shard hears the channel of everyone for ever, and one of them numbers it.
        let empty = |shard: &Snapshot| (shard.open, shard.channels) == (0, 1);
        let homes: usize = snapshots.iter().map(|shard| shard.homes).sum();
        if !snapshots.iter().all(empty) || homes != 1 || snapshots.len() != self.shards.len() {
            return Err(format!("nobody is there, and yet: {snapshots:?}"));
        }
        Ok(())
    }

    fn verdict(mut self) -> Result<Report, String> {
        invariants(self.plan, &mut self.shards)?;
        let mut counters = self.ended;
        for shard in &mut self.shards {
            add(&mut counters, shard.logic().worker.counters());
        }
        let Crowd { checker, problems, closes, timeouts, refused, is_draining, .. } = self.crowd;
        let tally = checker.tally();
        if !problems.is_empty() {
            return Err(format!("connections: {problems:#?}"));
        }
        // A server that stops owes nobody anything; what it said before must be true.
        let findings = if is_draining { checker.findings().to_vec() } else { checker.finish() };
        if !findings.is_empty() {
            return Err(format!("{} findings: {:#?}", findings.len(), &findings[..findings.len().min(5)]));
        }
        if counters.handler_errors > 0 {
            return Err(format!("{} handlers joined a room while closing", counters.handler_errors));
        }
        Ok(Report {
            log_hash: self.world.log_hash(),
            tally,
            faults: self.world.fault_counts(),
            closes,
            timeouts,
            refused,
            counters,
            drained: u64::from(is_draining),
            virtual_time: self.world.now().since(self.began),
        })
    }

    fn until(&mut self, what: &str, mut condition: impl FnMut(&Crowd) -> bool) -> Result<(), String> {
        let Self { world, shards, crowd, .. } = self;
        let budget = Budget { steps: 400_000, span: Duration::from_secs(300) };
        let mut steps = 0u64;
        let ran = world.run_until(shards, budget, |_| {
            crowd.hear(world);
            steps += 1;
            steps.is_multiple_of(8) && condition(crowd)
        });
        ran.map_err(|stuck| {
            let findings = crowd.checker.findings();
            let problems = &crowd.problems;
            format!("{what}: {stuck}; {:#?} {problems:?} {findings:?}", crowd.restless())
        })
    }

    fn run_for(&mut self, span: Duration) {
        let until = self.world.now() + span;
        let Self { world, shards, crowd, .. } = self;
        let _ = world.run_until(shards, Budget { steps: u64::MAX, span }, |_| {
            crowd.hear(world);
            world.now() >= until
        });
    }

    fn snapshots(&mut self) -> Vec<Snapshot> {
        let (to, answers) = crossbeam_channel::bounded(self.mailboxes.len());
        for mailbox in &self.mailboxes {
            mailbox.post(Message::Report { to: to.clone() }).expect("nobody else posts");
        }
        self.run_for(Duration::from_millis(1));
        answers.try_iter().collect()
    }
}

/// What holds after every turn.
fn invariants(plan: &Plan, shards: &mut Server) -> Result<(), String> {
    for shard in shards {
        let connections = shard.io().connections();
        let open = shard.logic().worker.open();
        let alive = shard.io().ids().len();
        // A frame may be longer than what is left, and the last words are always taken; so is what was missed.
        let missed = plan.missed_max() * MISSED_MAX;
        let each = plan.limits.outbox_bytes_max + CONTROL_BYTES + missed + FRAME_MAX;
        let most = each as u64 * connections as u64;
        let queued = shard.io().queued();
        if open > alive || alive > connections || queued > most {
            return Err(format!(
                "{open} open, {alive} alive, {connections} connections, {queued} bytes of {most}"
            ));
        }
    }
    Ok(())
}

/// No event of these runs is longer, as a frame.
const FRAME_MAX: usize = 512;

/// No publication of these runs is longer, as a frame.
const MISSED_MAX: usize = 128;

/// A connection that closes is in no room any more, and gets into none.
fn joins_nothing(conn: &mut Connection<'_>) -> Outcome {
    match conn.join("room-0") {
        Err(Error::Closed) => Ok(()),
        other => Err(Error::Application(format!("joined while closing: {other:?}"))),
    }
}

fn shared(plan: &Plan) -> Arc<Shared> {
    let config = plan.config();
    let endpoint = Endpoint::native("/ws")
        .on_message(|conn, message| match message.bytes() {
            b"panic" => std::panic::panic_any(PANIC),
            b"close" => {
                conn.close(CloseCode::NORMAL, "as you wish");
                joins_nothing(conn)
            }
            other => match conn.send_binary(other) {
                // It reads too slowly and is being disconnected.
                Err(Error::OutboxFull) => Ok(()),
                sent => sent,
            },
        })
        .on_close(|conn, _| {
            // What is said here is lost; the connection is told to be closed, and stays out of every room.
            joins_nothing(conn).expect("the connection is closing");
        });
    Arc::new(Shared {
        routes: Routes::new(&config, [("/ws", Transport::WebSocket)]),
        endpoints: vec![endpoint],
        board: Board::new(plan.shards.into()),
        names: Names::seeded(plan.shards, plan.seed),
        pool: None,
        hooks: None,
        webhooks: None,
        connections_max: None,
        page: String::new(),
        verifier: None,
        cors: cors::Rules::of(&config),
        events_cors: cors::Rules::of_events(&config),
        geo: None,
        is_local: true,
        started: 0,
        epoch_seed: plan.seed,
        unix_millis: || 0,
        config,
    })
}

pub fn add(sum: &mut Counters, more: &Counters) {
    sum.opened += more.opened;
    sum.recovered += more.recovered;
    sum.unrecovered += more.unrecovered;
    sum.refused += more.refused;
    sum.published += more.published;
    sum.delivered += more.delivered;
    sum.mesh_full += more.mesh_full;
    sum.shards_behind += more.shards_behind;
    sum.gaps += more.gaps;
    sum.slow += more.slow;
    sum.dropped_oldest += more.dropped_oldest;
    sum.conflated += more.conflated;
    sum.panics += more.panics;
    sum.protocol_errors += more.protocol_errors;
    sum.handler_errors += more.handler_errors;
    sum.pongs_skipped += more.pongs_skipped;
}
