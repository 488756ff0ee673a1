//! The four recipes of the PHP library's documentation, word for word: each starts a real server that behaves as its
//! text says, and what a recipe leaves open is said when it starts.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "common/api.rs"]
mod api;
#[path = "common/client.rs"]
mod client;
#[path = "common/issuer.rs"]
mod issuer;
#[path = "common/process.rs"]
mod process;
#[path = "common/stream.rs"]
mod stream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use api::Api;
use client::{Client, Received, status, text_frame};
use highper_shards::clock::unix_millis;
use issuer::{SECRET, token_by};
use process::Process;
use serde_json::{Value, json};
use stream::Stream;

fn file(recipe: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recipes").join(recipe).with_extension("env")
}

fn start(recipe: &str, variables: &[(&str, &str)]) -> Process {
    Process::from_file(&file(recipe), variables, None)
}

/// The server must end by itself, with this exit code and these words, before it listens.
#[track_caller]
fn refused(recipe: &str, args: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = Command::new("timeout");
    command.args(["30", env!("CARGO_BIN_EXE_realtime"), "--env-file"]).arg(file(recipe)).args(args);
    command.env_clear().envs([("REALTIME_HOST", "127.0.0.1"), ("REALTIME_PORT", "0")]);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Output { status, stdout, stderr } =
        command.env("PATH", path).envs(variables.iter().copied()).output().unwrap();
    assert_eq!((status.code(), stdout.as_slice()), (Some(78), &[][..]), "{recipe}");
    String::from_utf8(stderr).unwrap()
}

fn token(secret: &str, user: &str) -> String {
    token_by(secret, json!({"sub": user, "exp": unix_millis() / 1000 + 600}))
}

/// The status of a handshake with this target, and the connection.
fn shake(address: SocketAddr, target: &str) -> (u16, Client) {
    let mut client = Client::connect(address);
    client.send(
        format!(
            "GET {target} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .as_bytes(),
    );
    (status(&client.head()), client)
}

fn opened(address: SocketAddr, target: &str) -> Client {
    let (status, mut client) = shake(address, target);
    assert_eq!(status, 101, "{target}");
    assert_eq!(client.json()["type"], "welcome");
    client
}

/// Sends so many pings at once and returns the first refusal, with the number of pongs before it.
fn pongs(client: &mut Client, pings: usize) -> (usize, Option<Value>) {
    client.send(&text_frame(r#"{"type":"ping"}"#).repeat(pings));
    for count in 0..pings {
        let answer = client.json();
        if answer["type"] != "pong" {
            return (count, Some(answer));
        }
    }
    (pings, None)
}

/// So long after a refusal, which says it, the next ping is answered.
fn comes_back(client: &mut Client, refusal: &Value, milliseconds: u64) {
    assert_eq!(refusal["code"], "rate_limited", "{refusal}");
    let retry_in = refusal["retry_in_ms"].as_u64().unwrap();
    assert!((1..=milliseconds).contains(&retry_in), "{retry_in}");
    assert_eq!(client.next_within(Duration::from_millis(retry_in)), None);
    assert_eq!(pongs(client, 1), (1, None));
}

#[test]
fn gaming_says_what_has_no_effect_and_limits_nobody_until_told() {
    let process = start("gaming", &[]);
    let mut player = opened(process.address(), "/ws");
    assert_eq!(pongs(&mut player, 400), (400, None), "the recipe does not turn the limits on");
    let log = process.log();
    for line in [
        "WEBTRANSPORT_ENABLED=true (",
        "WEBTRANSPORT_RELIABILITY=unreliable_unordered (",
        "REALTIME_RATE_LIMIT_MESSAGES_PER_MINUTE=300 (",
    ] {
        let found = log.lines().find(|found| found.contains(line)).unwrap_or_else(|| panic!("{line}: {log}"));
        assert!(found.contains(r#""WARN""#) && found.contains("has no effect"), "{found}");
    }
    assert!(log.contains("has no effect without REALTIME_RATE_LIMIT_ENABLED=true"), "{log}");
}

#[test]
fn gaming_with_limits_lets_300_messages_a_minute_through() {
    let process = start("gaming", &[("REALTIME_RATE_LIMIT_ENABLED", "true")]);
    let mut player = opened(process.address(), "/ws");
    let (count, refusal) = pongs(&mut player, 14);
    assert!(count >= 10, "ten at once are allowed");
    if let Some(refusal) = refusal {
        // The rest of what was sent at once is refused too, or comes in time.
        let mut rest: Vec<Value> = (count + 1..14).map(|_| player.json()).collect();
        let last = rest.pop().filter(|answer| answer["type"] == "error").unwrap_or(refusal);
        comes_back(&mut player, &last, 60_000 / 300);
    }
    assert!(!process.log().contains("RATE_LIMIT_"), "nothing is left to say of limits");
}

#[test]
fn trading_is_refused_with_the_secret_of_the_documentation() {
    for env in ["production", "staging"] {
        let told = refused("trading", &[], &[("APP_ENV", env)]);
        assert!(told.contains("error: REALTIME_JWT_SECRET=(hidden) ("), "{told}");
        assert!(told.contains("at least 32 bytes that are in no documentation"), "{told}");
        assert!(!told.contains("ultra-secure"), "{told}");
    }
}

#[test]
fn trading_wants_tokens_and_holds_everybody_to_the_limits() {
    let sample = "ultra-secure-secret";
    for (variables, secret) in
        [(&[("APP_ENV", "testing")][..], sample), (&[("REALTIME_JWT_SECRET", SECRET)], SECRET)]
    {
        let process = start("trading", variables);
        let address = process.address();
        let other = if secret == sample { SECRET } else { sample };
        assert_eq!(shake(address, &format!("/ws?token={}", token(other, "ann"))).0, 401);
        let (status, mut stranger) = shake(address, "/ws");
        assert_eq!((status, &stranger.json()["auth"]), (101, &"required".into()));
        stranger.text(r#"{"type":"publish","channel":"orders","data":1}"#);
        assert_eq!(stranger.json()["code"], "unauthorized", "a token is the first thing to show");
        assert_eq!(stranger.until_close(), (vec![], 3500));
        // It is gone for the limits too before others come.
        assert_eq!(stranger.next(), Received::End);
        let target = format!("/ws?token={}", token(secret, "ann"));
        let mut traders: Vec<Client> = (0..10).map(|_| opened(address, &target)).collect();
        assert_eq!(shake(address, &target).0, 429, "ten from one address");
        let (count, refusal) = pongs(&mut traders[0], 14);
        assert!((10..14).contains(&count), "60 a minute, 10 at once: {count}");
        assert_eq!(refusal.unwrap()["code"], "rate_limited");
        let log = process.log();
        assert!(!log.contains(secret), "{log}");
        assert_eq!(log.contains("taken because of APP_ENV"), secret == sample, "{log}");
    }
}

#[test]
fn collaboration_is_refused_without_a_key_for_tokens() {
    let told = refused("collaboration", &[], &[]);
    assert_eq!(
        told,
        "error: REALTIME_JWT_SECRET is not set: expected a key, because REALTIME_AUTH_ENABLED=true\n"
    );
}

#[test]
fn collaboration_says_that_there_is_no_redis_yet_and_strictly_refuses_it() {
    let key = [("REALTIME_JWT_SECRET", SECRET)];
    let told = refused("collaboration", &["check-config", "--strict"], &key);
    assert!(told.contains("REALTIME_BROADCAST_DRIVER=redis ("), "{told}");
    let log = start("collaboration", &key).log();
    let line = log.lines().find(|line| line.contains("REALTIME_BROADCAST_DRIVER=redis")).unwrap();
    assert!(line.contains(r#""WARN""#) && line.contains("it comes with a later release"), "{line}");
}

#[test]
fn collaboration_brings_what_one_user_writes_to_the_others_on_both_transports() {
    let process = start("collaboration", &[("REALTIME_JWT_SECRET", SECRET)]);
    let address = process.address();
    let by = |path: &str, user: &str| format!("{path}token={}", token(SECRET, user));
    let mut reader = Stream::open(address, &by("/sse?channel=doc&", "eve"));
    let mut ann = opened(address, &by("/ws?", "ann"));
    let mut bob = opened(address, &by("/ws?", "bob"));
    ann.join("doc");
    bob.join("doc");
    for (number, edit) in ["one", "two"].into_iter().enumerate() {
        ann.text(&format!(r#"{{"type":"publish","channel":"doc","data":"{edit}"}}"#));
        for client in [&mut ann, &mut bob] {
            let message = client.json_of("message");
            assert_eq!((&message["data"], &message["offset"]), (&edit.into(), &(number + 1).into()));
        }
        reader.until_raw(&format!(r#""{edit}""#));
    }
}

#[test]
fn dashboard_streams_from_the_server_to_clients_of_both_transports() {
    let process = start("dashboard", &[]);
    let address = process.address();
    let mut page = Stream::open(address, "/sse?channel=numbers");
    let mut socket = opened(address, "/ws");
    socket.join("numbers");
    let mut backend = Api::connect(address);
    for number in 1..=20 {
        let result = backend.call("publish", &json!({"channel": "numbers", "data": {"number": number}}));
        assert_eq!(result["offset"], number);
        let Received::Text(message) = socket.next() else { panic!("a message is text") };
        let message: Value = serde_json::from_str(&message).unwrap();
        assert_eq!(message["data"]["number"], number);
        page.until_raw(&format!(r#"{{"number":{number}}}"#));
    }
}

#[test]
fn dashboard_says_how_many_of_50_000_connections_the_host_can_take() {
    for driver in ["uring", "epoll"] {
        let variables = [("REALTIME_IO_DRIVER", driver)];
        let process = Process::from_file(&file("dashboard"), &variables, Some(1000));
        opened(process.address(), "/ws");
        let log = process.log();
        let warning = "REALTIME_MAX_CONNECTIONS=50000 is more than the host can take: ";
        let line = log.lines().find(|line| line.contains(warning)).unwrap_or_else(|| panic!("{log}"));
        assert!(line.contains(r#""WARN""#) && line.contains("bounded by RLIMIT_NOFILE"), "{line}");
        let room: u64 = line.split_once(warning).unwrap().1.split(',').next().unwrap().parse().unwrap();
        assert!((500..=2000).contains(&room), "{line}");
        assert!(log.contains(&format!("capacity   {room} connections")), "{log}");
        let fits = start("dashboard", &[("REALTIME_MAX_CONNECTIONS", "100"), ("REALTIME_IO_DRIVER", driver)]);
        let log = fits.log();
        assert!(log.contains("capacity   100 connections, bounded by REALTIME_MAX_CONNECTIONS"), "{log}");
        assert!(!log.contains("more than the host"), "{log}");
    }
}
