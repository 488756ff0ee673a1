//! Lines on their way out: a bounded queue, and the one thread that writes them, so that nobody who logs waits for
//! whoever reads the log. What finds the queue full is lost and counted. Never makes a line of its own but that count.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use tracing_subscriber::fmt::MakeWriter;

/// Where lines go. A clone leads to the same thread.
#[derive(Clone)]
pub struct Queue {
    items: Sender<Item>,
    lost: Arc<AtomicU64>,
}

/// One line being written: it arrives as a whole.
pub struct Entry<'a>(&'a Queue);

/// Waits for the lines that were queued before, when it is dropped; not for long, whoever reads may be gone.
pub struct Rest(Sender<Item>);

enum Item {
    Line(Vec<u8>),
    Flush(Sender<()>),
}

/// Lines that wait at most: some seconds of a busy server, some MiB.
const LINES_MAX: usize = 8192;

/// How long the end of the process waits for the log.
const REST_TIMEOUT: Duration = Duration::from_secs(1);

impl Queue {
    /// Starts the thread that writes to `out`. `lost` makes the line that tells how many were lost.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        mut out: impl Write + Send + 'static,
        lost_line: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<(Self, Rest)> {
        let (items, queue) = bounded(LINES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        let thread = thread::Builder::new().name("log".to_owned());
        thread.spawn(move || run(&queue, &mut out, &counter, &lost_line))?;
        let rest = Rest(items.clone());
        Ok((Self { items, lost }, rest))
    }
}

fn run(queue: &Receiver<Item>, out: &mut impl Write, lost: &AtomicU64, lost_line: &impl Fn(u64) -> String) {
    for item in queue {
        match lost.swap(0, Ordering::Relaxed) {
            0 => {}
            // A log that nobody reads any more is no reason to end.
            count => drop(out.write_all(lost_line(count).as_bytes())),
        }
        match item {
            Item::Line(line) => drop(out.write_all(&line)),
            Item::Flush(done) => {
                drop(out.flush());
                // Whoever waited may have given up.
                let _ = done.try_send(());
            }
        }
        if queue.is_empty() {
            drop(out.flush());
        }
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Entry<'a>;

    fn make_writer(&'a self) -> Entry<'a> {
        Entry(self)
    }
}

impl Write for Entry<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.items.try_send(Item::Line(line.to_vec())).is_err() {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let (done, is_done) = bounded(1);
        if self.0.send_timeout(Item::Flush(done), REST_TIMEOUT).is_ok() {
            // Whoever reads too slowly has lost the rest.
            let _ = is_done.recv_timeout(REST_TIMEOUT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader of the log that reads when it is told to.
    struct Pipe {
        may_write: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Without a sender everything passes.
            let _ = self.may_write.recv();
            self.written.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn f11_nobody_waits_for_a_reader_and_what_is_lost_is_told() {
        let (gate, may_write) = bounded(0);
        let (written, lines) = bounded(2 * LINES_MAX);
        let (queue, rest) =
            Queue::start(Pipe { may_write, written }, |lost| format!("lost {lost}\n")).unwrap();
        let lines_sent = LINES_MAX + 100;
        for number in 0..lines_sent {
            queue.make_writer().write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        // The thread holds one line that the reader has not taken yet, or none.
        let lost = queue.lost.load(Ordering::Relaxed);
        assert!((99..=100).contains(&lost), "{lost}");
        drop(gate);
        queue.make_writer().write_all(b"last\n").unwrap_or_default();
        drop(rest);
        let text: Vec<u8> = lines.try_iter().flatten().collect();
        let text = String::from_utf8(text).unwrap();
        let told: u64 = text.lines().filter_map(|line| line.strip_prefix("lost ")?.parse::<u64>().ok()).sum();
        let came = text.lines().filter(|line| !line.starts_with("lost ")).count() as u64;
        assert_eq!(told + came, lines_sent as u64 + 1, "each line came or was told lost");
    }
}
