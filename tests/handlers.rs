//! What an embedder writes, on both drivers: callbacks, user data, timers, users, work off the shard.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/client.rs"]
mod client;
#[path = "common/handlers.rs"]
mod handlers;
#[path = "common/server.rs"]
mod server;

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use client::{Client, DEADLINE, Received, frame, wait_until};
use handlers::{open, report, results, start};
use highper_realtime::{CloseCode, Connection, Endpoint, Error, Message};
use serde_json::{Value, json};
use server::{TestServer, each_driver};

/// As many JSON messages, in any order.
fn set(client: &mut Client, count: usize) -> HashSet<String> {
    (0..count).map(|_| client.json().to_string()).collect()
}

#[test]
fn the_readme_example_does_what_it_says() {
    each_driver(|driver| {
        let server = start(driver, |server| {
            server.websocket("/app", |conn: &mut Connection<'_>, message: Message<'_>| {
                conn.send(json!({ "echo": message.text() }))?;
                conn.join("chat-room")?;
                conn.publish("chat-room", json!({ "user_joined": conn.id() }))?;
                conn.broadcast(json!({ "announcement": "New message received" }))
            })
        });
        let (mut ann, mut ben) = (open(&server), open(&server));
        let announcement = json!({ "announcement": "New message received" }).to_string();
        ann.text("hi");
        assert_eq!(ann.json(), json!({ "echo": "hi" }), "first of all");
        let seen = set(&mut ann, 2);
        assert!(seen.contains(&announcement) && seen.iter().any(|text| text.contains("user_joined")));
        assert_eq!(set(&mut ben, 1), HashSet::from([announcement.clone()]), "ben is not in the room");
        ben.text("hello");
        assert_eq!(ben.json(), json!({ "echo": "hello" }));
        let (of_ann, of_ben) = (set(&mut ann, 2), set(&mut ben, 2));
        assert_eq!(of_ann, of_ben);
        assert!(
            of_ann.contains(&announcement) && of_ann.is_disjoint(&seen) != of_ann.contains(&announcement)
        );
        assert_eq!(ann.next_within(Duration::from_millis(50)), None, "nothing comes twice");
    });
}

#[test]
fn callbacks_see_the_data_of_their_connection_from_its_begin_to_its_end() {
    struct Visits(u32);
    each_driver(|driver| {
        let (to, ends) = results::<(u32, Option<u16>)>();
        let server = start(driver, |server| {
            let endpoint = Endpoint::raw("/app")
                .on_connect(|conn| {
                    conn.set_data(Visits(0));
                    conn.send_text("welcome")
                })
                .on_message(|conn, message| {
                    let visits = conn.data::<Visits>().expect("it was set on connect");
                    visits.0 += 1;
                    assert!(conn.data::<String>().is_none(), "of another type there is none");
                    match message.text() {
                        "go" => conn.close(CloseCode::new(4000), "as you wish"),
                        "" => conn.send_binary(message.bytes())?,
                        text => conn.send_text(text)?,
                    }
                    Ok(())
                })
                .on_close(move |conn, code| {
                    let visits = conn.data::<Visits>().expect("it lives until here").0;
                    assert!(matches!(conn.send_text("too late"), Err(Error::Closed)));
                    conn.publish("ends", json!(visits)).expect("others can still be told");
                    report(&to, (visits, code.map(CloseCode::get)));
                });
            server.endpoint(endpoint)
        });
        let mut listener = Client::native(server.address());
        listener.join("ends");
        let connect = || {
            let mut client = open(&server);
            assert_eq!(client.next(), Received::Text("welcome".into()));
            client.text("one");
            assert_eq!(client.next(), Received::Text("one".into()));
            client
        };
        let mut ended = |visits: u32, code: Option<u16>| {
            assert_eq!(ends.recv_timeout(DEADLINE).unwrap(), (visits, code));
            assert_eq!(listener.json()["data"], visits);
        };
        let mut client = connect();
        client.binary(b"\x00\xff");
        assert_eq!(client.next(), Received::Binary(b"\x00\xff".to_vec()));
        client.close(CloseCode::GOING_AWAY);
        assert_eq!(client.until_close(), (vec![], 1001));
        ended(2, Some(1001));
        let mut client = connect();
        client.text("go");
        assert_eq!(client.next(), Received::Close(4000, "as you wish".into()));
        ended(2, Some(4000));
        let mut client = connect();
        client.send(&frame(0x83, b""));
        assert_eq!(client.until_close(), (vec![], 1002));
        ended(1, Some(1002));
        drop(connect());
        ended(1, None);
        let client = connect();
        client.finish();
        ended(1, None);
        assert!(ends.try_recv().is_err(), "each end is told once");
    });
}

#[test]
fn timers_run_until_their_connection_ends() {
    each_driver(|driver| {
        let token = Arc::new(());
        let held = Arc::clone(&token);
        let server = start(driver, |server| {
            let endpoint = Endpoint::raw("/app").on_connect(move |conn| {
                for name in ["fast", "slow"] {
                    let (mut count, held) = (0, Arc::clone(&held));
                    let interval = if name == "fast" { 10 } else { 50 };
                    conn.every(Duration::from_millis(interval), move |conn| {
                        let _held = &held;
                        count += 1;
                        match (name, count) {
                            ("slow", 3) => conn.close(CloseCode::NORMAL, "three times"),
                            _ => conn.send(json!({ name: count }))?,
                        }
                        Ok(())
                    });
                }
                Ok(())
            });
            server.endpoint(endpoint)
        });
        let mut client = open(&server);
        let (ticks, code) = client.until_close();
        let ticks: Vec<Value> = ticks
            .into_iter()
            .map(|tick| match tick {
                Received::Text(text) => serde_json::from_str(&text).unwrap(),
                other => panic!("{other:?}"),
            })
            .collect();
        let of = |name: &str| ticks.iter().filter_map(|tick| tick[name].as_u64()).collect::<Vec<_>>();
        assert_eq!((of("slow"), code), (vec![1, 2], 1000));
        let fast = of("fast");
        assert!(fast.len() > 2, "{fast:?}");
        assert_eq!(fast, (1..=fast.len() as u64).collect::<Vec<_>>());
        wait_until("the timers are dropped", || Arc::strong_count(&token) == 2);
    });
}

#[test]
fn other_threads_reach_channels_users_and_everyone() {
    each_driver(|driver| {
        let server = start(driver, |server| {
            let endpoint = Endpoint::raw("/app").on_message(|conn, message| {
                conn.set_user(message.text())?;
                let user = conn.user().map(str::to_owned);
                conn.join("room")?;
                conn.send(json!({ "user": user }))
            });
            server.endpoint(endpoint)
        });
        let connect = |name: &str| {
            let mut client = open(&server);
            client.text(name);
            assert_eq!(client.json(), json!({ "user": name }));
            client
        };
        let mut anns: Vec<Client> = (0..6).map(|_| connect("ann")).collect();
        let mut ben = connect("ben");
        let mut nobody = open(&server);
        // A join is known everywhere once something published after it has come.
        let broadcaster = server.running().broadcaster();
        let from_thread = |publish: &(dyn Fn() + Sync)| {
            thread::scope(|scope| {
                scope.spawn(publish);
            });
        };
        from_thread(&|| broadcaster.to_channel("room", json!(1)).unwrap());
        for client in anns.iter_mut().chain([&mut ben]) {
            assert_eq!(client.json(), 1);
        }
        from_thread(&|| broadcaster.to_users(["ann", "nobody"], json!(2)).unwrap());
        for ann in &mut anns {
            assert_eq!(ann.json(), 2);
        }
        from_thread(&|| broadcaster.to_users(["ben"], json!(3)).unwrap());
        assert_eq!(ben.json(), 3);
        from_thread(&|| broadcaster.to_all(json!(4)).unwrap());
        for client in anns.iter_mut().chain([&mut ben, &mut nobody]) {
            assert_eq!(client.json(), 4);
        }
        anns[0].text("ben");
        assert_eq!(anns[0].json(), json!({ "user": "ben" }));
        from_thread(&|| broadcaster.to_channel("room", json!(5)).unwrap());
        for client in anns.iter_mut().chain([&mut ben]) {
            assert_eq!(client.json(), 5);
        }
        from_thread(&|| broadcaster.to_users(["ann", "ben"], json!(6)).unwrap());
        for client in anns.iter_mut().chain([&mut ben]) {
            assert_eq!(client.json(), 6, "once, whoever it is now");
        }
        assert!(matches!(broadcaster.to_channel("two words", 0), Err(Error::BadChannel(_))));
        from_thread(&|| broadcaster.to_all(json!("end")).unwrap());
        for client in anns.iter_mut().chain([&mut ben, &mut nobody]) {
            assert_eq!(client.json(), "end");
        }
    });
}

#[test]
fn who_says_again_who_it_is_misses_nothing() {
    const ROUNDS: usize = 50;
    each_driver(|driver| {
        let server = start(driver, |server| {
            server.websocket("/app", |conn, message| {
                conn.set_user(message.text())?;
                conn.send("here")
            })
        });
        let broadcaster = server.running().broadcaster();
        // Users at home on both shards.
        for user in ["ann", "ben", "cleo", "dan", "eve", "fay"] {
            let mut client = open(&server);
            client.text(user);
            assert_eq!(client.json(), "here");
            for number in 0..ROUNDS {
                client.text(user);
                broadcaster.to_users([user], number).unwrap();
            }
            let seen: Vec<Value> = (0..2 * ROUNDS).map(|_| client.json()).collect();
            let numbers = seen.into_iter().filter(|value| value != "here");
            assert!(numbers.eq((0..ROUNDS).map(Value::from)), "{user}");
        }
    });
}

#[test]
fn work_off_the_shard_comes_back_to_the_connection_on_its_shard() {
    each_driver(|driver| {
        let server = start(driver, |server| {
            let endpoint = Endpoint::raw("/app").on_message(|conn, message| {
                let thread_name = || thread::current().name().unwrap_or_default().to_owned();
                let (number, shard): (u64, u16) = (message.json()?, conn.shard());
                conn.offload(
                    move || (number * 2, thread_name()),
                    move |conn, (double, worker)| {
                        assert_eq!((conn.shard(), thread_name()), (shard, format!("shard-{shard}")));
                        conn.send(json!({ "double": double, "off": worker.starts_with("pool-") }))
                    },
                )
            });
            server.endpoint(endpoint)
        });
        for number in 0..20u64 {
            let mut client = open(&server);
            client.text(&number.to_string());
            assert_eq!(client.json(), json!({ "double": number * 2, "off": true }));
            client.text(&number.to_string());
            // Gone before its result: nobody gets it, nothing breaks.
        }
        let mut client = open(&server);
        client.text("21");
        assert_eq!(client.json()["double"], 42);
        assert_eq!(server.sum(|shard| shard.counters.panics), 0);
    });
}

#[test]
fn the_native_dialect_leaves_binary_messages_to_the_handler() {
    each_driver(|driver| {
        let server = start(driver, |server| {
            server.endpoint(Endpoint::native("/ws").on_message(|conn, message| {
                assert!(!message.is_text());
                conn.send_binary(message.bytes())
            }))
        });
        let mut client = Client::native(server.address());
        client.binary(b"\x01\x02");
        assert_eq!(client.next(), Received::Binary(b"\x01\x02".to_vec()));
        client.join("c");
        let plain = TestServer::start(driver, |_| {});
        let mut client = Client::native(plain.address());
        client.binary(b"\x01\x02");
        assert_eq!(client.until_close(), (vec![], 1003), "without a handler they mean nothing");
    });
}
