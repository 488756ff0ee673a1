//! Application languages on top of a message transport: bytes to commands, events to bytes.

pub mod channel;
pub mod scan;
pub mod string;
