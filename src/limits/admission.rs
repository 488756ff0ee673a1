//! The home side of limits that must be exact over all shards: how many connections an address or a user has now.
//! One shard is home of each subject and keeps its count in a bounded table. Never touches a connection.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashTable;

/// Whose connections are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Those that come from a network.
    Network(Network),
    /// Those of a user, by the whole name: a hash of it could be another's.
    User(Arc<str>),
}

/// What one customer of an access network holds: a whole IPv4 address, the first 64 bits of an IPv6 address (RFC 6177).
/// An IPv4 address written as IPv6 (RFC 4291 §2.5.5.2) is the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// An IPv4 address.
    V4(u32),
    /// The first half of an IPv6 address.
    V6(u64),
}

/// What kind of subject it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A [`Network`].
    Network,
    /// A user.
    User,
}

/// One counted connection, to be given back to the table once. Worth nothing after the table has forgotten its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(u32);

/// The counts of the subjects whose home a shard is. A subject is in it while it has a connection.
///
/// A full table forgets the subject that was seen least lately: whoever fills it owns as many networks as it has places,
/// and gains nothing by a second limit of connections, while a table that turned strangers away would let him lock
/// everybody out. Connections of a forgotten subject are not counted any more, and their tickets change nothing.
#[derive(Clone)]
pub struct Table {
    index: HashTable<u32>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Seen most lately.
    first: u32,
    /// Seen least lately.
    last: u32,
    places: usize,
    serial: u32,
    forgotten: u64,
}

#[derive(Clone)]
struct Entry {
    subject: Subject,
    hash: u64,
    ticket: Ticket,
    count: u32,
    newer: u32,
    older: u32,
}

const NONE: u32 = u32::MAX;

const _: () = assert!(size_of::<Entry>() <= 48, "a table has 65,536 of them");

impl Subject {
    /// What kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Network(_) => Kind::Network,
            Self::User(_) => Kind::User,
        }
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

impl Table {
    /// Bytes that a place takes at most, with its part of the index and of the list of free places; the names of users
    /// come on top.
    pub const PLACE_BYTES: usize = size_of::<Entry>() + 16;

    /// A table of this many places, at least one. Its memory grows with what is in it.
    pub fn new(places: usize) -> Self {
        assert!(places > 0 && places < NONE as usize, "a table has places, and each has a number");
        Self {
            index: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            first: NONE,
            last: NONE,
            places,
            serial: 0,
            forgotten: 0,
        }
    }

    /// Counts one connection more, unless the subject has `limit` of them. `hash` is the subject's, keyed so that
    /// nobody can choose subjects that collide.
    pub fn admit(&mut self, hash: u64, subject: &Subject, limit: u32) -> Option<Ticket> {
        if let Some(at) = self.find(hash, subject) {
            self.unlink(at);
            self.link_first(at);
            let entry = &mut self.entries[at as usize];
            if entry.count >= limit {
                return None;
            }
            entry.count += 1;
            return Some(entry.ticket);
        }
        if limit == 0 {
            return None;
        }
        if self.len() == self.places {
            self.remove(self.last);
            self.forgotten += 1;
        }
        Some(self.insert(hash, subject))
    }

    /// One connection less. A ticket of a subject that was forgotten meanwhile does nothing.
    pub fn release(&mut self, hash: u64, subject: &Subject, ticket: Ticket) {
        let Some(at) = self.find(hash, subject) else { return };
        let entry = &mut self.entries[at as usize];
        if entry.ticket != ticket {
            return;
        }
        entry.count -= 1;
        if entry.count == 0 {
            self.remove(at);
        }
    }

    /// Connections of a subject that are counted.
    pub fn count(&self, hash: u64, subject: &Subject) -> u32 {
        self.find(hash, subject).map_or(0, |at| self.entries[at as usize].count)
    }

    /// Subjects with a connection.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether nobody is counted.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Subjects that lost their count because the table was full. Only grows.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn find(&self, hash: u64, subject: &Subject) -> Option<u32> {
        let is_it = |at: &u32| {
            let entry = &self.entries[*at as usize];
            entry.hash == hash && entry.subject == *subject
        };
        self.index.find(hash, is_it).copied()
    }

    fn insert(&mut self, hash: u64, subject: &Subject) -> Ticket {
        // A ticket is another after every removal; four thousand million admissions later the old one is long gone.
        self.serial = self.serial.wrapping_add(1);
        let ticket = Ticket(self.serial);
        let entry = Entry { subject: subject.clone(), hash, ticket, count: 1, newer: NONE, older: NONE };
        let at = match self.free.pop() {
            Some(at) => {
                self.entries[at as usize] = entry;
                at
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        let entries = &self.entries;
        self.index.insert_unique(hash, at, |at| entries[*at as usize].hash);
        self.link_first(at);
        ticket
    }

    fn remove(&mut self, at: u32) {
        self.unlink(at);
        let entry = &mut self.entries[at as usize];
        // The memory of a name goes with its subject, not with the place.
        entry.subject = Subject::Network(Network::V4(0));
        if let Ok(indexed) = self.index.find_entry(entry.hash, |other| *other == at) {
            indexed.remove();
        }
        self.free.push(at);
    }

    fn link_first(&mut self, at: u32) {
        let older = std::mem::replace(&mut self.first, at);
        let entry = &mut self.entries[at as usize];
        (entry.newer, entry.older) = (NONE, older);
        match older {
            NONE => self.last = at,
            older => self.entries[older as usize].newer = at,
        }
    }

    fn unlink(&mut self, at: u32) {
        let Entry { newer, older, .. } = self.entries[at as usize];
        match newer {
            NONE => self.first = older,
            newer => self.entries[newer as usize].older = older,
        }
        match older {
            NONE => self.last = newer,
            older => self.entries[older as usize].newer = newer,
        }
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
