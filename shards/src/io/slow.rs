//! Connections that read too slowly: who owes more than the soft limit for too long, and who owes most. Never closes
//! one; the logic does.

use std::collections::VecDeque;

use super::{Flags, Io};
use crate::clock::Moment;
use crate::token::{SlotId, Token};

/// Who passed the soft limit, and since when: looked at once per soft time, so that a connection costs nothing while
/// it waits.
#[derive(Default)]
pub(crate) struct Laggards {
    /// Of this turn, not timed yet.
    pub fresh: Vec<Token>,
    /// In the order of their times.
    timed: VecDeque<(Token, Moment)>,
    /// Where [`Io::slowest`] goes on.
    next_slot: u32,
}

/// Slots that [`Io::slowest`] looks at in one call: some ten microseconds.
const LOOK_SLOTS: u32 = 1024;

/// Connections that [`Io::slowest`] names at most.
const NAMED_MAX: usize = 16;

impl<C, M> Io<C, M> {
    /// The next connection that has owed more than [`Limits::outbox_soft_bytes`](crate::Limits) for
    /// [`Limits::outbox_soft_time`](crate::Limits) and never less in between; it is named again after that time if
    /// that goes on. Once there is none, the next turn comes when there may be one.
    pub fn next_laggard(&mut self) -> Option<SlotId> {
        let Self { laggards, now, slots, limits, .. } = self;
        let now = *now;
        laggards.timed.extend(laggards.fresh.drain(..).map(|token| (token, now)));
        while let Some((token, since)) = laggards.timed.front().copied() {
            let due = since + limits.outbox_soft_time;
            if due > now {
                self.turn_by(due);
                return None;
            }
            laggards.timed.pop_front();
            let Some(entry) = slots.get_mut(token) else { continue };
            if entry.outbox.bytes() <= limits.outbox_soft_bytes {
                entry.flags.clear(Flags::LAGGING.or(Flags::CAUGHT_UP));
                continue;
            }
            laggards.timed.push_back((token, now));
            let caught_up = entry.flags.has(Flags::CAUGHT_UP);
            entry.flags.clear(Flags::CAUGHT_UP);
            if !caught_up && entry.conn.is_some() && !entry.flags.has(Flags::CLOSE_WANTED) {
                return Some(SlotId { token, shard: self.shard() });
            }
        }
        None
    }

    /// Names connections whose peers do not take what was sent to them while more waits, those that owe most last.
    /// Looks at some slots only; the next call goes on behind them.
    pub fn slowest(&mut self, named: &mut Vec<SlotId>) {
        let shard = self.shard();
        let span = self.slots.span();
        let from = self.laggards.next_slot;
        let mut found: Vec<(usize, SlotId)> = Vec::new();
        for step in 0..LOOK_SLOTS.min(span) {
            let Some((token, entry)) = self.slots.at_mut((from + step) % span) else { continue };
            let stands = entry.flags.has(Flags::SENDING) && !entry.flags.has(Flags::CLOSE_WANTED);
            if stands && entry.outbox.is_waiting() && entry.conn.is_some() {
                found.push((entry.outbox.bytes(), SlotId { token, shard }));
            }
        }
        self.laggards.next_slot = (from + LOOK_SLOTS) % span.max(1);
        found.sort_unstable_by_key(|(bytes, _)| *bytes);
        let less = found.len().saturating_sub(NAMED_MAX);
        named.extend(found[less..].iter().map(|(_, slot)| *slot));
    }
}
