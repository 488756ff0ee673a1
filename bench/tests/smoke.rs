//! Each scenario from the outside: the binary against a small server of another make, on a loopback port. The
//! figures are there, a good server is clean, and what a bad server does is found.
#![allow(clippy::unwrap_used)]

use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Message, WebSocket};

/// What the server of a test does wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Every tenth echo has another last byte.
    WrongByte,
    /// The first subscriber misses every tenth publication.
    Loses,
    /// The first subscriber gets every tenth publication twice.
    Doubles,
}

type Socket = WebSocket<TcpStream>;

#[derive(Default)]
struct Hub {
    subscribers: Mutex<Vec<Socket>>,
}

/// Starts a server; its URL without a path. It ends with the test process.
fn server(fault: Fault) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let hub = Arc::new(Hub::default());
    spawn(move || {
        for stream in listener.incoming() {
            let hub = Arc::clone(&hub);
            spawn(move || serve(stream.unwrap(), fault, &hub));
        }
    });
    url
}

#[expect(clippy::disallowed_methods, reason = "the server of a test has threads of its own")]
fn spawn(body: impl FnOnce() + Send + 'static) {
    std::thread::spawn(body);
}

#[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
fn serve(stream: TcpStream, fault: Fault, hub: &Hub) {
    let mut path = String::new();
    stream.set_nodelay(true).unwrap();
    let callback = |request: &Request, response: Response| {
        path = request.uri().path().to_owned();
        let shown = request.headers().get("Authorization").and_then(|shown| shown.to_str().ok());
        if path == "/guarded" && shown != Some("Bearer open.sesame") {
            let refused = Response::builder().status(401).body(None);
            return Err(refused.unwrap());
        }
        Ok(response)
    };
    let Ok(socket) = tungstenite::accept_hdr(stream, callback) else { return };
    match path.as_str() {
        "/echo" | "/guarded" => echo(socket, fault),
        "/topic" => hub.subscribers.lock().unwrap().push(socket),
        "/publish" => publish(socket, fault, hub, |text| text),
        _ => native(socket, fault, hub),
    }
}

fn echo(mut socket: Socket, fault: Fault) {
    let mut count = 0;
    while let Ok(message) = socket.read() {
        count += 1;
        let reply = match message {
            Message::Text(text) if fault == Fault::WrongByte && count % 10 == 0 => {
                Message::text(format!("{}?", &text[..text.len() - 1]))
            }
            message if message.is_text() || message.is_binary() => message,
            _ => continue,
        };
        if socket.send(reply).is_err() {
            return;
        }
    }
}

fn publish(mut socket: Socket, fault: Fault, hub: &Hub, wrap: impl Fn(String) -> String) {
    let mut count = 0;
    while let Ok(message) = socket.read() {
        let Ok(text) = message.into_text() else { continue };
        if text.is_empty() {
            continue;
        }
        count += 1;
        let text = wrap(text.to_string());
        for (place, subscriber) in hub.subscribers.lock().unwrap().iter_mut().enumerate() {
            // The first ones are left alone: they are the probes.
            let bad = place == 0 && count > 10 && count % 10 == 0;
            let times = match fault {
                Fault::Loses if bad => 0,
                Fault::Doubles if bad => 2,
                _ => 1,
            };
            for _ in 0..times {
                // A subscriber that is gone by now wanted nothing more.
                let _ = subscriber.send(Message::text(text.clone()));
            }
        }
    }
}

/// The native dialect as far as the generator speaks it: who joins is a subscriber, who does not publishes.
fn native(mut socket: Socket, fault: Fault, hub: &Hub) {
    socket.send(Message::text(r#"{"type":"welcome","connection":"1","shard":0,"heartbeat":30}"#)).unwrap();
    if socket.get_ref().peek(&mut [0]).is_ok_and(|count| count == 0) {
        return;
    }
    // The first frame says which it is; the publisher's is left to `publish`, so it is a probe that gets lost.
    let Ok(first) = socket.read() else { return };
    let Ok(first) = first.into_text() else { return };
    let Ok(request) = serde_json::from_str::<Value>(&first) else { return };
    if request["type"] == "join" {
        socket.send(Message::text(r#"{"type":"joined","channel":"bench","epoch":"e","offset":0}"#)).unwrap();
        hub.subscribers.lock().unwrap().push(socket);
        return;
    }
    publish(socket, fault, hub, |text| {
        let request: Value = serde_json::from_str(&text).unwrap();
        format!(r#"{{"type":"message","channel":"bench","offset":1,"data":{},"from":"x"}}"#, request["data"])
    });
}

fn bench(arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_realtime-bench"));
    command.args(arguments.split_ascii_whitespace()).output().unwrap()
}

/// Runs the generator against a server with `fault`; its exit code and figures.
fn figures(fault: Fault, scenario: &str, path: &str, more: &str) -> (i32, Value) {
    let (url, pid) = (server(fault), std::process::id());
    let output = bench(&format!("{scenario} --url {url}{path} --server-pid {pid} --json - {more}"));
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text} {errors}"));
    (output.status.code().unwrap(), value)
}

fn count(figures: &Value, name: &str) -> u64 {
    figures[name].as_u64().unwrap_or_else(|| panic!("no {name} in {figures}"))
}

const SHORT: &str = "--warmup 50ms --duration 300ms";

#[test]
fn echo_measures_a_good_server_and_finds_no_fault() {
    for more in
        ["--depth 1", "--depth 8 --size 3 --driver epoll", "--size 20000 --binary", "--rate 500 --shards 2"]
    {
        let (code, figures) =
            figures(Fault::None, "echo", "/echo", &format!("{SHORT} --connections 4 {more}"));
        assert_eq!((code, count(&figures, "errors")), (0, 0), "{more}: {figures}");
        assert!(count(&figures, "messages") > 0, "{more}: {figures}");
        assert!(figures["server_cpu_us_per_message"].as_f64().unwrap() > 0.0, "{figures}");
        let quantiles = ["p50", "p90", "p99", "p999", "max"].map(|name| format!("latency_{name}_us"));
        let values = quantiles.map(|name| figures[name].as_f64().unwrap());
        assert!(values[0] > 0.0 && values.is_sorted(), "{figures}");
    }
}

#[test]
fn echo_finds_a_byte_that_is_wrong() {
    let (code, figures) =
        figures(Fault::WrongByte, "echo", "/echo", &format!("{SHORT} --connections 2 --size 40"));
    assert_eq!(code, 1);
    assert!(count(&figures, "errors_wrong") > 0, "{figures}");
}

#[test]
fn fanout_counts_every_delivery_once() {
    for (path, protocol) in [("/topic", "topic"), ("/ws", "native")] {
        for more in ["--depth 1", "--depth 4 --size 1000 --driver epoll", "--rate 200 --shards 2"] {
            let arguments = format!("{SHORT} --connections 6 --protocol {protocol} {more}");
            let (code, figures) = figures(Fault::None, "fanout", path, &arguments);
            assert_eq!((code, count(&figures, "errors")), (0, 0), "{arguments}: {figures}");
            assert!(count(&figures, "deliveries") > 6, "{arguments}: {figures}");
            assert!(count(&figures, "publications") > 1, "{arguments}: {figures}");
        }
    }
}

#[test]
fn fanout_finds_what_is_lost_and_what_comes_twice() {
    let arguments = format!("{SHORT} --connections 3 --protocol topic --rate 500 --timeout 1s");
    let (code, lossy) = figures(Fault::Loses, "fanout", "/topic", &arguments);
    assert_eq!(code, 1);
    assert!(count(&lossy, "errors_lost") > 0 && lossy.get("errors_duplicated").is_none(), "{lossy}");
    let (code, doubled) = figures(Fault::Doubles, "fanout", "/topic", &arguments);
    assert_eq!(code, 1);
    assert!(count(&doubled, "errors_duplicated") > 0 && doubled.get("errors_lost").is_none(), "{doubled}");
}

#[test]
fn idle_tells_the_bytes_of_a_connection() {
    for (path, more) in [("/echo", ""), ("/ws", "--join bench --shards 2 --driver epoll")] {
        let arguments = format!("--connections 30 --before 5 --hold 100ms {more}");
        let (code, figures) = figures(Fault::None, "idle", path, &arguments);
        assert_eq!((code, count(&figures, "errors")), (0, 0), "{figures}");
        assert!(figures["rss_bytes_per_connection"].is_number(), "{figures}");
        assert!(figures["kernel_slab_bytes_per_connection"].is_number(), "{figures}");
    }
}

#[test]
fn connect_counts_the_handshakes_it_was_asked_for() {
    for close in ["handshake", "abrupt", "keep"] {
        let arguments = format!("--count 100 --before 10 --in-flight 8 --shards 2 --close {close}");
        let (code, figures) = figures(Fault::None, "connect", "/echo", &arguments);
        assert_eq!((code, count(&figures, "errors")), (0, 0), "{close}: {figures}");
        assert_eq!(count(&figures, "handshakes"), 100, "{close}");
        assert!(figures["handshake_p50_us"].as_f64().unwrap() > 0.0, "{close}");
    }
}

#[test]
fn a_token_opens_what_is_closed_without() {
    let arguments = "--count 20 --before 0 --timeout 1s";
    let token = std::env::temp_dir().join(format!("realtime-bench-{}", std::process::id()));
    std::fs::write(&token, "open.sesame\n").unwrap();
    for token in ["open.sesame", &format!("@{}", token.display())] {
        let arguments = format!("{arguments} --token {token}");
        let (code, figures) = figures(Fault::None, "connect", "/guarded", &arguments);
        assert_eq!((code, count(&figures, "handshakes")), (0, 20), "{token}: {figures}");
    }
    std::fs::remove_file(&token).unwrap();
    let output = bench(&format!("connect {arguments} --url {}/guarded", server(Fault::None)));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("answered 401"), "{words}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_server_that_is_not_there_is_said_in_words() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = bench(&format!("echo --url ws://{closed}/"));
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains(&format!("cannot connect to {closed}")), "{words}");
}

#[test]
fn a_bad_argument_names_its_option_and_exits_with_two() {
    for (arguments, option) in [
        ("echo --size x", "--size"),
        ("echo --server-pid 4294967295", "--server-pid"),
        ("fanout --connections 1 --shards 2", "--shards"),
        ("connect --token @/nowhere/at/all", "--token"),
    ] {
        let output = bench(&format!("{arguments} --url {}/echo", server(Fault::None)));
        let words = String::from_utf8(output.stderr).unwrap();
        assert!(words.contains(option), "{arguments}: {words}");
        assert_eq!(output.status.code(), Some(2), "{arguments}");
    }
}
