//! Who a connection is: tokens shown in every place, renewed, expired, revoked; the same verdicts on every transport.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/api.rs"]
mod api;
#[path = "common/client.rs"]
mod client;
#[path = "common/issuer.rs"]
mod issuer;
#[path = "common/server.rs"]
mod server;
#[path = "common/stream.rs"]
mod stream;

use std::time::Duration;

use api::Api;
use client::{Client, Received};
use highper_realtime::config::{Anonymous, Bounds, Config, DriverKind, OriginPattern, Token, Value as _};
use highper_shards::clock::unix_millis;
use issuer::{token, with_auth};
use serde_json::{Value, json};
use server::{TestServer, each_driver, each_driver_at_once};
use stream::Stream;

fn server(driver: DriverKind, change: impl FnOnce(&mut Config)) -> TestServer {
    TestServer::start(driver, |config| {
        with_auth(config);
        config.presence = true;
        config.history_size = 10;
        change(config);
    })
}

fn in_secs(secs: u64) -> u64 {
    unix_millis() / 1000 + secs
}

fn ann() -> String {
    token(json!({"sub": "ann", "exp": in_secs(600), "iat": in_secs(0)}))
}

/// A handshake with these fields; the status, and the client if it is 101.
fn shake(server: &TestServer, target: &str, fields: &str) -> (u16, Client) {
    let mut client = Client::connect(server.address());
    client.send(
        format!(
            "GET {target} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
        )
        .as_bytes(),
    );
    let head = client.head();
    (head[9..12].parse().unwrap(), client)
}

fn opened(server: &TestServer, target: &str) -> Client {
    let (status, mut client) = shake(server, target, "");
    assert_eq!(status, 101, "{target}");
    assert_eq!(client.json()["type"], "welcome");
    client
}

fn stream_status(server: &TestServer, target: &str, fields: &str) -> u16 {
    let mut client = Client::connect(server.address());
    client.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes());
    client.head()[9..12].parse().unwrap()
}

/// What a command is answered: `ok`, or the code of the error.
fn told(client: &mut Client, command: Value) -> String {
    client.text(&command.to_string());
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
fn a_token_is_taken_wherever_it_may_stand() {
    each_driver(|driver| {
        let origin = "https://app.example.com";
        let server = server(driver, |config| {
            config.auth_cookie = Token::parse("session", &Bounds::ANY);
            config.cors_origins = vec![OriginPattern::parse(origin, &Bounds::ANY).unwrap()];
            config.sse_cors_origins = config.cors_origins.clone();
        });
        let ann = ann();
        for (target, fields) in [
            ("/ws".to_owned(), format!("Authorization: Bearer {ann}\r\n")),
            (format!("/ws?token={ann}"), String::new()),
            ("/ws".to_owned(), format!("Sec-WebSocket-Protocol: realtime, bearer.{ann}\r\n")),
            ("/ws".to_owned(), format!("Origin: {origin}\r\nCookie: session={ann}\r\n")),
        ] {
            let (status, mut client) = shake(&server, &target, &fields);
            assert_eq!(status, 101, "{target} {fields}");
            assert!(client.json().get("auth").is_none(), "nothing more is required");
            client.join("room");
            client.text(r#"{"type":"presence","channel":"room","id":1}"#);
            let connections = client.json_of("presence")["connections"].take();
            let users: Vec<_> = connections.as_object().unwrap().values().map(|one| &one["user"]).collect();
            assert!(users.iter().all(|user| **user == "ann"), "{users:?}");
        }
        // A cookie comes with requests of every site, so it says nothing unless the site is known.
        let (status, mut client) = shake(&server, "/ws", &format!("Cookie: session={ann}\r\n"));
        assert_eq!((status, &client.json()["auth"]), (101, &json!("required")));
        assert_eq!(stream_status(&server, &format!("/sse?channel=room&token={ann}"), ""), 200);
    });
}

#[test]
fn a_bad_token_opens_nothing_and_never_counts_as_none() {
    each_driver(|driver| {
        for anonymous in [Anonymous::Refuse, Anonymous::Full] {
            let server = server(driver, |config| config.anonymous = anonymous);
            let expired = token(json!({"sub": "ann", "exp": in_secs(0) - 31}));
            let of_a_channel = token(json!({"sub": "ann", "exp": in_secs(60), "channel": "room"}));
            let forged = format!("{}x", ann());
            for bad in [expired.as_str(), &of_a_channel, &forged, "a.b.c", "-", ""] {
                let fields = format!("Authorization: Bearer {bad}\r\n");
                assert_eq!(shake(&server, "/ws", &fields).0, 401, "{bad}");
                assert_eq!(stream_status(&server, "/sse?channel=room", &fields), 401, "{bad}");
                let mut api = Api::connect(server.address());
                let body = json!({"channel": "room", "data": 1}).to_string();
                api.0.send(api::request("publish", &fields, &body).as_bytes());
                let (status, answer) = api.answer();
                assert_eq!((status, &answer["error"]["code"]), (401, &json!(101)), "{bad}: {answer}");
            }
            assert!(server.sum(|shard| shard.counters.auth_failures) >= 18);
        }
    });
}

#[test]
fn j16_nobody_is_somebody_by_the_address() {
    each_driver(|driver| {
        let server = server(driver, |_| {});
        assert_eq!(stream_status(&server, "/sse?channel=room&user=admin", ""), 401);
        assert_eq!(stream_status(&server, "/sse?channel=room", "X-User-Id: admin\r\n"), 401);
        assert_eq!(shake(&server, "/echo?user=admin", "").0, 401);
    });
}

#[test]
fn who_shows_no_token_must_send_it_first() {
    each_driver(|driver| {
        let server = server(driver, |_| {});
        let mut client = Client::connect(server.address());
        client.upgrade("/ws", None);
        assert_eq!(client.json()["auth"], "required");
        client.text(&json!({"type": "auth", "token": ann(), "id": 1}).to_string());
        let answer = client.json();
        assert_eq!(
            (&answer["type"], &answer["user"], &answer["id"]),
            (&json!("authenticated"), &json!("ann"), &json!(1))
        );
        assert!((590..=600).contains(&answer["expires_in"].as_u64().unwrap()), "{answer}");
        client.join("room");
        // Once is enough.
        assert_eq!(told(&mut client, json!({"type": "auth", "token": ann(), "id": 2})), "forbidden");
        for first in [
            json!({"type": "join", "channel": "room", "id": 1}).to_string(),
            json!({"type": "publish", "channel": "room", "data": 1}).to_string(),
            json!({"type": "auth", "token": "a.b.c", "id": 1}).to_string(),
            json!({"type": "refresh", "token": ann(), "id": 1}).to_string(),
        ] {
            let mut client = Client::connect(server.address());
            client.upgrade("/ws", None);
            assert_eq!(client.json()["auth"], "required");
            client.text(&first);
            assert_eq!(client.json()["code"], "unauthorized", "{first}");
            assert_eq!(client.until_close(), (vec![], 3500), "{first}");
        }
        let mut client = Client::connect(server.address());
        client.upgrade("/ws", None);
        assert_eq!(client.json()["auth"], "required");
        client.binary(b"hello");
        assert_eq!(client.until_close(), (vec![], 3500));
        // Nobody gets memory before it is somebody.
        let mut client = Client::connect(server.address());
        client.upgrade("/ws", None);
        assert_eq!(client.json()["auth"], "required");
        client.text(&json!({"type": "auth", "token": "x".repeat(20_000)}).to_string());
        assert_eq!(client.until_close(), (vec![], 1009));
    });
}

#[test]
fn h2_who_never_shows_a_token_is_closed() {
    each_driver_at_once(|driver| {
        let server = server(driver, |config| config.auth_timeout = Duration::from_secs(1));
        let mut client = Client::connect(server.address());
        client.upgrade("/ws", None);
        assert_eq!(client.json()["auth"], "required");
        client.text(r#"{"type":"ping"}"#);
        let (before, code) = client.until_close();
        assert_eq!((before.len(), code), (1, 3502), "{before:?}");
        assert_eq!(server.sum(|shard| shard.counters.auth_failures), 1);
    });
}

#[test]
fn j9_a_connection_ends_with_its_token_unless_it_is_renewed() {
    each_driver_at_once(|driver| {
        let server = server(driver, |config| {
            config.auth_timeout = Duration::from_secs(2);
            config.jwt_leeway = Duration::ZERO;
        });
        let short = || token(json!({"sub": "ann", "exp": in_secs(3)}));
        let mut lazy = opened(&server, &format!("/ws?token={}", short()));
        let mut eager = opened(&server, &format!("/ws?token={}", short()));
        let mut raw = shake(&server, "/echo", &format!("Authorization: Bearer {}\r\n", short())).1;
        let mut stream = Stream::open(server.address(), &format!("/sse?channel=room&token={}", short()));
        for client in [&mut lazy, &mut eager] {
            assert_eq!(client.json(), json!({"type": "expired", "timeout": 2}));
        }
        let other = token(json!({"sub": "bob", "exp": in_secs(60)}));
        assert_eq!(told(&mut eager, json!({"type": "refresh", "token": other, "id": 1})), "unauthorized");
        assert_eq!(told(&mut eager, json!({"type": "refresh", "token": "a.b.c", "id": 2})), "unauthorized");
        assert_eq!(told(&mut eager, json!({"type": "refresh", "token": ann(), "id": 3})), "ok");
        assert_eq!(lazy.until_close(), (vec![], 3005));
        assert_eq!(raw.until_close(), (vec![], 3005));
        stream.rest();
        eager.join("room");
        assert_eq!(eager.next_within(Duration::from_millis(100)), None);
    });
}

#[test]
fn j10_revoked_tokens_close_what_they_opened_and_open_nothing() {
    each_driver(|driver| {
        let server = server(driver, |_| {});
        let of = |user: &str, issued| token(json!({"sub": user, "exp": in_secs(600), "iat": issued}));
        let (old, new, bob) =
            (of("ann", in_secs(0) - 100), of("ann", in_secs(0)), of("bob", in_secs(0) - 100));
        let without = token(json!({"sub": "ann", "exp": in_secs(600)}));
        let open = |token: &str| opened(&server, &format!("/ws?token={token}"));
        let mut closed: Vec<_> = (0..8).map(|_| open(&old)).collect();
        closed.push(open(&without));
        let mut kept = [open(&new), open(&bob)];
        let mut stream = Stream::open(server.address(), &format!("/sse?channel=room&token={old}"));
        let mut api = Api::connect(server.address());
        assert_eq!(api.ask("revoke", &json!({"user": "ann", "issued_before": "now"})).0, 400);
        assert_eq!(api.ask("revoke", &json!({"issued_before": 1})).0, 400);
        api.call("revoke", &json!({"user": "ann", "issued_before": in_secs(0) - 50}));
        for client in &mut closed {
            assert_eq!(client.until_close(), (vec![], 3500));
        }
        stream.rest();
        for client in &mut kept {
            client.join("room");
        }
        for (token, status) in [(&old, 401), (&without, 401), (&new, 101), (&bob, 101)] {
            // Every shard knows it.
            for _ in 0..8 {
                assert_eq!(shake(&server, &format!("/ws?token={token}"), "").0, status);
            }
        }
        api.call("revoke", &json!({"user": "bob"}));
        assert_eq!(kept[1].until_close().1, 3500);
    });
}

#[test]
fn the_token_says_where_the_connection_is() {
    each_driver(|driver| {
        let server = server(driver, |_| {});
        let token =
            token(json!({"sub": "ann", "exp": in_secs(60), "channels": ["news", "room"], "info": {"n": 1}}));
        let mut client = opened(&server, &format!("/ws?token={token}"));
        let mut joined = [client.json(), client.json()].map(|event| event["channel"].to_string());
        joined.sort();
        assert_eq!(joined, ["\"news\"", "\"room\""]);
        client.text(r#"{"type":"presence","channel":"room","id":1}"#);
        let connections = client.json_of("presence")["connections"].take();
        assert!(
            connections.as_object().unwrap().values().all(|one| one["info"] == json!({"n": 1})),
            "{connections}"
        );
        let mut stream = Stream::open(server.address(), &format!("/sse?token={token}"));
        stream.joined(2);
        Api::connect(server.address()).call("publish", &json!({"channel": "news", "data": "hi"}));
        stream.until_raw("\"hi\"");
        assert_eq!(client.json()["data"], "hi");
    });
}

#[test]
fn private_channels_and_those_of_users_are_for_whom_they_are() {
    each_driver(|driver| {
        let server = server(driver, |_| {});
        let mut client = opened(&server, &format!("/ws?token={}", ann()));
        let join = |channel: &str, token: Option<&str>| match token {
            Some(token) => json!({"type": "join", "channel": channel, "token": token, "id": 1}),
            None => json!({"type": "join", "channel": channel, "id": 1}),
        };
        let ticket =
            |user: &str, channel: &str| token(json!({"sub": user, "channel": channel, "exp": in_secs(60)}));
        let expired = token(json!({"sub": "ann", "channel": "$vault", "exp": in_secs(0) - 31}));
        for (command, expected) in [
            (join("$vault", None), "unauthorized"),
            (join("$vault", Some(&ticket("bob", "$vault"))), "unauthorized"),
            (join("$vault", Some(&ticket("ann", "$other"))), "unauthorized"),
            (join("$vault", Some(&expired)), "unauthorized"),
            (join("$vault", Some(&ann())), "unauthorized"),
            (join("$vault", Some(&ticket("ann", "$vault"))), "ok"),
            (join("room", Some(&ticket("ann", "$other"))), "unauthorized"),
            (join("room", Some(&ann())), "unauthorized"),
            (join("dialog#ann,bob", None), "ok"),
            (join("dialog#bob,ann", None), "ok"),
            (join("dialog#bob", None), "forbidden"),
            (join("dialog#anna", None), "forbidden"),
            (join("dialog#", None), "forbidden"),
        ] {
            assert_eq!(told(&mut client, command.clone()), expected, "{command}");
        }
    });
}

#[test]
fn anonymous_clients_do_what_the_setting_says() {
    each_driver(|driver| {
        for (setting, publish) in [(Anonymous::Subscribe, "unauthorized"), (Anonymous::Full, "ok")] {
            let server = server(driver, |config| config.anonymous = setting);
            let mut client = opened(&server, "/ws");
            client.join("room");
            assert_eq!(
                told(&mut client, json!({"type": "publish", "channel": "room", "data": 1, "id": 1})),
                publish
            );
            assert_eq!(
                told(&mut client, json!({"type": "join", "channel": "$vault", "id": 2})),
                "unauthorized"
            );
            assert_eq!(stream_status(&server, "/sse?channel=room", ""), 200);
            assert_eq!(stream_status(&server, "/sse?channel=$vault", ""), 401);
        }
    });
}

#[test]
fn j9_a_subscription_ends_with_the_token_of_its_channel() {
    each_driver_at_once(|driver| {
        let server = server(driver, |config| config.jwt_leeway = Duration::ZERO);
        let mut client = opened(&server, &format!("/ws?token={}", ann()));
        let ticket = token(json!({"sub": "ann", "channel": "$vault", "exp": in_secs(2)}));
        let join = json!({"type": "join", "channel": "$vault", "token": ticket, "id": 1});
        assert_eq!(told(&mut client, join), "ok");
        assert_eq!(client.json(), json!({"type": "left", "channel": "$vault"}));
        client.join("room");
    });
}

/// What one identity may do in one channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Verdicts {
    subscribe: bool,
    publish: bool,
    presence: bool,
    history: bool,
}

#[test]
fn j15_the_same_token_may_do_the_same_on_every_transport() {
    const CHANNELS: [&str; 8] =
        ["room", "news:a", "news:b", "secret:x", "$vault", "$open", "dialog#ann", "dialog#bob"];
    each_driver(|driver| {
        let server = server(driver, |_| {});
        let permissions = json!({
            "subscribe": ["news:*", "$open", "dialog*", "!news:b"],
            "publish": ["news:a", "$*"],
            "presence": ["*", "!secret:*"],
            "history": ["news:*"],
        });
        let tokens = [
            token(json!({"sub": "ann", "exp": in_secs(600)})),
            token(json!({"sub": "ann", "exp": in_secs(600), "permissions": permissions})),
            token(json!({"sub": "", "exp": in_secs(600), "permissions": {"subscribe": ["room"]}})),
            token(
                json!({"sub": "bob", "exp": in_secs(600), "permissions": {"publish": [], "subscribe": ["*"]}}),
            ),
        ];
        // Others talk everywhere: who may not listen hears nothing of it.
        let mut verdicts = Vec::new();
        for token in &tokens {
            for channel in CHANNELS {
                let by_socket = by_socket(&server, token, channel);
                assert_eq!(by_calls(&server, token, channel), by_socket, "{token} {channel}");
                let target = format!("/sse?channel={}&token={token}", channel.replace('#', "%23"));
                let by_stream = stream_status(&server, &target, "");
                assert_eq!(by_stream == 200, by_socket.subscribe, "{token} {channel}: {by_stream}");
                verdicts.push(by_socket);
            }
        }
        type Allows = fn(&Verdicts) -> bool;
        let actions: [Allows; 4] =
            [|one| one.subscribe, |one| one.publish, |one| one.presence, |one| one.history];
        for allows in actions {
            let allowed = verdicts.iter().filter(|verdicts| allows(verdicts)).count();
            assert!((4..verdicts.len() - 4).contains(&allowed), "vacuous: {allowed} of {}", verdicts.len());
        }
    });
}

fn by_socket(server: &TestServer, token: &str, channel: &str) -> Verdicts {
    let mut client = opened(server, &format!("/ws?token={token}"));
    let mut ask = |command: Value| told(&mut client, command);
    let subscribe = ask(json!({"type": "join", "channel": channel, "id": 1})) == "ok";
    let publish = ask(json!({"type": "publish", "channel": channel, "data": 1, "id": 2})) == "ok";
    let presence = ask(json!({"type": "presence", "channel": channel, "id": 3})) == "ok";
    let history = ask(json!({"type": "history", "channel": channel, "id": 4})) == "ok";
    Verdicts { subscribe, publish, presence, history }
}

/// The same by HTTP: looking into a channel needs that the client may join it, as it must have on a socket.
fn by_calls(server: &TestServer, token: &str, channel: &str) -> Verdicts {
    let mut api = Api::connect(server.address());
    let mut ask = |method: &str, body: Value| {
        let fields = format!("Authorization: Bearer {token}\r\n");
        api.0.send(api::request(method, &fields, &body.to_string()).as_bytes());
        let (status, answer) = api.answer();
        assert!(matches!(status, 200 | 403), "{method} {body}: {answer}");
        status == 200
    };
    assert!(!ask("disconnect", json!({"user": "bob"})), "backends alone may do this");
    assert!(!ask("batch", json!({"commands": [{"info": {}}]})), "backends alone may do this");
    let publish = ask("publish", json!({"channel": channel, "data": 1}));
    let presence = ask("presence", json!({"channel": channel}));
    assert_eq!(ask("presence_stats", json!({"channel": channel})), presence);
    let history = ask("history", json!({"channel": channel, "limit": 1}));
    let mut stream = Client::connect(server.address());
    let target = format!("/sse?channel={}&access_token={token}", channel.replace('#', "%23"));
    stream.send(format!("HEAD {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
    let subscribe = stream.head().starts_with("HTTP/1.1 200");
    Verdicts { subscribe, publish, presence, history }
}

#[test]
fn who_may_not_listen_hears_nothing() {
    each_driver(|driver| {
        let server = server(driver, |config| config.client_broadcast = true);
        let limited =
            token(json!({"sub": "ann", "exp": in_secs(600), "permissions": {"subscribe": ["open"]}}));
        let mut client = opened(&server, &format!("/ws?token={limited}"));
        assert_eq!(told(&mut client, json!({"type": "join", "channel": "closed", "id": 1})), "forbidden");
        client.join("open");
        let mut api = Api::connect(server.address());
        for (channel, canary) in [("closed", "canary"), ("$vault", "canary"), ("open", "fine")] {
            api.call("publish", &json!({"channel": channel, "data": canary}));
        }
        api.call("to_users", &json!({"users": ["bob"], "data": "canary"}));
        api.call("to_users", &json!({"users": ["ann"], "data": "for ann"}));
        let heard = [client.json(), client.json()].map(|event| event["data"].clone());
        assert_eq!(heard, ["fine", "for ann"]);
        assert_eq!(client.next_within(Duration::from_millis(50)), None::<Received>);
    });
}
