//! The native dialect end to end over two shards, on both drivers: what clients ask for happens, in order, and what
//! cannot happen is said.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use client::{Client, Received, text_frame};
use highper_realtime::Endpoint;
use highper_realtime::config::DriverKind;
use serde_json::{Value, json};
use server::{TestServer, each_driver};

fn server(driver: DriverKind) -> TestServer {
    TestServer::start(driver, |_| {})
}

/// Sends a request and returns the next message.
#[track_caller]
fn ask(client: &mut Client, request: &Value) -> Value {
    client.text(&request.to_string());
    client.json()
}

/// One client on each of the two shards.
fn one_on_each_shard(server: &TestServer) -> [Client; 2] {
    let mut found: [Option<Client>; 2] = [None, None];
    for _ in 0..1000 {
        let mut client = Client::open(server.address(), "/ws");
        let shard = client.json()["shard"].as_u64().unwrap() as usize;
        found[shard] = Some(client);
        if let [Some(_), Some(_)] = &found {
            return found.map(Option::unwrap);
        }
    }
    panic!("a shard gets no connections");
}

#[test]
fn every_command_is_answered_as_documented() {
    each_driver(|driver| {
        let server = server(driver);
        let mut client = Client::open(server.address(), "/ws");
        let welcome = client.json();
        assert_eq!((&welcome["type"], &welcome["heartbeat"]), (&json!("welcome"), &json!(30)));
        let name = welcome["connection"].as_str().unwrap().to_owned();
        assert!(!name.is_empty() && welcome["shard"].as_u64().unwrap() < 2);
        let joined = ask(&mut client, &json!({ "type": "join", "channel": "c", "id": 1 }));
        assert_eq!(
            (&joined["type"], &joined["channel"], &joined["id"]),
            (&json!("joined"), &json!("c"), &json!(1))
        );
        assert_eq!(joined["offset"], 0);
        let again = ask(&mut client, &json!({ "type": "join", "channel": "c", "id": "two" }));
        assert_eq!((&again["epoch"], &again["id"]), (&joined["epoch"], &json!("two")));
        client.text(r#"{"type":"publish","channel":"c","data":{"b": 1.50,"a":"\u00e9"},"id":3}"#);
        let (mut message, mut ack) = (None, None);
        while message.is_none() || ack.is_none() {
            let Received::Text(text) = client.next() else { panic!("text is expected") };
            let slot = if text.contains(r#""ack""#) { &mut ack } else { &mut message };
            assert_eq!(slot.replace(text), None);
        }
        let expected = format!(
            r#"{{"type":"message","channel":"c","offset":1,"data":{{"b": 1.50,"a":"\u00e9"}},"from":"{name}"}}"#
        );
        assert_eq!(message.unwrap(), expected, "byte for byte");
        let ack: Value = serde_json::from_str(&ack.unwrap()).unwrap();
        assert_eq!(ack, json!({ "type": "ack", "offset": 1, "id": 3 }));
        let pong = ask(&mut client, &json!({ "type": "ping", "id": 4 }));
        assert_eq!(pong, json!({ "type": "pong", "id": 4 }));
        let left = ask(&mut client, &json!({ "type": "leave", "channel": "c", "id": 5 }));
        assert_eq!(left, json!({ "type": "left", "channel": "c", "id": 5 }));
        for (request, code) in [
            (json!({ "type": "leave", "channel": "c", "id": 6 }), "not_joined"),
            (json!({ "type": "join", "channel": "two words", "id": 6 }), "bad_channel"),
            (json!({ "type": "join", "channel": "c".repeat(256), "id": 6 }), "bad_channel"),
            (json!({ "type": "join", "id": 6 }), "bad_request"),
            (json!({ "type": "shout", "id": 6 }), "unknown_type"),
        ] {
            let error = ask(&mut client, &request);
            assert_eq!((&error["code"], &error["id"]), (&json!(code), &json!(6)), "{request}");
        }
        let ack = ask(&mut client, &json!({ "type": "publish", "channel": "c", "data": null, "id": 7 }));
        assert_eq!(ack["type"], "ack", "nobody listens, that is no error");
    });
}

#[test]
fn publications_cross_the_shards_in_one_order_and_none_is_lost() {
    const EACH: u64 = 1000;
    each_driver(|driver| {
        let server = server(driver);
        let mut clients: Vec<Client> = one_on_each_shard(&server).into_iter().collect();
        clients.extend(one_on_each_shard(&server));
        for channel in ["red", "green", "blue"] {
            for client in &mut clients {
                client.join(channel);
            }
            for (publisher, client) in clients.iter_mut().enumerate().take(2) {
                let burst: Vec<u8> = (0..EACH)
                    .flat_map(|number| {
                        text_frame(&format!(
                            r#"{{"type":"publish","channel":"{channel}","data":[{publisher},{number}]}}"#
                        ))
                    })
                    .collect();
                client.send(&burst);
            }
            let mut first: Option<Vec<Value>> = None;
            for client in &mut clients {
                let seen: Vec<Value> = (1..=2 * EACH)
                    .map(|offset| {
                        let message = client.json();
                        assert_eq!(
                            (&message["channel"], &message["offset"]),
                            (&json!(channel), &json!(offset))
                        );
                        message["data"].clone()
                    })
                    .collect();
                for publisher in 0..2 {
                    let numbers = seen.iter().filter(|data| data[0] == publisher).map(|data| data[1].clone());
                    assert!(numbers.eq((0..EACH).map(Value::from)), "the order of publisher {publisher}");
                }
                match &first {
                    None => first = Some(seen),
                    Some(first) => assert_eq!(*first, seen, "one order for all"),
                }
            }
        }
    });
}

#[test]
fn clients_reach_everyone_and_users_only_if_that_is_switched_on() {
    each_driver(|driver| {
        let off = server(driver);
        let mut client = Client::native(off.address());
        for request in [
            json!({ "type": "broadcast", "data": 1, "id": 1 }),
            json!({ "type": "to_users", "users": ["ann"], "data": 1, "id": 1 }),
        ] {
            let error = ask(&mut client, &request);
            assert_eq!((&error["code"], &error["id"]), (&json!("forbidden"), &json!(1)));
        }
        let on = TestServer::with(
            driver,
            |config| {
                config.client_broadcast = true;
                // A lane that cannot hold as many users as one command may name.
                config.mesh_capacity = 64;
            },
            |server| {
                server.endpoint(Endpoint::raw("/ann").on_connect(|conn| {
                    conn.set_user("ann")?;
                    conn.send(true)
                }))
            },
        );
        let mut clients = one_on_each_shard(&on);
        let mut anns: Vec<Client> = (0..4).map(|_| Client::open(on.address(), "/ann")).collect();
        for ann in &mut anns {
            assert_eq!(ann.json(), true);
        }
        clients[0].text(r#"{"type":"broadcast","data":[1]}"#);
        for client in &mut clients {
            let broadcast = client.json();
            assert_eq!((&broadcast["type"], &broadcast["data"]), (&json!("broadcast"), &json!([1])));
        }
        for ann in &mut anns {
            assert_eq!(ann.json(), json!([1]));
        }
        for client in &mut clients {
            let request = json!({ "type": "to_users", "users": ["ann", "ben"], "data": [2], "id": 2 });
            assert_eq!(ask(client, &request)["type"], "ack");
            for ann in &mut anns {
                assert_eq!(ann.json(), json!([2]));
            }
        }
    });
}

#[test]
fn publishing_is_off_where_it_is_switched_off() {
    each_driver(|driver| {
        let server = TestServer::start(driver, |config| config.client_publish = false);
        let mut client = Client::native(server.address());
        client.join("c");
        let error = ask(&mut client, &json!({ "type": "publish", "channel": "c", "data": 1, "id": 1 }));
        assert_eq!((&error["code"], &error["id"]), (&json!("forbidden"), &json!(1)));
        server.running().broadcaster().to_channel("c", 2).unwrap();
        let message = client.json();
        assert_eq!((&message["data"], &message["from"]), (&json!(2), &json!("")));
    });
}

#[test]
fn a_connection_is_in_as_many_channels_as_it_may_be() {
    each_driver(|driver| {
        let server = TestServer::start(driver, |config| config.max_channels_per_connection = 10);
        let mut client = Client::native(server.address());
        for number in 0..10 {
            client.join(&format!("c{number}"));
        }
        client.join("c3");
        let error = ask(&mut client, &json!({ "type": "join", "channel": "more", "id": 1 }));
        assert_eq!((&error["code"], &error["id"]), (&json!("too_many_channels"), &json!(1)));
        assert_eq!(ask(&mut client, &json!({ "type": "leave", "channel": "c0" }))["type"], "left");
        client.join("more");
    });
}

#[test]
fn a_full_mesh_says_try_again_and_what_it_acknowledged_arrives() {
    each_driver(|driver| {
        let server = TestServer::start(driver, |config| config.mesh_capacity = 64);
        let [mut publisher, mut subscriber] = one_on_each_shard(&server);
        // Half of these channels have their home on the other shard.
        let channels: Vec<String> = (0..16).map(|number| format!("c{number}")).collect();
        for channel in &channels {
            subscriber.join(channel);
        }
        let requests = 4000;
        let burst: Vec<u8> = (0..requests)
            .flat_map(|id| {
                let channel = &channels[id % channels.len()];
                text_frame(&format!(r#"{{"type":"publish","channel":"{channel}","data":{id},"id":{id}}}"#))
            })
            .collect();
        publisher.send(&burst);
        let (mut accepted, mut refused) = (Vec::new(), 0);
        for _ in 0..requests {
            let answer = publisher.json();
            match answer["type"].as_str().unwrap() {
                "ack" => accepted.push(answer["id"].clone()),
                _ => {
                    assert_eq!(answer["code"], "try_again");
                    refused += 1;
                }
            }
        }
        assert!(refused > 0 && !accepted.is_empty(), "{refused} refused");
        // The last of each channel is published until it is taken: the other shard may be busy with something else.
        let mut heads = std::collections::HashMap::new();
        for channel in &channels {
            let text = format!(r#"{{"type":"publish","channel":"{channel}","data":"end","id":"end"}}"#);
            let offset = loop {
                publisher.text(&text);
                let answer = publisher.json();
                match answer["type"].as_str().unwrap() {
                    "ack" => break answer["offset"].as_u64().unwrap(),
                    _ => assert_eq!(answer["code"], "try_again"),
                }
            };
            heads.insert(json!(channel).to_string(), offset);
        }
        // Each channel counts what was accepted; what did not fit the lane was lost with a signal.
        let (mut came, mut told_lost) = (0, 0);
        let mut offsets = std::collections::HashMap::new();
        while offsets != heads {
            let event = subscriber.json();
            let offset = event["offset"].as_u64().unwrap();
            let before: u64 = offsets.insert(event["channel"].to_string(), offset).unwrap_or(0);
            match event["type"].as_str().unwrap() {
                "message" => {
                    assert_eq!(offset, before + 1, "a hole without a signal: {event}");
                    came += 1;
                }
                "gap" => told_lost += offset - before,
                other => panic!("{other}"),
            }
        }
        assert_eq!(
            came + told_lost,
            (accepted.len() + channels.len()) as u64,
            "{told_lost} lost with a signal"
        );
    });
}
