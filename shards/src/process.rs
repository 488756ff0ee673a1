//! What a process asks of the kernel for itself as a whole. Never touches a shard.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// The kernel writes no dump of this process's memory from now on, and no process without privileges may trace it
/// (PR_SET_DUMPABLE of `prctl(2)`).
///
/// # Errors
/// What the kernel said.
pub fn forbid_core_dumps() -> std::io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
