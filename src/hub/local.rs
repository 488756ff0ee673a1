//! Subscriber side of a channel on one shard: which slots are in, and how far the channel is known to be. Asks
//! the home shard once for all its subscribers. Never touches a connection.

use highper_shards::mesh::Lane;
use highper_shards::{ShardId, SlotId};
use highper_wire::sse::Tag;

use super::Post;
use super::home::Home;
use super::subscribers::Subscribers;
use super::table::{Entry, Table};
use crate::message::{Channel, Message, Position};

/// All channels with a subscriber on this shard.
#[derive(Default)]
pub struct Local {
    channels: Table<LocalChannel>,
    serials: u32,
    /// Channels without subscribers whose home was not told yet.
    owed: Vec<u32>,
}

/// A channel as this shard sees it.
pub struct LocalChannel {
    /// The slots that get its publications.
    pub subscribers: Subscribers,
    /// The channel's name in the cursors of streams.
    pub tag: Tag,
    /// Connections that wait for what they missed; they are no subscribers yet.
    recovering: Vec<Joining>,
    home: ShardId,
    link: Link,
    /// Heard for ever, with subscribers or without.
    kept: bool,
}

enum Link {
    /// The home was asked; who joins meanwhile waits here for the answer. Until it comes the interest is not given
    /// back, even if nobody waits any more: an answer must never be taken for that to a later interest.
    Asked(Vec<Joining>),
    /// Everything up to this position was delivered or signalled; what comes next has the next offset.
    Held(Position),
}

/// A connection that waits for the home's answer to its join.
#[derive(Debug)]
pub struct Joining {
    /// Which connection.
    pub slot: SlotId,
    /// The `id` of its request, as it was sent.
    pub id: Option<Box<[u8]>>,
    /// Where it was before, if it wants what it missed.
    pub since: Option<Position>,
    /// Tells joins apart; [`Local::serial`] gives it.
    pub serial: u32,
}

/// The result of [`Local::join`]. A connection keeps the channel's index until it leaves.
#[derive(Debug, PartialEq, Eq)]
pub enum Join {
    /// In: publications after this position reach the slot.
    Joined(u32, Position),
    /// The home was asked; [`Local::stand`] returns the connection when the answer comes.
    Waiting(u32),
    /// The home must be asked what the connection missed; [`Local::recovered`] returns the connection then.
    Recovering(u32),
    /// The home's lane is full, or an earlier join of the connection waits for what it missed.
    TryAgain,
}

/// The result of [`Local::stand`].
#[derive(Debug)]
pub struct Stood {
    /// Index of the channel.
    pub at: u32,
    /// Whether subscribers from before missed something and must be told the new position.
    pub gap: bool,
    /// Who is a subscriber from now on and must be told so.
    pub joined: Vec<Joining>,
    /// For whom the home must be asked what they missed: connection, where it was, serial number.
    pub recovering: Vec<(SlotId, Position, u32)>,
}

impl Local {
    /// Channels with a subscriber, or one that waits.
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Whether nobody is subscribed to anything.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// A channel by the index that a connection keeps.
    pub fn get(&self, at: u32) -> Option<&Entry<LocalChannel>> {
        self.channels.get(at)
    }

    /// Index of a channel by its name and the hash of the name.
    pub fn find(&self, name: &str, hash: u64) -> Option<u32> {
        self.channels.find(name, hash)
    }

    /// The number of a new join.
    pub fn serial(&mut self) -> u32 {
        self.serials = self.serials.wrapping_add(1);
        self.serials
    }

    /// All channels, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry<LocalChannel>> {
        self.channels.iter()
    }

    /// Hears a channel for ever; its home does [`Home::keep`].
    pub fn keep(&mut self, channel: &Channel, home: ShardId) {
        let link = Link::Held(Position::default());
        self.channels.insert(channel, LocalChannel { kept: true, ..LocalChannel::new(channel, home, link) });
    }

    /// Adds a connection to a channel.
    pub fn join(
        &mut self,
        channel: &Channel,
        joining: Joining,
        (home_shard, home): (ShardId, &mut Home),
        post: &mut impl Post,
    ) -> Join {
        if let Some(at) = self.channels.of(channel) {
            return self.join_known(at, joining);
        }
        let link = if home_shard == post.shard() {
            Link::Held(home.interest(channel, home_shard, post))
        } else {
            let interest = Message::Interest { channel: channel.clone(), shard: post.shard() };
            if post.post(home_shard, Lane::Bulk, interest).is_err() {
                return Join::TryAgain;
            }
            Link::Asked(Vec::new())
        };
        let at = self.channels.insert(channel, LocalChannel::new(channel, home_shard, link));
        self.join_known(at, joining)
    }

    /// Removes a connection from a channel; the home is told when it was the last. Returns its joins that will
    /// not be answered any more.
    pub fn leave(&mut self, at: u32, slot: SlotId, home: &mut Home, post: &mut impl Post) -> Vec<Joining> {
        let Some(Entry { state, .. }) = self.channels.get_mut(at) else { return Vec::new() };
        state.subscribers.remove(slot.index());
        let waiting = match &mut state.link {
            Link::Asked(waiting) => waiting,
            Link::Held(_) => &mut state.recovering,
        };
        let withdrawn = waiting.extract_if(.., |joining| joining.slot == slot).collect();
        if state.is_unused() && !self.release(at, home, post) {
            self.owed.push(at);
        }
        withdrawn
    }

    /// The home told where a channel stands, as an answer or because deliveries were missed. `None` if nobody here
    /// has to be told.
    pub fn stand(&mut self, channel: &Channel, position: Position, is_answer: bool) -> Option<Stood> {
        let at = self.channels.of(channel)?;
        let state = self.at_mut(at);
        if matches!(state.link, Link::Asked(_)) && !is_answer {
            // Meant for subscribers of before; the answer to the interest of now is still to come.
            return None;
        }
        let before = std::mem::replace(&mut state.link, Link::Held(position));
        let (gap, joined) = match before {
            Link::Asked(waiting) => (false, waiting),
            Link::Held(held) => (held != position, Vec::new()),
        };
        let (recovering, joined): (Vec<_>, Vec<_>) =
            joined.into_iter().partition(|joining| joining.since.is_some());
        for joining in &joined {
            state.subscribers.insert(joining.slot.index());
        }
        let asks =
            recovering.iter().filter_map(|joining| Some((joining.slot, joining.since?, joining.serial)));
        let asks = asks.collect();
        state.recovering.extend(recovering);
        if state.is_unused() {
            self.owed.push(at);
            return None;
        }
        Some(Stood { at, gap, joined, recovering: asks })
    }

    /// The home told what a join missed: from now on the connection is a subscriber. `None` if it has left.
    pub fn recovered(&mut self, channel: &Channel, serial: u32) -> Option<(u32, Joining)> {
        let at = self.channels.of(channel)?;
        let state = self.at_mut(at);
        let place = state.recovering.iter().position(|joining| joining.serial == serial)?;
        let joining = state.recovering.swap_remove(place);
        state.subscribers.insert(joining.slot.index());
        Some((at, joining))
    }

    /// A publication came from the home: the channel's index if this shard has subscribers that must get it.
    pub fn deliver(&mut self, channel: &Channel, offset: u64) -> Option<u32> {
        let at = self.channels.of(channel)?;
        match &mut self.at_mut(at).link {
            // Left over from an interest that was released since; the answer to the new one covers it.
            Link::Asked(_) => None,
            // Not numbered: nobody can miss it.
            Link::Held(_) if offset == 0 => Some(at),
            Link::Held(held) => {
                assert_eq!(held.offset + 1, offset, "the lane from home to here keeps its order");
                held.offset = offset;
                Some(at)
            }
        }
    }

    /// Tells the homes what they could not be told before. Called once a turn.
    pub fn settle(&mut self, home: &mut Home, post: &mut impl Post) {
        for at in std::mem::take(&mut self.owed) {
            let unused = self.get(at).is_some_and(|entry| entry.state.is_unused());
            if unused && !self.release(at, home, post) {
                self.owed.push(at);
            }
        }
    }

    /// Whether a home could not be told yet.
    pub fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    fn join_known(&mut self, at: u32, joining: Joining) -> Join {
        let state = self.at_mut(at);
        let waiting: &[Joining] = match &state.link {
            Link::Asked(waiting) => waiting,
            Link::Held(_) => &state.recovering,
        };
        // A second join would be answered first, and what was missed would come after what is new.
        if waiting.iter().any(|other| other.slot == joining.slot && other.since.is_some()) {
            return Join::TryAgain;
        }
        match &mut state.link {
            Link::Asked(waiting) => {
                waiting.push(joining);
                Join::Waiting(at)
            }
            Link::Held(_) if joining.since.is_some() => {
                state.recovering.push(joining);
                Join::Recovering(at)
            }
            Link::Held(position) => {
                let position = *position;
                state.subscribers.insert(joining.slot.index());
                Join::Joined(at, position)
            }
        }
    }

    /// Gives the interest back; false if the home's lane is full.
    fn release(&mut self, at: u32, home: &mut Home, post: &mut impl Post) -> bool {
        let Some(Entry { channel, state }) = self.channels.get(at) else { return true };
        if state.home == post.shard() {
            home.release(channel, state.home);
        } else {
            let release = Message::Release { channel: channel.clone(), shard: post.shard() };
            if post.post(state.home, Lane::Bulk, release).is_err() {
                return false;
            }
        }
        self.channels.remove(at);
        true
    }

    fn at_mut(&mut self, at: u32) -> &mut LocalChannel {
        &mut self.channels.get_mut(at).expect("the index names live channels only").state
    }
}

impl LocalChannel {
    fn new(channel: &Channel, home: ShardId, link: Link) -> Self {
        let (subscribers, tag) = (Subscribers::default(), Tag::of(channel.name()));
        Self { subscribers, tag, recovering: Vec::new(), home, link, kept: false }
    }

    /// Where a connection is in the channel: everything up to there was sent to it.
    pub fn position_of(&self, slot: SlotId) -> Option<Position> {
        let waiting = match &self.link {
            Link::Asked(waiting) => waiting,
            Link::Held(_) => &self.recovering,
        };
        match waiting.iter().find(|joining| joining.slot == slot) {
            Some(joining) => joining.since,
            None => self.position(),
        }
    }

    /// How far the channel is known to be; `None` while the home's answer is awaited.
    pub fn position(&self) -> Option<Position> {
        match self.link {
            Link::Asked(_) => None,
            Link::Held(position) => Some(position),
        }
    }

    fn is_unused(&self) -> bool {
        let nobody = self.subscribers.is_empty() && self.recovering.is_empty();
        !self.kept && nobody && matches!(self.link, Link::Held(_))
    }
}
