//! Processor time of a process by /proc: nanoseconds of every thread from schedstat, the user and system split
//! from stat. Never samples by itself; the caller says when.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{ProcError, odd, read};

/// Processor time a process has used up to one moment.
#[derive(Clone, Debug)]
pub struct CpuSample {
    /// Each thread, by thread id.
    threads: BTreeMap<u32, Thread>,
    /// User and system time of the process, threads that ended included, in clock ticks.
    user_ticks: u64,
    system_ticks: u64,
}

/// What the scheduler says of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Thread {
    /// Time on a processor.
    ran: Duration,
    /// Time it wanted to run and could not.
    waited: Duration,
}

/// Processor time between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// All of it.
    pub total: Duration,
    /// In user space: the kernel's own split, good to a tick.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
    /// Time threads wanted to run and others had the processor: not part of the total. Much of it means that the
    /// machine was not quiet.
    pub waited: Duration,
}

/// The unit of /proc/PID/stat: USER_HZ, which is 100 on every architecture we run on.
const TICK: Duration = Duration::from_millis(10);

impl CpuSample {
    /// Reads the counters of process `pid`.
    pub fn of(pid: u32) -> Result<Self, ProcError> {
        let tasks = format!("/proc/{pid}/task");
        let entries =
            std::fs::read_dir(&tasks).map_err(|source| ProcError { path: tasks.clone(), source })?;
        let mut threads = BTreeMap::new();
        for entry in entries.flatten() {
            let Some(thread) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A thread may end between the listing and the reading: then the ticks below know of it.
            let Ok(text) = read(&format!("{tasks}/{thread}/schedstat")) else { continue };
            threads.insert(thread, schedstat(&text).ok_or_else(|| odd(&tasks))?);
        }
        let path = format!("/proc/{pid}/stat");
        let (user_ticks, system_ticks) = ticks(&read(&path)?).ok_or_else(|| odd(&path))?;
        Ok(Self { threads, user_ticks, system_ticks })
    }

    /// The counters of several processes together; nothing if there are none.
    pub fn of_all(pids: &[u32]) -> Result<Option<Self>, ProcError> {
        let mut all: Option<Self> = None;
        for pid in pids {
            let mut sample = Self::of(*pid)?;
            if let Some(others) = all {
                sample.threads.extend(others.threads);
                sample.user_ticks += others.user_ticks;
                sample.system_ticks += others.system_ticks;
            }
            all = Some(sample);
        }
        Ok(all)
    }

    /// What was used since `earlier`.
    pub fn since(&self, earlier: &Self) -> CpuTime {
        let ticks =
            |now: u64, before: u64| TICK * u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX);
        let user = ticks(self.user_ticks, earlier.user_ticks);
        let system = ticks(self.system_ticks, earlier.system_ticks);
        let (mut total, mut waited) = (Duration::ZERO, Duration::ZERO);
        for (thread, now) in &self.threads {
            let before = earlier.threads.get(thread).copied().unwrap_or_default();
            total += now.ran.saturating_sub(before.ran);
            waited += now.waited.saturating_sub(before.waited);
        }
        // Threads that ended took their counters along; the process kept their ticks.
        if earlier.threads.keys().any(|thread| !self.threads.contains_key(thread)) {
            total = total.max(user + system);
        }
        CpuTime { waited, ..split(total, user, system) }
    }
}

/// Divides the exact total as the ticks say.
fn split(total: Duration, user: Duration, system: Duration) -> CpuTime {
    let share = match (user + system).as_secs_f64() {
        0.0 => 0.0,
        ticked => user.as_secs_f64() / ticked,
    };
    let user = total.mul_f64(share);
    CpuTime { total, user, system: total - user, waited: Duration::ZERO }
}

/// Run time and waiting time in nanoseconds, then the number of time slices.
fn schedstat(text: &str) -> Option<Thread> {
    let mut nanos = text.split_ascii_whitespace().map(|field| field.parse().ok().map(Duration::from_nanos));
    Some(Thread { ran: nanos.next()??, waited: nanos.next()?? })
}

/// Fields 14 and 15 of stat; the second field is a name in parentheses that may hold anything.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(threads: &[(u32, u64)], user_ticks: u64, system_ticks: u64) -> CpuSample {
        let thread =
            |millis: u64| schedstat(&format!("{} {} 7", millis * 1_000_000, millis * 2_000_000)).unwrap();
        let threads = threads.iter().map(|(id, millis)| (*id, thread(*millis))).collect();
        CpuSample { threads, user_ticks, system_ticks }
    }

    #[test]
    fn the_total_is_the_sum_of_the_threads_and_the_ticks_split_it() {
        let used = sample(&[(1, 300), (2, 104)], 25, 15).since(&sample(&[(1, 100)], 5, 5));
        assert_eq!(used.total, Duration::from_millis(304));
        assert_eq!(used.user + used.system, used.total);
        assert_eq!(used.user.as_millis(), 202);
        assert_eq!(used.waited, Duration::from_millis(608), "twice as long in this test");
    }

    #[test]
    fn threads_that_ended_are_counted_by_ticks() {
        let used = sample(&[(1, 10)], 60, 0).since(&sample(&[(1, 0), (2, 50)], 10, 0));
        assert_eq!(used.total, Duration::from_millis(500));
    }

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15";
        assert_eq!(ticks(stat), Some((11, 12)));
    }

    #[test]
    fn this_process_can_be_read() {
        let before = CpuSample::of(std::process::id()).unwrap();
        let spent = (0..2_000_000u64).fold(0, |sum, number| std::hint::black_box(sum ^ number));
        std::hint::black_box(spent);
        assert!(CpuSample::of(std::process::id()).unwrap().since(&before).total > Duration::ZERO);
        assert!(CpuSample::of_all(&[]).unwrap().is_none());
        assert!(CpuSample::of(u32::MAX).unwrap_err().to_string().contains("/proc/4294967295"));
    }
}
