//! Joins and leaves are told once for each member, however many connections it has: by example, and against a
//! naive model under random entries, exits, deaths of shards and passing time.

use std::sync::Arc;

use std::collections::BTreeMap;

use highper_shards::driver::sim::Random;
use highper_shards::token::Token;

use super::*;

const NOW: Moment = Moment::from_nanos(1_000_000_000);

fn slot(shard: u16, index: u32) -> SlotId {
    SlotId { token: Token { index, generation: 1 }, shard: ShardId(shard) }
}

fn member(user: &str) -> Member {
    Member { user: user.into(), info: None }
}

fn after(millis: u64) -> Moment {
    NOW + Duration::from_millis(millis)
}

fn enter(presence: &mut Presence, index: u32, user: &str) -> bool {
    presence.enter(slot(0, index), member(user)).is_some()
}

fn exit(presence: &mut Presence, index: u32) -> Exit {
    presence.exit(slot(0, index), HOLD, NOW)
}

#[test]
fn many_tabs_are_one_member() {
    let mut presence = Presence::default();
    assert_eq!(presence.enter(slot(0, 1), member("ann")), Some(&member("ann")));
    assert!(!enter(&mut presence, 2, "ann"));
    assert_eq!((presence.connections(), presence.users()), (2, 1));
    assert_eq!(exit(&mut presence, 1), Exit::Stays);
    assert_eq!(exit(&mut presence, 1), Exit::Unknown, "it went already");
    assert_eq!(presence.next_due(), None);
    assert_eq!(exit(&mut presence, 2), Exit::Held);
    assert_eq!(presence.next_due(), Some(after(3_000)));
}

#[test]
fn a_member_leaves_when_the_hold_is_over_and_not_before() {
    let mut presence = Presence::default();
    enter(&mut presence, 1, "ann");
    exit(&mut presence, 1);
    assert_eq!(presence.due(after(2_999)), None);
    assert_eq!(presence.due(after(3_000)).map(|(_, member)| member), Some(member("ann")));
    assert_eq!(presence.due(after(3_000)), None);
    assert!(presence.is_empty());
    assert!(enter(&mut presence, 2, "ann"), "who left joins again");
}

#[test]
fn who_comes_back_within_the_hold_never_left() {
    let mut presence = Presence::default();
    enter(&mut presence, 1, "ann");
    exit(&mut presence, 1);
    assert_eq!((presence.connections(), presence.users()), (0, 1), "held, so still a member");
    assert_eq!(presence.iter().map(|(slot, _)| slot).collect::<Vec<_>>(), [slot(0, 1)]);
    assert!(!enter(&mut presence, 2, "ann"));
    assert_eq!((presence.next_due(), presence.due(after(9_000))), (None, None));
    assert_eq!(presence.iter().map(|(slot, _)| slot).collect::<Vec<_>>(), [slot(0, 2)]);
}

#[test]
fn anonymous_connections_are_members_of_their_own_and_leave_at_once() {
    let mut presence = Presence::default();
    assert!(enter(&mut presence, 1, ""));
    assert!(enter(&mut presence, 2, ""));
    assert_eq!((presence.connections(), presence.users()), (2, 2));
    assert_eq!(exit(&mut presence, 1), Exit::Left(member("")));
    assert_eq!(exit(&mut presence, 2), Exit::Left(member("")));
    assert!(presence.is_empty());
}

#[test]
fn entering_twice_renews_the_info_and_counts_once() {
    for user in ["ann", ""] {
        let mut presence = Presence::default();
        enter(&mut presence, 1, user);
        let renewed = Member { user: user.into(), info: Some(Arc::from(*b"{}")) };
        assert_eq!(presence.enter(slot(0, 1), renewed.clone()), None);
        assert_eq!(presence.iter().collect::<Vec<_>>(), [(slot(0, 1), &renewed)]);
        assert_eq!((presence.connections(), presence.users()), (1, 1));
        exit(&mut presence, 1);
        let due = presence.due(after(3_000)).map(|(_, member)| member);
        assert_eq!(due, (!user.is_empty()).then_some(renewed));
        assert!(presence.is_empty());
    }
}

#[test]
#[should_panic(expected = "keeps its user")]
fn a_connection_never_changes_its_user() {
    let mut presence = Presence::default();
    enter(&mut presence, 1, "ann");
    enter(&mut presence, 1, "bob");
}

#[test]
fn room_for_a_crowd_is_given_back() {
    let mut presence = Presence::default();
    (0..10_000).for_each(|index| {
        enter(&mut presence, index, &index.to_string());
    });
    (1..10_000).for_each(|index| {
        exit(&mut presence, index);
    });
    while presence.due(after(3_000)).is_some() {}
    let inside = presence.0.as_ref().unwrap();
    assert!(inside.connections.capacity() <= ROOM_MIN && inside.users.capacity() <= ROOM_MIN);
}

/// Members without any cleverness: lists that are searched.
#[derive(Default)]
struct Naive {
    here: Vec<(SlotId, String)>,
    held: Vec<(Moment, SlotId, String)>,
}

impl Naive {
    fn enter(&mut self, slot: SlotId, user: &str) -> bool {
        if self.here.iter().any(|one| one.0 == slot) {
            return false;
        }
        let known = self.here.iter().map(|one| &one.1).chain(self.held.iter().map(|one| &one.2));
        let joined = user.is_empty() || known.into_iter().all(|known| known != user);
        self.held.retain(|one| one.2 != user);
        self.here.push((slot, user.to_string()));
        joined
    }

    fn exit(&mut self, slot: SlotId, hold: Duration, now: Moment) -> Exit {
        let Some(at) = self.here.iter().position(|one| one.0 == slot) else { return Exit::Unknown };
        let (_, user) = self.here.remove(at);
        if user.is_empty() {
            return Exit::Left(member(""));
        }
        if self.here.iter().any(|one| one.1 == user) {
            return Exit::Stays;
        }
        self.held.push((now + hold, slot, user));
        Exit::Held
    }

    fn due(&mut self, now: Moment) -> Vec<String> {
        let mut left: Vec<String> =
            self.held.extract_if(.., |one| one.0 <= now).map(|(_, _, user)| user).collect();
        left.sort_unstable();
        left
    }

    fn users(&self) -> usize {
        let mut named: Vec<&String> =
            self.here.iter().map(|one| &one.1).filter(|one| !one.is_empty()).collect();
        named.sort_unstable();
        named.dedup();
        named.len() + self.held.len() + self.here.iter().filter(|one| one.1.is_empty()).count()
    }

    fn listed(&self) -> Vec<(SlotId, String)> {
        let held = self.held.iter().map(|(_, slot, user)| (*slot, user.clone()));
        sorted(self.here.iter().cloned().chain(held))
    }
}

fn sorted(members: impl Iterator<Item = (SlotId, String)>) -> Vec<(SlotId, String)> {
    let mut members: Vec<_> = members.collect();
    members.sort_unstable_by_key(|(slot, user)| (slot.shard.0, slot.index(), user.clone()));
    members
}

/// A joined member is gone exactly once before it joins again.
#[derive(Default)]
struct Events(BTreeMap<String, i32>);

impl Events {
    fn count(&mut self, user: &str, change: i32) {
        let members = self.0.entry(user.to_string()).or_default();
        *members += change;
        assert!(*members >= 0 && (user.is_empty() || *members <= 1), "{user:?} is {members} times here");
    }
}

#[test]
fn random_comings_and_goings_agree_with_a_model() {
    let users = ["", "ann", "bob", "cat", "dan"];
    let (mut cancelled, mut left) = (0, 0);
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let (mut presence, mut naive, mut events) =
            (Presence::default(), Naive::default(), Events::default());
        let mut now = NOW;
        for step in 0..2_000 {
            let at = slot(random.below(3) as u16, random.below(4) as u32);
            // A connection keeps its user.
            let user = users[(at.index() as usize + at.shard.index()) % users.len()];
            let hold = Duration::from_millis(random.below(5) * 20);
            now = now + Duration::from_millis(random.below(8));
            match random.below(60) {
                0 => {
                    let dead: Vec<SlotId> =
                        naive.here.iter().map(|one| one.0).filter(|slot| slot.shard == at.shard).collect();
                    let exits = dead.into_iter().map(|slot| naive.exit(slot, hold, now));
                    let gone = exits.filter(|exit| matches!(exit, Exit::Left(_))).count();
                    assert_eq!(presence.remove_shard(at.shard, hold, now), vec![member(""); gone]);
                    events.count("", -(gone as i32));
                    // Which connection of a user was the last depends on the order.
                    naive.held.sort_unstable_by_key(|one| (one.0, one.2.clone()));
                    for (_, slot, user) in &mut naive.held {
                        let held = presence.iter().find(|(_, one)| *one.user == **user);
                        *slot = held.expect("who is held is listed").0;
                    }
                }
                1..25 => {
                    let held = naive.held.len();
                    let joined = presence.enter(at, member(user)).is_some();
                    assert_eq!(joined, naive.enter(at, user), "seed {seed}, step {step}");
                    cancelled += held - naive.held.len();
                    events.count(user, joined.into());
                }
                25..50 => {
                    let exit = presence.exit(at, hold, now);
                    assert_eq!(exit, naive.exit(at, hold, now), "seed {seed}, step {step}");
                    events.count("", if matches!(exit, Exit::Left(_)) { -1 } else { 0 });
                }
                _ => {
                    let mut gone: Vec<String> = std::iter::from_fn(|| presence.due(now))
                        .map(|(_, member)| member.user.into())
                        .collect();
                    gone.sort_unstable();
                    assert_eq!(gone, naive.due(now), "seed {seed}, step {step}");
                    gone.iter().for_each(|user| events.count(user, -1));
                    left += gone.len();
                }
            }
            assert_eq!(presence.connections(), naive.here.len(), "seed {seed}, step {step}");
            assert_eq!(presence.users(), naive.users(), "seed {seed}, step {step}");
            assert_eq!(presence.next_due(), naive.held.iter().map(|one| one.0).min());
            assert_eq!(presence.is_empty(), naive.here.is_empty() && naive.held.is_empty());
            let listed = sorted(presence.iter().map(|(slot, member)| (slot, member.user.to_string())));
            assert_eq!(listed, naive.listed(), "seed {seed}, step {step}");
        }
    }
    assert!(cancelled > 1_000 && left > 1_000, "{cancelled} came back, {left} left: nothing was tried");
}
