//! Every interleaving of the bell: a poster either sees the sleeper or is seen by it, and only one poster rings.
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p highper-shards --test loom_bell`.
#![allow(clippy::unwrap_used, reason = "a step of a test that fails has failed the test")]
#![cfg(loom)]

use highper_shards::mesh::bell::Bell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// Messages in the ring, and how often the sleeper was rung.
#[derive(Default)]
struct Shared {
    bell: Bell,
    messages: AtomicUsize,
    rings: AtomicUsize,
}

impl Shared {
    fn post(&self) {
        self.messages.fetch_add(1, Ordering::Release);
        if self.bell.must_ring() {
            // A system call: whoever it wakes has seen what came before it.
            self.rings.fetch_add(1, Ordering::Release);
        }
    }

    /// What [`highper_shards::mesh::Mesh::may_sleep`] does: true if the owner goes to sleep.
    fn may_sleep(&self) -> bool {
        self.bell.prepare_to_sleep();
        if self.messages.load(Ordering::Acquire) > 0 {
            self.bell.awake();
            return false;
        }
        true
    }
}

#[test]
fn no_sleeper_is_left_with_a_message() {
    loom::model(|| {
        let shared = Arc::new(Shared::default());
        let posting = Arc::clone(&shared);
        let poster = thread::spawn(move || posting.post());
        let sleeps = shared.may_sleep();
        poster.join().unwrap();
        let rings = shared.rings.load(Ordering::Relaxed);
        assert!(!sleeps || rings == 1, "it sleeps on a message and nobody has rung");
    });
}

#[test]
fn two_posters_ring_a_sleeper_once() {
    loom::model(|| {
        let shared = Arc::new(Shared::default());
        let posters: Vec<_> = (0..2)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.post())
            })
            .collect();
        let sleeps = shared.may_sleep();
        for poster in posters {
            poster.join().unwrap();
        }
        let rings = shared.rings.load(Ordering::Relaxed);
        assert!(!sleeps || rings == 1, "a sleeper was rung {rings} times");
        assert!(rings <= 1, "one sleep, {rings} rings");
    });
}

#[test]
fn a_sleeper_that_was_rung_can_sleep_again() {
    loom::model(|| {
        let shared = Arc::new(Shared::default());
        let posting = Arc::clone(&shared);
        let poster = thread::spawn(move || {
            posting.post();
            posting.post();
        });
        let slept_first = shared.may_sleep();
        if slept_first && shared.rings.load(Ordering::Acquire) > 0 {
            shared.bell.awake();
            let taken = shared.messages.swap(0, Ordering::Acquire);
            let sleeps = shared.may_sleep();
            poster.join().unwrap();
            let left = shared.messages.load(Ordering::Relaxed);
            let rings = shared.rings.load(Ordering::Relaxed);
            assert!(!sleeps || left == 0 || rings == 2, "{left} left of 2, {taken} taken, {rings} rings");
        } else {
            poster.join().unwrap();
            assert!(!slept_first || shared.rings.load(Ordering::Relaxed) == 1);
        }
    });
}
