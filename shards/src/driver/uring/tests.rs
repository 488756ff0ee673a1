//! The driver without a turn around it: what each operation answers, and what is in flight meanwhile.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::flight::REST;
use super::*;
use crate::driver::ReceiveEnd;

struct Bench {
    driver: Uring,
    address: SocketAddr,
    listener: ListenerId,
    completions: Vec<Completion>,
}

const TOKEN: Token = Token { index: 0, generation: 1 };

fn options() -> Options {
    Options { ring_entries: 64, buffer_bytes: 1024, buffer_count: 8, sockets_max: 1024 }
}

impl Bench {
    fn new(options: &Options) -> Self {
        Self::over(Uring::new(options, ShardId(0), &Peers::new([Waker::new().unwrap()])).unwrap())
    }

    fn over(mut driver: Uring) -> Self {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let listener = driver.listen(socket.into()).unwrap();
        driver.arm_accept(listener);
        Self { driver, address, listener, completions: Vec::new() }
    }

    /// Turns until `wanted` picks a completion, and takes that one out of the list.
    fn until<T>(&mut self, wanted: impl Fn(&Completion) -> Option<T>) -> T {
        for _ in 0..1000 {
            if let Some(found) =
                self.completions.iter().enumerate().find_map(|(at, said)| Some((at, wanted(said)?)))
            {
                self.completions.remove(found.0);
                return found.1;
            }
            self.driver.turn(Wait::AtMost(Duration::from_millis(10)), &mut self.completions).unwrap();
        }
        panic!("it did not come: {:?}", self.completions);
    }

    fn accept(&mut self, token: Token) -> (TcpStream, Socket) {
        let client = TcpStream::connect(self.address).unwrap();
        let socket = self.until(accepted);
        self.driver.adopt(token, socket, self.listener);
        (client, socket)
    }

    /// Makes the kernel complete something that was never asked for.
    fn complete(&mut self, user_data: u64) {
        let nop = io_uring::opcode::Nop::new().build().user_data(user_data);
        #[expect(unsafe_code, reason = "an entry of the submission queue")]
        // SAFETY: a nop points to no memory.
        let pushed = unsafe { self.driver.ring.push(&nop) };
        assert!(pushed);
    }

    fn in_flight(&self) -> usize {
        self.driver.flights.owed().count()
    }
}

fn accepted(said: &Completion) -> Option<Socket> {
    if let Completion::Accepted { socket, .. } = said { Some(*socket) } else { None }
}

fn ended(said: &Completion) -> Option<ReceiveEnd> {
    if let Completion::ReceiveEnded { end, .. } = said { Some(*end) } else { None }
}

fn closed(said: &Completion) -> Option<()> {
    matches!(said, Completion::Closed { .. }).then_some(())
}

fn received(said: &Completion) -> Option<(u16, u32, bool)> {
    if let Completion::Received { buffer, armed, .. } = said {
        Some((buffer.id, buffer.len, *armed))
    } else {
        None
    }
}

#[test]
fn the_driver_works_with_fewer_flags_and_says_so() {
    for mode in Mode::BEST_FIRST {
        let ring = Ring::open_as(mode, 64).unwrap();
        let peers = Peers::new([Waker::new().unwrap()]);
        let mut bench = Bench::over(Uring::on(ring, mode, &options(), ShardId(0), &peers).unwrap());
        assert_eq!(bench.driver.features().mode, mode);
        let (mut client, socket) = bench.accept(TOKEN);
        bench.driver.arm_receive(TOKEN, socket, Receive::Stream);
        for round in 0..100 {
            client.write_all(&[round]).unwrap();
            let (id, len, armed) = bench.until(received);
            let bytes = bench.driver.bytes(&Buffer { id, len }).to_vec();
            bench.driver.give_back(Buffer { id, len });
            assert!(armed && bytes == [round], "{mode:?}");
            bench.driver.send(TOKEN, socket, Frame::from(bytes), 0);
            bench.until(|said| matches!(said, Completion::Sent { result: Ok(1), .. }).then_some(()));
            client.read_exact(&mut [0]).unwrap();
        }
        bench.driver.close(TOKEN, socket);
        bench.until(closed);
        bench.until(ended);
        assert_eq!(bench.in_flight(), 0, "{mode:?}");
    }
}

#[test]
fn a_resting_socket_says_that_it_woke_and_streams_when_asked() {
    let mut bench = Bench::new(&options());
    let (mut client, socket) = bench.accept(TOKEN);
    bench.driver.arm_receive(TOKEN, socket, Receive::Rest);
    bench.driver.turn(Wait::Poll, &mut bench.completions).unwrap();
    assert!(bench.driver.flights.get(TOKEN).unwrap().has(REST));
    client.write_all(b"awake").unwrap();
    assert_eq!(bench.until(ended), ReceiveEnd::Cancelled);
    assert_eq!(bench.in_flight(), 0);
    bench.driver.arm_receive(TOKEN, socket, Receive::Stream);
    let (id, len, armed) = bench.until(received);
    assert!(armed, "a stream goes on");
    let buffer = Buffer { id, len };
    assert_eq!(bench.driver.bytes(&buffer), b"awake");
    bench.driver.give_back(buffer);
}

#[test]
fn a_cancelled_receive_ends_and_the_socket_rests() {
    let mut bench = Bench::new(&options());
    let (client, socket) = bench.accept(TOKEN);
    for how in [Receive::Stream, Receive::Rest] {
        bench.driver.arm_receive(TOKEN, socket, how);
        bench.driver.turn(Wait::Poll, &mut bench.completions).unwrap();
        bench.driver.cancel_receive(TOKEN, socket);
        assert_eq!(bench.until(ended), ReceiveEnd::Cancelled, "{how:?}");
        assert_eq!(bench.in_flight(), 0, "{how:?}");
    }
    drop(client);
}

#[test]
fn a_close_in_the_very_turn_of_the_receive_leaves_nothing_behind() {
    let mut bench = Bench::new(&options());
    for generation in 0..50 {
        let token = Token { index: 3, generation };
        let (mut client, socket) = bench.accept(token);
        // Bytes are there, so the receive is due before the cancel is submitted.
        client.write_all(b"early").unwrap();
        bench.driver.arm_receive(token, socket, Receive::Stream);
        bench.driver.close(token, socket);
        bench.until(closed);
        bench.until(ended);
        assert_eq!(bench.in_flight(), 0);
        for said in std::mem::take(&mut bench.completions) {
            if let Completion::Received { buffer, .. } = said {
                bench.driver.give_back(buffer);
            }
        }
        let end = client.read(&mut [0; 1]);
        assert!(matches!(end, Ok(0) | Err(_)), "the peer is told: {end:?}");
    }
}

#[test]
fn a_cancel_that_came_too_soon_is_repeated() {
    let mut bench = Bench::new(&options());
    let (_client, socket) = bench.accept(TOKEN);
    bench.driver.arm_receive(TOKEN, socket, Receive::Stream);
    bench.driver.turn(Wait::Poll, &mut bench.completions).unwrap();
    bench.driver.flights.set(TOKEN, CLOSE);
    bench.complete(Operation::CancelReceive.of(TOKEN));
    assert_eq!(bench.until(ended), ReceiveEnd::Cancelled);
    bench.complete(Operation::CancelReceive.of(TOKEN));
    bench.driver.turn(Wait::Poll, &mut bench.completions).unwrap();
    assert!(bench.driver.again.is_empty(), "nothing is owed any more");
}

#[test]
fn a_close_brings_the_frame_of_a_blocked_send_back() {
    let mut bench = Bench::new(&options());
    let (client, socket) = bench.accept(TOKEN);
    bench.driver.arm_receive(TOKEN, socket, Receive::Stream);
    let frame = Frame::from(vec![7; 16 << 20]);
    let sent = |said: &Completion| {
        if let Completion::Sent { result, frame, .. } = said { Some((*result, frame.len())) } else { None }
    };
    let mut from = 0;
    loop {
        bench.driver.send(TOKEN, socket, frame.clone(), from);
        bench.driver.turn(Wait::Poll, &mut bench.completions).unwrap();
        match bench.completions.iter().find_map(sent) {
            Some((result, _)) => from += result.unwrap(),
            None => break,
        }
        bench.completions.clear();
    }
    assert!(from > 0 && from < frame.len(), "the kernel took a part: {from}");
    bench.driver.close(TOKEN, socket);
    assert_eq!(bench.until(sent), (Err(Errno::CANCELED), frame.len()));
    bench.until(closed);
    bench.until(ended);
    assert_eq!(bench.in_flight(), 0);
    drop(client);
}

#[test]
fn a_completion_of_a_generation_that_is_gone_touches_no_state() {
    let mut bench = Bench::new(&options());
    let (_client, socket) = bench.accept(TOKEN);
    bench.driver.arm_receive(TOKEN, socket, Receive::Stream);
    bench.driver.turn(Wait::Poll, &mut bench.completions).unwrap();
    let late = Token { generation: TOKEN.generation - 1, ..TOKEN };
    bench.complete(Operation::Receive.of(late));
    let token = bench
        .until(|said| if let Completion::ReceiveEnded { token, .. } = said { Some(*token) } else { None });
    assert_eq!(token, late, "the turn sees whose it was, and finds nobody");
    assert!(bench.driver.flights.get(TOKEN).unwrap().has(RECEIVE), "the live receive is still armed");
}

fn accept_error(said: &Completion) -> Option<Errno> {
    if let Completion::AcceptEnded { error, .. } = said { Some(*error) } else { None }
}

#[test]
fn a_full_table_leaves_new_connections_in_the_backlog() {
    let mut bench = Bench::new(&Options { sockets_max: 2, ..options() });
    let tokens = [Token { index: 0, generation: 0 }, Token { index: 1, generation: 0 }];
    let (_one, first) = bench.accept(tokens[0]);
    let (_two, _) = bench.accept(tokens[1]);
    assert_eq!(bench.until(accept_error), Errno::NFILE, "the table is full");
    let mut waiting = TcpStream::connect(bench.address).unwrap();
    bench.driver.arm_accept(bench.listener);
    assert_eq!(bench.until(accept_error), Errno::NFILE, "arming at the limit accepts nobody");
    bench.driver.close(tokens[0], first);
    bench.until(closed);
    bench.driver.arm_accept(bench.listener);
    let socket = bench.until(accepted);
    let token = Token { index: 0, generation: 1 };
    bench.driver.adopt(token, socket, bench.listener);
    bench.driver.arm_receive(token, socket, Receive::Stream);
    waiting.write_all(b"patient").unwrap();
    assert_eq!(bench.until(received).1, 7, "who waited in the backlog is served");
}

#[test]
fn places_that_become_scarce_lose_no_connection() {
    let places = 2 * ACCEPTS;
    let mut bench = Bench::new(&Options { sockets_max: places, ..options() });
    // All at once, so that the kernel would accept more than there are places for if it could.
    let clients: Vec<_> = (0..places + 8).map(|_| TcpStream::connect(bench.address).unwrap()).collect();
    let sockets: Vec<_> = (0..places).map(|_| bench.until(accepted)).collect();
    assert_eq!(bench.until(accept_error), Errno::NFILE);
    assert_eq!((bench.driver.room(), bench.driver.files.room()), (0, 0), "every place is taken");
    bench.driver.turn(Wait::Poll, &mut bench.completions).unwrap();
    assert_eq!(bench.completions.iter().find_map(accepted), None);
    for socket in sockets {
        bench.driver.discard(socket);
    }
    bench.driver.arm_accept(bench.listener);
    for _ in 0..8 {
        bench.until(accepted);
    }
    drop(clients);
}

#[test]
fn who_comes_is_known_by_address() {
    for sockets_max in [64, 0] {
        let mut bench = Bench::new(&Options { sockets_max, ..options() });
        let clients: Vec<_> = (0..3 * ACCEPTS).map(|_| TcpStream::connect(bench.address).unwrap()).collect();
        let mut wanted: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
        let peer = |said: &Completion| {
            if let Completion::Accepted { peer, .. } = said { Some(peer.expect("it is TCP")) } else { None }
        };
        let mut seen: Vec<_> = clients.iter().map(|_| bench.until(peer)).collect();
        wanted.sort_unstable();
        seen.sort_unstable();
        assert_eq!(seen, wanted);
    }
}

#[test]
fn an_accept_that_fails_is_told_once() {
    let mut bench = Bench::new(&options());
    bench.driver.turn(Wait::Poll, &mut bench.completions).unwrap();
    let listening = &bench.driver.listeners[0];
    assert_eq!(listening.arrivals.in_flight(), ACCEPTS);
    // The kernel ends every accept of a listener that is shut down.
    rustix::net::shutdown(&listening.socket, rustix::net::Shutdown::Read).unwrap();
    assert_eq!(bench.until(accept_error), Errno::INVAL);
    for _ in 0..100 {
        bench.driver.turn(Wait::Poll, &mut bench.completions).unwrap();
    }
    assert_eq!(bench.completions.iter().find_map(accept_error), None, "the others are not heard of");
    assert_eq!(bench.driver.listeners[0].arrivals.in_flight(), 0);
}

#[test]
fn a_shutdown_ends_one_direction_only() {
    // A descriptor lent by the table, a thread of the kernel, an ordinary descriptor.
    for (sockets_max, install) in [(1024, true), (1024, false), (0, true)] {
        let mut bench = Bench::new(&Options { sockets_max, ..options() });
        assert!(bench.driver.features.install, "Linux 6.8");
        bench.driver.features.install = install;
        let (mut client, socket) = bench.accept(TOKEN);
        bench.driver.arm_receive(TOKEN, socket, Receive::Stream);
        bench.driver.shutdown(TOKEN, socket);
        bench.driver.turn(Wait::Poll, &mut bench.completions).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "the peer sees the end");
        client.write_all(b"and you?").unwrap();
        assert_eq!(bench.until(received).1, 8, "and is still heard");
    }
}

#[test]
fn a_place_is_nobody_elses_until_a_thread_has_ended_its_direction() {
    let mut bench = Bench::new(&options());
    bench.driver.features.install = false;
    let (mut client, socket) = bench.accept(TOKEN);
    bench.driver.arm_receive(TOKEN, socket, Receive::Stream);
    let room = bench.driver.files.room();
    bench.driver.shutdown(TOKEN, socket);
    bench.driver.close(TOKEN, socket);
    assert_eq!(bench.driver.files.room(), room, "the thread has not looked the socket up yet");
    bench.until(closed);
    assert_eq!(bench.driver.files.room(), room + 1);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    // A second life of the slot knows nothing of it.
    let next = Token { generation: TOKEN.generation + 1, ..TOKEN };
    bench.until(ended);
    let (_client, socket) = bench.accept(next);
    bench.driver.close(next, socket);
    assert_eq!(bench.driver.files.room(), room + 1, "closed at once");
}

#[test]
fn accepting_stops_when_told_and_what_came_meanwhile_arrives() {
    let mut bench = Bench::new(&options());
    bench.driver.turn(Wait::Poll, &mut bench.completions).unwrap();
    let _client = TcpStream::connect(bench.address).unwrap();
    bench.driver.cancel_accept(bench.listener);
    assert_eq!(bench.until(accept_error), Errno::CANCELED);
    let arrived = bench.completions.iter().filter_map(accepted).count();
    bench.driver.arm_accept(bench.listener);
    if arrived == 0 {
        bench.until(accepted);
    }
}

#[test]
fn polling_with_nothing_to_do_makes_no_system_call() {
    let mut bench = Bench::new(&options());
    for _ in 0..3 {
        bench.driver.turn(Wait::Poll, &mut bench.completions).unwrap();
    }
    let before = bench.driver.counters().enters;
    for _ in 0..100 {
        bench.driver.turn(Wait::Poll, &mut bench.completions).unwrap();
    }
    assert_eq!(bench.driver.counters().enters, before);
    let _client = TcpStream::connect(bench.address).unwrap();
    for _ in 0..1_000_000 {
        bench.driver.turn(Wait::Poll, &mut bench.completions).unwrap();
        if bench.completions.iter().find_map(accepted).is_some() {
            return;
        }
    }
    panic!("polling sees what comes");
}

#[test]
fn a_driver_that_ends_lets_go_of_its_sockets_and_memory() {
    for sockets_max in [64, 0] {
        let mut bench = Bench::new(&Options { sockets_max, ..options() });
        let (mut client, socket) = bench.accept(TOKEN);
        bench.driver.arm_receive(TOKEN, socket, Receive::Stream);
        bench.driver.send(TOKEN, socket, Frame::from(b"last words".to_vec()), 0);
        assert!(bench.driver.drain(), "the kernel returns everything");
        drop(bench);
        let mut words = Vec::new();
        client.read_to_end(&mut words).unwrap();
        assert_eq!(words, b"last words", "what was queued is sent, then the end");
    }
}
