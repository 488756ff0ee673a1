//! One channel at its home: where it stands, who is interested and who is behind, what it keeps. Never knows the other
//! channels.

use highper_shards::ShardId;
use highper_shards::mesh::Lane;

use super::Post;
use super::history::{History, Since};
use super::presence::Presence;
use super::shards::ShardSet;
use crate::message::{Channel, Message, Numbered, Position, Publication};

/// What is kept of one channel.
pub(super) struct HomeChannel {
    pub(super) position: Position,
    pub(super) interested: ShardSet,
    /// Interested shards that missed something, or wait for their first standing. They get no delivery until a
    /// standing has told them.
    pub(super) behind: ShardSet,
    /// Of those, the ones whose interest was not answered yet.
    pub(super) asked: ShardSet,
    /// Of those behind, the first offset that was not delivered: what the history still has of it is.
    pub(super) missed: Vec<(ShardId, u64)>,
    pub(super) history: History,
    pub(super) presence: Presence,
    /// Heard for ever.
    pub(super) kept: bool,
    /// In the list of channels with a shard that is behind.
    pub(super) is_listed: bool,
}

impl HomeChannel {
    pub(super) fn new(position: Position) -> Self {
        Self {
            position,
            interested: ShardSet::default(),
            behind: ShardSet::default(),
            asked: ShardSet::default(),
            missed: Vec::new(),
            history: History::default(),
            presence: Presence::default(),
            kept: false,
            is_listed: false,
        }
    }

    /// Nobody listens and nothing is kept: the channel can be forgotten.
    pub(super) fn is_idle(&self) -> bool {
        !self.kept && self.interested.is_empty() && self.history.is_empty() && self.presence.is_empty()
    }

    /// Posts what a shard missed if the history has all of it, else where the channel stands; false if the lane is
    /// full.
    pub(super) fn tell(&mut self, channel: &Channel, shard: ShardId, post: &mut impl Post) -> bool {
        let is_answer = self.asked.contains(shard);
        let missed = self.missed.iter_mut().find(|(other, _)| *other == shard).filter(|_| !is_answer);
        if let Some((_, first)) = missed
            && let Since::Complete(page) = self.history.since(*first - 1, self.position.offset, usize::MAX)
        {
            for (offset, publication) in page {
                let (channel, publication) = (channel.clone(), publication.clone());
                let message = Message::Deliver { channel, offset, publication };
                if post.post(shard, Lane::Bulk, message).is_err() {
                    *first = offset;
                    return false;
                }
            }
            return true;
        }
        let standing = Message::Standing { channel: channel.clone(), position: self.position, is_answer };
        post.post(shard, Lane::Bulk, standing).is_ok()
    }

    /// Everything after a position; `None` if that is not known any more.
    pub(super) fn missed_since(&self, since: Position) -> Option<Vec<Numbered>> {
        if since.epoch != self.position.epoch || since.offset > self.position.offset {
            return None;
        }
        match self.history.since(since.offset, self.position.offset, usize::MAX) {
            Since::Complete(page) => Some(page.map(numbered).collect()),
            Since::Incomplete => None,
        }
    }
}

/// A publication of the history as answers have it.
pub(super) fn numbered((offset, publication): (u64, &Publication)) -> Numbered {
    Numbered { offset, publication: publication.clone() }
}
