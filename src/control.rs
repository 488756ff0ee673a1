//! The control thread: measures memory some times a second, reads how long turns take, and writes the level of overload
//! on the board. The one place where the process looks at itself. Never touches a connection, never waits for a shard.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::limits::overload::{Gauge, permille, permille_of_time};
use crate::limits::{Level, memory};
use crate::observe::counters::Board;

/// The thread. It ends when this is dropped.
pub struct Watch {
    _alive: Sender<()>,
}

/// What is too much.
#[derive(Clone, Copy, Debug)]
pub struct Marks {
    /// Bytes of memory.
    pub memory: u64,
    /// Time of a turn.
    pub turn: Duration,
}

/// From one look to the next, where nothing is short and where something may be.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(10));

/// From here on, in thousandths of the memory, it looks more often.
const CLOSE_AT: u32 = 600;

impl Watch {
    /// Starts to watch; `changed` is called on the thread after each change of the level on the board.
    pub fn start(board: Board, marks: Marks, changed: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let (alive, ended) = crossbeam_channel::bounded(0);
        std::thread::Builder::new()
            .name("control".into())
            .spawn(move || run(&board, marks, &changed, &ended))?;
        Ok(Self { _alive: alive })
    }
}

/// Bytes that the process may have: what was asked for, else what its control group or host has.
pub fn memory_limit(wanted: Option<u64>) -> u64 {
    // Where nothing is known nothing is short.
    wanted.or_else(|| memory::limit(&read)).unwrap_or(u64::MAX)
}

fn run(board: &Board, marks: Marks, changed: &dyn Fn(), ended: &Receiver<()>) {
    let page_bytes = memory::page_bytes(&read);
    let (mut of_memory, mut of_turns) = (Gauge::default(), Gauge::default());
    let mut before = (Level::Calm, Level::Calm);
    loop {
        let resident = read(memory::STATM).and_then(|statm| memory::resident(&statm, page_bytes));
        let (resident, turn) = (resident.unwrap_or_default(), board.turn_time());
        let used = permille(resident, marks.memory);
        let levels = (of_memory.update(used), of_turns.update(permille_of_time(turn, marks.turn)));
        if levels != before {
            before = levels;
            board.set_overload(levels.0.number(), levels.1.number());
            log(levels, resident, turn, marks);
            changed();
        }
        let is_close = used >= CLOSE_AT || levels.0.max(levels.1) > Level::Calm;
        let pause = if is_close { PAUSE.1 } else { PAUSE.0 };
        match ended.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn log((of_memory, of_turns): (Level, Level), resident: u64, turn: Duration, marks: Marks) {
    let level = of_memory.max(of_turns).number();
    let (resident_mib, limit_mib) = (resident >> 20, marks.memory >> 20);
    let (turn_ms, turn_limit_ms) = (turn.as_millis() as u64, marks.turn.as_millis() as u64);
    tracing::warn!(
        overload_level = level,
        resident_mib,
        limit_mib,
        turn_ms,
        turn_limit_ms,
        "overload changes"
    );
}

fn read(path: &str) -> Option<Vec<u8>> {
    std::fs::read(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_the_board_and_ends_with_its_owner() {
        let board = Board::new(2);
        board.write(1, 0, 0, false, Duration::from_millis(450));
        let (told, tells) = crossbeam_channel::bounded(64);
        let marks = Marks { memory: u64::MAX, turn: Duration::from_millis(500) };
        let watch = Watch::start(board.clone(), marks, move || told.send(()).unwrap()).unwrap();
        tells.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!((board.memory_level(), board.overload_level()), (0, Level::Shed.number()));
        board.write(1, 0, 0, false, Duration::ZERO);
        for expected in [1, 0] {
            tells.recv_timeout(Duration::from_secs(30)).unwrap();
            assert!(board.overload_level() <= expected);
        }
        drop(watch);
        assert!(tells.recv_timeout(Duration::from_secs(30)).is_err(), "the thread has dropped what it calls");
    }

    #[test]
    fn a_process_beyond_its_limit_is_full() {
        let board = Board::new(1);
        let (told, tells) = crossbeam_channel::bounded(64);
        let marks = Marks { memory: 1 << 20, turn: Duration::from_millis(500) };
        let watch = Watch::start(board.clone(), marks, move || told.send(()).unwrap()).unwrap();
        tells.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(board.memory_level(), Level::Full.number());
        drop(watch);
    }
}
