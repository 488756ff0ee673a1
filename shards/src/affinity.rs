//! Which CPU each shard runs on. Asks the scheduler what the process may use and pins threads; never starts one.

use std::fmt;
use std::io;

use core_affinity::CoreId;

use crate::error::StartError;

/// CPUs by number, in the order in which they were written: `0-3,8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(Vec<usize>);

/// What was written is no list of CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCpuList {
    /// A part that is neither a number nor a range.
    #[error("`{0}` is no CPU; expected numbers and ranges such as `0-3,8`")]
    NoCpu(String),
    /// A range that runs backwards.
    #[error("the range `{0}` runs backwards")]
    Backwards(String),
    /// A CPU that no kernel has.
    #[error("`{0}` is beyond CPU {CPU_MAX}, the last one that can be pinned to")]
    Beyond(String),
    /// A CPU that was named before.
    #[error("CPU {cpu} of `{part}` is named twice")]
    Twice {
        /// The CPU.
        cpu: usize,
        /// The part that named it again.
        part: String,
    },
}

/// sched_setaffinity(2) by way of `cpu_set_t`: 1,024 CPUs.
pub const CPU_MAX: usize = 1023;

impl CpuList {
    /// Reads numbers and ranges separated by commas; spaces around them do not matter.
    pub fn parse(raw: &str) -> Result<Self, BadCpuList> {
        let mut cpus = Vec::new();
        for part in raw.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first, part)?, number(last, part)?);
            if first > last {
                return Err(BadCpuList::Backwards(part.to_owned()));
            }
            for cpu in first..=last {
                if cpus.contains(&cpu) {
                    return Err(BadCpuList::Twice { cpu, part: part.to_owned() });
                }
                cpus.push(cpu);
            }
        }
        Ok(Self(cpus))
    }

    /// The CPUs.
    pub fn cpus(&self) -> &[usize] {
        &self.0
    }
}

fn number(raw: &str, part: &str) -> Result<usize, BadCpuList> {
    let no_cpu = || BadCpuList::NoCpu(part.to_owned());
    let raw = raw.trim();
    if raw.is_empty() || !raw.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(no_cpu());
    }
    let cpu = raw.parse().unwrap_or(usize::MAX);
    if cpu > CPU_MAX { Err(BadCpuList::Beyond(part.to_owned())) } else { Ok(cpu) }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, cpu) in self.0.iter().enumerate() {
            write!(f, "{}{cpu}", if place == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// How shards are tied to CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pinning {
    /// One CPU for each shard, of those the process may use; shards beyond them begin again with the first.
    #[default]
    Auto,
    /// One of these for each shard, in this order.
    Cpus(CpuList),
    /// The scheduler moves shards as it likes.
    Off,
}

impl Pinning {
    /// The CPU of each shard.
    pub fn assign(&self, shards: usize) -> Result<Vec<Option<usize>>, StartError> {
        let allowed = allowed().map_err(|source| StartError::Kernel { what: "ask for the CPUs", source })?;
        let cpus = match self {
            Self::Off => return Ok(vec![None; shards]),
            Self::Auto => allowed,
            Self::Cpus(list) => {
                if let Some(cpu) = list.cpus().iter().find(|cpu| !allowed.contains(cpu)) {
                    let allowed = CpuList(allowed);
                    return Err(StartError::Cpu { cpu: *cpu, allowed: allowed.to_string() });
                }
                list.cpus().to_vec()
            }
        };
        Ok(cpus.iter().copied().map(Some).cycle().take(shards).collect())
    }
}

/// CPUs that this thread may run on.
pub fn allowed() -> io::Result<Vec<usize>> {
    let cores = core_affinity::get_core_ids().ok_or_else(io::Error::last_os_error)?;
    Ok(cores.iter().map(|core| core.id).collect())
}

/// Ties the calling thread to a CPU.
pub fn pin(cpu: usize) -> io::Result<()> {
    if core_affinity::set_for_current(CoreId { id: cpu }) { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(raw: &str) -> Vec<usize> {
        CpuList::parse(raw).unwrap().cpus().to_vec()
    }

    #[test]
    fn lists_are_numbers_and_ranges_in_their_order() {
        assert_eq!(parsed("0-3,8"), [0, 1, 2, 3, 8]);
        assert_eq!(parsed(" 5 , 2 - 3 "), [5, 2, 3]);
        assert_eq!(parsed("1023"), [CPU_MAX]);
        assert_eq!(CpuList::parse("0-2,7").unwrap().to_string(), "0,1,2,7");
    }

    #[test]
    fn an_error_names_the_part_that_is_wrong() {
        let bad = |raw: &str| CpuList::parse(raw).unwrap_err();
        assert_eq!(bad("0,x,2"), BadCpuList::NoCpu("x".into()));
        assert_eq!(bad("0,,2"), BadCpuList::NoCpu("".into()));
        assert_eq!(bad("1-2-3"), BadCpuList::NoCpu("1-2-3".into()));
        assert_eq!(bad("+1"), BadCpuList::NoCpu("+1".into()));
        assert_eq!(bad("0,3-1"), BadCpuList::Backwards("3-1".into()));
        assert_eq!(bad("0,1024"), BadCpuList::Beyond("1024".into()));
        assert_eq!(bad("99999999999999999999"), BadCpuList::Beyond("99999999999999999999".into()));
        assert_eq!(bad("0-2,2"), BadCpuList::Twice { cpu: 2, part: "2".into() });
        assert!(bad("0,x").to_string().contains("`x`"));
    }

    #[test]
    fn shards_beyond_the_cpus_begin_again_with_the_first() {
        let cpus = allowed().unwrap();
        let shards = cpus.len() + 1;
        let assigned = Pinning::Auto.assign(shards).unwrap();
        assert_eq!(assigned.len(), shards);
        assert_eq!(assigned[0], Some(cpus[0]));
        assert_eq!(assigned.last(), assigned.first());
        assert_eq!(Pinning::Off.assign(2).unwrap(), [None, None]);
    }

    #[test]
    fn a_cpu_the_process_may_not_use_is_refused_by_its_number() {
        let forbidden = (0..=CPU_MAX).rev().find(|cpu| !allowed().unwrap().contains(cpu)).unwrap();
        let list = CpuList::parse(&forbidden.to_string()).unwrap();
        let error = Pinning::Cpus(list).assign(1).unwrap_err().to_string();
        assert!(error.contains(&forbidden.to_string()), "{error}");
    }

    #[test]
    fn a_pinned_thread_runs_where_it_was_told() {
        let cpu = *allowed().unwrap().last().unwrap();
        let seen = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    pin(cpu).unwrap();
                    (allowed().unwrap(), rustix::thread::sched_getcpu())
                })
                .join()
                .unwrap()
        });
        assert_eq!(seen, (vec![cpu], cpu));
        assert!(pin(CPU_MAX).is_err());
    }
}
