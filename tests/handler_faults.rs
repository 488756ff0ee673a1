//! What an embedder does wrong, on both drivers: it is told, and it harms nobody but its own connection.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/client.rs"]
mod client;
#[path = "common/handlers.rs"]
mod handlers;
#[path = "common/server.rs"]
mod server;

use std::sync::{Arc, Barrier, Once};
use std::thread;
use std::time::Duration;

use client::{Client, DEADLINE, Received, wait_until};
use handlers::{open, report, results, start};
use highper_realtime::config::{ByteSize, Shards};
use highper_realtime::{CloseCode, Config, Endpoint, Error, Server};
use serde_json::json;
use server::{TestServer, each_driver};

/// Handlers of these tests panic on purpose: the threads of a server do it quietly.
fn quiet_server_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let current = thread::current();
            let name = current.name().unwrap_or_default();
            if !name.starts_with("shard-") && !name.starts_with("pool-") {
                print(panic);
            }
        }));
    });
}

#[test]
fn who_is_closing_joins_nothing() {
    each_driver(|driver| {
        let (to, joins) = results();
        let to = Arc::new(to);
        let server = start(driver, |server| {
            let (by_message, by_end) = (to.clone(), to);
            let endpoint = Endpoint::raw("/app")
                .on_message(move |conn, _| {
                    conn.close(CloseCode::NORMAL, "");
                    report(&by_message, conn.join("secret").is_err());
                    Ok(())
                })
                .on_close(move |conn, _| report(&by_end, conn.join("secret").is_err()));
            server.endpoint(endpoint)
        });
        for _ in 0..8 {
            let mut leaver = open(&server);
            leaver.text("leave");
            assert_eq!(leaver.until_close(), (vec![], 1000));
            for _ in 0..2 {
                assert!(joins.recv_timeout(DEADLINE).unwrap(), "it was let in");
            }
        }
        wait_until("they are gone", || server.connections() == 0);
        let mut successors: Vec<Client> = (0..8).map(|_| open(&server)).collect();
        let broadcaster = server.running().broadcaster();
        broadcaster.to_channel("secret", "for nobody").unwrap();
        broadcaster.to_channel("secret", "for nobody").unwrap();
        let homes_are_done = || server.sum(|shard| shard.counters.published) >= 2;
        wait_until("the secret is out", homes_are_done);
        broadcaster.to_all("for all").unwrap();
        for successor in &mut successors {
            assert_eq!(successor.json(), "for all", "nobody inherits a subscription");
        }
    });
}

#[test]
fn a_handler_that_says_too_much_is_told_and_its_client_is_closed() {
    each_driver(|driver| {
        let (to, endings) = results();
        let server = start(driver, |server| {
            server.websocket("/app", move |conn, _| {
                let lines = (0..).map(|_| conn.send_binary(&[0; 50_000]));
                let (sent, error) = (0..).zip(lines).find(|(_, outcome)| outcome.is_err()).unwrap();
                let is_full = matches!(error, Err(Error::OutboxFull));
                report(&to, (sent, is_full, matches!(conn.send_text("more"), Err(Error::Closed))));
                error
            })
        });
        let mut client = open(&server);
        client.text("go on");
        assert_eq!(client.until_close(), (vec![], 3008));
        let (sent, is_full, is_closed) = endings.recv_timeout(DEADLINE).unwrap();
        assert!(is_full && is_closed);
        assert!((20..=21).contains(&sent), "{sent}: 1 MiB is the limit");
    });
}

#[test]
fn a_thread_that_publishes_too_fast_is_told_and_what_was_taken_arrives() {
    each_driver(|driver| {
        let small = |config: &mut Config| {
            config.shards = Shards::Count(1.try_into().unwrap());
            config.mesh_capacity = 64;
            (config.outbox_bytes, config.outbox_soft_bytes) =
                (ByteSize::new(64 << 20), ByteSize::new(64 << 20));
        };
        let server = TestServer::with(driver, small, |server| server.endpoint(Endpoint::raw("/app")));
        let mut client = open(&server);
        let broadcaster = server.running().broadcaster();
        let data = "x".repeat(1000);
        let (mut taken, mut refused) = (Vec::new(), 0);
        while refused == 0 || taken.len() < 100 {
            assert!(taken.len() < 100_000, "a mailbox of 64 places never fills");
            match broadcaster.to_all(json!([taken.len(), data])) {
                Ok(()) => taken.push(taken.len()),
                Err(Error::TryAgain) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        for number in taken {
            assert_eq!(client.json(), json!([number, data]));
        }
    });
}

#[test]
fn a_full_pool_refuses_and_a_panic_on_it_harms_nobody() {
    quiet_server_panics();
    each_driver(|driver| {
        let gate = Arc::new(Barrier::new(2));
        let at_gate = Arc::clone(&gate);
        let build = |server: Server| {
            let endpoint = Endpoint::raw("/app").on_message(move |conn, message| match message.text() {
                "block" => {
                    let gate = Arc::clone(&at_gate);
                    conn.offload(
                        move || {
                            gate.wait();
                            gate.wait();
                        },
                        |conn, ()| conn.send_text("unblocked"),
                    )
                }
                "panic" => conn.offload(|| panic!("on the pool"), |conn, ()| conn.send_text("never")),
                _ => {
                    let accepted = (0..1000).take_while(|_| conn.offload(|| (), |_, ()| Ok(())).is_ok());
                    let accepted = accepted.count();
                    assert!(matches!(conn.offload(|| (), |_, ()| Ok(())), Err(Error::TryAgain)));
                    conn.send(accepted)
                }
            });
            server.endpoint(endpoint)
        };
        let server = TestServer::with(driver, |config| config.async_workers = 1, build);
        let mut client = open(&server);
        client.text("panic");
        client.text("block");
        gate.wait();
        client.text("fill");
        assert_eq!(client.json(), 256, "so many wait for a thread");
        gate.wait();
        assert_eq!(client.next(), Received::Text("unblocked".into()), "the thread and the connection live");
    });
}

#[test]
fn a_handler_that_panics_loses_its_connection_and_no_other() {
    quiet_server_panics();
    each_driver(|driver| {
        let (to, ends) = results::<Option<u16>>();
        let server = start(driver, |server| {
            let breaking = Endpoint::raw("/app")
                .on_message(|conn, message| match message.text() {
                    "message" => panic!("in on_message"),
                    "timer" => {
                        conn.every(Duration::from_millis(10), |_| panic!("in a timer"));
                        Ok(())
                    }
                    "result" => conn.offload(|| (), |_, ()| panic!("in a result")),
                    text => conn.send_text(text),
                })
                .on_close(move |_, code| {
                    report(&to, code.map(CloseCode::get));
                    panic!("in on_close");
                });
            let unfriendly = Endpoint::raw("/connect").on_connect(|_| panic!("in on_connect"));
            server.endpoint(breaking).endpoint(unfriendly)
        });
        let mut others: Vec<Client> = (0..8).map(|_| open(&server)).collect();
        for what in ["message", "timer", "result"] {
            let mut client = open(&server);
            client.text("still here");
            assert_eq!(client.next(), Received::Text("still here".into()));
            client.text(what);
            assert_eq!(client.until_close(), (vec![], 1011), "{what}");
            assert_eq!(ends.recv_timeout(DEADLINE).unwrap(), Some(1011));
        }
        let mut client = Client::open(server.address(), "/connect");
        assert_eq!(client.until_close(), (vec![], 1011));
        for other in &mut others {
            other.text("and I?");
            assert_eq!(other.next(), Received::Text("and I?".into()));
        }
        assert_eq!(
            server.sum(|shard| shard.counters.panics),
            7,
            "three and their ends, and one at its begin"
        );
        assert_eq!(server.sum(|shard| shard.open as u64), 8);
    });
}

#[test]
fn a_handler_that_fails_keeps_its_connection() {
    each_driver(|driver| {
        let server = start(driver, |server| {
            let endpoint = Endpoint::raw("/app")
                .on_connect(|_| Err(Error::Application("not in the mood".into())))
                .on_message(|conn, message| {
                    let number: u64 = message.json()?;
                    conn.join(if number == 0 { "no name" } else { "name" })?;
                    conn.send(number)
                });
            server.endpoint(endpoint)
        });
        let mut client = open(&server);
        for bad in ["no JSON", "0", "-1"] {
            client.text(bad);
        }
        client.text("7");
        assert_eq!(client.json(), 7);
        assert_eq!(server.sum(|shard| shard.counters.handler_errors), 4);
    });
}
