//! The end of a connection that stands right behind its last bytes is heard as soon as they are, whatever the
//! connection did before. No deadline is set here that would find a silent connection later.
#![allow(clippy::unwrap_used, reason = "a step of a test that fails has failed the test")]

mod world;

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use highper_shards::driver::Options;
use highper_shards::driver::epoll::Epoll;
use highper_shards::driver::uring::Uring;
use highper_shards::logic::End;
use highper_shards::{Errno, Limits};
use world::kernel::{Kernel, KernelDriver};
use world::local::Local;
use world::{Event, Rig, World, for_each_driver, for_each_driver_of_socket_files, pattern, say};

for_each_driver![
    an_end_behind_the_first_bytes_is_heard,
    an_end_behind_later_bytes_is_heard,
    an_end_that_comes_in_the_next_turn_is_heard,
    an_end_behind_the_bytes_that_end_a_rest_is_heard,
    an_end_that_waits_for_buffers_is_heard,
    a_reset_behind_bytes_is_heard,
];

for_each_driver_of_socket_files![
    an_end_behind_the_first_bytes_is_heard,
    an_end_behind_later_bytes_is_heard,
    an_end_that_comes_in_the_next_turn_is_heard,
    an_end_behind_the_bytes_that_end_a_rest_is_heard,
    an_end_that_waits_for_buffers_is_heard,
    an_end_of_both_sides_behind_bytes_is_heard,
    a_reset_behind_bytes_is_heard,
];

/// The simulated network never brings who is gone before it is accepted; the kernel does.
#[test]
fn who_is_gone_before_it_is_accepted_is_heard() {
    an_end_of_both_sides_behind_bytes_is_heard::<Kernel<Epoll>>();
    an_end_of_both_sides_behind_bytes_is_heard::<Kernel<Uring>>();
    a_reset_behind_the_first_bytes_is_heard::<Kernel<Epoll>>();
    a_reset_behind_the_first_bytes_is_heard::<Kernel<Uring>>();
}

/// No turn decides here what stands behind what.
#[test]
fn ends_that_race_with_their_bytes_are_heard() {
    race::<Epoll>();
    race::<Uring>();
}

fn race<D: KernelDriver>() {
    let mut rig = Rig::<Local<D>>::new(|_, _| {});
    let path = rig.world.path.clone();
    std::thread::scope(|scope| {
        let clients = scope.spawn(|| {
            for len in SIZES.iter().cycle().take(SIZES.len() * ROUNDS) {
                let mut client = UnixStream::connect(&path).unwrap();
                client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                client.write_all(&pattern(*len)).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                assert_eq!(client.read(&mut [0]).expect("its end was heard"), 0);
            }
        });
        rig.until("left by all", |_| clients.is_finished());
    });
    let ends = rig.events().iter().filter(|event| matches!(event, Event::Ended(_, End::Eof))).count();
    assert_eq!(ends, SIZES.len() * ROUNDS);
}

/// Around one receive buffer and around several.
const SIZES: [usize; 6] = [1, 100, 8191, 8192, 8193, 5 * 8192];

/// How often each size is tried.
const ROUNDS: usize = 20;

fn an_end_behind_the_first_bytes_is_heard<W: World>() {
    let mut rig = Rig::<W>::new(|_, _| {});
    for _ in 0..ROUNDS {
        for len in SIZES {
            let mut client = rig.world.connect();
            assert_eq!(rig.world.write(&mut client, &pattern(len)), len);
            rig.world.shutdown(&mut client);
            heard(&mut rig, &[pattern(len)], End::Eof);
        }
    }
}

fn an_end_behind_later_bytes_is_heard<W: World>() {
    let mut rig = Rig::<W>::new(|_, _| {});
    for _ in 0..ROUNDS {
        for len in SIZES {
            let mut client = rig.connect();
            rig.world.write(&mut client, b"first");
            rig.until("heard", |rig| rig.events().len() == 3);
            assert_eq!(rig.world.write(&mut client, &pattern(len)), len);
            rig.world.shutdown(&mut client);
            heard(&mut rig, &[b"first".to_vec(), pattern(len)], End::Eof);
        }
    }
}

fn an_end_that_comes_in_the_next_turn_is_heard<W: World>() {
    let mut rig = Rig::<W>::new(|_, _| {});
    for _ in 0..ROUNDS {
        for (turns, len) in (0..3).zip(SIZES) {
            let mut client = rig.world.connect();
            (0..turns).for_each(|_| rig.turn());
            assert_eq!(rig.world.write(&mut client, &pattern(len)), len);
            rig.turn();
            rig.world.shutdown(&mut client);
            heard(&mut rig, &[pattern(len)], End::Eof);
        }
    }
}

fn an_end_behind_the_bytes_that_end_a_rest_is_heard<W: World>() {
    // Only so that it rests: nothing looks at it any more once it has spoken.
    let limits = Limits { rest_after: Duration::from_millis(20), ..Limits::default() };
    let mut rig = Rig::<W>::with(&Options::default(), limits, |io, event| {
        if let Event::Opened(slot) = event {
            io.arm(*slot, io.now() + Duration::from_millis(40));
        }
    });
    for len in SIZES {
        let mut client = rig.connect();
        rig.until("looked at", |rig| rig.events().iter().any(|event| matches!(event, Event::Deadline(..))));
        // It was told to rest in the turn of its deadline; the kernel says so in the next ones.
        (0..5).for_each(|_| rig.turn());
        assert_eq!(rig.world.write(&mut client, &pattern(len)), len);
        rig.world.shutdown(&mut client);
        heard(&mut rig, &[pattern(len)], End::Eof);
    }
}

fn an_end_that_waits_for_buffers_is_heard<W: World>() {
    let options = Options { buffer_count: 2, buffer_bytes: 512, ..Options::default() };
    let mut rig = Rig::<W>::with(&options, Limits::default(), |_, _| {});
    let mut clients: Vec<W::Client> = (0..40).map(|_| rig.world.connect()).collect();
    for client in &mut clients {
        assert_eq!(rig.world.write(client, &pattern(2000)), 2000);
        rig.world.shutdown(client);
    }
    rig.until("all ended", |rig| {
        rig.events().iter().filter(|event| matches!(event, Event::Ended(_, End::Eof))).count() == 40
    });
    drop(clients);
    rig.until_all_slots_are_free();
    assert_eq!(rig.shard.io().counters().bytes_in, 40 * 2000);
}

fn a_reset_behind_bytes_is_heard<W: World>() {
    // What was said to it is never read: that breaks a connection of a socket file.
    let mut rig = Rig::<W>::new(|io, event| {
        if let Event::Opened(slot) = event {
            say(io, *slot, b"welcome");
        }
    });
    for _ in 0..ROUNDS {
        for len in SIZES {
            let sent = rig.shard.io().counters().bytes_out + 7;
            let mut client = rig.world.connect();
            rig.until("sent", |rig| rig.shard.io().counters().bytes_out == sent);
            rig.world.write(&mut client, &pattern(len));
            rig.world.reset(client);
            ended(&mut rig, End::Failed(Errno::CONNRESET));
        }
    }
}

fn a_reset_behind_the_first_bytes_is_heard<W: World>() {
    let mut rig = Rig::<W>::new(|_, _| {});
    for _ in 0..ROUNDS {
        for (turns, len) in (0..6).zip(SIZES) {
            let mut client = rig.world.connect();
            (0..turns).for_each(|_| rig.turn());
            rig.world.write(&mut client, &pattern(len));
            rig.world.reset(client);
            ended(&mut rig, End::Failed(Errno::CONNRESET));
        }
    }
}

fn an_end_of_both_sides_behind_bytes_is_heard<W: World>() {
    let mut rig = Rig::<W>::new(|_, _| {});
    for _ in 0..ROUNDS {
        for (turns, len) in (0..6).zip(SIZES) {
            let mut client = rig.world.connect();
            (0..turns).for_each(|_| rig.turn());
            assert_eq!(rig.world.write(&mut client, &pattern(len)), len);
            drop(client);
            heard(&mut rig, &[pattern(len)], End::Eof);
        }
    }
}

/// The only connection of the shard says all of these bytes and ends so.
fn heard<W: World>(rig: &mut Rig<W>, bytes: &[Vec<u8>], end: End) {
    let said: Vec<u8> = ended(rig, end).into_iter().flatten().collect();
    assert!(said == bytes.concat(), "every byte, once");
}

/// The only connection of the shard ends so; what it said before.
fn ended<W: World>(rig: &mut Rig<W>, end: End) -> Vec<Vec<u8>> {
    rig.until("ended", |rig| rig.events().iter().any(|event| matches!(event, Event::Ended(..))));
    let slot = opened(rig);
    assert_eq!(rig.events().last(), Some(&Event::Ended(slot, end)));
    rig.until_all_slots_are_free();
    let events = std::mem::take(&mut rig.shard.logic().events);
    events
        .into_iter()
        .filter_map(|event| if let Event::Bytes(_, bytes) = event { Some(bytes) } else { None })
        .collect()
}

fn opened<W: World>(rig: &mut Rig<W>) -> highper_shards::SlotId {
    let opened = rig
        .events()
        .iter()
        .find_map(|event| if let Event::Opened(slot) = event { Some(*slot) } else { None });
    opened.expect("it was accepted")
}
