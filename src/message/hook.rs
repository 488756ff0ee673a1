//! What a backend answered to a question of a hook, as it comes back to the shard that asked. Never a request, never
//! JSON.

use std::sync::Arc;

use highper_shards::SlotId;

use super::Position;

/// An answer on its way back.
#[derive(Debug)]
pub struct Hooked {
    /// Whose connection was asked about.
    pub slot: SlotId,
    /// What it waits for.
    pub asked: Asked,
    /// What the backend says.
    pub answer: HookAnswer,
}

/// What a connection waits for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// To come in.
    Connect,
    /// To come in as a stream of this channel, among others.
    Stream(Box<str>),
    /// To join by a command.
    Join {
        /// The channel.
        channel: Box<str>,
        /// What it wants to have besides.
        since: Option<Position>,
        /// The mark of the command.
        id: Option<Box<[u8]>>,
    },
}

/// The answer to one question.
#[derive(Debug, PartialEq, Eq)]
pub enum HookAnswer {
    /// Whether a connection may open.
    Connect(ConnectVerdict),
    /// Whether a connection may join a channel.
    Subscribe(SubscribeVerdict),
}

/// Whether a connection may open.
#[derive(Debug, PartialEq, Eq)]
pub enum ConnectVerdict {
    /// It may, as who the backend says it is.
    Accept(Box<Admission>),
    /// It may not: the backend's `error`, or its `disconnect`.
    Refuse {
        /// The backend's number for it.
        code: u32,
        /// In plain words, for the client.
        message: Box<str>,
    },
    /// The backend gave no answer that means anything: try again.
    Unavailable,
}

/// What a backend says of a connection that may open.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// The user; empty if the backend knows none.
    pub user: Box<str>,
    /// When the connection must be renewed, in seconds since the Unix epoch; it may lie in the past.
    pub expires_at: Option<u64>,
    /// What other members of its channels see of it: JSON text.
    pub info: Option<Arc<[u8]>>,
    /// What the client is told first: JSON text.
    pub data: Option<Arc<[u8]>>,
    /// Channels it joins at once; all of them pass the rule for names.
    pub channels: Vec<Box<str>>,
    /// What it may do: the JSON text of `permissions`, as in a token.
    pub permissions: Option<Box<[u8]>>,
}

/// Whether a connection may join a channel.
#[derive(Debug, PartialEq, Eq)]
pub enum SubscribeVerdict {
    /// It may.
    Accept {
        /// What other members of this channel see of it: JSON text.
        info: Option<Arc<[u8]>>,
        /// When the subscription must be renewed, in seconds since the Unix epoch; it may lie in the past.
        expires_at: Option<u64>,
    },
    /// It may not.
    Refuse {
        /// The backend's number for it.
        code: u32,
        /// In plain words, for the client.
        message: Box<str>,
    },
    /// The connection must end.
    Disconnect {
        /// The backend's close code; not all of them may stand in a close frame.
        code: u32,
        /// In plain words, for the client.
        reason: Box<str>,
    },
    /// The backend gave no answer that means anything: try again.
    Unavailable,
}
