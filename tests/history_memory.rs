//! Histories cost at most half of their payloads on top: measured by a global allocator, without what an allocator
//! rounds up. A channel without history owns nothing.

#[path = "../wire/tests/counting/mod.rs"]
mod counting;

use std::time::Duration;

use highper_realtime::Config;
use highper_realtime::hub::Post;
use highper_realtime::hub::history::{ENTRY_BYTES, Histories, History, Rules, Shelf};
use highper_realtime::hub::home::{Home, Keeping};
use highper_realtime::message::{Answer, Channel, Message, Names, Position, Publication, Question};
use highper_shards::mesh::{Full, Lane};
use highper_shards::{Moment, ShardId};

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

/// A home that nobody is interested in.
struct Alone;

impl Post for Alone {
    fn shard(&self) -> ShardId {
        ShardId(0)
    }

    fn post(&mut self, _to: ShardId, _lane: Lane, _message: Message) -> Result<(), Full<Message>> {
        unreachable!("there is no other shard")
    }

    fn room(&self, _to: ShardId, _lane: Lane) -> usize {
        unreachable!("there is no other shard")
    }
}

fn home(history_bytes: usize) -> Home {
    let mut config = Config { history_size: MESSAGES as u32, ..Config::default() };
    config.settle();
    let presence_hold = config.presence_hold;
    Home::new(1, Keeping { namespaces: config.namespaces, history_bytes, presence_hold, occupancy: false })
}

fn names(count: u32) -> Vec<Channel> {
    let names = Names::new(1);
    (0..count).map(|number| names.parse(&format!("room-{number}")).expect("it is a name")).collect()
}

/// Publishes once in each channel, as from the network.
fn publish_round(home: &mut Home, channels: &[Channel], round: u64) {
    for channel in channels {
        let publication = Publication::new(None, [b'7'; PAYLOAD]);
        let sequenced = home.publish(channel, &publication, Moment::from_nanos(round), &mut Alone);
        let offset = sequenced.position.map(|position| position.offset);
        assert_eq!(offset, Some(round), "it is numbered, whatever is kept");
    }
}

#[test]
fn ten_thousand_channels_of_a_home_cost_half_of_their_payload_on_top() {
    let channels = names(10_000);
    let payload = channels.len() * MESSAGES as usize * PAYLOAD;
    let peak = counting::peak_bytes(|| {
        let mut home = home(usize::MAX);
        (1..=MESSAGES).for_each(|round| publish_round(&mut home, &channels, round));
        assert_eq!(home.len(), channels.len());
    });
    assert!(2 * peak <= 3 * payload, "{peak} bytes for {payload} of payload");
}

#[test]
fn a_home_whose_budget_is_reached_drops_the_oldest_and_goes_on() {
    let (kept, channels) = (50, names(10));
    let budget = kept * (ENTRY_BYTES + PAYLOAD);
    let mut home = home(budget);
    for round in 1..=MESSAGES {
        publish_round(&mut home, &channels, round);
        assert!(home.shelf().bytes() <= budget);
    }
    assert_eq!(home.shelf().shed, channels.len() as u64 * MESSAGES - kept as u64);
    for channel in &channels {
        let position = home.position(channel).expect("it keeps something");
        let mut missed = |offset| {
            let since = Position { offset, ..position };
            let answer = home.answer(channel, Question::Missed(since), Moment::from_nanos(MESSAGES));
            let Answer::Missed { position: told, publications } = answer else { panic!("{answer:?}") };
            assert_eq!(told, position);
            publications.map(|missed| missed.iter().map(|numbered| numbered.offset).collect::<Vec<_>>())
        };
        // Five of each channel are left, the newest.
        assert_eq!(missed(MESSAGES - 5), Some((MESSAGES - 4..=MESSAGES).collect()));
        assert_eq!(missed(MESSAGES - 6), None, "who comes back too late is told so");
        assert_eq!(missed(MESSAGES), Some(Vec::new()));
    }
}
