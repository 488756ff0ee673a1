//! Threads for an embedder's blocking work. Its queue is bounded: a full one refuses. Results go back to the
//! connection's shard by its mailbox. Never touches a connection.

use crossbeam_channel::{Receiver, Sender};
use highper_shards::SlotId;
use highper_shards::mesh::Mailbox;

use crate::handler::{Error, Outcome, Work};
use crate::message::Message;

/// The pool. Cloning shares it; the threads end when the last clone is dropped.
#[derive(Clone)]
pub struct Pool {
    jobs: Sender<Job>,
}

struct Job {
    slot: SlotId,
    work: Work,
    mailbox: Mailbox<Message>,
}

/// Jobs that may wait for each thread. Beyond it the embedder is told to try again.
const QUEUE_PER_THREAD: usize = 256;

impl Pool {
    /// Starts the threads (REALTIME_ASYNC_WORKERS).
    pub fn start(threads: usize) -> std::io::Result<Self> {
        let (jobs, queue) = crossbeam_channel::bounded(threads * QUEUE_PER_THREAD);
        for number in 0..threads {
            let queue = queue.clone();
            std::thread::Builder::new().name(format!("pool-{number}")).spawn(move || run(&queue))?;
        }
        Ok(Self { jobs })
    }

    /// Queues work for a connection.
    pub(crate) fn submit(&self, slot: SlotId, work: Work, mailbox: Mailbox<Message>) -> Outcome {
        self.jobs.try_send(Job { slot, work, mailbox }).map_err(|_| Error::TryAgain)
    }
}

fn run(queue: &Receiver<Job>) {
    for Job { slot, work, mailbox } in queue {
        let Ok(task) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) else {
            tracing::error!(conn = %slot, "offloaded work panicked; its connection hears nothing of it");
            continue;
        };
        // This thread may wait for room, the shard may not. A shard that has ended has no connection to tell.
        mailbox.post_waiting(Message::Task { slot, task });
    }
}
