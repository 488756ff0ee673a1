//! HighPer Realtime: WebSocket channels over thread-per-core shards on io_uring.
//!
//! The `realtime` binary is this library with its configuration taken from the environment. An embedder adds
//! handlers and runs the same engine:
//!
//! ```no_run
//! use highper_realtime::{Connection, Message, Server};
//! use serde_json::json;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     Server::from_env()?
//!         .websocket("/ws", |conn: &mut Connection, message: Message| {
//!             conn.send(json!({ "echo": message.text() }))?;
//!             conn.join("chat-room")?;
//!             conn.publish("chat-room", json!({ "user_joined": conn.id() }))?;
//!             conn.broadcast(json!({ "announcement": "New message received" }))
//!         })
//!         .run()?;
//!     Ok(())
//! }
//! ```
#![forbid(unsafe_code)]

pub mod api;
pub mod cli;
pub mod config;
pub mod conn;
pub mod error;
pub mod handler;
pub mod hub;
pub mod logs;
pub mod memory;
pub mod message;
pub mod observe;
pub mod page;
pub mod pool;
pub mod running;
pub mod server;
pub mod signals;
pub mod worker;

pub use config::Config;
pub use error::ServeError;
pub use handler::{Connection, Endpoint, Error, Message, Outcome, Task};
pub use highper_wire::ws::CloseCode;
pub use running::{Broadcaster, Running};
pub use server::Server;
