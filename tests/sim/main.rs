//! The whole server in the simulator: the real worker of every shard, clients that speak HTTP, WebSocket and the
//! native dialect to it, a network and a kernel that fail as a seed says, and the checker over all of it.
//!
//! `SIM_SEED=17 cargo test --test sim one_seed -- --nocapture` replays a seed and prints how it went.

#[path = "../common/checker.rs"]
mod checker;
mod crowd;
#[path = "../common/member.rs"]
#[expect(dead_code, reason = "each test uses a part of it")]
mod member;
mod plan;
mod planted;
mod run;
mod seeds;
#[path = "../common/session.rs"]
mod session;
