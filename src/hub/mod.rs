//! Channels: who is subscribed on this shard ([`local`]), and who numbers what is published ([`home`]). Every
//! channel has one home shard; the two sides talk by [`Message`] over the mesh, or by a call when they meet.
//! Never touches a connection: the worker does what the hub returns.

mod epochs;
pub mod history;
pub mod home;
mod home_channel;
pub mod local;
pub mod occupancy;
pub mod presence;
pub mod repeats;
pub mod shards;
pub mod subscribers;
pub mod table;

use highper_shards::ShardId;
use highper_shards::mesh::{Full, Lane};

use crate::message::Message;

/// Where the hub posts: the mesh, or a list in a test.
pub trait Post {
    /// The shard that posts.
    fn shard(&self) -> ShardId;

    /// Posts to another shard; a full lane gives the message back.
    fn post(&mut self, to: ShardId, lane: Lane, message: Message) -> Result<(), Full<Message>>;

    /// Free places in a lane.
    fn room(&self, to: ShardId, lane: Lane) -> usize;
}

impl<C> Post for highper_shards::Io<C, Message> {
    fn shard(&self) -> ShardId {
        Self::shard(self)
    }

    fn post(&mut self, to: ShardId, lane: Lane, message: Message) -> Result<(), Full<Message>> {
        Self::post(self, to, lane, message)
    }

    fn room(&self, to: ShardId, lane: Lane) -> usize {
        Self::room(self, to, lane)
    }
}

#[cfg(test)]
mod recovery_tests;
#[cfg(test)]
mod tests;
