//! The scenarios, and what they share: the measured window and how it is described. Never a socket.

pub mod connect;
mod delivery;
pub mod echo;
pub mod fanout;
pub mod idle;
mod native;
mod progress;
mod publication;
pub mod publish;
mod publisher;
mod schedule;
pub mod sse;

use std::time::Duration;

use highper_shards::Moment;

use crate::engine::Engine;
use crate::measure::{CpuSample, CpuTime, ProcError, Tally};
use crate::options::{Common, Window};
use crate::report::Report;
use crate::seam::Phase;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The server or the generator cannot go on.
    #[error("{0}")]
    Failed(String),
    /// The process of the server is not there.
    #[error("--server-pid: {0}")]
    Server(ProcError),
    /// Our own counters cannot be read.
    #[error(transparent)]
    Proc(#[from] ProcError),
    /// A thread was refused.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// Two options do not go together.
    #[error("{0}")]
    Option(String),
}

/// What came out of a window.
pub struct Measured {
    /// Counts of all shards.
    pub tally: Tally,
    /// Length of the window.
    pub elapsed: Duration,
    /// Processor time of the server, if its process was named.
    pub server: Option<CpuTime>,
    /// Processor time of the generator.
    pub generator: CpuTime,
    /// Cores its threads can fill.
    pub generator_cores: f64,
}

/// Processor time of server and generator at one moment.
pub struct Clocks {
    server: Option<CpuSample>,
    generator: CpuSample,
    generator_cores: f64,
    at: Moment,
}

impl Clocks {
    /// Reads them now.
    pub fn read(common: &Common) -> Result<Self, RunError> {
        let server = CpuSample::of_all(&common.server_pid).map_err(RunError::Server)?;
        let generator = CpuSample::of(std::process::id())?;
        let generator_cores = if common.cpu.is_some() { 1.0 } else { f64::from(common.shards.get()) };
        Ok(Self { server, generator, generator_cores, at: Moment::now() })
    }

    /// What was used since `earlier`, together with the counts.
    pub fn since(&self, earlier: &Self, tally: Tally) -> Measured {
        let server = self.server.as_ref().zip(earlier.server.as_ref());
        Measured {
            tally,
            elapsed: self.at.since(earlier.at),
            server: server.map(|(now, before)| now.since(before)),
            generator: self.generator.since(&earlier.generator),
            generator_cores: self.generator_cores,
        }
    }
}

/// The part of `total` that falls to `shard`: all parts differ by one at most, the first are the larger.
pub fn share(total: u32, shards: u16, shard: u16) -> u32 {
    let (shards, shard) = (u32::from(shards), u32::from(shard));
    total / shards + u32::from(shard < total % shards)
}

/// Loads the open connections, measures, drains.
fn load(engine: Engine, common: &Common, window: &Window) -> Result<Measured, RunError> {
    engine.enter(Phase::Loading)?;
    engine.pass(window.warmup)?;
    let before = Clocks::read(common)?;
    engine.enter(Phase::Measuring)?;
    engine.pass(window.duration)?;
    let after = Clocks::read(common)?;
    Ok(after.since(&before, engine.finish()?))
}

/// Opens `connections`, then loads them.
fn run_window(
    engine: Engine,
    connections: u32,
    common: &Common,
    window: &Window,
) -> Result<Measured, RunError> {
    engine.open(connections)?;
    load(engine, common, window)
}

/// The figures of a window; `count` is how often `unit` happened.
fn describe_window(report: &mut Report, measured: &Measured, unit: &'static str, count: u64) {
    let seconds = measured.elapsed.as_secs_f64();
    report.number("seconds", seconds, "s");
    report.number(&format!("{}_per_second", plural(unit)), count as f64 / seconds, "1/s");
    report.count(&plural(unit), count);
    describe_processes(report, measured, unit, count);
    report.latency("latency", &measured.tally.latency);
    report.errors(&measured.tally.errors);
}

/// What each of `count` cost server and generator, and how busy they were.
fn describe_processes(report: &mut Report, measured: &Measured, unit: &str, count: u64) {
    let seconds = measured.elapsed.as_secs_f64();
    if let Some(server) = &measured.server {
        describe_cpu(report, "server", server, unit, count);
        report.number("server_cpu_share", server.total.as_secs_f64() / seconds, "cores");
        report.waited_share("server", server.waited.as_secs_f64() / seconds);
    }
    describe_cpu(report, "generator", &measured.generator, unit, count);
    report.waited_share("generator", measured.generator.waited.as_secs_f64() / seconds);
    report.generator_share(measured.generator.total.as_secs_f64() / seconds, measured.generator_cores);
}

/// Microseconds of processor time for each of `count`.
fn describe_cpu(report: &mut Report, who: &str, cpu: &CpuTime, unit: &str, count: u64) {
    for (name, time) in [("cpu", cpu.total), ("user", cpu.user), ("system", cpu.system)] {
        let micros = time.as_secs_f64() * 1e6 / count.max(1) as f64;
        report.number(&format!("{who}_{name}_us_per_{unit}"), micros, "µs");
    }
}

fn plural(unit: &str) -> String {
    match unit {
        "delivery" => "deliveries".to_owned(),
        regular => format!("{regular}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_differ_by_one_at_most() {
        for (total, shards) in [(10, 3), (3, 3), (2, 3), (0, 2), (1_000_003, 64)] {
            let parts: Vec<u32> = (0..shards).map(|shard| share(total, shards, shard)).collect();
            assert_eq!(parts.iter().sum::<u32>(), total);
            assert!(parts[0] - parts[parts.len() - 1] <= 1, "{parts:?}");
        }
    }
}
