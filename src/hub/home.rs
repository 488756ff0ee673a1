//! Home side of a channel: offset, epoch, which shards are interested; history and presence will live here too.
//! One shard owns it; the others only send it messages. Never touches a socket, a connection or a clock.

use highper_shards::ShardId;
use highper_shards::mesh::Lane;

use super::Post;
use super::table::{Entry, Table};
use crate::config::SHARDS_MAX;
use crate::message::{Channel, Message, Position, Publication};

/// All channels whose home this shard is.
pub struct Home {
    channels: Table<HomeChannel>,
    epochs: Epochs,
    /// Channels with a shard that is behind: a lane was full and the shard must be told where the channel stands.
    behind: Vec<u32>,
}

struct HomeChannel {
    position: Position,
    interested: ShardSet,
    /// Interested shards that missed something, or wait for their first standing. They get no delivery until a
    /// standing has told them.
    behind: ShardSet,
    /// Of those, the ones whose interest was not answered yet.
    asked: ShardSet,
}

/// What [`Home::publish`] asks the worker to do.
#[derive(Debug)]
pub struct Sequenced {
    /// The publication's number; `None` if nobody listens, so that it has none.
    pub offset: Option<u64>,
    /// Whether this shard is interested and must deliver it to its own subscribers.
    pub deliver_here: bool,
    /// Interested shards that will get a gap signal instead, because their lane is full.
    pub behind: u32,
}

impl Home {
    /// No channels yet. `epoch_seed` must differ between starts of the process.
    pub fn new(epoch_seed: u64) -> Self {
        Self { channels: Table::default(), epochs: Epochs { state: epoch_seed }, behind: Vec::new() }
    }

    /// Channels that somebody is interested in.
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Whether no channel is known.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// Where a channel stands; `None` if nobody is interested in it.
    pub fn position(&self, channel: &Channel) -> Option<Position> {
        let at = self.channels.of(channel)?;
        self.channels.get(at).map(|entry| entry.state.position)
    }

    /// A channel that every shard hears for ever: each of them does [`Local::keep`](super::local::Local::keep), and
    /// none asks for it, so that nothing is missed in between.
    pub fn keep(&mut self, channel: &Channel, shards: u16) {
        let mut all = ShardSet::default();
        (0..shards).map(ShardId).for_each(|shard| all.insert(shard));
        let nobody = ShardSet::default();
        let state =
            HomeChannel { position: Position::default(), interested: all, behind: nobody, asked: nobody };
        self.channels.insert(channel, state);
    }

    /// Numbers a publication and posts it to every interested shard but this one.
    pub fn publish(
        &mut self,
        channel: &Channel,
        publication: &Publication,
        post: &mut impl Post,
    ) -> Sequenced {
        let Some((at, state)) = self.find(channel) else {
            return Sequenced { offset: None, deliver_here: false, behind: 0 };
        };
        let here = post.shard();
        state.position.offset += 1;
        let offset = state.position.offset;
        let mut missed = 0;
        for shard in state.interested.iter().filter(|shard| *shard != here) {
            if !state.behind.contains(shard) {
                let message =
                    Message::Deliver { channel: channel.clone(), offset, publication: publication.clone() };
                if post.post(shard, Lane::Bulk, message).is_ok() {
                    continue;
                }
                state.behind.insert(shard);
            }
            missed += 1;
        }
        let deliver_here = state.interested.contains(here);
        if missed > 0 && !self.behind.contains(&at) {
            self.behind.push(at);
        }
        Sequenced { offset: Some(offset), deliver_here, behind: missed }
    }

    /// A shard has a subscriber now. This shard gets the answer as the result, others by message.
    pub fn interest(&mut self, channel: &Channel, shard: ShardId, post: &mut impl Post) -> Position {
        if self.find(channel).is_none() {
            self.create(channel);
        }
        let (at, state) = self.find(channel).expect("it was created if it was not there");
        state.interested.insert(shard);
        let position = state.position;
        if shard != post.shard() {
            state.behind.insert(shard);
            state.asked.insert(shard);
            self.tell(at, post);
        }
        position
    }

    /// A shard has no subscriber any more.
    pub fn release(&mut self, channel: &Channel, shard: ShardId) {
        let Some((at, state)) = self.find(channel) else { return };
        state.interested.remove(shard);
        state.behind.remove(shard);
        state.asked.remove(shard);
        if state.interested.is_empty() {
            self.channels.remove(at);
        }
    }

    /// Tells shards that are behind where their channels stand, as far as their lanes have room. Called once a
    /// turn.
    pub fn catch_up(&mut self, post: &mut impl Post) {
        for at in std::mem::take(&mut self.behind) {
            self.tell(at, post);
        }
    }

    /// Whether a shard is behind and could not be told yet.
    pub fn owes(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Posts the standing to every shard of the channel that is behind; who cannot be told stays behind.
    fn tell(&mut self, at: u32, post: &mut impl Post) {
        let Some(Entry { channel, state }) = self.channels.get_mut(at) else { return };
        for shard in state.behind.iter() {
            let (channel, position) = (channel.clone(), state.position);
            let standing = Message::Standing { channel, position, is_answer: state.asked.contains(shard) };
            if post.post(shard, Lane::Bulk, standing).is_ok() {
                state.behind.remove(shard);
                state.asked.remove(shard);
            }
        }
        if !state.behind.is_empty() && !self.behind.contains(&at) {
            self.behind.push(at);
        }
    }

    fn find(&mut self, channel: &Channel) -> Option<(u32, &mut HomeChannel)> {
        let at = self.channels.of(channel)?;
        self.channels.get_mut(at).map(|entry| (at, &mut entry.state))
    }

    fn create(&mut self, channel: &Channel) {
        let position = Position { epoch: self.epochs.next(), offset: 0 };
        let nobody = ShardSet::default();
        let state = HomeChannel { position, interested: nobody, behind: nobody, asked: nobody };
        self.channels.insert(channel, state);
    }
}

/// Epochs that do not repeat within a process and hardly between processes (SplitMix64).
struct Epochs {
    state: u64,
}

impl Epochs {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

/// Shards as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ShardSet([u64; 4]);

const _: () = assert!(SHARDS_MAX as usize <= 256, "a set of shards has a bit for each");

impl ShardSet {
    fn insert(&mut self, shard: ShardId) {
        self.0[shard.index() / 64] |= 1 << (shard.index() % 64);
    }

    fn remove(&mut self, shard: ShardId) {
        self.0[shard.index() / 64] &= !(1 << (shard.index() % 64));
    }

    fn contains(&self, shard: ShardId) -> bool {
        self.0[shard.index() / 64] & 1 << (shard.index() % 64) != 0
    }

    fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    fn iter(self) -> impl Iterator<Item = ShardId> {
        self.0.into_iter().zip(0u16..).flat_map(|(mut bits, word)| {
            std::iter::from_fn(move || {
                let shard = (bits != 0).then(|| ShardId(word * 64 + bits.trailing_zeros() as u16))?;
                bits &= bits - 1;
                Some(shard)
            })
        })
    }
}
