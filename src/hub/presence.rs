//! Who is in a channel, by connection and by user: many tabs of one user are one user, who has left only when the
//! last of them is gone for a while. Never reads a clock, never tells anybody.

use std::collections::HashMap;
use std::time::Duration;

use highper_shards::{Moment, SlotId};

use crate::message::Member;

/// The members of one channel.
#[derive(Debug, Default)]
pub struct Presence(Option<Box<Members>>);

const _: () = assert!(size_of::<Presence>() <= 8, "a channel without presence has one too");

#[derive(Debug, Default)]
struct Members {
    connections: HashMap<SlotId, Member>,
    /// Users by name; those without connections are held for a while.
    users: HashMap<Box<str>, User>,
}

#[derive(Debug)]
struct User {
    connections: u32,
    /// When the last connection went, and which it was.
    left: Option<(Moment, SlotId, Member)>,
}

/// What the end of a connection means.
#[derive(Debug, PartialEq, Eq)]
pub enum Exit {
    /// The user has other connections, or the connection was no member.
    Stays,
    /// The user's last connection: unless one comes back, [`Presence::departed`] tells it after the hold.
    Held,
    /// A member without a name is gone at once.
    Left(Member),
}

impl Presence {
    /// Whether nobody is in, and nobody is held.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Connections.
    pub fn connections(&self) -> usize {
        self.0.as_ref().map_or(0, |members| members.connections.len())
    }

    /// Users with a connection; whoever has no name counts by connection.
    pub fn users(&self) -> usize {
        let Some(members) = &self.0 else { return 0 };
        let named = members.users.values().filter(|user| user.connections > 0);
        let (users, connections) = named
            .fold((0, 0), |(users, connections), user| (users + 1, connections + user.connections as usize));
        users + members.connections.len() - connections
    }

    /// Every connection and who it is, in no particular order.
    pub fn members(&self) -> impl Iterator<Item = (SlotId, &Member)> {
        self.0.iter().flat_map(|members| members.connections.iter().map(|(slot, member)| (*slot, member)))
    }

    /// A connection is a member now; true if its user was not before.
    pub fn enter(&mut self, slot: SlotId, member: Member, now: Moment) -> bool {
        let name = member.user.clone();
        let before = self.0.as_ref().and_then(|members| members.connections.get(&slot));
        match before.map(|before| before.user == name) {
            Some(true) => return false,
            Some(false) => _ = self.exit(slot, now),
            None => {}
        }
        let members = self.0.get_or_insert_default();
        members.connections.insert(slot, member);
        if name.is_empty() {
            return true;
        }
        let user = members.users.entry(name).or_insert(User { connections: 0, left: None });
        user.connections += 1;
        user.left.take().is_none() && user.connections == 1
    }

    /// A connection is no member any more.
    pub fn exit(&mut self, slot: SlotId, now: Moment) -> Exit {
        let Some(members) = &mut self.0 else { return Exit::Stays };
        let Some(member) = members.connections.remove(&slot) else { return Exit::Stays };
        let exit = match members.users.get_mut(&member.user) {
            None => Exit::Left(member),
            Some(user) => {
                user.connections -= 1;
                if user.connections == 0 {
                    user.left = Some((now, slot, member));
                    Exit::Held
                } else {
                    Exit::Stays
                }
            }
        };
        self.shrink();
        exit
    }

    /// The users whose last connection went so long ago, with that connection; they are forgotten.
    pub fn departed(&mut self, hold: Duration, now: Moment) -> Vec<(SlotId, Member)> {
        let Some(members) = &mut self.0 else { return Vec::new() };
        let is_over = |user: &mut User| user.left.as_ref().is_some_and(|(left, _, _)| *left + hold <= now);
        let departed = members.users.extract_if(|_, user| is_over(user));
        let departed =
            departed.filter_map(|(_, user)| user.left.map(|(_, slot, member)| (slot, member))).collect();
        self.shrink();
        departed
    }

    fn shrink(&mut self) {
        self.0.take_if(|members| members.connections.is_empty() && members.users.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use highper_shards::ShardId;
    use highper_shards::token::Token;

    use super::*;

    const HOLD: Duration = Duration::from_secs(3);

    fn slot(index: u32) -> SlotId {
        SlotId { token: Token { index, generation: 1 }, shard: ShardId(0) }
    }

    fn named(user: &str) -> Member {
        Member { user: user.into(), info: None }
    }

    fn at(seconds: u64) -> Moment {
        Moment::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn many_tabs_of_a_user_are_one_user() {
        let mut presence = Presence::default();
        assert!(presence.enter(slot(1), named("ann"), at(0)));
        assert!(!presence.enter(slot(2), named("ann"), at(0)));
        assert!(presence.enter(slot(3), named("bob"), at(0)));
        assert_eq!((presence.connections(), presence.users()), (3, 2));
        assert_eq!(presence.exit(slot(1), at(0)), Exit::Stays);
        assert_eq!(presence.exit(slot(2), at(0)), Exit::Held);
        assert_eq!((presence.connections(), presence.users()), (1, 1));
    }

    #[test]
    fn who_comes_back_within_the_hold_never_left() {
        let mut presence = Presence::default();
        presence.enter(slot(1), named("ann"), at(0));
        presence.exit(slot(1), at(10));
        assert_eq!(presence.departed(HOLD, at(12)), []);
        assert!(!presence.enter(slot(2), named("ann"), at(12)), "nobody was told that she went");
        assert_eq!(presence.departed(HOLD, at(20)), []);
        presence.exit(slot(2), at(20));
        assert_eq!(presence.departed(HOLD, at(23)), [(slot(2), named("ann"))]);
        assert!(presence.is_empty());
        assert!(presence.enter(slot(3), named("ann"), at(0)));
    }

    #[test]
    fn who_has_no_name_counts_by_connection_and_is_gone_at_once() {
        let mut presence = Presence::default();
        assert!(presence.enter(slot(1), named(""), at(0)));
        assert!(presence.enter(slot(2), named(""), at(0)));
        assert_eq!(presence.users(), 2);
        assert_eq!(presence.exit(slot(1), at(0)), Exit::Left(named("")));
        assert_eq!(presence.exit(slot(1), at(0)), Exit::Stays);
        presence.exit(slot(2), at(0));
        assert!(presence.is_empty());
    }

    #[test]
    fn a_connection_that_enters_again_is_still_one() {
        let mut presence = Presence::default();
        presence.enter(slot(1), named("ann"), at(0));
        assert!(!presence.enter(slot(1), named("ann"), at(0)));
        assert_eq!(presence.exit(slot(1), at(0)), Exit::Held);
    }
}
