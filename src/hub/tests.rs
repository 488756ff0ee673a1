//! The hub's promises, with shards that are lists: order, no silent loss, nothing left behind.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use highper_shards::mesh::{Full, Lane};
use highper_shards::token::Token;
use highper_shards::{Moment, ShardId, SlotId};

use super::Post;
use super::home::{Home, Keeping};
use super::local::{Join, Joining, Local};
use crate::config::Config;
use crate::message::{Channel, Message, Names, Position, Publication};

/// Lanes between shards, each first in first out and of a small capacity.
#[derive(Default)]
pub(super) struct Lanes {
    pub(super) capacity: usize,
    pub(super) queues: HashMap<(ShardId, ShardId), VecDeque<Message>>,
    /// Receivers that run at the same time: a lane that was full has room right after it has refused a message.
    pub(super) racing: bool,
    /// Lanes that have one place more than their capacity, because of that.
    pub(super) grown: HashSet<(ShardId, ShardId)>,
}

impl Lanes {
    fn room(&self, lane: (ShardId, ShardId)) -> usize {
        let capacity = self.capacity + usize::from(self.grown.contains(&lane));
        capacity.saturating_sub(self.queues.get(&lane).map_or(0, VecDeque::len))
    }

    pub(super) fn take(&mut self, from: ShardId, to: ShardId) -> Option<Message> {
        self.grown.remove(&(from, to));
        self.queues.get_mut(&(from, to))?.pop_front()
    }
}

pub(super) struct From<'a>(pub(super) ShardId, pub(super) &'a mut Lanes);

impl Post for From<'_> {
    fn shard(&self) -> ShardId {
        self.0
    }

    fn post(&mut self, to: ShardId, _lane: Lane, message: Message) -> Result<(), Full<Message>> {
        assert_ne!(self.0, to, "a shard does not post to itself");
        let lane = (self.0, to);
        if self.1.room(lane) == 0 {
            if self.1.racing {
                self.1.grown.insert(lane);
            }
            return Err(Full(message));
        }
        self.1.queues.entry(lane).or_default().push_back(message);
        Ok(())
    }

    fn room(&self, to: ShardId, _lane: Lane) -> usize {
        self.1.room((self.0, to))
    }
}

#[derive(Default)]
struct Subscriber {
    channels: HashMap<String, u32>,
    /// Where each channel stands for this subscriber, since it was told that it joined.
    positions: HashMap<String, Position>,
}

struct Shard {
    id: ShardId,
    local: Local,
    home: Home,
    subscribers: HashMap<u32, Subscriber>,
    delivered: usize,
    gaps: usize,
}

struct Process {
    names: Names,
    shards: Vec<Shard>,
    lanes: Lanes,
}

impl Process {
    fn new(shards: u16, capacity: usize) -> Self {
        let shard = |id| Shard {
            id: ShardId(id),
            local: Local::default(),
            home: Home::new(u64::from(id) << 32, keeping(0)),
            subscribers: HashMap::new(),
            delivered: 0,
            gaps: 0,
        };
        let lanes = Lanes { capacity, ..Lanes::default() };
        Self { names: Names::new(shards), shards: (0..shards).map(shard).collect(), lanes }
    }

    fn join(&mut self, shard: usize, slot: u32, channel: &Channel) {
        let home = self.names.home(channel);
        let Shard { id, local, home: own, subscribers, .. } = &mut self.shards[shard];
        let joining = Joining { slot: slot_id(*id, slot), id: None, since: None, serial: 0 };
        let subscriber = subscribers.entry(slot).or_default();
        match local.join(channel, joining, (home, own), &mut From(*id, &mut self.lanes)) {
            Join::Joined(at, position) => {
                subscriber.channels.insert(channel.name().into(), at);
                subscriber.positions.insert(channel.name().into(), position);
            }
            Join::Waiting(at) => {
                subscriber.channels.insert(channel.name().into(), at);
            }
            Join::Recovering(_) => unreachable!("nobody asks for what was missed"),
            Join::TryAgain => {}
        }
    }

    fn leave(&mut self, shard: usize, slot: u32, channel: &Channel) {
        let Shard { id, local, home, subscribers, .. } = &mut self.shards[shard];
        let Some(subscriber) = subscribers.get_mut(&slot) else { return };
        if let Some(at) = subscriber.channels.remove(channel.name()) {
            subscriber.positions.remove(channel.name());
            local.leave(at, slot_id(*id, slot), home, &mut From(*id, &mut self.lanes));
        }
    }

    fn publish(&mut self, shard: usize, channel: &Channel) -> bool {
        let home = self.names.home(channel);
        let publication = Publication::new(None, *b"1");
        if home == self.shards[shard].id {
            self.sequence(shard, channel, &publication);
            return true;
        }
        let message = Message::Publish { channel: channel.clone(), publication, receipt: None };
        From(ShardId(shard as u16), &mut self.lanes).post(home, Lane::Bulk, message).is_ok()
    }

    fn sequence(&mut self, shard: usize, channel: &Channel, publication: &Publication) {
        let at = &mut self.shards[shard];
        let sequenced =
            at.home.publish(channel, publication, Moment::ZERO, &mut From(at.id, &mut self.lanes));
        if sequenced.deliver_here {
            let offset = sequenced.offset;
            self.deliver(shard, channel, offset);
        }
    }

    fn deliver(&mut self, shard: usize, channel: &Channel, offset: u64) {
        let Shard { local, subscribers, delivered, .. } = &mut self.shards[shard];
        let Some(at) = local.deliver(channel, offset) else { return };
        for slot in local.get(at).unwrap().state.subscribers.iter() {
            let position = subscribers.get_mut(&slot).unwrap().positions.get_mut(channel.name()).unwrap();
            assert_eq!(position.offset + 1, offset, "no hole without a signal, no duplicate, in order");
            position.offset = offset;
            *delivered += 1;
        }
    }

    /// The receiving shard takes one message of one lane.
    fn take(&mut self, from: ShardId, to: ShardId) -> bool {
        let Some(message) = self.lanes.take(from, to) else { return false };
        let at = to.index();
        match message {
            Message::Publish { channel, publication, .. } => self.sequence(at, &channel, &publication),
            Message::Interest { channel, shard } => {
                self.shards[at].home.interest(&channel, shard, &mut From(to, &mut self.lanes));
            }
            Message::Release { channel, shard } => self.shards[at].home.release(&channel, shard),
            Message::Standing { channel, position, is_answer } => {
                self.stand(at, &channel, position, is_answer);
            }
            Message::Deliver { channel, offset, .. } => self.deliver(at, &channel, offset),
            other => panic!("the hub does not send {other:?}"),
        }
        true
    }

    fn stand(&mut self, shard: usize, channel: &Channel, position: Position, is_answer: bool) {
        let Shard { local, subscribers, gaps, .. } = &mut self.shards[shard];
        let Some(stood) = local.stand(channel, position, is_answer) else { return };
        if stood.gap {
            *gaps += 1;
        }
        for slot in local.get(stood.at).unwrap().state.subscribers.iter() {
            let positions = &mut subscribers.get_mut(&slot).unwrap().positions;
            if let Some(before) = positions.insert(channel.name().into(), position) {
                let missed = before.epoch == position.epoch && before.offset < position.offset;
                assert!(missed, "a gap is told where something is missing: {before:?} {position:?}");
            }
        }
    }

    /// What every shard does at the end of its turn.
    fn end_turn(&mut self, shard: usize) {
        let Shard { id, local, home, .. } = &mut self.shards[shard];
        home.catch_up(Moment::ZERO, &mut From(*id, &mut self.lanes));
        local.settle(home, &mut From(*id, &mut self.lanes));
    }

    /// Everything on its way arrives.
    fn settle(&mut self) {
        let ids: Vec<ShardId> = self.shards.iter().map(|shard| shard.id).collect();
        for _ in 0..10_000 {
            let mut moved = false;
            for from in &ids {
                for to in &ids {
                    moved |= self.take(*from, *to);
                }
                self.end_turn(from.index());
            }
            if !moved && self.lanes.queues.values().all(VecDeque::is_empty) {
                return;
            }
        }
        panic!("the shards talk for ever");
    }
}

/// What homes keep: so many publications of each channel.
pub(super) fn keeping(history_size: u32) -> Keeping {
    let mut config = Config { history_size, presence: true, ..Config::default() };
    config.settle();
    Keeping {
        namespaces: config.namespaces,
        history_bytes: 1 << 20,
        presence_hold: Duration::from_secs(3),
        occupancy: true,
    }
}

pub(super) fn slot_id(shard: ShardId, slot: u32) -> SlotId {
    SlotId { token: Token { index: slot, generation: 0 }, shard }
}

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % bound
    }
}

#[test]
fn every_subscriber_sees_every_offset_or_a_gap_signal() {
    let (mut delivered, mut gaps, mut refused) = (0, 0, 0);
    for seed in 0..300 {
        let mut random = Random(seed);
        let shards = 1 + random.below(4);
        let mut process = Process::new(shards as u16, 1 + random.below(6));
        process.lanes.racing = random.below(2) == 0;
        let channels: Vec<Channel> =
            (0..5).map(|number| process.names.parse(&format!("c{number}")).unwrap()).collect();
        for _ in 0..2000 {
            let (shard, slot) = (random.below(shards), random.below(8) as u32);
            let channel = channels[random.below(channels.len())].clone();
            match random.below(12) {
                0 => process.join(shard, slot, &channel),
                1 if random.below(2) == 0 => process.leave(shard, slot, &channel),
                2..=5 => refused += usize::from(!process.publish(shard, &channel)),
                6 => process.end_turn(shard),
                _ => {
                    process.take(ShardId(random.below(shards) as u16), ShardId(shard as u16));
                }
            }
        }
        process.settle();
        for channel in &channels {
            let home = process.names.home(channel).index();
            let position = process.shards[home].home.position(channel);
            for shard in &process.shards {
                for subscriber in shard.subscribers.values() {
                    if subscriber.channels.contains_key(channel.name()) {
                        let stands = subscriber.positions.get(channel.name()).copied();
                        assert_eq!(stands, position, "seed {seed}: all that was published is known");
                    }
                }
            }
        }
        delivered += process.shards.iter().map(|shard| shard.delivered).sum::<usize>();
        gaps += process.shards.iter().map(|shard| shard.gaps).sum::<usize>();
        for shard in 0..shards {
            for slot in 0..8 {
                channels.iter().for_each(|channel| process.leave(shard, slot, channel));
            }
        }
        process.settle();
        for shard in &process.shards {
            assert!(shard.local.is_empty() && shard.home.is_empty(), "seed {seed}: nothing is left behind");
        }
    }
    assert!(delivered > 10_000 && gaps > 100 && refused > 100, "{delivered} {gaps} {refused}: not vacuous");
}

/// A channel, its home shard and the other one of two.
fn remote_channel(process: &Process) -> (Channel, ShardId, ShardId) {
    let channel = process.names.parse("far").unwrap();
    let home = process.names.home(&channel);
    (channel, home, ShardId(1 - home.0))
}

#[test]
fn an_answer_to_an_interest_is_not_taken_for_that_to_a_later_one() {
    let mut process = Process::new(2, 8);
    let (channel, home, away) = remote_channel(&process);
    process.join(away.index(), 1, &channel);
    process.leave(away.index(), 1, &channel);
    process.join(away.index(), 2, &channel);
    assert!(process.take(away, home) && process.take(home, away));
    let told = process.shards[away.index()].subscribers[&2].positions["far"];
    process.settle();
    assert_eq!(process.shards[home.index()].home.position(&channel), Some(told));
    assert_eq!(process.shards[away.index()].gaps, 0, "nothing was missed");
}

#[test]
fn a_standing_for_subscribers_of_before_answers_no_later_interest() {
    let mut process = Process::new(2, 2);
    let (channel, home, away) = remote_channel(&process);
    process.join(away.index(), 1, &channel);
    process.settle();
    for _ in 0..3 {
        process.publish(home.index(), &channel);
    }
    // Two deliveries fill the lane; the third makes room for a standing of those that miss it.
    assert!(process.take(home, away));
    process.end_turn(home.index());
    process.leave(away.index(), 1, &channel);
    process.join(away.index(), 2, &channel);
    assert!(process.take(home, away) && process.take(home, away), "a delivery and the standing");
    assert!(!process.shards[away.index()].subscribers[&2].positions.contains_key("far"));
    process.settle();
    let told = process.shards[away.index()].subscribers[&2].positions["far"];
    assert_eq!(process.shards[home.index()].home.position(&channel), Some(told));
}

#[test]
fn a_publish_that_nobody_hears_costs_nothing() {
    let mut process = Process::new(1, 4);
    let channel = process.names.parse("empty").unwrap();
    assert!(process.publish(0, &channel));
    assert!(process.shards[0].home.is_empty());
}

#[test]
fn a_kept_channel_is_heard_without_asking_and_stays() {
    let mut process = Process::new(3, 4);
    let everyone = process.names.everyone();
    let home = process.names.home(&everyone);
    process.shards[home.index()].home.keep(&everyone, 3);
    for shard in &mut process.shards {
        shard.local.keep(&everyone, home);
    }
    for round in 1..=3 {
        for shard in 0..3 {
            process.join(shard, 1, &everyone);
        }
        assert!(process.publish(home.index(), &everyone), "no shard has said a word to the home");
        process.settle();
        for shard in 0..3 {
            assert_eq!(process.shards[shard].delivered, round, "shard {shard}");
            process.leave(shard, 1, &everyone);
        }
        process.settle();
        assert!(process.shards.iter().all(|shard| shard.local.len() == 1));
    }
}

#[test]
fn a_channel_begins_a_new_epoch_once_a_publication_is_forgotten() {
    let mut process = Process::new(1, 4);
    let channel = process.names.parse("again").unwrap();
    let mut rejoined = |publishes_in: bool, publishes_between: bool| {
        process.join(0, 1, &channel);
        let before = process.shards[0].home.position(&channel).unwrap();
        assert!(!publishes_in || process.publish(0, &channel));
        process.leave(0, 1, &channel);
        assert!(process.shards[0].home.is_empty());
        assert!(!publishes_between || process.publish(0, &channel));
        process.join(0, 1, &channel);
        let after = process.shards[0].home.position(&channel).unwrap();
        process.leave(0, 1, &channel);
        assert_eq!(after.offset, 0);
        before.epoch == after.epoch
    };
    assert!(rejoined(false, false), "who comes back missed nothing");
    assert!(!rejoined(true, false));
    assert!(!rejoined(false, true), "nobody heard it and nothing kept it");
    assert!(!rejoined(true, true));
    assert!(rejoined(false, false));
}
