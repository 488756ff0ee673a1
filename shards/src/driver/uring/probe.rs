//! What the kernel has, what the driver does without, and why a ring was refused. Reads two sysctls when it was;
//! never decides to use another driver.

use std::fmt;

use io_uring::{Probe, opcode};
use rustix::io::Errno;

use super::setup::Ring;
use crate::error::StartError;

/// How completions reach us: the flags of the ring, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One thread submits, and completions are made when it waits (Linux 6.1); without the array of indexes from
    /// Linux 6.6 on.
    Deferred {
        /// Whether the kernel reads submissions in order, without an array of indexes.
        no_array: bool,
    },
    /// Completions are made at any entry into the kernel (Linux 6.0).
    Cooperative,
}

impl Mode {
    pub(super) const BEST_FIRST: [Self; 3] =
        [Self::Deferred { no_array: true }, Self::Deferred { no_array: false }, Self::Cooperative];

    /// The newest flag of the mode.
    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::Deferred { no_array: true } => "IORING_SETUP_NO_SQARRAY",
            Self::Deferred { no_array: false } => "IORING_SETUP_DEFER_TASKRUN",
            Self::Cooperative => "IORING_SETUP_COOP_TASKRUN",
        }
    }
}

/// What the driver runs with, for the line at start-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// Flags of the ring.
    pub mode: Mode,
    /// Whether the ring is entered by a registered index instead of a descriptor.
    pub registered_ring: bool,
    /// Entries of the table of direct descriptors; `None` if sockets are ordinary descriptors.
    pub direct_descriptors: Option<u32>,
    /// Whether other shards are woken by a message to their ring; otherwise by eventfd.
    pub ring_messages: bool,
    /// Whether a direct descriptor can be made an ordinary one (Linux 6.8): to end its sending direction without
    /// a thread of the kernel, and to pass it to another process.
    pub install: bool,
    /// Completions the queue holds.
    pub completions: u32,
    /// Receive buffers and the bytes of each.
    pub buffers: (u16, usize),
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.mode {
            Mode::Deferred { no_array: true } => "deferred completions, no submission array",
            Mode::Deferred { no_array: false } => "deferred completions (no NO_SQARRAY before Linux 6.6)",
            Mode::Cooperative => "cooperative completions (no DEFER_TASKRUN before Linux 6.1)",
        })?;
        if self.registered_ring {
            f.write_str(", registered ring")?;
        }
        match self.direct_descriptors {
            Some(count) => write!(f, ", {count} direct descriptors")?,
            None => f.write_str(", ordinary descriptors (file table refused)")?,
        }
        if !self.ring_messages {
            f.write_str(", peers woken by eventfd")?;
        }
        if !self.install && self.direct_descriptors.is_some() {
            f.write_str(", shutdown by kernel threads (no FIXED_FD_INSTALL before Linux 6.8)")?;
        }
        let (count, bytes) = self.buffers;
        write!(f, ", {count} buffers of {bytes} bytes, {} completions", self.completions)
    }
}

/// Operations without which there is no driver; the last two mark the releases that brought multishot receive
/// (6.0) and the allocation of direct descriptors (5.19).
const REQUIRED: [(u8, &str); 9] = [
    (opcode::AcceptMulti::CODE, "accept"),
    (opcode::RecvMulti::CODE, "receive"),
    (opcode::Send::CODE, "send"),
    (opcode::Connect::CODE, "connect"),
    (opcode::Close::CODE, "close"),
    (opcode::PollAdd::CODE, "poll"),
    (opcode::Shutdown::CODE, "shutdown"),
    (opcode::SendZc::CODE, "multishot receive"),
    (opcode::Socket::CODE, "allocation of direct descriptors"),
];

/// Operations that are replaced where they are missing.
pub(super) struct Optional {
    pub ring_messages: bool,
    pub install: bool,
}

/// Checks the operations.
pub(super) fn operations(ring: &Ring) -> Result<Optional, StartError> {
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| {
        refusal(Errno::from_io_error(&error).unwrap_or(Errno::IO), "a probe", REQUIRED.len())
    })?;
    match REQUIRED.iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, what)) => Err(StartError::UringTooOld { what }),
        None => Ok(Optional {
            ring_messages: probe.is_supported(opcode::MsgRingData::CODE),
            install: probe.is_supported(opcode::FixedFdInstall::CODE),
        }),
    }
}

/// Why the kernel refused `what` of `size`, and what the operator can do.
pub(super) fn refusal(error: Errno, what: &'static str, size: usize) -> StartError {
    let sysctl = |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok();
    explain(error, what, size, sysctl("io_uring_disabled").as_deref(), sysctl("io_uring_group").as_deref())
}

fn explain(
    error: Errno,
    what: &'static str,
    size: usize,
    disabled: Option<&str>,
    group: Option<&str>,
) -> StartError {
    let forbidden = |cause: String, fix| StartError::UringForbidden { cause, fix };
    match (error, disabled.map(str::trim)) {
        (Errno::PERM, Some("2")) => forbidden(
            "the sysctl kernel.io_uring_disabled is 2: nobody may use it".into(),
            "set kernel.io_uring_disabled=0, or REALTIME_IO_DRIVER=epoll",
        ),
        (Errno::PERM, Some("1")) => forbidden(
            format!(
                "the sysctl kernel.io_uring_disabled is 1: only the group kernel.io_uring_group={} may use it",
                group.map_or("?", str::trim)
            ),
            "run as a member of that group, set kernel.io_uring_disabled=0, or REALTIME_IO_DRIVER=epoll",
        ),
        (Errno::PERM | Errno::ACCESS, _) => forbidden(
            format!(
                "{error} while the sysctl allows it: a seccomp profile or security module of this container"
            ),
            "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile, or set REALTIME_IO_DRIVER=epoll",
        ),
        (Errno::NOSYS, _) => forbidden(
            "the system call does not exist: kernel built without io_uring, a sandbox, or a seccomp profile"
                .into(),
            "use a kernel with CONFIG_IO_URING outside such a sandbox, or set REALTIME_IO_DRIVER=epoll",
        ),
        (Errno::NOMEM, _) => StartError::UringMemory {
            what,
            size,
            limit: "the memory limit of the container or `ulimit -l`",
            source: error.into(),
        },
        (_, _) => StartError::Kernel { what, source: error.into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(error: Errno, disabled: Option<&str>, group: Option<&str>) -> String {
        explain(error, "a ring", 1024, disabled, group).to_string()
    }

    #[test]
    fn a_refusal_names_its_cause_and_a_fix() {
        let sysctl = text(Errno::PERM, Some("2\n"), Some("-1\n"));
        assert!(sysctl.contains("io_uring_disabled is 2") && sysctl.contains("=epoll"), "{sysctl}");
        let group = text(Errno::PERM, Some("1\n"), Some("997\n"));
        assert!(group.contains("kernel.io_uring_group=997 may") && group.contains("member"), "{group}");
        let seccomp = text(Errno::PERM, Some("0\n"), Some("-1\n"));
        assert!(seccomp.contains("seccomp") && !seccomp.contains("io_uring_disabled"), "{seccomp}");
        let old_kernel = text(Errno::PERM, None, None);
        assert!(old_kernel.contains("seccomp"), "a kernel without the sysctl: {old_kernel}");
        let missing = text(Errno::NOSYS, None, None);
        assert!(missing.contains("does not exist"), "{missing}");
        let memory = text(Errno::NOMEM, Some("0"), None);
        assert!(memory.contains("ulimit -l") && memory.contains("1024"), "{memory}");
    }

    #[test]
    fn epoll_is_the_answer_to_every_refusal_of_the_ring_itself() {
        for error in [Errno::PERM, Errno::ACCESS, Errno::NOSYS, Errno::NOMEM] {
            assert!(explain(error, "a ring", 8, Some("0"), None).epoll_would_do(), "{error}");
        }
        assert!(!explain(Errno::MFILE, "a ring", 8, Some("0"), None).epoll_would_do());
    }

    #[test]
    fn features_say_what_is_missing() {
        let mut features = Features {
            mode: Mode::Deferred { no_array: true },
            registered_ring: true,
            direct_descriptors: Some(16_384),
            ring_messages: true,
            install: true,
            completions: 8192,
            buffers: (256, 8192),
        };
        assert_eq!(
            features.to_string(),
            "deferred completions, no submission array, registered ring, 16384 direct descriptors, \
             256 buffers of 8192 bytes, 8192 completions"
        );
        features.mode = Mode::Cooperative;
        features.install = false;
        features.ring_messages = false;
        let direct = features.to_string();
        features.direct_descriptors = None;
        let ordinary = features.to_string();
        for part in ["no DEFER_TASKRUN", "no FIXED_FD_INSTALL", "eventfd"] {
            assert!(direct.contains(part), "{direct}");
        }
        assert!(ordinary.contains("file table refused") && !ordinary.contains("INSTALL"), "{ordinary}");
    }
}
