//! The worker as the simulator runs it, and bugs that can be planted between its shards: a simulator that does not
//! find them proves nothing. Without a bug everything is passed on as it is.

use std::net::SocketAddr;
use std::sync::Arc;

use highper_realtime::conn::Conn;
use highper_realtime::message::{Answer, Message, Numbered};
use highper_realtime::worker::{Shared, Worker};
use highper_shards::logic::End;
use highper_shards::{Io, ListenerId, Logic, Origin, ShardId, SlotId};

type ShardIo = Io<Conn, Message>;

/// Something between two shards that goes wrong once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A publication never reaches the subscribers of a shard.
    LostDelivery,
    /// A publication arrives with what nobody published.
    ForeignPayload,
    /// A publication is numbered twice.
    PublishedTwice,
    /// A publication is neither numbered nor refused.
    LostPublication,
    /// A publisher never learns that its publication was accepted.
    LostAnswer,
    /// Subscribers wait for the home's answer for ever, or are never told of a gap.
    LostStanding,
    /// Subscribers are told to stand farther than they do.
    FalseStanding,
    /// The home never learns that a shard has no subscriber any more.
    LostRelease,
    /// Who comes back waits for what it missed for ever.
    LostQuestion,
    /// Of what was missed, the first publication is left out.
    HoleInAnswer,
    /// Of what was missed, the last publication is left out.
    ShortAnswer,
    /// Who missed something is told that it missed nothing.
    EmptyAnswer,
    /// The home never learns that a member is gone.
    LostExit,
    /// A subscriber loses publications and is not told so.
    UntoldDrop,
    /// Of publications of which only the latest counts, the latest never comes.
    LostLatest,
}

impl Bug {
    pub const ALL: [Self; 15] = [
        Self::LostDelivery,
        Self::ForeignPayload,
        Self::PublishedTwice,
        Self::LostPublication,
        Self::LostAnswer,
        Self::LostStanding,
        Self::FalseStanding,
        Self::LostRelease,
        Self::LostQuestion,
        Self::HoleInAnswer,
        Self::ShortAnswer,
        Self::EmptyAnswer,
        Self::LostExit,
        Self::UntoldDrop,
        Self::LostLatest,
    ];

    fn hits(self, message: &Message) -> bool {
        match self {
            // What is not numbered may be lost.
            Self::LostDelivery | Self::ForeignPayload => {
                matches!(message, Message::Deliver { offset, .. } if *offset > 0)
            }
            Self::PublishedTwice | Self::LostPublication => {
                matches!(message, Message::Publish { receipt: Some(_), .. })
            }
            Self::LostAnswer => matches!(message, Message::Published { .. }),
            Self::LostStanding | Self::FalseStanding => matches!(message, Message::Standing { .. }),
            Self::LostRelease => matches!(message, Message::Release { .. }),
            Self::LostQuestion => matches!(message, Message::Ask { .. }),
            Self::LostExit => matches!(message, Message::Exit { .. }),
            // Not between shards, but in an outbox.
            Self::UntoldDrop | Self::LostLatest => false,
            Self::HoleInAnswer | Self::ShortAnswer | Self::EmptyAnswer => {
                matches!(message, Message::Answer { answer, .. } if has_missed(answer))
            }
        }
    }
}

/// A worker, and what will go wrong in it.
pub struct Planted {
    pub worker: Worker,
    bug: Option<Bug>,
    /// Messages that the bug could have hit and did not.
    spared: u32,
}

/// So many messages are spared: then subscribers are there, and every run is still long enough.
const SPARED: u32 = 3;

impl Planted {
    pub fn new(shared: Arc<Shared>, shard: ShardId, bug: Option<Bug>) -> Self {
        Self { worker: Worker::new(shared, shard), bug: bug.filter(|_| shard == ShardId(0)), spared: 0 }
    }

    /// The message as the worker gets it; `None` if it is lost.
    fn spoil(&mut self, io: &mut ShardIo, origin: Origin, mut message: Message) -> Option<Message> {
        let Some(bug) = self.bug.filter(|bug| bug.hits(&message)) else { return Some(message) };
        self.spared += 1;
        if self.spared <= SPARED {
            return Some(message);
        }
        self.bug = None;
        match bug {
            Bug::LostDelivery
            | Bug::LostPublication
            | Bug::LostAnswer
            | Bug::LostStanding
            | Bug::LostRelease
            | Bug::LostQuestion
            | Bug::LostExit => return None,
            Bug::HoleInAnswer => change_missed(&mut message, |missed| _ = missed.remove(0)),
            Bug::ShortAnswer => change_missed(&mut message, |missed| _ = missed.pop()),
            Bug::EmptyAnswer => change_missed(&mut message, Vec::clear),
            Bug::ForeignPayload => {
                if let Message::Deliver { publication, .. } = &mut message {
                    publication.data = (*b"[1,2,3,4]").into();
                }
            }
            Bug::PublishedTwice => {
                if let Message::Publish { channel, publication, .. } = &message {
                    let (channel, publication) = (channel.clone(), publication.clone());
                    let again = Message::Publish { channel, publication, receipt: None };
                    self.worker.on_message(io, origin, again);
                }
            }
            Bug::FalseStanding => {
                if let Message::Standing { position, .. } = &mut message {
                    position.offset += 1;
                }
            }
            Bug::UntoldDrop | Bug::LostLatest => unreachable!("it hits no message"),
        }
        Some(message)
    }

    /// What waits in outboxes as it goes out.
    fn spoil_outboxes(&mut self, io: &mut ShardIo) {
        let Some(bug) = self.bug.filter(|bug| matches!(bug, Bug::UntoldDrop | Bug::LostLatest)) else {
            return;
        };
        for slot in io.ids() {
            let Some(mut open) = io.open(slot) else { continue };
            if bug == Bug::LostLatest {
                (0..CHANNELS).for_each(|topic| _ = open.out.drop_latest(topic));
            } else if open.out.drop_oldest(0, |_, _| {}).is_some() {
                self.bug = None;
                return;
            }
        }
    }
}

/// A shard of these runs has no more.
const CHANNELS: u32 = 64;

/// Whether somebody missed something and gets it.
fn has_missed(answer: &Answer) -> bool {
    matches!(answer, Answer::Missed { publications: Some(missed), .. } if !missed.is_empty())
}

fn change_missed(message: &mut Message, change: impl FnOnce(&mut Vec<Numbered>)) {
    if let Message::Answer { answer, .. } = message
        && let Answer::Missed { publications: Some(missed), .. } = &mut **answer
    {
        change(missed);
    }
}

impl Logic for Planted {
    type Conn = Conn;
    type Message = Message;

    fn on_accept(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        listener: ListenerId,
        peer: Option<SocketAddr>,
    ) -> Option<Conn> {
        self.worker.on_accept(io, slot, listener, peer)
    }

    fn on_open(&mut self, io: &mut ShardIo, slot: SlotId) {
        self.worker.on_open(io, slot);
    }

    fn on_bytes(&mut self, io: &mut ShardIo, slot: SlotId, bytes: &mut [u8]) {
        self.worker.on_bytes(io, slot, bytes);
    }

    fn on_end(&mut self, io: &mut ShardIo, slot: SlotId, end: End) {
        self.worker.on_end(io, slot, end);
    }

    fn on_deadline(&mut self, io: &mut ShardIo, slot: SlotId) {
        self.worker.on_deadline(io, slot);
    }

    fn on_message(&mut self, io: &mut ShardIo, origin: Origin, message: Message) {
        if let Some(message) = self.spoil(io, origin, message) {
            self.worker.on_message(io, origin, message);
        }
    }

    fn on_panic(&mut self, io: &mut ShardIo, slot: SlotId) {
        self.worker.on_panic(io, slot);
    }

    fn on_turn(&mut self, io: &mut ShardIo) {
        self.worker.on_turn(io);
        self.spoil_outboxes(io);
    }
}
