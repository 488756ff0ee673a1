//! What bytes mean: sans-IO protocols. Bytes in, events and bytes out; any split of the input gives the same events.
//! Never opens a socket, never reads a clock, holds no unsafe code.
#![forbid(unsafe_code)]

pub mod dialect;
pub mod http1;
pub mod proxy;
pub mod sse;
pub mod ws;
