//! One request to the server API while its answers come in: parts in any order, one response when all are there.
//! Never asks for a part.

use super::call::Call;
use super::refusal::Refusal;
use super::reply::{self, Node};
use crate::message::{Answer, Channel, Found, Position};

/// The answers of one request.
#[derive(Debug)]
pub struct Job {
    layout: Layout,
    parts: Vec<Part>,
    /// Parts that are not known yet.
    left: usize,
}

/// How the parts become a response. Parts are numbered in the order of the calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// The whole request was refused.
    Refused(Refusal),
    /// One part is the result of this method.
    One(&'static str),
    /// One part is a page of the history since a position of this epoch.
    Since(u64),
    /// Each part is a response of its own.
    Broadcast(u16),
    /// The parts say nothing but whether all went well.
    All(&'static str, u16),
    /// Calls after one another.
    Batch(Vec<Layout>),
    /// Calls after one another, each with a response of its own on a line of its own.
    Lines(Vec<Layout>),
}

#[derive(Debug)]
enum Part {
    Waiting,
    /// Shards answer one by one.
    Gathering(u16, Found),
    Known(Outcome),
}

/// What became of one part.
#[derive(Debug)]
pub enum Outcome {
    /// It is done, and there is nothing to say.
    Done,
    /// The publication stands there; `None` if nobody listened and nothing is kept.
    Published(Option<Position>),
    /// A home has answered.
    Answered(Answer),
    /// All shards have answered.
    Found(Found),
    /// It was not done.
    Refused(Refusal),
}

/// Parts that one request may have: its answers wait in memory.
pub const PARTS_MAX: usize = 10_000;

impl Job {
    /// A job for a call that is being carried out.
    pub fn new(call: &Call<'_>) -> Self {
        let layout = Layout::of(call);
        let count = usize::from(layout.parts());
        Self { layout, parts: (0..count).map(|_| Part::Waiting).collect(), left: count }
    }

    /// A job that is done: nothing was carried out.
    pub fn refused(refusal: Refusal) -> Self {
        Self { layout: Layout::Refused(refusal), parts: Vec::new(), left: 0 }
    }

    /// One part is known.
    pub fn put(&mut self, part: u16, outcome: Outcome) {
        if let Some(place @ (Part::Waiting | Part::Gathering(..))) = self.parts.get_mut(usize::from(part)) {
            *place = Part::Known(outcome);
            self.left -= 1;
        }
    }

    /// One of `shards` shards has answered a part.
    pub fn add(&mut self, part: u16, found: Found, shards: u16) {
        let Some(place) = self.parts.get_mut(usize::from(part)) else { return };
        let (count, sum) = match std::mem::replace(place, Part::Waiting) {
            Part::Waiting => (1, found),
            Part::Gathering(count, sum) => (count + 1, add(sum, found)),
            known @ Part::Known(_) => {
                *place = known;
                return;
            }
        };
        *place = Part::Gathering(count, sum);
        if count == shards
            && let Part::Gathering(_, sum) = std::mem::replace(place, Part::Waiting)
        {
            self.put(part, Outcome::Found(sum));
        }
    }

    /// Whether the response can be written.
    pub fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Writes the body of the response; the result is its status.
    pub fn write(&self, out: &mut Vec<u8>, node: &Node<'_>) -> u16 {
        let mut outcomes = self.parts.iter().map(|part| match part {
            Part::Known(outcome) => outcome,
            Part::Waiting | Part::Gathering(..) => unreachable!("written when all parts are known"),
        });
        reply::write(out, &self.layout, &mut outcomes, node)
    }
}

impl Layout {
    fn of(call: &Call<'_>) -> Self {
        match call {
            Call::Publish { .. } => Self::One("publish"),
            Call::Broadcast { channels, .. } => Self::Broadcast(channels.len() as u16),
            Call::Subscribe { .. } => Self::One("subscribe"),
            Call::Unsubscribe { .. } => Self::One("unsubscribe"),
            Call::Disconnect { .. } => Self::One("disconnect"),
            Call::Revoke { .. } => Self::One("revoke"),
            Call::Presence { .. } => Self::One("presence"),
            Call::PresenceStats { .. } => Self::One("presence_stats"),
            Call::History { since: Some(since), .. } => Self::Since(since.epoch),
            Call::History { since: None, .. } => Self::One("history"),
            Call::HistoryRemove { .. } => Self::One("history_remove"),
            Call::Channels { .. } => Self::One("channels"),
            Call::Info => Self::One("info"),
            Call::ToUsers { users, .. } => Self::All("to_users", users.len() as u16),
            Call::ToAll { .. } => Self::All("to_all", 1),
            Call::Batch(calls) => Self::Batch(calls.iter().map(Self::of).collect()),
            Call::Lines(calls) => Self::Lines(calls.iter().map(Self::of).collect()),
        }
    }

    fn parts(&self) -> u16 {
        match self {
            Self::Refused(_) => 0,
            Self::One(_) | Self::Since(_) => 1,
            Self::Broadcast(count) | Self::All(_, count) => *count,
            Self::Batch(layouts) | Self::Lines(layouts) => layouts.iter().map(Self::parts).sum(),
        }
    }
}

/// Two shards' parts together.
fn add(one: Found, other: Found) -> Found {
    match (one, other) {
        (Found::Totals(mut one), Found::Totals(other)) => {
            one.clients += other.clients;
            one.users += other.users;
            one.channels += other.channels;
            one.subscriptions += other.subscriptions;
            Found::Totals(one)
        }
        (Found::Channels(one), Found::Channels(other)) => {
            let mut all: Vec<(Channel, u64)> = one.into_iter().chain(other).collect();
            all.sort_unstable_by(|one, other| one.0.name().cmp(other.0.name()));
            all.dedup_by(|later, first| {
                let is_same = later.0 == first.0;
                first.1 += u64::from(is_same) * later.1;
                is_same
            });
            Found::Channels(all)
        }
        (one, _) => one,
    }
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Done => Self::Done,
            Answer::NotAvailable => Self::Refused(Refusal::not_available()),
            answer => Self::Answered(answer),
        }
    }
}
