//! Home side of a channel: offset, epoch, history, members, which shards are interested. One shard owns it; the
//! others only send it messages. Never touches a socket, a connection or a clock.

mod shed;

use std::collections::VecDeque;
use std::time::Duration;

use highper_shards::mesh::Lane;
use highper_shards::{Moment, ShardId, SlotId};

use super::Post;
use super::epochs::Epochs;
use super::history::{Histories, History, Rules, Shelf};
use super::home_channel::{HomeChannel, numbered};
use super::occupancy::Occupancy;
use super::presence::Exit;
use super::repeats::{KEYS_MAX, Repeats, TTL};
use super::shards::ShardSet;
use super::table::{Entry, Table};
use crate::config::{ChannelRules, Namespaces};
use crate::message::{Answer, Channel, Member, Message, Position, Publication, Question, Receipt};

/// All channels whose home this shard is.
pub struct Home {
    channels: Table<HomeChannel>,
    epochs: Epochs,
    /// Channels with a shard that is behind: a lane was full and the shard must be told where the channel stands.
    behind: Vec<u32>,
    /// Answers whose lane was full; at most as many as the shards have questions out.
    owed: VecDeque<(Channel, Question, Box<Receipt>)>,
    shelf: Shelf,
    repeats: Repeats,
    /// Channels that a user may have left, with when that is sure; sooner ones first.
    departing: VecDeque<(Moment, Channel)>,
    /// Which channels are occupied, if anybody wants to know.
    occupancy: Option<Occupancy>,
    /// The next channel that the sweep looks at.
    swept: u32,
    namespaces: Namespaces,
    presence_hold: Duration,
}

/// What [`Home::publish`] asks the worker to do.
#[derive(Debug)]
pub struct Sequenced {
    /// The publication's place; `None` if nobody listens and nothing is kept, so that it has none.
    pub position: Option<Position>,
    /// What it is delivered under: its number, or 0 if it has none.
    pub offset: u64,
    /// Whether this shard is interested and must deliver it to its own subscribers.
    pub deliver_here: bool,
    /// Interested shards whose lane is full: they get it from the history later, or a gap signal.
    pub behind: u32,
}

/// How much a home keeps.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// What each channel keeps.
    pub namespaces: Namespaces,
    /// Bytes of all histories together.
    pub history_bytes: usize,
    /// How long a user who left is still a member, and a channel that all have left is still occupied.
    pub presence_hold: Duration,
    /// Whether to know which channels are occupied.
    pub occupancy: bool,
}

impl Home {
    /// No channels yet. `epoch_seed` must differ between starts of the process.
    pub fn new(epoch_seed: u64, keeping: Keeping) -> Self {
        Self {
            channels: Table::default(),
            epochs: Epochs::new(epoch_seed),
            behind: Vec::new(),
            owed: VecDeque::new(),
            shelf: Shelf::new(keeping.history_bytes),
            repeats: Repeats::new(KEYS_MAX, TTL),
            departing: VecDeque::new(),
            occupancy: keeping.occupancy.then(|| Occupancy::new(keeping.presence_hold)),
            swept: 0,
            namespaces: keeping.namespaces,
            presence_hold: keeping.presence_hold,
        }
    }

    /// Channels that somebody is interested in, or that keep something.
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Whether no channel is known.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// What the histories hold.
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Which channels are occupied, if that was wanted.
    pub fn occupancy(&mut self) -> Option<&mut Occupancy> {
        self.occupancy.as_mut()
    }

    /// Where a channel stands; `None` if nobody is interested in it and nothing is kept.
    pub fn position(&self, channel: &Channel) -> Option<Position> {
        let at = self.channels.of(channel)?;
        self.channels.get(at).map(|entry| entry.state.position)
    }

    /// A channel that every shard hears for ever: each of them does [`Local::keep`](super::local::Local::keep), and
    /// none asks for it, so that nothing is missed in between.
    pub fn keep(&mut self, channel: &Channel, shards: u16) {
        let mut all = ShardSet::default();
        (0..shards).map(ShardId).for_each(|shard| all.insert(shard));
        let state = HomeChannel { interested: all, kept: true, ..HomeChannel::new(Position::default()) };
        self.channels.insert(channel, state);
    }

    /// Numbers a publication, keeps it as the rules say and posts it to every interested shard but this one.
    pub fn publish(
        &mut self,
        channel: &Channel,
        publication: &Publication,
        now: Moment,
        post: &mut impl Post,
    ) -> Sequenced {
        let key = publication.extras.as_ref().and_then(|extras| extras.idempotency_key.as_deref());
        if let Some(position) = key.and_then(|key| self.repeats.seen(channel, key, now)) {
            let position = Some(position).filter(|position| *position != Position::UNKNOWN);
            return Sequenced { position, offset: 0, deliver_here: false, behind: 0 };
        }
        let rules = rules(self.namespaces.rules(channel.name()));
        let rules = Some(rules).filter(|rules| !rules.keeps_nothing() && publication.is_numbered());
        let found = match self.find(channel) {
            Some((at, _)) => Some(at),
            None if rules.is_some() => Some(self.create(channel)),
            None => None,
        };
        let sequenced = match found {
            Some(at) => self.publish_at(at, publication, rules, now, post),
            None => {
                if publication.is_numbered() {
                    self.epochs.forget(channel.hash());
                }
                Sequenced { position: None, offset: 0, deliver_here: false, behind: 0 }
            }
        };
        if let Some(key) = key {
            self.repeats.remember(channel, key, sequenced.position.unwrap_or(Position::UNKNOWN), now);
        }
        sequenced
    }

    fn publish_at(
        &mut self,
        at: u32,
        publication: &Publication,
        rules: Option<Rules>,
        now: Moment,
        post: &mut impl Post,
    ) -> Sequenced {
        let here = post.shard();
        let Entry { channel, state } = self.channels.get_mut(at).expect("it was found");
        let offset = if publication.is_numbered() { state.position.offset + 1 } else { 0 };
        if offset != 0 {
            state.position.offset = offset;
        }
        let mut missed = 0;
        for shard in state.interested.iter().filter(|shard| *shard != here) {
            if !state.behind.contains(shard) {
                let message =
                    Message::Deliver { channel: channel.clone(), offset, publication: publication.clone() };
                if post.post(shard, Lane::Bulk, message).is_ok() {
                    continue;
                }
                if offset != 0 {
                    state.behind.insert(shard);
                    state.missed.push((shard, offset));
                }
            }
            missed += 1;
        }
        let (position, deliver_here) = (state.position, state.interested.contains(here));
        if !state.behind.is_empty() && !std::mem::replace(&mut state.is_listed, true) {
            self.behind.push(at);
        }
        if let Some(rules) = rules {
            let kept = (offset, publication.clone());
            self.shelf.push(&mut self.channels, at, kept, rules, now);
        }
        let position = Some(position).filter(|_| offset != 0);
        Sequenced { position, offset, deliver_here, behind: missed }
    }

    /// A shard has a subscriber now. This shard gets the answer as the result, others by message.
    pub fn interest(&mut self, channel: &Channel, shard: ShardId, post: &mut impl Post) -> Position {
        let at = match self.channels.of(channel) {
            Some(at) => at,
            None => self.create(channel),
        };
        let state = &mut self.channels.get_mut(at).expect("it is there or was created").state;
        state.interested.insert(shard);
        if let Some(occupancy) = &mut self.occupancy {
            occupancy.occupy(channel);
        }
        let position = state.position;
        if shard != post.shard() {
            state.behind.insert(shard);
            state.asked.insert(shard);
            self.tell(at, post);
        }
        position
    }

    /// A shard has no subscriber any more.
    pub fn release(&mut self, channel: &Channel, shard: ShardId) {
        let Some((at, state)) = self.find(channel) else { return };
        state.interested.remove(shard);
        state.behind.remove(shard);
        state.asked.remove(shard);
        state.missed.retain(|(other, _)| *other != shard);
        let (is_vacant, is_idle) = (state.interested.is_empty(), state.is_idle());
        if is_idle {
            self.forget(at);
        }
        if let Some(occupancy) = self.occupancy.as_mut().filter(|_| is_vacant) {
            occupancy.empty(channel);
        }
    }

    /// What is known of a channel.
    pub fn answer(&mut self, channel: &Channel, question: Question, now: Moment) -> Answer {
        let (rules, keeps_members) = {
            let of_channel = self.namespaces.rules(channel.name());
            (rules(of_channel), of_channel.presence)
        };
        let at = self.channels.of(channel);
        let mut state = at.and_then(|at| self.channels.get_mut(at)).map(|entry| &mut entry.state);
        if let (Some(state), Some(at)) = (&mut state, at) {
            state.history.expire(&mut self.shelf, at, rules, now);
        }
        let position = state.as_ref().map_or_else(Position::default, |state| state.position);
        match question {
            Question::Missed(since) => {
                let publications = state.and_then(|state| state.missed_since(since));
                Answer::Missed { position, publications }
            }
            Question::History { .. } | Question::Forget if rules.keeps_nothing() => Answer::NotAvailable,
            Question::History { since, limit, reverse } => {
                let is_ours = since.is_none_or(|since| since.epoch == position.epoch);
                let limit = if is_ours { limit as usize } else { 0 };
                let since = since.map(|since| since.offset);
                let page =
                    state.iter().flat_map(|state| state.history.page(since, limit, reverse)).map(numbered);
                Answer::History { position, publications: page.collect() }
            }
            Question::Forget => {
                if let (Some(state), Some(at)) = (state, at) {
                    state.history.clear(&mut self.shelf, at);
                }
                Answer::Done
            }
            Question::Presence | Question::PresenceStats if !keeps_members => Answer::NotAvailable,
            Question::Presence => {
                let members = state.iter().flat_map(|state| state.presence.iter());
                Answer::Presence(members.map(|(slot, member)| (slot, member.clone())).collect())
            }
            Question::PresenceStats => {
                let (connections, users) = state.map_or((0, 0), |state| {
                    (state.presence.connections() as u64, state.presence.users() as u64)
                });
                Answer::PresenceStats { connections, users }
            }
        }
    }

    /// A question whose answer waits for room in the lane; [`Home::catch_up`] posts it. The shards bound how many
    /// questions they have out.
    pub fn owe_answer(&mut self, channel: Channel, question: Question, receipt: Box<Receipt>) {
        self.owed.push_back((channel, question, receipt));
    }

    /// Tells shards that are behind what they missed or where their channels stand, and answers questions, as far as
    /// the lanes have room. Called once a turn.
    pub fn catch_up(&mut self, now: Moment, post: &mut impl Post) {
        for at in std::mem::take(&mut self.behind) {
            if let Some(entry) = self.channels.get_mut(at) {
                entry.state.is_listed = false;
            }
            self.tell(at, post);
        }
        for _ in 0..self.owed.len() {
            let Some((channel, question, receipt)) = self.owed.pop_front() else { break };
            let shard = receipt.slot.shard;
            // Who is behind must hear first what was missed: deliveries after the answer begin where it ends.
            let is_behind = self.find(&channel).is_some_and(|(_, state)| state.behind.contains(shard));
            if is_behind || post.room(shard, Lane::Bulk) == 0 {
                self.owed.push_back((channel, question, receipt));
                continue;
            }
            let answer = Box::new(self.answer(&channel, question, now));
            let message = Message::Answer { channel, answer, receipt };
            post.post(shard, Lane::Bulk, message).expect("there was room");
        }
    }

    /// Whether something could not be told yet.
    pub fn owes(&self) -> bool {
        !self.behind.is_empty() || !self.owed.is_empty()
    }

    /// A connection is a member now; true if its user was not before.
    pub fn enter(&mut self, channel: &Channel, slot: SlotId, member: Member, now: Moment) -> bool {
        let at = match self.channels.of(channel) {
            Some(at) => at,
            None => self.create(channel),
        };
        let state = &mut self.channels.get_mut(at).expect("it is there or was created").state;
        if state.presence.user(slot).is_some_and(|before| *before != *member.user) {
            // Who says again who it is has left as who it was.
            self.exit(channel, slot, now);
            return self.enter(channel, slot, member, now);
        }
        state.presence.enter(slot, member).is_some()
    }

    /// A connection is no member any more. A user is one until the hold is over, see [`Home::departed`]; whoever has
    /// no name has left now.
    pub fn exit(&mut self, channel: &Channel, slot: SlotId, now: Moment) -> Option<Member> {
        let hold = self.presence_hold;
        let (at, state) = self.find(channel)?;
        let exit = state.presence.exit(slot, hold, now);
        let is_idle = state.is_idle();
        match exit {
            Exit::Unknown | Exit::Stays => None,
            Exit::Held => {
                self.departing.push_back((now + self.presence_hold, channel.clone()));
                None
            }
            Exit::Left(member) => {
                if is_idle {
                    self.forget(at);
                }
                Some(member)
            }
        }
    }

    /// Who has left for good by now, and from where.
    pub fn departed(&mut self, now: Moment) -> Vec<(Channel, SlotId, Member)> {
        let mut departed = Vec::new();
        while let Some((due, _)) = self.departing.front()
            && *due <= now
        {
            let Some((_, channel)) = self.departing.pop_front() else { break };
            let Some((at, state)) = self.find(&channel) else { continue };
            let gone = std::iter::from_fn(|| state.presence.due(now));
            departed.extend(gone.map(|(slot, member)| (channel.clone(), slot, member)));
            if state.is_idle() {
                self.forget(at);
            }
        }
        departed
    }

    /// When the next user has left for good.
    pub fn next_departure(&self) -> Option<Moment> {
        self.departing.front().map(|(due, _)| *due)
    }

    /// Drops what is too old in some of the channels, and channels that keep nothing; true if it has come around to
    /// all of them.
    pub fn sweep(&mut self, now: Moment) -> bool {
        let last = self.swept.saturating_add(SWEEP_STEP).min(self.channels.span());
        for at in self.swept..last {
            let Some(Entry { channel, state }) = self.channels.get_mut(at) else { continue };
            let rules = rules(self.namespaces.rules(channel.name()));
            state.history.expire(&mut self.shelf, at, rules, now);
            if state.is_idle() {
                self.forget(at);
            }
        }
        let is_around = last == self.channels.span();
        self.swept = if is_around { 0 } else { last };
        is_around
    }

    /// Posts to every shard of the channel that is behind what it missed, or where the channel stands; who cannot be
    /// told stays behind.
    fn tell(&mut self, at: u32, post: &mut impl Post) {
        let Some(Entry { channel, state }) = self.channels.get_mut(at) else { return };
        for shard in state.behind.iter() {
            if state.tell(channel, shard, post) {
                state.behind.remove(shard);
                state.asked.remove(shard);
                state.missed.retain(|(other, _)| *other != shard);
            }
        }
        if !state.behind.is_empty() && !std::mem::replace(&mut state.is_listed, true) {
            self.behind.push(at);
        }
    }

    fn find(&mut self, channel: &Channel) -> Option<(u32, &mut HomeChannel)> {
        let at = self.channels.of(channel)?;
        self.channels.get_mut(at).map(|entry| (at, &mut entry.state))
    }

    fn create(&mut self, channel: &Channel) -> u32 {
        let position = Position { epoch: self.epochs.of(channel.hash()), offset: 0 };
        self.channels.insert(channel, HomeChannel::new(position))
    }

    fn forget(&mut self, at: u32) {
        let Some(Entry { channel, state }) = self.channels.get(at) else { return };
        if state.position.offset > 0 {
            self.epochs.forget(channel.hash());
        }
        self.channels.remove(at);
    }
}

/// Channels looked at in one step of the sweep: a step takes less than a tenth of a millisecond.
const SWEEP_STEP: u32 = 1024;

/// What the rules let the history of a channel keep.
fn rules(of_channel: &ChannelRules) -> Rules {
    Rules { size: of_channel.history_size, ttl: of_channel.history_ttl }
}

impl Histories for Table<HomeChannel> {
    fn history(&mut self, index: u32) -> Option<&mut History> {
        self.get_mut(index).map(|entry| &mut entry.state.history)
    }
}
