//! What a shard on io_uring promises over real loopback sockets.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod connections;
mod faults;
mod harness;
mod wakes;
