//! Log lines: for people on a terminal, JSON elsewhere, to the standard output. Each is one line whatever it tells,
//! and what clients can cause is written only so often. Never holds payloads.

mod writer;

use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, IsTerminal, stdout};
use std::sync::atomic::{AtomicU64, Ordering};

use highper_shards::Moment;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{self, FormatEvent, FormatFields, JsonFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{Config, LogLevel};
use writer::Queue;
pub use writer::Rest;

/// Sends the log of this process to the standard output. A log that an embedder has started already is kept. What it
/// returns is dropped at the end of the process: it waits for the last lines.
///
/// # Errors
/// The system gives no thread for it.
pub fn start(config: &Config) -> io::Result<Rest> {
    let is_terminal = stdout().is_terminal();
    let lost_line = move |lost: u64| match is_terminal {
        true => format!("{lost} lines of the log were lost: it was not read in time\n"),
        false => format!("{{\"level\":\"WARN\",\"message\":\"log lines lost\",\"lost\":{lost}}}\n"),
    };
    let (queue, rest) = Queue::start(stdout(), lost_line)?;
    let logs = tracing_subscriber::fmt().with_max_level(filter(config)).with_writer(queue);
    let started = match is_terminal {
        true => tracing::subscriber::set_global_default(logs.event_format(text()).finish()),
        false => {
            let logs = logs.fmt_fields(JsonFields::new()).event_format(json());
            tracing::subscriber::set_global_default(logs.finish())
        }
    };
    if started.is_err() {
        tracing::debug!("the log was started before; it is kept");
    }
    Ok(rest)
}

fn filter(config: &Config) -> LevelFilter {
    match config.log_level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Lines for people. Without colours: then every control character in a line is somebody else's.
fn text() -> Lines<format::Format<format::Compact>> {
    Lines { inner: format::format().compact().with_target(false), is_json: false }
}

/// Lines for machines.
fn json() -> Lines<format::Format<format::Json>> {
    Lines { inner: format::format().json().flatten_event(true).with_target(false), is_json: true }
}

/// Writes each event as one line, or not at all.
struct Lines<F> {
    inner: F,
    is_json: bool,
}

impl<S, N, F> FormatEvent<S, N> for Lines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::with_capacity(256);
        if event.metadata().target() == SECURITY {
            // It is a line of JSON already, and has a budget of its own.
            event.record(&mut Line(&mut line));
        } else {
            let second = Moment::now().as_nanos() / 1_000_000_000 + 1;
            let Some(suppressed) = bucket(event.metadata()).take(second) else { return Ok(()) };
            if suppressed > 0 {
                self.note(&mut out, event.metadata(), suppressed)?;
            }
            self.inner.format_event(ctx, Writer::new(&mut line), event)?;
        }
        for c in line.trim_end_matches('\n').chars() {
            match c.is_control() {
                // As JSON writes it; what is below 0x20 it has written so already.
                true => write!(out, "\\u{:04x}", u32::from(c))?,
                false => out.write_char(c)?,
            }
        }
        out.write_char('\n')
    }
}

impl<F> Lines<F> {
    /// Tells how many lines were left out before this one.
    fn note(&self, out: &mut Writer<'_>, metadata: &Metadata<'_>, suppressed: u64) -> fmt::Result {
        let (file, line) = (metadata.file().unwrap_or("?"), metadata.line().unwrap_or(0));
        match self.is_json {
            true => writeln!(
                out,
                r#"{{"level":"WARN","message":"lines suppressed","suppressed":{suppressed},"from":"{file}:{line}"}}"#
            ),
            false => writeln!(out, "suppressed {suppressed} lines like the next one"),
        }
    }
}

/// Writes the one field of a security event as it is.
struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{value:?}").expect("a string takes everything");
    }
}

/// Lines that one place in the code writes in one second. More of them say nothing new and fill a disk.
const LINES_PER_SECOND: u64 = 100;

/// Places are told apart by a hash: two that share a bucket share its lines.
static BUCKETS: [Bucket; 256] = [const { Bucket::new() }; 256];

/// The lines of this second, for all threads.
struct Bucket {
    /// The second above, the lines in it in the lower bits.
    state: AtomicU64,
    suppressed: AtomicU64,
}

const COUNT_BITS: u32 = 16;

impl Bucket {
    const fn new() -> Self {
        Self { state: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }

    /// Whether one more line may be written, and how many were left out before it.
    fn take(&self, second: u64) -> Option<u64> {
        let next = |state: u64| match (state >> COUNT_BITS == second, state & ((1 << COUNT_BITS) - 1)) {
            (false, _) => Some(second << COUNT_BITS | 1),
            (true, count) if count < LINES_PER_SECOND => Some(state + 1),
            (true, _) => None,
        };
        match self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(before) if before >> COUNT_BITS != second => Some(self.suppressed.swap(0, Ordering::Relaxed)),
            Ok(_) => Some(0),
            Err(_) => {
                self.suppressed.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

fn bucket(metadata: &Metadata<'_>) -> &'static Bucket {
    let mut hasher = DefaultHasher::new();
    metadata.callsite().hash(&mut hasher);
    &BUCKETS[hasher.finish() as usize % BUCKETS.len()]
}

/// The target of security events.
const SECURITY: &str = "security";

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written for people and for machines.
    fn written(log: impl Fn()) -> [String; 2] {
        let (people, machines) = (Sink::default(), Sink::default());
        let (to_people, to_machines) = (people.clone(), machines.clone());
        let logs = tracing_subscriber::fmt().with_writer(move || to_people.clone()).event_format(text());
        tracing::subscriber::with_default(logs.finish(), &log);
        let logs = tracing_subscriber::fmt()
            .fmt_fields(JsonFields::new())
            .with_writer(move || to_machines.clone())
            .event_format(json());
        tracing::subscriber::with_default(logs.finish(), &log);
        [people, machines].map(|sink| String::from_utf8(sink.0.lock().unwrap().clone()).unwrap())
    }

    /// THREATS R5.
    #[test]
    fn r5_whatever_a_client_sends_is_one_escaped_line() {
        let nasty = "\u{1b}[2J\n{\"level\":\"x\"}\r\u{9b}31m\u{7}";
        let [people, machines] = written(|| tracing::warn!(channel = %nasty, debug = ?nasty, "{nasty}"));
        for text in [&people, &machines] {
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(!text.trim_end_matches('\n').contains(|c: char| c.is_control()), "{text}");
        }
        let value: serde_json::Value = serde_json::from_str(&machines).unwrap();
        assert_eq!(value["channel"], nasty);
        assert_eq!(value["level"], "WARN");
    }

    #[test]
    fn a_security_event_is_the_line() {
        let event = r#"{"security_event":{"type":"xss"}}"#;
        let lines = written(|| tracing::warn!(target: "security", security_event = %event));
        assert_eq!(lines, [format!("{event}\n"), format!("{event}\n")]);
    }

    /// THREATS R6.
    #[test]
    fn r6_a_place_writes_a_hundred_lines_in_a_second_and_counts_the_rest() {
        let bucket = Bucket::new();
        let told = (0..100_000).filter(|_| bucket.take(7) == Some(0)).count();
        assert_eq!(told as u64, LINES_PER_SECOND);
        assert_eq!(bucket.take(8), Some(100_000 - LINES_PER_SECOND), "the next second tells");
        assert_eq!(bucket.take(8), Some(0));
        assert_eq!(bucket.take(9), Some(0));
    }

    #[test]
    fn what_was_left_out_is_told_in_one_line() {
        let (lines, mut text) = (json(), String::new());
        let site = |metadata: &Metadata<'_>| {
            let mut text = String::new();
            lines.note(&mut Writer::new(&mut text), metadata, 3).unwrap();
            text
        };
        tracing::subscriber::with_default(tracing_subscriber::registry(), || {
            let span = tracing::info_span!("here");
            text = site(span.metadata().unwrap());
        });
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["suppressed"], 3);
    }
}
