//! Limits as plain values: rates, connections admitted by address and user, and how overloaded the process is. Gets
//! time and numbers, gives verdicts. Never refuses anybody itself; the worker does.

pub mod admission;
pub mod holder;
pub mod memory;
pub mod meter;
pub mod overload;
pub mod rate;

pub use admission::{Kind, Network, Subject, Table, Ticket};
pub use holder::{Answered, Hold, Holder, Verdict};
pub use meter::{Meter, Overrun, Rules};
pub use overload::{Gauge, Level};
pub use rate::{Bucket, Rate};
