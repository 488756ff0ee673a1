//! The bell of a shard: says whether it sleeps, so that a poster makes a system call only then. The one piece of
//! shared memory besides the rings. Never wakes anybody itself.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// On a cache line of its own: every poster reads it after a batch.
#[derive(Debug)]
#[repr(align(128))]
pub struct Bell {
    sleeping: AtomicBool,
}

impl Bell {
    /// The bell of a shard that is awake.
    pub fn new() -> Self {
        Self { sleeping: AtomicBool::new(false) }
    }

    /// Said by the owner before it looks at its rings for the last time.
    pub fn prepare_to_sleep(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        // Pairs with the fence in `must_ring`: either the poster sees the sleeper or the sleeper sees the message.
        fence(Ordering::SeqCst);
    }

    /// Said by the owner when it runs again.
    pub fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// Asked by a poster after its message is in the ring: true for exactly one poster per sleep.
    pub fn must_ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::Relaxed)
    }
}

impl Default for Bell {
    fn default() -> Self {
        Self::new()
    }
}
