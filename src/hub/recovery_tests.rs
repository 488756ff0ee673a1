//! Who comes back gets exactly what it missed or is told that it cannot: shards as lists, tiny lanes, clients that
//! leave and come back with the place where they were, homes that keep nothing, little, or all.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use highper_shards::mesh::Lane;
use highper_shards::{Moment, ShardId, SlotId};

use super::Post;
use super::home::{Home, Keeping};
use super::local::{Join, Joining, Local};
use super::tests::{From, Lanes, Random, keeping, slot_id};
use crate::message::{Answer, Channel, Message, Names, Numbered, Position, Publication};
use crate::message::{Purpose, Question, Receipt};

/// What one client knows of one channel.
#[derive(Clone, Debug, Default)]
struct Seat {
    /// Its index, while the client is in or waits.
    at: Option<u32>,
    /// Where it is, since it was told that it joined.
    position: Option<Position>,
    /// Where it was when it left.
    last: Option<Position>,
    /// What it asked to come back from.
    since: Option<Position>,
}

struct Shard {
    local: Local,
    home: Home,
    seats: HashMap<(u32, String), Seat>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    published: u64,
    delivered: u64,
    /// Publications that came with an answer.
    missed: u64,
    recovered: u64,
    unrecovered: u64,
    /// Gap signals to shards.
    gaps: u64,
    asked: u64,
    answered: u64,
    /// Answers for joins that were withdrawn.
    late: u64,
    try_again: u64,
}

struct Process {
    names: Names,
    shards: Vec<Shard>,
    lanes: Lanes,
    /// What was numbered, by channel and epoch, from offset 1 on.
    log: HashMap<(String, u64), Vec<u64>>,
    tally: Tally,
}

impl Process {
    fn new(shards: u16, capacity: usize, (history_size, history_bytes): (u32, usize)) -> Self {
        let shard = |id: u16| Shard {
            local: Local::default(),
            home: Home::new(u64::from(id) << 32, Keeping { history_bytes, ..keeping(history_size) }),
            seats: HashMap::new(),
        };
        Self {
            names: Names::new(shards),
            shards: (0..shards).map(shard).collect(),
            lanes: Lanes { capacity, ..Lanes::default() },
            log: HashMap::new(),
            tally: Tally::default(),
        }
    }

    /// As the worker does it: `since` counts for those who are not in, and who cannot ask is out again.
    fn join(&mut self, shard: usize, slot: u32, channel: &Channel, is_back: bool) {
        let home = self.names.home(channel);
        let id = slot_id(ShardId(shard as u16), slot);
        let Shard { local, home: own, seats } = &mut self.shards[shard];
        let seat = seats.entry((slot, channel.name().into())).or_default();
        let since = seat.last.filter(|_| is_back && seat.at.is_none());
        let serial = local.serial();
        let joining = Joining { slot: id, id: None, since, serial };
        let post = &mut From(ShardId(shard as u16), &mut self.lanes);
        match local.join(channel, joining, (home, own), post) {
            Join::Joined(at, position) => {
                assert!(seat.position.is_none_or(|before| before == position), "who is in stays where it is");
                (seat.at, seat.position) = (Some(at), Some(position));
            }
            Join::Waiting(at) => {
                if seat.at.is_none() {
                    seat.since = since;
                }
                seat.at = Some(at);
            }
            Join::Recovering(at) => {
                (seat.at, seat.since) = (Some(at), since);
                self.ask(shard, id, channel, since.expect("nobody else recovers"), serial);
            }
            Join::TryAgain => self.tally.try_again += 1,
        }
    }

    fn ask(&mut self, shard: usize, slot: SlotId, channel: &Channel, since: Position, serial: u32) {
        let home = self.names.home(channel);
        let (question, purpose) = (Question::Missed(since), Purpose::Join(serial));
        if home.index() == shard {
            let answer = self.shards[shard].home.answer(channel, question, Moment::ZERO);
            return self.on_answer(shard, channel, serial, answer);
        }
        let ask =
            Message::Ask { channel: channel.clone(), question, receipt: Box::new(Receipt { slot, purpose }) };
        let post = &mut From(ShardId(shard as u16), &mut self.lanes);
        if post.post(home, Lane::Bulk, ask).is_ok() {
            self.tally.asked += 1;
            return;
        }
        self.tally.try_again += 1;
        let Shard { local, home, seats } = &mut self.shards[shard];
        let (at, joining) = local.recovered(channel, serial).expect("it waits");
        local.leave(at, joining.slot, home, post);
        seats.get_mut(&(joining.slot.index(), channel.name().into())).unwrap().at = None;
    }

    fn on_answer(&mut self, shard: usize, channel: &Channel, serial: u32, answer: Answer) {
        let Answer::Missed { position, publications } = answer else { panic!("nothing else was asked") };
        let Shard { local, seats, .. } = &mut self.shards[shard];
        let Some((_, joining)) = local.recovered(channel, serial) else {
            self.tally.late += 1;
            return;
        };
        let seat = seats.get_mut(&(joining.slot.index(), channel.name().into())).unwrap();
        assert_eq!(seat.position, None, "nobody is told twice that it is in");
        assert_eq!(seat.since, joining.since);
        let since = joining.since.expect("it asked for what it missed");
        match publications {
            Some(publications) => {
                self.tally.recovered += 1;
                assert_eq!(since.epoch, position.epoch, "offsets compare within one epoch");
                let log = self.log.get(&(channel.name().into(), position.epoch));
                let mut offset = since.offset;
                for Numbered { offset: next, publication } in publications {
                    assert_eq!(offset + 1, next, "each offset once, in order");
                    assert_eq!(number(&publication), log.unwrap()[offset as usize]);
                    offset = next;
                    self.tally.missed += 1;
                }
                assert_eq!(offset, position.offset, "up to where the channel is");
            }
            None => self.tally.unrecovered += 1,
        }
        seat.position = Some(position);
        let held = local.get(seat.at.unwrap()).unwrap().state.position();
        assert_eq!(held, Some(position), "what is delivered next is the next for everybody");
    }

    fn leave(&mut self, shard: usize, slot: u32, channel: &Channel) {
        let Shard { local, home, seats } = &mut self.shards[shard];
        let Some(seat) = seats.get_mut(&(slot, channel.name().into())) else { return };
        let Some(at) = seat.at.take() else { return };
        seat.last = seat.position.take().or(seat.since.take()).or(seat.last);
        let id = ShardId(shard as u16);
        local.leave(at, slot_id(id, slot), home, &mut From(id, &mut self.lanes));
    }

    fn publish(&mut self, shard: usize, channel: &Channel) {
        self.tally.published += 1;
        let home = self.names.home(channel);
        let publication = Publication::new(None, self.tally.published.to_le_bytes());
        if home.index() == shard {
            return self.sequence(shard, channel, publication);
        }
        let message = Message::Publish { channel: channel.clone(), publication, receipt: None };
        let _ = From(ShardId(shard as u16), &mut self.lanes).post(home, Lane::Bulk, message);
    }

    fn sequence(&mut self, shard: usize, channel: &Channel, publication: Publication) {
        let post = &mut From(ShardId(shard as u16), &mut self.lanes);
        let sequenced = self.shards[shard].home.publish(channel, &publication, Moment::ZERO, post);
        if let Some(Position { epoch, offset }) = sequenced.position {
            let log = self.log.entry((channel.name().into(), epoch)).or_default();
            log.push(number(&publication));
            assert_eq!(log.len() as u64, offset, "numbers without a hole");
        }
        if sequenced.deliver_here {
            self.deliver(shard, channel, sequenced.offset, &publication);
        }
    }

    fn deliver(&mut self, shard: usize, channel: &Channel, offset: u64, publication: &Publication) {
        let Shard { local, seats, .. } = &mut self.shards[shard];
        let Some(at) = local.deliver(channel, offset) else { return };
        for slot in local.get(at).unwrap().state.subscribers.iter() {
            let seat = seats.get_mut(&(slot, channel.name().into())).unwrap();
            let position = seat.position.as_mut().expect("a subscriber was told that it is in");
            assert_eq!(position.offset + 1, offset, "no hole without a signal, no duplicate, in order");
            position.offset = offset;
            let log = &self.log[&(channel.name().into(), position.epoch)];
            assert_eq!(log[offset as usize - 1], number(publication));
            self.tally.delivered += 1;
        }
    }

    fn stand(&mut self, shard: usize, channel: &Channel, position: Position, is_answer: bool) {
        let Shard { local, seats, .. } = &mut self.shards[shard];
        let Some(stood) = local.stand(channel, position, is_answer) else { return };
        self.tally.gaps += u64::from(stood.gap);
        for slot in local.get(stood.at).unwrap().state.subscribers.iter() {
            let seat = seats.get_mut(&(slot, channel.name().into())).unwrap();
            if let Some(before) = seat.position.replace(position) {
                let missed = before.epoch == position.epoch && before.offset < position.offset;
                assert!(missed && stood.gap, "a gap is told where something is missing");
            }
        }
        for (slot, since, serial) in stood.recovering {
            self.ask(shard, slot, channel, since, serial);
        }
    }

    /// The receiving shard takes one message of one lane.
    fn take(&mut self, from: ShardId, to: ShardId) -> bool {
        let Some(message) = self.lanes.take(from, to) else { return false };
        let at = to.index();
        let home = &mut self.shards[at].home;
        match message {
            Message::Publish { channel, publication, .. } => self.sequence(at, &channel, publication),
            Message::Interest { channel, shard } => {
                home.interest(&channel, shard, &mut From(to, &mut self.lanes));
            }
            Message::Release { channel, shard } => home.release(&channel, shard),
            Message::Ask { channel, question, receipt } => home.owe_answer(channel, question, receipt),
            Message::Answer { channel, answer, receipt } => {
                self.tally.answered += 1;
                let Purpose::Join(serial) = receipt.purpose else { panic!("only joins ask") };
                self.on_answer(at, &channel, serial, *answer);
            }
            Message::Standing { channel, position, is_answer } => {
                self.stand(at, &channel, position, is_answer);
            }
            Message::Deliver { channel, offset, publication } => {
                self.deliver(at, &channel, offset, &publication);
            }
            other => panic!("the hub does not send {other:?}"),
        }
        true
    }

    /// What every shard does at the end of its turn.
    fn end_turn(&mut self, shard: usize) {
        let Shard { local, home, .. } = &mut self.shards[shard];
        let post = &mut From(ShardId(shard as u16), &mut self.lanes);
        home.catch_up(Moment::ZERO, post);
        local.settle(home, post);
    }

    /// Everything on its way arrives.
    fn settle(&mut self) {
        let ids: Vec<ShardId> = (0..self.shards.len() as u16).map(ShardId).collect();
        for _ in 0..10_000 {
            let mut moved = false;
            for from in &ids {
                for to in &ids {
                    moved |= self.take(*from, *to);
                }
                self.end_turn(from.index());
            }
            let owes = self.shards.iter().any(|shard| shard.home.owes() || shard.local.owes());
            if !moved && !owes && self.lanes.queues.values().all(VecDeque::is_empty) {
                return;
            }
        }
        panic!("the shards talk for ever");
    }

    /// Who is in stands where the channel stands, and nobody waits.
    fn judge(&self, channels: &[Channel]) {
        assert_eq!(self.tally.asked, self.tally.answered, "no question is lost");
        for channel in channels {
            let position = self.shards[self.names.home(channel).index()].home.position(channel);
            for shard in &self.shards {
                let seats = shard.seats.iter().filter(|((_, name), _)| *name == channel.name());
                for (_, seat) in seats.filter(|(_, seat)| seat.at.is_some()) {
                    assert_eq!(seat.position, position, "all that was published is known");
                }
            }
        }
    }

    /// Everybody leaves; when the histories have expired nothing is left.
    fn end(&mut self, channels: &[Channel]) {
        for shard in 0..self.shards.len() {
            for slot in 0..SLOTS {
                channels.iter().for_each(|channel| self.leave(shard, slot, channel));
            }
        }
        self.settle();
        for Shard { local, home, .. } in &mut self.shards {
            while !home.sweep(Moment::ZERO + Duration::from_secs(100_000)) {}
            assert!(
                local.is_empty() && home.is_empty() && home.shelf().bytes() == 0,
                "nothing is left behind"
            );
        }
    }
}

fn number(publication: &Publication) -> u64 {
    u64::from_le_bytes(publication.data[..].try_into().unwrap())
}

const SLOTS: u32 = 6;
const SEEDS: u64 = 200;

/// So many seeds with histories of this size and this many bytes; `forgets` also drops them now and then.
fn churn(history: (u32, usize), forgets: bool) -> (Tally, u64) {
    let (mut total, mut shed) = (Tally::default(), 0);
    for seed in 0..SEEDS {
        let name = || format!("seed {seed}, history {history:?}");
        let ran = std::panic::catch_unwind(|| run(seed, history, forgets));
        let (tally, more) = ran.unwrap_or_else(|_| panic!("{} fails, see above", name()));
        shed += more;
        total.add(&tally);
    }
    (total, shed)
}

fn run(seed: u64, history: (u32, usize), forgets: bool) -> (Tally, u64) {
    let mut random = Random(seed);
    let shards = 1 + random.below(4);
    let mut process = Process::new(shards as u16, 2 + random.below(3), history);
    process.lanes.racing = random.below(2) == 0;
    let channels: Vec<Channel> =
        (0..4).map(|number| process.names.parse(&format!("c{number}")).unwrap()).collect();
    // A channel that nobody is in lives on when its history holds something.
    for channel in &channels {
        process.publish(process.names.home(channel).index(), channel);
    }
    for _ in 0..2000 {
        let (shard, slot) = (random.below(shards), random.below(SLOTS as usize) as u32);
        let channel = &channels[random.below(channels.len())];
        match random.below(14) {
            0 | 1 => process.join(shard, slot, channel, random.below(4) > 0),
            2 => process.leave(shard, slot, channel),
            3 => {
                process.leave(shard, slot, channel);
                process.join(shard, slot, channel, true);
            }
            4 if forgets && random.below(8) == 0 => {
                let home = process.names.home(channel).index();
                process.shards[home].home.answer(channel, Question::Forget, Moment::ZERO);
            }
            4..=6 => process.publish(shard, channel),
            7 => process.end_turn(shard),
            _ => {
                process.take(ShardId(random.below(shards) as u16), ShardId(shard as u16));
            }
        }
    }
    process.settle();
    process.judge(&channels);
    process.end(&channels);
    let shed = process.shards.iter().map(|shard| shard.home.shelf().shed).sum();
    (process.tally, shed)
}

impl Tally {
    fn add(&mut self, more: &Self) {
        self.published += more.published;
        self.delivered += more.delivered;
        self.missed += more.missed;
        self.recovered += more.recovered;
        self.unrecovered += more.unrecovered;
        self.gaps += more.gaps;
        self.asked += more.asked;
        self.answered += more.answered;
        self.late += more.late;
        self.try_again += more.try_again;
    }

    fn expect_not_vacuous(&self) {
        let often = [self.delivered, self.recovered, self.asked, self.late, self.try_again];
        assert!(often.iter().all(|count| *count > 300), "{self:?}");
    }
}

#[test]
fn without_history_who_missed_nothing_is_told_so_and_everybody_else_too() {
    let (tally, _) = churn((0, 1 << 20), false);
    tally.expect_not_vacuous();
    assert!(tally.missed == 0 && tally.unrecovered > 300 && tally.gaps > 300, "{tally:?}");
}

#[test]
fn a_short_history_recovers_those_who_were_not_away_for_long() {
    let (tally, _) = churn((3, 1 << 20), true);
    tally.expect_not_vacuous();
    assert!(tally.missed > 300 && tally.unrecovered > 300 && tally.gaps > 30, "{tally:?}");
}

#[test]
fn a_history_that_holds_all_recovers_everybody_and_closes_every_gap() {
    let (tally, shed) = churn((10_000, 1 << 20), false);
    tally.expect_not_vacuous();
    assert!(tally.missed > 300 && tally.unrecovered == 0 && tally.gaps == 0 && shed == 0, "{tally:?}");
}

#[test]
fn a_budget_that_is_too_small_is_a_history_that_is_too_short() {
    let (tally, shed) = churn((100, 1000), true);
    tally.expect_not_vacuous();
    assert!(tally.missed > 300 && tally.unrecovered > 300 && shed > 300, "{tally:?} {shed}");
}

/// A channel, its home shard and the other one of two.
fn remote(process: &Process) -> (Channel, ShardId, ShardId) {
    let channel = process.names.parse("far").unwrap();
    let home = process.names.home(&channel);
    (channel, home, ShardId(1 - home.0))
}

#[test]
fn who_asks_twice_before_the_home_answers_gets_what_it_missed_once() {
    let mut process = Process::new(2, 8, (100, 1 << 20));
    let (channel, home, away) = remote(&process);
    process.join(away.index(), 1, &channel, false);
    process.publish(home.index(), &channel);
    process.settle();
    process.leave(away.index(), 1, &channel);
    process.settle();
    process.publish(home.index(), &channel);
    process.join(away.index(), 1, &channel, true);
    process.join(away.index(), 1, &channel, true);
    assert_eq!(process.tally.try_again, 1, "the second join waits for nothing");
    process.settle();
    process.judge(std::slice::from_ref(&channel));
    assert_eq!((process.tally.recovered, process.tally.missed), (1, 1));
}
