//! A request that wants to become a WebSocket or a stream, until it is one: what was read of it, and what came behind
//! it meanwhile. Never decides who may come in; the worker does.

use std::sync::Arc;

use highper_wire::dialect::Dialect;
use highper_wire::sse::Cursor;
use highper_wire::ws::extension::Agreement;
use highper_wire::ws::handshake::Key;

use super::Pass;
use crate::api::cors::Cors;
use crate::auth::Identity;
use crate::handler::Transport;
use crate::hooks::Header;
use crate::message::Channel;

/// Who stands at the door.
#[derive(Debug)]
pub struct Entry {
    /// Index of the endpoint that was asked for.
    pub endpoint: u8,
    /// What opens if it may come in.
    pub door: Door,
    /// Who it is, by the token that it showed or the word of a hook.
    pub known: Known,
    /// What a backend is shown of the request, until it is.
    pub headers: Vec<Header>,
    /// What the backend wants the client to be told first: JSON text.
    pub data: Option<Arc<[u8]>>,
    /// What the backend says of the channels of a stream.
    pub passes: Vec<Pass>,
    /// Answers of the backend that are to come.
    pub asked: u16,
    /// Bytes that came behind the request while it waits, at most [`EARLY_BYTES_MAX`].
    pub early: Vec<u8>,
}

/// Who somebody is, and where that wants the connection.
#[derive(Debug, Default)]
pub struct Known {
    /// By a token or a hook; nobody without either.
    pub identity: Option<Box<Identity>>,
    /// Channels that the connection is put into.
    pub channels: Box<[Box<str>]>,
}

/// What a request asks for.
#[derive(Debug)]
pub enum Door {
    /// A WebSocket.
    WebSocket(Handshake),
    /// A stream of Server-Sent Events.
    Stream(Wanted),
}

/// What the answer to an opening handshake needs.
#[derive(Debug)]
pub struct Handshake {
    /// The client's nonce.
    pub key: Key,
    /// The sub-protocol that was chosen.
    pub protocol: Option<Box<str>>,
    /// The compression that was agreed on.
    pub agreement: Option<Agreement>,
}

/// What a request for a stream asks for.
#[derive(Debug)]
pub struct Wanted {
    /// The channels, each once.
    pub channels: Vec<Channel>,
    /// Whether the client takes gzip.
    pub is_gzip: bool,
    /// Where the client was when it had a stream before.
    pub cursor: Option<Cursor>,
    /// How publications are written.
    pub dialect: Dialect,
    /// Whether only the head is wanted.
    pub head_only: bool,
    /// What a browser on another site may see.
    pub cors: Cors,
}

/// Honest clients send nothing before they are answered.
pub const EARLY_BYTES_MAX: usize = 16 * 1024;

impl Entry {
    /// Somebody who has just asked.
    pub fn new(endpoint: u8, door: Door, known: Known, headers: Vec<Header>) -> Self {
        let (data, passes, early) = (None, Vec::new(), Vec::new());
        Self { endpoint, door, known, headers, data, passes, asked: 0, early }
    }

    /// How it wants to be served.
    pub fn transport(&self) -> Transport {
        match self.door {
            Door::WebSocket(_) => Transport::WebSocket,
            Door::Stream(_) => Transport::Events,
        }
    }

    /// Whether a WebSocket is wanted.
    pub fn is_websocket(&self) -> bool {
        matches!(self.door, Door::WebSocket(_))
    }
}
