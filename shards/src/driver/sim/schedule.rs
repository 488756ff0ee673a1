//! Who turns next: the scheduler of a simulated world. A shard that sleeps turns only if it was rung, has
//! completions, or its deadline has come, so a bell that is not rung shows as a world that stands still. Never
//! looks into a shard.

use std::time::Duration;

use super::fault::Fault;
use super::kernel::{Kernel, Sleep};
use super::log::What;
use super::{Sim, World};
use crate::Shard;
use crate::clock::Moment;
use crate::driver::Wait;
use crate::logic::Logic;

/// How long a world may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Steps of the scheduler: a turn, or a move of time.
    pub steps: u64,
    /// Virtual time.
    pub span: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { steps: 10_000_000, span: Duration::from_secs(3600) }
    }
}

/// The condition did not come true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, after {steps} steps and {span:?} of virtual time: {why}")]
pub struct Stuck {
    /// Replays the run.
    pub seed: u64,
    /// Steps that were made.
    pub steps: u64,
    /// Virtual time that has passed.
    pub span: Duration,
    /// Why it cannot go on.
    pub why: Why,
}

/// Why a world cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Deadlock: a bell that was not rung, a receive that was not armed, a deadline that was not set.
    #[error("every shard sleeps and nothing is on the way")]
    Asleep,
    /// The steps of the budget are used up.
    #[error("out of steps")]
    Steps,
    /// The time of the budget is used up.
    #[error("out of time")]
    Time,
}

enum Step {
    /// This one of the shards turns.
    Turn(usize),
    /// Time has moved.
    Moved,
    Nothing,
}

impl World {
    /// Runs the shards until `condition` holds; it is asked before every step and is the place where clients act.
    pub fn run_until<L: Logic>(
        &self,
        shards: &mut [Shard<Sim, L>],
        budget: Budget,
        mut condition: impl FnMut(&mut [Shard<Sim, L>]) -> bool,
    ) -> Result<(), Stuck> {
        let indices: Vec<u32> = shards.iter_mut().map(|shard| shard.driver().index).collect();
        let began = self.now();
        let until = began + budget.span;
        let mut steps = 0;
        let why = loop {
            if condition(shards) {
                return Ok(());
            }
            if steps == budget.steps {
                break Why::Steps;
            }
            if self.now() >= until {
                break Why::Time;
            }
            steps += 1;
            let step = self.kernel().step(&indices, until);
            match step {
                Step::Turn(chosen) => self.turn(&mut shards[chosen]),
                Step::Moved => {}
                Step::Nothing => break Why::Asleep,
            }
        };
        Err(Stuck { seed: self.seed(), steps, span: self.now().since(began), why })
    }

    /// Runs the shards for so much virtual time, or until nothing more can happen.
    pub fn run_for<L: Logic>(&self, shards: &mut [Shard<Sim, L>], span: Duration) {
        let until = self.now() + span;
        let world = self.clone();
        // Whichever end it takes, the time has passed then or there is nothing to wait for.
        let _ = self.run_until(shards, Budget { steps: u64::MAX, span }, |_| world.now() >= until);
    }

    fn turn<L: Logic>(&self, shard: &mut Shard<Sim, L>) {
        shard.wake().expect("the simulated kernel refuses no turn");
        assert_eq!(shard.driver().buffers_lent(), 0, "seed {}: a turn kept a buffer", self.seed());
        let wait = shard.sleep();
        let index = shard.driver().index;
        let mut kernel = self.kernel();
        kernel.shards[index as usize].sleep = match wait {
            Wait::Poll => Sleep::Awake,
            Wait::AtMost(span) => Sleep::Until(kernel.now + span),
            Wait::Forever => Sleep::Forever,
        };
        let took = kernel.span(TURN_MAX);
        let now = kernel.now + took;
        kernel.advance(now);
    }
}

impl Kernel {
    fn step(&mut self, indices: &[u32], until: Moment) -> Step {
        if self.draw(Fault::ClockJump) {
            let jump = self.span(self.faults.jump_max);
            self.advance(self.now + jump);
            return Step::Moved;
        }
        let due = indices.iter().filter(|index| self.shards[**index as usize].is_due(self.now)).count();
        if due > 0 {
            let chosen = self.pick(due);
            return self.choose(indices, chosen, true);
        }
        if !indices.is_empty() && self.draw(Fault::SpuriousWake) {
            let chosen = self.pick(indices.len());
            return self.choose(indices, chosen, false);
        }
        let sleepers = indices.iter().filter_map(|index| match self.shards[*index as usize].sleep {
            Sleep::Until(at) => Some(at),
            Sleep::Awake | Sleep::Forever => None,
        });
        match sleepers.chain(self.next_event()).min() {
            Some(at) => {
                self.advance(at.min(until));
                Step::Moved
            }
            None => Step::Nothing,
        }
    }

    fn choose(&mut self, indices: &[u32], nth: usize, only_due: bool) -> Step {
        let now = self.now;
        let fits = |index: u32| !only_due || self.shards[index as usize].is_due(now);
        let found = indices.iter().enumerate().filter(|(_, index)| fits(**index)).nth(nth);
        let (chosen, index) = found.expect("fewer were chosen from than counted");
        self.note(What::Turn, u64::from(*index), 0);
        Step::Turn(chosen)
    }
}

/// A turn takes up to this long.
const TURN_MAX: Duration = Duration::from_micros(10);
