//! Histories cost at most half of their payloads on top: measured by a global allocator, without what an allocator
//! rounds up. A channel without history owns nothing.

#[path = "../wire/tests/counting/mod.rs"]
mod counting;

use std::time::Duration;

use highper_realtime::hub::history::{ENTRY_BYTES, Histories, History, Rules, Shelf};
use highper_realtime::message::Publication;
use highper_shards::Moment;

const CHANNELS: u32 = 1_000;
const MESSAGES: u64 = 100;
const PAYLOAD: usize = 200;
const RULES: Rules = Rules { size: MESSAGES as u32, ttl: Duration::from_secs(3600) };

struct Channels(Vec<History>);

impl Histories for Channels {
    fn history(&mut self, index: u32) -> Option<&mut History> {
        self.0.get_mut(index as usize)
    }
}

/// Every channel gets `rounds` publications, by turns.
fn publish(shelf: &mut Shelf, channels: &mut Channels, rounds: std::ops::RangeInclusive<u64>) {
    for offset in rounds {
        for index in 0..CHANNELS {
            let publication = Publication::new(None, [b'7'; PAYLOAD]);
            let now = Moment::from_nanos(offset);
            shelf.push(channels, index, (offset, publication), RULES, now);
        }
    }
}

fn channels() -> Channels {
    Channels((0..CHANNELS).map(|_| History::default()).collect())
}

#[test]
fn a_hundred_messages_of_200_bytes_cost_half_of_them_on_top() {
    let payload = CHANNELS as usize * MESSAGES as usize * PAYLOAD;
    let mut shelf = Shelf::new(usize::MAX);
    let peak = counting::peak_bytes(|| {
        let mut channels = channels();
        publish(&mut shelf, &mut channels, 1..=3 * MESSAGES);
        assert_eq!(channels.0.iter().map(History::len).sum::<usize>(), CHANNELS as usize * MESSAGES as usize);
    });
    // Room for a field of eight bytes more in each publication, and for what an allocator rounds up.
    let reserve = CHANNELS as usize * MESSAGES as usize * (8 + 16);
    assert!(2 * (peak + reserve) <= 3 * payload, "{peak} bytes for {payload} of payload");
    assert!(shelf.bytes() >= peak - CHANNELS as usize * 256, "{} bytes counted of {peak}", shelf.bytes());
}

#[test]
fn a_budget_bounds_what_is_allocated() {
    let budget = 500 * (ENTRY_BYTES + PAYLOAD);
    let mut channels = channels();
    let mut shelf = Shelf::new(budget);
    let peak = counting::peak_bytes(|| publish(&mut shelf, &mut channels, 1..=MESSAGES));
    // Beside it stand the order of the histories and rings that hold one entry and have room for another.
    assert!(peak <= budget + CHANNELS as usize * 256, "{peak} bytes for a budget of {budget}");
    assert_eq!(shelf.shed, u64::from(CHANNELS) * MESSAGES - 500);
}

#[test]
fn what_is_cleared_is_given_back() {
    let mut channels = channels();
    let mut shelf = Shelf::new(usize::MAX);
    publish(&mut shelf, &mut channels, 1..=MESSAGES);
    (0..CHANNELS).zip(&mut channels.0).for_each(|(index, history)| history.clear(&mut shelf, index));
    assert_eq!(shelf.bytes(), 0);
    let once = counting::peak_bytes(|| publish(&mut shelf, &mut channels, MESSAGES + 1..=2 * MESSAGES));
    (0..CHANNELS).zip(&mut channels.0).for_each(|(index, history)| history.clear(&mut shelf, index));
    let again = counting::peak_bytes(|| publish(&mut shelf, &mut channels, 2 * MESSAGES + 1..=3 * MESSAGES));
    assert!(again <= once, "{again} bytes after {once}");
}
