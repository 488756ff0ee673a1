//! The embedder's backend: what it is asked and told, over real sockets, and what happens when it fails.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod backend;
#[path = "../common/client.rs"]
mod client;
mod events;
mod questions;
#[path = "../common/server.rs"]
mod server;
mod webhooks;
