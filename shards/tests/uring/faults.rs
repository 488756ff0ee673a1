//! The kernel runs out of something: buffers, completions, places, sockets, permission. Nobody is lost.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use highper_shards::driver::uring::Uring;
use highper_shards::driver::{Driver, Options, Peers, Waker};
use highper_shards::{Close, Frame, ShardId, StartError};

use super::harness::*;

/// So many clients write at once, then all of them read what they wrote.
fn all_at_once(address: SocketAddr, clients: usize, len: usize, rounds: usize) {
    let mut streams: Vec<_> = (0..clients).map(|_| dial(address)).collect();
    for round in 0..rounds {
        for (client, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&pattern(client + round, len)).unwrap();
        }
        for (client, stream) in streams.iter_mut().enumerate() {
            let mut back = vec![0; len];
            stream.read_exact(&mut back).unwrap();
            assert!(back == pattern(client + round, len), "client {client}");
        }
    }
}

#[test]
fn eight_buffers_serve_five_hundred_senders() {
    let options = Options { buffer_count: 8, buffer_bytes: 1024, ..Options::default() };
    let (mut shard, address) = listening(&options, limits(), Echo::default());
    beside(&mut shard, || all_at_once(address, 500, 8192, 3));
    let counters = shard.driver().counters();
    assert!(counters.no_buffers > 0 && counters.rearmed >= counters.no_buffers, "{counters:?}");
}

#[test]
fn a_queue_of_sixteen_completions_loses_none_of_three_hundred_connections() {
    let options = Options { ring_entries: 2, ..Options::default() };
    let (mut shard, address) = listening(&options, limits(), Echo::default());
    assert_eq!(shard.driver().features().completions, 16);
    beside(&mut shard, || all_at_once(address, 300, 100, 20));
    let counters = shard.driver().counters();
    assert!(counters.overflows > 0, "{counters:?}");
    assert_eq!(shard.io().counters().accepted, 300);
    until(&mut shard, "every slot", |shard| shard.io().connections() == 0);
}

#[test]
fn a_blocked_send_does_not_keep_a_closed_connection() {
    for sockets_max in [64, 0] {
        let options = Options { sockets_max, ..Options::default() };
        let (mut shard, address) = listening(&options, limits(), Echo::default());
        let mut streams: Vec<_> = (0..20).map(|_| dial(address)).collect();
        until(&mut shard, "the connections", |shard| shard.logic().opened.len() == 20);
        let slots = shard.logic().opened.clone();
        for slot in &slots {
            shard.io().open(*slot).unwrap().out.push(Frame::from(vec![1; 16 << 20])).unwrap();
        }
        let before = shard.io().counters().bytes_out;
        until(&mut shard, "full sockets", |shard| {
            let taken = shard.io().counters().bytes_out;
            taken > before && shard.io().queued() > 0
        });
        for slot in &slots {
            shard.io().close(*slot, Close::Now);
        }
        until(&mut shard, "every slot", |shard| shard.io().connections() == 0);
        assert_eq!(shard.io().queued(), 0);
        for stream in &mut streams {
            let end = std::io::copy(stream, &mut std::io::sink());
            assert!(end.is_err() || end.is_ok_and(|read| read < 16 << 20), "the connection is gone");
        }
    }
}

#[test]
fn a_peer_that_takes_nothing_is_ended_after_the_write_timeout() {
    let limits = highper_shards::Limits { write_timeout: Duration::from_millis(50), ..limits() };
    let (mut shard, address) = listening(&Options::default(), limits, Echo::default());
    let stream = dial(address);
    until(&mut shard, "a connection", |shard| shard.logic().opened.len() == 1);
    let slot = shard.logic().opened[0];
    shard.io().open(slot).unwrap().out.push(Frame::from(vec![1; 16 << 20])).unwrap();
    until(&mut shard, "the end", |shard| shard.io().connections() == 0);
    assert_eq!(shard.io().counters().stalled, 1);
    drop(stream);
}

#[test]
fn a_connection_closed_while_its_first_bytes_arrive_is_gone() {
    let logic = Echo { close_at_once: Some(Close::Now), ..Echo::default() };
    let (mut shard, address) = listening(&Options::default(), limits(), logic);
    let mut streams: Vec<_> = (0..100).map(|_| dial(address)).collect();
    for stream in &mut streams {
        stream.write_all(b"too late").unwrap();
    }
    until(&mut shard, "every slot", |shard| {
        shard.logic().opened.len() == 100 && shard.io().connections() == 0
    });
    for stream in &mut streams {
        let end = stream.read(&mut [0]);
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
}

#[test]
fn a_full_table_ends_accepting_and_room_begins_it_again() {
    let options = Options { sockets_max: 4, ..Options::default() };
    let (mut shard, address) = listening(&options, limits(), Echo::default());
    let mut streams: Vec<_> = (0..4).map(|_| dial(address)).collect();
    until(&mut shard, "four connections", |shard| shard.logic().opened.len() == 4);
    until(&mut shard, "the error", |shard| shard.io().counters().accept_errors > 0);
    let mut waiting = dial(address);
    let errors = shard.io().counters().accept_errors;
    until(&mut shard, "another try", |shard| shard.io().counters().accept_errors > errors);
    drop(streams.pop());
    waiting.write_all(b"patience").unwrap();
    until(&mut shard, "the one that waited", |shard| shard.logic().received == 8);
    let mut back = [0; 8];
    beside(&mut shard, || waiting.read_exact(&mut back).unwrap());
    assert_eq!(&back, b"patience");
}

#[test]
fn more_sockets_in_flight_than_the_queue_has_entries_are_submitted_early() {
    let options = Options { ring_entries: 8, ..Options::default() };
    let (mut shard, address) = listening(&options, limits(), Echo::default());
    let mut streams: Vec<_> = beside(&mut shard, || (0..200).map(|_| dial(address)).collect());
    until(&mut shard, "the connections", |shard| shard.logic().opened.len() == 200);
    let slots = shard.logic().opened.clone();
    for round in 0..10 {
        let frame = shard.io().frame(|out| out.extend_from_slice(&pattern(round, 333)));
        for slot in &slots {
            shard.io().open(*slot).unwrap().out.push(frame.clone()).unwrap();
        }
        let due = shard.io().counters().bytes_out + 200 * 333;
        until(&mut shard, "one frame for all", |shard| shard.io().counters().bytes_out == due);
    }
    for stream in &mut streams {
        let mut all = vec![0; 3330];
        stream.read_exact(&mut all).unwrap();
        assert!(all == (0..10).flat_map(|round| pattern(round, 333)).collect::<Vec<_>>());
    }
}

/// Lets a test run under another limit of descriptors: its twin, ignored otherwise, runs in a child process.
fn under_a_limit(descriptors: u32, test: &str) {
    let program = std::env::current_exe().unwrap();
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!("ulimit -n {descriptors} && exec \"$0\" --exact {test} --ignored --test-threads=1"))
        .arg(program)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn rings_hold_more_sockets_than_the_limit_of_the_process() {
    under_a_limit(128, "faults::rings_hold_more_sockets_than_a_limit_of_128");
}

#[test]
#[ignore = "runs in a child process under a limit of 128 descriptors"]
fn rings_hold_more_sockets_than_a_limit_of_128() {
    let options = Options { sockets_max: 1000, ..Options::default() };
    let mut servers: Vec<_> = (0..2).map(|_| listening(&options, limits(), Echo::default())).collect();
    let mut clients: Vec<_> = (0..2).map(|_| silent(&options, limits(), Echo::default())).collect();
    for ((server, _), client) in servers.iter_mut().zip(&mut clients) {
        for shard in [server, client] {
            assert_eq!(shard.driver().features().direct_descriptors, Some(128));
        }
    }
    for (client, (_, address)) in clients.iter_mut().zip(&servers) {
        for _ in 0..120 {
            client.io().connect(*address, None, ()).unwrap();
        }
    }
    for ((server, _), client) in servers.iter_mut().zip(&mut clients) {
        until(client, "connections", |client| {
            server.turn(Some(Duration::ZERO)).unwrap();
            client.logic().connected.len() == 120 && server.logic().opened.len() == 120
        });
        assert!(client.logic().connected.iter().all(|(_, result)| result.is_ok()));
        let slots = client.logic().opened.clone();
        assert!(slots.is_empty(), "outgoing connections are not accepted ones");
        for (slot, _) in client.logic().connected.clone() {
            client.io().open(slot).unwrap().out.write(|out| out.extend_from_slice(b"hello")).unwrap();
        }
        client.logic().mute = true;
        until(client, "the echoes", |client| {
            server.turn(Some(Duration::ZERO)).unwrap();
            client.logic().received == 120 * 5
        });
    }
    let sockets: usize = servers.iter_mut().map(|(server, _)| server.io().connections()).sum::<usize>()
        + clients.iter_mut().map(|client| client.io().connections()).sum::<usize>();
    assert_eq!(sockets, 480, "all at once");
}

#[test]
fn little_lockable_memory_is_enough() {
    let program = std::env::current_exe().unwrap();
    let status = Command::new("sh")
        .arg("-c")
        .arg("ulimit -l 64 && exec \"$0\" --exact connections::every_byte_comes_back_in_order_however_it_is_cut")
        .arg(program)
        .output()
        .unwrap()
        .status;
    assert!(status.success());
}

#[test]
fn a_seccomp_profile_that_forbids_io_uring_is_named() {
    let text = std::thread::scope(|scope| {
        let forbidden = scope.spawn(|| {
            forbid_io_uring();
            let peers = Peers::new([Waker::new().unwrap()]);
            match Uring::new(&Options::default(), ShardId(0), &peers) {
                Ok(_) => panic!("the filter forbids it"),
                Err(error) => {
                    assert!(error.epoll_would_do());
                    assert!(matches!(error, StartError::UringForbidden { .. }));
                    error.to_string()
                }
            }
        });
        forbidden.join().unwrap()
    });
    assert!(text.contains("seccomp") && text.contains("REALTIME_IO_DRIVER=epoll"), "{text}");
    // Other threads are not concerned.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    silent(&Options::default(), limits(), Echo::default()).listen(listener.into()).unwrap();
}

/// Makes `io_uring_setup` fail with EPERM in this thread, as the profile of a container does.
fn forbid_io_uring() {
    let step = |code: u32, jump_true: u8, jump_false: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt: jump_true,
        jf: jump_false,
        k,
    };
    let mut program = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_io_uring_setup as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter and its program outlive the calls, which concern this thread only.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, std::ptr::from_ref(&filter)), 0);
    }
}
