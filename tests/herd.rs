//! A herd that is cut off and comes back at once, each with its token: all are let in, and those who stayed lose
//! nothing meanwhile. Times are printed; only `just herd` judges them.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

#[path = "common/client.rs"]
mod client;
#[path = "common/cores.rs"]
mod cores;
#[path = "common/herd.rs"]
mod herd;
#[path = "common/issuer.rs"]
mod issuer;
#[path = "common/process.rs"]
mod process;
#[path = "common/steady.rs"]
mod steady;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use client::{Client, DEADLINE, Received};
use herd::Herd;
use highper_shards::Moment;
use highper_shards::clock::unix_millis;
use process::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use steady::Latencies;

/// From one publication of a survivor to the next: 100 a second, by each in turn.
const INTERVAL: Duration = Duration::from_millis(10);

/// All must be back so soon, with two cores.
const BACK_WITHIN: Duration = Duration::from_secs(15);
/// What those who stayed may wait for their messages.
const SURVIVORS_P99: Duration = Duration::from_millis(100);

/// What was seen.
struct Outcome {
    first: Duration,
    back: Duration,
    refused: usize,
    quiet: Latencies,
    survivors: Latencies,
}

/// Those who stay: all in one channel, where each publishes in turn and each receives everything.
struct Survivors {
    clients: Vec<Client>,
    /// What each has received, in its order.
    received: Vec<Vec<u64>>,
    sent: u64,
    begun: Moment,
    latencies: Latencies,
}

impl Survivors {
    fn join(address: SocketAddr, count: usize) -> Self {
        let clients: Vec<Client> = tokens(count, "survivor", &[])
            .iter()
            .map(|token| {
                let mut client = Client::open(address, &format!("/ws?token={token}"));
                assert_eq!(client.json()["type"], "welcome");
                client.join("survivors");
                client
            })
            .collect();
        let received = vec![Vec::new(); count];
        Self { clients, received, sent: 0, begun: Moment::now(), latencies: Latencies::default() }
    }

    /// Publishes while it `goes_on`, at least 100 messages, and waits until everybody has everything.
    fn talk(mut self, mut goes_on: impl FnMut() -> bool) -> (Self, Latencies) {
        (self.begun, self.sent) = (Moment::now(), 0);
        self.received.iter_mut().for_each(Vec::clear);
        while goes_on() || self.sent < 100 {
            let due = self.due(self.sent);
            while !due.since(Moment::now()).is_zero() {
                self.receive(due);
            }
            let (index, number) = (self.sent as usize % self.clients.len(), self.sent);
            let text = format!(r#"{{"type":"publish","channel":"survivors","data":{number}}}"#);
            self.clients[index].text(&text);
            self.sent += 1;
        }
        let until = Moment::now() + DEADLINE;
        while let Some(late) = self.received.iter().find(|received| (received.len() as u64) < self.sent) {
            assert!(Moment::now() < until, "somebody has {} of {}", late.len(), self.sent);
            self.receive(until);
        }
        self.judge();
        let latencies = std::mem::take(&mut self.latencies);
        (self, latencies)
    }

    /// Waits until something comes, but not beyond `until`, and takes everything that has come.
    fn receive(&mut self, until: Moment) {
        let streams = self.clients.iter().map(Client::stream);
        let mut waits: Vec<PollFd<'_>> = streams.map(|stream| PollFd::new(stream, PollFlags::IN)).collect();
        let left = Timespec::try_from(until.since(Moment::now())).unwrap();
        poll(&mut waits, Some(&left)).unwrap();
        let ready: Vec<usize> =
            (0..waits.len()).filter(|index| !waits[*index].revents().is_empty()).collect();
        for index in ready {
            while let Some(received) = self.clients[index].now() {
                self.take(index, received);
            }
        }
    }

    fn take(&mut self, index: usize, received: Received) {
        let text = match received {
            Received::Text(text) => text,
            Received::Ping(_) => return,
            other => panic!("survivor {index} got {other:?}"),
        };
        let message: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(message["type"], "message", "{text}");
        let number = message["data"].as_u64().unwrap();
        self.latencies.add(Moment::now().since(self.due(number)));
        self.received[index].push(number);
    }

    /// Everybody has everything once, in one order, in which each publisher's own messages keep theirs.
    fn judge(&self) {
        let order = &self.received[0];
        assert!(self.received.iter().all(|received| received == order), "two have seen different orders");
        let mut last = vec![None; self.clients.len()];
        for number in order {
            let publisher = *number as usize % last.len();
            assert!(last[publisher] < Some(*number), "{number} comes behind {:?}", last[publisher]);
            last[publisher] = Some(*number);
        }
        assert_eq!(order.len() as u64, self.sent);
    }

    fn due(&self, number: u64) -> Moment {
        self.begun + INTERVAL * number as u32
    }
}

/// One token for each of so many users, which puts them into these channels.
fn tokens(count: usize, name: &str, channels: &[&str]) -> Vec<String> {
    let expires = unix_millis() / 1000 + 600;
    let token = |number| {
        issuer::token(json!({"sub": format!("{name}-{number}"), "exp": expires, "channels": channels}))
    };
    (0..count).map(token).collect()
}

fn stampede(process: &Process, count: usize, survivors: usize) -> Outcome {
    let address = process.address();
    let tokens = tokens(count, "member", &["everybody"]);
    let survivors = Survivors::join(address, survivors);
    let begun = Moment::now();
    let herd = Herd::connect(address, &tokens);
    let first = Moment::now().since(begun);
    let (survivors, quiet) = survivors.talk(|| false);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let survivors = scope.spawn(|| survivors.talk(|| !over.load(Ordering::Relaxed)).1);
        let begun = Moment::now();
        drop(herd);
        let herd = Herd::connect(address, &tokens);
        let back = Moment::now().since(begun);
        over.store(true, Ordering::Relaxed);
        let survivors = survivors.join().expect("those who stayed lose nothing");
        assert_eq!(herd.len(), count);
        Outcome { first, back, refused: herd.refused, quiet, survivors }
    })
}

fn server(driver: &str, variables: &[(&str, &str)]) -> Process {
    let mut all = vec![
        ("REALTIME_IO_DRIVER", driver),
        ("REALTIME_AUTH_ENABLED", "true"),
        ("REALTIME_JWT_SECRET", issuer::SECRET),
    ];
    all.extend_from_slice(variables);
    Process::start(&all)
}

fn show(driver: &str, count: usize, outcome: &mut Outcome) {
    println!("{driver}: {count} came in {:.2} s", outcome.first.as_secs_f64());
    println!("  back in {:.2} s, {} refused once", outcome.back.as_secs_f64(), outcome.refused);
    println!("  survivors before: {}", outcome.quiet.show());
    println!("  survivors meanwhile: {}", outcome.survivors.show());
}

#[test]
fn five_hundred_come_back_and_those_who_stayed_lose_nothing() {
    for driver in ["uring", "epoll"] {
        let process = server(driver, &[]);
        let mut outcome = stampede(&process, 500, 20);
        show(driver, 500, &mut outcome);
        assert_eq!(outcome.refused, 0);
    }
}

#[test]
#[ignore = "judges time and wants two cores and 20,000 descriptors for itself: just herd"]
fn ten_thousand_come_back_in_15_seconds_and_those_who_stayed_hardly_wait() {
    for driver in ["uring", "epoll"] {
        let process = server(driver, &[("REALTIME_SHARDS", "1"), ("REALTIME_CPU_LIST", "0")]);
        let mut outcome = cores::on_core(1, || stampede(&process, 10_000, 100));
        show(driver, 10_000, &mut outcome);
        assert!(outcome.back <= BACK_WITHIN, "{driver}: {:?}", outcome.back);
        assert!(outcome.survivors.per_mille(990) < SURVIVORS_P99, "{driver}: {}", outcome.survivors.show());
    }
}
