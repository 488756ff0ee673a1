//! The server API over real sockets, on two shards and both drivers: every call, what it answers, who may not call,
//! and that answers come in the order of the requests.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/api.rs"]
mod api;
#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use api::{Api, request};
use client::{Client, Received, field, wait_until};
use highper_realtime::config::{ByteSize, DriverKind, Host, Secret};
use highper_realtime::{CloseCode, Endpoint};
use serde_json::{Value, json};
use server::{TestServer, each_driver};

/// Clients of `/app` say by their first message who they are.
fn server(driver: DriverKind) -> TestServer {
    TestServer::with(
        driver,
        |config| {
            config.history_size = 1000;
            config.presence = true;
            config.member_events = true;
            config.presence_hold = Duration::from_millis(50);
        },
        |server| {
            let app = Endpoint::native("/app").on_message(|conn, message| {
                let name = std::str::from_utf8(message.bytes()).unwrap_or_default().to_owned();
                conn.set_user(&name)?;
                conn.set_info(json!({ "of": name }))?;
                conn.send(json!({ "type": "named" }))
            });
            server.endpoint(app)
        },
    )
}

/// An open client whose user is known, and its connection's name.
fn user(address: SocketAddr, name: &str) -> (Client, String) {
    let mut client = Client::open(address, "/app");
    let connection = client.json()["connection"].as_str().unwrap().to_owned();
    client.binary(name.as_bytes());
    assert_eq!(client.json()["type"], "named");
    (client, connection)
}

fn join(client: &mut Client, channel: &str) {
    client.text(&format!(r#"{{"type":"join","channel":"{channel}"}}"#));
    assert_eq!(client.json_of("joined")["channel"], channel);
}

#[test]
fn publications_reach_channels_users_and_everyone() {
    each_driver(|driver| {
        let server = server(driver);
        let mut api = Api::connect(server.address());
        let (mut ann, _) = user(server.address(), "ann");
        let (mut bob, _) = user(server.address(), "bob");
        for channel in ["one", "two", "three"] {
            join(&mut ann, channel);
        }
        let place =
            api.call("publish", &json!({ "channel": "one", "data": { "n": 1 }, "tags": { "t": "u" } }));
        assert_eq!(place["offset"], 1);
        assert_eq!(place["epoch"].as_str().unwrap().len(), 8);
        let message = ann.json_of("message");
        assert_eq!(
            message,
            json!({ "type": "message", "channel": "one", "offset": 1, "data": { "n": 1 }, "from": "", "tags": { "t": "u" } })
        );
        let channels = ["one", "two", "three", "nobody's"];
        let answer = api.call("broadcast", &json!({ "channels": channels, "data": [1, 2] }));
        let offsets: Vec<_> = answer["responses"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["result"]["offset"].clone())
            .collect();
        assert_eq!(offsets, [2, 1, 1, 1]);
        let reached: BTreeSet<String> =
            (0..3).map(|_| ann.json_of("message")["channel"].as_str().unwrap().to_owned()).collect();
        assert!(reached.iter().map(String::as_str).eq(["one", "three", "two"]), "{reached:?}");
        assert_eq!(
            api.call("to_users", &json!({ "users": ["ann", "bob", "eve"], "data": "psst" })),
            json!({})
        );
        let whisper = json!({ "type": "user_message", "data": "psst", "from": "" });
        assert_eq!((ann.json_of("user_message"), bob.json_of("user_message")), (whisper.clone(), whisper));
        assert_eq!(api.call("to_all", &json!({ "data": "hear" })), json!({}));
        let call = json!({ "type": "broadcast", "data": "hear", "from": "" });
        assert_eq!((ann.json_of("broadcast"), bob.json_of("broadcast")), (call.clone(), call));
        // As SDKs send it: JSON in base64.
        api.call("publish", &json!({ "channel": "one", "b64data": "eyJhIjoxfQ==" }));
        assert_eq!(ann.json_of("message")["data"], json!({ "a": 1 }));
    });
}

#[test]
fn connections_of_a_user_are_moved_and_closed() {
    each_driver(|driver| {
        let server = server(driver);
        let mut api = Api::connect(server.address());
        let mut anns: Vec<_> = (0..6).map(|_| user(server.address(), "ann")).collect();
        let (mut bob, _) = user(server.address(), "bob");
        api.call("subscribe", &json!({ "user": "ann", "channel": "c" }));
        for (ann, _) in &mut anns {
            assert_eq!(ann.json_of("joined")["channel"], "c");
        }
        let stats = |api: &mut Api| api.call("presence_stats", &json!({ "channel": "c" }));
        wait_until("all are members", || stats(&mut api) == json!({ "num_clients": 6, "num_users": 1 }));
        let one = anns[0].1.clone();
        api.call("unsubscribe", &json!({ "user": "ann", "channel": "c", "client": one }));
        assert_eq!(anns[0].0.json_of("left")["channel"], "c");
        wait_until("one has left", || stats(&mut api)["num_clients"] == 5);
        let kept = anns[1].1.clone();
        let disconnect = json!({ "code": 4001, "reason": "banned" });
        api.call("disconnect", &json!({ "user": "ann", "whitelist": [kept], "disconnect": disconnect }));
        for (at, (ann, _)) in anns.iter_mut().enumerate().filter(|(at, _)| *at != 1) {
            let last = std::iter::from_fn(|| Some(ann.next()))
                .find(|received| !matches!(received, Received::Text(_)));
            assert_eq!(last, Some(Received::Close(4001, "banned".into())), "client {at}");
            ann.close(CloseCode::new(4001));
        }
        api.call("publish", &json!({ "channel": "c", "data": 1 }));
        assert_eq!(anns[1].0.json_of("message")["data"], 1, "the one on the list stays");
        api.call("disconnect", &json!({ "user": "ann" }));
        let last = std::iter::from_fn(|| Some(anns[1].0.next()))
            .find(|received| !matches!(received, Received::Text(_)));
        assert_eq!(last, Some(Received::Close(3503, "disconnected".into())));
        bob.text(r#"{"type":"ping"}"#);
        assert_eq!(bob.json_of("pong")["type"], "pong", "others are left alone");
    });
}

#[test]
fn presence_shows_members_who_come_at_once_and_go_after_the_hold() {
    each_driver(|driver| {
        let server = server(driver);
        let mut api = Api::connect(server.address());
        let (mut ann, ann_is) = user(server.address(), "ann");
        join(&mut ann, "c");
        let news = ann.json_of("member_joined");
        assert_eq!((&news["user"], &news["info"]), (&json!("ann"), &json!({ "of": "ann" })));
        let (mut bob, bob_is) = user(server.address(), "bob");
        join(&mut bob, "c");
        assert_eq!(ann.json_of("member_joined")["user"], "bob");
        let presence = api.call("presence", &json!({ "channel": "c" }));
        let member = |name: &str, connection: &str| json!({ "client": connection, "user": name, "conn_info": { "of": name } });
        assert_eq!(presence["presence"][&ann_is], member("ann", &ann_is));
        assert_eq!(presence["presence"][&bob_is], member("bob", &bob_is));
        // A second tab is no news, nor is the end of one.
        let (mut tab, _) = user(server.address(), "bob");
        join(&mut tab, "c");
        let stats = |api: &mut Api| api.call("presence_stats", &json!({ "channel": "c" }));
        wait_until("there are three", || stats(&mut api) == json!({ "num_clients": 3, "num_users": 2 }));
        drop(tab);
        wait_until("there are two", || stats(&mut api) == json!({ "num_clients": 2, "num_users": 2 }));
        drop(bob);
        let news = ann.json();
        assert_eq!((&news["type"], &news["user"]), (&json!("member_left"), &json!("bob")), "{news}");
        assert_eq!(stats(&mut api), json!({ "num_clients": 1, "num_users": 1 }));
        assert_eq!(
            api.call("presence_stats", &json!({ "channel": "empty" })),
            json!({ "num_clients": 0, "num_users": 0 })
        );
    });
}

#[test]
fn a_user_who_comes_back_within_the_hold_is_no_news() {
    each_driver(|driver| {
        let server = TestServer::with(
            driver,
            |config| {
                config.presence = true;
                config.member_events = true;
                config.presence_hold = Duration::from_secs(600);
            },
            |server| {
                server.endpoint(Endpoint::native("/app").on_message(|conn, message| {
                    conn.set_user(std::str::from_utf8(message.bytes()).unwrap_or_default())?;
                    conn.send(json!({ "type": "named" }))
                }))
            },
        );
        let mut api = Api::connect(server.address());
        let (mut ann, _) = user(server.address(), "ann");
        join(&mut ann, "c");
        assert_eq!(ann.json_of("member_joined")["user"], "ann");
        for turn in 1..4 {
            let (mut bob, _) = user(server.address(), "bob");
            join(&mut bob, "c");
            if turn == 1 {
                assert_eq!(ann.json()["type"], "member_joined");
            }
            drop(bob);
            let stats = |api: &mut Api| api.call("presence_stats", &json!({ "channel": "c" }));
            wait_until("he is away", || stats(&mut api)["num_clients"] == 1);
        }
        api.call("publish", &json!({ "channel": "c", "data": 1 }));
        let next = ann.json();
        assert_eq!(next["type"], "message", "{next}");
    });
}

#[test]
fn history_is_shown_in_pages_and_removed() {
    each_driver(|driver| {
        let server = server(driver);
        let mut api = Api::connect(server.address());
        for data in 1..=5 {
            api.call("publish", &json!({ "channel": "c", "data": data }));
        }
        let mut offsets = |params: Value| {
            let mut answer = api.call("history", &params);
            let offsets: Vec<_> = answer["publications"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["offset"].as_u64().unwrap())
                .collect();
            (offsets, answer["offset"].take(), answer["epoch"].take())
        };
        let (none, offset, epoch) = offsets(json!({ "channel": "c" }));
        assert_eq!((none, offset), (vec![], json!(5)));
        assert_eq!(offsets(json!({ "channel": "c", "limit": -1 })).0, [1, 2, 3, 4, 5]);
        assert_eq!(offsets(json!({ "channel": "c", "limit": 2 })).0, [1, 2]);
        assert_eq!(offsets(json!({ "channel": "c", "limit": 2, "reverse": true })).0, [5, 4]);
        let since = json!({ "offset": 3, "epoch": epoch });
        assert_eq!(offsets(json!({ "channel": "c", "limit": 9, "since": since })).0, [4, 5]);
        api.call("publish", &json!({ "channel": "c", "data": "passing", "skip_history": true }));
        api.call("publish", &json!({ "channel": "c", "data": 6 }));
        let answer = api.call("history", &json!({ "channel": "c", "limit": 9, "since": since }));
        let data: Vec<_> =
            answer["publications"].as_array().unwrap().iter().map(|one| one["data"].clone()).collect();
        assert_eq!(data, [4, 5, 6], "what skips the history is not in it");
        let foreign = json!({ "offset": 3, "epoch": "xyz" });
        let (_, answer) = api.ask("history", &json!({ "channel": "c", "limit": 9, "since": foreign }));
        assert_eq!(answer["error"]["code"], 112, "{answer}");
        assert_eq!(api.call("history_remove", &json!({ "channel": "c" })), json!({}));
        let answer = api.call("history", &json!({ "channel": "c", "limit": 9 }));
        assert_eq!(answer["publications"], json!([]));
    });
}

#[test]
fn the_same_idempotency_key_is_the_same_publication() {
    each_driver(|driver| {
        let server = server(driver);
        let mut api = Api::connect(server.address());
        let mut listener = Client::native(server.address());
        join(&mut listener, "c");
        let publish = |data: u32, key: &str| json!({ "channel": "c", "data": data, "idempotency_key": key });
        let first = api.call("publish", &publish(1, "k"));
        assert_eq!(api.call("publish", &publish(2, "k")), first);
        // Another connection, maybe of another shard, is no other publisher.
        for _ in 0..4 {
            assert_eq!(Api::connect(server.address()).call("publish", &publish(3, "k")), first);
        }
        assert_eq!(api.call("publish", &publish(4, "other"))["offset"], 2);
        assert_eq!(
            [listener.json_of("message")["data"].clone(), listener.json_of("message")["data"].clone()],
            [1, 4]
        );
    });
}

#[test]
fn channels_and_info_add_all_shards_up() {
    each_driver(|driver| {
        let server = server(driver);
        let mut api = Api::connect(server.address());
        let mut clients: Vec<_> = (0..8).map(|_| Client::native(server.address())).collect();
        for (at, client) in clients.iter_mut().enumerate() {
            join(client, "all");
            join(client, &format!("chat:{}", at % 2));
        }
        let (_ann, _) = user(server.address(), "ann");
        let count = |number: u64| json!({ "num_clients": number });
        let all = api.call("channels", &json!({}));
        assert_eq!(all["channels"], json!({ "all": count(8), "chat:0": count(4), "chat:1": count(4) }));
        let some = api.call("channels", &json!({ "pattern": "chat:*" }));
        assert_eq!(some["channels"], json!({ "chat:0": count(4), "chat:1": count(4) }));
        assert_eq!(api.call("channels", &json!({ "pattern": "x*" }))["channels"], json!({}));
        let info = api.call("info", &json!({}));
        let node = &info["nodes"][0];
        assert_eq!(
            (&node["num_clients"], &node["num_users"], &node["num_subs"]),
            (&json!(9), &json!(1), &json!(16))
        );
        assert!(node["uptime"].is_u64() && node["version"].is_string(), "{info}");
    });
}

#[test]
fn a_batch_is_carried_out_in_order() {
    each_driver(|driver| {
        let server = server(driver);
        let mut api = Api::connect(server.address());
        let commands = json!([
            { "publish": { "channel": "a", "data": 1 } },
            { "publish": { "channel": "a", "data": 2 } },
            { "broadcast": { "channels": ["a", "b"], "data": 3 } },
            { "history": { "channel": "a", "limit": 10 } },
            { "presence_stats": { "channel": "a" } },
        ]);
        let (status, answer) = api.ask("batch", &json!({ "commands": commands }));
        let replies = &answer["replies"];
        assert_eq!(
            (status, &replies[0]["publish"]["offset"], &replies[1]["publish"]["offset"]),
            (200, &json!(1), &json!(2))
        );
        assert_eq!(replies[2]["broadcast"]["responses"][0]["result"]["offset"], 3);
        assert_eq!(replies[3]["history"]["publications"].as_array().unwrap().len(), 3);
        assert_eq!(replies[4]["presence_stats"]["num_users"], 0);
        let bad = json!({ "commands": [{ "publish": { "channel": "a", "data": 4 } }, { "publish": { "channel": "a" } }] });
        let (status, answer) = api.ask("batch", &bad);
        assert_eq!((status, &answer["error"]["field"]), (400, &json!("commands[1].publish.data")));
        assert_eq!(api.call("history", &json!({ "channel": "a" }))["offset"], 3, "nothing of it was done");
    });
}

#[test]
fn errors_name_the_field() {
    each_driver(|driver| {
        let server = server(driver);
        let mut api = Api::connect(server.address());
        let long = "x".repeat(256);
        for (method, body, at_fault) in [
            ("publish", json!({ "data": 1 }), "channel"),
            ("publish", json!({ "channel": 7, "data": 1 }), "channel"),
            ("publish", json!({ "channel": "two words", "data": 1 }), "channel"),
            ("publish", json!({ "channel": "\u{1}everyone", "data": 1 }), "channel"),
            ("publish", json!({ "channel": "c" }), "data"),
            ("publish", json!({ "channel": "c", "b64data": "?" }), "b64data"),
            ("publish", json!({ "channel": "c", "data": 1, "tags": [] }), "tags"),
            ("publish", json!({ "channel": "c", "data": 1, "skip_history": "yes" }), "skip_history"),
            ("publish", json!({ "channel": "c", "data": 1, "idempotency_key": long }), "idempotency_key"),
            ("broadcast", json!({ "channels": [], "data": 1 }), "channels"),
            ("broadcast", json!({ "channels": ["a", "b c"], "data": 1 }), "channels[1]"),
            ("to_users", json!({ "users": ["ann", ""], "data": 1 }), "users[1]"),
            ("subscribe", json!({ "channel": "c" }), "user"),
            ("unsubscribe", json!({ "user": "ann" }), "channel"),
            ("disconnect", json!({ "user": "ann", "disconnect": { "code": 1000 } }), "disconnect.code"),
            ("history", json!({ "channel": "c", "limit": "ten" }), "limit"),
            ("history", json!({ "channel": "c", "since": 7 }), "since"),
            ("batch", json!({ "commands": [{ "publish": {}, "info": {} }] }), "commands[0]"),
            ("", json!({ "params": {} }), "method"),
            ("", json!({ "method": "publish", "params": { "data": 1 } }), "params.channel"),
        ] {
            let path = if method.is_empty() { String::new() } else { format!("/{method}") };
            let body = body.to_string();
            let len = body.len();
            api.0.send(
                format!("POST /api{path} HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n\r\n{body}")
                    .as_bytes(),
            );
            let (status, answer) = api.answer();
            let error = &answer["error"];
            assert_eq!(
                (status, &error["field"], &error["code"]),
                (400, &json!(at_fault), &json!(107)),
                "{method} {body}"
            );
            assert!(error["message"].as_str().unwrap().starts_with(at_fault), "{error}");
        }
        for body in ["{", "[]", "\"a\"", "{\"channel\":\"c\"}}", "\u{feff}{}"] {
            api.0.send(request("publish", "", body).as_bytes());
            assert_eq!(api.answer().0, 400, "{body}");
        }
        assert_eq!(api.ask("shout", &json!({})).0, 404);
        api.0.send(b"GET /api/publish HTTP/1.1\r\nHost: h\r\n\r\n");
        let answer = api.0.answer();
        assert_eq!((answer.status, field(&answer.head, "allow")), (405, Some("POST, OPTIONS")));
        api.call("publish", &json!({ "channel": "c", "data": 1 }));
    });
}

#[test]
fn who_has_no_key_is_refused() {
    each_driver(|driver| {
        let server = TestServer::start(driver, |config| config.api_key = Some(Secret::new("right")));
        let mut api = Api::connect(server.address());
        let mut ask = |fields: &str| {
            api.0.send(request("info", fields, "{}").as_bytes());
            api.answer()
        };
        for fields in ["", "X-API-Key: wrong\r\n", "X-API-Key: right2\r\n", "Authorization: Bearer right\r\n"]
        {
            let (status, answer) = ask(fields);
            assert_eq!((status, &answer["error"]["code"]), (401, &json!(101)), "{fields}");
        }
        for fields in ["X-API-Key: right\r\n", "Authorization: apikey right\r\n"] {
            assert_eq!(ask(fields).0, 200, "{fields}");
        }
    });
}

#[test]
fn without_a_key_only_a_local_listener_answers() {
    each_driver(|driver| {
        let server = TestServer::start(driver, |config| config.host = Host::Ip([0, 0, 0, 0].into()));
        let address = SocketAddr::from(([127, 0, 0, 1], server.address().port()));
        let (status, answer) = Api::connect(address).ask("info", &json!({}));
        assert_eq!((status, &answer["error"]["code"]), (403, &json!(103)));
        assert!(answer["error"]["message"].as_str().unwrap().contains("REALTIME_API_KEY"));
    });
}

#[test]
fn a_body_that_is_too_long_is_refused_however_it_comes() {
    each_driver(|driver| {
        let server = TestServer::start(driver, |config| config.http_body_bytes = ByteSize::new(1024));
        let body = |len: usize| format!(r#"{{"channel":"c","data":"{}"}}"#, "x".repeat(len - 25));
        let chunked = |body: &str| {
            let (one, two) = body.split_at(body.len() / 2);
            let head = "POST /api/publish HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
            format!("{head}{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", one.len(), two.len())
        };
        assert_eq!(body(1024).len(), 1024);
        for (bytes, status) in [
            (request("publish", "", &body(1024)), 200),
            (request("publish", "", &body(1025)), 413),
            (chunked(&body(1024)), 200),
            (chunked(&body(1025)), 413),
        ] {
            let mut client = Client::connect(server.address());
            client.send(bytes.as_bytes());
            let answer = client.answer();
            assert_eq!(answer.status, status, "{}", answer.head);
            if status == 413 {
                assert_eq!(client.rest(), b"", "nothing follows");
            }
        }
        // Who asks before it sends is told to go on, or that it need not.
        for (len, told) in [(100, "HTTP/1.1 100 Continue\r\n\r\n"), (1025, "HTTP/1.1 413 ")] {
            let mut client = Client::connect(server.address());
            let fields = format!("Expect: 100-continue\r\nContent-Length: {len}\r\n");
            client.send(format!("POST /api/publish HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes());
            assert!(client.head().starts_with(told), "{told}");
            if len == 100 {
                client.send(body(100).as_bytes());
                assert_eq!(client.answer().status, 200);
            }
        }
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    each_driver(|driver| {
        let server = server(driver);
        // Several connections: on whichever shard they are, the home of one of the channels is another.
        for channel in ["a", "b", "c", "d"] {
            let mut bytes = String::new();
            for number in 0..500 {
                bytes += &request("publish", "", &format!(r#"{{"channel":"{channel}","data":{number}}}"#));
            }
            bytes += "GET /health/live HTTP/1.1\r\nHost: h\r\n\r\n";
            bytes += &request("history", "", &format!(r#"{{"channel":"{channel}","limit":1000}}"#));
            bytes += &request("shout", "Connection: close\r\n", "{}");
            bytes += &request("publish", "", &format!(r#"{{"channel":"{channel}","data":"too late"}}"#));
            let mut api = Api::connect(server.address());
            api.0.send(bytes.as_bytes());
            for offset in 1..=500 {
                let (status, answer) = api.answer();
                assert_eq!((status, &answer["result"]["offset"]), (200, &json!(offset)), "{answer}");
            }
            let live = api.0.answer();
            assert_eq!(
                (live.status, field(&live.head, "connection")),
                (200, Some("keep-alive")),
                "{}",
                live.head
            );
            let (_, history) = api.answer();
            let data: Vec<_> = history["result"]["publications"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["data"].clone())
                .collect();
            assert!(
                data.iter().eq((0..500).map(Value::from).collect::<Vec<_>>().iter()),
                "in the order they were sent"
            );
            assert_eq!(api.answer().0, 404);
            assert_eq!(api.0.rest(), b"", "behind the last request nothing is answered");
            let place = Api::connect(server.address()).call("history", &json!({ "channel": channel }));
            assert_eq!(place["offset"], 500, "nor done");
        }
    });
}
