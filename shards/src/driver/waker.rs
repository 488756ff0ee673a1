//! Waking a sleeping driver: by its eventfd from any thread, by its ring from another ring, or by a flag that the
//! simulated driver looks at. Never carries a message.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use rustix::event::{EventfdFlags, eventfd};

use crate::token::ShardId;

/// How the shards of a process wake each other. One copy for all.
#[derive(Clone, Debug)]
pub struct Peers {
    wakers: Arc<[Waker]>,
    rings: Arc<[AtomicI32]>,
}

impl Peers {
    /// Peers that wake each other by these handles.
    pub fn new(wakers: impl IntoIterator<Item = Waker>) -> Self {
        let wakers: Arc<[Waker]> = wakers.into_iter().collect();
        let rings = wakers.iter().map(|_| AtomicI32::new(NO_RING)).collect();
        Self { wakers, rings }
    }

    /// All wakers, in the order of their shards.
    pub fn wakers(&self) -> &[Waker] {
        &self.wakers
    }

    /// The waker of a shard.
    pub fn waker(&self, shard: ShardId) -> &Waker {
        &self.wakers[shard.index()]
    }

    /// Tells the peers that this shard can be woken by a message to its ring.
    pub fn publish_ring(&self, shard: ShardId, ring: i32) {
        self.rings[shard.index()].store(ring, Ordering::Release);
    }

    /// Takes the ring back before it is closed.
    pub fn withdraw_ring(&self, shard: ShardId) {
        self.publish_ring(shard, NO_RING);
    }

    /// The ring of a peer, once it has one.
    pub fn ring(&self, shard: ShardId) -> Option<i32> {
        Some(self.rings[shard.index()].load(Ordering::Acquire)).filter(|ring| *ring != NO_RING)
    }
}

const NO_RING: i32 = -1;

/// A handle that wakes one driver. Cloneable and usable from any thread.
#[derive(Clone, Debug)]
pub struct Waker {
    how: How,
}

#[derive(Clone, Debug)]
enum How {
    Nothing,
    Event(Arc<OwnedFd>),
    Flag(Arc<AtomicBool>),
}

impl Waker {
    /// A waker with an eventfd of its own.
    pub fn new() -> std::io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { how: How::Event(Arc::new(event)) })
    }

    /// A waker for drivers that never sleep.
    pub fn none() -> Self {
        Self { how: How::Nothing }
    }

    /// A waker without a descriptor, for simulated drivers: their scheduler asks [`Waker::is_raised`].
    pub fn flag() -> Self {
        Self { how: How::Flag(Arc::new(AtomicBool::new(false))) }
    }

    /// Wakes the driver, now or when it next wants to sleep.
    pub fn wake(&self) {
        match &self.how {
            How::Nothing => {}
            How::Event(event) => {
                // A full counter (EAGAIN) wakes as well; nothing else can fail on an eventfd we hold.
                let _ = rustix::io::write(event, &1u64.to_ne_bytes());
            }
            How::Flag(raised) => raised.store(true, Ordering::Release),
        }
    }

    /// Whether a waker made by [`Waker::flag`] was woken since its last reset.
    pub fn is_raised(&self) -> bool {
        match &self.how {
            How::Nothing | How::Event(_) => false,
            How::Flag(raised) => raised.load(Ordering::Acquire),
        }
    }

    /// The eventfd, for the driver to watch.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.how {
            How::Nothing | How::Flag(_) => None,
            How::Event(event) => Some(event.as_fd()),
        }
    }

    /// Called by the driver after it was woken.
    pub fn reset(&self) {
        match &self.how {
            How::Nothing => {}
            How::Event(event) => {
                let mut count = [0; 8];
                // EAGAIN: another wake-up already read it.
                let _ = rustix::io::read(event, &mut count);
            }
            How::Flag(raised) => raised.store(false, Ordering::Release),
        }
    }
}
