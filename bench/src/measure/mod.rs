//! What is measured: latency and counts inside the generator, processor time and memory of the server by /proc,
//! and whether what was delivered is right. Never decides what is sent.

pub mod checker;
pub mod cpu;
pub mod memory;
pub mod tally;

pub use checker::{Arrival, Sequence, Verdict};
pub use cpu::{CpuSample, CpuTime};
pub use memory::MemorySample;
pub use tally::Tally;

/// A reading of /proc that is not there or not understood.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {source}")]
pub struct ProcError {
    /// Which file.
    pub path: String,
    /// What the system said.
    pub source: std::io::Error,
}

/// The text of a file of /proc.
fn read(path: &str) -> Result<String, ProcError> {
    std::fs::read_to_string(path).map_err(|source| ProcError { path: path.to_owned(), source })
}

/// An error for a file that was read and not understood.
fn odd(path: &str) -> ProcError {
    let source = std::io::Error::new(std::io::ErrorKind::InvalidData, "unexpected content");
    ProcError { path: path.to_owned(), source }
}
