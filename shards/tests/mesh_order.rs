//! The mesh keeps the order of every lane and refuses exactly what does not fit: compared with queues that are
//! known to be right, over random runs.
#![allow(clippy::unwrap_used, reason = "a step of a test that fails has failed the test")]

use std::collections::VecDeque;

use highper_shards::ShardId;
use highper_shards::driver::Waker;
use highper_shards::mesh::{Full, Lane, Mesh, mesh};

const SHARDS: usize = 3;

#[derive(Default)]
struct Model {
    control: VecDeque<u64>,
    bulk: VecDeque<u64>,
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % end as u64) as usize
    }
}

#[test]
fn lanes_behave_like_bounded_queues() {
    for seed in 0..300 {
        run(seed);
    }
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let capacity = 1 + random.below(40);
    let control_capacity = (capacity / 4).max(16);
    let wakers: Vec<Waker> = (0..SHARDS).map(|_| Waker::none()).collect();
    let mut meshes = mesh::<u64>(capacity, &wakers);
    let mut models: Vec<Model> = (0..SHARDS * SHARDS).map(|_| Model::default()).collect();
    let mut next = 0;
    // Runs lean to posting or to taking, so that lanes fill up and run dry.
    let posts_of_ten = 3 + random.below(5);
    for step in 0..2000 {
        let from = random.below(SHARDS);
        let to = (from + 1 + random.below(SHARDS - 1)) % SHARDS;
        let model = &mut models[from * SHARDS + to];
        if random.below(10) < posts_of_ten {
            let lane = if random.below(4) == 0 { Lane::Control } else { Lane::Bulk };
            let (queue, room) = match lane {
                Lane::Control => (&mut model.control, control_capacity),
                Lane::Bulk => (&mut model.bulk, capacity),
            };
            let fits = queue.len() < room;
            let (from, to) = (&mut meshes[from], ShardId(to as u16));
            assert_eq!(from.room(to, lane), room - queue.len(), "seed {seed} step {step}");
            match from.post(to, lane, next) {
                Ok(()) => queue.push_back(next),
                Err(Full(back)) => assert_eq!(back, next),
            }
            assert_eq!(queue.back() == Some(&next), fits, "seed {seed} step {step}");
            next += 1;
        } else {
            let expected = model.control.pop_front().or_else(|| model.bulk.pop_front());
            let taken = meshes[to].take(ShardId(from as u16));
            assert_eq!(taken, expected, "seed {seed} step {step}");
        }
        let waits = (0..SHARDS).any(|from| {
            let model = &models[from * SHARDS + to];
            !model.control.is_empty() || !model.bulk.is_empty()
        });
        assert_eq!(meshes[to].has_messages(), waits, "seed {seed} step {step}");
    }
    drain(seed, &mut meshes, &mut models);
}

fn drain(seed: u64, meshes: &mut [Mesh<u64>], models: &mut [Model]) {
    for from in 0..SHARDS {
        for to in (0..SHARDS).filter(|to| *to != from) {
            let model = &mut models[from * SHARDS + to];
            let expected: Vec<u64> = model.control.drain(..).chain(model.bulk.drain(..)).collect();
            let taken: Vec<u64> = std::iter::from_fn(|| meshes[to].take(ShardId(from as u16))).collect();
            assert_eq!(taken, expected, "seed {seed} from {from} to {to}");
        }
    }
}

#[test]
fn order_holds_between_two_threads() {
    const MESSAGES: u64 = 200_000;
    let mut meshes = mesh::<u64>(64, &[Waker::none(), Waker::none()]);
    let (mut taker, mut poster) = (meshes.pop().unwrap(), meshes.pop().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for message in 0..MESSAGES {
                let mut message = message;
                while let Err(Full(back)) = poster.post(ShardId(1), Lane::Bulk, message) {
                    message = back;
                    std::thread::yield_now();
                }
            }
        });
        for expected in 0..MESSAGES {
            let taken = loop {
                match taker.take(ShardId(0)) {
                    Some(message) => break message,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(taken, expected);
        }
    });
}
