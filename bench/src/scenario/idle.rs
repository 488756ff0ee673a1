//! `idle`: connections that only exist. Memory of the server and of the kernel before and after, for each of them.
//! The kernel's part holds both ends when the generator runs on the server's machine.

use highper_shards::SlotId;
use highper_shards::io::Outgoing;
use highper_wire::ws::{Kind, encoder};

use super::{RunError, native};
use crate::client::KEY;
use crate::engine::Engine;
use crate::measure::MemorySample;
use crate::measure::memory::Growth;
use crate::options;
use crate::report::Report;
use crate::seam::{Dial, Phase, Scenario, Step, Window};

/// One shard of the scenario.
#[derive(Clone)]
pub struct Idle {
    /// Channel to join in the native protocol.
    join: Option<String>,
}

/// Caches of the kernel that hold a connection; the others are named only when they gained much.
const CACHES: [&str; 5] = ["TCP", "sock_inode_cache", "filp", "dentry", "io_kiocb"];

/// A cache that gained this much per connection is named: a quarter of the smallest object there is.
const NAMED_BYTES: f64 = 4.0;

/// Runs the scenario.
pub fn run(options: &options::Idle) -> Result<Report, RunError> {
    let connections = options.connections.get();
    let all = connections.saturating_add(options.before);
    let scenario = Idle { join: options.join.clone() };
    let engine = Engine::start(&options.common, all, move |_| scenario.clone())?;
    if options.before > 0 {
        engine.open(options.before)?;
    }
    let sample = || MemorySample::of_all(&options.common.server_pid).map_err(RunError::Server);
    let before = sample()?;
    engine.open(all)?;
    engine.enter(Phase::Measuring)?;
    engine.pass(options.hold)?;
    let after = sample()?;
    let tally = engine.finish()?;
    let mut report = Report::new("idle", &options.common.url.url);
    report.count("connections", connections.into());
    if let Some((after, before)) = after.zip(before) {
        describe(&mut report, &after.since(&before), connections.into());
        report.number("server_rss_bytes", after.rss as f64, "B");
    }
    report.errors(&tally.errors);
    Ok(report)
}

fn describe(report: &mut Report, growth: &Growth, connections: f64) {
    let mut each = |name: &str, bytes: i64| {
        report.number(&format!("{name}_bytes_per_connection"), bytes as f64 / connections, "B");
    };
    each("rss", growth.rss);
    each("pss", growth.pss);
    each("private", growth.private);
    each("kernel_slab", growth.slab);
    let live: i64 = growth.caches.iter().map(|(_, bytes)| bytes).sum();
    if live > 0 {
        each("kernel_objects", live);
    }
    for (cache, bytes) in &growth.caches {
        if CACHES.contains(&cache.as_str()) || *bytes as f64 / connections >= NAMED_BYTES {
            each(&format!("kernel_{cache}"), *bytes);
        }
    }
}

impl Scenario for Idle {
    type Conn = ();

    fn dial(&mut self, _index: u32) -> Dial<()> {
        Dial::websocket(())
    }

    fn on_open(&mut self, _slot: SlotId, _conn: &mut (), out: &mut Outgoing<'_>) -> Step {
        let Some(channel) = &self.join else { return Step::Ready };
        out.write_last(|bytes| {
            encoder::masked_message(bytes, KEY, Kind::Text, native::join(channel).as_bytes())
        });
        Step::Go
    }

    fn on_message(&mut self, _window: &mut Window, _conn: &mut (), payload: &[u8]) -> Step {
        match native::read(payload) {
            native::Said::Joined if self.join.is_some() => Step::Ready,
            native::Said::Error(text) if self.join.is_some() => {
                Step::Fail(String::from_utf8_lossy(text).into_owned())
            }
            native::Said::Joined
            | native::Said::Error(_)
            | native::Said::Message(_)
            | native::Said::Other => Step::Go,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_for_each_connection() {
        let caches = vec![("TCP".to_owned(), 47_360), ("kmalloc-8".to_owned(), 10)];
        let growth = Growth { rss: 3000, pss: 2500, private: -20, slab: 50_000, caches };
        let mut report = Report::new("idle", "ws://h/");
        describe(&mut report, &growth, 10.0);
        let table: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(table["rss_bytes_per_connection"], 300.0);
        assert_eq!(table["private_bytes_per_connection"], -2.0);
        assert_eq!(table["kernel_TCP_bytes_per_connection"], 4736.0);
        assert_eq!(table["kernel_objects_bytes_per_connection"], 4737.0);
        assert!(table.get("kernel_kmalloc-8_bytes_per_connection").is_none());
    }
}
