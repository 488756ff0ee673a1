//! What crosses the mesh between shards, and what outside threads post to one. Small, owned, never a reference.

pub mod channel;

use std::sync::Arc;
use std::time::Duration;

use highper_shards::{ShardId, SlotId};

use crate::handler::Task;
pub use channel::{Channel, ChannelKind, Names};

/// A message to a shard.
#[derive(Debug)]
pub enum Message {
    /// To the home shard: number this publication and send it to every interested shard.
    Publish {
        /// Where to.
        channel: Channel,
        /// What.
        publication: Publication,
        /// Who wants to know that it was accepted.
        receipt: Option<Box<Receipt>>,
    },
    /// From the home shard to the publisher's: the publication has its number.
    Published {
        /// The number; `None` if nobody listened.
        offset: Option<u64>,
        /// What the publisher gave.
        receipt: Box<Receipt>,
    },
    /// To the home shard: this shard has a subscriber. Answered by [`Message::Standing`].
    Interest {
        /// In which channel.
        channel: Channel,
        /// Which shard.
        shard: ShardId,
    },
    /// To the home shard: this shard has no subscriber any more.
    Release {
        /// Of which channel.
        channel: Channel,
        /// Which shard.
        shard: ShardId,
    },
    /// From the home shard: how far the channel is. What is delivered after it has higher offsets; what lies
    /// between the last delivery and it was lost on the way and subscribers must be told.
    Standing {
        /// Which channel.
        channel: Channel,
        /// How far.
        position: Position,
        /// Whether this answers the shard's interest; else it tells that deliveries were missed.
        is_answer: bool,
    },
    /// From the home shard: a publication for the subscribers of this shard.
    Deliver {
        /// Of which channel.
        channel: Channel,
        /// Its number.
        offset: u64,
        /// What.
        publication: Publication,
    },
    /// Run this on the connection, if it is still there.
    Task {
        /// Which connection.
        slot: SlotId,
        /// What to run.
        task: Task,
    },
    /// Stop accepting, say goodbye to every connection, end when all are gone or after this long.
    Drain {
        /// How long.
        grace: Duration,
    },
    /// Answer with what this shard counts now.
    Report {
        /// Where the answer goes.
        to: crossbeam_channel::Sender<crate::observe::counters::Snapshot>,
    },
}

const _: () = assert!(size_of::<Message>() <= 80, "messages are copied into and out of the mesh");

/// A payload on its way. The payload is shared and never written again.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The connection that published it; `None` if it came from outside the shards.
    pub from: Option<SlotId>,
    /// JSON text, byte for byte as the publisher sent it.
    pub data: Arc<[u8]>,
}

/// Who published and under which request, so that the home's answer finds him.
#[derive(Debug)]
pub struct Receipt {
    /// The publisher.
    pub slot: SlotId,
    /// The `id` of his request, as he sent it.
    pub id: Box<[u8]>,
}

/// A place in a channel: offsets compare within one epoch only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Changes whenever the channel's numbering starts again.
    pub epoch: u64,
    /// Publications numbered so far.
    pub offset: u64,
}
