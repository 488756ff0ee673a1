//! Publishes that were made already: idempotency keys with the position that each of them got. Answers a repeat
//! with the first result. Never publishes, never reads a clock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use highper_shards::Moment;

use crate::message::{Channel, Position};

/// The idempotency keys of a home shard: bounded by count and age, the oldest go first.
#[derive(Debug)]
pub struct Repeats {
    max: usize,
    ttl: Duration,
    /// Hashed under a secret of the process: clients choose the keys.
    first: HashMap<Arc<[u8]>, First>,
    /// The same pairs, oldest first.
    order: VecDeque<Arc<[u8]>>,
}

/// What the first publish under a key got, and when.
#[derive(Debug)]
struct First {
    position: Position,
    at: Moment,
}

/// Keys that a shard remembers: what a backend publishes in five minutes at 200 keyed publishes a second. Beyond it
/// the oldest is forgotten and its repeat is published again.
pub const KEYS_MAX: usize = 65_536;
/// How long a key is remembered: longer than a backend retries.
pub const TTL: Duration = Duration::from_secs(5 * 60);
/// Bytes of a key, at most; the door refuses longer ones. A UUID has 36.
pub const KEY_BYTES_MAX: usize = 255;

impl Repeats {
    /// Remembers `max` keys at most, each for `ttl`. 0 or zero remembers nothing.
    pub fn new(max: usize, ttl: Duration) -> Self {
        Self { max, ttl, first: HashMap::new(), order: VecDeque::new() }
    }

    /// Keys that are remembered; those that are too old go with the next [`Self::remember`].
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// What the first publish to `channel` under `key` got, if it is remembered.
    pub fn seen(&self, channel: &Channel, key: &str, now: Moment) -> Option<Position> {
        let first = self.first.get(pair(channel.name(), key).as_slice())?;
        (!self.is_old(first, now)).then_some(first.position)
    }

    /// A publish to `channel` under `key` got this position. A key that is remembered keeps the position it has.
    /// `key` has [`KEY_BYTES_MAX`] bytes at most; `now` never goes back.
    pub fn remember(&mut self, channel: &Channel, key: &str, position: Position, now: Moment) {
        while self.order.front().is_some_and(|oldest| self.is_old(&self.first[oldest], now)) {
            self.forget_oldest();
        }
        let pair: Arc<[u8]> = pair(channel.name(), key).into();
        if self.max == 0 || self.ttl.is_zero() || self.first.contains_key(&pair) {
            return;
        }
        if self.order.len() == self.max {
            self.forget_oldest();
        }
        self.order.push_back(pair.clone());
        self.first.insert(pair, First { position, at: now });
    }

    fn is_old(&self, first: &First, now: Moment) -> bool {
        now.since(first.at) >= self.ttl
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.first.remove(&oldest);
        }
    }
}

/// The bytes of a pair. The length of the channel stands before it, so that different pairs never look alike.
fn pair(channel: &str, key: &str) -> Vec<u8> {
    [&(channel.len() as u64).to_le_bytes(), channel.as_bytes(), key.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use highper_shards::driver::sim::Random;

    use super::*;
    use crate::message::Names;

    const NOW: Moment = Moment::from_nanos(1_000);
    const LONG: Duration = Duration::from_secs(1 << 30);

    fn offset(offset: u64) -> Position {
        Position { epoch: 7, offset }
    }

    #[test]
    fn a_repeat_gets_what_the_first_got() {
        let room = Names::new(1).parse("room").unwrap();
        let mut repeats = Repeats::new(10, LONG);
        assert_eq!(repeats.seen(&room, "k", NOW), None);
        repeats.remember(&room, "k", offset(1), NOW);
        repeats.remember(&room, "k", offset(2), NOW);
        assert_eq!(repeats.seen(&room, "k", NOW), Some(offset(1)));
        assert_eq!(repeats.len(), 1);
    }

    #[test]
    fn a_key_is_forgotten_at_the_ttl_and_not_before() {
        let room = Names::new(1).parse("room").unwrap();
        let mut repeats = Repeats::new(10, Duration::from_nanos(100));
        repeats.remember(&room, "k", offset(1), NOW);
        let after = |nanos| NOW + Duration::from_nanos(nanos);
        assert_eq!(repeats.seen(&room, "k", after(99)), Some(offset(1)));
        assert_eq!(repeats.seen(&room, "k", after(100)), None);
        repeats.remember(&room, "k", offset(2), after(100));
        assert_eq!((repeats.seen(&room, "k", after(199)), repeats.len()), (Some(offset(2)), 1));
    }

    #[test]
    fn the_oldest_goes_when_one_more_than_the_maximum_comes() {
        let room = Names::new(1).parse("room").unwrap();
        let mut repeats = Repeats::new(2, LONG);
        repeats.remember(&room, "a", offset(1), NOW);
        repeats.remember(&room, "b", offset(2), NOW);
        assert_eq!(repeats.seen(&room, "a", NOW), Some(offset(1)));
        repeats.remember(&room, "c", offset(3), NOW);
        let seen = ["a", "b", "c"].map(|key| repeats.seen(&room, key, NOW));
        assert_eq!(seen, [None, Some(offset(2)), Some(offset(3))]);
    }

    #[test]
    fn a_maximum_of_none_or_a_ttl_of_zero_remembers_nothing() {
        let room = Names::new(1).parse("room").unwrap();
        for mut repeats in [Repeats::new(0, LONG), Repeats::new(9, Duration::ZERO)] {
            repeats.remember(&room, "k", offset(1), NOW);
            assert_eq!((repeats.seen(&room, "k", NOW), repeats.is_empty()), (None, true));
        }
    }

    /// Every way to cut a text in two, and the shifts that a plain concatenation would confuse.
    #[test]
    fn pairs_that_concatenate_to_the_same_text_are_told_apart() {
        let names = Names::new(1);
        let mut repeats = Repeats::new(1_000, LONG);
        let text = "a:a|a/aa:a";
        let pairs: Vec<(&str, &str)> = (1..=text.len()).map(|cut| text.split_at(cut)).collect();
        for (number, (channel, key)) in (0..).zip(&pairs) {
            let channel = names.parse(channel).unwrap();
            assert_eq!(repeats.seen(&channel, key, NOW), None, "{channel} {key}");
            repeats.remember(&channel, key, offset(number), NOW);
        }
        for (number, (channel, key)) in (0..).zip(&pairs) {
            assert_eq!(repeats.seen(&names.parse(channel).unwrap(), key, NOW), Some(offset(number)));
        }
    }

    #[test]
    fn random_pairs_look_alike_only_if_they_are_equal() {
        let mut random = Random::new(19);
        // Few letters and few lengths, so that many pairs concatenate to the same text; the bytes of small lengths
        // are among the letters.
        let letters = ["\0", "\u{1}", "\u{2}", "a"];
        let mut text = || -> String {
            let len = random.below(4);
            (0..len).map(|_| letters[random.below(4) as usize]).collect()
        };
        let (mut alike, mut confusable) = (0, 0);
        for _ in 0..200_000 {
            let (one, two) = ((text(), text()), (text(), text()));
            assert_eq!(pair(&one.0, &one.1) == pair(&two.0, &two.1), one == two, "{one:?} {two:?}");
            alike += usize::from(one == two);
            confusable += usize::from(one != two && one.0.clone() + &one.1 == two.0.clone() + &two.1);
        }
        assert!(alike > 500 && confusable > 500, "{alike} equal, {confusable} confusable: nothing was tried");
    }

    #[test]
    fn random_publishes_agree_with_a_model() {
        let names = Names::new(1);
        let (mut hits, mut forgotten) = (0, 0);
        for seed in 0..40 {
            let mut random = Random::new(seed);
            let (max, ttl) = (random.within(1, 40) as usize, Duration::from_nanos(random.within(1, 400)));
            let mut repeats = Repeats::new(max, ttl);
            let mut model: Vec<(String, String, Position, Moment)> = Vec::new();
            let mut now = NOW;
            for number in 0..2_000 {
                now = now + Duration::from_nanos(random.below(12));
                let mut text =
                    || "ababab"[random.below(2) as usize..][..random.within(1, 4) as usize].to_string();
                let (channel, key) = (text(), text());
                let named = names.parse(&channel).unwrap();
                let before = model.len();
                model.retain(|one| now.since(one.3) < ttl);
                let known = model.iter().find(|one| (&one.0, &one.1) == (&channel, &key)).map(|one| one.2);
                assert_eq!(repeats.seen(&named, &key, now), known, "seed {seed}, publish {number}");
                repeats.remember(&named, &key, offset(number), now);
                if known.is_none() {
                    model.push((channel, key, offset(number), now));
                    model.drain(..model.len().saturating_sub(max));
                }
                assert_eq!((repeats.len(), repeats.first.len()), (model.len(), model.len()), "seed {seed}");
                hits += usize::from(known.is_some());
                forgotten += (before + 1).saturating_sub(model.len());
            }
        }
        assert!(
            hits > 10_000 && forgotten > 10_000,
            "{hits} repeats, {forgotten} forgotten: nothing was tried"
        );
    }
}
