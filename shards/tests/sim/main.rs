//! The promises of the engine on a simulated kernel, perfect and faulty. A failing run prints its seed.
#![allow(clippy::unwrap_used, reason = "a test that fails says so")]

mod connects;
mod driver;
mod fanout;
mod faults;
mod measure;
mod mesh;
mod promises;
mod script;
mod world;
