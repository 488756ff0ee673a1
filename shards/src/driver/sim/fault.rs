//! What can go wrong in a simulated world, how often, and how often it did. Draws nothing and breaks nothing
//! itself.

use std::fmt;
use std::ops::Index;
use std::time::Duration;

use super::random::{Random, Rate};

macro_rules! faults {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// One way in which a kernel or a network surprises a server that it does not wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault {
            $($(#[doc = $doc])* $name,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: [Self; FAULTS] = [$(Self::$name,)*];
        }

        const FAULTS: usize = [$(stringify!($name),)*].len();
    };
}

faults! {
    /// A receive returns fewer bytes than have arrived; the rest comes in a later turn.
    PartialRead,
    /// A send takes fewer bytes than there was room for.
    ShortWrite,
    /// The network cuts what was sent in one piece.
    Segment,
    /// A completion comes late, others overtake it.
    Delay,
    /// The completions of one turn come in another order.
    Reorder,
    /// The completion queue is too small for a turn; the rest comes in the next.
    Overflow,
    /// A turn finds nothing: the wait ended for no reason.
    SpuriousWake,
    /// The connection is reset in both directions.
    Reset,
    /// A client ends its sending direction and goes on to read.
    HalfClose,
    /// A client takes nothing for a while.
    SlowReader,
    /// A send waits although the peer reads, as behind a zero window; those behind a full one are counted too.
    FullWindow,
    /// A send fails with EPIPE or ECONNRESET, and the connection is gone.
    SendError,
    /// The buffer pool is dry, or is said to be.
    NoBuffers,
    /// A multishot receive ends without a reason, with bytes or without.
    ReceiveEnds,
    /// An accept fails for want of descriptors; those at the limit of the table are counted too.
    AcceptFull,
    /// The connection is gone before it is accepted.
    AcceptAborted,
    /// An accept ends without a reason.
    AcceptEnds,
    /// An outgoing connection is refused or times out.
    ConnectFails,
    /// What was in flight when a socket was closed comes back long after; a receive may still bring bytes.
    LateClose,
    /// A completion for a slot whose completions had all been there.
    Stale,
    /// The clock jumps forward: the process was stopped, or the machine slept.
    ClockJump,
}

/// How often each fault happens, and how long those last that last.
#[derive(Clone, PartialEq, Eq)]
pub struct Faults {
    rates: [Rate; FAULTS],
    /// The longest delay of a completion; a late close is up to a hundred times as late.
    pub delay_max: Duration,
    /// How long a slow reader or a zero window lasts at most.
    pub stall_max: Duration,
    /// The farthest jump of the clock.
    pub jump_max: Duration,
}

impl Faults {
    /// A perfect kernel.
    pub fn none() -> Self {
        Self {
            rates: [Rate::NEVER; FAULTS],
            delay_max: Duration::from_millis(1),
            stall_max: Duration::from_millis(500),
            jump_max: Duration::from_secs(5),
        }
    }

    /// Some faults, each with a rate of its own, as this seed decides: about half of them never happen. A world
    /// where all of them always happen hides what only shows without some.
    pub fn swarm(seed: u64) -> Self {
        // The seed of the world must not draw the same numbers twice.
        let mut random = Random::new(seed).fork();
        let mut faults = Self::none();
        for fault in Fault::ALL {
            if random.hits(Rate::per_mille(500)) {
                faults = faults.with(fault, fault.rate_max().some(&mut random));
            }
        }
        faults.delay_max = Duration::from_micros(random.within(10, 5_000));
        faults.stall_max = Duration::from_millis(random.within(1, 2_000));
        faults
    }

    /// The same with another rate for one fault.
    pub fn with(mut self, fault: Fault, rate: Rate) -> Self {
        self.rates[fault as usize] = rate;
        self
    }

    /// The same without the faults that break a connection: what is left, a right server survives unseen.
    pub fn harmless(self) -> Self {
        Fault::ALL
            .into_iter()
            .filter(|fault| fault.breaks())
            .fold(self, |faults, fault| faults.with(fault, Rate::NEVER))
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::none()
    }
}

impl Index<Fault> for Faults {
    type Output = Rate;

    fn index(&self, fault: Fault) -> &Rate {
        &self.rates[fault as usize]
    }
}

impl Fault {
    /// Whether a connection may lose bytes or its life by it.
    pub fn breaks(self) -> bool {
        match self {
            Self::Reset
            | Self::HalfClose
            | Self::SendError
            | Self::AcceptAborted
            | Self::ConnectFails
            // Time passes for the deadlines of connections as well.
            | Self::ClockJump => true,
            Self::PartialRead
            | Self::ShortWrite
            | Self::Segment
            | Self::Delay
            | Self::Reorder
            | Self::Overflow
            | Self::SpuriousWake
            | Self::SlowReader
            | Self::FullWindow
            | Self::NoBuffers
            | Self::ReceiveEnds
            | Self::AcceptFull
            | Self::AcceptEnds
            | Self::LateClose
            | Self::Stale => false,
        }
    }

    /// The highest rate that still lets work be done.
    fn rate_max(self) -> Rate {
        match self {
            Self::Reset | Self::HalfClose | Self::SendError => Rate::per_mille(5),
            Self::SlowReader | Self::FullWindow => Rate::per_mille(20),
            Self::ClockJump => Rate::per_million(500),
            Self::Overflow | Self::SpuriousWake | Self::NoBuffers => Rate::per_mille(100),
            Self::AcceptFull | Self::AcceptAborted | Self::AcceptEnds | Self::ConnectFails => {
                Rate::per_mille(150)
            }
            Self::PartialRead
            | Self::ShortWrite
            | Self::Segment
            | Self::Delay
            | Self::Reorder
            | Self::ReceiveEnds
            | Self::LateClose
            | Self::Stale => Rate::per_mille(300),
        }
    }
}

/// How often each fault really happened.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultCounts {
    counts: [u64; FAULTS],
}

impl FaultCounts {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }

    /// The faults that did not happen: a test that says it survives them proves nothing.
    pub fn missing(&self) -> Vec<Fault> {
        Fault::ALL.into_iter().filter(|fault| self[*fault] == 0).collect()
    }

    pub(super) fn count(&mut self, fault: Fault) {
        self.counts[fault as usize] += 1;
    }
}

impl Index<Fault> for FaultCounts {
    type Output = u64;

    fn index(&self, fault: Fault) -> &u64 {
        &self.counts[fault as usize]
    }
}

/// Only what can happen.
impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = Fault::ALL.into_iter().map(|fault| (fault, self[fault]));
        f.debug_map()
            .entries(some.filter(|(_, rate)| *rate != Rate::NEVER))
            .entry(&"delay_max", &self.delay_max)
            .entry(&"stall_max", &self.stall_max)
            .entry(&"jump_max", &self.jump_max)
            .finish()
    }
}

/// Only what has happened.
impl fmt::Debug for FaultCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = Fault::ALL.into_iter().map(|fault| (fault, self[fault]));
        f.debug_map().entries(all.filter(|(_, count)| *count > 0)).finish()
    }
}
