//! What a shard does when the process is overloaded: it stops compressing, sheds history, drops the slowest
//! connections. Never measures; the board says how bad it is.

use std::time::Duration;

use highper_shards::{Moment, SlotId};

use super::close::Cause;
use super::{ShardIo, Worker};
use crate::conn::{Conn, Phase};
use crate::limits::Level;

/// What was let go of, and when to look again.
pub(super) struct Relief {
    level: Level,
    memory: Level,
    /// What the histories of this shard may hold now, in bytes.
    history_bytes: usize,
    is_history_there: bool,
    halve_at: Moment,
    act_at: Moment,
    /// Where the search for slow connections goes on.
    next: u32,
}

/// While memory is short a shard looks so often: about as often as memory is measured then.
const PAUSE: Duration = Duration::from_millis(10);

/// If that is not enough the budget of the histories is halved again after so long.
const HALVE_AGAIN: Duration = Duration::from_secs(1);

/// Publications dropped in one turn: less than a millisecond.
const SHED_STEP: usize = 1024;

/// Slots looked at in one step of the search.
const SEARCHED: u32 = 4096;

/// Connections closed in one step, where memory is short and where it is used up.
const DROPPED: (usize, usize) = (16, 64);

/// Who has less waiting is not slow, and would free nothing: one frame of the default size.
const SLOW_BYTES: usize = 16 * 1024;

impl Relief {
    pub fn new(history_bytes: usize) -> Self {
        Self {
            level: Level::Calm,
            memory: Level::Calm,
            history_bytes,
            is_history_there: true,
            halve_at: Moment::ZERO,
            act_at: Moment::ZERO,
            next: 0,
        }
    }

    /// Whether compression costs what there is not.
    pub fn is_lean(&self) -> bool {
        self.level >= Level::Lean
    }
}

impl Worker {
    /// Does what the level on the board calls for. Called once a turn.
    pub(super) fn relieve(&mut self, io: &mut ShardIo) {
        let board = &self.shared.board;
        let level = Level::from_number(board.overload_level());
        let memory = Level::from_number(board.memory_level());
        let before = std::mem::replace(&mut self.relief.memory, memory);
        if level != std::mem::replace(&mut self.relief.level, level) {
            self.encoder.set_lean(self.relief.is_lean());
        }
        self.shed_history(io, before, memory);
        if memory >= Level::Shed {
            io.drop_spare();
            if io.now() >= self.relief.act_at {
                self.relief.act_at = io.now() + PAUSE;
                self.drop_slowest(io, memory);
            }
            io.turn_by(self.relief.act_at);
        }
        // A shard that sleeps forgets its long turns in time; until then it looks.
        if io.turn_time() >= self.shared.config.overload_turn / 2 {
            io.turn_by(io.now() + PAUSE * 10);
        }
    }

    /// Each level from [`Level::Shed`] on halves what the histories hold, and so does every second there. Once memory
    /// suffices they may grow again.
    fn shed_history(&mut self, io: &mut ShardIo, before: Level, memory: Level) {
        let relief = &mut self.relief;
        if memory >= Level::Shed {
            if memory > before || io.now() >= relief.halve_at {
                relief.halve_at = io.now() + HALVE_AGAIN;
                relief.history_bytes = relief.history_bytes.min(self.home.shelf().bytes()) / 2;
                relief.is_history_there = false;
            }
        } else if before >= Level::Shed {
            relief.history_bytes = self.history_bytes;
            relief.is_history_there = false;
        }
        if !relief.is_history_there {
            relief.is_history_there = self.home.limit_history(relief.history_bytes, SHED_STEP);
            if !relief.is_history_there {
                io.turn_by(io.now());
            }
        }
    }

    /// Closes those with most waiting for them among some connections, then goes on to the next ones.
    fn drop_slowest(&mut self, io: &mut ShardIo, memory: Level) {
        let most = match memory {
            Level::Calm | Level::Lean | Level::Shed => return,
            Level::Drop => DROPPED.0,
            Level::Full => DROPPED.1,
        };
        let span = io.span();
        let first = if self.relief.next >= span { 0 } else { self.relief.next };
        let last = first.saturating_add(SEARCHED).min(span);
        self.relief.next = last;
        let mut slow: Vec<(usize, SlotId)> = Vec::new();
        for index in first..last {
            let Some((slot, open)) = io.open_at(index) else { continue };
            let bytes = open.out.queued() + unfinished(open.conn);
            if bytes >= SLOW_BYTES {
                slow.push((bytes, slot));
            }
        }
        slow.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (_, slot) in slow.into_iter().take(most) {
            if let Some(mut open) = io.open(slot) {
                open.out.drop_waiting();
            }
            self.counters.overload_dropped += 1;
            self.end(io, slot, Cause::Overload);
        }
    }
}

/// Bytes of what the peer has begun to send.
fn unfinished(conn: &Conn) -> usize {
    match &conn.phase {
        Phase::Http(http) => http.backlog.as_ref().map_or(0, |backlog| backlog.body.capacity()),
        Phase::Open(websocket) => websocket.decoder.held_bytes(),
        Phase::Proxy(_) | Phase::Stream(_) | Phase::Closing => 0,
    }
}

#[cfg(test)]
#[path = "overload_tests.rs"]
mod tests;
