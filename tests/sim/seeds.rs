//! Many seeds, and what is said about all of them.
#![allow(clippy::print_stdout, reason = "whoever runs seeds wants to see what happened")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use highper_realtime::CloseCode;
use highper_shards::driver::sim::{Fault, FaultCounts};

use crate::crowd::CLOSE_CODES;
use crate::plan::{Keeps, Plan};
use crate::planted::Bug;
use crate::run::{PANIC, Report, run};

/// Seeds of the test that every change runs, and of the one that runs now and then.
const SEEDS: u64 = 1_000;
const SEEDS_LONG: u64 = 20_000;

#[test]
fn every_promise_is_kept_whatever_fails() {
    let total = run_all(0..SEEDS);
    println!("{SEEDS} seeds: {total:#?}");
    total.expect_not_vacuous();
}

#[test]
#[ignore = "twenty times the seeds: just sim-long"]
fn every_promise_is_kept_for_many_seeds() {
    let first = number("SIM_FIRST").unwrap_or(SEEDS);
    let total = run_all(first..first + number("SIM_COUNT").unwrap_or(SEEDS_LONG));
    println!("{total:#?}");
    total.expect_not_vacuous();
}

/// `SIM_SEED=17 cargo test --test sim one_seed -- --nocapture`
#[test]
fn one_seed() {
    let seed = number("SIM_SEED").unwrap_or(17);
    let plan = Plan::new(seed);
    println!("{plan:#?}");
    match checked(&plan, None) {
        Ok(report) => println!("{report:#?}"),
        Err(what) => panic!("seed {seed}: {what}"),
    }
}

#[test]
fn the_same_seed_is_the_same_run_and_another_is_not() {
    let reports: Vec<Report> =
        (0..8).map(|seed| checked(&Plan::new(seed), None).expect("it passes")).collect();
    for (seed, first) in (0..).zip(&reports) {
        let again = checked(&Plan::new(seed), None).expect("it passes");
        assert_eq!(again, *first, "seed {seed}");
        assert_eq!(reports.iter().filter(|other| other.log_hash == first.log_hash).count(), 1);
    }
}

#[test]
fn each_planted_bug_is_found() {
    for bug in Bug::ALL {
        let found = |seed: &u64| {
            let mut plan = Plan::new(*seed);
            (plan.drain, plan.history, plan.presence) = (None, Keeps::Everything, true);
            checked(&plan, Some(bug)).is_err()
        };
        let found = (0..12).filter(found).count();
        println!("{bug:?} was found by {found} of 12 seeds");
        // Who waits for what is lost may have left before anybody looked.
        assert!(found >= 4, "{bug:?} was found by {found} of 12 seeds");
    }
}

/// What happened in many runs.
#[derive(Debug, Default)]
struct Total {
    report: Report,
    faults: FaultCounts,
}

/// Runs the seeds on two threads; the first that fails is named.
fn run_all(seeds: std::ops::Range<u64>) -> Total {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut total = Total::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return total;
            }
            match checked(&Plan::new(seed), None) {
                Ok(report) => total.add(&report),
                Err(what) => panic!("SIM_SEED={seed} replays it: {what}"),
            }
        }
    };
    thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        let mut total = Total::default();
        for thread in threads {
            match thread.join() {
                Ok(part) => total.merge(&part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        total
    })
}

/// Runs a plan; a panic of the server's is a broken promise as any other.
fn checked(plan: &Plan, bug: Option<Bug>) -> Result<Report, String> {
    silence_asked_panics();
    catch_unwind(AssertUnwindSafe(|| run(plan, bug))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("panicked: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no text")))
    })
}

/// Handlers panic by the thousand here; only other panics are news.
fn silence_asked_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&PANIC) {
                before(info);
            }
        }));
    });
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.faults.add(&report.faults);
        let (sum, more) = (&mut self.report, report);
        let (tally, counters) = (&mut sum.tally, &mut sum.counters);
        tally.published += more.tally.published;
        tally.accepted += more.tally.accepted;
        tally.refused += more.tally.refused;
        tally.received += more.tally.received;
        tally.gaps += more.tally.gaps;
        tally.subscriptions += more.tally.subscriptions;
        tally.recovered += more.tally.recovered;
        tally.unrecovered += more.tally.unrecovered;
        tally.skipped += more.tally.skipped;
        crate::run::add(counters, &more.counters);
        sum.drained += more.drained;
        sum.timeouts += more.timeouts;
        sum.refused += more.refused;
        sum.virtual_time += more.virtual_time;
        sum.closes.iter_mut().zip(more.closes).for_each(|(sum, more)| *sum += more);
    }

    fn merge(&mut self, other: &Self) {
        self.add(&other.report);
        self.faults.add(&other.faults);
    }

    /// Everything that was survived has happened, often.
    fn expect_not_vacuous(&self) {
        let Report { tally, counters, closes, drained, .. } = &self.report;
        // Shards make no outgoing connections.
        assert_eq!(self.faults.missing(), [Fault::ConnectFails]);
        let busy = CLOSE_CODES.iter().position(|code| *code == CloseCode::TRY_LATER.get());
        let unseen = (0..closes.len()).filter(|at| closes[*at] == 0 && Some(*at) != busy).count();
        assert_eq!(unseen, 0, "{closes:?} of {CLOSE_CODES:?}");
        let rare =
            [tally.refused, tally.gaps, counters.gaps, counters.slow, counters.panics, counters.mesh_full];
        assert!(rare.iter().all(|count| *count > 100), "{rare:?}");
        let lost = [counters.dropped_oldest, counters.conflated, tally.skipped];
        assert!(lost.iter().all(|count| *count > 1_000), "{lost:?}");
        let back = [tally.recovered, tally.unrecovered, counters.recovered, counters.unrecovered];
        assert!(back.iter().all(|count| *count > 1_000), "{back:?}");
        assert!(*drained > 100 && tally.received > 1_000_000, "{drained} {tally:?}");
    }
}

#[expect(clippy::disallowed_methods, reason = "whoever replays a seed names it so")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
