//! Subscribers by WebSocket and by Server-Sent Events that come and go, a thousand times, while backends and clients
//! publish: whoever comes back gets exactly what it missed, or is told that it cannot, never a silent hole.
#![allow(clippy::print_stdout, reason = "a failed test tells its seed")]

#[path = "common/backend.rs"]
mod backend;
#[path = "common/checker.rs"]
#[expect(dead_code, reason = "each test uses a part of it")]
mod checker;
#[path = "common/listener.rs"]
mod listener;
#[path = "common/member.rs"]
#[expect(dead_code, reason = "each test uses a part of it")]
mod member;
#[path = "common/server.rs"]
mod server;
#[path = "common/session.rs"]
#[expect(dead_code, reason = "each test uses a part of it")]
mod session;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

use backend::Backend;
use checker::{Checker, Tally};
use highper_realtime::config::Shards;
use highper_shards::clock::Moment;
use highper_shards::driver::sim::{Random, Rate};
use listener::Listener;
use member::{Member, Place};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use server::{TestServer, each_driver};
use session::Kit;

const ROOMS: u32 = 8;
/// Half of them by WebSocket, half by Server-Sent Events.
const SUBSCRIBERS: u32 = 60;
/// Half of them by WebSocket, half by the server API.
const PUBLISHERS: u32 = 8;
/// Connections of subscribers that break.
const DROPS: u32 = 1000;
/// Requests that a publisher has out at most.
const PIPELINE: usize = 16;

/// Far beyond what it takes: whoever waits that long waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn who_comes_back_has_missed_nothing_on_one_shard() {
    who_comes_back_has_missed_nothing(1);
}

#[test]
fn who_comes_back_has_missed_nothing_on_two_shards() {
    who_comes_back_has_missed_nothing(2);
}

#[test]
fn who_comes_back_has_missed_nothing_on_four_shards() {
    who_comes_back_has_missed_nothing(4);
}

fn who_comes_back_has_missed_nothing(shards: u16) {
    // More than is ever published.
    let run = churn(shards, 1_000_000, 12);
    for Run { tally, recovered, unrecovered } in run {
        assert_eq!((tally.refused, tally.gaps), (0, 0), "the histories hold all of it");
        assert_eq!(tally.published, tally.accepted);
        assert!(tally.received > 14 * tally.published, "sixty in two rooms of eight: {tally:?}");
        // Of five that break four were in both of their rooms; sixty of those had come for the first time.
        assert!(recovered > u64::from(DROPS), "two rooms each, most were in both: {recovered}");
        assert!(unrecovered < u64::from(DROPS) / 10, "only who had no place yet: {unrecovered}");
    }
}

#[test]
fn who_was_away_too_long_is_told_so() {
    for Run { tally, recovered, .. } in churn(2, 5, 80) {
        assert!(tally.gaps > 100, "five publications are soon gone: {tally:?}");
        assert!(recovered > 100, "who comes back soon has missed nothing: {recovered}");
    }
}

/// What happened in one run, all of it right.
struct Run {
    tally: Tally,
    recovered: u64,
    unrecovered: u64,
}

/// Both drivers, histories of this many publications, and clients that stay away until as many more are accepted at
/// most. Nothing is counted in time or in steps, so that a machine that is busy changes nothing.
fn churn(shards: u16, history_size: u32, away: u64) -> Vec<Run> {
    let runs = std::cell::RefCell::new(Vec::new());
    each_driver(|driver| {
        let server = TestServer::start(driver, |config| {
            config.shards = Shards::Count(shards.try_into().expect("it is not zero"));
            config.history_size = history_size;
        });
        let seed = u64::from(shards) << 32 | u64::from(server.address().port());
        println!("seed {seed}");
        let mut crowd = Crowd::connect(server.address(), seed);
        crowd.until("everybody is in", Client::is_settled);
        while crowd.drops < DROPS {
            crowd.step(away);
        }
        crowd.finish();
        runs.borrow_mut().push(Run {
            tally: crowd.judge(),
            recovered: server.sum(|shard| shard.counters.recovered),
            unrecovered: server.sum(|shard| shard.counters.unrecovered),
        });
    });
    runs.into_inner()
}

/// Everybody, and the sockets of those who are there.
struct Crowd {
    address: SocketAddr,
    seats: Vec<Seat>,
    checker: Checker,
    kit: Kit,
    random: Random,
    steps: u64,
    drops: u32,
    /// Of them, those who were not in yet: one in five at most.
    early: u32,
}

struct Seat {
    socket: Option<TcpStream>,
    client: Client,
    /// It does not read any more; its connection breaks at this step.
    breaks: Option<u64>,
    /// It comes back once so many publications are accepted.
    back: u64,
}

enum Client {
    Member(Member),
    Listener(Listener),
    Backend(Backend),
}

impl Crowd {
    fn connect(address: SocketAddr, seed: u64) -> Self {
        let mut checker = Checker::new(seed);
        let rooms = |number: u32| [number % ROOMS, (number * 3 + 1) % ROOMS];
        let client = |number: u32| match number {
            ..SUBSCRIBERS if number.is_multiple_of(2) => {
                Client::Listener(Listener::new(number, &rooms(number)))
            }
            _ if number.is_multiple_of(2) => Client::Backend(Backend::new(&mut checker, ROOMS)),
            _ => Client::Member(Member::new(number, "/ws", ROOMS as usize)),
        };
        let clients: Vec<Client> = (0..SUBSCRIBERS + PUBLISHERS).map(client).collect();
        let seat = |client| Seat { socket: Some(connect(address)), client, breaks: None, back: 0 };
        Self {
            address,
            seats: clients.into_iter().map(seat).collect(),
            checker,
            kit: Kit::new(),
            random: Random::new(seed),
            steps: 0,
            drops: 0,
            early: 0,
        }
    }

    /// Something is published, somebody's connection breaks, somebody comes back.
    fn step(&mut self, away: u64) {
        self.steps += 1;
        for _ in 0..2 {
            let publisher = u64::from(SUBSCRIBERS) + self.random.below(PUBLISHERS.into());
            let room = self.random.below(ROOMS.into()) as u32;
            self.seats[publisher as usize].client.publish(&mut self.checker, room);
        }
        let at = self.random.below(SUBSCRIBERS.into()) as usize;
        let seat = &mut self.seats[at];
        // Most of those who break are in; the others break while they come back.
        if seat.socket.is_some()
            && seat.breaks.is_none()
            && (seat.client.is_settled() || self.early * 5 <= self.drops)
        {
            seat.breaks = Some(self.steps + self.random.below(4));
        }
        let accepted = self.checker.tally().accepted;
        for at in 0..SUBSCRIBERS as usize {
            if self.seats[at].breaks.is_some_and(|step| step <= self.steps) {
                self.break_off(at);
                self.seats[at].back = accepted + self.random.below(away);
            } else if self.seats[at].socket.is_none() && self.seats[at].back <= accepted {
                self.come_back(at);
            }
        }
        self.exchange(Duration::ZERO);
        if self.drops.is_multiple_of(8) {
            self.short_absence();
        }
    }

    /// Somebody is away while a few publications are made, however long those take.
    fn short_absence(&mut self) {
        let at = self.random.below(SUBSCRIBERS.into()) as usize;
        if self.seats[at].socket.is_none() || !self.seats[at].client.is_settled() {
            return;
        }
        let publishers = SUBSCRIBERS as usize..self.seats.len();
        self.until_some("answers", publishers.clone(), Client::is_settled);
        self.break_off(at);
        for _ in 0..self.random.below(16) {
            let publisher = publishers.start + self.random.below(PUBLISHERS.into()) as usize;
            let room = self.random.below(ROOMS.into()) as u32;
            self.seats[publisher].client.publish(&mut self.checker, room);
        }
        self.until_some("answers", publishers, Client::is_settled);
        self.connect_again(at);
        self.until_some("it is back", at..at + 1, Client::is_settled);
    }

    /// A connection ends: as it stands, in the middle of a request, or after some noise.
    fn break_off(&mut self, at: usize) {
        self.drops += 1;
        self.early += u32::from(!self.seats[at].client.is_settled());
        let Seat { socket, client, breaks, .. } = &mut self.seats[at];
        *breaks = None;
        let Some(mut socket) = socket.take() else { return };
        let words = std::mem::take(client.out());
        // Whatever the kernel takes of it is as good.
        let _ = match self.random.below(4) {
            0 => socket.write(&words[..words.len() / 2]),
            1 => socket.write(b"\x81\x85this is no request\r\n\r\n"),
            2 => socket.shutdown(Shutdown::Write).map(|()| 0),
            _ => Ok(0),
        };
    }

    /// Connects again. Who comes back may break off at once, before the server can say anything.
    fn come_back(&mut self, at: usize) {
        self.connect_again(at);
        if self.early * 5 <= self.drops && self.random.hits(Rate::per_mille(50)) {
            let words = self.seats[at].client.out();
            let cut = self.random.below(words.len() as u64) as usize;
            words.truncate(cut);
            self.write(at);
            self.break_off(at);
        }
    }

    fn connect_again(&mut self, at: usize) {
        let seat = &mut self.seats[at];
        seat.client.again();
        seat.socket = Some(connect(self.address));
    }

    /// Everybody comes back, and the last publication of each room reaches everybody.
    fn finish(&mut self) {
        for at in 0..self.seats.len() {
            self.seats[at].breaks = None;
            if self.seats[at].socket.is_none() {
                self.connect_again(at);
            }
        }
        self.until("everybody is back and answered", Client::is_settled);
        let last = self.seats.iter_mut().find(|seat| matches!(seat.client, Client::Backend(_)));
        let last = last.expect("there are backends");
        (0..ROOMS).for_each(|room| last.client.publish(&mut self.checker, room));
        self.until("the last is accepted", Client::is_settled);
        let backend = |seat: &Seat| match &seat.client {
            Client::Backend(backend) => Some(backend.last.clone()),
            Client::Member(_) | Client::Listener(_) => None,
        };
        let heads = self.seats.iter().find_map(backend).expect("there are backends");
        self.until("everybody has everything", |client| {
            client.places().iter().all(|(room, place)| place.at.offset >= heads[*room as usize])
        });
    }

    fn judge(mut self) -> Tally {
        for seat in &mut self.seats {
            assert_eq!(*seat.client.problems(), Vec::<String>::new());
        }
        let tally = self.checker.tally();
        println!("{tally:?} in {} steps", self.steps);
        assert_eq!(self.checker.finish(), []);
        tally
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Client) -> bool) {
        self.until_some(what, 0..self.seats.len(), holds);
    }

    fn until_some(&mut self, what: &str, whom: Range<usize>, holds: impl Fn(&Client) -> bool) {
        let until = Moment::now() + PATIENCE;
        while !self.seats[whom.clone()].iter().all(|seat| holds(&seat.client)) {
            let left = self.seats[whom.clone()].iter().filter(|seat| !holds(&seat.client)).count();
            assert!(Moment::now() < until, "{what}: not {left}");
            self.exchange(Duration::from_millis(100));
        }
    }

    /// Moves bytes both ways; waits for some if there are none.
    fn exchange(&mut self, wait: Duration) {
        let mut at_of = Vec::new();
        let mut polls = Vec::new();
        for (at, seat) in self.seats.iter_mut().enumerate() {
            let Some(socket) = &seat.socket else { continue };
            let mut wanted = PollFlags::empty();
            wanted.set(PollFlags::IN, seat.breaks.is_none());
            wanted.set(PollFlags::OUT, !seat.client.out().is_empty());
            polls.push(PollFd::new(socket, wanted));
            at_of.push(at);
        }
        let wait = Timespec::try_from(wait).expect("it is short");
        poll(&mut polls, Some(&wait)).expect("polling works");
        let ready: Vec<PollFlags> = polls.iter().map(PollFd::revents).collect();
        for (at, ready) in at_of.into_iter().zip(ready) {
            if ready.contains(PollFlags::OUT) {
                self.write(at);
            }
            if ready.contains(PollFlags::IN) {
                self.read(at);
            }
        }
    }

    fn write(&mut self, at: usize) {
        let Seat { socket: Some(socket), client, .. } = &mut self.seats[at] else { return };
        let out = client.out();
        match socket.write(out) {
            Ok(taken) => drop(out.drain(..taken)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "client {at}"),
        }
    }

    fn read(&mut self, at: usize) {
        let mut bytes = [0; 16 * 1024];
        let Seat { socket: Some(socket), client, .. } = &mut self.seats[at] else { return };
        match socket.read(&mut bytes) {
            Ok(0) => panic!("client {at} was closed: {:?}", client.problems()),
            Ok(count) => client.on_bytes(&mut self.kit, &mut self.checker, &mut bytes[..count]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "client {at}"),
        }
    }
}

impl Client {
    fn on_bytes(&mut self, kit: &mut Kit, checker: &mut Checker, bytes: &mut [u8]) {
        match self {
            Self::Listener(listener) => listener.on_bytes(checker, bytes),
            Self::Backend(backend) => backend.on_bytes(checker, bytes),
            Self::Member(member) => {
                let was_welcome = member.is_welcome;
                member.on_bytes(kit, checker, bytes);
                if member.is_welcome && !was_welcome && member.number < SUBSCRIBERS {
                    member.join(member.number % ROOMS);
                    member.join((member.number * 3 + 1) % ROOMS);
                }
            }
        }
    }

    fn publish(&mut self, checker: &mut Checker, room: u32) {
        match self {
            Self::Member(member) if member.pending() < PIPELINE => member.publish(checker, room),
            Self::Backend(backend) if backend.pending() < PIPELINE => backend.publish(checker, room),
            Self::Member(_) | Self::Backend(_) | Self::Listener(_) => {}
        }
    }

    /// Whether it waits for nothing: subscribers are in their rooms, publishers have their answers.
    fn is_settled(&self) -> bool {
        match self {
            Self::Member(member) if member.number < SUBSCRIBERS => member.rooms().count() == 2,
            Self::Member(member) => member.is_open() && member.is_settled(),
            Self::Listener(listener) => listener.is_in(),
            Self::Backend(backend) => backend.pending() == 0,
        }
    }

    /// The same client on its next connection.
    fn again(&mut self) {
        let nobody = Self::Member(Member::new(0, "/ws", 0));
        *self = match std::mem::replace(self, nobody) {
            Self::Member(member) => Self::Member(member.again("/ws")),
            Self::Listener(listener) => Self::Listener(listener.again()),
            Self::Backend(_) => unreachable!("publishers stay"),
        };
    }

    fn out(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Member(member) => &mut member.session.out,
            Self::Listener(listener) => &mut listener.out,
            Self::Backend(backend) => &mut backend.out,
        }
    }

    fn places(&self) -> Vec<(u32, Place)> {
        match self {
            Self::Member(member) => member.places().collect(),
            Self::Listener(listener) => listener.places().collect(),
            Self::Backend(_) => Vec::new(),
        }
    }

    fn problems(&mut self) -> &mut Vec<String> {
        match self {
            Self::Member(member) => &mut member.problems,
            Self::Listener(listener) => &mut listener.problems,
            Self::Backend(backend) => &mut backend.problems,
        }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("the server listens");
    socket.set_nonblocking(true).expect("a socket can be made nonblocking");
    socket
}
