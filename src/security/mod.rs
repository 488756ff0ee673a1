//! Threat monitoring: what looks like an attack, told within a budget. Looks at what it is given and counts; never
//! touches a socket, reads a clock or ends a connection. The worker does what [`Monitor::is_blocking`] asks for.

pub mod agents;
mod decode;
pub mod detector;
pub mod event;
pub mod failures;
pub mod geo;
pub mod monitor;
pub mod travel;
mod traversal;

pub use detector::{Detector, Finding};
pub use event::{Event, Kind, Place, Severity};
pub use failures::Failures;
pub use geo::Geo;
pub use monitor::Monitor;
