//! Bytes arrive: whole, once, in order, to whoever they are for.
#![allow(clippy::unwrap_used, reason = "a step of a test that fails has failed the test")]

mod world;

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use highper_shards::driver::{Driver, Options};
use highper_shards::{Limits, SlotId};
use world::{Event, Internet, Rig, World, echo, for_each_driver, pattern, say};

for_each_driver![
    who_comes_is_known_by_address,
    what_is_sent_comes_back,
    replies_of_one_turn_leave_in_one_send,
    a_large_message_survives_short_writes,
    a_peer_that_reads_late_gets_everything,
    many_connections_are_served_at_once,
    a_shared_frame_reaches_everybody,
    a_few_buffers_serve_hundreds_of_senders,
    a_connection_that_rests_is_heard_again,
];

fn who_comes_is_known_by_address<W: Internet>() {
    let mut rig = Rig::<W>::new(|_, _| {});
    rig.world.listen_v6(&mut rig.shard);
    // Several in one turn, and more than io_uring accepts at once.
    let hosts = (1..=50u8).map(|host| format!("127.{}.0.{host}", host % 7)).chain(["::1".to_owned()]);
    let wanted: Vec<IpAddr> = hosts.map(|host| host.parse().unwrap()).collect();
    let clients: Vec<_> = wanted.iter().map(|from| rig.world.connect_from(*from)).collect();
    let known: Vec<_> = wanted.iter().map(|_| rig.world.connect()).collect();
    let count = clients.len() + known.len();
    rig.until("all accepted", |rig| rig.connections() == count);
    let peers: Vec<SocketAddr> =
        rig.shard.logic().peers.iter().map(|peer| peer.expect("it is TCP")).collect();
    assert!(peers.iter().all(|peer| peer.port() != 0));
    let times = |ip: &IpAddr| peers.iter().filter(|peer| peer.ip() == *ip).count();
    for ip in &wanted {
        assert_eq!(times(ip), 1, "{ip} in {peers:?}");
    }
    assert_eq!(times(&IpAddr::from([127, 0, 0, 1])), known.len());
}

fn what_is_sent_comes_back<W: World>() {
    let mut rig = Rig::<W>::new(echo);
    let mut client = rig.connect();
    for message in [&b"a"[..], b"hello", &[0; 1000]] {
        rig.write(&mut client, message);
        assert_eq!(rig.read(&mut client, message.len()), message);
    }
    rig.until("counted", |rig| rig.shard.io().counters().bytes_out == 1006);
    assert_eq!(rig.shard.io().counters().bytes_in, 1006);
}

fn replies_of_one_turn_leave_in_one_send<W: World>() {
    let mut rig = Rig::<W>::new(|io, event| {
        if let Event::Bytes(slot, bytes) = event {
            for byte in bytes {
                say(io, *slot, &[*byte]);
            }
        }
    });
    let mut client = rig.connect();
    rig.write(&mut client, &pattern(100));
    assert_eq!(rig.read(&mut client, 100), pattern(100));
    let counters = *rig.shard.io().counters();
    assert!(counters.sends <= counters.receives, "one send for each receive at most: {counters:?}");
}

fn a_large_message_survives_short_writes<W: World>() {
    let mut rig = Rig::<W>::with(&Options::default(), roomy(), echo);
    let mut client = rig.connect();
    let message = pattern(4 << 20);
    let (mut written, mut read) = (0, Vec::new());
    rig.until("echoed", |rig| {
        written += rig.world.write(&mut client, &message[written..]);
        // Reading little at a time keeps the shard's sends short.
        if let world::Read::Bytes(bytes) = rig.world.read(&mut client, 50_000) {
            read.extend_from_slice(&bytes);
        }
        read.len() == message.len()
    });
    assert!(read == message, "4 MiB came back changed");
}

fn a_peer_that_reads_late_gets_everything<W: World>() {
    let message = Rc::new(pattern(32 << 20));
    let said = Rc::clone(&message);
    let mut rig = Rig::<W>::with(&Options::default(), roomy(), move |io, event| {
        if let Event::Opened(slot) = event {
            say(io, *slot, &said);
        }
    });
    let mut client = rig.connect();
    let mut before = usize::MAX;
    rig.until("full", |rig| {
        let queued = rig.shard.io().queued() as usize;
        std::mem::replace(&mut before, queued) == queued && queued < 32 << 20
    });
    assert!(before > 0, "no socket holds 32 MiB");
    assert!(rig.read(&mut client, 32 << 20) == *message, "32 MiB came changed");
    rig.until("paid", |rig| rig.shard.io().queued() == 0);
}

fn many_connections_are_served_at_once<W: World>() {
    let mut rig = Rig::<W>::new(echo);
    let mut clients = rig.connect_many(500);
    for (number, client) in clients.iter_mut().enumerate() {
        rig.write(client, &(number as u64).to_be_bytes());
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(rig.read(client, 8), (number as u64).to_be_bytes());
    }
    drop(clients);
    rig.until_all_slots_are_free();
}

fn a_shared_frame_reaches_everybody<W: World>() {
    let news = pattern(3000);
    let said = news.clone();
    let mut rig = Rig::<W>::new(move |io, event| {
        let Event::Bytes(..) = event else { return };
        let frame = io.frame(|out| out.extend_from_slice(&said));
        for slot in io.ids() {
            io.open(slot).unwrap().out.push(frame.clone()).unwrap();
        }
        io.recycle(frame);
    });
    let mut clients = rig.connect_many(200);
    rig.write(&mut clients[17], b"!");
    for client in &mut clients {
        assert!(rig.read(client, news.len()) == news);
    }
    assert_eq!(rig.shard.io().counters().sends, 200);
}

fn a_few_buffers_serve_hundreds_of_senders<W: World>() {
    const EACH: usize = 10_000;
    let options = Options { buffer_bytes: 512, buffer_count: 8, ..Options::default() };
    let received = Rc::new(Cell::new(0));
    let count = Rc::clone(&received);
    let mut rig = Rig::<W>::with(&options, Limits::default(), move |io, event| {
        if let Event::Bytes(_, bytes) = event {
            count.set(count.get() + bytes.len());
        }
        echo(io, event);
    });
    let mut clients = rig.connect_many(300);
    let message = pattern(EACH);
    for client in &mut clients {
        assert_eq!(rig.world.write(client, &message), EACH, "the socket takes it at once");
    }
    rig.until("all received", |_| received.get() == 300 * EACH);
    for client in &mut clients {
        assert!(rig.read(client, EACH) == message);
    }
    assert!(rig.shard.driver().counters().no_buffers > 0, "the pool never ran dry");
}

fn a_connection_that_rests_is_heard_again<W: World>() {
    let limits = Limits { rest_after: std::time::Duration::from_millis(20), ..Limits::default() };
    let deadlines = Rc::new(Cell::new(0));
    let count = Rc::clone(&deadlines);
    let arm = |io: &mut highper_shards::Io<(), u64>, slot: SlotId| {
        io.arm(slot, io.now() + std::time::Duration::from_millis(30));
    };
    let mut rig = Rig::<W>::with(&Options::default(), limits, move |io, event| {
        match event {
            Event::Opened(slot) => arm(io, *slot),
            Event::Deadline(slot, _) => {
                count.set(count.get() + 1);
                arm(io, *slot);
            }
            Event::Accepted(_) | Event::Connected(..) | Event::Bytes(..) | Event::Ended(..) => {}
            Event::Panicked(_) | Event::Message(..) => {}
        }
        echo(io, event);
    });
    let mut client = rig.connect();
    for round in 1..=3 {
        rig.until("rested", |_| deadlines.get() >= 2 * round);
        rig.write(&mut client, b"still there?");
        assert_eq!(rig.read(&mut client, 12), b"still there?");
    }
}

/// Limits that a large message fits.
fn roomy() -> Limits {
    Limits { outbox_bytes_max: 64 << 20, ..Limits::default() }
}
