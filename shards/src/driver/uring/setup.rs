//! The ring itself: its flags, its registered descriptor, and the one system call that submits and waits.
//! Never knows what an entry means.
#![expect(unsafe_code, reason = "io_uring_enter, io_uring_register and the submission queue")]

use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::{EnterFlags, IoUring, Submitter, cqueue, squeue};
use rustix::io::Errno;

use super::probe::{self, Mode};
use crate::driver::Wait;
use crate::error::StartError;

/// A ring of this thread.
pub(super) struct Ring {
    uring: IoUring,
    /// The index by which the kernel finds the ring without looking at the descriptor table.
    registered: Option<u32>,
    flags: EnterFlags,
    batch: u32,
    enters: u64,
}

/// Completions a ring holds for each submission: a completion that finds no place ends a multishot operation and
/// costs a detour, and the kernel sizes its table of armed operations by the same number.
const COMPLETIONS_PER_SUBMISSION: u32 = 8;

/// Entries submitted at once when one turn has more: as many as stay in the first cache until the kernel reads
/// them.
const BATCH: u32 = 256;

/// Threads of the kernel that may run what cannot run inline, which is only `shutdown`: (bounded, unbounded).
const WORKERS: [u32; 2] = [2, 1];

impl Ring {
    /// Makes a ring for this thread, with as many of the wanted flags as the kernel has.
    pub fn open(entries: u32) -> Result<(Self, Mode), StartError> {
        for mode in Mode::BEST_FIRST {
            match Self::open_as(mode, entries) {
                Err(StartError::UringTooOld { .. }) => {}
                Ok(ring) => return Ok((ring, mode)),
                Err(error) => return Err(error),
            }
        }
        Err(StartError::UringTooOld { what: "cooperative completions (IORING_SETUP_COOP_TASKRUN)" })
    }

    /// Makes a ring with these flags.
    pub fn open_as(mode: Mode, entries: u32) -> Result<Self, StartError> {
        let entries = entries.clamp(1, 32_768).next_power_of_two();
        match build(entries, mode) {
            Ok(uring) => Self::start(uring),
            Err(Errno::INVAL) => Err(StartError::UringTooOld { what: mode.flag() }),
            Err(error) => Err(probe::refusal(error, "a ring", entries as usize)),
        }
    }

    fn start(uring: IoUring) -> Result<Self, StartError> {
        if !uring.params().is_feature_nodrop() || !uring.params().is_feature_ext_arg() {
            return Err(StartError::UringTooOld { what: "lossless completion queues and timed waits" });
        }
        // A limit that is refused stays as the kernel chose it.
        let _ = uring.submitter().register_iowq_max_workers(&mut WORKERS.clone());
        let mut flags = EnterFlags::empty();
        if uring.params().is_feature_no_iowait() {
            // A shard that waits for its peers is idle, not waiting for a disk.
            flags |= EnterFlags::NO_IOWAIT;
        }
        let registered = register(uring.as_raw_fd()).ok();
        if registered.is_some() {
            flags |= EnterFlags::REGISTERED_RING;
        }
        let batch = uring.params().sq_entries().min(BATCH);
        Ok(Self { uring, registered, flags, batch, enters: 0 })
    }

    /// For registrations.
    pub fn submitter(&self) -> Submitter<'_> {
        self.uring.submitter()
    }

    /// The descriptor, for peers.
    pub fn descriptor(&self) -> i32 {
        self.uring.as_raw_fd()
    }

    /// Whether entering spares the descriptor table.
    pub fn is_registered(&self) -> bool {
        self.registered.is_some()
    }

    /// Completions the queue holds.
    pub fn completions_max(&self) -> u32 {
        self.uring.params().cq_entries()
    }

    /// System calls made.
    pub fn enters(&self) -> u64 {
        self.enters
    }

    /// Entries that wait to be submitted.
    pub fn queued(&mut self) -> u32 {
        self.uring.submission().len() as u32
    }

    /// Whether it is time to submit before the turn ends.
    pub fn is_batch_full(&mut self) -> bool {
        self.queued() >= self.batch
    }

    /// Queues an entry; false if there is no place.
    ///
    /// # Safety
    /// Memory the entry points to must stay valid until the kernel has done with it: until the entry is submitted
    /// for addresses, until its last completion for buffers.
    pub unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: passed on to the caller.
        unsafe { self.uring.submission().push(entry) }.is_ok()
    }

    /// Whether completions are pending that only a system call delivers.
    pub fn must_enter(&mut self) -> bool {
        let submission = self.uring.submission();
        submission.taskrun() || submission.cq_overflow()
    }

    /// Whether completions found no place in the queue and wait inside the kernel.
    pub fn has_overflowed(&mut self) -> bool {
        self.uring.submission().cq_overflow()
    }

    /// Submits what is queued without looking for completions.
    pub fn submit(&mut self) -> Result<(), Errno> {
        self.enter(0, EnterFlags::empty(), None)
    }

    /// Submits what is queued, waits for the first completion, and lets the kernel deliver what is due.
    pub fn submit_and_wait(&mut self, wait: Wait) -> Result<(), Errno> {
        match wait {
            Wait::Poll => self.enter(0, EnterFlags::GETEVENTS, None),
            Wait::AtMost(span) => self.enter(1, EnterFlags::GETEVENTS, Some(span)),
            Wait::Forever => self.enter(1, EnterFlags::GETEVENTS, None),
        }
    }

    /// Moves completions out of the queue, as many as `room` takes.
    pub fn take<'a>(&mut self, room: &'a mut [MaybeUninit<cqueue::Entry>]) -> &'a [cqueue::Entry] {
        self.uring.completion().fill(room)
    }

    fn enter(&mut self, wanted: u32, flags: EnterFlags, span: Option<Duration>) -> Result<(), Errno> {
        let queued = self.queued();
        let ring = self.registered.map_or(self.uring.as_raw_fd(), |index| index as i32);
        let mut flags = flags | self.flags;
        let time = span.map(Time::from);
        let argument = Argument {
            signals: 0,
            signals_bytes: 0,
            least_micros: 0,
            time: time.as_ref().map_or(0, |time| std::ptr::from_ref(time) as u64),
        };
        let (pointer, bytes) = if time.is_some() {
            flags |= EnterFlags::EXT_ARG;
            (std::ptr::from_ref(&argument), size_of::<Argument>())
        } else {
            (std::ptr::null(), 0)
        };
        self.enters += 1;
        // SAFETY: the ring is ours and open; `argument` and the time it points to outlive the call and have the
        // layout of `io_uring_getevents_arg` and `__kernel_timespec`. What the queued entries point to is the
        // promise of `push`.
        let result = unsafe {
            libc::syscall(libc::SYS_io_uring_enter, ring, queued, wanted, flags.bits(), pointer, bytes)
        };
        if result >= 0 {
            return Ok(());
        }
        match last_error() {
            // The time is over, or a signal came: both end the wait, nothing is lost.
            Errno::TIME | Errno::INTR => Ok(()),
            error => Err(error),
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if let Some(index) = self.registered {
            let mut update = RingUpdate { offset: index, reserved: 0, data: 0 };
            // The registration keeps the ring alive beyond its descriptor.
            let _ = register_ring(self.uring.as_raw_fd(), UNREGISTER_RING_FDS, &mut update);
        }
    }
}

fn build(entries: u32, mode: Mode) -> Result<IoUring, Errno> {
    let mut builder = IoUring::builder();
    // SUBMIT_ALL: one refused entry must not hold back those behind it.
    builder.setup_clamp().setup_submit_all().setup_cqsize(entries * COMPLETIONS_PER_SUBMISSION);
    match mode {
        Mode::Deferred { no_array } => {
            builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
            if no_array {
                builder.setup_no_sqarray();
            }
        }
        Mode::Cooperative => {
            builder.setup_coop_taskrun().setup_taskrun_flag();
        }
    }
    builder.build(entries).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

fn register(descriptor: i32) -> Result<u32, Errno> {
    let mut update = RingUpdate { offset: u32::MAX, reserved: 0, data: descriptor as u64 };
    register_ring(descriptor, REGISTER_RING_FDS, &mut update)?;
    Ok(update.offset)
}

fn register_ring(descriptor: i32, operation: u32, update: &mut RingUpdate) -> Result<(), Errno> {
    // SAFETY: `update` has the layout of `io_uring_rsrc_update`, one of it is announced, and it outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_io_uring_register, descriptor, operation, std::ptr::from_mut(update), 1u32)
    };
    if result < 0 { Err(last_error()) } else { Ok(()) }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct RingUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct Argument {
    signals: u64,
    signals_bytes: u32,
    least_micros: u32,
    time: u64,
}

/// `struct __kernel_timespec`.
#[repr(C)]
struct Time {
    seconds: i64,
    nanos: i64,
}

impl From<Duration> for Time {
    fn from(span: Duration) -> Self {
        Self { seconds: span.as_secs().min(i64::MAX as u64) as i64, nanos: i64::from(span.subsec_nanos()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_waits_no_longer_than_it_was_told() {
        let (mut ring, _) = Ring::open(8).expect("io_uring is there");
        ring.submit_and_wait(Wait::AtMost(Duration::from_millis(1))).expect("time is not an error");
        ring.submit_and_wait(Wait::Poll).expect("nothing to do is not an error");
        assert_eq!((ring.queued(), ring.enters()), (0, 2));
    }

    #[test]
    fn a_thread_may_open_and_close_more_rings_than_it_may_register() {
        // The kernel keeps 16 registered rings per thread: each must be given back.
        for _ in 0..40 {
            let (ring, _) = Ring::open(8).expect("io_uring is there");
            assert!(ring.is_registered());
        }
    }

    #[test]
    fn the_completion_queue_is_at_least_four_times_the_submission_queue() {
        let (ring, _) = Ring::open(64).expect("io_uring is there");
        assert!(ring.completions_max() >= 4 * 64, "{}", ring.completions_max());
    }
}
