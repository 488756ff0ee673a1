//! Ways around permissions and limits that somebody tried: each test is one of them, and shows that it leads nowhere.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/api.rs"]
mod api;
#[path = "common/client.rs"]
mod client;
#[path = "common/issuer.rs"]
mod issuer;
#[path = "common/process.rs"]
mod process;
#[path = "common/server.rs"]
mod server;
#[path = "common/stream.rs"]
mod stream;

use std::time::Duration;

use api::Api;
use client::{Client, field};
use highper_realtime::config::{ChannelRules, Config, DriverKind};
use highper_shards::clock::unix_millis;
use highper_wire::sse::cursor;
use issuer::{token, with_auth};
use process::Process;
use serde_json::{Value, json};
use server::{TestServer, each_driver, each_driver_at_once};
use stream::Stream;

fn server(driver: DriverKind, change: impl FnOnce(&mut Config)) -> TestServer {
    TestServer::start(driver, |config| {
        with_auth(config);
        config.history_size = 10;
        change(config);
    })
}

fn in_secs(secs: u64) -> u64 {
    unix_millis() / 1000 + secs
}

/// A token of ann's with these claims too.
fn ann(more: Value) -> String {
    let mut claims = json!({"sub": "ann", "exp": in_secs(600)});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    token(claims)
}

fn opened(server: &TestServer, token: &str) -> Client {
    let mut client = Client::connect(server.address());
    client.upgrade(&format!("/ws?token={token}"), None);
    assert_eq!(client.json()["type"], "welcome");
    client
}

/// The answer to a command with an id.
fn told(client: &mut Client, command: Value) -> Value {
    client.text(&command.to_string());
    loop {
        let answer = client.json();
        if answer["id"] == command["id"] {
            return answer;
        }
    }
}

fn without_sockets(prefix: &str, config: &mut Config) {
    let rules = ChannelRules { websocket: false, ..ChannelRules::default() };
    config.namespaces.insert(prefix, rules).unwrap();
}

#[test]
fn j18_a_token_puts_no_websocket_where_websockets_may_not_be() {
    each_driver(|driver| {
        let server = server(driver, |config| without_sockets("sse:", config));
        let mut client = opened(&server, &ann(json!({"channels": ["sse:a", "room"]})));
        assert_eq!(client.json()["channel"], "room");
        Api::connect(server.address()).call("publish", &json!({"channel": "sse:a", "data": "canary"}));
        assert_eq!(client.next_within(Duration::from_millis(50)), None);
    });
}

#[test]
fn j18_no_websocket_publishes_where_websockets_may_not_be() {
    each_driver(|driver| {
        let server = server(driver, |config| without_sockets("sse:", config));
        let mut client = opened(&server, &ann(json!({})));
        let answer = told(&mut client, json!({"type": "publish", "channel": "sse:a", "data": 1, "id": 1}));
        assert_eq!(answer["code"], "forbidden", "{answer}");
    });
}

#[test]
fn j18_who_may_not_read_history_does_not_get_it_by_coming_back() {
    each_driver(|driver| {
        let server = server(driver, |_| {});
        let mut api = Api::connect(server.address());
        for canary in ["canary 1", "canary 2"] {
            api.call("publish", &json!({"channel": "room", "data": canary}));
        }
        let joins = |history: Value| {
            let permissions = json!({"permissions": {"subscribe": ["*"], "history": history}});
            let token = ann(permissions);
            let mut client = opened(&server, &token);
            let first = told(&mut client, json!({"type": "join", "channel": "room", "id": 1}));
            told(&mut client, json!({"type": "leave", "channel": "room", "id": 2}));
            let since = json!({"epoch": first["epoch"], "offset": 0});
            let join = json!({"type": "join", "channel": "room", "since": since, "id": 3});
            let recovered = told(&mut client, join)["recovered"].clone();
            let heard = client.next_within(Duration::from_millis(50)).is_some();
            (recovered, heard, token, first["epoch"].clone())
        };
        let (recovered, heard, token, epoch) = joins(json!(["!room"]));
        assert_eq!((recovered, heard), (json!(false), false));
        let (recovered, heard, ..) = joins(json!(["other"]));
        assert_eq!((recovered, heard), (json!(false), false));
        let (recovered, heard, allowed, _) = joins(json!(["room"]));
        assert_eq!((recovered, heard), (json!(true), true));
        // The same by a stream.
        let id = id_of("room", &epoch, 0);
        let target = |token: &str| format!("/sse?channel=room&token={token}");
        let mut stream = Stream::again(server.address(), &target(&allowed), &id);
        assert_eq!([stream.json()["data"].take(), stream.json()["data"].take()], ["canary 1", "canary 2"]);
        let mut stream = Stream::again(server.address(), &target(&token), &id);
        assert_eq!(stream.next().event, "gap");
    });
}

#[test]
fn j9_an_expiry_that_is_not_checked_closes_nothing() {
    each_driver_at_once(|driver| {
        let server = server(driver, |config| {
            config.jwt_verify_expiration = false;
            config.jwt_leeway = Duration::ZERO;
            config.auth_timeout = Duration::from_secs(1);
        });
        let mut client = opened(&server, &ann(json!({"exp": in_secs(0) - 100})));
        assert_eq!(client.next_within(Duration::from_millis(200)), None);
    });
}

#[test]
fn calls_by_token_are_limited_as_messages_are() {
    each_driver(|driver| {
        let server = server(driver, |config| {
            config.rate_limit_enabled = true;
            config.rate_limit_messages_per_minute = 1;
            config.rate_limit_burst = 5;
        });
        let mut api = Api::connect(server.address());
        let fields = format!("Authorization: Bearer {}\r\n", ann(json!({})));
        let body = json!({"channel": "room", "data": 1}).to_string();
        let mut publish = |times: usize| {
            (0..times)
                .map(|_| {
                    api.0.send(api::request("publish", &fields, &body).as_bytes());
                    api.answer().0
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(publish(7), [200, 200, 200, 200, 200, 429, 429]);
        // The key is not a client.
        let mut backend = Api::connect(server.address());
        for _ in 0..20 {
            backend.call("publish", &json!({"channel": "room", "data": 1}));
        }
    });
}

#[test]
fn a_batch_by_token_costs_as_many_messages_as_it_has() {
    each_driver(|driver| {
        let server = server(driver, |config| {
            config.rate_limit_enabled = true;
            config.rate_limit_messages_per_minute = 1;
            config.rate_limit_burst = 5;
        });
        let mut api = Api::connect(server.address());
        let fields = format!("Authorization: Bearer {}\r\n", ann(json!({})));
        let one = json!({"publish": {"channel": "room", "data": 1}});
        let mut batch = |count: usize| {
            let body = json!({"commands": vec![one.clone(); count]}).to_string();
            api.0.send(api::request("batch", &fields, &body).as_bytes());
            api.answer().0
        };
        assert_eq!([batch(4), batch(2), batch(1)], [200, 429, 200]);
    });
}

#[test]
fn j11_no_endpoint_repeats_a_token_as_a_sub_protocol() {
    each_driver(|driver| {
        let server = server(driver, |_| {});
        let mut client = Client::connect(server.address());
        client.send(
            format!(
                "GET /echo HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Sec-WebSocket-Protocol: bearer.{}, chat\r\n\r\n",
                ann(json!({}))
            )
            .as_bytes(),
        );
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(field(&head, "sec-websocket-protocol"), Some("chat"));
    });
}

#[test]
fn a_stream_of_more_channels_than_it_may_have_is_refused_at_once() {
    each_driver(|driver| {
        let server = server(driver, |config| config.max_channels_per_connection = 3);
        let token = ann(json!({"channels": ["a", "b"]}));
        let status = |target: &str| {
            let mut client = Client::connect(server.address());
            client.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
            client.head()[9..12].parse::<u16>().unwrap()
        };
        assert_eq!(status(&format!("/sse?channel=b&channel=c&token={token}")), 200);
        assert_eq!(status(&format!("/sse?channel=c&channel=d&token={token}")), 400);
    });
}

#[test]
fn bodies_of_those_who_may_not_call_take_no_memory() {
    let process = Process::start(&[("REALTIME_API_KEY", "the key of this test, long enough")]);
    let later = || {
        let mut client = Client::connect(process.address());
        client.send(b"GET /health/live HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.answer().status, 200);
    };
    (0..20).for_each(|_| later());
    let before = process.resident();
    let body = vec![b'x'; 900_000];
    let mut clients: Vec<Client> = (0..60).map(|_| Client::connect(process.address())).collect();
    for client in &mut clients {
        client.send(b"POST /api/publish HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
        client.send(&body);
    }
    // Every shard has read them once it answers what came later.
    (0..20).for_each(|_| later());
    let grown = process.resident().saturating_sub(before);
    // What the shards receive into is touched for the first time.
    assert!(grown < 60 * body.len() / 2, "60 bodies take {grown} bytes");
}

/// The id of an event at this place.
fn id_of(channel: &str, epoch: &Value, offset: u64) -> String {
    let epoch = u32::from_str_radix(epoch.as_str().unwrap(), 16).unwrap();
    let mut id = Vec::new();
    cursor::write(&mut id, std::iter::once((channel, epoch, offset)));
    String::from_utf8(id).unwrap()
}
