//! Which core the threads of a test run on. Never chooses for the server, which is told by REALTIME_CPU_LIST.
#![allow(dead_code, reason = "each test uses its part")]

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Runs this on one core, with all threads that it starts.
pub fn on_core<R>(core: usize, run: impl FnOnce() -> R) -> R {
    let before = sched_getaffinity(None).expect("a thread may ask");
    let mut one = CpuSet::new();
    one.set(core);
    sched_setaffinity(None, &one).expect("the machine has the core");
    let result = run();
    sched_setaffinity(None, &before).expect("it was allowed before");
    result
}
