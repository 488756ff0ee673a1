//! HighPer Realtime: WebSocket channels over thread-per-core shards.
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
