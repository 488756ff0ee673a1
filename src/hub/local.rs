//! Subscriber side of a channel on one shard: which slots are in, and how far the channel is known to be. Asks
//! the home shard once for all its subscribers. Never touches a connection.

use highper_shards::mesh::Lane;
use highper_shards::{ShardId, SlotId};

use super::Post;
use super::home::Home;
use super::subscribers::Subscribers;
use super::table::{Entry, Table};
use crate::message::{Channel, Message, Position};

/// All channels with a subscriber on this shard.
#[derive(Default)]
pub struct Local {
    channels: Table<LocalChannel>,
    /// Channels without subscribers whose home was not told yet.
    owed: Vec<u32>,
}

/// A channel as this shard sees it.
pub struct LocalChannel {
    /// The slots that get its publications.
    pub subscribers: Subscribers,
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
}

/// The result of [`Local::join`]. A connection keeps the channel's index until it leaves.
#[derive(Debug, PartialEq, Eq)]
pub enum Join {
    /// In: publications after this position reach the slot.
    Joined(u32, Position),
    /// The home was asked; [`Local::stand`] returns the connection when the answer comes.
    Waiting(u32),
    /// The home's lane is full.
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

    /// Hears a channel for ever; its home does [`Home::keep`].
    pub fn keep(&mut self, channel: &Channel, home: ShardId) {
        let link = Link::Held(Position::default());
        let state = LocalChannel { subscribers: Subscribers::default(), home, link, kept: true };
        self.channels.insert(channel, state);
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
        let state = LocalChannel { subscribers: Subscribers::default(), home: home_shard, link, kept: false };
        let at = self.channels.insert(channel, state);
        self.join_known(at, joining)
    }

    /// Removes a connection from a channel; the home is told when it was the last. Returns its joins that will
    /// not be answered any more.
    pub fn leave(&mut self, at: u32, slot: SlotId, home: &mut Home, post: &mut impl Post) -> Vec<Joining> {
        let Some(Entry { state, .. }) = self.channels.get_mut(at) else { return Vec::new() };
        state.subscribers.remove(slot.index());
        let withdrawn = match &mut state.link {
            Link::Asked(waiting) => waiting.extract_if(.., |joining| joining.slot == slot).collect(),
            Link::Held(_) => Vec::new(),
        };
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
        for joining in &joined {
            state.subscribers.insert(joining.slot.index());
        }
        if state.is_unused() {
            self.owed.push(at);
            return None;
        }
        Some(Stood { at, gap, joined })
    }

    /// A publication came from the home: the channel's index if this shard has subscribers that must get it.
    pub fn deliver(&mut self, channel: &Channel, offset: u64) -> Option<u32> {
        let at = self.channels.of(channel)?;
        match &mut self.at_mut(at).link {
            // Left over from an interest that was released since; the answer to the new one covers it.
            Link::Asked(_) => None,
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
        match &mut state.link {
            Link::Asked(waiting) => {
                waiting.push(joining);
                Join::Waiting(at)
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
    /// How far the channel is known to be; `None` while the home's answer is awaited.
    pub fn position(&self) -> Option<Position> {
        match self.link {
            Link::Asked(_) => None,
            Link::Held(position) => Some(position),
        }
    }

    fn is_unused(&self) -> bool {
        !self.kept && self.subscribers.is_empty() && matches!(self.link, Link::Held(_))
    }
}
