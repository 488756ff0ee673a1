//! The one way out: every cause of an end becomes a close code here, and is followed by the same steps. Never
//! decides that a connection ends.

use std::borrow::Cow;

use highper_shards::logic::End;
use highper_shards::{Close, SlotId};
use highper_wire::ws::{self, CloseCode, FrameError};

use super::{ShardIo, Worker};
use crate::conn::{EventStream, Phase, WebSocket};

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum Cause {
    /// The client sent a close frame; it is answered with the same code and reason.
    Peer(Option<CloseCode>, String),
    /// The client broke the protocol.
    Frame(FrameError),
    /// The client was odd too often.
    Glitches,
    /// The client reads too slowly.
    Slow,
    /// The client sent too much and went on when it was told so.
    Limited,
    /// The process has no room, and the client reads slowest.
    Overload,
    /// The client was silent for too long.
    Silent,
    /// The embedder or the dialect closes it.
    Asked(CloseCode, String),
    /// A callback panicked.
    Panic,
    /// The server stops.
    Restart,
    /// The network ended it.
    Network(End),
    /// No whole request in time.
    HeadTimeout,
    /// An idle keep-alive connection.
    KeepAliveOver,
}

/// Beyond the codes of RFC 6455: the client reads too slowly; it may reconnect.
const SLOW: CloseCode = CloseCode::new(3008);

impl Cause {
    /// The close frame to send, if one can be sent.
    pub(super) fn frame(&self) -> Option<(Option<CloseCode>, Cow<'_, str>)> {
        let (code, reason) = match self {
            Self::Peer(code, reason) => return Some((*code, reason.as_str().into())),
            Self::Frame(error) => return Some((Some(error.close_code()), error.to_string().into())),
            Self::Asked(code, reason) => (*code, reason.as_str()),
            Self::Glitches => (CloseCode::POLICY, "too much odd behaviour"),
            Self::Slow => (SLOW, "slow consumer"),
            Self::Limited => (CloseCode::POLICY, "too many messages"),
            Self::Overload => (CloseCode::TRY_LATER, "server is overloaded"),
            Self::Silent => (CloseCode::GOING_AWAY, "no answer to ping"),
            Self::Panic => (CloseCode::INTERNAL_ERROR, ""),
            Self::Restart => (CloseCode::RESTART, "server restarts"),
            Self::Network(_) | Self::HeadTimeout | Self::KeepAliveOver => return None,
        };
        Some((Some(code), reason.into()))
    }
}

impl Worker {
    /// Ends a connection: out of its channels, counted, its handler told, the close frame written, the slot
    /// given up. Ending it again does nothing.
    pub(super) fn end(&mut self, io: &mut ShardIo, slot: SlotId, cause: Cause) {
        let Some(conn) = io.conn(slot) else { return };
        let phase = std::mem::replace(&mut conn.phase, Phase::Closing);
        let is_stream = matches!(phase, Phase::Stream(_));
        let channels = std::mem::take(&mut conn.channels);
        tracing::debug!(conn = %slot, address = ?conn.address, ?cause, "connection ends");
        match phase {
            Phase::Closing => return,
            Phase::Proxy(_) => {}
            Phase::Http(_) => self.end_http(io, slot, &cause),
            Phase::Open(WebSocket { is_unknown: true, .. }) => {
                self.open -= 1;
                self.count(&cause);
                self.say_goodbye(io, slot, &cause);
            }
            Phase::Open(WebSocket { endpoint, .. }) | Phase::Stream(EventStream { endpoint, .. }) => {
                self.open -= 1;
                self.tell_disconnect(io, slot, &cause);
                for at in channels.iter() {
                    let channel = self.local.get(at).map(|entry| entry.channel.clone());
                    self.local.leave(at, slot, &mut self.home, io);
                    if let Some(channel) = channel {
                        self.exit(io, slot, &channel);
                    }
                }
                self.count(&cause);
                let code = cause.frame().and_then(|(code, _)| code);
                self.closed(io, slot, endpoint, code);
                if !is_stream {
                    self.say_goodbye(io, slot, &cause);
                }
            }
        }
        self.give_back(io, slot);
        io.disarm(slot);
        io.close(slot, Close::AfterFlush);
    }

    fn say_goodbye(&mut self, io: &mut ShardIo, slot: SlotId, cause: &Cause) {
        let Some(mut open) = io.open(slot) else { return };
        if matches!(cause, Cause::Slow | Cause::Overload) {
            open.out.drop_waiting();
        }
        if let Some((code, reason)) = cause.frame() {
            open.out.write_last(|out| ws::encoder::close(out, code, &reason));
        }
    }

    fn count(&mut self, cause: &Cause) {
        match cause {
            Cause::Frame(_) | Cause::Glitches => self.counters.protocol_errors += 1,
            Cause::Limited => self.counters.limited_closed += 1,
            Cause::Slow | Cause::Network(End::Stalled) => self.counters.slow += 1,
            Cause::Peer(..)
            | Cause::Overload
            | Cause::Silent
            | Cause::Asked(..)
            | Cause::Panic
            | Cause::Restart
            | Cause::Network(End::Eof | End::Failed(_))
            | Cause::HeadTimeout
            | Cause::KeepAliveOver => {}
        }
    }
}
