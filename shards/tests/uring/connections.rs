//! Bytes arrive, whatever their size, timing and direction; connections begin and end.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use highper_shards::driver::{Driver, Options};
use highper_shards::logic::End;
use highper_shards::{Close, Errno, Frame, Limits};

use super::harness::*;

/// With the table of direct descriptors, and without it.
fn both_kinds_of_descriptors() -> [Options; 2] {
    [Options::default(), Options { sockets_max: 0, ..Options::default() }]
}

#[test]
fn every_byte_comes_back_in_order_however_it_is_cut() {
    for options in both_kinds_of_descriptors() {
        let (mut shard, address) = listening(&options, limits(), Echo::default());
        let text = shard.driver().features().to_string();
        assert_eq!(text.contains("ordinary"), options.sockets_max == 0, "{text}");
        beside(&mut shard, || {
            let mut stream = dial(address);
            for len in [1, 2, 125, 4096, 8191, 8192, 8193, 100_000] {
                let sent = pattern(len, len);
                stream.write_all(&sent).unwrap();
                let mut back = vec![0; len];
                stream.read_exact(&mut back).unwrap();
                assert!(back == sent, "{len} bytes");
            }
        });
    }
}

#[test]
fn pipelined_messages_come_back_in_order() {
    let (mut shard, address) = listening(&Options::default(), limits(), Echo::default());
    let total = 4 << 20;
    beside(&mut shard, || {
        let stream = dial(address);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for chunk in pattern(1, total).chunks(64) {
                    (&stream).write_all(chunk).unwrap();
                }
            });
            let mut back = vec![0; total];
            (&stream).read_exact(&mut back).unwrap();
            assert!(back == pattern(1, total));
        });
    });
    let counters = *shard.io().counters();
    assert!(counters.sends < (total / 64) as u64, "replies of one turn leave together: {}", counters.sends);
}

#[test]
fn a_frame_larger_than_the_socket_goes_out_in_short_sends() {
    let (mut shard, address) = listening(&Options::default(), limits(), Echo::default());
    let mut stream = dial(address);
    until(&mut shard, "a connection", |shard| shard.logic().opened.len() == 1);
    let slot = shard.logic().opened[0];
    let len = 24 << 20;
    shard.io().open(slot).unwrap().out.push(Frame::from(pattern(3, len))).unwrap();
    let (head, tail) = beside(&mut shard, move || {
        let (mut head, mut tail) = (vec![0; len], [0; 4]);
        stream.read_exact(&mut head).unwrap();
        stream.write_all(b"done").unwrap();
        stream.read_exact(&mut tail).unwrap();
        (head, tail)
    });
    assert!(head == pattern(3, len));
    assert_eq!(&tail, b"done");
    assert_eq!(shard.io().queued(), 0);
}

#[test]
fn what_was_written_before_a_close_arrives_and_then_the_end() {
    for options in both_kinds_of_descriptors() {
        let (mut shard, address) = listening(&options, limits(), Echo::default());
        let mut stream = dial(address);
        until(&mut shard, "a connection", |shard| shard.logic().opened.len() == 1);
        let slot = shard.logic().opened[0];
        let len = 2 << 20;
        shard.io().open(slot).unwrap().out.push(Frame::from(pattern(5, len))).unwrap();
        shard.io().close(slot, Close::AfterFlush);
        let read = beside(&mut shard, move || {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            all
        });
        assert!(read == pattern(5, len));
        until(&mut shard, "the slot", |shard| shard.io().connections() == 0);
    }
}

#[test]
fn the_end_of_the_peer_is_told_once() {
    let (mut shard, address) = listening(&Options::default(), limits(), Echo::default());
    drop(dial(address));
    until(&mut shard, "the end", |shard| shard.logic().ended.len() == 1 && shard.io().connections() == 0);
    assert_eq!(shard.logic().ended[0].1, End::Eof);
}

#[test]
fn a_slot_is_used_again_with_a_new_generation() {
    let (mut shard, address) = listening(&Options::default(), limits(), Echo::default());
    for round in 0..300 {
        let mut stream = dial(address);
        stream.write_all(b"x").unwrap();
        until(&mut shard, "the echo", |shard| shard.io().counters().bytes_out == round + 1);
        stream.read_exact(&mut [0]).unwrap();
        if round % 2 == 0 {
            drop(stream);
        } else {
            let slot = *shard.logic().opened.last().unwrap();
            shard.io().close(slot, Close::Now);
        }
        until(&mut shard, "the slot", |shard| shard.io().connections() == 0);
    }
    let opened = &shard.logic().opened;
    assert_eq!(opened.len(), 300);
    assert!(opened.iter().all(|slot| slot.index() == opened[0].index()));
    assert!(opened.windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!(shard.io().counters().late, 0);
}

#[test]
fn a_silent_connection_rests_and_talks_again() {
    let limits = Limits { rest_after: Duration::from_millis(20), ..limits() };
    let logic = Echo { look_every: Some(Duration::from_millis(8)), ..Echo::default() };
    let (mut shard, address) = listening(&Options::default(), limits, logic);
    let mut stream = dial(address);
    for round in 1..=3 {
        // Long enough for the deadline to find it silent.
        let until_then = shard.io().now() + Duration::from_millis(60);
        until(&mut shard, "silence", |shard| shard.io().now() >= until_then);
        stream.write_all(b"hello").unwrap();
        until(&mut shard, "the echo", |shard| shard.logic().received == 5 * round);
        let mut back = [0; 5];
        beside(&mut shard, || stream.read_exact(&mut back).unwrap());
        assert_eq!(&back, b"hello");
    }
    assert_eq!(shard.logic().ended, []);
}

#[test]
fn outgoing_connections_come_from_the_address_asked_for() {
    for options in both_kinds_of_descriptors() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let mut shard = silent(&options, limits(), Echo::default());
        let from = Ipv4Addr::new(127, 0, 7, 3);
        let slot = shard.io().connect(address, Some(IpAddr::V4(from)), ()).unwrap();
        until(&mut shard, "the connection", |shard| !shard.logic().connected.is_empty());
        assert_eq!(shard.logic().connected, [(slot, Ok(()))]);
        let (mut peer, source) = listener.accept().unwrap();
        assert_eq!(source.ip(), from);
        peer.write_all(b"ping").unwrap();
        until(&mut shard, "bytes", |shard| shard.logic().received == 4);
        let mut back = [0; 4];
        beside(&mut shard, || peer.read_exact(&mut back).unwrap());
        assert_eq!(&back, b"ping");
    }
}

#[test]
fn a_refused_connection_is_told_and_its_slot_is_free() {
    for options in both_kinds_of_descriptors() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let mut shard = silent(&options, limits(), Echo::default());
        let slot = shard.io().connect(address, None, ()).unwrap();
        until(&mut shard, "the refusal", |shard| shard.io().connections() == 0);
        assert_eq!(shard.logic().connected, [(slot, Err(Errno::CONNREFUSED))]);
    }
}

#[test]
fn what_the_last_turn_queued_leaves_before_the_shard_is_gone() {
    let (mut shard, address) = listening(&Options::default(), limits(), Echo::default());
    let mut stream = dial(address);
    until(&mut shard, "a connection", |shard| shard.logic().opened.len() == 1);
    let slot = shard.logic().opened[0];
    shard.io().open(slot).unwrap().out.push(Frame::from(b"goodbye".to_vec())).unwrap();
    shard.turn(Some(Duration::ZERO)).unwrap();
    assert!(shard.driver().counters().enters > 0);
    drop(shard);
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"goodbye");
}

#[test]
fn the_end_of_one_connection_never_ends_another() {
    for options in both_kinds_of_descriptors() {
        let echo = Echo { farewell: Some(b'q'), ..Echo::default() };
        let (mut shard, address) = listening(&options, limits(), echo);
        let ask = |stream: &mut TcpStream, byte: u8| {
            let mut back = [0];
            stream.write_all(&[byte]).unwrap();
            stream.read_exact(&mut back).expect("nobody ends who was not asked to");
        };
        // Leavers are gone while the kernel still has to end our direction, and others get their places.
        beside(&mut shard, || {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..500 {
                            let (mut leaver, mut stayer) = (dial(address), dial(address));
                            ask(&mut leaver, b'q');
                            drop(leaver);
                            let mut next = dial(address);
                            ask(&mut next, b's');
                            ask(&mut stayer, b's');
                            ask(&mut next, b's');
                        }
                    });
                }
            });
        });
    }
}
