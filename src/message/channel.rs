//! Names of channels: what clients may choose, and the reserved ones of users and of everyone. A name is hashed
//! once per process with a secret key; the hash finds it in every table and tells its home shard.

use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use highper_shards::ShardId;
use highper_wire::dialect::channel::{BadChannel, check};

/// A channel of this process. Cloning counts a reference.
#[derive(Clone, Debug)]
pub struct Channel {
    hash: u64,
    name: Arc<str>,
}

impl Channel {
    /// Whose personal channel it is.
    pub fn user(&self) -> Option<&str> {
        self.name().strip_prefix(RESERVED)?.strip_prefix(USER)
    }

    /// The name as clients wrote it; reserved channels begin with a control character.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name, shared.
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// The keyed hash of the name.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Whether no client may name it.
    pub fn is_reserved(&self) -> bool {
        self.name.starts_with(RESERVED)
    }

    /// What the channel is, as subscribers are told.
    pub fn kind(&self) -> ChannelKind {
        match self.name.strip_prefix(RESERVED) {
            None => ChannelKind::Named,
            Some(rest) if rest.starts_with(USER) => ChannelKind::User,
            Some(SECURITY) => ChannelKind::Security,
            Some(_) => ChannelKind::Everyone,
        }
    }
}

impl PartialEq for Channel {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.name == other.name
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// How a subscriber came to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// By name: clients join and leave it.
    Named,
    /// The personal channel of a user.
    User,
    /// The channel of every open connection.
    Everyone,
    /// The feed of security events for operators.
    Security,
}

/// Makes [`Channel`]s; one copy for every thread of the process, so that all agree on hashes and homes.
#[derive(Clone, Debug)]
pub struct Names {
    key: Key,
    shards: u16,
}

/// What names are hashed with: clients must not be able to choose names that collide.
#[derive(Clone, Debug)]
enum Key {
    Secret(RandomState),
    /// Known beforehand, so that a simulated run can be repeated.
    Seed(u64),
}

impl Names {
    /// Names of a process with this many shards, under a key of their own.
    pub fn new(shards: u16) -> Self {
        assert!(shards > 0, "a process has at least one shard");
        Self { key: Key::Secret(RandomState::new()), shards }
    }

    /// Names under a key that everybody may know: the same seed gives the same hashes and homes. For simulated
    /// runs, never for a server that strangers reach.
    pub fn seeded(shards: u16, seed: u64) -> Self {
        assert!(shards > 0, "a process has at least one shard");
        Self { key: Key::Seed(seed), shards }
    }

    /// A channel by the name a client gave it: 1 to 255 printable ASCII characters.
    pub fn parse(&self, name: &str) -> Result<Channel, BadChannel> {
        check(name)?;
        Ok(self.channel(name, self.hash(name)))
    }

    /// The personal channel of a user: a publish to it reaches every connection of the user.
    pub fn user(&self, user: &str) -> Channel {
        self.reserved(&format!("{RESERVED}{USER}{user}"))
    }

    /// The channel that every open connection is in.
    pub fn everyone(&self) -> Channel {
        self.reserved(&format!("{RESERVED}all"))
    }

    /// The channel of security events.
    pub fn security(&self) -> Channel {
        self.reserved(&format!("{RESERVED}{SECURITY}"))
    }

    /// Shards of the process.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// The hash of a name.
    pub fn hash(&self, name: &str) -> u64 {
        self.hash_of(name)
    }

    /// The hash of anything that a client may choose, under the same key.
    pub fn hash_of(&self, value: impl Hash) -> u64 {
        match &self.key {
            Key::Secret(key) => key.hash_one(value),
            Key::Seed(seed) => {
                let mut hasher = DefaultHasher::new();
                (seed, value).hash(&mut hasher);
                hasher.finish()
            }
        }
    }

    /// The shard that numbers the channel's publications.
    pub fn home(&self, channel: &Channel) -> ShardId {
        self.home_of(channel.hash)
    }

    /// The home shard of whatever has this hash.
    pub fn home_of(&self, hash: u64) -> ShardId {
        // The tables use the top and the low bits of the hash; homes are told apart by the middle.
        ShardId(((hash >> 24) as u32 % u32::from(self.shards)) as u16)
    }

    /// A channel whose name was checked and hashed already.
    pub(crate) fn channel(&self, name: &str, hash: u64) -> Channel {
        Channel { hash, name: name.into() }
    }

    fn reserved(&self, name: &str) -> Channel {
        self.channel(name, self.hash(name))
    }
}

const RESERVED: char = '\u{1}';
const USER: char = '@';
const SECURITY: &str = "security";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_client_can_name_a_reserved_channel() {
        let names = Names::new(2);
        for reserved in [names.everyone(), names.security(), names.user("ann")] {
            assert!(reserved.is_reserved());
            assert!(names.parse(reserved.name()).is_err());
        }
        assert!(!names.parse("@ann").unwrap().is_reserved());
    }

    #[test]
    fn every_copy_agrees_on_hash_and_home() {
        let names = Names::new(7);
        let copy = names.clone();
        for number in 0..100 {
            let name = format!("room-{number}");
            let (one, two) = (names.parse(&name).unwrap(), copy.parse(&name).unwrap());
            assert_eq!((one.hash(), names.home(&one)), (two.hash(), copy.home(&two)));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_homes() {
        let homes = |seed| -> Vec<ShardId> {
            let names = Names::seeded(5, seed);
            (0..50).map(|number| names.home(&names.parse(&number.to_string()).unwrap())).collect()
        };
        assert_eq!(homes(1), homes(1));
        assert_ne!(homes(1), homes(2));
    }

    #[test]
    fn homes_are_spread_over_all_shards() {
        let names = Names::new(4);
        let mut seen = [0; 4];
        for number in 0..4000 {
            seen[names.home(&names.parse(&number.to_string()).unwrap()).index()] += 1;
        }
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
    }
}
