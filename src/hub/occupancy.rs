//! Which channels somebody listens to, as webhooks tell it: once for all shards, and a channel whose last listener went
//! stays occupied for a short hold. Never tells anybody, never reads a clock.

use std::collections::VecDeque;
use std::time::Duration;

use highper_shards::Moment;

use super::table::Table;
use crate::message::Channel;

/// The occupied channels of one home. Reserved channels are none of them.
pub struct Occupancy {
    channels: Table<State>,
    /// Channels that lost their last listener in this turn.
    emptied: Vec<Channel>,
    /// Channels that are vacated at a moment, unless somebody comes; sooner ones first.
    leaving: VecDeque<(Moment, Channel)>,
    changes: Vec<(Channel, Change)>,
    hold: Duration,
}

/// What became of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has its first listener.
    Occupied,
    /// It has lost its last, and nobody came back in time.
    Vacated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Occupied,
    /// Nobody listens; the hold has not begun yet.
    Emptied,
    /// Nobody listens; vacated at this moment.
    Held(Moment),
}

impl Occupancy {
    /// No channel is occupied. A channel that nobody listens to is held for `hold`.
    pub fn new(hold: Duration) -> Self {
        Self {
            channels: Table::default(),
            emptied: Vec::new(),
            leaving: VecDeque::new(),
            changes: Vec::new(),
            hold,
        }
    }

    /// Somebody listens to a channel.
    pub fn occupy(&mut self, channel: &Channel) {
        if channel.is_reserved() {
            return;
        }
        match self.state(channel) {
            Some(state) => *state = State::Occupied,
            None => {
                self.channels.insert(channel, State::Occupied);
                self.changes.push((channel.clone(), Change::Occupied));
            }
        }
    }

    /// Nobody listens to a channel any more.
    pub fn empty(&mut self, channel: &Channel) {
        if let Some(state @ State::Occupied) = self.state(channel) {
            *state = State::Emptied;
            self.emptied.push(channel.clone());
        }
    }

    /// What changed since the last call, in order. Called once a turn at least: a hold begins with it.
    pub fn take_changes(&mut self, now: Moment) -> Vec<(Channel, Change)> {
        let due = now + self.hold;
        for channel in std::mem::take(&mut self.emptied) {
            if let Some(state @ State::Emptied) = self.state(&channel) {
                *state = State::Held(due);
                self.leaving.push_back((due, channel));
            }
        }
        while let Some((due, channel)) = self.leaving.pop_front_if(|(due, _)| *due <= now) {
            // Who came back meanwhile, and maybe went again, has another state.
            if let Some(at) = self.channels.of(&channel)
                && self.channels.get(at).is_some_and(|entry| entry.state == State::Held(due))
            {
                self.channels.remove(at);
                self.changes.push((channel, Change::Vacated));
            }
        }
        std::mem::take(&mut self.changes)
    }

    /// When the next hold is over.
    pub fn next_due(&self) -> Option<Moment> {
        self.leaving.front().map(|(due, _)| *due)
    }

    fn state(&mut self, channel: &Channel) -> Option<&mut State> {
        let at = self.channels.of(channel)?;
        self.channels.get_mut(at).map(|entry| &mut entry.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Names;

    const HOLD: Duration = Duration::from_secs(3);

    struct Bench {
        occupancy: Occupancy,
        names: Names,
        now: Moment,
    }

    impl Bench {
        fn new() -> Self {
            Self { occupancy: Occupancy::new(HOLD), names: Names::new(1), now: Moment::ZERO }
        }

        fn occupy(&mut self, name: &str) {
            let channel = self.names.parse(name).unwrap();
            self.occupancy.occupy(&channel);
        }

        fn empty(&mut self, name: &str) {
            let channel = self.names.parse(name).unwrap();
            self.occupancy.empty(&channel);
        }

        /// The changes after this long.
        fn after(&mut self, millis: u64) -> Vec<(String, Change)> {
            self.now = self.now + Duration::from_millis(millis);
            let changes = self.occupancy.take_changes(self.now);
            changes.into_iter().map(|(channel, change)| (channel.name().to_owned(), change)).collect()
        }
    }

    fn occupied(name: &str) -> (String, Change) {
        (name.to_owned(), Change::Occupied)
    }

    fn vacated(name: &str) -> (String, Change) {
        (name.to_owned(), Change::Vacated)
    }

    #[test]
    fn a_channel_is_vacated_when_the_hold_is_over() {
        let mut bench = Bench::new();
        bench.occupy("a");
        assert_eq!(bench.after(0), [occupied("a")]);
        bench.empty("a");
        assert_eq!(bench.after(0), []);
        assert_eq!(bench.occupancy.next_due(), Some(Moment::ZERO + HOLD));
        assert_eq!(bench.after(2999), []);
        assert_eq!(bench.after(1), [vacated("a")]);
        assert_eq!(bench.occupancy.next_due(), None);
        bench.occupy("a");
        assert_eq!(bench.after(0), [occupied("a")]);
    }

    #[test]
    fn who_comes_back_in_time_is_no_news() {
        let mut bench = Bench::new();
        bench.occupy("a");
        bench.after(0);
        for _ in 0..5 {
            bench.empty("a");
            assert_eq!(bench.after(2000), [], "the hold begins here");
            bench.occupy("a");
            assert_eq!(bench.after(2000), []);
        }
        bench.empty("a");
        assert_eq!(bench.after(0), []);
        assert_eq!(bench.after(2999), []);
        assert_eq!(bench.after(1), [vacated("a")]);
    }

    #[test]
    fn comings_and_goings_within_a_turn_are_one_state() {
        let mut bench = Bench::new();
        for _ in 0..3 {
            bench.occupy("a");
            bench.empty("a");
        }
        assert_eq!(bench.after(0), [occupied("a")]);
        assert_eq!(bench.after(3000), [vacated("a")], "once");
        assert_eq!(bench.after(3000), []);
    }

    #[test]
    fn channels_are_told_in_order_and_apart() {
        let mut bench = Bench::new();
        bench.occupy("a");
        bench.occupy("b");
        assert_eq!(bench.after(0), [occupied("a"), occupied("b")]);
        bench.empty("b");
        bench.after(1);
        bench.empty("a");
        bench.empty("never");
        bench.after(1);
        assert_eq!(bench.after(3000), [vacated("b"), vacated("a")]);
    }

    #[test]
    fn reserved_channels_are_never_told() {
        let mut bench = Bench::new();
        for channel in [bench.names.everyone(), bench.names.user("ann")] {
            bench.occupancy.occupy(&channel);
            bench.occupancy.empty(&channel);
        }
        assert_eq!(bench.after(3000), []);
        assert_eq!(bench.after(3000), []);
    }
}
