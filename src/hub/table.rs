//! Channels of one side of one shard: found by name, kept by a small index that stays valid until the channel is
//! removed. Never knows what is kept for a channel.

use hashbrown::HashTable;

use crate::message::Channel;

/// An arena of `T`, one for each channel.
pub struct Table<T> {
    index: HashTable<u32>,
    entries: Vec<Option<Entry<T>>>,
    free: Vec<u32>,
}

/// A channel and what is kept for it.
pub struct Entry<T> {
    /// Its name.
    pub channel: Channel,
    /// What is kept.
    pub state: T,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { index: HashTable::new(), entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> Table<T> {
    /// Channels in the table.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Indexes of channels are below this.
    pub fn span(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Index of a channel by its name and the hash of the name.
    pub fn find(&self, name: &str, hash: u64) -> Option<u32> {
        let is_it = |at: &u32| self.get(*at).is_some_and(|entry| entry.channel.name() == name);
        self.index.find(hash, is_it).copied()
    }

    /// Index of a channel.
    pub fn of(&self, channel: &Channel) -> Option<u32> {
        self.find(channel.name(), channel.hash())
    }

    /// The channel at an index; `None` if it was removed.
    pub fn get(&self, at: u32) -> Option<&Entry<T>> {
        self.entries.get(at as usize)?.as_ref()
    }

    /// The channel at an index for writing.
    pub fn get_mut(&mut self, at: u32) -> Option<&mut Entry<T>> {
        self.entries.get_mut(at as usize)?.as_mut()
    }

    /// Adds a channel that is not in the table.
    pub fn insert(&mut self, channel: &Channel, state: T) -> u32 {
        let entry = Entry { channel: channel.clone(), state };
        let at = match self.free.pop() {
            Some(at) => {
                self.entries[at as usize] = Some(entry);
                at
            }
            None => {
                self.entries.push(Some(entry));
                (self.entries.len() - 1) as u32
            }
        };
        let entries = &self.entries;
        let hash_at = |at: &u32| entries[*at as usize].as_ref().map_or(0, |entry| entry.channel.hash());
        self.index.insert_unique(channel.hash(), at, hash_at);
        at
    }

    /// Removes the channel at an index.
    pub fn remove(&mut self, at: u32) -> Option<T> {
        let entry = self.entries.get_mut(at as usize)?.take()?;
        if let Ok(indexed) = self.index.find_entry(entry.channel.hash(), |other| *other == at) {
            indexed.remove();
        }
        self.free.push(at);
        Some(entry.state)
    }

    /// All channels, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry<T>> {
        self.entries.iter().flatten()
    }
}
