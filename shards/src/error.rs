//! Why a shard could not start, each with the fix in its text. Never an error of a running connection.

use std::io;

/// A shard or its listener could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// io_uring is switched off for this process.
    #[error("io_uring is forbidden here ({cause}); {fix}")]
    UringForbidden {
        /// What the kernel said and where that comes from.
        cause: String,
        /// What the operator can do.
        fix: &'static str,
    },
    /// The kernel lacks an operation the io_uring driver cannot do without.
    #[error("this kernel's io_uring lacks {what}; use Linux 6.1 or newer, or REALTIME_IO_DRIVER=epoll")]
    UringTooOld {
        /// The missing operation or flag.
        what: &'static str,
    },
    /// The ring's own memory or tables were refused.
    #[error(
        "io_uring refused {what} of {size}: {source}; raise {limit} or lower it by REALTIME_RING_ENTRIES"
    )]
    UringMemory {
        /// What was asked for.
        what: &'static str,
        /// How much of it.
        size: usize,
        /// The limit that stands against it.
        limit: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The address could not be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A shard was to be pinned to a CPU that the process may not use.
    #[error("CPU {cpu} is not one of those this process may use ({allowed}); change REALTIME_CPU_LIST")]
    Cpu {
        /// The CPU asked for.
        cpu: usize,
        /// Those that could be asked for.
        allowed: String,
    },
    /// A shard panicked before it served anybody.
    #[error("shard {shard} panicked while it started: {message}")]
    Panicked {
        /// Which shard.
        shard: u16,
        /// What it said.
        message: String,
    },
    /// A thread could not be started.
    #[error("cannot start the thread of shard {shard}: {source}")]
    Thread {
        /// Which shard.
        shard: u16,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else the kernel refused while a shard was set up.
    #[error("{what}: {source}")]
    Kernel {
        /// What was being done.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl StartError {
    /// Whether the epoll driver would work where this error came up.
    pub fn epoll_would_do(&self) -> bool {
        matches!(self, Self::UringForbidden { .. } | Self::UringTooOld { .. } | Self::UringMemory { .. })
    }
}
