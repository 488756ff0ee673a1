//! Idempotency keys: what was published under a key a while ago is not published again. Bounded by count and age.
//! Never reads a clock.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use highper_shards::Moment;

use crate::message::{Channel, Position};

/// The keys of one home shard.
#[derive(Debug, Default)]
pub struct Repeats {
    positions: HashMap<Key, Option<Position>>,
    /// The same keys, oldest first.
    order: VecDeque<(Moment, Key)>,
}

/// A key belongs to a channel; two parts, so that no two pairs are ever the same text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    channel: std::sync::Arc<str>,
    key: std::sync::Arc<str>,
}

/// Keys that are remembered; beyond it the oldest go.
const KEYS_MAX: usize = 65_536;

/// How long a key is remembered.
const TTL: Duration = Duration::from_secs(300);

impl Repeats {
    /// The place of the publication that came under this key; `None` if none did.
    pub fn seen(&mut self, channel: &Channel, key: &str, now: Moment) -> Option<Option<Position>> {
        while self.order.front().is_some_and(|(at, _)| *at + TTL <= now) {
            self.forget_oldest();
        }
        self.positions.get(&Key::new(channel, key)).copied()
    }

    /// Remembers a key that was not seen.
    pub fn remember(&mut self, channel: &Channel, key: &str, position: Option<Position>, now: Moment) {
        if self.order.len() >= KEYS_MAX {
            self.forget_oldest();
        }
        let key = Key::new(channel, key);
        self.order.push_back((now, key.clone()));
        self.positions.insert(key, position);
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.positions.remove(&key);
        }
    }
}

impl Key {
    fn new(channel: &Channel, key: &str) -> Self {
        Self { channel: channel.shared_name(), key: key.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Names;

    #[test]
    fn a_key_is_remembered_for_its_channel_and_a_while() {
        let names = Names::new(1);
        let (one, two) = (names.parse("a").unwrap(), names.parse("ab").unwrap());
        let mut repeats = Repeats::default();
        let start = Moment::ZERO;
        assert_eq!(repeats.seen(&one, "bc", start), None);
        repeats.remember(&one, "bc", Some(Position { epoch: 1, offset: 2 }), start);
        assert_eq!(repeats.seen(&two, "c", start), None, "same letters, other parts");
        assert_eq!(repeats.seen(&one, "bc", start), Some(Some(Position { epoch: 1, offset: 2 })));
        assert!(repeats.seen(&one, "bc", start + Duration::from_secs(299)).is_some());
        assert_eq!(repeats.seen(&one, "bc", start + TTL), None);
        assert!(repeats.positions.is_empty());
    }

    #[test]
    fn the_oldest_keys_go_when_there_are_too_many() {
        let channel = Names::new(1).parse("a").unwrap();
        let mut repeats = Repeats::default();
        for number in 0..=KEYS_MAX {
            repeats.remember(&channel, &number.to_string(), None, Moment::ZERO);
        }
        assert_eq!(repeats.seen(&channel, "0", Moment::ZERO), None);
        assert_eq!(repeats.seen(&channel, "1", Moment::ZERO), Some(None));
        assert_eq!((repeats.positions.len(), repeats.order.len()), (KEYS_MAX, KEYS_MAX));
    }
}
