//! Promises of the table, alone and together with connections on other shards: a small model of the protocol, every
//! order of its steps.

use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::limits::holder::{Answered, Hold, Holder, Verdict};

fn address(number: u32) -> Subject {
    Subject::Network(IpAddr::from(Ipv4Addr::from(number)).into())
}

/// A hash that tells small numbers apart; tests of the table need no secret.
fn hash(subject: &Subject) -> u64 {
    match subject {
        Subject::Network(Network::V4(bits)) => u64::from(*bits).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        Subject::Network(Network::V6(bits)) => bits.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        Subject::User(name) => name.len() as u64,
    }
}

fn admit(table: &mut Table, subject: &Subject, limit: u32) -> Option<Ticket> {
    table.admit(hash(subject), subject, limit)
}

fn release(table: &mut Table, subject: &Subject, ticket: Ticket) {
    table.release(hash(subject), subject, ticket);
}

#[test]
fn the_limit_is_exact_and_who_leaves_makes_room() {
    let (mut table, ann) = (Table::new(4), address(1));
    let tickets: Vec<_> = (0..10).map(|_| admit(&mut table, &ann, 10).unwrap()).collect();
    assert_eq!(admit(&mut table, &ann, 10), None);
    release(&mut table, &ann, tickets[3]);
    assert!(admit(&mut table, &ann, 10).is_some());
    assert_eq!(admit(&mut table, &ann, 10), None);
    assert_eq!(table.count(hash(&ann), &ann), 10);
    (0..10).for_each(|_| release(&mut table, &ann, tickets[0]));
    assert!(table.is_empty(), "who has no connection is not in the table");
    assert_eq!(admit(&mut table, &ann, 0), None);
}

#[test]
fn a_user_is_another_subject_than_an_address_and_than_a_name_of_the_same_hash() {
    let mut table = Table::new(4);
    let (ann, bob) = (Subject::User("ann".into()), Subject::User("bob".into()));
    assert_eq!(hash(&ann), hash(&bob));
    assert!(admit(&mut table, &ann, 1).is_some() && admit(&mut table, &bob, 1).is_some());
    assert_eq!((admit(&mut table, &ann, 1), table.len()), (None, 2));
}

#[test]
fn p4_a_million_addresses_of_one_network_are_one_subject() {
    let mut table = Table::new(64);
    let mut state = 1u64;
    for number in 0..1_000_000 {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let address = Ipv6Addr::from_bits(0x2001_0db8_0000_0001 << 64 | u128::from(state));
        let subject = Subject::Network(IpAddr::from(address).into());
        assert_eq!(admit(&mut table, &subject, 10).is_some(), number < 10);
    }
    assert_eq!((table.len(), table.forgotten()), (1, 0));
    let other = Subject::Network(IpAddr::from(Ipv6Addr::from_bits(0x2001_0db8_0000_0002 << 64)).into());
    assert!(admit(&mut table, &other, 10).is_some());
}

#[test]
fn an_ipv4_address_is_one_however_it_is_written() {
    let plain: IpAddr = "192.0.2.7".parse().unwrap();
    let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
    assert_eq!(Network::from(plain), Network::from(mapped));
    assert_ne!(Network::from(plain), Network::from("192.0.2.8".parse::<IpAddr>().unwrap()));
}

#[test]
fn a_full_table_forgets_who_was_seen_least_lately() {
    let mut table = Table::new(3);
    let old = admit(&mut table, &address(1), 2).unwrap();
    (2..=3).for_each(|number| assert!(admit(&mut table, &address(number), 2).is_some()));
    assert!(admit(&mut table, &address(1), 2).is_some(), "seen again");
    assert!(admit(&mut table, &address(4), 2).is_some());
    let count = |table: &Table, number| table.count(hash(&address(number)), &address(number));
    assert_eq!([1, 2, 3, 4].map(|number| count(&table, number)), [2, 0, 1, 1]);
    assert_eq!((table.len(), table.forgotten()), (3, 1));
    // Both of the first are forgotten; their tickets say nothing of the connection that comes after.
    (5..=7).for_each(|number| assert!(admit(&mut table, &address(number), 2).is_some()));
    assert_eq!(count(&table, 1), 0);
    let new = admit(&mut table, &address(1), 2).unwrap();
    release(&mut table, &address(1), old);
    assert_eq!(count(&table, 1), 1);
    release(&mut table, &address(1), new);
    assert_eq!(count(&table, 1), 0);
}

#[test]
fn r4_memory_is_bounded_whatever_comes() {
    let places = 1000;
    let mut table = Table::new(places);
    for number in 0..100_000 {
        admit(&mut table, &address(number), 1).unwrap();
    }
    assert_eq!((table.len(), table.entries.len()), (places, places));
    let index = table.index.allocation_size();
    let bytes = table.entries.len() * size_of::<Entry>() + index + table.free.capacity() * 4;
    assert!(bytes <= places * Table::PLACE_BYTES + 64, "{bytes} bytes for {places} places");
    // The vector doubles while it grows: at most twice the entries are reserved.
    assert!(table.entries.capacity() < 2 * places);
}

#[test]
fn r4_subjects_that_collide_under_a_known_hash_do_not_under_a_secret_one() {
    // Words that Fx (rotate, xor, multiply) maps to the same low bits of the table: multiples of 2^32.
    let known = |bits: u64| bits.wrapping_mul(0x517c_c1b7_2722_0a95);
    let bad: Vec<u64> = (0..100_000u64).map(|number| number << 40).collect();
    let places = |hash: &dyn Fn(u64) -> u64| -> usize {
        bad.iter().map(|bits| hash(*bits) & 0xffff).collect::<HashSet<_>>().len()
    };
    assert_eq!(places(&known), 1);
    let secret = std::hash::RandomState::new();
    assert!(places(&|bits| secret.hash_one(Subject::Network(Network::V6(bits)))) > 45_000);
}

// ---- The protocol: every order of its steps. ----

/// One step of the model.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A connection asks for its subjects.
    Ask(usize),
    /// A connection ends, or the request comes to nothing.
    End(usize),
    /// The home takes its next message.
    Home,
    /// The shard of the connections takes its next message.
    Shard,
    /// The shard tries again to send what found the lane full.
    Resend,
}

#[derive(Clone)]
enum ToHome {
    Admit { conn: usize, life: u32, round: u32, subject: Subject },
    Vacate(Hold),
}

#[derive(Clone)]
struct Answer {
    conn: usize,
    life: u32,
    round: u32,
    subject: Subject,
    ticket: Option<Ticket>,
}

/// Two shards: connections here, their subjects at home there, and a lane that holds two messages, which is one question of
/// two subjects or what else is on its way.
#[derive(Clone)]
struct Model {
    table: Table,
    limit: u32,
    conns: Vec<Option<Holder>>,
    /// The generation of each slot.
    lives: Vec<u32>,
    asks_left: Vec<u8>,
    /// Whether the connection that is in the slot now has asked; one that never does changes nothing.
    has_asked: Vec<bool>,
    to_home: VecDeque<ToHome>,
    unsent: VecDeque<ToHome>,
    answers: VecDeque<Answer>,
}

const LANE: usize = 2;

impl Model {
    fn new(conns: usize, asks: u8, limit: u32) -> Self {
        Self {
            table: Table::new(8),
            limit,
            conns: vec![Some(Holder::default()); conns],
            lives: vec![0; conns],
            asks_left: vec![asks; conns],
            has_asked: vec![false; conns],
            to_home: VecDeque::new(),
            unsent: VecDeque::new(),
            answers: VecDeque::new(),
        }
    }

    fn subjects() -> [Subject; 2] {
        [address(1), Subject::User("ann".into())]
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (conn, holder) in self.conns.iter().enumerate() {
            let Some(holder) = holder else { continue };
            if self.asks_left[conn] > 0 && !holder.is_waiting() {
                steps.push(Step::Ask(conn));
            }
            if self.has_asked[conn] {
                steps.push(Step::End(conn));
            }
        }
        if !self.to_home.is_empty() {
            steps.push(Step::Home);
        }
        if !self.answers.is_empty() {
            steps.push(Step::Shard);
        }
        if !self.unsent.is_empty() && self.to_home.len() < LANE {
            steps.push(Step::Resend);
        }
        steps
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Ask(conn) => self.ask(conn),
            Step::End(conn) => {
                let mut holder = self.conns[conn].take().unwrap();
                self.go_home(holder.end());
                // The slot is used again, by a connection that may ask as often as is left.
                self.lives[conn] += 1;
                self.has_asked[conn] = false;
                if self.asks_left[conn] > 0 {
                    self.conns[conn] = Some(Holder::default());
                }
            }
            Step::Home => match self.to_home.pop_front().unwrap() {
                ToHome::Admit { conn, life, round, subject } => {
                    let ticket = admit(&mut self.table, &subject, self.limit);
                    self.answers.push_back(Answer { conn, life, round, subject, ticket });
                }
                ToHome::Vacate(hold) => release(&mut self.table, &hold.subject, hold.ticket),
            },
            Step::Shard => self.answer(),
            Step::Resend => {
                let message = self.unsent.pop_front().unwrap();
                self.to_home.push_back(message);
            }
        }
    }

    fn ask(&mut self, conn: usize) {
        self.asks_left[conn] -= 1;
        self.has_asked[conn] = true;
        let (life, lane) = (self.lives[conn], &mut self.to_home);
        let holder = self.conns[conn].as_mut().unwrap();
        let round = holder.begin();
        for subject in Self::subjects() {
            if lane.len() >= LANE {
                // Try again: what was asked already comes late.
                let given_up = holder.give_up();
                return self.go_home(given_up);
            }
            holder.ask();
            lane.push_back(ToHome::Admit { conn, life, round, subject });
        }
    }

    fn answer(&mut self) {
        let Answer { conn, life, round, subject, ticket } = self.answers.pop_front().unwrap();
        let holder = self.conns[conn].as_mut().filter(|_| self.lives[conn] == life);
        let home = match holder {
            Some(holder) => match holder.on_answer(round, subject, ticket) {
                Answered::Waiting => Vec::new(),
                Answered::Decided(verdict, home) => {
                    // Refused gives back what it got in this round, admitted keeps both.
                    assert!(verdict != Verdict::Admitted || (home.is_empty() && holder.held().len() >= 2));
                    assert!(home.len() < 2 && verdict != Verdict::TryAgain);
                    home
                }
                Answered::Late(hold) => hold.into_iter().collect(),
            },
            None => match Holder::default().on_answer(round, subject, ticket) {
                Answered::Late(hold) => hold.into_iter().collect(),
                other => panic!("nobody asked: {other:?}"),
            },
        };
        self.go_home(home);
    }

    fn go_home(&mut self, holds: Vec<Hold>) {
        for hold in holds {
            match self.unsent.is_empty() && self.to_home.len() < LANE {
                true => self.to_home.push_back(ToHome::Vacate(hold)),
                false => self.unsent.push_back(ToHome::Vacate(hold)),
            }
        }
    }

    /// Every count is held, or on its way home, or in an answer: never more, never less, never beyond the limit.
    fn check(&self, steps: &[Step]) {
        for subject in Self::subjects() {
            let is_it = |other: &Subject| *other == subject;
            let held = self.conns.iter().flatten().flat_map(Holder::held).filter(|hold| is_it(&hold.subject));
            let travels = |message: &&ToHome| matches!(message, ToHome::Vacate(hold) if is_it(&hold.subject));
            let home = self.to_home.iter().chain(&self.unsent).filter(travels);
            let answers =
                self.answers.iter().filter(|answer| answer.ticket.is_some() && is_it(&answer.subject));
            let (held, count) = (held.count(), self.table.count(hash(&subject), &subject));
            let sum = held + home.count() + answers.count();
            assert_eq!((sum, sum <= self.limit as usize), (count as usize, true), "after {steps:?}");
        }
    }
}

/// Takes every step in every order; counts the ends.
fn explore(model: &Model, steps: &mut Vec<Step>, ends: &mut u64, admitted: &mut u64) {
    let possible = model.steps();
    model.check(steps);
    if possible.is_empty() {
        assert!(model.table.is_empty(), "everybody is gone, and somebody is counted after {steps:?}");
        *ends += 1;
        return;
    }
    for step in possible {
        let mut next = model.clone();
        next.take(step);
        *admitted += next.conns.iter().flatten().filter(|holder| holder.held().len() == 2).count() as u64;
        steps.push(step);
        explore(&next, steps, ends, admitted);
        steps.pop();
    }
}

#[test]
fn no_order_of_steps_leaks_a_count() {
    for (conns, asks, limit) in [(1, 1, 1), (1, 2, 1), (2, 1, 1), (2, 1, 2)] {
        let (mut ends, mut admitted) = (0, 0);
        explore(&Model::new(conns, asks, limit), &mut Vec::new(), &mut ends, &mut admitted);
        assert!(ends > 1 && admitted > 0, "{conns} connections: {ends} ends, {admitted} times admitted");
    }
}

/// What few connections do not show: many, in random orders.
#[test]
fn no_random_order_of_many_steps_leaks_a_count() {
    for seed in 0..2_000u64 {
        let mut state = seed;
        let mut model = Model::new(6, 4, 2);
        let mut steps = Vec::new();
        loop {
            let possible = model.steps();
            model.check(&steps);
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            // Connections stay for a while: their end is one step in eight, unless nothing else is left.
            let ends = |step: &Step| matches!(step, Step::End(_));
            let calm: Vec<Step> = possible.iter().copied().filter(|step| !ends(step)).collect();
            let among = if calm.is_empty() || state >> 61 == 0 { &possible } else { &calm };
            let Some(step) = among.get((state >> 33) as usize % among.len().max(1)).copied() else { break };
            model.take(step);
            steps.push(step);
        }
        assert!(model.table.is_empty(), "seed {seed}");
    }
}
