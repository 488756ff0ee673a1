//! The simulated driver as a turn sees it: what ends how, and what it does not forgive.

use std::time::Duration;

use highper_shards::driver::sim::{Client, Faults, Network, Sim, World};
use highper_shards::driver::{Completion, Driver, Options, Receive, ReceiveEnd, Socket, Wait};
use highper_shards::token::Token;
use highper_shards::{Errno, Frame, ShardId};

use crate::script::PORT;

const TOKEN: Token = Token { index: 7, generation: 3 };

fn world() -> (World, Sim) {
    let world = World::new(1, Faults::none(), Network::default());
    let sim = world.node(1).driver(ShardId(0), &Options::default());
    (world, sim)
}

fn turn(world: &World, sim: &mut Sim) -> Vec<Completion> {
    world.advance(Duration::from_millis(1));
    let mut completions = Vec::new();
    sim.turn(Wait::Forever, &mut completions).unwrap();
    completions
}

/// A driver with one adopted connection.
fn connected() -> (World, Sim, Client, Socket) {
    let (world, mut sim) = world();
    let listener = sim.listen(PORT).unwrap();
    sim.arm_accept(listener);
    let client = world.connect(PORT);
    let [Completion::Accepted { socket, .. }] = turn(&world, &mut sim)[..] else { panic!("it is accepted") };
    sim.adopt(TOKEN, socket, listener);
    (world, sim, client, socket)
}

#[test]
fn a_cancelled_accept_ends_and_may_be_armed_again() {
    let (world, mut sim) = world();
    let listener = sim.listen(PORT).unwrap();
    sim.arm_accept(listener);
    sim.cancel_accept(listener);
    let client = world.connect(PORT);
    let ended = turn(&world, &mut sim);
    assert!(matches!(ended[..], [Completion::AcceptEnded { error: Errno::CANCELED, .. }]), "{ended:?}");
    sim.arm_accept(listener);
    assert!(matches!(turn(&world, &mut sim)[..], [Completion::Accepted { .. }]));
    assert!(!client.state().reset);
}

#[test]
fn a_cancelled_receive_ends_once() {
    let (world, mut sim, client, socket) = connected();
    sim.arm_receive(TOKEN, socket, Receive::Stream);
    sim.cancel_receive(TOKEN, socket);
    let ended = turn(&world, &mut sim);
    assert!(matches!(ended[..], [Completion::ReceiveEnded { token: TOKEN, end: ReceiveEnd::Cancelled }]));
    client.write(b"unheard");
    assert!(turn(&world, &mut sim).is_empty());
    sim.arm_receive(TOKEN, socket, Receive::Rest);
    let heard = turn(&world, &mut sim);
    assert!(matches!(heard[..], [Completion::Received { token: TOKEN, armed: false, .. }]), "{heard:?}");
}

#[test]
fn closing_ends_everything_that_is_in_flight() {
    let (world, mut sim, client, socket) = connected();
    client.stop_reading();
    sim.send(TOKEN, socket, Frame::from(vec![0; 100_000]), 0);
    assert!(matches!(turn(&world, &mut sim)[..], [Completion::Sent { result: Ok(65_536), .. }]));
    sim.send(TOKEN, socket, Frame::from(vec![0; 100_000]), 65_536);
    sim.arm_receive(TOKEN, socket, Receive::Stream);
    assert!(turn(&world, &mut sim).is_empty(), "the window is full and nothing has come");
    sim.close(TOKEN, socket);
    let ended = turn(&world, &mut sim);
    let count = |fits: fn(&Completion) -> bool| ended.iter().filter(|completion| fits(completion)).count();
    assert_eq!(count(|end| matches!(end, Completion::Closed { token: TOKEN })), 1);
    assert_eq!(count(|end| matches!(end, Completion::Sent { result: Err(Errno::CANCELED), .. })), 1);
    assert_eq!(count(|end| matches!(end, Completion::ReceiveEnded { end: ReceiveEnd::Cancelled, .. })), 1);
    assert_eq!((ended.len(), sim.sockets()), (3, 0));
}

#[test]
#[should_panic(expected = "one send at a time")]
fn a_second_send_is_not_forgiven() {
    let (_world, mut sim, _client, socket) = connected();
    sim.send(TOKEN, socket, Frame::from(vec![1]), 0);
    sim.send(TOKEN, socket, Frame::from(vec![2]), 0);
}

#[test]
#[should_panic(expected = "one receive at a time")]
fn a_second_receive_is_not_forgiven() {
    let (_world, mut sim, _client, socket) = connected();
    sim.arm_receive(TOKEN, socket, Receive::Stream);
    sim.arm_receive(TOKEN, socket, Receive::Stream);
}

#[test]
#[should_panic(expected = "the socket is open")]
fn a_socket_is_not_used_after_its_close() {
    let (_world, mut sim, client, socket) = connected();
    drop(client);
    sim.close(TOKEN, socket);
    sim.shutdown(TOKEN, socket);
}

#[test]
#[should_panic(expected = "the socket belongs to this slot")]
fn a_socket_is_not_used_by_another_slot() {
    let (_world, mut sim, _client, socket) = connected();
    sim.close(Token { index: 7, generation: 4 }, socket);
}
