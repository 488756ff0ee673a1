//! A well-behaved client that publishes at a steady rate and receives its own messages: how long each took, none
//! lost, none out of order. Never blames a message for the one before it: time counts from when it was due.
#![allow(dead_code, reason = "each test uses its part")]

use std::net::SocketAddr;
use std::time::Duration;

use highper_shards::Moment;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use crate::client::{Client, DEADLINE, Received};

/// From one message to the next: 100 a second.
const INTERVAL: Duration = Duration::from_millis(10);

/// What a client of its own does beside the attackers, from another address than theirs.
const ADDRESS: [u8; 4] = [127, 0, 0, 2];

/// How long messages took.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// One more message.
    pub fn add(&mut self, taken: Duration) {
        self.0.push(taken);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What so many of a thousand messages took at most.
    pub fn per_mille(&mut self, share: usize) -> Duration {
        assert!(!self.0.is_empty(), "nothing was measured");
        self.0.sort_unstable();
        self.0[(self.0.len() * share).div_ceil(1000).max(1) - 1]
    }

    /// For people to read.
    pub fn show(&mut self) -> String {
        let [half, p99, most] =
            [500, 990, 1000].map(|share| format!("{:.2} ms", self.per_mille(share).as_secs_f64() * 1e3));
        format!("{} messages, p50 {half}, p99 {p99}, max {most}", self.len())
    }
}

/// The client.
pub struct Steady {
    client: Client,
    channel: &'static str,
    sent: u64,
    received: u64,
    begun: Moment,
    latencies: Latencies,
}

impl Steady {
    /// Joins a channel of its own at this target, such as `/ws?token=…`.
    pub fn open(address: SocketAddr, target: &str) -> Self {
        let mut client = Client::from(address, ADDRESS.into());
        assert_eq!(client.upgrade(target, None), None, "no extension was offered");
        assert_eq!(client.json()["type"], "welcome");
        let channel = "steady";
        client.join(channel);
        let begun = Moment::now();
        Self { client, channel, sent: 0, received: 0, begun, latencies: Latencies::default() }
    }

    /// Publishes while `goes_on`, which is told how many were sent, and returns when all that was sent has come back.
    pub fn talk(mut self, mut goes_on: impl FnMut(u64) -> bool) -> Latencies {
        self.begun = Moment::now();
        while goes_on(self.sent) {
            self.receive_until(self.due(self.sent));
            let (channel, number) = (self.channel, self.sent);
            self.client.text(&format!(r#"{{"type":"publish","channel":"{channel}","data":{number}}}"#));
            self.sent += 1;
        }
        while self.received < self.sent {
            let received = self.client.next_within(DEADLINE);
            self.take(received.unwrap_or_else(|| panic!("{} of {} came back", self.received, self.sent)));
        }
        self.latencies
    }

    /// Takes what comes. A wait for the socket is exact, unlike a timeout of its reads.
    fn receive_until(&mut self, due: Moment) {
        loop {
            while let Some(received) = self.client.now() {
                self.take(received);
            }
            let left = due.since(Moment::now());
            if left.is_zero() {
                return;
            }
            let left = Timespec::try_from(left).expect("an interval is short");
            let _ = poll(&mut [PollFd::new(self.client.stream(), PollFlags::IN)], Some(&left));
        }
    }

    fn due(&self, number: u64) -> Moment {
        self.begun + INTERVAL * number as u32
    }

    fn take(&mut self, received: Received) {
        let text = match received {
            Received::Text(text) => text,
            Received::Ping(_) => return,
            other => panic!("a well-behaved client got {other:?} after {} messages", self.received),
        };
        let message: Value = serde_json::from_str(&text).expect("the server writes JSON");
        assert_eq!(message["type"], "message", "{text}");
        assert_eq!(message["data"], self.received, "each comes once and in order");
        self.latencies.add(Moment::now().since(self.due(self.received)));
        self.received += 1;
    }
}
