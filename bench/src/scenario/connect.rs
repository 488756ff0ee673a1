//! `connect`: handshakes, so many under way at once. A handshake is connect, upgrade and what `--close` says.

use highper_shards::SlotId;
use highper_shards::io::Outgoing;

use super::{Clocks, RunError, describe_processes};
use crate::engine::Engine;
use crate::options::{self, Closing};
use crate::report::Report;
use crate::seam::{Dial, Parting, Phase, Scenario, Step, Window};

/// One shard of the scenario.
#[derive(Clone, Copy)]
pub struct Connect {
    close: Closing,
}

/// Runs the scenario.
pub fn run(options: &options::Connect) -> Result<Report, RunError> {
    let all = options.count.get().saturating_add(options.before);
    let scenario = Connect { close: options.close };
    let engine = Engine::start(&options.common, all, move |_| scenario)?;
    if options.before > 0 {
        engine.open(options.before)?;
    }
    engine.enter(Phase::Measuring)?;
    let before = Clocks::read(&options.common)?;
    engine.open(all)?;
    let after = Clocks::read(&options.common)?;
    let measured = after.since(&before, engine.finish()?);
    let count = measured.tally.opened;
    let seconds = measured.elapsed.as_secs_f64();
    let mut report = Report::new("connect", &options.common.url.url);
    report.count("handshakes", count);
    report.count("in_flight", options.common.in_flight.get().into());
    report.number("seconds", seconds, "s");
    report.number("handshakes_per_second", count as f64 / seconds, "1/s");
    describe_processes(&mut report, &measured, "handshake", count);
    report.latency("handshake", &measured.tally.handshake);
    report.errors(&measured.tally.errors);
    Ok(report)
}

impl Scenario for Connect {
    type Conn = ();

    fn dial(&mut self, _index: u32) -> Dial<()> {
        Dial::websocket(())
    }

    fn on_open(&mut self, _slot: SlotId, _conn: &mut (), _out: &mut Outgoing<'_>) -> Step {
        match self.close {
            Closing::Handshake => Step::Part(Parting::Handshake),
            Closing::Abrupt => Step::Part(Parting::Abrupt),
            Closing::Keep => Step::Ready,
        }
    }

    fn on_message(&mut self, _window: &mut Window, _conn: &mut (), _payload: &[u8]) -> Step {
        Step::Go // A welcome.
    }
}
