//! Two shards, 200 clients spread over both, 50 publishers, 20 channels, over real sockets on every driver: each
//! channel has one order, nothing accepted is lost, nothing comes twice.

#[path = "common/checker.rs"]
#[expect(dead_code, reason = "each test uses a part of it")]
mod checker;
#[path = "common/member.rs"]
#[expect(dead_code, reason = "each test uses a part of it")]
mod member;
#[path = "common/server.rs"]
mod server;
#[path = "common/session.rs"]
#[expect(dead_code, reason = "each test uses a part of it")]
mod session;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use checker::Checker;
use highper_shards::clock::Moment;
use member::Member;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use server::{TestServer, each_driver};
use session::Kit;

const CLIENTS: u32 = 200;
const PUBLISHERS: usize = 50;
const ROOMS: u32 = 20;
const ROUNDS: u32 = 10;

/// Far beyond what it takes: whoever waits that long waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn every_subscriber_of_both_shards_sees_all_of_its_channels_in_one_order() {
    each_driver(|driver| {
        let server = TestServer::start(driver, |_| {});
        let mut crowd = Crowd::connect(server.address());
        crowd.until("everybody is welcome", |member| member.is_welcome);
        let open: Vec<usize> = server.running().snapshots().iter().map(|snapshot| snapshot.open).collect();
        assert_eq!(open.iter().sum::<usize>(), CLIENTS as usize);
        assert!(open.iter().all(|open| *open >= 50), "spread over both shards: {open:?}");

        crowd.each(|number, member, _| {
            for room in [number, number / ROOMS, number * 7 + 3] {
                member.join(room % ROOMS);
            }
        });
        crowd.until("everybody is in", Member::is_settled);
        for round in 0..ROUNDS {
            crowd.each(|number, member, checker| {
                if (number as usize) < PUBLISHERS {
                    member.publish(checker, (number + round) % ROOMS);
                    member.publish(checker, (number * 3 + round) % ROOMS);
                }
            });
            crowd.exchange(Duration::ZERO);
        }
        crowd.until("everything is accepted", Member::is_settled);
        crowd.until_all_have_everything();
        crowd.judge();
    });
}

/// The clients and their sockets.
struct Crowd {
    sockets: Vec<TcpStream>,
    members: Vec<Member>,
    checker: Checker,
    kit: Kit,
}

impl Crowd {
    fn connect(address: SocketAddr) -> Self {
        let socket = |_| {
            let socket = TcpStream::connect(address).expect("the server listens");
            socket.set_nonblocking(true).expect("a socket can be made nonblocking");
            socket
        };
        Self {
            sockets: (0..CLIENTS).map(socket).collect(),
            members: (0..CLIENTS).map(|number| Member::new(number, "/ws", ROOMS as usize)).collect(),
            checker: Checker::new(u64::from(address.port())),
            kit: Kit::new(),
        }
    }

    fn each(&mut self, act: impl Fn(u32, &mut Member, &mut Checker)) {
        for member in &mut self.members {
            act(member.number, member, &mut self.checker);
        }
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Member) -> bool) {
        let until = Moment::now() + PATIENCE;
        while !self.members.iter().all(&holds) {
            let left = self.members.iter().filter(|member| !holds(member)).count();
            assert!(Moment::now() < until, "{what}: not {left} of {CLIENTS}");
            self.exchange(Duration::from_millis(100));
        }
    }

    /// All that was accepted has reached everybody; whatever comes too much comes with it.
    fn until_all_have_everything(&mut self) {
        let until = Moment::now() + PATIENCE;
        while self.checker.behind() > 0 {
            assert!(Moment::now() < until, "{} subscriptions are behind", self.checker.behind());
            self.exchange(Duration::from_millis(100));
        }
        // An answer to a ping comes after everything that was queued before it.
        self.each(|_, member, _| member.ping());
        self.until("everybody is answered", Member::is_settled);
    }

    /// Moves bytes both ways; waits for some if there are none.
    fn exchange(&mut self, wait: Duration) {
        let wanted = |member: &Member| match member.session.out.is_empty() {
            true => PollFlags::IN,
            false => PollFlags::IN | PollFlags::OUT,
        };
        let mut polls: Vec<PollFd<'_>> = (self.sockets.iter().zip(&self.members))
            .map(|(socket, member)| PollFd::new(socket, wanted(member)))
            .collect();
        let wait = Timespec::try_from(wait).expect("it is short");
        poll(&mut polls, Some(&wait)).expect("polling works");
        let ready: Vec<PollFlags> = polls.iter().map(PollFd::revents).collect();
        for (at, ready) in ready.into_iter().enumerate() {
            if ready.contains(PollFlags::OUT) {
                self.write(at);
            }
            if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                self.read(at);
            }
        }
    }

    fn write(&mut self, at: usize) {
        let out = &mut self.members[at].session.out;
        match self.sockets[at].write(out) {
            Ok(taken) => drop(out.drain(..taken)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "client {at}"),
        }
    }

    fn read(&mut self, at: usize) {
        let mut bytes = [0; 16 * 1024];
        match self.sockets[at].read(&mut bytes) {
            Ok(0) => panic!("client {at} was closed: {:?}", self.members[at].closed),
            Ok(count) => self.members[at].on_bytes(&mut self.kit, &mut self.checker, &mut bytes[..count]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "client {at}"),
        }
    }

    fn judge(self) {
        let problems: Vec<String> = self.members.into_iter().flat_map(|member| member.problems).collect();
        assert_eq!(problems, Vec::<String>::new());
        let tally = self.checker.tally();
        let published = u64::from(ROUNDS) * PUBLISHERS as u64 * 2;
        // The lanes are long enough for all of it: nothing is refused, no gap is told.
        assert_eq!((tally.published, tally.accepted), (published, published));
        assert_eq!((tally.refused, tally.gaps), (0, 0));
        assert!(tally.received > published * u64::from(CLIENTS / ROOMS), "{tally:?}");
        assert_eq!(self.checker.finish(), []);
    }
}
