//! Who is in a channel: its connections, and its users, who stay present for a short hold after their last
//! connection went. Tells when a member joined and when one left. Never tells it to anybody, never reads a clock.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use highper_shards::{Moment, ShardId, SlotId};

use crate::message::Member;

/// The members of one channel. Empty it owns no memory.
///
/// All connections of a user are one member. Each anonymous connection is a member of its own, and leaves at once:
/// nobody could tell that it came back.
#[derive(Debug, Default)]
pub struct Presence(Option<Box<Inside>>);

/// What [`Presence::exit`] did.
#[derive(Debug, PartialEq, Eq)]
pub enum Exit {
    /// The connection was not in the channel.
    Unknown,
    /// The user has other connections in the channel.
    Stays,
    /// It was the user's last connection: he leaves when the hold is over, unless he comes back.
    Held,
    /// An anonymous member left.
    Left(Member),
}

#[derive(Debug, Default)]
struct Inside {
    /// Slots are given by the server, so they need no secret key; without one the same run has the same order.
    connections: HashMap<SlotId, Member, BuildHasherDefault<DefaultHasher>>,
    /// Named users only. Keyed in secret and never iterated.
    users: HashMap<Box<str>, User>,
    held: BTreeMap<Departure, Held>,
    /// Connections without a user.
    anonymous: usize,
    departures: u64,
}

#[derive(Debug)]
enum User {
    Here { connections: u32 },
    Held(Departure),
}

/// When a hold is over; the number tells departures of the same moment apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Departure {
    at: Moment,
    number: u64,
}

/// The last connection of a user who may come back.
#[derive(Debug)]
struct Held {
    slot: SlotId,
    member: Member,
}

/// How long a user who lost the last connection stays present: as long as a page takes to load again.
pub const HOLD: Duration = Duration::from_secs(3);

/// Maps with room for this many are never shrunk.
const ROOM_MIN: usize = 32;

const _: () = assert!(size_of::<Presence>() <= 8, "every channel has one, most of them empty");

impl Presence {
    /// Connections in the channel.
    pub fn connections(&self) -> usize {
        self.0.as_ref().map_or(0, |inside| inside.connections.len())
    }

    /// Members who joined and have not left: users, held ones included, and anonymous connections.
    pub fn users(&self) -> usize {
        self.0.as_ref().map_or(0, |inside| inside.users.len() + inside.anonymous)
    }

    /// Whether nobody is here and nobody is held.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Every connection, then the last connection of every user who is held: who joins the two events to this list
    /// misses nobody, not even one who comes back without an event. In no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (SlotId, &Member)> {
        self.0.iter().flat_map(|inside| {
            let here = inside.connections.iter().map(|(slot, member)| (*slot, member));
            here.chain(inside.held.values().map(|held| (held.slot, &held.member)))
        })
    }

    /// The user of a connection that is in the channel.
    pub fn user(&self, slot: SlotId) -> Option<&str> {
        Some(&self.0.as_ref()?.connections.get(&slot)?.user)
    }

    /// A connection is in the channel now. Returns the member if one joined by it: not with another connection of
    /// the same user here, and not within the hold of a departure, which is cancelled.
    ///
    /// A connection that is here already only renews its info; it must not change its user.
    pub fn enter(&mut self, slot: SlotId, member: Member) -> Option<&Member> {
        let inside = self.0.get_or_insert_default();
        let joined = match inside.connections.get(&slot) {
            Some(before) => {
                assert!(before.user == member.user, "a connection keeps its user while it is in a channel");
                false
            }
            None => inside.count_in(&member.user),
        };
        let entry = inside.connections.entry(slot).insert_entry(member);
        joined.then(|| &*entry.into_mut())
    }

    /// A connection is not in the channel any more; a user whose last one it was is held for `hold`.
    pub fn exit(&mut self, slot: SlotId, hold: Duration, now: Moment) -> Exit {
        let Some(inside) = self.0.as_mut() else { return Exit::Unknown };
        let exit = inside.exit(slot, hold, now);
        self.settle();
        exit
    }

    /// The next member whose hold is over, with the last connection: he has left. Call it until it gives `None`.
    pub fn due(&mut self, now: Moment) -> Option<(SlotId, Member)> {
        let inside = self.0.as_mut()?;
        let first = inside.held.first_entry().filter(|first| first.key().at <= now)?;
        let Held { slot, member } = first.remove();
        inside.users.remove(&member.user);
        self.settle();
        Some((slot, member))
    }

    /// When the next hold is over.
    pub fn next_due(&self) -> Option<Moment> {
        self.0.as_ref()?.held.first_key_value().map(|(departure, _)| departure.at)
    }

    /// A shard died and all its connections with it: they exit as one by one. Returns the anonymous members, who
    /// left at once. Takes time for every connection of the channel.
    pub fn remove_shard(&mut self, shard: ShardId, hold: Duration, now: Moment) -> Vec<Member> {
        let Some(inside) = self.0.as_mut() else { return Vec::new() };
        let dead: Vec<SlotId> =
            inside.connections.keys().copied().filter(|slot| slot.shard == shard).collect();
        let left = dead.into_iter().filter_map(|slot| match inside.exit(slot, hold, now) {
            Exit::Left(member) => Some(member),
            Exit::Unknown | Exit::Stays | Exit::Held => None,
        });
        let left = left.collect();
        self.settle();
        left
    }

    /// Gives back what nobody needs.
    fn settle(&mut self) {
        let Some(inside) = self.0.as_mut() else { return };
        if inside.connections.is_empty() && inside.held.is_empty() {
            self.0 = None;
            return;
        }
        // A quarter full: halved, so that the next shrink is as many exits away as this one cost.
        if room_is_idle(inside.connections.len(), inside.connections.capacity()) {
            inside.connections.shrink_to(inside.connections.len() * 2);
        }
        if room_is_idle(inside.users.len(), inside.users.capacity()) {
            inside.users.shrink_to(inside.users.len() * 2);
        }
    }
}

impl Inside {
    /// One more connection of a user; whether a member joins by it.
    fn count_in(&mut self, name: &str) -> bool {
        if name.is_empty() {
            self.anonymous += 1;
            return true;
        }
        let Some(user) = self.users.get_mut(name) else {
            self.users.insert(name.into(), User::Here { connections: 1 });
            return true;
        };
        match user {
            User::Here { connections } => *connections += 1,
            User::Held(departure) => {
                self.held.remove(departure);
                *user = User::Here { connections: 1 };
            }
        }
        false
    }

    fn exit(&mut self, slot: SlotId, hold: Duration, now: Moment) -> Exit {
        let Some(member) = self.connections.remove(&slot) else { return Exit::Unknown };
        if member.user.is_empty() {
            self.anonymous -= 1;
            return Exit::Left(member);
        }
        let user = self.users.get_mut(&member.user).expect("a connection's user is counted");
        match user {
            User::Here { connections: 1 } => {
                self.departures += 1;
                let departure = Departure { at: now + hold, number: self.departures };
                *user = User::Held(departure);
                self.held.insert(departure, Held { slot, member });
                Exit::Held
            }
            User::Here { connections } => {
                *connections -= 1;
                Exit::Stays
            }
            User::Held(_) => unreachable!("a held user has no connection"),
        }
    }
}

fn room_is_idle(len: usize, capacity: usize) -> bool {
    capacity > ROOM_MIN && len < capacity / 4
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
