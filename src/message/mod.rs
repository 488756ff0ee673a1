//! What crosses the mesh between shards, and what outside threads post to one. Small, owned, never a reference.

pub mod channel;
pub mod hook;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use highper_shards::{ShardId, SlotId};

use crate::auth::KeySet;
use crate::handler::Task;
use crate::limits::{Subject, Ticket};
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
    /// From the home shard to the publisher's: the publication has its place.
    Published {
        /// The place; `None` if it has none, because nobody listened and nothing is kept.
        position: Option<Position>,
        /// What the publisher gave.
        receipt: Box<Receipt>,
    },
    /// To the home shard: a question about a channel. Answered by [`Message::Answer`].
    Ask {
        /// About which channel.
        channel: Channel,
        /// What is asked.
        question: Question,
        /// Who wants to know.
        receipt: Box<Receipt>,
    },
    /// From the home shard, in the lane of its deliveries: what lies behind the answer comes after it.
    Answer {
        /// About which channel.
        channel: Channel,
        /// The answer.
        answer: Box<Answer>,
        /// Who wanted to know.
        receipt: Box<Receipt>,
    },
    /// To the home shard: a connection is a member of the channel now.
    Enter {
        /// Of which channel.
        channel: Channel,
        /// Which connection.
        slot: SlotId,
        /// Who it is.
        member: Box<Member>,
    },
    /// To the home shard: a connection is no member any more.
    Exit {
        /// Of which channel.
        channel: Channel,
        /// Which connection.
        slot: SlotId,
    },
    /// To the home shard of a user: where he connects from.
    Travelled {
        /// Who and where.
        trip: Box<Trip>,
    },
    /// To every shard: something to do with all connections of a user.
    Order {
        /// The user's channel.
        user: Channel,
        /// What to do.
        order: Arc<Order>,
    },
    /// To every other shard: what it has of all channels. Answered by [`Message::Surveyed`].
    Survey {
        /// What is wanted.
        survey: Survey,
        /// Who wants to know.
        receipt: Box<Receipt>,
    },
    /// What one shard has.
    Surveyed {
        /// Its part.
        found: Box<Found>,
        /// Who wanted to know.
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
    /// To the home shard of a subject: count one connection more. Answered by [`Message::Admitted`].
    Admit {
        /// Whose connection.
        subject: Subject,
        /// How many it may have.
        limit: u32,
        /// Which connection.
        slot: SlotId,
        /// Which of its questions.
        round: u32,
    },
    /// From the home shard: the connection is counted, or one too many.
    Admitted {
        /// Whose connection.
        subject: Subject,
        /// What the count is given back with; `None` if it is one too many.
        ticket: Option<Ticket>,
        /// Which connection.
        slot: SlotId,
        /// Which of its questions.
        round: u32,
    },
    /// To the home shard of a subject: a connection that was counted is gone.
    Vacate {
        /// Whose connection.
        subject: Subject,
        /// What its count was given with.
        ticket: Ticket,
    },
    /// To every shard, from the thread that watches: the level of overload has changed. The board says to what.
    Overload,
    /// Run this on the connection, if it is still there.
    Task {
        /// Which connection.
        slot: SlotId,
        /// What to run.
        task: Task,
    },
    /// Judge tokens by these keys from now on.
    Keys(Arc<KeySet>),
    /// What a backend answered to a question about this connection.
    Hooked(Box<hook::Hooked>),
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
    /// What few publications have.
    pub extras: Option<Arc<Extras>>,
}

impl Publication {
    /// A publication of data alone.
    pub fn new(from: Option<SlotId>, data: impl Into<Arc<[u8]>>) -> Self {
        Self { from, data: data.into(), extras: None }
    }

    /// Its tags, a JSON object.
    pub fn tags(&self) -> Option<&[u8]> {
        self.extras.as_ref()?.tags.as_deref()
    }

    /// Whether it gets a number and a place in the history.
    pub fn is_numbered(&self) -> bool {
        self.extras.as_ref().is_none_or(|extras| extras.kind == Kind::Data && !extras.skip_history)
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.extras.as_ref().map_or(Kind::Data, |extras| extras.kind)
    }
}

/// What few publications have.
#[derive(Debug, Default)]
pub struct Extras {
    /// What it is.
    pub kind: Kind,
    /// The name of the event that a stream of Server-Sent Events gives it.
    pub event: Option<Box<str>>,
    /// A JSON object.
    pub tags: Option<Box<[u8]>>,
    /// The same key again within some minutes is the same publication.
    pub idempotency_key: Option<Box<str>>,
    /// Whether the channel's history leaves it out; then it has no number either.
    pub skip_history: bool,
}

/// What a publication is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Data of a publisher.
    #[default]
    Data,
    /// A member joined; the data are the [`Member`]'s, as the native dialect writes them.
    Joined,
    /// A member left.
    Left,
}

/// Who wants to be told, so that an answer finds him.
#[derive(Debug)]
pub struct Receipt {
    /// The connection that asked.
    pub slot: SlotId,
    /// For what.
    pub purpose: Purpose,
}

/// What an answer is for.
#[derive(Debug)]
pub enum Purpose {
    /// A command of a dialect, by the `id` of the request as it was sent.
    Command(Option<Box<[u8]>>),
    /// A join that waits for what it missed, by its serial number.
    Join(u32),
    /// A part of a request to the server API.
    Part {
        /// Which request of the connection, counted from its first.
        job: u32,
        /// Which part of it.
        part: u16,
    },
}

/// What can be asked about a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Everything after this position, or nothing.
    Missed(Position),
    /// A page of the history.
    History {
        /// Where to begin; `None` is the end that `reverse` chooses.
        since: Option<Position>,
        /// How many at most; none tells the position alone.
        limit: u32,
        /// Newest first.
        reverse: bool,
    },
    /// Forget the history.
    Forget,
    /// Who is in it.
    Presence,
    /// How many are in it.
    PresenceStats,
}

/// What a home shard answers.
#[derive(Debug)]
pub enum Answer {
    /// To [`Question::Missed`].
    Missed {
        /// How far the channel is: what is delivered next has the next offset.
        position: Position,
        /// All that came since the asked position; `None` if that is not known any more.
        publications: Option<Vec<Numbered>>,
    },
    /// To [`Question::History`].
    History {
        /// How far the channel is.
        position: Position,
        /// The page.
        publications: Vec<Numbered>,
    },
    /// It is done.
    Done,
    /// To [`Question::Presence`].
    Presence(Vec<(SlotId, Member)>),
    /// To [`Question::PresenceStats`].
    PresenceStats {
        /// Connections.
        connections: u64,
        /// Users; whoever has no name counts by connection.
        users: u64,
    },
    /// The channel keeps nothing of the kind.
    NotAvailable,
}

/// A publication and its place.
#[derive(Clone, Debug)]
pub struct Numbered {
    /// Its number in the channel.
    pub offset: u64,
    /// What was published.
    pub publication: Publication,
}

/// Who is in a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// The user; empty if unknown.
    pub user: Box<str>,
    /// What the embedder told about the connection: JSON text.
    pub info: Option<Arc<[u8]>>,
}

/// A user connects from somewhere.
#[derive(Debug)]
pub struct Trip {
    /// Who.
    pub user: Box<str>,
    /// From which address.
    pub address: IpAddr,
    /// Where that is: degrees north and east.
    pub place: (f32, f32),
    /// Seconds since the Unix epoch.
    pub at_unix: u64,
}

/// What to do with all connections of a user.
#[derive(Debug)]
pub struct Order {
    /// Only this connection of the user, by its name.
    pub client: Option<Box<str>>,
    /// Not these connections.
    pub except: Vec<Box<str>>,
    /// What to do with them.
    pub action: Action,
}

/// What to do with a connection.
#[derive(Debug)]
pub enum Action {
    /// Join this channel.
    Subscribe(Channel),
    /// Leave this channel.
    Unsubscribe(Channel),
    /// Close if its token was made before this second since 1970, and refuse such tokens from now on.
    Revoke(u64),
    /// Close with this code and reason.
    Disconnect(u16, Box<str>),
}

/// What can be asked of every shard.
#[derive(Clone, Debug)]
pub enum Survey {
    /// Subscribers of each channel whose name matches.
    Channels(Option<Arc<str>>),
    /// Totals.
    Totals,
}

/// What one shard has.
#[derive(Debug)]
pub enum Found {
    /// Channels by name, each with its subscribers on the shard.
    Channels(Vec<(Channel, u64)>),
    /// Totals.
    Totals(Totals),
}

/// Numbers of one shard, to be added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Open connections of every transport.
    pub clients: u64,
    /// Connections whose user is known.
    pub users: u64,
    /// Channels whose home the shard is.
    pub channels: u64,
    /// Subscriptions.
    pub subscriptions: u64,
}

/// A place in a channel: offsets compare within one epoch only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Changes whenever the channel's numbering starts again; 32 bits are used.
    pub epoch: u64,
    /// Publications numbered so far.
    pub offset: u64,
}

impl Position {
    /// A position that no channel has.
    pub const UNKNOWN: Self = Self { epoch: u64::MAX, offset: 0 };
}
