//! Application languages on top of a message transport: bytes to commands, events to bytes.

pub mod channel;
