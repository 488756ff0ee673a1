//! Two shards, 200 clients on 20 channels, 50 of them publish: under faults no subscriber sees a gap, a duplicate
//! or a stranger's message, and whoever is not broken sees everything.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use highper_shards::driver::sim::{Budget, Client, FaultCounts, World};
use highper_shards::mesh::Lane;
use highper_shards::{ShardId, SlotId};

use crate::script::{Build, PORT, Script, Shared};

const CLIENTS: usize = 200;
const CHANNELS: usize = 20;
const PUBLISHERS: usize = 50;
const MESSAGES: u8 = 4;

/// Kind, channel, publisher, sequence, and four bytes of nothing.
type Record = [u8; 8];
const JOIN: u8 = 0;
const PUBLISH: u8 = 1;

type Subscribers = Rc<RefCell<Vec<Vec<SlotId>>>>;

/// A shard of a small hub. The bytes of an unfinished record are kept in the number of the connection: seven of
/// them, and how many in the highest byte.
fn hub() -> Script {
    let subscribers: Subscribers = Rc::new(RefCell::new(vec![Vec::new(); CHANNELS]));
    let local = Rc::clone(&subscribers);
    let mut script = Script::new(move |io, slot, bytes| {
        for byte in bytes.iter() {
            let kept = io.conn(slot).expect("it lives");
            let mut record = kept.to_le_bytes();
            let count = usize::from(record[7]);
            record[count] = *byte;
            record[7] = if count < 7 { count as u8 + 1 } else { *byte };
            *kept = if count < 7 { u64::from_le_bytes(record) } else { 0 };
            if count == 7 {
                on_record(io, slot, record, &mut local.borrow_mut());
            }
        }
    });
    script.on_message = Box::new(move |io, _, message| {
        deliver(io, message.to_le_bytes(), &mut subscribers.borrow_mut());
    });
    script
}

fn on_record(io: &mut Shared, slot: SlotId, record: Record, subscribers: &mut [Vec<SlotId>]) {
    if record[0] == JOIN {
        subscribers[usize::from(record[1])].push(slot);
        let mut open = io.open(slot).expect("it lives");
        return open.out.write(|out| out.extend_from_slice(&record)).expect("tests give room");
    }
    deliver(io, record, subscribers);
    let other = ShardId(1 - io.shard().0);
    io.post(other, Lane::Bulk, u64::from_le_bytes(record)).expect("the lane is long");
}

fn deliver(io: &mut Shared, record: Record, subscribers: &mut [Vec<SlotId>]) {
    let frame = io.frame(|out| out.extend_from_slice(&record));
    subscribers[usize::from(record[1])]
        .retain(|slot| io.open(*slot).is_some_and(|mut open| open.out.push(frame.clone()).is_ok()));
    io.recycle(frame);
}

/// What one client has seen, and what it is owed.
struct Subscriber {
    client: Client,
    channel: u8,
    bytes: Vec<u8>,
    joined: bool,
    /// The next sequence of each publisher.
    next: HashMap<u8, u8>,
}

impl Subscriber {
    fn new(world: &World, number: usize) -> Self {
        let (client, channel) = (world.connect(PORT), (number % CHANNELS) as u8);
        client.write(&[JOIN, channel, 0, 0, 0, 0, 0, 0]);
        Self { client, channel, bytes: Vec::new(), joined: false, next: HashMap::new() }
    }

    /// Reads and checks: order, no gap, no duplicate, no phantom.
    fn read(&mut self) {
        self.client.read_into(&mut self.bytes);
        let (records, rest) = self.bytes.as_chunks::<8>();
        for record in records {
            assert_eq!(record[1], self.channel, "a message of another channel");
            if record[0] == JOIN {
                assert!(!self.joined, "it joined once");
                self.joined = true;
            } else {
                assert!(self.joined, "a message before the answer to the join");
                let next = self.next.entry(record[2]).or_default();
                assert_eq!(record[3], *next, "publisher {}: a gap or a duplicate", record[2]);
                *next += 1;
            }
        }
        self.bytes = rest.to_vec();
    }

    fn is_broken(&self) -> bool {
        let state = self.client.state();
        state.reset || state.shut || state.eof
    }

    fn has_everything(&self) -> bool {
        let publishers = (0..PUBLISHERS).filter(|number| (number % CHANNELS) as u8 == self.channel);
        publishers.into_iter().all(|number| self.next.get(&(number as u8)) == Some(&MESSAGES))
    }
}

/// One world; returns how many messages were delivered and what went wrong.
fn run(seed: u64, harmless: bool) -> (u64, FaultCounts) {
    let mut build = Build::faulty(seed);
    build.lane = 1024;
    if harmless {
        build.faults = build.faults.harmless();
        build.limits.write_timeout = Duration::from_secs(600);
    }
    let mut engine = build.engine([hub(), hub()]);
    let world = engine.world.clone();
    let mut subscribers: Vec<_> = (0..CLIENTS).map(|number| Subscriber::new(&world, number)).collect();
    let read_news = |subscribers: &mut Vec<Subscriber>| {
        let mut any = false;
        while let Some(client) = world.next_news() {
            subscribers[client.number as usize].read();
            any = true;
        }
        any
    };
    engine.until("all have joined", |_| {
        let any = read_news(&mut subscribers);
        any && subscribers.iter().all(|subscriber| subscriber.joined || subscriber.is_broken())
    });
    for sequence in 0..MESSAGES {
        for (number, publisher) in subscribers.iter().take(PUBLISHERS).enumerate() {
            publisher.client.write(&[PUBLISH, publisher.channel, number as u8, sequence, 0, 0, 0, 0]);
        }
    }
    let everything = |subscribers: &[Subscriber]| subscribers.iter().all(Subscriber::has_everything);
    let budget = Budget { span: Duration::from_secs(120), ..Budget::default() };
    let result = world
        .run_until(&mut engine.shards, budget, |_| read_news(&mut subscribers) && everything(&subscribers));
    assert!(!harmless || result.is_ok(), "{result:?}");
    let delivered = subscribers.iter().flat_map(|subscriber| subscriber.next.values());
    (delivered.map(|count| u64::from(*count)).sum(), world.fault_counts())
}

#[test]
fn every_subscriber_sees_every_message_once_and_in_order() {
    let every = (CLIENTS / CHANNELS * PUBLISHERS * usize::from(MESSAGES)) as u64;
    for seed in 0..60 {
        let (delivered, _) = run(seed, true);
        assert_eq!(delivered, every, "seed {seed}");
    }
    let broken: u64 = (0..60).map(|seed| every - run(seed, false).0).sum();
    assert!(broken > 0, "some connections broke");
}

#[test]
#[ignore = "prints a figure; run with --ignored --nocapture"]
#[expect(clippy::print_stdout, reason = "the figure is what it is for")]
fn a_thousand_worlds() {
    let began = crate::measure::cpu_time();
    let mut counts = FaultCounts::default();
    let mut delivered = 0;
    for seed in 0..1_000 {
        let (some, faults) = run(seed, seed % 2 == 0);
        delivered += some;
        counts.add(&faults);
    }
    let took = (crate::measure::cpu_time() - began).as_secs_f64();
    println!("1,000 worlds, {delivered} deliveries: {took:.1} s of processor time; {counts:?}");
}
