//! Hooks on the way in: the backend says who a connection is, what it may do, and whether a client joins.

use std::time::Duration;

use highper_realtime::Config;
use highper_realtime::config::{ChannelRules, DriverKind};
use highper_shards::clock::unix_millis;
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::client::{Client, wait_until};
use crate::issuer::{token, with_auth};
use crate::server::{TestServer, each_driver};
use crate::stream::Stream;

fn server(driver: DriverKind, backend: &Backend, change: impl FnOnce(&mut Config)) -> TestServer {
    TestServer::start(driver, |config| {
        config.hook_connect = backend.url("", "/connect");
        config.presence = true;
        config.hook_timeout = Duration::from_secs(30);
        change(config);
    })
}

/// Asks for a WebSocket, and sends at once what a patient client sends later.
fn knock(server: &TestServer, target: &str, fields: &str) -> Client {
    let mut client = Client::connect(server.address());
    client.send(
        format!(
            "GET {target} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
        )
        .as_bytes(),
    );
    client
}

fn ask_for_stream(server: &TestServer, target: &str) -> Client {
    let mut client = Client::connect(server.address());
    client.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\nCookie: s=1\r\n\r\n").as_bytes());
    client
}

fn status(head: &str) -> u16 {
    head[9..12].parse().unwrap()
}

fn in_secs(secs: u64) -> u64 {
    unix_millis() / 1000 + secs
}

/// `ok`, or the code of the error that a command is answered with.
fn told(client: &mut Client, command: &Value) -> String {
    client.text(&command.to_string());
    answer_to(client, command)
}

fn answer_to(client: &mut Client, command: &Value) -> String {
    loop {
        let answer = client.json();
        match answer["type"].as_str().unwrap() {
            "error" => return answer["code"].as_str().unwrap().to_owned(),
            _ if answer["id"] == command["id"] => return "ok".to_owned(),
            _ => {}
        }
    }
}

#[test]
fn the_backend_says_who_a_connection_is_and_what_it_may_do() {
    each_driver(|driver| {
        let backend = Backend::start();
        let server = server(driver, &backend, |_| {});
        let mut client = knock(&server, "/ws", "Cookie: s=1\r\nX-Secret: no\r\n");
        // What comes before the answer waits for it.
        client.text(r#"{"type":"join","channel":"room","id":1}"#);
        let question = backend.next();
        let asked = question.json();
        assert_eq!(
            (&asked["transport"], &asked["headers"]),
            (&json!("websocket"), &json!({"cookie": "s=1"}))
        );
        assert_eq!(asked["remote_addr"], "127.0.0.1");
        question.answer(
            200,
            &json!({"result": {
                "user": "ann", "data": {"hello": 1}, "info": {"age": 7}, "channels": ["news"],
                "permissions": {"publish": ["room"]},
            }})
            .to_string(),
        );
        assert_eq!(status(&client.head()), 101);
        let welcome = client.json();
        assert_eq!((&welcome["type"], &welcome["data"]), (&json!("welcome"), &json!({"hello": 1})));
        let mut joined = [client.json(), client.json()].map(|event| event["channel"].to_string());
        joined.sort();
        assert_eq!(joined, ["\"news\"", "\"room\""]);
        let publish = |channel: &str| json!({"type": "publish", "channel": channel, "data": 1, "id": 2});
        assert_eq!(told(&mut client, &publish("room")), "ok");
        assert_eq!(told(&mut client, &publish("news")), "forbidden");
        client.text(r#"{"type":"presence","channel":"room","id":3}"#);
        let members = client.json_of("presence")["connections"].take();
        let members: Vec<_> = members.as_object().unwrap().values().cloned().collect();
        assert_eq!(members, [json!({"user": "ann", "info": {"age": 7}})]);
    });
}

#[test]
fn a_refusal_and_a_silent_backend_open_nothing() {
    each_driver(|driver| {
        let backend = Backend::start();
        let server = server(driver, &backend, |_| {});
        for (answer, expected) in [
            (r#"{"error":{"code":401,"message":"log in first"}}"#, 403),
            (r#"{"disconnect":{"code":4001,"reason":"log in first"}}"#, 403),
            (r#"{"result":{"user":"ann","permissions":{"publish":7}}}"#, 503),
            ("nothing", 503),
        ] {
            let mut client = knock(&server, "/ws", "");
            backend.next().answer(200, answer);
            let head = client.head();
            assert_eq!(status(&head), expected, "{answer}: {head}");
            assert_eq!(head.contains("Retry-After: 1\r\n"), expected == 503, "{head}");
            let body = String::from_utf8(client.rest()).unwrap();
            assert_eq!(body.contains("log in first"), expected == 403, "{body}");
            let mut stream = ask_for_stream(&server, "/sse?channel=room");
            backend.next().answer(200, answer);
            assert_eq!(status(&stream.head()), expected, "{answer}");
        }
        // Who goes away while the backend thinks leaves nothing behind.
        for _ in 0..10 {
            drop(knock(&server, "/ws", ""));
            backend.next().answer(200, r#"{"result":{"user":"ann"}}"#);
        }
        wait_until("nobody is left", || server.connections() == 0);
    });
}

#[test]
fn whoever_brings_a_token_needs_no_backend() {
    each_driver(|driver| {
        let backend = Backend::start();
        let server = server(driver, &backend, with_auth);
        let ann = token(json!({"sub": "ann", "exp": in_secs(60)}));
        let mut client = knock(&server, &format!("/ws?token={ann}"), "");
        assert_eq!(status(&client.head()), 101);
        assert!(backend.waiting().is_none());
        let mut other = knock(&server, "/ws", "");
        backend.next().answer(200, &json!({"result": {"user": "bob", "expire_at": in_secs(0)}}).to_string());
        assert_eq!(status(&other.head()), 101);
        assert_eq!(other.json()["type"], "welcome");
    });
}

#[test]
fn the_backend_is_asked_about_channels_that_want_it() {
    each_driver(|driver| {
        let backend = Backend::start();
        let server = server(driver, &backend, |config| {
            config.hook_connect = None;
            config.hook_subscribe = backend.url("", "/subscribe");
            let rules = ChannelRules { subscribe_hook: true, presence: true, ..ChannelRules::default() };
            config.namespaces.insert("ask:", rules).unwrap();
        });
        let mut client = Client::native(server.address());
        let join = |channel: &str, id: u64| json!({"type": "join", "channel": channel, "id": id});
        assert_eq!(told(&mut client, &join("free", 1)), "ok");
        assert!(backend.waiting().is_none());
        for (id, (answer, expected)) in [
            (r#"{"error":{"code":403,"message":"not you"}}"#, "forbidden"),
            ("nothing", "try_again"),
            (r#"{"result":{"info":{"seat":3}}}"#, "ok"),
        ]
        .into_iter()
        .enumerate()
        {
            let command = join("ask:room", id as u64 + 10);
            client.text(&command.to_string());
            let question = backend.next();
            assert_eq!(question.json()["channel"], "ask:room");
            question.answer(200, answer);
            assert_eq!(answer_to(&mut client, &command), expected, "{answer}");
        }
        client.text(r#"{"type":"presence","channel":"ask:room","id":3}"#);
        let members = client.json_of("presence")["connections"].take();
        assert!(
            members.as_object().unwrap().values().all(|one| one["info"] == json!({"seat": 3})),
            "{members}"
        );
        // A subscription ends when the backend said that it does.
        let command = join("ask:short", 20);
        client.text(&command.to_string());
        backend.next().answer(200, &json!({"result": {"expire_at": in_secs(2)}}).to_string());
        assert_eq!(answer_to(&mut client, &command), "ok");
        assert_eq!(client.json(), json!({"type": "left", "channel": "ask:short"}));
        let command = join("ask:out", 21);
        client.text(&command.to_string());
        backend.next().answer(200, r#"{"disconnect":{"code":4003,"reason":"out"}}"#);
        assert_eq!(client.until_close().1, 4003);
    });
}

#[test]
fn a_stream_opens_when_every_channel_is_allowed() {
    each_driver(|driver| {
        let backend = Backend::start();
        let server = server(driver, &backend, |config| {
            config.hook_connect = None;
            config.hook_subscribe = backend.url("", "/subscribe");
            let rules = ChannelRules { subscribe_hook: true, ..ChannelRules::default() };
            config.namespaces.insert("ask:", rules).unwrap();
        });
        let target = "/sse?channel=ask:a&channel=free&channel=ask:b";
        for second in [r#"{"result":{}}"#, r#"{"error":{"code":1,"message":"not you"}}"#] {
            let mut client = ask_for_stream(&server, target);
            let first = backend.next();
            first.answer(200, r#"{"result":{}}"#);
            backend.next().answer(200, second);
            let expected = if second.contains("result") { 200 } else { 403 };
            assert_eq!(status(&client.head()), expected, "{second}");
        }
        let mut stream = Stream::open(server.address(), "/sse?channel=free");
        stream.joined(1);
    });
}

#[test]
fn j18_what_the_backend_is_asked_about_no_call_shows_without_it() {
    each_driver(|driver| {
        let backend = Backend::start();
        let server = server(driver, &backend, |config| {
            with_auth(config);
            config.hook_connect = None;
            config.hook_subscribe = backend.url("", "/subscribe");
            let rules = ChannelRules {
                subscribe_hook: true,
                presence: true,
                history_size: 10,
                ..ChannelRules::default()
            };
            config.namespaces.insert("ask:", rules).unwrap();
        });
        let ann = token(json!({"sub": "ann", "exp": in_secs(60)}));
        for (method, channel, expected) in [
            ("history", "ask:room", 403),
            ("presence", "ask:room", 403),
            ("presence_stats", "ask:room", 403),
            ("presence", "room", 200),
        ] {
            let body = json!({"channel": channel}).to_string();
            let mut client = Client::connect(server.address());
            client.send(
                format!(
                    "POST /api/{method} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {ann}\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    body.len()
                )
                .as_bytes(),
            );
            assert_eq!(client.answer().status, expected, "{method} {channel}");
        }
        assert!(backend.waiting().is_none());
    });
}

#[test]
fn j18_who_may_no_more_when_the_backend_answers_does_not_join() {
    each_driver(|driver| {
        let backend = Backend::start();
        let server = server(driver, &backend, |config| {
            with_auth(config);
            config.hook_connect = None;
            config.hook_subscribe = backend.url("", "/subscribe");
            let rules = ChannelRules { subscribe_hook: true, ..ChannelRules::default() };
            config.namespaces.insert("ask:", rules).unwrap();
        });
        let ann = |more: Value| token(json!({"sub": "ann", "exp": in_secs(60), "permissions": more}));
        let mut client = knock(&server, &format!("/ws?token={}", ann(json!({}))), "");
        assert_eq!((status(&client.head()), &client.json()["type"]), (101, &json!("welcome")));
        let join = json!({"type": "join", "channel": "ask:room", "id": 1});
        client.text(&join.to_string());
        let question = backend.next();
        let fewer = ann(json!({"subscribe": ["free"]}));
        assert_eq!(told(&mut client, &json!({"type": "refresh", "token": fewer, "id": 2})), "ok");
        question.answer(200, r#"{"result":{}}"#);
        assert_eq!(answer_to(&mut client, &join), "forbidden");
    });
}
