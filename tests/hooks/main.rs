//! The embedder's backend: what it is asked and told, over real sockets, and what happens when it fails.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod backend;
#[path = "../common/client.rs"]
mod client;
mod doors;
mod events;
#[path = "../common/issuer.rs"]
mod issuer;
mod questions;
#[path = "../common/server.rs"]
mod server;
#[path = "../common/stream.rs"]
mod stream;
mod webhooks;
