//! How bytes move: the thread-per-core runtime.
//!
//! One thread per shard runs one loop over one [`driver::Driver`]: io_uring, epoll, or a simulated kernel. A turn is
//!
//! 1. **wait**: submit everything prepared and wait for the kernel, one system call;
//! 2. **completions**: from a list, never while reaping, each ending in one callback of the [`Logic`];
//! 3. **mesh**: messages of other shards and of outside threads, in budgeted batches;
//! 4. **timers**: the wheel fires every connection whose soonest deadline has passed;
//! 5. **flush**: each dirty connection gets one send of all it collected in this turn;
//! 6. **bells**: sleeping peers that were posted to are woken, once.
//!
//! A [`Logic`] may read and change its own state and everything reachable through [`Io`]. It never blocks, never
//! touches a driver, a socket or a clock, and never calls back into the runtime except through [`Io`].
//!
//! This crate knows no protocol. All `unsafe` code of the project lives here, in the modules named below.
#![deny(unsafe_code)]

pub mod affinity;
pub mod clock;
pub mod driver;
pub mod error;
pub mod io;
mod load;
pub mod logic;
pub mod mesh;
pub mod process;
pub mod runtime;
pub mod slots;
pub mod socket;
pub mod timer;
pub mod token;
pub mod turn;
pub mod tx;

pub use clock::Moment;
pub use error::StartError;
pub use io::Io;
pub use logic::{Close, Limits, Logic, Origin};
pub use runtime::{DriverKind, Runtime, Seat, Settings, start};
pub use rustix::io::Errno;
pub use token::{ListenerId, ShardId, SlotId};
pub use turn::Shard;
pub use tx::Frame;
